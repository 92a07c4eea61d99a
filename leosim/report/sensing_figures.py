"""Figures of the sensing service: what its users get, what the radar can tell, and where the power goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from leosim import precoding
from leosim.log import Log
from leosim.radar import RCS_VALID_RAD
from leosim.records import (
    CAPPED,
    COMMON_STREAM,
    HELD,
    ISAC_STATUS,
    NO_SATELLITE_IN_VIEW,
    NO_TARGET_IN_VIEW,
    RADAR_SEQUENCE,
    IsacPrecoder,
)
from leosim.report.about import algorithm, satellite_names, scenario
from leosim.report.dwells import dwells, period_s, target_names
from leosim.report.look import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RATE_UNIT,
    SKY,
    VERMILLION,
    Style,
    head,
    head_of_all,
    marked_spans,
    new_figure,
    style_of,
    width_pt,
)
from leosim.units import linear_to_db, rad_to_deg

PANELS = ("satellites", "rates", "bound", "power")
SHADES = {CAPPED: VERMILLION, HELD: PURPLE, NO_SATELLITE_IN_VIEW: BLACK, NO_TARGET_IN_VIEW: SKY}
RADAR_MODES = {
    "sic": "radar sequence cancelled",
    "no_sic": "radar sequence not cancelled",
    "no_sequence": "no radar sequence",
    "communication_only": "communication only",
}
RULES = {"highest": "highest", "best_snr": "best SNR"}
FAINT = 0.05  # percent of the power: less is not seen
POWERS = {"private_w": ("private", BLUE), "common_w": ("common", ORANGE), "radar_w": ("radar sequence", GREEN)}


def sensing(log: Log, axes: Sequence[Axes] | None = None, *, style: str = "default") -> Axes:
    """Dwells over time: satellites, rates of the least user, cross-range bounds and shares of power.

    Thin lines are changes of the satellite. Where a dwell did not meet what is asked, rates and bounds are shaded; a
    strip at the foot of the bounds marks bistatic angles at which no model of the cross-section holds.
    axes : four to draw on, from the top, or None for a figure of its own. Returns those of the rates.
    Raises ValueError when the log has no sensing, or other than four axes are given.
    """
    look, table = style_of(style), dwells(log)
    if axes is not None and len(axes) != len(PANELS):
        raise ValueError(f"axes: expected {len(PANELS)}, for {', '.join(PANELS)}, got {len(axes)}")
    with matplotlib.rc_context(look.context):
        step_s = period_s(table)
        names = satellite_names(log)
        wide_pt = 72.0 * look.width - (9.0 if look.fixed else 8.5) * look.font
        stays = _stays(table, names, step_s)
        prefix = _prefix([name for _, _, name in stays])
        stays = [(begin, length, name[len(prefix) :]) for begin, length, name in stays]
        first_s, last_s = float(table.t_s.iloc[0]), float(table.t_s.iloc[-1]) + step_s
        letters = _letters(stays, 0.85 * look.small, (last_s - first_s) / wide_pt)
        if axes is None:
            axes = _panels(look, letters.strip_pt(stays, 4.0 if look.fixed else 7.0))
        strip, rates, bound, power = axes
        written = _satellites(strip, stays, letters)
        strip.set_ylabel(prefix or "satellite", rotation=0, ha="right", va="center", fontsize=letters.size)
        _rates(rates, table, step_s)
        _bound(bound, table, step_s)
        _power(power, table, step_s)
        for ax in (rates, bound):
            _shade(ax, table, step_s)
        for ax in (rates, bound, power):
            for begin, _, _ in stays[1:]:
                ax.axvline(begin, color="#555555", linewidth=0.25 * look.line, zorder=2.5, label="change")
        for ax in axes:
            ax.set_xlim(first_s, last_s)
        for ax in axes[:-1]:
            ax.tick_params(axis="x", labelbottom=False)
        for ax in axes[1:]:
            ax.yaxis.label.set_fontsize(look.small)
            ax.yaxis.set_tick_params(labelsize=(0.85 if look.fixed else 1.0) * look.small)
        power.set_xlabel("time since start (s)")
        for ax, handles in ((rates, _rate_handles()), (bound, _bound_handles(table)), (power, _power_handles(table))):
            _legend_above(ax, look, handles)
        aims = target_names(log)
        title = f"Sensing of {aims[0]}" if len(aims) == 1 else f"Sensing of {len(aims)} targets"
        head(strip, look, title, _details(log))
        _leave_out(strip, written)
    return rates


def _panels(look: Style, strip_pt: float) -> list[Axes]:
    """Four axes on a figure of their own: a strip of satellites, as high as their names, and three panels."""
    tall = look.height if look.fixed else min(1.9 * look.height, look.tallest)
    panel_in = (tall - strip_pt / 72.0 - 0.19 * look.font) / 3.0  # the rest is text
    made: Figure = new_figure(look, tall)
    axes = list(made.subplots(4, 1, sharex=True, height_ratios=[strip_pt / 72.0, panel_in, panel_in, panel_in]))
    made.align_ylabels(axes[1:])
    return axes


def _details(log: Log) -> list[str]:
    about = scenario(log)
    isac, rule = about.get("isac", {}), about.get("sensing", {}).get("satellite")
    parts = [f"precoder {algorithm(about, 'isac')}"]
    parts += ["SDMA"] if isac.get("access") == "sdma" else []
    parts += [RADAR_MODES.get(isac["radar"], str(isac["radar"]))] if "radar" in isac else []
    return parts + ([f"satellite {RULES.get(rule, rule)}"] if rule else [])


def _legend_above(ax: Axes, look: Style, handles: Sequence[Any]) -> None:
    """A legend above axes that have neighbours below, in as few rows as there is room for."""
    if not handles:
        return
    widths = [width_pt(handle.get_label(), look.small) + 3.4 * look.small for handle in handles]
    for rows in range(1, len(handles) + 1):
        columns = math.ceil(len(handles) / rows)
        if sum(max(widths[k * rows : (k + 1) * rows], default=0.0) for k in range(columns)) < 58.0 * look.width:
            break
    ax.legend(
        handles=list(handles),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=look.small,
        borderaxespad=0.15,
        borderpad=0.1,
        columnspacing=1.2,
        handlelength=1.5,
        handletextpad=0.5,
    )


# ---------------------------------------------------------------------------------------------
# Satellites


def _stays(table: pd.DataFrame, names: dict[int, str], step_s: float) -> list[tuple[float, float, str]]:
    """Which satellite sensed and when: (begin, length, name), a change or a gap begins a new one."""
    sat, t_s = table.sat.to_numpy(), table.t_s.to_numpy()
    found = []
    for number in np.unique(sat[sat >= 0]).tolist():
        for begin, length in marked_spans(sat == number, t_s, step_s):
            found.append((begin, length, names[number]))
    return sorted(found)


def _prefix(names: Sequence[str]) -> str:
    """What all names begin with, up to their numbers: "STARLINK-"."""
    low, high = min(names, default=""), max(names, default="")
    alike = next((k for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    common = low[:alike].rstrip("0123456789")
    return common if low != common else ""


@dataclass(frozen=True)
class _Letters:
    """How names of satellites are written: size (points), upright or lying, and seconds a point of the axis."""

    size: float
    upright: bool
    per_pt: float

    def fit(self, length: float, name: str) -> bool:
        """Whether a stay of some length (s) has room for a name."""
        needed_pt = 1.1 * self.size if self.upright else width_pt(name, self.size) + 0.4 * self.size
        return length >= needed_pt * self.per_pt

    def strip_pt(self, stays: list[tuple[float, float, str]], most: float) -> float:
        """Height of a strip that holds the names (points), upright ones of up to `most` times their size."""
        if not self.upright:
            return 1.6 * self.size
        longest = max((width_pt(name, self.size) for _, length, name in stays if self.fit(length, name)), default=0.0)
        return min(longest, most * self.size) + 0.8 * self.size


def _letters(stays: list[tuple[float, float, str]], size: float, per_pt: float) -> _Letters:
    """Names lie, unless many more of them find room when they stand."""
    standing, lying = (_Letters(size, upright, per_pt) for upright in (True, False))
    found = [sum(letters.fit(length, name) for _, length, name in stays) for letters in (standing, lying)]
    return standing if found[1] < 0.8 * found[0] else lying


def _satellites(ax: Axes, stays: list[tuple[float, float, str]], letters: _Letters) -> list[Text]:
    """Bands and names of the satellites; returns the names."""
    names = []
    for k, (begin, length, name) in enumerate(stays):
        ax.axvspan(begin, begin + length, color="#d5e3ee" if k % 2 else "#eef3f7", linewidth=0, label=name)
        if not letters.fit(length, name):
            continue
        written = ax.text(
            begin + length / 2,
            0.5,
            name,
            transform=ax.get_xaxis_transform(),
            rotation=90 if letters.upright else 0,
            rotation_mode="anchor",
            ha="center",
            va="center_baseline",
            fontsize=letters.size,
            clip_on=True,
        )
        names.append(written)
    ax.set_yticks([])
    ax.tick_params(axis="x", length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    return names


def _leave_out(strip: Axes, names: Sequence[Text]) -> None:
    """Leaves out the names that the strip is too low for."""
    made = strip.get_figure(root=True)
    if made is None:
        return
    made.draw_without_rendering()  # the layout decides how high it is
    low, high = strip.get_window_extent().intervaly
    for name in names:
        box = name.get_window_extent()
        if box.y0 < low or box.y1 > high:
            name.remove()


# ---------------------------------------------------------------------------------------------
# Panels


def _shade(ax: Axes, table: pd.DataFrame, step_s: float) -> None:
    for code, colour in SHADES.items():
        for begin, length in marked_spans((table.status == code).to_numpy(), table.t_s.to_numpy(), step_s):
            ax.axvspan(begin, begin + length, color=colour, alpha=0.15, linewidth=0, zorder=0, label=ISAC_STATUS[code])


def _steps(ax: Axes, table: pd.DataFrame, values: pd.Series, step_s: float, **look: Any) -> None:
    """A line with a value a dwell, which holds until the next one; none where it is nan."""
    edges = np.append(table.t_s, table.t_s.iloc[-1] + step_s)
    ax.stairs(values, edges, baseline=None, linewidth=matplotlib.rcParams["lines.linewidth"], **look)


def _rates(ax: Axes, table: pd.DataFrame, step_s: float) -> None:
    _steps(ax, table, table.min_rate_bit_s_hz, step_s, color=BLUE, label="statistical", zorder=3)
    _steps(ax, table, table.min_ergodic_bit_s_hz, step_s, color=ORANGE, linestyle="--", label="ergodic", zorder=3)
    ax.set_ylim(bottom=0.0)
    ax.set_ylabel(f"least rate\n({RATE_UNIT})")
    ax.grid(axis="y")


def _rate_handles() -> list[Any]:
    return [
        Line2D([], [], color=BLUE, label="from statistics"),
        Line2D([], [], color=ORANGE, linestyle="--", label="over the fading (ergodic)"),
    ]


def _beyond(table: pd.DataFrame) -> np.ndarray:
    beyond: np.ndarray = (table.bistatic_angle_rad > RCS_VALID_RAD).to_numpy()
    return beyond


def _bound(ax: Axes, table: pd.DataFrame, step_s: float) -> None:
    _steps(ax, table, table.cross_range_asked_m, step_s, color=BLACK, linestyle="--", label="asked", zorder=2.8)
    _steps(ax, table, table.cross_range_m, step_s, color=BLUE, label="met", zorder=3)
    ax.set_yscale("log")
    known = table[["cross_range_asked_m", "cross_range_m"]].to_numpy()
    known = known[np.isfinite(known)]
    if known.size:
        ax.set_ylim(0.6 * known.min(), 1.4 * known.max())
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda metres, _: f"{metres:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylabel("cross-range\nbound (m)")
    ax.grid(axis="y")
    if _beyond(table).any():
        ax.broken_barh(
            marked_spans(_beyond(table), table.t_s.to_numpy(), step_s),
            (0.0, 0.045),
            transform=ax.get_xaxis_transform(),
            facecolor=BLACK,
            zorder=3,
            label="beyond",
        )


def _bound_handles(table: pd.DataFrame) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], color=BLACK, linestyle="--", label="asked"),
        Line2D([], [], color=BLUE, label="met"),
    ]
    for code, colour in SHADES.items():
        if (table.status == code).any():
            handles.append(Patch(color=colour, alpha=0.15, linewidth=0, label=ISAC_STATUS[code]))
    if _beyond(table).any():
        handles.append(Patch(color=BLACK, label=f"bistatic > {rad_to_deg(RCS_VALID_RAD):.0f}°"))
    return handles


def _sent(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The share of each kind of stream in the power that is sent, for kinds that are seen (%); nan where nothing is."""
    sent_w = table[list(POWERS)]
    share = 100.0 * sent_w.div(sent_w.sum(axis=1).where(lambda total: total > 0.0), axis=0)
    return {kind: share[kind].to_numpy() for kind in POWERS if (share[kind] > FAINT).any()}


def _power(ax: Axes, table: pd.DataFrame, step_s: float) -> None:
    edges = np.append(table.t_s, table.t_s.iloc[-1] + step_s)
    below = np.zeros(len(table))
    for kind, share in _sent(table).items():
        label, colour = POWERS[kind]
        ax.stairs(below + share, edges, baseline=below, fill=True, color=colour, linewidth=0, alpha=0.85, label=label)
        below = below + share
    ax.set_ylim(0.0, 100.0)
    ax.set_yticks([0, 50, 100])
    ax.set_ylabel("power (%)")


def _power_handles(table: pd.DataFrame) -> list[Any]:
    return [Patch(color=POWERS[kind][1], alpha=0.85, linewidth=0, label=POWERS[kind][0]) for kind in _sent(table)]


# ---------------------------------------------------------------------------------------------
# Beams of one dwell

GRID, AROUND = 81, 0.12  # points a side, and direction cosines beyond users and target
LOWEST_DB, STEP_DB = -30.0, 3.0


def beams(log: Log, axes: Sequence[Axes] | None = None, *, t_s: float | None = None, style: str = "default") -> Axes:
    """Where each kind of stream goes in one dwell: a map over the direction cosines, users and target marked.

    Power times array gain over that of the whole power in one beam: at 0 dB all there is goes there. Kinds without
    power are left out. axes : one a kind that is sent, or None for a figure of its own; t_s : the dwell at or before
    a time (s since the start), by default that in the middle of those with a satellite. Returns the first axes.
    Raises ValueError when the log has no sensing, the dwell has no satellite, or the number of axes is another.
    """
    look, table = style_of(style), dwells(log)
    k = _dwell(table, t_s)
    row = cast(IsacPrecoder, log["isac"].row(k))
    rows, columns = scenario(log)["sensing"]["array"]
    kinds = {
        "private": row.user >= 0,
        "common": row.user == COMMON_STREAM,
        "radar sequence": row.user == RADAR_SEQUENCE,
    }
    sent_w = float(row.power_w.sum())
    kinds = {name: of for name, of in kinds.items() if 100.0 * row.power_w[of].sum() > FAINT * sent_w}
    if not kinds:
        raise ValueError(f"the dwell at {table.t_s[k]:g} s sends nothing: it serves nobody and asks for no sensing")
    if axes is not None and len(axes) != len(kinds):
        raise ValueError(f"axes: expected {len(kinds)}, for {', '.join(kinds)}, got {len(axes)}")
    u, w, gain_w = _pattern(row, rows, columns)
    with matplotlib.rc_context(look.context):
        made: Figure | None = None
        if axes is None:
            across = (look.width - 0.18 * look.font) / len(kinds)  # labels and scale take the rest
            tall = look.height if look.fixed else across + (0.2 if look.titled else 0.18) * look.font
            made = new_figure(look, tall)
            axes = list(made.subplots(1, len(kinds), squeeze=False, sharex=True, sharey=True)[0])
        levels = np.arange(LOWEST_DB, 0.5 * STEP_DB, STEP_DB)
        for ax, (name, of) in zip(axes, kinds.items(), strict=True):
            share = gain_w[:, of].sum(axis=1).reshape(GRID, GRID) / (rows * columns * sent_w)
            level_db = np.clip(linear_to_db(share), LOWEST_DB, -1e-9)  # rounding must not leave the scale
            level_db[np.hypot(*np.meshgrid(u, w, indexing="ij")) > 1.0] = np.nan
            painted = ax.contourf(u, w, level_db.T, levels=levels, cmap="viridis", extend="min")
            marks: dict[str, Any] = {"linestyle": "none", "markeredgecolor": BLACK, "markeredgewidth": 0.4 * look.line}
            (users,) = ax.plot(
                *row.cosines[:-1].T, marker="o", markersize=2.8 * look.line, color="white", label="users", **marks
            )
            handles = [users]
            if row.target >= 0:
                size = 5.5 * look.line
                handles += ax.plot(*row.cosines[-1], marker="*", markersize=size, color=ORANGE, label="target", **marks)
            ax.set_aspect("equal")
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_locator(MaxNLocator(4))
            ax.set_title(f"{name}\n{100.0 * row.power_w[of].sum() / sent_w:.0f} %", fontsize=look.small)
            ax.set_xlabel("along-track cosine", fontsize=look.small)
        axes[0].set_ylabel("cross-track cosine", fontsize=look.small)
        if made is not None:
            bar = made.colorbar(painted, ax=list(axes), aspect=25, pad=0.02)
            bar.set_label("share of full gain (dB)", fontsize=look.small)
            bar.set_ticks(list(levels[::2]))
            made.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=look.small)
            name = satellite_names(log)[int(row.sat)]
            about = [name, f"{table.t_s[k]:g} s", ISAC_STATUS[int(row.status)], *_details(log)[:-1]]
            head_of_all(made, look, "Beams of a dwell", ", ".join(about))
    return axes[0]


def _dwell(table: pd.DataFrame, t_s: float | None) -> int:
    """The row of the dwell at or before a time; by default the middle one of those with a satellite."""
    flying = np.flatnonzero(table.sat >= 0)
    if not flying.size:
        raise ValueError("no dwell of this run has a satellite")
    if t_s is None:
        return int(flying[flying.size // 2])
    first_s, end_s = float(table.t_s.iloc[0]), float(table.t_s.iloc[-1]) + period_s(table)
    if not first_s <= t_s < end_s:
        raise ValueError(f"t_s: expected a time from {first_s:g} to below {end_s:g} s, got {t_s:g}")
    k = int(np.searchsorted(table.t_s, t_s, side="right")) - 1
    if table.sat[k] < 0:
        raise ValueError(f"t_s: expected a time of a dwell with a satellite, got {t_s:g} s, which has none")
    return k


def _pattern(row: IsacPrecoder, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Direction cosines of a square around users and target, u [GRID] and w [GRID], and gains [u * w, stream] (W)."""
    marked = row.cosines if row.target >= 0 or len(row.cosines) == 1 else row.cosines[:-1]
    low, high = marked.min(axis=0), marked.max(axis=0)
    half = 0.5 * float((high - low).max()) + AROUND
    u, w = (np.linspace(middle - half, middle + half, GRID) for middle in 0.5 * (low + high))
    lines = [precoding.gains(row, np.column_stack([np.full(GRID, one), w]), rows, columns) for one in u]
    return u, w, np.concatenate(lines)
