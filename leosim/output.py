"""The output of a run: one writer at a time, what is there already, and what a disk that takes no more means."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from leosim.log import EmptyLogError, Log, LogError, is_complete, open_log
from leosim.records import Users

try:
    import fcntl
except ImportError:  # no advisory locks on this platform
    fcntl = None  # type: ignore[assignment]

SHOWN = 6  # differences that an error names
MISSING = "nothing"
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))

Attributes = Mapping[str, str | int | float]


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Be the one run that writes this output, where the platform and the file system have advisory locks.

    The lock is a hidden file beside the output and ends with the process, however that ends. Raises LogError
    when another run holds it.
    """
    held = _lock(path.with_name(f".{path.name}.lock"), path)
    try:
        yield
    finally:
        if held is not None:
            with contextlib.suppress(OSError):
                os.unlink(held.name)
            held.close()


def _lock(name: Path, path: Path) -> TextIO | None:
    """The locked file, or None where there are no locks."""
    while fcntl is not None:
        try:
            stream = name.open("a+")
        except OSError:  # a folder that cannot be written to: the run will say so if it has to write
            return None
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            owner = stream.read().strip() or "unknown"
            stream.close()
            raise LogError(
                f"{path}: being written by another run ({owner}); wait for it, or choose another -o"
            ) from None
        except OSError:
            stream.close()
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), os.stat(name)):  # not one its owner just removed
                stream.truncate(0)
                stream.write(f"process {os.getpid()} on {platform.node()}")
                stream.flush()
                return stream
        stream.close()
    return None


def finished(path: Path, attributes: Attributes) -> Log | None:
    """The complete log of these very inputs, when it is there."""
    if not is_complete(path):
        return None
    try:
        log = open_log(path)
    except LogError:
        return None
    if log.complete and log.attributes.get("inputs_sha256") == attributes["inputs_sha256"]:
        return log
    log.close()
    return None


def existing(path: Path, attributes: Attributes, users: Users, resume: bool) -> Log | None:
    """The log of these very inputs that is there, complete or to be resumed; None when it holds nothing yet.

    Raises LogError for anything else: no file is overwritten unless the caller forces it.
    """
    if not path.exists():
        return None
    try:
        log = open_log(path)
    except EmptyLogError:
        if resume:
            return None
        raise LogError(f"{path}: a run that stopped at its very start; --resume or --force starts it again") from None
    except LogError as error:
        raise LogError(f"{error}; choose another -o, or --force to overwrite it") from None
    try:
        _check(log, attributes, users, resume)
    except LogError:
        log.close()
        raise
    return log


def _check(log: Log, attributes: Attributes, users: Users, resume: bool) -> None:
    if log.attributes.get("inputs_sha256") != attributes["inputs_sha256"]:
        found = "; ".join(other_inputs(log, attributes, users))
        raise LogError(
            f"{log.path}: holds a run of other inputs ({found}); --resume needs the inputs of the log, "
            "another -o keeps it, --force overwrites it"
        )
    if log.complete:
        return
    if not resume:
        raise LogError(f"{log.path}: an unfinished run of these inputs; --resume goes on with it, --force starts again")
    found = "; ".join(other_machine(log.attributes, attributes))
    if found:
        raise LogError(
            f"{log.path}: begun on another machine or with other libraries ({found}), where the last digits differ; "
            "resume with those of the log, or start again with another -o or --force"
        )


def unfinished_beside(path: Path, name: str) -> Path | None:
    """The latest log of a scenario of this name in the folder of an output, if it is unfinished."""
    logs = [log for log in path.parent.glob(f"{name}-*.h5") if log != path]
    latest = max(logs, key=lambda log: log.stat().st_mtime, default=None)
    return None if latest is None or is_complete(latest) else latest


def other_inputs(log: Log, attributes: Attributes, users: Users) -> list[str]:
    """What makes the inputs of a log others than these, each with what is there and what is asked for now."""
    old, new = log.attributes, attributes
    found = _differences({"leosim": old.get("leosim_version")}, {"leosim": new.get("leosim_version")})
    found += _differences(_keys(old), _keys(new))
    if _element_sets(old) != _element_sets(new):
        found.append(f"elements: {_named_sets(old)} there, {_named_sets(new)} now")
    sources = sorted(name for name in new if name.endswith("_sha256") and name != "inputs_sha256")
    changed = [name.removesuffix("_sha256") for name in sources if name in old and old[name] != new[name]]
    found += [f"{folder}: another source of its algorithm" for folder in changed]
    if not found and any(not np.array_equal(log.users[n], getattr(users, n)) for n in ("name", "pos_ecef", "mask_rad")):
        found.append("users: other names, places or masks")
    return _shown(found) or ["their hashes differ"]


def other_machine(old: Attributes, new: Attributes) -> list[str]:
    """What would give the epochs to come other last digits than those logged: libraries and the CPU."""
    found = _differences(json.loads(str(old.get("libraries", "{}"))), json.loads(str(new.get("libraries", "{}"))))
    found += _differences({"CPU": old.get("cpu")}, {"CPU": new.get("cpu")})
    there, here = (set(str(a.get("cpu_features", "")).split(",")) - {""} for a in (old, new))
    for features, place in ((there - here, "there"), (here - there, "now")):
        if features:
            found.append(f"CPU features {place} only: {', '.join(_shown(sorted(features)))}")
    return _shown(found)


def _keys(attributes: Attributes) -> dict[str, Any]:
    """The keys of a resolved scenario that decide the data, files told apart by content elsewhere."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    walk("", json.loads(str(attributes.get("scenario", "{}"))))
    return {key: value for key, value in flat.items() if key not in ("title", "elements.file", "users.file")}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    return [f"{key}: {_text(old.get(key))} there, {_text(new.get(key))} now" for key in keys]


def _text(value: Any) -> str:
    text = MISSING if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _shown(found: list[str]) -> list[str]:
    return found if len(found) <= SHOWN else [*found[:SHOWN], f"and {len(found) - SHOWN} more"]


def _element_sets(attributes: Attributes) -> list[str]:
    return [source["sha256"] for source in json.loads(str(attributes.get("elements", "[]")))]


def _named_sets(attributes: Attributes) -> str:
    sources = json.loads(str(attributes.get("elements", "[]")))
    return ", ".join(f"{source['file']} ({source['sha256'][:12]})" for source in sources) or MISSING


@contextlib.contextmanager
def made(path: Path) -> Iterator[None]:
    """Make the output in the body; raises LogError when that cannot be."""
    try:
        yield
    except OSError as error:
        raise LogError(f"{path}: cannot be written ({error.strerror or error})") from None


@contextlib.contextmanager
def disk(path: Path, safe: Callable[[], int], epochs: int) -> Iterator[None]:
    """Write in the body; raises LogError when the disk takes no more: what is safe, what to mend, how to go on."""
    try:
        yield
    except OSError as error:
        raise LogError(_unwritten(path, error, safe(), epochs)) from None


def _unwritten(path: Path, error: OSError, safe: int, epochs: int) -> str:
    reason = error.strerror or str(error)
    if error.errno in FULL:
        whole_mb = path.stat().st_size * epochs / max(safe, 1) / 1e6
        mend = f"free about {max(1, round(whole_mb))} MB on its disk" if safe else "make room on its disk"
    elif error.errno == errno.EFBIG:
        mend = "raise the limit on the size of files (ulimit -f)"
    else:
        mend = "see to the disk"
    if safe >= epochs:
        return (
            f"{path}: not compressed ({reason}); the run is complete and all {epochs} epochs are safe in the log; "
            f"{mend}, and the same command with --resume compresses it"
        )
    return (
        f"{path}: cannot be written further ({reason}); {safe} of {epochs} epochs are safe in the log; "
        f"{mend}, and the same command with --resume goes on"
    )
