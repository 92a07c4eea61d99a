"""Wire a scenario to processes and a log: prepare, run, resume, and every record of one instant."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from llvmlite import binding as llvm
from threadpoolctl import threadpool_limits

import leosim
from leosim import elements, fault_plan, localisation, orbit, parallel, processes, rates, sensing, stopping, windows
from leosim import output as output_file
from leosim import users as places
from leosim.channel import Radio
from leosim.downlink_pilots import Impairments
from leosim.echo import Reception
from leosim.elements import Constellation
from leosim.engine import NoPast, Past, clock
from leosim.localisation import Localisation
from leosim.log import Log, open_log
from leosim.log_pack import pack_log
from leosim.log_writer import LogWriter, create_writer, resume_writer
from leosim.past import Logged
from leosim.processes import Run, Settings
from leosim.radar import Receiver
from leosim.rates import Coherence
from leosim.records import (
    FIXED,
    Beams,
    Catalogue,
    Clusters,
    Csi,
    Detection,
    Event,
    Fix,
    Geometry,
    Handovers,
    IcalPrecoder,
    IsacPrecoder,
    Quarantine,
    Rates,
    Record,
    Solver,
    Targets,
    Timing,
    Track,
    Users,
    View,
    pair_code,
)
from leosim.scenario import (
    TABLES_OF,
    Scenario,
    ScenarioError,
    algorithm,
    algorithm_source,
    load_scenario,
)
from leosim.scoring import State, on_streams
from leosim.sensing import Sensing
from leosim.stopping import Stop, Stopped
from leosim.streams import generator
from leosim.surveillance import Surveillance
from leosim.tables import CommunicationTable, SensingTable
from leosim.units import NS_PER_S, SECONDS_PER_DAY, db_to_linear, deg_to_rad, s_to_ns, thermal_noise_w
from leosim.users import make as make_users
from leosim.world import World

COMMUNICATION: tuple[type[Record], ...] = (Csi, Clusters, Solver, Handovers, Rates)
LIBRARIES = ("numpy", "scipy", "numba", "sgp4", "simpy", "h5py", "clarabel", "astropy-iers-data")


class NothingVisibleError(ValueError):
    """No satellite is ever in view of any user."""


@dataclass(frozen=True)
class Prepared:
    """Everything known before t = 0."""

    scenario: Scenario
    constellation: Constellation
    users: Users
    prepass: windows.Prepass
    world: World
    settings: Settings
    sensing: Sensing | None
    localisation: Localisation | None
    start_utc_ns: int
    quarantine: Quarantine
    inputs_sha256: str

    @property
    def logged(self) -> tuple[type[Record], ...]:
        """The record types of an epoch that the services of the scenario log."""
        communication = COMMUNICATION if self.settings.communicates else ()
        others = [service.records for service in (self.sensing, self.localisation) if service is not None]
        failing = (Event,) if self.world.faults else ()
        return (Geometry, *communication, *(kind for records in others for kind in records), *failing, Timing)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is likely not meant, in sentences."""
        sensed = sensing.warnings(self.sensing) if self.sensing is not None else ()
        localised: tuple[str, ...] = ()
        if self.localisation is not None:
            localised = localisation.warnings(self.world, self.localisation, self.settings.end_ns)
        return (*self.prepass.warnings, *sensed, *self._two_arrays(), *localised)

    def _two_arrays(self) -> tuple[str, ...]:
        """What sensing and localisation say differently of the one array and power budget they share."""
        if self.sensing is None or self.localisation is None:
            return ()
        one, other = self.sensing.radio, self.localisation.radio
        arrays = (one.rows, one.columns), (other.rows, other.columns)
        differ = ["array"] * (arrays[0] != arrays[1]) + ["power_dbm"] * (one.power_w != other.power_w)
        return tuple(
            f"[sensing] and [localisation] take turns on one array of a satellite, but differ in {key}; give both one"
            for key in differ
        )

    @property
    def default_output(self) -> Path:
        """Where a run of these inputs is written unless told otherwise."""
        return Path("outputs") / f"{self.scenario.name}-{self.inputs_sha256[:8]}.h5"


@dataclass(frozen=True)
class Progress:
    """How far a run is: epochs done and in all; of its services, the least rate of the last one, what was so far.

    min_rate : None without the communication service, dwells without sensing, fixes (of terminals) without localisation
    doing : "run"; of a run that is resumed "copy" of its log, then "take" of the `logged` epochs; at the end "pack",
    the compression. share : done of a copy or a compression, whose other fields stand still
    """

    epoch: int
    epochs: int
    simulated_s: float
    real_time_factor: float
    min_rate: float | None
    handovers: int
    dwells: int | None
    fixes: int | None
    taken: bool
    logged: int = 0
    doing: str = "run"
    share: float = 1.0


def prepare(scenario: Scenario, placed: Users | None = None) -> Prepared:
    """Read the elements, place the users, fly the pre-pass: all that can fail fails here, before t = 0.

    placed : the users, where they are known already
    Raises ScenarioError, elements.ElementsError or NothingVisibleError, each with one clear line.
    """
    table = scenario.elements
    limits = None if table.altitude_km is None else (table.altitude_km[0], table.altitude_km[1])
    constellation = elements.read_elements([scenario.path(f) for f in table.files], table.include, limits)
    if scenario.time.start_utc is None:
        start_utc_ns = constellation.median_epoch_ns // NS_PER_S * NS_PER_S
    else:
        start_utc_ns = elements.ns_since_1970(scenario.time.start_utc)
    users = place_users(scenario) if placed is None else placed
    end_utc_ns = start_utc_ns + scenario.time.epochs * scenario.time.step_ns
    try:
        ephemeris = orbit.Ephemeris(
            constellation, start_utc_ns, end_utc_ns, mode=table.propagation, knot_s=table.knot_s
        )
    except ValueError as error:
        raise ScenarioError(f"[time] start: {error}") from None
    middle, _ = places.at(users, ephemeris.duration_ns // 2)
    prepass = windows.prepass(ephemeris, middle, max_age_days=table.max_age_days)
    quarantine = _quarantine(constellation, prepass)
    refused = f"; {quarantine.sat.size} in quarantine, the first: {quarantine.reason[0]}" if quarantine.sat.size else ""
    if (prepass.fail_ns == 0).all():
        raise elements.ElementsError(
            f"all {len(constellation)} satellites are out from the start, the first because of "
            f"{prepass.reason[0]}; use elements of the day, move [time] start, or raise [elements] max_age_days"
        )
    if not prepass.windows.sat.size:
        raise NothingVisibleError(
            f"no satellite is ever in view: {len(constellation)} satellites, {users.name.size} users, "
            f"{scenario.time.duration_s:g} s, mask {scenario.users.mask_deg:g} degrees; lower mask_deg, "
            f"lengthen duration_s, or choose a constellation that covers the users{refused}"
        )
    flown = ephemeris.with_failures(prepass.fail_ns)
    old = fault_plan.old_elements(scenario, flown)
    faults = fault_plan.faults_of(scenario, flown, old)
    world = World(
        ephemeris=flown,
        users=users,
        windows=prepass.windows.advanced(windows.edge_ns(users, ephemeris.duration_ns)),
        radio=first_radio(scenario),
        extent=places.extent(users, ephemeris.duration_ns),
        faults=faults,
        old=tuple((faults.faults[k], orbits) for k, orbits in old.items()),
    )
    return Prepared(
        scenario=scenario,
        constellation=constellation,
        users=users,
        prepass=prepass,
        world=world,
        settings=settings(scenario),
        sensing=sensing_service(scenario, users),
        localisation=localisation_service(scenario, users),
        start_utc_ns=start_utc_ns,
        quarantine=quarantine,
        inputs_sha256=inputs_sha256(
            scenario, _sha256(constellation), users, {k: _sha256(orbits.constellation) for k, orbits in old.items()}
        ),
    )


def first_radio(scenario: Scenario) -> Radio:
    """The radio of the world: that of communication, or else of the first service there is; others bring theirs."""
    tables = [table for service in TABLES_OF if (table := getattr(scenario, service)) is not None]
    return tables[0].radio(scenario.seed)


def place_users(scenario: Scenario) -> Users:
    """The users of a scenario on the ground, at rest or under way; raises ScenarioError for a bad sites file."""
    placed, table = _placed(scenario), scenario.users
    if not table.speed_m_s:
        return placed
    drawn = 2.0 * math.pi * generator(scenario.seed, "headings").random(placed.name.size)
    heading_rad = drawn if table.heading_deg is None else np.array(deg_to_rad(table.heading_deg))
    return places.travelling(placed, table.speed_m_s, heading_rad)


def _placed(scenario: Scenario) -> Users:
    table = scenario.users
    try:
        if table.kind == "circle" and table.centre_deg and table.radius_km and table.count:
            rng = generator(scenario.seed, "users")
            return places.circle(*table.centre_deg, table.radius_km, table.count, rng, table.mask_deg)
        if table.kind == "sites" and table.file:
            return places.from_sites(scenario.path(table.file), table.mask_deg)
        if table.lat_deg and table.lon_deg and table.step_deg:
            return places.grid(table.lat_deg, table.lon_deg, *table.step_deg, table.mask_deg)
    except (ValueError, OSError) as error:
        raise ScenarioError(f"[users] {error}") from None
    raise ScenarioError(f"[users] kind: expected circle, sites or grid with their keys, got {table.kind!r}")


def settings(scenario: Scenario) -> Settings:
    """Timing and algorithms of the communication service, in nanoseconds."""
    c, h = scenario.communication or CommunicationTable(), scenario.handover
    clustering = scenario.algorithm("clustering")
    return Settings(
        epochs=scenario.time.epochs,
        step_ns=scenario.time.step_ns,
        communicates=scenario.communication is not None,
        period_ns=s_to_ns(c.period_s),
        offset_ns=s_to_ns(c.offset_s),
        csi_delay_ns=s_to_ns(c.csi_delay_s),
        decision_delay_ns=s_to_ns(c.decision_delay_s),
        compute_ns=s_to_ns(c.compute_s),
        acquisition_ns=s_to_ns(h.acquisition_s),
        interruption_ns=s_to_ns(h.interruption_s),
        access_slots=h.access_slots,
        candidates=getattr(clustering[1], "candidates", 40),
        ergodic_draws=c.ergodic_draws,
        coherence=c.coherence_model(),
        beamforming=scenario.algorithm("beamforming"),
        clustering=clustering,
    )


def sensing_service(scenario: Scenario, users: Users) -> Sensing | None:
    """The sensing service in SI; None without its table. Raises ScenarioError for a receiver that cannot be."""
    table = scenario.sensing
    if table is None:
        return None
    r = table.receiver
    lat_rad, lon_rad, mask_rad = (deg_to_rad(degrees) for degrees in (*r.site_deg, r.mask_deg))
    try:
        flights = table.flights()
        receiver = Receiver.at(
            lat_rad,
            lon_rad,
            r.alt_m,
            rows=r.array[0],
            columns=r.array[1],
            subarray=r.subarray,
            gain=db_to_linear(r.gain_db),
            noise_w=thermal_noise_w(table.bandwidth_hz, r.noise_temperature_k),
            mask_rad=mask_rad,
        )
    except ValueError as error:
        raise ScenarioError(f"[sensing] {error}") from None
    return Sensing(
        radio=table.radio(scenario.seed),
        receiver=receiver,
        site=make_users(["receiver"], np.array([lat_rad]), np.array([lon_rad]), r.alt_m, mask_rad),
        flights=flights,
        served=sensing.near(receiver, users, 1e3 * table.user_radius_km, table.max_users),
        period_ns=s_to_ns(table.period_s),
        offset_ns=s_to_ns(table.offset_s),
        dwell_ns=s_to_ns(table.dwell_s),
        samples=table.samples,
        satellite=table.satellite,
        cross_range_m=table.cross_range_m,
        crb=table.crb,
        rcs_model=table.rcs_model,
        ergodic_draws=table.ergodic_draws,
        algorithm=scenario.algorithm("isac"),
        surveillance=surveillance_of(scenario, table),
    )


def surveillance_of(scenario: Scenario, table: SensingTable) -> Surveillance | None:
    """Echo, detection and tracking in SI; None without their tables."""
    if "detection" not in scenario.folders:
        return None
    reception = Reception(
        samples=table.samples,
        gate_m=(0.0, 1e3 * table.gate_km),
        direct=db_to_linear(table.direct_path_db),
        clutter=0.0 if table.clutter_db is None else db_to_linear(table.clutter_db),
        rcs_model=table.rcs_model,
        fluctuation=table.fluctuation,
    )
    return Surveillance(
        reception=reception,
        detection=scenario.algorithm("detection"),
        tracking=scenario.algorithm("tracking"),
        cue_position_m=table.cue_position_m,
        cue_speed_m_s=table.cue_speed_m_s,
        aim=table.aim,
    )


def localisation_service(scenario: Scenario, users: Users) -> Localisation | None:
    """The localisation service in SI; None without its table. Raises ScenarioError for what cannot be built."""
    table = scenario.localisation
    if table is None:
        return None
    groups = localisation.grouped(users, table.group_size)
    algorithm = scenario.algorithm("ical")
    chains, largest = getattr(algorithm[1], "chains", None), max(rows.size for rows in groups)
    if chains is not None and 0 < chains < largest:
        raise ScenarioError(
            f"[ical] chains: expected at least {largest}, one for each of the terminals a satellite serves at once, "
            f"got {chains}; raise it, or lower [localisation] group_size"
        )
    return Localisation(
        radio=replace(table.radio(scenario.seed), noise_w=table.noise_w / table.subcarriers),
        waveform=table.waveform,
        groups=groups,
        period_ns=s_to_ns(table.period_s),
        offset_ns=s_to_ns(table.offset_s),
        target_m=table.target_m,
        mask_rad=deg_to_rad(table.mask_deg),
        belief=table.belief,
        prior_m=(1e3 * table.prior_km[0], 1e3 * table.prior_km[1]),
        drift_m_s=table.drift_m_s,
        impairments=Impairments(
            clock_s=table.clock_s,
            attitude_rad=deg_to_rad(table.attitude_arcsec / 3600.0),
            carrier_hz=table.carrier_offset_hz,
            ionosphere_m=table.ionosphere_m,
            scatter=table.scatter,
        ),
        algorithm=algorithm,
        positioning=scenario.algorithm("positioning"),
    )


def run(
    scenario: Scenario | str | Path,
    output: str | Path | None = None,
    seed: int | None = None,
    workers: int = 1,
    resume: bool = False,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
    prepared: Prepared | None = None,
    stop: Stop | None = None,
) -> Log:
    """Run a scenario into a log; the same inputs again give the log that is already there.

    scenario : a Scenario, a shipped name or a path; output : the log (default: `outputs/`, a name made
    of the scenario's and a hash of all inputs); workers : threads that prepare epochs ahead, compute
    dwells and fixes, and share large allocations and scores, without effect on the data;
    resume : go on with a log that was cut short; force : overwrite what is there;
    stop : asked after each epoch, ends the run when it says so (Ctrl-C unless given).
    Raises ScenarioError, ElementsError, NothingVisibleError before t = 0; LogError for an output that cannot be
    written or resumed; Stopped, a KeyboardInterrupt, when it was stopped, with all epochs so far in the log.
    """
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario)
    if seed is not None:
        scenario = scenario.with_(seed=seed)
    ready = _prepared(scenario, prepared)
    path = Path(output) if output is not None else ready.default_output
    attributes = attributes_of(ready)
    if resume and force:
        raise ScenarioError("resume or force: expected one of them, to go on with the log or to start again, got both")
    there = None if force else output_file.finished(path, attributes)
    if there is not None:
        if not resume or there.packed:
            return there
        there.close()
    with threadpool_limits(1), parallel.workers(workers), stopping.asked(stop) as asked:
        with output_file.made(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with output_file.alone(path):
            unfinished = None if force else output_file.existing(path, attributes, ready.users, resume)
            _write(_Flight(ready, path, progress, asked), unfinished, attributes)
    return open_log(path)


@dataclass(frozen=True)
class _Flight:
    """What one call of `run` goes by."""

    ready: Prepared
    path: Path
    progress: Callable[[Progress], None] | None
    stop: Stop

    def check(self, epochs: int) -> None:
        """Raise Stopped when that was asked for, with so many epochs in the log."""
        if self.stop():
            raise Stopped(f"{self.path}: stopped after {epochs} of {self.ready.settings.epochs} epochs")

    def each(self, doing: str, epochs: int) -> Callable[[float], None]:
        """What is told of the share of a copy or a compression that is done, with so many epochs in the log."""
        s = self.ready.settings

        def tell(share: float) -> None:
            if self.progress is not None:
                simulated_s = epochs * s.step_ns / NS_PER_S
                self.progress(
                    Progress(epochs, s.epochs, simulated_s, 0.0, None, 0, None, None, True, epochs, doing, share)
                )
            self.check(epochs)

        return tell


def _write(flight: _Flight, unfinished: Log | None, attributes: dict[str, str | int | float]) -> None:
    """Write the log: from the start, from where it was cut short, or only compressed."""
    ready, path = flight.ready, flight.path
    if unfinished is None:
        statics = (catalogue(ready), ready.users, ready.quarantine)
        with output_file.made(path):
            writer = create_writer(path, ready.start_utc_ns, ready.logged, statics, attributes)
        _fly(flight, writer, NoPast())
        return
    with unfinished:
        past = Logged(unfinished)
        done = past.rows(Geometry)
        with output_file.disk(path, lambda: done, ready.settings.epochs):
            if unfinished.complete:
                pack_log(path, flight.each("pack", done))
                return
            writer = resume_writer(unfinished, ready.logged, flight.each("copy", done))
        _fly(flight, writer, past)


def _prepared(scenario: Scenario, prepared: Prepared | None) -> Prepared:
    """What was prepared from a scenario, or else prepared now."""
    if prepared is not None and prepared.scenario != scenario:
        raise ScenarioError("prepared: expected what was prepared from this scenario, got another's")
    return prepared or prepare(scenario)


def _fly(flight: _Flight, writer: LogWriter, past: Past) -> None:
    ready, s, begun = flight.ready, flight.ready.settings, time.perf_counter()
    done = past.rows(Geometry)  # one an epoch, whatever the services
    disk = partial(output_file.disk, flight.path, lambda: writer.committed_rows[Geometry.GROUP], s.epochs)
    changes = dwells = fixed = 0

    def log(k: int, rows: list[Record]) -> None:
        nonlocal changes, dwells, fixed, begun
        scored = next((r for r in rows if isinstance(r, Rates)), None)
        changes += sum(int(r.user.size) for r in rows if isinstance(r, Handovers))
        dwells += sum(isinstance(r, IsacPrecoder) for r in rows)
        fixed += sum(int((r.status == FIXED).sum()) for r in rows if isinstance(r, Fix))
        if k >= done:
            with disk():
                for record in rows:
                    writer.append(record)
                writer.commit()
        if k == done - 1:
            begun = time.perf_counter()
        if flight.progress is not None:
            elapsed = max(time.perf_counter() - begun, 1e-9)
            flight.progress(
                Progress(
                    epoch=k + 1,
                    epochs=s.epochs,
                    simulated_s=(k + 1) * s.step_ns / NS_PER_S,
                    real_time_factor=(k + 1 - done) * s.step_ns / NS_PER_S / elapsed if k >= done else 0.0,
                    min_rate=None if scored is None else float(scored.hardening.min()),
                    handovers=changes,
                    dwells=None if ready.sensing is None else dwells,
                    fixes=None if ready.localisation is None else fixed,
                    taken=k < done,
                    logged=done,
                    doing="take" if k < done else "run",
                )
            )
        if k + 1 < s.epochs:
            flight.check(max(k + 1, done))

    try:
        observe = ahead(ready, done)
        processes.play(Run(clock(), ready.world, s, past, log, observe, ready.sensing, ready.localisation))
        with disk():
            writer.finish(flight.each("pack", s.epochs))
    finally:
        writer.close()


def ahead(ready: Prepared, first: int) -> Callable[[int], tuple[Record, ...]]:
    """`observe`, with threads that work on the epochs to come: a pure map, placed by epoch."""
    s, reach = ready.settings, 2 * parallel.count() if parallel.count() > 1 else 1
    begun: dict[int, Callable[[], tuple[Record, ...]]] = {}

    def result(t_ns: int) -> tuple[Record, ...]:
        k = t_ns // s.step_ns
        for i in range(k, min(k + reach, s.epochs)):
            if i >= first and i not in begun:
                begun[i] = parallel.begin(partial(observe, ready.world, s, i * s.step_ns))
        return begun.pop(k)()

    return result


def observe(world: World, s: Settings, t_ns: int) -> tuple[Record, ...]:
    """Geometry and, for the communication service, CSI of one instant."""
    visible = world.visible(t_ns)
    return (visible, world.report(visible, s.candidates, s.horizon_s)) if s.communicates else (visible,)


@dataclass(frozen=True)
class Epoch:
    """Every record of one instant, without delays: a look inside, for notebooks and tests.

    None stands for the records of a service that does not run.
    """

    geometry: Geometry
    csi: Csi | None = None
    beams: Beams | None = None
    view: View | None = None
    clusters: Clusters | None = None
    solver: Solver | None = None
    rates: Rates | None = None
    isac: IsacPrecoder | None = None
    targets: Targets | None = None
    detection: Detection | None = None
    track: Track | None = None
    ical: tuple[IcalPrecoder, ...] = ()
    fixes: tuple[Fix, ...] = ()


def epoch(scenario: Scenario | str | Path, t_s: float = 0.0, prepared: Prepared | None = None) -> Epoch:
    """Every record of the instant t_s: a decision from the CSI of that instant, in force at once.

    prepared : of the scenario, when it is at hand
    Raises what `prepare` raises, and ScenarioError for a time outside the run.
    """
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario)
    ready = _prepared(scenario, prepared)
    s, t_ns = ready.settings, s_to_ns(t_s)
    if not 0 <= t_ns < s.end_ns:
        raise ScenarioError(f"t_s: expected a time from 0 to below {s.end_ns / NS_PER_S:g} s, got {t_s:g}")
    visible = ready.world.visible(t_ns)
    found: dict[str, Any] = _communication(ready, visible) if s.communicates else {}
    if ready.sensing is not None:
        at = sensing.aim(ready.world, ready.sensing, t_ns, 0, {})
        sensed = sensing.dwell(ready.world, ready.sensing, at, 0, None)
        found |= dict(zip(("isac", "targets", "detection", "track"), sensed, strict=False))
    if ready.localisation is not None:
        found |= dict(zip(("ical", "fixes"), localisation.epoch(ready.world, ready.localisation, t_ns), strict=True))
    return Epoch(visible, **found)


def _communication(ready: Prepared, visible: Geometry) -> dict[str, Record]:
    """The records of the communication service at one instant, by their names in an `Epoch`."""
    s, t_ns = ready.settings, visible.t_ns
    csi = ready.world.report(visible, s.candidates, s.horizon_s)
    this = Run(clock(), ready.world, s, NoPast(), lambda k, rows: None, lambda t: (visible, csi))
    beams, seen, clusters, solver = _decide(
        csi, ready.world.radio, s.beamforming, s.clustering, s.coherence, this.users
    )
    this.beams[t_ns] = beams
    state = State(clusters, np.ones(clusters.user.size, dtype=bool))
    (scored,) = processes.score(this, t_ns, [(s.step_ns, state)])
    return dict(csi=csi, beams=beams, view=seen, clusters=clusters, solver=solver, rates=scored)


@dataclass(frozen=True)
class Decision:
    """What algorithms make of one CSI, and the hardening SINR and rate (bit/s/Hz) of each user if it is true.

    view : what the clustering saw; truth : the same under `coherence` without its `planned_share`
    """

    beams: Beams
    view: View
    truth: View
    clusters: Clusters
    solver: Solver
    coherence: Coherence
    sinr: np.ndarray
    rate: np.ndarray

    def rate_with(self, clusters: Clusters) -> np.ndarray:
        """The rate of each user with other serving sets or powers on the same beams (bit/s/Hz)."""
        return rates.spectral_efficiency(_sinr(self.truth, clusters, self.coherence))


def decide(
    csi: Csi,
    radio: Radio,
    beamforming: str | Mapping[str, Any] = "smrt",
    clustering: str | Mapping[str, Any] = "cell_free",
    coherence: Coherence | None = None,
    previous: Clusters | None = None,
    users: int | None = None,
) -> Decision:
    """One decision from statistics of your own, without a constellation, a clock or delays.

    csi : pairs sorted by satellite number, then user (see `records.Csi`); beamforming, clustering : a name, or a
    table as in a scenario, such as {"algorithm": "best_satellite", "by": "rate"}; coherence : `ideal` unless given
    previous : the decision before, for algorithms with a memory; users : their number, if more than occur in `csi`
    Raises ScenarioError for an algorithm or a parameter there is not, and for pairs out of order.
    """
    order = pair_code(csi.sat, csi.user)
    if np.any(np.diff(order) <= 0):
        raise ScenarioError("csi: expected pairs sorted by satellite number, then user, each once")
    count = int(csi.user.max(initial=-1)) + 1 if users is None else users
    how = Coherence("ideal") if coherence is None else coherence
    former, policy = algorithm("beamforming", beamforming), algorithm("clustering", clustering)
    beams, seen, clusters, solver = _decide(csi, radio, former, policy, how, count, previous)
    true = seen
    if how.planned_share is not None:
        true = processes.view(csi, beams, csi.t_ns, count, radio, replace(how, planned_share=None))
    sinr = _sinr(true, clusters, how)
    return Decision(beams, seen, true, clusters, solver, how, sinr, rates.spectral_efficiency(sinr))


def _sinr(view: View, clusters: Clusters, coherence: Coherence) -> np.ndarray:
    amplitude = on_streams(view.couplings, clusters, np.ones(clusters.user.size, dtype=bool))
    return rates.hardening_sinr(view.couplings, amplitude, view.user_count, coherence, view.gamma)


def _decide(
    csi: Csi,
    radio: Radio,
    beamforming: tuple[ModuleType, Any],
    clustering: tuple[ModuleType, Any],
    coherence: Coherence,
    users: int,
    previous: Clusters | None = None,
) -> tuple[Beams, View, Clusters, Solver]:
    """Beams, what a policy sees of them, and its decision, at the instant of the CSI."""
    beams = beamforming[0].beams(csi, beamforming[1], radio)
    seen = processes.view(csi, beams, csi.t_ns, users, radio, coherence)
    clusters, solver = clustering[0].cluster(seen, previous, clustering[1])
    return beams, seen, processes.with_spots(clusters, beams), solver


def forecast(ready: Prepared) -> dict[str, Any]:
    """What a run of this will see, take and leave: satellites in view, seconds, megabytes.

    The time is that of one epoch in the middle of the run, measured warm, times the number of epochs.
    """
    s, p = ready.settings, ready.prepass
    middle_s = s.epochs // 2 * s.step_ns / NS_PER_S
    sample = epoch(ready.scenario, middle_s, ready)
    begun = time.perf_counter()
    sample = epoch(ready.scenario, middle_s, ready)
    one_s = time.perf_counter() - begun
    everything = (
        sample.geometry,
        sample.csi,
        sample.clusters,
        sample.solver,
        sample.rates,
        sample.isac,
        sample.targets,
        sample.detection,
        sample.track,
        *sample.ical,
        *sample.fixes,
    )
    rows = [record for record in everything if record is not None]
    size = sum(getattr(r, name).nbytes for r in rows for name, spec in r.array_fields().items() if spec.logged)
    return {
        "satellites": len(ready.constellation),
        "quarantined": int(ready.quarantine.sat.size),
        "users": int(ready.users.name.size),
        "element_age_days_median": round(p.age_days_median, 2),
        "least_satellites_in_view": int(p.in_view_min.min()),
        "median_satellites_in_view": float(np.median(p.in_view_median)),
        "most_satellites_in_view": int(p.in_view_max.max()),
        "pairs_in_view_an_epoch": round(p.pairs_per_epoch, 1),
        "user_epochs_without_satellite": round(p.unserved_share, 4),
        "epochs": s.epochs,
        "predicted_seconds": round(one_s * s.epochs, 1),
        "predicted_megabytes": round(size * s.epochs / 1e6, 1),
    }


# ---------------------------------------------------------------------------------------------
# What the log says about itself


def catalogue(ready: Prepared) -> Catalogue:
    """The satellites of a run, as its log names them."""
    c = ready.constellation
    return Catalogue(
        sat=c.sat,
        name=c.name,
        epoch_ns=c.epoch_ns,
        inclination_rad=c.inclination_rad,
        perigee_m=c.perigee_m,
        apogee_m=c.apogee_m,
        fail_ns=ready.prepass.fail_ns,
    )


def _quarantine(constellation: Constellation, prepass: windows.Prepass) -> Quarantine:
    """What the readers refused, then what the pre-pass did."""
    read, flown = constellation.quarantine, prepass.quarantine
    return Quarantine(
        **{name: np.concatenate([getattr(read, name), getattr(flown, name)]) for name in Quarantine.array_fields()}
    )


def _sha256(constellation: Constellation) -> list[str]:
    """Hash of each file of elements."""
    return [source.sha256 for source in constellation.sources]


def inputs_sha256(
    scenario: Scenario, elements_sha256: Sequence[str], users: Users, old_sha256: Mapping[int, Sequence[str]]
) -> str:
    """Hash of all that decides the data: scenario, contents of the element files, users, algorithms, version.

    old_sha256 : of the files of old elements, by row of the fault
    """
    data = scenario.as_dict()
    data["elements"]["file"] = list(elements_sha256)
    for k, files in old_sha256.items():
        data["faults"][k]["file"] = list(files)
    data["users"].pop("file", None)
    data.pop("title", None)
    h = hashlib.sha256(json.dumps(data, sort_keys=True).encode())
    for values in (users.pos_ecef, users.mask_rad):
        h.update(values.tobytes())
    h.update("\n".join(users.name.tolist()).encode())
    for folder in scenario.folders:
        h.update(algorithm_source(scenario.algorithm(folder)[0])[1].encode())
    h.update(leosim.__version__.encode())
    return h.hexdigest()


def environment() -> dict[str, str]:
    """Versions and CPU that bits may depend on, as a log names them."""
    return {
        "leosim_version": leosim.__version__,
        "libraries": json.dumps({name: importlib.metadata.version(name) for name in LIBRARIES}),
        "python": platform.python_version(),
        "cpu": f"{platform.machine()} {llvm.get_host_cpu_name()}",
        "cpu_features": ",".join(sorted(k for k, on in llvm.get_host_cpu_features().items() if on)),
    }


def attributes_of(ready: Prepared) -> dict[str, str | int | float]:
    """What a log says of its run."""
    scenario = ready.scenario
    age_days = (ready.start_utc_ns - ready.constellation.median_epoch_ns) / NS_PER_S / SECONDS_PER_DAY
    attributes: dict[str, str | int | float] = {
        "title": scenario.title or scenario.name,
        "scenario_name": scenario.name,
        "scenario": scenario.to_json(),
        "seed": scenario.seed,
        "inputs_sha256": ready.inputs_sha256,
        **environment(),
        "step_ns": ready.settings.step_ns,
        "epochs": ready.settings.epochs,
        "elements": _sources(ready.constellation),
        "element_age_days": age_days,
        "commit": os.environ.get("LEOSIM_COMMIT", "") or _commit(),
    }
    for k, (_, orbits) in enumerate(ready.world.old):
        attributes[f"old_elements_{k}"] = _sources(orbits.constellation)
    if ready.settings.communicates:
        attributes["coherence"] = ready.settings.coherence.describe()
    for folder in scenario.folders:
        text, sha = algorithm_source(scenario.algorithm(folder)[0])
        attributes[f"{folder}_source"] = text
        attributes[f"{folder}_sha256"] = sha
    return attributes


def _sources(constellation: Constellation) -> str:
    """The files that elements were read from, as JSON."""
    sources = [
        {
            "file": source.file,
            "format": source.format,
            "sha256": source.sha256,
            "median_epoch": datetime.fromtimestamp(source.median_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "records": source.records,
        }
        for source in constellation.sources
    ]
    return json.dumps(sources)


def _commit() -> str:
    """The commit of the checkout leosim runs from, "" outside one."""
    git = Path(leosim.__file__).parent.parent / ".git"
    head = git / "HEAD"
    if not head.is_file():
        return ""
    text = head.read_text().strip()
    if not text.startswith("ref: "):
        return text
    ref = git / text.removeprefix("ref: ")
    return ref.read_text().strip() if ref.is_file() else ""


__all__ = [
    "Decision",
    "Epoch",
    "NothingVisibleError",
    "Prepared",
    "Progress",
    "Stopped",
    "decide",
    "epoch",
    "prepare",
    "run",
]
