"""Walker patterns: constellations from a formula instead of a file."""

from __future__ import annotations

import hashlib
import math
import re
from datetime import datetime
from typing import Literal

import numpy as np

from leosim.elements import JD_1970, Constellation, Source, brouwer_semi_major_axis_m, ns_since_1970
from leosim.omm import iso
from leosim.tle import LARGEST_NUMBER, NS_PER_DAY
from leosim.units import WGS72_MU_M3_S2, WGS72_SEMI_MAJOR_M, deg_to_rad

WALKER_ECCENTRICITY = 1e-6  # SGP4's own floor, and ten steps of a TLE's last digit


def walker(
    pattern: str,
    altitude_km: float,
    epoch: datetime,
    kind: Literal["delta", "star"] = "delta",
    name: str = "WALKER",
    first_number: int = 1,
) -> Constellation:
    """A Walker constellation `inclination:T/P/F`, such as `53:1584/72/39`.

    T satellites in P planes, circular, without drag; the nodes of the planes are spread over 360 degrees
    (delta) or 180 (star), the first at right ascension 0; satellite s of plane p is at mean anomaly
    360 s P / T + 360 p F / T degrees, with the perigee at the node. Names are NAME-plane-slot, catalogue
    numbers count from `first_number`, plane by plane. The Brouwer semi-major axis is 6378.135 km +
    `altitude_km`; eccentricity 1e-6. Raises ValueError for a bad pattern, an epoch without a time zone,
    or a value out of range. Reference: J. G. Walker, Satellite constellations, J. British
    Interplanetary Society 37 (1984) 559-571.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*:\s*([0-9]+)\s*/\s*([0-9]+)\s*/\s*([0-9]+)\s*", pattern, re.ASCII)
    if match is None:
        raise ValueError(
            f"walker pattern: expected inclination:T/P/F such as '53:1584/72/39', got {pattern!r}; mend it"
        )
    inclination_deg = float(match[1])
    T, P, F = int(match[2]), int(match[3]), int(match[4])
    if inclination_deg > 180.0:
        raise ValueError(f"walker inclination: expected 0 to 180 degrees, got {inclination_deg:g}")
    if T < 1 or P < 1 or T % P:
        nearest = f"; try T = {max(round(T / P), 1) * P}" if P else ""
        raise ValueError(f"walker T/P: expected T a multiple of P, got T = {T}, P = {P}{nearest}")
    if F >= P:
        raise ValueError(f"walker F: expected 0 to P - 1 = {P - 1}, got {F}; try F = {F % P}")
    if kind not in ("delta", "star"):
        raise ValueError(f"walker kind: expected 'delta' or 'star', got {kind!r}")
    if epoch.tzinfo is None:
        raise ValueError(f"walker epoch: expected a time zone, got {epoch.isoformat()}; append Z for UTC")
    if not 0.0 < altitude_km < 100_000.0:
        raise ValueError(f"walker altitude_km: expected more than 0, below 100000, got {altitude_km:g}")
    if not 1 <= first_number <= LARGEST_NUMBER - T + 1:
        raise ValueError(f"walker first_number: expected 1 to {LARGEST_NUMBER - T + 1}, got {first_number}")
    S = T // P
    plane, slot = np.divmod(np.arange(T), S)
    spread = 360.0 if kind == "delta" else 180.0
    anomaly_deg = np.mod(slot * P + plane * F, T) * 360.0 / T  # whole numbers first: no rounding piles up
    mean_motion = kozai_mean_motion_rad_min(
        WGS72_SEMI_MAJOR_M + altitude_km * 1e3, WALKER_ECCENTRICITY, deg_to_rad(inclination_deg)
    )
    epoch_ns = ns_since_1970(epoch)
    day, ns_of_day = divmod(epoch_ns, NS_PER_DAY)
    wide_plane, wide_slot = max(len(str(P)), 2), max(len(str(S)), 2)
    description = f"walker {kind} {match[1]}:{T}/{P}/{F} {altitude_km:g} km {iso(epoch_ns)}"
    return Constellation(
        sat=first_number + np.arange(T),
        name=np.array(
            [
                f"{name}-{p + 1:0{wide_plane}d}-{s + 1:0{wide_slot}d}"
                for p, s in zip(plane.tolist(), slot.tolist(), strict=True)
            ]
        ),
        epoch_ns=np.full(T, epoch_ns),
        epoch_jd=np.full(T, JD_1970 + day),
        epoch_fr=np.full(T, ns_of_day / NS_PER_DAY),
        mean_motion_rad_min=np.full(T, mean_motion),
        eccentricity=np.full(T, WALKER_ECCENTRICITY),
        inclination_rad=np.full(T, deg_to_rad(inclination_deg)),
        raan_rad=deg_to_rad(plane * spread / P),
        argument_of_perigee_rad=np.zeros(T),
        mean_anomaly_rad=deg_to_rad(anomaly_deg),
        bstar=np.zeros(T),
        ndot_rad_min2=np.zeros(T),
        nddot_rad_min3=np.zeros(T),
        file=np.full(T, description),
        line=np.arange(1, T + 1),
        sources=(
            Source(
                file=description,
                sha256=hashlib.sha256(description.encode()).hexdigest(),
                format="walker",
                records=T,
                rejected=0,
                oldest_ns=epoch_ns,
                median_ns=epoch_ns,
                newest_ns=epoch_ns,
            ),
        ),
    )


def kozai_mean_motion_rad_min(semi_major_axis_m: float, eccentricity: float, inclination_rad: float) -> float:
    """Kozai mean motion (rad/min) whose Brouwer semi-major axis is the one given: the inverse, by iteration."""
    n_brouwer = 60.0 * math.sqrt(WGS72_MU_M3_S2 / semi_major_axis_m**3)
    n = n_brouwer
    for _ in range(10):  # each step gains four digits or more
        axis = float(brouwer_semi_major_axis_m(np.asarray(n), np.asarray(eccentricity), np.asarray(inclination_rad)))
        n *= (axis / semi_major_axis_m) ** 1.5
    return n
