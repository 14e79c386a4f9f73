"""The KB model: one scale K and one relative B factor per data set; for stills and narrow wedges."""

from __future__ import annotations

from typing import Any

from braggscale.models.components import Component, Smooth, ridge
from braggscale.models.data_set import DataSetModel, Extent
from braggscale.params import ModelSettings

# A data set with very few common reflections keeps finite values: weights of K - 1 and of B (Angstrom^2). They are
# as weak as one reflection known to 30 %, and B of 10 Angstrom^2.
SCALE_RIDGE = 1e-2
DECAY_RIDGE = 1e-2


def build(settings: ModelSettings, extent: Extent) -> DataSetModel:
    """Components of a data set of any kind."""
    components: list[Component] = []
    configuration: dict[str, Any] = {}
    if settings.scale:
        components.append(Smooth("scale", (), restraints=(ridge(1, SCALE_RIDGE, 1.0),)))
    if settings.decay:
        components.append(Smooth("decay", (), b_factor=True, restraints=(ridge(1, DECAY_RIDGE),)))
    if extent.images is not None:
        configuration["valid_image_range"] = list(extent.images)
    return DataSetModel("KB", tuple(components), configuration)
