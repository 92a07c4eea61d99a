"""From beams and channel statistics to couplings, and from couplings and powers to rates.

Couplings are blocks, one a satellite, normalised so that the noise power is 1. The coherence between
satellites is a transform of the couplings; hardening and ergodic rates go by their own names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from leosim import parallel, pilots
from leosim.antenna import direction_phasors, phasor_product
from leosim.channel import Radio
from leosim.records import Beams, ChannelStats, Couplings
from leosim.streams import complex_normals, mix, normal_of, pair_prefix, purpose_key

CROSS_TERMS = ("ideal", "finite", "averaged", "noncoherent")


@dataclass(frozen=True)
class Coherence:
    """What is assumed of the carrier phases between satellites.

    cross_terms : how the interference of several satellites adds up over a codeword: `ideal` (frozen
    phases, the paper), `finite` (decorrelated by differential delay and Doppler), `averaged` (powers
    add), `noncoherent` (powers add, for the useful signal too)
    slow_rad, fast_rad : rms phase error of each satellite, tracked by pilots or not (rad)
    bandwidth_hz, codeword_s : what `finite` decorrelates over
    planned_share : share of the power of cross terms that decisions take to be coherent, the rest to add as power,
    whatever cross_terms are in truth; None: decisions plan under cross_terms
    """

    cross_terms: str = "averaged"
    slow_rad: float = 0.0
    fast_rad: float = 0.0
    bandwidth_hz: float = 20e6
    codeword_s: float = 1e-3
    planned_share: float | None = None

    def describe(self) -> str:
        """The coherence model in words, for reports and figures."""
        words = f"cross terms {self.cross_terms}"
        for name, value in (("slow", self.slow_rad), ("fast", self.fast_rad)):
            if value:
                words += f", {name} phase error {math.degrees(value):g}°"
        if self.planned_share is not None:
            words += f", planned for a coherent share of {self.planned_share:g}"
        return words

    def planned(self) -> Coherence:
        """What decisions plan under: the powers of cross terms add but for `planned_share`, if there is one."""
        return self if self.planned_share is None else replace(self, cross_terms="averaged")


def couplings(stats: ChannelStats, beams: Beams, radio: Radio) -> Couplings:
    """Mean E and variance V of the gain of every stream at every user in view of its satellite.

    `E_kjl = sqrt(rho kappa v) e^(-i phase_lk) a_lk^H w_lj`, `V_kjl = rho v |a_lk^H w_lj|^2`, with
    `v = beta / (kappa + 1)` and rho over the noise power: Eq. (22), Kim et al. 2024. The beams may have
    been made from other (older, believed) directions and phases than those of `stats`.

    Beams made from estimates (`beams.pilots`, w = eps_lj a_lj / sqrt(N)) have, by the corrected Eq. (51), E = r + c,
    `r = sqrt(rho/N) e^(i (phi_lj - phi_lk)) sqrt(kappa_lk kappa_lj v_lk / (kappa_lj + x_ljj)) a_lk^H a_lj`,
    `c = sqrt(rho/N) x_ljk sqrt(v_lj / (kappa_lj + x_ljj)) a_lk^H a_lj` and
    `V = (rho/N) v_lk (1 + kappa_lk x_ljj / (kappa_lj + x_ljj)) |a_lk^H a_lj|^2` (see `pilots.estimates`).

    Costs receivers x (directions + terms) of each satellite.

    stats : pairs sorted by catalogue number, as `channel.statistics` gives them
    """
    first = np.searchsorted(stats.sat, beams.sat, side="left")
    receiver_size = np.searchsorted(stats.sat, beams.sat, side="right") - first
    block_start = np.cumsum(receiver_size) - receiver_size
    rows = np.arange(receiver_size.sum()) + np.repeat(first - block_start, receiver_size)
    sizes = (receiver_size * beams.stream_size, receiver_size, beams.direction_size, beams.stream_size)
    terms = _starts(beams.term_size)[_starts(beams.stream_size)]
    starts = np.column_stack([*(_starts(size) for size in sizes), terms])
    mean_re, mean_im, variance, spread_re, spread_im = (np.empty(starts[-1, 0]) for _ in range(5))
    arrays = (
        starts,
        beams.term_size,
        stats.cosines[rows],
        stats.phase_rad[rows],
        np.sqrt(radio.power_to_noise * stats.beta[rows] / (stats.kappa[rows] + 1.0)),
        np.sqrt(stats.kappa[rows]),
        beams.cosines,
        np.zeros_like(beams.phase_rad) if beams.pilots else beams.phase_rad,
        beams.direction,
        beams.coefficient,
        radio.rows,
        radio.columns,
        mean_re,
        mean_im,
        variance,
        spread_re,
        spread_im,
    )
    parallel.each_range(beams.sat.size, lambda l0, l1: _couplings(l0, l1, *arrays))
    steady, estimates = np.empty(0), None
    if beams.pilots:
        heard = {name: getattr(stats, name)[rows] for name in ChannelStats.array_fields()}
        of_receivers = ChannelStats(t_ns=stats.t_ns, **heard)
        estimates = pilots.estimates(of_receivers, receiver_size, beams, radio.rows, radio.columns)
        mean_re, mean_im, variance, steady = pilots.moments(
            receiver_size, beams.stream_size, spread_re, spread_im, estimates
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
        steady=steady,
        estimates=estimates,
    )


def _starts(sizes: np.ndarray) -> np.ndarray:
    """Where each one's rows begin, and where the last one's end: [size + 1]."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


@njit(cache=True, nogil=True)
def _couplings(
    l0: int,
    l1: int,
    starts: np.ndarray,
    term_size: np.ndarray,
    cosines: np.ndarray,
    phase: np.ndarray,
    spread: np.ndarray,
    root_kappa: np.ndarray,
    beam_cosines: np.ndarray,
    beam_phase: np.ndarray,
    direction: np.ndarray,
    coefficient: np.ndarray,
    rows: int,
    columns: int,
    mean_re: np.ndarray,
    mean_im: np.ndarray,
    variance: np.ndarray,
    spread_re: np.ndarray,
    spread_im: np.ndarray,
) -> None:
    # The blocks of satellites l0..l1. starts : [sat + 1, 5] first coupling, receiver, direction, stream, term.
    per_root_n = 1.0 / math.sqrt(rows * columns)
    out, r0, d0, s0, _ = starts[l0]
    _, r1, d1, s1, _ = starts[l1]
    here = direction_phasors(cosines[r0:r1], rows, columns)
    there = direction_phasors(beam_cosines[d0:d1], rows, columns)
    stream_cos, stream_sin = np.cos(beam_phase[s0:s1]), np.sin(beam_phase[s0:s1])
    product = np.empty(d1 - d0)  # a^H a / sqrt(N) of the receiver with each direction of the satellite
    for l in range(l0, l1):
        first, first_term = starts[l, 2], starts[l, 4]
        for r in range(starts[l, 1], starts[l + 1, 1]):
            for d in range(first, starts[l + 1, 2]):
                product[d - first] = per_root_n * phasor_product(
                    cosines[r], here[r - r0], beam_cosines[d], there[d - d0], rows, columns
                )
            cos_r, sin_r = math.cos(phase[r]), math.sin(phase[r])
            t = first_term
            for j in range(starts[l, 3], starts[l + 1, 3]):
                gain = 0.0
                for _ in range(term_size[j]):
                    gain += coefficient[t] * product[direction[t]]
                    t += 1
                amplitude = spread[r] * gain
                a = amplitude * (stream_cos[j - s0] * cos_r + stream_sin[j - s0] * sin_r)
                b = amplitude * (stream_sin[j - s0] * cos_r - stream_cos[j - s0] * sin_r)
                spread_re[out], spread_im[out] = a, b
                mean_re[out], mean_im[out] = root_kappa[r] * a, root_kappa[r] * b
                variance[out] = amplitude * amplitude
                out += 1


def useful_amplitude(c: Couplings, slow_rad: float = 0.0) -> np.ndarray:
    """Mean amplitude b of each stream at its own user, real and non-negative: [stream].

    Under a slow phase error s what an allocation counts on: `|e^(-s^2/2) r + c|`.
    """
    root = math.exp(-0.5 * slow_rad**2)
    return _useful(c.receiver_size, c.stream_size, c.receiver, c.stream, c.mean_re, c.mean_im, c.steady, root)


@njit(cache=True, nogil=True)
def _useful(
    receiver_size: np.ndarray,
    stream_size: np.ndarray,
    receiver: np.ndarray,
    stream: np.ndarray,
    mean_re: np.ndarray,
    mean_im: np.ndarray,
    steady: np.ndarray,
    root: float,
) -> np.ndarray:
    out = np.zeros(stream.size)
    block, r0, s0 = 0, 0, 0
    for l in range(stream_size.size):
        n = stream_size[l]
        for i in range(receiver_size[l]):
            for j in range(n):
                if receiver[r0 + i] == stream[s0 + j]:
                    e = block + i * n + j
                    if steady.size:
                        out[s0 + j] = math.hypot(root * (mean_re[e] - steady[e]) + steady[e], root * mean_im[e])
                    else:
                        out[s0 + j] = math.hypot(mean_re[e], mean_im[e]) * root
        block += receiver_size[l] * n
        r0 += receiver_size[l]
        s0 += n
    return out


def cohere(c: Couplings, coherence: Coherence, coherent_share: float = 0.0) -> Couplings:
    """Couplings under a coherence model: what the allocation and the hardening rate are computed on.

    Fast phase errors, of the codeword and counted from the pilots, turn all a satellite sends:
    `E <- e^(-s^2/2) E`, `V <- V + (1 - e^(-s^2)) |E|^2`. The slow error acts on the useful power alone
    (see `hardening_sinr`) and leaves the couplings as they are. For streams of other users, with E = r + c:

    - `averaged`: `V <- V + |r|^2`, `E <- c`, for only r turns with the phases of the channels;
    - `noncoherent`: `V <- V + |r|^2 + c^2`, `E <- 0`: the powers of everything add;
    - `finite`: r and c keep apart, and are applied pairwise in the rate; their product, which turns with the whole
      differential delay and Doppler, counts as averaged.

    coherent_share : under `averaged`, share s of the power of r that is coherent nevertheless:
        `V <- V + (1 - s) |r|^2`, `E <- sqrt(s) r + c`, so that s = 0 is `averaged` and s = 1 `ideal`
    """
    mean_re, mean_im, variance, steady = c.mean_re.copy(), c.mean_im.copy(), c.variance.copy(), c.steady.copy()
    _cohere(
        c.receiver_size,
        c.stream_size,
        c.receiver,
        c.stream,
        mean_re,
        mean_im,
        variance,
        steady,
        math.exp(-(coherence.fast_rad**2)),
        CROSS_TERMS.index(coherence.cross_terms),
        math.sqrt(coherent_share),
    )
    if coherence.cross_terms == "noncoherent":
        steady = np.empty(0)
    return c.replace(mean_re=mean_re, mean_im=mean_im, variance=variance, steady=steady)


@njit(cache=True, nogil=True)
def _cohere(
    receiver_size: np.ndarray,
    stream_size: np.ndarray,
    receiver: np.ndarray,
    stream: np.ndarray,
    mean_re: np.ndarray,
    mean_im: np.ndarray,
    variance: np.ndarray,
    steady: np.ndarray,
    tracked: float,
    mode: int,
    planned: float,
) -> None:
    # tracked : share of the power that fast phase errors leave; planned : root of the coherent share
    root = math.sqrt(tracked)
    e, r0, s0 = 0, 0, 0
    for l in range(stream_size.size):
        for i in range(receiver_size[l]):
            for j in range(stream_size[l]):
                kept = steady[e] if steady.size else 0.0
                if receiver[r0 + i] == stream[s0 + j] or mode == 0:
                    turning, lasting = mean_re[e] ** 2 + mean_im[e] ** 2, 0.0
                else:
                    turning, lasting = (mean_re[e] - kept) ** 2 + mean_im[e] ** 2, kept**2
                if receiver[r0 + i] == stream[s0 + j] or mode < 2:
                    variance[e] += (1.0 - tracked) * (turning + lasting)
                elif mode == 2:
                    variance[e] += (1.0 - planned * planned) * turning
                    mean_re[e] = planned * (mean_re[e] - kept) + kept
                    mean_im[e] = planned * mean_im[e]
                    variance[e] += (1.0 - tracked) * (mean_re[e] ** 2 + mean_im[e] ** 2)
                else:
                    variance[e] += turning + lasting
                    mean_re[e], mean_im[e] = 0.0, 0.0
                mean_re[e] *= root
                mean_im[e] *= root
                if steady.size:
                    steady[e] *= root
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
    return _cross_correlation(coherence.bandwidth_hz * delay, coherence.codeword_s * doppler)


@njit(cache=True, nogil=True, inline="always")
def _sinc(z: float) -> float:
    return math.sin(math.pi * z) / (math.pi * z) if z != 0.0 else 1.0


@njit(cache=True, nogil=True)
def _cross_correlation(band_delay: np.ndarray, word_doppler: np.ndarray) -> np.ndarray:
    users, count = band_delay.shape
    gamma = np.zeros((users, users, count, count))
    for k in range(users):
        for j in range(k + 1):
            for l in range(count):
                gamma[k, j, l, l] = 1.0
                tau = band_delay[k, l] - band_delay[j, l]
                nu = word_doppler[k, l] - word_doppler[j, l]
                if math.isnan(tau):
                    continue
                for m in range(l):
                    turns = tau - (band_delay[k, m] - band_delay[j, m])
                    if not math.isnan(turns):
                        value = _sinc(turns) * _sinc(nu - (word_doppler[k, m] - word_doppler[j, m]))
                        gamma[k, j, l, m] = value
                        gamma[k, j, m, l] = value
            gamma[j, k] = gamma[k, j]
    return gamma


def hardening_sinr(
    c: Couplings, amplitude: np.ndarray, users: int, coherence: Coherence, gamma: np.ndarray | None = None
) -> np.ndarray:
    """SINR of the hardening (use-and-then-forget) bound of every user, Eq. (22), Kim et al. 2024.

    `SINR_k = |sum_l E_kkl p_lk|^2 / (sum_j sum_l V_kjl p_lj^2 + sum_{j != k} |sum_l E_kjl p_lj|^2 + 1)`;
    the useful power is `e^(-s^2) (sum p b)^2 + (1 - e^(-s^2)) sum p^2 b^2` under a slow phase error s, and
    `sum p^2 b^2` when noncoherent; under `finite`, `sum_l sum_l' Re(E E'^*) Gamma p p'` replaces the
    squared cross terms. Where beams are made from estimates, E = r + c: slow errors and Gamma act on r alone,
    useful power is `(sum p (e^(-s^2/2) r + c))^2 + (1 - e^(-s^2)) sum p^2 r^2`, and `(sum c p)^2` joins a cross term.

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
        c.steady,
        amplitude,
        users,
        slow,
        gamma,
    )


@njit(cache=True, nogil=True)
def _hardening(
    receiver_size: np.ndarray,
    stream_size: np.ndarray,
    receiver: np.ndarray,
    stream: np.ndarray,
    mean_re: np.ndarray,
    mean_im: np.ndarray,
    variance: np.ndarray,
    steady: np.ndarray,
    amplitude: np.ndarray,
    users: int,
    slow: float,
    gamma: np.ndarray,
) -> np.ndarray:
    finite, estimated = gamma.size > 0, steady.size > 0
    root_slow = math.sqrt(slow)
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
                    if estimated:
                        lasting = steady[e] * p
                        a -= lasting
                        if s == k:
                            sum_re[k, s] += root_slow * a + lasting
                            sum_im[k, s] += root_slow * b
                        else:
                            sum_re[k, s] += lasting if finite else a + lasting
                            sum_im[k, s] += 0.0 if finite else b
                    else:
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
            if estimated or not finite:
                total += sum_re[k, s] ** 2 + sum_im[k, s] ** 2
        coherent = (1.0 if estimated else slow) * (sum_re[k, k] ** 2 + sum_im[k, k] ** 2)
        useful = coherent + (1.0 - slow) * separate[k]
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

    With beams made from estimates the gain is spread (sqrt(kappa) + alpha) eps, the weights eps drawn with the
    same fading; of it `steady |alpha|^2` does not rotate, the rest is treated as the gains above. Costs coupled
    pairs x draws.

    c : couplings before `cohere`; amplitude : [stream]. Returns [user].
    """
    finite = coherence.cross_terms == "finite"
    if finite and gamma is None:
        gamma = cross_correlation(c, users, coherence)
    weight_re, weight_im, root_kappa = np.empty((0, 0)), np.empty((0, 0)), np.empty(0)
    if c.estimates is not None:
        weight_re, weight_im = pilots.draw(c, c.estimates, amplitude, seed, tick, draws)
        root_kappa = c.estimates.root_kappa
    rate = np.zeros(users)
    arguments = (
        c.sat,
        c.receiver_size,
        c.stream_size,
        c.receiver,
        c.stream,
        c.mean_re,
        c.mean_im,
        c.spread_re,
        c.spread_im,
        c.steady,
        root_kappa,
        weight_re,
        weight_im,
        amplitude,
        CROSS_TERMS.index(coherence.cross_terms),
        math.exp(-(coherence.fast_rad**2)),
        coherence.slow_rad,
        np.empty((0, 0, 0, 0)) if gamma is None or not finite else gamma,
        seed,
        purpose_key("fading"),
        purpose_key("slow_phase"),
        tick,
        draws,
        rate,
    )
    parallel.each_range(users, lambda k0, k1: _ergodic(k0, k1, *arguments))
    return rate


@njit(cache=True, nogil=True)
def _ergodic(
    k0: int,
    k1: int,
    sat: np.ndarray,
    receiver_size: np.ndarray,
    stream_size: np.ndarray,
    receiver: np.ndarray,
    stream: np.ndarray,
    mean_re: np.ndarray,
    mean_im: np.ndarray,
    spread_re: np.ndarray,
    spread_im: np.ndarray,
    steady: np.ndarray,
    root_kappa: np.ndarray,
    weight_re: np.ndarray,
    weight_im: np.ndarray,
    amplitude: np.ndarray,
    mode: int,
    fast_share: float,
    slow_rad: float,
    gamma: np.ndarray,
    seed: int,
    purpose: int,
    slow_purpose: int,
    tick: int,
    draws: int,
    rate: np.ndarray,
) -> None:
    # The rates of users k0..k1.
    users = rate.size
    finite, estimated = mode == 1, steady.size > 0
    served = np.zeros(users, dtype=np.bool_)
    for j in range(stream.size):
        if amplitude[j] > 0.0:
            served[stream[j]] = True
    hears, at_sat, at_row, at_block, s_start = _receptions(users, receiver_size, stream_size, receiver)
    # Of the streams a user hears, in the order it meets them; `place` says where each is.
    place, heard = np.full(users, -1), np.empty(users, dtype=np.int64)
    sum_re, sum_im, powers = np.empty((users, draws)), np.empty((users, draws)), np.empty((users, draws))
    lasting = np.empty((users, draws)) if estimated else np.empty((0, 0))
    most = np.diff(hears).max() if finite and users else 0
    cross_re, cross_im = np.empty((users, most, draws)), np.empty((users, most, draws))
    members, member_count = np.empty((users, most), dtype=np.int64), np.zeros(users, dtype=np.int64)
    x, y, total = np.empty(draws), np.empty(draws), np.empty(draws)
    turn_re, turn_im = np.ones(draws), np.zeros(draws)
    for k in range(k0, k1):
        if not served[k]:
            continue
        count = 0
        for at in range(hears[k], hears[k + 1]):
            l, drawn = at_sat[at], False
            for j in range(stream_size[l]):
                p = amplitude[s_start[l] + j]
                if not p > 0.0:
                    continue
                if not drawn:
                    drawn = True
                    complex_normals(pair_prefix(seed, purpose, k, sat[l]), tick * draws, x, y)
                    if slow_rad > 0.0:
                        prefix = pair_prefix(seed, slow_purpose, k, sat[l])
                        for t in range(draws):
                            turn = slow_rad * normal_of(mix(prefix ^ np.uint64(tick * draws + t)))
                            turn_re[t], turn_im[t] = math.cos(turn), math.sin(turn)
                e = at_block[at] + j
                s = stream[s_start[l] + j]
                if place[s] < 0:
                    place[s] = count
                    heard[count] = s
                    sum_re[count] = 0.0
                    sum_im[count] = 0.0
                    powers[count] = 0.0
                    if estimated:
                        lasting[count] = 0.0
                    member_count[count] = 0
                    count += 1
                q = place[s]
                a, b, c, d = p * mean_re[e], p * mean_im[e], p * spread_re[e], p * spread_im[e]
                still = 0.0
                for t in range(draws):
                    if estimated:
                        g, h = root_kappa[at_row[at]] + x[t], y[t]
                        g, h = c * g - d * h, c * h + d * g
                        f, i = weight_re[s_start[l] + j, t], weight_im[s_start[l] + j, t]
                        still = p * steady[e] * (x[t] * x[t] + y[t] * y[t])
                        re, im = g * f - h * i - still, g * i + h * f
                    else:
                        re, im = a + c * x[t] - d * y[t], b + c * y[t] + d * x[t]
                    re, im = re * turn_re[t] - im * turn_im[t], re * turn_im[t] + im * turn_re[t]
                    if finite:
                        cross_re[q, member_count[q], t], cross_im[q, member_count[q], t] = re, im
                    if not estimated:
                        powers[q, t] += re * re + im * im
                    elif s == k or mode == 0:
                        re += still
                        powers[q, t] += re * re + im * im
                    else:
                        lasting[q, t] += still
                        powers[q, t] += re * re + im * im + (1.0 if mode == 3 else 1.0 - fast_share) * still * still
                    sum_re[q, t] += re
                    sum_im[q, t] += im
                if finite:
                    members[q, member_count[q]] = l
                    member_count[q] += 1
        total[:] = 1.0
        for s in np.sort(heard[:count]):
            q = place[s]
            place[s] = -1
            if s == k:
                continue
            if mode == 0:
                for t in range(draws):
                    coherent = sum_re[q, t] ** 2 + sum_im[q, t] ** 2
                    total[t] += fast_share * coherent + (1.0 - fast_share) * powers[q, t]
                continue
            for t in range(draws):
                total[t] += powers[q, t]
            if estimated and mode != 3:
                for t in range(draws):
                    total[t] += fast_share * lasting[q, t] ** 2
            for i in range(member_count[q]):
                for h in range(i):
                    weight = 2.0 * fast_share * gamma[k, s, members[q, i], members[q, h]]
                    for t in range(draws):
                        total[t] += weight * (
                            cross_re[q, i, t] * cross_re[q, h, t] + cross_im[q, i, t] * cross_im[q, h, t]
                        )
        own = np.flatnonzero(heard[:count] == k)
        if not own.size:
            continue
        q = own[0]
        for t in range(draws):
            useful = powers[q, t] if mode == 3 else sum_re[q, t] ** 2 + sum_im[q, t] ** 2
            rate[k] += math.log2(1.0 + fast_share * useful / (total[t] + (1.0 - fast_share) * powers[q, t]))
        rate[k] /= draws


@njit(cache=True, nogil=True)
def _receptions(
    users: int, receiver_size: np.ndarray, stream_size: np.ndarray, receiver: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where each user is a receiver: pointers [user + 1] into satellite, receiver row and first coupling of that row.

    Satellites of a user are in order. Last: the first stream of each satellite.
    """
    first = np.zeros(users + 1, dtype=np.int64)
    for r in range(receiver.size):
        first[receiver[r] + 1] += 1
    first = np.cumsum(first)
    fill = first[:-1].copy()
    at_sat, at_row = np.empty(receiver.size, dtype=np.int64), np.empty(receiver.size, dtype=np.int64)
    at_block, s_start = np.empty(receiver.size, dtype=np.int64), np.empty(stream_size.size, dtype=np.int64)
    block, r, s = 0, 0, 0
    for l in range(stream_size.size):
        s_start[l] = s
        for _ in range(receiver_size[l]):
            place = fill[receiver[r]]
            fill[receiver[r]] += 1
            at_sat[place], at_row[place], at_block[place] = l, r, block
            block += stream_size[l]
            r += 1
        s += stream_size[l]
    return first, at_sat, at_row, at_block, s_start


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
        where = np.ix_(receiver, stream, np.array([l]))
        mean[where] = (c.mean_re[part] + 1j * c.mean_im[part]).reshape(m, n, 1)
        variance[where] = c.variance[part].reshape(m, n, 1)
        allowed[stream, l] = True
        block, r0, s0 = block + m * n, r0 + m, s0 + n
    return mean, variance, allowed
