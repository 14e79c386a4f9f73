"""The KB model: one scale K and one relative B factor per data set; for stills and narrow wedges.

A map of the detector's response, the same for all data sets, can stand beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from braggscale.models.component import Component
from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.detector_map import detector_map
from braggscale.models.detector_modules import module_factors
from braggscale.models.kind import ModelKind
from braggscale.models.restraints import level, ridge
from braggscale.models.settings import (
    MODULATION_BINS,
    ModelSettings,
    SweepFacts,
    fixed_components,
    has_detector_map,
)
from braggscale.models.smooth import Smooth
from braggscale.options.model_options.kb import KB as KBOptions
from braggscale.options.model_options.record import corrections_of

# Components that DIALS' model of this name does not have.
BEYOND_DIALS = ("modulation", "modules")

# Weights of K/K0 - 1, where K0 is the starting scale from mean intensities, and of B (Angstrom^2). They keep the
# values of a data set with very few common reflections finite, and correspond to an uncertainty of K0 of 50 % and of
# B of 5 Angstrom^2; a hundred common reflections known to 10 % have a weight of 10000.
SCALE_RIDGE = 4.0
DECAY_RIDGE = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class KBSettings(ModelSettings):
    """``scale``, ``decay``, ``modulation``: components that the model has."""

    model: ClassVar[str] = "KB"

    scale: bool
    decay: bool
    modulation: bool

    @property
    def n_modulation_bins(self) -> int:
        """Intervals of the map of the detector along x and along y."""
        return MODULATION_BINS if self.modulation else 0


def settle(options: KBOptions, facts: SweepFacts, estimate: bool) -> tuple[KBSettings, list[str]]:
    """Settings of a data set of any kind.  ``estimate``: whether the data determine restraints."""
    modulation, sentences = has_detector_map(options.modulation_correction, facts, estimate)
    corrections = corrections_of(KBOptions)
    settings = KBSettings(
        scale=options.scale_correction,
        decay=options.decay_correction,
        modulation=modulation,
        fixed=fixed_components(corrections, options.correction.fix, map_has_modules=True),
        estimated=corrections if estimate else (),
    )
    return settings, sentences


def build(settings: KBSettings, extent: Extent) -> DataSetModel:
    """Components of a data set of any kind."""
    components: list[Component] = []
    configuration: dict[str, Any] = {}
    if settings.scale:
        pull = ridge(1, SCALE_RIDGE, 1.0)
        if "scale" in settings.estimated:
            pull = level("scale", 1, SCALE_RIDGE, relative=True)
        components.append(Smooth("scale", (), restraints=(pull,)))
    if settings.decay:
        pull = ridge(1, DECAY_RIDGE)
        if "decay" in settings.estimated:
            pull = level("decay", 1, DECAY_RIDGE)
        components.append(Smooth("decay", (), b_factor=True, restraints=(pull,)))
    if settings.modulation and extent.detector is not None:
        components.append(detector_map(extent.detector, MODULATION_BINS, "modulation" in settings.estimated))
        configuration["shared"] = ["modulation"]
        if extent.modules is not None:
            components.append(module_factors(extent.modules, "modulation" in settings.estimated))
            configuration["shared"].append("modules")
    if extent.images is not None:
        configuration["valid_image_range"] = list(extent.images)
    return DataSetModel(KBSettings.model, tuple(components), configuration, BEYOND_DIALS)


def around_start(model: DataSetModel, start: float) -> DataSetModel:
    """The model with its scale restrained to ``start`` instead of 1, unless the mean of all scales restrains it."""
    restraints = (ridge(1, SCALE_RIDGE / start**2, start),)
    components = tuple(
        c.with_restraints(restraints) if c.name == "scale" and not any(r.couples_data_sets for r in c.restraints) else c
        for c in model.components
    )
    return replace(model, components=components)


KB = ModelKind(
    options=KBOptions,
    settings=KBSettings,
    settle=settle,
    build=build,
    needs_rotation=False,
    beyond_dials=BEYOND_DIALS,
    around_start=around_start,
)
