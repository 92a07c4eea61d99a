"""Uplink-downlink duality: the fixed point over prices and powers, its certificate, the worth of a pair.

Compiled kernels over the arrays of a `couplings.Problem` whose useful amplitudes add. With prices lam
(satellites) and virtual uplink powers q (users) on their simplices and S_k = sum_j q_j M_jk + diag(lam),
every lam and q certify t <= max_k q_k r_k, r_k = max_{u >= 0} (b^T u)^2 / (u^T S_k u).
"""

from __future__ import annotations

import math

import numpy as np

from leosim.couplings import Arrays, gains, kernel

PRICE_EXPONENT = 0.55  # undamped (1) diverges in about one case of ten
SMALLEST_RAISE_BIT = 1e-3  # a level that gains less ends the lexicographic raise


@kernel
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

    lam, q, passive and p_best are updated in place: best prices, and best powers above `lower`.
    Returns (lower, upper, iterations).
    """
    ptr, sat, b, nb_ptr, nb_user, _, _, row_ptr, _, _, _ = arrays
    n_user = len(ptr) - 1
    n_max = 0
    rows_max = 0
    for k in range(n_user):
        n_max = max(n_max, ptr[k + 1] - ptr[k])
        rows_max = max(rows_max, row_ptr[k + 1] - row_ptr[k])
    s_matrix = np.zeros((n_max, n_max))
    g = np.zeros((rows_max, n_max))
    chol = np.zeros((n_max, n_max))
    x = np.zeros(n_max)
    index = np.zeros(n_max, np.int64)
    slack = np.zeros(n_max)
    u = np.zeros(ptr[n_user])
    v = np.zeros(ptr[n_user])
    square = np.zeros(ptr[n_user])
    r = np.zeros(n_user)
    r_safe = np.zeros(n_user)
    gain = np.zeros(len(nb_user))
    num = np.zeros(n_user)
    own = np.zeros(n_user)
    power = np.zeros(n_user)
    power_clip = np.zeros(n_user)
    load = np.zeros(n_sat)
    price_load = np.zeros(n_sat)
    scratch = np.zeros(n_sat)
    lam_best = lam.copy()
    q_best = q.copy()
    upper = np.inf
    exponent = np.full(n_sat, PRICE_EXPONENT)
    misfit_before = np.zeros(n_sat)
    rounds = 60 if target.max() > 0.0 else 30
    start = lower
    iteration = 0
    while iteration < max_iterations:
        iteration += 1
        exact = True
        for k in range(n_user):
            a, z = ptr[k], ptr[k + 1]
            _uplink_matrix(k, lam, q, arrays, s_matrix, g)
            n = z - a
            done = _direction(
                n, s_matrix, b[a:z], passive[a:z], u[a:z], slack, index, chol, x, row_ptr[k + 1] == row_ptr[k]
            )
            exact = exact and done
            top = 0.0
            value = 0.0
            for c in range(n):
                top = max(top, b[a + c])
                value += b[a + c] * u[a + c]
            r[k] = value
            # safe value: S w >= b gives r <= w^T S w; w = u / (1 - short)
            short = 0.0
            quadratic = 0.0
            for c in range(n):
                quadratic += u[a + c] * (slack[c] + b[a + c])
                floor = max(b[a + c], 1e-9 * top)
                short = max(short, (floor - b[a + c] - slack[c]) / floor)
            r_safe[k] = quadratic / (1.0 - short) ** 2 if short < 0.5 else np.inf
        # certificate: sum_k (q_k / t_k - 1 / r_k) useful_k >= 0 for every feasible SINR vector t_k
        bound = 0.0
        inverse = 0.0
        excess = 0.0
        for k in range(n_user):
            if target[k] > 0.0:
                total = 0.0
                for a in range(ptr[k], ptr[k + 1]):
                    total += b[a]
                excess += max(0.0, q[k] / target[k] - 1.0 / r_safe[k]) * total * total
            else:
                bound = max(bound, q[k] * r_safe[k])
                inverse += 1.0 / r_safe[k]
        if exact and inverse > 0.0:
            bound += excess / inverse
            if bound < upper:
                upper = bound
                lam_best[:] = lam
                q_best[:] = q
        # downlink
        for a in range(ptr[n_user]):
            square[a] = u[a] * u[a]
        gains(arrays, u, True, gain, num)
        if iteration == 1:
            for k in range(n_user):
                power[k] = 1.0 / num[k]
        t = _balance(ptr, sat, n_sat, nb_ptr, nb_user, gain, num, square, target, power, load, scratch, rounds, 1e-9)
        if t < 0.0:
            # targets out of reach with these directions: loads of the free balance steer the prices
            for k in range(n_user):
                power[k] = 1.0 / num[k]
            zero = np.zeros(n_user)
            _balance(ptr, sat, n_sat, nb_ptr, nb_user, gain, num, square, zero, power, load, scratch, 5, 1e-9)
        else:
            t = _worst(nb_ptr, nb_user, gain, num, target, power)
            full = 0.0
            for l in range(n_sat):
                full = max(full, load[l])
            if t > lower and full <= 1.0 + 1e-12:
                lower = t
                for k in range(n_user):
                    for a in range(ptr[k], ptr[k + 1]):
                        p_best[a] = u[a] * math.sqrt(power[k])
        mean_load = 0.0
        for l in range(n_sat):
            mean_load += lam[l] * load[l]
        for l in range(n_sat):
            price_load[l] = load[l] / mean_load
        # the same directions with the overloaded satellites turned down, balanced again
        for k in range(n_user):
            power_clip[k] = power[k] / mean_load
            for a in range(ptr[k], ptr[k + 1]):
                v[a] = u[a] / math.sqrt(max(1.0, price_load[sat[a]]))
                square[a] = v[a] * v[a]
        gains(arrays, v, True, gain, num)
        t = _balance(
            ptr, sat, n_sat, nb_ptr, nb_user, gain, num, square, target, power_clip, load, scratch, rounds, 1e-9
        )
        if t > 0.0:
            t = _worst(nb_ptr, nb_user, gain, num, target, power_clip)
            full = 0.0
            for l in range(n_sat):
                full = max(full, load[l])
            if t > lower and full <= 1.0 + 1e-12:
                lower = t
                for k in range(n_user):
                    for a in range(ptr[k], ptr[k + 1]):
                        p_best[a] = v[a] * math.sqrt(power_clip[k])
        if upper < np.inf and lower > 0.0 and math.log2((1.0 + upper) / (1.0 + lower)) <= tol_bit:
            break
        if target.max() > 0.0 and (iteration >= 8 or upper < np.inf):
            # a level above the first: no gain found, or none to be found
            top = lower if iteration >= 8 else max(lower, upper)
            if math.log2((1.0 + top) / (1.0 + start)) < SMALLEST_RAISE_BIT:
                break
        # next prices and virtual powers
        total = 0.0
        for l in range(n_sat):
            misfit = math.log(max(price_load[l], 1e-4))
            if misfit * misfit_before[l] > 0.0:
                exponent[l] = min(exponent[l] * 1.3, 6.0)
            elif misfit * misfit_before[l] < 0.0:
                exponent[l] = max(exponent[l] * 0.5, 0.2)
            misfit_before[l] = misfit
            lam[l] = max(lam[l] * math.exp(min(max(exponent[l] * misfit, -3.0), 3.0)), 1e-10)
            total += lam[l]
        for l in range(n_sat):
            lam[l] /= total
        gains(arrays, u, True, gain, num)
        for k in range(n_user):
            own[k] = 0.0
            for a in range(ptr[k], ptr[k + 1]):
                own[k] += lam[sat[a]] * u[a] * u[a]
        _uplink_balance(nb_ptr, nb_user, gain, num, own, target, q, 60, 1e-9)
    if upper < np.inf:
        lam[:] = lam_best
        q[:] = q_best
    return lower, upper, iteration


@kernel
def _uplink_matrix(k: int, lam: np.ndarray, q: np.ndarray, arrays: Arrays, s: np.ndarray, g: np.ndarray) -> None:
    # S_k = sum_j q_j M_jk + diag(lam), lower triangle
    ptr, sat, _, nb_ptr, nb_user, var_ptr, var, row_ptr, row_user, f_ptr, f = arrays
    n = ptr[k + 1] - ptr[k]
    for i in range(n):
        for j in range(i + 1):
            s[i, j] = 0.0
    for c in range(n):
        s[c, c] = lam[sat[ptr[k] + c]]
    for e in range(nb_ptr[k], nb_ptr[k + 1]):
        weight = q[nb_user[e]]
        v0 = var_ptr[k] + (e - nb_ptr[k]) * n
        for c in range(n):
            s[c, c] += weight * var[v0 + c]
    rows = row_ptr[k + 1] - row_ptr[k]
    if rows == 0:
        return
    for r in range(rows):
        weight = math.sqrt(q[row_user[row_ptr[k] + r]])
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
    diagonal: bool,
) -> bool:
    # max (b^T u)^2 / (u^T S u), u >= 0, as the least-squares problem S u = b with block principal
    # pivoting from the given passive set; slack = S u - b. False: not finished.
    top = 0.0
    for c in range(n):
        top = max(top, b[c])
    if diagonal:
        for c in range(n):
            u[c] = b[c] / s[c, c]
            slack[c] = 0.0
            passive[c] = True
        return True
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
    rounds: int,
    precise: float,
) -> float:
    # Downlink powers s for given directions: frozen users exactly at their target, the others at one
    # common SINR t, as large as the fullest satellite allows. Returns t (-1: targets not reachable).
    n_user = len(ptr) - 1
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
    rounds: int,
    precise: float,
) -> None:
    # Virtual uplink powers for given directions: frozen users at their target, the others at one
    # common SINR, sum q = 1.
    n_user = len(num)
    y = np.empty(n_user)
    for _ in range(rounds):
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


@kernel
def scores(
    arrays: Arrays, lam: np.ndarray, q: np.ndarray, weight: np.ndarray, support: np.ndarray, score: np.ndarray
) -> None:
    """Fill score : [pair], the first-order effect of each pair on log t at fixed prices.

    For pairs of the support, what r_k loses without them, u^2 / (S^-1)_ll / r; for the others what it
    gains with them, slack^2 / Schur complement / r. Unused pairs of the support get minus what they are
    short of being used.
    """
    ptr, _, b, _, _, _, _, row_ptr, _, _, _ = arrays
    n_max = 0
    rows_max = 0
    for k in range(len(ptr) - 1):
        n_max = max(n_max, ptr[k + 1] - ptr[k])
        rows_max = max(rows_max, row_ptr[k + 1] - row_ptr[k])
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
    for k in range(len(ptr) - 1):
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
        _uplink_matrix(k, lam, q, arrays, s, g)
        for i in range(m):
            b_part[i] = b[a0 + chosen[i]]
            for j in range(i + 1):
                part[i, j] = s[chosen[i], chosen[j]]
        passive = np.ones(m, np.bool_)
        _direction(m, part, b_part, passive, u, slack, index, chol, x, False)
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
