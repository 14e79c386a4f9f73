"""The non-zero basis values of many observations: the arguments that the kernels of the fit share."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from braggscale.numerics.array_types import Array, Float, Int, Int32
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.compiled import scale_factor
from braggscale.numerics.partitions import run_in_threads

CHUNK = 65536  # rows whose basis is in memory at the same time when all observations are scaled
SMALL_CHUNK = 8192  # the same, if the basis should stay in the cache


@dataclass(frozen=True, slots=True)
class Design:
    """The non-zero basis values of n observations, in the form that compiled/scale_factor.py describes.

    ``basis``: (n, n_nonzeros).  ``start``: (n, n_components).  ``family``: (n,).  By family: ``columns``, (n_families,
    n_nonzeros), ``component_ptr``, (n_families, n_components + 1), ``dense``, (n_families,), ``exponential`` and
    ``offset``, (n_families, n_components).
    ``block``: number in ``blocks`` of the dense nonzeros of each row, (n,), -1 for none.
    ``blocks``: slice of theta of each dense component.
    """

    basis: Float
    start: Int32
    family: Int32
    columns: Int32
    component_ptr: Int32
    dense: Int32
    exponential: Int32
    offset: Float
    block: Int32
    blocks: tuple[slice, ...]

    def arguments(self) -> tuple[Array, ...]:
        """The arrays from ``basis``, (n, n_nonzeros), to ``offset``, in the order in which every kernel takes them."""
        return (
            self.basis,
            self.start,
            self.family,
            self.columns,
            self.component_ptr,
            self.dense,
            self.exponential,
            self.offset,
        )

    def count_nonzeros(self) -> float:
        """Basis values of all observations together."""
        return float(np.bincount(self.family, minlength=len(self.component_ptr)) @ self.component_ptr[:, -1])

    def values(self, theta: Float, component: int, rows: Int) -> Float:
        """The factor that one component contributes to g of the k rows with the numbers ``rows``, (k,), of one family.

        ``theta``: (n_parameters,).  Returns (k,).
        """
        if len(rows) == 0:
            return np.empty(0)
        f = int(self.family[rows[0]])
        nonzeros = slice(int(self.component_ptr[f, component]), int(self.component_ptr[f, component + 1]))
        eta = np.zeros(len(rows))
        start = self.start[rows, component]
        for nonzero in range(nonzeros.start, nonzeros.stop):
            eta += self.basis[rows, nonzero] * theta[start + self.columns[f, nonzero]]
        result: Float = np.exp(eta) if self.exponential[f, component] else self.offset[f, component] + eta
        return result

    def log_derivative(self, theta: Float, weight: Float) -> Float:
        """sum_i weight_i d ln g_i / d theta, (n_parameters,).  ``weight``: (n,)."""
        total = np.zeros(len(theta))
        scale_factor.log_derivative(self.arguments(), theta, weight, total)
        return total

    def log_change(self, theta: Float, step: Float) -> Float:
        """sum_k step_k d ln g_i / d theta_k of every row, (n,), to first order the change of ln g.

        ``theta``, ``step``: (n_parameters,).  Components that are zero do not count.
        """
        total = np.zeros(len(self.family))
        for f in np.unique(self.family).tolist():
            rows = np.flatnonzero(self.family == f)
            for c, (first, last) in enumerate(pairwise(self.component_ptr[f].tolist())):
                eta, start = np.zeros(len(rows)), self.start[rows, c]
                for nonzero in range(first, last):
                    eta += self.basis[rows, nonzero] * step[start + self.columns[f, nonzero]]
                if last > first and not self.exponential[f, c]:
                    value = self.values(theta, c, rows)
                    eta = np.divide(eta, value, out=np.zeros(len(rows)), where=value != 0.0)
                total[rows] += eta
        return total

    def scales(self, theta: Float, covariance: BlockMatrix | None = None) -> tuple[Float, Float]:
        """g and var(g) of every row, (n,); var(g) = g^2 phi' C phi, zeros without a covariance C.

        ``theta``: (n_parameters,).
        """
        n = len(self.family)
        g, variance = np.empty(n), np.zeros(n)
        known = BlockMatrix(np.zeros(1, np.int64), np.empty(0)) if covariance is None else covariance
        blocks = known.arguments()

        def part(k: int) -> None:
            """Scales and variances of one chunk of rows."""
            rows = slice(k * SMALL_CHUNK, (k + 1) * SMALL_CHUNK)
            design = self.basis[rows], self.start[rows], self.family[rows], *self.arguments()[3:]
            scale_factor.scales(design, theta, *blocks, g[rows], variance[rows])

        run_in_threads(part, -(-n // SMALL_CHUNK))
        return g, variance
