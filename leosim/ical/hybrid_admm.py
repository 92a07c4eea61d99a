"""Algorithm 1 of You et al. 2024 in exact compressed form: alternating directions towards a localisation-only precoder.

A named reference to compare `hybrid` with. Its N_t x K copies of the precoder, one a terminal and subcarrier, differ by
matrices of rank one, so an iteration takes milliseconds, where dense eigendecompositions take seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize

from leosim import joint, phase_shifters, position_design, position_task
from leosim.joint import Problem
from leosim.records import IcalPrecoder, Terminals

LEAST_PENALTY, MOST_PENALTY = 1e-6, 1e6  # over `Task.scale`
MOST_NEWTON, NEWTON_WITHIN = 50, 1e-13  # steps towards mu, and of the power how near is enough
SINGULAR = 1e-12  # of the largest eigenvalue of W_RF^H W_RF: below it chains count as the same
MOST_DIGITAL = 200  # iterations of the digital design


@dataclass(frozen=True)
class Params:
    """Weights of rate and distance, the array's structure, and when iterations end.

    rho : weight of the sum MSE; 1: rate only, 0: distance only
    sd : the summed squared distance to the localisation-only precoder has the weight (1 - rho) sd (1/W), in other words
        its share of the power has (1 - rho) sd P. The distance has a term a subcarrier, the MSE one a block; 1 is the
        problem (36) as printed. 2.7 is fitted to the paper's 85 bit/s/Hz and 5 m at 26 dBW
    chains : RF chains; layout : of the phase shifters
    penalty : first eta of Eq. (38), over the terms of the objective a watt; ratio, grow, shrink : varrho, varsigma^mul
        and varsigma^div of Eq. (49)
    tolerance : of the residual and of the last change, over the precoder, at which iterations end
    """

    rho: float = field(default=0.7, metadata={"doc": "weight of the rate, 0 to 1; the rest is the position's"})
    sd: float = field(default=2.7, metadata={"doc": "weight of the distance to the localisation-only precoder (1/W)"})
    chains: int = field(default=36, metadata={"doc": "RF chains"})
    layout: str = field(
        default="fully_connected", metadata={"doc": "fully_connected | contiguous | tiles | interleaved"}
    )
    iterations: int = field(default=200, metadata={"doc": "iterations, at most"})
    penalty: float = field(default=3.0, metadata={"doc": "first penalty, over the objective's terms a watt"})
    ratio: float = field(default=10.0, metadata={"doc": "of the two residuals beyond which the penalty changes"})
    grow: float = field(default=1.2, metadata={"doc": "factor of a penalty that grows"})
    shrink: float = field(default=1.2, metadata={"doc": "divisor of a penalty that shrinks"})
    tolerance: float = field(default=1e-3, metadata={"doc": "relative residual and change that end the iterations"})

    def __post_init__(self) -> None:
        if self.layout not in joint.LAYOUTS[1:]:
            raise ValueError(f"layout: expected one of {', '.join(joint.LAYOUTS[1:])}, got {self.layout!r}")
        for name, low, high in (
            ("rho", 0.0, 1.0),
            ("sd", 0.0, math.inf),
            ("penalty", 1e-9, math.inf),
            ("ratio", 1.0, math.inf),
            ("grow", 1.0, math.inf),
            ("shrink", 1.0, math.inf),
            ("tolerance", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ValueError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
        for name in ("chains", "iterations"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")


# ---------------------------------------------------------------------------------------------
# What Algorithm 1 minimises


@dataclass(frozen=True)
class Task:
    """Problem (37) for one subcarrier of each block: `rho sum(omega eps - ln omega) + K pull ||W - W_loc||^2`.

    towards : [block, terminal, ant] h^T, whose product with a precoder is what arrives; gamma : [terminal] ||h||^2
    noise_w : [terminal] a subcarrier; located : [ant, block, stream] W_loc; pull : weight of the distance over K (1/W)
    power_w : of one subcarrier of each block together
    """

    towards: np.ndarray
    gamma: np.ndarray
    noise_w: np.ndarray
    located: np.ndarray
    rho: float
    pull: float
    power_w: float

    @property
    def terminals(self) -> int:
        """Number K of terminals, of streams and of copies."""
        return len(self.gamma)

    @property
    def scale(self) -> float:
        """Terms of the objective over the power (1/W): what a penalty is measured in."""
        return self.towards.shape[0] * self.terminals / self.power_w + self.pull

    @property
    def back(self) -> np.ndarray:
        """`a = conj(h)` as columns: [block, ant, terminal]."""
        return self.towards.conj().swapaxes(-1, -2)


def task(p: Problem, located: np.ndarray, rho: float, sd: float) -> Task:
    """The task of a problem, its localisation-only precoder [block, ant, stream] and the two weights.

    The sum MSE has a term a block, the distance one a subcarrier: a reading, see `Params.sd`.
    """
    return Task(
        towards=np.ascontiguousarray((p.responses[:, :, 0] * np.sqrt(p.link.gamma)[:, None]).conj()),
        gamma=p.link.gamma,
        noise_w=p.link.noise_w,
        located=np.ascontiguousarray(located.swapaxes(0, 1)),
        rho=rho,
        pull=(1.0 - rho) * sd * p.waveform.block_subcarriers / p.terminals,
        power_w=p.power_w / p.waveform.block_subcarriers,
    )


def aligned(located: np.ndarray, toward: np.ndarray) -> np.ndarray:
    """A localisation-only precoder turned to another one: `W_loc U`, U unitary, nearest to it block by block.

    located, toward : [block, ant, stream]. The position bound does not depend on U, the distance does (Procrustes).
    """
    left, _, right = np.linalg.svd(located.conj().swapaxes(-1, -2) @ toward)
    turned: np.ndarray = located @ (left @ right)
    return turned


# ---------------------------------------------------------------------------------------------
# One iteration


@dataclass(frozen=True)
class State:
    """Where Algorithm 1 is. Copies and scaled duals are `G_k = common + a_k own_k^T`, `Q_k` likewise, a_k = conj(h_k).

    analog : [ant, chain] W_RF; baseband : [chain, block, stream] W_BB; product : [ant, block, stream] W_RF W_BB
    common, dual_common : [ant, block, stream]; own, dual_own : [block, terminal, stream]
    receiver, weight : [block, terminal] u and omega; penalty : eta, one for all terminals and blocks
    residual, change : squared norms over all copies of G - W_RF W_BB and of the last change of G (W)
    """

    analog: np.ndarray
    baseband: np.ndarray
    product: np.ndarray
    common: np.ndarray
    own: np.ndarray
    dual_common: np.ndarray
    dual_own: np.ndarray
    receiver: np.ndarray
    weight: np.ndarray
    penalty: float
    residual: float = math.inf
    change: float = math.inf

    def written(self) -> np.ndarray:
        """The precoder W_RF W_BB: [block, ant, stream]."""
        return self.product.swapaxes(0, 1)


def start(t: Task, analog: np.ndarray, baseband: np.ndarray, penalty: float) -> State:
    """All copies at the product of the two precoders, brought to the power; duals zero.

    analog : [ant, chain]; baseband : [chain, block, stream]; penalty : over `Task.scale`
    """
    product = _times(analog, baseband)
    scale = math.sqrt(t.power_w / max(_norm2(product), 1e-300))
    baseband, product = baseband * scale, product * scale
    own = np.zeros((product.shape[1], t.terminals, product.shape[2]), dtype=complex)
    receiver, weight = receivers(t, product, own)
    zero = np.zeros_like(product)
    return State(analog, baseband, product, product, own, zero, own, receiver, weight, penalty * t.scale)


def iterate(t: Task, s: State, chain: np.ndarray | None, params: Params) -> State:
    """Steps 10 to 16 of Algorithm 1. chain : [ant] the chain of each antenna, None if fully connected."""
    common, own = copies(t, s)
    receiver, weight = receivers(t, common, own)
    mean = common + s.dual_common + _spread(t, (own + s.dual_own) / t.terminals)
    baseband = _least_squares(s.analog, mean, chain)
    analog = shifters(s.analog, baseband, mean, chain)
    product = _times(analog, baseband)
    off = common - product
    residual = _copies_norm2(t, off, own)
    change = _copies_norm2(t, common - s.common, own - s.own)
    penalty = _next_penalty(s.penalty, residual, change, params, t.scale)
    rescale = s.penalty / penalty  # Q is the dual over the penalty
    return State(
        analog=analog,
        baseband=baseband,
        product=product,
        common=common,
        own=own,
        dual_common=(s.dual_common + off) * rescale,
        dual_own=(s.dual_own + own) * rescale,
        receiver=receiver,
        weight=weight,
        penalty=penalty,
        residual=residual,
        change=change,
    )


def copies(t: Task, s: State) -> tuple[np.ndarray, np.ndarray]:
    """Step 10, `G_k = (A_k + mu I)^-1 Psi_k`, Eqs. (42)-(44), by Sherman-Morrison: common and own parts of G.

    `A_k = s_k a_k a_k^H + c I` with `s_k = rho omega |u|^2`, and `Psi_k = Psi_c + a_k psi_k^T`.
    """
    c = t.pull + 0.5 * s.penalty
    curve = t.rho * s.weight * np.abs(s.receiver) ** 2
    shared = t.pull * t.located + 0.5 * s.penalty * (s.product - s.dual_common)
    own = -0.5 * s.penalty * s.dual_own
    k = np.arange(t.terminals)
    own[:, k, k] += t.rho * s.weight * s.receiver.conj()
    seen = t.towards @ shared.swapaxes(0, 1)  # a_k^H Psi_c: [block, terminal, stream]
    d = c + _multiplier(t, c, curve, _norm2(shared), own, seen)
    return shared / d, (own - curve[..., None] * seen / d) / (d + curve * t.gamma)[..., None]


def _multiplier(t: Task, c: float, curve: np.ndarray, shared: float, own: np.ndarray, seen: np.ndarray) -> float:
    """mu of Eq. (44), `delta(mu) = K P`; 0 where the power is not used up.

    The eigenvalues of A_k are `c + s_k ||a_k||^2`, along a_k, and c, so that delta has a closed form. Newton's method
    on `1 / sqrt(delta)`, a concave function of mu, comes from below and ends in a few steps.
    """
    before = np.sum(np.abs(seen) ** 2, axis=-1) / t.gamma
    along = np.sum(np.abs(seen + t.gamma[:, None] * own) ** 2, axis=-1) / t.gamma
    across = max(t.terminals * shared - float(before.sum()), 0.0)
    stiff = c + curve * t.gamma
    budget, mu = t.terminals * t.power_w, 0.0
    for _ in range(MOST_NEWTON):
        delta = across / (c + mu) ** 2 + float(np.sum(along / (stiff + mu) ** 2))
        if delta <= budget * (1.0 + NEWTON_WITHIN):
            break
        slope = across / (c + mu) ** 3 + float(np.sum(along / (stiff + mu) ** 3))
        mu += delta / slope * (math.sqrt(delta / budget) - 1.0)
    return mu


def receivers(t: Task, common: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps 11 and 12: `u = conj(h^T g_k) / (sum |h^T g_i|^2 + N_0)`, with s^ = u y, and `omega = 1 + SINR`."""
    arrives = t.towards @ common.swapaxes(0, 1) + t.gamma[:, None] * own
    wanted = np.einsum("bkk->bk", arrives)
    everything = np.sum(np.abs(arrives) ** 2, axis=-1) + t.noise_w
    return wanted.conj() / everything, everything / (everything - np.abs(wanted) ** 2)


def _least_squares(analog: np.ndarray, mean: np.ndarray, chain: np.ndarray | None) -> np.ndarray:
    """Step 13, Eq. (46): the baseband nearest to the mean of all copies and their duals."""
    seen = _times(analog.conj().T, mean)
    if chain is not None:
        near: np.ndarray = seen * (analog.shape[1] / analog.shape[0])
        return near
    # Chains that happen to agree share their part.
    return _times(np.linalg.pinv(analog.conj().T @ analog, rcond=SINGULAR, hermitian=True), seen)


def shifters(analog: np.ndarray, baseband: np.ndarray, mean: np.ndarray, chain: np.ndarray | None) -> np.ndarray:
    """Step 14, Eqs. (47)-(48): `exp{-j angle X^T}` if fully connected, else `exp{j angle Y}` where connected."""
    flat, base = mean.reshape(len(mean), -1), baseband.reshape(len(baseband), -1)
    if chain is not None:
        n = np.arange(len(chain))
        updated = np.zeros_like(analog)
        updated[n, chain] = _unit(np.einsum("nj,nj->n", flat, base[chain].conj()), analog[n, chain])
        return updated
    gram = base @ base.conj().T
    steep = float(np.linalg.eigvalsh(gram)[-1]) * np.eye(len(gram))
    return _unit(flat @ base.conj().T - analog @ (gram - steep), analog)


def _next_penalty(penalty: float, residual: float, change: float, params: Params, scale: float) -> float:
    """Step 16, Eq. (49), within limits: with rho = 1 nothing else would bound the copies."""
    if residual > params.ratio * change:
        return min(penalty * params.grow, MOST_PENALTY * scale)
    if params.ratio * residual < change:
        return max(penalty / params.shrink, LEAST_PENALTY * scale)
    return penalty


def _times(matrix: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """A matrix times [row, block, stream]."""
    product: np.ndarray = (matrix @ wide.reshape(len(wide), -1)).reshape(len(matrix), *wide.shape[1:])
    return product


def _spread(t: Task, own: np.ndarray) -> np.ndarray:
    """`sum_k a_k own_k^T`: [ant, block, stream]."""
    return (t.back @ own).swapaxes(0, 1)


def _unit(x: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """`exp(j angle x)`, and where x is zero what was before."""
    size = np.abs(x)
    return np.where(size > 0.0, x / np.where(size > 0.0, size, 1.0), otherwise)


def _norm2(x: np.ndarray) -> float:
    """Squared Frobenius norm."""
    return float(np.vdot(x, x).real)


def _copies_norm2(t: Task, common: np.ndarray, own: np.ndarray) -> float:
    """`sum_k ||common + a_k own_k^T||^2`."""
    cross = np.vdot(own, t.towards @ common.swapaxes(0, 1)).real
    total = t.terminals * _norm2(common) + 2.0 * cross + float(np.sum(t.gamma[:, None] * np.abs(own) ** 2))
    return max(float(total), 0.0)


# ---------------------------------------------------------------------------------------------
# Where it starts


def regularised(p: Problem) -> np.ndarray:
    """Regularised zero forcing: [block, ant, stream], of any power."""
    a = (p.responses[:, :, 0] * np.sqrt(p.link.gamma)[:, None]).swapaxes(-1, -2)
    load = p.link.noise_w * (p.terminals * p.waveform.subcarriers / p.power_w)
    forced: np.ndarray = a @ np.linalg.inv(a.conj().swapaxes(-1, -2) @ a + np.diag(load))
    return forced


def digital(p: Problem, t: Task, first: np.ndarray, most: int = MOST_DIGITAL) -> np.ndarray:
    """The fully digital precoder [block, ant, stream] of the same task, at the whole power: L-BFGS in the span.

    With u and omega at their best for a precoder, the objective is `-rho sum ln(1 + SINR)` and the distance.
    first : [block, ant, stream] where it starts; most : iterations
    """
    basis, seen = p.basis
    back = seen.conj().swapaxes(-1, -2)
    shape = (p.waveform.blocks, basis.shape[2], p.terminals)
    goal = basis.conj().swapaxes(-1, -2) @ t.located.swapaxes(0, 1)
    nats, pull = t.rho * p.waveform.blocks * math.log(2.0), t.pull * t.terminals

    def cost(x: np.ndarray) -> tuple[float, np.ndarray]:
        size2 = float(x @ x)
        scale = math.sqrt(t.power_w / size2)
        w = scale * x.view(complex).reshape(shape)
        gains = np.moveaxis((seen @ w).reshape(shape[0], p.terminals, 3, -1), 1, 0)
        rate, slope = p.rate(gains)
        by_gain = np.zeros_like(gains)
        by_gain[:, :, 0] = slope
        off = w - goal
        by_w = pull * off - nats * (back @ np.moveaxis(by_gain, 0, 1).reshape(shape))
        g = 2.0 * scale * by_w.reshape(-1).view(float)
        return pull * _norm2(off) - nats * float(rate.sum()), g - (g @ x) / size2 * x

    x = (basis.conj().swapaxes(-1, -2) @ first).reshape(-1).view(float)
    x = x * math.sqrt(t.power_w / float(x @ x))
    found = minimize(cost, x, jac=True, method="L-BFGS-B", options={"maxiter": most}).x
    scale = math.sqrt(t.power_w / float(found @ found))
    made: np.ndarray = scale * (basis @ found.view(complex).reshape(shape))
    return made


def weighed(p: Problem, params: Params) -> tuple[Task, np.ndarray]:
    """The task of a problem, and the communication precoder [block, ant, stream] its W_loc is turned to."""
    communication = regularised(p)
    if params.rho == 1.0:
        return task(p, communication, 1.0, params.sd), communication  # no distance
    located = aligned(position_design.localisation_only(p), communication)
    return task(p, located, params.rho, params.sd), communication


def first(p: Problem, t: Task, precoder: np.ndarray, params: Params) -> State:
    """Where Algorithm 1 starts from a digital precoder [block, ant, stream]: phases by `phase_shifters.two_phase`."""
    phase = phase_shifters.two_phase(precoder, params.chains, params.layout, p.rows, p.columns)
    analog = joint.analog(phase, params.layout, p.rows, p.columns, params.chains)
    baseband = phase_shifters.baseband(precoder, analog)
    return start(t, analog, np.ascontiguousarray(baseband.swapaxes(0, 1)), params.penalty)


def iterations(p: Problem, t: Task, s: State, params: Params) -> Iterator[State]:
    """The states of Algorithm 1, from the first, until residual and change are small or the iterations used up."""
    fully = params.layout == "fully_connected"
    chain = None if fully else joint.chain_of(params.layout, p.rows, p.columns, params.chains)
    yield s
    for _ in range(params.iterations):
        s = iterate(t, s, chain, params)
        yield s
        if max(s.residual, s.change) <= params.tolerance**2 * t.terminals * t.power_w:
            return


# ---------------------------------------------------------------------------------------------
# The algorithm of a scenario


def design(terminals: Terminals, previous: IcalPrecoder | None, params: Params) -> IcalPrecoder:
    """A hybrid precoder by Algorithm 1, You et al. 2024, from the precoder before if satellite and users are the same.

    The target of the scenario is not used: `rho` and `sd` weigh rate and position. The product is brought to the
    whole power, for (39b) bounds the copies G. Deviations: W_loc by L-BFGS instead of semidefinite programs, turned
    to the communication precoder; a cold start from the digital precoder; one penalty for all copies.
    Raises ValueError for no terminal, fewer chains than terminals, or chains that do not fit the array.
    """
    p = joint.problem(terminals)
    phase_shifters.check_chains(params.chains, p.terminals, params.layout, p.rows, p.columns)
    if not p.terminals:
        raise ValueError("terminals: expected at least one to serve, got none")
    if not p.power_w > 0.0:
        return position_task.nothing(terminals, p)
    with position_task.one_thread():
        t, communication = weighed(p, params)
        before = _before(terminals, previous, p, params)
        if before is None:
            begin = first(p, t, digital(p, t, communication), params)
        else:
            begin = start(t, *before, params.penalty)
        count, end = deque(enumerate(iterations(p, t, begin, params)), maxlen=1)[0]
    phase = np.angle(end.analog)
    if params.layout != "fully_connected":
        phase = phase[np.arange(p.antennas), joint.chain_of(params.layout, p.rows, p.columns, params.chains)]
    return joint.record(terminals, p, end.baseband.swapaxes(0, 1), count, params.layout, phase)


def _before(
    terminals: Terminals, previous: IcalPrecoder | None, p: Problem, params: Params
) -> tuple[np.ndarray, np.ndarray] | None:
    """W_RF and W_BB of the precoder before, None if it is not one of the same structure, satellite and users."""
    if (
        previous is None
        or int(previous.sat) != terminals.sat
        or not np.array_equal(previous.user, terminals.user)
        or int(previous.layout) != joint.LAYOUTS.index(params.layout)
        or int(previous.chains) != params.chains
    ):
        return None
    baseband = (previous.weight_re + 1j * previous.weight_im).reshape(p.waveform.blocks, params.chains, p.terminals)
    if not baseband.any():
        return None
    analog = joint.analog(previous.phase_rad, params.layout, p.rows, p.columns, params.chains)
    return analog, np.ascontiguousarray(baseband.swapaxes(0, 1))
