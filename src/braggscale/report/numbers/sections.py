"""Calculates the binned numbers of scale.json from a Result: those that the report shows and no earlier stage needs.

The size of these numbers does not depend on the number of reflections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.options.schema import Options
from braggscale.report.numbers.absorption import absorption_use
from braggscale.report.numbers.anomalous import anomalous
from braggscale.report.numbers.by_part import by_data_set, by_image
from braggscale.report.numbers.damage import radiation_damage
from braggscale.report.numbers.errors import by_shell, detector_map, error_models
from braggscale.report.numbers.image_bins import image_bins
from braggscale.report.numbers.intensities import intensity_distribution
from braggscale.report.numbers.json_numbers import column, significant
from braggscale.report.numbers.models import correlations, model_sections
from braggscale.report.numbers.outliers import worst_groups
from braggscale.report.numbers.scaled_observations import observe
from braggscale.report.summary_sections import (
    AbsorptionUse,
    AnomalousSignal,
    ByDataSet,
    ByImage,
    CcHalfFit,
    Correlations,
    DetectorMaps,
    Deviations,
    IntensityDistribution,
    ModelEntry,
    RadiationDamage,
    Resolution,
    WorstGroup,
)
from braggscale.scaling.conclusion import usable
from braggscale.scaling.result import Result
from braggscale.statistics.half_sets import critical_correlation
from braggscale.statistics.influence import Segments
from braggscale.statistics.resolution_limit import fitted_curve
from braggscale.statistics.shell_statistics import Shell
from braggscale.weighting.error_model import assign


@dataclass(frozen=True, slots=True)
class Sections:
    """The parts of scale.json that the report shows; None for a part without numbers."""

    models: list[ModelEntry]
    correlations: Correlations | None
    resolution: Resolution | None = None
    intensity_distribution: IntensityDistribution | None = None
    by_image: ByImage | None = None
    by_data_set: ByDataSet | None = None
    radiation_damage: RadiationDamage | None = None
    deviations: Deviations | None = None
    detector: DetectorMaps | None = None
    absorption_use: AbsorptionUse | None = None
    worst_groups: list[WorstGroup] | None = None
    anomalous: AnomalousSignal | None = None


def collect(result: Result, options: Options) -> Sections:
    """Calculate all numbers that the report shows of a finished run."""
    sections = Sections(model_sections(result), correlations(result))
    n_sets = len(result.kept)
    errors = options.weighting.error_model
    error_model_of = assign(errors.grouping, n_sets, errors.error_model_group or ())
    good = usable(result.data.rows.data_set, result.scaled, options.cut_data.small_scale_cutoff)
    statistics = result.statistics
    # in the fit; with estimated restraints mates are one reflection in the fit, whatever the option says
    apart = len(result.scaled.state.mean_intensity) > len(result.data.friedel_merged)
    seen = observe(result, good, error_model_of, apart, options.output.merging.nbins)
    if seen is None or statistics is None:
        return sections
    rejected = result.scaled.state.rejected
    bins = image_bins(result.used, len(seen.x))
    in_sets = Segments.of(seen.friedel_merged, seen.data_set, n_sets)
    pairs_within = Segments.of(seen.friedel_split, seen.data_set, n_sets) if apart else in_sets
    of_mates = np.array([shell.cc_anom_significant for shell in statistics.shells])
    return replace(
        sections,
        resolution=resolution_of(statistics.shells),
        intensity_distribution=intensity_distribution(seen, result.symmetry, result.cell),
        by_image=by_image(seen, bins, result, rejected),
        by_data_set=by_data_set(seen, in_sets, result, rejected),
        radiation_damage=radiation_damage(seen, pairs_within, bins),
        deviations=Deviations(
            error_models=error_models(seen),
            by_shell=by_shell(seen, _shell_of_outliers(result, rejected, seen.limits)),
        ),
        detector=detector_map(seen, result, rejected),
        absorption_use=absorption_use(seen, result),
        worst_groups=worst_groups(seen, result, rejected, result.scaled.state.variance, apart),
        anomalous=anomalous(seen, of_mates) if statistics.anomalous else None,
    )


def _shell_of_outliers(result: Result, rejected: Bool, limits: Float) -> Int:
    s = result.data.rows.d[rejected] ** -2.0
    return np.clip(np.searchsorted(limits, s, side="right") - 1, 0, len(limits) - 2)


def resolution_of(shells: Sequence[Shell]) -> Resolution:
    """The curve from which the limit is suggested, and the smallest significant correlation of each shell."""
    curve = fitted_curve([s.d_min for s in shells], [s.cc_half for s in shells], [s.cc_half_pairs for s in shells])
    return Resolution(
        cc_half_fit=None if curve is None else CcHalfFit(s0=significant(curve[0], 5), r=significant(curve[1], 5)),
        critical_cc_half=column(critical_correlation(np.array([s.cc_half_pairs for s in shells]))),
        critical_cc_anom=column(critical_correlation(np.array([s.cc_anom_pairs for s in shells]))),
    )
