"""The observations to which an error model is fitted, and their residuals from the means of their groups."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from braggscale.data.unique_reflections import BLOCK, Groups, in_blocks, weighted_mean
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import agreement
from braggscale.numerics.partitions import run_in_threads
from braggscale.weighting.error_model import ErrorModel
from braggscale.weighting.expected_variance import Expectation, VarianceModel
from braggscale.weighting.leave_one_out import judge

CUT = 4.0  # residuals count in full up to this number of standard deviations: z^2 <= 16


@dataclass(frozen=True, slots=True)
class Residuals:
    """r^2/f, f, V and mu of each row, (n,); members of a group share I_h.

    ``square``: r^2/f, counts^2.  ``freedom``: f = (1 - h)(1 - s), 0 where a row does not take part.  ``expected``: V,
    counts^2.  ``mu``: g I_h, counts.  ``trimmed``: number of rows that were left out as outliers.
    """

    square: Float
    freedom: Float
    expected: Float
    mu: Float
    trimmed: int

    def take(self, rows: Int) -> Residuals:
        """Only the rows with the numbers ``rows``, (k,)."""
        return Residuals(self.square[rows], self.freedom[rows], self.expected[rows], self.mu[rows], self.trimmed)

    def variance(self, model: ErrorModel) -> Float:
        """V' of each row, counts^2, (n,)."""
        return model.variance(self.expected, self.mu)


@dataclass(frozen=True, slots=True)
class ResidualData:
    """The observations to which an error model is fitted, without outliers.

    ``intensity``: I, counts, ``expected``: V at the expected intensity, counts^2, positive, ``scale``: g, positive,
    (n,).  ``groups``: of these rows, with Friedel mates apart, because otherwise b would absorb the anomalous signal.
    ``scale_variance``: var(g)/g^2, (n,), to correct for the fit of the scales to these residuals; empty for no
    correction.
    ``photon``: size of one photon in the units of I, (n,): k c with the gain k of ``intensity_choice.counting_gain``
    and c = I/I_raw; empty if it is not known. Then the number of photons is (g I_h)^2/V, which is the same if there are
    only counting errors. Neither depends on the units of I.
    """

    intensity: Float
    expected: Float
    scale: Float
    groups: Groups
    scale_variance: Float = field(default_factory=lambda: np.zeros(0))
    photon: Float = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, observations: Expectation, rows: Int, scale_variance: Float | None = None) -> ResidualData:
        """The rows with the numbers ``rows``, (n,), ascending.

        ``scale_variance``: var(g) of all rows, (n_all,), or None.
        """
        given, scale = observations.variance_model, observations.scale
        keep = np.zeros(len(scale), np.bool_)
        keep[rows] = True
        counting, mu = given.of_counting(), observations.mu
        known = bool((given.gain > 0).all())
        intensity, expected, g = np.empty((3, len(rows)))
        photon = np.empty(len(rows) if known else 0)

        def block(part: int) -> None:
            """Intensity, scale and expected counts of one block of rows."""
            where = slice(part * BLOCK, (part + 1) * BLOCK)
            part_of = counting.take(rows[where])
            intensity[where], g[where] = part_of.intensity, scale[rows[where]]
            expected[where] = part_of.at(mu[rows[where]])
            if known:
                photon[where] = part_of.gain[part_of.data_set] * part_of.factor

        run_in_threads(block, -(-len(rows) // BLOCK))
        relative = np.zeros(0) if scale_variance is None else scale_variance[rows] / g**2
        return cls(intensity, expected, g, observations.friedel_split.subset(keep), relative, photon)

    def __len__(self) -> int:
        return len(self.intensity)

    def take(self, keep: Bool, groups: Groups) -> ResidualData:
        """The rows that are marked in ``keep``, (n,).  ``groups``: of these rows."""
        some, photon = self.scale_variance, self.photon
        return replace(
            self,
            intensity=self.intensity[keep],
            expected=self.expected[keep],
            scale=self.scale[keep],
            groups=groups,
            scale_variance=some[keep] if len(some) else some,
            photon=photon[keep] if len(photon) else photon,
        )

    def sample(self, min_photons: float, most: int) -> ResidualData:
        """Rows of groups with two or more members and enough photons; every k-th group if there are more than
        ``most`` rows.

        ``min_photons``: expected photons per observation that a group needs.
        """
        groups = self.groups
        use = groups.sizes() > 1
        if min_photons > 0 and len(groups):
            use &= self._photons() >= min_photons * groups.sizes()
        rows = int(groups.sizes()[use].sum())
        if rows > most:
            use[np.flatnonzero(use)[np.arange(np.count_nonzero(use)) % -(-rows // most) != 0]] = False
        return self.take(groups.spread(use), groups.choose(use))

    def _photons(self) -> Float:
        """Expected photons of all members of each group, (n_groups,)."""
        groups, i, v, g = self.groups, self.intensity, self.expected, self.scale

        def block(first: int, last: int) -> Float:
            """Expected photons of the groups from ``first`` to ``last``."""
            rows = slice(groups.offsets[first], groups.offsets[last])
            part = Groups(groups.offsets[first : last + 1] - groups.offsets[first])
            mu = g[rows] * part.spread(weighted_mean(part, 1.0 / v[rows], g[rows], i[rows])[0])
            if not len(self.photon):
                return part.sum(np.sign(mu) * mu * mu / v[rows])
            return part.sum(mu / self.photon[rows])

        return np.concatenate(in_blocks(groups, block))

    def trim(self, model: ErrorModel) -> Bool:
        """Rows that are removed: the worst of a group, repeatedly, while it is beyond 4 sigma of the others, (n,)."""
        variance_model = VarianceModel.constant(self.intensity, self.expected)
        a2, b2, linear = (np.array([x]) for x in (model.a**2, model.b**2, model.c))
        variance_model = replace(variance_model, a2=a2, b2=b2, linear=linear)
        out = np.zeros(len(self), np.bool_)
        for _ in range(2):
            limits = (CUT, 0.9 * CUT)
            out, _, _ = judge(variance_model, self.scale, self.groups, limits, out, trim=True, afresh=True)
        return out

    def residuals(self, model: ErrorModel, out: Bool | None = None) -> Residuals:
        """Residuals of the rows that are not left out, against I_h weighted with the model.  ``out``: (n,)."""
        n = len(self)
        square, freedom, mu = np.empty(n), np.empty(n), np.empty(n)
        away = np.zeros(n, np.bool_) if out is None else out

        def block(first: int, last: int) -> None:
            """Squared residuals of the groups from ``first`` to ``last``."""
            agreement.residuals(
                first, last, self.groups.offsets, self.intensity, self.expected, self.scale, self.scale_variance, away,
                model.terms, square, freedom, mu,
            )  # fmt: skip

        in_blocks(self.groups, block)
        return Residuals(square, freedom, self.expected, mu, int(np.count_nonzero(away)))

    def sums(self, data: Residuals, model: ErrorModel) -> Float:
        """The sums of ``agreement.scoring_sums`` over all rows, (11,).  ``data``: residuals of these rows."""
        offsets = self.groups.offsets

        def block(first: int, last: int) -> Float:
            """Sums of the likelihood and its derivatives over the groups from ``first`` to ``last``."""
            total = np.zeros(11)
            agreement.scoring_sums(
                offsets[first], offsets[last], data.square, data.freedom, data.expected, data.mu,
                model.terms, CUT**2, total,
            )  # fmt: skip
            return total

        return np.asarray(sum(in_blocks(self.groups, block), np.zeros(11)))
