"""Truth and what the central node is told of it."""

import numpy as np
import pytest

from leosim import simulation
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
