"""Precoders for rate and position, and for position alone, by plain L-BFGS on the span of the responses."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from leosim.joint import Problem


def _loss(p: Problem, z: np.ndarray, speb_weight: float, target_m: float, penalty: float) -> tuple[float, np.ndarray]:
    """Minus the rate, plus a weight on the log of the bound, plus a penalty above the target, of coefficients on Q."""
    r, k = p.basis[1], p.terminals
    scale = np.sqrt(p.power_w / p.waveform.block_subcarriers / np.sum(np.abs(z) ** 2))
    gains = np.moveaxis((r @ (scale * z)).reshape(len(r), k, 3, k), 1, 0)
    (rate, by_rate), (speb, by_speb) = p.rate(gains), p.speb(gains)
    above = max(0.0, 0.5 * np.log(speb.mean() / target_m**2))
    gradient = (speb_weight + penalty * above) / speb.sum() * by_speb
    loss = speb_weight * np.log(speb.sum()) + penalty * above**2
    if penalty or speb_weight <= 1.0:
        loss -= rate.sum()
        gradient[:, :, 0] -= by_rate
    back = 2.0 * r.conj().swapaxes(-1, -2) @ np.moveaxis(gradient, 0, 1).reshape(len(r), 3 * k, k)
    return loss, scale * (back - np.real(np.sum(back.conj() * z)) / np.sum(np.abs(z) ** 2) * z)


def designed(p: Problem, target_m: float = 0.0) -> np.ndarray:
    """A precoder [block, ant, stream] of highest rate with an average bound of `target_m`; 0: for position alone."""
    value = p.responses[:, :, 0].swapaxes(1, 2) * np.sqrt(p.link.gamma)
    gram = value.conj().swapaxes(1, 2) @ value
    load = p.terminals * p.link.noise_w[0] * p.waveform.subcarriers / p.power_w
    z = p.basis[0].conj().swapaxes(1, 2) @ value @ np.linalg.inv(gram + load * np.eye(p.terminals))
    z *= np.sqrt(p.power_w / p.waveform.block_subcarriers / np.sum(np.abs(z) ** 2))

    def descend(z: np.ndarray, iterations: int, *weights: float) -> np.ndarray:
        def of(x: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = _loss(p, x.view(complex).reshape(z.shape), *weights)
            return loss, gradient.ravel().view(float)

        done = minimize(of, z.ravel().view(float), jac=True, method="L-BFGS-B", options={"maxiter": iterations})
        return done.x.view(complex).reshape(z.shape)

    if target_m:
        for weights in ((1.0, target_m, 0.0), (0.0, target_m, 20.0), (0.0, target_m, 200.0)):
            z = descend(z, 60, *weights)
    else:
        z = descend(z, 300, 2.0, 1.0, 0.0)
    return p.basis[0] @ z * np.sqrt(p.power_w / p.waveform.block_subcarriers / np.sum(np.abs(z) ** 2))
