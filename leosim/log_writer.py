"""Writing a log: every prefix of the writes is a readable file, so a killed run can be resumed.

Rows first, then the counts of committed rows; readers look no further than the counts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from leosim.log import Log, LogError, locked, open_log
from leosim.log_files import RawFile, put_in_place, removed_on_failure, scratch_of
from leosim.log_layout import TEXT_BYTES, Table, encoded, skeleton
from leosim.log_pack import Each, Share, in_silence, layout_of, pack, pack_beside
from leosim.records import STATIC_AXES, Record


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
        self._skeleton = skeleton(int(start_utc_ns), record_types, statics, attributes or {})
        self._tables = {table.group: table for table in self._skeleton.tables if not table.static}
        self._types = {record_type.GROUP: record_type for record_type in record_types}
        self._pending: dict[str, list[Record]] = {group: [] for group in self._tables}
        self._counts = dict.fromkeys(self._skeleton.counters, 0)
        self._safe = dict(self._counts)
        self._file: Any = None
        self._raw = RawFile(self.path, "w+b")
        with self._writing():
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
        return {group: self._safe[group] for group in self._tables}

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
                encoded(value, f"{type(record).__name__}.{column.field}", TEXT_BYTES)
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
        with self._writing():
            for group, records in self._pending.items():
                if records:
                    self._write_records(self._tables[group], records)
            self._file.flush()
            self._raw.check()
            self._write_counts()
        for records in self._pending.values():
            records.clear()

    def _write_records(self, table: Table, records: list[Record]) -> None:
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
                block = encoded(block, column.field, TEXT_BYTES)
            blocks[column.name] = np.ascontiguousarray(block, dtype=column.dtype)
        for axis in table.ragged:
            blocks[f"{axis}_size"] = sizes[axis]
        self._write_blocks(table, blocks, {axis: int(sizes[axis].sum()) for axis in table.ragged})
        self._counts[table.group] += len(records)

    def _write_blocks(self, table: Table, blocks: Mapping[str, np.ndarray], entries: Mapping[str, int]) -> None:
        for name, block in blocks.items():
            self._columns[table.group][name].write(block)
        for axis, count in entries.items():
            if count and (table.group, axis) in self._scales:
                self._scales[table.group, axis].extend(count)
            self._counts[f"{table.group}/{axis}"] += count

    def _write_counts(self) -> None:
        self._committed[...] = np.array(list(self._counts.values()), dtype="<i8")
        self._file.flush()
        self._raw.check()
        self._safe = dict(self._counts)

    def _copy(self, log: Log, each: Each) -> None:
        """Take over the committed rows of another log of the same layout."""
        tell = Share(log, each)
        with self._writing():
            for group, table in self._tables.items():
                source = log[group]
                for column in table.columns:
                    for block in source.blocks(column.name):
                        self._columns[group][column.name].write(np.ascontiguousarray(block))
                        self._raw.check()
                        tell(block)
                self._counts[group] = len(source)
                for axis in table.ragged:
                    entries = int(source.pointer(axis)[-1])
                    if (group, axis) in self._scales:
                        self._scales[group, axis].extend(entries)
                    self._counts[f"{group}/{axis}"] = entries
            self._file.flush()
            self._raw.check()
            self._write_counts()

    def finish(self, each: Each = in_silence) -> None:
        """Commit what is buffered, mark the log complete and rewrite it compressed under the same name.

        each : called with the share of the rows that is rewritten; an exception it raises ends the rewriting
        A process killed meanwhile, or a full disk, leaves the complete, uncompressed file.
        """
        self.commit()
        with self._writing():
            self._file["complete"][()] = 1
            self._file.flush()
        self.close()
        if any(self.committed_rows.values()):
            with open_log(self.path) as log:
                pack(log, self._skeleton, each)

    def finish_beside(self, source: Log, groups: Collection[str], path: Path) -> None:
        """Put a complete, compressed log of these rows in place, with those of another log in some groups.

        The writer's own file is closed and stays: it is the caller's to remove.
        """
        self.commit()
        self.close()
        with open_log(self.path) as own:
            pack_beside(own, source, groups, self._skeleton, path)

    def close(self) -> None:
        """Close the file; records that were not committed are dropped."""
        if self._file is not None and self._file.id.valid:
            with locked(self._raw, shared=False):
                self._file.close()
        self._raw.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Write under a lock; OSError, and a closed log, when the file takes no more."""
        try:
            with locked(self._raw, shared=False), self._raw.checked():
                yield
        except OSError:
            self.close()
            raise

    def _check_open(self) -> None:
        if not self._file.id.valid:
            raise ValueError(f"{self.path}: the log is closed; continue it with resume_writer")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
    scratch = scratch_of(path)
    with removed_on_failure(scratch):
        writer = LogWriter(scratch, start_utc_ns, record_types, statics, attributes)
        try:
            put_in_place(scratch, path)
        except BaseException:
            writer.close()
            raise
    writer.path = path
    return writer


def resume_writer(
    unfinished: str | os.PathLike[str] | Log,
    record_types: Sequence[type[Record]] | None = None,
    each: Each = in_silence,
) -> LogWriter:
    """Continue an unfinished log, by its path or open: its committed rows in a new file in its place, open for more.

    Static records and attributes are those of the file; `record_types` must be those it was written
    with, and may be left out when their classes are imported. `each` is called with the share of the rows that is
    copied. Raises LogError when the log cannot be read, is complete, or holds other fields, and OSError when the
    copy cannot be written; whatever happens, the log is there as it was, or continued.
    """
    with contextlib.ExitStack() as stack:
        log = unfinished if isinstance(unfinished, Log) else stack.enter_context(open_log(unfinished))
        if log.complete:
            raise LogError(f"{log.path}: the log is complete; there is nothing to resume")
        if record_types is None:
            record_types = [log[group].record_type for group in log.groups if not log[group].static]
        asked = layout_of(log, record_types)
        old = {group: _signature(log[group].table) for group in log.groups}
        new = {table.group: _signature(table) for table in asked.tables}
        if old != new:
            differing = ", ".join(
                sorted(group for group in old.keys() | new.keys() if old.get(group) != new.get(group))
            )
            raise LogError(
                f"{log.path}: was written with other fields than are asked for (group {differing}); run it anew"
            )
        scratch = scratch_of(log.path)
        with removed_on_failure(scratch):
            writer = LogWriter(scratch, asked.start_utc_ns, record_types, asked.statics, log.attributes)
            try:
                writer._copy(log, each)
                put_in_place(scratch, log.path)
            except BaseException:
                writer.close()
                raise
        writer.path = log.path
        return writer


def _signature(table: Table) -> list[tuple[str, str, tuple[str, ...], str]]:
    """What two layouts must share for their rows to be the same."""
    return [
        (column.name, column.field, column.axes, "str" if column.dtype.kind == "S" else column.dtype.str)
        for column in table.columns
    ]
