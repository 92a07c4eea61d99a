"""Access windows against brute force and Skyfield, and the pre-pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sky import STARLINK, START, START_NS, at_time, catalogue, matched_timescale, site
from skyfield.api import EarthSatellite, wgs84

from leosim import frames, orbit, users
from leosim.elements import Constellation
from leosim.records import Users
from leosim.units import NS_PER_S
from leosim.walkers import walker
from leosim.windows import access_windows, prepass

tenth_of_a_second = 0.1
half_a_second = 0.5


# ---------------------------------------------------------------------------------------------
# Access windows


def brute_force_windows(
    constellation: Constellation, users: Users, duration_s: int
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
def test_windows_equal_brute_force(shell: Constellation, mask_deg: float) -> None:
    some = shell.select(np.arange(0, 1584, 40 if mask_deg < 50 else 10))
    ground = users.make(["a", "b"], np.radians([48.0, -10.0]), np.radians([11.0, 100.0]), 0.0, math.radians(mask_deg))
    hours = 2
    expected = brute_force_windows(some, ground, hours * 3_600)
    windows = access_windows(orbit.Ephemeris(some, START_NS, START_NS + at_time(hours * 3_600)), ground)
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


def test_short_grazing_passes_are_found(shell: Constellation) -> None:
    # Masks a hair below each pass's culmination leave passes of seconds, most of them between two knots.
    some = shell.select(np.arange(0, 1584, 40))
    user = site(48.0, 11.0, mask_deg=20.0)
    ephemeris = orbit.Ephemeris(some, START_NS, START_NS + at_time(7_200))
    passes = access_windows(ephemeris, user)
    inner = np.flatnonzero((passes.rise_clipped == 0) & (passes.set_ns < at_time(7_200)))
    assert len(inner) > 10
    for k in inner:
        grazing = access_windows(ephemeris, user, float(passes.peak_rad[k]) - 1e-5)
        mine = (
            (grazing.sat == passes.sat[k]) & (grazing.rise_ns > passes.rise_ns[k]) & (grazing.set_ns < passes.set_ns[k])
        )
        assert mine.sum() == 1
        assert (grazing.set_ns - grazing.rise_ns)[mine][0] < 12 * NS_PER_S


@catalogue
def test_windows_equal_skyfield_find_events(starlink: Constellation) -> None:
    ts = matched_timescale()
    user, place = site(48.0, 11.0, mask_deg=25.0), wgs84.latlon(48.0, 11.0)
    some = starlink.select(np.arange(50, len(starlink), 1_500))
    satrecs = some.satrecs()
    day = 86_400
    windows = access_windows(orbit.Ephemeris(some, START_NS, START_NS + at_time(day)), user)
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


def test_windows_at_both_ends(shell: Constellation, munich: Users) -> None:
    long = access_windows(orbit.Ephemeris(shell, START_NS, START_NS + at_time(3_600)), munich)
    first_ns, last_ns = at_time(1_200), at_time(1_800)
    part = access_windows(orbit.Ephemeris(shell, START_NS + first_ns, START_NS + last_ns), munich)
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
    ring = walker("0.01:3/3/0", 35_786.0, START)
    windows = access_windows(
        orbit.Ephemeris(ring, START_NS, START_NS + at_time(600)), users.grid((0, 0), (0, 300), 10, 60)
    )
    assert len(windows.user) > 0
    assert (windows.rise_clipped & windows.set_clipped).all()
    assert (windows.set_ns == at_time(600 + orbit.FOLLOW_S)).all()


def test_lookup_agrees_with_the_geometry(shell: Constellation, munich: Users) -> None:
    ephemeris = orbit.Ephemeris(shell, START_NS, START_NS + at_time(7_200))
    windows = access_windows(ephemeris, munich)
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
def test_prepass_gates_what_sgp4_does_not(starlink: Constellation, munich: Users) -> None:
    start_ns = starlink.median_epoch_ns + 30 * frames.NS_PER_DAY
    ephemeris = orbit.Ephemeris(starlink, start_ns, start_ns + at_time(5_700))
    pre = prepass(ephemeris, munich, max_age_days=60.0)
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
def test_prepass_keeps_fresh_elements(starlink: Constellation, munich: Users) -> None:
    ephemeris = orbit.Ephemeris(starlink, START_NS, START_NS + at_time(600))
    pre = prepass(ephemeris, munich)
    assert (pre.fail_ns >= 0).sum() == 0
    old = prepass(ephemeris, munich, max_age_days=1.0)
    out = old.fail_ns == 0
    assert out.tolist() == (np.abs(START_NS - starlink.epoch_ns) > frames.NS_PER_DAY).tolist()
    assert 0 < out.sum() < 500
    assert "over the limit of 1" in old.reason[out][0]
    assert not np.isin(old.windows.sat, starlink.sat[out]).any()


def test_prepass_latches_the_first_failure(shell: Constellation, munich: Users) -> None:
    some = shell.select(np.arange(0, 1584, 2))
    ephemeris = orbit.Ephemeris(some, START_NS, START_NS + at_time(1_200))
    whole = prepass(ephemeris, munich)
    row = int(np.searchsorted(some.sat, whole.windows.sat[np.argmax(whole.windows.rise_ns == 0)]))
    # A satellite that SGP4 loses at 90 s and finds again at 150 s.
    broken = orbit.Ephemeris(some, START_NS, START_NS + at_time(1_200))
    block = broken.knots.block(0)
    block.err[3:5, row] = 6
    block.pos[3:5, row] = np.nan
    block.vel[3:5, row] = np.nan
    broken.knots._blocks[0] = block
    pre = prepass(broken, munich)
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


def test_prepass_counts_equal_the_geometry(shell: Constellation, munich: Users) -> None:
    ephemeris = orbit.Ephemeris(shell, START_NS, START_NS + at_time(1_830))
    masks = np.radians(np.linspace(25, 70, 10))
    pre = prepass(ephemeris, munich, masks)
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
    assert set(shell.sat[pre.ever_in_view]) == set(pre.windows.sat)
    assert pre.warnings == ()


def test_nothing_is_ever_visible(shell: Constellation) -> None:
    pre = prepass(orbit.Ephemeris(shell, START_NS, START_NS + at_time(600)), site(89.0, 0.0, 25.0))
    assert len(pre.windows.user) == 0
    assert not pre.ever_in_view.any()
    assert pre.unserved_share == 1.0
    assert pre.windows.lookup(np.array([0]), np.array([1]), 0)[1].tolist() == [0.0]
