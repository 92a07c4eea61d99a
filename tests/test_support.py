"""Support search: the exhaustive optimum of small problems, its model against solves, and its rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from paper_box import box
from zero_forcing import zero_forced

from leosim import allocation, couplings, plans, search, support
from leosim.records import SERVED

last_bits = 1e-9
one_gap_bit = 5e-4


def rate(sinr):
    return float(np.log2(1 + sinr))


def relaxed(problem, k_max):
    match, reason = support.assign(problem, k_max)
    users = reason == SERVED
    pairs = users[problem.pair_user] & (problem.useful > 0)
    lam, q = np.ones(problem.n_sat), np.ones(problem.n_user)
    return users, match, support.solve_support(problem, users, pairs, lam, q, 1e-4, True)


def best_of_all_supports(problem, k_max):
    """Largest minimum SINR over every way to give each satellite k_max users (fewer are never better)."""
    by_sat = [np.flatnonzero(problem.pair_sat == l) for l in range(problem.n_sat)]
    best, warm = 0.0, None
    for choice in itertools.product(*(itertools.combinations(a, min(k_max, len(a))) for a in by_sat)):
        pairs = np.zeros(len(problem.useful), dtype=bool)
        pairs[np.concatenate(choice)] = True
        if np.bincount(problem.pair_user, pairs, problem.n_user).min() > 0:
            found = allocation.max_min(problem, pairs, warm, raise_levels=False, fallback=False)
            if found.lower > best:
                best, warm = found.lower, found.warm
    return best


SMALL = [
    (0, {"n_sat": 6, "n_user": 3}, 2, "smrt"),
    (1, {"n_sat": 4, "n_user": 4, "side": 8}, 1, "smrt"),
    (2, {"n_sat": 5, "n_user": 3, "side": 8, "noise_dbm": -120.0}, 1, "smrt"),
    (3, {"n_sat": 4, "n_user": 4, "side": 2}, 2, "smrt"),
    (4, {"n_sat": 5, "n_user": 4, "noise_dbm": -150.0}, 3, "smrt"),
    (5, {"n_sat": 4, "n_user": 4}, 2, "szf"),
    (6, {"n_sat": 5, "n_user": 3, "side": 8, "noise_dbm": -130.0}, 2, "szf"),
    (7, {"n_sat": 4, "n_user": 4, "noise_dbm": -120.0}, 3, "averaged"),
    (8, {"n_sat": 6, "n_user": 3, "side": 2}, 1, "averaged"),
]


@pytest.mark.parametrize(("seed", "kind", "k_max", "model"), SMALL)
def test_close_to_the_best_of_all_supports(seed, kind, k_max, model):
    mean, variance = box(seed, **kind)
    if model == "szf":
        mean, variance = zero_forced(mean, variance)
    coherence = "averaged" if model == "averaged" else "ideal"
    problem = couplings.problem_from_dense(mean, variance, coherence=coherence)
    got = allocation.allocate(problem, k_max)
    best = best_of_all_supports(problem, k_max)
    assert np.bincount(problem.pair_sat, got.support, problem.n_sat).max() <= k_max
    assert rate(got.sinr.min()) >= 0.95 * rate(best)
    assert rate(got.sinr.min()) <= rate(best) + 2 * one_gap_bit


@pytest.mark.parametrize("model", ["smrt", "szf", "averaged"])
def test_within_two_percent_of_the_bound_without_k_max(model):
    ratios = []
    for seed in range(5):
        mean, variance = box(seed, n_sat=20, n_user=10, side=8)
        if model == "szf":
            mean, variance = zero_forced(mean, variance)
        coherence = "averaged" if model == "averaged" else "ideal"
        problem = couplings.problem_from_dense(mean, variance, coherence=coherence)
        got = allocation.allocate(problem, 8)
        ratios.append(rate(got.sinr.min()) / rate(got.bound))
    assert max(ratios) <= 1 + last_bits
    assert np.mean(ratios) >= {"smrt": 0.997, "szf": 0.988, "averaged": 0.998}[model]


def test_users_change_places_where_each_satellite_has_room_for_one():
    # each user's strongest satellite is the other's only good one: by strength, user 0 would keep satellite 0
    b = np.array([[3.0, 2.9], [2.8, 0.01]])
    mean = np.zeros((2, 2, 2), dtype=complex)
    mean[[0, 1], [0, 1]] = b
    got = allocation.allocate_dense(mean, np.zeros((2, 2, 2)), 1)
    np.testing.assert_array_equal(got.p.reshape(2, 2) > 0, [[False, True], [True, False]])
    np.testing.assert_allclose(got.sinr, [2.9**2, 2.8**2], rtol=1e-6)


def test_no_user_has_more_than_its_ceiling():
    mean, variance = box(4, n_sat=6, n_user=4, noise_dbm=-190.0)  # as good as no noise
    mean, variance = zero_forced(mean, variance)
    problem = couplings.problem_from_dense(mean, variance)
    i = np.arange(4)
    ceiling = (np.abs(mean[i, i]) ** 2 / variance[i, i]).sum(axis=1)
    users, _, found = relaxed(problem, 2)
    values = couplings.sinr(problem, found.p)
    assert np.all(values <= ceiling)
    assert values.max() > 0.5 * ceiling.min()
    close = plans._model(problem, users, found)[3]
    np.testing.assert_allclose(close, np.minimum(values / ceiling, 0.999), rtol=1e-9)


@pytest.mark.parametrize("model", ["smrt", "averaged"])
def test_scores_are_what_a_solve_loses(model):
    mean, variance = box(1, n_sat=12, n_user=6, side=8)
    problem = couplings.problem_from_dense(mean, variance, coherence="averaged" if model == "averaged" else "ideal")
    users, _, found = relaxed(problem, 6)
    score = support.pair_scores(problem, users, found)
    lost = np.empty(len(score))
    for a in range(len(score)):
        pairs = found.support.copy()
        pairs[a] = False
        without = support.solve_support(problem, users, pairs, found.lam, found.q, 1e-4, True, found.p)
        lost[a] = np.log(found.lower / without.lower)
    assert np.corrcoef(score, lost)[0, 1] > 0.97
    matters = lost > 0.01
    assert matters.sum() > 5
    assert 0.7 < np.median(score[matters] / lost[matters]) < 1.1


def test_model_predicts_nothing_for_no_change():
    mean, variance = box(2, n_sat=10, n_user=5, side=8)
    problem = couplings.problem_from_dense(mean, variance)
    users, _, found = relaxed(problem, 3)
    _, _, weight, close, signal, top = plans._model(problem, users, found)
    assert weight.sum() == pytest.approx(1.0)
    assert plans._level(weight, close, signal, top, 1.3) == pytest.approx(1.0, abs=1e-6)
    # a user with less signal needs more power, and t falls
    signal[0] = 0.9
    assert plans._level(weight, close, signal, top, 1.0) > 1.0


def test_trial_ends_where_the_floor_is_out_of_reach():
    mean, variance = box(3, n_sat=10, n_user=5, side=8)
    problem = couplings.problem_from_dense(mean, variance)
    users, _, found = relaxed(problem, 5)
    start = np.ones(problem.n_sat), np.ones(problem.n_user)
    free = support.solve_support(problem, users, found.support, *start, 1e-4, False, None)
    trial = support.solve_support(problem, users, found.support, *start, 1e-4, False, found.p, 100, 2 * found.upper)
    assert trial.lower <= 2 * found.upper
    assert trial.iterations < free.iterations


def test_parts_are_searched_by_themselves():
    one, two = box(5, n_sat=5, n_user=4, side=8), box(6, n_sat=5, n_user=4, side=8, noise_dbm=-120.0)
    mean, variance = np.zeros((8, 8, 10), dtype=complex), np.zeros((8, 8, 10))
    allowed = np.zeros((8, 10), dtype=bool)
    for i, (e, v) in enumerate((one, two)):
        here = slice(4 * i, 4 * i + 4), slice(4 * i, 4 * i + 4), slice(5 * i, 5 * i + 5)
        mean[here], variance[here], allowed[here[1:]] = e, v, True
    both = allocation.allocate(couplings.problem_from_dense(mean, variance, allowed=allowed), 2)
    for i, (e, v) in enumerate((one, two)):
        alone = allocation.allocate(couplings.problem_from_dense(e, v), 2)
        here = both.sinr[4 * i : 4 * i + 4].min()
        assert rate(here) == pytest.approx(rate(alone.sinr.min()), rel=0.02)


def test_found_support_is_within_limits_and_serves_everybody():
    mean, variance = box(7, n_sat=6, n_user=10, side=8)
    for coherence in ("ideal", "averaged", "noncoherent"):
        problem = couplings.problem_from_dense(mean, variance, coherence=coherence)
        for k_max in (2, 3, 5):
            users, match, found = relaxed(problem, k_max)
            got = search.search(problem, k_max, users, match, found)
            assert np.bincount(problem.pair_sat, got.support, problem.n_sat).max() <= k_max
            assert np.all(np.bincount(problem.pair_user, got.support, problem.n_user)[users] >= 1)
            assert got.lower <= couplings.sinr(problem, got.p)[users].min() * (1 + last_bits)


def test_partial_coherence_is_a_scaled_problem():
    # Gamma = alpha 1 1^T + (1 - alpha) I: the design of docs/search.md that holds under every coherence model
    mean, variance = box(8, n_sat=5, n_user=3)
    alpha, others = 0.3, ~np.eye(3, dtype=bool)[:, :, None]
    useful = np.abs(mean[np.arange(3), np.arange(3)])
    gamma = np.broadcast_to(alpha + (1 - alpha) * np.eye(5), (3, 3, 5, 5))
    one = couplings.problem_from_dense(mean, variance, useful, coherence=gamma)
    spread = variance + (1 - alpha) * others * np.abs(mean) ** 2
    two = couplings.problem_from_dense(np.sqrt(alpha) * mean, spread, useful)
    p = np.random.default_rng(1).uniform(0, 0.5, len(one.useful))
    np.testing.assert_allclose(couplings.sinr(one, p), couplings.sinr(two, p), rtol=1e-10)
    assert rate(allocation.allocate(one, 2).sinr.min()) == pytest.approx(
        rate(allocation.allocate(two, 2).sinr.min()), abs=0.05
    )


def test_pairs_without_useful_signal_serve_nobody():
    rng = np.random.default_rng(20)
    for _ in range(30):
        mean, variance = box(int(rng.integers(100)), n_sat=4, n_user=6)
        useful = np.abs(mean[np.arange(6), np.arange(6)]) * (rng.random((6, 4)) < 0.6)
        variance = variance * (rng.random(variance.shape) < 0.5)
        problem = couplings.problem_from_dense(mean, variance, useful)
        got = allocation.allocate(problem, 2)
        np.testing.assert_array_equal(np.bincount(problem.pair_user, got.p > 0, 6) > 0, got.served)
        assert np.all(problem.useful[got.p > 0] > 0)
