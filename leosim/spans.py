"""Beams as combinations of steering vectors: from weights a satellite to records, unit norm and turned.

What the beamformers share. A product of two steering vectors is real (their phase reference is the centre
of the array), so weights, Gram matrices and everything solved with them are real and never as large as the
array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from leosim.antenna import gram
from leosim.channel import Radio
from leosim.records import Beams, Csi


@dataclass(frozen=True)
class Sight:
    """One satellite: all users in view of it, and which of them it may serve.

    cosines : [user, cosine]; beta : [user] gain (1); gram : [user, user] products a_i^H a_j of their steering
    vectors; streams : [stream] their rows among those users
    """

    cosines: np.ndarray
    beta: np.ndarray
    gram: np.ndarray
    streams: np.ndarray


def sights(csi: Csi, radio: Radio) -> Iterator[Sight]:
    """Each satellite that may serve somebody, by catalogue number."""
    edges = np.flatnonzero(np.diff(csi.sat, prepend=-1, append=-1))
    for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        streams = np.flatnonzero(csi.candidate[first:end])
        if streams.size:
            cosines = csi.cosines[first:end]
            yield Sight(cosines, csi.beta[first:end], gram(cosines, radio.rows, radio.columns), streams)


def beams(csi: Csi, radio: Radio, weights: Callable[[Sight], np.ndarray]) -> Beams:
    """Beams with given weights on the steering vectors of the users in view.

    weights : of a satellite, [user, stream] real, of any length; 0 leaves a steering vector out. Each beam is
    scaled to unit norm and turned to a real positive useful coupling, `w <- w e^(i (phi - arg a^H w))`. One
    that is zero, not finite, or has lost all but 1e-12 of its power at its own user is replaced by sMRT.
    """
    cosines, direction_size, direction, coefficient, term_size = [], [], [], [], []
    for sight in sights(csi, radio):
        given, own = weights(sight), np.arange(sight.streams.size)
        with np.errstate(divide="ignore", invalid="ignore"):
            at_users = sight.gram @ given / np.abs(given).max(axis=0)  # a^H w of every user in view
            scaled = given / np.abs(given).max(axis=0)
            power = np.einsum("us,us->s", scaled, at_users)
            useful = at_users[sight.streams, own]
            good = np.isfinite(power) & (power > 0.0) & (useful**2 > 1e-12 * power * radio.antennas)
            scaled = scaled * np.where(useful < 0.0, -1.0, 1.0) / np.sqrt(power / radio.antennas)
        scaled[:, ~good] = 0.0
        scaled[sight.streams[~good], own[~good]] = 1.0
        used = scaled != 0.0
        kept = np.flatnonzero(used.any(axis=1))
        stream, row = np.nonzero(used[kept].T)
        cosines.append(sight.cosines[kept])
        direction_size.append(kept.size)
        direction.append(row)
        coefficient.append(scaled[kept[row], stream])
        term_size.append(used.sum(axis=0))
    serves = csi.candidate.astype(bool)
    sat, stream_size = np.unique(csi.sat[serves], return_counts=True)
    return Beams(
        t_ns=csi.t_ns,
        sat=sat,
        direction_size=np.array(direction_size),
        stream_size=stream_size,
        cosines=np.concatenate([np.empty((0, 2)), *cosines]),
        user=csi.user[serves],
        phase_rad=csi.phase_rad[serves],
        term_size=np.concatenate([np.empty(0), *term_size]),
        direction=np.concatenate([np.empty(0), *direction]),
        coefficient=np.concatenate([np.empty(0), *coefficient]),
    )


def regularised(sight: Sight, counted: np.ndarray, snr: np.ndarray) -> np.ndarray:
    """Weights of `(sum_i snr_i a_i a_i^H + I)^-1 a_k` over the users counted, of each stream: [user, stream].

    In the span this is `S^(1/2) (S^(1/2) G S^(1/2) + I)^-1 e_k` but for its length, S = diag(snr), G = A^H A:
    symmetric and well conditioned, however many users there are and however close. Streams are counted.

    counted : rows of users; snr : [user] of one antenna (1)
    """
    root = np.sqrt(snr[counted])
    matrix = root[:, None] * sight.gram[np.ix_(counted, counted)] * root
    matrix[np.diag_indices_from(matrix)] += 1.0
    wanted = np.zeros((counted.size, sight.streams.size))
    wanted[np.searchsorted(counted, sight.streams), np.arange(sight.streams.size)] = 1.0
    out = np.zeros((sight.beta.size, sight.streams.size))
    out[counted] = root[:, None] * np.linalg.solve(matrix, wanted)
    return out
