"""The options of each kind of scaling model.

``MODEL_OPTIONS`` is the registry, in the order of the help: the names are the choices of the option ``model``, and
those of the records in ``models.MODELS``.
"""

from __future__ import annotations

from braggscale.options.model_options import array, dose_decay, kb, physical
from braggscale.options.model_options.record import ModelOptions

MODEL_OPTIONS: dict[str, ModelOptions] = {
    one.name: one for one in (physical.OPTIONS, array.OPTIONS, kb.OPTIONS, dose_decay.OPTIONS)
}
