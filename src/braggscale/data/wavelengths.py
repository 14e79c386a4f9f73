"""Which data sets were measured at the same wavelength."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.numerics.array_types import Int

# Wavelengths that differ by less than this, Angstrom, are treated as equal (DIALS behaviour).
WAVELENGTH_TOLERANCE = 1e-4
# Stills with more different wavelengths were not measured at so many: the wavelength scatters from shot to shot.
MOST_OF_STILLS = 6


def wavelength_groups(
    experiments: Sequence[Experiment], tolerance: float = WAVELENGTH_TOLERANCE
) -> tuple[tuple[float, ...], Int]:
    """The different wavelengths, in the order of their first experiments, and the number of the wavelength of each one.

    Wavelengths belong to one group if, sorted, each is within ``tolerance`` of the next; stills with more than
    MOST_OF_STILLS groups are one. So the shots of a free-electron laser are one data set, few or many, and the two
    sides of an absorption edge are two. A group's wavelength is the mean over its experiments.
    Returns Angstrom, and (n_experiments,).
    """
    values = np.array([experiment.beam.wavelength for experiment in experiments])
    order = np.argsort(values, kind="stable")
    group = np.empty(len(values), np.int64)
    group[order] = np.concatenate(([0], np.cumsum(np.diff(values[order]) > tolerance * (1 + 1e-9))))
    if group.max(initial=0) >= MOST_OF_STILLS and all(experiment.is_still for experiment in experiments):
        group[:] = 0
    _, first, group = np.unique(group, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    group = rank[group]
    return tuple(float(values[group == k].mean()) for k in range(len(first))), group
