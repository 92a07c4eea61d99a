"""Figures of published papers made again: means with their standard errors, and distributions.

What a paper's text states is marked; values read off its drawings are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leosim.report import figures as own
from leosim.report.figures import BLACK, CYCLE, DASHES

MARKERS = ("o", "s", "^", "v", "D", "P", "X")


@dataclass(frozen=True)
class Plot:
    """How a figure of a paper is drawn from its table.

    x, y : columns; kind : "lines" (y with `standard_error` against x) or "cdf" (`share` against x)
    gains : (system, x, factor): the text has another system at `factor` times this one
    limits : (value, words) on the abscissa, from the text; two at most
    """

    title: str
    x: str
    x_label: str
    y: str
    y_label: str
    kind: str = "lines"
    gains: Sequence[tuple[str, float, float]] = ()
    limits: Sequence[tuple[float, str]] = ()


def draw(plot: Plot, data: pd.DataFrame, heading: str, details: Sequence[str], style: str = "default") -> Figure:
    """A figure of its own: a line a system with its standard error, or a distribution a system.

    data : columns `system`, `plot.x`, `plot.y`, `standard_error` (lines), or `system`, `plot.x`, `share` (cdf)
    Raises ValueError for an unknown style.
    """
    look = own._style(style)
    with matplotlib.rc_context(look.context):
        ax = own._axes(look)
        handles = _distributions(ax, plot, data) if plot.kind == "cdf" else _lines(ax, plot, data)
        ax.set_xlabel(plot.x_label)
        ax.set_ylabel(plot.y_label)
        ax.set_ylim(bottom=0.0)
        ax.grid(True)
        own._head(ax, look, heading, details)
        own._legend(ax, look, True, handles)
        made = ax.get_figure(root=True)
    if not isinstance(made, Figure):
        raise ValueError("a figure of its own is made")
    return made


def _lines(ax: Axes, plot: Plot, data: pd.DataFrame) -> list[Line2D]:
    handles = []
    marked = False
    ax.set_xticks(sorted(data[plot.x].unique()))
    for i, (system, group) in enumerate(data.groupby("system", sort=False)):
        look: dict[str, Any] = {
            "color": CYCLE[i % len(CYCLE)],
            "linestyle": DASHES[i % len(DASHES)],
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": 4.0,
        }
        ax.errorbar(group[plot.x], group[plot.y], yerr=group["standard_error"], capsize=2.0, elinewidth=0.8, **look)
        handles.append(Line2D([], [], label=str(system), **look))
        for name, x, factor in plot.gains:
            at = group[group[plot.x] == x]
            if name == system and len(at):
                hollow: dict[str, Any] = {"marker": "*", "markersize": 11.0, "zorder": 5, "linestyle": "none"}
                ax.plot(
                    x, factor * at[plot.y].iloc[0], markerfacecolor="white", markeredgecolor=look["color"], **hollow
                )
                marked = True
    if marked:
        star: dict[str, Any] = {"marker": "*", "markersize": 11.0, "linestyle": "none", "markerfacecolor": "white"}
        label = "a line times the gain over it that the text states"
        handles.append(Line2D([], [], markeredgecolor=BLACK, label=label, **star))
    return handles


def _distributions(ax: Axes, plot: Plot, data: pd.DataFrame) -> list[Line2D]:
    handles = []
    for i, (system, group) in enumerate(data.groupby("system", sort=False)):
        look: dict[str, Any] = {"color": CYCLE[i % len(CYCLE)], "linestyle": DASHES[i % len(DASHES)]}
        x, y = group[plot.x].tolist(), group["share"].tolist()
        ax.step([0, *x], [0.0, *y], where="post", **look)
        handles.append(Line2D([], [], label=str(system), **look))
    ax.set_xlim(left=0.0)
    ax.set_ylim(0.0, 1.02)
    for (value, words), dash in zip(plot.limits, (":", (0, (1, 4))), strict=False):
        edge: dict[str, Any] = {"color": BLACK, "linewidth": 1.0, "linestyle": dash}
        ax.axvline(value, **edge)
        handles.append(Line2D([], [], label=f"{words} {value:g}", **edge))
    return handles


def save(figure: Figure, path: Path, style: str = "default") -> Path:
    """Write a figure as PNG, PDF or SVG by its suffix, the same bytes for the same figure; returns the path."""
    dated = {".pdf": "CreationDate", ".svg": "Date"}.get(path.suffix)
    with matplotlib.rc_context(own._style(style).context):
        figure.savefig(path, metadata={dated: None} if dated else None)
    return path
