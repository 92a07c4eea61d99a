"""How claims are measured on the tables of drops: gains of one system over another, growth along an axis, shares.

Each function returns one that takes the tables by figure number and gives (value, standard error).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

Tables = Mapping[int, pd.DataFrame]
Measured = tuple[float, float]


def values(table: pd.DataFrame, column: str, system: str, **at: Any) -> np.ndarray:
    """A column of one system at one abscissa, a value a drop."""
    rows = table[table["system"] == system]
    for name, value in at.items():
        rows = rows[rows[name] == value]
    return rows.sort_values("drop")[column].to_numpy()


def ratio(over: np.ndarray, under: np.ndarray) -> Measured:
    """Gain of a mean over another, paired drop by drop, and its standard error (%)."""
    times = over.mean() / under.mean()
    spread = np.std(over - times * under, ddof=1) if over.size > 1 else math.nan
    return 100.0 * (times - 1.0), 100.0 * spread / (under.mean() * math.sqrt(over.size))


def gain(figure: int, column: str, over: str, under: str, **at: float) -> Callable[[Tables], Measured]:
    """How much more one system has than another at an abscissa (%)."""

    def measure(tables: Tables) -> Measured:
        return ratio(*(values(tables[figure], column, name, **at) for name in (over, under)))

    return measure


def gain_by_drop(figure: int, column: str, over: str, under: str, **at: float) -> Callable[[Tables], Measured]:
    """Mean over the drops of how much more one system has than another (%)."""

    def measure(tables: Tables) -> Measured:
        high, low = (values(tables[figure], column, name, **at) for name in (over, under))
        return _spread(100.0 * (high / low - 1.0))

    return measure


def mean(figure: int, column: str, system: str, factor: float = 1.0, **at: Any) -> Callable[[Tables], Measured]:
    """Mean over the drops of a column of one system, times a factor."""
    return lambda tables: _spread(factor * values(tables[figure], column, system, **at))


def _spread(x: np.ndarray) -> Measured:
    """Mean and its standard error over the drops that have a value, NaN when none has."""
    x = x[~np.isnan(x)]
    if not x.size:
        return math.nan, math.nan
    error = x.std(ddof=1) / math.sqrt(x.size) if x.size > 1 else math.nan
    return float(x.mean()), float(error)


def growth(figure: int, column: str, system: str, x: str, first: float, last: float) -> Callable[[Tables], Measured]:
    """How much more a system has at one abscissa than at another (%)."""

    def measure(tables: Tables) -> Measured:
        return ratio(*(values(tables[figure], column, system, **{x: at}) for at in (last, first)))

    return measure


def more_gain(
    figure: int, column: str, over: str, under: str, x: str, first: float, last: float
) -> Callable[[Tables], Measured]:
    """How much more the gain of one system over another is at one abscissa than at another (points of %)."""

    def measure(tables: Tables) -> Measured:
        (low, low_error), (high, high_error) = (
            gain(figure, column, over, under, **{x: at})(tables) for at in (first, last)
        )
        return high - low, math.hypot(low_error, high_error)

    return measure


def share_within(figure: int, system: str, most: int) -> Callable[[Tables], Measured]:
    """Share of the iterations of a system that are at most so many (%)."""

    def measure(tables: Tables) -> Measured:
        within = values(tables[figure], "iterations", system) <= most
        share = float(within.mean())
        return 100.0 * share, 100.0 * math.sqrt(share * (1.0 - share) / within.size)

    return measure
