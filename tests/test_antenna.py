"""Planar arrays: closed forms against vectors written out over the antennas, energy of the element pattern."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate

from leosim.antenna import (
    array_product,
    direction_phasors,
    dirichlet,
    element_gain,
    gram,
    phasor_product,
    responses,
    steering,
)

SIZES = [(1, 1), (1, 8), (4, 4), (5, 7), (8, 3), (16, 16), (24, 24)]
# Two roundings of sums over at most 576 antennas of modulus 1; products of phasors lose two digits more
# (their small differences of sines may be 1e-2 of the terms).
rounding = 1e-12


def directions(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (count, 2))


@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_steering_is_the_phase_of_each_antenna_about_the_centre(rows: int, columns: int) -> None:
    u, v = 0.3, -0.8
    expected = [
        np.exp(1j * np.pi * ((m - (rows - 1) / 2) * u + (n - (columns - 1) / 2) * v))
        for m in range(rows)
        for n in range(columns)
    ]
    np.testing.assert_allclose(steering(np.array([u, v]), rows, columns), expected, rtol=0, atol=rounding)


def test_steering_differs_from_the_printed_one_by_a_common_phase() -> None:
    """Eqs. (3)-(4), Kim et al. 2024, count antennas from the corner: exp(i pi (m u + n v)), m, n from 0."""
    (u, v), rows, columns = (0.41, -0.27), 6, 5
    printed = np.exp(1j * np.pi * (np.arange(rows)[:, None] * u + np.arange(columns) * v)).ravel()
    ratio = steering(np.array([u, v]), rows, columns) / printed
    np.testing.assert_allclose(ratio, ratio[0], rtol=0, atol=rounding)
    assert abs(abs(ratio[0]) - 1.0) < rounding


@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_products_against_explicit_vectors(rows: int, columns: int) -> None:
    d = directions(40)
    d[1] = d[0]  # coincidence
    d[2] = d[0] + 1e-7  # beside it: closer than a metre on the ground
    d[3] = d[0] + 3e-3  # inside the beam, where phasors give way to the direct form
    a = steering(d, rows, columns)
    explicit = a.conj() @ a.T
    phasors = direction_phasors(d, rows, columns)
    n = rows * columns
    for form in (
        lambda i, j: array_product(*d[i], *d[j], rows, columns),
        lambda i, j: phasor_product(d[i], phasors[i], d[j], phasors[j], rows, columns),
    ):
        closed = np.array([[form(i, j) for j in range(40)] for i in range(40)])
        np.testing.assert_allclose(closed, explicit, rtol=0, atol=n * rounding)
        np.testing.assert_array_equal(np.diag(closed), n)
        assert closed[0, 1] == n
    np.testing.assert_allclose(gram(d, rows, columns), explicit, rtol=0, atol=n * rounding)


@pytest.mark.parametrize("elements", [1, 2, 3, 8, 15, 16])
@pytest.mark.parametrize("difference", [0.0, 2.0, -2.0])
@pytest.mark.parametrize("beside", [0.0, 1e-12, -1e-12, 1e-7, -1e-7, 1e-3])
def test_main_and_grating_lobes(elements: int, difference: float, beside: float) -> None:
    """At differences 0 and +-2 the closed form is 0 / 0; an even array turns its sign at +-2 (centred reference)."""
    d = difference + beside
    explicit = np.exp(1j * np.pi * (np.arange(elements) - (elements - 1) / 2) * d).sum()
    # The explicit sum has every digit; the quotient near its pole at +-2 keeps 1e-16 / sin(pi d / 2).
    near_the_pole = elements * 1e-7 if difference != 0.0 and abs(beside) < 1e-3 else elements * rounding
    assert dirichlet(d, elements) == pytest.approx(explicit.real, abs=near_the_pole)
    assert abs(explicit.imag) < elements * rounding
    if beside == 0.0:
        sign = -1.0 if difference != 0.0 and elements % 2 == 0 else 1.0
        assert dirichlet(d, elements) == sign * elements


def test_nulls_of_the_array() -> None:
    """A line of M half-wavelength elements has its nulls at differences 2 q / M."""
    for q in range(1, 8):
        assert abs(dirichlet(2 * q / 8, 8)) < 8 * rounding
    assert dirichlet(3 / 8, 8) < -1.5  # between the first two: the first side lobe, -13 dB


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (5, 7), (16, 16)])
def test_gram_is_symmetric_and_positive_semidefinite(rows: int, columns: int) -> None:
    d = directions(50, seed=3)  # more directions than the 16 and 35 antennas: rank deficient on purpose
    g = gram(d, rows, columns)
    np.testing.assert_array_equal(g, g.T)
    values = np.linalg.eigvalsh(g)
    assert values[0] > -rows * columns * rounding * 50
    assert (values > 1e-9 * values[-1]).sum() <= min(50, rows * columns)
    assert np.trace(g) == 50 * rows * columns


def test_element_gain_of_cosine_pattern() -> None:
    """pi at boresight is the aperture limit 4 pi A / lambda^2 of a cell of half a wavelength a side, 4.97 dBi."""
    assert 10 * np.log10(element_gain(np.array([1.0]), "cosine")[0]) == pytest.approx(4.9715, abs=1e-4)
    np.testing.assert_allclose(
        element_gain(np.cos(np.radians([0, 60, 89, 91, 180])), "cosine") / np.pi,
        [1, 0.5, np.cos(np.radians(89)), 0, 0],
        rtol=rounding,
    )
    np.testing.assert_array_equal(element_gain(np.array([1.0, 0.1, 0.0, -0.5]), "isotropic"), [1, 1, 0, 0])


def test_energy_of_one_cosine_element() -> None:
    """One element radiates pi^2, not 4 pi: a share pi / 4 = 78.5 % of what it is fed.

    That is no error of the pattern: pi cos(theta) is the gain of an element *in* a large half-wavelength grid,
    whose directions fill the square |u|, |v| <= 1; the circle of real directions is pi / 4 of it.
    """
    hemisphere, _ = integrate.quad(
        lambda theta: 2 * np.pi * np.sin(theta) * float(element_gain(np.cos(theta), "cosine")), 0, np.pi / 2
    )
    assert hemisphere == pytest.approx(np.pi**2, rel=1e-9)
    assert hemisphere / (4 * np.pi) == pytest.approx(np.pi / 4, rel=1e-9)


@pytest.mark.parametrize(
    ("cosines", "least", "most"),
    [((0.0, 0.0), 0.96, 1.0), ((0.5, 0.3), 0.9, 1.0), ((0.95, 0.95), 0.0, 0.1)],
)
def test_energy_of_a_beam_of_the_array(cosines: tuple[float, float], least: float, most: float) -> None:
    """Gain pi cos(theta) |a^H w|^2 over the sphere is 4 pi for a beam that points to a real direction.

    With d Omega = du dv / cos(theta) it is pi times the integral of |a^H w|^2 over the circle of real
    directions; over the whole square that is 4 ||w||^2 exactly (the antennas are orthogonal there), so an
    array never radiates more than it is fed.
    """
    size, points = 16, 400  # a trigonometric polynomial of degree 15: the midpoint rule is exact
    w = steering(np.array(cosines), size, size) / size
    grid = (np.arange(points) + 0.5) / points * 2 - 1
    u, v = np.meshgrid(grid, grid, indexing="ij")
    line = steering(np.stack([grid, np.zeros(points)], axis=-1), size, 1)  # a is a product of two lines
    power = np.abs(line.conj() @ w.reshape(size, size) @ line.conj().T) ** 2
    cell = (2 / points) ** 2
    assert power.sum() * cell == pytest.approx(4.0, rel=1e-9)
    real = u**2 + v**2 < 1
    cos_theta = np.sqrt(1 - (u**2 + v**2)[real])
    radiated = (element_gain(cos_theta, "cosine") * power[real] * cell / cos_theta).sum() / (4 * np.pi)
    assert least < radiated <= most


def test_unknown_element_pattern() -> None:
    with pytest.raises(ValueError, match='expected "cosine" or "isotropic", got \'patch\''):
        element_gain(np.ones(2), "patch")


def test_wideband_responses_and_their_derivatives() -> None:
    """Against antennas written out, and central differences by the direction cosines; beam squint stretches both."""
    cosines, stretch, h = directions(3, seed=1), np.array([0.99, 1.0, 1.02]), 1e-5
    got = responses(cosines, 5, 4, stretch)
    assert got.shape == (3, 3, 3, 20)
    for b, s in enumerate(stretch):
        np.testing.assert_allclose(got[b, :, 0], steering(s * cosines, 5, 4) / np.sqrt(20), atol=rounding)
    np.testing.assert_allclose(np.linalg.norm(got[:, :, 0], axis=-1), 1.0, rtol=rounding)
    for axis in range(2):
        step = np.eye(2)[axis] * h
        numeric = (responses(cosines + step, 5, 4, stretch) - responses(cosines - step, 5, 4, stretch)) / (2 * h)
        np.testing.assert_allclose(got[:, :, 1 + axis], numeric[:, :, 0], atol=1e-8)
