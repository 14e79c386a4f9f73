"""The dose at which each observation was made, in numbers of images, and intensities at dose zero."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.experiment import Experiment, Sweep
from braggscale.data.sorting import SortedObservations
from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int32
from braggscale.scaling.dose_scales import JointFit
from braggscale.scaling.rounds import scale_data
from braggscale.scaling.state import RoundSettings, Scaled, ScalingProblem, Start
from braggscale.statistics.zero_dose import ZeroDose, zero_dose
from braggscale.weighting.expected_variance import VarianceModel

log = logging.getLogger(__name__)

# Largest number of fits of scales, the first of them to intensities without their changes, and the movement of
# intensities at dose zero (standard deviations, root mean square) below which no other fit follows.
MOST_REFITS, SAME = 4, 0.15


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
    groups: Groups,
    s: Float,
    scaled: Scaled,
    good: Bool,
    dose: Float,
    again: tuple[ScalingProblem, RoundSettings] | None,
) -> ZeroDose:
    """Intensities at dose zero, by unique reflection, Friedel mates together.

    Scales were fitted as if intensities did not change. So they have adapted to the changes, as far as they can, and
    the errors contain the rest. Therefore scales and errors are fitted again to intensities from which the changes are
    taken off. Then steps for scales and changes together follow (dose_scales.py).
    ``groups``: of the rows, ``s``: 1/d^2 of each, (n_groups,).
    ``good``: rows that are merged, ``dose``: (n,).  ``again``: for the fits of scales, None if they are kept.
    """
    state = scaled.state
    # an observation may be an outlier because of the dose, so ``zero_dose`` judges outliers again
    doubtful = state.rejected & ~state.impossible & ~state.shadowed & (state.scale > 0)
    there = good | doubtful

    def found(g: Float, variance: Float) -> ZeroDose:
        scale = np.where(there & (g > 0), g, 1.0)
        weight = np.where(there & (g > 0), scale**2 / variance, 0.0)
        return zero_dose(groups, np.where(weight > 0, state.values.intensity / scale, 0.0), weight, dose, s, doubtful)

    g = state.scale
    result = found(g, scaled.variance)
    if again is None or result.curves is None:
        return result
    log.info("Intensities change with dose: scales are fitted again together with these changes")
    problem = again[0]
    joint: JointFit | None = None
    for number in range(MOST_REFITS):
        before, curves = result, result.curves
        if curves is None:
            break
        mu = g * curves.expected
        if joint is None:
            refit = scales_without_changes(*again, scaled, g * before.change)
            joint, theta, g = JointFit.of(problem, groups, refit), refit.state.theta, refit.state.scale
        else:
            theta, g = joint.after_step(theta, curves)
        result = found(g, _variance(_errors(problem, scaled, refit), mu, g, refit.scale_variance))
        if number > 0 and hardly_moved(before, result):
            break
    return result


def hardly_moved(before: ZeroDose, after: ZeroDose) -> bool:
    """Whether intensities at dose zero moved by less than SAME standard deviations, after one common factor.

    ``before``, ``after``: of the same reflections.
    """
    good = np.isfinite(before.intensity) & np.isfinite(after.intensity) & (after.sigma > 0)
    a, b, sigma = before.intensity[good], after.intensity[good], after.sigma[good]
    weight = sigma**-2.0
    factor = float(np.sum(weight * a * b) / max(np.sum(weight * a * a), np.finfo(float).tiny))
    z2 = ((b - factor * a) / sigma) ** 2
    return len(z2) == 0 or float(z2.mean()) < SAME**2


def scales_without_changes(problem: ScalingProblem, settings: RoundSettings, scaled: Scaled, change: Float) -> Scaled:
    """Scales and error models, fitted to intensities without what they have gained since dose zero.

    ``change``: that gain, counts, (n,).
    """
    rows, state = problem.rows, scaled.state
    rows = replace(rows, i_sum=rows.i_sum - change, i_prf=rows.i_prf - change)
    stored = np.ones(len(problem.model.data_sets), bool)
    start = Start(state.theta, stored, state.errors, state.i_mid, state.strengths)
    return scale_data(replace(problem, rows=rows), start, settings)


def _errors(problem: ScalingProblem, scaled: Scaled, refit: Scaled) -> VarianceModel:
    """Variances of the observations with the error models of a fit in which the changes are not part of the errors."""
    state = scaled.state
    of = problem.error_model_of
    model = VarianceModel.of(state.values, state.gain, problem.rows.data_set, refit.state.errors, of)
    return model if refit.outcome.strengths else model.observed()


def _variance(model: VarianceModel, mu: Float, g: Float, scale_variance: Float) -> Float:
    """Variance of each observation at its expected intensity ``mu``, counts, (n,), with that of its scale, counts^2."""
    safe = np.where(g > 0, g, 1.0)
    return np.asarray(model.at(mu) + (mu / safe) ** 2 * scale_variance)
