"""What a log says of detections and tracks: numbers counted again by hand, fixes near the truth, the figure."""

import json

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from test_sensing import TARGET
from test_sensing import scenario as without_tracking
from test_surveillance import watched

from leosim import cli, simulation
from leosim.records import CONFIRMED
from leosim.report import figures, tracks
from leosim.report.summary import summary

OTHER = {**TARGET, "name": "other", "position_km": [4, 6, 6]}


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    """Two aircraft in turn, twelve dwells."""
    with simulation.run(watched(targets=[TARGET, OTHER]), tmp_path_factory.mktemp("report") / "two.h5") as log:
        yield log


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """A run whose dwells have no satellite."""
    with simulation.run(watched(2, mask_deg=89), tmp_path_factory.mktemp("report") / "blind.h5") as log:
        yield log


@pytest.fixture(scope="module")
def untracked(tmp_path_factory):
    """A run with sensing and without surveillance."""
    with simulation.run(without_tracking(2), tmp_path_factory.mktemp("report") / "isac.h5") as log:
        yield log


def test_the_numbers_of_surveillance_are_those_of_the_log(flown):
    found, rows = summary(flown).surveillance, flown["tracks"]
    assert (found.detector, found.tracker) == ("mf_first", "imm")
    assert found.heard == 12
    assert found.found == {"found": float(np.mean(flown["detections"]["status"] == 0))}
    decibels = 10 * np.log10(flown["detections"]["statistic"])
    assert found.statistic_median_db == pytest.approx(np.median(decibels))
    assert found.statistic_least_db == pytest.approx(decibels.min())
    assert found.confirmed == pytest.approx(np.mean(rows["status"] == CONFIRMED))
    assert found.confirmed_s == np.flatnonzero(rows["status"] == CONFIRMED)[0]  # a dwell a second
    assert (found.began, found.lost) == (2, 0)
    assert found.rmse_m == pytest.approx(np.sqrt(np.mean(rows["error_m"] ** 2)))
    assert found.error_95_percent_m == pytest.approx(np.quantile(rows["error_m"], 0.95))
    assert found.nees == pytest.approx(rows["nees"].mean() / 6)


def test_each_target_has_its_numbers(flown):
    found = summary(flown).surveillance
    assert [one.name for one in found.targets] == ["aircraft", "other"]
    for k, one in enumerate(found.targets):
        error_m = flown["tracks"]["error_m"][k::2]
        assert (one.dwells, one.tracked) == (6, 6)
        assert one.rmse_m == pytest.approx(np.sqrt(np.mean(error_m**2)))
    text = dict(found.rows())
    assert text["detection"] == "12 dwells heard with mf_first: 100 % found"
    assert text["tracking"].startswith("imm: 2 begun, 0 lost; confirmed first at 4 s")
    assert "6 of 6 dwells" in text["  other"]


def test_the_numbers_are_json(flown, blind):
    for log in (flown, blind):
        back = json.loads(json.dumps(summary(log).as_dict(), allow_nan=False))
        assert len(back["surveillance"]["targets"]) <= 2


def test_a_run_that_hears_nothing(blind):
    found = summary(blind).surveillance
    assert (found.heard, found.began, found.rmse_m, found.confirmed_s) == (0, 0, None, None)
    text = dict(found.rows())
    assert text["detection SNR"] == "nothing heard"
    assert text["position error"] == "no track"


def test_a_run_without_surveillance_has_none_of_it(untracked):
    found = summary(untracked)
    assert found.surveillance is None
    assert "surveillance" not in found.as_dict()
    assert not tracks.has_tracks(untracked)
    with pytest.raises(ValueError, match=r"no track in this log; its scenario needs the tables \[detection\]"):
        tracks.looks(untracked)


def test_a_detection_alone_is_near_the_target(flown):
    """Of dwells this short, to some hundredths of a radian."""
    truth = np.stack([flown["targets"].row(k).pos_enu[k % 2] for k in range(12)])
    off_m = np.linalg.norm(tracks.fixes(flown) - truth, axis=1)
    assert np.isfinite(off_m).all()
    assert np.median(off_m) < 250
    assert off_m.max() < 700


def test_tracks_that_begin_and_end():
    """Of target 0: begun, kept, lost and begun at once, missed, none; of target 1 in between: none, begun."""
    target = np.array([0, 1, 0, 0, 1, 0, 0, -1])
    tracked = np.array([True, False, True, True, True, True, False, False])
    hits = np.array([1, 0, 2, 1, 1, 1, 0, 0])
    misses = np.array([0, 0, 0, 0, 0, 1, 0, 0])
    began, ended = tracks._fates(target, tracked, hits, misses)
    assert np.flatnonzero(began).tolist() == [0, 3, 4]
    assert np.flatnonzero(ended).tolist() == [3, 6]


def test_the_band_of_normalised_errors():
    """Draws of six normal numbers, alone and averaged over ten."""
    squares = (np.random.default_rng(1).standard_normal((40_000, 10, 6)) ** 2).mean(axis=2)
    for count, mean in ((1, squares[:, 0]), (10, squares.mean(axis=1))):
        np.testing.assert_allclose(tracks.nees_band(count), np.quantile(mean, [0.025, 0.975]), rtol=0.05)


def test_the_figure_is_drawn_where_there_are_tracks(flown, untracked, tmp_path):
    assert "track" in figures.kinds(flown)
    assert "track" not in figures.kinds(untracked)
    with pytest.raises(ValueError, match="no track in this log"):
        figures.plot(untracked, "track", tmp_path / "none.png")
    with pytest.raises(ValueError, match="expected 4, for map, altitude, error, nees, got 1"):
        flown.plot.track([Figure().add_subplot()])


def test_the_figure_shows_what_the_log_says(flown):
    axes = list(Figure(figsize=(8, 8)).subplots(4, 1))
    assert flown.plot.track(axes) is axes[0]
    ground, altitude, error, nees = axes
    for k, name in enumerate(("aircraft", "other")):
        rows = slice(k, None, 2)
        path, truth = ([ax for ax in ground.lines if ax.get_label() == label][k] for label in ("track", "truth"))
        np.testing.assert_allclose(path.get_xydata(), flown["tracks"]["mean"][rows, :2] / 1e3)
        pos_enu = np.stack([flown["targets"].row(dwell).pos_enu[k] for dwell in range(k, 12, 2)])
        np.testing.assert_allclose(truth.get_xydata(), pos_enu[:, :2] / 1e3)
        off = [line for line in error.lines if line.get_label() == "error"][k]
        np.testing.assert_allclose(off.get_ydata(), flown["tracks"]["error_m"][rows])
        sigma = [line for line in error.lines if line.get_label() == "sigma"][k]
        trace = [np.trace(covariance[:3, :3]) for covariance in flown["tracks"]["covariance"][rows]]
        np.testing.assert_allclose(sigma.get_ydata(), 3 * np.sqrt(trace))
        (scored,) = [line for line in nees.lines if line.get_label() == name]
        np.testing.assert_allclose(scored.get_ydata(), flown["tracks"]["nees"][rows])
    assert [text.get_text() for text in ground.get_legend().get_texts()][:3] == ["aircraft", "other", "truth"]
    assert altitude.get_ylabel() == "up (km)"


def test_the_figure_in_every_style(flown, blind, tmp_path):
    before = dict(matplotlib.rcParams)
    for style in figures.STYLES:
        for log in (flown, blind):
            assert figures.plot(log, "track", tmp_path / f"{style}.svg", style).stat().st_size > 10_000
    assert dict(matplotlib.rcParams) == before


def test_the_command_prints_and_draws(flown, tmp_path, monkeypatch, capsys):
    for line in (["info", str(flown.path)], ["plot", str(flown.path), "track", "-o", str(tmp_path / "t.png")]):
        monkeypatch.setattr("sys.argv", ["leosim", *line])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert "12 dwells heard with mf_first" in printed
    assert (tmp_path / "t.png").is_file()
