"""Precoders for rate and position with a chain for each antenna: what a hybrid precoder is measured against.

The precoder lies in the span of the terminals' responses and their derivatives, 3 K dimensions whatever the array.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leosim import joint, position_design, position_task
from leosim.records import SHORT, IcalPrecoder, Terminals


@dataclass(frozen=True)
class Params:
    """What is maximised, and what happens when the limit cannot be met."""

    objective: str = field(
        default="rate",
        metadata={"doc": "rate: the most under the bound asked | position: the least bound at least_rate"},
    )
    least_rate: float = field(
        default=0.0, metadata={"doc": "least sum spectral efficiency (bit/s/Hz), with objective = position"}
    )
    on_infeasible: str = field(
        default="cap", metadata={"doc": "limit out of reach: cap what is asked | hold the precoder before | raise"}
    )
    rounds: int = field(default=10, metadata={"doc": "limit of the rounds of multipliers of one climb"})

    def __post_init__(self) -> None:
        position_task.check(self.objective, self.least_rate, self.on_infeasible, rounds=self.rounds)


def design(terminals: Terminals, previous: IcalPrecoder | None, params: Params) -> IcalPrecoder:
    """The digital precoder of the highest sum rate, Eq. (13), whose average bound, Eq. (21), keeps to `asked_m`.

    Or the reverse, by `objective`. A local optimum of P1, Eq. (23), You et al. 2024, of its constrained form. A limit
    out of reach is capped, or the precoder before is held, by `on_infeasible`.
    Raises position_task.InfeasibleError for such a limit with on_infeasible "raise".
    """
    with position_task.one_thread():
        return _design(terminals, previous, params)


def _design(terminals: Terminals, previous: IcalPrecoder | None, params: Params) -> IcalPrecoder:
    p = joint.problem(terminals)
    aim = position_task.asked(terminals, params.objective, params.least_rate)
    if p.power_w <= 0.0:
        return position_task.nothing(terminals, p)
    space = position_design.whole(p)
    start, price = position_design.regularised_zero_forcing(p, space), None
    rows = position_task.matched(terminals, p, previous)
    if rows is not None and previous is not None:
        start = position_design.nearest(p, space, position_task.carried(terminals, p, previous, rows))
        price = position_task.price(p, space, start)
    point, made = position_task.solve(p, space, start, aim, price, params.rounds)
    if made != aim and params.on_infeasible == "raise":
        raise position_task.refuse(aim, point)
    before = position_task.held(terminals, p, previous) if made != aim and params.on_infeasible == "hold" else None
    if before is not None:
        return before
    given = position_task.coefficients(p.responses, position_design.written(space, point.z))
    record = joint.record(terminals, p, given, point.iterations)
    return record if made == aim else record.replace(status=np.array(SHORT))
