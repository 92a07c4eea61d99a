"""Steps that detectors share: the waveform sent, delay and Doppler by matched filter, direction by FFT and Newton.

Delays are in samples after the first snapshot of the block, Doppler is that left in the block. All noise is of
variance 1, so the square of a matched filter's output is its SNR (plus 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.fft import fft, fft2, fftfreq, next_fast_len

from leosim import radar
from leosim.echo import Echo, delayed, ramp, shifted, tone
from leosim.records import FOUND, Detection

DROOP = 0.1  # turns of the widest Doppler within a block of summed samples: 0.14 dB lost at the edge of the gate
PIECES = 256  # that a spectrum or a product is summed into before it is evaluated off the grid
KNOT = 0.1  # of a beam of the satellite: as far as it departs, delays share a reference
NEWTON = 8


@dataclass(frozen=True)
class Prior:
    """Where the target is expected, and how far from there to look.

    value : [measure] direction cosines (u, w), bistatic range (m), Doppler (Hz), as `echo.measures`
    gate : [measure] how far from it they are searched, on both sides; cosines beyond 2 search all the sky
    """

    value: np.ndarray
    gate: np.ndarray


# ---------------------------------------------------------------------------------------------
# What was sent where


def position(echo: Echo, arrival: np.ndarray, delay: np.ndarray | float) -> np.ndarray:
    """Where an echo of some delay comes from: [..., xyz] east, north, up of the receiver (m).

    The ellipsoid of its bistatic range met by the line of arrival, Eqs. (44)-(49), Park et al. 2024.
    arrival : [2] direction cosines; delay : [...] samples
    """
    up = math.sqrt(max(0.0, 1.0 - float(arrival @ arrival)))
    line = np.append(arrival, up)
    excess = np.maximum(echo.gate_m + np.asarray(delay) * echo.sample_m, 1e-3)
    cosine = np.array(line @ echo.direct)
    return radar.range_from_excess(excess, np.array(echo.range_direct_m), cosine)[..., None] * line


def references(echo: Echo, arrival: np.ndarray, delays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms sent towards where each of some increasing delays would be: [knot, sample], and the knot [delay].

    Eq. (53), Park et al. 2024, with the departure angle of each delay, Eqs. (50)-(51); delays whose departures are
    closer than a tenth of a beam share one.
    """
    ends = echo.departure(position(echo, arrival, delays[[0, -1]]))
    beams = max(echo.rows, echo.columns) / 2.0 * float(np.abs(ends[1] - ends[0]).max())
    knots = min(len(delays), 1 + math.ceil(beams / KNOT))
    at = np.linspace(delays[0], delays[-1], 2 * knots + 1)[1::2]
    knot = np.minimum((np.arange(len(delays)) * knots) // len(delays), knots - 1)
    return echo.sent(echo.departure(position(echo, arrival, at))), knot


# ---------------------------------------------------------------------------------------------
# The direct path


def direct_path(echo: Echo, before: int, after: int) -> np.ndarray:
    """An orthonormal basis of the direct path and its delays by whole samples, what ECA projects off: [tap, snapshot].

    Extensive cancellation: whatever arrives with the direct path's waveform and Doppler within the taps, by any
    direction and with any gain, leaves a block Y as `Y - (Y Q^H) Q`. An echo of the same delays at a Doppler
    that differs by more than 1 / T stays.

    before, after : taps earlier and later than the direct path; both 0 take the path alone
    """
    snapshots = echo.block.shape[1]
    wave = echo.sent(echo.departure(np.zeros(3)))
    taps = before + after + 1
    last = delayed(wave, after - echo.gate_m / echo.sample_m, snapshots + taps - 1)
    # Tap k is the last one read that much further on.
    copies = np.stack([last[taps - 1 - k : taps - 1 - k + snapshots] for k in range(taps)])
    copies *= tone(echo.direct_hz - echo.reference_hz, echo.interval_s, snapshots)
    heard = copies[np.linalg.norm(copies, axis=1) > 0.0]
    # Cholesky of the small Gram matrix is enough: shifts of a noise-like waveform are nearly orthogonal.
    gram = (heard @ heard.conj().T).astype(np.complex128)
    gram += 1e-6 * np.trace(gram).real / max(1, len(gram)) * np.eye(len(gram))
    return np.linalg.solve(np.linalg.cholesky(gram), np.eye(len(gram))).astype(np.complex64) @ heard


def without(rows: np.ndarray, basis: np.ndarray | None) -> np.ndarray:
    """Rows [..., snapshot] less their parts in an orthonormal basis [tap, snapshot]."""
    if basis is None or not len(basis):
        return rows
    for _ in range(2):  # once leaves -120 dB, what keeps the basis regular; twice -134 dB, what rounding leaves
        rows = rows - (rows @ basis.conj().T) @ basis
    return rows


# ---------------------------------------------------------------------------------------------
# Delay and Doppler


def beam(echo: Echo, arrival: np.ndarray) -> np.ndarray:
    """b^H Y / ||b||, the block combined towards a direction: [snapshot] complex64, noise of variance 1."""
    b = radar.response(echo.receiver, arrival, echo.steered)
    return (b / np.linalg.norm(b)).conj().astype(np.complex64) @ echo.block


def delays_of(echo: Echo, prior: Prior) -> np.ndarray:
    """Whole delays the prior's range gate holds, within what the block holds: [delay] samples, perhaps none."""
    centre, half = prior.value[2] - echo.range_direct_m - echo.gate_m, prior.gate[2]
    last = echo.block.shape[1] - echo.symbols.shape[1]
    first = max(0, math.ceil((centre - half) / echo.sample_m))
    return np.arange(first, min(last, math.floor((centre + half) / echo.sample_m)) + 1)


def search(
    row: np.ndarray,
    sent: np.ndarray,
    knot: np.ndarray,
    delays: np.ndarray,
    interval_s: float,
    centre_hz: float,
    half_hz: float,
) -> tuple[int, float, int]:
    """The largest matched-filter output over delays and Dopplers: delay, Doppler (Hz), cells searched.

    For each delay the product of row and reference is summed in blocks too short for any Doppler of the gate to
    turn in, then Fourier transformed to quarters of a resolution cell.

    row : [snapshot]; sent : [knot, sample], knot : [delay], of `references`; delays : [delay]
    """
    samples = sent.shape[1]
    size = max(1, min(math.floor(DROOP / max(half_hz * interval_s, 1e-12)), samples))
    mixed = row * tone(-centre_hz, interval_s, len(row))
    size_of_knot = np.bincount(knot, minlength=len(sent))
    blocks = _blocks(
        np.stack([mixed.real, mixed.imag]), np.stack([sent.real, sent.imag]), int(delays[0]), size_of_knot, size
    )
    points = next_fast_len(4 * blocks.shape[1])
    power = np.abs(fft(blocks, points, axis=1, overwrite_x=True, workers=1)) ** 2
    frequency = fftfreq(points, size * interval_s)
    cell_hz = 1.0 / (samples * interval_s)
    power[:, np.abs(frequency) > half_hz + 0.5 * cell_hz] = 0.0
    power /= np.sum(np.abs(sent) ** 2, axis=1)[knot, None]
    best, at = np.unravel_index(np.argmax(power), power.shape)
    cells = len(delays) * math.ceil(1.0 + 2.0 * half_hz / cell_hz)
    return int(delays[best]), centre_hz + float(frequency[at]), cells


@njit(cache=True, nogil=True)
def _blocks(row: np.ndarray, sent: np.ndarray, first: int, shares: np.ndarray, size: int) -> np.ndarray:
    """Sums of `size` products of the row, read later by each delay, and its knot's conjugate: [delay, block].

    row : [(real, imaginary), snapshot]; sent : [(real, imaginary), knot, sample]; first : delay
    shares : [knot] number of successive delays that use it
    """
    knots, samples = sent.shape[1], sent.shape[2]
    count = (samples + size - 1) // size
    out = np.zeros((shares.sum(), count), dtype=np.complex64)
    begin = 0
    for k in range(knots):
        n_delays = shares[k]
        re, im = np.empty(n_delays, dtype=np.float32), np.empty(n_delays, dtype=np.float32)
        for block in range(count):
            re[:] = 0.0
            im[:] = 0.0
            for n in range(block * size, min(samples, (block + 1) * size)):
                a, b = sent[0, k, n], sent[1, k, n]
                x = row[0, first + begin + n : first + begin + n + n_delays]
                y = row[1, first + begin + n : first + begin + n + n_delays]
                for d in range(n_delays):  # delays innermost: no sum along the vector lanes
                    re[d] += a * x[d] + b * y[d]
                    im[d] += a * y[d] - b * x[d]
            for d in range(n_delays):
                out[begin + d, block] = complex(re[d], im[d])
        begin += n_delays
    return out


def refine(
    row: np.ndarray, sent: np.ndarray, delay: float, doppler_hz: float, interval_s: float, rounds: int
) -> tuple[float, float]:
    """Delay (samples) and Doppler (Hz) of the peak of the matched filter next to a point of the grid.

    By turns, each at the other's value: the delay from the cross spectrum of row and reference, the Doppler from
    their product at the exact fractional delay. A delay is sought over a sample to both sides before it is
    refined, for near half a sample the larger of two neighbours may be the wrong one.
    """
    samples, snapshots = len(sent), len(row)
    size = next_fast_len(snapshots + 64)
    spectrum = fft(sent, size, workers=1)
    k = np.fft.fftshift(fftfreq(size))
    cell_hz = 1.0 / (samples * interval_s)
    for turn in range(rounds):
        mixed = row * tone(-doppler_hz, interval_s, snapshots)
        cross = fft(mixed, size, workers=1) * np.conj(spectrum)
        pieces, where = _pieces(np.fft.fftshift(cross) * ramp(delay / size, size), k)
        delay += climb(pieces, 2.0 * math.pi * where, 1.0 if turn == 0 else 0.0, 0.125)
        product = mixed * np.conj(shifted(spectrum, delay)[:snapshots])
        pieces, where = _pieces(product, np.arange(snapshots) * interval_s)
        doppler_hz += climb(pieces, -2.0 * math.pi * where, 0.5 * cell_hz if turn == 0 else 0.0, 0.125 * cell_hz)
    return delay, doppler_hz


def _pieces(values: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values summed in neighbouring groups, and the centre of each group about the middle: [piece], [piece]."""
    size = math.ceil(len(values) / PIECES)
    padding = -len(values) % size
    step = at[1] - at[0]
    whole = np.concatenate([values, np.zeros(padding, dtype=values.dtype)])
    pieces = whole.reshape(-1, size).sum(axis=1).astype(np.complex128)
    return pieces, at[0] + step * (0.5 * (size - 1) + size * np.arange(len(pieces)))


def climb(pieces: np.ndarray, at: np.ndarray, span: float, step: float) -> float:
    """The x near 0 that maximises `|sum_i pieces_i exp(i at_i x)|^2`: a scan over +-span, then Newton's steps."""
    scan = np.arange(-round(span / step), round(span / step) + 1) * step
    x = float(scan[np.argmax(np.abs(np.exp(1j * np.outer(scan, at)) @ pieces))])
    at = at - np.average(at, weights=np.abs(pieces) + 1e-300)
    for _ in range(NEWTON):
        turned = pieces * np.exp(1j * at * x)
        s, s1, s2 = turned.sum(), (1j * at * turned).sum(), -(at * at * turned).sum()
        slope = 2.0 * (np.conj(s) * s1).real
        curvature = 2.0 * (abs(s1) ** 2 + (np.conj(s) * s2).real)
        if curvature >= 0.0:  # no maximum near: the scan's point stands
            break
        move = float(np.clip(-slope / curvature, -step, step))
        x += move
        if abs(move) < 1e-9 * step:
            break
    return x


def output(
    row: np.ndarray, sent: np.ndarray, delay: float, doppler_hz: float, interval_s: float, basis: np.ndarray | None
) -> float:
    """Square of the matched filter's output of a row at a delay and Doppler, its SNR plus 1 (1)."""
    wave = without(delayed(sent, delay, len(row)) * tone(doppler_hz, interval_s, len(row)), basis)
    return float(abs(np.vdot(wave, row)) ** 2 / np.vdot(wave, wave).real)


def compress(echo: Echo, sent: np.ndarray, delay: float, doppler_hz: float, basis: np.ndarray | None) -> np.ndarray:
    """The block correlated with the known waveform at a delay and Doppler: [channel] complex, noise of variance 1.

    What is left of an echo there is its response b times the root of its SNR in one element. The direct path
    is projected off the waveform, which is the same as off the block, and free.
    """
    snapshots = echo.block.shape[1]
    wave = delayed(sent, delay, snapshots) * tone(doppler_hz, echo.interval_s, snapshots)
    wave = without(wave, basis)
    return (echo.block @ np.conj(wave)).astype(np.complex128) / np.linalg.norm(wave)


# ---------------------------------------------------------------------------------------------
# Direction


def directions(echo: Echo, vectors: np.ndarray, prior: Prior, count: int) -> np.ndarray:
    """Direction cosines where the steering vector lies closest to the span of vectors: [peak, 2], best first.

    Maximises `sum_k |b^H v_k|^2 / ||b||^2`, for orthonormal v the inverse of the MUSIC spectrum's denominator,
    Eq. (43), Park et al. 2024, less a constant. An FFT of four points a beam finds the peak in the visible sky
    within the prior's gate and the main lobe of the sub-arrays, Newton's steps in (u, w) its place.

    vectors : [channel, k] complex; count : how many peaks at most, apart by a beam or more
    """
    channels, spacing = np.array(echo.receiver.channels), np.array(echo.receiver.subarray)
    grid = [next_fast_len(4 * int(n)) for n in channels]
    spectrum = fft2(vectors.T.reshape(-1, *channels), grid, workers=1)
    power = np.sum(np.abs(spectrum) ** 2, axis=0)
    centre = np.where(spacing > 1, echo.steered, 0.0)
    u, w = (
        c + np.remainder(2.0 * fftfreq(n) / s - c + 1.0 / s, 2.0 / s) - 1.0 / s
        for c, n, s in zip(centre, grid, spacing, strict=True)
    )
    seen = u[:, None] ** 2 + w**2 <= 1.0
    # A peak at the edge of the gate has its largest point up to half a step outside.
    for axis, (cosine, n, s) in enumerate(zip((u[:, None], w[None, :]), grid, spacing, strict=True)):
        seen &= np.abs(cosine - prior.value[axis]) <= prior.gate[axis] + 1.0 / (n * s)
    power = np.where(seen, power, -1.0)
    x = math.pi * _places(channels, spacing)
    found: list[np.ndarray] = []
    while len(found) < count:
        i, j = np.unravel_index(np.argmax(power), power.shape)
        if power[i, j] < 0.0:
            break
        found.append(_newton(vectors, x, np.array([u[i], w[j]])))
        beam_u, beam_w = 2.0 / (channels * spacing)
        power[(np.abs(u - found[-1][0])[:, None] < beam_u) & (np.abs(w - found[-1][1]) < beam_w)] = -1.0
    return np.array(found).reshape(-1, 2)


def beams_of(echo: Echo, prior: Prior) -> int:
    """Beams of the receiver, at least one, that the prior's direction gate holds."""
    extent = np.multiply(echo.receiver.channels, echo.receiver.subarray) * np.minimum(prior.gate[:2], 1.0)
    return int(np.prod(np.ceil(np.clip(extent, 1.0, echo.receiver.channels))))


def _places(channels: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    x, y = (s * (np.arange(n) - 0.5 * (n - 1)) for n, s in zip(channels, spacing, strict=True))
    return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)


def _newton(vectors: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The maximum of `sum_k |sum_n v_nk exp(-i x_n . u)|^2` next to a direction u."""
    u = start.copy()
    limit = 1.0 / np.ptp(x, axis=0)  # an eighth of a beam or so a step: never past the peak's flank
    for _ in range(NEWTON):
        turned = np.exp(-1j * (x @ u))[:, None] * vectors
        s = turned.sum(axis=0)
        s1 = -1j * (x.T @ turned)
        s2 = -np.einsum("na,nb,nk->abk", x, x, turned)
        slope = 2.0 * np.sum(np.conj(s) * s1, axis=1).real
        bend = 2.0 * np.sum(np.conj(s1)[:, None] * s1 + np.conj(s) * s2, axis=2).real
        if not (bend[0, 0] < 0.0 and np.linalg.det(bend) > 0.0):
            break
        move = np.clip(-np.linalg.solve(bend, slope), -limit, limit)
        u += move
        if np.all(np.abs(move) < 1e-9 * limit):
            break
    return u


# ---------------------------------------------------------------------------------------------
# What is told


def covariance(echo: Echo, arrival: np.ndarray, statistic: float, angle_snr: float | None = None) -> np.ndarray:
    """Bound of the errors of (u, w, bistatic range, Doppler) at an SNR: [measure, measure].

    Direction: `radar.angle_covariance`, the amplitude unknown. Delay and Doppler of a waveform that fills band and
    dwell evenly, mean-square width 1/12 of their squares: `var tau = 3 T_s^2 / (2 pi^2 snr)` and
    `var f = 3 / (2 pi^2 T^2 snr)`, uncorrelated with each other as the waveform is like noise.

    statistic : SNR after the matched filter and array, plus 1; angle_snr : that which the direction is told with
    """
    snr = max(statistic - 1.0, 1e-3)
    element = (snr if angle_snr is None else angle_snr) / float(
        radar.detection_snr(echo.receiver, np.array(1.0), arrival, echo.steered)
    )
    out = np.zeros((4, 4))
    out[:2, :2] = radar.angle_covariance(echo.receiver, np.array(element), arrival, echo.steered)
    cell = 1.5 / (math.pi**2 * snr)
    out[2, 2] = cell * echo.sample_m**2
    out[3, 3] = cell / (echo.symbols.shape[1] * echo.interval_s) ** 2
    return out


def report(
    echo: Echo,
    status: int,
    statistic: float,
    arrival: np.ndarray | None = None,
    delay: float = math.nan,
    doppler_hz: float = math.nan,
    errors: np.ndarray | None = None,
) -> Detection:
    """What was found as a record; nothing but status and statistic unless it was."""
    value = np.full(4, math.nan)
    if status == FOUND and arrival is not None:
        way_m = echo.range_direct_m + echo.gate_m + delay * echo.sample_m
        value = np.array([*arrival, way_m, doppler_hz + echo.reference_hz])
    return Detection(
        t_ns=echo.t_ns,
        sat=np.array(echo.sat),
        target=np.array(echo.target),
        status=np.array(status),
        statistic=np.array(statistic),
        value=value,
        covariance=np.full((4, 4), math.nan) if errors is None else errors,
    )
