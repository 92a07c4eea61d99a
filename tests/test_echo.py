"""Echoes against Eqs. (18)-(20) written out, the radar equation, and signals whose delay is known in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import radar_scene
from radar_scene import SAMPLE_M, TARGET, VELOCITY

from leosim import echo, radar
from leosim.antenna import steering
from leosim.units import linear_to_db

single_precision = 2e-5  # of the largest value: sums of some 1e3 complex64
quiet = {"direct": 0.0, "noise": False}


def small(**other):
    return radar_scene.paper(size=8, samples=512, **other)


# ---------------------------------------------------------------------------------------------
# Delays


def test_whole_delays_shift_and_early_ones_are_cut():
    rng = np.random.default_rng(1)
    x = rng.normal(size=50) + 1j * rng.normal(size=50)
    for delay, expected in (
        (7.0, np.concatenate([np.zeros(7), x, np.zeros(23)])),
        (60.0, np.concatenate([np.zeros(60), x[:20]])),
        (-5.0, np.concatenate([x[5:], np.zeros(35)])),
    ):
        np.testing.assert_allclose(echo.delayed(x, delay, 80), expected, rtol=0, atol=1e-12)


def test_fractional_delay_of_a_band_limited_pulse():
    """A Gaussian pulse of 8 samples, below 1e-12 at half the sampling rate, moves as its formula does."""
    n = np.arange(200)

    def pulse(at):
        return np.exp(-0.5 * ((n - at) / 8.0) ** 2) * np.exp(0.3j * (n - at))

    for delay in (0.5, 3.27, 41.9):
        np.testing.assert_allclose(echo.delayed(pulse(80.0), delay, 200), pulse(80.0 + delay), rtol=0, atol=1e-11)
    both = echo.delayed(np.stack([pulse(80.0), pulse(90.0)]), -2.25, 200)
    np.testing.assert_allclose(both, [pulse(77.75), pulse(87.75)], rtol=0, atol=1e-11)


def test_two_fractional_delays_make_a_whole_one():
    rng = np.random.default_rng(2)
    x = np.zeros(4000, dtype=complex)
    x[1950:2050] = rng.normal(size=100) + 1j * rng.normal(size=100)
    twice = echo.delayed(echo.delayed(x, 3.4, 4000), 2.6, 4000)
    middle = slice(1000, 3000)  # side lobes are cut at both ends, and missed there only
    cut_side_lobes = 1e-3
    np.testing.assert_allclose(twice[6:][middle], x[:-6][middle], rtol=0, atol=cut_side_lobes)


# ---------------------------------------------------------------------------------------------
# The block


def written_out(scene, heard, target, velocity, delay):
    """`alpha b a^H [X V, 0] J` of Eqs. (18)-(20) with matrices, alpha real."""
    seen = scene.seen(target)
    p = steering(heard.cosines, heard.rows, heard.columns).T @ heard.weights
    x = p @ heard.symbols
    samples, snapshots = x.shape[1], heard.block.shape[1]
    doppler = scene.truth(target, velocity)[3] - heard.reference_hz
    v = np.diag(np.exp(2j * math.pi * doppler * heard.interval_s * np.arange(1, samples + 1)))
    j = np.eye(snapshots, k=delay)
    padded = np.hstack([x @ v, np.zeros((len(x), snapshots - samples))])
    a = steering(seen.departure, heard.rows, heard.columns)
    b = radar.response(scene.site, seen.arrival, heard.steered)
    return math.sqrt(float(scene.gain(target)) / scene.site.noise_w) * np.outer(b, a.conj() @ padded @ j)


@pytest.mark.parametrize("subarray", [(1, 1), (2, 4)])
@pytest.mark.parametrize("precompensated", [True, False])
def test_the_block_is_that_of_the_paper(subarray, precompensated):
    scene = small(subarray=subarray)
    reception = scene.reception(lead=11.0, delays=30, precompensated=precompensated, **quiet)
    steered = scene.seen().arrival + np.array([0.02, -0.01])
    heard = scene.receive(50.0, reception, 3, steered=steered)
    expected = written_out(scene, heard, TARGET, VELOCITY, 11)
    phase = np.vdot(expected, heard.block)
    expected *= phase / abs(phase)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(heard.block, expected, rtol=0, atol=single_precision * largest)
    assert heard.block.dtype == np.complex64
    assert heard.block.shape == (64 // math.prod(subarray), 512 + 31)


def test_echoes_of_several_targets_add_up():
    scene = small()
    others = np.array([[3e3, 3e3, 5e3], [4e3, 1e3, 6e3]])
    velocities = np.array([VELOCITY, [-100.0, 50.0, 0.0]])
    reception = scene.reception(lead=20.0, delays=60, **quiet)
    heard = scene.receive(50.0, reception, 4, targets=others, velocities=velocities)
    left, _, right = np.linalg.svd(heard.block, full_matrices=False)
    for target, velocity in zip(others, velocities, strict=True):
        b = radar.response(scene.site, scene.seen(target).arrival, heard.steered)
        inside = np.linalg.norm(left[:, :2].conj().T @ b) / np.linalg.norm(b)
        assert inside == pytest.approx(1.0, abs=1e-5)
        delay = (float(scene.seen(target).excess_m) - heard.gate_m) / SAMPLE_M
        wave = echo.delayed(heard.sent(scene.seen(target).departure), delay, heard.block.shape[1])
        doppler = scene.truth(target, velocity)[3] - heard.reference_hz
        wave = wave * echo.tone(doppler, heard.interval_s, heard.block.shape[1])
        assert np.linalg.norm(right[:2].conj() @ wave) / np.linalg.norm(wave) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("subarray", [(1, 1), (4, 4)])
def test_energy_is_that_of_the_radar_equation(subarray):
    """Over noise of variance 1 the block's energy is the SNR of its matched filter: within 0.2 dB."""
    scene = radar_scene.paper(subarray=subarray, samples=4096)
    for seed in range(4):
        steered = scene.seen().arrival + np.array([0.01, 0.005])
        heard = scene.receive(75.0, scene.reception(symbols=echo.SYMBOLS[seed % 2], **quiet), seed, steered=steered)
        expected = radar.detection_snr(scene.site, scene.snr(75.0), scene.seen().arrival, steered)
        assert linear_to_db(float(np.sum(np.abs(heard.block) ** 2)) / expected) == pytest.approx(0.0, abs=0.2)


def test_noise_is_white_with_variance_1():
    scene = small()
    heard = scene.receive(1e-12, scene.reception(direct=0.0), 5)
    z = heard.block.astype(complex)
    one = z @ z.conj().T / z.shape[1]
    assert np.trace(one).real / 64 == pytest.approx(1.0, abs=4 / math.sqrt(z.size))
    np.testing.assert_allclose(one, np.eye(64), rtol=0, atol=6 / math.sqrt(z.shape[1]))
    assert abs(np.mean(z**2)) < 4 / math.sqrt(z.size)  # circular


def test_symbols_are_unit_and_unrelated():
    for symbols in echo.SYMBOLS:
        heard = radar_scene.paper(size=2).receive(1.0, small().reception(symbols=symbols, **quiet), 6)
        s = heard.symbols
        np.testing.assert_allclose(
            s @ s.conj().T / s.shape[1], np.eye(2), rtol=0, atol=5 / math.sqrt(s.shape[1]), err_msg=symbols
        )
        if symbols == "qpsk":
            np.testing.assert_allclose(np.abs(s), 1.0, atol=1e-6)


def test_a_seed_gives_one_echo_and_options_leave_the_rest_alone():
    scene = small()
    reception = scene.reception(direct=0.0)
    one, again = (scene.receive(50.0, reception, 7).block for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - scene.receive(50.0, reception, 8).block).max() > 1.0
    with_direct = scene.receive(50.0, replace(reception, direct=1.0), 7).block
    added = np.linalg.svd(with_direct - one, compute_uv=False)
    assert added[1] < 1e-5 * added[0]
    with_clutter = scene.receive(50.0, replace(reception, clutter=1e-3), 7).block
    without_noise = scene.receive(50.0, replace(reception, noise=False), 7).block
    clutter = scene.receive(50.0, replace(reception, noise=False, clutter=1e-3), 7).block
    np.testing.assert_allclose(with_clutter - one, clutter - without_noise, rtol=0, atol=1e-4)


# ---------------------------------------------------------------------------------------------
# The direct path and clutter


def test_the_direct_path_is_67_db_above_the_echo():
    scene = radar_scene.paper(size=8)
    reception = scene.reception(noise=False, direct=0.0, lead=54.14)
    alone = scene.receive(75.0, reception, 9).block
    both = scene.receive(75.0, replace(reception, direct=1.0), 9).block
    ratio = np.sum(np.abs(both - alone) ** 2) / np.sum(np.abs(alone) ** 2)
    assert linear_to_db(ratio) == pytest.approx(67.0, abs=0.7)
    left = scene.receive(75.0, replace(reception, direct=1e-3), 9).block
    np.testing.assert_allclose(left - alone, math.sqrt(1e-3) * (both - alone), rtol=0, atol=1e-3)


def test_the_direct_path_starts_the_clock_and_comes_from_the_satellite():
    scene = small()
    first = -3 * SAMPLE_M
    reception = echo.Reception(512, (first, first + 20 * SAMPLE_M), noise=False)
    heard = scene.receive(50.0, reception, 10)
    b = radar.response(scene.site, scene.seen().direct)
    row = b.conj() @ heard.block
    wave = heard.sent(heard.departure(np.zeros(3)))
    lags = [abs(np.vdot(wave, row[lag : lag + 512])) for lag in range(18)]
    assert int(np.argmax(lags)) == 3
    assert lags[3] == pytest.approx(np.linalg.norm(wave) * np.linalg.norm(row), rel=1e-3)


def test_clutter_has_its_power_and_stands_still():
    scene = small()
    reception = scene.reception(lead=54.14, delays=100, noise=False, direct=1.0, clutter_excess_m=900.0)
    direct = scene.receive(50.0, replace(reception, direct=1.0), 11).block
    shares = []
    for seed in range(20):
        share = replace(reception, clutter=0.25)
        clutter = scene.receive(50.0, share, seed).block - scene.receive(50.0, reception, seed).block
        shares.append(np.sum(np.abs(clutter) ** 2) / np.sum(np.abs(direct) ** 2))
    assert np.mean(shares) == pytest.approx(0.25, rel=0.2)  # 640 scatterers of exponential power


def test_swerling_1_is_exponential_with_the_mean_of_a_steady_target():
    scene = radar_scene.paper(size=2, samples=16)
    reception = scene.reception(**quiet)
    moving = replace(reception, fluctuation="swerling_1")
    ratio = np.array(
        [
            np.sum(np.abs(scene.receive(1.0, moving, seed).block) ** 2)
            / np.sum(np.abs(scene.receive(1.0, reception, seed).block) ** 2)
            for seed in range(300)
        ]
    )
    three_errors = 3 / math.sqrt(300)
    assert np.mean(ratio) == pytest.approx(1.0, abs=three_errors)
    assert np.mean(ratio > 1.0) == pytest.approx(math.exp(-1.0), abs=three_errors / 2)


# ---------------------------------------------------------------------------------------------
# What a detection measures


def test_measures_are_the_geometry_and_its_derivative():
    scene = small()
    at = scene.truth()
    seen = scene.seen()
    np.testing.assert_allclose(at[:2], seen.arrival, rtol=0, atol=1e-9)
    assert at[2] == pytest.approx(seen.range_tx_m + seen.range_rx_m, abs=1e-6)
    h = 1e-2
    way = [
        np.linalg.norm(TARGET + t * VELOCITY)
        + np.linalg.norm(TARGET + t * VELOCITY - scene.sat_enu - t * scene.sat_vel_enu)
        for t in (-h, h)
    ]
    assert at[3] == pytest.approx(-2e9 / 299792458.0 * (way[1] - way[0]) / (2 * h), abs=1e-3)


def test_departures_are_those_of_the_satellites_axes():
    scene = small()
    heard = scene.receive(1.0, scene.reception(**quiet), 0)
    np.testing.assert_allclose(heard.departure(TARGET), scene.seen().departure, rtol=0, atol=1e-9)
    full = steering(scene.seen().departure, 8, 8).conj() @ steering(heard.cosines, 8, 8).T @ heard.weights
    np.testing.assert_allclose(heard.amplitudes(scene.seen().departure), full, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("symbols", "ofdm"),
        ("fluctuation", "swerling_2"),
        ("rcs_model", "sphere"),
        ("samples", 1),
        ("gate_m", (2.0, 1.0)),
        ("direct", -1.0),
        ("clutter", math.nan),
    ],
)
def test_impossible_receptions_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}: expected"):
        replace(echo.Reception(16, (0.0, 100.0)), **{field: value})
