"""All tests for images and data sets without which a run would be better.

The images and data sets of ``bad_stretches`` are left out together, and the gain is measured for all of them together.
A data set is also found if its ΔCC1/2 (CC1/2 of all data minus CC1/2 without it) is far below that of all others; the
gain is then the change of CC1/2. If there is no gain, a data set is named but its exclusion is not recommended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.numerics.array_types import Bool
from braggscale.statistics.bad_stretches import (
    FALSE_ALARM,
    Stretch,
    bad_data_sets,
    bad_stretches,
    gain_without,
)
from braggscale.statistics.deviation_scores import Deviations

MOST_OF_ALL = 0.5  # if more than this share of the observations disagrees, it is not clear which part is right


@dataclass(frozen=True, slots=True)
class Exclusions:
    """``stretches``: runs of images that disagree; ``data_sets``: whole data sets.  ``false_alarm``: probability
    that a run of the program without bad images finds any.

    ``gain``, ``gain_error``: relative decrease of the squared deviation with which the other observations are
    predicted, if everything that is recommended is left out, and its standard error; NaN if nothing is recommended.
    """

    stretches: tuple[Stretch, ...] = ()
    data_sets: tuple[Stretch, ...] = ()
    false_alarm: float = FALSE_ALARM
    gain: float = float("nan")
    gain_error: float = float("nan")


def exclusions(data: Deviations, n_images: Sequence[int]) -> Exclusions:
    """Images and data sets that disagree, and the gain without them.  ``n_images``: of each data set, (n_sets,)."""
    runs = bad_stretches(data, n_images)
    # a data set with some bad images is not treated as bad as a whole
    rest = replace(data, z2=np.where(_inside(data, runs), np.nan, data.z2)) if runs else data
    whole = bad_data_sets(rest, len(n_images))
    gone = {one.data_set for one in whole if one.worth_leaving_out}
    runs = [one for one in runs if one.data_set not in gone]
    inside = _inside(data, [one for one in (*whole, *runs) if one.worth_leaving_out])
    share = np.count_nonzero(inside) / max(len(inside), 1)
    if share > MOST_OF_ALL:
        nothing = float("nan")
        runs, whole = ([replace(one, gain=nothing, gain_error=nothing) for one in found] for found in (runs, whole))
        return Exclusions(tuple(runs), tuple(whole))
    gain, error = gain_without(data, inside) if inside.any() else (float("nan"), float("nan"))
    return Exclusions(tuple(runs), tuple(whole), gain=gain, gain_error=error)


def _inside(data: Deviations, stretches: Sequence[Stretch]) -> Bool:
    result = np.zeros(len(data.image), bool)
    for one in stretches:
        result |= (data.data_set == one.data_set) & (data.image >= one.first) & (data.image <= one.last)
    return result
