"""Park et al. 2024 made again: setup, precoders in full dimension, the order of the modes, the claims, the command."""

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest

from leosim import cli, papers, precoding, radar
from leosim.antenna import steering
from leosim.papers import park2024
from leosim.papers._measures import gain_by_drop, mean
from leosim.papers.park2024 import (
    ISAC_MODES,
    MODES,
    NO_RADAR,
    RSMA_SIC,
    SDMA_PLAIN,
    SDMA_SIC,
    STREAMS,
    Reading,
    case_name,
    mode_name,
    scene,
)
from leosim.units import SPEED_OF_LIGHT_M_S, db_to_linear, linear_to_db

rounding = 1e-9
two_metres = 2.0
local_optimum = 0.01  # of a rate: what 16 starts of a problem that is not convex may leave


def table(number, drops, reading=None):
    """Rows of a figure over its first drops."""
    rows = park2024.FIGURES[number].rows
    return pd.DataFrame([{"drop": drop, **row} for drop in range(drops) for row in rows(drop, 1, reading)])


def rates_at(power_dbw, names, drops, reading=None):
    """One abscissa of Fig. 5, for some modes only."""
    rows = []
    for drop in range(drops):
        users, target = scene(power_dbw, drop, reading=reading)
        for name in names:
            rate = float(park2024.designed(users, target, *MODES[name]).min_rate)
            rows.append({"drop": drop, "system": name, "power_dbw": power_dbw, "min_rate": rate})
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------------------------------
# The setup


def test_the_circle_of_the_users():
    places = {}
    for centre, middle in (("origin", np.zeros(2)), ("nadir", np.array([30e3, -30e3]))):
        cosines = np.concatenate([scene(20, drop, reading=Reading(centre=centre))[0].cosines for drop in range(300)])
        places[centre] = park2024.ground(cosines) - middle
        ring = np.linalg.norm(places[centre], axis=1)
        assert ring.max() <= 50e3
        # Uniform on a disc: the mean of the squared radius is half of its square; deviation 1/sqrt(12) of it.
        assert np.mean(ring**2) / 50e3**2 == pytest.approx(0.5, abs=4 / math.sqrt(12 * ring.size))
    np.testing.assert_allclose(places["origin"], places["nadir"], atol=1e-6)


def test_noise_over_channel_power_at_a_users_place():
    users, _ = scene(23, 5)
    place = park2024.ground(users.cosines)
    d = np.sqrt(np.sum((place - [30e3, -30e3]) ** 2, axis=1) + 340e3**2)
    gamma = db_to_linear(6.0) * (SPEED_OF_LIGHT_M_S / (4 * np.pi * 2e9 * d)) ** 2
    np.testing.assert_allclose(users.noise_w, 1.380649e-23 * 10e6 * 150 / gamma, rtol=rounding)
    assert users.power_w == pytest.approx(199.5, abs=0.1)


def test_the_target_is_where_the_paper_has_it():
    _, target = scene(20, 0)
    theta, phi = radar.angles(target.cosines)
    assert theta == pytest.approx(math.atan2(33, -27))  # Eq. (50)
    assert phi == pytest.approx(math.acos(335 / math.sqrt(27**2 + 33**2 + 335**2)))  # Eq. (51)
    found = park2024.bistatic(park2024.TARGET_M)
    np.testing.assert_allclose(found.arrival, np.array([3, 3]) / math.sqrt(43), atol=rounding)
    assert found.range_tx_m == pytest.approx(1e3 * math.sqrt(27**2 + 33**2 + 335**2), abs=1e-3)


def test_a_reading_there_is_not():
    with pytest.raises(ValueError, match=r"rcs: expected monostatic or cos_half, got 'round'"):
        Reading(rcs="round")
    with pytest.raises(ValueError, match="origin or nadir"):
        Reading(centre="user")
    with pytest.raises(ValueError, match="rsma or rsma_sdr"):
        Reading(algorithm="sdr")


def test_the_printed_cross_section_puts_the_threshold_out_of_reach():
    """210 W with cos(beta/2); 74 to 80 W, the majority of the power at 20 dBW, with the monostatic one."""
    assert park2024.power_needed_w("cos_half") == pytest.approx(210.0, abs=0.5)
    assert 74.0 < park2024.power_needed_w("monostatic") < 80.0
    printed = Reading(rcs="cos_half")
    for access in ("rsma", "sdma"):
        assert park2024.designed(*scene(23.2, 0, reading=printed), access, "sic") is None
        assert park2024.designed(*scene(23.3, 0, reading=printed), access, "sic") is not None
        assert park2024.designed(*scene(20, 0, reading=printed), access, "communication_only") is not None


# ---------------------------------------------------------------------------------------------
# Precoders, in the 64 dimensions of the array


@pytest.mark.parametrize("name", MODES)
def test_a_precoder_does_what_its_mode_says(name):
    """Powers, Eqs. (16)-(17) and CRBs of (26) from antenna vectors written out."""
    access, use = MODES[name]
    users, target = scene(22, 3)
    found = park2024.designed(users, target, access, use)
    P = steering(found.cosines, 8, 8).T @ found.weights
    private, p_c, p_R = P[:, :4], P[:, 4], P[:, 5]
    assert np.linalg.norm(P) ** 2 <= users.power_w * (1 + rounding)
    a = steering(users.cosines, 8, 8)
    rho, cancelled = users.noise_w, use == "sic"
    received = np.abs(a.conj() @ private) ** 2
    noise = rho + (0.0 if cancelled else 1.0) * np.abs(a.conj() @ p_R) ** 2
    own = np.diag(received)
    R_p = np.log2(1 + own / (received.sum(axis=1) - own + noise))
    R_c = np.log2(1 + np.abs(a.conj() @ p_c) ** 2 / (received.sum(axis=1) + noise))
    C = found.split[:4]
    assert C.sum() <= R_c.min() + rounding
    assert C.min() >= 0.0
    assert np.min(R_p + C) == pytest.approx(float(found.min_rate), rel=1e-6)
    gain_w = np.linalg.norm(P.conj().T @ steering(target.cosines, 8, 8)) ** 2
    seen = park2024.bistatic(park2024.TARGET_M)
    echo = radar.echo_gain(seen.range_tx_m, seen.range_rx_m, 100.0, 2e9, db_to_linear(6.0), db_to_linear(3.0))
    snr = radar.integrated_snr(gain_w, echo, park2024.NOISE_W, 4096)
    crb = radar.angle_variance(radar.angle_covariance(park2024.RECEIVER, snr, seen.arrival), seen.arrival)
    if use != "communication_only":
        assert max(crb) <= 8e-7 * (1 + 1e-6)
    if access == "sdma":
        assert not p_c.any()
    if use not in ("sic", "no_sic"):
        assert not p_R.any()


@pytest.mark.parametrize("access", ["rsma", "sdma"])
def test_the_papers_own_algorithm_finds_the_same(access):
    users, target = scene(20, 0)
    own, printed = (
        park2024.designed(users, target, access, "sic", Reading(algorithm=name)) for name in park2024.ALGORITHMS
    )
    assert float(printed.min_rate) == pytest.approx(float(own.min_rate), rel=local_optimum)
    np.testing.assert_allclose(
        park2024.by_stream(printed.power_w), park2024.by_stream(own.power_w), atol=local_optimum * users.power_w
    )


def test_the_order_of_the_modes():
    rows = pd.concat([rates_at(power, MODES, 3) for power in (20, 26)])
    wide = rows.pivot(index=["drop", "power_dbw"], columns="system", values="min_rate")
    for access in ("rsma", "sdma"):
        best = wide[mode_name(access, NO_RADAR)] * (1 + (local_optimum if access == "rsma" else 1e-6))
        for name in ISAC_MODES[access]:
            assert (wide[name] <= best).all()
    assert (wide[SDMA_PLAIN] <= wide[SDMA_SIC] * (1 + 1e-6)).all()
    # With C_k = 0 the common stream is a cancelled radar sequence: RSMA needs none.
    for name in ISAC_MODES["rsma"]:
        assert (wide[name] >= wide[SDMA_SIC] * (1 - 1e-6)).all()
    more = rows.pivot(index=["drop", "system"], columns="power_dbw", values="min_rate")
    assert (more[26] > more[20]).all()


# ---------------------------------------------------------------------------------------------
# The figures


def test_fig_4_is_the_radar_equation():
    rows = table(4, 1).set_index(["system", "altitude_km"])["loss_db"]
    lam = SPEED_OF_LIGHT_M_S / 2e9
    r_tx2, r_rx2 = (27e3**2 + 33e3**2 + 335e3**2), 43e6
    mono = 10 * math.log10((4 * math.pi) ** 3 * r_tx2**2 / (lam**2 * 100))
    assert rows["monostatic, (3, 3) km", 5.0] == pytest.approx(mono, abs=rounding)
    cosine = (27 * -3 + -33 * -3 + 335 * -5) * 1e6 / math.sqrt(r_tx2 * r_rx2)
    half = math.sqrt((1 + cosine) / 2)
    bi = 10 * math.log10((4 * math.pi) ** 3 * r_tx2 * r_rx2 / (lam**2 * 100 * half))
    assert rows["bistatic, (3, 3) km", 5.0] == pytest.approx(bi, abs=rounding)
    assert mono - bi == pytest.approx(29.7, abs=0.05)


def test_fig_4_reproduces():
    verdicts = {verdict.claim.text: verdict for verdict in papers.judge("park2024", {4: table(4, 1)})}
    assert [v.verdict for v in verdicts.values() if v.claim.figure == 4] == [papers.REPRODUCES] * 3
    least = next(v for v in verdicts.values() if v.claim.unit == "dB")
    assert least.value == pytest.approx(12.0, abs=0.5)  # 12 to 39 dB over 1 to 20 km
    assert park2024.advantage(1.0, (0.0, 0.0))({4: table(4, 1)})[0] == pytest.approx(39.0, abs=0.5)


def test_what_needs_no_figure_is_judged_alone():
    printed, mono = papers.judge("park2024", {})
    assert (printed.here, printed.verdict) == ("23.2 dBW", papers.DOES_NOT)
    assert (mono.here, mono.verdict) == ("18.7 dBW", papers.REPRODUCES)
    assert "0.355" in printed.reason


def test_fig_5_has_all_modes_and_gaps_where_the_threshold_is_out_of_reach():
    rows = table(5, 1, Reading(rcs="cos_half"))
    wide = rows.pivot(index="power_dbw", columns="system", values="min_rate")
    assert list(wide.index) == list(park2024.POWERS_DBW)
    assert set(wide.columns) == set(MODES)
    for name, (_, use) in MODES.items():
        out_of_reach = [20, 22] if use != "communication_only" else []
        assert list(wide.index[wide[name].isna()]) == out_of_reach
    at_20 = next(c for c in park2024.CLAIMS if c.figure == 5 and "at 20 dBW" in c.text)
    verdict = papers.Verdict(at_20, *at_20.measure({5: rows}))
    assert (verdict.here, verdict.verdict) == ("no value", papers.DOES_NOT)
    assert verdict.reason == "no drop has a value there"


@pytest.mark.parametrize(("centre", "sheet"), [("origin", 250.0), ("nadir", 100.0)])
def test_fig_5_what_a_radar_sequence_is_worth_in_sdma(centre, sheet):
    """Measured before with another solver at its global optimum: 250 % and 95 to 105 %; 90 % in the paper."""
    rows = rates_at(20, (SDMA_SIC, SDMA_PLAIN), 40, Reading(centre=centre))
    value, error = gain_by_drop(5, "min_rate", SDMA_SIC, SDMA_PLAIN, power_dbw=20)({5: rows})
    assert 5.0 < error < 30.0
    assert abs(value - sheet) < 3 * error


def test_fig_5_rate_splitting_gains_more_at_low_power():
    names = (RSMA_SIC, SDMA_SIC)
    rows = pd.concat([rates_at(power, names, 10) for power in (20, 30)])
    low, high = (gain_by_drop(5, "min_rate", *names, power_dbw=power)({5: rows})[0] for power in (20, 30))
    assert low > 2 * high > 0.0


def test_fig_6_shares_and_patterns():
    rows = table(6, 2)
    shares = papers.summary(park2024.FIGURES[6].plot, rows)
    assert (shares["drops"] == 2).all()
    np.testing.assert_allclose(shares.groupby("system")["share"].sum(), 1.0, atol=rounding)
    share = shares.set_index(["system", "stream"])["share"]
    assert share["SDMA, 20 dBW", STREAMS[0]] > 0.5 > share["SDMA, 30 dBW", STREAMS[0]]
    assert share["RSMA, 20 dBW", STREAMS[1]] > 0.5 > share["RSMA, 30 dBW", STREAMS[1]]
    maps = papers.patterns(park2024.FIGURES[6].plot, rows)
    assert maps["pattern_db"].max() <= linear_to_db(64.0) + rounding
    users, target = scene(20, 0)
    found = park2024.designed(users, target, "rsma", "sic")
    p_c = steering(found.cosines, 8, 8).T @ found.weights[:, 4]
    down = np.array([15e3, -40e3, 0.0]) - park2024.SATELLITE_M
    a = steering((down / np.linalg.norm(down))[:2], 8, 8)
    expected = abs(np.vdot(p_c, a)) ** 2 / found.power_w.sum()
    at = maps[(maps["system"] == "RSMA, 20 dBW") & (maps["stream"] == STREAMS[1])]
    at = at[(at["x_km"] == 15.0) & (at["y_km"] == -40.0)]["pattern_db"]
    assert db_to_linear(at.item()) == pytest.approx(expected, rel=1e-6)
    place = maps[(maps["system"] == "RSMA, 20 dBW") & (maps["stream"] == "target")]
    ground = np.array([3e3, 3e3]) + np.array([-27e3, 33e3]) * 5 / 335  # on, to the ground
    np.testing.assert_allclose(1e3 * place[["x_km", "y_km"]].to_numpy()[0], ground, atol=two_metres)


def test_the_pattern_of_the_target_is_what_was_asked():
    users, target = scene(20, 1)
    found = park2024.designed(users, target, "sdma", "sic")
    gains = park2024.by_stream(precoding.gains(found, target.cosines[None], 8, 8))
    assert gains.sum() == pytest.approx(park2024.asked_gain_w("monostatic"), rel=1e-6)


# ---------------------------------------------------------------------------------------------
# Section V-C


def test_a_dwell_is_the_papers_scene():
    """What is sent to the target is what was asked, in flat Earth's directions; the echo is where Table I has it."""
    heard = park2024.dwell(23, 4e-7, "SDMA, s_R and SIC", 0)
    sent = np.sum(np.abs(heard.amplitudes(heard.departure(park2024.TARGET_M))) ** 2)
    assert sent == pytest.approx(2 * park2024.asked_gain_w("monostatic"), rel=1e-4)
    delay, doppler_hz = park2024._truth(heard, 0, 1)
    frequency_hz, output = park2024.filtered(heard, park2024.bistatic(park2024.TARGET_M).arrival)
    i, j = np.unravel_index(np.argmax(output), output.shape)
    assert abs(i - delay) <= 0.5
    assert abs(frequency_hz[j] - doppler_hz) <= park2024.CELL_HZ / park2024.POINTS
    # N snr = 0.867 a sample (docs/detection.md); a peak off the grid loses up to 3.9 dB of delay.
    assert -4.5 < linear_to_db(output[i, j] / (0.867 * 4096)) < 0.5


def test_a_threshold_out_of_reach_has_no_dwell():
    assert park2024.dwell(23, 8e-8, "RSMA, no s_R", 0) is None
    rows = pd.DataFrame(park2024.figure_7(1, 1, Reading(rcs="cos_half")))
    assert rows["share"].isna().all()
    assert pd.DataFrame(park2024.figure_8(1, 1, Reading(rcs="cos_half")))["margin_db"].isna().all()


def test_fig_7_sub_peaks_shrink_with_the_threshold():
    rows = table(7, 2)
    verdicts = {v.claim.text: v for v in papers.judge("park2024", {7: rows}) if v.claim.figure == 7}
    assert len(verdicts) == 6
    for text, verdict in verdicts.items():
        if "lower" in text or "4e-7 rad^2" in text:
            assert verdict.verdict == papers.REPRODUCES, text
    level = rows[rows["pattern_db"].notna()]
    assert level["pattern_db"].max() <= 0.0
    assert (level["u"] ** 2 + level["w"] ** 2 < 1.0).all()


def test_fig_8_a_sharp_peak_with_the_right_direction_only():
    rows = table(8, 1)
    told = rows[rows["stream"] == park2024.TOLD].dropna(subset="share")
    assert (told["share"] == 1.0).all()
    assert (told["margin_db"] > 9.0).all()  # the first side lobe of a block is 13 dB down
    wide = rows[rows["pattern_db"].notna()]
    # Towards noise more than a tenth of the outputs are within 10 dB of the highest, towards the echo next to none.
    share = wide.assign(high=wide["pattern_db"] > -10.0).groupby("stream")["high"].mean()
    assert share[park2024.MISSED] > 0.1 > 0.01 > share[park2024.TOLD]


# ---------------------------------------------------------------------------------------------
# Claims


def test_every_claim_can_fail_and_says_how_it_is_measured():
    for claim in park2024.CLAIMS:
        assert claim.figure is None or claim.figure in park2024.FIGURES
        low, high = claim.near
        assert claim.right[0] <= low <= high <= claim.right[1]
        assert claim.how
        assert papers.Verdict(claim, -100.0 if low > -math.inf else 1000.0, 1.0).verdict == papers.DOES_NOT


def test_the_three_modes_of_rsma_are_compared_drop_by_drop():
    rates = {RSMA_SIC: 2.0, ISAC_MODES["rsma"][1]: 2.02, ISAC_MODES["rsma"][2]: 1.98, SDMA_SIC: 1.0}
    rows = [
        {"drop": drop, "power_dbw": 20, "system": name, "min_rate": rate * (1 + drop)}
        for drop in range(2)
        for name, rate in rates.items()
    ]
    value, error = park2024.disagreement({5: pd.DataFrame(rows)})
    assert value == pytest.approx(2.0)
    assert error == pytest.approx(0.0, abs=rounding)


def test_means_are_over_the_drops_that_have_a_value():
    rows = [
        {"drop": drop, "system": name, "y": y, "part": "a"}
        for name, column in (("up", [2.0, math.nan, 6.0]), ("down", [1.0, 1.0, 2.0]), ("none", [math.nan] * 3))
        for drop, y in enumerate(column)
    ]
    tables = {1: pd.DataFrame(rows)}
    value, error = gain_by_drop(1, "y", "up", "down")(tables)
    assert (value, error) == (pytest.approx(150.0), pytest.approx(50.0))  # 100 and 200 %, not 4 over 1.33
    assert mean(1, "y", "up", factor=10.0, part="a")(tables)[0] == pytest.approx(40.0)
    assert np.isnan(mean(1, "y", "none")(tables)).all()


# ---------------------------------------------------------------------------------------------
# The command


@pytest.fixture
def reproduce(monkeypatch, capsys, tmp_path):
    """Call `leosim reproduce park2024 ...` in a folder of its own: code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["leosim", "reproduce", "park2024", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize("style", ["default", *(pytest.param(s, marks=pytest.mark.slow) for s in ("ieee", "slides"))])
def test_the_command_draws_beams_where_the_threshold_is_in_reach(reproduce, tmp_path, style):
    code, out, _ = reproduce("--figure", "6", "--drops", "2", "--set", "rcs=cos_half", "--style", style)
    assert code == 0
    assert "Sec. V-B" in out
    folder = tmp_path / "outputs" / "park2024"
    files = {"figure-06.csv", "figure-06-patterns.csv", "figure-06.png", "figure-06.pdf", "claims.csv"}
    assert {path.name for path in folder.iterdir()} == files
    shares = pd.read_csv(folder / "figure-06.csv").set_index(["system", "stream"])
    assert shares.loc[case_name("sdma", 20), "share"].isna().all()
    assert shares.loc[case_name("sdma", 30), "share"].sum() == pytest.approx(1.0, abs=1e-5)
    assert len(pd.read_csv(folder / "figure-06-patterns.csv")) == 2 * (3 * 61 * 61 + 5)


def test_a_figure_without_chance_is_computed_once(reproduce, tmp_path):
    code, out, _ = reproduce("--figure", "4", "--drops", "7", "--json")
    assert code == 0
    assert [row["where"] for row in json.loads(out)["claims"]] == ["Fig. 4"] * 3 + ["Sec. V-B"] * 2
    data = pd.read_csv(tmp_path / "outputs" / "park2024" / "figure-04.csv")
    assert (data["drops"] == 1).all()
    assert data["loss_db"].between(210.0, 255.0).all()
