"""leosim: an orbit-driven, time-stepped system simulator of LEO mega-constellations.

scenario = leosim.load_scenario("demo")
log = leosim.run(scenario)
print(log.summary())
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_FACE = {
    "load_scenario": "leosim.scenario",
    "Scenario": "leosim.scenario",
    "run": "leosim.simulation",
    "epoch": "leosim.simulation",
    "decide": "leosim.simulation",
    "prepare": "leosim.simulation",
    "replay": "leosim.replays",
    "verify": "leosim.verification",
    "compare": "leosim.report.compare",
    "open_log": "leosim.log",
    "Log": "leosim.log",
    "read_elements": "leosim.elements",
    "walker": "leosim.walkers",
}

__all__ = ["__version__", *_FACE]


def __getattr__(name: str) -> Any:
    """Load the public face on first use, so that `import leosim` is quick."""
    if name not in _FACE:
        raise AttributeError(f"module 'leosim' has no attribute {name!r}; it has {', '.join(_FACE)}")
    return getattr(importlib.import_module(_FACE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FACE])
