"""The couplings of a power-allocation problem, stream by stream, and the SINR that powers give on them.

Equations: Kim et al., "Cell-free massive non-terrestrial networks", IEEE JSAC 2024, (22) and (28), noise
power and every satellite's budget scaled to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numba import njit

Arrays = tuple[np.ndarray, ...]
"""The arrays of a `Problem` in the order of its fields, as the kernels take them."""

kernel: Any = njit(cache=True, nogil=True)  # no fastmath: bits must not depend on what is inlined where


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

    def arrays(self) -> Arrays:
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


# ---------------------------------------------------------------------------------------------
# Building


def problem_from_dense(
    mean: np.ndarray,
    variance: np.ndarray,
    useful: np.ndarray | None = None,
    allowed: np.ndarray | None = None,
    coherence: str | np.ndarray = "ideal",
    steady: np.ndarray | None = None,
) -> Problem:
    """Problem from dense couplings.

    mean : [user, stream, sat] complex, E_kjl; variance : [user, stream, sat] >= 0, V_kjl (1)
    useful : [user, sat] >= 0, b; None: |E_kkl|
    allowed : [user, sat] bool, satellites that may serve each user; None: all
    coherence : "ideal", "averaged" (V + |E|^2, no rows), "noncoherent" (averaged, useful powers add),
        or Gamma [user, stream, sat, sat], correlation of the cross terms (positive semidefinite).
    steady : [user, stream, sat] complex, the part c of the cross terms that Gamma does not touch, beside
        E: their rows are Re[(E E^H) o Gamma] + Re[c c^H]; None: 0. Only with a Gamma.
    Raises ValueError on shapes, negative variances, an unknown coherence, or steady without a Gamma.
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
    if steady is not None and (gamma is None or np.shape(steady) != mean.shape):
        raise ValueError(f"steady: expected the shape of mean {mean.shape} and a Gamma, got {np.shape(steady)}")
    pairs = [np.flatnonzero(allowed[k]) for k in range(n_user)]
    variances, factors, row_users = [], [], []
    for k in range(n_user):
        v = variance[:, k, :][:, pairs[k]].copy()
        rows: list[np.ndarray] = []
        owner: list[int] = []
        for j in range(n_user):
            e = mean[j, k, pairs[k]]
            c = None if steady is None else steady[j, k, pairs[k]]
            if j == k or not (np.any(e) or np.any(c)):
                continue
            if gamma is not None:
                new = _factor_rows(e, gamma[j, k][np.ix_(pairs[k], pairs[k])])
                if c is not None and np.any(c):
                    new = np.concatenate([new, np.stack([c.real, c.imag])])
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


ARRAYS = tuple(f.name for f in fields(Problem) if f.name not in ("n_user", "n_sat", "coherent"))


def _problem(n_user: int, n_sat: int, arrays: Sequence[np.ndarray], coherent: bool) -> Problem:
    named: dict[str, Any] = dict(zip(ARRAYS, arrays, strict=True))
    return Problem(n_user=n_user, n_sat=n_sat, coherent=coherent, **named)


@kernel
def _blocks_to_streams(
    n_user: int,
    recv_ptr: np.ndarray,
    recv_user: np.ndarray,
    stream_ptr: np.ndarray,
    stream_user: np.ndarray,
    block_ptr: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    useful: np.ndarray,
    ideal: bool,
) -> Arrays:
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
    return _sinr(problem.arrays(), np.ascontiguousarray(p, dtype=float), problem.coherent)


@kernel
def _sinr(arrays: Arrays, p: np.ndarray, coherent: bool) -> np.ndarray:
    nb_ptr, nb_user = arrays[3], arrays[4]
    n_user = len(nb_ptr) - 1
    gain = np.empty(len(nb_user))
    num = np.empty(n_user)
    gains(arrays, p, coherent, gain, num)
    noise = np.ones(n_user)
    for e in range(len(nb_user)):
        noise[nb_user[e]] += gain[e]
    return num / noise


@kernel
def gains(arrays: Arrays, u: np.ndarray, coherent: bool, gain: np.ndarray, num: np.ndarray) -> None:
    """Fill gain[e] = u_j^T M_kj u_j of stream j onto receiver nb_user[e], and num, each stream's useful power."""
    ptr, _, b, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f = arrays
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


# ---------------------------------------------------------------------------------------------
# Parts of a problem


@dataclass(frozen=True)
class _Part:
    """A problem of its own cut out of a larger one, and where its users, satellites and pairs are there."""

    problem: Problem
    users: np.ndarray
    sats: np.ndarray
    pairs: np.ndarray


def _part(problem: Problem, keep_user: np.ndarray, keep_pair: np.ndarray) -> _Part:
    *arrays, users, sats, pairs = _restrict(problem.arrays(), problem.n_sat, keep_user, keep_pair)
    return _Part(_problem(len(users), len(sats), arrays, problem.coherent), users, sats, pairs)


def parts(problem: Problem, keep_user: np.ndarray, keep_pair: np.ndarray) -> list[_Part]:
    """The connected components, each a problem of its own."""
    whole = _part(problem, keep_user, keep_pair)
    label, count = _components(whole.problem.arrays(), whole.problem.n_sat)
    if count <= 1:
        return [whole] if count == 1 else []
    found = []
    for c in range(count):
        inside = np.zeros(problem.n_user, dtype=bool)
        inside[whole.users[label == c]] = True
        found.append(_part(problem, inside, keep_pair))
    return found


@kernel
def _restrict(arrays: Arrays, n_sat: int, keep_user: np.ndarray, keep_pair: np.ndarray) -> Arrays:
    # The problem of some users on some pairs, users and satellites renumbered; last three: where from.
    ptr, sat, b, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f = arrays
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
def _components(arrays: Arrays, n_sat: int) -> tuple[np.ndarray, int]:
    # Component of each user: users sharing a satellite or coupled, numbered by their first user.
    ptr, sat, _, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, _, _ = arrays
    n_user = len(ptr) - 1
    root = np.arange(n_user)
    owner = np.full(n_sat, -1, np.int64)

    def top(k: int) -> int:
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
