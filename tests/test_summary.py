"""The summary of a run against recomputation from the rows of a small log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leosim import cli, orbit, records, simulation
from leosim.log import Log, open_log
from leosim.log_writer import LogWriter
from leosim.records import CAPPED, COMMON_STREAM, HELD, MET, NO_SATELLITE_IN_VIEW, NO_TARGET_IN_VIEW, RADAR_SEQUENCE
from leosim.report.dwells import dwells, sensing_table
from leosim.report.summary import decisions, in_force, per_user, summary
from leosim.scenario import load_scenario

START_NS = 1_787_364_000_000_000_000  # 2026-08-22T02:00:00Z
SECOND_NS = 1_000_000_000
EPOCHS = 8
NAMES = ["Ulm", "München", "Passau"]
SATS = {11: "LEO-A", 12: "LEO-B", 21: "LEO-C", 22: ""}
TYPES = (records.Geometry, records.Clusters, records.Solver, records.Handovers, records.Rates)

# Serving sets of each decision, a set a user: soft and hard changes, an access, a drop, a ping-pong of 11.
SETS: list[list[set[int]]] = [
    [{11, 12}, {21}, set()],
    [{11, 12}, {22}, {12}],
    [{12}, {22}, {12}],
    [{11, 12}, {21, 22}, {12}],
    [{11, 12}, {21}, {11}],
    [{21}, {21}, {11}],
    [{21}, {21}, set()],
    [{21, 22}, {12}, set()],  # takes effect after the end: it never counts
]
EFFECTIVE_NS = [0, *(k * SECOND_NS + 170_000_000 for k in range(1, 7)), 9 * SECOND_NS]
SCENARIO = {
    "clustering": {"algorithm": "nearest"},
    "beamforming": {"algorithm": "smrt"},
    "handover": {"ping_pong_window_s": 2.5},
}

SENSING = {
    "sensing": {
        "power_dbm": 50.0,
        "array": [6, 4],
        "satellite": "best_snr",
        "targets": [{"name": "aircraft"}, {"name": ""}],
    },
    "isac": {"algorithm": "rsma", "access": "sdma", "radar": "sic"},
}
# Of each dwell: satellite, target, status, bound met (m), SNR (dB), power needed (W), bistatic angle (degrees)
DWELLS = [
    (11, 0, MET, 30.0, 35.0, 40.0, 100.0),
    (11, 1, MET, 20.0, 30.0, 20.0, 140.0),
    (12, 0, CAPPED, 45.0, 25.0, 130.0, 134.0),
    (-1, 1, NO_SATELLITE_IN_VIEW, np.nan, np.nan, 0.0, np.nan),
    (12, 0, HELD, 33.0, 14.0, 90.0, 136.0),
    (21, 1, MET, 30.0, 12.0, 99.0, 90.0),
    (21, -1, NO_TARGET_IN_VIEW, np.nan, np.nan, 0.0, 170.0),
    (22, 0, MET, 8.0, 40.0, 10.0, 60.0),
]


def write_dwell(writer: LogWriter, k: int, rng: np.random.Generator) -> None:
    """Dwell k of `DWELLS`: two users, a common stream and a radar sequence of any power."""
    sat, target, status, met, snr_db, needed_w, angle_deg = DWELLS[k]
    streams = [0, 1, COMMON_STREAM, RADAR_SEQUENCE] if sat >= 0 else []
    many = len(streams)
    aimed = sat >= 0 and target >= 0
    precoder = records.IsacPrecoder(
        t_ns=k * SECOND_NS,
        sat=sat,
        target=target,
        status=status,
        iterations=9,
        min_rate=rng.random() + 1.0 if many else 0.0,
        gain_asked_w=1.0,
        gain_w=1.0,
        power_needed_w=needed_w,
        user=streams,
        power_w=rng.random(many),
        rate=np.ones(many),
        split=np.zeros(many),
        cosines=0.2 * rng.random((3 if many else 0, 2)),
        weight_re=rng.random(3 * many),
        weight_im=rng.random(3 * many),
        ergodic=np.ones(many),
        min_ergodic=rng.random() + 0.5 if many else np.nan,
        cross_range_asked_m=30.0 if aimed else np.nan,
        cross_range_m=met,
        snr=10.0 ** (snr_db / 10.0),
    )
    seen = records.Targets(
        t_ns=k * SECOND_NS,
        target=[0, 1],
        pos_enu=np.zeros((2, 3)),
        vel_enu=np.zeros((2, 3)),
        range_rx_m=[10_000.0 - 100.0 * k, 20_000.0 + k],
        range_tx_m=[6e5, 6e5],
        elevation_rad=[0.5, 0.5],
        bistatic_angle_rad=np.radians([angle_deg if row == target or target < 0 else 10.0 for row in (0, 1)]),
    )
    writer.append(precoder)
    writer.append(seen)


def write_log(
    path: Path,
    users: int = 3,
    seed: int = 3,
    finish: bool = True,
    coherence: str = "cross terms averaged",
    sensing: bool = False,
) -> Path:
    """A log of 8 epochs; users beyond the third have no satellite. With `sensing`, a dwell each of `DWELLS`."""
    rng = np.random.default_rng(seed)
    sats = np.array(list(SATS))
    names = NAMES + [f"extra-{u}" for u in range(3, users)]
    statics = (
        records.Catalogue(
            sat=sats,
            name=list(SATS.values()),
            epoch_ns=np.full(4, START_NS),
            inclination_rad=np.full(4, 0.9),
            perigee_m=np.full(4, 5e5),
            apogee_m=np.full(4, 5e5),
            fail_ns=np.full(4, -1),
        ),
        records.Users(
            name=names[:users],
            lat_rad=np.full(users, 0.8),
            lon_rad=np.full(users, 0.2),
            alt_m=np.zeros(users),
            mask_rad=np.full(users, np.radians(25.0)),
            pos_ecef=np.zeros((users, 3)),
        ),
        records.Quarantine(sat=[99], name=["LEO-X"], file=["a.tle"], line=[3], reason=["checksum"], from_ns=[0]),
    )
    about = {"title": "A small run", "coherence": coherence, "step_ns": SECOND_NS}
    types = (*TYPES, records.IsacPrecoder, records.Targets) if sensing else TYPES
    about["scenario"] = json.dumps(SCENARIO | SENSING if sensing else SCENARIO)
    with LogWriter(path, START_NS, types, statics, about) as writer:
        for k in range(EPOCHS):
            pairs = [(u, s) for u, members in enumerate(SETS[k][:users]) for s in sorted(members)]
            status = [0 if u < 3 and SETS[k][u] else 1 for u in range(users)]
            t_ns = k * SECOND_NS
            everyone = np.repeat(np.arange(users), 4)
            writer.append(
                records.Geometry(
                    t_ns=t_ns,
                    user=everyone,
                    sat=np.tile(sats, users),
                    range_m=np.full(4 * users, 1e6),
                    elevation_rad=np.radians(np.tile([30.0, 50.0, 70.0, 85.0], users) + k / 8),
                    azimuth_rad=np.tile([0.1, 1.6, 3.2, 4.8], users) + 0.1 * k,
                    range_rate_m_s=np.zeros(4 * users),
                    cosines=np.zeros((4 * users, 2)),
                )
            )
            writer.append(
                records.Clusters(
                    t_ns=t_ns,
                    csi_t_ns=t_ns,
                    effective_t_ns=EFFECTIVE_NS[k],
                    user=[u for u, _ in pairs],
                    sat=[s for _, s in pairs],
                    amplitude=np.ones(len(pairs)),
                    status=status,
                    waited=[k - 3 if u == 2 and k in (4, 5) else 0 for u in range(users)],
                    challenger=np.full(users, -1),
                    challenger_since_ns=np.zeros(users),
                    user_price=np.ones(users),
                    priced_sat=[],
                    sat_price=[],
                )
            )
            solved = {"status": [0, 0, 0, 1, 0, 2, 4, 0][k], "iterations": 7, "min_rate": 1.0, "bound_rate": 2.0}
            solved |= {"bottleneck": 1 if k < 6 else -1, "without_rate": 1.5 if k else np.nan}
            writer.append(records.Solver(t_ns=t_ns, upper_rate=[1.0, 1.25, 1.0, 1.5, 1, 1, np.inf, 1][k], **solved))
            writer.append(records.Handovers(t_ns=t_ns, event_t_ns=[], user=[], kind=[], joins=[], leaves=[], stays=[]))
            outage_s = np.zeros(users)
            outage_s[1:3] = (0.05 if k == 1 else 0.0), (1.0 if k in (0, 7) else 0.25 if k == 4 else 0.0)
            writer.append(
                records.Rates(
                    t_ns=t_ns,
                    hardening=rng.random(users) * 3.0 + 0.5,
                    ergodic=rng.random(users) * 3.0 + 1.0,
                    serving=np.array(status) == 0,
                    outage_s=outage_s,
                    interruption_s=np.where(outage_s < 1.0, outage_s, 0.0),
                )
            )
            if sensing:
                write_dwell(writer, k, rng)
            writer.commit()
        if finish:
            writer.finish()
    return path


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    with open_log(write_log(tmp_path_factory.mktemp("summary") / "small.h5")) as opened:
        yield opened


def test_what_the_run_was(log: Log) -> None:
    found = summary(log)
    assert (found.title, found.start_utc, found.duration_s) == ("A small run", "2026-08-22 02:00:00", 8.0)
    assert (found.users, found.satellites, found.quarantined, found.epochs, found.complete) == (3, 4, 1, 8, True)
    served = found.communication
    assert (served.clustering, served.beamforming) == ("nearest", "smrt")
    assert served.coherence == "cross terms averaged"


@pytest.mark.parametrize("kind", ["hardening", "ergodic"])
def test_rates_are_those_of_pandas(log: Log, kind: str) -> None:
    table = log["rates"].to_dataframe()
    found = getattr(summary(log).communication, kind)
    assert found.least == table[kind].min()
    assert found.low == pytest.approx(table[kind].quantile(0.05), rel=1e-12)
    assert found.median == pytest.approx(table[kind].median(), rel=1e-12)
    assert found.mean == pytest.approx(table[kind].mean(), rel=1e-12)
    assert found.mean_sum == pytest.approx(table.groupby("t")[kind].sum().mean(), rel=1e-12)
    each = per_user(log)
    by_name = log["rates"].to_dataframe(units="human").groupby("user")[f"{kind}_bit_s_hz"]
    low = by_name.quantile(0.05).reindex(NAMES)
    np.testing.assert_allclose(each[f"{kind}_5_percent_bit_s_hz"], low, rtol=1e-12)
    np.testing.assert_allclose(each[f"{kind}_least_bit_s_hz"], by_name.min().reindex(NAMES), rtol=1e-12)


def test_handovers_are_those_of_a_pivot_table(log: Log) -> None:
    table = log["clusters"].to_dataframe()
    held = pd.crosstab(table.effective_t_ns, [table.user, table.sat])
    held = held.loc[: EPOCHS * SECOND_NS]
    moved = held.diff().iloc[1:]
    minutes = 8.0 / 60.0
    joins, leaves = ((moved == sign).T.groupby(level=0).sum().T for sign in (1, -1))
    stays = ((held.shift(1).iloc[1:] == 1) & (held.iloc[1:] == 1)).T.groupby(level=0).sum().T
    changed = (joins + leaves) > 0
    each, found = per_user(log), summary(log).communication
    np.testing.assert_allclose(each.joins_per_minute, joins.sum() / minutes)
    np.testing.assert_allclose(each.leaves_per_minute, leaves.sum() / minutes)
    np.testing.assert_allclose(each.soft_per_minute, (changed & (stays > 0)).sum() / minutes)
    np.testing.assert_allclose(each.hard_per_minute, ((joins > 0) & (leaves > 0) & (stays == 0)).sum() / minutes)
    assert found.soft_per_user_minute == pytest.approx(each.soft_per_minute.mean(), rel=1e-12)
    assert found.joins_per_user_minute == pytest.approx(each.joins_per_minute.mean(), rel=1e-12)
    assert (found.accesses, found.drops) == (1, 1)
    assert each.index.tolist() == NAMES


def test_handovers_counted_by_hand(log: Log) -> None:
    """Soft: Ulm twice, München twice; hard: Ulm once, München once, Passau once."""
    found = summary(log).communication
    user_minutes = 3 * 8.0 / 60.0
    assert found.soft_per_user_minute == pytest.approx(4 / user_minutes, rel=1e-12)
    assert found.hard_per_user_minute == pytest.approx(3 / user_minutes, rel=1e-12)
    # 11 is back at Ulm after 1 s; 21 is back at München after 2 s: both within 2.5 s
    assert found.ping_pongs == 2
    assert per_user(log).ping_pongs.tolist() == [1, 1, 0]
    # begun and ended within the run: Ulm 11 (3.17 to 5.17), München 22 (1.17 to 4.17),
    # Passau 12 (1.17 to 4.17) and 11 (4.17 to 6.17)
    assert found.stay_s == pytest.approx((2 + 3 + 3 + 2) / 4, rel=1e-12)


def test_outage_solver_and_unserved(log: Log) -> None:
    found, each = summary(log).communication, per_user(log)
    assert found.outage_s == pytest.approx(2.3, rel=1e-12)
    assert found.interruption_s == pytest.approx(0.3, rel=1e-12)
    assert found.outage_percent == pytest.approx(100 * 2.3 / 24, rel=1e-12)
    assert found.outage_s_per_user_minute == pytest.approx(2.3 / (24 / 60), rel=1e-12)
    assert found.interruption_percent == pytest.approx(100 * 0.3 / 24, rel=1e-12)
    np.testing.assert_allclose(each.outage_s, [0.0, 0.05, 2.25])
    assert found.solver == {"optimal": 0.625, "fallback": 0.125, "inaccurate": 0.125, "uniform": 0.125}
    assert found.worst_gap == pytest.approx(0.5, rel=1e-12)
    # Passau is declared unserved by the decisions in force at the start of epochs 0, 1 (the second decision
    # comes at 1.17 s) and 7.
    assert found.unserved == {"no satellite in view": 3}
    assert each.unserved_epochs.tolist() == [0, 0, 3]


def test_who_waits_and_who_holds_the_others_down(log: Log) -> None:
    found = summary(log).communication
    assert (found.waiting, found.longest_wait) == (2 / EPOCHS, 2)
    assert (found.bottleneck, found.bottleneck_share) == (NAMES[1], 6 / EPOCHS)
    assert (found.bottleneck_rate, found.rate_without) == (1.0, 1.5)
    text = dict(found.rows())
    assert text["waiting for room"] == "0.25 users on average, longest wait 2 decisions"
    assert text["bottleneck"] == (
        f"{NAMES[1]} in 75 % of decisions; without it the least rate would be 1.5 instead of 1 bit/s/Hz"
    )


def test_decisions_in_force_are_those_that_have_arrived(log: Log) -> None:
    at_ns = np.array([0, 1_169_999_999, 1_170_000_000, 8 * SECOND_NS - 1])
    assert in_force(log, at_ns).tolist() == [0, 0, 1, 6]
    effective_ns, decision, user, sat = decisions(log)
    assert effective_ns.tolist() == EFFECTIVE_NS[:7]
    expected = [(d, u, s) for d in range(7) for u in range(3) for s in sorted(SETS[d][u])]
    assert list(zip(decision.tolist(), user.tolist(), sat.tolist(), strict=True)) == expected


def test_the_dict_is_json_and_the_text_has_every_row(log: Log) -> None:
    found = summary(log)
    back = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert back["hardening"]["low"] == found.communication.hardening.low
    assert back["unserved"] == found.communication.unserved
    lines = str(found).splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == [name for name, _ in found.rows()]
    assert f"5 % {found.communication.hardening.low:.3f}" in str(found)
    assert "bit/s/Hz" in dict(found.rows())["hardening rate"]


def test_unfinished_runs_and_users_nobody_serves(tmp_path: Path) -> None:
    """A summary all the same, of what there is."""
    path = write_log(tmp_path / "open.h5", users=3, finish=False)
    with open_log(path) as opened:
        found = summary(opened)
        assert not found.complete
        assert dict(found.rows())["duration"].endswith("unfinished")
    lonely = write_log(tmp_path / "lonely.h5", users=40)
    with open_log(lonely) as opened:
        each = per_user(opened)
        assert len(each) == 40
        assert each.loc["extra-39", "unserved_epochs"] == EPOCHS
        assert each.loc["extra-39", "jaccard"] == 1.0
        assert pd.isna(each.loc["extra-39", "stay_s"])


# ---------------------------------------------------------------------------------------------
# Sensing


@pytest.fixture(scope="module")
def sensed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    with open_log(write_log(tmp_path_factory.mktemp("summary") / "sensed.h5", sensing=True)) as opened:
        yield opened


def test_a_run_without_sensing_says_nothing_of_it(log: Log) -> None:
    found = summary(log)
    assert found.sensing is None
    assert "sensing" not in found.as_dict()
    assert "dwells" not in str(found)
    with pytest.raises(ValueError, match=r"needs the tables \[sensing\] and \[isac\]"):
        sensing_table(log)


def test_sensing_counted_by_hand(sensed: Log) -> None:
    found = summary(sensed).sensing
    assert (found.algorithm, found.dwells) == ("rsma", 8)
    assert found.status == {
        "met": 0.5,
        "capped": 0.125,
        "held": 0.125,
        "no satellite in view": 0.125,
        "no target in view": 0.125,
    }
    # 11, 11, 12, none, 12, 21, 21, 22: the gap is no change
    assert (found.satellites, found.changes) == (4, 3)
    assert found.changes_per_minute == pytest.approx(3 / (8 / 60), rel=1e-12)
    # of the six dwells with a satellite and a target
    assert found.cross_range_asked_m == 30.0
    assert found.cross_range_median_m == pytest.approx(30.0, rel=1e-12)
    assert found.cross_range_95_percent_m == pytest.approx(45.0 - 0.25 * 12.0, rel=1e-12)
    assert found.cross_range_worst_m == 45.0
    assert found.missed == pytest.approx(2 / 6, rel=1e-12)
    assert found.snr_median_db == pytest.approx(27.5, rel=1e-9)
    assert found.snr_least_db == pytest.approx(12.0, rel=1e-9)
    assert (found.gate_db, found.below_gate) == (13.0, 1)
    assert (found.power_needed_median_w, found.power_needed_highest_w) == (65.0, 130.0)
    assert found.power_w == pytest.approx(100.0, rel=1e-12)
    assert found.over_budget == pytest.approx(1 / 6, rel=1e-12)
    assert found.beyond_rcs_model == 2  # 140 and 136 degrees; nothing is illuminated at 170


def test_rates_and_powers_of_dwells_from_the_rows(sensed: Log) -> None:
    found, rows = summary(sensed).sensing, [sensed["isac"].row(k) for k in range(8)]
    for spread, name in ((found.statistical, "min_rate"), (found.ergodic, "min_ergodic")):
        rate = [float(getattr(row, name)) if row.sat >= 0 else 0.0 for row in rows]
        assert (spread.least, spread.mean) == (0.0, pytest.approx(np.mean(rate), rel=1e-12))
        assert spread.median == pytest.approx(np.median(rate), rel=1e-12)
        assert spread.low == pytest.approx(np.quantile(rate, 0.05), rel=1e-12)
    share = np.array([row.power_w / row.power_w.sum() for row in rows if row.sat >= 0])
    assert found.private == pytest.approx(share[:, :2].sum(axis=1).mean(), rel=1e-12)
    assert found.common == pytest.approx(share[:, 2].mean(), rel=1e-12)
    assert found.radar == pytest.approx(share[:, 3].mean(), rel=1e-12)


def test_what_people_read_of_sensing(sensed: Log) -> None:
    found = summary(sensed)
    text = dict(found.rows())
    assert text["sensing"].startswith("8 dwells with rsma: 50 % met, 12.5 % capped, 12.5 % held")
    assert text["sensing satellite"] == "4 satellites, 3 changes (22.5 a minute)"
    assert text["cross-range bound"] == (
        "asked 30 m; met: median 30 m, 95 % 42 m, worst 45 m; above what is asked in 33.3 % of dwells"
    )
    assert text["echo SNR"] == "median 27.5, least 12.0 dB; below 13 dB in 1 dwell"
    assert text["power needed"] == "median 65 W, highest 130 W, of 100 W; more than there is in 16.7 % of dwells"
    assert text["bistatic angle"] == "beyond 135 degrees, where no cross-section model holds, in 2 dwells"
    back = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert back["sensing"]["status"]["met"] == 0.5
    assert back["sensing"]["ergodic"]["least"] == 0.0


def test_dwells_over_time(sensed: Log) -> None:
    table = sensing_table(sensed, every_s=3.0)
    assert table.t_s.tolist() == [0.0, 3.0, 6.0]
    assert table.satellite.tolist() == ["LEO-A", "-", "LEO-C"]
    assert table.target.tolist() == ["aircraft", "target-2", "-"]
    assert table.changes.tolist() == [1, 1, 1]
    assert table.cross_range_m.tolist() == [45.0, 33.0, 8.0]
    assert table.power_needed_w.tolist() == [130.0, 99.0, 10.0]
    np.testing.assert_allclose(table.target_range_km, [10.0, 20.003, np.nan])
    least = np.minimum.reduceat(sensed["isac"]["min_rate"], [0, 3, 6])
    np.testing.assert_array_equal(table.min_rate_bit_s_hz, least)
    assert table.status.tolist() == [
        "2 met, 1 capped",
        "1 met, 1 held, 1 no satellite in view",
        "1 met, 1 no target in view",
    ]
    each = sensing_table(sensed)
    assert len(each) == 8  # a short run: a row a dwell
    assert each.changes.sum() == summary(sensed).sensing.changes
    with pytest.raises(ValueError, match="every_s: expected a time above 0 s, got 0"):
        sensing_table(sensed, every_s=0.0)


@pytest.mark.parametrize(("duration_s", "rows"), [(12, 12), (300, 30), (600, 20), (601, 21), (86_400, 24)])
def test_a_table_over_time_has_few_rows(sensed: Log, monkeypatch, duration_s: int, rows: int) -> None:
    table = dwells(sensed)
    long = pd.concat([table.iloc[[0]]] * duration_s, ignore_index=True).assign(t_s=np.arange(float(duration_s)))
    monkeypatch.setattr("leosim.report.dwells.dwells", lambda log: long)
    assert len(sensing_table(sensed)) == rows


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[simulation.Prepared, Log]]:
    """Three dwells of the shipped pass, and what they were flown with."""
    ready = simulation.prepare(load_scenario("isac_pass").with_(time={"duration_s": 3}))
    with simulation.run(ready.scenario, tmp_path_factory.mktemp("summary") / "run.h5", prepared=ready) as run:
        yield ready, run


def test_elevation_of_the_sensing_satellite_is_that_at_the_receiver(flown: tuple[simulation.Prepared, Log]) -> None:
    """Told by the users' geometry in the log, against the satellite flown over the receiver itself."""
    ready, run = flown
    table = dwells(run)
    for k in range(3):
        flying = ready.world.ephemeris.near(ready.sensing.site, k * SECOND_NS)
        seen = orbit.geometry(flying, ready.sensing.site)
        there = float(seen.elevation_rad[seen.sat == table.sat[k]][0])
        assert table.elevation_rad[k] == pytest.approx(there, abs=np.radians(0.001))
        assert there == seen.elevation_rad.max()  # the rule of the scenario


def test_the_command_shows_dwells(flown: tuple[simulation.Prepared, Log], tmp_path: Path, monkeypatch, capsys) -> None:
    def leosim(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["leosim", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    _, run = flown
    code, shown, _ = leosim("info", str(run.path), "--sensing")
    assert code == 0
    assert "3 dwells with rsma" in shown
    assert "elevation (deg)" in shown
    assert "target-1" not in shown
    table = sensing_table(run)
    assert [line.split()[1] for line in shown.splitlines()[-3:]] == table.satellite.tolist()
    code, shown, _ = leosim("info", str(run.path), "--sensing", "--json")
    data = json.loads(shown)
    assert data["sensing"]["dwells"] == 3
    assert [row["status"] for row in data["sensing_table"]] == table.status.tolist()
    assert data["sensing_table"][0].keys() == set(table.columns)
    none = write_log(tmp_path / "none.h5")
    code, shown, said = leosim("info", str(none), "--sensing")
    assert (code, shown) == (2, "")
    assert "has no dwells" in said
