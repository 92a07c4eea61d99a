"""The problem in the span of its directions is the problem of the antennas: nothing is lost."""

import numpy as np
import pytest
from full_precoding import Full, Subproblem, drop, least_rate, over_antennas, sdma_optimum

from leosim import precoding
from leosim.isac import rsma_sdr

SIDE, USERS = 3, 2
one_ten_thousandth_bit = 1e-4
one_millionth_of_the_power = 1e-6


def both(access, radar):
    users, target = drop(4, power_dbw=22.0, side=SIDE, users=USERS)
    reduced, basis = precoding.reduce(users, target, precoding.mode(access, radar))
    return over_antennas(users, target), reduced, basis


def test_both_have_the_same_optimum_without_rate_splitting():
    full, reduced, _ = both("sdma", "sic")
    in_the_span = sdma_optimum(Full(reduced.channel, reduced.target, reduced.asked), 1.0, 8.0)
    over_all = sdma_optimum(full, in_the_span - 0.02, in_the_span + 0.02)
    assert in_the_span == pytest.approx(over_all, abs=one_ten_thousandth_bit)
    found = rsma_sdr.algorithm_1(reduced, rsma_sdr.Params(access="sdma"))
    rate = precoding.evaluate(reduced, found.p).min_rate
    assert 0.995 * over_all <= rate <= over_all + one_ten_thousandth_bit


def test_both_converge_alike_with_rate_splitting():
    """The inner loop of Algorithm 1 from the same powers: cvxpy over all antennas, and real blocks in the span."""
    full, reduced, _ = both("rsma", "no_sequence")
    blocks = rsma_sdr.start(reduced, 0.03)
    powers = np.einsum("kn,jnm,km->kj", reduced.channel, blocks, reduced.channel)
    program = Subproblem(full, common=True, sequence=False, cancelled=True)
    rates = [0.0]
    while len(rates) < 3 or rates[-1] - rates[-2] > 0.3 * one_ten_thousandth_bit:
        program.expand_at(powers)
        _, powers = program.solve()
        rates.append(least_rate(powers, common=True, cancelled=True))
    free = np.zeros(USERS + 2), np.zeros((USERS + 2, reduced.target.size))
    blocks, _ = rsma_sdr.inner_loop(reduced, blocks, *free, rsma_sdr.Params(rate_tolerance=1e-6))
    assert rsma_sdr.least_rate(reduced, blocks) == pytest.approx(rates[-1], abs=one_ten_thousandth_bit)


def test_hermitian_matrices_of_a_real_problem_are_real():
    """What `rsma_sdr` takes for granted: neither the programs nor their constraints of rank leave the real ones."""
    _, reduced, _ = both("rsma", "no_sic")
    full = Full(reduced.channel, reduced.target, reduced.asked)
    program = Subproblem(full, common=True, sequence=True, cancelled=False)
    blocks = rsma_sdr.start(reduced, 0.03)
    powers = np.einsum("kn,jnm,km->kj", reduced.channel, blocks, reduced.channel)
    rank, toward = np.zeros(USERS + 2), np.zeros((USERS + 2, reduced.target.size))
    one_program = rsma_sdr.Params(most_inner=1)
    for _ in range(10):
        program.tighten(rank, toward)
        program.expand_at(powers)
        matrices, powers = program.solve()
        assert np.abs(matrices.imag).max() <= one_millionth_of_the_power
        blocks, _ = rsma_sdr.inner_loop(reduced, blocks, rank, toward, one_program)
        value, vector = np.linalg.eigh(blocks)
        rank, toward = np.minimum(0.999, value[:, -1] / value.sum(axis=1) + 0.1), vector[:, :, -1]
    rate = least_rate(powers, common=True, cancelled=False)
    assert rsma_sdr.least_rate(reduced, blocks) == pytest.approx(rate, abs=one_ten_thousandth_bit)
