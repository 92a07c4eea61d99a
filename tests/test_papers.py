"""Kim et al. 2024 made again: the setup, the shape and the order of each figure, the claims, the command."""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import leosim
from leosim import cli, papers, simulation
from leosim.papers import kim2024
from leosim.papers.kim2024 import IMRT_NAME, SMRT_NAME, SZF_NAME, Reading, Setup, scene
from leosim.rates import Coherence
from leosim.scenario import ScenarioError
from leosim.units import linear_to_db


def table(number, drops, figure=None):
    """Rows of a figure over its first drops."""
    rows = figure or kim2024.FIGURES[number].rows
    return pd.DataFrame([{"drop": drop, **row} for drop in range(drops) for row in rows(drop)])


def pair_rows(setup, systems, drops, **at):
    """One abscissa of a figure, for some systems only."""
    rows = []
    for drop in range(drops):
        csi, radio = scene(setup, drop)
        for name, system in systems.items():
            rate = system(csi, radio, setup)
            rows.append({"drop": drop, "system": name, "sum_rate": rate.sum(), "min_rate": rate.min(), **at})
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------------------------------
# A decision on statistics of one's own


def test_a_decision_on_the_csi_of_an_epoch_is_that_of_the_epoch(short):
    scenario = short(5, 3)
    ready = simulation.prepare(scenario)
    at = leosim.epoch(scenario, 2.0, ready)
    s = ready.settings
    alone = leosim.decide(
        at.csi, ready.world.radio, "smrt", {"algorithm": "cell_free", "k_max": 8}, s.coherence, users=3
    )
    for name in at.clusters.array_fields():
        assert getattr(alone.clusters, name).tobytes() == getattr(at.clusters, name).tobytes(), name
    np.testing.assert_allclose(alone.rate, at.rates.hardening, rtol=1e-12)
    np.testing.assert_allclose(alone.rate, np.log2(1 + alone.sinr))


def test_what_cannot_be_decided():
    csi, radio = scene(Setup(satellites=3, users=2), 0)
    turned = {name: getattr(csi, name)[::-1] for name in csi.array_fields()}
    with pytest.raises(ScenarioError, match="sorted by satellite"):
        leosim.decide(csi.replace(**turned), radio)
    with pytest.raises(ScenarioError, match="did you mean 'smrt'"):
        leosim.decide(csi, radio, "smart")
    with pytest.raises(ScenarioError, match="knows k_max"):
        leosim.decide(csi, radio, "smrt", {"algorithm": "cell_free", "max": 3})


def test_one_satellite_one_user_is_a_closed_form():
    setup = Setup(satellites=1, users=1)
    csi, radio = scene(setup, 4)
    found = leosim.decide(csi, radio, coherence=Coherence("ideal"))
    v = csi.beta / (csi.kappa + 1)
    snr = radio.power_w / radio.noise_w * 64 * v
    np.testing.assert_allclose(found.sinr, csi.kappa * snr / (snr + 1))


# ---------------------------------------------------------------------------------------------
# The setup


def test_the_setup_is_that_of_the_paper():
    ranges = []
    for drop in range(20):
        csi, radio = scene(Setup(), drop)
        assert csi.user.size == 200
        ranges.append(csi.range_m)
        assert (linear_to_db(csi.kappa) > 15.0).all()
        assert (linear_to_db(csi.kappa) < 20.0).all()
    assert radio.power_w == pytest.approx(10.0)
    assert radio.noise_w == pytest.approx(1e-17)
    ranges = np.concatenate(ranges)
    assert ranges.min() >= 550e3
    assert ranges.max() <= math.hypot(550e3, 350e3 * math.sqrt(2) + 200e3)
    # (c / (4 pi f 550 km))^2 with 3 dB of gain
    assert csi.beta.max() <= 2.0 * (299_792_458.0 / (4 * math.pi * 5e9 * 550e3)) ** 2


def test_more_of_a_drop_leaves_the_rest_as_it_is():
    few, _ = scene(Setup(satellites=10, users=6), 3)
    many, _ = scene(Setup(satellites=40, users=9, snr_db=30.0), 3)
    same = (many.sat < 10) & (many.user < 6)
    for name in ("range_m", "cosines", "beta", "kappa", "phase_rad"):
        np.testing.assert_array_equal(getattr(many, name)[same], getattr(few, name))
    other, _ = scene(Setup(satellites=10, users=6), 4)
    assert (other.range_m != few.range_m).all()


def test_the_snr_is_that_of_an_antenna():
    csi, radio = scene(Setup(snr_db=30.0), 0)
    assert linear_to_db(radio.power_to_noise * csi.beta.mean()) == pytest.approx(30.0)


def test_the_two_readings_of_the_array():
    down, _ = scene(Setup(), 0, reading=Reading(array="nadir"))
    sph, _ = scene(Setup(), 0)
    ground = np.sqrt(sph.range_m**2 - 550e3**2)
    np.testing.assert_allclose(np.hypot(*down.cosines.T), ground / down.range_m)
    np.testing.assert_allclose(sph.cosines[:, 1], ground / sph.range_m)
    np.testing.assert_allclose(np.abs(sph.cosines[:, 0]) * ground, np.abs(down.cosines[:, 0]) * 550e3)
    with pytest.raises(ValueError, match="sph or nadir"):
        Reading(array="up")


# ---------------------------------------------------------------------------------------------
# The figures


@pytest.mark.parametrize("number", kim2024.FIGURES)
def test_a_figure_has_its_systems_at_every_abscissa(number):
    made = kim2024.FIGURES[number]
    rows = table(number, 1)
    if made.plot.kind == "cdf":
        assert rows["iterations"].min() >= 1
        inner, total = (rows[rows["system"] == name]["iterations"] for name in (kim2024.INNER_NAME, kim2024.TOTAL_NAME))
        assert inner.sum() == total.sum() or total.eq(math.inf).all()
        return
    wide = rows.pivot(index=made.plot.x, columns="system", values=made.plot.y)
    assert np.isfinite(wide.to_numpy()).all()
    assert (wide.to_numpy() > 0.0).all()
    assert len(wide) >= 5
    assert {name for name, *_ in made.plot.gains} <= set(wide.columns)
    assert {x for _, x, _ in made.plot.gains} <= set(wide.index)


def test_fig_3_statistical_beams_beat_estimated_ones_by_what_the_paper_says():
    setup = Setup(snr_db=30.0)
    systems = {SMRT_NAME: kim2024.cell_free("smrt"), IMRT_NAME: kim2024.cell_free_mimo}
    rows = pair_rows(setup, systems, 40, snr_db=30)
    claim = kim2024.CLAIMS[0]
    value, error = claim.measure({3: rows})
    assert "iMRT" in claim.text
    assert 6.0 < value < 10.0
    assert 0.0 < error < 1.0


@pytest.mark.parametrize(("array", "low", "high"), [("sph", -2.0, 6.0), ("nadir", 4.0, 12.0)])
def test_fig_3_zero_forcing_overtakes(array, low, high):
    systems = {name: kim2024.PROPOSED[name] for name in (SMRT_NAME, SZF_NAME)}
    rows = []
    for snr_db in (-5, 0, 5, 10, 15):
        setup = Setup(snr_db=float(snr_db))
        for drop in range(12):
            csi, radio = scene(setup, drop, reading=Reading(array=array))
            for name, system in systems.items():
                rows.append(
                    {"drop": drop, "system": name, "snr_db": snr_db, "sum_rate": system(csi, radio, setup).sum()}
                )
    value, _ = kim2024.crossing({3: pd.DataFrame(rows)})
    assert low < value < high


def test_fig_4_cooperation_gains_with_satellites():
    systems = {name: (kim2024.PROPOSED | kim2024.LOCAL)[name] for name in (SZF_NAME, kim2024.SLNR_NAME)}
    rows = pd.concat([pair_rows(Setup(satellites=n), systems, 5, satellites=n) for n in (10, 40)])
    low, high, more = (claim.measure({4: rows})[0] for claim in kim2024.CLAIMS if claim.figure == 4)
    assert 30.0 < low < high
    assert more == pytest.approx(high - low)


def test_fig_5_chosen_clusters_beat_near_ones_in_every_drop():
    rows = pair_rows(
        Setup(),
        {
            "chosen": kim2024.cell_free("smrt"),
            **{f"{n} near": kim2024.cell_free("smrt", "nearest", count=n) for n in (16, 12, 10)},
        },
        5,
    ).pivot(index="drop", columns="system", values="min_rate")
    assert (rows["chosen"] > rows["16 near"]).all()
    mean = rows.mean()
    assert mean["16 near"] > mean["12 near"] > mean["10 near"]


def test_fig_7_cooperation_lives_from_the_line_of_sight():
    systems = {name: (kim2024.PROPOSED | kim2024.MIMO)[name] for name in (SMRT_NAME, IMRT_NAME)}
    at = {k: pair_rows(Setup(k_factor_db=(k, k)), systems, 4).groupby("system")["sum_rate"].mean() for k in (5.0, 30.0)}
    assert at[30.0][SMRT_NAME] > 1.5 * at[5.0][SMRT_NAME]
    assert at[30.0][SMRT_NAME] == pytest.approx(at[30.0][IMRT_NAME], rel=0.03)


def test_fig_9_the_denser_the_better():
    mean = []
    for setup in kim2024.ENVIRONMENTS.values():
        at_30 = replace(setup, snr_db=30.0)
        mean.append(pair_rows(at_30, {SMRT_NAME: kim2024.cell_free("smrt")}, 6)["min_rate"].mean())
    assert mean[0] > mean[1] > mean[2]


def test_local_powers_are_full_powers():
    csi, radio = scene(Setup(), 0)
    alone = kim2024.single("smrt", local=True)(csi, radio, Setup())
    together = kim2024.single("smrt")(csi, radio, Setup())
    assert alone.min() <= together.min() + 1e-9  # joint powers are max-min
    assert alone.sum() > together.sum()


def test_proposition_2_evaluates_to_eight():
    value, _ = kim2024.proposition_2({})
    assert value == pytest.approx(8.1, abs=0.06)  # 1.28 in the paper
    verdict = next(x for x in papers.judge("kim2024", {}) if x.claim.place == "Prop. 2")
    assert verdict.verdict == papers.DOES_NOT


# ---------------------------------------------------------------------------------------------
# Running, judging, saving


def test_a_drop_depends_on_nothing_but_its_number_and_the_seed():
    two = papers.run("kim2024", 9, drops=2)
    done = []
    three = papers.run("kim2024", 9, drops=3, workers=2, progress=done.append)
    assert done == [1, 2, 3]
    pd.testing.assert_frame_equal(three[three["drop"] < 2].reset_index(drop=True), two, check_exact=True)
    assert not papers.run("kim2024", 9, drops=2, seed=2)["min_rate"].equals(two["min_rate"])


@pytest.mark.parametrize(
    ("value", "verdict"), [(9.0, "reproduces"), (6.0, "reproduces"), (3.0, "partly"), (-1.0, "does not")]
)
def test_a_verdict_follows_from_the_limits(value, verdict):
    claim = papers.Claim(
        figure=3,
        text="a over b",
        paper="8 %",
        unit="%",
        measure=lambda tables: (value, 0.26),
        near=(6.0, 10.0),
        right=(0.0, math.inf),
        how="",
        why="because",
    )
    judged = papers.Verdict(claim, *claim.measure({}))
    assert judged.verdict == verdict
    assert judged.here == f"{value:.1f} ± 0.3 %"
    assert judged.reason == ("" if verdict == "reproduces" else "because")


def test_every_claim_that_can_fail_has_a_reason():
    for claim in kim2024.CLAIMS:
        assert claim.figure is None or claim.figure in kim2024.FIGURES
        low, high = claim.near
        assert claim.right[0] <= low <= high <= claim.right[1]
        assert claim.how


def test_errors_of_a_gain_are_those_of_pairs():
    under = np.array([1.0, 2.0, 4.0])
    rows = [
        {"drop": i, "system": name, "x": 0, "y": factor * under[i]}
        for i in range(3)
        for name, factor in (("a", 1.5), ("b", 1.0))
    ]
    value, error = papers._measures.gain(3, "y", "a", "b", x=0)({3: pd.DataFrame(rows)})
    assert value == pytest.approx(50.0)
    assert error == pytest.approx(0.0, abs=1e-9)  # a paired gain, whatever the drops


@pytest.fixture
def reproduce(monkeypatch, capsys, tmp_path):
    """Call `leosim reproduce ...` in a folder of its own: code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["leosim", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_command_writes_data_drawings_and_verdicts(reproduce, tmp_path):
    code, out, _ = reproduce("reproduce", "kim2024", "--figure", "9", "--drops", "2")
    assert code == 0
    assert "claim" in out
    assert "Prop. 2" in out
    folder = tmp_path / "outputs" / "kim2024"
    assert {path.name for path in folder.iterdir()} == {
        "figure-09.csv",
        "figure-09.png",
        "figure-09.pdf",
        "claims.csv",
    }
    data = pd.read_csv(folder / "figure-09.csv")
    assert list(data.columns) == ["system", "snr_db", "min_rate", "standard_error", "drops"]
    assert (data["drops"] == 2).all()
    assert len(pd.read_csv(folder / "claims.csv")) == 3
    png = (folder / "figure-09.png").read_bytes()
    code, out, _ = reproduce(
        "reproduce", "kim2024", "--figure", "9", "--drops", "2", "-o", "again", "--set", "array=sph", "--json"
    )
    found = json.loads(out)
    assert found["reading"]["array"] == "sph"
    assert [row["where"] for row in found["claims"]] == ["Fig. 9", "Fig. 9", "Prop. 2"]
    assert (tmp_path / "again" / "figure-09.png").read_bytes() == png  # the same drops, the same bytes


def test_the_command_lists_papers(reproduce):
    code, out, _ = reproduce("reproduce", "--list")
    assert code == 0
    assert "kim2024" in out
    assert "--figure 10" in out
    assert "kim2024" in reproduce("list", "papers")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "kim2024"),
        (("kim2025",), "expected one of kim2024"),
        (("kim2024", "--figure", "2"), "expected one of 3, 4"),
        (("kim2024", "--set", "array=up"), "sph or nadir"),
        (("kim2024", "--set", "colour=red"), "array, tolerance"),
        (("kim2024", "--set", "tolerance=small"), "expected a float"),
        (("kim2024", "--style", "baroque"), "ieee"),
        (("kim2024", "--drops", "1"), "drops"),
    ],
)
def test_what_cannot_be_reproduced_is_one_line(reproduce, arguments, words):
    code, out, err = reproduce("reproduce", *arguments)
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert words in err
