"""Who is served by which satellites under K_max: matching, removal of the cheapest pairs, swaps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from leosim.couplings import Problem, kernel, parts, sinr
from leosim.duality import scores
from leosim.levels import LARGEST_GAP_BIT, rate_difference, solve_level
from leosim.records import NO_ROOM, NO_SATELLITE, SERVED

SMOOTHING = 0.1  # share of uniform prices in the scores of pairs: first-order effects are local
SMALL_EXCESS = 2.0  # users a satellite, over k_max, up to which the cut takes two steps
CUT_ROUNDS = 8  # steps of the cut above that
CUT_ITERATIONS = 4  # of the fixed point between two of them
LARGEST_LOSS = 0.3  # share of its satellites a user may lose in one of them
FEW_SWAPS = 8  # tried together where satellites were far over the limit: their effects add up badly
LARGE_SWAP_ITERATIONS = 60
SWAP_ROUNDS = 4  # solves the swaps may spend
SWAP_GOAL = 2.5e-3  # swaps end when the minimum rate is within this fraction of the bound
SMALLEST_SWAP = 3e-4  # or when all of them together promise less than this share of the SINR


@dataclass(frozen=True)
class Found:
    """Max-min without the raise on one support: what the search compares."""

    support: np.ndarray
    p: np.ndarray
    lower: float
    upper: float
    lam: np.ndarray
    q: np.ndarray
    iterations: int


def far_over(problem: Problem, support: np.ndarray, k_max: int) -> bool:
    """Whether some satellite is so far over the limit that the cut takes many small steps."""
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
    match = match.copy()
    rounds = CUT_ROUNDS if far_over(problem, found.support, k_max) else 2
    turn = 0
    if rounds > 2 and start is not None:
        held = _matched(problem, k_max, users, start.support & found.support)
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


def _matched(problem: Problem, k_max: int, users: np.ndarray, support: np.ndarray) -> np.ndarray:
    """A pair of the support for each user, at most k_max users a satellite: [user] int, -1: none."""
    ranked = np.lexsort((problem.pair_sat, -problem.useful, ~support, problem.pair_user))
    ranked = np.where(support[ranked], ranked, -1)
    room = np.minimum(k_max, np.bincount(problem.pair_sat, minlength=problem.n_sat))
    return _match(np.flatnonzero(users), problem.pair_ptr, problem.pair_sat, problem.pair_user, ranked, room)


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


def pair_scores(problem: Problem, users: np.ndarray, found: Found) -> np.ndarray:
    """What each pair is worth to the minimum SINR, to first order at smoothed prices: [pair]."""
    if not problem.coherent:
        useful = (problem.useful * found.p) ** 2
        total = np.bincount(problem.pair_user, useful, problem.n_user)
        return useful / np.maximum(total, 1e-300)[problem.pair_user]
    score = np.zeros(len(problem.useful))
    weight = np.zeros(problem.n_user)
    values = sinr(problem, found.p)
    useful = np.bincount(problem.pair_user, problem.useful * found.p, problem.n_user) ** 2
    weight[users] = found.q[users] * useful[users] / values[users]
    weight = (1.0 - SMOOTHING) * weight / weight.sum() + SMOOTHING * users / users.sum()
    priced = np.bincount(problem.pair_sat, found.support, problem.n_sat) > 0
    lam = (1.0 - SMOOTHING) * found.lam / found.lam.sum() + SMOOTHING * priced / priced.sum()
    scores(problem.arrays(), lam, found.q / found.q.sum(), weight, found.support, score)
    return score


def solve_support(
    problem: Problem,
    users: np.ndarray,
    support: np.ndarray,
    lam0: np.ndarray,
    q0: np.ndarray,
    tol_bit: float,
    fallback: bool,
    near: np.ndarray | None = None,
    max_iterations: int = 400,
) -> Found:
    """The largest common SINR on one support, every connected part by itself.

    lam0, q0 : prices to start from; near : [pair] powers whose zeros the first directions start from
    """
    p = np.zeros(len(problem.useful))
    lam, q = np.zeros(problem.n_sat), np.zeros(problem.n_user)
    lower, upper, iterations = math.inf, math.inf, 0
    for part in parts(problem, users, support):
        x = part.problem
        level = solve_level(
            x,
            np.zeros(x.n_user),
            lam0[part.sats],
            q0[part.users],
            np.zeros(len(x.useful)) if near is None else near[part.pairs],
            0.0,
            tol_bit,
            max_iterations,
            fallback,
        )
        p[part.pairs] = level.p
        lam[part.sats] = level.lam
        q[part.users] = level.q
        lower, upper = min(lower, level.lower), min(upper, level.upper)
        iterations += level.iterations
    return Found(support, p, lower, upper, lam, q, iterations)


# ---------------------------------------------------------------------------------------------
# Within K_max


def assign(problem: Problem, k_max: int, waited: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """One pair a user within K_max and the reason of those left out; longest waiting first, then strongest.

    waited : [user] int, decisions in a row each user has been without room; None: nobody has waited
    Raises ValueError on k_max < 1 or waits of the wrong shape.
    """
    if k_max < 1:
        raise ValueError(f"k_max: expected at least 1 user a satellite, got {k_max}")
    waits = np.zeros(problem.n_user, dtype=np.int64) if waited is None else np.asarray(waited)
    if waits.shape != (problem.n_user,):
        raise ValueError(f"waited: expected [{problem.n_user}] (a number a user), got shape {waits.shape}")
    usable = problem.useful > 0.0
    user = problem.pair_user
    best = np.zeros(problem.n_user)
    np.maximum.at(best, user, problem.useful)
    ranked = np.lexsort((problem.pair_sat, -problem.useful, ~usable, user))
    ranked = np.where(usable[ranked], ranked, -1)
    order = np.lexsort((np.arange(problem.n_user), -best, -waits))
    order = order[best[order] > 0.0]
    room = np.minimum(k_max, np.bincount(problem.pair_sat, minlength=problem.n_sat))
    match = _match(order, problem.pair_ptr, problem.pair_sat, user, ranked, room)
    reason = np.where(match >= 0, SERVED, np.where(best > 0.0, NO_ROOM, NO_SATELLITE))
    return match, reason


@kernel
def _match(
    order: np.ndarray, ptr: np.ndarray, sat: np.ndarray, user: np.ndarray, ranked: np.ndarray, room: np.ndarray
) -> np.ndarray:
    # One satellite a user, at most room[l] users a satellite, by shortest augmenting paths; users
    # matched once stay matched, so those early in `order` come first. Returns the pair of each user, -1: none.
    n_user = len(ptr) - 1
    n_sat = len(room)
    match = np.full(n_user, -1, np.int64)
    slot_ptr = np.zeros(n_sat + 1, np.int64)
    for l in range(n_sat):
        slot_ptr[l + 1] = slot_ptr[l] + room[l]
    holder = np.full(slot_ptr[n_sat], -1, np.int64)  # user in each slot of each satellite
    used = np.zeros(n_sat, np.int64)
    seen = np.full(n_sat, -1, np.int64)
    by_pair = np.full(n_sat, -1, np.int64)
    queue = np.empty(n_user, np.int64)
    queued = np.full(n_user, -1, np.int64)
    for turn in range(len(order)):
        head, tail = 0, 1
        queue[0] = order[turn]
        queued[order[turn]] = turn
        end = -1
        while head < tail and end < 0:
            k = queue[head]
            head += 1
            for i in range(ptr[k], ptr[k + 1]):
                a = ranked[i]
                if a < 0:
                    break
                l = sat[a]
                if seen[l] == turn:
                    continue
                seen[l] = turn
                by_pair[l] = a
                if used[l] < room[l]:
                    end = l
                    break
                for slot in range(slot_ptr[l], slot_ptr[l] + used[l]):
                    j = holder[slot]
                    if queued[j] != turn:
                        queued[j] = turn
                        queue[tail] = j
                        tail += 1
        if end < 0:
            continue
        free = slot_ptr[end] + used[end]
        used[end] += 1
        while True:
            a = by_pair[end]
            k = user[a]
            before = match[k]
            match[k] = a
            holder[free] = k
            if before < 0:
                break
            end = sat[before]
            free = slot_ptr[end]
            while holder[free] != k:
                free += 1
    return match


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
