"""Regularised zero forcing: what a satellite's streams do to each other against what noise does."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leosim import spans
from leosim.channel import Radio
from leosim.records import Beams, Csi


@dataclass(frozen=True)
class Params:
    """regularisation : noise that is counted, in units of sigma2; towards 0 it is sZF, with much of it sMRT."""

    regularisation: float = field(default=1.0, metadata={"doc": "times sigma2 / (rho beta)"})

    def __post_init__(self) -> None:
        value = self.regularisation
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-6 <= value <= 1e6:
            raise ValueError(f"regularisation: expected from 1e-6 to 1e6, got {value!r}")


def beams(csi: Csi, params: Params, radio: Radio) -> Beams:
    """Unit-norm beams `w_k ~ A (A^H A + D)^-1 e_k`, `D = diag(regularisation sigma2 / (rho beta))`, A of the streams.

    The MMSE precoder, not in the paper. It needs no choice of whom to null, and minds neither users in one place
    nor more users than antennas. At 1, all power on one stream, it is SLNR with leakage to the satellite's
    own users; the number of streams would be power in equal shares. Raises nothing.
    """

    def weights(sight: spans.Sight) -> np.ndarray:
        snr = radio.power_to_noise / params.regularisation * sight.beta
        return spans.regularised(sight, sight.streams, snr)

    return spans.beams(csi, radio, weights)
