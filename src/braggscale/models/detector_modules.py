"""One factor for each module of the detector: each is calibrated separately, and a smooth map cannot follow the steps.

The borders of the modules are found from the gaps between them, which experiment lists keep as masked rectangles across
the whole panel. The DIALS model does not have this component.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np

from braggscale.data.observations import GeometryView, ObservationGeometry
from braggscale.models.component import Description, GaugeRole, StoredComponent
from braggscale.models.restraints import Restraint, effects, ridge
from braggscale.numerics.array_types import Float, Int, Int32

WIDEST_GAP = 64  # pixels; more is a shadow, not a gap
NARROWEST_MODULE = 32  # pixels
ACROSS = 0.95  # share of the panel that a gap crosses
START_MODULES = 1e4  # 1 % from module to module
# Reflections for each module, of all data sets together, below which modules have no factors. In simulated sweeps of
# 500 reflections on 60 modules the factors took 18 degrees of freedom and followed noise.
FEWEST_ON_MODULE = 12

Edges = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Modules:
    """Factor exp(theta_k) for reflections on module k; modules are numbered along the fast axis first.

    ``x``, ``y``: edges of the modules, those of the panel first and last, pixels, increasing.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    restraints: tuple[Restraint, ...] = ()
    exponential: bool = True
    offset: float = 0.0
    null: float = 0.0
    shown_less: float = 1.0
    dense: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Modules along x and along y."""
        return len(self.x) - 1, len(self.y) - 1

    @property
    def n_parameters(self) -> int:
        """One per module."""
        return self.shape[0] * self.shape[1]

    @property
    def columns(self) -> Int32:
        """One nonzero: the module, (1,)."""
        return np.zeros(1, np.int32)

    def basis(self, rows: ObservationGeometry) -> tuple[Int32, Float]:
        """The module that the centre falls on: start, (n,), and 1 for each row, (n, 1); 0 beside all modules."""
        column = np.searchsorted(self.x[1:-1], rows.xyz[:, 0], side="right")
        row = np.searchsorted(self.y[1:-1], rows.xyz[:, 1], side="right")
        return (column + self.shape[0] * row).astype(np.int32), np.ones((len(rows), 1))

    @property
    def gauge_role(self) -> GaugeRole:
        """A constant factor of all modules is equivalent to a change of all scales."""
        return "factor"

    def gauge_rows(self, rows: ObservationGeometry, chosen: Int, overall: bool) -> list[Float]:
        """Shares of the modules in the mean logarithm, (n_parameters,), over the rows ``chosen``, (k,).

        Without this condition the restraints would shrink scales that a reference determines, and the modules would
        compensate for it.
        """
        module = self.basis(GeometryView.of(rows, chosen))[0]
        return [np.bincount(module, minlength=self.n_parameters) / len(module)]

    def describe(self) -> Description:
        """A grid of values at the centres of the modules."""
        x, y = (0.5 * (edges[1:] + edges[:-1]) for edges in (np.array(self.x), np.array(self.y)))
        return Description("grid", (("x", x), ("y", y)))

    def read_off(self, stored: StoredComponent) -> Float | None:
        """The stored factors, (n_parameters,), if the number of modules is the same."""
        return stored.values if len(stored.values) == self.n_parameters else None

    def with_restraints(self, restraints: tuple[Restraint, ...]) -> Self:
        """The same with other restraints."""
        return replace(self, restraints=restraints)


@lru_cache(maxsize=8)
def module_factors(edges: Edges, estimated: bool) -> Modules:
    """One factor for every module of the panel, one object for all data sets; stored in the same way as the map."""
    modules = Modules("modules", *edges)
    n = modules.n_parameters
    restraint = effects("modules", n, START_MODULES) if estimated else ridge(n, START_MODULES)
    return replace(modules, restraints=(restraint,))


def enough_for_modules(edges: Edges | None, n: int) -> bool:
    """Whether there are enough reflections for one factor for each module.  ``n``: reflections on all modules."""
    return edges is None or n >= FEWEST_ON_MODULE * (len(edges[0]) - 1) * (len(edges[1]) - 1)


def module_edges(size: tuple[int, int], masked: Sequence[tuple[int, int, int, int]]) -> Edges:
    """Edges of the modules along x and along y, pixels: the panel's own, and the middles of gaps.

    ``size``: of the panel.  ``masked``: rectangles (x0, y0, x1, y1), pixels, ends exclusive.
    """
    along_x, along_y = _strips(size, masked)
    return _edges(along_x, size[0]), _edges(along_y, size[1])


def _strips(
    size: tuple[int, int], masked: Sequence[tuple[int, int, int, int]]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Beginning and end of the rectangles that cross the panel, along x and along y."""
    strips: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for x0, y0, x1, y1 in masked:
        for k, (begin, end), (low, high) in ((0, (x0, x1), (y0, y1)), (1, (y0, y1), (x0, x1))):
            crosses = min(high, size[1 - k]) - max(low, 0) >= ACROSS * size[1 - k]
            if crosses and 0 < end - begin <= WIDEST_GAP:
                strips[k].append((begin, end))
    return strips


def _edges(strips: Sequence[tuple[int, int]], size: int) -> tuple[float, ...]:
    """Middles of the strips that have a module to either side, between the ends."""
    edges = [0.0]
    last = 0
    for begin, end in sorted(set(strips)):
        if begin - last >= NARROWEST_MODULE and size - end >= NARROWEST_MODULE:
            edges.append(0.5 * (begin + end))
        last = max(last, end)
    return *edges, float(size)
