"""The fit of the ratio of profiles to sums for the data sets that share it; see ``profile_scale``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.normal import ERROR_OF_MEDIAN, SD_FROM_MAD
from braggscale.numerics.partitions import run_in_threads
from braggscale.weighting.profile_ratio import (
    MOST_LOG,
    PLAUSIBLE,
    Difference,
    Ratio,
    Sites,
    Term,
    coordinates,
    fitted_differences,
    log_partiality,
    terms_of,
)

Item = TypeVar("Item")

OFFSET = "offset"  # kind of the penalty on the offset
OFFSET_INTERVALS = 3
KNEE = 2.5  # weights decrease beyond this number of standard deviations
START_LEVEL = 1e4  # first strength of the levels: they differ by 1 % from data set to data set
POWER_STRENGTH = 1.0  # restrains alpha, which is undetermined if the partiality hardly varies
MOST_POWER = 3.0  # limit of |alpha|; only 0 and 1 have a physical meaning, and larger powers give extreme ratios
MOST_CHANGE, LARGEST = 30.0, 1e8  # largest factor of a strength in one step, and largest strength
MOST_PARTS = 16  # parts into which the families are divided for the threads
SHELLS = 20  # of resolution; all rows of a shell have the same background
LEAST = 1e-3  # smallest E, as a share of V_S
# If the profile intensities of a range of T differ from the sums by more than this share of T, and by more than
# this number of standard errors, they are no multiple of the sums.
BENT, BENT_ESDS, RANGES, FEWEST_IN_RANGE = 0.03, 5.0, 8, 50
TRUSTED = 3.0  # the ratio is compared between ranges of intensity from this I/sigma on
# Sums are not used if their scatter about the other members of the groups, without the part that profiles have in
# common with them, has a variance of more than GROSS times that of counting statistics, if the excess is more than
# CLEAR standard errors, and if it is more than the share FAULT of the variance of the difference of profiles and
# sums. For simulated sums with twice the variance of counting the mean square
# error was 0.79 for the mixture and 0.53 for profiles alone; with ten times the variance 4.7 and 0.55
# (tests/weighting/test_profile_scale.py).
GROSS, FAULT, CLEAR = 2.0, 0.4, 5.0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Both intensities of observations, (n,) each.

    ``profile``, ``summed``: P, S, counts, ``v_profile``, ``v_sum``: their variances, counts^2.
    ``k_profile``, ``k_sum``: variance per unit of I/c, counts, 0 where it is not known.
    ``factor``: c, correction from recorded counts.  ``relative``: r; the part r S^2 of ``v_sum`` comes from the
    partiality.
    ``expected``: T, at least 0, counts, 0 where it is not known, ``uncertainty``: its variance, counts^2.
    """

    rows: Sites
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

    def take(self, chosen: Int | slice) -> Pairs:
        """The rows with the numbers ``chosen``, (k,)."""
        return Pairs(
            self.rows.take(chosen), self.profile[chosen], self.v_profile[chosen], self.k_profile[chosen],
            self.summed[chosen], self.v_sum[chosen], self.k_sum[chosen], self.factor[chosen], self.relative[chosen],
            self.expected[chosen], self.uncertainty[chosen],
        )  # fmt: skip

    def noise(self) -> Float:
        """V_S at the expected intensity, counts^2, (n,)."""
        variance = self.v_sum - self.relative * self.summed**2
        variance += self.k_sum * self.factor * (self.expected - np.abs(self.summed))
        return np.maximum(variance, LEAST * self.v_sum)

    def saved(self, ratio: Float, power: Float | float, alike: Int | None = None) -> Float:
        """E = V_S - V_P/R^2 at the expected intensity, at least a small share of V_S, counts^2, (n,).

        ``ratio``: R, (n,).  ``power``: alpha, a number or (n,); the intensity of the recorded part has the error of the
        partiality in common with the sum. ``alike``: number of a class for each row, (n,), within which the mean
        background is used. The background of a single row fluctuates together with P/R - S, and weights that contain
        these fluctuations would bias the ratio of weak reflections.
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


@dataclass(frozen=True, slots=True)
class _Family:
    """The n observations of one family of data sets, and the arrays of its equations.

    ``ratio``: starting value.  ``rows``: position of the family among all observations.  ``x``: derivatives of ln R
    by theta and of o/T by the parameters of the offset, side by side, (n, n_parameters).  ``penalties``: kind,
    position among the parameters, and matrix of each.  ``place``: number of the data set among those of the family,
    (n,).
    """

    ratio: Ratio
    rows: slice
    x: Float
    penalties: tuple[tuple[str, slice, Float], ...]
    place: Int

    @classmethod
    def of(cls, pairs: Pairs, ratio: Ratio, rows: slice, known: Float, inside: Bool) -> _Family:
        """``pairs``, ``known``, ``inside``: of the family alone, (n,)."""
        offset, penalty = _offsets(pairs, known, inside)
        x = np.hstack((ratio.design(pairs.rows), offset))
        penalties = [
            (term.kind, where, term.penalty()) for term, where in zip(ratio.terms, ratio.places(), strict=True)
        ]
        penalties.append((OFFSET, slice(len(ratio.theta), x.shape[1]), penalty))
        place = np.searchsorted(ratio.data_sets, pairs.rows.data_set)
        return cls(ratio, rows, x, tuple(penalties), place)


def _offsets(pairs: Pairs, known: Float, inside: Bool) -> tuple[Float, Float]:
    """Derivatives of o/T by the parameters of the offset, (n, k), and their penalty, (k, k).

    Cubic splines in 1/d^2 in units of the noise.
    """
    x = coordinates("resolution", pairs.rows)[0]
    term = Term("resolution", (float(x.min()),), (max(float(x.max()), float(x.min()) + 1e-9),), (OFFSET_INTERVALS,))
    index, value = term.basis((x,))
    unit = float(np.median(np.sqrt(pairs.noise()) / pairs.factor))
    basis = np.zeros((len(pairs), term.n))
    per_row = np.divide(unit * pairs.factor, known, out=np.zeros(len(pairs)), where=inside)
    basis[np.arange(len(pairs))[:, None], index] = value * per_row[:, None]
    return basis, np.eye(term.n)


@dataclass(frozen=True, slots=True)
class _Solved:
    """One step of one family.

    ``fitted``: ln R without levels, ``offset``: o/T, ``residual``: residual of the equations, (n,) each.
    ``size``: theta'S theta, ``free``: rank - lambda tr(C S), in the order of its penalties.
    """

    theta: Float
    power_esd: float
    fitted: Float
    offset: Float
    residual: Float
    size: tuple[float, ...]
    free: tuple[float, ...]


class FamilyFits:
    """All families of data sets, and the present values of their ratios.

    Arithmetic that is the same for every observation is done for all families at once. Otherwise each of many small
    data sets would take a millisecond in every step.
    """

    def __init__(self, pairs: Pairs, offsets: Int, families: Sequence[Int], known: Sequence[Ratio | None]) -> None:
        """``pairs``: sorted by family, those of family k from ``offsets[k]`` to ``offsets[k + 1]``, (n_families + 1,).

        ``families``: data sets of each.  ``known``: ratios of an earlier round, None where there is none.
        """
        self.pairs, self.offsets = pairs, offsets
        self.of = np.repeat(np.arange(len(families)), np.diff(offsets))
        self.inside = pairs.expected > 0
        slices = [slice(a, b) for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
        self.alike = np.concatenate(
            [_shells(pairs.rows.d[of_family]) + SHELLS * k for k, of_family in enumerate(slices)]
        )
        # The noise of T increases T^2 but has no information, so T is multiplied by its reliability in the shell
        n = SHELLS * len(families)
        square = np.bincount(self.alike, pairs.expected**2 * self.inside, n)
        noise = np.bincount(self.alike, pairs.uncertainty * self.inside, n)
        reliable = np.clip(1.0 - np.divide(noise, square, out=np.ones(n), where=square > 0), 0.0, 1.0)
        self.known = reliable[self.alike] * pairs.expected
        self.inside &= self.known > 0

        def family(k: int) -> _Family:
            """The k-th family of data sets, with the ratio that is known, or one to be fitted."""
            of_family = slices[k]
            part = pairs.take(of_family)
            ratio = known[k]
            if ratio is None:
                terms = terms_of(part.rows, len(families[k]) == 1)
                theta = np.zeros(2 + sum(term.n for term in terms))
                ratio = Ratio(families[k], terms, theta, np.zeros(len(families[k])))
            return _Family.of(
                part, replace(ratio, n_rows=len(part)), of_family, self.known[of_family], self.inside[of_family]
            )

        self.families = _for_all(family, len(families))
        ratios = [one.ratio for one in self.families]
        self.theta = [ratio.theta for ratio in ratios]
        self.levels = [ratio.levels for ratio in ratios]
        self.power_esd = [ratio.power_esd for ratio in ratios]
        self.level_strength = [START_LEVEL] * len(ratios)
        self.differences = np.array([(d.counting, d.linear, d.square) for d in (ratio.difference for ratio in ratios)])
        self.log_partiality = log_partiality(pairs.rows)
        fitted = _for_all(lambda k: self.families[k].x[:, : len(self.theta[k])] @ self.theta[k], len(families))
        self.fitted = np.concatenate(fitted)  # ln R without levels and bounds
        self.beside = np.zeros(len(pairs))  # o of each row, counts

    def kinds(self) -> set[str]:
        """The kinds of function that any ratio has."""
        return {kind for one in self.families for kind, _, _ in one.penalties}

    def _each(self, values: Sequence[float] | Float) -> Float:
        """The value of its family for each row, (n,)."""
        return np.asarray(values)[self.of]

    def _level(self) -> Float:
        """The level of its data set for each row, (n,)."""
        return np.concatenate([levels[one.place] for levels, one in zip(self.levels, self.families, strict=True)])

    def _differences(self) -> tuple[Float, Float, Float, Float, Float]:
        """ln R, P/R - S - o, its robust weight by itself, D, and E, (n,) each; brings D's coefficients up to date."""
        pairs, power = self.pairs, self._each([theta[1] for theta in self.theta])
        of_partiality = self.log_partiality * power
        log_ratio = self.fitted + self._level() - of_partiality
        log_ratio = np.clip(log_ratio, -PLAUSIBLE, PLAUSIBLE) + np.clip(of_partiality, -MOST_LOG, MOST_LOG)
        ratio = np.exp(log_ratio)
        saved = pairs.saved(ratio, power, self.alike)
        difference = pairs.profile / ratio - pairs.summed - self.beside
        columns = np.stack((saved, pairs.factor * pairs.expected, pairs.expected**2))
        usable = np.flatnonzero(self.inside)
        ends = np.searchsorted(usable, self.offsets)
        self.differences = fitted_differences(
            self.differences, difference[usable] ** 2, columns[:, usable], ends.astype(np.int64)
        )
        variance = (self.differences[self.of].T * columns).sum(axis=0)
        robust = 1.0 / np.sqrt(1.0 + (difference**2 / variance / KNEE**2) ** 2)
        return log_ratio, difference, robust, variance, saved

    def step(self, strengths: dict[str, float], size: dict[str, float], free: dict[str, float]) -> float:
        """One weighted least-squares step; adds theta'S theta and rank - lambda tr(C S) of every kind.

        Returns the rms change of ln R.
        """
        log_ratio, difference, robust, variance, _ = self._differences()
        known, level = self.known, self._level()
        weight = robust * known**2 / variance
        working = np.divide(difference + self.beside, known, out=np.zeros(len(known)), where=self.inside)
        working += log_ratio
        solved = _for_all(lambda k: self._solved(k, weight, working - level, strengths), len(self.families))
        for k, (one, found) in enumerate(zip(self.families, solved, strict=True)):
            self.theta[k], self.power_esd[k] = found.theta, found.power_esd
            self.beside[one.rows] = found.offset * known[one.rows]
            if len(self.levels[k]) > 1:
                residual = found.residual + self.levels[k][one.place]
                self.levels[k] = self._levels(k, residual, weight[one.rows])
            for (kind, _, _), its_size, its_free in zip(one.penalties, found.size, found.free, strict=True):
                size[kind] += its_size
                free[kind] += its_free
        before, self.fitted = self.fitted, np.concatenate([found.fitted for found in solved])
        moved = self.fitted + self._level() - before - level
        return float(np.sqrt(np.mean(moved**2)))

    def _solved(self, k: int, weight: Float, working: Float, strengths: Mapping[str, float]) -> _Solved:
        """The equations of family ``k`` solved.  ``weight``, ``working``: of all rows, (n,)."""
        one = self.families[k]
        x, n = one.x, len(one.ratio.theta)
        root = np.sqrt(weight[one.rows])
        weighted, y = x * root[:, None], working[one.rows]
        normal = weighted.T @ weighted
        normal[0, 0] += 1e-9
        normal[1, 1] += POWER_STRENGTH
        for kind, where, penalty in one.penalties:
            normal[where, where] += strengths[kind] * penalty
        inverse = np.linalg.inv(normal)
        both = inverse @ (weighted.T @ (root * y))
        size, free = [], []
        for kind, where, penalty in one.penalties:
            size.append(float(both[where] @ penalty @ both[where]))
            left = len(penalty) - strengths[kind] * float(np.sum(inverse[where, where] * penalty))
            free.append(max(left, 1e-6))
        both[1] = np.clip(both[1], -MOST_POWER, MOST_POWER)
        fitted, offset = x[:, :n] @ both[:n], x[:, n:] @ both[n:]
        esd = float(np.sqrt(inverse[1, 1]))
        return _Solved(both[:n], esd, fitted, offset, y - fitted - offset, tuple(size), tuple(free))

    def _levels(self, k: int, residual: Float, weight: Float) -> Float:
        """Levels of the data sets of family ``k`` about their common one, as random effects, (n_sets,)."""
        n, place = len(self.levels[k]), self.families[k].place
        total = np.bincount(place, weight, n)
        levels: Float = np.bincount(place, weight * residual, n) / (total + self.level_strength[k])
        known = float((total / (total + self.level_strength[k])).sum())
        self.level_strength[k] = stepped_strength(self.level_strength[k], known, float(levels @ levels))
        return levels - float(total @ levels) / max(float(total.sum()), 1e-300)

    def judged(self) -> tuple[Ratio, ...]:
        """The ratios; if profiles and sums must not be combined, with the one that is used alone and the reason.

        The test uses the medians of (P/R - S - o)/T in ranges of T of equal population. They are 0 if the profile
        intensity is a smooth multiple of the sum.
        """
        _, difference, _, variance, saved = self._differences()

        def judge(k: int) -> Ratio:
            """The ratio of the k-th family, and whether sums or profiles must be used alone."""
            one, of_family = self.families[k], self.families[k].rows
            ratio = replace(
                one.ratio, theta=self.theta[k], levels=self.levels[k], power_esd=self.power_esd[k],
                difference=Difference(*self.differences[k].tolist()),
            )  # fmt: skip
            part, inside = self.pairs.take(of_family), self.inside[of_family]
            fault = _sums_at_fault(
                part, ratio.difference, inside, difference[of_family], variance[of_family], saved[of_family]
            )
            if fault:
                return replace(ratio, alone="profiles", why=fault)
            bent = _bent(part, inside, difference[of_family])
            return replace(ratio, alone="sums" if bent else "", why=bent)

        return tuple(_for_all(judge, len(self.families)))


def _for_all(of: Callable[[int], Item], n: int) -> list[Item]:
    """``of(k)`` of every family, calculated by the threads of the run."""
    n_parts = -(-n // -(-n // MOST_PARTS)) if n else 0
    ends = [n * part // n_parts for part in range(n_parts + 1)] if n_parts else [0]
    parts = run_in_threads(lambda part: [of(k) for k in range(ends[part], ends[part + 1])], n_parts)
    return [one for part in parts for one in part]


def _shells(d: Float) -> Int:
    """Number of the resolution shell of each row, shells of equal numbers, (n,)."""
    place = np.empty(len(d), np.int64)
    place[np.argsort(d, kind="stable")] = np.arange(len(d))
    return place * SHELLS // max(len(d), 1)


def _bent(pairs: Pairs, inside: Bool, difference: Float) -> str:
    """The reason if profiles are no smooth multiple of the sums; empty if they are.  ``difference``: (n,)."""
    expected = pairs.expected
    trusted = np.flatnonzero(inside & (expected > TRUSTED * np.sqrt(pairs.noise())))
    if len(trusted) < FEWEST_IN_RANGE * RANGES:
        return ""
    order = trusted[np.argsort(expected[trusted], kind="stable")]
    for part in np.array_split(order, RANGES):
        left = difference[part] / expected[part]
        middle = float(np.median(left))
        esd = ERROR_OF_MEDIAN * SD_FROM_MAD * float(np.median(np.abs(left - middle))) / np.sqrt(len(part))
        if abs(middle) > max(BENT, BENT_ESDS * esd):
            level = float(np.median(expected[part]))
            return (
                f"profiles of intensity {level:.3g} differ from sums by {100 * middle:+.1f} % after division by their "
                "ratio"
            )
    return ""


def _sums_at_fault(
    pairs: Pairs, own: Difference, inside: Bool, difference: Float, variance: Float, saved: Float
) -> str:
    """The reason if sums scatter much more than expected while profiles do not; empty otherwise.

    With r the residual from the other members of the group, the expectation of r_S (r_S - r_P) is V_S - C, the
    sum's part of D, where C is the covariance of profile and sum. If the variances are right, it equals E,
    ``saved``, whatever errors the profile has in addition. So its ratio to E measures the error of the sums. It
    does not depend on the division of D between its terms.
    """
    parts = own.parts(saved, pairs.factor, pairs.expected)
    residual = pairs.summed - pairs.expected
    around = pairs.noise() + pairs.uncertainty + (0.05 * pairs.expected) ** 2
    spread = max(float(np.median(residual**2 / around)) / 0.455, 1e-12)
    use = inside & (difference**2 < 16.0 * variance) & (residual**2 < 16.0 * spread * around)
    weight = (use & (parts[2] < 0.5 * variance)) / (variance * around * spread)
    product = -residual * difference
    share = _slope(weight, variance, product)[0]
    fault, esd = _slope(weight, saved, product)
    if share < FAULT or fault < max(GROSS, 1.0 + CLEAR * esd):
        return ""
    return f"sums scatter {np.sqrt(fault):.2g} times more about profiles than expected from their variances"


def _slope(weight: Float, x: Float, y: Float) -> tuple[float, float]:
    """Weighted slope of y on x through the origin, and its standard error; 0 and infinity where nothing is known.

    ``weight``, ``x``, ``y``: (n,).
    """
    information = float((weight * x**2).sum())
    if not information > 0.0:
        return 0.0, np.inf
    slope = float((weight * x * y).sum()) / information
    return slope, float(np.sqrt((weight**2 * x**2 * (y - slope * x) ** 2).sum())) / information
