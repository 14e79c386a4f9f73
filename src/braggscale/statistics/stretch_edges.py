"""Where a run of bad images begins and ends, and whether two runs are one.

The mean of z^2 = q + 1 (``deviation_scores``) is 1 for good images. If the errors of a run are larger by one
factor, the mean in it is m, and twice the logarithm of the likelihood ratio is n (m - 1 - ln m) for n observations.
All pairs of a first and a last image are tried; the one with the highest likelihood is used.

If a reflection has few equivalents, a bad observation makes those on good images deviate, too. So the edges are
determined a second time: each observation in a window of three times the length of the run is compared only with
its equivalents outside of all windows, which are good.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.numerics.array_types import Array, Bool, Float
from braggscale.statistics.deviation_scores import STRATA, Deviations, score_among, stratum_of

MARGIN = 3  # images beyond the length of a run on either side that its window has at least
FEWEST = 50  # observations outside the windows in a class of I/sigma, for their distribution to be known

Run = tuple[int, int, float]


def likelihood(s: Array, n: Array) -> Float:
    """Twice the logarithm of the likelihood ratio of larger errors, (n, ...); 0 where the mean of z^2 is below 1.

    ``s``: sums of q, (n, ...).  ``n``: observations, (n, ...).
    """
    excess = np.maximum(s, 0.0) / np.maximum(n, 1.0)
    return np.asarray(np.maximum(n, 0.0) * (excess - np.log1p(excess)))


def edges(total: Float, count: Float, out: Bool, a: int, b: int) -> tuple[int, int]:
    """The run near a to b with the highest likelihood.

    ``total``: sum of q of each image, less what good images have, (n_images,).  ``count``: observations, (n_images,).
    ``out``: images that belong to other runs, (n_images,).
    """
    low, high = window(a, b, len(total))
    sums = np.concatenate([[0.0], np.cumsum(np.where(out, 0.0, total)[low : high + 1])])
    counts = np.concatenate([[0.0], np.cumsum(np.where(out, 0.0, count)[low : high + 1])])
    gain = likelihood(sums[None, :] - sums[:, None], counts[None, :] - counts[:, None])
    first, end = np.unravel_index(int(np.argmax(gain)), gain.shape)
    if gain[first, end] <= 0.0:
        return a, b
    return low + int(first), low + int(end) - 1


def window(a: int, b: int, n_images: int) -> tuple[int, int]:
    """First and last image in which the edges of a run from a to b are looked for."""
    reach = b - a + MARGIN
    return max(a - reach, 0), min(b + reach, n_images - 1)


def edges_by_good(data: Deviations, d: int, runs: Sequence[Run], n_images: int) -> list[Run]:
    """Runs of data set ``d`` with their edges by deviations from equivalents outside of all their windows."""
    if not runs:
        return []
    near = np.zeros(n_images, bool)
    for a, b, _ in runs:
        low, high = window(a, b, n_images)
        near[low : high + 1] = True
    inside = (data.data_set == d) & near[np.where(data.data_set == d, data.image, 0)]
    total, count = _sums(data, inside, n_images)
    return [(*edges(total, count, np.zeros(n_images, bool), a, b), chance) for a, b, chance in runs]


def _sums(data: Deviations, inside: Bool, n_images: int) -> tuple[Float, Float]:
    """Sum of q of the observations ``inside``, and their number, by image, (n_images,).

    Every observation is compared with the weighted mean of its equivalents outside; the deviations of those inside are
    ranked among those outside with about the same I/sigma.
    """
    weight = np.where(data.merged & ~inside, 1.0 / data.variance, 0.0)
    all_of_them, with_x = (data.groups.spread(data.groups.sum(of)) for of in (weight, weight * data.x))
    others = all_of_them - weight
    rows = np.flatnonzero(np.isfinite(data.z2) & (others > 1e-9 * all_of_them))
    mean = (with_x - weight * data.x)[rows] / others[rows]
    z2 = (data.x[rows] - mean) ** 2 / (data.variance[rows] + 1.0 / others[rows])
    stratum, judged = stratum_of(data.x[rows] / np.sqrt(data.variance[rows])), inside[rows]
    score, use = np.zeros(len(rows)), np.zeros(len(rows), bool)
    for k in range(STRATA):
        ours, theirs = judged & (stratum == k), ~judged & (stratum == k)
        if np.count_nonzero(theirs) >= FEWEST:
            use |= ours
            score[ours] = score_among(z2[ours], z2[theirs])
    image = data.image[rows[use]]
    total: Float = np.bincount(image, score[use], n_images).astype(np.float64)
    return total, np.bincount(image, minlength=n_images).astype(np.float64)


def joined(centred: Float, count: Float, stretches: Sequence[Run]) -> list[Run]:
    """Join neighbouring runs if the images between them are not clearly better, so that two more edges explain nothing.

    An edge costs 2 ln(number of images) of twice the logarithm of the likelihood (Yao, Stat. Probab. Lett. 6 (1988)
    181).  ``centred``: sum of q of each image, less what normal images have, (n_images,).  ``count``: observations,
    (n_images,).  The most striking one is first.
    """
    found = sorted(stretches)
    k = 0
    while k + 1 < len(found):
        (a, b, one), (c, d, other) = found[k : k + 2]
        end = max(b, d)
        apart = likelihood(centred[a : b + 1].sum(), count[a : b + 1].sum())
        apart = apart + likelihood(centred[c : d + 1].sum(), count[c : d + 1].sum())
        together = likelihood(centred[a : end + 1].sum(), count[a : end + 1].sum())
        if c <= b + 1 or apart - together < 4.0 * np.log(len(count)):
            found[k : k + 2] = [(a, end, min(one, other))]
            k = max(k - 1, 0)
        else:
            k += 1
    return sorted(found, key=lambda run: (run[2], run[0]))
