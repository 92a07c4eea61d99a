"""The paper's own Algorithm 1 (Kim et al. 2024): reweighted l2 around successive convex approximation.

A reference for small problems, to compare `cell_free` with: seconds where that takes milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from leosim import allocation, conic, support, views
from leosim.couplings import Problem, sinr
from leosim.records import SERVED, Clusters, Solver, View


@dataclass(frozen=True)
class Params:
    """Limits of the clusters, and when the two loops end.

    k_max : users a satellite can serve; candidates : a user's highest satellites that may serve it;
    epsilon : of the weights `1 / (p^2 + epsilon)`; tolerance : relative change of the powers at which an
    inner loop has converged; zero : amplitudes up to it are none; most_inner, most_outer : iterations;
    most_pairs : size up to which all candidates take part: beyond it each user keeps its strongest ones.
    """

    k_max: int = field(default=8, metadata={"doc": "users a satellite can serve"})
    candidates: int = field(default=40, metadata={"doc": "a user's highest satellites that may serve it"})
    epsilon: float = field(default=1e-10, metadata={"doc": "regularisation of the l2 weights, Eq. (30)"})
    tolerance: float = field(default=1e-2, metadata={"doc": "relative change of powers that ends an inner loop"})
    zero: float = field(default=1e-3, metadata={"doc": "amplitudes up to it count as none"})
    most_inner: int = field(default=30, metadata={"doc": "convex programs of one inner loop, at most"})
    most_outer: int = field(default=20, metadata={"doc": "outer iterations, at most"})
    most_pairs: int = field(default=1000, metadata={"doc": "beyond it each user keeps its strongest candidates"})

    def __post_init__(self) -> None:
        for name in ("k_max", "candidates", "most_inner", "most_outer", "most_pairs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")
        for name in ("epsilon", "tolerance", "zero"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise ValueError(f"{name}: expected a number between 0 and 1, got {value!r}")


def cluster(view: View, previous: Clusters | None, params: Params) -> tuple[Clusters, Solver]:
    """Serving sets and powers by Algorithm 1, Kim et al. 2024, started afresh at each decision.

    Status `converged` (a local optimum within k_max: there is no certificate of optimality), or `inaccurate`
    when the loops ended above k_max and each satellite kept its strongest users, when a program failed, or
    when `most_pairs` left candidates out. The bounds of the certificate are those of `allocation`. Users without a
    candidate, or without room under k_max, are declared and leave the max-min; those who have waited longest get
    room first. Nothing is raised.
    """
    problem, order = views.problem(view)
    match, reason = support.assign(problem, params.k_max, views.waited(view, previous))
    served = reason == SERVED
    if not served.any():
        nobody = allocation.max_min(problem, np.zeros(order.size, dtype=bool))
        return views.decide(view, order, replace(nobody, reason=reason), previous=previous)
    allowed = served[problem.pair_user] & (problem.useful > 0.0)
    kept = _strongest(problem, allowed, match, max(1, params.most_pairs // int(served.sum())))
    found = algorithm_1(problem, kept, params, match)
    chosen = found.p > 0.0
    on_support = allocation.max_min(problem, chosen, raise_levels=False)
    without_limit = allocation.max_min(problem, allowed, raise_levels=False)
    complete = found.status == "converged" and bool(kept.sum() == allowed.sum())
    decided = replace(
        on_support,
        p=found.p,
        sinr=found.sinr,
        lower=float(found.sinr[served].min()),
        bound=without_limit.upper,
        iterations=sum(found.inner),
        status="converged" if complete else "inaccurate",
        reason=reason,
        support=chosen,
    )
    return views.decide(view, order, decided, previous=previous)


@dataclass(frozen=True)
class Outcome:
    """What Algorithm 1 ended with.

    p : [pair] amplitudes, within k_max (1); sinr : [user] (1)
    inner : convex programs solved in each outer iteration, so that its length counts those; after a cut, one
        more for the powers on what is left
    status : "converged" (within k_max by itself), "cut" (its strongest users left to each satellite),
        "failed" (a program had no usable solution; the last powers that had)
    """

    p: np.ndarray
    sinr: np.ndarray
    inner: tuple[int, ...]
    status: str


def outcome(view: View, params: Params) -> Outcome:
    """Algorithm 1 on all candidates of a view, with the programs of each of its loops."""
    problem, _ = views.problem(view)
    match, _ = support.assign(problem, params.k_max)
    return algorithm_1(problem, problem.useful > 0.0, params, match)


def algorithm_1(problem: Problem, allowed: np.ndarray, params: Params, match: np.ndarray) -> Outcome:
    """Algorithm 1, Kim et al. 2024, on the allowed pairs of a problem.

    Outer loop: weights `omega = 1 / (p^2 + epsilon)`, Eq. (30), until at most k_max amplitudes of each
    satellite are above `zero`. Inner loop: (37), with the useful power over t linearised at the last point, until
    the powers change by less than `tolerance`. Deviations, all of them errata: starts at p = 1 / sqrt(K)
    and t = the least SINR (0 / 0 as printed), the same weight for all in the first outer iteration; p and t are not
    reset at the later ones; epsilon stands in (30) as it is, not as its inverse.

    allowed : [pair] bool, pairs that may have power; match : [user] int, a pair each user may keep under
    k_max whatever happens, -1: none (see `support.assign`)
    """
    users = np.bincount(problem.pair_user, allowed, problem.n_user) > 0
    program = _program(problem, allowed, users, params.k_max)
    p = np.where(allowed, 1.0 / np.sqrt(users.sum()), 0.0)
    omega = np.ones(p.size)
    inner: list[int] = []
    status = "cut"
    while status == "cut" and len(inner) < params.most_outer:
        p, count, usable = _inner(program, p, omega, params)
        inner.append(count)
        if not usable:
            status = "failed"
        elif np.bincount(problem.pair_sat, p > params.zero, problem.n_sat).max() <= params.k_max:
            status = "converged"
        omega = 1.0 / (p**2 + params.epsilon)
    chosen = _within(problem, p, params.zero, match, params.k_max)
    p = np.where(chosen, np.maximum(p, params.zero), 0.0)
    if status == "cut":
        p, count, _ = _inner(_program(problem, chosen, users, params.k_max), p, np.ones(p.size), params)
        inner.append(count)
    load = np.bincount(problem.pair_sat, p**2, problem.n_sat)
    p = p / np.sqrt(np.maximum(load, 1.0))[problem.pair_sat]
    return Outcome(p, sinr(problem, p), tuple(inner), status)


def _inner(program: _Program, p: np.ndarray, omega: np.ndarray, params: Params) -> tuple[np.ndarray, int, bool]:
    """Powers after one inner loop, the programs it took, and whether the last one was of use."""
    for count in range(1, params.most_inner + 1):
        before, solved = p, program.solve(p, omega)
        if solved is None:
            return p, count, False
        p = solved
        if np.linalg.norm(p - before) <= params.tolerance * np.linalg.norm(before):
            break
    return p, count, True


# ---------------------------------------------------------------------------------------------
# P4 as a second-order cone program


@dataclass(frozen=True)
class _Program:
    """(37) in the cones of Clarabel: the structure, and the entries that change from one point to the next.

    Variables: amplitude of each allowed pair, then tau = t / t_prev. With I = useful / t_prev, constraint (37b) is
    `|Y p|^2 / I + 1 / I <= 2 useful(p_prev, p) / useful - tau`, a cone `(s + 1, 2 Y p / sqrt(I), s - 1)`.
    """

    problem: Problem
    pairs: np.ndarray
    users: np.ndarray
    form: conic.Canonical
    values: np.ndarray
    slopes: np.ndarray
    couplings: np.ndarray
    receiver: np.ndarray
    weights: np.ndarray
    head: np.ndarray
    rhs: np.ndarray

    def solve(self, p: np.ndarray, omega: np.ndarray) -> np.ndarray | None:
        """The powers that solve (37) linearised at p with weights omega; None when there are none to use."""
        x, t = self.problem, float(sinr(self.problem, p)[self.users].min())
        if not t > 0.0:
            return None
        gradient = x.useful if x.coherent else x.useful**2 * p
        total = np.where(self.users, np.bincount(x.pair_user, gradient * p, x.n_user), 1.0)
        useful = total**2 if x.coherent else total
        slope = (2.0 * gradient / total[x.pair_user])[self.pairs]
        scale = np.sqrt(t / useful)
        values = self.values.copy()
        values[self.slopes] = -np.concatenate([slope, slope])
        values[self.couplings] *= scale[self.receiver]
        values[self.weights] = -np.sqrt(omega[self.pairs])
        rhs = self.rhs.copy()
        noise = (t / useful)[self.users]
        rhs[self.head[:, 0]], rhs[self.head[:, 1]] = 1.0 - noise, -1.0 - noise
        objective = np.zeros(self.pairs.size + 1)
        objective[-1] = -1.0
        solved = conic.solve(self.form, values, rhs, objective)
        if not solved.usable:
            return None
        new = np.zeros(p.size)
        new[self.pairs] = np.maximum(solved.x[:-1], 0.0)
        load = np.bincount(x.pair_sat, new**2, x.n_sat)
        return new / np.sqrt(np.maximum(load, 1.0))[x.pair_sat]


def _program(problem: Problem, allowed: np.ndarray, users: np.ndarray, k_max: int) -> _Program:
    pairs = np.flatnonzero(allowed)
    column = np.full(allowed.size, -1)
    column[pairs] = np.arange(pairs.size)
    receiver, row, pair, coefficient = _interference(problem, allowed)
    # Rows of one receiver stand together, between the first and the last row of its cone.
    count = np.bincount(receiver, minlength=problem.n_user)[users]
    head = pairs.size + np.cumsum(count + 2) - (count + 2)
    last = head + count + 1
    order = np.lexsort((np.arange(receiver.size), receiver))
    place = np.empty(receiver.size, dtype=np.int64)
    start = np.zeros(problem.n_user, dtype=np.int64)
    start[users] = head + 1
    rank = np.arange(receiver.size) - np.searchsorted(receiver[order], receiver[order], side="left")
    place[order] = start[receiver[order]] + rank
    rows, cols = [np.arange(pairs.size)], [np.arange(pairs.size)]  # p >= 0
    user = np.cumsum(users)[problem.pair_user[pairs]] - 1
    tau = np.full(count.size, pairs.size)
    rows += [head[user], last[user], place[row], head, last]
    cols += [np.arange(pairs.size), np.arange(pairs.size), column[pair], tau, tau]
    values = [-np.ones(pairs.size), np.zeros(2 * pairs.size), -2.0 * coefficient, np.ones(2 * count.size)]
    cones: list[tuple[str, int]] = [("nonnegative", pairs.size), *(("second_order", int(n) + 2) for n in count)]
    end = int(pairs.size + (count + 2).sum())
    used, sat = np.unique(problem.pair_sat[pairs], return_inverse=True)
    size = np.bincount(sat, minlength=used.size) + 1
    by_sat = np.argsort(sat, kind="stable")
    within = np.empty(pairs.size, dtype=np.int64)
    within[by_sat] = np.arange(pairs.size) - np.searchsorted(sat[by_sat], sat[by_sat], side="left") + 1
    tops = []
    for _ in range(2):  # |p_l| <= 1, and |sqrt(omega) p_l| <= sqrt(K_max)
        top = end + np.cumsum(size) - size
        tops.append(top)
        rows.append(top[sat] + within)
        cols.append(np.arange(pairs.size))
        values.append(-np.ones(pairs.size))
        cones += [("second_order", int(n)) for n in size]
        end += int(size.sum())
    rhs = np.zeros(end)
    rhs[tops[0]], rhs[tops[1]] = 1.0, np.sqrt(k_max)
    first = 3 * pairs.size
    return _Program(
        problem=problem,
        pairs=pairs,
        users=users,
        form=conic.canonical(np.concatenate(rows), np.concatenate(cols), end, pairs.size + 1, tuple(cones)),
        values=np.concatenate(values),
        slopes=np.arange(pairs.size, first),
        couplings=np.arange(first, first + coefficient.size),
        receiver=receiver[row],
        weights=np.arange(sum(v.size for v in values) - pairs.size, sum(v.size for v in values)),
        head=np.stack([head, last], axis=1),
        rhs=rhs,
    )


def _interference(problem: Problem, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows Y with `interference of k = |Y_k p|^2`: receiver of each row; row, pair and value of each entry."""
    pair = np.repeat(np.arange(allowed.size), np.diff(problem.var_ptr))
    some = np.flatnonzero(allowed[pair] & (problem.variance > 0.0))
    receivers, rows = [problem.receivers()[some]], [np.arange(some.size)]
    pairs, values = [pair[some]], [np.sqrt(problem.variance[some])]
    count = some.size
    for k in range(problem.n_user):
        a = np.arange(problem.pair_ptr[k], problem.pair_ptr[k + 1])
        f = problem.factor[problem.factor_ptr[k] : problem.factor_ptr[k + 1]].reshape(-1, a.size)
        i, c = np.nonzero(f * allowed[a])
        used, place = np.unique(i, return_inverse=True)
        receivers.append(problem.nb_user[problem.nb_ptr[k] + problem.row_at[problem.row_ptr[k] + used]])
        rows.append(count + place)
        pairs.append(a[c])
        values.append(f[i, c])
        count += used.size
    return np.concatenate(receivers), np.concatenate(rows), np.concatenate(pairs), np.concatenate(values)


# ---------------------------------------------------------------------------------------------
# Limits


def _strongest(problem: Problem, allowed: np.ndarray, match: np.ndarray, count: int) -> np.ndarray:
    """The `count` strongest allowed pairs of each user, and the pair of its match: [pair] bool."""
    order = np.lexsort((-problem.useful, ~allowed, problem.pair_user))
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size) - problem.pair_ptr[problem.pair_user[order]]
    kept = allowed & (rank < count)
    kept[match[match >= 0]] = True
    return kept


def _within(problem: Problem, p: np.ndarray, zero: float, match: np.ndarray, k_max: int) -> np.ndarray:
    """The k_max strongest pairs of each satellite above `zero`; nobody is left without one: [pair] bool.

    A user that would be is given the pair of its match, before all others.
    """
    protected = np.zeros(p.size, dtype=bool)
    sat = problem.pair_sat
    while True:
        order = np.lexsort((-p, ~protected, sat))
        rank = np.empty(order.size, dtype=np.int64)
        rank[order] = np.arange(order.size) - np.searchsorted(sat[order], sat[order])
        kept = (protected | (p > zero)) & (rank < k_max)
        alone = np.bincount(problem.pair_user, kept, problem.n_user) == 0
        lost = match[alone & (match >= 0)]
        if not lost.size:
            return kept
        protected[lost] = True
