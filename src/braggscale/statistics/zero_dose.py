"""Intensities extrapolated to dose zero, with slopes that are shrunken towards zero.

Radiation changes the structure while data are collected. Scaling corrects the change that all reflections have in
common. The remaining changes differ from reflection to reflection: some intensities grow and others fall
(Diederichs, McSweeney & Ravelli, Acta Cryst. D59 (2003) 903). For observation i of reflection h, at dose D_i from 0
to 1,

    x_i = I_h + s_h f(D_i) + q_h f(D_i) (1 - f(D_i)) + e_i,     var e_i = 1/w_i,
    s_h distributed about gamma (<I> - I_h) with variance lambda_h p_h, p_h = t_1 I_h <I> + t_2 <I>^2,
    q_h distributed about 0 with variance nu lambda_h p_h

<I> is the mean of the shell, which scaling keeps constant. So if a fraction gamma of the structure is replaced by
another one, strong reflections fall on average and weak ones rise. A random change of the amplitudes changes strong
reflections more (t_1); the added intensities of another structure change all reflections by similar amounts (t_2).
f is the common course of the damage, with one rate (dose_lines.response); q_h is the deviation of a reflection from it.

gamma, t_1 and t_2 are estimated from all reflections with enough spread of dose. With the mean m of a reflection at
its mean f, c, its least-squares slope b of variance v, and k = 1/(1 - gamma c),

    b normal about k gamma (<I> - m) with variance v + k^2 (gamma^2 var m + p),

and they maximise the likelihood of all b (Fisher scoring). The rate, nu, and the distribution of lambda maximise the
likelihood of the observations (dose_lines.py). I_h and its variance are means over lambda and over the hypotheses that
one of the observations is an outlier (dose_outliers.py). So the sigma of a reflection that was measured late is large,
and that of a reflection with two observations that disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.numerics.normal import MEDIAN_CHI2
from braggscale.statistics.dose_law import Sample, most_probable
from braggscale.statistics.dose_lines import WIDTHS, Curves, CurveSums, Slopes, basis
from braggscale.statistics.dose_outliers import FEW, Averaged, Observed, averaged, deviations, judged

# Least number of observations for a slope, and least spread of their f in units of the whole range.
FEWEST, SPREAD = 3, 0.1
# Least number of reflections with slopes for an estimate of the distribution of slopes, and the most that are used for
# the rate, nu and lambda.
ENOUGH, MOST_USED = 30, 3_000
# Reflections in a shell for the mean intensity, and the most shells.
IN_SHELL, MOST_SHELLS = 100, 20
# How many times errors are corrected, in how many ranges of intensity, and limits of the factor of a variance.
PASSES, RANGES, LEAST_FACTOR, MOST_FACTOR = 3, 8, 0.02, 4.0
MOST_Z2 = 25.0  # of an observation, where errors are reduced: gross outliers do not decide
# Largest slope, of <I>, and largest drift of all intensities, that count for the drift.
MOST_CHANGE, MOST_DRIFT = 5.0, 0.5


@dataclass(frozen=True, slots=True)
class FittedCurves:
    """The curves that belong to a result, each with its most probable width, for a fit of scales together with them.

    ``expected``: intensity of each observation on its curve, ``residual``: observed minus expected, both over g;
    ``weight``: 1/variance of the observation, 0 for outliers, (n_rows,).  ``phi``: basis functions, (n_rows, 3).
    ``covariance``: of (I_h, s_h, q_h), (n_groups, 3, 3).
    """

    expected: Float
    residual: Float
    weight: Float
    phi: Array
    covariance: Array


@dataclass(frozen=True, slots=True)
class ZeroDose:
    """Of each unique reflection, (n_groups,): ``intensity`` at dose zero and ``sigma``; ``slope``: change of the
    intensity over the whole range of dose, ``slope_sigma``: uncertainty of the slope; ``mean``: plain weighted mean,
    ``mean_sigma``; ``n``: observations that were not left out.

    ``change``: of each observation, what its intensity has gained since dose zero, (n_rows,).
    ``tau``: relative change of intensities over the range of dose, the root mean square of slopes over that of
    sqrt(I <I> + <I>^2/4).  ``n_slopes``: reflections behind it.  ``curves``: None without slopes.
    """

    intensity: Float
    sigma: Float
    slope: Float
    slope_sigma: Float
    mean: Float
    mean_sigma: Float
    n: Int
    change: Float
    tau: float
    n_slopes: int
    curves: FittedCurves | None = None

    def most_changed(self, most: int) -> Int:
        """Numbers of the groups whose slopes are most certain, the most certain first, (k,), k <= ``most``."""
        z = np.divide(np.abs(self.slope), self.slope_sigma, out=np.zeros(len(self.n)), where=self.slope_sigma > 0)
        order = np.argsort(-z, kind="stable")[:most]
        return order[z[order] > 0]


@dataclass(frozen=True, slots=True)
class _Data:
    """What does not change: ``groups``, ``x``, ``weight``, ``dose``, (n_rows,), and ``s``, (n_groups,)."""

    groups: Groups
    x: Float
    weight: Float
    dose: Float
    s: Float

    def observed(self, factor: Float, slopes: Slopes, intensity: Float, level: Float) -> Observed:
        """``factor``: on variances, ``intensity``: at dose zero, ``level``: <I>, (n_groups,)."""
        weight = self.weight / self.groups.spread(factor)
        variance = slopes.variance(intensity, level)
        return Observed(self.groups, self.x, weight, basis(self.dose, slopes.rate), level, variance)

    def divided(self, drift: Float) -> _Data:
        """The observations divided by ``drift``, (n_rows,)."""
        return replace(self, x=self.x / drift, weight=self.weight * drift**2)


def zero_dose(groups: Groups, x: Float, weight: Float, dose: Float, s: Float, doubtful: Bool | None = None) -> ZeroDose:
    """Intensities at dose zero.

    Errors that were fitted without slopes include the changes that the slopes explain. So they are corrected, in
    ranges of intensity, by the deviations of observations from the curves, and the slopes are determined again. An
    outlier test without slopes rejects observations because their intensity has changed. So all observations are tested
    again, against the curve of the others of their reflection.
    ``x``: I/g, ``weight``: 1/variance of it, 0 for observations that do not count, ``dose``: from 0 to 1, (n,).
    ``s``: 1/d^2 of each group, (n_groups,).  ``doubtful``: observations that such a test has rejected, (n,).
    """
    data = _Data(groups, x, weight, dose, s)
    before = weight > 0
    if doubtful is not None:
        before &= ~doubtful
    factor, outliers, kept = np.ones(len(groups)), FEW, before
    mean = _means(data, kept)
    level = _level(mean, s, np.isfinite(mean))
    intensity = np.maximum(np.nan_to_num(mean), 0.0)
    slopes = _slopes(data, kept, factor, (intensity, level), curved=False)
    if slopes is None:
        return _unchanged(data, kept)
    result = averaged(data.observed(factor, slopes, intensity, level), kept, slopes, outliers)
    drift = np.ones(len(x))
    for _ in range(PASSES):
        more = _drift(data, kept, slopes, result, level)
        data, drift = data.divided(more), drift * more
        level = _level(_means(data, kept), s, np.isfinite(mean))
        seen = data.observed(factor, slopes, intensity, level)
        usual = _usual(seen, before, slopes, result)
        tested = replace(seen, weight=seen.weight / groups.spread(usual))
        kept, outliers = judged(tested, before, slopes, outliers)
        factor = factor * _excess(seen, kept, slopes, result)
        slopes = _slopes(data, kept, factor, (intensity, level), curved=True) or slopes
        result = averaged(data.observed(factor, slopes, intensity, level), kept, slopes, outliers)
        intensity = np.maximum(np.nan_to_num(result.intensity), 0.0)
    found = _result(data, kept, factor, slopes, result, level)
    # a drift is an error of the scales, which the fit of scales together with the curves should find
    curves = _curves(data.divided(1.0 / drift), kept, (factor, slopes, intensity, level), result)
    return replace(found, change=drift * found.change, curves=curves)


def _curves(data: _Data, kept: Bool, law: tuple[Float, Slopes, Float, Float], result: Averaged) -> FittedCurves:
    """The curve of each group.  ``law``: factor of variances, slopes, intensity at dose zero and <I>."""
    seen, index = data.observed(*law), data.groups.index()
    weight = np.where(kept, seen.weight, 0.0)
    sums = CurveSums.of(data.groups, data.x, weight, seen.phi)
    fitted = Curves.of(sums, law[1], result.width, seen.variance, seen.level)
    expected = sums.mean[index] + np.einsum("ni,ni->n", seen.phi, fitted.values[index])
    return FittedCurves(expected, data.x - expected, weight, seen.phi, fitted.inverse)


def _means(data: _Data, kept: Bool) -> Float:
    """Plain weighted means, NaN without observations, (n_groups,)."""
    weight = np.where(kept, data.weight, 0.0)
    w = data.groups.sum(weight)
    result: Float = np.divide(data.groups.sum(weight * data.x), w, out=np.full(len(w), np.nan), where=w > 0)
    return result


def _good(sums: CurveSums) -> Bool:
    """Groups with enough spread of dose for a slope, (n_groups,)."""
    w = sums.matrix[:, 0, 0]
    centre = np.divide(sums.matrix[:, 0, 1], w, out=np.zeros(len(w)), where=w > 0)
    result: Bool = (sums.n >= FEWEST) & (sums.matrix[:, 1, 1] - sums.matrix[:, 0, 1] * centre > SPREAD**2 * w)
    return result


def _drift(data: _Data, kept: Bool, slopes: Slopes, result: Averaged, level: Float) -> Float:
    """Factor on each observation with which mean intensities do not depend on the dose, 1 on average, (n_rows,).

    1 + (c_0 + c_1/d^2) f, with the line c_0 + c_1/d^2 through s_h/<I> of all reflections with enough spread of dose.
    """
    weight = np.where(kept, data.weight, 0.0)
    good = _good(CurveSums.of(data.groups, data.x, weight, basis(data.dose, 0.0))) & (level > 0)
    if np.count_nonzero(good) < ENOUGH:
        return np.ones(len(data.x))
    line = np.column_stack((np.ones(len(level)), data.s / data.s[good].max()))
    each = np.clip(result.slope[good] / level[good], -MOST_CHANGE, MOST_CHANGE)
    c = line @ np.linalg.lstsq(line[good], each, rcond=None)[0]
    change = np.clip(c, -MOST_DRIFT, MOST_DRIFT)
    factor = 1.0 + data.groups.spread(change) * basis(data.dose, slopes.rate)[:, 1]
    scaled: Float = factor / factor[kept].mean()
    return scaled


def _slopes(data: _Data, kept: Bool, factor: Float, known: tuple[Float, Float], curved: bool) -> Slopes | None:
    """The distribution of slopes with the largest likelihood; None if the data are as probable without slopes.

    ``known``: intensities at dose zero and <I>, (n_groups,).  ``curved``: whether curves are tried, not only lines.
    """
    weight = np.where(kept, data.weight, 0.0) / data.groups.spread(factor)
    use = np.flatnonzero(_good(CurveSums.of(data.groups, data.x, weight, basis(data.dose, 0.0))))
    if len(use) < ENOUGH:
        return None
    use = use[:: -(-len(use) // MOST_USED)]
    chosen = np.zeros(len(data.groups), bool)
    chosen[use] = True
    rows = data.groups.spread(chosen)
    sample = Sample(
        data.groups.choose(chosen), data.x[rows], weight[rows], data.dose[rows], known[0][use], known[1][use]
    )
    return most_probable(sample, curved)


def _squares(seen: Observed, kept: Bool, slopes: Slopes, result: Averaged) -> tuple[Float, Float]:
    """Squared deviation of each observation from the curve of the others over its variance, and 1 - leverage, (n,)."""
    sums = CurveSums.of(seen.groups, seen.x, np.where(kept, seen.weight, 0.0), seen.phi)
    curves = Curves.of(sums, slopes, result.width, seen.variance, seen.level)
    away, freedom, _ = deviations(seen, sums, curves, kept, seen.groups.index())
    return seen.weight * away * away / np.where(kept, freedom, 1.0 / freedom), freedom


def _ranges(intensity: Float, known: Bool) -> Int:
    """Number of the range of intensity of each group, (n_groups,)."""
    edges = np.quantile(intensity[known], np.linspace(0, 1, RANGES + 1)[1:-1])
    return np.searchsorted(edges, intensity, side="right")


def _usual(seen: Observed, kept: Bool, slopes: Slopes, result: Averaged) -> Float:
    """Typical squared deviation of the observations of each group over its expected value, at least 1, (n_groups,).

    It is determined in ranges of intensity, because strong reflections may deviate more, for example if Friedel mates
    differ.
    """
    square, freedom = _squares(seen, kept, slopes, result)
    bins = _ranges(np.nan_to_num(result.intensity), np.isfinite(result.intensity))
    of_row = seen.groups.spread(bins)
    usual = np.ones(RANGES)
    for k in range(RANGES):
        in_range = square[kept & (of_row == k) & (freedom > 0.1)]
        if len(in_range) >= ENOUGH:
            usual[k] = max(float(np.median(in_range)) / MEDIAN_CHI2, 1.0)
    of_group: Float = usual[bins]
    return of_group


def _excess(seen: Observed, kept: Bool, slopes: Slopes, result: Averaged) -> Float:
    """Variance of observations about their curves over the expected one, (n_groups,)."""
    square, freedom = _squares(seen, kept, slopes, result)
    freedom = np.where(kept & (freedom > 1e-6), freedom, 0.0)
    above, below = seen.groups.sum(np.minimum(square, MOST_Z2) * freedom), seen.groups.sum(freedom)
    known = (below > 0) & np.isfinite(result.intensity)
    if np.count_nonzero(known) < ENOUGH:
        return np.ones(len(seen.groups))
    bins = _ranges(np.nan_to_num(result.intensity), known)
    of_range, freedoms = (np.bincount(bins[known], values[known], RANGES) for values in (above, below))
    factor = np.divide(of_range, freedoms, out=np.ones(RANGES), where=freedoms > 0)
    each: Float = np.clip(factor, LEAST_FACTOR, MOST_FACTOR)[bins]
    return each


def _result(data: _Data, kept: Bool, factor: Float, slopes: Slopes, result: Averaged, level: Float) -> ZeroDose:
    weight, phi = np.where(kept, data.weight, 0.0) / data.groups.spread(factor), basis(data.dose, slopes.rate)
    sums = CurveSums.of(data.groups, data.x, weight, phi)
    change = data.groups.spread(result.slope) * phi[:, 1] + data.groups.spread(result.bend) * phi[:, 2]
    good = _good(sums)
    intensity = np.maximum(np.nan_to_num(result.intensity), 0.0)
    spread = float(np.array(slopes.shares) @ WIDTHS)
    moments = spread * slopes.variance(intensity, level) + (slopes.gamma * (level - intensity)) ** 2
    total = float((intensity * level + 0.25 * level**2)[good].sum())
    return ZeroDose(
        result.intensity, result.sigma, result.slope, result.slope_sigma, *_plain(sums), sums.n, change,
        float(np.sqrt(moments[good].sum() / total)) if total > 0 else 0.0, int(np.count_nonzero(good)),
    )  # fmt: skip


def _unchanged(data: _Data, kept: Bool) -> ZeroDose:
    """Plain means."""
    sums = CurveSums.of(data.groups, data.x, np.where(kept, data.weight, 0.0), basis(data.dose, 0.0))
    mean, sigma = _plain(sums)
    none, n_slopes = np.zeros(len(mean)), int(np.count_nonzero(_good(sums)))
    return ZeroDose(mean, sigma, none, none, mean, sigma, sums.n, np.zeros(len(data.x)), 0.0, n_slopes)


def _plain(sums: CurveSums) -> tuple[Float, Float]:
    """Weighted means and their standard deviations, NaN without observations, (n_groups,) each."""
    w = sums.matrix[:, 0, 0]
    sigma: Float = np.sqrt(np.divide(1.0, w, out=np.full(len(w), np.nan), where=w > 0))
    return np.where(sums.n > 0, sums.mean, np.nan), sigma


def _level(mean: Float, s: Float, there: Bool) -> Float:
    """<I>, the mean intensity in the shell of each group, (n_groups,)."""
    shells = int(np.clip(np.count_nonzero(there) // IN_SHELL, 1, MOST_SHELLS))
    limits = np.quantile(s[there], np.linspace(0, 1, shells + 1)[1:-1]) if there.any() else np.zeros(0)
    shell = np.searchsorted(limits, s, side="right")
    n = np.maximum(np.bincount(shell[there], minlength=shells), 1)
    result: Float = np.maximum(np.bincount(shell[there], mean[there], shells) / n, 0.0)[shell]
    return result
