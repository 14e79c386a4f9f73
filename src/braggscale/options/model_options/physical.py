"""Options of the physical model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from braggscale.options.model_options.record import Correction, ModelOptions


@dataclass(frozen=True, slots=True)
class Share:
    """physical.share"""

    absorption: bool


@dataclass(frozen=True, slots=True)
class Physical:
    """Intervals in degrees."""

    scale_correction: bool
    scale_interval: float | None
    decay_correction: bool
    decay_interval: float | None
    decay_restraint: float
    absorption_correction: bool | None
    absorption_level: Literal["low", "medium", "high"] | None
    lmax: int | None
    surface_weight: float | None
    modulation_correction: bool | None
    image_correction: bool | None
    image_interval: float | None
    share: Share
    correction: Correction


TEXT = """physical
  .help = "Smooth scale and B factor along the rotation, absorption surface of the crystal."
{
  scale_correction = True
    .type = bool
    .expert_level = 1
    .help = "Scale that varies smoothly with rotation."
  scale_interval = Auto
    .type = float(value_min=1)
    .help = "Largest spacing of the scale parameters, degrees. Auto: 2.5, with at least 4 and at most 80 intervals;"
            "with restraints=fixed 1 to 15, by the width of the sweep."
  decay_correction = True
    .type = bool
    .help = "Relative B factor that varies smoothly with rotation."
  decay_interval = Auto
    .type = float(value_min=1)
    .help = "Largest spacing of the B-factor parameters, degrees. Auto: 5, or twice the spacing of the scale; if the"
            "restraint is fixed 1.5 to 20, by the width of the sweep."
  decay_restraint = 0.1
    .type = float(value_min=0)
    .expert_level = 1
    .help = "Weight of the fixed restraint of the B-factor parameters towards 0."
  absorption_correction = Auto
    .type = bool
    .help = "Absorption surface in spherical harmonics. Auto: on if scattering angles reach 2.56 degrees; if its"
            "restraint is fixed, only for sweeps of more than 60 degrees."
  absorption_level = low medium high
    .type = choice
    .optional = True
    .help = "Expected absorption; switches the surface on and sets lmax and surface_weight:"
            "low 4 and 5e5, medium 6 and 5e4, high 6 and 5e3."
  lmax = Auto
    .type = int(value_min=2, value_max=16)
    .help = "Highest order of the spherical harmonics, which have lmax^2 + 2 lmax parameters. Auto: 6; 4 for sweeps"
            "up to 60 degrees or if the restraint is fixed."
  surface_weight = Auto
    .type = float(value_min=0)
    .help = "Weight of the restraint of the coefficients of the harmonics towards 0. Auto: estimated from the data;"
            "5e5 if the restraint is fixed."
  modulation_correction = Auto
    .type = bool
    .help = "Uneven response of the detector, one map for all sweeps. Auto: on if the detector has a single panel;"
            "with restraints=fixed off."
  image_correction = Auto
    .type = bool
    .help = "A separate factor for every image_interval, in addition to the smooth scale; how much these factors vary"
            "is estimated. Auto: on if images are as wide as rocking curves and there are 50 reflections for a"
            "factor; with restraints=fixed off."
  image_interval = Auto
    .type = float(value_min=0.01)
    .expert_level = 1
    .help = "Rotation range of one image factor, degrees. Auto: 1, or if images are as wide as rocking curves as few"
            "images as have 50 reflections."
  share.absorption = False
    .type = bool
    .expert_level = 1
    .help = "One absorption surface for all sweeps; for sweeps of one crystal that was not remounted."
  correction.fix = None
    .type = strings
    .expert_level = 1
    .help = "Components that keep their stored values: scale, decay, absorption, modulation, image."
}
"""


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    level = values["physical.absorption_level"]
    if level and values["physical.absorption_correction"] is False:
        return [f"absorption_level={level} contradicts physical.absorption_correction=False"]
    return []


OPTIONS = ModelOptions("physical", Physical, TEXT, _contradictions)
