"""Channel statistics: closed forms, the link budgets of a pass, the tables of TR 38.811, persistent draws."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats as distributions

from leosim import channel
from leosim.channel import Radio
from leosim.records import ChannelStats, Geometry
from leosim.units import BOLTZMANN_J_K, dbm_to_w, noise_power_w

rounding = 1e-12
EARTH_M, HEIGHT_M = 6_371e3, 550e3

# TR 38.811 V15.4.0, suburban, S band, as ns-3 (src/propagation and src/spectrum, ThreeGpp...) has them, typed
# here a second time: elevation (deg), P_LOS (%), K mean and deviation (dB), clutter loss without line of sight (dB).
TABLE = np.array(
    [
        [10, 78.2, 11.4, 6.26, 19.52],
        [20, 86.9, 19.45, 10.32, 18.17],
        [30, 91.9, 20.8, 16.34, 18.42],
        [40, 92.9, 21.2, 15.63, 18.28],
        [50, 93.5, 21.6, 14.22, 18.63],
        [60, 94.0, 19.75, 14.19, 17.68],
        [70, 94.9, 12.0, 5.7, 16.5],
        [80, 95.2, 12.85, 9.91, 16.3],
        [90, 99.8, 12.85, 9.91, 16.3],
    ]
)


def radio(**changes) -> Radio:
    """Isotropic elements and no losses but those a test asks for."""
    plain = Radio(
        carrier_hz=5e9,
        bandwidth_hz=20e6,
        power_w=10.0,
        noise_w=1e-17,
        rows=8,
        columns=8,
        element="isotropic",
        model="rician",
        seed=1,
    )
    return dataclasses.replace(plain, **changes)


def slant_range(elevation_deg: np.ndarray) -> np.ndarray:
    """Range to a satellite 550 km above a sphere (m)."""
    el = np.radians(elevation_deg)
    return np.sqrt((EARTH_M + HEIGHT_M) ** 2 - (EARTH_M * np.cos(el)) ** 2) - EARTH_M * np.sin(el)


def geometry(elevation_deg, user=None, sat=None, range_rate_m_s=0.0, t_ns: int = 0) -> Geometry:
    """One pair an elevation; the satellite is in the plane of its along-track axis."""
    el = np.atleast_1d(np.asarray(elevation_deg, dtype=float))
    off_nadir = np.arcsin(EARTH_M / (EARTH_M + HEIGHT_M) * np.cos(np.radians(el)))
    return Geometry(
        t_ns=t_ns,
        user=np.arange(el.size) if user is None else user,
        sat=np.full(el.size, 100) if sat is None else sat,
        range_m=slant_range(el),
        elevation_rad=np.radians(el),
        azimuth_rad=np.zeros(el.size),
        range_rate_m_s=np.broadcast_to(range_rate_m_s, el.shape),
        cosines=np.stack([np.sin(off_nadir), np.zeros(el.size)], axis=-1),
    )


def statistics(elevation_deg, passes=0, r: Radio | None = None, **where) -> ChannelStats:
    g = geometry(elevation_deg, **where)
    return channel.statistics(g, np.broadcast_to(passes, g.user.shape), r or radio())


def many(elevation_deg: float, count: int = 40_000, r: Radio | None = None, passes=0) -> ChannelStats:
    """Many users below many satellites at one elevation."""
    users = 200
    user, sat = np.arange(count) % users, 40_000 + np.arange(count) // users
    return statistics(np.full(count, elevation_deg), passes, r, user=user, sat=sat)


def test_path_loss_at_zenith() -> None:
    """550 km straight up at 5 GHz: 20 log10(4 pi d / lambda) = 161.23 dB, and gains multiply."""
    s = statistics(90.0, r=radio(satellite_gain=2.0, user_gain=3.0))
    assert 10 * math.log10(s.beta[0] / 6.0) == pytest.approx(
        -20 * math.log10(4 * math.pi * 550e3 * 5e9 / 299_792_458), abs=1e-9
    )
    assert 10 * math.log10(s.beta[0] / 6.0) == pytest.approx(-161.23, abs=0.005)


def test_path_loss_doubles_its_6_db_with_range_and_frequency() -> None:
    one = channel.free_space_gain(np.array([550e3]), 5e9)
    assert channel.free_space_gain(np.array([1100e3]), 5e9) == pytest.approx(one / 4, rel=rounding)
    assert channel.free_space_gain(np.array([550e3]), 10e9) == pytest.approx(one / 4, rel=rounding)


def test_element_pattern_off_nadir() -> None:
    """pi cos(theta) with sin(theta) = R / (R + h) cos(el), the law of sines of the Earth's triangle."""
    el = np.array([90.0, 40.0, 25.0])
    gain = statistics(el, r=radio(element="cosine")).beta / statistics(el).beta
    off_nadir = np.arcsin(EARTH_M / (EARTH_M + HEIGHT_M) * np.cos(np.radians(el)))
    np.testing.assert_allclose(gain, np.pi * np.cos(off_nadir), rtol=rounding)


def test_noise_figure_7_db_over_20_mhz_is_minus_94_dbm() -> None:
    assert 10 * math.log10(noise_power_w(20e6, 7.0) / 1e-3) == pytest.approx(
        -93.965, abs=0.001
    )  # k T0 = -173.975 dBm/Hz
    assert noise_power_w(1.0, 0.0) == pytest.approx(BOLTZMANN_J_K * 290.0, rel=rounding)


@pytest.mark.parametrize(
    ("noise_w", "size", "power_w", "expected_db"),
    [
        (dbm_to_w(-140.0), 8, 10.0, (39.8, 36.4, 33.6)),
        (noise_power_w(20e6, 7.0), 8, 10.0, (-6.2, -9.6, -12.4)),
        (noise_power_w(20e6, 7.0), 16, 100.0, (9.8, 6.4, 3.6)),
    ],
)
def test_link_budget_table(noise_w: float, size: int, power_w: float, expected_db: tuple[float, ...]) -> None:
    """The cell-free rows of maths/link-budgets.md: N rho beta / sigma2 at 90, 40 and 25 degrees, 550 km.

    The reading that gives them: the array gain N is included, the satellite has a constant gain of 3 dB,
    the user 0 dBi, there is no absorption, the Earth is a sphere of 6371 km.
    """
    to_the_digit_printed = 0.1
    r = radio(noise_w=noise_w, rows=size, columns=size, power_w=power_w, satellite_gain=10**0.3)
    s = statistics([90.0, 40.0, 25.0], r=r)
    snr_db = 10 * np.log10(r.antennas * r.power_to_noise * s.beta)
    np.testing.assert_allclose(snr_db, expected_db, rtol=0, atol=to_the_digit_printed)


def test_absorption_is_a_zenith_loss_times_the_air_mass() -> None:
    """A loss of 0.1 dB at zenith is 0.2 dB at 30 degrees; below 5 degrees it stays that of 5 degrees."""
    lossy = radio(zenith_absorption=10**-0.01)
    el = np.array([90.0, 30.0, 5.0, 1.0])
    loss_db = -10 * np.log10(statistics(el, r=lossy).beta / statistics(el).beta)
    np.testing.assert_allclose(loss_db, [0.1, 0.2, 0.1 / math.sin(math.radians(5)), 0.1 / math.sin(math.radians(5))])


def test_doppler_and_delay() -> None:
    """An approaching satellite (range rate < 0) is heard higher: 7 km/s at 5 GHz is +116.7 kHz."""
    s = statistics([30.0, 30.0], range_rate_m_s=np.array([-7000.0, 7000.0]))
    np.testing.assert_allclose(s.doppler_hz, [5e9 * 7000 / 299_792_458, -5e9 * 7000 / 299_792_458], rtol=rounding)
    assert s.doppler_hz[0] == pytest.approx(116.75e3, rel=1e-4)
    np.testing.assert_allclose(s.delay_s * 299_792_458, s.range_m, rtol=rounding)
    assert statistics(90.0).delay_s[0] == pytest.approx(1.8346e-3, rel=1e-4)


def test_doppler_is_the_rate_of_the_phase() -> None:
    """nu = d phi / dt / 2 pi with phi = -2 pi f tau(t), by central difference over a straight overflight."""
    f, c, speed, dt = 5e9, 299_792_458.0, 7500.0, 1e-3

    def path(t: float) -> float:
        return math.hypot(550e3, speed * t - 300e3)

    rate = (path(dt) - path(-dt)) / (2 * dt)
    slope_hz = -f * (path(dt) / c - path(-dt) / c) / (2 * dt)
    assert statistics(60.0, range_rate_m_s=rate).doppler_hz[0] == pytest.approx(slope_hz, rel=1e-9)
    assert slope_hz > 0  # still ahead of the closest point


def test_tables_of_tr38811() -> None:
    np.testing.assert_array_equal(channel.TABLE_ELEVATION_DEG, TABLE[:, 0])
    np.testing.assert_allclose(channel.LOS_PROBABILITY, TABLE[:, 1] / 100, rtol=rounding)
    np.testing.assert_array_equal(channel.K_FACTOR_MEAN_DB, TABLE[:, 2])
    np.testing.assert_array_equal(channel.K_FACTOR_DEVIATION_DB, TABLE[:, 3])
    np.testing.assert_array_equal(channel.CLUTTER_LOSS_DB, TABLE[:, 4])


@pytest.mark.parametrize("elevation_deg", [10.0, 20.0, 25.0, 30.0, 45.0, 60.0, 70.0, 80.0, 90.0])
def test_tr38811_statistics(elevation_deg: float) -> None:
    """Line-of-sight share, quantiles of K and clutter loss over 40,000 pairs, at and between the nodes."""
    share, mean_db, deviation_db, clutter_db = (np.interp(elevation_deg, TABLE[:, 0], column) for column in TABLE.T[1:])
    share /= 100
    s, free = many(elevation_deg, r=radio(model="tr38811")), many(elevation_deg)
    seen = s.kappa > 0
    four_standard_errors = 4 * math.sqrt(share * (1 - share) / seen.size)
    assert abs(seen.mean() - share) < four_standard_errors

    np.testing.assert_allclose(s.beta[seen], free.beta[seen], rtol=rounding)
    np.testing.assert_allclose(10 * np.log10(free.beta[~seen] / s.beta[~seen]), clutter_db, rtol=1e-9)
    assert 16.0 < clutter_db < 20.0

    k_db = 10 * np.log10(s.kappa[seen])
    clipped = distributions.norm(mean_db, deviation_db)
    inside = (k_db > -5 + 1e-9) & (k_db < 30 - 1e-9)
    assert k_db.min() >= -5 - 1e-9
    assert k_db.max() <= 30 + 1e-9
    p_inside = clipped.cdf(30) - clipped.cdf(-5)
    assert abs(inside.mean() - p_inside) < 4 * math.sqrt(p_inside * (1 - p_inside) / k_db.size) + 1e-4
    truncated = (clipped.cdf(k_db[inside]) - clipped.cdf(-5)) / p_inside
    assert distributions.kstest(truncated, "uniform").pvalue > 1e-4


def test_outside_the_table_the_last_node_holds() -> None:
    low, node = (many(el, 2000, radio(model="tr38811")) for el in (5.0, 10.0))
    np.testing.assert_array_equal(low.kappa, node.kappa)


def test_line_of_sight_and_k_factor_are_drawn_apart() -> None:
    """Whether a pair is in sight says nothing about its K, nor about its phase: streams of their own."""
    s = many(40.0, r=radio(model="tr38811"))
    seen = s.kappa > 0
    assert distributions.ks_2samp(s.phase_rad[seen], s.phase_rad[~seen]).pvalue > 1e-4
    k_db = 10 * np.log10(s.kappa[seen])
    assert abs(np.corrcoef(k_db, s.phase_rad[seen])[0, 1]) * math.sqrt(k_db.size) < 4


def test_rician_k_factor_and_phase_are_uniform() -> None:
    s = many(40.0, r=radio(k_factor_db=(15.0, 20.0)))
    k_db = 10 * np.log10(s.kappa)
    assert distributions.kstest((k_db - 15) / 5, "uniform").pvalue > 1e-4
    assert distributions.kstest(s.phase_rad / (2 * np.pi), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("model", ["rician", "tr38811"])
def test_draws_last_a_pass(model: str) -> None:
    """Same pass: same K and sight at another instant and another seat in the list; next pass, user or seed: others."""
    r = radio(model=model)
    count = 2000
    user, sat = np.arange(count) % 40, 50_000 + np.arange(count) // 40
    first = statistics(np.full(count, 40.0), 3, r, user=user, sat=sat)
    shuffle = np.random.default_rng(0).permutation(count)[: count // 2]
    later = statistics(np.full(shuffle.size, 40.0), 3, r, user=user[shuffle], sat=sat[shuffle], t_ns=10**9)
    same = np.isin(first.sat * 100 + first.user, later.sat * 100 + later.user)
    np.testing.assert_array_equal(later.kappa, first.kappa[same])
    np.testing.assert_array_equal(later.phase_rad, first.phase_rad[same])
    np.testing.assert_array_equal(later.beta, first.beta[same])

    next_pass = statistics(np.full(count, 40.0), 4, r, user=user, sat=sat)
    np.testing.assert_array_equal(next_pass.phase_rad, first.phase_rad)  # the frozen phase is the pair's for good
    other_user = statistics(np.full(count, 40.0), 3, r, user=user + 40, sat=sat)
    other_seed = statistics(np.full(count, 40.0), 3, dataclasses.replace(r, seed=2), user=user, sat=sat)
    for other in (next_pass, other_user, other_seed):
        z = np.corrcoef(distributions.rankdata(first.kappa), distributions.rankdata(other.kappa))[0, 1]
        assert abs(z) * math.sqrt(count) < 4
        assert (other.kappa != first.kappa).mean() > 0.9


def test_pairs_are_sorted_by_satellite_then_user() -> None:
    user, sat = np.array([2, 0, 1, 1, 0]), np.array([7, 9, 7, 9, 7])
    el = np.array([30.0, 40.0, 50.0, 60.0, 70.0])
    s = statistics(el, user=user, sat=sat)
    np.testing.assert_array_equal(s.sat, [7, 7, 7, 9, 9])
    np.testing.assert_array_equal(s.user, [0, 1, 2, 0, 1])
    np.testing.assert_allclose(np.degrees(s.elevation_rad), [70, 50, 30, 40, 60])
    np.testing.assert_allclose(s.range_m, slant_range(np.array([70, 50, 30, 40, 60])))


def test_observe_tells_the_statistics_and_the_stamp() -> None:
    s = statistics([30.0, 60.0], t_ns=123)
    csi = channel.observe(s, np.array([True, False]), np.array([12.0, 99.0]))
    assert csi.t_ns == 123
    np.testing.assert_array_equal(csi.candidate, [1, 0])
    for name in ChannelStats.array_fields():
        np.testing.assert_array_equal(getattr(csi, name), getattr(s, name))


def test_unknown_channel_model() -> None:
    with pytest.raises(ValueError, match='expected "rician" or "tr38811", got \'rayleigh\''):
        statistics(30.0, r=radio(model="rayleigh"))


def test_fading_draws_have_the_rician_moments() -> None:
    """Mean sqrt(kappa v) e^(i phase), variance v, mean power beta, and E|h|^4 of a Rician gain."""
    s = statistics([90.0, 40.0, 25.0], r=radio(k_factor_db=(0.0, 6.0)))
    draws = 40_000
    h = channel.draw_gains(s, draws, np.random.default_rng(11)) / np.sqrt(s.beta)
    k = s.kappa
    mean = np.sqrt(k / (k + 1)) * np.exp(1j * s.phase_rad)
    four_standard_errors = 4 / math.sqrt(draws)
    assert np.abs(h.mean(axis=0) - mean).max() < four_standard_errors  # the spread is below 1
    power = np.abs(h) ** 2
    fourth = (k**2 + 4 * k + 2) / (k + 1) ** 2
    assert (np.abs(power.mean(axis=0) - 1) / np.sqrt(fourth - 1)).max() < four_standard_errors
    assert np.abs((power**2).mean(axis=0) / fourth - 1).max() < 3 * four_standard_errors
    residual = h - mean
    assert np.abs((residual**2).mean(axis=0)).max() < four_standard_errors  # circular: E alpha^2 = 0
    z = residual / np.sqrt(1 / (k + 1))
    cross = (z.conj().T @ z) / draws
    assert np.abs(cross - np.diag(np.diag(cross))).max() < four_standard_errors  # one alpha a pair
