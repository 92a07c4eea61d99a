"""Every SimPy process of a run: wait, call a pure function, send, log.

The first CSI and the first decision are in force at t = 0 without delay: the system is running when the
run begins, whatever the offset of its period.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, cast

import numpy as np
import simpy

from leosim import faults, localisation, parallel, rates, scoring, sensing
from leosim import handover as handovers
from leosim.channel import Radio
from leosim.engine import Backhaul, Past, Stage, nominal, take, ticks, until
from leosim.faults import Faults
from leosim.localisation import Localisation
from leosim.rates import Coherence
from leosim.records import (
    ARRAY_BUSY,
    CENTRAL_NODE,
    CSI_LOST,
    DECISION_HELD,
    DECISION_LATE,
    DECISION_LOST,
    DWELL_LOST,
    FEEDER_LINK,
    FIXES_LOST,
    PRECODER_HELD,
    SATELLITE,
    SOLVER,
    SOLVER_HELD,
    Beams,
    ChannelStats,
    Clusters,
    Csi,
    Event,
    Fix,
    Geometry,
    Handovers,
    Rates,
    Record,
    Solver,
    Timing,
    Track,
    View,
)
from leosim.scoring import State, Timeline
from leosim.sensing import Sensing
from leosim.world import World

Process = Generator[simpy.Event, Any, None]
STAGES = ("csi", "decide", "score", "sense", "localise", "log")


@dataclass(frozen=True)
class Settings:
    """Timing (ns) of the run, and timing and algorithms of the communication service.

    communicates : whether that service runs; without it, only the epochs and their length matter
    """

    epochs: int
    step_ns: int
    communicates: bool
    period_ns: int
    offset_ns: int
    csi_delay_ns: int
    decision_delay_ns: int
    compute_ns: int
    acquisition_ns: int
    interruption_ns: int
    access_slots: int
    candidates: int
    ergodic_draws: int
    coherence: Coherence
    beamforming: tuple[ModuleType, Any]
    clustering: tuple[ModuleType, Any]

    @property
    def end_ns(self) -> int:
        """End of the run."""
        return self.epochs * self.step_ns

    @property
    def decision_interval_ns(self) -> int:
        """Time from a decision to the next; longer than the period when computing takes longer."""
        return max(1, -(-self.compute_ns // self.period_ns)) * self.period_ns

    @property
    def horizon_s(self) -> float:
        """Longest time from a CSI to the end of the decision made from it (s)."""
        on_its_way = self.csi_delay_ns + self.step_ns + self.compute_ns + self.decision_delay_ns
        return (on_its_way + self.decision_interval_ns) / 1e9


@dataclass
class Promised:
    """Rows of an instant that may still be computed beside the event loop; who asks for them waits for them."""

    t_ns: int
    ask: Callable[[], tuple[Any, ...]]
    found: tuple[Any, ...] | None = None

    def rows(self) -> tuple[Any, ...]:
        """The rows."""
        if self.found is None:
            self.found = self.ask()
        return self.found


@dataclass
class Run:
    """What the processes of one run share: the world, the links, the timeline, the rows of the epoch.

    beliefs : where each group of terminals believes to be, with the precoder before it; promised : rows to come
    pending : the acquisitions under way, by user and satellite; interrupted : until when a user is (ns)
    beams : those made from a CSI, by its time; mixed : those in force with a decision that not all satellites got
    """

    env: simpy.Environment
    world: World
    settings: Settings
    past: Past
    log: Callable[[int, list[Record]], None]
    observe: Callable[[int], tuple[Record, ...]]
    sensing: Sensing | None = None
    localisation: Localisation | None = None
    beliefs: list[Promised] = field(default_factory=list)
    localised: int = 0
    statistics: Callable[[int, np.ndarray], ChannelStats] | None = None
    timeline: Timeline = field(default_factory=Timeline)
    rows: list[Record] = field(default_factory=list)
    promised: list[Promised] = field(default_factory=list)
    happened: list[tuple[int, handovers.Change]] = field(default_factory=list)
    pending: dict[tuple[int, int], Any] = field(default_factory=dict)
    interrupted: dict[int, int] = field(default_factory=dict)
    beams: dict[int, Beams] = field(default_factory=dict)
    mixed: dict[int, Beams] = field(default_factory=dict)
    noted: int = 0
    wall: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    since: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.csi_link = Backhaul(self.env, Stage.DELIVERY, queued=False)
        self.decision_link = Backhaul(self.env, Stage.HANDOVER, queued=True)
        self.slots: dict[int, simpy.Resource] = {}
        self.arrays: dict[int, simpy.PriorityResource] = {}
        if self.localisation is not None:
            first = localisation.first_beliefs(self.world, self.localisation)
            self.beliefs = [Promised(0, tuple, (None, fix)) for fix in first]

    @property
    def users(self) -> int:
        """Number of users."""
        return int(self.world.users.name.size)

    def array(self, sat: int) -> simpy.PriorityResource:
        """The array of a satellite, which one service holds at a time."""
        return self.arrays.setdefault(sat, simpy.PriorityResource(self.env, capacity=1))

    def report(self, t_ns: int) -> tuple[Record, ...]:
        """Geometry and the CSI the central node is told: with localisation, from where users believe to be."""
        seen = self.observe(t_ns)
        if self.localisation is None or not self.settings.communicates:
            return seen
        visible, csi = cast(tuple[Geometry, Csi], seen)
        beliefs = [belief.rows()[1] for belief in self.beliefs]
        return visible, localisation.reported(self.world, self.localisation, beliefs, csi)

    def promise(
        self, stage: str, t_ns: int, types: tuple[type[Record], ...], k: int, compute: Callable[[], tuple[Any, ...]]
    ) -> Promised:
        """Row k of some record types, for the log of its epoch: begun now, on another thread if there is one."""
        begun = time.perf_counter()
        taken = all(k < self.past.rows(record_type) for record_type in types)
        found = compute if taken else parallel.begin(compute)

        def ask() -> tuple[Any, ...]:
            since = time.perf_counter()
            rows = take(self.past, types, k, found)
            self.wall[stage] += time.perf_counter() - since
            return rows

        self.promised.append(Promised(t_ns, ask))
        self.wall[stage] += time.perf_counter() - begun
        return self.promised[-1]

    @property
    def faults(self) -> Faults:
        """The faults of the scenario."""
        return self.world.faults

    def note(self, event: Event) -> None:
        """Log an event."""
        self.rows += take(self.past, (Event,), self.noted, lambda: (event,))
        self.noted += 1

    def blame(self, t_ns: int, kind: int, action: int, count: int, text: str = "") -> None:
        """Log what the faults in force of a kind have done, if anything."""
        if count:
            self.note(self.faults.event(t_ns, kind, action, count, text))

    def in_force(self, decision: Clusters) -> Beams:
        """The beams a decision is in force with."""
        return self.mixed.get(decision.t_ns) or self.beams[decision.csi_t_ns]

    def truth(self, t_ns: int, sats: np.ndarray) -> ChannelStats:
        """Statistics of some satellites with every user in view of them, at the beginning of an epoch.

        Taken from the CSI of that instant where it has all of them, else computed by `statistics` (by default those
        of the world). sats : [sat] catalogue numbers, ascending
        """
        csi = next((row for row in self.rows if isinstance(row, Csi) and row.t_ns == t_ns), None)
        if csi is None or self.localisation is not None or self.world.old:  # which make it belief
            return (self.statistics or self.world.statistics)(t_ns, sats)
        first, stop = (np.searchsorted(csi.sat, sats, side=side) for side in ("left", "right"))
        if (first == stop).any():
            return (self.statistics or self.world.statistics)(t_ns, sats)
        rows = np.concatenate([np.arange(a, b) for a, b in zip(first.tolist(), stop.tolist(), strict=True)])
        return ChannelStats(t_ns=t_ns, **{name: getattr(csi, name)[rows] for name in ChannelStats.array_fields()})

    def beams_of(self, csi: Csi) -> Beams:
        """Beams made from a CSI, kept while a decision that uses them may be in force."""
        if csi.t_ns not in self.beams:
            module, params = self.settings.beamforming
            self.beams[csi.t_ns] = module.beams(csi, params, self.world.radio)
        return self.beams[csi.t_ns]


def csi(run: Run) -> Process:
    """Each step: geometry and, for the central node, statistical CSI."""
    s = run.settings
    types: tuple[type[Record], ...] = (Geometry, Csi) if s.communicates else (Geometry,)
    for k, tick in ticks(run.env, s.step_ns, Stage.CSI, s.end_ns):
        yield tick
        for promised in reversed(run.promised):  # waiting is not a part of this stage
            promised.rows()  # the last first: what no thread has begun is computed here while one works on the rest
        begun = time.perf_counter()
        seen = take(run.past, types, k, partial(run.report, k * s.step_ns))
        run.rows += seen
        if s.communicates:
            t_ns = nominal(run.env, Stage.CSI)
            if run.faults.now(FEEDER_LINK, t_ns):
                sats = np.unique(seen[0].sat)
                run.blame(t_ns, FEEDER_LINK, CSI_LOST, int(run.faults.cut_off(sats, t_ns).sum()))
            if not run.faults.all_cut_off(t_ns):
                run.csi_link.send(seen[-1], t_ns, s.csi_delay_ns if k else 0)
        run.wall["csi"] += time.perf_counter() - begun


def central_node(run: Run) -> Process:
    """Each period: serving sets and powers from the latest CSI, sent to the satellites."""
    s, previous, made = run.settings, None, 0
    for tick in decision_ticks(run):
        yield tick
        begun, t_ns, report = time.perf_counter(), nominal(run.env, Stage.CENTRAL_NODE), run.csi_link.latest
        if report is None:  # no feeder link since the start
            continue
        late_ns = run.faults.late_ns(t_ns) if t_ns else 0
        delays = (s.compute_ns + late_ns, s.decision_delay_ns) if t_ns else (0, 0)
        decided = partial(decide, run, report, t_ns, previous, sum(delays))
        clusters, solver = take(run.past, (Clusters, Solver), made, decided)
        run.beams_of(report)
        run.rows += [clusters, solver]
        if late_ns:
            run.blame(t_ns, CENTRAL_NODE, DECISION_LATE, clusters.user.size, f"{late_ns / 1e9:g} s late")
        if solver.status == SOLVER_HELD:
            run.blame(t_ns, SOLVER, DECISION_HELD, clusters.user.size)
        previous, made = clusters, made + 1
        run.wall["decide"] += time.perf_counter() - begun
        yield run.env.timeout(delays[0])
        run.decision_link.send(clusters, nominal(run.env, Stage.CENTRAL_NODE), delays[1])


def decision_ticks(run: Run) -> Iterator[simpy.Event]:
    """The ticks of the central node; where its offset leaves none at t = 0, that of the period before comes then."""
    s = run.settings
    if s.offset_ns:
        yield until(run.env, 0, Stage.CENTRAL_NODE)
    for _, tick in ticks(run.env, s.period_ns, Stage.CENTRAL_NODE, s.end_ns, s.offset_ns):
        yield tick


def decide(run: Run, report: Csi, t_ns: int, previous: Clusters | None, delay_ns: int) -> tuple[Clusters, Solver]:
    """One decision of the central node, from what it believes; the one before again, if its solver fails."""
    s = run.settings
    if previous is not None and run.faults.solver_fails(t_ns):
        return faults.held(previous, t_ns, t_ns + delay_ns), faults.failed(t_ns)
    module, params = s.clustering
    beams = run.beams_of(report)
    seen = view(report, beams, t_ns, run.users, run.world.radio, s.coherence)
    clusters, solver = module.cluster(seen, previous, params)
    return with_spots(clusters, beams).replace(effective_t_ns=t_ns + delay_ns), solver


def with_spots(clusters: Clusters, beams: Beams) -> Clusters:
    """A decision with the regional beam of each of its pairs."""
    return clusters.replace(spot=beams.spot[scoring.streams_of(beams, clusters)])


def view(report: Csi, beams: Beams, t_ns: int, users: int, radio: Radio, coherence: Coherence) -> View:
    """What a clustering policy sees of a CSI: couplings under the coherence model, and the candidate pairs."""
    planned, share = coherence.planned(), coherence.planned_share or 0.0
    believed = rates.cohere(rates.couplings(report, beams, radio), planned, share)
    finite = planned.cross_terms == "finite"
    serves = report.candidate.astype(bool)
    return View(
        t_ns=t_ns,
        csi_t_ns=report.t_ns,
        user_count=users,
        couplings=believed,
        cross_terms="ideal" if share else planned.cross_terms,  # what is left of the means is coherent
        gamma=rates.cross_correlation(believed, users, planned) if finite else None,
        user=report.user[serves],
        sat=report.sat[serves],
        useful=rates.useful_amplitude(believed, coherence.slow_rad),
        range_m=report.range_m[serves],
        elevation_rad=report.elevation_rad[serves],
        remaining_s=report.remaining_s[serves],
    )


def handover(run: Run) -> Process:
    """Each decision that arrives: what changes for whom, and the acquisitions it takes."""
    s, pending = run.settings, run.pending
    sets: list[handovers.Serving] = [{} for _ in range(run.users)]
    while True:
        sent: Clusters = yield run.decision_link.arrivals.get()
        now = nominal(run.env, Stage.HANDOVER)
        decision = receive(run, sent, now)
        before, sets = sets, handovers.serving_sets(decision.user, decision.sat, run.users, decision.spot)
        changed = handovers.changes(before, sets) if run.timeline.states else []
        run.happened += [(now, change) for change in changed]
        anew = {(change.user, sat) for change in changed for sat in change.acquires}
        for user, sat in [pair for pair in pending if pair[1] not in sets[pair[0]] or pair in anew]:
            pending.pop((user, sat)).interrupt("superseded")
        for change in changed:
            if change.interrupts and s.interruption_ns:
                run.interrupted[change.user] = now + s.interruption_ns
                run.env.process(resume(run, change.user))
            for sat in change.acquires if s.acquisition_ns else ():
                pending[change.user, sat] = run.env.process(acquire(run, change.user, sat))
        switch(run, decision, now)


def receive(run: Run, sent: Clusters, now: int) -> Clusters:
    """What is in force with a decision that arrives: satellites that are cut off do not get it, and go on as before."""
    before = run.timeline.states[-1].decision if run.timeline.states else faults.nothing(sent)
    decision, lost = faults.received(sent, before, run.faults, now)
    if lost:
        run.blame(now, FEEDER_LINK, DECISION_LOST, lost)
        cut = run.faults.cut_off(decision.sat, now)
        run.mixed[sent.t_ns] = faults.joined(
            run.in_force(sent).of(decision.sat[~cut], decision.user[~cut]),
            run.in_force(before).of(decision.sat[cut], decision.user[cut]),
        )
    return decision


def switch(run: Run, decision: Clusters, now: int) -> None:
    """Put a decision in force but for pairs still being acquired, users interrupted and satellites that are out."""
    pending, interrupted = run.pending, run.interrupted
    down = run.faults.silent(decision.sat, now)
    active = ~down
    if pending or interrupted:
        pairs = zip(decision.user.tolist(), decision.sat.tolist(), strict=True)
        active &= [(u, s) not in pending and interrupted.get(u, now) <= now for u, s in pairs]
    last = run.timeline.states[-1] if run.timeline.states else None
    same = last is not None and last.decision is decision and np.array_equal(last.active, active)
    if not same or last is None or last.down is None or not np.array_equal(last.down, down):
        run.timeline.set(now, State(decision, active, down))


def acquire(run: Run, user: int, sat: int) -> Process:
    """A joining satellite: wait for one of its access slots, hold it while acquiring, then serve."""
    slots = run.slots.setdefault(sat, simpy.Resource(run.env, capacity=run.settings.access_slots))
    try:
        with slots.request() as slot:
            yield slot
            yield run.env.timeout(run.settings.acquisition_ns)
    except simpy.Interrupt:
        return
    run.pending.pop((user, sat))
    now = nominal(run.env, Stage.HANDOVER)
    if run.interrupted.get(user, now) <= now:
        activate(run, user, sat, now)


def activate(run: Run, user: int, sat: int, now: int) -> None:
    """One pair of the decision in force starts to serve; the others stay as they are."""
    last = run.timeline.states[-1]
    of_sat = slice(*np.searchsorted(last.decision.sat, (sat, sat + 1)).tolist())
    active = last.active.copy()
    active[of_sat] |= last.decision.user[of_sat] == user
    down = run.faults.silent(last.decision.sat, now)
    run.timeline.set(now, State(last.decision, active & ~down, down))


def resume(run: Run, user: int) -> Process:
    """The end of a user's interruption, unless another hard change has moved it."""
    end = run.interrupted[user]
    yield until(run.env, end, Stage.HANDOVER)
    if run.interrupted.get(user) == end:
        del run.interrupted[user]
        switch(run, run.timeline.states[-1].decision, end)


def fail(run: Run) -> Process:
    """Each beginning and end of a fault: log it; satellites that are out fall silent, those that are back speak."""
    for t_ns, fault, action in run.faults.edges(run.settings.end_ns):
        yield until(run.env, t_ns, Stage.CSI)
        silenced = [state.decision for state in run.timeline.states[-1:] if fault.kind == SATELLITE]
        pairs = sum(int(fault.concerns(decision.sat).sum()) for decision in silenced)
        run.note(faults.event(t_ns, fault.kind, action, fault.sat, pairs, fault.text))
        if silenced:
            yield until(run.env, t_ns, Stage.HANDOVER)
            switch(run, run.timeline.states[-1].decision, t_ns)


def sense(run: Run, s: Sensing) -> Process:
    """Each dwell: precoder, echo, detection, track; the satellite's array is held meanwhile.

    A dwell whose array another service holds, or whose satellite has failed, is lost, and its track coasts.
    """
    previous, tracks, made, last = None, dict[int, Track](), 0, None
    for _, tick in ticks(run.env, s.period_ns, Stage.SENSE, run.settings.end_ns, s.offset_ns):
        yield tick
        if last is not None:
            previous = last.rows()[0]
            tracks.update({int(row.target): row for row in last.rows() if isinstance(row, Track)})
        begun, t_ns = time.perf_counter(), nominal(run.env, Stage.SENSE)
        known_ns = t_ns - t_ns % run.settings.step_ns  # the last CSI, which tells who is out
        at = sensing.aim(run.world, s, t_ns, made, tracks, known_ns)
        fails, out = run.faults.solver_fails(t_ns), bool(run.faults.silent(np.array(at.sat), t_ns))
        run.wall["sense"] += time.perf_counter() - begun
        with run.array(at.sat).request(priority=0) as slot:
            free = (slot.triggered or at.sat < 0) and not out
            lost = partial(sensing.unused, s, at, ARRAY_BUSY)
            done = partial(sensing.dwell, run.world, s, at, made, previous, fails)
            last = run.promise("sense", t_ns, s.records, made, done if free else lost)
            run.blame(t_ns, SATELLITE, DWELL_LOST, int(out))
            if fails and free and at.sat >= 0:
                run.blame(t_ns, SOLVER, PRECODER_HELD if last.rows()[0].sat >= 0 else DWELL_LOST, 1)
            made += 1
            if free:  # and again at the end of the dwell, to whoever asks then
                yield until(run.env, t_ns + s.dwell_ns, Stage.CSI)


def localise(run: Run, s: Localisation, group: int) -> Process:
    """Each period: a precoder for a group of terminals, pilots, fixes; the anchor's array is held meanwhile.

    Where another service or group holds the array, the frames begin when it is free.
    """
    made, end_ns = 0, run.settings.end_ns - s.hold_ns  # fixes that would end later are not begun
    for _, tick in ticks(run.env, s.period_ns, Stage.LOCALISE, end_ns + 1, s.offset_ns):
        yield tick
        t_ns, (previous, belief) = nominal(run.env, Stage.LOCALISE), run.beliefs[group].rows()
        sat = localisation.anchor(run.world, s, t_ns, belief, t_ns - t_ns % run.settings.step_ns)
        with run.array(sat).request(priority=1) as slot:
            if sat >= 0 and not slot.triggered:
                yield from queue(run, s, t_ns, belief, slot)
                t_ns = nominal(run.env, Stage.LOCALISE)
            if t_ns > end_ns:
                return
            fails = run.faults.solver_fails(t_ns)
            out = any(run.faults.silent(np.array(sat), when) for when in (t_ns, t_ns + s.hold_ns - 1))
            lost = partial(localisation.unused, run.world, s, t_ns, belief)
            at = partial(localisation.localise, run.world, s, t_ns, group, made, sat, belief, previous, fails)
            found = run.promise("localise", t_ns, s.records, run.localised, lost if out else at)
            if out:
                run.note(faults.event(t_ns, SATELLITE, FIXES_LOST, sat, 1, "the anchor fails"))
            if fails and sat >= 0 and not out:
                run.blame(t_ns, SOLVER, PRECODER_HELD if found.rows()[0].sat >= 0 else FIXES_LOST, 1)
            made, run.localised = made + 1, run.localised + 1
            if sat >= 0:
                yield until(run.env, t_ns + s.hold_ns, Stage.CSI)
        run.beliefs[group] = found


def queue(run: Run, s: Localisation, t_ns: int, belief: Fix, slot: simpy.Event) -> Process:
    """Wait for an array; each period that begins meanwhile is one without fixes, which the log says."""
    due_ns = t_ns + s.period_ns
    while True:
        yield slot | until(run.env, due_ns, Stage.LOCALISE)
        if slot.triggered:
            break
        at = partial(localisation.unused, run.world, s, due_ns, belief)
        run.promise("localise", due_ns, s.records, run.localised, at)
        run.localised, due_ns = run.localised + 1, due_ns + s.period_ns
    yield until(run.env, int(run.env.now), Stage.LOCALISE)


def commit(run: Run) -> Process:
    """At the end of each epoch: score its decisions, if any are made, and put its rows in the log."""
    s = run.settings
    for k in range(s.epochs):
        t_ns, end_ns = k * s.step_ns, (k + 1) * s.step_ns
        yield until(run.env, end_ns, Stage.COMMIT)
        begun = time.perf_counter()
        scored: tuple[Record, ...] = ()
        if s.communicates:
            states = run.timeline.between(t_ns, end_ns)
            scored = take(run.past, (Rates,), k, partial(score, run, t_ns, states))
            run.wall["score"] += time.perf_counter() - begun
        run.rows += [row for promised in run.promised if promised.t_ns < end_ns for row in promised.rows()]
        run.promised = [promised for promised in run.promised if promised.t_ns >= end_ns]
        begun, before = time.perf_counter(), run.since
        seconds = {f"{stage}_s": np.array(wall) for stage, wall in (run.wall | {"wall": begun - before}).items()}
        run.since = begun
        run.log(k, [*collect(run, t_ns, end_ns), *scored, Timing(t_ns=t_ns, **seconds)])
        run.wall = dict.fromkeys(STAGES, 0.0) | {"log": time.perf_counter() - begun}


def collect(run: Run, t_ns: int, end_ns: int) -> list[Record]:
    """The rows of the epoch [t, end), taken off the run; what coincides with the end belongs to the next one."""
    rows = [record for record in run.rows if record.t_ns < end_ns]  # type: ignore[attr-defined]
    run.rows = [record for record in run.rows if record.t_ns >= end_ns]  # type: ignore[attr-defined]
    happened = [event for event in run.happened if event[0] < end_ns]
    run.happened = [event for event in run.happened if event[0] >= end_ns]
    changed: tuple[Record, ...] = ()
    if run.settings.communicates:
        changed = take(run.past, (Handovers,), t_ns // run.settings.step_ns, partial(_events, t_ns, happened))
    run.timeline.forget(end_ns)
    oldest = min((state.decision.csi_t_ns for state in run.timeline.states), default=0)
    run.beams = {csi_t_ns: beams for csi_t_ns, beams in run.beams.items() if csi_t_ns >= oldest}
    in_force = {state.decision.t_ns for state in run.timeline.states}
    run.mixed = {decided_ns: beams for decided_ns, beams in run.mixed.items() if decided_ns in in_force}
    return [*rows, *changed]


def _events(t_ns: int, happened: list[tuple[int, handovers.Change]]) -> tuple[Handovers]:
    return (handovers.events(t_ns, happened),)


def score(run: Run, t_ns: int, states: list[tuple[int, State]]) -> tuple[Rates]:
    """The score of one epoch against the truth."""
    s = run.settings
    rates_of_epoch = scoring.score(
        t_ns,
        s.step_ns,
        states,
        run.users,
        run.truth,
        run.in_force,
        run.world.radio,
        s.coherence,
        s.ergodic_draws,
    )
    return (rates_of_epoch,)


def processes(run: Run) -> list[Process]:
    """The processes of a run: those of each of its services, and the commit."""
    communicating = [central_node(run), handover(run)] if run.settings.communicates else []
    sensing_processes = [sense(run, run.sensing)] if run.sensing is not None else []
    s = run.localisation
    localising = [localise(run, s, group) for group in range(len(s.groups))] if s is not None else []
    failing = [fail(run)] if run.faults else []  # first, so that a fault is in the log before what comes of it
    return [*failing, csi(run), *communicating, *sensing_processes, *localising, commit(run)]


def play(run: Run) -> None:
    """The event loop of a run, from t = 0 to its end."""
    for process in processes(run):
        run.env.process(process)
    run.env.run(until=run.settings.end_ns + len(Stage) + 1)


__all__ = ["Handovers", "Run", "Settings", "play", "processes"]
