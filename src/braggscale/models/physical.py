"""The physical model: smooth scale and B factor along the rotation, absorption surface of the crystal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from braggscale.models.component import Component
from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.detector_map import detector_map
from braggscale.models.detector_modules import module_factors
from braggscale.models.harmonics import Harmonics
from braggscale.models.image_effects import Images
from braggscale.models.restraints import Restraint, bending, level, ridge, roughness, smoothness
from braggscale.models.settings import ModelSettings
from braggscale.models.smooth import Smooth, axis_over, smooth_spacing

# Weights of squared second differences of neighbouring parameters. So weak that a parameter which sees even ten
# reflections does not feel them (a scale known to 3 % per reflection has a weight near 1e4); across a gap in the
# images they carry the curve over in a straight line, so that no parameter is left undetermined.
SCALE_ROUGHNESS = 4.0  # 1/0.5^2: neighbouring slopes of the scale differ by about 0.5
DECAY_ROUGHNESS = 0.04  # 1/(5 Angstrom^2)^2

# Where estimated strengths start, 1/sd^2; they end where the data want them. Bends of 2 % and 0.3 Angstrom^2 over 10
# degrees, changes of 10 % and 3 Angstrom^2 over a sweep, B of 3 Angstrom^2 between sweeps; coefficients of the surface
# of 5 % for l = 1, falling with l (l + 1).
START_SCALE = (2500.0, 100.0)
START_DECAY = (10.0, 0.1)
START_DECAY_LEVEL = 0.1
START_ABSORPTION = 100.0
START_IMAGE = 1e4  # 1 % from image to image


def build(settings: ModelSettings, extent: Extent) -> DataSetModel:
    """Components of a sweep, spaced by the settings.  See the guide for the meaning of each setting."""
    components: list[Component] = []
    configuration: dict[str, Any] = {"valid_osc_range": extent.oscillation}
    if settings.scale:
        n, factor, spacing = smooth_spacing(extent.degrees, abs(extent.width), settings.scale_interval)
        axis = axis_over("image", factor, *extent.image, n)
        curve: list[Restraint] = [roughness((n,), SCALE_ROUGHNESS)]
        if "scale" in settings.estimated:
            curve = smoothness("scale", n, spacing, *START_SCALE, relative=True)
        components.append(Smooth("scale", (axis,), restraints=tuple(curve)))
        configuration |= {"s_norm_fac": factor, "scale_rot_interval": spacing}
    if settings.decay:
        n, factor, spacing = smooth_spacing(extent.degrees, abs(extent.width), settings.decay_interval)
        axis = axis_over("image", factor, *extent.image, n)
        curve = [ridge(n, settings.decay_restraint), roughness((n,), DECAY_ROUGHNESS)]
        if "decay" in settings.estimated:
            curve = smoothness("decay", n, spacing, *START_DECAY, relative=False)
            curve.append(level("decay", n, START_DECAY_LEVEL))
        components.append(Smooth("decay", (axis,), True, tuple(curve)))
        configuration |= {"d_norm_fac": factor, "decay_rot_interval": spacing}
    if settings.absorption:
        surface = Harmonics("absorption", settings.lmax)
        weight = ridge(surface.n_parameters, settings.surface_weight)
        if "absorption" in settings.estimated:
            weight = bending("absorption", settings.lmax, START_ABSORPTION)
        components.append(Harmonics("absorption", settings.lmax, (weight,)))
        configuration |= {"lmax": settings.lmax, "abs_surface_weight": settings.surface_weight}
        if settings.share_absorption:
            configuration["shared"] = ["absorption"]
    if settings.image:
        components.append(_images(extent, settings.image_interval))
    if settings.modulation and extent.detector is not None:
        components.append(detector_map(extent.detector, settings.n_modulation_bins, "modulation" in settings.estimated))
        # one detector has one response, whatever sweep looks at it
        configuration["shared"] = [*configuration.get("shared", ()), "modulation"]
        if extent.modules is not None:
            components.append(module_factors(extent.modules, "modulation" in settings.estimated))
            configuration["shared"].append("modules")
    if extent.images is not None:
        configuration["valid_image_range"] = list(extent.images)
    return DataSetModel("physical", tuple(components), configuration)


def _images(extent: Extent, interval: float) -> Images:
    """One effect for every whole number of images nearest to ``interval``, degrees."""
    first, last = extent.images or (1, 1)
    width = abs(extent.width)
    per_bin = max(1, round(interval / width)) if width > 0 else 1
    n = max(1, round((last - first + 1) / per_bin))
    spread = extent.mosaicity / width if width > 0 else 0.0
    held = ridge(n, START_IMAGE)
    restraint = replace(held, kind="image", rank=n)
    return Images("image", n, first - 1.0, (last - first + 1) / n, spread, extent.axis, (restraint,))
