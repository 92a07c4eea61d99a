"""What the localisation service did: its groups period by period, its terminals, over time, and in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from leosim.log import Log
from leosim.records import FIX_STATUS, FIXED, ICAL_STATUS, NO_FIX, OUTLIER, REFUSED_FIX
from leosim.report.about import algorithm, satellite_names, scenario
from leosim.report.dwells import _round_interval_s, quantity
from leosim.units import NS_PER_S

HIGH_SHARE = 0.95  # of the terminals and periods
COORDINATES = 3  # of a position: NEES over it is 1 on average


def has_localisation(log: Log) -> bool:
    """Whether the run had the localisation service, and a period is in the log."""
    return "fixes" in log and len(log["fixes"]) > 0


def _needed(log: Log) -> None:
    if not has_localisation(log):
        raise ValueError(f"{log.path}: no fix in this log; its scenario needs the table [localisation]")


# ---------------------------------------------------------------------------------------------
# Terminal by terminal, group by group


def terminals(log: Log) -> pd.DataFrame:
    """A row a terminal and period, SI: what it believed, how far off that was, what it was sent.

    `group` counts the groups from 0; `sigma_m` is the root of the trace of the believed covariance; `age_s` the time
    since the last fix, since the start without one; `rate_bit_s_hz` is that of its stream where it truly is, and
    `promised_bit_s_hz` where it was believed to be, with the same overhead: 0 without a stream.
    Raises ValueError when the log has no localisation.
    """
    _needed(log)
    fixes, ical = log["fixes"], log["ical"]
    row = np.repeat(np.arange(len(fixes)), fixes.size("pair"))
    sent = np.repeat(np.arange(len(ical)), ical.size("pair"))
    users = len(log["users"])
    place = np.searchsorted(row * users + fixes["user"], sent * users + ical["user"])
    rate, promised = np.zeros((2, row.size))
    rate[place], promised[place] = ical["true_rate"], ical["rate"] * data_share(log)
    covariance = fixes["covariance_m2"].reshape(-1, 3, 3)
    t_ns = fixes.t_ns[row]
    first_user = fixes["user"][fixes.pointer("pair")[:-1]]
    group = np.searchsorted(np.unique(first_user), first_user)
    return pd.DataFrame(
        {
            "t_s": t_ns / NS_PER_S,
            "group": group[row],
            "user": fixes["user"],
            "sat": fixes["sat"],
            "status": fixes["status"],
            "error_m": fixes["error_m"],
            "sigma_m": np.sqrt(np.trace(covariance, axis1=1, axis2=2)),
            "bound_m": fixes["bound_m"],
            "nees": fixes["nees"],
            "age_s": (t_ns - np.maximum(fixes["fix_ns"], 0)) / NS_PER_S,
            "rate_bit_s_hz": rate,
            "promised_bit_s_hz": promised,
        }
    )


def data_share(log: Log) -> float:
    """Share of the time on air that carries data, as the scenario has it; 1 when it does not say."""
    about = scenario(log).get("localisation")
    if about is None:
        return 1.0
    spacing_hz = about["bandwidth_hz"] / about["subcarriers"]
    symbol_s = 1.0 / spacing_hz + about["cyclic_prefix_s"]
    return float((1.0 - about["slot_pilots"] / about["slot_symbols"]) / (symbol_s * spacing_hz))


def periods(log: Log) -> pd.DataFrame:
    """A row a group and period, SI: its anchor, rates, bounds, errors and how many fixes there were of each kind.

    Rates are sums over its terminals, where they truly are (`rate_bit_s_hz`) and as promised; `bound_m` is the root
    of the mean square of its terminals with a stream, nan without any, `error_m` the median of all of them.
    Raises ValueError when the log has no localisation.
    """
    each, ical = terminals(log), log["ical"]
    row = np.repeat(np.arange(len(ical)), log["fixes"].size("pair"))
    grouped = each.groupby(row)
    sat = ical["sat"]
    group = grouped["group"].first().to_numpy()
    changed = np.zeros(sat.size, dtype=bool)
    for one in np.unique(group):
        there = np.flatnonzero((group == one) & (sat >= 0))
        changed[there[1:]] = np.diff(sat[there]) != 0
    kinds = {
        name: (each.status == code).groupby(row).sum().to_numpy()
        for name, code in (("fixed", FIXED), ("refused", REFUSED_FIX), ("outliers", OUTLIER), ("without", NO_FIX))
    }
    return pd.DataFrame(
        {
            "t_s": ical.t_ns / NS_PER_S,
            "group": group,
            "sat": sat,
            "changed": changed,
            "status": ical["status"],
            "terminals": ical.size("pair"),
            "rate_bit_s_hz": grouped["rate_bit_s_hz"].sum().to_numpy(),
            "promised_bit_s_hz": grouped["promised_bit_s_hz"].sum().to_numpy(),
            "asked_m": ical["asked_m"],
            "designed_m": np.where(sat >= 0, ical["apeb_m"], math.nan),
            "bound_m": np.sqrt((each.bound_m**2).groupby(row).mean().to_numpy()),
            "error_m": grouped["error_m"].median().to_numpy(),
            "largest_error_m": grouped["error_m"].max().to_numpy(),
            "nees": each.nees.where(each.status == FIXED).groupby(row).mean().to_numpy(),
            **kinds,
        }
    )


# ---------------------------------------------------------------------------------------------
# Over time


def localisation_table(log: Log, every_s: float | None = None) -> pd.DataFrame:
    """The periods over time, a row an interval of `every_s` seconds; units in the names of the columns.

    The anchor is that of the interval's first period and group, `changes` counts changes of anchors, rates and errors
    are medians, bounds the largest, fixes of each kind are counted. every_s : by default a round number that gives
    at most 30 rows. Raises ValueError when the log has no localisation, or every_s is not positive.
    """
    table = periods(log)
    if every_s is None:
        times = np.unique(table.t_s)
        every_s = _round_interval_s(float(times[-1] + (np.diff(times).min() if times.size > 1 else 1.0)))
    if not every_s > 0.0:
        raise ValueError(f"every_s: expected a time above 0 s, got {every_s:g}")
    names = satellite_names(log)
    interval = np.floor(table.t_s / every_s + 1e-9).astype(int)
    grouped = table.groupby(interval)
    first = table[~interval.duplicated()].reset_index(drop=True)
    found = grouped.agg(
        changes=("changed", "sum"),
        rate_bit_s_hz=("rate_bit_s_hz", "median"),
        bound_m=("bound_m", "max"),
        error_m=("error_m", "median"),
        largest_error_m=("largest_error_m", "max"),
        nees_3=("nees", "mean"),
        fixed=("fixed", "sum"),
        refused=("refused", "sum"),
        outliers=("outliers", "sum"),
        without=("without", "sum"),
    ).reset_index(drop=True)
    found["nees_3"] /= COORDINATES
    found.insert(0, "t_s", first.t_s)
    found.insert(1, "satellite", [names.get(sat, "-") for sat in first.sat.tolist()])
    return found


# ---------------------------------------------------------------------------------------------
# In numbers


@dataclass(frozen=True)
class LocalisationSummary:
    """The localisation service of a run in numbers; None where there is nothing to count.

    belief : what precoders were made from; status : share of the periods with each; changes : of the anchors
    rate : mean over groups and periods of the sum over a group's terminals (bit/s/Hz), share_of_promised : of what
    the design expected at the believed positions; least_rate : 5 % of terminals and periods with a stream
    asked_m, bound_median_m, bound_95_percent_m : of the average error bounds, missed : share of the periods above
    first_error_m : median at the start; error_median_m, error_95_percent_m : of all terminals and periods after it
    fixed, refused, outliers, without : terminal-periods; nees : over 3, of fixes
    over_bound : rms error over rms bound of the fixes
    """

    algorithm: str
    positioning: str
    belief: str
    groups: int
    terminals: int
    periods: int
    status: dict[str, float]
    satellites: int
    changes: int
    rate: float
    least_rate: float | None
    share_of_promised: float | None
    asked_m: float
    bound_median_m: float | None
    bound_95_percent_m: float | None
    missed: float
    error_median_m: float
    error_95_percent_m: float
    fixed: int
    refused: int
    outliers: int
    without: int
    nees: float | None
    over_bound: float | None

    def rows(self) -> list[tuple[str, str]]:
        """A table for people: what, and how much with its unit."""
        states = ", ".join(f"{100 * share:.3g} % {name}" for name, share in self.status.items())
        source = {"fixes": "fixes", "prior": "the first belief alone", "truth": "true positions"}[self.belief]
        many = "group" if self.groups == 1 else "groups"
        promised = (
            "" if self.share_of_promised is None else f", {100 * self.share_of_promised:.1f} % of what was designed"
        )
        least = "" if self.least_rate is None else f"; a terminal: 5 % {self.least_rate:.3g}"
        kinds = (self.fixed, self.refused, self.outliers, self.without)
        counts = zip(kinds, FIX_STATUS.values(), strict=True)
        return [
            (
                "localisation",
                f"{self.periods} precoders of {self.algorithm} for {self.terminals} terminals in {self.groups} {many}, "
                f"from {source}: {states}",
            ),
            ("anchors", f"{self.satellites} satellites, {self.changes} changes"),
            ("group rate", f"mean {self.rate:.4g} bit/s/Hz, sum of a group{promised}{least}"),
            ("position bound", self._bound_text()),
            (
                "believed positions",
                f"error median {quantity(self.error_median_m, 'm')}, 95 % {quantity(self.error_95_percent_m, 'm')}",
            ),
            ("fixes", f"by {self.positioning}: " + ", ".join(f"{count} {name}" for count, name in counts if count)),
            ("error of fixes", self._quality_text()),
        ]

    def _bound_text(self) -> str:
        if self.bound_median_m is None or self.bound_95_percent_m is None:
            return "no terminal had an anchor"
        return (
            f"asked {quantity(self.asked_m, 'm')}; where terminals are: median {quantity(self.bound_median_m, 'm')}, "
            f"95 % {quantity(self.bound_95_percent_m, 'm')}; above it in {100 * self.missed:.3g} % of periods"
        )

    def _quality_text(self) -> str:
        if self.nees is None or self.over_bound is None:
            return "no fix"
        return f"{self.over_bound:.3g} times the bound, rms; NEES/3 {self.nees:.3g}"


def localisation_summary(log: Log) -> LocalisationSummary:
    """The localisation service of a run in numbers. Raises ValueError when the log has none."""
    each, table, about = terminals(log), periods(log), scenario(log)
    served, good = each[each.rate_bit_s_hz > 0.0], each[each.status == FIXED]
    promised, bound = float(table.promised_bit_s_hz.sum()), table.bound_m.dropna()
    # A bound is missed when it is above what is asked by more than rounding.
    missed = (bound > table.asked_m.loc[bound.index] * (1.0 + 1e-6)).mean() if len(bound) else 0.0
    rms = math.sqrt(float((good.bound_m**2).mean())) if len(good) else math.nan
    return LocalisationSummary(
        algorithm=algorithm(about, "ical"),
        positioning=algorithm(about, "positioning"),
        belief=str(about.get("localisation", {}).get("belief", "fixes")),
        groups=int(table.group.nunique()),
        terminals=int(each.user.nunique()),
        periods=len(table),
        status={
            name: float((table.status == code).mean())
            for code, name in ICAL_STATUS.items()
            if (table.status == code).any()
        },
        satellites=int(table.sat[table.sat >= 0].nunique()),
        changes=int(table.changed.sum()),
        rate=float(table.rate_bit_s_hz.mean()),
        least_rate=float(served.rate_bit_s_hz.quantile(1.0 - HIGH_SHARE)) if len(served) else None,
        share_of_promised=float(table.rate_bit_s_hz.sum()) / promised if promised > 0.0 else None,
        asked_m=float(table.asked_m.iloc[0]),
        bound_median_m=float(bound.median()) if len(bound) else None,
        bound_95_percent_m=float(bound.quantile(HIGH_SHARE)) if len(bound) else None,
        missed=float(missed),
        error_median_m=float(each.error_m.median()),
        error_95_percent_m=float(each.error_m.quantile(HIGH_SHARE)),
        fixed=int(table.fixed.sum()),
        refused=int(table.refused.sum()),
        outliers=int(table.outliers.sum()),
        without=int(table.without.sum()),
        nees=float(good.nees.mean()) / COORDINATES if len(good) else None,
        over_bound=math.sqrt(float((good.error_m**2).mean())) / rms if len(good) else None,
    )
