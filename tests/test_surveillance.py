"""The loop of sensing: what is expected aims the dwell, the echo is found, and the track is what is expected next."""

import numpy as np
import pytest
from sky import STARLINK, catalogue
from test_sensing import TARGET, check_one_digest, moved, scenario

from leosim import motion, sensing, simulation
from leosim.records import BELOW_THRESHOLD, CONFIRMED, FOUND, NO_TRACK, TENTATIVE, Track
from leosim.streams import generator
from leosim.tracking import imm

SHORT = {"dwell_s": 4096 / 10e6, "array": [24, 24]}  # a sixteenth of the default dwell
SMALL = {"cross_range_m": 60, **SHORT}


def watched(duration_s=12, targets=None, **sensing_keys):
    table = moved(**{**SMALL, **sensing_keys})
    table["receiver"] |= {"array": [16, 16], "subarray": [2, 2]}
    if targets is not None:
        table["targets"] = targets
    return scenario(duration_s, sensing=table, detection={"algorithm": "mf_first"}, tracking={"algorithm": "imm"})


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    ready = simulation.prepare(watched())
    with simulation.run(ready.scenario, tmp_path_factory.mktemp("loop") / "run.h5", prepared=ready) as log:
        yield ready, log


def test_the_aircraft_is_found_and_tracked(flown):
    _, log = flown
    np.testing.assert_array_equal(log["detections"]["status"], FOUND)
    status = log["tracks"]["status"].tolist()
    assert status[0] == TENTATIVE
    assert status[3:] == [CONFIRMED] * 9
    assert log["tracks"]["error_m"][3:].max() < 200
    assert 1.0 < log["tracks"]["nees"].mean() < 12.0


def test_detections_are_near_the_truth_within_their_covariance(flown):
    ready, log = flown
    for k in range(12):
        seen, found = log["targets"].row(k), log["detections"].row(k)
        sat = ready.world.ephemeris.at(k * 10**9)
        row = np.flatnonzero(sat.sat == found.sat)[0]
        receiver = ready.sensing.receiver
        pos, vel = receiver.axes @ (sat.pos_ecef[row] - receiver.pos_ecef), receiver.axes @ sat.vel_ecef[row]
        true, _ = motion.measure(np.append(seen.pos_enu[0], seen.vel_enu[0]), pos, vel, 2e9)
        off = found.value - true
        assert off @ np.linalg.solve(found.covariance, off) < 40  # chi-square of four dimensions: 1e-7


def test_errors_in_the_log_are_those_of_the_log(flown):
    _, log = flown
    off = log["tracks"]["mean"][:, :3] - np.stack([log["targets"].row(k).pos_enu[0] for k in range(12)])
    np.testing.assert_allclose(log["tracks"]["error_m"], np.linalg.norm(off, axis=1), rtol=1e-9)


def test_each_dwell_is_aimed_by_the_track_before(flown):
    ready, log = flown
    s = ready.sensing
    _, params = s.surveillance.tracking
    for k in (3, 7):
        before, made = log["tracks"].row(k - 1), log["isac"].row(k)
        predicted = imm.predict(before, k * 10**9, params).pos_enu
        sat = ready.world.ephemeris.at(k * 10**9)
        row = np.flatnonzero(sat.sat == made.sat)[0]
        pos = s.receiver.pos_ecef + predicted @ s.receiver.axes
        aimed = sensing.radar.geometry(sat.pos_ecef[row], sat.vel_ecef[row], s.receiver, pos)
        np.testing.assert_allclose(made.cosines[-1], aimed.departure, atol=1e-12)


def test_open_loop_each_dwell_is_aimed_by_an_announcement_and_the_track_listens(flown, tmp_path):
    closed, log = flown
    ready = simulation.prepare(watched(6, aim="cue", cue_position_m=300.0))
    with simulation.run(ready.scenario, tmp_path / "open.h5", prepared=ready) as opened:
        astray_m, tracks = opened["detections"]["expected_error_m"], opened["tracks"]
        for k in range(6):
            drawn = generator(1, "cue_0", k).standard_normal(6)
            assert astray_m[k] == pytest.approx(300.0 * np.linalg.norm(drawn[:3]))
            sat = ready.world.ephemeris.at(k * 10**9)
            made, row = opened["isac"].row(k), np.flatnonzero(sat.sat == opened["isac"].row(k).sat)[0]
            true = opened["targets"].row(k).pos_enu[0]
            r = ready.sensing.receiver
            announced = r.pos_ecef + (true + 300.0 * drawn[:3]) @ r.axes
            aimed = sensing.radar.geometry(sat.pos_ecef[row], sat.vel_ecef[row], r, announced)
            np.testing.assert_allclose(made.cosines[-1], aimed.departure, atol=1e-12)
        assert tracks["hits"].tolist() == [1, 2, 3, 4, 5, 6]  # one track, corrected by each detection
        assert tracks["status"][-1] == CONFIRMED
    s = closed.sensing.surveillance
    _, params = s.tracking
    for k in (3, 7):  # closed: the error of the aim is that of the prediction
        ahead = imm.predict(log["tracks"].row(k - 1), k * 10**9, params).pos_enu
        off = np.linalg.norm(ahead - log["targets"].row(k).pos_enu[0])
        assert log["detections"]["expected_error_m"][k] == pytest.approx(off)


def test_a_track_that_coasts_through_a_lost_dwell_is_scored_anew():
    ready = simulation.prepare(watched(mask_deg=89))
    state = np.array([-6e3, 3e3, 5e3, 80.0, -10.0, 0.0])
    known = Track(
        t_ns=0,
        target=np.array(0),
        status=np.array(CONFIRMED),
        hits=np.array(5),
        misses=np.array(0),
        mean=state,
        covariance=np.diag([100.0] * 3 + [25.0] * 3),
        probability=np.array([0.5, 0.5]),
        model_mean=np.tile(state, (2, 1)),
        model_covariance=np.tile(np.diag([100.0] * 3 + [25.0] * 3), (2, 1, 1)),
        error_m=np.array(12345.0),
    )
    rows = dwell(ready, 1, {0: known})
    pos_enu, _ = ready.sensing.flights.states(1.0)
    assert float(rows[3].error_m) == pytest.approx(np.linalg.norm(rows[3].mean[:3] - pos_enu[0]))
    assert np.isnan(rows[2].expected_error_m)


def test_one_digest_with_two_workers_and_after_a_resume(flown, tmp_path):
    ready, log = flown
    check_one_digest(log, ready.scenario, tmp_path, "tracks", epochs=5)


def dwell(ready, k, tracks):
    at = sensing.aim(ready.world, ready.sensing, k * 10**9, k, tracks)
    return sensing.dwell(ready.world, ready.sensing, at, k, None)


def test_without_a_satellite_a_track_coasts_and_nothing_is_found():
    ready = simulation.prepare(watched(mask_deg=89))
    rows = dwell(ready, 0, {})
    assert int(rows[2].status) == BELOW_THRESHOLD
    assert int(rows[3].status) == NO_TRACK
    known = Track(
        t_ns=0,
        target=np.array(0),
        status=np.array(CONFIRMED),
        hits=np.array(5),
        misses=np.array(0),
        mean=np.array([-6e3, 3e3, 5e3, 80.0, -10.0, 0.0]),
        covariance=np.diag([100.0] * 3 + [25.0] * 3),
        probability=np.array([0.5, 0.5]),
        model_mean=np.tile([-6e3, 3e3, 5e3, 80.0, -10.0, 0.0], (2, 1)),
        model_covariance=np.tile(np.diag([100.0] * 3 + [25.0] * 3), (2, 1, 1)),
    )
    rows = dwell(ready, 1, {0: known})
    assert int(rows[3].misses) == 1
    assert rows[3].mean[0] == pytest.approx(-6e3 + 80)


def test_a_target_beyond_the_range_of_detection_has_no_track(tmp_path):
    far = {**TARGET, "position_km": [-150, 90, 11]}
    with simulation.run(watched(3, targets=[far], gate_km=300), tmp_path / "run.h5") as log:
        assert FOUND not in log["detections"]["status"]
        np.testing.assert_array_equal(log["tracks"]["status"], NO_TRACK)
        assert np.isnan(log["tracks"]["error_m"]).all()


def test_two_aircraft_two_kilometres_apart_keep_their_tracks(tmp_path):
    other = {**TARGET, "name": "other", "position_km": [-4.6, 4.4, 5]}
    with simulation.run(watched(16, targets=[TARGET, other]), tmp_path / "run.h5") as log:
        tracks = log["tracks"]
        assert tracks["target"].tolist() == [0, 1] * 8
        assert set(tracks["status"][8:].tolist()) == {CONFIRMED}
        assert np.nanmax(tracks["error_m"][8:]) < 300


def test_turns_and_routes_are_flown(tmp_path):
    turning = {**TARGET, "velocity_m_s": [150, 0, 0], "turn_deg_s": 3.0}
    route = {"waypoints": [[0, -5, 2, 4], [6, -4, 2.5, 4], [12, -3.2, 3.4, 4.2]], "rcs_m2": 20}
    with simulation.run(watched(8, targets=[turning, route]), tmp_path / "run.h5") as log:
        last = log["targets"].row(6)
        heading = np.degrees(np.arctan2(last.vel_enu[0, 0], last.vel_enu[0, 1]))
        assert heading == pytest.approx(90 + 18)
        np.testing.assert_allclose(last.pos_enu[1], [-4000, 2500, 4000], atol=1e-6)


@pytest.mark.slow
@catalogue
def test_an_aircraft_is_tracked_for_five_minutes_by_real_satellites(tmp_path):
    real = simulation.load_scenario("tracking_pass").with_(elements={"file": str(STARLINK), "include": ["STARLINK*"]})
    with simulation.run(real, tmp_path / "run.h5") as log:
        tracks = log["tracks"]
        assert set(tracks["status"][3:].tolist()) == {CONFIRMED}
        assert np.sqrt(np.mean(tracks["error_m"][10:] ** 2)) < 30
        assert 0.3 < tracks["nees"][10:].mean() / 6 < 1.25
