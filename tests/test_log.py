"""The log: what it gives back, what survives a killed process at any moment, and what it refuses.

The crash tests do not sample: every prefix of the writes of a run is opened and compared.
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest

from leosim import log as log_module
from leosim import log_layout, log_pack, log_writer, records
from leosim.log import LogError, open_log
from leosim.log_writer import LogWriter, resume_writer
from leosim.records import FIXED_AXES, RAGGED_AXES, Record, array

START_NS = 1_787_364_000_000_000_000  # 2026-08-22T02:00:00Z
SECOND_NS = 1_000_000_000
USERS = 3
PAGE = 4096


@dataclass(frozen=True)
class Everything(Record):
    """Every shape and dtype a record may have."""

    GROUP: ClassVar[str] = "everything"
    t_ns: int
    seen_t_ns: int
    weight: float
    user: np.ndarray = array("pair", dtype="i4", doc="row of the user")
    elevation_rad: np.ndarray = array("pair", unit="rad", doc="elevation", source="Eq. (1)")
    direction: np.ndarray = array("pair", "cosine", dtype="f4")
    hidden: np.ndarray = array("pair", "cosine", logged=False)
    event: np.ndarray = array("event", dtype="i2", doc="a field that names its own axis")
    label: np.ndarray = array("event", dtype="str")
    rate: np.ndarray = array("user", unit="bit s-1", doc="rate")
    pos_ecef: np.ndarray = array("user", "xyz", unit="m")
    flag: np.ndarray = array(dtype="u1")
    state: np.ndarray = array(dtype="str")


@dataclass(frozen=True)
class Timing(Record):
    """Wall time: the group that is not part of the digest."""

    GROUP: ClassVar[str] = "timing"
    t_ns: int
    wall_s: np.ndarray = array(unit="s")


TYPES: tuple[type[Record], ...] = (Everything, Timing)


def users(count: int = USERS) -> records.Users:
    """Users with a name that is not ASCII."""
    rng = np.random.default_rng(7)
    return records.Users(
        name=np.array([f"Köln {k}" for k in range(count)]),
        lat_rad=rng.random(count),
        lon_rad=rng.random(count),
        alt_m=np.zeros(count),
        mask_rad=np.full(count, 0.4),
        pos_ecef=rng.random((count, 3)),
    )


def catalogue(count: int = 4) -> records.Catalogue:
    """A few satellites."""
    return records.Catalogue(
        sat=44_000 + np.arange(count),
        name=np.array([f"SAT-{k}" for k in range(count)]),
        epoch_ns=START_NS + np.arange(count),
        inclination_rad=np.full(count, 0.9),
        perigee_m=np.full(count, 5.4e5),
        apogee_m=np.full(count, 5.5e5),
        fail_ns=np.full(count, -1),
    )


def quarantine(count: int = 0) -> records.Quarantine:
    """Entries kept out; none is a common case."""
    return records.Quarantine(
        sat=np.arange(count),
        name=np.full(count, "x"),
        file=np.full(count, "f"),
        line=np.arange(count),
        reason=np.full(count, "checksum"),
        from_ns=np.zeros(count),
    )


def filled(record_type: type[Record], k: int, rows: int | None = None) -> Any:
    """Record k of a type, a function of k alone: random arrays, ragged lengths from 0 to 6."""
    rng = np.random.default_rng([k, sum(map(ord, record_type.GROUP))])
    lengths = {axis: int(rng.integers(0, 7)) if rows is None else rows for axis in RAGGED_AXES}
    lengths |= {axis: len(labels) for axis, labels in FIXED_AXES.items()}
    lengths |= {"user": USERS}
    values: dict[str, Any] = {}
    for field in dataclasses.fields(record_type):
        spec = field.metadata.get("array")
        if spec is None:
            values[field.name] = k * SECOND_NS if field.type == "int" else k + 0.25
            continue
        shape = tuple(lengths[axis] for axis in spec.axes)
        if not spec.logged:
            values[field.name] = np.full(shape, np.nan)
        elif spec.dtype == "str":
            values[field.name] = np.array(["ä", "bc", "", "def"])[rng.integers(0, 4, shape)]
        elif np.dtype(spec.dtype).kind == "f":
            values[field.name] = rng.normal(size=shape)
        else:
            values[field.name] = rng.integers(0, 3, shape)
    return record_type(**values)


def assert_same(got: Record, expected: Record) -> None:
    """Two records are the same to the bit and dtype (of strings, to the character)."""
    assert type(got) is type(expected)
    for field in dataclasses.fields(expected):
        a, b = getattr(got, field.name), getattr(expected, field.name)
        assert type(a) is type(b), field.name
        if isinstance(b, np.ndarray):
            assert a.dtype.kind == b.dtype.kind
            assert a.dtype.kind == "U" or a.dtype == b.dtype
            assert a.shape == b.shape
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b, field.name


def new_writer(path: Path, types: Sequence[type[Record]] = TYPES, **attributes: Any) -> LogWriter:
    """A log of the test records."""
    return LogWriter(path, START_NS, types, [users()], attributes or {"seed": 1})


def write_epochs(writer: LogWriter, first: int, stop: int) -> None:
    """Epochs first to stop - 1, a commit each."""
    for k in range(first, stop):
        for record_type in writer._types.values():
            writer.append(filled(record_type, k))
        writer.commit()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log of a test is."""
    return tmp_path / "run.h5"


@pytest.fixture
def log_path(path: Path) -> Path:
    """A finished log of 5 epochs."""
    with new_writer(path) as writer:
        write_epochs(writer, 0, 5)
        writer.finish()
    return path


# --- what it gives back


RECORD_TYPES = [
    kind
    for kind in vars(records).values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind.GROUP and hasattr(kind, "t_ns") is False
]
EPOCH_TYPES = [kind for kind in RECORD_TYPES if "t_ns" in {field.name for field in dataclasses.fields(kind)}]


@pytest.mark.parametrize("record_type", [Everything, *EPOCH_TYPES], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("finished", [False, True])
def test_records_come_back_as_they_were(path: Path, record_type: type[Record], finished: bool) -> None:
    sent = [filled(record_type, k) for k in range(6)]
    with new_writer(path, [record_type]) as writer:
        for record in sent[:2]:
            writer.append(record)
            writer.commit()
        for record in sent[2:]:
            writer.append(record)
        if finished:
            writer.finish()
        else:
            writer.commit()
    unlogged = [name for name, spec in record_type.array_fields().items() if not spec.logged]
    with open_log(path) as log:
        group = log[record_type.GROUP]
        assert log.complete is finished
        assert len(group) == 6
        for k, record in enumerate(sent):
            assert_same(group.row(k), record)
            assert_same(group.row(k - 6), record)
        for name in group.names:
            assert name not in unlogged
            axes = group.field(name).axes
            values = [np.asarray(getattr(record, name)) for record in sent]
            joined = np.concatenate(values) if axes and axes[0] in RAGGED_AXES else np.stack(values)
            np.testing.assert_array_equal(group[name], joined)
        with pytest.raises(IndexError, match="row 6"):
            group.row(6)


@pytest.mark.parametrize("record", [users(), catalogue(), quarantine(), quarantine(2)])
def test_static_records_come_back_as_they_were(path: Path, record: Any) -> None:
    statics = [record] if record.GROUP == "users" else [users(), record]
    with LogWriter(path, START_NS, [Timing], statics) as writer:
        write_epochs(writer, 0, 1)
        with open_log(path) as log:
            assert_same(log[record.GROUP].record(), record)
        writer.finish()
    with open_log(path) as log:
        assert_same(log[record.GROUP].record(), record)
        assert log[record.GROUP]["name"].dtype == record.name.dtype


def test_attributes_start_and_groups(path: Path) -> None:
    attributes: dict[str, str | int | float] = {"scenario": "ü" * 70_000, "empty": "", "seed": -3, "version": 0.5}
    with LogWriter(path, START_NS + 5, TYPES, [users()], attributes) as writer:
        write_epochs(writer, 0, 2)
        writer.finish()
    with open_log(path) as log:
        assert log.attributes == attributes
        assert [type(value) for value in log.attributes.values()] == [type(attributes[name]) for name in log.attributes]
        assert log.start == np.datetime64("2026-08-22T02:00:00.000000005", "ns")
        assert log.groups == ("users", "everything", "timing")
        assert log.committed_rows == {"everything": 2, "timing": 2}
        assert "everything" in dir(log)
        with pytest.raises(AttributeError, match="no group 'rates'"):
            _ = log.rates
        with pytest.raises(KeyError, match="elevation_rad"):
            _ = log.everything["nothing"]


def test_pointers_and_sizes(log_path: Path) -> None:
    sizes = [len(filled(Everything, k).user) for k in range(5)]
    with open_log(log_path) as log:
        assert log.everything.size("pair").tolist() == sizes
        assert log.everything.pointer("pair").tolist() == [0, *np.cumsum(sizes)]
        assert log.everything.t_ns.tolist() == [k * SECOND_NS for k in range(5)]
        with pytest.raises(KeyError, match="beam"):
            log.everything.pointer("beam")


def test_records_not_committed_are_not_there(path: Path) -> None:
    with new_writer(path) as writer:
        write_epochs(writer, 0, 2)
        writer.append(filled(Everything, 2))
    with open_log(path) as log:
        assert len(log.everything) == 2


# --- for other readers


def test_dataframe_in_human_units(log_path: Path) -> None:
    sent = [filled(Everything, k) for k in range(5)]
    with open_log(log_path) as log:
        pairs = log.everything.to_dataframe(units="human")
        dense = log.everything.to_dataframe(units="human", axis="user")
        plain = log.everything.to_dataframe(axis="user")
        people = log.users.to_dataframe(units="human")
        raw = log.everything.to_dataframe()
    np.testing.assert_allclose(
        pairs["elevation_deg"].to_numpy(), np.concatenate([np.degrees(record.elevation_rad) for record in sent])
    )
    names = [f"Köln {user}" for record in sent for user in record.user]
    assert pairs["user"].tolist() == names
    assert raw["user"].tolist() == [user for record in sent for user in record.user]
    assert pairs["t"].dt.second.tolist() == [k for k, record in enumerate(sent) for _ in record.user]
    assert str(pairs["t"].dtype) == "datetime64[ns]"
    assert "direction_along" in pairs
    assert len(dense) == 5 * USERS
    np.testing.assert_allclose(dense["rate_mbit_s"], np.concatenate([record.rate for record in sent]) / 1e6)
    np.testing.assert_array_equal(plain["rate"], np.concatenate([record.rate for record in sent]))
    np.testing.assert_array_equal(dense["pos_ecef_y_m"], np.concatenate([record.pos_ecef[:, 1] for record in sent]))
    assert dense["user"].tolist() == [f"Köln {k}" for k in range(USERS)] * 5
    assert plain["user"].tolist() == list(range(USERS)) * 5
    np.testing.assert_allclose(people["lat_deg"], np.degrees(users().lat_rad))
    assert people["user"].tolist() == [f"Köln {k}" for k in range(USERS)]


def test_dataframe_refuses_what_it_does_not_know(log_path: Path) -> None:
    with open_log(log_path) as log:
        with pytest.raises(ValueError, match="'si' or 'human'"):
            log.everything.to_dataframe(units="imperial")
        with pytest.raises(ValueError, match="axis: expected one of"):
            log.everything.to_dataframe(axis="sat")


@pytest.mark.parametrize("finished", [False, True])
def test_xarray_opens_the_file_with_axes_units_and_dates(path: Path, finished: bool) -> None:
    xr = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    statics = [users(), catalogue(), quarantine()]
    sent = [filled(Everything, k) for k in range(4)]
    writer = LogWriter(path, START_NS, [Everything, records.Csi], statics, {"seed": 1})
    for k, record in enumerate(sent):
        writer.append(record)
        writer.append(filled(records.Csi, k))
        writer.commit()
    if finished:
        writer.finish()
    writer.close()
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        group = tree["everything"]
        assert group["rate"].dims == ("t", "user")
        assert group["rate"].attrs["units"] == "bit s-1"
        assert group["pos_ecef"].dims == ("t", "user", "xyz")
        assert group["direction"].dims == ("pair", "cosine")
        assert group["pair_user"].dims == ("pair",)
        assert group["elevation_rad"].attrs["source"] == "Eq. (1)"
        assert group["pair_size"].attrs["sample_dimension"] == "pair"
        assert group["t"].values[3] == np.datetime64("2026-08-22T02:00:03")
        assert group["t"].attrs["standard_name"] == "time"
        assert group["user"].values.tolist() == [f"Köln {k}" for k in range(USERS)]
        assert group["cosine"].values.tolist() == ["along", "cross"]
        assert group["label"].values.tolist() == [text for record in sent for text in record.label]
        np.testing.assert_array_equal(group["rate"].values, [record.rate for record in sent])
        assert tree["satellites"]["inclination_rad"].indexes["sat"].tolist() == catalogue().sat.tolist()
        assert tree["quarantine"].sizes["entry"] == 0
        assert tree.attrs["Conventions"] == "CF-1.11"


def test_group_to_xarray(log_path: Path) -> None:
    pytest.importorskip("xarray")
    with open_log(log_path) as log:
        got = log.everything.to_xarray()
        assert got["rate"].dims == ("t", "user")
        assert got["rate"].attrs["units"] == "bit s-1"
        assert got["t"].values[-1] == np.datetime64("2026-08-22T02:00:04")
        assert got.sel(user="Köln 2")["rate"].values.tolist() == log.everything["rate"][:, 2].tolist()
        assert got["pair_user"].values.tolist() == log.everything["user"].tolist()
        assert log.users.to_xarray()["lat_rad"].values.tolist() == users().lat_rad.tolist()


def test_missing_xarray_names_the_extra(log_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with open_log(log_path) as log, pytest.raises(ImportError, match=re.escape("leosim[xarray]")):
        log.everything.to_xarray()


def test_every_dataset_says_what_it_is_and_every_dimension_has_a_scale(log_path: Path) -> None:
    seen = []

    def check(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or (item.is_scale and item.attrs["NAME"].startswith(b"This is")):
            return
        seen.append(name)
        assert {"units", "long_name", "source", "axes"} <= item.attrs.keys(), name
        assert h5py.check_string_dtype(item.dtype) is None or item.dtype.kind == "S"
        if not item.is_scale:
            axes = item.attrs["axes"].decode().split()
            assert [dimension[0].name.split("/")[-1] for dimension in item.dims] == axes

    with h5py.File(log_path, "r") as file:
        file.visititems(check)
    assert "everything/pos_ecef" in seen


# --- digest


def test_digest_does_not_depend_on_how_rows_were_written(tmp_path: Path) -> None:
    digests = []
    for per_commit in (1, 3, 6):
        path = tmp_path / f"{per_commit}.h5"
        with new_writer(path) as writer:
            for k in range(6):
                for record_type in TYPES:
                    writer.append(filled(record_type, k))
                if (k + 1) % per_commit == 0:
                    writer.commit()
            with open_log(path) as log:
                digests.append(log.digest())
            writer.finish()
        with open_log(path) as log:
            digests.append(log.digest())
    assert len(set(digests)) == 1
    assert re.fullmatch("[0-9a-f]{64}", digests[0])


def flip_bit(path: Path, dataset: str) -> None:
    """Change the lowest bit of the last byte of the last element."""
    with h5py.File(path, "r+") as file:
        data = np.ascontiguousarray(file[dataset][...])
        data.view("u1").reshape(-1)[-8] ^= 1
        file[dataset][...] = data


@pytest.mark.parametrize(
    ("dataset", "changes"),
    [
        ("everything/elevation_rad", True),
        ("everything/rate", True),
        ("everything/t", True),
        ("users/lat_rad", True),
        ("timing/wall_s", False),
    ],
)
def test_one_bit_changes_the_digest(log_path: Path, dataset: str, changes: bool) -> None:
    with open_log(log_path) as log:
        before = log.digest()
    flip_bit(log_path, dataset)
    with open_log(log_path) as log:
        assert (log.digest() != before) is changes


def test_attributes_do_not_change_the_digest(log_path: Path) -> None:
    with open_log(log_path) as log:
        before = log.digest()
    with h5py.File(log_path, "r+") as file:
        file.attrs["seed"] = 99
        file["everything/rate"].attrs["long_name"] = "another"
    with open_log(log_path) as log:
        assert log.attributes["seed"] == 99
        assert log.digest() == before


# --- finish


def test_finish_keeps_the_data_and_shrinks_the_file(path: Path) -> None:
    writer = LogWriter(path, START_NS, [records.Geometry], [users()], {"seed": 1})
    for k in range(20):
        writer.append(filled(records.Geometry, k % 2, rows=300))
        writer.commit()
    with open_log(path) as log:
        before, digest = log.geometry["range_m"], log.digest()
        size = path.stat().st_size
        writer.finish()
        np.testing.assert_array_equal(log.geometry["range_m"], before)  # a reader keeps what it opened
    with open_log(path) as log:
        assert log.complete
        assert log.digest() == digest
    assert path.stat().st_size < 0.7 * size
    assert os.listdir(path.parent) == [path.name]
    with pytest.raises(ValueError, match="closed"):
        writer.commit()


def test_a_finished_log_is_read_lazily(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_writer(path, [records.Geometry]) as writer:
        for k in range(10):
            writer.append(filled(records.Geometry, k, rows=30_000))
        writer.finish()
    read = 0
    original = log_module.LogGroup._read

    def counted(self: Any, column: Any, first: int, stop: int) -> np.ndarray:
        nonlocal read
        data = original(self, column, first, stop)
        read += data.nbytes
        return data

    monkeypatch.setattr(log_module.LogGroup, "_read", counted)
    with open_log(path) as log:
        assert read == 0
        assert_same(log.geometry.row(7), filled(records.Geometry, 7, rows=30_000))
        assert read < 1.2 * 30_000 * (2 * 4 + 4 * 8)


def test_killed_while_finishing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = new_writer(path)
    write_epochs(writer, 0, 4)
    with open_log(path) as log:
        digest = log.digest()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(log_pack, "put_in_place", killed)
    with pytest.raises(KeyboardInterrupt):
        writer.finish()
    with open_log(path) as log:
        assert log.complete
        assert log.digest() == digest
    assert os.listdir(path.parent) == [path.name]


# --- killed at any moment


def refused(path: Path) -> str:
    """Why a file is no log; empty if it is one."""
    try:
        open_log(path).close()
    except LogError as error:
        return str(error)
    return ""


class Recorded(log_writer.RawFile):
    """A raw file that keeps each of its writes."""

    operations: ClassVar[list[tuple[int, bytes | None]]] = []

    def write(self, data: Any) -> int:
        """Write, and note where and what."""
        self.operations.append((self.tell(), bytes(data)))
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        """Set the length, and note it."""
        assert size is not None
        self.operations.append((size, None))
        return super().truncate(size)


def by_page(operations: list[tuple[int, bytes | None]]) -> list[tuple[int, bytes | None]]:
    """Each write as the kernel makes it: a kill may fall between two pages of one write."""
    parts: list[tuple[int, bytes | None]] = []
    for offset, data in operations:
        if data is None:
            parts.append((offset, None))
            continue
        done = 0
        while done < len(data):
            stop = done + PAGE - (offset + done) % PAGE
            parts.append((offset + done, data[done:stop]))
            done = stop
    return parts


@pytest.mark.parametrize("commits", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_every_prefix_of_the_writes_is_a_log(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    monkeypatch.setattr(log_writer, "RawFile", Recorded)
    monkeypatch.setattr(log_layout, "LIVE_CHUNK_BYTES", 32)  # many chunks: their index grows and splits
    Recorded.operations.clear()
    safe_after: list[int] = []
    with new_writer(path, [Everything]) as writer:
        for k in range(commits):
            writer.append(filled(Everything, k))
            writer.commit()
            safe_after.append(len(by_page(Recorded.operations)))
    operations = by_page(Recorded.operations)
    assert len(operations) > 10 * commits

    sent = [filled(Everything, k) for k in range(commits)]
    names = [name for name, spec in Everything.array_fields().items() if spec.logged]
    ragged = [name for name in names if Everything.array_fields()[name].axes[:1] in (("pair",), ("event",))]
    expected = {
        name: (np.concatenate if name in ragged else np.stack)([getattr(record, name) for record in sent])
        for name in names
    }
    copy = tmp_path / "prefix.h5"
    seen: list[int] = []
    with copy.open("wb", buffering=0) as stream:
        for count, (offset, data) in enumerate(operations, start=1):
            if data is None:
                stream.truncate(offset)
            else:
                os.pwrite(stream.fileno(), data, offset)
            promised = sum(count >= safe for safe in safe_after)
            if not seen:  # before the first commit a clear refusal; never again after it
                refusal = refused(copy)
                if refusal:
                    assert promised == 0
                    assert re.search("no committed row|not an HDF5 file|truncated or damaged", refusal)
                    continue
            with open_log(copy) as log:
                rows = len(log.everything)
                assert promised <= rows <= promised + 1
                assert not seen or rows >= seen[-1]
                seen.append(rows)
                assert log.everything.t_ns.tolist() == [k * SECOND_NS for k in range(rows)]
                for axis, field in (("pair", "user"), ("event", "event")):
                    sizes = [len(getattr(record, field)) for record in sent[:rows]]
                    assert log.everything.size(axis).tolist() == sizes
                for name in names:
                    got = log.everything[name]
                    assert len(got) == rows or name in ragged
                    np.testing.assert_array_equal(got, expected[name][: len(got)])
                    if name in ragged:
                        assert len(got) == sum(len(getattr(record, name)) for record in sent[:rows])
    assert set(seen) == set(range(1, commits + 1))


CHILD = """
    import sys, time
    sys.path.insert(0, {tests!r})
    import test_log as t
    from pathlib import Path
    path = Path({path!r})
    if {resume}:
        writer = t.resume_writer(path, t.TYPES)
    else:
        writer = t.new_writer(path)
    first = writer.committed_rows["everything"]
    for k in range(first, {stop}):
        t.write_epochs(writer, k, k + 1)
        if k == first:
            print("started", flush=True)
        time.sleep({pause})
    writer.finish() if {finish} else writer.close()
"""


def start_child(path: Path, **options: Any) -> subprocess.Popen[str]:
    """A process that writes epochs, once its first epoch is committed."""
    options = {"resume": False, "stop": 100_000, "finish": False, "pause": 0} | options
    code = textwrap.dedent(CHILD).format(tests=str(Path(__file__).parent), path=str(path), **options)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n"
    return child


def test_killed_at_random_and_resumed(path: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = 0
    for kill in range(4):
        child = start_child(path, resume=kill > 0)
        time.sleep(rng.uniform(0.02, 0.3))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        with h5py.File(path, "r") as file:  # any reader opens what a killed process left
            assert len(file["everything/t"]) > rows
        with open_log(path) as log:
            assert not log.complete
            assert len(log.everything) > rows
            rows = len(log.everything)
            assert log.committed_rows == {"everything": rows, "timing": rows}
    with resume_writer(path, TYPES) as writer:
        write_epochs(writer, rows, rows + 3)
        writer.finish()
    whole = tmp_path / "whole.h5"
    with new_writer(whole) as writer:
        for k in range(rows + 3):
            for record_type in TYPES:
                writer.append(filled(record_type, k))
        writer.finish()
    with open_log(path) as log, open_log(whole) as other:
        assert log.digest() == other.digest()
        assert log.attributes == other.attributes
        assert_same(log.everything.row(rows + 2), filled(Everything, rows + 2))


def test_reading_while_another_process_writes(path: Path) -> None:
    child = start_child(path, stop=400, finish=True)
    seen = []
    while True:
        running = child.poll() is None
        with open_log(path) as log:
            rows = len(log.everything)
            seen.append(rows)
            assert log.committed_rows["timing"] == rows
            assert log.everything.t_ns.tolist() == [k * SECOND_NS for k in range(rows)]
            assert_same(log.everything.row(-1), filled(Everything, rows - 1))
            assert log.everything.pointer("pair")[-1] == len(log.everything["user"])
            complete = log.complete
        if not running:
            break
    child.communicate()
    assert child.returncode == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
    assert complete
    assert seen[-1] == 400


def test_a_full_disk_leaves_the_committed_rows(path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = new_writer(path, [records.Geometry])
    try:
        writer.append(filled(records.Geometry, 0))
        writer.commit()
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 30_000, before[1]))
        with pytest.raises(OSError):
            write_epochs(writer, 1, 200)
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)
    with open_log(path) as log:
        rows = len(log.geometry)
        assert 1 <= rows < 200
        for k in range(rows):
            assert_same(log.geometry.row(k), filled(records.Geometry, k))


# --- resume


def test_resume_keeps_rows_attributes_and_statics(path: Path) -> None:
    attributes: dict[str, Any] = {"scenario": "x" * 1000, "seed": 4}
    writer = new_writer(path, TYPES, **attributes)
    write_epochs(writer, 0, 3)
    writer.append(filled(Everything, 3))
    writer.close()
    with open_log(path) as log:
        digest = log.digest()
    with resume_writer(path) as writer:
        assert writer.committed_rows == {"everything": 3, "timing": 3}
        with open_log(path) as log:
            assert log.digest() == digest
            assert log.attributes == attributes
            assert_same(log.users.record(), users())
        write_epochs(writer, 3, 5)
    with open_log(path) as log:
        for k in range(5):
            assert_same(log.everything.row(k), filled(Everything, k))
    assert os.listdir(path.parent) == [path.name]


def test_killed_while_resuming_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_writer(path) as writer:
        write_epochs(writer, 0, 3)
    before = path.read_bytes()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(log_writer, "put_in_place", killed)
    with pytest.raises(KeyboardInterrupt):
        resume_writer(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_resume_refuses_a_complete_log_and_other_fields(path: Path, log_path: Path) -> None:
    with pytest.raises(LogError, match="complete"):
        resume_writer(log_path, TYPES)
    with new_writer(path) as writer:
        write_epochs(writer, 0, 1)

    @dataclass(frozen=True)
    class Other(Record):
        GROUP: ClassVar[str] = "timing"
        t_ns: int
        wall_s: np.ndarray = array(dtype="f4", unit="s")

    with pytest.raises(LogError, match=r"other fields .*group timing"):
        resume_writer(path, [Everything, Other])
    with pytest.raises(LogError, match=r"asked for .*group timing"):
        resume_writer(path, [Everything])


# --- what it refuses


def error_of(path: Path) -> str:
    """The one line of the refusal."""
    with pytest.raises(LogError) as caught:
        open_log(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_no_such_file_and_no_log(path: Path, tmp_path: Path) -> None:
    assert "no such file" in error_of(path)
    assert "cannot be opened" in error_of(tmp_path)
    path.write_bytes(b"")
    assert "not an HDF5 file" in error_of(path)
    path.write_text("time,rate\n0,1\n")
    assert "not an HDF5 file" in error_of(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 500)
    assert "truncated or damaged" in error_of(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    assert "not a leosim log" in error_of(path)


def test_another_format_and_no_committed_row(path: Path) -> None:
    with new_writer(path):
        assert "no committed row" in error_of(path)
    with new_writer(path) as writer:
        writer.finish()
    assert "no committed row" in error_of(path)
    with h5py.File(path, "r+") as file:
        file.attrs["leosim_log"] = 99
    assert "format 99" in error_of(path)


@pytest.mark.parametrize("finished", [False, True])
def test_truncated_files_are_refused(path: Path, finished: bool) -> None:
    with new_writer(path) as writer:
        write_epochs(writer, 0, 5)
        if finished:
            writer.finish()
    whole = path.read_bytes()
    for part in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * part)])
        assert "truncated or damaged" in error_of(path)


def test_a_damaged_chunk_is_named_when_it_is_read(path: Path) -> None:
    with new_writer(path, [records.Geometry]) as writer:
        for k in range(3):
            writer.append(filled(records.Geometry, k, rows=2000))
        writer.finish()
    with h5py.File(path, "r") as file:
        chunk = file["geometry/range_m"].id.get_chunk_info(0)
    with path.open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(b"\xff" * 200)
    with open_log(path) as log:
        assert len(log.geometry["elevation_rad"]) == 6000
        with pytest.raises(LogError, match="truncated or damaged"):
            _ = log.geometry["range_m"]


def test_a_log_without_its_static_axis_and_other_bad_layouts(path: Path) -> None:
    def declared(**fields: Any) -> type[Record]:
        namespace = {"__annotations__": {"t_ns": "int"} | dict.fromkeys(fields, "np.ndarray")}
        return dataclass(frozen=True)(type("Bad", (Record,), namespace | {"GROUP": "bad"} | fields))

    def refused(match: str, types: Sequence[type[Record]], *statics: Record, **attributes: Any) -> None:
        with pytest.raises(ValueError, match=match):
            LogWriter(path, START_NS, types, statics, attributes)
        assert not path.exists()

    refused("no static record has the axis 'user'", [Everything])
    refused("GROUP", [records.Satellites])
    refused("distinct groups", [Timing, Timing])
    refused("dtype complex128", [declared(h=array("pair", dtype="c16"))])
    refused("dtype float16", [declared(h=array("pair", dtype="f2"))])
    refused("dtype bool", [declared(h=array("pair", dtype="?"))])
    refused("vocabulary", [declared(h=array("apple"))])
    refused("in front", [declared(h=array("cosine", "pair"))])
    refused("in front", [declared(h=array("pair", "event"))])
    refused("needs a field t_ns", [records.Users])
    refused("has no t_ns", [], filled(Timing, 0))
    refused("attribute 'leosim_log'", [Timing], leosim_log=2)
    refused("attribute 'ok'", [Timing], ok=True)
    refused("64 bits", [Timing], seed=2**70)


def test_a_record_that_does_not_fit_is_refused(path: Path) -> None:
    with new_writer(path) as writer:
        with pytest.raises(ValueError, match="expected one of Everything, Timing"):
            writer.append(filled(records.Geometry, 0))
        record = filled(Everything, 0)
        with pytest.raises(ValueError, match="axis 'user' has length 2, but 3 in the log"):
            writer.append(record.replace(rate=record.rate[:2], pos_ecef=record.pos_ecef[:2]))
        with pytest.raises(ValueError, match="at most 64 bytes"):
            writer.append(record.replace(state="x" * 65))
        writer.append(record)
        writer.commit()
    with open_log(path) as log:
        assert_same(log.everything.row(0), record)
