"""The figure of localisation: what terminals are sent, how far off they believe to be, and how far off they know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.stats import chi2

from leosim.log import Log
from leosim.records import FIXED, OUTLIER, REFUSED_FIX
from leosim.report.about import algorithm, scenario
from leosim.report.localised import COORDINATES, periods, terminals
from leosim.report.look import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    SKY,
    VERMILLION,
    Style,
    head,
    legend_below,
    new_figure,
    style_of,
)

PANELS = ("rate", "error", "nees")
BELIEFS = {"fixes": "from fixes", "prior": "from the first belief", "truth": "from true positions"}


def localisation(log: Log, axes: Sequence[Axes] | None = None, *, style: str = "default") -> Axes:
    """Sum rates of the groups, errors and bounds of positions, normalised errors of the fixes, over time.

    Errors: median and the range of all terminals, beside the root mean square bound of those that have a satellite, and
    what is asked. The band of the normalised errors squared is where 95 % of their means over the fixes of a period
    are, if terminals know how far off they are. Thin lines are changes of an anchor satellite.
    axes : three to draw on (rate, error, nees), or None for a figure of its own. Returns that of the rates.
    Raises ValueError when the log has no localisation, or other than three axes are given.
    """
    look, each, table = style_of(style), terminals(log), periods(log)
    if axes is not None and len(axes) != len(PANELS):
        raise ValueError(f"axes: expected {len(PANELS)}, for {', '.join(PANELS)}, got {len(axes)}")
    with matplotlib.rc_context(look.context):
        own = axes is None
        rate, error, nees = _panels(look) if axes is None else axes
        _rates(rate, table, look)
        _errors(error, each, table, look)
        _nees(nees, each, look)
        _over_time((rate, error, nees), table, look)
        legend_below(rate, look, own, _handles(table, each, look))
        about = scenario(log)
        belief = BELIEFS.get(about.get("localisation", {}).get("belief", ""), "")
        names = [f"precoder {algorithm(about, 'ical')}{f' {belief}' if belief else ''}"]
        head(rate, look, f"Localisation of {each.user.nunique()} terminals", [*names, _fixer(about)])
    return rate


def _fixer(about: dict[str, Any]) -> str:
    return f"fixes by {algorithm(about, 'positioning')}"


def _panels(look: Style) -> list[Axes]:
    made = new_figure(look, look.height if look.fixed else min(1.8 * look.height, look.tallest))
    panels = list(made.subplots(3, 1, sharex=True, height_ratios=[1.0, 1.4, 1.0]))
    made.align_ylabels(panels)
    return panels


def _marks(look: Style) -> dict[str, Any]:
    """A line of periods, of which a single one is seen, too."""
    return {"linewidth": 0.7 * look.line, "marker": ".", "markersize": 1.6 * look.line}


def _rates(ax: Axes, table: pd.DataFrame, look: Style) -> None:
    for _, its in table.groupby("group"):
        ax.plot(its.t_s, its.promised_bit_s_hz, color=BLACK, linestyle="--", linewidth=0.6 * look.line, zorder=3)
        ax.plot(its.t_s, its.rate_bit_s_hz, color=BLUE, **_marks(look), zorder=3.5)
    ax.set_ylim(bottom=0.0)
    ax.set_ylabel("sum rate\n(bit/s/Hz)")
    ax.grid(axis="y")


def _errors(ax: Axes, each: pd.DataFrame, table: pd.DataFrame, look: Style) -> None:
    spread = each.groupby("t_s").error_m.agg(["min", "median", "max"])
    if (spread["max"] > 0.0).any():
        ax.fill_between(spread.index, spread["min"], spread["max"], color=SKY, alpha=0.3, linewidth=0, zorder=1)
        ax.plot(spread.index, spread["median"], color=BLUE, **_marks(look), zorder=3)
    bound = np.sqrt((each.bound_m**2).groupby(each.t_s).mean())
    ax.plot(bound.index, bound, color=ORANGE, **_marks(look), zorder=3)
    ax.axhline(float(table.asked_m.iloc[0]), color=BLACK, linestyle=":", linewidth=0.8 * look.line, zorder=2.8)
    for code, colour in ((OUTLIER, VERMILLION), (REFUSED_FIX, GREEN)):
        its = each[each.status == code]
        ax.plot(its.t_s, its.error_m, linestyle="none", marker="x", markersize=2.6 * look.line, color=colour, zorder=4)
    ax.set_ylabel("position\nerror (m)")
    _logarithmic(ax)


def _nees(ax: Axes, each: pd.DataFrame, look: Style) -> None:
    good = each[each.status == FIXED].groupby("t_s").nees.agg(["mean", "size"])
    if len(good):
        counts = COORDINATES * good["size"].to_numpy()
        low, high = (chi2.ppf(share, counts) / counts for share in (0.025, 0.975))
        ax.fill_between(good.index, low, high, color=GREEN, alpha=0.2, linewidth=0, zorder=1)
        ax.plot(good.index, good["mean"] / COORDINATES, color=BLUE, **_marks(look), zorder=3)
    ax.set_ylabel("NEES/3")
    _logarithmic(ax)


def _logarithmic(ax: Axes) -> None:
    ax.set_yscale("log")
    if not any(np.isfinite(line.get_ydata(orig=True)).any() for line in ax.lines):
        ax.set_ylim(0.1, 10.0)
    low, high = ax.get_ylim()
    few = math.log10(high / low) < 2.0
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=9))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.9g}".replace(",", " ")))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(axis="y")


def _over_time(panels: Sequence[Axes], table: pd.DataFrame, look: Style) -> None:
    first_s, last_s = float(table.t_s.iloc[0]), float(table.t_s.iloc[-1])
    for ax in panels:
        for t_s in table.t_s[table.changed]:
            ax.axvline(t_s, color="#555555", linewidth=0.25 * look.line, zorder=2.5, label="change")
        ax.set_xlim(first_s, max(last_s, first_s + 1.0))
        ax.tick_params(axis="x", labelbottom=ax is panels[-1])
        ax.yaxis.label.set_fontsize(look.small)
    panels[-1].set_xlabel("time since start (s)")


def _handles(table: pd.DataFrame, each: pd.DataFrame, look: Style) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], color=BLUE, **_marks(look), label="what is: rate, median error, NEES"),
        Line2D([], [], color=BLACK, linestyle="--", linewidth=0.6 * look.line, label="rate as designed"),
        Patch(color=SKY, alpha=0.3, linewidth=0, label="all terminals"),
        Line2D([], [], color=ORANGE, **_marks(look), label="bound, rms"),
        Line2D([], [], color=BLACK, linestyle=":", linewidth=0.8 * look.line, label="bound asked"),
        Patch(color=GREEN, alpha=0.2, linewidth=0, label="95 % band of NEES/3"),
    ]
    for code, colour, name in ((OUTLIER, VERMILLION, "flagged"), (REFUSED_FIX, GREEN, "refused")):
        if (each.status == code).any():
            handles.append(Line2D([], [], linestyle="none", marker="x", color=colour, label=name))
    if table.changed.any():
        handles.append(Line2D([], [], color="#555555", linewidth=0.25 * look.line, label="change of satellite"))
    return handles
