"""A whole pass: how many times faster than real time, by stage, and against SGP4 at every step."""

from pathlib import Path

import pytest

from leosim import simulation
from leosim.scenario import load_scenario

CATALOGUE = Path(__file__).parents[2] / "shared" / "tle"
EPOCHS = 120


def flown(scenario, path):
    """One run: wall time of the loop (s) and the mean of each stage (ms an epoch)."""
    last = []
    with simulation.run(scenario, path, force=True, progress=last.append) as log:
        stages = {name: float(log.timing[name].mean() * 1e3) for name in ("csi_s", "decide_s", "score_s", "log_s")}
    return last[-1].real_time_factor, stages


@pytest.mark.parametrize(
    "elements",
    [
        pytest.param("walker-53-1584-72-39-550km-20260822.tle", id="walker"),
        pytest.param("starlink-20260822.tle", id="starlink", marks=pytest.mark.catalogue),
    ],
)
def test_a_pass_of_ten_users(benchmark, tmp_path, elements):
    path = CATALOGUE / elements
    if elements.startswith("starlink"):
        if not path.is_file():
            pytest.skip("no folder of catalogue snapshots beside the project")
        elements = str(path)
    scenario = load_scenario("starlink_pass").with_(time={"duration_s": EPOCHS}, elements={"file": elements})
    flown(scenario.with_(time={"duration_s": 5}), tmp_path / "warm.h5")
    factor, stages = benchmark.pedantic(flown, (scenario, tmp_path / "run.h5"), rounds=1)
    exact, _ = flown(scenario.with_(elements={"propagation": "exact"}), tmp_path / "exact.h5")
    benchmark.extra_info.update(
        {"times real time": round(factor, 1), "over SGP4 at every step": round(factor / exact, 2)}
        | {f"{name[:-2]} (ms an epoch)": round(ms, 2) for name, ms in stages.items()}
    )
