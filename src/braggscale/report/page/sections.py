"""The list of sections of the report, in order, with the plots of each. A new plot adds the name of its function."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from braggscale.report.page.absorption import absorption_use
from braggscale.report.page.crystals import (
    filtering,
    free_set,
    half_sets,
    indexing,
    outlying,
    reference,
    reference_curves,
    wavelengths,
    zero_dose,
)
from braggscale.report.page.damage import damage, damage_curves
from braggscale.report.page.data_sets import by_data_set, maps_by_resolution, scale_and_b, what_each_adds
from braggscale.report.page.errors import (
    counts_on_detector,
    detector,
    error_model,
    error_model_figures,
    excess,
    mean_deviation,
    outliers_on_detector,
)
from braggscale.report.page.figure import Figure, Section
from braggscale.report.page.images import by_image, image_curves
from braggscale.report.page.intensities import (
    anomalous,
    anomalous_halves,
    anomalous_normal,
    cumulative_distribution,
    distribution,
    l_test,
    multiplicities,
    rms_ratio,
    second_moments,
    wilson_plot,
)
from braggscale.report.page.intensity_tests import amplitudes_of_mates, unit_cells
from braggscale.report.page.models import components, correlations, models
from braggscale.report.page.outliers import ledger, outliers, outliers_by_resolution, waterfall, worst_groups
from braggscale.report.page.ranks import ranks
from braggscale.report.page.resolution import (
    by_resolution,
    cc_half,
    completeness,
    errors_by_resolution,
    multiplicity,
    r_factors,
    signal_to_noise,
)
from braggscale.report.page.symmetry import symmetry
from braggscale.report.summary_document import Summary

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SectionPlan:
    """``frame``: title, sentences and open tables of a section.  ``plots``: functions that make its figures.

    A function may return several figures, or none if the numbers are not known.
    """

    frame: Callable[[Summary], Section]
    plots: tuple[Callable[[Summary], list[Figure]], ...]

    def section(self, summary: Summary) -> Section:
        """The section with its figures."""
        found = self.frame(summary)
        found.figures += [figure for draw in self.plots for figure in draw(summary)]
        return found


SECTIONS = (
    SectionPlan(by_resolution, (cc_half, r_factors, signal_to_noise, completeness, multiplicity, errors_by_resolution)),
    SectionPlan(half_sets, ()),
    SectionPlan(wavelengths, ()),
    SectionPlan(reference, (reference_curves,)),
    SectionPlan(ranks, ()),
    SectionPlan(symmetry, ()),
    SectionPlan(indexing, ()),
    SectionPlan(filtering, ()),
    SectionPlan(outlying, ()),
    SectionPlan(by_image, (image_curves,)),
    SectionPlan(by_data_set, (what_each_adds, scale_and_b, unit_cells, maps_by_resolution)),
    SectionPlan(damage, (damage_curves,)),
    SectionPlan(zero_dose, ()),
    SectionPlan(free_set, ()),
    SectionPlan(models, (components, absorption_use, correlations)),
    SectionPlan(error_model, (error_model_figures,)),
    SectionPlan(detector, (mean_deviation, excess, outliers_on_detector, counts_on_detector)),
    SectionPlan(outliers, (outliers_by_resolution, worst_groups)),
    SectionPlan(anomalous, (anomalous_normal, anomalous_halves, rms_ratio, amplitudes_of_mates)),
    SectionPlan(distribution, (wilson_plot, second_moments, cumulative_distribution, l_test, multiplicities)),
    SectionPlan(ledger, (waterfall,)),
)


def sections(summary: Summary, failed: list[str] | None = None) -> list[Section]:
    """All sections that have something to show.  ``failed``: as for ``safely``."""
    found = (safely(plan.section, plan.frame.__name__, summary, failed) for plan in SECTIONS)
    return [section for section in found if not section.empty]


def safely(make: Callable[[Summary], Section], name: str, summary: Summary, failed: list[str] | None) -> Section:
    """A section, or a section with the reason why it is missing.

    ``failed``: a sentence is added for each section that an internal error prevents. None: the error is raised.
    """
    try:
        return make(summary)
    except Exception as error:
        if failed is None:
            raise
        title = name.replace("_", " ")
        log.debug("the section %s failed", title, exc_info=True)
        failed.append(f"the section {title} is missing: internal error, {type(error).__name__}: {str(error)[:100]}")
        return Section(f"failed-{len(failed)}", title.capitalize(), "", notes=[failed[-1]])
