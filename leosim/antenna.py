"""Planar arrays and element patterns.

Arrays are half-wavelength grids whose phase reference is their centre, so products of two steering
vectors are real closed forms (Dirichlet kernels) and are never summed over the antennas.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit


def steering(cosines: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Steering vectors a of a planar half-wavelength array, centred phase reference.

    `a[m, n] = exp(i pi ((m - (rows-1)/2) u + (n - (columns-1)/2) v))`, Eqs. (3)-(4), Kim et al. 2024,
    but for the phase reference, which moves to the centre (a common phase, without effect on rates).

    cosines : [..., 2] real, direction cosines (u, v) on the two axes of the array (1)
    Returns [..., rows * columns] complex, entries of modulus 1.
    """
    u, v = np.asarray(cosines)[..., 0, None], np.asarray(cosines)[..., 1, None]
    m = np.arange(rows) - (rows - 1) / 2
    n = np.arange(columns) - (columns - 1) / 2
    along = np.exp(1j * np.pi * m * u)
    cross = np.exp(1j * np.pi * n * v)
    return (along[..., :, None] * cross[..., None, :]).reshape(*along.shape[:-1], rows * columns)


def responses(cosines: np.ndarray, rows: int, columns: int, stretch: np.ndarray) -> np.ndarray:
    """Wideband array responses and their derivatives by the direction cosines, `conj(v)`, `conj(v_u)`, `conj(v_w)`.

    `v_mn = exp(-i pi (1 + f/f_c) (m u + n w)) / sqrt(N)`, Eqs. (2)-(4), You et al. 2024, antennas counted from the
    centre of the array, so that beam squint stretches the cosines. What reaches a terminal of a precoder W is
    `v^T W = conj(v)^H W`.

    cosines : [direction, 2] (u, w) on the two axes of the array (1); stretch : [block] 1 + f / f_c
    Returns [block, direction, 3, rows * columns] complex: the response of unit norm and its two derivatives.
    """
    wide = np.asarray(stretch)[:, None, None] * np.asarray(cosines)[None]  # [block, direction, cosine]
    value = steering(wide, rows, columns) / math.sqrt(rows * columns)
    m = np.repeat(np.arange(rows) - (rows - 1) / 2, columns)
    n = np.tile(np.arange(columns) - (columns - 1) / 2, rows)
    slope = 1j * np.pi * np.asarray(stretch)[:, None, None]
    return np.stack([value, slope * m * value, slope * n * value], axis=2)


@njit(cache=True, nogil=True)
def dirichlet(difference: float, elements: int) -> float:
    """Product of two centred linear half-wavelength steering vectors, `sin(M pi d / 2) / sin(pi d / 2)`.

    difference : difference d of the two direction cosines (1)
    """
    half = 0.5 * math.pi * difference
    denominator = math.sin(half)
    if abs(denominator) < 1e-9:  # d = 0, or a grating lobe at d = +-2
        if abs(difference) < 1.0 or elements % 2 == 1:
            return float(elements)
        return -float(elements)
    return math.sin(elements * half) / denominator


@njit(cache=True, nogil=True)
def array_product(u: float, v: float, other_u: float, other_v: float, rows: int, columns: int) -> float:
    """a(u, v)^T a(other_u, other_v) of a centred planar array: real, equal to rows * columns at coincidence."""
    return dirichlet(u - other_u, rows) * dirichlet(v - other_v, columns)


@njit(cache=True, nogil=True)
def direction_phasors(cosines: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Sines and cosines of the angles of each direction that `phasor_product` needs: [direction, 8]."""
    out = np.empty((cosines.shape[0], 8))
    for i in range(cosines.shape[0]):
        for axis in range(2):
            half = 0.5 * math.pi * cosines[i, axis]
            whole = half * (rows if axis == 0 else columns)
            out[i, 4 * axis], out[i, 4 * axis + 1] = math.sin(half), math.cos(half)
            out[i, 4 * axis + 2], out[i, 4 * axis + 3] = math.sin(whole), math.cos(whole)
    return out


@njit(cache=True, nogil=True)
def phasor_product(
    direction: np.ndarray, own: np.ndarray, other: np.ndarray, others: np.ndarray, rows: int, columns: int
) -> float:
    """`array_product` of two directions from their phasors, without a sine a pair.

    direction, other : [cosine] the direction cosines (1); own, others : their `direction_phasors`
    Near a coincidence, where the sine of a difference of angles loses digits, it takes `dirichlet`.
    """
    value = 1.0
    for axis in range(2):
        a = 4 * axis
        low = own[a] * others[a + 1] - own[a + 1] * others[a]
        if abs(low) < 1e-2:
            value *= dirichlet(direction[axis] - other[axis], rows if axis == 0 else columns)
        else:
            value *= (own[a + 2] * others[a + 3] - own[a + 3] * others[a + 2]) / low
    return value


def gram(cosines: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Gram matrix A^H A of the steering vectors of several directions: [n, n] real."""
    return _gram(np.ascontiguousarray(cosines, dtype=np.float64), rows, columns)


@njit(cache=True, nogil=True)
def _gram(cosines: np.ndarray, rows: int, columns: int) -> np.ndarray:
    n = cosines.shape[0]
    out = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            value = array_product(cosines[i, 0], cosines[i, 1], cosines[j, 0], cosines[j, 1], rows, columns)
            out[i, j] = value
            out[j, i] = value
    return out


def element_gain(cos_off_boresight: np.ndarray, pattern: str) -> np.ndarray:
    """Power gain of one array element towards an angle off its boresight.

    `"cosine"` is pi cos(theta), the aperture limit of a half-wavelength cell (4.97 dBi at boresight);
    `"isotropic"` is 1 in all directions. Nothing radiates behind the array.

    Raises ValueError for another name.
    """
    if pattern == "cosine":
        return np.pi * np.maximum(cos_off_boresight, 0.0)
    if pattern == "isotropic":
        return np.where(cos_off_boresight > 0.0, 1.0, 0.0)
    raise ValueError(f'element pattern: expected "cosine" or "isotropic", got {pattern!r}')
