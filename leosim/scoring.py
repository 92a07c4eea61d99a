"""Truth against the decisions in force: rates integrated over an epoch, outage and interruption.

Scoring is a pure function: decisions carry the time they take effect, and an epoch's score is an integral
over the states in force in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from leosim import rates
from leosim.channel import Radio
from leosim.rates import Coherence
from leosim.records import Beams, ChannelStats, Clusters, Rates, pair_code
from leosim.units import NS_PER_S


@dataclass(frozen=True)
class State:
    """What is in force from one moment on: a decision, and which of its pairs are active.

    active : [pair] bool, False while the satellite is being acquired, is out, or its user is interrupted
    down : [pair] bool, True while the satellite is out; None: none is
    """

    decision: Clusters
    active: np.ndarray
    down: np.ndarray | None = None


@dataclass
class Timeline:
    """States by the time they begin (ns), in order; the last one set at a time is the one that counts."""

    begin_ns: list[int] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    def set(self, t_ns: int, state: State) -> None:
        """From t_ns on, this state is in force."""
        if self.begin_ns and t_ns < self.begin_ns[-1]:
            raise ValueError(f"timeline: a state at {t_ns} ns after one at {self.begin_ns[-1]} ns")
        if self.begin_ns and t_ns == self.begin_ns[-1]:
            self.states[-1] = state
        else:
            self.begin_ns.append(t_ns)
            self.states.append(state)

    def between(self, start_ns: int, end_ns: int) -> list[tuple[int, State]]:
        """The states in force in [start, end) with the time each lasts (ns)."""
        found = []
        for i, (begin, state) in enumerate(zip(self.begin_ns, self.states, strict=True)):
            stop = self.begin_ns[i + 1] if i + 1 < len(self.begin_ns) else end_ns
            lasting = min(stop, end_ns) - max(begin, start_ns)
            if lasting > 0:
                found.append((lasting, state))
        return found

    def forget(self, t_ns: int) -> None:
        """Drop the states that ended before t_ns."""
        while len(self.begin_ns) > 1 and self.begin_ns[1] <= t_ns:
            del self.begin_ns[0], self.states[0]


def score(
    t_ns: int,
    step_ns: int,
    states: list[tuple[int, State]],
    users: int,
    truth: Callable[[int, np.ndarray], ChannelStats],
    beams_of: Callable[[Clusters], Beams],
    radio: Radio,
    coherence: Coherence,
    ergodic_draws: int,
) -> Rates:
    """Time-weighted rates, outage and interruption of the epoch [t, t + step).

    states : what was in force, with the time each lasted (ns); any time they leave uncovered is outage
    truth : (time, catalogue numbers ascending) -> statistics of those satellites with every user in view,
    taken at the beginning of the epoch; beams_of : the beams a decision was made with
    Raises nothing; a user without an active satellite has rate 0.
    """
    hardening, ergodic = np.zeros(users), np.zeros(users)
    outage_ns, interruption_ns = np.full(users, step_ns, dtype=np.int64), np.zeros(users, dtype=np.int64)
    serving = np.zeros(users, dtype=np.int32)
    known: dict[int, tuple[rates.Couplings, rates.Couplings, np.ndarray | None]] = {}
    tick = t_ns // step_ns
    for lasting_ns, state in states:
        decision = state.decision
        alive = np.bincount(decision.user[state.active], minlength=users)
        up = decision.user if state.down is None else decision.user[~state.down]
        assigned = np.bincount(up, minlength=users)
        outage_ns[alive > 0] -= lasting_ns
        interruption_ns[(alive == 0) & (assigned > 0)] += lasting_ns
        serving = alive.astype(np.int32)
        if not state.active.any():
            continue
        if decision.t_ns not in known:
            beams = beams_of(decision).of(decision.sat, decision.user)  # the others are silent
            raw = rates.couplings(truth(t_ns, beams.sat), beams, radio)
            gamma = rates.cross_correlation(raw, users, coherence) if coherence.cross_terms == "finite" else None
            known[decision.t_ns] = raw, rates.cohere(raw, coherence), gamma
        raw, cohered, gamma = known[decision.t_ns]
        amplitude = on_streams(raw, decision, state.active)
        weight = lasting_ns / step_ns
        hardening += weight * rates.spectral_efficiency(
            rates.hardening_sinr(cohered, amplitude, users, coherence, gamma)
        )
        ergodic += weight * rates.ergodic_rate(raw, amplitude, users, coherence, radio.seed, tick, ergodic_draws, gamma)
    return Rates(
        t_ns=t_ns,
        hardening=hardening,
        ergodic=ergodic,
        serving=serving,
        outage_s=outage_ns / NS_PER_S,
        interruption_s=interruption_ns / NS_PER_S,
    )


def on_streams(c: rates.Couplings, decision: Clusters, active: np.ndarray) -> np.ndarray:
    """Amplitudes of a decision's active pairs on the streams of couplings: [stream], others 0."""
    amplitude = np.zeros(c.stream.size)
    amplitude[_streams(c.sat, c.stream_size, c.stream, decision)[active]] = decision.amplitude[active]
    return amplitude


def streams_of(beams: Beams, decision: Clusters) -> np.ndarray:
    """The stream of each pair of a decision: [pair] int."""
    return _streams(beams.sat, beams.stream_size, beams.user, decision)


def _streams(sat: np.ndarray, stream_size: np.ndarray, user: np.ndarray, decision: Clusters) -> np.ndarray:
    return np.searchsorted(pair_code(np.repeat(sat, stream_size), user), pair_code(decision.sat, decision.user))
