"""What uplink pilots tell a satellite of its channels: the random weights of beams made from estimates.

With one scalar a channel, `h = g a`, an estimate is a scalar too: beam j is its steering vector times a
weight eps_j, `E |eps_j|^2 = 1`. Users of one pilot are estimated from one observation and contaminate each other.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from leosim.antenna import gram
from leosim.records import Beams, ChannelStats, Couplings, Estimates
from leosim.streams import complex_normals, pair_prefix, purpose_key


def estimates(stats: ChannelStats, receiver_size: np.ndarray, beams: Beams, rows: int, columns: int) -> Estimates:
    """The MMSE estimates behind the beams of satellites: how each weight depends on fading and pilot noise.

    The pilot of stream j is received as `y_j = sum_i psi_i^H psi_j h_i + n`, n ~ CN(0, s I), over the users i in
    view, Eq. (40), Kim et al. 2024; its MMSE estimate, statistics known, is
    `g_j = m_j + v_j a_j^H V_j^-1 (y_j - E y_j)`, `V_j = sum_i v_i |psi_i^H psi_j|^2 a_i a_i^H + s I`, and
    `eps_j = g_j / sqrt(v_j (kappa_j + x_jj))`. With orthogonal pilots the sums run over the users of one pilot; then
    with `K = D G D / s`, `D = diag(sqrt(v))`, G the products of their steering vectors,
    `x_jk sqrt(v_j / v_k) = [K (K + I)^-1]_jk` (symmetric) and the noise has covariance `(K + I)^-1 K (K + I)^-1`.

    stats : the receivers of every satellite of the beams, in order; the pilots arrive over that channel.
    A stream whose user is not among them keeps its beam unestimated.
    """
    r_end, s_end = np.cumsum(receiver_size), np.cumsum(beams.stream_size)
    snr = stats.beta / (stats.kappa + 1.0) / float(beams.pilot_noise)
    start = np.exp(1j * beams.phase_rad)
    random = np.zeros(beams.user.size)
    whose, member, fading, noisy = ([np.empty(0, dtype=kind)] for kind in (int, int, complex, float))
    for r0, r1, s0, s1 in zip(r_end - receiver_size, r_end, s_end - beams.stream_size, s_end, strict=True):
        users, streams = stats.user[r0:r1], np.arange(s0, s1)
        streams = streams[np.isin(beams.user[s0:s1], users)]
        for pilot in np.unique(beams.user[streams] % beams.pilots):
            group = np.flatnonzero(users % beams.pilots == pilot)
            mine = streams[beams.user[streams] % beams.pilots == pilot]
            at = np.searchsorted(users[group], beams.user[mine])
            root = np.sqrt(snr[r0 + group])
            k = root[:, None] * gram(stats.cosines[r0 + group], rows, columns) * root
            inverse = np.linalg.inv(k + np.eye(group.size))
            x, from_noise = k @ inverse, inverse @ _cholesky(k)
            kappa = stats.kappa[r0 + group[at]]
            norm = 1.0 / np.sqrt(kappa + x[at, at])
            random[mine] = x[at, at] * norm**2
            start[mine] *= np.sqrt(kappa) * norm
            whose.append(np.repeat(mine, group.size))
            member.append(np.tile(group, mine.size))
            fading.append((norm[:, None] * x[at] * np.exp(1j * stats.phase_rad[r0 + group])).ravel())
            noisy.append((norm[:, None] * from_noise[at]).ravel())
    stream, weights = np.concatenate(whose), np.concatenate(fading)
    order = np.argsort(stream, kind="stable")
    return Estimates(
        t_ns=stats.t_ns,
        root_kappa=np.sqrt(stats.kappa),
        start_re=start.real,
        start_im=start.imag,
        random=random,
        member_size=np.bincount(stream, minlength=beams.user.size),
        member=np.concatenate(member)[order],
        fading_re=weights.real[order],
        fading_im=weights.imag[order],
        noise=np.concatenate(noisy)[order],
    )


@njit(cache=True, nogil=True)
def _cholesky(matrix: np.ndarray) -> np.ndarray:
    """Lower factor of a positive semidefinite matrix; a direction already covered gets a column of zeros."""
    n = matrix.shape[0]
    out = np.zeros((n, n))
    for i in range(n):
        left = matrix[i, i]
        for m in range(i):
            left -= out[i, m] ** 2
        if not left > 1e-13 * matrix[i, i]:
            continue
        out[i, i] = math.sqrt(left)
        for j in range(i + 1, n):
            value = matrix[j, i]
            for m in range(i):
                value -= out[i, m] * out[j, m]
            out[j, i] = value / out[i, i]
    return out


def moments(
    receiver_size: np.ndarray, stream_size: np.ndarray, spread_re: np.ndarray, spread_im: np.ndarray, by: Estimates
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean (real, imaginary), variance and steady part of the gains: [coupling], corrected Eq. (51).

    spread_re, spread_im : [coupling] what a unit of fading adds through beams that are plain steering vectors
    """
    return _moments(
        receiver_size,
        stream_size,
        spread_re,
        spread_im,
        by.root_kappa,
        by.start_re,
        by.start_im,
        by.random,
        by.member_size,
        by.member,
        by.fading_re,
        by.fading_im,
    )


@njit(cache=True, nogil=True)
def _moments(
    receiver_size: np.ndarray,
    stream_size: np.ndarray,
    spread_re: np.ndarray,
    spread_im: np.ndarray,
    root_kappa: np.ndarray,
    start_re: np.ndarray,
    start_im: np.ndarray,
    random: np.ndarray,
    member_size: np.ndarray,
    member: np.ndarray,
    fading_re: np.ndarray,
    fading_im: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    size = spread_re.size
    mean_re, mean_im, variance, steady = np.empty(size), np.empty(size), np.empty(size), np.zeros(size)
    block, r0, s0, t0 = 0, 0, 0, 0
    for l in range(stream_size.size):
        n = stream_size[l]
        for j in range(n):
            s = s0 + j
            for t in range(t0, t0 + member_size[s]):
                e = block + member[t] * n + j
                steady[e] = spread_re[e] * fading_re[t] - spread_im[e] * fading_im[t]
            t0 += member_size[s]
            for i in range(receiver_size[l]):
                e = block + i * n + j
                a, b, root = spread_re[e], spread_im[e], root_kappa[r0 + i]
                mean_re[e] = root * (a * start_re[s] - b * start_im[s]) + steady[e]
                mean_im[e] = root * (a * start_im[s] + b * start_re[s])
                variance[e] = (a * a + b * b) * (1.0 + root * root * random[s])
        block += receiver_size[l] * n
        r0 += receiver_size[l]
        s0 += n
    return mean_re, mean_im, variance, steady


def draw(
    c: Couplings, by: Estimates, amplitude: np.ndarray, seed: int, tick: int, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Random weights of the beams that send, real and imaginary: [stream, draw]; of the silent ones 0.

    The fading is that of the gains (stream "fading"), the pilots' noise a stream of its own ("pilot_noise").
    """
    return _draw(
        c.sat,
        c.receiver_size,
        c.stream_size,
        c.receiver,
        amplitude,
        by.start_re,
        by.start_im,
        by.member_size,
        by.member,
        by.fading_re,
        by.fading_im,
        by.noise,
        seed,
        purpose_key("fading"),
        purpose_key("pilot_noise"),
        tick,
        draws,
    )


@njit(cache=True, nogil=True)
def _draw(
    sat: np.ndarray,
    receiver_size: np.ndarray,
    stream_size: np.ndarray,
    receiver: np.ndarray,
    amplitude: np.ndarray,
    start_re: np.ndarray,
    start_im: np.ndarray,
    member_size: np.ndarray,
    member: np.ndarray,
    fading_re: np.ndarray,
    fading_im: np.ndarray,
    noise: np.ndarray,
    seed: int,
    fading_purpose: int,
    noise_purpose: int,
    tick: int,
    draws: int,
) -> tuple[np.ndarray, np.ndarray]:
    out_re, out_im = np.zeros((amplitude.size, draws)), np.zeros((amplitude.size, draws))
    most = 0
    for l in range(sat.size):
        most = max(most, receiver_size[l])
    drawn = np.empty(most, dtype=np.bool_)
    x, y = np.empty((most, draws)), np.empty((most, draws))
    u, v = np.empty((most, draws)), np.empty((most, draws))
    r0, s0, t0 = 0, 0, 0
    for l in range(sat.size):
        drawn[:] = False
        for s in range(s0, s0 + stream_size[l]):
            if amplitude[s] > 0.0:
                out_re[s], out_im[s] = start_re[s], start_im[s]
                for t in range(t0, t0 + member_size[s]):
                    i = member[t]
                    if not drawn[i]:
                        drawn[i] = True
                        user = receiver[r0 + i]
                        complex_normals(pair_prefix(seed, fading_purpose, user, sat[l]), tick * draws, x[i], y[i])
                        complex_normals(pair_prefix(seed, noise_purpose, user, sat[l]), tick * draws, u[i], v[i])
                    for d in range(draws):  # the conjugate of the fading, for the gain has h^H
                        out_re[s, d] += fading_re[t] * x[i, d] + fading_im[t] * y[i, d] + noise[t] * u[i, d]
                        out_im[s, d] += fading_im[t] * x[i, d] - fading_re[t] * y[i, d] + noise[t] * v[i, d]
            t0 += member_size[s]
        r0 += receiver_size[l]
        s0 += stream_size[l]
    return out_re, out_im
