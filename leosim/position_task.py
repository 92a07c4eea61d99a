"""What designs for rate and position have in common besides the climb: what is asked, what is out of reach, memory.

A design starts from coefficients of the one before on the responses, which move with the terminals.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache
from typing import TypeGuard

import numpy as np
from threadpoolctl import ThreadpoolController

from leosim import antenna, joint, position_design
from leosim.joint import Problem
from leosim.position_design import Aim, Point, Space
from leosim.records import KEPT, SHORT, IcalPrecoder, Terminals

CAP_BOUND, CAP_RATE = 1.1, 0.98  # of the least bound, of the highest rate: what is asked when more is out of reach
KNOWN_SHARE = 2 / 3  # of the terminals that a precoder before must know to be worth a start
DOUBT = 5  # rounds after which it is asked whether the limit is within reach
NEAR = 1e-10  # responses that agree so well count as one


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """Keep linear algebra to one thread: on products as small as these, threads only wait for each other."""
    return _libraries().limit(limits=1, user_api="blas")


class InfeasibleError(ValueError):
    """A position error bound, or a rate, that no precoder of this power reaches."""


def check(objective: str, least_rate: float, on_infeasible: str, **counts: int) -> None:
    """Raise ValueError for an unknown choice, a negative rate or a count that is no whole number from 0."""
    if objective not in ("rate", "position"):
        raise ValueError(f'objective: expected "rate" or "position", got {objective!r}')
    if on_infeasible not in ("cap", "hold", "raise"):
        raise ValueError(f'on_infeasible: expected "cap", "hold" or "raise", got {on_infeasible!r}')
    if not 0.0 <= least_rate < math.inf:
        raise ValueError(f"least_rate: expected a rate from 0 (bit/s/Hz), got {least_rate!r}")
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name}: expected a whole number from 0, got {value!r}")


def asked(terminals: Terminals, objective: str, least_rate: float) -> Aim:
    """What a design is to do. Raises ValueError for a bound that is not positive."""
    if not terminals.asked_m > 0.0:
        raise ValueError(f"asked_m: expected a position error bound over 0 m, got {terminals.asked_m!r}")
    return Aim(objective, terminals.asked_m if objective == "rate" else least_rate)


def solve(p: Problem, space: Space, start: np.ndarray, aim: Aim, first: float | None, rounds: int) -> tuple[Point, Aim]:
    """The best point of a space that keeps to the limit, and the limit it was made for, capped when out of reach.

    Out of reach: the extreme point of the space, the least bound or the highest rate, misses it. Then a bound of
    `CAP_BOUND` of the least is asked, or `CAP_RATE` of the highest rate, so that the other quantity is not lost.
    """
    point = position_design.meet(p, space, start, aim, first, min(rounds, DOUBT))
    if aim.met(point):
        return point, aim
    safe = position_design.extreme(p, space, start, aim)
    going: float | None = point.price
    if not aim.met(safe):
        aim, going = capped(aim, safe), None  # a multiplier driven up by what is out of reach would take long to fall
    again = position_design.meet(p, space, point.z, aim, going, rounds)
    point = replace(again, iterations=point.iterations + again.iterations)
    kept = position_design.within(p, space, point, safe, aim)
    if not aim.met(point):
        more = position_design.meet(p, space, kept.z, aim, max(point.price, price(p, space, kept.z) or 0.0), DOUBT)
        better = more.rate > kept.rate if aim.objective == "rate" else more.apeb_m < kept.apeb_m
        kept = more if aim.met(more) and better else kept
    return replace(kept, iterations=point.iterations + safe.iterations), aim


def capped(aim: Aim, best: Point) -> Aim:
    """What is asked when the limit is out of reach."""
    rate = aim.objective == "rate"
    return Aim(aim.objective, CAP_BOUND * best.apeb_m if rate else CAP_RATE * best.rate)


def refuse(aim: Aim, best: Point) -> InfeasibleError:
    """The error of a limit out of reach, from the point a capped design ended at."""
    if aim.objective == "rate":
        return InfeasibleError(
            f"asked_m: expected a bound that the power allows, about {best.apeb_m / CAP_BOUND:.3g} m or more, got "
            f"{aim.limit:.3g} m; more power, more pilots, or on_infeasible = 'cap'"
        )
    return InfeasibleError(
        f"least_rate: expected a rate that the power allows, about {best.rate / CAP_RATE:.4g} bit/s/Hz or less, got "
        f"{aim.limit:.4g}; more power, or on_infeasible = 'cap'"
    )


def nothing(terminals: Terminals, p: Problem) -> IcalPrecoder:
    """The precoder of no power."""
    zero = np.zeros((p.waveform.blocks, 3 * p.terminals, p.terminals), dtype=complex)
    return joint.record(terminals, p, zero, 0).replace(status=np.array(SHORT))


def held(terminals: Terminals, p: Problem, previous: IcalPrecoder | None) -> IcalPrecoder | None:
    """The precoder before, judged where the terminals are now; None unless it has the same satellite and terminals."""
    if not same(previous, terminals) or not np.array_equal(previous.user, terminals.user):
        return None
    gains = p.gains(joint.weights(previous, p.rows, p.columns, p.waveform))
    speb = p.speb(gains)[0]
    return previous.replace(
        t_ns=terminals.t_ns,
        status=np.array(KEPT),
        iterations=np.array(0),
        asked_m=np.array(terminals.asked_m),
        apeb_m=np.array(joint.apeb_m(speb[p.heard])),
        rate=p.rate(gains)[0],
        bound_m=np.sqrt(speb),
    )


def same(previous: IcalPrecoder | None, terminals: Terminals) -> TypeGuard[IcalPrecoder]:
    """Whether there is a precoder before, of this satellite, that sends anything."""
    return (
        previous is not None
        and int(previous.sat) == terminals.sat
        and previous.user.size > 0
        and bool(np.any(previous.weight_re) or np.any(previous.weight_im))
    )


def matched(terminals: Terminals, p: Problem, previous: IcalPrecoder | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows of terminals and their rows in the precoder before; None when it is no good start.

    It is none with another satellite, too many new terminals, or terminals that moved by half a beam against each
    other.
    """
    if not same(previous, terminals):
        return None
    _, now, then = np.intersect1d(terminals.user, previous.user, assume_unique=True, return_indices=True)
    if now.size < KNOWN_SHARE * p.terminals:
        return None
    moved = p.cosines[now] - previous.cosines[then]
    if np.abs(moved - moved.mean(axis=0)).max() * max(p.rows, p.columns) > 1.0:
        return None
    return now, then


def carried(
    terminals: Terminals, p: Problem, previous: IcalPrecoder, rows: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """The precoder before, moved with its terminals: W [block, ant, stream], new terminals by regularised zero forcing.

    What moves are the responses; the coefficients on them stay.
    """
    now, then = rows
    coefficients = on_span(previous, p)
    block, old = coefficients.shape[0], previous.user.size
    kept = coefficients.reshape(block, old, 3, old)[:, then][..., then]
    span = p.span.reshape(block, p.antennas, p.terminals, 3)[:, :, now].reshape(block, p.antennas, -1)
    w = np.zeros((block, p.antennas, p.terminals), dtype=complex)
    if now.size < p.terminals:
        space = position_design.whole(p)
        w = position_design.written(space, position_design.regularised_zero_forcing(p, space))
    w[:, :, now] = span @ kept.reshape(block, 3 * now.size, now.size)
    return w


def on_span(previous: IcalPrecoder, p: Problem) -> np.ndarray:
    """Coefficients [block, 3 terminal, stream] of a precoder on the responses it was designed for."""
    responses = antenna.responses(previous.cosines, p.rows, p.columns, p.waveform.stretch)
    if int(previous.chains) == 0:
        given = previous.weight_re + 1j * previous.weight_im
        return given.reshape(p.waveform.blocks, -1, previous.user.size)
    written = joint.weights(previous, p.rows, p.columns, p.waveform)
    return coefficients(responses, written)


def coefficients(responses: np.ndarray, precoder: np.ndarray) -> np.ndarray:
    """Coefficients [block, 3 terminal, stream] on responses [block, terminal, 3, ant] with the same gains as W.

    W : [block, ant, stream]; responses that nearly agree share what is theirs.
    """
    span = responses.reshape(responses.shape[0], -1, responses.shape[3]).swapaxes(-1, -2)
    scale = 1.0 / np.linalg.norm(span, axis=1)
    q, r = np.linalg.qr(span * scale[:, None, :])
    return scale[..., None] * (np.linalg.pinv(r, rcond=NEAR) @ (q.conj().swapaxes(-1, -2) @ precoder))


def price(p: Problem, space: Space, z: np.ndarray) -> float | None:
    """What a unit of log bound costs at coordinates near an optimum (bit/s/Hz), by least squares; None if nothing.

    At an optimum the gradient of the rate is that of the log bound times the price, but for a part along z.
    """
    if not p.heard.any():
        return None
    gains = position_design.gains_of(p, space, z)
    slopes = []
    for merit in ((lambda rate, bound: (rate, 1.0, 0.0)), (lambda rate, bound: (bound, 0.0, 1.0))):
        slope = position_design.judged(p, gains, merit)[1]
        step = slope.transpose(1, 3, 2, 0).reshape(*z.shape[:2], -1) @ space.reach.conj()
        slopes.append(step - np.vdot(z, step).real / np.vdot(z, z).real * z)
    by_rate, by_bound = slopes
    n = space.squeeze.shape[-1]
    by_rate, by_bound = (position_design.applied(space.squeeze, one, n) for one in (by_rate, by_bound))
    found = float(np.vdot(by_bound, by_rate).real / np.vdot(by_bound, by_bound).real)
    return found if found > 0.0 else None
