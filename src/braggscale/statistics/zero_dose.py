"""Intensities extrapolated to dose zero, with slopes that are shrunken towards zero.

Radiation changes the structure while data are collected. Scaling corrects the change that all reflections have in
common. The remaining changes differ from reflection to reflection: some intensities grow and others fall
(Diederichs, McSweeney & Ravelli, Acta Cryst. D59 (2003) 903). For observation i of reflection h, at dose D_i from 0
to 1,

    x_i = I_h + s_h D_i + e_i,     var e_i = 1/w_i,
    s_h normal about gamma (<I> - I_h) with variance p_h = t_1 I_h <I> + t_2 <I>^2

<I> is the mean of the shell, which scaling keeps constant. So if a fraction gamma of the structure is replaced by
another one, strong reflections fall on average and weak ones rise. A random change of the amplitudes changes strong
reflections more (t_1); the added intensities of another structure change all reflections by similar amounts (t_2).
The three are estimated from all reflections with enough spread of dose. With the mean m of a reflection at its mean
dose c, its least-squares slope b of variance v, and k = 1/(1 - gamma c),

    b normal about k gamma (<I> - m) with variance v + k^2 (gamma^2 var m + p),

and gamma, t_1 and t_2 maximise the likelihood of all b (Fisher scoring). I_h and s_h are then the best linear
unbiased predictors (Robinson, Statist. Sci. 6 (1991) 15). Their variances include the uncertainty of the slope, so
a reflection that was measured late has a large sigma at dose zero. A few reflections change by far more than most;
their p is made larger, as for slopes with Student's distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int

# Least number of observations for a slope, and least spread of their doses in units of the whole range.
FEWEST, SPREAD = 3, 0.1
# Least number of reflections with slopes for an estimate of the distribution of slopes.
ENOUGH = 30
# Reflections in a shell for the mean intensity, and the most shells.
IN_SHELL, MOST_SHELLS = 100, 20
# How many times errors are reduced, in how many ranges of intensity, and the smallest factor of a variance.
PASSES, RANGES, LEAST_FACTOR = 3, 8, 0.02
MOST_Z2 = 25.0  # of a slope in the likelihood: gross outliers do not decide
# Steps of Fisher scoring, and the relative change that ends them.
STEPS, SAME = 60, 1e-6
# Largest gamma: no more than the whole structure can be replaced. gamma is set to 0 below this number of its errors.
MOST_GAMMA, CERTAIN = 0.9, 3.0
LEAST_PRIOR = 1e-12  # variance of a slope, of <I>^2
# Deviation from the line of the others above which an observation is an outlier; the share of its square below
# which an outlier is accepted again; and the most outliers of one reflection.
MOST_Z, RETURN, MOST_OUT = 4.0, 0.8, 12
LEAST_FREEDOM = 1e-6
# Degrees of freedom of the distribution of slopes about their expectation, and number of steps to the variance of each.
TAILS, TAIL_STEPS = 4.0, 3
WIDE = 100.0  # variance of slopes in the test of single observations, over that of most slopes
MEDIAN_CHI2 = 0.4549  # of one degree of freedom


@dataclass(frozen=True, slots=True)
class ZeroDose:
    """Of each unique reflection, (n_groups,): ``intensity`` at dose zero and ``sigma``; ``slope``: change of the
    intensity over the whole range of dose, ``slope_sigma``: uncertainty of the slope; ``mean``: plain weighted mean,
    ``mean_sigma``; ``n``: observations that were not left out.

    ``tau``: relative change of intensities over the range of dose, the root mean square of slopes over that of
    sqrt(I <I> + <I>^2/4).  ``n_slopes``: reflections behind it.
    """

    intensity: Float
    sigma: Float
    slope: Float
    slope_sigma: Float
    mean: Float
    mean_sigma: Float
    n: Int
    tau: float
    n_slopes: int

    def most_changed(self, most: int) -> Int:
        """Numbers of the groups whose slopes are most certain, the most certain first, (k,), k <= ``most``."""
        z = np.divide(np.abs(self.slope), self.slope_sigma, out=np.zeros(len(self.n)), where=self.slope_sigma > 0)
        order = np.argsort(-z, kind="stable")[:most]
        return order[z[order] > 0]


@dataclass(frozen=True, slots=True)
class _Prior:
    """The distribution of slopes: gamma, t_1 and t_2 above."""

    gamma: float = 0.0
    of_intensity: float = 0.0
    of_level: float = 0.0

    def variance(self, intensity: Float, level: Float) -> Float:
        """p of each reflection, (n,).  ``intensity``: at dose zero, ``level``: <I>, (n,)."""
        result: Float = self.of_intensity * intensity * level + self.of_level * level**2
        return result


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of each group, (n_groups,): ``n`` observations, sums of w, w D, w D^2, w x and w x D; ``there``: any.

    ``mean``: at the dose ``centre``, NaN without observations.  ``within``: sum w (D - centre)^2.
    ``good``: enough spread of dose for a slope.
    """

    n: Int
    w: Float
    wd: Float
    wdd: Float
    wx: Float
    wxd: Float
    there: Bool
    mean: Float
    centre: Float
    within: Float
    good: Bool

    @classmethod
    def of(cls, groups: Groups, x: Float, weight: Float, dose: Float) -> _Sums:
        """``x``, ``weight``, ``dose``: (n_rows,)."""
        n = groups.sum(weight > 0).astype(np.int64)
        w, wd = groups.sum(weight), groups.sum(weight * dose)
        wdd, wx, wxd = groups.sum(weight * dose * dose), groups.sum(weight * x), groups.sum(weight * x * dose)
        there = w > 0
        mean = np.divide(wx, w, out=np.full(len(w), np.nan), where=there)
        centre = np.divide(wd, w, out=np.zeros(len(w)), where=there)
        within = wdd - wd * centre
        good = there & (n >= FEWEST) & (within > SPREAD**2 * w)
        return cls(n, w, wd, wdd, wx, wxd, there, mean, centre, within, good)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Intensity at dose zero and slope of each group, with the matrix [[ii, i_s], [i_s, ss]] of their equations.

    ``below``: its determinant.  ``free``: groups with a slope; in others the plain mean stands.  All (n_groups,).
    """

    intensity: Float
    slope: Float
    ii: Float
    i_s: Float
    ss: Float
    below: Float
    free: Bool

    @classmethod
    def of(cls, sums: _Sums, prior: _Prior, intensity: Float, level: Float) -> _Lines:
        """``intensity``: at dose zero, as far as it is known, ``level``: <I>, (n_groups,)."""
        variance = np.maximum(prior.variance(intensity, level), LEAST_PRIOR * level**2)
        lines = cls._with(sums, prior.gamma, variance, level)
        for _ in range(TAIL_STEPS):
            # a slope far from its expectation is less shrunken, as for Student's distribution
            off = lines.slope - prior.gamma * (level - np.nan_to_num(lines.intensity))
            own = np.divide(lines.ii, lines.below, out=np.zeros(len(level)), where=lines.free)
            square = np.divide(off**2 + own, variance, out=np.ones(len(level)), where=variance > 0)
            lines = cls._with(sums, prior.gamma, variance * (TAILS + square) / (TAILS + 1.0), level)
        return lines

    @classmethod
    def _with(cls, sums: _Sums, gamma: float, variance: Float, level: Float) -> _Lines:
        """With this variance of each slope, (n_groups,)."""
        free = sums.there & (variance > LEAST_PRIOR * level**2) if gamma == 0 else sums.there & (variance > 0)
        p = np.divide(1.0, variance, out=np.zeros(len(level)), where=free)
        # the prior of the slope acts as one more observation, of gamma I + s = gamma <I>
        ii, i_s, ss = sums.w + gamma**2 * p, sums.wd + gamma * p, sums.wdd + p
        right, right_s = sums.wx + gamma**2 * level * p, sums.wxd + gamma * level * p
        below = ii * ss - i_s * i_s
        free &= below > 0
        at_zero = np.divide(ss * right - i_s * right_s, below, out=sums.mean.copy(), where=free)
        slope = np.divide(ii * right_s - i_s * right, below, out=np.zeros(len(level)), where=free)
        return cls(at_zero, slope, ii, i_s, ss, below, free)

    def squares(self, groups: Groups, x: Float, weight: Float, dose: Float, kept: Bool) -> tuple[Float, Float]:
        """Squared deviation of each observation from the line of the others, over its variance, and 1 - leverage.

        1 - leverage is the part of the variance of an observation that is left in its deviation from the line of
        all. ``kept``: observations that take part in the lines, (n_rows,). Returns (n_rows,) each.
        """
        away = x - groups.spread(np.nan_to_num(self.intensity)) - groups.spread(self.slope) * dose
        ss, i_s, ii = (groups.spread(np.divide(v, self.below, out=np.zeros(len(v)), where=self.free))
                       for v in (self.ss, self.i_s, self.ii))  # fmt: skip
        plain = np.divide(1.0, self.ii, out=np.zeros(len(self.ii)), where=~self.free & (self.ii > 0))
        leverage = weight * (ss - 2.0 * i_s * dose + ii * dose * dose + groups.spread(plain))
        freedom = np.where(kept, np.maximum(1.0 - leverage, LEAST_FREEDOM), 1.0 + leverage)
        return weight * away * away / freedom, freedom


def zero_dose(groups: Groups, x: Float, weight: Float, dose: Float, s: Float, doubtful: Bool | None = None) -> ZeroDose:
    """Intensities at dose zero.

    Errors that were fitted without slopes include the changes that the slopes explain. So they are reduced, in
    ranges of intensity, where observations are closer to their lines than expected, and the slopes are determined
    again. An outlier test without slopes rejects observations because their intensity has changed. So all
    observations are tested again, against the line of the others of their reflection.
    ``x``: I/g, ``weight``: 1/variance of it, 0 for observations that do not count, ``dose``: from 0 to 1, (n,).
    ``s``: 1/d^2 of each group, (n_groups,).  ``doubtful``: observations that such a test has rejected, (n,).
    """
    kept = weight > 0
    if doubtful is not None:
        kept &= ~doubtful
    before = kept
    estimate, prior = _lines(_Sums.of(groups, x, np.where(kept, weight, 0.0), dose), s, None)
    factor = np.ones(len(groups))
    for _ in range(PASSES if estimate.tau > 0 else 0):
        now = weight / groups.spread(factor)
        if doubtful is not None:
            kept = _tested(groups, x, now, dose, s, prior, estimate, before)
        factor = factor * _excess(groups, x, np.where(kept, now, 0.0), dose, s, prior, estimate)
        now = weight / groups.spread(factor)
        estimate, prior = _lines(_Sums.of(groups, x, np.where(kept, now, 0.0), dose), s, estimate.intensity)
    return estimate


def _tested(
    groups: Groups, x: Float, weight: Float, dose: Float, s: Float, prior: _Prior, estimate: ZeroDose, before: Bool
) -> Bool:
    """Observations that agree with the lines of the others of their reflections, (n_rows,).

    All take part at first. Then the worst of each reflection is left out, again and again while one is beyond the
    limit. A reflection of which half or fewer would be left keeps those of ``before``, (n_rows,). Slopes are hardly
    shrunken here, because a few reflections change by far more than most.
    """
    prior = replace(prior, of_intensity=WIDE * prior.of_intensity, of_level=WIDE * prior.of_level)
    usable = weight > 0
    kept = usable.copy()
    level = _level(estimate.mean, s, np.isfinite(estimate.mean))
    intensity = np.maximum(np.nan_to_num(estimate.intensity), 0.0)
    limit = np.full(len(groups), MOST_Z**2)
    for number in range(MOST_OUT):
        sums = _Sums.of(groups, x, np.where(kept, weight, 0.0), dose)
        square, _ = _Lines.of(sums, prior, intensity, level).squares(groups, x, weight, dose, kept)
        if number == 0:
            limit = MOST_Z**2 * _usual(groups, square, intensity, usable)
        far = np.flatnonzero(kept & (square > groups.spread(limit)) & groups.spread(sums.n >= FEWEST))
        back = usable & ~kept & (square < RETURN * groups.spread(limit)) & (number < MOST_OUT // 2)
        if len(far) == 0 and not back.any():
            break
        group = groups.index()[far]
        order = np.lexsort((square[far], group))
        last = np.append(group[order][1:] != group[order][:-1], True)[: len(far)]
        kept[far[order[last]]] = False
        kept |= back
    few = 2 * groups.sum(kept) <= groups.sum(usable)
    return np.where(groups.spread(few), before, kept)


def _usual(groups: Groups, square: Float, intensity: Float, usable: Bool) -> Float:
    """Typical squared deviation of the observations of each group over its expected value, at least 1, (n_groups,).

    It is determined in ranges of ``intensity``, (n_groups,), because strong reflections may deviate more, for
    example if Friedel mates differ.
    """
    edges = np.quantile(intensity, np.linspace(0, 1, RANGES + 1)[1:-1])
    bins = np.searchsorted(edges, intensity, side="right")
    of_row = groups.spread(bins)
    usual = np.ones(RANGES)
    for k in range(RANGES):
        in_range = square[usable & (of_row == k)]
        if len(in_range) >= ENOUGH:
            usual[k] = max(float(np.median(in_range)) / MEDIAN_CHI2, 1.0)
    result: Float = usual[bins]
    return result


def _excess(groups: Groups, x: Float, weight: Float, dose: Float, s: Float, prior: _Prior, estimate: ZeroDose) -> Float:
    """Variance of observations about their lines over the expected one, at most 1, (n_groups,).

    ``weight``: 0 for observations that were left out, (n_rows,).
    """
    sums = _Sums.of(groups, x, weight, dose)
    intensity = np.maximum(np.nan_to_num(estimate.intensity), 0.0)
    lines = _Lines.of(sums, prior, intensity, _level(sums.mean, s, sums.there))
    square, freedom = lines.squares(groups, x, weight, dose, weight > 0)
    freedom = np.where((weight > 0) & (freedom > LEAST_FREEDOM), freedom, 0.0)
    above, below = groups.sum(np.minimum(square, MOST_Z2) * freedom), groups.sum(freedom)
    known = (below > 0) & sums.there
    if np.count_nonzero(known) < ENOUGH:
        return np.ones(len(groups))
    limits = np.quantile(intensity[known], np.linspace(0, 1, RANGES + 1)[1:-1])
    bins = np.searchsorted(limits, intensity, side="right")
    of_range, freedoms = (np.bincount(bins[known], values[known], RANGES) for values in (above, below))
    factor = np.divide(of_range, freedoms, out=np.ones(RANGES), where=freedoms > 0)
    result: Float = np.clip(factor, LEAST_FACTOR, 1.0)[bins]
    return result


def _lines(sums: _Sums, s: Float, known: Float | None) -> tuple[ZeroDose, _Prior]:
    """Intensity and slope of each group with the present weights, and the distribution of slopes.

    ``known``: estimates of the intensities at dose zero, (n_groups,); None at the beginning.
    """
    level = _level(sums.mean, s, sums.there)
    intensity = np.maximum(np.nan_to_num(sums.mean if known is None else known), 0.0)
    prior = _Prior()
    if np.count_nonzero(sums.good) >= ENOUGH:
        prior = _estimated(sums, intensity, level)
    lines = _Lines.of(sums, prior, intensity, level)
    plain = np.divide(1.0, sums.w, out=np.full(len(level), np.nan), where=sums.there)
    moments = np.where(lines.free, prior.variance(intensity, level) + (prior.gamma * (level - intensity)) ** 2, 0.0)
    unit = intensity * level + 0.25 * level**2
    total = float(unit[sums.good].sum())
    result = ZeroDose(
        lines.intensity,
        np.sqrt(np.divide(lines.ss, lines.below, out=plain.copy(), where=lines.free)),
        lines.slope,
        np.sqrt(np.divide(lines.ii, lines.below, out=np.zeros(len(level)), where=lines.free)),
        sums.mean,
        np.sqrt(plain),
        sums.n,
        float(np.sqrt(moments[sums.good].sum() / total)) if total > 0 else 0.0,
        int(np.count_nonzero(sums.good)),
    )
    return result, prior


def _level(mean: Float, s: Float, there: Bool) -> Float:
    """<I>, the mean intensity in the shell of each group, (n_groups,)."""
    shells = int(np.clip(np.count_nonzero(there) // IN_SHELL, 1, MOST_SHELLS))
    limits = np.quantile(s[there], np.linspace(0, 1, shells + 1)[1:-1]) if there.any() else np.zeros(0)
    shell = np.searchsorted(limits, s, side="right")
    n = np.maximum(np.bincount(shell[there], minlength=shells), 1)
    result: Float = np.maximum(np.bincount(shell[there], mean[there], shells) / n, 0.0)[shell]
    return result


def _estimated(sums: _Sums, intensity: Float, level: Float) -> _Prior:
    """The prior with the largest likelihood of the slopes of groups that have one."""
    good = sums.good
    centre, above, v, own = sums.centre[good], (level - sums.mean)[good], 1.0 / sums.within[good], 1.0 / sums.w[good]
    b = (sums.wxd - sums.wx * sums.centre)[good] * v
    units = np.column_stack((intensity * level, level**2))[good]
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
    return _Prior(gamma, float(t[0]), float(t[1]))


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
