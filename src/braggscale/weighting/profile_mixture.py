"""The mixture of profile-fitted and summed intensity with the least expected error, for each observation.

With profiles on the scale of the sums (``profile_scale``), P' = P/R, the mixture u P' + (1 - u) S has the least
variance for

    u = (V_S - C)/D,     D = V_S + V_P - 2 C,

where C is the covariance of the two. D is estimated from the differences themselves (``profile_ratio.Difference``): it
consists of E = V_S - V_P, by which the variance of a profile fit is smaller, and of terms beyond counting statistics.
The error of an efficient estimate is not correlated with its difference from another one, so C = V_P and V_S - C = E.
The terms beyond counting statistics are attributed to the profile, whose model has errors that grow with the intensity,
unless equivalents show that the sums scatter too much. So weak reflections are taken mostly from the profile, because a
sum contains the noise of the background, and strong ones mostly from the sum.

All variances are calculated at the expected intensity, so that the share does not depend on the error of the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.observations import Observations
from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.weighting.counting_gain import counting_gain
from braggscale.weighting.intensity_choice import PROFILE, SUMMATION, Intensities, combined
from braggscale.weighting.profile_fit import Pairs
from braggscale.weighting.profile_ratio import Ratio, Sites
from braggscale.weighting.profile_scale import FEWEST, ProfileScale, Sample, fit

SETTLED = 5e-4  # rms change of ln R that is negligible: 0.005 sigma of the part taken from profiles
ENOUGH = 2_000  # rows for the decision whether the ratio has changed
SHELLS = 10  # resolution shells in which the ratio is reported


@dataclass(frozen=True, slots=True)
class Gains:
    """Variance per unit of intensity of profiles and sums, counts, 0 where it is not known, (n_sets,)."""

    profile: Float
    summed: Float

    @classmethod
    def of(cls, rows: Observations, n_sets: int) -> Gains:
        """From the variances of the integration program."""
        both = (counting_gain(combined(rows, which), rows.data_set, n_sets, rows.d).k for which in (PROFILE, SUMMATION))
        return cls(*both)


@dataclass(frozen=True, slots=True)
class Profiles:
    """Profiles on the scale of the sums.  ``ratio``: R of each row, (n,).  ``share``: u, (n,), after its use."""

    scale: ProfileScale
    gains: Gains
    ratio: Float
    share: Float

    @classmethod
    def of(cls, rows: Observations, others: tuple[Float, Float], n_sets: int) -> Profiles | None:
        """From expected intensities; None where too few rows have both intensities.

        ``others``: expected intensity of each row from its equivalents alone, counts, and its variance, (n,) each.
        """
        both = _both(rows)
        if np.count_nonzero(both) < FEWEST:
            return None
        gains = Gains.of(rows, n_sets)
        sample = Sample.of(rows.data_set, both & np.isfinite(others[0]), n_sets)
        scale = fit(_pairs(rows, gains, *others, sample.rows), sample)
        return cls(scale, gains, np.exp(scale.log_ratio(Sites.of(rows))), np.zeros(0)) if scale.ratios else None

    def again(self, rows: Observations, others: tuple[Float, Float], keep: Bool) -> Profiles:
        """A new fit with better expected intensities, from the rows in ``keep``, (n,); a ratio that hardly changes
        is kept.

        ``others``: as in ``of``, (n,) each.
        """
        sample = Sample.of(rows.data_set, keep & _both(rows) & np.isfinite(others[0]), len(self.gains.summed))
        pairs = _pairs(rows, self.gains, *others, sample.rows)
        scale = fit(pairs, sample, self.scale)
        if not scale.ratios:
            return self
        some = pairs.rows.take(slice(None, None, max(1, len(pairs) // ENOUGH)))
        change = scale.log_ratio(some) - self.scale.log_ratio(some)
        same = [r.alone for r in scale.ratios] == [r.alone for r in self.scale.ratios]
        if same and float(np.sqrt(np.mean(change**2))) < SETTLED:
            return self
        return replace(self, scale=scale, ratio=np.exp(scale.log_ratio(Sites.of(rows))))

    def intensities(self, rows: Observations, expected: Float) -> tuple[Profiles, Intensities]:
        """The mixture with the least expected error, and the same with ``share``.  ``expected``: T, counts, (n,)."""
        pairs, ratio = _pairs(rows, self.gains, expected, None, None), self.ratio
        family = self.scale.family(len(self.gains.summed))[rows.data_set]
        counting, linear, square, power, fixed = _columns(self.scale.ratios)[:, family]
        saved = pairs.saved(ratio, power)
        own = (linear * pairs.factor + square * pairs.expected) * pairs.expected  # error of the profile's model
        own += np.maximum(counting - 1.0, 0.0) * saved
        less = 0.5 * np.maximum(1.0 - counting, 0.0) * saved  # C - V_P
        u = np.minimum((saved - less) / (saved - 2.0 * less + own), 1.0)
        u = np.where(np.isfinite(fixed), fixed, u)
        u = np.where(rows.has_prf, np.where(rows.has_sum, u, 1.0), 0.0)

        # not simply u * x + (1 - u) * y, because an intensity that was not measured may be NaN
        def mix(profile: Float, of_profile: Float, summed: Float, of_sum: Float) -> Float:
            """Sum of both terms, without a term whose share is 0."""
            return np.where(u == 1.0, profile, np.where(u == 0.0, summed, of_profile * profile + of_sum * summed))

        value = mix(rows.i_prf / ratio, u, rows.i_sum, 1.0 - u)
        inside = (u > 0.0) & rows.has_sum & ~np.isfinite(fixed)
        extra = np.where(inside, u * u * own + 2.0 * u * (1.0 - u) * less, 0.0)
        r_profile = np.where(rows.has_prf, power**2 * pairs.relative, 0.0)
        v_profile = rows.v_prf / ratio**2 + r_profile * (rows.i_prf / ratio) ** 2
        variance = mix(v_profile, u * (2.0 - u), rows.v_sum, (1.0 - u) ** 2) + extra
        recorded = mix(ratio, u, rows.partiality, 1.0 - u)
        mixed = Intensities(value, variance, rows.correction / np.where(recorded > 0, recorded, 1.0))
        if rows.relative is not None:
            parts = mix(
                r_profile * (rows.i_prf / ratio) ** 2, u * (2.0 - u), rows.relative * rows.i_sum**2, (1.0 - u) ** 2
            )
            mixed = replace(mixed, relative=np.divide(parts, value**2, out=np.zeros(len(u)), where=value != 0))
        return replace(self, share=u), mixed

    def scaled(self, rows: Observations) -> Observations:
        """The observations with profile intensities on the scale of the sums."""
        return replace(rows, i_prf=rows.i_prf / self.ratio, v_prf=rows.v_prf / self.ratio**2)


def _columns(ratios: Sequence[Ratio]) -> Float:
    """Coefficients of D, alpha, and u if it is constant (else NaN), (5, n_families + 1); last: sums only."""
    fixed = {"": np.nan, "sums": 0.0, "profiles": 1.0}
    rows = [(d.counting, d.linear, d.square, r.power, fixed[r.alone]) for r in ratios for d in (r.difference,)]
    return np.array([*rows, (1.0, 0.0, 1.0, 0.0, 0.0)]).T


def _both(rows: Observations) -> Bool:
    found: Bool = rows.has_sum & rows.has_prf & (rows.v_sum > 0) & (rows.v_prf > 0) & (rows.partiality > 0)
    return found


def _pairs(rows: Observations, gains: Gains, expected: Float, uncertainty: Float | None, chosen: Int | None) -> Pairs:
    """Both intensities of the rows with the numbers ``chosen``, (k,), or of all.

    ``expected``, ``uncertainty``: of all rows, (n,); the latter is 0 where it is None.
    """

    def of(column: Array) -> Array:
        """A column of the chosen rows."""
        return column if chosen is None else column[chosen]

    sites = Sites.of(rows)
    places = sites if chosen is None else sites.take(chosen)
    n = len(places)
    return Pairs(
        places, of(rows.i_prf), of(rows.v_prf), gains.profile[places.data_set], of(rows.i_sum), of(rows.v_sum),
        gains.summed[places.data_set] / np.where(places.partiality > 0, places.partiality, 1.0), of(rows.correction),
        np.zeros(n) if rows.relative is None else of(rows.relative), np.maximum(of(expected), 0.0),
        np.zeros(n) if uncertainty is None else of(uncertainty),
    )  # fmt: skip
