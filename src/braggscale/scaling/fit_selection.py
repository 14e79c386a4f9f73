"""Which observations take part in the fit of the scales."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from braggscale.data.data_set_names import MOST_LOGGED
from braggscale.data.fit_subset import Pool, Selection, select
from braggscale.data.normalised_intensities import normalised_intensities
from braggscale.data.observations import rows_by_data_set
from braggscale.data.sorting import SortedObservations
from braggscale.data.unique_reflections import Groups
from braggscale.errors import DataError
from braggscale.run_warnings import Code, warn
from braggscale.scaling.plan import FitSelection
from braggscale.weighting.intensity_choice import initial

log = logging.getLogger(__name__)


def selected(
    data: SortedObservations, groups: Groups, identifiers: Sequence[str], intensity_choice: str, wanted: FitSelection
) -> Selection:
    """The observations that take part in the fit of the scales; logs their number, and why the others do not.

    ``groups``: of observations that should agree.  ``identifiers``: of the data sets in use.
    Raises DataError if none passes.
    """
    rows, n_data_sets = data.rows, len(identifiers)
    values = initial(rows, intensity_choice)
    e2 = None
    if wanted.method == "intensity_ranges":
        e2 = np.ones(len(rows))
        for rows_of_set in rows_by_data_set(rows.data_set, n_data_sets):
            e2[rows_of_set] = normalised_intensities(
                values.intensity[rows_of_set], rows.d[rows_of_set], data.epsilon[rows_of_set]
            )
    pool = Pool(groups, rows.data_set, n_data_sets, values.intensity, values.variance, rows.d, rows.partiality, e2)
    selection = select(wanted.method, pool, wanted.limits, wanted.draw)
    for warning in selection.warnings:
        warn(log, Code.SELECTION_EXTENDED, warning)
    if not selection.mask.any():
        raise DataError(
            f"no reflection passes the selection ({wanted.method}: E2_range, Isigma_range, d_range, "
            "min_partiality) in groups of two or more; widen the limits or use reflection_selection.method=use_all"
        )
    _log_selection(selection, identifiers)
    return selection


def _log_selection(selection: Selection, identifiers: Sequence[str]) -> None:
    """Log how many observations take part in the fit, and why the others do not."""
    total = sum(share.usable for share in selection.shares)
    log.info(
        f"{int(selection.mask.sum())} of {total} observations take part in the fit of the scales, "
        f"in {selection.n_groups} unique reflections"
    )
    names = {
        "not_allowed": "outliers, or in the free set",
        "e2": "outside E2_range",
        "i_over_sigma": "outside Isigma_range",
        "partiality": "below min_partiality",
        "d": "outside d_range",
        "single": "without an equivalent",
        "not_drawn": "not in the random sample",
    }
    for key, text in names.items():
        n = sum(getattr(share, key) for share in selection.shares)
        if n:
            log.info(f"  {n} {text}")
    whole = [identifiers[s.data_set] for s in selection.shares if not s.e2_applies]
    if whole and len(whole) <= MOST_LOGGED:
        log.debug(f"too few reflections for an E2 range: {', '.join(whole)}")
