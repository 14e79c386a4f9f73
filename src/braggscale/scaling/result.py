"""All results of a run, for writers and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from braggscale.data.fit_subset import Selection
from braggscale.data.flags import Fate
from braggscale.data.geometry import UnitCell
from braggscale.data.preparation import count_fates
from braggscale.data.sorting import RunDataSet, SortedObservations, UsedDataSet
from braggscale.data.symmetry import Symmetry
from braggscale.models.joint_model import JointModel
from braggscale.models.settings import ModelSettings
from braggscale.numerics.array_types import Float
from braggscale.scaling.by_wavelength import Wavelengths
from braggscale.scaling.cross_validation import Validation
from braggscale.scaling.dose import ZeroDoseResult
from braggscale.scaling.filter_cycles import Filtering
from braggscale.scaling.free_set import FreeSet
from braggscale.scaling.indexing_check import IndexingCheck
from braggscale.scaling.outlying import Outlying
from braggscale.scaling.reference import ReferenceFit
from braggscale.scaling.state import Scaled
from braggscale.statistics.exclusions import Exclusions
from braggscale.statistics.half_set_statistics import HalfSets
from braggscale.statistics.merging_statistics import Statistics
from braggscale.statistics.symmetry_check import SymmetryCheck


@dataclass(frozen=True, slots=True)
class Result:
    """All results of a run.

    ``data_sets``: every data set of the input, with the final fates of its rows.  ``kept``: positions in
    ``data_sets`` of those in the output, ``used``: these data sets; observations, models and settings are numbered by
    them.
    ``models``: dictionaries to store.
    ``esd``: standard deviations of theta, (n_parameters,), None without a covariance.
    ``indexing``: the check of indexing, None if there was nothing to compare.  ``filtering``: None if it was not
    asked for. ``reference``: comparison of a reference with the data, None without one.  ``free_set``: None without
    one. ``wavelengths``: statistics of each, None if there is only one.  ``zero_dose``: None if it was not asked
    for. ``outlying``: unusual values of data sets.
    ``batch_lines``: the table of batch numbers after exclusions, empty if nothing was excluded.
    ``not_indexed``: rows that belong to no data set.
    ``exclusions``: images and data sets that disagree with the rest.  ``symmetry_check``: whether the space group fits.
    """

    data_sets: tuple[RunDataSet, ...]
    kept: tuple[int, ...]
    used: tuple[UsedDataSet, ...]
    symmetry: Symmetry
    cell: UnitCell
    data: SortedObservations
    settings: tuple[ModelSettings, ...]
    model: JointModel
    scaled: Scaled
    esd: Float | None
    models: tuple[dict[str, Any], ...]
    selection: Selection
    statistics: Statistics | None
    batch_lines: tuple[str, ...]
    not_indexed: int
    seconds: Mapping[str, float]
    validation: Validation | None = None
    exclusions: Exclusions = field(default_factory=Exclusions)
    symmetry_check: SymmetryCheck = field(default_factory=SymmetryCheck)
    indexing: IndexingCheck | None = None
    filtering: Filtering | None = None
    reference: ReferenceFit | None = None
    free_set: FreeSet | None = None
    half_sets: HalfSets | None = None
    wavelengths: Wavelengths | None = None
    zero_dose: ZeroDoseResult | None = None
    outlying: tuple[Outlying, ...] = ()

    def parameter_name(self, p: int) -> str:
        """A parameter in words: component, number, data set, and image.

        Raises IndexError if there is no parameter ``p``.
        """
        for d, component, where in self.model.parts():
            if where.start <= p < where.stop:
                name = f"{component.name} {p - where.start + 1} of data set {self.used[d].identifier}"
                known = component.describe()
                if known.form == "curve":
                    image = float(known.axes[0][1][p - where.start])
                    name += f" (image {max(image, 0) + 1:.0f})"
                return name
        raise IndexError(p)

    def ledger(self) -> dict[str, dict[Fate, int]]:
        """Input rows by data set and fate, and those without a data set under the name '-'."""
        counts = {member.identifier: count_fates(member.fate) for member in self.data_sets}
        if self.not_indexed:
            counts["-"] = {Fate.NOT_INDEXED: self.not_indexed}
        return counts
