"""Satellites at a time, what each user sees of them, and when: propagation, geometry, access windows.

SGP4 positions in ITRS (exact, or knots with cubic Hermite between), one fused kernel for the geometry of
all pairs above a mask, and the pre-pass that knows failures, passes and sizes before t = 0.
"""

from __future__ import annotations

import csv
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numba import njit
from sgp4.api import SGP4_ERRORS, SatrecArray

from leosim.frames import (
    EARTH_ROTATION_RAD_S,
    NS_PER_DAY,
    earth_orientation,
    geodetic_to_ecef,
    julian_date,
    local_axes,
    teme_to_itrs_matrices,
)
from leosim.records import Geometry, Quarantine, Record, Satellites, Users, array
from leosim.units import (
    MEAN_EARTH_RADIUS_M,
    NS_PER_S,
    WGS72_SEMI_MAJOR_M,
    deg_to_rad,
    ns_to_s,
    s_to_ns,
)

if TYPE_CHECKING:
    from leosim.elements import Constellation

EPOCHS_A_BLOCK = 32  # SatrecArray is fastest with 1 to 32 epochs a call
BLOCKS_KEPT = 3
FOLLOW_S = 1_800.0  # a pass in progress at the end of the window is followed this far to its set
STALE_DAYS = 3.0
# No satellite above the ground and slower than 14 km/s exceeds this in the rotating frame (m/s^2):
# gravity 9.9, Coriolis 2 omega v <= 2.1, centrifugal of opposite sign or below 0.3.
ACCELERATION_BOUND_M_S2 = 12.5
HERMITE_SLACK_M = 30.0
SLOPE_BOUND_M_S = 5.0
# Rise and set are found on interpolated positions; a pair seen by exact positions may be ahead by this.
WINDOW_TOLERANCE_NS = 1_000_000
REASSOCIATING = {"contract", "arcp", "reassoc", "nsz"}  # not nnan, ninf: failed satellites are masked first


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

    An error code of 0 does not make a position plausible; `prepass` gates that.
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
class _Block:
    """Knots `first` to `first + len(pos) - 1`: pos and vel [knot, sat, xyz], err [knot, sat]."""

    first: int
    pos: np.ndarray
    vel: np.ndarray
    err: np.ndarray


class _Knots:
    """Positions at knots, computed a block at a time when asked for; the last few blocks are kept.

    A block depends on its number only, so what a reader gets does not depend on who asked before.
    """

    def __init__(self, constellation: Constellation, start_utc_ns: int, knot_ns: int, count: int) -> None:
        self.satrecs = constellation.satrecs()
        self.sat_count = len(constellation)
        self.start_utc_ns, self.knot_ns, self.count = start_utc_ns, knot_ns, count
        self._array = _satrec_array(self.satrecs)
        self._blocks: OrderedDict[int, _Block] = OrderedDict()
        # Also around every call of SGP4: resonant (deep space) satellites keep state in their Satrec.
        self.lock = threading.RLock()

    def block(self, number: int) -> _Block:
        """Block `number`: its 32 intervals have 33 knots, the last one shared with the next block."""
        with self.lock:
            if number not in self._blocks:
                first = number * EPOCHS_A_BLOCK
                self._blocks[number] = self.sampled(first, min(EPOCHS_A_BLOCK + 1, self.count - first))
            self._blocks.move_to_end(number)
            while len(self._blocks) > BLOCKS_KEPT:
                self._blocks.popitem(last=False)
            return self._blocks[number]

    def sampled(self, first: int, count: int, rows: np.ndarray | None = None) -> _Block:
        """Knots `first` to `first + count - 1`, with the velocities of `_slopes`."""
        knots = np.arange(first - 2, first + count + 2, dtype=np.int64)
        pos, vel, err = self.propagate(knots * self.knot_ns, rows)
        slopes = _slopes(pos, vel, ns_to_s(self.knot_ns))
        return _Block(first, pos[2:-2].copy(), slopes, err[2:-2].copy())

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
            (`Prepass.fail_ns`); without it a satellite is out at each instant SGP4 fails, and only there

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
        self._knots = _Knots(constellation, self.start_utc_ns, self.knot_ns, self.interval_count + 1)
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
        with self._knots.lock:
            known = self._culled.get(key)
            if known is None:
                known = (users, self._cull(users, interval))  # holding users keeps its id from being reused
                self._culled[key] = known
                while len(self._culled) > 4:
                    self._culled.popitem(last=False)
        rows = known[1]
        return self._satellites(t_ns, rows[alive[rows]])

    def _interval(self, t_ns: int) -> tuple[int, _Block, int]:
        """The knot interval that holds t, its block, and its place in the block."""
        if not 0 <= t_ns <= self.duration_ns:
            raise ValueError(
                f"ephemeris: expected a time between 0 and {ns_to_s(self.duration_ns)} s after the start, "
                f"got {ns_to_s(int(t_ns))} s"
            )
        interval = min(int(t_ns) // self.knot_ns, self.interval_count - 1)
        block = self._knots.block(interval // EPOCHS_A_BLOCK)
        return interval, block, interval - block.first

    def _alive(self, t_ns: int) -> tuple[int, np.ndarray]:
        interval, block, k = self._interval(t_ns)
        alive = (block.err[k] | block.err[k + 1]) == 0
        if self.fail_ns is not None:
            alive &= (self.fail_ns < 0) | (t_ns < self.fail_ns)
        return interval, alive

    def _cull(self, users: Users, interval: int) -> np.ndarray:
        block = self._knots.block(interval // EPOCHS_A_BLOCK)
        k = interval - block.first
        usable = (block.err[k] | block.err[k + 1]) == 0
        near = _reach_cap(
            block.pos[k], block.vel[k], block.pos[k + 1], block.vel[k + 1], usable, *_cap(users), self._half_s
        )
        return np.flatnonzero(near)

    @property
    def _half_s(self) -> float:
        return 0.5 * ns_to_s(self.knot_ns)

    def _satellites(self, t_ns: int, rows: np.ndarray) -> Satellites:
        if self.mode == "exact":
            every = len(rows) == len(self.constellation)
            pos, vel, err = self._knots.propagate(np.array([t_ns], dtype=np.int64), None if every else rows)
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


def _cap(users: Users) -> tuple[np.ndarray, float, float]:
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
def _height_over_cap(x: float, y: float, z: float, axis: np.ndarray, spread: float) -> float:
    """max over unit vectors n within `spread` of the axis of n . s = r cos(max(0, angle - spread))."""
    along = x * axis[0] + y * axis[1] + z * axis[2]
    r = math.sqrt(x * x + y * y + z * z)
    c, s = math.cos(spread), math.sin(spread)
    if along >= r * c:
        return r
    return along * c + math.sqrt(max(0.0, r * r - along * along)) * s


@njit(cache=True, nogil=True)
def _reach_m(v: np.ndarray, half_s: float) -> float:
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
            first = _height_over_cap(pos0[j, 0], pos0[j, 1], pos0[j, 2], axis, spread)
            last = _height_over_cap(pos1[j, 0], pos1[j, 1], pos1[j, 2], axis, spread)
            near[j] = max(first + _reach_m(vel0[j], half_s), last + _reach_m(vel1[j], half_s)) > lowest_m
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
    mask = _checked_mask(users, mask_rad)
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


def _checked_mask(users: Users, mask_rad: float | np.ndarray | None) -> np.ndarray:
    mask = np.asarray(users.mask_rad if mask_rad is None else mask_rad, dtype=float)
    if mask.shape not in ((), users.mask_rad.shape):
        raise ValueError(
            f"mask_rad: expected one mask or one for each of {len(users.mask_rad)} users, got shape {mask.shape}"
        )
    if not np.all((mask >= 0.0) & (mask < 0.5 * math.pi)):
        raise ValueError(f"mask_rad: expected masks from 0 to below pi/2, got {np.min(mask)} to {np.max(mask)}")
    return np.array(np.broadcast_to(mask, users.mask_rad.shape))  # one type for the compiled kernels


@njit(cache=True, nogil=True, fastmath=REASSOCIATING)
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


# ---------------------------------------------------------------------------------------------
# Access windows


@dataclass(frozen=True)
class AccessWindows(Record):
    """Every pass of every satellite over every user's mask: sorted by user, catalogue number, rise."""

    user: np.ndarray = array("window", dtype="i4", doc="row of the user")
    sat: np.ndarray = array("window", dtype="i4", doc="catalogue number")
    rise_ns: np.ndarray = array("window", dtype="i8", unit="ns", doc="rise since the start; 0 if clipped")
    set_ns: np.ndarray = array("window", dtype="i8", unit="ns", doc="set since the start, past the end if so")
    peak_rad: np.ndarray = array("window", unit="rad", doc="highest elevation between rise and set")
    rise_clipped: np.ndarray = array("window", dtype="u1", doc="1: risen before the start")
    set_clipped: np.ndarray = array(
        "window", dtype="u1", doc="1: still up half an hour after the end, or set by the satellite's failure"
    )

    def lookup(self, user: np.ndarray, sat: np.ndarray, t_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Pass number and remaining time of pairs at one instant.

        Parameters
            user, sat : [pair], row of the user and catalogue number
            t_ns : time since the start

        Returns
            pass_index : [pair] int64, 0, 1, 2, ... in order of rise among the windows of that pair: the
                latest window begun; 0 when none has
            remaining_s : [pair], time until that window ends; 0 when no window of the pair holds t
        """
        user, sat = np.asarray(user, dtype=np.int32), np.asarray(sat, dtype=np.int32)
        pass_index, remaining_ns = np.zeros(len(user), dtype=np.int64), np.zeros(len(user), dtype=np.int64)
        _lookup(self.user, self.sat, self.rise_ns, self.set_ns, user, sat, int(t_ns), pass_index, remaining_ns)
        return pass_index, remaining_ns / float(NS_PER_S)


@njit(cache=True, nogil=True)
def _lookup(
    users: np.ndarray,
    sats: np.ndarray,
    rise_ns: np.ndarray,
    set_ns: np.ndarray,
    user: np.ndarray,
    sat: np.ndarray,
    t_ns: int,
    pass_index: np.ndarray,
    remaining_ns: np.ndarray,
) -> None:
    """Binary search of (user, sat) among sorted windows, then a walk along the few passes of the pair."""
    for k in range(len(user)):
        low, high = 0, len(users)
        while low < high:
            middle = (low + high) // 2
            if users[middle] < user[k] or (users[middle] == user[k] and sats[middle] < sat[k]):
                low = middle + 1
            else:
                high = middle
        w = low
        while w < len(users) and users[w] == user[k] and sats[w] == sat[k]:
            if rise_ns[w] > t_ns + WINDOW_TOLERANCE_NS:
                break
            pass_index[k] = w - low
            remaining_ns[k] = max(0, set_ns[w] - t_ns)
            w += 1


@dataclass(frozen=True)
class _Scan:
    """What one walk over all knots of a window finds."""

    windows: AccessWindows
    in_view: np.ndarray  # [user, knot] int32, knots within the window
    fail_ns: np.ndarray  # [sat]
    reason: list[str]  # [sat], "" for a satellite that never fails


_RISE, _PEAK, _SET = 0, 1, 2


def access_windows(ephemeris: Ephemeris, users: Users, mask_rad: float | np.ndarray | None = None) -> AccessWindows:
    """Rise, set and peak of every pass above each user's mask between the ends of an ephemeris.

    The sine of the elevation and its rate at both knots of an interval tell which intervals hold a rise,
    a set or a culmination (short grazing passes too); each is then found by bisection on positions
    interpolated between the knots, to a microsecond. Passes in progress at the end are followed past it,
    for half an hour at most, so that they set when they really do. Satellites that fail are out from
    then on, as in `prepass`.

    Raises ValueError for a mask outside [0, pi/2) or of the wrong length.
    """
    return _scan(ephemeris, users, mask_rad, max_age_days=math.inf, margin_m=SHELL_MARGIN_M).windows


def _scan(
    ephemeris: Ephemeris,
    users: Users,
    mask_rad: float | np.ndarray | None,
    max_age_days: float,
    margin_m: float,
) -> _Scan:
    """Walk over the knots of an ephemeris: latch failures, gather rises, sets and peaks, count in view."""
    axes = local_axes(users.lat_rad, users.lon_rad)
    sin_mask = np.sin(_checked_mask(users, mask_rad))
    ground = (axes, users.pos_ecef, sin_mask, *_cap(users))
    constellation, knot_ns = ephemeris.constellation, ephemeris.knot_ns
    last = ephemeris.interval_count
    age_days = (ephemeris.start_utc_ns - constellation.epoch_ns) / NS_PER_DAY
    fail_ns = np.full(len(constellation), -1, dtype=np.int64)
    reason = [""] * len(constellation)
    for row in np.flatnonzero(np.abs(age_days) > max_age_days):
        fail_ns[row] = 0
        reason[row] = f"elements {abs(age_days[row]):.1f} days from the start, over the limit of {max_age_days:g}"
    in_view = np.zeros((len(users.lat_rad), last + 1), dtype=np.int32)
    events: list[tuple[np.ndarray, ...]] = []
    block_count = -(-last // EPOCHS_A_BLOCK)
    for number in range(block_count):
        block = ephemeris._knots.block(number)
        good = _plausible(constellation, block, None, margin_m)
        for row in np.flatnonzero((fail_ns < 0) & ~good.all(axis=0)):
            k = int(np.argmin(good[:, row]))
            # Between the last good knot and the first bad one nothing can be interpolated.
            fail_ns[row] = max(0, block.first + k - 1) * knot_ns
            reason[row] = _why(constellation, int(row), block.err[k, row], block.pos[k, row])
        knots_ns = (block.first + np.arange(len(good)))[:, None] * knot_ns
        alive = good & ((fail_ns < 0) | (knots_ns <= fail_ns))
        alive[:, fail_ns == 0] = False
        seen = in_view[:, block.first : block.first + len(good)]
        events.append(_block_events(block, alive, ground, knot_ns, number == 0, number == block_count - 1, seen))
    rows = _open_rows(events)
    if len(rows):
        count = 1 + s_to_ns(FOLLOW_S) // knot_ns
        after = ephemeris._knots.sampled(last, count, rows)
        alive = np.logical_and.accumulate(_plausible(constellation, after, rows, margin_m), axis=0)
        unused = np.zeros((len(in_view), count), dtype=np.int32)
        late = _block_events(after, alive, ground, knot_ns, False, True, unused)
        events.append((late[0], rows[late[1]], *late[2:]))
        last_ns = (last + count - 1) * knot_ns
    else:
        last_ns = last * knot_ns
    windows = _pair_events(events, constellation.sat, ephemeris.duration_ns, last_ns, fail_ns)
    return _Scan(windows, in_view[:, : ephemeris.duration_ns // knot_ns + 1], fail_ns, reason)


def _plausible(constellation: Constellation, block: _Block, rows: np.ndarray | None, margin_m: float) -> np.ndarray:
    """No SGP4 error, finite, and the radius within the shell of the elements: [knot, sat] bool."""
    lowest_m, highest_m = _shell(constellation, margin_m)
    if rows is not None:
        lowest_m, highest_m = lowest_m[rows], highest_m[rows]
    radius_m = np.sqrt(np.einsum("ksx,ksx->ks", block.pos, block.pos))
    with np.errstate(invalid="ignore"):
        within = (radius_m >= lowest_m) & (radius_m <= highest_m)  # False for NaN
    return (block.err == 0) & within & np.isfinite(block.vel).all(axis=2)


# Osculating radii leave mean perigee and apogee by some 20 km (J2), resonant and lunisolar terms move deep
# space orbits further, drag takes a low satellite down. What is gated is thousands of kilometres off.
SHELL_MARGIN_M = 150e3
SHELL_MARGIN_RATIO = 0.02
RE_ENTRY_M = 100e3


def _shell(constellation: Constellation, margin_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest plausible radius of each satellite (m)."""
    perigee_m = WGS72_SEMI_MAJOR_M + constellation.perigee_m
    apogee_m = WGS72_SEMI_MAJOR_M + constellation.apogee_m
    margin = np.maximum(margin_m, SHELL_MARGIN_RATIO * 0.5 * (perigee_m + apogee_m))
    lowest_m = np.maximum(perigee_m - margin, WGS72_SEMI_MAJOR_M + RE_ENTRY_M)
    return lowest_m, apogee_m + margin


def _why(constellation: Constellation, row: int, err: int, pos: np.ndarray) -> str:
    """A failure in words."""
    if err:
        return f"SGP4 error {int(err)}: {SGP4_ERRORS.get(int(err), 'unknown')}"
    radius_m = float(np.linalg.norm(pos))
    if not math.isfinite(radius_m):
        return "position not finite"
    height_km = (radius_m - WGS72_SEMI_MAJOR_M) / 1e3
    if height_km < RE_ENTRY_M / 1e3:
        return f"decayed: height {height_km:,.0f} km"
    return (
        f"height {height_km:,.0f} km, far from the {constellation.perigee_m[row] / 1e3:,.0f} to "
        f"{constellation.apogee_m[row] / 1e3:,.0f} km of its elements"
    )


def _block_events(
    block: _Block,
    alive: np.ndarray,
    ground: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, float],
    knot_ns: int,
    at_start: bool,
    at_end: bool,
    in_view: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Events of a block as arrays user, row, t_ns, kind, sine of elevation; counts into in_view."""
    capacity = 65_536
    while True:
        who = np.empty((2, capacity), dtype=np.int32)
        kind = np.empty(capacity, dtype=np.uint8)
        when_value = np.empty((2, capacity))
        counted = in_view.copy()
        count = _scan_block(
            block.pos, block.vel, alive, *ground, ns_to_s(knot_ns), at_start, at_end,
            who, kind, when_value, counted,
        )  # fmt: skip
        if count <= capacity:
            break
        capacity = count
    in_view[:] = counted
    t_ns = block.first * knot_ns + np.rint(when_value[0, :count] * NS_PER_S).astype(np.int64)
    return who[0, :count].copy(), who[1, :count].copy(), t_ns, kind[:count].copy(), when_value[1, :count].copy()


@njit(cache=True, nogil=True)
def _sine(c: np.ndarray, t: float, h: float, up: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """Sine of the elevation and its rate, t seconds into an interval c = (pos0, vel0, pos1, vel1)."""
    s = t / h
    p1 = s * s * (3.0 - 2.0 * s)
    m0, m1 = h * s * (1.0 - s) * (1.0 - s), -h * s * s * (1.0 - s)
    d1 = 6.0 * s * (1.0 - s) / h
    e0, e1 = (1.0 - s) * (1.0 - 3.0 * s), s * (3.0 * s - 2.0)
    u = du = dd = dv = 0.0
    for a in range(3):
        step = c[6 + a] - c[a]
        d = c[a] + p1 * step + m0 * c[3 + a] + m1 * c[9 + a] - p[a]
        v = d1 * step + e0 * c[3 + a] + e1 * c[9 + a]
        u += up[a] * d
        du += up[a] * v
        dd += d * d
        dv += d * v
    distance = math.sqrt(dd)
    return u / distance, (du - u * dv / dd) / distance


@njit(cache=True, nogil=True)
def _crossing(
    c: np.ndarray, low: float, high: float, h: float, up: np.ndarray, p: np.ndarray, mask: float, rate: bool
) -> float:
    """The time between low and high at which sin(elevation) - mask, or its rate, changes sign."""
    pick = 1 if rate else 0
    level = 0.0 if rate else mask
    below = _sine(c, low, h, up, p)[pick] < level
    for _ in range(40):
        middle = 0.5 * (low + high)
        if high - low < 1e-7:
            break
        if (_sine(c, middle, h, up, p)[pick] < level) == below:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@njit(cache=True, nogil=True)
def _scan_block(
    pos: np.ndarray,
    vel: np.ndarray,
    alive: np.ndarray,
    axes: np.ndarray,
    p: np.ndarray,
    sin_mask: np.ndarray,
    cap_axis: np.ndarray,
    cap_spread: float,
    cap_lowest_m: float,
    h: float,
    at_start: bool,
    at_end: bool,
    who: np.ndarray,
    kind: np.ndarray,
    when_value: np.ndarray,
    in_view: np.ndarray,
) -> int:
    """Rises, peaks and sets between the knots of a block; returns how many, stored as far as there is room.

    alive is a prefix along the knots: a satellite above a mask at its last good knot sets there.
    No fastmath: the sign at a knot must be the same seen from the interval before and after.
    """
    knot_count, sat_count = alive.shape
    user_count = len(p)
    near = np.empty(sat_count, dtype=np.int32)
    c = np.empty((sat_count, 12))
    reach = np.empty((sat_count, 2))
    up = np.ascontiguousarray(axes[:, 2])
    plane = np.empty(user_count)
    for i in range(user_count):
        plane[i] = up[i, 0] * p[i, 0] + up[i, 1] * p[i, 1] + up[i, 2] * p[i, 2]
    n = 0
    room = len(kind)
    times = np.empty(3)
    values = np.empty(3)
    kinds = np.empty(3, dtype=np.uint8)
    for k in range(knot_count):
        whole = k + 1 < knot_count
        if not whole and not at_end:
            break  # the knot shared with the next block, which counts it
        near_count = 0
        for j in range(sat_count):
            if not alive[k, j]:
                continue
            goes_on = whole and alive[k + 1, j]
            far0 = _height_over_cap(pos[k, j, 0], pos[k, j, 1], pos[k, j, 2], cap_axis, cap_spread)
            reach0 = _reach_m(vel[k, j], 0.5 * h)
            reach1 = -1e30
            far1 = 0.0
            if goes_on:
                q = pos[k + 1, j]
                far1 = _height_over_cap(q[0], q[1], q[2], cap_axis, cap_spread)
                reach1 = _reach_m(vel[k + 1, j], 0.5 * h)
            if max(far0 + reach0, far1 + reach1) <= cap_lowest_m:
                continue
            near[near_count] = j
            reach[near_count, 0], reach[near_count, 1] = reach0, reach1
            for a in range(3):
                c[near_count, a], c[near_count, 3 + a] = pos[k, j, a], vel[k, j, a]
                if goes_on:
                    c[near_count, 6 + a], c[near_count, 9 + a] = pos[k + 1, j, a], vel[k + 1, j, a]
                else:
                    c[near_count, 6 + a], c[near_count, 9 + a] = pos[k, j, a], vel[k, j, a]
            near_count += 1
        for i in range(user_count):
            nx, ny, nz = up[i, 0], up[i, 1], up[i, 2]
            mask = sin_mask[i]
            for m in range(near_count):
                q = c[m]
                if (
                    nx * q[0] + ny * q[1] + nz * q[2] + reach[m, 0] <= plane[i]
                    and nx * q[6] + ny * q[7] + nz * q[8] + reach[m, 1] <= plane[i]
                ):
                    continue
                g0, rate0 = _sine(q, 0.0, h, up[i], p[i])
                found = 0
                goes_on = reach[m, 1] > 0.0
                if not whole:
                    if g0 >= mask:
                        in_view[i, k] += 1
                    continue
                if not goes_on:
                    if g0 >= mask:
                        kinds[0], times[0], values[0] = _SET, 0.0, g0
                        found = 1
                else:
                    if g0 >= mask:
                        in_view[i, k] += 1
                        if at_start and k == 0:
                            kinds[0], times[0], values[0] = _RISE, 0.0, g0
                            found = 1
                    g1, rate1 = _sine(q, h, h, up[i], p[i])
                    if rate0 > 0.0 and rate1 <= 0.0:
                        top = _crossing(q, 0.0, h, h, up[i], p[i], 0.0, True)
                        g_top = _sine(q, top, h, up[i], p[i])[0]
                        if g_top >= mask:
                            if g0 < mask:
                                kinds[found] = _RISE
                                times[found] = _crossing(q, 0.0, top, h, up[i], p[i], mask, False)
                                values[found] = mask
                                found += 1
                            kinds[found], times[found], values[found] = _PEAK, top, g_top
                            found += 1
                            if g1 < mask:
                                kinds[found] = _SET
                                times[found] = _crossing(q, top, h, h, up[i], p[i], mask, False)
                                values[found] = mask
                                found += 1
                        elif g0 >= mask or g1 >= mask:
                            # Rounding at a knot: the bisected top is a hair below the knot itself.
                            kinds[found] = _SET if g0 >= mask else _RISE
                            times[found], values[found] = top, mask
                            found += 1
                    elif (g0 < mask) != (g1 < mask):
                        kinds[found] = _RISE if g0 < mask else _SET
                        times[found] = _crossing(q, 0.0, h, h, up[i], p[i], mask, False)
                        values[found] = mask
                        found += 1
                    elif g0 >= mask and rate0 < 0.0 and rate1 > 0.0:
                        low = _crossing(q, 0.0, h, h, up[i], p[i], 0.0, True)
                        if _sine(q, low, h, up[i], p[i])[0] < mask:
                            kinds[found], kinds[found + 1] = _SET, _RISE
                            times[found] = _crossing(q, 0.0, low, h, up[i], p[i], mask, False)
                            times[found + 1] = _crossing(q, low, h, h, up[i], p[i], mask, False)
                            values[found], values[found + 1] = mask, mask
                            found += 2
                for e in range(found):
                    if n < room:
                        who[0, n], who[1, n], kind[n] = i, near[m], kinds[e]
                        when_value[0, n], when_value[1, n] = k * h + times[e], values[e]
                    n += 1
    return n


def _sorted_events(events: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """All events by user, row and time."""
    user, row, t_ns, kind, value = (np.concatenate(column) for column in zip(*events, strict=True))
    order = np.lexsort((kind, t_ns, row, user))
    return user[order], row[order], t_ns[order], kind[order], value[order]


def _open_rows(events: list[tuple[np.ndarray, ...]]) -> np.ndarray:
    """Rows of the satellites that are up over somebody at the last knot."""
    user, row, _, kind, _ = _sorted_events(events)
    last = np.ones(len(user), dtype=bool)
    last[:-1] = (user[1:] != user[:-1]) | (row[1:] != row[:-1])
    return np.unique(row[last & (kind != _SET)])


def _pair_events(
    events: list[tuple[np.ndarray, ...]],
    sat: np.ndarray,
    duration_ns: int,
    last_ns: int,
    fail_ns: np.ndarray,
) -> AccessWindows:
    """Rises with the sets that follow them, as windows that begin no later than the end."""
    user, row, t_ns, kind, value = _sorted_events(events)
    rise, down = np.flatnonzero(kind == _RISE), np.flatnonzero(kind == _SET)
    following = np.searchsorted(down, rise)
    close = np.append(down, len(user))[following]
    inside = np.minimum(close, max(0, len(user) - 1))
    closed = (close < len(user)) & (user[inside] == user[rise]) & (row[inside] == row[rise])
    # Without a set the window holds all later events of the pair.
    pair_end = np.searchsorted(_pair_key(user, row), _pair_key(user[rise], row[rise]), side="right") - 1
    final = np.where(closed, close, pair_end)
    peak = np.empty(0)
    if len(rise):
        bounds = np.column_stack((rise, final + 1)).ravel()
        peak = np.maximum.reduceat(np.append(value, -1.0), bounds)[::2]
    set_ns = np.where(closed, t_ns[final], last_ns)
    by_failure = (fail_ns[row[rise]] >= 0) & (set_ns >= fail_ns[row[rise]])
    keep = (t_ns[rise] <= duration_ns) & (set_ns > t_ns[rise])
    return AccessWindows(
        user=user[rise][keep],
        sat=sat[row[rise]][keep],
        rise_ns=t_ns[rise][keep],
        set_ns=set_ns[keep],
        peak_rad=np.arcsin(np.clip(peak[keep], -1.0, 1.0)),
        rise_clipped=(t_ns[rise][keep] == 0),
        set_clipped=(~closed | by_failure)[keep],
    )


def _pair_key(user: np.ndarray, row: np.ndarray) -> np.ndarray:
    return (user.astype(np.int64) << 32) | row.astype(np.int64)


# ---------------------------------------------------------------------------------------------
# What is known before t = 0


@dataclass(frozen=True)
class Prepass:
    """What a walk over the whole window at its knots knows before t = 0.

    fail_ns : [sat] int64, time since the start from which the satellite is out, latched; -1: never
    reason : [sat], why; "" for a satellite that is never out
    quarantine : the satellites with a reason, for the log
    age_days_median, age_days_max : age of the elements at the start, either sign (days)
    warnings : sentences for the user, possibly none
    windows : every access window above the users' masks
    ever_in_view : [sat] bool, seen by somebody at some time
    in_view_min, in_view_median, in_view_max : [user], satellites above the mask over the knots
    unserved : [user], share of the knots without any satellite above the mask
    pairs_per_epoch : mean number of (user, satellite) pairs above the mask
    pair_bytes : size of the logged Geometry of the whole run at the given step, uncompressed
    """

    fail_ns: np.ndarray
    reason: np.ndarray
    quarantine: Quarantine
    age_days_median: float
    age_days_max: float
    warnings: tuple[str, ...]
    windows: AccessWindows
    ever_in_view: np.ndarray
    in_view_min: np.ndarray
    in_view_median: np.ndarray
    in_view_max: np.ndarray
    unserved: np.ndarray
    pairs_per_epoch: float
    pair_bytes: int

    @property
    def unserved_share(self) -> float:
        """Share of the user-epochs without any satellite."""
        return float(self.unserved.mean()) if len(self.unserved) else 0.0


def prepass(
    ephemeris: Ephemeris,
    users: Users,
    mask_rad: float | np.ndarray | None = None,
    max_age_days: float = 30.0,
    step_s: float = 1.0,
    margin_m: float = SHELL_MARGIN_M,
) -> Prepass:
    """Walk over the window at its knots: failures, ages, access windows, satellites in view, sizes.

    A satellite is out from the last good knot before the first one where SGP4 reports an error, gives
    something not finite, or a radius outside [perigee - margin, apogee + margin] of its elements or less
    than 100 km above the ground (an error code of 0 can go with garbage); and from the start when its
    elements are more than `max_age_days` from it. Failures of SGP4 are not monotonic: the first latches.
    Run with `ephemeris.with_failures(prepass(...).fail_ns)`; failures the ephemeris has are not read here.

    Parameters
        mask_rad : lowest elevation, one for all or [user]; `users.mask_rad` by default
        step_s : period of the geometry, for `pair_bytes`
        margin_m : at least 2 % of the semi-major axis is used

    Raises ValueError for a mask outside [0, pi/2) or of the wrong length.
    """
    scan = _scan(ephemeris, users, mask_rad, max_age_days, margin_m)
    constellation = ephemeris.constellation
    age_days = np.abs(ephemeris.start_utc_ns - constellation.epoch_ns) / NS_PER_DAY
    median_days, oldest_days = (float(np.median(age_days)), float(age_days.max())) if len(age_days) else (0.0, 0.0)
    warnings = []
    stale = int(np.count_nonzero(age_days > STALE_DAYS))
    if stale:
        warnings.append(
            f"{stale} of {len(age_days)} satellites have elements more than {STALE_DAYS:g} days from the start "
            f"(median {median_days:.1f}, worst {oldest_days:.1f} days): a week costs 100 km and more; "
            f"use elements of the day, or move the start"
        )
    out = np.flatnonzero(scan.fail_ns >= 0)
    quarantine = Quarantine(
        sat=constellation.sat[out],
        name=constellation.name[out],
        file=constellation.file[out],
        line=constellation.line[out],
        reason=np.array([scan.reason[row] for row in out], dtype=np.str_),
        from_ns=scan.fail_ns[out],
    )
    pairs_per_epoch = float(scan.in_view.sum(axis=0).mean())
    epochs = ephemeris.duration_ns // s_to_ns(step_s) + 1
    pair_size = sum(np.dtype(spec.dtype).itemsize for spec in Geometry.array_fields().values() if spec.logged)
    return Prepass(
        fail_ns=scan.fail_ns,
        reason=np.array(scan.reason, dtype=np.str_),
        quarantine=quarantine,
        age_days_median=median_days,
        age_days_max=oldest_days,
        warnings=tuple(warnings),
        windows=scan.windows,
        ever_in_view=np.isin(constellation.sat, scan.windows.sat),
        in_view_min=scan.in_view.min(axis=1),
        in_view_median=np.median(scan.in_view, axis=1),
        in_view_max=scan.in_view.max(axis=1),
        unserved=(scan.in_view == 0).mean(axis=1),
        pairs_per_epoch=pairs_per_epoch,
        pair_bytes=round(pairs_per_epoch * epochs * pair_size),
    )


# ---------------------------------------------------------------------------------------------
# Users


def make_users(
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


def users_circle(
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
    return make_users(_names(count), lat, lon, alt_m, deg_to_rad(mask_deg))


def users_grid(
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
    lat, lon = (grid.ravel() for grid in np.meshgrid(deg_to_rad(lats), deg_to_rad(lons), indexing="ij"))
    return make_users(_names(len(lat)), lat, lon, alt_m, deg_to_rad(mask_deg))


_SITE_COLUMNS = {
    "lat_deg": (-90.0, 90.0, "degrees"),
    "lon_deg": (-180.0, 360.0, "degrees"),
    "alt_m": (-1_000.0, 50_000.0, "m"),
    "mask_deg": (0.0, 89.0, "degrees"),
}


def users_from_sites(path: str | Path, mask_deg: float = 25.0) -> Users:
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
    return make_users(names, deg_to_rad(lat), deg_to_rad(lon), alt_m, deg_to_rad(mask))


def _site_number(key: str, text: str, where: str) -> float:
    low, high, unit = _SITE_COLUMNS[key]
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{where}: expected {key} as a number in {unit}, got {text!r}") from None
    _check_range(key, value, low, high, unit, where)
    return value
