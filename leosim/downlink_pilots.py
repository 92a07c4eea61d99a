"""What terminals hear of a satellite's wideband pilots: channel, motion, offsets that nobody knows, noise.

`Pilots` holds all that a terminal must know to find its position; the truth goes in and does not come out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from leosim.fisher import Nuisance
from leosim.ofdm import Waveform
from leosim.records import Terminals
from leosim.units import SPEED_OF_LIGHT_M_S

NODES = 4  # frequencies of a block between which its responses are interpolated, to 1e-9; with three to 1e-7
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
SCATTER = ("independent", "block")


@dataclass(frozen=True)
class Impairments:
    """What is common to all pilots of a fix and not known, as standard deviations; drawn anew for each fix."""

    clock_s: float = field(default=0.0, metadata={"doc": "offset between satellite and terminal, rms (s)"})
    attitude_rad: float = field(default=0.0, metadata={"doc": "error of each direction cosine of the array, rms (rad)"})
    carrier_hz: float = field(default=0.0, metadata={"doc": "offset of the carrier, rms (Hz)"})
    ionosphere_m: float = field(default=0.0, metadata={"doc": "excess path that is left after correction, rms (m)"})
    scatter: str = field(
        default="independent",
        metadata={"doc": "paths beside the line of sight: independent (a subcarrier) | block (constant over each)"},
    )

    def __post_init__(self) -> None:
        for name in ("clock_s", "attitude_rad", "carrier_hz", "ionosphere_m"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a number of at least 0, got {getattr(self, name)!r}")
        if self.scatter not in SCATTER:
            raise ValueError(f"scatter: expected one of {', '.join(SCATTER)}, got {self.scatter!r}")

    @property
    def nuisance(self) -> Nuisance:
        """What a terminal that knows these deviations allows for; the ionosphere counts as clock."""
        clock_s = math.hypot(self.clock_s, self.ionosphere_m / SPEED_OF_LIGHT_M_S)
        return Nuisance(self.attitude_rad, clock_s, self.carrier_hz)


@dataclass(frozen=True)
class Frames:
    """Where a satellite is at the middle of the pilots of each frame of a fix.

    frame_s : [frame] since the fix's time (s); sat_pos_ecef, sat_vel_ecef : [frame, xyz] m and m/s, velocity in the
    rotating frame; axes : [frame, 3, xyz] along-track, cross-track, nadir
    """

    frame_s: np.ndarray
    sat_pos_ecef: np.ndarray
    sat_vel_ecef: np.ndarray
    axes: np.ndarray


@dataclass(frozen=True)
class Pilots:
    """What the terminals of one satellite have heard of its pilots, and all that a terminal must know.

    user : [terminal] rows; rows, columns : of the half-wavelength array
    precoder : [block, ant, stream] complex (square root of W); symbols : [pilot, stream] of modulus 1, orthogonal
    received : [terminal, frame, subcarrier, pilot] complex64 (square root of W)
    frame_s, sat_pos_ecef, sat_vel_ecef, axes : of each frame, as broadcast, see `Frames`
    noise_w, gamma, kappa : [terminal] noise a subcarrier (W), mean power gain with a unit-norm beam, K-factor
    sigma : deviations of attitude, clock and carrier that the terminal allows for
    """

    t_ns: int
    sat: int
    user: np.ndarray
    rows: int
    columns: int
    waveform: Waveform
    precoder: np.ndarray
    symbols: np.ndarray
    received: np.ndarray
    frame_s: np.ndarray
    sat_pos_ecef: np.ndarray
    sat_vel_ecef: np.ndarray
    axes: np.ndarray
    noise_w: np.ndarray
    gamma: np.ndarray
    kappa: np.ndarray
    sigma: Nuisance


@dataclass(frozen=True)
class Prior:
    """What terminals know before: a coarse position with its covariance at the fix's time, and their own velocity.

    pos_ecef, vel_ecef : [terminal, xyz] m and m/s; covariance_m2 : [terminal, xyz, xyz], as a `Fix` has it
    """

    pos_ecef: np.ndarray
    covariance_m2: np.ndarray
    vel_ecef: np.ndarray


def coarse(pos_ecef: np.ndarray, vel_ecef: np.ndarray, up: np.ndarray, level_m: float, upright_m: float) -> Prior:
    """A prior as round as a network cell and as flat as a map.

    pos_ecef, vel_ecef, up : [terminal, xyz] m, m/s and the unit vector upwards; level_m : standard deviation on each
    horizontal axis; upright_m : of the height
    """
    outer = up[:, :, None] * up[:, None, :]
    return Prior(pos_ecef, level_m**2 * (np.eye(3) - outer) + upright_m**2 * outer, vel_ecef)


def pilot_symbols(pilots: int, streams: int) -> np.ndarray:
    """Pilot symbols of modulus 1, orthogonal over streams: columns of a DFT matrix with its rows out of order.

    In order, a Doppler shift would turn one stream into the next. [pilot, stream] complex.
    Raises ValueError for more streams than pilots.
    """
    if streams > pilots:
        raise ValueError(f"pilots: expected at least one a stream, {streams}, got {pilots}")
    m = np.arange(pilots)
    shuffled = np.argsort(m * m * GOLDEN % 1.0, kind="stable")
    return np.exp(2j * math.pi * np.outer(shuffled, np.arange(streams)) / pilots)


def pilot_offset_s(waveform: Waveform) -> np.ndarray:
    """Time of each pilot from the middle of the pilots of its frame (s): [pilot]."""
    return waveform.pilot_s - waveform.pilot_s.mean()


def straight(terminals: Terminals, interval_s: float | None = None) -> Frames:
    """The frames of a fix sent one after the other by a satellite that flies straight on, centred on the fix's time.

    interval_s : from frame to frame (default: without a break)
    """
    wave = terminals.waveform
    middle = (wave.frames - 1) / 2
    frame_s = (np.arange(wave.frames) - middle) * (wave.frame_s if interval_s is None else interval_s)
    velocity = np.broadcast_to(terminals.sat_vel_ecef, (wave.frames, 3))
    return Frames(
        frame_s=frame_s,
        sat_pos_ecef=terminals.sat_pos_ecef + frame_s[:, None] * velocity,
        sat_vel_ecef=velocity,
        axes=np.broadcast_to(terminals.axes, (wave.frames, 3, 3)),
    )


def sight(
    pos_ecef: np.ndarray, vel_ecef: np.ndarray, frames: Frames | Pilots
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Terminals as seen from the satellite in each frame.

    pos_ecef, vel_ecef : [terminal, xyz] at the fix's time
    Returns the offset from the satellite and the relative velocity [terminal, frame, xyz], and the direction cosines
    [terminal, frame, 2].
    """
    moved = pos_ecef[:, None] + frames.frame_s[:, None] * vel_ecef[:, None]
    offset, relative = moved - frames.sat_pos_ecef, vel_ecef[:, None] - frames.sat_vel_ecef
    across = np.einsum("fcx,kfx->kfc", frames.axes[:, :2], offset)
    return offset, relative, across / np.linalg.norm(offset, axis=-1, keepdims=True)


def turning(offset: np.ndarray, relative: np.ndarray, waveform: Waveform, carrier_hz: np.ndarray) -> np.ndarray:
    """Phase factors of the pilots by motion within a frame: exp(-2 pi i f_c / c (|r + v t| - |r|)), [..., pilot].

    offset, relative : [..., xyz]; carrier_hz : [...] offset of the carrier
    The delay holds through a frame: the terminal follows the drift it expects, and what is left of it is below 1 m.
    """
    t = pilot_offset_s(waveform)
    away = np.linalg.norm(offset[..., None, :] + t[:, None] * relative[..., None, :], axis=-1)
    away = away - np.linalg.norm(offset, axis=-1)[..., None]
    cycles = np.asarray(carrier_hz)[..., None] * t - waveform.carrier_hz / SPEED_OF_LIGHT_M_S * away
    return np.exp(2j * math.pi * cycles)


@lru_cache(maxsize=16)
def nodes(waveform: Waveform, count: int = NODES) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies over a block's centre (Hz) [node], and what interpolates from them: [subcarrier of a block, node].

    Chebyshev's nodes: a response turns by some hundredths of a radian over a block.
    """
    inside = waveform.frequency_hz[: waveform.block_subcarriers] - waveform.block_hz[0]
    half = max(float(inside[-1]), waveform.spacing_hz)
    node = half * np.cos(math.pi * (np.arange(count) + 0.5) / count)
    weight = np.ones((len(inside), count))
    for i in range(count):
        for j in range(count):
            if j != i:
                weight[:, i] *= (inside - node[j]) / (node[i] - node[j])
    return node, weight


def beamed(precoder: np.ndarray, cosines: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """`v^T W` towards directions, one set a block, by the two axes of the array in turn: [block, point, stream].

    precoder : [block, ant, stream]; cosines : [block, point, 2], stretched by squint
    """
    blocks, _, streams = precoder.shape
    m, n = (np.arange(count) - (count - 1) / 2 for count in (rows, columns))
    along = np.exp(-1j * np.pi * cosines[..., :1] * m) / math.sqrt(rows * columns)
    cross = np.exp(-1j * np.pi * cosines[..., 1:] * n)
    sheets = precoder.reshape(blocks, rows, columns, streams).swapaxes(1, 2).reshape(blocks, columns, rows * streams)
    rest = (cross @ sheets).reshape(*along.shape, streams)
    return (along[..., None, :] @ rest)[..., 0, :]


def _amplitudes(precoder: np.ndarray, cosines: np.ndarray, delay_s: np.ndarray, terminals: Terminals) -> np.ndarray:
    """`v^T W exp(-2 pi i f tau)` of one terminal on every subcarrier: [frame, subcarrier, stream] complex64.

    cosines : [frame, 2]; delay_s : [frame]
    """
    wave = terminals.waveform
    node, weight = nodes(wave)
    stretch = 1.0 + (wave.block_hz[:, None] + node) / wave.carrier_hz  # [block, node]
    points = (stretch[:, :, None, None] * cosines).reshape(wave.blocks, -1, 2)
    heard = beamed(precoder, points, terminals.rows, terminals.columns)
    heard = heard.reshape(wave.blocks, len(node), len(cosines), -1).transpose(2, 0, 3, 1)
    every = (heard @ weight.T).swapaxes(-1, -2).reshape(len(cosines), wave.subcarriers, -1)
    return (every * np.exp(-2j * math.pi * delay_s[:, None] * wave.frequency_hz)[..., None]).astype(np.complex64)


def receive(
    terminals: Terminals, frames: Frames, precoder: np.ndarray, impairments: Impairments, rng: np.random.Generator
) -> Pilots:
    """Pilots through the channel: `r = (alpha + beta) v^T W s exp(-2 pi i f tau) exp(i phi(t)) + z`, Eqs. (7)-(9).

    alpha is the line of sight of power `kappa gamma / (1 + kappa)` with a phase of its own in each frame, beta the
    rest, `CN(0, gamma / (1 + kappa))`, on every subcarrier and symbol anew or constant over the blocks, z noise.
    Responses with squint on every subcarrier, delays with clock and ionosphere, phases by the motion of both ends.
    Attitude is the satellite's and the same for all its terminals, clock, carrier and ionosphere are each terminal's.

    terminals : where they truly are at `t_ns`; precoder : [block, ant, stream] (square root of W), see `joint.weights`
    rng : offsets, phases, scattering and noise draw from children of it
    Raises ValueError when frames or precoder do not fit the waveform or the array.
    """
    wave = terminals.waveform
    _check(terminals, frames, precoder)
    draw_offsets, draw_phases, draw_scatter, draw_noise = rng.spawn(4)
    count = len(terminals.user)
    attitude = impairments.attitude_rad * draw_offsets.standard_normal(2)
    clock_s, carrier_hz, excess_m = (
        sigma * draw_offsets.standard_normal(count)
        for sigma in (impairments.clock_s, impairments.carrier_hz, impairments.ionosphere_m)
    )
    offset, relative, cosines = sight(terminals.pos_ecef, terminals.vel_ecef, frames)
    delay_s = np.linalg.norm(offset, axis=-1) / SPEED_OF_LIGHT_M_S
    delay_s = delay_s + (clock_s + excess_m / SPEED_OF_LIGHT_M_S)[:, None]
    turns = turning(offset, relative, wave, np.broadcast_to(carrier_hz[:, None], delay_s.shape))
    phase = np.exp(2j * math.pi * draw_phases.random((count, wave.frames)))
    symbols = pilot_symbols(wave.pilots, precoder.shape[2])
    scattered = terminals.gamma / (1.0 + terminals.kappa)
    received = np.empty((count, wave.frames, wave.subcarriers, wave.pilots), dtype=np.complex64)
    for k in range(count):
        amplitude = _amplitudes(precoder, cosines[k] + attitude, delay_s[k], terminals)
        sent = (symbols.T * turns[k][:, None]).astype(np.complex64)  # [frame, stream, pilot]
        clean = amplitude @ sent
        gain = (math.sqrt(terminals.kappa[k] * scattered[k]) * phase[k]).astype(np.complex64)[:, None, None]
        if impairments.scatter == "block":
            gain = gain + _by_block(wave, draw_scatter, float(scattered[k]))
            power = np.float32(terminals.noise_w[k])
        else:
            power = np.float32(scattered[k]) * (clean.real**2 + clean.imag**2) + np.float32(terminals.noise_w[k])
        received[k] = _normal(draw_noise, clean.shape)
        received[k] *= np.sqrt(power)
        received[k] += gain * clean
    return Pilots(
        t_ns=terminals.t_ns,
        sat=terminals.sat,
        user=terminals.user,
        rows=terminals.rows,
        columns=terminals.columns,
        waveform=wave,
        precoder=precoder,
        symbols=symbols,
        received=received,
        **vars(frames),
        noise_w=terminals.noise_w,
        gamma=terminals.gamma,
        kappa=terminals.kappa,
        sigma=impairments.nuisance,
    )


def _check(terminals: Terminals, frames: Frames, precoder: np.ndarray) -> None:
    wave = terminals.waveform
    if len(frames.frame_s) != wave.frames:
        raise ValueError(f"frames: expected {wave.frames}, as the waveform has, got {len(frames.frame_s)}")
    if precoder.shape[:2] != (wave.blocks, terminals.rows * terminals.columns):
        raise ValueError(
            f"precoder: expected {wave.blocks} blocks of {terminals.rows * terminals.columns} antennas, "
            f"got an array of shape {precoder.shape}"
        )


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard complex normal numbers, CN(0, 1), complex64."""
    parts = rng.standard_normal((*shape[:-1], 2 * shape[-1]), dtype=np.float32)
    parts *= np.float32(math.sqrt(0.5))
    return parts.view(np.complex64)


def _by_block(wave: Waveform, rng: np.random.Generator, power: float) -> np.ndarray:
    """Gains of scattering that are one number a block and symbol: [frame, subcarrier, pilot]."""
    each = _normal(rng, (wave.frames, wave.blocks, wave.pilots)) * np.float32(math.sqrt(power))
    return np.repeat(each, wave.block_subcarriers, axis=1)
