"""What the closed forms save: couplings without vectors over the antennas, and the cost of each rate."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from leosim import channel, rates, scenario
from leosim.antenna import steering
from leosim.beamforming import smrt
from leosim.channel import Radio
from leosim.rates import Coherence
from leosim.records import Beams, ChannelStats, Geometry

SATS, USERS, DRAWS = 61, 10, 32  # what a constellation shell of 1,584 shows ten users above 25 degrees
MANY_SATS, MANY_USERS = 40, 100


def scene(sats: int, users: int):
    """Satellites over users, 16 x 16 antennas, every satellite serving everyone: radio, statistics, CSI."""
    r = Radio(carrier_hz=5e9, bandwidth_hz=20e6, power_w=100.0, noise_w=4e-13, rows=16, columns=16, seed=1)
    rng = np.random.default_rng(0)
    user, sat = (a.ravel() for a in np.meshgrid(np.arange(users), 100 + np.arange(sats), indexing="ij"))
    offset = rng.uniform(-500e3, 500e3, (sats, 2))[sat - 100] - rng.uniform(-140e3, 140e3, (users, 2))[user]
    range_m = np.sqrt((offset**2).sum(axis=1) + 550e3**2)
    geometry = Geometry(
        t_ns=0,
        user=user,
        sat=sat,
        range_m=range_m,
        elevation_rad=np.arcsin(550e3 / range_m),
        azimuth_rad=np.arctan2(offset[:, 0], offset[:, 1]),
        range_rate_m_s=7500.0 * offset[:, 0] / range_m,
        cosines=-offset / range_m[:, None],
    )
    stats = channel.statistics(geometry, np.zeros(user.size, dtype=np.int64), r)
    return r, stats, channel.observe(stats, np.ones(user.size, dtype=bool), np.full(user.size, 100.0))


@pytest.fixture(scope="module")
def pass_over():
    """61 satellites over ten users, sMRT."""
    r, stats, csi = scene(SATS, USERS)
    beams = smrt.beams(csi, smrt.Params(), r)
    return r, stats, beams, rates.couplings(stats, beams, r)


@pytest.fixture(scope="module")
def crowd():
    """40 satellites over 100 users."""
    return scene(MANY_SATS, MANY_USERS)


def filled(beams: Beams) -> Beams:
    """The same beams with a weight for every direction of the satellite, zeros written out."""
    n = int(beams.stream_size[0])
    place = np.arange(beams.user.size) * n + beams.direction
    coefficient = np.zeros(beams.user.size * n)
    coefficient[place] = beams.coefficient
    return beams.replace(
        term_size=np.full(beams.user.size, n),
        direction=np.tile(np.arange(n), beams.user.size),
        coefficient=coefficient,
    )


def over_the_antennas(stats: ChannelStats, beams: Beams, r: Radio) -> np.ndarray:
    """a^H w with vectors of all antennas, one matrix product a satellite: [sat, user, stream]."""
    a = steering(stats.cosines, r.rows, r.columns).reshape(SATS, USERS, -1)
    w = steering(beams.cosines, r.rows, r.columns).reshape(SATS, USERS, -1)
    block = np.eye(USERS) / math.sqrt(r.antennas)
    turn = np.exp(1j * (beams.phase_rad.reshape(SATS, 1, USERS) - stats.phase_rad.reshape(SATS, USERS, 1)))
    return (a.conj() @ (w.transpose(0, 2, 1) @ block)) * turn


def shortest_s(function, *arguments, repeats: int = 15) -> float:
    """Shortest of several runs: what the work takes when the machine leaves it alone (s)."""
    found = math.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        function(*arguments)
        found = min(found, time.perf_counter() - begin)
    return found


def test_couplings(benchmark, pass_over) -> None:
    r, stats, beams, c = pass_over
    benchmark(rates.couplings, stats, beams, r)
    explicit = over_the_antennas(stats, beams, r).ravel()
    spread = np.sqrt(r.power_to_noise * stats.beta / (stats.kappa + 1))
    found = (c.spread_re + 1j * c.spread_im) / np.repeat(spread, USERS)
    np.testing.assert_allclose(found, explicit, rtol=0, atol=1e-11 * math.sqrt(r.antennas))
    closed_s = shortest_s(rates.couplings, stats, beams, r)
    explicit_s = shortest_s(over_the_antennas, stats, beams, r)
    benchmark.extra_info["explicit_ms"] = 1e3 * explicit_s
    benchmark.extra_info["closed_ms"] = 1e3 * closed_s
    benchmark.extra_info["explicit_over_closed"] = explicit_s / closed_s


def test_couplings_of_few_terms(benchmark, crowd) -> None:
    """A beam that is one steering vector costs one product, not one with every direction of the satellite."""
    r, stats, csi = crowd
    beams = smrt.beams(csi, smrt.Params(), r)
    full = filled(beams)
    benchmark(rates.couplings, stats, beams, r)
    sparse, dense = (rates.couplings(stats, b, r) for b in (beams, full))
    np.testing.assert_array_equal(sparse.variance, dense.variance)
    sparse_s, dense_s = (shortest_s(rates.couplings, stats, b, r, repeats=7) for b in (beams, full))
    benchmark.extra_info["dense_over_sparse"] = dense_s / sparse_s
    assert dense_s > 2.0 * sparse_s


@pytest.mark.parametrize("name", scenario.algorithms("beamforming"))
def test_precoders(benchmark, crowd, name: str) -> None:
    """Beams of 4,000 streams against their couplings, all 400,000 of them."""
    r, stats, csi = crowd
    module = scenario.load_algorithm("beamforming", name)
    params = module.Params()
    with threadpool_limits(1):  # as in a run
        beams = benchmark(module.beams, csi, params, r)
    couplings_s = shortest_s(rates.couplings, stats, beams, r, repeats=5)
    benchmark.extra_info["couplings_ms"] = 1e3 * couplings_s
    benchmark.extra_info["terms_a_stream"] = beams.coefficient.size / beams.user.size


def test_hardening(benchmark, pass_over) -> None:
    _, _, _, c = pass_over
    coherence = Coherence("averaged")
    cohered, amplitude = rates.cohere(c, coherence), np.full(c.stream.size, 0.3)
    benchmark(rates.hardening_sinr, cohered, amplitude, USERS, coherence)


@pytest.mark.parametrize("cross_terms", ["averaged", "finite"])
def test_ergodic(benchmark, pass_over, cross_terms: str) -> None:
    _, _, _, c = pass_over
    coherence, amplitude = Coherence(cross_terms), np.full(c.stream.size, 0.3)
    gamma = rates.cross_correlation(c, USERS, coherence) if cross_terms == "finite" else None
    benchmark(rates.ergodic_rate, c, amplitude, USERS, coherence, 1, 0, DRAWS, gamma)
    benchmark.extra_info["ns_a_pair_and_draw"] = (
        1e9
        * shortest_s(rates.ergodic_rate, c, amplitude, USERS, coherence, 1, 0, DRAWS, gamma)
        / (SATS * USERS * DRAWS)
    )


def test_cross_correlation(benchmark, pass_over) -> None:
    _, _, _, c = pass_over
    benchmark(rates.cross_correlation, c, USERS, Coherence("finite"))
