"""The one door to Clarabel: cached canonical form, a fresh solver at each solve, a status not an exception.

Programs are min c^T x subject to b - A x in a product of cones. A solver whose data are updated
returns slightly different points than a fresh one, so none is kept; what is kept is the structure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import clarabel
import numpy as np
from scipy import sparse

CONES = {
    "zero": clarabel.ZeroConeT,
    "nonnegative": clarabel.NonnegativeConeT,
    "second_order": clarabel.SecondOrderConeT,
    "psd_triangle": clarabel.PSDTriangleConeT,
    "exponential": lambda _: clarabel.ExponentialConeT(),
}
Cones = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Solve:
    """Outcome of a solve.

    status : "optimal", "inaccurate" (reduced tolerances), "infeasible", "unbounded" or "failed"
    x : [variable] primal point; z : [row] dual point; objective : c^T x
    """

    status: str
    x: np.ndarray
    z: np.ndarray
    objective: float
    iterations: int

    @property
    def usable(self) -> bool:
        """Whether x may be used (after a check of its own by the caller)."""
        return self.status in ("optimal", "inaccurate")


@dataclass(frozen=True)
class Canonical:
    """Structure of A (CSC) and the cones; order takes values in triplet order to CSC order."""

    n_row: int
    n_variable: int
    indptr: np.ndarray
    indices: np.ndarray
    order: np.ndarray
    cones: Cones


def canonical(rows: np.ndarray, cols: np.ndarray, n_row: int, n_variable: int, cones: Cones) -> Canonical:
    """Structure of a program from the triplet positions of A's nonzeros, cached by its content.

    rows, cols : [nonzero] int, each position once; cones : (kind, dimension) in row order; a "psd_triangle" of
    n stands on n (n + 1) / 2 rows, see `triangle`, an "exponential" of 3 on rows (x, y, z): `y exp(x / y) <= z`.
    Raises ValueError on an unknown cone or dimensions that do not add up to the rows.
    """
    for kind, size in cones:
        if kind not in CONES:
            raise ValueError(f"cone: expected one of {sorted(CONES)}, got {kind!r}")
        if kind == "exponential" and size != 3:
            raise ValueError(f"cone: expected an exponential cone of 3 rows, got {size}")
    size = sum(n * (n + 1) // 2 if kind == "psd_triangle" else n for kind, n in cones)
    if size != n_row:
        raise ValueError(f"cones: expected dimensions adding up to {n_row} rows, got {size}")
    rows32 = np.ascontiguousarray(rows, dtype=np.int32)
    cols32 = np.ascontiguousarray(cols, dtype=np.int32)
    return _canonical(rows32.tobytes(), cols32.tobytes(), n_row, n_variable, cones)


@lru_cache(maxsize=64)
def _canonical(rows_bytes: bytes, cols_bytes: bytes, n_row: int, n_variable: int, cones: Cones) -> Canonical:
    rows = np.frombuffer(rows_bytes, dtype=np.int32)
    cols = np.frombuffer(cols_bytes, dtype=np.int32)
    order = np.lexsort((rows, cols))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(cols, minlength=n_variable))])
    return Canonical(n_row, n_variable, indptr, rows[order], order, cones)


def triangle(matrix: np.ndarray) -> np.ndarray:
    """Symmetric matrices [..., n, n] as vectors with the same products: upper triangles, column by column.

    Entries off the diagonal are multiplied by sqrt(2), so that `triangle(A) @ triangle(B) = tr(A B)`.
    """
    row, column, scale = _places(matrix.shape[-1])
    return np.asarray(matrix[..., row, column] * scale)


def symmetric(vector: np.ndarray) -> np.ndarray:
    """The matrices [..., n, n] whose `triangle` is vector [..., n (n + 1) / 2]."""
    size = math.isqrt(2 * vector.shape[-1])
    row, column, scale = _places(size)
    matrix = np.empty((*vector.shape[:-1], size, size))
    matrix[..., row, column] = matrix[..., column, row] = vector / scale
    return matrix


def _places(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    column, row = np.tril_indices(size)
    return row, column, np.where(row == column, 1.0, math.sqrt(2.0))


def solve(
    form: Canonical,
    values: np.ndarray,
    rhs: np.ndarray,
    objective: np.ndarray,
    tolerance: float = 1e-8,
    max_iterations: int = 200,
    regularization: float = 1e-8,
) -> Solve:
    """Solve min c^T x, b - A x in the cones, with a fresh solver.

    values : [nonzero] entries of A in the triplet order `form` was made with
    rhs : [row] b; objective : [variable] c; tolerance : of gap and feasibility (1)
    regularization : static one of the solver's linear systems; more helps programs whose entries span decades
    Returns a Solve; numbers the solver cannot work with give status "failed".
    """
    nothing = np.full(form.n_variable, np.nan), np.full(form.n_row, np.nan)
    if not (np.all(np.isfinite(values)) and np.all(np.isfinite(rhs)) and np.all(np.isfinite(objective))):
        return Solve("failed", *nothing, float("nan"), 0)
    shape = (form.n_row, form.n_variable)
    matrix = sparse.csc_matrix((np.asarray(values, float)[form.order], form.indices, form.indptr), shape=shape)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_iter = max_iterations
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tolerance
    settings.static_regularization_constant = regularization
    quadratic = sparse.csc_matrix((form.n_variable, form.n_variable))
    cones = [CONES[kind](size) for kind, size in form.cones]
    solver = clarabel.DefaultSolver(quadratic, np.asarray(objective, float), matrix, rhs, cones, settings)
    result = solver.solve()
    status = {
        "Solved": "optimal",
        "AlmostSolved": "inaccurate",
        "PrimalInfeasible": "infeasible",
        "AlmostPrimalInfeasible": "infeasible",
        "DualInfeasible": "unbounded",
        "AlmostDualInfeasible": "unbounded",
    }.get(str(result.status), "failed")
    return Solve(status, np.array(result.x), np.array(result.z), float(result.obj_val), int(result.iterations))
