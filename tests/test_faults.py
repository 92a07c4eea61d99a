"""Faults of a scenario: what each does to the run, what the log says of it, and what a bad one is told."""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from leosim import cli, faults, orbit, rates, simulation, tle, walkers
from leosim.faults import NEVER_NS, Fault, Faults
from leosim.log import open_log
from leosim.records import (
    ARRAY_BUSY,
    BEGINS,
    CAPPED,
    CENTRAL_NODE,
    CSI_LOST,
    DECISION_HELD,
    DECISION_LATE,
    DECISION_LOST,
    DWELL_LOST,
    ELEMENTS,
    ENDS,
    FEEDER_LINK,
    FIXES_LOST,
    HELD,
    KEPT,
    NO_FIX,
    PRECODER_HELD,
    SATELLITE,
    SOLVER,
    SOLVER_HELD,
)
from leosim.report.events import event_counts, event_table
from leosim.report.summary import summary
from leosim.scenario import ScenarioError, load_scenario
from leosim.scoring import on_streams

SECOND_NS = 10**9
AT_ONCE = {"acquisition_s": 0.0, "interruption_s": 0.0}
ELEMENT_FILE = "walker-53-1584-72-39-550km-20260822.tle"


@pytest.fixture(scope="module")
def flown(short, tmp_path_factory):
    """`flown(fault, ...)`: the log of a short run with these faults, and what was prepared for it."""
    folder, logs = tmp_path_factory.mktemp("faults"), []

    def fly(*tables, duration_s=7, count=3, clustering="cell_free", **others):
        scenario = short(duration_s, count, handover=AT_ONCE, clustering={"algorithm": clustering}, **others)
        ready = simulation.prepare(scenario.with_(faults=list(tables)))
        logs.append(simulation.run(ready.scenario, folder / f"{len(logs)}.h5", prepared=ready))
        return ready, logs[-1]

    yield fly
    for log in logs:
        log.close()


@pytest.fixture(scope="module")
def healthy(flown):
    return flown()


def events(log):
    group = log["events"]
    columns = (group[name].tolist() for name in ("kind", "action", "sat", "count"))
    return list(zip((group.t_ns / 1e9).tolist(), *columns, strict=True))


def rate(ready, t_ns, decision, beams, silent=()):
    """Hardening rate of each user at an instant under a decision, by the formulas and nothing of the clock."""
    users, coherence = ready.users.name.size, ready.settings.coherence
    used = beams.of(decision.sat, decision.user)
    cohered = rates.cohere(rates.couplings(ready.world.statistics(t_ns, used.sat), used, ready.world.radio), coherence)
    amplitude = on_streams(cohered, decision, ~np.isin(decision.sat, silent))
    return rates.spectral_efficiency(rates.hardening_sinr(cohered, amplitude, users, coherence))


def beams_of(ready, log, decision):
    csi = log["csi"].row(int(np.flatnonzero(log["csi"].t_ns == decision.csi_t_ns)[0]))
    return ready.settings.beamforming[0].beams(csi, ready.settings.beamforming[1], ready.world.radio)


# ---------------------------------------------------------------------------------------------
# Functions of time


def test_faults_are_functions_of_time():
    sats = np.array([3, 5, 8])
    some = Faults(
        (
            Fault(SATELLITE, 10, 20, np.array([5])),
            Fault(SATELLITE, 15, NEVER_NS, np.array([8])),
            Fault(FEEDER_LINK, 12, 14),
            Fault(CENTRAL_NODE, 5, 7, late_ns=30),
            Fault(CENTRAL_NODE, 6, 9, late_ns=4),
            Fault(SOLVER, 1, 2),
        )
    )
    assert [some.silent(sats, t).tolist() for t in (9, 10, 19, 20)] == [
        [False, False, False],
        [False, True, False],
        [False, True, True],
        [False, False, True],
    ]
    assert [(some.cut_off(sats, t).all(), some.all_cut_off(t)) for t in (11, 12, 14)] == [
        (False, False),
        (True, True),
        (False, False),
    ]
    assert [some.late_ns(t) for t in (4, 5, 6, 8, 9)] == [0, 30, 34, 4, 0]
    assert [some.solver_fails(t) for t in (0, 1, 2)] == [False, True, False]
    times = [(t, action) for t, _, action in some.edges(20)]
    assert times == sorted(times, key=lambda edge: edge[0])
    assert (20, ENDS) not in times
    assert len(times) == 10
    assert not Faults()


def test_a_satellite_is_a_number_or_a_pattern_of_names():
    made = walkers.walker("53:12/3/1", 550.0, datetime(2026, 8, 22, tzinfo=UTC))
    assert faults.satellites(made, 7).tolist() == [7]
    assert made.name[made.sat == 7].tolist() == ["WALKER-02-03"]
    assert faults.satellites(made, "walker-02-03").tolist() == [7]
    assert faults.satellites(made, "WALKER-02-*").tolist() == [5, 6, 7, 8]
    with pytest.raises(ValueError, match=r"expected a catalogue number .* got 13; nearest are WALKER"):
        faults.satellites(made, 13)
    with pytest.raises(ValueError, match="got 'WALKR-02-03'; nearest are WALKER-02-03, "):
        faults.satellites(made, "WALKR-02-03")


@pytest.mark.parametrize("beamforming", ["smrt", "szf", "spot_beam"])
def test_beams_of_two_halves_joined_are_those_of_the_whole(short, beamforming):
    whole = simulation.epoch(short(1, 5, beamforming={"algorithm": beamforming})).beams
    of_stream = np.repeat(whole.sat, whole.stream_size)
    odd = np.isin(of_stream, whole.sat[1::2])
    halves = [whole.of(of_stream[rows], whole.user[rows]) for rows in (odd, ~odd)]
    again = faults.joined(*halves)
    expected = whole.of(of_stream, whole.user)
    for field in whole.array_fields():
        np.testing.assert_array_equal(getattr(again, field), getattr(expected, field), err_msg=field)


# ---------------------------------------------------------------------------------------------
# What a scenario is told


WRONG = {
    "no satellite": ({"kind": "satellite"}, 'satellite beside kind = "satellite"'),
    "not of its kind": ({"kind": "solver", "at_s": 1, "late_s": 2}, 'no late_s beside kind = "solver"'),
    "not late": ({"kind": "central_node"}, 'late_s beside kind = "central_node"'),
    "no file": ({"kind": "elements"}, 'file beside kind = "elements"'),
    "nothing to hold": ({"kind": "solver"}, 'at_s above 0 beside kind = "solver"'),
    "after the end": ({"kind": "solver", "at_s": 5}, "at_s of fault 1 before the end of the run, 5 s, got 5"),
    "kind": ({"kind": "sattelite", "at_s": 1}, "[faults] kind, item 1: expected one of 'satellite', 'feeder_link'"),
    "key": ({"kind": "solver", "at": 1}, "[faults] at, item 1: unknown key; did you mean 'at_s'?"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_that_cannot_be_is_said_in_one_line(short, name):
    table, expected = WRONG[name]
    with pytest.raises(ScenarioError) as caught:
        short(5, 2, faults=[table])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_faults_of_what_is_not_there_are_refused_before_the_start(short):
    lost = {"kind": "satellite", "satellite": "WALKR-41-09"}
    with pytest.raises(ScenarioError, match=r"\[faults\] satellite, item 2: .*nearest are WALKER-41-09, "):
        simulation.prepare(short(5, 2, faults=[{"kind": "feeder_link"}, lost]))
    with pytest.raises(ScenarioError, match=r'\[communication\] for fault 1, kind = "feeder_link"'):
        load_scenario("isac_pass").with_(communication=None, faults=[{"kind": "feeder_link"}])


def test_faults_are_part_of_the_inputs_and_survive_as_toml(short, tmp_path):
    fault = {"kind": "feeder_link", "at_s": 1, "duration_s": 2, "satellite": "WALKER-41-*"}
    one, other = short(5, 2, faults=[fault]), short(5, 2, faults=[{**fault, "at_s": 2}])
    assert simulation.prepare(one).inputs_sha256 != simulation.prepare(other).inputs_sha256
    (tmp_path / "one.toml").write_text(load_toml(one))
    assert load_scenario(tmp_path / "one.toml").faults == one.faults


def load_toml(scenario):
    from leosim.scenario import to_toml

    data = scenario.as_dict()
    data["elements"]["file"] = str(scenario.path(data["elements"]["file"]))
    return to_toml(data)


# ---------------------------------------------------------------------------------------------
# A satellite


def test_a_failed_satellite_falls_silent_at_once_and_leaves_the_csi_at_the_next_tick(flown, healthy):
    _, before = healthy
    sat = int(before["clusters"].row(2).sat[0])
    ready, log = flown({"kind": "satellite", "at_s": 2.3, "duration_s": 3.4, "satellite": sat})
    pairs = int((log["clusters"].row(2).sat == sat).sum())
    assert events(log) == [(2.3, SATELLITE, BEGINS, sat, pairs), (5.7, SATELLITE, ENDS, sat, 0)]
    name = str(ready.constellation.name[ready.constellation.sat == sat][0])
    assert log["events"]["text"].tolist() == [name, name]
    told = [sat in log["csi"].row(k).sat for k in range(7)]
    assert told == [True, True, True, False, False, False, True]
    assert [sat in log["geometry"].row(k).sat for k in range(7)] == told
    chosen = [sat in log["clusters"].row(k).sat for k in range(7)]
    assert chosen[:4] == [True] * 4  # the decision at 3 s is made from the CSI of 2 s
    assert not any(chosen[4:6])
    first, second = (log["clusters"].row(k) for k in (1, 2))
    one, two = (beams_of(ready, log, decision) for decision in (first, second))
    at = 2 * SECOND_NS
    expected = (
        0.17 * rate(ready, at, first, one)
        + 0.13 * rate(ready, at, second, two)
        + 0.7 * rate(ready, at, second, two, [sat])
    )
    np.testing.assert_allclose(log["rates"]["hardening"][2], expected, rtol=1e-9)
    np.testing.assert_array_equal(log["rates"]["hardening"][:2], before["rates"]["hardening"][:2])


def test_users_of_a_failed_satellite_are_out_until_the_next_decision_without_it(flown):
    _, before = flown(clustering="best_satellite")
    decision = before["clusters"].row(2)
    sat, user = int(decision.sat[0]), int(decision.user[0])
    _, log = flown({"kind": "satellite", "at_s": 2.3, "satellite": sat}, clustering="best_satellite")
    # out from 2.3 s on; the CSI of 3 s is without it, the decision of 4 s the first from it, in force at 4.17 s
    np.testing.assert_allclose(log["rates"]["outage_s"][:, user], [0, 0, 0.7, 1.0, 0.17, 0, 0], atol=1e-9)
    assert log["rates"]["interruption_s"].sum() == 0.0  # it is no handover that cuts them off
    assert before["rates"]["outage_s"].sum() == 0.0
    assert summary(log).communication.outage_s == pytest.approx(1.87 * np.sum(decision.sat == sat), rel=1e-9)


def test_satellites_that_are_back_serve_with_what_is_in_force(flown, healthy):
    """Out and back between two decisions: silent meanwhile, as before afterwards."""
    _, before = healthy
    sat = int(before["clusters"].row(2).sat[0])
    ready, log = flown({"kind": "satellite", "at_s": 2.3, "duration_s": 0.4, "satellite": sat})
    first, second = (log["clusters"].row(k) for k in (1, 2))
    whole = rate(ready, 2 * SECOND_NS, second, beams_of(ready, log, second))
    cut = rate(ready, 2 * SECOND_NS, second, beams_of(ready, log, second), [sat])
    start = rate(ready, 2 * SECOND_NS, first, beams_of(ready, log, first))
    np.testing.assert_allclose(log["rates"]["hardening"][2], 0.17 * start + 0.43 * whole + 0.4 * cut, rtol=1e-9)
    np.testing.assert_array_equal(log["rates"]["hardening"][3:], before["rates"]["hardening"][3:])


# ---------------------------------------------------------------------------------------------
# Feeder links


def test_without_feeder_links_the_last_decision_stays_in_force(flown, healthy):
    ready, log = flown({"kind": "feeder_link", "at_s": 2, "duration_s": 3})
    seen = [np.unique(log["geometry"].row(k).sat).size for k in (2, 3, 4)]
    pairs = [np.union1d(*(codes(log["clusters"].row(k)) for k in (1, other))).size for other in (2, 3, 4)]
    assert events(log) == [
        (2, FEEDER_LINK, BEGINS, -1, 0),
        (2, FEEDER_LINK, CSI_LOST, -1, seen[0]),
        (2.17, FEEDER_LINK, DECISION_LOST, -1, pairs[0]),
        (3, FEEDER_LINK, CSI_LOST, -1, seen[1]),
        (3.17, FEEDER_LINK, DECISION_LOST, -1, pairs[1]),
        (4, FEEDER_LINK, CSI_LOST, -1, seen[2]),
        (4.17, FEEDER_LINK, DECISION_LOST, -1, pairs[2]),
        (5, FEEDER_LINK, ENDS, -1, 0),
    ]
    assert (log["clusters"]["csi_t_ns"] / 1e9).tolist() == [0, 0, 1, 1, 1, 1, 5]
    assert log["csi"].size("pair").tolist()[2:5] == [0, 0, 0]
    kept = log["clusters"].row(1)
    for k in (3, 4):
        expected = rate(ready, k * SECOND_NS, kept, beams_of(ready, log, kept))
        np.testing.assert_allclose(log["rates"]["hardening"][k], expected, rtol=1e-9)
    _, before = healthy
    assert log["rates"]["hardening"][4].min() < before["rates"]["hardening"][4].min()
    assert summary(log).events["feeder_link"]["CSI not delivered"] == 3


def codes(decision):
    return decision.sat.astype(np.int64) << 32 | decision.user


def test_a_satellite_without_its_feeder_link_goes_on_as_before(flown, healthy):
    _, before = healthy
    old = before["clusters"].row(1)
    sat = int(old.sat[0])
    ready, log = flown({"kind": "feeder_link", "at_s": 2.1, "duration_s": 2.5, "satellite": sat})
    assert [sat in log["csi"].row(k).sat for k in range(7)] == [True] * 3 + [False] * 2 + [True] * 2
    assert [sat in log["geometry"].row(k).sat for k in range(7)] == [True] * 7
    assert event_counts(log) == {
        "feeder_link": {"begins": 1, "ends": 1, "CSI not delivered": 2, "decision not received": 3}
    }
    new = log["clusters"].row(4)  # in force from 4.17 s on, made without it
    assert sat not in new.sat
    mine = old.sat == sat
    mixed = {name: np.append(getattr(new, name), getattr(old, name)[mine]) for name in ("user", "sat", "amplitude")}
    order = np.lexsort((mixed["user"], mixed["sat"]))
    mixed = new.replace(**{name: values[order] for name, values in mixed.items()}, spot=np.full(order.size, -1))
    stale, fresh = beams_of(ready, log, old), beams_of(ready, log, new)
    beams = faults.joined(fresh.of(new.sat, new.user), stale.of(old.sat[mine], old.user[mine]))
    earlier = log["clusters"].row(3)
    assert (earlier.sat == sat).any()  # decided at 3 s from the CSI of 2 s, and not received
    assert log["rates"]["serving"][4].sum() == new.sat.size + mine.sum()
    whole = rate(ready, 5 * SECOND_NS, mixed, beams)
    next_ = log["clusters"].row(5)
    expected = 0.17 * whole + 0.83 * rate(ready, 5 * SECOND_NS, next_, beams_of(ready, log, next_))
    np.testing.assert_allclose(log["rates"]["hardening"][5], expected, rtol=1e-9)


def test_a_central_node_that_reaches_nobody_from_the_start_decides_when_it_does(flown):
    _, log = flown({"kind": "feeder_link", "duration_s": 2})
    assert (log["clusters"].t_ns / 1e9).tolist() == [3, 4, 5, 6]  # the first CSI is that of 2 s
    np.testing.assert_allclose(log["rates"]["outage_s"].max(axis=1), [1, 1, 1, 0.17, 0, 0, 0], atol=1e-9)


# ---------------------------------------------------------------------------------------------
# Central node and solver


def test_a_late_central_node_leaves_ticks_out_and_its_decisions_arrive_late(flown):
    _, log = flown({"kind": "central_node", "at_s": 2, "duration_s": 0.5, "late_s": 1.5})
    assert (log["clusters"].t_ns / 1e9).tolist() == [0, 1, 2, 4, 5, 6]
    effective_s = log["clusters"]["effective_t_ns"] / 1e9
    np.testing.assert_allclose(effective_s, [0, 1.17, 3.67, 4.17, 5.17, 6.17], atol=1e-9)
    pairs = log["clusters"].row(2).user.size
    assert events(log) == [
        (2, CENTRAL_NODE, BEGINS, -1, 0),
        (2, CENTRAL_NODE, DECISION_LATE, -1, pairs),
        (2.5, CENTRAL_NODE, ENDS, -1, 0),
    ]
    assert log["events"]["text"].tolist() == ["1.5 s late"] * 3


def test_a_solver_that_fails_leaves_the_decision_before(flown, healthy):
    ready, log = flown({"kind": "solver", "at_s": 2, "duration_s": 2})
    assert log["solver"]["status"].tolist() == [0, 0, SOLVER_HELD, SOLVER_HELD, 0, 0, 0]
    assert np.isnan(log["solver"]["min_rate"][2:4]).all()
    before = log["clusters"].row(1)
    for k in (2, 3):
        row = log["clusters"].row(k)
        assert (row.t_ns, row.csi_t_ns) == (k * SECOND_NS, before.csi_t_ns)
        assert row.effective_t_ns == k * SECOND_NS + 170_000_000
        for name in ("user", "sat", "amplitude", "spot", "user_price", "sat_price", "waited"):
            np.testing.assert_array_equal(getattr(row, name), getattr(before, name))
    expected = rate(ready, 3 * SECOND_NS, before, beams_of(ready, log, before))
    np.testing.assert_allclose(log["rates"]["hardening"][3], expected, rtol=1e-9)
    assert [(t, action) for t, kind, action, _, _ in events(log) if kind == SOLVER] == [
        (2, BEGINS),
        (2, DECISION_HELD),
        (3, DECISION_HELD),
        (4, ENDS),
    ]
    found = summary(log)
    assert found.communication.solver["failed"] == pytest.approx(2 / 7)
    assert "decision held 2" in dict(found.rows())["faults"]
    json.dumps(found.as_dict(), allow_nan=False)
    assert log["handovers"].size("event")[2:4].sum() == 0
    _, well = healthy
    assert log["rates"]["hardening"][3].min() < well["rates"]["hardening"][3].min()


# ---------------------------------------------------------------------------------------------
# Sensing


def sensing(*tables, duration_s=5, **changes):
    return load_scenario("isac_pass").with_(
        time={"duration_s": duration_s}, communication=None, sensing=changes, faults=list(tables)
    )


def test_a_dwell_of_a_failed_satellite_is_lost_until_the_next_csi_tick(tmp_path):
    with simulation.run(sensing(period_s=0.5), tmp_path / "well.h5") as well:
        sat = int(well["isac"]["sat"][3])
    fault = {"kind": "satellite", "at_s": 1.2, "satellite": sat}
    with simulation.run(sensing(fault, period_s=0.5), tmp_path / "run.h5") as log:
        assert log["isac"]["status"][:6].tolist() == [CAPPED, CAPPED, CAPPED, ARRAY_BUSY, CAPPED, CAPPED]
        assert log["isac"]["sat"][:4].tolist() == [sat, sat, sat, -1]
        assert sat not in log["isac"]["sat"][4:]
        assert events(log) == [(1.2, SATELLITE, BEGINS, sat, 0), (1.5, SATELLITE, DWELL_LOST, sat, 1)]


def test_a_solver_that_fails_leaves_the_precoder_before(tmp_path):
    with simulation.run(sensing({"kind": "solver", "at_s": 2, "duration_s": 2}), tmp_path / "run.h5") as log:
        assert log["isac"]["status"].tolist() == [CAPPED, CAPPED, HELD, HELD, CAPPED]
        rows = [log["isac"].row(k) for k in range(5)]
        for name in ("weight_re", "weight_im", "cosines", "power_w", "user"):
            np.testing.assert_array_equal(getattr(rows[3], name), getattr(rows[1], name))
        assert [action for _, _, action, _, _ in events(log)] == [BEGINS, PRECODER_HELD, PRECODER_HELD, ENDS]
        # its beams stay where they were: the satellite moves on, and the users' rates fall
        assert rows[3].min_ergodic < rows[2].min_ergodic < rows[1].min_ergodic
        assert np.isfinite(rows[3].cross_range_m)


def test_a_solver_that_fails_with_nothing_to_hold_loses_the_dwell(tmp_path):
    fault = {"kind": "solver", "at_s": 0.2, "duration_s": 1}
    with simulation.run(sensing(fault, duration_s=2, offset_s=0.5), tmp_path / "run.h5") as log:
        assert log["isac"]["status"].tolist() == [HELD, CAPPED]
        assert log["isac"]["sat"].tolist()[0] == -1
        assert log["isac"].size("stream").tolist() == [0, 6]
        assert [row[2] for row in events(log)] == [BEGINS, DWELL_LOST, ENDS]


def localising(*tables, **changes):
    """Three terminals that an anchor localises each second, four frames a fix."""
    scenario = load_scenario("ical_pass").with_(communication=None, users={"count": 3})
    return scenario.with_(
        time={"duration_s": 4}, localisation={"frames": 4, "target_m": 60} | changes, faults=list(tables)
    )


def test_fixes_of_an_anchor_that_fails_under_way_are_lost_until_the_next_csi_tick(tmp_path):
    with simulation.run(localising(period_s=0.5), tmp_path / "well.h5") as well:
        sat = int(well["ical"]["sat"][3])
    fault = {"kind": "satellite", "at_s": 1.52, "satellite": sat}  # its frames are on the air from 1.5 to 1.54 s
    with simulation.run(localising(fault, period_s=0.5), tmp_path / "run.h5") as log:
        assert log["ical"]["sat"][:4].tolist() == [sat, sat, sat, -1]
        assert sat not in log["ical"]["sat"][4:]
        assert log["ical"]["status"][3] == ARRAY_BUSY
        kept, before = log["fixes"].row(3), log["fixes"].row(2)
        assert (kept.status == NO_FIX).all()
        assert (kept.fix_ns == before.fix_ns).all()
        assert events(log) == [(1.5, SATELLITE, FIXES_LOST, sat, 1), (1.52, SATELLITE, BEGINS, sat, 0)]


def test_a_solver_that_fails_leaves_the_wideband_precoder_before(tmp_path):
    with simulation.run(localising({"kind": "solver", "at_s": 1, "duration_s": 2}), tmp_path / "run.h5") as log:
        rows = [log["ical"].row(k) for k in range(4)]
        assert [int(row.status) == KEPT for row in rows] == [False, True, True, False]
        for name in ("weight_re", "weight_im", "phase_rad"):
            np.testing.assert_array_equal(getattr(rows[2], name), getattr(rows[0], name))
        # its beams stay where they were: the satellite moves on, and the rate falls
        assert rows[2].true_rate.sum() < rows[1].true_rate.sum() < rows[3].true_rate.sum()
        assert [action for _, _, action, _, _ in events(log)] == [BEGINS, PRECODER_HELD, PRECODER_HELD, ENDS]


# ---------------------------------------------------------------------------------------------
# Old element sets


def late_walker(path: Path, late_s: float):
    """Elements of the shipped constellation as if its satellites were some seconds behind."""
    epoch = datetime.fromtimestamp(datetime(2026, 8, 22, tzinfo=UTC).timestamp() + late_s, UTC)
    path.write_text(tle.format_tle(walkers.walker("53:1584/72/39", 550.0, epoch).rows()))
    return str(path)


def test_old_elements_are_believed_and_cost_what_the_beams_miss(flown, healthy, tmp_path):
    file = late_walker(tmp_path / "late.tle", 1.0)
    ready, log = flown({"kind": "elements", "file": file, "at_s": 2, "duration_s": 3})
    radius_m = 6378.135e3 + 550e3
    off_km = np.sqrt(3.986008e14 / radius_m) / 1e3  # a second behind on a circle
    text = str(log["events"]["text"][0])
    assert events(log)[0][:3] == (2, ELEMENTS, BEGINS)
    assert text.startswith("median 7.5") or text.startswith("median 7.6")
    assert float(text.split()[1]) == pytest.approx(off_km, rel=3e-3)
    assert text.endswith("0 unknown")
    assert json.loads(log.attributes["old_elements_0"])[0]["file"] == "late.tle"
    _, old = ready.world.old[0]
    for k, orbits in ((1, ready.world.ephemeris), (3, old), (6, ready.world.ephemeris)):
        csi = log["csi"].row(k)
        seen = orbit.geometry(orbits.at(k * SECOND_NS), ready.users, 0.0)
        place = np.array(
            [np.flatnonzero((seen.sat == s) & (seen.user == u))[0] for s, u in zip(csi.sat, csi.user, strict=True)]
        )
        np.testing.assert_allclose(csi.range_m, seen.range_m[place], rtol=0, atol=0.5)
        np.testing.assert_allclose(csi.cosines, seen.cosines[place], rtol=0, atol=1e-6)
    _, well = healthy
    np.testing.assert_array_equal(log["geometry"]["range_m"], well["geometry"]["range_m"])
    loss = log["rates"]["hardening"].min(axis=1) / well["rates"]["hardening"].min(axis=1)
    assert loss[:2].tolist() == [1.0, 1.0]
    assert loss[4] < 0.97
    assert loss[6] < 1.0  # the decision made from the last believed CSI, until 6.17 s
    assert log["solver"]["min_rate"][4] > log["rates"]["hardening"][4].min()  # the node does not know


def test_elements_may_be_old_for_some_satellites_and_lack_others(short, tmp_path):
    file = late_walker(tmp_path / "late.tle", 1.0)
    lines = Path(file).read_text().splitlines(keepends=True)
    kept = [lines[k : k + 3] for k in range(0, len(lines), 3)][::2]  # every other satellite
    (tmp_path / "half.tle").write_text("".join(line for rows in kept for line in rows))
    table = {"kind": "elements", "file": str(tmp_path / "half.tle"), "satellite": "WALKER-4*"}
    world = simulation.prepare(short(2, 3, faults=[table])).world
    true, told = world.ephemeris.near(world.users, 0), world.believed(0)
    names = dict(zip(world.ephemeris.constellation.sat, world.ephemeris.constellation.name, strict=True))
    asked = np.array([names[sat].startswith("WALKER-4") for sat in true.sat])
    known = np.isin(true.sat, told.sat)
    assert known[~asked].all()
    assert 0.3 < known[asked].mean() < 0.7
    assert world.faults.faults[0].text.endswith(f", {10 * 22 // 2} unknown")
    _, at, put = np.intersect1d(true.sat, told.sat, return_indices=True)
    moved = np.linalg.norm(true.pos_ecef[at] - told.pos_ecef[put], axis=1) > 1e3
    np.testing.assert_array_equal(moved, asked[at])
    assert (np.diff(told.sat) > 0).all()
    more = tle.format_tle(walkers.walker("53:1600/80/0", 550.0, datetime(2026, 8, 22, tzinfo=UTC)).rows())
    (tmp_path / "none.tle").write_text("".join(more.splitlines(keepends=True)[-3:]))
    nobody = {"kind": "elements", "file": str(tmp_path / "none.tle")}
    with pytest.raises(ScenarioError, match=r"\[faults\] file, item 1: expected elements of the satellites that fly"):
        simulation.prepare(short(2, 3, faults=[nobody]))


@pytest.mark.catalogue
def test_elements_a_week_old_are_tens_of_kilometres_off(catalogue, tmp_path):
    now, before = (str(catalogue / f"starlink-202608{day}.tle") for day in (22, 15))
    base = load_scenario("starlink_pass").with_(time={"duration_s": 3}, users={"count": 5}, elements={"file": now})
    scenario = base.with_(faults=[{"kind": "elements", "file": before}])
    with simulation.run(base, tmp_path / "new.h5") as new, simulation.run(scenario, tmp_path / "old.h5") as old:
        text = str(old["events"]["text"][0]).split()
        assert 50 < float(text[1]) < 300  # km, median of all
        assert int(text[-2]) < 20  # launched in the week between
        assert old["rates"]["hardening"].mean() < 0.7 * new["rates"]["hardening"].mean()
        assert old["solver"]["min_rate"].mean() == pytest.approx(new["solver"]["min_rate"].mean(), rel=0.1)


# ---------------------------------------------------------------------------------------------
# Log, command, resume


ALL = (
    {"kind": "satellite", "at_s": 2.3, "duration_s": 3, "satellite": "WALKER-41-*"},
    {"kind": "feeder_link", "at_s": 1.5, "duration_s": 2, "satellite": "WALKER-4*"},
    {"kind": "central_node", "at_s": 3, "late_s": 0.8, "duration_s": 2},
    {"kind": "solver", "at_s": 4.5, "duration_s": 1},
)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("epochs", [2, 4])
def test_a_resumed_run_meets_the_same_faults(flown, tmp_path, epochs):
    ready, log = flown(*ALL)

    def stop(progress):
        if progress.epoch == epochs:
            raise Stopped

    with pytest.raises(Stopped):
        simulation.run(ready.scenario, tmp_path / "cut.h5", progress=stop, prepared=ready)
    with open_log(tmp_path / "cut.h5") as cut:
        assert 0 < len(cut["events"]) < len(log["events"])
    with simulation.run(ready.scenario, tmp_path / "cut.h5", resume=True, workers=2) as resumed:
        assert resumed.digest() == log.digest()


def test_events_are_in_the_order_of_time_and_shown(flown, monkeypatch, capsys):
    _, log = flown(*ALL)
    assert (np.diff(log["events"].t_ns) >= 0).all()
    table = event_table(log)
    assert set(table.fault) == {"satellite", "feeder_link", "central_node", "solver"}
    assert table.satellite.tolist()[0] == "-"  # several satellites
    assert table.text[table.fault == "satellite"].iloc[0] == "22 satellites"

    def said(*words):
        monkeypatch.setattr("sys.argv", ["leosim", "info", str(log.path), *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 0
        return capsys.readouterr().out

    printed = said()
    assert "22 satellites" in printed
    assert "faults" in printed
    assert "CSI not delivered" in printed
    found = json.loads(said("--json"))
    assert len(found["events_table"]) == len(table)
    assert found["events"]["satellite"] == {"begins": 1, "ends": 1}


def test_a_run_without_faults_has_no_events(healthy):
    _, log = healthy
    assert "events" not in log
    assert summary(log).events is None
    assert "events" not in summary(log).as_dict()
    with pytest.raises(ValueError, match=r"its scenario has no \[\[faults\]\]"):
        event_table(log)


def test_faults_that_do_nothing_change_nothing(flown, healthy):
    """A fault of a satellite on the other side of the Earth leaves every other group as it is."""
    ready, before = healthy
    seen = np.unique(before["geometry"]["sat"])
    far = int(np.setdiff1d(ready.constellation.sat, seen)[0])
    _, log = flown(
        {"kind": "satellite", "at_s": 1, "satellite": far}, {"kind": "feeder_link", "at_s": 1, "satellite": far}
    )
    for group in ("geometry", "csi", "clusters", "solver", "handovers", "rates"):
        for name in before[group].names:
            np.testing.assert_array_equal(log[group][name], before[group][name], err_msg=f"{group}.{name}")
    assert [row[:4] for row in events(log)] == [(1, SATELLITE, BEGINS, far), (1, FEEDER_LINK, BEGINS, far)]
    assert dataclasses.asdict(log["solver"].row(0)).keys() == dataclasses.asdict(before["solver"].row(0)).keys()
