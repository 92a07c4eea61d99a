"""What every dual-functional precoder promises, whatever its file."""

import numpy as np
import pytest

from leosim import precoding, rate_splitting
from leosim.antenna import steering
from leosim.records import CAPPED, COMMON_STREAM, HELD, MET, RADAR_SEQUENCE, DownlinkUsers, Illumination
from leosim.scenario import algorithms, load_algorithm

EVERY = algorithms("isac")
ROWS = COLUMNS = 8
POWER = 100.0
FULL = ROWS * COLUMNS * POWER
MODES = [(access, radar) for access in precoding.ACCESS for radar in precoding.RADAR]
exactly = 1e-9


def scene(users=3, asked=0.5, seed=1, spread=0.15, snr_db=20.0):
    """Users and a target at random, a threshold that asks for a share of what the power can do."""
    rng = np.random.default_rng(seed)
    downlink = DownlinkUsers(
        t_ns=0,
        sat=44713,
        rows=ROWS,
        columns=COLUMNS,
        power_w=POWER,
        user=2 * np.arange(users),
        cosines=spread * rng.uniform(-1, 1, (users, 2)),
        noise_w=FULL / 10 ** (0.1 * (snr_db + rng.uniform(-3, 3, users))),
    )
    return downlink, Illumination(t_ns=0, target=0, gain_w=asked * FULL, cosines=spread * rng.uniform(-1, 1, 2))


def make(name, users, target, previous=None, **settings):
    module = load_algorithm("isac", name)
    return module.design(users, target, previous, module.Params(**settings))


def check(made, users, target, asked):
    """Power, gain towards the target, rates and split, over the antennas and by the equations."""
    p = steering(made.cosines, ROWS, COLUMNS).T @ made.weights
    assert np.linalg.norm(p) ** 2 <= POWER * (1 + exactly)
    np.testing.assert_allclose(np.sum(np.abs(p) ** 2, axis=0), made.power_w, rtol=1e-7, atol=1e-7)
    toward = np.linalg.norm(steering(target.cosines, ROWS, COLUMNS).conj() @ p) ** 2
    assert toward >= asked * FULL * (1 - exactly)
    assert float(made.gain_w) == pytest.approx(toward, rel=1e-7)
    gain = np.abs(steering(users.cosines, ROWS, COLUMNS).conj() @ p) ** 2 / users.noise_w[:, None]
    private, common = rate_splitting.rates(gain, bool(made.cancelled))
    np.testing.assert_allclose(made.rate[:-2], private, rtol=1e-6, atol=1e-9)
    assert made.split.min() >= 0.0
    assert made.split.sum() <= common.min() * (1 + 1e-6) + 1e-9
    assert float(made.min_rate) == pytest.approx(float((private + made.split[:-2]).min()), rel=1e-6)
    assert made.user.tolist() == [*users.user, COMMON_STREAM, RADAR_SEQUENCE]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("access", "radar"), MODES)
def test_each_mode_keeps_its_streams_the_power_and_the_threshold(name, access, radar):
    users, target = scene()
    made = make(name, users, target, access=access, radar=radar)
    check(made, users, target, 0.0 if radar == "communication_only" else 0.5)
    assert int(made.status) == MET
    if access == "sdma":
        assert made.power_w[-2] == 0.0
    if radar not in ("sic", "no_sic"):
        assert made.power_w[-1] == 0.0
    assert bool(made.cancelled) == (radar == "sic")


@pytest.mark.parametrize("name", EVERY)
def test_one_input_gives_one_output(name):
    users, target = scene()
    first, second = make(name, users, target), make(name, users, target)
    for field in type(first).array_fields():
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


@pytest.mark.parametrize("name", EVERY)
def test_the_precoder_before_is_a_start_not_a_result(name):
    users, target = scene()
    before = make(name, users, target)
    later = users.replace(cosines=users.cosines + 0.002)
    aimed = target.replace(cosines=target.cosines + 0.003)
    made = make(name, later, aimed, before)
    check(made, later, aimed, 0.5)
    assert float(made.min_rate) == pytest.approx(float(make(name, later, aimed).min_rate), rel=0.02)


@pytest.mark.parametrize("name", EVERY)
def test_thresholds_beyond_the_power(name):
    users, target = scene(asked=1.5)
    capped = make(name, users, target, cap_share=0.8)
    assert int(capped.status) == CAPPED
    assert float(capped.power_needed_w) == pytest.approx(1.5 * POWER)
    check(capped, users, target, 0.8)
    held = make(name, users, target, capped, on_infeasible="hold")
    assert int(held.status) == HELD
    check(held, users, target, 0.0)
    with pytest.raises(precoding.InfeasibleError, match="150 W"):
        make(name, users, target, on_infeasible="raise")


@pytest.mark.parametrize("name", EVERY)
def test_one_user_without_a_threshold_has_the_matched_beam(name):
    users, target = scene(users=1, asked=0.0)
    made = make(name, users, target, access="sdma", radar="communication_only")
    best = np.log2(1 + FULL / users.noise_w[0])
    assert float(made.min_rate) == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("name", EVERY)
def test_scenes_that_degenerate_are_served(name):
    """A target in a user's direction, two users at one spot, a target at nadir, a threshold of nearly all power."""
    users, target = scene()
    same_direction = target.replace(cosines=users.cosines[0])
    check(make(name, users, same_direction), users, same_direction, 0.5)
    one_spot = users.replace(cosines=users.cosines[[0, 0, 2]])
    check(make(name, one_spot, target), one_spot, target, 0.5)
    nadir = target.replace(cosines=np.zeros(2))
    check(make(name, users, nadir), users, nadir, 0.5)
    nearly_all = Illumination(t_ns=0, target=0, gain_w=0.999 * FULL, cosines=target.cosines)
    check(make(name, users, nearly_all), users, nearly_all, 0.999)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "wrong", [{"access": "noma"}, {"radar": "on"}, {"on_infeasible": "pray"}, {"cap_share": 0.0}, {"cap_share": 1.5}]
)
def test_wrong_parameters_are_named(name, wrong):
    key = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{key}: expected"):
        load_algorithm("isac", name).Params(**wrong)


@pytest.mark.parametrize("name", EVERY)
def test_every_parameter_says_what_it_is(name):
    for field in load_algorithm("isac", name).Params.__dataclass_fields__.values():
        assert field.metadata.get("doc"), field.name
