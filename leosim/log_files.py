"""The files of a log: written in order and unbuffered, and put in place in one step."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class RawFile(io.FileIO):
    """An unbuffered file that writes all, and never again after a failed write: `check` says why.

    The file then stays a prefix of the writes, whatever HDF5 still wants to flush on closing; and HDF5, which
    does not get over an exception in the middle of a flush, does not see one.
    """

    _failed = False
    _fault: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all bytes at the current position."""
        view = memoryview(data).cast("B")
        if self._failed:
            return len(view)
        done = 0
        self._failed = True  # until all is written, interrupts included
        try:
            while done < len(view):
                done += super().write(view[done:]) or 0
        except OSError as error:
            self._fault = error
            return len(view)
        self._failed = False
        return done

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file."""
        if self._failed:
            return size or 0
        try:
            return super().truncate(size)
        except OSError as error:
            self._failed, self._fault = True, error
            return size or 0

    def check(self) -> None:
        """Raise the OSError of the write that failed, if one did."""
        if self._fault is not None:
            raise OSError(self._fault.errno, self._fault.strerror or str(self._fault))

    @contextlib.contextmanager
    def checked(self) -> Iterator[None]:
        """All of the body is written, or an OSError says why not, whatever HDF5 makes of it."""
        try:
            yield
        except (OSError, RuntimeError, ValueError):
            self.check()
            raise
        self.check()


def scratch_of(path: Path) -> Path:
    """The temporary name beside a log: always the same, so that a killed process leaves one at most."""
    return path.with_name(f".{path.name}.tmp")


@contextlib.contextmanager
def removed_on_failure(scratch: Path) -> Iterator[None]:
    """A temporary file that is gone after the body, unless the body gave it another name."""
    try:
        yield
    finally:
        scratch.unlink(missing_ok=True)  # gone already when it was put in place


def put_in_place(scratch: Path, path: Path) -> None:
    """Put a file in the place of another, its bytes on the disk first."""
    with scratch.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(scratch, path)
