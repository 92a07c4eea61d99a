"""The clock: absolute ticks in nanoseconds, links with a delay, the timeline of what is in force."""

import numpy as np
import pytest
import simpy

from leosim.engine import Backhaul, NoPast, Stage, nominal, take, ticks, until
from leosim.records import Clusters, Rates
from leosim.scoring import State, Timeline


def test_ticks_are_absolute_and_ordered_by_stage():
    env, seen = simpy.Environment(0), []

    def process(stage, period_ns):
        for k, tick in ticks(env, period_ns, stage, 1000):
            yield tick
            seen.append((nominal(env, stage), stage, k))

    env.process(process(Stage.COMMIT, 500))
    env.process(process(Stage.CENTRAL_NODE, 250))
    env.process(process(Stage.CSI, 250))
    env.run()
    assert seen == [
        (t, stage, t // period)
        for t in (0, 250, 500, 750)
        for stage, period in ((Stage.CSI, 250), (Stage.CENTRAL_NODE, 250), (Stage.COMMIT, 500))
        if t % period == 0
    ]


def test_work_that_overruns_leaves_ticks_out_and_never_drifts():
    env, seen = simpy.Environment(0), []

    def process():
        for k, tick in ticks(env, 100, Stage.CSI, 1000):
            yield tick
            seen.append((k, env.now))
            yield env.timeout(130)

    env.process(process())
    env.run()
    assert seen == [(k, k * 100) for k in (0, 2, 4, 6, 8)]


def test_a_link_delivers_in_order_of_arrival():
    env, seen = simpy.Environment(0), []
    link = Backhaul(env, Stage.DELIVERY, queued=True)

    def receiver():
        while True:
            message = yield link.arrivals.get()
            seen.append((nominal(env, Stage.DELIVERY), message, link.latest))

    def sender():
        link.send("slow", 0, 500)
        yield until(env, 100, Stage.CSI)
        link.send("quick", 100, 200)

    env.process(receiver())
    env.process(sender())
    env.run(2000)
    assert seen == [(300, "quick", "quick"), (500, "slow", "slow")]


def test_a_link_without_a_queue_keeps_the_latest_message_only():
    env = simpy.Environment(0)
    link = Backhaul(env, Stage.DELIVERY, queued=False)
    for k in range(100):
        link.send(k, k * 10, 5)
    env.run(503)
    assert link.latest == 49
    env.run()
    assert link.latest == 99
    assert link.arrivals.items == []


def test_a_run_from_scratch_computes_everything():
    assert take(NoPast(), (Rates, Clusters), 0, lambda: ("computed", "too")) == ("computed", "too")
    assert NoPast().rows(Rates) == 0


def state(name):
    return State(name, np.empty(0))


def test_the_timeline_covers_time_without_gaps_or_overlaps():
    timeline = Timeline()
    for t, name in ((0, "a"), (70, "b"), (70, "c"), (150, "d")):
        timeline.set(t, state(name))
    parts = [(lasting, s.decision) for lasting, s in timeline.between(0, 100)]
    assert parts == [(70, "a"), (30, "c")]
    assert [(lasting, s.decision) for lasting, s in timeline.between(100, 200)] == [(50, "c"), (50, "d")]
    timeline.forget(100)
    assert [(lasting, s.decision) for lasting, s in timeline.between(100, 200)] == [(50, "c"), (50, "d")]
    assert len(timeline.states) == 2
    with pytest.raises(ValueError, match="after one at 150"):
        timeline.set(149, state("e"))


def test_nothing_is_in_force_before_the_first_decision():
    timeline = Timeline()
    timeline.set(40, state("a"))
    assert [(lasting, s.decision) for lasting, s in timeline.between(0, 100)] == [(60, "a")]
    assert timeline.between(0, 40) == []
