"""The SimPy helpers: an integer-nanosecond clock, ordered ticks, the backhaul, and `take`.

The clock counts nanoseconds. Processes that tick together are ordered by fixed offsets of a nanosecond
a stage; `nominal` takes the offset off again, so no rate ever depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from enum import IntEnum
from typing import Any, Protocol

import simpy

from leosim.records import Record


class Stage(IntEnum):
    """Order of coincident ticks (offset in nanoseconds)."""

    CSI = 0
    DELIVERY = 1
    CENTRAL_NODE = 2
    HANDOVER = 3
    SENSE = 4
    LOCALISE = 5
    COMMIT = 6


def clock() -> simpy.Environment:
    """A clock at t = 0."""
    return simpy.Environment(initial_time=0)


def nominal(env: simpy.Environment, stage: Stage) -> int:
    """The time of the clock without the offset of the stage (ns)."""
    return int(env.now) - int(stage)


def until(env: simpy.Environment, t_ns: int, stage: Stage) -> simpy.Event:
    """An event at an absolute time, or at once when that has passed."""
    return env.timeout(max(0, t_ns + int(stage) - int(env.now)))


def ticks(
    env: simpy.Environment, period_ns: int, stage: Stage, end_ns: int, offset_ns: int = 0
) -> Iterator[tuple[int, simpy.Event]]:
    """Absolute deadlines `offset + k period` before `end_ns`, each with the event to wait for.

    A tick that has passed while its process was busy is left out, never made up for.
    """
    k = 0
    while offset_ns + k * period_ns < end_ns:
        yield k, until(env, offset_ns + k * period_ns, stage)
        k = max(k + 1, -((offset_ns - nominal(env, stage)) // period_ns))


class Backhaul:
    """A link with a delay: messages arrive in order of arrival time, at the delivery stage or a later one.

    `latest` is the last message that arrived. With `queued`, `arrivals` also holds each one until somebody
    takes it; without, older messages are gone, and a long run does not keep them.
    """

    def __init__(self, env: simpy.Environment, stage: Stage, queued: bool) -> None:
        self.env = env
        self.stage = stage
        self.queued = queued
        self.latest: Any = None
        self.arrivals = simpy.Store(env)

    def send(self, message: Any, sent_ns: int, delay_ns: int) -> None:
        """Put a message on the link at `sent_ns`; it arrives `delay_ns` later."""
        self.env.process(self._carry(message, sent_ns + delay_ns))

    def _carry(self, message: Any, arrival_ns: int) -> Generator[simpy.Event, Any, None]:
        yield until(self.env, arrival_ns, self.stage)
        self.latest = message
        if self.queued:
            yield self.arrivals.put(message)


class Past(Protocol):
    """What `take` needs to know of what has been computed before: a log, or nothing."""

    def rows(self, record_type: type[Record]) -> int:
        """How many rows of a record type are taken instead of computed."""
        ...

    def take(self, types: tuple[type[Record], ...], k: int, compute: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Row k of some record types: taken, computed, or both and compared."""
        ...


class NoPast:
    """The past of a run from scratch: nothing."""

    def rows(self, record_type: type[Record]) -> int:
        """No rows."""
        return 0

    def take(self, types: tuple[type[Record], ...], k: int, compute: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Computed."""
        return compute()


def take(
    past: Past, types: tuple[type[Record], ...], k: int, compute: Callable[[], tuple[Any, ...]]
) -> tuple[Any, ...]:
    """Row k of some record types, as the past has it or as it is computed.

    There are four modes, one a past. A run computes. A resumed run is the event loop from t = 0 on, taking what is
    logged and computing the rest. A replay with other settings takes what does not depend on them. Verification
    computes, and compares with what is logged (see `past`).
    """
    return past.take(types, k, compute)
