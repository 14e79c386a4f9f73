"""From a Result to the binned numbers of scale.json: everything that the report shows and a run does not keep anyway.

Nothing here grows with the number of reflections.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from braggscale.numerics.array_types import Bool, Float
from braggscale.options.schema import Options
from braggscale.report.numbers.absorption import absorption_use
from braggscale.report.numbers.anomalous import anomalous
from braggscale.report.numbers.by_part import Segments, by_data_set, by_image
from braggscale.report.numbers.damage import radiation_damage
from braggscale.report.numbers.errors import by_shell, detector_map, error_models
from braggscale.report.numbers.image_bins import image_bins
from braggscale.report.numbers.intensities import intensity_distribution
from braggscale.report.numbers.json_numbers import column
from braggscale.report.numbers.models import correlations, model_sections
from braggscale.report.numbers.outliers import worst_groups
from braggscale.report.numbers.scaled_observations import observe
from braggscale.scaling.conclusion import usable
from braggscale.scaling.result import Result
from braggscale.statistics.half_sets import critical_correlation
from braggscale.statistics.resolution_limit import fitted_curve
from braggscale.weighting.error_model import assign

SECTIONS = (
    "resolution",
    "intensity_distribution",
    "by_image",
    "by_data_set",
    "radiation_damage",
    "deviations",
    "detector",
    "absorption_use",
    "worst_groups",
    "anomalous",
    "models",
    "correlations",
)


def collect(result: Result, options: Options) -> dict[str, Any]:
    """The sections by name; None where there is nothing to say."""
    sections: dict[str, Any] = dict.fromkeys(SECTIONS)
    sections |= {"models": model_sections(result), "correlations": correlations(result)}
    n_sets = len(result.kept)
    errors = options.weighting.error_model
    error_model_of = assign(errors.grouping, n_sets, errors.error_model_group or ())
    good = usable(result.scaled, options.cut_data.small_scale_cutoff)
    statistics = result.statistics
    seen = observe(result, good, error_model_of, options.anomalous, options.output.merging.nbins)
    if seen is None or statistics is None:
        return sections
    rejected = result.scaled.state.rejected
    bins = image_bins(result.used, len(seen.x))
    in_sets = Segments.of(seen.friedel_merged, seen.data_set, n_sets)
    pairs_within = Segments.of(seen.friedel_split, seen.data_set, n_sets) if options.anomalous else in_sets
    significant = np.array([shell.cc_anom_significant for shell in statistics.shells])
    return sections | {
        "resolution": _resolution(result),
        "intensity_distribution": intensity_distribution(seen, result.symmetry),
        "by_image": by_image(seen, bins, result, rejected),
        "by_data_set": by_data_set(seen, in_sets, result, rejected),
        "radiation_damage": radiation_damage(seen, pairs_within, bins),
        "deviations": {
            "error_models": error_models(seen),
            "by_shell": by_shell(seen, _shell_of_outliers(result, rejected, seen.limits)),
        },
        "detector": detector_map(seen, result, rejected),
        "absorption_use": absorption_use(seen, result),
        "worst_groups": worst_groups(seen, result, rejected, result.scaled.state.variance, options.anomalous),
        "anomalous": anomalous(seen, significant) if statistics.anomalous else None,
    }


def _shell_of_outliers(result: Result, rejected: Bool, limits: Float) -> Any:
    s = result.data.rows.d[rejected] ** -2.0
    return np.clip(np.searchsorted(limits, s, side="right") - 1, 0, len(limits) - 2)


def _resolution(result: Result) -> dict[str, Any]:
    """The curve behind the suggested limit, and what a correlation must exceed in each shell."""
    if result.statistics is None:
        return {}
    shells = result.statistics.shells
    curve = fitted_curve([s.d_min for s in shells], [s.cc_half for s in shells], [s.cc_half_pairs for s in shells])
    return {
        "cc_half_fit": None if curve is None else {"s0": float(f"{curve[0]:.5g}"), "r": float(f"{curve[1]:.5g}")},
        "critical_cc_half": column(critical_correlation(np.array([s.cc_half_pairs for s in shells]))),
        "critical_cc_anom": column(critical_correlation(np.array([s.cc_anom_pairs for s in shells]))),
    }
