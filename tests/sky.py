"""What the tests of orbits and of access windows share: an instant, a site, real elements, Skyfield's clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from element_sets import CATALOGUE
from skyfield.api import load

from leosim import frames, users
from leosim.records import Users
from leosim.units import NS_PER_S

STARLINK = CATALOGUE / "starlink-20260822.tle"
START = datetime(2026, 8, 22, 2, 0, tzinfo=UTC)
START_NS = int(START.timestamp()) * NS_PER_S


def catalogue(test: Callable[..., None]) -> Callable[..., None]:
    """A test on real elements, skipped where their folder is missing."""
    missing = pytest.mark.skipif(not CATALOGUE.is_dir(), reason="no folder of catalogue snapshots")
    return pytest.mark.catalogue(missing(test))


def at_time(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def site(lat_deg: float, lon_deg: float, mask_deg: float = 0.0, alt_m: float = 0.0) -> Users:
    return users.make(["site"], np.radians([lat_deg]), np.radians([lon_deg]), alt_m, math.radians(mask_deg))


def matched_timescale() -> object:
    """Skyfield's timescale with the UT1 and polar motion that leosim uses."""
    ts = load.timescale(builtin=True)
    table = frames.earth_orientation_table()
    recent = table.mjd > 58_000
    # From UTC to TT: 37 s of leap seconds since 2017, and 32.184 s.
    tt = table.mjd[recent] + 2_400_000.5 + 69.184 / 86_400
    ts.delta_t_function = lambda t: np.interp(t, tt, 32.184 - table.ut1_tai_s[recent])
    arcsec = frames.ARCSEC_RAD
    ts.polar_motion_table = (tt, table.x_p_rad[recent] / arcsec, table.y_p_rad[recent] / arcsec)
    return ts
