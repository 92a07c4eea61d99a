"""Truth and what the central node is told of it."""

import numpy as np
import pytest

from leosim import orbit, simulation
from leosim import users as places
from leosim.world import highest

S = 1_000_000_000


@pytest.fixture(scope="module")
def ready(short):
    return simulation.prepare(short(120, 5))


def test_the_report_names_each_users_highest_satellites_and_everybody_in_their_view(ready):
    visible = ready.world.visible(30 * S)
    csi = ready.world.report(visible, candidates=4, horizon_s=0.0)
    for user in range(5):
        mine = visible.user == user
        best = visible.sat[mine][np.argsort(-visible.elevation_rad[mine])[:4]]
        assert set(csi.sat[(csi.user == user) & (csi.candidate == 1)]) == set(best)
    # Users are near each other: each satellite that serves one is above the horizon of all.
    assert csi.user.size == 5 * np.unique(csi.sat).size
    assert np.all(np.diff(csi.sat.astype(np.int64) * 100 + csi.user) > 0)


def test_a_satellite_about_to_set_is_no_candidate(ready):
    """A member is replaced before it sets, unless it is all a user has."""
    world, horizon_s = ready.world, 20.0
    rejected = 0
    for t_s in range(0, 100, 5):
        visible = world.visible(t_s * S)
        csi = world.report(visible, candidates=1000, horizon_s=horizon_s)
        chosen = csi.candidate == 1
        assert csi.remaining_s[chosen].min() >= horizon_s
        rejected += visible.user.size - int(chosen.sum())
    assert rejected > 0


def test_users_with_nothing_lasting_keep_what_they_have():
    class Sky:
        user = np.array([0, 0, 0, 1])
        sat = np.array([1, 2, 3, 2])
        elevation_rad = np.array([0.5, 0.9, 0.7, 0.6])

    stays = np.array([True, False, True, False])
    np.testing.assert_array_equal(highest(Sky, 1, stays), [False, False, True, True])
    np.testing.assert_array_equal(highest(Sky, 5, stays), [True, False, True, True])


def test_statistics_are_those_of_the_satellites_asked_for(ready):
    visible = ready.world.visible(10 * S)
    sats = np.unique(visible.sat)
    some = ready.world.statistics(10 * S, sats[::2])
    every = ready.world.statistics(10 * S, sats)
    assert set(some.sat) == set(sats[::2])
    same = np.isin(every.sat, sats[::2])
    for field in ("user", "sat", "beta", "kappa", "phase_rad", "cosines"):  # one more shifts nothing
        np.testing.assert_array_equal(getattr(some, field), getattr(every, field)[same])
    gone = ready.world.statistics(10 * S, np.append(sats[:2], 99_999_999))
    assert set(gone.sat) == set(sats[:2])


def test_a_satellite_that_is_gone_leaves_no_second_copy_of_the_next_one(ready):
    world = ready.world
    flying = world.ephemeris.near(world.users, 10 * S).sat
    compared = 0
    for there in flying[1:][np.diff(flying) > 1]:
        alone = world.statistics(10 * S, np.array([there]))
        beside = world.statistics(10 * S, np.array([there - 1, there]))
        np.testing.assert_array_equal(beside.sat, alone.sat)
        np.testing.assert_array_equal(beside.user, alone.user)
        compared += alone.user.size
    assert compared > 0


def test_line_of_sight_lasts_as_long_as_the_pass_allows(ready):
    """The draw of a pass is one number: sight is lost only where the elevation says so."""
    sat = ready.world.visible(0).sat[0]
    k = [ready.world.statistics(t * S, np.array([sat])).kappa for t in range(0, 40, 10)]
    in_sight = np.array([(row > 0).tolist() for row in k if row.size == 5])
    assert in_sight.shape[0] >= 2
    assert np.abs(np.diff(in_sight.astype(int), axis=0)).sum() <= 2


@pytest.fixture(scope="module")
def under_way(short):
    return simulation.prepare(short(120, 5, users={"speed_m_s": 250.0, "heading_deg": 80.0}))


def test_range_rates_of_travelling_users_are_derivatives_of_their_ranges(under_way):
    """Differences of ranges a fifth of a second apart; the 250 m/s of users are in them and in the Doppler shifts."""
    world, sats = under_way.world, None
    ranges = []
    for t_ns in (int(29.9 * S), 30 * S, int(30.1 * S)):
        visible = world.visible(t_ns)
        ranges.append(
            dict(zip(zip(visible.user.tolist(), visible.sat.tolist(), strict=True), visible.range_m, strict=True))
        )
        sats = visible if t_ns == 30 * S else sats
    for user, sat, rate in zip(sats.user.tolist(), sats.sat.tolist(), sats.range_rate_m_s, strict=True):
        if (user, sat) in ranges[0] and (user, sat) in ranges[2]:
            assert (ranges[2][user, sat] - ranges[0][user, sat]) / 0.2 == pytest.approx(rate, abs=0.2)
    csi = world.report(sats, 40, 0.0)
    rest = simulation.replace(
        world, users=places.at(world.users, 30 * S)[0].replace(speed_m_s=np.zeros(5)), extent=None
    )
    at_rest = rest.report(rest.visible(30 * S), 40, 0.0)
    assert 200.0 < np.abs(csi.doppler_hz - at_rest.doppler_hz).max() * 299_792_458.0 / 5e9 < 252.0


def test_what_travelling_users_see_does_not_depend_on_what_is_culled(under_way):
    world = under_way.world
    for t_s in (0, 45, 119):
        t_ns = t_s * S
        there, _ = places.at(world.users, t_ns)
        everything = orbit.geometry(world.ephemeris.at(t_ns), there)
        seen = world.visible(t_ns)
        np.testing.assert_array_equal(seen.sat, everything.sat)
        np.testing.assert_array_equal(seen.range_m, everything.range_m)


def test_a_pair_keeps_its_draws_where_its_window_begins_late(under_way):
    """Windows are those of the places in the middle of the run; rises at the ends of the way come up to 2 s apart."""
    world = under_way.world
    early = 0
    for t_s in range(0, 120, 2):
        seen = world.visible(t_s * S)
        passes, remaining_s = world.windows.lookup(seen.user, seen.sat, t_s * S)
        strict, _ = under_way.prepass.windows.lookup(seen.user, seen.sat, t_s * S)
        assert passes.max() == 0  # two minutes hold no second pass
        assert strict.max() == 0
        early += int((remaining_s == 0.0).sum())
    assert early < 60  # a second or two after the set of a window
