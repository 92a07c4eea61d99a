"""The figure of a run's clock: what each process did, and what was on its way, in a window of some seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from leosim.log import Log
from leosim.records import ARRAY_BUSY
from leosim.report.about import end_ns, scenario, step_ns
from leosim.report.look import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    Style,
    head,
    legend_below,
    new_axes,
    style_of,
)
from leosim.tables import LocalisationTable
from leosim.units import NS_PER_S

LENGTH_S = 2.0
BAR = 0.5  # of a lane
ARRAYS = (BLUE, ORANGE, GREEN, PURPLE)  # of the satellites that sense or localise in the window

Bars = list[tuple[float, float]]
"""Begin and length of each bar (s)."""


def timeline(log: Log, ax: Axes | None = None, *, t_s: float = 0.0, style: str = "default") -> Axes:
    """What each process did within two seconds of a run, a lane each, and how long it took.

    Rows of the log make the marks and the begins of bars. The lengths are what the scenario says they take:
    compute time, delays, acquisitions, the dwell, the frames. A dwell or a fix has the colour of its satellite,
    whose array it holds; a cross is one that did not get the array.
    t_s : where the window begins. Raises ValueError when the log has no such time.
    """
    look, about = style_of(style), scenario(log)
    if not 0.0 <= t_s < end_ns(log) / NS_PER_S:
        raise ValueError(f"t_s: expected a time from 0 to below {end_ns(log) / NS_PER_S:g} s, got {t_s:g}")
    with matplotlib.rc_context(look.context):
        own = ax is None
        lanes = _lanes(log, about)
        ax = new_axes(look, 0.34 * look.width * (len(lanes) + 4) / 7.0 * 1.1) if ax is None else ax
        window, shown = (t_s, t_s + LENGTH_S), _satellites(log, t_s)
        for place, (_, draw) in enumerate(lanes):
            draw(ax, -float(place), window, look, shown)
        ax.set_yticks([-float(place) for place in range(len(lanes))], [name for name, _ in lanes])
        ax.set_ylim(0.6 - len(lanes), 0.6)
        ax.set_xlim(window[0] - 0.02 * LENGTH_S, window[1] + 0.02 * LENGTH_S)
        ax.set_xlabel("time since the start (s)")
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        legend_below(ax, look, own, _handles(log, shown, look))
        head(ax, look, f"Two seconds of the loop from {t_s:g} s", [_periods(about, step_ns(log) / NS_PER_S)])
    return ax


Draw = Callable[[Axes, float, tuple[float, float], Style, dict[int, str]], None]


def _lanes(log: Log, about: dict[str, Any]) -> list[tuple[str, Draw]]:
    """Name of each lane and what draws it, from top to bottom."""
    lanes: list[tuple[str, Draw]] = []
    # The first CSI and the first decision are in force at once.
    if "csi" in log:
        begin = log["csi"].t_ns
        lanes.append(
            (
                "CSI, on its way",
                _bars(begin / NS_PER_S, np.where(begin > 0, _said(about, "communication", "csi_delay_s"), 0.0), SKY),
            )
        )
    if "clusters" in log:
        begin, effective_s = log["clusters"].t_ns, log["clusters"]["effective_t_ns"] / NS_PER_S
        computed_s = np.where(begin > 0, _said(about, "communication", "compute_s"), 0.0)
        sent_s, changed_s = begin / NS_PER_S + computed_s, log["handovers"]["event_t_ns"] / NS_PER_S
        lanes += [
            ("central node", _bars(begin / NS_PER_S, computed_s, YELLOW)),
            ("decision, on its way", _bars(sent_s, effective_s - sent_s, SKY, mark=False)),
            ("in force", _in_force(effective_s, end_ns(log) / NS_PER_S)),
            ("handovers", _bars(changed_s, _said(about, "handover", "acquisition_s"), VERMILLION)),
        ]
    if "isac" in log:
        isac, dwell_s = log["isac"], _said(about, "sensing", "dwell_s")
        lanes.append(("dwell", _held(isac.t_ns, isac["sat"], isac["status"], dwell_s, 1)))
    if "ical" in log:
        ical, wave = log["ical"], LocalisationTable.model_validate(about.get("localisation", {})).waveform
        held_s = wave.frames * wave.frame_s
        lanes.append(("frames of a fix", _held(ical.t_ns, ical["sat"], ical["status"], held_s, wave.frames)))
    ends = (np.arange(len(log["geometry"])) + 1) * step_ns(log)
    return [*lanes, ("scoring, commit", _bars(ends / NS_PER_S, 0.0, BLACK))]


def _said(about: dict[str, Any], table: str, key: str) -> float:
    """A time of the scenario (s); 0 where it does not say."""
    return float(about.get(table, {}).get(key, 0.0))


def _bars(begin_s: np.ndarray, length_s: np.ndarray | float, colour: str, mark: bool = True) -> Draw:
    """Bars, and marks where they begin."""

    def draw(ax: Axes, at: float, window: tuple[float, float], look: Style, _: dict[int, str]) -> None:
        length = np.broadcast_to(length_s, begin_s.shape)
        seen = (begin_s <= window[1]) & (begin_s + length >= window[0])
        spans = list(zip(begin_s[seen].tolist(), length[seen].tolist(), strict=True))
        ax.broken_barh(spans, (at - BAR / 2, BAR), facecolors=colour, edgecolors="none")
        if mark:
            ax.plot(begin_s[seen], np.full(seen.sum(), at), "|", color=BLACK, markersize=6.0 * look.line)

    return draw


def _in_force(effective_s: np.ndarray, end_s: float) -> Draw:
    """One decision after the other, in two shades by turns."""

    def draw(ax: Axes, at: float, window: tuple[float, float], look: Style, _: dict[int, str]) -> None:
        stop = np.append(effective_s[1:], end_s)
        for k in np.flatnonzero((effective_s < window[1]) & (stop > window[0])).tolist():
            begin = max(float(effective_s[k]), window[0])
            end = min(float(stop[k]), window[1])
            shade = "#c8c8c8" if k % 2 else "#e4e4e4"
            ax.broken_barh([(begin, end - begin)], (at - BAR / 2, BAR), facecolors=shade)
            if end - begin > 0.12 * LENGTH_S:
                ax.text(0.5 * (begin + end), at, f"decision {k}", ha="center", va="center", fontsize=look.small)

    return draw


def _held(t_ns: np.ndarray, sat: np.ndarray, status: np.ndarray, length_s: float, parts: int) -> Draw:
    """Times at which a service holds an array, in the colour of its satellite; crosses where it did not get one."""
    begin_s = t_ns / NS_PER_S

    def draw(ax: Axes, at: float, window: tuple[float, float], look: Style, shown: dict[int, str]) -> None:
        inside = (begin_s <= window[1]) & (begin_s + length_s >= window[0])
        for k in np.flatnonzero(inside & (sat >= 0)).tolist():
            part = length_s / parts
            spans = [(float(begin_s[k]) + i * part, part) for i in range(parts)]
            colour = shown.get(int(sat[k]), GREY)
            edge = colour if parts == 1 else "white"
            ax.broken_barh(spans, (at - BAR / 2, BAR), facecolors=colour, edgecolors=edge, linewidth=0.4 * look.line)
        lost = inside & (status == ARRAY_BUSY)
        ax.plot(begin_s[lost], np.full(lost.sum(), at), "x", color=BLACK, markersize=4.0 * look.line)

    return draw


def _satellites(log: Log, t_s: float) -> dict[int, str]:
    """The colour of each satellite that senses or localises in the window."""
    seen: list[int] = []
    for name in ("isac", "ical"):
        if name in log:
            t, sat = log[name].t_ns / NS_PER_S, log[name]["sat"]
            seen += sat[(t >= t_s - 1.0) & (t <= t_s + LENGTH_S) & (sat >= 0)].tolist()
    return {sat: ARRAYS[k % len(ARRAYS)] for k, sat in enumerate(dict.fromkeys(seen))}


def _handles(log: Log, shown: dict[int, str], look: Style) -> list[Any]:
    names = dict(zip(log["satellites"]["sat"].tolist(), log["satellites"]["name"].tolist(), strict=True))
    handles: list[Any] = [Patch(color=colour, label=f"array of {names[sat] or sat}") for sat, colour in shown.items()]
    if any(name in log and (log[name]["status"] == ARRAY_BUSY).any() for name in ("isac", "ical")):
        cross = {"marker": "x", "color": BLACK, "linestyle": "none", "markersize": 4.0 * look.line}
        handles.append(Line2D([], [], **cross, label="array busy"))  # type: ignore[arg-type]
    tick = Line2D([], [], marker="|", color=BLACK, linestyle="none", markersize=6.0 * look.line, label="wakes")
    return [tick, *handles]


def _periods(about: dict[str, Any], step_s: float) -> str:
    """Period and offset of each service, for the line below the title."""
    parts = [f"step {step_s:g} s"]
    for service, what in (("communication", "decisions"), ("sensing", "dwells"), ("localisation", "fixes")):
        if "period_s" in about.get(service, {}):
            period_s, offset_s = (_said(about, service, key) for key in ("period_s", "offset_s"))
            parts.append(f"{what} each {period_s:g} s from {offset_s:g} s")
    return ", ".join(parts)
