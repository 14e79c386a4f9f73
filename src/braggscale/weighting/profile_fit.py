"""The fit of the ratio of profiles to sums for the data sets that share it; see ``profile_scale``."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.observations import Observations
from braggscale.numerics.array_types import Float, Int
from braggscale.weighting.profile_ratio import MOST_LOG, PLAUSIBLE, Ratio, Term, coordinates, terms_of

OFFSET = "offset"  # kind of the penalty on the offset
OFFSET_INTERVALS = 3
KNEE = 2.5  # weights fall beyond so many standard deviations
START_LEVEL = 1e4  # 1 % from data set to data set
POWER_STRENGTH = 1.0  # a partiality that hardly varies says nothing about its power
MOST_CHANGE, LARGEST = 30.0, 1e8  # of a strength in one step, and at all
SHELLS = 20  # of resolution, in each of which the background of all rows is taken as one
LEAST = 1e-3  # share of V_S that E is at least
# An intensity in a range of T that differs from the sum by more than this share of T, and by so many of its own
# standard errors, is no multiple of it.
BENT, BENT_ESDS, RANGES, FEWEST_IN_RANGE = 0.03, 5.0, 8, 50
TRUSTED = 3.0  # the ratio is compared between ranges of intensity from this I/sigma on
# Differences that are so many times larger than counting statistics say, of which such a share is clearly (so many
# standard errors) the sum's, mean that sums are no reference.
GROSS, FAULT, CLEAR = 4.0, 0.4, 5.0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Both intensities of observations, (n,) each.

    ``profile``, ``summed``: P, S, counts, ``v_profile``, ``v_sum``: their variances, counts^2.
    ``k_profile``, ``k_sum``: variance per unit of I/c, counts, 0 where it is not known.
    ``factor``: c, correction from recorded counts.  ``relative``: r, the part r S^2 of ``v_sum`` comes of the
    partiality.
    ``expected``: T, at least 0, counts, 0 where nothing is known, ``uncertainty``: its variance, counts^2.
    """

    rows: Observations
    profile: Float
    v_profile: Float
    k_profile: Float
    summed: Float
    v_sum: Float
    k_sum: Float
    factor: Float
    relative: Float
    expected: Float
    uncertainty: Float

    def __len__(self) -> int:
        return len(self.expected)

    def take(self, chosen: Int) -> Pairs:
        """The rows with the numbers ``chosen``, (k,)."""
        return Pairs(
            self.rows.take(chosen), self.profile[chosen], self.v_profile[chosen], self.k_profile[chosen],
            self.summed[chosen], self.v_sum[chosen], self.k_sum[chosen], self.factor[chosen], self.relative[chosen],
            self.expected[chosen], self.uncertainty[chosen],
        )  # fmt: skip

    def noise(self) -> Float:
        """V_S at the expected intensity, counts^2, (n,)."""
        found = self.v_sum - self.relative * self.summed**2
        found += self.k_sum * self.factor * (self.expected - np.abs(self.summed))
        return np.maximum(found, LEAST * self.v_sum)

    def saved(self, ratio: Float, power: Float | float, alike: Int | None = None) -> Float:
        """E = V_S - V_P/R^2 at the expected intensity, at least a little, counts^2, (n,).

        ``ratio``: R, (n,).  ``power``: alpha, a number or (n,); a profile of the recorded part shares the error of the
        partiality. ``alike``: rows whose background is taken as one, (n,): that of a single row has fluctuations that
        P/R - S shares, and weights that follow them bend the ratio of weak reflections.
        """
        t, r, f = self.expected, self.relative, self.factor
        v_profile = self.v_profile - self.k_profile * f * np.abs(self.profile)
        v_sum = self.v_sum - r * self.summed**2 - self.k_sum * f * np.abs(self.summed)
        background = (v_sum - v_profile / ratio**2) / f**2
        if alike is not None:
            total = np.bincount(alike, background) / np.maximum(np.bincount(alike), 1)
            background = total[alike]
        signal = f * t * (self.k_sum - self.k_profile / ratio) + r * (1.0 - np.asarray(power) ** 2) * t**2
        return np.maximum(f**2 * background + signal, LEAST * self.v_sum)


def stepped_strength(old: float, free: float, size: float) -> float:
    """free/size, within a factor of 30 of the old strength."""
    wanted = free / size if size > 0 else np.inf
    return float(np.clip(wanted, old / MOST_CHANGE, min(old * MOST_CHANGE, LARGEST)))


class FamilyFit:
    """The observations of one family of data sets, and where their ratio stands."""

    def __init__(self, pairs: Pairs, data_sets: Int, known: Ratio | None) -> None:
        if known is None:
            terms = terms_of(pairs.rows, len(data_sets) == 1)
            theta = np.zeros(2 + sum(term.n for term in terms))
            known = Ratio(data_sets, terms, theta, np.zeros(len(data_sets)))
        self.pairs = pairs
        self.ratio = replace(known, n_rows=len(pairs))
        self.x = known.design(pairs.rows)
        self.penalties = [term.penalty() for term in known.terms]
        self.place = np.searchsorted(data_sets, pairs.rows.data_set)
        self.level_strength = START_LEVEL
        self.inside = pairs.expected > 0
        place = np.argsort(np.argsort(pairs.rows.d, kind="stable"), kind="stable")
        self.alike = place * SHELLS // max(len(pairs), 1)
        # Noise of T^ adds to T^2 but says nothing: T^ times its reliability in the shell has the right information
        square, noise = (np.bincount(self.alike, x * self.inside) for x in (pairs.expected**2, pairs.uncertainty))
        reliable = np.clip(1.0 - np.divide(noise, square, out=np.ones(len(square)), where=square > 0), 0.0, 1.0)
        self.known = reliable[self.alike] * pairs.expected
        self.inside &= self.known > 0
        self.offset = self._offsets()
        self.penalties.append(np.eye(self.offset.shape[1]))
        self.beside = np.zeros(len(pairs))  # o of each row, counts

    def _offsets(self) -> Float:
        """Derivatives of o/T by the parameters of the offset, cubic splines in 1/d^2 in units of the noise, (n, k)."""
        pairs = self.pairs
        x = coordinates("resolution", pairs.rows)[0]
        term = Term("resolution", (float(x.min()),), (max(float(x.max()), float(x.min()) + 1e-9),), (OFFSET_INTERVALS,))
        index, value = term.basis((x,))
        unit = float(np.median(np.sqrt(pairs.noise()) / pairs.factor))
        found = np.zeros((len(pairs), term.n))
        per_row = np.divide(unit * pairs.factor, self.known, out=np.zeros(len(pairs)), where=self.inside)
        found[np.arange(len(pairs))[:, None], index] = value * per_row[:, None]
        return found

    def _differences(self) -> tuple[Float, Float, Float, Float]:
        """ln R, P/R - S, its robust weight by itself, and D, (n,) each; brings the latter's coefficients up to date."""
        own, pairs = self.ratio, self.pairs
        of_partiality = np.clip(self.x[:, 1] * own.power, -MOST_LOG, MOST_LOG)
        log_ratio = self.x @ own.theta + own.levels[self.place] - of_partiality
        log_ratio = np.clip(log_ratio, -PLAUSIBLE, PLAUSIBLE) + of_partiality
        ratio = np.exp(log_ratio)
        saved = pairs.saved(ratio, own.power, self.alike)
        difference = pairs.profile / ratio - pairs.summed - self.beside
        found = own.difference.fitted(
            difference[self.inside] ** 2, saved[self.inside], pairs.factor[self.inside], pairs.expected[self.inside]
        )
        variance = found.variance(saved, pairs.factor, pairs.expected)
        robust = 1.0 / np.sqrt(1.0 + (difference**2 / variance / KNEE**2) ** 2)
        self.ratio = replace(own, difference=found)
        return log_ratio, difference, robust, variance

    def step(self, strengths: dict[str, float], size: dict[str, float], free: dict[str, float]) -> None:
        """One weighted least-squares step; adds theta'S theta and rank - lambda tr(C S) of every kind."""
        log_ratio, difference, robust, variance = self._differences()
        own, known = self.ratio, self.known
        weight = robust * known**2 / variance
        working = np.divide(difference, known, out=np.zeros(len(known)), where=self.inside)
        x = np.hstack((self.x, self.offset))
        weighted = x * weight[:, None]
        normal = x.T @ weighted
        normal[0, 0] += 1e-9
        normal[1, 1] += POWER_STRENGTH
        n = self.x.shape[1]
        places = [*own.places(), slice(n, x.shape[1])]
        kinds = [*(term.kind for term in own.terms), OFFSET]
        for kind, where, penalty in zip(kinds, places, self.penalties, strict=True):
            normal[where, where] += strengths[kind] * penalty
        inverse = np.linalg.inv(normal)
        working += np.divide(self.beside, known, out=np.zeros(len(known)), where=self.inside) + log_ratio
        both = inverse @ (weighted.T @ (working - own.levels[self.place]))
        for kind, where, penalty in zip(kinds, places, self.penalties, strict=True):
            size[kind] += float(both[where] @ penalty @ both[where])
            left = len(penalty) - strengths[kind] * float(np.sum(inverse[where, where] * penalty))
            free[kind] += max(left, 1e-6)
        theta, self.beside = both[:n], (self.offset @ both[n:]) * known
        levels = self._levels(working - x @ both, weight) if len(own.levels) > 1 else own.levels
        self.ratio = replace(own, theta=theta, levels=levels, power_esd=float(np.sqrt(inverse[1, 1])))

    def _levels(self, residual: Float, weight: Float) -> Float:
        """Levels of small data sets about their common one, as far as their data allow, (n_sets,)."""
        n = len(self.ratio.levels)
        total = np.bincount(self.place, weight, n)
        levels: Float = np.bincount(self.place, weight * residual, n) / (total + self.level_strength)
        known = float((total / (total + self.level_strength)).sum())
        self.level_strength = stepped_strength(self.level_strength, known, float(levels @ levels))
        return levels - float(total @ levels) / max(float(total.sum()), 1e-300)

    def judged(self) -> Ratio:
        """The ratio; where one of the two is not to be used with the other, with the words for it.

        Medians of (P/R - S - o)/T in ranges of T of equal population: a profile that is a smooth multiple of the sum
        leaves nothing there.
        """
        log_ratio, difference, _, variance = self._differences()
        fault = self._sums_at_fault(np.exp(log_ratio), difference, variance)
        if fault:
            return replace(self.ratio, alone="profiles", why=fault)
        expected = self.pairs.expected
        trusted = np.flatnonzero(self.inside & (expected > TRUSTED * np.sqrt(self.pairs.noise())))
        if len(trusted) < FEWEST_IN_RANGE * RANGES:
            return replace(self.ratio, alone="", why="")
        order = trusted[np.argsort(expected[trusted], kind="stable")]
        for part in np.array_split(order, RANGES):
            left = difference[part] / expected[part]
            middle = float(np.median(left))
            esd = 1.2533 * 1.4826 * float(np.median(np.abs(left - middle))) / np.sqrt(len(part))
            if abs(middle) > max(BENT, BENT_ESDS * esd):
                level = float(np.median(expected[part]))
                words = f"profiles of intensity {level:.3g} differ from sums by {100 * middle:+.1f} % beside the ratio"
                return replace(self.ratio, alone="sums", why=words)
        return replace(self.ratio, alone="", why="")

    def _sums_at_fault(self, ratio: Float, difference: Float, variance: Float) -> str:
        """Words for sums that scatter much more than they should, while profiles do not; empty where that is not so.

        With r the residual from the other members of the group, E r_S (r_S - r_P) = V_S - C is the sum's part of D, C
        the covariance of the two: 1/counting of D where the rest is the profile's.
        """
        own, pairs = self.ratio.difference, self.pairs
        if own.counting < GROSS:
            return ""
        parts = own.parts(pairs.saved(ratio, self.ratio.power, self.alike), pairs.factor, pairs.expected)
        residual = pairs.summed - pairs.expected
        around = pairs.noise() + pairs.uncertainty + (0.05 * pairs.expected) ** 2
        spread = max(float(np.median(residual**2 / around)) / 0.455, 1e-12)
        use = self.inside & (difference**2 < 16.0 * variance) & (residual**2 < 16.0 * spread * around)
        weight = (use & (parts[2] < 0.5 * variance)) / (variance * around * spread)
        product = -residual * difference
        information = float((weight * variance**2).sum())
        if not information > 0.0:
            return ""
        share = float((weight * variance * product).sum()) / information
        scatter = float((weight * (product - share * variance) ** 2).sum() / max(np.count_nonzero(weight), 1))
        if share < FAULT or share < CLEAR * np.sqrt(scatter / information):
            return ""
        return f"sums scatter {np.sqrt(own.counting):.2g} times more about profiles than their variances say"
