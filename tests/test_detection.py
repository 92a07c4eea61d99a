"""Detectors against the echo's truth, the Cramer-Rao bound, the radar equation and a full eigendecomposition."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import radar_scene
from radar_scene import SAMPLE_M, TARGET, VELOCITY

from leosim import matched_filter, precoding, radar
from leosim.detection import mf_first, music_mf
from leosim.records import BELOW_THRESHOLD, FOUND, REFUSED
from leosim.units import db_to_linear, linear_to_db

CHAINS = [mf_first, music_mf]
PREDICTED_OFF = (0.004, -0.003, 60.0, 400.0)  # a predicted track's error, some sigma of it
# The printed threshold of 8e-7 rad^2 at the paper's target, as N snr: 74.6 W.
PRINTED_N_SNR = 0.4332


def errors(scene, chain, params, n_snr, seeds, target=TARGET, velocity=VELOCITY, reception=None, **prior):
    """Errors over roots of the bound [trial, measure], their statistics and the covariance told last."""
    power = scene.power_for(n_snr, target)
    reception = reception or scene.reception(target)
    truth = scene.truth(target, velocity)
    found = [
        chain.detect(
            scene.receive(power, reception, seed, target[None], velocity[None], steered=scene.seen(target).arrival),
            scene.prior(target=target, velocity=velocity, **prior),
            params,
        )
        for seed in seeds
    ]
    assert all(d.status == FOUND for d in found)
    return np.array([d.value - truth for d in found]), found


def bound(scene, n_snr, target=TARGET):
    """Roots of the Cramer-Rao bound of u, w, bistatic range and Doppler."""
    snr = scene.snr(scene.power_for(n_snr, target), target)
    angle = radar.angle_covariance(scene.site, snr, scene.seen(target).arrival)
    whole = n_snr * scene.samples
    cell = math.sqrt(1.5 / whole) / math.pi
    return np.array([math.sqrt(angle[0, 0]), math.sqrt(angle[1, 1]), cell * SAMPLE_M, cell / (scene.samples * 1e-7)])


def quarter():
    """Half the array and a quarter of the snapshots: N / L and with it MUSIC's threshold are the paper's."""
    return radar_scene.paper(size=16, samples=1024)


def rms(x):
    return np.sqrt(np.mean(np.square(x), axis=0))


# ---------------------------------------------------------------------------------------------
# Exactness


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("lead", [50.0, 50.3, 50.5, 49.501])
def test_a_noiseless_echo_is_measured_exactly(chain, lead):
    scene = radar_scene.paper(size=16)
    reception = scene.reception(lead=lead, direct=0.0, noise=False)
    found = chain.detect(
        scene.receive(1e5, reception, 1), scene.prior(off=PREDICTED_OFF), chain.Params(suppression="none")
    )
    assert found.status == FOUND
    off = np.abs(found.value - scene.truth())
    assert np.all(off[:2] < 1e-6)
    assert off[2] < 1e-3 * SAMPLE_M
    assert off[3] < 1.0


@pytest.mark.parametrize("chain", CHAINS)
def test_doppler_is_that_of_target_and_satellite_compensated_or_not(chain):
    scene = radar_scene.paper(size=16)
    assert abs(scene.truth()[3]) > 3_000.0
    for precompensated in (True, False):
        heard = scene.receive(1e5, scene.reception(precompensated=precompensated), 2)
        assert (heard.reference_hz != 0.0) == precompensated
        found = chain.detect(heard, scene.prior(off=PREDICTED_OFF, gate=(0.1, 0.1, 600.0, 2e3)), chain.Params())
        assert found.value[3] == pytest.approx(scene.truth()[3], abs=5.0)


@pytest.mark.parametrize("subarray", [(1, 1), (4, 4)])
def test_statistic_is_the_snr_of_the_radar_equation(subarray):
    """Within 0.2 dB on average, off the direction the sub-arrays are steered to as well."""
    scene = radar_scene.paper(subarray=subarray, size=16)
    steered = scene.seen().arrival + np.array([0.03, -0.02])
    reception, power = scene.reception(direct=0.0), 400.0
    expected = radar.detection_snr(scene.site, scene.snr(power), scene.seen().arrival, steered)
    assert 30.0 < linear_to_db(expected) < 40.0
    statistic = [
        mf_first.detect(scene.receive(power, reception, k, steered=steered), scene.prior(), mf_first.Params()).statistic
        for k in range(12)
    ]
    assert linear_to_db((np.mean(statistic) - 1.0) / expected) == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize("chain", CHAINS)
def test_every_stream_lights_the_target(chain):
    """Six streams of three directions, correlated at the target and towards the receiver: errors within the bound's."""
    scene = radar_scene.paper()
    at = scene.seen()
    rng = np.random.default_rng(14)
    cosines = at.departure + np.array([[0.1, 0.05], [-0.15, 0.1], [0.0, 0.0]])
    weights = rng.normal(size=(3, 6)) + 1j * rng.normal(size=(3, 6))
    sends = radar_scene.precoder(scene.radio, at.departure, 1.0).replace(
        cosines=cosines,
        user=np.array([0, 1, 2, 3, -1, -2]),
        **{name: np.zeros(6) for name in ("power_w", "rate", "split", "ergodic")},
        weight_re=weights.real.ravel(),
        weight_im=weights.imag.ravel(),
    )
    gain_w = float(precoding.gains(sends, at.departure[None], 8, 8).sum())
    wanted = 64.0 * scene.power_for(4.0)
    scaled = math.sqrt(wanted / gain_w)
    sends = sends.replace(weight_re=sends.weight_re * scaled, weight_im=sends.weight_im * scaled)
    heard = scene.receive(0.0, scene.reception(), 15, sends=sends)
    found = chain.detect(heard, scene.prior(off=PREDICTED_OFF), chain.Params())
    assert found.status == FOUND
    assert linear_to_db(found.statistic / (4.0 * 4096)) == pytest.approx(0.0, abs=0.2)
    assert np.all(np.abs(found.value - scene.truth()) < 4.5 * np.sqrt(np.diag(found.covariance)))


def test_position_is_where_ellipsoid_and_line_of_sight_meet():
    scene = radar_scene.paper(size=4)
    heard = scene.receive(1.0, scene.reception(noise=False), 3)
    delay = (float(scene.seen().excess_m) - heard.gate_m) / SAMPLE_M
    np.testing.assert_allclose(matched_filter.position(heard, scene.seen().arrival, delay), TARGET, atol=1e-3)


def test_references_follow_the_departure_of_each_delay():
    """Over a wide gate of a narrow beam: within a tenth of a beam of the departure each delay has."""
    scene = radar_scene.high_pass(samples=64)
    reception = scene.reception(delays=4000, lead=50.0, noise=False, direct=0.0)
    heard = scene.receive(1.0, reception, 4)
    delays = np.arange(4001)
    sent, knot = matched_filter.references(heard, scene.seen().arrival, delays)
    assert 3 < len(sent) < 200
    for delay in (0, 50, 1234, 4000):
        exact = heard.sent(heard.departure(matched_filter.position(heard, scene.seen().arrival, float(delay))))
        shape = abs(np.vdot(exact, sent[knot[delay]])) / np.linalg.norm(exact) / np.linalg.norm(sent[knot[delay]])
        assert shape > 0.99
    few, _ = matched_filter.references(heard, scene.seen().arrival, np.arange(40, 60))
    assert len(few) <= 3


# ---------------------------------------------------------------------------------------------
# Accuracy


def check_mf_first(scene, trials, n_snr, angle, delay, doppler):
    off, found = errors(scene, mf_first, mf_first.Params(), n_snr, range(trials), off=PREDICTED_OFF)
    ratio = rms(off) / bound(scene, n_snr)
    assert np.all(ratio[:2] <= angle), ratio
    assert rms(off)[2] / SAMPLE_M <= delay
    assert ratio[3] <= doppler, ratio
    told = np.mean([np.sqrt(np.diag(d.covariance)) for d in found], axis=0)
    np.testing.assert_allclose(told, bound(scene, n_snr), rtol=0.1)


def test_mf_first_attains_the_bound():
    """At the SNR of the printed threshold, 32.5 dB after the matched filter, with a sixteenth of the data."""
    check_mf_first(quarter(), 36, 4.0 * PRINTED_N_SNR, 1.15, 0.02, 1.3)


@pytest.mark.slow
@pytest.mark.parametrize("threshold_rad2", [8e-7, 4e-7, 8e-8])
def test_mf_first_attains_the_bound_over_200_trials(threshold_rad2):
    """Where MUSIC has no chance, and with the direct path 67 dB above the echo."""
    check_mf_first(radar_scene.paper(), 200, PRINTED_N_SNR * 8e-7 / threshold_rad2, 1.15, 0.02, 1.3)


def check_music(scene, trials, n_snr, most):
    off, found = errors(scene, music_mf, music_mf.Params(), n_snr, range(trials), off=PREDICTED_OFF)
    ratio = rms(off) / bound(scene, n_snr)
    assert np.all(ratio[:2] <= most), ratio
    assert rms(off)[2] / SAMPLE_M <= 0.02
    told = np.mean([np.sqrt(np.diag(d.covariance)) for d in found], axis=0)
    np.testing.assert_allclose(rms(off)[:2] / told[:2], 1.0, atol=3.5 / math.sqrt(2 * trials))


def test_music_is_near_the_bound_well_above_its_threshold():
    check_music(quarter(), 36, 4.3, 1.2)


@pytest.mark.slow
@pytest.mark.parametrize("n_snr", [4.0, 8.0])
def test_music_is_near_the_bound_over_200_trials(n_snr):
    check_music(radar_scene.paper(), 200, n_snr, 1.2)


@pytest.mark.slow
def test_music_tells_its_own_errors_near_its_threshold():
    """At N snr = 0.87 its errors are 1.8 roots of the bound, and it says so."""
    check_music(radar_scene.paper(), 200, 0.87, 2.2)


def test_music_fails_below_its_threshold():
    """At N snr = 0.3 it refuses; made to answer, most directions are somewhere else, where mf_first has them all."""
    scene = quarter()
    forced = music_mf.Params(above_noise=-1e9, threshold_db=-30.0)
    power, reception = scene.power_for(0.3), scene.reception(direct=0.0)
    beam = 2.0 / scene.site.rows
    answers, outliers = [], []
    for seed in range(10):
        heard = scene.receive(power, reception, seed)
        prior = scene.prior(off=PREDICTED_OFF, gate=(2.1, 2.1, 600.0, 30e3))
        answers.append(int(music_mf.detect(heard, prior, music_mf.Params()).status))
        made, first = (c.detect(heard, prior, p) for c, p in ((music_mf, forced), (mf_first, mf_first.Params())))
        outliers.append(np.abs(made.value[:2] - scene.truth()[:2]).max() > beam)
        assert first.status == FOUND
        assert np.abs(first.value[:2] - scene.truth()[:2]).max() < 6 * bound(scene, 0.3)[0]
    assert answers == [REFUSED] * 10
    assert sum(outliers) >= 6


@pytest.mark.parametrize("chain", CHAINS)
def test_a_pass_with_subarrays(chain):
    """The defaults of a pass, steered half a degree off: errors within four deviations of what is told."""
    scene = radar_scene.high_pass()
    steered = scene.seen().arrival + np.array([0.008, -0.004])
    for seed in range(3):
        heard = scene.receive(100.0, scene.reception(), seed, steered=steered)
        found = chain.detect(heard, scene.prior(off=PREDICTED_OFF, gate=(0.2, 0.2, 600.0, 3e3)), chain.Params())
        assert found.status == FOUND
        off = (found.value - scene.truth()) / np.sqrt(np.diag(found.covariance))
        assert np.all(np.abs(off) < 4.0), off
        expected = radar.detection_snr(scene.site, scene.snr(100.0), scene.seen().arrival, steered)
        assert linear_to_db(found.statistic / expected) == pytest.approx(0.0, abs=0.3)


# ---------------------------------------------------------------------------------------------
# The direct path


@pytest.mark.parametrize("chain", CHAINS)
def test_the_direct_path_ruins_what_suppression_restores(chain):
    """67 dB above the echo, N snr = 2: with suppression as good as without a direct path, without it lost."""
    scene = radar_scene.paper()
    n_snr = 2.0
    power, roots = scene.power_for(n_snr), bound(scene, n_snr)
    wide = (2.1, 2.1, 1700.0, 30e3)  # the gate of a first look, which holds the direct path's delay and direction
    for seed in range(3):
        heard = scene.receive(power, scene.reception(lead=60.2, delays=90), seed)
        clean = scene.receive(power, scene.reception(lead=60.2, delays=90, direct=0.0), seed)
        prior = scene.prior(off=PREDICTED_OFF, gate=wide)
        on, off, alone = (
            chain.detect(block, prior, chain.Params(suppression=way))
            for block, way in ((heard, "eca"), (heard, "none"), (clean, "none"))
        )
        assert on.status == alone.status == FOUND
        assert np.all(np.abs(on.value - scene.truth()) < 5.0 * roots)
        assert np.all(np.abs(on.value - alone.value) < 0.5 * roots)
        lost = off.status != FOUND or np.any(np.abs(off.value - scene.truth()) > 20.0 * roots)
        assert lost


def test_the_projection_takes_all_of_the_direct_path_and_little_else():
    scene = radar_scene.paper(size=8)
    reception = scene.reception(lead=54.1, direct=0.0, noise=False)
    heard = scene.receive(75.0, reception, 1)
    both = scene.receive(75.0, replace(reception, direct=1.0), 1)
    basis = matched_filter.direct_path(both, 2, 6)
    np.testing.assert_allclose(basis @ basis.conj().T, np.eye(9), atol=1e-3)
    direct = both.block - heard.block
    left = np.sum(np.abs(matched_filter.without(direct, basis)) ** 2) / np.sum(np.abs(direct) ** 2)
    assert linear_to_db(left) < -90.0
    kept = np.sum(np.abs(matched_filter.without(heard.block, basis)) ** 2) / np.sum(np.abs(heard.block) ** 2)
    assert kept > 0.99


@pytest.mark.parametrize(("chain", "clutter"), [(mf_first, 1e-2), (music_mf, 1e-5)])
def test_clutter_asks_for_as_many_taps_as_it_lasts(chain, clutter):
    """Fixed points over 10 samples, 47 and 17 dB above the echo, within a wide gate: lost with one tap.

    Taps are whole samples apart, so what they leave of delays between falls but slowly with their number: the
    covariance matrix, which no waveform compresses, bears 30 dB less of it.
    """
    scene = radar_scene.paper()
    n_snr = 2.0
    reception = scene.reception(lead=60.2, delays=90, clutter=clutter, clutter_excess_m=10 * SAMPLE_M)
    heard = scene.receive(scene.power_for(n_snr), reception, 5)
    prior = scene.prior(off=PREDICTED_OFF, gate=(2.1, 2.1, 1700.0, 30e3))
    found = chain.detect(heard, prior, chain.Params(taps_before=16, taps_after=26))
    assert found.status == FOUND
    assert np.all(np.abs(found.value - scene.truth()) < 6.0 * bound(scene, n_snr))
    lost = chain.detect(heard, prior, chain.Params(taps_before=0, taps_after=0))
    assert lost.status != FOUND or np.any(np.abs(lost.value - scene.truth()) > 20.0 * bound(scene, n_snr))


# ---------------------------------------------------------------------------------------------
# Which target, and whether there is one


def test_two_targets_two_kilometres_apart_are_told_by_their_predictions():
    scene = radar_scene.paper()
    targets = np.array([TARGET, TARGET + np.array([1.2e3, -1.2e3, 1.0e3])])
    velocities = np.array([VELOCITY, [-150.0, 80.0, 0.0]])
    assert np.linalg.norm(targets[1] - targets[0]) == pytest.approx(2e3, rel=0.05)
    excess = scene.seen(targets).excess_m
    reception = scene.reception(lead=70.0, delays=150)
    heard = scene.receive(scene.power_for(4.0), reception, 6, targets=targets, velocities=velocities)
    assert abs(excess[1] - excess[0]) > SAMPLE_M
    params = {mf_first: mf_first.Params(), music_mf: music_mf.Params(sources=2)}
    for target, velocity in zip(targets, velocities, strict=True):
        prior = scene.prior(off=PREDICTED_OFF, gate=(0.08, 0.08, 250.0, 3e3), target=target, velocity=velocity)
        wide = scene.prior(off=PREDICTED_OFF, gate=(0.5, 0.5, 250.0, 3e3), target=target, velocity=velocity)
        truth = scene.truth(target, velocity)
        for chain, gate in ((mf_first, prior), (music_mf, wide)):
            found = chain.detect(heard, gate, params[chain])
            assert found.status == FOUND
            assert np.all(np.abs(found.value - truth) < 6.0 * np.sqrt(np.diag(found.covariance))), chain.__name__


@pytest.mark.parametrize(("chain", "status"), [(mf_first, BELOW_THRESHOLD), (music_mf, REFUSED)])
def test_a_target_beyond_detection_range_is_not_found(chain, status):
    """At the range where the SNR after the matched filter is 0 dB."""
    scene = radar_scene.paper()
    for seed in range(2):
        heard = scene.receive(scene.power_for(1.0 / 4096), scene.reception(), seed)
        found = chain.detect(heard, scene.prior(gate=(0.05, 0.05, 600.0, 3e3)), chain.Params())
        assert found.status == status
        assert np.all(np.isnan(found.value))
        assert np.all(np.isnan(found.covariance))


def test_the_threshold_is_that_of_the_statistic():
    scene = radar_scene.paper(size=16)
    heard = scene.receive(scene.power_for(30.0 / 4096), scene.reception(), 7)
    prior = scene.prior(gate=(0.1, 0.1, 60.0, 1e3))
    found = mf_first.detect(heard, prior, mf_first.Params())
    assert found.status == FOUND
    above = float(linear_to_db(found.statistic)) + 0.01
    assert mf_first.detect(heard, prior, mf_first.Params(threshold_db=above)).status == BELOW_THRESHOLD
    assert mf_first.detect(heard, prior, mf_first.Params(threshold_db=above - 0.02)).status == FOUND


def test_a_peak_that_noise_may_give_in_a_gate_so_wide_is_refused():
    scene = radar_scene.paper(size=16)
    heard = scene.receive(1e-9, scene.reception(direct=0.0), 8)
    prior = scene.prior(gate=(2.1, 2.1, 1400.0, 30e3))
    found = mf_first.detect(heard, prior, mf_first.Params(threshold_db=3.0))
    assert found.status == REFUSED


def test_false_alarms_are_as_rare_as_the_threshold_says():
    """Noise alone through a gate of 11 delays and one Doppler cell: 20 = 13 dB comes up in some 1e-7 of dwells."""
    scene = radar_scene.paper(size=8, samples=256)
    statistic = []
    for seed in range(100):
        heard = scene.receive(1e-9, scene.reception(direct=0.0, delays=20, lead=10.0), seed)
        prior = scene.prior(gate=(0.02, 0.02, 5.2 * SAMPLE_M, 1e3))
        found = mf_first.detect(heard, prior, mf_first.Params(threshold_db=-20.0, false_alarm=1e9))
        statistic.append(float(found.statistic))
    assert np.max(statistic) < db_to_linear(13.0)
    # Exponential in each of a dozen independent cells: the median maximum is ln(12 / ln 2) = 2.9 and a little.
    assert 2.0 < np.median(statistic) < 5.5


@pytest.mark.parametrize("chain", CHAINS)
def test_a_gate_without_a_delay_finds_nothing(chain):
    scene = radar_scene.paper(size=8, samples=256)
    heard = scene.receive(100.0, scene.reception(), 9)
    assert chain.detect(heard, scene.prior(off=(0, 0, 90e3, 0)), chain.Params()).status == BELOW_THRESHOLD
    below = chain.detect(heard, replace(scene.prior(), gate=np.array([0.1, 0.1, -1.0, 1e3])), chain.Params())
    assert below.status == BELOW_THRESHOLD


def test_detectors_are_functions_of_their_arguments():
    scene = radar_scene.paper(size=16)
    heard = scene.receive(1e3, scene.reception(), 10)
    before = heard.block.copy()
    for chain in CHAINS:
        one, again = (chain.detect(heard, scene.prior(), chain.Params()) for _ in range(2))
        np.testing.assert_array_equal(one.value, again.value)
        np.testing.assert_array_equal(one.covariance, again.covariance)
    np.testing.assert_array_equal(heard.block, before)


# ---------------------------------------------------------------------------------------------
# Parts


def test_lanczos_finds_the_largest_eigenvectors_of_the_projected_block():
    scene = radar_scene.paper(size=16)
    targets = np.array([TARGET, [4e3, 1e3, 6e3]])
    heard = scene.receive(
        scene.power_for(4.0), scene.reception(lead=60.0), 11, targets=targets, velocities=np.stack([VELOCITY] * 2)
    )
    basis = matched_filter.direct_path(heard, 2, 6)
    params = music_mf.Params(sources=2, tolerance=1e-5)
    values, vectors = music_mf.principal(heard, basis, scene.prior(off=PREDICTED_OFF), params)
    clean = matched_filter.without(heard.block, basis).astype(complex)
    full, full_vectors = np.linalg.eigh(clean @ clean.conj().T / clean.shape[1])
    np.testing.assert_allclose(values, full[:-3:-1], rtol=1e-4)
    overlap = np.linalg.svd(full_vectors[:, -2:].conj().T @ vectors, compute_uv=False)
    np.testing.assert_allclose(overlap, 1.0, atol=1e-4)


def test_edge_of_noise_is_where_noise_is():
    rng = np.random.default_rng(12)
    largest = []
    for _ in range(60):
        z = (rng.normal(size=(64, 512)) + 1j * rng.normal(size=(64, 512))) / math.sqrt(2.0)
        largest.append(np.linalg.eigvalsh(z @ z.conj().T / 512)[-1])
    mean, deviation = music_mf.noise_edge(64, 512)
    small_sample = 0.5  # deviations: the law is a limit
    assert abs(np.mean(largest) - mean) < small_sample * deviation
    assert np.std(largest) == pytest.approx(deviation, rel=0.3)


def test_directions_resolve_the_period_of_subarrays():
    """Channels two wavelengths apart see a direction in several places: the one in the main lobe is taken."""
    scene = radar_scene.high_pass(samples=64)
    heard = scene.receive(1.0, scene.reception(noise=False, direct=0.0), 13)
    for off in ([0.0, 0.0], [0.1, -0.12], [-0.2, 0.05]):
        arrival = heard.steered + np.array(off)
        b = radar.response(scene.site, arrival, heard.steered)
        found = matched_filter.directions(heard, b[:, None], scene.prior(gate=(0.24, 0.24, 1.0, 1.0)), 1)
        np.testing.assert_allclose(found[0], arrival, atol=1e-9)


@pytest.mark.parametrize(
    ("chain", "change"),
    [
        (mf_first, {"passes": 0}),
        (mf_first, {"false_alarm": 0.0}),
        (mf_first, {"suppression": "null"}),
        (mf_first, {"taps_after": -1}),
        (music_mf, {"sources": 0}),
        (music_mf, {"suppression": "off"}),
        (music_mf, {"taps_before": -1}),
    ],
)
def test_impossible_parameters_are_refused(chain, change):
    with pytest.raises(ValueError, match="expected"):
        chain.Params(**change)
