"""The figure of surveillance: where targets flew, were found and believed to be, and how far off that was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from leosim.log import Log
from leosim.report.about import algorithm, scenario
from leosim.report.dwells import target_names
from leosim.report.look import BLACK, BLUE, CYCLE, SKY, Style, head, legend_below, new_figure, style_of
from leosim.report.tracks import STATES, fixes, looks, nees_band

PANELS = ("map", "altitude", "error", "nees")
SIGMAS = 3.0  # of the position that are drawn
AROUND = 0.08  # share of the span of a map left free on each side


def track(log: Log, axes: Sequence[Axes] | None = None, *, style: str = "default") -> Axes:
    """Targets, detections and tracks: map, altitudes, errors of the position and normalised errors over time.

    Errors are distances, beside three roots of the trace of the covariance of the position; the band of the normalised
    errors squared is where 95 % of them are if the tracker knows its errors. Thin lines are changes of the satellite.
    axes : four to draw on (map, altitude, error, nees), or None for a figure of its own. Returns that of the map.
    Raises ValueError when the log has no tracks, or other than four axes are given.
    """
    look, table = style_of(style), looks(log)
    if axes is not None and len(axes) != len(PANELS):
        raise ValueError(f"axes: expected {len(PANELS)}, for {', '.join(PANELS)}, got {len(axes)}")
    table[["fix_east_m", "fix_north_m", "fix_up_m"]] = fixes(log)
    names = target_names(log)
    aims = [int(one) for one in np.unique(table.target) if one >= 0]
    colours = {one: BLUE if len(aims) == 1 else CYCLE[k % len(CYCLE)] for k, one in enumerate(aims)}
    with matplotlib.rc_context(look.context):
        own = axes is None
        ground, altitude, error, nees = _panels(look) if axes is None else axes
        for one, colour in colours.items():
            its = table[table.target == one]
            _map(ground, its, colour, look)
            _altitude(altitude, its, colour, look)
            _errors(error, its, colour, look)
            nees.plot(its.t_s, its.nees, color=colour, **_thin(look), label=names[one])
        ground.plot(0.0, 0.0, **_receiver(look))
        _frame_map(ground, table)
        _frame_altitude(altitude, table)
        error.set_ylabel("position\nerror (m)")
        low, high = (STATES * bound for bound in nees_band())
        nees.axhspan(low, high, color=SKY, alpha=0.25, linewidth=0, zorder=0, label="band")
        nees.set_ylabel("NEES")
        for ax, known in ((error, table[["error_m", "sigma_m"]]), (nees, table[["nees"]])):
            _logarithmic(ax, known.to_numpy())
        _over_time((altitude, error, nees), table, look)
        changed = any(line.get_label() == "change" for line in error.lines)
        legend_below(ground, look, own, _handles(colours, names, look, changed))
        title = f"Track of {names[aims[0]]}" if len(aims) == 1 else f"Tracks of {len(aims)} targets"
        head(ground, look, title, _details(log))
    return ground


def _panels(look: Style) -> list[Axes]:
    """Four axes on a figure of their own: the map above the others, or beside them where the figure is wide."""
    if look.fixed:
        made = new_figure(look, look.height)
        grid = made.add_gridspec(3, 2)
        ground, first = made.add_subplot(grid[:, 0]), made.add_subplot(grid[0, 1])
        rest = [made.add_subplot(grid[k, 1], sharex=first) for k in (1, 2)]
    else:
        made = new_figure(look, min(2.2 * look.height, look.tallest))
        grid = made.add_gridspec(4, 1, height_ratios=[2.0, 0.8, 1.0, 1.0])
        ground, first = made.add_subplot(grid[0]), made.add_subplot(grid[1])
        rest = [made.add_subplot(grid[k], sharex=first) for k in (2, 3)]
    made.align_ylabels([first, *rest])
    return [ground, first, *rest]


def _details(log: Log) -> list[str]:
    about = scenario(log)
    return [f"detector {algorithm(about, 'detection')}", f"tracker {algorithm(about, 'tracking')}"]


def _thin(look: Style) -> dict[str, Any]:
    """A line of dwells, of which a single one is seen, too."""
    return {"linewidth": 0.6 * look.line, "marker": ".", "markersize": 1.6 * look.line, "zorder": 3}


def _truth(look: Style) -> dict[str, Any]:
    return {"color": BLACK, "linestyle": "--", "linewidth": 0.7 * look.line, "label": "truth"}


def _points(colour: str, look: Style) -> dict[str, Any]:
    return {"linestyle": "none", "marker": "o", "markersize": 1.6 * look.line, "color": colour, "markeredgewidth": 0}


def _receiver(look: Style) -> dict[str, Any]:
    size = {"markersize": 4.5 * look.line, "markeredgewidth": 0.4 * look.line}
    return {"linestyle": "none", "marker": "^", "color": BLACK, "zorder": 4, "label": "receiver", **size}


def _map(ax: Axes, its: pd.DataFrame, colour: str, look: Style) -> None:
    found = _points(colour, look)
    ax.plot(its.fix_east_m / 1e3, its.fix_north_m / 1e3, **found, alpha=0.4, zorder=2, label="detections")
    ax.plot(its.east_m / 1e3, its.north_m / 1e3, color=colour, zorder=3, label="track")
    ax.plot(its.true_east_m / 1e3, its.true_north_m / 1e3, **_truth(look), zorder=3.5)


def _altitude(ax: Axes, its: pd.DataFrame, colour: str, look: Style) -> None:
    ax.plot(its.t_s, its.fix_up_m / 1e3, **_points(colour, look), alpha=0.4, zorder=2, label="detections")
    ax.plot(its.t_s, its.up_m / 1e3, color=colour, zorder=3, label="track")
    ax.plot(its.t_s, its.true_up_m / 1e3, **_truth(look), zorder=3.5)


def _errors(ax: Axes, its: pd.DataFrame, colour: str, look: Style) -> None:
    ax.plot(its.t_s, its.error_m, color=colour, **_thin(look), label="error")
    ax.plot(its.t_s, SIGMAS * its.sigma_m, color=colour, linestyle=":", linewidth=0.8 * look.line, label="sigma")


def _span(values: np.ndarray, least: float) -> tuple[float, float]:
    """From the lowest to the highest of some values, with some room; `least` where they are all alike."""
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    room = max(AROUND * (high - low), 0.5 * (least - (high - low)))
    return low - room, high + room


def _frame_map(ax: Axes, table: pd.DataFrame) -> None:
    """Limits by targets, tracks and receiver: a detection far off is left out. One scale for east and north."""
    spans = []
    for name in ("east", "north"):
        known = table[[f"{name}_m", f"true_{name}_m"]].to_numpy().ravel() / 1e3
        spans.append(_span(np.append(known, 0.0), 2.0))
    ax.dataLim.update_from_data_xy(np.transpose(spans), ignore=True)  # left to autoscale, which equal scales widen
    ax.margins(0.0)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel("east of the receiver (km)")
    ax.set_ylabel("north (km)")
    ax.grid()


def _frame_altitude(ax: Axes, table: pd.DataFrame) -> None:
    ax.set_ylim(*_span(table[["up_m", "true_up_m"]].to_numpy().ravel() / 1e3, 1.0))
    ax.set_ylabel("up (km)")
    ax.grid(axis="y")


def _logarithmic(ax: Axes, known: np.ndarray) -> None:
    ax.set_yscale("log")
    if not np.isfinite(known).any():
        ax.set_ylim(0.1, 100.0)
    ax.yaxis.set_major_locator(LogLocator(numticks=6))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(axis="y")


def _over_time(panels: Sequence[Axes], table: pd.DataFrame, look: Style) -> None:
    """The axis of time, and lines where the satellite is another than before."""
    flying = table[table.sat >= 0]
    changes = flying.t_s[1:][np.diff(flying.sat) != 0]
    first_s, last_s = float(table.t_s.iloc[0]), float(table.t_s.iloc[-1])
    for ax in panels:
        for t_s in changes:
            ax.axvline(t_s, color="#555555", linewidth=0.25 * look.line, zorder=2.5, label="change")
        ax.set_xlim(first_s, max(last_s, first_s + 1.0))
        ax.tick_params(axis="x", labelbottom=ax is panels[-1])
        ax.yaxis.label.set_fontsize(look.small)
    panels[-1].set_xlabel("time since start (s)")


def _handles(colours: dict[int, str], names: list[str], look: Style, changed: bool) -> list[Any]:
    if len(colours) == 1:
        handles = [Line2D([], [], color=colour, label="track") for colour in colours.values()]
    else:
        handles = [Line2D([], [], color=colour, label=names[one]) for one, colour in colours.items()]
    alone = next(iter(colours.values())) if len(colours) == 1 else BLACK
    change = Line2D([], [], color="#555555", linewidth=0.25 * look.line, label="change of satellite")
    return [
        *handles,
        Line2D([], [], **_truth(look)),
        Line2D([], [], **_points(alone, look), alpha=0.6, label="detections"),
        Line2D([], [], **_receiver(look)),
        Line2D([], [], color=alone, linestyle=":", linewidth=0.8 * look.line, label="3 σ of the track"),
        Patch(color=SKY, alpha=0.25, linewidth=0, label="95 % band of NEES"),
        *([change] if changed else []),
    ]
