"""One effect per image, or per few images: beam flicker, a shutter that is late, a crystal that vibrates.

A reflection is recorded on several images while it passes through the Ewald sphere. So its effect is the mean of
the effects of these images, weighted with the share of its rocking curve in each. With u the centre of the curve,
in bins of ``per_bin`` images,

    eta = sum_k w_k theta_k,   w_k = Phi((k + 1 - u)/s) - Phi((k - u)/s),   s = sigma_m/(|zeta| width of a bin)

Phi the normal distribution function, sigma_m the mosaic spread and zeta = e . (s1 x s0)/|s1 x s0| the Lorentz factor of
the rotation (Kabsch, Acta Cryst. D66 (2010) 133). Only a window of bins around the centre is used, with weights
normalised to a sum of 1. The DIALS model does not have this component.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from braggscale.data.observations import ObservationGeometry
from braggscale.models.component import Description, NoGauge, StoredComponent
from braggscale.models.restraints import Restraint
from braggscale.numerics.array_types import Float, Int32

LEAST_ZETA = 0.05  # reflections nearer to the rotation axis are not integrated
MOST_BINS = 15


@dataclass(frozen=True, slots=True)
class Images(NoGauge):
    """Factor exp(eta).

    ``first``: array index of the first image.  ``per_bin``: images that share one effect.  ``n``: number of effects.
    ``spread``: sigma_m in images.  ``axis``: of rotation, crystal frame of Observations.s1c, (3,).
    """

    name: str
    n: int
    first: float
    per_bin: float
    spread: float
    axis: tuple[float, float, float]
    restraints: tuple[Restraint, ...] = ()
    exponential: bool = True
    offset: float = 0.0
    null: float = 0.0
    shown_less: float = 1.0
    dense: bool = False

    @property
    def n_parameters(self) -> int:
        """One per bin."""
        return self.n

    @property
    def width(self) -> int:
        """Number of bins that are used for a reflection: 2.5 sigma to either side for |zeta| = 0.6."""
        return min(self.n, MOST_BINS, 1 + 2 * math.ceil(2.5 * self.spread / (0.6 * self.per_bin)))

    @property
    def columns(self) -> Int32:
        """Neighbouring bins, (n_nonzeros,)."""
        return np.arange(self.width, dtype=np.int32)

    def basis(self, rows: ObservationGeometry) -> tuple[Int32, Float]:
        """First bin, (n,), and shares of the rocking curve in the bins around its centre, (n, n_nonzeros)."""
        from scipy.special import ndtr

        cross = np.cross(rows.s1c, rows.s0c)
        length = np.linalg.norm(cross, axis=1)
        zeta = np.ones(len(rows))
        np.divide(np.abs(cross @ np.array(self.axis)), length, out=zeta, where=length > 0)
        sigma = max(self.spread, 1e-3) / self.per_bin / np.maximum(zeta, LEAST_ZETA)
        u = (rows.xyz[:, 2] - self.first) / self.per_bin
        start = np.clip(np.floor(u) - self.width // 2, 0, self.n - self.width).astype(np.int32)
        edges = start[:, None] + np.arange(self.width + 1)
        values = np.diff(ndtr((edges - u[:, None]) / sigma[:, None]), axis=1)
        total = values.sum(axis=1, keepdims=True)
        # a centre outside the images in use is moved to the bin at the end
        nearest = np.arange(self.width) == np.clip(np.floor(u) - start, 0, self.width - 1)[:, None]
        np.divide(values, total, out=values, where=total > 1e-6)
        return start, np.where(total > 1e-6, values, nearest.astype(np.float64))

    def describe(self) -> Description:
        """One number per few images."""
        return Description("images")

    def read_off(self, stored: StoredComponent) -> Float | None:
        """The stored effects, (n_parameters,), if their number and the images in use are the same."""
        return stored.values if stored.same_images and len(stored.values) == self.n else None

    def with_restraints(self, restraints: tuple[Restraint, ...]) -> Self:
        """The same with other restraints."""
        return replace(self, restraints=restraints)
