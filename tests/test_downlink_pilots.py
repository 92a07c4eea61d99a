"""What terminals hear of wideband pilots: against a plain sum over antennas, and powers in closed form."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from ical_scene import paper_drop

from leosim import antenna, streams
from leosim import downlink_pilots as downlink
from leosim.downlink_pilots import Impairments
from leosim.ofdm import Waveform
from leosim.units import SPEED_OF_LIGHT_M_S

WAVE = Waveform(2e9, subcarriers=32, blocks=4, slots=4, frames=3, spacing_hz=240e3)


def _terminals(count=2, kappa=60.0, noise_w=1e-16):
    given = paper_drop(3, count=count, side=6)
    return given.replace(
        waveform=WAVE,
        sat_vel_ecef=np.array([7000.0, 500.0, 0.0]),
        kappa=np.full(count, kappa),
        noise_w=np.full(count, noise_w),
    )


def _precoder(count, seed=0):
    parts = np.random.default_rng(seed).standard_normal((2, WAVE.blocks, 36, count))
    return parts[0] + 1j * parts[1]


def test_pilot_symbols_are_orthogonal_and_no_shift_turns_one_into_another():
    s = downlink.pilot_symbols(40, 9)
    np.testing.assert_allclose(s.conj().T @ s, 40.0 * np.eye(9), atol=1e-12)
    np.testing.assert_allclose(np.abs(s), 1.0)
    wave = Waveform(2e9)
    tones = np.exp(2j * np.pi * np.arange(-2000.0, 2000.0, 10.0)[:, None] * downlink.pilot_offset_s(wave))
    leak = np.abs(np.einsum("ms,hm,mr->hsr", s.conj(), tones, s)) / 40.0
    leak[:, np.arange(9), np.arange(9)] = 0.0
    assert leak.max() < 0.6
    with pytest.raises(ValueError, match="at least one a stream"):
        downlink.pilot_symbols(4, 5)


def test_line_of_sight_is_the_sum_over_antennas():
    t = _terminals(kappa=1e12, noise_w=1e-34)
    frames, w = downlink.straight(t), _precoder(2)
    given = downlink.receive(t, frames, w, Impairments(), streams.generator(1, "pilots"))
    offset, relative, cosines = downlink.sight(t.pos_ecef, t.vel_ecef, frames)
    k, f = 1, 2
    assert np.linalg.norm(offset[k, f]) == pytest.approx(
        np.linalg.norm(t.pos_ecef[k] + frames.frame_s[f] * (t.vel_ecef[k] - t.sat_vel_ecef)), rel=1e-12
    )
    response = antenna.responses(cosines[k, f, None], 6, 6, 1.0 + WAVE.frequency_hz / WAVE.carrier_hz)[:, 0, 0]
    amplitude = np.einsum("na,nas->ns", response.conj(), np.repeat(w, WAVE.block_subcarriers, axis=0))
    amplitude *= np.exp(-2j * np.pi * WAVE.frequency_hz * np.linalg.norm(offset[k, f]) / SPEED_OF_LIGHT_M_S)[:, None]
    time = downlink.pilot_offset_s(WAVE)
    away = np.linalg.norm(offset[k, f] + time[:, None] * relative[k, f], axis=1)
    sent = given.symbols * np.exp(-2j * np.pi * WAVE.carrier_hz / SPEED_OF_LIGHT_M_S * away)[:, None]
    expected = math.sqrt(t.gamma[k]) * amplitude @ sent.T
    gain = np.vdot(expected, given.received[k, f]) / np.vdot(expected, expected)
    assert abs(gain) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(given.received[k, f], gain * expected, atol=3e-5 * np.abs(expected).max())


@pytest.mark.parametrize("scatter", ["independent", "block"])
def test_power_is_that_of_the_k_factor(scatter):
    t = _terminals(kappa=2.0, noise_w=2e-13)
    w, n = _precoder(2), 60
    drawn = np.stack(
        [
            downlink.receive(
                t, downlink.straight(t), w, Impairments(scatter=scatter), streams.generator(1, "pilots", i)
            ).received
            for i in range(n)
        ]
    )
    clean = dataclasses.replace(t, kappa=np.full(2, 1e12), noise_w=np.full(2, 1e-34))
    signal = downlink.receive(clean, downlink.straight(t), w, Impairments(), streams.generator(2, "pilots")).received
    expected = np.abs(signal) ** 2 + t.noise_w[:, None, None, None]
    ratio = np.mean(np.abs(drawn) ** 2, axis=0).mean(axis=(1, 2, 3)) / expected.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(ratio, 1.0, atol=0.05)
    # What is left beside the line of sight is alike on the subcarriers of a block, or not at all.
    gain = (
        np.sum(signal.conj() * drawn, axis=(3, 4), keepdims=True) / np.sum(np.abs(signal) ** 2, (2, 3))[..., None, None]
    )
    rest = (drawn - gain * signal) / np.abs(signal) * np.exp(-1j * np.angle(signal))
    block = rest[:, :, :, : WAVE.block_subcarriers]
    alike = np.mean(block[:, :, :, 0].conj() * block[:, :, :, 1]).real * 3.0 / t.gamma.mean()
    assert (alike > 0.5) == (scatter == "block")


def test_offsets_are_drawn_with_their_deviations():
    t = _terminals(count=7, kappa=1e12, noise_w=1e-34)
    frames, w = downlink.straight(t), _precoder(7)
    first = [
        downlink.receive(t, frames, w, Impairments(clock_s=c), streams.generator(1, "pilots")).received
        for c in (0, 1e-7)
    ]
    turned = np.angle(first[1] * first[0].conj())
    slope = np.mean(np.angle(np.exp(1j * np.diff(turned, axis=2))), axis=(1, 2, 3)) / (2 * np.pi * WAVE.spacing_hz)
    expected = 1e-7 * streams.generator(1, "pilots").spawn(4)[0].standard_normal(9)[2:]
    np.testing.assert_allclose(-slope, expected, atol=1e-11)
    assert Impairments(3e-8, ionosphere_m=SPEED_OF_LIGHT_M_S * 4e-8).nuisance.clock_s == pytest.approx(5e-8)


def test_bad_input_is_refused():
    t = _terminals()
    with pytest.raises(ValueError, match="frames: expected 3"):
        downlink.receive(
            t,
            downlink.straight(t.replace(waveform=dataclasses.replace(WAVE, frames=2))),
            _precoder(2),
            Impairments(),
            streams.generator(1, "pilots"),
        )
    with pytest.raises(ValueError, match="36 antennas"):
        downlink.receive(t, downlink.straight(t), _precoder(2)[:, :5], Impairments(), streams.generator(1, "pilots"))
    with pytest.raises(ValueError, match="clock_s"):
        Impairments(clock_s=-1.0)
    with pytest.raises(ValueError, match="scatter"):
        Impairments(scatter="some")
