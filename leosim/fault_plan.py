"""From the [[faults]] tables of a scenario to what fails when: satellites by number, old elements as orbits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from leosim import elements, faults, orbit
from leosim.faults import NEVER_NS, Fault, Faults
from leosim.records import FAULT_KIND
from leosim.scenario import Scenario, ScenarioError
from leosim.units import s_to_ns


def old_elements(scenario: Scenario, flown: orbit.Ephemeris) -> dict[int, orbit.Ephemeris]:
    """The orbits of the satellites that fly by the old element sets of faults, by place in the scenario.

    flown : the true orbits
    Raises ElementsError for a file that cannot be read, ScenarioError for one without any of the satellites.
    """
    return {k: _old(scenario, k, flown) for k, table in enumerate(scenario.faults) if table.file is not None}


def _old(scenario: Scenario, k: int, flown: orbit.Ephemeris) -> orbit.Ephemeris:
    table, file = scenario.elements, str(scenario.faults[k].file)
    read = elements.read_elements([scenario.path(file)])
    known = np.isin(read.sat, flown.constellation.sat)
    if not known.any():
        raise ScenarioError(f"[faults] file, item {k + 1}: expected elements of the satellites that fly, got {file!r}")
    old = orbit.Ephemeris(
        read.select(known), flown.start_utc_ns, flown.end_utc_ns, mode=table.propagation, knot_s=table.knot_s
    )
    place = np.searchsorted(flown.constellation.sat, read.sat[known])
    return old if flown.fail_ns is None else old.with_failures(flown.fail_ns[place])


def faults_of(scenario: Scenario, flown: orbit.Ephemeris, old: Mapping[int, orbit.Ephemeris]) -> Faults:
    """The faults of a scenario, their satellites by catalogue number, with words for the log.

    flown : the true orbits; old : those of the faults of element sets, by their place in the scenario
    Raises ScenarioError for a satellite that is none of the constellation.
    """
    c, made = flown.constellation, []
    for k, table in enumerate(scenario.faults):
        begin_ns = s_to_ns(table.at_s)
        sats, text = None, ""
        if table.satellite is not None:
            try:
                sats = faults.satellites(c, table.satellite)
            except ValueError as error:
                raise ScenarioError(f"[faults] satellite, item {k + 1}: {error}") from None
            text = str(c.name[np.searchsorted(c.sat, sats[0])]) if sats.size == 1 else f"{sats.size} satellites"
        if table.late_s is not None:
            text = f"{table.late_s:g} s late"
        if k in old:
            text = faults.how_far(flown.at(begin_ns), old[k].at(begin_ns), sats)
        made.append(
            Fault(
                kind=next(code for code, name in FAULT_KIND.items() if name == table.kind),
                begin_ns=begin_ns,
                end_ns=NEVER_NS if table.duration_s is None else begin_ns + s_to_ns(table.duration_s),
                sats=sats,
                late_ns=s_to_ns(table.late_s or 0.0),
                text=text,
            )
        )
    return Faults(tuple(made))
