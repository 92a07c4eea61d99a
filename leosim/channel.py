"""Satellite-to-user channel: path loss, absorption, line of sight, K-factor, Doppler, delay.

`statistics` is the truth of an instant; `observe` is what the central node is told of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from leosim.antenna import element_gain
from leosim.records import ChannelStats, Csi, Geometry
from leosim.streams import pair_normals, pair_uniforms
from leosim.units import (
    MEAN_EARTH_RADIUS_M,
    SPEED_OF_LIGHT_M_S,
    db_to_linear,
    linear_to_db,
    rad_to_deg,
    w_to_dbm,
)

# 3GPP TR 38.811 V15.4.0, suburban, S band, by elevation: Tables 6.6.1-1 (line-of-sight probability),
# 6.6.2-3 (clutter loss without line of sight) and 6.7.2-5a (K-factor: mean and deviation, dB).
TABLE_ELEVATION_DEG = np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0])
LOS_PROBABILITY = np.array([0.782, 0.869, 0.919, 0.929, 0.935, 0.940, 0.949, 0.952, 0.998])
K_FACTOR_MEAN_DB = np.array([11.40, 19.45, 20.80, 21.20, 21.60, 19.75, 12.00, 12.85, 12.85])
K_FACTOR_DEVIATION_DB = np.array([6.26, 10.32, 16.34, 15.63, 14.22, 14.19, 5.70, 9.91, 9.91])
CLUTTER_LOSS_DB = np.array([19.52, 18.17, 18.42, 18.28, 18.63, 17.68, 16.50, 16.30, 16.30])
K_FACTOR_LIMITS_DB = (-5.0, 30.0)


@dataclass(frozen=True)
class Radio:
    """The radio side of the communication service, SI and linear.

    power_w : of one satellite (W); noise_w : of one user's receiver (W); satellite_gain and user_gain :
    constant gains besides the element pattern and the array (1); zenith_absorption : power ratio
    through the atmosphere at zenith, at most 1; k_factor_db : limits of the uniform K-factor of
    `model = "rician"` (dB); seed : of the persistent draws.
    """

    carrier_hz: float
    bandwidth_hz: float
    power_w: float
    noise_w: float
    rows: int
    columns: int
    element: str = "cosine"
    satellite_gain: float = 1.0
    user_gain: float = 1.0
    zenith_absorption: float = 1.0
    model: str = "tr38811"
    k_factor_db: tuple[float, float] = (15.0, 20.0)
    seed: int = 0

    @property
    def antennas(self) -> int:
        """Number N of antennas of a satellite."""
        return self.rows * self.columns

    @property
    def power_to_noise(self) -> float:
        """rho / sigma2: a satellite's whole power over a receiver's noise power (1)."""
        return self.power_w / self.noise_w


def free_space_gain(range_m: np.ndarray, carrier_hz: float) -> np.ndarray:
    """Free-space power gain `(c / (4 pi f d))^2` (1); Eq. (6), Kim et al. 2024 prints its inverse."""
    return (SPEED_OF_LIGHT_M_S / (4.0 * math.pi * carrier_hz * range_m)) ** 2


def absorption_gain(elevation_rad: np.ndarray, zenith_absorption: float) -> np.ndarray:
    """Power ratio through a flat atmosphere, `zenith_absorption ** (1 / sin el)` (1).

    Eq. (6), Kim et al. 2024, with the elevation at the user (the paper prints the departure angle).
    The path is held at its length at 5 degrees below that, where a flat atmosphere no longer describes it.
    """
    return zenith_absorption ** (1.0 / np.sin(np.maximum(elevation_rad, math.radians(5.0))))


def statistics(geometry: Geometry, pass_index: np.ndarray, radio: Radio) -> ChannelStats:
    """True channel statistics of every pair of a geometry.

    `beta = G_sat(theta) G_ue (c / (4 pi f d))^2 L_zenith^(1 / sin el)`, Eq. (6), Kim et al. 2024
    (with the errata), `theta` off the satellite's nadir. Without line of sight kappa is 0 and the
    clutter loss of TR 38.811 comes off beta. Line of sight and K-factor are drawn once a satellite pass
    and user, so they last as long as the pass; the frozen phase is drawn once a satellite and user.

    geometry : pairs in any order; pass_index : [pair] int, ordinal of the satellite's pass over the user
    Returns ChannelStats, pairs sorted by catalogue number, then user. Raises ValueError for an unknown model.
    """
    order = np.lexsort((geometry.user, geometry.sat))
    user, sat, passes = geometry.user[order], geometry.sat[order], np.asarray(pass_index)[order]
    range_m, elevation = geometry.range_m[order], geometry.elevation_rad[order]
    cosines = geometry.cosines[order]
    cos_off_nadir = np.sqrt(np.maximum(0.0, 1.0 - cosines[:, 0] ** 2 - cosines[:, 1] ** 2))
    beta = (
        radio.satellite_gain
        * radio.user_gain
        * element_gain(cos_off_nadir, radio.element)
        * free_space_gain(range_m, radio.carrier_hz)
        * absorption_gain(elevation, radio.zenith_absorption)
    )
    if radio.model == "rician":
        low, high = radio.k_factor_db
        kappa = db_to_linear(low + (high - low) * pair_uniforms(radio.seed, "k_factor", user, sat, passes))
    elif radio.model == "tr38811":
        degrees = rad_to_deg(elevation)
        k_db = np.interp(degrees, TABLE_ELEVATION_DEG, K_FACTOR_MEAN_DB) + np.interp(
            degrees, TABLE_ELEVATION_DEG, K_FACTOR_DEVIATION_DB
        ) * pair_normals(radio.seed, "k_factor", user, sat, passes)
        in_sight = pair_uniforms(radio.seed, "line_of_sight", user, sat, passes) < np.interp(
            degrees, TABLE_ELEVATION_DEG, LOS_PROBABILITY
        )
        clutter_db = np.interp(degrees, TABLE_ELEVATION_DEG, CLUTTER_LOSS_DB)
        kappa = np.where(in_sight, db_to_linear(np.clip(k_db, *K_FACTOR_LIMITS_DB)), 0.0)
        beta = np.where(in_sight, beta, beta * db_to_linear(-clutter_db))
    else:
        raise ValueError(f'channel: expected "rician" or "tr38811", got {radio.model!r}')
    frozen = pair_uniforms(radio.seed, "phase", user, sat, np.zeros(user.size, dtype=np.int64))
    return ChannelStats(
        t_ns=geometry.t_ns,
        user=user,
        sat=sat,
        range_m=range_m,
        elevation_rad=elevation,
        cosines=cosines,
        beta=beta,
        kappa=kappa,
        phase_rad=2.0 * math.pi * frozen,
        delay_s=range_m / SPEED_OF_LIGHT_M_S,
        doppler_hz=-radio.carrier_hz / SPEED_OF_LIGHT_M_S * geometry.range_rate_m_s[order],
    )


def observe(stats: ChannelStats, candidate: np.ndarray, remaining_s: np.ndarray) -> Csi:
    """The statistical CSI of an instant as it is reported to the central node.

    candidate : [pair] bool, whether the satellite may serve the user
    remaining_s : [pair] time until the satellite sets below the user's mask (s)
    """
    return Csi(
        t_ns=stats.t_ns,
        candidate=candidate,
        remaining_s=remaining_s,
        **{name: getattr(stats, name) for name in ChannelStats.array_fields()},
    )


def draw_gains(stats: ChannelStats, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Random scalar channel gains `m + sqrt(v) alpha` of every pair, Eq. (4), Kim et al. 2024.

    `v = beta / (kappa + 1)`, `m = sqrt(kappa v) e^(i phase)`, alpha ~ CN(0, 1).
    Returns [draw, pair] complex; the channel vector is this gain times the steering vector.
    """
    v = stats.beta / (stats.kappa + 1.0)
    alpha = (rng.standard_normal((draws, v.size)) + 1j * rng.standard_normal((draws, v.size))) / math.sqrt(2.0)
    return np.sqrt(stats.kappa * v) * np.exp(1j * stats.phase_rad) + np.sqrt(v) * alpha


def link_budget(radio: Radio, altitude_m: float, elevation_deg: float) -> dict[str, float]:
    """Line by line, the SNR of one user with a satellite's whole power, in sight, spherical Earth (dB).

    altitude_m : height of the satellite over the mean radius (m). Returns names with units to values.
    """
    elevation = math.radians(elevation_deg)
    ratio = MEAN_EARTH_RADIUS_M / (MEAN_EARTH_RADIUS_M + altitude_m)
    off_nadir = math.asin(ratio * math.cos(elevation))
    range_m = math.sqrt((MEAN_EARTH_RADIUS_M + altitude_m) ** 2 - (MEAN_EARTH_RADIUS_M * math.cos(elevation)) ** 2)
    range_m -= MEAN_EARTH_RADIUS_M * math.sin(elevation)
    lines = {
        "slant range (km)": range_m / 1e3,
        "transmit power (dBm)": w_to_dbm(radio.power_w),
        "array gain (dB)": float(linear_to_db(radio.antennas)),
        "element gain (dBi)": float(linear_to_db(element_gain(np.array(math.cos(off_nadir)), radio.element))),
        "other antenna gains (dB)": float(linear_to_db(radio.satellite_gain * radio.user_gain)),
        "free-space loss (dB)": -float(linear_to_db(free_space_gain(np.array(range_m), radio.carrier_hz))),
        "absorption (dB)": -float(linear_to_db(absorption_gain(np.array(elevation), radio.zenith_absorption))),
        "noise power (dBm)": w_to_dbm(radio.noise_w),
    }
    gains = ("transmit power (dBm)", "array gain (dB)", "element gain (dBi)", "other antenna gains (dB)")
    losses = ("free-space loss (dB)", "absorption (dB)", "noise power (dBm)")
    lines["SNR (dB)"] = sum(lines[k] for k in gains) - sum(lines[k] for k in losses)
    return lines
