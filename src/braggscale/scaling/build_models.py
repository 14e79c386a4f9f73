"""From settled options and facts to the model of each data set, and all of them in one vector of parameters."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from braggscale.data import sorting
from braggscale.data.data_set_names import MOST_LOGGED
from braggscale.data.experiment import Scan
from braggscale.data.geometry import crystal_frame_axis, largest_scattering_angle, rocking_width
from braggscale.data.observations import GeometryView
from braggscale.data.sorting import RunDataSet, SortedObservations
from braggscale.models import MODELS, build
from braggscale.models.choice import ModelRequest, repeated_model, resolve_model
from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.joint_model import JointModel
from braggscale.models.settings import ModelSettings, SweepFacts
from braggscale.models.stored_model import keep_stored, start_parameters
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.options.assignments import unused_model_options
from braggscale.wording import some_of

log = logging.getLogger(__name__)


def build_models(
    members: Sequence[RunDataSet], data: SortedObservations, request: ModelRequest, quiet: bool = False
) -> tuple[list[ModelSettings], JointModel, Float, list[list[str]]]:
    """Settings and model of each data set, start values of all parameters, and which components were taken over.

    ``quiet``: nothing for the log.
    """
    all_settings: list[ModelSettings] = []
    models: list[DataSetModel] = []
    values: list[list[Float]] = []
    taken: list[list[str]] = []
    said: dict[str, list[str]] = {}
    places = sorting.rows_by_data_set(data.rows, len(members))
    for member, mine in zip(members, places, strict=True):
        rows = GeometryView(data.rows, mine)
        scan = None if member.experiment.is_still else member.experiment.scan
        panels = member.experiment.panels
        axis, mosaicity = _rocking(member, scan, data.rows.row[mine])
        extent = Extent.of(rows, scan, panels, axis, mosaicity)
        angle = None
        if scan is not None and member.prepared is not None and "s1" in member.prepared.table:
            s1 = member.prepared.table["s1"][data.rows.row[mine]]
            angle = largest_scattering_angle(member.experiment.beam.s0, s1)
        facts = SweepFacts(
            member.identifier, member.experiment.is_still, extent.degrees, angle, len(panels) == 1,
            abs(extent.width), mosaicity, len(mine),
        )  # fmt: skip
        stored = member.experiment.scaling_model if request.use_stored else None
        settings, sentences = _settings(request, facts, stored)
        for sentence in sentences:
            said.setdefault(sentence, []).append(member.identifier)
        model = build(settings, extent, member.identifier)
        start, found = start_parameters(model, stored)
        all_settings.append(settings)
        models.append(model)
        values.append(start)
        taken.append(found)
    for sentence, identifiers in said.items() if not quiet else ():
        every = len(identifiers) == len(members)
        log.info(("all data sets: " if every else f"data set {', '.join(identifiers)}: ") + sentence)
    joint = JointModel.of(models)
    if not quiet:
        in_use = {model.kind for model in models}
        for sentence in unused_model_options(request.explicit, in_use, request.kind != "auto"):
            log.warning(sentence)
        _log_models(models, [member.identifier for member in members], joint.n_parameters)
    theta = joint.null()
    known: set[tuple[int, int]] = set()
    for d, start in enumerate(values):
        for c, part in enumerate(start):
            name, where = models[d].components[c].name, joint.where(d, c)
            if name in taken[d]:
                theta[where] = part
                known.add((where.start, where.stop))
            elif (where.start, where.stop) in known:  # stored with an earlier data set
                taken[d].append(name)
    return all_settings, joint, theta, taken


def _rocking(member: RunDataSet, scan: Scan | None, rows: Int) -> tuple[tuple[float, float, float], float]:
    """Rotation axis in the frame of Observations.s1c, and sd of the rocking curve in degrees."""
    goniometer, prepared = member.experiment.goniometer, member.prepared
    if goniometer is None or scan is None or prepared is None:
        return (0.0, 0.0, 1.0), 0.0
    axis = crystal_frame_axis(goniometer)
    table = prepared.table
    if "bbox" not in table or "s1" not in table:
        return (float(axis[0]), float(axis[1]), float(axis[2])), 0.0
    few = table.select(np.sort(rows)[:: max(1, len(rows) // 5000)])
    width = rocking_width(member.experiment, few["s1"], few["bbox"][:, 5] - few["bbox"][:, 4])
    return (float(axis[0]), float(axis[1]), float(axis[2])), width


def _settings(
    request: ModelRequest, facts: SweepFacts, stored: Mapping[str, Any] | None
) -> tuple[ModelSettings, list[str]]:
    """Settings of one data set: by the options for new data, as stored (but for what the user set) for old."""
    again = repeated_model(request, stored)
    if again is not None:
        settings = resolve_model(replace(request, kind=again["__id__"]), facts)[0]
        return keep_stored(settings, again, request.explicit, request.restraints_are_explicit)
    settings, sentences = resolve_model(request, facts)
    if stored is None:
        return settings, sentences
    why = "as asked for" if stored.get("__id__") in MODELS else "starting from its scales"
    return settings, [*sentences, f"stored model {stored.get('__id__')} is replaced by {settings.model}, {why}"]


def fixed_parameters(model: JointModel, settings: Sequence[ModelSettings]) -> Bool:
    """Parameters of the components that correction.fix names, (n_parameters,)."""
    fixed = np.zeros(model.n_parameters, bool)
    for d, component, where in model.parts():
        if component.name in settings[d].fixed:
            fixed[where] = True
    return fixed


def _log_models(models: Sequence[DataSetModel], identifiers: Sequence[str], n_parameters: int) -> None:
    """Components and their parameters, equal models on one line."""
    by_text: dict[str, list[str]] = {}
    for model, identifier in zip(models, identifiers, strict=True):
        parts = ", ".join(f"{component.name} {component.n_parameters}" for component in model.components)
        by_text.setdefault(f"model {model.kind}, parameters: {parts}", []).append(identifier)
    for text, members in by_text.items():
        log.info(f"data set {some_of(members, MOST_LOGGED)}: {text}")
    log.info(f"{n_parameters} parameters in all")
