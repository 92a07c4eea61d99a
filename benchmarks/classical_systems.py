"""Cell-free clusters against the classical one-satellite systems: the same pass, the same seeds.

    python benchmarks/classical_systems.py ELEMENTS [--seeds 10] [--duration-s 600] [--output FOLDER]

A seed places the users and draws line of sight and K-factors; each system runs every seed, so the
differences to cell-free are paired. Prints a Markdown table: means with the half width of their 95 %
confidence interval (Student's t over seeds), and below it the paired differences. Finished logs are reused.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student

import leosim
from leosim.report.summary import summary

SYSTEMS = {
    "cell-free, 8 users a satellite": {"algorithm": "cell_free"},
    "the same, few changes (1 %)": {"algorithm": "handover_aware", "give_up": 0.01},
    "highest satellite": {
        "algorithm": "best_satellite",
        "by": "elevation",
        "hysteresis": 5.0,
        "time_to_trigger_s": 1.0,
    },
    "best rate": {"algorithm": "best_satellite", "by": "rate", "hysteresis": 0.3, "time_to_trigger_s": 1.0},
    "best rate, equal powers": {
        "algorithm": "best_satellite",
        "by": "rate",
        "hysteresis": 0.3,
        "time_to_trigger_s": 1.0,
        "power": "uniform",
    },
    "longest in view": {"algorithm": "best_satellite", "by": "remaining", "hysteresis": 600.0},
}
COLUMNS = {
    "min rate": "least rate of an epoch's users, mean over the pass (bit/s/Hz)",
    "5 % rate": "5 % point of the rate over users and epochs (bit/s/Hz)",
    "sum rate": "sum over users, mean over the pass (bit/s/Hz)",
    "soft": "soft handovers a user-minute",
    "hard": "hard handovers a user-minute",
    "joins": "satellites that join a user's set, a user-minute",
    "active": "satellites that transmit, mean over the pass",
    "outage": "share of time without an active satellite (%)",
}


def one(task: tuple[str, int, str, float, str, dict]) -> dict[str, float | str]:
    """One run of one system with one seed."""
    system, seed, elements, duration_s, folder, changes = task
    scenario = leosim.load_scenario("starlink_pass").with_(
        seed=seed,
        time={"duration_s": duration_s},
        elements={"file": elements},
        clustering=SYSTEMS[system],
        **changes,
    )
    output = Path(folder) / f"{system.replace(' ', '-')}-{seed}.h5"
    with leosim.run(scenario, output, force=not output.exists()) as log:
        rate, found = log.rates["hardening"], summary(log).as_dict()
        return {
            "system": system,
            "seed": seed,
            "min rate": float(rate.min(axis=1).mean()),
            "5 % rate": float(np.quantile(rate, 0.05)),
            "sum rate": float(rate.sum(axis=1).mean()),
            "soft": found["soft_per_user_minute"],
            "hard": found["hard_per_user_minute"],
            "joins": found["joins_per_user_minute"],
            "active": float(
                np.mean([np.unique(row.sat).size for row in map(log.clusters.row, range(len(log.clusters)))])
            ),
            "outage": 100 * float(log.rates["outage_s"].sum()) / (rate.size * duration_s / len(log.rates)),
        }


def half_width(values: pd.Series) -> float:
    """Half width of the 95 % confidence interval of a mean."""
    return float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def table(rows: pd.DataFrame) -> str:
    """Means with confidence intervals, systems by columns of COLUMNS, as Markdown."""
    lines = [f"| system | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for system, group in rows.groupby("system", sort=False):
        cells = [f"{group[c].mean():.2f} ± {half_width(group[c]):.2f}" for c in COLUMNS]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("elements", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--duration-s", type=float, default=600.0)
    parser.add_argument("--cross-terms", default="averaged")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("outputs/classical"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    changes = {"communication": {"coherence": {"cross_terms": options.cross_terms}}}
    tasks = [
        (system, seed, str(options.elements.resolve()), options.duration_s, str(options.output), changes)
        for seed in range(1, options.seeds + 1)
        for system in SYSTEMS
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = pd.DataFrame(list(pool.map(one, tasks)))
    rows.to_csv(options.output / "rows.csv", index=False)
    print(table(rows))
    print()
    wide = rows.set_index(["seed", "system"])
    reference = wide.xs(next(iter(SYSTEMS)), level="system")
    difference = pd.concat(
        {s: wide.xs(s, level="system") - reference for s in list(SYSTEMS)[1:]}, names=["system"]
    ).reset_index()
    print("Paired differences to cell-free:\n")
    print(table(difference))
    print()
    for name, meaning in COLUMNS.items():
        print(f"- {name}: {meaning}")


if __name__ == "__main__":
    main()
