"""Figures of a paper that trades two quantities: both against an abscissa, side by side, or one against the other.

The second, and the abscissa of a trade, is on a logarithmic axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from leosim.report import look as own
from leosim.report.look import BLACK, CYCLE, DASHES
from leosim.report.paper_figures import MARKERS, Plot

PANELS_HEIGHT, ROW_HEIGHT = 3.4, 1.7  # of the axes (inch), of a row of the legend over its font


def draw(plot: Plot, data: pd.DataFrame, heading: str, details: Sequence[str], style: str = "default") -> Figure:
    """A figure of kind "panels" or "trade", with means and their standard errors.

    data : columns `system`, `plot.x`, `plot.y`, `standard_error` and, of panels, `plot.second`, `second_error` and
    perhaps `plot.marks`; of a trade, `x_error`
    Raises ValueError for an unknown style.
    """
    look = own.style_of(style)
    handles = _handles(plot, list(data["system"].unique()))
    with matplotlib.rc_context(look.context):
        rows = math.ceil(len(handles) / own.legend_columns(look, handles))
        scale = look.width / own.style_of("default").width
        height = scale * PANELS_HEIGHT + (rows + 4.0) * ROW_HEIGHT * look.small / 72.0
        made = own.new_figure(look, look.height if look.fixed else height)
        if plot.kind == "panels":
            left, right = made.subplots(1, 2)
            _panel(left, plot, data, plot.y, plot.y_label, "standard_error")
            _panel(right, plot, data, plot.second, plot.second_label, "second_error")
            right.set_yscale("log")
            plain(right, "y")
        else:
            left = made.subplots(1, 1)
            _trade(left, plot, data)
        _heading(made, look, heading, details)
        legend: dict[str, Any] = {"frameon": False, "fontsize": look.small, "columnspacing": 1.4, "handlelength": 1.8}
        columns = own.legend_columns(look, handles)
        made.legend(handles=handles, loc="outside lower center", ncols=columns, **legend)
    return made


def plain(ax: Axes, axis: str) -> None:
    """Numbers instead of powers of ten on a logarithmic axis."""
    chosen = ax.yaxis if axis == "y" else ax.xaxis
    chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _looks(plot: Plot, i: int, system: str) -> dict[str, Any]:
    """Colour, dash and marker of line i: a family shares its colour; wide and pale what others may cover."""
    family, member = divmod(i, plot.family) if plot.family > 1 else (i, i)
    below: dict[str, Any] = {}
    if plot.under and system.startswith(plot.under):
        below = {"linewidth": 3.0 * matplotlib.rcParams["lines.linewidth"], "alpha": 0.4, "zorder": 1.5}
    return below | {
        "color": CYCLE[family % len(CYCLE)],
        "linestyle": DASHES[member % len(DASHES)],
        "marker": MARKERS[member % len(MARKERS)],
        "markersize": 4.0,
    }


def _handles(plot: Plot, systems: Sequence[str]) -> list[Line2D]:
    handles = [Line2D([], [], label=system, **_looks(plot, i, system)) for i, system in enumerate(systems)]
    if plot.marks:
        handles.append(Line2D([], [], label=plot.marks_label, **_MARK, markeredgecolor=BLACK))
    return handles


_MARK: dict[str, Any] = {"marker": "o", "markersize": 8.0, "markerfacecolor": "none", "linestyle": "none"}


def _panel(ax: Axes, plot: Plot, data: pd.DataFrame, y: str, label: str, error: str) -> None:
    for i, (system, group) in enumerate(data.groupby("system", sort=False)):
        look = _looks(plot, i, str(system))
        ax.errorbar(group[plot.x], group[y], yerr=group[error], capsize=2.0, elinewidth=0.8, **look)
        if plot.marks and y == plot.y:
            ax.plot(group[plot.x], group[plot.marks], **_MARK, markeredgecolor=look["color"])
    ax.set_xlabel(plot.x_label)
    ax.set_ylabel(label)
    ax.grid(True)
    if y == plot.y:
        ax.set_ylim(bottom=0.0)


def _trade(ax: Axes, plot: Plot, data: pd.DataFrame) -> None:
    for i, (system, group) in enumerate(data.groupby("system", sort=False)):
        look = _looks(plot, i, str(system))
        x, y, x_error, y_error = (group[name] for name in (plot.x, plot.y, "x_error", "standard_error"))
        ax.errorbar(x, y, xerr=x_error, yerr=y_error, capsize=2.0, elinewidth=0.8, **look)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    plain(ax, "x")
    ax.set_xlabel(plot.x_label)
    ax.set_ylabel(plot.y_label)
    ax.set_ylim(bottom=0.0)
    ax.grid(True)


def _heading(made: Figure, look: own.Style, heading: str, details: Sequence[str]) -> None:
    """Title and a smaller line below it; print has the line only."""
    about = ", ".join(details)
    if not look.titled:
        made.suptitle(about, x=0.01, ha="left", fontsize=look.small, color="#555555")
        return
    made.suptitle(f"{heading}\n", x=0.01, ha="left", fontsize=look.font, fontweight="bold")
    corner: dict[str, Any] = {"xycoords": "figure fraction", "textcoords": "offset points", "va": "top"}
    small: dict[str, Any] = {"fontsize": look.small, "color": "#555555", "annotation_clip": False}
    below = (0.01 * 72.0 * made.get_figwidth(), -8.0 - 1.6 * look.font)
    made.axes[0].annotate(about, (0.0, 1.0), below, **small, **corner).set_in_layout(False)
