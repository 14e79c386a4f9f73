"""Options of the array model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from braggscale.options.model_options.record import Correction, ModelOptions


@dataclass(frozen=True, slots=True)
class ArrayModel:
    """Interval in degrees."""

    decay_correction: bool
    absorption_correction: bool
    modulation_correction: bool
    decay_interval: float
    n_resolution_bins: int
    n_absorption_bins: int
    n_modulation_bins: int
    correction: Correction


TEXT = """array
  .help = "Grids of scales over resolution, detector position and rotation."
{
  decay_correction = True
    .type = bool
    .help = "Grid over resolution and rotation."
  absorption_correction = True
    .type = bool
    .help = "Grid over detector position and rotation."
  modulation_correction = False
    .type = bool
    .help = "Grid over detector position, the same at every rotation."
  decay_interval = 20.0
    .type = float(value_min=1)
    .help = "Largest spacing of the decay and absorption grids along the rotation, degrees."
  n_resolution_bins = 10
    .type = int(value_min=1, value_max=100)
    .help = "Intervals of the decay grid along 1/d^2."
  n_absorption_bins = 3
    .type = int(value_min=1, value_max=20)
    .help = "Intervals of the absorption grid along x and along y of the detector."
  n_modulation_bins = 20
    .type = int(value_min=1, value_max=100)
    .help = "Intervals of the modulation grid along x and along y of the detector."
  correction.fix = None
    .type = strings
    .expert_level = 1
    .help = "Components that keep their stored values: decay, absorption, modulation."
}
"""


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    if values["model"] == "array" and not (values["array.decay_correction"] or values["array.absorption_correction"]):
        return ["model=array needs decay_correction or absorption_correction"]
    return []


OPTIONS = ModelOptions("array", ArrayModel, TEXT, _contradictions)
