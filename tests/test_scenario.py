"""Scenarios: what is read, and one clear line for each thing that is wrong."""

import copy
from datetime import UTC, datetime

import pytest

from leosim import scenario as scenarios
from leosim.scenario import ScenarioError, load_scenario
from leosim.units import dbm_to_w

DEMO = scenarios.read_toml(scenarios.find_scenario("demo"))


SENSING = {
    "receiver": {"site_deg": [48.1, 11.6]},
    "targets": [{"position_km": [1, 2, 3]}],
}


def changed(**tables):
    data = copy.deepcopy(DEMO)
    for key, value in tables.items():
        if isinstance(value, dict):
            data[key] = {**data.get(key, {}), **value}
        else:
            data[key] = value
    return data


WRONG = {
    "unknown key": (
        {"communication": {"powr_dbm": 3}},
        "[communication] powr_dbm: unknown key; did you mean 'power_dbm'?",
    ),
    "unknown table": ({"comunication": {"a": 1}}, "did you mean 'communication'?"),
    "unknown nested key": ({"communication": {"coherence": {"slow": 1}}}, "did you mean 'slow_deg'?"),
    "naive text": ({"time": {"start": "2026-08-22T02:00:00"}}, "a time with its zone, such as 2026-08-22T02:00:00Z"),
    "naive time": ({"time": {"start": datetime(2026, 8, 22)}}, "a time with its zone"),
    "not a time": ({"time": {"start": "tomorrow"}}, '"elements" or a date and time'),
    "negative period": (
        {"communication": {"period_s": -1}},
        "[communication] period_s: expected a number above 0, got -1",
    ),
    "not a number": ({"communication": {"period_s": float("nan")}}, "expected a number above 0, got nan"),
    "quoted number": ({"communication": {"power_dbm": "50"}}, "expected a number, without quotes, got '50'"),
    "no users a satellite": ({"clustering": {"k_max": 0}}, "k_max: expected a whole number of at least 1, got 0"),
    "unknown parameter": ({"clustering": {"kmax": 3}}, "did you mean 'k_max'?"),
    "latitude": (
        {"users": {"centre_deg": [95, 11]}},
        "[users] centre_deg, item 1: expected a number of at most 90, got 95",
    ),
    "kind": ({"users": {"kind": "disc"}}, "'circle', 'sites' or 'grid', got 'disc'"),
    "other kind's key": ({"users": {"kind": "grid"}}, 'no centre_deg, which belongs to kind = "circle"'),
    "half a user": ({"users": {"count": 1.5}}, "got 1.5"),
    "mask": ({"users": {"mask_deg": 95}}, "expected a number of at most 89, got 95"),
    "algorithm": ({"clustering": {"algorithm": "cellfree"}}, "did you mean 'cell_free'?"),
    "choice": ({"clustering": {"algorithm": "best_satellite", "by": "speed", "candidates": 4}}, "got 'speed'"),
    "coherence": ({"communication": {"coherence": {"cross_terms": "perfect"}}}, "got 'perfect'"),
    "steps": ({"time": {"duration_s": 600.5}}, "a whole number of steps of 1 s, such as 600"),
    "two noises": ({"communication": {"noise_dbm": -94}}, "either noise_figure_db or noise_dbm, not both"),
    "seed": ({"seed": -1}, "seed: expected a number of at least 0, got -1"),
    "file": ({"elements": {"file": 3}}, "[elements] file"),
    "not a table": ({"handover": 3}, "[handover]"),
    "precoder without its service": ({"isac": {"algorithm": "rsma"}}, "[sensing] beside [isac]"),
    "no receiver": (
        {"sensing": {"targets": SENSING["targets"]}},
        "[sensing.receiver]: missing; expected a table [sensing.receiver]",
    ),
    "no targets": ({"sensing": {**SENSING, "targets": []}}, "[sensing.targets]: expected at least 1, got []"),
    "key of a target": (
        {"sensing": {**SENSING, "targets": [{"position_km": [1, 2, 3], "rcs_db": 3}]}},
        "[sensing.targets] rcs_db, item 1: unknown key; did you mean 'rcs_m2'?",
    ),
    "sub-arrays": (
        {"sensing": {**SENSING, "receiver": {"site_deg": [48, 11], "subarray": [5, 4]}}},
        "subarray to divide the array [32, 32], got [5, 4]",
    ),
    "dwell": ({"sensing": {**SENSING, "dwell_s": 2}}, "dwell_s of at most period_s, 1 s, got 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line(name):
    tables, expected = WRONG[name]
    with pytest.raises(ScenarioError) as caught:
        load_scenario(changed(**tables), label="demo.toml")
    message = str(caught.value)
    assert expected in message
    assert message.startswith("demo.toml: ")
    assert "\n" not in message


def test_several_faults_are_a_line_each():
    with pytest.raises(ScenarioError) as caught:
        load_scenario(changed(time={"step_s": 0}, users={"mask_deg": -1}))
    assert len(str(caught.value).splitlines()) == 2


def test_values_become_si_once():
    scenario = load_scenario("demo")
    radio = scenario.communication.radio(scenario.seed)
    assert radio.power_w == pytest.approx(100.0)
    assert radio.noise_w == pytest.approx(1.380649e-23 * 290 * 20e6 * 10**0.7)
    assert radio.antennas == 256
    assert scenario.time.epochs == 600
    assert scenario.time.step_ns == 1_000_000_000
    explicit = load_scenario(changed(communication={"noise_figure_db": None, "noise_dbm": -140.0}))
    assert explicit.communication.noise_w == pytest.approx(dbm_to_w(-140))


def test_the_resolved_scenario_reads_back_the_same():
    scenario = load_scenario("demo")
    again = load_scenario(scenario.as_dict(), base=scenario.base)
    assert again.as_dict() == scenario.as_dict()
    import tomllib

    assert tomllib.loads(scenarios.to_toml(scenario.as_dict())) == scenario.as_dict()


def test_changes_keep_the_rest():
    scenario = load_scenario("demo")
    other = scenario.with_(seed=5, clustering={"algorithm": "best_satellite", "by": "remaining"})
    module, params = other.algorithm("clustering")
    assert module.__name__ == "leosim.clustering.best_satellite"
    assert (params.by, params.k_max, other.seed) == ("remaining", 8, 5)
    assert other.users == scenario.users
    with pytest.raises(ScenarioError, match="k_max"):
        scenario.with_(clustering={"k_max": -3})


def test_a_time_in_another_zone_is_the_same_instant():
    scenario = load_scenario(changed(time={"start": "2026-08-22T04:00:00+02:00"}))
    assert scenario.time.start_utc == datetime(2026, 8, 22, 2, tzinfo=UTC)


def test_keys_set_on_a_command_line():
    data = copy.deepcopy(DEMO)
    scenarios.set_key(data, "clustering.k_max=4")
    scenarios.set_key(data, 'elements.include=["STARLINK*"]')
    scenarios.set_key(data, "communication.coherence.cross_terms=ideal")
    assert data["clustering"]["k_max"] == 4
    assert data["elements"]["include"] == ["STARLINK*"]
    assert data["communication"]["coherence"]["cross_terms"] == "ideal"
    for bad in ("k_max", "=3", "title.sub=1"):
        with pytest.raises(ScenarioError, match="--set"):
            scenarios.set_key(data, bad)


def test_an_algorithm_by_path(tmp_path):
    source = scenarios.PACKAGE / "clustering" / "cell_free.py"
    (tmp_path / "mine.py").write_text(source.read_text())
    scenario = load_scenario(changed(clustering={"algorithm": "./mine.py"}), base=tmp_path)
    module, params = scenario.algorithm("clustering")
    assert params.k_max == 8
    assert scenarios.algorithm_source(module)[0] == source.read_text()
    (tmp_path / "mine.py").write_text("x = 1\n")
    with pytest.raises(ScenarioError, match="lacks `Params`"):
        load_scenario(changed(clustering={"algorithm": "./mine.py"}), base=tmp_path)


@pytest.mark.parametrize("text", ["title = ", "\x00\xff", "[time]\nstep_s = 1\n[time]\n"])
def test_a_file_that_is_not_toml(tmp_path, text):
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ScenarioError, match=r"bad\.toml"):
        load_scenario(path)


def test_a_scenario_that_is_not_there():
    with pytest.raises(ScenarioError, match="did you mean 'demo'"):
        load_scenario("demmo")


def test_every_key_is_listed_with_a_meaning():
    rows = scenarios.list_keys()
    assert {"seed", "time.step_s", "clustering.k_max", "handover.access_slots"} <= {key for key, _, _ in rows}
    assert [key for key, _, meaning in rows if not meaning.strip() or meaning.endswith(": ")] == []
