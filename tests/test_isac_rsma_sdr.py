import numpy as np
import pytest

from leosim import conic


def test_a_triangle_keeps_the_products_of_matrices():
    matrix = np.random.default_rng(1).standard_normal((3, 5, 5))
    matrix = matrix + matrix.swapaxes(-1, -2)
    np.testing.assert_allclose(conic.symmetric(conic.triangle(matrix)), matrix, rtol=1e-15)
    products = np.einsum("anm,bmn->ab", matrix, matrix)
    np.testing.assert_allclose(conic.triangle(matrix) @ conic.triangle(matrix).T, products, rtol=1e-13)


def test_an_exponential_cone_bounds_a_logarithm():
    """max x subject to exp(x) <= 5."""
    form = conic.canonical(np.array([0]), np.array([0]), 3, 1, (("exponential", 3),))
    solved = conic.solve(form, np.array([-1.0]), np.array([0.0, 1.0, 5.0]), np.array([-1.0]))
    assert solved.x[0] == pytest.approx(np.log(5.0), abs=1e-7)
    with pytest.raises(ValueError, match="3 rows, got 4"):
        conic.canonical(np.array([0]), np.array([0]), 4, 1, (("exponential", 4),))
