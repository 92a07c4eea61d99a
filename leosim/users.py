"""Users on the ground: drawn over a circle, on a grid, or from a file of sites; where they are as they travel."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leosim.frames import WGS84_ECCENTRICITY_SQUARED, WGS84_SEMI_MAJOR_M, geodetic_to_ecef, local_axes
from leosim.records import Users
from leosim.units import MEAN_EARTH_RADIUS_M, NS_PER_S, deg_to_rad

EXTENT_PLACES = 9  # along the way of each user, both ends included


def make(
    name: Sequence[str] | np.ndarray,
    lat_rad: np.ndarray,
    lon_rad: np.ndarray,
    alt_m: float | np.ndarray = 0.0,
    mask_rad: float | np.ndarray = 0.0,
) -> Users:
    """Users from geodetic coordinates on WGS-84 [user] (rad, m) and their masks (rad)."""
    lat_rad, lon_rad = np.asarray(lat_rad, dtype=float), np.asarray(lon_rad, dtype=float)
    alt_m, mask_rad = np.broadcast_to(alt_m, lat_rad.shape), np.broadcast_to(mask_rad, lat_rad.shape)
    return Users(
        name=np.asarray(name, dtype=np.str_),
        lat_rad=lat_rad,
        lon_rad=lon_rad,
        alt_m=alt_m,
        mask_rad=mask_rad,
        pos_ecef=geodetic_to_ecef(lat_rad, lon_rad, alt_m),
    )


def _names(count: int) -> list[str]:
    width = max(2, len(str(count)))
    return [f"user-{k + 1:0{width}d}" for k in range(count)]


def _check_range(what: str, value: float, low: float, high: float, unit: str, where: str = "users") -> None:
    if not low <= value <= high:
        raise ValueError(f"{where}: expected {what} from {low:g} to {high:g} {unit}, got {value:g}")


def circle(
    centre_lat_deg: float,
    centre_lon_deg: float,
    radius_km: float,
    count: int,
    rng: np.random.Generator,
    mask_deg: float = 25.0,
    alt_m: float = 0.0,
) -> Users:
    """Users drawn uniformly over a spherical cap, named user-01 on.

    User k takes the k-th pair of the generator's numbers: more users leave the first ones in place.
    Distances are great circles on a sphere of 6,371 km; its latitude is taken as geodetic.

    Raises ValueError for coordinates, radius, count or mask out of range.
    """
    _check_range("a latitude", centre_lat_deg, -90, 90, "degrees")
    _check_range("a longitude", centre_lon_deg, -180, 360, "degrees")
    _check_range("a radius", radius_km, 0, 20_015, "km")
    _check_range("a mask", mask_deg, 0, 89, "degrees")
    if count < 1:
        raise ValueError(f"users: expected at least one, got {count}")
    draws = rng.random((count, 2))
    cos_c = 1.0 - draws[:, 0] * (1.0 - math.cos(1e3 * radius_km / MEAN_EARTH_RADIUS_M))
    sin_c = np.sqrt(np.maximum(0.0, 1.0 - cos_c**2))
    bearing = 2.0 * math.pi * draws[:, 1]
    lat0, lon0 = deg_to_rad(centre_lat_deg), deg_to_rad(centre_lon_deg)
    lat = np.arcsin(np.clip(math.sin(lat0) * cos_c + math.cos(lat0) * sin_c * np.cos(bearing), -1.0, 1.0))
    lon = lon0 + np.arctan2(sin_c * np.sin(bearing) * math.cos(lat0), cos_c - math.sin(lat0) * np.sin(lat))
    lon = (lon + math.pi) % (2.0 * math.pi) - math.pi
    return make(_names(count), lat, lon, alt_m, deg_to_rad(mask_deg))


def grid(
    lat_deg: tuple[float, float],
    lon_deg: tuple[float, float],
    lat_step_deg: float,
    lon_step_deg: float,
    mask_deg: float = 25.0,
    alt_m: float = 0.0,
) -> Users:
    """Users on a grid of latitudes and longitudes, both ends of each range included; south-west first.

    Raises ValueError for a range that is empty or off the globe, a step that is not positive, or more
    than a million points.
    """
    for what, (low, high), step, limit in (
        ("latitude", lat_deg, lat_step_deg, (-90, 90)),
        ("longitude", lon_deg, lon_step_deg, (-180, 360)),
    ):
        _check_range(f"a {what}", low, *limit, "degrees")
        _check_range(f"a {what}", high, *limit, "degrees")
        if high < low or step <= 0:
            raise ValueError(f"users: expected a {what} range and a positive step, got {low} to {high} by {step}")
    _check_range("a mask", mask_deg, 0, 89, "degrees")
    lats = np.arange(lat_deg[0], lat_deg[1] + 1e-9 * lat_step_deg, lat_step_deg)
    lons = np.arange(lon_deg[0], lon_deg[1] + 1e-9 * lon_step_deg, lon_step_deg)
    if len(lats) * len(lons) > 1_000_000:
        raise ValueError(f"users: expected at most a million grid points, got {len(lats) * len(lons)}")
    lat, lon = (points.ravel() for points in np.meshgrid(deg_to_rad(lats), deg_to_rad(lons), indexing="ij"))
    return make(_names(len(lat)), lat, lon, alt_m, deg_to_rad(mask_deg))


def travelling(users: Users, speed_m_s: float, heading_rad: float | np.ndarray) -> Users:
    """The same users under way: speed along great circles (m/s) and heading at the start, from north to east (rad)."""
    return users.replace(
        speed_m_s=np.full(users.name.size, speed_m_s), heading_rad=np.broadcast_to(heading_rad, users.name.shape)
    )


def at(users: Users, t_ns: int) -> tuple[Users, np.ndarray]:
    """Where users are and how fast they move, `t_ns` nanoseconds after the start.

    The geodetic zenith n of a user turns along a great circle, `n(t) = n cos(s) + h sin(s)`, h the heading and
    `s = speed t / (R + height)` with R = 6,371 km; its place is the point of that zenith at the user's height. The
    ellipsoid makes the speed over ground differ by up to 0.7 %. Users that rest are returned as they are.
    Returns the users of the instant and their velocities [user, xyz] in the rotating frame, ITRS (m/s).
    """
    if not users.speed_m_s.any():
        return users, np.zeros((users.name.size, 3))
    east, north, up = np.moveaxis(local_axes(users.lat_rad, users.lon_rad), 1, 0)
    sin_h, cos_h = np.sin(users.heading_rad)[:, None], np.cos(users.heading_rad)[:, None]
    ahead = sin_h * east + cos_h * north
    rate = (users.speed_m_s / (MEAN_EARTH_RADIUS_M + users.alt_m))[:, None]
    turned = rate * (t_ns / NS_PER_S)
    n = np.cos(turned) * up + np.sin(turned) * ahead
    dn = rate * (np.cos(turned) * ahead - np.sin(turned) * up)
    lat_rad, lon_rad = np.arctan2(n[:, 2], np.hypot(n[:, 0], n[:, 1])), np.arctan2(n[:, 1], n[:, 0])
    shrink = np.array([1.0, 1.0, 1.0 - WGS84_ECCENTRICITY_SQUARED])  # the place is N shrink n + height n
    root = np.sqrt(1.0 - WGS84_ECCENTRICITY_SQUARED * n[:, 2:] ** 2)
    curvature_m = WGS84_SEMI_MAJOR_M / root
    its_rate = curvature_m * WGS84_ECCENTRICITY_SQUARED * n[:, 2:] * dn[:, 2:] / root**2
    vel_ecef = (curvature_m * dn + its_rate * n) * shrink + users.alt_m[:, None] * dn
    to_east, to_north = np.einsum("uax,ux->au", local_axes(lat_rad, lon_rad)[:, :2], dn)
    pos_ecef = geodetic_to_ecef(lat_rad, lon_rad, users.alt_m)
    heading_rad = np.arctan2(to_east, to_north)
    return users.replace(lat_rad=lat_rad, lon_rad=lon_rad, heading_rad=heading_rad, pos_ecef=pos_ecef), vel_ecef


def extent(users: Users, end_ns: int) -> Users:
    """Places that span where users come within a run: the users themselves if they rest, else some along each way."""
    if not users.speed_m_s.any():
        return users
    places = [at(users, end_ns * k // (EXTENT_PLACES - 1))[0] for k in range(EXTENT_PLACES)]
    fields = users.array_fields()
    return Users(**{name: np.concatenate([getattr(place, name) for place in places]) for name in fields})


_SITE_COLUMNS = {
    "lat_deg": (-90.0, 90.0, "degrees"),
    "lon_deg": (-180.0, 360.0, "degrees"),
    "alt_m": (-1_000.0, 50_000.0, "m"),
    "mask_deg": (0.0, 89.0, "degrees"),
}


def from_sites(path: str | Path, mask_deg: float = 25.0) -> Users:
    """Users from a CSV file with the columns name, lat_deg, lon_deg and, if wished, alt_m, mask_deg.

    Columns come in any order; without alt_m sites are on the ellipsoid, without mask_deg the mask is
    `mask_deg`. Empty lines and lines that begin with # are skipped.
    Raises ValueError with file, line, what was expected and what was got; OSError for an unreadable file.
    """
    path = Path(path)
    needed, known = ["name", "lat_deg", "lon_deg"], ["name", *_SITE_COLUMNS]
    header: list[str] | None = None
    rows: list[dict[str, float]] = []
    names: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        where = f"{path.name}, line {number}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if header is None:
            if not set(needed) <= set(cells) <= set(known) or len(set(cells)) < len(cells):
                raise ValueError(
                    f"{where}: expected the columns {','.join(needed)} and, if wished, alt_m,mask_deg, "
                    f"got {line.strip()}"
                )
            header = cells
            continue
        if len(cells) != len(header):
            raise ValueError(f"{where}: expected {len(header)} values, got {len(cells)}: {line.strip()}")
        entry = dict(zip(header, cells, strict=True))
        if not entry["name"] or entry["name"] in names:
            raise ValueError(f"{where}: expected a name of its own, got {entry['name']!r}")
        names.append(entry["name"])
        given = {"alt_m": "0", "mask_deg": str(mask_deg), **entry}
        rows.append({key: _site_number(key, given[key], where) for key in _SITE_COLUMNS})
    if not rows:
        raise ValueError(f"{path.name}: expected a line of column names and at least one site, got none")
    lat, lon, alt_m, mask = (np.array([row[key] for row in rows]) for key in _SITE_COLUMNS)
    return make(names, deg_to_rad(lat), deg_to_rad(lon), alt_m, deg_to_rad(mask))


def _site_number(key: str, text: str, where: str) -> float:
    low, high, unit = _SITE_COLUMNS[key]
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{where}: expected {key} as a number in {unit}, got {text!r}") from None
    _check_range(key, value, low, high, unit, where)
    return value
