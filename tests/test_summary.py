"""The summary of a run against recomputation from the rows of a small log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leosim import records
from leosim.log import Log, open_log
from leosim.log_writer import LogWriter
from leosim.report.summary import decisions, in_force, per_user, summary

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


def write_log(
    path: Path, users: int = 3, seed: int = 3, finish: bool = True, coherence: str = "cross terms averaged"
) -> Path:
    """A log of 8 epochs; users beyond the third have no satellite."""
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
    with LogWriter(path, START_NS, TYPES, statics, about | {"scenario": json.dumps(SCENARIO)}) as writer:
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
    assert (found.clustering, found.beamforming) == ("nearest", "smrt")
    assert found.coherence == "cross terms averaged"


@pytest.mark.parametrize("kind", ["hardening", "ergodic"])
def test_rates_are_those_of_pandas(log: Log, kind: str) -> None:
    table = log["rates"].to_dataframe()
    found = getattr(summary(log), kind)
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
    each, found = per_user(log), summary(log)
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
    found = summary(log)
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
    found, each = summary(log), per_user(log)
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
    found = summary(log)
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
    assert back["hardening"]["low"] == found.hardening.low
    assert back["unserved"] == found.unserved
    lines = str(found).splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == [name for name, _ in found.rows()]
    assert f"5 % {found.hardening.low:.3f}" in str(found)
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
