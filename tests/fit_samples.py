"""Least-squares problems with made-up models, for the tests of solvers."""

from dataclasses import replace

import numpy as np
import synthetic

from braggscale.fit.least_squares import Target
from braggscale.fit.restraints import Restraints
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.joint_model import JointModel
from braggscale.models.restraints import bending, level, smoothness
from braggscale.models.smooth import Smooth, axis_over

MODELS = {
    "physical": lambda: [synthetic.physical() for _ in range(3)],
    "KB": lambda: [synthetic.kb() for _ in range(5)],
    "array": lambda: [synthetic.array(), synthetic.array()],
    "mixed": lambda: [synthetic.kb(), synthetic.physical(), synthetic.kb()],
    "shared": lambda: [replace(synthetic.physical(), configuration={"shared": ["absorption"]}) for _ in range(3)],
}


def problem(models, seed=3, n_groups=60, sigma=0.02):
    rng = np.random.default_rng(seed)
    rows, groups = synthetic.observations(rng, n_groups=n_groups, n_data_sets=len(models), size=(3, 12))
    model = JointModel.of(models)
    theta = synthetic.perturbed(rng, model, 0.1)
    g = model.evaluate(rows, theta)[0]
    mu = groups.spread(rng.exponential(100.0, len(groups)) + 20.0) * g
    intensity, weight = mu * rng.normal(1.0, sigma, len(mu)), 1.0 / (sigma * mu) ** 2
    free = np.arange(model.n_parameters)
    target = Target(model.design(rows), groups, intensity, weight, Restraints(model.restraints()), theta, free)
    return rows, groups, model, theta, target


def sweeps(n, shared=()):
    """Models of sweeps whose restraints are all estimated.  ``shared``: components that they have in common."""
    scale, decay = axis_over("image", 3.1 / 900, 0.0, 900.0, 8), axis_over("image", 2.2 / 900, 0.0, 900.0, 5)
    harmonics = synthetic.physical().components[2]
    parts = (
        Smooth("scale", (scale,), restraints=tuple(smoothness("scale", 8, 10.0, 2500.0, 100.0, True))),
        Smooth("decay", (decay,), True, (*smoothness("decay", 5, 10.0, 10.0, 0.1, False), level("decay", 5, 0.1))),
        replace(harmonics, restraints=(bending("absorption", 2, 100.0),)),
    )
    return [DataSetModel("physical", parts, {"shared": shared}) for _ in range(n)]
