"""From beams and channel statistics to couplings, and from couplings and powers to rates.

Couplings are blocks, one a satellite, normalised so that the noise power is 1. The coherence between
satellites is a transform of the couplings; hardening and ergodic rates go by their own names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from leosim.antenna import array_product
from leosim.channel import Radio
from leosim.records import Beams, ChannelStats, Couplings
from leosim.streams import mix, pair_key, purpose_key, uniform_of

CROSS_TERMS = ("ideal", "finite", "averaged", "noncoherent")


@dataclass(frozen=True)
class Coherence:
    """What is assumed of the carrier phases between satellites.

    cross_terms : how the interference of several satellites adds up over a codeword: `ideal` (frozen
    phases, the paper), `finite` (decorrelated by differential delay and Doppler), `averaged` (powers
    add), `noncoherent` (powers add, for the useful signal too)
    slow_rad, fast_rad : rms phase error of each satellite, tracked by pilots or not (rad)
    bandwidth_hz, codeword_s : what `finite` decorrelates over
    """

    cross_terms: str = "averaged"
    slow_rad: float = 0.0
    fast_rad: float = 0.0
    bandwidth_hz: float = 20e6
    codeword_s: float = 1e-3

    def describe(self) -> str:
        """The coherence model in words, for reports and figures."""
        words = f"cross terms {self.cross_terms}"
        for name, value in (("slow", self.slow_rad), ("fast", self.fast_rad)):
            if value:
                words += f", {name} phase error {math.degrees(value):g}°"
        return words


def couplings(stats: ChannelStats, beams: Beams, radio: Radio) -> Couplings:
    """Mean E and variance V of the gain of every stream at every user in view of its satellite.

    `E_kjl = sqrt(rho kappa v) e^(-i phase_lk) a_lk^H w_lj`, `V_kjl = rho v |a_lk^H w_lj|^2`, with
    `v = beta / (kappa + 1)` and rho over the noise power: Eq. (22), Kim et al. 2024. The beams may have
    been made from other (older, believed) directions and phases than those of `stats`.

    stats : pairs sorted by catalogue number, as `channel.statistics` gives them
    """
    first = np.searchsorted(stats.sat, beams.sat, side="left")
    last = np.searchsorted(stats.sat, beams.sat, side="right")
    receiver_size = last - first
    rows = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)] or [np.empty(0, np.int64)])
    v = stats.beta / (stats.kappa + 1.0)
    spread = np.sqrt(radio.power_to_noise * v)
    total = int(receiver_size @ beams.stream_size)
    mean_re, mean_im, variance, spread_re, spread_im = (np.zeros(total) for _ in range(5))
    _couplings(
        first,
        receiver_size,
        beams.stream_size,
        stats.cosines,
        stats.phase_rad,
        spread,
        np.sqrt(stats.kappa),
        beams.cosines,
        beams.phase_rad,
        beams.coefficient,
        radio.rows,
        radio.columns,
        mean_re,
        mean_im,
        variance,
        spread_re,
        spread_im,
    )
    return Couplings(
        t_ns=stats.t_ns,
        sat=beams.sat,
        receiver_size=receiver_size,
        stream_size=beams.stream_size,
        receiver=stats.user[rows],
        delay_s=stats.delay_s[rows],
        doppler_hz=stats.doppler_hz[rows],
        stream=beams.user,
        mean_re=mean_re,
        mean_im=mean_im,
        variance=variance,
        spread_re=spread_re,
        spread_im=spread_im,
    )


@njit(cache=True, nogil=True)
def _couplings(
    first,
    receiver_size,
    stream_size,
    cosines,
    phase,
    spread,
    root_kappa,
    beam_cosines,
    beam_phase,
    coefficient,
    rows,
    columns,
    mean_re,
    mean_im,
    variance,
    spread_re,
    spread_im,
):
    root_n = math.sqrt(rows * columns)
    out, stream0, coefficient0 = 0, 0, 0
    product = np.empty(stream_size.max() if stream_size.size else 0)
    for l in range(stream_size.size):
        n = stream_size[l]
        for r in range(first[l], first[l] + receiver_size[l]):
            for m in range(n):
                product[m] = (
                    array_product(
                        cosines[r, 0],
                        cosines[r, 1],
                        beam_cosines[stream0 + m, 0],
                        beam_cosines[stream0 + m, 1],
                        rows,
                        columns,
                    )
                    / root_n
                )
            for j in range(n):
                gain = 0.0
                for m in range(n):
                    c = coefficient[coefficient0 + m * n + j]
                    if c != 0.0:
                        gain += c * product[m]
                amplitude = spread[r] * gain
                turn = beam_phase[stream0 + j] - phase[r]
                spread_re[out] = amplitude * math.cos(turn)
                spread_im[out] = amplitude * math.sin(turn)
                mean_re[out] = root_kappa[r] * spread_re[out]
                mean_im[out] = root_kappa[r] * spread_im[out]
                variance[out] = amplitude * amplitude
                out += 1
        stream0 += n
        coefficient0 += n * n


def useful_amplitude(c: Couplings) -> np.ndarray:
    """Mean amplitude b of each stream at its own user, real and non-negative: [stream]."""
    return _useful(c.receiver_size, c.stream_size, c.receiver, c.stream, c.mean_re, c.mean_im)


@njit(cache=True, nogil=True)
def _useful(receiver_size, stream_size, receiver, stream, mean_re, mean_im):
    out = np.zeros(stream.size)
    block, r0, s0 = 0, 0, 0
    for l in range(stream_size.size):
        n = stream_size[l]
        for i in range(receiver_size[l]):
            for j in range(n):
                if receiver[r0 + i] == stream[s0 + j]:
                    e = block + i * n + j
                    out[s0 + j] = math.hypot(mean_re[e], mean_im[e])
        block += receiver_size[l] * n
        r0 += receiver_size[l]
        s0 += n
    return out


def cohere(c: Couplings, coherence: Coherence) -> Couplings:
    """Couplings under a coherence model: what the allocation and the hardening rate are computed on.

    Fast phase errors: `E <- e^(-s^2/2) E`, `V <- V + (1 - e^(-s^2)) |E|^2`. Powers of different satellites
    adding up (`averaged`, `noncoherent`): for streams of other users `V <- V + |E|^2`, `E <- 0`. `finite`
    leaves E, V and is applied pairwise in the rate. The slow error acts on the useful power alone (see
    `hardening_sinr`) and leaves the couplings as they are.
    """
    mean_re, mean_im, variance = c.mean_re.copy(), c.mean_im.copy(), c.variance.copy()
    _cohere(
        c.receiver_size,
        c.stream_size,
        c.receiver,
        c.stream,
        mean_re,
        mean_im,
        variance,
        math.exp(-(coherence.fast_rad**2)),
        coherence.cross_terms in ("averaged", "noncoherent"),
    )
    return c.replace(mean_re=mean_re, mean_im=mean_im, variance=variance)


@njit(cache=True, nogil=True)
def _cohere(receiver_size, stream_size, receiver, stream, mean_re, mean_im, variance, coherent_share, powers_add):
    root = math.sqrt(coherent_share)
    e, r0, s0 = 0, 0, 0
    for l in range(stream_size.size):
        for i in range(receiver_size[l]):
            for j in range(stream_size[l]):
                power = mean_re[e] ** 2 + mean_im[e] ** 2
                if powers_add and receiver[r0 + i] != stream[s0 + j]:
                    variance[e] += power
                    mean_re[e] = 0.0
                    mean_im[e] = 0.0
                else:
                    variance[e] += (1.0 - coherent_share) * power
                    mean_re[e] *= root
                    mean_im[e] *= root
                e += 1
        r0 += receiver_size[l]
        s0 += stream_size[l]


def cross_correlation(c: Couplings, users: int, coherence: Coherence) -> np.ndarray:
    """Correlation Gamma of the streams of two satellites over a codeword: [user k, stream j, sat, sat].

    `Gamma = sinc(B dtau) sinc(T dnu)` with `dtau = (tau_lk - tau_lj) - (tau_l'k - tau_l'j)`, dnu likewise
    of the Doppler shifts. Satellites in the order of `c.sat`; one where either user is out of view has
    rows of zeros but for its diagonal. For a few tens of satellites and users: it is dense.
    """
    count = c.sat.size
    delay, doppler = np.full((users, count), np.nan), np.full((users, count), np.nan)
    block = np.repeat(np.arange(count), c.receiver_size)
    delay[c.receiver, block], doppler[c.receiver, block] = c.delay_s, c.doppler_hz
    tau = delay[:, None, :] - delay[None, :, :]
    nu = doppler[:, None, :] - doppler[None, :, :]
    gamma = np.sinc(coherence.bandwidth_hz * (tau[..., :, None] - tau[..., None, :])) * np.sinc(
        coherence.codeword_s * (nu[..., :, None] - nu[..., None, :])
    )
    gamma[np.isnan(gamma)] = 0.0
    diagonal = np.arange(count)
    gamma[..., diagonal, diagonal] = 1.0
    return gamma


def hardening_sinr(
    c: Couplings, amplitude: np.ndarray, users: int, coherence: Coherence, gamma: np.ndarray | None = None
) -> np.ndarray:
    """SINR of the hardening (use-and-then-forget) bound of every user, Eq. (22), Kim et al. 2024.

    `SINR_k = |sum_l E_kkl p_lk|^2 / (sum_j sum_l V_kjl p_lj^2 + sum_{j != k} |sum_l E_kjl p_lj|^2 + 1)`;
    the useful power is `e^(-s^2) (sum p b)^2 + (1 - e^(-s^2)) sum p^2 b^2` under a slow phase error s, and
    `sum p^2 b^2` when noncoherent; under `finite`, `sum_l sum_l' Re(E E'^*) Gamma p p'` replaces the
    squared cross terms.

    c : couplings after `cohere`; amplitude : [stream] root of the power share; gamma : `cross_correlation`
    (computed when needed and not given). Returns [user]; a user without a stream has 0.
    """
    if coherence.cross_terms == "finite":
        if gamma is None:
            gamma = cross_correlation(c, users, coherence)
    else:
        gamma = np.empty((0, 0, 0, 0))
    slow = 0.0 if coherence.cross_terms == "noncoherent" else math.exp(-(coherence.slow_rad**2))
    return _hardening(
        c.receiver_size,
        c.stream_size,
        c.receiver,
        c.stream,
        c.mean_re,
        c.mean_im,
        c.variance,
        amplitude,
        users,
        slow,
        gamma,
    )


@njit(cache=True, nogil=True)
def _hardening(receiver_size, stream_size, receiver, stream, mean_re, mean_im, variance, amplitude, users, slow, gamma):
    finite = gamma.size > 0
    count = stream_size.size
    sum_re, sum_im = np.zeros((users, users)), np.zeros((users, users))
    interference, separate = np.zeros(users), np.zeros(users)
    cross_re = np.zeros((users, users, count)) if finite else np.zeros((0, 0, 0))
    cross_im = np.zeros((users, users, count)) if finite else np.zeros((0, 0, 0))
    e, r0, s0 = 0, 0, 0
    for l in range(count):
        for i in range(receiver_size[l]):
            k = receiver[r0 + i]
            for j in range(stream_size[l]):
                p = amplitude[s0 + j]
                if p > 0.0:
                    s = stream[s0 + j]
                    a, b = mean_re[e] * p, mean_im[e] * p
                    interference[k] += variance[e] * p * p
                    sum_re[k, s] += a
                    sum_im[k, s] += b
                    if s == k:
                        separate[k] += a * a + b * b
                    elif finite:
                        cross_re[k, s, l] = a
                        cross_im[k, s, l] = b
                e += 1
        r0 += receiver_size[l]
        s0 += stream_size[l]
    sinr = np.zeros(users)
    for k in range(users):
        total = 1.0 + interference[k]
        for s in range(users):
            if s == k:
                continue
            if finite:
                for l in range(count):
                    if cross_re[k, s, l] == 0.0 and cross_im[k, s, l] == 0.0:
                        continue
                    for m in range(count):
                        total += gamma[k, s, l, m] * (
                            cross_re[k, s, l] * cross_re[k, s, m] + cross_im[k, s, l] * cross_im[k, s, m]
                        )
            else:
                total += sum_re[k, s] ** 2 + sum_im[k, s] ** 2
        useful = slow * (sum_re[k, k] ** 2 + sum_im[k, k] ** 2) + (1.0 - slow) * separate[k]
        sinr[k] = useful / total
    return sinr


def ergodic_rate(
    c: Couplings,
    amplitude: np.ndarray,
    users: int,
    coherence: Coherence,
    seed: int,
    tick: int,
    draws: int,
    gamma: np.ndarray | None = None,
) -> np.ndarray:
    """Ergodic rate E[log2(1 + SINR)] of receivers that track their gain, by Monte Carlo (bit/s/Hz).

    Each draw replaces a pair's gain by mean + spread alpha, alpha ~ CN(0, 1) one scalar a pair, keyed by
    seed, tick, user and catalogue number (stream "fading"). Cross terms add as the coherence says; a fast
    phase error leaves `e^(-s^2)` of the useful power and turns the rest into interference; a slow one is
    drawn for each satellite (stream "slow_phase"), since the receiver tracks the sum.

    c : couplings before `cohere`; amplitude : [stream]. Returns [user].
    """
    finite = coherence.cross_terms == "finite"
    if finite and gamma is None:
        gamma = cross_correlation(c, users, coherence)
    mode = CROSS_TERMS.index(coherence.cross_terms)
    return _ergodic(
        c.sat,
        c.receiver_size,
        c.stream_size,
        c.receiver,
        c.stream,
        c.mean_re,
        c.mean_im,
        c.spread_re,
        c.spread_im,
        amplitude,
        users,
        mode,
        math.exp(-(coherence.fast_rad**2)),
        coherence.slow_rad,
        np.empty((0, 0, 0, 0)) if gamma is None or not finite else gamma,
        seed,
        purpose_key("fading"),
        purpose_key("slow_phase"),
        tick,
        draws,
    )


@njit(cache=True, nogil=True)
def _ergodic(
    sat,
    receiver_size,
    stream_size,
    receiver,
    stream,
    mean_re,
    mean_im,
    spread_re,
    spread_im,
    amplitude,
    users,
    mode,
    fast_share,
    slow_rad,
    gamma,
    seed,
    purpose,
    slow_purpose,
    tick,
    draws,
):
    count = sat.size
    active = np.zeros(count, dtype=np.bool_)
    served = np.zeros(users, dtype=np.bool_)
    block0 = np.zeros(count, dtype=np.int64)
    receiver0 = np.zeros(count, dtype=np.int64)
    stream0 = np.zeros(count, dtype=np.int64)
    block, r0, s0 = 0, 0, 0
    for l in range(count):
        block0[l], receiver0[l], stream0[l] = block, r0, s0
        for j in range(stream_size[l]):
            if amplitude[s0 + j] > 0.0:
                active[l] = True
                served[stream[s0 + j]] = True
        block += receiver_size[l] * stream_size[l]
        r0 += receiver_size[l]
        s0 += stream_size[l]
    where = np.full(count, -1, dtype=np.int64)
    sum_re, sum_im, powers = np.zeros(users), np.zeros(users), np.zeros(users)
    finite = mode == 1
    cross_re = np.zeros((users, count)) if finite else np.zeros((0, 0))
    cross_im = np.zeros((users, count)) if finite else np.zeros((0, 0))
    rate = np.zeros(users)
    for k in range(users):
        if not served[k]:
            continue
        for l in range(count):
            where[l] = -1
            if active[l]:
                for i in range(receiver_size[l]):
                    if receiver[receiver0[l] + i] == k:
                        where[l] = i
        for d in range(draws):
            sum_re[:] = 0.0
            sum_im[:] = 0.0
            powers[:] = 0.0
            if finite:
                cross_re[:] = 0.0
                cross_im[:] = 0.0
            for l in range(count):
                if where[l] < 0:
                    continue
                key = pair_key(seed, purpose, k, sat[l], tick * draws + d)
                radius = math.sqrt(-math.log(uniform_of(key)))
                angle = 2.0 * math.pi * uniform_of(mix(key))
                x, y = radius * math.cos(angle), radius * math.sin(angle)
                turn = 0.0
                if slow_rad > 0.0:
                    key = pair_key(seed, slow_purpose, k, sat[l], tick * draws + d)
                    turn = (
                        slow_rad
                        * math.sqrt(-2.0 * math.log(uniform_of(key)))
                        * math.cos(2.0 * math.pi * uniform_of(mix(key)))
                    )
                e = block0[l] + where[l] * stream_size[l]
                for j in range(stream_size[l]):
                    p = amplitude[stream0[l] + j]
                    if p > 0.0:
                        s = stream[stream0[l] + j]
                        a = p * (mean_re[e + j] + spread_re[e + j] * x - spread_im[e + j] * y)
                        b = p * (mean_im[e + j] + spread_re[e + j] * y + spread_im[e + j] * x)
                        if turn != 0.0:
                            ct, st = math.cos(turn), math.sin(turn)
                            a, b = a * ct - b * st, a * st + b * ct
                        sum_re[s] += a
                        sum_im[s] += b
                        powers[s] += a * a + b * b
                        if finite:
                            cross_re[s, l] = a
                            cross_im[s, l] = b
            useful, total = 0.0, 1.0
            for s in range(users):
                coherent = sum_re[s] ** 2 + sum_im[s] ** 2
                if s == k:
                    useful = powers[s] if mode == 3 else coherent
                    if mode != 3:
                        total += (1.0 - fast_share) * powers[s]
                        useful *= fast_share
                elif mode == 0:
                    total += fast_share * coherent + (1.0 - fast_share) * powers[s]
                elif finite:
                    for l in range(count):
                        for m in range(count):
                            share = 1.0 if l == m else fast_share
                            total += (
                                share
                                * gamma[k, s, l, m]
                                * (cross_re[s, l] * cross_re[s, m] + cross_im[s, l] * cross_im[s, m])
                            )
                else:
                    total += powers[s]
            rate[k] += math.log2(1.0 + useful / total)
        rate[k] /= draws
    return rate


def spectral_efficiency(sinr: np.ndarray) -> np.ndarray:
    """`log2(1 + SINR)` (bit/s/Hz)."""
    return np.log2(1.0 + sinr)


def dense(c: Couplings, users: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Couplings as dense arrays: mean [user, stream, sat] complex, variance likewise, may serve [user, sat].

    For tests, small problems and the `finite` coherence model; large ones stay in blocks.
    """
    mean = np.zeros((users, users, c.sat.size), dtype=complex)
    variance = np.zeros((users, users, c.sat.size))
    allowed = np.zeros((users, c.sat.size), dtype=bool)
    block, r0, s0 = 0, 0, 0
    for l, (m, n) in enumerate(zip(c.receiver_size.tolist(), c.stream_size.tolist(), strict=True)):
        receiver, stream = c.receiver[r0 : r0 + m], c.stream[s0 : s0 + n]
        part = slice(block, block + m * n)
        where = np.ix_(receiver, stream, [l])
        mean[where] = (c.mean_re[part] + 1j * c.mean_im[part]).reshape(m, n, 1)
        variance[where] = c.variance[part].reshape(m, n, 1)
        allowed[stream, l] = True
        block, r0, s0 = block + m * n, r0 + m, s0 + n
    return mean, variance, allowed
