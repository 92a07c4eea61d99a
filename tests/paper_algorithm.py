"""Algorithm 1 of Kim et al. 2024 in cvxpy, word by word: what the ones in leosim are compared with."""

import cvxpy as cp
import numpy as np

from leosim import couplings


def paper_algorithm_1(mean, variance, k_max, epsilon=1e-10, outer=10, inner=30):
    """Algorithm 1 of Kim et al. 2024 in cvxpy: reweighted l2 around SCA, P4 as a second-order cone program.

    With the errata: start at p = 1/sqrt(K), omega = 1/(p^2 + epsilon), no reset of p at an outer step.
    Returns p [sat, user] and the number of programs solved.
    """
    n_user, _, n_sat = mean.shape
    p = cp.Variable((n_sat, n_user), nonneg=True)
    t = cp.Variable()
    slope = cp.Parameter((n_sat, n_user))  # 2 (b^T p_prev) b / t_prev
    offset = cp.Parameter(n_user)  # (b^T p_prev)^2 / t_prev^2
    root_omega = cp.Parameter((n_sat, n_user), nonneg=True)
    rules = [cp.norm(p[l]) <= 1 for l in range(n_sat)]
    rules += [cp.norm(cp.multiply(root_omega[l], p[l])) <= np.sqrt(k_max) for l in range(n_sat)]
    for k in range(n_user):
        parts = [cp.vec(cp.multiply(np.sqrt(variance[k].T), p), order="F")]
        for j in range(n_user):
            if j != k:
                rows = np.stack([mean[k, j].real, mean[k, j].imag])
                parts.append(rows @ p[:, j])
        rules.append(cp.sum_squares(cp.hstack(parts)) + 1 <= slope[:, k] @ p[:, k] - offset[k] * t)
    program = cp.Problem(cp.Maximize(t), rules)
    b = np.abs(mean[np.arange(n_user), np.arange(n_user)]).T
    current = np.full((n_sat, n_user), 1 / np.sqrt(n_user))
    root_omega.value = np.ones_like(b)
    problem = couplings.problem_from_dense(mean, variance)
    best = couplings.sinr(problem, current.T.ravel()).min()
    solves = 0
    for _ in range(outer):
        for _ in range(inner):
            useful = (b * current).sum(axis=0)
            slope.value = 2 * useful * b / best
            offset.value = useful**2 / best**2
            program.solve(solver=cp.CLARABEL)
            solves += 1
            if p.value is None:
                return current, solves
            before, current = current, np.maximum(p.value, 0.0)
            best = couplings.sinr(problem, current.T.ravel()).min()
            if np.linalg.norm(current - before) <= 1e-2 * np.linalg.norm(before):
                break
        if np.all((current > 1e-3).sum(axis=1) <= k_max):
            break
        root_omega.value = 1 / np.sqrt(current**2 + epsilon)
    return np.where(current > 1e-3, current, 0.0), solves
