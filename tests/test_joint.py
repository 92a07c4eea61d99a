"""The joint problem: rates against fading draws, its records, and the least bound against a semidefinite program."""

from __future__ import annotations

import math

import cvxpy as cp
import numpy as np
import pytest
from ical_scene import paper_drop

from leosim import fisher, joint, ofdm, position_design
from leosim.ical import codebook
from leosim.records import Terminals


def small(count: int = 2, side: int = 4) -> Terminals:
    """Few terminals, antennas and subcarriers."""
    wave = ofdm.Waveform(carrier_hz=2e9, spacing_hz=2e5, subcarriers=8, blocks=2, slots=3)
    return paper_drop(3, count=count, side=side).replace(waveform=wave)


def test_rate_against_fading():
    """Eq. (13) bounds the ergodic rate of Eq. (5)'s Rician gains from above, closely: 0.5 %."""
    terminals = paper_drop(0)
    p = joint.problem(terminals)
    space = position_design.whole(p)
    gains = position_design.gains_of(p, space, position_design.regularised_zero_forcing(p, space))
    bound = p.rate(gains)[0].sum()
    rng = np.random.default_rng(0)
    kappa, draws = terminals.kappa[:, None], 4000
    scatter = (rng.normal(size=(9, draws)) + 1j * rng.normal(size=(9, draws))) / math.sqrt(2.0)
    fading = np.abs(np.sqrt(kappa / (1 + kappa)) + scatter / np.sqrt(1 + kappa)) ** 2 * terminals.gamma[:, None]
    power = np.abs(gains[:, :, 0]) ** 2
    wanted = np.einsum("kbk->kb", power)
    others = power.sum(axis=2) - wanted
    ergodic = 0.0
    for k in range(9):
        g = fading[k][:, None]
        ergodic += np.mean(np.log2(1 + g * wanted[k] / (g * others[k] + terminals.noise_w[k])))
    assert 0.995 * bound < ergodic < bound * (1 + 1e-3)


def test_rate_of_one_terminal():
    """Alone with its beam: `log2(1 + gamma P / (N_sc N_0))`."""
    terminals = paper_drop(0, count=1, side=8)
    record = codebook.design(terminals, None, codebook.Params())
    snr = terminals.gamma[0] * terminals.power_w / 512 / terminals.noise_w[0]
    assert record.rate[0] == pytest.approx(math.log2(1 + snr), rel=1e-9)


def test_permuted_terminals_permuted_results():
    terminals = small(3)
    p, order = joint.problem(terminals), np.array([2, 0, 1])
    names = ("user", "pos_ecef", "vel_ecef", "gamma", "kappa", "noise_w")
    q = joint.problem(terminals.replace(**{name: getattr(terminals, name)[order] for name in names}))
    rng = np.random.default_rng(0)
    w = rng.normal(size=(2, 16, 3)) + 1j * rng.normal(size=(2, 16, 3))
    np.testing.assert_allclose(q.rate(q.gains(w[:, :, order]))[0], p.rate(p.gains(w))[0][order], rtol=1e-12)
    np.testing.assert_allclose(q.speb(q.gains(w[:, :, order]))[0], p.speb(p.gains(w))[0][order], rtol=1e-9)


@pytest.mark.parametrize("layout", ["contiguous", "tiles", "interleaved"])
def test_sub_arrays_share_the_antennas(layout):
    chain = joint.chain_of(layout, 6, 8, 12)
    np.testing.assert_array_equal(np.bincount(chain), np.full(12, 4))
    if layout == "tiles":
        rows, columns = np.divmod(np.arange(48), 8)
        for c in range(12):
            assert np.ptp(rows[chain == c]) == 1
            assert np.ptp(columns[chain == c]) == 1


def _least_by_sdp(p):
    """The least sum of bounds (m^2) by the paper's program (30) in the span (31), without its rank constraint.

    With next to no scattered power the information is linear in C, so the program is exact. Positions along and
    across the line of sight, all scaled to unit diagonals.
    """
    dim, reach = 3 * p.terminals, position_design.whole(p).reach
    core = fisher.kernel(p.waveform)
    share = position_design.budget(p) / p.waveform.blocks / dim
    c = [cp.Variable((dim, dim), hermitian=True) for _ in range(p.waveform.blocks)]
    constraints = [one >> 0 for one in c] + [sum(cp.real(cp.trace(one)) for one in c) <= p.waveform.blocks * dim]
    cost = 0.0
    for k in range(p.terminals):
        a = reach[:, k :: p.terminals]  # its response and two derivatives
        weight = 2.0 * p.link.gamma[k] / p.link.noise_w[k] * share
        forms = weight * np.einsum("bijrs,bre,bsd->bijed", core, a.conj(), a)  # J_ij = Re sum tr(form C)
        gamma = np.zeros((5, 6))
        gamma[:3, :4], gamma[3:, 4:] = p.towards[k].T @ p.slope[k], np.eye(2)
        forms = np.einsum("xi,yj,bijed->bxyed", gamma, gamma, forms)
        size = 1.0 / np.sqrt(np.einsum("bxxee->x", forms).real)
        forms = forms * np.outer(size, size)[:, :, None, None]
        entry = [
            [
                sum(cp.real(cp.sum(cp.multiply(f[x, y], one.T))) for f, one in zip(forms, c, strict=True))
                for y in range(5)
            ]
            for x in range(5)
        ]
        j = cp.bmat(entry)
        m = cp.Variable((3, 3), symmetric=True)
        e = np.eye(5)[:, :3]
        constraints.append(cp.bmat([[m, e.T], [e, 0.5 * (j + j.T)]]) >> 0)
        cost += cp.sum(cp.multiply(size[:3] ** 2, cp.diag(m)))
    problem = cp.Problem(cp.Minimize(cost), constraints)
    problem.solve(solver=cp.CLARABEL)
    assert problem.status == cp.OPTIMAL
    return float(problem.value)


def test_least_bound_against_a_semidefinite_program():
    """Quasi-Newton steps over K streams reach the optimum over all covariances."""
    terminals = small()
    p = joint.problem(terminals.replace(kappa=np.full(2, 1e12)))
    ours = p.speb(p.gains(position_design.localisation_only(p)))[0].sum()
    oracle = _least_by_sdp(p)
    assert oracle * (1 - 1e-5) <= ours <= oracle * 1.01
