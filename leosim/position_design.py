"""Precoders for rate and position in a linear space of precoders: what digital and hybrid designs share.

Sum rate and position error bound are smooth, so a quasi-Newton climb with exact gradients takes the place of the
semidefinite programs of You et al. 2024. Power is a scale: each point stands for its multiple that spends the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from leosim import descent, joint
from leosim.joint import Problem

FLAT = 1e-7  # relative decrease of one step below which a climb ends
LOCALISATION_ITERATIONS = 150
PRICE, STIFFNESS = 0.65, 2.2  # a terminal: first guess of bit/s/Hz per unit of log bound, and of the penalty's bend
FIRST_ITERATIONS, NEXT_ITERATIONS, WARM_ITERATIONS = 40, 15, 12  # of the rounds of multipliers
CLOSED, STIFFER = 0.6, 2.0  # of the gap in one round, or else the penalty rises by that factor
LOOSE, PATIENCE = 0.05, 3  # log of a bound that is kept by far, rounds after which it may
ROUNDS = 10
INSIDE = 2e-3  # of a limit, as a log of the bound: how far inside designs aim
HALVINGS = 30

# A merit of the sum rate (bit/s/Hz) and of the log of the bound in metres: its value and its two derivatives.
Merit = Callable[[float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Space:
    """Precoders `W_b = Q_b Z_b`: an orthonormal basis Q [block, ant, dim] and its gains `L^H Q` [block, 3K, dim].

    Gains: those of the responses of all terminals first, then of their derivatives. The basis is such that responses
    see its first K vectors alone; stretch, squeeze : `stretches` along them.
    """

    vectors: np.ndarray
    reach: np.ndarray
    stretch: np.ndarray
    squeeze: np.ndarray


@dataclass(frozen=True)
class Point:
    """A precoder of a space: coordinates [block, stream, dim] of full power, sum rate (bit/s/Hz), bound (m).

    iterations : of all climbs that led here; price : bit/s/Hz of sum rate a unit of log bound costs
    """

    z: np.ndarray
    rate: float
    apeb_m: float
    iterations: int = 0
    price: float = 0.0


@dataclass(frozen=True)
class Aim:
    """What is maximised: the sum rate under a limit of the bound (m), or minus the bound over a least sum rate."""

    objective: str
    limit: float

    def met(self, point: Point) -> bool:
        """Whether a point keeps to the limit."""
        return point.apeb_m <= self.limit if self.objective == "rate" else point.rate >= self.limit

    def alone(self) -> Merit:
        """What is limited, alone: minimised or maximised whatever the rest."""
        if self.objective == "rate":
            return lambda rate, bound: (bound, 0.0, 1.0)
        return lambda rate, bound: (-rate, -1.0, 0.0)

    def gap(self, point: Point, terminals: int) -> float:
        """How far a point is outside where designs aim, as a log of the bound."""
        if self.objective == "rate":
            return math.log(max(point.apeb_m, 1e-300) / self.limit) + INSIDE
        return (self.limit - point.rate) / (PRICE * terminals) + INSIDE

    def merit(self, terminals: int, price: float, stiff: float = 1.0) -> Merit:
        """The augmented Lagrangian of the limit, with a multiplier of `price`, its penalty `stiff` times the usual."""
        bend = STIFFNESS * terminals * stiff
        if self.objective == "rate":
            limit = math.log(self.limit) - INSIDE

            def rate_first(rate: float, bound: float) -> tuple[float, float, float]:
                pull = max(0.0, price + bend * (bound - limit))
                return -rate + 0.5 * pull**2 / bend, -1.0, pull

            return rate_first
        scale = PRICE * terminals
        bend, least = bend / scale**2, self.limit + INSIDE * scale

        def position_first(rate: float, bound: float) -> tuple[float, float, float]:
            pull = max(0.0, scale / price + bend * (least - rate))
            return scale * bound + 0.5 * pull**2 / bend, -pull, scale

        return position_first

    def next_price(self, point: Point, terminals: int, price: float, stiff: float = 1.0) -> float:
        """The multiplier after a climb, as bit/s/Hz a unit of log bound."""
        _, by_rate, by_bound = self.merit(terminals, price, stiff)(point.rate, math.log(max(point.apeb_m, 1e-300)))
        return by_bound / max(-by_rate, 1e-3)


def whole(p: Problem) -> Space:
    """All precoders that matter without chains: the span of responses and derivatives."""
    q, r = np.linalg.qr(values_first(p.responses).swapaxes(-1, -2))
    reach = r.conj().swapaxes(-1, -2)
    return Space(q, reach, *stretches(p, reach))


def behind(p: Problem, analog: np.ndarray) -> Space:
    """The precoders an analog precoder [ant, chain] can make, without those that no terminal notices."""
    basis, singular, _ = np.linalg.svd(analog, full_matrices=False)
    basis = basis[:, singular > 1e-10 * singular[0]]
    gains = values_first(p.responses).conj() @ basis
    q, r = np.linalg.qr(gains.conj().swapaxes(-1, -2))
    reach = r.conj().swapaxes(-1, -2)
    return Space(basis @ q, reach, *stretches(p, reach))


def values_first(responses: np.ndarray) -> np.ndarray:
    """Responses [block, terminal, 3, ant] as [block, 3 terminal, ant]: all responses, then derivatives by u, by w."""
    return responses.swapaxes(1, 2).reshape(responses.shape[0], -1, responses.shape[3])


def localisation_only(p: Problem) -> np.ndarray:
    """The precoder of the least average position error bound, whatever its rate: W [block, ant, stream].

    Problem P2 of You et al. 2024, Eq. (26), of which the paper solves a relaxation.
    """
    space = whole(p)
    return written(space, extreme(p, space, regularised_zero_forcing(p, space), Aim("rate", 0.0)).z)


def written(space: Space, z: np.ndarray) -> np.ndarray:
    """The precoder [block, ant, stream] of coordinates [block, stream, dim]."""
    return space.vectors @ z.swapaxes(-1, -2)


def nearest(p: Problem, space: Space, precoder: np.ndarray) -> np.ndarray:
    """Coordinates [block, stream, dim], of full power, of what a space can make of a precoder [block, ant, stream]."""
    return to_budget(p, (space.vectors.conj().swapaxes(-1, -2) @ precoder).swapaxes(-1, -2))


def extreme(p: Problem, space: Space, start: np.ndarray, aim: Aim) -> Point:
    """The point of a space that does the most for the limit, from a start [block, stream, dim]."""
    return climb(p, space, start, aim.alone(), LOCALISATION_ITERATIONS)


def regularised_zero_forcing(p: Problem, space: Space) -> np.ndarray:
    """Regularised zero forcing within a space, of full power: [block, stream, dim]."""
    h = np.sqrt(p.link.gamma)[:, None] * space.reach[:, : p.terminals]
    noise = p.terminals * np.mean(p.link.noise_w) * p.waveform.subcarriers / p.power_w
    z = np.linalg.solve(h @ h.conj().swapaxes(-1, -2) + noise * np.eye(p.terminals), h)
    return to_budget(p, np.ascontiguousarray(z.conj()))


def budget(p: Problem) -> float:
    """Squared norm of coordinates of full power, over all blocks (W)."""
    return p.power_w / p.waveform.block_subcarriers


def to_budget(p: Problem, z: np.ndarray) -> np.ndarray:
    """Coordinates scaled to the power budget."""
    return z * math.sqrt(budget(p) / float(np.vdot(z, z).real))


def judged(p: Problem, gains: np.ndarray, merit: Merit) -> tuple[float, np.ndarray, float, float]:
    """A merit of gains [terminal, block, 3, stream], its gradient by conj(gains), the sum rate and the bound (m).

    Only terminals with a line of sight are in the bound.
    """
    rates, rate_slope = p.rate(gains)
    speb, slope = p.speb(gains)
    total = float(speb[p.heard].sum())
    rate, bound = float(rates.sum()), joint.apeb_m(speb[p.heard])
    value, by_rate, by_bound = merit(rate, math.log(bound) if bound > 0.0 else 0.0)
    slope *= (np.where(p.heard, 0.5 * by_bound / total, 0.0) if total > 0.0 else np.zeros(len(speb)))[
        :, None, None, None
    ]
    slope[:, :, 0] += by_rate * rate_slope
    return value, slope, rate, bound


def climb(p: Problem, space: Space, start: np.ndarray, merit: Merit, iterations: int) -> Point:
    """The local minimum of a merit that a start [block, stream, dim] leads to.

    Leakage to another terminal bends the rate by its power over the noise, thousands of times more than anything
    else, so each stream's coordinates are stretched along the responses of the others (`stretches`).
    """
    shape, n = start.shape, min(p.terminals, start.shape[2])
    across, back = space.reach.swapaxes(-1, -2), space.reach.conj()
    stretch, squeeze = space.stretch, space.squeeze
    full = budget(p)

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        z = applied(squeeze, x.view(complex).reshape(shape), n)
        squared = float(np.vdot(z, z).real)
        scale = math.sqrt(full / squared)
        f, slope, *_ = judged(p, as_gains(p, (z * scale) @ across), merit)
        step = (slope.transpose(1, 3, 2, 0).reshape(*shape[:2], -1) @ back) * (2.0 * scale)
        step -= (float(np.vdot(z, step).real) / squared) * z
        return f, applied(squeeze, step, n).reshape(-1).view(float)

    x, steps = descent.minimise(value, applied(stretch, start, n).reshape(-1).view(float), iterations, FLAT)
    return replaced(p, space, applied(squeeze, x.view(complex).reshape(shape), n), steps)


def replaced(p: Problem, space: Space, z: np.ndarray, iterations: int = 0, price: float = 0.0) -> Point:
    """The point of some coordinates, brought to the power budget."""
    z = to_budget(p, z)
    gains = gains_of(p, space, z)
    return Point(z, float(p.rate(gains)[0].sum()), joint.apeb_m(p.speb(gains)[0][p.heard]), iterations, price)


def gains_of(p: Problem, space: Space, z: np.ndarray) -> np.ndarray:
    """Gains [terminal, block, 3, stream] of coordinates [block, stream, dim]."""
    return as_gains(p, z @ space.reach.swapaxes(-1, -2))


def as_gains(p: Problem, products: np.ndarray) -> np.ndarray:
    """Products [block, stream, 3 terminal] as gains [terminal, block, 3, stream]."""
    block, stream, _ = products.shape
    return np.ascontiguousarray(products.reshape(block, stream, 3, p.terminals).transpose(3, 0, 2, 1))


def stretches(p: Problem, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`D^1/2` and `D^-1/2` of each stream, `D = 1 + SNR sum_(j not k) h_j h_j^H` on the first K coordinates.

    Both [block, stream, K, K]; SNR that of an even share of the power.
    """
    n = min(p.terminals, reach.shape[2])
    share = p.power_w / p.waveform.subcarriers / p.terminals
    h = np.sqrt(share * p.link.gamma / p.link.noise_w)[:, None] * reach[:, : p.terminals, :n]
    each = h.conj()[..., :, None] * h[..., None, :]
    values, vectors = np.linalg.eigh(each.sum(axis=1, keepdims=True) - each + np.eye(n))
    root = np.sqrt(np.maximum(values, 1.0))[..., None, :]
    across = vectors.conj().swapaxes(-1, -2)
    return (vectors * root) @ across, (vectors / root) @ across


def applied(matrices: np.ndarray, z: np.ndarray, n: int) -> np.ndarray:
    """Matrices [block, stream, n, n] on the first n coordinates of z [block, stream, dim]."""
    out = z.copy()
    out[:, :, :n] = (matrices @ z[:, :, :n, None])[..., 0]
    return out


def meet(
    p: Problem, space: Space, start: np.ndarray, aim: Aim, price: float | None = None, rounds: int = ROUNDS
) -> Point:
    """The best point of a space that keeps to a limit, or near it when that is out of reach: augmented Lagrangian.

    start : [block, stream, dim]; price : multiplier to begin with, of a design before, which also makes rounds short
    """
    price, first = (PRICE * p.terminals, FIRST_ITERATIONS) if price is None else (price, WARM_ITERATIONS)

    def further(before: Point, merit: Merit, turn: int) -> Point:
        return climb(p, space, before.z, merit, NEXT_ITERATIONS if turn else first)

    return multiplied(further, Point(start, 0.0, math.inf), aim, p.terminals, price, rounds)


def multiplied(
    further: Callable[[Point, Merit, int], Point], point: Point, aim: Aim, terminals: int, price: float, rounds: int
) -> Point:
    """Rounds of multipliers until the limit is kept, and not by far unless it does not matter.

    further : the climb of a round from a point, by a merit, given the number of the round
    Where a round closes less than `CLOSED` of the gap, the penalty of the next is `STIFFER` times as high.
    """
    total, stiff, gap = 0, 1.0, math.inf
    for turn in range(max(rounds, 1)):
        point = further(point, aim.merit(terminals, price, stiff), turn)
        total += point.iterations
        price = aim.next_price(point, terminals, price, stiff)
        before, gap = gap, aim.gap(point, terminals)
        if turn and aim.met(point) and (gap > -LOOSE or turn > PATIENCE):
            break
        if gap > (1.0 - CLOSED) * before:
            stiff *= STIFFER
    return Point(point.z, point.rate, point.apeb_m, total, price)


def within(p: Problem, space: Space, point: Point, safe: Point, aim: Aim) -> Point:
    """The point of a segment, from one that keeps to the limit, nearest to one that may not."""
    if aim.met(point):
        return point
    # Streams are told apart by rates alone: turn those of the safe point to be as near as can be.
    if aim.objective == "rate":
        u, _, v = np.linalg.svd(safe.z.conj() @ point.z.swapaxes(-1, -2))
        turned = (u @ v).swapaxes(-1, -2) @ safe.z
        candidate = replaced(p, space, turned)
        safe = candidate if aim.met(candidate) else safe
    low, high, best = 0.0, 1.0, safe
    for _ in range(HALVINGS):
        share = 0.5 * (low + high)
        middle = replaced(p, space, (1.0 - share) * safe.z + share * point.z)
        if aim.met(middle):
            low, best = share, middle
        else:
            high = share
    return Point(best.z, best.rate, best.apeb_m, point.iterations, point.price)
