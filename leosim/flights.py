"""Where targets truly fly: positions and velocities as functions of time, east-north-up of a radar receiver.

Each target flies straight, turns at a constant rate, or follows waypoints.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline


@dataclass(frozen=True)
class Route:
    """A flight through waypoints: the cubic spline of least bending, straight on before the first and after the last.

    t_s : [point] time of each waypoint since the start (s); pos_enu : [point, xyz] m
    Position, velocity and acceleration are continuous. Raises ValueError for fewer than two waypoints, for
    positions of another number, and for times that do not increase.
    """

    t_s: np.ndarray
    pos_enu: np.ndarray
    spline: CubicSpline = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        t_s, pos_enu = np.asarray(self.t_s, dtype=float), np.asarray(self.pos_enu, dtype=float)
        if t_s.ndim != 1 or t_s.size < 2:
            raise ValueError(f"waypoints: expected at least two, got times of shape {t_s.shape}")
        if pos_enu.shape != (t_s.size, 3):
            raise ValueError(
                f"waypoints: expected {t_s.size} positions of east, north and up, got an array of shape {pos_enu.shape}"
            )
        if not (np.isfinite(t_s).all() and np.isfinite(pos_enu).all()):
            raise ValueError("waypoints: expected finite times and positions")
        if not (np.diff(t_s) > 0.0).all():
            raise ValueError(f"waypoints: expected times that increase, got {', '.join(f'{t:g}' for t in t_s)} s")
        object.__setattr__(self, "t_s", t_s)
        object.__setattr__(self, "pos_enu", pos_enu)
        object.__setattr__(self, "spline", CubicSpline(t_s, pos_enu, bc_type="natural"))

    def at(self, t_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Position [xyz] (m) and velocity [xyz] (m/s), east, north, up of the receiver, at t_s since the start."""
        inside = min(max(t_s, float(self.t_s[0])), float(self.t_s[-1]))
        pos, vel = self.spline(inside), self.spline(inside, 1)
        return pos + (t_s - inside) * vel, vel


@dataclass(frozen=True)
class Flights:
    """Flights of several targets in the receiver's east-north-up frame.

    name : of each target; start_enu : [target, xyz] position at t = 0 (m); vel_enu : [target, xyz] then (m/s)
    rcs_m2 : [target] monostatic radar cross-section (m^2)
    turn_rad_s : [target] rate of turn about the vertical, positive: to the right, heading grows; none by default
    routes : of each target, None for one that flies straight or turns; position and velocity at t = 0 are then the
        route's own, whatever was given; none by default

    Raises ValueError where these are not of one number, or a target on a route turns as well.
    """

    name: tuple[str, ...]
    start_enu: np.ndarray
    vel_enu: np.ndarray
    rcs_m2: np.ndarray
    turn_rad_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    routes: tuple[Route | None, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.name)
        start, velocity = (np.array(x, dtype=float) for x in (self.start_enu, self.vel_enu))
        turn = np.asarray(self.turn_rad_s, dtype=float) if np.size(self.turn_rad_s) else np.zeros(count)
        routes = self.routes or (None,) * count
        for what, given, shape in (
            ("start_enu", start, (count, 3)),
            ("vel_enu", velocity, (count, 3)),
            ("rcs_m2", np.asarray(self.rcs_m2), (count,)),
            ("turn_rad_s", turn, (count,)),
            ("routes", np.empty(len(routes)), (count,)),
        ):
            if given.shape != shape:
                raise ValueError(f"flights of {count} targets: expected {what} of shape {shape}, got {given.shape}")
        for k, route in enumerate(routes):
            if route is not None:
                if turn[k]:
                    raise ValueError(f"target {self.name[k]!r}: expected a rate of turn or waypoints, got both")
                start[k], velocity[k] = route.at(0.0)
        for name, value in (("start_enu", start), ("vel_enu", velocity), ("turn_rad_s", turn), ("routes", routes)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.name)

    def at(self, t_s: float) -> np.ndarray:
        """Positions [target, xyz] east, north, up of the receiver (m) at t_s since the start."""
        return self.states(t_s)[0]

    def velocity(self, t_s: float) -> np.ndarray:
        """Velocities [target, xyz] east, north, up of the receiver (m/s) at t_s since the start."""
        return self.states(t_s)[1]

    def states(self, t_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities, each [target, xyz] (m, m/s), at t_s since the start.

        A turn of rate w carries the level part v of the velocity round: with sinc x = sin x / x,
        `p = p_0 + t (v_up + sinc(w t) v + sinc(w t / 2) sin(w t / 2) v_right)`, at w = 0 the straight flight
        to the last digit.
        """
        angle = self.turn_rad_s * t_s
        forward, aside = np.sinc(angle / np.pi), np.sinc(0.5 * angle / np.pi) * np.sin(0.5 * angle)
        right = self.vel_enu[:, [1, 0, 2]] * (1.0, -1.0, 0.0)
        level = self.vel_enu * (1.0, 1.0, 0.0)
        climb = self.vel_enu * (0.0, 0.0, 1.0)
        pos = self.start_enu + t_s * (forward[:, None] * level + climb + aside[:, None] * right)
        vel = np.cos(angle)[:, None] * level + climb + np.sin(angle)[:, None] * right
        for k, route in enumerate(self.routes):
            if route is not None:
                pos[k], vel[k] = route.at(t_s)
        return pos, vel
