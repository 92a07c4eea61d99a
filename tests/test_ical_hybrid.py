"""Direct designs for rate and position: what they promise, what they cost, what they do at the limits."""

from __future__ import annotations

import numpy as np
import pytest
from ical_scene import paper_drop

from leosim import joint, phase_climb, position_design, position_task
from leosim.ical import codebook, fully_digital, hybrid
from leosim.records import KEPT, REACHED, SHORT

rounding = 1e-9
SUB_ARRAYS = ("contiguous", "tiles", "interleaved")


def moved(terminals, seconds):
    """The terminals after a flight at 7.5 km/s along track, in the axes of the satellite."""
    pos = terminals.pos_ecef + np.array([-7500.0, 800.0, 0.0]) * seconds
    ratio = np.linalg.norm(terminals.pos_ecef, axis=1) / np.linalg.norm(pos, axis=1)
    return terminals.replace(pos_ecef=pos, gamma=terminals.gamma * ratio**2)


def some(terminals, rows):
    """Some of the terminals only."""
    names = ("user", "pos_ecef", "vel_ecef", "gamma", "kappa", "noise_w")
    return terminals.replace(**{name: getattr(terminals, name)[rows] for name in names})


def honest(terminals, record):
    """Power, rate and bound of a record, made again from the antennas, are what it says."""
    p = joint.problem(terminals)
    w = joint.weights(record, p.rows, p.columns, p.waveform)
    assert p.total_power_w(w) == pytest.approx(p.power_w, rel=rounding)
    gains = p.gains(w)
    np.testing.assert_allclose(record.rate, p.rate(gains)[0], rtol=1e-9)
    assert float(record.apeb_m) == pytest.approx(joint.apeb_m(p.speb(gains)[0][p.heard]), rel=1e-9)
    return w


@pytest.fixture(scope="module")
def terminals():
    return paper_drop(0)


@pytest.fixture(scope="module")
def few():
    """Three terminals and 64 antennas: the least bound is 7.8 m."""
    return paper_drop(1, count=3, side=8).replace(asked_m=25.0)


@pytest.mark.parametrize(("layout", "chains"), [("fully_connected", 5), ("tiles", 9), ("interleaved", 4)])
def test_gradient_of_the_joint_climb(layout, chains):
    p = joint.problem(paper_drop(1, count=3, side=6))
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 6, 36 * chains if layout == "fully_connected" else 36)
    b = rng.normal(size=(8, chains, 3)) + 1j * rng.normal(size=(8, chains, 3))

    def merit(rate, bound):
        return -rate + rate * bound, -1.0 + bound, rate

    value, start, _ = phase_climb.objective(phase_climb.Network(p, layout, chains), phase, b, merit)
    x, along, h = start + 0.01 * rng.normal(size=start.size), rng.normal(size=start.size), 1e-6
    slope = (value(x + h * along)[0] - value(x - h * along)[0]) / (2 * h)
    assert value(x)[1] @ along == pytest.approx(slope, rel=1e-6)


def test_digital_and_fully_connected(terminals):
    """Two chains a digital column: phases cost next to nothing. 101.3 bit/s/Hz is what thousands of steps reach."""
    digital = fully_digital.design(terminals, None, fully_digital.Params())
    connected = hybrid.design(terminals, None, hybrid.Params())
    for record in (digital, connected):
        honest(terminals, record)
        assert int(record.status) == REACHED
        assert float(record.apeb_m) <= 5.0
        assert record.rate.sum() >= 100.8
    exact_rate, exact_speb = joint.problem(terminals).exact(honest(terminals, connected))
    assert exact_rate.sum() == pytest.approx(connected.rate.sum(), rel=2e-3)  # squint within a block
    assert joint.apeb_m(exact_speb) == pytest.approx(float(connected.apeb_m), rel=2e-3)


def test_sub_arrays(terminals):
    record = hybrid.design(terminals, None, hybrid.Params(layout="tiles"))
    w = honest(terminals, record)
    assert int(record.status) == REACHED
    assert record.rate.sum() >= 77.0
    chain = joint.chain_of("tiles", 24, 24, 36)
    f = joint.analog(record.phase_rad, "tiles", 24, 24, 36)
    np.testing.assert_allclose(np.abs(f), np.arange(36) == chain[:, None], atol=rounding)
    b = (record.weight_re + 1j * record.weight_im).reshape(8, 36, 9)
    np.testing.assert_allclose(w, f @ b, atol=rounding)


@pytest.mark.slow
def test_paper_setting_mean_of_four_drops():
    drops = [paper_drop(seed) for seed in range(4)]

    def mean(asked_m, **params):
        records = [hybrid.design(t.replace(asked_m=asked_m), None, hybrid.Params(**params)) for t in drops]
        assert all(int(record.status) == REACHED for record in records)
        return np.mean([record.rate.sum() for record in records])

    assert mean(5.0) >= 102.0
    assert mean(5.0, layout="contiguous") >= 75.0
    assert mean(5.0, layout="tiles") >= 80.0
    at_ten = {layout: mean(10.0, layout=layout) for layout in SUB_ARRAYS}
    assert at_ten["tiles"] > at_ten["interleaved"]
    assert at_ten["contiguous"] >= 83.0
    problems = [joint.problem(t) for t in drops]
    least = [joint.apeb_m(p.speb(p.gains(position_design.localisation_only(p)))[0]) for p in problems]
    assert np.mean(least) <= 1.42


def test_position_at_a_least_rate(terminals):
    """The reverse problem is on the same frontier: from the rate of a bound back to that bound."""
    forward = fully_digital.design(terminals, None, fully_digital.Params())
    rate = float(forward.rate.sum())
    params = fully_digital.Params(objective="position", least_rate=rate)
    back = fully_digital.design(terminals, None, params)
    assert back.rate.sum() >= rate * (1 - rounding)
    assert 0.97 * float(forward.apeb_m) <= float(back.apeb_m) <= 1.005 * float(forward.apeb_m)
    lower = hybrid.design(terminals, None, hybrid.Params(objective="position", least_rate=90.0))
    assert lower.rate.sum() >= 90.0 * (1 - rounding)
    assert float(lower.apeb_m) < 2.6
    assert int(lower.status) == REACHED


def test_monotone_in_what_is_asked(few):
    rates = [
        fully_digital.design(few.replace(asked_m=m), None, fully_digital.Params()).rate.sum()
        for m in (10.0, 15.0, 40.0, 1e6)
    ]
    assert np.all(np.diff(rates) > 0.0)


@pytest.mark.parametrize("design", [fully_digital, hybrid])
def test_bound_out_of_reach(few, design):
    """Below the least bound, what is asked is a tenth above it; the rate is not thrown away."""
    p = joint.problem(few)
    least = joint.apeb_m(p.speb(p.gains(position_design.localisation_only(p)))[0])
    short = few.replace(asked_m=0.5 * least)
    record = design.design(short, None, design.Params())
    assert int(record.status) == SHORT
    assert least < float(record.apeb_m) <= 1.01 * position_task.CAP_BOUND * least
    assert record.rate.sum() > 15.0  # against 5 of the least bound itself
    honest(short, record)
    tight = design.design(few.replace(asked_m=1.03 * least), None, design.Params())
    assert int(tight.status) == REACHED
    with pytest.raises(position_task.InfeasibleError, match="asked_m: expected a bound that the power allows"):
        design.design(short, None, design.Params(on_infeasible="raise"))
    before = design.design(few, None, design.Params())
    kept = design.design(short, before, design.Params(on_infeasible="hold"))
    assert int(kept.status) == KEPT
    np.testing.assert_array_equal(kept.weight_re, before.weight_re)
    np.testing.assert_allclose(kept.rate, before.rate, rtol=rounding)
    assert int(design.design(short, None, design.Params(on_infeasible="hold")).status) == SHORT


def test_rate_out_of_reach(few):
    params = {"objective": "position", "least_rate": 500.0}
    record = fully_digital.design(few.replace(asked_m=100.0), None, fully_digital.Params(**params))
    assert int(record.status) == SHORT
    p = joint.problem(few)
    space = position_design.whole(p)
    forced = position_design.regularised_zero_forcing(p, space)
    most = position_design.extreme(p, space, forced, position_design.Aim("position", 0.0)).rate
    assert record.rate.sum() == pytest.approx(position_task.CAP_RATE * most, rel=5e-3)
    with pytest.raises(position_task.InfeasibleError, match="least_rate: expected a rate that the power allows"):
        fully_digital.design(few, None, fully_digital.Params(**params, on_infeasible="raise"))


@pytest.mark.parametrize("seconds", [0.02, 1.0])
@pytest.mark.parametrize(
    ("design", "params"), [(fully_digital, {}), (hybrid, {}), (hybrid, {"layout": "tiles", "chains": 16})]
)
def test_warm_designs(design, params, seconds):
    now = paper_drop(2, count=5, side=16).replace(asked_m=10.0)
    chosen = design.Params(**params)
    previous = design.design(now, None, chosen)
    for _ in range(2):
        now = moved(now, seconds)
        previous = design.design(now, previous, chosen)
        cold = design.design(now, None, chosen)
        assert int(previous.status) == REACHED
        assert previous.rate.sum() >= 0.99 * cold.rate.sum()
        honest(now, previous)


def test_carried_coefficients_keep_the_gains(few):
    """Where nothing moved, the precoder before is its own start; terminals are matched by their rows."""
    before = hybrid.design(few, None, hybrid.Params(chains=6))
    p = joint.problem(few)
    w = position_task.carried(few, p, before, position_task.matched(few, p, before))
    written = joint.weights(before, p.rows, p.columns, p.waveform)
    np.testing.assert_allclose(p.gains(w), p.gains(written), atol=1e-6 * np.abs(p.gains(written)).max())
    turned = some(few, np.array([2, 0, 1]))
    q = joint.problem(turned)
    w = position_task.carried(turned, q, before, position_task.matched(turned, q, before))
    gains = p.gains(written)[[2, 0, 1]][..., [2, 0, 1]]
    np.testing.assert_allclose(q.gains(w), gains, atol=1e-6 * np.abs(gains).max())


def test_memory_of_little_use(few):
    """Another satellite, other terminals, terminals mixed up: a cold start, to the last bit."""
    params = hybrid.Params(chains=18)
    cold = hybrid.design(few, None, params)
    before = hybrid.design(few, None, params)
    for useless in (
        before.replace(sat=np.array(7)),
        before.replace(user=before.user + 100),
        before.replace(cosines=before.cosines[[1, 2, 0]]),
        before.replace(weight_re=0.0 * before.weight_re, weight_im=0.0 * before.weight_im),
    ):
        record = hybrid.design(few, useless, params)
        np.testing.assert_array_equal(record.weight_re, cold.weight_re)
        np.testing.assert_array_equal(record.phase_rad, cold.phase_rad)


def test_a_terminal_more_or_less(few):
    all_of_them = paper_drop(2, count=5, side=16).replace(asked_m=10.0)
    less = some(all_of_them, np.arange(4))
    for first, then in ((all_of_them, less), (less, all_of_them)):
        before = hybrid.design(first, None, hybrid.Params())
        warm, cold = (hybrid.design(then, memory, hybrid.Params()) for memory in (before, None))
        assert int(warm.status) == REACHED
        assert warm.rate.sum() >= 0.99 * cold.rate.sum()


def test_terminals_without_line_of_sight(few):
    """They have a rate, and no part in the bound."""
    kappa = few.kappa.copy()
    kappa[1] = 0.0
    now = few.replace(kappa=kappa)
    record = hybrid.design(now, None, hybrid.Params())
    honest(now, record)
    assert int(record.status) == REACHED
    assert record.rate.min() > 1.0
    alone = hybrid.design(few.replace(kappa=0.0 * kappa), None, hybrid.Params())
    assert int(alone.status) == REACHED
    assert float(alone.apeb_m) == 0.0
    assert alone.rate.sum() > record.rate.sum()


@pytest.mark.parametrize("layout", ["fully_connected", "contiguous"])
def test_limits(layout):
    params = hybrid.Params(chains=16, layout=layout)
    one = paper_drop(1, count=1, side=8).replace(asked_m=10.0)
    assert int(hybrid.design(one, None, params).status) == REACHED
    two = paper_drop(1, count=3, side=8).replace(asked_m=30.0)
    pos = two.pos_ecef.copy()
    pos[1] = pos[0]
    together = two.replace(pos_ecef=pos)
    record = hybrid.design(together, None, params)
    honest(together, record)
    assert np.isfinite(record.rate).all()
    beside = two.replace(pos_ecef=np.vstack([pos[0], pos[0] + [30.0, 0.0, 0.0], pos[2]]))
    assert np.isfinite(hybrid.design(beside, record, params).bound_m).all()
    silent = hybrid.design(two.replace(power_w=0.0), None, params)
    assert int(silent.status) == SHORT
    assert not silent.rate.any()
    assert np.isfinite(silent.bound_m).all()
    assert int(hybrid.design(two, silent, params).status) == REACHED


@pytest.mark.parametrize("design", [fully_digital, codebook])
def test_limits_without_chains(design):
    two = paper_drop(1, count=2, side=8)
    together = two.replace(pos_ecef=two.pos_ecef[[0, 0]])
    for now in (together, two.replace(power_w=0.0), some(two, np.array([0]))):
        record = design.design(now, None, design.Params())
        assert np.isfinite(record.rate).all()
        assert np.isfinite(record.bound_m).all()


def test_few_chains(few):
    """As many chains as terminals: phases have to be climbed; two a digital column lose next to nothing."""
    records = [hybrid.design(few, None, hybrid.Params(chains=chains)) for chains in (3, 18)]
    digital = fully_digital.design(few, None, fully_digital.Params()).rate.sum()
    rates = [record.rate.sum() for record in records]
    assert all(int(record.status) == REACHED for record in records)
    assert 0.8 * digital < rates[0] < 0.99 * digital
    assert 0.99 * digital <= rates[1] <= 1.005 * digital
    with pytest.raises(ValueError, match="chains: expected at least 3, one for each of 3 terminals, got 2"):
        hybrid.design(few, None, hybrid.Params(chains=2))
    with pytest.raises(ValueError, match="chains: expected at most 64, one for each antenna, got 65"):
        hybrid.design(few, None, hybrid.Params(chains=65))
    with pytest.raises(ValueError, match="expected a divisor of 64 antennas"):
        hybrid.design(few, None, hybrid.Params(chains=6, layout="tiles"))


def test_equal_arguments_equal_results(few):
    for design, params in ((hybrid, hybrid.Params(layout="tiles", chains=16)), (fully_digital, fully_digital.Params())):
        first, second = (design.design(few, None, params) for _ in range(2))
        for name in first.array_fields():
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_codebook(terminals):
    """`v_k^*` in each column: the whole array gain on the terminal itself, the worst of all at this power."""
    record = codebook.design(terminals, None, codebook.Params())
    w = honest(terminals, record)
    p = joint.problem(terminals)
    share = p.power_w / 512 / 9
    np.testing.assert_allclose(np.abs(np.einsum("kbk->kb", p.gains(w)[:, :, 0])), np.sqrt(share), rtol=rounding)
    assert int(record.status) == SHORT
    assert record.rate.sum() < 90.0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"layout": "ring"}, "layout: expected one of fully_connected"),
        ({"objective": "both"}, 'objective: expected "rate" or "position"'),
        ({"on_infeasible": "wait"}, 'on_infeasible: expected "cap", "hold" or "raise"'),
        ({"least_rate": -1.0}, "least_rate: expected a rate from 0"),
        ({"chains": 2.5}, "chains: expected a whole number"),
    ],
)
def test_settings_refused(given, told):
    with pytest.raises(ValueError, match=told):
        hybrid.Params(**given)


def test_bound_of_zero_refused(few):
    with pytest.raises(ValueError, match="asked_m: expected a position error bound over 0 m"):
        hybrid.design(few.replace(asked_m=0.0), None, hybrid.Params())
