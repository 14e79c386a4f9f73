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

**Edges.** Around the best run every first and last image is tried; the pair with the highest likelihood of a shift of
the mean is used.

**Gain.** This uses reflections with observations inside and outside of the run. One outside observation at a time is
left out and predicted from the others, with and without the observations inside. The gain is the mean decrease of its
squared deviation, in units of its variance, given with its standard error. A run is recommended for exclusion only if
there is a gain. (If the gain had to exceed two standard errors, only six of ten stretches of 200 observations with
doubled errors would be found; the test above already limits the number of false alarms.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Array, Bool, Float, Int

FALSE_ALARM = 0.02  # chance that a run of the program without bad images gets any recommendation
STRATA = 10  # classes of I/sigma in which ranks are taken
SCORE_VARIANCE = 2.0  # of q
MOST_STRETCHES = 5  # of one data set
LONGEST = 0.5  # share of the images of a data set that a run may have: the other images show what is normal
_MADE_UP = 300  # simulated sweeps without bad images
_SEED = 20


@dataclass(frozen=True, slots=True)
class Deviations:
    """Deviations of the merged observations from their equivalents, rows in the order of ``groups``.

    ``groups``: unique reflections, Friedel mates as they are merged.  ``data_set``, ``image``: whole numbers, images
    from 0 within their data set; stills are one image each.  ``x``: scaled intensity, ``variance``: its variance,
    ``z2``: squared deviation from the equivalents over its expected value, NaN for rows without equivalents. All (n,).
    """

    groups: Groups
    data_set: Int
    image: Int
    x: Float
    variance: Float
    z2: Float


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
        """Whether held-out observations are predicted better without it."""
        return bool(self.gain > 0.0)


def bad_stretches(data: Deviations, n_images: Sequence[int], false_alarm: float = FALSE_ALARM) -> list[Stretch]:
    """Runs of images that disagree, the most striking of each data set first.

    ``n_images``: images of each data set, (n_sets,); data sets of fewer than four are not tested.
    """
    score, known = scores(data)
    tested = [d for d, n in enumerate(n_images) if n >= 4]
    found = []
    for d in tested:
        rows = np.flatnonzero(known & (data.data_set == d))
        count = np.bincount(data.image[rows], minlength=n_images[d]).astype(np.float64)
        total = np.bincount(data.image[rows], score[rows], n_images[d]).astype(np.float64)
        out = np.zeros(n_images[d], bool)
        for _ in range(MOST_STRETCHES):
            place = _most_striking(total, count, out)
            if place is None:
                break
            first, last, t = place
            chance = 1.0 - (1.0 - _chance(t, count)) ** len(tested)
            if chance > false_alarm:
                break
            out[first : last + 1] = True
            found.append(_described(data, d, first, last, chance))
    return found


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


def scores(data: Deviations) -> tuple[Float, Bool]:
    """q of every observation, (n,), and which have one: those with equivalents."""
    from scipy.special import ndtri

    known: Bool = np.isfinite(data.z2)
    score = np.zeros(len(data.z2))
    rows = np.flatnonzero(known)
    if len(rows) == 0:
        return score, known
    strength = data.x[rows] / np.sqrt(data.variance[rows])
    stratum = np.argsort(np.argsort(strength, kind="stable"), kind="stable") * STRATA // len(rows)
    for k in range(STRATA):
        mine = rows[stratum == k]
        order = np.argsort(data.z2[mine], kind="stable")
        u = (np.arange(len(mine)) + 0.5) / max(len(mine), 1)
        score[mine[order]] = ndtri(0.5 + 0.5 * u) ** 2 - 1.0
    return score, known


def _lengths(n: int) -> list[int]:
    """Lengths of runs that are tried: 1, 2, 3, 4, 6, 8, 12, ... up to LONGEST of all."""
    most = max(int(LONGEST * n), 1)
    found = sorted({round(2 ** (k / 2)) for k in range(2 * most.bit_length() + 1)})
    return [length for length in found if length <= most]


def _scan(total: Float, count: Float, out: Bool) -> tuple[Float, Int, Int]:
    """The largest T of each length, with first image and length, (n_lengths,) each."""
    n = len(total)
    sums = np.concatenate([[0.0], np.cumsum(np.where(out, 0.0, total))])
    counts = np.concatenate([[0.0], np.cumsum(np.where(out, 0.0, count))])
    gone = np.concatenate([[0], np.cumsum(out)])
    best, first, lengths = [], [], _lengths(n)
    for length in lengths:
        s, c = sums[length:] - sums[:-length], counts[length:] - counts[:-length]
        clear = (gone[length:] == gone[:-length]) & (c > 0)
        t = np.divide(s, np.sqrt(np.maximum(c, 1.0) * SCORE_VARIANCE), out=np.full(len(s), -np.inf), where=clear)
        usual = np.abs(t[clear])
        # 0.6745 is the median of |t| for independent observations; v_L is at least 1
        width = max(float(np.median(usual)) / 0.6745, 1.0) if len(usual) >= 8 else 1.0
        k = int(np.argmax(t))
        best.append(t[k] / width)
        first.append(k)
    return np.array(best), np.array(first), np.array(lengths)


def _most_striking(total: Float, count: Float, out: Bool) -> tuple[int, int, float] | None:
    """First and last image of the run with the largest T after its edges have been adjusted, and this T."""
    centred = total - count * _centre(total, count, out)
    best, first, lengths = _scan(centred, count, out)
    k = int(np.argmax(best))
    if not np.isfinite(best[k]):
        return None
    a, b = int(first[k]), int(first[k] + lengths[k]) - 1
    return *_edges(centred, count, out, a, b), float(best[k])


def _centre(total: Float, count: Float, out: Bool) -> float:
    """Mean of q of normal images, slightly below 0 because bad images lower the ranks of all others."""
    use = (count > 0) & ~out
    if not use.any():
        return 0.0
    mean = total[use] / count[use]
    order = np.argsort(mean, kind="stable")
    weight = np.cumsum(count[use][order])
    return float(mean[order][np.searchsorted(weight, 0.5 * weight[-1])])


def _edges(total: Float, count: Float, out: Bool, a: int, b: int) -> tuple[int, int]:
    """The run about a to b with the highest likelihood of a shifted mean: sum^2 / n, sums over its observations."""
    reach = b - a + 3
    low, high = max(a - reach, 0), min(b + reach, len(total) - 1)
    sums = np.concatenate([[0.0], np.cumsum(np.where(out, 0.0, total)[low : high + 1])])
    counts = np.concatenate([[0.0], np.cumsum(np.where(out, 0.0, count)[low : high + 1])])
    s, n = sums[None, :] - sums[:, None], counts[None, :] - counts[:, None]
    gain = np.where((n > 0) & (s > 0), s * s / np.maximum(n, 1.0), 0.0)
    first, end = np.unravel_index(int(np.argmax(gain)), gain.shape)
    return low + int(first), low + int(end) - 1


@lru_cache(maxsize=64)
def _gumbel(n: int, per_image: int) -> tuple[float, float]:
    """Location and scale of the largest T of a sweep without bad images: n images of so many observations each."""
    rng = np.random.default_rng(_SEED)
    count, nothing = np.full(n, float(per_image)), np.zeros(n, bool)
    largest = []
    for _ in range(_MADE_UP):
        total = rng.chisquare(per_image, n) - per_image
        largest.append(float(_scan(total, count, nothing)[0].max()))
    scale = float(np.std(largest)) * np.sqrt(6.0) / np.pi
    return float(np.mean(largest)) - 0.5772 * scale, scale


def _chance(t: float, count: Float) -> float:
    """Probability that a sweep without bad images has a T as large.  ``count``: observations of each image."""
    # rounded to a quarter of an octave, so that sweeps of nearly equal size share one simulation
    images = max(int(2 ** (round(4 * np.log2(len(count))) / 4)), 4)
    per_image = max(int(2 ** (round(4 * np.log2(max(float(np.median(count)), 1.0))) / 4)), 1)
    location, scale = _gumbel(images, per_image)
    return float(-np.expm1(-np.exp(-(t - location) / scale)))


def _described(data: Deviations, d: int, first: int, last: int, chance: float) -> Stretch:
    inside = (data.data_set == d) & (data.image >= first) & (data.image <= last)
    known = np.isfinite(data.z2)
    here, there = data.z2[inside & known], data.z2[~inside & known]
    usual = float(np.minimum(there, 16.0).mean()) if len(there) else np.nan
    excess = float(np.minimum(here, 16.0).mean()) / usual if len(here) and usual > 0 else float("nan")
    gain, error = gain_without(data, inside)
    return Stretch(d, first, last, int(np.count_nonzero(inside)), excess, chance, gain, error)


def gain_without(data: Deviations, inside: Bool) -> tuple[float, float]:
    """How much better observations outside are predicted without those inside, and the standard error.

    Every outside observation of a reflection with two or more observations outside and one or more inside is left
    out and predicted by the weighted mean of the others, with and without the inside ones. ``inside``: (n,).
    Returns the relative decrease of the mean squared deviation; NaN if there is no such reflection.
    """
    groups, w = data.groups, 1.0 / data.variance
    wx = w * data.x
    outside = ~inside
    n_in, n_out = groups.sum(inside.astype(float)), groups.sum(outside.astype(float))
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


def _erfc(x: Array) -> Float:
    from math import erfc

    return np.array([erfc(float(value)) for value in np.atleast_1d(x)])
