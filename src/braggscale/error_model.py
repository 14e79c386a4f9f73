"""Errors that agree with the scatter of equivalent observations: V' = a^2 (V + (b mu)^2).

V is the *expected* variance of an observation (intensities.expected_variance) and mu = g I_h its expected intensity;
neither depends on the observation's own fluctuation, so that an intensity that came out low gets no extra weight.
a corrects the counting errors, b is the instability of beam, sample and detector: I/sigma never exceeds 1/(a b)
(Diederichs, Acta Cryst. D66 (2010) 733).

The fit. Residual r = I - g I_h, leverage h = (g^2/V')/sum(g^2/V'): E r^2 = V' (1 - h). With A = a^2, B = a^2 b^2,
V' = A V + B mu^2, the restricted likelihood (Patterson & Thompson, Biometrika 58 (1971) 545) is stationary where

    sum (1 - h) (x/V') (1 - z^2) = 0   for x = V and x = mu^2,     z^2 = r^2/(V' (1 - h)).

Fisher scoring is then the linear least-squares fit of r^2/(1 - h) to A V + B mu^2 with weights (1 - h)/V'^2.
z^2 counts up to 16; an observation beyond it contributes its ln|r|, whatever the model: unlike a cap alone this has no
solution with vanishing errors, and a few gross outliers move nothing. Before that the worst member of a group is taken
out while it is beyond 4 sigma of the others, or it would push its equivalents out with it.

Friedel mates must be apart in the grouping, or b absorbs the anomalous signal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.arrays import Bool, Float, Int, Int32
from braggscale.deviations import leave_one_out, separate
from braggscale.errors import CommandError
from braggscale.groups import Groups

DEFAULT_A, DEFAULT_B = 1.0, 0.02  # DIALS' start
MINIMUM_ROWS = 250  # for two parameters, as DIALS
MINIMUM_ROWS_ONE = 50  # for a alone: its relative error is then 10 %
LOWEST_A = 0.1  # errors ten times too large: more likely the fit has no hold on a
# Of more rows every k-th group is used: a is then good to 0.2 %, b to 1 %.
MOST_ROWS = 400_000

_CUT = 4.0  # z^2 <= 16
_KEPT_VARIANCE = 0.998930  # mean z^2 of a normal deviate within 4 sigma
_MEDIAN_SQUARE = 0.454936  # median z^2 of a normal deviate
_ROUNDS, _STEPS, _TOLERANCE = 25, 4, 1e-4
_COLLINEAR = 1e-3  # 1 - correlation^2 of the two terms, below which they are one
_LOOSEST = 0.2  # relative uncertainty of a above which a^2 is not significant (2.5 sigma)


@dataclass(frozen=True, slots=True)
class ErrorModel:
    """V' = a^2 (V + (b mu)^2), dimensionless a and b."""

    a: float = DEFAULT_A
    b: float = DEFAULT_B

    def variance(self, expected: Float, mu: Float) -> Float:
        """V'. ``expected``: V, counts^2, ``mu``: g I_h, counts, (n,).  Returns counts^2, (n,)."""
        return np.asarray(self.a**2 * (expected + (self.b * mu) ** 2))

    @property
    def isa(self) -> float:
        """Largest possible I/sigma, 1/(a b); infinite for b = 0."""
        return 1.0 / (self.a * self.b) if self.a * self.b > 0 else math.inf


@dataclass(frozen=True, slots=True)
class IntensityRange:
    """Rows with ``low`` < g I_h <= ``high`` (counts): their number and the mean of z^2 with a = 1, b = 0 and fitted."""

    low: float
    high: float
    n: int
    uncorrected: float
    corrected: float


@dataclass(frozen=True, slots=True)
class FitResult:
    """``model`` and how it came about.  ``reason``: why it is not the two-parameter fit, empty if it is.

    ``n_used``: rows in the fit, ``n_trimmed``: rows among the candidates beyond 4 sigma, left out.
    ``esd_a``, ``esd_b``: standard uncertainties, NaN where a parameter was not refined.
    """

    model: ErrorModel
    n_used: int
    n_trimmed: int
    rounds: int
    converged: bool
    esd_a: float
    esd_b: float
    ranges: tuple[IntensityRange, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Residuals:
    """Rows that take part: r^2/(1 - h), 1 - h, V, mu^2, (n,); all members of one group share I_h."""

    square: Float
    freedom: Float
    expected: Float
    mu2: Float
    trimmed: int


def z_scores(intensity: Float, variance: Float, scale: Float, groups: Groups) -> Float:
    """Signed normalised deviation of each row from its equivalents, leave-one-out (deviations.leave_one_out).

    ``intensity``: counts, ``variance``: V' of the error model, counts^2, ``scale``: g, (n_rows,).
    Returns (n_rows,), NaN in groups of one.
    """
    return leave_one_out(intensity, variance, scale, groups)


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
    n_bins: int = 10,
    refine: bool = True,
) -> FitResult:
    """Error model of these rows.

    ``intensity``: I, counts, ``expected``: V, counts^2, positive, ``scale``: g, all (n_rows,), outliers left out.
    ``groups``: Friedel mates apart.  ``start``: the model in use.  ``a``, ``b``: values to hold.
    ``refine`` False: keep the start, make the table.
    ``min_photons``: groups with fewer expected photons per observation are left out (DIALS: min_Ih = 25 counts).
    ``photon``: size of one photon in the units of I, (n_rows,) or one number: k c with the gain k of
    ``intensities.counting_gain`` and c = I/I_raw. Without it photons are (g I_h)^2/V, the same number where the
    counting error is all there is. Neither depends on the units of I.
    With fewer than 250 rows only a is fitted, with fewer than 50 nothing; ``reason`` says so.
    """
    begin = start or ErrorModel()
    begin = ErrorModel(begin.a if a is None else a, begin.b if b is None else b)
    i, v, g, part = _candidates(intensity, expected, scale, groups, begin, min_photons, photon)
    n = len(i)
    free = (refine and a is None, refine and b is None)
    reason = ""
    if any(free) and n < MINIMUM_ROWS:
        if n < MINIMUM_ROWS_ONE or not free[0]:
            free, needed = (False, False), MINIMUM_ROWS_ONE if free[0] else MINIMUM_ROWS
            reason = f"{n} observations in groups of two or more, at least {needed} needed: not refined"
        elif free[1]:
            free = (True, False)
            reason = f"{n} observations, at least {MINIMUM_ROWS} needed for two parameters: only a refined"
    if not any(free):
        data = _residuals(i, v, g, part, begin, _trim(i, v, g, part, begin)) if n else _nothing()
        return _result(begin, data, free, 0, True, n_bins, reason)
    return _refine(i, v, g, part, begin, free, n_bins, reason)


def _candidates(
    i: Float, v: Float, g: Float, groups: Groups, model: ErrorModel, min_photons: float, photon: Float | float | None
) -> tuple[Float, Float, Float, Groups]:
    """Rows of groups with two or more members and enough photons; every k-th group if they are very many."""
    use = groups.sizes() > 1
    if min_photons > 0 and len(groups):
        best, _ = _best(i, model.a**2 * v, g, groups)
        mu = g * groups.spread(best)
        photons = np.sign(mu) * mu * mu / v if photon is None else mu / photon
        use &= groups.sum(photons) >= min_photons * groups.sizes()
    rows = int(groups.sizes()[use].sum())
    if rows > MOST_ROWS:
        use[np.flatnonzero(use)[np.arange(np.count_nonzero(use)) % -(-rows // MOST_ROWS) != 0]] = False
    keep = groups.spread(use)
    return i[keep], v[keep], g[keep], groups.subset(keep)


def _best(i: Float, v: Float, g: Float, groups: Groups) -> tuple[Float, Float]:
    """I_h and sum g^2/V of each group."""
    wg = g / v
    total = groups.sum(wg * g)
    return np.divide(groups.sum(wg * i), total, out=np.zeros(len(groups)), where=total > 0), total


def _variance(i: Float, v: Float, g: Float, groups: Groups, model: ErrorModel, keep: Bool) -> Float:
    """V' with I_h from the rows that are kept, weighted with the model itself."""
    best, _ = _best(i, np.where(keep, v, np.inf), g, groups)
    for _ in range(2):
        current = model.variance(v, g * groups.spread(best))
        best, _ = _best(i, np.where(keep, current, np.inf), g, groups)
    return model.variance(v, g * groups.spread(best))


def _trim(i: Float, v: Float, g: Float, groups: Groups, model: ErrorModel) -> Bool:
    """Rows that stay when the worst of a group goes while it is beyond 4 sigma of the others."""
    everybody = np.ones(len(i), np.bool_)
    for _ in range(2):
        variance = _variance(i, v, g, groups, model, everybody)
        out, _ = separate(i, variance, g, groups, (_CUT, 0.9 * _CUT), np.zeros(len(i), np.bool_))
        everybody = ~out
    return everybody


def _residuals(i: Float, v: Float, g: Float, groups: Groups, model: ErrorModel, keep: Bool) -> _Residuals:
    """Residuals of the rows that are kept, against I_h weighted with the model."""
    part = groups.subset(keep)
    i, v, g = i[keep], v[keep], g[keep]
    variance = _variance(i, v, g, part, model, np.ones(len(i), np.bool_))
    best, total = _best(i, variance, g, part)
    mu = g * part.spread(best)
    freedom = 1.0 - g * g / (variance * part.spread(total))
    use = freedom > 1e-6  # a member that makes up its group has no residual
    square = (i - mu)[use] ** 2 / freedom[use]
    return _Residuals(square, freedom[use], v[use], mu[use] ** 2, int(np.count_nonzero(~keep)))


def _nothing() -> _Residuals:
    empty = np.zeros(0)
    return _Residuals(empty, empty, empty, empty, 0)


def _refine(
    i: Float,
    v: Float,
    g: Float,
    groups: Groups,
    begin: ErrorModel,
    free: tuple[bool, bool],
    n_bins: int,
    reason: str,
) -> FitResult:
    """Scoring steps for fixed I_h inside, new I_h and new trimming outside, until a and b stand still."""
    model = begin
    if free[0]:
        first = _residuals(i, v, g, groups, model, np.ones(len(i), np.bool_))
        if len(first.square):
            z2 = first.square / (model.a**2 * (first.expected + model.b**2 * first.mu2))
            model = replace(model, a=model.a * math.sqrt(max(float(np.median(z2)), 1e-12) / _MEDIAN_SQUARE))
    trimmed_with: ErrorModel | None = None
    converged = False
    rounds = 0
    for rounds in range(1, _ROUNDS + 1):
        if trimmed_with is None or _distance(model, trimmed_with) > 0.02:
            keep, trimmed_with = _trim(i, v, g, groups, model), model
        data = _residuals(i, v, g, groups, model, keep)
        before = model
        for _ in range(_STEPS):
            model, bad = _step(data, model, free)
            if bad:
                break
        if bad:
            break
        if _distance(model, before) < _TOLERANCE:
            if trimmed_with is before or _distance(model, trimmed_with) < 0.1 * _TOLERANCE or rounds > 15:
                converged = True
                break
            trimmed_with = None
    if bad or not LOWEST_A <= model.a < math.inf:
        return _fall_back(i, v, g, groups, begin, free, n_bins, bad or f"a = {model.a:.3g}")
    if not converged and not reason:
        reason = f"still changing after {_ROUNDS} rounds"
    result = _result(model, data, free, rounds, converged, n_bins, reason)
    if free == (True, True) and not result.esd_a < _LOOSEST * model.a:
        return _fall_back(i, v, g, groups, begin, free, n_bins, f"a = {model.a:.3g} +- {result.esd_a:.2g}")
    return result


def _fall_back(
    i: Float,
    v: Float,
    g: Float,
    groups: Groups,
    begin: ErrorModel,
    free: tuple[bool, bool],
    n_bins: int,
    why: str,
) -> FitResult:
    """One parameter where two cannot be told apart; the start where one cannot be found."""
    if free == (True, True):
        if why.startswith("a ="):
            simpler, rest = (False, True), "a = 1 kept, only b refined"
            begin = replace(begin, a=DEFAULT_A)
        else:
            simpler, rest = (True, False), f"b = {begin.b:.3g} kept, only a refined"
        return _refine(i, v, g, groups, begin, simpler, n_bins, f"two-parameter fit failed ({why}): {rest}")
    data = _residuals(i, v, g, groups, begin, _trim(i, v, g, groups, begin))
    return _result(begin, data, (False, False), 0, False, n_bins, f"fit failed ({why}): kept as it was")


def _distance(one: ErrorModel, other: ErrorModel) -> float:
    """Relative change of the variance where either term dominates; b below 0.001 is as good as 0."""
    slope, old = max(one.a * one.b, 1e-3), max(other.a * other.b, 1e-3)
    return abs(math.log(one.a / other.a)) + abs(math.log(slope / old))


def _step(data: _Residuals, model: ErrorModel, free: tuple[bool, bool]) -> tuple[ErrorModel, str]:
    """One scoring step; the second value says why none is possible."""
    current = model.a**2 * (data.expected + model.b**2 * data.mu2)
    core = data.square <= _CUT**2 * current
    weight = np.where(core, data.freedom / current**2, 0.0)
    y = data.square / _KEPT_VARIANCE
    if free == (True, True):
        wx, wm = weight * data.expected, weight * data.mu2
        xx, xm, mm = (float(np.dot(p, q)) for p, q in ((wx, data.expected), (wx, data.mu2), (wm, data.mu2)))
        xy, my = float(np.dot(wx, y)), float(np.dot(wm, y))
        determinant = xx * mm - xm * xm
        if not determinant > _COLLINEAR * xx * mm:
            return model, "all intensities are alike"
        big_a, big_b = (xy * mm - my * xm) / determinant, (my * xx - xy * xm) / determinant
        if big_b < 0:
            big_a, big_b = xy / xx, 0.0
        elif big_a <= 0:
            big_a, big_b = 0.1 * model.a**2, my / mm
    elif free[0]:
        x = data.expected + model.b**2 * data.mu2
        big_a = float(np.dot(weight * x, y)) / max(float(np.dot(weight * x, x)), 1e-300)
        big_b = big_a * model.b**2
    else:
        big_a = model.a**2
        rest = float(np.dot(weight * data.mu2, y - big_a * data.expected))
        big_b = max(rest, 0.0) / max(float(np.dot(weight * data.mu2, data.mu2)), 1e-300)
    if not (math.isfinite(big_a) and math.isfinite(big_b)) or big_a < 1e-12:
        return model, "the residuals are zero or not finite"
    # a step of more than a factor of 10 in a variance means that the trimming has to follow first
    big_a = min(max(big_a, 0.1 * model.a**2), 10.0 * model.a**2)
    return ErrorModel(math.sqrt(big_a), math.sqrt(big_b / big_a) if free[1] else model.b), ""


def _result(
    model: ErrorModel,
    data: _Residuals,
    free: tuple[bool, bool],
    rounds: int,
    converged: bool,
    n_bins: int,
    reason: str,
) -> FitResult:
    variance = model.a**2 * (data.expected + model.b**2 * data.mu2)
    core = data.square <= _CUT**2 * variance
    esd_a, esd_b = _uncertainties(data, model, variance, core, free)
    return FitResult(
        model,
        int(np.count_nonzero(core)),
        data.trimmed + int(np.count_nonzero(~core)),
        rounds,
        converged,
        esd_a,
        esd_b,
        _ranges(data, variance, core, n_bins),
        reason,
    )


def _uncertainties(
    data: _Residuals, model: ErrorModel, variance: Float, core: Bool, free: tuple[bool, bool]
) -> tuple[float, float]:
    """From the Fisher information 1/2 sum (1 - h) (dlnV'/dp)(dlnV'/dq), p, q = ln a and b."""
    if not any(free) or not core.any():
        return math.nan, math.nan
    freedom = data.freedom[core]
    by_a = np.full(len(freedom), 2.0)
    by_b = 2.0 * model.a**2 * model.b * data.mu2[core] / variance[core]
    aa, ab, bb = (0.5 * float(np.dot(freedom * p, q)) for p, q in ((by_a, by_a), (by_a, by_b), (by_b, by_b)))
    if free == (True, True):
        det = aa * bb - ab * ab
        if det <= 0:
            return model.a / math.sqrt(aa), math.nan
        return model.a * math.sqrt(bb / det), math.sqrt(aa / det)
    if free[0]:
        return model.a / math.sqrt(aa), math.nan
    return math.nan, 1.0 / math.sqrt(bb) if bb > 0 else math.nan


def _ranges(data: _Residuals, variance: Float, core: Bool, n_bins: int) -> tuple[IntensityRange, ...]:
    """Mean z^2 in ranges of expected intensity, equal in its logarithm, strongest first; thin ranges are joined.

    Both means are over the same rows, those within 4 sigma of the fitted model, weighted with 1 - h.
    """
    if not core.any():
        return ()
    mu = np.sqrt(data.mu2[core])
    freedom, square = data.freedom[core], data.square[core]
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
    plain = np.bincount(bins, weights=freedom * square / data.expected[core], minlength=m) / weight
    model = np.bincount(bins, weights=freedom * square / variance[core], minlength=m) / weight
    members = np.bincount(bins, minlength=m)
    upper = [float(edges[int(np.flatnonzero(label == k)[0])]) for k in range(m)]
    lower = [*upper[1:], 0.0]
    return tuple(
        IntensityRange(lower[k], upper[k], int(members[k]), float(plain[k]), float(model[k])) for k in range(m)
    )


def assign(grouping: str, n_sets: int, sweeps: Sequence[Sequence[int]] = ()) -> Int:
    """Number of the error model of each data set, (n_sets,).

    ``grouping``: combined (one for all), individual (one each), grouped: each entry of ``sweeps`` lists data sets by
    their number, counted from 1, or from 0 if a 0 occurs anywhere; those not named share one more model; without any
    entry as combined (DIALS behaviour).
    Raises CommandError for a number that no data set has or that is named twice.
    """
    if grouping == "individual":
        return np.arange(n_sets)
    if grouping != "grouped" or not sweeps:
        return np.zeros(n_sets, np.int64)
    first = 0 if any(k == 0 for one in sweeps for k in one) else 1
    result = np.full(n_sets, -1, np.int64)
    for number, one in enumerate(sweeps):
        for k in one:
            if not 0 <= k - first < n_sets:
                raise CommandError(
                    f"error_model_group: no data set {k}; they are numbered {first} to {n_sets - 1 + first}"
                )
            if result[k - first] >= 0 and result[k - first] != number:
                raise CommandError(f"error_model_group: data set {k} is named in two groups; leave it in one of them")
            result[k - first] = number
    result[result < 0] = len(sweeps)
    _, compact = np.unique(result, return_inverse=True)
    return compact.astype(np.int64)


def variances(
    models: Sequence[ErrorModel], of_data_set: Int, data_set: Int | Int32, expected: Float, mu: Float
) -> Float:
    """V' of each row with the model of its data set.

    ``models[of_data_set[data_set]]`` is the model of a row.  ``of_data_set``: (n_sets,), ``data_set``: (n,).
    ``expected``: V, counts^2, ``mu``: g I_h, counts, (n,).  Returns counts^2, (n,).
    """
    number = of_data_set[data_set]
    a2 = np.array([m.a**2 for m in models])[number]
    b2 = np.array([m.b**2 for m in models])[number]
    return np.asarray(a2 * (expected + b2 * mu * mu))
