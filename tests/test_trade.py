"""Joint trade curves: paired runs over knobs, the numbers of their logs, intervals over seeds, figure and command."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import leosim
from leosim import cli
from leosim.records import FIXED, MET
from leosim.report import trade_panels
from leosim.scenario import ScenarioError, load_scenario
from leosim.studies import trade as trades

SMALL = {
    "users": {"count": 2, "radius_km": 30.0},
    "sensing": {"array": [12, 12], "dwell_s": 1e-3, "ergodic_draws": 16, "cross_range_m": 150.0, "offset_s": 0.6},
    "localisation": {"array": [8, 8], "frames": 2, "target_m": 200.0, "subcarriers": 64, "bandwidth_hz": 1.92e6},
}
DURATION_S = 4


@pytest.fixture(scope="module")
def base():
    return load_scenario("full_loop").with_(communication=None, **SMALL)


@pytest.fixture(scope="module")
def run(base, tmp_path_factory):
    """The folder of logs and the table of two knobs and one seed."""
    folder, told = tmp_path_factory.mktemp("trade"), []
    table = trades.trade(
        base, ["dwell", "frames"], (), DURATION_S, 1, folder=folder, progress=lambda *now: told.append(now)
    )
    return folder, table, told


def test_every_value_of_every_knob_is_run_once(run):
    folder, table, told = run
    assert table[table.knob == "dwell"].value.tolist() == [2.5e-4, 5e-4, 1e-3, 2e-3]
    assert table[table.knob == "frames"].value.tolist() == [1, 2, 4]  # 0.25, 0.5, 1 and 2 times 2, in whole frames
    assert table.own.sum() == 2
    logs = list(folder.glob("*.h5"))
    assert len(logs) == 6  # the scenario itself is a value of both knobs
    assert told == [(k, 6) for k in range(1, 7)]
    own = table[table.own][list(trades.MEASURES)]
    pd.testing.assert_series_equal(own.iloc[0], own.iloc[1], check_names=False)


def test_the_numbers_are_those_of_the_log(run, base):
    folder, table, _ = run
    row = table[(table.knob == "dwell") & (table.value == 2e-3)].iloc[0]
    changed = base.with_(time={"duration_s": DURATION_S}, sensing={"dwell_s": 2e-3})
    with leosim.run(changed, folder / leosim.prepare(changed).default_output.name) as log:
        isac, tracks, ical, fixes = (log[name] for name in ("isac", "tracks", "ical", "fixes"))
        assert row.sensing_rate_bit_s_hz == pytest.approx(isac["min_ergodic"].mean())
        assert row.dwells_met == (isac["status"] == MET).mean()
        confirmed = np.isin(tracks["status"], (1, 2))
        assert row.target_rmse_m == pytest.approx(np.sqrt((tracks["error_m"][confirmed] ** 2).mean()))
        sums = [ical.row(k).true_rate.sum() for k in range(len(ical))]
        assert row.ical_rate_bit_s_hz == pytest.approx(np.mean(sums))
        good = fixes["status"] == FIXED
        assert good.any()
        assert row.fix_rmse_m == pytest.approx(np.sqrt((fixes["error_m"][good] ** 2).mean()))
        assert row.fix_median_m == pytest.approx(np.median(fixes["error_m"][good]))
        assert row.fix_bound_m == pytest.approx(np.sqrt((fixes["bound_m"][good] ** 2).mean()))
    symbol_s = 1 / 30e3 + 72 / 30.72e6
    each_s = 2e-3 + 2 * 20 * 14 * symbol_s
    assert row.array_share == pytest.approx(each_s)  # one dwell and one fix a second
    assert np.isnan(row.least_rate_bit_s_hz)  # there is no communication


def test_a_knob_of_one_service_leaves_the_other_as_it_is(run):
    _, table, _ = run
    same = {"dwell": ["ical_rate_bit_s_hz", "fix_rmse_m"], "frames": ["sensing_rate_bit_s_hz", "target_rmse_m"]}
    for knob, names in same.items():
        rows = table[table.knob == knob]
        assert (rows[names].nunique() == 1).all()
    more = table[table.knob == "dwell"]
    assert more.sensing_rate_bit_s_hz.iloc[-1] >= more.sensing_rate_bit_s_hz.iloc[0]  # less power for the same bound


def test_logs_that_are_there_are_taken_whatever_the_workers(run, base):
    folder, table, _ = run
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.h5")}
    again = trades.trade(base, ["dwell", "frames"], (), DURATION_S, 1, workers=2, folder=folder)
    pd.testing.assert_frame_equal(again, table)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.h5")} == written


def made_up():
    """Four seeds of two values: what a seed adds is the same for both, what a value adds is 2 and some noise."""
    rng = np.random.default_rng(3)
    luck, noise = 10.0 * rng.standard_normal(4), 0.1 * rng.standard_normal(4)
    rows = []
    for value, extra in ((20.0, np.zeros(4)), (40.0, 2.0 + noise)):
        for seed in range(4):
            numbers = dict.fromkeys(trades.MEASURES, 5.0 + luck[seed] + extra[seed])
            rows.append({"knob": "apeb", "value": value, "own": value == 20.0, "seed": seed, **numbers})
    return pd.DataFrame(rows), luck, noise


def test_intervals_are_of_seeds_and_differences_are_paired():
    table, luck, noise = made_up()
    name = "fix_rmse_m"
    mean, change = trades.means(table), trades.paired(table)
    low, high = stats.t.interval(0.95, 3, loc=5 + luck.mean(), scale=stats.sem(luck))
    assert mean[name][0] == pytest.approx((low + high) / 2)
    assert mean[f"{name}_half"][0] == pytest.approx((high - low) / 2)
    low, high = stats.t.interval(0.95, 3, loc=2 + noise.mean(), scale=stats.sem(noise))
    assert change[name].tolist() == pytest.approx([0.0, (low + high) / 2])
    assert change[f"{name}_half"].tolist() == pytest.approx([0.0, (high - low) / 2])
    assert change[f"{name}_half"][1] < 0.1 * mean[f"{name}_half"][1]  # what pairing is for
    alone = trades.means(table[table.seed == 0])
    assert alone[f"{name}_half"].isna().all()
    without = trades.paired(table[~table.own])
    assert without[name].isna().all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((["power"],), "expected some of dwell, cross_range, frames, apeb, got power"),
        ((["dwell", "apeb"], [1.0, 2.0]), "values: expected one knob"),
        (([], [], 20, 0), "seeds: expected at least 1"),
        ((["frames"], [0.5, 2.0]), "frames"),
        ((["dwell"], [1e-3]), "values: expected two or more"),
        ((["dwell"], [1e-3, 5.0]), "dwell_s of at most period_s"),
    ],
)
def test_what_cannot_be_turned_is_said_before_any_run(base, arguments, said):
    with pytest.raises(ScenarioError, match=said):
        trades.trade(base, *arguments)


def test_a_scenario_without_the_service_has_no_such_knob(base):
    with pytest.raises(ScenarioError, match=r"knob apeb: turns \[localisation\] target_m"):
        trades.trade(base.with_(localisation=None), ["apeb"])
    assert trades.possible(base.with_(localisation=None)) == ("dwell", "cross_range")


def test_the_figure_has_a_line_for_each_knob_where_it_changes_something(run):
    _, table, _ = run
    means = trades.means(table)
    drawn = trade_panels.draw(means, {name: knob.unit for name, knob in trades.KNOBS.items()}, "Trades", ["1 seed"])
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in drawn.axes]
    assert labels == [(x[1], y[1]) for _, x, y in trade_panels.PANELS]
    texts = [{text.get_text() for text in ax.texts} for ax in drawn.axes]
    assert {"0.25 ms", "2 ms"} <= texts[0]
    assert "1 ms" not in texts[0]  # the ring, which the legend tells
    assert not {"1", "4"} & texts[0]
    assert {"1", "4"} <= texts[1]
    assert not any("ms" in text for text in texts[1])
    rows = means[means.knob == "dwell"]
    np.testing.assert_allclose(drawn.axes[0].lines[0].get_ydata().astype(float), rows.sensing_rate_bit_s_hz)
    assert [text.get_text() for text in drawn.legends[0].texts] == [
        "dwell, ring: 1 ms",
        "frames a fix, ring: 2",
    ]
    with pytest.raises(ValueError, match="expected rates with errors"):
        trade_panels.draw(means.assign(target_rmse_m=np.nan, fix_rmse_m=np.nan), {"dwell": "s", "frames": ""}, "", [])


def test_the_command(run, base, tmp_path, monkeypatch, capsys):
    folder, table, _ = run
    (tmp_path / "outputs").symlink_to(folder)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["leosim", "trade", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, *capsys.readouterr()

    monkeypatch.setattr(cli, "_load", lambda *_: base)
    code, out, err = call("full_loop", "--knob", "dwell", "--duration", DURATION_S, "--seeds", 1, "-o", "made/small")
    assert code == 0, err
    assert out.split()[0] == "knob"
    for name in ("small.csv", "small-means.csv", "small-differences.csv", "small.png"):
        assert f"made/{name}" in out
    read = pd.read_csv("made/small.csv")
    assert read.value.tolist() == table[table.knob == "dwell"].value.tolist()
    options = ("--knob", "dwell", "--values", "1e-3", "--duration", DURATION_S, "--seeds", 1)
    assert call("full_loop", *options)[0] == 2  # one value is no curve
    assert call("full_loop", "--knob", "weight")[0] == 2
    assert call("full_loop", "--knob", "dwell", "--values", "a,b")[0] == 2
