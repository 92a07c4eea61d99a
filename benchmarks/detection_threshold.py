"""MUSIC's threshold: errors of both detectors over roots of the Cramer-Rao bound, against N snr of a sample.

    python benchmarks/detection_threshold.py [--trials 100] [--figure FILE]

The published setup (32 x 32 antennas, 4,096 samples, direct path 67 dB above the echo), nothing refused and the whole
sky searched. Prints the Markdown table of docs/detection.md and draws its figure.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import radar_scene

from leosim import radar
from leosim.detection import mf_first, music_mf

N_SNR = (0.1, 0.15, 0.23, 0.33, 0.433, 0.6, 0.867, 1.3, 2.0, 4.3, 8.0)
CHAINS = {
    "mf_first": (mf_first, mf_first.Params(threshold_db=-30.0, false_alarm=math.inf)),
    "music_mf": (music_mf, music_mf.Params(threshold_db=-30.0, above_noise=-math.inf)),
}
PREDICTED_OFF = (0.004, -0.003, 60.0, 400.0)
OUTLIER = 2.0 / 32.0  # a direction off by more than a beam of the receiver is no estimate of this target


def point(scene: radar_scene.Scene, n_snr: float, trials: int) -> dict[str, tuple[float, ...]]:
    """Of each chain: outliers (share), then errors of the rest over roots of the bound: direction, range, Doppler."""
    power = scene.power_for(n_snr)
    snr = scene.snr(power)
    angle = math.sqrt(radar.angle_covariance(scene.site, snr, scene.seen().arrival)[0, 0])
    cell = math.sqrt(1.5 / (n_snr * scene.samples)) / math.pi
    roots = np.array([angle, angle, cell * radar_scene.SAMPLE_M, cell / (scene.samples * 1e-7)])
    off: dict[str, list[np.ndarray]] = {name: [] for name in CHAINS}
    for seed in range(trials):
        heard = scene.receive(power, scene.reception(), seed)
        prior = scene.prior(off=PREDICTED_OFF, gate=(2.1, 2.1, 600.0, 30e3))
        for name, (chain, params) in CHAINS.items():
            off[name].append(chain.detect(heard, prior, params).value - scene.truth())
    out = {}
    for name, each in off.items():
        error = np.array(each)
        away = np.abs(error[:, :2]).max(axis=1) > OUTLIER
        rms = np.sqrt(np.mean(np.square(error[~away] / roots), axis=0)) if (~away).sum() > 4 else np.full(4, math.nan)
        out[name] = (float(away.mean()), math.hypot(rms[0], rms[1]) / math.sqrt(2.0), float(rms[2]), float(rms[3]))
    return out


def main() -> None:
    """Run every point, print the rows as they come and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    scene = radar_scene.paper()
    rows = {}
    print("| N snr | music_mf: outliers | direction | by theory | mf_first: outliers | direction | range | Doppler |")
    print("|---|---|---|---|---|---|---|---|")
    with threadpool_limits(1):
        for n_snr in N_SNR:
            rows[n_snr] = found = point(scene, n_snr, options.trials)
            music, first = found["music_mf"], found["mf_first"]
            cells = [music[0], music[1], expected(scene, n_snr), *first]
            print(f"| {n_snr:g} | " + " | ".join(f"{c:.2f}" for c in cells) + " |", flush=True)
    if options.figure:
        print(draw(rows, scene, options.figure))


def expected(scene: radar_scene.Scene, n_snr: float) -> float:
    """Root of MUSIC's variance over the bound by theory; nan below the threshold."""
    channels, snapshots = scene.site.rows * scene.site.columns, scene.samples + 89
    if n_snr * scene.samples / snapshots <= math.sqrt(channels / snapshots):
        return math.nan
    snr = n_snr * scene.samples
    return math.sqrt(snr / music_mf.told_snr(snr, channels, snapshots))


def draw(rows: dict[float, dict[str, tuple[float, ...]]], scene: radar_scene.Scene, path: Path) -> Path:
    """Errors of the direction over roots of the bound above, outliers below."""
    figure, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(6.4, 5.2), height_ratios=(2, 1))
    x = np.array(list(rows))
    for name, marker in (("music_mf", "s"), ("mf_first", "o")):
        values = np.array([rows[n][name] for n in rows])
        told = values[:, 0] < 0.5  # of fewer, an error within a beam is chance
        (line,) = top.plot(x[told], values[told, 1], marker, label=name)
        bottom.plot(x, 100.0 * values[:, 0], marker + "-", color=line.get_color())
    fine = np.geomspace(x[0], x[-1], 400)
    top.plot(fine, [expected(scene, n) for n in fine], "-", color="C0", label="music_mf, theory")
    threshold = math.sqrt(scene.site.rows * scene.site.columns / scene.samples)
    for ax in (top, bottom):
        ax.axvline(threshold, color="0.6", linestyle=":")
        ax.grid(alpha=0.3)
    top.axhline(1.0, color="0.3", linewidth=0.8)
    top.set(xscale="log", yscale="log", ylim=(0.7, 30.0), ylabel="RMSE of the direction / bound")
    top.legend()
    bottom.set(xlabel=r"$N \cdot$snr of a sample", ylabel="outliers (%)", ylim=(-5.0, 105.0))
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    return path


if __name__ == "__main__":
    main()
