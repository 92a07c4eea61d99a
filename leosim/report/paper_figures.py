"""Figures of published papers made again: means with their standard errors, and distributions.

What a paper's text states is marked; values read off its drawings are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leosim.report import look as own
from leosim.report.look import BLACK, CYCLE, DASHES

LEGEND_ROWS = 5  # that a figure of ordinary height has room for
MARKERS = ("o", "s", "^", "v", "D", "P", "X")


@dataclass(frozen=True)
class Plot:
    """How a figure of a paper is drawn from its table.

    x, y : columns; kind : "lines" (y with `standard_error` against x), "cdf" (`share` against x), "beams" (maps
    over x and y, and power shares), or of `trade_figures` "panels" (y and `second` against x) or "trade" (y against x,
    both measured, along `second`); from_zero : whether the ordinate begins there
    gains : (system, x, factor): the text has another system at `factor` times this one
    limits : (value, words) on the abscissa, from the text; two at most
    level : what the colours of maps are, which then fill the figure without power shares
    lowest_db : where they begin; None: at each map's own lowest value
    second, second_label : another column of panels, or the setting along a trade; marks, marks_label : a column that
    is marked beside y; family : how many systems that follow each other share a colour; under : first words of those
    that others may cover
    """

    title: str
    x: str
    x_label: str
    y: str
    y_label: str
    kind: str = "lines"
    gains: Sequence[tuple[str, float, float]] = ()
    limits: Sequence[tuple[float, str]] = ()
    from_zero: bool = True
    level: str = ""
    lowest_db: float | None = None
    second: str = ""
    second_label: str = ""
    marks: str = ""
    marks_label: str = ""
    family: int = 1
    under: str = ""


def draw(plot: Plot, data: pd.DataFrame, heading: str, details: Sequence[str], style: str = "default") -> Figure:
    """A figure of its own: a line a system with its standard error, or a distribution a system.

    data : columns `system`, `plot.x`, `plot.y`, `standard_error` (lines), or `system`, `plot.x`, `share` (cdf)
    Raises ValueError for an unknown style.
    """
    look = own.style_of(style)
    with matplotlib.rc_context(look.context):
        ax = own.new_axes(look)
        handles = _distributions(ax, plot, data) if plot.kind == "cdf" else _lines(ax, plot, data)
        ax.set_xlabel(plot.x_label)
        ax.set_ylabel(plot.y_label)
        if plot.from_zero:
            ax.set_ylim(bottom=0.0)
        ax.grid(True)
        own.head(ax, look, heading, details)
        own.legend_below(ax, look, True, handles)
        made = ax.get_figure(root=True)
    if not isinstance(made, Figure):
        raise ValueError("a figure of its own is made")
    if not look.fixed:
        rows = math.ceil(len(handles) / own.legend_columns(look, handles))
        made.set_figheight(look.height + max(0, rows - LEGEND_ROWS) * 1.6 * look.small / 72.0)
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


LOWEST_DB, STEP_DB = -21.0, 3.0


def draw_beams(
    plot: Plot, shares: pd.DataFrame, maps: pd.DataFrame, heading: str, details: Sequence[str], style: str = "default"
) -> Figure:
    """A row of maps a system, a map a stream, and beside it the share of each stream in the power.

    A plot with a `level` has maps alone, relative to their highest value, which is marked.

    shares : columns `system`, `stream`, `share` (NaN: out of reach), `standard_error`
    maps : columns `system`, `stream`, `plot.x`, `plot.y`, `pattern_db` on one grid, and rows of the streams "user" and
    "target" that only have a place
    Raises ValueError for an unknown style.
    """
    look = own.style_of(style)
    systems, streams = list(shares["system"].unique()), list(shares["stream"].unique())
    if plot.level:
        return _draw_levels(plot, systems, streams, maps, heading, details, look)
    height = look.height if look.fixed else 0.9 + 0.25 * look.width * len(systems)
    cell = min(look.width / (len(streams) + 1.6), height / (len(systems) + 1.5))  # of one map (inch)
    font = min(look.font, max(6.0, 6.7 * cell))
    sizes = {f"{name}.labelsize": 0.85 * font for name in ("xtick", "ytick")}
    sizes |= {"font.size": font, "axes.titlesize": font, "axes.labelsize": font, "legend.fontsize": font}
    with matplotlib.rc_context(look.context | sizes):
        made = own.new_figure(look, height)
        widths = [1.0] * len(streams) + [0.85]
        grid = made.subplots(len(systems), len(streams) + 1, squeeze=False, width_ratios=widths)
        top = LOWEST_DB + STEP_DB * np.ceil((maps["pattern_db"].max() - LOWEST_DB) / STEP_DB)
        levels = np.arange(LOWEST_DB, top + 0.5 * STEP_DB, STEP_DB)
        painted = None
        for i, (row, system) in enumerate(zip(grid, systems, strict=True)):
            here = maps[maps["system"] == system]
            for ax, stream in zip(row, streams, strict=False):
                painted = _beam(ax, plot, here, stream, levels, cell) or painted
                ax.set_xlabel(plot.x_label)
                ax.label_outer()
            row[0].set_ylabel(f"{system.replace(', ', chr(10))}\n{plot.y_label}")
            _shares(row[-1], shares[shares["system"] == system], last=i == len(systems) - 1)
        for ax, stream in zip(grid[0], [*streams, "power share"], strict=True):
            ax.set_title(stream.replace(" ", "\n"))
        made.align_ylabels(grid[:, 0])
        if painted is not None:
            bar = made.colorbar(painted, ax=list(grid[:, :-1].flat), location="bottom", aspect=45, shrink=0.9)
            bar.set_label("beampattern over the power (dB)")
        handles = [Line2D([], [], linestyle="none", label=name, **_mark(name, cell)) for name in PLACES]
        made.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
        own.head_of_all(made, look, heading, ", ".join(details))
    return made


PLACES = {"user": ("o", 2.8, "white"), "target": ("*", 6.0, own.VERMILLION)}


def _draw_levels(
    plot: Plot,
    systems: Sequence[str],
    streams: Sequence[str],
    maps: pd.DataFrame,
    heading: str,
    details: Sequence[str],
    look: own.Style,
) -> Figure:
    """Maps a system and stream, each with its scale, the place of its highest value and the target's."""
    height = look.height if look.fixed else 0.9 + 0.45 * look.width * len(systems)
    font = min(look.font, 6.0 * min(look.width / len(streams), 0.8 * height / len(systems)))
    sizes = {f"{name}.labelsize": 0.85 * font for name in ("xtick", "ytick")}
    sizes |= {"font.size": font, "axes.titlesize": font, "axes.labelsize": font, "legend.fontsize": font}
    scale = font / 8.0
    marks: dict[str, dict[str, Any]] = {
        "target": {"marker": "o", "markersize": 10.0 * scale, "markerfacecolor": "none", "markeredgecolor": own.ORANGE},
        "highest value": {"marker": "s", "markersize": 14.0 * scale, "markerfacecolor": "none"},
    }
    marks["highest value"]["markeredgecolor"] = own.VERMILLION
    for mark in marks.values():
        mark["markeredgewidth"] = 1.5 * scale
    with matplotlib.rc_context(look.context | sizes):
        made = own.new_figure(look, height)
        grid = made.subplots(len(systems), len(streams), squeeze=False)
        for row, system in zip(grid, systems, strict=True):
            here = maps[maps["system"] == system]
            target = here[here["stream"] == "target"]
            for ax, stream in zip(row, streams, strict=True):
                ax.set_box_aspect(1.0)
                rows = here[here["stream"] == stream]
                ax.set_title(f"{system}\n{stream}")
                if rows.empty:
                    middle: dict[str, Any] = {"transform": ax.transAxes, "ha": "center", "va": "center"}
                    ax.text(0.5, 0.5, "threshold\nout of reach", **middle)
                    ax.set(xticks=[], yticks=[])
                    continue
                wide = rows.pivot(index=plot.y, columns=plot.x, values="pattern_db")
                painted = ax.pcolormesh(
                    wide.columns, wide.index, wide.to_numpy(), vmin=plot.lowest_db, vmax=0.0, cmap="viridis"
                )
                painted.set_rasterized(True)
                top = rows.nlargest(1, "pattern_db")
                for at, name in ((target, "target"), (top, "highest value")):
                    ax.plot(at[plot.x], at[plot.y], linestyle="none", clip_on=False, **marks[name])
                ax.set_xlabel(plot.x_label)
                ax.set_ylabel(plot.y_label)
                ax.label_outer()
                bar = made.colorbar(painted, ax=ax, aspect=25, extend="neither" if plot.lowest_db is None else "min")
                if ax is row[-1]:
                    bar.set_label(plot.level)
        handles = [Line2D([], [], linestyle="none", label=name, **mark) for name, mark in marks.items()]
        made.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
        own.head_of_all(made, look, heading, ", ".join(details))
    return made


def _mark(name: str, cell: float) -> dict[str, Any]:
    marker, size, colour = PLACES[name]
    return {
        "marker": marker,
        "markersize": size * cell,
        "markerfacecolor": colour,
        "markeredgecolor": BLACK,
        "markeredgewidth": 0.4 * cell,
    }


def _beam(ax: Axes, plot: Plot, here: pd.DataFrame, stream: str, levels: np.ndarray, cell: float) -> Any:
    """One map with users and target; None when there is no pattern."""
    rows = here[here["stream"] == stream]
    ax.set_box_aspect(1.0)
    middle: dict[str, Any] = {"transform": ax.transAxes, "ha": "center", "va": "center"}
    if rows.empty:
        ax.text(0.5, 0.5, "threshold\nout of reach", **middle)
        ax.set(xticks=[], yticks=[])
        return None
    wide = rows.pivot(index=plot.y, columns=plot.x, values="pattern_db")
    painted = ax.contourf(wide.columns, wide.index, np.maximum(wide.to_numpy(), levels[0]), levels, cmap="viridis")
    if not (wide.to_numpy() > levels[0]).any():
        ax.text(0.5, 0.85, "no power", **middle, color="white")
    for name in PLACES:
        at = here[here["stream"] == name]
        ax.plot(at[plot.x], at[plot.y], linestyle="none", **_mark(name, cell))
    return painted


def _shares(ax: Axes, rows: pd.DataFrame, last: bool) -> None:
    """Bars of the power shares, in per cent."""
    percent = 100.0 * rows["share"].to_numpy()
    error = 100.0 * rows["standard_error"].fillna(0.0).to_numpy()
    colours = [CYCLE[i % len(CYCLE)] for i in range(len(rows))]
    ax.barh(
        np.arange(len(rows)),
        np.nan_to_num(percent),
        xerr=error,
        color=colours,
        height=0.6,
        error_kw={"elinewidth": 0.8},
    )
    for i, (value, spread) in enumerate(zip(percent, error, strict=True)):
        if np.isfinite(value):
            ax.text(value + spread + 3.0, i, f"{value:.1f}", va="center")
    ax.set_yticks(np.arange(len(rows)), [str(name).split()[0] for name in rows["stream"]])
    ax.set_xlim(0.0, 145.0)
    ax.set_xticks([0, 50, 100])
    ax.invert_yaxis()
    ax.tick_params(labelbottom=last)
    if last:
        ax.set_xlabel("%")


def save(figure: Figure, path: Path, style: str = "default") -> Path:
    """Write a figure as PNG, PDF or SVG by its suffix, the same bytes for the same figure; returns the path."""
    dated = {".pdf": "CreationDate", ".svg": "Date"}.get(path.suffix)
    with matplotlib.rc_context(own.style_of(style).context):
        figure.savefig(path, metadata={dated: None} if dated else None)
    return path
