"""Uplink-downlink duality: the fixed point over prices and powers, its certificate, the worth of a pair.

Compiled kernels over the arrays of a `couplings.Problem` whose useful amplitudes add. With prices lam
(satellites) and virtual uplink powers q (users) on their simplices and S_k = sum_j q_j M_jk + diag(lam),
every lam and q certify t <= max_k q_k r_k, r_k = max_{u >= 0} (b^T u)^2 / (u^T S_k u).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from leosim import parallel
from leosim.couplings import Arrays, kernel, stream_gains

PRICE_EXPONENT = 0.55  # undamped (1) diverges in about one case of ten
BALANCE = 3e-2  # of the gap: relative change of powers at which a balance for given directions ends
LARGEST_EXPONENT = 6.0  # of a price that keeps moving one way
ASTRAY = 0.03  # log SINR, and ten times the gap: where the bound gets worse by that, price steps were too long
PARALLEL_WORK = 100_000  # couplings below which threads cost more than they save
SMALLEST_RAISE_BIT = 1e-3  # a level that gains less ends the lexicographic raise


@dataclass(frozen=True)
class _State:
    """The working arrays of one level: what the kernels read and write, a slot a user, pair or satellite."""

    lam: np.ndarray  # [sat] prices, and those of the best bound
    lam_best: np.ndarray
    q: np.ndarray  # [user] virtual uplink powers
    q_best: np.ndarray
    passive: np.ndarray  # [pair] where the last directions are not 0
    u: np.ndarray  # [pair] directions, and the same with overloaded satellites turned down
    v: np.ndarray
    gain: np.ndarray  # [receiver] of the directions u, of v
    gain_clip: np.ndarray
    num: np.ndarray  # [user] useful power of u, of v
    num_clip: np.ndarray
    r: np.ndarray  # [user] value of each direction, inf where it is not finished
    power: np.ndarray  # [user] downlink powers for u, for v
    power_clip: np.ndarray
    load: np.ndarray  # [sat] and relative to the mean of the prices
    price_load: np.ndarray
    exponent: np.ndarray  # [sat] of the price step, and the last misfit
    misfit: np.ndarray
    p_best: np.ndarray  # [pair] best powers
    bounds: np.ndarray  # lower, upper, iterations done, bound of the last prices, largest exponent


def fixed_point(
    arrays: Arrays,
    n_sat: int,
    target: np.ndarray,
    lam: np.ndarray,
    q: np.ndarray,
    passive: np.ndarray,
    p_best: np.ndarray,
    lower: float,
    tol_bit: float,
    max_iterations: int,
) -> tuple[float, float, int]:
    """One level of the max-min by uplink-downlink duality; coherent useful power.

    Directions of the users, and what they add to every receiver, are a map over users: on the threads of
    `parallel.workers` where there is enough to do, with the same bits on any number of them.

    lam, q, passive and p_best are updated in place: best prices, and best powers above `lower`.
    Returns (lower, upper, iterations).
    """
    n_user, n_pair, n_nb = len(q), len(p_best), len(arrays[4])
    state = _State(
        lam=lam,
        lam_best=lam.copy(),
        q=q,
        q_best=q.copy(),
        passive=passive,
        u=np.zeros(n_pair),
        v=np.zeros(n_pair),
        gain=np.zeros(n_nb),
        gain_clip=np.zeros(n_nb),
        num=np.zeros(n_user),
        num_clip=np.zeros(n_user),
        r=np.zeros(n_user),
        power=np.zeros(n_user),
        power_clip=np.zeros(n_user),
        load=np.zeros(n_sat),
        price_load=np.zeros(n_sat),
        exponent=np.full(n_sat, PRICE_EXPONENT),
        misfit=np.zeros(n_sat),
        p_best=p_best,
        bounds=np.array([lower, np.inf, 0.0, np.inf, LARGEST_EXPONENT]),
    )
    slots = tuple(getattr(state, f.name) for f in fields(_State))
    work = len(arrays[7]) + len(arrays[11]) + n_pair
    if parallel.count() > 1 and work >= PARALLEL_WORK:
        for _ in range(max_iterations):
            parallel.each_range(n_user, lambda k0, k1: _directions(k0, k1, arrays, slots))
            _downlink(arrays, target, slots)
            parallel.each_range(n_user, lambda k0, k1: _clipped(k0, k1, arrays, slots))
            if _prices(arrays, target, lower, tol_bit, slots):
                break
    else:
        _iterate(arrays, target, lower, tol_bit, max_iterations, slots)
    if np.isfinite(state.bounds[1]):
        lam[:] = state.lam_best
        q[:] = state.q_best
    return float(state.bounds[0]), float(state.bounds[1]), int(state.bounds[2])


@kernel
def _iterate(
    arrays: Arrays, target: np.ndarray, start: float, tol_bit: float, max_iterations: int, slots: Arrays
) -> None:
    n_user = len(target)
    for _ in range(max_iterations):
        _directions(0, n_user, arrays, slots)
        _downlink(arrays, target, slots)
        _clipped(0, n_user, arrays, slots)
        if _prices(arrays, target, start, tol_bit, slots):
            break


@kernel
def _directions(first: int, last: int, arrays: Arrays, slots: Arrays) -> None:
    # Of some users: the best direction u for the prices, its value r, and what it gives every receiver.
    ptr, sat, b, nb_ptr, nb_user, var_ptr, var_at, var, row_ptr, _, _, _ = arrays
    lam, _, q, _, passive, u, _, gain, _, num, _, r = slots[:12]
    n_max, rows_max, nb_max = _widest(first, last, arrays)
    s_matrix = np.zeros((n_max, n_max))
    g = np.zeros((rows_max, n_max))
    chol = np.zeros((n_max, n_max))
    x = np.zeros(n_max)
    index = np.zeros(n_max, np.int64)
    slack = np.zeros(n_max)
    near = np.zeros(nb_max)
    for k in range(first, last):
        a, z = ptr[k], ptr[k + 1]
        n = z - a
        if row_ptr[k + 1] == row_ptr[k]:
            # S is diagonal: u = S^-1 b, exact
            for e in range(nb_ptr[k], nb_ptr[k + 1]):
                near[e - nb_ptr[k]] = q[nb_user[e]]
            value = 0.0
            for c in range(a, z):
                total = lam[sat[c]]
                for e in range(var_ptr[c], var_ptr[c + 1]):
                    total += near[var_at[e]] * var[e]
                u[c] = b[c] / total
                passive[c] = True
                value += b[c] * u[c]
            r[k] = value
        else:
            _uplink_matrix(k, lam, q, arrays, s_matrix, g, near)
            done = _direction(n, s_matrix, b[a:z], passive[a:z], u[a:z], slack, index, chol, x)
            top = 0.0
            for c in range(n):
                top = max(top, b[a + c])
            # safe value: S w >= b gives r <= w^T S w; w = u / (1 - short)
            short = 0.0
            quadratic = 0.0
            for c in range(n):
                quadratic += u[a + c] * (slack[c] + b[a + c])
                floor = max(b[a + c], 1e-9 * top)
                short = max(short, (floor - b[a + c] - slack[c]) / floor)
            r[k] = quadratic / (1.0 - short) ** 2 if done and short < 0.5 else np.inf
        stream_gains(k, arrays, u, True, gain, num)


@kernel
def _widest(first: int, last: int, arrays: Arrays) -> tuple[int, int, int]:
    # Most pairs, factor rows and receivers of any of some users.
    ptr, nb_ptr, row_ptr = arrays[0], arrays[3], arrays[8]
    n_max, rows_max, nb_max = 0, 0, 0
    for k in range(first, last):
        n_max = max(n_max, ptr[k + 1] - ptr[k])
        rows_max = max(rows_max, row_ptr[k + 1] - row_ptr[k])
        nb_max = max(nb_max, nb_ptr[k + 1] - nb_ptr[k])
    return n_max, rows_max, nb_max


@kernel
def _downlink(arrays: Arrays, target: np.ndarray, slots: Arrays) -> None:
    # The bound of the prices, the powers for the directions, and the directions v for full satellites.
    ptr, sat, b, nb_ptr, nb_user = arrays[:5]
    lam, lam_best, q, q_best, _, u, v, gain, _, num, _, r, power, power_clip, load, price_load = slots[:16]
    p_best, bounds = slots[18], slots[19]
    n_user, n_sat = len(target), len(lam)
    bounds[2] += 1.0
    # certificate: sum_k (q_k / t_k - 1 / r_k) useful_k >= 0 for every feasible SINR vector t_k
    bound = 0.0
    inverse = 0.0
    excess = 0.0
    for k in range(n_user):
        if target[k] > 0.0:
            total = 0.0
            for a in range(ptr[k], ptr[k + 1]):
                total += b[a]
            excess += max(0.0, q[k] / target[k] - 1.0 / r[k]) * total * total
        else:
            bound = max(bound, q[k] * r[k])
            inverse += 1.0 / r[k]
    if bound < np.inf and inverse > 0.0:
        bound += excess / inverse
        bounds[3] = bound
        if bound < bounds[1]:
            bounds[1] = bound
            lam_best[:] = lam
            q_best[:] = q
    precise = _precision(target, bounds)
    square = np.empty(len(u))
    fixed_load = np.empty(n_sat)
    for a in range(len(u)):
        square[a] = u[a] * u[a]
    if bounds[2] == 1.0:
        for k in range(n_user):
            power[k] = 1.0 / num[k]
    t = _balance(ptr, sat, n_sat, nb_ptr, nb_user, gain, num, square, target, power, load, fixed_load, precise)
    if t < 0.0:
        # targets out of reach with these directions: loads of the free balance steer the prices
        for k in range(n_user):
            power[k] = 1.0 / num[k]
        zero = np.zeros(n_user)
        _balance(ptr, sat, n_sat, nb_ptr, nb_user, gain, num, square, zero, power, load, fixed_load, precise)
    else:
        _keep_best(ptr, nb_ptr, nb_user, gain, num, target, power, load, u, bounds, p_best)
    mean_load = 0.0
    for l in range(n_sat):
        mean_load += lam[l] * load[l]
    for l in range(n_sat):
        price_load[l] = load[l] / mean_load
    for k in range(n_user):
        power_clip[k] = power[k] / mean_load
        for a in range(ptr[k], ptr[k + 1]):
            v[a] = u[a] / math.sqrt(max(1.0, price_load[sat[a]]))


@kernel
def _clipped(first: int, last: int, arrays: Arrays, slots: Arrays) -> None:
    # Of some users: what the directions v give every receiver.
    v, gain_clip, num_clip = slots[6], slots[8], slots[10]
    for k in range(first, last):
        stream_gains(k, arrays, v, True, gain_clip, num_clip)


@kernel
def _prices(arrays: Arrays, target: np.ndarray, start: float, tol_bit: float, slots: Arrays) -> bool:
    # Powers for the directions v, then the next prices and virtual powers. True: this is the end.
    ptr, sat, _, nb_ptr, nb_user = arrays[:5]
    lam, lam_best, q, q_best, _, u, v, gain, gain_clip, num, num_clip, _, _, power_clip, load, price_load = slots[:16]
    exponent, misfit_before, p_best, bounds = slots[16:]
    n_user, n_sat = len(target), len(lam)
    square = np.empty(len(v))
    fixed_load = np.empty(n_sat)
    for a in range(len(v)):
        square[a] = v[a] * v[a]
    precise = _precision(target, bounds)
    t = _balance(
        ptr, sat, n_sat, nb_ptr, nb_user, gain_clip, num_clip, square, target, power_clip, load, fixed_load, precise
    )
    if t > 0.0:
        _keep_best(ptr, nb_ptr, nb_user, gain_clip, num_clip, target, power_clip, load, v, bounds, p_best)
    lower, upper, iteration, now, _ = bounds
    if upper < np.inf and lower > 0.0 and math.log2((1.0 + upper) / (1.0 + lower)) <= tol_bit:
        return True
    if target.max() > 0.0 and (iteration >= 8 or upper < np.inf):
        # a level above the first: no gain found, or none to be found
        top = lower if iteration >= 8 else max(lower, upper)
        if math.log2((1.0 + top) / (1.0 + start)) < SMALLEST_RAISE_BIT:
            return True
    least_exponent = 1.5 * PRICE_EXPONENT
    gap = math.log((1.0 + upper) / (1.0 + lower)) if upper < np.inf else np.inf
    if now < np.inf and bounds[4] > least_exponent and math.log((1.0 + now) / (1.0 + upper)) > max(ASTRAY, 10.0 * gap):
        # steps too long have led astray: back to the best prices, with shorter ones
        lam[:] = lam_best
        q[:] = q_best
        bounds[4] = max(0.5 * bounds[4], least_exponent)
        for l in range(n_sat):
            exponent[l] = 0.5 * PRICE_EXPONENT
            misfit_before[l] = 0.0
        return False
    total = 0.0
    for l in range(n_sat):
        misfit = math.log(max(price_load[l], 1e-4))
        if misfit * misfit_before[l] > 0.0:
            exponent[l] = min(exponent[l] * 1.3, bounds[4])
        elif misfit * misfit_before[l] < 0.0:
            exponent[l] = max(exponent[l] * 0.5, 0.2)
        misfit_before[l] = misfit
        lam[l] = max(lam[l] * math.exp(min(max(exponent[l] * misfit, -3.0), 3.0)), 1e-10)
        total += lam[l]
    for l in range(n_sat):
        lam[l] /= total
    own = np.zeros(n_user)
    for k in range(n_user):
        for a in range(ptr[k], ptr[k + 1]):
            own[k] += lam[sat[a]] * u[a] * u[a]
    _uplink_balance(nb_ptr, nb_user, gain, num, own, target, q, _precision(target, bounds))
    return False


@kernel
def _precision(target: np.ndarray, bounds: np.ndarray) -> float:
    # How well powers are balanced: as the gap asks for, and exactly where users are held at a target.
    if target.max() > 0.0:
        return 1e-9
    lower, upper = bounds[0], bounds[1]
    if lower <= 0.0 or upper == np.inf:
        return 0.1 * BALANCE
    return max(1e-9, BALANCE * min(0.1, math.log((1.0 + upper) / (1.0 + lower))))


@kernel
def _keep_best(
    ptr: np.ndarray,
    nb_ptr: np.ndarray,
    nb_user: np.ndarray,
    gain: np.ndarray,
    num: np.ndarray,
    target: np.ndarray,
    power: np.ndarray,
    load: np.ndarray,
    u: np.ndarray,
    bounds: np.ndarray,
    p_best: np.ndarray,
) -> None:
    # Directions u with these powers become the best point when they are feasible and better.
    t = _worst(nb_ptr, nb_user, gain, num, target, power)
    if t > bounds[0] and load.max() <= 1.0 + 1e-12:
        bounds[0] = t
        for k in range(len(power)):
            for a in range(ptr[k], ptr[k + 1]):
                p_best[a] = u[a] * math.sqrt(power[k])


@kernel
def _uplink_matrix(
    k: int, lam: np.ndarray, q: np.ndarray, arrays: Arrays, s: np.ndarray, g: np.ndarray, near: np.ndarray
) -> None:
    # S_k = sum_j q_j M_jk + diag(lam), lower triangle; near: scratch for the q of the receivers
    ptr, sat, _, nb_ptr, nb_user, var_ptr, var_at, var, row_ptr, row_at, f_ptr, f = arrays
    n = ptr[k + 1] - ptr[k]
    for i in range(n):
        for j in range(i + 1):
            s[i, j] = 0.0
    for e in range(nb_ptr[k], nb_ptr[k + 1]):
        near[e - nb_ptr[k]] = q[nb_user[e]]
    for c in range(n):
        a = ptr[k] + c
        total = lam[sat[a]]
        for e in range(var_ptr[a], var_ptr[a + 1]):
            total += near[var_at[e]] * var[e]
        s[c, c] = total
    rows = row_ptr[k + 1] - row_ptr[k]
    if rows == 0:
        return
    for r in range(rows):
        weight = math.sqrt(near[row_at[row_ptr[k] + r]])
        f0 = f_ptr[k] + r * n
        for c in range(n):
            g[r, c] = weight * f[f0 + c]
    r = 0
    while r + 4 <= rows:
        g0, g1, g2, g3 = g[r], g[r + 1], g[r + 2], g[r + 3]
        for i in range(n):
            x0, x1, x2, x3 = g0[i], g1[i], g2[i], g3[i]
            line = s[i]
            for j in range(i + 1):
                line[j] += x0 * g0[j] + x1 * g1[j] + x2 * g2[j] + x3 * g3[j]
        r += 4
    while r < rows:
        for i in range(n):
            for j in range(i + 1):
                s[i, j] += g[r, i] * g[r, j]
        r += 1


@kernel
def _direction(
    n: int,
    s: np.ndarray,
    b: np.ndarray,
    passive: np.ndarray,
    u: np.ndarray,
    slack: np.ndarray,
    index: np.ndarray,
    chol: np.ndarray,
    x: np.ndarray,
) -> bool:
    # max (b^T u)^2 / (u^T S u), u >= 0, as the least-squares problem S u = b with block principal
    # pivoting from the given passive set; slack = S u - b. False: not finished.
    top = 0.0
    for c in range(n):
        top = max(top, b[c])
    fewest = n + 1
    tries = 3
    for _ in range(3 * n + 30):
        m = 0
        for c in range(n):
            u[c] = 0.0
            if passive[c]:
                index[m] = c
                m += 1
        _cholesky_solve(s, index, m, b, chol, x)
        largest = 0.0
        for i in range(m):
            u[index[i]] = x[i]
            largest = max(largest, x[i])
        for c in range(n):
            slack[c] = -b[c]
        for i in range(n):
            total = 0.0
            value = u[i]
            for j in range(i):
                total += s[i, j] * u[j]
                slack[j] += s[i, j] * value
            slack[i] += total + s[i, i] * value
        wrong = 0
        last = -1
        for c in range(n):
            if (passive[c] and u[c] < -1e-13 * largest) or (not passive[c] and slack[c] < -1e-11 * top):
                wrong += 1
                last = c
        if wrong == 0:
            for c in range(n):
                u[c] = max(u[c], 0.0)
            return True
        if wrong < fewest:
            fewest = wrong
            tries = 3
        elif tries > 0:
            tries -= 1
        else:
            passive[last] = not passive[last]
            continue
        for c in range(n):
            if (passive[c] and u[c] < -1e-13 * largest) or (not passive[c] and slack[c] < -1e-11 * top):
                passive[c] = not passive[c]
    for c in range(n):
        u[c] = max(u[c], 0.0)
    return False


@kernel
def _cholesky_solve(s: np.ndarray, index: np.ndarray, m: int, rhs: np.ndarray, chol: np.ndarray, x: np.ndarray) -> None:
    # x = s[index, index]^-1 rhs[index] by Cholesky; rows of chol are contiguous
    for i in range(m):
        row = index[i]
        for j in range(i + 1):
            col = index[j]
            total = s[row, col] if row >= col else s[col, row]
            for c in range(j):
                total -= chol[i, c] * chol[j, c]
            if j < i:
                chol[i, j] = total * chol[j, j]  # the diagonal holds reciprocals
            else:
                chol[i, i] = 1.0 / math.sqrt(max(total, 1e-14 * s[row, row]))
    for i in range(m):
        total = rhs[index[i]]
        for c in range(i):
            total -= chol[i, c] * x[c]
        x[i] = total * chol[i, i]
    for i in range(m - 1, -1, -1):
        value = x[i] * chol[i, i]
        x[i] = value
        for c in range(i):
            x[c] -= chol[i, c] * value


@kernel
def _balance(
    ptr: np.ndarray,
    sat: np.ndarray,
    n_sat: int,
    nb_ptr: np.ndarray,
    nb_user: np.ndarray,
    gain: np.ndarray,
    num: np.ndarray,
    square: np.ndarray,
    target: np.ndarray,
    s: np.ndarray,
    load: np.ndarray,
    fixed_load: np.ndarray,
    precise: float,
) -> float:
    # Downlink powers s for given directions: frozen users exactly at their target, the others at one
    # common SINR t, as large as the fullest satellite allows. Returns t (-1: targets not reachable).
    n_user = len(ptr) - 1
    rounds = 60 if target.max() > 0.0 else 10
    y = np.empty(n_user)
    t = -1.0
    for _ in range(rounds):
        y[:] = 1.0
        for k in range(n_user):
            for e in range(nb_ptr[k], nb_ptr[k + 1]):
                y[nb_user[e]] += gain[e] * s[k]
        load[:] = 0.0
        fixed_load[:] = 0.0
        for k in range(n_user):
            y[k] /= num[k]
            if target[k] > 0.0:
                y[k] *= target[k]
                for a in range(ptr[k], ptr[k + 1]):
                    fixed_load[sat[a]] += y[k] * square[a]
            else:
                for a in range(ptr[k], ptr[k + 1]):
                    load[sat[a]] += y[k] * square[a]
        t = 1e300
        for l in range(n_sat):
            if load[l] > 0.0:
                t = min(t, (1.0 - fixed_load[l]) / load[l])
            elif fixed_load[l] > 1.0:
                t = -1.0
        if t <= 0.0:
            return -1.0
        change = 0.0
        for k in range(n_user):
            new = y[k] if target[k] > 0.0 else t * y[k]
            change = max(change, abs(new - s[k]) / new)
            s[k] = new
        if change < precise:
            break
    for l in range(n_sat):
        load[l] = fixed_load[l] + t * load[l]
    return t


@kernel
def _uplink_balance(
    nb_ptr: np.ndarray,
    nb_user: np.ndarray,
    gain: np.ndarray,
    num: np.ndarray,
    own: np.ndarray,
    target: np.ndarray,
    q: np.ndarray,
    precise: float,
) -> None:
    # Virtual uplink powers for given directions: frozen users at their target, the others at one
    # common SINR, sum q = 1.
    n_user = len(num)
    y = np.empty(n_user)
    for _ in range(60 if target.max() > 0.0 else 20):
        frozen = 0.0
        free = 0.0
        for k in range(n_user):
            total = own[k]
            for e in range(nb_ptr[k], nb_ptr[k + 1]):
                total += gain[e] * q[nb_user[e]]
            y[k] = total / num[k]
            if target[k] > 0.0:
                y[k] *= target[k]
                frozen += y[k]
            else:
                free += y[k]
        scale = max(1.0 - frozen, 1e-3) / free
        total = 0.0
        for k in range(n_user):
            if target[k] <= 0.0:
                y[k] *= scale
            total += y[k]
        change = 0.0
        for k in range(n_user):
            new = y[k] / total
            change = max(change, abs(new - q[k]) / new)
            q[k] = new
        if change < precise:
            break


@kernel
def _worst(
    nb_ptr: np.ndarray, nb_user: np.ndarray, gain: np.ndarray, num: np.ndarray, target: np.ndarray, s: np.ndarray
) -> float:
    # smallest SINR of the users that are not frozen; -1 when a frozen one misses its target
    n_user = len(num)
    y = np.ones(n_user)
    for k in range(n_user):
        for e in range(nb_ptr[k], nb_ptr[k + 1]):
            y[nb_user[e]] += gain[e] * s[k]
    t = 1e300
    for k in range(n_user):
        value = num[k] * s[k] / y[k]
        if target[k] > 0.0:
            if value < target[k] * (1.0 - 1e-7):
                return -1.0
        else:
            t = min(t, value)
    return t


def scores(
    arrays: Arrays, lam: np.ndarray, q: np.ndarray, weight: np.ndarray, support: np.ndarray, score: np.ndarray
) -> None:
    """Fill score : [pair], the first-order effect of each pair on log t at fixed prices.

    For pairs of the support, what r_k loses without them, u^2 / (S^-1)_ll / r; for the others what it
    gains with them, slack^2 / Schur complement / r. Unused pairs of the support get minus what they are
    short of being used.
    """
    parallel.each_range(len(q), lambda k0, k1: _scores(k0, k1, arrays, lam, q, weight, support, score))


@kernel
def _scores(
    first: int,
    last: int,
    arrays: Arrays,
    lam: np.ndarray,
    q: np.ndarray,
    weight: np.ndarray,
    support: np.ndarray,
    score: np.ndarray,
) -> None:
    ptr, _, b = arrays[:3]
    n_max, rows_max, nb_max = _widest(first, last, arrays)
    near = np.zeros(nb_max)
    s = np.zeros((n_max, n_max))
    part = np.zeros((n_max, n_max))
    g = np.zeros((rows_max, n_max))
    chol = np.zeros((n_max, n_max))
    inverse = np.zeros((n_max, n_max))
    x = np.zeros(n_max)
    index = np.zeros(n_max, np.int64)
    chosen = np.zeros(n_max, np.int64)
    u = np.zeros(n_max)
    slack = np.zeros(n_max)
    b_part = np.zeros(n_max)
    for k in range(first, last):
        a0 = ptr[k]
        n = ptr[k + 1] - a0
        m = 0
        for c in range(n):
            if support[a0 + c]:
                chosen[m] = c
                m += 1
        if m == 0 or q[k] <= 0.0:
            for c in range(n):
                score[a0 + c] = 0.0
            continue
        _uplink_matrix(k, lam, q, arrays, s, g, near)
        for i in range(m):
            b_part[i] = b[a0 + chosen[i]]
            for j in range(i + 1):
                part[i, j] = s[chosen[i], chosen[j]]
        passive = np.ones(m, np.bool_)
        _direction(m, part, b_part, passive, u, slack, index, chol, x)
        z = 0
        r = 0.0
        for i in range(m):
            r += b_part[i] * u[i]
            if passive[i]:
                index[z] = i
                z += 1
        # chol holds the factor of the passive block; its inverse, transposed
        for i in range(z):
            for j in range(i):
                total = 0.0
                for c in range(j, i):
                    total += chol[i, c] * inverse[j, c]
                inverse[j, i] = -total * chol[i, i]
            inverse[i, i] = chol[i, i]
        for c in range(n):
            score[a0 + c] = 0.0
        for i in range(z):
            total = 0.0
            for c in range(i, z):
                total += inverse[i, c] * inverse[i, c]
            score[a0 + chosen[index[i]]] = weight[k] * u[index[i]] ** 2 / total / r
        for i in range(m):
            if not passive[i]:
                score[a0 + chosen[i]] = -weight[k] * slack[i] ** 2 / part[i, i] / r
        for c in range(n):
            if support[a0 + c]:
                continue
            short = b[a0 + c]
            schur = s[c, c]
            for i in range(z):
                x[i] = 0.0
            for i in range(z):
                d = chosen[index[i]]
                value = s[c, d] if c >= d else s[d, c]
                short -= value * u[index[i]]
                for j in range(i, z):
                    x[j] += inverse[i, j] * value
            for i in range(z):
                schur -= x[i] * x[i]
            if short > 0.0:
                score[a0 + c] = weight[k] * short * short / max(schur, 1e-12 * s[c, c]) / r
