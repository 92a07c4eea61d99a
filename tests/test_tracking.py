"""Trackers: what is measured, against geometry and differences; the filters against FilterPy and their own statistics.

The scene is the sensing service's default: a satellite passing at 340 or 550 km, the receiver of 64 sub-arrays, an
aircraft of 20 m^2 in straight flight past it. A detection's directions are as good as the Cramer-Rao bound allows.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from filterpy.common import Q_continuous_white_noise
from filterpy.kalman import ExtendedKalmanFilter, IMMEstimator

from leosim import motion, radar
from leosim.flights import Flights
from leosim.radar import Receiver
from leosim.records import (
    BELOW_THRESHOLD,
    COASTING,
    CONFIRMED,
    FOUND,
    LOST,
    REFUSED,
    TENTATIVE,
    Detection,
)
from leosim.tracking import ekf, imm
from leosim.units import MEAN_EARTH_RADIUS_M, NS_PER_S, SPEED_OF_LIGHT_M_S, db_to_linear, thermal_noise_w

CARRIER_HZ = 2e9
EARTH_MU_M3_S2 = 3.986004418e14
EPOCHS = 301  # a second apart, closest approach in the middle
SAMPLES = 65_536
POWER_GAIN_W = 100.0 * 576  # 100 W on the target by 576 antennas
RECEIVER = Receiver.at(
    0.0,
    0.0,
    0.0,
    rows=32,
    columns=32,
    subarray=(4, 4),
    noise_w=thermal_noise_w(10e6, 500.0),
    gain=db_to_linear(5.0),
)


def flight(start_km, turn_deg_s=0.0):
    """An aircraft at 191 m/s, flying nearly east."""
    velocity = np.array([[190.0, -20.0, 0.0]])
    turn_rad_s = np.radians([turn_deg_s])
    return Flights(("aircraft",), 1e3 * np.array([start_km]), velocity, np.array([20.0]), turn_rad_s)


STRAIGHT, TURN = flight([-28.0, 8.0, 9.0]), flight([-15.0, 5.0, 9.0], 3.0)
TRACKERS = (ekf, imm)

one_millimetre = 1e-3
one_millihertz = 1e-3
a_millionth_of_sigma = 1e-6
a_millionth_of_variance = 1e-6


# ---------------------------------------------------------------------------------------------
# The scene


def sat_at(altitude_m, t_s):
    """Position and velocity [time, xyz] of a satellite on a circle that passes 150 km beside the zenith."""
    radius_m = MEAN_EARTH_RADIUS_M + altitude_m
    rate_rad_s = math.sqrt(EARTH_MU_M3_S2 / radius_m**3)
    heading, tilt = math.radians(35.0), 150e3 / radius_m
    ahead = np.array([math.sin(heading), math.cos(heading), 0.0])
    beside = np.array([math.cos(heading), -math.sin(heading), 0.0])
    top = math.cos(tilt) * np.array([0.0, 0.0, 1.0]) + math.sin(tilt) * beside
    angle = rate_rad_s * (np.asarray(t_s)[:, None] - EPOCHS // 2)
    pos = radius_m * (np.cos(angle) * top + np.sin(angle) * ahead) - [0.0, 0.0, MEAN_EARTH_RADIUS_M]
    return pos, radius_m * rate_rad_s * (np.cos(angle) * ahead - np.sin(angle) * top)


@cache
def sat_pass(altitude_m):
    """`sat_at` at each epoch."""
    return sat_at(altitude_m, np.arange(EPOCHS))


def flown(flights, t_s=range(EPOCHS)):
    """States [epoch, 6] of the first target."""
    return np.array([np.concatenate([part[0] for part in flights.states(float(t))]) for t in t_s])


def wandering(q_m2_s3, rng):
    """States [epoch, 6] of a flight from the same start with the white acceleration that a filter expects."""
    states = flown(STRAIGHT)
    step, root = motion.transition(1.0), np.linalg.cholesky(motion.process_noise(1.0, q_m2_s3))
    for k in range(1, EPOCHS):
        states[k] = step @ states[k - 1] + root @ rng.standard_normal(6)
    return states


def noise(states, sat_pos_enu):
    """Covariance [epoch, 4, 4] of a detection: directions at their bound, 0.5 m and 14 Hz."""
    pos = states[:, :3]
    range_rx_m, range_tx_m = np.linalg.norm(pos, axis=1), np.linalg.norm(pos - sat_pos_enu, axis=1)
    echo = radar.echo_gain(range_tx_m, range_rx_m, 20.0, CARRIER_HZ, math.pi, RECEIVER.gain)
    snr = radar.integrated_snr(POWER_GAIN_W, echo, RECEIVER.noise_w, SAMPLES)
    out = np.zeros((len(states), 4, 4))
    out[:, :2, :2] = radar.angle_covariance(RECEIVER, snr, pos[:, :2] / range_rx_m[:, None])
    out[:, 2, 2], out[:, 3, 3] = 0.5**2, 14.0**2
    return out


def detection(k, value, covariance, status=FOUND, target=0):
    return Detection(
        t_ns=k * NS_PER_S, sat=1, target=target, status=status, statistic=100.0, value=value, covariance=covariance
    )


def detections(states, altitude_m, rng, missed=()):
    """A detection each epoch of a flight, and the satellite then: [(detection, position, velocity)]."""
    sat_pos, sat_vel = sat_pass(altitude_m)
    value, _ = motion.measure(states, sat_pos, sat_vel, CARRIER_HZ)
    covariance = noise(states, sat_pos)
    value = value + motion.times(np.linalg.cholesky(covariance), rng.standard_normal((EPOCHS, 4)))
    return [
        (detection(k, value[k], covariance[k], BELOW_THRESHOLD if k in missed else FOUND), sat_pos[k], sat_vel[k])
        for k in range(EPOCHS)
    ]


def tracked(tracker, seen, params):
    """The track at each epoch."""
    first, *others = seen
    track = tracker.begin(*first, params, CARRIER_HZ)
    out = [track]
    for found, pos, vel in others:
        track = tracker.update(tracker.predict(track, found.t_ns, params), found, pos, vel, params, CARRIER_HZ)
        out.append(track)
    return out


def errors(tracks, states):
    """Distance to the true position (m) and normalised estimation error squared over 6, of each epoch."""
    off = np.array([track.mean for track in tracks]) - states
    covariance = np.array([track.covariance for track in tracks])
    nees = (off * np.linalg.solve(covariance, off[..., None])[..., 0]).sum(axis=1) / 6.0
    return np.linalg.norm(off[:, :3], axis=1), nees


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


# ---------------------------------------------------------------------------------------------
# What is measured


@pytest.mark.parametrize("altitude_m", [340e3, 550e3])
def test_a_measurement_is_that_of_the_radar_geometry(altitude_m):
    states = flown(STRAIGHT)
    sat_pos, sat_vel = sat_pass(altitude_m)
    value, _ = motion.measure(states, sat_pos, sat_vel, CARRIER_HZ)
    seen = radar.geometry(
        RECEIVER.pos_ecef + sat_pos @ RECEIVER.axes,
        sat_vel @ RECEIVER.axes,
        RECEIVER,
        RECEIVER.pos_ecef + states[:, :3] @ RECEIVER.axes,
    )
    np.testing.assert_allclose(value[:, :2], seen.arrival, rtol=0, atol=1e-12)
    np.testing.assert_allclose(value[:, 2], seen.range_tx_m + seen.range_rx_m, rtol=0, atol=one_millimetre)


@pytest.mark.parametrize("altitude_m", [340e3, 550e3])
def test_doppler_is_the_rate_of_the_bistatic_range_with_both_moving(altitude_m):
    def measured(t_s):
        return motion.measure(flown(TURN, t_s), *sat_at(altitude_m, t_s), CARRIER_HZ)[0]

    t_s, step_s = np.arange(EPOCHS), 0.01
    rate_m_s = (measured(t_s + step_s)[:, 2] - measured(t_s - step_s)[:, 2]) / (2.0 * step_s)
    doppler_hz = measured(t_s)[:, 3]
    np.testing.assert_allclose(doppler_hz, -CARRIER_HZ / SPEED_OF_LIGHT_M_S * rate_m_s, rtol=0, atol=one_millihertz)
    assert np.ptp(doppler_hz) > 50e3  # the satellite's own share


def scattered(count, seed):
    """Targets above the receiver, and a satellite for all of them."""
    rng = np.random.default_rng(seed)
    pos = rng.uniform([-20e3, -20e3, 1e3], [20e3, 20e3, 12e3], (count, 3))
    states = np.hstack([pos, rng.uniform(-250.0, 250.0, (count, 3))])
    return states, np.array([3e5, -2e5, 5e5]), np.array([5e3, 5.5e3, -9e2])


def test_the_jacobian_is_the_difference_of_measurements():
    states, pos, vel = scattered(200, 1)
    _, jacobian = motion.measure(states, pos, vel, CARRIER_HZ)
    for k, step in enumerate((0.1,) * 3 + (0.01,) * 3):
        off = step * np.eye(6)[k]
        after, before = (motion.measure(states + sign * off, pos, vel, CARRIER_HZ)[0] for sign in (1.0, -1.0))
        largest = np.abs(jacobian).max(axis=(0, 2))
        scaled = ((after - before) / (2.0 * step) - jacobian[..., k]) / largest
        np.testing.assert_allclose(scaled, 0.0, rtol=0, atol=1e-6)


def curvature_by_differences(states, pos, vel):
    out = np.zeros((*states.shape[:-1], 4, 6, 6))
    for k in range(6):
        off = np.eye(6)[k]
        after, before = (motion.measure(states + sign * off, pos, vel, CARRIER_HZ)[1] for sign in (1.0, -1.0))
        out[..., k] = (after - before) / 2.0
    return out


def test_the_curvature_is_the_difference_of_jacobians():
    states, pos, vel = scattered(200, 2)
    curved = motion.curvature(states, pos, vel, CARRIER_HZ)
    largest = np.abs(curved).max(axis=(0, 2, 3))[:, None, None]
    scaled = (curvature_by_differences(states, pos, vel) - curved) / largest
    np.testing.assert_allclose(scaled, 0.0, rtol=0, atol=1e-6)


def test_what_curvature_adds_is_the_spread_of_the_measurement_about_its_linearisation():
    rng = np.random.default_rng(3)
    states, pos, vel = scattered(1, 4)
    state = states[0]
    root = np.diag([300.0, 300.0, 300.0, 50.0, 50.0, 50.0]) @ (np.eye(6) + 0.3 * rng.standard_normal((6, 6)))
    off = rng.standard_normal((200_000, 6)) @ root.T
    value, jacobian = motion.measure(state, pos, vel, CARRIER_HZ)
    left = motion.measure(state + off, pos, vel, CARRIER_HZ)[0] - value - off @ jacobian.T
    white = np.diag(1.0 / np.array([1e-3, 1e-3, 0.5, 14.0]))
    mean, covariance = motion.bent(white, motion.curvature(state, pos, vel, CARRIER_HZ), root @ root.T)
    left = left @ white.T
    one_percent_of_spread = 0.01 * left.std(axis=0)  # 200,000 draws, and third derivatives
    assert np.all(np.abs(left.mean(axis=0) - mean) < one_percent_of_spread * 3)
    scale = left.std(axis=0)
    drawn = np.cov(left.T) / np.outer(scale, scale)
    np.testing.assert_allclose((covariance - np.eye(4)) / np.outer(scale, scale), drawn, rtol=0, atol=0.05)


# ---------------------------------------------------------------------------------------------
# Motion


@pytest.mark.parametrize("dt_s", [0.1, 1.0, 20.0])
def test_process_noise_is_filterpys(dt_s):
    expected = Q_continuous_white_noise(dim=2, dt=dt_s, spectral_density=0.7, block_size=3, order_by_dim=False)
    np.testing.assert_allclose(motion.process_noise(dt_s, 0.7), expected, rtol=1e-14, atol=0)


def test_two_steps_ahead_are_one_of_their_sum():
    rng = np.random.default_rng(4)
    root = rng.standard_normal((6, 6))
    mean, covariance = rng.standard_normal(6), root @ root.T
    for once, twice in zip(
        motion.ahead(mean, covariance, 3.5, 2.0),
        motion.ahead(*motion.ahead(mean, covariance, 1.25, 2.0), 2.25, 2.0),
        strict=True,
    ):
        np.testing.assert_allclose(twice, once, rtol=1e-13, atol=1e-13)


def test_models_switch_by_their_sojourn_times():
    p = imm.Params(steady_s=40.0, agile_s=10.0)
    np.testing.assert_allclose(imm.switching(3.0, p) @ imm.switching(4.5, p), imm.switching(7.5, p), rtol=1e-14)
    np.testing.assert_allclose(imm.switching(3.0, p).sum(axis=1), 1.0, rtol=1e-15)
    np.testing.assert_allclose(p.at_rest @ imm.switching(3.0, p), p.at_rest, rtol=1e-14)
    at_once = (imm.switching(1e-6, p) - np.eye(2)) / 1e-6
    np.testing.assert_allclose(np.diagonal(at_once), [-1.0 / 40.0, -1.0 / 10.0], rtol=1e-5)


# ---------------------------------------------------------------------------------------------
# Against FilterPy, on the same problem


class Reference(ExtendedKalmanFilter):
    """FilterPy's extended Kalman filter on a measurement with its curvature, taken from differences."""

    def __init__(self, track, q_m2_s3):
        super().__init__(dim_x=6, dim_z=4)
        self.x, self.P = track.mean.copy(), track.covariance.copy()
        self.F = np.eye(6) + np.eye(6, k=3)
        self.Q = Q_continuous_white_noise(dim=2, dt=1.0, spectral_density=q_m2_s3, block_size=3, order_by_dim=False)

    def predict(self, u=None):
        super().predict()

    def update(self, seen):
        found, pos, vel = seen
        bias, added = self.bent(pos, vel)
        super().update(
            found.value,
            lambda x: motion.measure(x, pos, vel, CARRIER_HZ)[1],
            lambda x: motion.measure(x, pos, vel, CARRIER_HZ)[0] + bias,
            R=found.covariance + added,
        )
        self.P += self.lifted(self.P, motion.measure(self.x_prior, pos, vel, CARRIER_HZ)[1], self.bent(pos, vel)[1])

    def bent(self, pos, vel):
        """Mean and covariance of what curvature adds within the covariance, from differences."""
        spread = curvature_by_differences(self.x, pos, vel) @ self.P
        covariance = 0.5 * np.array([[np.trace(a @ b) for b in spread] for a in spread])
        return 0.5 * np.array([np.trace(a) for a in spread]), covariance

    @staticmethod
    def lifted(covariance, h, added):
        """A change of the covariance that changes that of the measurement by `added`."""
        lift = covariance @ h.T @ np.linalg.inv(h @ covariance @ h.T)
        return lift @ added @ lift.T


def assert_same_state(mean, covariance, expected_mean, expected_covariance):
    sigma = np.sqrt(np.diagonal(expected_covariance))
    np.testing.assert_allclose((mean - expected_mean) / sigma, 0.0, rtol=0, atol=a_millionth_of_sigma)
    scale = np.outer(sigma, sigma)
    np.testing.assert_allclose(covariance / scale, expected_covariance / scale, rtol=0, atol=a_millionth_of_variance)


def test_the_extended_kalman_filter_is_filterpys():
    seen = detections(flown(STRAIGHT), 550e3, np.random.default_rng(5))
    params = ekf.Params(passes=1)
    tracks = tracked(ekf, seen, params)
    reference = Reference(tracks[0], params.q_m2_s3)
    for track, one in zip(tracks[1:60], seen[1:60], strict=True):
        reference.predict()
        reference.update(one)
        assert_same_state(track.mean, track.covariance, reference.x, reference.P)
        np.testing.assert_allclose(track.gate, reference.mahalanobis**2, rtol=1e-5)


def test_interacting_models_are_filterpys():
    seen = detections(flown(TURN), 550e3, np.random.default_rng(6))
    params = imm.Params(passes=1)
    tracks = tracked(imm, seen, params)
    filters = [Reference(tracks[0], q) for q in (params.steady_q_m2_s3, params.agile_q_m2_s3)]
    reference = IMMEstimator(filters, params.at_rest, imm.switching(1.0, params))
    for track, one in zip(tracks[1:60], seen[1:60], strict=True):
        reference.predict()
        reference.update(one)
        np.testing.assert_allclose(track.probability, reference.mu, rtol=0, atol=1e-5)
        assert_same_state(track.mean, track.covariance, reference.x, reference.P)
        for model, expected in enumerate(filters):
            assert_same_state(track.model_mean[model], track.model_covariance[model], expected.x, expected.P)


def test_a_second_pass_linearises_where_the_first_one_ended():
    """Both passes in information form."""
    found, pos, vel = detections(flown(STRAIGHT), 550e3, np.random.default_rng(7))[0]
    before = ekf.predict(ekf.begin(found, pos, vel, ekf.Params(), CARRIER_HZ), NS_PER_S, ekf.Params())
    found, pos, vel = detections(flown(STRAIGHT), 550e3, np.random.default_rng(7))[1]
    state, spread = before.mean, before.covariance
    for _ in range(2):
        value, h = motion.measure(state, pos, vel, CARRIER_HZ)
        bent = motion.curvature(state, pos, vel, CARRIER_HZ) @ spread
        r = np.linalg.inv(found.covariance + 0.5 * np.einsum("iab,jba->ij", bent, bent))
        left = found.value - value - 0.5 * np.trace(bent, axis1=1, axis2=2) - h @ (before.mean - state)
        spread = np.linalg.inv(np.linalg.inv(before.covariance) + h.T @ r @ h)
        state = before.mean + spread @ h.T @ r @ left
    bent = motion.curvature(state, pos, vel, CARRIER_HZ) @ spread
    spread = spread + Reference.lifted(spread, h, 0.5 * np.einsum("iab,jba->ij", bent, bent))
    after = ekf.update(before, found, pos, vel, ekf.Params(), CARRIER_HZ)
    assert_same_state(after.mean, after.covariance, state, spread)


# ---------------------------------------------------------------------------------------------
# A new track


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_track_begins_where_the_direction_meets_the_ellipsoid(tracker):
    state, pos, vel = np.array([-9e3, 4e3, 8e3, 190.0, -20.0, 3.0]), *(part[40] for part in sat_pass(550e3))
    value, _ = motion.measure(state, pos, vel, CARRIER_HZ)
    sharp = np.diag(np.square([1e-9, 1e-9, 1e-4, 1e-3]))  # all but exact
    track = tracker.begin(detection(0, value, sharp), pos, vel, tracker.Params(), CARRIER_HZ)
    np.testing.assert_allclose(track.pos_enu, state[:3], rtol=0, atol=one_millimetre)
    # Of the velocity only what the Doppler tells is known.
    again, jacobian = motion.measure(track.mean, pos, vel, CARRIER_HZ)
    np.testing.assert_allclose(again[3], value[3], rtol=0, atol=0.01)
    known = jacobian[3, 3:] / np.linalg.norm(jacobian[3, 3:])
    assert np.linalg.norm(np.cross(track.vel_enu, known)) < one_millimetre
    spread = np.linalg.eigvalsh(track.covariance[3:, 3:])
    np.testing.assert_allclose(np.sqrt(spread[1:]), tracker.Params().speed_sigma_m_s, rtol=1e-6)
    assert (track.status, track.hits, track.misses) == (TENTATIVE, 1, 0)


def test_the_covariance_of_a_new_track_is_that_of_its_position():
    rng = np.random.default_rng(8)
    state, pos, vel = flown(STRAIGHT)[120], *(part[120] for part in sat_pass(550e3))
    value, _ = motion.measure(state, pos, vel, CARRIER_HZ)
    covariance = noise(state[None], pos)[0]
    nees = []
    for _ in range(400):
        drawn = value + np.linalg.cholesky(covariance) @ rng.standard_normal(4)
        track = ekf.begin(detection(0, drawn, covariance), pos, vel, ekf.Params(), CARRIER_HZ)
        off = track.pos_enu - state[:3]
        nees.append(off @ np.linalg.solve(track.covariance[:3, :3], off) / 3.0)
    assert 0.9 < np.mean(nees) < 1.1  # 400 draws: three times their spread is 0.12


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_detection_that_fixes_no_place_begins_a_lost_track(tracker):
    pos, vel = (part[40] for part in sat_pass(550e3))
    direct_m = np.linalg.norm(pos)
    for value in ([0.9, 0.5, direct_m + 1e4, 0.0], [0.1, 0.1, direct_m - 1.0, 0.0]):
        found = detection(0, value, np.diag([1e-6, 1e-6, 0.25, 196.0]))
        track = tracker.begin(found, pos, vel, tracker.Params(), CARRIER_HZ)
        assert track.status == LOST
        assert np.isnan(track.mean).all()


@pytest.mark.parametrize("tracker", TRACKERS)
def test_no_track_begins_without_a_detection(tracker):
    pos, vel = (part[40] for part in sat_pass(550e3))
    with pytest.raises(ValueError, match="expected one with status 0"):
        tracker.begin(detection(0, np.zeros(4), np.eye(4), REFUSED), pos, vel, tracker.Params(), CARRIER_HZ)


# ---------------------------------------------------------------------------------------------
# What the filters know of their own errors


@cache
def matched(altitude_m):
    """Errors, NEES/6 and gates [flight, epoch] of 20 flights with the acceleration that the filter expects."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng([9, seed])
        states = wandering(ekf.Params().q_m2_s3, rng)
        tracks = tracked(ekf, detections(states, altitude_m, rng), ekf.Params())
        found.append((*errors(tracks, states), [float(track.gate) for track in tracks]))
    return tuple(np.array(part) for part in zip(*found, strict=True))


@pytest.mark.parametrize("altitude_m", [pytest.param(340e3, marks=pytest.mark.slow), 550e3])
def test_errors_of_matched_flights_are_as_large_as_the_filter_says(altitude_m):
    _, nees, _ = matched(altitude_m)
    assert 0.8 < nees.mean() < 1.25
    assert 0.8 < nees[:, :20].mean() < 1.25  # while the track is new, too
    assert 0.8 < nees[:, -100:].mean() < 1.25


@pytest.mark.parametrize("altitude_m", [pytest.param(340e3, marks=pytest.mark.slow), 550e3])
def test_innovations_of_matched_flights_are_chi_square_of_four_dimensions(altitude_m):
    gates = matched(altitude_m)[2][:, 1:]
    assert 3.8 < gates.mean() < 4.2  # 6,000 of them: three times their spread is 0.11
    assert 0.04 < np.mean(gates > 9.488) < 0.06  # the 95 % point
    assert np.mean(gates > ekf.Params().gate) < 1e-3


# ---------------------------------------------------------------------------------------------
# Flights past the receiver


@cache
def passes(tracker, turning, altitude_m, params=None):
    """Errors, NEES/6 [flight, epoch] and tracks of four passes."""
    states, found = flown(TURN if turning else STRAIGHT), []
    for seed in range(4):
        seen = detections(states, altitude_m, np.random.default_rng([10, seed]))
        found.append(tracked(tracker, seen, params or tracker.Params()))
    distance, nees = zip(*(errors(tracks, states) for tracks in found), strict=True)
    return np.array(distance), np.array(nees), found


@pytest.mark.parametrize("altitude_m", [pytest.param(340e3, marks=pytest.mark.slow), 550e3])
@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_straight_flight_is_tracked_from_the_first_dwell_to_the_last(tracker, altitude_m):
    distance, nees, tracks = passes(tracker, False, altitude_m)
    assert rms(distance) < 105.0  # the design's figure for the whole pass
    assert rms(distance[:, 120:181]) < 16.0  # and near closest approach
    assert 0.4 < nees.mean() < 1.25  # no acceleration at all: errors are smaller than the filter must expect
    assert all(one[-1].status == CONFIRMED and one[-1].hits >= EPOCHS - 2 for one in tracks)


def test_a_change_of_satellite_is_nothing_to_a_track():
    states, rng = flown(STRAIGHT), np.random.default_rng(20)
    one, other = detections(states, 340e3, rng), detections(states, 550e3, rng)
    for tracker in TRACKERS:
        seen = [(one, other)[k // 7 % 2][k] for k in range(EPOCHS)]
        tracks = tracked(tracker, seen, tracker.Params())
        distance, nees = errors(tracks, states)
        assert rms(distance) < 105.0
        assert rms(distance[120:181]) < 16.0
        assert 0.3 < nees.mean() < 1.25
        assert tracks[-1].hits >= EPOCHS - 2


@pytest.mark.parametrize("altitude_m", [pytest.param(340e3, marks=pytest.mark.slow), 550e3])
def test_a_turn_needs_a_second_model(altitude_m):
    """At 3 degrees a second: the filter for straight flight loses it within seconds, the interacting models do not."""
    distance, nees, tracks = passes(imm, True, altitude_m)
    assert rms(distance) < 100.0
    assert 0.8 < nees.mean() < 1.25
    assert all(one[-1].status == CONFIRMED and one[-1].hits >= EPOCHS - 2 for one in tracks)
    assert all(one[10].status == LOST for one in passes(ekf, True, altitude_m)[2])
    open_gate = ekf.Params(gate_miss=1e-300, lose_misses=EPOCHS)
    lost, wrong, _ = passes(ekf, True, altitude_m, open_gate)
    assert rms(lost) > 10.0 * rms(distance)
    assert np.median(wrong) > 100.0


def test_the_models_tell_a_turn_from_straight_flight():
    turning, straight = (
        np.mean([[track.probability[1] for track in one[30:]] for one in passes(imm, turn, 550e3)[2]])
        for turn in (True, False)
    )
    assert turning > 0.9
    assert straight < 0.05


@pytest.mark.parametrize("tracker", TRACKERS)
def test_covariances_stay_symmetric_and_positive(tracker):
    for one in passes(tracker, False, 550e3)[2]:
        for track in one:
            for covariance in (track.covariance, *track.model_covariance):
                np.testing.assert_array_equal(covariance, covariance.T)
                np.linalg.cholesky(covariance)
            assert tracker is ekf or abs(track.probability.sum() - 1.0) < 1e-12


# ---------------------------------------------------------------------------------------------
# The fate of a track


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_false_detection_is_refused(tracker):
    params = tracker.Params()
    seen = detections(flown(STRAIGHT), 550e3, np.random.default_rng(11))
    track = tracked(tracker, seen[:60], params)[-1]
    elsewhere = flown(STRAIGHT) + np.array([0.0, 3e3, 0.0, 0.0, 0.0, 0.0])
    (false, pos, vel), (true, *sat) = detections(elsewhere, 550e3, np.random.default_rng(12))[60], seen[61]
    expected = tracker.predict(track, false.t_ns, params)
    refused = tracker.update(expected, false, pos, vel, params, CARRIER_HZ)
    assert refused.gate > params.gate
    assert (refused.status, refused.misses, refused.hits) == (COASTING, 1, track.hits)
    np.testing.assert_array_equal(refused.mean, expected.mean)
    np.testing.assert_array_equal(refused.covariance, expected.covariance)
    again = tracker.update(tracker.predict(refused, true.t_ns, params), true, *sat, params, CARRIER_HZ)
    assert again.gate < params.gate
    assert (again.status, again.misses, again.hits) == (CONFIRMED, 0, track.hits + 1)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_track_coasts_for_20_s_and_is_picked_up_again(tracker):
    gap = range(100, 120)
    states = flown(STRAIGHT)
    tracks = tracked(tracker, detections(states, 550e3, np.random.default_rng(13), missed=gap), tracker.Params())
    assert [int(track.status) for track in tracks[99:121]] == [CONFIRMED] + [COASTING] * 20 + [CONFIRMED]
    assert tracks[119].misses == 20
    assert np.isnan(tracks[110].gate)
    distance, nees = errors(tracks, states)
    volume = [np.trace(track.covariance[:3, :3]) for track in tracks[99:121]]
    assert np.all(np.diff(volume[:21]) > 0.0)
    assert volume[21] < volume[20]
    assert nees[119] < 16.8 / 6.0  # the 99 % point of six dimensions
    assert rms(distance[150:200]) < 16.0


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_track_is_confirmed_by_three_of_five_dwells(tracker):
    def statuses(missed):
        seen = detections(flown(STRAIGHT), 550e3, np.random.default_rng(14), missed)[:6]
        return [int(track.status) for track in tracked(tracker, seen, tracker.Params())]

    assert statuses(()) == [TENTATIVE, TENTATIVE, CONFIRMED, CONFIRMED, CONFIRMED, CONFIRMED]
    assert statuses((1, 3)) == [TENTATIVE, TENTATIVE, TENTATIVE, TENTATIVE, CONFIRMED, CONFIRMED]
    assert statuses((1, 2, 3)) == [TENTATIVE, TENTATIVE, TENTATIVE, LOST, LOST, LOST]


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_confirmed_track_is_lost_after_misses_in_a_row(tracker):
    params = tracker.Params(lose_misses=4)
    missed = [20, 21, 22, 24, 25, 26, 27]
    tracks = tracked(tracker, detections(flown(STRAIGHT), 550e3, np.random.default_rng(15), missed)[:40], params)
    expected = [COASTING] * 3 + [CONFIRMED] + [COASTING] * 3 + [LOST] * 13
    assert [int(track.status) for track in tracks[20:]] == expected
    assert tracks[-1].t_ns == 39 * NS_PER_S
    for track in tracks[28:]:
        np.testing.assert_array_equal(track.mean, tracks[27].mean)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_track_is_lost_where_its_position_is_no_longer_known(tracker):
    params = tracker.Params()
    track = tracked(tracker, detections(flown(STRAIGHT), 550e3, np.random.default_rng(16))[:60], params)[-1]
    lasts_s = 0
    while track.status != LOST:
        assert np.trace(track.covariance[:3, :3]) <= params.lose_sigma_m**2
        lasts_s += 10
        track = tracker.predict(track, track.t_ns + 10 * NS_PER_S, params)
        assert lasts_s < 3600
    assert np.trace(track.covariance[:3, :3]) > params.lose_sigma_m**2
    assert lasts_s > 30


@pytest.mark.parametrize("tracker", TRACKERS)
def test_an_update_leaves_the_track_before_as_it_was(tracker):
    params = tracker.Params()
    (first, *sat), (second, pos, vel) = detections(flown(STRAIGHT), 550e3, np.random.default_rng(17))[:2]
    begun = tracker.begin(first, *sat, params, CARRIER_HZ)
    before = tracker.predict(begun, second.t_ns, params)
    kept = {name: np.copy(getattr(before, name)) for name in before.array_fields()}
    once, twice = (tracker.update(before, second, pos, vel, params, CARRIER_HZ) for _ in range(2))
    for name, value in kept.items():
        np.testing.assert_array_equal(getattr(before, name), value)
        np.testing.assert_array_equal(getattr(once, name), getattr(twice, name))


@pytest.mark.parametrize("tracker", TRACKERS)
def test_time_and_target_must_be_those_of_the_track(tracker):
    params = tracker.Params()
    (first, *sat), (second, pos, vel) = detections(flown(STRAIGHT), 550e3, np.random.default_rng(18))[:2]
    track = tracker.begin(first, *sat, params, CARRIER_HZ)
    with pytest.raises(ValueError, match="expected an instant from 0 ns on"):
        tracker.predict(track, -1, params)
    with pytest.raises(ValueError, match="expected target 0 at 0 ns"):
        tracker.update(track, second, pos, vel, params, CARRIER_HZ)
    with pytest.raises(ValueError, match="got target 3"):
        tracker.update(track, first.replace(target=3), pos, vel, params, CARRIER_HZ)


def test_a_model_that_was_all_but_ruled_out_comes_back():
    """Flown straight for so long that the model of manoeuvres is nearly out, then turned at once."""
    params = imm.Params(steady_s=1e7)
    states = flown(STRAIGHT)
    turn = Flights(("a",), states[100][None, :3], states[100][None, 3:], np.array([20.0]), np.radians([3.0]))
    states[100:] = flown(turn, range(EPOCHS - 100))
    tracks = tracked(imm, detections(states, 550e3, np.random.default_rng(19))[:160], params)
    assert 0.0 < tracks[99].probability[1] < 1e-5
    assert tracks[-1].probability[1] > 0.9
    assert tracks[-1].status == CONFIRMED


@pytest.mark.parametrize(
    ("tracker", "setting", "said"),
    [
        (ekf, {"q_m2_s3": 0.0}, "q_m2_s3: expected a positive number"),
        (ekf, {"gate_miss": 1.0}, "gate_miss: expected a probability"),
        (ekf, {"passes": 0}, "passes: expected a whole number"),
        (ekf, {"confirm_hits": 6}, "expected at most confirm_of = 5"),
        (ekf, {"lose_misses": True}, "lose_misses: expected a whole number"),
        (imm, {"agile_s": -1.0}, "agile_s: expected a positive number"),
        (imm, {"steady_q_m2_s3": math.nan}, "steady_q_m2_s3: expected a positive number"),
        (imm, {"lose_sigma_m": math.inf}, "lose_sigma_m: expected a positive number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tracker, setting, said):
    with pytest.raises(ValueError, match=said):
        tracker.Params(**setting)


def test_the_gate_is_a_quantile_of_chi_square():
    """Of four dimensions: 1 - exp(-x / 2) (1 + x / 2)."""
    for miss in (1e-2, 1e-4, 1e-8):
        gate = ekf.Params(gate_miss=miss).gate
        assert math.exp(-gate / 2.0) * (1.0 + gate / 2.0) == pytest.approx(miss, rel=1e-9)
