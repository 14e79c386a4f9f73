"""Starting from a model that an earlier run (ours or DIALS') stored with the data.

A component with the same layout is copied. If intervals, lmax or the images in use have changed, the parameters of
a smooth curve are values of the old curve at the new positions, and the harmonics of low order are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.models import MODELS
from braggscale.models.component import Component, StoredComponent, from_shown
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.settings import ModelSettings
from braggscale.models.smooth import Axis, axis_over, smooth_basis
from braggscale.numerics.array_types import Float

# Entry of the stored model that other programs do not know. It has the intervals that the user chose (the spacing in
# the configuration, which results from them, would become smaller with every exclusion that is taken back) and the
# limits of the outlier test. A program that rewrites the model drops the entry, so it never contradicts the model.
OWN_ENTRY = "braggscale"

# Largest valid a and b: no integration program is wrong by such a factor, and no instrument by such a fraction of
# the intensity.
LARGEST_ERROR_PARAMETER = 1e3

# Names in the stored configuration of the factor from images to normalised units, for each smooth component.
_FACTORS = {"scale": "s_norm_fac", "decay": "d_norm_fac"}


def start_parameters(model: DataSetModel, stored: Mapping[str, Any] | None) -> tuple[list[Float], list[str]]:
    """Start values of every component, (n_parameters,) of each, and the names of those that were taken over."""
    values, taken = [], []
    for component in model.components:
        known = None if stored is None else _from_stored(component, model, stored)
        if known is not None:
            taken.append(component.name)
        values.append(np.full(component.n_parameters, component.null) if known is None else known)
    return values, taken


def _from_stored(component: Component, model: DataSetModel, stored: Mapping[str, Any]) -> Float | None:
    old = stored_values(stored, component.name)
    if old is None:
        return None
    old = from_shown(component, old)
    configuration = _configuration(stored)
    same_kind = stored.get("__id__") == model.kind
    same_images = configuration.get("valid_image_range") == model.configuration.get("valid_image_range")
    # components of the whole panel do not depend on the images in use
    same_images |= component.name in model.beyond_dials and component.name != "image"
    known = StoredComponent(old, same_kind and same_images)
    axis = _stored_axis(component.name, len(old), configuration)
    if axis is not None:
        known = replace(known, curve=lambda images: _read_off(axis, old, images))
    return component.read_off(known)


def stored_error_model(configuration: Mapping[str, Any]) -> tuple[float, float] | None:
    """a and b of sigma^2 = a^2 (V + (b I)^2) of a stored configuration; None without valid ones."""
    pair = configuration.get("error_model_parameters")
    if not isinstance(pair, list) or len(pair) != 2:
        return None
    if not all(isinstance(x, int | float) and 0 <= x < LARGEST_ERROR_PARAMETER for x in pair):
        return None
    a, b = float(pair[0]), float(pair[1])
    return (a, b) if a * a > 0 else None


def stored_strengths(stored: Mapping[str, Any]) -> dict[str, float]:
    """Estimated strengths by kind; entries that are not positive numbers are left out."""
    entry = stored.get("estimated_strengths")
    if not isinstance(entry, dict):
        return {}
    return {
        str(kind): float(value)
        for kind, value in entry.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value < float("inf")
    }


def stored_values(stored: Mapping[str, Any], name: str) -> Float | None:
    """A component's parameters, (n,), None where absent, empty or not finite numbers."""
    entry = stored.get(name)
    values = entry.get("parameters") if isinstance(entry, dict) else None
    if not isinstance(values, list) or not values or not all(isinstance(v, int | float) for v in values):
        return None
    theta = np.asarray(values, np.float64)
    return theta if np.isfinite(theta).all() else None


def _stored_axis(name: str, n: int, configuration: Mapping[str, Any]) -> Axis | None:
    """The rotation axis of a stored curve; its first observation is taken to be at the first image in use."""
    factor, images = configuration.get(_FACTORS.get(name, "")), configuration.get("valid_image_range")
    if not isinstance(factor, float) or not factor > 0 or not isinstance(images, list) or len(images) != 2:
        return None
    if not all(isinstance(i, int) for i in images) or images[1] < images[0] or n < 2:
        return None
    return axis_over("image", factor, images[0] - 1.0, float(images[1]), n)


def _read_off(axis: Axis, parameters: Float, images: Float) -> Float:
    """The smooth curve at the given images, (n,); beyond the ends of the old range the value at the end."""
    u = (images * axis.factor - axis.origin) * (axis.intervals / axis.span)
    u = np.clip(u, 0.0, axis.intervals)
    first, weight = smooth_basis((axis,), u[:, None], np.ones(len(u)))
    values: Float = (weight * parameters[first[:, None] + np.arange(axis.width)]).sum(axis=1)
    return values


def keep_stored(
    settings: ModelSettings, stored: Mapping[str, Any], explicit: Collection[str], restraints_are_explicit: bool
) -> tuple[ModelSettings, list[str]]:
    """Settings of the stored model, except for options that the user has set; and sentences on what was kept.

    ``settings``: for a model of the stored kind.  ``explicit``: full names of options of models that the user set.
    ``restraints_are_explicit``: whether the user has set the kind of restraints.
    """
    kind = MODELS[settings.model]
    own = stored.get(OWN_ENTRY)
    own = own if isinstance(own, dict) else {}
    if not restraints_are_explicit and were_estimated(stored) and isinstance(own.get("estimated"), list):
        # a component for which the user had given a number was fixed, and stays fixed with this number
        free = own["estimated"]
        settings = replace(settings, estimated=tuple(name for name in settings.estimated if name in free))
    sentences = []
    from_data = [one for one in kind.stored if one.component in settings.estimated]
    if from_data and not were_estimated(stored):
        sentences.append("intervals, lmax and weight of the stored model do not apply, as restraints are estimated")
    there = _stored_components(settings, stored)
    changes: dict[str, Any] = {}
    own_options = kind.explicit(explicit)
    for name, is_there in there.items():
        if f"{name}_correction" not in own_options:
            changes[name] = is_there
        elif getattr(settings, name) != is_there:
            sentences.append(f"{name} is {'new' if getattr(settings, name) else 'dropped'}, as asked for")
    changes |= {name: value for name, value in _stored_numbers(settings, stored).items() if name not in own_options}
    return replace(settings, **changes), sentences


def _stored_components(settings: ModelSettings, stored: Mapping[str, Any]) -> dict[str, bool]:
    """Whether the stored model has each of the components that a model of its kind may have, where that is known."""
    kind = MODELS[settings.model]
    shared = _configuration(stored).get("shared")
    # absence of a component that other programs drop is known only if no other program has rewritten the model
    rewritten = not isinstance(stored.get(OWN_ENTRY), dict) or not stored[OWN_ENTRY]
    extras_known = not rewritten and were_estimated(stored) == bool(settings.estimated)
    present = {}
    for name in kind.corrections:
        there = stored_values(stored, name) is not None
        if name in kind.beyond_dials:
            if not extras_known:
                continue
            there |= isinstance(shared, list) and name in shared  # stored with the first that has it
        present[name] = there
    return present


def _stored_numbers(settings: ModelSettings, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of the stored model that these settings can take over: valid, and not estimated from the data."""
    own, configuration = stored.get(OWN_ENTRY), _configuration(stored)
    own = own if isinstance(own, dict) else {}
    # the fine intervals of estimated restraints are not suitable for fixed ones
    back_to_fixed = were_estimated(stored) and not settings.estimated
    numbers = {}
    for one in MODELS[settings.model].stored:
        if one.component and (back_to_fixed or one.component in settings.estimated):
            continue
        value = own.get(one.setting, configuration.get(one.key))
        if value in one.words:
            numbers[one.setting] = value
        number = int if one.of_stored else int | float
        if isinstance(value, number) and not isinstance(value, bool) and one.low <= value <= one.high:
            kind = type(getattr(settings, one.setting))
            numbers[one.setting] = one.of_stored(int(value)) if one.of_stored else kind(value)
    return numbers


def _configuration(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    entry = stored.get("configuration_parameters")
    return entry if isinstance(entry, dict) else {}


def own_entry(settings: ModelSettings) -> dict[str, Any]:
    """Intervals as chosen, degrees, and the kind of restraints, for OWN_ENTRY of the stored model."""
    kept = [one.setting for one in MODELS[settings.model].stored if "interval" in one.setting]
    return {setting: getattr(settings, setting) for setting in kept} | {
        "restraints": "estimated" if settings.estimated else "fixed",
        "estimated": list(settings.estimated),
    }


def with_run(model: Mapping[str, Any], cell: UnitCell, run: int) -> dict[str, Any]:
    """The model to be stored, with the unit cell of the run (for exports from the stored files) and its number."""
    return {**model, OWN_ENTRY: {**model.get(OWN_ENTRY, {}), "unit_cell": list(cell), "run": run}}


def stored_cell(models: Sequence[Mapping[str, Any] | None]) -> UnitCell | None:
    """The cell of the run that stored the models, None unless all come from one."""
    cells = set()
    for model in models:
        own = (model or {}).get(OWN_ENTRY)
        cell = own.get("unit_cell") if isinstance(own, dict) else None
        if not isinstance(cell, list) or len(cell) != 6 or not all(isinstance(x, float) and x > 0 for x in cell):
            return None
        cells.add((cell[0], cell[1], cell[2], cell[3], cell[4], cell[5]))
    return cells.pop() if len(cells) == 1 else None


def common_restraints(
    models: Sequence[Mapping[str, Any]], default: Literal["estimated", "fixed"]
) -> tuple[Literal["estimated", "fixed"], str]:
    """Kind of restraints for all data sets of a run that starts from these models, and the reason, for the log.

    A model that cannot estimate restraints is ignored, because it is always stored as fixed.
    """
    chosen = [model for model in models if (kind := MODELS.get(str(model.get("__id__")))) is None or kind.estimates]
    earlier = {stored_restraints(model) for model in chosen} - {None}
    if not earlier:
        return default, ""
    if len(earlier) > 1:
        return default, ": earlier runs differ"
    return earlier.pop() or default, ", as in the earlier run"


def stored_restraints(stored: Mapping[str, Any]) -> Literal["estimated", "fixed"] | None:
    """Kind of restraints of the run that stored this model; None if another program stored it."""
    own = stored.get(OWN_ENTRY)
    entry = own.get("restraints") if isinstance(own, dict) else None
    return "estimated" if entry == "estimated" else "fixed" if entry == "fixed" else None


def were_estimated(stored: Mapping[str, Any]) -> bool:
    """Whether the run that stored this model estimated its restraints."""
    return stored_restraints(stored) == "estimated"
