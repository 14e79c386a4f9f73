"""Small made-up observations and models for the tests of the scaling problem."""

import numpy as np

from braggscale.data.observations import Observations
from braggscale.data.unique_reflections import Groups
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.harmonics import Harmonics
from braggscale.models.joint_model import JointModel
from braggscale.models.restraints import ridge, roughness
from braggscale.models.smooth import Smooth, axis_over


def directions(rng, n):
    v = rng.normal(size=(n, 3))
    return v / np.linalg.norm(v, axis=1)[:, None]


def observations(rng, n_groups=12, n_data_sets=2, size=(2, 6)):
    """Random rows in the order of groups: returns rows and Groups."""
    sizes = rng.integers(size[0], size[1] + 1, n_groups)
    n = int(sizes.sum())
    d = np.repeat(rng.uniform(0.9, 5.0, n_groups), sizes)
    rows = Observations(
        row=np.arange(n),
        data_set=rng.integers(0, n_data_sets, n).astype(np.int32),
        hkl=np.repeat(np.arange(n_groups, dtype=np.int32), sizes)[:, None] * np.ones((1, 3), np.int32),
        d=d,
        xyz=rng.uniform(0, [2000, 1500, 900], (n, 3)),
        s0c=directions(rng, n),
        s1c=directions(rng, n),
        partiality=np.ones(n),
        correction=np.ones(n),
        i_sum=np.ones(n),
        v_sum=np.ones(n),
        i_prf=np.ones(n),
        v_prf=np.ones(n),
        has_sum=np.ones(n, bool),
        has_prf=np.ones(n, bool),
    )
    return rows, Groups(np.concatenate(([0], np.cumsum(sizes))).astype(np.int64))


def physical(n_scale=5, n_decay=4, lmax=2, weight=50.0):
    scale = axis_over("image", 3.1 / 900, 0.0, 900.0, n_scale)
    decay = axis_over("image", 2.2 / 900, 0.0, 900.0, n_decay)
    return DataSetModel(
        "physical",
        (
            Smooth("scale", (scale,), restraints=(roughness((n_scale,), 0.5),)),
            Smooth("decay", (decay,), b_factor=True, restraints=(ridge(n_decay, 0.1),)),
            Harmonics("absorption", lmax, (ridge(lmax * (lmax + 2), weight),)),
        ),
        {},
    )


def kb():
    return DataSetModel("KB", (Smooth("scale", ()), Smooth("decay", (), b_factor=True)), {})


def array():
    time = axis_over("image", 2.5 / 900, 0.0, 900.0, 5)
    res = axis_over("inverse_d2", 3.0, 0.04, 1.2, 5)
    x, y = axis_over("x", 2 / 2000, 0.0, 2000.0, 3), axis_over("y", 3 / 1500, 0.0, 1500.0, 5)
    return DataSetModel(
        "array",
        (
            Smooth("decay", (res, time), restraints=(ridge(25, 1.0, 1.0),)),
            Smooth("absorption", (x, y, time), restraints=(roughness((3, 5, 5), 2.0, order=1),)),
        ),
        {},
    )


def perturbed(rng, model: JointModel, size=0.05):
    """Parameters near the start, different for each."""
    return model.null() + rng.normal(scale=size, size=model.n_parameters)
