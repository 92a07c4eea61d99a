"""The paper's own Algorithm 1 (Park et al. 2024): semidefinite relaxation whose ranks are tightened step by step.

A named reference to compare `rsma` with. It runs in the span of the directions, K + 1 dimensions instead of
one an antenna: ten milliseconds a program, which takes half a minute over no more than 25 antennas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from leosim import conic, precoding, rate_splitting
from leosim.precoding import Mode, Problem
from leosim.records import DownlinkUsers, Illumination, IsacPrecoder

SILENT = 1e-6  # of the power: below it a stream is what a program's tolerance leaves; its rank of 0 / 0 counts as one
MOST_ASKED = 1.0 - 1e-6  # of the power on the target: with all of it the programs have no interior
REGULARIZATION = 1e-6  # of Clarabel's linear systems: with its own 1e-8 it stalls above 25 dBW


@dataclass(frozen=True)
class Params:
    """The mode of Table II, what a threshold out of reach leads to, and when the two loops end.

    access : "rsma" | "sdma"; radar : "sic" | "no_sic" | "no_sequence" | "communication_only"
    on_infeasible : "cap" asks for `cap_share` of the full power's gain, "hold" keeps the precoder before, "raise"
    start : power of each stream, over the budget and spread evenly over all directions, where the logarithms are
    first expanded. From loud streams a program can lower interference by a factor e only; from faint ones it
    settles too early what the common stream is for
    step : of the rank parameters w; rank_tolerance : share of a stream's power that its vector may lose;
    rate_tolerance : relative change of the least rate at which an inner loop has converged;
    most_inner, most_outer : iterations
    """

    access: str = field(default="rsma", metadata={"doc": "rsma: with a common stream | sdma: private streams only"})
    radar: str = field(
        default="no_sequence",
        metadata={"doc": "radar sequence: sic (users cancel it) | no_sic | no_sequence | communication_only"},
    )
    on_infeasible: str = field(
        default="cap", metadata={"doc": "beyond the power: cap what is asked | hold the precoder before | raise"}
    )
    cap_share: float = field(
        default=0.9, metadata={"doc": "share of the gain all the power can do that is asked when it is capped"}
    )
    start: float = field(default=1e-2, metadata={"doc": "share of the power of each stream at the start"})
    step: float = field(default=0.2, metadata={"doc": "step of the rank parameters"})
    rank_tolerance: float = field(default=1e-3, metadata={"doc": "share of its power a stream's vector may lose"})
    rate_tolerance: float = field(default=1e-3, metadata={"doc": "relative change of the rate that ends a loop"})
    most_inner: int = field(default=30, metadata={"doc": "convex programs of one inner loop, at most"})
    most_outer: int = field(default=20, metadata={"doc": "outer iterations, at most"})

    def __post_init__(self) -> None:
        precoding.check(self.access, self.radar, self.on_infeasible, self.cap_share)
        for name in ("start", "step", "rank_tolerance", "rate_tolerance"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise ValueError(f"{name}: expected a number between 0 and 1, got {value!r}")
        for name in ("most_inner", "most_outer"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")


def design(users: DownlinkUsers, target: Illumination, previous: IsacPrecoder | None, params: Params) -> IsacPrecoder:
    """A precoder by Algorithm 1, started afresh at each dwell; `previous` matters for "hold" only.

    A threshold beyond the power is capped or, on request, the precoder before is held. With nobody to serve,
    a radar sequence takes the whole power to the target in each mode that senses. `iterations` counts programs.
    Raises precoding.InfeasibleError for such a threshold with on_infeasible "raise".
    """
    how = precoding.mode(params.access, params.radar)
    task = precoding.task(users, target, previous, how, params.on_infeasible, params.cap_share)
    if task.settled is not None:
        return task.record(task.settled)
    found = algorithm_1(task.problem, params)
    return task.record(found.p, sum(found.inner))


@dataclass(frozen=True)
class Outcome:
    """What Algorithm 1 ended with.

    p : [stream, dim] real, precoders that spend the whole power and meet the threshold
    blocks : [stream, dim, dim] real, the matrices they are the principal vectors of
    inner : convex programs of each outer iteration
    status : "converged" (every matrix of rank one within the tolerance), "cut" (ended above it), "failed" (no
        program had a usable solution, p comes from the start)
    """

    p: np.ndarray
    blocks: np.ndarray
    inner: tuple[int, ...]
    status: str


def algorithm_1(problem: Problem, params: Params) -> Outcome:
    """Algorithm 1, Park et al. 2024, in the span of the directions.

    Outer loop: `w_j = min(1, lambda_max(P_j) / tr(P_j) + delta)` and the principal vectors v_j of (32), delta halved
    when the programs with these w have no solution. Inner loop: (33)-(41) until the least rate settles.

    Matrices are real symmetric where the paper has Hermitian ones. In the span the programs' data are real, so
    with P its conjugate is a solution too, and so is Re P: the relaxation loses nothing. A rank of one does
    lose: a complex p stands for the real matrix `Re p p^H` of rank two. But Algorithm 1 never gets there: its
    start is numbers, an interior-point solver's path through a program that is its own conjugate is real, so
    then are the v_j, and the next program is its own conjugate again.

    Deviations: the loop ends when the ratios, not the w which are ahead of them by delta, have reached 1 less
    the tolerance, and w ends half the tolerance before 1, where programs have an interior; a stream of no power has
    ratio 1 (0 / 0 as printed) and no constraint (32); the inner loop ends at a relative, not an absolute, change
    of the rate that the matrices achieve; logarithms are expanded at the powers of the last matrices, not at
    the values of d and f that bound them; principal vectors are scaled to the power and the threshold.
    """
    blocks = start(problem, params.start)
    rank, toward = np.zeros(len(blocks)), np.zeros(blocks.shape[:2])
    ratio, trace = np.zeros(len(blocks)), np.zeros(len(blocks))
    inner: list[int] = []
    status, delta = "failed", params.step
    for _ in range(params.most_outer):
        found, count = inner_loop(problem, blocks, rank, toward, params)
        inner.append(count)
        if found is not None:
            blocks, delta = found, params.step
            value, vector = np.linalg.eigh(blocks)
            trace, toward = value.sum(axis=1), vector[:, :, -1]
            ratio = np.where(trace > SILENT, value[:, -1] / np.maximum(trace, SILENT), 1.0)
            status = "converged" if ratio.min() >= 1.0 - params.rank_tolerance else "cut"
        else:
            delta = 0.5 * delta
        if status != "cut":
            break
        rank = np.where(trace > SILENT, np.minimum(1.0 - 0.5 * params.rank_tolerance, ratio + delta), 0.0)
    return Outcome(principal(problem, blocks), blocks, tuple(inner), status)


def start(problem: Problem, share: float) -> np.ndarray:
    """Matrices [stream, dim, dim] that spread a share of the power evenly over all directions in each stream."""
    dim = problem.target.size
    return problem.streams[:, None, None] * np.eye(dim) * (share / dim)


def principal(problem: Problem, blocks: np.ndarray) -> np.ndarray:
    """Principal vectors [stream, dim] of the matrices, polished."""
    value, vector = np.linalg.eigh(blocks)
    return precoding.polish(problem, vector[:, :, -1] * np.sqrt(np.maximum(value[:, -1:], 0.0)))


def inner_loop(
    problem: Problem, blocks: np.ndarray, rank: np.ndarray, toward: np.ndarray, params: Params
) -> tuple[np.ndarray | None, int]:
    """Matrices after successive convex approximation from `blocks`, None if not even one program had any.

    blocks : [stream, dim, dim]; rank : [stream] w and toward : [stream, dim] v of Eq. (32), 0 for no constraint
    Returns matrices [stream, dim, dim] and the number of programs.
    """
    found, before, count = None, math.nan, 0
    while count < params.most_inner:
        count += 1
        solved = _solve(problem, blocks, rank, toward)
        if solved is None:
            break
        found = blocks = solved
        rate = least_rate(problem, blocks)
        if abs(rate - before) <= params.rate_tolerance * rate:
            break
        before = rate
    return found, count


def least_rate(problem: Problem, blocks: np.ndarray) -> float:
    """The least user's rate with matrices [stream, dim, dim] of any rank, Eqs. (28), (29) (bit/s/Hz)."""
    private, common = rate_splitting.rates(_received(problem, blocks), problem.mode.cancelled)
    return rate_splitting.split(private, float(common.min()) if problem.mode.common else 0.0)[1]


def _received(problem: Problem, blocks: np.ndarray) -> np.ndarray:
    """`tr(A_k P_j)` over noise: [user, stream]."""
    return np.maximum(np.einsum("kn,jnm,km->kj", problem.channel, blocks, problem.channel), 0.0)


# ---------------------------------------------------------------------------------------------
# A subproblem in the cones of Clarabel


@dataclass(frozen=True)
class _Layout:
    """Rows and columns of a program.

    Columns: matrices of the streams there are as triangles, e [user], then with a common stream c [user] and
    C [user], then R_min. Logarithms are natural ones, c and e relative to the matrices before. d and f do not
    appear: at the optimum (40) and (41) hold with equality, which gives them.
    Rows: linear ones (power, (27), (32), (38), then (39) and C >= 0), matrices, exponential cones (35), (33).
    """

    users: int
    dim: int
    mode: Mode

    @property
    def streams(self) -> int:
        return self.users + self.mode.common + self.mode.sequence

    @property
    def triangle(self) -> int:
        return self.dim * (self.dim + 1) // 2

    @property
    def logs(self) -> int:
        """Exponential cones: of the private streams, and of the common one."""
        return 2 * self.users if self.mode.common else self.users

    @property
    def linear(self) -> int:
        return 2 + self.streams + (3 if self.mode.common else 1) * self.users

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        matrices = self.streams * self.triangle
        return self.linear + matrices + 3 * self.logs, matrices + self.logs + self.users * self.mode.common + 1


def _program(
    layout: _Layout,
    gain: np.ndarray,
    target: np.ndarray,
    vectors: np.ndarray,
    rank: np.ndarray,
    total: np.ndarray,
    interference: np.ndarray,
    asked: float,
) -> tuple[np.ndarray, np.ndarray]:
    """A and b of a subproblem, `b - A x` in the cones.

    gain : [user, triangle] A_k over noise; target : [triangle] A_tar; vectors : [stream, triangle] v v^H
    rank : [stream] w; total : [user] private streams, uncancelled sequence and noise at the last matrices
    interference : [user] the same without the own stream; asked : right-hand side of (27)
    """
    users, streams = layout.users, layout.streams
    k, j = np.arange(users), np.arange(streams)
    a, b = np.zeros(layout.shape), np.zeros(layout.shape[0])
    matrices = a[:, : streams * layout.triangle].reshape(len(b), streams, layout.triangle)
    e = streams * layout.triangle + k
    c, portion = e + users, e + 2 * users
    unit = conic.triangle(np.eye(layout.dim))
    heard = np.zeros(streams)  # in the total: private streams, and a sequence that is not cancelled
    heard[:users] = 1.0
    if layout.mode.sequence and not layout.mode.cancelled:
        heard[-1] = 1.0
    others = heard - np.eye(users, streams)

    matrices[0], b[0] = unit, 1.0  # tr(sum P_j) <= P_t
    matrices[1], b[1] = -target, -asked  # (27)
    matrices[2 + j, j] = rank[:, None] * unit - vectors  # (32)
    row = 2 + streams + k
    matrices[row] = (others / interference[:, None])[:, :, None] * gain[:, None, :]  # (38) with (41)
    a[row, e], a[row, -1] = -1.0, 1.0
    b[row] = np.log(total / interference) + 1.0 - 1.0 / interference
    if layout.mode.common:
        a[row, portion] = -1.0
        row = row + users
        matrices[row] = (heard / total[:, None])[:, :, None] * gain[:, None, :]  # (39) with (40)
        a[row, c], a[row[:, None], portion] = -1.0, 1.0
        b[row] = 1.0 - 1.0 / total
        a[row + users, portion] = -1.0

    a[layout.linear + np.arange(e[0]), np.arange(e[0])] = -1.0
    row = layout.linear + e[0] + 3 * k
    for log, streams_in in ((e, heard), (c, heard + (j == users)))[: layout.logs // users]:  # (35), (33)
        a[row, log], b[row + 1] = -1.0, 1.0
        matrices[row + 2] = -(streams_in / total[:, None])[:, :, None] * gain[:, None, :]
        b[row + 2] = 1.0 / total
        row = row + 3 * users
    return a, b


@lru_cache(maxsize=64)
def _structure(layout: _Layout) -> tuple[conic.Canonical, np.ndarray, np.ndarray]:
    """Canonical form of a program, rows and columns of its entries."""
    users, streams, size = layout.users, layout.streams, layout.triangle
    # Numbers with which no entry that can differ from zero does not.
    total, interference = np.full(users, 3.0), np.full(users, 2.0)
    ones = np.ones((users, size)), np.ones(size), np.ones((streams, size)), np.full(streams, 0.5)
    rows, columns = np.nonzero(_program(layout, *ones, total, interference, 0.5)[0])
    cones = (
        ("nonnegative", layout.linear),
        *(("psd_triangle", layout.dim),) * streams,
        *(("exponential", 3),) * layout.logs,
    )
    return conic.canonical(rows, columns, *layout.shape, cones), rows, columns


def _solve(problem: Problem, blocks: np.ndarray, rank: np.ndarray, toward: np.ndarray) -> np.ndarray | None:
    """Matrices [stream, dim, dim] that solve the subproblem expanded at `blocks`; None if there are none to use."""
    layout = _Layout(problem.users, problem.target.size, problem.mode)
    form, rows, columns = _structure(layout)
    there = np.flatnonzero(problem.streams)
    power = _received(problem, blocks)
    total = power[:, : problem.users].sum(axis=1) + 1.0
    if not problem.mode.cancelled:
        total = total + power[:, -1]
    gain = conic.triangle(problem.channel[:, :, None] * problem.channel[:, None, :])
    target = conic.triangle(np.outer(problem.target, problem.target))
    vectors = conic.triangle(toward[there, :, None] * toward[there, None, :])
    interference = total - np.diagonal(power)
    asked = min(problem.asked, MOST_ASKED)
    a, b = _program(layout, gain, target, vectors, rank[there], total, interference, asked)
    objective = np.zeros(form.n_variable)
    objective[-1] = -1.0
    solved = conic.solve(form, a[rows, columns], b, objective, regularization=REGULARIZATION)
    if not solved.usable:
        return None
    found = np.zeros_like(blocks)
    found[there] = conic.symmetric(solved.x[: there.size * layout.triangle].reshape(there.size, -1))
    return found
