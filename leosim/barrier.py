"""An interior-point method for the least rate of rate splitting under a radar threshold, compiled.

Largest t with `R_p,k + C_k >= t`, `R_c,k >= sum C`, `C >= 0`, `sum ||p||^2 <= 1`, `sum |target . p|^2 >= asked`,
over precoders p of dimension K + 1: a primal-dual barrier method with exact second derivatives on plain arrays.
Rates inside are in nat. Not convex: what it returns is a local optimum, the one its start leads to.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

TO_BOUNDARY = 0.99  # share of the way to a constraint that one step may go
ARMIJO = 1e-4  # of the predicted rise of the merit that a step must achieve
SHRINK = 0.5  # of a step that does not
PENALTY = 2.0  # of a misfit in the merit, over the price of the constraint
ROUNDING = 1e-14  # of the merit, below which it does not count
TUBE = 0.3  # times the root of the barrier parameter: largest misfit a step may lead to
SMALLEST_STEP = 1e-10
CENTRED = 10.0  # optimality error over the barrier parameter at which the parameter falls
SADDLES = 1e-6  # barrier parameter above which it does not fall where the matrix had to be shifted
FALL, FALL_POWER = 0.3, 1.2  # the parameter falls to the lesser of 0.3 mu and mu^1.2
FIRST_SHIFT, SMALLEST_SHIFT, LARGEST_SHIFT = 1e-4, 1e-12, 1e12  # of the diagonal, that make the matrix positive
FIRST_RISE, RISE_SHIFT, FALL_SHIFT = 100.0, 8.0, 1.0 / 3.0  # from one try, and one iteration, to the next
SPREAD_OF_PRICES = 1e8  # a dual price stays within this factor of mu over its constraint


@njit(cache=True, nogil=True)
def members(n_user: int, stream: np.ndarray, cancelled: bool) -> np.ndarray:
    """Which rows of x are part of the sums B (interference), A (and the own stream), E (and the common one).

    stream : [row // 2] number of the stream, a user, K (common) or K + 1 (radar)
    Returns [user, 3, row], 1 or 0.
    """
    out = np.zeros((n_user, 3, 2 * stream.size))
    for k in range(n_user):
        for r in range(2 * stream.size):
            s = stream[r // 2]
            if s == n_user:
                out[k, 2, r] = 1.0
            elif s < n_user or not cancelled:
                out[k, 1:, r] = 1.0
                out[k, 0, r] = 0.0 if s == k else 1.0
    return out


@njit(cache=True, nogil=True)
def terms(
    channel: np.ndarray, target: np.ndarray, member: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Received amplitudes and the sums of powers in the rates.

    x : [row, dim] real and imaginary parts of the precoders in turn; member : of `members`
    Returns y [user, row], the sums B, A, E with the noise [user, 3] and the amplitudes on the target [row].
    """
    n_user, rows = channel.shape[0], x.shape[0]
    y = np.zeros((n_user, rows))
    sums = np.ones((n_user, 3))
    for k in range(n_user):
        for r in range(rows):
            value = 0.0
            for d in range(x.shape[1]):
                value += channel[k, d] * x[r, d]
            y[k, r] = value
            for i in range(3):
                sums[k, i] += member[k, i, r] * value * value
    on_target = np.zeros(rows)
    for r in range(rows):
        for d in range(x.shape[1]):
            on_target[r] += target[d] * x[r, d]
    return y, sums, on_target


@njit(cache=True, nogil=True)
def constraints(
    sums: np.ndarray, on_target: np.ndarray, power: float, asked: float, common: bool, border: np.ndarray
) -> np.ndarray:
    """Values of the constraints, `>= 0` where they hold; border : t, then C of each user when there is a common stream.

    In order: private [user]; then with a common stream: common [user], C [user]; power; radar where asked > 0.
    """
    n_user = sums.shape[0]
    sensing = asked > 0.0
    out = np.empty((3 * n_user if common else n_user) + 1 + (1 if sensing else 0))
    total = 0.0
    if common:
        for k in range(n_user):
            total += border[1 + k]
    for k in range(n_user):
        out[k] = math.log(sums[k, 1] / sums[k, 0]) - border[0]
        if common:
            out[k] += border[1 + k]
            out[n_user + k] = math.log(sums[k, 2] / sums[k, 1]) - total
            out[2 * n_user + k] = border[1 + k]
    at = 3 * n_user if common else n_user
    out[at] = 1.0 - power
    if sensing:
        gain = 0.0
        for r in range(on_target.size):
            gain += on_target[r] * on_target[r]
        out[at + 1] = gain - asked
    return out


@njit(cache=True, nogil=True)
def jacobian_product(
    channel: np.ndarray,
    target: np.ndarray,
    common: bool,
    asked: float,
    x: np.ndarray,
    y: np.ndarray,
    sums: np.ndarray,
    on_target: np.ndarray,
    member: np.ndarray,
    weight: np.ndarray,
    out: np.ndarray,
) -> None:
    """`sum_i weight_i grad c_i` of the constraints, into out [row * dim + border]."""
    n_user, dim, rows = channel.shape[0], x.shape[1], x.shape[0]
    at = 3 * n_user if common else n_user
    n_x = rows * dim
    for r in range(rows):
        for d in range(dim):
            out[r * dim + d] = -2.0 * weight[at] * x[r, d]
            if asked > 0.0:
                out[r * dim + d] += 2.0 * weight[at + 1] * on_target[r] * target[d]
    out[n_x:] = 0.0
    total = 0.0
    for k in range(n_user):
        w_p = weight[k]
        w_c = weight[n_user + k] if common else 0.0
        total += w_c
        for r in range(rows):
            f = w_p * (member[k, 1, r] / sums[k, 1] - member[k, 0, r] / sums[k, 0])
            f += w_c * (member[k, 2, r] / sums[k, 2] - member[k, 1, r] / sums[k, 1])
            f *= 2.0 * y[k, r]
            for d in range(dim):
                out[r * dim + d] += f * channel[k, d]
        out[n_x] -= w_p
    if common:
        for k in range(n_user):
            out[n_x + 1 + k] = weight[k] + weight[2 * n_user + k] - total


@njit(cache=True, nogil=True)
def matrix(
    channel: np.ndarray,
    target: np.ndarray,
    common: bool,
    asked: float,
    x: np.ndarray,
    y: np.ndarray,
    sums: np.ndarray,
    on_target: np.ndarray,
    member: np.ndarray,
    z: np.ndarray,
    sigma: np.ndarray,
    out: np.ndarray,
) -> None:
    """Lower triangle of `-sum_i z_i Hess c_i + sum_i sigma_i grad c_i grad c_i^T`, into out.

    All that concerns user k is W_k (x) h_k h_k^T with W_k [row, row] a diagonal plus three outer products.
    """
    n_user, dim, rows = channel.shape[0], x.shape[1], x.shape[0]
    at = 3 * n_user if common else n_user
    n_x = rows * dim
    out[:] = 0.0
    total = 0.0
    u_p, u_c = np.empty(rows), np.empty(rows)
    block = np.empty((rows, rows))
    for k in range(n_user + 1):
        if k < n_user:
            vector = channel[k]
            z_p, s_p = z[k], sigma[k]
            z_c = z[n_user + k] if common else 0.0
            s_c = sigma[n_user + k] if common else 0.0
            total += s_c
            b, a, e = 1.0 / sums[k, 0], 1.0 / sums[k, 1], 1.0 / sums[k, 2]
            for r in range(rows):
                g_b = 2.0 * y[k, r] * member[k, 0, r] * b
                g_a = 2.0 * y[k, r] * member[k, 1, r] * a
                g_e = 2.0 * y[k, r] * member[k, 2, r] * e
                u_p[r], u_c[r] = g_a - g_b, g_e - g_a
                for q in range(r + 1):
                    o_b = 2.0 * y[k, q] * member[k, 0, q] * b
                    o_a = 2.0 * y[k, q] * member[k, 1, q] * a
                    o_e = 2.0 * y[k, q] * member[k, 2, q] * e
                    block[r, q] = (
                        (z_p - z_c) * g_a * o_a - z_p * g_b * o_b + z_c * g_e * o_e
                        + s_p * u_p[r] * u_p[q] + s_c * u_c[r] * u_c[q]
                    )  # fmt: skip
                block[r, r] += 2.0 * (
                    (z_c - z_p) * member[k, 1, r] * a + z_p * member[k, 0, r] * b - z_c * member[k, 2, r] * e
                )
        else:
            if asked <= 0.0:
                break
            vector = target
            for r in range(rows):
                for q in range(r + 1):
                    block[r, q] = 4.0 * sigma[at + 1] * on_target[r] * on_target[q]
                block[r, r] -= 2.0 * z[at + 1]
        for r in range(rows):
            for d in range(dim):
                row = out[r * dim + d]
                for q in range(r + 1):
                    f = block[r, q] * vector[d]
                    for c in range(dim):
                        row[q * dim + c] += f * vector[c]
        if k < n_user:
            for r in range(rows):
                for d in range(dim):
                    out[n_x, r * dim + d] -= s_p * u_p[r] * vector[d]
                    if common:
                        out[n_x + 1 + k, r * dim + d] += s_p * u_p[r] * vector[d]
                        for l in range(n_user):
                            out[n_x + 1 + l, r * dim + d] -= s_c * u_c[r] * vector[d]
            out[n_x, n_x] += s_p
            if common:
                out[n_x + 1 + k, n_x] -= s_p
                out[n_x + 1 + k, n_x + 1 + k] += s_p + sigma[2 * n_user + k]
    if common:
        for k in range(n_user):
            for l in range(k + 1):
                out[n_x + 1 + k, n_x + 1 + l] += total
    flat = x.ravel()
    for i in range(n_x):
        f = 4.0 * sigma[at] * flat[i]
        for j in range(i + 1):
            out[i, j] += f * flat[j]
        out[i, i] += 2.0 * z[at]
    for s in range(rows // 2):  # nothing depends on the phase of a stream: keep the matrix regular along it
        norm = 1e-300
        for d in range(dim):
            norm += x[2 * s, d] ** 2 + x[2 * s + 1, d] ** 2
        f = z[at] / norm
        for d in range(dim):
            for c in range(d + 1):
                out[2 * s * dim + d, 2 * s * dim + c] += f * x[2 * s + 1, d] * x[2 * s + 1, c]
                out[(2 * s + 1) * dim + d, (2 * s + 1) * dim + c] += f * x[2 * s, d] * x[2 * s, c]
            for c in range(dim):
                out[(2 * s + 1) * dim + d, 2 * s * dim + c] -= f * x[2 * s, d] * x[2 * s + 1, c]


@njit(cache=True, nogil=True)
def cholesky(a: np.ndarray) -> bool:
    """Cholesky factor U of a symmetric matrix, `U^T U`, in place of its upper triangle; False unless positive definite.

    Four pivots at a time, and every inner loop along the memory of a row.
    """
    n = a.shape[0]
    for j in range(0, n, 4):
        end = min(j + 4, n)
        for p in range(j, end):
            source = a[p]
            for i in range(j, p):
                above = a[i]
                f = above[p]
                for c in range(p, n):
                    source[c] -= f * above[c]
            if not source[p] > 0.0:
                return False
            root = math.sqrt(source[p])
            inverse = 1.0 / root
            source[p] = root
            for c in range(p + 1, n):
                source[c] *= inverse
        if end - j == 4:
            s0, s1, s2, s3 = a[j], a[j + 1], a[j + 2], a[j + 3]
            for i in range(end, n):
                f0, f1, f2, f3 = s0[i], s1[i], s2[i], s3[i]
                into = a[i]
                for c in range(i, n):
                    into[c] -= f0 * s0[c] + f1 * s1[c] + f2 * s2[c] + f3 * s3[c]
    return True


@njit(cache=True, nogil=True)
def back_substitute(a: np.ndarray, b: np.ndarray) -> None:
    """Solve with the factor of `cholesky` (U^T U), into b."""
    n = a.shape[0]
    for i in range(n):
        b[i] /= a[i, i]
        f = b[i]
        row = a[i]
        for c in range(i + 1, n):
            b[c] -= f * row[c]
    for i in range(n - 1, -1, -1):
        row = a[i]
        value = b[i]
        for c in range(i + 1, n):
            value -= row[c] * b[c]
        b[i] = value / row[i]


@njit(cache=True, nogil=True)
def slopes(
    channel: np.ndarray,
    target: np.ndarray,
    common: bool,
    asked: float,
    x: np.ndarray,
    y: np.ndarray,
    sums: np.ndarray,
    on_target: np.ndarray,
    member: np.ndarray,
    step: np.ndarray,
    out: np.ndarray,
) -> None:
    """`grad c_i . step` of each constraint, into out; step : [row * dim + border]."""
    n_user, dim, rows = channel.shape[0], x.shape[1], x.shape[0]
    at = 3 * n_user if common else n_user
    n_x = rows * dim
    total = 0.0
    if common:
        for k in range(n_user):
            total += step[n_x + 1 + k]
    for k in range(n_user):
        slope_p, slope_c = -step[n_x], -total
        for r in range(rows):
            along = 0.0
            for d in range(dim):
                along += channel[k, d] * step[r * dim + d]
            along *= 2.0 * y[k, r]
            slope_p += along * (member[k, 1, r] / sums[k, 1] - member[k, 0, r] / sums[k, 0])
            slope_c += along * (member[k, 2, r] / sums[k, 2] - member[k, 1, r] / sums[k, 1])
        out[k] = slope_p
        if common:
            out[k] += step[n_x + 1 + k]
            out[n_user + k] = slope_c
            out[2 * n_user + k] = step[n_x + 1 + k]
    out[at] = 0.0
    for r in range(rows):
        for d in range(dim):
            out[at] -= 2.0 * x[r, d] * step[r * dim + d]
    if asked > 0.0:
        out[at + 1] = 0.0
        for r in range(rows):
            along = 0.0
            for d in range(dim):
                along += target[d] * step[r * dim + d]
            out[at + 1] += 2.0 * on_target[r] * along


@njit(cache=True, nogil=True)
def factorise(full: np.ndarray, last_shift: float, factor: np.ndarray) -> float:
    """Cholesky factor of a matrix, shifted along its diagonal until it is positive definite; returns the shift.

    full : its lower triangle; last_shift : the last one that was needed, 0: none yet. Above LARGEST_SHIFT: failed.
    """
    shift = 0.0
    while True:
        for i in range(full.shape[0]):
            for j in range(i + 1):
                factor[j, i] = full[i, j]
            factor[i, i] += shift
        if shift > LARGEST_SHIFT or cholesky(factor):
            return shift
        if shift > 0.0:
            shift *= RISE_SHIFT if last_shift > 0.0 else FIRST_RISE
        else:
            shift = max(SMALLEST_SHIFT, FALL_SHIFT * last_shift) if last_shift > 0.0 else FIRST_SHIFT


@njit(cache=True, nogil=True)
def longest(s: np.ndarray, ds: np.ndarray) -> float:
    """The longest step, up to 1, that keeps s a share away from 0."""
    size = 1.0
    for i in range(s.size):
        if ds[i] < 0.0:
            size = min(size, -TO_BOUNDARY * s[i] / ds[i])
    return size


@njit(cache=True, nogil=True)
def climb(
    channel: np.ndarray,
    target: np.ndarray,
    asked: float,
    stream: np.ndarray,
    cancelled: bool,
    common: bool,
    x: np.ndarray,
    border: np.ndarray,
    mu: float,
    mu_end: float,
    limit: int,
) -> tuple[float, int, bool]:
    """Follow the barrier's path from a strictly feasible x, border (both updated in place).

    Slacks s stand between the constraints and their logarithms, so that a step may follow the tangent of a
    curved constraint (without them it is as short as the root of the distance to it). The length of a step is
    decided by the merit `t + mu sum log s - sum penalty |c - s|`, the misfits kept in a tube that narrows with mu.

    channel : [user, dim]; target : [dim]; stream, x : as in `members`, `terms`; border : as in `constraints`
    mu, mu_end : barrier parameter, first and last (nat); limit : of the iterations
    Returns the last mu, the iterations spent and whether mu_end was reached.
    """
    rows, dim = x.shape
    n_x = rows * dim
    n = n_x + border.size
    member = members(channel.shape[0], stream, cancelled)
    y, sums, on_target = terms(channel, target, member, x)
    c = constraints(sums, on_target, np.sum(x * x), asked, common, border)
    s = c.copy()
    z = mu / s
    full, factor = np.empty((n, n)), np.empty((n, n))
    rest, step, plain = np.empty(n), np.empty(n), np.empty(n)
    ds, ds_plain, tangent = np.empty(c.size), np.empty(c.size), np.empty(c.size)
    shift, last_shift = 0.0, 0.0
    spent = 0
    while True:
        point = (channel, target, common, asked, x, y, sums, on_target, member)
        jacobian_product(*point, z, rest)
        rest[n_x] += 1.0
        fixed = max(np.max(np.abs(rest)), np.max(np.abs(c - s)))
        while True:
            error = max(fixed, np.max(np.abs(s * z - mu)))
            if error > CENTRED * mu or (shift > 0.0 and mu > SADDLES):
                break
            if mu <= mu_end:
                return mu, spent, True
            mu = max(mu_end, min(FALL * mu, mu**FALL_POWER))
        if spent >= limit:
            return mu, spent, False
        spent += 1
        sigma = z / s
        matrix(*point, z, sigma, full)
        shift = factorise(full, last_shift, factor)
        if shift > LARGEST_SHIFT:
            return mu, spent, False
        if shift > 0.0:
            last_shift = shift
        jacobian_product(*point, mu / s - sigma * (c - s), step)
        step[n_x] += 1.0
        back_substitute(factor, step)
        slopes(*point, step, ds)
        ds += c - s
        dz = mu / s - z - sigma * ds
        penalty = PENALTY * np.maximum(z, z + dz)
        misfit = np.sum(penalty * np.abs(c - s))
        merit = border[0] + mu * np.sum(np.log(s)) - misfit
        slope = max(0.0, step[n_x] + mu * np.sum(ds / s) + misfit)
        tube = max(TUBE * math.sqrt(mu), np.max(s - c))
        first = longest(s, ds)
        size = first
        tries = 0
        corrected = False
        moved = False
        while size > SMALLEST_STEP:
            x_new = x + size * step[:n_x].reshape((rows, dim))
            border_new = border + size * step[n_x:]
            s_new = s + size * ds
            y_new, sums_new, on_target_new = terms(channel, target, member, x_new)
            c_new = constraints(sums_new, on_target_new, np.sum(x_new * x_new), asked, common, border_new)
            if tries == 0:
                tangent[:] = c_new - s_new
            tries += 1
            s_new = np.maximum(s_new, c_new)
            merit_new = border_new[0] + mu * np.sum(np.log(s_new)) - np.sum(penalty * np.abs(c_new - s_new))
            near = np.max(s_new - c_new) <= tube
            if near and merit_new >= merit + ARMIJO * size * slope - ROUNDING * abs(merit):
                moved = True
                break
            if tries == 1 and np.sum(penalty * np.abs(tangent)) >= misfit:
                # the constraints bend away over the step: aim once at where they are after it
                plain[:] = step
                ds_plain[:] = ds
                ds[:] = first * (c - s) + tangent
                jacobian_product(*point, mu / s - sigma * ds, step)
                step[n_x] += 1.0
                back_substitute(factor, step)
                slopes(*point, step, tangent)
                ds += tangent
                size = longest(s, ds)
                corrected = True
                continue
            if corrected:
                step[:] = plain
                ds[:] = ds_plain
                size = first
                corrected = False
            size *= SHRINK
        if not moved:
            if mu <= mu_end:
                return mu, spent, False
            mu = max(mu_end, FALL * mu)  # rounding: nothing more to gain at this mu
            continue
        dz = mu / s - z - sigma * ds
        z += longest(z, dz) * dz
        x[:] = x_new
        border[:] = border_new
        y, sums, on_target, c, s = y_new, sums_new, on_target_new, c_new, s_new
        z = np.minimum(np.maximum(z, mu / (SPREAD_OF_PRICES * s)), SPREAD_OF_PRICES * mu / s)
