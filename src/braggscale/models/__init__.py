"""Scaling models: which components a data set has, and how they are stored.

``MODELS`` is the registry, one record per kind of model: the names are the choices of the option ``model``.
"""

from __future__ import annotations

from typing import Any

from braggscale.errors import CommandError
from braggscale.models.array import ARRAY
from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.dose_decay import DOSE_DECAY
from braggscale.models.kb import KB
from braggscale.models.kind import ModelKind
from braggscale.models.physical import PHYSICAL
from braggscale.models.settings import ModelSettings

MODELS: dict[str, ModelKind[Any, Any]] = {kind.name: kind for kind in (PHYSICAL, ARRAY, KB, DOSE_DECAY)}


def build(settings: ModelSettings, extent: Extent, identifier: str) -> DataSetModel:
    """Model of one data set; raises CommandError if every component is switched off."""
    model = MODELS[settings.model].build(settings, extent)
    if not model.components:
        raise CommandError(
            f"model={settings.model} has no component left for data set {identifier}: every correction is "
            "switched off; switch at least one on, for example scale_correction=True"
        )
    return model
