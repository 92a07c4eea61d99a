"""The problem of a dual-functional precoder: the least user's rate under a gain towards a radar target.

Every rate and the radar gain depend on a precoder only through its products with the steering vectors of users
and target, so it lies in their span: K + 1 dimensions instead of one an antenna. With the phase reference of
the array at its centre those products are real, and so are the problem's vectors; precoders are complex.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from leosim import rate_splitting
from leosim.antenna import gram, steering
from leosim.records import (
    CAPPED,
    COMMON_STREAM,
    HELD,
    MET,
    RADAR_SEQUENCE,
    DownlinkUsers,
    Illumination,
    IsacPrecoder,
)

ACCESS = ("rsma", "sdma")
RADAR = ("sic", "no_sic", "no_sequence", "communication_only")
ON_INFEASIBLE = ("cap", "hold", "raise")
DEPENDENT = 1e-9  # of the largest eigenvalue of the Gram matrix: directions below count as dependent


class InfeasibleError(ValueError):
    """No precoder within the power budget meets the radar threshold."""


@dataclass(frozen=True)
class Mode:
    """Which streams there are and what is asked of them, Table II, Park et al. 2024.

    common : a common stream; sequence : a radar sequence; cancelled : users cancel it; sensing : the radar
    threshold holds
    """

    common: bool
    sequence: bool
    cancelled: bool
    sensing: bool


def mode(access: str, radar: str) -> Mode:
    """The mode of an access scheme ("rsma" | "sdma") and a use of the radar sequence.

    radar : "sic" (with a sequence that users cancel), "no_sic", "no_sequence" or "communication_only".
    Raises ValueError for another name.
    """
    if access not in ACCESS:
        raise ValueError(f"access: expected one of {', '.join(ACCESS)}, got {access!r}")
    if radar not in RADAR:
        raise ValueError(f"radar: expected one of {', '.join(RADAR)}, got {radar!r}")
    return Mode(access == "rsma", radar in ("sic", "no_sic"), radar == "sic", radar != "communication_only")


@dataclass(frozen=True)
class Problem:
    """The problem in the span of its steering vectors, unit power, noise 1.

    channel : [user, dim] real; stream p arrives at user k with power `|channel_k . p|^2` over noise
    target : [dim] real, of norm 1; asked : the share of the full power's gain `N P_t` that
    `sum_j |target . p_j|^2` must reach, 0 to 1
    """

    channel: np.ndarray
    target: np.ndarray
    asked: float
    mode: Mode

    @property
    def users(self) -> int:
        """Number K of users."""
        return int(self.channel.shape[0])

    @property
    def streams(self) -> np.ndarray:
        """Which of the K + 2 streams there are: [stream] bool."""
        return np.array([True] * self.users + [self.mode.common, self.mode.sequence])


@dataclass(frozen=True)
class Rates:
    """What precoders achieve: received powers [user, stream], private and common rates [user], split, least rate."""

    gain: np.ndarray
    private: np.ndarray
    common: np.ndarray
    split: np.ndarray
    min_rate: float


@dataclass(frozen=True)
class Span:
    """An orthonormal basis of the steering vectors of some directions, on the array.

    on : [direction, dim] real, products of the steering vectors with the basis vectors
    weights : [direction, dim] real, basis vectors as combinations of the steering vectors
    """

    on: np.ndarray
    weights: np.ndarray


def span(cosines: np.ndarray, rows: int, columns: int) -> Span:
    """The span of the steering vectors of [direction, 2] direction cosines; dependent ones cost no dimension.

    With G = A^H A = V S V^T: basis Q = A V S^(-1/2), A^H Q = V S^(1/2).
    """
    value, vector = np.linalg.eigh(gram(cosines, rows, columns))
    kept = value > DEPENDENT * value[-1]
    root = np.sqrt(value[kept])
    return Span(vector[:, kept] * root, vector[:, kept] / root)


def reduce(users: DownlinkUsers, target: Illumination, how: Mode, cap_share: float = 1.0) -> tuple[Problem, Span]:
    """The problem of serving users and illuminating a target, and the span it lives in.

    What is asked beyond the whole power is cut to `cap_share` of it.
    """
    basis = span(np.vstack([users.cosines, target.cosines]), users.rows, users.columns)
    channel = basis.on[:-1] * np.sqrt(users.power_w / users.noise_w)[:, None]
    toward = basis.on[-1] / np.linalg.norm(basis.on[-1])
    asked = asked_share(users, target)
    return Problem(channel, toward, (asked if asked <= 1.0 else cap_share) if how.sensing else 0.0, how), basis


def asked_share(users: DownlinkUsers, target: Illumination) -> float:
    """What is asked over all that the power can do: the gain towards the target over `N P_t` (1)."""
    return target.gain_w / (users.rows * users.columns * users.power_w)


def evaluate(problem: Problem, p: np.ndarray) -> Rates:
    """What precoders [stream, dim] achieve: rates in statistical CSI and the best split of the common rate."""
    gain = np.abs(problem.channel @ p.T) ** 2
    private, common = rate_splitting.rates(gain, problem.mode.cancelled)
    share, least = rate_splitting.split(private, float(common.min(initial=math.inf)) if problem.mode.common else 0.0)
    return Rates(gain, private, common, share, least)


def radar_gain(problem: Problem, p: np.ndarray) -> float:
    """`sum_j |target . p_j|^2`, the share of the full power's gain that falls on the target."""
    return float(np.sum(np.abs(p @ problem.target) ** 2))


def polish(problem: Problem, p: np.ndarray) -> np.ndarray:
    """Precoders scaled in closed form to spend the whole power and to meet the radar threshold exactly.

    All streams are scaled alike when that meets the threshold; otherwise their components along the target to
    the threshold and the rest to the rest of the power. Precoders without any such component give it to their
    strongest stream.
    """
    p = p / np.linalg.norm(p)
    if radar_gain(problem, p) >= problem.asked:
        return p
    along = p @ problem.target
    rest = p - along[:, None] * problem.target
    if not np.any(along):
        along[np.argmax(np.linalg.norm(p, axis=1))] = 1.0
    along = along * math.sqrt(problem.asked) / np.linalg.norm(along)
    left = np.linalg.norm(rest)
    rest = rest * (math.sqrt(max(0.0, 1.0 - problem.asked)) / left if left > 0.0 else 0.0)
    return along[:, None] * problem.target + rest


def gains(precoder: IsacPrecoder, cosines: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Power times array gain `|a^H p_j|^2` of each stream towards some directions: [point, stream] (W)."""
    known = steering(precoder.cosines, rows, columns)
    product = (np.conj(steering(cosines, rows, columns)) @ known.T).real
    return np.abs(product @ precoder.weights) ** 2


def weights_of(previous: IsacPrecoder, users: DownlinkUsers) -> np.ndarray | None:
    """Weights [direction, stream] of the precoder before on the directions and streams of now; None if none stays.

    A user that stays keeps its weights, a new one has none; the steering vectors move on.
    """
    if not previous.user.size:
        return None
    before = {int(user): row for row, user in enumerate(previous.user[:-2])}
    places = [before.get(int(user), -1) for user in users.user]
    if before and max(places, default=-1) < 0:
        return None
    old = previous.weights
    directions = np.array([*places, len(previous.cosines) - 1])
    streams = np.array([*places, len(previous.user) - 2, len(previous.user) - 1])
    kept = np.where((directions >= 0)[:, None] & (streams >= 0), old[np.ix_(directions, streams)], 0.0)
    return kept if np.any(kept) else None


def check(access: str, radar: str, on_infeasible: str, cap_share: float) -> None:
    """Raise ValueError for what no precoder knows: an access, a use of the radar sequence, an answer, a share."""
    mode(access, radar)
    if on_infeasible not in ON_INFEASIBLE:
        raise ValueError(f"on_infeasible: expected one of {', '.join(ON_INFEASIBLE)}, got {on_infeasible!r}")
    if not 0.0 < cap_share <= 1.0:
        raise ValueError(f"cap_share: expected a share in (0, 1], got {cap_share!r}")


@dataclass(frozen=True)
class Task:
    """One dwell's problem, and what becomes of its threshold.

    status : MET, CAPPED or HELD; before : [stream, dim] the precoder before, of unit power on the directions of
    now, None where no user stays; settled : precoders that need no design (held, or nobody to serve), or None
    """

    users: DownlinkUsers
    target: Illumination
    problem: Problem
    basis: Span
    status: int
    before: np.ndarray | None
    settled: np.ndarray | None

    def record(self, p: np.ndarray, iterations: int = 0) -> IsacPrecoder:
        """Precoders [stream, dim] of unit power as what is transmitted and logged."""
        return record(self.users, self.target, self.problem, self.basis, p, self.status, iterations)


def task(
    users: DownlinkUsers,
    target: Illumination,
    previous: IsacPrecoder | None,
    how: Mode,
    on_infeasible: str,
    cap_share: float,
) -> Task:
    """The task of a dwell. A threshold beyond the power is capped or, on request, the precoder before is held.

    With nobody to serve, a radar sequence takes the whole power to the target in each mode that senses.
    Raises InfeasibleError for such a threshold with on_infeasible "raise".
    """
    problem, basis = reduce(users, target, how, cap_share)
    asked = asked_share(users, target)
    feasible = not how.sensing or asked <= 1.0
    if not feasible and on_infeasible == "raise":
        raise InfeasibleError(
            f"a gain of {target.gain_w:.6g} W on target {target.target} needs "
            f"{asked * users.power_w:.6g} W, more than the {users.power_w:.6g} W of satellite {users.sat}: "
            'ask for less, give more power, or set on_infeasible to "cap" or "hold"'
        )
    weights = weights_of(previous, users) if previous is not None else None
    before = None if weights is None else (basis.on.T @ weights).T / math.sqrt(users.power_w)
    if not feasible and on_infeasible == "hold" and before is not None:
        return Task(users, target, problem, basis, HELD, before, polish(problem, before))
    settled = None
    if not problem.users:
        settled = np.zeros((2, problem.target.size))
        settled[-1] = problem.target * how.sensing
    return Task(users, target, problem, basis, MET if feasible else CAPPED, before, settled)


def record(
    users: DownlinkUsers,
    target: Illumination,
    problem: Problem,
    basis: Span,
    p: np.ndarray,
    status: int,
    iterations: int,
) -> IsacPrecoder:
    """Precoders [stream, dim] of unit power as what is transmitted and logged."""
    what = evaluate(problem, p)
    common = float(what.common.min(initial=math.inf)) if problem.mode.common and problem.users else 0.0
    weights = basis.weights @ p.T * math.sqrt(users.power_w)
    full_w = users.rows * users.columns * users.power_w
    sensing = problem.mode.sensing
    return IsacPrecoder(
        t_ns=users.t_ns,
        sat=np.array(users.sat),
        target=np.array(target.target),
        status=np.array(status),
        iterations=np.array(iterations),
        min_rate=np.array(what.min_rate if problem.users else 0.0),
        gain_asked_w=np.array(target.gain_w if sensing else 0.0),
        gain_w=np.array(radar_gain(problem, p) * full_w),
        power_needed_w=np.array(asked_share(users, target) * users.power_w if sensing else 0.0),
        user=np.append(users.user, [COMMON_STREAM, RADAR_SEQUENCE]),
        power_w=np.sum(np.abs(p) ** 2, axis=1) * users.power_w,
        rate=np.append(what.private, [common, 0.0]),
        split=np.append(what.split, [0.0, 0.0]),
        cosines=np.vstack([users.cosines, target.cosines]),
        weight_re=weights.real.ravel(),
        weight_im=weights.imag.ravel(),
        cancelled=np.array(problem.mode.cancelled),
    )
