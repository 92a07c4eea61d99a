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
DEGREE = 6  # of the expansion of responses about a direction, good for 0.01 in cosines
ROUNDS = 2  # expansions, each about the direction found before
SETTLED = 1e-6  # squared step in standard deviations at which the refinement ends


@dataclass(frozen=True)
class Fitted:
    """The best position near each start: [start] each.

    cost : minus the log-likelihood, offsets' priors included; snr : of the match with the pilots; share,
    expected_share : of the power received that the fit explains, and that the K-factor promises; gain_db : path gain
    over the expected one
    """

    pos_ecef: np.ndarray
    covariance_m2: np.ndarray
    cost: np.ndarray
    snr: np.ndarray
    share: np.ndarray
    expected_share: np.ndarray
    gain_db: np.ndarray


def _power(pilots: Pilots) -> np.ndarray:
    """Mean power received in each block on each pilot: [terminal, block, pilot] (W)."""
    wave = pilots.waveform
    squares = np.stack([_squared(each) for each in pilots.received])
    return squares.reshape(len(squares), wave.blocks, -1, wave.pilots).mean(axis=2, dtype=float)


def _squared(received: np.ndarray) -> np.ndarray:
    """|r|^2 summed over frames, of one terminal: [subcarrier, pilot]."""
    parts = received.view(np.float32)
    total = np.einsum("fni,fni->ni", parts, parts)
    return (total[:, 0::2] + total[:, 1::2]) / len(received)


def weights(pilots: Pilots) -> np.ndarray:
    """1 / N of each block and pilot, N the noise with scattering: [terminal, block, pilot] (1 / W).

    `N = N_0 + (p - N_0) / (1 + kappa)` of the power p received: no place is assumed, so that hypotheses compare.
    """
    noise = pilots.noise_w[:, None, None]
    scattered = np.maximum(_power(pilots) - noise, 0.0) / (1.0 + pilots.kappa[:, None, None])
    return 1.0 / (noise + scattered)


@dataclass(frozen=True)
class _Condensed:
    """Pilots summed over subcarriers with two weights each block, turned back by the delays of the starts.

    of : [start] row of the terminal; value : [start, frame, block, moment, pilot]; delay_s : [start, frame]
    weight : [start, block, pilot]
    """

    of: np.ndarray
    value: np.ndarray
    delay_s: np.ndarray
    weight: np.ndarray


def _polynomials(wave: Waveform) -> np.ndarray:
    """Orthonormal polynomials over the subcarriers of a block: [subcarrier, moment]."""
    inside = np.linspace(-1.0, 1.0, wave.block_subcarriers) if wave.block_subcarriers > 1 else np.zeros(1)
    moments = min(MOMENTS, wave.block_subcarriers)
    q, r = np.linalg.qr(inside[:, None] ** np.arange(moments))
    return q * np.sign(np.diagonal(r))


def _condense(pilots: Pilots, weight: np.ndarray, of: np.ndarray, delay_s: np.ndarray) -> _Condensed:
    wave = pilots.waveform
    inside = wave.frequency_hz[: wave.block_subcarriers] - wave.block_hz[0]
    turned = np.exp(2j * math.pi * delay_s[..., None] * inside)[:, :, None] * _polynomials(wave).T
    coarse = np.exp(2j * math.pi * delay_s[..., None] * wave.block_hz)
    value = np.stack(
        [
            turned[c, :, None].astype(np.complex64)
            @ pilots.received[k].reshape(len(delay_s[c]), wave.blocks, -1, wave.pilots)
            for c, k in enumerate(of)
        ]
    )
    return _Condensed(of, value * coarse[..., None, None], delay_s, weight[of])


class _Model:
    """The condensed pilots that a position makes, about a direction, with derivatives."""

    def __init__(self, pilots: Pilots, vel_ecef: np.ndarray, heard: _Condensed, about: np.ndarray) -> None:
        """vel_ecef : [start, xyz]; about : [start, 2] cosines the responses are expanded about."""
        self.pilots, self.velocity, self.heard, self.about = pilots, vel_ecef, heard, about
        self.sigma = deviations(pilots.sigma)
        self.node_hz, weight = downlink.nodes(pilots.waveform)
        self.through = (_polynomials(pilots.waveform)[:, :, None] * weight[:, None]).reshape(len(weight), -1)
        self.coefficients = self._expansion()

    def _expansion(self) -> np.ndarray:
        """Coefficients of `v^T W` in powers of the cosines from `about`: [start, block, power of u and w, stream]."""
        pilots, wave = self.pilots, self.pilots.waveform
        powers = np.arange(DEGREE + 1)
        scale = 1.0 / np.cumprod(np.maximum(powers, 1)).astype(float)
        sides = []
        for axis, count in enumerate((pilots.rows, pilots.columns)):
            m = np.arange(count) - (count - 1) / 2
            wide = wave.stretch * self.about[:, axis, None]  # [start, block]
            turn = np.exp(-1j * np.pi * wide[..., None] * m)
            sides.append(turn[..., None, :] * (scale[:, None] * (-1j * np.pi * m) ** powers[:, None]))
        along, cross = sides  # [start, block, power, ant]
        streams = pilots.precoder.shape[2]
        sheets = pilots.precoder.reshape(wave.blocks, pilots.rows, pilots.columns * streams)
        first = (along @ sheets).reshape(*along.shape[:3], pilots.columns, streams)
        both = cross[:, :, None] @ first  # [start, block, power of u, power of w, stream]
        return both.reshape(*both.shape[:2], -1, streams) / math.sqrt(pilots.rows * pilots.columns)

    def _beams(self, cosines: np.ndarray) -> np.ndarray:
        """`v^T W` and its derivatives by u and w towards cosines [start, frame, 2].

        [3, start, frame, block, node, stream]
        """
        wave = self.pilots.waveform
        stretch = 1.0 + (wave.block_hz[:, None] + self.node_hz) / wave.carrier_hz  # [block, node]
        centre = wave.stretch[:, None, None] * self.about[:, None, None, None]  # [start, 1, block, 1, 2]
        off = stretch[..., None] * cosines[:, :, None, None] - centre  # [start, frame, block, node, 2]
        powers = np.arange(DEGREE + 1)
        value = off[..., None] ** powers
        slope = np.zeros_like(value)
        slope[..., 1:] = powers[1:] * value[..., :-1]
        slope *= stretch[:, :, None, None]
        u, w, u_slope, w_slope = value[..., 0, :], value[..., 1, :], slope[..., 0, :], slope[..., 1, :]
        terms = np.stack([a[..., :, None] * b[..., None, :] for a, b in ((u, w), (u_slope, w), (u, w_slope))])
        _, start, frame, block, node = terms.shape[:5]
        terms = terms.reshape(3, start, frame, block, node, -1).transpose(1, 3, 0, 2, 4, 5)
        product = terms.reshape(start, block, 3 * frame * node, -1) @ self.coefficients
        return product.reshape(start, block, 3, frame, node, -1).transpose(2, 0, 3, 1, 4, 5)

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

    def evaluate(self, pos_ecef: np.ndarray, offset: np.ndarray) -> _Step:
        """Cost, gradient and information at positions [start, xyz] and offsets [start, 4]."""
        pilots, wave, heard = self.pilots, self.pilots.waveform, self.heard
        away, relative, _ = downlink.sight(pos_ecef, self.velocity, pilots)
        eta, slope = zip(
            *(
                fisher.jacobian(away[:, f], relative[:, f], pilots.axes[f], wave.carrier_hz)
                for f in range(away.shape[1])
            ),
            strict=True,
        )
        eta = np.stack(eta, axis=1) + (self.sigma * offset)[:, None]
        signal = self._signal(eta, away, relative, self.sigma[3] * offset[:, 3])
        outcome = _project(signal, heard)
        inward = np.concatenate(
            [np.stack(slope, axis=1), np.broadcast_to(np.diag(self.sigma), (*away.shape[:2], 4, 4))], axis=2
        )  # [start, frame, 7, 4]
        information = (inward @ outcome.information @ inward.swapaxes(-1, -2)).sum(axis=1)
        information[:, np.arange(3), np.arange(3)] += 1.0 / FARTHEST_M**2
        information[:, np.arange(3, 7), np.arange(3, 7)] += 1.0
        gradient = (inward @ outcome.gradient[..., None])[..., 0].sum(axis=1)
        gradient[:, 3:] -= offset
        cost = outcome.cost + 0.5 * np.sum(offset**2, axis=1)
        return _Step(cost, gradient, information, outcome)

    def _signal(self, eta: np.ndarray, away: np.ndarray, relative: np.ndarray, carrier_hz: np.ndarray) -> np.ndarray:
        """The pilots of a unit gain and their derivatives by `fisher.PARAMETERS`: [5, start, frame, sample]."""
        pilots, wave = self.pilots, self.pilots.waveform
        late = eta[..., 2] - self.heard.delay_s
        inside = wave.frequency_hz[: wave.block_subcarriers] - wave.block_hz[0]
        turn = np.exp(-2j * math.pi * late[..., None] * inside)
        shape = (*late.shape, 1, -1, len(self.node_hz))
        sums = (turn @ self.through).reshape(shape)
        tilted = ((turn * (-2j * math.pi * inside)) @ self.through).reshape(shape)
        coarse = np.exp(-2j * math.pi * late[..., None] * wave.block_hz)[..., None, None]  # [start, frame, block, 1, 1]
        beams = self._beams(eta[..., :2])
        through = sums @ beams  # [3, start, frame, block, moment, stream]
        delayed = tilted @ beams[0] + (-2j * math.pi * wave.block_hz[:, None, None]) * through[0]
        each = np.concatenate([through, delayed[None]]) * coarse
        turns = downlink.turning(away, relative, wave, np.broadcast_to(carrier_hz[:, None], late.shape))
        sent = (each @ pilots.symbols.T) * turns[:, :, None, None]
        moved = 2j * math.pi * downlink.pilot_offset_s(wave) * sent[0]
        return np.concatenate([sent, moved[None]]).reshape(5, *late.shape, -1)


@dataclass(frozen=True)
class _Projected:
    """What the pilots say once the gain of each frame is fitted: [start, frame, 4, ...] by `fisher.PARAMETERS`."""

    cost: np.ndarray
    gradient: np.ndarray
    information: np.ndarray
    snr: np.ndarray  # [start]
    explained: np.ndarray  # [start] energy (W)
    gain: np.ndarray  # [start] mean |alpha|^2
    excess: np.ndarray  # [start] residual noise over the expected


@dataclass(frozen=True)
class _Step:
    cost: np.ndarray
    gradient: np.ndarray
    information: np.ndarray
    outcome: _Projected


def _project(signal: np.ndarray, heard: _Condensed) -> _Projected:
    start, frame, block, _, pilot = heard.value.shape
    root = np.sqrt(np.broadcast_to(heard.weight[:, None, :, None], heard.value.shape)).reshape(start, frame, -1)
    x, z = signal[0] * root, heard.value.reshape(start, frame, -1) * root
    power = np.maximum(np.sum(np.abs(x) ** 2, axis=-1), 1e-300)
    alpha = np.sum(x.conj() * z, axis=-1) / power
    residual = z - alpha[..., None] * x
    slopes = np.moveaxis(signal[1:], 0, 2) * (alpha[..., None] * root)[:, :, None]
    on = slopes @ x.conj()[..., None] / power[..., None, None]
    slopes = slopes - on * x[:, :, None]
    information = 2.0 * np.real(slopes.conj() @ slopes.swapaxes(-1, -2))
    gradient = 2.0 * np.real(slopes.conj() @ residual[..., None])[..., 0]
    squares = np.abs(residual) ** 2
    mean = squares.reshape(heard.value.shape)[:, :, :, 0].sum(axis=(1, 2, 3))
    snr = np.sum(np.abs(alpha) ** 2 * power, axis=1)
    explained = np.sum(np.abs(alpha) ** 2 * np.sum(np.abs(signal[0]) ** 2, axis=-1), axis=1)
    return _Projected(
        cost=squares.sum(axis=(1, 2)),
        gradient=gradient,
        information=information,
        snr=snr,
        explained=explained,
        gain=np.mean(np.abs(alpha) ** 2, axis=1),
        excess=mean / max(1, frame * (block * pilot - 1)),
    )


def refine(
    pilots: Pilots, prior: Prior, weight: np.ndarray, of: np.ndarray, starts: list[Start], iterations: int
) -> Fitted:
    """The likeliest positions near starts, all at once.

    weight : [terminal, block, pilot] of `weights`; of : [start] row of each start's terminal
    """
    position = np.stack([start.pos_ecef for start in starts])
    offset = np.stack([start.offset for start in starts])
    velocity = prior.vel_ecef[of]
    away = downlink.sight(position, velocity, pilots)[0]
    sigma = deviations(pilots.sigma)
    delay_s = np.linalg.norm(away, axis=-1) / SPEED_OF_LIGHT_M_S + sigma[2] * offset[:, None, 2]
    heard = _condense(pilots, weight, of, delay_s)
    for turn in range(ROUNDS):
        cosines = downlink.sight(position, velocity, pilots)[2]
        about = cosines[:, cosines.shape[1] // 2] + sigma[:2] * offset[:, :2]
        model = _Model(pilots, velocity, heard, about)
        position, offset, last = _descend(model, position, offset, iterations if turn == 0 else 3)
    return _report(pilots, of, heard, position, last)


def _descend(
    model: _Model, position: np.ndarray, offset: np.ndarray, iterations: int
) -> tuple[np.ndarray, np.ndarray, _Step]:
    """Levenberg and Marquardt's steps until each is a thousandth of the standard deviation."""
    now = model.evaluate(position, offset)
    damping = np.full(len(position), 1e-4)
    for _ in range(iterations):
        step = _solve(now.information, now.gradient, damping)
        size = np.einsum("ci,cij,cj->c", step, now.information, step)
        if np.all(size < SETTLED):
            break
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

    outcome = _Projected(**{name: pick(a, getattr(old.outcome, name)) for name, a in vars(new.outcome).items()})
    return _Step(
        pick(new.cost, old.cost), pick(new.gradient, old.gradient), pick(new.information, old.information), outcome
    )


def _solve(information: np.ndarray, gradient: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Solution of `(H + damping diag H) s = g`, scaled to a unit diagonal: [start, 7]."""
    scale = np.sqrt(np.diagonal(information, axis1=-2, axis2=-1))
    scaled = information / (scale[:, :, None] * scale[:, None]) + damping[:, None, None] * np.eye(scale.shape[1])
    return np.linalg.solve(scaled, (gradient / scale)[..., None])[..., 0] / scale


def _report(pilots: Pilots, of: np.ndarray, heard: _Condensed, position: np.ndarray, last: _Step) -> Fitted:
    wave, outcome = pilots.waveform, last.outcome
    scale = np.sqrt(np.diagonal(last.information, axis1=-2, axis2=-1))
    unit = scale[:, :, None] * scale[:, None]
    covariance = np.linalg.inv(last.information / unit) / unit
    mean_w = _power(pilots)[of].mean(axis=(1, 2))
    energy = mean_w * len(pilots.frame_s) * wave.subcarriers * wave.pilots
    kappa, gamma = pilots.kappa[of], pilots.gamma[of]
    promised = np.maximum(mean_w - pilots.noise_w[of], 0.0) / mean_w * kappa / (1.0 + kappa)
    gain = outcome.gain * (1.0 + kappa) / (kappa * gamma)
    return Fitted(
        pos_ecef=position,
        covariance_m2=covariance[:, :3, :3] * np.maximum(1.0, outcome.excess)[:, None, None],
        cost=last.cost,
        snr=outcome.snr,
        share=outcome.explained / energy,
        expected_share=promised,
        gain_db=linear_to_db(np.maximum(gain, 1e-30)),
    )
