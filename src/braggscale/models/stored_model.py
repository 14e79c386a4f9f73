"""Starting from a model that an earlier run (ours or DIALS') stored with the data.

A component of the same layout is taken over as it is. Where intervals, lmax or the images in use have changed, a
smooth curve is read off the old one at the places of the new parameters, and the harmonics of low order are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.models.choice import MODULATION_BINS
from braggscale.models.component import Component
from braggscale.models.data_set_model import EXTRAS, DataSetModel
from braggscale.models.detector_modules import Modules
from braggscale.models.harmonics import Harmonics
from braggscale.models.image_effects import Images
from braggscale.models.settings import ModelSettings
from braggscale.models.smooth import Axis, Smooth, axis_over, smooth_basis
from braggscale.numerics.array_types import Float
from braggscale.options.schema import COMPONENTS

# What a stored model says beside its components that other programs do not know: the intervals that were asked for
# (the configuration has the spacing that came of them, which would shrink with every exclusion that is taken back)
# and the limits of the outlier test. A program that rewrites the model drops the entry, so it cannot go stale.
OWN_ENTRY = "braggscale"

# Where the stored configuration keeps images -> normalised units for each smooth component.
_FACTORS = {"scale": "s_norm_fac", "decay": "d_norm_fac"}


def start_parameters(model: DataSetModel, stored: Mapping[str, Any] | None) -> tuple[list[Float], list[str]]:
    """Start values of every component, one array each, and the names of those that were taken over."""
    values, taken = [], []
    for component in model.components:
        found = None if stored is None else _from_stored(component, model, stored)
        if found is not None:
            taken.append(component.name)
        values.append(np.full(component.n_parameters, component.null) if found is None else found)
    return values, taken


def _from_stored(component: Component, model: DataSetModel, stored: Mapping[str, Any]) -> Float | None:
    old = stored_values(stored, component.name)
    if old is None:
        return None
    configuration = stored.get("configuration_parameters")
    configuration = configuration if isinstance(configuration, dict) else {}
    same_kind = stored.get("__id__") == model.kind
    if isinstance(component, Harmonics):
        new = np.zeros(component.n_parameters)
        shared = min(len(old), len(new))
        new[:shared] = old[:shared]
        return new
    if isinstance(component, Modules):
        return old if len(old) == component.n_parameters else None
    same_images = configuration.get("valid_image_range") == model.configuration.get("valid_image_range")
    if isinstance(component, Images):  # how many there are and the images settle which is which
        return old if same_kind and same_images and len(old) == component.n_parameters else None
    if not isinstance(component, Smooth):
        return None
    if len(old) == 1 or component.n_parameters == 1:  # between KB and a curve
        return np.full(component.n_parameters, float(old.mean())) if len(component.axes) <= 1 else None
    same_images |= component.name in EXTRAS.get(model.kind, ())  # the map of the whole panel, whatever the images
    if same_kind and same_images and len(old) == component.n_parameters:
        return old
    if len(component.axes) != 1 or stored.get("__id__") == "array" or model.kind == "array":
        return None
    axis = _stored_axis(component.name, len(old), configuration)
    return None if axis is None else _read_off(axis, old, component.axes[0].raw_places())


def stored_strengths(stored: Mapping[str, Any]) -> dict[str, float]:
    """Estimated strengths by kind; what is not a positive number is left out."""
    found = stored.get("estimated_strengths")
    if not isinstance(found, dict):
        return {}
    return {
        str(kind): float(value)
        for kind, value in found.items()
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
    """Settings that repeat the stored model, except for what the user set; and sentences on what was kept.

    ``settings``: for a model of the stored kind.  ``explicit``: full names of options of models that the user set.
    ``restraints_are_explicit``: whether the user said how restraints are to be.
    """
    kind = settings.model
    configuration = stored.get("configuration_parameters")
    configuration = configuration if isinstance(configuration, dict) else {}
    changes: dict[str, Any] = {}
    sentences = []
    by_level = f"{kind}.absorption_level" in explicit  # sets the correction, lmax and the weight
    own = stored.get(OWN_ENTRY)
    wanted = own if isinstance(own, dict) else {}
    if not restraints_are_explicit and were_estimated(stored) and isinstance(wanted.get("estimated"), list):
        # what had a number of its own then was fixed, and stays so with that number
        free = wanted["estimated"]
        settings = replace(settings, estimated=tuple(name for name in settings.estimated if name in free))
    # the fine intervals of estimated restraints make no sense under fixed ones
    back_to_fixed = were_estimated(stored) and not settings.estimated
    if kind == "physical" and settings.estimated and not were_estimated(stored):
        sentences.append("intervals, lmax and weight of the stored model do not apply, as restraints are estimated")
    # what other programs drop is only known to have been absent where nobody has rewritten the model since
    extras_known = bool(wanted) and were_estimated(stored) == bool(settings.estimated)
    for name in COMPONENTS[kind]:
        there = stored_values(stored, name) is not None
        if name in EXTRAS.get(kind, ()):
            if not extras_known:
                continue
            shared = configuration.get("shared")
            # its values stand with the first that has it
            there |= isinstance(shared, list) and name in shared
        if f"{kind}.{name}_correction" not in explicit and not (name == "absorption" and by_level):
            changes[name] = there
        elif getattr(settings, name) != there:
            sentences.append(f"{name} is {'new' if getattr(settings, name) else 'dropped'}, as asked for")
    if changes.get("modulation") and kind in EXTRAS:
        changes["n_modulation_bins"] = MODULATION_BINS
    for key, option, (low, high) in _KEPT.get(kind, ()):
        value = wanted.get(option, configuration.get(key))
        usable = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        if option != "image_interval" and (
            back_to_fixed
            or option.removesuffix("_interval") in settings.estimated
            or (key in _LEVEL and "absorption" in settings.estimated)
        ):
            continue
        if usable and f"{kind}.{option}" not in explicit and not (key in _LEVEL and by_level):
            changes[option] = type(getattr(settings, option))(value)
    if kind == "array":
        for key, option in _BINS.items():
            n = configuration.get(key)
            if isinstance(n, int) and 2 <= n <= 1000 and f"array.{option}" not in explicit:
                changes[option] = n - 2 if n > 3 else n - 1
    return replace(settings, **changes), sentences


def own_entry(settings: ModelSettings) -> dict[str, Any]:
    """Intervals as asked for, degrees, and how restraints were set, for OWN_ENTRY of the stored model."""
    kept = [option for _, option, _ in _KEPT.get(settings.model, ()) if "inter" in option]
    return {option: getattr(settings, option) for option in kept} | {
        "restraints": "estimated" if settings.estimated else "fixed",
        "estimated": list(settings.estimated),
    }


def with_cell(model: Mapping[str, Any], cell: UnitCell) -> dict[str, Any]:
    """A model to store that remembers the unit cell of the run, for exports from the stored files."""
    return {**model, OWN_ENTRY: {**model.get(OWN_ENTRY, {}), "unit_cell": list(cell)}}


def stored_cell(models: Sequence[Mapping[str, Any] | None]) -> UnitCell | None:
    """The cell of the run that stored the models, None unless all come from one."""
    found = set()
    for model in models:
        own = (model or {}).get(OWN_ENTRY)
        cell = own.get("unit_cell") if isinstance(own, dict) else None
        if not isinstance(cell, list) or len(cell) != 6 or not all(isinstance(x, float) and x > 0 for x in cell):
            return None
        found.add((cell[0], cell[1], cell[2], cell[3], cell[4], cell[5]))
    return found.pop() if len(found) == 1 else None


def common_restraints(
    models: Sequence[Mapping[str, Any]], default: Literal["estimated", "fixed"]
) -> tuple[Literal["estimated", "fixed"], str]:
    """What a run does that repeats these models, and why, for the log: one kind for all data sets, new ones, too.

    An array model is stored as fixed without anybody's choice.
    """
    earlier = {stored_restraints(model) for model in models if model.get("__id__") != "array"} - {None}
    if not earlier:
        return default, ""
    if len(earlier) > 1:
        return default, ": earlier runs differ"
    return earlier.pop() or default, ", as in the earlier run"


def stored_restraints(stored: Mapping[str, Any]) -> Literal["estimated", "fixed"] | None:
    """What the run that stored this model did: "estimated" or "fixed"; None if another program stored it."""
    own = stored.get(OWN_ENTRY)
    found = own.get("restraints") if isinstance(own, dict) else None
    return "estimated" if found == "estimated" else "fixed" if found == "fixed" else None


def were_estimated(stored: Mapping[str, Any]) -> bool:
    """Whether the run that stored this model estimated its restraints."""
    return stored_restraints(stored) == "estimated"


# Stored configuration, setting, and values that make sense; everything else is taken from the options.
_KEPT: dict[str, tuple[tuple[str, str, tuple[float, float]], ...]] = {
    "physical": (
        ("scale_rot_interval", "scale_interval", (1e-3, 1e5)),
        ("decay_rot_interval", "decay_interval", (1e-3, 1e5)),
        ("image_interval", "image_interval", (1e-3, 1e5)),
        ("lmax", "lmax", (1, 40)),
        ("abs_surface_weight", "surface_weight", (0.0, 1e12)),
    ),
    "array": (("time_rot_interval", "decay_interval", (1e-3, 1e5)),),
}
_LEVEL = ("lmax", "abs_surface_weight")
_BINS = {"n_res_param": "n_resolution_bins", "n_x_param": "n_absorption_bins", "n_x_mod_param": "n_modulation_bins"}
