"""Which model a data set gets, and with which settings: the automatic choices, rule by rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from braggscale.errors import CommandError
from braggscale.models.settings import ModelSettings, SweepFacts
from braggscale.options.schema import COMPONENTS, KB, ArrayModel, Correction, ModelName, Physical

KB_BELOW = 1.0  # degrees of rotation; DIALS' limit for the automatic choice of KB
KB_SUGGESTED_BELOW = 3.0  # degrees
ABSORPTION_ABOVE = 60.0  # degrees of rotation; DIALS' limit: less does not cover the surface
ABSORPTION_ANGLE = 2.5626  # degrees, acos(0.999): s0 and s1 nearly coincide, as in electron diffraction (DIALS' limit)
DEFAULT_LMAX = 4
DEFAULT_SURFACE_WEIGHT = 5e5
DEFAULT_DECAY_RESTRAINT = 0.1
# With estimated restraints a basis only has to be fine enough: finer than these changed no merged intensity.
FINE_INTERVAL = 2.5  # degrees; of the decay twice as much
FINEST_INTERVAL = 1e-3  # degrees, however narrow the sweep
LEAST_INTERVALS, MOST_INTERVALS = 4, 80  # of the scale, per sweep
FINE_LMAX, WEDGE_LMAX = 6, 4  # of sweeps, and of those below ABSORPTION_ABOVE
MODULATION_BINS = 16
IMAGE_INTERVAL = 1.0  # degrees
# Image effects by themselves: images at least as wide as rocking curves (full width at half maximum, 2.355 sd), and
# so many reflections for each effect that its error, about 3 % over their root, is below the usual flicker of a beam.
FULL_WIDTH = 2.355
LEAST_PER_EFFECT = 50
# Sweep width below which, scale interval, decay interval; degrees. DIALS' automatic values.
INTERVALS = ((5.0, 1.0, 1.5), (10.0, 2.0, 3.0), (25.0, 4.0, 5.0), (90.0, 8.0, 10.0), (float("inf"), 15.0, 20.0))
# lmax, surface weight; DIALS' values.
ABSORPTION_LEVELS = {"low": (4, 5e5), "medium": (6, 5e4), "high": (6, 5e3)}


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What models a run is asked to have.

    ``kind``: name of a model, or auto.  ``estimated``: whether the data determine the strengths of restraints.
    ``kind_is_explicit``, ``restraints_are_explicit``: whether the user said so, or they are defaults.
    ``options``: of every kind of model, by its name.  ``explicit``: full names of those that the user set.
    ``use_stored``: whether a run starts from the models that data sets bring, and repeats them.
    """

    kind: Literal["auto", "physical", "array", "KB"]
    kind_is_explicit: bool
    estimated: bool
    restraints_are_explicit: bool
    options: Mapping[str, Any]
    explicit: frozenset[str]
    use_stored: bool


def repeated_model(request: ModelRequest, stored: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The stored model of a data set if the run repeats it, None where the options choose one."""
    if stored is None or not request.use_stored:
        return None
    kind = stored.get("__id__")
    named = request.kind_is_explicit and request.kind not in ("auto", kind)
    return stored if kind in request.options and not named else None


def resolve_model(request: ModelRequest, facts: SweepFacts) -> tuple[ModelSettings, list[str]]:
    """The model of a data set, and a sentence for the log on each choice that a user may wonder about.

    The sentences do not name the data set, so that equal ones can be put together. Limits and automatic values
    are those of DIALS.  Raises CommandError when the options leave the model without a component.
    """
    name, sentences = _model_name(request.kind, facts)
    options = request.options[name]
    if name == "physical":
        settings = _physical(options, facts, sentences, request.estimated)
    elif name == "array":
        settings = _array(options)
    else:
        settings = _kb(options, facts, sentences, request.estimated)
    if not (settings.scale or settings.decay or settings.absorption or settings.modulation or settings.image):
        raise CommandError(
            f"data set {facts.identifier}: the model {name} has no component left; switch on at least one of its "
            f"corrections ({', '.join(COMPONENTS[name])}) or choose another model"
        )
    if name == "array" and not (settings.decay or settings.absorption):
        raise CommandError(
            f"data set {facts.identifier}: the model array needs decay_correction or absorption_correction"
        )
    return settings, sentences


def _model_name(kind: Literal["auto", "physical", "array", "KB"], facts: SweepFacts) -> tuple[ModelName, list[str]]:
    degrees = facts.oscillation_range
    if kind == "KB":
        return "KB", []
    if facts.is_still:
        if kind == "auto":
            return "KB", ["model KB, because it is a still"]
        return "KB", [f"model KB instead of {kind}, which needs a rotation: it is a still"]
    if kind == "auto" and degrees < KB_BELOW:
        return "KB", [f"model KB, because the sweep covers {degrees:.3g} degrees, less than {KB_BELOW:g}"]
    advice = []
    if degrees < KB_SUGGESTED_BELOW:
        advice = [f"the sweep covers only {degrees:.3g} degrees: model=KB may be the better choice"]
    return ("physical" if kind == "auto" else kind), advice


def _physical(options: Physical, facts: SweepFacts, sentences: list[str], estimate: bool) -> ModelSettings:
    degrees = facts.oscillation_range
    _, scale_interval, decay_interval = next(row for row in INTERVALS if degrees < row[0])
    estimated = _estimated(options) if estimate else ()
    fine = max(min(FINE_INTERVAL, degrees / LEAST_INTERVALS), degrees / MOST_INTERVALS)
    fine = min(max(fine, FINEST_INTERVAL), scale_interval)
    if "scale" in estimated:
        scale_interval = fine
    if "decay" in estimated:
        decay_interval = 2.0 * fine
    default_lmax = DEFAULT_LMAX
    if "absorption" in estimated:
        default_lmax = FINE_LMAX if degrees > ABSORPTION_ABOVE else WEDGE_LMAX
    modulation = _modulation(options.modulation_correction, facts, sentences, estimate)
    image, image_interval = _images(options, facts, estimate)
    if image and options.image_correction is None:
        sentences.append(f"image effects on, one for every {image_interval:.3g} degrees (image_correction=False: off)")
    absorption, why = _absorption(options, facts, "absorption" in estimated)
    lmax, weight = options.lmax, options.surface_weight
    if why and (lmax is not None or weight is not None or options.share.absorption):
        why += "; lmax, surface_weight and share.absorption have no effect"
    if why:
        sentences.append(why)
    if options.absorption_level is not None:
        level = ABSORPTION_LEVELS[options.absorption_level]
        given = [text for text, value in (("lmax", lmax), ("surface_weight", weight)) if value is not None]
        if given:
            sentences.append(
                f"absorption_level={options.absorption_level} overrides {' and '.join(given)}: "
                f"lmax {level[0]}, surface_weight {level[1]:g}"
            )
        lmax, weight = level
    return ModelSettings(
        model="physical",
        scale=options.scale_correction,
        decay=options.decay_correction,
        absorption=absorption,
        modulation=modulation,
        scale_interval=scale_interval if options.scale_interval is None else options.scale_interval,
        decay_interval=decay_interval if options.decay_interval is None else options.decay_interval,
        lmax=default_lmax if lmax is None else lmax,
        surface_weight=DEFAULT_SURFACE_WEIGHT if weight is None else weight,
        decay_restraint=options.decay_restraint,
        n_resolution_bins=0,
        n_absorption_bins=0,
        n_modulation_bins=MODULATION_BINS if modulation else 0,
        share_absorption=options.share.absorption and absorption,
        fixed=_fixed("physical", options.correction),
        estimated=estimated,
        image=image,
        image_interval=image_interval,
    )


def _images(options: Physical, facts: SweepFacts, estimate: bool) -> tuple[bool, float]:
    """Whether there are image effects, and the rotation that shares one, degrees.

    Interval if none is given: one image if images are as wide as rocking curves and have enough reflections, the least
    number of images that has if that is up to IMAGE_INTERVAL, else IMAGE_INTERVAL.
    """
    width, interval = facts.image_width, IMAGE_INTERVAL
    wide = facts.mosaicity > 0 and width >= FULL_WIDTH * facts.mosaicity
    if wide and facts.n_rows > 0:
        per_image = facts.n_rows * width / facts.oscillation_range
        interval = min(width * math.ceil(LEAST_PER_EFFECT / per_image), max(width, IMAGE_INTERVAL))
    if options.image_interval is not None:
        interval = options.image_interval
    if options.image_correction is not None:
        return options.image_correction, interval
    return estimate and wide and facts.n_rows * interval >= LEAST_PER_EFFECT * facts.oscillation_range, interval


def _modulation(wanted: bool | None, facts: SweepFacts, sentences: list[str], estimate: bool) -> bool:
    """Whether there is a map of the detector; where it is asked for and cannot be, a sentence says so."""
    if wanted and not facts.single_panel:
        sentences.append("modulation correction off: the detector has several panels or is not known")
    return facts.single_panel and (estimate if wanted is None else wanted)


def _estimated(options: Physical) -> tuple[str, ...]:
    """Components of which the user gave no number."""
    given = {
        "scale": options.scale_interval is not None,
        "decay": options.decay_interval is not None or options.decay_restraint != DEFAULT_DECAY_RESTRAINT,
        "absorption": any(x is not None for x in (options.lmax, options.surface_weight, options.absorption_level)),
    }
    return tuple(name for name in COMPONENTS["physical"] if not given.get(name, False))


def _absorption(options: Physical, facts: SweepFacts, estimated: bool) -> tuple[bool, str]:
    """Whether the surface is on; if it was switched off automatically, why.

    A sweep too narrow to determine a surface is no reason to leave it out where its strength is estimated.
    """
    if options.absorption_level is not None:
        return True, ""
    if options.absorption_correction is not None:
        return options.absorption_correction, ""
    off = "absorption correction off: the sweep"
    if facts.oscillation_range <= ABSORPTION_ABOVE and not estimated:
        return False, f"{off} covers {facts.oscillation_range:.3g} degrees, not more than {ABSORPTION_ABOVE:g}"
    angle = facts.largest_angle
    if angle is not None and angle < ABSORPTION_ANGLE:
        return False, f"{off}'s scattering angles reach only {angle:.2f} degrees, less than {ABSORPTION_ANGLE:.2f}"
    return True, ""


def _array(options: ArrayModel) -> ModelSettings:
    return ModelSettings(
        model="array",
        scale=False,
        decay=options.decay_correction,
        absorption=options.absorption_correction,
        modulation=options.modulation_correction,
        scale_interval=0.0,
        decay_interval=options.decay_interval,
        lmax=0,
        surface_weight=0.0,
        decay_restraint=0.0,
        n_resolution_bins=options.n_resolution_bins,
        n_absorption_bins=options.n_absorption_bins,
        n_modulation_bins=options.n_modulation_bins,
        share_absorption=False,
        fixed=_fixed("array", options.correction),
    )


def _kb(options: KB, facts: SweepFacts, sentences: list[str], estimate: bool) -> ModelSettings:
    modulation = _modulation(options.modulation_correction, facts, sentences, estimate)
    return ModelSettings(
        model="KB",
        scale=options.scale_correction,
        decay=options.decay_correction,
        absorption=False,
        modulation=modulation,
        scale_interval=0.0,
        decay_interval=0.0,
        lmax=0,
        surface_weight=0.0,
        decay_restraint=0.0,
        n_resolution_bins=0,
        n_absorption_bins=0,
        n_modulation_bins=MODULATION_BINS if modulation else 0,
        share_absorption=False,
        fixed=_fixed("KB", options.correction),
        estimated=COMPONENTS["KB"] if estimate else (),
    )


def _fixed(model: ModelName, correction: Correction) -> tuple[str, ...]:
    fixed = [name for name in COMPONENTS[model] if name in (correction.fix or ())]
    if model != "array" and "modulation" in fixed:
        fixed.append("modules")  # the other part of the detector's response
    return tuple(fixed)
