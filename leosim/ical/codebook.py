"""Directional beams: each stream a beam on its terminal, all of one power; the baseline of You et al. 2024.

No design at all, so the bound that is asked is met only by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leosim import joint
from leosim.records import IcalPrecoder, Terminals


@dataclass(frozen=True)
class Params:
    """It has no settings."""


def design(terminals: Terminals, previous: IcalPrecoder | None, params: Params) -> IcalPrecoder:
    """The precoder `W_b = sqrt(P / (K N_sc)) [v_1^*, ..., v_K^*]`, section V of You et al. 2024."""
    p = joint.problem(terminals)
    given = np.zeros((p.waveform.blocks, p.terminals, 3, p.terminals), dtype=complex)
    own = np.arange(p.terminals)
    given[:, own, 0, own] = 1.0
    return joint.record(terminals, p, given.reshape(p.waveform.blocks, 3 * p.terminals, p.terminals), 0)
