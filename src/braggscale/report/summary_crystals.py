"""The parts of scale.json about many crystals, references and free sets."""

from __future__ import annotations

from typing import Annotated

from braggscale.report.summary_values import Counts, Record, about


class IndexingEntry(Record, frozen=True):
    """Whether the data sets are indexed alike, by the correlation of each with the others."""

    operators: Annotated[list[str], about("Ways to index that the lattice allows; as the files have it first.")]
    mended: Annotated[bool, about("Whether the data have been reindexed with these operators.")]
    data_sets: Annotated[list[str], about("Identifiers of those that were compared.")]
    operator: Annotated[list[str], about("That each data set needs to agree with the others; h,k,l where it is open.")]
    decided: Annotated[list[bool], about("Whether the operator of each data set is beyond doubt.")]
    lead: Annotated[
        list[float | None], about("Of the best operator over the next, in standard deviations; null where unknown.")
    ]
    correlations: Annotated[list[list[float | None]], about("With the others, under each operator.")]
    common: Annotated[Counts, about("Observations that others have, too.")]


class FilterPartEntry(Record, frozen=True):
    """A data set, or a group of its images, and its influence on CC1/2."""

    data_set: str
    images: Annotated[list[int] | None, about("First and last; null for a whole data set.")]
    observations: int
    delta_cc_half: Annotated[float | None, about("CC1/2 of everything less that without this part.")]
    mean_z2: Annotated[float | None, about("Mean squared deviation from equivalents, over its variance.")]


class FilterCycleEntry(Record, frozen=True):
    """Parts that were judged and left out at once."""

    cc_half: Annotated[float | None, about("Mean over shells, with all parts.")]
    parts: Annotated[int, about("How many were judged.")]
    limit: Annotated[float | None, about("Delta CC1/2 below which a part of usual size is left out.")]
    lowest: Annotated[list[FilterPartEntry], about("The lowest 20, in rising order.")]
    removed: list[FilterPartEntry]
    percent_removed: Annotated[float, about("Observations left out so far, of those at the beginning.")]


class FilteringEntry(Record, frozen=True):
    """What filtering.method left out."""

    method: Annotated[str, about("deltacchalf or deviations.")]
    mode: Annotated[str, about("dataset or image_group.")]
    reason: Annotated[str, about("Why there is no other cycle, as one word.")]
    observations: Annotated[int, about("Scaled at the beginning.")]
    cycles: list[FilterCycleEntry]


class ReferenceEntry(Record, frozen=True):
    """How a reference compared with the data; lists by shells of equal numbers of reference intensities."""

    mode: Annotated[str, about("estimated or fixed.")]
    used: Annotated[int, about("Reference intensities of reflections that were measured.")]
    d_min: Annotated[list[float | None], about("Where each shell ends, Angstrom.")]
    unexplained: Annotated[list[float | None], about("Part of the mean intensity that the reference leaves open.")]
    cc: Annotated[list[float | None], about("Correlation of merged intensities with the reference.")]
    r: Annotated[list[float | None], about("sum |I - I_ref| / sum I.")]
    overall_cc: float | None
    overall_r: float | None


class HalfSetsEntry(Record, frozen=True):
    """Statistics of two random halves of the observations; lists by shell, the last entry that of all."""

    d_min: Annotated[list[float | None], about("Where each shell ends, Angstrom.")]
    pairs: Annotated[Counts, about("Reflections with two halves.")]
    r_split: Annotated[list[float | None], about("sum |a - b| / (sqrt(2) sum (a + b)/2) of the means of both halves.")]
    r_split_weighted: Annotated[list[float | None], about("The same, weighted by errors.")]
    cc_half_weighted: Annotated[list[float | None], about("CC1/2 weighted by errors.")]
    n_eff: Annotated[list[float | None], about("Reflections that decide it.")]
    cc_anom_weighted: Annotated[list[float | None], about("CC_anom weighted by errors.")]
    n_eff_anom: Annotated[list[float | None], about("Reflections that decide it.")]


class FreeSetEntry(Record, frozen=True):
    """Reflections in the fit of the scales, and a free set that was left out."""

    percentage: float
    offset: int
    unique_work: int
    unique_free: int
    r_meas_work: float | None
    r_meas_free: float | None
    cc_half_work: float | None
    cc_half_free: float | None


class OutlyingEntry(Record, frozen=True):
    """A value of a data set that is an outlier among those of the others."""

    data_set: str
    what: Annotated[str, about("Scale, B, an edge or angle of the cell, or the mean squared deviation.")]
    value: float
    usual: Annotated[float, about("Median of all data sets.")]
