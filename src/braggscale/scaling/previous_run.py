"""Scaling again: what a run takes over from its input files, with sentences for the log.

Models, error model and intensity choice of an earlier run are starting points. Its outliers are kept if nothing has
changed; if images, data sets or limits differ, all observations are tested anew. Image exclusions are kept
(image_selection.py). Limits on resolution, partiality and I/sigma are options of one run and are not kept; the log says
how many reflections come back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from braggscale.data.flags import FATE_TEXT, Fate, Flag
from braggscale.data.observations import rows_by_data_set
from braggscale.data.sorting import SortedObservations, UsedDataSet
from braggscale.models.joint_model import JointModel
from braggscale.models.settings import ModelSettings
from braggscale.models.stored_model import OWN_ENTRY, own_entry, stored_error_model, stored_strengths
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.scaling.state import Start
from braggscale.weighting.error_model import ErrorModel
from braggscale.wording import some_of

log = logging.getLogger(__name__)

# Fates that followed from the options of an earlier run. This run has its own options, so these reflections may be
# used again.
_LIMITS = (
    Fate.RESOLUTION_CUT,
    Fate.LOW_PARTIALITY,
    Fate.LOW_I_OVER_SIGMA,
    Fate.SCALE_TOO_SMALL,
    Fate.DATA_SET_UNUSABLE,
)
_JUDGED = int(Flag.SCALED | Flag.OUTLIER_IN_SCALING)


@dataclass(frozen=True, slots=True)
class OutlierLimits:
    """Limits of the outlier test of a run; the next run keeps the outliers if it has the same limits and data."""

    method: str | None
    zmax: float | None
    emax: float
    anomalous: bool


@dataclass(frozen=True, slots=True)
class Continuation:
    """What this run may take over from an earlier one.

    ``anything``: False if nothing may be taken over.  ``error_model``: whether this run has one,
    ``reset_error_model``: whether it starts anew.  ``intensity_mixture``: whether this run determines the best
    mixture of profile and summation. ``outlier_limits``: of this run.
    """

    anything: bool
    error_model: bool
    reset_error_model: bool
    intensity_mixture: bool
    outlier_limits: OutlierLimits


def stored_entry(settings: ModelSettings, limits: OutlierLimits) -> dict[str, Any]:
    """The entries of a stored model that other programs do not know."""
    return own_entry(settings) | {"outliers": asdict(limits)}


def start_of(
    theta: Float,
    taken: Sequence[Sequence[str]],
    model: JointModel,
    data_sets: Sequence[UsedDataSet],
    data: SortedObservations,
    wanted: Continuation,
    error_model_of: Int,
    everybody: bool,
) -> Start:
    """The starting point of the rounds, from the results that are stored with the data; logs which of them are used.

    ``theta``: stored values, elsewhere those without a correction, (n_parameters,).  ``taken``: names of the stored
    components of each data set. ``data_sets``: data sets in use, ``everybody``: whether these are all that were read.
    ``wanted``: results that may be taken over.
    ``error_model_of``: number of the error model of each data set, (n_data_sets,).
    """
    scaled = [member for member in data_sets if member.experiment.scaling_model is not None]
    if not scaled:
        return Start(theta, np.zeros(len(data_sets), bool))
    log.info("")
    _log_limits(scaled, data, data_sets)
    if not wanted.anything:
        log.info(
            "Not taken over from the input, as asked for (overwrite_existing_models): models, error model, intensity "
            "choice, outliers"
        )
        return Start(theta, np.zeros(len(data_sets), bool))
    stored = np.array([bool(names) for names in taken])
    _log_models(taken, model, data_sets)
    if not stored.all():
        log.info(
            "Not taken over, because some data sets are new or have no model that fits: error model, intensity choice, "
            "outliers"
        )
        return Start(theta, stored)
    entries = [member.experiment.scaling_model or {} for member in data_sets]
    configurations = [entry.get("configuration_parameters", {}) for entry in entries]
    errors = _errors(entries, error_model_of, wanted)
    i_mid = _i_mid(configurations) if wanted.intensity_mixture else None
    rejected = _verdicts(data_sets, data, entries, wanted.outlier_limits) if everybody else None
    if rejected is None:
        log.info("Outliers are tested anew: data, limits or data sets are not those of the earlier run")
    else:
        log.info(
            f"{int(rejected.sum())} outliers of the earlier run are kept unless they are clearly none now: data and "
            "limits are the same"
        )
    strengths = {kind: value for entry in reversed(entries) for kind, value in stored_strengths(entry).items()}
    return Start(theta, stored, errors, i_mid, strengths, rejected)


def _log_models(taken: Sequence[Sequence[str]], model: JointModel, data_sets: Sequence[UsedDataSet]) -> None:
    """One line for each list of components that were taken over or begin anew, with the data sets that have it."""
    by_components: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for names, own, member in zip(taken, model.data_sets, data_sets, strict=True):
        new = tuple(c.name for c in own.components if c.name not in names)
        by_components.setdefault((tuple(names), new), []).append(member.identifier)
    for (names, new), identifiers in by_components.items():
        who = "all data sets" if len(identifiers) == len(data_sets) else f"data set {some_of(identifiers, 8)}"
        if names:
            anew = f"; new: {', '.join(new)}" if new else ""
            log.info(f"Taken over from the input as a start, {who}: {', '.join(names)}{anew}")
        else:
            log.info(f"No stored model, {who}: {', '.join(new)} are new")


def _errors(
    entries: Sequence[Mapping[str, Any]], error_model_of: Int, wanted: Continuation
) -> tuple[ErrorModel, ...] | None:
    if not wanted.error_model:
        return None
    if wanted.reset_error_model:
        log.info("Error model not taken over, as asked for (reset_error_model)")
        return None
    stored = [stored_error_model(entry.get("configuration_parameters", {})) for entry in entries]
    pairs = [pair for pair in stored if pair is not None]
    if len(pairs) < len(stored):
        log.info("Error model not taken over: not every data set has one")
        return None
    _, first = np.unique(error_model_of, return_index=True)
    linear = [_linear_term(entry) for entry in entries]
    errors = tuple(ErrorModel(pairs[d][0], pairs[d][1], linear[d]) for d in first)
    # a value that the user gave has priority
    each = [f"a {e.a:.4f} b {e.b:.5f}" + (f" c {e.c:.4g}" if e.c > 0 else "") for e in errors[:3]]
    shown = ", ".join(each) + (", ..." if len(errors) > 3 else "")
    log.info(f"Error model of the input as a start: {shown}")
    return errors


def _linear_term(entry: Mapping[str, Any]) -> float:
    """c of a stored error model, 0 if there is none or if it is not valid.

    DIALS keeps unknown entries of a configuration but replaces a and b; then c does not belong to them any more.
    """
    value = entry.get("configuration_parameters", {}).get("error_model_linear_term", 0.0)
    return float(value) if OWN_ENTRY in entry and isinstance(value, int | float) and 0 <= value < np.inf else 0.0


def _i_mid(configurations: Sequence[Mapping[str, Any]]) -> float | None:
    midpoints = [c.get("Imid") for c in configurations]
    i_mid = midpoints[0]
    if all(m is None for m in midpoints):  # a mixture by expected errors, which has no midpoint
        return None
    if isinstance(i_mid, bool) or not isinstance(i_mid, int | float) or any(m != i_mid for m in midpoints):
        log.info("Intensities are chosen anew: the data sets of the input have different choices")
        return None
    log.info(f"Intensity choice of the input as a start: Imid {i_mid:.6g} (0 profile, 1 summation, else a mixture)")
    return float(i_mid)


def _verdicts(
    data_sets: Sequence[UsedDataSet],
    data: SortedObservations,
    entries: Sequence[Mapping[str, Any]],
    limits: OutlierLimits,
) -> Bool | None:
    """Outliers of the earlier run, (n,); None if it tested other reflections, or had other limits."""
    wanted = asdict(limits)
    for entry in entries:
        own = entry.get(OWN_ENTRY)
        if not isinstance(own, dict) or own.get("outliers") != wanted:
            return None
    rejected = np.zeros(len(data.rows), bool)
    for member, rows_of_set in zip(data_sets, rows_by_data_set(data.rows.data_set, len(data_sets)), strict=True):
        flags = member.usable.table["flags"].astype(np.uint64)
        usable = np.zeros(len(flags), bool)
        rows = data.rows.row[rows_of_set]
        usable[rows] = True
        if not np.array_equal(usable, (flags & np.uint64(_JUDGED)) != 0):
            return None
        rejected[rows_of_set] = (flags[rows] & np.uint64(int(Flag.OUTLIER_IN_SCALING))) != 0
    return rejected


def _log_limits(scaled: Sequence[UsedDataSet], data: SortedObservations, data_sets: Sequence[UsedDataSet]) -> None:
    """Reflections that limits of the earlier run left out and that are used now."""
    counts: dict[str, int] = {}
    places = dict(zip(map(id, data_sets), rows_by_data_set(data.rows.data_set, len(data_sets)), strict=True))
    for member in scaled:
        table, rows = member.usable.table, data.rows.row[places[id(member)]]
        if "scaling_fate" in table:
            fate = table["scaling_fate"][rows]
            for limit in _LIMITS:
                counts[FATE_TEXT[limit]] = counts.get(FATE_TEXT[limit], 0) + int(np.count_nonzero(fate == limit))
        else:
            left_out = (table["flags"][rows].astype(np.uint64) & np.uint64(int(Flag.USER_EXCLUDED_IN_SCALING))) != 0
            text = "excluded by its user"
            counts[text] = counts.get(text, 0) + int(np.count_nonzero(left_out))
    listed = ", ".join(f"{n} {text}" for text, n in counts.items() if n)
    if listed:
        log.info(
            f"Left out by the earlier run and used now: {listed}. Limits are not taken over from the input; only those "
            "of this command count"
        )
