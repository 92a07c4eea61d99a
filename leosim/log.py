"""Reading the log of a run: typed records in one crash-safe HDF5 file, while it is written or after.

`log_writer` writes it, `log_layout` says what is where in it.
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
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np

from leosim import units as convert
from leosim.log_layout import FORMAT, RESERVED, Column, Table, attribute, decoded, iso, logged_fields, record_name
from leosim.records import FIXED_AXES, RAGGED_AXES, STATIC_AXES, Field, Record

try:
    import fcntl
except ImportError:  # no advisory locks on this platform
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import pandas as pd

NOT_IN_DIGEST = ("timing",)

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_ERRORS = (OSError, KeyError, RuntimeError, ValueError)
BLOCK_BYTES = 1 << 22


class LogError(ValueError):
    """A file that cannot be read as a log, or a log that does not hold what is asked of it."""


class EmptyLogError(LogError):
    """A log without a committed row: its run stopped before its first epoch was written."""


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
        with locked(stream, shared=True):
            if stream.read(len(_SIGNATURE)) != _SIGNATURE:
                raise LogError(f"{path}: not an HDF5 file (a log has leosim's format, made by leosim run)")
            try:
                file = h5py.File(stream, "r")
                stack.callback(file.close)
                version = file.attrs.get("leosim_log")
                if version is None:
                    raise LogError(f"{path}: an HDF5 file, but not a leosim log")
                if version != FORMAT:
                    writer = attribute(file.attrs.get("leosim_version", "another version"))
                    raise LogError(
                        f"{path}: a log of format {version}, written by leosim {writer}; this version of leosim "
                        f"reads format {FORMAT}"
                    )
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


def is_complete(path: str | os.PathLike[str]) -> bool:
    """Whether there is a log of a run that came to its end; a quick look, at no row."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(*_HDF5_ERRORS))
        stream = stack.enter_context(Path(path).open("rb"))
        stack.enter_context(locked(stream, shared=True))
        return bool(stack.enter_context(h5py.File(stream, "r"))["complete"][()])
    return False


def _damaged(path: Path, error: BaseException) -> LogError:
    reason = " ".join(str(error).split())
    return LogError(f"{path}: truncated or damaged, cannot be read as a log ({reason[:160]})")


class Log:
    """A log that is open for reading: `log.rates["hardening"]`, `log.rates.to_dataframe()`, `log.digest()`."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self._stack = contextlib.ExitStack()
        self.attributes: dict[str, str | int | float] = {
            name: attribute(value) for name, value in file.attrs.items() if name not in RESERVED
        }
        self.complete = bool(file["complete"][()])
        self.start: np.datetime64 = np.datetime64(int(file.attrs["start_utc_ns"]), "ns")
        counters = str(attribute(file["committed"].attrs["counters"])).split()
        counts = dict(zip(counters, file["committed"][...].tolist(), strict=True))
        self.counts: dict[str, int] = counts
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

    @property
    def packed(self) -> bool:
        """Whether the rows are compressed, as they are once a run has come to its end."""
        return any(group.packed for group in self._groups.values())

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
        return f"<Log {self.path.name}, from {iso(int(self.start.astype('int64')))} UTC, {state}; rows: {rows}>"

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


def _read_table(group: Any) -> Table:
    """The layout of a group, from its attributes."""
    columns = []
    for name in str(attribute(group.attrs["columns"])).split():
        dataset = group[name]
        given = dataset.attrs
        about = {key: str(attribute(given[key])) for key in ("units", "long_name", "source")}
        axes = tuple(str(attribute(given["axes"])).split())
        columns.append(Column(name, str(attribute(given["field"])), axes, dataset.dtype, about))
    static = attribute(group.attrs["kind"]) == "static"
    return Table(group.name[1:], str(attribute(group.attrs["record"])), static, tuple(columns))


class LogGroup:
    """The records of one type: `group["range_m"]` is an array over all rows, `group.row(k)` one record."""

    def __init__(self, log: Log, group: Any, table: Table, counts: Mapping[str, int]) -> None:
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

    def _stop(self, column: Column) -> int:
        return self._entries[column.ragged] if column.ragged else self._rows

    def _column(self, name: str) -> Column:
        column = self._by_field.get(name) or self._columns.get(name)
        if column is None:
            raise KeyError(f"no field {name!r} in group {self.table.group!r}; it has {', '.join(self.names)}")
        return column

    def _read(self, column: Column, first: int, stop: int) -> np.ndarray:
        """Rows of a dataset as they are in the file."""
        try:
            data = self._group[column.name]
            return np.asarray(data[first:stop] if column.axes else data[()])
        except _HDF5_ERRORS as error:
            raise _damaged(self._log.path, error) from error

    @property
    def packed(self) -> bool:
        """Whether rows of the group are compressed; static groups have none."""
        return not self.static and any(self._group[name].compression is not None for name in self._columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields, `t_ns` left out."""
        return tuple(name for name in self._by_field if name != "t_ns")

    @property
    def record_type(self) -> type[Record]:
        """The class of the records; raises LogError when none that is imported fits."""
        found = [kind for kind in _record_types(Record) if record_name(kind) == self.table.record]
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

    def _as_record(self, column: Column, data: np.ndarray) -> np.ndarray:
        if column.dtype.kind != "S":
            return data
        text = decoded(data)
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
        step = max(1, BLOCK_BYTES // max(1, math.prod(shape[1:]) * column.dtype.itemsize))
        for first in range(0, shape[0], step):
            yield self._read(column, first, min(first + step, shape[0]))

    def packed_chunks(self, name: str) -> Iterator[tuple[tuple[int, ...], bytes]]:
        """The compressed chunks of a dataset as they are in the file, each with where it begins; none without."""
        data = self._group[self._columns[name].name]
        if data.compression is None:
            return
        for k in range(data.id.get_num_chunks()):
            place = data.id.get_chunk_info(k).chunk_offset
            yield place, data.id.read_direct_chunk(place)[1]

    def chunks(self, name: str) -> tuple[int, ...] | None:
        """The shape of the chunks of a compressed dataset, None without compression."""
        data = self._group[self._columns[name].name]
        found: tuple[int, ...] | None = data.chunks if data.compression is not None else None
        return found

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
        return self.read_rows(k % self._rows, k % self._rows + 1)[0]

    def read_rows(self, first: int, stop: int) -> list[Record]:
        """Records first to stop, the last one not among them: each dataset is read once for all of them."""
        pointers = {axis: self.pointer(axis) for axis in self._entries}
        read: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        for field, column in self._by_field.items():
            pointer = pointers[column.ragged] if column.ragged else None
            ends = (first, stop) if pointer is None else (int(pointer[first]), int(pointer[stop]))
            data = self._as_record(column, np.asarray(self._read(column, *ends), dtype=column.dtype))
            read[field] = data, None if pointer is None else pointer[first : stop + 1] - ends[0]
        records = []
        for k in range(stop - first):
            values = {
                field: data[k, ...] if pointer is None else data[pointer[k] : pointer[k + 1]]
                for field, (data, pointer) in read.items()
            }
            lengths = {axis: int(p[first + k + 1] - p[first + k]) for axis, p in pointers.items()}
            records.append(self._record(values, lengths))
        return records

    @property
    def row_bytes(self) -> float:
        """Bytes of a row, on average."""
        size = sum(math.prod(self.shape(name)) * column.dtype.itemsize for name, column in self._columns.items())
        return size / max(1, self._rows)

    def record(self) -> Record:
        """The record of a static group; raises LogError for a group of rows."""
        if not self.static:
            raise LogError(f"group {self.table.group!r} has {self._rows} rows; use row(k)")
        return self._record({name: self[name] for name in self.names}, {})

    def _record(self, values: dict[str, Any], lengths: dict[str, int]) -> Record:
        record_type = self.record_type
        known = {field.name for field in dataclasses.fields(record_type)}
        missing = {"t_ns"} & known | logged_fields(record_type).keys()
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
        return decoded(data) if data.dtype.kind == "S" else data

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


@contextlib.contextmanager
def locked(stream: Any, shared: bool) -> Iterator[None]:
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
