"""The joint climb of a hybrid precoder: phases and baseband at once, with exact gradients.

A phase counts by what it moves: it is measured in the root of its chain's power, so that a step of it is a step of
the precoder like one of the baseband.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from leosim import descent, joint, position_design
from leosim.joint import Problem
from leosim.phase_shifters import RANK
from leosim.position_design import Merit, Point

# Of real variables: the value and its gradient; phasors and baseband.
Function = Callable[[np.ndarray], tuple[float, np.ndarray]]
Back = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Network:
    """How antennas are connected to chains, and what the terminals notice of each antenna."""

    p: Problem
    layout: str
    chains: int

    @property
    def fully(self) -> bool:
        """Each antenna is connected to each chain."""
        return self.layout == "fully_connected"

    @cached_property
    def order(self) -> np.ndarray:
        """Antennas of partially connected chains, chain by chain: [chain, ant of a chain]."""
        chain = joint.chain_of(self.layout, self.p.rows, self.p.columns, self.chains)
        return np.argsort(chain, kind="stable").reshape(self.chains, -1)

    @cached_property
    def noticed(self) -> np.ndarray:
        """`L^H`: [block * 3 terminal, ant], or [chain, block * 3 terminal, ant of a chain]."""
        wide = position_design.values_first(self.p.responses).conj().reshape(-1, self.p.antennas)
        return wide if self.fully else np.ascontiguousarray(np.moveaxis(wide[:, self.order], 1, 0))

    @cached_property
    def adjoint(self) -> np.ndarray:
        """Conjugate transpose of `noticed`, written out."""
        return np.ascontiguousarray(self.noticed.conj().swapaxes(-1, -2))

    def analog(self, phase_rad: np.ndarray) -> np.ndarray:
        """The analog precoder [ant, chain]."""
        return joint.analog(phase_rad, self.layout, self.p.rows, self.p.columns, self.chains)

    def reach(self, phasor: np.ndarray) -> np.ndarray:
        """`L^H F` [block, 3 terminal, chain] of phasors [ant, chain], or [chain, ant of a chain]."""
        made = self.noticed @ phasor if self.fully else (self.noticed @ phasor[..., None])[..., 0].T
        return made.reshape(self.p.waveform.blocks, -1, self.chains)

    def pulled(self, slope: np.ndarray) -> np.ndarray:
        """Adjoint of `reach`: a slope [block, 3 terminal, chain] as one by the phasors."""
        wide = slope.reshape(-1, self.chains)
        return self.adjoint @ wide if self.fully else (self.adjoint @ wide.T[..., None])[..., 0]

    def phasors(self, phase_rad: np.ndarray) -> np.ndarray:
        """Phases of a record as phasors [ant, chain], or [chain, ant of a chain]."""
        phasor = np.exp(1j * phase_rad)
        return phasor.reshape(-1, self.chains) if self.fully else phasor[self.order]

    def phases(self, phasor: np.ndarray) -> np.ndarray:
        """The reverse of `phasors`."""
        if self.fully:
            return np.angle(phasor).ravel()
        out = np.empty(self.p.antennas)
        out[self.order] = np.angle(phasor)
        return out


def climb(
    network: Network, phase_rad: np.ndarray, baseband: np.ndarray, merit: Merit, iterations: int
) -> tuple[np.ndarray, np.ndarray, Point]:
    """The local minimum of a merit over phases and baseband that a start leads to.

    baseband : [block, chain, stream]
    Returns phases (rad), baseband of full power, and the point (coordinates: the baseband).
    """
    value, start, back = objective(network, phase_rad, baseband, merit)
    x, steps = descent.minimise(value, start, iterations, position_design.FLAT)
    phasor, b = back(x)
    point = _judged(network, phasor, b, steps)
    return network.phases(phasor), point.z, point


def _judged(network: Network, phasor: np.ndarray, baseband: np.ndarray, iterations: int) -> Point:
    """The point of phasors and a baseband, brought to the power budget."""
    p = network.p
    squared = float(np.vdot(baseband, power_form(network, phasor) @ baseband).real)
    b = baseband * math.sqrt(position_design.budget(p) / squared)
    gains = position_design.as_gains(p, (network.reach(phasor) @ b).swapaxes(-1, -2))
    bound = joint.apeb_m(p.speb(gains)[0][p.heard])
    return Point(b, float(p.rate(gains)[0].sum()), bound, iterations)


def power_form(network: Network, phasor: np.ndarray) -> np.ndarray:
    """`F^H F` [chain, chain]."""
    return phasor.conj().T @ phasor if network.fully else phasor.shape[1] * np.eye(network.chains, dtype=complex)


def objective(
    network: Network, phase_rad: np.ndarray, baseband: np.ndarray, merit: Merit
) -> tuple[Function, np.ndarray, Back]:
    """A merit as a function of real variables: the function, the start, and what takes variables back.

    The variables: phases over the start, each times the root of its chain's power, then coordinates of the baseband
    in a basis that is orthonormal behind the analog precoder of the start and stretched as in `position_design`.
    """
    p = network.p
    first = network.phasors(phase_rad)
    power = np.sum(np.abs(baseband) ** 2, axis=(0, 2))
    weight = np.sqrt(np.maximum(power, 1e-6 * power.max()))
    weight = np.broadcast_to(weight if network.fully else weight[:, None], first.shape)
    into, squeeze, z = _coordinates(network, first, baseband)
    shape, n, full = z.shape, squeeze.shape[-1], position_design.budget(p)
    across = into.conj().swapaxes(-1, -2)

    def back(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turn = x[: first.size].reshape(first.shape) / weight
        z = position_design.applied(squeeze, x[first.size :].view(complex).reshape(shape), n)
        return first * np.exp(1j * turn), into @ z.swapaxes(-1, -2)

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        phasor, b = back(x)
        form = power_form(network, phasor)
        weighed = form @ b
        squared = float(np.vdot(b, weighed).real)
        scale = math.sqrt(full / squared)
        reach = network.reach(phasor)
        f, slope, *_ = position_design.judged(
            p, position_design.as_gains(p, (reach @ (b * scale)).swapaxes(-1, -2)), merit
        )
        slope = slope.transpose(1, 2, 0, 3).reshape(shape[0], -1, shape[1]) * (2.0 * scale)
        by_b = reach.conj().swapaxes(-1, -2) @ slope
        inward = float(np.vdot(b, by_b).real) / squared
        by_phasor = network.pulled(slope @ b.conj().swapaxes(-1, -2))
        if network.fully:
            among = np.tensordot(b, b.conj(), axes=([0, 2], [0, 2]))
            by_phasor = by_phasor - inward * (phasor @ among)
        by_z = (across @ (by_b - inward * weighed)).swapaxes(-1, -2)
        by_z = position_design.applied(squeeze, np.ascontiguousarray(by_z), n)
        by_phase = np.imag(phasor.conj() * by_phasor) / weight
        return f, np.concatenate([by_phase.ravel(), by_z.reshape(-1).view(float)])

    return value, np.concatenate([np.zeros(first.size), z.reshape(-1).view(float)]), back


def _coordinates(
    network: Network, phasor: np.ndarray, baseband: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A basis of the baseband [block, chain, dim], `D^-1/2`, and stretched coordinates [block, stream, dim]."""
    p = network.p
    values, vectors = np.linalg.eigh(power_form(network, phasor))
    kept = values > RANK * values[-1]
    root = np.sqrt(values[kept])
    orthonormal = vectors[:, kept] / root
    gains = network.reach(phasor) @ orthonormal
    q = np.linalg.qr(gains.conj().swapaxes(-1, -2)[:, :, : p.terminals], mode="complete")[0]
    stretch, squeeze = position_design.stretches(p, gains @ q)
    z = q.conj().swapaxes(-1, -2) @ (root[:, None] * (vectors[:, kept].conj().T @ baseband))
    z = np.ascontiguousarray(z.swapaxes(-1, -2))
    return orthonormal @ q, squeeze, position_design.applied(stretch, z, squeeze.shape[-1])
