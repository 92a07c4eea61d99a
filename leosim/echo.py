"""What a radar receiver hears in one dwell: echoes, the direct path and clutter, sampled, over noise of variance 1.

The block of Eqs. (18)-(20), Park et al. 2024, for any number of targets, and what a detector may know of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.fft import fft, ifft, next_fast_len

from leosim import motion, radar
from leosim.antenna import element_gain, steering
from leosim.channel import Radio, free_space_gain
from leosim.orbit import body_axes
from leosim.radar import Receiver
from leosim.records import IsacPrecoder
from leosim.units import SPEED_OF_LIGHT_M_S

SYMBOLS = ("qpsk", "gaussian")
FLUCTUATIONS = ("none", "swerling_1")
GUARD = 64
"""Zeros after a waveform before it repeats, so that the side lobes of a fractional delay do not wrap onto it."""


@dataclass(frozen=True)
class Reception:
    """What a dwell is like, besides geometry and precoder.

    samples : L of the dwell
    gate_m : first and last excess of the echo's way over the direct path that the receiver records (m); the block
        starts with the first, so all but some 1e4 of the samples of absolute delay are no part of it
    symbols : "qpsk" or "gaussian", of unit power, independent from stream to stream: S S^H is L I on average
    precompensated : whether the receiver takes the Doppler of the direct path off what it records
    direct : share of the direct path's power that front end and analogue suppression leave (1), 0 for none
    clutter : power of the clutter over that of the unsuppressed direct path (1), 0 for none
    clutter_excess_m : ways of the clutter exceed the direct path by up to this (m)
    scatterers : fixed points the clutter comes from
    rcs_model : of `radar.rcs`; fluctuation : "none" or "swerling_1", from dwell to dwell
    noise : whether there is any

    Raises ValueError for an impossible value.
    """

    samples: int
    gate_m: tuple[float, float]
    symbols: str = "qpsk"
    precompensated: bool = True
    direct: float = 1.0
    clutter: float = 0.0
    clutter_excess_m: float = 1_000.0
    scatterers: int = 32
    rcs_model: str = "monostatic"
    fluctuation: str = "none"
    noise: bool = True

    def __post_init__(self) -> None:
        for name, known in (("symbols", SYMBOLS), ("fluctuation", FLUCTUATIONS), ("rcs_model", radar.RCS_MODELS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected {' or '.join(known)}, got {getattr(self, name)!r}")
        if self.samples < 2:
            raise ValueError(f"samples: expected at least 2, got {self.samples}")
        if not self.gate_m[0] <= self.gate_m[1]:
            raise ValueError(f"gate_m: expected the first excess before the last, got {self.gate_m}")
        for name in ("direct", "clutter", "clutter_excess_m"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class Echo:
    """A dwell as the receiver has it: what it heard, what was sent, and where satellite and receiver are.

    Nothing of it is logged; it is recomputed from the precoder, the geometry and the seed.

    t_ns, sat, target : of the precoder
    block : [channel, snapshot] complex64, outputs of the receiver's sub-arrays, noise of variance 1; snapshot n is
        `gate_m / c + n interval_s` after the direct path arrives
    symbols : [stream, sample] complex64, of unit power: what was sent, which the receiver knows
    gate_m : excess of the echo's way over the direct path at the first snapshot (m)
    interval_s : sampling interval (s); carrier_hz : carrier (Hz)
    reference_hz : Doppler that was taken off the block; an echo turns in it at its own less this (Hz)
    sat_pos_enu, sat_vel_enu : [xyz] the satellite, east, north, up of the receiver (m, m/s against the ground)
    sat_axes_enu : [(along, cross, nadir), xyz] its body axes there
    rows, columns : of its array
    cosines : [direction, 2], weights : [direction, stream] of the precoder, as in `IsacPrecoder`
    receiver : the receiver; steered : [2] direction cosines its sub-arrays are steered to
    """

    t_ns: int
    sat: int
    target: int
    block: np.ndarray = field(repr=False)
    symbols: np.ndarray = field(repr=False)
    gate_m: float
    interval_s: float
    carrier_hz: float
    reference_hz: float
    sat_pos_enu: np.ndarray
    sat_vel_enu: np.ndarray
    sat_axes_enu: np.ndarray = field(repr=False)
    rows: int
    columns: int
    cosines: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    receiver: Receiver
    steered: np.ndarray

    @property
    def range_direct_m(self) -> float:
        """Distance satellite-receiver (m)."""
        return float(np.linalg.norm(self.sat_pos_enu))

    @property
    def direct(self) -> np.ndarray:
        """Unit vector from the receiver to the satellite: [xyz] east, north, up."""
        return self.sat_pos_enu / self.range_direct_m

    @property
    def direct_hz(self) -> float:
        """Doppler of the direct path, before any is taken off (Hz)."""
        return float(-self.carrier_hz / SPEED_OF_LIGHT_M_S * self.sat_vel_enu @ self.direct)

    @property
    def sample_m(self) -> float:
        """The way light goes in a sampling interval (m)."""
        return SPEED_OF_LIGHT_M_S * self.interval_s

    def departure(self, pos_enu: np.ndarray) -> np.ndarray:
        """Direction cosines [..., 2] at the satellite's array of positions [..., xyz] around the receiver."""
        down = pos_enu - self.sat_pos_enu
        return (down @ self.sat_axes_enu[:2].T) / np.linalg.norm(down, axis=-1, keepdims=True)

    def amplitudes(self, departure: np.ndarray) -> np.ndarray:
        """a(departure)^H p_j, what each stream sends towards directions [..., 2]: [..., stream] (root of a watt)."""
        product = (
            np.conj(steering(departure, self.rows, self.columns)) @ steering(self.cosines, self.rows, self.columns).T
        )
        return product.real @ self.weights

    def sent(self, departure: np.ndarray) -> np.ndarray:
        """a(departure)^H P S, the waveform sent towards directions [..., 2]: [..., sample] complex64 (root of a W)."""
        return self.amplitudes(departure).astype(np.complex64) @ self.symbols


def measures(
    sat_pos_enu: np.ndarray, sat_vel_enu: np.ndarray, pos_enu: np.ndarray, vel_enu: np.ndarray, carrier_hz: float
) -> np.ndarray:
    """What a detection measures of a target: [..., (u, w, bistatic range m, Doppler Hz)].

    Arrival cosines on east and north, `R_Tx + R_Rx`, and `-f/c d(R_Tx + R_Rx)/dt`, the receiver at the origin and
    at rest. pos_enu, vel_enu : [..., xyz] m and m/s; the satellite's likewise
    """
    state = np.concatenate(np.broadcast_arrays(pos_enu, vel_enu), axis=-1)
    return motion.measure(state, sat_pos_enu, sat_vel_enu, carrier_hz)[0]


def delayed(waveform: np.ndarray, delay: float, snapshots: int) -> np.ndarray:
    """A sampled waveform after a delay of any number of samples, as a band-limited signal: [..., snapshot].

    Zero before and after its samples: `x(n - d) = sum_m x[m] sinc(n - d - m)`, evaluated by phases in the frequency
    domain over the samples and a guard of zeros. What a negative delay brings before the first snapshot is lost.

    waveform : [..., sample] complex; delay : in samples
    """
    late, early = max(0, math.ceil(delay)), max(0, math.ceil(-delay))
    size = next_fast_len(max(snapshots, waveform.shape[-1] + late) + early + GUARD)
    return shifted(fft(waveform, size, workers=1), delay)[..., :snapshots]


def shifted(spectrum: np.ndarray, delay: float) -> np.ndarray:
    """The waveform of a spectrum [..., frequency], delay samples later in its period: [..., sample]."""
    size = spectrum.shape[-1]
    turns = ramp(-delay / size, size)
    turns[(size + 1) // 2 :] *= np.exp(2j * math.pi * delay)  # the upper half are negative frequencies
    return ifft(spectrum * turns.astype(spectrum.dtype), workers=1, overwrite_x=True)


def ramp(turns: float, count: int) -> np.ndarray:
    """exp(i 2 pi turns n), n from 0: [count] complex, as products of two short tables, an exponential being dear."""
    fine = 256
    table = np.exp(2j * math.pi * turns * np.arange(fine))
    coarse = np.exp(2j * math.pi * turns * fine * np.arange(-(-count // fine)))
    return np.multiply.outer(coarse, table).ravel()[:count]


def tone(frequency_hz: float, interval_s: float, snapshots: int) -> np.ndarray:
    """exp(i 2 pi f n T_s), the diagonal of V(f) in Eq. (19) from n = 0: [snapshot] complex64."""
    return ramp(frequency_hz * interval_s, snapshots).astype(np.complex64)


def receive(
    precoder: IsacPrecoder,
    radio: Radio,
    sat_pos_ecef: np.ndarray,
    sat_vel_ecef: np.ndarray,
    receiver: Receiver,
    pos_enu: np.ndarray,
    vel_enu: np.ndarray,
    rcs_m2: np.ndarray,
    steered: np.ndarray,
    reception: Reception,
    rng: np.random.Generator,
) -> Echo:
    """One dwell of a receiver: `Y = sum_t alpha_t b_t a_t^H [X V(v_t), 0] J(tau_t) + Z`, Eqs. (18)-(20), Park et al.

    Over the printed form: several targets, delays of any fraction of a sample, a gate that starts with the direct
    path instead of at transmission, the direct path itself and clutter. alpha follows the radar equation, Eq. (11),
    at a phase of its own in each dwell. Delays are those of the dwell's epoch and hold throughout it: the receiver's
    clock follows the direct path, against which an echo moves 3 m in 6.6 ms. Clutter stands still, comes from
    all azimuths up to 10 degrees high, and carries what is sent towards the receiver.

    sat_pos_ecef, sat_vel_ecef : [xyz] m and m/s, velocity in the rotating frame
    pos_enu, vel_enu : [target, xyz] east, north, up of the receiver (m, m/s); rcs_m2 : [target] monostatic (m^2)
    steered : [2] direction cosines (east, north) the sub-arrays are steered to
    rng : symbols, amplitudes, noise and clutter draw from children of it, so one setting does not move another's
    """
    draw_symbols, draw_targets, draw_noise, draw_clutter = rng.spawn(4)
    pos_enu, vel_enu = (np.asarray(v, dtype=float).reshape(-1, 3) for v in (pos_enu, vel_enu))
    sat_pos, sat_vel = (receiver.axes @ v for v in (sat_pos_ecef - receiver.pos_ecef, sat_vel_ecef))
    sample_m = SPEED_OF_LIGHT_M_S / radio.bandwidth_hz
    # A gate of a whole number of samples stays one through rounding.
    snapshots = reception.samples + 1 + math.ceil((reception.gate_m[1] - reception.gate_m[0]) / sample_m - 1e-6)
    heard = Echo(
        t_ns=precoder.t_ns,
        sat=int(precoder.sat),
        target=int(precoder.target),
        block=np.empty((0, 0), dtype=np.complex64),
        symbols=_symbols(reception, len(precoder.user), draw_symbols),
        gate_m=reception.gate_m[0],
        interval_s=1.0 / radio.bandwidth_hz,
        carrier_hz=radio.carrier_hz,
        reference_hz=0.0,
        sat_pos_enu=sat_pos,
        sat_vel_enu=sat_vel,
        sat_axes_enu=body_axes(sat_pos_ecef, sat_vel_ecef) @ receiver.axes.T,
        rows=radio.rows,
        columns=radio.columns,
        cosines=precoder.cosines,
        weights=precoder.weights,
        receiver=receiver,
        steered=np.asarray(steered, dtype=float),
    )
    reference_hz = heard.direct_hz if reception.precompensated else 0.0
    paths = [_targets(heard, radio, reception, pos_enu, vel_enu, np.asarray(rcs_m2, dtype=float), draw_targets)]
    if reception.direct > 0.0:
        paths.append(_direct(heard, radio, reception.direct, draw_targets))
    if reception.clutter > 0.0:
        paths.append(_clutter(heard, radio, reception, draw_clutter))
    arrival, excess_m, doppler_hz, departure, amplitude = (np.concatenate(each) for each in zip(*paths, strict=True))
    waves = np.empty((len(arrival), snapshots), dtype=np.complex64)
    delay, left_hz, sent = (excess_m - heard.gate_m) / sample_m, doppler_hz - reference_hz, heard.sent(departure)
    for path in range(len(waves)):
        turning = tone(float(left_hz[path]), heard.interval_s, snapshots)
        waves[path] = delayed(sent[path], float(delay[path]), snapshots) * turning
    response = amplitude[:, None] * radar.response(receiver, arrival, heard.steered)
    block = response.T.astype(np.complex64) @ waves
    if reception.noise:
        parts = np.empty(2 * snapshots, dtype=np.float32)
        for channel in block:  # one by one, as all of it does not fit a cache
            draw_noise.standard_normal(out=parts, dtype=np.float32)
            parts *= np.float32(math.sqrt(0.5))
            channel += parts.view(np.complex64)
    return Echo(**{**vars(heard), "block": block, "reference_hz": reference_hz})


def _symbols(reception: Reception, streams: int, rng: np.random.Generator) -> np.ndarray:
    shape = streams, reception.samples
    if reception.symbols == "qpsk":
        bits = rng.integers(0, 2, (streams, 2 * reception.samples), dtype=np.int8)
        parts = (2 * bits - 1).astype(np.float32)
    else:
        parts = rng.standard_normal((streams, 2 * reception.samples), dtype=np.float32)
    return (parts * np.float32(math.sqrt(0.5))).view(np.complex64).reshape(shape)


Paths = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Of each path: arrival [2], excess (m), Doppler (Hz), departure [2], amplitude over an element's noise."""


def _phases(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.exp(2j * math.pi * rng.random(count))


def _targets(
    heard: Echo,
    radio: Radio,
    reception: Reception,
    pos_enu: np.ndarray,
    vel_enu: np.ndarray,
    rcs_m2: np.ndarray,
    rng: np.random.Generator,
) -> Paths:
    seen = measures(heard.sat_pos_enu, heard.sat_vel_enu, pos_enu, vel_enu, radio.carrier_hz)
    down = pos_enu - heard.sat_pos_enu
    range_tx, range_rx = np.linalg.norm(down, axis=1), np.linalg.norm(pos_enu, axis=1)
    angle = np.arctan2(np.linalg.norm(np.cross(down, pos_enu), axis=1), np.sum(down * pos_enu, axis=1))
    cross_section = radar.rcs(reception.rcs_model, rcs_m2, angle)
    phases, strength = _phases(rng, len(seen)), radar.swerling_1(rng, len(seen))
    if reception.fluctuation == "swerling_1":
        cross_section = cross_section * strength
    gain = radio.satellite_gain * element_gain(down @ heard.sat_axes_enu[2] / range_tx, radio.element)
    power = radar.echo_gain(range_tx, range_rx, cross_section, radio.carrier_hz, gain, heard.receiver.gain)
    # The way less the direct path loses no digits: ranges are some 1e6 m, samples 30 m.
    excess_m = seen[:, 2] - heard.range_direct_m
    amplitude = np.sqrt(power / heard.receiver.noise_w) * phases
    return seen[:, :2], excess_m, seen[:, 3], heard.departure(pos_enu), amplitude


def _direct(heard: Echo, radio: Radio, share: float, rng: np.random.Generator) -> Paths:
    origin = np.zeros((1, 3))
    amplitude = math.sqrt(share * _direct_power(heard, radio)) * _phases(rng, 1)
    return heard.direct[None, :2], np.zeros(1), np.array([heard.direct_hz]), heard.departure(origin), amplitude


def _direct_power(heard: Echo, radio: Radio) -> float:
    """Power of the direct path from one satellite element to one of the receiver's, over its noise (1 / W)."""
    to_receiver = -heard.direct @ heard.sat_axes_enu[2]
    gain = radio.satellite_gain * float(element_gain(to_receiver, radio.element)) * heard.receiver.gain
    return gain * float(free_space_gain(np.array(heard.range_direct_m), radio.carrier_hz)) / heard.receiver.noise_w


def _clutter(heard: Echo, radio: Radio, reception: Reception, rng: np.random.Generator) -> Paths:
    n = reception.scatterers
    azimuth, elevation = rng.uniform(0.0, 2.0 * math.pi, n), rng.uniform(0.0, math.radians(10.0), n)
    arrival = np.cos(elevation)[:, None] * np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    excess_m = rng.uniform(0.0, reception.clutter_excess_m, n)
    share = rng.exponential(size=n) / n
    amplitude = np.sqrt(reception.clutter * share * _direct_power(heard, radio)) * _phases(rng, n)
    departure = np.broadcast_to(heard.departure(np.zeros(3)), (n, 2))
    return arrival, excess_m, np.full(n, heard.direct_hz), departure, amplitude
