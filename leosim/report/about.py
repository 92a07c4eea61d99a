"""What a log says of its run, as reports need it: scenario, algorithms, length of an epoch, names."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from leosim.log import Log


def scenario(log: Log) -> dict[str, Any]:
    """The resolved scenario of a run as a dict; empty when the log has none."""
    found = json.loads(str(log.attributes.get("scenario", "{}")))
    return found if isinstance(found, dict) else {}


def algorithm(about: dict[str, Any], folder: str) -> str:
    """The name of the algorithm a scenario chooses from a folder; "unknown" when it does not say."""
    return str(about.get(folder, {}).get("algorithm", "unknown"))


def has_communication(log: Log) -> bool:
    """Whether the run had the communication service."""
    return "rates" in log


def epochs_ns(log: Log) -> np.ndarray:
    """When each epoch in the log begins (ns since the start of the run): [epoch]."""
    return log["rates" if has_communication(log) else "geometry"].t_ns


def step_ns(log: Log) -> int:
    """Length of an epoch (ns): the attribute of the log, or the distance of its rows."""
    if "step_ns" in log.attributes:
        return int(log.attributes["step_ns"])
    t_ns = epochs_ns(log)
    if t_ns.size < 2:
        raise ValueError(f"{log.path}: no attribute step_ns and only {t_ns.size} epoch; write the log with step_ns")
    return int(np.diff(t_ns).min())


def end_ns(log: Log) -> int:
    """End of the last epoch in the log (ns since the start of the run)."""
    return int(epochs_ns(log)[-1]) + step_ns(log)


def satellite_names(log: Log) -> dict[int, str]:
    """The name of each satellite by catalogue number; the number where the elements had no name."""
    satellites = log["satellites"]
    return {
        number: name or f"{number}"
        for number, name in zip(satellites["sat"].tolist(), satellites["name"].tolist(), strict=True)
    }
