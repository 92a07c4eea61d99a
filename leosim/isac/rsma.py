"""Rate splitting with a radar threshold: the problem of Park et al. 2024 by an interior-point method of its own.

The problem is reduced to the span of its directions (`precoding`) and climbed from a few structured starts
(`barrier`); the next dwell starts from the precoder of the one before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from leosim import barrier, precoding
from leosim.precoding import Problem
from leosim.records import DownlinkUsers, Illumination, IsacPrecoder

FIRST_MU, WARM_MU, LAST_MU = 0.1, 1e-3, 1e-7  # barrier parameters: of a cold start, of a warm one, at the end
INSIDE, WARM_INSIDE = 0.3, 0.02  # share of the way a start is moved inside the radar threshold and the power budget
QUADRATURE = 0.1  # of each stream, turned on the target: real precoders would stay real
FAINT = 1e-3  # power share of a common stream nobody depends on: one of no power would stay off
LARGEST_ASKED = 1.0 - 1e-6  # share of the power's gain beyond which the threshold leaves no interior
HEAD_START = 0.1  # of the rates over the least rate (nat)
EXHAUSTIVE = 4  # users up to which each subset served by the common stream alone is tried
OFF = 1e-5  # power share of a private stream that is switched off when the least rate does not depend on it


@dataclass(frozen=True)
class Params:
    """Access scheme, use of the radar sequence, and what happens when the threshold cannot be met."""

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
    starts: int = field(default=40, metadata={"doc": "limit of the starts of a design without a precoder before"})
    warm_starts: int = field(default=8, metadata={"doc": "of those, tried beside the precoder before"})
    iterations: int = field(default=300, metadata={"doc": "limit of the iterations from one start"})

    def __post_init__(self) -> None:
        precoding.check(self.access, self.radar, self.on_infeasible, self.cap_share)
        for name, least in (("starts", 1), ("warm_starts", 0), ("iterations", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")


def design(users: DownlinkUsers, target: Illumination, previous: IsacPrecoder | None, params: Params) -> IsacPrecoder:
    """The precoder that maximises the least user's rate under the radar threshold, Eq. (28), Park et al. 2024.

    A local optimum, the best of its starts. It starts from the precoder before where its satellite and users
    are still the same. A threshold beyond the power is capped or, on request, the precoder before is held.
    Raises precoding.InfeasibleError for such a threshold with on_infeasible "raise".
    """
    how = precoding.mode(params.access, params.radar)
    task = precoding.task(users, target, previous, how, params.on_infeasible, params.cap_share)
    if task.settled is not None:
        return task.record(task.settled)
    same = previous is not None and int(previous.sat) == users.sat and np.array_equal(previous.user[:-2], users.user)
    return task.record(*solve(task.problem, task.before if same else None, params))


@dataclass(frozen=True)
class Found:
    """A local optimum: precoders [stream, dim], their least rate (bit/s/Hz), and the iterations spent."""

    p: np.ndarray
    min_rate: float
    iterations: int


def solve(problem: Problem, start: np.ndarray | None, params: Params) -> tuple[np.ndarray, int]:
    """Precoders [stream, dim] of a problem, and the iterations of all starts together.

    start : [stream, dim] precoders before, or None
    """
    found = search(problem, params) if start is None else follow(problem, start, params)
    return max(found, key=lambda one: one.min_rate).p, sum(one.iterations for one in found)


def search(problem: Problem, params: Params) -> list[Found]:
    """Local optima over which private streams there are; without one, a user lives on the common stream.

    Two users in nearly one direction are best served when one has no private stream; to have it weak is another
    local optimum. All subsets up to four users; beyond, from the better of all and none, one user at a time.
    """
    everyone = tuple(range(problem.users))
    if not problem.mode.common:
        return [cold(problem, (), params)]
    if problem.users <= EXHAUSTIVE:
        subsets = [subset for size in range(problem.users + 1) for subset in combinations(everyone, size)]
        return [cold(problem, subset, params) for subset in subsets[: params.starts]]
    tried = {subset: cold(problem, subset, params) for subset in ((), everyone)[: params.starts]}
    centre = max(tried, key=lambda subset: tried[subset].min_rate)
    while len(tried) < params.starts:
        for user in everyone:
            subset = tuple(sorted(set(centre) ^ {user}))
            if subset not in tried and len(tried) < params.starts:
                tried[subset] = cold(problem, subset, params)
        best = max(tried, key=lambda subset: tried[subset].min_rate)
        if best == centre:
            break
        centre = best
    return list(tried.values())


def follow(problem: Problem, start: np.ndarray, params: Params) -> list[Found]:
    """The local optima that the precoders before and a few structured starts lead to.

    Those with all private streams, with one on or off against the best known, and with a single one off: first
    that of the user whose direction is nearest to another's.
    """
    found = [climb(problem, start, WARM_MU, WARM_INSIDE, params.iterations)]
    if not params.warm_starts:
        return found
    found.append(cold(problem, (), params))
    if problem.mode.common:
        best = max(found, key=lambda one: one.min_rate).p
        off = set(np.flatnonzero(~np.any(best[: problem.users], axis=1)).tolist())
        order = crowded(problem)
        flips = [tuple(sorted(off ^ {user})) for user in order] + [(user,) for user in order]
        more = [subset for subset in dict.fromkeys(flips) if subset]
        found += [cold(problem, subset, params) for subset in more[: params.warm_starts - 1]]
    return found


def crowded(problem: Problem) -> list[int]:
    """Users by how near their direction is to that of another, the nearest first."""
    unit = problem.channel / np.linalg.norm(problem.channel, axis=1)[:, None]
    alike = np.abs(unit @ unit.T)
    np.fill_diagonal(alike, 0.0)
    return [int(user) for user in np.argsort(-alike.max(axis=1), kind="stable")]


def cold(problem: Problem, subset: tuple[int, ...], params: Params) -> Found:
    """The local optimum that the structured start of a subset of users leads to."""
    return climb(problem, structured(problem, subset), FIRST_MU, INSIDE, params.iterations)


def climb(problem: Problem, start: np.ndarray, mu: float, inside: float, limit: int) -> Found:
    """The local optimum a start leads to, polished. Streams without power in the start stay off.

    start : [stream, dim]; mu : barrier parameter to begin with; inside : share of the way the start is moved
    into the interior
    """
    streams = np.flatnonzero(problem.streams & np.any(start, axis=1))
    common = problem.mode.common and problem.users in streams
    x, border = interior(problem, start, streams, inside)
    _, iterations, _ = barrier.climb(
        np.ascontiguousarray(problem.channel),
        np.ascontiguousarray(problem.target),
        min(problem.asked, LARGEST_ASKED),
        streams,
        problem.mode.cancelled,
        common,
        x,
        border,
        mu,
        LAST_MU,
        limit,
    )
    p = np.zeros(start.shape, dtype=complex)
    p[streams] = x[0::2] + 1j * x[1::2]
    p = precoding.polish(problem, p)
    rate = precoding.evaluate(problem, p).min_rate
    share = np.sum(np.abs(p) ** 2, axis=1)
    if common and np.any(share[: problem.users] < OFF):
        kept = np.append(share[: problem.users] >= OFF, [True, True])
        without = precoding.polish(problem, p * kept[:, None])
        rate_without = precoding.evaluate(problem, without).min_rate
        if rate_without >= rate * (1.0 - LAST_MU):
            p, rate = without, rate_without
    return Found(p, rate, iterations)


def interior(problem: Problem, start: np.ndarray, streams: np.ndarray, inside: float) -> tuple[np.ndarray, np.ndarray]:
    """A strictly feasible point near a start: real and imaginary parts [2 stream, dim], and t with the split (nat)."""
    asked = min(problem.asked, LARGEST_ASKED)
    deeper = asked + inside * (1.0 - asked) if asked > 0.0 else 0.0
    on = np.isin(np.arange(problem.users + 2), streams)
    p = precoding.polish(replace(problem, asked=deeper), start * on[:, None])
    p = p * math.sqrt(1.0 - 0.5 * inside * (1.0 - asked))
    what = precoding.evaluate(problem, p)
    x = np.empty((2 * streams.size, problem.target.size))
    x[0::2], x[1::2] = p[streams].real, p[streams].imag
    split = np.empty(0)
    if problem.mode.common and on[problem.users]:
        split = (1.0 - inside) * what.split + 0.5 * inside * float(what.common.min()) / problem.users
    least = float(np.min(what.private + split if split.size else what.private))
    return x, math.log(2.0) * np.append(least - HEAD_START * inside * max(least, 1.0), split)


def structured(problem: Problem, subset: tuple[int, ...]) -> np.ndarray:
    """Precoders [stream, dim] that serve a subset of users with the common stream alone.

    Private streams of the others: regularised zero forcing; common stream: matched to the subset, in phases
    that differ; radar sequence: on the target.
    """
    h, n = problem.channel, problem.users
    forced = np.linalg.solve(h.T @ h + n * np.eye(problem.target.size), h.T).T
    matched = h / np.linalg.norm(h, axis=1)[:, None]
    served = np.full(n, FAINT)
    served[list(subset or range(n))] = 1.0
    common = (np.sqrt(served) * np.exp(1j * np.pi * np.arange(n) ** 2 / n)) @ matched
    p = np.vstack([forced, common, problem.target])
    p = p / np.linalg.norm(p, axis=1)[:, None] + 1j * QUADRATURE * problem.target
    share = np.full(n + 2, 1.0 / n)
    share[list(subset)] = 0.0
    share[n] = max(len(subset) / n, FAINT)
    return np.sqrt(share)[:, None] * p * problem.streams[:, None]
