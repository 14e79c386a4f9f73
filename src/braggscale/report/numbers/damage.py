"""Radiation damage: how the disagreement of two equivalent observations grows with the images between them.

Over pairs i, j of observations of one reflection in one data set,

    R_d(D)  = sum |x_i - x_j| / sum (x_i + x_j)/2     pairs whose images are D apart
              (Diederichs, Acta Cryst. D62 (2006) 96),
    R_cp(N) = the same over all pairs of which both images come before N, counted from the first of the sweep (CHEF).

Without damage R_d is constant. Pairs from different sweeps are not used, because the files do not say whether the
doses of sweeps add up.
"""

from __future__ import annotations

import numpy as np

from braggscale.numerics.array_types import Float, Int
from braggscale.report.numbers.image_bins import ImageBins
from braggscale.report.numbers.json_numbers import column, counts, numbers, share, significant, total
from braggscale.report.numbers.scaled_observations import Observed
from braggscale.report.summary_sections import RadiationDamage, Trend
from braggscale.report.summary_values import Matrix
from braggscale.statistics.influence import Segments

MOST_PAIRS = 400_000
MOST_MEMBERS = 48  # of one reflection in one data set
BINS = 20
FEWEST_PAIRS = 200
RANGES = 3


def radiation_damage(seen: Observed, segments: Segments, bins: ImageBins) -> RadiationDamage | None:
    """R_d against the difference of images, R_cp against the image; None where there are too few pairs.

    ``segments``: of ``seen.grouping`` by data set.
    """
    first, second = _pairs(segments)
    image = np.floor(seen.xyz[:, 2]) + 1 - bins.origin[seen.data_set]
    friedel_split = np.abs(image[first] - image[second])
    longest = float(friedel_split.max()) if len(friedel_split) else 0.0
    if len(first) < FEWEST_PAIRS or longest < 3:
        return None
    above = np.abs(seen.x[first] - seen.x[second])
    below = 0.5 * (seen.x[first] + seen.x[second])
    n = int(min(BINS, longest + 1))
    width = (longest + 1) / n
    s = seen.friedel_merged.spread(seen.s)[first]
    edges = np.quantile(s, np.linspace(0, 1, RANGES + 1))
    third = np.clip(np.searchsorted(edges, s, side="right") - 1, 0, RANGES - 1)
    where = np.minimum(friedel_split / width, n - 1).astype(np.int64)
    latest = np.maximum(image[first], image[second])
    span = float(latest.max()) + 1
    step = span / n
    later = np.minimum(latest / step, n - 1).astype(np.int64)
    number = total(where, n)
    r_d = share(total(where, n, above), total(where, n, below))
    middle: Float = (np.arange(n, dtype=np.float64) + 0.5) * width
    return RadiationDamage(
        pairs=len(first),
        difference=numbers(middle),
        pairs_at_difference=counts(number),
        r_d=column(r_d),
        r_d_by_range=_by_range(where, third, n, above, below, cumulative=False),
        image=numbers((np.arange(n) + 1) * step),
        r_cp=column(share(np.cumsum(total(later, n, above)), np.cumsum(total(later, n, below)))),
        r_cp_by_range=_by_range(later, third, n, above, below, cumulative=True),
        range_limits=numbers(edges**-0.5),
        trend=_trend(middle, r_d, number, longest),
    )


def _pairs(segments: Segments) -> tuple[Int, Int]:
    """Rows of both members of each pair; every k-th segment where there are too many."""
    sizes = np.minimum(segments.sizes(), MOST_MEMBERS)
    use = np.flatnonzero(sizes > 1)
    n_pairs = int((sizes[use] * (sizes[use] - 1) // 2).sum())
    if n_pairs > MOST_PAIRS:
        use = use[:: -(-n_pairs // MOST_PAIRS)]
    starts = segments.offsets[:-1]
    left: list[Int] = [np.zeros(0, np.int64)]
    right: list[Int] = [np.zeros(0, np.int64)]
    for size in np.unique(sizes[use]).tolist():
        mine = use[sizes[use] == size]
        # if a reflection has more members, this number of them is chosen at equal intervals
        spread = np.arange(size) * (segments.sizes()[mine] / size)[:, None]
        member = segments.order[starts[mine][:, None] + spread.astype(np.int64)]
        i, j = np.triu_indices(size, 1)
        left.append(member[:, i].ravel())
        right.append(member[:, j].ravel())
    return np.concatenate(left), np.concatenate(right)


def _by_range(where: Int, third: Int, n: int, above: Float, below: Float, cumulative: bool) -> Matrix:
    key = third * n + where
    sums = [total(key, RANGES * n, v).reshape(RANGES, n) for v in (above, below)]
    if cumulative:
        sums = [v.cumsum(axis=1) for v in sums]
    return [column(row) for row in share(sums[0], sums[1])]


def _trend(x: Float, r: Float, weight: Float, longest: float) -> Trend | None:
    """Weighted straight line: R_d at no difference, rise to the longest one, standard error of the rise."""
    use = np.isfinite(r) & (weight >= FEWEST_PAIRS / BINS)
    if use.sum() < 4:
        return None
    x, r, w = x[use] / longest, r[use], weight[use]
    centre = float((w * x).sum() / w.sum())
    dx = x - centre
    spread = float((w * dx * dx).sum())
    mean = float((w * r).sum() / w.sum())
    rise = float((w * dx * r).sum()) / spread
    misfit = float((w * (r - mean - rise * dx) ** 2).sum()) / (len(x) - 2)
    return Trend(
        start=significant(mean - rise * centre),
        rise=significant(rise),
        esd=significant(float(np.sqrt(misfit / spread)), 3),
    )
