"""Serving-set changes as handover events, and what they cost the users.

A change is soft while a member stays in the set, hard when none does; a first satellite is an access,
losing the last one a drop. Where the set is the same and a member serves with another of its regional beams,
it is a change of beam. A change of powers is none of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from leosim.records import ACCESS, BEAM, DROP, HANDOVER_KIND, HARD, SOFT, Handovers

Serving = Mapping[int, int]
"""A serving set: catalogue numbers to regional beams, -1 for a beam of the user's own."""


@dataclass(frozen=True)
class Change:
    """One user's change of serving set: who joins, who leaves, who stays (catalogue numbers, ascending).

    beams : those who stay, but with another regional beam
    """

    user: int
    joins: tuple[int, ...]
    leaves: tuple[int, ...]
    stays: tuple[int, ...]
    beams: tuple[int, ...] = ()

    @property
    def kind(self) -> int:
        """ACCESS, SOFT, HARD, DROP or BEAM."""
        if not self.joins and not self.leaves:
            return BEAM
        if self.stays:
            return SOFT
        if self.joins and self.leaves:
            return HARD
        return ACCESS if self.joins else DROP

    @property
    def interrupts(self) -> bool:
        """Whether no satellite goes on as before, where one served."""
        return self.kind == HARD or 0 < len(self.stays) == len(self.beams)

    @property
    def acquires(self) -> tuple[int, ...]:
        """The satellites to be acquired: those that join, and those with a new beam beside one that goes on."""
        return self.joins if self.interrupts else (*self.joins, *self.beams)


def serving_sets(user: np.ndarray, sat: np.ndarray, users: int, spot: np.ndarray | None = None) -> list[Serving]:
    """The serving set of each user from pairs; spot : [pair] int, number of the regional beam (None: none)."""
    sets: list[dict[int, int]] = [{} for _ in range(users)]
    beam = np.full(user.size, -1) if spot is None else spot
    for u, s, b in zip(user.tolist(), sat.tolist(), beam.tolist(), strict=True):
        sets[u][s] = b
    return list(sets)


def changes(before: Sequence[Serving], after: Sequence[Serving]) -> list[Change]:
    """The users whose serving set changed, or a beam in it, in order of users."""
    return [
        Change(
            u,
            tuple(sorted(new.keys() - old.keys())),
            tuple(sorted(old.keys() - new.keys())),
            tuple(sorted(new.keys() & old.keys())),
            tuple(sorted(sat for sat in new.keys() & old.keys() if new[sat] != old[sat])),
        )
        for u, (old, new) in enumerate(zip(before, after, strict=True))
        if old != new
    ]


def events(t_ns: int, happened: list[tuple[int, Change]]) -> Handovers:
    """The record of one epoch's changes; `happened` holds (time of arrival, change)."""
    return Handovers(
        t_ns=t_ns,
        event_t_ns=np.array([t for t, _ in happened], dtype=np.int64),
        user=np.array([c.user for _, c in happened], dtype=np.int64),
        kind=np.array([c.kind for _, c in happened], dtype=np.int64),
        joins=np.array([len(c.joins) for _, c in happened], dtype=np.int64),
        leaves=np.array([len(c.leaves) for _, c in happened], dtype=np.int64),
        stays=np.array([len(c.stays) for _, c in happened], dtype=np.int64),
        beams=np.array([len(c.beams) for _, c in happened], dtype=np.int64),
    )


def stays(effective_ns: np.ndarray, sets: Sequence[Sequence[Serving]], end_ns: int) -> pd.DataFrame:
    """Each satellite's unbroken stay in a user's serving set.

    effective_ns : [decision] when each decision took effect; sets : serving sets of each decision
    Returns columns user, sat, start_s, end_s, begun (False: it was there from the start), ended (False:
    still serving at the end), ordered by user, start, catalogue number.
    """
    rows: list[tuple[int, int, int, int, bool, bool]] = []
    open_since: dict[tuple[int, int], int] = {}
    for d, (t, decision) in enumerate(zip(effective_ns.tolist(), sets, strict=True)):
        if t >= end_ns:
            break
        now = {(u, s) for u, members in enumerate(decision) for s in members}
        for pair in sorted(open_since.keys() - now):
            start = open_since.pop(pair)
            rows.append((*pair, start, t, start > effective_ns[0], True))
        for pair in now - open_since.keys():
            open_since[pair] = t if d else int(effective_ns[0])
    for pair in sorted(open_since):
        start = open_since[pair]
        rows.append((*pair, start, end_ns, start > effective_ns[0], False))
    table = pd.DataFrame(rows, columns=["user", "sat", "start_ns", "end_ns", "begun", "ended"])
    table = table.sort_values(["user", "start_ns", "sat"], ignore_index=True)
    table.insert(2, "start_s", table.pop("start_ns") / 1e9)
    table.insert(3, "end_s", table.pop("end_ns") / 1e9)
    return table


def metrics(
    effective_ns: np.ndarray,
    sets: Sequence[Sequence[Serving]],
    users: int,
    start_ns: int,
    end_ns: int,
    ping_pong_window_s: float,
) -> pd.DataFrame:
    """Handover metrics of each user over a run.

    effective_ns : [decision] when each decision took effect, since the start of the run (ns)
    sets : serving sets of each decision, a list over users
    Returns a row a user: minutes; joins, leaves, beams (satellites that came, went, changed their beam); soft,
    hard, access, drop, beam (events); ping_pongs
    (a satellite that rejoins within the window); stay_s (mean length of stays seen from begin to end, NaN
    when there is none); jaccard (mean over consecutive decisions of |A and B| / |A or B|, 1 when both are
    empty). Changes before `start_ns` do not count: the first decision is where a run begins.
    """
    count = {name: np.zeros(users, dtype=int) for name in ("joins", "leaves", "beams", *HANDOVER_KIND.values())}
    overlap, pairs = np.zeros(users), 0
    for t, before, after in zip(effective_ns[1:].tolist(), sets, sets[1:], strict=False):
        if t >= end_ns:
            break
        pairs += 1
        for u, (old, new) in enumerate(zip(before, after, strict=True)):
            union = len(old.keys() | new.keys())
            overlap[u] += len(old.keys() & new.keys()) / union if union else 1.0
        for change in changes(before, after):
            count["joins"][change.user] += len(change.joins)
            count["leaves"][change.user] += len(change.leaves)
            count["beams"][change.user] += len(change.beams)
            count[HANDOVER_KIND[change.kind]][change.user] += 1
    table = stays(effective_ns, sets, end_ns)
    whole = table[table.begun & table.ended]
    table = table.assign(
        away_s=table.start_s - table.groupby(["user", "sat"])["end_s"].shift(1),
    )
    back = table[table.away_s <= ping_pong_window_s]
    return pd.DataFrame(
        {
            "user": np.arange(users),
            "minutes": np.full(users, (end_ns - start_ns) / 60e9),
            **count,
            "ping_pongs": back.groupby("user").size().reindex(range(users), fill_value=0).to_numpy(),
            "stay_s": (whole.end_s - whole.start_s).groupby(whole.user).mean().reindex(range(users)).to_numpy(),
            "jaccard": overlap / pairs if pairs else np.ones(users),
        }
    )
