"""The log of a run: typed records in one crash-safe HDF5 file, written while it can be read.

Every prefix of the writes is a readable file: rows first, then the counts of committed rows, and
readers look no further than the counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np

from leosim import units as convert
from leosim.records import FIXED_AXES, RAGGED_AXES, STATIC_AXES, Field, Record

try:
    import fcntl
except ImportError:  # no advisory locks on this platform
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
NOT_IN_DIGEST = ("timing",)

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_RESERVED = ("Conventions", "leosim_log", "start_utc_ns")
_HDF5_ERRORS = (OSError, KeyError, RuntimeError, ValueError)
_DIMENSION_ONLY = "This is a netCDF dimension but not a netCDF variable."
_TEXT_BYTES = 64  # of a string in a row; HDF5 strings of fixed length are what every reader opens
_LIVE_CHUNK_BYTES = 1 << 14
_DONE_CHUNK_BYTES = 1 << 17
_BLOCK_BYTES = 1 << 22


class LogError(ValueError):
    """A file that cannot be read as a log, or a log that does not hold what is asked of it."""


# ---------------------------------------------------------------------------------------------
# Layout: what a record type looks like in the file


class EmptyLogError(LogError):
    """A log without a committed row: its run stopped before its first epoch was written."""


@dataclass(frozen=True)
class _Column:
    """One dataset: its name in the file, the field it holds and its axes in the file."""

    name: str
    field: str
    axes: tuple[str, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, str]

    @property
    def ragged(self) -> str:
        """The ragged axis the dataset grows along; empty if it grows along t, or not at all."""
        return self.axes[0] if self.axes and self.axes[0] in RAGGED_AXES else ""

    @property
    def row_axes(self) -> tuple[str, ...]:
        """The axes that make rows of a table: neither t nor the components of a vector."""
        return tuple(axis for axis in self.axes if axis != "t" and axis not in FIXED_AXES)


@dataclass(frozen=True)
class _Table:
    """One group: the datasets of one record type."""

    group: str
    record: str
    static: bool
    columns: tuple[_Column, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """All axes of the group, t first."""
        return tuple(dict.fromkeys(axis for column in self.columns for axis in column.axes))

    @property
    def ragged(self) -> tuple[str, ...]:
        """The ragged axes of the group."""
        return tuple(axis for axis in self.axes if axis in RAGGED_AXES)


def _record_name(record_type: type[Record]) -> str:
    return f"{record_type.__module__}.{record_type.__qualname__}"


def _storage(where: str, dtype: str) -> np.dtype[Any]:
    """The dtype in the file; integers and floats of at least 32 bits' precision only."""
    if dtype == "str":
        return h5py.string_dtype("utf-8", _TEXT_BYTES)
    given = np.dtype(dtype)
    if given.kind not in "iuf" or given == np.float16:
        raise ValueError(
            f"{where}: expected an integer, f4, f8 or str field, got dtype {given}; log complex numbers "
            "as two fields and flags as u1"
        )
    return given.newbyteorder("<")


def _plain_field(record_type: type[Record], field: dataclasses.Field[Any]) -> Field:
    """A plain int or float of a record as a field without axes."""
    unit = "ns" if field.name.endswith("_ns") else "1"
    doc = field.name.replace("_", " ")
    if field.type in ("int", int):
        return Field((), "i8", unit, doc, "", True)
    if field.type in ("float", float):
        return Field((), "f8", unit, doc, "", True)
    raise ValueError(f"{record_type.__name__}.{field.name}: expected an array, int or float field, got {field.type!r}")


def _fields(record_type: type[Record]) -> dict[str, Field]:
    """Every logged field of a record but its time, plain numbers included, in order."""
    found = {}
    for field in dataclasses.fields(record_type):
        spec = field.metadata.get("array")
        if spec is None and field.name != "t_ns":
            spec = _plain_field(record_type, field)
        if spec is not None and spec.logged:
            found[field.name] = spec
    return found


def _table(record_type: type[Record], static: bool, start_utc_ns: int) -> _Table:
    """The layout of a record type; raises ValueError for what the log cannot hold."""
    name = record_type.__name__
    if not record_type.GROUP:
        raise ValueError(f"{name}: expected a record type with a GROUP, got none; such records are not logged")
    timed = any(field.name == "t_ns" for field in dataclasses.fields(record_type))
    if timed == static:
        raise ValueError(
            f"{name}: " + ("a static record has no t_ns" if static else "a record of an epoch needs a field t_ns")
        )
    fields = _fields(record_type)
    axes = {axis for spec in fields.values() for axis in spec.axes}
    columns: list[_Column] = []
    if not static:
        calendar = {
            "units": f"nanoseconds since {_iso(start_utc_ns)}",
            "calendar": "proleptic_gregorian",
            "standard_name": "time",
            "long_name": "time (UTC)",
            "source": "",
        }
        columns.append(_Column("t", "t_ns", ("t",), np.dtype("<i8"), calendar))
        for axis in [axis for axis in RAGGED_AXES if axis in axes]:
            about = {
                "units": "1",
                "long_name": f"number of entries along {axis} in the row",
                "source": "",
                "sample_dimension": axis,
            }
            columns.append(_Column(f"{axis}_size", "", ("t",), np.dtype("<i8"), about))
    for field, spec in fields.items():
        where = f"{name}.{field}"
        ragged = [axis for axis in spec.axes if axis in RAGGED_AXES]
        unknown = [axis for axis in spec.axes if axis not in (*RAGGED_AXES, *FIXED_AXES, *STATIC_AXES)]
        if unknown or len(set(spec.axes)) < len(spec.axes):
            raise ValueError(f"{where}: expected distinct axes of the log's vocabulary, got {spec.axes}")
        if ragged and (static or len(ragged) > 1 or spec.axes[0] != ragged[0]):
            raise ValueError(
                f"{where}: expected at most one ragged axis, in front, in a record of an epoch; got {spec.axes}"
            )
        about = {"units": spec.unit, "long_name": spec.doc, "source": spec.source}
        dtype = _storage(where, spec.dtype)
        if spec.dtype == "str":
            about["_Encoding"] = "utf-8"
        # A dataset that has the name of a dimension must be its coordinate: others get a prefix.
        clash = field == "t" or (field in axes and spec.axes != (field,))
        dataset = f"{spec.axes[0] if spec.axes else 'row'}_{field}" if clash else field
        columns.append(_Column(dataset, field, spec.axes if static or ragged else ("t", *spec.axes), dtype, about))
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise ValueError(f"{name}: expected distinct names in the log, got {names}")
    return _Table(record_type.GROUP, _record_name(record_type), static, tuple(columns))


def _iso(utc_ns: int) -> str:
    """An instant as ISO 8601, without trailing zeros of the second."""
    text = str(np.datetime64(utc_ns, "ns"))
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _encoded(values: np.ndarray, where: str = "", width: int = 0) -> np.ndarray:
    """Strings as UTF-8 of fixed length: the longest, or `width` bytes; raises ValueError if longer."""
    data = np.char.encode(values, "utf-8")
    longest = max(1, max((len(item) for item in data.ravel().tolist()), default=1))
    if width and longest > width:
        raise ValueError(f"{where}: expected at most {width} bytes of UTF-8, got {longest}")
    return data.astype(h5py.string_dtype("utf-8", width or longest))


def _decoded(data: np.ndarray) -> np.ndarray:
    return np.asarray(np.char.decode(data.astype(f"S{data.dtype.itemsize}"), "utf-8"))


# ---------------------------------------------------------------------------------------------
# Files: unbuffered writes, advisory locks, and the skeleton of a log


class _RawFile(io.FileIO):
    """An unbuffered file that writes all or raises, and never again after a failed write.

    The file then stays a prefix of the writes, whatever HDF5 still wants to flush on closing.
    """

    _failed = False

    def write(self, data: Any) -> int:
        """Write all bytes at the current position."""
        view = memoryview(data).cast("B")
        if self._failed:
            return len(view)
        done = 0
        self._failed = True  # until all is written, interrupts included
        while done < len(view):
            done += super().write(view[done:]) or 0
        self._failed = False
        return done

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file."""
        return (size or 0) if self._failed else super().truncate(size)


@contextlib.contextmanager
def _locked(stream: Any, shared: bool) -> Iterator[None]:
    """Hold an advisory lock on an open file, where the platform and the file system have one."""
    held = False
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(stream.fileno(), fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            held = True
    try:
        yield
    finally:
        if held and not stream.closed:
            fcntl.flock(stream.fileno(), fcntl.LOCK_UN)


def _set_attributes(target: Any, attributes: Mapping[str, str | int | float]) -> None:
    """Write attributes; strings of fixed length, as the datasets have them."""
    for name, value in attributes.items():
        if isinstance(value, str):
            data = value.encode("utf-8")
            kind = h5py.string_dtype("utf-8", max(1, len(data)))
            target.attrs.create(name, np.array(data, dtype=kind), dtype=kind)
        else:
            target.attrs[name] = np.int64(value) if isinstance(value, int) else np.float64(value)


def _attribute(value: Any) -> str | int | float:
    """An attribute as Python has it."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.item() if isinstance(value, np.generic) else value


def _chunk(column: _Column, inner: tuple[int, ...], rows: int | None) -> tuple[int, ...]:
    """The chunk shape of a growing dataset: of about 16 kB while it grows, 128 kB when all rows are known."""
    row_bytes = max(1, math.prod(inner) * column.dtype.itemsize)
    if rows is None:
        return (max(1, min(_LIVE_CHUNK_BYTES // row_bytes, 4096)), *(max(1, n) for n in inner))
    return (max(1, min(_DONE_CHUNK_BYTES // row_bytes, rows)), *(max(1, n) for n in inner))


def _static_labels(record: Record, axis: str, length: int) -> np.ndarray:
    """The coordinates of a static axis: its field of the same name, the names of the users, or an index."""
    fields = record.array_fields()
    if axis == "user" and "name" in fields and fields["name"].axes == ("user",):
        return _encoded(getattr(record, "name"))  # noqa: B009
    if axis in fields and fields[axis].axes == (axis,) and fields[axis].dtype != "str":
        return np.asarray(getattr(record, axis))
    return np.arange(length, dtype="<i4")


@dataclass(frozen=True)
class _Skeleton:
    """All of a log but its rows: layout, static records, coordinates, attributes."""

    start_utc_ns: int
    tables: tuple[_Table, ...]
    statics: tuple[Record, ...]
    labels: Mapping[str, np.ndarray]
    attributes: Mapping[str, str | int | float]

    @property
    def counters(self) -> tuple[str, ...]:
        """Names of the counts of committed rows: a group, or a group and a ragged axis."""
        return tuple(
            name
            for table in self.tables
            if not table.static
            for name in (table.group, *(f"{table.group}/{axis}" for axis in table.ragged))
        )

    def build(self, file: Any, counts: Mapping[str, int] | None) -> None:
        """Make every group, dataset and dimension scale: to grow, or compressed when all counts are known."""
        _set_attributes(file, self.attributes)
        _set_attributes(file, {"Conventions": "CF-1.11", "leosim_log": FORMAT, "start_utc_ns": self.start_utc_ns})
        counters = self.counters
        committed = file.create_dataset("committed", data=np.zeros(len(counters), dtype="<i8"))
        about = {"units": "1", "long_name": "number of committed rows", "axes": "counter", "source": ""}
        _set_attributes(committed, about | {"counters": " ".join(counters)})
        scale = file.create_dataset("counter", (len(counters),), dtype=">f4")
        scale.make_scale(f"{_DIMENSION_ONLY}{len(counters):10d}")
        committed.dims[0].attach_scale(scale)
        complete = file.create_dataset("complete", data=np.uint8(counts is not None))
        about = {"units": "1", "long_name": "1: the run has come to its end", "axes": "", "source": ""}
        _set_attributes(complete, about)
        statics = {record.GROUP: record for record in self.statics}
        for table in self.tables:
            group = file.create_group(table.group)
            kind = "static" if table.static else "rows"
            columns = " ".join(column.name for column in table.columns)
            _set_attributes(group, {"record": table.record, "kind": kind, "columns": columns})
            for column in table.columns:
                if table.static:
                    made = self._static(group, column, statics[table.group], counts is not None)
                else:
                    made = self._growing(group, table, column, counts)
                _set_attributes(made, column.attributes)
                _set_attributes(made, {"axes": " ".join(column.axes), "field": column.field})
            self._scales(group, table, counts)

    def _static(self, group: Any, column: _Column, record: Record, compressed: bool) -> Any:
        data = np.asarray(getattr(record, column.field))
        characters = data.dtype.itemsize // 4 if data.dtype.kind == "U" else 0
        data = _encoded(data) if characters else data.astype(column.dtype)
        how: dict[str, Any] = {}
        if compressed and data.ndim and data.nbytes > 1024:
            rows = max(1, _DONE_CHUNK_BYTES * len(data) // data.nbytes)
            chunk = (min(rows, len(data)), *data.shape[1:])
            how = {"chunks": chunk, "compression": "gzip", "compression_opts": 1, "shuffle": True}
        made = group.create_dataset(column.name, data=data, dtype=data.dtype, **how)
        if characters:
            made.attrs["characters"] = np.int64(characters)
        return made

    def _growing(self, group: Any, table: _Table, column: _Column, counts: Mapping[str, int] | None) -> Any:
        inner = tuple(self.length(axis) for axis in column.axes[1:])
        counter = f"{table.group}/{column.ragged}" if column.ragged else table.group
        rows = None if counts is None else counts[counter]
        how = {} if rows is None else {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        if rows is not None and not rows * math.prod(inner):
            how = {}
        return group.create_dataset(
            column.name,
            (rows or 0, *inner),
            maxshape=(None, *inner),
            chunks=_chunk(column, inner, rows),
            dtype=column.dtype,
            **how,
        )

    def _scales(self, group: Any, table: _Table, counts: Mapping[str, int] | None) -> None:
        for axis in table.axes:
            if axis in group:
                group[axis].make_scale(axis)
            elif axis in table.ragged:
                rows = 0 if counts is None else counts[f"{table.group}/{axis}"]
                made = group.create_dataset(axis, (rows,), maxshape=(None,), chunks=(4096,), dtype=">f4")
                made.make_scale(f"{_DIMENSION_ONLY}{rows:10d}")
            else:
                labels = _encoded(np.array(FIXED_AXES[axis])) if axis in FIXED_AXES else self.labels[axis]
                made = group.create_dataset(axis, data=labels, dtype=labels.dtype)
                about = {"units": "1", "long_name": axis, "axes": axis, "source": ""}
                _set_attributes(made, about | ({"_Encoding": "utf-8"} if labels.dtype.kind == "S" else {}))
                made.make_scale(axis)
        for column in table.columns:
            for place, axis in enumerate(column.axes):
                if column.name != axis:
                    group[column.name].dims[place].attach_scale(group[axis])

    def length(self, axis: str) -> int:
        """The length of a fixed or static axis."""
        return len(FIXED_AXES[axis]) if axis in FIXED_AXES else len(self.labels[axis])


def _skeleton(
    start_utc_ns: int,
    record_types: Sequence[type[Record]],
    statics: Sequence[Record],
    attributes: Mapping[str, str | int | float],
) -> _Skeleton:
    """Check what a log is to hold; raises ValueError."""
    tables = [_table(type(record), True, start_utc_ns) for record in statics]
    tables += [_table(record_type, False, start_utc_ns) for record_type in record_types]
    groups = [table.group for table in tables]
    if len(set(groups)) < len(groups):
        raise ValueError(f"expected record types of distinct groups, got {groups}")
    labels: dict[str, np.ndarray] = {}
    for record in statics:
        for field, spec in record.array_fields().items():
            for axis, length in zip(spec.axes, getattr(record, field).shape, strict=True):
                if axis in FIXED_AXES:
                    continue
                known = labels.setdefault(axis, _static_labels(record, axis, length))
                if len(known) != length:
                    raise ValueError(
                        f"{type(record).__name__}.{field}: axis {axis!r} has length {length}, "
                        f"but {len(known)} in another static record"
                    )
    for table in tables:
        for axis in table.axes:
            if axis in STATIC_AXES and axis not in labels:
                raise ValueError(f"{table.record}: no static record has the axis {axis!r}; pass one in statics")
    for name, value in attributes.items():
        if name in _RESERVED or isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(
                f"attribute {name!r}: expected a str, int or float under a name other than "
                f"{', '.join(_RESERVED)}; got {value!r}"
            )
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"attribute {name!r}: expected 64 bits, got {value}; pass it as a string")
    return _Skeleton(start_utc_ns, tuple(tables), tuple(statics), labels, dict(attributes))


# ---------------------------------------------------------------------------------------------
# Writing


class _Growing:
    """A dataset that grows along its first axis, written past h5py's slicing for speed."""

    def __init__(self, dataset: Any) -> None:
        self._id = dataset.id
        self._type = dataset.id.get_type()
        self._inner = dataset.shape[1:]
        self.length = dataset.shape[0]

    def extend(self, count: int) -> None:
        """Grow without writing."""
        self.length += count
        self._id.set_extent((self.length, *self._inner))

    def write(self, block: np.ndarray) -> None:
        """Append rows."""
        if not len(block):
            return
        first = self.length
        self.extend(len(block))
        if block.size:
            space = self._id.get_space()
            space.select_hyperslab((first, *(0 for _ in self._inner)), block.shape)
            self._id.write(h5py.h5s.create_simple(block.shape), space, block, self._type)


class LogWriter:
    """Appends records to a log: `append` buffers the records of an epoch, `commit` writes them.

    Raises ValueError for record types, static records or attributes that a log cannot hold. A writer
    that is closed without `finish` leaves a log that `resume_writer` continues.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        start_utc_ns: int,
        record_types: Sequence[type[Record]],
        statics: Sequence[Record] = (),
        attributes: Mapping[str, str | int | float] | None = None,
    ) -> None:
        self.path = Path(path)
        self._skeleton = _skeleton(int(start_utc_ns), record_types, statics, attributes or {})
        self._tables = {table.group: table for table in self._skeleton.tables if not table.static}
        self._types = {record_type.GROUP: record_type for record_type in record_types}
        self._pending: dict[str, list[Record]] = {group: [] for group in self._tables}
        self._counts = dict.fromkeys(self._skeleton.counters, 0)
        self._raw = _RawFile(self.path, "w+b")
        with _locked(self._raw, shared=False):
            # Rows go straight to the file, without a chunk cache. A signal can end a process between two
            # pages of one write: aligned, the headers, chunk indices and counts that are rewritten keep
            # within a page.
            self._file = h5py.File(
                self._raw,
                "w",
                libver=("v110", "v110"),
                rdcc_nbytes=0,
                alignment_threshold=1,
                alignment_interval=512,
            )
            self._skeleton.build(self._file, None)
            self._file.flush()
        self._committed = self._file["committed"]
        self._columns = {
            group: {column.name: _Growing(self._file[group][column.name]) for column in table.columns}
            for group, table in self._tables.items()
        }
        self._scales = {
            (group, axis): _Growing(self._file[group][axis])
            for group, table in self._tables.items()
            for axis in table.ragged
            if axis not in self._columns[group]
        }

    @property
    def committed_rows(self) -> dict[str, int]:
        """Committed rows by group."""
        return {group: self._counts[group] for group in self._tables}

    def append(self, record: Record) -> None:
        """Buffer a record for the next commit; raises ValueError when it does not fit the log."""
        group = record.GROUP
        if self._types.get(group) is not type(record):
            raise ValueError(
                f"{type(record).__name__}: expected one of {', '.join(kind.__name__ for kind in self._types.values())}"
            )
        for column in self._tables[group].columns:
            if not column.field:
                continue
            value = getattr(record, column.field)
            if column.dtype.kind == "S":
                _encoded(value, f"{type(record).__name__}.{column.field}", _TEXT_BYTES)
            for axis, length in zip(column.axes[::-1], np.shape(value)[::-1], strict=False):
                if axis in STATIC_AXES and length != self._skeleton.length(axis):
                    raise ValueError(
                        f"{type(record).__name__}.{column.field}: axis {axis!r} has length {length}, "
                        f"but {self._skeleton.length(axis)} in the log"
                    )
        self._pending[group].append(record)

    def commit(self) -> None:
        """Write all buffered records: rows, flush, counts, flush. They are then safe from a killed process."""
        self._check_open()
        if not any(self._pending.values()):
            return
        with _locked(self._raw, shared=False):
            for group, records in self._pending.items():
                if records:
                    self._write_records(self._tables[group], records)
            self._file.flush()
            self._write_counts()
        for records in self._pending.values():
            records.clear()

    def _write_records(self, table: _Table, records: list[Record]) -> None:
        blocks: dict[str, np.ndarray] = {}
        sizes = {axis: np.zeros(len(records), dtype="<i8") for axis in table.ragged}
        for column in table.columns:
            if not column.field:
                continue
            values = [getattr(record, column.field) for record in records]
            if column.ragged:
                sizes[column.ragged][:] = [len(value) for value in values]
                block = values[0] if len(values) == 1 else np.concatenate(values)
            else:
                block = values[0][None] if isinstance(values[0], np.ndarray) and len(values) == 1 else np.array(values)
            if column.dtype.kind == "S":
                block = _encoded(block, column.field, _TEXT_BYTES)
            blocks[column.name] = np.ascontiguousarray(block, dtype=column.dtype)
        for axis in table.ragged:
            blocks[f"{axis}_size"] = sizes[axis]
        self._write_blocks(table, blocks, {axis: int(sizes[axis].sum()) for axis in table.ragged})
        self._counts[table.group] += len(records)

    def _write_blocks(self, table: _Table, blocks: Mapping[str, np.ndarray], entries: Mapping[str, int]) -> None:
        for name, block in blocks.items():
            self._columns[table.group][name].write(block)
        for axis, count in entries.items():
            if count and (table.group, axis) in self._scales:
                self._scales[table.group, axis].extend(count)
            self._counts[f"{table.group}/{axis}"] += count

    def _write_counts(self) -> None:
        self._committed[...] = np.array(list(self._counts.values()), dtype="<i8")
        self._file.flush()

    def _copy(self, log: Log) -> None:
        """Take over the committed rows of another log of the same layout."""
        with _locked(self._raw, shared=False):
            for group, table in self._tables.items():
                source = log[group]
                for column in table.columns:
                    for block in source.blocks(column.name):
                        self._columns[group][column.name].write(np.ascontiguousarray(block))
                self._counts[group] = len(source)
                for axis in table.ragged:
                    entries = int(source.pointer(axis)[-1])
                    if (group, axis) in self._scales:
                        self._scales[group, axis].extend(entries)
                    self._counts[f"{group}/{axis}"] = entries
            self._file.flush()
            self._write_counts()

    def finish(self) -> None:
        """Commit what is buffered, mark the log complete and rewrite it compressed under the same name.

        A process killed meanwhile leaves the complete, uncompressed file.
        """
        self.commit()
        with _locked(self._raw, shared=False):
            self._file["complete"][()] = 1
            self._file.flush()
        self.close()
        if not any(self.committed_rows.values()):
            return
        scratch = _scratch(self.path)
        with open_log(self.path) as log, _removed_on_failure(scratch):
            with h5py.File(scratch, "w", libver=("v110", "v110")) as file:
                self._skeleton.build(file, self._counts)
                for group, table in self._tables.items():
                    for column in table.columns:
                        first = 0
                        target = file[group][column.name]
                        for block in log[group].blocks(column.name):
                            target[first : first + len(block)] = block
                            first += len(block)
                file["committed"][...] = list(self._counts.values())
            _replace(scratch, self.path)

    def close(self) -> None:
        """Close the file; records that were not committed are dropped."""
        if self._file.id.valid:
            with _locked(self._raw, shared=False):
                self._file.close()
        self._raw.close()

    def _check_open(self) -> None:
        if not self._file.id.valid:
            raise ValueError(f"{self.path}: the log is closed; continue it with resume_writer")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _scratch(path: Path) -> Path:
    """The temporary name beside a log: always the same, so that a killed process leaves one at most."""
    return path.with_name(f".{path.name}.tmp")


@contextlib.contextmanager
def _removed_on_failure(scratch: Path) -> Iterator[None]:
    try:
        yield
    finally:
        scratch.unlink(missing_ok=True)  # gone already when it was put in place


def _replace(scratch: Path, path: Path) -> None:
    """Put a file in the place of another, its bytes on the disk first."""
    with scratch.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(scratch, path)


def create_writer(
    path: str | os.PathLike[str],
    start_utc_ns: int,
    record_types: Sequence[type[Record]],
    statics: Sequence[Record] = (),
    attributes: Mapping[str, str | int | float] | None = None,
) -> LogWriter:
    """A `LogWriter` whose file appears under its name only once it can be read.

    A run killed at any moment leaves either what was there before, or a log. Raises OSError where the
    file cannot be written.
    """
    path = Path(path)
    scratch = _scratch(path)
    with _removed_on_failure(scratch):
        writer = LogWriter(scratch, start_utc_ns, record_types, statics, attributes)
        try:
            _replace(scratch, path)
        except BaseException:
            writer.close()
            raise
    writer.path = path
    return writer


def resume_writer(path: str | os.PathLike[str], record_types: Sequence[type[Record]] | None = None) -> LogWriter:
    """Continue an unfinished log: its committed rows in a new file in its place, open for more.

    Static records and attributes are those of the file; `record_types` must be those it was written
    with, and may be left out when their classes are imported. Raises LogError when the log cannot be
    read, is complete, or holds other fields.
    """
    path = Path(path)
    with open_log(path) as log:
        if log.complete:
            raise LogError(f"{path}: the log is complete; there is nothing to resume")
        if record_types is None:
            record_types = [log[group].record_type for group in log.groups if not log[group].static]
        statics = [log[group].record() for group in log.groups if log[group].static]
        start_utc_ns = int(log.start.astype("int64"))
        asked = _skeleton(start_utc_ns, record_types, statics, log.attributes)
        old = {group: _signature(log[group].table) for group in log.groups}
        new = {table.group: _signature(table) for table in asked.tables}
        if old != new:
            differing = sorted(group for group in old.keys() | new.keys() if old.get(group) != new.get(group))
            raise LogError(
                f"{path}: was written with other fields than are asked for (group {', '.join(differing)}); run it anew"
            )
        scratch = _scratch(path)
        with _removed_on_failure(scratch):
            writer = LogWriter(scratch, start_utc_ns, record_types, statics, log.attributes)
            try:
                writer._copy(log)
                _replace(scratch, path)
            except BaseException:
                writer.close()
                raise
        writer.path = path
        return writer


def _signature(table: _Table) -> list[tuple[str, str, tuple[str, ...], str]]:
    """What two layouts must share for their rows to be the same."""
    return [
        (column.name, column.field, column.axes, "str" if column.dtype.kind == "S" else column.dtype.str)
        for column in table.columns
    ]


# ---------------------------------------------------------------------------------------------
# Reading


def open_log(path: str | os.PathLike[str]) -> Log:
    """Open a log: finished, being written by another process, or left by one that was killed.

    A complete log is read lazily; of one still being written the log is what is committed now.
    Raises LogError when there is no such file, or it is no log, of another format, damaged, or
    without a committed row.
    """
    path = Path(path)
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise LogError(f"{path}: no such file") from None
    except OSError as error:
        raise LogError(f"{path}: cannot be opened ({error.strerror})") from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(stream)
        with _locked(stream, shared=True):
            if stream.read(len(_SIGNATURE)) != _SIGNATURE:
                raise LogError(f"{path}: not an HDF5 file (a log has leosim's format, made by leosim run)")
            try:
                file = h5py.File(stream, "r")
                stack.callback(file.close)
                version = file.attrs.get("leosim_log")
                if version is None:
                    raise LogError(f"{path}: an HDF5 file, but not a leosim log")
                if version != FORMAT:
                    raise LogError(f"{path}: a log of format {version}; this version of leosim reads format {FORMAT}")
                if not file["complete"][()]:
                    file.close()
                    stream.seek(0)
                    file = h5py.File(io.BytesIO(stream.read()), "r")
                    stack.callback(file.close)
            except LogError:
                raise
            except _HDF5_ERRORS as error:
                raise _damaged(path, error) from error
        try:
            log = Log(path, file)
        except LogError:
            raise
        except _HDF5_ERRORS as error:
            raise _damaged(path, error) from error
        log._stack = stack.pop_all()
        return log
    raise LogError(f"{path}: cannot be opened")  # pragma: no cover


def _damaged(path: Path, error: BaseException) -> LogError:
    reason = " ".join(str(error).split())
    return LogError(f"{path}: truncated or damaged, cannot be read as a log ({reason[:160]})")


class Log:
    """A log that is open for reading: `log.rates["hardening"]`, `log.rates.to_dataframe()`, `log.digest()`."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self._stack = contextlib.ExitStack()
        self.attributes: dict[str, str | int | float] = {
            name: _attribute(value) for name, value in file.attrs.items() if name not in _RESERVED
        }
        self.complete = bool(file["complete"][()])
        self.start: np.datetime64 = np.datetime64(int(file.attrs["start_utc_ns"]), "ns")
        counters = str(_attribute(file["committed"].attrs["counters"])).split()
        counts = dict(zip(counters, file["committed"][...].tolist(), strict=True))
        if not any(counts.values()):
            raise EmptyLogError(f"{path}: no committed row; the run stopped before its first epoch was written")
        tables = [_read_table(item) for item in file.values() if isinstance(item, h5py.Group)]
        tables.sort(key=lambda table: (not table.static, _place(counters, table.group), table.group))
        self.groups = tuple(table.group for table in tables)
        self._groups = {table.group: LogGroup(self, file[table.group], table, counts) for table in tables}

    @property
    def committed_rows(self) -> dict[str, int]:
        """Committed rows by group; static groups have none."""
        return {name: len(group) for name, group in self._groups.items() if not group.static}

    def __getitem__(self, group: str) -> LogGroup:
        if group not in self._groups:
            raise KeyError(f"{self.path}: no group {group!r}; the log has {', '.join(self.groups)}")
        return self._groups[group]

    def __getattr__(self, group: str) -> LogGroup:
        groups: dict[str, LogGroup] = self.__dict__.get("_groups", {})
        if group not in groups:
            raise AttributeError(f"no group {group!r} in the log; it has {', '.join(groups)}")
        return groups[group]

    def __contains__(self, group: object) -> bool:
        return group in self._groups

    def _labels(self, axis: str) -> np.ndarray:
        """The coordinates of a static axis, from the static group that has it; empty if none has."""
        for group in self._groups.values():
            if group.static and axis in group.table.axes:
                return group.labels(axis)
        return np.empty(0, dtype="<i4")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.groups]

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {count}" for name, count in self.committed_rows.items())
        state = "complete" if self.complete else "not complete"
        return f"<Log {self.path.name}, from {_iso(int(self.start.astype('int64')))} UTC, {state}; rows: {rows}>"

    def summary(self) -> Any:
        """The figures of the run at a glance: `leosim.report.summary.summary` of this log."""
        return importlib.import_module("leosim.report.summary").summary(self)

    @property
    def plot(self) -> Any:
        """Figures of this log: `log.plot.rates()`, `log.plot.cdf("hardening", ax=ax)`, ...

        Bound when asked for, so that reading a log needs no plotting library.
        """
        return importlib.import_module("leosim.report.figures").Plots(self)

    def digest(self) -> str:
        """SHA-256 of all committed data but the group `timing` and attributes, as 64 hex digits.

        Names, dtypes, shapes and bytes, groups by name and datasets in the order of the record: the
        same however the rows were committed, before and after `finish`.
        """
        total = hashlib.sha256()
        for name in sorted(self.groups):
            if name in NOT_IN_DIGEST:
                continue
            group = self._groups[name]
            for column in group.table.columns:
                shape = group.shape(column.name)
                total.update(f"{name}/{column.name} {column.dtype.str} {shape}\n".encode())
                for block in group.blocks(column.name):
                    total.update(np.ascontiguousarray(block).tobytes())
        return total.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _place(counters: Sequence[str], group: str) -> int:
    return counters.index(group) if group in counters else -1


def _read_table(group: Any) -> _Table:
    """The layout of a group, from its attributes."""
    columns = []
    for name in str(_attribute(group.attrs["columns"])).split():
        dataset = group[name]
        given = dataset.attrs
        about = {key: str(_attribute(given[key])) for key in ("units", "long_name", "source")}
        axes = tuple(str(_attribute(given["axes"])).split())
        columns.append(_Column(name, str(_attribute(given["field"])), axes, dataset.dtype, about))
    static = _attribute(group.attrs["kind"]) == "static"
    return _Table(group.name[1:], str(_attribute(group.attrs["record"])), static, tuple(columns))


class LogGroup:
    """The records of one type: `group["range_m"]` is an array over all rows, `group.row(k)` one record."""

    def __init__(self, log: Log, group: Any, table: _Table, counts: Mapping[str, int]) -> None:
        self._log = log
        self._group = group
        self.table = table
        self.static = table.static
        self._rows = 0 if table.static else counts[table.group]
        self._entries = {axis: counts[f"{table.group}/{axis}"] for axis in table.ragged}
        self._pointers: dict[str, np.ndarray] = {}
        self._columns = {column.name: column for column in table.columns}
        self._by_field = {column.field: column for column in table.columns if column.field}
        for column in table.columns:
            if not table.static and group[column.name].shape[0] < self._stop(column):
                raise LogError(f"{log.path}: {table.group}/{column.name} has fewer rows than are committed")

    def _stop(self, column: _Column) -> int:
        return self._entries[column.ragged] if column.ragged else self._rows

    def _column(self, name: str) -> _Column:
        column = self._by_field.get(name) or self._columns.get(name)
        if column is None:
            raise KeyError(f"no field {name!r} in group {self.table.group!r}; it has {', '.join(self.names)}")
        return column

    def _read(self, column: _Column, first: int, stop: int) -> np.ndarray:
        """Rows of a dataset as they are in the file."""
        try:
            data = self._group[column.name]
            return np.asarray(data[first:stop] if column.axes else data[()])
        except _HDF5_ERRORS as error:
            raise _damaged(self._log.path, error) from error

    @property
    def names(self) -> tuple[str, ...]:
        """The fields, `t_ns` left out."""
        return tuple(name for name in self._by_field if name != "t_ns")

    @property
    def record_type(self) -> type[Record]:
        """The class of the records; raises LogError when none that is imported fits."""
        found = [kind for kind in _record_types(Record) if _record_name(kind) == self.table.record]
        if not found:
            raise LogError(
                f"{self._log.path}: group {self.table.group!r} holds {self.table.record}, which is not imported"
            )
        return found[-1]

    def __len__(self) -> int:
        if not self.static:
            return self._rows
        return max((self._group[axis].shape[0] for axis in self.table.axes if axis in STATIC_AXES), default=1)

    def __contains__(self, name: object) -> bool:
        return name in self._by_field

    def __getitem__(self, name: str) -> np.ndarray:
        column = self._column(name)
        return self._as_record(column, self._read(column, 0, self.shape(column.name)[0] if column.axes else 0))

    def __repr__(self) -> str:
        return f"<LogGroup {self.table.group}: {len(self)} rows of {', '.join(self.names)}>"

    def _as_record(self, column: _Column, data: np.ndarray) -> np.ndarray:
        if column.dtype.kind != "S":
            return data
        text = _decoded(data)
        characters = self._group[column.name].attrs.get("characters")
        return text if characters is None else text.astype(f"<U{int(characters)}")

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a dataset, committed rows only."""
        column = self._column(name)
        shape: tuple[int, ...] = self._group[column.name].shape
        return shape if self.static else (self._stop(column), *shape[1:])

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """The committed rows of a dataset in blocks of a few megabytes, as they are in the file."""
        column = self._columns[name]
        if not column.axes:
            yield self._read(column, 0, 0)
            return
        shape = self.shape(name)
        step = max(1, _BLOCK_BYTES // max(1, math.prod(shape[1:]) * column.dtype.itemsize))
        for first in range(0, shape[0], step):
            yield self._read(column, first, min(first + step, shape[0]))

    def field(self, name: str) -> Field:
        """Axes, dtype, unit, meaning and source equation of a field, as the file has them."""
        column = self._column(name)
        about = column.attributes
        dtype = "str" if column.dtype.kind == "S" else column.dtype.str[1:]
        axes = tuple(axis for axis in column.axes if axis != "t")
        return Field(axes, dtype, about["units"], about["long_name"], about["source"], True)

    @property
    def t_ns(self) -> np.ndarray:
        """Time of each row since the start of the run (ns)."""
        return self["t_ns"]

    @property
    def t(self) -> np.ndarray:
        """Time of each row (UTC)."""
        return self._log.start + self.t_ns.astype("timedelta64[ns]")

    def size(self, axis: str) -> np.ndarray:
        """Length of a ragged axis in each row."""
        return np.diff(self.pointer(axis))

    def pointer(self, axis: str) -> np.ndarray:
        """Where each row begins along a ragged axis; one more than there are rows."""
        if axis not in self._entries:
            raise KeyError(f"no ragged axis {axis!r} in group {self.table.group!r}")
        if axis not in self._pointers:
            sizes = self._read(self._columns[f"{axis}_size"], 0, self._rows)
            pointer = np.concatenate([[0], np.cumsum(sizes, dtype="i8")])
            if pointer[-1] != self._entries[axis] or (sizes < 0).any():
                raise LogError(
                    f"{self._log.path}: {self.table.group}/{axis} has {self._entries[axis]} committed "
                    f"entries, but the rows add up to {pointer[-1]}; the file is damaged"
                )
            self._pointers[axis] = pointer
        return self._pointers[axis]

    def row(self, k: int) -> Record:
        """Record k as it was appended; fields that are not logged are NaN, 0 or empty.

        Raises IndexError when there is no such row, and LogError for a static group.
        """
        if self.static:
            raise LogError(f"group {self.table.group!r} has no rows; use record()")
        if not -self._rows <= k < self._rows:
            raise IndexError(f"row {k} of group {self.table.group!r}, which has {self._rows}")
        k %= self._rows
        values: dict[str, Any] = {}
        for field, column in self._by_field.items():
            if column.ragged:
                first, stop = (int(place) for place in self.pointer(column.ragged)[k : k + 2])
                data = self._read(column, first, stop)
            else:
                data = self._read(column, k, k + 1)[0, ...]
            values[field] = self._as_record(column, np.asarray(data, dtype=column.dtype))
        lengths = {axis: int(self.size(axis)[k]) for axis in self._entries}
        return self._record(values, lengths)

    def record(self) -> Record:
        """The record of a static group; raises LogError for a group of rows."""
        if not self.static:
            raise LogError(f"group {self.table.group!r} has {self._rows} rows; use row(k)")
        return self._record({name: self[name] for name in self.names}, {})

    def _record(self, values: dict[str, Any], lengths: dict[str, int]) -> Record:
        record_type = self.record_type
        known = {field.name for field in dataclasses.fields(record_type)}
        missing = {"t_ns"} & known | _fields(record_type).keys()
        if missing != values.keys():
            raise LogError(
                f"{self._log.path}: group {self.table.group!r} was written with other fields than "
                f"{self.table.record} has"
            )
        for field in dataclasses.fields(record_type):
            spec: Field | None = field.metadata.get("array")
            if spec is None:
                values[field.name] = values[field.name].item()
            elif not spec.logged:
                values[field.name] = self._filler(spec, lengths)
        return record_type(**values)

    def _filler(self, spec: Field, lengths: Mapping[str, int]) -> np.ndarray:
        shape = tuple(
            len(FIXED_AXES[axis]) if axis in FIXED_AXES else lengths.get(axis, len(self._log._labels(axis)))
            for axis in spec.axes
        )
        if spec.dtype == "str":
            return np.full(shape, "")
        dtype = np.dtype(spec.dtype)
        return np.full(shape, np.nan if dtype.kind in "fc" else 0, dtype=dtype)

    def labels(self, axis: str) -> np.ndarray:
        """The coordinates of an axis of the group: names, catalogue numbers, or an index."""
        data = np.asarray(self._group[axis][...])
        return _decoded(data) if data.dtype.kind == "S" else data

    def to_dataframe(self, units: str = "si", axis: str | None = None) -> pd.DataFrame:
        """The group as a tidy table: one row a time and pair, or a time and user, or a time.

        Fields along `axis` (the first ragged axis of the group, else its users, else none) and those
        with one value a row of the log; `t` is a UTC timestamp and vectors become a column a component.
        `units="si"` has the numbers as logged, users by row; `units="human"` degrees and Mbit/s, users
        by name, and column names that carry their unit.
        """
        import pandas as pd

        if units not in ("si", "human"):
            raise ValueError(f"units: expected 'si' or 'human', got {units!r}")
        human = units == "human"
        choices = list(dict.fromkeys(" ".join(column.row_axes) for column in self.table.columns))
        choices.sort(key=lambda key: (key == "", key.split(" ")[0] not in RAGGED_AXES))
        chosen = choices[0] if axis is None else axis
        if chosen not in choices:
            raise ValueError(f"axis: expected one of {choices}, got {axis!r}")
        row_axes = chosen.split()
        ragged = chosen if chosen in self._entries else ""
        counts: Any = self.size(ragged) if ragged else math.prod(self._group[name].shape[0] for name in row_axes)

        def spread(values: np.ndarray) -> np.ndarray:
            return np.repeat(np.atleast_1d(values), counts, axis=0)

        data: dict[str, np.ndarray] = {}
        if not self.static:
            data["t"] = spread(self.t)
        if not ragged:
            rows = 1 if self.static else self._rows
            lengths = [self._group[name].shape[0] for name in row_axes]
            for place, name in enumerate(row_axes):
                number = name == "user" and not human
                labels = np.arange(lengths[place]) if number else self.labels(name)
                block = np.repeat(labels, math.prod(lengths[place + 1 :]))
                data[name] = np.tile(block, rows * math.prod(lengths[:place]))
        for field, column in self._by_field.items():
            if field == "t_ns" or column.name in data or " ".join(column.row_axes) not in ("", chosen):
                continue
            values = self[field]
            fixed = [name for name in column.axes if name in FIXED_AXES]
            values = values.reshape(-1, *(len(FIXED_AXES[name]) for name in fixed))
            values = values if column.row_axes else spread(values)
            if human and field == "user" and values.dtype.kind in "iu" and ragged:
                values = _named(values, self._log._labels("user"))
            for component in np.ndindex(*(len(FIXED_AXES[name]) for name in fixed)):
                parts = [field, *(FIXED_AXES[name][k] for name, k in zip(fixed, component, strict=True))]
                name, scale = _human(parts, column.attributes["units"]) if human else ("_".join(parts), None)
                numbers = values[(..., *component)] if component else values
                data[name] = numbers if scale is None else scale(numbers)
        return pd.DataFrame(data)

    def to_xarray(self) -> Any:
        """The group as an `xarray.Dataset`: named axes, units, real dates; ragged axes with their sizes.

        Raises ImportError, with the extra to install, when xarray is missing.
        """
        try:
            import xarray as xr
        except ImportError as error:
            raise ImportError("to_xarray needs xarray: pip install 'leosim[xarray]'") from error
        variables: dict[str, Any] = {}
        for column in self.table.columns:
            about = {key: value for key, value in column.attributes.items() if value}
            if column.name == "t":
                about.pop("units")
                variables["t"] = (("t",), self.t, about)
                continue
            values = self._as_record(column, self._read(column, 0, self.shape(column.name)[0] if column.axes else 0))
            if column.field == "" and not self.static:
                about["sample_dimension"] = column.name.removesuffix("_size")
            variables[column.name] = (column.axes, values, about)
        for axis in self.table.axes:
            if axis not in variables and axis not in self._entries:
                variables[axis] = ((axis,), self.labels(axis), {})
        coordinates = [axis for axis in self.table.axes if axis in variables]
        return xr.Dataset(variables).set_coords(coordinates)


def _record_types(base: type[Record]) -> Iterator[type[Record]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _record_types(kind)


def _named(rows: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Users by name; a row that is none (-1) has no name."""
    if not len(names):
        return rows
    valid = (rows >= 0) & (rows < len(names))
    return np.where(valid, names[np.where(valid, rows, 0)], "")


_SUFFIXES = {
    "bit s-1 Hz-1": "bit_s_hz",
    "bit s-1": "bit_s",
    "rad s-1": "rad_s",
    "m s-1": "m_s",
    "Hz": "hz",
    "W": "w",
    "1": "",
    "%": "percent",
}


def _to_mega(values: np.ndarray) -> np.ndarray:
    return values / 1e6


_HUMAN: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "rad": ("deg", convert.rad_to_deg),
    "rad s-1": ("deg_s", convert.rad_to_deg),
    "bit s-1": ("mbit_s", _to_mega),
    "bit/s": ("mbit_s", _to_mega),
    "bps": ("mbit_s", _to_mega),
}


def _human(parts: Sequence[str], unit: str) -> tuple[str, Callable[[np.ndarray], np.ndarray] | None]:
    """The column name of a field (and component) with its unit, and the conversion to that unit."""
    suffix = _SUFFIXES.get(unit, "_".join("".join(c if c.isalnum() else " " for c in unit).split()))
    shown, scale = _HUMAN.get(unit, (suffix, None))
    field = parts[0].removesuffix(f"_{suffix}") if suffix else parts[0]
    return "_".join(part for part in (field, *parts[1:], shown) if part), scale
