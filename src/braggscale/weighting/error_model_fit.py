"""How a, b and, where the data demand it, c of the error model are found from the scatter of equivalents.

Residual r = I - g I_h, leverage h = (g^2/V')/sum(g^2/V'): E r^2 = V' (1 - h). (Where var(g) is known, 1 - h stands for
(1 - h)(1 - s), s = (I_h)^2 var(g)/V': the part of the residual that the scales have taken. Var r = V' - x C x' for a
prediction x theta with covariance C.) With A = a^2, B = a^2 b^2, C = a^2 c,
V' = A V + B mu^2 + C mu+, the restricted likelihood (Patterson & Thompson, Biometrika 58 (1971) 545) is stationary
where

    sum (1 - h) (x/V') (1 - z^2) = 0   for x = V, mu^2 and mu+,     z^2 = r^2/(V' (1 - h)).

Fisher scoring is then the linear least-squares fit of r^2/(1 - h) to A V + B mu^2 + C mu+ with weights (1 - h)/V'^2.
z^2 counts up to 16; an observation beyond it contributes its ln|r|, whatever the model: unlike a cap alone this has no
solution with vanishing errors, and a few gross outliers move nothing. Before that the worst member of a group is taken
out while it is beyond 4 sigma of the others, or it would push its equivalents out with it.

The linear term. Of strong reflections V is itself proportional to mu, so that a and c can replace each other: the fit
improves a little, a goes anywhere, and with it the errors of the weak reflections, which say nothing. So c is fitted
with all intensities, weak ones included, and kept only if

* 2 ln L, for the same rows, rises by 15, and by more than n/32, n rows less groups. The first is 3.9 sigma of chance, 3
  where residuals have heavy tails. The second is about size: changing ln V' by d (rms) where that is
  right gains n d^2/2, so it asks for d above 25 %. Less is what two parameters usually leave (DIALS' tables too), makes
  weights 1 % less efficient and moves no outlier; but 100,000 observations would call it significant.
* a is known to 10 % beside it.

Once in use it stays unless the gain falls below half of that, so that rounds do not alternate.

Friedel mates must be apart in the grouping, or b absorbs the anomalous signal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from braggscale.data.unique_reflections import Groups, in_blocks, weighted_mean
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import agreement
from braggscale.weighting.error_model import DEFAULT_A, ErrorModel, FitResult, IntensityRange
from braggscale.weighting.expected_variance import Law
from braggscale.weighting.leave_one_out import judge

MINIMUM_ROWS = 250  # for two parameters, as DIALS
MINIMUM_ROWS_ONE = 50  # for a alone: its relative error is then 10 %
LOWEST_A = 0.1  # errors ten times too large: more likely the fit has no hold on a
# Of more rows every k-th group is used: a is then good to 0.2 %, b to 1 %.
MOST_ROWS = 400_000
MOST_COMPARED = (
    50_000  # whether the linear term is needed: its gain per row is then good to a tenth of what is asked for
)

_CUT = 4.0  # z^2 <= 16
_KEPT_VARIANCE = 0.998930  # mean z^2 of a normal deviate within 4 sigma
_MEDIAN_SQUARE = 0.454936  # median z^2 of a normal deviate
_ROUNDS, _STEPS, _TOLERANCE = 25, 4, 1e-4
_COLLINEAR = 1e-3  # 1 - correlation^2 of the two terms, below which they are one
_LOOSEST = 0.2  # relative uncertainty of a above which a^2 is not significant (2.5 sigma)
# What the linear term needs, see above: gain of 2 ln L, the same per row, relative uncertainty of a.
_GAIN, _GAIN_PER_ROW, _LOOSEST_WITH_LINEAR = 15.0, 1.0 / 32.0, 0.1
ENOUGH_RANGES = 5  # ranges of intensity that show a trend of z^2
_STAYING = 0.5

_Free = tuple[bool, bool, bool]  # a, b, c
_TWO, _ALL, _ONE, _NONE = (True, True, False), (True, True, True), (True, False, False), (False, False, False)


@dataclass(frozen=True, slots=True)
class _Residuals:
    """r^2/f, f, V, mu, (n,); members of a group share I_h.  f = (1 - h)(1 - s) is 0 where a row does not take part."""

    square: Float
    freedom: Float
    expected: Float
    mu: Float
    trimmed: int

    def take(self, rows: Int) -> _Residuals:
        """Only these rows."""
        return _Residuals(self.square[rows], self.freedom[rows], self.expected[rows], self.mu[rows], self.trimmed)

    def variance(self, model: ErrorModel) -> Float:
        return model.variance(self.expected, self.mu)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Rows to fit to: I, V, g, (n,), in their groups.  ``fitted``: var(g)/g^2, (n,), or empty."""

    i: Float
    v: Float
    g: Float
    fitted: Float
    groups: Groups

    def __len__(self) -> int:
        return len(self.i)

    def trim(self, model: ErrorModel) -> Bool:
        """Rows left out when the worst of a group goes while it is beyond 4 sigma of the others, (n,)."""
        law = Law.constant(self.i, self.v)
        a2, b2, linear = (np.array([x]) for x in (model.a**2, model.b**2, model.c))
        law = replace(law, a2=a2, b2=b2, linear=linear)
        out = np.zeros(len(self.i), np.bool_)
        for _ in range(2):
            limits = (_CUT, 0.9 * _CUT)
            out, _, _ = judge(law, self.g, self.groups, limits, out, trim=True, afresh=True)
        return out

    def residuals(self, model: ErrorModel, out: Bool | None = None) -> _Residuals:
        """Residuals of the rows that are not left out, against I_h weighted with the model."""
        n = len(self.i)
        square, freedom, mu = np.empty(n), np.empty(n), np.empty(n)
        away = np.zeros(n, np.bool_) if out is None else out

        def block(first: int, last: int) -> None:
            agreement.residuals(
                first, last, self.groups.offsets, self.i, self.v, self.g, self.fitted, away,
                model.a**2, model.b**2, model.c, square, freedom, mu,
            )  # fmt: skip

        in_blocks(self.groups, block)
        return _Residuals(square, freedom, self.v, mu, int(np.count_nonzero(away)))

    def sums(self, data: _Residuals, model: ErrorModel) -> Float:
        """What ``agreement.scoring_sums`` adds up, over all rows, (11,)."""
        offsets = self.groups.offsets

        def block(first: int, last: int) -> Float:
            total = np.zeros(11)
            agreement.scoring_sums(
                offsets[first], offsets[last], data.square, data.freedom, data.expected, data.mu,
                model.a**2, model.b**2, model.c, _CUT**2, total,
            )  # fmt: skip
            return total

        return np.asarray(sum(in_blocks(self.groups, block), np.zeros(11)))


def fit(
    intensity: Float,
    expected: Float,
    scale: Float,
    groups: Groups,
    *,
    start: ErrorModel | None = None,
    a: float | None = None,
    b: float | None = None,
    min_photons: float = 0.0,
    photon: Float | float | None = None,
    scale_variance: Float | None = None,
    n_bins: int = 10,
    refine: bool = True,
) -> FitResult:
    """Error model of these rows.

    ``intensity``: I, counts, ``expected``: V, counts^2, positive, ``scale``: g, all (n_rows,), outliers left out.
    ``groups``: Friedel mates apart.  ``start``: the model in use.  ``a``, ``b``: values to hold.
    ``refine`` False: keep the start, make the table.
    ``min_photons``: groups with fewer expected photons per observation are left out (DIALS: min_Ih = 25 counts).
    ``photon``: size of one photon in the units of I, (n_rows,) or one number: k c with the gain k of
    ``intensity_choice.counting_gain`` and c = I/I_raw. Without it photons are (g I_h)^2/V, the same number where the
    counting error is all there is. Neither depends on the units of I.
    ``scale_variance``: var(g), (n_rows,), if scales were fitted to these residuals and that is to count.
    With fewer than 250 rows only a is fitted, with fewer than 50 nothing; ``reason`` says so.
    The linear term is tried where a and b are both refined; a held a or b means V' = a^2 (V + (b mu)^2).
    """
    begin = start or ErrorModel()
    if a is not None or b is not None:
        begin = ErrorModel(begin.a if a is None else a, begin.b if b is None else b)
    fitted = np.zeros(0) if scale_variance is None else scale_variance / scale**2
    rows = intensity, expected, scale, fitted, groups, begin
    sample = _candidates(*rows, min_photons, photon)
    n = len(sample)
    free = (refine and a is None, refine and b is None, False)
    reason = ""
    if any(free) and n < MINIMUM_ROWS:
        if n < MINIMUM_ROWS_ONE or not free[0]:
            free, needed = _NONE, MINIMUM_ROWS_ONE if free[0] else MINIMUM_ROWS
            reason = f"{n} observations in groups of two or more, at least {needed} needed: not refined"
        elif free[1]:
            free = _ONE
            reason = f"{n} observations, at least {MINIMUM_ROWS} needed for two parameters: only a refined"
    if not any(free):
        data = sample.residuals(begin, sample.trim(begin))
        return _result(sample, begin, data, free, 0, True, n_bins, reason)
    if free != _TWO:
        return _refine(sample, begin, free, n_bins, reason)
    two = _refine(sample, replace(begin, c=0.0), free, n_bins, reason)
    if two.reason or (begin.c == 0 and _even(two.ranges)):
        return two
    few = _candidates(*rows, 0.0, None, MOST_COMPARED)
    result = _with_linear_term(two, few, begin.c > 0, n_bins)
    if result.model.c > 0 and groups.n_rows > MOST_COMPARED:
        everybody = _candidates(*rows, 0.0, None)
        better = _refine(everybody, result.model, _ALL, n_bins, result.reason)
        return replace(better, linear_gain=result.linear_gain)
    return result


def _even(ranges: tuple[IntensityRange, ...]) -> bool:
    """Whether mean z^2 hardly depends on the intensity, which spares the comparison.

    A misfit d of ln V', rms, is worth n d^2/2 in 2 ln L, and n/32 is asked for: d^2 = 1/16. Half of that is no case.
    """
    if len(ranges) < ENOUGH_RANGES or min(r.corrected for r in ranges) <= 0:
        return False
    n = np.array([r.n for r in ranges])
    misfit = np.log([r.corrected for r in ranges])
    return float(np.dot(n, misfit**2) / n.sum()) < _GAIN_PER_ROW


def _with_linear_term(two: FitResult, sample: _Sample, in_use: bool, n_bins: int) -> FitResult:
    """The fit with c where the data demand it, otherwise ``two``; both models refined and compared on these rows."""
    null = _refine(sample, two.model, _TWO, n_bins, "")
    if null.reason:
        return two
    full = _refine(sample, null.model, _ALL, n_bins, "")
    if full.reason or not full.model.c > 0:
        return two
    keep = ~sample.trim(null.model)
    part = sample.groups.subset(keep)
    rows = _Sample(sample.i[keep], sample.v[keep], sample.g[keep], sample.fitted[:0], part)
    gain = 2.0 * (_minus_log_likelihood(rows, null.model) - _minus_log_likelihood(rows, full.model))
    needed = max(_GAIN, _GAIN_PER_ROW * (part.n_rows - len(part))) * (_STAYING if in_use else 1.0)
    if not (gain > needed and full.esd_a < _LOOSEST_WITH_LINEAR * full.model.a):
        return replace(two, linear_gain=gain)
    reason = f"a term linear in the intensity is needed: 2 ln L rises by {gain:.0f}, asked for are {needed:.0f}"
    return replace(full, reason=reason, linear_gain=gain)


def _minus_log_likelihood(sample: _Sample, model: ErrorModel) -> float:
    """Restricted, each model with its own I_h; beyond 4 sigma a row contributes ln|r|, as in the scoring."""
    i, v, g, groups = sample.i, sample.v, sample.g, sample.groups
    variance = v
    for _ in range(3):
        variance = model.variance(v, g * groups.spread(weighted_mean(groups, 1.0 / variance, g, i)[0]))
    best, total = weighted_mean(groups, 1.0 / variance, g, i)
    freedom = 1.0 - g * g / (variance * groups.spread(total))
    z2 = np.zeros(len(i))
    np.divide((i - g * groups.spread(best)) ** 2, variance * freedom, out=z2, where=freedom > 1e-6)
    far = _CUT**2 / _KEPT_VARIANCE + np.log(np.maximum(z2, _CUT**2) / _CUT**2)
    size = np.where(z2 <= _CUT**2, z2 / _KEPT_VARIANCE, far)
    return 0.5 * float(np.log(variance).sum() + np.log(total).sum() + np.dot(freedom, size))


def _candidates(
    i: Float,
    v: Float,
    g: Float,
    fitted: Float,
    groups: Groups,
    model: ErrorModel,
    min_photons: float,
    photon: Float | float | None,
    most: int = MOST_ROWS,
) -> _Sample:
    """Rows of groups with two or more members and enough photons; every k-th group if they are very many."""
    use = groups.sizes() > 1
    if min_photons > 0 and len(groups):

        def block(first: int, last: int) -> Float:
            rows = slice(groups.offsets[first], groups.offsets[last])
            part = Groups(groups.offsets[first : last + 1] - groups.offsets[first])
            mu = g[rows] * part.spread(weighted_mean(part, 1.0 / v[rows], g[rows], i[rows])[0])
            if photon is None:
                return part.sum(np.sign(mu) * mu * mu / v[rows])
            return part.sum(mu / (photon if isinstance(photon, float) else photon[rows]))

        use &= np.concatenate(in_blocks(groups, block)) >= min_photons * groups.sizes()
    rows = int(groups.sizes()[use].sum())
    if rows > most:
        use[np.flatnonzero(use)[np.arange(np.count_nonzero(use)) % -(-rows // most) != 0]] = False
    keep = groups.spread(use)
    return _Sample(i[keep], v[keep], g[keep], fitted[keep] if len(fitted) else fitted, groups.choose(use))


def _refine(sample: _Sample, begin: ErrorModel, free: _Free, n_bins: int, reason: str) -> FitResult:
    """Scoring steps for fixed I_h inside, new I_h and new trimming outside, until a, b and c stand still."""
    model = begin
    unit = float(np.sum(sample.v) / max(float(np.sum(np.abs(sample.i))), 1e-300))
    if free[0]:
        first = sample.residuals(model)
        z2 = (first.square / first.variance(model))[first.freedom > 0]
        if len(z2):
            model = replace(model, a=model.a * math.sqrt(max(float(np.median(z2)), 1e-12) / _MEDIAN_SQUARE))
    trimmed_with: ErrorModel | None = None
    converged = False
    rounds = 0
    for rounds in range(1, _ROUNDS + 1):
        if trimmed_with is None or _distance(model, trimmed_with, unit) > 0.02:
            out, trimmed_with = sample.trim(model), model
        data = sample.residuals(model, out)
        before = model
        for _ in range(_STEPS):
            model, bad = _step(sample.sums(data, model), model, free)
            if bad:
                break
        if bad:
            break
        if _distance(model, before, unit) < _TOLERANCE:
            if trimmed_with is before or _distance(model, trimmed_with, unit) < 0.1 * _TOLERANCE or rounds > 15:
                converged = True
                break
            trimmed_with = None
    if bad or not LOWEST_A <= model.a < math.inf:
        return _fall_back(sample, begin, free, n_bins, bad or f"a = {model.a:.3g}")
    if not converged and not reason:
        reason = f"still changing after {_ROUNDS} rounds"
    result = _result(sample, model, data, free, rounds, converged, n_bins, reason)
    if free[0] and free[1] and not result.esd_a < _LOOSEST * model.a:
        return _fall_back(sample, begin, free, n_bins, f"a = {model.a:.3g} +- {result.esd_a:.2g}")
    return result


def _fall_back(sample: _Sample, begin: ErrorModel, free: _Free, n_bins: int, why: str) -> FitResult:
    """One parameter where two cannot be told apart; the start where one cannot be found, or three."""
    if free == _TWO:
        if why.startswith("a ="):
            simpler, rest = (False, True, False), "a = 1 kept, only b refined"
            begin = replace(begin, a=DEFAULT_A)
        else:
            simpler, rest = _ONE, f"b = {begin.b:.3g} kept, only a refined"
        return _refine(sample, begin, simpler, n_bins, f"two-parameter fit failed ({why}): {rest}")
    data = sample.residuals(begin, sample.trim(begin))
    return _result(sample, begin, data, _NONE, 0, False, n_bins, f"fit failed ({why}): kept as it was")


def _distance(one: ErrorModel, other: ErrorModel, unit: float) -> float:
    """Relative change of the variance where either term dominates; b below 0.001 is as good as 0.

    ``unit``: a usual V/mu, counts; c below a thousandth of it is as good as 0.
    """
    slope, old = max(one.a * one.b, 1e-3), max(other.a * other.b, 1e-3)
    least = 1e-3 * unit
    linear = math.log(max(one.a**2 * one.c, least) / max(other.a**2 * other.c, least))
    return abs(math.log(one.a / other.a)) + abs(math.log(slope / old)) + 0.5 * abs(linear)


def _step(sums: Float, model: ErrorModel, free: _Free) -> tuple[ErrorModel, str]:
    """One scoring step; the second value says why none is possible.  ``sums``: see ``agreement.scoring_sums``."""
    size = model.a**2 * np.array([1.0, model.b**2, model.c])  # A, B, C
    if free == _ONE:
        size *= float(sums[9]) / _KEPT_VARIANCE / max(float(sums[10]), 1e-300)
    else:
        fitted = np.array(free)
        every = _matrix(sums)
        unit = np.sqrt(every.diagonal()[fitted])
        if not (unit > 0).all():
            return model, "all intensities are alike"
        right = (sums[6:9] / _KEPT_VARIANCE - every[:, ~fitted] @ size[~fitted])[fitted] / unit
        normal = every[fitted][:, fitted] / np.outer(unit, unit)
        if len(unit) > 1 and not _independent(normal):
            return model, "all intensities are alike"
        # a step of more than a factor of 10 in a variance means that the trimming has to follow first
        low = np.where(fitted, np.array([0.1, 0.0, 0.0]) * size, 0.0)[fitted] * unit
        size[fitted] = _least_squares(normal, right, low) / unit
    if not np.isfinite(size).all() or size[0] < 1e-12:
        return model, "the residuals are zero or not finite"
    big_a = min(max(size[0], 0.1 * model.a**2), 10.0 * model.a**2)
    b = math.sqrt(size[1] / big_a) if free[1] else model.b
    return ErrorModel(math.sqrt(big_a), b, float(size[2] / big_a) if free[2] else model.c), ""


def _independent(correlation: Float) -> bool:
    """Whether each term has a part of its own, 1 - R^2 > _COLLINEAR."""
    if not np.linalg.det(correlation) > 1e-9:
        return False
    return bool(1.0 / np.linalg.inv(correlation).diagonal().max() > _COLLINEAR)


def _least_squares(normal: Float, right: Float, low: Float) -> Float:
    """x >= ``low`` that minimises x.N.x/2 - right.x; at most three unknowns, so that all bounds are tried."""
    best, least = low, math.inf
    for bound in product((False, True), repeat=len(low)):
        at, within = np.array(bound), ~np.array(bound)
        x = low.copy()
        x[within] = np.linalg.solve(normal[within][:, within], right[within] - normal[within][:, at] @ low[at])
        value = float(0.5 * x @ normal @ x - right @ x)
        if (x >= low).all() and value < least:
            best, least = x, value
    return best


def _result(
    sample: _Sample,
    model: ErrorModel,
    data: _Residuals,
    free: _Free,
    rounds: int,
    converged: bool,
    n_bins: int,
    reason: str,
) -> FitResult:
    used = data.freedom > 0
    core = np.flatnonzero(used & (data.square <= _CUT**2 * data.variance(model)))
    esd_a, esd_b, esd_c = _uncertainties(sample.sums(data, model), model, free)
    return FitResult(
        model,
        len(core),
        data.trimmed + int(np.count_nonzero(used)) - len(core),
        rounds,
        converged,
        esd_a,
        esd_b,
        _ranges(data.take(core), model, n_bins),
        reason,
        esd_c,
    )


def _uncertainties(sums: Float, model: ErrorModel, free: _Free) -> tuple[float, float, float]:
    """Of a, b, c, from the Fisher information 1/2 sum (1 - h) (dlnV'/dp)(dlnV'/dq); NaN where there is none.

    ``sums``: see ``agreement.scoring_sums``; V' and its derivatives are linear in V, mu^2 and mu+.
    """
    a, b, c = model.a, model.b, model.c
    slopes = np.array([[2 * a, 2 * a * b * b, 2 * a * c], [0.0, 2 * a * a * b, 0.0], [0.0, 0.0, a * a]])
    information = 0.5 * slopes @ _matrix(sums) @ slopes.T
    known = np.array(free) & (information.diagonal() > 0)
    esd = np.full(3, math.nan)
    if known.any():
        unit = np.sqrt(information.diagonal()[known])
        correlation = information[known][:, known] / np.outer(unit, unit)
        if not np.linalg.det(correlation) > 1e-9:  # all one: that of the first as if it were alone
            known &= np.arange(3) == np.flatnonzero(known)[0]
            unit, correlation = unit[:1], correlation[:1, :1]
        esd[known] = np.sqrt(np.linalg.inv(correlation).diagonal()) / unit
    return float(esd[0]), float(esd[1]), float(esd[2])


def _matrix(sums: Float) -> Float:
    """sum w x x' of V, mu^2 and mu+, (3, 3)."""
    return sums[[0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(3, 3)


def _ranges(core: _Residuals, model: ErrorModel, n_bins: int) -> tuple[IntensityRange, ...]:
    """Mean z^2 in ranges of expected intensity, equal in its logarithm, strongest first; thin ranges are joined.

    Both means are over the same rows, those within 4 sigma of the fitted model, weighted with 1 - h.
    """
    if not len(core.mu):
        return ()
    mu, freedom, square = np.abs(core.mu), core.freedom, core.square
    n = len(mu)
    high = float(mu.max())
    if not high > 0:
        return ()
    positive = mu[mu > 0]
    low = max(float(np.quantile(positive, 0.01)), 1e-6 * high)
    edges = np.geomspace(high, min(low, 0.999 * high), n_bins + 1)
    least = max(1, min(250, n // (3 * n_bins)))
    where = np.clip(np.searchsorted(-edges, -mu, side="right") - 1, 0, n_bins - 1)
    counts = np.bincount(where, minlength=n_bins)
    label = np.zeros(n_bins, np.int64)
    filled = 0
    for k in range(1, n_bins):
        filled += int(counts[k - 1])
        label[k] = label[k - 1]
        if filled >= least and int(counts[k:].sum()) >= least:
            label[k] += 1
            filled = 0
    bins = label[where]
    m = int(label[-1]) + 1
    weight = np.bincount(bins, weights=freedom, minlength=m)
    plain = np.bincount(bins, weights=freedom * square / core.expected, minlength=m) / weight
    fitted = np.bincount(bins, weights=freedom * square / core.variance(model), minlength=m) / weight
    members = np.bincount(bins, minlength=m)
    upper = [float(edges[int(np.flatnonzero(label == k)[0])]) for k in range(m)]
    lower = [*upper[1:], 0.0]
    return tuple(
        IntensityRange(lower[k], upper[k], int(members[k]), float(plain[k]), float(fitted[k])) for k in range(m)
    )
