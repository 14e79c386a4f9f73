"""Which kind of model a data set gets, and with which settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from braggscale.errors import CommandError
from braggscale.models import MODELS
from braggscale.models.settings import ModelSettings, SweepFacts

AUTO, STILLS, SWEEPS = "auto", "KB", "physical"  # the option, and what it means for stills and for sweeps
KB_BELOW = 1.0  # degrees of rotation; DIALS' limit for the automatic choice of KB
FEWEST_FOR_CURVES = 20  # usable reflections of a sweep; a physical model has more parameters than that
KB_SUGGESTED_BELOW = 3.0  # degrees


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The user's choice of models for a run.

    ``kind``: name of a model, or auto.  ``estimated``: whether the data determine the strengths of restraints.
    ``kind_is_explicit``, ``restraints_are_explicit``: whether the user said so, or they are defaults.
    ``options``: of every kind of model, by its name.  ``explicit``: full names of those that the user set.
    ``use_stored``: whether a run has the same models as stored with the data sets and starts from their values.
    ``same_crystal``: whether the sweeps follow each other on one crystal, whose dose then goes on from one to the next.
    """

    kind: str
    kind_is_explicit: bool
    estimated: bool
    restraints_are_explicit: bool
    options: Mapping[str, Any]
    explicit: frozenset[str]
    use_stored: bool
    same_crystal: bool = True


def repeated_model(request: ModelRequest, stored: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The stored model of a data set if the run repeats it, None where the options choose one."""
    if stored is None or not request.use_stored:
        return None
    kind = stored.get("__id__")
    named = request.kind_is_explicit and request.kind not in ("auto", kind)
    return stored if kind in MODELS and not named else None


def resolve_model(request: ModelRequest, facts: SweepFacts) -> tuple[ModelSettings, list[str]]:
    """The settings of a data set's model, and a sentence for the log on each choice that may surprise the user.

    The sentences do not name the data set, so that equal ones can be combined. Limits and automatic values
    are those of DIALS.  Raises CommandError when the options leave the model without a component.
    """
    name, sentences = _model_name(request.kind, facts)
    kind = MODELS[name]
    settings, more = kind.settle(request.options[name], facts, request.estimated and kind.estimates)
    if not any(getattr(settings, correction) for correction in kind.corrections):
        raise CommandError(
            f"data set {facts.identifier}: the model {name} has no component left; switch on at least one of its "
            f"corrections ({', '.join(kind.corrections)}) or choose another model"
        )
    needed = kind.at_least_one_of
    if needed and not any(getattr(settings, correction) for correction in needed):
        names = " or ".join(f"{correction}_correction" for correction in needed)
        raise CommandError(f"data set {facts.identifier}: the model {name} needs {names}")
    return settings, [*sentences, *more]


def _model_name(wanted: str, facts: SweepFacts) -> tuple[str, list[str]]:
    """Name of the kind of model, and sentences on why."""
    degrees = facts.oscillation_range
    if wanted != AUTO and not MODELS[wanted].needs_rotation:
        return wanted, []
    if facts.is_still:
        if wanted == AUTO:
            return STILLS, [f"model {STILLS}, because there is no rotation"]
        return STILLS, [f"model {STILLS} instead of {wanted}, which needs a rotation"]
    if wanted == AUTO and degrees < KB_BELOW:
        return STILLS, [f"model {STILLS}, because a sweep of {degrees:.3g} degrees is shorter than {KB_BELOW:g}"]
    if wanted == AUTO and 0 < facts.n_rows < FEWEST_FOR_CURVES:
        return STILLS, [f"model {STILLS}, because fewer than {FEWEST_FOR_CURVES} reflections determine no curve"]
    advice = []
    if degrees < KB_SUGGESTED_BELOW:
        advice = [f"for a sweep of only {degrees:.3g} degrees model={STILLS} may be the better choice"]
    return (SWEEPS if wanted == AUTO else wanted), advice
