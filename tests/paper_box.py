"""The box of the paper: couplings of satellites and users dropped at random, in explicit antenna vectors."""

import numpy as np


def box(seed: int, n_sat: int = 8, n_user: int = 5, side: int = 4, noise_dbm: float = -140.0, poor_db: float = 0.0):
    """sMRT couplings in the paper's 700 km box: mean E [user, stream, sat], variance V, noise 1."""
    rng = np.random.default_rng(seed)
    sat = np.column_stack([rng.uniform(0, 700e3, (n_sat, 2)), np.full(n_sat, 550e3)])
    user = np.column_stack([rng.uniform(0, 700e3, (n_user, 2)), np.zeros(n_user)])
    line = user[None] - sat[:, None]
    distance = np.linalg.norm(line, axis=2)
    cosine = line[..., :2] / distance[..., None]
    n = np.arange(side)
    phase = n[:, None] * cosine[..., 0, None, None] + n[None, :] * cosine[..., 1, None, None]
    a = np.exp(1j * np.pi * phase).reshape(n_sat, n_user, -1)
    beta = (299_792_458.0 / (4 * np.pi * 5e9 * distance)) ** 2
    beta[:, 0] *= 10 ** (-poor_db / 10)
    kappa = 10 ** (rng.uniform(15, 20, (n_sat, n_user)) / 10)
    phi = rng.uniform(0, 2 * np.pi, (n_sat, n_user))
    v = 10.0 * beta / (kappa + 1) / (1e-3 * 10 ** (noise_dbm / 10))
    inner = np.einsum("lkn,ljn->kjl", a.conj(), a) / side
    turn = np.exp(1j * (phi.T[None, :, :] - phi.T[:, None, :]))
    mean = np.sqrt(kappa * v).T[:, None, :] * turn * inner
    return mean, v.T[:, None, :] * np.abs(inner) ** 2
