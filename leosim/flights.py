"""Where targets truly fly: positions and velocities as functions of time, east-north-up of a radar receiver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Flights:
    """Straight flights of constant velocity in the receiver's east-north-up frame.

    name : of each target; start_enu : [target, xyz] position at t = 0 (m); vel_enu : [target, xyz] (m/s)
    rcs_m2 : [target] monostatic radar cross-section (m^2)
    """

    name: tuple[str, ...]
    start_enu: np.ndarray
    vel_enu: np.ndarray
    rcs_m2: np.ndarray

    def __len__(self) -> int:
        return len(self.name)

    def at(self, t_s: float) -> np.ndarray:
        """Positions [target, xyz] east, north, up of the receiver (m) at t_s since the start."""
        return self.start_enu + t_s * self.vel_enu
