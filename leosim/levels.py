"""The lexicographic max-min of one connected problem, level by level.

The duality fixed point solves a level; the conic program (Clarabel) where that leaves a gap, and linear
programs where useful powers add.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from leosim import conic
from leosim.couplings import Problem, sinr
from leosim.duality import SMALLEST_RAISE_BIT, fixed_point

BOTTLENECK_SHARE = 0.1  # of the mean sensitivity: users above it are the bottleneck of a level
LARGEST_GAP_BIT = 5e-4  # certificate gap (bit/s/Hz) above which the conic program decides
LARGEST_CONIC = 50_000  # couplings of a problem up to which the conic program may decide: seconds at most
LEVEL_ITERATIONS = 30  # of a level above the first, which has no conic fallback


@dataclass(frozen=True)
class Powers:
    """All levels of one part: powers, level of each user, SINR and certificate of each level.

    bottleneck : the user with the greatest share of the sensitivity of the first level; -1: none
    """

    p: np.ndarray
    level: np.ndarray
    level_sinr: list[float]
    level_gap_bit: list[float]
    upper: float
    gap_bit: float
    lam: np.ndarray
    q: np.ndarray
    iterations: int
    fallbacks: int
    bottleneck: int


def solve_levels(
    problem: Problem,
    lam: np.ndarray,
    q: np.ndarray,
    tol_bit: float,
    max_iterations: int,
    raise_tol_bit: float,
    raise_levels: bool,
    fallback: bool,
) -> Powers:
    """Lexicographic max-min of one connected part; levels above the first start from the one below."""
    n_user = problem.n_user
    target = np.zeros(n_user)
    raise_levels = raise_levels and n_user > 1
    first_tol = max(tol_bit - raise_tol_bit, 0.5 * tol_bit) if raise_levels else tol_bit
    first = solve_level(
        problem, target, lam, q, np.zeros(len(problem.useful)), 0.0, first_tol, max_iterations, fallback
    )
    current = first
    p = first.p
    level = np.zeros(n_user, dtype=np.int64)
    level_sinr = [first.lower]
    level_gap = [first.gap_bit]
    iterations, fallbacks = first.iterations, int(first.fallback)
    free = np.ones(n_user, dtype=bool)
    while raise_levels:
        sensitivity = _sensitivity(problem, current.p, current.q) * free
        bottleneck = free & (sensitivity >= BOTTLENECK_SHARE * sensitivity.sum() / free.sum())
        if bottleneck.sum() == free.sum():
            break
        held = sinr(problem, current.p)[bottleneck]
        target[bottleneck] = (1.0 + held) * 2.0**-raise_tol_bit - 1.0
        if np.any(target[bottleneck] <= 0.0):
            break
        free = free & ~bottleneck
        start = float(sinr(problem, current.p)[free].min())
        following = solve_level(
            problem,
            target,
            current.lam,
            current.q,
            current.p,
            start,
            tol_bit,
            LEVEL_ITERATIONS,
            False,
        )
        iterations += following.iterations
        if rate_difference(following.lower, start) < SMALLEST_RAISE_BIT:
            break
        p = following.p
        level[free] = len(level_sinr)
        level_sinr.append(following.lower)
        level_gap.append(following.gap_bit)
        current = following
    return Powers(
        p,
        level,
        level_sinr,
        level_gap,
        first.upper,
        rate_difference(first.upper, float(sinr(problem, p).min())),
        first.lam,
        first.q,
        iterations,
        fallbacks,
        int(np.argmax(_sensitivity(problem, first.p, first.q))) if first.lower > 0.0 else -1,
    )


def _sensitivity(problem: Problem, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Share of each user in d log t: q_k (interference_k + 1), normalised; [user]."""
    useful = np.bincount(problem.pair_user, problem.useful * p, problem.n_user) ** 2
    if not problem.coherent:
        useful = np.bincount(problem.pair_user, (problem.useful * p) ** 2, problem.n_user)
    weight = q * useful / sinr(problem, p)
    return weight / weight.sum()


# ---------------------------------------------------------------------------------------------
# One level: the largest common SINR of the users that are not frozen


@dataclass(frozen=True)
class Level:
    """What one level found: amplitudes p [pair], bounds of the common SINR, prices, effort, fallback used."""

    p: np.ndarray
    lower: float
    upper: float
    lam: np.ndarray
    q: np.ndarray
    iterations: int
    fallback: bool

    @property
    def gap_bit(self) -> float:
        """Gap of the certificate (bit/s/Hz)."""
        return rate_difference(self.upper, self.lower)


def rate_difference(high: float, low: float) -> float:
    """log2(1 + high) - log2(1 + low) in bit/s/Hz."""
    return math.log2((1.0 + high) / (1.0 + low)) if high > low else 0.0


def solve_level(
    problem: Problem,
    target: np.ndarray,
    lam: np.ndarray,
    q: np.ndarray,
    p: np.ndarray,
    lower: float,
    tol_bit: float,
    max_iterations: int,
    fallback: bool,
) -> Level:
    """Largest t with SINR >= t for users of target 0 and SINR >= target for the others.

    target : [user]; lam, q : start; p, lower : a feasible point and its t (zeros: none).
    """
    if not problem.coherent:
        return _level_noncoherent(problem, target, p, lower, tol_bit)
    level = _run(problem, target, lam, q, p, lower, tol_bit, max_iterations)
    if level.gap_bit > tol_bit and fallback and problem.size <= LARGEST_CONIC:
        level = _level_conic(problem, target, level, tol_bit)
    return level


def _run(
    problem: Problem,
    target: np.ndarray,
    lam: np.ndarray,
    q: np.ndarray,
    p: np.ndarray,
    lower: float,
    tol_bit: float,
    max_iterations: int,
) -> Level:
    lam, q, p = _on_simplex(lam), _on_simplex(q), p.copy()
    passive = p > 0.0 if p.any() else np.ones(len(problem.useful), dtype=np.bool_)
    if lower <= 0.0:
        p[:] = 0.0
    low, high, iterations = fixed_point(
        problem.arrays(), problem.n_sat, target, lam, q, passive, p, lower, tol_bit, max_iterations
    )
    return Level(p, low, high, lam, q, iterations, False)


def _on_simplex(x: np.ndarray) -> np.ndarray:
    """A strictly positive copy with sum 1; uniform where x says nothing."""
    x = np.where(np.isfinite(x) & (x > 0.0), x, 0.0)
    total = x.sum()
    x = x / total if total > 0.0 else np.full(len(x), 1.0 / len(x))
    x = np.maximum(x, 1e-9)
    return x / x.sum()


# ---------------------------------------------------------------------------------------------
# The conic program


@dataclass(frozen=True)
class _Cones:
    """The second-order cone program of one problem: min tau, SINR >= t, ||p_l|| <= tau, p >= 0."""

    form: conic.Canonical
    values: np.ndarray
    rhs: np.ndarray
    useful_at: np.ndarray
    head: np.ndarray
    power_head: np.ndarray


def _cone_program(problem: Problem) -> _Cones:
    n_user, n_sat, n_pair = problem.n_user, problem.n_sat, len(problem.useful)
    by_receiver: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(n_user)]
    for k in range(n_user):
        a = np.arange(problem.pair_ptr[k], problem.pair_ptr[k + 1])
        user = problem.nb_user[problem.nb_ptr[k] : problem.nb_ptr[k + 1]]
        for pair in a:
            for e in range(problem.var_ptr[pair], problem.var_ptr[pair + 1]):
                coefficient = np.sqrt(problem.variance[e : e + 1])
                by_receiver[user[problem.var_at[e]]].append((np.array([pair]), coefficient))
        f = problem.factor[problem.factor_ptr[k] : problem.factor_ptr[k + 1]].reshape(-1, len(a))
        for i, r in enumerate(range(problem.row_ptr[k], problem.row_ptr[k + 1])):
            some = np.flatnonzero(f[i])
            by_receiver[user[problem.row_at[r]]].append((a[some], f[i, some]))
    rows, cols, values = [], [], []
    cones: list[tuple[str, int]] = [("nonnegative", n_pair)]
    rows.append(np.arange(n_pair))
    cols.append(np.arange(n_pair))
    values.append(-np.ones(n_pair))
    row = n_pair
    head = np.empty(n_user, dtype=np.int64)
    ones = []
    for k in range(n_user):
        a = np.arange(problem.pair_ptr[k], problem.pair_ptr[k + 1])
        head[k] = row
        rows.append(np.full(len(a), row))
        cols.append(a)
        values.append(-problem.useful[a])
        for i, (which, coefficient) in enumerate(by_receiver[k]):
            rows.append(np.full(len(which), row + 1 + i))
            cols.append(which)
            values.append(-coefficient)
        size = len(by_receiver[k]) + 2
        ones.append(row + size - 1)
        cones.append(("second_order", size))
        row += size
    power_head = np.empty(n_sat, dtype=np.int64)
    for l in range(n_sat):
        a = np.flatnonzero(problem.pair_sat == l)
        power_head[l] = row
        rows.append(np.concatenate([[row], row + 1 + np.arange(len(a))]))
        cols.append(np.concatenate([[n_pair], a]))
        values.append(-np.ones(len(a) + 1))
        cones.append(("second_order", len(a) + 1))
        row += len(a) + 1
    rhs = np.zeros(row)
    rhs[ones] = 1.0
    all_rows = np.concatenate(rows)
    at = np.full(row, -1)
    at[head] = np.arange(n_user)
    form = conic.canonical(all_rows, np.concatenate(cols), row, n_pair + 1, tuple(cones))
    return _Cones(form, np.concatenate(values), rhs, at[all_rows], head, power_head)


def _level_conic(problem: Problem, target: np.ndarray, level: Level, tol_bit: float) -> Level:
    """Bisection over t of the cone program, from the bounds of `level`; its duals give new prices."""
    program = _cone_program(problem)
    objective = np.zeros(len(problem.useful) + 1)
    objective[-1] = 1.0
    free = target <= 0.0
    low, high = level.lower, level.upper
    for _ in range(25):
        if level.gap_bit <= tol_bit or rate_difference(high, low) <= 0.1 * tol_bit:
            break
        t = math.sqrt((1.0 + low) * (1.0 + high)) - 1.0 if math.isfinite(high) else 4.0 * low + 1.0
        wanted = np.where(free, t, target)
        scale = np.where(program.useful_at >= 0, 1.0 / np.sqrt(wanted)[program.useful_at], 1.0)
        solved = conic.solve(program.form, program.values * scale, program.rhs, objective)
        if not solved.usable:
            if solved.status != "infeasible":
                break
            high = t
            continue
        p = np.maximum(solved.x[:-1], 0.0)
        load = np.bincount(problem.pair_sat, p**2, problem.n_sat)
        if solved.x[-1] <= 1.0:
            low = t
        else:
            high = t
        p = p / math.sqrt(max(1.0, load.max()))
        values = sinr(problem, p)
        lower, best = level.lower, level.p
        if np.all(values[~free] >= target[~free] * (1.0 - 1e-7)) and values[free].min() > lower:
            lower, best = float(values[free].min()), p
        useful = np.bincount(problem.pair_user, problem.useful * p, problem.n_user)
        q = solved.z[program.head] * np.sqrt(wanted) / useful
        lam = solved.z[program.power_head] / np.sqrt(np.maximum(load, 1e-30))
        new = _run(problem, target, lam, q, best, lower, tol_bit, 5)
        closer = new.upper < level.upper
        level = Level(
            new.p,
            new.lower,
            min(new.upper, level.upper),
            new.lam if closer else level.lam,
            new.q if closer else level.q,
            level.iterations + new.iterations,
            True,
        )
        low, high = max(low, level.lower), min(high, level.upper)
    return replace(level, fallback=True)


# ---------------------------------------------------------------------------------------------
# Useful powers that add


def _level_noncoherent(problem: Problem, target: np.ndarray, p: np.ndarray, lower: float, tol_bit: float) -> Level:
    """The level when useful powers add: linear in x = p^2, so Dinkelbach's steps over a linear program.

    max d, useful_k - t (interference_k + 1) >= d D_k, with t and D of the previous point.
    """
    n_user, n_sat, n_pair = problem.n_user, problem.n_sat, len(problem.useful)
    user = problem.pair_user
    b2 = problem.useful**2
    receivers, pairs, values = _variance_triplets(problem)
    own = receivers == user[pairs]
    x = p**2
    if np.any(np.bincount(user, b2 * x, n_user) <= 0.0):  # a step starts from a point where everybody is heard
        count = np.bincount(problem.pair_sat, minlength=n_sat)
        x = 1.0 / count[problem.pair_sat]
    free = target <= 0.0
    n_row = n_pair + n_user + n_sat
    missing = np.setdiff1d(np.arange(n_pair), pairs[own])
    rows = np.concatenate(
        [
            np.arange(n_pair),
            n_pair + receivers,
            n_pair + user[missing],
            n_pair + np.flatnonzero(free),
            n_pair + n_user + problem.pair_sat,
        ]
    )
    cols = np.concatenate([np.arange(n_pair), pairs, missing, np.full(free.sum(), n_pair), np.arange(n_pair)])
    form = conic.canonical(rows, cols, n_row, n_pair + 1, (("nonnegative", n_row),))
    rhs = np.zeros(n_row)
    rhs[n_pair + n_user :] = 1.0
    objective = np.zeros(n_pair + 1)
    objective[-1] = -1.0
    upper = math.inf
    lam, q = np.full(n_sat, 1.0 / n_sat), np.full(n_user, 1.0 / n_user)
    best = p
    iterations = 0
    for _ in range(30):
        noise = 1.0 + np.bincount(receivers, values * x[pairs], n_user)
        ratio = np.bincount(user, b2 * x, n_user) / noise
        feasible = bool(np.all(ratio[~free] >= target[~free] * (1.0 - 1e-7)))
        t = max(float(ratio[free].min()), lower if feasible else 0.0)
        if feasible and ratio[free].min() > lower:
            lower, best = float(ratio[free].min()), np.sqrt(x)
        if rate_difference(upper, lower) <= tol_bit or iterations >= 25 or t <= 0.0:
            break
        wanted = np.where(free, t, target)
        size = wanted * noise  # rows scaled to be of order one
        entries = (wanted[receivers] * values - np.where(own, b2[pairs], 0.0)) / size[receivers]
        data = np.concatenate(
            [
                -np.ones(n_pair),
                entries,
                -b2[missing] / size[user[missing]],
                np.ones(free.sum()),
                np.ones(n_pair),
            ]
        )
        rhs[n_pair : n_pair + n_user] = -wanted / size
        solved = conic.solve(form, data, rhs, objective)
        iterations += 1
        if not solved.usable:
            break
        x = np.maximum(solved.x[:-1], 0.0)
        load = np.bincount(problem.pair_sat, x, n_sat)
        x = x / np.maximum(load, 1.0)[problem.pair_sat]
        new_q = _on_simplex(solved.z[n_pair : n_pair + n_user] * wanted / size)
        new_lam = _on_simplex(solved.z[n_pair + n_user :])
        bound = _noncoherent_bound(problem, target, new_lam, new_q, receivers, pairs, values)
        if bound < upper:
            upper, lam, q = bound, new_lam, new_q
    return Level(best, lower, upper, lam, q, iterations, False)


def _variance_triplets(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nonzero variances as (receiver, pair, value), each [entry]."""
    pairs = np.repeat(np.arange(len(problem.useful)), np.diff(problem.var_ptr))
    keep = problem.variance != 0.0
    return problem.receivers()[keep], pairs[keep], problem.variance[keep]


def _noncoherent_bound(
    problem: Problem,
    target: np.ndarray,
    lam: np.ndarray,
    q: np.ndarray,
    receivers: np.ndarray,
    pairs: np.ndarray,
    values: np.ndarray,
) -> float:
    """The certificate with r_k = max_l b^2 / S_ll, exact."""
    s = lam[problem.pair_sat] + np.bincount(pairs, q[receivers] * values, len(problem.useful))
    r = np.maximum.reduceat(problem.useful**2 / s, problem.pair_ptr[:-1])
    free = target <= 0.0
    most = np.bincount(problem.pair_user, problem.useful**2, problem.n_user)
    excess = np.maximum(0.0, q[~free] / target[~free] - 1.0 / r[~free]) @ most[~free]
    return float((q[free] * r[free]).max() + excess / (1.0 / r[free]).sum())
