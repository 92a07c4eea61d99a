"""The figure of joint trade curves: rates against position errors, and the errors against each other, a line a knob.

Values are written beside the points; a panel leaves out the knobs that change nothing in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leosim.report import look as own
from leosim.report.look import CYCLE, DASHES
from leosim.report.paper_figures import MARKERS, save

TARGET = ("target_rmse_m", "error of the target (m, rms)")
FIX = ("fix_rmse_m", "error of the fixes (m, rms)")
PANELS = (  # abscissa, ordinate
    (TARGET, ("sensing_rate_bit_s_hz", "sensing: least rate (bit/s/Hz)")),
    (FIX, ("ical_rate_bit_s_hz", "localisation: sum rate (bit/s/Hz)")),
    (TARGET, FIX),
)
NAMES = {"dwell": "dwell", "cross_range": "cross-range bound", "frames": "frames a fix", "apeb": "position bound"}
PANEL_HEIGHT = 3.0  # inch, at the width of the default style
NARROW = 5.0  # inch: below, one panel a row
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
    shown = [panel for panel in PANELS if _moved(means, panel)]
    if not shown:
        raise ValueError("means: expected knobs that change an error or a rate, got none")
    knobs = list(dict.fromkeys(means["knob"]))
    columns = 1 if look.width < NARROW or len(shown) == 1 else 2
    rows = -(-len(shown) // columns)
    with matplotlib.rc_context(look.context):
        height = PANEL_HEIGHT * rows * max(1.0, look.font / own.style_of("default").font)
        made = own.new_figure(look, look.height if look.fixed else height)
        for k, panel in enumerate(shown):
            _panel(made.add_subplot(rows, columns, k + 1), look, means, panel, knobs, units)
        handles = [Line2D([], [], label=NAMES.get(name, name), **_look(look, knobs, name)) for name in knobs]
        legend: dict[str, Any] = {"frameon": False, "fontsize": look.small}
        ncols = own.legend_columns(look, handles)
        made.legend(handles=handles, loc="outside lower center", ncols=ncols, **legend)
        own.head_of_all(made, look, heading, "; ".join(details))
    return made


def _moved(means: pd.DataFrame, panel: Any) -> list[str]:
    """The knobs that change what a panel shows."""
    found = []
    for knob, rows in means.groupby("knob", sort=False):
        shown = rows[[name for name, _ in panel]].dropna()
        if len(shown) and ((shown.max() - shown.min()) > SAME * shown.abs().max()).any():
            found.append(str(knob))
    return found


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
    (x, x_label), (y, y_label) = panel
    for name in _moved(means, panel):
        rows = means[(means["knob"] == name) & means[[x, y]].notna().all(axis=1)]
        line = _look(look, knobs, name)
        halves: dict[str, Any] = {
            f"{axis}err": rows[f"{column}_half"].fillna(0.0) for axis, column in (("x", x), ("y", y))
        }
        ax.errorbar(rows[x], rows[y], **halves, capsize=1.5, elinewidth=0.6, **line)
        ring: dict[str, Any] = {"marker": "o", "markersize": 5.5 * look.line, "markerfacecolor": "none"}
        at = rows[rows["own"]]
        ax.plot(at[x], at[y], linestyle="none", markeredgecolor=line["color"], **ring)
        _name_values(ax, look, rows, x, y, line["color"], 1 if knobs.index(name) % 2 else -1, units[name])
    ax.set(xlabel=x_label, ylabel=y_label)
    ax.margins(0.16)
    ax.grid(True)


def _name_values(
    ax: Axes, look: own.Style, rows: pd.DataFrame, x: str, y: str, colour: str, side: int, unit: str
) -> None:
    """The value of the knob beside each point, above the line or below it by `side`."""
    for _, row in rows.iterrows():
        ax.annotate(
            _text(row["value"], unit),
            (row[x], row[y]),
            (0.5 * look.small, side * 0.9 * look.small),
            textcoords="offset points",
            va="bottom" if side > 0 else "top",
            fontsize=0.9 * look.small,
            color=colour,
        )


def _text(value: float, unit: str) -> str:
    """A value with its unit; parts of a second in milliseconds."""
    if unit == "s" and value < 1.0:
        value, unit = 1e3 * value, "ms"
    return f"{value:.3g} {unit}".strip()


__all__ = ["draw", "save"]
