"""The observations that take part in scaling, as plain arrays, and views on some of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np

from braggscale.numerics.array_types import Array, Bool, Float, Int, Int32
from braggscale.numerics.partitions import run_in_threads

FEW = 10_000  # rows that are copied in less time than it takes to hand the work to threads


class ObservationGeometry(Protocol):
    """Geometry of the observations, as far as scaling models need it.  Fields as in Observations."""

    @property
    def data_set(self) -> Int32:
        """Position of the data set in the run, (n,)."""
        ...

    @property
    def d(self) -> Float:
        """Resolution, Angstrom, (n,)."""
        ...

    @property
    def xyz(self) -> Float:
        """Position on the detector, pixels, and image number (array index), (n, 3)."""
        ...

    @property
    def s0c(self) -> Float:
        """Unit vector to the source in the crystal's frame, (n, 3)."""
        ...

    @property
    def s1c(self) -> Float:
        """Unit vector along the diffracted beam in the crystal's frame, (n, 3)."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class GeometryCopy:
    """Geometry of n rows, copied: ``data_set``, ``d`` (n,), ``xyz``, ``s0c``, ``s1c`` (n, 3)."""

    data_set: Int32
    d: Float
    xyz: Float
    s0c: Float
    s1c: Float

    def __len__(self) -> int:
        return len(self.d)

    @classmethod
    def of(cls, rows: ObservationGeometry, chosen: Int) -> GeometryCopy:
        """A copy of the rows with the numbers ``chosen``, (n,)."""
        return cls(*(getattr(rows, f.name)[chosen] for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class GeometryView:
    """Some rows of ``rows``: those with the numbers ``chosen``, (n,), or a slice of them.

    Each attribute is computed when it is used; for a slice it is a view, not a copy.
    """

    rows: ObservationGeometry
    chosen: Int | slice

    @classmethod
    def of(cls, rows: ObservationGeometry, chosen: Int | slice) -> GeometryView:
        """The rows ``chosen`` of ``rows``: numbers, (n,), or a slice. Of a view by numbers it is a view on the same
        rows, so that an attribute of a few rows is never made from all."""
        if isinstance(rows, GeometryView) and not isinstance(rows.chosen, slice):
            return cls(rows.rows, rows.chosen[chosen])
        return cls(rows, chosen)

    def __len__(self) -> int:
        return len(self.d) if isinstance(self.chosen, slice) else len(self.chosen)

    @property
    def data_set(self) -> Int32:
        """Position of the data set in the run, (n,)."""
        return self.rows.data_set[self.chosen]

    @property
    def d(self) -> Float:
        """Resolution, Angstrom, (n,)."""
        return self.rows.d[self.chosen]

    @property
    def xyz(self) -> Float:
        """Position on the detector, pixels, and image number, (n, 3)."""
        return self.rows.xyz[self.chosen]

    @property
    def s0c(self) -> Float:
        """Unit vector to the source, crystal's frame, (n, 3)."""
        return self.rows.s0c[self.chosen]

    @property
    def s1c(self) -> Float:
        """Unit vector along the diffracted beam, crystal's frame, (n, 3)."""
        return self.rows.s1c[self.chosen]


def rows_by_data_set(data_set: Int | Int32, n_data_sets: int) -> list[Int]:
    """Numbers of the rows of each data set, in rising order, one array, (n_rows,), for each.

    ``data_set``: position of the data set of each row, (n,).
    """
    order = np.argsort(data_set, kind="stable")
    ends = np.cumsum(np.bincount(data_set, minlength=n_data_sets)).tolist()
    return [order[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


@dataclass(frozen=True, slots=True)
class Observations:
    """Usable reflections of all data sets, one per row; all arrays have the same length n.

    ``row``: row in the output table, (n,).  ``data_set``: position of the data set in the run, (n,).
    ``hkl``: Miller index as in the file, (n, 3).  ``d``: resolution, Angstrom, (n,).
    ``xyz``: position on the detector, px, px, and image number (array index), (n, 3).
    ``s0c``, ``s1c``: unit vectors crystal frame, to the source and along the diffracted beam, polar axis last
    (see geometry.py), (n, 3), float64; zero for stills and rows without a diffracted beam vector.
    ``partiality``: recorded fraction, (n,).
    ``correction``: c = lp/qe, Lorentz, polarisation and detector efficiency, dimensionless, (n,).
    ``i_sum``, ``v_sum``: summation intensity c I/p and its variance c^2 V/p^2, counts, counts^2, (n,).
    ``i_prf``, ``v_prf``: profile intensity c I and variance c^2 V, (n,).
    ``has_sum``, ``has_prf``: which of the two were measured, (n,); at least one is True, with positive variance.
    ``relative``: r = p^2 V(1/p), relative variance of the partiality; r I^2 is its part of ``v_sum``, (n,); None if
    all are 0.
    """

    row: Int
    data_set: Int32
    hkl: Int32
    d: Float
    xyz: Float
    s0c: Float
    s1c: Float
    partiality: Float
    correction: Float
    i_sum: Float
    v_sum: Float
    i_prf: Float
    v_prf: Float
    has_sum: Bool
    has_prf: Bool
    relative: Float | None = None

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: Int | Bool) -> Observations:
        """The given rows, in the given order.  ``rows``: their numbers, (k,), or a mark for each row, (n,)."""
        places = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        columns = self._columns()
        # take is several times faster than an index where a row holds three numbers
        if len(places) < FEW:
            return Observations(*(np.take(column, places, axis=0) for column in columns))
        return Observations(*run_in_threads(lambda k: np.take(columns[k], places, axis=0), len(columns)))

    @staticmethod
    def concatenate(parts: list[Observations]) -> Observations:
        """All parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        if any(p.relative is not None for p in parts):
            parts = [replace(p, relative=np.zeros(len(p))) if p.relative is None else p for p in parts]
        return Observations(*map(np.concatenate, zip(*(p._columns() for p in parts), strict=True)))

    def _columns(self) -> list[Array]:
        return [column for f in fields(self) if (column := getattr(self, f.name)) is not None]
