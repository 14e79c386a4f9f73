"""Normalised intensities: known distributions, a slow twin, and damaged input."""

from __future__ import annotations

import numpy as np
import pytest

from braggscale.data.normalised_intensities import Shells, n_shells, normalised_intensities
from braggscale.numerics.array_types import Float


def acentric(seed: int, n: int, b: float = 30.0) -> tuple[Float, Float]:
    """Intensities with a Wilson distribution and temperature factor ``b``; d between 1.5 and 20 A."""
    rng = np.random.default_rng(seed)
    s = rng.uniform(1 / 20**3, 1 / 1.5**3, n) ** (1 / 3)
    return 1000 * np.exp(-b * s**2 / 2) * rng.exponential(1, n), 1 / s


def naive(intensity: Float, d: Float, epsilon: Float, shells: int) -> Float:
    s = 1 / d**2
    span = s.max() - s.min()
    limits = [s.min() - 1e-6 * span + k * (1 + 2e-6) * span / shells for k in range(shells + 1)]
    centre, mean = [], []
    for k in range(shells):
        inside = [j for j in range(len(d)) if limits[k] <= s[j] < limits[k + 1]]
        centre.append(0.5 * (max(limits[k], 0.0) ** 0.5 + limits[k + 1] ** 0.5))
        mean.append(np.mean([max(intensity[j], 0) / epsilon[j] for j in inside]))
    result = []
    for i, x in zip(intensity, 1 / d, strict=True):
        k = 0
        while k < shells - 2 and x > centre[k + 1]:
            k += 1
        t = (x - centre[k]) / (centre[k + 1] - centre[k])
        result.append(i / (mean[k] + t * (mean[k + 1] - mean[k])))
    return np.array(result)


def test_equals_slow_twin() -> None:
    intensity, d = acentric(1, 800, b=5.0)
    intensity -= 50
    epsilon = np.where(np.arange(800) % 20, 1.0, 2.0)
    np.testing.assert_allclose(normalised_intensities(intensity, d, epsilon), naive(intensity, d, epsilon, 10))


def test_acentric_moments() -> None:
    """<E^2> = 1 and <E^4> = 2 in every resolution range, whatever the temperature factor."""
    intensity, d = acentric(2, 60_000)
    e2 = normalised_intensities(intensity, d, np.ones(len(d)))
    for part in np.array_split(np.argsort(d), 6):
        assert e2[part].mean() == pytest.approx(1, abs=0.05)
        assert (e2[part] ** 2).mean() == pytest.approx(2, abs=0.25)


def test_scale_of_intensities_does_not_matter() -> None:
    intensity, d = acentric(3, 500)
    ones = np.ones(500)
    np.testing.assert_allclose(
        normalised_intensities(1e4 * intensity, d, ones), normalised_intensities(intensity, d, ones)
    )


def test_epsilon_enters_the_average_only() -> None:
    d = np.full(4, 2.0)
    np.testing.assert_allclose(normalised_intensities(np.full(4, 6.0), d, np.full(4, 2.0)), 2.0)


@pytest.mark.parametrize(("n", "expected"), [(10, 10), (15_000, 10), (15_001, 15), (20_000, 15), (20_001, 20)])
def test_number_of_shells(n: int, expected: int) -> None:
    assert n_shells(n) == expected


def test_average_is_positive_where_the_line_falls_below_zero() -> None:
    """A steep fall at the high-resolution end must not turn E^2 negative."""
    d = np.linspace(1.0, 3.0, 400)
    intensity = np.exp(-40 / d**2) * 1e6
    assert np.all(normalised_intensities(intensity, d, np.ones(400)) > 0)


def test_empty_shells_are_bridged() -> None:
    d = np.concatenate((np.linspace(10, 9, 50), np.linspace(2, 1.9, 50)))
    e2 = normalised_intensities(np.full(100, 3.0), d, np.ones(100))
    np.testing.assert_allclose(e2, 1.0)


def test_nothing_positive_is_not_determined() -> None:
    assert np.isnan(normalised_intensities(-np.ones(5), np.full(5, 2.0), np.ones(5))).all()


def test_no_rows() -> None:
    assert len(normalised_intensities(np.zeros(0), np.zeros(0), np.zeros(0))) == 0


@pytest.mark.parametrize("limit", [2.0, 30.0])
@pytest.mark.parametrize("n, shells", [(3000, None), (40, 8), (5, 1)])
def test_beyond_is_where_e2_is_above(n, shells, limit):
    rng = np.random.default_rng(n)
    d = rng.uniform(1.2, 40, n)
    epsilon = rng.integers(1, 4, n).astype(float)
    i = np.exp(-30 / d**2) * rng.exponential(100, n) * rng.choice([1, 1, 1, 60, -1], n)
    i[d < 1.6] = -1.0  # no mean there
    e2 = normalised_intensities(i, d, epsilon, shells)
    found = Shells.of(d, shells).beyond(i, epsilon, limit)
    np.testing.assert_array_equal(found, np.flatnonzero(e2 > limit))


def test_nothing_is_beyond_without_a_mean():
    assert len(Shells.of(np.array([2.0, 3.0])).beyond(np.array([-1.0, 0.0]), np.ones(2), 1.0)) == 0
