"""Test of two observations of a reflection that disagree and have no third one for comparison.

Both deviate from each other by the same amount, so the test of leave_one_out.py only shows that one of them is wrong.
The distributions of intensities and of outliers say which one is more likely to be wrong. With x = I/g, x1 < x2,
Sigma = epsilon <I>(d), and n+, n- outliers above and below their equivalents in the larger groups,

    P(x2 is wrong)/P(x1 is wrong) = n+/n- exp((x2 - max(x1, 0))/Sigma)

The exponential comes from the acentric distribution of intensities (Wilson, Acta Cryst. 2 (1949) 318; that of centric
reflections falls in a similar way): an intensity far above the average is rarer than an outlier of that size. Where
both are below the average, n+/n- decides.
"""

from __future__ import annotations

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float

# With odds below this both observations stay.
LEAST_ODDS = 3.0
# Added to n+ and n-, because with few outliers n+/n- is uncertain.
UNSEEN = 1.0


def log_odds(low: Float, high: Float, mean: Float, above: int, below: int) -> Float:
    """ln of P(the higher one is wrong)/P(the lower one is), (n,).

    ``low``, ``high``: x1, x2, ``mean``: Sigma, (n,).  ``above``, ``below``: n+, n-.
    """
    excess = np.divide(high - np.maximum(low, 0.0), mean, out=np.zeros(len(mean)), where=mean > 0)
    result: Float = np.maximum(excess, 0.0) + np.log((above + UNSEEN) / (below + UNSEEN))
    return result


def disputed(z2: Float, groups: Groups, inside: Bool, before: Bool, limits: tuple[float, float]) -> Bool:
    """Groups with just two members in that disagree, (n_groups,).

    ``z2``: squared deviation of each from the other, ``inside``: accepted rows, ``before``: rows that were out
    before, all (n,).  ``limits``: z_max, z_back; the latter is used if one of the two was out before.
    """
    known = groups.sum(inside & before) == 1
    worst = np.maximum.reduceat(np.where(inside, z2, 0.0), groups.offsets[:-1])
    result: Bool = (groups.sum(inside) == 2) & (worst > np.where(known, limits[1], limits[0]) ** 2)
    return result


def likely_wrong(x: Float, mean: Float, groups: Groups, inside: Bool, n_outliers: tuple[int, int]) -> Bool:
    """The member of each pair that is more likely wrong, (n,); none if the odds are too low.

    ``x``: I/g, ``mean``: Sigma, ``inside``: (n,), two in each group.  ``n_outliers``: n+, n-.
    """
    starts = groups.offsets[:-1]
    low = np.minimum.reduceat(np.where(inside, x, np.inf), starts)
    high = np.maximum.reduceat(np.where(inside, x, -np.inf), starts)
    odds = log_odds(low, high, mean[starts], *n_outliers)
    wrong = np.where(odds > 0, high, low)
    sure = np.abs(odds) >= np.log(LEAST_ODDS)
    result: Bool = inside & groups.spread(sure & (low < high)) & (x == groups.spread(wrong))
    return result
