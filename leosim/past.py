"""What a log has to say while its run is played again: rows taken as they are, or compared with what is computed.

`Logged` is the past of a resumed run and of a replay with other settings, `Checked` that of a verification.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from leosim.log import Log
from leosim.log_layout import logged_fields
from leosim.records import Csi, Record, pair_code

BLOCK_BYTES = 1 << 24  # of a group, read at once
TOLERANCE, NOISE = 1e-9, 1e-12  # relative, between machines that round differently

Compute = Callable[[], tuple[Any, ...]]


class NotLoggedError(LookupError):
    """What is asked for can neither be computed nor found in the log."""


class UnusableRowError(ValueError):
    """A logged row that nothing can be computed from."""


class Reader:
    """The rows of a log one after the other, read in blocks."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._blocks: dict[str, tuple[int, list[Record]]] = {}

    def count(self, record_type: type[Record]) -> int:
        """Committed rows of a record type; none of one the log does not have."""
        return len(self.log[record_type.GROUP]) if record_type.GROUP in self.log else 0

    def row(self, record_type: type[Record], k: int) -> Record:
        """Row k."""
        name = record_type.GROUP
        first, records = self._blocks.get(name, (0, []))
        if not first <= k < first + len(records):
            group = self.log[name]
            count = max(1, int(BLOCK_BYTES / max(1.0, group.row_bytes)))
            first, records = k, group.read_rows(k, min(k + count, len(group)))
            self._blocks[name] = first, records
        return records[k - first]


class Logged:
    """Rows are taken where they are logged, and computed where the log ends; only those of some types, if asked."""

    def __init__(self, log: Log, kept: Collection[type[Record]] | None = None) -> None:
        self._reader, self._kept = Reader(log), kept

    def rows(self, record_type: type[Record]) -> int:
        """Number of rows that are taken."""
        return self._reader.count(record_type) if self._kept is None or record_type in self._kept else 0

    def take(self, types: tuple[type[Record], ...], k: int, compute: Compute) -> tuple[Any, ...]:
        """Row k of some record types, from the log if it has them all."""
        if all(k < self.rows(record_type) for record_type in types):
            return tuple(self._reader.row(record_type, k) for record_type in types)
        return compute()


# ---------------------------------------------------------------------------------------------
# Comparing


@dataclass(frozen=True)
class Difference:
    """A value in the log that is not the one computed from its inputs.

    group, field : where it is in the log; row : of the group, -1 for a static one; t_ns : its time since the start;
    index : within the row; logged, computed : the two values
    """

    group: str
    field: str
    row: int
    t_ns: int
    index: tuple[int, ...]
    logged: Any
    computed: Any

    def __str__(self) -> str:
        where = f"{self.group}/{self.field}" + (f"[{', '.join(map(str, self.index))}]" if self.index else "")
        when = f"row {self.row} (t = {self.t_ns / 1e9:g} s), " if self.row >= 0 else ""
        return f"{when}{where}: logged {self.logged!r}, computed {self.computed!r}"


def differing(logged: np.ndarray, computed: np.ndarray) -> np.ndarray:
    """Which values of two arrays of one shape are not the same bits, all NaN being one value: [...] bool."""
    if logged.dtype.kind != "f":
        return np.asarray(logged != computed)
    kind = f"u{logged.dtype.itemsize}"
    same = np.ascontiguousarray(logged).view(kind) == np.ascontiguousarray(computed).view(kind)
    return ~(same.reshape(logged.shape) | (np.isnan(logged) & np.isnan(computed)))


def beyond_rounding(logged: np.ndarray, computed: np.ndarray) -> np.ndarray:
    """Which values differ by more than rounding; whole numbers and text by anything at all: [...] bool.

    By more than `TOLERANCE` of the larger one, and `NOISE` of the largest of all: what is left of two large numbers.
    """
    unequal = differing(logged, computed)
    if logged.dtype.kind != "f":
        return unequal
    with np.errstate(invalid="ignore", over="ignore"):
        floor = NOISE * np.abs(computed[np.isfinite(computed)]).max(initial=0.0)
        close = np.abs(logged - computed) <= TOLERANCE * np.maximum(np.abs(logged), np.abs(computed)) + floor
    return unequal & ~close


def compare(logged: Record, computed: Record, row: int) -> tuple[Difference | None, bool]:
    """The first difference of two records of a type, and whether any is beyond rounding."""
    t_ns = int(getattr(logged, "t_ns", 0))
    first, beyond = None, False
    for name in (*(("t_ns",) if hasattr(logged, "t_ns") else ()), *logged_fields(type(logged))):
        a, b = np.asarray(getattr(logged, name)), np.asarray(getattr(computed, name))
        if a.shape != b.shape:
            found = Difference(logged.GROUP, name, row, t_ns, (), f"{len(a)} entries", f"{len(b)} entries")
            return first or found, True
        unequal = differing(a, b)
        if unequal.any():
            index = tuple(int(i) for i in np.argwhere(unequal)[0])
            first = first or Difference(logged.GROUP, name, row, t_ns, index, a[index].item(), b[index].item())
            beyond = beyond or bool(beyond_rounding(a, b).any())
    return first, beyond


class Checked:
    """Rows are computed from logged inputs and compared with the log; the loop goes on with what is logged.

    That keeps each step apart from the last one's rounding. A row that is off by more than rounding is not gone on
    with: what is computed stands in, so that one wrong value is one difference and not the start of many (without
    the elements a wrong CSI cannot be told from a right one; decisions after the one made of it may differ, too).
    computable : the types that can be recomputed; rows of the others are taken as they are
    """

    def __init__(self, log: Log, users: int, computable: Collection[type[Record]]) -> None:
        self._reader, self._users, self._computable = Reader(log), users, computable
        self._first: list[tuple[int, int, Difference]] = []
        self.compared: Counter[str] = Counter()
        self.different: Counter[str] = Counter()
        self.beyond: Counter[str] = Counter()
        self.unverified: Counter[str] = Counter()

    def rows(self, record_type: type[Record]) -> int:
        """No row is taken without a look at it."""
        return 0

    @property
    def first(self) -> Difference | None:
        """The earliest difference in the time of the run."""
        return min(self._first, key=lambda found: found[:2])[2] if self._first else None

    def take(self, types: tuple[type[Record], ...], k: int, compute: Compute) -> tuple[Any, ...]:
        """Row k of some record types, recomputed and compared."""
        there = all(k < self._reader.count(record_type) for record_type in types)
        logged = tuple(self._reader.row(record_type, k) for record_type in types) if there else ()
        if not set(types) <= set(self._computable):
            return self._believed(logged, k)
        try:
            computed = compute()
        except NotLoggedError:
            self.unverified.update(record_type.GROUP for record_type in types)
            return logged
        if not there:
            for record in computed:
                self.note(Difference(record.GROUP, "t", k, record.t_ns, (), "no row", "a row"), True)
            return computed
        return tuple(self.compare(a, b, k) for a, b in zip(logged, computed, strict=True))

    def compare(self, logged: Record, computed: Record, row: int = -1) -> Record:
        """Note how a logged record differs from the computed one; returns the one to go on with."""
        self.compared[logged.GROUP] += 1
        found, beyond = compare(logged, computed, row)
        if found is not None:
            self.note(found, beyond)
        return computed if beyond else logged

    def count(self, record_type: type[Record]) -> None:
        """Note rows that are in the log and should not be: it is complete, and more than were computed."""
        name, have = record_type.GROUP, self._reader.count(record_type)
        seen = self.compared[name] + self.unverified[name]
        if record_type in self._computable and have > seen:
            row: Any = self._reader.row(record_type, seen)
            self.note(Difference(name, "t", seen, row.t_ns, (), "a row", "no row"), True)

    def note(self, found: Difference, beyond: bool = True) -> None:
        """Count a difference of a row."""
        self._first.append((found.t_ns if found.row >= 0 else -1, len(self._first), found))
        self._first = [min(self._first, key=lambda one: one[:2]), self._first[-1]][: len(self._first)]
        self.different[found.group] += 1
        self.beyond[found.group] += beyond

    def _believed(self, logged: tuple[Record, ...], k: int) -> tuple[Record, ...]:
        for record in logged:
            wrong = _unusable(record, self._users) if isinstance(record, Csi) else None
            if wrong is not None:
                name, index, value, expected = wrong
                self.note(Difference("csi", name, k, int(getattr(record, "t_ns", 0)), index, value, expected), True)
                raise UnusableRowError(str(self._first[-1][2]))
        return logged


def _unusable(csi: Csi, users: int) -> tuple[str, tuple[int, ...], Any, str] | None:
    """The first value of a CSI that cannot be: its field, index, value, and what it should be."""
    code = pair_code(csi.sat, csi.user)
    wrong = [
        ("user", (csi.user < 0) | (csi.user >= users), f"a row from 0 to {users - 1}"),
        ("sat", np.append(False, np.diff(code) <= 0), "pairs in order of satellite and user"),
        ("candidate", csi.candidate > 1, "0 or 1"),
        ("cosines", ~((csi.cosines**2).sum(axis=1) <= 1.0), "direction cosines"),
        *((name, ~(getattr(csi, name) > 0.0), "a positive number") for name in ("range_m", "beta")),
        ("kappa", ~(csi.kappa >= 0.0), "a number of at least 0"),
        *(
            (name, ~np.isfinite(getattr(csi, name)), "a finite number")
            for name, spec in Csi.array_fields().items()
            if spec.dtype == "f8" and spec.axes == ("pair",)
        ),
    ]
    for name, mask, expected in wrong:
        if mask.any():
            i = int(np.argmax(mask))
            return name, (i,), getattr(csi, name)[i].tolist(), expected
    return None
