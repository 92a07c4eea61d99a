"""A curve of one number against another over a setting, from a table of runs: what a setting trades for what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes

from leosim.report.look import CYCLE, DASHES, head, new_axes, style_of

MARKERS = ("o", "s", "^", "D")


def trade(
    rows: pd.DataFrame,
    x: str,
    y: str,
    *,
    by: str,
    label: str,
    title: str,
    details: Sequence[str] = (),
    style: str = "default",
) -> Axes:
    """One curve a value of the column `by`, a labelled point a row, in the order of the rows.

    rows : a row a point; x, y : columns, whose names are the labels of the axes; label : column of point labels
    Raises ValueError on an unknown style and on missing columns.
    """
    missing = {x, y, by, label} - set(rows.columns)
    if missing:
        raise ValueError(f"rows: expected columns {x}, {y}, {by}, {label}; {', '.join(sorted(missing))} not there")
    look = style_of(style)
    with matplotlib.rc_context(look.context):
        ax = new_axes(look)
        line: dict[str, Any]
        for i, (name, points) in enumerate(rows.groupby(by, sort=False)):
            away = -1 if i % 2 else 1  # labels of neighbouring curves on opposite sides
            colour = CYCLE[i % len(CYCLE)]
            line = {"color": colour, "linestyle": DASHES[i % len(DASHES)], "marker": MARKERS[i % len(MARKERS)]}
            ax.plot(points[x], points[y], label=str(name), markersize=2.5 * look.line, **line)
            for _, point in points.iterrows():
                ax.annotate(
                    str(point[label]),
                    (point[x], point[y]),
                    (away * 0.6 * look.small, -away * 0.5 * look.small),
                    textcoords="offset points",
                    ha="left" if away > 0 else "right",
                    va="top" if away > 0 else "bottom",
                    fontsize=look.small,
                    color=colour,
                )
        ax.set(xlabel=x, ylabel=y, xlim=(-0.05 * rows[x].max(), 1.2 * rows[x].max()))
        ax.margins(y=0.08)
        ax.grid(True)
        ax.legend(frameon=False, loc="lower right")
        head(ax, look, title, details)
    return ax


def save(ax: Axes, path: str | Path, style: str = "default") -> Path:
    """Write the figure of some axes, as PNG, PDF or SVG by the ending of the path."""
    path = Path(path)
    dated = {".pdf": "CreationDate", ".svg": "Date"}.get(path.suffix)  # no date: the same table, the same file
    with matplotlib.rc_context(style_of(style).context):
        made = ax.get_figure(root=True)
        if made is None:
            raise ValueError("ax: expected axes on a figure, got axes that were removed")
        made.savefig(path, metadata={dated: None} if dated else None)
    return path
