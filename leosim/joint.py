"""The joint problem of rate and position: what a wideband precoder is judged by, with gradients, and its record.

All that rates and bounds depend on are the gains of `fisher.gains`; precoders of any structure lead to them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from leosim import antenna, fisher
from leosim.fisher import Link, Nuisance
from leosim.ofdm import Waveform
from leosim.records import REACHED, SHORT, IcalPrecoder, Terminals

LAYOUTS = ("digital", "fully_connected", "contiguous", "tiles", "interleaved")  # numbers of the record
REACHED_WITHIN = 1e-6  # of the bound asked


@dataclass(frozen=True)
class Problem:
    """One satellite, its terminals, its waveform: what a design needs, in arrays.

    responses : [block, terminal, 3, ant] of `antenna.responses`; slope : [terminal, xyz, 4] of `fisher.jacobian`
    power_w : total over subcarriers and streams
    """

    rows: int
    columns: int
    power_w: float
    waveform: Waveform
    link: Link
    nuisance: Nuisance
    cosines: np.ndarray
    responses: np.ndarray
    slope: np.ndarray

    @property
    def terminals(self) -> int:
        """Number K of terminals, and of streams."""
        return len(self.cosines)

    @property
    def heard(self) -> np.ndarray:
        """The terminals with a line of sight, without which pilots tell no position: [terminal] bool."""
        return self.link.kappa > 0.0

    @property
    def antennas(self) -> int:
        """Number N_t of antennas."""
        return self.rows * self.columns

    @cached_property
    def span(self) -> np.ndarray:
        """`L_n`, all responses and derivatives as columns: [block, ant, 3 terminal], Eq. (31) with the errata.

        An optimal digital precoder has no part outside.
        """
        block, terminal, three, ant = self.responses.shape
        return np.ascontiguousarray(self.responses.reshape(block, terminal * three, ant).swapaxes(-1, -2))

    @cached_property
    def basis(self) -> tuple[np.ndarray, np.ndarray]:
        """An orthonormal basis Q [block, ant, 3K] of the span and the gains of its vectors, `L^H Q` [block, 3K, 3K]."""
        q, r = np.linalg.qr(self.span)
        return q, r.conj().swapaxes(-1, -2)

    @cached_property
    def towards(self) -> np.ndarray:
        """Axes along and across the line of sight of each terminal: [terminal, xyz, 3]."""
        return fisher.lines_of_sight(self.slope)

    def gains(self, precoder: np.ndarray) -> np.ndarray:
        """Gains [terminal, block, 3, stream] of a precoder [block, ant, stream]."""
        return fisher.gains(self.responses, precoder)

    def total_power_w(self, precoder: np.ndarray) -> float:
        """Power of a precoder over all subcarriers (W)."""
        return self.waveform.block_subcarriers * float(np.sum(np.abs(precoder) ** 2))

    def rate(self, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Spectral efficiency of each terminal, Eqs. (13)-(14), and the gradient of their sum by the gains.

        Returns [terminal] (bit/s/Hz) and `d sum / d conj(gains)` [terminal, block, stream] of the values alone.
        """
        value = gains[:, :, 0]
        noise = (self.link.noise_w / self.link.gamma)[:, None]
        power = np.abs(value) ** 2
        everything = power.sum(axis=-1) + noise
        wanted = np.einsum("kbk->kb", power)
        others = everything - wanted
        share = 1.0 / gains.shape[1]
        gradient = value * (1.0 / everything - 1.0 / others)[..., None]
        k = np.arange(len(value))
        gradient[k, :, k] = value[k, :, k] / everything
        return share * np.log2(everything / others).sum(axis=1), gradient * (share / math.log(2.0))

    def speb(self, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Squared position error bound of each terminal (m^2) and its gradient, see `fisher.speb`."""
        return fisher.speb(gains, self.link, self.waveform, self.slope, self.nuisance, self.towards)

    def exact(self, precoder: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Spectral efficiency (bit/s/Hz) and squared bound (m^2) of each terminal, subcarrier by subcarrier."""
        wave = self.waveform
        stretch = 1.0 + wave.frequency_hz / wave.carrier_hz
        every = antenna.responses(self.cosines, self.rows, self.columns, stretch)
        gains = fisher.gains(every, np.repeat(precoder, wave.block_subcarriers, axis=0))
        return self.rate(gains)[0], self.speb(gains)[0]


def problem(terminals: Terminals) -> Problem:
    """The problem of a satellite and its terminals, where they are believed to be."""
    wave = terminals.waveform
    parameters, slope = fisher.jacobian(
        terminals.pos_ecef - terminals.sat_pos_ecef,
        terminals.vel_ecef - terminals.sat_vel_ecef,
        terminals.axes,
        wave.carrier_hz,
    )
    cosines = parameters[:, :2]
    return Problem(
        rows=terminals.rows,
        columns=terminals.columns,
        power_w=terminals.power_w,
        waveform=wave,
        link=Link(terminals.gamma, terminals.kappa, terminals.noise_w),
        nuisance=Nuisance(terminals.attitude_rad, terminals.clock_s, terminals.carrier_offset_hz),
        cosines=cosines,
        responses=antenna.responses(cosines, terminals.rows, terminals.columns, wave.stretch),
        slope=slope,
    )


def apeb_m(speb_m2: np.ndarray) -> float:
    """Average position error bound `sqrt(mean SPEB)` (m), section V of You et al. 2024; 0 without terminals.

    speb_m2 : of the terminals that are `heard`
    """
    return math.sqrt(float(np.mean(speb_m2))) if speb_m2.size else 0.0


def chain_of(layout: str, rows: int, columns: int, chains: int) -> np.ndarray:
    """The chain of each antenna of a partially connected array: [ant].

    contiguous : runs of antennas in their order; tiles : rectangles, as square as can be; interleaved : every
    `chains`-th antenna.
    Raises ValueError when the antennas cannot be shared out evenly, or for another layout.
    """
    ant = np.arange(rows * columns)
    if rows * columns % chains:
        raise ValueError(f"chains: expected a divisor of {rows * columns} antennas for sub-arrays, got {chains}")
    if layout == "contiguous":
        return ant // (rows * columns // chains)
    if layout == "interleaved":
        return ant % chains
    if layout != "tiles":
        raise ValueError(f"layout: expected one of {', '.join(LAYOUTS[2:])}, got {layout!r}")
    down = [n for n in range(1, chains + 1) if chains % n == 0 and rows % n == 0 and columns % (chains // n) == 0]
    if not down:
        raise ValueError(f"chains: expected a number of tiles that fit {rows} x {columns} antennas, got {chains}")
    n = min(down, key=lambda n: abs(math.log(rows / n * (chains // n) / columns)))
    return ant // columns // (rows // n) * (chains // n) + ant % columns // (columns * n // chains)


def analog(phase_rad: np.ndarray, layout: str, rows: int, columns: int, chains: int) -> np.ndarray:
    """The analog precoder F [ant, chain] of phase shifters: entries of modulus 1 where connected, else 0."""
    phasor = np.exp(1j * np.asarray(phase_rad, dtype=float))
    if layout == "fully_connected":
        return phasor.reshape(rows * columns, chains)
    f = np.zeros((rows * columns, chains), dtype=complex)
    f[np.arange(rows * columns), chain_of(layout, rows, columns, chains)] = phasor
    return f


def weights(precoder: IcalPrecoder, rows: int, columns: int, waveform: Waveform) -> np.ndarray:
    """The precoder of a record written out: [block, ant, stream] complex (square root of W)."""
    streams, chains, layout = precoder.user.size, int(precoder.chains), LAYOUTS[int(precoder.layout)]
    given = precoder.weight_re + 1j * precoder.weight_im
    if layout != "digital":
        baseband = given.reshape(waveform.blocks, chains, streams)
        return analog(precoder.phase_rad, layout, rows, columns, chains) @ baseband
    responses = antenna.responses(precoder.cosines, rows, columns, waveform.stretch)
    span = responses.reshape(waveform.blocks, 3 * streams, rows * columns).swapaxes(-1, -2)
    return span @ given.reshape(waveform.blocks, 3 * streams, streams)


def record(
    terminals: Terminals,
    p: Problem,
    given: np.ndarray,
    iterations: int,
    layout: str = "digital",
    phase_rad: np.ndarray | None = None,
) -> IcalPrecoder:
    """The record of a design: brought to the power budget, with what it promises.

    given : coefficients [block, 3 terminal, stream] on the span, or the baseband [block, chain, stream]
    phase_rad : [ant * chain], or [ant] if partially connected, of a hybrid precoder
    """
    made = IcalPrecoder(
        t_ns=terminals.t_ns,
        sat=np.array(terminals.sat),
        status=np.array(SHORT),
        iterations=np.array(iterations),
        layout=np.array(LAYOUTS.index(layout)),
        chains=np.array(0 if layout == "digital" else given.shape[1]),
        asked_m=np.array(terminals.asked_m),
        apeb_m=np.array(0.0),
        user=terminals.user,
        cosines=p.cosines,
        rate=np.zeros(p.terminals),
        bound_m=np.zeros(p.terminals),
        phase_rad=np.empty(0) if phase_rad is None else np.ravel(phase_rad),
        weight_re=given.real.ravel(),
        weight_im=given.imag.ravel(),
    )
    written = weights(made, p.rows, p.columns, p.waveform)
    power_w = p.total_power_w(written)
    scale = math.sqrt(p.power_w / power_w) if power_w > 0.0 else 0.0
    gains = p.gains(written * scale)
    speb_m2 = p.speb(gains)[0]
    reached = apeb_m(speb_m2[p.heard])
    return made.replace(
        status=np.array(REACHED if reached <= terminals.asked_m * (1.0 + REACHED_WITHIN) else SHORT),
        apeb_m=np.array(reached),
        rate=p.rate(gains)[0],
        bound_m=np.sqrt(speb_m2),
        weight_re=made.weight_re * scale,
        weight_im=made.weight_im * scale,
    )
