"""A log decided anew against its run and against a run with the new settings, and verified, in processor time."""

import time
from pathlib import Path

import pytest

from leosim import replays, simulation, verification
from leosim.log import open_log
from leosim.scenario import load_scenario

CATALOGUE = Path(__file__).parents[2] / "shared" / "tle"
EPOCHS = 200
CHANGES = {
    "nearest": {"clustering": {"algorithm": "nearest"}},
    "best satellite": {"clustering": {"algorithm": "best_satellite"}},
    "one number of a handover": {"handover": {"interruption_s": 0.1}},
}


def processor_s(work):
    """Processor time of a call (s)."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


@pytest.mark.catalogue
@pytest.mark.parametrize("change", CHANGES)
def test_deciding_anew(benchmark, tmp_path, change):
    """Ratios at 10 users; what is left is the new decisions themselves, and their score."""
    elements = CATALOGUE / "starlink-20260822.tle"
    if not elements.is_file():
        pytest.skip("no folder of catalogue snapshots beside the project")
    scenario = load_scenario("starlink_pass").with_(time={"duration_s": EPOCHS}, elements={"file": str(elements)})
    tables, log, new, anew = CHANGES[change], tmp_path / "run.h5", tmp_path / "new.h5", tmp_path / "anew.h5"
    simulation.run(scenario.with_(time={"duration_s": 3}), log).close()
    replays.replay(log, tables, new).close()
    run_s = processor_s(lambda: simulation.run(scenario, log, force=True).close())
    anew_s = processor_s(lambda: simulation.run(scenario.with_(**tables), anew).close())
    found = []

    def decide_anew():
        found.append(processor_s(lambda: replays.replay(log, tables, new, force=True).close()))

    benchmark.pedantic(decide_anew, rounds=3)
    benchmark.extra_info.update(
        {
            "run over replay": round(run_s / min(found), 2),
            "run of the new settings over replay": round(anew_s / min(found), 2),
            "run over verification": round(run_s / processor_s(lambda: verification.verify(log)), 2),
        }
    )
    with open_log(new) as one, open_log(anew) as other:
        assert one.digest() == other.digest()
    assert anew_s > min(found)
