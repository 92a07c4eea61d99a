"""Zero-forcing couplings from those of sMRT: every satellite's beams are silent at its other users."""

import numpy as np


def zero_forced(mean, variance):
    """E and V of `w_k = A (A^H A)^-1 e_k / ||.||`, Eq. (11), Kim et al. 2024, from those of `w_k = a_k / sqrt(N)`.

    E_kjl / E_kkl is `a_k^H a_j / N` but for phases that cancel in the diagonal of its inverse, which is
    what the useful gain loses.
    """
    n_user, _, n_sat = mean.shape
    i = np.arange(n_user)
    lost = np.empty((n_user, n_sat))
    for l in range(n_sat):
        lost[:, l] = np.linalg.inv(mean[:, :, l] / mean[i, i, l][:, None]).diagonal().real
    e, v = np.zeros_like(mean), np.zeros_like(variance)
    e[i, i] = np.abs(mean[i, i]) / np.sqrt(lost)
    v[i, i] = variance[i, i] / lost
    return e, v
