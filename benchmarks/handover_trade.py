"""Handover-aware clusters: joins and leaves against the least rate, over `give_up`, on a real pass.

    python benchmarks/handover_trade.py ELEMENTS [--duration-s 600] [--output FOLDER] [--figure FILE] [--timing]

Every setting flies the same pass with the same users, seed and candidates as the memoryless `cell_free` that it
is compared with. Prints a Markdown table of each case and draws the curves. Finished logs are reused.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

import leosim
from leosim import processes, simulation
from leosim.clustering import cell_free, handover_aware
from leosim.records import Clusters
from leosim.report import curves
from leosim.report.summary import summary

GIVE_UP = (0.01, 0.02, 0.05, 0.1, 0.2)
WITHOUT = "without memory"
CASES = {
    "Rician, ideal": {"channel": "rician", "coherence": {"cross_terms": "ideal"}},
    "TR 38.811, averaged": {"channel": "tr38811", "coherence": {"cross_terms": "averaged"}},
}
CHANGES = "joins and leaves a user-minute"
KEPT = "least rate kept (% of the memoryless)"


def one(task: tuple[str, str, float | None, str, float, int, str]) -> dict[str, object]:
    """One run of one setting: rates, handovers and times, and the least rate of each epoch."""
    case, scenario, give_up, elements, duration_s, candidates, folder = task
    algorithm = {"algorithm": "cell_free"} if give_up is None else {"algorithm": "handover_aware", "give_up": give_up}
    made = leosim.load_scenario(scenario).with_(
        time={"duration_s": duration_s},
        communication=CASES[case],
        clustering={**algorithm, "candidates": candidates},
        **({"elements": {"file": elements}} if elements else {}),
    )
    name = f"{scenario}-{case}-{candidates}-{WITHOUT if give_up is None else give_up}".replace(" ", "-").replace(
        ",", ""
    )
    output = Path(folder) / f"{name}.h5"
    with leosim.run(made, output, force=not output.exists()) as log:
        found, rate = summary(log).as_dict(), log.rates["hardening"]
        return {
            "case": case,
            "give_up": WITHOUT if give_up is None else f"{100 * give_up:g} %",
            "changes": found["joins_per_user_minute"] + found["leaves_per_user_minute"],
            "soft": found["soft_per_user_minute"],
            "hard": found["hard_per_user_minute"],
            "least": rate.min(axis=1),
            "mean": float(rate.mean()),
            "members": log.clusters.size("pair").mean() / rate.shape[1],
            "stay": found["stay_s"],
            "inaccurate": int((log.solver["status"] > 1).sum()),
        }


def table(rows: pd.DataFrame) -> str:
    """The rows of one case as Markdown; losses against its first row."""
    first = rows.iloc[0]
    lines = [
        "| give up | joins + leaves a user-minute | soft | hard | least rate (bit/s/Hz) | given up (%) "
        "| worst epoch (%) | mean rate (bit/s/Hz) | members a user | mean stay (s) | inaccurate |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for _, row in rows.iterrows():
        lost = 100 * (1 - row.least.mean() / first.least.mean())
        worst = 100 * np.max(1 - row.least / first.least)
        lines.append(
            f"| {row.give_up} | {row.changes:.1f} | {row.soft:.1f} | {row.hard:.2f} | {row.least.mean():.2f} "
            f"| {lost:.2f} | {worst:.1f} | {row['mean']:.2f} | {row.members:.1f} | {row.stay:.0f} "
            f"| {row.inaccurate} |"
        )
    return "\n".join(lines)


def cpu_ratio(case: str, scenario: str, give_up: float, elements: str, candidates: int, epochs: int = 60) -> str:
    """CPU time of a decision against `cell_free`, both on the same views by turns, each with its own memory."""
    made = leosim.load_scenario(scenario).with_(
        communication=CASES[case],
        clustering={"algorithm": "handover_aware", "give_up": give_up, "candidates": candidates},
        **({"elements": {"file": elements}} if elements else {}),
    )
    ready = simulation.prepare(made)
    s, params = ready.settings, ready.settings.clustering[1]
    policies = ((cell_free, cell_free.Params(candidates=candidates)), (handover_aware, params))
    memory: list[Clusters | None] = [None, None]
    spent = np.zeros((epochs, 2))
    for k in range(epochs):
        _, csi = simulation.observe(ready.world, s, k * s.step_ns)
        beams = s.beamforming[0].beams(csi, s.beamforming[1], ready.world.radio)
        view = processes.view(csi, beams, k * s.step_ns, ready.users.name.size, ready.world.radio, s.coherence)
        for i, (module, settings) in enumerate(policies):
            begun = time.process_time()
            memory[i], _ = module.cluster(view, memory[i], settings)
            spent[k, i] = 1e3 * (time.process_time() - begun)
    free, aware = np.median(spent[5:], axis=0)
    return f"{case}, give_up {give_up:g}: {aware:.1f} ms against {free:.1f} ms a decision, {aware / free:.2f} times"


def main() -> None:
    """Run what is not there yet, print the tables and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("elements", type=Path, nargs="?", help="left out: the shipped Walker set")
    parser.add_argument("--duration-s", type=float, default=600.0)
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--give-up", type=float, nargs="+", default=GIVE_UP)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("outputs/handover-trade"))
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--timing", action="store_true", help="only the CPU time of a decision")
    options = parser.parse_args()
    elements = str(options.elements.resolve()) if options.elements else ""
    scenario = "starlink_pass" if elements else "demo"
    if options.timing:
        for case in options.cases:
            for give_up in options.give_up:
                print(cpu_ratio(case, scenario, give_up, elements, options.candidates))
        return
    options.output.mkdir(parents=True, exist_ok=True)
    about = (elements, options.duration_s, options.candidates, str(options.output))
    tasks = [(case, scenario, g, *about) for case in options.cases for g in (None, *options.give_up)]
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = pd.DataFrame(list(pool.map(one, tasks)))
    for case, group in rows.groupby("case", sort=False):
        print(f"{case}:\n\n{table(group)}\n")
    mean = rows.least.map(np.mean)
    rows[KEPT] = 100 * mean / mean.groupby(rows.case).transform("first")
    rows[CHANGES] = rows.changes
    rows.drop(columns="least").to_csv(options.output / "rows.csv", index=False)
    if options.figure:
        ax = curves.trade(
            rows,
            CHANGES,
            KEPT,
            by="case",
            label="give_up",
            title="What a quiet serving set costs",
            details=(
                f"{options.duration_s:g} s over Munich, ten users",
                f"{options.candidates} candidates",
                "points: give_up",
            ),
        )
        print(curves.save(ax, options.figure))


if __name__ == "__main__":
    main()
