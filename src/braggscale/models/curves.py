"""A component that varies along the images as a curve, with its uncertainty."""

from __future__ import annotations

import numpy as np

from braggscale.data.observations import GeometryCopy
from braggscale.models.component import Component
from braggscale.numerics.array_types import Float

_UNIT_B = 0.5**0.5  # 1/(2 d^2) = 1 at this d, Angstrom


def is_curve(component: Component) -> bool:
    """Whether the component is one function of the image number, or a constant."""
    return component.describe().form in ("constant", "curve")


def curve(
    component: Component, theta: Float, covariance: Float | None, image: Float, data_set: int = 0
) -> tuple[Float, Float | None]:
    """The function at some images and its standard deviation, (n,) each; of a B factor in Angstrom^2.

    f = sum_k basis_k theta_k and sd(f)^2 = basis' C basis.
    ``theta``: the component's parameters, (m,), ``covariance``: theirs, (m, m), None where it is not known (then no
    standard deviation).  ``image``: as array index, (n,); 0.0 is the beginning of image 1.  ``data_set``: of the run.
    """
    n = len(image)
    start, values = component.basis(_points(image, data_set))
    basis = np.zeros((n, component.n_parameters))
    place = start[:, None] + component.columns
    np.add.at(basis, (np.arange(n)[:, None], place), values)
    esd = None
    if covariance is not None:
        esd = np.sqrt(np.maximum(((basis @ covariance) * basis).sum(axis=1), 0.0))
    return basis @ theta, esd


def _points(image: Float, data_set: int) -> GeometryCopy:
    """Artificial observations at these images, at the resolution where exp(B/(2 d^2)) is exp(B)."""
    n = len(image)
    nothing, blank = np.zeros((n, 3)), np.zeros(n)
    xyz = np.column_stack((blank, blank, image))
    return GeometryCopy(np.full(n, data_set, np.int32), np.full(n, _UNIT_B), xyz, nothing, nothing)
