"""Joint trade curves: a scenario run over the values of a few knobs, all else equal, and what each value gives.

The knobs set how the array that sensing and localisation share spends its time and its power.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from leosim import simulation
from leosim.log import Log
from leosim.records import COASTING, CONFIRMED, FIXED, MET
from leosim.report import trade_panels
from leosim.report.about import end_ns, has_communication, scenario
from leosim.report.dwells import has_sensing
from leosim.report.localised import has_localisation, periods, terminals
from leosim.report.tracks import has_tracks, looks
from leosim.scenario import Scenario, ScenarioError
from leosim.tables import LocalisationTable
from leosim.units import NS_PER_S

CONFIDENCE = 0.95
DURATION_S, SEEDS = 10.0, 3
Told = Callable[[int, int], None]  # runs that are done, and all of them


@dataclass(frozen=True)
class Knob:
    """A key of a scenario that is turned: table, key, unit, and by default these multiples of what it is there."""

    table: str
    key: str
    unit: str
    factors: tuple[float, ...]
    whole: bool = False

    def defaults(self, own: float) -> tuple[float, ...]:
        """The values by default around the scenario's own."""
        values = [own * factor for factor in self.factors]
        return tuple(sorted({max(1, round(value)) for value in values} if self.whole else set(values)))


KNOBS = {
    "dwell": Knob("sensing", "dwell_s", "s", (0.25, 0.5, 1.0, 2.0)),
    "cross_range": Knob("sensing", "cross_range_m", "m", (0.5, 1.0, 2.0, 4.0)),
    "frames": Knob("localisation", "frames", "", (0.25, 0.5, 1.0, 2.0), whole=True),
    "apeb": Knob("localisation", "target_m", "m", (0.5, 1.0, 2.0, 4.0)),
}
MEASURES = {  # columns of the table, and what they are
    "least_rate_bit_s_hz": "communication: least user's hardening rate, mean over epochs",
    "mean_rate_bit_s_hz": "communication: mean over users and epochs",
    "sensing_rate_bit_s_hz": "sensing: least user's ergodic rate, mean over dwells",
    "target_rmse_m": "sensing: rms error of the position of confirmed tracks",
    "dwells_met": "sensing: share of dwells whose precoder meets the bound asked",
    "ical_rate_bit_s_hz": "localisation: sum rate of a group without pilots and prefixes, mean over periods",
    "fix_rmse_m": "localisation: rms error of the fixes",
    "fix_median_m": "localisation: median error of the fixes",
    "fix_bound_m": "localisation: rms bound of the position of the same fixes",
    "array_share": "time an array is held by dwells and frames, over the time of the run",
}


# ---------------------------------------------------------------------------------------------
# What one run gives


def measures(log: Log) -> dict[str, float]:
    """The numbers of a log that a trade is about, by the names of `MEASURES`; nan for services it does not have."""
    found = dict.fromkeys(MEASURES, math.nan)
    held_s, about = 0.0, scenario(log)
    if has_communication(log):
        rate = log["rates"]["hardening"]
        found |= {"least_rate_bit_s_hz": float(rate.min(axis=1).mean()), "mean_rate_bit_s_hz": float(rate.mean())}
    if has_sensing(log):
        sensed, isac = log["isac"]["sat"] >= 0, log["isac"]
        aimed = sensed & (isac["target"] >= 0)
        held_s += float(sensed.sum()) * about["sensing"]["dwell_s"]
        found["sensing_rate_bit_s_hz"] = _mean(isac["min_ergodic"][sensed])
        found["dwells_met"] = _mean(isac["status"][aimed] == MET)
    if has_tracks(log):
        table = looks(log)
        found["target_rmse_m"] = _rms(table.error_m[table.status.isin((CONFIRMED, COASTING))].to_numpy())
    if has_localisation(log):
        each, groups = terminals(log), periods(log)
        good, anchored = each[each.status == FIXED], groups[groups["sat"] >= 0]
        held_s += len(anchored) * _frames_s(about["localisation"])
        found["ical_rate_bit_s_hz"] = _mean(anchored.rate_bit_s_hz.to_numpy())
        found["fix_rmse_m"], found["fix_bound_m"] = _rms(good.error_m.to_numpy()), _rms(good.bound_m.to_numpy())
        found["fix_median_m"] = float(good.error_m.median()) if len(good) else math.nan
    found["array_share"] = held_s * NS_PER_S / end_ns(log)
    return found


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _rms(values: np.ndarray) -> float:
    return math.sqrt(_mean(values**2)) if values.size else math.nan


def _frames_s(about: Mapping[str, Any]) -> float:
    """How long the frames of a fix take."""
    waveform = LocalisationTable.model_validate(about).waveform
    return waveform.frames * waveform.frame_s


# ---------------------------------------------------------------------------------------------
# The runs


def own(base: Scenario, name: str) -> float:
    """What a knob is in a scenario. Raises ScenarioError without its service."""
    knob = KNOBS[name]
    table = getattr(base, knob.table)
    if table is None:
        raise ScenarioError(f"knob {name}: turns [{knob.table}] {knob.key}, but the scenario has no [{knob.table}]")
    return float(getattr(table, knob.key))


def possible(base: Scenario) -> tuple[str, ...]:
    """The knobs that a scenario has."""
    return tuple(name for name, knob in KNOBS.items() if getattr(base, knob.table) is not None)


def turned(base: Scenario, name: str, value: float) -> Scenario:
    """A scenario with another value of a knob; raises ScenarioError for one that cannot be."""
    knob = KNOBS[name]
    return base.with_(**{knob.table: {knob.key: int(value) if knob.whole and value == int(value) else value}})


def trade(
    base: Scenario,
    knobs: Sequence[str] = (),
    values: Sequence[float] = (),
    duration_s: float | None = DURATION_S,
    seeds: int = SEEDS,
    workers: int = 1,
    progress: Told | None = None,
    folder: Path | None = None,
) -> pd.DataFrame:
    """A row a knob, value and seed: the columns knob, value, own (whether it is the scenario's), seed and `MEASURES`.

    Runs that differ in one knob have the same seeds: the seed of the scenario and those after it, the same drops and
    draws. knobs : names in `KNOBS`, all the scenario has by default; values : of one knob, by default multiples of
    the scenario's; duration_s : of a run, None for the scenario's; workers : processes; folder : of the logs, those
    there are taken as they are (default: `outputs/`)
    Raises ScenarioError for a knob or a value that cannot be, before any run.
    """
    names = tuple(dict.fromkeys(knobs)) or possible(base)
    unknown = [name for name in names if name not in KNOBS]
    if unknown or not names:
        raise ScenarioError(f"knobs: expected some of {', '.join(KNOBS)}, got {', '.join(unknown) or 'none'}")
    if values and len(names) != 1:
        raise ScenarioError(f"values: expected one knob that they are of, got {', '.join(names)}")
    if len(set(values)) == 1:
        raise ScenarioError(f"values: expected two or more, got {values[0]:g} alone")
    if seeds < 1:
        raise ScenarioError(f"seeds: expected at least 1, got {seeds}")
    if duration_s is not None:
        base = base.with_(time={"duration_s": duration_s})
    points = [
        (name, value, seed, turned(base, name, value).with_(seed=seed))
        for name in names
        for value in (values or KNOBS[name].defaults(own(base, name)))
        for seed in range(base.seed, base.seed + seeds)
    ]
    found = _each({chosen.to_json(): chosen for *_, chosen in points}, workers, progress, folder)
    return pd.DataFrame(
        {"knob": name, "value": value, "own": value == own(base, name), "seed": seed, **found[chosen.to_json()]}
        for name, value, seed, chosen in points
    )


def _each(
    runs: Mapping[str, Scenario], workers: int, progress: Told | None, folder: Path | None
) -> dict[str, dict[str, float]]:
    """The measures of each run, a pure map; points that are the same run share it."""
    found: dict[str, dict[str, float]] = {}
    tasks = [(chosen, folder) for chosen in runs.values()]

    def note(one: dict[str, float]) -> None:
        found[list(runs)[len(found)]] = one
        if progress is not None:
            progress(len(found), len(runs))

    if workers <= 1:
        for task in tasks:
            note(_run(task))
        return found
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for one in pool.map(_run, tasks):
            note(one)
    return found


def _run(task: tuple[Scenario, Path | None]) -> dict[str, float]:
    """One run and its measures; its log is taken where it is there, and gone on with where it was cut short."""
    chosen, folder = task
    ready = simulation.prepare(chosen)
    path = ready.default_output if folder is None else folder / ready.default_output.name
    with simulation.run(chosen, path, resume=path.exists(), prepared=ready) as log:
        return measures(log)


# ---------------------------------------------------------------------------------------------
# Over the seeds


def means(table: pd.DataFrame) -> pd.DataFrame:
    """A row a knob and value: means over the seeds, and half of their 95 % intervals in columns that end in `_half`.

    Student's t over the seeds; nan with one of them.
    """
    rows = []
    for (knob, value), group in table.groupby(["knob", "value"], sort=False):
        row: dict[str, Any] = {"knob": knob, "value": value, "own": bool(group["own"].all()), "seeds": len(group)}
        for name in MEASURES:
            row[name], row[f"{name}_half"] = _interval(group[name].to_numpy())
        rows.append(row)
    return pd.DataFrame(rows)


def paired(table: pd.DataFrame) -> pd.DataFrame:
    """The same of the differences to the scenario's own value of the knob, seed by seed; nan where it is not there."""
    differences = table.copy()
    for _, rows in table.groupby("knob"):
        reference = rows[rows["own"]].set_index("seed")
        for name in MEASURES:
            there = rows["seed"].map(reference[name]) if len(reference) else math.nan
            differences.loc[rows.index, name] = rows[name] - there
    return means(differences)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Mean of independent values and half the width of its interval."""
    values = values[np.isfinite(values)]
    if values.size < 2:
        return (float(values[0]) if values.size else math.nan), math.nan
    t = float(stdtrit(values.size - 1, 0.5 + 0.5 * CONFIDENCE))
    return float(values.mean()), t * float(values.std(ddof=1)) / math.sqrt(values.size)


def write(table: pd.DataFrame, stem: Path, heading: str, style: str = "default") -> tuple[Path, ...]:
    """Write the rows, their means with the paired differences, and the figure; returns the paths.

    `STEM.csv`, `STEM-means.csv`, `STEM-differences.csv`, `STEM.png`.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = {stem.with_name(f"{stem.name}.csv"): table}
    files[stem.with_name(f"{stem.name}-means.csv")] = means(table)
    files[stem.with_name(f"{stem.name}-differences.csv")] = paired(table)
    for path, rows in files.items():
        rows.to_csv(path, index=False, float_format="%.6g")
    seeds = table["seed"].nunique()
    said = f"means of {seeds} seeds, bars: 95 % intervals of the difference to the ring, paired by seed"
    details = ["1 seed" if seeds == 1 else said, "rings: as in the scenario"]
    halves = [f"{name}_half" for name in MEASURES]
    shown = means(table)
    shown[halves] = paired(table)[halves]  # what seeds share would hide what a knob does
    drawn = trade_panels.draw(shown, {name: knob.unit for name, knob in KNOBS.items()}, heading, details, style)
    return (*files, trade_panels.save(drawn, stem.with_name(f"{stem.name}.png"), style))


__all__ = ["KNOBS", "MEASURES", "Knob", "means", "measures", "paired", "trade", "write"]
