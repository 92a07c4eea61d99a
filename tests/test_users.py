"""Users over a circle, on a grid, and from a file of sites."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from leosim import users
from leosim.frames import ecef_to_geodetic, local_axes
from leosim.orbit import zenith_cap


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


# ---------------------------------------------------------------------------------------------
# Users under way

HOUR_NS = 3_600 * 1_000_000_000


def test_a_traveller_stays_on_its_great_circle_at_its_height() -> None:
    """Zeniths of a great circle lie in one plane, arcs are those of a sphere of 6,371 km, heights do not change."""
    start = users.make(
        ["a", "b", "c"], np.radians([48.0, -30.0, 0.0]), np.radians([11.0, 170.0, 0.0]), [0.0, 900.0, 50.0]
    )
    heading = np.radians([30.0, 200.0, 90.0])
    under_way = users.travelling(start, 250.0, heading)
    east, north, up = np.moveaxis(local_axes(start.lat_rad, start.lon_rad), 1, 0)
    ahead = np.sin(heading)[:, None] * east + np.cos(heading)[:, None] * north
    for t_ns in (0, HOUR_NS // 3, 5 * HOUR_NS):
        there, _ = users.at(under_way, t_ns)
        zenith = local_axes(there.lat_rad, there.lon_rad)[:, 2]
        arc = 250.0 * t_ns / 1e9 / (6_371_008.8 + start.alt_m)
        np.testing.assert_allclose(np.einsum("ux,ux->u", zenith, np.cross(up, ahead)), 0.0, atol=1e-12)
        np.testing.assert_allclose(np.einsum("ux,ux->u", zenith, up), np.cos(arc), atol=1e-6)
        np.testing.assert_allclose(ecef_to_geodetic(there.pos_ecef)[2], start.alt_m, atol=1e-6)


def test_velocity_is_the_derivative_of_the_position() -> None:
    start = users.circle(60.0, 20.0, 3_000.0, 20, np.random.default_rng(2), alt_m=11_000.0)
    under_way = users.travelling(start, 240.0, np.linspace(0.0, 6.0, 20))
    there, vel = users.at(under_way, HOUR_NS)
    before, after = (users.at(under_way, HOUR_NS + step)[0].pos_ecef for step in (-1_000_000_000, 1_000_000_000))
    np.testing.assert_allclose(vel, (after - before) / 2.0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(vel, axis=1), 240.0, rtol=0.008)
    east, north, _ = np.moveaxis(local_axes(there.lat_rad, there.lon_rad), 1, 0)  # the heading turns on the way
    towards = np.arctan2(np.einsum("ux,ux->u", vel, east), np.einsum("ux,ux->u", vel, north))
    np.testing.assert_allclose(np.sin(towards - there.heading_rad), 0.0, atol=0.004)


def test_users_at_rest_are_the_very_same() -> None:
    """Caches of the ephemeris know users by identity."""
    ground = users.circle(48.14, 11.58, 200.0, 5, np.random.default_rng(1))
    there, vel = users.at(ground, HOUR_NS)
    assert there is ground
    assert not vel.any()
    assert users.extent(ground, HOUR_NS) is ground


def test_the_extent_spans_every_place_on_the_way() -> None:
    start = users.circle(48.14, 11.58, 200.0, 4, np.random.default_rng(1))
    under_way = users.travelling(start, 250.0, 1.0)
    axis, spread, lowest_m = zenith_cap(users.extent(under_way, HOUR_NS))
    for t_ns in np.linspace(0, HOUR_NS, 23).astype(int).tolist():
        there, _ = users.at(under_way, t_ns)
        up = local_axes(there.lat_rad, there.lon_rad)[:, 2]
        assert np.all(np.arccos(up @ axis) <= spread + 1e-9)
        assert np.all(np.einsum("ux,ux->u", up, there.pos_ecef) >= lowest_m - 100.0)  # a plane between two places
