"""The sensing service in a pass: which satellite, for whom, what is asked, what is met, and what the log keeps."""

import numpy as np
import pytest
from sky import STARLINK, catalogue

from leosim import precoding, radar, sensing, simulation
from leosim.antenna import steering
from leosim.log import open_log
from leosim.records import CAPPED, COMMON_STREAM, HELD, MET, NO_SATELLITE_IN_VIEW, NO_TARGET_IN_VIEW, RADAR_SEQUENCE
from leosim.scenario import load_scenario
from leosim.units import BOLTZMANN_J_K, SPEED_OF_LIGHT_M_S

TARGET = {"name": "aircraft", "position_km": [-6, 3, 5], "velocity_m_s": [80, -10, 0], "rcs_m2": 20}


def scenario(duration_s=6, **tables):
    return load_scenario("isac_pass").with_(time={"duration_s": duration_s}, **tables)


def moved(**changes):
    """The [sensing] table with keys of its receiver or its one target changed."""
    table = load_scenario("isac_pass").as_dict()["sensing"]
    receiver = {key: changes.pop(key) for key in list(changes) if key in table["receiver"]}
    target = {key: changes.pop(key) for key in list(changes) if key in TARGET}
    return {**changes, "receiver": {**table["receiver"], **receiver}, "targets": [{**TARGET, **target}]}


def first_dwell(ready):
    at = sensing.aim(ready.world, ready.sensing, 0, 0, {})
    return sensing.dwell(ready.world, ready.sensing, at, 0, None)


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    """A short pass, its preparation and its log."""
    ready = simulation.prepare(scenario(sensing=moved()))
    with simulation.run(ready.scenario, tmp_path_factory.mktemp("isac") / "run.h5", prepared=ready) as log:
        yield ready, log


def test_every_dwell_is_in_the_log(flown):
    _, log = flown
    assert len(log["isac"]) == len(log["targets"]) == 6
    np.testing.assert_array_equal(log["isac"]["status"], MET)
    first = log["isac"].row(0)
    assert first.user.tolist() == [0, 1, 2, 3, COMMON_STREAM, RADAR_SEQUENCE]
    assert first.power_w.sum() == pytest.approx(100.0, rel=1e-9)
    assert np.all(first.power_w[-1] == 0.0)  # no radar sequence in the default mode


def test_the_logged_precoder_gives_the_logged_rates_and_bound(flown):
    """From the log's weights, the antennas written out, and the radar equation and Fisher information by hand."""
    ready, log = flown
    s = ready.sensing
    for k in range(6):
        row, seen = log["isac"].row(k), log["targets"].row(k)
        p = steering(row.cosines, 24, 24).T @ row.weights
        assert np.linalg.norm(p) ** 2 == pytest.approx(100.0, rel=1e-9)
        stats = simulation.replace(ready.world, radio=s.radio).statistics(k * 10**9, np.array([row.sat]))
        gain = np.abs(steering(stats.cosines, 24, 24).conj() @ p) ** 2 * (stats.beta / s.radio.noise_w)[:, None]
        interference = gain[:, :4].sum(axis=1) + gain[:, 5] + 1.0
        own = np.diagonal(gain)
        np.testing.assert_allclose(row.rate[:4], np.log2(1 + own / (interference - own)), rtol=1e-6, atol=1e-9)
        assert row.rate[4] == pytest.approx(np.log2(1 + gain[:, 4] / interference).min(), rel=1e-6)
        assert row.split.sum() == pytest.approx(row.rate[4], rel=1e-9)
        assert row.min_rate == pytest.approx((row.rate[:4] + row.split[:4]).min(), rel=1e-9)
        toward = np.linalg.norm(steering(row.cosines[-1], 24, 24).conj() @ p) ** 2
        r_tx, r_rx = seen.range_tx_m[0], seen.range_rx_m[0]
        cos_off = np.sqrt(1 - (row.cosines[-1] ** 2).sum())
        wavelength = SPEED_OF_LIGHT_M_S / 2e9
        alpha2 = np.pi * cos_off * 10**0.5 * wavelength**2 * 20 / ((4 * np.pi) ** 3 * r_tx**2 * r_rx**2)
        snr = 65536 * alpha2 * toward / (BOLTZMANN_J_K * 500 * 10e6)
        assert row.snr == pytest.approx(1024 * snr, rel=1e-6)
        place = (np.arange(8) - 3.5) * 4  # of the sub-arrays, in half wavelengths
        information = 2 * snr * np.pi**2 * 16 * 8 * (place**2).sum()  # of u, and of w
        u = seen.pos_enu[0] / r_rx
        jacobian = np.array([[1, 0], [0, 1], -u[:2] / u[2]])  # of the unit vector by (u, w)
        cross_range = r_rx * np.sqrt(np.trace(jacobian.T @ jacobian) / information)
        assert row.cross_range_m == pytest.approx(cross_range, rel=1e-6)
        assert row.cross_range_m <= 30 * (1 + 1e-9)


def test_ergodic_rates_are_near_those_of_statistical_csi(flown):
    _, log = flown
    ratio = log["isac"]["min_ergodic"] / log["isac"]["min_rate"]
    assert np.all((ratio > 0.8) & (ratio < 1.05))


@pytest.mark.parametrize("rule", sensing.RULES)
def test_the_satellite_is_the_best_by_the_rule(rule):
    ready = simulation.prepare(scenario(sensing=moved(satellite=rule, position_km=[20, 25, 9])))
    s = ready.sensing
    flying = ready.world.ephemeris.at(0)
    pos = s.receiver.pos_ecef + s.flights.at(0.0)[0] @ s.receiver.axes
    seen = radar.geometry(flying.pos_ecef, flying.vel_ecef, s.receiver, pos)
    above = seen.satellite_elevation_rad >= np.radians(25)
    worth = seen.satellite_elevation_rad
    if rule == "best_snr":
        worth = np.maximum(seen.departure_cos_off_nadir, 0) / seen.range_tx_m**2
    best = flying.sat[np.argmax(np.where(above, worth, -1.0))]
    made, _ = sensing.dwell(ready.world, s, sensing.aim(ready.world, s, 0, 0, {}), 0, None)
    assert int(made.sat) == best


def test_the_nearest_users_within_the_radius_are_served():
    table = moved(site_deg=[48.4, 11.8], user_radius_km=45, max_users=3)
    ready = simulation.prepare(scenario(sensing=table, users={"count": 12}))
    distance = np.linalg.norm(ready.users.pos_ecef - ready.sensing.receiver.pos_ecef, axis=1)
    served = np.flatnonzero(ready.sensing.served)
    assert served.size == 3
    assert set(served) == set(np.argsort(distance)[:3])
    made, _ = first_dwell(ready)
    assert made.user.tolist() == [*served, COMMON_STREAM, RADAR_SEQUENCE]


def test_a_receiver_far_from_everybody_serves_nobody_and_still_senses():
    ready = simulation.prepare(scenario(sensing=moved(site_deg=[35.7, 139.7])))
    assert any("no user is near" in warning for warning in ready.warnings)
    made, _ = first_dwell(ready)
    assert int(made.status) == MET
    assert made.user.tolist() == [COMMON_STREAM, RADAR_SEQUENCE]
    assert made.power_w.sum() == pytest.approx(100.0, rel=1e-9)
    assert float(made.cross_range_m) < 30


def test_no_satellite_in_view_is_a_status(tmp_path):
    with simulation.run(scenario(3, sensing=moved(mask_deg=89)), tmp_path / "run.h5") as log:
        np.testing.assert_array_equal(log["isac"]["status"], NO_SATELLITE_IN_VIEW)
        np.testing.assert_array_equal(log["isac"]["sat"], -1)
        assert np.isnan(log["isac"]["cross_range_m"]).all()


def test_targets_take_turns_and_those_below_the_horizon_wait(tmp_path):
    table = moved()
    low = {**TARGET, "name": "low", "position_km": [5, 0, -0.1], "velocity_m_s": [0, 0, 0]}
    other = {**TARGET, "name": "other", "position_km": [5, 5, 8]}
    table["targets"] = [TARGET, low, other]
    with simulation.run(scenario(4, sensing=table), tmp_path / "run.h5") as log:
        assert log["isac"]["target"].tolist() == [0, 2, 0, 2]
        assert log["targets"].row(0).pos_enu.shape == (3, 3)
    table["targets"] = [low]
    ready = simulation.prepare(scenario(sensing=table))
    assert any("low below the receiver's horizon" in warning for warning in ready.warnings)
    made, _ = first_dwell(ready)
    assert int(made.status) == NO_TARGET_IN_VIEW
    assert float(made.min_rate) > 0


def test_a_threshold_beyond_the_power_is_capped_held_or_raised(tmp_path):
    table = moved(cross_range_m=0.5)
    with simulation.run(scenario(3, sensing=table), tmp_path / "cap.h5") as log:
        row = log["isac"]
        np.testing.assert_array_equal(row["status"], CAPPED)
        assert np.all(row["power_needed_w"] > 100)
        assert np.all(row["cross_range_m"] > 0.5)
        assert np.all(row["min_rate"] > 0)
    with simulation.run(scenario(3, sensing=table, isac={"on_infeasible": "hold"}), tmp_path / "hold.h5") as log:
        assert log["isac"]["status"].tolist() == [CAPPED, HELD, HELD]  # there is nothing to hold at first
    with pytest.raises(precoding.InfeasibleError, match=r"\[isac\] at 0 s: "):
        simulation.run(scenario(3, sensing=table, isac={"on_infeasible": "raise"}), tmp_path / "raise.h5")


@pytest.mark.parametrize("isac", [{"access": "sdma", "radar": "sic"}, {"radar": "communication_only"}])
def test_other_modes_fly_too(tmp_path, isac):
    with simulation.run(scenario(2, sensing=moved(), isac=isac), tmp_path / "run.h5") as log:
        row = log["isac"].row(1)
    if isac.get("access") == "sdma":
        assert row.power_w[-2] == 0.0
        assert int(row.cancelled) == 1
        assert float(row.cross_range_m) <= 30 * (1 + 1e-9)
    else:
        assert float(row.gain_asked_w) == 0.0
    assert float(row.min_rate) > 1.0


def check_one_digest(log, scenario, folder, group, epochs):
    """A run with two workers, and one stopped after some epochs and resumed, equal a log of the same scenario."""
    with simulation.run(scenario, folder / "two.h5", workers=2) as two:
        assert two.digest() == log.digest()

    class Stopped(Exception):
        pass

    def stop(progress):
        if progress.epoch == epochs:
            raise Stopped

    with pytest.raises(Stopped):
        simulation.run(scenario, folder / "cut.h5", progress=stop)
    with open_log(folder / "cut.h5") as cut:
        assert len(cut[group]) == epochs
    with simulation.run(scenario, folder / "cut.h5", resume=True) as resumed:
        assert resumed.digest() == log.digest()


def test_one_digest_with_any_number_of_workers_and_after_a_resume(flown, tmp_path):
    ready, log = flown
    check_one_digest(log, ready.scenario, tmp_path, "isac", epochs=4)


def test_dwells_keep_their_own_period(tmp_path):
    with simulation.run(scenario(4, sensing=moved(period_s=0.5)), tmp_path / "run.h5") as log:
        np.testing.assert_array_equal(
            log["isac"]["t_ns"] if "t_ns" in log["isac"] else log["isac"].t_ns, np.arange(8) * 500_000_000
        )


def test_an_instant_has_the_sensing_records_too():
    ep = simulation.epoch(scenario(sensing=moved()), 2.0)
    assert int(ep.isac.status) == MET
    assert ep.targets.pos_enu[0, 0] == pytest.approx(-6000 + 160)
    assert simulation.epoch(load_scenario("demo").with_(time={"duration_s": 4}, users={"count": 2})).isac is None


def test_the_budget_of_the_defaults_is_that_of_the_notes():
    """N L snr of 33, 28, 24 dB at 15 km and 27, 22, 18 dB at 30 km; the user of 100 W on 24 x 24 antennas."""
    s = simulation.prepare(scenario()).sensing
    half_a_db = 0.6
    for elevation, near, far in ((90.0, 33, 27), (40.0, 28, 22), (25.0, 24, 18)):
        budget = sensing.link_budget(s, 550e3, elevation)
        assert budget["target at 15 km: echo SNR (dB)"] == pytest.approx(near, abs=half_a_db)
        assert budget["target at 30 km: echo SNR (dB)"] == pytest.approx(far, abs=half_a_db)


@catalogue
def test_real_satellites_sense(tmp_path):
    real = scenario(5, sensing=moved(), elements={"file": str(STARLINK), "include": ["STARLINK*"]})
    with simulation.run(real, tmp_path / "run.h5") as log:
        np.testing.assert_array_equal(log["isac"]["status"], MET)
        assert log["isac"]["cross_range_m"].max() <= 30 * (1 + 1e-9)
        assert log["isac"]["min_rate"].min() > 1.0
