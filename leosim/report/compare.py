"""Logs side by side: which settings differ, and their metrics paired by epoch with confidence intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import stdtrit

from leosim.log import Log, open_log
from leosim.records import BEAM, FOUND, HARD, SOFT
from leosim.report.about import has_communication, scenario, step_ns
from leosim.report.dwells import has_sensing
from leosim.report.localised import has_localisation, periods, terminals
from leosim.report.look import BLACK, CYCLE, DASHES, GREY, head, new_figure, style_of
from leosim.report.tracks import has_tracks, looks
from leosim.units import NS_PER_S, linear_to_db, s_to_ns

BATCHES = 10
LEAST_PAIRS = 2 * BATCHES  # below, no interval is given
CONFIDENCE = 0.95
ABSENT = "-"


# ---------------------------------------------------------------------------------------------
# Metrics: a value an epoch, or a dwell


@dataclass(frozen=True)
class Metric:
    """A number an epoch or a dwell of a log: name with unit, which logs have it, times (ns) and values."""

    name: str
    there: Callable[[Log], bool]
    values: Callable[[Log], tuple[np.ndarray, np.ndarray]]


def _of_rates(field: str, reduced: Callable[[np.ndarray], np.ndarray]) -> Callable[[Log], Any]:
    return lambda log: (log["rates"].t_ns, reduced(log["rates"][field]))


def _outage(log: Log) -> tuple[np.ndarray, np.ndarray]:
    rates = log["rates"]
    return rates.t_ns, 100.0 * rates["outage_s"].mean(axis=1) * NS_PER_S / step_ns(log)


def _changes(log: Log) -> tuple[np.ndarray, np.ndarray]:
    group = log["handovers"]
    row = np.repeat(np.arange(len(group)), group.size("event"))
    counts = np.bincount(row[np.isin(group["kind"], (SOFT, HARD, BEAM))], minlength=len(group))
    return group.t_ns, counts * 60.0 * NS_PER_S / step_ns(log) / len(log["users"])


def _joins_and_leaves(log: Log) -> tuple[np.ndarray, np.ndarray]:
    group = log["handovers"]
    row = np.repeat(np.arange(len(group)), group.size("event"))
    moved = np.bincount(row, group["joins"] + group["leaves"], minlength=len(group))
    return group.t_ns, moved * 60.0 * NS_PER_S / step_ns(log) / len(log["users"])


def _of_isac(field: str) -> Callable[[Log], Any]:
    return lambda log: (log["isac"].t_ns, np.where(log["isac"]["sat"] >= 0, log["isac"][field], math.nan))


def _snr_db(log: Log) -> tuple[np.ndarray, np.ndarray]:
    t_ns, snr = _of_isac("snr")(log)
    return t_ns, linear_to_db(np.where(snr > 0.0, snr, math.nan))


def _track_error(log: Log) -> tuple[np.ndarray, np.ndarray]:
    return log["tracks"].t_ns, looks(log).error_m.to_numpy()


def _found(log: Log) -> tuple[np.ndarray, np.ndarray]:
    return log["detections"].t_ns, 100.0 * (log["detections"]["status"] == FOUND)


def _aim_error(log: Log) -> tuple[np.ndarray, np.ndarray]:
    return log["detections"].t_ns, log["detections"]["expected_error_m"]


def _has_aims(log: Log) -> bool:
    return has_tracks(log) and "expected_error_m" in log["detections"]


def _of_fixes(table: Callable[[Log], pd.DataFrame], column: str, reduced: str) -> Callable[[Log], Any]:
    """A column of localisation, a value a period; what waited for an array counts when it was due."""

    def values(log: Log) -> tuple[np.ndarray, np.ndarray]:
        about, rows = scenario(log)["localisation"], table(log)
        period_ns, offset_ns = (s_to_ns(about[f"{name}_s"]) for name in ("period", "offset"))
        t_ns = np.rint(NS_PER_S * rows.t_s.to_numpy()).astype(np.int64)
        due_ns = (t_ns - offset_ns) // period_ns * period_ns + offset_ns
        found = rows[column].groupby(due_ns).agg(reduced)
        return found.index.to_numpy(), found.to_numpy()

    return values


METRICS = (
    Metric("least rate (bit/s/Hz)", has_communication, _of_rates("hardening", lambda rate: rate.min(axis=1))),
    Metric("mean rate (bit/s/Hz)", has_communication, _of_rates("hardening", lambda rate: rate.mean(axis=1))),
    Metric("least ergodic rate (bit/s/Hz)", has_communication, _of_rates("ergodic", lambda rate: rate.min(axis=1))),
    Metric("outage (% of user time)", has_communication, _outage),
    Metric("handovers (a user-minute)", has_communication, _changes),
    Metric("joins and leaves (a user-minute)", has_communication, _joins_and_leaves),
    Metric("sensing: least ergodic rate (bit/s/Hz)", has_sensing, _of_isac("min_ergodic")),
    Metric("sensing: cross-range bound (m)", has_sensing, _of_isac("cross_range_m")),
    Metric("sensing: echo SNR (dB)", has_sensing, _snr_db),
    Metric("tracking: dwells that find the target (%)", has_tracks, _found),
    Metric("tracking: error of the aim (m)", _has_aims, _aim_error),
    Metric("tracking: position error (m)", has_tracks, _track_error),
    Metric(
        "localisation: sum rate of a group (bit/s/Hz)", has_localisation, _of_fixes(periods, "rate_bit_s_hz", "mean")
    ),
    Metric("localisation: median position bound (m)", has_localisation, _of_fixes(terminals, "bound_m", "median")),
    Metric("localisation: median position error (m)", has_localisation, _of_fixes(terminals, "error_m", "median")),
    Metric("localisation: largest position error (m)", has_localisation, _of_fixes(terminals, "error_m", "max")),
)


def batch_interval(values: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Confidence interval of the mean of a stationary sequence whose values depend on each other, by batch means.

    The sequence is cut into 10 batches of neighbours, whose means are taken as independent: mean +- t_9 s / sqrt(10)
    with s their standard deviation. It holds where the sequence forgets within a batch (Law, Simulation Modeling and
    Analysis, section 9.5.3). None below 20 values.
    """
    if len(values) < LEAST_PAIRS:
        return None
    means = np.array([batch.mean() for batch in np.array_split(values, BATCHES)])
    half = float(stdtrit(BATCHES - 1, 0.5 + 0.5 * confidence)) * means.std(ddof=1) / math.sqrt(BATCHES)
    return float(values.mean() - half), float(values.mean() + half)


# ---------------------------------------------------------------------------------------------
# Comparison


@dataclass(frozen=True)
class Comparison:
    """What differs between logs, the first one being what the others are compared with.

    names : of the logs; settings : a row a key that differs, a column a log; metrics : a row a metric and other log:
    means of both over the pairs of epochs (dwells), the mean difference, its interval, the number of pairs;
    paired : times (s) and differences of each metric and other log; series : values of each metric in each log
    """

    names: tuple[str, ...]
    settings: pd.DataFrame
    metrics: pd.DataFrame
    paired: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]
    series: Mapping[tuple[str, str], np.ndarray]

    def as_dict(self) -> dict[str, Any]:
        """Names, settings and metrics, ready for JSON."""
        return {
            "logs": list(self.names),
            "settings": self.settings.reset_index().to_dict("records"),
            "metrics": json.loads(self.metrics.to_json(orient="records")),
        }

    def __str__(self) -> str:
        settings = "no setting differs" if self.settings.empty else self.settings.to_string(index_names=False)
        said = [settings, ""]
        for other, rows in self.metrics.groupby("log", sort=False):
            said.append(f"{other} less {self.names[0]}, paired; 95 % intervals by means of {BATCHES} batches")
            shown = pd.DataFrame(
                {
                    self.names[0]: rows["first"].map("{:.4g}".format),
                    str(other): rows["other"].map("{:.4g}".format),
                    "difference": rows["difference"].map("{:+.4g}".format),
                    "95 % interval": [_interval_text(*ends) for ends in zip(rows["low"], rows["high"], strict=True)],
                    "pairs": rows["pairs"].astype(str),
                }
            )
            said += [shown.set_index(pd.Index(rows["metric"], name="")).to_string(index_names=False), ""]
        return "\n".join(said).rstrip()

    def plot(self, output: str | Path, style: str = "default", metric: str = METRICS[0].name) -> Path:
        """Write the figure of a metric; returns its path."""
        path = Path(output)
        if path.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise ValueError(f"output: expected a file name that ends in .png, .pdf, .svg, got {path.name!r}")
        made = figure(self, metric, style)
        dated = {".pdf": "CreationDate", ".svg": "Date"}.get(path.suffix.lower())
        with matplotlib.rc_context(style_of(style).context):
            made.savefig(path, metadata={dated: None} if dated else None)
        return path


def _interval_text(low: float, high: float) -> str:
    return "too few" if math.isnan(low) else f"{low:+.4g} to {high:+.4g}"


def compare(logs: Sequence[Log | str | Path]) -> Comparison:
    """Settings that differ between logs, and their metrics paired by epoch; the first log is the reference.

    Epochs (dwells) that not all logs have are left out, and so are dwells in which one of a pair has no number, such
    as the error of a target that is not tracked. Raises ValueError for fewer than two logs, or logs of different
    starts or time steps, whose epochs are no pairs.
    """
    if len(logs) < 2:
        raise ValueError(f"logs: expected two or more, got {len(logs)}")
    with ExitStack() as stack:
        opened = [log if isinstance(log, Log) else stack.enter_context(open_log(log)) for log in logs]
        names = _names(opened)
        _check_epochs(opened, names)
        settings = _settings(opened, names)
        rows, paired, series = [], {}, {}
        for metric in METRICS:
            if not metric.there(opened[0]):
                continue
            t_ns, values = metric.values(opened[0])
            series[metric.name, names[0]] = values
            for name, log in zip(names[1:], opened[1:], strict=True):
                if metric.there(log):
                    other_ns, others = metric.values(log)
                    series[metric.name, name] = others
                    common, here, there = np.intersect1d(t_ns, other_ns, return_indices=True)
                    row, kept = _row(metric.name, name, values[here], others[there])
                    rows.append(row)
                    paired[metric.name, name] = common[kept] / NS_PER_S, (others[there] - values[here])[kept]
    return Comparison(names, settings, pd.DataFrame(rows), paired, series)


def _row(metric: str, name: str, first: np.ndarray, other: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """The numbers of a metric in two logs, and which pairs have both values: [pair] bool."""
    kept = np.isfinite(first) & np.isfinite(other)
    first, other = first[kept], other[kept]
    difference = other - first
    low, high = batch_interval(difference) or (math.nan, math.nan)
    means = [float(values.mean()) if values.size else math.nan for values in (first, other, difference)]
    found = dict(zip(("first", "other", "difference"), means, strict=True))
    return {"metric": metric, "log": name, **found, "low": low, "high": high, "pairs": int(kept.sum())}, kept


def _names(logs: Sequence[Log]) -> tuple[str, ...]:
    """Names of logs: of their files, with a number where two are the same."""
    stems = [log.path.stem for log in logs]
    return tuple(stem if stems.count(stem) == 1 else f"{stem} ({k + 1})" for k, stem in enumerate(stems))


def _check_epochs(logs: Sequence[Log], names: Sequence[str]) -> None:
    for name, log in zip(names[1:], logs[1:], strict=True):
        for what, first, other in (
            ("start", str(logs[0].start), str(log.start)),
            ("step_s", step_ns(logs[0]) / NS_PER_S, step_ns(log) / NS_PER_S),
        ):
            if first != other:
                raise ValueError(
                    f"{name}: expected the {what} of {names[0]}, {first}, got {other}; epochs of logs with another "
                    f"{what} are no pairs"
                )


def _settings(logs: Sequence[Log], names: Sequence[str]) -> pd.DataFrame:
    """A row a key that differs, a column a log; a dash where a log does not have the key."""
    columns = [_keys(log) for log in logs]
    keys = list(dict.fromkeys(key for column in columns for key in column))
    differing = [key for key in keys if len({column.get(key, ABSENT) for column in columns}) > 1]
    data = {name: [column.get(key, ABSENT) for key in differing] for name, column in zip(names, columns, strict=True)}
    return pd.DataFrame(data, index=pd.Index(differing, name="setting"))


def _keys(log: Log) -> dict[str, str]:
    """Dotted keys of the scenario of a log and what else decides its data, as text."""
    about = scenario(log)
    about.pop("title", None)
    keys = _flat(about)
    for source in json.loads(str(log.attributes.get("elements", "[]"))):
        keys[f"elements, SHA-256 of {source['file']}"] = source["sha256"][:12]
    for name in ("leosim_version", "libraries", "python", "cpu"):
        if name in log.attributes:
            keys[name] = str(log.attributes[name])
    for folder in ("beamforming", "clustering", "isac", "detection", "tracking", "ical", "positioning"):
        if f"{folder}_sha256" in log.attributes:
            keys[f"{folder}, SHA-256 of its source"] = str(log.attributes[f"{folder}_sha256"])[:12]
    return keys


def _flat(data: Mapping[str, Any], above: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in data.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{above}{key}.") if inner else {f"{above}{key}": json.dumps(value).strip('"')}
    return flat


# ---------------------------------------------------------------------------------------------
# Figure


def figure(found: Comparison, metric: str = METRICS[0].name, style: str = "default") -> Figure:
    """The difference of a metric over time above, its distribution in each log below.

    Above: each epoch (dwell), and the mean with its interval. Raises ValueError for a metric that not two logs have.
    """
    look = style_of(style)
    others = [name for kind, name in found.paired if kind == metric]
    if not others:
        known = ", ".join(dict.fromkeys(kind for kind, _ in found.paired))
        raise ValueError(f"metric: expected one of {known}, got {metric!r}")
    quantity, _, unit = metric.partition(" (")
    with matplotlib.rc_context(look.context):
        made = new_figure(look, look.height if look.fixed else 1.5 * look.height)
        over_time, spread = made.subplots(2, 1, height_ratios=(1.2, 1.0))
        over_time.axhline(0.0, color=GREY, linewidth=0.6)
        rows = found.metrics[found.metrics.metric == metric].set_index("log")
        for k, name in enumerate(others):
            t_s, difference = found.paired[metric, name]
            colour = CYCLE[(k + 1) % len(CYCLE)]
            row: Any = rows.loc[name]
            over_time.plot(t_s, difference, color=colour, linewidth=0.5 * look.line, alpha=0.7)
            text = f"{name}: mean {row.difference:+.3g}"
            if not math.isnan(row.low):
                over_time.axhspan(row.low, row.high, color=colour, alpha=0.2, linewidth=0.0)
                text += f", 95 % {row.low:+.3g} to {row.high:+.3g}"
            over_time.axhline(row.difference, color=colour, linestyle="--", label=text)
        over_time.set(xlabel="time since the start (s)", ylabel=f"difference ({unit}")
        over_time.margins(x=0.0, y=0.12)
        over_time.grid(axis="y")
        over_time.legend(frameon=False, loc="best", fontsize=look.small)
        for k, name in enumerate(found.names):
            if (metric, name) in found.series:
                values = np.sort(found.series[metric, name][np.isfinite(found.series[metric, name])])
                colour = BLACK if k == 0 else CYCLE[k % len(CYCLE)]
                share = np.arange(1, values.size + 1) / max(values.size, 1)
                spread.step(values, share, where="post", color=colour, linestyle=DASHES[k % len(DASHES)], label=name)
        spread.set(xlabel=metric, ylabel="share of epochs", ylim=(0.0, 1.02))
        spread.grid(axis="both")
        spread.legend(frameon=False, loc="best", fontsize=look.small)
        head(
            over_time, look, f"{quantity[0].upper()}{quantity[1:]}: difference to {found.names[0]}", ["paired by epoch"]
        )
    return made


__all__ = ["METRICS", "Comparison", "Metric", "batch_interval", "compare", "figure"]
