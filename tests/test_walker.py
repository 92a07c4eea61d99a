"""Walker patterns: their definition, their symmetry, their altitude, and what is refused."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from element_sets import EPOCH, assert_same_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from sgp4.api import SatrecArray

from leosim.elements import WGS72_J2, brouwer_semi_major_axis_m
from leosim.units import WGS72_SEMI_MAJOR_M, rad_to_deg
from leosim.walkers import kozai_mean_motion_rad_min, walker


@given(
    axis_km=st.floats(6500, 45_000),
    eccentricity=st.floats(0, 0.5),
    inclination_rad=st.floats(0, math.pi),
)
def test_kozai_mean_motion_is_the_inverse(axis_km: float, eccentricity: float, inclination_rad: float) -> None:
    n = kozai_mean_motion_rad_min(axis_km * 1e3, eccentricity, inclination_rad)
    back = brouwer_semi_major_axis_m(np.array([n]), np.array([eccentricity]), np.array([inclination_rad]))
    np.testing.assert_allclose(back, axis_km * 1e3, rtol=1e-13)


def test_a_walker_delta_is_where_its_definition_puts_it() -> None:
    w = walker("56:24/3/1", 23_222, EPOCH)  # Galileo's reference pattern
    assert len(w) == 24
    assert w.sat.tolist() == list(range(1, 25))
    assert w.name[[0, 7, 8, 23]].tolist() == ["WALKER-01-01", "WALKER-01-08", "WALKER-02-01", "WALKER-03-08"]
    raan, anomaly = rad_to_deg(w.raan_rad).reshape(3, 8), rad_to_deg(w.mean_anomaly_rad).reshape(3, 8)
    np.testing.assert_allclose(raan, [[0] * 8, [120] * 8, [240] * 8])
    np.testing.assert_allclose(anomaly[0], np.arange(8) * 45)
    np.testing.assert_allclose(anomaly[1], np.arange(8) * 45 + 15)
    np.testing.assert_allclose(anomaly[2], np.arange(8) * 45 + 30)
    np.testing.assert_allclose(rad_to_deg(w.inclination_rad), 56)
    np.testing.assert_array_equal(w.epoch_ns, int(EPOCH.timestamp()) * 10**9)
    assert w.sources[0].format == "walker"


@settings(max_examples=40)
@given(planes=st.integers(1, 12), per_plane=st.integers(1, 12), data=st.data())
def test_a_walker_delta_maps_onto_itself(planes: int, per_plane: int, data: st.DataObject) -> None:
    """Turning the whole by one plane and by its phase F 360 / T gives the same set of satellites."""
    phasing = data.draw(st.integers(0, planes - 1))
    total = planes * per_plane
    w = walker(f"53:{total}/{planes}/{phasing}", 550, EPOCH)

    def grid(raan_deg: np.ndarray, anomaly_deg: np.ndarray) -> set[tuple[int, int]]:
        p = np.round(raan_deg * planes / 360).astype(int) % planes
        s = np.round(anomaly_deg * total / 360).astype(int) % total
        return set(zip(p.tolist(), s.tolist(), strict=True))

    raan, anomaly = rad_to_deg(w.raan_rad), rad_to_deg(w.mean_anomaly_rad)
    assert len(grid(raan, anomaly)) == total
    assert grid(raan, anomaly) == grid(raan + 360 / planes, anomaly + 360 * phasing / total)


def test_a_walker_star_spreads_its_nodes_over_half_the_equator() -> None:
    w = walker("86.4:66/6/2", 780, EPOCH, kind="star", name="IRI", first_number=90_001)
    np.testing.assert_allclose(np.unique(rad_to_deg(w.raan_rad)), [0, 30, 60, 90, 120, 150], atol=1e-12)
    assert w.name[-1] == "IRI-06-11"
    assert w.sat[0] == 90_001


@pytest.mark.parametrize("inclination_deg", [10.0, 53.0, 90.0])
def test_a_walker_flies_at_its_altitude(inclination_deg: float) -> None:
    """The mean radius of a circular orbit is a - (3/4) J2 R^2 / a (3 cos^2 i - 1), a being the mean axis.

    Around it J2 moves the radius by up to 1.6 km and J3 forces an eccentricity of up to 7 km.
    """
    w = walker(f"{inclination_deg:g}:1584/72/39", 550, EPOCH)
    np.testing.assert_allclose((w.perigee_m + w.apogee_m) / 2, 550e3, atol=1e-6)
    day = np.arange(0, 1, 1 / 288)
    errors, position_km, _ = SatrecArray(w.select([0, 500, 1000, 1583]).satrecs()).sgp4(
        np.full(day.size, w.epoch_jd[0]), w.epoch_fr[0] + day
    )
    assert not errors.any()
    radius_km = np.linalg.norm(position_km, axis=2)
    R, a = WGS72_SEMI_MAJOR_M / 1e3, WGS72_SEMI_MAJOR_M / 1e3 + 550
    offset_km = -0.75 * WGS72_J2 * R**2 / a * (3 * math.cos(math.radians(inclination_deg)) ** 2 - 1)
    ten_metres_km, ten_km = 0.01, 10.0
    np.testing.assert_allclose(radius_km.mean() - a, offset_km, atol=ten_metres_km)
    assert np.abs(radius_km - a - offset_km).max() < ten_km


def test_walker_epochs_with_a_zone_are_turned_to_utc() -> None:
    east = EPOCH.astimezone(timezone(timedelta(hours=2)))
    assert east.hour == 2
    w, utc = walker("53:4/2/1", 550, east), walker("53:4/2/1", 550, EPOCH)
    assert_same_numbers(w, utc)
    assert w.sources == utc.sources


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pattern": "53/1584/72/39"}, "expected inclination:T/P/F such as '53:1584/72/39', got '53/1584/72/39'"),
        ({"pattern": "53:1584/72"}, "expected inclination:T/P/F"),
        ({"pattern": "-5:1584/72/39"}, "expected inclination:T/P/F"),
        ({"pattern": "181:1584/72/39"}, "expected 0 to 180 degrees, got 181"),
        ({"pattern": "53:1585/72/39"}, "expected T a multiple of P, got T = 1585, P = 72; try T = 1584"),
        ({"pattern": "53:1584/0/0"}, "expected T a multiple of P"),
        ({"pattern": "53:0/1/0"}, "expected T a multiple of P"),
        ({"pattern": "53:1584/72/72"}, "expected 0 to P - 1 = 71, got 72; try F = 0"),
        ({"kind": "rosette"}, "expected 'delta' or 'star', got 'rosette'"),
        ({"epoch": datetime(2026, 8, 22)}, "expected a time zone, got 2026-08-22T00:00:00; append Z"),
        ({"altitude_km": 0.0}, "altitude_km: expected more than 0"),
        ({"altitude_km": math.nan}, "altitude_km: expected more than 0"),
        ({"first_number": 999_999_000}, "first_number: expected 1 to 999998416"),
    ],
)
def test_bad_walkers_are_refused(change: dict[str, object], reason: str) -> None:
    given_: dict[str, object] = {"pattern": "53:1584/72/39", "altitude_km": 550, "epoch": EPOCH} | change
    with pytest.raises(ValueError) as caught:
        walker(**given_)  # type: ignore[arg-type]
    assert reason in str(caught.value)
