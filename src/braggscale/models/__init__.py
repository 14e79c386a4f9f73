"""Scaling models: which components a data set has, and how they are stored.

``MODELS`` is the registry: the names are the choices of the option ``model``.
"""

from __future__ import annotations

from collections.abc import Callable

from braggscale.errors import CommandError
from braggscale.models import array, kb, physical
from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.settings import ModelSettings

MODELS: dict[str, Callable[[ModelSettings, Extent], DataSetModel]] = {
    "physical": physical.build,
    "array": array.build,
    "KB": kb.build,
}


def build(settings: ModelSettings, extent: Extent, identifier: str) -> DataSetModel:
    """Model of one data set; raises CommandError if every component is switched off."""
    model = MODELS[settings.model](settings, extent)
    if not model.components:
        raise CommandError(
            f"model={settings.model} has no component left for data set {identifier}: every correction is "
            "switched off; switch at least one on, for example scale_correction=True"
        )
    return model
