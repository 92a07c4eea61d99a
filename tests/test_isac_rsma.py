import isac_scene
import numpy as np
import pytest
import sdma_bisection
from isac_scene import NEEDED_W, POWERS_W, SIDE, drop, scene

from leosim import barrier, precoding
from leosim.isac import rsma
from leosim.isac.rsma import Params
from leosim.precoding import mode
from leosim.records import CAPPED, HELD, MET

MODES = [(access, radar) for access in precoding.ACCESS for radar in precoding.RADAR]
written_back = 1e-9  # relative, on power and radar gain of the record


def problem_of(seed, power_w, access="rsma", radar="no_sequence", users=4):
    return precoding.reduce(*scene(drop(seed, users), power_w), mode(access, radar))[0]


def least(problem, start=None, params=None):
    return precoding.evaluate(problem, rsma.solve(problem, start, params or Params())[0]).min_rate


def random_starts(problem, count, seed=0):
    rng = np.random.default_rng(seed)
    shape = (count, problem.users + 2, problem.target.size)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * problem.streams[:, None]


def bytes_of(precoder):
    return b"".join(getattr(precoder, name).tobytes() for name in precoder.array_fields())


def check_promises(got, users, target):
    """Power and radar gain as written in the record, and rates that add up."""
    assert got.power_w.sum() == pytest.approx(users.power_w, rel=written_back)
    on_target = precoding.gains(got, target.cosines[None], users.rows, users.columns).sum()
    assert on_target == pytest.approx(float(got.gain_w), rel=written_back)
    if got.status == MET:
        assert on_target >= float(got.gain_asked_w) * (1.0 - written_back)
    assert np.min(got.rate[:-2] + got.split[:-2]) == pytest.approx(float(got.min_rate), rel=1e-9)
    rounding_bit = 1e-12
    assert got.split.sum() <= got.rate[-2] + rounding_bit
    assert np.all(np.isfinite(got.weights))


# ---------------------------------------------------------------------------------------------
# Derivatives and linear algebra of the method


def point(seed, radar="no_sic", access="rsma"):
    """A random point of a problem with its derivatives' arguments."""
    rng = np.random.default_rng(seed)
    problem = problem_of(seed, 100.0, access, radar, users=3)
    streams = np.flatnonzero(problem.streams)
    x = 0.2 * rng.standard_normal((2 * streams.size, problem.target.size))
    border = rng.uniform(0.1, 0.3, 4 if problem.mode.common else 1)
    return problem, streams, x, border, rng


def at(problem, streams, x, border):
    """Values of the constraints, and what their derivatives are computed from."""
    how, channel = problem.mode, np.ascontiguousarray(problem.channel)  # the layout that `rsma` compiles for
    member = barrier.members(problem.users, streams, how.cancelled)
    y, sums, on_target = barrier.terms(channel, problem.target, member, x)
    c = barrier.constraints(sums, on_target, float(np.sum(x**2)), problem.asked, how.common, border)
    return c, (channel, problem.target, how.common, problem.asked, x, y, sums, on_target, member)


def split_up(problem, v, x, border):
    return v[: x.size].reshape(x.shape), v[x.size :]


@pytest.mark.parametrize(("access", "radar"), MODES)
def test_gradients_against_differences(access, radar):
    problem, streams, x, border, rng = point(3, radar, access)
    c, arguments = at(problem, streams, x, border)
    v = rng.standard_normal(x.size + border.size)
    dx, d_border = split_up(problem, v, x, border)
    h = 1e-6
    after, _ = at(problem, streams, x + h * dx, border + h * d_border)
    before, _ = at(problem, streams, x - h * dx, border - h * d_border)
    slope = np.empty(c.size)
    barrier.slopes(*arguments, v, slope)
    np.testing.assert_allclose(slope, (after - before) / (2 * h), rtol=1e-6, atol=1e-7)
    weight, gradient = rng.uniform(0.5, 1.0, c.size), np.empty(v.size)
    barrier.jacobian_product(*arguments, weight, gradient)
    assert gradient @ v == pytest.approx(weight @ slope, rel=1e-9)


@pytest.mark.parametrize(("access", "radar"), MODES)
def test_second_derivatives_against_differences(access, radar):
    problem, streams, x, border, rng = point(4, radar, access)
    c, arguments = at(problem, streams, x, border)
    z, sigma = rng.uniform(0.5, 1.0, (2, c.size))
    v = rng.standard_normal(x.size + border.size)
    for s in range(streams.size):  # across the phases of the streams, along which the matrix is kept regular
        phase = np.zeros(x.shape)
        phase[2 * s], phase[2 * s + 1] = -x[2 * s + 1], x[2 * s]
        flat = np.append(phase.ravel(), np.zeros(border.size))
        v -= flat * (flat @ v) / (flat @ flat)
    dx, d_border = split_up(problem, v, x, border)
    gradients = []
    h = 1e-6
    for sign in (1, -1):
        _, moved = at(problem, streams, x + sign * h * dx, border + sign * h * d_border)
        gradients.append(np.empty(v.size))
        barrier.jacobian_product(*moved, z, gradients[-1])
    slope, outer = np.empty(c.size), np.empty(v.size)
    barrier.slopes(*arguments, v, slope)
    barrier.jacobian_product(*arguments, sigma * slope, outer)
    lower = np.empty((v.size, v.size))
    barrier.matrix(*arguments, z, sigma, lower)
    full = np.tril(lower) + np.tril(lower, -1).T
    expected = outer - (gradients[0] - gradients[1]) / (2 * h)
    np.testing.assert_allclose(full @ v, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("n", [1, 4, 7, 30])
def test_factor_and_substitution(n):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((n, n))
    a = a @ a.T + 0.1 * np.eye(n)
    b = rng.standard_normal(n)
    factor, x = a.copy(), b.copy()
    assert barrier.cholesky(factor)
    np.testing.assert_allclose(np.triu(factor), np.linalg.cholesky(a).T, rtol=1e-9, atol=1e-12)
    barrier.back_substitute(factor, x)
    np.testing.assert_allclose(a @ x, b, rtol=1e-9, atol=1e-9)
    assert not barrier.cholesky(a - 2.0 * np.linalg.eigvalsh(a)[0] * np.eye(n))


# ---------------------------------------------------------------------------------------------
# Quality


@pytest.mark.parametrize("radar", ["no_sequence", "sic"])
@pytest.mark.parametrize("power_w", POWERS_W)
@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 20), marks=pytest.mark.slow)], ids=["few", "twenty"])
def test_without_a_common_stream_it_is_the_global_optimum(seeds, power_w, radar):
    for seed in seeds:
        problem = problem_of(seed, power_w, "sdma", radar)
        assert least(problem) == pytest.approx(sdma_bisection.best_rate(problem), abs=1e-4)


@pytest.mark.parametrize("power_w", POWERS_W)
def test_the_common_stream_is_never_worse_than_a_cancelled_radar_sequence(power_w):
    for seed in range(5):
        with_common = least(problem_of(seed, power_w, "rsma", "no_sequence"))
        assert with_common >= least(problem_of(seed, power_w, "sdma", "sic")) - 1e-6


@pytest.mark.parametrize("power_w", POWERS_W)
@pytest.mark.parametrize(
    ("seeds", "starts"),
    [(range(3), 6), pytest.param(range(20), 60, marks=pytest.mark.slow)],
    ids=["few", "sixty"],
)
def test_no_random_start_is_better(seeds, starts, power_w):
    for seed in seeds:
        problem = problem_of(seed, power_w)
        found = [rsma.climb(problem, p, rsma.FIRST_MU, rsma.INSIDE, 300) for p in random_starts(problem, starts)]
        assert least(problem) >= 0.999 * max(one.min_rate for one in found)


def test_of_two_users_in_nearly_one_direction_one_has_no_private_stream():
    problem = problem_of(113, 316.0)
    everyone, got = rsma.cold(problem, (), Params()), rsma.solve(problem, None, Params())[0]
    unit = problem.channel / np.linalg.norm(problem.channel, axis=1)[:, None]
    assert unit[0] @ unit[2] > 0.98
    assert not got[0].any()
    assert precoding.evaluate(problem, got).min_rate > 1.08 * everyone.min_rate


@pytest.mark.parametrize(("height_m", "power_w"), [(340e3, 100.0), (340e3, 1000.0), (550e3, 316.0)])
@pytest.mark.parametrize("epochs", [20, pytest.param(240, marks=pytest.mark.slow)])
def test_warm_designs_keep_up_over_a_pass(epochs, height_m, power_w):
    previous, ratio = None, []
    for sat in isac_scene.flight(height_m, epochs):
        users, target = scene(drop(7), power_w, sat)
        previous = rsma.design(users, target, previous, Params())
        check_promises(previous, users, target)
        ratio.append(float(previous.min_rate / rsma.design(users, target, None, Params()).min_rate))
    assert np.mean(np.array(ratio) >= 0.99) >= 0.95


def test_more_power_serves_better_and_a_higher_threshold_worse():
    pos = drop(11)
    by_power = [float(rsma.design(*scene(pos, power_w), None, Params()).min_rate) for power_w in POWERS_W]
    assert by_power == sorted(by_power)
    by_need = [
        float(rsma.design(*scene(pos, 100.0, needed_w=w), None, Params()).min_rate) for w in (10.0, 50.0, 80.0, 95.0)
    ]
    left_by_the_barrier_bit = 1e-6
    assert np.all(np.diff(by_need) <= left_by_the_barrier_bit)


def test_the_order_of_users_does_not_matter():
    users, target = scene(drop(12), 316.0)
    order = [2, 0, 3, 1]
    other = users.replace(cosines=users.cosines[order], noise_w=users.noise_w[order], user=users.user[order])
    first, second = (rsma.design(u, target, None, Params()) for u in (users, other))
    assert float(second.min_rate) == pytest.approx(float(first.min_rate), rel=1e-5)


# ---------------------------------------------------------------------------------------------
# What it promises


@pytest.mark.parametrize(("access", "radar"), MODES)
@pytest.mark.parametrize("power_w", [100.0, 1000.0])
def test_power_and_threshold_hold_in_the_record(access, radar, power_w):
    users, target = scene(drop(1), power_w)
    got = rsma.design(users, target, None, Params(access=access, radar=radar))
    assert got.status == MET
    assert got.min_rate > 0.0
    check_promises(got, users, target)
    assert np.all(got.power_w[np.flatnonzero(~problem_of(1, power_w, access, radar).streams)] == 0.0)


def test_same_input_same_bytes():
    users, target = scene(drop(2), 100.0)
    first, second = (rsma.design(users, target, None, Params()) for _ in range(2))
    assert bytes_of(first) == bytes_of(second)
    warm, again = (rsma.design(users, target, first, Params()) for _ in range(2))
    assert bytes_of(warm) == bytes_of(again)


@pytest.mark.parametrize("change", ["user", "sat"])
def test_another_satellite_or_other_users_start_afresh(change):
    users, target = scene(drop(2), 100.0)
    before = rsma.design(users, target, None, Params())
    later = users.replace(sat=7) if change == "sat" else users.replace(user=np.array([0, 1, 2, 9]))
    got = rsma.design(later, target, before, Params())
    assert bytes_of(got) == bytes_of(rsma.design(later, target, None, Params()))


def test_what_is_infeasible_is_capped_held_or_raised():
    users, target = scene(drop(3), 50.0)
    left_by_the_barrier = 1e-6
    got = rsma.design(users, target, None, Params())
    assert got.status == CAPPED
    assert got.gain_w == pytest.approx(0.9 * 50.0 * SIDE**2, rel=left_by_the_barrier)
    assert got.power_needed_w == pytest.approx(NEEDED_W)
    before = rsma.design(*scene(drop(3), 100.0), None, Params())
    held = rsma.design(users, target, before, Params(on_infeasible="hold"))
    assert held.status == HELD
    assert held.iterations == 0
    check_promises(held, users, target)
    assert held.gain_w >= 0.9 * 50.0 * SIDE**2 * (1.0 - written_back)
    assert rsma.design(users, target, None, Params(on_infeasible="hold")).status == CAPPED
    with pytest.raises(precoding.InfeasibleError, match=r"needs 76 W, more than the 50 W"):
        rsma.design(users, target, None, Params(on_infeasible="raise"))
    quiet = rsma.design(users, target, None, Params(radar="communication_only", on_infeasible="raise"))
    assert quiet.status == MET


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("access", "noma"),
        ("radar", "on"),
        ("on_infeasible", "ignore"),
        ("cap_share", 0.0),
        ("starts", 0),
        ("warm_starts", -1),
        ("iterations", 2.5),
    ],
)
def test_wrong_parameters_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        Params(**{name: value})


# ---------------------------------------------------------------------------------------------
# Limits


@pytest.mark.parametrize("access", precoding.ACCESS)
def test_a_single_user_without_a_threshold_gets_the_matched_beam(access):
    users, target = scene(drop(5, users=1), 100.0)
    got = rsma.design(users, target, None, Params(access=access, radar="communication_only"))
    snr = SIDE**2 * users.power_w / users.noise_w[0]
    assert float(got.min_rate) == pytest.approx(np.log2(1.0 + snr), rel=1e-6)


def test_one_user_in_the_direction_of_the_target_loses_nothing_to_it():
    users, target = scene(drop(5, users=1), 100.0)
    got = rsma.design(users, target.replace(cosines=users.cosines[0]), None, Params())
    snr = SIDE**2 * users.power_w / users.noise_w[0]
    assert float(got.min_rate) == pytest.approx(np.log2(1.0 + snr), rel=1e-6)


@pytest.mark.parametrize(("access", "radar"), MODES)
def test_nobody_served_leaves_all_power_on_the_target(access, radar):
    users, target = scene(drop(5, users=0), 100.0)
    got = rsma.design(users, target, None, Params(access=access, radar=radar))
    sensing = radar != "communication_only"
    np.testing.assert_allclose(got.power_w, [0.0, 100.0 * sensing])
    assert got.gain_w == pytest.approx(100.0 * SIDE**2 * sensing, rel=1e-12)
    assert got.min_rate == 0.0


@pytest.mark.parametrize(("access", "radar"), MODES)
@pytest.mark.parametrize("where", ["one spot", "all in one direction", "a user at the target", "target at nadir"])
def test_directions_that_coincide(where, access, radar):
    users, target = scene(drop(1), 100.0)
    cosines = users.cosines.copy()
    if where == "one spot":
        cosines[1] = cosines[0]
    elif where == "all in one direction":
        cosines[:] = target.cosines
    elif where == "a user at the target":
        cosines[1] = target.cosines
    else:
        target = target.replace(cosines=np.zeros(2))
    users = users.replace(cosines=cosines)
    got = rsma.design(users, target, None, Params(access=access, radar=radar))
    assert got.min_rate > 0.0
    check_promises(got, users, target)


def test_users_in_one_direction_share_its_rate():
    """All is on one beam and the weakest user decodes the common stream: its rate is shared alike."""
    users, target = scene(drop(1), 100.0)
    users = users.replace(cosines=np.tile(target.cosines, (4, 1)), noise_w=np.full(4, users.noise_w[0]))
    got = rsma.design(users, target, None, Params())
    snr = SIDE**2 * users.power_w / users.noise_w[0]
    assert float(got.min_rate) == pytest.approx(np.log2(1.0 + snr) / 4.0, rel=1e-5)


@pytest.mark.parametrize("radar", precoding.RADAR)
def test_a_threshold_that_asks_for_all_the_power(radar):
    users, target = scene(drop(1), 100.0, needed_w=100.0)
    got = rsma.design(users, target, None, Params(radar=radar))
    assert got.status == MET
    check_promises(got, users, target)


@pytest.mark.parametrize(("access", "radar"), MODES)
def test_orthogonal_directions(access, radar):
    """On a grid of beams without overlap; the target is on a beam of its own."""
    users, target = scene(drop(1), 100.0)
    users = users.replace(cosines=np.array([[0.0, 0.0], [0.25, 0.0], [0.0, 0.25], [0.5, 0.0]]))
    target = target.replace(cosines=np.array([0.5, 0.5]))
    got = rsma.design(users, target, None, Params(access=access, radar=radar))
    check_promises(got, users, target)
    if (access, radar) == ("sdma", "communication_only"):
        # no interference: every user the same SNR, so powers in proportion to the noise
        snr = SIDE**2 * users.power_w / users.noise_w.sum()
        assert float(got.min_rate) == pytest.approx(np.log2(1.0 + snr), rel=1e-6)


@pytest.mark.parametrize("users", [8, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize("access", precoding.ACCESS)
def test_many_users(access, users):
    downlink, target = scene(drop(1, users), 316.0)
    got = rsma.design(downlink, target, None, Params(access=access, starts=3))
    assert got.min_rate > 0.0
    check_promises(got, downlink, target)
    warm = rsma.design(downlink, target, got, Params(access=access, warm_starts=0))
    assert warm.min_rate >= 0.999 * got.min_rate


def test_the_start_need_not_be_feasible():
    problem = problem_of(9, 100.0)
    far = 10.0 * random_starts(problem, 1)[0]
    assert least(problem, far) >= 0.99 * least(problem)
