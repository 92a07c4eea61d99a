"""How figures look: colours, styles, titles and legends.

Figures are made without pyplot; a style is in force while one is drawn and written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.projections.polar import PolarAxes
from matplotlib.textpath import TextPath

from leosim.log import Log
from leosim.report.about import algorithm, scenario

RATE_UNIT = "bit/s/Hz"

# Okabe and Ito: told apart with every kind of colour vision.
BLACK, GREY = "#000000", "#8c8c8c"
ORANGE, SKY, GREEN, YELLOW = "#e69f00", "#56b4e9", "#009e73", "#f0e442"
BLUE, VERMILLION, PURPLE = "#0072b2", "#d55e00", "#cc79a7"
CYCLE = (BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, YELLOW)
DASHES = ("-", "--", "-.", ":")


# ---------------------------------------------------------------------------------------------
# Styles


@dataclass(frozen=True)
class Style:
    """How figures look: width and greatest height (inch), font sizes (points), whether there is a title.

    fixed : every figure has exactly this size (slides); else its height follows its content
    """

    width: float
    height: float
    tallest: float
    font: float
    small: float
    line: float
    titled: bool
    fixed: bool
    family: tuple[str, ...]
    dpi: int

    @property
    def context(self) -> Any:
        """The settings of matplotlib under which a figure is made and saved."""
        return {
            "font.family": list(self.family),
            "font.size": self.font,
            "axes.titlesize": self.font,
            "axes.labelsize": self.font,
            "xtick.labelsize": self.small,
            "ytick.labelsize": self.small,
            "legend.fontsize": self.small,
            "axes.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.grid": False,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.5,
            "hatch.linewidth": 0.5 * self.line,
            "lines.linewidth": self.line,
            "mathtext.fontset": "stix" if "STIXGeneral" in self.family else "dejavusans",
            "pdf.fonttype": 42,
            "svg.fonttype": "none",
            "svg.hashsalt": "leosim",
            "figure.constrained_layout.h_pad": 0.012 * self.width,
            "figure.constrained_layout.w_pad": 0.012 * self.width,
            "figure.dpi": 100,
            "savefig.dpi": self.dpi,
            "savefig.facecolor": "white",
        }


STYLES = {
    "default": Style(7.0, 4.0, 14.0, 10.0, 8.5, 1.6, True, False, ("DejaVu Sans",), 150),
    "ieee": Style(3.5, 2.5, 8.8, 8.0, 7.0, 1.1, False, False, ("STIXGeneral", "DejaVu Serif"), 600),
    "slides": Style(13.333, 7.5, 7.5, 20.0, 16.0, 3.0, True, True, ("DejaVu Sans",), 120),
}


def style_of(name: str) -> Style:
    """The style of a name; ValueError with the names when there is none."""
    if name not in STYLES:
        raise ValueError(f"style: expected one of {', '.join(STYLES)}, got {name!r}")
    return STYLES[name]


def new_axes(style: Style, height: float | None = None) -> Axes:
    """Axes on a figure of their own, at the size of a style; `height` (inch) where the content asks for it."""
    tall = style.height if height is None else min(max(height, 0.35 * style.height), style.tallest)
    return new_figure(style, style.height if style.fixed else tall).add_subplot()


def new_polar_axes(style: Style) -> PolarAxes:
    """Polar axes on a figure of their own, about as tall as it is wide."""
    made = new_figure(style, style.height if style.fixed else style.width).add_subplot(projection="polar")
    return cast(PolarAxes, made)


def new_figure(style: Style, height: float) -> Figure:
    """A figure as wide as its style and of some height (inch), without pyplot."""
    made = Figure(figsize=(style.width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def head(ax: Axes, style: Style, title: str, details: Sequence[str]) -> None:
    """A title and a smaller line below it, at the left; print has only the line, its title is the caption."""
    about: dict[str, Any] = {"fontsize": style.small, "color": "#555555", "annotation_clip": False}
    polar = isinstance(ax, PolarAxes)
    if polar and style.fixed:  # beside the circle, where a wide figure is empty
        corner: dict[str, Any] = {"xycoords": "figure fraction", "textcoords": "offset points", "va": "top"}
        ax.annotate(title, (0.0, 1.0), (12.0, -10.0), **corner, fontsize=style.font, fontweight="bold").set_in_layout(
            False
        )
        below = (12.0, -16.0 - 1.2 * style.font)
        ax.annotate("\n".join(details), (0.0, 1.0), below, **corner, **about).set_in_layout(False)
        return
    above = 5.0 + (1.9 * style.font if polar else 0.0)  # clear of the letter N
    lines = [""]
    for part in details:
        longer = f"{lines[-1]}, {part}" if lines[-1] else part
        if lines[-1] and width_pt(longer, style.small) > 66 * style.width:
            lines.append(part)
        else:
            lines[-1] = longer
    where: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    where |= {"va": "bottom"} if len(lines) > 1 else {}
    ax.annotate("\n".join(lines), (0.0, 1.0), (0.0, above), **where, **about)
    if style.titled:
        ax.set_title(title, loc="left", pad=above + 4.0 + 1.25 * style.small * len(lines), fontweight="bold")


def head_of_all(made: Figure, style: Style, title: str, about: str) -> None:
    """Title and line below it over several axes; print has the line only."""
    text, size = (title + "\n", style.font) if style.titled else (about, style.small)
    made.suptitle(text, x=0.01, ha="left", fontsize=size, fontweight="bold" if style.titled else "normal")
    if style.titled:
        corner: dict[str, Any] = {"xycoords": "figure fraction", "textcoords": "offset points", "va": "top"}
        small: dict[str, Any] = {"fontsize": style.small, "color": "#555555", "annotation_clip": False}
        below = (0.01 * 72.0 * made.get_figwidth(), -8.0 - 1.6 * style.font)
        made.axes[0].annotate(about, (0.0, 1.0), below, **small, **corner).set_in_layout(False)


def legend_below(ax: Axes, style: Style, own: bool, handles: Sequence[Any]) -> None:
    """A legend below the axes, where it covers nothing; inside axes that are part of somebody's figure."""
    look: dict[str, Any] = {"handles": list(handles), "frameon": False, "fontsize": style.small}
    made = ax.get_figure(root=True)
    if not own or made is None:
        ax.legend(loc="best", **look)
        return
    columns = legend_columns(style, handles)
    made.legend(loc="outside lower center", ncols=columns, columnspacing=1.4, handlelength=1.8, **look)


def legend_columns(style: Style, handles: Sequence[Any]) -> int:
    """As many columns of a legend below the axes as the width has room for."""
    widths = [width_pt(handle.get_label(), style.small) + 4.2 * style.small for handle in handles]
    for rows in range(1, len(handles) + 1):
        columns = math.ceil(len(handles) / rows)
        if sum(max(column) for column in np.array_split(widths, columns)) < 71 * style.width:
            break
    return columns


def describe(log: Log) -> list[str]:
    """Algorithms and coherence model of a run, for the line below a title."""
    about = scenario(log)
    parts = [algorithm(about, folder) for folder in ("clustering", "beamforming") if folder in about]
    return parts + ([str(log.attributes["coherence"])] if log.attributes.get("coherence") else [])


# ---------------------------------------------------------------------------------------------
# Small helpers


def colours_of(sats: Sequence[int]) -> dict[int, str]:
    """A colour for each satellite, in order of first appearance: neighbours differ."""
    return {sat: CYCLE[k % len(CYCLE)] for k, sat in enumerate(dict.fromkeys(sats))}


def readable_on(colour: str) -> str:
    """Black or white, whichever is read better on a colour."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "white" if luminance < 0.179 else "black"


def width_pt(text: str, size: float) -> float:
    """Width of a text in the font in force (points)."""
    font = FontProperties(family=matplotlib.rcParams["font.family"])
    return float(TextPath((0.0, 0.0), text, size=size, prop=font).get_extents().width)


def marked_runs(marked: np.ndarray) -> list[tuple[int, int]]:
    """Runs of marked entries as (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def marked_spans(marked: np.ndarray, t_s: np.ndarray, step_s: float) -> list[tuple[float, float]]:
    """Epochs that are marked, neighbours joined, as (begin, length) in seconds."""
    return [(float(t_s[a]), float(t_s[b - 1] - t_s[a]) + step_s) for a, b in marked_runs(marked)]


def one_of(what: str, value: str, known: Any) -> None:
    """Raises ValueError unless a value is a known one; `what` names it."""
    if value not in known:
        raise ValueError(f"{what}: expected one of {', '.join(known)}, got {value!r}")
