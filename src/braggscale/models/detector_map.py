"""The response of the detector as a smooth map over its surface."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from braggscale.data.observations import ObservationGeometry
from braggscale.models.joint_model import JointModel
from braggscale.models.restraints import unevenness
from braggscale.models.smooth import Smooth, axis_over, binned_parameters
from braggscale.numerics.array_types import Float

NAME = "modulation"


@lru_cache(maxsize=8)
def detector_map(size: tuple[int, int], bins: int, estimated: bool) -> Smooth:
    """Response of the detector: a grid over its panel, independent of time, with mean 1.

    Parameters are logarithms. If they were factors, differences would cost less where the map is low than where it is
    high. A map would then become small for that reason alone, and another correction would make up for it.

    There is one object for all data sets of a detector, because thousands of stills share its penalty.
    DIALS' physical and KB models do not have this component. It is stored under a name of its own, which DIALS leaves
    out when it writes a model.  ``size``: pixels, fast and slow.
    """
    n = binned_parameters(bins)
    x = axis_over("x", bins / size[0], 0.0, float(size[0]), n)
    y = axis_over("y", bins / size[1], 0.0, float(size[1]), n)
    restraint = unevenness(NAME, (x.n, y.n), START_MODULATION)
    if not estimated:
        restraint = replace(restraint, kind="")
    return Smooth(NAME, (x, y), restraints=(restraint,), logarithm=True)


START_MODULATION = 1e4  # neighbouring differences change by 1 %; also the strength if it is not estimated


def low_response(model: JointModel, rows: ObservationGeometry, theta: Float, below: float) -> Float | None:
    """Value of the maps of the detector for every row, (n,); None where no parameter of a map is below ``below``.

    ``theta``: (n_parameters,).
    """
    maps = [(where, component) for _, component, where in model.parts() if component.name == NAME]
    least = min(
        (theta[where].min() if not c.exponential else np.exp(theta[where].min()) for where, c in maps), default=1
    )
    return model.product(rows, theta, lambda component: component.name == NAME) if least < below else None
