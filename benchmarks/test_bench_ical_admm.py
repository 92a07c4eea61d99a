"""Benchmarks of Algorithm 1 of You et al. 2024: an iteration in compressed form, against dense eigendecompositions."""

from __future__ import annotations

import time
from itertools import islice

import numpy as np
import pytest
from ical_scene import paper_drop
from threadpoolctl import threadpool_limits

from leosim import joint
from leosim.ical import hybrid_admm
from leosim.ical.hybrid_admm import Params


def prepared(params):
    """A task of full size (576 antennas, 9 terminals, 8 blocks), a state some iterations on, and the chains."""
    p = joint.problem(paper_drop(0))
    t, communication = hybrid_admm.weighed(p, params)
    begin = hybrid_admm.first(p, t, hybrid_admm.digital(p, t, communication), params)
    *_, s = islice(hybrid_admm.iterations(p, t, begin, params), 6)
    fully = params.layout == "fully_connected"
    return t, s, None if fully else joint.chain_of(params.layout, p.rows, p.columns, params.chains)


def dense_step_s(t, s):
    """Processor time of one eigendecomposition of A_{k,b}, Eq. (42), and of G_{k,b} by it (s)."""
    h = t.towards[0, 0]
    a = t.rho * s.weight[0, 0] * abs(s.receiver[0, 0]) ** 2 * np.outer(h.conj(), h)
    a += (t.pull + s.penalty / 2) * np.eye(h.size)
    psi = t.pull * t.located[:, 0] + s.penalty / 2 * (s.product[:, 0] - s.dual_common[:, 0])
    begun = time.process_time()
    value, vector = np.linalg.eigh(a)
    vector @ ((vector.conj().T @ psi) / value[:, None])
    return time.process_time() - begun


@pytest.mark.parametrize("layout", ["fully_connected", "contiguous"])
def test_an_iteration_against_dense_eigendecompositions(benchmark, layout):
    """The dense iteration is not run: it is one terminal and block, timed, times the 72 of them.

    That is the paper's complexity count, `K N N_t^3`, without the other steps, and of the 8 blocks that share a
    precoder instead of all 512 subcarriers.
    """
    params = Params(layout=layout)
    with threadpool_limits(1):
        t, s, chain = prepared(params)
        dense_s = min(dense_step_s(t, s) for _ in range(3)) * t.towards.shape[0] * t.terminals
        begun, rounds = time.process_time(), 40
        for _ in range(rounds):
            hybrid_admm.iterate(t, s, chain, params)
        own_s = (time.process_time() - begun) / rounds
        benchmark(hybrid_admm.iterate, t, s, chain, params)
    benchmark.extra_info.update(iteration_ms=1e3 * own_s, dense_s=dense_s, times_faster=dense_s / own_s)
    assert dense_s > 300 * own_s


def test_a_design(benchmark):
    """Cold, with the localisation-only and digital precoders it starts from; and warm."""
    terminals = paper_drop(0)
    found = benchmark.pedantic(hybrid_admm.design, (terminals, None, Params()), rounds=3)
    begun = time.perf_counter()
    warm = hybrid_admm.design(terminals, found, Params())
    benchmark.extra_info.update(
        warm_s=time.perf_counter() - begun, iterations=int(found.iterations), warm_iterations=int(warm.iterations)
    )
    assert float(found.apeb_m) < 6.0
