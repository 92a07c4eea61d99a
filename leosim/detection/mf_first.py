"""The known waveform first: matched filter towards the prediction, then the direction from the compressed snapshot.

Compressing the dwell lifts the echo above the noise before its direction is told, so it is told with the bound's
accuracy at SNRs where the covariance matrix of the raw block, which MUSIC works with, holds no echo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from leosim import matched_filter, radar
from leosim.echo import Echo
from leosim.matched_filter import Prior
from leosim.records import BELOW_THRESHOLD, FOUND, REFUSED, Detection
from leosim.units import db_to_linear


@dataclass(frozen=True)
class Params:
    """Threshold, passes and suppression of the direct path."""

    threshold_db: float = field(default=13.0, metadata={"doc": "least SNR after the matched filter (dB)"})
    false_alarm: float = field(
        default=1e-2, metadata={"doc": "refused when noise alone would give the peak in the gate with this probability"}
    )
    passes: int = field(default=2, metadata={"doc": "matched filters, each towards the direction found before"})
    suppression: str = field(default="eca", metadata={"doc": "of the direct path: eca (subtracted) | none"})
    taps_before: int = field(default=2, metadata={"doc": "eca: samples earlier than the direct path"})
    taps_after: int = field(default=6, metadata={"doc": "eca: samples later; clutter asks for as many as it lasts"})

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"passes: expected at least 1, got {self.passes}")
        if not self.false_alarm > 0.0:
            raise ValueError(f"false_alarm: expected a positive probability, got {self.false_alarm!r}")
        if self.suppression not in ("eca", "none"):
            raise ValueError(f"suppression: expected eca or none, got {self.suppression!r}")
        if min(self.taps_before, self.taps_after) < 0:
            raise ValueError(f"taps: expected at least 0, got {self.taps_before} and {self.taps_after}")


def detect(echo: Echo, prior: Prior, params: Params) -> Detection:
    """The strongest echo in the gate of a prediction: direction, bistatic range, Doppler and their covariance.

    1. The block combined towards the predicted direction, the direct path projected off.
    2. Matched filter over the gate's delays, FFT over Doppler, then off the grid by exact fractional delays.
    3. The block compressed with the waveform sent there; direction by FFT and Newton's steps.
    4. Delay and Doppler refined again towards that direction, then the direction.
    The statistic is `|b^H z|^2 / ||b||^2` of the last snapshot z, its error the Cramer-Rao bound at that SNR. Below
    the threshold is status 1. Above it, but likelier than `false_alarm` to come from noise alone, exponential in each
    of the gate's cells of delay and Doppler and then of its beams, is status 2.
    """
    delays = matched_filter.delays_of(echo, prior)
    if not delays.size:
        return matched_filter.report(echo, BELOW_THRESHOLD, 0.0)
    basis = (
        matched_filter.direct_path(echo, params.taps_before, params.taps_after) if params.suppression == "eca" else None
    )
    arrival, doppler_hz = prior.value[:2], float(prior.value[3]) - echo.reference_hz
    row = matched_filter.without(matched_filter.beam(echo, arrival), basis)
    sent, knot = matched_filter.references(echo, arrival, delays)
    first, doppler_hz, cells = matched_filter.search(
        row, sent, knot, delays, echo.interval_s, doppler_hz, float(prior.gate[3])
    )
    wave, delay = sent[knot[first - delays[0]]], float(first)
    for turn in range(params.passes):
        if turn:
            row = matched_filter.without(matched_filter.beam(echo, arrival), basis)
            wave = echo.sent(echo.departure(matched_filter.position(echo, arrival, delay)))
        rounds = 2 if turn else 1
        delay, doppler_hz = matched_filter.refine(row, wave, delay, doppler_hz, echo.interval_s, rounds)
        snapshot = matched_filter.compress(echo, wave, delay, doppler_hz, basis)
        peaks = matched_filter.directions(echo, snapshot[:, None], prior, 1)
        if not len(peaks):
            return matched_filter.report(echo, BELOW_THRESHOLD, 0.0)
        arrival = peaks[0]
    b = radar.response(echo.receiver, arrival, echo.steered)
    statistic = float(abs(np.vdot(b, snapshot)) ** 2 / np.vdot(b, b).real)
    if statistic < db_to_linear(params.threshold_db):
        return matched_filter.report(echo, BELOW_THRESHOLD, statistic)
    if math.log(cells + matched_filter.beams_of(echo, prior)) - statistic > math.log(params.false_alarm):
        return matched_filter.report(echo, REFUSED, statistic)
    errors = matched_filter.covariance(echo, arrival, statistic)
    return matched_filter.report(echo, FOUND, statistic, arrival, delay, doppler_hz, errors)
