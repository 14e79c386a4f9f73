"""The law of the damage: the distribution of slopes, and the course of the damage that makes the data most probable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Float
from braggscale.statistics.dose_lines import CurveSums, Slopes, basis, with_shares, without_slopes

MOST_Z2 = 25.0  # of a slope in the likelihood: gross outliers do not decide
# Steps of Fisher scoring, and the relative change that ends them.
STEPS, SAME = 60, 1e-6
# Largest gamma: no more than the whole structure can be replaced. gamma is set to 0 below this number of its errors.
MOST_GAMMA, CERTAIN = 0.9, 3.0
# Rates and nu that are tried; each is followed by SEARCH steps of bisection about the best one.
RATES = (-2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0)
CURVATURES = (0.0, 0.01, 0.1, 0.4, 1.6)
SEARCH = 3
# Slopes, a rate other than 0, or a nu must make the data more probable by this logarithm: 3 standard deviations.
GAIN = 0.5 * CERTAIN**2


@dataclass(frozen=True, slots=True)
class Sample:
    """Observations of reflections with enough spread of dose.

    ``x``: I/g, ``weight``: 1/variance, ``dose``: from 0 to 1, (n_rows,).  ``intensity``: at dose zero, as far as it is
    known, ``level``: <I>, (n_groups,).
    """

    groups: Groups
    x: Float
    weight: Float
    dose: Float
    intensity: Float
    level: Float

    def fitted(self, rate: float, curvature: float) -> tuple[float, Slopes]:
        """Logarithm of the likelihood, and the slopes."""
        sums = CurveSums.of(self.groups, self.x, self.weight, basis(self.dose, rate))
        slopes = scored(sums, self.intensity, self.level, Slopes(rate=rate, curvature=curvature))
        slopes, value = with_shares(sums, slopes, slopes.variance(self.intensity, self.level), self.level)
        return value, slopes


def most_probable(sample: Sample, curved: bool) -> Slopes | None:
    """The most probable law; None if the data are about as probable without any slope.

    ``curved``: whether the rate and nu are searched for; otherwise they are 0.
    """
    rate = curvature = 0.0
    if curved:
        rate = _searched(lambda rate: sample.fitted(rate, 0.0)[0], RATES)
        curvature = _searched(lambda curvature: sample.fitted(rate, curvature)[0], CURVATURES)
    value, slopes = sample.fitted(rate, curvature)
    sums = CurveSums.of(sample.groups, sample.x, sample.weight, basis(sample.dose, 0.0))
    return slopes if value > without_slopes(sums, sample.level) + GAIN else None


def _searched(likelihood: Callable[[float], float], tried: Sequence[float]) -> float:
    """The value with the largest logarithm of the likelihood; 0 if the gain is below GAIN."""
    values = {value: likelihood(value) for value in tried}
    for _ in range(SEARCH):
        at = sorted(values)
        best = at.index(max(at, key=lambda value: values[value]))
        for other in (best - 1, best + 1):
            if 0 <= other < len(at):
                middle = 0.5 * (at[best] + at[other])
                values[middle] = likelihood(middle)
    result = max(values, key=lambda value: values[value])
    return result if values[result] > values[0.0] + GAIN else 0.0


def scored(sums: CurveSums, intensity: Float, level: Float, slopes: Slopes) -> Slopes:
    """The slopes with gamma, t_1 and t_2 of the largest likelihood of least-squares slopes.

    ``sums``, ``intensity``: at dose zero, ``level``: <I>, of groups with enough spread of dose, (n_groups,).
    """
    w = sums.matrix[:, 0, 0]
    centre, above, own = sums.matrix[:, 0, 1] / w, level - sums.mean, 1.0 / w
    v = 1.0 / (sums.matrix[:, 1, 1] - sums.matrix[:, 0, 1] * centre)
    b = sums.right[:, 1] * v
    units = np.column_stack((intensity * level, level**2))
    gamma, t, error = 0.0, np.zeros(2), 0.0
    for _ in range(STEPS):
        k = 1.0 / (1.0 - gamma * centre)
        noise = v + (gamma * k) ** 2 * own
        part = units * (k * k)[:, None]
        total = noise + part @ t
        square = np.minimum((b - gamma * k * above) ** 2, MOST_Z2 * total)
        before, t = t, _positive(part / total[:, None], (square - noise) / total)
        total = noise + part @ t
        x = k * above
        weight = 1.0 / np.maximum(total, (b - gamma * x) ** 2 / MOST_Z2)
        information = float(np.sum(weight * x * x))
        old, error = gamma, information**-0.5 if information > 0 else np.inf
        gamma = (
            float(np.clip(np.sum(weight * x * b) / information, -MOST_GAMMA, MOST_GAMMA)) if information > 0 else 0.0
        )
        if abs(gamma - old) < SAME and np.abs(t - before).sum() <= SAME * t.sum():
            break
    # a gamma that is not significant is set to 0
    if abs(gamma) < CERTAIN * error:
        gamma = 0.0
    return replace(slopes, gamma=gamma, of_intensity=float(t[0]), of_level=float(t[1]))


def _positive(a: Float, y: Float) -> Float:
    """t with the least |a t - y|^2 and no negative entry, (2,).  ``a``: (n, 2), ``y``: (n,)."""
    normal = np.array([[float(np.sum(a[:, i] * a[:, j])) for j in range(2)] for i in range(2)])
    right = np.array([float(np.sum(a[:, i] * y)) for i in range(2)])
    determinant = normal[0, 0] * normal[1, 1] - normal[0, 1] ** 2
    if determinant > 1e-12 * normal[0, 0] * normal[1, 1]:
        both = np.array(
            [
                normal[1, 1] * right[0] - normal[0, 1] * right[1],
                normal[0, 0] * right[1] - normal[0, 1] * right[0],
            ]
        )
        if (both >= 0).all():
            result: Float = both / determinant
            return result
    alone = [np.zeros(2)]
    for j in range(2):
        one = np.zeros(2)
        one[j] = max(right[j] / normal[j, j], 0.0) if normal[j, j] > 0 else 0.0
        alone.append(one)
    return min(alone, key=lambda t: float(t @ normal @ t - 2 * right @ t))
