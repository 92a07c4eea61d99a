"""Serving sets that change only when it pays: last decision's members, topped up within a tolerance.

The least rate is held to a share of what a choice without memory reaches at the same moment. Members stay
until they go; joiners are those worth most for as long as they will stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from leosim.allocation import LARGE_ITERATIONS, Allocation, Warm, max_min
from leosim.couplings import Problem, sinr
from leosim.levels import BOTTLENECK_SHARE, LARGEST_CONIC, LARGEST_GAP_BIT, rate_difference
from leosim.records import SERVED
from leosim.search import search
from leosim.support import Found, assign, pair_scores, solve_support

RESERVE = 0.2  # share of the tolerance that joiners restore and the first decision leaves
LOOSE_BIT = 2.0 * LARGEST_GAP_BIT  # supports are compared at this gap, and polished at LARGEST_GAP_BIT
GROWTHS = 6  # solves joiners may take
SHRINKS = 6  # solves that letting go of what is not needed may take, at a first decision or a large change
POLISHES = 4  # solves until no pair is below the floor
SMALLEST_WORTH = 1e-7  # of a joiner, in log SINR


@dataclass(frozen=True)
class Wish:
    """What is asked of the serving sets beside K_max.

    give_up : largest share of the least rate given up against a choice without memory
    floor : least share of a satellite's power that makes a membership (1)
    least_stay_s : a satellite that stays for less does not join
    stay_s : [pair] how long the satellite will stay
    ending : [pair] bool, it may go so soon that it should not be all that a user has
    """

    give_up: float
    floor: float
    least_stay_s: float
    stay_s: np.ndarray
    ending: np.ndarray


@dataclass(frozen=True)
class Hold:
    """What may not be let go: `kept` [pair] bool, members of which each user keeps one; `guard` [pair] bool, all."""

    kept: np.ndarray
    guard: np.ndarray


def allocate(
    problem: Problem,
    k_max: int,
    wish: Wish,
    members: np.ndarray | None,
    warm: Warm | None = None,
    waited: np.ndarray | None = None,
) -> Allocation:
    """Serving sets and powers near the best least rate, with few changes to `members`.

    The best is that of `search.search`, at most k_max users a satellite. Members stay while the max-min of
    their support is within `give_up` of it. When it is not, pairs join, in order of their first-order
    worth times the time they stay, as many as the missing rate asks for, until all but `RESERVE` of
    the tolerance is kept; at a full satellite in place of its member worth least. If that does not get there,
    members and the memoryless support are thinned out together. A user whose members all end soon is given
    another before.

    members : [pair] bool, of the previous decision; None: there was none, and the memoryless support is
        thinned out to the tolerance; waited : [user] int, decisions in a row without room so far
    Users without a satellite or room are declared as in `allocation.allocate`, `bound` is that without K_max.
    """
    match, reason = assign(problem, k_max, waited)
    users = reason == SERVED
    usable = users[problem.pair_user] & (problem.useful > 0.0)
    if not users.any():
        return replace(max_min(problem, usable, warm), reason=reason)
    lam = np.ones(problem.n_sat) if warm is None or warm.lam is None else warm.lam
    q = np.ones(problem.n_user) if warm is None or warm.q is None else warm.q
    relaxed = solve_support(problem, users, usable, lam, q, LARGEST_GAP_BIT, True)
    iterations = relaxed.iterations

    def finish(allocation: Allocation) -> Allocation:
        return replace(allocation, bound=relaxed.upper, reason=reason, iterations=allocation.iterations + iterations)

    hold = Hold(*np.zeros((2, usable.size), dtype=bool))
    found: Found | None = None
    if members is not None:
        kept = _fits(problem, k_max, members & usable, np.zeros_like(usable), wish.stay_s)
        support = kept.copy()
        hold = Hold(kept, _guards(problem, k_max, users, usable, support, wish))
        if _everybody(problem, users, support):
            found = _solve(problem, users, support, hold, relaxed, wish)
            iterations += found.iterations
            if _rate(found.lower) >= (1.0 - wish.give_up) * _rate(relaxed.upper):
                return finish(_polish(problem, found, hold, wish))
    best = search(problem, k_max, users, match, relaxed)
    iterations += best.iterations
    least = (1.0 - wish.give_up) * _rate(best.lower) - LOOSE_BIT
    goal = (1.0 - (1.0 - RESERVE) * wish.give_up) * _rate(best.lower)
    if found is None:
        return finish(_polish(problem, _shrink(problem, users, best, hold, goal, wish), hold, wish))
    asked = 1.0
    for growth in range(GROWTHS + 1):
        if _rate(found.lower) >= least:
            allocation = _polish(problem, found, hold, wish)
            if _rate(allocation.lower) >= least:
                return finish(allocation)
        if growth == GROWTHS:
            break
        missing = asked * max(goal - _rate(found.lower), goal - least)
        support = _grow(problem, k_max, users, found, relaxed, usable, hold, missing, wish)
        if np.array_equal(support, found.support):
            break
        tried = solve_support(problem, users, support, found.lam, found.q, LOOSE_BIT, False, None, _iterations(problem))
        iterations += tried.iterations
        if tried.lower > found.lower * (1.0 + 1e-6):
            found, asked = tried, 1.6 * asked
        elif (found.support & ~support).any():  # too many swaps at once
            asked *= 0.3
        else:
            found, asked = tried, 3.0 * asked
    # Members first, or else, where K_max leaves too little room beside them, the best first.
    for first, then in ((found.support, best.support), (best.support, found.support)):
        support = first | _fits(problem, k_max, then & ~first, first, wish.stay_s)
        support = _anchor(problem, k_max, support, hold, wish.stay_s)
        tried = solve_support(problem, users, support, best.lam, best.q, LOOSE_BIT, False, None, _iterations(problem))
        iterations += tried.iterations
        if tried.lower > found.lower:
            found = tried
        if _rate(found.lower) >= least:
            break
    found = _shrink(problem, users, found, hold, goal, wish)
    return finish(_polish(problem, found, hold, wish))


def _iterations(problem: Problem) -> int:
    """Most iterations of one solve."""
    return 400 if problem.size <= LARGEST_CONIC else LARGE_ITERATIONS


def _rate(sinr: float) -> float:
    return math.log2(1.0 + sinr)


def _everybody(problem: Problem, users: np.ndarray, support: np.ndarray) -> bool:
    """Whether each of the users has a pair."""
    return bool((np.bincount(problem.pair_user, support, problem.n_user)[users] > 0).all())


def _low(problem: Problem, p: np.ndarray, bound: np.ndarray, kept: np.ndarray, wish: Wish) -> np.ndarray:
    """Pairs below the floor, but for `bound` ones, each user's largest, and its largest of `kept`: [pair] bool."""
    low = (p**2 < wish.floor) & ~bound
    preferred = p + 1e-9 * wish.stay_s / max(wish.stay_s.max(), 1.0)  # of pairs without power the one that stays
    for of in (p > 0.0, kept):
        largest = np.zeros(problem.n_user)
        np.maximum.at(largest, problem.pair_user[of], preferred[of])
        low &= ~of | (preferred < largest[problem.pair_user])
    return low


def _solve(problem: Problem, users: np.ndarray, support: np.ndarray, hold: Hold, start: Found, wish: Wish) -> Found:
    """The max-min of a support, and again without the pairs that it left below the floor."""
    found = solve_support(problem, users, support, start.lam, start.q, LOOSE_BIT, False, None, _iterations(problem))
    low = support & _low(problem, found.p, hold.guard, hold.kept & support, wish)
    if low.any():
        again = solve_support(
            problem, users, support & ~low, found.lam, found.q, LOOSE_BIT, False, found.p, _iterations(problem)
        )
        found = replace(again, iterations=again.iterations + found.iterations)
    return found


def _polish(problem: Problem, found: Found, hold: Hold, wish: Wish) -> Allocation:
    """Lexicographic max-min powers on the support without what falls below the floor; what must stay is raised."""
    support, warm, iterations = found.support, Warm(found.lam, found.q), 0
    for _ in range(POLISHES):
        allocation = max_min(problem, support, warm, max_iterations=_iterations(problem))
        iterations += allocation.iterations
        low = support & _low(problem, allocation.p, hold.guard, hold.kept & support, wish)
        if not low.any():
            break
        support, warm = support & ~low, allocation.warm
    p = np.where(low, 0.0, allocation.p)
    raised = support & ~low & (p**2 < wish.floor)
    if low.any() or raised.any():
        p = _at_least(problem, np.where(raised, math.sqrt(wish.floor), p), wish.floor)
        values = sinr(problem, p)
        lower = float(values[allocation.served].min())
        gap = max(allocation.gap_bit, rate_difference(allocation.upper, lower))
        status = "inaccurate" if gap > LARGEST_GAP_BIT else allocation.status
        allocation = replace(allocation, p=p, sinr=values, lower=lower, gap_bit=gap, status=status, support=p > 0.0)
    return replace(allocation, iterations=iterations)


def _at_least(problem: Problem, p: np.ndarray, floor: float) -> np.ndarray:
    """Amplitudes within the budgets, cut where they exceed the floor; below it only where not all have room."""
    used = np.bincount(problem.pair_sat, p > 0.0, problem.n_sat)
    base = np.minimum(floor, 1.0 / np.maximum(used, 1.0))[problem.pair_sat]
    above = np.where(p > 0.0, (p**2 - base).clip(min=0.0), 0.0)
    total = np.bincount(problem.pair_sat, above, problem.n_sat)
    room = 1.0 - np.bincount(problem.pair_sat, np.where(p > 0.0, base, 0.0), problem.n_sat)
    cut = (room.clip(min=0.0) / np.maximum(total, 1e-300)).clip(max=1.0)
    return np.where(p > 0.0, np.sqrt(np.minimum(p**2, base) + above * cut[problem.pair_sat]), 0.0)


# ---------------------------------------------------------------------------------------------
# Who joins and who leaves


def _guards(
    problem: Problem, k_max: int, users: np.ndarray, usable: np.ndarray, support: np.ndarray, wish: Wish
) -> np.ndarray:
    """Make before break: a member that stays for each user who has none. `support` changes in place.

    Returns [pair] bool, the last such member of each user: it may not be let go.
    """
    user, sat = problem.pair_user, problem.pair_sat
    kept, lasting = support.copy(), support & ~wish.ending
    count, old = np.bincount(user, lasting, problem.n_user), np.bincount(user, kept, problem.n_user)
    load = np.bincount(sat, support, problem.n_sat)
    for k in np.flatnonzero(users & (count == 0)):
        mine = np.arange(problem.pair_ptr[k], problem.pair_ptr[k + 1])
        others = mine[usable[mine] & ~support[mine]]
        stays = others[~wish.ending[others]]
        if stays.size:
            others = stays[np.argsort(-problem.useful[stays], kind="stable")]
        elif support[mine].any():
            continue
        else:
            others = others[np.argsort(-wish.stay_s[others], kind="stable")]
        for joiner in others:
            if load[sat[joiner]] >= k_max:
                there = np.flatnonzero(support & (sat == sat[joiner]))
                spare = (count[user[there]] > lasting[there]) & (old[user[there]] > kept[there])
                if not spare.any():
                    continue
                leaver = there[spare][np.argmin(problem.useful[there[spare]])]
                support[leaver] = False
                count[user[leaver]] -= lasting[leaver]
                old[user[leaver]] -= kept[leaver]
                load[sat[joiner]] -= 1
            support[joiner] = lasting[joiner] = True
            count[k] += 1
            load[sat[joiner]] += 1
            break
    return support & lasting & (count[user] == 1)


def _grow(
    problem: Problem,
    k_max: int,
    users: np.ndarray,
    found: Found,
    relaxed: Found,
    usable: np.ndarray,
    hold: Hold,
    missing: float,
    wish: Wish,
) -> np.ndarray:
    """The support with pairs more, worth `missing` bit/s/Hz to first order: [pair] bool.

    Pairs of users who do not hold the least rate down do not count. A full satellite takes one in place of the
    pair worth least for the time it stays, if the joiner is worth more and that user keeps another member.
    """
    user, sat, support = problem.pair_user, problem.pair_sat, found.support.copy()
    stay_s, may_join = wish.stay_s, usable & (wish.stay_s >= wish.least_stay_s)
    score = pair_scores(problem, users, found)
    if not problem.coherent:  # useful powers add: only the relaxed powers say what a pair outside is worth
        score = np.where(support, score, pair_scores(problem, users, relaxed))
    load = np.bincount(sat, support, problem.n_sat)
    full = (load >= k_max)[sat]
    inside = np.flatnonzero(support & ~hold.guard)
    inside = inside[np.argsort(-score[inside] * stay_s[inside], kind="stable")]
    least = np.full(problem.n_sat, -1)
    least[sat[inside]] = inside  # the last one written is worth least
    rival = np.where(full, least[sat], -1)
    loss = np.where(full, score[rival].clip(min=0.0), 0.0)
    may_join &= ~full | (rival >= 0)
    net = np.where(may_join & ~support & _binding(problem, users, found)[user], score - loss, 0.0)
    worth = net * stay_s * np.where(full, 0.5, 1.0)  # two changes, not one
    ranked = np.flatnonzero((net > SMALLEST_WORTH) & (worth > 0.0))
    ranked = ranked[np.argsort(-worth[ranked], kind="stable")]
    count = np.bincount(user, support & hold.kept, problem.n_user)
    gained, swapped = 0.0, np.zeros(problem.n_sat, dtype=bool)
    for joiner in ranked:
        l = sat[joiner]
        if full[joiner]:
            leaver = rival[joiner]
            if swapped[l] or count[user[leaver]] < 1 + hold.kept[leaver]:
                continue
            support[leaver] = False
            count[user[leaver]] -= hold.kept[leaver]
            swapped[l] = True
        elif load[l] >= k_max:
            continue
        else:
            load[l] += 1
        support[joiner] = True
        gained += net[joiner]
        if gained >= missing * math.log(2.0):
            break
    return support


def _binding(problem: Problem, users: np.ndarray, found: Found) -> np.ndarray:
    """Users whose share of the sensitivity of the least rate is not far below the mean: [user] bool."""
    if not problem.coherent:
        return users
    useful = np.bincount(problem.pair_user, problem.useful * found.p, problem.n_user) ** 2
    weight = np.where(users, found.q * useful / np.where(users, sinr(problem, found.p), 1.0), 0.0)
    return weight >= BOTTLENECK_SHARE * weight.sum() / users.sum()


def _fits(problem: Problem, k_max: int, pairs: np.ndarray, support: np.ndarray, stay_s: np.ndarray) -> np.ndarray:
    """Those of the pairs for whom their satellites have room beside a support, the longest-staying first."""
    load = np.bincount(problem.pair_sat, support, problem.n_sat)
    ranked = np.flatnonzero(pairs)
    ranked = ranked[np.lexsort((-stay_s[ranked], problem.pair_sat[ranked]))]
    sat = problem.pair_sat[ranked]
    place = np.arange(ranked.size) - np.searchsorted(sat, sat)
    fits = np.zeros(pairs.size, dtype=bool)
    fits[ranked[load[sat] + place < k_max]] = True
    return fits


def _anchor(problem: Problem, k_max: int, support: np.ndarray, hold: Hold, stay_s: np.ndarray) -> np.ndarray:
    """The support with one of its kept members for each user that has any, where K_max leaves room: [pair] bool."""
    user, sat, support = problem.pair_user, problem.pair_sat, support.copy()
    lost = np.bincount(user, hold.kept, problem.n_user) > 0
    lost &= np.bincount(user, hold.kept & support, problem.n_user) == 0
    for k in np.flatnonzero(lost):
        mine = np.arange(problem.pair_ptr[k], problem.pair_ptr[k + 1])
        mine = mine[hold.kept[mine]]
        for pair in mine[np.argsort(-stay_s[mine], kind="stable")]:
            there = np.flatnonzero(support & (sat == sat[pair]))
            if there.size >= k_max:
                count = np.bincount(user, support, problem.n_user)
                kept = np.bincount(user, support & hold.kept, problem.n_user)
                there = there[(count[user[there]] > 1) & (kept[user[there]] > hold.kept[there])]
                if not there.size:
                    continue
                support[there[np.argmin(problem.useful[there])]] = False
            support[pair] = True
            break
    return support


def _shrink(problem: Problem, users: np.ndarray, start: Found, hold: Hold, goal: float, wish: Wish) -> Found:
    """A support without what is worth least for the time it stays, down to the goal; members stay.

    Supports on which the powers do not converge are passed over.
    """
    found, share = start, 1.0
    for _ in range(SHRINKS):
        spare = (_rate(found.lower) - goal) * math.log(2.0)
        if spare <= 0.0:
            break
        score = pair_scores(problem, users, found).clip(min=0.0)
        inside = np.flatnonzero(found.support & ~hold.kept & ~hold.guard)
        inside = inside[np.argsort(score[inside] * wish.stay_s[inside], kind="stable")]
        out = inside[np.cumsum(score[inside]) <= share * spare]
        support = found.support.copy()
        support[out] = False
        if not out.size:
            break
        if _everybody(problem, users, support):
            tried = _solve(problem, users, support, hold, found, wish)
            if _rate(tried.lower) >= goal and rate_difference(tried.upper, tried.lower) <= LOOSE_BIT:
                found = tried
                continue
        share *= 0.5
    return found
