"""Each service may be left out, has its own period and offset, and shares a satellite's array with the others."""

import json

import numpy as np
import pytest
import simpy

from leosim import cli, processes, simulation
from leosim.engine import NoPast, Stage, nominal, ticks, until
from leosim.log import open_log
from leosim.processes import Run
from leosim.records import ARRAY_BUSY, BELOW_THRESHOLD, CAPPED, COASTING, MET, NO_TRACK, Detection, IsacPrecoder, Track
from leosim.report import figures
from leosim.report.dwells import dwells
from leosim.report.summary import summary
from leosim.scenario import ScenarioError, load_scenario, set_key

STEP_NS = 10**9
OF_COMMUNICATION = {"csi", "clusters", "solver", "handovers", "rates"}


def alone(duration_s=4, **tables):
    """The shipped pass with sensing, without the communication service."""
    return load_scenario("isac_pass").with_(time={"duration_s": duration_s}, communication=None, **tables)


@pytest.fixture(scope="module")
def sensed(tmp_path_factory):
    with simulation.run(alone(), tmp_path_factory.mktemp("services") / "sensing.h5") as log:
        yield log


def test_a_scenario_without_any_service_communicates():
    written = load_scenario("demo").as_dict()
    for name in ("communication", "beamforming", "clustering", "handover"):
        written.pop(name)
    scenario = load_scenario(written)
    assert scenario.communication == type(scenario.communication)()
    assert scenario.folders == ("beamforming", "clustering")
    assert load_scenario({**written, "clustering": {"algorithm": "nearest"}}).communication is not None


def test_a_service_whose_table_is_absent_does_not_run():
    scenario = alone()
    assert scenario.communication is None
    assert scenario.folders == ("isac",)
    assert not {"communication", "beamforming", "clustering", "handover"} & scenario.as_dict().keys()
    assert load_scenario(scenario.as_dict()).as_dict() == scenario.as_dict()
    again = scenario.with_(communication={"period_s": 2})
    assert again.folders == ("beamforming", "clustering", "isac")
    quiet = load_scenario("isac_pass").with_(sensing=None)
    assert quiet.sensing is None
    assert quiet.folders == ("beamforming", "clustering")


def test_tables_of_a_service_that_does_not_run_are_refused():
    written = alone().as_dict()
    with pytest.raises(ScenarioError, match=r"\[communication\] beside \[clustering\], which is part of that service"):
        load_scenario({**written, "clustering": {"algorithm": "nearest"}})
    with pytest.raises(ScenarioError, match=r"a service: one of \[communication\], \[sensing\]"):
        load_scenario("demo").with_(communication=None)


@pytest.mark.parametrize("service", ["communication", "sensing"])
def test_an_offset_is_less_than_its_period(service):
    with pytest.raises(ScenarioError, match=r"expected offset_s below period_s, 1 s, got 1"):
        load_scenario("isac_pass").with_(**{service: {"offset_s": 1}})
    written = load_scenario("isac_pass").as_dict()
    set_key(written, f"{service}.offset_s=0.25")
    assert getattr(load_scenario(written), service).offset_s == 0.25


def test_ticks_with_an_offset_are_absolute_and_left_out_when_busy():
    env, seen = simpy.Environment(0), []

    def process():
        for k, tick in ticks(env, 100, Stage.SENSE, 600, 30):
            yield tick
            seen.append((k, nominal(env, Stage.SENSE)))
            yield env.timeout(130 if k == 1 else 100)

    env.process(process())
    env.run()
    assert seen == [(0, 30), (1, 130), (3, 330), (4, 430), (5, 530)]


def test_sensing_alone_logs_nothing_of_communication(sensed):
    assert not OF_COMMUNICATION & set(sensed.groups)
    assert sensed.committed_rows == {"geometry": 4, "isac": 4, "targets": 4, "timing": 4}
    assert "coherence" not in sensed.attributes
    assert sensed["isac"]["status"].tolist() == [CAPPED] * 4


def test_sensing_alone_gives_the_dwells_it_gives_beside_communication(sensed, tmp_path):
    both = load_scenario("isac_pass").with_(time={"duration_s": 4})
    with simulation.run(both, tmp_path / "both.h5") as log:
        for group in ("isac", "targets", "geometry"):
            for name in log[group].names:
                np.testing.assert_array_equal(sensed[group][name], log[group][name], err_msg=f"{group}.{name}")


def test_reports_say_what_there_is(sensed, tmp_path):
    found = summary(sensed)
    assert found.communication is None
    assert (found.epochs, found.duration_s, found.sensing.dwells) == (4, 4.0, 4)
    assert [name for name, _ in found.rows()][5] == "sensing"
    assert "hardening" not in json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert figures.kinds(sensed) == ("sensing", "beams")
    assert figures.plot(sensed, "sensing", tmp_path / "sensing.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match=r"its scenario has no \[communication\]"):
        figures.figure(sensed, "rates")
    assert np.isfinite(dwells(sensed).elevation_rad).all()


def test_the_command_says_what_there_is(sensed, tmp_path, monkeypatch, capsys):
    def said(*words):
        monkeypatch.setattr("sys.argv", ["leosim", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, capsys.readouterr()

    code, printed = said("info", sensed.path, "--timing")
    assert code == 0
    assert "geometry and CSI" in printed.out
    assert "couplings and clustering" not in printed.out
    code, printed = said("info", sensed.path, "--users")
    assert code == 2
    assert "only a scenario with [communication] makes them" in printed.err.replace("\n", " ")
    assert (
        cli._state(simulation.Progress(3, 4, 3.0, 9.0, None, 0, 3, None, False), True)
        == "3/4 3 s 9.0x real time 3 dwells"
    )
    both = simulation.Progress(3, 4, 3.0, 9.0, 0.5, 2, 3, None, False)
    assert cli._state(both, False) == "3/4 3 s 9.0x min 0.50 b/s/Hz 2 HO"


def test_validate_knows_which_services_run(tmp_path, monkeypatch, capsys):
    source = load_scenario("isac_pass").path("../tle/walker-53-1584-72-39-550km-20260822.tle")
    (tmp_path / "alone.toml").write_text(
        f'[time]\nduration_s = 2\n[elements]\nfile = "{source}"\n'
        '[users]\nkind = "circle"\ncentre_deg = [48.1, 11.6]\nradius_km = 30\ncount = 2\n'
        "[sensing]\noffset_s = 0.5\n[sensing.receiver]\nsite_deg = [48.1, 11.6]\n"
        "[[sensing.targets]]\nposition_km = [-6, 3, 5]\n"
    )
    monkeypatch.setattr("sys.argv", ["leosim", "validate", str(tmp_path / "alone.toml"), "--json"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"scenario", "forecast", "sensing_budget"}
    assert found["scenario"]["isac"]["algorithm"] == "rsma"
    assert found["scenario"].keys() & OF_COMMUNICATION | found["scenario"].keys() & {"communication"} == set()


def test_one_instant_of_sensing_alone():
    instant = simulation.epoch(alone(), t_s=1.0)
    assert (instant.csi, instant.clusters, instant.rates) == (None, None, None)
    assert int(instant.isac.status) == CAPPED


class Stopped(Exception):
    pass


def test_sensing_alone_resumes_to_the_same_digest(sensed, tmp_path):
    seen = []

    def stop(progress):
        seen.append((progress.min_rate, progress.dwells))
        if progress.epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        simulation.run(alone(), tmp_path / "cut.h5", progress=stop)
    assert seen == [(None, 1), (None, 2)]
    with open_log(tmp_path / "cut.h5") as cut:
        assert len(cut["isac"]) == summary(cut).epochs == 2
    taken = {}

    def note(progress):
        if progress.doing in ("take", "run"):
            taken[progress.epoch] = progress.taken

    with simulation.run(alone(), tmp_path / "cut.h5", resume=True, workers=2, progress=note) as log:
        assert log.digest() == sensed.digest()
    assert taken == {1: True, 2: True, 3: False, 4: False}


def test_decisions_and_dwells_keep_their_offsets(tmp_path):
    scenario = load_scenario("isac_pass").with_(
        time={"duration_s": 4},
        communication={"period_s": 2, "offset_s": 0.5},
        sensing={"period_s": 1.5, "offset_s": 0.25},
    )
    with simulation.run(scenario, tmp_path / "run.h5") as log:
        np.testing.assert_array_equal(log["clusters"].t_ns / 1e9, [0, 0.5, 2.5])  # the first is in force at once
        np.testing.assert_allclose(log["clusters"]["effective_t_ns"] / 1e9, [0, 0.67, 2.67], rtol=0, atol=1e-9)
        np.testing.assert_array_equal(log["csi"].t_ns / 1e9, [0, 1, 2, 3])
        assert log["clusters"]["csi_t_ns"].tolist() == [0, 0, 2 * STEP_NS]
        np.testing.assert_array_equal(log["isac"].t_ns / 1e9, [0.25, 1.75, 3.25])
        assert log["rates"]["outage_s"][0].max() == 0.0


def watched(**changes):
    """A scene whose aircraft is tracked from its first dwell on."""
    target = {"name": "aircraft", "position_km": [-6, 3, 5], "velocity_m_s": [80, -10, 0], "rcs_m2": 20}
    tables = {"detection": {"algorithm": "mf_first"}, "tracking": {"algorithm": "imm", "confirm_hits": 1}}
    return alone(sensing={"dwell_s": 4.096e-4, "targets": [target], "cross_range_m": 100, **changes}, **tables)


def flown(scenario, *others):
    """The rows of a run beside other processes that use its satellites' arrays."""
    ready, rows = simulation.prepare(scenario), []
    run = Run(
        simpy.Environment(0),
        ready.world,
        ready.settings,
        NoPast(),
        lambda k, records: rows.extend(records),
        lambda t_ns: simulation.observe(ready.world, ready.settings, t_ns),
        ready.sensing,
    )
    for process in [*processes.processes(run), *(other(run) for other in others)]:
        run.env.process(process)
    run.env.run(until=ready.settings.end_ns + len(Stage) + 1)
    return ready, {kind: [row for row in rows if isinstance(row, kind)] for kind in (IsacPrecoder, Detection, Track)}


def test_a_dwell_whose_array_is_busy_is_lost_and_its_track_coasts():
    _, before = flown(watched())
    sat = int(before[IsacPrecoder][2].sat)

    def frame(run):
        """Another service: from half a second before the third dwell to a millisecond after its beginning."""
        yield until(run.env, 3 * STEP_NS // 2, Stage.LOCALISE)
        with run.array(sat).request(priority=1) as slot:
            yield slot
            yield until(run.env, 2 * STEP_NS + 10**6, Stage.CSI)

    _, rows = flown(watched(), frame)
    assert [int(row.status) for row in rows[IsacPrecoder]] == [MET, MET, ARRAY_BUSY, MET]
    lost, found, track = rows[IsacPrecoder][2], rows[Detection][2], rows[Track][2]
    assert int(lost.sat) == -1
    assert lost.power_w.size == 0
    assert (int(found.status), int(track.status), int(track.misses)) == (BELOW_THRESHOLD, COASTING, 1)
    earlier = rows[Track][1]
    np.testing.assert_allclose(track.pos_enu, earlier.pos_enu + earlier.vel_enu, rtol=0, atol=30.0)
    np.testing.assert_array_equal(rows[Track][1].mean, before[Track][1].mean)
    assert int(rows[Track][3].status) != NO_TRACK


def test_an_array_is_free_at_the_very_end_of_a_frame_and_of_a_dwell():
    """No nanosecond is lost between one use of an array and the next, in whatever order processes tick."""
    ready, before = flown(watched())
    sats, got = [int(row.sat) for row in before[IsacPrecoder]], []

    def frame(run):
        """Frames that end when a dwell begins, and begin when it ends."""
        yield until(run.env, STEP_NS // 2, Stage.LOCALISE)
        with run.array(sats[1]).request(priority=1) as slot:
            yield slot
            yield until(run.env, STEP_NS, Stage.CSI)
        yield until(run.env, STEP_NS + ready.sensing.dwell_ns, Stage.LOCALISE)
        with run.array(sats[1]).request(priority=1) as slot:
            got.append(slot.triggered)
            yield until(run.env, STEP_NS + ready.sensing.dwell_ns + 1000, Stage.CSI)

    _, rows = flown(watched(), frame)
    assert [int(row.status) for row in rows[IsacPrecoder]] == [MET] * 4
    assert got == [True]
