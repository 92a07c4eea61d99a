"""Time and frames: UTC to Julian dates, UT1 and polar motion, TEME to ITRS, geodetic coordinates.

Everything is offline: the Earth orientation tables are those inside the package astropy-iers-data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import astropy_iers_data
import numpy as np

from leosim.units import NS_PER_S, SECONDS_PER_DAY, WGS84_FLATTENING, WGS84_SEMI_MAJOR_M

NS_PER_DAY = 86_400 * NS_PER_S
UNIX_EPOCH_JD = 2_440_587.5
UNIX_EPOCH_MJD = 40_587
J2000_JD = 2_451_545.0
ARCSEC_RAD = math.pi / 648_000.0
WGS84_ECCENTRICITY_SQUARED = WGS84_FLATTENING * (2.0 - WGS84_FLATTENING)

# Rate of GMST-1982 (rad a second of UT1): the derivative of the rotation that carries TEME to PEF, which
# the velocities must use. It differs from the nominal 7.292115e-5 rad/s by 9e-12 rad/s, 0.06 mm/s in LEO.
EARTH_ROTATION_RAD_S = 7.292_115_855_3e-5


# ---------------------------------------------------------------------------------------------
# Time


def julian_date(t_utc_ns: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """UTC in nanoseconds since 1970 (86,400 s a day, leap seconds not counted) as a Julian date in two parts.

    Returns the Julian date of the day's midnight and the fraction of the day, each of the shape of
    `t_utc_ns`, so that nothing is lost to rounding: the fraction resolves 1e-11 s.
    """
    days, rest_ns = np.divmod(np.asarray(t_utc_ns, dtype=np.int64), NS_PER_DAY)
    return UNIX_EPOCH_JD + days, rest_ns / float(NS_PER_DAY)


def utc_text(t_utc_ns: int) -> str:
    """UTC in nanoseconds since 1970 as ISO 8601 text, cut to the second."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(t_utc_ns) // NS_PER_S)).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )


@dataclass(frozen=True)
class EarthOrientationTable:
    """Daily Earth orientation parameters at 0 h UTC.

    mjd : [day], modified Julian date (UTC)
    ut1_tai_s : [day], UT1 - TAI (s): continuous where UT1 - UTC jumps by a leap second
    x_p_rad, y_p_rad : [day], coordinates of the pole (rad)
    leap_mjd, leap_tai_utc_s : [leap second], first day of each value of TAI - UTC (s)
    """

    mjd: np.ndarray
    ut1_tai_s: np.ndarray
    x_p_rad: np.ndarray
    y_p_rad: np.ndarray
    leap_mjd: np.ndarray
    leap_tai_utc_s: np.ndarray

    def tai_utc_s(self, mjd: np.ndarray) -> np.ndarray:
        """TAI - UTC (s) at modified Julian dates (UTC)."""
        row = np.searchsorted(self.leap_mjd, mjd, side="right") - 1
        return np.where(row < 0, 10.0, self.leap_tai_utc_s[np.maximum(row, 0)])


@cache
def earth_orientation_table() -> EarthOrientationTable:
    """The table of IERS Bulletin A (finals2000A.all: measured, then predicted a year), read once.

    Raises ValueError when the file of the installed astropy-iers-data holds no readable day.
    """
    leap = np.loadtxt(astropy_iers_data.IERS_LEAP_SECOND_FILE, comments="#", usecols=(0, 4), ndmin=2)
    days, ut1_utc_s, x_p, y_p = [], [], [], []
    for line in Path(astropy_iers_data.IERS_A_FILE).read_text(encoding="ascii").splitlines():
        # Fixed columns, see ReadMe.finals2000A; the last rows carry a date and nothing else.
        if line[18:27].strip() and line[37:46].strip() and line[58:68].strip():
            days.append(float(line[7:15]))
            x_p.append(float(line[18:27]))
            y_p.append(float(line[37:46]))
            ut1_utc_s.append(float(line[58:68]))
    if not days:
        raise ValueError(
            "Earth orientation: expected the daily values of IERS Bulletin A in the package "
            "astropy-iers-data, got a file without any; reinstall astropy-iers-data"
        )
    mjd = np.array(days)
    table = EarthOrientationTable(mjd, mjd, mjd, mjd, leap[:, 0], leap[:, 1])
    return EarthOrientationTable(
        mjd=mjd,
        ut1_tai_s=np.array(ut1_utc_s) - table.tai_utc_s(mjd),
        x_p_rad=np.array(x_p) * ARCSEC_RAD,
        y_p_rad=np.array(y_p) * ARCSEC_RAD,
        leap_mjd=leap[:, 0],
        leap_tai_utc_s=leap[:, 1],
    )


def earth_orientation(t_utc_ns: np.ndarray | int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """UT1 - UTC (s) and the coordinates x_p, y_p of the pole (rad) at UTC nanoseconds since 1970.

    Daily values are interpolated linearly, UT1 - UTC through UT1 - TAI so that a leap second is a step
    at its midnight and not a ramp over the day before. Each result has the shape of `t_utc_ns`.

    Raises ValueError for a time outside the table, with the range covered.
    """
    table = earth_orientation_table()
    mjd = UNIX_EPOCH_MJD + np.asarray(t_utc_ns, dtype=np.int64) / float(NS_PER_DAY)
    outside = (mjd < table.mjd[0]) | (mjd > table.mjd[-1])
    if np.any(outside):
        first, last = (utc_text(round(float(day) - UNIX_EPOCH_MJD) * NS_PER_DAY) for day in table.mjd[[0, -1]])
        worst = utc_text(int(np.asarray(t_utc_ns, dtype=np.int64)[outside].flat[0]))
        raise ValueError(
            f"time: expected between {first} and {last}, the Earth orientation known to the installed "
            f"astropy-iers-data, got {worst}; install a newer astropy-iers-data or choose a time in that range"
        )
    ut1_tai_s = np.interp(mjd, table.mjd, table.ut1_tai_s)
    x_p, y_p = np.interp(mjd, table.mjd, table.x_p_rad), np.interp(mjd, table.mjd, table.y_p_rad)
    return ut1_tai_s + table.tai_utc_s(mjd), x_p, y_p


def gmst_1982_rad(jd_ut1: np.ndarray, fraction_ut1: np.ndarray) -> np.ndarray:
    """Greenwich mean sidereal time (rad) of UT1 given as a Julian date in two parts.

    The IAU 1982 model that defines the TEME frame of SGP4: Appendix C of Vallado, Crawford, Hujsak and
    Kelso, "Revisiting Spacetrack Report #3", AIAA 2006-6753, doi:10.2514/6.2006-6753.
    """
    T = (jd_ut1 - J2000_JD + fraction_ut1) / 36_525.0
    g = 67_310.54841 + (8_640_184.812866 + (0.093104 - 6.2e-6 * T) * T) * T
    turns = (jd_ut1 % 1.0 + fraction_ut1 + (g / SECONDS_PER_DAY) % 1.0) % 1.0
    return turns * 2.0 * math.pi


# ---------------------------------------------------------------------------------------------
# Frames


def teme_to_itrs_matrices(t_utc_ns: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """The rotations TEME -> PEF and PEF -> ITRS at UTC nanoseconds since 1970.

    R = R3(GMST-1982 of UT1), W = R1(-y_p) R2(-x_p) R3(s'), with R_i the rotation of axes about axis i and
    s' = -47e-6'' a century the position of the terrestrial intermediate origin (the inverse of Eq. 5.3,
    and Eq. 5.13, IERS Conventions 2010). r_itrs = W R r_teme; v_itrs = W (R v_teme - omega x R r_teme).

    Returns
        R : [..., xyz, xyz], TEME to PEF
        W : [..., xyz, xyz], PEF to ITRS

    Raises ValueError for a time outside the Earth orientation table.
    """
    ut1_utc_s, x_p, y_p = earth_orientation(t_utc_ns)
    jd, fraction = julian_date(t_utc_ns)
    theta = gmst_1982_rad(jd, fraction + ut1_utc_s / SECONDS_PER_DAY)
    s_prime = -47.0e-6 * ARCSEC_RAD * (jd - J2000_JD + fraction) / 36_525.0
    return _axes_about_z(theta), _axes_about_x(-y_p) @ _axes_about_y(-x_p) @ _axes_about_z(s_prime)


def _axes_about_x(angle_rad: np.ndarray) -> np.ndarray:
    c, s, zero, one = _cosine_sine(angle_rad)
    return _matrix([one, zero, zero, zero, c, s, zero, -s, c])


def _axes_about_y(angle_rad: np.ndarray) -> np.ndarray:
    c, s, zero, one = _cosine_sine(angle_rad)
    return _matrix([c, zero, -s, zero, one, zero, s, zero, c])


def _axes_about_z(angle_rad: np.ndarray) -> np.ndarray:
    c, s, zero, one = _cosine_sine(angle_rad)
    return _matrix([c, s, zero, -s, c, zero, zero, zero, one])


def _cosine_sine(angle_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    angle_rad = np.asarray(angle_rad, dtype=float)
    return np.cos(angle_rad), np.sin(angle_rad), np.zeros_like(angle_rad), np.ones_like(angle_rad)


def _matrix(entries: list[np.ndarray]) -> np.ndarray:
    return np.stack(entries, axis=-1).reshape(*entries[0].shape, 3, 3)


# ---------------------------------------------------------------------------------------------
# The WGS-84 ellipsoid


def geodetic_to_ecef(lat_rad: np.ndarray, lon_rad: np.ndarray, alt_m: np.ndarray) -> np.ndarray:
    """Geodetic latitude, longitude (rad) and height (m) on WGS-84 as ITRS positions [..., xyz] (m)."""
    lat_rad, lon_rad, alt_m = np.broadcast_arrays(lat_rad, lon_rad, alt_m)
    sin_lat, cos_lat = np.sin(lat_rad), np.cos(lat_rad)
    N = WGS84_SEMI_MAJOR_M / np.sqrt(1.0 - WGS84_ECCENTRICITY_SQUARED * sin_lat**2)
    horizontal = (N + alt_m) * cos_lat
    vertical = (N * (1.0 - WGS84_ECCENTRICITY_SQUARED) + alt_m) * sin_lat
    return np.stack([horizontal * np.cos(lon_rad), horizontal * np.sin(lon_rad), vertical], axis=-1)


def ecef_to_geodetic(pos_ecef: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ITRS positions [..., xyz] (m) as geodetic latitude, longitude (rad) and height (m) on WGS-84.

    Bowring's iteration on the parametric latitude, four times: exact to rounding from 100 km under the
    ellipsoid to beyond the geostationary ring (B. R. Bowring, Survey Review 23, 1976, pp. 323-327).
    """
    pos_ecef = np.asarray(pos_ecef, dtype=float)
    x, y, z = pos_ecef[..., 0], pos_ecef[..., 1], pos_ecef[..., 2]
    a, e2 = WGS84_SEMI_MAJOR_M, WGS84_ECCENTRICITY_SQUARED
    b = a * (1.0 - WGS84_FLATTENING)
    p = np.hypot(x, y)
    beta = np.arctan2(a * z, b * p)
    for _ in range(4):
        lat = np.arctan2(z + e2 / (1.0 - e2) * b * np.sin(beta) ** 3, p - e2 * a * np.cos(beta) ** 3)
        beta = np.arctan2((1.0 - WGS84_FLATTENING) * np.sin(lat), np.cos(lat))
    alt_m = p * np.cos(lat) + z * np.sin(lat) - a * np.sqrt(1.0 - e2 * np.sin(lat) ** 2)
    return lat, np.arctan2(y, x), alt_m


def local_axes(lat_rad: np.ndarray, lon_rad: np.ndarray) -> np.ndarray:
    """Unit vectors east, north and up (geodetic) in ITRS: [user, (east, north, up), xyz]."""
    sin_lat, cos_lat = np.sin(lat_rad), np.cos(lat_rad)
    sin_lon, cos_lon = np.sin(lon_rad), np.cos(lon_rad)
    zero = np.zeros_like(sin_lat)
    east = np.stack([-sin_lon, cos_lon, zero], axis=-1)
    north = np.stack([-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat], axis=-1)
    up = np.stack([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat], axis=-1)
    return np.stack([east, north, up], axis=-2)
