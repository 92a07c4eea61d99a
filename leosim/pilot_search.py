"""Where a terminal may be, before any refinement: directions and Doppler shifts around its prior, delays by FFT.

A hypothesis is a cell of directions, the place the prior expects in it, and a Doppler shift that places of the cell
can have; pilots matched to it give a peak in delay. Residual shifts of hundreds of hertz are thus no harm.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.fft import ifft

from leosim import downlink_pilots as downlink
from leosim import fisher
from leosim.downlink_pilots import Pilots, Prior
from leosim.fisher import Nuisance
from leosim.ofdm import Waveform
from leosim.units import SPEED_OF_LIGHT_M_S

OVERSAMPLING, FINELY = (
    2,
    4,
)  # of delays, at first and in the cells that are best; pilots may be at the edges of the band
CHUNK = 512  # hypotheses matched at once, which is memory
WIDEST_SEARCH_HZ = 1e3  # deviation of the carrier that is searched for, where it is unknown
ALIASES = 1  # delays a whole period of the subcarriers off that the prior may not exclude
WITHIN, RIVAL = 0.25, 0.5  # of the best score, for a cell to be searched finely, and for its best place to be refined
ZOOM = 5  # finer cells in a cell on each axis, about the best ones
WIDEST = Nuisance(attitude_rad=1.0, clock_s=1.0, carrier_hz=1e5)  # what stands for an unknown offset


@dataclass(frozen=True)
class Start:
    """One place to refine: position at the fix's time [xyz] (m), its score (SNR) and the hypotheses looked through."""

    pos_ecef: np.ndarray
    offset: np.ndarray  # [4], see `fisher.PARAMETERS`, in standard deviations
    score: float
    looked: int


def deviations(sigma: Nuisance) -> np.ndarray:
    """Deviations of the offsets, finite ones: [4]."""
    return np.minimum(sigma.sigma, WIDEST.sigma)


def along_ray(prior_pos: np.ndarray, precision: np.ndarray, sat_pos: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """The places a Gaussian prior thinks likeliest on rays from the satellite: [..., xyz].

    prior_pos, sat_pos : [xyz] m; precision : [xyz, xyz] inverse covariance; ray : [..., xyz] unit vectors
    """
    weighted = ray @ precision
    distance = weighted @ (prior_pos - sat_pos) / np.sum(weighted * ray, axis=-1)
    return sat_pos + distance[..., None] * ray


class _Sky:
    """One terminal's prior as the satellite sees it in one frame."""

    def __init__(self, pilots: Pilots, prior: Prior, k: int, frame: int) -> None:
        self.pilots, self.k, self.frame = pilots, k, frame
        self.velocity = prior.vel_ecef[k]
        self.position = prior.pos_ecef[k] + pilots.frame_s[frame] * self.velocity
        self.precision = np.linalg.inv(prior.covariance_m2[k] + np.eye(3) * 1e-6)
        self.sat_pos, self.axes = pilots.sat_pos_ecef[frame], pilots.axes[frame]
        self.relative = self.velocity - pilots.sat_vel_ecef[frame]
        self.sigma = deviations(pilots.sigma)
        self.eta, slope = self.parameters(self.position[None])
        spread = slope[0].T @ prior.covariance_m2[k] @ slope[0]
        self.spread = spread + np.diag(self.sigma**2)  # of the parameters, offsets in

    def parameters(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`fisher.jacobian` of places [point, xyz]."""
        relative = np.broadcast_to(self.relative, position.shape)
        return fisher.jacobian(position - self.sat_pos, relative, self.axes, self.pilots.waveform.carrier_hz)

    def places(self, cosines: np.ndarray) -> np.ndarray:
        """The likeliest place in each direction [..., 2]: [..., xyz]."""
        down = np.sqrt(np.maximum(1.0 - np.sum(cosines**2, axis=-1, keepdims=True), 1e-6))
        ray = np.concatenate([cosines, down], axis=-1) @ self.axes
        return along_ray(self.position, self.precision, self.sat_pos, ray)

    def cells(self, reach: float, step: float) -> np.ndarray:
        """Directions on a grid along the principal axes of the prior, within `reach` deviations: [cell, 2]."""
        variance, axes = np.linalg.eigh(self.spread[:2, :2])
        sides = reach * np.sqrt(np.maximum(variance, 0.0))
        counts = np.ceil(sides / step - 0.5).astype(int).clip(0)
        grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), axis=-1).reshape(-1, 2)
        inside = np.sum((grid * step / (sides + 0.75 * step)) ** 2, axis=1) <= 1.0
        cosines = self.eta[0, :2] + step * grid[inside] @ axes.T
        return cosines[np.sum(cosines**2, axis=1) < 1.0]

    def nearby(self, cosines: np.ndarray, reach: float, step: float) -> np.ndarray:
        """A finer grid in a cell; the cell alone where the prior tells directions that well: [cell, 2]."""
        if reach**2 * np.linalg.eigvalsh(self.spread[:2, :2])[1] <= (0.5 * step / ZOOM) ** 2:
            return cosines[None]
        grid = (np.arange(ZOOM) - (ZOOM - 1) / 2) * step / ZOOM
        return cosines + np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)


def search(
    pilots: Pilots, prior: Prior, k: int, weight: np.ndarray, step: float, reach: float, keep: int
) -> list[Start]:
    """Places of terminal k that explain the pilots of the middle frame best, the best first, at most `keep`.

    The score is `|x^H W r|^2 / (x^H W x)`, the SNR of the match x, exponential of mean 1 where there is noise alone.

    weight : [block, pilot] 1 / noise; step : of direction cosines; reach : in deviations of the prior
    """
    wave = pilots.waveform
    sky = _Sky(pilots, prior, k, len(pilots.frame_s) // 2)
    coarse = _look(sky, sky.cells(reach, step), step, reach, weight)
    found = []
    for cell in _maxima(coarse.cosines, coarse.score, 1.6 * step)[:keep]:
        near = sky.nearby(coarse.cosines[cell], reach, step)
        fine = _look(sky, near, step / ZOOM, reach, weight, FINELY)
        best = int(np.argmax(fine.score))
        width = 0.5 * np.array([step / ZOOM, step / ZOOM, delay_step_s(wave) / 2, shift_step_hz(wave)])
        for alias in range(-ALIASES, ALIASES + 1):
            delay_s = fine.delay_s[best] + alias / wave.spacing_hz
            if abs(delay_s - fine.expected_s[best]) <= coarse.gate_s:
                seen = np.array([*fine.cosines[best], delay_s, fine.doppler_hz[best]])
                found.append(Start(*_blend(sky, seen, width), float(fine.score[best]), coarse.looked))
    highest = max((start.score for start in found), default=0.0)
    return [start for start in found if start.score >= RIVAL * highest]


@dataclass(frozen=True)
class _Look:
    """Cells looked through: [cell] directions, expected delay, and the best score with its delay and Doppler shift."""

    cosines: np.ndarray
    expected_s: np.ndarray
    score: np.ndarray
    delay_s: np.ndarray
    doppler_hz: np.ndarray
    gate_s: float
    looked: int


def _look(
    sky: _Sky, cosines: np.ndarray, step: float, reach: float, weight: np.ndarray, oversampling: int = OVERSAMPLING
) -> _Look:
    """Match the pilots with cells of directions [cell, 2] of width `step`."""
    wave = sky.pilots.waveform
    places = sky.places(cosines)
    centre = sky.parameters(places)[0]
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=2))) * step
    around = sky.parameters(sky.places(cosines[:, None] + corners).reshape(-1, 3))[0].reshape(len(cosines), 4, 4)
    half = np.abs(around - centre[:, None]).max(axis=(0, 1))  # of delay and Doppler shift in a cell
    half = np.minimum(half, reach * np.sqrt(np.diag(sky.spread)))
    ray = (places - sky.sat_pos) / np.linalg.norm(places - sky.sat_pos, axis=1)[:, None]
    deep_s = 1.0 / np.sqrt(np.sum(ray @ sky.precision * ray, axis=1).min()) / SPEED_OF_LIGHT_M_S
    shift_hz = shifts(half[3] + reach * min(sky.sigma[3], WIDEST_SEARCH_HZ), wave)
    gate_s = half[2] + reach * math.hypot(deep_s, sky.sigma[2]) + delay_step_s(wave)
    score, best_hz, best_s = _match(sky, places, centre[:, 2], shift_hz, gate_s, weight, oversampling)
    delays = max(1, int(2.0 * min(gate_s, 0.5 / wave.spacing_hz) / delay_step_s(wave)))
    looked = len(cosines) * len(shift_hz) * delays
    return _Look(cosines, centre[:, 2], score, best_s, centre[:, 3] + best_hz, gate_s, looked)


def delay_step_s(waveform: Waveform) -> float:
    """Step of the delays looked through (s)."""
    return 1.0 / (OVERSAMPLING * waveform.bandwidth_hz)


def shift_step_hz(waveform: Waveform) -> float:
    """Step of the Doppler shifts looked through (Hz): a third of what the pilots of a frame resolve."""
    return 1.0 / (3.0 * (waveform.pilot_s[-1] - waveform.pilot_s[0] + waveform.symbol_s))


def shifts(half_hz: float, waveform: Waveform) -> np.ndarray:
    """Doppler shifts that cover -half_hz to half_hz: [shift]."""
    step = shift_step_hz(waveform)
    count = max(0, math.ceil(half_hz / step - 0.5))
    return step * np.arange(-count, count + 1)


def _match(
    sky: _Sky,
    places: np.ndarray,
    expected_s: np.ndarray,
    shift_hz: np.ndarray,
    gate_s: float,
    weight: np.ndarray,
    oversampling: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best score of each place over Doppler shifts and the delays of its gate, with that shift and that delay.

    places : [cell, xyz]; expected_s : [cell] their delays; weight : [block, pilot]
    """
    pilots, wave = sky.pilots, sky.pilots.waveform
    size = oversampling * wave.subcarriers
    here_s = sky.eta[0, 2]
    wanted = np.exp(2j * math.pi * here_s * wave.frequency_hz).astype(np.complex64)
    heard = pilots.received[sky.k, sky.frame] * wanted[:, None]
    heard = heard.reshape(wave.blocks, -1, wave.pilots).swapaxes(1, 2) * weight[..., None].astype(np.float32)
    cosines = sky.parameters(places)[0][:, :2]
    beams = downlink.beamed(pilots.precoder, wave.stretch[:, None, None] * cosines, pilots.rows, pilots.columns)
    still = np.zeros(len(places))
    turns = downlink.turning(places - sky.sat_pos, np.broadcast_to(sky.relative, places.shape), wave, still)
    sent = (beams @ pilots.symbols.T) * turns  # [block, cell, pilot]
    power = np.einsum("bpm,bm->p", np.abs(sent) ** 2, weight) * wave.block_subcarriers
    sent = sent / np.sqrt(np.maximum(power, 1e-300))[:, None]
    tones = np.exp(2j * math.pi * shift_hz[:, None] * downlink.pilot_offset_s(wave))
    period_s = 1.0 / wave.spacing_hz
    delays_s = np.arange(size) * (period_s / size)
    score, best_hz, best_s = (np.zeros(len(places)) for _ in range(3))
    chunk = max(1, CHUNK // len(shift_hz))
    for start in range(0, len(places), chunk):
        part = slice(start, start + chunk)
        pattern = (sent[:, part, None] * tones).conj().astype(np.complex64).reshape(wave.blocks, -1, wave.pilots)
        matched = np.moveaxis(pattern @ heard, 0, 1).reshape(pattern.shape[1], -1)
        table = np.abs(ifft(matched, size, axis=1, norm="forward", workers=1))
        off_s = delays_s - (expected_s[part, None] - here_s)
        off_s -= period_s * np.round(off_s / period_s)
        table = table.reshape(off_s.shape[0], -1, size) * (np.abs(off_s) <= gate_s)[:, None]
        flat = table.reshape(len(off_s), -1)
        best = flat.argmax(axis=1)
        rows = np.arange(len(off_s))
        score[part] = flat[rows, best].astype(float) ** 2
        best_hz[part] = shift_hz[best // size]
        best_s[part] = expected_s[part] + off_s[rows, best % size]
    return score, best_hz, best_s


def _maxima(cosines: np.ndarray, score: np.ndarray, near: float) -> np.ndarray:
    """Cells that no neighbour beats and that come within `WITHIN` of the best, in the order of their scores."""
    apart = np.linalg.norm(cosines[:, None] - cosines, axis=2)
    beaten = ((score > score[:, None]) & (apart <= near)).any(axis=1)
    cells = np.flatnonzero(~beaten & (score >= WITHIN * score.max()))
    return cells[np.argsort(-score[cells], kind="stable")]


def _blend(sky: _Sky, seen: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position at the fix's time and offsets that a peak and the prior give together, by Gauss and Newton.

    seen : [4] parameters of the peak; width : [4] how far from it they may be
    """
    root = np.linalg.cholesky(np.linalg.inv(sky.precision))
    y, offset = np.zeros(3), np.zeros(4)
    for _ in range(4):
        eta, slope = sky.parameters((sky.position + root @ y)[None])
        inward = np.concatenate([slope[0].T @ root, np.diag(sky.sigma)], axis=1) / width[:, None]
        lack = (seen - eta[0] - sky.sigma * offset) / width + inward @ np.concatenate([y, offset])
        solution = np.linalg.solve(inward.T @ inward + np.eye(7), inward.T @ lack)
        y, offset = solution[:3], solution[3:]
    return sky.position + root @ y - sky.pilots.frame_s[sky.frame] * sky.velocity, offset
