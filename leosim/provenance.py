"""The scenario of a log, and the files it knows by name and SHA-256 alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leosim.elements import ElementsError
from leosim.log import Log, LogError, open_log
from leosim.records import Users
from leosim.scenario import Scenario, load_scenario, shipped

Paths = Sequence[str | Path]


def load(log: Log, elements: Paths = ()) -> tuple[Scenario, bool]:
    """The scenario of a log, its element files by their full paths; and whether they were all found.

    The log knows files by name and SHA-256 alone. They are looked for among `elements`, and as the scenario names
    them, from the current folder, that of the log, and those of the shipped scenarios and element sets.
    Raises ElementsError when a file of `elements` is none of the log's, LogError for a log without a scenario, and
    ScenarioError when an algorithm of its own is not found.
    """
    data = scenario_data(log)
    bases = (Path.cwd(), log.path.parent.resolve(), shipped("scenarios"))
    sources = element_sources(log)
    everything = [*sources, *(source for old in old_sources(log).values() for source in old)]
    given = {_sha256(path): path for path in map(Path, elements)}
    unknown = set(given) - {source["sha256"] for source in everything}
    if unknown:
        raise ElementsError(
            f"{given[unknown.pop()]}: not among the elements of {log.path.name}; expected {element_names(log)}"
        )
    named = data["elements"]["file"]
    tables = [(data["elements"], [named] if isinstance(named, str) else named, sources)]
    tables += [(data["faults"][k], [data["faults"][k]["file"]], old) for k, old in old_sources(log).items()]
    all_found = True
    for table, names, known in tables:
        found: list[Path | None] = []
        for source, name in zip(known, names, strict=True):
            places = [base / file for file in (name, source["file"]) for base in (*bases, shipped("tle"))]
            fits = (p for p in dict.fromkeys(places) if p.is_file() and _sha256(p) == source["sha256"])
            found.append(given.get(source["sha256"]) or next(fits, None))
        paths = [str(name if path is None else path.resolve()) for path, name in zip(found, names, strict=True)]
        table["file"] = paths if table is data["elements"] else paths[0]
        all_found &= None not in found
    own = [t["algorithm"] for t in data.values() if isinstance(t, dict) and str(t.get("algorithm")).endswith(".py")]
    base = next((base for base in bases if all((base / file).is_file() for file in own)), bases[0])
    scenario = load_scenario(data, base, str(log.attributes["scenario_name"]), log.path.name)
    return scenario, all_found


def scenario_data(log: Log) -> dict[str, Any]:
    """The resolved scenario of a log, as it was written. Raises LogError when there is none."""
    if "scenario" not in log.attributes:
        raise LogError(f"{log.path}: holds no scenario; only a log of leosim run can be played again")
    return dict(json.loads(str(log.attributes["scenario"])))


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ElementsError(f"{path}: cannot be read ({error.strerror})") from None


def users_of(log: Log) -> Users:
    """The users of a log."""
    found = log["users"].record()
    if not isinstance(found, Users):
        raise LogError(f"{log.path}: group 'users' holds no users")
    return found


def element_sources(log: Log) -> list[dict[str, Any]]:
    """What a log says of its element files."""
    return list(json.loads(str(log.attributes["elements"])))


def old_sources(log: Log) -> dict[int, list[dict[str, Any]]]:
    """What a log says of the old element files of its faults, by their place in the scenario."""
    faults = scenario_data(log).get("faults", [])
    places = [k for k, fault in enumerate(faults) if fault.get("file") is not None]
    return {k: list(json.loads(str(log.attributes[f"old_elements_{i}"]))) for i, k in enumerate(places)}


def element_names(log: Log) -> str:
    """The element files of a log, in words."""
    sources = element_sources(log)
    return ", ".join(f"{source['file']} (SHA-256 {source['sha256'][:12]})" for source in sources)


def opened(log: Log | str | Path) -> Log:
    """A log that may be given by its path."""
    return log if isinstance(log, Log) else open_log(log)
