"""The models of all data sets as one parameter vector.

theta has the parameters of one data set after the other, and within a data set those of one component after the other.
A shared absorption surface is stored among the parameters of the first data set. ``starts[d, c]`` is the first position
of component c of data set d.

Data sets whose components are equal (all KB models, for example) form a family. They differ only in ``starts``, so the
basis values of thousands of stills can be computed together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.observations import GeometryView, ObservationGeometry
from braggscale.models.component import Component
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.design import CHUNK, SMALL_CHUNK, Design
from braggscale.models.restraints import MeanPenalty, Restraint
from braggscale.numerics.array_types import Float, Int, Int32
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.compiled import scale_factor
from braggscale.numerics.partitions import run_in_threads

# A restraint and the positions in theta on which it acts.
Placed = tuple[slice | Int, Restraint]


@dataclass(frozen=True, slots=True)
class Tables:
    """Arrays that are common to all rows of a family, and positions of dense components; see Design.

    ``columns``, ``component_ptr``, ``dense``, ``exponential``, ``offset``: by family, (n_families, ...).
    ``block``: of each data set, (n_data_sets,).
    """

    columns: Int32
    component_ptr: Int32
    dense: Int32
    exponential: Int32
    offset: Float
    block: Int32
    blocks: tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class JointModel:
    """Models of all data sets.

    ``starts``: (n_data_sets, most components), int32.  ``families``: (n_data_sets,).  ``leaders``: the first data set
    of each family, (n_families,).
    """

    data_sets: tuple[DataSetModel, ...]
    starts: Int32
    families: Int32
    leaders: Int
    n_parameters: int
    tables: Tables

    @classmethod
    def of(cls, data_sets: Sequence[DataSetModel]) -> JointModel:
        """Define the layout of theta.  A component that all data sets share is stored once."""
        most = max(len(model.components) for model in data_sets)
        starts = np.zeros((len(data_sets), most), np.int32)
        shared: dict[Component, int] = {}
        known: dict[tuple[Component, ...], int] = {}
        families = np.zeros(len(data_sets), np.int32)
        n = 0
        for d, model in enumerate(data_sets):
            families[d] = known.setdefault(_signature(model.components), len(known))
            for c, component in enumerate(model.components):
                key = _bare(component)  # detectors of different sizes have different maps
                if component.name in model.configuration.get("shared", ()):
                    if key in shared:
                        starts[d, c] = shared[key]
                        continue
                    shared[key] = n
                starts[d, c] = n
                n += component.n_parameters
        leaders = np.unique(families, return_index=True)[1]
        tables = _tables([data_sets[int(i)] for i in leaders], *_dense_blocks(data_sets, starts))
        return cls(tuple(data_sets), starts, families, leaders, n, tables)

    def where(self, data_set: int, component: int) -> slice:
        """Positions of a component's parameters in theta."""
        start = int(self.starts[data_set, component])
        return slice(start, start + self.data_sets[data_set].components[component].n_parameters)

    @property
    def estimated(self) -> bool:
        """Whether the strength of any restraint is estimated."""
        return any(r.kind for _, component, _ in self.parts() for r in component.restraints)

    def parts(self) -> Iterator[tuple[int, Component, slice]]:
        """(data set, component, its slice of theta), shared parameters as often as they are used."""
        for d, (model, starts) in enumerate(zip(self.data_sets, self.starts.tolist(), strict=True)):
            for component, start in zip(model.components, starts, strict=False):
                yield d, component, slice(start, start + component.n_parameters)

    def null(self) -> Float:
        """Parameters with which all scale factors are 1, (n_parameters,)."""
        theta = np.zeros(self.n_parameters)
        for _, component, where in self.parts():
            theta[where] = component.null
        return theta

    def restraints(self, theta: Float | None = None) -> list[Placed]:
        """Every restraint with the parameters on which it acts; those of a shared component once.

        ``theta``: gives relative restraints their unit, (n_parameters,); None: that of ``null``.
        """
        theta = self.null() if theta is None else theta
        seen: dict[tuple[int, int], tuple[slice, tuple[Restraint, ...]]] = {}
        for _, component, where in self.parts():
            seen[where.start, where.stop] = (where, component.restraints)
        placed: list[Placed] = []
        common: dict[str, list[tuple[slice, Restraint]]] = {}
        for where, of_component in seen.values():
            for restraint in of_component:
                if restraint.couples_data_sets:
                    common.setdefault(restraint.kind, []).append((where, restraint))
                    continue
                placed.append((where, _in_units(restraint, float(theta[where].mean()))))
        return placed + [_differences(members, theta) for members in common.values() if len(members) > 1]

    def design(self, rows: ObservationGeometry) -> Design:
        """Basis values of the rows, which may belong to any data sets in any order."""
        start = np.ascontiguousarray(self.starts[rows.data_set])
        # zeros, because rows of a family with fewer nonzeros than another do not use all columns
        basis = np.zeros((len(rows), self.tables.columns.shape[1]))
        pieces = self._pieces(rows)

        def piece(k: int) -> None:
            """Basis of one part of the rows of one family of data sets."""
            family, chosen = pieces[k]
            places = GeometryView.of(rows, chosen)
            first_nonzero = 0
            for c, component in enumerate(self.data_sets[int(self.leaders[family])].components):
                first, values = component.basis(places)
                start[chosen, c] += first
                basis[chosen, first_nonzero : first_nonzero + values.shape[1]] = values
                first_nonzero += values.shape[1]

        run_in_threads(piece, len(pieces))
        tables = self.tables
        return Design(
            basis=basis,
            start=start,
            family=self.families[rows.data_set],
            columns=tables.columns,
            component_ptr=tables.component_ptr,
            dense=tables.dense,
            exponential=tables.exponential,
            offset=tables.offset,
            block=tables.block[rows.data_set],
            blocks=tables.blocks,
        )

    def _pieces(self, rows: ObservationGeometry, most: int = CHUNK) -> list[tuple[int, Int | slice]]:
        """The rows family by family, at most ``most`` at a time: (family, rows)."""
        n = len(rows)
        if len(self.leaders) == 1:
            return [(0, slice(first, min(first + most, n))) for first in range(0, n, most)]
        family = self.families[rows.data_set]
        order = np.argsort(family, kind="stable")
        ends = np.cumsum(np.bincount(family, minlength=len(self.leaders)))
        return [
            (f, order[first : min(first + most, end)])
            for f, (begin, end) in enumerate(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))
            for first in range(begin, end, most)
        ]

    def evaluate(
        self, rows: ObservationGeometry, theta: Float, covariance: BlockMatrix | None = None
    ) -> tuple[Float, Float]:
        """g and var(g) of every row, (n,), a chunk of rows at a time so that memory stays small.

        ``theta``: (n_parameters,).
        """
        g, variance = np.empty(len(rows)), np.zeros(len(rows))
        pieces = self._pieces(rows, SMALL_CHUNK if covariance is None else CHUNK)

        def piece(k: int) -> None:
            """Scales, and variances with a covariance, of one part of the rows."""
            family, part = pieces[k]
            if covariance is None:
                g[part] = self._scales(family, GeometryView.of(rows, part), theta)
            else:
                g[part], variance[part] = self.design(GeometryView.of(rows, part)).scales(theta, covariance)

        run_in_threads(piece, len(pieces))
        return g, variance

    def product(self, rows: ObservationGeometry, theta: Float, of: Callable[[Component], bool]) -> Float:
        """Product of some components of every row, (n,): those of which ``of`` says so.  ``theta``: (n_parameters,)."""
        factor = np.ones(len(rows))
        for family, part in self._pieces(rows, SMALL_CHUNK):
            factor[part] = self._scales(family, GeometryView.of(rows, part), theta, of)
        return factor

    def _scales(
        self, family: int, rows: ObservationGeometry, theta: Float, of: Callable[[Component], bool] = bool
    ) -> Float:
        """g of rows of one family, (n,), component by component."""
        g = np.ones(len(rows))
        starts = self.starts[rows.data_set]
        for c, component in enumerate(self.data_sets[int(self.leaders[family])].components):
            if not of(component):
                continue
            first, values = component.basis(rows)
            scale_factor.multiply(
                values, starts[:, c] + first, component.columns, theta, component.exponential, component.offset, g
            )
        return g


def _dense_blocks(data_sets: Sequence[DataSetModel], starts: Int32) -> tuple[Int32, tuple[slice, ...]]:
    """Number of the dense component of each data set, (n_data_sets,), -1 for none, and positions of these in theta."""
    numbers: dict[int, int] = {}
    blocks: list[slice] = []
    of = np.full(len(data_sets), -1, np.int32)
    for d, model in enumerate(data_sets):
        for c, component in enumerate(model.components):
            if component.dense:
                first = int(starts[d, c])
                of[d] = numbers.setdefault(first, len(numbers))
                if of[d] == len(blocks):
                    blocks.append(slice(first, first + component.n_parameters))
    return of, tuple(blocks)


def _tables(models: Sequence[DataSetModel], block: Int32, blocks: tuple[slice, ...]) -> Tables:
    """columns, component_ptr, dense, exponential, offset of every family.  ``models``: one of each."""
    all_columns = [[component.columns for component in model.components] for model in models]
    n_nonzeros = max(sum(map(len, columns)) for columns in all_columns)
    n_components = max(len(model.components) for model in models)
    columns = np.zeros((len(models), n_nonzeros), np.int32)
    component_ptr = np.zeros((len(models), n_components + 1), np.int32)
    dense = np.full(len(models), -1, np.int32)
    exponential = np.zeros((len(models), n_components), np.int32)
    offset = np.zeros((len(models), n_components))
    for f, model in enumerate(models):
        flat = np.concatenate(all_columns[f])
        columns[f, : len(flat)] = flat
        lengths = [len(p) for p in all_columns[f]] + [0] * (n_components - len(all_columns[f]))
        component_ptr[f, 1:] = np.cumsum(lengths)
        for c, component in enumerate(model.components):
            exponential[f, c] = component.exponential
            offset[f, c] = component.offset
            if component.dense:
                dense[f] = c
    return Tables(columns, component_ptr, dense, exponential, offset, block, blocks)


def _in_units(restraint: Restraint, unit: float) -> Restraint:
    if not restraint.relative or unit == 0.0:
        return restraint
    return replace(restraint, penalty=restraint.penalty * (1.0 / unit**2))


def _differences(members: Sequence[tuple[slice, Restraint]], theta: Float) -> Placed:
    """One restraint on the levels l_d = m_d . theta of n data sets: sum_d (l_d - mean)^2, of rank n - 1.

    The mean itself is not restrained: the strength depends only on the differences between data sets.
    """
    where = np.concatenate([np.arange(place.start, place.stop) for place, _ in members])
    penalty = MeanPenalty.about_mean([np.asarray(restraint.penalty) for _, restraint in members])
    unit = float(penalty.row @ theta[where]) / len(members)
    return where, _in_units(replace(members[0][1], penalty=penalty, rank=len(members) - 1), unit)


def _signature(components: tuple[Component, ...]) -> tuple[Component, ...]:
    """Equal for components with equal bases; restraints are left out because their arrays cannot be compared."""
    return tuple(_bare(component) for component in components)


def _bare(component: Component) -> Component:
    return component.with_restraints(())
