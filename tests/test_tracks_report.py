"""What a log says of detections and tracks: numbers counted again by hand, fixes near the truth, the figure."""

import json

import numpy as np
import pytest
from test_sensing import TARGET
from test_sensing import scenario as without_tracking
from test_surveillance import watched

from leosim import simulation
from leosim.records import CONFIRMED
from leosim.report import tracks
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
