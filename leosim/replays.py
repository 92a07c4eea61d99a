"""A log decided anew: what a run with other settings gives, taking over what does not depend on them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

import leosim
from leosim import engine, parallel, processes, simulation
from leosim import output as output_file
from leosim.elements import ElementsError
from leosim.log import Log, LogError, open_log
from leosim.log_writer import LogWriter
from leosim.past import Logged
from leosim.processes import Run
from leosim.provenance import Paths, element_names, load, opened, scenario_data, users_of
from leosim.records import (
    Clusters,
    Csi,
    Detection,
    Fix,
    Geometry,
    Handovers,
    IcalPrecoder,
    IsacPrecoder,
    Rates,
    Record,
    Solver,
    Targets,
    Track,
)
from leosim.scenario import Scenario, ScenarioError, algorithm_source, load_scenario, set_key
from leosim.simulation import Prepared
from leosim.verification import Tell, teller

EPOCHS_A_COMMIT = 64  # of a replay, which is quick enough to begin again when it is cut short
Changes = Mapping[str, Any] | Sequence[str]


@dataclass(frozen=True)
class Service:
    """Rows of a log that are made together, and what they are made of.

    keys : of the scenario, all below a table where that is named; but : those of them that do not matter;
    reads : the services whose rows they are made of
    """

    name: str
    records: tuple[type[Record], ...]
    keys: tuple[str, ...]
    but: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


FLOWN = ("seed", "time", "elements", "users")
ON_ARRAYS = ("sensing", "isac", "detection", "tracking", "localisation", "ical", "positioning")  # one after the other
NO_DATA = ("title", "handover.ping_pong_window_s")  # what reports alone depend on
SERVICES = (
    Service("geometry", (Geometry,), FLOWN),
    Service("localisation", (IcalPrecoder, Fix), (*FLOWN, *ON_ARRAYS)),
    Service(
        "CSI",
        (Csi,),
        ("communication", "clustering.candidates"),
        but=("communication.coherence", "communication.ergodic_draws"),
        reads=("geometry", "localisation"),
    ),
    Service(
        "decisions",
        (Clusters, Solver),
        ("communication", "beamforming", "clustering"),
        but=("communication.ergodic_draws",),
        reads=("CSI",),
    ),
    Service("handovers", (Handovers,), (), reads=("decisions",)),
    Service("rates", (Rates,), ("communication", "handover"), but=NO_DATA, reads=("CSI", "decisions", "handovers")),
    Service(
        "sensing",
        (IsacPrecoder, Targets, Detection, Track),
        (*FLOWN, *ON_ARRAYS),
    ),
)


def changed_keys(log: Log, scenario: Scenario, other: Scenario) -> set[str]:
    """Dotted keys of the scenario of a log that another one has otherwise; `FOLDER.source` for another source text."""
    was, now = _flat(scenario.as_dict()), _flat(other.as_dict())
    for data, one in ((was, scenario), (now, other)):  # what an algorithm does not say is by default
        data["clustering.candidates"] = simulation.settings(one).candidates
    for folder in scenario.folders:
        was[f"{folder}.source"] = log.attributes.get(f"{folder}_sha256")
    for folder in other.folders:
        now[f"{folder}.source"] = algorithm_source(other.algorithm(folder)[0])[1]
    return {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}


def _flat(data: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat


def affected(changed: set[str], groups: Collection[str]) -> set[str]:
    """The services whose rows other settings may change; all of them for a key that none is known to depend on.

    groups : of the log; services without rows in it change nothing
    """

    def below(key: str, tables: Sequence[str]) -> bool:
        return any(key == table or key.startswith(f"{table}.") for table in tables)

    known = {key for key in changed if below(key, NO_DATA) or any(below(key, s.keys) for s in SERVICES)}
    if changed - known:
        return {service.name for service in SERVICES}
    found: set[str] = set()
    for service in SERVICES:  # in the order in which they read each other
        own = any(below(key, service.keys) and not below(key, (*service.but, *NO_DATA)) for key in changed)
        there = any(kind.GROUP in groups for kind in service.records)
        if there and (own or found & set(service.reads)):
            found.add(service.name)
    return found


def replay(
    log: Log | str | Path,
    changes: Changes,
    output: str | Path | None = None,
    elements: Paths = (),
    workers: int = 1,
    force: bool = False,
    progress: Tell | None = None,
) -> Log:
    """The log that a run with some other settings gives, taking over what does not depend on them.

    changes : tables as `Scenario.with_` takes them, or assignments such as "clustering.k_max=4"; output : the new log
    (default: as of a run); elements : as of `verify`, needed for scoring; force : overwrite what is there
    The rows of a service are copied when nothing they are made of changes (see `SERVICES`), and computed else.
    Raises ScenarioError for changes after which nothing of the log stays, LogError for a log that is not complete,
    or of another version, or an output that cannot be written, ElementsError for elements that are not found.
    """
    log = opened(log)
    if not log.complete:
        raise LogError(f"{log.path}: not complete; leosim run --resume ends its run first")
    if log.attributes["leosim_version"] != leosim.__version__:
        raise LogError(
            f"{log.path}: of leosim {log.attributes['leosim_version']}, and rows of two versions do not go together; "
            "run it anew"
        )
    scenario, found = load(log, elements)
    if not found:
        raise ElementsError(f"{element_names(log)}: not found; give the path, --elements FILE")
    other = _with(scenario, changes)
    changed = changed_keys(log, scenario, other)
    kept = _kept(log, changed)
    ready = simulation.prepare(other, users_of(log))
    path = Path(output) if output is not None else ready.default_output
    there = None if force else output_file.existing(path, simulation.attributes_of(ready), ready.users, resume=False)
    if there is not None:
        return there
    with threadpool_limits(1), parallel.workers(workers), output_file.made(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with output_file.alone(path):
            _decide_anew(log, ready, kept, path, progress)
    return open_log(path)


def _with(scenario: Scenario, changes: Changes) -> Scenario:
    if isinstance(changes, Mapping):
        return scenario.with_(**changes)
    data = scenario.as_dict()
    for assignment in changes:
        set_key(data, assignment)
    return load_scenario(data, scenario.base, scenario.name, scenario.name)


def _kept(log: Log, changed: set[str]) -> tuple[type[Record], ...]:
    """The record types whose rows are taken over; raises ScenarioError when there are none, or nothing changes."""
    if not changed:
        raise ScenarioError(f"{log.path.name}: has these settings already; expected a key with another value")
    again = affected(changed, log.groups)
    kept = [kind for s in SERVICES if s.name not in again for kind in s.records if kind.GROUP in log]
    if not kept:
        keys = ", ".join(sorted(changed))
        raise ScenarioError(f"{log.path.name}: nothing of it stays with another {keys}; leosim run makes a new log")
    return tuple(kept)


def _decide_anew(log: Log, ready: Prepared, kept: tuple[type[Record], ...], path: Path, progress: Tell | None) -> None:
    s, past = ready.settings, Logged(log, kept)
    attributes = simulation.attributes_of(ready) | _origin(log, kept)
    data = ready.scenario.as_dict()
    was = scenario_data(log)
    data["elements"]["file"] = was["elements"]["file"]
    if "faults" in was:
        data["faults"] = was["faults"]
    attributes["scenario"] = json.dumps(data, sort_keys=True)
    statics = tuple(log[name].record() for name in log.groups if log[name].static)
    localisation = ready.localisation  # asks for the arrays that sensing holds, and tells scoring what the CSI is
    alone = localisation is None and not ready.world.faults  # whose events tell of dwells
    sensing = None if IsacPrecoder in kept and alone else ready.sensing
    with (
        tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder,
        LogWriter(Path(folder) / "rows.h5", ready.start_utc_ns, ready.logged, statics, attributes) as writer,
    ):

        def write(k: int, rows: list[Record]) -> None:
            for record in rows:
                if type(record) not in kept:
                    writer.append(record)
            if (k + 1) % EPOCHS_A_COMMIT == 0:
                writer.commit()

        observe = simulation.ahead(ready, past.rows(Csi if s.communicates else Geometry))
        tell = teller(s, progress, write)
        processes.play(Run(engine.clock(), ready.world, s, past, tell, observe, sensing, localisation))
        writer.finish_beside(log, [kind.GROUP for kind in kept], path)


def _origin(log: Log, kept: tuple[type[Record], ...]) -> dict[str, str]:
    """What the new log says of the one it was made from."""
    return {
        "replay_of": log.path.name,
        "replay_of_inputs_sha256": str(log.attributes["inputs_sha256"]),
        "replay_copied": " ".join(kind.GROUP for kind in kept),
    }
