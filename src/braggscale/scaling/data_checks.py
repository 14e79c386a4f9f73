"""Checks of the data after a run: images and data sets that disagree, and the symmetry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.data.experiment import Experiment, Still
from braggscale.data.geometry import UnitCell
from braggscale.data.sorting import SortedObservations
from braggscale.data.symmetry import Symmetry
from braggscale.data.unique_reflections import mean_of_others
from braggscale.numerics.array_types import Bool, Int
from braggscale.scaling.state import Scaled
from braggscale.statistics.deviation_scores import Deviations, mates_differ
from braggscale.statistics.exclusions import Exclusions, exclusions
from braggscale.statistics.symmetry_check import ScaledRows, SymmetryCheck, check_symmetry


def exclusions_of(
    data: SortedObservations, scaled: Scaled, good: Bool, experiments: Sequence[Experiment]
) -> Exclusions:
    """Images and data sets of a run that disagree with the rest.

    ``good``: rows that are merged, (n,).  ``experiments``: of the data sets in use.
    """
    state, rows = scaled.state, data.rows
    # Friedel mates are equivalents here where they were in the fit
    apart = len(state.mean_intensity) > len(data.friedel_merged)
    groups = data.friedel_split if apart else data.friedel_merged
    weight = good / state.variance
    expected, error = mean_of_others(groups, weight, state.scale, state.values.intensity)
    # outliers are compared, too: bad images have more of them
    known = (error > 0.0) & (good | state.rejected)
    z2 = np.full(len(good), np.nan)
    np.divide((state.values.intensity - expected) ** 2, state.variance + error, out=z2, where=known)
    ranges = [_images(experiment) for experiment in experiments]
    first = np.array([a for a, _ in ranges], np.int64)
    last = np.array([b for _, b in ranges], np.int64)
    image: Int = np.floor(rows.xyz[:, 2]).astype(np.int64) + 1 - first[rows.data_set]
    image = np.clip(image, 0, (last - first)[rows.data_set])
    x, variance = state.values.intensity / state.scale, scaled.variance / state.scale**2
    split = None
    if not apart and mates_differ(groups, data.friedel_split, x, np.where(good, variance, np.inf)):
        split = data.friedel_split
    deviations = Deviations(groups, rows.data_set, image, x, variance, z2, good, split)
    return exclusions(deviations, (last - first + 1).tolist())


def symmetry_of(
    data: SortedObservations, scaled: Scaled, good: Bool, symmetry: Symmetry, cell: UnitCell
) -> SymmetryCheck:
    """Check of the space group with the merged intensities.  ``good``: rows that are merged, (n,)."""
    rows = np.flatnonzero(good)
    scale = scaled.state.scale[rows]
    scaled_rows = ScaledRows(
        data.friedel_merged.subset(good),
        np.take(data.rows.hkl, rows, axis=0),
        np.take(data.asu, rows, axis=0),
        scaled.state.values.intensity[rows] / scale,
        scaled.variance[rows] / scale**2,
    )
    return check_symmetry(scaled_rows, symmetry, cell)


def _images(experiment: Experiment) -> tuple[int, int]:
    """First and last image in use; (1, 1) for a still."""
    kind = experiment.kind
    if isinstance(kind, Still):
        return 1, 1
    runs = kind.scan.valid_image_ranges or (kind.scan.image_range,)
    return runs[0][0], runs[-1][1]


def first_image(experiment: Experiment) -> int:
    """Number of the first image in use, which the tests count as 0."""
    return _images(experiment)[0]
