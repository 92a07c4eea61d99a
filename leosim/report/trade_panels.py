"""The figure of joint trade curves: the rate of sensing and of localisation against its error, a line a knob.

Values are written beside the points; a panel leaves out the knobs that change nothing in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leosim.report import look as own
from leosim.report.look import CYCLE, DASHES
from leosim.report.paper_figures import MARKERS, save

PANELS = (  # title, abscissa, ordinate
    (
        "sensing",
        ("target_rmse_m", "error of the target (m, rms)"),
        ("sensing_rate_bit_s_hz", "least user's rate (bit/s/Hz)"),
    ),
    (
        "localisation",
        ("fix_rmse_m", "error of the fixes (m, rms)"),
        ("ical_rate_bit_s_hz", "sum rate (bit/s/Hz)"),
    ),
)
NAMES = {"dwell": "dwell", "cross_range": "cross-range bound", "frames": "frames a fix", "apeb": "position bound"}
PANEL_HEIGHT = 3.9  # inch, at the width of the default style
NARROW = 5.0  # inch: below, one panel a row
NEAR = np.array([0.6, 0.03])  # shares of the extent of a line, along and up, within which neighbours share a text
SAME = 1e-9  # relative difference below which a knob changes nothing


def draw(
    means: pd.DataFrame, units: Mapping[str, str], heading: str, details: Sequence[str], style: str = "default"
) -> Figure:
    """The panels there are data for, and a legend.

    means : a row a knob and value, with `own`, the columns of the panels and the halves of their intervals, `_half`
    units : of each knob
    Raises ValueError for an unknown style, and when there is nothing to draw.
    """
    look = own.style_of(style)
    panels = [panel for panel in PANELS if len(_there(means, panel))]
    if not panels:
        raise ValueError("means: expected rates with errors of a target or of fixes, got none")
    knobs = list(dict.fromkeys(means["knob"]))
    columns = 1 if look.width < NARROW else len(panels)
    rows = len(panels) // columns
    with matplotlib.rc_context(look.context):
        height = PANEL_HEIGHT * rows * max(1.0, look.font / own.style_of("default").font)
        made = own.new_figure(look, look.height if look.fixed else height)
        for k, panel in enumerate(panels):
            _panel(made.add_subplot(rows, columns, k + 1), look, means, panel, knobs, units)
        own_values = means[means["own"]].set_index("knob")["value"].to_dict()
        labels = {name: _label(name, own_values.get(name), units[name]) for name in knobs}
        handles = [Line2D([], [], label=labels[name], **_look(look, knobs, name)) for name in knobs]
        legend: dict[str, Any] = {"frameon": False, "fontsize": look.small}
        ncols = own.legend_columns(look, handles)
        made.legend(handles=handles, loc="outside lower center", ncols=ncols, **legend)
        own.head_of_all(made, look, heading, "; ".join(details))
    return made


def _label(name: str, value: float | None, unit: str) -> str:
    """A knob in the legend, with the scenario's own value, whose ring has no text."""
    text = NAMES.get(name, name)
    return text if value is None else f"{text}, ring: {_text(value, unit)}"


def _there(means: pd.DataFrame, panel: Any) -> pd.DataFrame:
    """The rows that have both numbers of a panel."""
    return means[means[[name for name, _ in panel[1:]]].notna().all(axis=1)]


def _shown(means: pd.DataFrame, panel: Any) -> list[str]:
    """The knobs that change what a panel shows; all of them where none does."""
    there = _there(means, panel)
    numbers = there.groupby("knob", sort=False)[[name for name, _ in panel[1:]]]
    moved = ((numbers.max() - numbers.min()) > SAME * numbers.max().abs()).any(axis=1)
    found = [str(knob) for knob in there["knob"].unique() if moved[knob]]
    return found or list(there["knob"].unique())


def _look(look: own.Style, knobs: Sequence[str], name: str) -> dict[str, Any]:
    k = knobs.index(name)
    return {
        "color": CYCLE[k % len(CYCLE)],
        "linestyle": DASHES[k % len(DASHES)],
        "marker": MARKERS[k % len(MARKERS)],
        "markersize": 2.5 * look.line,
    }


def _panel(
    ax: Axes, look: own.Style, means: pd.DataFrame, panel: Any, knobs: Sequence[str], units: Mapping[str, str]
) -> None:
    title, (x, x_label), (y, y_label) = panel
    taken: list[tuple[int, int]] = []
    for name in _shown(means, panel):
        rows = _there(means[means["knob"] == name], panel)
        line = _look(look, knobs, name)
        halves: dict[str, Any] = {f"{axis}err": rows[f"{col}_half"].fillna(0.0) for axis, col in (("x", x), ("y", y))}
        ax.errorbar(rows[x], rows[y], **halves, capsize=1.5, elinewidth=0.6, **line)
        ax.plot(rows[x], rows[y], **{**line, "linestyle": "none"}, zorder=2.4)
        ring: dict[str, Any] = {"marker": "o", "markersize": 5.5 * look.line, "markerfacecolor": "none"}
        at = rows[rows["own"]]
        ax.plot(at[x], at[y], linestyle="none", markeredgecolor=line["color"], **ring)
        rises = float(np.polyfit(rows[x] - rows[x].mean(), rows[y], 1)[0]) > 0.0 if rows[x].nunique() > 1 else False
        sides = ((1, -1), (-1, 1)) if rises else ((1, 1), (-1, -1))  # clear of the line
        taken.append(next((side for side in sides if side not in taken), sides[0]))
        _name_values(ax, look, rows, x, y, line["color"], taken[-1], units[name])
    ax.set(xlabel=x_label, ylabel=y_label)
    ax.set_title(title, loc="left", fontsize=look.font)
    ax.margins(0.16)
    ax.set_xlim(left=max(0.0, ax.get_xlim()[0]))  # an error
    ax.grid(True)


def _name_values(
    ax: Axes, look: own.Style, rows: pd.DataFrame, x: str, y: str, colour: str, side: tuple[int, int], unit: str
) -> None:
    """The value of the knob beside each point but the scenario's, to the right or left, above or below by `side`.

    Neighbours at one height share a text.
    """
    right, up = side
    rows = rows[~rows["own"]]
    span = rows[[x, y]].max() - rows[[x, y]].min()
    place = rows[[x, y]] / span.where(span > 0.0, 1.0)
    apart = (place.diff().abs() > NEAR).any(axis=1)
    for _, same in rows.groupby(apart.cumsum(), sort=False):
        text = ax.annotate(
            ", ".join(_text(value, unit) for value in same["value"]),
            (same[x].iloc[0], same[y].iloc[0]),
            (right * 0.5 * look.small, up * 0.5 * look.small),
            textcoords="offset points",
            ha="left" if right > 0 else "right",
            va="bottom" if up > 0 else "top",
            fontsize=0.9 * look.small,
            color=colour,
            zorder=2.2,  # over lines, below markers
        )
        text.set_path_effects([patheffects.withStroke(linewidth=0.25 * look.small, foreground="white")])


def _text(value: float, unit: str) -> str:
    """A value with its unit; parts of a second in milliseconds."""
    if unit == "s" and value < 1.0:
        value, unit = 1e3 * value, "ms"
    return f"{value:.3g} {unit}".strip()


__all__ = ["draw", "save"]
