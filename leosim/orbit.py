"""Satellites at a time, and what each user sees of them: propagation and geometry.

SGP4 positions in ITRS (exact, or knots with cubic Hermite between), and one fused kernel for the geometry of
all pairs above a mask.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numba import njit
from sgp4.api import SatrecArray

from leosim.frames import (
    EARTH_ROTATION_RAD_S,
    earth_orientation,
    julian_date,
    local_axes,
    teme_to_itrs_matrices,
)
from leosim.records import Geometry, Satellites, Users
from leosim.units import ns_to_s, s_to_ns

if TYPE_CHECKING:
    from leosim.elements import Constellation

EPOCHS_A_BLOCK = 32  # SatrecArray is fastest with 1 to 32 epochs a call
BLOCKS_KEPT = 3
FOLLOW_S = 1_800.0  # a pass in progress at the end of the window is followed this far to its set
# No satellite above the ground and slower than 14 km/s exceeds this in the rotating frame (m/s^2):
# gravity 9.9, Coriolis 2 omega v <= 2.1, centrifugal of opposite sign or below 0.3.
ACCELERATION_BOUND_M_S2 = 12.5
HERMITE_SLACK_M = 30.0
SLOPE_BOUND_M_S = 5.0


# ---------------------------------------------------------------------------------------------
# Propagation


def propagate(
    constellation: Constellation, t_utc_ns: int | np.ndarray, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions and velocities of satellites by SGP4 (WGS-72), in ITRS, at one or several instants.

    SGP4's state is built at each call; an `Ephemeris` keeps it.

    Parameters
        t_utc_ns : UTC in nanoseconds since 1970, one instant or an array [epoch]
        rows : rows of the constellation to propagate, in any order; all of them by default

    Returns
        pos_ecef : [sat, xyz] or [epoch, sat, xyz], m; NaN where SGP4 fails
        vel_ecef : [sat, xyz] or [epoch, sat, xyz], velocity in the rotating frame, m/s; NaN where SGP4 fails
        err : [sat] or [epoch, sat] uint8, SGP4 error code (`sgp4.api.SGP4_ERRORS`); 0: none

    An error code of 0 does not make a position plausible; `windows.prepass` gates that.
    Raises ValueError for a time outside the Earth orientation table (`frames.earth_orientation`).
    """
    chosen = constellation
    if rows is not None:
        unique, place = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
        chosen = constellation.select(unique)
    pos, vel, err = _propagate(_satrec_array(chosen.satrecs()), np.atleast_1d(t_utc_ns), len(chosen))
    if rows is not None:
        pos, vel, err = pos[:, place], vel[:, place], err[:, place]
    return (pos, vel, err) if np.ndim(t_utc_ns) else (pos[0], vel[0], err[0])


def _satrec_array(satrecs: Sequence[Any]) -> Any:
    return SatrecArray(list(satrecs)) if len(satrecs) else None


def _propagate(satrecs: Any, t_utc_ns: np.ndarray, sat_count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`propagate` for a SatrecArray (None: no satellite) and epochs [epoch], in blocks of epochs."""
    epoch_count = len(t_utc_ns)
    pos = np.empty((epoch_count, sat_count, 3))
    vel = np.empty((epoch_count, sat_count, 3))
    err = np.zeros((epoch_count, sat_count), dtype=np.uint8)
    to_pef, to_itrs = teme_to_itrs_matrices(t_utc_ns)
    jd, fraction = julian_date(t_utc_ns)
    for first in range(0, epoch_count if sat_count else 0, EPOCHS_A_BLOCK):
        block = slice(first, min(first + EPOCHS_A_BLOCK, epoch_count))
        code, pos_teme_km, vel_teme_km_s = satrecs.sgp4(jd[block], fraction[block])
        _teme_to_itrs(
            code, pos_teme_km, vel_teme_km_s, to_pef[block], to_itrs[block], pos[block], vel[block], err[block]
        )
    return pos, vel, err


@njit(cache=True, nogil=True)
def _teme_to_itrs(
    code: np.ndarray,
    pos_teme_km: np.ndarray,
    vel_teme_km_s: np.ndarray,
    to_pef: np.ndarray,
    to_itrs: np.ndarray,
    pos: np.ndarray,
    vel: np.ndarray,
    err: np.ndarray,
) -> None:
    """r = W R r_teme, v = W (R v_teme - omega x R r_teme), from [sat, epoch] in km to [epoch, sat] in m."""
    sat_count, epoch_count = code.shape
    for t in range(epoch_count):
        R, W = to_pef[t], to_itrs[t]
        for j in range(sat_count):
            err[t, j] = code[j, t]
            if code[j, t] != 0:
                for a in range(3):
                    pos[t, j, a] = np.nan
                    vel[t, j, a] = np.nan
                continue
            x, y, z = pos_teme_km[j, t, 0], pos_teme_km[j, t, 1], pos_teme_km[j, t, 2]
            u, v, w = vel_teme_km_s[j, t, 0], vel_teme_km_s[j, t, 1], vel_teme_km_s[j, t, 2]
            rx = R[0, 0] * x + R[0, 1] * y + R[0, 2] * z
            ry = R[1, 0] * x + R[1, 1] * y + R[1, 2] * z
            rz = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z
            vx = R[0, 0] * u + R[0, 1] * v + R[0, 2] * w + EARTH_ROTATION_RAD_S * ry
            vy = R[1, 0] * u + R[1, 1] * v + R[1, 2] * w - EARTH_ROTATION_RAD_S * rx
            vz = R[2, 0] * u + R[2, 1] * v + R[2, 2] * w
            for a in range(3):
                pos[t, j, a] = 1e3 * (W[a, 0] * rx + W[a, 1] * ry + W[a, 2] * rz)
                vel[t, j, a] = 1e3 * (W[a, 0] * vx + W[a, 1] * vy + W[a, 2] * vz)


# ---------------------------------------------------------------------------------------------
# Ephemeris


@dataclass(frozen=True)
class Block:
    """Knots `first` to `first + len(pos) - 1`: pos and vel [knot, sat, xyz], err [knot, sat]."""

    first: int
    pos: np.ndarray
    vel: np.ndarray
    err: np.ndarray


class Knots:
    """Positions at knots, computed a block at a time when asked for; the last few blocks are kept.

    A block depends on its number only, so what a reader gets does not depend on who asked before.
    """

    def __init__(self, constellation: Constellation, start_utc_ns: int, knot_ns: int, count: int) -> None:
        self.satrecs = constellation.satrecs()
        self.sat_count = len(constellation)
        self.start_utc_ns, self.knot_ns, self.count = start_utc_ns, knot_ns, count
        self._array = _satrec_array(self.satrecs)
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        # Also around every call of SGP4: resonant (deep space) satellites keep state in their Satrec.
        self.lock = threading.RLock()

    def block(self, number: int) -> Block:
        """Block `number`: its 32 intervals have 33 knots, the last one shared with the next block."""
        with self.lock:
            if number not in self._blocks:
                first = number * EPOCHS_A_BLOCK
                self._blocks[number] = self.sampled(first, min(EPOCHS_A_BLOCK + 1, self.count - first))
            self._blocks.move_to_end(number)
            while len(self._blocks) > BLOCKS_KEPT:
                self._blocks.popitem(last=False)
            return self._blocks[number]

    def sampled(self, first: int, count: int, rows: np.ndarray | None = None) -> Block:
        """Knots `first` to `first + count - 1`, with the velocities of `_slopes`."""
        knots = np.arange(first - 2, first + count + 2, dtype=np.int64)
        pos, vel, err = self.propagate(knots * self.knot_ns, rows)
        slopes = _slopes(pos, vel, ns_to_s(self.knot_ns))
        return Block(first, pos[2:-2].copy(), slopes, err[2:-2].copy())

    def propagate(self, t_ns: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """SGP4 at times [epoch] since the start; `rows` chooses satellites."""
        with self.lock:
            if rows is None:
                return _propagate(self._array, self.start_utc_ns + t_ns, self.sat_count)
            chosen = _satrec_array([self.satrecs[row] for row in rows])
            return _propagate(chosen, self.start_utc_ns + t_ns, len(rows))


@njit(cache=True, nogil=True)
def _slopes(pos: np.ndarray, vel: np.ndarray, h: float) -> np.ndarray:
    """dr/dt at all knots but two at either end, by the five-point rule: [knot, sat, xyz], m/s.

    SGP4's velocity is not quite the derivative of its position (0.01 m/s off as a rule, metres a second
    with strong drag or eccentricity), which costs cubic Hermite up to 12 m; these slopes leave 0.04 m.
    Next to a failure the rule would mix in garbage: SGP4's velocity stands in.
    """
    count, sat_count = len(pos) - 4, pos.shape[1]
    slopes = np.empty((count, sat_count, 3))
    for k in range(count):
        for j in range(sat_count):
            off = 0.0
            for a in range(3):
                near = pos[k + 3, j, a] - pos[k + 1, j, a]
                far = pos[k + 4, j, a] - pos[k, j, a]
                slopes[k, j, a] = (8.0 * near - far) / (12.0 * h)
                off += abs(slopes[k, j, a] - vel[k + 2, j, a])
            if not off < SLOPE_BOUND_M_S:  # also for NaN
                for a in range(3):
                    slopes[k, j, a] = vel[k + 2, j, a]
    return slopes


class Ephemeris:
    """Where the satellites of a constellation are between two instants.

    Parameters
        constellation : the satellites, by catalogue number
        start_utc_ns, end_utc_ns : UTC in nanoseconds since 1970; both ends belong to the window
        mode : "knots", SGP4 at knots and cubic Hermite in ITRS between them (0.04 m from SGP4 at 30 s; its
            velocity is the derivative of the position, 0.01 m/s from SGP4's own); "exact", SGP4 at each
            instant asked for (some 20 times slower)
        knot_s : distance of the knots (s)
        fail_ns : [sat] int64, time since the start from which each satellite is out, -1 never
            (`windows.Prepass.fail_ns`); without it a satellite is out at each instant SGP4 fails, and only there

    Reading is thread-safe, and what is read does not depend on the order of reading.
    Raises ValueError for an empty window, an unknown mode, or a time without Earth orientation.
    """

    def __init__(
        self,
        constellation: Constellation,
        start_utc_ns: int,
        end_utc_ns: int,
        mode: Literal["knots", "exact"] = "knots",
        knot_s: float = 30.0,
        fail_ns: np.ndarray | None = None,
    ) -> None:
        if end_utc_ns < start_utc_ns:
            raise ValueError(f"ephemeris: expected an end after the start, got {end_utc_ns - start_utc_ns} ns")
        if mode not in ("knots", "exact"):
            raise ValueError(f'ephemeris: expected mode "knots" or "exact", got {mode!r}')
        if not 1.0 <= knot_s <= 60.0:
            raise ValueError(f"ephemeris: expected knots 1 to 60 s apart, got {knot_s} s")
        self.constellation = constellation
        self.start_utc_ns, self.end_utc_ns = int(start_utc_ns), int(end_utc_ns)
        self.duration_ns = self.end_utc_ns - self.start_utc_ns
        self.mode = mode
        self.knot_ns = s_to_ns(knot_s)
        self.interval_count = max(1, -(-self.duration_ns // self.knot_ns))
        last_ns = self.start_utc_ns + self.interval_count * self.knot_ns + s_to_ns(FOLLOW_S)
        earth_orientation(np.array([self.start_utc_ns - 2 * self.knot_ns, last_ns + 2 * self.knot_ns]))
        self.knots = Knots(constellation, self.start_utc_ns, self.knot_ns, self.interval_count + 1)
        self._culled: OrderedDict[tuple[int, int], tuple[Users, np.ndarray]] = OrderedDict()
        self.fail_ns = self._checked_failures(fail_ns)

    def with_failures(self, fail_ns: np.ndarray) -> Self:
        """The same ephemeris (and the knots it has computed) with latched failures."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._culled = OrderedDict()
        other.fail_ns = self._checked_failures(fail_ns)
        return other

    def _checked_failures(self, fail_ns: np.ndarray | None) -> np.ndarray | None:
        if fail_ns is None:
            return None
        fail_ns = np.array(fail_ns, dtype=np.int64)
        if fail_ns.shape != (len(self.constellation),):
            raise ValueError(
                f"fail_ns: expected one time for each of {len(self.constellation)} satellites, "
                f"got an array of shape {fail_ns.shape}"
            )
        return fail_ns

    def at(self, t_ns: int) -> Satellites:
        """The satellites alive `t_ns` nanoseconds after the start.

        Raises ValueError for a time outside the window.
        """
        _, alive = self._alive(t_ns)
        return self._satellites(t_ns, np.flatnonzero(alive))

    def near(self, users: Users, t_ns: int) -> Satellites:
        """As `at`, without satellites below every user's horizon during the whole knot interval.

        What is left out is nowhere above elevation 0 (`_reach_cap`), so the geometry is the same and the
        work a tenth for users in one region.
        """
        interval, alive = self._alive(t_ns)
        key = (id(users), interval)
        with self.knots.lock:
            known = self._culled.get(key)
            if known is None:
                known = (users, self._cull(users, interval))  # holding users keeps its id from being reused
                self._culled[key] = known
                while len(self._culled) > 4:
                    self._culled.popitem(last=False)
        rows = known[1]
        return self._satellites(t_ns, rows[alive[rows]])

    def _interval(self, t_ns: int) -> tuple[int, Block, int]:
        """The knot interval that holds t, its block, and its place in the block."""
        if not 0 <= t_ns <= self.duration_ns:
            raise ValueError(
                f"ephemeris: expected a time between 0 and {ns_to_s(self.duration_ns)} s after the start, "
                f"got {ns_to_s(int(t_ns))} s"
            )
        interval = min(int(t_ns) // self.knot_ns, self.interval_count - 1)
        block = self.knots.block(interval // EPOCHS_A_BLOCK)
        return interval, block, interval - block.first

    def _alive(self, t_ns: int) -> tuple[int, np.ndarray]:
        interval, block, k = self._interval(t_ns)
        alive = (block.err[k] | block.err[k + 1]) == 0
        if self.fail_ns is not None:
            alive &= (self.fail_ns < 0) | (t_ns < self.fail_ns)
        return interval, alive

    def _cull(self, users: Users, interval: int) -> np.ndarray:
        block = self.knots.block(interval // EPOCHS_A_BLOCK)
        k = interval - block.first
        usable = (block.err[k] | block.err[k + 1]) == 0
        near = _reach_cap(
            block.pos[k], block.vel[k], block.pos[k + 1], block.vel[k + 1], usable, *zenith_cap(users), self._half_s
        )
        return np.flatnonzero(near)

    @property
    def _half_s(self) -> float:
        return 0.5 * ns_to_s(self.knot_ns)

    def _satellites(self, t_ns: int, rows: np.ndarray) -> Satellites:
        if self.mode == "exact":
            every = len(rows) == len(self.constellation)
            pos, vel, err = self.knots.propagate(np.array([t_ns], dtype=np.int64), None if every else rows)
            good = np.flatnonzero(err[0] == 0)
            return Satellites(int(t_ns), self.constellation.sat[rows[good]], pos[0, good], vel[0, good])
        _, block, k = self._interval(t_ns)
        s_s = ns_to_s(int(t_ns) - (block.first + k) * self.knot_ns)
        pos_ecef, vel_ecef = np.empty((len(rows), 3)), np.empty((len(rows), 3))
        _hermite(block.pos, block.vel, k, rows, s_s, ns_to_s(self.knot_ns), pos_ecef, vel_ecef)
        return Satellites(int(t_ns), self.constellation.sat[rows], pos_ecef, vel_ecef)


@njit(cache=True, nogil=True)
def _hermite(
    pos: np.ndarray,
    vel: np.ndarray,
    k: int,
    rows: np.ndarray,
    t: float,
    h: float,
    pos_out: np.ndarray,
    vel_out: np.ndarray,
) -> None:
    """Cubic Hermite between knots k and k + 1, t seconds after knot k: value and derivative."""
    s = t / h
    p1 = s * s * (3.0 - 2.0 * s)
    m0, m1 = h * s * (1.0 - s) * (1.0 - s), -h * s * s * (1.0 - s)
    d1 = 6.0 * s * (1.0 - s) / h
    e0, e1 = (1.0 - s) * (1.0 - 3.0 * s), s * (3.0 * s - 2.0)
    for i in range(len(rows)):
        j = rows[i]
        for a in range(3):
            step = pos[k + 1, j, a] - pos[k, j, a]
            pos_out[i, a] = pos[k, j, a] + p1 * step + m0 * vel[k, j, a] + m1 * vel[k + 1, j, a]
            vel_out[i, a] = d1 * step + e0 * vel[k, j, a] + e1 * vel[k + 1, j, a]


def zenith_cap(users: Users) -> tuple[np.ndarray, float, float]:
    """A cone around all the users' zeniths: its axis, half-angle (rad), and the lowest tangent plane (m).

    The plane of user i is n_i . x = n_i . p_i with n_i the geodetic zenith and p_i the position.
    """
    up = local_axes(users.lat_rad, users.lon_rad)[:, 2]
    axis = up.sum(axis=0)
    length = float(np.linalg.norm(axis))
    lowest_m = float(np.min(np.einsum("ux,ux->u", up, users.pos_ecef), initial=np.inf))
    if length < 1e-9 * max(1, len(up)):
        return np.array([0.0, 0.0, 1.0]), math.pi, lowest_m
    axis = axis / length
    apart = np.linalg.norm(np.cross(axis, up), axis=1)
    return axis, float(np.max(np.arctan2(apart, up @ axis), initial=0.0)) + 1e-12, lowest_m


@njit(cache=True, nogil=True)
def height_over_cap(x: float, y: float, z: float, axis: np.ndarray, spread: float) -> float:
    """max over unit vectors n within `spread` of the axis of n . s = r cos(max(0, angle - spread))."""
    along = x * axis[0] + y * axis[1] + z * axis[2]
    r = math.sqrt(x * x + y * y + z * z)
    c, s = math.cos(spread), math.sin(spread)
    if along >= r * c:
        return r
    return along * c + math.sqrt(max(0.0, r * r - along * along)) * s


@njit(cache=True, nogil=True)
def reach_m(v: np.ndarray, half_s: float) -> float:
    """How far a satellite gets from a knot within half an interval: v t + a t^2 / 2."""
    speed = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    return speed * half_s + 0.5 * ACCELERATION_BOUND_M_S2 * half_s * half_s + HERMITE_SLACK_M


@njit(cache=True, nogil=True)
def _reach_cap(
    pos0: np.ndarray,
    vel0: np.ndarray,
    pos1: np.ndarray,
    vel1: np.ndarray,
    usable: np.ndarray,
    axis: np.ndarray,
    spread: float,
    lowest_m: float,
    half_s: float,
) -> np.ndarray:
    """Which satellites may come above elevation 0 of any user between two knots: [sat] bool.

    A satellite s is above the horizon of user i when n_i . s > n_i . p_i. The left side, maximised over
    the cone of all zeniths, grows by at most the distance moved, and every instant is within half an
    interval of a knot: so height at the knot + reach <= lowest plane rules a satellite out for good.
    """
    near = np.zeros(len(pos0), dtype=np.bool_)
    for j in range(len(pos0)):
        if usable[j]:
            first = height_over_cap(pos0[j, 0], pos0[j, 1], pos0[j, 2], axis, spread)
            last = height_over_cap(pos1[j, 0], pos1[j, 1], pos1[j, 2], axis, spread)
            near[j] = max(first + reach_m(vel0[j], half_s), last + reach_m(vel1[j], half_s)) > lowest_m
    return near


# ---------------------------------------------------------------------------------------------
# Geometry


def geometry(satellites: Satellites, users: Users, mask_rad: float | np.ndarray | None = None) -> Geometry:
    """Every satellite at or above each user's mask: users in order, satellites by catalogue number.

    With d = s - p from user to satellite, (e, n, u) its east, north, up parts (up: geodetic) and
    v the satellite's velocity in the rotating frame:
        range |d|, elevation atan2(u, hypot(e, n)), azimuth atan2(e, n) in [0, 2 pi), range rate d . v / |d|.
    The satellite's body axes: nadir -s/|s|, along-track the part of the inertial velocity v + omega x s
    perpendicular to nadir, cross-track nadir x along-track; `cosines` is -d/|d| on along and cross.

    Parameters
        mask_rad : lowest elevation, one for all or [user]; `users.mask_rad` by default; 0: all in view

    Raises ValueError for a mask outside [0, pi/2) or of the wrong length.
    """
    mask = checked_mask(users, mask_rad)
    axes = local_axes(users.lat_rad, users.lon_rad)
    pos, vel, p = satellites.pos_ecef, satellites.vel_ecef, users.pos_ecef
    coordinates = np.ascontiguousarray(pos.T)
    counts = np.zeros(len(p), dtype=np.int64)
    rows = np.empty(max(4_096, len(p) * len(pos) // 16), dtype=np.int32)
    total = _visible(coordinates, axes, p, mask, rows, counts)
    if total > len(rows):
        rows = np.empty(total, dtype=np.int32)
        _visible(coordinates, axes, p, mask, rows, counts)
    rows = rows[:total]
    user = np.repeat(np.arange(len(p), dtype=np.int32), counts)
    distance, elevation, azimuth, rate = np.empty((4, total))
    cosines = np.empty((total, 2))
    _pairs(pos, vel, axes, p, user, rows, distance, elevation, azimuth, rate, cosines)
    return Geometry(
        t_ns=satellites.t_ns,
        user=user,
        sat=satellites.sat[rows],
        range_m=distance,
        elevation_rad=elevation,
        azimuth_rad=azimuth,
        range_rate_m_s=rate,
        cosines=cosines,
    )


def body_axes(pos_ecef: np.ndarray, vel_ecef: np.ndarray) -> np.ndarray:
    """Unit vectors along-track, cross-track and nadir of satellites, in ITRS: [..., (along, cross, nadir), xyz].

    The axes of `geometry`'s cosines: nadir -s/|s|, along-track the part of the inertial velocity v + omega x s
    perpendicular to nadir, cross-track nadir x along-track.

    pos_ecef, vel_ecef : [..., xyz] m and m/s, velocity in the rotating frame
    """
    nadir = -pos_ecef / np.linalg.norm(pos_ecef, axis=-1, keepdims=True)
    inertial = vel_ecef + np.cross([0.0, 0.0, EARTH_ROTATION_RAD_S], pos_ecef)
    along = inertial - np.sum(inertial * nadir, axis=-1, keepdims=True) * nadir
    along = along / np.linalg.norm(along, axis=-1, keepdims=True)
    return np.stack([along, np.cross(nadir, along), nadir], axis=-2)


def checked_mask(users: Users, mask_rad: float | np.ndarray | None) -> np.ndarray:
    """Masks [user] (rad): those given, one for all, or the users' own. Raises ValueError outside [0, pi/2)."""
    mask = np.asarray(users.mask_rad if mask_rad is None else mask_rad, dtype=float)
    if mask.shape not in ((), users.mask_rad.shape):
        raise ValueError(
            f"mask_rad: expected one mask or one for each of {len(users.mask_rad)} users, got shape {mask.shape}"
        )
    if not np.all((mask >= 0.0) & (mask < 0.5 * math.pi)):
        raise ValueError(f"mask_rad: expected masks from 0 to below pi/2, got {np.min(mask)} to {np.max(mask)}")
    return np.array(np.broadcast_to(mask, users.mask_rad.shape))  # one type for the compiled kernels


@njit(cache=True, nogil=True)
def _visible(
    coordinates: np.ndarray,
    axes: np.ndarray,
    p: np.ndarray,
    mask: np.ndarray,
    rows: np.ndarray,
    counts: np.ndarray,
) -> int:
    """Rows of the satellites each user sees, into `rows` as far as it reaches; returns how many there are.

    First n . s > n . p + floor for all satellites of a user at once (vectorised), then the exact test
    u >= sin(mask) |d| for the few that pass. The floor is the height over the horizontal plane of a
    satellite exactly on the mask at the smallest radius r of all, from below: with q = |p| and the angle
    delta between n and p, u >= sin(mask) (sqrt(r^2 - q^2 cos^2 m) - q sin m), m = mask + delta; less a
    metre for rounding.
    """
    x, y, z = coordinates[0], coordinates[1], coordinates[2]
    sat_count = len(x)
    over = np.empty(sat_count)
    smallest = 1e300
    for j in range(sat_count):
        smallest = min(smallest, x[j] * x[j] + y[j] * y[j] + z[j] * z[j])
    total = 0
    for i in range(len(p)):
        nx, ny, nz = axes[i, 2, 0], axes[i, 2, 1], axes[i, 2, 2]
        px, py, pz = p[i, 0], p[i, 1], p[i, 2]
        sin_mask = math.sin(mask[i])
        plane = nx * px + ny * py + nz * pz
        q = math.sqrt(px * px + py * py + pz * pz)
        m = min(mask[i] + math.acos(min(1.0, plane / q)) + 1e-9, 0.5 * math.pi)
        floor = 0.0
        if smallest > q * q:
            floor = sin_mask * (math.sqrt(smallest - (q * math.cos(m)) ** 2) - q * math.sin(m))
        plane += floor - 1.0
        for j in range(sat_count):
            over[j] = nx * x[j] + ny * y[j] + nz * z[j] - plane
        before = total
        for j in range(sat_count):
            if over[j] > 0.0:
                dx, dy, dz = x[j] - px, y[j] - py, z[j] - pz
                u = nx * dx + ny * dy + nz * dz
                if u >= sin_mask * math.sqrt(dx * dx + dy * dy + dz * dz):
                    if total < len(rows):
                        rows[total] = j
                    total += 1
        counts[i] = total - before
    return total


@njit(cache=True, nogil=True)
def _pairs(
    pos: np.ndarray,
    vel: np.ndarray,
    axes: np.ndarray,
    p: np.ndarray,
    user: np.ndarray,
    rows: np.ndarray,
    distance: np.ndarray,
    elevation: np.ndarray,
    azimuth: np.ndarray,
    rate: np.ndarray,
    cosines: np.ndarray,
) -> None:
    """The fields of each pair, see `geometry`."""
    body = np.empty((len(pos), 6))
    for j in range(len(pos)):
        # Inertial velocity w, its part perpendicular to s, and nadir x along = along x s/|s|.
        sx, sy, sz = pos[j, 0], pos[j, 1], pos[j, 2]
        wx, wy, wz = vel[j, 0] - EARTH_ROTATION_RAD_S * sy, vel[j, 1] + EARTH_ROTATION_RAD_S * sx, vel[j, 2]
        r = math.sqrt(sx * sx + sy * sy + sz * sz)
        sx, sy, sz = sx / r, sy / r, sz / r
        radial = wx * sx + wy * sy + wz * sz
        ax, ay, az = wx - radial * sx, wy - radial * sy, wz - radial * sz
        along = math.sqrt(ax * ax + ay * ay + az * az)
        ax, ay, az = ax / along, ay / along, az / along
        body[j, 0], body[j, 1], body[j, 2] = ax, ay, az
        body[j, 3], body[j, 4], body[j, 5] = ay * sz - az * sy, az * sx - ax * sz, ax * sy - ay * sx
    turn = 2.0 * math.pi
    for k in range(len(rows)):
        i, j = user[k], rows[k]
        dx, dy, dz = pos[j, 0] - p[i, 0], pos[j, 1] - p[i, 1], pos[j, 2] - p[i, 2]
        e = axes[i, 0, 0] * dx + axes[i, 0, 1] * dy
        n = axes[i, 1, 0] * dx + axes[i, 1, 1] * dy + axes[i, 1, 2] * dz
        u = axes[i, 2, 0] * dx + axes[i, 2, 1] * dy + axes[i, 2, 2] * dz
        d = math.sqrt(dx * dx + dy * dy + dz * dz)
        distance[k] = d
        elevation[k] = math.atan2(u, math.sqrt(e * e + n * n))
        a = math.atan2(e, n)
        if a < 0.0:
            a += turn
        azimuth[k] = a if a < turn else 0.0  # -1e-17 + 2 pi rounds to 2 pi
        rate[k] = (dx * vel[j, 0] + dy * vel[j, 1] + dz * vel[j, 2]) / d
        cosines[k, 0] = -(dx * body[j, 0] + dy * body[j, 1] + dz * body[j, 2]) / d
        cosines[k, 1] = -(dx * body[j, 3] + dy * body[j, 4] + dz * body[j, 5]) / d
