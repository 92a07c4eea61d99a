"""Bistatic radar: geometry, radar equation, and how well a planar array can tell the echo's direction.

A satellite illuminates, a receiver on the ground hears the echo. Directions are direction cosines, since azimuth is
singular at zenith; angles appear only where a published formula asks for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from leosim.antenna import steering
from leosim.frames import geodetic_to_ecef, local_axes
from leosim.orbit import body_axes
from leosim.units import SPEED_OF_LIGHT_M_S

RCS_MODELS = ("monostatic", "cos_half")
RCS_VALID_RAD = math.radians(135.0)
"""Bistatic angle beyond which neither model of `rcs` holds: forward scatter grows there."""
CRB_MODELS = ("nuisance", "known_gain")


# ---------------------------------------------------------------------------------------------
# Receiver and geometry


@dataclass(frozen=True)
class Receiver:
    """A radar receiver on the ground: a planar half-wavelength array on its east and north axes, facing the zenith.

    pos_ecef : [xyz] m, ITRS; lat_rad, lon_rad : geodetic (rad), they set its east, north and up
    rows, columns : elements along east and along north
    subarray : (rows, columns) of a sub-array, whose elements are combined towards the predicted direction
    gain : power gain of an element (1); noise_w : noise power of an element's chain (W)
    mask_rad : lowest elevation at which it hears a target (rad)

    Raises ValueError for an array that sub-arrays do not fill, or with fewer than two of them on an axis, which
    no direction can be told with.
    """

    pos_ecef: np.ndarray = field(repr=False)
    lat_rad: float
    lon_rad: float
    rows: int
    columns: int
    noise_w: float
    gain: float = 1.0
    subarray: tuple[int, int] = (1, 1)
    mask_rad: float = 0.0

    def __post_init__(self) -> None:
        for axis, count, part in zip(("rows", "columns"), (self.rows, self.columns), self.subarray, strict=True):
            if part < 1 or count % part or count < 2 * part:
                raise ValueError(
                    f"radar receiver: expected {axis} in at least two whole sub-arrays, got {count} {axis} in "
                    f"sub-arrays of {part}; choose a divisor of {count}, at most {max(1, count // 2)}"
                )

    @classmethod
    def at(cls, lat_rad: float, lon_rad: float, alt_m: float, **array: Any) -> Self:
        """A receiver at a geodetic site on WGS-84; `array`: the remaining fields by name."""
        pos_ecef = geodetic_to_ecef(np.array(lat_rad), np.array(lon_rad), np.array(alt_m))
        return cls(pos_ecef=pos_ecef, lat_rad=lat_rad, lon_rad=lon_rad, **array)

    @property
    def channels(self) -> tuple[int, int]:
        """Outputs of the sub-arrays along east and along north."""
        return self.rows // self.subarray[0], self.columns // self.subarray[1]

    @property
    def axes(self) -> np.ndarray:
        """Unit vectors east, north and up in ITRS: [(east, north, up), xyz]."""
        return local_axes(np.array(self.lat_rad), np.array(self.lon_rad))


@dataclass(frozen=True)
class Bistatic:
    """Satellite, target and receiver, one entry for every satellite and target (any leading axes).

    range_tx_m, range_rx_m, range_direct_m : [...] satellite-target, target-receiver, satellite-receiver (m)
    bistatic_angle_rad : [...] angle satellite-target-receiver at the target (rad)
    departure : [..., 2] direction cosines of the target on the satellite's along-track and cross-track axes (1)
    departure_cos_off_nadir : [...] its cosine on the satellite's nadir (1)
    arrival, direct : [..., 2] direction cosines (east, north) of the target and of the satellite at the receiver (1)
    elevation_rad, satellite_elevation_rad : [...] their elevations there (rad)
    """

    range_tx_m: np.ndarray
    range_rx_m: np.ndarray
    range_direct_m: np.ndarray
    bistatic_angle_rad: np.ndarray
    departure: np.ndarray
    departure_cos_off_nadir: np.ndarray
    arrival: np.ndarray
    direct: np.ndarray
    elevation_rad: np.ndarray
    satellite_elevation_rad: np.ndarray

    @property
    def excess_m(self) -> np.ndarray:
        """How much longer the echo's way is than the direct path (m)."""
        return self.range_tx_m + self.range_rx_m - self.range_direct_m


def geometry(
    sat_pos_ecef: np.ndarray, sat_vel_ecef: np.ndarray, receiver: Receiver, target_pos_ecef: np.ndarray
) -> Bistatic:
    """Ranges, bistatic angle and directions of satellites, targets and one receiver.

    Body axes of a satellite as in `orbit.geometry`; east, north and up (geodetic) at the receiver.

    sat_pos_ecef, sat_vel_ecef : [..., xyz] m and m/s, velocity in the rotating frame
    target_pos_ecef : [..., xyz] m, broadcast against the satellites'
    """
    sat, target = np.broadcast_arrays(np.asarray(sat_pos_ecef, dtype=float), np.asarray(target_pos_ecef, dtype=float))
    body = body_axes(np.asarray(sat_pos_ecef, dtype=float), np.asarray(sat_vel_ecef, dtype=float))
    to_target, to_sat, down = target - receiver.pos_ecef, sat - receiver.pos_ecef, target - sat
    range_rx, range_direct, range_tx = (np.linalg.norm(v, axis=-1) for v in (to_target, to_sat, down))
    at_target = np.linalg.norm(np.cross(down, to_target), axis=-1), np.sum(down * to_target, axis=-1)
    departure = np.einsum("...ax,...x->...a", body, down) / range_tx[..., None]
    arrival = np.einsum("ax,...x->...a", receiver.axes, to_target) / range_rx[..., None]
    direct = np.einsum("ax,...x->...a", receiver.axes, to_sat) / range_direct[..., None]
    return Bistatic(
        range_tx_m=range_tx,
        range_rx_m=range_rx,
        range_direct_m=range_direct,
        bistatic_angle_rad=np.arctan2(*at_target),
        departure=departure[..., :2],
        departure_cos_off_nadir=departure[..., 2],
        arrival=arrival[..., :2],
        direct=direct[..., :2],
        elevation_rad=_elevation(arrival),
        satellite_elevation_rad=_elevation(direct),
    )


def _elevation(enu: np.ndarray) -> np.ndarray:
    return np.arctan2(enu[..., 2], np.hypot(enu[..., 0], enu[..., 1]))


def angles(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth `theta = atan2(w, u)` and angle off the axis `phi`, `sin phi = hypot(u, w)`, of directions.

    Eqs. (50)-(51), Park et al. 2024. cosines : [..., 2] direction cosines (1)
    Returns theta [...] in [-pi, pi] and phi [...] in [0, pi/2] (rad)
    """
    u, w = cosines[..., 0], cosines[..., 1]
    return np.arctan2(w, u), np.arcsin(np.minimum(np.hypot(u, w), 1.0))


def range_from_excess(excess_m: np.ndarray, range_direct_m: np.ndarray, cos_between: np.ndarray) -> np.ndarray:
    """Range target-receiver from the echo's excess way and the angle between target and satellite (m).

    The ellipsoid of constant bistatic range S seen from the receiver, one of its foci, with b the direct path:
    `R_Rx = (S^2 - b^2) / (2 (S - b cos psi))`, `S = b + excess`, Eqs. (47)-(48), Park et al. 2024.

    excess_m, range_direct_m : [...] m; cos_between : [...] cosine of psi at the receiver (1)
    """
    b, e = range_direct_m, excess_m
    return e * (2.0 * b + e) / (2.0 * (e + b * (1.0 - cos_between)))


# ---------------------------------------------------------------------------------------------
# The radar equation


def rcs(model: str, mono_m2: float | np.ndarray, bistatic_angle_rad: np.ndarray) -> np.ndarray:
    """Bistatic radar cross section of a target (m^2).

    `"cos_half"` is `sigma_mono cos(beta / 2)`, below Eq. (11), Park et al. 2024; `"monostatic"` is sigma_mono at
    every angle, which the power its Figs. 5 and 6 need agrees with. Neither holds beyond `RCS_VALID_RAD`.

    mono_m2 : monostatic cross section (m^2); bistatic_angle_rad : [...] angle beta at the target (rad)
    Raises ValueError for another model.
    """
    if model == "cos_half":
        return mono_m2 * np.cos(0.5 * np.asarray(bistatic_angle_rad))
    if model == "monostatic":
        return mono_m2 * np.ones(np.shape(bistatic_angle_rad))
    raise ValueError(f"rcs_model: expected {' or '.join(RCS_MODELS)}, got {model!r}")


def swerling_1(rng: np.random.Generator, shape: tuple[int, ...] | int) -> np.ndarray:
    """Fluctuation of a cross section from dwell to dwell, Swerling's case I: exponential, mean 1."""
    return rng.exponential(size=shape)


def echo_gain(
    range_tx_m: np.ndarray,
    range_rx_m: np.ndarray,
    rcs_m2: np.ndarray,
    carrier_hz: float,
    satellite_gain: float | np.ndarray = 1.0,
    receiver_gain: float | np.ndarray = 1.0,
) -> np.ndarray:
    """Power gain of the echo from one satellite element to one receiver element (1).

    `|alpha|^2 = G_sat G_R c^2 sigma_bi / ((4 pi)^3 R_Tx^2 R_Rx^2 f^2)`, Eq. (11), Park et al. 2024. With gains of 1
    its inverse is the echo path loss.

    range_tx_m, range_rx_m : [...] m; rcs_m2 : [...] m^2
    satellite_gain, receiver_gain : [...] power gains of an element towards the target (1)
    """
    wavelength_m = SPEED_OF_LIGHT_M_S / carrier_hz
    spread_m4 = (4.0 * math.pi) ** 3 * np.square(range_tx_m) * np.square(range_rx_m)
    return satellite_gain * receiver_gain * wavelength_m**2 * rcs_m2 / spread_m4


def monostatic_gain(
    range_m: np.ndarray, mono_m2: float | np.ndarray, carrier_hz: float, satellite_gain: float | np.ndarray = 1.0
) -> np.ndarray:
    """Power gain of the echo a satellite hears itself: `echo_gain` there and back over R_Tx (1).

    Footnote 3, Park et al. 2024. range_m : [...] satellite-target (m); satellite_gain : counted twice (1)
    """
    return echo_gain(range_m, range_m, np.asarray(mono_m2), carrier_hz, satellite_gain, satellite_gain)


def integrated_snr(gain_w: np.ndarray, echo: np.ndarray, noise_w: float, samples: int) -> np.ndarray:
    """SNR of one receiver element over a dwell, `L |alpha|^2 ||P^H a_tar||^2 / sigma^2` (1).

    gain_w : [...] ||P^H a_tar||^2, power of all streams towards the target (W); echo : [...] |alpha|^2 (1)
    noise_w : of an element (W); samples : L
    """
    return samples * echo * gain_w / noise_w


# ---------------------------------------------------------------------------------------------
# The array, and what it can tell of a direction


def response(receiver: Receiver, arrival: np.ndarray, steered: np.ndarray | None = None) -> np.ndarray:
    """What the sub-arrays put out for a unit wave from a direction, phase reference in the array's centre.

    Each sub-array sums its elements in phase for the direction it is steered to, over the root of their number, so
    noise stays that of an element; with sub-arrays of one element it is the plain steering vector b.

    arrival : [..., 2] direction cosines (east, north) of the wave (1)
    steered : [..., 2] those the sub-arrays are steered to (1); `arrival` by default
    Returns [..., channel] complex, channels east-major.
    """
    arrival = np.asarray(arrival, dtype=float)
    gain, _ = _combining(receiver, arrival, steered)
    return gain[..., None] * steering(arrival * receiver.subarray, *receiver.channels)


def _combining(receiver: Receiver, arrival: np.ndarray, steered: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude gain [...] of a steered sub-array, and its derivative [..., 2] by the direction cosines."""
    off = arrival - (arrival if steered is None else steered)
    rows, columns = receiver.subarray
    wave = steering(off, rows, columns)
    x = _positions(receiver.subarray, (1, 1))
    root = math.sqrt(rows * columns)
    return wave.real.sum(axis=-1) / root, -math.pi * (wave.imag @ x) / root


def _positions(counts: tuple[int, int], spacing: tuple[int, int]) -> np.ndarray:
    """Centred positions [element, 2] of a grid, in half wavelengths, first axis major."""
    x, y = (step * (np.arange(count) - (count - 1) / 2) for count, step in zip(counts, spacing, strict=True))
    return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)


def angle_covariance(
    receiver: Receiver,
    snr: np.ndarray,
    arrival: np.ndarray,
    steered: np.ndarray | None = None,
    crb: str = "nuisance",
) -> np.ndarray:
    """Cramer-Rao bound of the direction cosines (u, w) of an echo: [..., 2, 2] (1).

    `F = 2 snr Re(D^H (I - b b^H / ||b||^2) D)`, D the derivatives of the response b by u and w, the echo's complex
    amplitude unknown (`"nuisance"`). Eqs. (22)-(26), Park et al. 2024, take it as known: `"known_gain"`,
    `F = 2 snr Re(D^H D)` with the phase reference at the corner element, which makes the bound depend on it.

    snr : [...] `integrated_snr`, of an element (1); arrival : [..., 2] direction cosines (east, north) (1)
    steered : [..., 2] direction the sub-arrays are steered to (1); `arrival` by default
    Infinite where there is no signal. Raises ValueError for another bound.
    """
    if crb not in CRB_MODELS:
        raise ValueError(f"crb: expected {' or '.join(CRB_MODELS)}, got {crb!r}")
    gain, slope = _combining(receiver, np.asarray(arrival, dtype=float), steered)
    x = math.pi * _positions(receiver.channels, receiver.subarray)
    information = np.square(gain)[..., None, None] * (x.T @ x)
    if crb == "known_gain":
        corner = 0.5 * math.pi * (np.array([receiver.rows, receiver.columns]) - 1.0)
        real = slope[..., :, None] * slope[..., None, :]
        information = information + len(x) * (np.square(gain)[..., None, None] * np.outer(corner, corner) + real)
    information = 2.0 * np.asarray(snr)[..., None, None] * information
    a, b, d = information[..., 0, 0], information[..., 0, 1], information[..., 1, 1]
    heard = a * d - b * b > 0.0
    scale = 1.0 / np.where(heard, a * d - b * b, 1.0)
    across = np.where(heard, -b * scale, 0.0)
    out = np.stack([np.where(heard, d * scale, np.inf), across, across, np.where(heard, a * scale, np.inf)], axis=-1)
    return out.reshape(*out.shape[:-1], 2, 2)


def angle_variance(covariance: np.ndarray, arrival: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances of azimuth theta and off-zenith angle phi from the covariance of direction cosines (rad^2).

    With `(u, w) = sin phi (cos theta, sin theta)` and unit vectors along and across it,
    `var theta = e_theta^T C e_theta / sin^2 phi`, `var phi = e_phi^T C e_phi / cos^2 phi`: CRB_theta and CRB_phi of
    Eq. (26), Park et al. 2024.

    covariance : [..., 2, 2] of (u, w) (1); arrival : [..., 2] (1)
    Returns theta [...], infinite at zenith, and phi [...], infinite at the horizon (at zenith: along east).
    """
    theta, phi = angles(arrival)
    along = np.stack([np.cos(theta), np.sin(theta)], axis=-1)
    across = np.stack([-np.sin(theta), np.cos(theta)], axis=-1)
    sin2 = np.square(np.sin(phi))
    return _over(_form(covariance, across), sin2), _over(_form(covariance, along), 1.0 - sin2)


def cross_range_variance(covariance: np.ndarray, arrival: np.ndarray, range_rx_m: np.ndarray) -> np.ndarray:
    """Variance of a target's position across the line of sight from the receiver (m^2).

    `R_Rx^2 (sin^2 phi CRB_theta + CRB_phi)`, which stays finite and continuous at zenith in the form
    `R_Rx^2 (tr C + p^T C p / (1 - |p|^2))`, p = (u, w). Infinite at the horizon, which a horizontal array cannot tell.

    covariance : [..., 2, 2] of (u, w) (1); arrival : [..., 2] (1); range_rx_m : [...] target-receiver (m)
    """
    arrival = np.asarray(arrival, dtype=float)
    tilt = _over(_form(covariance, arrival), 1.0 - np.square(arrival).sum(axis=-1))
    return np.square(range_rx_m) * (covariance[..., 0, 0] + covariance[..., 1, 1] + tilt)


def _form(matrix: np.ndarray, v: np.ndarray) -> np.ndarray:
    """v^T M v, infinite where M is."""
    finite = np.isfinite(matrix[..., 0, 0])
    known = np.where(finite[..., None, None], matrix, 0.0)
    return np.where(finite, np.einsum("...i,...ij,...j->...", v, known, v), np.inf)


def _over(value: np.ndarray, by: np.ndarray) -> np.ndarray:
    """A ratio of a positive number, infinite where the denominator is not positive."""
    return np.where(by > 0.0, value / np.where(by > 0.0, by, 1.0), np.inf)


# ---------------------------------------------------------------------------------------------
# What an accuracy asks of the precoder


def gain_for_angles(
    theta_threshold_rad2: float,
    phi_threshold_rad2: float,
    receiver: Receiver,
    arrival: np.ndarray,
    echo: np.ndarray,
    samples: int,
    crb: str = "nuisance",
) -> np.ndarray:
    """Power towards the target that keeps the bounds of both angles, least ||P^H a_tar||^2 (W).

    Eq. (27), Park et al. 2024: the larger of what the two thresholds ask, which are variances (the paper prints
    "rad"). Near zenith the azimuth asks for ever more; `gain_for_cross_range` does not.

    theta_threshold_rad2, phi_threshold_rad2 : largest CRB_theta and CRB_phi (rad^2)
    arrival : [..., 2] (1); echo : [...] |alpha|^2 (1); samples : L
    """
    unit = _covariance_a_watt(receiver, arrival, echo, samples, crb)
    theta, phi = angle_variance(unit, arrival)
    return np.maximum(theta / theta_threshold_rad2, phi / phi_threshold_rad2)


def gain_for_cross_range(
    rms_m: float,
    receiver: Receiver,
    arrival: np.ndarray,
    range_rx_m: np.ndarray,
    echo: np.ndarray,
    samples: int,
    crb: str = "nuisance",
) -> np.ndarray:
    """Power towards the target that keeps the bound of its position across the line of sight, ||P^H a_tar||^2 (W).

    rms_m : largest root of `cross_range_variance` (m); range_rx_m : [...] target-receiver (m); the rest as in
    `gain_for_angles`
    """
    unit = _covariance_a_watt(receiver, arrival, echo, samples, crb)
    return cross_range_variance(unit, arrival, range_rx_m) / rms_m**2


def _covariance_a_watt(receiver: Receiver, arrival: np.ndarray, echo: np.ndarray, samples: int, crb: str) -> np.ndarray:
    snr = integrated_snr(np.array(1.0), np.asarray(echo), receiver.noise_w, samples)
    return angle_covariance(receiver, snr, arrival, crb=crb)


def least_power_w(gain_w: np.ndarray, antennas: int) -> np.ndarray:
    """Transmit power below which no precoder reaches ||P^H a_tar||^2: all of it in one beam, `gain / N_Tx` (W)."""
    return gain_w / antennas


def detection_snr(
    receiver: Receiver, snr: np.ndarray, arrival: np.ndarray, steered: np.ndarray | None = None
) -> np.ndarray:
    """SNR after the matched filter over the dwell and the whole array, `||b||^2 snr` = N L snr (1).

    snr : [...] `integrated_snr`, of an element (1); arrival, steered : [..., 2], as in `angle_covariance`
    """
    gain, _ = _combining(receiver, np.asarray(arrival, dtype=float), steered)
    return math.prod(receiver.channels) * np.square(gain) * snr
