"""Which data sets can be put on one scale: those that share reflections, directly or through others."""

from __future__ import annotations

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Array, Int


def connected_sets(data_set: Array, groups: Groups, n_data_sets: int) -> Int:
    """Number of the connected part that each data set belongs to, from 0 in their order, (n_data_sets,).

    Every data set takes the smallest number among those that it shares a reflection with, until nothing changes.
    ``data_set``: of each row, in groups, (n,).
    """
    label = np.arange(n_data_sets)
    if n_data_sets > 1 and len(groups):
        while True:
            own = label[data_set]
            least = groups.spread(np.minimum.reduceat(own, groups.offsets[:-1]))
            higher = least < own
            if not higher.any():
                break
            # when a label is replaced by a smaller one, all data sets with this label get the smaller one
            falls = np.arange(n_data_sets)
            np.minimum.at(falls, own[higher], least[higher])
            label = falls[label]
    return np.asarray(np.unique(label, return_inverse=True)[1].ravel())
