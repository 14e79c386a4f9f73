"""The dose at which each observation was made, in numbers of images, and intensities at dose zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.experiment import Experiment, Sweep
from braggscale.data.geometry import UnitCell, inverse_d_squared
from braggscale.data.sorting import SortedObservations
from braggscale.numerics.array_types import Bool, Float, Int32
from braggscale.scaling.state import Scaled
from braggscale.statistics.zero_dose import ZeroDose, zero_dose


@dataclass(frozen=True, slots=True)
class ZeroDoseResult:
    """``found``: by unique reflection, Friedel mates together; ``hkl``: their indices, (n, 3)."""

    found: ZeroDose
    hkl: Int32
    same_crystal: bool


def images_before(experiments: Sequence[Experiment], same_crystal: bool) -> tuple[tuple[float, ...], int]:
    """For each data set the number that is added to an image (array index) to get its dose; and the dose at the end.

    ``same_crystal``: whether the sweeps follow each other on one crystal, in their order. If not, each begins at
    dose 0, and the dose at the end is that of the longest.  Stills do not count.
    """
    lengths = [e.kind.scan.n_images if isinstance(e.kind, Sweep) else 0 for e in experiments]
    first = [e.kind.scan.image_range[0] - 1 if isinstance(e.kind, Sweep) else 0 for e in experiments]
    earlier = np.concatenate(([0], np.cumsum(lengths)[:-1])) if same_crystal else np.zeros(len(lengths))
    whole = max(sum(lengths) if same_crystal else max(lengths), 1)
    return tuple((earlier - first).tolist()), whole


def doses(data: SortedObservations, experiments: Sequence[Experiment], same_crystal: bool) -> Float:
    """Dose of each observation, (n,), from 0 to 1: images before it, over all images.

    ``same_crystal``: whether the sweeps follow each other on one crystal, in their order. If not, each begins at 0,
    and the longest ends at 1.  Stills have dose 0.
    """
    before, whole = images_before(experiments, same_crystal)
    d = data.rows.data_set
    swept = np.array([isinstance(experiment.kind, Sweep) for experiment in experiments])[d]
    result: Float = np.where(swept, (np.array(before)[d] + data.rows.xyz[:, 2]) / whole, 0.0)
    return result


def at_zero_dose(
    data: SortedObservations,
    scaled: Scaled,
    good: Bool,
    experiments: Sequence[Experiment],
    cell: UnitCell,
    same_crystal: bool,
) -> ZeroDoseResult:
    """Intensities at dose zero.  ``good``: rows that are merged, (n,).  ``experiments``: of the data sets in use."""
    state = scaled.state
    # an observation may be an outlier because of the dose, so ``zero_dose`` judges outliers again
    doubtful = state.rejected & ~state.impossible & ~state.shadowed & (state.scale > 0)
    there = good | doubtful
    scale = np.where(there, state.scale, 1.0)
    weight = np.where(there, scale**2 / scaled.variance, 0.0)
    x = np.where(there, state.values.intensity / scale, 0.0)
    groups = data.friedel_merged
    hkl = data.asu[groups.offsets[:-1]].astype(np.int32)
    dose = doses(data, experiments, same_crystal)
    result = zero_dose(groups, x, weight, dose, inverse_d_squared(hkl, cell), doubtful)
    return ZeroDoseResult(result, hkl, same_crystal)
