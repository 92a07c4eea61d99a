"""The paper's chain: MUSIC tells the direction from the raw block, a matched filter towards it delay and Doppler.

Section IV, Park et al. 2024, behind a projection that takes the direct path out. MUSIC has a threshold: below
`N snr = sqrt(N / L)` the covariance matrix of the block holds no trace of the echo (Baik, Ben Arous, Peche 2005,
doi:10.1214/009117905000000233), and the detector refuses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import eigh_tridiagonal

from leosim import matched_filter, radar
from leosim.echo import Echo
from leosim.matched_filter import Prior
from leosim.records import BELOW_THRESHOLD, FOUND, REFUSED, Detection
from leosim.units import db_to_linear


@dataclass(frozen=True)
class Params:
    """Sources, thresholds and suppression of the direct path."""

    sources: int = field(default=1, metadata={"doc": "echoes the block may hold: dimensions of the signal subspace"})
    threshold_db: float = field(default=13.0, metadata={"doc": "least SNR after the matched filter (dB)"})
    above_noise: float = field(
        default=4.0,
        metadata={"doc": "refused when the largest eigenvalue is not so many deviations above that of noise alone"},
    )
    suppression: str = field(default="eca", metadata={"doc": "of the direct path: eca (subtracted) | none"})
    taps_before: int = field(default=2, metadata={"doc": "eca: samples earlier than the direct path"})
    taps_after: int = field(default=6, metadata={"doc": "eca: samples later; clutter asks for as many as it lasts"})
    tolerance: float = field(default=3e-3, metadata={"doc": "residual of the eigenvectors over their eigenvalue"})
    steps: int = field(default=40, metadata={"doc": "limit of Lanczos's steps"})

    def __post_init__(self) -> None:
        for name in ("sources", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.suppression not in ("eca", "none"):
            raise ValueError(f"suppression: expected eca or none, got {self.suppression!r}")
        if min(self.taps_before, self.taps_after) < 0:
            raise ValueError(f"taps: expected at least 0, got {self.taps_before} and {self.taps_after}")


def detect(echo: Echo, prior: Prior, params: Params) -> Detection:
    """The echo in the gate of a prediction whose direction is nearest to it, and the covariance of what is told.

    1. The largest eigenvectors of the covariance matrix, Eq. (42), the direct path projected off.
    2. Directions where the steering vector lies closest to their span, Eq. (43) (whose U_n is V_n).
    3. Algorithm 2: the block combined towards the one nearest to the prediction; for each delay its ellipse, hence
       departure and reference; FFT over Doppler. Then off the grid by exact fractional delays.
    Eigenvalues that noise alone may reach count as no source; without one the status is 2, refused. The direction's
    covariance is MUSIC's own, `told_snr`, above the Cramer-Rao bound.
    """
    delays = matched_filter.delays_of(echo, prior)
    if not delays.size:
        return matched_filter.report(echo, BELOW_THRESHOLD, 0.0)
    basis = (
        matched_filter.direct_path(echo, params.taps_before, params.taps_after) if params.suppression == "eca" else None
    )
    channels, snapshots = echo.block.shape
    values, vectors = principal(echo, basis, prior, params)
    mean, deviation = noise_edge(channels, snapshots)
    held = values > mean + params.above_noise * deviation
    if not held.any():
        return matched_filter.report(echo, REFUSED, 0.0)
    peaks = matched_filter.directions(echo, vectors[:, held], prior, int(held.sum()))
    if not len(peaks):
        return matched_filter.report(echo, BELOW_THRESHOLD, 0.0)
    arrival = peaks[np.argmin(np.linalg.norm((peaks - prior.value[:2]) / prior.gate[:2], axis=1))]
    row = matched_filter.without(matched_filter.beam(echo, arrival), basis)
    sent, knot = matched_filter.references(echo, arrival, delays)
    first, doppler_hz, _ = matched_filter.search(
        row, sent, knot, delays, echo.interval_s, float(prior.value[3]) - echo.reference_hz, float(prior.gate[3])
    )
    wave = sent[knot[first - delays[0]]]
    delay, doppler_hz = matched_filter.refine(row, wave, float(first), doppler_hz, echo.interval_s, 3)
    statistic = matched_filter.output(row, wave, delay, doppler_hz, echo.interval_s, basis)
    if statistic < db_to_linear(params.threshold_db):
        return matched_filter.report(echo, BELOW_THRESHOLD, statistic)
    angle_snr = told_snr(statistic - 1.0, channels, snapshots)
    errors = matched_filter.covariance(echo, arrival, statistic, angle_snr)
    return matched_filter.report(echo, FOUND, statistic, arrival, delay, doppler_hz, errors)


def noise_edge(channels: int, snapshots: int) -> tuple[float, float]:
    """Largest eigenvalue of the covariance matrix of noise alone: mean and standard deviation (1).

    The edge `(1 + sqrt(N/M))^2` and the Tracy-Widom law of complex noise about it (mean -1.77, deviation 0.90 of its
    scale): Johansson 2000, doi:10.1007/s002200050027.
    """
    n, m = math.sqrt(channels), math.sqrt(snapshots)
    scale = (n + m) * (1.0 / n + 1.0 / m) ** (1.0 / 3.0) / snapshots
    return (n + m) ** 2 / snapshots - 1.7711 * scale, 0.9018 * scale


def told_snr(snr: float, channels: int, snapshots: int) -> float:
    """SNR after compression that a direction from the largest eigenvector is worth, at that of the echo itself.

    With l = snr / M a snapshot and g = N / M, a share `(1 - g / l^2) / (1 + g / l)` of the eigenvector is signal
    (Paul 2007, Statistica Sinica 17), so that the variance is the Cramer-Rao bound times `l (l + 1) / (l^2 - g)`.
    It is without bound at the threshold l = sqrt(g), and taken from 1 % above it at the least.
    """
    g = channels / snapshots
    l = max(snr / snapshots, 1.01 * math.sqrt(g))
    return snr * (l * l - g) / (l * (l + 1.0))


def principal(echo: Echo, basis: np.ndarray | None, prior: Prior, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues and eigenvectors of `Y Y^H / M` by Lanczos from the predicted direction: [k], [channel, k].

    Each step reads the block twice and nothing is ever squared; the vectors are kept orthogonal in full.
    """
    channels, snapshots = echo.block.shape
    start = radar.response(echo.receiver, prior.value[:2], echo.steered)
    steps, count = min(params.steps, channels), min(params.sources, channels)
    found = np.empty((steps + 1, channels), dtype=complex)
    found[0] = start / np.linalg.norm(start)
    diagonal, beside = np.empty(steps), np.empty(steps)
    for step in range(steps):
        row = matched_filter.without(found[step].conj().astype(np.complex64) @ echo.block, basis)
        new = (echo.block @ row.conj()).astype(complex) / snapshots
        diagonal[step] = np.vdot(found[step], new).real
        for _ in range(2):
            new -= found[: step + 1].T @ (found[: step + 1].conj() @ new)
        beside[step] = np.linalg.norm(new)
        values, inner = eigh_tridiagonal(diagonal[: step + 1], beside[:step])
        values, inner = values[::-1][:count], inner[:, ::-1][:, :count]
        residual = beside[step] * np.abs(inner[-1])
        done = step + 1 >= count and bool(np.all(residual < params.tolerance * values))
        if done or beside[step] < 1e-6 * values[0]:
            break
        found[step + 1] = new / beside[step]
    return values, found[: step + 1].T @ inner
