"""Statistical maximum-ratio transmission: each stream along its user's line of sight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leosim.channel import Radio
from leosim.records import Beams, Csi


@dataclass(frozen=True)
class Params:
    """Statistical MRT has no settings."""


def beams(csi: Csi, params: Params, radio: Radio) -> Beams:
    """Unit-norm beams `w = e^(i phase) a / sqrt(N)` of every candidate pair, Eq. (10), Kim et al. 2024.

    Raises nothing; a satellite that may serve nobody has no beam.
    """
    serves = csi.candidate.astype(bool)
    sat, size = np.unique(csi.sat[serves], return_counts=True)
    count = csi.user[serves].size
    return Beams(
        t_ns=csi.t_ns,
        sat=sat,
        direction_size=size,
        stream_size=size,
        cosines=csi.cosines[serves],
        user=csi.user[serves],
        phase_rad=csi.phase_rad[serves],
        term_size=np.ones(count),
        direction=np.arange(count) - np.repeat(np.cumsum(size) - size, size),
        coefficient=np.ones(count),
    )
