"""Max-min power allocation for given couplings: who is served by which satellites, with what power.

An uplink-downlink duality fixed point with an exact certificate, the choice of a sparse support,
and a conic (Clarabel) fallback. Equations: Kim et al., "Cell-free massive non-terrestrial networks",
IEEE JSAC 2024, (27)-(32), noise power and every satellite's budget scaled to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numba import njit

from leosim import conic

kernel: Any = njit(cache=True, nogil=True)
fast_kernel: Any = njit(cache=True, nogil=True, fastmath={"contract", "arcp", "reassoc", "nsz"})

SMALLEST_AMPLITUDE = 1e-6  # amplitudes below it are dropped
LARGEST_GAP_BIT = 5e-4  # certificate gap (bit/s/Hz) above which the conic program decides
PRICE_EXPONENT = 0.55  # undamped (1) diverges in about one case of ten
BOTTLENECK_SHARE = 0.1  # of the mean sensitivity: users above it are the bottleneck of a level
LEVEL_ITERATIONS = 30  # of a level above the first, which has no conic fallback
SMOOTHING = 0.1  # share of uniform prices in the scores of pairs: first-order effects are local
SWAP_GOAL = 2.5e-3  # swaps end when the minimum rate is within this fraction of the bound
SMALLEST_SWAP = 3e-4  # or when all of them together promise less than this share of the SINR
SMALLEST_RAISE_BIT = 1e-3  # a level that gains less ends the lexicographic raise

SERVED, NO_SATELLITE, NO_ROOM = 0, 1, 2
REASONS = ("served", "no satellite", "no room")


@dataclass(frozen=True)
class Problem:
    """Couplings of every stream, ragged; noise power 1 and every satellite's budget 1.

    Stream k has n_k pairs (satellites that may send it) and disturbs m_k receivers, itself included.

    pair_ptr : [user+1] int, first pair of each user
    pair_sat : [pair] int, satellite of each pair, ascending within a user
    useful : [pair] float >= 0, amplitude b of the useful mean coupling, Eq. (28) (1)
    nb_ptr : [user+1] int; nb_user : [receiver] int, receivers stream k disturbs, ascending
    var_ptr : [user+1] int; variance : flat, stream k a C-order (m_k, n_k) matrix V_jk (1)
    row_ptr : [user+1] int; row_user : [row] int, receiver each factor row of stream k falls on
    factor_ptr : [user+1] int; factor : flat, stream k a C-order (rows, n_k) matrix F_jk (1)
    coherent : useful power (sum_l b p)^2, else sum_l b^2 p^2 (then there are no factor rows)
    """

    n_user: int
    n_sat: int
    pair_ptr: np.ndarray
    pair_sat: np.ndarray
    useful: np.ndarray
    nb_ptr: np.ndarray
    nb_user: np.ndarray
    var_ptr: np.ndarray
    variance: np.ndarray
    row_ptr: np.ndarray
    row_user: np.ndarray
    factor_ptr: np.ndarray
    factor: np.ndarray
    coherent: bool = True

    @property
    def pair_user(self) -> np.ndarray:
        """User of each pair: [pair] int."""
        return np.repeat(np.arange(self.n_user), np.diff(self.pair_ptr))

    def arrays(self) -> tuple[Any, ...]:
        """The arrays in the order the kernels take them."""
        return (
            self.pair_ptr,
            self.pair_sat,
            self.useful,
            self.nb_ptr,
            self.nb_user,
            self.var_ptr,
            self.variance,
            self.row_ptr,
            self.row_user,
            self.factor_ptr,
            self.factor,
        )


@dataclass(frozen=True)
class Warm:
    """Where to start: what the previous allocation ended with.

    lam : [sat] prices of the satellites' budgets, sum 1; q : [user] virtual uplink powers, sum 1
    support : [pair] bool, pairs of the previous support, on the pairs of the new problem
    """

    lam: np.ndarray | None = None
    q: np.ndarray | None = None
    support: np.ndarray | None = None


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
    served : [user] bool; reason : [user] int, see REASONS
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

    @property
    def warm(self) -> Warm:
        """The state to start the next allocation from."""
        return Warm(self.lam, self.q, self.support)


# ---------------------------------------------------------------------------------------------
# Building problems


def problem_from_dense(
    mean: np.ndarray,
    variance: np.ndarray,
    useful: np.ndarray | None = None,
    allowed: np.ndarray | None = None,
    coherence: str | np.ndarray = "ideal",
) -> Problem:
    """Problem from dense couplings.

    mean : [user, stream, sat] complex, E_kjl; variance : [user, stream, sat] >= 0, V_kjl (1)
    useful : [user, sat] >= 0, b; None: |E_kkl|
    allowed : [user, sat] bool, satellites that may serve each user; None: all
    coherence : "ideal", "averaged" (V + |E|^2, no rows), "noncoherent" (averaged, useful powers add),
        or Gamma [user, stream, sat, sat], correlation of the cross terms (positive semidefinite).
    Raises ValueError on shapes, negative variances or an unknown coherence.
    """
    mean = np.asarray(mean, dtype=complex)
    variance = np.asarray(variance, dtype=float)
    if mean.ndim != 3 or mean.shape[0] != mean.shape[1]:
        raise ValueError(f"mean: expected [user, stream, sat], got shape {mean.shape}")
    if variance.shape != mean.shape:
        raise ValueError(f"variance: expected the shape of mean {mean.shape}, got {variance.shape}")
    n_user, _, n_sat = mean.shape
    if useful is None:
        useful = np.abs(mean[np.arange(n_user), np.arange(n_user)])
    useful = np.asarray(useful, dtype=float)
    allowed = np.ones((n_user, n_sat), bool) if allowed is None else np.asarray(allowed, dtype=bool)
    if useful.shape != (n_user, n_sat) or allowed.shape != (n_user, n_sat):
        raise ValueError(f"useful and allowed: expected ({n_user}, {n_sat})")
    gamma = coherence if isinstance(coherence, np.ndarray) else None
    if gamma is None and coherence not in ("ideal", "averaged", "noncoherent"):
        raise ValueError(f"coherence: expected ideal, averaged, noncoherent or an array, got {coherence!r}")
    if gamma is not None and gamma.shape != (n_user, n_user, n_sat, n_sat):
        raise ValueError(f"Gamma: expected ({n_user}, {n_user}, {n_sat}, {n_sat}), got {gamma.shape}")
    pairs = [np.flatnonzero(allowed[k]) for k in range(n_user)]
    variances, factors, row_users = [], [], []
    for k in range(n_user):
        v = variance[:, k, :][:, pairs[k]].copy()
        rows: list[np.ndarray] = []
        owner: list[int] = []
        for j in range(n_user):
            e = mean[j, k, pairs[k]]
            if j == k or not np.any(e):
                continue
            if gamma is not None:
                new = _factor_rows(e, gamma[j, k][np.ix_(pairs[k], pairs[k])])
            elif coherence == "ideal":
                new = np.stack([e.real, e.imag])
            else:
                v[j] += np.abs(e) ** 2
                continue
            rows.extend(new)
            owner.extend([j] * len(new))
        variances.append(v)
        factors.append(np.array(rows).reshape(len(rows), len(pairs[k])))
        row_users.append(np.array(owner, dtype=np.int64))
    if any(np.any(v < 0) for v in variances) or np.any(useful < 0):
        raise ValueError("variance and useful: expected no negative entry")
    return Problem(
        n_user=n_user,
        n_sat=n_sat,
        pair_ptr=_pointers([len(x) for x in pairs]),
        pair_sat=np.concatenate([*pairs, np.zeros(0, np.int64)]).astype(np.int64),
        useful=np.concatenate([*(useful[k, pairs[k]] for k in range(n_user)), np.zeros(0)]),
        nb_ptr=np.arange(n_user + 1, dtype=np.int64) * n_user,
        nb_user=np.tile(np.arange(n_user, dtype=np.int64), n_user),
        var_ptr=_pointers([x.size for x in variances]),
        variance=np.concatenate([*(x.ravel() for x in variances), np.zeros(0)]),
        row_ptr=_pointers([len(x) for x in row_users]),
        row_user=np.concatenate([*row_users, np.zeros(0, np.int64)]),
        factor_ptr=_pointers([x.size for x in factors]),
        factor=np.concatenate([*(x.ravel() for x in factors), np.zeros(0)]),
        coherent=gamma is not None or coherence != "noncoherent",
    )


def _factor_rows(e: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Rows F with F^T F = Re[(E E^H) o Gamma], eigenvalues below 1e-12 of the trace dropped."""
    matrix = (np.outer(e, e.conj()) * gamma).real
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    keep = values > 1e-12 * max(np.trace(matrix), 0.0)
    return np.sqrt(values[keep])[:, None] * vectors[:, keep].T


def _pointers(sizes: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)


ARRAYS = tuple(f.name for f in fields(Problem) if f.name not in ("n_user", "n_sat", "coherent"))


def _problem(n_user: int, n_sat: int, arrays: Sequence[np.ndarray], coherent: bool) -> Problem:
    named: dict[str, Any] = dict(zip(ARRAYS, arrays, strict=True))
    return Problem(n_user=n_user, n_sat=n_sat, coherent=coherent, **named)


def problem_from_blocks(
    n_user: int,
    sat_recv_ptr: np.ndarray,
    recv_user: np.ndarray,
    sat_stream_ptr: np.ndarray,
    stream_user: np.ndarray,
    block_ptr: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    useful: np.ndarray,
    coherence: str = "ideal",
) -> Problem:
    """Problem from couplings stored as a block a satellite.

    sat_recv_ptr : [sat+1] int; recv_user : users in view of each satellite
    sat_stream_ptr : [sat+1] int; stream_user : users each satellite may serve
    block_ptr : [sat+1] int; block l of mean (complex) and variance is C-order (receivers, streams):
        from satellite l's stream of stream_user onto recv_user
    useful : [stream] float >= 0, b of each (satellite, stream)
    coherence : "ideal", "averaged" or "noncoherent", as in problem_from_dense.
    Raises ValueError on an unknown coherence or sizes that disagree.
    """
    if coherence not in ("ideal", "averaged", "noncoherent"):
        raise ValueError(f"coherence: expected ideal, averaged or noncoherent, got {coherence!r}")
    integers = [
        np.ascontiguousarray(x, dtype=np.int64)
        for x in (sat_recv_ptr, recv_user, sat_stream_ptr, stream_user, block_ptr)
    ]
    n_sat = len(integers[0]) - 1
    sizes = np.diff(integers[0]) * np.diff(integers[2])
    if len(integers[4]) != n_sat + 1 or not np.array_equal(np.diff(integers[4]), sizes):
        raise ValueError("block_ptr: expected (receivers x streams) entries a satellite")
    if mean.size != integers[4][-1] or variance.size != mean.size or useful.size != integers[3].size:
        raise ValueError("mean, variance, useful: sizes disagree with block_ptr and stream_user")
    arrays = _blocks_to_streams(
        n_user,
        *integers,
        np.ascontiguousarray(mean, dtype=np.complex128).ravel(),
        np.ascontiguousarray(variance, dtype=np.float64).ravel(),
        np.ascontiguousarray(useful, dtype=np.float64).ravel(),
        coherence == "ideal",
    )
    return _problem(n_user, n_sat, arrays, coherence != "noncoherent")


@kernel
def _blocks_to_streams(n_user, recv_ptr, recv_user, stream_ptr, stream_user, block_ptr, mean, variance, useful, ideal):  # type: ignore[no-untyped-def]
    n_sat = len(recv_ptr) - 1
    pair_ptr = np.zeros(n_user + 1, np.int64)
    for e in range(len(stream_user)):
        pair_ptr[stream_user[e] + 1] += 1
    for k in range(n_user):
        pair_ptr[k + 1] += pair_ptr[k]
    n_pair = pair_ptr[n_user]
    pair_sat = np.empty(n_pair, np.int64)
    pair_col = np.empty(n_pair, np.int64)
    pair_useful = np.empty(n_pair)
    fill = pair_ptr[:-1].copy()
    for l in range(n_sat):
        for e in range(stream_ptr[l], stream_ptr[l + 1]):
            a = fill[stream_user[e]]
            fill[stream_user[e]] += 1
            pair_sat[a] = l
            pair_col[a] = e - stream_ptr[l]
            pair_useful[a] = useful[e]
    nb_ptr = np.zeros(n_user + 1, np.int64)
    var_ptr = np.zeros(n_user + 1, np.int64)
    row_ptr = np.zeros(n_user + 1, np.int64)
    factor_ptr = np.zeros(n_user + 1, np.int64)
    mark = np.full(n_user, -1, np.int64)
    for k in range(n_user):
        mark[k] = k
        count = 1
        for a in range(pair_ptr[k], pair_ptr[k + 1]):
            for e in range(recv_ptr[pair_sat[a]], recv_ptr[pair_sat[a] + 1]):
                if mark[recv_user[e]] != k:
                    mark[recv_user[e]] = k
                    count += 1
        n = pair_ptr[k + 1] - pair_ptr[k]
        rows = 2 * (count - 1) if ideal else 0
        nb_ptr[k + 1] = nb_ptr[k] + count
        var_ptr[k + 1] = var_ptr[k] + count * n
        row_ptr[k + 1] = row_ptr[k] + rows
        factor_ptr[k + 1] = factor_ptr[k] + rows * n
    nb_user = np.empty(nb_ptr[n_user], np.int64)
    out_variance = np.zeros(var_ptr[n_user])
    row_user = np.empty(row_ptr[n_user], np.int64)
    factor = np.zeros(factor_ptr[n_user])
    place = np.full(n_user, -1, np.int64)
    for k in range(n_user):
        found = np.zeros(nb_ptr[k + 1] - nb_ptr[k], np.int64)
        found[0] = k
        place[k] = 0
        count = 1
        for a in range(pair_ptr[k], pair_ptr[k + 1]):
            for e in range(recv_ptr[pair_sat[a]], recv_ptr[pair_sat[a] + 1]):
                if place[recv_user[e]] < 0:
                    place[recv_user[e]] = 0
                    found[count] = recv_user[e]
                    count += 1
        found.sort()
        row = 0
        for i in range(count):
            j = found[i]
            place[j] = i
            nb_user[nb_ptr[k] + i] = j
            if ideal and j != k:
                row_user[row_ptr[k] + row] = j
                row_user[row_ptr[k] + row + 1] = j
                row += 2
        own = place[k]
        n = pair_ptr[k + 1] - pair_ptr[k]
        for c in range(n):
            a = pair_ptr[k] + c
            l = pair_sat[a]
            n_stream = stream_ptr[l + 1] - stream_ptr[l]
            for e in range(recv_ptr[l], recv_ptr[l + 1]):
                j = recv_user[e]
                at = block_ptr[l] + (e - recv_ptr[l]) * n_stream + pair_col[a]
                v = variance[at]
                i = place[j]
                if j != k:
                    if ideal:
                        r = 2 * (i - 1 if i > own else i)
                        factor[factor_ptr[k] + r * n + c] = mean[at].real
                        factor[factor_ptr[k] + (r + 1) * n + c] = mean[at].imag
                    else:
                        v += mean[at].real ** 2 + mean[at].imag ** 2
                out_variance[var_ptr[k] + i * n + c] = v
        for i in range(count):
            place[found[i]] = -1
    return (
        pair_ptr,
        pair_sat,
        pair_useful,
        nb_ptr,
        nb_user,
        var_ptr,
        out_variance,
        row_ptr,
        row_user,
        factor_ptr,
        factor,
    )


# ---------------------------------------------------------------------------------------------
# Scoring


def sinr(problem: Problem, p: np.ndarray) -> np.ndarray:
    """SINR of every user, Eq. (22) in the form of the coupling matrices: useful / (sum_j p^T M p + 1).

    p : [pair] amplitudes >= 0 (1). Returns [user] (1).
    """
    return _sinr(*problem.arrays(), np.ascontiguousarray(p, dtype=float), problem.coherent)


@fast_kernel
def _gains(ptr, sat, b, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f, u, coherent, gain, num):  # type: ignore[no-untyped-def]
    # gain[e]: u_j^T M_kj u_j of stream j onto receiver nb_user[e]; num: useful power of each stream
    for k in range(len(ptr) - 1):
        a0 = ptr[k]
        n = ptr[k + 1] - a0
        total = 0.0
        for c in range(n):
            if coherent:
                total += b[a0 + c] * u[a0 + c]
            else:
                total += (b[a0 + c] * u[a0 + c]) ** 2
        num[k] = total * total if coherent else total
        for e in range(nb_ptr[k], nb_ptr[k + 1]):
            v0 = var_ptr[k] + (e - nb_ptr[k]) * n
            total = 0.0
            for c in range(n):
                total += var[v0 + c] * u[a0 + c] * u[a0 + c]
            gain[e] = total
        e = nb_ptr[k]
        for r in range(row_ptr[k], row_ptr[k + 1]):
            f0 = f_ptr[k] + (r - row_ptr[k]) * n
            total = 0.0
            for c in range(n):
                total += f[f0 + c] * u[a0 + c]
            if nb_user[e] > row_user[r]:
                e = nb_ptr[k]
            while nb_user[e] != row_user[r]:
                e += 1
            gain[e] += total * total


@fast_kernel
def _sinr(ptr, sat, b, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f, p, coherent):  # type: ignore[no-untyped-def]
    n_user = len(ptr) - 1
    gain = np.empty(len(nb_user))
    num = np.empty(n_user)
    _gains(ptr, sat, b, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f, p, coherent, gain, num)
    noise = np.ones(n_user)
    for e in range(len(nb_user)):
        noise[nb_user[e]] += gain[e]
    return num / noise


# ---------------------------------------------------------------------------------------------
# The fixed point


@fast_kernel
def _cholesky_solve(s, index, m, rhs, chol, x):  # type: ignore[no-untyped-def]
    # x = s[index, index]^-1 rhs[index] by Cholesky; rows of chol are contiguous
    for i in range(m):
        row = index[i]
        for j in range(i + 1):
            col = index[j]
            total = s[row, col] if row >= col else s[col, row]
            for c in range(j):
                total -= chol[i, c] * chol[j, c]
            if j < i:
                chol[i, j] = total * chol[j, j]  # the diagonal holds reciprocals
            else:
                chol[i, i] = 1.0 / math.sqrt(max(total, 1e-14 * s[row, row]))
    for i in range(m):
        total = rhs[index[i]]
        for c in range(i):
            total -= chol[i, c] * x[c]
        x[i] = total * chol[i, i]
    for i in range(m - 1, -1, -1):
        value = x[i] * chol[i, i]
        x[i] = value
        for c in range(i):
            x[c] -= chol[i, c] * value


@fast_kernel
def _uplink_matrix(k, lam, q, ptr, sat, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f, s, g):  # type: ignore[no-untyped-def]
    # S_k = sum_j q_j M_jk + diag(lam), lower triangle
    n = ptr[k + 1] - ptr[k]
    for i in range(n):
        for j in range(i + 1):
            s[i, j] = 0.0
    for c in range(n):
        s[c, c] = lam[sat[ptr[k] + c]]
    for e in range(nb_ptr[k], nb_ptr[k + 1]):
        weight = q[nb_user[e]]
        v0 = var_ptr[k] + (e - nb_ptr[k]) * n
        for c in range(n):
            s[c, c] += weight * var[v0 + c]
    rows = row_ptr[k + 1] - row_ptr[k]
    if rows == 0:
        return
    for r in range(rows):
        weight = math.sqrt(q[row_user[row_ptr[k] + r]])
        f0 = f_ptr[k] + r * n
        for c in range(n):
            g[r, c] = weight * f[f0 + c]
    r = 0
    while r + 4 <= rows:
        g0, g1, g2, g3 = g[r], g[r + 1], g[r + 2], g[r + 3]
        for i in range(n):
            x0, x1, x2, x3 = g0[i], g1[i], g2[i], g3[i]
            line = s[i]
            for j in range(i + 1):
                line[j] += x0 * g0[j] + x1 * g1[j] + x2 * g2[j] + x3 * g3[j]
        r += 4
    while r < rows:
        for i in range(n):
            for j in range(i + 1):
                s[i, j] += g[r, i] * g[r, j]
        r += 1


@fast_kernel
def _direction(n, s, b, passive, u, slack, index, chol, x, diagonal):  # type: ignore[no-untyped-def]
    # max (b^T u)^2 / (u^T S u), u >= 0, as the least-squares problem S u = b with block principal
    # pivoting from the given passive set; slack = S u - b. False: not finished.
    top = 0.0
    for c in range(n):
        top = max(top, b[c])
    if diagonal:
        for c in range(n):
            u[c] = b[c] / s[c, c]
            slack[c] = 0.0
            passive[c] = True
        return True
    fewest = n + 1
    tries = 3
    for _ in range(3 * n + 30):
        m = 0
        for c in range(n):
            u[c] = 0.0
            if passive[c]:
                index[m] = c
                m += 1
        _cholesky_solve(s, index, m, b, chol, x)
        largest = 0.0
        for i in range(m):
            u[index[i]] = x[i]
            largest = max(largest, x[i])
        for c in range(n):
            slack[c] = -b[c]
        for i in range(n):
            total = 0.0
            value = u[i]
            for j in range(i):
                total += s[i, j] * u[j]
                slack[j] += s[i, j] * value
            slack[i] += total + s[i, i] * value
        wrong = 0
        last = -1
        for c in range(n):
            if (passive[c] and u[c] < -1e-13 * largest) or (not passive[c] and slack[c] < -1e-11 * top):
                wrong += 1
                last = c
        if wrong == 0:
            for c in range(n):
                u[c] = max(u[c], 0.0)
            return True
        if wrong < fewest:
            fewest = wrong
            tries = 3
        elif tries > 0:
            tries -= 1
        else:
            passive[last] = not passive[last]
            continue
        for c in range(n):
            if (passive[c] and u[c] < -1e-13 * largest) or (not passive[c] and slack[c] < -1e-11 * top):
                passive[c] = not passive[c]
    for c in range(n):
        u[c] = max(u[c], 0.0)
    return False


@fast_kernel
def _balance(ptr, sat, n_sat, nb_ptr, nb_user, gain, num, square, target, s, load, fixed_load, rounds, precise):  # type: ignore[no-untyped-def]
    # Downlink powers s for given directions: frozen users exactly at their target, the others at one
    # common SINR t, as large as the fullest satellite allows. Returns t (-1: targets not reachable).
    n_user = len(ptr) - 1
    y = np.empty(n_user)
    t = -1.0
    for _ in range(rounds):
        y[:] = 1.0
        for k in range(n_user):
            for e in range(nb_ptr[k], nb_ptr[k + 1]):
                y[nb_user[e]] += gain[e] * s[k]
        load[:] = 0.0
        fixed_load[:] = 0.0
        for k in range(n_user):
            y[k] /= num[k]
            if target[k] > 0.0:
                y[k] *= target[k]
                for a in range(ptr[k], ptr[k + 1]):
                    fixed_load[sat[a]] += y[k] * square[a]
            else:
                for a in range(ptr[k], ptr[k + 1]):
                    load[sat[a]] += y[k] * square[a]
        t = 1e300
        for l in range(n_sat):
            if load[l] > 0.0:
                t = min(t, (1.0 - fixed_load[l]) / load[l])
            elif fixed_load[l] > 1.0:
                t = -1.0
        if t <= 0.0:
            return -1.0
        change = 0.0
        for k in range(n_user):
            new = y[k] if target[k] > 0.0 else t * y[k]
            change = max(change, abs(new - s[k]) / new)
            s[k] = new
        if change < precise:
            break
    for l in range(n_sat):
        load[l] = fixed_load[l] + t * load[l]
    return t


@fast_kernel
def _uplink_balance(nb_ptr, nb_user, gain, num, own, target, q, rounds, precise):  # type: ignore[no-untyped-def]
    # Virtual uplink powers for given directions: frozen users at their target, the others at one
    # common SINR, sum q = 1.
    n_user = len(num)
    y = np.empty(n_user)
    for _ in range(rounds):
        frozen = 0.0
        free = 0.0
        for k in range(n_user):
            total = own[k]
            for e in range(nb_ptr[k], nb_ptr[k + 1]):
                total += gain[e] * q[nb_user[e]]
            y[k] = total / num[k]
            if target[k] > 0.0:
                y[k] *= target[k]
                frozen += y[k]
            else:
                free += y[k]
        scale = max(1.0 - frozen, 1e-3) / free
        total = 0.0
        for k in range(n_user):
            if target[k] <= 0.0:
                y[k] *= scale
            total += y[k]
        change = 0.0
        for k in range(n_user):
            new = y[k] / total
            change = max(change, abs(new - q[k]) / new)
            q[k] = new
        if change < precise:
            break


@fast_kernel
def _worst(nb_ptr, nb_user, gain, num, target, s):  # type: ignore[no-untyped-def]
    # smallest SINR of the users that are not frozen; -1 when a frozen one misses its target
    n_user = len(num)
    y = np.ones(n_user)
    for k in range(n_user):
        for e in range(nb_ptr[k], nb_ptr[k + 1]):
            y[nb_user[e]] += gain[e] * s[k]
    t = 1e300
    for k in range(n_user):
        value = num[k] * s[k] / y[k]
        if target[k] > 0.0:
            if value < target[k] * (1.0 - 1e-7):
                return -1.0
        else:
            t = min(t, value)
    return t


@fast_kernel
def _fixed_point(  # type: ignore[no-untyped-def]
    ptr,
    sat,
    b,
    nb_ptr,
    nb_user,
    var_ptr,
    var,
    row_ptr,
    row_user,
    f_ptr,
    f,
    n_sat,
    target,
    lam,
    q,
    passive,
    p_best,
    lower,
    tol_bit,
    max_iterations,
):
    """One level of the max-min by uplink-downlink duality; coherent useful power.

    lam, q, passive and p_best are updated in place: best prices, and best powers above `lower`.
    Returns (lower, upper, iterations).
    """
    n_user = len(ptr) - 1
    n_max = 0
    rows_max = 0
    for k in range(n_user):
        n_max = max(n_max, ptr[k + 1] - ptr[k])
        rows_max = max(rows_max, row_ptr[k + 1] - row_ptr[k])
    s_matrix = np.zeros((n_max, n_max))
    g = np.zeros((rows_max, n_max))
    chol = np.zeros((n_max, n_max))
    x = np.zeros(n_max)
    index = np.zeros(n_max, np.int64)
    slack = np.zeros(n_max)
    u = np.zeros(ptr[n_user])
    v = np.zeros(ptr[n_user])
    square = np.zeros(ptr[n_user])
    r = np.zeros(n_user)
    r_safe = np.zeros(n_user)
    gain = np.zeros(len(nb_user))
    num = np.zeros(n_user)
    own = np.zeros(n_user)
    power = np.zeros(n_user)
    power_clip = np.zeros(n_user)
    load = np.zeros(n_sat)
    price_load = np.zeros(n_sat)
    scratch = np.zeros(n_sat)
    lam_best = lam.copy()
    q_best = q.copy()
    upper = np.inf
    exponent = np.full(n_sat, PRICE_EXPONENT)
    misfit_before = np.zeros(n_sat)
    rounds = 60 if target.max() > 0.0 else 30
    start = lower
    iteration = 0
    while iteration < max_iterations:
        iteration += 1
        exact = True
        for k in range(n_user):
            a, z = ptr[k], ptr[k + 1]
            _uplink_matrix(k, lam, q, ptr, sat, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f, s_matrix, g)
            n = z - a
            done = _direction(
                n, s_matrix, b[a:z], passive[a:z], u[a:z], slack, index, chol, x, row_ptr[k + 1] == row_ptr[k]
            )
            exact = exact and done
            top = 0.0
            value = 0.0
            for c in range(n):
                top = max(top, b[a + c])
                value += b[a + c] * u[a + c]
            r[k] = value
            # safe value: S w >= b gives r <= w^T S w; w = u / (1 - short)
            short = 0.0
            quadratic = 0.0
            for c in range(n):
                quadratic += u[a + c] * (slack[c] + b[a + c])
                floor = max(b[a + c], 1e-9 * top)
                short = max(short, (floor - b[a + c] - slack[c]) / floor)
            r_safe[k] = quadratic / (1.0 - short) ** 2 if short < 0.5 else np.inf
        # certificate: sum_k (q_k / t_k - 1 / r_k) useful_k >= 0 for every feasible SINR vector t_k
        bound = 0.0
        inverse = 0.0
        excess = 0.0
        for k in range(n_user):
            if target[k] > 0.0:
                total = 0.0
                for a in range(ptr[k], ptr[k + 1]):
                    total += b[a]
                excess += max(0.0, q[k] / target[k] - 1.0 / r_safe[k]) * total * total
            else:
                bound = max(bound, q[k] * r_safe[k])
                inverse += 1.0 / r_safe[k]
        if exact and inverse > 0.0:
            bound += excess / inverse
            if bound < upper:
                upper = bound
                lam_best[:] = lam
                q_best[:] = q
        # downlink
        for a in range(ptr[n_user]):
            square[a] = u[a] * u[a]
        _gains(ptr, sat, b, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f, u, True, gain, num)
        if iteration == 1:
            for k in range(n_user):
                power[k] = 1.0 / num[k]
        t = _balance(ptr, sat, n_sat, nb_ptr, nb_user, gain, num, square, target, power, load, scratch, rounds, 1e-9)
        if t < 0.0:
            # targets out of reach with these directions: loads of the free balance steer the prices
            for k in range(n_user):
                power[k] = 1.0 / num[k]
            zero = np.zeros(n_user)
            _balance(ptr, sat, n_sat, nb_ptr, nb_user, gain, num, square, zero, power, load, scratch, 5, 1e-9)
        else:
            t = _worst(nb_ptr, nb_user, gain, num, target, power)
            full = 0.0
            for l in range(n_sat):
                full = max(full, load[l])
            if t > lower and full <= 1.0 + 1e-12:
                lower = t
                for k in range(n_user):
                    for a in range(ptr[k], ptr[k + 1]):
                        p_best[a] = u[a] * math.sqrt(power[k])
        mean_load = 0.0
        for l in range(n_sat):
            mean_load += lam[l] * load[l]
        for l in range(n_sat):
            price_load[l] = load[l] / mean_load
        # the same directions with the overloaded satellites turned down, balanced again
        for k in range(n_user):
            power_clip[k] = power[k] / mean_load
            for a in range(ptr[k], ptr[k + 1]):
                v[a] = u[a] / math.sqrt(max(1.0, price_load[sat[a]]))
                square[a] = v[a] * v[a]
        _gains(ptr, sat, b, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f, v, True, gain, num)
        t = _balance(
            ptr, sat, n_sat, nb_ptr, nb_user, gain, num, square, target, power_clip, load, scratch, rounds, 1e-9
        )
        if t > 0.0:
            t = _worst(nb_ptr, nb_user, gain, num, target, power_clip)
            full = 0.0
            for l in range(n_sat):
                full = max(full, load[l])
            if t > lower and full <= 1.0 + 1e-12:
                lower = t
                for k in range(n_user):
                    for a in range(ptr[k], ptr[k + 1]):
                        p_best[a] = v[a] * math.sqrt(power_clip[k])
        if upper < np.inf and lower > 0.0 and math.log2((1.0 + upper) / (1.0 + lower)) <= tol_bit:
            break
        if target.max() > 0.0 and (iteration >= 8 or upper < np.inf):
            # a level above the first: no gain found, or none to be found
            top = lower if iteration >= 8 else max(lower, upper)
            if math.log2((1.0 + top) / (1.0 + start)) < SMALLEST_RAISE_BIT:
                break
        # next prices and virtual powers
        total = 0.0
        for l in range(n_sat):
            misfit = math.log(max(price_load[l], 1e-4))
            if misfit * misfit_before[l] > 0.0:
                exponent[l] = min(exponent[l] * 1.3, 6.0)
            elif misfit * misfit_before[l] < 0.0:
                exponent[l] = max(exponent[l] * 0.5, 0.2)
            misfit_before[l] = misfit
            lam[l] = max(lam[l] * math.exp(min(max(exponent[l] * misfit, -3.0), 3.0)), 1e-10)
            total += lam[l]
        for l in range(n_sat):
            lam[l] /= total
        _gains(ptr, sat, b, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f, u, True, gain, num)
        for k in range(n_user):
            own[k] = 0.0
            for a in range(ptr[k], ptr[k + 1]):
                own[k] += lam[sat[a]] * u[a] * u[a]
        _uplink_balance(nb_ptr, nb_user, gain, num, own, target, q, 60, 1e-9)
    if upper < np.inf:
        lam[:] = lam_best
        q[:] = q_best
    return lower, upper, iteration


# ---------------------------------------------------------------------------------------------
# Parts of a problem


@kernel
def _restrict(ptr, sat, b, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f, n_sat, keep_user, keep_pair):  # type: ignore[no-untyped-def]
    # The problem of some users on some pairs, users and satellites renumbered; last three: where from.
    n_user = len(ptr) - 1
    user_of = np.full(n_user, -1, np.int64)
    users = np.empty(n_user, np.int64)
    n = 0
    for k in range(n_user):
        if keep_user[k]:
            user_of[k] = n
            users[n] = k
            n += 1
    users = users[:n].copy()
    sat_of = np.full(n_sat, -1, np.int64)
    n_pair = 0
    for i in range(n):
        for a in range(ptr[users[i]], ptr[users[i] + 1]):
            if keep_pair[a]:
                sat_of[sat[a]] = 0
                n_pair += 1
    sats = np.empty(n_sat, np.int64)
    m = 0
    for l in range(n_sat):
        if sat_of[l] == 0:
            sat_of[l] = m
            sats[m] = l
            m += 1
    sats = sats[:m].copy()
    pairs = np.empty(n_pair, np.int64)
    new_ptr = np.zeros(n + 1, np.int64)
    new_sat = np.empty(n_pair, np.int64)
    new_b = np.empty(n_pair)
    new_nb_ptr = np.zeros(n + 1, np.int64)
    new_nb = np.empty(len(nb_user), np.int64)
    new_var_ptr = np.zeros(n + 1, np.int64)
    new_var = np.empty(len(var))
    new_row_ptr = np.zeros(n + 1, np.int64)
    new_row = np.empty(len(row_user), np.int64)
    new_f_ptr = np.zeros(n + 1, np.int64)
    new_f = np.empty(len(f))
    at = 0
    nb_at = 0
    var_at = 0
    row_at = 0
    f_at = 0
    for i in range(n):
        k = users[i]
        start = at
        for a in range(ptr[k], ptr[k + 1]):
            if keep_pair[a]:
                pairs[at] = a
                new_sat[at] = sat_of[sat[a]]
                new_b[at] = b[a]
                at += 1
        width = ptr[k + 1] - ptr[k]
        for e in range(nb_ptr[k], nb_ptr[k + 1]):
            if user_of[nb_user[e]] >= 0:
                new_nb[nb_at] = user_of[nb_user[e]]
                nb_at += 1
                v0 = var_ptr[k] + (e - nb_ptr[k]) * width - ptr[k]
                for c in range(start, at):
                    new_var[var_at] = var[v0 + pairs[c]]
                    var_at += 1
        for r in range(row_ptr[k], row_ptr[k + 1]):
            if user_of[row_user[r]] >= 0:
                f0 = f_ptr[k] + (r - row_ptr[k]) * width - ptr[k]
                some = False
                before = f_at
                for c in range(start, at):
                    new_f[f_at] = f[f0 + pairs[c]]
                    some = some or new_f[f_at] != 0.0
                    f_at += 1
                if some:
                    new_row[row_at] = user_of[row_user[r]]
                    row_at += 1
                else:
                    f_at = before
        new_ptr[i + 1] = at
        new_nb_ptr[i + 1] = nb_at
        new_var_ptr[i + 1] = var_at
        new_row_ptr[i + 1] = row_at
        new_f_ptr[i + 1] = f_at
    return (
        new_ptr,
        new_sat,
        new_b,
        new_nb_ptr,
        new_nb[:nb_at].copy(),
        new_var_ptr,
        new_var[:var_at].copy(),
        new_row_ptr,
        new_row[:row_at].copy(),
        new_f_ptr,
        new_f[:f_at].copy(),
        users,
        sats,
        pairs,
    )


@kernel
def _components(ptr, sat, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, n_sat):  # type: ignore[no-untyped-def]
    # Component of each user: users sharing a satellite or coupled, numbered by their first user.
    n_user = len(ptr) - 1
    root = np.arange(n_user)
    owner = np.full(n_sat, -1, np.int64)

    def top(k):  # type: ignore[no-untyped-def]
        while root[k] != k:
            k = root[k]
        return k

    for k in range(n_user):
        for a in range(ptr[k], ptr[k + 1]):
            if owner[sat[a]] < 0:
                owner[sat[a]] = k
            else:
                x, y = top(k), top(owner[sat[a]])
                root[max(x, y)] = min(x, y)
        width = ptr[k + 1] - ptr[k]
        for e in range(nb_ptr[k], nb_ptr[k + 1]):
            x, y = top(k), top(nb_user[e])
            if x != y:
                v0 = var_ptr[k] + (e - nb_ptr[k]) * width
                for c in range(width):
                    if var[v0 + c] != 0.0:
                        root[max(x, y)] = min(x, y)
                        break
        for r in range(row_ptr[k], row_ptr[k + 1]):
            x, y = top(k), top(row_user[r])
            root[max(x, y)] = min(x, y)
    label = np.full(n_user, -1, np.int64)
    count = 0
    for k in range(n_user):
        x = top(k)
        if label[x] < 0:
            label[x] = count
            count += 1
        label[k] = label[x]
    return label, count


@dataclass(frozen=True)
class _Part:
    """A problem of its own cut out of a larger one, and where its users, satellites and pairs are there."""

    problem: Problem
    users: np.ndarray
    sats: np.ndarray
    pairs: np.ndarray


def _part(problem: Problem, keep_user: np.ndarray, keep_pair: np.ndarray) -> _Part:
    *arrays, users, sats, pairs = _restrict(*problem.arrays(), problem.n_sat, keep_user, keep_pair)
    return _Part(_problem(len(users), len(sats), arrays, problem.coherent), users, sats, pairs)


def _parts(problem: Problem, keep_user: np.ndarray, keep_pair: np.ndarray) -> list[_Part]:
    """The connected components, each a problem of its own."""
    whole = _part(problem, keep_user, keep_pair)
    x = whole.problem
    label, count = _components(
        x.pair_ptr,
        x.pair_sat,
        x.nb_ptr,
        x.nb_user,
        x.var_ptr,
        x.variance,
        x.row_ptr,
        x.row_user,
        x.n_sat,
    )
    if count <= 1:
        return [whole] if count == 1 else []
    parts = []
    for c in range(count):
        inside = np.zeros(problem.n_user, dtype=bool)
        inside[whole.users[label == c]] = True
        parts.append(_part(problem, inside, keep_pair))
    return parts


# ---------------------------------------------------------------------------------------------
# One level: the largest common SINR of the users that are not frozen


@dataclass(frozen=True)
class _Level:
    p: np.ndarray
    lower: float
    upper: float
    lam: np.ndarray
    q: np.ndarray
    iterations: int
    fallback: bool

    @property
    def gap_bit(self) -> float:
        return _rate_difference(self.upper, self.lower)


def _rate_difference(high: float, low: float) -> float:
    """log2(1 + high) - log2(1 + low) in bit/s/Hz."""
    return math.log2((1.0 + high) / (1.0 + low)) if high > low else 0.0


def _solve_level(
    problem: Problem,
    target: np.ndarray,
    lam: np.ndarray,
    q: np.ndarray,
    p: np.ndarray,
    lower: float,
    tol_bit: float,
    max_iterations: int,
    fallback: bool,
) -> _Level:
    """Largest t with SINR >= t for users of target 0 and SINR >= target for the others.

    target : [user]; lam, q : start; p, lower : a feasible point and its t (zeros: none).
    """
    if not problem.coherent:
        return _level_noncoherent(problem, target, p, lower, tol_bit)
    level = _run(problem, target, lam, q, p, lower, tol_bit, max_iterations)
    if level.gap_bit > tol_bit and fallback:
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
) -> _Level:
    lam, q, p = _on_simplex(lam), _on_simplex(q), p.copy()
    passive = p > 0.0 if p.any() else np.ones(len(problem.useful), dtype=np.bool_)
    if lower <= 0.0:
        p[:] = 0.0
    low, high, iterations = _fixed_point(
        *problem.arrays(), problem.n_sat, target, lam, q, passive, p, lower, tol_bit, max_iterations
    )
    return _Level(p, low, high, lam, q, iterations, False)


def _on_simplex(x: np.ndarray) -> np.ndarray:
    """A strictly positive copy with sum 1; uniform where x says nothing."""
    x = np.where(np.isfinite(x) & (x > 0.0), x, 0.0)
    total = x.sum()
    x = x / total if total > 0.0 else np.full(len(x), 1.0 / len(x))
    x = np.maximum(x, 1e-9)
    return x / x.sum()


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
        v = problem.variance[problem.var_ptr[k] : problem.var_ptr[k + 1]].reshape(-1, len(a))
        for i, e in enumerate(range(problem.nb_ptr[k], problem.nb_ptr[k + 1])):
            for c in np.flatnonzero(v[i]):
                by_receiver[problem.nb_user[e]].append((a[c : c + 1], np.sqrt(v[i, c : c + 1])))
        f = problem.factor[problem.factor_ptr[k] : problem.factor_ptr[k + 1]].reshape(-1, len(a))
        for i, r in enumerate(range(problem.row_ptr[k], problem.row_ptr[k + 1])):
            some = np.flatnonzero(f[i])
            by_receiver[problem.row_user[r]].append((a[some], f[i, some]))
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


def _level_conic(problem: Problem, target: np.ndarray, level: _Level, tol_bit: float) -> _Level:
    """Bisection over t of the cone program, from the bounds of `level`; its duals give new prices."""
    program = _cone_program(problem)
    objective = np.zeros(len(problem.useful) + 1)
    objective[-1] = 1.0
    free = target <= 0.0
    low, high = level.lower, level.upper
    for _ in range(25):
        if level.gap_bit <= tol_bit or _rate_difference(high, low) <= 0.1 * tol_bit:
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
        level = _Level(
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


def _level_noncoherent(problem: Problem, target: np.ndarray, p: np.ndarray, lower: float, tol_bit: float) -> _Level:
    """The level when useful powers add: linear in x = p^2, so Dinkelbach's steps over a linear program.

    max d, useful_k - t (interference_k + 1) >= d D_k, with t and D of the previous point.
    """
    n_user, n_sat, n_pair = problem.n_user, problem.n_sat, len(problem.useful)
    user = problem.pair_user
    b2 = problem.useful**2
    receivers, pairs, values = _variance_triplets(problem)
    own = receivers == user[pairs]
    x = p**2
    if not np.any(x > 0.0):
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
        if _rate_difference(upper, lower) <= tol_bit or iterations >= 25:
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
    return _Level(best, lower, upper, lam, q, iterations, False)


def _variance_triplets(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nonzero variances as (receiver, pair, value), each [entry]."""
    width = np.diff(problem.pair_ptr)
    stream = np.repeat(np.arange(problem.n_user), np.diff(problem.nb_ptr))
    start = problem.pair_ptr[stream]
    size = width[stream]
    receivers = np.repeat(problem.nb_user, size)
    offset = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    pairs = np.repeat(start, size) + offset
    keep = problem.variance != 0.0
    return receivers[keep], pairs[keep], problem.variance[keep]


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


# ---------------------------------------------------------------------------------------------
# Max-min powers on a support


@dataclass(frozen=True)
class _Powers:
    """All levels of one part: powers, level of each user, SINR and certificate of each level."""

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


def _solve_levels(
    problem: Problem,
    lam: np.ndarray,
    q: np.ndarray,
    tol_bit: float,
    max_iterations: int,
    raise_tol_bit: float,
    raise_levels: bool,
    fallback: bool,
) -> _Powers:
    """Lexicographic max-min of one connected part; levels above the first start from the one below."""
    n_user = problem.n_user
    target = np.zeros(n_user)
    raise_levels = raise_levels and n_user > 1
    first_tol = max(tol_bit - raise_tol_bit, 0.5 * tol_bit) if raise_levels else tol_bit
    first = _solve_level(
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
        following = _solve_level(
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
        if _rate_difference(following.lower, start) < SMALLEST_RAISE_BIT:
            break
        p = following.p
        level[free] = len(level_sinr)
        level_sinr.append(following.lower)
        level_gap.append(following.gap_bit)
        current = following
    return _Powers(
        p,
        level,
        level_sinr,
        level_gap,
        first.upper,
        _rate_difference(first.upper, float(sinr(problem, p).min())),
        first.lam,
        first.q,
        iterations,
        fallbacks,
    )


def _sensitivity(problem: Problem, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Share of each user in d log t: q_k (interference_k + 1), normalised; [user]."""
    useful = np.bincount(problem.pair_user, problem.useful * p, problem.n_user) ** 2
    if not problem.coherent:
        useful = np.bincount(problem.pair_user, (problem.useful * p) ** 2, problem.n_user)
    weight = q * useful / sinr(problem, p)
    return weight / weight.sum()


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
    for part in _parts(problem, served, support):
        found = _solve_levels(
            part.problem,
            lam0[part.sats],
            q0[part.users],
            tol_bit,
            max_iterations,
            raise_tol_bit,
            raise_levels,
            fallback,
        )
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
    )


def _start(problem: Problem, warm: Warm | None) -> tuple[np.ndarray, np.ndarray]:
    lam = np.ones(problem.n_sat) if warm is None or warm.lam is None else np.asarray(warm.lam, float)
    q = np.ones(problem.n_user) if warm is None or warm.q is None else np.asarray(warm.q, float)
    if lam.shape != (problem.n_sat,) or q.shape != (problem.n_user,):
        raise ValueError(f"warm: expected lam [{problem.n_sat}] and q [{problem.n_user}]")
    return lam, q


def _clean(problem: Problem, p: np.ndarray) -> np.ndarray:
    """Amplitudes below SMALLEST_AMPLITUDE dropped (never a user's largest), budgets kept to the last bit."""
    largest = np.zeros(problem.n_user)
    np.maximum.at(largest, problem.pair_user, p)
    p = np.where((p >= SMALLEST_AMPLITUDE) | (p >= largest[problem.pair_user]), p, 0.0)
    load = np.bincount(problem.pair_sat, p**2, problem.n_sat)
    return p / np.sqrt(np.maximum(load, 1.0))[problem.pair_sat]


# ---------------------------------------------------------------------------------------------
# Who is served by whom


@kernel
def _match(order, ptr, sat, ranked, room):  # type: ignore[no-untyped-def]
    # One satellite a user, at most room[l] users a satellite, by shortest augmenting paths; users
    # matched once stay matched, so those early in `order` come first. Returns the pair of each user, -1: none.
    n_user = len(ptr) - 1
    n_sat = len(room)
    match = np.full(n_user, -1, np.int64)
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
                for j in range(n_user):
                    if match[j] >= 0 and sat[match[j]] == l and queued[j] != turn:
                        queued[j] = turn
                        queue[tail] = j
                        tail += 1
        if end < 0:
            continue
        used[end] += 1
        while True:
            a = by_pair[end]
            k = 0
            while ptr[k + 1] <= a:
                k += 1
            before = match[k]
            match[k] = a
            if before < 0:
                break
            end = sat[before]
    return match


@kernel
def _cut(ptr, sat, user, support, score, match, limit, room):  # type: ignore[no-untyped-def]
    # Take the pairs of least score off every satellite above its limit; never the pair of `match`,
    # unless the user can be matched to another pair it has. support and match change in place.
    n_sat = len(limit)
    count = np.zeros(n_sat, np.int64)
    used = np.zeros(n_sat, np.int64)
    for a in range(len(sat)):
        if support[a]:
            count[sat[a]] += 1
    for k in range(len(match)):
        if match[k] >= 0:
            used[sat[match[k]]] += 1
    ranked = np.argsort(score, kind="mergesort")
    for a in ranked:
        l = sat[a]
        if not support[a] or count[l] <= limit[l]:
            continue
        k = user[a]
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


@fast_kernel
def _scores(  # type: ignore[no-untyped-def]
    ptr,
    sat,
    b,
    nb_ptr,
    nb_user,
    var_ptr,
    var,
    row_ptr,
    row_user,
    f_ptr,
    f,
    lam,
    q,
    weight,
    support,
    score,
):
    # First-order effect on log t at fixed prices: for pairs of the support, what r_k loses without
    # them, u^2 / (S^-1)_ll / r; for the others what it gains with them, slack^2 / Schur complement / r.
    # Unused pairs of the support get minus what they are short of being used.
    n_max = 0
    rows_max = 0
    for k in range(len(ptr) - 1):
        n_max = max(n_max, ptr[k + 1] - ptr[k])
        rows_max = max(rows_max, row_ptr[k + 1] - row_ptr[k])
    s = np.zeros((n_max, n_max))
    part = np.zeros((n_max, n_max))
    g = np.zeros((rows_max, n_max))
    chol = np.zeros((n_max, n_max))
    inverse = np.zeros((n_max, n_max))
    x = np.zeros(n_max)
    index = np.zeros(n_max, np.int64)
    chosen = np.zeros(n_max, np.int64)
    u = np.zeros(n_max)
    slack = np.zeros(n_max)
    b_part = np.zeros(n_max)
    for k in range(len(ptr) - 1):
        a0 = ptr[k]
        n = ptr[k + 1] - a0
        m = 0
        for c in range(n):
            if support[a0 + c]:
                chosen[m] = c
                m += 1
        if m == 0 or q[k] <= 0.0:
            for c in range(n):
                score[a0 + c] = 0.0
            continue
        _uplink_matrix(k, lam, q, ptr, sat, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f, s, g)
        for i in range(m):
            b_part[i] = b[a0 + chosen[i]]
            for j in range(i + 1):
                part[i, j] = s[chosen[i], chosen[j]]
        passive = np.ones(m, np.bool_)
        _direction(m, part, b_part, passive, u, slack, index, chol, x, False)
        z = 0
        r = 0.0
        for i in range(m):
            r += b_part[i] * u[i]
            if passive[i]:
                index[z] = i
                z += 1
        # chol holds the factor of the passive block; its inverse, transposed
        for i in range(z):
            for j in range(i):
                total = 0.0
                for c in range(j, i):
                    total += chol[i, c] * inverse[j, c]
                inverse[j, i] = -total * chol[i, i]
            inverse[i, i] = chol[i, i]
        for c in range(n):
            score[a0 + c] = 0.0
        for i in range(z):
            total = 0.0
            for c in range(i, z):
                total += inverse[i, c] * inverse[i, c]
            score[a0 + chosen[index[i]]] = weight[k] * u[index[i]] ** 2 / total / r
        for i in range(m):
            if not passive[i]:
                score[a0 + chosen[i]] = -weight[k] * slack[i] ** 2 / part[i, i] / r
        for c in range(n):
            if support[a0 + c]:
                continue
            short = b[a0 + c]
            schur = s[c, c]
            for i in range(z):
                x[i] = 0.0
            for i in range(z):
                d = chosen[index[i]]
                value = s[c, d] if c >= d else s[d, c]
                short -= value * u[index[i]]
                for j in range(i, z):
                    x[j] += inverse[i, j] * value
            for i in range(z):
                schur -= x[i] * x[i]
            if short > 0.0:
                score[a0 + c] = weight[k] * short * short / max(schur, 1e-12 * s[c, c]) / r


@dataclass(frozen=True)
class _Found:
    """Max-min without the raise on one support: what the search compares."""

    support: np.ndarray
    p: np.ndarray
    lower: float
    upper: float
    lam: np.ndarray
    q: np.ndarray
    iterations: int


def _relaxed(
    problem: Problem,
    users: np.ndarray,
    support: np.ndarray,
    warm: Warm,
    tol_bit: float,
    fallback: bool,
    near: np.ndarray | None = None,
) -> _Found:
    p = np.zeros(len(problem.useful))
    lam, q = np.zeros(problem.n_sat), np.zeros(problem.n_user)
    lam0, q0 = _start(problem, warm)
    lower, upper, iterations = math.inf, math.inf, 0
    for part in _parts(problem, users, support):
        x = part.problem
        level = _solve_level(
            x,
            np.zeros(x.n_user),
            lam0[part.sats],
            q0[part.users],
            np.zeros(len(x.useful)) if near is None else near[part.pairs],
            0.0,
            tol_bit,
            400,
            fallback,
        )
        p[part.pairs] = level.p
        lam[part.sats] = level.lam
        q[part.users] = level.q
        lower, upper = min(lower, level.lower), min(upper, level.upper)
        iterations += level.iterations
    return _Found(support, p, lower, upper, lam, q, iterations)


def _pair_scores(problem: Problem, users: np.ndarray, found: _Found) -> np.ndarray:
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
    _scores(*problem.arrays(), lam, found.q / found.q.sum(), weight, found.support, score)
    return score


def _assign(problem: Problem, k_max: int) -> tuple[np.ndarray, np.ndarray]:
    """One pair a user within K_max and the reason of those left out, best served first."""
    if k_max < 1:
        raise ValueError(f"k_max: expected at least 1 user a satellite, got {k_max}")
    usable = problem.useful > 0.0
    user = problem.pair_user
    best = np.zeros(problem.n_user)
    np.maximum.at(best, user, problem.useful)
    ranked = np.lexsort((problem.pair_sat, -problem.useful, ~usable, user))
    ranked = np.where(usable[ranked], ranked, -1)
    order = np.lexsort((np.arange(problem.n_user), -best))
    order = order[best[order] > 0.0]
    room = np.full(problem.n_sat, k_max)
    match = _match(order, problem.pair_ptr, problem.pair_sat, ranked, room)
    reason = np.where(match >= 0, SERVED, np.where(best > 0.0, NO_ROOM, NO_SATELLITE))
    return match, reason


def choose_support(
    problem: Problem,
    k_max: int,
    warm: Warm | None = None,
    swap_rounds: int = 4,
) -> np.ndarray:
    """Pairs to use so that every satellite serves at most k_max users: [pair] bool.

    Greedy removal of the pairs that cost least to first order at the optimal prices, half of the
    excess at a time, then swaps of one pair for another at full satellites while they help. A user that
    can be served (by a maximum matching under K_max) keeps a satellite. Raises ValueError on k_max < 1.
    """
    match, reason = _assign(problem, k_max)
    users = reason == SERVED
    support = users[problem.pair_user] & (problem.useful > 0.0)
    start = Warm() if warm is None else warm
    if not users.any():
        return support
    relaxed = _relaxed(problem, users, support, start, LARGEST_GAP_BIT, True)
    return _search(problem, k_max, users, match, relaxed, swap_rounds).support


def _search(
    problem: Problem, k_max: int, users: np.ndarray, match: np.ndarray, relaxed: _Found, swap_rounds: int
) -> _Found:
    user = problem.pair_user
    room = np.full(problem.n_sat, k_max)
    loose = 4.0 * LARGEST_GAP_BIT
    found = relaxed
    count = np.bincount(problem.pair_sat, found.support, problem.n_sat)
    if count.max() <= k_max:
        return found
    match = match.copy()
    for last in (False, True):
        excess = np.maximum(count - k_max, 0.0).astype(np.int64)
        limit = k_max + (np.zeros_like(excess) if last else excess // 2)
        support = found.support.copy()
        _cut(
            problem.pair_ptr,
            problem.pair_sat,
            user,
            support,
            _pair_scores(problem, users, found),
            match,
            limit,
            room,
        )
        found = _relaxed(problem, users, support, Warm(found.lam, found.q), loose, False, found.p)
    if not problem.coherent:
        return found
    return _swap(problem, k_max, users, relaxed, found, swap_rounds)


def _swap(problem: Problem, k_max: int, users: np.ndarray, relaxed: _Found, found: _Found, rounds: int) -> _Found:
    """Swap pairs at full satellites where the first-order gain says so; keep what the solve confirms."""
    share = 1.0
    score = _pair_scores(problem, users, found)
    for _ in range(rounds):
        wanted = max(LARGEST_GAP_BIT, SWAP_GOAL * math.log2(1.0 + relaxed.upper))
        if _rate_difference(relaxed.upper, found.lower) < wanted:
            break
        out, into, net = _swaps(problem, k_max, users, found.support, score)
        if net.sum() < SMALLEST_SWAP:
            break
        chosen = np.argsort(-net, kind="stable")[: max(1, math.ceil(share * len(net)))]
        support = found.support.copy()
        support[out[chosen][out[chosen] >= 0]] = False
        support[into[chosen]] = True
        start = Warm(found.lam, found.q)
        if np.any(np.bincount(problem.pair_user, support, problem.n_user)[users] == 0):
            share *= 0.5
            continue
        tried = _relaxed(problem, users, support, start, 2.0 * LARGEST_GAP_BIT, False, found.p)
        if tried.lower > found.lower * (1.0 + 1e-6):
            found = tried
            score = _pair_scores(problem, users, found)
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


def allocate(
    problem: Problem,
    k_max: int,
    warm: Warm | None = None,
    keep_within: float = 0.0,
    swap_rounds: int = 4,
    tol_bit: float = LARGEST_GAP_BIT,
    raise_tol_bit: float = 2e-4,
    raise_levels: bool = True,
) -> Allocation:
    """Serving sets and powers: at most k_max users a satellite, the minimum SINR as large as found.

    The problem without K_max is solved first (its certified upper bound is `bound`), then a support is
    chosen (see choose_support) and the powers are polished on it (see max_min; `lower` and `upper` are
    certified on that support). Users without a satellite, or without room (a maximum matching under
    K_max, strongest first), are not served and leave the max-min.

    warm : prices and support of the previous allocation
    keep_within : the warm support is kept when its minimum rate is within this fraction of the bound
    swap_rounds : solves the swap search may spend
    Raises ValueError on k_max < 1 or a warm start of the wrong shape.
    """
    match, reason = _assign(problem, k_max)
    users = reason == SERVED
    start = Warm() if warm is None else warm
    support = users[problem.pair_user] & (problem.useful > 0.0)
    if not users.any():
        nothing = max_min(problem, support, start)
        return replace(nothing, reason=reason)
    relaxed = _relaxed(problem, users, support, start, tol_bit, True)
    found = None
    if start.support is not None:
        found = _previous(problem, k_max, users, support, start.support, relaxed)
        if found is not None:
            wanted = (1.0 - keep_within) * math.log2(1.0 + relaxed.upper)
            if math.log2(1.0 + found.lower) < wanted:
                found = None
    if found is None:
        found = _search(problem, k_max, users, match, relaxed, swap_rounds)
    polished = max_min(
        problem,
        found.support,
        Warm(found.lam, found.q),
        tol_bit,
        raise_tol_bit=raise_tol_bit,
        raise_levels=raise_levels,
    )
    return replace(
        polished,
        bound=relaxed.upper,
        reason=reason,
        iterations=polished.iterations + relaxed.iterations + found.iterations,
    )


def _previous(
    problem: Problem,
    k_max: int,
    users: np.ndarray,
    allowed: np.ndarray,
    support: np.ndarray,
    relaxed: _Found,
) -> _Found | None:
    """The previous support on today's problem, when it still serves everybody within K_max."""
    if support.shape != allowed.shape:
        raise ValueError(f"warm: expected support [{len(allowed)}], got shape {support.shape}")
    support = support & allowed
    if np.any(np.bincount(problem.pair_user, support, problem.n_user)[users] == 0):
        return None
    if np.bincount(problem.pair_sat, support, problem.n_sat).max() > k_max:
        return None
    return _relaxed(problem, users, support, Warm(relaxed.lam, relaxed.q), 2.0 * LARGEST_GAP_BIT, False)


def allocate_dense(
    mean: np.ndarray,
    variance: np.ndarray,
    k_max: int,
    useful: np.ndarray | None = None,
    allowed: np.ndarray | None = None,
    coherence: str | np.ndarray = "ideal",
    warm: Warm | None = None,
    **options: Any,
) -> Allocation:
    """Serving sets and powers from dense couplings; see problem_from_dense and allocate for the rest.

    mean : [user, stream, sat] complex; variance : [user, stream, sat]; powers come back a pair:
    pairs in order of user, then satellite, so p.reshape(user, sat) when all are allowed.
    """
    return allocate(problem_from_dense(mean, variance, useful, allowed, coherence), k_max, warm, **options)
