"""Algorithm 1 of You et al. 2024: compressed against dense, each step against what it minimises, headline, limits."""

from dataclasses import replace

import numpy as np
import pytest
from dense_admm import Dense
from ical_scene import paper_drop

from leosim import joint, position_design
from leosim.ical import hybrid_admm
from leosim.ical.hybrid_admm import Params
from leosim.ofdm import Waveform
from leosim.records import SHORT

rounding = 1e-8
SMALL = Waveform(carrier_hz=2e9, subcarriers=64, blocks=4)


def small(seed=0, count=3, side=4, power_dbw=26.0):
    """A problem small enough to be written out."""
    return joint.problem(replace(paper_drop(seed, power_dbw, count, side=side), waveform=SMALL))


def chain_of(p, params):
    fully = params.layout == "fully_connected"
    return None if fully else joint.chain_of(params.layout, p.rows, p.columns, params.chains)


def begun(p, params):
    """The task and where a cold start begins."""
    t, communication = hybrid_admm.weighed(p, params)
    return t, hybrid_admm.first(p, t, hybrid_admm.digital(p, t, communication), params)


def written_out(t, common, own):
    """`common + a_k own_k^T` for each terminal: [terminal, block, ant, stream]."""
    outer = np.einsum("bka,bks->kbas", t.towards.conj(), own)
    return common.swapaxes(0, 1)[None] + outer


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


# ---------------------------------------------------------------------------------------------
# Against the algorithm written out


@pytest.mark.parametrize("layout", ["fully_connected", "contiguous"])
@pytest.mark.parametrize(("rho", "penalty"), [(0.0, 1.0), (0.7, 0.05), (0.7, 3.0), (1.0, 3.0)])
def test_compressed_is_the_dense_algorithm(layout, rho, penalty):
    p, params = small(), Params(rho=rho, layout=layout, chains=4, penalty=penalty, ratio=2.0)
    t, s = begun(p, params)
    chain = chain_of(p, params)
    limits = (hybrid_admm.LEAST_PENALTY * t.scale, hybrid_admm.MOST_PENALTY * t.scale)
    dense = Dense(
        channels=np.sqrt(p.link.gamma)[:, None] * p.responses[:, :, 0].conj(),
        noise_w=p.link.noise_w,
        located=t.located.swapaxes(0, 1),
        rho=rho,
        pull=(1 - rho) * params.sd * SMALL.block_subcarriers / 3,
        power_w=p.power_w / SMALL.block_subcarriers,
        chain=chain,
        w_rf=s.analog.copy(),
        w_bb=s.baseband.swapaxes(0, 1).copy(),
        eta=s.penalty,
        limits=limits,
    )
    penalties = set()
    for _ in range(25):
        s = hybrid_admm.iterate(t, s, chain, params)
        dense.iterate(params.ratio, params.grow, params.shrink)
        penalties.add(s.penalty)
        assert relative(written_out(t, s.common, s.own), dense.g) < rounding
        assert np.abs(written_out(t, s.dual_common, s.dual_own) - dense.q).max() < rounding * np.abs(dense.g).max()
        assert relative(s.receiver.T, dense.u) < rounding
        assert relative(s.weight.T, dense.omega) < rounding
        assert relative(s.baseband.swapaxes(0, 1), dense.w_bb) < rounding
        assert relative(s.analog, dense.w_rf) < rounding
        assert s.penalty == pytest.approx(dense.eta, rel=rounding)
    assert len(penalties) > 1 or penalty == 1.0  # Eq. (49) was at work


def test_the_copies_minimise_the_augmented_lagrangian():
    """Against random feasible directions, from the objective written out, Eq. (38)."""
    p, params = small(), Params(chains=4, penalty=0.05)
    t, s = begun(p, params)
    for _ in range(3):
        s = hybrid_admm.iterate(t, s, None, params)
    found = written_out(t, *hybrid_admm.copies(t, s))
    dual = written_out(t, s.dual_common, s.dual_own)
    k = np.arange(3)

    def lagrangian(g):
        arrives = np.einsum("bka,kbas->bks", t.towards, g)
        mse = np.abs(s.receiver) ** 2 * (np.sum(np.abs(arrives) ** 2, axis=-1) + t.noise_w)
        mse = mse - 2 * np.real(s.receiver * arrives[:, k, k]) + 1
        total = t.rho * np.sum(s.weight * mse) + t.pull * np.sum(np.abs(g - t.located.swapaxes(0, 1)) ** 2)
        return total + s.penalty / 2 * np.sum(np.abs(g - s.written() + dual) ** 2)

    budget = 3 * t.power_w
    assert np.sum(np.abs(found) ** 2) <= budget * (1 + 1e-12)
    rng = np.random.default_rng(0)
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(20):
            other = rng.normal(size=(*found.shape, 2)) @ [1, 1j]
            other = found + size * other * np.linalg.norm(found) / np.linalg.norm(other)
            other *= min(1.0, np.sqrt(budget / np.sum(np.abs(other) ** 2)))
            assert lagrangian(other) > lagrangian(found)


def test_receiver_and_weight_are_of_the_least_mean_squared_error():
    p, params = small(1), Params(chains=4)
    t, s = begun(p, params)
    gains = np.einsum("bka,abs->bks", t.towards, s.common)
    for k in range(3):
        for b in range(4):
            u = s.receiver[b, k]

            def mse(u, k=k, b=b):
                off = u * gains[b, k] - np.eye(3)[k]
                return np.sum(np.abs(off) ** 2) + abs(u) ** 2 * t.noise_w[k]

            assert all(mse(u) <= mse(u * (1 + 1e-3 * turn)) for turn in (1, -1, 1j, -1j))
            assert s.weight[b, k] == pytest.approx(1 / mse(u), rel=1e-9)
    ratio = np.log2(s.weight).mean(axis=0)
    np.testing.assert_allclose(ratio, p.rate(p.gains(s.written()))[0], rtol=1e-9)  # omega = 1 + SINR


@pytest.mark.parametrize("layout", joint.LAYOUTS[1:])
def test_phase_shifters_never_move_away(layout):
    """The printed updates as minimisations of Eq. (47): each brings the product nearer to a random goal."""
    rng = np.random.default_rng(3)
    goal, base = (rng.normal(size=(n, 4, 3, 2)) @ [1, 1j] for n in (16, 4))
    f = joint.analog(rng.uniform(0, 6, 64 if layout == "fully_connected" else 16), layout, 4, 4, 4)
    chain = None if layout == "fully_connected" else joint.chain_of(layout, 4, 4, 4)
    connected = f != 0
    off = [np.inf]
    for _ in range(5):
        off.append(np.linalg.norm(goal - np.einsum("ac,cbs->abs", f, base)))
        assert off[-1] <= off[-2] * (1 + 1e-12)
        f = hybrid_admm.shifters(f, base, goal, chain)
        np.testing.assert_allclose(np.abs(f), connected, atol=1e-12)
    assert off[2] < 0.99 * off[1]


# ---------------------------------------------------------------------------------------------
# Where it starts


def test_alignment_keeps_the_bound_and_takes_the_nearest_turn():
    p = small(2)
    rng = np.random.default_rng(1)
    located, toward = rng.normal(size=(2, 4, 16, 3, 2)) @ [1, 1j]
    turned = hybrid_admm.aligned(located, toward)
    np.testing.assert_allclose(p.speb(p.gains(turned))[0], p.speb(p.gains(located))[0], rtol=1e-9)
    for _ in range(20):
        unitary = np.linalg.qr(rng.normal(size=(4, 3, 3, 2)) @ [1, 1j])[0]
        assert np.linalg.norm(turned - toward) <= np.linalg.norm(located @ unitary - toward)


@pytest.mark.parametrize("rho", [0.3, 0.7, 1.0])
def test_the_digital_precoder_is_stationary(rho):
    """Fixed point of the weighted MMSE iteration, `(A + mu I) W = Psi` with mu from the power, block by block."""
    p = small(3)
    t, communication = hybrid_admm.weighed(p, Params(rho=rho, chains=4))
    w = hybrid_admm.digital(p, t, communication, 2000)
    assert p.total_power_w(w) == pytest.approx(p.power_w, rel=1e-9)
    u, omega = hybrid_admm.receivers(t, w.swapaxes(0, 1), np.zeros((4, 3, 3)))
    curve = rho * omega * np.abs(u) ** 2
    back = t.towards.conj().swapaxes(-1, -2)
    left = back @ (curve[..., None] * (t.towards @ w)) + 3 * t.pull * w
    right = 3 * t.pull * t.located.swapaxes(0, 1) + back * (rho * omega * u.conj())[:, None, :]
    mu = np.vdot(w, right - left).real / np.vdot(w, w).real
    assert np.linalg.norm(left + mu * w - right) < 3e-3 * np.linalg.norm(right)


# ---------------------------------------------------------------------------------------------
# The paper's setting


def test_headline_of_the_paper():
    """About 85 bit/s/Hz and 5 m at 26 dBW, rho 0.7, fully connected, 36 chains; the power is spent."""
    rate, apeb = [], []
    for seed in range(4):
        terminals = paper_drop(seed)
        p = joint.problem(terminals)
        found = hybrid_admm.design(terminals, None, Params())
        w = joint.weights(found, p.rows, p.columns, p.waveform)
        assert p.total_power_w(w) == pytest.approx(p.power_w, rel=1e-9)
        assert int(found.iterations) < Params().iterations
        rate.append(found.rate.sum())
        apeb.append(float(found.apeb_m))
    rates, bounds = p.exact(w)  # every subcarrier by itself, of a precoder a block
    assert rates.sum() == pytest.approx(rate[-1], rel=5e-3)
    assert joint.apeb_m(bounds) == pytest.approx(apeb[-1], rel=1e-3)
    assert np.mean(rate) >= 84.0
    assert np.mean(apeb) <= 5.3


def test_rho_trades_rate_for_position():
    """Pure position reaches the localisation-only bound, pure communication the digital rate."""
    terminals = paper_drop(1)
    p = joint.problem(terminals)
    found = [hybrid_admm.design(terminals, None, Params(rho=rho)) for rho in (0.0, 0.3, 0.7, 1.0)]
    assert (np.diff([x.rate.sum() for x in found]) > 0).all()
    assert (np.diff([float(x.apeb_m) for x in found]) > 0).all()
    least = joint.apeb_m(p.speb(p.gains(position_design.localisation_only(p)))[0])
    assert float(found[0].apeb_m) == pytest.approx(least, rel=0.02)
    t, communication = hybrid_admm.weighed(p, Params(rho=1.0))
    most = p.rate(p.gains(hybrid_admm.digital(p, t, communication)))[0].sum()
    assert found[3].rate.sum() == pytest.approx(most, rel=0.005)


# ---------------------------------------------------------------------------------------------
# Limits


def finite(found):
    return all(np.isfinite(getattr(found, name)).all() for name in ("rate", "bound_m", "phase_rad", "weight_re"))


@pytest.mark.parametrize("layout", joint.LAYOUTS[1:])
@pytest.mark.parametrize("rho", [0.0, 0.7, 1.0])
def test_one_terminal(layout, rho):
    terminals = paper_drop(0, count=1, side=6)
    found = hybrid_admm.design(terminals, None, Params(rho=rho, layout=layout, chains=4, iterations=60))
    assert finite(found)
    best = np.log2(1 + terminals.gamma * terminals.power_w / 512 / terminals.noise_w)
    assert found.rate.sum() <= best * (1 + 1e-9)
    if rho == 1.0:
        assert found.rate.sum() == pytest.approx(best.item(), rel=0.01)


def test_as_many_chains_as_antennas_or_terminals():
    terminals = paper_drop(0, count=4, side=4)
    for chains in (4, 16):
        assert finite(hybrid_admm.design(terminals, None, Params(chains=chains, iterations=30)))


@pytest.mark.parametrize("rho", [0.0, 0.7, 1.0])
def test_terminals_at_the_same_place(rho):
    terminals = paper_drop(0, count=4, side=8)
    together = {"pos_ecef": terminals.pos_ecef[[0, 0, 1, 2]], "gamma": terminals.gamma[[0, 0, 1, 2]]}
    assert finite(hybrid_admm.design(terminals.replace(**together), None, Params(rho=rho, chains=8, iterations=60)))


def test_a_terminal_without_line_of_sight():
    terminals = paper_drop(0, count=3, side=6)
    found = hybrid_admm.design(terminals.replace(kappa=terminals.kappa * [1, 0, 1]), None, Params(chains=6))
    assert finite(found)


def test_no_power():
    found = hybrid_admm.design(replace(paper_drop(0, count=2, side=4), power_w=0.0), None, Params(chains=4))
    assert finite(found)
    assert not found.rate.any()
    assert not found.weight_re.any()
    assert int(found.status) == SHORT


def test_faint_and_loud():
    for power_dbw in (-60.0, 60.0):
        assert finite(hybrid_admm.design(paper_drop(0, power_dbw, 3, side=6), None, Params(chains=9, iterations=60)))


def test_too_few_chains_and_impossible_settings():
    with pytest.raises(ValueError, match="chains: expected at least 9, one for each of 9 terminals, got 4"):
        hybrid_admm.design(paper_drop(0, side=6), None, Params(chains=4))
    with pytest.raises(ValueError, match="chains: expected a divisor of 36 antennas"):
        hybrid_admm.design(paper_drop(0, side=6), None, Params(chains=10, layout="tiles"))
    with pytest.raises(ValueError, match="terminals: expected at least one"):
        hybrid_admm.design(paper_drop(0, count=0, side=4), None, Params(chains=4))
    for setting, words in (
        ({"layout": "digital"}, "layout: expected one of fully_connected"),
        ({"rho": 1.5}, "rho: expected a number from 0 to 1, got 1.5"),
        ({"sd": -1.0}, "sd: expected a number from 0 "),
        ({"shrink": 0.5}, "shrink: expected a number from 1 "),
        ({"chains": 0}, "chains: expected a whole number of at least 1, got 0"),
        ({"iterations": True}, "iterations: expected a whole number"),
    ):
        with pytest.raises(ValueError, match=words):
            Params(**setting)


# ---------------------------------------------------------------------------------------------
# From one epoch to the next


@pytest.mark.parametrize("layout", ["fully_connected", "tiles"])
def test_a_warm_start_goes_on_from_the_precoder_before(layout):
    terminals = paper_drop(2, count=4, side=8)
    params = Params(chains=8, layout=layout)
    cold = hybrid_admm.design(terminals, None, replace(params, iterations=150, tolerance=0.0))
    one, fresh = (hybrid_admm.design(terminals, before, replace(params, iterations=1)) for before in (cold, None))
    w, near, far = (joint.weights(x, 8, 8, terminals.waveform) for x in (cold, one, fresh))
    assert np.linalg.norm(near - w) < 0.5 * np.linalg.norm(far - w)
    for other in (
        cold.replace(user=cold.user + 1),
        cold.replace(sat=np.array(2)),
        cold.replace(weight_re=0 * cold.weight_re, weight_im=0 * cold.weight_im),
        hybrid_admm.design(terminals, None, replace(params, layout="contiguous", iterations=1)),
    ):
        again = hybrid_admm.design(terminals, other, replace(params, iterations=1))
        np.testing.assert_array_equal(again.weight_re, fresh.weight_re)


def test_the_same_in_the_same_out():
    terminals = paper_drop(3, count=4, side=8)
    first, second = (hybrid_admm.design(terminals, None, Params(chains=8, iterations=20)) for _ in range(2))
    np.testing.assert_array_equal(first.weight_re, second.weight_re)
    np.testing.assert_array_equal(first.phase_rad, second.phase_rad)
