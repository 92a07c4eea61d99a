"""The classical system: one satellite a user, handed over with hysteresis and time-to-trigger."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from leosim import allocation, views
from leosim.records import NO_ROOM, NO_SATELLITE, SERVED, Clusters, Solver, View
from leosim.units import rad_to_deg, s_to_ns

METRICS = ("elevation", "rate", "remaining")
POWERS = ("max_min", "uniform")


@dataclass(frozen=True)
class Params:
    """How a user's one satellite is chosen and kept.

    by : what counts, `elevation` (degrees), `rate` (bit/s/Hz of that satellite alone, all its power) or
    `remaining` (seconds until it sets); hysteresis : by how much another must be better, in that unit;
    time_to_trigger_s : for how long; power : `max_min` over all users, or `uniform` over a satellite's users.
    """

    by: str = field(default="elevation", metadata={"doc": "elevation, rate or remaining"})
    hysteresis: float = field(default=0.0, metadata={"doc": "degrees, bit/s/Hz or s, as `by` says"})
    time_to_trigger_s: float = field(default=0.0, metadata={"doc": "how long another must have been better"})
    power: str = field(default="max_min", metadata={"doc": "max_min over all users, or uniform"})
    k_max: int = field(default=8, metadata={"doc": "users a satellite can serve"})
    candidates: int = field(default=40, metadata={"doc": "a user's highest satellites that may serve it"})

    def __post_init__(self) -> None:
        if self.by not in METRICS:
            raise ValueError(f"by: expected one of {', '.join(METRICS)}, got {self.by!r}")
        if self.power not in POWERS:
            raise ValueError(f"power: expected one of {', '.join(POWERS)}, got {self.power!r}")
        for name in ("hysteresis", "time_to_trigger_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise ValueError(f"{name}: expected a number of at least 0, got {value!r}")
        for name in ("k_max", "candidates"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")


def cluster(view: View, previous: Clusters | None, params: Params) -> tuple[Clusters, Solver]:
    """One satellite a user, and the powers of the satellites over their users.

    A user keeps its satellite until another with room has been better by more than the hysteresis for
    the time to trigger, or until it is no candidate any more. Users who have waited for room choose first,
    longest waits first; then come those who keep theirs, as far as there is room left, then those without one,
    in order of users. Satellites out of sight (statistical CSI shows no line of sight)
    do not count. The powers are those of `allocation.max_min` on that support.
    """
    problem, order = views.problem(view)
    user, sat = view.user[order], view.sat[order]
    metric = _metric(view, params.by)[order]
    in_sight = view.useful[order] > 0.0
    serving = {} if previous is None else dict(zip(previous.user.tolist(), previous.sat.tolist(), strict=True))
    pairs = [np.flatnonzero(in_sight & (user == u)) for u in range(view.user_count)]
    choice: dict[int, int] = {}
    load: dict[int, int] = {}

    def take(u: int, among: np.ndarray) -> None:
        room = among[[load.get(int(s), 0) < params.k_max for s in sat[among]]] if among.size else among
        if room.size:
            choice[u] = int(room[np.argmax(metric[room])])
            load[int(sat[choice[u]])] = load.get(int(sat[choice[u]]), 0) + 1

    waited = views.waited(view, previous)
    for u in np.argsort(-waited, kind="stable").tolist():
        take(u, pairs[u] if waited[u] else pairs[u][sat[pairs[u]] == serving.get(u, -1)])
    waiting: dict[int, tuple[int, int]] = {}
    for u, mine in enumerate(pairs):
        room = mine[[load.get(int(s), 0) < params.k_max for s in sat[mine]]] if mine.size else mine
        best = int(room[np.argmax(metric[room])]) if room.size else -1
        if u in choice:
            if best < 0 or not metric[best] > metric[choice[u]] + params.hysteresis:
                continue
            since = view.t_ns
            if previous is not None and previous.challenger[u] >= 0:
                since = int(previous.challenger_since_ns[u])
            if view.t_ns - since < s_to_ns(params.time_to_trigger_s):
                waiting[u] = (int(sat[best]), since)
                continue
            load[int(sat[choice[u]])] -= 1
        if best >= 0:
            choice[u] = best
            load[int(sat[best])] = load.get(int(sat[best]), 0) + 1
    support = np.zeros(user.size, dtype=bool)
    support[list(choice.values())] = True
    if params.power == "uniform":
        found = views.uniform(problem, support)
    else:
        found = allocation.max_min(problem, support, warm=views.warm_start(view, previous))
    reason = np.full(view.user_count, NO_SATELLITE)
    reason[user[in_sight]] = NO_ROOM
    reason[user[support]] = SERVED
    return views.decide(view, order, replace(found, reason=reason), waiting, previous)


def _metric(view: View, by: str) -> np.ndarray:
    if by == "elevation":
        return rad_to_deg(view.elevation_rad)
    if by == "remaining":
        return view.remaining_s
    return np.log2(1.0 + view.useful**2)
