"""Which measured intensity is used, profile-fitted, summed or a mixture, and the counting gain of its variances.

Raw counts of a row: S = I_sum/c (divided by the partiality), P = I_prf/c, c = lp/qe. The mixture with midpoint m,

    I = u P + (1 - u) S,   V = u V_P + (1 - u) V_S,   u = 1/(1 + (max(S, 0)/m)^3),

takes profiles for weak and sums for strong reflections (DIALS behaviour; the form is AIMLESS', Evans & Murshudov,
Acta Cryst. D69 (2013) 1204). m = 0 stands for profile, m = 1 for summation.

The choice is made by the agreement of equivalents, for all candidates with the same rows and the same weights. If
rows were selected by a candidate's own I/sigma, or weighted by its own errors, selections would be compared and not
intensities. R_meas is shown because users know it, but strong reflections, for which P and S agree, dominate it, so
that candidates differ in the fourth digit only. The score is the scatter within groups, relative to the expected
one and averaged (geometrically) over ranges of intensity, so that 1 % less scatter has the same effect in every
range.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import numpy as np

from braggscale.data.observations import Observations
from braggscale.data.unique_reflections import Groups, in_blocks, weighted_mean
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import agreement
from braggscale.numerics.partitions import run_in_threads
from braggscale.run_warnings import Code, warn
from braggscale.statistics.half_sets import cc_of_variances

log = logging.getLogger(__name__)

CHOICES = ("profile", "sum", "combine")
PROFILE, SUMMATION = 0.0, 1.0  # the values of i_mid that are not midpoints
BEST = -1.0  # the mixture with the least expected error, row by row (profile_mixture.py)
WORTH_CHANGING = 0.005  # a new choice must lower the score by this share

_MINIMUM_ROWS = 100  # with fewer rows scores have errors of several per cent
_MOST_ROWS = 400_000  # if there are more rows, every k-th group is compared; the error of scores is then 0.1 %
_RANGES = 10
_SAME_MIDPOINT = 0.01
_ROUNDING = 1e-12  # least share of the counting part in a variance (variance.variance_at)


@dataclass(frozen=True, slots=True)
class Intensities:
    """``intensity``: c I_raw, counts, ``variance``: counts^2, ``raw_factor``: I/I_raw, all (n,).

    ``relative``: r; the part r I^2 of the variance comes from the partiality, (n,); empty if there is none.
    """

    intensity: Float
    variance: Float
    raw_factor: Float
    relative: Float = field(default_factory=lambda: np.zeros(0))

    def counting(self) -> Float:
        """The variance without the part of the partiality, counts^2, (n,)."""
        if not len(self.relative):
            return self.variance
        return np.maximum(self.variance - self.relative * self.intensity**2, _ROUNDING * self.variance)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row of the table: CC1/2 and R_meas for the user, ``score`` for the decision.

    The score of the present choice is 1; a lower one is better.
    """

    name: str
    i_mid: float
    cc_half: float
    r_meas: float
    score: float


@dataclass(frozen=True, slots=True)
class Choice:
    """``i_mid``: 0 profile, 1 summation, -1 by expected error, else the midpoint in raw counts.

    ``n_rows``: rows that were compared.
    """

    i_mid: float
    table: tuple[Candidate, ...]
    n_rows: int
    reason: str

    @property
    def name(self) -> str:
        """Name of the choice in the log."""
        return _name(self.i_mid)

    @property
    def sentence(self) -> str:
        """The choice in words: which intensities are profile-fitted and which are summed."""
        if self.i_mid in (PROFILE, SUMMATION, BEST):
            return {PROFILE: "all profile-fitted", SUMMATION: "all summed"}.get(self.i_mid, self.name)
        counts = float(f"{self.i_mid:.4g}")
        return f"profile-fitted below about {counts:,.{0 if counts >= 1000 else 1}f} counts, summed above"


def initial(obs: Observations, choice: str) -> Intensities:
    """Intensities before scales are known.

    ``choice``: for ``profile`` or ``combine`` the profile intensity if there is one, else the sum; for ``sum`` the
    other way round. Raises ValueError for another word. The log warns if no row has the chosen kind.
    """
    if choice not in CHOICES:
        raise ValueError(f"unknown intensity_choice {choice!r}; one of {', '.join(CHOICES)}")
    if choice == "profile" and len(obs) and not obs.has_prf.any():
        warn(
            log,
            Code.INTENSITIES_MISSING,
            "no reflection has a profile-fitted intensity: summation intensities are used",
        )
    if choice == "sum" and len(obs) and not obs.has_sum.any():
        warn(
            log,
            Code.INTENSITIES_MISSING,
            "no reflection has a summation intensity: profile-fitted intensities are used",
        )
    return combined(obs, SUMMATION if choice == "sum" else PROFILE)


def combined(obs: Observations, i_mid: float | Float) -> Intensities:
    """Intensities for the midpoint ``i_mid``, a number or (n,), raw counts; 0 profile, 1 summation.

    A row with only one of the two intensities uses that one.
    """
    return _with_share(obs, _profile_share(obs, i_mid))


def _profile_share(obs: Observations, i_mid: float | Float) -> Float:
    """u of each row, (n,)."""
    m = np.broadcast_to(np.asarray(i_mid, np.float64), len(obs))
    raw = np.maximum(obs.i_sum / obs.correction, 0.0)
    u = np.where(m == SUMMATION, 0.0, 1.0)
    mixed = (m != PROFILE) & (m != SUMMATION)
    ratio = np.divide(raw, m, out=np.zeros(len(obs)), where=mixed)
    u[mixed] = 1.0 / (1.0 + np.minimum(ratio[mixed], 1e100) ** 3)
    u[~obs.has_prf] = 0.0
    u[~obs.has_sum] = 1.0
    return u


def _mixture(profile: Float, summed: Float, raw: Float, i_mid: float) -> Float:
    """u P + (1 - u) S."""
    if i_mid in (PROFILE, SUMMATION):
        return summed if i_mid == SUMMATION else profile
    u = 1.0 / (1.0 + np.minimum(raw / i_mid, 1e100) ** 3)
    return u * profile + (1.0 - u) * summed


def _with_share(obs: Observations, u: Float) -> Intensities:
    # not simply u * x + (1 - u) * y, because an intensity that was not measured may be NaN
    def mix(prf: Float, summed: Float) -> Float:
        """u ``prf`` + (1 - u) ``summed``, without a term whose share is 0."""
        return np.where(u == 1.0, prf, np.where(u == 0.0, summed, u * prf + (1.0 - u) * summed))

    # a profile fit estimates the whole reflection, a sum has only the recorded part
    recorded = mix(np.ones(len(u)), obs.partiality)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(recorded > 0, obs.correction / recorded, obs.correction)
    intensities = Intensities(mix(obs.i_prf, obs.i_sum), mix(obs.v_prf, obs.v_sum), factor)
    if obs.relative is None:
        return intensities
    # the variance of a mixture contains (1 - u) V_S, and with it (1 - u) r S^2
    r = (1.0 - u) * obs.relative
    mixed = (u > 0.0) & (u < 1.0)
    square = intensities.intensity[mixed] ** 2
    r[mixed] *= np.divide(obs.i_sum[mixed] ** 2, square, out=np.zeros(len(square)), where=square > 0)
    return replace(intensities, relative=r)


def candidates(obs: Observations, rows: Bool) -> list[float]:
    """Midpoints to try: profile, summation, A, M, M/10, ... down to the first value not above A.

    A = mean of S, at least the median sigma of S (DIALS: at least 10 counts), M = a tenth of the largest S.
    ``rows``: rows with both intensities, (n,).  Returns raw counts (0 and 1: see Choice.i_mid).
    """
    result = [PROFILE, SUMMATION]
    if not rows.any():
        return result
    raw = obs.i_sum[rows] / obs.correction[rows]
    sigma = np.sqrt(obs.v_sum[rows]) / obs.correction[rows]
    average = max(float(raw.mean()), float(np.median(sigma)))
    value = float(raw.max()) / 10.0
    result.append(average)
    if value > 0:
        result.append(value)
        while value > average:
            value /= 10.0
            result.append(value)
    return [m for k, m in enumerate(result) if m not in result[:k]]


def choose(
    obs: Observations,
    groups: Groups,
    scale: Float,
    weight: Float,
    outlier: Bool | None = None,
    previous: float | None = None,
    midpoints: list[float] | None = None,
) -> Choice:
    """The choice among profile, summation and mixtures with which equivalents agree best.

    ``obs``: rows sorted into ``groups``, Friedel mates apart.  ``scale``: g, ``weight``: 1/V' of the current error
    model and intensities, 1/counts^2, (n,): the same for all candidates.  ``outlier``: rows to leave out, (n,).
    ``previous``: the choice in use; it stays unless another lowers the score by 0.5 %.
    ``midpoints``: raw counts, None for ``candidates``.
    Rows with both intensities, positive variances, g > 0 and partiality > 0 are compared. R_meas, CC1/2 (sigma-tau
    form, Assmann, Brehm & Diederichs, J. Appl. Cryst. 49 (2016) 1021) over those with expected I/sigma above 1, again
    the same for all.
    """
    both = _comparable(obs, groups, scale, outlier)
    n = int(np.count_nonzero(both))
    if n < _MINIMUM_ROWS:
        return _without_comparison(obs, n, previous)
    tried = candidates(obs, both) if midpoints is None else list(midpoints)
    rows = _Rows.of(obs, groups, scale, weight, both)
    n = len(rows.raw)
    if previous is not None:
        # scores change a little with the outliers, so the choice in use is kept unless another one is clearly better
        tried = [previous, *(m for m in tried if abs(m - previous) > _SAME_MIDPOINT * max(m, previous))]
    compare = _Comparison.start(rows, previous if previous is not None else tried[0])
    table = run_in_threads(lambda k: compare.candidate(tried[k]), len(tried))
    best = min(table, key=lambda row: row.score)
    if previous is not None:
        now = next(row for row in table if row.i_mid == previous)
        if best is not now and not best.score < (1.0 - WORTH_CHANGING) * now.score:
            gain = 100.0 * (1.0 - best.score / now.score)
            return Choice(previous, tuple(table), n, f"as before; no other agrees better by more than {gain:.2f} %")
    return Choice(best.i_mid, tuple(table), n, "least scatter of equivalents")


def comparison(obs: Observations, groups: Groups, scale: Float, weight: Float, outlier: Bool, mixture: Float) -> Choice:
    """Agreement of equivalents with profile, summation and the mixture by expected error, for the log.

    ``scale``: g, ``weight``: 1/V', 1/counts^2, ``outlier``: rows to leave out, ``mixture``: its intensities, counts,
    all (n,).  The other arguments: as in ``choose``.
    """
    both = _comparable(obs, groups, scale, outlier)
    n, reason = int(np.count_nonzero(both)), "profile-fitted and summed, the less uncertain counts more"
    if n < _MINIMUM_ROWS:
        return Choice(BEST, (), n, reason)
    rows = _Rows.of(obs, groups, scale, weight, both)
    mixed = _Rows.of(replace(obs, i_sum=mixture), groups, scale, weight, both)
    compare = _Comparison.start(mixed, SUMMATION)
    candidate = replace(compare.candidate(SUMMATION), name=_name(BEST), i_mid=BEST)
    others = replace(compare, rows=rows)
    return Choice(BEST, (others.candidate(PROFILE), others.candidate(SUMMATION), candidate), len(rows.raw), reason)


def _comparable(obs: Observations, groups: Groups, scale: Float, outlier: Bool | None) -> Bool:
    """Rows with both intensities in groups of two or more of these, (n,)."""
    both = obs.has_sum & obs.has_prf & (obs.v_sum > 0) & (obs.v_prf > 0) & (scale > 0) & (obs.partiality > 0)
    if outlier is not None:
        both &= ~outlier
    part = groups.subset(both)
    both[np.flatnonzero(both)[part.spread(part.sizes() < 2)]] = False
    return both


def _without_comparison(obs: Observations, n: int, previous: float | None) -> Choice:
    if not obs.has_prf.any():
        return Choice(SUMMATION, (), n, "there are no profile-fitted intensities")
    if not obs.has_sum.any():
        return Choice(PROFILE, (), n, "there are no summation intensities")
    kept = PROFILE if previous is None else previous
    return Choice(kept, (), n, f"{n} equivalent observations with both intensities are too few to compare")


def _name(i_mid: float) -> str:
    if i_mid == PROFILE:
        return "profile"
    if i_mid == BEST:
        return "mixture by expected error"
    return "summation" if i_mid == SUMMATION else f"mixture, {i_mid:.4g}"


@dataclass(frozen=True, slots=True)
class _Rows:
    """Data that all candidates have in common: sum and profile, S, g, w, (n,), of rows in groups of two or more."""

    summed: Float
    profile: Float
    raw: Float
    scale: Float
    weight: Float
    groups: Groups

    @classmethod
    def of(cls, obs: Observations, groups: Groups, scale: Float, weight: Float, both: Bool) -> _Rows:
        """The rows in ``both``; if they are more than 400,000, those of every k-th group."""
        n = int(np.count_nonzero(both))
        if n > _MOST_ROWS:
            part, both = groups.subset(both), both.copy()
            both[np.flatnonzero(both)[part.spread(np.arange(len(part)) % -(-n // _MOST_ROWS) != 0)]] = False
        raw = np.maximum(obs.i_sum[both] / obs.correction[both], 0.0)
        return cls(obs.i_sum[both], obs.i_prf[both], raw, scale[both], weight[both], groups.subset(both))

    def compare(self, i_mid: float, best: Float, strong: Bool) -> tuple[Float, Float, Float, Float]:
        """Residuals, plain means and their variances, and sums; see ``agreement.compare``."""
        residual, plain, scatter = np.empty(len(self.raw)), np.zeros(len(best)), np.zeros(len(best))

        def block(first: int, last: int) -> Float:
            """Sums over the groups from ``first`` to ``last``."""
            sums = np.zeros(4)
            agreement.compare(
                first, last, self.groups.offsets, self.summed, self.profile, self.raw, i_mid,
                self.weight, self.scale, best, strong, residual, plain, scatter, sums,
            )  # fmt: skip
            return sums

        return residual, plain, scatter, np.asarray(sum(in_blocks(self.groups, block), np.zeros(4)))


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Rows sorted by expected I/sigma into ranges, and the reference's figures.

    ``best``: I_h of the reference, (n_groups,).  ``order``: rows by range; ``edges``: beginning of each range in
    this order.  ``bound``: limit of w r^2/(1 - h), ``unit``: its mean for the reference, both by range.
    ``share``: w/(1 - h), ``freedom``: 1 - h, (n,), in that order; ``total``: sum of the latter by range.
    ``strong``: groups for R_meas and CC1/2.
    """

    rows: _Rows
    best: Float
    order: Int
    edges: Int
    bound: Float
    unit: Float
    share: Float
    freedom: Float
    total: Float
    strong: Bool

    @classmethod
    def start(cls, rows: _Rows, i_mid: float) -> _Comparison:
        groups, g, w = rows.groups, rows.scale, rows.weight
        intensity = _mixture(rows.profile, rows.summed, rows.raw, i_mid)
        best, total = weighted_mean(groups, w, g, intensity)
        residual = intensity - g * groups.spread(best)
        strength = best * np.sqrt(total / groups.sizes())  # I/sigma of one observation of the group
        by_strength = np.argsort(strength, kind="stable")
        sizes = groups.sizes()[by_strength]
        start = np.cumsum(sizes) - sizes
        order = np.arange(len(g)) + np.repeat(groups.offsets[:-1][by_strength] - start, sizes)
        n_ranges = max(1, min(_RANGES, len(order) // 50))
        edges = -(-np.arange(n_ranges) * len(order) // n_ranges)
        freedom = (1.0 - w * g * g / groups.spread(total))[order]
        usable = np.maximum(freedom, 1e-6)
        share = w[order] / usable
        z2 = np.split(share * residual[order] ** 2, edges[1:])
        bound = 16.0 * np.maximum(np.array([np.median(part) for part in z2]) / 0.455, 1e-12)
        below = np.add.reduceat(freedom, edges)
        unit = np.ones(n_ranges)
        result = cls(rows, best, order, edges, bound, unit, share, freedom, below, strength > 1.0)
        return replace(result, unit=np.maximum(result._scatter(residual), 1e-300))

    def _scatter(self, residual: Float) -> Float:
        """Mean w r^2/(1 - h) in each range of intensity, bounded."""
        z2 = residual[self.order]
        z2 *= z2
        z2 *= self.share
        np.minimum(z2, np.repeat(self.bound, np.diff(self.edges, append=len(z2))), out=z2)
        z2 *= self.freedom
        return np.add.reduceat(z2, self.edges) / self.total

    def candidate(self, i_mid: float) -> Candidate:
        """Score: scatter relative to the reference, geometric mean over the ranges; 1 for the reference itself.

        CC1/2 and R_meas over the groups with expected I/sigma above 1; NaN where there are none.
        """
        residual, plain, scatter, sums = self.rows.compare(i_mid, self.best, self.strong)
        # residuals are brought to one scale: intensities that are all 2 % smaller scatter 2 % less but are not better
        residual *= sums[1] / sums[0] if sums[0] != 0 else 1.0
        ratio = np.maximum(self._scatter(residual) / self.unit, 1e-300)
        score = float(np.exp(0.5 * np.dot(self.total, np.log(ratio)) / self.total.sum()))
        if np.count_nonzero(self.strong) < 2:
            return Candidate(_name(i_mid), i_mid, np.nan, np.nan, score)
        r_meas = float(sums[2] / sums[3]) if sums[3] != 0 else np.nan
        between, within = np.var(plain[self.strong], ddof=1), np.mean(scatter[self.strong])
        return Candidate(
            _name(i_mid), i_mid, float(cc_of_variances(np.asarray(between), np.asarray(within))), r_meas, score
        )
