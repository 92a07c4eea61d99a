"""Least rates by precoder, on a shipped scenario: the table of docs/beams.md.

python benchmarks/precoders.py [--scenario demo] [--duration-s 60] [--cross-terms averaged]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import leosim

PRECODERS: dict[str, dict[str, object]] = {
    "smrt": {},
    "szf": {},
    "szf, separation 1e-6": {"separation": 1e-6},
    "rzf": {},
    "slnr, leakage all": {},
    "imrt": {},
    "spot_beam": {},
}


def main() -> None:
    """Run each and print the rows as they come."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scenario", default="demo")
    options.add_argument("--duration-s", type=float, default=60.0)
    options.add_argument("--cross-terms", nargs="+", default=["averaged"])
    chosen = options.parse_args()
    print("| precoder | clustering | cross terms | least | 5 % | median | beam handovers a user-minute |")
    print("|---|---|---|---|---|---|---|")
    for cross_terms in chosen.cross_terms:
        for clustering in ("cell_free", "best_satellite"):
            for name, settings in PRECODERS.items():
                scenario = leosim.load_scenario(chosen.scenario).with_(
                    time={"duration_s": chosen.duration_s},
                    communication={"coherence": {"cross_terms": cross_terms}},
                    clustering={"algorithm": clustering},
                    beamforming={"algorithm": name.split(",")[0], **settings},
                )
                with tempfile.TemporaryDirectory() as folder, leosim.run(scenario, Path(folder) / "run.h5") as log:
                    found = log.summary().communication
                rate = found.hardening
                numbers = (rate.least, rate.low, rate.median, found.beam_per_user_minute)
                row = " | ".join([name, clustering, cross_terms, *(f"{x:.2f}" for x in numbers)])
                print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
