"""The model of each data set as a dictionary, to be stored with its experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from braggscale.models.joint_model import JointModel
from braggscale.models.settings import ModelSettings
from braggscale.models.stored_model import OWN_ENTRY
from braggscale.numerics.array_types import Float, Int
from braggscale.scaling.previous_run import OutlierLimits, stored_entry
from braggscale.scaling.state import Scaled
from braggscale.weighting.intensity_choice import BEST


def stored_models(
    model: JointModel,
    settings: Sequence[ModelSettings],
    limits: OutlierLimits,
    error_model_of: Int,
    scaled: Scaled,
    esd: Float | None,
) -> tuple[dict[str, Any], ...]:
    """The dictionary of each data set's model, as it is stored with the experiment.

    ``settings``: of each data set's model.  ``limits``: of the outlier test of this run.
    ``error_model_of``: number of the error model of each data set, (n_data_sets,).
    ``esd``: standard deviations of theta, (n_parameters,); None without a covariance.
    """
    errors = [scaled.state.errors[number] for number in error_model_of]
    stored = []
    seen: set[tuple[int, int]] = set()
    for d, data_set in enumerate(model.data_sets):
        slices = [model.where(d, c) for c in range(len(data_set.components))]
        theta = [scaled.outcome.theta[where] for where in slices]
        sigma = None if esd is None else [esd[where] for where in slices]
        extra: dict[str, Any] = {
            "error_model_type": "BasicErrorModel",
            "error_model_parameters": [errors[d].a, errors[d].b],
        }
        if errors[d].c > 0:
            extra["error_model_linear_term"] = errors[d].c  # other programs expect two parameters
        if scaled.state.i_mid is not None and scaled.state.i_mid != BEST:
            extra["Imid"] = float(scaled.state.i_mid)
        entry = data_set.to_dict(theta, sigma, extra, scaled.state.strengths)
        for component, where in zip(data_set.components, slices, strict=True):
            # shared components that no other program reads are stored once; for stills they would be most of the file
            if component.name in data_set.beyond_dials and (where.start, where.stop) in seen:
                del entry[component.name]
            seen.add((where.start, where.stop))
        stored.append(entry | {OWN_ENTRY: stored_entry(settings[d], limits)})
    return tuple(stored)
