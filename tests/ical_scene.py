"""The setting of You et al. 2024 (Table I, section V): a satellite 200 km high over terminals in its field of view."""

from __future__ import annotations

import math

import numpy as np

from leosim import channel, ofdm
from leosim.records import Terminals
from leosim.units import MEAN_EARTH_RADIUS_M, db_to_linear

NOISE_W = 30e3 * db_to_linear(-174.0 - 30.0)  # -174 dBm/Hz over a subcarrier


def paper_drop(
    seed: int, power_dbw: float = 26.0, count: int = 9, altitude_m: float = 200e3, side: int = 24
) -> Terminals:
    """One drop of terminals: both angles of departure uniform within 30 degrees of nadir, velocities within 10 m/s."""
    rng = np.random.default_rng(seed)
    theta_x, theta_y = math.pi / 2 + math.pi / 6 * rng.uniform(-1.0, 1.0, (2, count))
    direction = np.stack(
        [np.sin(theta_y) * np.cos(theta_x), np.cos(theta_y), np.sin(theta_y) * np.sin(theta_x)], axis=1
    )
    radius = MEAN_EARTH_RADIUS_M
    elevation = np.arccos((radius + altitude_m) / radius * np.sin(np.arccos(direction[:, 2])))
    range_m = np.sqrt(altitude_m**2 + 2 * altitude_m * radius + (radius * np.sin(elevation)) ** 2)
    range_m -= radius * np.sin(elevation)
    wave = ofdm.paper()
    return Terminals(
        t_ns=0,
        sat=1,
        rows=side,
        columns=side,
        power_w=db_to_linear(power_dbw),
        asked_m=5.0,
        waveform=wave,
        sat_pos_ecef=np.zeros(3),
        sat_vel_ecef=np.zeros(3),
        axes=np.eye(3),
        user=np.arange(count),
        pos_ecef=range_m[:, None] * direction,
        vel_ecef=rng.uniform(-10.0, 10.0, (count, 3)),
        gamma=db_to_linear(6.0) * side**2 * channel.free_space_gain(range_m, wave.carrier_hz),
        kappa=np.full(count, db_to_linear(18.0)),
        noise_w=np.full(count, NOISE_W),
    )
