"""A log played again: it verifies, a flipped bit is found and named, other settings give what a run gives."""

import json
import shutil
import sys

import h5py
import numpy as np
import pytest

from leosim import cli, past, processes, replays, simulation, verification
from leosim.elements import ElementsError
from leosim.engine import NoPast, clock
from leosim.log import LogError, open_log
from leosim.log_layout import logged_fields
from leosim.records import Clusters, Rates, Timing
from leosim.scenario import ScenarioError, load_scenario, shipped

EPOCHS = 5
WALKER = "walker-53-1584-72-39-550km-20260822.tle"


@pytest.fixture(scope="module")
def scenario():
    """Three users, two of them served by the satellite that tracks a target, all of it small."""
    small = {"array": [12, 12], "dwell_s": 1e-3, "max_users": 2, "ergodic_draws": 16, "cross_range_m": 60.0}
    return load_scenario("tracking_pass").with_(time={"duration_s": EPOCHS}, users={"count": 3}, sensing=small)


@pytest.fixture(scope="module")
def finished(scenario, tmp_path_factory):
    """The log of that run."""
    path = tmp_path_factory.mktemp("replay") / "run.h5"
    simulation.run(scenario, path).close()
    return path


@pytest.fixture(scope="module")
def homeless(tmp_path_factory):
    """A log whose element file is gone, and a copy of that file under another name."""
    folder = tmp_path_factory.mktemp("homeless")
    file = folder / "mine.tle"
    lines = (shipped("tle") / WALKER).read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: 3 * 1500]))
    data = load_scenario("demo").with_(time={"duration_s": 8}, users={"count": 3}).as_dict()
    data["elements"]["file"] = "mine.tle"
    simulation.run(load_scenario(data, folder), folder / "run.h5").close()
    file.rename(folder / "renamed.txt")
    return folder / "run.h5", folder / "renamed.txt"


@pytest.fixture
def spoiled(finished, tmp_path):
    """A copy of the log with a bit of a value flipped: `spoiled("csi/beta", 40)`."""

    def make(dataset, index, bit=45, source=finished):
        path = tmp_path / "spoiled.h5"
        shutil.copy(source, path)
        with h5py.File(path, "r+") as file:
            value = np.array(file[dataset][index])
            flat = value.reshape(-1)[:1].copy()
            flat.view("u1")[bit // 8] ^= 1 << (bit % 8)
            value.reshape(-1)[:1] = flat
            file[dataset][index] = value
        return path

    return make


# ---------------------------------------------------------------------------------------------
# Verify


def test_a_full_log_verifies_bit_for_bit(finished):
    found = verification.verify(finished)
    assert found.passed
    assert found.not_verified == {}
    assert found.notes == ()
    with open_log(finished) as log:
        rows = {name: 1 if log[name].static else len(log[name]) for name in log.groups if name != "timing"}
    assert found.compared == rows
    assert "verified" in found.lines()[-1]


def test_verifying_does_not_depend_on_the_workers(finished):
    assert verification.verify(finished, workers=2) == verification.verify(finished)


@pytest.mark.parametrize(
    ("dataset", "index"),
    [("csi/beta", 40), ("clusters/amplitude", 7), ("isac/weight_re", 25), ("tracks/mean", 3), ("rates/ergodic", 2)],
)
def test_a_flipped_bit_is_found_and_named_and_nothing_else(finished, spoiled, dataset, index):
    path = spoiled(dataset, index)
    with h5py.File(finished) as good, h5py.File(path) as bad:
        true, false = (np.ravel(file[dataset][index])[0] for file in (good, bad))
    found = verification.verify(path)
    group, field = dataset.split("/")
    assert not found.passed
    assert found.different == {group: 1}
    assert found.beyond == {group: 1}
    assert (found.first.group, found.first.field) == (group, field)
    assert (found.first.logged, found.first.computed) == (false, true)
    with open_log(finished) as log:
        row = log[group].row(found.first.row)
        assert getattr(row, field)[found.first.index] == true
        assert found.first.t_ns == row.t_ns
    assert f"{dataset}[" in found.lines()[-1]


def test_the_first_difference_is_the_earliest_in_the_time_of_the_run(spoiled):
    path = spoiled("rates/hardening", 4)
    path = spoiled("tracks/covariance", 2, source=shutil.copy(path, path.with_name("other.h5")))
    found = verification.verify(path)
    assert found.different == {"rates": 1, "tracks": 1}
    assert (found.first.group, found.first.row) == ("tracks", 2)


def test_the_last_bit_of_a_value_is_a_difference_within_rounding(spoiled):
    found = verification.verify(spoiled("csi/range_m", 11, bit=0))
    assert not found.passed
    assert found.different == {"csi": 1}
    assert found.beyond == {"csi": 0}
    assert found.first.logged == np.nextafter(found.first.computed, found.first.logged)


def test_every_field_of_every_record_is_compared(finished):
    """A bit of each logged field flipped, one after the other; a -0.0 is not 0.0, every NaN is a NaN."""
    fields = 0
    with open_log(finished) as log:
        for name in log.groups:
            record = log[name].record() if log[name].static else log[name].row(EPOCHS - 1)
            assert past.compare(record, record, 0) == (None, False)
            for field in logged_fields(type(record)):
                values = np.array(getattr(record, field))
                if not values.size or values.dtype.kind == "U" or not values.reshape(-1)[-1] < np.inf:
                    continue
                last = values.reshape(-1)[-1:]
                last[:] = (last.view(f"u{values.itemsize}") ^ 1).view(values.dtype)
                plain = not isinstance(getattr(record, field), np.ndarray)
                first, beyond = past.compare(record, record.replace(**{field: int(values) if plain else values}), 0)
                assert first.field == field
                assert not (beyond and values.dtype.kind == "f" and abs(last[0]) > 1e-300)
                fields += 1
    assert fields > 60
    assert past.differing(np.array([0.0, np.nan]), np.array([-0.0, -np.nan])).tolist() == [True, False]


def test_what_is_known_before_the_start_is_compared(spoiled):
    found = verification.verify(spoiled("satellites/perigee_m", 100))
    assert found.different == {"satellites": 1}
    assert found.first.index == (100,)
    assert found.first.row == -1


def test_other_inputs_than_the_log_says_are_found(finished, tmp_path):
    path = tmp_path / "other.h5"
    shutil.copy(finished, path)
    with h5py.File(path, "r+") as file:
        data = json.loads(file.attrs["scenario"])
        data["clustering"]["k_max"] = 1
        file.attrs["scenario"] = json.dumps(data)
    found = verification.verify(path)
    assert found.first.field == "inputs_sha256"
    assert found.different["clusters"] == EPOCHS
    assert "csi" not in found.different


def test_other_versions_are_told_of(finished, tmp_path):
    path = tmp_path / "old.h5"
    shutil.copy(finished, path)
    with h5py.File(path, "r+") as file:
        file.attrs["leosim_version"] = "0.0.1"
        file.attrs["libraries"] = json.dumps({**json.loads(file.attrs["libraries"]), "numpy": "1.0"})
    found = verification.verify(path)
    assert found.passed
    assert "leosim version 0.0.1" in found.notes[0]
    assert "numpy 1.0, verified with numpy 2" in found.notes[1]
    with pytest.raises(LogError, match=r"of leosim 0\.0\.1"):
        replays.replay(path, ["clustering.k_max=4"], tmp_path / "new.h5")


def test_an_unfinished_log_verifies_as_far_as_it_goes(short, tmp_path):
    def stop(progress):
        if progress.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulation.run(short(8), tmp_path / "cut.h5", progress=stop)
    found = verification.verify(tmp_path / "cut.h5")
    assert found.passed
    assert found.epochs == found.compared["clusters"] == found.compared["rates"] == 4
    with pytest.raises(LogError, match="not complete"):
        replays.replay(tmp_path / "cut.h5", ["clustering.k_max=4"], tmp_path / "new.h5")


# ---------------------------------------------------------------------------------------------
# Without the elements


def test_without_elements_decisions_are_verified_from_the_logged_csi(homeless):
    path, elements = homeless
    found = verification.verify(path)
    assert found.passed
    assert found.compared["clusters"] == found.compared["handovers"] == 8
    assert found.compared["rates"] > 0
    assert "csi" not in found.compared
    assert "mine.tle (SHA-256" in found.not_verified["csi"]
    whole = verification.verify(path, elements=[elements])
    assert whole.passed
    assert whole.not_verified == {}
    assert whole.compared["rates"] == whole.compared["csi"] == 8
    with pytest.raises(ElementsError, match=r"expected mine\.tle"):
        verification.verify(path, elements=[shipped("tle") / WALKER])


def test_without_elements_a_flipped_bit_of_the_csi_shows_in_the_decision_made_of_it(homeless, spoiled):
    path = homeless[0]
    with open_log(path) as log:
        third = log.csi.pointer("pair")[3]
        served = log.clusters.row(4)
        csi = log.csi.row(3)
        assert served.csi_t_ns == csi.t_ns
        used = np.flatnonzero((csi.sat == served.sat[0]) & (csi.user == served.user[0]))[0]
    found = verification.verify(spoiled("csi/beta", int(third + used), bit=51, source=path))
    assert not found.passed
    assert found.different["clusters"] >= 1
    assert (found.first.group, found.first.t_ns) == ("rates", csi.t_ns)  # the CSI stands in for the truth, too
    assert "geometry" not in found.different


def test_without_elements_a_csi_that_cannot_be_is_named(homeless, spoiled):
    path = homeless[0]
    with open_log(path) as log:
        third = int(log.csi.pointer("pair")[2])
    found = verification.verify(spoiled("csi/user", third + 5, bit=20, source=path))
    assert (found.first.group, found.first.field, found.first.row, found.first.index) == ("csi", "user", 2, (5,))
    assert found.first.computed == "a row from 0 to 2"
    assert "beyond the row" in found.notes[-1]


# ---------------------------------------------------------------------------------------------
# Decide anew


@pytest.mark.parametrize(
    ("changes", "copied"),
    [
        (["clustering.algorithm=nearest", "clustering.count=3"], "geometry csi isac targets detections tracks"),
        (["sensing.cross_range_m=90"], "geometry csi clusters solver handovers rates"),
        (["communication.csi_delay_s=0.4"], "geometry isac targets detections tracks"),
    ],
)
def test_other_settings_give_the_data_of_a_run(finished, scenario, tmp_path, changes, copied):
    other = replays._with(scenario, changes)
    with simulation.run(other, tmp_path / "run.h5") as ran, replays.replay(finished, changes, tmp_path / "b.h5") as new:
        assert new.digest() == ran.digest()
        assert new.attributes["replay_copied"] == copied
        same = ("scenario", "inputs_sha256", "elements", "clustering_sha256", "coherence")
        assert {name: new.attributes[name] for name in same} == {name: ran.attributes[name] for name in same}
        assert new.complete
    with open_log(finished) as log:
        assert new.attributes["replay_of_inputs_sha256"] == log.attributes["inputs_sha256"]
    assert simulation.run(other, tmp_path / "b.h5").digest() == ran_digest(tmp_path / "run.h5")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def ran_digest(path):
    with open_log(path) as log:
        return log.digest()


def test_a_log_that_was_decided_anew_verifies(finished, tmp_path):
    replays.replay(finished, {"beamforming": {"algorithm": "rzf"}}, tmp_path / "new.h5", workers=2).close()
    assert verification.verify(tmp_path / "new.h5").passed


@pytest.mark.parametrize(
    ("key", "again"),
    [
        ("clustering.algorithm", {"decisions", "handovers", "rates"}),
        ("clustering.source", {"decisions", "handovers", "rates"}),
        ("clustering.candidates", {"CSI", "decisions", "handovers", "rates"}),
        ("communication.ergodic_draws", {"rates"}),
        ("communication.coherence.slow_deg", {"decisions", "handovers", "rates"}),
        ("communication.carrier_hz", {"CSI", "decisions", "handovers", "rates"}),
        ("handover.interruption_s", {"rates"}),
        ("handover.ping_pong_window_s", set()),
        ("tracking.algorithm", {"sensing"}),
        ("isac.access", {"sensing"}),
        ("seed", {service.name for service in replays.SERVICES}),
        ("weather.rain", {service.name for service in replays.SERVICES}),
    ],
)
def test_a_key_makes_anew_what_depends_on_it_and_no_more(key, again):
    groups = {kind.GROUP for service in replays.SERVICES if service.name != "localisation" for kind in service.records}
    assert replays.affected({key}, groups) - {"localisation"} == again - {"localisation"}


def test_every_row_of_a_log_belongs_to_one_service(scenario):
    logged = [kind for kind in simulation.prepare(scenario).logged if kind is not Timing]
    localised = [kind.GROUP for kind in simulation.prepare(load_scenario("ical_pass")).logged if kind is not Timing]
    known = [kind.GROUP for service in replays.SERVICES for kind in service.records]
    assert set(known) == {kind.GROUP for kind in logged} | set(localised)
    assert len(set(known)) == len(known)


def test_changes_after_which_nothing_stays_are_refused(finished, tmp_path):
    with pytest.raises(ScenarioError, match=r"nothing of it stays with another time\.step_s"):
        replays.replay(finished, ["time.step_s=0.5"], tmp_path / "new.h5")
    with pytest.raises(ScenarioError, match="has these settings already"):
        replays.replay(finished, ["clustering.algorithm=cell_free"], tmp_path / "new.h5")
    with pytest.raises(LogError, match="other inputs"):
        replays.replay(finished, ["clustering.k_max=4"], finished)
    assert list(tmp_path.iterdir()) == []


def test_the_truth_of_an_epoch_is_the_same_from_its_csi_and_from_the_orbits(short):
    ready = simulation.prepare(short())
    run = processes.Run(clock(), ready.world, ready.settings, NoPast(), lambda k, rows: None, lambda t: None)
    _, csi = simulation.observe(ready.world, ready.settings, 3_000_000_000)
    sats = np.unique(csi.sat)[::3]
    computed = run.truth(csi.t_ns, sats)
    run.rows.append(csi)
    taken = run.truth(csi.t_ns, sats)
    assert past.compare(taken, computed, 0) == (None, False)
    assert taken.user.size > 20
    lacking = np.append(sats, 999_999)  # a satellite the CSI does not hold
    assert past.compare(run.truth(csi.t_ns, lacking), computed, 0) == (None, False)


def test_rows_are_read_alike_one_by_one_and_in_blocks(finished):
    with open_log(finished) as log:
        for kind in (Clusters, Rates):
            rows = log[kind.GROUP].read_rows(1, EPOCHS)
            for k, row in enumerate(rows, start=1):
                assert past.compare(row, log[kind.GROUP].row(k), k) == (None, False)
            reader = past.Reader(log)
            assert past.compare(reader.row(kind, 3), rows[2], 3) == (None, False)
            assert past.compare(reader.row(kind, 1), rows[0], 1) == (None, False)  # and back again


# ---------------------------------------------------------------------------------------------
# The command


@pytest.fixture
def leosim(monkeypatch, capsys, tmp_path):
    """Call the command in a folder of its own: `code, stdout, stderr = leosim("replay", ...)`."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["leosim", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code or 0, captured.out, captured.err

    return call


def test_the_command_verifies_and_says_what_differs(leosim, finished, spoiled):
    code, out, _ = leosim("replay", finished, "--verify")
    assert code == 0
    assert "verified: 5 epochs" in out
    bad = spoiled("csi/kappa", 9)
    code, out, _ = leosim("replay", bad, "--verify")
    assert code == 6
    assert "csi/kappa[9]: logged" in out
    code, out, _ = leosim("replay", bad, "--verify", "--json")
    assert code == 6
    assert json.loads(out)["first"]["index"] == [9]


def test_the_command_decides_anew(leosim, finished, tmp_path):
    code, out, err = leosim("replay", finished, "--set", "clustering.algorithm=nearest", "-o", "new.h5")
    assert code == 0
    assert "nearest clustering" in out
    assert "copied: geometry csi isac" in err
    with open_log(tmp_path / "new.h5") as log:
        assert len(log.rates) == EPOCHS


def test_the_exit_code_says_what_is_wrong(leosim, finished, homeless, tmp_path):
    (tmp_path / "no.h5").write_text("nothing")
    for code, *arguments in (
        (2, finished),
        (2, finished, "--verify", "--set", "clustering.k_max=4"),
        (2, finished, "--set", "clustering.kmax=4"),
        (2, finished, "--set", "seed=2"),
        (3, finished, "--verify", "--elements", "none.tle"),
        (3, homeless[0], "--set", "clustering.k_max=4"),
        (4, "none.h5", "--verify"),
        (4, "no.h5", "--verify"),
    ):
        got, out, err = leosim("replay", *arguments)
        assert (got, out) == (code, ""), (arguments, err)
        assert err.startswith("leosim: "), err
        assert len(err.strip().splitlines()) == 1


def test_a_log_of_sensing_alone_verifies_and_is_decided_anew(scenario, tmp_path):
    alone = scenario.with_(communication=None, time={"duration_s": 2})
    simulation.run(alone, tmp_path / "alone.h5").close()
    assert verification.verify(tmp_path / "alone.h5").passed
    changes = {"tracking": {"algorithm": "ekf"}}
    with replays.replay(tmp_path / "alone.h5", changes, tmp_path / "ekf.h5") as new:
        assert new.attributes["replay_copied"] == "geometry"
        assert new.digest() == simulation.run(alone.with_(**changes), tmp_path / "run.h5").digest()
