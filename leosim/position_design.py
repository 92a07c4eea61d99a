"""Precoders for rate and position in a linear space of precoders: what digital and hybrid designs share.

Sum rate and position error bound are smooth, so a quasi-Newton climb with exact gradients takes the place of the
semidefinite programs of You et al. 2024. Power is a scale: each point stands for its multiple that spends the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from leosim import joint
from leosim.joint import Problem

MEMORY = 12  # steps the quasi-Newton method remembers
FLAT = 1e-7  # relative decrease of one step below which a climb ends
LOCALISATION_ITERATIONS = 300

# A merit of the sum rate (bit/s/Hz) and of the log of the bound in metres: its value and its two derivatives.
Merit = Callable[[float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Space:
    """Precoders `W_b = Q_b Z_b`: an orthonormal basis Q [block, ant, dim] and its gains `L^H Q` [block, 3K, dim]."""

    vectors: np.ndarray
    reach: np.ndarray


@dataclass(frozen=True)
class Point:
    """Where a climb ended: coordinates [block, dim, stream] of full power, sum rate (bit/s/Hz), bound (m), steps."""

    z: np.ndarray
    rate: float
    apeb_m: float
    iterations: int


def whole(p: Problem) -> Space:
    """All precoders that matter without chains: the span of responses and derivatives."""
    return Space(*p.basis)


def localisation_only(p: Problem) -> np.ndarray:
    """The precoder of the least average position error bound, whatever its rate: W [block, ant, stream].

    Problem P2 of You et al. 2024, Eq. (26), of which the paper solves a relaxation.
    """
    space = whole(p)
    return space.vectors @ localised(p, space).z


def localised(p: Problem, space: Space, start: np.ndarray | None = None) -> Point:
    """The least bound of a space of precoders, from regularised zero forcing or from a start [block, dim, stream]."""
    z = regularised_zero_forcing(p, space) if start is None else start
    return climb(p, space, z, lambda rate, bound: (bound, 0.0, 1.0), LOCALISATION_ITERATIONS)


def regularised_zero_forcing(p: Problem, space: Space) -> np.ndarray:
    """Regularised zero forcing within a space, of full power: [block, dim, stream]."""
    h = np.sqrt(p.link.gamma)[:, None] * space.reach[:, ::3]  # [block, terminal, dim]
    noise = p.terminals * np.mean(p.link.noise_w) * p.waveform.subcarriers / p.power_w
    across = h.conj().swapaxes(-1, -2)
    return to_budget(p, across @ np.linalg.inv(h @ across + noise * np.eye(p.terminals)))


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
    heard = p.heard
    if not heard.all():
        slope[~heard] = 0.0
    total = float(speb[heard].sum())
    rate, bound = float(rates.sum()), joint.apeb_m(speb[heard])
    value, by_rate, by_bound = merit(rate, math.log(bound) if bound > 0.0 else 0.0)
    slope *= 0.5 * by_bound / total if total > 0.0 else 0.0
    slope[:, :, 0] += by_rate * rate_slope
    return value, slope, rate, bound


def climb(p: Problem, space: Space, start: np.ndarray, merit: Merit, iterations: int) -> Point:
    """The local minimum of a merit that a start [block, dim, stream] leads to."""
    shape, streams = start.shape, start.shape[2]
    back = space.reach.conj().swapaxes(-1, -2).copy()
    full = budget(p)

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        squared = float(x @ x)
        scale = math.sqrt(full / squared)
        gains = (space.reach @ x.view(complex).reshape(shape)).reshape(shape[0], p.terminals, 3, streams)
        f, slope, *_ = judged(p, np.ascontiguousarray(gains.swapaxes(0, 1)) * scale, merit)
        step = (back @ slope.swapaxes(0, 1).reshape(shape[0], -1, streams)).reshape(-1).view(float) * (2.0 * scale)
        step -= (float(step @ x) / squared) * x
        return f, step

    found = minimize(
        value,
        start.reshape(-1).view(float),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": MEMORY, "ftol": FLAT, "gtol": 0.0},
    )
    z = to_budget(p, found.x.view(complex).reshape(shape))
    *_, rate, bound = judged(p, coordinates_gains(p, space, z), merit)
    return Point(z, rate, bound, int(found.nit))


def coordinates_gains(p: Problem, space: Space, z: np.ndarray) -> np.ndarray:
    """Gains [terminal, block, 3, stream] of coordinates [block, dim, stream]."""
    gains = (space.reach @ z).reshape(z.shape[0], p.terminals, 3, z.shape[2])
    return np.ascontiguousarray(gains.swapaxes(0, 1))
