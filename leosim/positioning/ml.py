"""Maximum likelihood from wideband pilots: search around the prior, then Levenberg-Marquardt in position and offsets.

What is not known (attitude, clock, carrier) is estimated beside the position, each with its deviation as a prior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import gamma as gamma_distribution

from leosim import pilot_likelihood as likelihood
from leosim import pilot_search
from leosim.downlink_pilots import Pilots, Prior
from leosim.pilot_likelihood import Fitted
from leosim.records import FIXED, OUTLIER, REFUSED_FIX, Fix
from leosim.units import SPEED_OF_LIGHT_M_S

TOOTH, NEIGHBOURS = 1.1, (-2, -1, 1, 2)  # delays tried again: of one over the bandwidth, and how many of them


@dataclass(frozen=True)
class Params:
    """How far is searched, how finely, and what makes a fix refused or flagged."""

    reach: float = field(default=3.5, metadata={"doc": "search within so many standard deviations of the prior"})
    step: float = field(default=0.012, metadata={"doc": "step of the direction cosines searched (1)"})
    keep: int = field(default=3, metadata={"doc": "peaks of the search that are refined"})
    iterations: int = field(default=12, metadata={"doc": "most iterations of the refinement"})
    false_alarm: float = field(
        default=1e-6, metadata={"doc": "refused when noise alone would explain as much with this probability"}
    )
    worst_m: float = field(default=1000.0, metadata={"doc": "refused when the fix would err by more, rms (m)"})
    least_share: float = field(
        default=0.9, metadata={"doc": "flagged below this share of the line-of-sight power that is expected"}
    )
    most_left: float = field(
        default=1.5, metadata={"doc": "flagged above so many times the power that scattering and noise leave"}
    )
    gain_db: float = field(default=6.0, metadata={"doc": "flagged when the path gain is further from what is expected"})
    margin: float = field(
        default=12.0, metadata={"doc": "flagged when another place is less unlikely than this, in log-likelihood"}
    )
    gate: float = field(default=30.0, metadata={"doc": "flagged when further from the prior, squared distance (1)"})

    def __post_init__(self) -> None:
        for name in ("reach", "step", "worst_m", "least_share", "most_left", "gain_db", "margin", "gate"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)!r}")
        if self.keep < 1 or self.iterations < 1:
            raise ValueError(f"keep, iterations: expected at least 1, got {self.keep} and {self.iterations}")
        if not 0.0 < self.false_alarm < 1.0:
            raise ValueError(f"false_alarm: expected a probability, got {self.false_alarm!r}")


def fix(pilots: Pilots, prior: Prior, params: Params) -> Fix:
    """Where each terminal of a satellite is, from its pilots: positions at the pilots' time, and their covariance.

    1. The noise of each block and pilot, scattering included, from the power received and the K-factor.
    2. Directions x Doppler shifts x delays around the prior; the best peaks go on.
    3. Subcarriers condensed at the delays found; position and offsets by Levenberg-Marquardt, the complex gain of each
       frame projected out. Covariance: the inverse information of position and offsets, scaled by the residual noise
       where that is more than expected.
    Refused: no line of sight, pilots that noise could explain, a fix worse than `worst_m`. Flagged as an outlier: less
    power explained than a line of sight has, a path gain out of line, a second place about as likely, a place the prior
    excludes. Neither moves the terminal: it keeps its prior.
    """
    power_w = likelihood.power_of(pilots)
    weight = likelihood.weights(pilots, power_w)
    status = np.full(len(pilots.user), REFUSED_FIX)
    position, covariance = np.array(prior.pos_ecef, dtype=float), np.array(prior.covariance_m2, dtype=float)
    statistic = np.zeros(len(pilots.user))
    starts = [
        pilot_search.search(pilots, prior, k, weight[k], params.step, params.reach, params.keep)
        if pilots.kappa[k] > 0.0
        else []
        for k in range(len(pilots.user))
    ]
    if any(starts):
        of = np.repeat(np.arange(len(starts)), [len(each) for each in starts])
        looked = np.array([max((start.looked for start in each), default=1) for each in starts])
        some = [start for each in starts for start in each]
        fitted = likelihood.refine(pilots, prior, power_w, of, some, params.iterations)
        again, rest = _neighbours(pilots, params, fitted, of)
        if rest:
            fitted = _joined(fitted, likelihood.refine(pilots, prior, power_w, again, rest, params.iterations))
            of = np.concatenate([of, again])
        for k in np.unique(of):
            rows = np.flatnonzero(of == k)
            best = rows[np.argmin(_posterior(fitted, prior, k, rows))]
            statistic[k] = fitted.share[best]
            status[k] = _judge(pilots, prior, params, fitted, k, rows, best, int(looked[k]))
            if status[k] == FIXED:
                position[k], covariance[k] = fitted.pos_ecef[best], fitted.covariance_m2[best]
    return Fix(
        t_ns=pilots.t_ns,
        user=pilots.user,
        sat=np.full(len(status), pilots.sat),
        status=status,
        pos_ecef=position,
        covariance_m2=covariance,
        statistic=statistic,
        fix_ns=np.where(status == FIXED, pilots.t_ns, -1),
    )


def _neighbours(
    pilots: Pilots, params: Params, fitted: Fitted, of: np.ndarray
) -> tuple[np.ndarray, list[pilot_search.Start]]:
    """Where to try again from the best place of a terminal that explains less than it should: delays next to it.

    Pilots at both edges of the band make a comb of delays, the likelihood's teeth some 1 / bandwidth apart.
    Returns the terminal of each start, and the starts.
    """
    again, starts = [], []
    for k in np.unique(of):
        rows = np.flatnonzero(of == k)
        best = rows[np.argmin(fitted.cost[rows])]
        if fitted.share[best] < fitted.expected_share[best] - 2.0 * fitted.share_sigma[best]:
            away = fitted.pos_ecef[best] - pilots.sat_pos_ecef[len(pilots.frame_s) // 2]
            tooth_m = TOOTH * SPEED_OF_LIGHT_M_S / pilots.waveform.bandwidth_hz
            for n in NEIGHBOURS:
                place = fitted.pos_ecef[best] + n * tooth_m * away / np.linalg.norm(away)
                starts.append(pilot_search.Start(place, fitted.offset[best], float(fitted.snr[best]), 1))
                again.append(k)
    return np.array(again, dtype=int), starts


def _joined(first: Fitted, second: Fitted) -> Fitted:
    return Fitted(**{name: np.concatenate([value, getattr(second, name)]) for name, value in vars(first).items()})


def _posterior(fitted: Fitted, prior: Prior, k: int, rows: np.ndarray) -> np.ndarray:
    """Log-likelihoods with their sign turned, the prior's included, of the places `rows`: [row]."""
    return fitted.cost[rows] + 0.5 * _distance(fitted, prior, k, rows)


def _distance(fitted: Fitted, prior: Prior, k: int, rows: np.ndarray) -> np.ndarray:
    """Squared distance of places from the prior, in its deviations and the fix's: [row]."""
    off = fitted.pos_ecef[rows] - prior.pos_ecef[k]
    return np.einsum(
        "ri,ri->r", off, np.linalg.solve(fitted.covariance_m2[rows] + prior.covariance_m2[k], off[..., None])[..., 0]
    )


def _judge(
    pilots: Pilots, prior: Prior, params: Params, fitted: Fitted, k: int, rows: np.ndarray, best: int, looked: int
) -> int:
    """The status of a fix."""
    frames = len(pilots.frame_s)
    chance = looked * gamma_distribution.sf(fitted.snr[best], frames)
    rms_m = math.sqrt(float(np.trace(fitted.covariance_m2[best])))
    if chance > params.false_alarm or not rms_m <= params.worst_m:
        return REFUSED_FIX
    off = fitted.pos_ecef[rows] - fitted.pos_ecef[best]
    apart = np.einsum("ri,ij,rj->r", off, np.linalg.inv(fitted.covariance_m2[best]), off)
    posterior = _posterior(fitted, prior, k, rows)
    rival = (apart > 25.0) & (posterior < posterior.min() + params.margin)
    wrong = (
        fitted.share[best] < params.least_share * fitted.expected_share[best] - 3.0 * fitted.share_sigma[best]
        or 1.0 - fitted.share[best] > params.most_left * (1.0 - fitted.expected_share[best])
        or abs(fitted.gain_db[best]) > params.gain_db
        or bool(rival.any())
        or float(_distance(fitted, prior, k, np.array([best]))[0]) > params.gate
    )
    return OUTLIER if wrong else FIXED
