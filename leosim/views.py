"""From what a clustering policy sees to a power-allocation problem, and back to a decision."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from leosim import allocation, couplings, rates
from leosim.records import NO_ROOM, NO_SATELLITE, SERVED, SOLVER_STATUS, Clusters, Solver, View

NEGLIGIBLE = 1e-4  # power of a coupling, relative to the noise, below which an allocation leaves it out
SOLVER_CODE = {name: code for code, name in SOLVER_STATUS.items()}


def problem(view: View, threshold: float = NEGLIGIBLE) -> tuple[couplings.Problem, np.ndarray]:
    """The allocation problem of a view, and the view's pair behind each pair of the problem: [pair] int.

    The problem counts satellites by their place in `view.couplings.sat` and orders pairs by user. Couplings
    that stay below `threshold` of the noise with all power of a satellite are left out (not under a
    Gamma); `decide` reports the least rate on all couplings.
    """
    c, order = view.couplings, np.lexsort((view.sat, view.user))
    if view.gamma is not None:
        mean, variance, allowed = rates.dense(c, view.user_count)
        useful = np.zeros(allowed.shape)
        useful[view.user, np.searchsorted(c.sat, view.sat)] = view.useful
        if not c.steady.size:
            return couplings.problem_from_dense(mean, variance, useful, allowed, view.gamma), order
        steady, _, _ = rates.dense(c.replace(mean_re=c.steady, mean_im=np.zeros_like(c.steady)), view.user_count)
        return couplings.problem_from_dense(mean - steady, variance, useful, allowed, view.gamma, steady), order
    # What is left of a mean that turns, where powers add, adds as it is: rows, as with ideal coherence.
    cross_terms = "ideal" if c.steady.size and view.cross_terms == "averaged" else view.cross_terms
    return (
        couplings.problem_from_blocks(
            view.user_count,
            _pointers(c.receiver_size),
            c.receiver,
            _pointers(c.stream_size),
            c.stream,
            _pointers(c.receiver_size * c.stream_size),
            c.mean_re,
            c.mean_im,
            c.variance,
            view.useful,
            cross_terms,
            threshold,
        ),
        order,
    )


def _full_sinr(view: View, amplitude: np.ndarray) -> np.ndarray:
    """SINR of every user on all couplings of a view: [user]; amplitude : [pair of the view]."""
    c = view.couplings
    return couplings.sinr_of_blocks(
        view.user_count,
        _pointers(c.receiver_size),
        c.receiver,
        _pointers(c.stream_size),
        c.stream,
        c.mean_re,
        c.mean_im,
        c.variance,
        view.useful,
        amplitude,
        view.cross_terms,
    )


def waited(view: View, previous: Clusters | None) -> np.ndarray:
    """Decisions in a row each user has been without room before this one: [user] int."""
    return np.zeros(view.user_count, dtype=np.int64) if previous is None else previous.waited.astype(np.int64)


def warm_start(view: View, previous: Clusters | None) -> allocation.Warm | None:
    """Prices and pairs of the previous decision, moved to the satellites and pairs of this view."""
    if previous is None or not previous.priced_sat.size:
        return None
    prices = np.full(view.couplings.sat.size, np.nan)
    place = np.searchsorted(previous.priced_sat, view.couplings.sat).clip(max=previous.priced_sat.size - 1)
    known = previous.priced_sat[place] == view.couplings.sat
    prices[known] = previous.sat_price[place[known]]
    if not known.any() or not prices[known].sum() > 0.0:
        return None
    prices[~known] = prices[known].mean()
    order = np.lexsort((view.sat, view.user))
    code = view.user[order].astype(np.int64) << 32 | view.sat[order].astype(np.int64)
    before = previous.user.astype(np.int64) << 32 | previous.sat.astype(np.int64)
    place = np.searchsorted(code, before).clip(max=code.size - 1)
    still = code[place] == before
    p = np.zeros(code.size)
    p[place[still]] = previous.amplitude[still]
    return allocation.Warm(lam=prices / prices.sum(), q=previous.user_price, p=p)


def decide(
    view: View,
    order: np.ndarray,
    found: allocation.Allocation,
    challenger: Mapping[int, tuple[int, int]] | None = None,
    previous: Clusters | None = None,
) -> tuple[Clusters, Solver]:
    """An allocation as a decision: serving pairs, statuses, prices to start the next one from, certificate.

    challenger : of a user row, the satellite waiting to take over and since when (ns)
    previous : the decision before, from which users without room have waited already
    """
    serving = np.flatnonzero(found.p > 0.0)
    pairs = order[serving]
    by_sat = np.lexsort((view.user[pairs], view.sat[pairs]))
    waiting = np.full(view.user_count, -1, dtype=np.int32)
    since = np.zeros(view.user_count, dtype=np.int64)
    for user, (sat, t_ns) in (challenger or {}).items():
        waiting[user], since[user] = sat, t_ns
    served = found.reason == SERVED
    clusters = Clusters(
        t_ns=view.t_ns,
        csi_t_ns=view.csi_t_ns,
        effective_t_ns=view.t_ns,
        user=view.user[pairs][by_sat],
        sat=view.sat[pairs][by_sat],
        amplitude=found.p[serving][by_sat],
        status=found.reason,
        waited=np.where(found.reason == NO_ROOM, waited(view, previous) + 1, 0),
        challenger=waiting,
        challenger_since_ns=since,
        user_price=found.q,
        priced_sat=view.couplings.sat,
        sat_price=found.lam,
    )
    lower = found.lower
    if served.any() and view.gamma is None:
        amplitude = np.zeros(order.size)
        amplitude[order] = found.p
        lower = min(lower, float(_full_sinr(view, amplitude)[served].min()))
    certificate = np.array([lower, found.upper, found.bound] if served.any() else [0.0, 0.0, 0.0])
    least, upper, bound = rates.spectral_efficiency(certificate)
    solver = Solver(
        t_ns=view.t_ns,
        status=np.array(SOLVER_CODE["nobody served" if not served.any() else found.status]),
        iterations=np.array(found.iterations),
        min_rate=least,
        upper_rate=upper,
        bound_rate=bound,
        bottleneck=np.array(found.bottleneck),
        without_rate=rates.spectral_efficiency(np.array(found.without)),
    )
    return clusters, solver


def uniform(problem: couplings.Problem, support: np.ndarray) -> allocation.Allocation:
    """Each satellite's power in equal shares over the users it serves: no optimisation, no bound.

    support : [pair] bool. Users without a pair in it are declared by the caller.
    """
    load = np.bincount(problem.pair_sat[support], minlength=problem.n_sat)
    p = np.where(support, 1.0 / np.sqrt(np.maximum(load[problem.pair_sat], 1)), 0.0)
    served = np.bincount(problem.pair_user[support], minlength=problem.n_user) > 0
    sinr = couplings.sinr(problem, p)
    least = float(sinr[served].min()) if served.any() else 0.0
    return allocation.Allocation(
        p=p,
        sinr=sinr,
        lower=least,
        upper=np.inf,
        gap_bit=np.inf,
        bound=np.inf,
        iterations=0,
        status="uniform",
        served=served,
        reason=np.where(served, SERVED, NO_SATELLITE),
        support=support,
        level=np.where(served, 0, -1),
        level_sinr=np.array([least]),
        level_gap_bit=np.array([np.inf]),
        lam=np.full(problem.n_sat, 1.0 / max(problem.n_sat, 1)),
        q=np.full(problem.n_user, 1.0 / max(problem.n_user, 1)),
    )


def _pointers(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
