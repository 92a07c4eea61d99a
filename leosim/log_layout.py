"""The layout of a log: what a record type looks like in the HDF5 file, and the file before its first row.

Groups, datasets, dtypes, chunks, dimension scales and attributes; CF conventions, ragged axes as contiguous
ragged arrays.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from leosim.records import FIXED_AXES, RAGGED_AXES, STATIC_AXES, Field, Record

FORMAT = 3

RESERVED = ("Conventions", "leosim_log", "start_utc_ns")
TEXT_BYTES = 64  # of a string in a row; HDF5 strings of fixed length are what every reader opens
LIVE_CHUNK_BYTES = 1 << 14
DONE_CHUNK_BYTES = 1 << 17
COMPRESSION_LEVEL = 1  # of gzip, behind a shuffle
_DIMENSION_ONLY = "This is a netCDF dimension but not a netCDF variable."


@dataclass(frozen=True)
class Column:
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
class Table:
    """One group: the datasets of one record type."""

    group: str
    record: str
    static: bool
    columns: tuple[Column, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """All axes of the group, t first."""
        return tuple(dict.fromkeys(axis for column in self.columns for axis in column.axes))

    @property
    def ragged(self) -> tuple[str, ...]:
        """The ragged axes of the group."""
        return tuple(axis for axis in self.axes if axis in RAGGED_AXES)


def record_name(record_type: type[Record]) -> str:
    """Module and name of a record type, as a log keeps them."""
    return f"{record_type.__module__}.{record_type.__qualname__}"


def _storage(where: str, dtype: str) -> np.dtype[Any]:
    """The dtype in the file; integers and floats of at least 32 bits' precision only."""
    if dtype == "str":
        return h5py.string_dtype("utf-8", TEXT_BYTES)
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


def logged_fields(record_type: type[Record]) -> dict[str, Field]:
    """Every logged field of a record but its time, plain numbers included, in order."""
    found = {}
    for field in dataclasses.fields(record_type):
        spec = field.metadata.get("array")
        if spec is None and field.name != "t_ns":
            spec = _plain_field(record_type, field)
        if spec is not None and spec.logged:
            found[field.name] = spec
    return found


def _table(record_type: type[Record], static: bool, start_utc_ns: int) -> Table:
    """The layout of a record type; raises ValueError for what the log cannot hold."""
    name = record_type.__name__
    if not record_type.GROUP:
        raise ValueError(f"{name}: expected a record type with a GROUP, got none; such records are not logged")
    timed = any(field.name == "t_ns" for field in dataclasses.fields(record_type))
    if timed == static:
        raise ValueError(
            f"{name}: " + ("a static record has no t_ns" if static else "a record of an epoch needs a field t_ns")
        )
    fields = logged_fields(record_type)
    axes = {axis for spec in fields.values() for axis in spec.axes}
    columns: list[Column] = []
    if not static:
        calendar = {
            "units": f"nanoseconds since {iso(start_utc_ns)}",
            "calendar": "proleptic_gregorian",
            "standard_name": "time",
            "long_name": "time (UTC)",
            "source": "",
        }
        columns.append(Column("t", "t_ns", ("t",), np.dtype("<i8"), calendar))
        for axis in [axis for axis in RAGGED_AXES if axis in axes]:
            about = {
                "units": "1",
                "long_name": f"number of entries along {axis} in the row",
                "source": "",
                "sample_dimension": axis,
            }
            columns.append(Column(f"{axis}_size", "", ("t",), np.dtype("<i8"), about))
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
        columns.append(Column(dataset, field, spec.axes if static or ragged else ("t", *spec.axes), dtype, about))
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise ValueError(f"{name}: expected distinct names in the log, got {names}")
    return Table(record_type.GROUP, record_name(record_type), static, tuple(columns))


def iso(utc_ns: int) -> str:
    """An instant as ISO 8601, without trailing zeros of the second."""
    text = str(np.datetime64(utc_ns, "ns"))
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def encoded(values: np.ndarray, where: str = "", width: int = 0) -> np.ndarray:
    """Strings as UTF-8 of fixed length: the longest, or `width` bytes; raises ValueError if longer."""
    data = np.char.encode(values, "utf-8")
    longest = max(1, max((len(item) for item in data.ravel().tolist()), default=1))
    if width and longest > width:
        raise ValueError(f"{where}: expected at most {width} bytes of UTF-8, got {longest}")
    return data.astype(h5py.string_dtype("utf-8", width or longest))


def decoded(data: np.ndarray) -> np.ndarray:
    """Fixed-length UTF-8 bytes of the file as text."""
    return np.asarray(np.char.decode(data.astype(f"S{data.dtype.itemsize}"), "utf-8"))


def _set_attributes(target: Any, attributes: Mapping[str, str | int | float]) -> None:
    """Write attributes; strings of fixed length, as the datasets have them."""
    for name, value in attributes.items():
        if isinstance(value, str):
            data = value.encode("utf-8")
            kind = h5py.string_dtype("utf-8", max(1, len(data)))
            target.attrs.create(name, np.array(data, dtype=kind), dtype=kind)
        else:
            target.attrs[name] = np.int64(value) if isinstance(value, int) else np.float64(value)


def attribute(value: Any) -> str | int | float:
    """An attribute as Python has it."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.item() if isinstance(value, np.generic) else value


def _chunk(column: Column, inner: tuple[int, ...], rows: int | None) -> tuple[int, ...]:
    """The chunk shape of a growing dataset: of about 16 kB while it grows, 128 kB when all rows are known."""
    row_bytes = max(1, math.prod(inner) * column.dtype.itemsize)
    if rows is None:
        return (max(1, min(LIVE_CHUNK_BYTES // row_bytes, 4096)), *(max(1, n) for n in inner))
    return (max(1, min(DONE_CHUNK_BYTES // row_bytes, rows)), *(max(1, n) for n in inner))


def _static_labels(record: Record, axis: str, length: int) -> np.ndarray:
    """The coordinates of a static axis: its field of the same name, the names of the users, or an index."""
    fields = record.array_fields()
    if axis == "user" and "name" in fields and fields["name"].axes == ("user",):
        return encoded(getattr(record, "name"))  # noqa: B009
    if axis in fields and fields[axis].axes == (axis,) and fields[axis].dtype != "str":
        return np.asarray(getattr(record, axis))
    return np.arange(length, dtype="<i4")


@dataclass(frozen=True)
class Skeleton:
    """All of a log but its rows: layout, static records, coordinates, attributes."""

    start_utc_ns: int
    tables: tuple[Table, ...]
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

    def _static(self, group: Any, column: Column, record: Record, compressed: bool) -> Any:
        data = np.asarray(getattr(record, column.field))
        characters = data.dtype.itemsize // 4 if data.dtype.kind == "U" else 0
        data = encoded(data) if characters else data.astype(column.dtype)
        how: dict[str, Any] = {}
        if compressed and data.ndim and data.nbytes > 1024:
            rows = max(1, DONE_CHUNK_BYTES * len(data) // data.nbytes)
            chunk = (min(rows, len(data)), *data.shape[1:])
            how = {"chunks": chunk, "compression": "gzip", "compression_opts": COMPRESSION_LEVEL, "shuffle": True}
        made = group.create_dataset(column.name, data=data, dtype=data.dtype, **how)
        if characters:
            made.attrs["characters"] = np.int64(characters)
        return made

    def _growing(self, group: Any, table: Table, column: Column, counts: Mapping[str, int] | None) -> Any:
        inner = tuple(self.length(axis) for axis in column.axes[1:])
        counter = f"{table.group}/{column.ragged}" if column.ragged else table.group
        rows = None if counts is None else counts[counter]
        how = {} if rows is None else {"compression": "gzip", "compression_opts": COMPRESSION_LEVEL, "shuffle": True}
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

    def _scales(self, group: Any, table: Table, counts: Mapping[str, int] | None) -> None:
        for axis in table.axes:
            if axis in group:
                group[axis].make_scale(axis)
            elif axis in table.ragged:
                rows = 0 if counts is None else counts[f"{table.group}/{axis}"]
                made = group.create_dataset(axis, (rows,), maxshape=(None,), chunks=(4096,), dtype=">f4")
                made.make_scale(f"{_DIMENSION_ONLY}{rows:10d}")
            else:
                labels = encoded(np.array(FIXED_AXES[axis])) if axis in FIXED_AXES else self.labels[axis]
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


def skeleton(
    start_utc_ns: int,
    record_types: Sequence[type[Record]],
    statics: Sequence[Record],
    attributes: Mapping[str, str | int | float],
) -> Skeleton:
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
        if name in RESERVED or isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(
                f"attribute {name!r}: expected a str, int or float under a name other than "
                f"{', '.join(RESERVED)}; got {value!r}"
            )
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"attribute {name!r}: expected 64 bits, got {value}; pass it as a string")
    return Skeleton(start_utc_ns, tuple(tables), tuple(statics), labels, dict(attributes))
