"""Options of the model dose_decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from braggscale.options.model_options.record import Correction, ModelOptions


@dataclass(frozen=True, slots=True)
class Share:
    """dose_decay.share"""

    decay: bool
    absorption: bool


@dataclass(frozen=True, slots=True)
class DoseDecay:
    """Interval in degrees."""

    scale_correction: bool
    scale_interval: float
    decay_correction: bool
    resolution_dependence: Literal["quadratic", "linear"]
    relative_B_correction: bool
    absorption_correction: bool
    lmax: int
    surface_weight: float
    share: Share
    correction: Correction


TEXT = """dose_decay
  .help = "Smooth scale along the rotation, and a decay that grows in proportion to the dose."
{
  scale_correction = True
    .type = bool
    .expert_level = 1
    .help = "Scale that varies smoothly with rotation."
  scale_interval = 2.0
    .type = float(value_min=1)
    .help = "Largest spacing of the scale parameters, degrees."
  decay_correction = True
    .type = bool
    .help = "Decay in proportion to the dose, which is counted in images."
  resolution_dependence = *quadratic linear
    .type = choice
    .optional = False
    .expert_level = 1
    .help = "quadratic: exp(C dose/d^2), a B factor that grows with the dose. linear: exp(C dose/d)."
  relative_B_correction = True
    .type = bool
    .help = "One relative B factor for each sweep."
  absorption_correction = False
    .type = bool
    .help = "Absorption surface in spherical harmonics."
  lmax = 4
    .type = int(value_min=2, value_max=16)
    .help = "Highest order of the spherical harmonics; a value other than 4 fixes the restraint of the surface."
  surface_weight = 1e6
    .type = float(value_min=0)
    .help = "Weight of the fixed restraint of the coefficients of the harmonics towards 0; a value other than 1e6"
            "fixes the restraint."
  share.decay = True
    .type = bool
    .expert_level = 1
    .help = "One rate of decay C for all sweeps; False: each sweep has its own."
  share.absorption = False
    .type = bool
    .expert_level = 1
    .help = "One absorption surface for all sweeps; for sweeps of one crystal that was not remounted."
  correction.fix = None
    .type = strings
    .expert_level = 1
    .help = "Components that keep their stored values: scale, decay, relative_B, absorption."
}
"""

OPTIONS = ModelOptions("dose_decay", DoseDecay, TEXT, only_if_named=True)
