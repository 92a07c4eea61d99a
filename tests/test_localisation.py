"""The localisation service in a pass: groups, anchors, beliefs, precoders, fixes, and what they do to the CSI."""

import dataclasses
import math

import numpy as np
import pytest
from sky import STARLINK, catalogue

from leosim import joint, localisation, orbit, simulation, users
from leosim.antenna import steering
from leosim.frames import ecef_to_geodetic
from leosim.log import open_log
from leosim.position_task import InfeasibleError
from leosim.records import FIXED, NO_ANCHOR, NO_FIX, REFUSED_FIX
from leosim.report.localised import localisation_table, periods, terminals
from leosim.scenario import ScenarioError, load_scenario

S = 1_000_000_000
SMALL = {"frames": 4, "slots": 10, "target_m": 60}  # a quick fix
NOBODY_ELSE = {"communication": None}


def scenario(duration_s=4, count=5, belief="fixes", ical=None, **tables):
    """The shipped pass, short, with few terminals; keys of [localisation] beside tables."""
    own = {name: tables.pop(name) for name in list(tables) if not isinstance(tables[name], dict | None)}
    more = {"ical": {"algorithm": "fully_digital"} if ical is None else ical, **tables}
    pass_ = load_scenario("ical_pass").with_(communication=None)
    return pass_.with_(
        time={"duration_s": duration_s},
        users={"count": count, **more.pop("users", {})},
        localisation={**SMALL, "belief": belief, **own},
        **more,
    )


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    """A short pass, its preparation and its log."""
    ready = simulation.prepare(scenario())
    with simulation.run(ready.scenario, tmp_path_factory.mktemp("ical") / "run.h5", prepared=ready) as log:
        yield ready, log


# ---------------------------------------------------------------------------------------------
# Groups, anchors, beliefs


def test_groups_are_neighbours_and_hold_everybody_once():
    rng = np.random.default_rng(3)
    towns = [users.circle(lat, lon, 20.0, 4, rng) for lat, lon in ((48.0, 11.0), (52.0, 13.0), (45.0, 9.0))]
    fields = towns[0].array_fields()
    all_, order = {name: np.concatenate([getattr(t, name) for t in towns]) for name in fields}, rng.permutation(12)
    mixed = users.Users(**{name: values[order] for name, values in all_.items()})
    groups = localisation.grouped(mixed, 4)
    assert sorted(np.concatenate(groups).tolist()) == list(range(12))
    assert [sorted(set((order[rows] // 4).tolist())) for rows in groups] == [[t] for t in [order[0] // 4, *(
        dict.fromkeys(t for t in (order // 4).tolist() if t != order[0] // 4))]]  # fmt: skip
    assert [rows.size for rows in localisation.grouped(mixed, 5)] == [5, 5, 2]


def test_the_anchor_sees_most_of_the_group_and_is_the_highest_of_those(flown):
    ready, _ = flown
    world, s = ready.world, ready.localisation
    (belief,) = localisation.first_beliefs(world, s)
    for t_s in range(0, 4):
        here = localisation.carried(world, s, belief, t_s * S)
        lat, lon, alt = ecef_to_geodetic(here.pos_ecef)
        believed = users.make(["?"] * 5, lat, lon, alt, s.mask_rad)
        seen = orbit.geometry(world.ephemeris.at(t_s * S), believed)
        everything = orbit.geometry(world.ephemeris.at(t_s * S), believed, 0.0)
        score = {
            sat: (int((seen.sat == sat).sum()), float(everything.elevation_rad[everything.sat == sat].mean()))
            for sat in np.unique(seen.sat).tolist()
        }
        assert localisation.anchor(world, s, t_s * S, here) == max(score, key=score.get)


def test_first_beliefs_are_as_far_off_as_asked_and_know_it():
    ready = simulation.prepare(scenario(1, count=400, group_size=32))
    world, s = ready.world, ready.localisation
    first = localisation.first_beliefs(world, s)
    error_m, nees = (np.concatenate([getattr(fix, name) for fix in first]) for name in ("error_m", "nees"))
    assert 990.0 < error_m.min() < 1_100.0
    assert 9_900.0 < error_m.max() < 10_070.0  # over ground, on the ellipsoid
    assert nees.mean() == pytest.approx(2.0, rel=0.1)  # the height is right
    for fix in first:
        np.testing.assert_allclose(ecef_to_geodetic(fix.pos_ecef)[2], 0.0, atol=1e-3)
    (few,) = localisation.first_beliefs(*(lambda r: (r.world, r.localisation))(simulation.prepare(scenario(1))))
    everybody = np.concatenate([fix.pos_ecef for fix in first])[np.argsort(np.concatenate(s.groups))]
    np.testing.assert_array_equal(few.pos_ecef, everybody[:5])  # more users leave the first ones in place


def test_without_fixes_a_terminal_drifts_and_knows_it():
    """Own velocity is off by 1 m/s a component, of which 300 s make 300 m: error and deviation grow alike."""
    ready = simulation.prepare(scenario(300, count=300, group_size=32, prior_km=[0, 0.001], drift_m_s=1.0))
    world, s = ready.world, ready.localisation
    error_m, nees = [], []
    for first in localisation.first_beliefs(world, s):
        whole = localisation.carried(world, s, first, 300 * S)
        steps = localisation.carried(world, s, localisation.carried(world, s, first, 77 * S), 300 * S)
        np.testing.assert_allclose(steps.pos_ecef, whole.pos_ecef, atol=1e-6)
        np.testing.assert_allclose(steps.covariance_m2, whole.covariance_m2, rtol=1e-9)
        there = localisation.scored(world, whole)
        error_m, nees = np.append(error_m, there.error_m), np.append(nees, there.nees)
    assert np.sqrt((error_m**2).mean()) == pytest.approx(300.0 * math.sqrt(2.0), rel=0.1)
    assert nees.mean() == pytest.approx(2.0, rel=0.12)


# ---------------------------------------------------------------------------------------------
# What is logged


def test_every_period_is_in_the_log_and_positions_are_found_at_once(flown):
    ready, log = flown
    assert len(log["ical"]) == len(log["fixes"]) == 4
    assert set(log["fixes"]["status"].tolist()) == {FIXED}
    (first,) = localisation.first_beliefs(ready.world, ready.localisation)
    assert first.error_m.min() > 990.0
    assert log["fixes"]["error_m"].max() < 200.0
    table = terminals(log)
    assert 0.5 < table.nees.mean() / 3 < 1.6  # 20 fixes
    np.testing.assert_allclose(table.age_s, 0.0)


def test_the_logged_precoder_gives_the_logged_rates(flown):
    """From antennas and subcarriers written out, at the true places, with pilots and prefixes taken off."""
    ready, log = flown
    s, row = ready.localisation, log["ical"].row(2)
    world, wave = ready.world, s.waveform
    stats = simulation.replace(world, radio=s.radio).statistics(2 * S, np.array([row.sat]))
    mine = np.isin(stats.user, row.user)
    weights = joint.weights(row, 24, 24, wave)
    assert 64 * np.sum(np.abs(weights) ** 2) == pytest.approx(10**2.2, rel=1e-9)
    sinr = []
    for block in range(wave.blocks):
        v = steering(stats.cosines[mine] * wave.stretch[block], 24, 24)
        power = stats.beta[mine, None] * np.abs(v.conj() @ weights[block]) ** 2
        own = np.diag(power)
        sinr.append(own / (power.sum(axis=1) - own + 1.380649e-23 * 290 * 10**0.7 * 30e3))
    rate = np.log2(1.0 + np.array(sinr)).mean(axis=0)
    overhead = (12 / 14) * (1 / 30e3) / (1 / 30e3 + 72 / 30.72e6)
    np.testing.assert_allclose(row.true_rate, rate * overhead, rtol=1e-6)


def test_closing_the_loop_gives_the_rate_of_perfect_positions(flown, tmp_path):
    """With fixes, all but the first precoder is as good as one from true positions; without, none is."""
    _, log = flown
    rate = {"fixes": periods(log).rate_bit_s_hz.to_numpy()}
    for belief in ("prior", "truth"):
        with simulation.run(scenario(belief=belief), tmp_path / f"{belief}.h5") as other:
            rate[belief] = periods(other).rate_bit_s_hz.to_numpy()
            assert set(other["fixes"]["status"].tolist()) == {NO_FIX}
            error_m = other["fixes"]["error_m"]
            assert error_m.max() < 1e-6 if belief == "truth" else error_m.min() > 990.0
    assert rate["fixes"][0] == rate["prior"][0]
    assert np.all(rate["prior"] < 0.97 * rate["truth"])
    np.testing.assert_allclose(rate["fixes"][1:], rate["truth"][1:], rtol=0.01)


def test_one_digest_with_any_number_of_workers_and_after_a_resume(flown, tmp_path):
    ready, log = flown
    with simulation.run(ready.scenario, tmp_path / "two.h5", workers=2) as other:
        assert other.digest() == log.digest()

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        simulation.run(ready.scenario, tmp_path / "cut.h5", progress=stop)
    with open_log(tmp_path / "cut.h5") as cut:
        assert len(cut["fixes"]) == 2
    with simulation.run(ready.scenario, tmp_path / "cut.h5", resume=True) as resumed:
        assert resumed.digest() == log.digest()


# ---------------------------------------------------------------------------------------------
# CSI


def test_csi_is_made_from_believed_positions():
    """Directions and ranges are those of users at the believed places; gains and phases are measured."""
    ready = simulation.prepare(scenario(2, communication={}))
    world, s, t_ns = ready.world, ready.localisation, 1 * S
    csi = world.report(world.visible(t_ns), 40, 0.0)
    beliefs = localisation.first_beliefs(world, s)
    told = localisation.reported(world, s, beliefs, csi)
    for name in ("user", "sat", "beta", "kappa", "phase_rad", "candidate", "remaining_s"):
        np.testing.assert_array_equal(getattr(told, name), getattr(csi, name))
    lat, lon, alt = ecef_to_geodetic(localisation.carried(world, s, beliefs[0], t_ns).pos_ecef)
    there = orbit.geometry(world.ephemeris.at(t_ns), users.make(["?"] * 5, lat, lon, alt), 0.0)
    order = {(sat, user): k for k, (sat, user) in enumerate(zip(there.sat.tolist(), there.user.tolist(), strict=True))}
    rows = [order[pair] for pair in zip(told.sat.tolist(), told.user.tolist(), strict=True)]
    np.testing.assert_allclose(told.range_m, there.range_m[rows], atol=1e-4)
    np.testing.assert_allclose(told.cosines, there.cosines[rows], atol=1e-10)
    np.testing.assert_allclose(told.elevation_rad, there.elevation_rad[rows], atol=1e-9)
    np.testing.assert_allclose(told.delay_s, there.range_m[rows] / 299_792_458.0, rtol=1e-10)
    assert np.abs(told.cosines - csi.cosines).max() > 1e-3


def test_perfect_positions_give_the_csi_of_a_pass_without_localisation():
    ready = simulation.prepare(scenario(2, belief="truth", communication={}))
    world, t_ns = ready.world, 1 * S
    csi = world.report(world.visible(t_ns), 40, 0.0)
    told = localisation.reported(world, ready.localisation, localisation.first_beliefs(world, ready.localisation), csi)
    for name, tolerance in (("range_m", 1e-4), ("cosines", 1e-10), ("elevation_rad", 1e-9), ("doppler_hz", 1e-4)):
        np.testing.assert_allclose(getattr(told, name), getattr(csi, name), atol=tolerance)


def test_fixes_feed_the_communication_service(tmp_path):
    with simulation.run(scenario(3, communication={"period_s": 1}), tmp_path / "run.h5") as log:
        csi = log["csi"]
        ready = simulation.prepare(scenario(3, communication={"period_s": 1}))
        off = []
        for k in range(3):
            told, true = csi.row(k), ready.world.report(ready.world.visible(k * S), 40, 0.0)
            pairs = np.isin(told.sat, true.sat)
            assert pairs.all()
            stats = ready.world.statistics(k * S, np.unique(told.sat))
            off.append(np.abs(told.range_m - stats.range_m).max())
    assert off[0] > 500.0  # of the first belief
    assert max(off[1:]) < 200.0


# ---------------------------------------------------------------------------------------------
# What can go wrong


def test_fewer_chains_than_terminals_are_refused_before_the_start():
    with pytest.raises(ScenarioError) as raised:
        simulation.prepare(scenario(ical={"algorithm": "hybrid", "chains": 4}))
    assert str(raised.value) == (
        "[ical] chains: expected at least 5, one for each of the terminals a satellite serves at once, got 4; "
        "raise it, or lower [localisation] group_size"
    )


def test_nobody_above_the_mask_means_no_fix_and_a_belief_that_drifts(tmp_path):
    ready = simulation.prepare(scenario(3, mask_deg=89, drift_m_s=1.0))
    assert ready.warnings[-1] == (
        "localisation: terminals are without a satellite above 89 degrees in 100 % of the time, and get no fix then; "
        "lower [localisation] mask_deg"
    )
    with simulation.run(ready.scenario, tmp_path / "run.h5", prepared=ready) as log:
        assert set(log["ical"]["status"].tolist()) == {NO_ANCHOR}
        assert set(log["fixes"]["status"].tolist()) == {NO_FIX}
        sigma = terminals(log).pivot(index="t_s", columns="user", values="sigma_m").to_numpy()
        np.testing.assert_allclose(sigma[2] ** 2 - sigma[0] ** 2, 3 * 2.0**2, rtol=1e-3)  # 1 m/s over 2 s, each axis
        assert np.isnan(log["fixes"]["bound_m"]).all()
        assert log.summary().localisation.fixed == 0
        assert len(localisation_table(log)) > 0


def test_terminals_beyond_the_mask_of_the_anchor_are_left_out(tmp_path):
    """Terminals 900 km apart do not all have one satellite above 50 degrees."""
    with simulation.run(scenario(1, users={"radius_km": 900}, count=8), tmp_path / "run.h5") as log:
        sent, status = log["ical"]["user"], log["fixes"]["status"]
        assert 0 < sent.size < 8
        np.testing.assert_array_equal(status != NO_FIX, np.isin(np.arange(8), sent))
        error_m = log["fixes"]["error_m"]
        assert error_m[status == NO_FIX].min() > 900.0


@pytest.mark.parametrize("algorithm", ["fully_digital", "hybrid", "codebook"])
def test_one_terminal_alone(tmp_path, algorithm):
    with simulation.run(scenario(2, count=1, ical={"algorithm": algorithm}), tmp_path / "run.h5") as log:
        if algorithm == "codebook":  # one beam says little about where in it a terminal is
            assert log["fixes"]["status"][-1] != FIXED or log["fixes"]["nees"][-1] < 20.0
            assert log["fixes"]["bound_m"][-1] > 1_000.0
        else:
            assert log["fixes"]["error_m"][-1] < 300.0
        assert log["ical"]["true_rate"][-1] > 3.0


def test_terminals_in_one_place_get_finite_rates_and_bounds(tmp_path):
    together = scenario(2, users={"radius_km": 0.001})
    with simulation.run(together, tmp_path / "run.h5") as log:
        assert np.isfinite(log["ical"]["true_rate"]).all()
        assert np.isfinite(log["fixes"]["bound_m"]).all()
        assert np.isfinite(log["fixes"]["error_m"]).all()


@pytest.mark.parametrize("power_dbm", [-30, -300])
def test_hardly_any_power_refuses_fixes_and_moves_nobody(tmp_path, power_dbm):
    with simulation.run(scenario(2, power_dbm=power_dbm), tmp_path / "run.h5") as log:
        assert np.isfinite(log["ical"]["true_bound_m"]).all()
        assert set(log["fixes"]["status"].tolist()) == {REFUSED_FIX}
        assert log["fixes"]["error_m"].min() > 990.0
        assert log["ical"]["true_rate"].max() < 0.1


def test_an_anchor_whose_elements_end_under_way_sends_no_pilots():
    """Not those of the satellite next to it in the catalogue."""
    ready = simulation.prepare(scenario(2))
    world, s = ready.world, ready.localisation
    belief = localisation.first_beliefs(world, s)[0]
    sat = localisation.anchor(world, s, 0, belief)
    fail_ns = np.where(world.ephemeris.constellation.sat == sat, s.hold_ns // 2, -1)
    ending = dataclasses.replace(world, ephemeris=world.ephemeris.with_failures(fail_ns))
    precoder, fix = localisation.localise(ending, s, 0, 0, 0, sat, belief, None)
    assert precoder.status == NO_ANCHOR
    assert (fix.status == NO_FIX).all()
    assert (localisation.localise(world, s, 0, 0, 0, sat, belief, None)[1].sat == sat).any()


def test_a_bound_out_of_reach_says_when_if_it_is_to_raise(tmp_path):
    harsh = scenario(1, target_m=0.01, ical={"algorithm": "fully_digital", "on_infeasible": "raise"})
    with pytest.raises(InfeasibleError, match=r"^\[ical\] at 0 s: "):
        simulation.run(harsh, tmp_path / "run.h5")


def test_a_service_by_itself_needs_its_table():
    with pytest.raises(ScenarioError, match=r"\[localisation\] beside \[ical\]"):
        load_scenario("ical_pass").with_(localisation=None, ical={"algorithm": "codebook"})
    with pytest.raises(ScenarioError, match=r"frames that fit into period_s, 0\.1 s, got 0\.199792 s"):
        scenario(period_s=0.1, frames=40)


# ---------------------------------------------------------------------------------------------
# With others


def test_groups_of_one_anchor_wait_for_each_other(tmp_path):
    with simulation.run(scenario(2, count=6, group_size=3), tmp_path / "run.h5") as log:
        table = periods(log)
        assert len(table) == 4
        (first, second) = (its for _, its in table.groupby("group"))
        assert (first.sat.to_numpy() == second.sat.to_numpy()).all()
        held_s = 4 * 10 * 14 * (1 / 30e3 + 72 / 30.72e6)  # 4 frames of 10 slots
        np.testing.assert_allclose(np.sort(table.t_s), [0.0, held_s, 1.0, 1.0 + held_s], atol=1e-8)
        assert np.sort(log["fixes"]["user"].reshape(2, 6), axis=1).tolist() == [list(range(6))] * 2


@catalogue
def test_real_satellites_localise(tmp_path):
    """Starlink, nine terminals under way, the defaults of the shipped pass: the asked bound, and errors of its size."""
    real = load_scenario("ical_pass").with_(
        communication=None, time={"duration_s": 4}, elements={"file": str(STARLINK), "include": ["STARLINK*"]}
    )
    with simulation.run(real, tmp_path / "run.h5") as log:
        each = terminals(log)
        ready = simulation.prepare(real)
        stats = simulation.replace(ready.world, radio=ready.localisation.radio).statistics(0, log["ical"]["sat"][:1])
        in_sight = np.isin(each.user, stats.user[stats.kappa > 0.0])
        assert in_sight.mean() > 0.5
        assert not (each.status == FIXED)[~in_sight].any()
        assert (each.status == FIXED)[in_sight & (each.t_s == 0)].mean() > 0.7  # a wide first search may be flagged
        assert (each.status == FIXED)[in_sight & (each.t_s >= 1)].all()
        np.testing.assert_array_equal(np.isfinite(each.bound_m), in_sight)
        assert periods(log).bound_m[2:].max() < 20.2  # what is asked: the error of a fix costs nothing
        later = each[(each.t_s >= 1) & (each.status == FIXED)]
        assert math.sqrt((later.error_m**2).mean()) < 60.0
        assert 0.4 < later.nees.mean() / 3 < 2.0
