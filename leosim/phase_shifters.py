"""Analog precoders of phase shifters: first guesses from a digital precoder, and least-squares alternations.

A sum of two phasors is any complex number of modulus up to two, so two chains make one digital column exactly.
"""

from __future__ import annotations

import math

import numpy as np

from leosim import joint

RANK = 1e-10  # singular values of an analog precoder below this share of its largest count as none


def check_chains(chains: int, terminals: int, layout: str, rows: int, columns: int) -> None:
    """Raise ValueError unless there is a chain for each terminal, an antenna for each chain, and equal sub-arrays."""
    if chains < terminals:
        raise ValueError(
            f"chains: expected at least {terminals}, one for each of {terminals} terminals, got {chains}; "
            "more chains, or fewer terminals at once"
        )
    if chains > rows * columns:
        raise ValueError(f"chains: expected at most {rows * columns}, one for each antenna, got {chains}")
    if layout != "fully_connected":
        joint.chain_of(layout, rows, columns, chains)


def two_phase(w: np.ndarray, chains: int, layout: str, rows: int, columns: int) -> np.ndarray:
    """Phases that come near the column space of a digital precoder.

    Fully connected: the strongest left singular vectors of all blocks together, each a sum of two phasors an entry,
    `x = exp(i (arg x + arccos |x| / 2)) + exp(i (arg x - arccos |x| / 2))`. Partially connected: the phases of the
    strongest singular vector of each sub-array.

    w : [block, ant, stream]
    Returns [ant * chains], or [ant] if partially connected (rad).
    """
    wide = np.moveaxis(w, 0, 1).reshape(w.shape[1], -1)
    if layout != "fully_connected":
        chain = joint.chain_of(layout, rows, columns, chains)
        order = np.argsort(chain, kind="stable")
        left = np.linalg.svd(wide[order].reshape(chains, -1, wide.shape[1]), full_matrices=False)[0]
        phase = np.empty(chain.size)
        phase[order] = np.angle(left[:, :, 0]).ravel()
        return phase
    left = np.linalg.svd(wide, full_matrices=False)[0]
    pairs = left[:, np.arange(chains // 2) % left.shape[1]]
    apart = np.arccos(np.clip(np.abs(pairs) / np.abs(pairs).max(axis=0), 0.0, 1.0)) if chains > 1 else np.empty(0)
    phase = np.empty((wide.shape[0], chains))
    phase[:, : chains - 1 : 2] = np.angle(pairs) + apart
    phase[:, 1::2] = np.angle(pairs) - apart
    if chains % 2:
        phase[:, -1] = np.angle(left[:, chains // 2 % left.shape[1]])
    return phase.ravel()


def baseband(w: np.ndarray, analog: np.ndarray) -> np.ndarray:
    """Least-squares baseband of a precoder [block, ant, stream] behind an analog one [ant, chain]: `F^+ W_b`."""
    return np.linalg.pinv(analog, rcond=RANK) @ w


def alternate(
    w: np.ndarray, phase_rad: np.ndarray, chains: int, layout: str, rows: int, columns: int, rounds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rounds of phases against baseband, each the least-squares optimum when the other is fixed.

    `F = exp(i arg (W B^H))` entry by entry if partially connected; chain by chain, with what the other chains make
    taken off, if fully connected.

    w : [block, ant, stream]; phase_rad : of `two_phase`
    Returns the phases (rad) and the baseband [block, chain, stream].
    """
    wide = np.moveaxis(w, 0, 1).reshape(w.shape[1], -1)
    phase = np.array(phase_rad, dtype=float)
    for _ in range(rounds):
        f = joint.analog(phase, layout, rows, columns, chains)
        b = np.linalg.pinv(f, rcond=RANK) @ wide
        if layout == "fully_connected":
            phase = np.angle(_one_by_one(f, wide @ b.conj().T, b @ b.conj().T)).ravel()
        else:
            chain = joint.chain_of(layout, rows, columns, chains)
            phase = np.angle(np.sum(wide * b.conj()[chain], axis=1))
    return phase, baseband(w, joint.analog(phase, layout, rows, columns, chains))


def _one_by_one(f: np.ndarray, against: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Each chain's phasors in turn: f [ant, chain], `W B^H` [ant, chain], `B B^H` [chain, chain]."""
    f = f.copy()
    for c in range(f.shape[1]):
        rest = against[:, c] - f @ among[:, c] + f[:, c] * among[c, c]
        f[:, c] = np.exp(1j * np.angle(rest))
    return f


def misfit(w: np.ndarray, phase_rad: np.ndarray, chains: int, layout: str, rows: int, columns: int) -> float:
    """Relative distance of a precoder [block, ant, stream] from what the phases can make with the best baseband."""
    f = joint.analog(phase_rad, layout, rows, columns, chains)
    norm = float(np.linalg.norm(w))
    return float(np.linalg.norm(w - f @ baseband(w, f))) / norm if norm > 0.0 else math.nan
