"""One target by interacting multiple models: a filter for steady flight and one for manoeuvres, mixed each dwell."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from leosim import motion
from leosim.motion import Rules
from leosim.records import LOST, Detection, Track

LEAST_PROBABILITY = 1e-12  # no model is ruled out for good


@dataclass(frozen=True)
class Params(Rules):
    """Acceleration and sojourn time of the two models, beside what every tracker is told."""

    steady_q_m2_s3: float = field(
        default=0.1, metadata={"doc": "power spectral density of the acceleration in steady flight (m^2/s^3)"}
    )
    agile_q_m2_s3: float = field(
        default=100.0, metadata={"doc": "power spectral density of the acceleration in a manoeuvre (m^2/s^3)"}
    )
    steady_s: float = field(default=60.0, metadata={"doc": "mean time of steady flight between manoeuvres (s)"})
    agile_s: float = field(default=60.0, metadata={"doc": "mean time of a manoeuvre (s)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steady_q_m2_s3", "agile_q_m2_s3", "steady_s", "agile_s"):
            motion.positive(name, getattr(self, name))

    @property
    def at_rest(self) -> np.ndarray:
        """Probabilities of the models while nothing is known: [model], by their sojourn times."""
        return np.array([self.steady_s, self.agile_s]) / (self.steady_s + self.agile_s)


def switching(dt_s: float, params: Params) -> np.ndarray:
    """Probability of each model (column) dt_s after each model (row): [model, model].

    The Markov process in continuous time with the sojourn times of `Params`, so that two steps are one of their sum.
    """
    rest = params.at_rest
    return rest + math.exp(-dt_s / params.steady_s - dt_s / params.agile_s) * (np.eye(2) - rest)


def begin(
    detection: Detection, sat_pos_enu: np.ndarray, sat_vel_enu: np.ndarray, params: Params, carrier_hz: float
) -> Track:
    """A tentative track from one detection, the same under both models; a lost one where that fixes no position.

    The position from direction and bistatic range; of the velocity, what the Doppler tells.
    sat_pos_enu, sat_vel_enu : [xyz] the satellite in the receiver's east-north-up frame (m, m/s)
    Raises ValueError where nothing was found.
    """
    track = motion.fresh(detection, sat_pos_enu, sat_vel_enu, carrier_hz, params)
    if track.status == LOST:
        return track
    return track.replace(
        probability=params.at_rest,
        model_mean=np.stack([track.mean] * 2),
        model_covariance=np.stack([track.covariance] * 2),
    )


def predict(track: Track, t_ns: int, params: Params) -> Track:
    """The track at t_ns, lost where its position is then known too badly; a lost one stays where it was.

    The models are mixed by the probability of a switch on the way, then each moves ahead: section 11.6.6, Bar-Shalom,
    Li and Kirubarajan 2001. Raises ValueError for an instant before the track's.
    """
    dt_s = motion.seconds_ahead(track, t_ns)
    track = track.replace(t_ns=t_ns, gate=np.array(np.nan))
    if track.status == LOST:
        return track
    joint = track.probability[:, None] * switching(dt_s, params)
    probability = joint.sum(axis=0)
    means, covariances = mixtures((joint / probability).T, track.model_mean, track.model_covariance)
    moved = motion.ahead(means, covariances, dt_s, np.array([params.steady_q_m2_s3, params.agile_q_m2_s3]))
    return motion.checked(combined(track, probability, *moved), params)


def update(
    track: Track,
    detection: Detection,
    sat_pos_enu: np.ndarray,
    sat_vel_enu: np.ndarray,
    params: Params,
    carrier_hz: float,
) -> Track:
    """The track after a dwell at its instant: corrected by the detection, or coasting without one in its gate.

    `motion.corrected` under each model, then their probabilities by the likelihood of the detection, section 11.6.6,
    Bar-Shalom, Li and Kirubarajan 2001. A detection is taken that passes the gate of either
    model, and the smaller normalised innovation squared is kept. A track confirms, coasts or is lost by the counts
    in `Params`; a lost one stays as it is.

    sat_pos_enu, sat_vel_enu : [xyz] the satellite in the receiver's east-north-up frame (m, m/s)
    Raises ValueError for a detection of another instant or target.
    """
    if track.status == LOST:
        return track
    if not motion.found(detection, track):
        return motion.miss(track, params)
    made = motion.corrected(
        track.model_mean, track.model_covariance, detection, sat_pos_enu, sat_vel_enu, carrier_hz, params.passes
    )
    distance = made.distance.min()
    track = track.replace(gate=distance)
    if distance > params.gate:
        return motion.miss(track, params)
    # Likelihoods over the largest one: alone they may all be too small for a number.
    weight = track.probability * np.exp(made.log_likelihood - made.log_likelihood.max())
    weight = np.maximum(weight, LEAST_PROBABILITY * weight.sum())
    track = combined(track, weight / weight.sum(), made.mean, made.covariance)
    return motion.checked(motion.hit(track, params), params)


def combined(track: Track, probability: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> Track:
    """A track with the probability, mean and covariance of each model, and the mixture of them all."""
    mean, covariance = mixtures(probability, means, covariances)
    return track.replace(
        mean=mean, covariance=covariance, probability=probability, model_mean=means, model_covariance=covariances
    )


def mixtures(share: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means [..., 6] and covariances [..., 6, 6] of mixtures of Gaussians, from the share [..., model] of each."""
    mean = share @ means
    off = means - mean[..., None, :]
    within = (share @ covariances.reshape(len(covariances), 36)).reshape(*mean.shape, 6)
    return mean, motion.symmetric(within + np.swapaxes(off, -1, -2) @ (share[..., None] * off))
