"""All services in one loop: against a plain for-loop, on shared arrays, with delays, workers, and services left out."""

import numpy as np
import pytest
from plain_loop import plain_loop
from threadpoolctl import threadpool_limits

from leosim import simulation
from leosim.records import ARRAY_BUSY, FIXED, NO_FIX
from leosim.report import figures
from leosim.scenario import load_scenario

S = 1_000_000_000
DWELL_NS = 409_600
NO_DELAY = {"csi_delay_s": 0.0, "decision_delay_s": 0.0, "compute_s": 0.0}
SERVICES = {"communication": "rates", "sensing": "tracks", "localisation": "fixes"}


def small(duration_s=4, **tables):
    """The shipped loop, short, with four terminals, short dwells and few frames; more keys of its tables."""
    less = {
        "time": {"duration_s": duration_s},
        "users": {"count": 4, "radius_km": 40},
        "communication": {},
        "clustering": {"candidates": 6},
        "sensing": {"dwell_s": DWELL_NS / S, "cross_range_m": 100},
        "localisation": {"frames": 4, "slots": 10, "target_m": 60},
    }
    if tables.get("communication", {}) is None:
        del less["clustering"]
    for name, table in tables.items():
        less[name] = table if table is None else less.get(name, {}) | table
    return load_scenario("full_loop").with_(**less)


def flown(tmp_path, scenario, name="run", **options):
    """A run of a scenario, as the records of each group, and the digest of its log."""
    with simulation.run(scenario, tmp_path / f"{name}.h5", **options) as log:
        kinds = [kind for kind in log.groups if not log[kind].static and kind != "timing"]
        return {kind: [log[kind].row(k) for k in range(len(log[kind]))] for kind in kinds}, log.digest()


def same_bits(found, expected):
    """Whether two lists of records are equal in all that is logged of them."""
    assert len(found) == len(expected)
    for row, other in zip(found, expected, strict=True):
        assert row.t_ns == other.t_ns
        for name, spec in row.array_fields().items():
            if spec.logged:
                np.testing.assert_array_equal(getattr(row, name), getattr(other, name), err_msg=name)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The small loop with delays, from one worker."""
    return flown(tmp_path_factory.mktemp("loop"), small())


def test_zero_delay_and_equal_periods_equal_the_plain_loop_bit_for_bit(tmp_path):
    scenario = small(
        4,
        communication=NO_DELAY,
        handover={"acquisition_s": 0.02, "interruption_s": 0.05, "access_slots": 1000},
    )
    with threadpool_limits(1):  # as in a run: products of matrices depend on the threads of the library
        expected = plain_loop(simulation.prepare(scenario))
    rows, _ = flown(tmp_path, scenario)
    for name in ("hardening", "ergodic", "outage_s", "interruption_s"):
        np.testing.assert_array_equal([getattr(row, name) for row in rows["rates"]], expected[name], err_msg=name)
    for row, clusters in zip(rows["clusters"], expected["clusters"], strict=True):
        for name in ("user", "sat", "amplitude"):
            np.testing.assert_array_equal(getattr(row, name), getattr(clusters, name))
    for kind in ("csi", "isac", "targets", "detections", "tracks", "ical", "fixes"):
        same_bits(rows[kind], expected[kind])
    assert expected["hardening"].min() > 0.0
    assert {int(row.sat) for row in rows["isac"]} & {int(row.sat) for row in rows["ical"]}, "no array was shared"
    assert any((row.status == FIXED).any() for row in rows["fixes"])


def test_doubling_the_feedback_delay_changes_the_time_weighted_rates(tmp_path):
    slow, _ = flown(tmp_path, small(5, communication={"csi_delay_s": 0.4, "decision_delay_s": 0.4}), "slow")
    slower, _ = flown(tmp_path, small(5, communication={"csi_delay_s": 0.8, "decision_delay_s": 0.8}), "slower")
    difference = np.array(
        [np.abs(a.hardening - b.hardening).max() for a, b in zip(slow["rates"], slower["rates"], strict=True)]
    )
    assert difference[0] == 0.0  # the first decision is in force from t = 0 in both
    assert (difference[2:] > 1e-6).all()
    for kind in ("tracks", "fixes"):  # which wait for no decision
        same_bits(slow[kind], slower[kind])


def test_one_digest_with_any_number_of_workers(reference, tmp_path):
    assert {flown(tmp_path, small(), str(n), workers=n)[1] for n in (2, 4)} == {reference[1]}


@pytest.mark.parametrize("left_out", SERVICES)
def test_each_service_can_be_left_out_and_the_others_go_on(reference, tmp_path, left_out):
    rows, _ = flown(tmp_path, small(**{left_out: None}))
    assert SERVICES[left_out] not in rows
    alone = {"tracks", "fixes"} if left_out == "communication" else {"sensing": {"fixes", "rates"}}.get(left_out)
    for kind in alone or {"tracks"}:  # rates are made from what fixes say
        same_bits(rows[kind], reference[0][kind])


def test_fixes_feed_the_csi_and_the_precoder(tmp_path):
    """The CSI after the first fix comes from where it says the users are, that before from the first belief."""
    rows, _ = flown(tmp_path, small(2, communication=NO_DELAY))
    ready = simulation.prepare(small(2, communication=NO_DELAY))
    off_m = []
    for k in range(2):
        truth = ready.world.statistics(k * S, np.unique(rows["csi"][k].sat))
        off_m.append(np.abs(truth.delay_s - rows["csi"][k].delay_s).max() * 299_792_458.0)
    assert off_m[0] > 300.0
    assert off_m[1] < 100.0


# ---------------------------------------------------------------------------------------------
# One array a satellite


def test_frames_wait_for_a_dwell_that_begins_with_them(tmp_path):
    rows, _ = flown(tmp_path, small(4, sensing={"offset_s": 0.0}, localisation={"frames": 3}))
    shared = [a.sat == b.sat for a, b in zip(rows["isac"], rows["ical"], strict=True)]
    assert any(shared)
    assert [row.t_ns for row in rows["isac"]] == [k * S for k in range(4)]
    assert [row.t_ns for row in rows["ical"]] == [k * S + (DWELL_NS if both else 0) for k, both in enumerate(shared)]
    assert ARRAY_BUSY not in [int(row.status) for row in rows["isac"] + rows["ical"]]


def test_a_dwell_amid_frames_is_lost_and_its_track_coasts(reference, tmp_path):
    rows, _ = flown(tmp_path, small(4, sensing={"offset_s": 0.01}))  # the frames take 20 ms
    apart = reference[0]["isac"]
    shared = [int(a.sat) == int(b.sat) for a, b in zip(apart, rows["ical"], strict=True)]
    assert any(shared)
    assert [row.status == ARRAY_BUSY for row in rows["isac"]] == shared
    assert [row.t_ns for row in rows["ical"]] == [k * S for k in range(4)]


def test_groups_queue_for_an_array_and_a_period_spent_waiting_is_logged(tmp_path):
    """Four groups of one, 0.4 s of frames each, a fix a second: one of them waits beyond its period, in turn."""
    scenario = small(
        6, communication=None, sensing=None, localisation={"group_size": 1, "frames": 80, "slots": 10, "mask_deg": 10}
    )
    rows, _ = flown(tmp_path, scenario)
    sats = {int(row.sat) for row in rows["ical"]} - {-1}
    assert len(sats) == 1, "the scene is one of one satellite"
    began = sorted(row.t_ns for row in rows["ical"] if row.status != ARRAY_BUSY)
    hold_ns = simulation.prepare(scenario).localisation.hold_ns
    assert began == [k * hold_ns for k in range(len(began))]  # the array is never idle
    busy = [row.t_ns for row in rows["ical"] if row.status == ARRAY_BUSY]
    assert busy
    assert {t_ns % S for t_ns in busy} == {0}  # said at the tick of the period that is lost
    for row, fix in zip(rows["ical"], rows["fixes"], strict=True):
        assert row.t_ns == fix.t_ns
        if row.status == ARRAY_BUSY:
            assert int(row.sat) == -1
            assert fix.status.tolist() == [NO_FIX]
    fixes = np.bincount([int(fix.user[0]) for fix in rows["fixes"] if fix.status[0] != NO_FIX], minlength=4)
    assert np.ptp(fixes) <= 1  # first come, first served


# ---------------------------------------------------------------------------------------------
# The figure of the clock


def test_the_timeline_has_a_lane_a_process_and_bars_where_the_log_says(tmp_path):
    with simulation.run(small(3), tmp_path / "run.h5") as log:
        assert "timeline" in figures.kinds(log)
        ax = log.plot.timeline(t_s=1.0)
        lanes = dict(zip([text.get_text() for text in ax.get_yticklabels()], ax.get_yticks(), strict=True))
        assert list(lanes)[:2] == ["CSI, on its way", "central node"]
        assert list(lanes)[-1] == "scoring, commit"

        def begins(lane):
            boxes = [path.get_extents() for bars in ax.collections for path in bars.get_paths()]
            return sorted(box.x0 for box in boxes if box.y0 < lanes[lane] < box.y1)

        np.testing.assert_allclose(begins("dwell"), [1.5, 2.5])
        np.testing.assert_allclose(begins("central node"), [1.0, 2.0])
        np.testing.assert_allclose(begins("decision, on its way"), [1.05, 2.05])
        np.testing.assert_allclose(begins("in force"), [1.0, 1.17, 2.17])
        assert len(begins("frames of a fix")) == 2 * 4
        with pytest.raises(ValueError, match="t_s: expected a time from 0 to below 3 s, got 3"):
            log.plot.timeline(t_s=3.0)


def test_one_array_with_two_descriptions_is_warned_of():
    assert not any("differ in" in line for line in simulation.prepare(small()).warnings)
    said = simulation.prepare(small(sensing={"power_dbm": 50, "array": [16, 16]})).warnings
    assert [line.split("differ in ")[1] for line in said if "differ in" in line] == [
        "array; give both one",
        "power_dbm; give both one",
    ]
