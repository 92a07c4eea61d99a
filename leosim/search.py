"""A support under K_max: planned on a model for small problems, cut in small steps for large ones.

What else was tried: docs/search.md.
"""

from __future__ import annotations

import math

import numpy as np

from leosim import plans
from leosim.couplings import Problem, kernel
from leosim.levels import LARGEST_GAP_BIT, rate_difference
from leosim.support import Found, matched, pair_scores, solve_support

LARGEST_PLAN = 4000  # pairs up to which removals and swaps are planned
SMALL_EXCESS = 2.0  # users a satellite, over k_max, up to which the cut takes two steps
CUT_ROUNDS = 8  # steps of the cut above that
CUT_ITERATIONS = 4  # of the fixed point between two of them
LARGEST_LOSS = 0.3  # share of its satellites a user may lose in one of them
FEW_SWAPS = 8  # tried together where satellites were far over the limit: their effects add up badly
LARGE_SWAP_ITERATIONS = 60
SWAP_ROUNDS = 4  # solves the swaps may spend
SWAP_GOAL = 2.5e-3  # swaps end when the minimum rate is within this fraction of the bound
SMALLEST_SWAP = 3e-4  # or when all of them together promise less than this share of the SINR


def far_over(problem: Problem, support: np.ndarray, k_max: int) -> bool:
    """Whether a problem is large, and some satellite so far over the limit that the cut takes many small steps."""
    if len(problem.useful) <= LARGEST_PLAN:
        return False
    return bool(np.bincount(problem.pair_sat, support, problem.n_sat).max(initial=0) > SMALL_EXCESS * k_max)


def search(
    problem: Problem,
    k_max: int,
    users: np.ndarray,
    match: np.ndarray,
    relaxed: Found,
    start: Found | None = None,
) -> Found:
    """A support on which every satellite serves at most k_max users, from the solution without that limit.

    Removal of the pairs that cost least to first order at the optimal prices, in steps, then swaps of one
    pair for another at full satellites while they help. Two steps where satellites are a little over
    the limit; where they are far over it, more and smaller ones, in each of which no user loses more than a
    share of its satellites: effects of removals add up to first order only. A user keeps the satellite of
    `match`, or one it can be matched to instead.

    start : where satellites are far over the limit, a support to begin from instead, such as that of the
        decision before, and its prices: one more pair is let in at each satellite, and the cut goes on there
    """
    user = problem.pair_user
    room = np.full(problem.n_sat, k_max)
    loose = 4.0 * LARGEST_GAP_BIT
    found = relaxed
    count = np.bincount(problem.pair_sat, found.support, problem.n_sat)
    if count.max() <= k_max:
        return found
    if len(problem.useful) <= LARGEST_PLAN:
        return plans.plan(problem, k_max, users, match, relaxed)
    match = match.copy()
    rounds = CUT_ROUNDS if far_over(problem, found.support, k_max) else 2
    turn = 0
    if rounds > 2 and start is not None:
        held = matched(problem, k_max, users, start.support & found.support)
        if np.all(held[users] >= 0):
            match, turn = held, rounds - 2
            found = _widened(problem, users, start)
            count = np.bincount(problem.pair_sat, found.support, problem.n_sat)
    while count.max() > k_max:
        # the excess shrinks by one factor a round; in the last ones a user may lose more than its share
        shrink = 1.0 - 1.0 / max(rounds - turn, 1)
        limit = np.ceil(k_max * (np.maximum(count, k_max) / k_max) ** shrink - 1e-9).astype(np.int64)
        support = found.support.copy()
        share = LARGEST_LOSS if rounds > 2 and turn < 2 * rounds else 1.0
        score = pair_scores(problem, users, found)
        _cut(problem.pair_ptr, problem.pair_sat, user, support, score, match, limit, room, share)
        count = np.bincount(problem.pair_sat, support, problem.n_sat)
        last = rounds == 2 or count.max() <= k_max
        iterations = 400 if last else CUT_ITERATIONS
        found = solve_support(problem, users, support, found.lam, found.q, loose, False, found.p, iterations)
        turn += 1
    if start is not None and rounds > 2 and start.lower > found.lower:
        load = np.bincount(problem.pair_sat, start.support, problem.n_sat)
        found = start if load.max() <= k_max else found  # what was let in did not pay
    if not problem.coherent:
        return found
    if rounds == 2:
        return _swap(problem, k_max, users, relaxed, found, problem.n_sat, SWAP_ROUNDS, 400)
    solves = SWAP_ROUNDS if start is None else SWAP_ROUNDS // 2  # the next decision goes on from here
    return _swap(problem, k_max, users, relaxed, found, FEW_SWAPS, solves, LARGE_SWAP_ITERATIONS)


def _widened(problem: Problem, users: np.ndarray, start: Found) -> Found:
    """A start with the most useful pair it has not, at each satellite, let in."""
    score = pair_scores(problem, users, start)
    outside = ~start.support & users[problem.pair_user] & (problem.useful > 0.0)
    most = _first_of_each(problem.pair_sat, np.where(outside, -score, np.inf), problem.n_sat)
    most = most[(most >= 0) & outside[most]]
    support = start.support.copy()
    support[most[score[most] > 0.0]] = True
    return solve_support(
        problem, users, support, start.lam, start.q, 4.0 * LARGEST_GAP_BIT, False, start.p, CUT_ITERATIONS
    )


def _swap(
    problem: Problem,
    k_max: int,
    users: np.ndarray,
    relaxed: Found,
    found: Found,
    at_once: int,
    solves: int,
    max_iterations: int,
) -> Found:
    """Swap pairs at full satellites where the first-order gain says so; keep what the solve confirms.

    at_once : most swaps tried together; solves : most of them; max_iterations : of each
    """
    share, gap = 1.0, 2.0 * LARGEST_GAP_BIT
    score = pair_scores(problem, users, found)
    for _ in range(solves):
        wanted = max(LARGEST_GAP_BIT, SWAP_GOAL * math.log2(1.0 + relaxed.upper))
        if rate_difference(relaxed.upper, found.lower) < wanted:
            break
        out, into, net = _swaps(problem, k_max, users, found.support, score)
        if net.sum() < SMALLEST_SWAP:
            break
        chosen = np.argsort(-net, kind="stable")[: max(1, math.ceil(share * min(len(net), at_once)))]
        support = found.support.copy()
        support[out[chosen][out[chosen] >= 0]] = False
        support[into[chosen]] = True
        if np.any(np.bincount(problem.pair_user, support, problem.n_user)[users] == 0):
            share *= 0.5
            continue
        tried = solve_support(problem, users, support, found.lam, found.q, gap, False, found.p, max_iterations)
        if tried.lower > found.lower * (1.0 + 1e-6):
            found = tried
            score = pair_scores(problem, users, found)
        elif len(chosen) == 1:
            break
        else:
            share *= 0.4
    return found


def _swaps(
    problem: Problem, k_max: int, users: np.ndarray, support: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best swap of each satellite: pair out (-1: there is room), pair in, net gain in log t."""
    sat = problem.pair_sat
    outside = ~support & users[problem.pair_user] & (problem.useful > 0.0)
    count = np.bincount(sat, support, problem.n_sat)
    least = _first_of_each(sat, np.where(support, score, np.inf), problem.n_sat)
    most = _first_of_each(sat, np.where(outside, -score, np.inf), problem.n_sat)
    full = count >= k_max
    usable = (most >= 0) & outside[most]
    loss = np.where(full & (least >= 0), score[least], 0.0)
    net = np.where(usable, score[most] - loss, 0.0)
    keep = np.flatnonzero(net > 1e-7)
    return np.where(full, least, -1)[keep], most[keep], net[keep]


def _first_of_each(sat: np.ndarray, value: np.ndarray, n_sat: int) -> np.ndarray:
    """Pair of least value at each satellite, -1 where it has no pair: [sat] int."""
    order = np.lexsort((value, sat))
    first = np.full(n_sat, -1, dtype=np.int64)
    start = np.flatnonzero(np.diff(sat[order], prepend=-1))
    first[sat[order][start]] = order[start]
    return first


@kernel
def _cut(
    ptr: np.ndarray,
    sat: np.ndarray,
    user: np.ndarray,
    support: np.ndarray,
    score: np.ndarray,
    match: np.ndarray,
    limit: np.ndarray,
    room: np.ndarray,
    share: float,
) -> None:
    # Take the pairs of least score off every satellite above its limit; never the pair of `match`,
    # unless the user can be matched to another pair it has, and of no user more than one pair and more than
    # a share of its pairs. support and match change in place.
    n_sat = len(limit)
    count = np.zeros(n_sat, np.int64)
    used = np.zeros(n_sat, np.int64)
    may_lose = np.zeros(len(match))
    for a in range(len(sat)):
        if support[a]:
            count[sat[a]] += 1
            may_lose[user[a]] += share
    for k in range(len(match)):
        may_lose[k] = max(1.0, may_lose[k])
    for k in range(len(match)):
        if match[k] >= 0:
            used[sat[match[k]]] += 1
    ranked = np.argsort(score, kind="mergesort")
    for a in ranked:
        l = sat[a]
        if not support[a] or count[l] <= limit[l]:
            continue
        k = user[a]
        if may_lose[k] < 1.0:
            continue
        if match[k] == a:
            best = -1
            for c in range(ptr[k], ptr[k + 1]):
                if c != a and support[c] and used[sat[c]] < room[sat[c]] and (best < 0 or score[c] > score[best]):
                    best = c
            if best < 0:
                continue
            match[k] = best
            used[sat[best]] += 1
            used[l] -= 1
        support[a] = False
        count[l] -= 1
        may_lose[k] -= 1.0
