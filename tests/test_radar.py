"""Bistatic radar: geometry by hand and by Skyfield, bounds against the Fisher information of the whole signal."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sky import START, matched_timescale
from skyfield.api import wgs84

from leosim import frames, orbit, radar
from leosim.orbit import body_axes
from leosim.radar import Receiver
from leosim.records import Satellites, Users
from leosim.units import (
    MEAN_EARTH_RADIUS_M,
    SPEED_OF_LIGHT_M_S,
    db_to_linear,
    deg_to_rad,
    linear_to_db,
    noise_power_w,
    thermal_noise_w,
)

rounding = 1e-12
one_micrometre = 1e-6
# Central differences of phases up to 16 pi rad with steps of 1e-5.
difference_error = 1e-6
rounded_constants = 2e-3  # c = 3e8 m/s and k = 1.38e-23 J/K of Table I, in sum


def receiver(rows=32, columns=32, subarray=(1, 1), **other):
    fields = {"noise_w": thermal_noise_w(10e6, 150.0), "gain": db_to_linear(3.0), **other}
    return Receiver.at(0.0, 0.0, 0.0, rows=rows, columns=columns, subarray=subarray, **fields)


def ecef(enu, site):
    """ITRS position of an east, north, up position at a receiver, m."""
    return site.pos_ecef + np.asarray(enu, dtype=float) @ site.axes


def scene(sat_enu, target_enu, site):
    """Geometry in the receiver's own frame, satellite flying east."""
    velocity = np.array([7500.0, 0.0, 0.0]) @ site.axes
    return radar.geometry(ecef(sat_enu, site), velocity, site, ecef(target_enu, site))


# ---------------------------------------------------------------------------------------------
# Geometry


def test_body_axes_are_those_of_the_pairs():
    rng = np.random.default_rng(3)
    direction = rng.normal(size=(200, 3))
    pos = direction / np.linalg.norm(direction, axis=1, keepdims=True) * rng.uniform(6.8e6, 7.6e6, (200, 1))
    vel = np.cross(rng.normal(size=(200, 3)), pos)
    vel *= 7500.0 / np.linalg.norm(vel, axis=1, keepdims=True)
    vel += 1e-2 * pos / 1e3  # a climb of some tens of metres a second
    lat, lon, alt = (np.array([x]) for x in (0.84, 0.2, 500.0))
    users = Users(
        name=np.array(["site"]),
        lat_rad=lat,
        lon_rad=lon,
        alt_m=alt,
        mask_rad=np.zeros(1),
        pos_ecef=frames.geodetic_to_ecef(lat, lon, alt),
    )
    satellites = Satellites(t_ns=0, sat=np.arange(200), pos_ecef=pos, vel_ecef=vel)
    seen = orbit.geometry(satellites, users)
    assert seen.sat.size > 5
    site = Receiver.at(lat[0], lon[0], alt[0], rows=8, columns=8, noise_w=1.0)
    target = users.pos_ecef[0]
    axes = body_axes(pos, vel)
    np.testing.assert_allclose(
        np.einsum("sax,sbx->sab", axes, axes), np.broadcast_to(np.eye(3), (200, 3, 3)), atol=rounding
    )
    down = target - pos[seen.sat]
    cosines = np.einsum("sax,sx->sa", axes[seen.sat], down) / seen.range_m[:, None]
    np.testing.assert_allclose(cosines[:, :2], seen.cosines, rtol=0, atol=rounding)
    assert (cosines[:, 2] > 0.0).all()
    found = radar.geometry(pos[seen.sat], vel[seen.sat], site, ecef((0.0, 0.0, 1.0), site))
    np.testing.assert_allclose(found.departure, seen.cosines, rtol=0, atol=1e-5)  # a metre above the user
    np.testing.assert_allclose(found.satellite_elevation_rad, seen.elevation_rad, rtol=0, atol=rounding)


def test_geometry_by_hand():
    site = receiver()
    found = scene((30e3, -30e3, 340e3), (3e3, 3e3, 5e3), site)
    assert found.range_tx_m == pytest.approx(math.sqrt(27**2 + 33**2 + 335**2) * 1e3, abs=one_micrometre)
    assert found.range_rx_m == pytest.approx(math.sqrt(43) * 1e3, abs=one_micrometre)
    assert found.range_direct_m == pytest.approx(math.sqrt(1800 + 340**2) * 1e3, abs=one_micrometre)
    np.testing.assert_allclose(found.arrival, np.array([3, 3]) / math.sqrt(43), atol=rounding)
    np.testing.assert_allclose(found.direct, np.array([30, -30]) / math.sqrt(1800 + 340**2), atol=rounding)
    assert found.elevation_rad == pytest.approx(math.asin(5 / math.sqrt(43)), abs=rounding)
    cosine = (27 * -3 + -33 * -3 + 335 * -5) / (math.sqrt(27**2 + 33**2 + 335**2) * math.sqrt(43))
    assert found.bistatic_angle_rad == pytest.approx(math.acos(cosine), abs=rounding)
    # 30 m a sample at 10 MHz: "the excess is about 55 samples"
    assert found.excess_m / (SPEED_OF_LIGHT_M_S / 10e6) == pytest.approx(55, abs=1)


def test_geometry_broadcasts_satellites_against_targets():
    site = receiver()
    sats = np.array([ecef((x, -30e3, 340e3), site) for x in (-50e3, 30e3, 90e3)])
    vels = np.array([np.array([7500.0, v, 0.0]) @ site.axes for v in (-10.0, 0.0, 10.0)])
    targets = np.array([ecef((3e3, y, 5e3), site) for y in (3e3, 8e3)])
    grid = radar.geometry(sats[:, None], vels[:, None], site, targets)
    for name in ("range_tx_m", "range_rx_m", "range_direct_m", "bistatic_angle_rad", "departure", "arrival", "direct"):
        value = getattr(grid, name)
        assert value.shape[:2] == (3, 2)
        for i in range(3):
            for j in range(2):
                one = radar.geometry(sats[i], vels[i], site, targets[j])
                np.testing.assert_allclose(value[i, j], getattr(one, name), rtol=rounding)


def test_target_straight_up_and_satellite_above_it():
    site = receiver()
    found = scene((0.0, 0.0, 550e3), (0.0, 0.0, 10e3), site)
    np.testing.assert_allclose(found.arrival, [0.0, 0.0], atol=rounding)
    assert found.bistatic_angle_rad == pytest.approx(math.pi, abs=1e-7)
    assert found.excess_m == pytest.approx(0.0, abs=one_micrometre)
    assert found.departure_cos_off_nadir == pytest.approx(1.0, abs=rounding)


def test_elevation_and_range_are_those_of_skyfield():
    lat_deg, lon_deg, alt_m = 48.1, 11.6, 520.0
    place = wgs84.latlon(lat_deg, lon_deg, elevation_m=alt_m)
    above = wgs84.latlon(lat_deg + 0.05, lon_deg - 0.08, elevation_m=9_000.0)
    t = matched_timescale().from_datetime(START)
    alt, az, distance = (above - place).at(t).altaz()
    site = Receiver.at(deg_to_rad(lat_deg), deg_to_rad(lon_deg), alt_m, rows=8, columns=8, noise_w=1.0)
    target = frames.geodetic_to_ecef(deg_to_rad(lat_deg + 0.05), deg_to_rad(lon_deg - 0.08), 9_000.0)
    found = radar.geometry(1.08 * site.pos_ecef, np.array([0.0, 7500.0, 0.0]), site, target)
    assert found.range_rx_m == pytest.approx(distance.m, abs=1e-2)
    assert found.elevation_rad == pytest.approx(alt.radians, abs=1e-7)
    u, w = np.cos(alt.radians) * np.array([np.sin(az.radians), np.cos(az.radians)])
    np.testing.assert_allclose(found.arrival, [u, w], atol=1e-7)


def test_angles_are_polar_coordinates_of_the_cosines():
    theta, phi = 2.2, 0.7
    found = radar.angles(np.sin(phi) * np.array([np.cos(theta), np.sin(theta)]))
    np.testing.assert_allclose(found, [theta, phi], atol=rounding)
    assert radar.angles(np.array([1.0 + 1e-16, 0.0]))[1] == pytest.approx(math.pi / 2)


def test_range_follows_from_excess_and_direction_on_the_ellipsoid():
    site = receiver()
    for target in ((3e3, 3e3, 5e3), (-20e3, 4e3, 9e3), (0.0, 15e3, 1e3)):
        found = scene((30e3, -30e3, 340e3), target, site)
        d, s = np.asarray(target), np.array([30e3, -30e3, 340e3])
        cosine = d @ s / np.linalg.norm(d) / np.linalg.norm(s)
        assert radar.range_from_excess(found.excess_m, found.range_direct_m, cosine) == pytest.approx(
            found.range_rx_m, abs=1e-4
        )
        # Any other point of that ellipsoid (focus to focus, then out) has the same sum of ranges.
        for other in ((0.3, 0.1, 0.9), (-0.5, 0.5, 0.7)):
            way = np.asarray(other) / np.linalg.norm(other)
            r = radar.range_from_excess(found.excess_m, found.range_direct_m, way @ s / np.linalg.norm(s))
            total = r + np.linalg.norm(r * way - s)
            assert total == pytest.approx(found.range_tx_m + found.range_rx_m, abs=1e-4)


# ---------------------------------------------------------------------------------------------
# The radar equation


def test_echo_is_the_product_of_two_ways_and_a_cross_section():
    carrier = 2e9
    wavelength = SPEED_OF_LIGHT_M_S / carrier
    density = 1.0 / (4 * np.pi * 300e3**2)  # W/m^2 of a radiated watt
    scattered = density * 20.0 / (4 * np.pi * 7e3**2)
    received = scattered * wavelength**2 / (4 * np.pi)
    assert radar.echo_gain(300e3, 7e3, 20.0, carrier) == pytest.approx(received, rel=rounding)
    assert radar.echo_gain(300e3, 7e3, 20.0, carrier, 4.0, 2.0) == pytest.approx(8.0 * received, rel=rounding)
    assert radar.monostatic_gain(300e3, 20.0, carrier, 4.0) == pytest.approx(
        16.0 * received * (7e3 / 300e3) ** 2, rel=rounding
    )


def test_cross_sections():
    beta = deg_to_rad(np.array([0.0, 60.0, 120.0, 180.0]))
    np.testing.assert_allclose(
        radar.rcs("cos_half", 100.0, beta), [100.0, 100 * math.sqrt(0.75), 50.0, 0.0], atol=1e-12
    )
    np.testing.assert_array_equal(radar.rcs("monostatic", 100.0, beta), 100.0)
    with pytest.raises(ValueError, match=r"monostatic or cos_half, got 'cos'"):
        radar.rcs("cos", 100.0, beta)


def test_the_papers_own_target_lies_outside_both_models():
    found = scene((30e3, -30e3, 340e3), (3e3, 3e3, 5e3), receiver())
    assert found.bistatic_angle_rad > radar.RCS_VALID_RAD
    assert radar.rcs("cos_half", 1.0, found.bistatic_angle_rad) == pytest.approx(0.355, abs=5e-4)


def test_swerling_1_is_exponential_with_mean_1():
    drawn = radar.swerling_1(np.random.default_rng(7), 200_000)
    standard_error = 1.0 / math.sqrt(drawn.size)
    assert drawn.mean() == pytest.approx(1.0, abs=4 * standard_error)
    assert np.mean(drawn > 2.0) == pytest.approx(math.exp(-2.0), abs=4 * standard_error)


def test_bistatic_advantage_at_the_papers_target():
    """29.7 dB at (3, 3, 5) km, path losses without antenna gains."""
    found = scene((30e3, -30e3, 340e3), (3e3, 3e3, 5e3), receiver())
    two_way = radar.echo_gain(
        found.range_tx_m, found.range_rx_m, radar.rcs("cos_half", 100.0, found.bistatic_angle_rad), 2e9
    )
    assert linear_to_db(two_way / radar.monostatic_gain(found.range_tx_m, 100.0, 2e9)) == pytest.approx(29.7, abs=0.05)


# ---------------------------------------------------------------------------------------------
# The array


ARRAYS = [((6, 4), (1, 1)), ((8, 8), (4, 2)), ((6, 9), (2, 3))]


def combined(size, subarray, cosines, steered):
    """Output of the sub-arrays, element by element, phase reference at the corner element."""
    rows, columns = size
    m, n = subarray
    out = []
    for i in range(0, rows, m):
        for j in range(0, columns, n):
            total = 0.0
            for p in range(i, i + m):
                for q in range(j, j + n):
                    weight = np.exp(
                        -1j * np.pi * ((p - i - (m - 1) / 2) * steered[0] + (q - j - (n - 1) / 2) * steered[1])
                    )
                    total += weight * np.exp(1j * np.pi * (p * cosines[0] + q * cosines[1]))
            out.append(total / math.sqrt(m * n))
    return np.array(out)


@pytest.mark.parametrize(("size", "subarray"), ARRAYS)
def test_response_is_the_sum_over_the_elements(size, subarray):
    site = receiver(*size, subarray)
    cosines, steered = np.array([0.31, -0.22]), np.array([0.27, -0.2])
    explicit = combined(size, subarray, cosines, steered)
    made = radar.response(site, cosines, steered)
    corner = np.exp(1j * np.pi * 0.5 * ((size[0] - 1) * cosines[0] + (size[1] - 1) * cosines[1]))
    np.testing.assert_allclose(made * corner, explicit, atol=1e-11)
    assert np.linalg.norm(radar.response(site, cosines)) ** 2 == pytest.approx(size[0] * size[1])
    assert radar.detection_snr(site, 0.1, cosines, steered) == pytest.approx(0.1 * np.linalg.norm(explicit) ** 2)


def numeric_covariance(size, subarray, cosines, steered, snr, nuisance):
    """CRB from central differences of the whole signal, 50 samples of a waveform in a channel each."""
    rng = np.random.default_rng(1)
    samples, noise_w, alpha = 50, 0.3, 0.4 - 0.7j
    wave = rng.normal(size=samples) + 1j * rng.normal(size=samples)
    wave *= math.sqrt(snr * noise_w / abs(alpha) ** 2) / np.linalg.norm(wave)

    def signal(p):
        return ((p[2] + 1j * p[3]) * combined(size, subarray, p[:2], steered)[:, None] * wave).ravel()

    at = np.array([*cosines, alpha.real, alpha.imag])
    columns = []
    for i in range(4 if nuisance else 2):
        step = np.zeros(4)
        step[i] = 1e-5
        columns.append((signal(at + step) - signal(at - step)) / 2e-5)
    D = np.array(columns).T
    return np.linalg.inv(2.0 / noise_w * (D.conj().T @ D).real)[:2, :2]


@pytest.mark.parametrize("crb", radar.CRB_MODELS)
@pytest.mark.parametrize("off", [0.0, 0.03])
@pytest.mark.parametrize(("size", "subarray"), ARRAYS)
def test_bound_is_that_of_the_whole_signal(size, subarray, off, crb):
    site = receiver(*size, subarray)
    cosines = np.array([0.31, -0.22])
    steered = cosines + off * np.array([1.0, -0.5])
    expected = numeric_covariance(size, subarray, cosines, steered, 2.5, crb == "nuisance")
    found = radar.angle_covariance(site, np.array(2.5), cosines, steered, crb)
    np.testing.assert_allclose(found, expected, rtol=difference_error, atol=difference_error * expected.max())


@pytest.mark.parametrize("crb", radar.CRB_MODELS)
def test_angles_have_the_bound_of_their_own_fisher_information(crb):
    """Eqs. (22)-(26): derivatives of b by theta and phi, by differences."""
    size, theta, phi, snr = (6, 5), 0.9, 0.6, 1.7

    def b(at):
        return combined(size, (1, 1), np.sin(at[1]) * np.array([np.cos(at[0]), np.sin(at[0])]), (0.0, 0.0))

    at = np.array([theta, phi])
    D = np.stack([(b(at + h) - b(at - h)) / 2e-5 for h in 1e-5 * np.eye(2)], axis=1)
    if crb == "nuisance":
        D = D - np.outer(b(at), b(at).conj() @ D) / np.linalg.norm(b(at)) ** 2
    expected = np.diag(np.linalg.inv(2.0 * snr * (D.conj().T @ D).real))
    arrival = np.sin(phi) * np.array([np.cos(theta), np.sin(theta)])
    found = radar.angle_variance(radar.angle_covariance(receiver(*size), np.array(snr), arrival, None, crb), arrival)
    np.testing.assert_allclose(found, expected, rtol=difference_error)


def test_estimates_spread_as_the_bound_says():
    """Maximum likelihood at high SNR, one Newton step from the truth on |b^H y|^2."""
    site, arrival, snr = receiver(8, 6), np.array([0.2, -0.4]), 4.0
    rng = np.random.default_rng(5)
    b = radar.response(site, arrival)
    x = np.stack(np.meshgrid(np.arange(8) - 3.5, np.arange(6) - 2.5, indexing="ij"), axis=-1).reshape(-1, 2)
    noise = (rng.normal(size=(4000, 48)) + 1j * rng.normal(size=(4000, 48))) * math.sqrt(0.5 / snr)
    z = b.conj() * (b + noise)
    errors = np.empty((4000, 2))
    for k in range(4000):
        error = np.zeros(2)
        for _ in range(4):
            w = z[k] * np.exp(-1j * np.pi * x @ error)
            s, first = w.sum(), -1j * np.pi * (x.T @ w)
            second = -(np.pi**2) * np.einsum("ni,nj,n->ij", x, x, w)
            gradient = 2 * (s.conj() * first).real
            hessian = 2 * (np.outer(first.conj(), first) + s.conj() * second).real
            error -= np.linalg.solve(hessian, gradient)
        errors[k] = error
    bound = radar.angle_covariance(site, np.array(snr), arrival)
    four_standard_errors = 4 * math.sqrt(2 / 4000)
    np.testing.assert_allclose(errors.var(axis=0) / np.diag(bound), 1.0, atol=four_standard_errors)


def test_no_signal_no_bound_and_an_array_that_cannot_tell():
    site = receiver(8, 8, (4, 4))
    covariance = radar.angle_covariance(site, np.array([0.0, 1.0]), np.zeros(2))
    assert np.isinf(np.diag(covariance[0])).all()
    assert np.isfinite(covariance[1]).all()
    assert np.isinf(radar.cross_range_variance(covariance, np.zeros(2), 1e3)[0])
    with pytest.raises(ValueError, match="nuisance or known_gain"):
        radar.angle_covariance(site, np.array(1.0), np.zeros(2), crb="both")
    for rows, subarray in ((6, (4, 4)), (4, (4, 4)), (8, (0, 4))):
        with pytest.raises(ValueError, match="at least two whole sub-arrays"):
            receiver(rows, 8, subarray)


# ---------------------------------------------------------------------------------------------
# Cross-range


def test_cross_range_is_what_the_angles_say_and_finite_at_zenith():
    site = receiver(8, 4)
    arrival = np.array([[0.3, 0.5], [-0.7, 0.1], [1e-6, 2e-6], [0.0, 0.0]])
    covariance = radar.angle_covariance(site, np.array(3.0), arrival)
    found = radar.cross_range_variance(covariance, arrival, 15e3)
    theta, phi = radar.angle_variance(covariance, arrival)
    _, off = radar.angles(arrival)
    by_angles = 15e3**2 * (np.sin(off[:3]) ** 2 * theta[:3] + phi[:3])
    np.testing.assert_allclose(found[:3], by_angles, rtol=1e-9)
    assert np.isinf(theta[3])
    assert np.isfinite(phi).all()
    assert found[3] == pytest.approx(found[2], rel=1e-9)
    assert found[3] == pytest.approx(15e3**2 * np.trace(covariance[3]))


def test_cross_range_is_infinite_at_the_horizon_only():
    site = receiver(8, 8)
    arrival = np.array([[1.0, 0.0], [math.cos(0.01), 0.0]])
    found = radar.cross_range_variance(radar.angle_covariance(site, np.array(3.0), arrival), arrival, 1e3)
    assert np.isinf(found[0])
    assert np.isfinite(found[1])


def test_cross_range_is_the_spread_of_positions():
    site, arrival, r = receiver(8, 4), np.array([0.5, -0.6]), 12e3
    covariance = radar.angle_covariance(site, np.array(1e6), arrival)
    rng = np.random.default_rng(2)
    drawn = arrival + rng.multivariate_normal(np.zeros(2), covariance, 100_000)
    d = np.column_stack([drawn, np.sqrt(1.0 - np.square(drawn).sum(axis=1))])
    spread = r**2 * d.var(axis=0).sum()
    one_percent = 0.01  # three standard errors of 1e5 draws
    assert radar.cross_range_variance(covariance, arrival, r) == pytest.approx(spread, rel=one_percent)


# ---------------------------------------------------------------------------------------------
# The published setup: satellite at (30, -30, 340) km, target at (3, 3, 5) km, Table I


SAMPLES = 4096
THRESHOLD_RAD2 = 8e-7


def paper_power(model, crb="nuisance", target=(3e3, 3e3, 5e3), sat=(30e3, -30e3, 340e3)):
    """Least power (W) for 8e-7 rad^2 with the setup of Table I, and N snr of a sample at 100 W."""
    site = receiver()
    found = scene(sat, target, site)
    echo = radar.echo_gain(
        found.range_tx_m,
        found.range_rx_m,
        radar.rcs(model, 100.0, found.bistatic_angle_rad),
        2e9,
        db_to_linear(6.0),
        site.gain,
    )
    need = radar.gain_for_angles(THRESHOLD_RAD2, THRESHOLD_RAD2, site, found.arrival, echo, SAMPLES, crb)
    n_snr = radar.detection_snr(site, radar.integrated_snr(100.0 * 64, echo, site.noise_w, 1), found.arrival)
    return radar.least_power_w(need, 64), n_snr


def test_the_papers_threshold_and_its_cross_sections():
    """210 W with cos(beta/2), so nothing is feasible below 23.2 dBW; 74 W with the monostatic cross section."""
    printed, _ = paper_power("cos_half")
    assert printed == pytest.approx(210.0, abs=0.5)
    assert linear_to_db(printed) == pytest.approx(23.2, abs=0.05)
    power, _ = paper_power("monostatic")
    assert 74.0 < power < 80.0


def test_what_is_wrong_with_the_printed_bound():
    """CRB_theta is unchanged at the paper's target, the printed CRB_phi is 6.6 times too small."""
    arrival = np.array([3.0, 3.0]) / math.sqrt(43)
    site = receiver()
    (theta, phi), (theta_known, phi_known) = (
        radar.angle_variance(radar.angle_covariance(site, np.array(1.0), arrival, None, crb), arrival)
        for crb in radar.CRB_MODELS
    )
    assert theta_known == pytest.approx(theta, rel=1e-9)
    assert phi / phi_known == pytest.approx(6.6, abs=0.05)


def test_azimuth_near_zenith_asks_for_the_impossible():
    """2 degrees from zenith at the target's height: 200 times the power; 300 kW by cos(beta/2) in the middle."""
    off = math.radians(2.0)
    powers = {model: [] for model in radar.RCS_MODELS}
    for azimuth in np.linspace(0.0, 2 * math.pi, 8, endpoint=False):
        ground = 5e3 * math.tan(off)
        target = (ground * math.cos(azimuth), ground * math.sin(azimuth), 5e3)
        for model, found in powers.items():
            found.append(paper_power(model, target=target)[0])
    np.testing.assert_allclose(np.array(powers["monostatic"]) / paper_power("monostatic")[0], 200.0, rtol=0.01)
    assert min(powers["cos_half"]) < 300e3 < max(powers["cos_half"])


def test_the_larger_threshold_rules():
    site, arrival, echo = receiver(), np.array([0.3, 0.4]), 1e-17
    unit = radar.integrated_snr(np.array(1.0), echo, site.noise_w, SAMPLES)
    theta, phi = radar.angle_variance(radar.angle_covariance(site, unit, arrival), arrival)
    for thresholds in ((1e-7, 1e-3), (1e-3, 1e-7)):
        gain = radar.gain_for_angles(*thresholds, site, arrival, echo, SAMPLES)
        reached = np.array([theta, phi]) / gain
        assert (reached <= np.array(thresholds) * (1 + rounding)).all()
        assert reached[int(np.argmin(thresholds))] == pytest.approx(1e-7)


# ---------------------------------------------------------------------------------------------
# 550 km: the table of the defaults


def slant(elevation_deg, altitude_m=550e3):
    """Range (m) and cosine off nadir of a satellite at an elevation, spherical Earth."""
    e, r = math.radians(elevation_deg), MEAN_EARTH_RADIUS_M
    d = -r * math.sin(e) + math.sqrt((r * math.sin(e)) ** 2 + altitude_m**2 + 2 * r * altitude_m)
    return d, math.sqrt(1.0 - (r * math.cos(e) / (r + altitude_m)) ** 2)


@pytest.mark.parametrize(
    ("elevation_deg", "n_snr", "power_w"),
    [
        (90.0, {"monostatic": 0.22, "cos_half": 0.078}, {"monostatic": 194, "cos_half": 557}),
        (40.0, {"monostatic": 0.10, "cos_half": 0.051}, {"monostatic": 427, "cos_half": 842}),
        (25.0, {"monostatic": 0.053, "cos_half": 0.031}, {"monostatic": 821, "cos_half": 1405}),
    ],
)
def test_the_published_setup_from_550_km(elevation_deg, n_snr, power_w):
    """Satellite at right angles to the target's azimuth."""
    d, _ = slant(elevation_deg)
    e, azimuth = math.radians(elevation_deg), math.radians(135.0)
    sat = d * np.array([math.cos(e) * math.cos(azimuth), math.cos(e) * math.sin(azimuth), math.sin(e)])
    for model in radar.RCS_MODELS:
        power, per_sample = paper_power(model, sat=sat)
        assert power == pytest.approx(power_w[model], abs=0.5 + rounded_constants * power_w[model])
        assert float(f"{per_sample:.2g}") == pytest.approx(n_snr[model])


@pytest.mark.parametrize(
    ("elevation_deg", "snr_db", "rms_m"),
    [(90.0, (40, 33, 27), 2.7), (40.0, (35, 28, 22), 4.7), (25.0, (31, 24, 18), 7.4)],
)
def test_the_defaults_from_550_km(elevation_deg, snr_db, rms_m):
    """24 x 24, 100 W, 20 m^2, 500 K, 64 sub-arrays of 4 x 4, L = 65,536; the ranges 6.6, 15 and 30 km."""
    site = receiver(subarray=(4, 4), gain=db_to_linear(5.0), noise_w=thermal_noise_w(10e6, 500.0))
    d, off_nadir = slant(elevation_deg)
    targets = np.array([[3.0, 3.0, 5.0], [12.0, 0.0, 9.0], [0.0, 28.618, 9.0]]) * 1e3
    r = np.linalg.norm(targets, axis=1)
    arrival = targets[:, :2] / r[:, None]
    echo = radar.echo_gain(d, r, 20.0, 2e9, math.pi * off_nadir, site.gain)
    snr = radar.integrated_snr(100.0 * 576, echo, site.noise_w, 65_536)
    np.testing.assert_array_equal(np.round(linear_to_db(radar.detection_snr(site, snr, arrival))), snr_db)
    rms = np.sqrt(radar.cross_range_variance(radar.angle_covariance(site, snr, arrival), arrival, r))
    assert rms[0] == pytest.approx(rms_m, abs=0.05)
    gain = radar.gain_for_cross_range(30.0, site, arrival, r, echo, 65_536)
    np.testing.assert_allclose(gain / (100.0 * 576), np.square(rms / 30.0))


def test_sub_arrays_cost_little_where_they_point():
    """16 elements a channel: N and the SNR are those of the whole array, the spread of 8 channels is that of 32."""
    whole, parts = receiver(), receiver(subarray=(4, 4))
    arrival = np.array([0.3, -0.1])
    ratio = radar.angle_covariance(parts, np.array(1.0), arrival) / radar.angle_covariance(
        whole, np.array(1.0), arrival
    )
    assert ratio[0, 0] == pytest.approx((32**2 - 1) / (32**2 - 16))


def test_thermal_noise_of_a_temperature():
    assert thermal_noise_w(10e6, 290.0) == pytest.approx(noise_power_w(10e6, 0.0))
    assert thermal_noise_w(10e6, 150.0) == pytest.approx(1.38e-23 * 10e6 * 150.0, rel=1e-3)
