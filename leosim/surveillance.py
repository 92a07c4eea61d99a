"""From a dwell's echo to a track: where the target is expected, what is heard and found, and what is then believed.

The loop of sensing: the expected position aims precoder, sub-arrays and search, and the track gives the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from leosim import echo, motion
from leosim.channel import Radio
from leosim.echo import Reception
from leosim.flights import Flights
from leosim.matched_filter import Prior
from leosim.radar import Receiver
from leosim.records import BELOW_THRESHOLD, FOUND, LOST, NO_TRACK, Detection, IsacPrecoder, Satellites, Track
from leosim.streams import generator
from leosim.units import NS_PER_S

GATE_SIGMAS = 5.0  # of the expected measurement, searched on both sides
LEAST_GATE = np.array([0.02, 0.02, 150.0, 300.0])  # u, w, range (m), Doppler (Hz): some cells of each


@dataclass(frozen=True)
class Surveillance:
    """Echo, detection and tracking of the sensing service.

    reception : what a dwell is like; detection, tracking : algorithm and parameters
    cue_position_m, cue_speed_m_s : rms error of each coordinate announced for a target without a track
    aim : "track": it aims the dwells where there is one; "cue": each dwell is aimed by an announcement, and the track
    only listens
    """

    reception: Reception
    detection: tuple[ModuleType, Any]
    tracking: tuple[ModuleType, Any]
    cue_position_m: float
    cue_speed_m_s: float
    aim: str = "track"


@dataclass(frozen=True)
class Expected:
    """Where a target is expected at a dwell: mean [6] (m, m/s), covariance [6, 6], and the track predicted to it."""

    mean: np.ndarray
    covariance: np.ndarray
    track: Track | None

    @property
    def pos_enu(self) -> np.ndarray:
        """Position east, north, up of the receiver (m): [xyz]."""
        return self.mean[:3]


def expect(
    s: Surveillance, seed: int, t_ns: int, k: int, target: int, track: Track | None, true_state: np.ndarray
) -> Expected:
    """The predicted track of a target; without one, or open loop, an announcement: the truth with the error of the cue.

    true_state : [6] position and velocity, east, north, up of the receiver (m, m/s)
    """
    ahead = predicted(s, track, t_ns)
    if ahead is not None and s.aim == "track":
        return Expected(ahead.mean, ahead.covariance, ahead)
    sigma = np.repeat([s.cue_position_m, s.cue_speed_m_s], 3)
    drawn = generator(seed, f"cue_{target}", k).standard_normal(6)
    return Expected(true_state + sigma * drawn, np.diag(sigma**2), ahead)


def predicted(s: Surveillance, track: Track | None, t_ns: int) -> Track | None:
    """A track at a later instant; None where there is none that may aim a dwell then."""
    if track is None or not alive(track):
        return None
    module, params = s.tracking
    ahead: Track = module.predict(track, t_ns, params)
    return ahead if alive(ahead) and ahead.mean[2] > 0.0 else None


def alive(track: Track) -> bool:
    """Whether a track may aim the next dwell."""
    return int(track.status) not in (LOST, NO_TRACK)


def look(
    s: Surveillance,
    radio: Radio,
    receiver: Receiver,
    flights: Flights,
    flying: Satellites,
    precoder: IsacPrecoder,
    expected: Expected,
    k: int,
) -> tuple[Detection, Track]:
    """One dwell: the echo is received and searched around what is expected, and the track corrected by it.

    flying : the sensing satellite alone; flights : the truth, of which the echo is made
    """
    pos_enu, vel_enu = flights.states(precoder.t_ns / NS_PER_S)
    above = pos_enu[:, 2] > 0.0
    steered = expected.pos_enu[:2] / np.linalg.norm(expected.pos_enu)
    heard = echo.receive(
        precoder,
        radio,
        flying.pos_ecef[0],
        flying.vel_ecef[0],
        receiver,
        pos_enu[above],
        vel_enu[above],
        flights.rcs_m2[above],
        steered,
        s.reception,
        generator(radio.seed, "echo", k),
    )
    module, params = s.detection
    detection = module.detect(heard, prior(expected, heard), params)
    return detection, follow(s, detection, expected, heard.sat_pos_enu, heard.sat_vel_enu, radio.carrier_hz)


def prior(expected: Expected, heard: echo.Echo) -> Prior:
    """Where the echo is expected, and how far around it is searched."""
    value, slope = motion.measure(expected.mean, heard.sat_pos_enu, heard.sat_vel_enu, heard.carrier_hz)
    spread = np.sqrt(np.einsum("mi,ij,mj->m", slope, expected.covariance, slope))
    return Prior(value=value, gate=np.maximum(GATE_SIGMAS * spread, LEAST_GATE))


def follow(
    s: Surveillance,
    detection: Detection,
    expected: Expected,
    sat_pos_enu: np.ndarray,
    sat_vel_enu: np.ndarray,
    carrier_hz: float,
) -> Track:
    """The track after a dwell: begun, corrected, coasting, lost, or none."""
    module, params = s.tracking
    if expected.track is not None:
        return module.update(expected.track, detection, sat_pos_enu, sat_vel_enu, params, carrier_hz)
    if detection.status == FOUND:
        return module.begin(detection, sat_pos_enu, sat_vel_enu, params, carrier_hz)
    return untracked(detection)


def untracked(detection: Detection) -> Track:
    """The record of a dwell after which nothing is tracked."""
    return Track(
        t_ns=detection.t_ns,
        target=detection.target,
        status=np.array(NO_TRACK),
        hits=np.array(0),
        misses=np.array(0),
        mean=np.full(6, np.nan),
        covariance=np.full((6, 6), np.nan),
    )


def blind(s: Surveillance, t_ns: int, target: int, expected: Expected | None) -> tuple[Detection, Track]:
    """The records of a dwell without a satellite or a target: nothing is found, a track coasts."""
    nothing = Detection(
        t_ns=t_ns,
        sat=np.array(-1),
        target=np.array(target),
        status=np.array(BELOW_THRESHOLD),
        statistic=np.array(0.0),
    )
    if expected is None:
        return nothing, untracked(nothing)
    return nothing, follow(s, nothing, expected, np.zeros(3), np.zeros(3), 1.0)


def scored(track: Track, true_state: np.ndarray) -> Track:
    """A track with its distance from the truth (m) and its normalised estimation error squared (6 on average)."""
    if not alive(track):
        return track
    off = track.mean - true_state
    return track.replace(
        error_m=np.array(np.linalg.norm(off[:3])), nees=np.array(off @ np.linalg.solve(track.covariance, off))
    )
