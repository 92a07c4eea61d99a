"""Rewriting a complete log compressed: what the end of a run does, and what it can be asked for again."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from leosim import parallel
from leosim.log import Log, LogError, LogGroup, open_log
from leosim.log_files import RawFile, put_in_place, removed_on_failure, scratch_of
from leosim.log_layout import COMPRESSION_LEVEL, Skeleton, skeleton
from leosim.records import Record

Each = Callable[[float], None]


def in_silence(share: float) -> None:
    """Nobody is told."""


class Share:
    """Tells after each block which share of the rows of a log is done."""

    def __init__(self, log: Log, each: Each) -> None:
        rows = [log[group] for group in log.groups if not log[group].static]
        shapes = [(c.dtype.itemsize, group.shape(c.name)) for group in rows for c in group.table.columns]
        self._all = max(1, sum(size * math.prod(shape) for size, shape in shapes))
        self._done, self._each = 0, each

    def __call__(self, block: np.ndarray) -> None:
        self._done += block.nbytes
        self._each(self._done / self._all)


def pack_log(path: str | os.PathLike[str], each: Each = in_silence) -> None:
    """Rewrite a complete log compressed under the same name, if the end of its run did not come to that.

    each : as of `LogWriter.finish`. Raises LogError for a log that cannot be read or is not complete.
    """
    with open_log(path) as log:
        if not log.complete:
            raise LogError(f"{path}: not complete; a log is compressed when its run ends")
        if not log.packed:
            pack(log, layout_of(log), each)


def layout_of(log: Log, record_types: Sequence[type[Record]] | None = None) -> Skeleton:
    """The layout a log was written with; of its rows as these record types have it, where they are given."""
    if record_types is None:
        record_types = [log[group].record_type for group in log.groups if not log[group].static]
    statics = [log[group].record() for group in log.groups if log[group].static]
    return skeleton(int(log.start.astype("int64")), record_types, statics, log.attributes)


def pack(log: Log, layout: Skeleton, each: Each) -> None:
    """Put a compressed copy of a log in its place."""
    counts, tell, scratch = log.counts, Share(log, each), scratch_of(log.path)
    with removed_on_failure(scratch), RawFile(scratch, "w+b") as raw:
        with raw.checked(), h5py.File(raw, "w", libver=("v110", "v110")) as file:
            layout.build(file, counts)
            for table in (table for table in layout.tables if not table.static):
                for column in table.columns:
                    blocks = _told(log[table.group].blocks(column.name), raw, tell)
                    _write_packed(file[table.group][column.name], blocks)
            file["committed"][...] = [counts[name] for name in layout.counters]
        put_in_place(scratch, log.path)


def pack_beside(own: Log, source: Log, groups: Collection[str], layout: Skeleton, path: Path) -> None:
    """Put a complete, compressed log in place: the rows of one log, and in some groups those of another.

    groups : taken from `source`, which has the same layout there; `own` has no rows of them
    """
    counts, scratch = (
        own.counts | {k: n for k, n in source.counts.items() if k.split("/")[0] in groups},
        scratch_of(path),
    )
    with removed_on_failure(scratch), RawFile(scratch, "w+b") as raw:
        with raw.checked(), h5py.File(raw, "w", libver=("v110", "v110")) as file:
            layout.build(file, counts)
            for table in (table for table in layout.tables if not table.static):
                for column in table.columns:
                    target = file[table.group][column.name]
                    if table.group in groups:
                        _take_over(target, source[table.group], column.name)
                    else:
                        _write_packed(target, own[table.group].blocks(column.name))
                    raw.check()
            file["committed"][...] = [counts[name] for name in layout.counters]
        put_in_place(scratch, path)


def _take_over(target: Any, source: LogGroup, name: str) -> None:
    """The rows of a dataset of another log: its compressed chunks as they are, where they are cut the same way."""
    if target.compression is None or source.chunks(name) != target.chunks:
        _write_packed(target, source.blocks(name))
        return
    for place, chunk in source.packed_chunks(name):
        target.id.write_direct_chunk(place, chunk)


def _told(blocks: Iterable[np.ndarray], raw: RawFile, tell: Share) -> Iterator[np.ndarray]:
    """Blocks, each told of once it is written; raises OSError when a write failed."""
    for block in blocks:
        yield block
        raw.check()
        tell(block)


def _write_packed(target: Any, blocks: Iterable[np.ndarray]) -> None:
    """Rows into a dataset that HDF5 reads with its shuffle and gzip filters, packed here on the run's threads."""
    rows, first, rest = target.chunks[0], 0, np.empty((0, *target.shape[1:]), dtype=target.dtype)
    for block in blocks:
        data = np.concatenate([rest, block])
        whole = len(data) // rows * rows
        _write_chunks(target, first, data[:whole])
        first, rest = first + whole, data[whole:]
    if len(rest):
        padding = np.zeros((rows - len(rest), *rest.shape[1:]), dtype=rest.dtype)
        _write_chunks(target, first, np.concatenate([rest, padding]))


def _write_chunks(target: Any, first: int, data: np.ndarray) -> None:
    rows, nothing = target.chunks[0], (0,) * (data.ndim - 1)
    packed = [b""] * (len(data) // rows)

    def pack(begin: int, end: int) -> None:
        for i in range(begin, end):
            chunk = np.ascontiguousarray(data[i * rows : (i + 1) * rows])
            shuffled = chunk.reshape(-1).view(np.uint8).reshape(-1, data.dtype.itemsize).T
            packed[i] = zlib.compress(shuffled.tobytes(), COMPRESSION_LEVEL)

    parallel.each_range(len(packed), pack)
    for i, chunk in enumerate(packed):
        target.id.write_direct_chunk((first + i * rows, *nothing), chunk)
