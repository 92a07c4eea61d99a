"""Element sets that the tests of elements share, and the files they are written to and read from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from leosim.elements import Constellation, read_elements
from leosim.tle import tle_checksum

CATALOGUE = Path(__file__).parents[2] / "shared" / "tle"
EPOCH = datetime(2026, 8, 22, tzinfo=UTC)

ISS = (
    "ISS (ZARYA)             ",
    "1 25544U 98067A   98324.28472222 -.00003657  11563-4  00000+0 0    10",
    "2 25544  51.5908 168.3788 0125362  86.4185 359.7454 16.05064833    05",
)
VANGUARD = (
    "VANGUARD DEB            ",
    "1 69999U 58002D   26189.70990935 -.00000023  00000+0 -70517-5 0  9996",
    "2 69999  34.2417 341.8745 1487004  19.9191 345.3718 11.62373363189308",
)
STARLINK_A5 = (
    "STARLINK-37821          ",
    "1 A0404U 26192A   26263.38590896  .00031477  00000+0  57128-3 0  9992",
    "2 A0404  53.1597 307.1840 0001009  61.6382 298.4729 15.49331404  5885",
)
ISS_OMM = {
    "OBJECT_NAME": "ISS (ZARYA)",
    "OBJECT_ID": "1998-067A",
    "EPOCH": "1998-11-20T06:49:59.999808",
    "MEAN_MOTION": 16.05064833,
    "ECCENTRICITY": 0.0125362,
    "INCLINATION": 51.5908,
    "RA_OF_ASC_NODE": 168.3788,
    "ARG_OF_PERICENTER": 86.4185,
    "MEAN_ANOMALY": 359.7454,
    "EPHEMERIS_TYPE": 0,
    "NORAD_CAT_ID": 25544,
    "BSTAR": 0,
    "MEAN_MOTION_DOT": -0.00003657,
    "MEAN_MOTION_DDOT": 0.000011563,
}
NUMBERS = (
    "sat",
    "epoch_ns",
    "epoch_jd",
    "epoch_fr",
    "mean_motion_rad_min",
    "eccentricity",
    "inclination_rad",
    "raan_rad",
    "argument_of_perigee_rad",
    "mean_anomaly_rad",
    "bstar",
    "ndot_rad_min2",
    "nddot_rad_min3",
)


def lines(*records: tuple[str, ...], end: str = "\n") -> str:
    return "".join(f"{line}{end}" for record in records for line in record)


def with_checksum(line: str) -> str:
    return f"{line[:68]}{tle_checksum(line)}"


def read_text(tmp_path: Path, text: str | bytes, name: str = "elements.txt") -> Constellation:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_elements([path])


def catalogue(name: str) -> Path:
    path = CATALOGUE / name
    if not path.exists():
        pytest.skip(f"no catalogue snapshot {name}")
    return path


def assert_same_numbers(got: Constellation, wanted: Constellation) -> None:
    for name in NUMBERS:
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name), err_msg=name)


def quarantined(constellation: Constellation) -> list[tuple[int, str, int, str]]:
    q = constellation.quarantine
    return list(zip(q.sat.tolist(), q.name.tolist(), q.line.tolist(), q.reason.tolist(), strict=True))


def csv_text(*records: dict[str, object]) -> str:
    rows = [",".join(records[0])] + [",".join(str(value) for value in record.values()) for record in records]
    return "\n".join(rows) + "\n"
