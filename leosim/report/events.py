"""The faults of a run and what came of them: event by event, and counted."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import pandas as pd

from leosim.log import Log
from leosim.records import EVENT_ACTION, FAULT_KIND
from leosim.report.about import satellite_names
from leosim.units import NS_PER_S


def has_events(log: Log) -> bool:
    """Whether the scenario of the run had faults."""
    return "events" in log


def event_table(log: Log) -> pd.DataFrame:
    """A row an event, in the order of the log: when, which fault, what happened, to which satellite, to how many pairs.

    Raises ValueError when the scenario of the run has no faults.
    """
    if not has_events(log):
        raise ValueError(f"{log.path}: no events in this log; its scenario has no [[faults]]")
    group, names = log["events"], satellite_names(log)
    return pd.DataFrame(
        {
            "t_s": group.t_ns / NS_PER_S,
            "fault": [FAULT_KIND[kind] for kind in group["kind"].tolist()],
            "event": [EVENT_ACTION[action] for action in group["action"].tolist()],
            "satellite": [names.get(sat, "-") for sat in group["sat"].tolist()],
            "count": group["count"],
            "text": group["text"],
        }
    )


def event_counts(log: Log) -> dict[str, dict[str, int]]:
    """How often what happened, by fault: `{"feeder_link": {"begins": 1, "CSI not delivered": 10}}`."""
    group = log["events"]
    counted = Counter(zip(group["kind"].tolist(), group["action"].tolist(), strict=True))
    return {
        FAULT_KIND[kind]: {EVENT_ACTION[action]: counted[kind, action] for _, action in pairs}
        for kind, pairs in groupby(sorted(counted), key=lambda pair: pair[0])
    }


def event_rows(counts: dict[str, dict[str, int]]) -> list[tuple[str, str]]:
    """The counts as rows of a summary."""
    said = [
        f"{fault.replace('_', ' ')}: " + ", ".join(f"{event} {count}" for event, count in of.items())
        for fault, of in counts.items()
    ]
    return [("faults" if k == 0 else "", text) for k, text in enumerate(said or ["none has begun"])]
