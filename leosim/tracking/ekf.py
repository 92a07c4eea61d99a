"""One target by an iterated extended Kalman filter with one motion model: straight flight with white acceleration."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leosim import motion
from leosim.motion import Rules
from leosim.records import LOST, Detection, Track


@dataclass(frozen=True)
class Params(Rules):
    """Power spectral density of the acceleration on each axis, beside what every tracker is told."""

    q_m2_s3: float = field(
        default=0.1, metadata={"doc": "power spectral density of the acceleration on each axis (m^2/s^3)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        motion.positive("q_m2_s3", self.q_m2_s3)


def begin(
    detection: Detection, sat_pos_enu: np.ndarray, sat_vel_enu: np.ndarray, params: Params, carrier_hz: float
) -> Track:
    """A tentative track from one detection; a lost one where that fixes no position above the horizon.

    The position from direction and bistatic range; of the velocity, what the Doppler tells.
    sat_pos_enu, sat_vel_enu : [xyz] the satellite in the receiver's east-north-up frame (m, m/s)
    Raises ValueError where nothing was found.
    """
    return motion.fresh(detection, sat_pos_enu, sat_vel_enu, carrier_hz, params)


def predict(track: Track, t_ns: int, params: Params) -> Track:
    """The track at t_ns, lost where its position is then known too badly; a lost one stays where it was.

    Raises ValueError for an instant before the track's.
    """
    dt_s = motion.seconds_ahead(track, t_ns)
    track = track.replace(t_ns=t_ns, gate=np.array(np.nan))
    if track.status == LOST:
        return track
    mean, covariance = motion.ahead(track.mean, track.covariance, dt_s, params.q_m2_s3)
    return motion.checked(track.replace(mean=mean, covariance=covariance), params)


def update(
    track: Track,
    detection: Detection,
    sat_pos_enu: np.ndarray,
    sat_vel_enu: np.ndarray,
    params: Params,
    carrier_hz: float,
) -> Track:
    """The track after a dwell at its instant: corrected by the detection, or coasting without one in its gate.

    `motion.corrected`; a track confirms, coasts or is lost by the counts in `Params`. A lost track stays as it is.
    sat_pos_enu, sat_vel_enu : [xyz] the satellite in the receiver's east-north-up frame (m, m/s)
    Raises ValueError for a detection of another instant or target.
    """
    if track.status == LOST:
        return track
    if not motion.found(detection, track):
        return motion.miss(track, params)
    made = motion.corrected(
        track.mean, track.covariance, detection, sat_pos_enu, sat_vel_enu, carrier_hz, params.passes
    )
    track = track.replace(gate=made.distance)
    if made.distance > params.gate:
        return motion.miss(track, params)
    return motion.checked(motion.hit(track.replace(mean=made.mean, covariance=made.covariance), params), params)
