"""Logs side by side: the settings that differ, paired differences, and intervals that know of the past."""

import json
import sys

import numpy as np
import pytest
from scipy import stats

import leosim
from leosim import cli, simulation
from leosim.report import compare as comparison

EPOCHS = 30
SENSED = ("sensing: cross-range bound (m)", "tracking: position error (m)")


@pytest.fixture(scope="module")
def logs(short, tmp_path_factory):
    """The logs of four policies, and of one of them on a grid of its own."""
    folder = tmp_path_factory.mktemp("compare")
    made = {}
    for name, tables in {
        "best": {"clustering": {"algorithm": "best_satellite"}},
        "nearest": {"clustering": {"algorithm": "nearest"}},
        "later": {"clustering": {"algorithm": "nearest"}, "time": {"start": "2026-08-22T03:00:00Z"}},
        "coarse": {"clustering": {"algorithm": "nearest"}, "time": {"step_s": 2}},
        "shorter": {"clustering": {"algorithm": "nearest"}, "time": {"duration_s": 24}},
    }.items():
        made[name] = folder / f"{name}.h5"
        simulation.run(short(EPOCHS, 3, **tables), made[name]).close()
    return made


def correlated(rng, phi, count):
    """A first-order autoregressive sequence of unit variance."""
    x = rng.standard_normal(count)
    for k in range(1, count):
        x[k] = phi * x[k - 1] + np.sqrt(1 - phi**2) * x[k]
    return x


def test_the_interval_covers_the_mean_of_a_sequence_with_a_memory():
    rng, runs, count, mean = np.random.default_rng(5), 400, 600, 3.0
    held = naive = 0
    for _ in range(runs):
        values = mean + correlated(rng, 0.8, count)
        low, high = comparison.batch_interval(values)
        held += low <= mean <= high
        naive += abs(values.mean() - mean) <= 1.96 * values.std() / np.sqrt(count)
    three_sigmas = 3 * np.sqrt(0.95 * 0.05 / runs)
    assert held / runs > 0.95 - 0.02 - three_sigmas
    assert naive / runs < 0.6  # what pretending independence would give


def test_of_a_sequence_without_a_memory_the_interval_is_that_of_its_batch_means():
    values = np.random.default_rng(1).standard_normal(200)
    means = values.reshape(10, 20).mean(axis=1)
    expected = stats.t.interval(0.95, 9, loc=means.mean(), scale=stats.sem(means))
    assert comparison.batch_interval(values) == pytest.approx(expected)
    assert comparison.batch_interval(values[:19]) is None


def test_differences_are_paired_by_epoch(logs):
    found = leosim.compare([logs["best"], logs["nearest"]])
    row = found.metrics.set_index("metric").loc["least rate (bit/s/Hz)"]
    with leosim.open_log(logs["best"]) as a, leosim.open_log(logs["nearest"]) as b:
        least = [log.rates["hardening"].min(axis=1) for log in (a, b)]
        changes = [np.isin(log.handovers["kind"], (1, 2, 4)).sum() for log in (a, b)]
        outage = [log.rates["outage_s"].sum() for log in (a, b)]
    assert row["first"] == pytest.approx(least[0].mean())
    assert row.difference == pytest.approx((least[1] - least[0]).mean())
    assert (row.low, row.high) == pytest.approx(comparison.batch_interval(least[1] - least[0]))
    assert row.pairs == EPOCHS
    row = found.metrics.set_index("metric").loc["handovers (a user-minute)"]
    assert (row["first"], row.other) == pytest.approx([n / 3 / (EPOCHS / 60) for n in changes])
    row = found.metrics.set_index("metric").loc["outage (% of user time)"]
    assert (row["first"], row.other) == pytest.approx([100 * s / 3 / EPOCHS for s in outage])
    assert not set(SENSED) & set(found.metrics.metric)


def test_settings_that_differ_are_named_and_no_others(logs):
    found = leosim.compare([logs["best"], logs["nearest"]])
    assert found.names == ("best", "nearest")
    assert found.settings.loc["clustering.algorithm"].tolist() == ["best_satellite", "nearest"]
    assert found.settings.loc["clustering.count"].tolist() == ["-", "8"]
    assert all(key.startswith("clustering") for key in found.settings.index)
    same = leosim.compare([logs["best"], logs["best"]])
    assert same.settings.empty
    assert same.names == ("best (1)", "best (2)")
    assert (same.metrics[["difference", "low", "high"]] == 0.0).all(axis=None)
    assert "no setting differs" in str(same)


def test_only_epochs_of_both_are_compared(logs):
    found = leosim.compare([logs["nearest"], logs["shorter"]])
    assert (found.metrics.pairs == 24).all()
    assert (found.metrics.difference == 0.0).all()


@pytest.mark.parametrize(("other", "what"), [("later", "start"), ("coarse", "step_s")])
def test_logs_whose_epochs_are_no_pairs_are_refused(logs, other, what):
    with pytest.raises(ValueError, match=f"{other}: expected the {what} of best"):
        leosim.compare([logs["best"], logs[other]])
    with pytest.raises(ValueError, match="two or more"):
        leosim.compare([logs["best"]])


def test_sensing_and_tracking_are_compared_dwell_by_dwell(tmp_path):
    scenario = leosim.load_scenario("tracking_pass").with_(
        time={"duration_s": 5},
        users={"count": 2},
        sensing={"array": [12, 12], "dwell_s": 1e-3, "ergodic_draws": 16, "cross_range_m": 150.0},
    )
    paths = [tmp_path / "tight.h5", tmp_path / "wide.h5"]
    leosim.run(scenario, paths[0]).close()
    leosim.replay(paths[0], {"sensing": {"cross_range_m": 300.0}}, paths[1]).close()
    rows = leosim.compare(paths).metrics.set_index("metric")
    with leosim.open_log(paths[0]) as a, leosim.open_log(paths[1]) as b:
        met, error = ([log[g][f] for log in (a, b)] for g, f in (("isac", "cross_range_m"), ("tracks", "error_m")))
    assert rows.loc[SENSED[0]].difference == pytest.approx((met[1] - met[0]).mean())
    assert rows.loc[SENSED[0]].difference > 10.0
    assert rows.loc["tracking: dwells that find the target (%)"]["first"] == 100.0
    assert rows.loc["sensing: echo SNR (dB)"].difference < 0.0  # less power for a wider bound
    assert rows.loc[SENSED[1]].difference == pytest.approx(np.nanmean(error[1] - error[0]))
    assert np.isnan(rows.low).all()  # too few epochs for an interval


def test_localisation_is_compared_period_by_period(tmp_path):
    scenario = leosim.load_scenario("ical_pass").with_(
        time={"duration_s": 3},
        users={"count": 3},
        communication=None,
        localisation={"array": [8, 8], "frames": 2, "subcarriers": 64, "bandwidth_hz": 1.92e6, "target_m": 200.0},
    )
    paths = [tmp_path / "prior.h5", tmp_path / "fixes.h5"]
    leosim.run(scenario.with_(localisation={"belief": "prior"}), paths[0]).close()
    leosim.run(scenario, paths[1]).close()
    rows = leosim.compare(paths).metrics.set_index("metric")
    with leosim.open_log(paths[0]) as a, leosim.open_log(paths[1]) as b:
        sums = [np.mean([log["ical"].row(k).true_rate.sum() for k in range(3)]) for log in (a, b)]
        medians = [np.mean([np.median(log["fixes"].row(k).error_m) for k in range(3)]) for log in (a, b)]
    rate = rows.loc["localisation: sum rate of a group (bit/s/Hz)"]
    assert (rate["first"], rate.other) == pytest.approx(sums)
    error = rows.loc["localisation: median position error (m)"]
    assert (error["first"], error.other) == pytest.approx(medians)
    assert error.difference < -500.0  # from kilometres to some metres
    assert (rows.pairs == 3).all()


def test_the_figure_shows_what_the_table_says(logs, tmp_path):
    found = leosim.compare([logs["best"], logs["nearest"], logs["shorter"]])
    over_time, spread = comparison.figure(found).axes
    drawn = [line for line in over_time.lines if len(line.get_xdata()) in (24, EPOCHS)]
    np.testing.assert_array_equal(drawn[0].get_ydata(), found.paired["least rate (bit/s/Hz)", "nearest"][1])
    assert [line.get_label() for line in spread.lines] == ["best", "nearest", "shorter"]
    assert over_time.get_ylabel() == "difference (bit/s/Hz)"
    assert spread.get_xlabel() == "least rate (bit/s/Hz)"
    assert found.plot(tmp_path / "figure.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match=r"ends in \.png"):
        found.plot(tmp_path / "figure.txt")
    with pytest.raises(ValueError, match="metric: expected one of least rate"):
        comparison.figure(found, "weight")


def test_the_command(logs, tmp_path, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["leosim", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, *capsys.readouterr()

    code, out, _ = call(logs["best"], logs["nearest"], "-o", tmp_path / "figure.pdf")
    assert code == 0
    assert "clustering.algorithm" in out
    assert "least rate (bit/s/Hz)" in out
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    code, out, _ = call(logs["best"], logs["nearest"], "--json")
    assert json.loads(out)["metrics"][0]["pairs"] == EPOCHS
    assert call(logs["best"], logs["later"])[0] == 2
    assert call(logs["best"], tmp_path / "none.h5")[0] == 4
