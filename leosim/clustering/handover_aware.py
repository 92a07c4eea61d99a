"""User-centric clusters with a switching cost: a satellite joins or leaves a user's set only when it pays.

Kim et al. 2024 motivate clusters by fewer handovers and do not put handovers into the problem. The choice of
pairs and the powers are in `steady`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leosim import steady, views
from leosim.records import Clusters, Solver, View, pair_code

EDGE = 0.1  # share of a user's candidates, the lowest, that others may displace soon


@dataclass(frozen=True)
class Params:
    """How much rate a quiet serving set may cost, and whom it takes.

    give_up : largest share of the least rate given up at a decision against `cell_free` without memory;
    least_stay_s : a satellite that sets sooner does not join, and a user with none that stays longer gets another;
    floor : least share of a satellite's power that makes a membership; k_max, candidates : as in `cell_free`.
    """

    give_up: float = field(default=0.01, metadata={"doc": "share of the least rate given up for fewer changes"})
    least_stay_s: float = field(default=15.0, metadata={"doc": "a satellite that sets sooner does not join"})
    floor: float = field(default=1e-3, metadata={"doc": "least share of a satellite's power for a member"})
    k_max: int = field(default=8, metadata={"doc": "users a satellite can serve"})
    candidates: int = field(default=40, metadata={"doc": "a user's highest satellites that may serve it"})

    def __post_init__(self) -> None:
        for name, end in (("give_up", 1.0), ("floor", 0.1), ("least_stay_s", np.inf)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < end:
                below = f" and below {end:g}" if np.isfinite(end) else ""
                raise ValueError(f"{name}: expected a number of at least 0{below}, got {value!r}")
        for name in ("k_max", "candidates"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")


def cluster(view: View, previous: Clusters | None, params: Params) -> tuple[Clusters, Solver]:
    """Serving sets near those of `previous`, and max-min powers, at most k_max users a satellite.

    Problem P1, Kim et al. 2024, with the memory of `steady.allocate`: the least rate, as believed, is within
    `give_up` of what `cell_free` would choose from the same view. Users without a candidate, or without
    room under k_max, are declared. Nothing is raised: failure is a solver status.
    """
    problem, order = views.problem(view)
    wish = steady.Wish(
        give_up=params.give_up,
        floor=params.floor,
        least_stay_s=params.least_stay_s,
        stay_s=view.remaining_s[order],
        ending=_ending(view, params)[order],
    )
    members = None
    if previous is not None and previous.user.size:
        members = np.isin(pair_code(view.sat, view.user), pair_code(previous.sat, previous.user))[order]
    waited = views.waited(view, previous)
    found = steady.allocate(problem, params.k_max, wish, members, views.warm_start(view, previous), waited)
    return views.decide(view, order, found, previous=previous)


def _ending(view: View, params: Params) -> np.ndarray:
    """Pairs that may not be there for long: the satellite sets, or others rise above it: [pair] bool.

    Only the highest `candidates` of a user are in the view. Where there are that many, more may be in sight.
    """
    order = np.lexsort((view.elevation_rad, view.user))
    count = np.bincount(view.user, minlength=view.user_count)
    first = np.cumsum(count) - count
    place = np.empty(order.size, dtype=np.int64)  # from the lowest, in each user's list
    place[order] = np.arange(order.size) - first[view.user[order]]
    displaced = (count[view.user] >= params.candidates) & (place < EDGE * count[view.user])
    return displaced | (view.remaining_s < params.least_stay_s)
