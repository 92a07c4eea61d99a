"""When each satellite is over each user, and what is known before t = 0: access windows and the pre-pass.

One walk over the knots of an ephemeris finds rises, sets and peaks, latches failures and counts what is in view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from sgp4.api import SGP4_ERRORS

from leosim.frames import NS_PER_DAY, local_axes
from leosim.orbit import (
    EPOCHS_A_BLOCK,
    FOLLOW_S,
    Block,
    Ephemeris,
    checked_mask,
    height_over_cap,
    reach_m,
    zenith_cap,
)
from leosim.records import Quarantine, Record, Users, array
from leosim.units import NS_PER_S, WGS72_SEMI_MAJOR_M, ns_to_s, s_to_ns

if TYPE_CHECKING:
    from leosim.elements import Constellation

STALE_DAYS = 3.0
# Rise and set are found on interpolated positions; a pair seen by exact positions may be ahead by this.
WINDOW_TOLERANCE_NS = 1_000_000


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

    def advanced(self, by_ns: int) -> AccessWindows:
        """The same passes, begun earlier by a time: a pair that rises before its window belongs to that pass."""
        return self.replace(rise_ns=np.maximum(self.rise_ns - by_ns, 0)) if by_ns else self

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


GROUND_TRACK_M_S = 2_000.0  # a satellite's shadow is faster: 7 km/s at 550 km, 4 km/s at 5,000 km


def edge_ns(users: Users, duration_ns: int) -> int:
    """How much earlier than at its place in the middle of the run a travelling user may see a satellite rise (ns).

    Half its way over a speed that is well below that of a satellite's shadow. What is on the safe side costs nothing:
    it only must stay below the time between two passes.
    """
    return int(users.speed_m_s.max(initial=0.0) * 0.5 * duration_ns / GROUND_TRACK_M_S)


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
    sin_mask = np.sin(checked_mask(users, mask_rad))
    ground = (axes, users.pos_ecef, sin_mask, *zenith_cap(users))
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
        block = ephemeris.knots.block(number)
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
        after = ephemeris.knots.sampled(last, count, rows)
        alive = np.logical_and.accumulate(_plausible(constellation, after, rows, margin_m), axis=0)
        unused = np.zeros((len(in_view), count), dtype=np.int32)
        late = _block_events(after, alive, ground, knot_ns, False, True, unused)
        events.append((late[0], rows[late[1]], *late[2:]))
        last_ns = (last + count - 1) * knot_ns
    else:
        last_ns = last * knot_ns
    windows = _pair_events(events, constellation.sat, ephemeris.duration_ns, last_ns, fail_ns)
    return _Scan(windows, in_view[:, : ephemeris.duration_ns // knot_ns + 1], fail_ns, reason)


def _plausible(constellation: Constellation, block: Block, rows: np.ndarray | None, margin_m: float) -> np.ndarray:
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
    block: Block,
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
            far0 = height_over_cap(pos[k, j, 0], pos[k, j, 1], pos[k, j, 2], cap_axis, cap_spread)
            reach0 = reach_m(vel[k, j], 0.5 * h)
            reach1 = -1e30
            far1 = 0.0
            if goes_on:
                q = pos[k + 1, j]
                far1 = height_over_cap(q[0], q[1], q[2], cap_axis, cap_spread)
                reach1 = reach_m(vel[k + 1, j], 0.5 * h)
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

    @property
    def unserved_share(self) -> float:
        """Share of the user-epochs without any satellite."""
        return float(self.unserved.mean()) if len(self.unserved) else 0.0


def prepass(
    ephemeris: Ephemeris,
    users: Users,
    mask_rad: float | np.ndarray | None = None,
    max_age_days: float = 30.0,
    margin_m: float = SHELL_MARGIN_M,
) -> Prepass:
    """Walk over the window at its knots: failures, ages, access windows, satellites in view.

    A satellite is out from the last good knot before the first one where SGP4 reports an error, gives
    something not finite, or a radius outside [perigee - margin, apogee + margin] of its elements or less
    than 100 km above the ground (an error code of 0 can go with garbage); and from the start when its
    elements are more than `max_age_days` from it. Failures of SGP4 are not monotonic: the first latches.
    Run with `ephemeris.with_failures(prepass(...).fail_ns)`; failures the ephemeris has are not read here.

    Parameters
        mask_rad : lowest elevation, one for all or [user]; `users.mask_rad` by default
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
    )
