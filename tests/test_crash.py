"""A run that is cut short, by a signal, a kill or a full disk: readable, resumable, the same digest; one clear line.

Kills and prefixes of the writes are tried with every service on; the rest on a short run without sensing.
"""

import errno
import io
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
from test_full_loop import small
from test_simulation import RecordedFile, _fork, _rows
from test_surveillance import watched

from leosim import cli, log_files, log_pack, log_writer, output, simulation
from leosim.log import EmptyLogError, LogError, open_log
from leosim.report.stages import ALL, OTHER, real_time_factor, stages
from leosim.scenario import ScenarioError

EPOCHS = 3


@pytest.fixture(scope="module")
def few(short, tmp_path_factory):
    """A short run without sensing: what was prepared, and its log."""
    ready = simulation.prepare(short(EPOCHS, 2))
    path = tmp_path_factory.mktemp("few") / "run.h5"
    simulation.run(ready.scenario, path, prepared=ready).close()
    return ready, path


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A short run with every service on: what was prepared, and its log."""
    ready = simulation.prepare(small(EPOCHS))
    path = tmp_path_factory.mktemp("everything") / "run.h5"
    simulation.run(ready.scenario, path, prepared=ready).close()
    return ready, path


def digest(path):
    with open_log(path) as log:
        assert log.complete
        assert log.packed
        return log.digest()


def resumed(case, path, **options):
    """Go on with a run that was cut short; the digest is that of the run in one go."""
    ready, whole = case
    simulation.run(ready.scenario, path, prepared=ready, resume=True, **options).close()
    assert digest(path) == digest(whole)
    assert os.listdir(path.parent) == [path.name]


def cut(case, path, epochs):
    """A log of the first epochs."""
    ready, _ = case
    done = []

    def stop():
        return len(done) >= epochs

    with pytest.raises(simulation.Stopped):
        simulation.run(ready.scenario, path, prepared=ready, progress=done.append, stop=stop)
    assert _rows(path) == epochs


# --- Ctrl-C


def test_a_run_stops_after_its_epoch_when_it_is_asked_to_and_goes_on(few, tmp_path):
    path = tmp_path / "run.h5"
    cut(few, path, 2)
    with open_log(path) as log:
        assert not log.complete
        assert len(log.clusters) == len(log.timing) == 2
    resumed(few, path)


def test_a_run_in_another_thread_is_stopped_from_this_one(few, tmp_path):
    ready, path, please, raised = few[0], tmp_path / "run.h5", threading.Event(), []

    def work():
        try:
            simulation.run(ready.scenario, path, prepared=ready, stop=please.is_set, progress=lambda p: please.set())
        except KeyboardInterrupt as stop:
            raised.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert str(raised[0]) == f"{path}: stopped after 1 of {EPOCHS} epochs"
    assert _rows(path) == 1


@pytest.fixture
def ctrl_c():
    """Ctrl-C as Python has it, whatever the process that runs the tests makes of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_in_python_waits_for_the_epoch_and_twice_does_not(few, tmp_path, ctrl_c, presses):
    ready, path, went_on = few[0], tmp_path / "run.h5", []

    def press(progress):
        if progress.epoch == 2:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)
            went_on.append(progress.epoch)

    with pytest.raises(KeyboardInterrupt) as stop:
        simulation.run(ready.scenario, path, prepared=ready, progress=press)
    assert isinstance(stop.value, simulation.Stopped) is (presses == 1)
    assert went_on == ([2] if presses == 1 else [])
    assert signal.getsignal(signal.SIGINT) is ctrl_c
    assert _rows(path) == 2


@pytest.mark.parametrize("doing", ["copy", "take", "pack"])
def test_stopped_while_copying_taking_and_compressing(few, tmp_path, doing):
    ready, path, asked, seen = few[0], tmp_path / "run.h5", threading.Event(), []
    cut(few, path, 2)
    with open_log(path) as log:
        before = log.digest()

    def watch(progress):
        seen.append(progress)
        if progress.doing == doing:
            asked.set()

    with pytest.raises(simulation.Stopped, match=f"stopped after {EPOCHS if doing == 'pack' else 2} of {EPOCHS}"):
        simulation.run(ready.scenario, path, prepared=ready, resume=True, progress=watch, stop=asked.is_set)
    assert all(progress.logged == 2 for progress in seen if progress.doing in ("copy", "take"))
    with open_log(path) as log:
        assert log.complete is (doing == "pack")
        assert not log.packed
        assert doing == "pack" or log.digest() == before
    resumed(few, path)


def test_progress_tells_what_a_resumed_run_is_doing(few, tmp_path):
    ready, path, seen = few[0], tmp_path / "run.h5", []
    cut(few, path, 2)
    simulation.run(ready.scenario, path, prepared=ready, resume=True, progress=seen.append).close()
    assert list(dict.fromkeys(p.doing for p in seen)) == ["copy", "take", "run", "pack"]
    assert [(p.epoch, p.logged) for p in seen if p.doing == "take"] == [(1, 2), (2, 2)]
    assert [p.epoch for p in seen if p.doing == "run"] == [3]
    for doing in ("copy", "pack"):
        shares = [p.share for p in seen if p.doing == doing]
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1.0)


def command(folder, arguments, before=lambda: None):
    """The command in a child process, its stderr in a file: `pid, file`."""
    said = folder / "stderr.txt"

    def work():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        stream = said.open("w")
        os.dup2(stream.fileno(), 2)
        sys.argv = ["leosim", *arguments]
        os.chdir(folder)
        cli.err.file = stream
        before()
        try:
            cli.main()
        except SystemExit as stop:
            stream.flush()
            os._exit(stop.code)

    return _fork(work), said


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def ends(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stops_after_its_epoch_and_says_how_to_go_on(tmp_path, number):
    child, said = command(tmp_path, ["run", "demo", "--set", "users.count=2", "-o", "run.h5"])
    wait_for(lambda: _rows(tmp_path / "run.h5") > 1)
    os.kill(child, number)
    assert ends(child) == cli.STOPPED
    rows = _rows(tmp_path / "run.h5")
    assert said.read_text().strip().splitlines() == [
        "leosim: stopping after this epoch; once more stops at once",
        f"leosim: run.h5: stopped after {rows} of 600 epochs; the same command with --resume goes on",
    ]
    assert sorted(os.listdir(tmp_path)) == ["run.h5", "stderr.txt"]


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    def endless():
        commit = log_writer.LogWriter.commit

        def slow(writer):
            commit(writer)
            time.sleep(600)

        log_writer.LogWriter.commit = slow

    child, said = command(tmp_path, ["run", "demo", "--set", "users.count=2", "-o", "run.h5"], endless)
    wait_for(lambda: _rows(tmp_path / "run.h5") == 1)
    os.kill(child, signal.SIGINT)
    wait_for(lambda: "once more" in said.read_text())
    os.kill(child, signal.SIGINT)
    assert ends(child) == cli.STOPPED
    assert "stopped at once" in said.read_text()
    assert _rows(tmp_path / "run.h5") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_preparing_nothing_is_written(tmp_path, number):
    ready = tmp_path / "preparing"

    def endless():
        def prepare(scenario):
            ready.touch()
            time.sleep(600)

        simulation.prepare = prepare

    child, said = command(tmp_path, ["run", "demo", "-o", "run.h5"], endless)
    wait_for(ready.exists)
    os.kill(child, number)
    assert ends(child) == cli.STOPPED
    assert said.read_text() == (
        "leosim: stopped before the first epoch; nothing was written, the same command starts again\n"
    )
    assert not (tmp_path / "run.h5").exists()


# --- killed


def strike(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)


POINTS = {  # where a kill falls, the epochs logged before and after it
    "before the file has its name": (log_writer, "put_in_place", 0, 0),
    "before the first commit": (log_writer.LogWriter, "commit", 0, 0),
    "between rows and counts": (log_writer.LogWriter, "_write_counts", 0, 0),
    "while the logged epochs are copied": (log_writer.LogWriter, "_copy", 2, 2),
    "before the copy has its name": (log_writer, "put_in_place", 2, 2),
    "after the copy": (log_writer.LogWriter, "commit", 2, 2),
    "before the run is complete": (log_writer.LogWriter, "finish", 2, EPOCHS),
    "while it is compressed": (log_pack, "_write_chunks", 2, EPOCHS),
    "before the compressed log has its name": (log_pack, "put_in_place", 0, EPOCHS),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_step_of_a_run(few, tmp_path, point):
    where, name, before, after = POINTS[point]
    ready, path = few[0], tmp_path / "run.h5"
    if before:
        cut(few, path, before)

    def work():
        setattr(where, name, strike)
        simulation.run(ready.scenario, path, prepared=ready, resume=True)

    assert ends(_fork(work)) == -signal.SIGKILL
    assert _rows(path) == after
    resumed(few, path)


def test_a_run_killed_at_its_very_start_says_so(few, tmp_path):
    ready, path = few[0], tmp_path / "run.h5"

    def work():
        log_writer.LogWriter.commit = strike
        simulation.run(ready.scenario, path, prepared=ready)

    ends(_fork(work))
    with pytest.raises(EmptyLogError):
        open_log(path)
    with pytest.raises(LogError, match="stopped at its very start; --resume or --force"):
        simulation.run(ready.scenario, path, prepared=ready)


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_at_random_over_the_whole_life_of_a_run(everything, tmp_path, kills):
    """Preparation included; a run that comes to its end before the kill is begun anew."""
    path, rng, struck, life_s = tmp_path / "run.h5", np.random.default_rng(11), 0, 0.0
    scenario = everything[0].scenario
    while struck < kills:
        before, begun = _rows(path), time.perf_counter()
        child = _fork(lambda: simulation.run(scenario, path, resume=True))
        if life_s:
            time.sleep(rng.uniform(0.0, life_s))
            os.kill(child, signal.SIGKILL)
        code = ends(child)
        assert code in (0, -signal.SIGKILL)
        struck += code != 0
        assert _rows(path) >= before
        if code == 0:
            assert digest(path) == digest(everything[1])
            path.unlink()
            life_s = life_s or time.perf_counter() - begun
    resumed(everything, path)


def written(case, path, monkeypatch):
    """The writes of a run up to its end, and how many of them make the file before it has its name."""
    ready, begins, put_in_place = case[0], [], log_writer.put_in_place

    def named(scratch, target):
        put_in_place(scratch, target)
        begins.append(len(RecordedFile.operations))

    RecordedFile.operations.clear()
    with monkeypatch.context() as patched:
        patched.setattr(log_writer, "RawFile", RecordedFile)
        patched.setattr(log_writer, "put_in_place", named)
        patched.setattr(log_writer.LogWriter, "finish", lambda writer, each: log_writer.LogWriter.close(writer))
        simulation.run(ready.scenario, path, prepared=ready).close()
    return list(RecordedFile.operations), begins[0]


@pytest.mark.parametrize("chosen", [(16, 2), pytest.param((None, 40), marks=pytest.mark.slow)])
def test_every_prefix_of_the_writes_of_a_run_is_resumed_to_the_same_digest(everything, tmp_path, monkeypatch, chosen):
    """All are read in the long test, some in the short one; some of these are resumed."""
    ready, path = everything[0], tmp_path / "run.h5"
    operations, first = written(everything, path, monkeypatch)
    read = np.arange(first, len(operations) + 1)
    if chosen[0]:
        read = np.sort(np.random.default_rng(5).choice(read, chosen[0], replace=False))
        read[-1] = len(operations)
    resume = read[:: len(read) // chosen[1]]
    with open_log(path) as log:
        whole = {name: log[group][name] for group, name in (("rates", "hardening"), ("tracks", "mean"))}
    path.unlink()
    copy, seen, digests = tmp_path / "prefix.h5", [0], {}
    with copy.open("wb", buffering=0) as stream:
        for done, (offset, data) in enumerate(operations, start=1):
            if data is None:
                stream.truncate(offset)
            else:
                os.pwrite(stream.fileno(), data, offset)
            if done in read:
                try:
                    with open_log(copy) as log:
                        seen.append(len(log.rates))
                        assert set(log.committed_rows.values()) == {seen[-1]}
                        np.testing.assert_array_equal(log.rates["hardening"], whole["hardening"][: seen[-1]])
                        np.testing.assert_array_equal(log.tracks["mean"], whole["mean"][: seen[-1]])
                        assert digests.setdefault(seen[-1], log.digest()) == log.digest()
                except EmptyLogError:
                    assert seen[-1] == 0, "a log that was readable no longer is"
            if done in resume:
                shutil.copy(copy, path)
                simulation.run(ready.scenario, path, prepared=ready, resume=True).close()
                assert digest(path) == digest(everything[1])
                path.unlink()
    assert seen == sorted(seen)
    assert seen[-1] == EPOCHS
    assert chosen[0] or set(seen) == set(range(EPOCHS + 1))


def test_one_two_and_four_workers_give_one_digest_with_every_service_on(everything, tmp_path):
    ready, whole = everything
    for workers in (2, 4):
        path = tmp_path / f"{workers}.h5"
        simulation.run(ready.scenario, path, prepared=ready, workers=workers).close()
        assert digest(path) == digest(whole)


# --- the disk


class Disk(io.FileIO):
    """A file on a disk with room for so many bytes more."""

    room: ClassVar[int] = 0

    def write(self, data):
        part = memoryview(data)[: Disk.room]
        if not len(part):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        Disk.room -= len(part)
        return super().write(part)


class FileOnDisk(log_files.RawFile, Disk):
    """The raw file of a log on such a disk."""


@pytest.fixture
def disk(monkeypatch):
    """Logs are written on a disk of `Disk.room` bytes."""
    monkeypatch.setattr(log_writer, "RawFile", FileOnDisk)
    monkeypatch.setattr(log_pack, "RawFile", FileOnDisk)
    Disk.room = 1 << 40
    return Disk


@pytest.mark.parametrize("moments", [5, pytest.param(150, marks=pytest.mark.slow)])
def test_a_disk_that_fills_up_at_any_moment(few, tmp_path, disk, moments):
    ready, path, codes = few[0], tmp_path / "run.h5", []
    simulation.run(ready.scenario, path, prepared=ready).close()
    needed = (1 << 40) - disk.room
    for room in np.linspace(0, needed - 1000, moments, dtype=int).tolist():  # wall times compress to this or that size
        path.unlink(missing_ok=True)
        disk.room = room
        with pytest.raises(LogError, match="No space left on device") as full:
            simulation.run(ready.scenario, path, prepared=ready)
        disk.room, text = 1 << 40, str(full.value)
        assert text.startswith(str(path))
        assert "\n" not in text
        rows = _rows(path)
        codes.append(rows)
        if not path.exists():
            assert "cannot be written (" in text
        elif rows < EPOCHS:
            assert f"{rows} of {EPOCHS} epochs are safe in the log" in text
            assert "--resume goes on" in text
        else:
            assert f"all {EPOCHS} epochs are safe" in text
            with open_log(path) as log:
                assert log.complete
        resumed(few, path)
    assert codes == sorted(codes)
    assert codes[0] == 0
    assert codes[-1] == EPOCHS


def test_a_full_disk_while_resuming_leaves_the_log_as_it_is(few, tmp_path, disk):
    ready, path = few[0], tmp_path / "run.h5"
    cut(few, path, 2)
    before = path.read_bytes()
    for room in (0, 5_000, len(before) // 2):
        disk.room = room
        with pytest.raises(LogError, match=rf"2 of {EPOCHS} epochs are safe in the log; free about \d+ MB"):
            simulation.run(ready.scenario, path, prepared=ready, resume=True)
        assert path.read_bytes() == before
    disk.room = 1 << 40
    resumed(few, path)


def test_a_limit_on_the_size_of_files(few, tmp_path):
    resource = pytest.importorskip("resource")
    ready, path = few[0], tmp_path / "run.h5"
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    cut(few, path, 1)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 2000, limits[1]))
        with pytest.raises(LogError, match=r"1 of 3 epochs are safe in the log; raise the limit .* \(ulimit -f\)"):
            simulation.run(ready.scenario, path, prepared=ready, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    resumed(few, path)


# --- what cannot be gone on with


def refusal(path, scenario, **options):
    """The one line of the refusal; the log stays as it was."""
    before = path.read_bytes()
    with pytest.raises(LogError) as refused:
        simulation.run(scenario, path, **options)
    assert path.read_bytes() == before
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_other_inputs_are_named_key_by_key(few, tmp_path):
    path, scenario = tmp_path / "run.h5", few[0].scenario
    cut(few, path, 1)
    other = scenario.with_(seed=5, clustering={"k_max": 3}, communication={"period_s": 2})
    line = refusal(path, other, resume=True)
    assert (
        "(clustering.k_max: 8 there, 3 now; communication.period_s: 1.0 there, 2.0 now; seed: 1 there, 5 now)" in line
    )
    assert "--resume needs the inputs of the log" in line
    many = scenario.with_(sensing=watched().as_dict()["sensing"])
    assert "and " in refusal(path, many, resume=True)
    assert "other inputs" in refusal(path, other)


def test_an_element_file_that_changed_or_is_gone(few, tmp_path):
    source = few[0].scenario.path(few[0].scenario.elements.files[0])
    mine, path = tmp_path / "mine.tle", tmp_path / "run.h5"
    shutil.copy(source, mine)
    scenario = few[0].scenario.with_(elements={"file": str(mine)})
    simulation.run(scenario, path, progress=lambda p: None, stop=lambda: False).close()
    lines = mine.read_text().splitlines()
    mine.write_text("\n".join(lines[: 3 * 1000]) + "\n")
    line = refusal(path, scenario, resume=True)
    assert "elements: mine.tle (" in line
    mine.unlink()
    with pytest.raises(ValueError, match=r"mine\.tle"):
        simulation.run(scenario, path, resume=True)


def test_sites_of_another_content(few, tmp_path):
    sites, path = tmp_path / "sites.csv", tmp_path / "run.h5"
    sites.write_text("name,lat_deg,lon_deg,alt_m,mask_deg\nMunich,48.1,11.6,520,25\n")
    data = few[0].scenario.as_dict()
    data["users"] = {"kind": "sites", "file": str(sites)}
    data["elements"]["file"] = str(few[0].scenario.path(data["elements"]["file"]))
    scenario = simulation.load_scenario(data, base=tmp_path)
    simulation.run(scenario, path).close()
    sites.write_text("name,lat_deg,lon_deg,alt_m,mask_deg\nMunich,48.2,11.6,520,25\n")
    assert "(users: other names, places or masks)" in refusal(path, scenario)


def altered(path, **attributes):
    """Change root attributes of a log, as another machine would have written them."""
    with h5py.File(path, "r+") as file:
        for name, value in attributes.items():
            file.attrs[name] = value


def test_other_libraries_and_another_cpu_are_not_mixed_into_one_log(few, tmp_path):
    ready, path = few[0], tmp_path / "run.h5"
    cut(few, path, 2)
    with open_log(path) as log:
        libraries, cpu = json.loads(str(log.attributes["libraries"])), str(log.attributes["cpu"])
        features = str(log.attributes["cpu_features"])
    altered(path, libraries=json.dumps(libraries | {"numpy": "1.2.3"}))
    line = refusal(path, ready.scenario, prepared=ready, resume=True)
    assert f"(numpy: 1.2.3 there, {libraries['numpy']} now)" in line
    assert "resume with those of the log, or start again with another -o or --force" in line
    altered(path, libraries=json.dumps(libraries), cpu="riscv64 fast", cpu_features=f"{features},vector9")
    line = refusal(path, ready.scenario, prepared=ready, resume=True)
    assert f"CPU: riscv64 fast there, {cpu} now; CPU features there only: vector9" in line
    altered(path, cpu=cpu, cpu_features=features)
    resumed(few, path)


def test_a_log_of_another_version_or_format(few, tmp_path, monkeypatch):
    ready, path = few[0], tmp_path / "run.h5"
    cut(few, path, 2)
    with monkeypatch.context() as patched:
        patched.setattr(simulation.leosim, "__version__", "9.9")
        line = refusal(path, ready.scenario, resume=True)
    assert "other inputs (leosim: 0.1.0 there, 9.9 now)" in line
    altered(path, leosim_log=99)
    line = refusal(path, ready.scenario, prepared=ready, resume=True)
    assert "format 99, written by leosim 0.1.0; this version" in line


def test_files_that_cannot_be_read_are_kept(few, tmp_path):
    ready, path = few[0], tmp_path / "run.h5"
    path.write_bytes(few[1].read_bytes()[:5000])
    assert "truncated or damaged" in refusal(path, ready.scenario, prepared=ready, resume=True)
    path.write_text("not a log")
    assert "not an HDF5 file" in refusal(path, ready.scenario, prepared=ready, resume=True)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    assert "not a leosim log" in refusal(path, ready.scenario, prepared=ready, resume=True)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read and write anything")
def test_files_and_folders_without_permission(few, tmp_path):
    ready, path = few[0], tmp_path / "run.h5"
    cut(few, path, 1)
    path.chmod(0)
    with pytest.raises(LogError, match="Permission denied"):
        simulation.run(ready.scenario, path, prepared=ready, resume=True)
    path.chmod(0o600)
    tmp_path.chmod(0o500)
    with pytest.raises(LogError, match="Permission denied"):
        simulation.run(ready.scenario, path, prepared=ready, resume=True)
    tmp_path.chmod(0o700)
    resumed(few, path)


def test_resume_and_force_exclude_each_other(few, tmp_path):
    with pytest.raises(ScenarioError, match="one of them"):
        simulation.run(few[0].scenario, tmp_path / "run.h5", prepared=few[0], resume=True, force=True)


# --- two at once


def test_an_output_has_one_writer_and_any_number_of_readers(few, tmp_path):
    ready, path = few[0], tmp_path / "run.h5"

    def work():
        simulation.run(ready.scenario, path, prepared=ready, progress=lambda p: time.sleep(600))

    child = _fork(work)
    wait_for(lambda: _rows(path) == 1)
    for options in ({}, {"resume": True}, {"force": True}):
        line = refusal(path, ready.scenario, prepared=ready, **options)
        assert f"being written by another run (process {child} on " in line
    assert _rows(path) == 1
    os.kill(child, signal.SIGKILL)
    ends(child)
    resumed(few, path)


def test_a_lock_whose_owner_has_just_gone_is_made_anew(tmp_path, monkeypatch):
    path, lock, samestat, calls = tmp_path / "run.h5", tmp_path / ".run.h5.lock", os.path.samestat, []

    def late(*stats):
        calls.append(stats)
        if len(calls) == 1:  # another run removes the file between opening and locking it
            return False
        return samestat(*stats)

    monkeypatch.setattr(output.os.path, "samestat", late)
    with output.alone(path):
        assert len(calls) == 2
        assert lock.exists()
        with pytest.raises(LogError, match="another run"), output.alone(path):
            pass
    assert not lock.exists()


# --- wall time


def test_stages_and_what_is_between_them_are_all_the_wall_time(everything, tmp_path):
    ready, times = everything[0], [time.perf_counter()]
    with simulation.run(
        ready.scenario, tmp_path / "run.h5", prepared=ready, progress=lambda p: times.append(time.perf_counter())
    ) as log:
        table, factor = stages(log), real_time_factor(log)
        assert len(log.timing["wall_s"]) == EPOCHS
    parts = table.drop(index=ALL)
    assert parts.total_s.sum() == pytest.approx(table.total_s[ALL], rel=1e-9)
    assert (parts.total_s >= 0).all()
    assert parts.share.sum() == pytest.approx(1.0)
    assert parts.share[OTHER] < 0.1
    assert table.total_s[ALL] < times[EPOCHS] - times[0]
    assert factor == pytest.approx(EPOCHS / table.total_s[ALL])
    assert (table.median_ms <= table.p95_ms).all()
    assert (table.p95_ms <= table.slowest_ms).all()
    assert "choice of a satellite, precoder and its score" in table.index


def test_a_service_that_did_not_run_has_no_stage(few):
    with open_log(few[1]) as log:
        assert "choice of a satellite, precoder and its score" not in stages(log).index
        assert Path(log.path).exists()
