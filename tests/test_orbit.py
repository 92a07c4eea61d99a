"""Frames, propagation, ephemeris and geometry."""

from __future__ import annotations

import itertools
import math
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from element_sets import CATALOGUE, with_checksum
from sky import START, START_NS, at_time, catalogue, matched_timescale, site
from skyfield.api import EarthSatellite, wgs84

from leosim import frames, orbit, users
from leosim.elements import Constellation, ElementsError, read_elements
from leosim.records import Satellites, Users
from leosim.units import NS_PER_S, SPEED_OF_LIGHT_M_S
from leosim.walkers import walker

CARRIER_HZ = 12e9

one_metre = 1.0
one_millimetre = 1e-3
printed_digit_m = 2e-4  # python-sgp4's own test against tcppver.out allows 2e-7 km
nano_degree = 1e-9
centihertz = 0.01


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
            one = read_elements([file])
        except ElementsError:
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


def test_velocity_is_the_derivative_of_the_position(shell: Constellation) -> None:
    h_ns = 10_000_000
    pos, vel, _ = orbit.propagate(shell, START_NS + np.array([-h_ns, 0, h_ns]))
    numeric = (pos[2] - pos[0]) / (2e-9 * h_ns)
    # SGP4's velocity is off its position's derivative by centimetres a second; without omega x r: 500 m/s.
    assert np.abs(numeric - vel[1]).max() < 0.05


def test_propagate_takes_rows_in_any_order(shell: Constellation) -> None:
    pos, vel, err = orbit.propagate(shell, START_NS)
    some_pos, some_vel, _ = orbit.propagate(shell, START_NS, rows=np.array([900, 3, 3]))
    assert pos.shape == vel.shape == (1584, 3)
    assert not err.any()
    assert np.array_equal(some_pos, pos[[900, 3, 3]])
    assert np.array_equal(some_vel, vel[[900, 3, 3]])


def test_many_epochs_equal_one_at_a_time(shell: Constellation) -> None:
    t = START_NS + np.arange(40) * 17 * NS_PER_S
    some = np.arange(0, 1584, 200)
    many, _, _ = orbit.propagate(shell, t, rows=some)
    assert np.array_equal(many[35], orbit.propagate(shell, int(t[35]), rows=some)[0])


# ---------------------------------------------------------------------------------------------
# Ephemeris


@catalogue
def test_knots_are_within_a_metre_of_sgp4() -> None:
    active = read_elements([CATALOGUE / "active-20260822.tle"])
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


def test_ephemeris_does_not_depend_on_order_or_threads(shell: Constellation) -> None:
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
    assert len(backward.knots._blocks) <= orbit.BLOCKS_KEPT


def test_satellites_out_at_their_failure_time(shell: Constellation) -> None:
    some = shell.select(np.arange(4))
    fail_ns = np.array([-1, 0, at_time(50), -1])
    for mode in ("knots", "exact"):
        ephemeris = orbit.Ephemeris(some, START_NS, START_NS + at_time(120), mode=mode, fail_ns=fail_ns)
        assert ephemeris.at(at_time(50) - 1).sat.tolist() == [1, 3, 4]
        assert ephemeris.at(at_time(50)).sat.tolist() == [1, 4]
    again = ephemeris.with_failures(np.full(4, -1))
    assert again.at(at_time(50)).sat.tolist() == [1, 2, 3, 4]


def test_ephemeris_refuses_times_outside(shell: Constellation) -> None:
    ephemeris = orbit.Ephemeris(shell.select(np.arange(2)), START_NS, START_NS + at_time(60))
    for t in (-1, at_time(60) + 1):
        with pytest.raises(ValueError, match=r"between 0 and 60\.0 s"):
            ephemeris.at(t)
    with pytest.raises(ValueError, match="end after the start"):
        orbit.Ephemeris(shell, START_NS, START_NS - 1)


@pytest.mark.parametrize("spread_km", [200.0, 4_000.0])
def test_cull_keeps_everything_above_a_horizon(shell: Constellation, spread_km: float) -> None:
    ground = users.circle(48.0, 11.0, spread_km, 40, np.random.default_rng(3), mask_deg=0.0)
    ephemeris = orbit.Ephemeris(shell, START_NS, START_NS + at_time(600))
    for t_s in np.linspace(0.0, 600.0, 41):
        everything = orbit.geometry(ephemeris.at(at_time(t_s)), ground)
        culled = orbit.geometry(ephemeris.near(ground, at_time(t_s)), ground)
        for name in ("user", "sat", "range_m", "elevation_rad"):
            assert np.array_equal(getattr(everything, name), getattr(culled, name))
        assert len(everything.user) > 100
    assert len(ephemeris.near(ground, 0).sat) < (0.15 if spread_km < 1_000 else 0.6) * len(shell)


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
    assert orbit._reach_cap(*before, *after, usable, *orbit.zenith_cap(user), 15.0).tolist() == [True]
    assert orbit._reach_cap(*before, *after, ~usable, *orbit.zenith_cap(user), 15.0).tolist() == [False]
    far = orbit.zenith_cap(site(0.0, 180.0))
    assert orbit._reach_cap(*before, *after, usable, *far, 15.0).tolist() == [False]


def test_cull_reach_is_longer_than_any_half_interval(shell: Constellation) -> None:
    # The bound itself: from a knot no satellite gets further than the reach within 15 s.
    eccentric = walker("63:40/5/1", 300.0, START).replace(eccentricity=np.full(40, 0.6))
    eccentric = eccentric.replace(mean_motion_rad_min=np.full(40, 2 * math.pi / 400.0))
    for constellation in (shell.select(np.arange(0, 1584, 50)), eccentric):
        t = START_NS + np.arange(0, 3_600) * NS_PER_S
        pos, vel, err = orbit.propagate(constellation, t)
        assert not err.any()
        moved = np.linalg.norm(pos[15:] - pos[:-15], axis=2)
        reach = np.array([[orbit.reach_m(v, 15.0) for v in row] for row in vel[:-15:60]])
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


def test_range_rate_is_the_rate_of_the_range(shell: Constellation, munich: Users) -> None:
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
    ground = users.make(["nadir", "north", "east"], np.radians([0, 5, 0]), np.radians([0, 0, 5]))
    g = orbit.geometry(satellites, ground, 0.0)
    assert g.user.tolist() == [0, 1, 2]
    nadir, along = np.array([-1.0, 0, 0]), np.array([0, 0, 1.0])
    cross = np.cross(nadir, along)  # (0, 1, 0): east
    assert cross.tolist() == [0, 1, 0]
    towards = ground.pos_ecef - [r, 0, 0]
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
def test_geometry_equals_a_plain_loop(shell: Constellation, mask_deg: float) -> None:
    # Mixed heights, users from pole to pole: no satellite above the mask is lost by the fast tests.
    ephemeris = orbit.Ephemeris(shell, START_NS, START_NS + at_time(60))
    low = ephemeris.at(at_time(12))
    factor = np.linspace(0.95, 1.6, len(low.sat))[:, None]
    satellites = low.replace(pos_ecef=low.pos_ecef * factor)
    ground = users.grid((-90, 90), (-180, 179), 10, 30, mask_deg=mask_deg, alt_m=2_000.0)
    g = orbit.geometry(satellites, ground)
    expected = plain_geometry(satellites, ground, ground.mask_rad)
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


def test_geometry_takes_a_mask_for_each_user(shell: Constellation, munich: Users) -> None:
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


@catalogue
def test_geometry_equals_skyfield(starlink: Constellation) -> None:
    ts = matched_timescale()
    ground = users.grid((-60, 60), (-180, 140), 40, 80, mask_deg=10.0)
    compared = 0
    for hours in (0.0, 7.25):
        t_ns = START_NS + at_time(3_600 * hours)
        ephemeris = orbit.Ephemeris(starlink, t_ns, t_ns + at_time(60), mode="exact")
        satellites = ephemeris.at(0)
        g = orbit.geometry(satellites, ground)
        satrecs = starlink.satrecs()
        _, x_p, y_p = frames.earth_orientation(t_ns)
        to_z_axis = frames.EARTH_ROTATION_RAD_S * np.array([-x_p, y_p, 0.0])
        t = ts.from_datetime(datetime.fromtimestamp(t_ns / NS_PER_S, UTC))
        for k in range(0, len(g.user), max(1, len(g.user) // 120)):
            place = wgs84.latlon(math.degrees(ground.lat_rad[g.user[k]]), math.degrees(ground.lon_rad[g.user[k]]))
            row = int(np.searchsorted(starlink.sat, g.sat[k]))
            seen = (EarthSatellite.from_satrec(satrecs[row], ts) - place).at(t)
            elevation, azimuth, distance = seen.altaz()
            rate_m_s = seen.frame_latlon_and_rates(place)[5].km_per_s * 1e3
            assert abs(math.degrees(g.elevation_rad[k]) - elevation.degrees) < nano_degree
            turn = (math.degrees(g.azimuth_rad[k]) - azimuth.degrees + 180) % 360 - 180
            assert abs(turn) * math.cos(g.elevation_rad[k]) < nano_degree
            assert abs(g.range_m[k] - distance.m) < one_millimetre
            # Skyfield turns the site about the z axis of ITRS, we about the pole, (x_p, -y_p) away from it.
            direction = satellites.pos_ecef[row] - ground.pos_ecef[g.user[k]]
            rate_m_s += np.cross(to_z_axis, ground.pos_ecef[g.user[k]]) @ direction / g.range_m[k]
            doppler_hz = (g.range_rate_m_s[k] - rate_m_s) / SPEED_OF_LIGHT_M_S * CARRIER_HZ
            assert abs(doppler_hz) < centihertz
            compared += 1
    assert compared >= 200
