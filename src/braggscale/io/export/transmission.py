"""Smallest and largest transmission of a crystal by its absorption correction, for CIF.

The other corrections of a model, for beam, volume and decay, are not absorption of the crystal. For an absorption
surface the factors of DIRECTIONS pairs of beams are computed, which are spread evenly over the sphere and have
diffraction angles up to that of the data. For a grid on the detector its values are used. The correction is known
up to a factor, so the largest transmission is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.data.observations import GeometryCopy
from braggscale.models.harmonics import Harmonics
from braggscale.models.stored_model import stored_values
from braggscale.numerics.array_types import Float

DIRECTIONS = 2000
RANGE = 0.001, 0.999  # quantiles: single directions may lie where nothing was measured
_GOLDEN = float(np.pi * (3.0 - np.sqrt(5.0)))


def transmission_range(experiments: Sequence[Experiment], theta_max: float) -> tuple[float, float] | None:
    """Smallest and largest transmission, the largest 1; None if no model has an absorption correction.

    ``theta_max``: largest Bragg angle, degrees.
    """
    by_data_set: list[Float] = []
    for experiment in experiments:
        stored = experiment.scaling_model
        values = None if stored is None else stored_values(stored, "absorption")
        if values is None or stored is None:
            continue
        kind = stored.get("__id__")
        by_data_set.append(_of_surface(values, theta_max) if kind == "physical" else values)
    by_data_set = [factors for factors in by_data_set if len(factors) and (factors > 0).all()]
    if not by_data_set:
        return None
    # each data set has a scale of its own: the range is the widest of one of them
    low = min(float(np.quantile(f, RANGE[0]) / np.quantile(f, RANGE[1])) for f in by_data_set)
    return low, 1.0


def _of_surface(values: Float, theta_max: float) -> Float:
    """Factors of pairs of beams, (DIRECTIONS,).  ``values``: coefficients of the harmonics, (n,)."""
    lmax = round(np.sqrt(len(values) + 1.0)) - 1
    if lmax < 1 or lmax * (lmax + 2) != len(values):
        return np.zeros(0)
    k = np.arange(DIRECTIONS, dtype=np.float64)
    out = _spiral((k + 0.5) / DIRECTIONS, _GOLDEN * k)
    # the beam comes in from a cone about the opposite direction
    angle = 2.0 * np.deg2rad(theta_max) * ((k * 0.7548776662466927) % 1.0)
    across = np.cross(out, _spiral((k * 0.5698402909980532) % 1.0, _GOLDEN * (k + 1) * 7.0))
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    source = -(np.cos(angle)[:, None] * out + np.sin(angle)[:, None] * across)
    zeros = np.zeros((DIRECTIONS, 3))
    rows = GeometryCopy(np.zeros(DIRECTIONS, np.int32), np.ones(DIRECTIONS), zeros, source, out)
    factors: Float = 1.0 + Harmonics("absorption", lmax).basis(rows)[1] @ values
    return factors


def _spiral(height: Float, azimuth: Float) -> Float:
    """Unit vectors, (n, 3).  ``height``: 0 to 1 from pole to pole, (n,).  ``azimuth``: radians, (n,)."""
    z = 1.0 - 2.0 * height
    r = np.sqrt(np.maximum(1.0 - z * z, 0.0))
    return np.stack([r * np.cos(azimuth), r * np.sin(azimuth), z], axis=1)
