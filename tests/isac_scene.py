"""The setting of Park et al. 2024: users over a disc, one satellite, one target, in plain numpy."""

import numpy as np

from leosim.records import DownlinkUsers, Illumination
from leosim.units import SPEED_OF_LIGHT_M_S

SIDE = 8  # antennas a side
SATELLITE = np.array([30e3, -30e3, 340e3])  # east, north, up of the radar receiver (m)
TARGET = np.array([3e3, 3e3, 5e3])
NEEDED_W = 76.0  # that the threshold asks for, all of it on the target
POWERS_W = (100.0, 316.0, 1000.0)  # 20, 25 and 30 dBW
SPEED_M_S = 7.5e3


def seen(sat, point):
    """Direction cosines [..., 2] at a satellite whose array looks down, and ranges (m)."""
    away = point - sat
    range_m = np.linalg.norm(away, axis=-1)
    return away[..., :2] / range_m[..., None], range_m


def scene(pos, power_w, sat=SATELLITE, needed_w=NEEDED_W, side=SIDE, t_ns=0):
    """Users at positions [user, xyz] (m): 2 GHz, 10 MHz, 150 K, 6 dBi an antenna element."""
    cosines, range_m = seen(sat, pos)
    gain = 10**0.6 * (SPEED_OF_LIGHT_M_S / (4 * np.pi * 2e9 * range_m)) ** 2
    users = DownlinkUsers(
        t_ns=t_ns,
        sat=44713,
        rows=side,
        columns=side,
        power_w=power_w,
        user=np.arange(len(pos)),
        cosines=cosines,
        noise_w=1.380649e-23 * 150.0 * 10e6 / gain,
    )
    return users, Illumination(t_ns=t_ns, target=0, gain_w=needed_w * side**2, cosines=seen(sat, TARGET)[0])


def drop(seed, users=4):
    """Positions of users uniform over a disc of 100 km diameter: [user, xyz] (m)."""
    rng = np.random.default_rng(seed)
    radius, angle = 50e3 * np.sqrt(rng.uniform(size=users)), rng.uniform(0.0, 2 * np.pi, users)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(users)], axis=1)


def flight(height_m, epochs, step_s=1.0, heading_rad=0.7, aside_m=40e3):
    """Positions of a satellite that passes over: [epoch, xyz] (m)."""
    along = SPEED_M_S * step_s * (np.arange(epochs) - epochs / 2)
    east = along * np.cos(heading_rad) - aside_m * np.sin(heading_rad)
    north = along * np.sin(heading_rad) + aside_m * np.cos(heading_rad)
    return np.stack([east, north, np.full(epochs, height_m)], axis=1)
