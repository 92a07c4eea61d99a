import numpy as np
import pytest

from leosim import precoding
from leosim.antenna import steering
from leosim.precoding import Problem
from leosim.records import COMMON_STREAM, MET, RADAR_SEQUENCE, DownlinkUsers, Illumination

ROWS, COLUMNS, POWER = 4, 6, 100.0


def scene(seed, users=4, gain_w=1000.0, spread=0.3):
    rng = np.random.default_rng(seed)
    downlink = DownlinkUsers(
        t_ns=0,
        sat=44713,
        rows=ROWS,
        columns=COLUMNS,
        power_w=POWER,
        user=np.arange(users),
        cosines=spread * rng.uniform(-1, 1, (users, 2)),
        noise_w=rng.uniform(0.5, 2.0, users),
    )
    return downlink, Illumination(t_ns=0, target=0, gain_w=gain_w, cosines=spread * rng.uniform(-1, 1, 2))


def random_precoder(problem, seed):
    rng = np.random.default_rng(seed)
    shape = (problem.users + 2, problem.target.size)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * problem.streams[:, None]


def on_antennas(precoder):
    """The precoder written out over the antennas: [antenna, stream]."""
    return steering(precoder.cosines, ROWS, COLUMNS).T @ precoder.weights


@pytest.mark.parametrize("radar", precoding.RADAR)
def test_the_reduced_problem_gives_the_rates_and_gains_of_the_antennas(radar):
    users, target = scene(1)
    problem, basis = precoding.reduce(users, target, precoding.mode("rsma", radar))
    p = random_precoder(problem, 2)
    p /= np.linalg.norm(p)
    record = precoding.record(users, target, problem, basis, p, MET, 0)
    full = on_antennas(record)
    assert np.linalg.norm(full) ** 2 == pytest.approx(POWER, rel=1e-9)
    received = np.abs(steering(users.cosines, ROWS, COLUMNS).conj() @ full) ** 2 / users.noise_w[:, None]
    np.testing.assert_allclose(received, precoding.evaluate(problem, p).gain, rtol=1e-8, atol=1e-12)
    toward = np.linalg.norm(steering(target.cosines, ROWS, COLUMNS).conj() @ full) ** 2
    assert toward == pytest.approx(float(record.gain_w), rel=1e-9)
    assert precoding.gains(record, target.cosines[None], ROWS, COLUMNS).sum() == pytest.approx(toward, rel=1e-9)
    assert record.user.tolist() == [0, 1, 2, 3, COMMON_STREAM, RADAR_SEQUENCE]


def test_directions_that_coincide_cost_no_dimension():
    users, target = scene(3)
    together = users.replace(cosines=np.vstack([users.cosines[:1], users.cosines[:1], users.cosines[2:]]))
    problem, basis = precoding.reduce(together, target, precoding.mode("rsma", "sic"))
    assert problem.target.size == 4
    np.testing.assert_allclose(basis.on @ basis.weights.T @ basis.on, basis.on, atol=1e-9)


@pytest.mark.parametrize("asked", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_polish_spends_the_power_and_meets_the_threshold(asked, seed):
    users, target = scene(seed)
    problem, _ = precoding.reduce(users, target, precoding.mode("rsma", "sic"))
    problem = Problem(problem.channel, problem.target, asked, problem.mode)
    p = precoding.polish(problem, random_precoder(problem, seed))
    assert np.linalg.norm(p) ** 2 == pytest.approx(1.0, rel=1e-12)
    assert precoding.radar_gain(problem, p) >= asked * (1 - 1e-12)


def test_what_the_power_cannot_do_is_cut_to_the_share():
    users, target = scene(4, gain_w=2 * ROWS * COLUMNS * POWER)
    problem, _ = precoding.reduce(users, target, precoding.mode("rsma", "sic"), cap_share=0.9)
    assert problem.asked == 0.9
    assert precoding.asked_share(users, target) == pytest.approx(2.0)


def test_a_precoder_carries_over_to_the_users_that_stay():
    users, target = scene(5)
    problem, basis = precoding.reduce(users, target, precoding.mode("rsma", "sic"))
    p = precoding.polish(problem, random_precoder(problem, 6))
    before = precoding.record(users, target, problem, basis, p, MET, 0)
    np.testing.assert_allclose(precoding.weights_of(before, users), before.weights)
    fewer = DownlinkUsers(
        **{name: getattr(users, name) for name in ("t_ns", "sat", "rows", "columns", "power_w")},
        user=[2, 9],
        cosines=users.cosines[[2, 0]],
        noise_w=users.noise_w[[2, 0]],
    )
    carried = precoding.weights_of(before, fewer)
    assert carried.shape == (3, 4)
    assert carried[0, 0] == before.weights[2, 2]
    assert np.all(carried[1] == 0.0)
    assert carried[2, 3] == before.weights[4, 5]


def test_unknown_modes_are_named():
    with pytest.raises(ValueError, match="access: expected one of rsma, sdma"):
        precoding.mode("noma", "sic")
    with pytest.raises(ValueError, match="radar: expected one of sic"):
        precoding.mode("rsma", "on")
