import numpy as np
import pytest
from scipy.optimize import linprog

from leosim import rate_splitting


def received(seed, users=4, scale=3.0):
    return scale * np.random.default_rng(seed).exponential(size=(users, users + 2))


@pytest.mark.parametrize("cancelled", [True, False])
def test_rates_are_those_of_the_equations(cancelled):
    gain = received(1)
    private, common = rate_splitting.rates(gain, cancelled)
    for k in range(4):
        radar = 0.0 if cancelled else gain[k, 5]
        others = sum(gain[k, j] for j in range(4) if j != k)
        assert private[k] == pytest.approx(np.log2(1 + gain[k, k] / (others + radar + 1)), rel=1e-12)
        assert common[k] == pytest.approx(np.log2(1 + gain[k, 4] / (others + gain[k, k] + radar + 1)), rel=1e-12)


def test_streams_that_do_not_fit_the_users_are_refused():
    with pytest.raises(ValueError, match="user \\+ 2"):
        rate_splitting.rates(np.ones((4, 5)), True)


@pytest.mark.parametrize("seed", range(20))
def test_the_split_solves_its_linear_program(seed):
    rng = np.random.default_rng(seed)
    users = int(rng.integers(1, 7))
    private, common = rng.exponential(size=users), float(rng.exponential())
    share, least = rate_splitting.split(private, common)
    # max t: t - C_k <= R_p,k, sum C <= R_c, C >= 0
    rows = np.hstack([-np.eye(users), np.ones((users, 1))])
    rows = np.vstack([rows, np.append(np.ones(users), 0.0)])
    best = linprog(np.append(np.zeros(users), -1.0), rows, np.append(private, common))
    assert least == pytest.approx(-best.fun, rel=1e-9)
    assert share.min() >= 0.0
    assert share.sum() == pytest.approx(common, rel=1e-12)


def test_no_common_rate_leaves_the_least_private_rate():
    share, least = rate_splitting.split(np.array([2.0, 1.0]), 0.0)
    assert np.all(share == 0.0)
    assert least == 1.0


def test_ergodic_rates_without_fading_are_those_of_statistical_csi():
    gain = received(2)
    rng = np.random.default_rng(0)
    ergodic = rate_splitting.ergodic_rates(gain, True, np.full(4, 1e12), 4, rng)
    np.testing.assert_allclose(ergodic, rate_splitting.rates(gain, True), rtol=1e-5)


def test_ergodic_rates_against_quadrature_of_the_rayleigh_case():
    gain = received(3, users=1)
    x, w = np.polynomial.laguerre.laggauss(60)
    rng = np.random.default_rng(1)
    private, common = rate_splitting.ergodic_rates(gain, False, np.zeros(1), 200_000, rng)
    own, shared, radar = gain[0]
    want = np.sum(w * np.log2(1 + x * own / (x * radar + 1)))
    want_common = np.sum(w * np.log2(1 + x * shared / (x * (own + radar) + 1)))
    five_deviations = 5 * 1.5 / np.sqrt(200_000)
    assert private[0] == pytest.approx(want, abs=five_deviations)
    assert common[0] == pytest.approx(want_common, abs=five_deviations)
