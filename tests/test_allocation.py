"""Allocation: closed forms, a plain cvxpy bisection as oracle, certificates, and the rules a support obeys."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from paper_box import box

from leosim import allocation, conic, couplings, duality, parallel, records, support

two_gaps_bit = 1e-3  # both the allocation's certificate and the oracle's bisection may be half of it off
one_gap_bit = 5e-4
last_bits = 1e-9


def rate(sinr):
    return np.log2(1 + sinr)


def plain_sinr(mean, variance, p, coherence="ideal"):
    """The SINR of Eq. (22), Kim et al. 2024, term by term: p [sat, user]."""
    n_user, _, n_sat = mean.shape
    out = np.empty(n_user)
    for k in range(n_user):
        b = np.abs(mean[k, k])
        useful = (
            sum(p[l, k] ** 2 * b[l] ** 2 for l in range(n_sat))
            if coherence == "noncoherent"
            else sum(p[l, k] * b[l] for l in range(n_sat)) ** 2
        )
        noise = 1.0
        for j in range(n_user):
            noise += sum(variance[k, j, l] * p[l, j] ** 2 for l in range(n_sat))
            if j != k:
                terms = [mean[k, j, l] * p[l, j] for l in range(n_sat)]
                noise += abs(sum(terms)) ** 2 if coherence == "ideal" else sum(abs(x) ** 2 for x in terms)
        out[k] = useful / noise
    return out


def oracle(mean, variance, coherence="ideal", held=None, high=None):
    """Largest common SINR by bisection over a feasibility program in cvxpy; held: {user: SINR}."""
    n_user, _, n_sat = mean.shape
    held = held or {}
    noncoherent = coherence == "noncoherent"
    p = cp.Variable((n_sat, n_user), nonneg=True)  # p^2 when noncoherent
    scale = cp.Parameter(n_user, nonneg=True)
    rules = []
    for k in range(n_user):
        b = np.abs(mean[k, k])
        spread = variance[k].T.copy()  # [sat, stream]
        if coherence != "ideal":
            spread += np.where(np.arange(n_user) == k, 0.0, np.abs(mean[k].T) ** 2)
        if noncoherent:
            rules.append((b**2 @ p[:, k]) * scale[k] >= cp.sum(cp.multiply(spread, p)) + 1)
            continue
        parts = [cp.vec(cp.multiply(np.sqrt(spread), p), order="F"), np.ones(1)]
        if coherence == "ideal":
            for j in range(n_user):
                if j != k:
                    parts += [
                        cp.reshape(mean[k, j].real @ p[:, j], (1,), order="F"),
                        cp.reshape(mean[k, j].imag @ p[:, j], (1,), order="F"),
                    ]
        rules.append(scale[k] * (b @ p[:, k]) >= cp.norm(cp.hstack(parts)))
    budget = cp.Variable()
    for l in range(n_sat):
        rules.append((cp.sum(p[l]) if noncoherent else cp.norm(p[l])) <= budget)
    program = cp.Problem(cp.Minimize(budget), rules)
    low = 0.0
    if high is None:
        high = min(np.sum(np.abs(mean[k, k])) ** 2 for k in range(n_user))
    while rate(high) - rate(low) > 1e-4:
        t = np.sqrt((1 + low) * (1 + high)) - 1
        wanted = np.array([held.get(k, t) for k in range(n_user)])
        scale.value = 1 / wanted if noncoherent else 1 / np.sqrt(wanted)
        try:
            program.solve(solver=cp.CLARABEL)
            reached = program.status in ("optimal", "optimal_inaccurate") and budget.value <= 1
        except cp.SolverError:
            reached = False
        low, high = (t, high) if reached else (low, t)
    return low


CASES = [
    *((seed, {}, "ideal") for seed in range(6)),
    *((seed, {"side": 8}, "ideal") for seed in range(6, 9)),
    *((seed, {"n_sat": 3, "n_user": 4}, "ideal") for seed in range(9, 11)),
    *((seed, {"noise_dbm": -94.0}, "ideal") for seed in range(11, 13)),
    *((seed, {"noise_dbm": -170.0}, "ideal") for seed in range(13, 15)),
    *((seed, {"poor_db": 20.0}, "ideal") for seed in range(15, 17)),
    *((seed, {}, "averaged") for seed in range(17, 20)),
]


@pytest.mark.parametrize(("seed", "kind", "coherence"), CASES)
def test_minimum_rate_equals_plain_bisection(seed, kind, coherence):
    mean, variance = box(seed, **kind)
    got = allocation.max_min(couplings.problem_from_dense(mean, variance, coherence=coherence))
    want = oracle(mean, variance, coherence, high=got.upper * 1.5)
    assert got.status in ("optimal", "fallback")
    assert got.gap_bit <= one_gap_bit
    assert rate(got.sinr.min()) == pytest.approx(rate(want), abs=two_gaps_bit)
    assert rate(want) <= rate(got.upper) + 1e-5


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noncoherent_equals_plain_linear_program(seed):
    mean, variance = box(seed)
    got = allocation.max_min(couplings.problem_from_dense(mean, variance, coherence="noncoherent"))
    want = oracle(mean, variance, "noncoherent")
    assert got.status == "optimal"
    assert rate(got.sinr.min()) == pytest.approx(rate(want), abs=two_gaps_bit)


def test_second_level_equals_plain_bisection():
    # two groups of two satellites and two users, weakly coupled, the second with ten times the amplitude
    mean, variance = box(3, n_sat=4, n_user=4, side=8)
    allowed = np.zeros((4, 4), dtype=bool)
    allowed[:2, :2] = True
    allowed[2:, 2:] = True
    gain = np.array([[1.0, 1e-2], [1e-2, 10.0]]).repeat(2, axis=0).repeat(2, axis=1)[:, :, None]
    mean = np.where(allowed[None, :, :], mean * gain, 0.0)
    variance = np.where(allowed[None, :, :], variance * gain**2, 0.0)
    problem = couplings.problem_from_dense(mean, variance, allowed=allowed)
    tolerance_bit = 0.01
    got = allocation.max_min(problem, raise_tol_bit=tolerance_bit)
    assert len(got.level_sinr) >= 2
    first = got.level == 0
    assert 0 < first.sum() < 4
    held = 2 ** (rate(got.level_sinr[0]) - tolerance_bit) - 1
    np.testing.assert_allclose(got.sinr[first], held, rtol=1e-6)
    if len(got.level_sinr) == 2:
        want = oracle(mean, variance, held=dict.fromkeys(np.flatnonzero(first), held), high=1e5)
        assert rate(got.level_sinr[1]) == pytest.approx(rate(want), abs=2 * two_gaps_bit)


def test_poor_user_gives_way_by_the_declared_tolerance_only():
    mean, variance = box(4, n_sat=10, n_user=6, side=8, noise_dbm=-94.0, poor_db=20.0)
    problem = couplings.problem_from_dense(mean, variance)
    strict = allocation.max_min(problem, raise_levels=False)
    raised = allocation.max_min(problem, raise_tol_bit=0.01)
    loss = rate(strict.sinr.min()) - rate(raised.sinr.min())
    assert loss <= 0.01 + two_gaps_bit
    assert rate(raised.sinr[1:]).mean() > rate(strict.sinr[1:]).mean() + 0.1


@pytest.mark.parametrize("coherence", ["ideal", "averaged", "noncoherent"])
def test_sinr_equals_plain_formula(coherence):
    mean, variance = box(5)
    p = np.random.default_rng(0).uniform(0, 1, (8, 5))
    problem = couplings.problem_from_dense(mean, variance, coherence=coherence)
    np.testing.assert_allclose(
        couplings.sinr(problem, p.T.ravel()), plain_sinr(mean, variance, p, coherence), rtol=1e-10
    )


def test_correlation_of_ones_is_ideal_and_identity_is_averaged():
    mean, variance = box(6)
    p = np.random.default_rng(1).uniform(0, 1, 40)
    shape = (5, 5, 8, 8)
    for gamma, name in [(np.ones(shape), "ideal"), (np.broadcast_to(np.eye(8), shape), "averaged")]:
        by_gamma = couplings.problem_from_dense(mean, variance, coherence=np.array(gamma))
        by_name = couplings.problem_from_dense(mean, variance, coherence=name)
        np.testing.assert_allclose(couplings.sinr(by_gamma, p), couplings.sinr(by_name, p), rtol=1e-9)


@pytest.mark.parametrize("coherence", ["ideal", "averaged", "noncoherent"])
def test_blocks_equal_dense(coherence):
    mean, variance = box(7, n_sat=5, n_user=4)
    views = [[0, 1, 3], [0, 1, 2, 3], [2], [1, 2], [0, 2, 3]]  # receivers a satellite
    streams = [[0, 3], [1, 2], [2], [1], [0, 2, 3]]
    allowed = np.zeros((4, 5), dtype=bool)
    for l, (view, stream) in enumerate(zip(views, streams, strict=True)):
        allowed[stream, l] = True
        hidden = np.setdiff1d(np.arange(4), view)
        mean[hidden, :, l] = 0.0
        variance[hidden, :, l] = 0.0
    useful = np.abs(mean[np.arange(4), np.arange(4)])
    blocks = [
        (mean[np.ix_(v, s, [l])], variance[np.ix_(v, s, [l])])
        for l, (v, s) in enumerate(zip(views, streams, strict=True))
    ]
    arguments = (
        np.cumsum([0, *map(len, views)]),
        np.concatenate(views),
        np.cumsum([0, *map(len, streams)]),
        np.concatenate(streams),
        np.cumsum([0, *(b[0].size for b in blocks)]),
        np.concatenate([b[0].real.ravel() for b in blocks]),
        np.concatenate([b[0].imag.ravel() for b in blocks]),
        np.concatenate([b[1].ravel() for b in blocks]),
        np.concatenate([useful[s, l] for l, s in enumerate(streams)]),
    )
    by_block = np.empty(sum(map(len, streams)), dtype=int)
    by_user = np.lexsort((np.repeat(np.arange(5), list(map(len, streams))), np.concatenate(streams)))
    by_block[by_user] = np.arange(len(by_user))  # pair of the problem behind each pair of the blocks
    got = couplings.problem_from_blocks(4, *arguments, coherence)
    want = couplings.problem_from_dense(mean, variance, allowed=allowed, coherence=coherence)
    np.testing.assert_array_equal(got.pair_ptr, want.pair_ptr)
    np.testing.assert_array_equal(got.pair_sat, want.pair_sat)
    np.testing.assert_allclose(got.useful, want.useful, rtol=1e-15)
    p = np.random.default_rng(2).uniform(0, 1, len(want.useful))
    np.testing.assert_allclose(couplings.sinr(got, p), couplings.sinr(want, p), rtol=1e-12)
    straight = couplings.sinr_of_blocks(4, *arguments[:4], *arguments[5:9], p[by_block], coherence)
    np.testing.assert_allclose(straight, couplings.sinr(want, p), rtol=1e-12)
    one, two = allocation.allocate(got, 2), allocation.allocate(want, 2)
    np.testing.assert_allclose(one.sinr, two.sinr, rtol=1e-6)
    np.testing.assert_allclose([one.lower, one.bound], [two.lower, two.bound], rtol=1e-6)
    thinned = couplings.problem_from_blocks(4, *arguments, coherence, 1e9)  # only each stream's own receiver
    assert len(thinned.nb_user) == 4


def test_one_user_one_satellite():
    got = allocation.allocate_dense(np.full((1, 1, 1), 3.0 + 0j), np.full((1, 1, 1), 0.5), k_max=1)
    assert got.sinr[0] == pytest.approx(9.0 / 1.5, rel=1e-6)
    assert got.p[0] == pytest.approx(1.0, abs=1e-6)


def test_one_user_many_satellites_without_variance_takes_full_power():
    b = np.array([1.0, 2.0, 4.0])
    got = allocation.allocate_dense(b.reshape(1, 1, 3) + 0j, np.zeros((1, 1, 3)), k_max=1)
    assert got.sinr[0] == pytest.approx(b.sum() ** 2, rel=1e-3)
    np.testing.assert_allclose(got.p, 1.0, atol=1e-3)


def test_two_users_one_satellite_without_interference_split_by_channel():
    # p_k^2 b_k^2 equal, powers sum to 1: t = 1 / (1/b_0^2 + 1/b_1^2)
    mean = np.zeros((2, 2, 1), dtype=complex)
    mean[0, 0, 0], mean[1, 1, 0] = 2.0, 6.0
    got = allocation.max_min(couplings.problem_from_dense(mean, np.zeros((2, 2, 1))), raise_levels=False)
    assert got.sinr.min() == pytest.approx(1 / (1 / 4 + 1 / 36), rel=1e-3)


def test_disconnected_parts_do_not_hold_each_other_down():
    mean = np.zeros((2, 2, 2), dtype=complex)
    mean[0, 0, 0], mean[1, 1, 1] = 1.0, 100.0
    allowed = np.eye(2, dtype=bool)
    got = allocation.allocate_dense(mean, np.zeros((2, 2, 2)), 1, allowed=allowed)
    np.testing.assert_allclose(got.sinr, [1.0, 1e4], rtol=1e-6)


def test_certificate_bounds_every_feasible_point():
    mean, variance = box(8)
    problem = couplings.problem_from_dense(mean, variance)
    got = allocation.max_min(problem)
    rng = np.random.default_rng(3)
    best = 0.0
    for size in np.geomspace(1e-3, 3.0, 400):
        p = np.abs(got.p + size * got.p.max() * rng.standard_normal(len(got.p)))
        p /= np.sqrt(np.bincount(problem.pair_sat, p**2).max())
        best = max(best, couplings.sinr(problem, p).min())
    assert got.lower <= got.upper
    assert 0.5 * got.upper < best <= got.upper


def test_conic_program_reaches_the_certificate_by_itself():
    mean, variance = box(9)
    problem = couplings.problem_from_dense(mean, variance)
    crude = allocation.max_min(problem, max_iterations=1, fallback=False)
    fallen = allocation.max_min(problem, max_iterations=1)
    assert crude.status == "inaccurate"
    assert crude.gap_bit > one_gap_bit
    assert fallen.status == "fallback"
    assert fallen.gap_bit <= one_gap_bit
    converged = allocation.max_min(problem)
    assert rate(fallen.sinr.min()) == pytest.approx(rate(converged.sinr.min()), abs=two_gaps_bit)


def test_conic_failure_is_a_status():
    form = conic.canonical(np.array([0, 1]), np.array([0, 0]), 2, 1, (("nonnegative", 2),))
    below_above = conic.solve(form, np.array([1.0, -1.0]), np.array([0.0, -1.0]), np.array([1.0]))
    assert below_above.status == "infeasible"
    assert conic.solve(form, np.array([np.nan, 1.0]), np.ones(2), np.ones(1)).status == "failed"
    solved = conic.solve(form, np.array([1.0, -1.0]), np.array([2.0, 1.0]), np.array([1.0]))
    assert solved.status == "optimal"
    assert solved.x[0] == pytest.approx(-1.0, abs=1e-6)
    with pytest.raises(ValueError, match="cone"):
        conic.canonical(np.array([0]), np.array([0]), 1, 1, (("circle", 1),))


def check_rules(problem, got, k_max):
    load = np.bincount(problem.pair_sat, got.p**2, problem.n_sat)
    count = np.bincount(problem.pair_sat, got.p > 0, problem.n_sat)
    assert load.max() <= 1 + last_bits
    assert count.max() <= k_max
    assert np.all((got.p == 0) | (got.p >= 1e-6))
    np.testing.assert_array_equal(got.support, got.p > 0)
    np.testing.assert_array_equal(np.bincount(problem.pair_user, got.p > 0, problem.n_user) > 0, got.served)
    np.testing.assert_allclose(got.sinr, couplings.sinr(problem, got.p), rtol=1e-12)


def test_more_users_than_room():
    mean, variance = box(10, n_sat=3, n_user=7)
    problem = couplings.problem_from_dense(mean, variance)
    got = allocation.allocate(problem, k_max=2)
    check_rules(problem, got, 2)
    assert got.served.sum() == 6
    assert np.sum(got.reason == records.NO_ROOM) == 1
    assert got.sinr[got.served].min() > 0


def test_user_without_satellite_is_declared_and_leaves_the_max_min():
    mean, variance = box(11)
    allowed = np.ones((5, 8), dtype=bool)
    allowed[2] = False
    problem = couplings.problem_from_dense(mean, variance, allowed=allowed)
    got = allocation.allocate(problem, k_max=3)
    check_rules(problem, got, 3)
    assert got.reason[2] == records.NO_SATELLITE
    assert not got.served[2]
    assert got.level[2] == -1
    assert got.sinr[got.served].min() > 1
    nobody = allocation.allocate(couplings.problem_from_dense(mean, variance, allowed=np.zeros((5, 8), dtype=bool)), 3)
    assert nobody.status == "empty"


def test_matching_serves_everybody_when_room_is_exact():
    # users see 2 of 4 satellites in a chain; only one assignment serves all with one user a satellite
    mean, variance = box(12, n_sat=4, n_user=4)
    allowed = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1]], dtype=bool)
    problem = couplings.problem_from_dense(mean, variance, allowed=allowed)
    got = allocation.allocate(problem, k_max=1)
    check_rules(problem, got, 1)
    assert got.served.all()


def test_no_allocation_is_over_k_max_far_from_it():
    # 40 users on 12 satellites, three a satellite: the cut takes many steps, from a cold and a warm start
    mean, variance = box(20, n_sat=24, n_user=40, side=8)
    problem = couplings.problem_from_dense(mean, variance, coherence="averaged")
    cold = allocation.allocate(problem, k_max=3)
    check_rules(problem, cold, 3)
    assert cold.served.all()
    warm = allocation.allocate(problem, k_max=3, warm=cold.warm)
    check_rules(problem, warm, 3)
    assert rate(warm.sinr.min()) >= 0.98 * rate(cold.sinr.min())
    strongest = np.zeros(len(problem.useful), dtype=bool)
    for l in range(24):
        mine = np.flatnonzero(problem.pair_sat == l)
        strongest[mine[np.argsort(-problem.useful[mine])[:3]]] = True
    matched, _ = support.assign(problem, 3)
    simple = allocation.max_min(problem, np.isin(np.arange(len(strongest)), matched))
    assert cold.sinr.min() > simple.sinr.min()
    users = np.bincount(problem.pair_user, strongest, 40) > 0
    assert not users.all() or cold.sinr.min() > allocation.max_min(problem, strongest).sinr.min()


def test_those_who_wait_longest_come_first():
    mean, variance = box(10, n_sat=3, n_user=12)
    problem = couplings.problem_from_dense(mean, variance)
    waited, served, longest = np.zeros(12, dtype=int), np.zeros(12, dtype=int), 0
    for _ in range(12):
        got = allocation.allocate(problem, k_max=2, waited=waited)
        check_rules(problem, got, 2)
        assert got.served.sum() == 6
        waited = np.where(got.reason == records.NO_ROOM, waited + 1, 0)
        served += got.served
        longest = max(longest, waited.max())
    assert longest <= 2  # ceil(12 users / 6 places)
    assert served.min() >= 5
    assert served.max() <= 7


def test_the_bottleneck_is_named_and_what_it_costs():
    mean, variance = box(4, n_sat=10, n_user=6, side=8, noise_dbm=-94.0, poor_db=20.0)
    got = allocation.allocate(couplings.problem_from_dense(mean, variance), k_max=6)
    assert got.bottleneck == 0
    rest = np.arange(1, 6)
    alone = allocation.max_min(couplings.problem_from_dense(mean[np.ix_(rest, rest)], variance[np.ix_(rest, rest)]))
    assert rate(got.sinr.min()) + 0.1 < rate(got.without) <= rate(alone.upper)
    one = allocation.allocate_dense(np.full((1, 1, 1), 3.0 + 0j), np.full((1, 1, 1), 0.5), k_max=1)
    assert one.bottleneck == 0
    assert np.isnan(one.without)


def test_any_number_of_workers_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(duality, "PARALLEL_WORK", 0)
    for coherence in ("ideal", "averaged"):
        problem = couplings.problem_from_dense(*box(21, n_sat=16, n_user=12, side=8), coherence=coherence)
        plain = allocation.allocate(problem, 4)
        for count in (2, 4):
            with parallel.workers(count):
                got = allocation.allocate(problem, 4)
            for name in ("p", "sinr", "lam", "q", "level"):
                assert getattr(got, name).tobytes() == getattr(plain, name).tobytes()
            assert (got.upper, got.bound, got.without) == (plain.upper, plain.bound, plain.without)


def test_an_error_on_a_worker_comes_back():
    def fail(first, last):
        raise RuntimeError(f"{first} to {last}")

    with parallel.workers(3), pytest.raises(RuntimeError, match=" to "):
        parallel.each_range(10, fail)
    assert parallel.count() == 1


def test_steady_cross_terms_are_rows_beside_those_of_gamma():
    mean, variance = box(22)
    rng = np.random.default_rng(4)
    steady = 0.1 * mean * np.exp(2j * np.pi * rng.random(mean.shape))
    gamma = np.broadcast_to(0.5 * np.eye(8) + 0.5, (5, 5, 8, 8))
    problem = couplings.problem_from_dense(mean, variance, coherence=np.array(gamma), steady=steady)
    p = rng.uniform(0, 1, (5, 8))
    want = np.empty(5)
    for k in range(5):
        noise = 1.0 + np.sum(variance[k] * p**2)
        for j in range(5):
            if j != k:
                e, c = mean[k, j] * p[j], steady[k, j] * p[j]
                noise += np.real(e.conj() @ gamma[k, j] @ e) + abs(c.sum()) ** 2
        want[k] = np.sum(np.abs(mean[k, k]) * p[k]) ** 2 / noise
    np.testing.assert_allclose(couplings.sinr(problem, p.ravel()), want, rtol=1e-9)
    with pytest.raises(ValueError, match="steady"):
        couplings.problem_from_dense(mean, variance, steady=steady)


@pytest.mark.parametrize("side", [8, 16])
def test_sparsity_costs_little(side):
    ratios = []
    for seed in range(4):
        mean, variance = box(seed, n_sat=20, n_user=10, side=side)
        problem = couplings.problem_from_dense(mean, variance)
        got = allocation.allocate(problem, k_max=8)
        check_rules(problem, got, 8)
        ratios.append(rate(got.sinr.min()) / rate(got.bound))
    assert max(ratios) <= 1 + 1e-9
    assert np.mean(ratios) > (0.995 if side == 8 else 0.98)


def test_warm_start_agrees_with_cold_and_costs_fewer_iterations():
    mean, variance = box(13, n_sat=20, n_user=10, side=8)
    problem = couplings.problem_from_dense(mean, variance)
    cold = allocation.max_min(problem)
    warm = allocation.max_min(problem, warm=cold.warm)
    assert rate(warm.sinr.min()) == pytest.approx(rate(cold.sinr.min()), abs=two_gaps_bit)
    assert warm.iterations < cold.iterations


def test_same_input_same_bits():
    mean, variance = box(15, n_sat=12, n_user=9, side=8)
    first = allocation.allocate_dense(mean, variance, 4)
    second = allocation.allocate_dense(mean.copy(), variance.copy(), 4)
    np.testing.assert_array_equal(first.p, second.p)
    np.testing.assert_array_equal(first.lam, second.lam)


@settings(max_examples=25, deadline=None)
@example(seed=291, n_sat=3, n_user=4, k_max=1, scale_db=0.0, coherence="noncoherent")
@given(
    seed=st.integers(0, 10_000),
    n_sat=st.integers(1, 6),
    n_user=st.integers(1, 6),
    k_max=st.integers(1, 6),
    scale_db=st.floats(-30, 50),
    coherence=st.sampled_from(["ideal", "averaged", "noncoherent"]),
)
def test_rules_hold_on_random_problems(seed, n_sat, n_user, k_max, scale_db, coherence):
    rng = np.random.default_rng(seed)
    shape = (n_user, n_user, n_sat)
    scale = 10 ** (scale_db / 20)
    mean = 0.3 * scale * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    mean[np.arange(n_user), np.arange(n_user)] = scale * rng.uniform(0.1, 3, (n_user, n_sat))
    variance = 0.1 * scale**2 * rng.uniform(0, 1, shape)
    allowed = rng.random((n_user, n_sat)) < 0.8
    problem = couplings.problem_from_dense(mean, variance, allowed=allowed, coherence=coherence)
    got = allocation.allocate(problem, k_max)
    check_rules(problem, got, k_max)
    assert got.lower <= got.upper * (1 + 1e-9) or got.status == "empty"
    assert np.all(got.served == (got.reason == records.SERVED))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_satellites_does_not_matter(seed):
    mean, variance = box(seed, n_sat=6, n_user=4)
    order = np.random.default_rng(seed).permutation(6)
    one = allocation.max_min(couplings.problem_from_dense(mean, variance))
    two = allocation.max_min(couplings.problem_from_dense(mean[..., order], variance[..., order]))
    assert rate(one.sinr.min()) == pytest.approx(rate(two.sinr.min()), abs=two_gaps_bit)


def test_bad_input_says_what_is_wrong():
    mean, variance = box(16)
    with pytest.raises(ValueError, match="variance"):
        couplings.problem_from_dense(mean, variance[:2])
    with pytest.raises(ValueError, match="coherence"):
        couplings.problem_from_dense(mean, variance, coherence="sometimes")
    with pytest.raises(ValueError, match="negative"):
        couplings.problem_from_dense(mean, -variance)
    problem = couplings.problem_from_dense(mean, variance)
    with pytest.raises(ValueError, match="k_max"):
        allocation.allocate(problem, 0)
    with pytest.raises(ValueError, match="support"):
        allocation.max_min(problem, support=np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="warm"):
        allocation.max_min(problem, warm=allocation.Warm(lam=np.ones(3)))
