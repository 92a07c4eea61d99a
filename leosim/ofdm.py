"""The OFDM waveform of the localisation service: its subcarriers in blocks, its pilots in time, its overhead.

Subcarriers of a block share one precoder; sums over them enter rates and position information as moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Waveform:
    """A frame of OFDM symbols on blocks of subcarriers.

    carrier_hz, spacing_hz : carrier and subcarrier separation f_s; subcarriers : N_sc, in `blocks` equal blocks
    symbol_s : length T of a symbol with its cyclic prefix; slots, slot_symbols : slots of a frame, symbols of a slot
    slot_pilots : the first symbols of each slot are pilots; frames : of one fix, each with a phase of its own
    contiguous : the pilots of a frame follow each other without data between, as the paper reads
    Raises ValueError for blocks that do not divide the subcarriers, and for a slot without pilots or with too many.
    """

    carrier_hz: float
    spacing_hz: float = 30e3
    subcarriers: int = 512
    blocks: int = 8
    symbol_s: float = (1024 + 72) / 30.72e6
    slots: int = 20
    slot_symbols: int = 14
    slot_pilots: int = 2
    frames: int = 1
    contiguous: bool = False

    def __post_init__(self) -> None:
        if self.blocks < 1 or self.subcarriers % self.blocks:
            raise ValueError(f"blocks: expected a divisor of {self.subcarriers} subcarriers, got {self.blocks}")
        if not 1 <= self.slot_pilots <= self.slot_symbols:
            raise ValueError(f"slot_pilots: expected 1 to {self.slot_symbols}, the symbols, got {self.slot_pilots}")

    @property
    def bandwidth_hz(self) -> float:
        """Bandwidth of all subcarriers (Hz)."""
        return self.subcarriers * self.spacing_hz

    @property
    def block_subcarriers(self) -> int:
        """Subcarriers of a block."""
        return self.subcarriers // self.blocks

    @property
    def pilots(self) -> int:
        """Pilot symbols M of a frame."""
        return self.slots * self.slot_pilots

    @property
    def frame_s(self) -> float:
        """Length of a frame (s)."""
        return self.slots * self.slot_symbols * self.symbol_s

    @property
    def data_share(self) -> float:
        """Share of time on air that carries data: symbols that are no pilots, without their cyclic prefixes."""
        return (1.0 - self.slot_pilots / self.slot_symbols) / (self.symbol_s * self.spacing_hz)

    @cached_property
    def frequency_hz(self) -> np.ndarray:
        """Frequency of each subcarrier over the carrier, `(n - (N_sc + 1) / 2) f_s`, Eq. (1) (Hz): [subcarrier]."""
        return (np.arange(self.subcarriers) - (self.subcarriers - 1) / 2) * self.spacing_hz

    @cached_property
    def block_hz(self) -> np.ndarray:
        """Centre of each block over the carrier (Hz): [block]."""
        return self.frequency_hz.reshape(self.blocks, -1).mean(axis=1)

    @cached_property
    def stretch(self) -> np.ndarray:
        """`1 + f / f_c` at the centre of each block: what beam squint does to direction cosines (1): [block]."""
        return 1.0 + self.block_hz / self.carrier_hz

    @cached_property
    def pilot_s(self) -> np.ndarray:
        """Time of each pilot symbol, from the start of the first slot (s): [pilot]."""
        if self.contiguous:
            return np.arange(1, self.pilots + 1) * self.symbol_s
        slot, symbol = np.divmod(np.arange(self.pilots), self.slot_pilots)
        return (slot * self.slot_symbols + symbol + 1) * self.symbol_s


def paper() -> Waveform:
    """The waveform of You et al. 2024: 40 contiguous pilots, T = 548 samples at 30.72 MHz (Table I, as printed)."""
    return Waveform(carrier_hz=2e9, symbol_s=548 / 30.72e6, contiguous=True)
