"""Constants and conversions: the one place for dB, degrees, hertz and nanoseconds.

Inside leosim everything is SI, linear and radians; these functions are used at the edges only.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

Number = TypeVar("Number", float, np.ndarray)

SPEED_OF_LIGHT_M_S = 299_792_458.0
BOLTZMANN_J_K = 1.380_649e-23
REFERENCE_TEMPERATURE_K = 290.0

WGS84_SEMI_MAJOR_M = 6_378_137.0
WGS84_FLATTENING = 1.0 / 298.257_223_563
WGS72_SEMI_MAJOR_M = 6_378_135.0
WGS72_MU_M3_S2 = 398_600.8e9
MEAN_EARTH_RADIUS_M = 6_371_008.8

NS_PER_S = 1_000_000_000
SECONDS_PER_DAY = 86_400.0


def db_to_linear(db: Number) -> Number:
    """A power ratio in decibels as a plain ratio."""
    return 10.0 ** (db / 10.0)


def linear_to_db(ratio: Number) -> Number:
    """A power ratio in decibels; zero gives minus infinity."""
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(ratio)


def dbm_to_w(dbm: float) -> float:
    """A power in dBm as watts."""
    return 1e-3 * db_to_linear(dbm)


def w_to_dbm(watts: float) -> float:
    """A power in watts as dBm."""
    return float(linear_to_db(watts / 1e-3))


def deg_to_rad(deg: Number) -> Number:
    """Degrees as radians."""
    return deg * (math.pi / 180.0)


def rad_to_deg(rad: Number) -> Number:
    """Radians as degrees."""
    return rad * (180.0 / math.pi)


def s_to_ns(seconds: float) -> int:
    """Seconds as whole nanoseconds, rounded to the nearest (the clock of the event loop)."""
    return round(seconds * NS_PER_S)


def ns_to_s(ns: int) -> float:
    """Nanoseconds as seconds."""
    return ns / NS_PER_S


def noise_power_w(bandwidth_hz: float, noise_figure_db: float) -> float:
    """Thermal noise power k T0 B F of a receiver, T0 = 290 K (W)."""
    return BOLTZMANN_J_K * REFERENCE_TEMPERATURE_K * bandwidth_hz * db_to_linear(noise_figure_db)


def thermal_noise_w(bandwidth_hz: float, temperature_k: float) -> float:
    """Thermal noise power k T B of a receiver whose noise temperature is given (W)."""
    return BOLTZMANN_J_K * temperature_k * bandwidth_hz
