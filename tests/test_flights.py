"""Where targets fly: closed forms, velocities as derivatives, several kinds together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leosim.flights import Flights, Route

one_micrometre = 1e-6
one_millimetre_a_second = 1e-3  # central differences over 2 ms of positions near 1e5 m


def flights(**changes):
    """A straight flight, a right turn at 3 degrees a second, a climbing left turn, and a flight through waypoints."""
    fields = {
        "name": ("straight", "right", "left", "route"),
        "start_enu": 1e3 * np.array([[-28.0, 8.0, 9.0], [0.0, 0.0, 5.0], [10.0, -4.0, 3.0], [0.0, 0.0, 0.0]]),
        "vel_enu": np.array([[190.0, -20.0, 0.0], [0.0, 200.0, 0.0], [150.0, 50.0, 7.0], [0.0, 0.0, 0.0]]),
        "rcs_m2": np.full(4, 20.0),
        "turn_rad_s": np.radians([0.0, 3.0, -1.5, 0.0]),
        "routes": (None, None, None, route()),
    }
    return Flights(**fields | changes)


def route():
    t_s = np.array([10.0, 60.0, 90.0, 200.0])
    return Route(t_s, 1e3 * np.array([[-20.0, 5.0, 8.0], [-10.0, 6.0, 9.0], [-6.0, 2.0, 9.0], [10.0, -3.0, 6.0]]))


def test_straight_flights_are_start_plus_time_times_velocity():
    straight = Flights(
        ("a", "b"), 1e3 * np.array([[-28.1, 8, 9], [3, 1, 7]]), np.array([[191.3, -20, 1], [0, 9, 0]]), [1, 2]
    )
    for t_s in (0.0, 0.1, 77.7):
        np.testing.assert_array_equal(straight.at(t_s), straight.start_enu + t_s * straight.vel_enu)
        np.testing.assert_array_equal(straight.velocity(t_s), straight.vel_enu)


def test_a_right_turn_from_north_is_a_circle_east_of_the_start():
    radius_m = 200.0 / math.radians(3.0)
    pos, vel = flights().states(30.0)  # a quarter of a circle
    np.testing.assert_allclose(pos[1], [radius_m, radius_m, 5000.0], rtol=0, atol=one_micrometre)
    np.testing.assert_allclose(vel[1], [200.0, 0.0, 0.0], rtol=0, atol=one_micrometre)
    np.testing.assert_allclose(flights().at(120.0)[1], [0.0, 0.0, 5000.0], rtol=0, atol=one_micrometre)


def test_a_slow_turn_tends_to_a_straight_flight():
    slow = flights(turn_rad_s=np.array([1e-13, 0, 0, 0]))
    np.testing.assert_allclose(slow.at(300.0)[0], flights().at(300.0)[0], rtol=0, atol=one_micrometre)


@pytest.mark.parametrize("t_s", [0.0, 5.0, 10.0, 47.3, 90.0, 199.0, 200.0, 260.0])
def test_velocities_are_the_derivatives_of_positions(t_s):
    step = 1e-3
    difference = (flights().at(t_s + step) - flights().at(t_s - step)) / (2 * step)
    np.testing.assert_allclose(flights().velocity(t_s), difference, rtol=0, atol=one_millimetre_a_second)


def test_turns_keep_speed_and_climb():
    for t_s in (10.0, 100.0):
        vel = flights().velocity(t_s)[1:3]
        np.testing.assert_allclose(np.hypot(vel[:, 0], vel[:, 1]), [200.0, math.hypot(150.0, 50.0)], rtol=1e-14)
        np.testing.assert_array_equal(vel[:, 2], [0.0, 7.0])


def test_a_route_passes_its_waypoints_and_goes_straight_on():
    r = route()
    for t_s, pos in zip(r.t_s, r.pos_enu, strict=True):
        np.testing.assert_allclose(flights().at(t_s)[3], pos, rtol=0, atol=one_micrometre)
    for end, beyond in ((10.0, 0.0), (200.0, 290.0)):
        pos, vel = r.at(end)
        np.testing.assert_allclose(r.at(beyond)[0], pos + (beyond - end) * vel, rtol=0, atol=one_micrometre)
        np.testing.assert_array_equal(r.at(beyond)[1], vel)


def test_a_route_of_two_waypoints_is_a_straight_flight():
    two = Route(np.array([0.0, 100.0]), np.array([[0.0, 0.0, 9e3], [19e3, -2e3, 8e3]]))
    for t_s in (-20.0, 33.0, 150.0):
        pos, vel = two.at(t_s)
        np.testing.assert_allclose(pos, [190.0 * t_s, -20.0 * t_s, 9e3 - 10.0 * t_s], rtol=0, atol=one_micrometre)
        np.testing.assert_allclose(vel, [190.0, -20.0, -10.0], rtol=0, atol=one_micrometre)


def test_a_route_through_points_of_a_turn_is_the_turn():
    """Away from its ends, where the spline does not know that the turn goes on: error of the fourth power."""

    def error(step_s):
        t_s = np.arange(0.0, 120.0 + step_s, step_s)
        spline = Route(t_s, np.array([flights().at(t)[1] for t in t_s]))
        return max(np.linalg.norm(spline.at(t)[0] - flights().at(t)[1]) for t in np.arange(50.0, 70.0, 0.7))

    coarse, fine = error(4.0), error(2.0)
    assert fine < 0.1
    assert 12.0 < coarse / fine < 20.0


def test_a_flight_on_a_route_starts_where_the_route_is():
    pos, vel = route().at(0.0)
    np.testing.assert_array_equal(flights().start_enu[3], pos)
    np.testing.assert_array_equal(flights().vel_enu[3], vel)
    assert len(flights()) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start_enu": np.zeros((3, 3))}, "start_enu of shape"),
        ({"turn_rad_s": np.zeros(3)}, "turn_rad_s of shape"),
        ({"routes": (None,)}, "routes of shape"),
        ({"turn_rad_s": np.full(4, 0.1)}, "or waypoints, got both"),
    ],
)
def test_flights_that_do_not_fit_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        flights(**change)


@pytest.mark.parametrize(
    ("t_s", "pos_enu", "said"),
    [
        ([0.0], [[0.0, 0.0, 0.0]], "at least two"),
        ([0.0, 1.0], [[0.0, 0.0, 0.0]], "expected 2 positions"),
        ([0.0, 1.0, 1.0], np.zeros((3, 3)), "times that increase"),
        ([0.0, np.nan], np.zeros((2, 3)), "finite"),
    ],
)
def test_waypoints_that_make_no_route_are_refused(t_s, pos_enu, said):
    with pytest.raises(ValueError, match=said):
        Route(np.array(t_s), np.array(pos_enu))
