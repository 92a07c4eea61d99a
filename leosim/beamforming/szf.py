"""Statistical zero forcing: each stream silent at the users that would hear most of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from leosim import spans
from leosim.channel import Radio
from leosim.records import Beams, Csi


@dataclass(frozen=True)
class Params:
    """Which users are nulled.

    m : so many at most, less than the antennas; 0: half of them. separation : a user is left out whose steering
    vector has less than this share of its power outside the span of those taken before.
    """

    m: int = field(default=0, metadata={"doc": "most users a satellite nulls; 0: half its antennas"})
    separation: float = field(
        default=0.1, metadata={"doc": "least share of power a user's steering vector has outside the others' span"}
    )

    def __post_init__(self) -> None:
        if isinstance(self.m, bool) or not isinstance(self.m, int) or self.m < 0:
            raise ValueError(f"m: expected a whole number of at least 0, got {self.m!r}")
        if isinstance(self.separation, bool) or not isinstance(self.separation, int | float):
            raise ValueError(f"separation: expected a number, got {self.separation!r}")
        if not 1e-6 <= self.separation < 1.0:
            raise ValueError(f"separation: expected from 1e-6 to below 1, got {self.separation!r}")


def beams(csi: Csi, params: Params, radio: Radio) -> Beams:
    """Unit-norm beams `w_k ~ A (A^H A)^-1 e_k`, Eq. (11), Kim et al. 2024, over a set of users in view.

    The set takes users by strength: first those the satellite may serve, then by
    `beta_i sum_{j != i} |a_i^H a_j|^2` over its streams j, the power that sMRT would leave at user i and a null
    there saves. Nulls at m users in no particular place cost m/N of the useful power, hence half the antennas
    as the limit; a null beside a stream's own user costs nearly all of it, hence `separation`. The paper nulls
    everybody (separation 1e-6 comes near), and says nothing of the case of more users than antennas.

    Inside the set couplings are zero. A stream of a user left out is nulled at the set but for its nearest
    members, as many as it takes to keep `separation` of its power. Couplings to all others are what they
    are. Raises nothing.
    """
    most = min(params.m or max(1, radio.antennas // 2), radio.antennas - 1)

    def weights(sight: spans.Sight) -> np.ndarray:
        return _weights(sight, most, params.separation * radio.antennas)

    return spans.beams(csi, radio, weights)


def _weights(sight: spans.Sight, most: int, least: float) -> np.ndarray:
    power = sight.gram[:, sight.streams] ** 2
    power[sight.streams, np.arange(sight.streams.size)] = 0.0
    served = np.zeros(sight.beta.size, dtype=bool)
    served[sight.streams] = True
    rank = np.lexsort((-sight.beta * power.sum(axis=1), ~served))
    nulled = _independent(sight.gram, rank, most, least)
    out = np.zeros((sight.beta.size, sight.streams.size))
    inverse = np.linalg.inv(sight.gram[np.ix_(nulled, nulled)])
    place = np.full(sight.beta.size, -1)
    place[nulled] = np.arange(nulled.size)
    inside = place[sight.streams] >= 0
    out[np.ix_(nulled, inside)] = inverse[:, place[sight.streams[inside]]]
    for stream in np.flatnonzero(~inside):
        out[:, stream] = _outside(sight.gram, nulled, sight.streams[stream], least)
    return out


@njit(cache=True, nogil=True)
def _outside(gram: np.ndarray, nulled: np.ndarray, own: int, least: float) -> np.ndarray:
    """Weights of a beam for a user outside the set: nulled at its farthest members, while `least` power is left."""
    others = nulled[np.argsort(np.abs(gram[own, nulled]), kind="mergesort")]
    factor, towards = np.zeros((others.size, others.size)), np.empty(others.size)  # Cholesky; a solve with it
    left, count = gram[own, own], 0
    for i in range(others.size):
        for j in range(i + 1):
            value = gram[others[i], others[j]]
            for m in range(j):
                value -= factor[i, m] * factor[j, m]
            factor[i, j] = np.sqrt(value) if i == j else value / factor[j, j]
        value = gram[own, others[i]]
        for m in range(i):
            value -= factor[i, m] * towards[m]
        towards[i] = value / factor[i, i]
        if left - towards[i] ** 2 < least:
            break
        left -= towards[i] ** 2
        count += 1
    out = np.zeros(gram.shape[0])
    out[own] = 1.0
    for i in range(count - 1, -1, -1):
        for m in range(i + 1, count):
            towards[i] -= factor[m, i] * towards[m]
        towards[i] /= factor[i, i]
        out[others[i]] = -towards[i]
    return out


@njit(cache=True, nogil=True)
def _independent(gram: np.ndarray, rank: np.ndarray, most: int, least: float) -> np.ndarray:
    """The first `most` users of a ranking whose steering vectors have `least` power outside the others' span."""
    rows = np.empty((min(most, rank.size), rank.size))  # of the Cholesky factor of the Gram matrix, by user
    chosen, count = np.empty(rows.shape[0], dtype=np.int64), 0
    for user in rank:
        if count == chosen.size:
            break
        left = gram[user, user]
        for i in range(count):
            left -= rows[i, user] ** 2
        if left < least:
            continue
        for other in range(rank.size):
            value = gram[user, other]
            for i in range(count):
                value -= rows[i, user] * rows[i, other]
            rows[count, other] = value / np.sqrt(left)
        chosen[count] = user
        count += 1
    return chosen[:count]
