"""Removals, swaps and trades of pairs under K_max, planned on a model and confirmed by exact solves.

The model of the minimum SINR (`_need`) costs nothing to evaluate; a plan is kept when a solve confirms it.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from leosim.couplings import Problem, kernel, parts, sinr
from leosim.duality import scores
from leosim.levels import LARGEST_GAP_BIT, rate_difference
from leosim.support import Found, signal_shares, solve_support

LEAST_PRICE = 1e-3  # of a satellite, in the mean price: nothing is free
WEIGHT_SMOOTHING = 0.03  # share of uniform weights of users: those who matter change with the support
SWAP_ROUNDS = 8  # plans that may be solved
SWAP_GOAL = 1e-3  # swaps end when the minimum rate is within this fraction of the bound
SMALLEST_SWAP = 3e-4  # or when none promises this share of the SINR
KEPT_SHARE = 0.7  # of a satellite's users, at least, in one removal
REMOVAL_GAP_BIT = 1e-2  # certificate gap (bit/s/Hz) of the solves between removals
TRIAL_GAP_BIT = 2e-3  # and of the solves that only have to say whether a plan is better
TRADE_GOAL = 0.02  # trades only where the minimum rate is farther from the bound than this fraction
TRADE_TRIES = 12  # best trades that are solved before giving up
TRADE_SOLVES = 40  # solves the trades may spend,
TRADE_PAIRS = 20_000  # and pairs in all of them
SMALL = 100  # pairs up to which the search starts from two sides
TRIAL_ITERATIONS = 100  # of such a solve


def plan(problem: Problem, k_max: int, users: np.ndarray, match: np.ndarray, relaxed: Found) -> Found:
    """A support on which every satellite serves at most k_max users, from the solution without that limit.

    The cheapest pairs are removed until every satellite is within its limit, then pairs are swapped for
    others at full satellites while that helps, every connected part by itself. A user keeps the satellite
    of `match`, or one it can be matched to instead.
    """
    if np.bincount(problem.pair_sat, relaxed.support, problem.n_sat).max() <= k_max:
        return relaxed
    pieces = parts(problem, users, relaxed.support)
    if len(pieces) == 1:
        return _plan(problem, k_max, users, match, relaxed)
    support, p = relaxed.support.copy(), relaxed.p.copy()
    lam, q = relaxed.lam.copy(), relaxed.q.copy()
    lower, upper, iterations = math.inf, math.inf, 0
    for piece in pieces:
        x = piece.problem
        everybody, all_pairs = np.ones(x.n_user, dtype=bool), np.ones(len(x.useful), dtype=bool)
        start = lam[piece.sats], q[piece.users]
        found = solve_support(x, everybody, all_pairs, *start, LARGEST_GAP_BIT, False, p[piece.pairs])
        if np.bincount(x.pair_sat).max() > k_max:
            inside = np.searchsorted(piece.pairs, match[piece.users])
            found = _plan(x, k_max, everybody, inside, found)
        support[piece.pairs], p[piece.pairs] = found.support, found.p
        lam[piece.sats], q[piece.users] = found.lam, found.q
        lower, upper = min(lower, found.lower), min(upper, found.upper)
        iterations += found.iterations
    return Found(support, p, lower, upper, lam, q, iterations)


def _plan(problem: Problem, k_max: int, users: np.ndarray, match: np.ndarray, relaxed: Found) -> Found:
    """`plan` on one connected part."""
    by_sat = _by_satellite(problem)
    room = np.full(problem.n_sat, k_max)
    strongest, match, found = match, _rematch(problem, k_max, match), relaxed
    count = np.bincount(problem.pair_sat, found.support, problem.n_sat)
    while count.max() > k_max:
        limit = np.maximum(k_max, (KEPT_SHARE * count).astype(np.int64))
        support = found.support.copy()
        plan = (problem.pair_ptr, problem.pair_sat, problem.pair_user, *by_sat, support)
        _cut(*plan, match, limit, room, *_model(problem, users, found))
        found = solve_support(problem, users, support, found.lam, found.q, REMOVAL_GAP_BIT, False, found.p)
        count = np.bincount(problem.pair_sat, support, problem.n_sat)
    if not problem.coherent:
        return found
    found = _swap(problem, k_max, users, by_sat, relaxed.upper, found, SWAP_ROUNDS)
    if rate_difference(relaxed.upper, found.lower) < TRADE_GOAL * math.log2(1.0 + relaxed.upper):
        return found
    found = _trade(problem, k_max, users, by_sat, relaxed.upper, found)
    if len(problem.useful) > SMALL:
        return found
    # from below as well: one satellite a user, then additions
    support = np.zeros(len(problem.useful), dtype=bool)
    support[strongest[strongest >= 0]] = True
    other = solve_support(problem, users, support, relaxed.lam, relaxed.q, REMOVAL_GAP_BIT, False, relaxed.p)
    other = _swap(problem, k_max, users, by_sat, relaxed.upper, other, SWAP_ROUNDS)
    other = _trade(problem, k_max, users, by_sat, relaxed.upper, other)
    return other if other.lower > found.lower else found


def _swap(
    problem: Problem,
    k_max: int,
    users: np.ndarray,
    by_sat: tuple[np.ndarray, np.ndarray],
    bound: float,
    found: Found,
    rounds: int,
) -> Found:
    """Swap pairs at satellites, as many at a time as the model has been right about, while a solve confirms them."""
    most = max(4, problem.n_sat)
    model = _model(problem, users, found)
    wanted = max(LARGEST_GAP_BIT, SWAP_GOAL * math.log2(1.0 + bound))
    allowed = users[problem.pair_user] & (problem.useful > 0.0)
    for _ in range(rounds):
        if rate_difference(bound, found.lower) < wanted:
            break
        support = found.support.copy()
        moves, promise = _exchange(
            problem.pair_sat, problem.pair_user, *by_sat, support, allowed, k_max, *model, most, SMALLEST_SWAP
        )
        if moves == 0:
            break
        tried = _try(problem, users, support, found)
        if tried.lower > found.lower * (1.0 + 1e-6):
            right = math.log(tried.lower / found.lower) > 0.3 * promise
            most = 2 * moves if right else max(1, moves // 2)
            found = tried
            model = _model(problem, users, found)
        elif moves == 1:
            break
        else:
            most = max(1, int(0.3 * moves))
    return found


def _trade(
    problem: Problem, k_max: int, users: np.ndarray, by_sat: tuple[np.ndarray, np.ndarray], bound: float, found: Found
) -> Found:
    """Where K_max costs much: swaps, and moves of a user from one satellite to another, one exact solve each."""
    allowed = users[problem.pair_user] & (problem.useful > 0.0)
    plan = (problem.pair_ptr, problem.pair_sat, problem.pair_user, *by_sat)
    left = min(TRADE_SOLVES, TRADE_PAIRS // len(problem.useful))
    better = True
    while better and left > 0 and rate_difference(bound, found.lower) > TRADE_GOAL * math.log2(1.0 + bound):
        better = False
        table = _moves(*plan, found.support, allowed, k_max, *_model(problem, users, found)[:4])
        for row in table[np.argsort(-table[:, 0], kind="stable")][:TRADE_TRIES]:
            support = found.support.copy()
            out, into = row[1:3].astype(np.int64), row[3:5].astype(np.int64)
            support[out[out >= 0]] = False
            support[into[into >= 0]] = True
            tried = _try(problem, users, support, found)
            left -= 1
            if tried.lower > found.lower * (1.0 + 1e-4):
                found, better = tried, True
                break
    return found


def _try(problem: Problem, users: np.ndarray, support: np.ndarray, found: Found) -> Found:
    """The max-min on another support, as far as it takes to say whether it is better than what was found."""
    return solve_support(
        problem, users, support, found.lam, found.q, TRIAL_GAP_BIT, False, found.p, TRIAL_ITERATIONS, found.lower
    )


def _rematch(problem: Problem, k_max: int, match: np.ndarray) -> np.ndarray:
    """The same users matched for the largest product of their SNR + 1, not the strongest first."""
    who = np.flatnonzero(match >= 0)
    place = np.full((problem.n_user, problem.n_sat), -1)
    place[problem.pair_user, problem.pair_sat] = np.arange(len(problem.useful))
    snr = np.where(place >= 0, problem.useful[place] ** 2, 0.0)
    worth = np.where(snr > 0.0, np.log1p(snr), -1e6)
    _, slot = linear_sum_assignment(np.repeat(worth[who], k_max, axis=1), maximize=True)
    out = match.copy()
    out[who] = place[who, slot // k_max]
    return out


def _by_satellite(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Pairs by satellite: where each satellite's begin, and which they are."""
    size = np.bincount(problem.pair_sat, minlength=problem.n_sat)
    return np.concatenate([[0], np.cumsum(size)]), np.argsort(problem.pair_sat, kind="stable")


# ---------------------------------------------------------------------------------------------
# What a change of the support does


def _worth(problem: Problem, users: np.ndarray, found: Found) -> np.ndarray:
    """The share of its own user's signal each pair is worth at the prices found: [pair]."""
    if not problem.coherent:
        return signal_shares(problem, found.p)
    worth = np.zeros(len(problem.useful))
    lam, q = found.lam / found.lam.sum(), found.q / found.q.sum()
    lam = np.maximum(lam, LEAST_PRICE / problem.n_sat)  # a satellite nobody uses has no price
    scores(problem.arrays(), lam, q, users.astype(float), found.support, worth)
    return worth


def _weights(problem: Problem, users: np.ndarray, found: Found) -> np.ndarray:
    """Smoothed share of each user in the sensitivity of the minimum SINR: [user], sum 1."""
    weight = np.zeros(problem.n_user)
    useful = np.bincount(problem.pair_user, problem.useful * found.p, problem.n_user) ** 2
    weight[users] = found.q[users] * useful[users] / sinr(problem, found.p)[users]
    return (1.0 - WEIGHT_SMOOTHING) * weight / weight.sum() + WEIGHT_SMOOTHING * users / users.sum()


def _model(
    problem: Problem, users: np.ndarray, found: Found
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What `_need` works on: gain and ceiling of each pair, weight and closeness of each user, and two ones a user.

    Whatever its power, user k never has a SINR above its ceiling sum_l b^2 / V_kkl over its pairs: the variance
    of its own stream (Cauchy-Schwarz). closeness is t over the ceiling. gain is what a pair is worth
    besides its part in the ceiling, so that both together have the effect of `_worth`, to first order.
    """
    worth = np.maximum(_worth(problem, users, found), 0.0)
    if problem.coherent:
        ceiling = problem.useful**2 / np.maximum(_own_variance(problem), 1e-12 * problem.useful**2 + 1e-300)
        total = np.bincount(problem.pair_user, ceiling * found.support, problem.n_user)
        total = np.where(total > 0.0, total, np.inf)
        ceiling = ceiling / total[problem.pair_user]
        close = np.where(users, np.minimum(sinr(problem, found.p) / total, 0.999), 0.0)
        weight = _weights(problem, users, found)
    else:
        ceiling, close, weight = np.zeros(len(worth)), np.zeros(problem.n_user), users / users.sum()
    part = (close**4)[problem.pair_user]
    gain = np.maximum(worth - part * ceiling, 0.0) / (1.0 - part)
    weight = weight * (1.0 - close**4)
    return gain, ceiling, weight / weight.sum(), close, np.ones(problem.n_user), np.ones(problem.n_user)


def _own_variance(problem: Problem) -> np.ndarray:
    """V_kkl of each pair: [pair]."""
    pair = np.repeat(np.arange(len(problem.useful)), np.diff(problem.var_ptr))
    own = problem.receivers() == problem.pair_user[pair]
    return np.bincount(pair[own], problem.variance[own], len(problem.useful))


@kernel
def _need(weight: float, close: float, signal: float, ceiling: float, x: float) -> float:
    # Virtual power y a user needs for t / x, signal and ceiling being what it has left of them (1 at first):
    # x^4 = (close / ceiling)^4 + (1 - close^4) / (signal y / weight)^4, a smooth minimum of power and ceiling.
    room = -1.0
    if signal > 1e-6 and ceiling > 1e-9:
        room = x**4 - (close / ceiling) ** 4
    if room <= 1e-9:
        return 1e9
    return weight * math.sqrt(math.sqrt((1.0 - close**4) / room)) / signal


@kernel
def _level(weight: np.ndarray, close: np.ndarray, signal: np.ndarray, ceiling: np.ndarray, x: float) -> float:
    # The x at which all needs add up to 1, by Newton's steps on the reciprocal of their sum.
    low = 0.0
    for k in range(len(weight)):
        low = max(low, close[k] / ceiling[k])
    x = max(x, low + 1e-9)
    for _ in range(60):
        total = 0.0
        slope = 0.0
        for k in range(len(weight)):
            room = max(x**4 - (close[k] / ceiling[k]) ** 4, 1e-12)
            need = weight[k] * math.sqrt(math.sqrt((1.0 - close[k] ** 4) / room)) / signal[k]
            total += need
            slope += need / room * x**3
        step = (1.0 / total - 1.0) / slope * total * total
        before = x
        x = x - step if x - step > low else 0.5 * (x + low)
        if abs(x - before) < 1e-9 * x:
            break
    return x


@kernel
def _cut(
    ptr: np.ndarray,
    sat: np.ndarray,
    user: np.ndarray,
    sat_ptr: np.ndarray,
    by_sat: np.ndarray,
    support: np.ndarray,
    match: np.ndarray,
    limit: np.ndarray,
    room: np.ndarray,
    gain: np.ndarray,
    ceiling: np.ndarray,
    weight: np.ndarray,
    close: np.ndarray,
    signal: np.ndarray,
    top: np.ndarray,
) -> None:
    # Take the cheapest pairs off every satellite above its limit, one at a satellite in each round; never the pair
    # of `match`, unless the user can be matched to another pair it has. support, match, signal, top change.
    n_sat = len(room)
    count = np.zeros(n_sat, np.int64)
    used = np.zeros(n_sat, np.int64)
    for a in range(len(sat)):
        if support[a]:
            count[sat[a]] += 1
    for k in range(len(match)):
        if match[k] >= 0:
            used[sat[match[k]]] += 1
    x = 1.0
    more = True
    while more:
        more = False
        for l in range(n_sat):
            if count[l] <= limit[l]:
                continue
            out, instead, least = -1, -1, math.inf
            for i in range(sat_ptr[l], sat_ptr[l + 1]):
                a = by_sat[i]
                if not support[a]:
                    continue
                k = user[a]
                cost = _need(weight[k], close[k], signal[k] - gain[a], top[k] - ceiling[a], x)
                cost += 1e-9 * (gain[a] + ceiling[a]) - _need(weight[k], close[k], signal[k], top[k], x)
                if cost >= least:
                    continue
                other = -1
                if match[k] == a:
                    for c in range(ptr[k], ptr[k + 1]):
                        if c == a or not support[c] or used[sat[c]] >= room[sat[c]]:
                            continue
                        if other < 0 or gain[c] + ceiling[c] > gain[other] + ceiling[other]:
                            other = c
                    if other < 0:
                        continue
                out, instead, least = a, other, cost
            if out < 0:
                continue
            k = user[out]
            if match[k] == out:
                match[k] = instead
                used[sat[instead]] += 1
                used[l] -= 1
            support[out] = False
            count[l] -= 1
            signal[k] = max(signal[k] - gain[out], 1e-6)
            top[k] = max(top[k] - ceiling[out], 1e-6)
            more = True
        x = _level(weight, close, signal, top, x)


@kernel
def _exchange(
    sat: np.ndarray,
    user: np.ndarray,
    sat_ptr: np.ndarray,
    by_sat: np.ndarray,
    support: np.ndarray,
    allowed: np.ndarray,
    k_max: int,
    gain: np.ndarray,
    ceiling: np.ndarray,
    weight: np.ndarray,
    close: np.ndarray,
    signal: np.ndarray,
    top: np.ndarray,
    most: int,
    smallest: float,
) -> tuple[int, float]:
    # At most `most` swaps of a pair for another at one satellite (or additions, where there is room), the best
    # first to within a factor of two; no pair moves twice, no user loses its last pair. support, signal, top change.
    # Returns the number of swaps and what they promise in log t.
    n_sat = len(sat_ptr) - 1
    held = np.zeros(len(weight), np.int64)
    count = np.zeros(n_sat, np.int64)
    moved = np.zeros(len(sat), np.bool_)
    for a in range(len(sat)):
        if support[a]:
            held[user[a]] += 1
            count[sat[a]] += 1
    x = 1.0
    moves = 0
    threshold = math.inf
    while moves < most:
        best = 0.0
        before = moves
        for l in range(n_sat):
            if moves >= most:
                break
            out, into, loss, won = -1, -1, math.inf, 0.0
            for i in range(sat_ptr[l], sat_ptr[l + 1]):
                a = by_sat[i]
                k = user[a]
                if moved[a] or not allowed[a] or (support[a] and held[k] < 2):
                    continue
                now = _need(weight[k], close[k], signal[k], top[k], x)
                if support[a]:
                    cost = _need(weight[k], close[k], signal[k] - gain[a], top[k] - ceiling[a], x) - now
                    if cost < loss:
                        out, loss = a, cost
                else:
                    saved = now - _need(weight[k], close[k], signal[k] + gain[a], top[k] + ceiling[a], x)
                    if saved > won:
                        into, won = a, saved
            if count[l] < k_max:
                out, loss = -1, 0.0
            elif out < 0:
                continue
            if into < 0:
                continue
            best = max(best, won - loss)
            if won - loss < threshold:
                continue
            moves += 1
            k = user[into]
            support[into], moved[into] = True, True
            signal[k] += gain[into]
            top[k] += ceiling[into]
            held[k] += 1
            count[l] += 1
            if out >= 0:
                k = user[out]
                support[out], moved[out] = False, True
                signal[k] = max(signal[k] - gain[out], 1e-6)
                top[k] = max(top[k] - ceiling[out], 1e-6)
                held[k] -= 1
                count[l] -= 1
        if best < smallest:
            break
        if moves > before:
            x = _level(weight, close, signal, top, x)
        else:
            threshold = 0.5 * min(best, threshold)
    return moves, -math.log(x)


@kernel
def _moves(
    ptr: np.ndarray,
    sat: np.ndarray,
    user: np.ndarray,
    sat_ptr: np.ndarray,
    by_sat: np.ndarray,
    support: np.ndarray,
    allowed: np.ndarray,
    k_max: int,
    gain: np.ndarray,
    ceiling: np.ndarray,
    weight: np.ndarray,
    close: np.ndarray,
) -> np.ndarray:
    # For each pair outside the support, the best swap that brings it in; for each pair inside, the best move of its
    # user to another satellite, where it takes the place of somebody, while somebody (the same one, perhaps) takes
    # its own. Rows: promise, pairs out (2), pairs in (2), -1: none.
    n_sat, n_user = len(sat_ptr) - 1, len(ptr) - 1
    n_pair = len(sat)
    table = np.full((2 * n_pair, 5), -1.0)
    table[:, 0] = -math.inf
    held = np.zeros(n_user, np.int64)
    count = np.zeros(n_sat, np.int64)
    cost = np.zeros(n_pair)  # of turning the pair over
    place = np.full((n_sat, n_user), -1, np.int64)
    for a in range(n_pair):
        place[sat[a], user[a]] = a
    for a in range(n_pair):
        k = user[a]
        if support[a]:
            held[k] += 1
            count[sat[a]] += 1
        if allowed[a]:
            sign = -1.0 if support[a] else 1.0
            cost[a] = _need(weight[k], close[k], 1.0 + sign * gain[a], 1.0 + sign * ceiling[a], 1.0) - weight[k]
    # cheapest pair out and best pair in at each satellite, and the runners-up
    out = np.full((n_sat, 2), -1, np.int64)
    into = np.full((n_sat, 2), -1, np.int64)
    for l in range(n_sat):
        for i in range(sat_ptr[l], sat_ptr[l + 1]):
            a = by_sat[i]
            if not allowed[a]:
                continue
            best = into
            if support[a]:
                if held[user[a]] < 2:
                    continue
                best = out
            if best[l, 0] < 0 or cost[a] < cost[best[l, 0]]:
                best[l, 1] = best[l, 0]
                best[l, 0] = a
            elif best[l, 1] < 0 or cost[a] < cost[best[l, 1]]:
                best[l, 1] = a
        for i in range(sat_ptr[l], sat_ptr[l + 1]):
            a = by_sat[i]
            if support[a] or not allowed[a]:
                continue
            b = -1 if count[l] < k_max else out[l, 0]
            if b >= 0 or count[l] < k_max:
                table[a, 0] = -cost[a] - (cost[b] if b >= 0 else 0.0)
                table[a, 1], table[a, 3] = b, a
    for k in range(n_user):
        for a in range(ptr[k], ptr[k + 1]):
            if not support[a]:
                continue
            row, l = n_pair + a, sat[a]
            for b in range(ptr[k], ptr[k + 1]):
                if support[b] or not allowed[b]:
                    continue
                m = sat[b]
                own = (
                    _need(weight[k], close[k], 1.0 - gain[a] + gain[b], 1.0 - ceiling[a] + ceiling[b], 1.0) - weight[k]
                )
                # who comes to l, and who leaves m
                for i in range(sat_ptr[l], sat_ptr[l + 1]):
                    c = by_sat[i]
                    j = user[c]
                    if support[c] or not allowed[c] or j == k or -(own + cost[c]) <= table[row, 0]:
                        continue
                    leaves, loss = -1, 0.0
                    if count[m] >= k_max:
                        leaves = out[m, 0]
                        if leaves >= 0 and user[leaves] == j:
                            leaves = out[m, 1]
                        loss = math.inf if leaves < 0 else cost[leaves]
                    promise = -(own + cost[c] + loss)
                    if promise > table[row, 0]:
                        table[row, 0] = promise
                        table[row, 1], table[row, 2], table[row, 3], table[row, 4] = a, leaves, c, b
                    # the same user both ways
                    for d in range(place[m, j], place[m, j] + 1):
                        if d >= 0 and support[d]:
                            both = _need(
                                weight[j], close[j], 1.0 + gain[c] - gain[d], 1.0 + ceiling[c] - ceiling[d], 1.0
                            )
                            promise = -(own + both - weight[j])
                            if promise > table[row, 0]:
                                table[row, 0] = promise
                                table[row, 1], table[row, 2], table[row, 3], table[row, 4] = a, d, c, b
                # or its place at l stays free
                loss = 0.0 if count[m] < k_max else math.inf if out[m, 0] < 0 else cost[out[m, 0]]
                if -(own + loss) > table[row, 0]:
                    table[row, 0] = -(own + loss)
                    table[row, 1], table[row, 2], table[row, 3], table[row, 4] = a, -1, -1, b
                    if count[m] >= k_max:
                        table[row, 2] = out[m, 0]
    return table[np.isfinite(table[:, 0])]
