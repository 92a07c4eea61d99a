"""Random streams: uniform, independent from key to key, and blind to who else draws."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest
from scipy import stats

from leosim.streams import circle_of, generator, mix, pair_key, pair_normals, pair_uniforms, purpose_key, uniform_of

PURPOSES = ("k_factor", "line_of_sight", "phase", "fading", "slow_phase")
# Seeds are fixed, so a test either always passes or always fails: these limits are what a right
# generator misses once in 10,000 choices of seed.
rare = 1e-4
four_standard_errors = 4.0


def cube(purpose: str = "k_factor", seed: int = 1, draw=pair_uniforms) -> np.ndarray:
    """Draws of 30 neighbouring users, 40 catalogue numbers and 25 indices: [user, sat, index]."""
    user, sat, index = np.meshgrid(np.arange(30), np.arange(44_713, 44_753), np.arange(25), indexing="ij")
    return draw(seed, purpose, user.ravel(), sat.ravel(), index.ravel()).reshape(user.shape)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation coefficient times the root of the count: standard normal for independent draws."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1] * np.sqrt(a.size))


def test_mix_is_splitmix64() -> None:
    """The first three outputs of the published generator (Vigna's splitmix64.c, state 0)."""
    golden = 0x9E3779B97F4A7C15
    outputs = [int(mix(np.uint64(i * golden % 2**64))) for i in range(3)]
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_pair_key_against_whole_numbers_of_python() -> None:
    def plain_mix(x: int) -> int:
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    words = (7, zlib.crc32(b"fading"), 12, 44_713, 2**40 + 5)
    key = 0
    for word in words:
        key = plain_mix(key ^ word)
    assert int(pair_key(*words)) == key
    drawn = pair_uniforms(7, "fading", np.array([12]), np.array([44_713]), np.array([2**40 + 5]))
    assert drawn[0] == ((key >> 12) + 0.5) / 2**52


def test_uniform_of_stays_inside_the_open_interval() -> None:
    """Zero would be the logarithm's pole in the normal draws; one would put a share of 1 out of reach."""
    assert uniform_of(np.uint64(0)) == 2.0**-53
    assert uniform_of(np.uint64(2**64 - 1)) == 1.0 - 2.0**-53


def test_circle_against_the_library() -> None:
    four_roundings = 4e-16
    eighths = np.arange(9) / 8  # where the series changes its quarter, and the axes
    for turns in np.concatenate([eighths, np.nextafter(eighths, 2), np.random.default_rng(6).uniform(size=2000)]):
        quarters, rest = divmod(8 * turns, 2)  # the library too takes 2 pi turns with an error: reduce exactly
        expected = 1j**quarters * np.exp(0.25j * np.pi * rest)
        assert complex(*circle_of(turns)) == pytest.approx(expected, rel=0, abs=four_roundings)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_uniform(purpose: str) -> None:
    u = cube(purpose)
    assert rare < stats.chisquare(np.histogram(u, 64, (0.0, 1.0))[0]).pvalue < 1 - rare
    assert stats.kstest(u.ravel(), "uniform").pvalue > rare


@pytest.mark.parametrize("purpose", ["k_factor", "slow_phase"])
def test_normal(purpose: str) -> None:
    z = cube(purpose, draw=pair_normals)
    assert stats.kstest(z.ravel(), "norm").pvalue > rare
    assert abs(z.mean()) * np.sqrt(z.size) < four_standard_errors
    assert abs(z.var() - 1.0) * np.sqrt(z.size / 2) < four_standard_errors


@pytest.mark.parametrize("draw", [pair_uniforms, pair_normals])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbouring_keys_are_independent(draw, axis: int) -> None:
    """Users, catalogue numbers and indices one apart: no correlation, and (uniform) no structure in the square."""
    u = np.moveaxis(cube(draw=draw), axis, 0)
    assert abs(correlation(u[:-1], u[1:])) < four_standard_errors
    assert abs(correlation(u[:-1] ** 2, u[1:] ** 2)) < four_standard_errors
    if draw is pair_uniforms:
        square = np.histogram2d(u[:-1].ravel(), u[1:].ravel(), 12, ((0, 1), (0, 1)))[0]
        assert rare < stats.chisquare(square.ravel()).pvalue < 1 - rare


def test_purposes_and_seeds_are_independent() -> None:
    draws = [cube(purpose) for purpose in PURPOSES] + [cube(seed=seed) for seed in (0, 2, 2**62)]
    assert len({purpose_key(purpose) for purpose in PURPOSES}) == len(PURPOSES)
    for a, b in itertools.combinations(draws, 2):
        assert abs(correlation(a, b)) < four_standard_errors


def test_radius_and_angle_of_a_normal_are_independent() -> None:
    """The angle comes from the hash of the hash that gives the radius."""
    keys = [np.uint64(pair_key(3, purpose_key("fading"), user, 100, i)) for user in range(20) for i in range(1000)]
    u, v = np.array([[uniform_of(key), uniform_of(np.uint64(mix(key)))] for key in keys]).T
    square = np.histogram2d(u, v, 12, ((0, 1), (0, 1)))[0]
    assert rare < stats.chisquare(square.ravel()).pvalue < 1 - rare
    assert abs(correlation(u, v)) < four_standard_errors


@pytest.mark.parametrize("draw", [pair_uniforms, pair_normals])
def test_same_pair_same_draw_whatever_the_company_and_the_order(draw) -> None:
    rng = np.random.default_rng(5)
    user, sat = rng.integers(0, 50, 400), rng.integers(1, 70_000, 400)
    index = rng.integers(0, 9, 400)
    together = draw(9, "phase", user, sat, index)
    chosen = rng.permutation(400)[:123]
    np.testing.assert_array_equal(draw(9, "phase", user[chosen], sat[chosen], index[chosen]), together[chosen])
    records = draw(9, "phase", user.astype(np.int32), sat.astype(np.int32), index.astype(np.int32))
    np.testing.assert_array_equal(records, together)
    assert np.unique(together).size == np.unique(np.stack([user, sat, index]), axis=1).shape[1]


def test_user_and_satellite_are_not_interchangeable() -> None:
    a, b = pair_uniforms(1, "phase", np.array([3, 8]), np.array([8, 3]), np.zeros(2))
    assert a != b


def test_generator_is_keyed_by_seed_purpose_and_tick() -> None:
    np.testing.assert_array_equal(generator(4, "users", 2).random(8), generator(4, "users", 2).random(8))
    variants = [
        generator(*key).random() for key in [(4, "users", 2), (5, "users", 2), (4, "sites", 2), (4, "users", 3)]
    ]
    assert len(set(variants)) == len(variants)
    first = np.array([generator(4, "users", k).random() for k in range(2000)])
    assert stats.kstest(first, "uniform").pvalue > rare
    assert abs(correlation(first[:-1], first[1:])) < four_standard_errors
