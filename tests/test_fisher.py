"""Position information: against numerical differentiation of received signals, and against the paper's angles."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from ical_scene import paper_drop

from leosim import antenna, fisher, joint, ofdm
from leosim.fisher import Nuisance
from leosim.ical import fully_digital
from leosim.units import SPEED_OF_LIGHT_M_S

SMALL = ofdm.Waveform(
    carrier_hz=2e9, spacing_hz=2e5, subcarriers=8, blocks=4, symbol_s=1e-5, slots=3, slot_pilots=2, slot_symbols=5
)


def _gains(p, seed=0):
    rng = np.random.default_rng(seed)
    shape = (p.terminals, p.waveform.blocks, 3, p.terminals)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


@pytest.mark.parametrize(
    "nuisance", [Nuisance(), Nuisance(1e-5, 1e-8, 100.0), Nuisance(carrier_hz=np.inf)], ids=["known", "some", "unknown"]
)
def test_speb_gradient(nuisance):
    p = joint.problem(paper_drop(1, count=3, side=6))
    gains, step, h = _gains(p), _gains(p, 1), 1e-6

    def total(t):
        return fisher.speb(gains + t * step, p.link, p.waveform, p.slope, nuisance)[0].sum()

    gradient = fisher.speb(gains, p.link, p.waveform, p.slope, nuisance)[1]
    assert 2.0 * np.real(np.sum(gradient.conj() * step)) == pytest.approx((total(h) - total(-h)) / (2 * h), rel=1e-6)


def test_rate_gradient():
    p = joint.problem(paper_drop(1, count=3, side=6))
    gains, step, h = _gains(p), _gains(p, 1), 1e-6
    slope = (p.rate(gains + h * step)[0].sum() - p.rate(gains - h * step)[0].sum()) / (2 * h)
    assert 2.0 * np.real(np.sum(p.rate(gains)[1].conj() * step[:, :, 0])) == pytest.approx(slope, rel=1e-8)


def _precoder(p, seed=0):
    rng = np.random.default_rng(seed)
    shape = (p.waveform.blocks, p.antennas, p.terminals)
    w = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return w * math.sqrt(p.power_w / p.total_power_w(w))


def _received(p, precoder, pilots, parameters):
    """Line-of-sight samples [subcarrier, pilot] of a terminal, Eq. (9) without noise, antenna by antenna.

    pilots : [subcarrier, stream, pilot]; parameters : u, w, delay (s), Doppler (Hz), gain x + i y
    """
    u, w, delay, doppler, x, y = parameters
    wave = p.waveform
    m = np.repeat(np.arange(p.rows) - (p.rows - 1) / 2, p.columns)
    n = np.tile(np.arange(p.columns) - (p.columns - 1) / 2, p.rows)
    out = np.empty((wave.subcarriers, wave.pilots), dtype=complex)
    for i, f in enumerate(wave.frequency_hz):
        block = i // wave.block_subcarriers
        # The array is that of the block's centre, as blocks are summed in the library.
        v = np.exp(-1j * np.pi * wave.stretch[block] * (m * u + n * w)) / math.sqrt(p.antennas)
        sent = v @ precoder[block] @ pilots[i]
        out[i] = (x + 1j * y) * np.exp(2j * np.pi * (doppler * wave.pilot_s - f * delay)) * sent
    return out


def _numeric_information(p, precoder, k):
    """Eq. (18) by central differences of the received samples of one terminal; pilots orthogonal over streams."""
    wave, link = p.waveform, p.link
    turn = np.exp(2j * np.pi * np.outer(np.arange(p.terminals), np.arange(wave.pilots)) / wave.pilots)
    scattered = link.gamma[k] / (1.0 + link.kappa[k])
    amplitude = math.sqrt(link.kappa[k] * scattered)
    point = np.array([*p.cosines[k], 3e-6, 120.0, 1.0, 0.0])
    step = np.array([1e-5, 1e-5, 1e-11, 1e-1, 1e-5, 1e-5])
    total = np.zeros((6, 6))
    # E{s s^H} = I in every symbol: streams apart from each other, their information added.
    for s in range(p.terminals):
        alone = np.zeros((wave.subcarriers, p.terminals, wave.pilots), dtype=complex)
        alone[:, s] = turn[s]
        slopes = []
        for i in range(6):
            h = np.zeros(6)
            h[i] = step[i]
            ahead, behind = (_received(p, precoder, alone, point + sign * h) for sign in (1, -1))
            slopes.append(amplitude * (ahead - behind) / (2 * step[i]))
        power = np.einsum("br,brs->bs", p.responses[:, k, 0].conj(), precoder)
        noise = scattered * np.sum(np.abs(power) ** 2, axis=1) + link.noise_w[k]
        weight = np.repeat(2.0 / noise, wave.block_subcarriers)[:, None]
        total += np.real([[np.sum(weight * a.conj() * b) for b in slopes] for a in slopes])
    return total * wave.frames


def test_information_against_differentiated_signals():
    """Eq. (18) with pilots written out, streams orthogonal: 1e-6 of the diagonal."""
    p = joint.problem(paper_drop(3, count=2, side=4).replace(waveform=SMALL))
    w = _precoder(p)
    whole = fisher.information(p.gains(w), p.link, p.waveform)
    for k in range(2):
        numeric = _numeric_information(p, w, k)
        scale = np.sqrt(np.diagonal(numeric))
        np.testing.assert_allclose(whole[k] / np.outer(scale, scale), numeric / np.outer(scale, scale), atol=1e-6)


def test_gain_projected_out_is_the_inverse_of_the_inverse():
    p = joint.problem(paper_drop(3, count=2, side=4).replace(waveform=SMALL))
    whole = fisher.information(p.gains(_precoder(p)), p.link, p.waveform)
    scale = np.sqrt(np.diagonal(whole, axis1=-2, axis2=-1))
    scaled = whole / (scale[:, :, None] * scale[:, None, :])
    block = np.linalg.inv(np.linalg.inv(scaled)[:, :4, :4]) * scale[:, :4, None] * scale[:, None, :4]
    np.testing.assert_allclose(fisher.without_gain(whole), block, rtol=1e-6, atol=1e-6 * np.abs(block).max())


def test_blocks_against_every_subcarrier():
    """Moments of blocks give the sum over subcarriers, but for squint within a block."""
    p = joint.problem(paper_drop(0, count=3, side=8))
    w = _precoder(p)
    exact, blocks = p.exact(w)[1], p.speb(p.gains(w))[0]
    np.testing.assert_allclose(blocks, exact, rtol=5e-3)
    squint = replace(p, waveform=ofdm.Waveform(carrier_hz=2e12, symbol_s=548 / 30.72e6, contiguous=True))
    still = replace(squint, responses=antenna.responses(p.cosines, 8, 8, squint.waveform.stretch))
    np.testing.assert_allclose(still.speb(still.gains(w))[0], still.exact(w)[1], rtol=1e-5)


def test_gradients_of_the_parameters():
    """Xi of Eq. (57) by central differences of Eqs. (54)-(56), satellite moving."""
    rng = np.random.default_rng(0)
    offset, velocity = rng.normal(size=(4, 3)) * 3e5 + [0, 0, 6e5], rng.normal(size=(4, 3)) * 7e3
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    _, slope = fisher.jacobian(offset, velocity, axes, 2e9)
    for i in range(3):
        h = np.zeros(3)
        h[i] = 10.0
        ahead, behind = (fisher.jacobian(offset + sign * h, velocity, axes, 2e9)[0] for sign in (1, -1))
        numeric = (ahead - behind) / 20.0
        np.testing.assert_allclose(slope[:, i], numeric, atol=1e-6 * np.abs(slope).max(axis=(0, 1)).max(axis=0))


def test_same_bound_in_the_angles_of_the_paper():
    """Eqs. (54)-(58): angles theta_x = atan2(z, x), theta_y = arccos(y / r) instead of direction cosines."""
    terminals = paper_drop(2, count=3, side=6)
    p = joint.problem(terminals)
    whole = fisher.without_gain(fisher.information(p.gains(_precoder(p)), p.link, p.waveform))
    x, y, z = terminals.pos_ecef.T
    r = np.sqrt(x**2 + y**2 + z**2)
    theta_x, theta_y = np.arctan2(z, x), np.arccos(y / r)
    np.testing.assert_allclose(p.cosines[:, 0], np.sin(theta_y) * np.cos(theta_x), rtol=1e-12)
    np.testing.assert_allclose(p.cosines[:, 1], np.cos(theta_y), rtol=1e-12)
    # d (u, w, tau, nu) / d (theta_x, theta_y, tau, nu)
    by_angle = np.tile(np.eye(4), (3, 1, 1))
    by_angle[:, 0, 0], by_angle[:, 0, 1] = -np.sin(theta_y) * np.sin(theta_x), np.cos(theta_y) * np.cos(theta_x)
    by_angle[:, 1, 0], by_angle[:, 1, 1] = 0.0, -np.sin(theta_y)
    angles = by_angle.swapaxes(-1, -2) @ whole @ by_angle
    flat = x**2 + z**2
    xi = np.zeros((3, 3, 4))
    xi[:, 0, 0], xi[:, 2, 0] = -z / flat, x / flat  # Eq. (58)
    root = np.sqrt(flat) * r**2
    xi[:, :, 1] = np.stack([x * y / root, -flat / root, y * z / root], axis=1)
    xi[:, :, 2] = terminals.pos_ecef / r[:, None] / SPEED_OF_LIGHT_M_S
    along = terminals.pos_ecef / r[:, None]
    v = terminals.vel_ecef
    xi[:, :, 3] = -2e9 / SPEED_OF_LIGHT_M_S * (v - np.sum(v * along, axis=1)[:, None] * along) / r[:, None]
    of_angles = np.trace(fisher.position_bound(angles, xi), axis1=1, axis2=2)
    np.testing.assert_allclose(of_angles, np.trace(fisher.position_bound(whole, p.slope), axis1=1, axis2=2), rtol=1e-6)


def test_any_attitude_and_position():
    """Everything turned and moved in ITRS together: the bounds stay."""
    terminals = paper_drop(2, count=4, side=6)
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    origin = np.array([4e6, -3e6, 5e6])
    moved = terminals.replace(
        sat_pos_ecef=origin,
        axes=np.eye(3) @ turn.T,
        pos_ecef=origin + terminals.pos_ecef @ turn.T,
        vel_ecef=terminals.vel_ecef @ turn.T + 100.0 * turn[0],
        sat_vel_ecef=100.0 * turn[0],
    )
    p, q = joint.problem(terminals), joint.problem(moved)
    w = _precoder(p)
    np.testing.assert_allclose(q.cosines, p.cosines, atol=1e-9)
    np.testing.assert_allclose(q.speb(q.gains(w))[0], p.speb(p.gains(w))[0], rtol=1e-5)


def test_relative_velocity_and_an_unknown_carrier():
    """At 550 km a bound of 20.2 m is 14 to 16.5 m with the satellite's velocity, and 20.2 m if the carrier is unknown.

    The paper leaves the velocity out of Eq. (58); with it the Doppler shift tells, unless its offset is free.
    """
    terminals = paper_drop(0, altitude_m=550e3).replace(asked_m=20.2)
    moving = terminals.replace(sat_vel_ecef=np.array([7.5e3, 0.0, 0.0]))
    design = fully_digital.design(terminals, None, fully_digital.Params())
    bounds = []
    for case in (terminals, moving, moving.replace(carrier_offset_hz=np.inf)):
        p = joint.problem(case)
        bounds.append(joint.apeb_m(p.speb(p.gains(joint.weights(design, 24, 24, p.waveform)))[0]))
    still, known, unknown = bounds
    assert still == pytest.approx(20.2, rel=0.01)
    assert 14.0 < known < 16.5
    assert unknown == pytest.approx(still, rel=1e-4)


def test_nuisances_only_take():
    """More unknown, no better bound; what is unknown by nothing is known."""
    p = joint.problem(paper_drop(1, count=3, side=6))
    g = _gains(p)
    whole = fisher.without_gain(fisher.information(g, p.link, p.waveform))
    np.testing.assert_array_equal(fisher.with_nuisances(whole, Nuisance()), whole)
    some = Nuisance(1e-4, 1e-8, 50.0)
    direct = np.linalg.inv(np.linalg.inv(whole) + np.diag(some.sigma**2))
    np.testing.assert_allclose(fisher.with_nuisances(whole, some), direct, rtol=1e-6, atol=1e-9 * np.abs(direct).max())
    bounds = [
        fisher.speb(g, p.link, p.waveform, p.slope, Nuisance(clock_s=clock))[0] for clock in (0.0, 1e-8, 1e-7, np.inf)
    ]
    assert np.all(np.diff(bounds, axis=0) > 0.0)
