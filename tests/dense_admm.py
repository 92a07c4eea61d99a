"""Algorithm 1 of You et al. 2024 as printed, with the errata: every copy G_{k,n} and dual Q_{k,n} written out.

Eigendecompositions of N_t x N_t matrices, a bisection for mu; the oracle of `leosim.ical.hybrid_admm`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq


@dataclass
class Dense:
    """h, W_loc and weights of a task, and the variables: g, q [terminal, block, ant, stream], the rest as in the paper.

    channels : [block, terminal, ant] h; located : [block, ant, stream]; pull : of the distance of a copy
    chain : [ant] of a partially connected array, else None
    """

    channels: np.ndarray
    noise_w: np.ndarray
    located: np.ndarray
    rho: float
    pull: float
    power_w: float
    chain: np.ndarray | None
    w_rf: np.ndarray
    w_bb: np.ndarray
    eta: float
    limits: tuple[float, float]

    def __post_init__(self):
        terminals = self.channels.shape[1]
        self.g = np.stack([self.w_rf @ self.w_bb] * terminals)
        self.q = np.zeros_like(self.g)
        self.update_u_and_omega()

    def update_u_and_omega(self):
        """Steps 11 and 12: u from the least MSE of s^ = u y, omega = 1 / MSE, Eq. (45)."""
        blocks, terminals, _ = self.channels.shape
        self.u, self.omega = np.empty((2, terminals, blocks), dtype=complex)
        for k in range(terminals):
            for b in range(blocks):
                arrives = self.channels[b, k] @ self.g[k, b]
                u = arrives[k].conj() / (np.sum(np.abs(arrives) ** 2) + self.noise_w[k])
                mse = abs(u * arrives[k] - 1) ** 2 + abs(u) ** 2 * (
                    np.sum(np.abs(np.delete(arrives, k)) ** 2) + self.noise_w[k]
                )
                self.u[k, b], self.omega[k, b] = u, 1 / mse

    def update_g(self):
        """Step 10: Eqs. (42)-(44)."""
        blocks, terminals, antennas = self.channels.shape
        values, vectors, right = {}, {}, {}
        for k in range(terminals):
            for b in range(blocks):
                h, u, omega = self.channels[b, k], self.u[k, b], self.omega[k, b].real
                a = self.rho * omega * abs(u) ** 2 * np.outer(h.conj(), h)
                a += (self.pull + self.eta / 2) * np.eye(antennas)
                psi = self.pull * self.located[b] + self.eta / 2 * (self.w_rf @ self.w_bb[b] - self.q[k, b])
                psi[:, k] += self.rho * omega * np.conj(u) * h.conj()
                values[k, b], vectors[k, b] = np.linalg.eigh(a)
                right[k, b] = vectors[k, b].conj().T @ psi

        def delta(mu):
            return sum(np.sum(np.abs(right[i] / (values[i] + mu)[:, None]) ** 2) for i in right)

        budget = self.power_w * terminals
        mu = 0.0
        if delta(0.0) > budget:
            top = self.eta
            while delta(top) > budget:
                top *= 2
            mu = brentq(lambda mu: delta(mu) / budget - 1, 0.0, top, xtol=1e-300, rtol=1e-15)
        for i in right:
            self.g[i] = vectors[i] @ (right[i] / (values[i] + mu)[:, None])

    def update_w_bb(self):
        """Step 13, Eq. (46)."""
        self.w_bb = np.stack([np.linalg.pinv(self.w_rf) @ x for x in (self.g + self.q).mean(axis=0)])

    def update_w_rf(self):
        """Step 14: Eq. (47) by majorisation, `exp{-j angle X^T}`, or Eq. (48), `exp{j angle Y}`."""
        terminals, blocks = self.g.shape[:2]
        pairs = [(k, b) for k in range(terminals) for b in range(blocks)]
        if self.chain is not None:
            y = sum(self.eta / 2 * (self.g[i] + self.q[i]) @ self.w_bb[i[1]].conj().T for i in pairs)
            connected = np.arange(self.w_rf.shape[1]) == self.chain[:, None]
            self.w_rf = np.where(connected, np.exp(1j * np.angle(y)), 0)
            return
        t = sum(self.eta / 2 * self.w_bb[b] @ self.w_bb[b].conj().T for _, b in pairs)
        x = sum(self.eta / 2 * self.w_bb[i[1]] @ (self.g[i] + self.q[i]).conj().T for i in pairs)
        x = x - (t - np.linalg.eigvalsh(t)[-1] * np.eye(len(t))) @ self.w_rf.conj().T
        self.w_rf = np.exp(-1j * np.angle(x.T))

    def iterate(self, ratio, grow, shrink):
        """Steps 10 to 16, with one penalty for all copies, and the scaled dual rescaled with it."""
        before = self.g.copy()
        self.update_g()
        self.update_u_and_omega()
        self.update_w_bb()
        self.update_w_rf()
        off = self.g - self.w_rf @ self.w_bb
        self.q = self.q + off
        residual, change = np.sum(np.abs(off) ** 2), np.sum(np.abs(self.g - before) ** 2)
        eta = self.eta
        if residual > ratio * change:
            eta = min(eta * grow, self.limits[1])
        elif ratio * residual < change:
            eta = max(eta / shrink, self.limits[0])
        self.q, self.eta = self.q * (self.eta / eta), eta
