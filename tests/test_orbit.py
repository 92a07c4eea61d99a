"""Propagation, frames, geometry, access windows, pre-pass and users."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from skyfield.api import EarthSatellite, load, wgs84

from leosim import elements, frames, orbit
from leosim.records import Satellites, Users
from leosim.units import NS_PER_S, SPEED_OF_LIGHT_M_S

CATALOGUE = Path(__file__).parents[2] / "shared" / "tle"
STARLINK = CATALOGUE / "starlink-20260822.tle"


def catalogue(test: Callable[..., None]) -> Callable[..., None]:
    """A test on real elements, skipped where their folder is missing."""
    missing = pytest.mark.skipif(not CATALOGUE.is_dir(), reason="no folder of catalogue snapshots")
    return pytest.mark.catalogue(missing(test))


START = datetime(2026, 8, 22, 2, 0, tzinfo=UTC)
START_NS = int(START.timestamp()) * NS_PER_S
CARRIER_HZ = 12e9

one_metre = 1.0
one_millimetre = 1e-3
printed_digit_m = 2e-4  # python-sgp4's own test against tcppver.out allows 2e-7 km
nano_degree = 1e-9
centihertz = 0.01
tenth_of_a_second = 0.1
half_a_second = 0.5


@pytest.fixture(scope="module")
def shell() -> elements.Constellation:
    return elements.walker("53:1584/72/39", 550.0, START)


@pytest.fixture(scope="module")
def starlink() -> elements.Constellation:
    return elements.read_elements([STARLINK])


@pytest.fixture(scope="module")
def munich() -> Users:
    return orbit.users_circle(48.14, 11.58, 200.0, 10, np.random.default_rng(1))


def at_time(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def site(lat_deg: float, lon_deg: float, mask_deg: float = 0.0, alt_m: float = 0.0) -> Users:
    return orbit.make_users(["site"], np.radians([lat_deg]), np.radians([lon_deg]), alt_m, math.radians(mask_deg))


# ---------------------------------------------------------------------------------------------
# Time and frames


def test_julian_date_keeps_nanoseconds() -> None:
    jd, fraction = frames.julian_date(START_NS + 1)
    assert jd == 2_461_274.5
    assert fraction == pytest.approx(2 / 24 + 1 / frames.NS_PER_DAY, abs=1e-17)


def test_earth_orientation_is_that_of_the_bulletin() -> None:
    # finals2000A, 2 January 1973: x 0.118980, y 0.135656, UT1-UTC 0.8056163.
    day_ns = int(datetime(1973, 1, 3, tzinfo=UTC).timestamp()) * NS_PER_S
    ut1_utc_s, x_p, y_p = frames.earth_orientation(day_ns)
    assert ut1_utc_s == pytest.approx(0.8056163, abs=1e-9)
    assert np.array([x_p, y_p]) / frames.ARCSEC_RAD == pytest.approx([0.118980, 0.135656], abs=1e-9)


def test_leap_second_is_a_step_of_ut1_at_midnight() -> None:
    midnight_ns = int(datetime(2017, 1, 1, tzinfo=UTC).timestamp()) * NS_PER_S
    t = midnight_ns + np.array([-43_200, -1, 0]) * NS_PER_S
    ut1_utc_s, _, _ = frames.earth_orientation(t)
    noon, before, after = ut1_utc_s
    assert noon == pytest.approx(before, abs=1e-3)  # a plain interpolation gives half a second here
    assert after - before == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("year", [1970, 2200])
def test_time_without_earth_orientation_names_the_range(year: int) -> None:
    with pytest.raises(ValueError, match=r"expected between 1973-01-02.* got .*astropy-iers-data"):
        frames.earth_orientation(int(datetime(year, 6, 1, tzinfo=UTC).timestamp()) * NS_PER_S)


def test_polar_motion_has_the_sign_of_the_conventions() -> None:
    # The rotation axis (PEF z) pierces the ITRS at (x_p, -y_p): IERS Conventions 2010, Eq. 5.3, where
    # x_p is towards Greenwich and y_p towards 90 degrees west.
    _, x_p, y_p = frames.earth_orientation(START_NS)
    _, to_itrs = frames.teme_to_itrs_matrices(START_NS)
    assert to_itrs @ [0.0, 0.0, 1.0] == pytest.approx([x_p, -y_p, 1.0], abs=1e-11)
    assert min(x_p, y_p) > 5e-7  # 3 m at the pole: the signs above are seen


def test_gmst_of_the_j2000_epoch() -> None:
    # 67310.54841 s at JD 2451545.0 (noon): 18 h 41 min 50.54841 s.
    gmst = frames.gmst_1982_rad(np.array(2_451_544.5), np.array(0.5))
    assert gmst == pytest.approx(2 * math.pi * (67310.54841 / 86400), abs=1e-12)


def test_geodetic_both_ways() -> None:
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-np.pi / 2, np.pi / 2, 1_000), rng.uniform(-np.pi, np.pi, 1_000)
    alt_m = rng.choice([-100e3, 0.0, 550e3, 36e6], 1_000)
    back = frames.ecef_to_geodetic(frames.geodetic_to_ecef(lat, lon, alt_m))
    for got, expected, tolerance in zip(back, (lat, lon, alt_m), (1e-15, 1e-15, 1e-7), strict=True):
        assert np.abs(got - expected).max() < tolerance


def test_geodetic_of_the_axes() -> None:
    assert frames.geodetic_to_ecef(0.0, np.pi / 2, 10.0) == pytest.approx([0, 6_378_147.0, 0], abs=1e-9)
    assert frames.geodetic_to_ecef(np.pi / 2, 0.0, 0.0) == pytest.approx([0, 0, 6_356_752.314245], abs=1e-6)


# ---------------------------------------------------------------------------------------------
# Propagation


@catalogue
def test_sgp4_gives_the_published_verification_output(tmp_path: Path) -> None:
    lines = (CATALOGUE / "SGP4-VER.TLE").read_text().splitlines()
    pairs = [
        (first[:69], second[:69])
        for first, second in itertools.pairwise(lines)
        if first.startswith("1 ") and second.startswith("2 ")
    ]
    expected: list[tuple[int, list[list[float]]]] = []
    for line in (CATALOGUE / "tcppver.out").read_text().splitlines():
        if line.rstrip().endswith("xx"):
            expected.append((int(line.split()[0]), []))
        else:
            expected[-1][1].append([float(field) for field in line.split()[:7]])
    assert len(pairs) == len(expected) == 33
    compared = 0
    for (first, second), (number, rows) in zip(pairs, expected, strict=True):
        file = tmp_path / "one.tle"
        file.write_text(f"{with_checksum(first)}\n{with_checksum(second)}\n")
        try:
            one = elements.read_elements([file])
        except elements.ElementsError:
            continue  # deliberately impossible elements
        table = np.array(rows)
        t_utc_ns = one.epoch_ns[0] + np.rint(table[:, 0] * 60 * NS_PER_S).astype(np.int64)
        pos, vel, err = orbit.propagate(one, t_utc_ns)
        to_pef, to_itrs = frames.teme_to_itrs_matrices(t_utc_ns)
        good = err[:, 0] == 0
        pef = np.einsum("tji,tj->ti", to_itrs, pos[:, 0])
        teme = np.einsum("tji,tj->ti", to_pef, pef)
        spin = np.cross([0, 0, frames.EARTH_ROTATION_RAD_S], pef)
        vel_teme = np.einsum("tji,tj->ti", to_pef, np.einsum("tji,tj->ti", to_itrs, vel[:, 0]) + spin)
        assert one.sat[0] == number
        assert np.abs(teme - 1e3 * table[:, 1:4])[good].max(initial=0.0) < printed_digit_m
        assert np.abs(vel_teme - 1e3 * table[:, 4:7])[good].max(initial=0.0) < 1e-6
        assert np.isnan(pos[~good]).all()
        compared += int(good.sum())
    assert compared > 600


def with_checksum(line: str) -> str:
    return line[:68] + str(elements.tle_checksum(line))


def test_velocity_is_the_derivative_of_the_position(shell: elements.Constellation) -> None:
    h_ns = 10_000_000
    pos, vel, _ = orbit.propagate(shell, START_NS + np.array([-h_ns, 0, h_ns]))
    numeric = (pos[2] - pos[0]) / (2e-9 * h_ns)
    # SGP4's velocity is off its position's derivative by centimetres a second; without omega x r: 500 m/s.
    assert np.abs(numeric - vel[1]).max() < 0.05


def test_propagate_takes_rows_in_any_order(shell: elements.Constellation) -> None:
    pos, vel, err = orbit.propagate(shell, START_NS)
    some_pos, some_vel, _ = orbit.propagate(shell, START_NS, rows=np.array([900, 3, 3]))
    assert pos.shape == vel.shape == (1584, 3)
    assert not err.any()
    assert np.array_equal(some_pos, pos[[900, 3, 3]])
    assert np.array_equal(some_vel, vel[[900, 3, 3]])


def test_many_epochs_equal_one_at_a_time(shell: elements.Constellation) -> None:
    t = START_NS + np.arange(40) * 17 * NS_PER_S
    some = np.arange(0, 1584, 200)
    many, _, _ = orbit.propagate(shell, t, rows=some)
    assert np.array_equal(many[35], orbit.propagate(shell, int(t[35]), rows=some)[0])


# ---------------------------------------------------------------------------------------------
# Ephemeris


@catalogue
def test_knots_are_within_a_metre_of_sgp4() -> None:
    active = elements.read_elements([CATALOGUE / "active-20260822.tle"])
    # Above 100 km and in low Earth orbit; the lowest perigees and the eccentric ones are in.
    chosen = active.select((active.perigee_m > 100e3) & (active.perigee_m < 2_000e3))
    assert (chosen.perigee_m < 200e3).sum() >= 5
    assert (chosen.eccentricity > 0.5).sum() >= 5
    start_ns = chosen.median_epoch_ns
    knots = orbit.Ephemeris(chosen, start_ns, start_ns + at_time(120))
    exact = orbit.Ephemeris(chosen, start_ns, start_ns + at_time(120), mode="exact")
    above_ground = None
    for t_s in (0.0, 7.5, 15.0, 44.0, 119.0):
        a, b = knots.at(at_time(t_s)), exact.at(at_time(t_s))
        if above_ground is None:
            above_ground = b.sat[np.linalg.norm(b.pos_ecef, axis=1) > 6_478_135.0]
            assert len(above_ground) > 14_000
        pick_a, pick_b = np.isin(a.sat, above_ground), np.isin(b.sat, above_ground)
        apart = np.linalg.norm(a.pos_ecef[pick_a] - b.pos_ecef[pick_b], axis=1)
        assert apart.max() < 0.1 * one_metre
        assert np.median(np.linalg.norm(a.vel_ecef[pick_a] - b.vel_ecef[pick_b], axis=1)) < 0.05


def test_slopes_of_a_quartic_and_beside_a_failure() -> None:
    t = np.arange(-2.0, 8.0) * 30
    pos = (1e-3 * t**4 - 2 * t**3 + 5 * t)[:, None, None] * np.array([1.0, 2.0, -1.0])
    exact = (4e-3 * t**3 - 6 * t**2 + 5)[:, None, None] * np.array([1.0, 2.0, -1.0])
    assert orbit._slopes(pos, exact + 0.01, 30.0) == pytest.approx(exact[2:-2], rel=1e-12)
    for garbage in (np.nan, 1e9):
        broken, given = pos.copy(), exact + 0.01
        broken[7:] = garbage  # knot 5 of those asked for
        slopes = orbit._slopes(broken, given, 30.0)
        assert slopes[:3] == pytest.approx(exact[2:5], rel=1e-12)
        assert np.array_equal(slopes[3:5], given[5:7])  # the rule would reach into the garbage


def test_ephemeris_does_not_depend_on_order_or_threads(shell: elements.Constellation) -> None:
    some = shell.select(np.arange(0, 1584, 16))
    times = [at_time(t) for t in np.linspace(0, 7_200, 31)]
    forward = orbit.Ephemeris(some, START_NS, START_NS + at_time(7_200))
    expected = {t: forward.at(t).pos_ecef for t in times}
    backward = orbit.Ephemeris(some, START_NS, START_NS + at_time(7_200))
    got: dict[int, np.ndarray] = {}

    def read(order: list[int]) -> None:
        for t in order:
            got[t] = backward.at(t).pos_ecef

    threads = [threading.Thread(target=read, args=(times[::-1][k::3],)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(got[t], expected[t]) for t in times)
    assert len(backward._knots._blocks) <= orbit.BLOCKS_KEPT


def test_satellites_out_at_their_failure_time(shell: elements.Constellation) -> None:
    some = shell.select(np.arange(4))
    fail_ns = np.array([-1, 0, at_time(50), -1])
    for mode in ("knots", "exact"):
        ephemeris = orbit.Ephemeris(some, START_NS, START_NS + at_time(120), mode=mode, fail_ns=fail_ns)
        assert ephemeris.at(at_time(50) - 1).sat.tolist() == [1, 3, 4]
        assert ephemeris.at(at_time(50)).sat.tolist() == [1, 4]
    again = ephemeris.with_failures(np.full(4, -1))
    assert again.at(at_time(50)).sat.tolist() == [1, 2, 3, 4]


def test_ephemeris_refuses_times_outside(shell: elements.Constellation) -> None:
    ephemeris = orbit.Ephemeris(shell.select(np.arange(2)), START_NS, START_NS + at_time(60))
    for t in (-1, at_time(60) + 1):
        with pytest.raises(ValueError, match=r"between 0 and 60\.0 s"):
            ephemeris.at(t)
    with pytest.raises(ValueError, match="end after the start"):
        orbit.Ephemeris(shell, START_NS, START_NS - 1)


@pytest.mark.parametrize("spread_km", [200.0, 4_000.0])
def test_cull_keeps_everything_above_a_horizon(shell: elements.Constellation, spread_km: float) -> None:
    users = orbit.users_circle(48.0, 11.0, spread_km, 40, np.random.default_rng(3), mask_deg=0.0)
    ephemeris = orbit.Ephemeris(shell, START_NS, START_NS + at_time(600))
    for t_s in np.linspace(0.0, 600.0, 41):
        everything = orbit.geometry(ephemeris.at(at_time(t_s)), users)
        culled = orbit.geometry(ephemeris.near(users, at_time(t_s)), users)
        for name in ("user", "sat", "range_m", "elevation_rad"):
            assert np.array_equal(getattr(everything, name), getattr(culled, name))
        assert len(everything.user) > 100
    assert len(ephemeris.near(users, 0).sat) < (0.15 if spread_km < 1_000 else 0.6) * len(shell)


def test_cull_keeps_a_satellite_up_between_two_knots_only() -> None:
    # A circular orbit that culminates 100 m over the horizon plane half-way between two knots.
    user = site(0.0, 0.0)
    r, rate, height = 6_928e3, 1.09e-3, user.pos_ecef[0, 0] + 100.0
    top, across = np.array([height, 0, math.sqrt(r**2 - height**2)]), np.array([0, r, 0])

    def knot(t: float) -> tuple[np.ndarray, np.ndarray]:
        c, s = math.cos(rate * t), math.sin(rate * t)
        return (top * c + across * s)[None], rate * (across * c - top * s)[None]

    before, after = knot(-15.0), knot(15.0)
    assert before[0][0, 0] < user.pos_ecef[0, 0] - 500
    assert after[0][0, 0] < user.pos_ecef[0, 0] - 500
    usable = np.array([True])
    assert orbit._reach_cap(*before, *after, usable, *orbit._cap(user), 15.0).tolist() == [True]
    assert orbit._reach_cap(*before, *after, ~usable, *orbit._cap(user), 15.0).tolist() == [False]
    far = orbit._cap(site(0.0, 180.0))
    assert orbit._reach_cap(*before, *after, usable, *far, 15.0).tolist() == [False]


def test_cull_reach_is_longer_than_any_half_interval(shell: elements.Constellation) -> None:
    # The bound itself: from a knot no satellite gets further than the reach within 15 s.
    eccentric = elements.walker("63:40/5/1", 300.0, START).replace(eccentricity=np.full(40, 0.6))
    eccentric = eccentric.replace(mean_motion_rad_min=np.full(40, 2 * math.pi / 400.0))
    for constellation in (shell.select(np.arange(0, 1584, 50)), eccentric):
        t = START_NS + np.arange(0, 3_600) * NS_PER_S
        pos, vel, err = orbit.propagate(constellation, t)
        assert not err.any()
        moved = np.linalg.norm(pos[15:] - pos[:-15], axis=2)
        reach = np.array([[orbit._reach_m(v, 15.0) for v in row] for row in vel[:-15:60]])
        assert (moved[::60] < reach).all()
        assert (moved[::60] > 0.9 * reach).any()


# ---------------------------------------------------------------------------------------------
# Geometry


def satellites_at(*positions: np.ndarray, velocity: tuple[float, float, float] = (0, 0, 0)) -> Satellites:
    pos = np.array(positions, dtype=float)
    return Satellites(0, np.arange(1, len(pos) + 1), pos, np.tile(np.array(velocity, dtype=float), (len(pos), 1)))


def test_satellite_at_zenith_and_on_the_compass() -> None:
    users = site(48.0, 11.0, alt_m=500.0)
    east, north, up = frames.local_axes(users.lat_rad, users.lon_rad)[0]
    p = users.pos_ecef[0]
    high = 500e3 * up
    places = [p + high, p + high + 500e3 * north, p + high + 500e3 * east, p + high - 500e3 * east]
    g = orbit.geometry(satellites_at(*places), users)
    assert np.degrees(g.elevation_rad) == pytest.approx([90, 45, 45, 45], abs=1e-7)
    assert np.degrees(g.azimuth_rad[1:]) % 360 == pytest.approx([0, 90, 270], abs=1e-9)
    assert g.range_m == pytest.approx([500e3, *[500e3 * math.sqrt(2)] * 3], abs=1e-6)


def test_azimuth_stays_below_a_full_turn() -> None:
    users = site(0.0, 0.0)
    p = users.pos_ecef[0]
    g = orbit.geometry(satellites_at(p + np.array([1e6, -1e-11, 1e6]), p + np.array([1e6, -1.0, 1e6])), users)
    assert ((g.azimuth_rad >= 0) & (g.azimuth_rad < 2 * math.pi)).all()


def test_range_rate_of_a_receding_satellite() -> None:
    users = site(0.0, 0.0)
    satellites = satellites_at(users.pos_ecef[0] + [600e3, 0, 0], velocity=(123.0, 5_000.0, 0.0))
    assert orbit.geometry(satellites, users).range_rate_m_s == pytest.approx([123.0], abs=1e-9)


def test_range_rate_is_the_rate_of_the_range(shell: elements.Constellation, munich: Users) -> None:
    ephemeris = orbit.Ephemeris(shell, START_NS, START_NS + at_time(60))
    before, now, after = (orbit.geometry(ephemeris.at(at_time(t)), munich, 0.3) for t in (9.99, 10.0, 10.01))
    pairs = [list(zip(g.user.tolist(), g.sat.tolist(), strict=True)) for g in (before, now, after)]
    common = set(pairs[0]) & set(pairs[1]) & set(pairs[2])
    rows = [np.array([k for k, pair in enumerate(p) if pair in common]) for p in pairs]
    numeric = (after.range_m[rows[2]] - before.range_m[rows[0]]) / 0.02
    assert len(rows[1]) > 50
    assert np.abs(numeric - now.range_rate_m_s[rows[1]]).max() < 1e-3


def test_direction_cosines_on_the_body_axes() -> None:
    # A satellite over (0, 0) that flies north as seen from inertial space: its rotating-frame velocity
    # has a westward part -omega r. Along-track is then exactly north, cross-track = nadir x along = west ...
    r = 7_000e3
    satellites = satellites_at([r, 0, 0], velocity=(0.0, -frames.EARTH_ROTATION_RAD_S * r, 7_500.0))
    users = orbit.make_users(["nadir", "north", "east"], np.radians([0, 5, 0]), np.radians([0, 0, 5]))
    g = orbit.geometry(satellites, users, 0.0)
    assert g.user.tolist() == [0, 1, 2]
    nadir, along = np.array([-1.0, 0, 0]), np.array([0, 0, 1.0])
    cross = np.cross(nadir, along)  # (0, 1, 0): east
    assert cross.tolist() == [0, 1, 0]
    towards = users.pos_ecef - [r, 0, 0]
    towards /= np.linalg.norm(towards, axis=1)[:, None]
    assert g.cosines == pytest.approx(np.column_stack((towards @ along, towards @ cross)), abs=1e-15)
    assert g.cosines[0] == pytest.approx([0, 0], abs=1e-15)
    assert g.cosines[1, 0] > 0.4
    assert g.cosines[2, 1] > 0.4


def plain_geometry(
    satellites: Satellites, users: Users, mask: np.ndarray
) -> list[tuple[int, int, float, float, float]]:
    rows = []
    for i in range(len(users.name)):
        d = satellites.pos_ecef - users.pos_ecef[i]
        lat, lon = users.lat_rad[i], users.lon_rad[i]
        up = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        elevation = np.arcsin(d @ up / np.linalg.norm(d, axis=1))
        for j in np.flatnonzero(elevation >= mask[i]):
            rate = d[j] @ satellites.vel_ecef[j] / np.linalg.norm(d[j])
            rows.append((i, int(satellites.sat[j]), float(np.linalg.norm(d[j])), float(elevation[j]), float(rate)))
    return rows


@pytest.mark.parametrize("mask_deg", [0.0, 5.0, 25.0, 60.0, 85.0])
def test_geometry_equals_a_plain_loop(shell: elements.Constellation, mask_deg: float) -> None:
    # Mixed heights, users from pole to pole: no satellite above the mask is lost by the fast tests.
    ephemeris = orbit.Ephemeris(shell, START_NS, START_NS + at_time(60))
    low = ephemeris.at(at_time(12))
    factor = np.linspace(0.95, 1.6, len(low.sat))[:, None]
    satellites = low.replace(pos_ecef=low.pos_ecef * factor)
    users = orbit.users_grid((-90, 90), (-180, 179), 10, 30, mask_deg=mask_deg, alt_m=2_000.0)
    g = orbit.geometry(satellites, users)
    expected = plain_geometry(satellites, users, users.mask_rad)
    assert len(expected) > 30
    assert g.user.tolist() == [row[0] for row in expected]
    assert g.sat.tolist() == [row[1] for row in expected]
    got = np.column_stack((g.range_m, g.elevation_rad, g.range_rate_m_s))
    assert np.abs(got - np.array([row[2:] for row in expected])).max(axis=0) == pytest.approx([0, 0, 0], abs=1e-7)


@pytest.mark.parametrize("lat_deg", [0.0, 45.0, -70.0])
@pytest.mark.parametrize("mask_deg", [1.0, 25.0, 80.0])
def test_mask_is_exact_in_every_direction(lat_deg: float, mask_deg: float) -> None:
    # All at one radius, so that the fast test has no slack, a hair above or below the mask.
    user = site(lat_deg, 20.0, mask_deg=mask_deg)
    azimuth = np.linspace(0, 2 * np.pi, 37)[:-1, None]
    for hair, seen in ((1e-9, 36), (-1e-9, 0)):
        elevation = user.mask_rad[0] + hair
        level = np.sin(azimuth) * [[1, 0, 0]] + np.cos(azimuth) * [[0, 1, 0]]
        local = np.cos(elevation) * level + np.sin(elevation) * np.array([0, 0, 1])
        direction = local @ frames.local_axes(user.lat_rad, user.lon_rad)[0]
        along = direction @ user.pos_ecef[0]
        gap = 6_928e3**2 - user.pos_ecef[0] @ user.pos_ecef[0]
        distance = -along + np.sqrt(along**2 + gap)
        g = orbit.geometry(satellites_at(*(user.pos_ecef[0] + distance[:, None] * direction)), user)
        assert len(g.user) == seen
        if seen:
            assert g.range_m == pytest.approx(distance, abs=1e-6)
            turn = (g.azimuth_rad - azimuth[:, 0] + np.pi) % (2 * np.pi) - np.pi
            assert np.abs(turn).max() < 1e-8


def test_geometry_takes_a_mask_for_each_user(shell: elements.Constellation, munich: Users) -> None:
    satellites = orbit.Ephemeris(shell, START_NS, START_NS).at(0)
    masks = np.radians(np.linspace(0, 80, 10))
    g = orbit.geometry(satellites, munich, masks)
    assert (g.elevation_rad >= masks[g.user]).all()
    assert np.bincount(g.user, minlength=10)[0] > 3 * np.bincount(g.user, minlength=10)[4] > 0
    for bad in (-0.1, 1.6, np.zeros(3)):
        with pytest.raises(ValueError, match="mask_rad: expected"):
            orbit.geometry(satellites, munich, bad)


def test_geometry_of_nothing(munich: Users) -> None:
    nothing = Satellites(5, np.empty(0), np.empty((0, 3)), np.empty((0, 3)))
    g = orbit.geometry(nothing, munich)
    assert len(g.user) == 0
    assert g.t_ns == 5


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


@catalogue
def test_geometry_equals_skyfield(starlink: elements.Constellation) -> None:
    ts = matched_timescale()
    users = orbit.users_grid((-60, 60), (-180, 140), 40, 80, mask_deg=10.0)
    compared = 0
    for hours in (0.0, 7.25):
        t_ns = START_NS + at_time(3_600 * hours)
        ephemeris = orbit.Ephemeris(starlink, t_ns, t_ns + at_time(60), mode="exact")
        satellites = ephemeris.at(0)
        g = orbit.geometry(satellites, users)
        satrecs = starlink.satrecs()
        _, x_p, y_p = frames.earth_orientation(t_ns)
        to_z_axis = frames.EARTH_ROTATION_RAD_S * np.array([-x_p, y_p, 0.0])
        t = ts.from_datetime(datetime.fromtimestamp(t_ns / NS_PER_S, UTC))
        for k in range(0, len(g.user), max(1, len(g.user) // 120)):
            place = wgs84.latlon(math.degrees(users.lat_rad[g.user[k]]), math.degrees(users.lon_rad[g.user[k]]))
            row = int(np.searchsorted(starlink.sat, g.sat[k]))
            seen = (EarthSatellite.from_satrec(satrecs[row], ts) - place).at(t)
            elevation, azimuth, distance = seen.altaz()
            rate_m_s = seen.frame_latlon_and_rates(place)[5].km_per_s * 1e3
            assert abs(math.degrees(g.elevation_rad[k]) - elevation.degrees) < nano_degree
            turn = (math.degrees(g.azimuth_rad[k]) - azimuth.degrees + 180) % 360 - 180
            assert abs(turn) * math.cos(g.elevation_rad[k]) < nano_degree
            assert abs(g.range_m[k] - distance.m) < one_millimetre
            # Skyfield turns the site about the z axis of ITRS, we about the pole, (x_p, -y_p) away from it.
            direction = satellites.pos_ecef[row] - users.pos_ecef[g.user[k]]
            rate_m_s += np.cross(to_z_axis, users.pos_ecef[g.user[k]]) @ direction / g.range_m[k]
            doppler_hz = (g.range_rate_m_s[k] - rate_m_s) / SPEED_OF_LIGHT_M_S * CARRIER_HZ
            assert abs(doppler_hz) < centihertz
            compared += 1
    assert compared >= 200


# ---------------------------------------------------------------------------------------------
# Access windows


def brute_force_windows(
    constellation: elements.Constellation, users: Users, duration_s: int
) -> list[tuple[int, int, float, float, float]]:
    """Every pass from SGP4 at each second, edges by bisection on SGP4 itself."""

    def height(user: int, pos: np.ndarray) -> np.ndarray:
        up = frames.local_axes(users.lat_rad, users.lon_rad)[user, 2]
        d = pos - users.pos_ecef[user]
        return np.arcsin(d @ up / np.linalg.norm(d, axis=1)) - users.mask_rad[user]

    def edge(user: int, row: int, low: float, high: float) -> float:
        fine = np.linspace(low, high, 101)
        t_ns = START_NS + np.rint(fine * NS_PER_S).astype(np.int64)
        h = height(user, orbit.propagate(constellation, t_ns, rows=np.array([row]))[0][:, 0])
        k = int(np.flatnonzero((h[1:] < 0) != (h[:-1] < 0))[0])
        return float(fine[k] + 0.01 * h[k] / (h[k] - h[k + 1]))

    seconds = np.arange(0, duration_s + 900)
    found = []
    for row in range(len(constellation)):
        pos, _, _ = orbit.propagate(constellation, START_NS + seconds * NS_PER_S, rows=np.array([row]))
        for user in range(len(users.name)):
            h = height(user, pos[:, 0])
            up = np.concatenate(([False], h >= 0, [False]))
            for a, b in zip(np.flatnonzero(~up[:-1] & up[1:]), np.flatnonzero(up[:-1] & ~up[1:]) - 1, strict=True):
                if seconds[a] <= duration_s:
                    rise = edge(user, row, a - 1.0, float(a)) if a else 0.0
                    peak = float(h[a : b + 1].max() + users.mask_rad[user])
                    found.append((user, int(constellation.sat[row]), rise, edge(user, row, b, b + 1.0), peak))
    return sorted(found)


@pytest.mark.parametrize("mask_deg", [5.0, 25.0, 70.0])
def test_windows_equal_brute_force(shell: elements.Constellation, mask_deg: float) -> None:
    some = shell.select(np.arange(0, 1584, 40 if mask_deg < 50 else 10))
    users = orbit.make_users(
        ["a", "b"], np.radians([48.0, -10.0]), np.radians([11.0, 100.0]), 0.0, math.radians(mask_deg)
    )
    hours = 2
    expected = brute_force_windows(some, users, hours * 3_600)
    windows = orbit.access_windows(orbit.Ephemeris(some, START_NS, START_NS + at_time(hours * 3_600)), users)
    # Brute force at 1 s misses passes shorter than that: leave those out on both sides.
    whole = windows.set_ns - windows.rise_ns > 2 * NS_PER_S
    expected = [row for row in expected if row[3] - row[2] > 2]
    assert len(expected) >= 15
    assert windows.user[whole].tolist() == [row[0] for row in expected]
    assert windows.sat[whole].tolist() == [row[1] for row in expected]
    table = np.array([row[2:] for row in expected])
    assert np.abs(windows.rise_ns[whole] / NS_PER_S - table[:, 0]).max() < tenth_of_a_second
    assert np.abs(windows.set_ns[whole] / NS_PER_S - table[:, 1]).max() < tenth_of_a_second
    assert np.abs(windows.peak_rad[whole] - table[:, 2]).max() < math.radians(0.3)
    assert not windows.set_clipped.any()


def test_short_grazing_passes_are_found(shell: elements.Constellation) -> None:
    # Masks a hair below each pass's culmination leave passes of seconds, most of them between two knots.
    some = shell.select(np.arange(0, 1584, 40))
    user = site(48.0, 11.0, mask_deg=20.0)
    ephemeris = orbit.Ephemeris(some, START_NS, START_NS + at_time(7_200))
    passes = orbit.access_windows(ephemeris, user)
    inner = np.flatnonzero((passes.rise_clipped == 0) & (passes.set_ns < at_time(7_200)))
    assert len(inner) > 10
    for k in inner:
        grazing = orbit.access_windows(ephemeris, user, float(passes.peak_rad[k]) - 1e-5)
        mine = (
            (grazing.sat == passes.sat[k]) & (grazing.rise_ns > passes.rise_ns[k]) & (grazing.set_ns < passes.set_ns[k])
        )
        assert mine.sum() == 1
        assert (grazing.set_ns - grazing.rise_ns)[mine][0] < 12 * NS_PER_S


@catalogue
def test_windows_equal_skyfield_find_events(starlink: elements.Constellation) -> None:
    ts = matched_timescale()
    user, place = site(48.0, 11.0, mask_deg=25.0), wgs84.latlon(48.0, 11.0)
    some = starlink.select(np.arange(50, len(starlink), 1_500))
    satrecs = some.satrecs()
    day = 86_400
    windows = orbit.access_windows(orbit.Ephemeris(some, START_NS, START_NS + at_time(day)), user)
    t0 = ts.from_datetime(START)
    compared = 0
    for row, number in enumerate(some.sat):
        satellite = EarthSatellite.from_satrec(satrecs[row], ts)
        times, kinds = satellite.find_events(place, t0, t0 + 1.0, 25.0)
        mine = windows.sat == number
        for kind, edge in ((0, windows.rise_ns), (2, windows.set_ns)):
            theirs = np.array([(t - t0) * day for t, k in zip(times, kinds, strict=True) if k == kind])
            ours = edge[mine] / NS_PER_S
            ours = ours[(ours > 0) & (ours < day)]
            assert len(ours) == len(theirs)
            # find_events stops at half a second; Skyfield's own elevation settles the tenth.
            assert np.abs(ours - theirs).max(initial=0.0) < half_a_second
            for t_s in ours:
                around = ts.tt_jd(t0.whole, t0.tt_fraction + (t_s + tenth_of_a_second * np.array([-1, 1])) / day)
                before, after = (satellite - place).at(around).altaz()[0].degrees
                assert (before < 25.0 < after) if kind == 0 else (before > 25.0 > after)
                compared += 1
    assert compared > 30


def test_windows_at_both_ends(shell: elements.Constellation, munich: Users) -> None:
    long = orbit.access_windows(orbit.Ephemeris(shell, START_NS, START_NS + at_time(3_600)), munich)
    first_ns, last_ns = at_time(1_200), at_time(1_800)
    part = orbit.access_windows(orbit.Ephemeris(shell, START_NS + first_ns, START_NS + last_ns), munich)
    inside = (long.set_ns > first_ns) & (long.rise_ns <= last_ns)
    assert part.sat.tolist() == long.sat[inside].tolist()
    # A pass in progress at the end sets when it really does; one risen before the start is clipped.
    assert np.abs(part.set_ns + first_ns - long.set_ns[inside]).max() < 0.001 * NS_PER_S
    assert (part.set_ns > last_ns - first_ns).sum() > 100
    clipped = long.rise_ns[inside] < first_ns
    assert clipped.sum() > 100
    assert part.rise_clipped.astype(bool).tolist() == clipped.tolist()
    assert (part.rise_ns[clipped] == 0).all()
    assert not part.set_clipped.any()


def test_satellite_that_never_sets_is_clipped() -> None:
    ring = elements.walker("0.01:3/3/0", 35_786.0, START)
    windows = orbit.access_windows(
        orbit.Ephemeris(ring, START_NS, START_NS + at_time(600)), orbit.users_grid((0, 0), (0, 300), 10, 60)
    )
    assert len(windows.user) > 0
    assert (windows.rise_clipped & windows.set_clipped).all()
    assert (windows.set_ns == at_time(600 + orbit.FOLLOW_S)).all()


def test_lookup_agrees_with_the_geometry(shell: elements.Constellation, munich: Users) -> None:
    ephemeris = orbit.Ephemeris(shell, START_NS, START_NS + at_time(7_200))
    windows = orbit.access_windows(ephemeris, munich)
    for t_s in (0.0, 1_234.5, 7_200.0):
        g = orbit.geometry(ephemeris.at(at_time(t_s)), munich)
        pass_index, remaining_s = windows.lookup(g.user, g.sat, g.t_ns)
        assert (remaining_s > 0).all()
        for k in range(0, len(g.user), 7):
            mine = (windows.user == g.user[k]) & (windows.sat == g.sat[k])
            begun = windows.rise_ns[mine] <= g.t_ns
            assert pass_index[k] == begun.sum() - 1
            assert remaining_s[k] == pytest.approx((windows.set_ns[mine][begun][-1] - g.t_ns) / NS_PER_S)
    assert pass_index.max() >= 1
    assert windows.lookup(np.array([3]), np.array([999_999]), 0)[0].tolist() == [0]
    # Between two passes: nothing remains, and the last pass begun keeps its number.
    late = np.flatnonzero(pass_index == 1)[0]
    mine = (windows.user == g.user[late]) & (windows.sat == g.sat[late])
    gap_ns = int(windows.set_ns[mine][0]) + NS_PER_S
    index, remaining_s = windows.lookup(g.user[[late]], g.sat[[late]], gap_ns)
    assert (index.tolist(), remaining_s.tolist()) == ([0], [0.0])


# ---------------------------------------------------------------------------------------------
# Pre-pass


@catalogue
def test_prepass_gates_what_sgp4_does_not(starlink: elements.Constellation, munich: Users) -> None:
    start_ns = starlink.median_epoch_ns + 30 * frames.NS_PER_DAY
    ephemeris = orbit.Ephemeris(starlink, start_ns, start_ns + at_time(5_700))
    pre = orbit.prepass(ephemeris, munich, max_age_days=60.0)
    pos, _, err = orbit.propagate(starlink, start_ns + np.arange(0, 5_700, 300) * NS_PER_S)
    radius_m = np.linalg.norm(pos, axis=2)
    garbage = ((err == 0) & (radius_m > 8_000e3)).any(axis=0)
    assert garbage.sum() >= 3  # SGP4 says 0 and gives thousands of kilometres too much
    failed = (err != 0).any(axis=0)
    assert failed.sum() > 50
    assert (pre.fail_ns[garbage | failed] >= 0).all()
    for t_s in (0, 2_850, 5_700):
        alive = ephemeris.with_failures(pre.fail_ns).at(at_time(t_s))
        heights = np.linalg.norm(alive.pos_ecef, axis=1) - 6_378_135.0
        assert heights.min() > 100e3
        assert heights.max() < 1_000e3
        assert len(alive.sat) > 10_000
    reasons = set(pre.quarantine.reason)
    assert any(reason.startswith("SGP4 error 6: ") for reason in reasons)
    assert any("far from the" in reason for reason in reasons)
    assert pre.quarantine.sat.tolist() == starlink.sat[pre.fail_ns >= 0].tolist()
    assert set(pre.quarantine.file) == {STARLINK.name}
    assert pre.age_days_median == pytest.approx(30.0, abs=0.5)
    assert "more than 3 days" in pre.warnings[0]


@catalogue
def test_prepass_keeps_fresh_elements(starlink: elements.Constellation, munich: Users) -> None:
    ephemeris = orbit.Ephemeris(starlink, START_NS, START_NS + at_time(600))
    pre = orbit.prepass(ephemeris, munich)
    assert (pre.fail_ns >= 0).sum() == 0
    old = orbit.prepass(ephemeris, munich, max_age_days=1.0)
    out = old.fail_ns == 0
    assert out.tolist() == (np.abs(START_NS - starlink.epoch_ns) > frames.NS_PER_DAY).tolist()
    assert 0 < out.sum() < 500
    assert "over the limit of 1" in old.reason[out][0]
    assert not np.isin(old.windows.sat, starlink.sat[out]).any()


def test_prepass_latches_the_first_failure(shell: elements.Constellation, munich: Users) -> None:
    some = shell.select(np.arange(0, 1584, 2))
    ephemeris = orbit.Ephemeris(some, START_NS, START_NS + at_time(1_200))
    whole = orbit.prepass(ephemeris, munich)
    row = int(np.searchsorted(some.sat, whole.windows.sat[np.argmax(whole.windows.rise_ns == 0)]))
    # A satellite that SGP4 loses at 90 s and finds again at 150 s.
    broken = orbit.Ephemeris(some, START_NS, START_NS + at_time(1_200))
    block = broken._knots.block(0)
    block.err[3:5, row] = 6
    block.pos[3:5, row] = np.nan
    block.vel[3:5, row] = np.nan
    broken._knots._blocks[0] = block
    pre = orbit.prepass(broken, munich)
    assert pre.fail_ns[row] == at_time(60)
    assert (pre.fail_ns >= 0).sum() == 1
    assert "decayed" in pre.reason[row]
    mine = pre.windows.sat == some.sat[row]
    assert mine.any()
    assert (pre.windows.set_ns[mine] <= at_time(60)).all()
    assert pre.windows.set_clipped[mine].any()
    others = whole.windows.sat != some.sat[row]
    assert pre.windows.set_ns[~mine].tolist() == whole.windows.set_ns[others].tolist()
    latched = broken.with_failures(pre.fail_ns)
    assert some.sat[row] in latched.at(at_time(59)).sat
    assert some.sat[row] not in latched.at(at_time(60)).sat
    assert some.sat[row] not in latched.at(at_time(900)).sat


def test_prepass_counts_equal_the_geometry(shell: elements.Constellation, munich: Users) -> None:
    ephemeris = orbit.Ephemeris(shell, START_NS, START_NS + at_time(1_830))
    masks = np.radians(np.linspace(25, 70, 10))
    pre = orbit.prepass(ephemeris, munich, masks, step_s=10.0)
    counts = np.array(
        [
            np.bincount(orbit.geometry(ephemeris.at(at_time(t)), munich, masks).user, minlength=10)
            for t in range(0, 1_831, 30)
        ]
    )
    assert pre.in_view_min.tolist() == counts.min(axis=0).tolist()
    assert pre.in_view_median.tolist() == np.median(counts, axis=0).tolist()
    assert pre.in_view_max.tolist() == counts.max(axis=0).tolist()
    assert pre.unserved.tolist() == pytest.approx((counts == 0).mean(axis=0).tolist())
    assert 0 < pre.unserved_share < 1
    assert pre.pairs_per_epoch == pytest.approx(counts.sum(axis=1).mean())
    assert pre.pair_bytes == round(counts.sum(axis=1).mean() * 184 * (4 + 4 + 4 * 8))
    assert set(shell.sat[pre.ever_in_view]) == set(pre.windows.sat)
    assert pre.warnings == ()


def test_nothing_is_ever_visible(shell: elements.Constellation) -> None:
    pre = orbit.prepass(orbit.Ephemeris(shell, START_NS, START_NS + at_time(600)), site(89.0, 0.0, 25.0))
    assert len(pre.windows.user) == 0
    assert not pre.ever_in_view.any()
    assert pre.unserved_share == 1.0
    assert pre.windows.lookup(np.array([0]), np.array([1]), 0)[1].tolist() == [0.0]


# ---------------------------------------------------------------------------------------------
# Users


def test_circle_is_uniform_within_its_radius() -> None:
    users = orbit.users_circle(60.0, 179.0, 2_000.0, 20_000, np.random.default_rng(5), mask_deg=30.0)
    centre = np.radians([60.0, 179.0])
    cos_c = np.sin(users.lat_rad) * np.sin(centre[0]) + np.cos(users.lat_rad) * np.cos(centre[0]) * np.cos(
        users.lon_rad - centre[1]
    )
    distance_km = 6_371.0088 * np.arccos(cos_c)
    assert distance_km.max() <= 2_000.001
    # Area grows as 1 - cos: half of the users within the distance that holds half of the area.
    half = 6_371.0088 * math.acos(1 - 0.5 * (1 - math.cos(2_000 / 6_371.0088)))
    assert np.mean(distance_km < half) == pytest.approx(0.5, abs=0.015)
    assert np.mean(users.lat_rad > centre[0]) == pytest.approx(0.46, abs=0.05)
    assert (np.abs(users.lon_rad) <= math.pi).all()
    assert np.degrees(users.mask_rad[0]) == pytest.approx(30.0)
    assert np.linalg.norm(users.pos_ecef, axis=1).max() < 6_378_138


def test_circle_users_stay_when_more_are_drawn() -> None:
    few = orbit.users_circle(48.0, 11.0, 200.0, 3, np.random.default_rng(7))
    more = orbit.users_circle(48.0, 11.0, 200.0, 9, np.random.default_rng(7))
    assert few.name.tolist() == ["user-01", "user-02", "user-03"]
    assert np.array_equal(few.pos_ecef, more.pos_ecef[:3])


def test_grid_covers_both_ends() -> None:
    users = orbit.users_grid((-10, 10), (0, 90), 10, 45)
    assert np.degrees(users.lat_rad).round(9).tolist() == [-10] * 3 + [0] * 3 + [10] * 3
    assert np.degrees(users.lon_rad).round(9).tolist() == [0, 45, 90] * 3
    with pytest.raises(ValueError, match=r"latitude.*got 95"):
        orbit.users_grid((0, 95), (0, 10), 5, 5)
    with pytest.raises(ValueError, match="positive step"):
        orbit.users_grid((0, 10), (0, 10), 0, 5)


HEADER = "name,lat_deg,lon_deg,alt_m,mask_deg"


def test_sites_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "sites.csv"
    file.write_text(f'# stations\n{HEADER}\n\nMunich,48.14,11.58,519,25\n"Porto, PT",41.15,-8.61,90,10\n')
    users = orbit.users_from_sites(file)
    assert users.name.tolist() == ["Munich", "Porto, PT"]
    assert np.degrees(users.lat_rad).tolist() == pytest.approx([48.14, 41.15])
    assert users.alt_m.tolist() == [519, 90]
    assert np.degrees(users.mask_rad).tolist() == pytest.approx([25, 10])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEADER}\nX,95,0,0,25\n", "sites.csv, line 2: expected lat_deg from -90 to 90 degrees, got 95"),
        (
            f"{HEADER}\nX,1,0,0,25\nY,abc,0,0,25\n",
            "sites.csv, line 3: expected lat_deg as a number in degrees, got 'abc'",
        ),
        (f"{HEADER}\nX,1,nan,0,25\n", "sites.csv, line 2: expected lon_deg from -180 to 360 degrees, got nan"),
        (f"{HEADER}\nX,1,0,25\n", "sites.csv, line 2: expected 5 values, got 4: X,1,0,25"),
        (f"{HEADER}\nX,1,0,0,25\nX,2,0,0,25\n", "sites.csv, line 3: expected a name of its own, got 'X'"),
        ("name,lat,lon\nX,1,0\n", f"sites.csv, line 1: expected the columns {HEADER}, got name,lat,lon"),
        ("", f"sites.csv: expected {HEADER} and at least one site, got none"),
    ],
)
def test_bad_sites_name_line_expected_and_got(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "sites.csv"
    file.write_text(text)
    with pytest.raises(ValueError) as raised:
        orbit.users_from_sites(file)
    assert str(raised.value) == message
