"""One dwell of the sensing service: a satellite, its users, a precoder for them and a target, and its score.

Orbits are known, and so are the persistent line of sight and K-factor of a pass: the statistical CSI of a dwell
is the true one. What a precoder points at is where the target is expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from leosim import channel, orbit, precoding, radar, rate_splitting, surveillance
from leosim.antenna import element_gain
from leosim.channel import Radio
from leosim.flights import Flights
from leosim.precoding import InfeasibleError
from leosim.radar import Bistatic, Receiver
from leosim.records import (
    HELD,
    NO_SATELLITE_IN_VIEW,
    NO_TARGET_IN_VIEW,
    ChannelStats,
    Detection,
    DownlinkUsers,
    Illumination,
    IsacPrecoder,
    Record,
    Satellites,
    Targets,
    Track,
    Users,
)
from leosim.streams import generator
from leosim.surveillance import Expected, Surveillance
from leosim.units import NS_PER_S, db_to_linear, linear_to_db
from leosim.world import World


@dataclass(frozen=True)
class Sensing:
    """The sensing service in SI: what a dwell needs besides the world.

    site : the receiver as a user with its mask; served : [user] bool, the users near the receiver
    samples : L of a dwell; satellite : name in `RULES`; cross_range_m : bound asked of the rms error (m)
    """

    radio: Radio
    receiver: Receiver
    site: Users
    flights: Flights
    served: np.ndarray
    period_ns: int
    offset_ns: int
    dwell_ns: int
    samples: int
    satellite: str
    cross_range_m: float
    crb: str
    rcs_model: str
    ergodic_draws: int
    algorithm: tuple[ModuleType, Any]
    surveillance: Surveillance | None = None

    @property
    def records(self) -> tuple[type[Record], ...]:
        """The records of a dwell, in order."""
        return (IsacPrecoder, Targets, *((Detection, Track) if self.surveillance is not None else ()))


def near(receiver: Receiver, users: Users, radius_m: float, most: int) -> np.ndarray:
    """Which users are within a radius of the receiver, the nearest ones only: [user] bool."""
    distance = np.linalg.norm(users.pos_ecef - receiver.pos_ecef, axis=1)
    order = np.argsort(distance, kind="stable")[:most]
    chosen = np.zeros(distance.size, dtype=bool)
    chosen[order] = distance[order] <= radius_m
    return chosen


def highest(s: Sensing, seen: Bistatic, target: int) -> np.ndarray:
    """Elevation of each satellite at the receiver (rad)."""
    return seen.satellite_elevation_rad


def best_snr(s: Sensing, seen: Bistatic, target: int) -> np.ndarray:
    """Power gain of the echo of the target by each satellite (1)."""
    return echo(s, seen, target)


RULES: dict[str, Callable[[Sensing, Bistatic, int], np.ndarray]] = {"highest": highest, "best_snr": best_snr}


def echo(s: Sensing, seen: Bistatic, target: int) -> np.ndarray:
    """Power gain |alpha|^2 of a target's echo by each satellite, Eq. (11), Park et al. 2024 (1)."""
    cross_section = radar.rcs(s.rcs_model, float(s.flights.rcs_m2[target]), seen.bistatic_angle_rad)
    satellite_gain = s.radio.satellite_gain * element_gain(seen.departure_cos_off_nadir, s.radio.element)
    return radar.echo_gain(
        seen.range_tx_m, seen.range_rx_m, cross_section, s.radio.carrier_hz, satellite_gain, s.receiver.gain
    )


@dataclass(frozen=True)
class Aim:
    """Whom and what a dwell is for, before anything is designed.

    flying : the sensing satellite alone, None without one; target : the row of the target, -1 without one
    state : its true position and velocity [6]; expected : where it is looked for, None without surveillance
    believed_enu : [target, xyz] the targets' positions with the expected one among them (m)
    """

    t_ns: int
    flying: Satellites | None
    target: int
    state: np.ndarray
    expected: Expected | None
    believed_enu: np.ndarray

    @property
    def sat(self) -> int:
        """Catalogue number of the sensing satellite; -1: none."""
        return -1 if self.flying is None else int(self.flying.sat[0])


def aim(world: World, s: Sensing, t_ns: int, k: int, tracks: Mapping[int, Track], known_ns: int | None = None) -> Aim:
    """Satellite and target of dwell k at an instant.

    Targets above the receiver's horizon are illuminated in turn, where they are expected. The satellite is the
    best one by the rule among those above the receiver's mask that were not known to be out at known_ns.
    tracks : the last track of each target
    """
    flying = world.working(s.site, t_ns, known_ns)
    above = np.isin(flying.sat, orbit.geometry(flying, s.site).sat)
    pos_enu, vel_enu = s.flights.states(t_ns / NS_PER_S)
    in_turn = np.flatnonzero(pos_enu[:, 2] > 0.0)
    target = int(in_turn[k % in_turn.size]) if in_turn.size else -1
    state = np.append(pos_enu[target], vel_enu[target])
    expected = None
    if s.surveillance is not None and target >= 0:
        expected = surveillance.expect(s.surveillance, s.radio.seed, t_ns, k, target, tracks.get(target), state)
    if not above.any():
        return Aim(t_ns, None, target, state, expected, pos_enu)
    believed = (
        pos_enu if expected is None else np.where(np.arange(len(pos_enu))[:, None] == target, expected.pos_enu, pos_enu)
    )
    believed_ecef = s.receiver.pos_ecef + believed @ s.receiver.axes
    everybody = radar.geometry(flying.pos_ecef[above], flying.vel_ecef[above], s.receiver, believed_ecef[target])
    row = np.flatnonzero(above)[np.argmax(RULES[s.satellite](s, everybody, target))]
    chosen = flying.replace(**{name: getattr(flying, name)[row : row + 1] for name in ("sat", "pos_ecef", "vel_ecef")})
    return Aim(t_ns, chosen, target, state, expected, believed)


def dwell(
    world: World, s: Sensing, at: Aim, k: int, previous: IsacPrecoder | None, fails: bool = False
) -> tuple[Record, ...]:
    """Dwell k: the precoder with its score, where the targets truly are, and what was made of the echo.

    The satellite serves the users near the receiver that have it above their mask. Where the design fails, it
    keeps the precoder before, if that is its own and for the same users; otherwise there is no dwell.
    Returns IsacPrecoder and Targets; with surveillance, Detection and Track too.
    Raises precoding.InfeasibleError when the algorithm is told to.
    """
    chosen, t_ns, target, watch = at.flying, at.t_ns, at.target, s.surveillance
    if chosen is None:
        return unused(s, at, NO_SATELLITE_IN_VIEW)
    pos_enu, _ = s.flights.states(t_ns / NS_PER_S)
    believed_ecef, true_ecef = (s.receiver.pos_ecef + enu @ s.receiver.axes for enu in (at.believed_enu, pos_enu))
    aimed, true = (radar.geometry(chosen.pos_ecef, chosen.vel_ecef, s.receiver, x) for x in (believed_ecef, true_ecef))
    stats = replace(world, radio=s.radio).statistics(t_ns, chosen.sat)
    users, kappa = downlink(s, world.users, stats, int(chosen.sat[0]))
    if fails:
        if previous is None or int(previous.sat) != at.sat or not np.array_equal(previous.user[:-2], users.user):
            return unused(s, at, HELD)
        precoder = previous.replace(t_ns=t_ns, target=np.array(target), status=np.array(HELD), iterations=np.array(0))
        precoder = precoder.replace(
            **dict.fromkeys(("cross_range_asked_m", "cross_range_m", "snr"), np.array(math.nan))
        )
    else:
        module, params = s.algorithm
        try:
            precoder = module.design(users, illumination(s, t_ns, aimed, target), previous, params)
        except InfeasibleError as error:
            raise InfeasibleError(f"[isac] at {t_ns / NS_PER_S:g} s: {error}") from None
    made = score(s, users, kappa, precoder, true, aimed, k), truth(s, t_ns, true)
    if watch is None:
        return made
    if at.expected is None:
        return (*made, *surveillance.blind(watch, t_ns, target, None))
    detection, track = surveillance.look(watch, s.radio, s.receiver, s.flights, chosen, precoder, at.expected, k)
    astray_m = np.array(np.linalg.norm(at.expected.pos_enu - at.state[:3]))
    return (*made, detection.replace(expected_error_m=astray_m), surveillance.scored(track, at.state))


def unused(s: Sensing, at: Aim, status: int) -> tuple[Record, ...]:
    """The records of a dwell that does not take place: nothing is sent, nothing is found, a track coasts."""
    made = (nobody(at.t_ns, at.target, status), truth(s, at.t_ns, None))
    if s.surveillance is None:
        return made
    nothing, track = surveillance.blind(s.surveillance, at.t_ns, at.target, at.expected)
    return (*made, nothing, surveillance.scored(track, at.state))


def downlink(s: Sensing, users: Users, stats: ChannelStats, sat: int) -> tuple[DownlinkUsers, np.ndarray]:
    """The users the satellite serves, and the K-factor of each (linear)."""
    rows = s.served[stats.user] & (stats.elevation_rad >= users.mask_rad[stats.user])
    served = DownlinkUsers(
        t_ns=stats.t_ns,
        sat=sat,
        rows=s.radio.rows,
        columns=s.radio.columns,
        power_w=s.radio.power_w,
        user=stats.user[rows],
        cosines=stats.cosines[rows],
        noise_w=s.radio.noise_w / stats.beta[rows],
    )
    return served, stats.kappa[rows]


def illumination(s: Sensing, t_ns: int, seen: Bistatic, target: int) -> Illumination:
    """What the cross-range bound asks of the precoder, where the target is expected; nothing without a target."""
    if target < 0:
        return Illumination(t_ns=t_ns, target=target, gain_w=0.0, cosines=np.zeros(2))
    gain_w = radar.gain_for_cross_range(
        s.cross_range_m,
        s.receiver,
        seen.arrival[target],
        seen.range_rx_m[target],
        echo(s, one(seen, target), target),
        s.samples,
        s.crb,
    )
    return Illumination(t_ns=t_ns, target=target, gain_w=float(gain_w), cosines=seen.departure[target])


def one(seen: Bistatic, target: int) -> Bistatic:
    """The geometry of one of several targets."""
    return Bistatic(**{name: values[target] for name, values in vars(seen).items()})


def score(
    s: Sensing,
    users: DownlinkUsers,
    kappa: np.ndarray,
    precoder: IsacPrecoder,
    seen: Bistatic,
    aimed: Bistatic,
    k: int,
) -> IsacPrecoder:
    """A precoder with what it truly achieves: ergodic rates of the users, bound and SNR at the true target.

    seen : the true geometry; aimed : the expected one, which the sub-arrays are steered by
    """
    gain = precoding.gains(precoder, users.cosines, users.rows, users.columns) / users.noise_w[:, None]
    rng = generator(s.radio.seed, "isac_fading", k)
    private, common = rate_splitting.ergodic_rates(gain, bool(precoder.cancelled), kappa, s.ergodic_draws, rng)
    decodable = float(common.min(initial=math.inf)) if users.user.size else 0.0
    share = precoder.split[:-2] * min(1.0, decodable / max(float(precoder.split.sum()), 1e-300))
    scored = precoder.replace(
        ergodic=np.append(private, [decodable, 0.0]),
        min_ergodic=np.array(float(np.min(private + share)) if users.user.size else 0.0),
    )
    target = int(precoder.target)
    if target < 0:
        return scored.replace(status=np.array(NO_TARGET_IN_VIEW))
    toward = precoding.gains(precoder, seen.departure[target][None], users.rows, users.columns).sum()
    snr = radar.integrated_snr(toward, echo(s, one(seen, target), target), s.receiver.noise_w, s.samples)
    steered = aimed.arrival[target]
    covariance = radar.angle_covariance(s.receiver, snr, seen.arrival[target], steered, s.crb)
    variance = radar.cross_range_variance(covariance, seen.arrival[target], seen.range_rx_m[target])
    return scored.replace(
        cross_range_asked_m=np.array(s.cross_range_m),
        cross_range_m=np.sqrt(variance),
        snr=radar.detection_snr(s.receiver, snr, seen.arrival[target], steered),
    )


def truth(s: Sensing, t_ns: int, seen: Bistatic | None) -> Targets:
    """Where the targets truly are, as the receiver and the sensing satellite see them."""
    pos, vel = s.flights.states(t_ns / NS_PER_S)
    nothing = np.full(len(pos), math.nan)
    return Targets(
        t_ns=t_ns,
        target=np.arange(len(pos)),
        pos_enu=pos,
        vel_enu=vel,
        range_rx_m=np.linalg.norm(pos, axis=1),
        range_tx_m=nothing if seen is None else seen.range_tx_m,
        elevation_rad=np.arctan2(pos[:, 2], np.hypot(pos[:, 0], pos[:, 1])),
        bistatic_angle_rad=nothing if seen is None else seen.bistatic_angle_rad,
    )


def nobody(t_ns: int, target: int, status: int) -> IsacPrecoder:
    """The record of a dwell without a satellite that senses."""
    zero, none = np.array(0.0), np.empty(0)
    return IsacPrecoder(
        t_ns=t_ns,
        sat=np.array(-1),
        target=np.array(target),
        status=np.array(status),
        iterations=np.array(0),
        min_rate=zero,
        gain_asked_w=zero,
        gain_w=zero,
        power_needed_w=zero,
        user=none,
        power_w=none,
        rate=none,
        split=none,
        cosines=np.empty((0, 2)),
        weight_re=none,
        weight_im=none,
    )


def link_budget(s: Sensing, altitude_m: float, elevation_deg: float) -> dict[str, float]:
    """What a satellite can do at an elevation with its whole power, for a user or for a target.

    The target is seen 45 degrees high, across the satellite's azimuth, where the bistatic angle is acos(-d_t . d_s).
    altitude_m : height of the satellite over the mean radius (m). Returns names with units to values.
    """
    lines = channel.link_budget(s.radio, altitude_m, elevation_deg)
    direct_m = 1e3 * lines["slant range (km)"]
    budget = {"slant range (km)": lines["slant range (km)"], "user SNR (dB)": lines["SNR (dB)"]}
    along = math.sin(math.radians(elevation_deg)) * math.sqrt(0.5)  # d_t . d_s
    arrival = np.array([math.sqrt(0.5), 0.0])
    cross_section = radar.rcs(s.rcs_model, float(s.flights.rcs_m2[0]), np.array(math.acos(-along)))
    gain = s.radio.satellite_gain * db_to_linear(lines["element gain (dBi)"])
    for range_rx_m in (5e3, 15e3, 30e3):
        range_tx_m = math.sqrt(direct_m**2 + range_rx_m**2 - 2.0 * direct_m * range_rx_m * along)
        echoed = radar.echo_gain(
            np.array(range_tx_m), np.array(range_rx_m), cross_section, s.radio.carrier_hz, gain, s.receiver.gain
        )
        snr = radar.integrated_snr(np.array(s.radio.antennas * s.radio.power_w), echoed, s.receiver.noise_w, s.samples)
        covariance = radar.angle_covariance(s.receiver, snr, arrival, None, s.crb)
        variance = radar.cross_range_variance(covariance, arrival, np.array(range_rx_m))
        at = f"target at {range_rx_m / 1e3:g} km"
        budget[f"{at}: echo SNR (dB)"] = float(linear_to_db(radar.detection_snr(s.receiver, snr, arrival)))
        budget[f"{at}: cross-range (m)"] = float(np.sqrt(variance))
    return budget


def warnings(s: Sensing) -> tuple[str, ...]:
    """What a scenario's sensing asks for that is likely not meant, in sentences."""
    said = []
    if not s.served.any():
        said.append("sensing: no user is near the receiver, so dwells serve nobody; raise [sensing] user_radius_km")
    low = [name for name, pos in zip(s.flights.name, s.flights.start_enu, strict=True) if pos[2] <= 0.0]
    if low:
        said.append(f"sensing: {', '.join(low)} below the receiver's horizon at the start, where it cannot be heard")
    return tuple(said)
