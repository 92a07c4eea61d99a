"""A log verified: every row is computed again from its logged inputs, and compared bit for bit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import leosim
from leosim import engine, orbit, parallel, processes, simulation
from leosim.elements import Constellation
from leosim.log import Log
from leosim.past import Checked, Difference, NotLoggedError, UnusableRowError
from leosim.processes import Run
from leosim.provenance import Paths, element_names, element_sources, load, old_sources, opened, users_of
from leosim.records import ChannelStats, Clusters, Handovers, IsacPrecoder, Rates, Record, Solver, Timing, Users
from leosim.scenario import Scenario
from leosim.simulation import Prepared, Progress
from leosim.units import NS_PER_S
from leosim.windows import AccessWindows
from leosim.world import World

COMMUNICATION_ALONE: tuple[type[Record], ...] = (Clusters, Solver, Handovers, Rates)
Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Verification:
    """What became of playing a log again.

    compared, different, beyond : rows of each group that were compared, that are not the same bits, and that differ
    by more than rounding (1e-9, relative); not_verified : why rows of a group could not be recomputed;
    first : the earliest difference; notes : what is not as it was when the log was written
    """

    epochs: int
    compared: dict[str, int]
    different: dict[str, int]
    beyond: dict[str, int]
    not_verified: dict[str, str]
    first: Difference | None
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all that was compared is the same, bit for bit."""
        return self.first is None

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        first = None if self.first is None else {**vars(self.first), "index": list(self.first.index)}
        return {**vars(self), "notes": list(self.notes), "first": first, "passed": self.passed}

    def lines(self) -> list[str]:
        """For people: a line a group, what was not verified, and the first difference."""
        said = list(self.notes)
        for group, rows in self.compared.items():
            off, far = self.different.get(group, 0), self.beyond.get(group, 0)
            how = "the same bits" if not off else f"{off} differ, {far} of them by more than rounding"
            said.append(f"{group:<12} {rows:>7} {'row' if rows == 1 else 'rows'} recomputed: {how}")
        said += [f"{group:<12} not verified: {why}" for group, why in self.not_verified.items()]
        if self.first is not None:
            said.append(f"first difference: {self.first}")
        else:
            said.append(f"verified: {self.epochs} epochs, every recomputed row has the same bits")
        return said


def verify(log: Log | str | Path, elements: Paths = (), workers: int = 1, progress: Tell | None = None) -> Verification:
    """Recompute every row of a log from its logged inputs and compare, bit for bit (NaN equals NaN).

    elements : element files, where those that the log names are not found by name. Without elements what follows
    from logged inputs alone is verified: decisions from the CSI, handovers, and the rates of epochs whose CSI has
    all serving satellites. A log that is not complete is verified as far as it goes.
    Raises LogError, ElementsError or ScenarioError for a log that cannot be read or whose files do not fit.
    """
    log = opened(log)
    scenario, found = load(log, elements)
    with threadpool_limits(1), parallel.workers(workers):
        return _verified(log, scenario, found, progress)


def _verified(log: Log, scenario: Scenario, found: bool, progress: Tell | None) -> Verification:
    users = users_of(log)
    settings = replace(simulation.settings(scenario), epochs=len(log[Timing.GROUP]))
    ready = simulation.prepare(scenario, users) if found else None
    logged = tuple(log[name].record_type for name in log.groups if not log[name].static and name != Timing.GROUP)
    computable = logged if ready is not None else _alone(scenario)
    past = Checked(log, len(users.name), computable)
    _check_inputs(log, scenario, users, ready, past)
    world = ready.world if ready is not None else _unknown_world(log, scenario, users)
    run = Run(
        engine.clock(),
        world,
        settings,
        past,
        teller(settings, progress),
        lambda t_ns: simulation.observe(world, settings, t_ns),
        None if ready is None else ready.sensing,
        None if ready is None else ready.localisation,
        statistics=None if ready is not None else _not_logged,
    )
    notes = _changed_environment(log)
    try:
        if ready is not None:
            run.observe = simulation.ahead(replace(ready, settings=settings), 0)
        processes.play(run)
        for record_type in logged:
            past.count(record_type)
    except UnusableRowError:
        notes.append("nothing was recomputed beyond the row that cannot be used")
    return Verification(
        settings.epochs,
        {name: past.compared[name] for name in log.groups if past.compared[name]},
        dict(past.different),
        dict(past.beyond),
        _not_verified(log, logged, past, computable),
        past.first,
        tuple(notes),
    )


def _alone(scenario: Scenario) -> tuple[type[Record], ...]:
    """What can be computed without the elements; no rates where the CSI is what users believe, and not the truth."""
    return COMMUNICATION_ALONE if scenario.localisation is None else (Clusters, Solver, Handovers)


def _check_inputs(log: Log, scenario: Scenario, users: Users, ready: Prepared | None, past: Checked) -> None:
    """Compare what a run knows before t = 0."""
    shas = [source["sha256"] for source in element_sources(log)]
    old = {k: [source["sha256"] for source in files] for k, files in old_sources(log).items()}
    was, now = str(log.attributes["inputs_sha256"]), simulation.inputs_sha256(scenario, shas, users, old)
    if was != now and log.attributes["leosim_version"] == leosim.__version__:
        past.note(Difference("attributes", "inputs_sha256", -1, 0, (), was, now))
    if scenario.users.kind != "sites":  # the log alone knows them
        past.compare(users, simulation.place_users(scenario))
    if ready is not None:
        past.compare(log["satellites"].record(), simulation.catalogue(ready))
        refused: Any = log["quarantine"].record()
        computed = ready.quarantine
        same_size = refused.file.shape == computed.file.shape  # a file may have another name by now
        past.compare(refused, computed.replace(file=refused.file) if same_size else computed)


def _unknown_world(log: Log, scenario: Scenario, users: Users) -> World:
    """A world in which nothing is known to fly."""
    none: Any = {name: np.empty(0, spec.dtype) for name, spec in Constellation.array_fields().items()}
    never: Any = {name: np.empty(0, spec.dtype) for name, spec in AccessWindows.array_fields().items()}
    start_ns = int(log.start.astype("int64"))
    ephemeris = orbit.Ephemeris(
        Constellation(**none), start_ns, start_ns + scenario.time.epochs * scenario.time.step_ns
    )
    return World(ephemeris, users, AccessWindows(**never), simulation.first_radio(scenario))


def _not_logged(t_ns: int, sats: np.ndarray) -> ChannelStats:
    raise NotLoggedError(f"the CSI at {t_ns / NS_PER_S:g} s lacks satellites that serve")


def _not_verified(
    log: Log, logged: Sequence[type[Record]], past: Checked, computable: Sequence[type[Record]]
) -> dict[str, str]:
    reasons = {}
    for record_type in logged:
        name = record_type.GROUP
        if record_type not in computable:
            reasons[name] = f"it needs the elements, {element_names(log)}, which were not found; give --elements FILE"
        elif past.unverified[name]:
            reasons[name] = f"in {past.unverified[name]} epochs the CSI lacks a satellite that serves"
    return reasons


def _changed_environment(log: Log) -> list[str]:
    """What bits may depend on and is not as it was."""
    notes = []
    for name, now in simulation.environment().items():
        was = str(log.attributes.get(name, "unknown"))
        if was == now or name == "cpu_features":
            continue
        if name == "libraries":
            old, new = json.loads(was) if was != "unknown" else {}, json.loads(now)
            was, now = (
                ", ".join(f"{k} {v.get(k, 'unknown')}" for k in new if old.get(k) != new[k]) for v in (old, new)
            )
        notes.append(f"written with {name.replace('_', ' ')} {was}, verified with {now}: rounding may differ")
    return notes


def teller(
    s: processes.Settings, progress: Tell | None, write: Callable[[int, list[Record]], None] | None = None
) -> Callable[[int, list[Record]], None]:
    """What is done with the rows of an epoch: written, and told of."""
    begun, changes, dwells = time.perf_counter(), 0, 0

    def done(k: int, rows: list[Record]) -> None:
        nonlocal changes, dwells
        if write is not None:
            write(k, rows)
        if progress is None:
            return
        least = next((float(r.hardening.min()) for r in rows if isinstance(r, Rates)), None)
        changes += sum(int(r.user.size) for r in rows if isinstance(r, Handovers))
        dwells += sum(isinstance(r, IsacPrecoder) for r in rows)
        simulated_s = (k + 1) * s.step_ns / NS_PER_S
        factor = simulated_s / max(time.perf_counter() - begun, 1e-9)
        progress(Progress(k + 1, s.epochs, simulated_s, factor, least, changes, dwells or None, None, False))

    return done
