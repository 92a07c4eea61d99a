"""Phase shifters against digital precoders: two phasors make any column, alternations never lose."""

from __future__ import annotations

import numpy as np
import pytest
from ical_scene import paper_drop

from leosim import joint, phase_shifters, position_design

rounding = 1e-9


@pytest.fixture(scope="module")
def digital():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 48, 2)) + 1j * rng.normal(size=(3, 48, 2))


def test_two_chains_a_column_make_any_precoder(digital):
    phase = phase_shifters.two_phase(digital, 12, "fully_connected", 6, 8)
    assert phase.shape == (48 * 12,)
    assert phase_shifters.misfit(digital, phase, 12, "fully_connected", 6, 8) < rounding


@pytest.mark.parametrize("chains", [1, 2, 5, 8])
def test_alternations_come_nearer(digital, chains):
    one = digital[:, :, :1]
    start = phase_shifters.two_phase(one, chains, "fully_connected", 6, 8)
    end, baseband = phase_shifters.alternate(one, start, chains, "fully_connected", 6, 8, 8)
    before, after = (phase_shifters.misfit(one, x, chains, "fully_connected", 6, 8) for x in (start, end))
    assert after <= before + rounding
    made = joint.analog(end, "fully_connected", 6, 8, chains) @ baseband
    assert np.linalg.norm(one - made) == pytest.approx(after * np.linalg.norm(one), abs=rounding)


@pytest.mark.parametrize("layout", ["contiguous", "tiles", "interleaved"])
def test_sub_arrays(digital, layout):
    start = phase_shifters.two_phase(digital, 12, layout, 6, 8)
    assert start.shape == (48,)
    end, _ = phase_shifters.alternate(digital, start, 12, layout, 6, 8, 8)
    before, after = (phase_shifters.misfit(digital, x, 12, layout, 6, 8) for x in (start, end))
    random = phase_shifters.misfit(digital, np.random.default_rng(1).uniform(0, 7, 48), 12, layout, 6, 8)
    assert after <= before + rounding < random


def test_sub_arrays_of_one_antenna_are_digital(digital):
    phase = phase_shifters.two_phase(digital, 48, "contiguous", 6, 8)
    assert phase_shifters.misfit(digital, phase, 48, "contiguous", 6, 8) < rounding


def test_more_chains_than_columns_and_nothing_to_send(digital):
    one = digital[:1, :, :1]
    phase = phase_shifters.two_phase(one, 7, "fully_connected", 6, 8)
    assert phase_shifters.misfit(one, phase, 7, "fully_connected", 6, 8) < rounding
    none = phase_shifters.two_phase(np.zeros((1, 48, 1), dtype=complex), 4, "fully_connected", 6, 8)
    assert np.isfinite(none).all()


def test_chains_refused():
    with pytest.raises(ValueError, match="expected at least 9, one for each of 9 terminals, got 8"):
        phase_shifters.check_chains(8, 9, "fully_connected", 24, 24)
    with pytest.raises(ValueError, match="expected at most 576, one for each antenna, got 577"):
        phase_shifters.check_chains(577, 9, "fully_connected", 24, 24)
    with pytest.raises(ValueError, match="expected a divisor of 576 antennas for sub-arrays, got 35"):
        phase_shifters.check_chains(35, 9, "tiles", 24, 24)
    phase_shifters.check_chains(35, 9, "fully_connected", 24, 24)


def test_localisation_only_is_the_least_bound():
    p = joint.problem(paper_drop(1, count=3, side=8))
    w = position_design.localisation_only(p)
    assert p.total_power_w(w) == pytest.approx(p.power_w, rel=rounding)
    least = joint.apeb_m(p.speb(p.gains(w))[0])
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = w + 0.1 * np.abs(w).mean() * (rng.normal(size=w.shape) + 1j * rng.normal(size=w.shape))
        other *= np.sqrt(p.power_w / p.total_power_w(other))
        assert joint.apeb_m(p.speb(p.gains(other))[0]) > least
