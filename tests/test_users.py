"""Users over a circle, on a grid, and from a file of sites."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from leosim import users


def test_circle_is_uniform_within_its_radius() -> None:
    ground = users.circle(60.0, 179.0, 2_000.0, 20_000, np.random.default_rng(5), mask_deg=30.0)
    centre = np.radians([60.0, 179.0])
    cos_c = np.sin(ground.lat_rad) * np.sin(centre[0]) + np.cos(ground.lat_rad) * np.cos(centre[0]) * np.cos(
        ground.lon_rad - centre[1]
    )
    distance_km = 6_371.0088 * np.arccos(cos_c)
    assert distance_km.max() <= 2_000.001
    # Area grows as 1 - cos: half of the users within the distance that holds half of the area.
    half = 6_371.0088 * math.acos(1 - 0.5 * (1 - math.cos(2_000 / 6_371.0088)))
    assert np.mean(distance_km < half) == pytest.approx(0.5, abs=0.015)
    assert np.mean(ground.lat_rad > centre[0]) == pytest.approx(0.46, abs=0.05)
    assert (np.abs(ground.lon_rad) <= math.pi).all()
    assert np.degrees(ground.mask_rad[0]) == pytest.approx(30.0)
    assert np.linalg.norm(ground.pos_ecef, axis=1).max() < 6_378_138


def test_circle_users_stay_when_more_are_drawn() -> None:
    few = users.circle(48.0, 11.0, 200.0, 3, np.random.default_rng(7))
    more = users.circle(48.0, 11.0, 200.0, 9, np.random.default_rng(7))
    assert few.name.tolist() == ["user-01", "user-02", "user-03"]
    assert np.array_equal(few.pos_ecef, more.pos_ecef[:3])


def test_grid_covers_both_ends() -> None:
    ground = users.grid((-10, 10), (0, 90), 10, 45)
    assert np.degrees(ground.lat_rad).round(9).tolist() == [-10] * 3 + [0] * 3 + [10] * 3
    assert np.degrees(ground.lon_rad).round(9).tolist() == [0, 45, 90] * 3
    with pytest.raises(ValueError, match=r"latitude.*got 95"):
        users.grid((0, 95), (0, 10), 5, 5)
    with pytest.raises(ValueError, match="positive step"):
        users.grid((0, 10), (0, 10), 0, 5)


HEADER = "name,lat_deg,lon_deg,alt_m,mask_deg"


def test_sites_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "sites.csv"
    file.write_text(f'# stations\n{HEADER}\n\nMunich,48.14,11.58,519,25\n"Porto, PT",41.15,-8.61,90,10\n')
    ground = users.from_sites(file)
    assert ground.name.tolist() == ["Munich", "Porto, PT"]
    assert np.degrees(ground.lat_rad).tolist() == pytest.approx([48.14, 41.15])
    assert ground.alt_m.tolist() == [519, 90]
    assert np.degrees(ground.mask_rad).tolist() == pytest.approx([25, 10])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEADER}\nX,95,0,0,25\n", "sites.csv, line 2: expected lat_deg from -90 to 90 degrees, got 95"),
        (
            f"{HEADER}\nX,1,0,0,25\nY,abc,0,0,25\n",
            "sites.csv, line 3: expected lat_deg as a number in degrees, got 'abc'",
        ),
        (f"{HEADER}\nX,1,nan,0,25\n", "sites.csv, line 2: expected lon_deg from -180 to 360 degrees, got nan"),
        (f"{HEADER}\nX,1,0,25\n", "sites.csv, line 2: expected 5 values, got 4: X,1,0,25"),
        (f"{HEADER}\nX,1,0,0,25\nX,2,0,0,25\n", "sites.csv, line 3: expected a name of its own, got 'X'"),
        (
            "name,lat,lon\nX,1,0\n",
            "sites.csv, line 1: expected the columns name,lat_deg,lon_deg and, if wished, alt_m,mask_deg, "
            "got name,lat,lon",
        ),
        ("", "sites.csv: expected a line of column names and at least one site, got none"),
    ],
)
def test_bad_sites_name_line_expected_and_got(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "sites.csv"
    file.write_text(text)
    with pytest.raises(ValueError) as raised:
        users.from_sites(file)
    assert str(raised.value) == message
