"""What surveillance found: detections and tracks dwell by dwell, and how well they did, in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import chdtri

from leosim.log import Log
from leosim.records import COASTING, CONFIRMED, DETECTION_STATUS, FOUND, TENTATIVE
from leosim.report.about import algorithm, scenario
from leosim.report.dwells import HIGH_SHARE, quantity, sat_pos_enu, target_names
from leosim.units import NS_PER_S, linear_to_db

STATES = 6  # of a track: the mean of its normalised error squared
OUTSIDE = 0.05  # probability that what is as it should be is outside its band
TRACKED = (TENTATIVE, CONFIRMED, COASTING)
LEAST_SPARE_M = 10.0  # by which a bistatic range is longer than straight away from the satellite: below, it fixes none


def has_tracks(log: Log) -> bool:
    """Whether the run detected and tracked its targets, and a dwell is in the log."""
    return "tracks" in log and len(log["tracks"]) > 0


# ---------------------------------------------------------------------------------------------
# Dwell by dwell


def looks(log: Log) -> pd.DataFrame:
    """A row a dwell, SI: what was looked for, found and believed, and the truth; nan where there is none.

    `heard` marks the dwells with a satellite and a target, `tracked` those after which there is a track, `began` and
    `ended` those in which one began or was given up. `east_m`, `north_m`, `up_m` are of the track, with `true_` of
    the target; `sigma_m` is the root of the trace of the covariance of the position.
    Raises ValueError when the log has no tracks.
    """
    if not has_tracks(log):
        raise ValueError(f"{log.path}: no track in this log; its scenario needs the tables [detection] and [tracking]")
    tracks, found, targets = log["tracks"], log["detections"], log["targets"]
    target, status = tracks["target"], tracks["status"]
    tracked = np.isin(status, TRACKED) & (target >= 0)
    entry = targets.pointer("target")[:-1] + np.maximum(target, 0)
    true_m = np.where(target[:, None] >= 0, targets["pos_enu"][entry], math.nan)
    at_m = np.where(tracked[:, None], tracks["mean"][:, :3], math.nan)
    variance = np.trace(tracks["covariance"][:, :3, :3], axis1=1, axis2=2)
    began, ended = _fates(target, tracked, tracks["hits"], tracks["misses"])
    return pd.DataFrame(
        {
            "t_s": tracks.t_ns / NS_PER_S,
            "sat": found["sat"],
            "target": target,
            "heard": (found["sat"] >= 0) & (target >= 0),
            "detection": found["status"],
            "snr": np.where(found["statistic"] > 0.0, found["statistic"], math.nan),
            "status": status,
            "tracked": tracked,
            "began": began,
            "ended": ended,
            "east_m": at_m[:, 0],
            "north_m": at_m[:, 1],
            "up_m": at_m[:, 2],
            "true_east_m": true_m[:, 0],
            "true_north_m": true_m[:, 1],
            "true_up_m": true_m[:, 2],
            "sigma_m": np.where(tracked, np.sqrt(variance), math.nan),
            "error_m": np.where(tracked, tracks["error_m"], math.nan),
            "nees": np.where(tracked, tracks["nees"], math.nan),
        }
    )


def _fates(
    target: np.ndarray, tracked: np.ndarray, hits: np.ndarray, misses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """In which dwells a track began, and in which one was given up: [dwell] bool each.

    A track may be given up and another begun in one dwell: a first hit without a miss is always a beginning.
    """
    began = tracked & (hits == 1) & (misses == 0)
    ended = np.zeros(target.size, dtype=bool)
    for one in np.unique(target[target >= 0]):
        rows = np.flatnonzero(target == one)
        ended[rows[1:]] = tracked[rows[:-1]] & (~tracked[rows[1:]] | began[rows[1:]])
    return began, ended


def fixes(log: Log) -> np.ndarray:
    """The position each detection alone stands for, east, north, up of the receiver (m): [dwell, xyz], nan for none.

    Along its direction to where the bistatic range is met, `r = (R^2 - |s|^2) / 2 (R - n . s)`. The satellite is where
    the log has it at an epoch, so dwells between two epochs have none.
    """
    detections = log["detections"]
    made = np.full((len(detections), 3), math.nan)
    sat_enu = sat_pos_enu(log, detections["sat"], detections.t_ns)
    known = np.isfinite(sat_enu[:, 0]) & np.isin(detections.t_ns, log["geometry"].t_ns)
    there = np.flatnonzero((detections["status"] == FOUND) & known)
    value, s = detections["value"][there], sat_enu[there]
    flat = (value[:, :2] ** 2).sum(axis=1)
    n = np.column_stack([value[:, :2], np.sqrt(np.maximum(1.0 - flat, 0.0))])
    spare_m = value[:, 2] - (n * s).sum(axis=1)
    good = (flat < 1.0) & (spare_m > LEAST_SPARE_M)
    range_m = (value[good, 2] ** 2 - (s[good] ** 2).sum(axis=1)) / (2.0 * spare_m[good])
    made[there[good]] = range_m[:, None] * n[good]
    return made


# ---------------------------------------------------------------------------------------------
# In numbers


def nees_band(count: int = 1) -> tuple[float, float]:
    """The middle 95 % of the mean of `count` independent normalised errors squared of six dimensions, as a share of 6.

    Chi-square, section 5.4.2, Bar-Shalom, Li and Kirubarajan 2001.
    """
    freedom = STATES * count
    low, high = (float(chdtri(freedom, above)) / freedom for above in (1.0 - OUTSIDE / 2.0, OUTSIDE / 2.0))
    return low, high


@dataclass(frozen=True)
class TargetSummary:
    """How well one target was tracked; None without a dwell with a track.

    dwells, tracked : dwells that looked for it, and those with a track of it; confirmed_s : first confirmation
    rmse_m, error_95_percent_m : error of the position; nees : mean normalised error squared over 6
    """

    name: str
    dwells: int
    tracked: int
    confirmed_s: float | None
    rmse_m: float | None
    error_95_percent_m: float | None
    nees: float | None


@dataclass(frozen=True)
class TrackSummary:
    """Surveillance in numbers; None where there is nothing to count.

    detector, tracker : algorithms; heard : dwells with a satellite and a target; found : share of them by status
    statistic_* : SNR at the peak of the matched filter; confirmed, coasting : shares of the dwells with a target
    confirmed_s : when the first track was confirmed (s); began, lost : tracks that were begun and given up
    rmse_m, error_95_percent_m : error of the position over the dwells with a track
    nees : mean normalised error squared over 6; nees_low, nees_high : its middle 95 % if the tracker knows its errors
    and those of the dwells are independent; nees_inside : share of the dwells within the 95 % band of one dwell
    """

    detector: str
    tracker: str
    heard: int
    found: dict[str, float]
    statistic_median_db: float | None
    statistic_least_db: float | None
    confirmed: float
    coasting: float
    confirmed_s: float | None
    began: int
    lost: int
    rmse_m: float | None
    error_95_percent_m: float | None
    nees: float | None
    nees_low: float | None
    nees_high: float | None
    nees_inside: float | None
    targets: list[TargetSummary]

    def rows(self) -> list[tuple[str, str]]:
        """A table for people: what, and how much with its unit."""
        rows = [
            ("detection", self._detection_text()),
            ("detection SNR", self._statistic_text()),
            ("tracking", self._tracking_text()),
            ("position error", _error_text(self.rmse_m, self.error_95_percent_m)),
        ]
        if len(self.targets) > 1:
            rows += [(f"  {one.name}", _target_text(one)) for one in self.targets]
        return [*rows, ("NEES/6", self._nees_text())]

    def _detection_text(self) -> str:
        states = ", ".join(f"{100 * share:.3g} % {name}" for name, share in self.found.items())
        many = "dwell" if self.heard == 1 else "dwells"
        return f"{self.heard} {many} heard with {self.detector}" + (f": {states}" if states else "")

    def _statistic_text(self) -> str:
        if self.statistic_median_db is None or self.statistic_least_db is None:
            return "nothing heard"
        return f"median {self.statistic_median_db:.1f}, least {self.statistic_least_db:.1f} dB at the peak"

    def _tracking_text(self) -> str:
        when = "never" if self.confirmed_s is None else f"first at {self.confirmed_s:g} s"
        return (
            f"{self.tracker}: {self.began} begun, {self.lost} lost; confirmed {when}, "
            f"in {100 * self.confirmed:.3g} % of dwells, coasting in {100 * self.coasting:.3g} %"
        )

    def _nees_text(self) -> str:
        if self.nees is None or self.nees_inside is None:
            return "no track"
        return (
            f"mean {self.nees:.2f}, expected {self.nees_low:.2f} to {self.nees_high:.2f} of independent errors; "
            f"{100 * self.nees_inside:.3g} % of dwells in their 95 % band"
        )


def _error_text(rmse_m: float | None, high_m: float | None) -> str:
    if rmse_m is None or high_m is None:
        return "no track"
    return f"rms {quantity(rmse_m, 'm')}, 95 % below {quantity(high_m, 'm')}"


def _target_text(one: TargetSummary) -> str:
    nees = "" if one.nees is None else f", NEES/6 {one.nees:.2f}"
    when = "never confirmed" if one.confirmed_s is None else f"confirmed at {one.confirmed_s:g} s"
    return f"{_error_text(one.rmse_m, one.error_95_percent_m)}{nees}; {one.tracked} of {one.dwells} dwells, {when}"


def track_summary(log: Log) -> TrackSummary:
    """Surveillance of a run in numbers. Raises ValueError when the log has no tracks."""
    table, about, names = looks(log), scenario(log), target_names(log)
    aimed = table[table.target >= 0]
    heard, nees = table[table.heard], table.nees.dropna() / STATES
    snr_db = pd.Series(linear_to_db(heard.snr.dropna().to_numpy()))
    low, high = nees_band(len(nees)) if len(nees) else (None, None)
    one_low, one_high = nees_band()
    return TrackSummary(
        detector=algorithm(about, "detection"),
        tracker=algorithm(about, "tracking"),
        heard=len(heard),
        found={
            name: float((heard.detection == code).mean())
            for code, name in DETECTION_STATUS.items()
            if (heard.detection == code).any()
        },
        statistic_median_db=_number(snr_db.median()),
        statistic_least_db=_number(snr_db.min()),
        confirmed=float((aimed.status == CONFIRMED).mean()) if len(aimed) else 0.0,
        coasting=float((aimed.status == COASTING).mean()) if len(aimed) else 0.0,
        confirmed_s=_confirmed_s(table),
        began=int(table.began.sum()),
        lost=int(table.ended.sum()),
        **_errors(table),
        nees_low=low,
        nees_high=high,
        nees_inside=float(nees.between(one_low, one_high).mean()) if len(nees) else None,
        targets=[
            TargetSummary(
                name=names[target],
                dwells=len(its),
                tracked=int(its.tracked.sum()),
                confirmed_s=_confirmed_s(its),
                **_errors(its),
            )
            for target, its in ((int(row), aimed[aimed.target == row]) for row in np.unique(aimed.target))
        ],
    )


def _errors(table: pd.DataFrame) -> dict[str, Any]:
    """Errors of the dwells with a track: root mean square, 95 %, and mean NEES over 6."""
    return {
        "rmse_m": _number(np.sqrt((table.error_m**2).mean())),
        "error_95_percent_m": _number(table.error_m.quantile(HIGH_SHARE)),
        "nees": _number(table.nees.mean() / STATES),
    }


def _confirmed_s(table: pd.DataFrame) -> float | None:
    """When a track was confirmed first (s)."""
    return _number(table.t_s[table.status == CONFIRMED].min())


def _number(value: float | np.floating[Any]) -> float | None:
    """A number as JSON knows it: None for what is not finite."""
    return float(value) if math.isfinite(value) else None
