"""A large sky for the benchmarks: users spread over thousands of kilometres under a full shell of satellites."""

from __future__ import annotations

from pathlib import Path

from leosim import processes, simulation
from leosim.records import View
from leosim.scenario import load_scenario

STARLINK = Path(__file__).parents[2] / "shared" / "tle" / "starlink-20260822.tle"


def prepare(count: int, radius_km: float, **communication):
    """A scenario of `count` users in a circle under the real shell (beside the project) or the Walker set."""
    scenario = load_scenario("demo").with_(
        time={"duration_s": 10},
        users={"radius_km": radius_km, "count": count},
        elements={"file": str(STARLINK) if STARLINK.is_file() else load_scenario("demo").elements.files[0]},
        communication=communication,
    )
    return simulation.prepare(scenario)


def view(ready, t_s: float = 0.0) -> View:
    """What the central node sees at an instant, without delay."""
    s, t_ns = ready.settings, round(t_s * 1e9)
    _, csi = simulation.observe(ready.world, s, t_ns)
    module, params = s.beamforming
    beams = module.beams(csi, params, ready.world.radio)
    return processes.view(csi, beams, t_ns, ready.users.name.size, ready.world.radio, s.coherence)
