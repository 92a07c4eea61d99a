"""Clusters by distance: each user is served by its nearest satellites that have room."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from leosim import allocation, views
from leosim.records import NO_ROOM, NO_SATELLITE, SERVED, Clusters, Solver, View

POWERS = ("max_min", "uniform")


@dataclass(frozen=True)
class Params:
    """count : satellites a user; power : `max_min` over all users, or `uniform` over a satellite's users.

    k_max : users a satellite can serve; candidates : a user's highest satellites that may serve it.
    """

    count: int = field(default=8, metadata={"doc": "satellites a user"})
    power: str = field(default="max_min", metadata={"doc": "max_min over all users, or uniform"})
    k_max: int = field(default=8, metadata={"doc": "users a satellite can serve"})
    candidates: int = field(default=40, metadata={"doc": "a user's highest satellites that may serve it"})

    def __post_init__(self) -> None:
        if self.power not in POWERS:
            raise ValueError(f"power: expected one of {', '.join(POWERS)}, got {self.power!r}")
        for name in ("count", "k_max", "candidates"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")


def cluster(view: View, previous: Clusters | None, params: Params) -> tuple[Clusters, Solver]:
    """The `count` nearest satellites of each user, at most k_max users a satellite.

    The distance-based scheme of Fig. 5, Kim et al. 2024. In rounds of one satellite a user; in each, the nearest
    pairs come first: a full satellite keeps its nearest users, and the others take their next nearest one that has
    room, if any. A user whose satellites are all full in the first round is declared; those who have waited for room
    come first in it, longest waits first. Satellites out of sight (statistical CSI shows no line of sight) do not
    count. Nothing is raised.
    """
    problem, order = views.problem(view)
    user = view.user[order]
    in_sight = view.useful[order] > 0.0
    waits = views.waited(view, previous)[user]
    support = _nearest(user, problem.pair_sat, view.range_m[order], waits, in_sight, params.count, params.k_max)
    if params.power == "uniform":
        found = views.uniform(problem, support)
    else:
        found = allocation.max_min(problem, support, warm=views.warm_start(view, previous))
    reason = np.full(view.user_count, NO_SATELLITE)
    reason[user[in_sight]] = NO_ROOM
    reason[user[support]] = SERVED
    return views.decide(view, order, replace(found, reason=reason), previous=previous)


def _nearest(
    user: np.ndarray,
    sat: np.ndarray,
    range_m: np.ndarray,
    waits: np.ndarray,
    usable: np.ndarray,
    count: int,
    k_max: int,
) -> np.ndarray:
    """Pairs that are served: [pair] bool. Both sides rank by distance, so each round is a stable matching."""
    chosen = np.zeros(user.size, dtype=bool)
    load = np.zeros(sat.max(initial=-1) + 1, dtype=np.int64)
    first, by_range = np.lexsort((sat, user, range_m, -waits)), np.lexsort((sat, user, range_m))
    for turn in range(count):
        done: set[int] = set()
        ranked = by_range if turn else first
        for pair in ranked[usable[ranked]].tolist():
            if not chosen[pair] and user[pair] not in done and load[sat[pair]] < k_max:
                chosen[pair] = True
                load[sat[pair]] += 1
                done.add(int(user[pair]))
        if not done:
            break
    return chosen
