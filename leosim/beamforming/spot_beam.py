"""Regional spot beams: a fixed grid below each satellite, and a user takes the strongest beam at its place."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leosim.antenna import steering
from leosim.channel import Radio
from leosim.records import Beams, Csi


@dataclass(frozen=True)
class Params:
    """The grid: rows along track, columns across, and how far from nadir it reaches on either axis.

    extent : direction cosine. 0.84 is the sine of 57 degrees off nadir, where a satellite at 550 km is seen at 25
    degrees of elevation: `sin(off nadir) = R cos(el) / (R + h)`.
    """

    rows: int = field(default=8, metadata={"doc": "beams along track"})
    columns: int = field(default=8, metadata={"doc": "beams across"})
    extent: float = field(default=0.84, metadata={"doc": "reach of the grid from nadir, a direction cosine"})

    def __post_init__(self) -> None:
        for name in ("rows", "columns"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 256:
                raise ValueError(f"{name}: expected a whole number from 1 to 256, got {value!r}")
        if isinstance(self.extent, bool) or not isinstance(self.extent, int | float) or not 0.0 < self.extent <= 1.0:
            raise ValueError(f"extent: expected above 0 to 1, got {self.extent!r}")


def beams(csi: Csi, params: Params, radio: Radio) -> Beams:
    """Unit-norm beams at the cells of a grid in the satellite's frame, shared by the users in each.

    On each axis a beam is the sum of as many orthogonal steering vectors, 2/M apart on an axis of M
    antennas, as fit a cell (Woodward and Lawson's synthesis), one at least: a beam is as wide as its cell. A
    stream is turned to a real positive useful coupling. The baseline of Kim et al. 2024, who do not say where
    their 64 beams point. Raises nothing.
    """
    serves = csi.candidate.astype(bool)
    sat, stream_size = np.unique(csi.sat[serves], return_counts=True)
    along, rows_at, rows_norm = _axis(csi.cosines[serves, 0], params.rows, params.extent, radio.rows)
    across, columns_at, columns_norm = _axis(csi.cosines[serves, 1], params.columns, params.extent, radio.columns)
    row, column = np.abs(along).argmax(axis=1), np.abs(across).argmax(axis=1)
    stream = np.arange(row.size)
    useful = along[stream, row] * across[stream, column]
    spot = row * params.columns + column
    place = np.repeat(np.arange(sat.size), stream_size)
    beam, which = np.unique(place * (params.rows * params.columns) + spot, return_inverse=True)
    of_sat, cell = np.divmod(beam, params.rows * params.columns)
    u, v = rows_at[cell // params.columns], columns_at[cell % params.columns]  # [beam, part]
    parts = u.shape[1] * v.shape[1]
    cosines = np.stack(np.broadcast_arrays(u[:, :, None], v[:, None, :]), axis=-1).reshape(-1, 2)
    beams_of = np.bincount(of_sat, minlength=sat.size)
    first = np.cumsum(beams_of) - beams_of
    direction = (which - first[place])[:, None] * parts + np.arange(parts)
    weight = np.where(useful < 0.0, -1.0, 1.0) * rows_norm * columns_norm
    return Beams(
        t_ns=csi.t_ns,
        sat=sat,
        direction_size=beams_of * parts,
        stream_size=stream_size,
        cosines=cosines,
        user=csi.user[serves],
        phase_rad=csi.phase_rad[serves],
        term_size=np.full(row.size, parts),
        direction=direction.ravel(),
        coefficient=np.repeat(weight, parts),
        spot=spot,
    )


def _axis(cosine: np.ndarray, cells: int, extent: float, antennas: int) -> tuple[np.ndarray, np.ndarray, float]:
    """One axis of the grid.

    cosine : [user]. Returns the amplitude of each cell's beam at each user but for a common factor [user, cell],
    the directions a beam is made of [cell, part], and what scales their sum to the norm of one.
    """
    width = 2.0 * extent / cells
    parts = max(1, round(width * antennas / 2.0))
    centre = width * (np.arange(cells) - (cells - 1) / 2.0)
    at = centre[:, None] + 2.0 / antennas * (np.arange(parts) - (parts - 1) / 2.0)

    def vectors(directions: np.ndarray) -> np.ndarray:
        return steering(np.stack([directions, np.zeros_like(directions)], axis=-1), antennas, 1)

    beam = vectors(at).sum(axis=1)
    return (vectors(cosine).conj() @ beam.T).real, at, 1.0 / np.sqrt(parts)
