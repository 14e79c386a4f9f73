"""Options of the KB model."""

from __future__ import annotations

from dataclasses import dataclass

from braggscale.options.model_options.record import Correction, ModelOptions


@dataclass(frozen=True, slots=True)
class KB:
    """KB"""

    scale_correction: bool
    decay_correction: bool
    modulation_correction: bool | None
    correction: Correction


TEXT = """KB
  .help = "One scale and one B factor for each data set."
{
  scale_correction = True
    .type = bool
    .expert_level = 1
    .help = "One scale for each data set."
  decay_correction = True
    .type = bool
    .help = "One relative B factor for each data set."
  modulation_correction = Auto
    .type = bool
    .help = "Uneven response of the detector, one map for all data sets. Auto: on if the detector has a single"
            "panel; with restraints=fixed off."
  correction.fix = None
    .type = strings
    .expert_level = 1
    .help = "Components that keep their stored values: scale, decay, modulation."
}
"""

OPTIONS = ModelOptions("KB", KB, TEXT)
