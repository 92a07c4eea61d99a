"""Statistical SLNR: each stream as strong at its user, for what it leaks to others, as can be."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leosim import spans
from leosim.channel import Radio
from leosim.records import Beams, Csi

LEAKAGE = ("all", "own")


@dataclass(frozen=True)
class Params:
    """leakage : to `all` users in view of the satellite, or to its `own`, those it may serve."""

    leakage: str = field(default="all", metadata={"doc": "all users in view, or own: those the satellite may serve"})

    def __post_init__(self) -> None:
        if self.leakage not in LEAKAGE:
            raise ValueError(f"leakage: expected one of {', '.join(LEAKAGE)}, got {self.leakage!r}")


def beams(csi: Csi, params: Params, radio: Radio) -> Beams:
    """Unit-norm beams `w_k ~ (sum_{j != k} beta_j a_j a_j^H + sigma2/rho I)^-1 a_k`.

    They maximise `beta_k |a_k^H w|^2 / (sum_{j != k} beta_j |a_j^H w|^2 + sigma2/rho)`, all power on one
    stream. Leaving j = k in the sum only scales w, so one factorisation serves all streams of a satellite.
    The single-satellite baseline of Kim et al. 2024, who do not say whom leakage is counted to. Raises nothing.
    """

    def weights(sight: spans.Sight) -> np.ndarray:
        counted = np.arange(sight.beta.size) if params.leakage == "all" else sight.streams
        return spans.regularised(sight, counted, radio.power_to_noise * sight.beta)

    return spans.beams(csi, radio, weights)
