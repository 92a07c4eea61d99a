"""Serving sets as supports of the powers: the max-min on one, what its pairs are worth, who can be matched.

A support says which pairs (satellite, user) may have power. How one is found under K_max is in `search`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from leosim.couplings import Problem, kernel, parts, sinr
from leosim.duality import scores
from leosim.levels import solve_level
from leosim.records import NO_ROOM, NO_SATELLITE, SERVED

SMOOTHING = 0.1  # share of uniform prices in the scores of pairs: first-order effects are local


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


def pair_scores(problem: Problem, users: np.ndarray, found: Found) -> np.ndarray:
    """What each pair is worth to the minimum SINR, to first order at smoothed prices: [pair]."""
    if not problem.coherent:
        return signal_shares(problem, found.p)
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


def signal_shares(problem: Problem, p: np.ndarray) -> np.ndarray:
    """Where useful powers add, the share each pair has of its user's: [pair]."""
    useful = (problem.useful * p) ** 2
    total = np.bincount(problem.pair_user, useful, problem.n_user)
    return useful / np.maximum(total, 1e-300)[problem.pair_user]


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
    floor: float = 0.0,
) -> Found:
    """The largest common SINR on one support, every connected part by itself.

    lam0, q0 : prices to start from; near : [pair] powers whose zeros the first directions start from
    floor : a trial, which ends where a larger SINR than this is out of reach: then `lower` is not above it
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
            floor,
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


def matched(problem: Problem, k_max: int, users: np.ndarray, support: np.ndarray) -> np.ndarray:
    """A pair of the support for each user, at most k_max users a satellite: [user] int, -1: none."""
    ranked = np.lexsort((problem.pair_sat, -problem.useful, ~support, problem.pair_user))
    ranked = np.where(support[ranked], ranked, -1)
    room = np.minimum(k_max, np.bincount(problem.pair_sat, minlength=problem.n_sat))
    return _match(np.flatnonzero(users), problem.pair_ptr, problem.pair_sat, problem.pair_user, ranked, room)


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
