import numpy as np
import pytest
from full_precoding import Full, drop, sdma_optimum

from leosim import conic, precoding
from leosim.isac import rsma, rsma_sdr
from leosim.records import CAPPED, HELD, MET

SIDE = 8
MODES = [(access, radar) for access in precoding.ACCESS for radar in precoding.RADAR]
rounding = 1e-9


def design(users, target, previous=None, **params):
    return rsma_sdr.design(users, target, previous, rsma_sdr.Params(**params))


def reduced(seed, power_dbw, access, radar):
    problem, _ = precoding.reduce(*drop(seed, power_dbw), precoding.mode(access, radar))
    return problem


@pytest.mark.parametrize("power_dbw", [20.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_without_rate_splitting_it_comes_to_the_optimum(seed, power_dbw):
    problem = reduced(seed, power_dbw, "sdma", "sic")
    found = precoding.evaluate(problem, rsma_sdr.algorithm_1(problem, rsma_sdr.Params()).p).min_rate
    optimum = sdma_optimum(Full(problem.channel, problem.target, problem.asked), 0.9 * found, 1.2 * found)
    one_ten_thousandth_bit = 1e-4
    assert 0.995 * optimum <= found <= optimum + one_ten_thousandth_bit


def test_with_rate_splitting_it_comes_close_to_the_best_known():
    """Best known: the starts of `rsma`, and one from where Algorithm 1 ends."""
    ratio = []
    for power_dbw in (20.0, 25.0, 30.0):
        for seed in range(100, 105):
            problem = reduced(seed, power_dbw, "rsma", "no_sequence")
            p = rsma_sdr.algorithm_1(problem, rsma_sdr.Params()).p
            best, _ = rsma.solve(problem, None, rsma.Params())
            climbed = rsma.climb(problem, p, rsma.WARM_MU, rsma.WARM_INSIDE, 300).p
            rates = [precoding.evaluate(problem, x).min_rate for x in (p, best, climbed)]
            ratio.append(rates[0] / max(rates))
    assert np.mean(ratio) >= 0.98
    assert min(ratio) >= 0.9


@pytest.mark.parametrize(("access", "radar"), MODES)
@pytest.mark.parametrize("power_dbw", [20.0, 30.0])
def test_power_threshold_and_streams_of_each_mode(access, radar, power_dbw):
    users, target = drop(1, power_dbw)
    got = design(users, target, access=access, radar=radar)
    assert got.status == MET
    assert got.power_w.sum() == pytest.approx(users.power_w, rel=rounding)
    toward_target = precoding.gains(got, target.cosines[None], SIDE, SIDE).sum()
    assert toward_target >= float(got.gain_asked_w) * (1 - rounding)
    assert got.gain_asked_w == (0.0 if radar == "communication_only" else target.gain_w)
    there = [True] * 4 + [access == "rsma", radar in ("sic", "no_sic")]
    assert np.all(got.power_w[~np.array(there)] == 0.0)
    served = got.rate[:-2] + got.split[:-2]
    assert served.min() == pytest.approx(float(got.min_rate), rel=rounding)
    assert got.split.sum() <= got.rate[-2] + rounding
    assert got.min_rate > 0.0


@pytest.mark.parametrize(("access", "radar"), MODES)
def test_one_user_gets_what_one_beam_can_do(access, radar):
    """One beam in the plane of user and target, turned to the target as far as the threshold asks."""
    users, target = drop(3, power_dbw=20.0, users=1)
    asked = 0.98
    got = design(users, target.replace(gain_w=asked * SIDE**2 * users.power_w), access=access, radar=radar)
    between = np.arccos(np.clip(correlation(users, target), -1, 1))
    turned = 0.0 if radar == "communication_only" else between - np.arccos(np.sqrt(asked))
    assert turned >= 0.0
    closed_form = np.log2(1 + SIDE**2 * users.power_w / users.noise_w[0] * np.cos(turned) ** 2)
    assert got.min_rate == pytest.approx(closed_form, rel=1e-3)
    assert got.min_rate <= closed_form + 1e-6


def correlation(users, target):
    product = 1.0
    for u, v in zip(users.cosines[0], target.cosines, strict=True):
        product *= np.exp(1j * np.pi * np.arange(SIDE) * (u - v)).sum() / SIDE
    return abs(product)


def test_streams_of_no_power_end_the_loop_too():
    """A sequence that nobody cancels only disturbs: its matrix vanishes, and its rank is 0 / 0."""
    problem = reduced(3, 22.0, "sdma", "no_sic")
    found = rsma_sdr.algorithm_1(problem, rsma_sdr.Params())
    assert found.status == "converged"
    assert np.trace(found.blocks[-1]) < rsma_sdr.SILENT
    assert np.all(np.isfinite(found.p))


def test_ranks_end_at_one():
    problem = reduced(113, 25.0, "rsma", "sic")
    params = rsma_sdr.Params()
    relaxed = rsma_sdr.algorithm_1(problem, rsma_sdr.Params(most_outer=1))
    found = rsma_sdr.algorithm_1(problem, params)
    value = np.linalg.eigvalsh(found.blocks)
    loud = value.sum(axis=1) > rsma_sdr.SILENT
    assert relaxed.status == "cut"
    assert found.status == "converged"
    assert len(found.inner) > 1
    assert np.all(value[loud, -1] >= (1 - params.rank_tolerance) * value[loud].sum(axis=1))


def test_what_the_power_cannot_do():
    users, target = drop(2, power_dbw=20.0)
    before = design(users, target)
    more = target.replace(gain_w=2 * SIDE**2 * users.power_w)
    capped = design(users, more, before, cap_share=0.8)
    assert capped.status == CAPPED
    assert capped.gain_w == pytest.approx(0.8 * SIDE**2 * users.power_w, rel=1e-6)
    assert capped.power_needed_w == pytest.approx(2 * users.power_w)
    held = design(users, more, before, on_infeasible="hold", cap_share=0.5)
    assert held.status == HELD
    assert held.iterations == 0
    np.testing.assert_allclose(np.abs(held.weights), np.abs(before.weights), rtol=1e-6)
    assert design(users, more, None, on_infeasible="hold").status == CAPPED
    with pytest.raises(precoding.InfeasibleError, match="needs 200 W, more than the 100 W"):
        design(users, more, before, on_infeasible="raise")


@pytest.mark.parametrize("asked", [0.999, 1.0])
def test_all_the_power_on_the_target(asked):
    users, target = drop(4, power_dbw=20.0)
    got = design(users, target.replace(gain_w=asked * SIDE**2 * users.power_w))
    assert got.status == MET
    assert got.gain_w >= asked * SIDE**2 * users.power_w * (1 - rounding)
    assert got.min_rate > 0.0


def test_nobody_to_serve():
    users, target = drop(5, power_dbw=20.0, users=0)
    got = design(users, target)
    assert got.power_w.tolist() == pytest.approx([0.0, users.power_w])
    assert got.gain_w == pytest.approx(SIDE**2 * users.power_w)


def test_directions_that_coincide():
    """Two users at one place and one where the target is: private beams cannot part them, the common stream can."""
    users, target = drop(6, power_dbw=22.0)
    together = users.replace(cosines=np.vstack([users.cosines[[0, 0]], target.cosines[None], users.cosines[3:]]))
    split, plain = design(together, target), design(together, target, access="sdma", radar="sic")
    assert 0.0 < plain.min_rate < 1.0 < split.min_rate


def test_programs_without_a_solution_leave_a_precoder_that_meets_the_threshold(monkeypatch):
    problem = reduced(1, 20.0, "rsma", "sic")
    nothing = conic.Solve("failed", np.empty(0), np.empty(0), 0.0, 0)
    monkeypatch.setattr(conic, "solve", lambda *_, **__: nothing)
    found = rsma_sdr.algorithm_1(problem, rsma_sdr.Params())
    assert found.status == "failed"
    assert found.inner == (1,)
    assert precoding.radar_gain(problem, found.p) >= problem.asked * (1 - rounding)


def test_same_input_same_bytes():
    users, target = drop(7, power_dbw=25.0)
    first, second = design(users, target), design(users, target)
    assert all(getattr(first, f).tobytes() == getattr(second, f).tobytes() for f in first.array_fields())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"radar": "off"}, "radar: expected one of"),
        ({"on_infeasible": "stop"}, "on_infeasible: expected one of cap, hold, raise"),
        ({"cap_share": 1.5}, "cap_share"),
        ({"rank_tolerance": 0.0}, "rank_tolerance"),
        ({"most_outer": 0}, "most_outer"),
    ],
)
def test_parameters_out_of_range_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        rsma_sdr.Params(**wrong)


def test_a_triangle_keeps_the_products_of_matrices():
    matrix = np.random.default_rng(1).standard_normal((3, 5, 5))
    matrix = matrix + matrix.swapaxes(-1, -2)
    np.testing.assert_allclose(conic.symmetric(conic.triangle(matrix)), matrix, rtol=1e-15)
    products = np.einsum("anm,bmn->ab", matrix, matrix)
    np.testing.assert_allclose(conic.triangle(matrix) @ conic.triangle(matrix).T, products, rtol=1e-13)


def test_an_exponential_cone_bounds_a_logarithm():
    """max x subject to exp(x) <= 5."""
    form = conic.canonical(np.array([0]), np.array([0]), 3, 1, (("exponential", 3),))
    solved = conic.solve(form, np.array([-1.0]), np.array([0.0, 1.0, 5.0]), np.array([-1.0]))
    assert solved.x[0] == pytest.approx(np.log(5.0), abs=1e-7)
    with pytest.raises(ValueError, match="3 rows, got 4"):
        conic.canonical(np.array([0]), np.array([0]), 4, 1, (("exponential", 4),))
