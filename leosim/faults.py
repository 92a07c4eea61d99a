"""Faults as events of a scenario: what fails when, as functions of time, and what becomes of a decision then.

Nothing here remembers: a resumed run meets the same faults at the same nanosecond.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from leosim import elements
from leosim.elements import Constellation
from leosim.records import (
    BEGINS,
    CENTRAL_NODE,
    ENDS,
    FEEDER_LINK,
    SATELLITE,
    SOLVER,
    SOLVER_HELD,
    Beams,
    Clusters,
    Event,
    Satellites,
    Solver,
    pair_code,
)

PAIRS = ("user", "sat", "amplitude", "spot")  # of a decision
NEVER_NS = 2**63 - 1  # the end of a fault that lasts to the end of the run
TEXT = 60  # characters of the text of an event


@dataclass(frozen=True)
class Fault:
    """One fault, in force from `begin_ns` to before `end_ns` (ns since the start of the run).

    kind : of `records.FAULT_KIND`; sats : [sat] catalogue numbers it concerns, ascending, None: all
    late_ns : of a central node that is late; text : what an event says of it
    """

    kind: int
    begin_ns: int
    end_ns: int
    sats: np.ndarray | None = None
    late_ns: int = 0
    text: str = ""

    def holds(self, t_ns: int) -> bool:
        """Whether it is in force."""
        return self.begin_ns <= t_ns < self.end_ns

    def concerns(self, sat: np.ndarray) -> np.ndarray:
        """Which satellites it concerns: [sat] bool."""
        return np.ones(sat.shape, dtype=bool) if self.sats is None else np.isin(sat, self.sats)

    @property
    def sat(self) -> int:
        """The satellite it concerns, if it is one; else -1."""
        return int(self.sats[0]) if self.sats is not None and self.sats.size == 1 else -1


@dataclass(frozen=True)
class Faults:
    """The faults of a run, in the order of the scenario."""

    faults: tuple[Fault, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.faults)

    def now(self, kind: int, t_ns: int) -> list[Fault]:
        """The faults of a kind in force at a time."""
        return [fault for fault in self.faults if fault.kind == kind and fault.holds(t_ns)]

    def silent(self, sat: np.ndarray, t_ns: int) -> np.ndarray:
        """Which satellites are out and transmit nothing: [sat] bool."""
        return self._concerned(SATELLITE, sat, t_ns)

    def cut_off(self, sat: np.ndarray, t_ns: int) -> np.ndarray:
        """Which satellites have no feeder link: [sat] bool."""
        return self._concerned(FEEDER_LINK, sat, t_ns)

    def _concerned(self, kind: int, sat: np.ndarray, t_ns: int) -> np.ndarray:
        found = np.zeros(sat.shape, dtype=bool)
        for fault in self.now(kind, t_ns):
            found |= fault.concerns(sat)
        return found

    def all_cut_off(self, t_ns: int) -> bool:
        """Whether the central node reaches no satellite at all."""
        return any(fault.sats is None for fault in self.now(FEEDER_LINK, t_ns))

    def late_ns(self, t_ns: int) -> int:
        """By how much longer than declared the central node computes what it begins now (ns)."""
        return sum(fault.late_ns for fault in self.now(CENTRAL_NODE, t_ns))

    def solver_fails(self, t_ns: int) -> bool:
        """Whether a solver that is called now comes back with a bad status."""
        return bool(self.now(SOLVER, t_ns))

    def edges(self, end_ns: int) -> list[tuple[int, Fault, int]]:
        """Beginnings and ends before the end of the run, in order of time: (ns, fault, BEGINS or ENDS)."""
        edges = [(fault.begin_ns, fault, BEGINS) for fault in self.faults]
        edges += [(fault.end_ns, fault, ENDS) for fault in self.faults]
        return sorted((edge for edge in edges if edge[0] < end_ns), key=lambda edge: edge[0])

    def event(self, t_ns: int, kind: int, action: int, count: int, text: str = "") -> Event:
        """The event of something that a fault of this kind, in force now, has done."""
        sats = {fault.sat for fault in self.now(kind, t_ns)}
        return event(t_ns, kind, action, sats.pop() if len(sats) == 1 else -1, count, text)


def event(t_ns: int, kind: int, action: int, sat: int, count: int, text: str) -> Event:
    """An event as the log has it; long texts are cut."""
    said = text.encode("ascii", "replace").decode()[:TEXT]
    return Event(t_ns, np.array(kind), np.array(action), np.array(sat), np.array(count), np.array(said))


def satellites(constellation: Constellation, wanted: int | str) -> np.ndarray:
    """The catalogue numbers that a number or a name pattern stands for: [sat], ascending.

    Raises ValueError, with the nearest names, when there is none.
    """
    hit = elements.named(constellation, str(wanted))
    if not hit.any():
        raise ValueError(
            f"expected a catalogue number or a name pattern of the constellation, got {wanted!r}; "
            f"{elements.nearest_names(constellation, str(wanted))}"
        )
    return constellation.sat[hit]


def how_far(true: Satellites, believed: Satellites, sats: np.ndarray | None) -> str:
    """In words, how far satellites (all, or these) are from where they are believed to be, and how many are unknown."""
    asked = true.sat if sats is None else np.intersect1d(true.sat, sats)
    both, at, put = np.intersect1d(true.sat, believed.sat, return_indices=True)
    at, put = at[np.isin(both, asked)], put[np.isin(both, asked)]
    off_km = 1e-3 * np.linalg.norm(true.pos_ecef[at] - believed.pos_ecef[put], axis=1)
    median, high = np.quantile(off_km, [0.5, 0.95]) if off_km.size else (math.nan, math.nan)
    return f"median {median:.3g} km off, 95 % {high:.3g} km, {asked.size - at.size} unknown"


def held(previous: Clusters, t_ns: int, effective_t_ns: int) -> Clusters:
    """The decision before once more, in place of one whose solver failed: its pairs, powers and beams."""
    return previous.replace(t_ns=t_ns, effective_t_ns=effective_t_ns)


def failed(t_ns: int) -> Solver:
    """What the log says of a decision whose solver failed: its status, and nothing known."""
    unknown, none = np.array(math.nan), np.array(-1)
    return Solver(t_ns, np.array(SOLVER_HELD), np.array(0), unknown, unknown, unknown, none, unknown)


def nothing(decision: Clusters) -> Clusters:
    """A decision that serves nobody, of as many users."""
    none = np.zeros(decision.user.size, dtype=bool)
    return decision.replace(**{name: getattr(decision, name)[none] for name in PAIRS})


def received(new: Clusters, before: Clusters, cut_off: Faults, t_ns: int) -> tuple[Clusters, int]:
    """What is in force when a decision arrives while some satellites are cut off: those go on as before.

    before : the decision in force until now
    Returns the new decision with the old pairs of the satellites that did not get it, and how many pairs of these
    satellites either decision has.
    """
    gone, stale = cut_off.cut_off(new.sat, t_ns), cut_off.cut_off(before.sat, t_ns)
    if not gone.any() and not stale.any():
        return new, 0
    pairs = {name: np.concatenate([getattr(new, name)[~gone], getattr(before, name)[stale]]) for name in PAIRS}
    order = np.argsort(pair_code(pairs["sat"], pairs["user"]))
    mixed = new.replace(**{name: values[order] for name, values in pairs.items()})
    either = np.union1d(pair_code(new.sat, new.user)[gone], pair_code(before.sat, before.user)[stale])
    return mixed, int(either.size)


def joined(one: Beams, other: Beams) -> Beams:
    """The beams of two sets of satellites that have none in common, in order of catalogue number."""
    both = {
        name: np.concatenate([getattr(one, name), getattr(other, name)])
        for name, spec in Beams.array_fields().items()
        if spec.axes
    }
    order = np.argsort(both["sat"])
    place = np.argsort(order)  # of each satellite
    of_stream = np.repeat(place, both["stream_size"])
    of = {
        "beam": place,
        "direction": np.repeat(place, both["direction_size"]),
        "stream": of_stream,
        "term": np.repeat(of_stream, both["term_size"]),
    }
    sorted_ = {axis: np.argsort(places, kind="stable") for axis, places in of.items()}
    fields = Beams.array_fields()
    return one.replace(**{name: values[sorted_[fields[name].axes[0]]] for name, values in both.items()})
