"""Rates of rate splitting: a common stream every user decodes first, and a private stream a user.

Statistical CSI and Monte Carlo over the fading, on plain arrays of received powers; the closed-form split.
"""

from __future__ import annotations

import math

import numpy as np


def rates(gain: np.ndarray, cancelled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Private and common rate of each user in statistical CSI, Eqs. (16), (17), Park et al. 2024.

    `R_c,k = log2(1 + q_kc / (sum_j q_kj + d q_kR + 1))`, `R_p,k` likewise without j = k and without the common
    stream; d = 0 when users cancel the radar sequence.

    gain : [..., user, stream] received power over noise, streams: private ones in order of users, common, radar
    Returns private [..., user], common [..., user] (bit/s/Hz). Raises ValueError unless streams are users + 2.
    """
    users = gain.shape[-2]
    if gain.shape[-1] != users + 2:
        raise ValueError(f"gain: expected [..., user, user + 2], got shape {gain.shape}")
    own = np.diagonal(gain[..., :users], axis1=-2, axis2=-1)
    everything = gain[..., :users].sum(axis=-1) + 1.0
    if not cancelled:
        everything = everything + gain[..., users + 1]
    private = np.log1p(own / (everything - own)) / math.log(2.0)
    common = np.log1p(gain[..., users] / everything) / math.log(2.0)
    return private, common


def split(private: np.ndarray, common: float) -> tuple[np.ndarray, float]:
    """The split of a common rate that is best for the least user: water poured over the private rates.

    private : [user] (bit/s/Hz); common : rate all users can decode (bit/s/Hz)
    Returns C [user], `C >= 0`, `sum C = common`, and the least `private + C`; ([], inf) for nobody.
    """
    if not private.size:
        return np.empty(0), math.inf
    rising = np.sort(private)
    level = (common + np.cumsum(rising)) / np.arange(1, rising.size + 1)
    wet = int(np.flatnonzero(level > rising)[-1]) if np.any(level > rising) else 0
    share = np.maximum(level[wet] - private, 0.0)
    return share, float(np.min(private + share))


def ergodic_rates(
    gain: np.ndarray, cancelled: bool, kappa: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Private and common rates averaged over the Rician fading of each user by Monte Carlo.

    The channel of a user is one random scalar times its steering vector, so a draw scales all it receives:
    `x = |sqrt(kappa / (kappa + 1)) + alpha / sqrt(kappa + 1)|^2`, alpha ~ CN(0, 1), mean 1.

    gain : [user, stream] as in `rates`; kappa : [user] Rician factor, linear
    Returns private [user], common [user] (bit/s/Hz).
    """
    alpha = rng.standard_normal((2, draws, kappa.size)) / math.sqrt(2.0)
    power = ((np.sqrt(kappa) + alpha[0]) ** 2 + alpha[1] ** 2) / (kappa + 1.0)
    private, common = rates(power[:, :, None] * gain, cancelled)
    return private.mean(axis=0), common.mean(axis=0)
