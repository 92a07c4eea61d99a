"""The localisation service: an anchor satellite for a group of terminals, a precoder for them, pilots, positions.

Orbits are known, and so are the persistent line of sight and K-factor of a pass. What a precoder points at is where
the terminals believe to be; pilots travel to where they truly are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from leosim import channel, downlink_pilots, joint, orbit
from leosim import users as places
from leosim.channel import Radio
from leosim.downlink_pilots import Frames, Impairments, Prior
from leosim.frames import ecef_to_geodetic, local_axes
from leosim.ofdm import Waveform
from leosim.position_task import InfeasibleError, held
from leosim.records import (
    ARRAY_BUSY,
    FIXED,
    KEPT,
    NO_ANCHOR,
    NO_FIX,
    Csi,
    Fix,
    IcalPrecoder,
    Record,
    Satellites,
    Terminals,
    Users,
)
from leosim.streams import generator
from leosim.units import NS_PER_S, SPEED_OF_LIGHT_M_S, rad_to_deg, s_to_ns
from leosim.world import World

HEIGHT_SIGMA_M = 100.0  # of the first belief, whose height is right
INSTANTS = 24  # of a run that are looked at before it
RARELY = 0.05  # of the time without an anchor goes without a warning


@dataclass(frozen=True)
class Localisation:
    """The localisation service in SI: what fixes need besides the world.

    radio : its noise that of one subcarrier; groups : rows of the users that a satellite serves at once
    target_m : average position error bound asked; mask_rad : lowest elevation of an anchor satellite
    belief : what precoders and CSI are made from: "fixes", "prior" (the first belief all the way) or "truth"
    prior_m : limits of the error of the first belief; drift_m_s : rms error of each horizontal component of what a
    terminal takes for its velocity; impairments : of the pilots
    """

    radio: Radio
    waveform: Waveform
    groups: tuple[np.ndarray, ...]
    period_ns: int
    offset_ns: int
    target_m: float
    mask_rad: float
    belief: str
    prior_m: tuple[float, float]
    drift_m_s: float
    impairments: Impairments
    algorithm: tuple[ModuleType, Any]
    positioning: tuple[ModuleType, Any]

    @property
    def records(self) -> tuple[type[Record], ...]:
        """The records of a group and a period, in order."""
        return (IcalPrecoder, Fix)

    @property
    def hold_ns(self) -> int:
        """How long the anchor's array is held: all frames of a fix."""
        return s_to_ns(self.waveform.frames * self.waveform.frame_s)


def grouped(users: Users, most: int) -> tuple[np.ndarray, ...]:
    """All users in groups of neighbours: the first that is left and those nearest to it, at most `most` in all."""
    left, found = np.arange(users.name.size), []
    while left.size:
        away_m = np.linalg.norm(users.pos_ecef[left] - users.pos_ecef[left[0]], axis=1)
        nearest = np.sort(np.argsort(away_m, kind="stable")[:most])
        found.append(left[nearest])
        left = np.delete(left, nearest)
    return tuple(found)


# ---------------------------------------------------------------------------------------------
# Belief


def first_beliefs(world: World, s: Localisation) -> tuple[Fix, ...]:
    """Where the terminals of each group believe to be before any pilots: off by a distance and a direction drawn."""
    users = world.users
    draws = generator(s.radio.seed, "first_beliefs").random((users.name.size, 2))
    low, high = s.prior_m if s.belief != "truth" else (0.0, 0.0)
    astray = users.replace(speed_m_s=low + (high - low) * draws[:, 0], heading_rad=2.0 * math.pi * draws[:, 1])
    pos_ecef = places.at(astray, NS_PER_S)[0].pos_ecef  # as far as that speed leads in a second
    up = local_axes(users.lat_rad, users.lon_rad)[:, 2]
    level_m = math.sqrt((low**2 + low * high + high**2) / 6.0)  # half of the mean square error on each axis
    height_m = HEIGHT_SIGMA_M if s.belief != "truth" else 0.0
    spread = downlink_pilots.coarse(pos_ecef, np.zeros_like(pos_ecef), up, level_m, height_m).covariance_m2
    return tuple(
        scored(
            world,
            Fix(
                t_ns=0,
                user=rows,
                sat=np.full(rows.size, -1),
                status=np.full(rows.size, NO_FIX),
                pos_ecef=pos_ecef[rows],
                covariance_m2=spread[rows],
                fix_ns=np.full(rows.size, -1),
            ),
        )
        for rows in s.groups
    )


def own_velocity(world: World, s: Localisation, t_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Velocities of all users, and what is wrong with the ones they believe, drawn once: [user, xyz] each (m/s)."""
    _, vel_ecef = places.at(world.users, t_ns)
    if s.belief == "truth":
        return vel_ecef, np.zeros_like(vel_ecef)
    drawn = s.drift_m_s * generator(s.radio.seed, "drifts").standard_normal((len(vel_ecef), 2))
    level = local_axes(world.users.lat_rad, world.users.lon_rad)[:, :2]
    return vel_ecef, np.einsum("ua,uax->ux", drawn, level)


def carried(world: World, s: Localisation, belief: Fix, t_ns: int) -> Fix:
    """A belief at a later instant: moved on by each terminal's own velocity, and less sure.

    The error of that velocity lasts, so that its part of the deviation grows with the time since the fix.
    """
    ahead_s = (t_ns - belief.t_ns) / NS_PER_S
    if not ahead_s:
        return belief
    before, after = (places.at(world.users, when)[0].pos_ecef[belief.user] for when in (belief.t_ns, t_ns))
    drift = own_velocity(world, s, t_ns)[1][belief.user]
    since_s = (np.array([[belief.t_ns], [t_ns]]) - np.maximum(belief.fix_ns, 0)) / NS_PER_S
    grown_m2 = (s.drift_m_s if s.belief != "truth" else 0.0) ** 2 * (since_s[1] ** 2 - since_s[0] ** 2)
    return belief.replace(
        t_ns=t_ns,
        pos_ecef=after + (belief.pos_ecef - before) + drift * ahead_s,
        covariance_m2=belief.covariance_m2 + grown_m2[:, None, None] * np.eye(3),
    )


def reported(world: World, s: Localisation, beliefs: Sequence[Fix], csi: Csi) -> Csi:
    """A CSI whose directions, ranges, delays and Doppler shifts come from where the users believe to be.

    Gains, K-factors and phases are measured, and positions set none of them.
    """
    own, own_vel = np.empty((2, world.users.name.size, 3))
    true_vel, drift = own_velocity(world, s, csi.t_ns)
    for belief in beliefs:
        own[belief.user] = carried(world, s, belief, csi.t_ns).pos_ecef
        own_vel[belief.user] = (true_vel + drift)[belief.user]
    flying = world.believed(csi.t_ns)
    row = np.searchsorted(flying.sat, csi.sat)
    pos, vel = flying.pos_ecef[row], flying.vel_ecef[row]
    offset = own[csi.user] - pos
    range_m = np.linalg.norm(offset, axis=1)
    toward = offset / range_m[:, None]
    range_rate_m_s = np.einsum("px,px->p", toward, own_vel[csi.user] - vel)
    return csi.replace(
        range_m=range_m,
        elevation_rad=np.arcsin(np.clip(-np.einsum("px,px->p", toward, zenith(own)[csi.user]), -1.0, 1.0)),
        cosines=np.einsum("pax,px->pa", orbit.body_axes(pos, vel)[:, :2], toward),
        delay_s=range_m / SPEED_OF_LIGHT_M_S,
        doppler_hz=-world.radio.carrier_hz / SPEED_OF_LIGHT_M_S * range_rate_m_s,
    )


def zenith(pos_ecef: np.ndarray) -> np.ndarray:
    """Geodetic zenith of places: [place, xyz]."""
    lat_rad, lon_rad, _ = ecef_to_geodetic(pos_ecef)
    return local_axes(lat_rad, lon_rad)[:, 2]


# ---------------------------------------------------------------------------------------------
# Anchor, precoder, fix


def anchor(world: World, s: Localisation, t_ns: int, belief: Fix, known_ns: int | None = None) -> int:
    """Catalogue number of the satellite that serves a group; -1 when none is above the mask of any of its terminals.

    It is the one that most of them have above the mask, and of those the highest on average, where they believe to be.
    known_ns : when it was told last which satellites are out, now unless given
    """
    flying = world.working(world.ground, t_ns, known_ns)
    elevation_rad = elevations(flying, carried(world, s, belief, t_ns).pos_ecef)
    count = (elevation_rad >= s.mask_rad).sum(axis=1)
    if not count.any():
        return -1
    return int(flying.sat[np.argmax(np.where(count == count.max(), elevation_rad.mean(axis=1), -math.inf))])


def elevations(flying: Satellites, pos_ecef: np.ndarray) -> np.ndarray:
    """Elevation of satellites at places: [sat, place] (rad)."""
    offset = flying.pos_ecef[:, None] - pos_ecef
    sine = np.einsum("spx,px->sp", offset, zenith(pos_ecef)) / np.linalg.norm(offset, axis=2)
    found: np.ndarray = np.arcsin(np.clip(sine, -1.0, 1.0))
    return found


def localise(
    world: World,
    s: Localisation,
    t_ns: int,
    group: int,
    k: int,
    sat: int,
    belief: Fix,
    previous: IcalPrecoder | None,
    fails: bool = False,
) -> tuple[IcalPrecoder, Fix]:
    """The k-th fix of a group: the precoder of its anchor, scored where the terminals truly are, and their positions.

    A terminal that does not have the anchor above the mask, and one whose fix is refused or flagged, goes on believing
    what it did. Where the design fails, the anchor keeps the precoder before, if that is its own and for the same
    terminals; otherwise there are no pilots. Raises position_task.InfeasibleError when the algorithm is told to.
    """
    here = carried(world, s, belief, t_ns)
    flying = world.flying(t_ns)
    row = int(np.searchsorted(flying.sat, sat))
    lasts = sat in world.ephemeris.near(world.ground, t_ns + s.hold_ns).sat  # its elements may end under way
    if not lasts or row >= flying.sat.size or flying.sat[row] != sat:
        return nobody(s, t_ns, NO_ANCHOR), scored(world, without_fix(here))
    flying = one(flying, row)
    above = elevations(flying, here.pos_ecef)[0] >= s.mask_rad
    (true_vel, drift), everybody = own_velocity(world, s, t_ns), places.at(world.users, t_ns)[0].pos_ecef
    true = terminals(world, s, flying, here.user[above], everybody, true_vel)
    member = np.searchsorted(here.user, true.user)
    module, params = s.algorithm
    believed = true.replace(pos_ecef=here.pos_ecef[member], vel_ecef=(true_vel + drift)[true.user])
    p = joint.problem(true)
    try:
        precoder = (
            held(believed, joint.problem(believed), previous) if fails else module.design(believed, previous, params)
        )
    except InfeasibleError as error:
        raise InfeasibleError(f"[ical] at {t_ns / NS_PER_S:g} s: {error}") from None
    if precoder is None:
        return unused(world, s, t_ns, belief, KEPT)
    weights = joint.weights(precoder, p.rows, p.columns, p.waveform)
    gains = p.gains(weights)
    bound_m = np.sqrt(p.speb(gains)[0])
    precoder = precoder.replace(true_rate=p.rate(gains)[0] * s.waveform.data_share, true_bound_m=bound_m)
    found = without_fix(here)
    if s.belief == "fixes" and member.size:
        rng = generator(s.radio.seed, f"downlink_pilots_{group}", k)
        sent = frames(world, s.waveform, t_ns, sat)
        pilots = downlink_pilots.receive(true, sent, weights, s.impairments, rng)
        prior = Prior(believed.pos_ecef, here.covariance_m2[member], believed.vel_ecef)
        module, params = s.positioning
        found = believed_after(found, module.fix(pilots, prior, params), member)
    every_m = np.full(here.user.size, math.nan)
    every_m[member] = np.where(p.heard, bound_m, math.nan)
    return precoder, scored(world, found.replace(bound_m=every_m))


def terminals(
    world: World, s: Localisation, flying: Satellites, users: np.ndarray, pos_ecef: np.ndarray, vel_ecef: np.ndarray
) -> Terminals:
    """The terminals of a satellite where they truly are, those of `users` that see it at all.

    flying : the satellite alone; users : rows; pos_ecef, vel_ecef : [user, xyz] of all users
    """
    stats = replace(world, radio=s.radio).statistics(flying.t_ns, flying.sat)
    seen = np.flatnonzero(np.isin(stats.user, users))
    rows, unknown = stats.user[seen], s.impairments.nuisance
    return Terminals(
        t_ns=flying.t_ns,
        sat=int(flying.sat[0]),
        rows=s.radio.rows,
        columns=s.radio.columns,
        power_w=s.radio.power_w,
        asked_m=s.target_m,
        waveform=s.waveform,
        sat_pos_ecef=flying.pos_ecef[0],
        sat_vel_ecef=flying.vel_ecef[0],
        axes=orbit.body_axes(flying.pos_ecef[0], flying.vel_ecef[0]),
        user=rows,
        pos_ecef=pos_ecef[rows],
        vel_ecef=vel_ecef[rows],
        gamma=stats.beta[seen] * s.radio.antennas,
        kappa=stats.kappa[seen],
        noise_w=np.full(rows.size, s.radio.noise_w),
        attitude_rad=unknown.attitude_rad,
        clock_s=unknown.clock_s,
        carrier_offset_hz=unknown.carrier_hz,
    )


def frames(world: World, waveform: Waveform, t_ns: int, sat: int) -> Frames:
    """Where a satellite is at the middle of the pilots of each frame, the first of which begins at an instant."""
    frame_s = np.arange(waveform.frames) * waveform.frame_s + float(waveform.pilot_s.mean())
    states = [world.ephemeris.near(world.ground, t_ns + s_to_ns(float(later))) for later in frame_s]
    states = [one(state, int(np.searchsorted(state.sat, sat))) for state in states]
    pos, vel = (np.concatenate([getattr(state, name) for state in states]) for name in ("pos_ecef", "vel_ecef"))
    return Frames(frame_s, pos, vel, orbit.body_axes(pos, vel))


def one(flying: Satellites, row: int) -> Satellites:
    """One of several satellites."""
    return flying.replace(**{name: getattr(flying, name)[row : row + 1] for name in ("sat", "pos_ecef", "vel_ecef")})


def without_fix(here: Fix) -> Fix:
    """A belief after a period without pilots."""
    nothing = np.full(here.user.size, math.nan)
    return here.replace(
        sat=np.full(here.user.size, -1), status=np.full(here.user.size, NO_FIX), statistic=nothing, bound_m=nothing
    )


def believed_after(here: Fix, found: Fix, member: np.ndarray) -> Fix:
    """A belief after fixes of some members of the group: replaced where they are to be trusted."""
    new = {name: getattr(here, name).copy() for name in ("sat", "status", "statistic")}
    for name, values in new.items():
        values[member] = getattr(found, name)
    good, kept = found.status == FIXED, ("pos_ecef", "covariance_m2", "fix_ns")
    new |= {name: getattr(here, name).copy() for name in kept}
    new["pos_ecef"][member[good]] = found.pos_ecef[good]
    new["covariance_m2"][member[good]] = found.covariance_m2[good]
    new["fix_ns"][member[good]] = here.t_ns
    return here.replace(**new)


def scored(world: World, fix: Fix) -> Fix:
    """A belief with its distance from the truth (m) and its normalised estimation error squared (3 on average)."""
    off = fix.pos_ecef - places.at(world.users, fix.t_ns)[0].pos_ecef[fix.user]
    nees = np.full(len(off), math.nan)
    unsure = np.trace(fix.covariance_m2, axis1=1, axis2=2) > 0.0
    solved = np.linalg.solve(fix.covariance_m2[unsure], off[unsure][:, :, None])[:, :, 0]
    nees[unsure] = np.einsum("ux,ux->u", off[unsure], solved)
    return fix.replace(error_m=np.linalg.norm(off, axis=1), nees=nees)


def unused(world: World, s: Localisation, t_ns: int, belief: Fix, status: int = ARRAY_BUSY) -> tuple[IcalPrecoder, Fix]:
    """The records of a period without pilots, in which everybody believes what they did.

    status : why; by default the anchor's array is busy throughout, or has failed
    """
    return nobody(s, t_ns, status), scored(world, without_fix(carried(world, s, belief, t_ns)))


def nobody(s: Localisation, t_ns: int, status: int) -> IcalPrecoder:
    """The record of a group without an anchor, or without its array."""
    nothing = np.empty(0)
    return IcalPrecoder(
        t_ns=t_ns,
        sat=np.array(-1),
        status=np.array(status),
        iterations=np.array(0),
        layout=np.array(0),
        chains=np.array(0),
        asked_m=np.array(s.target_m),
        apeb_m=np.array(math.nan),
        user=nothing,
        cosines=np.empty((0, 2)),
        rate=nothing,
        bound_m=nothing,
        phase_rad=nothing,
        weight_re=nothing,
        weight_im=nothing,
    )


def epoch(world: World, s: Localisation, t_ns: int) -> tuple[tuple[IcalPrecoder, ...], tuple[Fix, ...]]:
    """Precoders and fixes of one instant, a group each, from the first belief."""
    beliefs = first_beliefs(world, s)
    found = [
        localise(world, s, t_ns, group, 0, anchor(world, s, t_ns, belief), belief, None)
        for group, belief in enumerate(beliefs)
    ]
    return tuple(precoder for precoder, _ in found), tuple(fix for _, fix in found)


# ---------------------------------------------------------------------------------------------
# Before a run


def link_budget(s: Localisation, altitude_m: float, elevation_deg: float) -> dict[str, float]:
    """Line by line, the SNR of a terminal with a satellite's whole power in one beam, and its share of the groups'.

    altitude_m : height of the satellite over the mean radius (m), spherical Earth, in sight
    """
    band = replace(s.radio, noise_w=s.radio.noise_w * s.waveform.subcarriers)
    budget = channel.link_budget(band, altitude_m, elevation_deg)
    most = max(rows.size for rows in s.groups)
    budget[f"SNR with 1/{most} of the power (dB)"] = budget["SNR (dB)"] - 10.0 * math.log10(most)
    budget["share of time with data (%)"] = 100.0 * s.waveform.data_share
    return budget


def unanchored(world: World, s: Localisation, end_ns: int) -> float:
    """Share of the terminals' time without any satellite above the mask, from some instants of a run."""
    alone = []
    for k in range(INSTANTS):
        t_ns = end_ns * k // INSTANTS
        elevation_rad = elevations(world.flying(t_ns), places.at(world.users, t_ns)[0].pos_ecef)
        alone.append(np.mean(~(elevation_rad >= s.mask_rad).any(axis=0)))
    return float(np.mean(alone))


def warnings(world: World, s: Localisation, end_ns: int) -> tuple[str, ...]:
    """What a scenario's localisation asks for that is likely not meant, in sentences."""
    share = unanchored(world, s, end_ns)
    if share <= RARELY:
        return ()
    return (
        f"localisation: terminals are without a satellite above {rad_to_deg(s.mask_rad):g} degrees in "
        f"{100.0 * share:.0f} % of the time, and get no fix then; lower [localisation] mask_deg",
    )
