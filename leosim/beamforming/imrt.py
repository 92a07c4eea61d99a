"""Maximum-ratio transmission on channels estimated from uplink pilots: cell-free massive MIMO as on the ground."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leosim.beamforming import smrt
from leosim.channel import Radio
from leosim.records import Beams, Csi
from leosim.units import dbm_to_w


@dataclass(frozen=True)
class Params:
    """tau_p : orthogonal pilots, of which user i sends the one of number i modulo tau_p; eta_dbm : power of a pilot."""

    tau_p: int = field(default=4, metadata={"doc": "orthogonal uplink pilots"})
    eta_dbm: float = field(default=30.0, metadata={"doc": "power of a user's pilot (dBm)"})

    def __post_init__(self) -> None:
        if isinstance(self.tau_p, bool) or not isinstance(self.tau_p, int) or self.tau_p < 1:
            raise ValueError(f"tau_p: expected a whole number of at least 1, got {self.tau_p!r}")
        if (
            isinstance(self.eta_dbm, bool)
            or not isinstance(self.eta_dbm, int | float)
            or not -100 <= self.eta_dbm <= 100
        ):
            raise ValueError(f"eta_dbm: expected from -100 to 100 dBm, got {self.eta_dbm!r}")


def beams(csi: Csi, params: Params, radio: Radio) -> Beams:
    """Beams along the MMSE estimate of each channel, normalised in the mean, Eqs. (39)-(46), Kim et al. 2024.

    The channel is one random scalar times a known steering vector, so the estimate is too: the beams are those
    of sMRT times random weights, which `rates.couplings` makes from the pilots described here. A
    satellite's noise is taken to be that of a user. The time pilots take is not charged. Raises nothing.
    """
    return smrt.beams(csi, smrt.Params(), radio).replace(
        pilots=np.array(params.tau_p), pilot_noise=np.array(radio.noise_w / dbm_to_w(params.eta_dbm))
    )
