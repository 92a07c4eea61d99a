"""User-centric clusters: serving sets and max-min powers chosen together (Kim et al. 2024, faster).

The search of the support, the powers and their certificate are in `allocation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from leosim import allocation, views
from leosim.records import Clusters, Solver, View


@dataclass(frozen=True)
class Params:
    """k_max : users a satellite can serve; candidates : a user's highest satellites that may serve it."""

    k_max: int = field(default=8, metadata={"doc": "users a satellite can serve"})
    candidates: int = field(default=40, metadata={"doc": "a user's highest satellites that may serve it"})

    def __post_init__(self) -> None:
        for name in ("k_max", "candidates"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")


def cluster(view: View, previous: Clusters | None, params: Params) -> tuple[Clusters, Solver]:
    """Serving sets and powers that maximise the least rate, at most k_max users a satellite.

    Problem P1, Kim et al. 2024, by the duality fixed point and support search of `allocation.allocate`,
    started from the prices of the previous decision. Users without a candidate, or without
    room under k_max, are declared and leave the max-min; those who have waited longest get room first.
    Nothing is raised: failure is a solver status.
    """
    problem, order = views.problem(view)
    waited = views.waited(view, previous)
    found = allocation.allocate(problem, params.k_max, views.warm_start(view, previous), waited)
    return views.decide(view, order, found, previous=previous)
