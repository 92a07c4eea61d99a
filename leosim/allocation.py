"""Max-min power allocation for given couplings: who is served by which satellites, with what power.

An uplink-downlink duality fixed point with an exact certificate (`duality`, `levels`), the choice of a
sparse support (`support`), and a conic fallback. Equations: Kim et al., "Cell-free massive
non-terrestrial networks", IEEE JSAC 2024, (27)-(32), noise power and every satellite's budget scaled to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from leosim.couplings import Part, Problem, parts, problem_from_dense, sinr
from leosim.levels import LARGEST_CONIC, LARGEST_GAP_BIT, Powers, rate_difference, solve_level, solve_levels
from leosim.records import NO_SATELLITE, SERVED
from leosim.search import far_over, search
from leosim.support import Found, assign, solve_support

LARGE_ITERATIONS = 120  # of the last solve of a large problem; what gap is left is reported
WITHOUT_TOL_BIT = 0.02  # certificate gap that ends the estimate of what leaving a user out buys
WITHOUT_ITERATIONS = 12
SMALLEST_AMPLITUDE = 1e-6  # amplitudes below it are dropped


@dataclass(frozen=True)
class Warm:
    """Where to start: what the previous allocation ended with.

    lam : [sat] prices of the satellites' budgets, sum 1; q : [user] virtual uplink powers, sum 1
    p : [pair] amplitudes, 0 where a pair was not used
    """

    lam: np.ndarray | None = None
    q: np.ndarray | None = None
    p: np.ndarray | None = None


@dataclass(frozen=True)
class Allocation:
    """Powers, the SINR they give, and the certificate of optimality on the given support.

    p : [pair] amplitude, power share p^2 (1); sinr : [user] (1)
    lower, upper : certified bounds of the best minimum SINR over the served users (1)
    gap_bit : largest gap of any component's minimum (bit/s/Hz); bound : upper bound without K_max (1)
    level : [user] level of the lexicographic raise at which the user was fixed; -1: not served
    level_sinr : [level] SINR of each level, of the poorest component that has it (1)
    level_gap_bit : [level] largest certificate gap of each level (bit/s/Hz); levels above the first are
        refined by the fixed point only
    bottleneck : the user of the poorest component on whom the minimum depends most; -1: none
    without : minimum SINR the other served users can have at least, on their support, when the bottleneck
        user is left out (1); nan: nobody else is served, or no bottleneck
    served : [user] bool; reason : [user] int, see `records.USER_STATUS`
    status : "optimal" (gap met by the fixed point), "fallback" (met by the conic program),
        "inaccurate" (gap not met), "empty" (nobody to serve)
    """

    p: np.ndarray
    sinr: np.ndarray
    lower: float
    upper: float
    gap_bit: float
    bound: float
    iterations: int
    status: str
    served: np.ndarray
    reason: np.ndarray
    support: np.ndarray
    level: np.ndarray
    level_sinr: np.ndarray
    level_gap_bit: np.ndarray
    lam: np.ndarray
    q: np.ndarray
    fallbacks: int = 0
    bottleneck: int = -1
    without: float = math.nan

    @property
    def warm(self) -> Warm:
        """The state to start the next allocation from."""
        return Warm(self.lam, self.q, self.p)


def allocate(problem: Problem, k_max: int, warm: Warm | None = None, waited: np.ndarray | None = None) -> Allocation:
    """Serving sets and powers: at most k_max users a satellite, the minimum SINR as large as found.

    The problem without K_max is solved first (its certified upper bound is `bound`), then a support is
    chosen (see `search.search`) and the powers are polished on it (see max_min; `lower` and `upper` are
    certified on that support). Users without a satellite, or without room (a maximum matching under
    K_max, those who have waited longest first, then the strongest), are not served and leave the max-min.

    warm : prices and pairs of the previous allocation; waited : [user] int, decisions in a row without room so far
    Raises ValueError on k_max < 1, a warm start or waits of the wrong shape.
    """
    match, reason = assign(problem, k_max, waited)
    users = reason == SERVED
    support = users[problem.pair_user] & (problem.useful > 0.0)
    if not users.any():
        nothing = max_min(problem, support, warm)
        return replace(nothing, reason=reason)
    lam, q = _start(problem, warm)
    tol_bit = LARGEST_GAP_BIT if problem.size <= LARGEST_CONIC else 4.0 * LARGEST_GAP_BIT
    start = _start_support(problem, users, support, k_max, warm, lam, q)
    if start is not None:  # its prices are those under K_max, far from those without
        lam, q = np.ones(problem.n_sat), np.ones(problem.n_user)
    relaxed = solve_support(problem, users, support, lam, q, tol_bit, True)
    found = search(problem, k_max, users, match, relaxed, start)
    iterations = 400 if problem.size <= LARGEST_CONIC else LARGE_ITERATIONS
    polished = max_min(problem, found.support, Warm(found.lam, found.q), max_iterations=iterations)
    return replace(
        polished,
        bound=relaxed.upper,
        reason=reason,
        iterations=polished.iterations + relaxed.iterations + found.iterations,
    )


def allocate_dense(
    mean: np.ndarray,
    variance: np.ndarray,
    k_max: int,
    useful: np.ndarray | None = None,
    allowed: np.ndarray | None = None,
    coherence: str | np.ndarray = "ideal",
    warm: Warm | None = None,
) -> Allocation:
    """Serving sets and powers from dense couplings; see `problem_from_dense` and `allocate` for the rest.

    mean : [user, stream, sat] complex; variance : [user, stream, sat]; powers come back a pair:
    pairs in order of user, then satellite, so p.reshape(user, sat) when all are allowed.
    """
    return allocate(problem_from_dense(mean, variance, useful, allowed, coherence), k_max, warm)


def max_min(
    problem: Problem,
    support: np.ndarray | None = None,
    warm: Warm | None = None,
    tol_bit: float = LARGEST_GAP_BIT,
    max_iterations: int = 400,
    raise_tol_bit: float = 2e-4,
    raise_levels: bool = True,
    fallback: bool = True,
) -> Allocation:
    """Powers that maximise the minimum SINR, then raise it lexicographically, on a given support.

    Global optimum of (29) without the sparsity constraint (quasi-convex), by uplink-downlink duality:
    with prices lam (satellites) and virtual powers q (users) on their simplices and
    S_k = sum_j q_j M_jk + diag(lam), every lam and q certify t <= max_k q_k r_k,
    r_k = max_{u >= 0} (b^T u)^2 / (u^T S_k u). Connected components are solved by themselves. In each,
    users whose share of the sensitivity of t is at least a tenth of the mean are frozen at the rate
    they have less `raise_tol_bit`, and the others raised, until nothing is gained.

    support : [pair] bool; None: all pairs. Users with no useful pair in it are not served.
    tol_bit : largest certificate gap (bit/s/Hz) before the conic program takes over, if `fallback`
    raise_tol_bit : rate (bit/s/Hz) frozen users may lose to the raise; greater frees more power
    Raises ValueError when the support has the wrong length.
    """
    n_pair = len(problem.useful)
    support = np.ones(n_pair, dtype=bool) if support is None else np.asarray(support, dtype=bool)
    if support.shape != (n_pair,):
        raise ValueError(f"support: expected [{n_pair}] (a flag a pair), got shape {support.shape}")
    served = np.bincount(problem.pair_user, support & (problem.useful > 0.0), problem.n_user) > 0
    lam0, q0 = _start(problem, warm)
    p = np.zeros(n_pair)
    lam, q = np.zeros(problem.n_sat), np.zeros(problem.n_user)
    level = np.full(problem.n_user, -1, dtype=np.int64)
    level_sinr: list[float] = []
    level_gap: list[float] = []
    upper, gap, iterations, fallbacks = math.inf, 0.0, 0, 0
    solved: list[tuple[Part, Powers]] = []
    for part in parts(problem, served, support):
        found = solve_levels(
            part.problem,
            lam0[part.sats],
            q0[part.users],
            tol_bit,
            max_iterations,
            raise_tol_bit,
            raise_levels,
            fallback,
        )
        solved.append((part, found))
        p[part.pairs] = found.p
        lam[part.sats] = found.lam
        q[part.users] = found.q
        level[part.users] = found.level
        for i, value in enumerate(found.level_sinr):
            if i < len(level_sinr):
                level_sinr[i] = min(level_sinr[i], value)
                level_gap[i] = max(level_gap[i], found.level_gap_bit[i])
            else:
                level_sinr.append(value)
                level_gap.append(found.level_gap_bit[i])
        upper = min(upper, found.upper)
        gap = max(gap, found.gap_bit)
        iterations += found.iterations
        fallbacks += found.fallbacks
    bottleneck, without = _bottleneck(solved)
    p = _clean(problem, p)
    values = sinr(problem, p)
    some = bool(served.any())
    status = "empty" if not some else "inaccurate" if gap > tol_bit else "fallback" if fallbacks else "optimal"
    return Allocation(
        p=p,
        sinr=values,
        lower=float(values[served].min()) if some else 0.0,
        upper=upper if some else 0.0,
        gap_bit=gap,
        bound=upper if some else 0.0,
        iterations=iterations,
        status=status,
        served=served,
        reason=np.where(served, SERVED, NO_SATELLITE),
        support=support & (p > 0.0),
        level=level,
        level_sinr=np.array(level_sinr),
        level_gap_bit=np.array(level_gap),
        lam=lam,
        q=q,
        fallbacks=fallbacks,
        bottleneck=bottleneck,
        without=without,
    )


def _bottleneck(solved: list[tuple[Part, Powers]]) -> tuple[int, float]:
    """The bottleneck user of the poorest component, and what the others can have without it: row, SINR.

    A solve of that component without the user, from its prices and to a loose tolerance.
    """
    if not solved:
        return -1, math.nan
    order = sorted(solved, key=lambda x: x[1].level_sinr[0])
    part, powers = order[0]
    if powers.bottleneck < 0:
        return -1, math.nan
    problem = part.problem
    least = order[1][1].level_sinr[0] if len(order) > 1 else math.inf
    others = np.arange(problem.n_user) != powers.bottleneck
    kept = others[problem.pair_user]
    if others.any():
        now = sinr(problem, np.where(kept, powers.p, 0.0))
        for rest in parts(problem, others, kept):
            start = float(now[rest.users].min())
            if rate_difference(start, least) > 0.0:
                continue
            x = rest.problem
            level = solve_level(
                x,
                np.zeros(x.n_user),
                powers.lam[rest.sats],
                powers.q[rest.users],
                powers.p[rest.pairs],
                start,
                WITHOUT_TOL_BIT,
                WITHOUT_ITERATIONS,
                False,
            )
            least = min(least, level.lower)
    return int(part.users[powers.bottleneck]), least if math.isfinite(least) else math.nan


def _start_support(
    problem: Problem,
    users: np.ndarray,
    support: np.ndarray,
    k_max: int,
    warm: Warm | None,
    lam: np.ndarray,
    q: np.ndarray,
) -> Found | None:
    """The pairs used before as a place to begin, where K_max leaves little of what could be used."""
    if warm is None or warm.p is None or not far_over(problem, support, k_max):
        return None
    used = support & (np.asarray(warm.p, dtype=float) > 0.0)
    if not np.all(np.bincount(problem.pair_user, used, problem.n_user)[users] > 0):
        return None
    found = solve_support(problem, users, used, lam, q, 4.0 * LARGEST_GAP_BIT, False, np.where(used, warm.p, 0.0), 4)
    return found if found.lower > 0.0 else None


def _start(problem: Problem, warm: Warm | None) -> tuple[np.ndarray, np.ndarray]:
    lam = np.ones(problem.n_sat) if warm is None or warm.lam is None else np.asarray(warm.lam, float)
    q = np.ones(problem.n_user) if warm is None or warm.q is None else np.asarray(warm.q, float)
    p_shape = problem.useful.shape if warm is None or warm.p is None else np.shape(warm.p)
    if lam.shape != (problem.n_sat,) or q.shape != (problem.n_user,) or p_shape != problem.useful.shape:
        raise ValueError(f"warm: expected lam [{problem.n_sat}], q [{problem.n_user}] and p [{len(problem.useful)}]")
    return lam, q


def _clean(problem: Problem, p: np.ndarray) -> np.ndarray:
    """Amplitudes below SMALLEST_AMPLITUDE dropped (never a user's largest), budgets kept to the last bit."""
    largest = np.zeros(problem.n_user)
    np.maximum.at(largest, problem.pair_user, p)
    p = np.where((p >= SMALLEST_AMPLITUDE) | (p >= largest[problem.pair_user]), p, 0.0)
    load = np.bincount(problem.pair_sat, p**2, problem.n_sat)
    return p / np.sqrt(np.maximum(load, 1.0))[problem.pair_sat]
