"""What counts as a handover, against cases counted by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leosim import handover
from leosim.records import ACCESS, BEAM, DROP, HARD, SOFT

S = 1_000_000_000


def sets(*users):
    """Serving sets of satellites with a beam a user (a set), or with regional beams (a dict)."""
    return [members if isinstance(members, dict) else dict.fromkeys(members, -1) for members in users]


def test_kinds_of_change():
    before = sets({1}, {1, 2}, {1}, {}, {1}, {5})
    after = sets({1, 2}, {2, 3}, {9}, {4}, {}, {5})
    found = handover.changes(before, after)
    assert [(c.user, c.kind) for c in found] == [(0, SOFT), (1, SOFT), (2, HARD), (3, ACCESS), (4, DROP)]
    assert (found[1].joins, found[1].leaves, found[1].stays) == ((3,), (1,), (2,))


def test_a_beam_changes_within_a_satellite():
    before = sets({1: 3}, {1: 3, 2: 5}, {1: 3, 2: 5}, {1: 3, 2: 5}, {1: 3}, {1: 3}, {1: 3, 2: 5})
    after = sets({1: 4}, {1: 4, 2: 5}, {1: 4, 2: 6}, {1: 4, 9: 5}, {2: 3}, {1: 3}, {1: 4, 2: 5, 3: 7})
    found = handover.changes(before, after)
    assert [(c.user, c.kind) for c in found] == [(0, BEAM), (1, BEAM), (2, BEAM), (3, SOFT), (4, HARD), (6, SOFT)]
    assert [c.beams for c in found] == [(1,), (1,), (1, 2), (1,), (), (1,)]
    # Nobody goes on as before: the user is cut off. Beside one who does, the new beam is acquired.
    assert [c.interrupts for c in found] == [True, False, True, True, True, False]
    assert [c.acquires for c in found] == [(), (1,), (), (9,), (2,), (3, 1)]
    record = handover.events(0, [(7, c) for c in found])
    assert record.beams.tolist() == [1, 1, 2, 1, 0, 1]
    assert record.stays.tolist() == [1, 2, 2, 1, 0, 2]
    table = handover.metrics(np.array([0, S]), [before, after], 7, 0, 60 * S, 1.0)
    assert table.beam.tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert table.beams.tolist() == [1, 1, 2, 1, 0, 0, 1]
    assert table.hard.tolist() == [0, 0, 0, 0, 1, 0, 0]
    assert table.jaccard.tolist()[:3] == [1, 1, 1]  # the satellites are the same


def test_serving_sets_of_pairs():
    assert handover.serving_sets(np.array([0, 2, 0]), np.array([7, 8, 9]), 3) == sets({7, 9}, {}, {8})


# One user, decisions each second: A, A+B, B, A+B (A back after 1 s), C (hard), none (drop).
TIMES = np.arange(6) * S
STORY = [sets({1}), sets({1, 2}), sets({2}), sets({1, 2}), sets({3}), sets({})]


def test_metrics_of_a_story_counted_by_hand():
    row = handover.metrics(TIMES, STORY, 1, 0, 60 * S, ping_pong_window_s=1.0).iloc[0]
    assert (row.joins, row.leaves) == (3, 4)  # +2, +1, +3; -1, -1 and -2, -3
    assert (row.soft, row.hard, row.access, row["drop"]) == (3, 1, 0, 1)
    assert row.ping_pongs == 1
    assert row.minutes == 1.0
    assert row.jaccard == pytest.approx((1 / 2 + 1 / 2 + 1 / 2 + 0 + 0) / 5)
    # Whole stays: 2 from 1 s to 4 s, 1 from 3 s to 4 s, 3 from 4 s to 5 s; the first stay of 1 has no begin.
    assert row.stay_s == pytest.approx((3 + 1 + 1) / 3)


def test_a_satellite_back_after_the_window_is_no_ping_pong():
    assert handover.metrics(TIMES, STORY, 1, 0, 60 * S, ping_pong_window_s=0.5).ping_pongs[0] == 0


def test_stays_cover_exactly_the_time_served():
    table = handover.stays(TIMES, STORY, 10 * S)
    expected = pd.DataFrame(
        {
            "user": [0, 0, 0, 0],
            "sat": [1, 2, 1, 3],
            "start_s": [0.0, 1.0, 3.0, 4.0],
            "end_s": [2.0, 4.0, 4.0, 5.0],
            "begun": [False, True, True, True],
            "ended": [True, True, True, True],
        }
    )
    pd.testing.assert_frame_equal(table, expected)
    cut = handover.stays(TIMES, STORY, 3 * S)
    assert cut.end_s.max() == 3.0
    assert not cut[cut.sat == 2].ended.item()


members = st.dictionaries(st.integers(1, 6), st.integers(-1, 1), max_size=4)


@given(st.lists(st.tuples(members, members), min_size=1, max_size=12))
def test_counts_balance(story):
    """What joined less what left is what is there; events are the changes; stays add up to satellite-seconds."""
    times = np.arange(len(story)) * S
    decisions = [list(users) for users in story]
    table = handover.metrics(times, decisions, 2, 0, len(story) * S, 5.0)
    stays = handover.stays(times, decisions, len(story) * S)
    for u in range(2):
        row = table.iloc[u]
        assert row.joins - row.leaves == len(story[-1][u]) - len(story[0][u])
        changed = sum(a[u] != b[u] for a, b in itertools.pairwise(story))
        assert row.soft + row.hard + row.access + row["drop"] + row.beam == changed
        moved = sum(a[u][sat] != b[u][sat] for a, b in itertools.pairwise(story) for sat in a[u].keys() & b[u].keys())
        assert row.beams == moved
        served = stays[stays.user == u]
        assert (served.end_s - served.start_s).sum() == pytest.approx(sum(len(d[u]) for d in story))
        assert 0 <= row.jaccard <= 1
