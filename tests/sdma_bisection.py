"""The global optimum of the precoding problem without a common stream, as a semidefinite program a level.

For a level of SINR the rank-one condition can be dropped without loss (there are at most K + 2 constraints on K
or K + 1 matrices), so bisection on the level is globally optimal. Park et al. 2024, Eq. (28) with C_k = 0.
"""

import warnings

import cvxpy
import numpy as np


def best_rate(problem, accuracy_bit=2e-5):
    """Largest least rate (bit/s/Hz) of a problem without a common stream, within `accuracy_bit` from below.

    Least power for a level of SINR, up to the power there is. Only optimal and infeasible decide; where the
    solver says anything else another level between the bounds is asked. Raises RuntimeError when none decides.
    """
    how = problem.mode
    users = problem.users
    count = users + how.sequence
    scale = np.linalg.norm(problem.channel, axis=1)
    outer = [np.outer(h, h) / norm**2 for h, norm in zip(problem.channel, scale, strict=True)]
    streams = [cvxpy.Variable((problem.target.size, problem.target.size), PSD=True) for _ in range(count)]
    sinr = cvxpy.Parameter(nonneg=True)
    asked = cvxpy.Parameter(nonneg=True, value=problem.asked)
    constraints = []
    for k in range(users):
        received = [cvxpy.trace(outer[k] @ v) for v in streams]
        others = [received[j] for j in range(users) if j != k]
        if how.sequence and not how.cancelled:
            others.append(received[users])
        constraints.append(received[k] >= sinr * (sum(others) + 1.0 / scale[k] ** 2))
    if problem.asked > 0.0:
        on_target = sum(cvxpy.trace(np.outer(problem.target, problem.target) @ v) for v in streams)
        constraints.append(on_target >= asked)
    power = sum(cvxpy.trace(v) for v in streams)
    program = cvxpy.Problem(cvxpy.Minimize(power), constraints)
    low, high = 0.0, float(np.log2(1.0 + np.min(scale) ** 2))
    while high - low > accuracy_bit:
        for share in (0.5, 0.4, 0.6, 0.3, 0.7):
            middle = low + share * (high - low)
            sinr.value = 2.0**middle - 1.0
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of an inaccurate solution, which is not used
                program.solve(solver=cvxpy.CLARABEL)
            if program.status in ("optimal", "infeasible"):
                break
        else:
            raise RuntimeError(f"undecided between {low} and {high} bit/s/Hz: {program.status}")
        if program.status == "optimal" and power.value <= 1.0:
            low = middle
        else:
            high = middle
    return low
