"""Benchmarks of the precoders of the localisation service: cold and warm designs, and what the span saves."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest
from ical_scene import paper_drop
from threadpoolctl import threadpool_limits

from leosim import joint, position_design
from leosim.ical import fully_digital, hybrid


def spent_ms(function, rounds=5):
    """Median of several runs, in processor time (ms)."""
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        spent.append(1e3 * (time.process_time() - start))
    return statistics.median(spent)


def flown(terminals, seconds):
    """The terminals after a flight at 7.5 km/s along track."""
    pos = terminals.pos_ecef + np.array([-7500.0, 800.0, 0.0]) * seconds
    ratio = np.linalg.norm(terminals.pos_ecef, axis=1) / np.linalg.norm(pos, axis=1)
    return terminals.replace(pos_ecef=pos, gamma=terminals.gamma * ratio**2)


@pytest.mark.parametrize(
    ("module", "params", "cold_ms", "warm_ms"),
    [
        (fully_digital, fully_digital.Params(), 500.0, 200.0),
        (hybrid, hybrid.Params(), 500.0, 200.0),
        (hybrid, hybrid.Params(layout="tiles"), 2000.0, 1500.0),
    ],
    ids=["digital", "fully_connected", "tiles"],
)
def test_cold_and_warm(benchmark, module, params, cold_ms, warm_ms):
    """576 antennas, 36 chains, 9 terminals, 512 subcarriers, one core."""
    first = paper_drop(0)
    later = flown(first, 0.1)
    before = module.design(first, None, params)
    cold = spent_ms(lambda: module.design(later, None, params))
    warm = spent_ms(lambda: module.design(later, before, params))
    benchmark.pedantic(module.design, (later, before, params), rounds=2)
    rates = [module.design(later, memory, params).rate.sum() for memory in (before, None)]
    benchmark.extra_info.update(cold_cpu_ms=cold, warm_cpu_ms=warm, warm_rate_over_cold=rates[0] / rates[1])
    assert rates[0] >= 0.99 * rates[1]
    assert cold <= cold_ms
    assert warm <= warm_ms


def test_blocks_and_span_against_every_antenna_and_subcarrier(benchmark):
    """One evaluation of rate, bound and both gradients against the plain one."""
    p = joint.problem(paper_drop(0))
    space = position_design.whole(p)
    z = position_design.regularised_zero_forcing(p, space)
    w = position_design.written(space, z)

    def merit(rate, bound):
        return -rate + bound, -1.0, 1.0

    def quick():
        slope = position_design.judged(p, position_design.gains_of(p, space, z), merit)[1]
        return slope.transpose(1, 3, 2, 0).reshape(*z.shape[:2], -1) @ space.reach.conj()

    with threadpool_limits(1, user_api="blas"):
        benchmark(quick)
        fast, plain = spent_ms(quick, 50), spent_ms(lambda: p.exact(w), 3)
    benchmark.extra_info.update(ms=fast, plain_ms=plain, times_faster=plain / fast)
    assert plain > 20.0 * fast
