"""Speed of propagation, geometry and access windows, against plain numpy and Skyfield in the same run.

`ratio` in extra_info is the time of the other way divided by ours: above 1 is faster than the other way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from skyfield.api import EarthSatellite, load, wgs84

from leosim import frames, orbit, users, windows
from leosim.elements import Constellation
from leosim.records import Satellites, Users
from leosim.units import NS_PER_S
from leosim.walkers import walker

START = datetime(2026, 8, 22, 2, 0, tzinfo=UTC)
START_NS = int(START.timestamp()) * NS_PER_S
TEN_MINUTES_NS = 600 * NS_PER_S


def seconds(function: Callable[[], Any], rounds: int = 3) -> float:
    """The shortest of some runs (s), after one to warm up."""
    function()
    best = math.inf
    for _ in range(rounds):
        began = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - began)
    return best


def report(benchmark: Any, other_s: float) -> None:
    benchmark.extra_info["other_s"] = other_s
    if benchmark.stats is not None:
        benchmark.extra_info["ratio"] = round(other_s / benchmark.stats.stats.min, 1)


@pytest.fixture(scope="module")
def sky() -> Constellation:
    return walker("53:6000/120/13", 550.0, START)


@pytest.fixture(scope="module")
def thousand_users() -> Users:
    return users.circle(48.0, 11.0, 2_000.0, 1_000, np.random.default_rng(1))


@pytest.fixture(scope="module")
def ten_users() -> Users:
    return users.circle(48.14, 11.58, 200.0, 10, np.random.default_rng(1))


def plain_numpy_geometry(satellites: Satellites, users: Users) -> int:
    """All pairs as dense arrays, 100 users at a time."""
    axes = frames.local_axes(users.lat_rad, users.lon_rad)
    count = 0
    for first in range(0, len(users.name), 100):
        some = slice(first, first + 100)
        d = satellites.pos_ecef[None] - users.pos_ecef[some, None]
        distance = np.linalg.norm(d, axis=2)
        east, north, up = np.moveaxis(d @ axes[some].transpose(0, 2, 1), 2, 0)
        elevation = np.arcsin(up / distance)
        azimuth = np.arctan2(east, north) % (2 * np.pi)
        rate = np.einsum("usx,sx->us", d, satellites.vel_ecef) / distance
        seen = elevation >= users.mask_rad[some, None]
        count += len(distance[seen]) + 0 * len(azimuth[seen]) + 0 * len(rate[seen])
    return count


def test_geometry_of_6000_satellites_and_1000_users(benchmark: Any, sky: Constellation, thousand_users: Users) -> None:
    satellites = orbit.Ephemeris(sky, START_NS, START_NS).at(0)
    other_s = seconds(lambda: plain_numpy_geometry(satellites, thousand_users), rounds=1)
    pairs = len(orbit.geometry(satellites, thousand_users).user)
    assert pairs == plain_numpy_geometry(satellites, thousand_users)
    benchmark(orbit.geometry, satellites, thousand_users)
    report(benchmark, other_s)
    benchmark.extra_info["pairs"] = pairs


def test_epoch_of_6000_satellites_and_ten_users(benchmark: Any, sky: Constellation, ten_users: Users) -> None:
    """Satellites near and geometry, once a second, against SGP4 for all and dense numpy."""
    ephemeris = orbit.Ephemeris(sky, START_NS, START_NS + TEN_MINUTES_NS)
    exact = orbit.Ephemeris(sky, START_NS, START_NS + TEN_MINUTES_NS, mode="exact")
    other_s = seconds(lambda: plain_numpy_geometry(exact.at(61 * NS_PER_S), ten_users))
    ticks = iter(np.arange(0, 10**9) % 600)

    def epoch() -> None:
        orbit.geometry(ephemeris.near(ten_users, int(next(ticks)) * NS_PER_S), ten_users)

    epoch()
    benchmark(epoch)
    report(benchmark, other_s)


def test_ten_minutes_of_positions(benchmark: Any, sky: Constellation) -> None:
    """600 epochs: knots and Hermite, against SGP4 and frames at every second."""
    array = orbit._satrec_array(sky.satrecs())
    t_ns = START_NS + np.arange(64) * NS_PER_S
    other_s = seconds(lambda: orbit._propagate(array, t_ns, len(sky)), rounds=2) * 600 / 64

    def run() -> None:
        ephemeris = orbit.Ephemeris(sky, START_NS, START_NS + TEN_MINUTES_NS)
        for k in range(600):
            ephemeris.at(k * NS_PER_S)

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    report(benchmark, other_s)


def test_one_epoch_against_skyfield(benchmark: Any, sky: Constellation) -> None:
    """Look angles of all satellites from one site at one instant: ours exact, Skyfield a loop."""
    ts = load.timescale(builtin=True)
    place, t = wgs84.latlon(48.0, 11.0), ts.from_datetime(START)
    user = users.make(["site"], np.radians([48.0]), np.radians([11.0]))
    exact = orbit.Ephemeris(sky, START_NS, START_NS, mode="exact")
    every = 20
    theirs = [EarthSatellite.from_satrec(satrec, ts) for satrec in sky.satrecs()[::every]]
    other_s = every * seconds(lambda: [(one - place).at(t).altaz() for one in theirs], rounds=1)
    exact.at(0)
    benchmark(lambda: orbit.geometry(exact.at(0), user, 0.0))
    report(benchmark, other_s)


def test_day_of_access_windows(benchmark: Any, sky: Constellation) -> None:
    """Passes of 600 satellites over one site in 24 h, against Skyfield's find_events on some of them."""
    some = sky.select(np.arange(0, len(sky), 10))
    user = users.make(["site"], np.radians([48.0]), np.radians([11.0]), 0.0, math.radians(25.0))
    ts = load.timescale(builtin=True)
    place, t0 = wgs84.latlon(48.0, 11.0), ts.from_datetime(START)
    every = 30
    theirs = [EarthSatellite.from_satrec(satrec, ts) for satrec in some.satrecs()[::every]]
    other_s = every * seconds(lambda: [one.find_events(place, t0, t0 + 1.0, 25.0) for one in theirs], rounds=1)

    def run() -> int:
        day = orbit.Ephemeris(some, START_NS, START_NS + 86_400 * NS_PER_S)
        return len(windows.access_windows(day, user).user)

    benchmark.extra_info["windows"] = benchmark.pedantic(run, rounds=2, warmup_rounds=1)
    report(benchmark, other_s)
