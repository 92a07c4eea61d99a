"""Figures: what they show is what the log holds, names are names, nothing overlaps, files are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.projections.polar import PolarAxes
from test_summary import DWELLS, EFFECTIVE_NS, EPOCHS, NAMES, SATS, SETS, write_log

from leosim import simulation
from leosim.antenna import steering
from leosim.log import Log, open_log
from leosim.records import BEAM
from leosim.report import figures, sensing_figures
from leosim.report.figures import KINDS, STYLES, pack, passes, plot, serving_intervals
from leosim.report.summary import per_user
from leosim.scenario import load_scenario

OTHERS = (*figures.NEED_TRACKS, *figures.NEED_LOCALISATION)
SERVING_KINDS = [kind for kind in KINDS if kind not in (*figures.NEED_SENSING, *OTHERS, *figures.NEED_SERVICES)]
SENSING_KINDS = [kind for kind in KINDS if kind not in OTHERS]
SIGNATURES = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    with open_log(write_log(tmp_path_factory.mktemp("figures") / "small.h5")) as opened:
        yield opened


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    with open_log(write_log(tmp_path_factory.mktemp("figures") / "other.h5", seed=8)) as opened:
        yield opened


@pytest.fixture(scope="module")
def sensed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    with open_log(write_log(tmp_path_factory.mktemp("figures") / "sensed.h5", sensing=True)) as opened:
        yield opened


def texts(figure: Figure) -> list[str]:
    """Every text of a figure that is not empty: titles, labels, names, legends."""
    figure.canvas.draw()
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]


@pytest.mark.parametrize("kind", ["hardening", "ergodic"])
def test_rate_lines_are_the_rates(log: Log, kind: str) -> None:
    ax = figures.rates(log, kind=kind)
    rate = log["rates"][kind]
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["least"].get_ydata(), rate.min(axis=1))
    np.testing.assert_array_equal(lines["median"].get_ydata(), np.median(rate, axis=1))
    (thin,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    drawn = [segment[:, 1] for segment in thin.get_segments()]
    np.testing.assert_array_equal(drawn, rate.T)
    np.testing.assert_array_equal(thin.get_segments()[0][:, 0], np.arange(EPOCHS))
    assert ax.get_ylabel() == f"{kind} rate (bit/s/Hz)"
    assert "nearest, smrt, cross terms averaged" in texts(ax.figure)


def test_outage_is_shaded_where_the_log_has_it(log: Log) -> None:
    ax = figures.rates(log)
    shaded = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches)
    assert shaded == [(0.0, 1.0), (7.0, 8.0)]
    (strip,) = [c for c in ax.collections if c.get_label() == "outage"]
    spans = sorted((path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in strip.get_paths())
    assert spans == [(0.0, 2.0), (4.0, 5.0), (7.0, 8.0)]


def test_distribution_and_its_five_percent_point(log: Log, other: Log) -> None:
    ax = figures.cdf([log, other], labels=["one", "two"])
    lines = {line.get_label(): line for line in ax.lines}
    for name, run in (("one", log), ("two", other)):
        for kind in ("hardening", "ergodic"):
            rate = run["rates"][kind]
            curve, mark = lines[f"{name}, {kind}"], lines[f"{name}, {kind}, 5 %"]
            np.testing.assert_array_equal(curve.get_xdata(), np.sort(rate.ravel()))
            assert curve.get_ydata()[-1] == 1.0
            assert mark.get_xdata()[0] == np.quantile(rate, 0.05)
            assert mark.get_ydata()[0] == 0.05
            assert f"{name}, {kind}, 5 %: {np.quantile(rate, 0.05):.3f}" in texts(ax.figure)


def test_packing_never_overlaps_and_uses_as_few_lanes_as_possible() -> None:
    rng = np.random.default_rng(5)
    begin = np.sort(rng.integers(0, 200, 300)).astype(float)
    end = begin + rng.integers(1, 40, 300)
    lane = pack(begin, end)
    for k in range(lane.max() + 1):
        mine = lane == k
        assert (begin[mine][1:] >= end[mine][:-1]).all()
    most_at_once = max(int(((begin <= t) & (t < end)).sum()) for t in begin)
    assert lane.max() + 1 == most_at_once


def test_intervals_on_one_pass_are_one(log: Log) -> None:
    intervals = serving_intervals(log, "Ulm")
    spans = passes(intervals)
    assert spans[["sat", "start_s", "end_s"]].to_numpy().tolist() == [[11, 0.0, 5.17], [12, 0.0, 5.17], [21, 5.17, 8.0]]
    much_later = intervals.assign(start_s=intervals.start_s + 6000.0, end_s=intervals.end_s + 6000.0)
    again = passes(pd.concat([intervals, much_later]))
    assert len(again) == 2 * len(spans)


@pytest.mark.parametrize(("row", "style"), [(0, "default"), (1, "default"), (2, "default"), (1, "ieee"), (1, "slides")])
def test_serving_bars_are_the_serving_intervals(log: Log, row: int, style: str) -> None:
    """The time each satellite is drawn is the time it serves, recounted decision by decision."""
    ax = figures.serving(log, user=NAMES[row], style=style)
    ends_ns = [*EFFECTIVE_NS[1:7], EPOCHS * 1_000_000_000]
    expected: dict[str, list[tuple[float, float]]] = {}
    for begin, end, sets in zip(EFFECTIVE_NS[:7], ends_ns, SETS, strict=False):
        for sat in sets[row]:
            spans = expected.setdefault(SATS[sat] or f"{sat}", [])
            if spans and spans[-1][1] == begin / 1e9:
                spans[-1] = (spans[-1][0], end / 1e9)
            else:
                spans.append((begin / 1e9, end / 1e9))
    drawn: dict[str, list[tuple[float, float]]] = {}
    boxes = []
    for bars in ax.collections:
        for path in bars.get_paths():
            (x0, y0), (x1, y1) = path.vertices.min(axis=0), path.vertices.max(axis=0)
            drawn.setdefault(bars.get_label(), []).append((x0, x1))
            boxes.append((x0, x1, y0, y1))
    assert drawn.keys() == expected.keys()
    for name, spans in expected.items():
        np.testing.assert_allclose(sorted(drawn[name]), spans, atol=1e-12)
    for k, (a0, a1, b0, b1) in enumerate(boxes):
        for c0, c1, d0, d1 in boxes[:k]:
            assert min(a1, c1) <= max(a0, c0) + 1e-12 or min(b1, d1) <= max(b0, d0)
    written = texts(ax.figure)
    assert set(expected) <= set(written)
    assert any(NAMES[row] in text for text in written)


def test_names_stand_clear_of_each_other(log: Log) -> None:
    ax = figures.serving(log, user=1)
    ax.figure.canvas.draw()
    names = {name or f"{sat}" for sat, name in SATS.items()}
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text() in names]
    assert len(boxes) >= 2
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


@pytest.mark.parametrize("style", figures.STYLES)
@pytest.mark.parametrize("kind", SERVING_KINDS)
def test_every_figure_names_the_model_of_coherence(log: Log, kind: str, style: str) -> None:
    written = " ".join(texts(figures.KINDS[kind](log, style=style).figure))
    assert "cross terms averaged" in written.replace("\n", " ")


def test_runs_that_differ_in_coherence_say_so(log: Log, tmp_path: Path) -> None:
    with open_log(write_log(tmp_path / "other.h5", coherence="cross terms ideal")) as other:
        written = " ".join(texts(figures.cdf([log, other]).figure))
    assert "cross terms averaged" in written
    assert "cross terms ideal" in written


def test_changes_of_beams_are_drawn_where_there_are_some(short, tmp_path: Path) -> None:
    scenario = short(30, 4, beamforming={"algorithm": "spot_beam"}, clustering={"algorithm": "best_satellite"})
    with simulation.run(scenario, tmp_path / "spot.h5") as spots:
        table, found, events = per_user(spots), spots.summary().communication, spots.handovers
        assert (events["kind"] == BEAM).sum() > 2
        arrived = events["event_t_ns"] < 30 * 1_000_000_000
        user_minutes = 4 * 30 / 60
        assert found.beam_per_user_minute == pytest.approx((events["kind"] == BEAM)[arrived].sum() / user_minutes)
        assert found.beam_changes_per_user_minute == pytest.approx(events["beams"][arrived].sum() / user_minutes)
        assert "of the beam alone" in dict(found.rows())["handovers"]
        containers = figures.handovers(spots).containers
    for bars, column in zip(containers[4:], ["beam", "beam_changes"], strict=True):
        np.testing.assert_allclose([bar.get_width() for bar in bars], table[f"{column}_per_minute"])
    ends = [bar.get_x() for bar in containers[4]]
    np.testing.assert_allclose(ends, table.soft_per_minute + table.hard_per_minute)


def test_handover_bars_are_those_of_the_summary(log: Log) -> None:
    ax = figures.handovers(log)
    table = per_user(log)
    for bars, column in zip(ax.containers, ["soft", "hard", "joins", "leaves"], strict=True):
        np.testing.assert_allclose([bar.get_width() for bar in bars], table[f"{column}_per_minute"])
    np.testing.assert_allclose([bar.get_x() for bar in ax.containers[1]], table.soft_per_minute)
    assert [label.get_text() for label in ax.get_yticklabels()] == NAMES


def test_sky_is_a_map_and_highlights_who_serves(log: Log) -> None:
    ax = figures.sky(log, user="Passau", t_s=2.9)
    assert isinstance(ax, PolarAxes)
    assert (ax.get_theta_offset(), ax.get_theta_direction()) == (np.pi / 2, -1)
    spots = {line.get_label(): line for line in ax.lines if line.get_marker() == "o"}
    assert spots.keys() == {f"{sat}" for sat in SATS}
    azimuth, zenith = spots["12"].get_xdata()[0], spots["12"].get_ydata()[0]
    np.testing.assert_allclose([azimuth, zenith], [1.6 + 0.1 * 2, 90 - 50.0 - 2 / 8], atol=1e-12)
    written = texts(ax.figure)
    assert {"N", "E", "S", "W", "mask 25°", "60°", "LEO-B"} <= set(written)
    assert "LEO-A" not in written
    assert "2 s, 4 in view, 1 serving, nearest, smrt, cross terms averaged" in written


def test_tracks_of_the_run_are_coloured_where_a_satellite_serves(log: Log) -> None:
    ax = figures.sky(log, user=2)
    lines = {c.get_label(): c for c in ax.collections if isinstance(c, LineCollection)}
    assert lines.keys() == {"11", "12", "in view"}
    # 12 serves Passau from 1.17 to 4.17 s: the epochs 2, 3 and 4, up to the beginning of 5
    (track,) = lines["12"].get_segments()
    np.testing.assert_allclose(track[:, 0], 1.6 + 0.1 * np.arange(2, 6), atol=1e-12)
    assert len(lines["in view"].get_segments()) == len(SATS)


@pytest.mark.parametrize("kind", SENSING_KINDS)
def test_files_are_written_in_every_style(sensed: Log, tmp_path: Path, kind: str) -> None:
    for style, suffix in zip(STYLES, SIGNATURES, strict=True):
        path = plot(sensed, kind, tmp_path / f"{kind}{suffix}", style)
        assert path.read_bytes().startswith(SIGNATURES[suffix])
    again = plot(sensed, kind, tmp_path / f"again-{kind}.svg", "slides")
    assert again.read_bytes() == (tmp_path / f"{kind}.svg").read_bytes()


def test_sizes_of_the_styles(log: Log) -> None:
    for kind in ("serving", "sky"):
        assert figures.figure(log, kind, "ieee").get_figwidth() == 3.5
        wide, tall = figures.figure(log, kind, "slides").get_size_inches()
        assert wide / tall == pytest.approx(16 / 9, rel=1e-3)


def test_settings_of_matplotlib_are_left_alone(log: Log, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    plot(log, "rates", tmp_path / "rates.png", "slides")
    assert dict(matplotlib.rcParams) == before


def test_axes_of_somebody_are_drawn_on(log: Log) -> None:
    made = Figure(figsize=(10, 4))
    left, right = made.subplots(1, 2)
    assert figures.rates(log, left) is left
    assert figures.serving(log, right, user="Ulm") is right
    assert figures.cdf(log, left, kinds=["ergodic"]) is left
    assert not made.legends
    with pytest.raises(ValueError, match="polar"):
        figures.sky(log, right)


def test_busiest_users_of_a_crowd(tmp_path: Path) -> None:
    with open_log(write_log(tmp_path / "crowd.h5", users=45)) as crowd:
        ax = figures.handovers(crowd)
        names = [label.get_text() for label in ax.get_yticklabels()]
        assert len(names) == 40
        assert set(names[:3]) == set(NAMES)
        assert any("40 busiest of 45 users" in text for text in texts(ax.figure))
        assert "no satellite serves" in texts(figures.serving(crowd, user="extra-44").figure)


def test_what_is_unknown_is_refused_with_what_is_known(log: Log, other: Log, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"rates, cdf, serving, sky, handovers, sensing, beams, track, localisation, timeline, got 'pie'",
    ):
        plot(log, "pie", tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"default, ieee, slides, got 'poster'"):
        plot(log, "rates", tmp_path / "a.png", "poster")
    with pytest.raises(ValueError, match=r"\.png, \.pdf, \.svg, got 'a\.docx'"):
        plot(log, "rates", tmp_path / "a.docx")
    with pytest.raises(ValueError, match="Ulm, München, Passau"):
        plot(log, "serving", tmp_path / "a.png", user="Munich")
    with pytest.raises(ValueError, match="a row from 0 to 2, got 3"):
        plot(log, "sky", tmp_path / "a.png", user=3)
    with pytest.raises(ValueError, match="hardening, ergodic, got 'sum'"):
        figures.rates(log, kind="sum")
    with pytest.raises(ValueError, match="from 0 to below 8 s, got 8"):
        figures.sky(log, t_s=8.0)
    with pytest.raises(ValueError, match="only cdf compares several"):
        plot([log, other], "rates", tmp_path / "a.png")
    with pytest.raises(ValueError, match="labels"):
        figures.cdf([log, other], labels=["one"])
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------
# Sensing


def panels(ax: Axes) -> list[Axes]:
    return list(ax.figure.axes)


def spans(patches: Iterable[Any], label: str) -> list[tuple[float, float]]:
    """Begin and end of what is shaded under a label."""
    shaded = [p for p in patches if not is_steps(p) and p.get_label() == label]
    return sorted((p.get_x(), p.get_x() + p.get_width()) for p in shaded)


def is_steps(patch: Any) -> bool:
    return isinstance(patch, StepPatch)


def test_what_a_figure_of_sensing_shows_is_in_the_log(sensed: Log) -> None:
    ax = figures.sensing(sensed)
    strip, rates, bound, power = panels(ax)
    assert rates is ax
    isac = sensed["isac"]
    lines = {patch.get_label(): patch.get_data() for patch in (*rates.patches, *bound.patches) if is_steps(patch)}
    expected = {
        "statistical": isac["min_rate"],
        "ergodic": np.nan_to_num(isac["min_ergodic"]),
        "met": [dwell[3] for dwell in DWELLS],
        "asked": isac["cross_range_asked_m"],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(lines[name].values, values)
        np.testing.assert_array_equal(lines[name].edges, np.arange(9.0))
    assert bound.get_yscale() == "log"
    assert spans(strip.patches, "LEO-A") == [(0.0, 2.0)]
    assert spans(strip.patches, "LEO-B") == [(2.0, 3.0), (4.0, 5.0)]
    assert spans(strip.patches, "LEO-C") == [(5.0, 7.0)]
    for panel in (rates, bound):
        assert spans(panel.patches, "capped") == [(2.0, 3.0)]
        assert spans(panel.patches, "held") == [(4.0, 5.0)]
        assert spans(panel.patches, "no satellite in view") == [(3.0, 4.0)]
        assert spans(panel.patches, "no target in view") == [(6.0, 7.0)]
    (beyond,) = [c for c in bound.collections if c.get_label() == "beyond"]
    found = sorted((path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in beyond.get_paths())
    assert found == [(1.0, 2.0), (4.0, 5.0)]
    for panel in (rates, bound, power):
        assert sorted(x for line in panel.lines if line.get_label() == "change" for x in set(line.get_xdata())) == [
            2.0,
            4.0,
            5.0,
            7.0,
        ]
    filled = {patch.get_label(): patch.get_data() for patch in power.patches if is_steps(patch)}
    assert list(filled) == ["private", "common", "radar sequence"]
    for k in (0, 2, 7):
        share = 100 * isac.row(k).power_w / isac.row(k).power_w.sum()
        tops = [part.values[k] for part in filled.values()]
        np.testing.assert_allclose(tops, [share[:2].sum(), share[:3].sum(), 100.0], rtol=1e-12)
        np.testing.assert_array_equal([part.baseline[k] for part in filled.values()], [0.0, *tops[:2]])
    assert np.isnan(filled["private"].values[3])


@pytest.mark.parametrize("style", STYLES)
def test_a_figure_of_sensing_says_what_it_shows_and_nothing_overlaps(sensed: Log, style: str) -> None:
    ax = figures.sensing(sensed, style=style)
    written = texts(ax.figure)
    expected = {"asked", "met", "capped", "held", "private", "common", "radar sequence", "bistatic > 135°", "power (%)"}
    assert expected <= set(written)
    expected = {"LEO-A", "LEO-C", "22", "time since start (s)", "least rate\n(bit/s/Hz)", "cross-range\nbound (m)"}
    assert expected <= set(written)
    about = " ".join(written).replace("\n", " ")
    assert "precoder rsma, SDMA, radar sequence cancelled, satellite best SNR" in about
    assert ("Sensing of 2 targets" in written) == STYLES[style].titled
    frame = ax.figure.bbox
    for panel in panels(ax):
        box = panel.get_tightbbox()
        assert frame.x0 <= box.x0
        assert frame.y0 <= box.y0
        assert box.y1 <= frame.y1
    legends = [panel.get_legend().get_window_extent() for panel in panels(ax)[1:]]
    for legend, panel in zip(legends, panels(ax)[1:], strict=True):
        assert legend.x1 <= frame.x1
        assert legend.y0 >= panel.get_window_extent().y1 - 1.0
    for legend, above in zip(legends, panels(ax)[:3], strict=True):
        assert legend.y1 <= above.get_window_extent().y0 + 1.0


def test_names_of_satellites_stand_within_their_stays(sensed: Log) -> None:
    for style in STYLES:
        strip = panels(figures.sensing(sensed, style=style))[0]
        strip.figure.canvas.draw()
        inside = strip.get_window_extent()
        boxes = [
            text.get_window_extent() for text in strip.texts if text.get_text() in ("LEO-A", "LEO-B", "LEO-C", "22")
        ]
        assert len(boxes) == 5
        assert all(inside.y0 <= box.y0 and box.y1 <= inside.y1 for box in boxes)
        assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_what_names_of_satellites_share_is_written_once() -> None:
    assert sensing_figures._prefix(["STARLINK-1131", "STARLINK-11245 [DTC]", "STARLINK-1122"]) == "STARLINK-"
    assert sensing_figures._prefix(["WALKER-51-19", "WALKER-52-18"]) == "WALKER-"
    assert sensing_figures._prefix(["LEO-A", "22"]) == ""


def test_sensing_is_drawn_where_there_is_some(log: Log, sensed: Log, tmp_path: Path) -> None:
    assert figures.kinds(log) == tuple(SERVING_KINDS)
    assert figures.kinds(sensed) == tuple(SENSING_KINDS)
    with pytest.raises(ValueError, match=r"no dwell in this log"):
        plot(log, "sensing", tmp_path / "a.png")
    made = Figure(figsize=(8, 8))
    axes = list(made.subplots(4, 1))
    assert figures.Plots(sensed).sensing(axes) is axes[1]
    with pytest.raises(ValueError, match="axes: expected 4, for satellites, rates, bound, power, got 2"):
        figures.sensing(sensed, axes[:2])


@pytest.mark.parametrize("style", STYLES)
def test_beams_mark_users_and_target_and_name_the_dwell(sensed: Log, style: str) -> None:
    ax = figures.beams(sensed, t_s=2.5, style=style)
    written = texts(ax.figure)
    row = sensed["isac"].row(2)
    share = 100 * row.power_w / row.power_w.sum()
    for name, of in (("private", [0, 1]), ("common", [2]), ("radar sequence", [3])):
        assert f"{name}\n{share[of].sum():.0f} %" in written
    assert {"users", "target", "along-track cosine", "cross-track cosine", "share of full gain (dB)"} <= set(written)
    assert any(text.startswith("LEO-B, 2 s, capped, precoder rsma") for text in written)
    users, target = ax.lines
    np.testing.assert_array_equal(users.get_xydata(), row.cosines[:2])
    np.testing.assert_array_equal(target.get_xydata(), row.cosines[2:])
    for low, high, places in zip(*np.transpose([ax.get_xlim(), ax.get_ylim()]), row.cosines.T, strict=True):
        assert low < places.min()
        assert places.max() < high
    frame = ax.figure.bbox
    for panel in panels(ax):
        box = panel.get_tightbbox()
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
        assert frame.y0 <= box.y0
        assert box.y1 <= frame.y1


def test_patterns_are_those_of_precoders_written_out(sensed: Log) -> None:
    row = sensed["isac"].row(7)
    u, w, gain_w = sensing_figures._pattern(row, 6, 4)
    p = steering(row.cosines, 6, 4).T @ row.weights
    for i, j in ((0, 0), (40, 3), (80, 80)):
        expected = np.abs(np.conj(steering(np.array([u[i], w[j]]), 6, 4)) @ p) ** 2
        np.testing.assert_allclose(gain_w[i * len(w) + j], expected, rtol=1e-9)


def test_which_dwell_a_figure_of_beams_shows(sensed: Log) -> None:
    assert any("LEO-B, 4 s, held" in text for text in texts(figures.beams(sensed).figure))
    without = figures.beams(sensed, t_s=6.0)
    assert any("no target in view" in text for text in texts(without.figure))
    assert len(without.lines) == 1
    with pytest.raises(ValueError, match="3 s, which has none"):
        figures.beams(sensed, t_s=3.0)
    with pytest.raises(ValueError, match="from 0 to below 8 s, got 8"):
        figures.beams(sensed, t_s=8.0)
    with pytest.raises(ValueError, match="axes: expected 3, for private, common, radar sequence, got 1"):
        figures.beams(sensed, list(Figure().subplots(1, 1, squeeze=False)[0]))


def test_dwells_that_serve_nobody_and_ask_for_nothing(tmp_path: Path) -> None:
    """Nothing is sent: rates are 0, bounds infinite, and there is nothing to draw a beam of."""
    nobody = load_scenario("isac_pass").with_(
        time={"duration_s": 2}, sensing={"user_radius_km": 1e-3}, isac={"radar": "communication_only"}
    )
    with simulation.run(nobody, tmp_path / "nobody.h5") as log:
        found = log.summary().sensing
        assert (found.statistical.mean, found.private, found.cross_range_worst_m, found.missed) == (0.0, 0.0, None, 1.0)
        assert "met: median infinite" in dict(log.summary().rows())["cross-range bound"]
        assert panels(figures.sensing(log))[3].get_legend() is None
        with pytest.raises(ValueError, match="the dwell at 1 s sends nothing"):
            figures.beams(log)
