"""Figures of a log: rates, their distribution, serving satellites, handovers and the sky of a user.

Each function draws on the axes it is given, or on a figure of its own; pyplot is never involved.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.projections.polar import PolarAxes
from matplotlib.transforms import Bbox

from leosim import handover
from leosim.log import Log
from leosim.report import summary as numbers
from leosim.report.about import has_communication, satellite_names
from leosim.report.dwells import has_sensing
from leosim.report.fix_figures import localisation
from leosim.report.localised import has_localisation
from leosim.report.look import (
    BLACK,
    BLUE,
    CYCLE,
    DASHES,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RATE_UNIT,
    SKY,
    STYLES,
    VERMILLION,
    Style,
    colours_of,
    describe,
    head,
    legend_below,
    marked_runs,
    marked_spans,
    new_axes,
    new_polar_axes,
    one_of,
    readable_on,
    style_of,
    width_pt,
)
from leosim.report.sensing_figures import beams, sensing
from leosim.report.timeline import timeline
from leosim.report.track_figures import track
from leosim.report.tracks import has_tracks
from leosim.units import NS_PER_S, rad_to_deg

RATES = {"hardening": "hardening rate", "ergodic": "ergodic rate"}

# ---------------------------------------------------------------------------------------------
# Names


def user_row(log: Log, user: str | int) -> int:
    """The row of a user given by name or by row; ValueError with the names when there is none."""
    names = log["users"]["name"].tolist()
    if isinstance(user, str) and user in names:
        return names.index(user)
    if isinstance(user, int | np.integer) and not isinstance(user, bool) and 0 <= user < len(names):
        return int(user)
    known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise ValueError(f"user: expected a name or a row from 0 to {len(names) - 1}, got {user!r}; users are {known}")


# ---------------------------------------------------------------------------------------------
# Rates


def rates(log: Log, ax: Axes | None = None, *, kind: str = "hardening", style: str = "default") -> Axes:
    """Rate of each user over time, the least and the median of each epoch over it, outages shaded.

    kind : "hardening" or "ergodic". A band is shaded where some user is out for a whole epoch; the strip at the
    foot marks epochs with any outage, such as the interruption of a handover.
    """
    look = style_of(style)
    one_of("kind", kind, RATES)
    with matplotlib.rc_context(look.context):
        own = ax is None
        ax = new_axes(look) if ax is None else ax
        group, step_s = log["rates"], numbers.step_ns(log) / NS_PER_S
        t_s, rate, outage_s = group.t_ns / NS_PER_S, group[kind], group["outage_s"]
        users = rate.shape[1]
        thin = LineCollection(
            [np.column_stack([t_s, rate[:, u]]) for u in range(users)],
            colors=GREY,
            linewidths=0.4 * look.line,
            alpha=max(0.08, min(0.7, 8.0 / users)),
            label="users",
        )
        ax.add_collection(thin)
        (median,) = ax.plot(t_s, np.median(rate, axis=1), color=BLUE, label="median")
        (least,) = ax.plot(t_s, rate.min(axis=1), color=VERMILLION, label="least")
        handles: list[Any] = [
            Line2D([], [], color=GREY, linewidth=0.6 * look.line, label="each user" if users > 1 else "the user"),
            median,
            least,
        ]
        ax.set_xlim(t_s[0], t_s[-1] + step_s)
        top, bottom = float(rate.max()), float(rate.min())
        bottom = bottom if bottom > 0.5 * top > 0.0 else 0.0  # an axis from zero unless it were mostly empty
        room = (top - bottom) or 1.0
        ax.set_ylim(bottom - 0.06 * room, top + 0.06 * room)
        whole = np.any(outage_s >= 0.999 * step_s, axis=1)
        some = np.any(outage_s > 0.0, axis=1)
        if whole.any():
            for begin, length in marked_spans(whole, t_s, step_s):
                ax.axvspan(begin, begin + length, color=PURPLE, alpha=0.3, linewidth=0, zorder=0)
            handles.append(Patch(color=PURPLE, alpha=0.3, linewidth=0, label="whole-epoch outage"))
        if some.any():
            ax.broken_barh(
                marked_spans(some, t_s, step_s),
                (0.0, 0.025),
                transform=ax.get_xaxis_transform(),
                facecolor=BLACK,
                edgecolor=BLACK,
                linewidth=0.3,
                zorder=3,
                label="outage",
            )
            handles.append(Patch(color=BLACK, label="any outage" if users > 1 else "outage"))
        ax.set_xlabel("time since start (s)")
        ax.set_ylabel(f"{RATES[kind]} ({RATE_UNIT})")
        ax.grid(axis="y")
        head(ax, look, f"{RATES[kind].capitalize()} of {_people(log)}", describe(log))
        legend_below(ax, look, own, handles)
    return ax


def cdf(
    logs: Log | Sequence[Log],
    ax: Axes | None = None,
    *,
    kinds: Sequence[str] = ("hardening", "ergodic"),
    labels: Sequence[str] | None = None,
    style: str = "default",
) -> Axes:
    """Distribution of the rates of all user-epochs, its 5 % point marked and its value in the legend.

    logs : one log, or several to compare; labels : a name a log (default: its file). Outage counts as rate 0.
    """
    look = style_of(style)
    for kind in kinds:
        one_of("kinds", kind, RATES)
    runs = [logs] if isinstance(logs, Log) else list(logs)
    if not runs or not kinds:
        raise ValueError(f"expected at least one log and one kind of rate, got {len(runs)} and {len(kinds)}")
    names = [log.path.stem for log in runs] if labels is None else list(labels)
    if len(names) != len(runs):
        raise ValueError(f"labels: expected one a log ({len(runs)}), got {len(names)}")
    with matplotlib.rc_context(look.context):
        own = ax is None
        ax = new_axes(look) if ax is None else ax
        handles: list[Any] = []
        alone = len(runs) == 1 and labels is None
        models = [str(log.attributes.get("coherence", "")) for log in runs]
        if len(set(models)) > 1:  # a figure names the model of coherence, where runs differ too
            names = [f"{name}, {model}" for name, model in zip(names, models, strict=True)]
        share = numbers.LOW_SHARE
        for row, (log, name) in enumerate(zip(runs, names, strict=True)):
            for place, kind in enumerate(kinds):
                values = np.sort(log["rates"][kind].ravel())
                low = float(np.quantile(values, share))
                colour = CYCLE[(place if len(runs) == 1 else row) % len(CYCLE)]
                dash = DASHES[(place if len(kinds) > 1 else row) % len(DASHES)]
                what = kind if alone else name if len(kinds) == 1 else f"{name}, {kind}"
                probability = np.arange(1, values.size + 1) / values.size
                ax.plot(values, probability, color=colour, linestyle=dash, label=what)
                mark = {"marker": "o", "markersize": 2.6 * look.line, "markeredgecolor": "white"}
                ax.plot([low], [share], color=colour, zorder=4, label=f"{what}, 5 %", **mark)  # type: ignore[arg-type]
                handles.append(Line2D([], [], color=colour, linestyle=dash, **mark, label=f"{what}, 5 %: {low:.3f}"))  # type: ignore[arg-type]
        ax.axhline(share, color=BLACK, linewidth=0.5, linestyle=":", zorder=1)
        ax.set_ylim(0.0, 1.0)
        least = min(float(log["rates"][kind].min()) for log in runs for kind in kinds)
        most = max(float(log["rates"][kind].max()) for log in runs for kind in kinds)
        room = 0.04 * (most - least) or 0.5
        ax.set_xlim(max(0.0, least - room), most + room)
        ax.set_yticks([share, 0.25, 0.5, 0.75, 1.0], ["5 %", "25 %", "50 %", "75 %", "100 %"])
        ax.set_xlabel(f"rate ({RATE_UNIT})")
        ax.set_ylabel("share of user-epochs")
        ax.grid()
        common = [part for part in describe(runs[0]) if all(part in describe(log) for log in runs)]
        same = len(common) == len(describe(runs[0]))
        head(ax, look, "Distribution of rates", common if same else [f"{len(runs)} runs", *common])
        legend_below(ax, look, own, handles)
    return ax


def _people(log: Log) -> str:
    names = log["users"]["name"]
    return str(names[0]) if len(names) == 1 else f"{len(names)} users"


# ---------------------------------------------------------------------------------------------
# Serving satellites of one user

PASS_GAP_S = 600.0  # a satellite that serves again sooner does so on the same pass: no orbit is that short


def serving_intervals(log: Log, user: str | int) -> pd.DataFrame:
    """When each satellite serves a user: columns sat, start_s, end_s, in order of start."""
    row = user_row(log, user)
    effective_ns, sets = numbers.serving_sets(log, np.array([row]))
    table = handover.stays(effective_ns, sets, numbers.end_ns(log))
    return table[["sat", "start_s", "end_s"]].sort_values(["start_s", "sat"], ignore_index=True)


def passes(intervals: pd.DataFrame) -> pd.DataFrame:
    """Intervals of one satellite that lie within one pass, as one: sat, start_s, end_s, in order of start."""
    ordered = intervals.sort_values(["sat", "start_s"])
    before = ordered.groupby("sat")["end_s"].shift(1)
    first = (before.isna() | (ordered.start_s - before > PASS_GAP_S)).cumsum()
    found = ordered.groupby(first).agg(sat=("sat", "first"), start_s=("start_s", "min"), end_s=("end_s", "max"))
    return found.sort_values(["start_s", "sat"], ignore_index=True)


def pack(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """First-fit packing of intervals, given in order of begin, into as few lanes: [interval] lane, from 0.

    No two intervals of a lane overlap; they may touch.
    """
    lanes: list[float] = []
    found = np.zeros(len(begin), dtype=int)
    for k, (start, stop) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
        lane = next((i for i, free in enumerate(lanes) if free <= start), len(lanes))
        if lane == len(lanes):
            lanes.append(stop)
        lanes[lane] = stop
        found[k] = lane
    return found


@dataclass(frozen=True)
class _Pass:
    """A satellite while it serves, with gaps: its bars (begin, length), its name and where that stands."""

    sat: int
    name: str
    begin_s: float
    end_s: float
    bars: list[tuple[float, float]]

    def extent(self, size: float, per_pt: float, last_s: float) -> tuple[float, float, str]:
        """What bars and name need of a lane (s), the name `inside`, `after` or `before` the bars."""
        needed = (width_pt(self.name, size) + 0.9 * size) * per_pt
        if needed <= max(length for _, length in self.bars):
            return self.begin_s, self.end_s, "inside"
        if self.end_s + needed <= last_s:
            return self.begin_s, self.end_s + needed, "after"
        return self.begin_s - needed, self.end_s, "before"


def _passes(log: Log, row: int) -> list[_Pass]:
    bars, names = serving_intervals(log, row), satellite_names(log)
    sat, begin, end = bars["sat"].to_numpy(), bars["start_s"].to_numpy(), bars["end_s"].to_numpy()
    found = []
    for span in passes(bars).to_dict("records"):
        mine = (sat == span["sat"]) & (begin >= span["start_s"]) & (end <= span["end_s"])
        pieces = list(zip(begin[mine].tolist(), (end - begin)[mine].tolist(), strict=True))
        number = int(span["sat"])
        found.append(_Pass(number, names[number], float(span["start_s"]), float(span["end_s"]), pieces))
    return found


def _pack_named(spans: list[_Pass], size: float, per_pt: float, last_s: float) -> tuple[np.ndarray, list[str]]:
    """The lane of each pass and where its name stands, so that neither bars nor names overlap."""
    extents = [span.extent(size, per_pt, last_s) for span in spans]
    low, high = np.array([e[0] for e in extents]), np.array([e[1] for e in extents])
    order, lane = np.argsort(low, kind="stable"), np.zeros(len(spans), dtype=int)
    lane[order] = pack(low[order], high[order])
    return lane, [where for _, _, where in extents]


def serving(log: Log, ax: Axes | None = None, *, user: str | int = 0, style: str = "default") -> Axes:
    """Which satellites serve a user, and when: bars in lanes, a satellite in one lane while it passes.

    user : a name or a row. Epochs in which the user is in outage, if only for a handover, are shaded.
    """
    look = style_of(style)
    row = user_row(log, user)
    name = str(log["users"]["name"][row])
    with matplotlib.rc_context(look.context):
        own = ax is None
        t_s, step_s = log["rates"].t_ns / NS_PER_S, numbers.step_ns(log) / NS_PER_S
        first_s, last_s = float(t_s[0]), numbers.end_ns(log) / NS_PER_S
        spans = _passes(log, row)
        colours = colours_of([span.sat for span in spans])
        frame_in = (7.5 if look.titled else 6.0) * look.font / 72  # titles, labels and legend
        if ax is None:
            wide_pt, tall_pt = 72 * look.width - 2 * look.font, 72 * (look.tallest - frame_in)
        else:
            box = ax.get_window_extent()
            wide_pt, tall_pt = (72 * length / ax.figure.dpi for length in (box.width, box.height))
        size = 0.85 * look.small
        for _ in range(4):  # where there is little room for many lanes, letters are small
            lane, stands = _pack_named(spans, size, (last_s - first_s) / wide_pt, last_s)
            lanes = int(lane.max(initial=0)) + 1
            fits = 0.74 * tall_pt / lanes
            if size <= fits:
                break
            size = max(2.5, fits)
        ax = new_axes(look, lanes * max(1.45 * size / 72, 0.17 if lanes < 10 else 0.0) + frame_in) if ax is None else ax
        for span, k, where in zip(spans, lane.tolist(), stands, strict=True):
            colour = colours[span.sat]
            ax.broken_barh(span.bars, (k - 0.42, 0.84), facecolor=colour, edgecolor="none", zorder=2, label=span.name)
            _write(ax, span, k, where, size, colour)
        if len(spans) == 0:
            ax.text(0.5, 0.5, "no satellite serves", transform=ax.transAxes, ha="center", va="center", color="#555555")
        outage = marked_spans(log["rates"]["outage_s"][:, row] > 0.0, t_s, step_s)
        for begin, length in outage:
            ax.axvspan(begin, begin + length, facecolor=BLACK, edgecolor=BLACK, linewidth=0.6, alpha=0.25, zorder=1)
        ax.set_xlim(first_s, last_s)
        ax.set_ylim(lanes - 0.4, -0.6)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("time since start (s)")
        head(ax, look, f"Serving satellites of {name}", ([] if look.titled else [name]) + describe(log))
        if outage:
            legend_below(ax, look, own, [Patch(color=BLACK, alpha=0.25, label="epoch with outage")])
    return ax


def _write(ax: Axes, span: _Pass, lane: int, where: str, size: float, colour: str) -> None:
    """The name of a satellite on its longest bar, or beside its bars where none is long enough."""
    longest, _ = max(span.bars, key=lambda bar: bar[1])
    ax.annotate(
        span.name,
        ({"inside": longest, "after": span.end_s, "before": span.begin_s}[where], lane),
        (-2.0 if where == "before" else 2.0, 0.0),
        textcoords="offset points",
        ha="right" if where == "before" else "left",
        va="center_baseline",
        fontsize=size,
        color=readable_on(colour) if where == "inside" else BLACK,
        path_effects=[] if where == "inside" else [patheffects.withStroke(linewidth=0.3 * size, foreground="white")],
        annotation_clip=True,
        zorder=4,
    )


# ---------------------------------------------------------------------------------------------
# Handovers

MOST_USERS = 40  # with names a page can hold
MOST_TRACKS = 30  # whose names a sky can hold


def handovers(log: Log, ax: Axes | None = None, *, style: str = "default") -> Axes:
    """Handovers of each user a minute, and the satellites that join and leave its serving set or change their beam.

    Handovers are soft, hard or of the beam alone; beams are drawn only where some change. Of more than 40 users,
    those with the most handovers.
    """
    look = style_of(style)
    with matplotlib.rc_context(look.context):
        own = ax is None
        table = numbers.per_user(log)
        total = len(table)
        if total > MOST_USERS:
            events = table.soft_per_minute + table.hard_per_minute + table.beam_per_minute
            busiest = events.sort_values(ascending=False, kind="stable")
            table = table.loc[busiest.index[:MOST_USERS]]
        row_in = 0.0265 * look.small
        ax = new_axes(look, len(table) * row_in + 1.1 + 0.03 * look.font) if ax is None else ax
        y, thick = np.arange(len(table)), 0.36
        parts = (
            ("soft_per_minute", "soft handovers", -0.2, BLUE, None),
            ("hard_per_minute", "hard handovers", -0.2, VERMILLION, "//"),
            ("joins_per_minute", "joins", 0.2, SKY, None),
            ("leaves_per_minute", "leaves", 0.2, ORANGE, ".."),
            ("beam_per_minute", "beam handovers", -0.2, GREEN, "xx"),
            ("beam_changes_per_minute", "beam changes", 0.2, PURPLE, "--"),
        )
        handles = []
        end = {-0.2: np.zeros(len(table)), 0.2: np.zeros(len(table))}
        for column, label, shift, colour, hatch in parts if table.beam_changes_per_minute.any() else parts[:4]:
            left, end[shift] = end[shift], end[shift] + table[column].to_numpy()
            drawn = ax.barh(
                y + shift,
                table[column],
                thick,
                left=left,
                label=label,
                edgecolor="white",
                linewidth=0.0,
                color=colour,
                hatch=None if hatch is None else hatch * (1 if look.fixed else 2),
            )
            handles.append(drawn)
        ax.set_yticks(y, [str(name) for name in table.index])
        ax.tick_params(axis="y", length=0)
        if look.fixed and len(table) > 14:
            ax.tick_params(axis="y", labelsize=max(6.0, look.small * 14 / len(table)))
        ax.set_ylim(len(table) - 0.4, -0.6)
        ax.set_xlim(left=0.0)
        if not table[[column for column, *_ in parts]].to_numpy().any():
            ax.set_xlim(0.0, 1.0)
            ax.text(0.5, 0.5, "no changes of serving sets", transform=ax.transAxes, ha="center", color="#555555")
        ax.set_xlabel("events per minute")
        ax.grid(axis="x")
        cut = [f"{MOST_USERS} busiest of {total} users"] if total > MOST_USERS else []
        head(ax, look, "Handovers", describe(log) + cut)
        legend_below(ax, look, own, handles)
    return ax


# ---------------------------------------------------------------------------------------------
# Sky


def sky(
    log: Log, ax: PolarAxes | None = None, *, user: str | int = 0, t_s: float | None = None, style: str = "default"
) -> Axes:
    """The sky of a user as a map: north up, east right, the zenith in the middle, rings of elevation.

    user : a name or a row; t_s : one instant (s since the start), or None for the tracks of the whole run;
    a run with more than MOST_TRACKS serving satellites is shown at its middle instead.
    Satellites in view are grey, serving ones coloured and named. `ax`, if given, must be polar.
    Raises ValueError for axes that are not, an unknown user and a time outside the run.
    """
    look = style_of(style)
    row = user_row(log, user)
    name = str(log["users"]["name"][row])
    if ax is not None and not isinstance(ax, PolarAxes):
        raise ValueError("ax: expected polar axes (projection='polar')")
    geometry, end_s = log["geometry"], numbers.end_ns(log) / NS_PER_S
    first_s = float(log["rates"].t_ns[0]) / NS_PER_S
    if t_s is not None and not first_s <= t_s < end_s:
        raise ValueError(f"t_s: expected a time from {first_s:g} to below {end_s:g} s, got {t_s:g}")
    with matplotlib.rc_context(look.context):
        ax = new_polar_axes(look) if ax is None else ax
        mask_deg = float(rad_to_deg(log["users"]["mask_rad"][row]))
        rim_deg = 10.0 * math.floor(max(0.0, mask_deg - 1.0) / 10.0)
        _compass(ax, look, mask_deg, rim_deg)
        tracks = _tracks(log, row)
        names = satellite_names(log)
        if t_s is None and tracks.sat[tracks.serving].nunique() > MOST_TRACKS:
            t_s = (first_s + end_s) / 2
        if t_s is None:
            marks = _draw_run(ax, look, tracks, 1.5 * numbers.step_ns(log) / NS_PER_S)
            when = f"{first_s:g} to {end_s:g} s"
        else:
            sample = int(np.searchsorted(geometry.t_ns, round(t_s * NS_PER_S), side="right") - 1)
            at_s = float(geometry.t_ns[sample]) / NS_PER_S
            marks = _draw_instant(ax, look, tracks, at_s)
            when = f"{at_s:g} s"
        written = _write_names(ax, look, marks, names)
        in_view = tracks.sat.nunique() if t_s is None else int((tracks.t_s == at_s).sum())
        named = f" ({written} named)" if written < len(marks) else ""
        details = [when, f"{in_view} in view", f"{len(marks)} serving{named}", *describe(log)]
        head(ax, look, f"Sky of {name}", details if look.titled else [name, *details])
    return ax


@dataclass(frozen=True)
class _Mark:
    """A serving satellite to be named: its colour and where its name may stand (azimuth, zenith distance)."""

    sat: int
    colour: str
    spots: list[tuple[float, float]]


def _compass(ax: PolarAxes, look: Style, mask_deg: float, rim_deg: float) -> None:
    """North up, east right, rings of elevation with their degrees, the mask as a dashed circle."""
    ax.set_theta_zero_location("N")
    ax.set_theta_direction(-1)
    ax.set_thetagrids(np.arange(0, 360, 45), ["N", "", "E", "", "S", "", "W", ""], fontsize=look.font)
    ax.tick_params(axis="x", pad=0.1 * look.font)
    rings = [ring for ring in (60.0, 30.0, rim_deg) if ring >= rim_deg and (ring == rim_deg or ring - rim_deg >= 10.0)]
    ax.set_ylim(0.0, 90.0 - rim_deg)
    ax.set_rgrids([90.0 - ring for ring in rings], ["" for _ in rings])
    ax.grid(color="#dddddd", linewidth=0.5)
    ax.spines["polar"].set_color("#bbbbbb")
    around = np.linspace(0.0, 2.0 * np.pi, 361)
    ax.plot(
        around,
        np.full(around.size, 90.0 - mask_deg),
        color=BLACK,
        linewidth=0.45 * look.line,
        dashes=(4, 3),
        zorder=1.5,
    )
    halo = [patheffects.withStroke(linewidth=2.0, foreground="white")]
    for ring, text in [(ring, f"{ring:g}°") for ring in rings] + [(mask_deg, f"mask {mask_deg:g}°")]:
        azimuth = math.radians(157.5 if text.startswith("mask") else 22.5)
        ax.text(
            azimuth,
            90.0 - ring,
            text,
            fontsize=0.85 * look.small,
            color="#555555",
            ha="center",
            va="center",
            path_effects=halo,
            zorder=3,
        )


def _tracks(log: Log, row: int) -> pd.DataFrame:
    """What a user sees: a row an epoch and satellite, columns t_s, sat, azimuth_rad, zenith_deg, serving."""
    geometry = log["geometry"]
    mine = geometry["user"] == row
    epoch = np.repeat(np.arange(len(geometry)), geometry.size("pair"))[mine]
    sat = geometry["sat"][mine]
    _, decision, user, serving_sat = numbers.decisions(log)
    chosen = user == row
    rows = numbers.in_force(log, geometry.t_ns)[epoch]
    code = rows.astype(np.int64) << 32 | sat
    active = np.isin(code, decision[chosen].astype(np.int64) << 32 | serving_sat[chosen])
    return pd.DataFrame(
        {
            "t_s": geometry.t_ns[epoch] / NS_PER_S,
            "sat": sat,
            "azimuth_rad": geometry["azimuth_rad"][mine],
            "zenith_deg": 90.0 - rad_to_deg(geometry["elevation_rad"][mine]),
            "serving": active,
        }
    ).sort_values(["sat", "t_s"], ignore_index=True)


def _lines(track: pd.DataFrame, marked: np.ndarray, longest_s: float) -> list[np.ndarray]:
    """A track as unbroken lines of (azimuth, zenith distance), one for each run of marked epochs.

    A line goes on to the first epoch that is not marked: an epoch is a step, not a point.
    """
    points = track[["azimuth_rad", "zenith_deg"]].to_numpy()
    step = marked[:-1] & (np.diff(track.t_s.to_numpy()) <= longest_s)
    return [points[first : stop + 1] for first, stop in marked_runs(step)]


def _draw_run(ax: PolarAxes, look: Style, tracks: pd.DataFrame, longest_s: float) -> list[_Mark]:
    """The track of every satellite, thick and coloured where it serves; those that serve longest first."""
    ordered = tracks[tracks.serving].groupby("sat").t_s.min().sort_values(kind="stable")
    colours = colours_of([int(sat) for sat in ordered.index])
    marks: list[tuple[int, _Mark]] = []
    grey: list[np.ndarray] = []
    for _, arc in tracks.groupby("sat"):
        grey += _lines(arc, np.ones(len(arc), dtype=bool), longest_s)
        if not arc.serving.any():
            continue
        number = int(arc.sat.iloc[0])
        bold = LineCollection(
            _lines(arc, arc.serving.to_numpy(), longest_s),
            colors=colours[number],
            linewidths=1.3 * look.line,
            capstyle="round",
            zorder=2.5,
            label=f"{number}",
        )
        ax.add_collection(bold)
        spots = arc.loc[arc.serving, ["azimuth_rad", "zenith_deg"]].to_numpy()
        choice = [len(spots) // 2, len(spots) // 4, 3 * len(spots) // 4, len(spots) - 1, 0]
        marks.append((len(spots), _Mark(number, colours[number], [(float(a), float(z)) for a, z in spots[choice]])))
    ax.add_collection(LineCollection(grey, colors="#c4c4c4", linewidths=0.45 * look.line, zorder=2, label="in view"))
    return [mark for _, mark in sorted(marks, key=lambda found: -found[0])]


def _draw_instant(ax: PolarAxes, look: Style, tracks: pd.DataFrame, at_s: float) -> list[_Mark]:
    """Every satellite in view at one instant, with a line from where it was during the minute before."""
    now = tracks[tracks.t_s == at_s]
    colours = colours_of([int(sat) for sat in now.sat[now.serving]])
    recent = tracks[(tracks.t_s <= at_s) & (tracks.t_s >= at_s - 60.0)]
    marks = []
    for number, azimuth, zenith in zip(
        now.sat.tolist(), now.azimuth_rad.tolist(), now.zenith_deg.tolist(), strict=True
    ):
        trail, serves = recent[recent.sat == number], number in colours
        colour = colours.get(number, "#9a9a9a")
        ax.plot(trail.azimuth_rad, trail.zenith_deg, color=colour, linewidth=0.6 * look.line, zorder=2)
        ax.plot(
            [azimuth],
            [zenith],
            marker="o",
            markersize=(4.5 if serves else 2.5) * look.line,
            color=colour,
            markeredgecolor=BLACK if serves else "none",
            markeredgewidth=0.5,
            linestyle="none",
            zorder=3 if serves else 2.5,
            label=f"{number}",
        )
        if serves:
            marks.append(_Mark(number, colour, [(azimuth, zenith)]))
    return marks


def _write_names(ax: PolarAxes, look: Style, marks: list[_Mark], names: dict[int, str]) -> int:
    """Names beside the satellites where they hide no other name; returns how many found room."""
    made = ax.get_figure(root=True)
    if made is None:
        return 0
    made.draw_without_rendering()  # the layout decides where everything is
    scale = made.dpi / 72.0
    size = 0.78 * look.small * (min(1.0, math.sqrt(30.0 / max(1, len(marks)))) if look.fixed else 1.0)
    window = made.bbox.padded(-2.0 * scale)
    taken = [text.get_window_extent() for text in ax.texts]
    taken += [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
    for line in ax.lines:
        if line.get_marker() == "o":
            centre = ax.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()])[0])
            half = 0.5 * line.get_markersize() * scale
            taken.append(Bbox([centre - half, centre + half]))
    halo = [patheffects.withStroke(linewidth=0.28 * size, foreground="white")]
    tall = 1.05 * size * scale
    written = 0
    for mark in marks:
        wide = width_pt(names[mark.sat], size) * scale
        placed = None
        gap = 2.6 * look.line * scale
        for reach, (azimuth, zenith) in product((1.0, 3.0, 6.0), mark.spots):  # farther ones with a leader
            x, y = ax.transData.transform((azimuth, zenith))
            out, up = gap + (reach - 1.0) * tall, (reach - 1.0) * tall
            beside = [(out, 0.0), (-out - wide, 0.0)] if reach == 1.0 else []
            beside += [(side, way * (gap + up + tall / 2)) for way in (1, -1) for side in (-wide / 2, out, -out - wide)]
            for dx, dy in beside:
                box = Bbox.from_bounds(x + dx, y + dy - tall / 2, wide, tall)
                inside = window.x0 <= box.x0 and box.x1 <= window.x1 and window.y0 <= box.y0 and box.y1 <= window.y1
                if inside and not any(box.overlaps(other) for other in taken):
                    placed = (azimuth, zenith, dx / scale, dy / scale, box)
                    break
            if placed is not None:
                break
        if placed is None:
            continue
        azimuth, zenith, right, up, box = placed
        taken.append(box)
        written += 1
        ax.annotate(
            names[mark.sat],
            (azimuth, zenith),
            (right, up),
            textcoords="offset points",
            ha="left",
            va="center_baseline",
            fontsize=size,
            color=BLACK,
            path_effects=halo,
            arrowprops={
                "arrowstyle": "-",
                "color": mark.colour,
                "linewidth": 0.4 * look.line,
                "shrinkA": 0,
                "shrinkB": 0,
            }
            if reach > 1.0
            else None,
            annotation_clip=False,
            zorder=5,
        )
    return written


# ---------------------------------------------------------------------------------------------
# Files

KINDS: dict[str, Callable[..., Axes]] = {
    "rates": rates,
    "cdf": cdf,
    "serving": serving,
    "sky": sky,
    "handovers": handovers,
    "sensing": sensing,
    "beams": beams,
    "track": track,
    "localisation": localisation,
    "timeline": timeline,
}
NEED_COMMUNICATION = ("rates", "cdf", "serving", "sky", "handovers")
NEED_TRACKS = ("track",)
NEED_LOCALISATION = ("localisation",)
NEED_SERVICES = ("timeline",)  # more than one
NEED_SENSING = ("sensing", "beams", *NEED_TRACKS)
SUFFIXES = (".png", ".pdf", ".svg")


def kinds(log: Log) -> tuple[str, ...]:
    """The kinds of figure a log holds the data of."""
    lacking = set() if has_tracks(log) else set(NEED_TRACKS)
    lacking |= set() if has_sensing(log) else set(NEED_SENSING)
    lacking |= set() if has_localisation(log) else set(NEED_LOCALISATION)
    lacking |= set() if has_communication(log) else set(NEED_COMMUNICATION)
    services = (has_communication(log), has_sensing(log), has_localisation(log))
    lacking |= set() if sum(services) > 1 else set(NEED_SERVICES)
    return tuple(kind for kind in KINDS if kind not in lacking)


def figure(log: Log | Sequence[Log], kind: str, style: str = "default", **options: Any) -> Figure:
    """A figure of a kind in a style; `options` are those of the function of that name in this module.

    log : one log; `cdf` also takes several. Raises ValueError for an unknown kind, style or option.
    """
    one_of("kind of figure", kind, KINDS)
    style_of(style)
    if not isinstance(log, Log) and kind != "cdf":
        raise ValueError(f"a figure of {kind} shows one log, got {len(log)}; only cdf compares several")
    for one in [log] if isinstance(log, Log) else log:
        if kind in NEED_COMMUNICATION and not has_communication(one):
            raise ValueError(f"{one.path}: no rates in this log; its scenario has no [communication]")
    made = KINDS[kind](log, style=style, **options).get_figure(root=True)
    if not isinstance(made, Figure):
        raise ValueError("ax: a figure of its own is made; to draw on axes call the function of that kind")
    return made


def plot(
    log: Log | Sequence[Log], kind: str, output: str | os.PathLike[str], style: str = "default", **options: Any
) -> Path:
    """Write a figure to a file, PNG, PDF or SVG by its suffix; returns the path.

    Raises ValueError for an unknown kind, style or suffix, before anything is drawn.
    """
    path = Path(output)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"output: expected a file name that ends in {', '.join(SUFFIXES)}, got {path.name!r}")
    made = figure(log, kind, style, **options)
    # No date: the same log gives the same file.
    dated = {".pdf": "CreationDate", ".svg": "Date"}.get(path.suffix.lower())
    with matplotlib.rc_context(style_of(style).context):
        made.savefig(path, format=path.suffix.lower()[1:], metadata={dated: None} if dated else None)
    return path


@dataclass(frozen=True)
class Plots:
    """The figures of one log as methods, each with the options of the function of that name; Axes come back."""

    log: Log

    def rates(self, kind: str = "hardening", ax: Axes | None = None, **options: Any) -> Axes:
        """Rates over time."""
        return rates(self.log, ax, kind=kind, **options)

    def cdf(self, quantity: str = "rate", ax: Axes | None = None, **options: Any) -> Axes:
        """Distribution of rates: quantity `rate` (both), `hardening` or `ergodic`."""
        kinds = tuple(RATES) if quantity == "rate" else (quantity,)
        return cdf(self.log, ax, kinds=kinds, **options)

    def serving(self, user: str | int = 0, ax: Axes | None = None, **options: Any) -> Axes:
        """One user's serving satellites over time."""
        return serving(self.log, ax, user=user, **options)

    def handovers(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Handover counts of each user."""
        return handovers(self.log, ax, **options)

    def sensing(self, axes: Sequence[Axes] | None = None, **options: Any) -> Axes:
        """Satellites, rates, bounds and powers of the sensing service; `axes` are four."""
        return sensing(self.log, axes, **options)

    def beams(self, t_s: float | None = None, axes: Sequence[Axes] | None = None, **options: Any) -> Axes:
        """Where the streams of one dwell go; `axes` are one a kind of stream."""
        return beams(self.log, axes, t_s=t_s, **options)

    def track(self, axes: Sequence[Axes] | None = None, **options: Any) -> Axes:
        """Targets, detections, tracks and their errors; `axes` are four."""
        return track(self.log, axes, **options)

    def localisation(self, axes: Sequence[Axes] | None = None, **options: Any) -> Axes:
        """Rates, errors, bounds and normalised errors of the localisation service; `axes` are three."""
        return localisation(self.log, axes, **options)

    def timeline(self, t_s: float = 0.0, ax: Axes | None = None, **options: Any) -> Axes:
        """What each process did within two seconds."""
        return timeline(self.log, ax, t_s=t_s, **options)

    def sky(self, user: str | int = 0, ax: PolarAxes | None = None, **options: Any) -> Axes:
        """The sky of one user."""
        return sky(self.log, ax, user=user, **options)


__all__ = [
    "KINDS",
    "RATES",
    "STYLES",
    "Plots",
    "Style",
    "beams",
    "cdf",
    "describe",
    "figure",
    "handovers",
    "kinds",
    "localisation",
    "pack",
    "passes",
    "plot",
    "rates",
    "satellite_names",
    "sensing",
    "serving",
    "serving_intervals",
    "sky",
    "track",
    "user_row",
]
