"""What the sensing service did: its dwells one by one, over time, and in numbers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from leosim.frames import geodetic_to_ecef, local_axes
from leosim.log import Log
from leosim.radar import RCS_VALID_RAD
from leosim.records import COMMON_STREAM, ISAC_STATUS, RADAR_SEQUENCE
from leosim.report.about import algorithm, end_ns, epochs_ns, satellite_names, scenario
from leosim.units import NS_PER_S, dbm_to_w, deg_to_rad, linear_to_db, ns_to_s, rad_to_deg

DETECTION_GATE_DB = 13.0  # SNR of the echo below which a detector cannot be trusted
LOW_SHARE, HIGH_SHARE = 0.05, 0.95  # of the dwells
STREAM_KINDS = ("private", "common", "radar")
ROWS = 30  # of a table over time, at most


def has_sensing(log: Log) -> bool:
    """Whether the run had the sensing service, and a dwell is in the log."""
    return "isac" in log and len(log["isac"]) > 0


def _needed(log: Log) -> None:
    if not has_sensing(log):
        raise ValueError(f"{log.path}: no dwell in this log; its scenario needs the tables [sensing] and [isac]")


# ---------------------------------------------------------------------------------------------
# Dwell by dwell


def dwells(log: Log) -> pd.DataFrame:
    """A row a dwell, SI: when, which satellite for which target, rates, bounds, powers and the geometry.

    `changed` marks the dwells with another satellite than the last one that had any. Without a satellite the
    rates are 0; what has no meaning is nan. `elevation_rad` is that of the satellite at the receiver.
    Raises ValueError when the log has no sensing.
    """
    _needed(log)
    isac = log["isac"]
    sat, target = isac["sat"], isac["target"]
    flying, aimed = sat >= 0, (sat >= 0) & (target >= 0)
    row = np.repeat(np.arange(len(isac)), isac.size("stream"))
    stream, power_w = isac["user"], isac["power_w"]
    of_kind = (stream >= 0, stream == COMMON_STREAM, stream == RADAR_SEQUENCE)
    private_w, common_w, radar_w = (np.bincount(row, power_w * kind, len(isac)) for kind in of_kind)
    targets = log["targets"]
    entry = targets.pointer("target")[:-1] + np.maximum(target, 0)
    return pd.DataFrame(
        {
            "t_s": isac.t_ns / NS_PER_S,
            "sat": sat,
            "changed": _changes(sat),
            "target": target,
            "status": isac["status"],
            "min_rate_bit_s_hz": isac["min_rate"],
            "min_ergodic_bit_s_hz": np.where(flying, isac["min_ergodic"], 0.0),
            "cross_range_asked_m": isac["cross_range_asked_m"],
            "cross_range_m": isac["cross_range_m"],
            "snr": isac["snr"],
            "power_needed_w": np.where(aimed, isac["power_needed_w"], math.nan),
            "private_w": private_w,
            "common_w": common_w,
            "radar_w": radar_w,
            "range_rx_m": np.where(target >= 0, targets["range_rx_m"][entry], math.nan),
            "bistatic_angle_rad": np.where(aimed, targets["bistatic_angle_rad"][entry], math.nan),
            "elevation_rad": _elevation_rad(log, sat, isac.t_ns),
        }
    )


def _changes(sat: np.ndarray) -> np.ndarray:
    """Which dwells have another satellite than the last one that had any: [dwell] bool."""
    changed = np.zeros(sat.size, dtype=bool)
    there = np.flatnonzero(sat >= 0)
    changed[there[1:]] = np.diff(sat[there]) != 0
    return changed


def _elevation_rad(log: Log, sat: np.ndarray, t_ns: np.ndarray) -> np.ndarray:
    """Elevation of a satellite at the receiver at each dwell: [dwell], nan where no user sees it."""
    enu = sat_pos_enu(log, sat, t_ns)
    found: np.ndarray = np.arcsin(enu[:, 2] / np.linalg.norm(enu, axis=1))
    return found


def sat_pos_enu(log: Log, sat: np.ndarray, t_ns: np.ndarray) -> np.ndarray:
    """Where satellites are, east, north, up of the receiver (m): [dwell, xyz], nan where no user sees them.

    The log has every satellite as the users see it: one of them tells where it is, at the epoch of the dwell.
    """
    found = np.full((sat.size, 3), math.nan)
    site = scenario(log).get("sensing", {}).get("receiver")
    if site is None or "geometry" not in log:
        return found
    lat_rad, lon_rad = (deg_to_rad(np.array(degrees)) for degrees in site["site_deg"])
    here, receiver_axes = geodetic_to_ecef(lat_rad, lon_rad, np.array(site["alt_m"])), local_axes(lat_rad, lon_rad)
    geometry, users = log["geometry"], log["users"]
    axes = local_axes(users["lat_rad"], users["lon_rad"])
    epoch, begin = np.searchsorted(geometry.t_ns, t_ns, side="right") - 1, geometry.pointer("pair")
    seen, who, far = geometry["sat"], geometry["user"], geometry["range_m"]
    high, round_ = geometry["elevation_rad"], geometry["azimuth_rad"]
    for k in np.flatnonzero((sat >= 0) & (epoch >= 0)):
        pairs = slice(begin[epoch[k]], begin[epoch[k] + 1])
        mine = begin[epoch[k]] + np.flatnonzero(seen[pairs] == sat[k])
        if not mine.size:
            continue
        p = mine[0]
        flat = math.cos(high[p])
        enu = far[p] * np.array([flat * math.sin(round_[p]), flat * math.cos(round_[p]), math.sin(high[p])])
        found[k] = receiver_axes @ (users["pos_ecef"][who[p]] + enu @ axes[who[p]] - here)
    return found


# ---------------------------------------------------------------------------------------------
# Over time


def sensing_table(log: Log, every_s: float | None = None) -> pd.DataFrame:
    """The dwells over time, a row an interval of `every_s` seconds; units in the names of the columns.

    Satellite, its elevation at the receiver, target and its range from there are those of the interval's first
    dwell; `changes` counts changes of the satellite. The rest is the worst of the interval's dwells: least rates,
    largest bound, highest power needed. every_s : by default a round number that gives at most 30 rows
    Raises ValueError when the log has no sensing, or every_s is not positive.
    """
    table = dwells(log)
    if every_s is None:
        every_s = _round_interval_s(float(table.t_s.iloc[-1]) + period_s(table))
    if not every_s > 0.0:
        raise ValueError(f"every_s: expected a time above 0 s, got {every_s:g}")
    names, aims = satellite_names(log), target_names(log)
    interval = np.floor(table.t_s / every_s + 1e-9).astype(int)
    grouped = table.groupby(interval)
    first = table[~interval.duplicated()].reset_index(drop=True)
    worst = grouped.agg(
        changes=("changed", "sum"),
        min_rate=("min_rate_bit_s_hz", "min"),
        min_ergodic=("min_ergodic_bit_s_hz", "min"),
        asked=("cross_range_asked_m", "min"),
        met=("cross_range_m", "max"),
        power=("power_needed_w", "max"),
    ).reset_index(drop=True)
    return pd.DataFrame(
        {
            "t_s": first.t_s,
            "satellite": [names.get(sat, "-") for sat in first.sat.tolist()],
            "elevation_deg": rad_to_deg(first.elevation_rad.to_numpy()),
            "changes": worst.changes,
            "target": [aims[target] if target >= 0 else "-" for target in first.target.tolist()],
            "target_range_km": first.range_rx_m / 1e3,
            "min_rate_bit_s_hz": worst.min_rate,
            "min_ergodic_bit_s_hz": worst.min_ergodic,
            "cross_range_asked_m": worst.asked,
            "cross_range_m": worst.met,
            "power_needed_w": worst.power,
            "status": [_status_text(one) for _, one in grouped["status"]],
        }
    )


def period_s(table: pd.DataFrame) -> float:
    """Time between two dwells of the table of `dwells` (s)."""
    return float(np.diff(table.t_s).min()) if len(table) > 1 else 1.0


def _round_interval_s(duration_s: float) -> float:
    """The shortest of 1, 2, 5, 10, 15, 30, 60, ... seconds that divides a time into at most `ROWS` intervals."""
    steps = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0] + [60.0 * m for m in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)]
    return next((step for step in steps if duration_s <= ROWS * step), math.ceil(duration_s / ROWS / 3600.0) * 3600.0)


def _status_text(status: pd.Series) -> str:
    """ "met" when all dwells are; else how many of each: "8 met, 2 capped"."""
    counts = Counter(status.tolist())
    if len(counts) == 1:
        return ISAC_STATUS[next(iter(counts))]
    return ", ".join(f"{counts[code]} {name}" for code, name in ISAC_STATUS.items() if code in counts)


def target_names(log: Log) -> list[str]:
    """The names of the targets, by row; those without one are counted."""
    count = int(log["targets"].size("target").max())
    given = scenario(log).get("sensing", {}).get("targets", [])
    names = [str(target.get("name") or "") for target in given] + [""] * (count - len(given))
    return [name or f"target-{k + 1}" for k, name in enumerate(names)]


# ---------------------------------------------------------------------------------------------
# In numbers


@dataclass(frozen=True)
class LeastRate:
    """Least, 5 %, median and mean over the dwells of the least user's rate (bit/s/Hz)."""

    least: float
    low: float
    median: float
    mean: float

    def __str__(self) -> str:
        return f"least {self.least:.3f}, 5 % {self.low:.3f}, median {self.median:.3f}, mean {self.mean:.3f} bit/s/Hz"


@dataclass(frozen=True)
class SensingSummary:
    """The sensing service of a run in numbers; None where no dwell had a satellite and a target, or it is infinite.

    status : share of the dwells with each; satellites : how many sensed, changes : how often they did change
    statistical, ergodic : the least user's rate, as designed and averaged over the fading; 0 without a satellite
    cross_range_asked_m, cross_range_median_m, _95_percent_m, _worst_m : bounds of the rms cross-range error
    missed : share of the dwells that illuminate a target whose bound is above what is asked
    below_gate : dwells whose echo has an SNR below `gate_db`
    power_w : budget of the satellite; over_budget : share of the dwells in which more is needed
    private, common, radar : mean share of each kind of stream in the power that is sent
    beyond_rcs_model : dwells with a bistatic angle at which no model of the cross-section holds
    """

    algorithm: str
    dwells: int
    status: dict[str, float]
    satellites: int
    changes: int
    changes_per_minute: float
    statistical: LeastRate
    ergodic: LeastRate
    cross_range_asked_m: float | None
    cross_range_median_m: float | None
    cross_range_95_percent_m: float | None
    cross_range_worst_m: float | None
    missed: float
    snr_median_db: float | None
    snr_least_db: float | None
    gate_db: float
    below_gate: int
    power_w: float | None
    power_needed_median_w: float | None
    power_needed_highest_w: float | None
    over_budget: float
    private: float
    common: float
    radar: float
    beyond_rcs_model: int

    def rows(self) -> list[tuple[str, str]]:
        """A table for people: what, and how much with its unit."""
        states = ", ".join(f"{100 * share:.3g} % {name}" for name, share in self.status.items())
        kinds = {"private": self.private, "common": self.common, "radar sequence": self.radar}
        shares = ", ".join(f"{100 * share:.1f} % {name}" for name, share in kinds.items())
        many = "satellite" if self.satellites == 1 else "satellites"
        changes = "change" if self.changes == 1 else "changes"
        return [
            ("sensing", f"{self.dwells} dwells with {self.algorithm}: {states}"),
            (
                "sensing satellite",
                f"{self.satellites} {many}, {self.changes} {changes} ({self.changes_per_minute:.3g} a minute)",
            ),
            ("least user", f"{self.statistical} over dwells, from statistics"),
            ("least ergodic", f"{self.ergodic} over dwells"),
            ("cross-range bound", self._bound_text()),
            ("echo SNR", self._snr_text()),
            ("power needed", self._power_text()),
            ("sensing power", f"{shares} on average"),
            (
                "bistatic angle",
                f"beyond {rad_to_deg(RCS_VALID_RAD):.0f} degrees, where no cross-section model holds, "
                f"in {_dwells(self.beyond_rcs_model)}",
            ),
        ]

    def _bound_text(self) -> str:
        if self.cross_range_asked_m is None:
            return "no target illuminated"
        median, high, worst = (
            "infinite" if bound_m is None else quantity(bound_m, "m")
            for bound_m in (self.cross_range_median_m, self.cross_range_95_percent_m, self.cross_range_worst_m)
        )
        return (
            f"asked {quantity(self.cross_range_asked_m, 'm')}; met: median {median}, 95 % {high}, worst {worst}; "
            f"above what is asked in {100 * self.missed:.3g} % of dwells"
        )

    def _snr_text(self) -> str:
        if self.snr_median_db is None or self.snr_least_db is None:
            return "no target illuminated"
        return (
            f"median {self.snr_median_db:.1f}, least {self.snr_least_db:.1f} dB; "
            f"below {self.gate_db:g} dB in {_dwells(self.below_gate)}"
        )

    def _power_text(self) -> str:
        median, highest = self.power_needed_median_w, self.power_needed_highest_w
        if median is None or highest is None:
            return "no target illuminated"
        text = f"median {quantity(median, 'W')}, highest {quantity(highest, 'W')}"
        if self.power_w is None:
            return text
        over = f"more than there is in {100 * self.over_budget:.3g} % of dwells"
        return f"{text}, of {quantity(self.power_w, 'W')}; {over}"


def sensing_summary(log: Log) -> SensingSummary:
    """The sensing service of a run in numbers. Raises ValueError when the log has none."""
    table, about = dwells(log), scenario(log)
    minutes = ns_to_s(end_ns(log) - int(epochs_ns(log)[0])) / 60.0
    dbm = about.get("sensing", {}).get("power_dbm")
    power_w = None if dbm is None else dbm_to_w(float(dbm))
    bound, asked = table.cross_range_m.dropna(), table.cross_range_asked_m.dropna()
    snr_db = pd.Series(linear_to_db(table.snr.dropna().to_numpy()))
    needed_w = table.power_needed_w.dropna()
    sent_w = table[["private_w", "common_w", "radar_w"]]
    share = sent_w.div(sent_w.sum(axis=1).where(lambda total: total > 0.0), axis=0).mean().fillna(0.0)
    return SensingSummary(
        algorithm=algorithm(about, "isac"),
        dwells=len(table),
        status={
            name: float((table.status == code).mean())
            for code, name in ISAC_STATUS.items()
            if (table.status == code).any()
        },
        satellites=int(table.sat[table.sat >= 0].nunique()),
        changes=int(table.changed.sum()),
        changes_per_minute=float(table.changed.sum()) / minutes,
        statistical=_least_rate(table.min_rate_bit_s_hz),
        ergodic=_least_rate(table.min_ergodic_bit_s_hz),
        cross_range_asked_m=_number(asked.median()),
        cross_range_median_m=_number(bound.median()),
        cross_range_95_percent_m=_number(
            bound.quantile(HIGH_SHARE, "higher" if np.isinf(bound).any() else "linear")  # nothing between infinities
        ),
        cross_range_worst_m=_number(bound.max()),
        missed=float((bound > asked.loc[bound.index] * (1.0 + 1e-6)).mean()) if len(bound) else 0.0,
        snr_median_db=_number(snr_db.median()),
        snr_least_db=_number(snr_db.min()),
        gate_db=DETECTION_GATE_DB,
        below_gate=int((snr_db < DETECTION_GATE_DB).sum()),
        power_w=power_w,
        power_needed_median_w=_number(needed_w.median()),
        power_needed_highest_w=_number(needed_w.max()),
        over_budget=float((needed_w > power_w).mean()) if power_w is not None and len(needed_w) else 0.0,
        private=float(share.private_w),
        common=float(share.common_w),
        radar=float(share.radar_w),
        beyond_rcs_model=int((table.bistatic_angle_rad > RCS_VALID_RAD).sum()),
    )


def _least_rate(rate: pd.Series) -> LeastRate:
    least, low, median = np.quantile(rate, [0.0, LOW_SHARE, 0.5]).tolist()
    return LeastRate(least, low, median, float(rate.mean()))


def _number(value: float | np.floating[Any]) -> float | None:
    """A number as JSON knows it: None for what is not finite."""
    return float(value) if math.isfinite(value) else None


def _dwells(count: int) -> str:
    return f"{count} {'dwell' if count == 1 else 'dwells'}"


def quantity(value: float, unit: str) -> str:
    """A number of metres or watts as people read it, in thousands of them from a thousand on."""
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value / 1e3:.3g} k{unit}"
