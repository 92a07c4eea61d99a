"""Position information of wideband pilots: Fisher information, what of it tells the position, and error bounds.

Everything a precoder does to a terminal is in its gains: what each stream's response and its two derivatives are at
that terminal. The Fisher information is linear in their 3 x 3 products, so bounds and gradients need no antennas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from leosim.ofdm import Waveform
from leosim.units import SPEED_OF_LIGHT_M_S

FARTHEST_M = 1e7  # a terminal is known to be this close, before any signal
PARAMETERS = ("u", "w", "delay", "doppler")  # and the complex gain, projected out


@dataclass(frozen=True)
class Link:
    """What of the channel enters the information of each terminal.

    gamma : [terminal] mean power gain of the whole array with a unit-norm response (1); kappa : [terminal] K-factor
    noise_w : [terminal] noise power a subcarrier (W)
    """

    gamma: np.ndarray
    kappa: np.ndarray
    noise_w: np.ndarray


@dataclass(frozen=True)
class Nuisance:
    """Standard deviations of what is common to all pilots of a fix and not known: 0 is known, inf is unknown.

    attitude_rad : of each of the two direction cosines; clock_s : between satellite and terminal; carrier_hz : of
    the carrier offset
    """

    attitude_rad: float = 0.0
    clock_s: float = 0.0
    carrier_hz: float = 0.0

    @property
    def sigma(self) -> np.ndarray:
        """In the order of `PARAMETERS`: [4]."""
        return np.array([self.attitude_rad, self.attitude_rad, self.clock_s, self.carrier_hz])


def gains(responses: np.ndarray, precoder: np.ndarray) -> np.ndarray:
    """What of each stream reaches each terminal: `v^T W`, `v_u^T W`, `v_w^T W`.

    responses : [block, terminal, 3, ant] of `antenna.responses`; precoder : [block, ant, stream] (square root of W)
    Returns [terminal, block, 3, stream] complex.
    """
    block, terminal, three, ant = responses.shape
    product = responses.reshape(block, terminal * three, ant).conj() @ precoder
    return np.moveaxis(product.reshape(block, terminal, three, -1), 1, 0)


@lru_cache(maxsize=16)
def kernel(waveform: Waveform, exact: bool = False) -> np.ndarray:
    """Sums over subcarriers and pilots of products of the derivatives of a received sample.

    A sample's derivative by parameter i is `sum_r D_ir g_r` times the gain, g the gains [3, stream] of `gains`:
    `D_u = (0, 1, 0)`, `D_w = (0, 0, 1)`, `D_delay = (-2 pi i f, 0, 0)`, `D_doppler = (2 pi i t, 0, 0)`, and (1, 0, 0),
    (i, 0, 0) for the two parts of the complex gain: Eqs. (18) and (59), You et al. 2024, with the errata.

    exact : a block a subcarrier instead of the waveform's
    Returns [block, 6, 6, 3, 3]: `sum conj(D_ir) D_js` over the samples of a block.
    """
    f = waveform.frequency_hz.reshape(waveform.subcarriers if exact else waveform.blocks, -1)
    t = waveform.pilot_s
    d = np.zeros((3, 6, 3), dtype=complex)  # the parts of D without f and t, along f, along t
    d[0, [0, 1], [1, 2]] = 1.0
    d[1, 2, 0], d[2, 3, 0] = -2j * math.pi, 2j * math.pi
    d[0, 4, 0], d[0, 5, 0] = 1.0, 1j
    flat = np.ones_like(f), f, np.ones_like(f)
    early = np.ones_like(t), np.ones_like(t), t
    moments = np.array(
        [
            [(x * y).sum(axis=1) * (r @ s) for y, s in zip(flat, early, strict=True)]
            for x, r in zip(flat, early, strict=True)
        ]
    )  # [part, part, block]
    return np.einsum("xyb,xir,yjs->bijrs", moments, d.conj(), d)


def information(gains: np.ndarray, link: Link, waveform: Waveform) -> np.ndarray:
    """Fisher information of direction cosines, delay, Doppler shift and complex gain of each terminal.

    `J_ij = sum 2 / N_eq Re{(d r / d eta_i)^H d r / d eta_j}`, `N_eq = gamma / (1 + kappa) ||v^T W||^2 + N_0`,
    Eqs. (17)-(18), You et al. 2024. The gain is in units of itself: `alpha (1 + x + i y)`.

    gains : [terminal, block, 3, stream], one block a subcarrier for the exact sum
    Returns [terminal, 6, 6]: the order of `PARAMETERS`, then x and y; all frames of a fix together.
    """
    products = gains @ gains.conj().swapaxes(-1, -2)  # [terminal, block, s, r]: g_r^H g_s
    weight = _weight(products[..., 0, 0].real, link, waveform)
    return _summed(products, weight, _table(waveform, gains.shape[1] != waveform.blocks))


def _weight(power: np.ndarray, link: Link, waveform: Waveform) -> np.ndarray:
    """`2 F |alpha|^2 / N_eq` of each terminal and block, from the power ||v^T W||^2 [terminal, block]."""
    scattered = (link.gamma / (1.0 + link.kappa))[:, None]
    return 2.0 * waveform.frames * link.kappa[:, None] * scattered / (scattered * power + link.noise_w[:, None])


def without_gain(information: np.ndarray) -> np.ndarray:
    """Equivalent information of the four parameters when the complex gain is unknown: [..., 4, 4]."""
    return _projector(information) @ information @ _projector(information).swapaxes(-1, -2)


def _projector(information: np.ndarray) -> np.ndarray:
    """`(I, -B / d)`, which takes the information of the unknown gain, d times the identity, out: [..., 4, 6]."""
    d = np.maximum(information[..., 4, 4], 1e-300)[..., None, None]
    eye = np.broadcast_to(np.eye(4), (*information.shape[:-2], 4, 4))
    return np.concatenate([eye, -information[..., :4, 4:] / d], axis=-1)


def with_nuisances(information: np.ndarray, nuisance: Nuisance) -> np.ndarray:
    """Equivalent information when each parameter has an unknown offset: `(J^-1 + S)^-1 = (I + J S)^-1 J`: [..., 4, 4].

    S : variances of the offsets; an infinite one leaves nothing of its parameter.
    """
    return _damping(information, nuisance) @ information


def _damping(information: np.ndarray, nuisance: Nuisance) -> np.ndarray:
    """`(I + J S)^-1`, one offset after the other, which is exact for an infinite one too: [..., 4, 4]."""
    damping = np.broadcast_to(np.eye(4), information.shape)
    for i, sigma in enumerate(nuisance.sigma):
        if sigma > 0.0:
            step = np.broadcast_to(np.eye(4), information.shape).copy()
            step[..., i] -= information[..., i] / np.maximum(1.0 / sigma**2 + information[..., i, i], 1e-300)[..., None]
            information, damping = step @ information, step @ damping
    return damping


def jacobian(
    offset_m: np.ndarray, relative_m_s: np.ndarray, axes: np.ndarray, carrier_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """Direction cosines, delay and Doppler shift of terminals, and their gradients by the position, Xi of Eq. (57).

    `u = e_along . r / |r|`, `w = e_cross . r / |r|`, `tau = |r| / c`, `nu = -f_c / c  v . r / |r|`: Eqs. (54)-(56), You
    et al. 2024, in cosines instead of angles and with the velocity relative to the satellite, which the
    paper leaves out.

    offset_m : [..., xyz] from satellite to terminal; relative_m_s : [..., xyz] terminal's velocity less the
    satellite's; axes : [..., 3, xyz] along-track, cross-track, nadir
    Returns the parameters [..., 4] and the gradients [..., xyz, 4].
    """
    distance = np.linalg.norm(offset_m, axis=-1)[..., None]
    r = offset_m / distance
    across = axes[..., :2, :]
    cosines = (across @ r[..., None])[..., 0]
    closing = np.sum(relative_m_s * r, axis=-1, keepdims=True)
    wavenumber = carrier_hz / SPEED_OF_LIGHT_M_S
    value = np.concatenate([cosines, distance / SPEED_OF_LIGHT_M_S, -wavenumber * closing], axis=-1)
    slope = np.empty((*r.shape, 4))
    slope[..., :2] = (across.swapaxes(-1, -2) - r[..., :, None] * cosines[..., None, :]) / distance[..., None]
    slope[..., 2] = r / SPEED_OF_LIGHT_M_S
    slope[..., 3] = -wavenumber * (relative_m_s - closing * r) / distance
    return value, slope


def lines_of_sight(slope: np.ndarray) -> np.ndarray:
    """Axes along the line of sight, where delay tells most, and across: columns of [terminal, xyz, 3]."""
    return np.linalg.qr(slope[..., [2, 0, 1]])[0]


def position_bound(information: np.ndarray, slope: np.ndarray, towards: np.ndarray | None = None) -> np.ndarray:
    """Bound of the covariance of the position, `(Xi J Xi^T)^-1`, Eqs. (19)-(21): [terminal, xyz, xyz] (m^2).

    information : [terminal, 4, 4] of `without_gain` or `with_nuisances`; slope : [terminal, xyz, 4] of `jacobian`
    towards : `lines_of_sight` of the slope, if it is at hand
    Where a direction is not observed it stays within `FARTHEST_M`, so that the bound is always finite.
    """
    towards = lines_of_sight(slope) if towards is None else towards
    seen = towards.swapaxes(-1, -2) @ slope
    inverse = seen @ information @ seen.swapaxes(-1, -2) + np.eye(3) / FARTHEST_M**2
    scale = np.sqrt(np.diagonal(inverse, axis1=-2, axis2=-1))
    scaled = scale[..., :, None] * scale[..., None, :]
    return towards @ (np.linalg.inv(inverse / scaled) / scaled) @ towards.swapaxes(-1, -2)


def speb(
    gains: np.ndarray,
    link: Link,
    waveform: Waveform,
    slope: np.ndarray,
    nuisance: Nuisance,
    towards: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Squared position error bound of each terminal, Eq. (21), and its gradient by the terminal's own gains.

    gains : [terminal, block, 3, stream]; slope : [terminal, xyz, 4] of `jacobian`
    towards : `lines_of_sight` of the slope, if at hand
    Returns [terminal] (m^2) and `d speb / d conj(gains)` [terminal, block, 3, stream]: a change dG of the gains of a
    terminal changes its bound by `2 Re sum(conj(gradient) dG)`.
    """
    table = _table(waveform, gains.shape[1] != waveform.blocks)
    products = gains @ gains.conj().swapaxes(-1, -2)
    power = products[..., 0, 0].real
    weight = _weight(power, link, waveform)
    whole = _summed(products, weight, table)
    projector = _projector(whole)
    partial = projector @ whole @ projector.swapaxes(-1, -2)
    damping = _damping(partial, nuisance)
    covariance = position_bound(damping @ partial, slope, towards)
    reach = covariance @ slope @ damping @ projector  # [terminal, xyz, 6]
    cost = reach.swapaxes(-1, -2) @ reach  # - d speb / d J
    form = (cost.reshape(len(cost), 36) @ -table).view(complex).reshape(products.shape)
    scattered = (link.gamma / (1.0 + link.kappa))[:, None]
    fall = -weight * scattered / (scattered * power + link.noise_w[:, None])  # d weight / d power
    told = _reals(form) * _reals(products)
    fall = fall * told.reshape(*power.shape, 18).sum(axis=-1)
    form *= weight[..., None, None]
    form[..., 0, 0] += fall
    return np.trace(covariance, axis1=-2, axis2=-1), form @ gains


@lru_cache(maxsize=16)
def _table(waveform: Waveform, exact: bool) -> np.ndarray:
    """The Hermitian part of `kernel` as a real table, so that sums over blocks are one product: [36, block * 18].

    Rows: pairs of parameters; columns: block, r, s, real and imaginary part.
    """
    core = np.moveaxis(kernel(waveform, exact).reshape(-1, 36, 3, 3), 1, 0)
    return np.ascontiguousarray(0.5 * (core + core.conj().swapaxes(-1, -2))).view(float).reshape(36, -1)


def _summed(products: np.ndarray, weight: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Information [terminal, 6, 6] from products of gains [terminal, block, 3, 3] and weights [terminal, block]."""
    return (_reals(weight[..., None, None] * products) @ table.T).reshape(-1, 6, 6)


def _reals(products: np.ndarray) -> np.ndarray:
    """Real and imaginary parts, a row a terminal."""
    return products.reshape(len(products), -1).view(float)
