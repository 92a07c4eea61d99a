"""The likelihood of wideband pilots as a function of a terminal's position: condensed pilots, model, refinement.

Once delays are known to a fraction of a sample, the subcarriers of a block say all they know in two numbers, so that
iterations work on a thirtieth of the pilots. The model goes through the same sums and is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from leosim import downlink_pilots as downlink
from leosim import fisher
from leosim.downlink_pilots import Pilots, Prior
from leosim.fisher import FARTHEST_M
from leosim.ofdm import Waveform
from leosim.pilot_search import Start, deviations
from leosim.units import SPEED_OF_LIGHT_M_S, linear_to_db

MOMENTS = 2  # of the subcarriers of a block: their mean and their slope
NODES = 3  # frequencies of a block between which responses are interpolated
NEAR = 0.003  # change of the cosines over which responses are expanded, about a new direction when it was more
EXPANDED_WITHIN = 1e-6  # of a response
ROUNDS = 3  # expansions
SETTLED = 1e-4  # squared step in standard deviations at which the refinement ends


@dataclass(frozen=True)
class Fitted:
    """The best position near each start, and the offsets in standard deviations: [start] each.

    cost : minus the log-likelihood but for a constant of the terminal, offsets' priors included
    snr : of the match with the pilots
    share, expected_share : of the power received that the fit explains, and that the K-factor promises
    share_sigma : their difference by noise; gain_db : path gain over the expected one
    """

    pos_ecef: np.ndarray
    offset: np.ndarray
    covariance_m2: np.ndarray
    cost: np.ndarray
    snr: np.ndarray
    share: np.ndarray
    expected_share: np.ndarray
    share_sigma: np.ndarray
    gain_db: np.ndarray


def power_of(pilots: Pilots) -> np.ndarray:
    """Mean power received in each block on each pilot: [terminal, block, pilot] (W)."""
    wave = pilots.waveform
    parts = pilots.received.view(np.float32)
    total = np.stack([np.einsum("fni,fni->ni", each, each) for each in parts])
    total = total.reshape(len(parts), wave.blocks, -1, wave.pilots, 2).sum(axis=(2, 4), dtype=float)
    return total / (parts.shape[1] * wave.block_subcarriers)


def weights(pilots: Pilots, power_w: np.ndarray) -> np.ndarray:
    """1 / N of each block and pilot, N the noise with scattering: [terminal, block, pilot] (1 / W).

    `N = N_0 + (p - N_0) / (1 + kappa)` of the power p received: no place is assumed, so that hypotheses compare.

    power_w : [terminal, block, pilot] of `power_of`
    """
    noise = pilots.noise_w[:, None, None]
    return 1.0 / (noise + np.maximum(power_w - noise, 0.0) / (1.0 + pilots.kappa[:, None, None]))


@dataclass(frozen=True)
class _Condensed:
    """Pilots summed over subcarriers with two weights each block, turned back by the delays of the starts.

    value : [start, frame, block, moment, pilot]; delay_s : [start, frame]; weight : [start, block, pilot]
    """

    value: np.ndarray
    delay_s: np.ndarray
    weight: np.ndarray


def _inside_hz(wave: Waveform) -> np.ndarray:
    """Frequencies of the subcarriers of a block over its centre (Hz): [subcarrier]."""
    return wave.frequency_hz[: wave.block_subcarriers] - wave.block_hz[0]


def _polynomials(wave: Waveform) -> np.ndarray:
    """Orthonormal polynomials over the subcarriers of a block: [subcarrier, moment]."""
    moments = min(MOMENTS, wave.block_subcarriers)
    return np.linalg.qr(np.linspace(-1.0, 1.0, wave.block_subcarriers)[:, None] ** np.arange(moments))[0]


def _condense(pilots: Pilots, weight: np.ndarray, of: np.ndarray, delay_s: np.ndarray) -> _Condensed:
    wave = pilots.waveform
    turn = np.exp(2j * math.pi * delay_s[..., None] * _inside_hz(wave))
    sums = (turn[:, :, None] * _polynomials(wave).T).astype(np.complex64)[:, :, None]
    blocks = (wave.frames, wave.blocks, wave.block_subcarriers, wave.pilots)
    value = np.stack([sums[c] @ pilots.received[k].reshape(blocks) for c, k in enumerate(of)])
    coarse = np.exp(2j * math.pi * delay_s[..., None] * wave.block_hz)
    return _Condensed(value * coarse[..., None, None], delay_s, weight[of])


@dataclass(frozen=True)
class _Step:
    """The likelihood at one place each: [start, ...], by position and offsets; `products` as `_products` has them."""

    cost: np.ndarray
    gradient: np.ndarray
    information: np.ndarray
    products: np.ndarray


class _Model:
    """The condensed pilots that a position makes, about a direction, with derivatives."""

    def __init__(
        self, pilots: Pilots, vel_ecef: np.ndarray, heard: _Condensed, about: np.ndarray, spread: float
    ) -> None:
        """vel_ecef : [start, xyz]; about : [start, 2] cosines to expand responses about; spread : over the frames."""
        wave = pilots.waveform
        self.pilots, self.velocity, self.heard, self.about = pilots, vel_ecef, heard, about
        self.sigma = deviations(pilots.sigma)
        self.node_hz, weight = downlink.nodes(wave, NODES)
        self.through = (_polynomials(wave)[:, :, None] * weight[:, None]).reshape(len(weight), -1)
        self.powers = np.arange(_degree(math.pi * 0.5 * max(pilots.rows, pilots.columns) * (spread + NEAR)) + 1)
        self.coefficients = self._expansion()
        # Each pilot in units of its noise, the model as the data.
        root = np.sqrt(heard.weight)[:, None, :, None]  # [start, 1, block, 1, pilot]
        self.symbols = pilots.symbols.T * root
        self.value = heard.value * root

    def _expansion(self) -> np.ndarray:
        """Coefficients of `v^T W` in powers of the cosines from `about`: [start, block, power of u and w, stream]."""
        pilots, wave = self.pilots, self.pilots.waveform
        scale = 1.0 / np.cumprod(np.maximum(self.powers, 1)).astype(float)
        sides = []
        for axis, count in enumerate((pilots.rows, pilots.columns)):
            m = np.arange(count) - (count - 1) / 2
            turn = np.exp(-1j * np.pi * (wave.stretch * self.about[:, axis, None])[..., None] * m)
            sides.append(turn[..., None, :] * (scale[:, None] * (-1j * np.pi * m) ** self.powers[:, None]))
        along, cross = sides  # [start, block, power, ant]
        streams = pilots.precoder.shape[2]
        sheets = pilots.precoder.reshape(wave.blocks, pilots.rows, pilots.columns * streams)
        first = (along @ sheets).reshape(*along.shape[:3], pilots.columns, streams)
        both = cross[:, :, None] @ first  # [start, block, power of u, power of w, stream]
        return both.reshape(*both.shape[:2], -1, streams) / math.sqrt(pilots.rows * pilots.columns)

    def _beams(self, rows: slice, cosines: np.ndarray) -> np.ndarray:
        """`v^T W` and its derivatives towards cosines [start, frame, 2]: [start, frame, block, node, 3, stream]."""
        wave = self.pilots.waveform
        stretch = 1.0 + (wave.block_hz[:, None] + self.node_hz) / wave.carrier_hz  # [block, node]
        centre = wave.stretch[:, None, None] * self.about[rows, None, None, None]  # [start, 1, block, 1, 2]
        off = stretch[..., None] * cosines[:, :, None, None] - centre  # [start, frame, block, node, 2]
        value = off[..., None] ** self.powers
        slope = np.zeros_like(value)
        slope[..., 1:] = self.powers[1:] * value[..., :-1]
        slope *= stretch[:, :, None, None]
        size = len(self.powers)
        terms = np.empty((*off.shape[:-1], 3, size, size))
        pairs = ((value, value), (slope, value), (value, slope))
        for i, (by_u, by_w) in enumerate(pairs):
            np.multiply(by_u[..., 0, :, None], by_w[..., 1, None, :], out=terms[..., i, :, :])
        start, frame, block, node = off.shape[:4]
        terms = np.moveaxis(terms.reshape(start, frame, block, node * 3, size**2), 2, 1)
        c = self.coefficients[rows]
        flat = np.ascontiguousarray(terms).reshape(start, block, -1, size**2)
        product = (flat @ c.view(float)).view(complex)
        return np.moveaxis(product.reshape(start, block, frame, node, 3, -1), 1, 2)

    def _signal(
        self, rows: slice, eta: np.ndarray, away: np.ndarray, relative: np.ndarray, carrier_hz: np.ndarray
    ) -> np.ndarray:
        """Pilots of a unit gain, their derivatives by `fisher.PARAMETERS`, and those heard, in units of the noise.

        rows : the starts the others are of
        Returns [start, frame, block, 6, moment, pilot].
        """
        wave, inside = self.pilots.waveform, _inside_hz(self.pilots.waveform)
        late = eta[..., 2] - self.heard.delay_s[rows]
        turn = np.exp(-2j * math.pi * late[..., None] * inside)
        shape = (*late.shape, 1, -1, len(self.node_hz))
        beams = self._beams(rows, eta[..., :2])
        sums = (turn @ self.through).reshape(shape)
        tilted = ((turn * (-2j * math.pi * inside)) @ self.through).reshape(shape)
        start, frame, block, node, _, streams = beams.shape
        through = (sums @ beams.reshape(start, frame, block, node, -1)).reshape(start, frame, block, -1, 3, streams)
        delayed = tilted @ beams[..., 0, :] + (-2j * math.pi * wave.block_hz[:, None, None]) * through[..., 0, :]
        each = np.concatenate([np.moveaxis(through, -2, -3), delayed[..., None, :, :]], axis=-3)
        each *= np.exp(-2j * math.pi * late[..., None] * wave.block_hz)[..., None, None, None]
        moments = each.shape[-2]
        out = np.empty((start, frame, block, 6, moments, wave.pilots), dtype=complex)
        sent = each.reshape(start, frame, block, 4 * moments, streams) @ self.symbols[rows]
        out[:, :, :, :4] = sent.reshape(start, frame, block, 4, moments, -1)
        np.multiply(out[:, :, :, 0], 2j * math.pi * downlink.pilot_offset_s(wave), out=out[:, :, :, 4])
        turns = downlink.turning(away, relative, wave, np.broadcast_to(carrier_hz[:, None], late.shape))
        np.multiply(self.value[rows], turns.conj()[:, :, None, None], out=out[:, :, :, 5])
        return out

    def evaluate(self, pos_ecef: np.ndarray, offset: np.ndarray) -> _Step:
        """Cost, gradient and information at positions [start, xyz] and offsets [start, 4]."""
        pilots = self.pilots
        away, relative, _ = downlink.sight(pos_ecef, self.velocity, pilots)
        eta, slope = fisher.jacobian(away, relative, pilots.axes, pilots.waveform.carrier_hz)
        eta = eta + (self.sigma * offset)[:, None]
        carrier_hz = self.sigma[3] * offset[:, 3]
        each = [slice(k, k + 1) for k in range(len(eta))]  # one at a time, as all of them do not fit a cache
        products = np.concatenate(
            [_products(self._signal(k, eta[k], away[k], relative[k], carrier_hz[k])) for k in each]
        )
        cost, gradient, information = _project(products.sum(axis=2))
        inward = np.concatenate([slope, np.broadcast_to(np.diag(self.sigma), (*away.shape[:2], 4, 4))], axis=2)
        whole = (inward @ information @ inward.swapaxes(-1, -2)).sum(axis=1)
        whole += np.diag([FARTHEST_M**-2.0] * 3 + [1.0] * 4)
        ascent = (inward @ gradient[..., None])[..., 0].sum(axis=1)
        ascent[:, 3:] -= offset
        return _Step(cost.sum(axis=1) + 0.5 * np.sum(offset**2, axis=1), ascent, whole, products)

    def moved(self, pos_ecef: np.ndarray, step_m: np.ndarray) -> np.ndarray:
        """Positions after steps [start, xyz] that are straight in cosines and range, for ranges are told to metres."""
        pilots = self.pilots
        f = len(pilots.frame_s) // 2
        away, relative, _ = downlink.sight(pos_ecef, self.velocity, pilots)
        axes = pilots.axes[f]
        eta, slope = fisher.jacobian(away[:, f], relative[:, f], axes, pilots.waveform.carrier_hz)
        eta = eta[:, :3] + np.einsum("cx,cxe->ce", step_m, slope[:, :, :3])
        down = np.sqrt(np.maximum(1.0 - np.sum(eta[:, :2] ** 2, axis=1), 1e-6))
        ray = np.concatenate([eta[:, :2], down[:, None]], axis=1)
        ray = ray / np.linalg.norm(ray, axis=1)[:, None] @ axes
        return pos_ecef + (eta[:, 2:] * SPEED_OF_LIGHT_M_S * ray - away[:, f])


def _degree(turn: float) -> int:
    """Degree of the expansion of exp(i x) that is `EXPANDED_WITHIN` up to |x| = turn."""
    degree, rest = 0, turn
    while rest > EXPANDED_WITHIN:
        degree += 1
        rest *= turn / (degree + 1)
    return degree


def _products(signal: np.ndarray) -> np.ndarray:
    """Inner products of the pilots of a unit gain, their derivatives and those heard: [start, frame, moment, 6, 6]."""
    start, frame, block, six, moment, pilot = signal.shape
    rows = signal.reshape(start, frame, block, six * moment, pilot)
    gram = (rows.conj() @ rows.swapaxes(-1, -2)).sum(axis=2).reshape(start, frame, six, moment, six, moment)
    return np.moveaxis(np.diagonal(gram, axis1=3, axis2=5), -1, 2)


def _project(products: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cost, gradient and information by `fisher.PARAMETERS` once the gain of each frame is fitted: [start, frame, ...].

    products : [start, frame, 6, 6]
    """
    power = np.maximum(products[..., 0, 0].real, 1e-300)
    alpha = products[..., 0, 5] / power
    cost = products[..., 5, 5].real - np.abs(products[..., 0, 5]) ** 2 / power
    on = products[..., 0, 1:5] / power[..., None]
    inner = products[..., 1:5, 1:5] - on.conj()[..., :, None] * products[..., 0, None, 1:5]
    information = 2.0 * (np.abs(alpha) ** 2)[..., None, None] * inner.real
    ahead = products[..., 1:5, 5] - on.conj() * products[..., 0, 5, None]
    return cost, 2.0 * (alpha.conj()[..., None] * ahead).real, information


def refine(
    pilots: Pilots, prior: Prior, power_w: np.ndarray, of: np.ndarray, starts: list[Start], iterations: int
) -> Fitted:
    """The likeliest positions near starts, all at once.

    power_w : [terminal, block, pilot] of `power_of`; of : [start] row of each start's terminal
    """
    position = np.stack([start.pos_ecef for start in starts])
    offset = np.stack([start.offset for start in starts])
    velocity, sigma = prior.vel_ecef[of], deviations(pilots.sigma)
    away = downlink.sight(position, velocity, pilots)[0]
    delay_s = np.linalg.norm(away, axis=-1) / SPEED_OF_LIGHT_M_S + sigma[2] * offset[:, None, 2]
    heard = _condense(pilots, weights(pilots, power_w), of, delay_s)
    middle = len(pilots.frame_s) // 2
    for _ in range(ROUNDS):
        cosines = downlink.sight(position, velocity, pilots)[2]
        about = cosines[:, middle] + sigma[:2] * offset[:, :2]
        spread = float(np.abs(cosines - cosines[:, middle, None]).max())
        position, offset, last = _descend(_Model(pilots, velocity, heard, about, spread), position, offset, iterations)
        now = downlink.sight(position, velocity, pilots)[2][:, middle] + sigma[:2] * offset[:, :2]
        if np.all(np.abs(now - about) <= NEAR):
            break
    return _report(pilots, power_w, of, position, offset, last)


def _descend(
    model: _Model, position: np.ndarray, offset: np.ndarray, iterations: int
) -> tuple[np.ndarray, np.ndarray, _Step]:
    """Levenberg and Marquardt's steps until each is a hundredth of the standard deviation."""
    now = model.evaluate(position, offset)
    damping = np.full(len(position), 1e-4)
    for _ in range(iterations):
        step = _solve(now.information, now.gradient, damping)
        if np.all(np.einsum("ci,cij,cj->c", step, now.information, step) < SETTLED):
            return model.moved(position, step[:, :3]), offset + step[:, 3:], now
        moved = model.moved(position, step[:, :3])
        new = model.evaluate(moved, offset + step[:, 3:])
        better = new.cost <= now.cost
        position = np.where(better[:, None], moved, position)
        offset = np.where(better[:, None], offset + step[:, 3:], offset)
        damping = np.where(better, damping * 0.1, damping * 30.0)
        now = _choose(better, new, now)
    return position, offset, now


def _choose(better: np.ndarray, new: _Step, old: _Step) -> _Step:
    def pick(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(better.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return _Step(**{name: pick(value, getattr(old, name)) for name, value in vars(new).items()})


def _solve(information: np.ndarray, gradient: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Solution of `(H + damping diag H) s = g`, scaled to a unit diagonal: [start, 7]."""
    scale = np.sqrt(np.diagonal(information, axis1=-2, axis2=-1))
    scaled = information / (scale[:, :, None] * scale[:, None]) + damping[:, None, None] * np.eye(scale.shape[1])
    return np.linalg.solve(scaled, (gradient / scale)[..., None])[..., 0] / scale


def _report(
    pilots: Pilots, power_w: np.ndarray, of: np.ndarray, position: np.ndarray, offset: np.ndarray, last: _Step
) -> Fitted:
    wave, kappa, samples = pilots.waveform, pilots.kappa[of], pilots.received[0].size
    scale = np.sqrt(np.diagonal(last.information, axis1=-2, axis2=-1))
    unit = scale[:, :, None] * scale[:, None]
    covariance = (np.linalg.inv(last.information / unit) / unit)[:, :3, :3]
    whole = last.products.sum(axis=2)
    power = np.maximum(whole[..., 0, 0].real, 1e-300)
    gain = np.abs(whole[..., 0, 5] / power) ** 2
    snr = np.sum(gain * power, axis=1)
    # The means over blocks carry nearly all that is told, and what is left of them shows how much they err.
    mean = last.products[:, :, 0]
    left = mean[..., 5, 5].real - 2.0 * (whole[..., 0, 5] / power * mean[..., 5, 0]).real + gain * mean[..., 0, 0].real
    excess = left.sum(axis=1) / max(1, wave.frames * (wave.blocks * wave.pilots - 1))
    # Power in units of the noise, pilot by pilot, against what the K-factor makes of it.
    heard = power_w[of] * weights(pilots, power_w)[of]
    energy = heard.sum(axis=(1, 2)) * wave.block_subcarriers * wave.frames
    share, expected = snr / energy, 1.0 - 1.0 / np.maximum(energy / samples, 1.0)
    return Fitted(
        pos_ecef=position,
        offset=offset,
        covariance_m2=covariance * np.maximum(1.0, excess)[:, None, None],
        # Not the misfit of condensed pilots: what they lose depends on where they were condensed.
        cost=0.5 * np.sum(offset**2, axis=1) - snr,
        snr=snr,
        share=share,
        expected_share=expected,
        share_sigma=(1.0 - expected) / math.sqrt(samples),
        gain_db=linear_to_db(np.maximum(gain.mean(axis=1) * (1.0 + kappa) / (kappa * pilots.gamma[of]), 1e-30)),
    )
