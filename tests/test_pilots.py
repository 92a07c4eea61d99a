"""Beams made from pilot estimates against explicit antenna vectors: pilots, noise, MMSE filters, normalisation."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from test_rates import (
    AVERAGED,
    FINITE,
    IDEAL,
    NONCOHERENT,
    assert_within,
    forgetful_sinr,
    on_grid,
    powers,
    radio,
    scene,
    serve,
    standard_errors,
)

from leosim import channel, rates, views
from leosim.beamforming import imrt
from leosim.channel import Radio
from leosim.couplings import sinr
from leosim.rates import Coherence
from leosim.records import Beams, ChannelStats, View
from leosim.units import w_to_dbm

rounding = 1e-11


def estimated(stats: ChannelStats, r: Radio, tau_p: int, snr_db: float) -> Beams:
    """Beams of iMRT; pilots of so many decibels over the noise at one antenna, of a user in the middle."""
    csi = channel.observe(stats, np.ones(stats.user.size, dtype=bool), np.full(stats.user.size, 100.0))
    eta_w = r.noise_w / float(np.median(stats.beta)) * 10 ** (snr_db / 10)
    return imrt.beams(csi, imrt.Params(tau_p=tau_p, eta_dbm=w_to_dbm(eta_w)), r)


def explicit(
    stats: ChannelStats,
    beams: Beams,
    r: Radio,
    users: int,
    draws: int,
    seed: int,
    theta: np.ndarray | None = None,
) -> np.ndarray:
    """Gains h_k^H w_j sqrt(rho / sigma2), w_j from the MMSE estimate of h_j: [draw, user, stream, sat].

    theta : [draw, sat, user] turns of the channels (their line of sight known with it), at pilots and codeword alike
    """
    rng = np.random.default_rng(seed)
    sats, tau = beams.sat.size, int(beams.pilots)
    a = steering_of(stats, r).reshape(sats, users, -1)
    v, kappa, phase = ((x.reshape(sats, users)) for x in (stats.beta / (stats.kappa + 1), stats.kappa, stats.phase_rad))
    psi = np.exp(2j * np.pi * np.outer(np.arange(tau), np.arange(tau)) / tau) / math.sqrt(tau)
    psi = psi[:, np.arange(users) % tau]  # [symbol, user]
    s = float(beams.pilot_noise)

    def normals(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / math.sqrt(2)

    out = np.empty((draws, users, users, sats), dtype=complex)
    turn = np.zeros((draws, sats, users)) if theta is None else theta
    for l in range(sats):
        mean = np.sqrt(kappa[l] * v[l]) * np.exp(1j * (phase[l] + turn[:, l]))  # [draw, user]
        h = (mean + np.sqrt(v[l]) * normals(draws, users))[..., None] * a[l]
        received = np.einsum("dun,tu->dnt", h, psi.conj()) + math.sqrt(s) * normals(draws, r.antennas, tau)
        for j in range(users):
            product = psi.conj().T @ psi[:, j]  # psi_i^H psi_j
            covariance = (a[l].T * (v[l] * np.abs(product) ** 2)) @ a[l].conj() + s * np.eye(r.antennas)
            own = v[l, j] * np.outer(a[l, j], a[l, j].conj())
            filter_of = own @ np.linalg.inv(covariance)
            deviation = received @ psi[:, j] - (mean * product) @ a[l]
            estimate = mean[:, j, None] * a[l, j] + deviation @ filter_of.T
            power = kappa[l, j] * v[l, j] * r.antennas + np.trace(filter_of @ own).real
            out[:, :, j, l] = math.sqrt(r.power_to_noise / power) * np.einsum("dun,dn->du", h.conj(), estimate)
    return out


def steering_of(stats: ChannelStats, r: Radio) -> np.ndarray:
    """Steering vectors by their definition, [pair, ant]."""
    m, n = np.arange(r.rows) - (r.rows - 1) / 2, np.arange(r.columns) - (r.columns - 1) / 2
    u, v = stats.cosines[:, 0, None, None], stats.cosines[:, 1, None, None]
    return np.exp(1j * np.pi * (m[:, None] * u + n * v)).reshape(len(stats.cosines), -1)


def case(seed: int, users: int = 5, tau_p: int = 2, snr_db: float = 3.0, quiet: float = 4.0, disc_m: float = 200e3):
    """A scene of three satellites in which estimates matter: little line of sight, noisy pilots, few of them."""
    r = radio(rows=4, columns=3, k_factor_db=(-6.0, 6.0), noise_w=radio().noise_w / quiet)
    stats = scene(3, users, r, seed=seed, disc_m=disc_m)
    beams = estimated(stats, r, tau_p, snr_db)
    return r, stats, beams, rates.couplings(stats, beams, r)


@pytest.mark.parametrize(
    ("seed", "users", "tau_p", "snr_db"), [(0, 5, 2, 3.0), (1, 6, 4, -10.0), (2, 4, 1, 10.0), (3, 3, 4, 0.0)]
)
def test_moments_are_those_of_explicit_estimates(seed: int, users: int, tau_p: int, snr_db: float) -> None:
    r, stats, beams, c = case(seed, users, tau_p=tau_p, snr_db=snr_db)
    draws = 20_000
    gain = explicit(stats, beams, r, users, draws, seed + 10)
    mean, variance, _ = rates.dense(c, users)
    z = np.abs(gain.mean(axis=0) - mean) / np.sqrt(variance / draws)
    assert z.max() < standard_errors
    assert np.quantile(z, 0.97) < 3.0
    deviation = np.abs(gain - mean) ** 2
    z = np.abs(deviation.mean(axis=0) - variance) / (deviation.std(axis=0) / math.sqrt(draws))
    assert z.max() < standard_errors
    assert np.quantile(z, 0.97) < 3.0
    # Estimates are no ornament here: the mean of sMRT is far off, and so is a variance with v of the stream's user.
    plain, _, _ = rates.dense(rates.couplings(stats, serve(stats, r), r), users)
    assert (np.abs(gain.mean(axis=0) - plain) / np.sqrt(variance / draws)).max() > 20


def test_the_steady_part_is_what_random_phases_leave() -> None:
    """Mean over random phases of every channel: c for the streams of others, r + c for one's own."""
    r, stats, beams, c = case(4)
    draws = 20_000
    theta = np.random.default_rng(5).uniform(0, 2 * np.pi, (draws, 3, 5))
    gain = explicit(stats, beams, r, 5, draws, 14, theta)
    expected, variance, _ = rates.dense(rates.cohere(c, AVERAGED), 5)
    assert (np.abs(gain.mean(axis=0) - expected) / np.sqrt(variance / draws)).max() < standard_errors
    steady, _, _ = rates.dense(c.replace(mean_re=c.steady, mean_im=0 * c.steady), 5)
    cross = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(expected[cross], steady[cross], rtol=rounding)
    same_pilot = np.subtract.outer(np.arange(5), np.arange(5)) % 2 == 0
    assert np.abs(steady[~same_pilot]).max() == 0.0
    assert np.abs(steady[same_pilot & cross] / np.sqrt(variance[same_pilot & cross])).max() > 0.3


def test_hardening_under_every_model_of_coherence() -> None:
    """The bound from explicit gains: as they are, with random phases, with those over a band and a codeword."""
    users, sats, draws = 5, 3, 60_000
    r, stats, beams, c = case(6, quiet=40.0, disc_m=60e3)
    amplitude = powers(c, users)
    p = on_grid(c, amplitude, users)
    rng = np.random.default_rng(7)
    f = FINITE.bandwidth_hz * rng.uniform(-0.5, 0.5, (draws, 1, 1))
    t = FINITE.codeword_s * rng.uniform(-0.5, 0.5, (draws, 1, 1))
    # A turn of each user, the same at all satellites: the product of r and c counts as averaged.
    over_band = 2 * np.pi * (f * stats.delay_s.reshape(sats, users) + t * stats.doppler_hz.reshape(sats, users))
    over_band = over_band + rng.uniform(0, 2 * np.pi, (draws, 1, users))
    turns = {
        "ideal": None,
        "averaged": rng.uniform(0, 2 * np.pi, (draws, sats, users)),
        "finite": over_band,
    }
    found = {}
    for name, theta in turns.items():
        coherence = dataclasses.replace(FINITE, cross_terms=name)
        gain = np.einsum("dkjl,jl->dkj", explicit(stats, beams, r, users, draws, 16, theta), p)
        found[name] = rates.hardening_sinr(rates.cohere(c, coherence), amplitude, users, coherence)
        assert_within(forgetful_sinr(gain), found[name])
    spread = np.abs(found["averaged"] / found["finite"] - 1), np.abs(found["averaged"] / found["ideal"] - 1)
    assert min(s.max() for s in spread) > 0.03
    blind = c.replace(steady=np.empty(0), estimates=None)  # as if all of the mean turned
    assert (
        np.abs(
            rates.hardening_sinr(rates.cohere(blind, AVERAGED), amplitude, users, AVERAGED) / found["averaged"] - 1
        ).max()
        > 0.03
    )


def test_noncoherent_adds_all_powers() -> None:
    _, _, _, c = case(8)
    amplitude = powers(c, 5)
    mean, variance, _ = rates.dense(c, 5)
    steady, _, _ = rates.dense(c.replace(mean_re=c.steady, mean_im=0 * c.steady), 5)
    p, own = on_grid(c, amplitude, 5), np.arange(5)
    cross = np.abs(mean - steady) ** 2 + steady.real**2
    cross[own, own] = 0.0
    interference = ((variance + cross) * p**2).sum(axis=(1, 2))
    expected = (np.abs(mean[own, own]) ** 2 * p**2).sum(axis=1) / (1 + interference)
    found = rates.hardening_sinr(rates.cohere(c, NONCOHERENT), amplitude, 5, NONCOHERENT)
    np.testing.assert_allclose(found, expected, rtol=rounding)


@pytest.mark.parametrize("cross_terms", ["ideal", "averaged"])
def test_fast_and_slow_errors_by_monte_carlo(cross_terms: str) -> None:
    """A fast error turns all a satellite sends after the pilots, a slow one (of the path) what no pilot has seen."""
    r, stats, beams, c = case(9)
    amplitude, draws, users, sats = powers(c, 5), 60_000, 5, 3
    p = on_grid(c, amplitude, users)
    rng = np.random.default_rng(10)
    theta = rng.uniform(0, 2 * np.pi, (draws, sats, users)) if cross_terms == "averaged" else None
    gain = explicit(stats, beams, r, users, draws, 17, theta)
    fast = Coherence(cross_terms, fast_rad=math.radians(35))
    error = np.exp(1j * fast.fast_rad * rng.standard_normal((draws, users, 1, sats)))
    found = rates.hardening_sinr(rates.cohere(c, fast), amplitude, users, fast)
    assert_within(forgetful_sinr(np.einsum("dkjl,jl->dkj", gain * error, p)), found)

    slow = Coherence(cross_terms, slow_rad=math.radians(50))
    mean, _, _ = rates.dense(c, users)
    steady, _, _ = rates.dense(c.replace(mean_re=c.steady, mean_im=0 * c.steady), users)
    own = np.arange(users)
    turned = np.exp(1j * slow.slow_rad * rng.standard_normal((draws, 1, sats)))
    power = np.abs((((mean - steady)[own, own] * turned + steady[own, own]) * p).sum(axis=-1)) ** 2
    without = rates.hardening_sinr(rates.cohere(c, slow), amplitude, users, Coherence(cross_terms))
    expected = without * power / np.abs((mean[own, own] * p).sum(axis=1)) ** 2
    assert_within(
        np.array([part.mean(axis=0) for part in np.array_split(expected, 20)]),
        rates.hardening_sinr(rates.cohere(c, slow), amplitude, users, slow),
    )


def test_finite_runs_from_averaged_products_to_averaged() -> None:
    _, _, _, c = case(11)
    amplitude = powers(c, 5)
    wide = Coherence("finite", bandwidth_hz=1e13, codeword_s=1e3)
    averaged = rates.hardening_sinr(rates.cohere(c, AVERAGED), amplitude, 5, AVERAGED)
    np.testing.assert_allclose(rates.hardening_sinr(rates.cohere(c, wide), amplitude, 5, wide), averaged, rtol=1e-6)


@pytest.mark.parametrize("cross_terms", rates.CROSS_TERMS)
@pytest.mark.parametrize("slow_deg", [0.0, 30.0])
def test_allocation_sees_the_sinr_that_is_scored(cross_terms: str, slow_deg: float) -> None:
    """The problem of a view has the SINR of `hardening_sinr`, with c in every model that keeps it."""
    _, stats, _, c = case(12)
    coherence = dataclasses.replace(FINITE, cross_terms=cross_terms, fast_rad=0.3, slow_rad=math.radians(slow_deg))
    believed = rates.cohere(c, coherence)
    view = View(
        t_ns=0,
        csi_t_ns=0,
        user_count=5,
        couplings=believed,
        cross_terms=cross_terms,
        gamma=rates.cross_correlation(believed, 5, coherence) if cross_terms == "finite" else None,
        user=c.stream,
        sat=np.repeat(c.sat, c.stream_size),
        useful=rates.useful_amplitude(believed, coherence.slow_rad),
        range_m=stats.range_m,
        elevation_rad=stats.elevation_rad,
        remaining_s=np.ones(stats.user.size),
    )
    problem, order = views.problem(view)
    amplitude = powers(c, 5)
    scored = rates.hardening_sinr(believed, amplitude, 5, dataclasses.replace(coherence, slow_rad=0.0))
    if slow_deg:  # what the allocation counts on leaves out the power that adds by chance: a lower bound
        slow = rates.hardening_sinr(believed, amplitude, 5, coherence)
        if cross_terms != "noncoherent":
            assert (sinr(problem, amplitude[order]) < slow).all()
    else:
        np.testing.assert_allclose(sinr(problem, amplitude[order]), scored, rtol=1e-9)


def plain_ergodic(gain: np.ndarray, steady: np.ndarray, p: np.ndarray, coherence: Coherence, gamma: np.ndarray):
    """Ergodic rate from explicit gains [draw, user, stream, sat] and their steady part: mean and deviation [user]."""
    draws, users = gain.shape[:2]
    kept = math.exp(-(coherence.fast_rad**2))
    total_of, still = gain * p, steady * p
    turning = total_of - still
    out = np.empty((draws, users))
    for k in range(users):
        noise = np.ones(draws)
        for j in range(users):
            if j == k:
                noise += (1 - kept) * (np.abs(total_of[:, k, k]) ** 2).sum(axis=-1)
            elif coherence.cross_terms == "ideal":
                together = np.abs(total_of[:, k, j].sum(axis=-1)) ** 2
                noise += kept * together + (1 - kept) * (np.abs(total_of[:, k, j]) ** 2).sum(axis=-1)
            else:
                same = np.eye(p.shape[1])
                weight = kept * (gamma[k, j] if coherence.cross_terms == "finite" else same) + (1 - kept) * same
                noise += np.einsum("dl,lm,dm->d", turning[:, k, j], weight, turning[:, k, j].conj()).real
                apart = (np.abs(still[:, k, j]) ** 2).sum(axis=-1)
                if coherence.cross_terms == "noncoherent":
                    noise += apart
                else:
                    noise += kept * np.abs(still[:, k, j].sum(axis=-1)) ** 2 + (1 - kept) * apart
        own = total_of[:, k, k]
        useful = (
            (np.abs(own) ** 2).sum(axis=-1) if coherence.cross_terms == "noncoherent" else np.abs(own.sum(axis=-1)) ** 2
        )
        out[:, k] = np.log2(1 + kept * useful / noise)
    return out.mean(axis=0), out.std(axis=0)


@pytest.mark.parametrize("cross_terms", rates.CROSS_TERMS)
@pytest.mark.parametrize("fast_deg", [0.0, 40.0])
def test_ergodic_against_explicit_monte_carlo(cross_terms: str, fast_deg: float) -> None:
    """Estimates fade with the gains they are of, pilots are contaminated and noisy."""
    users, draws = 5, 12_000
    r, stats, beams, c = case(13)
    amplitude = powers(c, users)
    coherence = dataclasses.replace(FINITE, cross_terms=cross_terms, fast_rad=math.radians(fast_deg))
    gain = explicit(stats, beams, r, users, draws, 18)
    # |alpha|^2 of the very draws, from a fresh generator in the same order.
    rng, sats = np.random.default_rng(18), beams.sat.size
    fading = np.empty((draws, users, sats))
    for l in range(sats):
        alpha = (rng.standard_normal((draws, users)) + 1j * rng.standard_normal((draws, users))) / math.sqrt(2)
        rng.standard_normal((2, draws, r.antennas, int(beams.pilots)))
        fading[:, :, l] = np.abs(alpha) ** 2
    steady, _, _ = rates.dense(c.replace(mean_re=c.steady, mean_im=0 * c.steady), users)
    gamma = rates.cross_correlation(c, users, coherence)
    p = on_grid(c, amplitude, users)
    expected, deviation = plain_ergodic(gain, steady.real * fading[:, :, None, :], p, coherence, gamma)
    found = rates.ergodic_rate(c, amplitude, users, coherence, 5, 3, draws)
    z = (found - expected) / (deviation * math.sqrt(2 / draws))
    assert np.abs(z).max() < 3.3
    unlike = rates.ergodic_rate(rates.couplings(stats, serve(stats, r), r), amplitude, users, coherence, 5, 3, draws)
    assert (np.abs(unlike - expected) / (deviation * math.sqrt(2 / draws))).max() > 10


def test_ergodic_with_slow_errors_turns_all_but_the_steady_part() -> None:
    """Errors of 0 and of 2 pi are the same; a slow error lowers the rate of coherent satellites."""
    _, _, _, c = case(14)
    amplitude = powers(c, 5)
    none = rates.ergodic_rate(c, amplitude, 5, IDEAL, 1, 0, 2000)
    slow = rates.ergodic_rate(c, amplitude, 5, Coherence("ideal", slow_rad=1.0), 1, 0, 2000)
    assert slow.sum() < none.sum()
    np.testing.assert_array_equal(
        none, rates.ergodic_rate(c, amplitude, 5, Coherence("ideal", slow_rad=0.0), 1, 0, 2000)
    )


def test_strong_line_of_sight_makes_it_smrt() -> None:
    r, stats, _, _ = case(15)
    clear = stats.replace(kappa=np.full(stats.kappa.size, 1e9))
    c, plain = (rates.couplings(clear, b, r) for b in (estimated(clear, r, 2, 3.0), serve(clear, r)))
    np.testing.assert_allclose(c.mean_re, plain.mean_re, rtol=0, atol=1e-6 * np.abs(plain.mean_re).max())
    assert np.abs(c.steady).max() < 1e-6 * np.abs(plain.mean_re).max()


def test_users_in_one_place_and_one_out_of_view() -> None:
    """A singular Gram matrix, a satellite without receivers, a stream whose user has set: finite, and all in place."""
    r, stats, _, _ = case(16)
    cosines = stats.cosines.copy()
    cosines[stats.user == 2] = cosines[stats.user == 0]
    together = stats.replace(cosines=cosines)
    beams = estimated(together, r, 2, 3.0)
    c = rates.couplings(together, beams, r)
    assert np.isfinite(rates.ergodic_rate(c, powers(c, 5), 5, IDEAL, 1, 0, 16)).all()
    mean, variance, _ = rates.dense(c, 5)
    draws = 20_000
    gain = explicit(together, beams, r, 5, draws, 19)
    assert (np.abs(gain.mean(axis=0) - mean) / np.sqrt(variance / draws)).max() < standard_errors

    gone = (stats.sat == 103) | ((stats.sat == 106) & (stats.user == 1))
    kept = ChannelStats(t_ns=0, **{name: getattr(together, name)[~gone] for name in ChannelStats.array_fields()})
    c = rates.couplings(kept, beams, r)
    rate = rates.ergodic_rate(c, powers(c, 5), 5, AVERAGED, 1, 0, 16)
    assert np.isfinite(rate).all()
    assert c.estimates is not None
    unseen = (np.repeat(c.sat, c.stream_size) == 103) | ((np.repeat(c.sat, c.stream_size) == 106) & (c.stream == 1))
    np.testing.assert_array_equal(c.estimates.member_size == 0, unseen)
    np.testing.assert_array_equal(c.estimates.random == 0, unseen)


def test_beams_are_those_of_smrt_and_params_are_checked() -> None:
    r, stats, beams, _ = case(17)
    plain = serve(stats, r)
    for name, spec in Beams.array_fields().items():
        if spec.axes:
            np.testing.assert_array_equal(getattr(beams, name), getattr(plain, name))
    assert (int(plain.pilots), int(beams.pilots)) == (0, 2)
    for wrong in ({"tau_p": 0}, {"tau_p": 1.5}, {"eta_dbm": 1e4}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            imrt.Params(**wrong)
