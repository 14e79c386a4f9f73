"""Runs of images, and data sets, that disagree with the rest significantly, and the gain if they are left out.

**Test.** Each observation has a deviation z^2 from its equivalents. It is ranked among the observations with about
the same I/sigma. Its score q is the value that z^2 - 1 has at this rank for normally distributed deviations (Klotz,
Ann. Math. Stat. 33 (1962) 498). The distribution of q does not depend on that of z^2; so neither strong reflections
nor errors that are wrong by a factor make an image stand out. A run of images whose deviations are larger has a sum
of q above 0. The statistic is the largest of

    T(a, b) = sum_{a <= image <= b} q / sqrt(2 v_L n)

over all runs of the lengths L in LENGTHS, n observations in the run. v_L is 1 for independent observations; it is
measured from all runs of that length by their median absolute value, because errors of the scales make neighbouring
images agree with each other. The distribution of the largest T without bad images comes from simulated sweeps with
as many images (a scan statistic: Naus, J. Am. Stat. Assoc. 60 (1965) 532) and is extrapolated by Gumbel's
distribution. FALSE_ALARM is the probability of a false alarm in a whole run of the program.

**Edges.** Of the best run every first and last image is tried, and runs with bad images between them are joined
(``stretch_edges``).

**Gain.** In every reflection with observations inside and outside the run, each outside observation is predicted by
the mean of the other observations, with and without the inside ones. The gain is the mean decrease of its squared
deviation, in units of its variance. A run is recommended for exclusion only if the gain is larger than its standard
error. (If the gain had to be two standard errors, only six of ten stretches of 200 observations with doubled errors
would be found; the test above already limits false alarms.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.numerics.normal import MEDIAN_ABSOLUTE
from braggscale.statistics.deviation_scores import Deviations, scores
from braggscale.statistics.scan_null import LONGEST, chance_of, lengths
from braggscale.statistics.stretch_edges import edges, edges_by_good, joined

FALSE_ALARM = 0.02  # chance that a run of the program without bad images gets any recommendation
SCORE_VARIANCE = 2.0  # of q
MOST_STRETCHES = 5  # of one data set
ONE_BY_ONE = 20  # if there are more data sets, those that cannot be bad are excluded from the test in one step
MOST_ROWS = 300_000  # with more observations the gain is calculated from every k-th reflection


@dataclass(frozen=True, slots=True)
class Stretch:
    """``data_set``: number.  ``first``, ``last``: images from 0, both ends included.  ``rows``: observations in it.

    ``excess``: mean z^2 inside over that outside.  ``chance``: probability that a run of the program without bad
    images has any stretch with a T as large.  ``gain``, ``gain_error``: relative decrease of the squared deviation
    with which observations outside are predicted, and its standard error; NaN if no reflection has observations on
    both sides.
    """

    data_set: int
    first: int
    last: int
    rows: int
    excess: float
    chance: float
    gain: float
    gain_error: float

    @property
    def worth_leaving_out(self) -> bool:
        """Whether held-out observations are predicted better without it; False if the error is unknown."""
        return bool(self.gain > self.gain_error > 0.0)


def bad_stretches(data: Deviations, n_images: Sequence[int], false_alarm: float = FALSE_ALARM) -> list[Stretch]:
    """Runs of images that disagree, the most striking of each data set first.

    ``n_images``: images of each data set, (n_sets,); data sets of fewer than four are not tested.
    """
    score, known = scores(data)
    tested = [d for d, n in enumerate(n_images) if n >= 4]
    # images of all data sets behind each other
    start = np.concatenate([[0], np.cumsum(np.asarray(n_images, np.int64))])
    place = start[data.data_set[known]] + data.image[known]
    count = np.bincount(place, minlength=int(start[-1])).astype(np.float64)
    total = np.bincount(place, score[known], int(start[-1])).astype(np.float64)
    stretches = []
    for d in _not_clearly_good(total, count, start, tested, false_alarm):
        rows_of_set = slice(int(start[d]), int(start[d + 1]))
        of_set, n = total[rows_of_set], count[rows_of_set]
        runs = edges_by_good(data, d, _runs_of_data_set(of_set, n, len(tested), false_alarm), len(n))
        out = np.zeros(len(n), bool)
        for first, last, _ in runs:
            out[first : last + 1] = True
        for first, last, chance in joined(of_set - n * _centre(of_set, n, out), n, runs):
            stretches.append(_described(data, d, first, last, chance))
    return stretches


def _not_clearly_good(
    total: Float, count: Float, start: Int, tested: Sequence[int], false_alarm: float
) -> Sequence[int]:
    """The data sets whose largest T may be significant; if there are few data sets, all of them, which takes less time.

    T is not divided by sqrt(v_L) here, which is at least 1, so no data set is missed.  ``start``: first image of
    each data set, and the end, (n_sets + 1,).
    """
    if len(tested) <= ONE_BY_ONE:
        return tested
    n = np.diff(start)
    set_of = np.repeat(np.arange(len(n)), n)
    centre = np.array([_centre(total[a:b], count[a:b], np.zeros(b - a, bool)) for a, b in pairwise(start.tolist())])
    sums = np.concatenate([[0.0], np.cumsum(total - count * centre[set_of])])
    counts = np.concatenate([[0.0], np.cumsum(count)])
    largest = np.full(len(n), -np.inf)
    for length in lengths(int(n.max())):
        inside = (set_of[length - 1 :] == set_of[: len(set_of) - length + 1]) & (
            length <= LONGEST * n[set_of[length - 1 :]]
        )
        c = counts[length:] - counts[:-length]
        t = np.where(
            inside & (c > 0), (sums[length:] - sums[:-length]) / np.sqrt(SCORE_VARIANCE * np.maximum(c, 1.0)), -np.inf
        )
        np.maximum.at(largest, set_of[: len(t)][inside], t[inside])
    usual = [float(np.median(count[a:b])) if b > a else 0.0 for a, b in pairwise(start.tolist())]
    chances = [len(tested) * chance_of(largest[d], int(n[d]), usual[d]) for d in tested]
    return [d for d, chance in zip(tested, chances, strict=True) if chance <= 2.0 * false_alarm]


def _runs_of_data_set(total: Float, count: Float, n_tested: int, false_alarm: float) -> list[tuple[int, int, float]]:
    """First and last image of the bad runs of one data set, and the probability of as large a T in ``n_tested`` sets.

    ``total``, ``count``: sum of q and observations by image, (n_images,).
    """
    stretches: list[tuple[int, int, float]] = []
    out = np.zeros(len(total), bool)
    usual = float(np.median(count))
    for _ in range(MOST_STRETCHES):
        place = _most_striking(total, count, out)
        if place is None:
            break
        first, last, t = place
        chance = -float(np.expm1(n_tested * np.log1p(-min(chance_of(t, len(count), usual), 1.0 - 1e-16))))
        if chance > false_alarm:
            break
        out[first : last + 1] = True
        stretches.append((first, last, chance))
    return stretches


def bad_data_sets(data: Deviations, n_sets: int, false_alarm: float = FALSE_ALARM) -> list[Stretch]:
    """Whole data sets whose deviations are larger than those of the others, the worst first.

    The mean of q of each data set, divided by its error, is compared with the median of all data sets in units of
    their robust standard deviation. Good data sets also differ by more than chance, so a data set is bad only if it
    differs by more than they do.
    """
    score, known = scores(data)
    count = np.bincount(data.data_set[known], minlength=n_sets)
    use = np.flatnonzero(count >= 10)
    if len(use) < 4:
        return []
    mean = np.bincount(data.data_set[known], score[known], n_sets)[use] / count[use]
    centre = float(np.median(mean))
    noise = np.sqrt(SCORE_VARIANCE / count[use])
    spread2 = max(float(np.median((mean - centre) ** 2 - 0.455 * noise**2)) / 0.455, 0.0)
    z = (mean - centre) / np.sqrt(noise**2 + spread2)
    chance = np.minimum(len(use) * 0.5 * _erfc(z / np.sqrt(2.0)), 1.0)
    order = np.argsort(-z, kind="stable")
    last = int(data.image.max(initial=0))
    return [_described(data, int(use[k]), 0, last, float(chance[k])) for k in order if chance[k] <= false_alarm]


def _scan(total: Float, count: Float, out: Bool) -> tuple[Float, Int, Int]:
    """The largest T of each length, with first image and length, (n_lengths,) each."""
    sums = np.concatenate([[0.0], np.cumsum(np.where(out, 0.0, total))])
    counts = np.concatenate([[0.0], np.cumsum(np.where(out, 0.0, count))])
    gone = np.concatenate([[0], np.cumsum(out)])
    best, first, tried = [], [], lengths(len(total))
    for length in tried:
        s, c = sums[length:] - sums[:-length], counts[length:] - counts[:-length]
        clear = (gone[length:] == gone[:-length]) & (c > 0)
        t = np.divide(s, np.sqrt(np.maximum(c, 1.0) * SCORE_VARIANCE), out=np.full(len(s), -np.inf), where=clear)
        usual = np.abs(t[clear])
        # MEDIAN_ABSOLUTE is the median of |t| for independent observations; v_L is at least 1
        width = max(float(np.median(usual)) / MEDIAN_ABSOLUTE, 1.0) if len(usual) >= 8 else 1.0
        k = int(np.argmax(t))
        best.append(t[k] / width)
        first.append(k)
    return np.array(best), np.array(first), np.array(tried)


def _most_striking(total: Float, count: Float, out: Bool) -> tuple[int, int, float] | None:
    """First and last image of the run with the largest T after its edges have been adjusted, and this T."""
    centred = total - count * _centre(total, count, out)
    best, first, tried = _scan(centred, count, out)
    k = int(np.argmax(best))
    if not np.isfinite(best[k]):
        return None
    a, b = int(first[k]), int(first[k] + tried[k]) - 1
    return *edges(centred, count, out, a, b), float(best[k])


def _centre(total: Float, count: Float, out: Bool) -> float:
    """Mean of q of normal images, slightly below 0 because bad images lower the ranks of all others."""
    use = (count > 0) & ~out
    if not use.any():
        return 0.0
    mean = total[use] / count[use]
    order = np.argsort(mean, kind="stable")
    weight = np.cumsum(count[use][order])
    return float(mean[order][np.searchsorted(weight, 0.5 * weight[-1])])


def _described(data: Deviations, d: int, first: int, last: int, chance: float) -> Stretch:
    inside = (data.data_set == d) & (data.image >= first) & (data.image <= last)
    known = np.isfinite(data.z2)
    here, there = data.z2[inside & known], data.z2[~inside & known]
    usual = float(np.minimum(there, 16.0).mean()) if len(there) else np.nan
    excess = float(np.minimum(here, 16.0).mean()) / usual if len(here) and usual > 0 else float("nan")
    gain, error = gain_without(data, inside)
    return Stretch(d, first, last, int(np.count_nonzero(inside)), excess, chance, gain, error)


def gain_without(data: Deviations, inside: Bool) -> tuple[float, float]:
    """The gain in the prediction of observations outside if those inside are left out, and its standard error.

    Every outside observation of a reflection with two or more observations outside and one or more inside is left
    out and predicted by the weighted mean of the others, with and without the inside ones. ``inside``: (n,).
    Returns the relative decrease of the mean squared deviation; NaN if there is no such reflection.
    """
    if data.predicting is not None:
        data = replace(data, groups=data.predicting, predicting=None)
    data, inside = _thinned(data, inside)
    groups, w = data.groups, data.merged / data.variance
    wx = w * data.x
    outside = ~inside & data.merged
    n_in, n_out = groups.sum((inside & data.merged).astype(float)), groups.sum(outside.astype(float))
    tells = groups.spread((n_in > 0) & (n_out > 1)) & outside
    if not tells.any():
        return float("nan"), float("nan")
    w_out, x_out = groups.spread(groups.sum(w * outside)), groups.spread(groups.sum(wx * outside))
    w_all, x_all = groups.spread(groups.sum(w)), groups.spread(groups.sum(wx))
    apart, together = w_out - w, w_all - w
    safe = tells & (apart > 1e-12 * w_all) & (together > 0)
    without = (x_out - wx)[safe] / apart[safe]
    with_them = (x_all - wx)[safe] / together[safe]
    x, wi = data.x[safe], w[safe]
    cap = 25.0
    gained = np.minimum((x - with_them) ** 2 * wi, cap) - np.minimum((x - without) ** 2 * wi, cap)
    # deviations within one reflection are correlated, so the error is calculated from sums over reflections
    number = np.repeat(np.arange(len(groups)), groups.sizes())[safe]
    per_group = np.bincount(number, gained, len(groups))
    members = np.bincount(number, minlength=len(groups))
    use = members > 0
    base = float(np.minimum((x - with_them) ** 2 * wi, cap).mean())
    n = int(members.sum())
    mean = float(per_group.sum() / n)
    error = float(np.sqrt(((per_group[use] - mean * members[use]) ** 2).sum())) / n
    return mean / base, error / base


def _thinned(data: Deviations, inside: Bool) -> tuple[Deviations, Bool]:
    """The reflections that have observations inside; if these are many, every k-th of them."""
    groups = data.groups
    use = groups.sum(inside.astype(float)) > 0
    n_rows = int(groups.sizes()[use].sum())
    if n_rows > MOST_ROWS:
        kept = np.zeros(len(groups), bool)
        kept[np.flatnonzero(use)[:: -(-n_rows // MOST_ROWS)]] = True
        use = kept
    if use.all():
        return data, inside
    rows = np.flatnonzero(groups.spread(use))
    part = Deviations(
        groups.choose(use),
        data.data_set[rows],
        data.image[rows],
        data.x[rows],
        data.variance[rows],
        data.z2[rows],
        data.merged[rows],
    )
    return part, inside[rows]


def _erfc(x: Array) -> Float:
    from math import erfc

    return np.array([erfc(float(value)) for value in np.atleast_1d(x)])
