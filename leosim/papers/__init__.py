"""Published figures made again, a file a paper: its figures drop by drop, and what it claims of them.

A paper's module has TITLE, CITATION, DROPS, `FIGURES` (number -> `Figure`), `CLAIMS`, `Reading`; pick one by name.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from leosim.report import paper_figures, trade_figures
from leosim.report.paper_figures import Plot

Row = dict[str, Any]
REPRODUCES, PARTLY, DOES_NOT = "reproduces", "partly", "does not"


@dataclass(frozen=True)
class Figure:
    """A published figure: how one random drop of it is computed, and how it is drawn.

    rows : (drop, seed, the paper's `Reading` or None) -> rows of `system` and the columns that `plot` names
    reads : fields of the `Reading` it depends on; random : whether drops differ, else one is enough
    note : what else the line below the title says
    """

    rows: Callable[..., Iterator[Row]]
    plot: Plot
    reads: tuple[str, ...] = ("array",)
    random: bool = True
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """Something a paper says of a figure, and how far from it is still near.

    figure : its number; None: a formula, no figure, named by `place`
    measure : per-drop tables of the figures by number -> (value, standard error), both in `unit`
    near : limits of the value that reproduce the claim; right : wider ones that have its direction
    how : what is measured; why : the reason when the verdict is not `reproduces`
    """

    figure: int | None
    text: str
    paper: str
    unit: str
    measure: Callable[[Mapping[int, pd.DataFrame]], tuple[float, float]]
    near: tuple[float, float]
    right: tuple[float, float]
    how: str
    why: str = ""
    place: str = ""

    @property
    def where(self) -> str:
        """Where in the paper it is."""
        return self.place if self.figure is None else f"Fig. {self.figure}"


@dataclass(frozen=True)
class Verdict:
    """A claim against what was measured here."""

    claim: Claim
    value: float
    error: float

    @property
    def here(self) -> str:
        """The measured value in words."""
        if math.isnan(self.value):
            return "no value"
        digits = 0 if abs(self.value) >= 100 else 1
        spread = f" ± {self.error:.{digits}f}" if math.isfinite(self.error) else ""
        return f"{self.value:.{digits}f}{spread} {self.claim.unit}".strip()

    @property
    def verdict(self) -> str:
        """`reproduces`, `partly` (the direction is right) or `does not`."""
        for word, (low, high) in ((REPRODUCES, self.claim.near), (PARTLY, self.claim.right)):
            if low <= self.value <= high:
                return word
        return DOES_NOT

    @property
    def reason(self) -> str:
        """Why it is not the paper's, as far as known; empty when it is."""
        if math.isnan(self.value):
            return "no drop has a value there"
        return "" if self.verdict == REPRODUCES else self.claim.why

    def as_dict(self) -> dict[str, Any]:
        """Claim and verdict in plain words and numbers (None: not finite)."""
        value, error = (x if math.isfinite(x) else None for x in (self.value, self.error))
        words = {"where": self.claim.where, "claim": self.claim.text, "paper": self.claim.paper, "here": self.here}
        numbers = {"value": value, "standard_error": error, "unit": self.claim.unit, "measured": self.claim.how}
        return {**words, **numbers, "verdict": self.verdict, "reason": self.reason}


def names() -> list[str]:
    """Names of the papers that can be reproduced."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def load(name: str) -> ModuleType:
    """The module of a paper. Raises ValueError for a name there is not."""
    if name not in names():
        raise ValueError(f"paper: expected one of {', '.join(names())}, got {name!r}")
    return importlib.import_module(f"leosim.papers.{name}")


def chosen(name: str, numbers: Sequence[int]) -> list[int]:
    """Figures of a paper by number, all when none is named. Raises ValueError for one it does not have."""
    known = load(name).FIGURES
    for number in numbers:
        if number not in known:
            raise ValueError(f"figure: expected one of {', '.join(map(str, known))}, got {number}")
    return sorted(set(numbers)) or list(known)


def reading(name: str, settings: Sequence[str]) -> Any:
    """The `Reading` of a paper: how it is taken where it leaves things open, changed by KEY=VALUE settings.

    Raises ValueError for a key or value there is not.
    """
    kind = load(name).Reading
    known: dict[str, Any] = {field.name: type(field.default) for field in dataclasses.fields(kind)}
    changed = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in known:
            raise ValueError(f"reading: expected one of {', '.join(known)}, got {key!r}")
        try:
            changed[key] = known[key](value)
        except ValueError:
            raise ValueError(f"{key}: expected a {known[key].__name__}, got {value!r}") from None
    return kind(**changed)


def run(
    name: str,
    number: int,
    drops: int,
    seed: int = 1,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    reading: Any = None,
) -> pd.DataFrame:
    """One figure of a paper over random drops: a table of one row a drop, system and abscissa.

    Drop k is the same whatever the number of drops or workers; a figure without chance has one drop.
    progress : told the number of drops done; reading : the paper's `Reading`, its defaults when None.
    Raises ValueError for a paper or figure there is not.
    """
    chosen(name, [number])
    drops = drops if load(name).FIGURES[number].random else 1
    tasks = [(name, number, drop, seed, reading) for drop in range(drops)]
    rows: list[Row] = []
    for done, part in enumerate(_mapped(tasks, workers), start=1):
        rows += part
        if progress is not None:
            progress(done)
    return pd.DataFrame(rows)


def _mapped(tasks: Sequence[tuple[Any, ...]], workers: int) -> Iterator[list[Row]]:
    if workers <= 1:
        yield from map(_one, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_one, tasks)


def _one(task: tuple[str, int, int, int, Any]) -> list[Row]:
    name, number, drop, seed, reading = task
    with threadpool_limits(1):
        return [{"drop": drop, **row} for row in load(name).FIGURES[number].rows(drop, seed, reading)]


def judge(name: str, tables: Mapping[int, pd.DataFrame]) -> list[Verdict]:
    """The claims on those figures there is a table of, each measured."""
    claims = [claim for claim in load(name).CLAIMS if claim.figure is None or claim.figure in tables]
    return [Verdict(claim, *claim.measure(tables)) for claim in claims]


def summary(plot: Plot, table: pd.DataFrame) -> pd.DataFrame:
    """What is drawn of a table of drops, and saved beside the figure.

    lines : mean and standard error over the drops, a row a system and abscissa;
    cdf : share of the values at or below x, a row a system and finite value
    beams : mean and standard error of the power share, a row a system and stream
    panels, trade : mean and standard error of both quantities, a row a system and abscissa, or setting
    """
    if plot.kind in ("panels", "trade"):
        return _both(plot, table)
    if plot.kind == "cdf":
        steps = []
        for system, group in table.groupby("system", sort=False):
            values, count = np.unique(group[plot.x].to_numpy(), return_counts=True)
            share = np.cumsum(count) / count.sum()
            step = pd.DataFrame({"system": system, plot.x: values, "share": share, "values": int(count.sum())})
            steps.append(step[np.isfinite(values)])
        return pd.concat(steps, ignore_index=True)
    by, y = (["system", "stream"], "share") if plot.kind == "beams" else (["system", plot.x], plot.y)
    rows = table[table[plot.x].isna()] if plot.kind == "beams" else table
    found = rows.groupby(by, sort=False)[y].agg(mean="mean", standard_error="sem", drops="count").reset_index()
    return found.rename(columns={"mean": y})


def _both(plot: Plot, table: pd.DataFrame) -> pd.DataFrame:
    along, other, error = (
        (plot.x, plot.second, "second_error") if plot.kind == "panels" else (plot.second, plot.x, "x_error")
    )
    wanted = {
        plot.y: (plot.y, "mean"),
        "standard_error": (plot.y, "sem"),
        other: (other, "mean"),
        error: (other, "sem"),
        **({plot.marks: (plot.marks, "mean")} if plot.marks else {}),
        "drops": (plot.y, "count"),
    }
    return table.groupby(["system", along], sort=False).agg(**wanted).reset_index()


def patterns(plot: Plot, table: pd.DataFrame) -> pd.DataFrame:
    """What is drawn as maps of a table of kind `beams`: rows with a place, of points and of users and targets."""
    return table[table[plot.x].notna()][["system", "stream", plot.x, plot.y, "pattern_db"]]


def write(
    name: str, number: int, table: pd.DataFrame, folder: Path, reading: Any = None, style: str = "default"
) -> Path:
    """Save one figure as `figure-NN.csv`, `.png` and `.pdf` in a folder; returns the path of the PNG.

    Beampatterns go to `figure-NN-patterns.csv`, their power shares to `figure-NN.csv`.

    reading : that the table was made with, the paper's defaults when None; named below the title
    """
    module = load(name)
    made, stem = module.FIGURES[number], folder / f"figure-{number:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    data = summary(made.plot, table)
    data.to_csv(stem.with_suffix(".csv"), index=False, float_format="%.6g")
    taken = dataclasses.asdict(reading or module.Reading())
    details = [f"{table['drop'].nunique()} random drops"] if made.random else []
    details += [*(f"{key} {taken[key]}" for key in made.reads), *([made.note] if made.note else [])]
    heading = f"{name}, Fig. {number}: {made.plot.title}"
    if made.plot.kind == "beams":
        maps = patterns(made.plot, table)
        maps.to_csv(folder / f"{stem.name}-patterns.csv", index=False, float_format="%.4g")
        drawn = paper_figures.draw_beams(made.plot, data, maps, heading, details, style)
    else:
        if made.plot.kind == "cdf":
            details.append("drops without an end leave a gap below 1")
        elif made.random:
            details.append("bars: standard error")
        draw = trade_figures.draw if made.plot.kind in ("panels", "trade") else paper_figures.draw
        drawn = draw(made.plot, data, heading, details, style)
    for suffix in (".pdf", ".png"):
        path = paper_figures.save(drawn, stem.with_suffix(suffix), style)
    return path


def write_claims(verdicts: Sequence[Verdict], folder: Path) -> Path:
    """Save the verdicts as `claims.csv` in a folder; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "claims.csv"
    pd.DataFrame([verdict.as_dict() for verdict in verdicts]).to_csv(path, index=False, float_format="%.6g")
    return path
