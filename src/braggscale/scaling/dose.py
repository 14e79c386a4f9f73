"""The dose at which each observation was made, in numbers of images, and intensities at dose zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.experiment import Experiment, Sweep
from braggscale.data.geometry import UnitCell, inverse_d_squared
from braggscale.data.sorting import SortedObservations
from braggscale.numerics.array_types import Bool, Float, Int32
from braggscale.scaling.rounds import scale_data
from braggscale.scaling.state import RoundSettings, Scaled, ScalingProblem, Start
from braggscale.statistics.zero_dose import ZeroDose, zero_dose

# How many times scales are fitted again to intensities without their changes.
REFITS = 1


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
    dose: Float,
    cell: UnitCell,
    again: tuple[ScalingProblem, RoundSettings] | None,
) -> ZeroDose:
    """Intensities at dose zero, by unique reflection, Friedel mates together.

    Scales were fitted as if intensities did not change. So they have adapted to the changes, as far as they can.
    Therefore they are fitted again to intensities from which the changes are taken off, and the changes are determined
    with the new scales.
    ``good``: rows that are merged, ``dose``: (n,).  ``again``: for the fits of scales, None if they are kept.
    """
    state = scaled.state
    # an observation may be an outlier because of the dose, so ``zero_dose`` judges outliers again
    doubtful = state.rejected & ~state.impossible & ~state.shadowed & (state.scale > 0)
    there = good | doubtful
    groups = data.friedel_merged
    s = inverse_d_squared(data.asu[groups.offsets[:-1]].astype(np.int32), cell)

    def found(g: Float) -> ZeroDose:
        scale = np.where(there & (g > 0), g, 1.0)
        weight = np.where(there & (g > 0), scale**2 / scaled.variance, 0.0)
        return zero_dose(groups, np.where(weight > 0, state.values.intensity / scale, 0.0), weight, dose, s, doubtful)

    g = state.scale
    result = found(g)
    for _ in range(REFITS if again else 0):
        if result.tau == 0:
            break
        g = scales_without_changes(*again, scaled, g * result.change)
        result = found(g)
    return result


def scales_without_changes(problem: ScalingProblem, settings: RoundSettings, scaled: Scaled, change: Float) -> Float:
    """Inverse scale factors, (n,), fitted to intensities without what they have gained since dose zero.

    ``change``: that gain, counts, (n,).
    """
    rows, state = problem.rows, scaled.state
    rows = replace(rows, i_sum=rows.i_sum - change, i_prf=rows.i_prf - change)
    stored = np.ones(len(problem.model.data_sets), bool)
    start = Start(state.theta, stored, state.errors, state.i_mid, state.strengths)
    return scale_data(replace(problem, rows=rows), start, settings).state.scale
