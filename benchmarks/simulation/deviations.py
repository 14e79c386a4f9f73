"""Made-up deviations of observations from their equivalents, with bad images and data sets where they are wanted."""

from __future__ import annotations

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.statistics.deviation_scores import Deviations

N_IMAGES = 240


def observations(
    seed: int,
    rows: int = 4000,
    n_sets: int = 1,
    bad: tuple[int, int] | None = None,
    factor: float = 2.0,
    bad_set: int | None = None,
    drift: float = 0.02,
) -> Deviations:
    """Deviations of made-up data with errors that images share with those before and after them.

    ``rows``: of all data sets together.  ``bad``: first and last image of data set 0 with ``factor`` times the errors.
    ``bad_set``: a data set with so much larger errors.  ``drift``: of the scale that was not corrected, a share.
    """
    rng = np.random.default_rng(seed)
    group = np.unique(np.sort(rng.integers(0, rows // 4, rows)), return_inverse=True)[1]
    groups = Groups.from_keys(group)
    truth = rng.exponential(100.0, group.max() + 1)[group]
    image, data_set = rng.integers(0, N_IMAGES, rows), rng.integers(0, n_sets, rows)
    sd = np.sqrt(truth + 10.0 + (0.03 * truth) ** 2)
    wander = np.zeros((n_sets, N_IMAGES))
    for k in range(1, N_IMAGES):
        wander[:, k] = 0.9 * wander[:, k - 1] + 0.44 * rng.normal(size=n_sets)
    scatter = np.ones(rows)
    if bad is not None:
        scatter[(data_set == 0) & (image >= bad[0]) & (image <= bad[1])] = factor
    if bad_set is not None:
        scatter[data_set == bad_set] = factor
    x = truth * (1.0 + drift * wander[data_set, image]) + scatter * sd * rng.normal(size=rows)
    w = 1.0 / sd**2
    total, mean = (groups.spread(groups.sum(of)) for of in (w, w * x))
    mean = mean / total
    several = groups.spread(groups.sizes()) > 1
    z2 = np.where(several, (x - mean) ** 2 * w / np.maximum(1.0 - w / total, 1e-3), np.nan)
    return Deviations(groups, data_set, image, x, sd**2, z2, np.ones(rows, bool))
