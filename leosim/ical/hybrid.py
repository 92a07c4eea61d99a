"""Hybrid precoders for rate and position by direct maximisation: the rate under a bound, or the reverse.

Digital first, then phases near it (`phase_shifters`), then baseband, and phases with it where they still cost
something (`phase_climb`). The next frame starts from the precoder of the one before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from leosim import joint, phase_climb, phase_shifters, position_design, position_task
from leosim.joint import Problem
from leosim.phase_climb import Network
from leosim.position_design import Aim, Merit, Point, Space
from leosim.records import SHORT, IcalPrecoder, Terminals

ENOUGH = 1e-2  # of the digital rate, or of its bound: less than that is not worth a joint climb
JOINT_ITERATIONS, LATER_ITERATIONS = 60, 30  # of the first two rounds of a joint climb, of the others


@dataclass(frozen=True)
class Params:
    """Chains and how they are connected, what is maximised, and what happens when the limit cannot be met."""

    chains: int = field(default=36, metadata={"doc": "RF chains, at least one a terminal"})
    layout: str = field(
        default="fully_connected",
        metadata={"doc": "fully_connected, or sub-arrays, one a chain: contiguous | tiles | interleaved"},
    )
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
    alternations: int = field(default=5, metadata={"doc": "rounds of phases against baseband before the climb"})

    def __post_init__(self) -> None:
        counts = {"chains": self.chains, "rounds": self.rounds, "alternations": self.alternations}
        position_task.check(self.objective, self.least_rate, self.on_infeasible, **counts)
        if self.layout not in joint.LAYOUTS[1:]:
            raise ValueError(f"layout: expected one of {', '.join(joint.LAYOUTS[1:])}, got {self.layout!r}")


def design(terminals: Terminals, previous: IcalPrecoder | None, params: Params) -> IcalPrecoder:
    """The hybrid precoder of the highest sum rate, Eq. (13), whose average bound, Eq. (21), keeps to `asked_m`.

    Or the reverse, by `objective`. A local optimum of P1, Eq. (23), You et al. 2024, of its constrained form instead
    of its weighted sum. A limit out of reach is capped, or the precoder before is held, by `on_infeasible`.
    Raises ValueError for chains that do not suit terminals and antennas, and position_task.InfeasibleError for a
    limit out of reach with on_infeasible "raise".
    """
    with position_task.one_thread():
        return _design(terminals, previous, params)


def _design(terminals: Terminals, previous: IcalPrecoder | None, params: Params) -> IcalPrecoder:
    p = joint.problem(terminals)
    phase_shifters.check_chains(params.chains, p.terminals, params.layout, p.rows, p.columns)
    aim = position_task.asked(terminals, params.objective, params.least_rate)
    if p.power_w <= 0.0:
        return position_task.nothing(terminals, p)
    network = Network(p, params.layout, params.chains)
    rows = position_task.matched(terminals, p, previous)
    before = None
    if rows is not None and previous is not None:
        before = position_task.carried(terminals, p, previous, rows), carried_phases(p, previous, rows, params)
    if before is not None and before[1] is not None and not network.fully:
        phase, point, made = together(network, before[1], before[0], aim, None, True, params)
    else:
        found = at_once(network, before[0], previous, aim, params) if before is not None and network.fully else None
        phase, point, made = found or by_digital(network, None if before is None else before[0], aim, params)
    if made != aim and params.on_infeasible == "raise":
        raise position_task.refuse(aim, point)
    kept = position_task.held(terminals, p, previous) if made != aim and params.on_infeasible == "hold" else None
    if kept is not None:
        return kept
    record = joint.record(terminals, p, point.z, point.iterations, params.layout, phase)
    return record if made == aim else record.replace(status=np.array(SHORT))


def carried_phases(
    p: Problem, previous: IcalPrecoder, rows: tuple[np.ndarray, np.ndarray], params: Params
) -> np.ndarray | None:
    """The phases before, turned as the terminals moved together; None when chains or layout differ."""
    if int(previous.chains) != params.chains or joint.LAYOUTS[int(previous.layout)] != params.layout:
        return None
    now, then = rows
    moved = (p.cosines[now] - previous.cosines[then]).mean(axis=0)
    m = np.repeat(np.arange(p.rows) - (p.rows - 1) / 2, p.columns)
    n = np.tile(np.arange(p.columns) - (p.columns - 1) / 2, p.rows)
    turn = np.pi * (m * moved[0] + n * moved[1])
    return previous.phase_rad + (np.repeat(turn, params.chains) if params.layout == "fully_connected" else turn)


def at_once(
    network: Network, target: np.ndarray, previous: IcalPrecoder | None, aim: Aim, params: Params
) -> tuple[np.ndarray, Point, Aim] | None:
    """Phases near the precoder before and the best baseband behind them; None if it is then worse than that was."""
    if previous is None:
        return None
    p = network.p
    phase = phase_shifters.two_phase(target, params.chains, params.layout, p.rows, p.columns)
    space = position_design.behind(p, network.analog(phase))
    price = position_task.price(p, space, position_design.nearest(p, space, target))
    point, made = behind(network, phase, target, aim, price, params.rounds, space)
    share = p.terminals / previous.user.size
    then = Point(point.z, share * float(previous.rate.sum()), float(previous.apeb_m))
    return (phase, point, made) if made == aim and near(aim, point, then) else None


def by_digital(network: Network, before: np.ndarray | None, aim: Aim, params: Params) -> tuple[np.ndarray, Point, Aim]:
    """Phases (rad), the point of the baseband [block, chain, stream] behind them, and the limit it was made for.

    before : the precoder before [block, ant, stream], moved with its terminals
    Phases are climbed with the baseband where those near the digital precoder lose more than `ENOUGH` against it.
    """
    p = network.p
    space = position_design.whole(p)
    start, price = position_design.regularised_zero_forcing(p, space), None
    if before is not None:
        start = position_design.nearest(p, space, before)
        price = position_task.price(p, space, start)
    digital, made = position_task.solve(p, space, start, aim, price, params.rounds)
    target = position_design.written(space, digital.z)
    shape = (params.chains, params.layout, p.rows, p.columns)
    phase = phase_shifters.two_phase(target, *shape)
    price, spent = digital.price or None, digital.iterations
    if network.fully:
        point, asked = behind(network, phase, target, made, price, params.rounds)
        spent += point.iterations
        if asked == made and near(made, point, digital):
            return phase, replace(point, iterations=spent), made
    phase, _ = phase_shifters.alternate(target, phase, *shape, params.alternations)
    phase, point, made = together(network, phase, target, made, price, False, params)
    return phase, replace(point, iterations=spent + point.iterations), made


def together(
    network: Network,
    phase: np.ndarray,
    target: np.ndarray,
    aim: Aim,
    price: float | None,
    warm: bool,
    params: Params,
) -> tuple[np.ndarray, Point, Aim]:
    """Phases and baseband climbed together, and then the baseband alone so that the limit is kept, or capped.

    target : a precoder near [block, ant, stream]; warm : it is the one before, so rounds are short
    """
    p, analog = network.p, network.analog(phase)
    if warm:
        space = position_design.behind(p, analog)
        price = position_task.price(p, space, position_design.nearest(p, space, target))
    b = phase_shifters.baseband(target, analog)
    phase, b, point, price = rounds(network, phase, b, aim, price, warm, params.rounds)
    spent = point.iterations
    made = aim
    if not aim.met(point):
        far, b_far, best = phase_climb.climb(network, phase, b, aim.alone(), position_design.LOCALISATION_ITERATIONS)
        made = aim if aim.met(best) else position_task.capped(aim, best)
        phase, b, point, price = rounds(network, phase, b, made, price, False, params.rounds)
        spent += best.iterations + point.iterations
        if not made.met(point):
            phase, b = far, b_far
    point, made = behind(network, phase, network.analog(phase) @ b, made, price, params.rounds)
    return phase, replace(point, iterations=spent + point.iterations), made


def rounds(
    network: Network, phase: np.ndarray, b: np.ndarray, aim: Aim, price: float | None, warm: bool, limit: int
) -> tuple[np.ndarray, np.ndarray, Point, float]:
    """Rounds of multipliers on phases and baseband: phases (rad), baseband, the point, the last multiplier."""
    terminals = network.p.terminals
    price = position_design.PRICE * terminals if price is None else price
    phases = [phase]

    def further(before: Point, merit: Merit, turn: int) -> Point:
        iterations = JOINT_ITERATIONS if turn < 2 and not warm else LATER_ITERATIONS
        phases[0], _, point = phase_climb.climb(network, phases[0], before.z, merit, iterations)
        return point

    point = position_design.multiplied(further, Point(b, 0.0, math.inf), aim, terminals, price, limit)
    return phases[0], point.z, point, point.price


def behind(
    network: Network,
    phase: np.ndarray,
    near: np.ndarray,
    aim: Aim,
    price: float | None,
    rounds: int,
    space: Space | None = None,
) -> tuple[Point, Aim]:
    """The best baseband [block, chain, stream] behind given phases, from a precoder near: the point, the limit met."""
    p, analog = network.p, network.analog(phase)
    space = position_design.behind(p, analog) if space is None else space
    start = position_design.nearest(p, space, near)
    point, made = position_task.solve(p, space, start, aim, price, rounds)
    return replace(point, z=phase_shifters.baseband(position_design.written(space, point.z), analog)), made


def near(aim: Aim, point: Point, digital: Point) -> bool:
    """Whether phases lose next to nothing against the digital precoder."""
    if aim.objective == "rate":
        return point.rate >= (1.0 - ENOUGH) * digital.rate
    return point.apeb_m <= (1.0 + ENOUGH) * digital.apeb_m
