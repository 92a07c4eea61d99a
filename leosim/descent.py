"""Quasi-Newton descent of smooth functions of a few thousand variables: limited-memory BFGS in two products a step.

For functions of half a millisecond the bookkeeping of a general solver costs more than the function.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SUFFICIENT, CURVED = 1e-4, 0.9  # weak Wolfe conditions: share of the decrease promised, of the slope left
TRIALS = 20  # of one line search
LEAST_CURVATURE = 1e-12  # s^T y over ||s|| ||y|| of a pair worth remembering


def minimise(
    value: Callable[[np.ndarray], tuple[float, np.ndarray]],
    x: np.ndarray,
    iterations: int,
    flat: float,
    memory: int = 10,
    move: float = 0.1,
) -> tuple[np.ndarray, int]:
    """A local minimum and the iterations it took.

    value : the function and its gradient; x : [n] where to begin; move : length of the first step over that of x
    flat : relative decrease of the value in one iteration at which it stops
    The direction is that of Byrd, Nocedal, Schnabel 1994, Eq. (3.1); steps by bisection to the weak Wolfe conditions.
    """
    f, g = value(x)
    past = _Past(memory, x.size)
    length = float(np.linalg.norm(g))
    if length == 0.0:
        return x, 0
    first = move * float(np.linalg.norm(x)) / length
    for k in range(iterations):
        d = past.direction(g) if past.count else -first * g
        step, f_new, g_new = _search(value, x, f, g, d)
        if step == 0.0:
            return x, k
        x = x + step * d
        past.add(step * d, g_new - g)
        fell, f, g = f - f_new, f_new, g_new
        if fell <= flat * max(abs(f), 1.0):
            return x, k + 1
    return x, iterations


def _search(
    value: Callable[[np.ndarray], tuple[float, np.ndarray]], x: np.ndarray, f: float, g: np.ndarray, d: np.ndarray
) -> tuple[float, float, np.ndarray]:
    """Length of a step along d to the weak Wolfe conditions, the value and the gradient there; 0: nothing to gain."""
    promised = float(g @ d)
    low, high, step = 0.0, np.inf, 1.0
    best = (0.0, f, g)
    for _ in range(TRIALS):
        f_new, g_new = value(x + step * d)
        if f_new > f + SUFFICIENT * step * promised:
            high = step
            bent = 2.0 * (f_new - f - step * promised)  # a parabola through both values and the slope at the start
            step = min(max(-promised * step**2 / bent, low + 0.1 * (high - low)), low + 0.6 * (high - low))
            continue
        best = (step, f_new, g_new)
        if float(g_new @ d) >= CURVED * promised:
            break
        low = step
        step = 2.0 * step if high == np.inf else 0.5 * (low + high)
    return best


class _Past:
    """The last steps s and changes of gradient y, rows of one matrix, with the products among them."""

    def __init__(self, memory: int, size: int) -> None:
        self.memory, self.count, self.next = memory, 0, 0
        self.rows = np.zeros((2 * memory, size))
        self.sy, self.yy = np.zeros((memory, memory)), np.zeros((memory, memory))

    def add(self, s: np.ndarray, y: np.ndarray) -> None:
        """Remember a pair in the place of the oldest, unless the function does not bend upwards along it."""
        bend = float(s @ y)
        if bend <= LEAST_CURVATURE * float(np.linalg.norm(s) * np.linalg.norm(y)):
            return
        m, i = self.memory, self.next
        self.rows[i], self.rows[m + i] = s, y
        products = self.rows @ y
        self.sy[:, i], self.yy[:, i], self.yy[i] = products[:m], products[m:], products[m:]
        self.next, self.count = (i + 1) % m, min(self.count + 1, m)

    def direction(self, g: np.ndarray) -> np.ndarray:
        """Minus the inverse Hessian times the gradient."""
        m = self.memory
        order = (np.arange(self.count) + self.next - self.count) % m  # the oldest first
        products = self.rows @ g
        upper = np.triu(self.sy[np.ix_(order, order)])
        yy = self.yy[np.ix_(order, order)]
        newest = order[-1]
        gamma = self.sy[newest, newest] / self.yy[newest, newest]
        u = np.linalg.solve(upper, products[order])
        inner = np.diagonal(upper) * u + gamma * (yy @ u - products[m + order])
        weights = np.zeros(2 * m)
        weights[order], weights[m + order] = -np.linalg.solve(upper.T, inner), gamma * u
        return weights @ self.rows - gamma * g
