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
    """Couplings of every stream, sparse; noise power 1 and every satellite's budget 1.

    Stream k has n_k pairs (satellites that may send it) and disturbs m_k receivers, itself included.
    Pair (k, l) is coupled to the receivers in view of satellite l, so the size of a problem is the number
    of (pair, receiver) couplings.

    pair_ptr : [user+1] int, first pair of each user
    pair_sat : [pair] int, satellite of each pair, ascending within a user
    useful : [pair] float >= 0, amplitude b of the useful mean coupling, Eq. (28) (1)
    nb_ptr : [user+1] int; nb_user : [receiver] int, receivers stream k disturbs, ascending
    var_ptr : [pair+1] int; var_at : [coupling] int32, place of the coupling's receiver among those of its
        stream, ascending within a pair; variance : [coupling] float >= 0, V_jkl (1)
    row_ptr : [user+1] int; row_at : [row] int32, place of the receiver each factor row of stream k falls on
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
    var_at: np.ndarray
    variance: np.ndarray
    row_ptr: np.ndarray
    row_at: np.ndarray
    factor_ptr: np.ndarray
    factor: np.ndarray
    coherent: bool = True

    @property
    def pair_user(self) -> np.ndarray:
        """User of each pair: [pair] int."""
        return np.repeat(np.arange(self.n_user), np.diff(self.pair_ptr))

    @property
    def size(self) -> int:
        """Stored couplings: what an iteration's cost grows with."""
        return len(self.variance) + len(self.factor)

    def receivers(self) -> np.ndarray:
        """User each coupling falls on: [coupling] int."""
        start = np.repeat(self.nb_ptr[self.pair_user], np.diff(self.var_ptr))
        return self.nb_user[start + self.var_at]

    def arrays(self) -> Arrays:
        """The arrays in the order the kernels take them."""
        return tuple(getattr(self, name) for name in ARRAYS)


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
    spread, places, counts, factors, row_places = [], [], [], [], []
    for k in range(n_user):
        v = variance[:, k, :][:, pairs[k]].copy()
        rows: list[np.ndarray] = []
        place: list[int] = []
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
            place.extend([j] * len(new))
        if np.any(v < 0):
            raise ValueError("variance: expected no negative entry")
        pair, receiver = np.nonzero(v.T)
        spread.append(v[receiver, pair])
        places.append(receiver)
        counts.append(np.bincount(pair, minlength=len(pairs[k])))
        factors.append(np.array(rows).reshape(len(rows), len(pairs[k])))
        row_places.append(np.array(place, dtype=np.int64))
    if np.any(useful < 0):
        raise ValueError("useful: expected no negative entry")
    return Problem(
        n_user=n_user,
        n_sat=n_sat,
        pair_ptr=_pointers([len(x) for x in pairs]),
        pair_sat=_flat(pairs, np.int64),
        useful=_flat([useful[k, pairs[k]] for k in range(n_user)], np.float64),
        nb_ptr=np.arange(n_user + 1, dtype=np.int64) * n_user,
        nb_user=np.tile(np.arange(n_user, dtype=np.int64), n_user),
        var_ptr=_pointers(_flat(counts, np.int64)),
        var_at=_flat(places, np.int32),
        variance=_flat(spread, np.float64),
        row_ptr=_pointers([len(x) for x in row_places]),
        row_at=_flat(row_places, np.int32),
        factor_ptr=_pointers([x.size for x in factors]),
        factor=_flat(factors, np.float64),
        coherent=gamma is not None or coherence != "noncoherent",
    )


def _flat(arrays: Sequence[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([*(x.ravel() for x in arrays), np.zeros(0, dtype)]).astype(dtype)


def _factor_rows(e: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Rows F with F^T F = Re[(E E^H) o Gamma], eigenvalues below 1e-12 of the trace dropped."""
    matrix = (np.outer(e, e.conj()) * gamma).real
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    keep = values > 1e-12 * max(np.trace(matrix), 0.0)
    return np.sqrt(values[keep])[:, None] * vectors[:, keep].T


def _pointers(sizes: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)


def problem_from_blocks(
    n_user: int,
    sat_recv_ptr: np.ndarray,
    recv_user: np.ndarray,
    sat_stream_ptr: np.ndarray,
    stream_user: np.ndarray,
    block_ptr: np.ndarray,
    mean_re: np.ndarray,
    mean_im: np.ndarray,
    variance: np.ndarray,
    useful: np.ndarray,
    coherence: str = "ideal",
    threshold: float = 0.0,
) -> Problem:
    """Problem from couplings stored as a block a satellite.

    sat_recv_ptr : [sat+1] int; recv_user : users in view of each satellite, ascending
    sat_stream_ptr : [sat+1] int; stream_user : users each satellite may serve
    block_ptr : [sat+1] int; block l of mean_re, mean_im and variance is C-order (receivers, streams):
        from satellite l's stream of stream_user onto recv_user
    useful : [stream] float >= 0, b of each (satellite, stream)
    coherence : "ideal", "averaged" or "noncoherent", as in problem_from_dense
    threshold : couplings of other users' streams with V + |E|^2 <= threshold are left out; the noise is 1
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
    couplings = [np.ascontiguousarray(x, dtype=np.float64).ravel() for x in (mean_re, mean_im, variance)]
    if any(x.size != integers[4][-1] for x in couplings) or useful.size != integers[3].size:
        raise ValueError("mean, variance, useful: sizes disagree with block_ptr and stream_user")
    arrays = _blocks_to_streams(
        n_user,
        *integers,
        *couplings,
        np.ascontiguousarray(useful, dtype=np.float64).ravel(),
        coherence == "ideal",
        float(threshold),
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
    mean_re: np.ndarray,
    mean_im: np.ndarray,
    variance: np.ndarray,
    useful: np.ndarray,
    ideal: bool,
    threshold: float,
) -> Arrays:
    n_sat = len(recv_ptr) - 1
    n_pair = len(stream_user)
    pair_ptr = np.zeros(n_user + 1, np.int64)
    for e in range(n_pair):
        pair_ptr[stream_user[e] + 1] += 1
    for k in range(n_user):
        pair_ptr[k + 1] += pair_ptr[k]
    pair_sat = np.empty(n_pair, np.int64)
    pair_useful = np.empty(n_pair)
    pair_of = np.empty(n_pair, np.int64)  # of each (satellite, stream)
    fill = pair_ptr[:-1].copy()
    for l in range(n_sat):
        for e in range(stream_ptr[l], stream_ptr[l + 1]):
            a = fill[stream_user[e]]
            fill[stream_user[e]] += 1
            pair_sat[a] = l
            pair_useful[a] = useful[e]
            pair_of[e] = a
    # the couplings of each pair that are worth keeping, blocks read in order: first count, then place
    var_ptr = np.zeros(n_pair + 1, np.int64)
    for l in range(n_sat):
        at = block_ptr[l]
        for i in range(recv_ptr[l], recv_ptr[l + 1]):
            for e in range(stream_ptr[l], stream_ptr[l + 1]):
                power = variance[at] + mean_re[at] ** 2 + mean_im[at] ** 2
                if recv_user[i] == stream_user[e] or power > threshold:
                    var_ptr[pair_of[e] + 1] += 1
                at += 1
    for a in range(n_pair):
        var_ptr[a + 1] += var_ptr[a]
    place = var_ptr[:-1].copy()
    var_at = np.empty(var_ptr[n_pair], np.int32)
    out_variance = np.empty(var_ptr[n_pair])
    for l in range(n_sat):
        at = block_ptr[l]
        for i in range(recv_ptr[l], recv_ptr[l + 1]):
            for e in range(stream_ptr[l], stream_ptr[l + 1]):
                power = variance[at] + mean_re[at] ** 2 + mean_im[at] ** 2
                own = recv_user[i] == stream_user[e]
                if own or power > threshold:
                    c = place[pair_of[e]]
                    place[pair_of[e]] += 1
                    var_at[c] = recv_user[i]
                    out_variance[c] = variance[at] if own or ideal else power
                at += 1
    # receivers of each stream, numbered; from here var_at is a place among them
    nb_ptr = np.zeros(n_user + 1, np.int64)
    mark = np.full(n_user, -1, np.int64)
    for k in range(n_user):
        mark[k] = k
        count = 1
        for c in range(var_ptr[pair_ptr[k]], var_ptr[pair_ptr[k + 1]]):
            if mark[var_at[c]] != k:
                mark[var_at[c]] = k
                count += 1
        nb_ptr[k + 1] = nb_ptr[k] + count
    nb_user = np.empty(nb_ptr[n_user], np.int64)
    row_ptr = np.zeros(n_user + 1, np.int64)
    factor_ptr = np.zeros(n_user + 1, np.int64)
    row_at = np.empty(2 * (nb_ptr[n_user] - n_user) if ideal else 0, np.int32)
    where = np.full(n_user, -1, np.int64)
    mark[:] = -1
    for k in range(n_user):
        mark[k] = k
        nb_user[nb_ptr[k]] = k
        count = 1
        for c in range(var_ptr[pair_ptr[k]], var_ptr[pair_ptr[k + 1]]):
            if mark[var_at[c]] != k:
                mark[var_at[c]] = k
                nb_user[nb_ptr[k] + count] = var_at[c]
                count += 1
        nb_user[nb_ptr[k] : nb_ptr[k] + count].sort()
        rows = row_ptr[k]
        for i in range(count):
            j = nb_user[nb_ptr[k] + i]
            where[j] = i
            if ideal and j != k:
                row_at[rows] = i
                row_at[rows + 1] = i
                rows += 2
        for c in range(var_ptr[pair_ptr[k]], var_ptr[pair_ptr[k + 1]]):
            var_at[c] = where[var_at[c]]
        row_ptr[k + 1] = rows
        factor_ptr[k + 1] = factor_ptr[k] + (rows - row_ptr[k]) * (pair_ptr[k + 1] - pair_ptr[k])
    factor = np.zeros(factor_ptr[n_user])
    if ideal:
        row_of = np.full(n_user, -1, np.int64)
        column = np.empty(n_pair, np.int64)
        for l in range(n_sat):
            for e in range(stream_ptr[l], stream_ptr[l + 1]):
                column[e] = pair_of[e] - pair_ptr[stream_user[e]]
        for e in range(n_pair):
            l = pair_sat[pair_of[e]]
            k = stream_user[e]
            n = pair_ptr[k + 1] - pair_ptr[k]
            for r in range(row_ptr[k], row_ptr[k + 1], 2):
                row_of[nb_user[nb_ptr[k] + row_at[r]]] = r - row_ptr[k]
            for i in range(recv_ptr[l], recv_ptr[l + 1]):
                r = row_of[recv_user[i]]
                if r >= 0:
                    at = block_ptr[l] + (i - recv_ptr[l]) * (stream_ptr[l + 1] - stream_ptr[l]) + e - stream_ptr[l]
                    factor[factor_ptr[k] + r * n + column[e]] = mean_re[at]
                    factor[factor_ptr[k] + (r + 1) * n + column[e]] = mean_im[at]
            for r in range(row_ptr[k], row_ptr[k + 1], 2):
                row_of[nb_user[nb_ptr[k] + row_at[r]]] = -1
    return (
        pair_ptr,
        pair_sat,
        pair_useful,
        nb_ptr,
        nb_user,
        var_ptr,
        var_at,
        out_variance,
        row_ptr,
        row_at,
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
    for k in range(len(num)):
        stream_gains(k, arrays, u, coherent, gain, num)


@kernel
def stream_gains(k: int, arrays: Arrays, u: np.ndarray, coherent: bool, gain: np.ndarray, num: np.ndarray) -> None:
    """`gains` of one stream."""
    ptr, _, b, nb_ptr, _, var_ptr, var_at, var, row_ptr, row_at, f_ptr, f = arrays
    first, last = ptr[k], ptr[k + 1]
    mine = gain[nb_ptr[k] : nb_ptr[k + 1]]
    mine[:] = 0.0
    total = 0.0
    for a in range(first, last):
        if u[a] == 0.0:
            continue
        square = u[a] * u[a]
        total += b[a] * u[a] if coherent else b[a] * b[a] * square
        for c in range(var_ptr[a], var_ptr[a + 1]):
            mine[var_at[c]] += var[c] * square
    num[k] = total * total if coherent else total
    n = last - first
    for r in range(row_ptr[k], row_ptr[k + 1]):
        f0 = f_ptr[k] + (r - row_ptr[k]) * n - first
        total = 0.0
        for a in range(first, last):
            total += f[f0 + a] * u[a]
        mine[row_at[r]] += total * total


def sinr_of_blocks(
    n_user: int,
    sat_recv_ptr: np.ndarray,
    recv_user: np.ndarray,
    sat_stream_ptr: np.ndarray,
    stream_user: np.ndarray,
    mean_re: np.ndarray,
    mean_im: np.ndarray,
    variance: np.ndarray,
    useful: np.ndarray,
    p: np.ndarray,
    coherence: str,
) -> np.ndarray:
    """`sinr` straight from the blocks of `problem_from_blocks`, nothing left out; p : [stream] amplitudes.

    Returns [user] (1).
    """
    streams, column = np.unique(stream_user[p > 0.0], return_inverse=True)  # those that are sent
    column_of = np.full(n_user, -1, dtype=np.int64)
    column_of[streams[column]] = column
    return _sinr_of_blocks(
        n_user,
        sat_recv_ptr,
        recv_user,
        sat_stream_ptr,
        stream_user,
        mean_re,
        mean_im,
        variance,
        useful,
        np.ascontiguousarray(p, dtype=float),
        column_of,
        len(streams) if coherence == "ideal" else 0,
        coherence != "noncoherent",
    )


@kernel
def _sinr_of_blocks(
    n_user: int,
    recv_ptr: np.ndarray,
    recv_user: np.ndarray,
    stream_ptr: np.ndarray,
    stream_user: np.ndarray,
    mean_re: np.ndarray,
    mean_im: np.ndarray,
    variance: np.ndarray,
    useful: np.ndarray,
    p: np.ndarray,
    column_of: np.ndarray,
    ideal_streams: int,
    coherent: bool,
) -> np.ndarray:
    noise = np.ones(n_user)
    num = np.zeros(n_user)
    sum_re = np.zeros((n_user if ideal_streams else 0, ideal_streams))
    sum_im = np.zeros((n_user if ideal_streams else 0, ideal_streams))
    for e in range(len(stream_user)):
        amplitude = useful[e] * p[e]
        num[stream_user[e]] += amplitude if coherent else amplitude * amplitude
    block = 0
    for l in range(len(recv_ptr) - 1):
        n = stream_ptr[l + 1] - stream_ptr[l]
        for e in range(stream_ptr[l], stream_ptr[l + 1]):
            if p[e] <= 0.0:
                continue
            k = stream_user[e]
            for i in range(recv_ptr[l], recv_ptr[l + 1]):
                j = recv_user[i]
                at = block + (i - recv_ptr[l]) * n + e - stream_ptr[l]
                noise[j] += variance[at] * p[e] * p[e]
                if j == k:
                    continue
                if ideal_streams > 0:
                    sum_re[j, column_of[k]] += mean_re[at] * p[e]
                    sum_im[j, column_of[k]] += mean_im[at] * p[e]
                else:
                    noise[j] += (mean_re[at] ** 2 + mean_im[at] ** 2) * p[e] * p[e]
        block += n * (recv_ptr[l + 1] - recv_ptr[l])
    for j in range(n_user):
        for c in range(ideal_streams):
            noise[j] += sum_re[j, c] ** 2 + sum_im[j, c] ** 2
        if coherent:
            num[j] *= num[j]
    return num / noise


# ---------------------------------------------------------------------------------------------
# Parts of a problem


@dataclass(frozen=True)
class Part:
    """A problem of its own cut out of a larger one, and where its users, satellites and pairs are there."""

    problem: Problem
    users: np.ndarray
    sats: np.ndarray
    pairs: np.ndarray


def _part(problem: Problem, users: np.ndarray, keep_pair: np.ndarray) -> Part:
    *arrays, sats, pairs = _restrict(problem.arrays(), problem.n_sat, users, keep_pair)
    return Part(_problem(len(users), len(sats), arrays, problem.coherent), users, sats, pairs)


def parts(problem: Problem, keep_user: np.ndarray, keep_pair: np.ndarray) -> list[Part]:
    """The connected components, each a problem of its own."""
    users = np.flatnonzero(keep_user)
    if not users.size:
        return []
    whole = _part(problem, users, np.asarray(keep_pair, dtype=np.bool_))
    x = whole.problem
    label, count = _components(x.pair_ptr, x.pair_sat, x.nb_ptr, x.nb_user, x.n_sat)
    if count == 1:
        return [whole]
    found = []
    everything = np.ones(len(x.useful), dtype=np.bool_)
    for c in range(count):
        part = _part(x, np.flatnonzero(label == c), everything)
        found.append(Part(part.problem, whole.users[part.users], whole.sats[part.sats], whole.pairs[part.pairs]))
    return found


@kernel
def _restrict(arrays: Arrays, n_sat: int, users: np.ndarray, keep_pair: np.ndarray) -> Arrays:
    # The problem of some users on some pairs, users and satellites renumbered; last two: where from.
    # Rows and receivers without a coupling left go, but a stream's own receiver.
    ptr, sat, b, nb_ptr, nb_user, var_ptr, var_at, var, row_ptr, row_at, f_ptr, f = arrays
    n_user = len(ptr) - 1
    n = len(users)
    user_of = np.full(n_user, -1, np.int64)
    for i in range(n):
        user_of[users[i]] = i
    sat_of = np.full(n_sat, -1, np.int64)
    n_pair, n_nb, n_var, n_row, n_factor = 0, 0, 0, 0, 0  # at most
    for i in range(n):
        k = users[i]
        width = 0
        for a in range(ptr[k], ptr[k + 1]):
            if keep_pair[a]:
                sat_of[sat[a]] = 0
                width += 1
                n_var += var_ptr[a + 1] - var_ptr[a]
        n_pair += width
        n_nb += nb_ptr[k + 1] - nb_ptr[k]
        n_row += row_ptr[k + 1] - row_ptr[k]
        n_factor += width * (row_ptr[k + 1] - row_ptr[k])
    sats = np.empty(n_sat, np.int64)
    m = 0
    for l in range(n_sat):
        if sat_of[l] == 0:
            sat_of[l] = m
            sats[m] = l
            m += 1
    pairs = np.empty(n_pair, np.int64)
    new_ptr = np.zeros(n + 1, np.int64)
    new_sat = np.empty(n_pair, np.int64)
    new_b = np.empty(n_pair)
    new_nb_ptr = np.zeros(n + 1, np.int64)
    new_nb = np.empty(n_nb, np.int64)
    new_var_ptr = np.zeros(n_pair + 1, np.int64)
    new_var_at = np.empty(n_var, np.int32)
    new_var = np.empty(n_var)
    new_row_ptr = np.zeros(n + 1, np.int64)
    new_row = np.empty(n_row, np.int32)
    new_f_ptr = np.zeros(n + 1, np.int64)
    new_f = np.empty(n_factor)
    place = np.empty(n_user, np.int32)  # of each receiver of a stream; 0 and 1 first: without and with coupling
    at, nb_at, v_at, row_to, f_at = 0, 0, 0, 0, 0
    for i in range(n):
        k = users[i]
        nb0 = nb_ptr[k]
        start, row_start = at, row_to
        place[: nb_ptr[k + 1] - nb0] = 0
        for a in range(ptr[k], ptr[k + 1]):
            if not keep_pair[a]:
                continue
            pairs[at] = a
            new_sat[at] = sat_of[sat[a]]
            new_b[at] = b[a]
            for c in range(var_ptr[a], var_ptr[a + 1]):
                if user_of[nb_user[nb0 + var_at[c]]] >= 0:
                    new_var_at[v_at] = var_at[c]
                    new_var[v_at] = var[c]
                    place[var_at[c]] = 1
                    v_at += 1
            at += 1
            new_var_ptr[at] = v_at
        for r in range(row_ptr[k], row_ptr[k + 1]):
            if user_of[nb_user[nb0 + row_at[r]]] < 0:
                continue
            f0 = f_ptr[k] + (r - row_ptr[k]) * (ptr[k + 1] - ptr[k]) - ptr[k]
            some = False
            for c in range(start, at):
                new_f[f_at + c - start] = f[f0 + pairs[c]]
                some = some or new_f[f_at + c - start] != 0.0
            if some:
                f_at += at - start
                new_row[row_to] = row_at[r]
                place[row_at[r]] = 1
                row_to += 1
        for e in range(nb0, nb_ptr[k + 1]):
            if place[e - nb0] == 1 or nb_user[e] == k:
                new_nb[nb_at] = user_of[nb_user[e]]
                place[e - nb0] = nb_at - new_nb_ptr[i]
                nb_at += 1
        for c in range(new_var_ptr[start], v_at):
            new_var_at[c] = place[new_var_at[c]]
        for r in range(row_start, row_to):
            new_row[r] = place[new_row[r]]
        new_ptr[i + 1] = at
        new_nb_ptr[i + 1] = nb_at
        new_row_ptr[i + 1] = row_to
        new_f_ptr[i + 1] = f_at
    return (
        new_ptr,
        new_sat,
        new_b,
        new_nb_ptr,
        new_nb[:nb_at].copy(),
        new_var_ptr,
        new_var_at[:v_at].copy(),
        new_var[:v_at].copy(),
        new_row_ptr,
        new_row[:row_to].copy(),
        new_f_ptr,
        new_f[:f_at].copy(),
        sats[:m].copy(),
        pairs,
    )


@kernel
def _components(
    ptr: np.ndarray, sat: np.ndarray, nb_ptr: np.ndarray, nb_user: np.ndarray, n_sat: int
) -> tuple[np.ndarray, int]:
    # Component of each user: users sharing a satellite or coupled, numbered by their first user.
    n_user = len(ptr) - 1
    root = np.arange(n_user)
    owner = np.full(n_sat, -1, np.int64)

    def top(k: int) -> int:
        while root[k] != k:
            root[k] = root[root[k]]
            k = root[k]
        return k

    for k in range(n_user):
        for a in range(ptr[k], ptr[k + 1]):
            if owner[sat[a]] < 0:
                owner[sat[a]] = k
            else:
                x, y = top(k), top(owner[sat[a]])
                root[max(x, y)] = min(x, y)
        for e in range(nb_ptr[k], nb_ptr[k + 1]):
            x, y = top(k), top(nb_user[e])
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
