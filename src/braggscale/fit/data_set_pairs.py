"""The normal matrix of many small data sets, computed by pairs of data sets.

With J0 = -sqrt(w) I_h dg/d theta and a = sqrt(w) g, J'J = J0'J0 - sum_h b_h b_h', b_h = sum_i a_i J0_i/|a| over the
rows of unique reflection h (normal_equations.normal_matrix). b_h consists of *cells* b_dh, the contributions of
data set d to the parameters that d alone has, and of r_h for the parameters that data sets share. Hence

    J'J[d, e] = (J0'J0 where d = e) - sum_h b_dh b_eh',    h: reflections that both have,

which is a product of two small matrices, the cells of d and those of e. Outer products of b_h would give the same
sums, but they write to addresses that are scattered over the memory, which takes about twenty times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.fit.jacobian import Linear
from braggscale.models.design import Design
from braggscale.models.joint_model import JointModel
from braggscale.numerics.array_types import Float, Int, Int32
from braggscale.numerics.cholesky import add_transposed
from braggscale.numerics.partitions import run_in_threads

LANES = 8
# Size of the cells that are in memory at the same time, in numbers.
MOST_NUMBERS = 16_000_000
# Nanoseconds for a pair of parameters in one unique reflection: by pairs of data sets, by loops, and by BLAS over all
# parameters; then the time for a pair of cells.
BY_PAIRS, BY_LOOPS, BY_BLAS, PER_PAIR = 0.12, 3.0, 0.03, 15.0
# With more own parameters of a data set for each nonzero of a row, loops over the nonzeros form a block faster.
WIDEST = 5.0


@dataclass(frozen=True, slots=True)
class Owners:
    """The data set to which each parameter belongs.

    ``owner``: data set of the parameter, -1 if several share it, (n_parameters,).
    ``place``: number of the parameter among those of its data set, or among the shared ones, (n_parameters,).
    ``members``: positions in theta, data set after data set, the shared ones last, (n_parameters,); those of data set d
    begin at ``bounds[d]``, (n_sets + 2,).
    """

    owner: Int32
    place: Int32
    members: Int
    bounds: Int

    @classmethod
    def of(cls, model: JointModel) -> Owners:
        """The owners of the parameters of a model."""
        n_sets = len(model.data_sets)
        owner = np.full(model.n_parameters, -1, np.int32)
        several = np.zeros(model.n_parameters, bool)
        for d, _, where in model.parts():
            several[where] |= owner[where] >= 0
            owner[where] = d
        owner[several] = -1
        members = np.argsort(np.where(several, n_sets, owner), kind="stable")
        widths = np.bincount(np.where(several, n_sets, owner), minlength=n_sets + 1)
        bounds = np.concatenate(([0], np.cumsum(widths)))
        place = np.empty(model.n_parameters, np.int32)
        place[members] = np.arange(model.n_parameters) - np.repeat(bounds[:-1], widths)
        return cls(owner, place, members, bounds)

    @property
    def shared(self) -> Int:
        """Positions in theta of the shared parameters, (n_shared,)."""
        return self.members[self.bounds[-2] :]

    @property
    def widest(self) -> int:
        """The largest number of parameters that a data set has for itself."""
        return int(np.diff(self.bounds[:-1]).max(initial=0))

    def alone(self, data_set: int) -> Int:
        """Positions in theta of the parameters, (k,), that only this data set has."""
        return self.members[self.bounds[data_set] : self.bounds[data_set + 1]]


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a run of neighbouring unique reflections (groups), data set after data set.

    ``groups``: the run of groups.  ``rows``: their rows, data set after data set, (n_rows,).
    ``row_cuts``: the rows of data set d begin at ``row_cuts[d]``, (n_sets + 1,).
    ``cell``: of each row of the whole problem, (n,).  ``group``, ``data_set``: of each cell, (n_cells,); groups are
    counted within the run.  ``cell_cuts``: first cell of each data set, and the end, (n_sets + 1,).
    ``of_group``: numbers of the cells, group after group, (n_cells,).
    ``offsets``: those of group k begin at ``offsets[k]``, (n_groups + 1,).
    """

    groups: slice
    rows: Int
    row_cuts: Int
    cell: Int
    group: Int
    data_set: Int32
    cell_cuts: Int
    of_group: Int
    offsets: Int

    @classmethod
    def of(cls, data_set: Int32, groups: Groups, n_sets: int, run: slice) -> Cells:
        """The cells of the groups in ``run``.  ``data_set``: of each row of the whole problem, (n,)."""
        low, high = int(groups.offsets[run.start]), int(groups.offsets[run.stop])
        group = np.repeat(np.arange(run.stop - run.start), groups.sizes()[run])
        rows = np.argsort(data_set[low:high], kind="stable")
        set_of_row, group_of_row = data_set[low:high][rows], group[rows]
        new = np.ones(len(rows), bool)
        new[1:] = (set_of_row[1:] != set_of_row[:-1]) | (group_of_row[1:] != group_of_row[:-1])
        cell = np.zeros(groups.n_rows, np.int64)
        cell[low + rows] = np.cumsum(new) - 1
        every = np.arange(n_sets + 1)
        group_of_cell, owner = group_of_row[new], set_of_row[new].astype(np.int32)
        return cls(
            groups=run,
            rows=low + rows,
            row_cuts=np.searchsorted(set_of_row, every),
            cell=cell,
            group=group_of_cell,
            data_set=owner,
            cell_cuts=np.searchsorted(owner, every),
            of_group=np.argsort(group_of_cell, kind="stable"),
            offsets=np.concatenate(([0], np.cumsum(np.bincount(group_of_cell, minlength=run.stop - run.start)))),
        )


@dataclass(frozen=True, slots=True)
class Pairs:
    """Cells and owners for the normal matrix by pairs; they do not depend on weights or parameters.

    ``runs``: cells of runs of groups, each small enough for the memory.
    """

    owners: Owners
    runs: tuple[Cells, ...]

    @classmethod
    def worth(cls, model: JointModel, data_set: Int32, groups: Groups, design: Design) -> Pairs | None:
        """The pairs of a problem; None if the normal matrix can be computed faster in another way.

        This is the case for one data set, and for few large ones.  ``data_set``: of each row, (n,).
        """
        n_sets, n, owners = len(model.data_sets), model.n_parameters, Owners.of(model)
        size = groups.sizes()
        cells = np.minimum(size, n_sets).astype(float)
        nonzeros = design.count_nonzeros() / len(data_set)
        pairs = BY_PAIRS * float(((cells * owners.widest + len(owners.shared)) ** 2).sum())
        others = min(BY_LOOPS * float(((size * nonzeros) ** 2).sum()), BY_BLAS * float(n) ** 2 * len(size))
        if n_sets == 1 or 2.0 * (pairs + PER_PAIR * float((cells**2).sum())) > others:
            return None
        return cls.of(model, data_set, groups)

    @classmethod
    def of(cls, model: JointModel, data_set: Int32, groups: Groups) -> Pairs:
        """The pairs of a problem.  ``data_set``: of each row, (n,)."""
        owners = Owners.of(model)
        numbers = groups.n_rows * owners.widest + len(groups) * len(owners.shared)
        cuts = groups.blocks(-(-groups.n_rows // max(1, -(-numbers // MOST_NUMBERS)))).tolist()
        n_sets = len(model.data_sets)
        runs = [slice(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        return cls(owners, tuple(Cells.of(data_set, groups, n_sets, run) for run in runs))

    @classmethod
    def for_blocks(cls, model: JointModel, data_set: Int32, groups: Groups, design: Design) -> Pairs | None:
        """The pairs of a problem of which only ``arrow`` is needed; None for one data set, or if loops are faster.

        ``data_set``: of each row, (n,).
        """
        nonzeros = design.count_nonzeros() / max(len(data_set), 1)
        if len(model.data_sets) == 1 or Owners.of(model).widest > WIDEST * nonzeros:
            return None
        return cls.of(model, data_set, groups)

    def matrix(self, linear: Linear) -> Float:
        """J'J, (n_parameters, n_parameters), at the point of ``linear``."""
        n = len(self.owners.owner)
        matrix = np.zeros((n, n))
        arguments = self._arguments(linear)
        for cells in self.runs:
            self._add(matrix, cells, linear.groups, arguments)
        add_transposed(matrix)
        return matrix

    def arrow(self, linear: Linear) -> tuple[list[Float], Float, Float]:
        """Parts of J'J at the point of ``linear``.

        They are the block of each data set's own parameters, (k, k); the block of these with the shared ones, all
        data sets one after the other, (n_own, n_shared); and the block of the shared ones, (n_shared, n_shared).
        """
        owners, shared = self.owners, len(self.owners.shared)
        widths = np.diff(owners.bounds[:-1])
        blocks = [np.zeros((width, width)) for width in widths.tolist()]
        across, corner = np.zeros((int(owners.bounds[-2]), shared)), np.zeros((shared, shared))
        arguments = self._arguments(linear)
        for cells in self.runs:
            common = self._shared(cells, linear.groups, arguments)
            corner += common.corner
            store = np.zeros((len(cells.group), owners.widest))

            def own(d: int, cells: Cells = cells, store: Float = store, common: _Shared = common) -> None:
                """The parts of data set d."""
                width, where = len(blocks[d]), slice(*cells.cell_cuts[d : d + 2])
                block, cross = self._own(d, cells, common, store, arguments)
                blocks[d] += block[:, :width] - store[where, :width].T @ store[where, :width]
                across[owners.bounds[d] : owners.bounds[d + 1]] += cross[:, :width].T

            run_in_threads(own, len(blocks))
        return blocks, across, corner

    def _arguments(self, linear: Linear) -> tuple[Any, ...]:
        """Arguments of the kernels."""
        rows = linear.design.arguments(), linear.factor, linear.size, linear.along
        return (*rows, self.owners.owner, self.owners.place)

    def _add(self, matrix: Float, cells: Cells, groups: Groups, arguments: tuple[Any, ...]) -> None:
        """Add the contribution of a run of groups; the caller adds the transpose. Lanes write to different elements."""
        from braggscale.numerics.compiled import data_set_pairs

        owners, shared, n_sets = self.owners, self.owners.shared, len(cells.cell_cuts) - 1
        common = self._shared(cells, groups, arguments)
        if len(shared):
            data_set_pairs.add_part(matrix, shared, shared, 0.5, common.corner)
        store = np.zeros((len(cells.group), owners.widest))

        def own(d: int) -> None:
            """The block of the own parameters of data set d, and that with the shared ones."""
            places = owners.alone(d)
            block, cross = self._own(d, cells, common, store, arguments)
            data_set_pairs.add_part(matrix, places, places, 0.5, block)
            data_set_pairs.add_part(matrix, shared, places, 1.0, cross)

        def pairs(d: int) -> None:
            """The blocks of data set d with all later ones."""
            data_set_pairs.pairs(
                d, cells.cell_cuts, cells.group, cells.offsets, cells.of_group, cells.data_set, store,
                owners.members, owners.bounds, matrix,
            )  # fmt: skip

        run_in_threads(own, n_sets)
        run_in_threads(pairs, n_sets)

    def _own(
        self, d: int, cells: Cells, common: _Shared, store: Float, arguments: tuple[Any, ...]
    ) -> tuple[Float, Float]:
        """J0'J0 of the own parameters of data set d, (k, widest), and J'J of the shared ones with these, (n_shared,
        widest). Its cells are written to ``store``, (n_cells, widest)."""
        from braggscale.numerics.compiled import data_set_pairs

        width, widest = len(self.owners.alone(d)), self.owners.widest
        block, cross = np.zeros((width, widest)), np.zeros((len(self.owners.shared), widest))
        rows = cells.rows[cells.row_cuts[d] : cells.row_cuts[d + 1]]
        data_set_pairs.own_rows(rows, cells.cell, width, *arguments, store, block, cross)
        where = cells.cell_cuts[d], cells.cell_cuts[d + 1]
        data_set_pairs.projected_cross(*where, cells.group, store, common.first, common.place, common.value, cross)
        return block, cross

    def _shared(self, cells: Cells, groups: Groups, arguments: tuple[Any, ...]) -> _Shared:
        """The part of a run of groups in the block of the shared parameters, and its r_h."""
        from braggscale.numerics.compiled import data_set_pairs

        shared, run = self.owners.shared, cells.groups
        n_groups = run.stop - run.start
        if not len(shared):
            return _Shared(np.zeros((0, 0)), np.zeros(n_groups + 1, np.int64), np.zeros(0, np.int32), np.zeros(0))
        offsets = groups.offsets[run.start : run.stop + 1]
        cuts = np.linspace(0, n_groups, LANES + 1).astype(np.int64)

        def lane(k: int) -> tuple[Float, Int, Int32, Float]:
            """The block of the shared parameters, and the elements of r_h, from the groups of lane k."""
            part, rows = np.zeros((len(shared), len(shared))), np.zeros((cuts[k + 1] - cuts[k], len(shared)))
            first_rows = offsets[cuts[k] : cuts[k + 1] + 1]
            data_set_pairs.shared_rows(0, len(rows), first_rows, *arguments, rows, part)
            part -= rows.T @ rows
            group, place = np.nonzero(rows)
            return part, np.bincount(group, minlength=len(rows)), place.astype(np.int32), rows[group, place]

        blocks, counts, places, values = zip(*run_in_threads(lane, LANES), strict=True)
        begin = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.concatenate(counts))))
        return _Shared(np.sum(blocks, axis=0), begin, np.concatenate(places), np.concatenate(values))


@dataclass(frozen=True, slots=True)
class _Shared:
    """Shared parameters in a run of groups.

    ``corner``: their block of J'J, (n_shared, n_shared).  r_h of group h: ``value`` at ``place`` from ``first[h]`` on,
    (n_groups + 1,), (n_elements,).
    """

    corner: Float
    first: Int
    place: Int32
    value: Float
