"""Where the wall time of a run went: its stages, what is between them, and how fast it was against real time."""

from __future__ import annotations

import pandas as pd

from leosim.log import Log
from leosim.units import NS_PER_S

WALL = "wall_s"  # the field of all wall time; the others are stages
OTHER = "other (event loop)"
ALL = "all"


def stages(log: Log) -> pd.DataFrame:
    """Wall time of each stage: total (s), share, median and 95 % of an epoch (ms), the slowest (ms) and its epoch.

    Index: the stages in the order of the record, named by what they are; what is in none of them; and all together,
    from the start of the event loop to the row of the last epoch. Stages that took no time at all are left out.
    A log without the time of whole epochs has no time between stages either.
    """
    timing = log["timing"]
    seconds = pd.DataFrame(
        {
            timing.field(name).doc: timing[name]
            for name in timing.names
            if name.endswith("_s") and name != WALL and timing[name].any()
        }
    )
    whole = pd.Series(timing[WALL]) if WALL in timing else seconds.sum(axis=1)
    if WALL in timing:
        seconds[OTHER] = whole - seconds.sum(axis=1)
    seconds[ALL] = whole
    total_s = seconds.sum()
    return pd.DataFrame(
        {
            "total_s": total_s,
            "share": total_s / max(float(whole.sum()), 1e-12),
            "median_ms": 1e3 * seconds.median(),
            "p95_ms": 1e3 * seconds.quantile(0.95),
            "slowest_ms": 1e3 * seconds.max(),
            "slowest_epoch": seconds.idxmax(),
        }
    )


def real_time_factor(log: Log) -> float:
    """Simulated time by wall time of the event loop, over all epochs in the log."""
    table = stages(log)
    simulated_s = len(log["timing"]) * float(log.attributes["step_ns"]) / NS_PER_S
    return simulated_s / max(float(table["total_s"][ALL]), 1e-12)
