"""The model of one data set with every automatic choice made, and the facts that the choices depend on.

Each kind of model has its own settings in its module (physical.py, array.py, kb.py, dose_decay.py); the common part is
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

MODULATION_BINS = 16  # of the map of the detector that stands beside a physical or KB model, along x and y
NO_PANEL = "modulation correction off: the detector has several panels or is not known"


@dataclass(frozen=True, slots=True)
class SweepFacts:
    """Facts about a data set on which the choice of its model depends.

    ``oscillation_range``: total rotation, degrees, without sign.  ``largest_angle``: between s0 and s1 over the
    usable reflections, degrees; 0 without directions of the beams, None where it is not known.
    ``single_panel``: the detector is one known panel.
    ``image_width``: degrees, without sign.  ``mosaicity``: sd of the rocking curve, degrees; 0 where it is not known.
    ``n_rows``: usable reflections.
    """

    identifier: str
    is_still: bool
    oscillation_range: float
    largest_angle: float | None = None
    single_panel: bool = False
    image_width: float = 0.0
    mosaicity: float = 0.0
    n_rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The common part of the settings of all kinds of models; each kind adds a switch for each correction, and numbers.

    ``model``: name of the kind.  ``fixed``: components that keep their values.
    ``estimated``: components whose restraints the data determine.
    """

    model: ClassVar[str]

    fixed: tuple[str, ...] = ()
    estimated: tuple[str, ...] = ()


def settings_table(settings: ModelSettings) -> dict[str, Any]:
    """The settings of all kinds of models by name; those that this model does not have are False or 0."""
    return {name: getattr(settings, name, nothing) for name, nothing in _NOTHING.items()}


_NOTHING: dict[str, Any] = {
    "model": "",
    "scale": False,
    "decay": False,
    "absorption": False,
    "modulation": False,
    "scale_interval": 0.0,
    "decay_interval": 0.0,
    "lmax": 0,
    "surface_weight": 0.0,
    "decay_restraint": 0.0,
    "n_resolution_bins": 0,
    "n_absorption_bins": 0,
    "n_modulation_bins": 0,
    "share_absorption": False,
    "relative_B": False,
    "resolution_dependence": "",
    "share_decay": False,
    "fixed": (),
    "estimated": (),
    "image": False,
    "image_interval": 1.0,
}


def finest_interval(facts: SweepFacts) -> float:
    """Spacing of the parameters along the rotation below which there would be more than reflections, degrees."""
    return facts.oscillation_range / facts.n_rows if facts.n_rows else 0.0


def finest_curve(facts: SweepFacts) -> float:
    """Spacing of a curve's parameters below which there would be more than reflections or images, degrees.

    So the size of a curve is bounded by the data, whatever angles an experiment list claims.
    """
    return max(facts.image_width, finest_interval(facts))


def fixed_components(corrections: Sequence[str], fix: Sequence[str] | None, map_has_modules: bool) -> tuple[str, ...]:
    """Components that keep their values, in the order of ``corrections``.

    ``fix``: names as in the option.  ``map_has_modules``: whether the map of the detector comes with factors of its
    modules, the other part of the detector's response.
    """
    fixed = [name for name in corrections if name in (fix or ())]
    if map_has_modules and "modulation" in fixed:
        fixed.append("modules")
    return tuple(fixed)


def has_detector_map(wanted: bool | None, facts: SweepFacts, estimate: bool) -> tuple[bool, list[str]]:
    """Whether there is a map of the detector, and a sentence if the user wants one that is not possible.

    ``wanted``: the option, None for automatic: on if its restraints are estimated (``estimate``).
    """
    sentences = [NO_PANEL] if wanted and not facts.single_panel else []
    return facts.single_panel and (estimate if wanted is None else wanted), sentences
