"""The event loop against a plain loop, delays that matter, digests that do not change."""

import os
import signal
import time
import traceback
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from plain_loop import plain_loop

from leosim import log_writer, simulation
from leosim.log import LogError, open_log
from leosim.records import BEAM, HARD
from leosim.scenario import load_scenario

NO_DELAY = {"csi_delay_s": 0.0, "decision_delay_s": 0.0, "compute_s": 0.0}
PLENTY = 1000


@pytest.mark.parametrize("clustering", ["cell_free", "best_satellite"])
@pytest.mark.parametrize("cross_terms", ["averaged", "ideal"])
@pytest.mark.parametrize("costs", [(0.0, 0.0), (0.02, 0.05)])
def test_zero_delays_and_equal_periods_equal_the_plain_loop_bit_for_bit(
    short, tmp_path, clustering, cross_terms, costs
):
    check_against_the_plain_loop(short, tmp_path, clustering, cross_terms, costs, "smrt")


@pytest.mark.parametrize("clustering", ["cell_free", "best_satellite"])
def test_regional_beams_equal_the_plain_loop_bit_for_bit(short, tmp_path, clustering):
    """Changes of beams, within a satellite that alone serves or beside others that go on."""
    kinds = check_against_the_plain_loop(short, tmp_path, clustering, "averaged", (0.02, 0.05), "spot_beam")
    assert (kinds == BEAM).sum() > 3


def check_against_the_plain_loop(short, tmp_path, clustering, cross_terms, costs, beamforming):
    scenario = short(
        12,
        5,
        communication={**NO_DELAY, "coherence": {"cross_terms": cross_terms}},
        clustering={"algorithm": clustering},
        beamforming={"algorithm": beamforming},
        handover={"acquisition_s": costs[0], "interruption_s": costs[1], "access_slots": PLENTY},
    )
    expected = plain_loop(simulation.prepare(scenario))
    with simulation.run(scenario, tmp_path / "run.h5") as log:
        for name in ("hardening", "ergodic", "outage_s", "interruption_s"):
            np.testing.assert_array_equal(log.rates[name], expected[name], err_msg=name)
        for k, clusters in enumerate(expected["clusters"]):
            row = log.clusters.row(k)
            np.testing.assert_array_equal(row.user, clusters.user)
            np.testing.assert_array_equal(row.sat, clusters.sat)
            np.testing.assert_array_equal(row.amplitude, clusters.amplitude)
        h = log.handovers
        columns = (h[name] for name in ("event_t_ns", "user", "joins", "leaves"))
        assert list(zip(*columns, h["kind"] == HARD, h["beams"], strict=True)) == expected["events"]
        kinds = h["kind"]
    assert expected["hardening"].min() > 0.0
    return kinds


def test_doubling_the_decision_delay_changes_the_time_weighted_rates(short, tmp_path):
    slow = short(15, 4, communication={"decision_delay_s": 0.4})
    slower = short(15, 4, communication={"decision_delay_s": 0.8})
    with simulation.run(slow, tmp_path / "a.h5") as a, simulation.run(slower, tmp_path / "b.h5") as b:
        difference = np.abs(a.rates["hardening"] - b.rates["hardening"])
    assert difference[0].max() == 0.0  # the first decision is in force from t = 0 in both
    assert (difference[2:].max(axis=1) > 1e-6).all()


def test_one_seed_one_digest_with_any_number_of_workers(short, tmp_path):
    digests = {}
    for workers in (1, 2, 4):
        with simulation.run(short(), tmp_path / f"{workers}.h5", workers=workers) as log:
            digests[workers] = log.digest()
    assert digests[1] == digests[2] == digests[4]
    with simulation.run(short(), tmp_path / "seed.h5", seed=2) as log:
        assert log.digest() != digests[1]


def test_the_same_inputs_again_are_already_there(short, tmp_path):
    path = tmp_path / "run.h5"
    simulation.run(short(3, 2), path).close()
    before = path.stat().st_mtime_ns
    simulation.run(short(3, 2), path).close()
    assert path.stat().st_mtime_ns == before
    with pytest.raises(LogError, match="other inputs"):
        simulation.run(short(3, 3), path)
    with simulation.run(short(3, 3), path, force=True) as log:
        assert log.users["name"].size == 3


def test_killed_at_ten_random_moments_and_resumed_gives_the_same_digest(short, tmp_path):
    """Struck anywhere in the first epochs that a run adds to those it takes from the log; it waits after four more."""
    kills, most_added = 10, 5
    scenario = short(kills * most_added + 10, 2)

    def resume():
        added = 0

        def wait(progress):
            nonlocal added
            added += not progress.taken
            time.sleep(600.0 if added == most_added else 0.02 if added else 0.0)

        simulation.run(scenario, path, resume=path.exists(), progress=wait)

    with simulation.run(scenario, tmp_path / "whole.h5") as whole:
        expected = whole.digest()
    path, rng = tmp_path / "killed.h5", np.random.default_rng(7)
    for _ in range(kills):
        before = _rows(path)
        child = _fork(resume)
        deadline = time.monotonic() + 60
        while _rows(path) <= before and time.monotonic() < deadline:
            time.sleep(0.002)  # let it get one epoch further, then strike anywhere
        time.sleep(rng.uniform(0.0, 0.04))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "the run ended before the kill"
    assert kills <= _rows(path) <= kills * most_added
    with simulation.run(scenario, path, resume=True) as log:
        assert log.complete
        assert log.digest() == expected


def _fork(work):
    """A child process that does the work in what this process has loaded and compiled."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _rows(path: Path) -> int:
    try:
        with open_log(path) as log:
            return len(log.rates)
    except LogError:
        return 0


class RecordedFile(log_writer.RawFile):
    """A raw file that remembers what is written where."""

    operations: ClassVar[list[tuple[int, bytes | None]]] = []

    def write(self, data):
        RecordedFile.operations.append((self.tell(), bytes(data)))
        return super().write(data)

    def truncate(self, size=None):
        RecordedFile.operations.append((self.tell() if size is None else size, None))
        return super().truncate(size)


@pytest.mark.parametrize("epochs", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_every_prefix_of_the_writes_of_a_run_is_a_log_of_whole_epochs(short, tmp_path, monkeypatch, epochs):
    monkeypatch.setattr(log_writer, "RawFile", RecordedFile)
    monkeypatch.setattr(log_writer.LogWriter, "finish", lambda writer, each: None)
    RecordedFile.operations.clear()
    simulation.run(short(epochs, 2), tmp_path / "run.h5").close()
    with open_log(tmp_path / "run.h5") as log:
        rates = log.rates["hardening"]
    copy, seen = tmp_path / "prefix.h5", []
    with copy.open("wb", buffering=0) as stream:
        for offset, data in RecordedFile.operations:
            if data is None:
                stream.truncate(offset)
            else:
                os.pwrite(stream.fileno(), data, offset)
            try:
                with open_log(copy) as log:
                    rows = len(log.rates)
                    assert set(log.committed_rows.values()) == {rows}
                    np.testing.assert_array_equal(log.rates["hardening"], rates[:rows])
            except LogError:
                assert not seen, "a log that was readable no longer is"
                continue
            seen.append(rows)
    assert seen == sorted(seen)
    assert set(seen) == set(range(1, epochs + 1))


def test_a_central_node_slower_than_its_period_leaves_ticks_out(short, tmp_path):
    scenario = short(10, 3, communication={"compute_s": 1.5})
    with simulation.run(scenario, tmp_path / "run.h5") as log:
        decided = log.clusters.t_ns / 1e9
        np.testing.assert_array_equal(decided, [0, 1, 3, 5, 7, 9])  # the first is in force without delay
        np.testing.assert_allclose(log.clusters["effective_t_ns"] / 1e9, [0, *(decided[1:] + 1.62)])


def test_several_decisions_an_epoch_and_several_epochs_a_decision(short, tmp_path):
    with simulation.run(short(6, 3, communication={"period_s": 0.5}), tmp_path / "often.h5") as log:
        assert len(log.clusters) == 12
        assert len(log.rates) == 6
    with simulation.run(short(6, 3, communication={"period_s": 3.0}), tmp_path / "seldom.h5") as log:
        np.testing.assert_array_equal(log.clusters.t_ns / 1e9, [0, 3])
        assert (log.rates["hardening"] > 0).all()


def test_a_join_that_takes_longer_than_its_decision_lasts_never_serves(short, tmp_path):
    """With an acquisition longer than a period, a member that comes and goes is superseded, and stays mute."""
    quick = short(30, 4, handover={"acquisition_s": 0.0})
    slow = short(30, 4, handover={"acquisition_s": 60.0})
    with simulation.run(quick, tmp_path / "a.h5") as a, simulation.run(slow, tmp_path / "b.h5") as b:
        np.testing.assert_array_equal(a.clusters["sat"], b.clusters["sat"])
        served = [clusters.user.size for clusters in map(a.clusters.row, range(30))]
        np.testing.assert_array_equal(a.rates["serving"].sum(axis=1), served)
        assert a.handovers["joins"].sum() > 3
        for k in range(30):  # whoever has served since the first decision without a break is all that speaks
            first, kept = a.clusters.row(0), a.clusters.row(0)
            for row in map(a.clusters.row, range(k + 1)):
                both = np.isin(kept.user * 10**6 + kept.sat, row.user * 10**6 + row.sat)
                kept = kept.replace(**{n: getattr(kept, n)[both] for n in ("user", "sat", "amplitude", "spot")})
            assert b.rates["serving"][k].sum() == kept.user.size <= first.user.size
        assert b.rates["hardening"].sum() < a.rates["hardening"].sum()


def test_one_access_slot_makes_users_wait_for_each_other(short, tmp_path):
    """Many users that move to one satellite at once are acquired one after the other."""
    base = {"clustering": {"algorithm": "best_satellite", "by": "remaining", "k_max": 50}}
    cost = {"acquisition_s": 0.1, "interruption_s": 0.0}
    base |= {"users": {"radius_km": 1, "count": 6}, "communication": {"channel": "rician"}}
    many = short(240, handover={**cost, "access_slots": PLENTY}, **base)
    one = short(240, handover={**cost, "access_slots": 1}, **base)
    with simulation.run(many, tmp_path / "a.h5") as a, simulation.run(one, tmp_path / "b.h5") as b:
        free, queued = a.rates["interruption_s"], b.rates["interruption_s"]
        assert free.max() == pytest.approx(0.1)
        assert sorted(queued[queued.max(axis=1).argmax()]) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_a_user_without_any_satellite_is_declared_and_the_run_goes_on(short, tmp_path):
    (tmp_path / "sites.csv").write_text(
        "name,lat_deg,lon_deg,alt_m,mask_deg\nMunich,48.1,11.6,520,25\nSouth Pole,-89.9,0,2800,25\n"
    )
    data = short(5).as_dict()
    data["users"] = {"kind": "sites", "file": "sites.csv"}
    data["elements"]["file"] = str(short().path(data["elements"]["file"]))
    scenario = load_scenario(data, base=tmp_path)
    with simulation.run(scenario, tmp_path / "run.h5") as log:
        np.testing.assert_array_equal(log.clusters["status"], [[0, 1]] * 5)
        np.testing.assert_array_equal(log.rates["outage_s"], [[0.0, 1.0]] * 5)
        np.testing.assert_array_equal(log.rates["hardening"][:, 1], 0.0)
        assert (log.rates["hardening"][:, 0] > 0).all()


@pytest.mark.parametrize("cross_terms", ["ideal", "finite", "averaged", "noncoherent"])
def test_every_coherence_model_runs_and_the_node_believes_what_it_gets(short, cross_terms):
    coherence = {"cross_terms": cross_terms, "slow_deg": 5, "fast_deg": 5}
    scenario = short(5, 4, communication={"coherence": coherence})
    instant = simulation.epoch(scenario)
    assert instant.rates.hardening.min() == pytest.approx(float(instant.solver.min_rate), rel=2e-2)
    assert float(instant.solver.min_rate) > 0.5


def test_a_start_between_seconds_is_kept_to_the_microsecond(short):
    ready = simulation.prepare(short(2, 2, time={"start": "2026-08-22T02:00:00.600001Z"}))
    assert ready.start_utc_ns == 1_787_364_000_600_001_000


def test_records_of_one_instant(short):
    instant = simulation.epoch(short(), t_s=5.0)
    assert instant.geometry.t_ns == instant.clusters.t_ns == 5_000_000_000
    served = np.bincount(instant.clusters.user, minlength=4)
    assert (served > 0).all()
    assert instant.rates.hardening.min() == pytest.approx(float(instant.solver.min_rate), rel=1e-9)
    load = np.zeros(instant.clusters.sat.max() + 1)
    np.add.at(load, instant.clusters.sat, instant.clusters.amplitude**2)
    assert load.max() <= 1 + 1e-9
