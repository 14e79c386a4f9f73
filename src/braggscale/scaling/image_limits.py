"""Images that are left out for their scale or their R_merge, as dials.scale did in 2018.

The scale of an image is the mean, over its observations, of the part of the inverse scale factor that does not depend
on resolution or direction: 1 on average over all data sets, small where the crystal left the beam. R_merge of an image
is sum |x - m_h| / sum x over its observations x = I/g of reflections that were measured more than once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.experiment import Still
from braggscale.data.sorting import UsedDataSet
from braggscale.data.unique_reflections import weighted_mean
from braggscale.errors import DataError
from braggscale.models.component import Component
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.scaling.conclusion import usable
from braggscale.scaling.filter_cycles import Part
from braggscale.scaling.plan import ImageLimits, Plan
from braggscale.scaling.result import Result
from braggscale.statistics.half_sets import ratio
from braggscale.wording import some_of

log = logging.getLogger(__name__)

MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class _Images:
    """Images of all data sets, numbered one after the other.

    ``of_row``: of each observation, (n,).  ``data_set``, ``number``: of each image, (n_images,): position of its data
    set in the run, and its number in the scan.
    """

    of_row: Int
    data_set: Int
    number: Int

    @classmethod
    def of(cls, result: Result) -> _Images:
        """The images of a result; a still is one image."""
        ranges = [_range(one) for one in result.used]
        first = np.array([low for low, _ in ranges])
        n = np.array([high - low + 1 for low, high in ranges])
        base = np.concatenate(([0], np.cumsum(n)[:-1]))
        d = result.data.rows.data_set
        image = np.floor(result.data.rows.xyz[:, 2]).astype(np.int64) + 1 - first[d]
        number = np.arange(n.sum()) - np.repeat(base - first, n)
        return cls(base[d] + np.clip(image, 0, n[d] - 1), np.repeat(np.arange(len(n)), n), number)


def _range(data_set: UsedDataSet) -> tuple[int, int]:
    kind = data_set.experiment.kind
    if isinstance(kind, Still):
        return 1, 1
    low, high = kind.scan.image_range
    return low, high


def images_beyond(result: Result, plan: Plan) -> list[Part]:
    """Images beyond the limits of the plan, neighbours together, and data sets of which no other image is left.

    Raises DataError if nothing would be left.
    """
    limits = plan.image_limits
    if limits is None:
        return []
    images = _Images.of(result)
    good = usable(result.data.rows.data_set, result.scaled, plan.small_scale_cutoff)
    seen = np.bincount(images.of_row[good], minlength=len(images.number)) > 0
    out = seen & _beyond(result, limits, images, good)
    log.info("")
    for name, value in limits.asked():
        log.info(f"{name}={value:g}: {np.count_nonzero(out)} of {np.count_nonzero(seen)} images are beyond the limits")
    if out.any() and not (seen & ~out).any():
        name, value = limits.asked()[0]
        raise DataError(f"{name}={value:g}: no image would be left; choose another limit")
    parts = [part for d in range(len(result.used)) for part in _parts_of(result.used[d], images, d, out, seen)]
    if parts:
        log.info(f"  left out: {some_of([str(part) for part in parts], MOST_NAMED)}; the rest is scaled again")
    return parts


def _beyond(result: Result, limits: ImageLimits, images: _Images, good: Bool) -> Bool:
    """Images beyond a limit, (n_images,)."""
    n = len(images.number)
    out = np.zeros(n, bool)
    if limits.scale is not None:
        out |= image_scales(result, images.of_row, n, good) < limits.scale
    if limits.r_merge is not None:
        out |= r_merge_of_images(result, images.of_row, n, good) > limits.r_merge
    return out


def image_scales(result: Result, image: Int, n: int, good: Bool) -> Float:
    """Mean scale of each image, (n,), NaN without any.  ``image``: of each observation, ``good``: merged, (n_rows,)."""
    scale = result.model.product(result.data.rows, result.scaled.outcome.theta, _is_scale)
    return ratio(np.bincount(image[good], scale[good], n), np.bincount(image[good], minlength=n))


def _is_scale(component: Component) -> bool:
    """Whether a component is the scale of its data set: neither a B nor a correction that is 1 on average."""
    return component.gauge_role == "factor" and not component.exponential


def r_merge_of_images(result: Result, image: Int, n: int, good: Bool) -> Float:
    """R_merge of each image, (n,), NaN without equivalents.  ``image``: of each row, ``good``: merged, (n_rows,)."""
    scaled, groups = result.scaled, result.data.friedel_merged
    scale = np.where(good, scaled.state.scale, 1.0)
    weight = np.where(good, 1.0 / scaled.variance, 0.0)
    x = scaled.state.values.intensity / scale
    mean = weighted_mean(groups, weight, scale, scaled.state.values.intensity)[0]
    rows = np.flatnonzero(good & (groups.spread(groups.sum(good.astype(np.float64))) > 1))
    away = np.abs(x - groups.spread(mean))
    return ratio(np.bincount(image[rows], away[rows], n), np.bincount(image[rows], x[rows], n))


def _parts_of(data_set: UsedDataSet, images: _Images, d: int, out: Bool, seen: Bool) -> Sequence[Part]:
    """The parts of a data set that are left out; neighbouring images form one part."""
    of_data_set = images.data_set == d
    if not (out & of_data_set).any():
        return []
    if not (seen & of_data_set & ~out).any():
        return [Part(data_set.number, data_set.data_set.id, data_set.identifier, None)]
    numbers = images.number[of_data_set & out]
    breaks = np.flatnonzero(np.diff(numbers) > 1) + 1
    return [
        Part(data_set.number, data_set.data_set.id, data_set.identifier, (int(run[0]), int(run[-1])))
        for run in np.split(numbers, breaks)
    ]
