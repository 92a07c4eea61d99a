"""Position information: against numerical differentiation of received signals, and against the paper's angles."""

from __future__ import annotations

import numpy as np
import pytest
from ical_scene import paper_drop

from leosim import fisher, joint
from leosim.fisher import Nuisance


def _gains(p, seed=0):
    rng = np.random.default_rng(seed)
    shape = (p.terminals, p.waveform.blocks, 3, p.terminals)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


@pytest.mark.parametrize(
    "nuisance", [Nuisance(), Nuisance(1e-5, 1e-8, 100.0), Nuisance(carrier_hz=np.inf)], ids=["known", "some", "unknown"]
)
def test_speb_gradient(nuisance):
    p = joint.problem(paper_drop(1, count=3, side=6))
    gains, step, h = _gains(p), _gains(p, 1), 1e-6

    def total(t):
        return fisher.speb(gains + t * step, p.link, p.waveform, p.slope, nuisance)[0].sum()

    gradient = fisher.speb(gains, p.link, p.waveform, p.slope, nuisance)[1]
    assert 2.0 * np.real(np.sum(gradient.conj() * step)) == pytest.approx((total(h) - total(-h)) / (2 * h), rel=1e-6)


def test_rate_gradient():
    p = joint.problem(paper_drop(1, count=3, side=6))
    gains, step, h = _gains(p), _gains(p, 1), 1e-6
    slope = (p.rate(gains + h * step)[0].sum() - p.rate(gains - h * step)[0].sum()) / (2 * h)
    assert 2.0 * np.real(np.sum(p.rate(gains)[1].conj() * step[:, :, 0])) == pytest.approx(slope, rel=1e-8)
