"""Options whose automatic value depends on the whole input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from braggscale.options.schema import Options

PARTIALITY_CUTOFF, STILLS_CUTOFF = 0.4, 0.05  # the first is DIALS'
# With calibrated errors and scales without systematic differences 4 finds most and loses least; otherwise DIALS' 6.
ZMAX, ZMAX_UNCALIBRATED = 4.0, 6.0
# With estimated restraints all of so many observations take part in the fit; of more the ranges are enough.
ALL_BELOW = 250_000


def settle(
    options: Options, estimated: bool, stills: bool, n_rows: int, given: Callable[[str], bool]
) -> tuple[Options, list[str]]:
    """Options whose automatic value depends on the whole input, settled; sentences for the log on the unusual ones.

    ``estimated``: whether restraints are.  ``stills``: whether all data sets are stills.  ``n_rows``: of the input.
    """
    sentences = []
    cut, scaling, selection = options.cut_data, options.scaling_options, options.reflection_selection
    if cut.partiality_cutoff is None:
        low = estimated and stills
        if low:
            sentences.append(f"stills: reflections are used from a partiality of {STILLS_CUTOFF:g}, by their errors")
        cut = replace(cut, partiality_cutoff=STILLS_CUTOFF if low else PARTIALITY_CUTOFF)
    if scaling.outlier_zmax is None:
        errors = options.weighting.error_model
        basic = errors.basic
        refined = errors.error_model is not None and basic.minimisation is not None and basic.a is None
        calibrated = estimated and refined
        scaling = replace(scaling, outlier_zmax=ZMAX if calibrated else ZMAX_UNCALIBRATED)
    asked = any(given(f"reflection_selection.{name}") for name in _SELECTING)
    if estimated and not asked and (stills or n_rows <= ALL_BELOW):
        sentences.append("all observations take part in the fit (method=use_all)")
        selection = replace(selection, method="use_all")
    return replace(options, cut_data=cut, scaling_options=scaling, reflection_selection=selection), sentences


_SELECTING = ("method", "E2_range", "Isigma_range", "d_range", "min_partiality")
