"""Stopping a run after the epoch in flight: who asks for it, and how the run says that it did."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

Stop = Callable[[], bool]


class Stopped(KeyboardInterrupt):
    """A run stopped because it was asked to; what it has computed is in its log."""


def at_once() -> None:
    """Stop here and now, as Ctrl-C does anywhere else."""
    raise KeyboardInterrupt


def _silent() -> None:
    """Nothing is said."""


@contextlib.contextmanager
def on_signals(
    *numbers: int, noted: Callable[[], None] = _silent, again: Callable[[], None] = at_once
) -> Iterator[Stop]:
    """Whether one of these signals came, in the body; only the main thread hears them, as Python has it.

    noted : called at the first signal; again : called at every further one
    Signals that are ignored, such as Ctrl-C in the background of a shell, stay ignored.
    """
    asked = threading.Event()

    def handle(number: int, frame: object) -> None:
        if asked.is_set():
            again()
        else:
            asked.set()
            noted()

    main = threading.current_thread() is threading.main_thread()
    heard = [number for number in numbers if main and signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def asked(stop: Stop | None) -> Iterator[Stop]:
    """What a run asks after each epoch: the caller's `stop`, or else whether Ctrl-C was pressed in the body.

    Without a `stop`, a program with a handler of its own and any thread but the main one stay as they are.
    """
    if stop is not None:
        yield stop
    elif signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with on_signals(signal.SIGINT) as pressed:
            yield pressed
    else:
        yield lambda: False


__all__ = ["Stop", "Stopped", "asked", "at_once", "on_signals"]
