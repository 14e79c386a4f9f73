"""The physical model: smooth scale and B factor along the rotation, absorption surface of the crystal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from braggscale.models.component import Component
from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.detector_map import detector_map
from braggscale.models.detector_modules import module_factors
from braggscale.models.harmonics import Harmonics
from braggscale.models.image_effects import Images
from braggscale.models.kind import ModelKind, StoredSetting
from braggscale.models.restraints import Restraint, bending, effects, level, ridge, roughness, smoothness
from braggscale.models.settings import (
    MODULATION_BINS,
    ModelSettings,
    SweepFacts,
    finest_curve,
    finest_interval,
    fixed_components,
    has_detector_map,
)
from braggscale.models.smooth import Smooth, axis_over, smooth_spacing
from braggscale.options.model_options.physical import Physical
from braggscale.options.model_options.record import corrections_of

# Components that DIALS' model of this name does not have.
BEYOND_DIALS = ("modulation", "modules", "image")

ABSORPTION_ABOVE = 60.0  # degrees of rotation; DIALS' limit, because less rotation does not cover the surface
ABSORPTION_ANGLE = 2.5626  # degrees, acos(0.999): s0 and s1 nearly coincide, as in electron diffraction (DIALS' limit)
DEFAULT_LMAX = 4
DEFAULT_SURFACE_WEIGHT = 5e5
DEFAULT_DECAY_RESTRAINT = 0.1
# With estimated restraints a basis only has to be fine enough; finer ones than these did not change merged intensities.
FINE_INTERVAL = 2.5  # degrees; of the decay twice as much
FINEST_INTERVAL = 1e-3  # degrees, however narrow the sweep
LEAST_INTERVALS, MOST_INTERVALS = 4, 80  # of the scale, per sweep
FINE_LMAX, WEDGE_LMAX = 6, 4  # of sweeps, and of those below ABSORPTION_ABOVE
IMAGE_INTERVAL = 1.0  # degrees
# Image effects by default: if images are at least as wide as rocking curves (full width at half maximum, 2.355 sd)
# and each effect has at least this number n of reflections, so that its error, about 3 %/sqrt(n), is below the
# usual flicker of a beam.
FULL_WIDTH = 2.355
LEAST_PER_EFFECT = 50
# Sweep width below which, scale interval, decay interval; degrees. DIALS' automatic values.
INTERVALS = ((5.0, 1.0, 1.5), (10.0, 2.0, 3.0), (25.0, 4.0, 5.0), (90.0, 8.0, 10.0), (float("inf"), 15.0, 20.0))
# lmax, surface weight; DIALS' values.
ABSORPTION_LEVELS = {"low": (4, 5e5), "medium": (6, 5e4), "high": (6, 5e3)}

# Weights of squared second differences of neighbouring parameters. They are negligible for a parameter with ten
# reflections (each determines a scale to 3 %, which gives a weight near 1e4). Across a gap in the images they make
# the curve a straight line, so that no parameter is undetermined.
SCALE_ROUGHNESS = 4.0  # 1/0.5^2: neighbouring slopes of the scale differ by about 0.5
DECAY_ROUGHNESS = 0.04  # 1/(5 Angstrom^2)^2

# Starting values of estimated strengths, 1/sd^2; the data determine the final ones. The sd are: curvature of 2 % and
# 0.3 Angstrom^2 over 10 degrees, changes of 10 % and 3 Angstrom^2 over a sweep, B of 3 Angstrom^2 between sweeps,
# coefficients of the surface of 5 % for l = 1, decreasing with l (l + 1).
START_SCALE = (2500.0, 100.0)
START_DECAY = (10.0, 0.1)
START_DECAY_LEVEL = 0.1
START_ABSORPTION = 100.0
START_IMAGE = 1e4  # 1 % from image to image


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalSettings(ModelSettings):
    """``scale``, ``decay``, ``absorption``, ``modulation``, ``image``: components that the model has.

    Intervals in degrees.  ``lmax``: highest order of the surface.  ``surface_weight``, ``decay_restraint``: strengths
    of fixed restraints.  ``share_absorption``: one surface for all sweeps.
    """

    model: ClassVar[str] = "physical"

    scale: bool
    decay: bool
    absorption: bool
    modulation: bool
    image: bool
    scale_interval: float
    decay_interval: float
    lmax: int
    surface_weight: float
    decay_restraint: float
    share_absorption: bool
    image_interval: float

    @property
    def n_modulation_bins(self) -> int:
        """Intervals of the map of the detector along x and along y."""
        return MODULATION_BINS if self.modulation else 0


# Settings ---------------------------------------------------------------------------------------------------


def settle(options: Physical, facts: SweepFacts, estimate: bool) -> tuple[PhysicalSettings, list[str]]:
    """Settings of a sweep, and sentences on what was chosen.  ``estimate``: whether the data determine restraints."""
    estimated = _estimated(options) if estimate else ()
    scale_interval, decay_interval = _intervals(options, facts, estimated)
    modulation, sentences = has_detector_map(options.modulation_correction, facts, estimate)
    image, image_interval = _images(options, facts, estimate)
    if image and options.image_correction is None:
        degrees = f"{image_interval:.3g} degree{'s' * (image_interval != 1.0)}"
        sentences.append(f"image effects on, one for every {degrees} (image_correction=False: off)")
    absorption, why = _absorption(options, facts, "absorption" in estimated)
    lmax, weight = options.lmax, options.surface_weight
    if why and (lmax is not None or weight is not None or options.share.absorption):
        why += "; lmax, surface_weight and share.absorption have no effect"
    if why:
        sentences.append(why)
    if options.absorption_level is not None:
        level = ABSORPTION_LEVELS[options.absorption_level]
        numbers = [text for text, value in (("lmax", lmax), ("surface_weight", weight)) if value is not None]
        if numbers:
            sentences.append(
                f"absorption_level={options.absorption_level} overrides {' and '.join(numbers)}: "
                f"lmax {level[0]}, surface_weight {level[1]:g}"
            )
        lmax, weight = level
    if lmax is None:
        lmax = DEFAULT_LMAX
        if "absorption" in estimated:
            lmax = FINE_LMAX if facts.oscillation_range > ABSORPTION_ABOVE else WEDGE_LMAX
    if absorption and facts.n_rows and lmax * (lmax + 2) > facts.n_rows:
        most = max(math.isqrt(facts.n_rows + 1) - 1, 1)
        sentences.append(f"lmax {most} instead of {lmax}: {facts.n_rows} reflections do not determine more")
        lmax = most
    settings = PhysicalSettings(
        scale=options.scale_correction,
        decay=options.decay_correction,
        absorption=absorption,
        modulation=modulation,
        image=image,
        scale_interval=max(scale_interval, finest_curve(facts)),
        decay_interval=max(decay_interval, finest_curve(facts)),
        lmax=lmax,
        surface_weight=DEFAULT_SURFACE_WEIGHT if weight is None else weight,
        decay_restraint=options.decay_restraint,
        share_absorption=options.share.absorption and absorption,
        image_interval=max(image_interval, finest_interval(facts)),
        fixed=fixed_components(corrections_of(Physical), options.correction.fix, map_has_modules=True),
        estimated=estimated,
    )
    return settings, sentences


def _intervals(options: Physical, facts: SweepFacts, estimated: tuple[str, ...]) -> tuple[float, float]:
    """Largest spacing of the parameters of scale and decay, degrees."""
    degrees = facts.oscillation_range
    _, scale, decay = next(row for row in INTERVALS if degrees < row[0])
    fine = max(min(FINE_INTERVAL, degrees / LEAST_INTERVALS), degrees / MOST_INTERVALS)
    fine = min(max(fine, FINEST_INTERVAL), scale)
    if "scale" in estimated:
        scale = fine
    if "decay" in estimated:
        decay = 2.0 * fine
    return (
        scale if options.scale_interval is None else options.scale_interval,
        decay if options.decay_interval is None else options.decay_interval,
    )


def _images(options: Physical, facts: SweepFacts, estimate: bool) -> tuple[bool, float]:
    """Whether there are image effects, and the rotation that shares one, degrees.

    If no interval is given, it is one image if images are as wide as rocking curves and have enough reflections;
    else the smallest number of images with enough reflections, if this is at most IMAGE_INTERVAL; else
    IMAGE_INTERVAL.
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


def _estimated(options: Physical) -> tuple[str, ...]:
    """Components for which the user has given no number."""
    set_by_number = {
        "scale": options.scale_interval is not None,
        "decay": options.decay_interval is not None or options.decay_restraint != DEFAULT_DECAY_RESTRAINT,
        "absorption": any(x is not None for x in (options.lmax, options.surface_weight, options.absorption_level)),
    }
    return tuple(name for name in corrections_of(Physical) if not set_by_number.get(name, False))


def _absorption(options: Physical, facts: SweepFacts, estimated: bool) -> tuple[bool, str]:
    """Whether the surface is on; if it was switched off automatically, why.

    If its strength is estimated, the surface is used even if the sweep is too narrow to determine it.
    """
    if facts.largest_angle == 0:
        return False, "absorption correction off: the directions of the beams are not known"
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


# Model ------------------------------------------------------------------------------------------------------


def scale_curve(extent: Extent, interval: float, estimated: bool) -> tuple[Smooth, dict[str, float]]:
    """The smooth scale of a sweep, and what is stored of its spacing.

    ``interval``: largest spacing of its parameters, degrees.  ``estimated``: whether its smoothness is.
    """
    n, factor, spacing = smooth_spacing(extent.degrees, abs(extent.width), interval)
    axis = axis_over("image", factor, *extent.image, n)
    curve: list[Restraint] = [roughness((n,), SCALE_ROUGHNESS)]
    if estimated:
        curve = smoothness("scale", n, spacing, *START_SCALE, relative=True)
    return Smooth("scale", (axis,), restraints=tuple(curve)), {"s_norm_fac": factor, "scale_rot_interval": spacing}


def absorption_surface(lmax: int, weight: float, estimated: bool) -> Harmonics:
    """The absorption surface of a sweep.

    ``lmax``: highest order of the harmonics.  ``weight``: that pulls them towards 0, where the restraint is not
    ``estimated``.
    """
    n_parameters = Harmonics("absorption", lmax).n_parameters
    pull = bending("absorption", lmax, START_ABSORPTION) if estimated else ridge(n_parameters, weight)
    return Harmonics("absorption", lmax, (pull,))


def build(settings: PhysicalSettings, extent: Extent) -> DataSetModel:
    """Components of a sweep, spaced by the settings.  See the guide for the meaning of each setting."""
    components: list[Component] = []
    configuration: dict[str, Any] = {"valid_osc_range": extent.oscillation}
    if settings.scale:
        scale, stored = scale_curve(extent, settings.scale_interval, "scale" in settings.estimated)
        components.append(scale)
        configuration |= stored
    if settings.decay:
        n, factor, spacing = smooth_spacing(extent.degrees, abs(extent.width), settings.decay_interval)
        axis = axis_over("image", factor, *extent.image, n)
        curve: list[Restraint] = [ridge(n, settings.decay_restraint), roughness((n,), DECAY_ROUGHNESS)]
        if "decay" in settings.estimated:
            curve = smoothness("decay", n, spacing, *START_DECAY, relative=False)
            curve.append(level("decay", n, START_DECAY_LEVEL))
        components.append(Smooth("decay", (axis,), True, tuple(curve)))
        configuration |= {"d_norm_fac": factor, "decay_rot_interval": spacing}
    if settings.absorption:
        estimated = "absorption" in settings.estimated
        components.append(absorption_surface(settings.lmax, settings.surface_weight, estimated))
        configuration |= {"lmax": settings.lmax, "abs_surface_weight": settings.surface_weight}
        if settings.share_absorption:
            configuration["shared"] = ["absorption"]
    if settings.image:
        components.append(_image_effects(extent, settings.image_interval))
    if settings.modulation and extent.detector is not None:
        components.append(detector_map(extent.detector, MODULATION_BINS, "modulation" in settings.estimated))
        # the response of the detector is the same for all sweeps
        configuration["shared"] = [*configuration.get("shared", ()), "modulation"]
        if extent.modules is not None:
            components.append(module_factors(extent.modules, "modulation" in settings.estimated))
            configuration["shared"].append("modules")
    if extent.images is not None:
        configuration["valid_image_range"] = list(extent.images)
    return DataSetModel(PhysicalSettings.model, tuple(components), configuration, BEYOND_DIALS)


def _image_effects(extent: Extent, interval: float) -> Images:
    """One effect for every whole number of images nearest to ``interval``, degrees."""
    first, last = extent.images or (1, 1)
    width = abs(extent.width)
    per_bin = max(1, round(interval / width)) if width > 0 else 1
    n = max(1, round((last - first + 1) / per_bin))
    spread = extent.mosaicity / width if width > 0 else 0.0
    restraint = effects("image", n, START_IMAGE)
    return Images("image", n, first - 1.0, (last - first + 1) / n, spread, extent.axis, (restraint,))


PHYSICAL = ModelKind(
    options=Physical,
    settings=PhysicalSettings,
    settle=settle,
    build=build,
    stored=(
        StoredSetting("scale_rot_interval", "scale_interval", 1e-3, 1e5, "scale"),
        StoredSetting("decay_rot_interval", "decay_interval", 1e-3, 1e5, "decay"),
        StoredSetting("image_interval", "image_interval", 1e-3, 1e5),
        StoredSetting("lmax", "lmax", 1, 40, "absorption"),
        StoredSetting("abs_surface_weight", "surface_weight", 0.0, 1e12, "absorption"),
    ),
    beyond_dials=BEYOND_DIALS,
    implied={"absorption_level": ("absorption_correction", "lmax", "surface_weight")},
)
