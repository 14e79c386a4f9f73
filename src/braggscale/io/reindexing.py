"""Replaces unit cell, space group and indices of the files, for all data sets or for one of them.

New indices h' = M h do not change the reciprocal lattice vectors, A' h' = A h with A' = A M^-1; so the axes, the rows
of A^-1, become M times the old ones. A new unit cell keeps the orientation: A' = U B'. A new space group has to fit the
lattice: its rotations R must leave the metric of the axes, G = (a.a, a.b, ...), unchanged within a few per cent,
R^T G R = G. The new cell has the mean of all R^T G R as its metric, which has exactly the symmetry.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from braggscale.data.data_set_names import find_data_set
from braggscale.data.experiment import Crystal
from braggscale.data.geometry import UnitCell, d_spacings, orthogonalisation, unit_cell
from braggscale.data.reindexing import matrix_of, reindexed
from braggscale.data.space_groups import hall_symbol, same_group_in_another_basis
from braggscale.data.symmetry import Symmetry
from braggscale.data.table import Column, DataSet, Table
from braggscale.errors import CommandError, DataError
from braggscale.io.column_types import column_in_memory
from braggscale.io.experiment_list import Document, own_lists
from braggscale.io.mtz_flags import kept_flags
from braggscale.io.new_experiments import as_cell
from braggscale.io.pairing import Input
from braggscale.io.reading import Known
from braggscale.numerics.array_types import Float
from braggscale.wording import some_of

log = logging.getLogger(__name__)

# Largest deviation of a lattice from the symmetry of its space group: relative difference of lengths, degrees.
_LENGTHS, _ANGLES = 0.03, 3.0
_MOST_LINES = 4


@dataclass(frozen=True, slots=True)
class _Change:
    """The changes for one data set; None for no change.  ``turn``: M, (3, 3)."""

    turn: Float | None = None
    cell: UnitCell | None = None
    hall: str | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.turn, self.cell, self.hall))


def known_facts(
    space_group: Sequence[str],
    unit_cell: Sequence[str],
    polarisation: float | None,
    keep_flags: Sequence[str] = (),
    keep_scales: bool = False,
) -> Known:
    """Facts from the options that hold for all files, for readers of files that do not contain them.

    Raises CommandError if the numbers are not a unit cell, or for a flag that does not exist.
    """
    cells = [_cell_of(text) for text in unit_cell if ":" not in text]
    groups = [text for text in space_group if hall_symbol(text) is not None]
    return Known(
        groups[-1] if groups else None, cells[-1] if cells else None, polarisation, kept_flags(keep_flags), keep_scales
    )


def with_changes(data: Input, space_group: Sequence[str], unit_cell: Sequence[str], reindex: Sequence[str]) -> Input:
    """The data sets with other indices, cells and space groups; indices change first, then cells, then groups.

    Items are ``value`` for all data sets or ``ID:value`` for one; if there are several for one data set, the last
    is used. Raises CommandError for a value that is not a space group, cell or operator, and for data sets that do
    not exist; DataError for a space group that the lattice cannot have.
    """
    changes = [_Change() for _ in data.data_sets]
    names = [data_set.identifier for data_set in data.data_sets]
    for option, items in (("reindex", reindex), ("unit_cell", unit_cell), ("space_group", space_group)):
        for item in items:
            places, text = _places(option, item, names)
            for k in places:
                changes[k] = _asked(changes[k], option, text)
    if not any(changes):
        return data
    document = own_lists(data.document)
    columns: dict[tuple[int, bytes], Mapping[str, Column]] = {}
    data_sets = list(data.data_sets)
    for k, change in enumerate(changes):
        if change:
            data_sets[k] = _apply(data_sets[k], change, document, k, columns)
    _say(data.data_sets, data_sets)
    joined = Document(document, tuple(data_set.experiment for data_set in data_sets), data.document.files)
    return replace(data, data_sets=tuple(data_sets), document=joined)


def with_operators(data: Input, operators: Mapping[int, str], hall: str) -> Input:
    """The data sets with the indices that operators such as ``k,h,-l`` give them, all in the same space group.

    ``operators``: by the place of the data set.  ``hall``: the space group that the reindexed ones have afterwards;
    their cells get its symmetry.  Raises DataError where a lattice is too far from it.
    """
    document = own_lists(data.document)
    columns: dict[tuple[int, bytes], Mapping[str, Column]] = {}
    data_sets = list(data.data_sets)
    for k, text in operators.items():
        data_sets[k] = _apply(data_sets[k], _Change(matrix_of(text).T, None, hall), document, k, columns)
    joined = Document(document, tuple(data_set.experiment for data_set in data_sets), data.document.files)
    return replace(data, data_sets=tuple(data_sets), document=joined)


def _places(option: str, item: str, names: Sequence[str]) -> tuple[list[int], str]:
    """The data sets that an item names, and its value."""
    head, colon, rest = item.partition(":")
    # R3:H and R 3 :R are names of space groups
    if not colon or (option == "space_group" and hall_symbol(item) is not None):
        return list(range(len(names))), item
    return [find_data_set(head.strip(), names, f"{option}={item}")], rest


def _asked(change: _Change, option: str, text: str) -> _Change:
    if option == "reindex":
        return replace(change, turn=matrix_of(text).T)
    if option == "unit_cell":
        return replace(change, cell=_cell_of(text))
    hall = hall_symbol(text)
    if hall is None:
        raise CommandError(f"space_group={text}: no such space group; write a name such as P212121 or a number")
    return replace(change, hall=hall)


def _cell_of(text: str) -> UnitCell:
    words = [word for word in re.split(r"[\s,]+", text.strip("()[] ")) if word]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    cell = as_cell(numbers) if len(numbers) == 6 else None
    if cell is None:
        raise CommandError(f"unit_cell={text}: six numbers are needed, a,b,c,alpha,beta,gamma, that make a cell")
    return cell


def _apply(
    data_set: DataSet, change: _Change, document: dict[str, Any], k: int, columns: dict[tuple[int, bytes], Any]
) -> DataSet:
    """The data set and its entry in the document, changed."""
    crystal, name = data_set.experiment.crystal, f"data set {data_set.identifier}"
    axes, cell, hall = crystal.real_space, crystal.unit_cell, crystal.hall
    turn = np.eye(3) if change.turn is None else change.turn
    if change.turn is not None:
        axes = turn @ axes
        cell = unit_cell(turn @ orthogonalisation(cell).T)
        new_hall = change.hall or same_group_in_another_basis(hall, turn)
        if new_hall is None:
            raise DataError(f"{name}: no table lists its space group with the new indices; give space_group= as well")
        hall = new_hall
    hall = change.hall or hall
    cell = symmetric_cell(change.cell or cell, hall, name)
    axes = _with_cell(axes, cell)
    new = Crystal(axes, hall, cell)
    table = _new_table(data_set.table, turn, cell, columns)
    entry = document["experiment"][k]
    _put_crystal(document, entry, new, turn)
    experiment = replace(data_set.experiment, crystal=new)
    return replace(data_set, experiment=experiment, table=table)


def symmetric_cell(cell: UnitCell, hall: str, name: str) -> UnitCell:
    """The cell with exactly the symmetry of a space group.

    Raises DataError, beginning with ``name``, where the lattice is too far from it.
    """
    symmetry = Symmetry.from_hall(hall)
    axes = orthogonalisation(cell).T
    metric = axes @ axes.T
    # the length of x, x.G x, must be the same for R x
    others = np.array([turn.T @ metric @ turn for turn in symmetry.rotations])
    for other in others:
        one, two = np.array(_cell_of_metric(metric)), np.array(_cell_of_metric(other))
        off = np.abs(one[:3] / two[:3] - 1).max(), np.abs(one[3:] - two[3:]).max()
        if off[0] > _LENGTHS or off[1] > _ANGLES:
            shown = " ".join(f"{x:.2f}" for x in cell)
            raise DataError(
                f"{name}: the cell {shown} cannot have the space group {symmetry}: a symmetry operation changes its "
                f"edges by up to {100 * off[0]:.1f} %, its angles by {off[1]:.1f} degrees; reindex, or choose another"
            )
    symmetric = _cell_of_metric(others.mean(axis=0))
    return cell if np.allclose(symmetric, cell, rtol=1e-9) else symmetric


def _cell_of_metric(metric: Float) -> UnitCell:
    edges = np.sqrt(np.diagonal(metric))
    angles = [
        float(np.rad2deg(np.arccos(np.clip(metric[i, j] / (edges[i] * edges[j]), -1, 1))))
        for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    # angles of 90 and 120 degrees are exact to the last bit
    alpha, beta, gamma = (float(round(x)) if abs(x - round(x)) < 1e-9 else x for x in angles)
    a, b, c = (float(x) for x in edges)
    return a, b, c, alpha, beta, gamma


def _with_cell(axes: Float, cell: UnitCell) -> Float:
    """The axes in their orientation, with the edges and angles of a cell, rows, (3, 3)."""
    plain = orthogonalisation(cell).T
    u, _, v = np.linalg.svd(np.linalg.inv(plain) @ axes)
    turned: Float = plain @ (u @ v)
    return turned if not np.allclose(turned, axes, rtol=0, atol=1e-9 * float(np.abs(axes).max())) else axes


def _new_table(table: Table, turn: Float, cell: UnitCell, made: dict[tuple[int, bytes], Any]) -> Table:
    """The table with other indices and resolutions; tables of one file with the same change share their columns."""
    key = (id(table.columns), np.array([*turn.ravel(), *cell]).tobytes())
    if key not in made:
        hkl = np.asarray(table.columns["miller_index"].load())
        new = dict(table.columns)
        if not np.array_equal(turn, np.eye(3)):
            # a reflection without an index in the new lattice is not indexed any more
            hkl = reindexed(hkl, turn.T)
            new["miller_index"] = column_in_memory(table.columns["miller_index"].tag, hkl)
        new["d"] = column_in_memory("double", d_spacings(cell, hkl))
        made[key] = table.columns, new  # keeps the old columns, so that their id is not used again
    return replace(table, columns=made[key][1])


def _put_crystal(document: dict[str, Any], entry: dict[str, Any], crystal: Crystal, turn: Float) -> None:
    """Gives an experiment's entry a crystal of its own."""
    old = document["crystal"][entry["crystal"]]
    new = dict(old) if isinstance(old, dict) else {}
    a, b, c = crystal.real_space.tolist()
    new |= {"real_space_a": a, "real_space_b": b, "real_space_c": c, "space_group_hall_symbol": crystal.hall}
    new["recalculated_unit_cell"] = list(crystal.unit_cell)
    for name in ("B_covariance", "B_covariance_at_scan_points", "recalculated_cell_parameter_sd"):
        new.pop(name, None)
    points = new.get("A_at_scan_points")
    if isinstance(points, list) and points and not np.array_equal(turn, np.eye(3)):
        moved = np.array(points, np.float64).reshape(-1, 3, 3) @ np.linalg.inv(turn)
        new["A_at_scan_points"] = moved.reshape(-1, 9).tolist()
    entry["crystal"] = len(document["crystal"])
    document["crystal"].append(new)


def _say(before: Sequence[DataSet], after: Sequence[DataSet]) -> None:
    """Log one line for each change, with the data sets that have it; if there are many different ones, their number."""
    lines: dict[str, list[str]] = {}
    for old, new in zip(before, after, strict=True):
        one, two = old.experiment.crystal, new.experiment.crystal
        if one is two:
            continue
        was, now = (
            f"{Symmetry.from_hall(c.hall)}, cell " + " ".join(f"{x:.3f}" for x in c.unit_cell) for c in (one, two)
        )
        if now == was:  # a reader that needs the cell of the option has it already
            continue
        lines.setdefault(f"{now} instead of {was}", []).append(new.identifier)
    if len(lines) > _MOST_LINES:
        groups = sorted({str(Symmetry.from_hall(d.experiment.crystal.hall)) for d in after})
        n = sum(map(len, lines.values()))
        log.info(f"{n} data sets changed, to space group {', '.join(groups)}; each keeps a cell of its own")
        return
    for line, names in lines.items():
        log.info(f"Data set{'s' * (len(names) > 1)} {some_of(names, 4)}: {line}")
