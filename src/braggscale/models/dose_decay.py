"""The model dose_decay: smooth scale along the rotation, and a decay that grows in proportion to the dose.

Radiation makes high-angle reflections fade first. If every image adds the same dose, the fading of a sweep is

    g = S(phi) exp(C D/d^2) exp(B/(2 d^2)),       or exp(C D/d) with ``resolution_dependence=linear``

with one rate C for all sweeps, instead of a B factor that is any smooth function (quadratic: B = 2 C D; linear:
Holton & Frankel, Acta Cryst. D66 (2010) 393). D is the number of images before the observation, those of earlier
sweeps of the crystal included, and B is that of the sweep. A crystal that decays has C < 0.

A dose that only shifts the origin, D + D_0, is a constant B of the sweep if the dependence is quadratic. Then D is
counted as dials.scale does, by the image alone, so that both programs read the same model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from braggscale.data.observations import ObservationGeometry
from braggscale.models.component import Component, Description, NoGauge, StoredComponent
from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.kind import ModelKind, StoredSetting
from braggscale.models.physical import absorption_surface, scale_curve
from braggscale.models.restraints import Restraint, level, ridge
from braggscale.models.settings import ModelSettings, SweepFacts, finest_interval, fixed_components
from braggscale.models.smooth import Smooth
from braggscale.numerics.array_types import Float, Int32
from braggscale.options.model_options.dose_decay import DoseDecay as DoseDecayOptions
from braggscale.options.model_options.record import corrections_of

DEFAULT_INTERVAL, DEFAULT_LMAX, DEFAULT_SURFACE_WEIGHT = 2.0, 4, 1e6  # degrees; DIALS' values
# Weight of B^2, Angstrom^-4: sweeps of one crystal differ by about 5 Angstrom^2. As in the KB model.
B_RIDGE = 0.04
# Weight of the square of the change over all images, for a change of about 30 Angstrom^2 (or Angstrom). It only
# keeps a rate finite that no data determine.
DECAY_RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class DoseDecay(NoGauge):
    """exp(C D/d^2), or exp(C D/d) if ``linear``.  C in Angstrom^2 (Angstrom) per image.

    ``before``: what is added to the image (array index) of an observation to make its dose, of each data set of the
    run, (n_data_sets,).
    """

    name: str
    linear: bool
    before: tuple[float, ...]
    restraints: tuple[Restraint, ...] = ()
    dense: ClassVar[bool] = False
    n_parameters: ClassVar[int] = 1
    exponential: ClassVar[bool] = True
    offset: ClassVar[float] = 0.0
    null: ClassVar[float] = 0.0
    shown_less: ClassVar[float | None] = None

    @property
    def columns(self) -> Int32:
        """The only parameter, (1,)."""
        return np.zeros(1, np.int32)

    def basis(self, rows: ObservationGeometry) -> tuple[Int32, Float]:
        """Start, (n,), and D/d^2 or D/d, (n, 1)."""
        dose = rows.xyz[:, 2] + np.array(self.before)[rows.data_set]
        return np.zeros(len(rows), np.int32), (dose / (rows.d if self.linear else rows.d**2))[:, None]

    def describe(self) -> Description:
        """A curve over the images: the B factor that has grown so far."""
        return Description("curve", (("image", np.zeros(1)),), b_factor=True)

    def read_off(self, stored: StoredComponent) -> Float | None:
        """The stored rate, (1,); None for a curve with more parameters."""
        return stored.values if len(stored.values) == 1 else None

    def with_restraints(self, restraints: tuple[Restraint, ...]) -> Self:
        """The same with other restraints."""
        return replace(self, restraints=restraints)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseDecaySettings(ModelSettings):
    """``scale``, ``decay``, ``relative_B``, ``absorption``: components that the model has.

    ``scale_interval``: degrees.  ``lmax``: highest order of the surface.  ``surface_weight``: where it is fixed.
    ``share_decay``, ``share_absorption``: one rate, one surface for all sweeps.
    """

    model: ClassVar[str] = "dose_decay"

    scale: bool
    decay: bool
    relative_B: bool
    absorption: bool
    scale_interval: float
    resolution_dependence: Literal["quadratic", "linear"]
    lmax: int
    surface_weight: float
    share_decay: bool
    share_absorption: bool


def settle(options: DoseDecayOptions, facts: SweepFacts, estimate: bool) -> tuple[DoseDecaySettings, list[str]]:
    """Settings of a sweep, and sentences on what was chosen.  ``estimate``: whether the data determine restraints."""
    sentences: list[str] = []
    absorption = options.absorption_correction and facts.largest_angle != 0
    if absorption != options.absorption_correction:
        sentences.append("absorption correction off: the directions of the beams are not known")
    lmax = options.lmax
    if absorption and facts.n_rows and lmax * (lmax + 2) > facts.n_rows:
        most = max(math.isqrt(facts.n_rows + 1) - 1, 1)
        sentences.append(f"lmax {most} instead of {lmax}: {facts.n_rows} reflections do not determine more")
        lmax = most
    by_number = {
        "scale": options.scale_interval != DEFAULT_INTERVAL,
        "absorption": options.lmax != DEFAULT_LMAX or options.surface_weight != DEFAULT_SURFACE_WEIGHT,
    }
    corrections = corrections_of(DoseDecayOptions)
    settings = DoseDecaySettings(
        scale=options.scale_correction,
        decay=options.decay_correction,
        relative_B=options.relative_B_correction,
        absorption=absorption,
        scale_interval=max(options.scale_interval, finest_interval(facts)),
        resolution_dependence=options.resolution_dependence,
        lmax=lmax,
        surface_weight=options.surface_weight,
        share_decay=options.share.decay and options.decay_correction,
        share_absorption=options.share.absorption and absorption,
        fixed=fixed_components(corrections, options.correction.fix, map_has_modules=False),
        estimated=tuple(name for name in corrections if estimate and not by_number.get(name, False)),
    )
    return settings, sentences


def build(settings: DoseDecaySettings, extent: Extent) -> DataSetModel:
    """Components of a sweep."""
    components: list[Component] = []
    configuration: dict[str, Any] = {"valid_osc_range": extent.oscillation}
    shared = []
    if settings.scale:
        scale, stored = scale_curve(extent, settings.scale_interval, "scale" in settings.estimated)
        components.append(scale)
        configuration |= stored
    if settings.decay:
        components.append(_decay(settings, extent))
        configuration["resolution_dependence"] = settings.resolution_dependence
        shared += ["decay"] if settings.share_decay else []
    if settings.relative_B:
        pull = level("relative_B", 1, B_RIDGE) if "relative_B" in settings.estimated else ridge(1, B_RIDGE)
        components.append(Smooth("relative_B", (), b_factor=True, restraints=(pull,)))
    if settings.absorption:
        estimated = "absorption" in settings.estimated
        components.append(absorption_surface(settings.lmax, settings.surface_weight, estimated))
        configuration |= {"lmax": settings.lmax, "abs_surface_weight": settings.surface_weight}
        shared += ["absorption"] if settings.share_absorption else []
    if shared:
        configuration["shared"] = shared
    if extent.images is not None:
        configuration["valid_image_range"] = list(extent.images)
    return DataSetModel(DoseDecaySettings.model, tuple(components), configuration)


def _decay(settings: DoseDecaySettings, extent: Extent) -> DoseDecay:
    """The decay of a sweep, with its origin of dose; see the top of this file."""
    linear = settings.resolution_dependence == "linear"
    before = extent.dose_before
    if settings.relative_B and not linear:
        before = (0.0,) * len(before)
    images = extent.image[1] + max(before, default=0.0)
    return DoseDecay("decay", linear, before, (ridge(1, DECAY_RIDGE * max(images, 1.0) ** 2),))


DOSE_DECAY = ModelKind(
    options=DoseDecayOptions,
    settings=DoseDecaySettings,
    settle=settle,
    build=build,
    stored=(
        StoredSetting("scale_rot_interval", "scale_interval", 1e-3, 1e5, "scale"),
        StoredSetting("lmax", "lmax", 1, 40, "absorption"),
        StoredSetting("abs_surface_weight", "surface_weight", 0.0, 1e12, "absorption"),
        StoredSetting("resolution_dependence", "resolution_dependence", words=("quadratic", "linear")),
    ),
)
