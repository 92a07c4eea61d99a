"""The precoding problem of Park et al. 2024 over the antennas, in cvxpy: what its reduced forms are compared with.

Nothing of leosim's but the records of a drop: the paper's steering vectors with the phase reference in the corner,
Hermitian matrices with a row an antenna, its variables c, d, e, f, and the global optimum without rate splitting.
"""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
from scipy.optimize import brentq

from leosim.records import DownlinkUsers, Illumination

# Clarabel's own, 1e-8, is too little for matrices of all antennas whose rank is small.
SOLVER = {"solver": cp.CLARABEL, "static_regularization_constant": 1e-6}


C, FREQUENCY, NOISE_W = 3e8, 2e9, 1.38e-23 * 10e6 * 150.0
SAT, TARGET, RADIUS = np.array([30e3, -30e3, 340e3]), np.array([3e3, 3e3, 5e3]), 50e3
ASKED_W = 76.0  # all of it on the target; what 8e-7 rad^2 asks for


def drop(seed, power_dbw, users=4, side=8):
    """Users and target of Table I, Park et al. 2024: uniform over a disc of 100 km round the receiver."""
    rng = np.random.default_rng(seed)
    radius, angle = RADIUS * np.sqrt(rng.uniform(size=users)), rng.uniform(0.0, 2 * np.pi, users)
    offset = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(users)], axis=1) - SAT
    distance = np.linalg.norm(offset, axis=1)
    gamma = 10**0.6 * (C / (4 * np.pi * FREQUENCY * distance)) ** 2
    cosines = (TARGET - SAT)[:2] / np.linalg.norm(TARGET - SAT)
    downlink = DownlinkUsers(
        t_ns=0,
        sat=1,
        rows=side,
        columns=side,
        power_w=10 ** (power_dbw / 10),
        user=np.arange(users),
        cosines=offset[:, :2] / distance[:, None],
        noise_w=NOISE_W / gamma,
    )
    return downlink, Illumination(t_ns=0, target=0, gain_w=ASKED_W * side**2, cosines=cosines)


@dataclass(frozen=True)
class Full:
    """channel : [user, antenna] complex, power 1 and noise 1; target : [antenna] complex of norm 1; asked : (27)."""

    channel: np.ndarray
    target: np.ndarray
    asked: float


def corner_steering(cosines, rows, columns):
    """`a_x (x) a_y` with `exp(-j pi n u)` and `exp(-j pi n w)`, Eq. (5), Park et al. 2024: [..., antenna]."""
    along = np.exp(-1j * np.pi * np.arange(rows) * cosines[..., 0, None])
    cross = np.exp(-1j * np.pi * np.arange(columns) * cosines[..., 1, None])
    return (along[..., :, None] * cross[..., None, :]).reshape(*along.shape[:-1], -1)


def over_antennas(users, target):
    """The problem of some users and a target over all antennas."""
    steering = corner_steering(users.cosines, users.rows, users.columns)
    toward = corner_steering(target.cosines, users.rows, users.columns) / np.sqrt(users.rows * users.columns)
    asked = target.gain_w / (users.rows * users.columns * users.power_w)
    return Full(steering * np.sqrt(users.power_w / users.noise_w)[:, None], toward, asked)


def gain(vector, matrix):
    """`tr(a a^H P)`."""
    return cp.real(vector.conj() @ matrix @ vector)


def sdma_optimum(full, lowest, highest):
    """The largest least rate of SDMA with a sequence that users cancel, relaxed, which is exact (bit/s/Hz).

    lowest, highest : rates it lies between (bit/s/Hz); ValueError if it does not
    The noise that all users can bear at a common SINR, and the SINR at which that is the noise there is.
    """
    users, antennas = full.channel.shape
    matrices = [cp.Variable((antennas, antennas), hermitian=True) for _ in range(users + 1)]
    sinr, noise = cp.Parameter(nonneg=True), cp.Variable()
    rules = [m >> 0 for m in matrices] + [sum(cp.real(cp.trace(m)) for m in matrices) <= 1]
    rules.append(sum(gain(full.target, m) for m in matrices) >= full.asked)
    for k, h in enumerate(full.channel):
        alone = np.linalg.norm(h)
        received = [gain(h / alone, m) for m in matrices[:users]]
        rules.append(received[k] / alone >= sinr * (sum(received) - received[k] + noise / alone**2) / alone)
    most = cp.Problem(cp.Maximize(noise), rules)

    def margin(rate):
        sinr.value = 2**rate - 1
        most.solve(**SOLVER)
        assert most.status == cp.OPTIMAL
        return np.log(most.value)

    return brentq(margin, lowest, highest, xtol=1e-5)


def least_rate(received, common, cancelled):
    """The least rate with the best split of the common one, from powers [user, stream] over noise (bit/s/Hz)."""
    users = len(received)
    total = received[:, :users].sum(axis=1) + 1 + (0 if cancelled else received[:, users + 1])
    private = np.log2(total / (total - np.diagonal(received)))
    shared = np.log2(1 + received[:, users] / total).min() if common else 0.0
    low = private.min()
    return brentq(lambda rate: np.maximum(rate - private, 0).sum() - shared, low, low + shared + 1e-9, xtol=1e-12)


class Subproblem:
    """Program [m, n] of Algorithm 1, (27) and (32)-(41), word by word; d and f at `expand`, w and v at `tighten`."""

    def __init__(self, full, common, sequence, cancelled):
        users, antennas = full.channel.shape
        self.full, self.cancelled = full, cancelled
        self.streams = np.array([True] * users + [common, sequence])
        shape = (antennas, antennas)
        self.matrices = {j: cp.Variable(shape, hermitian=True) for j in np.flatnonzero(self.streams)}
        self.vectors = {j: cp.Parameter(shape, hermitian=True) for j in self.matrices}
        self.rank = {j: cp.Parameter(nonneg=True) for j in self.matrices}
        c, d, e, f = (cp.Variable(users) for _ in range(4))
        self.bounds = d, f
        portion, self.rate = cp.Variable(users, nonneg=True), cp.Variable()
        self.d, self.f = cp.Parameter(users), cp.Parameter(users)
        self.exp_d, self.exp_f = cp.Parameter(users, nonneg=True), cp.Parameter(users, nonneg=True)
        self.d_exp_d, self.f_exp_f = cp.Parameter(users), cp.Parameter(users)
        rules = [m >> 0 for m in self.matrices.values()]
        rules.append(sum(cp.real(cp.trace(m)) for m in self.matrices.values()) <= 1)
        rules.append(sum(gain(full.target, m) for m in self.matrices.values()) >= full.asked)
        for j, m in self.matrices.items():
            rules.append(cp.real(cp.trace(self.vectors[j] @ m)) >= self.rank[j] * cp.real(cp.trace(m)))
        for k, h in enumerate(full.channel):
            received = {j: gain(h, m) for j, m in self.matrices.items()}
            total = sum(received[j] for j in range(users)) + 1
            if sequence and not cancelled:
                total = total + received[users + 1]
            rules.append(cp.exp(e[k]) <= total)
            rules.append(total - received[k] <= self.exp_f[k] * (f[k] + 1) - self.f_exp_f[k])
            rules.append((e[k] - f[k]) / np.log(2) + portion[k] >= self.rate)
            if common:
                rules.append(cp.exp(c[k]) <= total + received[users])
                rules.append(total <= self.exp_d[k] * (d[k] + 1) - self.d_exp_d[k])
                rules.append((c[k] - d[k]) / np.log(2) >= cp.sum(portion))
        if not common:
            rules.append(portion == 0)
        self.program = cp.Problem(cp.Maximize(self.rate), rules)
        self.tighten(np.zeros(users + 2), np.zeros((users + 2, antennas)))

    def tighten(self, rank, toward):
        """rank : [stream] w; toward : [stream, antenna] v."""
        for j in self.matrices:
            self.rank[j].value, self.vectors[j].value = rank[j], np.outer(toward[j], toward[j].conj())

    def expand(self, d, f):
        """d, f : [user] values of the last program, where (34) and (36) are expanded."""
        self.d.value, self.exp_d.value, self.d_exp_d.value = d, np.exp(d), d * np.exp(d)
        self.f.value, self.exp_f.value, self.f_exp_f.value = f, np.exp(f), f * np.exp(f)

    def expand_at(self, received):
        """received : [user, stream] powers whose logarithms are the values of d and f."""
        users = len(received)
        total = received[:, :users].sum(axis=1) + 1
        if not self.cancelled:
            total = total + received[:, users + 1]
        self.expand(np.log(total), np.log(total - np.diagonal(received)))

    def solve(self):
        """Matrices [stream, antenna, antenna] and the received powers [user, stream]."""
        self.program.solve(**SOLVER)
        assert self.program.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)
        antennas = self.full.target.size
        found = np.zeros((self.streams.size, antennas, antennas), dtype=complex)
        for j, m in self.matrices.items():
            found[j] = m.value
        return found, np.einsum("kn,jnm,km->kj", self.full.channel.conj(), found, self.full.channel).real


def paper_algorithm_1(full, received, common, sequence, cancelled, steps=(0.2, 1e-3, 0.999), most=(20, 30)):
    """Algorithm 1 line by line from the powers received [user, stream]; a stream of no power has rank one.

    steps : delta[0], epsilon_obj, epsilon_rank; most : outer, inner iterations
    Returns precoders [stream, antenna] and the number of programs.
    """
    first_step, objective, rank = steps
    program = Subproblem(full, common, sequence, cancelled)
    program.expand_at(received)
    w, toward = np.zeros(len(program.streams)), np.zeros((len(program.streams), full.target.size))
    matrices, delta, programs = None, first_step, 0
    for _ in range(most[0]):
        program.tighten(w, toward)
        before, solvable = -np.inf, True
        for n in range(most[1]):
            programs += 1
            try:
                solved, _ = program.solve()
            except (AssertionError, cp.SolverError):
                solvable = n > 0
                break
            matrices = solved
            program.expand(*(x.value for x in program.bounds))
            if abs(program.rate.value - before) <= objective:
                break
            before = program.rate.value
        delta = first_step if solvable else delta / 2
        value, vector = np.linalg.eigh(matrices)
        trace = value.sum(axis=1)
        loud = trace > 1e-6
        w = np.where(loud, np.minimum(1.0, value[:, -1] / np.where(loud, trace, 1.0) + delta), 1.0)
        toward = vector[:, :, -1]
        if w.min() >= rank:
            break
    return vector[:, :, -1] * np.sqrt(np.maximum(value[:, -1:], 0.0)), programs
