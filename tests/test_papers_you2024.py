"""You et al. 2024 made again: setup, what is measured of a precoder, the figures' rows and drawings, the claims."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from leosim import papers, streams
from leosim.papers import you2024
from leosim.papers.you2024 import DIGITAL, DIRECTIONAL, FULLY, PARTIALLY, Reading, name, scene
from leosim.report import trade_figures
from leosim.units import SPEED_OF_LIGHT_M_S, db_to_linear

rounding = 1e-9
EARTH_M = 6371e3


@pytest.fixture(scope="module")
def here():
    return you2024.sky(26, 0)


# ---------------------------------------------------------------------------------------------
# The setup


def test_the_scene_is_section_v():
    """Elevation, range and Eq. (50) as the paper writes them."""
    terminals = scene(26, 3)
    d = np.linalg.norm(terminals.pos_ecef, axis=1)
    down = terminals.pos_ecef / d[:, None]
    theta_x, theta_y = np.arctan2(down[:, 2], down[:, 0]), np.arccos(down[:, 1])
    assert np.abs(theta_x - math.pi / 2).max() <= math.pi / 6
    assert np.abs(theta_y - math.pi / 2).max() <= math.pi / 6
    nadir = np.arccos(np.sin(theta_x) * np.sin(theta_y))
    h, r = 200e3, you2024.MEAN_EARTH_RADIUS_M
    assert r == pytest.approx(EARTH_M, rel=1e-3)
    sine = np.sin(np.arccos((r + h) / r * np.sin(nadir)))
    np.testing.assert_allclose(d, np.sqrt(h**2 + 2 * h * r + (r * sine) ** 2) - r * sine, rtol=rounding)
    gamma = db_to_linear(6.0) * 576 * (SPEED_OF_LIGHT_M_S / (4 * math.pi * 2e9 * d)) ** 2
    np.testing.assert_allclose(terminals.gamma, gamma, rtol=rounding)
    assert terminals.power_w == pytest.approx(398.1, abs=0.1)
    assert np.abs(terminals.vel_ecef).max() <= 10.0
    np.testing.assert_allclose(10 * np.log10(terminals.noise_w), -159.2, atol=0.05)


def test_a_drop_is_the_same_at_every_power():
    low, high = scene(6, 2), scene(30, 2)
    np.testing.assert_array_equal(low.pos_ecef, high.pos_ecef)
    assert not np.array_equal(low.pos_ecef, scene(6, 3).pos_ecef)
    assert not np.array_equal(low.pos_ecef, scene(6, 2, seed=2).pos_ecef)


def test_a_reading_there_is_not():
    with pytest.raises(ValueError, match="layout: expected one of contiguous, tiles, interleaved"):
        Reading(layout="fully_connected")
    with pytest.raises(ValueError, match="sd: expected a number of at least 0, got -1"):
        Reading(sd=-1.0)
    with pytest.raises(ValueError, match="bandwidth_mhz"):
        Reading(bandwidth_mhz=0.0)


# ---------------------------------------------------------------------------------------------
# Rows


def test_what_a_precoder_is_worth(here):
    """Eqs. (13)-(14) from channels written out; 20 MHz instead of 15.36 takes its share."""
    w = you2024.spent(here.p, here.communication)
    assert here.p.total_power_w(w) == pytest.approx(here.p.power_w, rel=rounding)
    total = 0.0
    for b in range(8):
        arrives = np.abs((here.p.responses[b, :, 0].conj() @ w[b]) * np.sqrt(here.p.link.gamma)[:, None]) ** 2
        own = np.diag(arrives)
        total += np.log2(1 + own / (arrives.sum(axis=1) - own + here.p.link.noise_w)).sum() / 8
    found = you2024.worth(here.p, w)
    assert found["se"] == pytest.approx(total, rel=rounding)
    assert found["apeb_m"] < found["worst_m"] < 3 * found["apeb_m"]
    assert you2024.worth(here.p, w, Reading(bandwidth_mhz=20.0))["se"] == pytest.approx(total * 15.36 / 20)


def test_the_ergodic_rate_is_below_its_bound_and_meets_it_without_scattering(here):
    w = you2024.spent(here.p, here.communication)
    bound = you2024.worth(here.p, w)["se"]
    found = you2024.ergodic(here.p, w, streams.generator(1, "you2024 fades"))
    assert 0.99 * bound < found < bound
    still = replace(here.p, link=replace(here.p.link, kappa=np.full(9, 1e12)))
    assert you2024.ergodic(still, w, streams.generator(1, "you2024 fades")) == pytest.approx(bound, rel=1e-5)


@pytest.fixture(scope="module")
def at_26(here):
    """What Figs. 4 and 5 have at 26 dBW, of drop 0."""
    return {
        (structure, rho): you2024.worth(here.p, you2024.precoder(here, structure, rho))
        for structure in (FULLY, PARTIALLY, DIGITAL)
        for rho in (0.0, 0.7, 1.0)
    }


def test_the_order_of_the_structures(at_26):
    for rho in (0.0, 0.7, 1.0):
        key = "apeb_m" if rho == 0.0 else "se"
        assert at_26[FULLY, rho][key] == pytest.approx(at_26[DIGITAL, rho][key], rel=0.03)
    for structure in (FULLY, PARTIALLY, DIGITAL):
        assert at_26[structure, 0.0]["se"] < at_26[structure, 0.7]["se"]
        assert at_26[structure, 0.7]["apeb_m"] < at_26[structure, 1.0]["apeb_m"]
    for rho in (0.7, 1.0):
        assert at_26[PARTIALLY, rho]["se"] < at_26[FULLY, rho]["se"] - 5.0
    assert at_26[FULLY, 0.7]["se"] == pytest.approx(85.0, abs=3.0)
    assert at_26[FULLY, 0.7]["apeb_m"] < 6.0


def test_the_weight_trades(here):
    loose, tight = (you2024.worth(here.p, you2024.precoder(here, DIGITAL, 0.7, Reading(sd=sd))) for sd in (1.0, 10.0))
    assert loose["se"] > tight["se"] + 10.0
    assert loose["apeb_m"] > 2 * tight["apeb_m"]


def test_fig_3_converges_from_the_digital_precoder(monkeypatch):
    monkeypatch.setattr(you2024, "SHOWN", (0, 5, 60))
    monkeypatch.setattr(you2024, "RUNS", {you2024.WARM: you2024.RUNS[you2024.WARM]})
    rows = pd.DataFrame(you2024.figure_3(0))
    assert list(rows["iteration"]) == [0, 5, 60]
    assert rows["se"].iloc[2] == pytest.approx(rows["se"].iloc[0], abs=5.0)
    assert rows["apeb_m"].iloc[1] < rows["apeb_m"].iloc[2]  # position first


def test_fig_4_and_5_have_every_line(monkeypatch):
    monkeypatch.setattr(you2024, "POWERS_DBW", (26,))
    monkeypatch.setattr(you2024, "STRATEGY_POWERS_DBW", (26,))
    monkeypatch.setattr(you2024, "RHOS", (1.0,))
    monkeypatch.setattr(you2024, "STRATEGIES", ((FULLY, 1.0),))
    four, five = (pd.DataFrame(you2024.FIGURES[n].rows(0)) for n in (4, 5))
    assert four["system"].item() == "ρ = 1"
    assert four["ergodic"].item() < four["se"].item()
    assert list(five["system"]) == [name(FULLY, 1.0), DIRECTIONAL]
    assert five["se"].iloc[1] < five["se"].iloc[0]


def test_fig_6_the_direct_design_has_more_rate_for_the_same_bound(monkeypatch):
    monkeypatch.setattr(you2024, "WEIGHTS", (0.7,))
    monkeypatch.setattr(you2024, "TARGETS_M", (5.0,))
    rows = pd.DataFrame(you2024.figure_6(0)).set_index("system")
    direct, printed = (
        rows.loc[f"{words}, {FULLY}"] for words in ("direct design over its target", "Algorithm 1 over ρ")
    )
    assert direct["se"] > printed["se"] + 10.0
    assert direct["apeb_m"] <= 5.0 * (1 + 1e-3)


# ---------------------------------------------------------------------------------------------
# Tables, drawings, claims


def table(number, drops=3):
    """A table of the right shape with made-up numbers that improve with the power and the iterations."""
    systems = {
        3: list(you2024.RUNS),
        4: [f"ρ = {rho:g}" for rho in you2024.RHOS],
        5: [*(name(*strategy) for strategy in you2024.STRATEGIES), DIRECTIONAL],
        6: ["one", "two"],
    }[number]
    plot = you2024.FIGURES[number].plot
    along = plot.second if plot.kind == "trade" else plot.x
    steps = {3: you2024.SHOWN, 4: you2024.POWERS_DBW, 5: you2024.STRATEGY_POWERS_DBW, 6: (1.0, 2.0, 3.0)}[number]
    rows = []
    for drop in range(drops):
        for s, system in enumerate(systems):
            for i, x in enumerate(steps):
                se, apeb = 10.0 * (s + 1) + i + drop, 100.0 / (s + 1) / (i + 1) + drop
                row = {"drop": drop, "system": system, along: x, "se": se, "apeb_m": apeb, "worst_m": 2 * apeb}
                rows.append({**row, "ergodic": 0.998 * se})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("number", [3, 4, 5, 6])
def test_figures_are_drawn_and_saved(tmp_path, number):
    path = papers.write("you2024", number, table(number), tmp_path)
    assert path.exists()
    data = pd.read_csv(tmp_path / f"figure-0{number}.csv")
    made = table(number)
    plot = you2024.FIGURES[number].plot
    along, error = (plot.second, "x_error") if plot.kind == "trade" else (plot.x, "second_error")
    group = made[(made["system"] == data["system"][0]) & (made[along] == data[along][0])]
    assert data["se"][0] == pytest.approx(group["se"].mean(), rel=1e-5)
    assert data["standard_error"][0] == pytest.approx(group["se"].std(ddof=1) / math.sqrt(3), rel=1e-5)
    assert data["apeb_m"][0] == pytest.approx(group["apeb_m"].mean(), rel=1e-5)
    assert data[error][0] == pytest.approx(group["apeb_m"].std(ddof=1) / math.sqrt(3), rel=1e-5)


@pytest.mark.parametrize("style", ["default", "ieee", "slides"])
def test_panels_have_both_axes_and_every_line_in_the_legend(style):
    plot = you2024.FIGURES[5].plot
    made = trade_figures.draw(plot, papers.summary(plot, table(5)), "heading", ["3 drops"], style)
    left, right = made.axes
    assert (left.get_ylabel(), right.get_ylabel()) == (you2024.SE, you2024.APEB)
    assert right.get_yscale() == "log"
    assert len(made.legends[0].get_texts()) == 10
    made.canvas.draw()
    box = made.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= made.bbox.width


def test_every_claim_is_measured_and_can_fail():
    tables = {number: table(number) for number in you2024.FIGURES}
    verdicts = papers.judge("you2024", tables)
    assert len(verdicts) == len(you2024.CLAIMS)
    for verdict in verdicts:
        assert np.isfinite([verdict.value, verdict.error]).all(), verdict.claim.text
    for claim in you2024.CLAIMS:
        low, high = claim.near
        assert claim.right[0] <= low <= high <= claim.right[1]
        assert claim.how
        far = -1e3 if claim.right[0] > -1e3 else 1e3
        assert papers.Verdict(claim, far, 1.0).verdict == papers.DOES_NOT


def test_what_claims_measure():
    def claim(words):
        return next(c for c in you2024.CLAIMS if words in c.text)

    four = table(4).assign(
        ergodic=lambda t: t["se"] / np.where((t["system"] == "ρ = 1") & (t["power_dbw"] == 6), 1.02, 1.0)
    )
    assert claim("bound (13)").measure({4: four})[0] == pytest.approx(2.0)
    three = table(3)
    run = you2024.WARM
    three.loc[three["system"] == run, "se"] = [80.0, 100.0, *[90.0] * (len(you2024.SHOWN) - 2)] * 3
    assert claim("the SE tends to be better").measure({3: three}) == pytest.approx((10.0, 0.0))
    assert claim("the SE converges").measure({3: three}) == pytest.approx((0.0, 0.0))
    three.loc[three["system"] == run, "apeb_m"] = [4.0, 2.0, *[3.0] * (len(you2024.SHOWN) - 2)] * 3
    assert claim("the APEB tends to be better").measure({3: three}) == pytest.approx((50.0, 0.0))
    falling = table(4)
    falling.loc[(falling["system"] == "ρ = 0.3") & (falling["power_dbw"] == 30), "se"] = 12.0
    lost = claim("the SE improves with the power").measure({4: falling})[0]
    before = falling[(falling["system"] == "ρ = 0.3") & (falling["power_dbw"] == 26)]["se"].mean()
    assert lost == pytest.approx(100 * (12.0 / before - 1))
