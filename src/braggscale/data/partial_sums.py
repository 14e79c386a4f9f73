"""Sums the pieces of reflections that integration has divided into several rows."""

from __future__ import annotations

import numpy as np

from braggscale.data.reflection_columns import KINDS, SCALED_COLUMNS
from braggscale.data.table import Table
from braggscale.numerics.array_types import Array, Float, Int

# A row below this partiality may be a piece of a reflection (DIALS).
WHOLE = 0.99


def find_pieces(table: Table, kinds: tuple[str, ...]) -> tuple[Int, Int]:
    """Rows that are pieces of reflections, and the beginning of each reflection among them.

    Pieces share ``partial_id`` and the Miller index, have a partiality below 0.99 and a positive variance of
    every kind of intensity in ``kinds`` (and of the scaled intensity, if there is one).
    Returns rows, (n_pieces,), those of a reflection together, in the order of the scan, and starts, (n_sums,).
    """
    nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if "partial_id" not in table or "partiality" not in table:
        return nothing
    candidate = table["partiality"] < WHOLE
    variances = [KINDS[k][1] for k in kinds] + ([SCALED_COLUMNS[1]] if SCALED_COLUMNS[1] in table else [])
    for name in variances:
        candidate &= table[name] > 0
    rows = np.flatnonzero(candidate)
    ids = table["partial_id"][rows].astype(np.uint64)
    # There are few pieces: numbers that occur twice are found by counting if they are small, as they always are in
    # practice, and only those rows are sorted.
    if len(ids) and int(ids.max()) < 16 * len(table) + 1024:
        ids = ids.astype(np.int64)
        again = np.bincount(ids)[ids] > 1
    else:
        _, inverse, number = np.unique(ids, return_inverse=True, return_counts=True)
        again = number[inverse] > 1
    rows, ids = rows[again], ids[again]
    if len(rows) == 0:
        return nothing
    hkl = table.select(rows)["miller_index"]
    # a reflection is represented by its first piece in the scan, which need not be the first in the table
    z = _scan_places(table, rows)
    order = np.lexsort((rows, z, hkl[:, 2], hkl[:, 1], hkl[:, 0], ids))
    rows, ids, hkl = rows[order], ids[order], hkl[order]
    step = (ids[1:] != ids[:-1]) | (hkl[1:] != hkl[:-1]).any(axis=1)
    starts = np.concatenate(([0], np.flatnonzero(step) + 1))
    number = np.diff(np.append(starts, len(rows)))
    rows = rows[np.repeat(number > 1, number)]
    number = number[number > 1]
    return rows, np.cumsum(number) - number


def _scan_places(table: Table, rows: Int) -> Float:
    """Rank of each row in the scan, by z and then by the other coordinates, (n,)."""
    name = next((name for name in ("xyzobs.px.value", "xyzcal.px") if name in table), None)
    if name is None:
        return np.zeros(len(rows))
    xyz = table.select(rows)[name]
    rank = np.empty(len(rows))
    rank[np.lexsort((xyz[:, 1], xyz[:, 0], xyz[:, 2]))] = np.arange(len(rows))
    return rank


def sum_partials(table: Table, kinds: tuple[str, ...]) -> tuple[Int, dict[str, Array], Int, Int]:
    """The rows that remain, (n_remaining,), their changed columns, and pieces as in :func:`find_pieces`.

    Of each reflection the first piece remains, with the summed intensities and partiality:
    summation I = sum I, V = sum V;  partiality p = sum p;
    profile, already an estimate of the whole: I = sum(u I)/sum(u), V = sum(u V)/sum(u), u = I^2/V
    (all u zero: I = 0, V = sum V);  scaled intensity, by weight 1/V.
    """
    pieces, starts = find_pieces(table, kinds)
    n = len(table)
    if len(pieces) == 0:
        return np.arange(n), {}, pieces, starts
    first = pieces[starts]
    remains = np.ones(n, np.bool_)
    remains[pieces] = False
    remains[first] = True
    kept = np.flatnonzero(remains)
    at = np.searchsorted(kept, first)
    changed: dict[str, Array] = {}

    def put(name: str, values: Float) -> None:
        """A copy of the column in which the summed rows have ``values``."""
        column = np.array(table[name][kept], dtype=np.float64)
        column[at] = values
        changed[name] = column

    few = table.select(pieces)
    put("partiality", np.add.reduceat(few["partiality"], starts))
    if "sum" in kinds:
        for name in KINDS["sum"][:2]:
            put(name, np.add.reduceat(few[name], starts))
    if "profile" in kinds:
        value, variance, _ = KINDS["profile"]
        i, v = few[value], few[variance]
        # The inverse of a tiny variance may overflow; the result is not finite, and such rows are rejected later.
        with np.errstate(over="ignore", invalid="ignore"):
            u = i * i / v
            total = np.add.reduceat(u, starts)
            some = total > 0
            by_u = np.divide(np.add.reduceat(u * i, starts), total, out=np.zeros(len(starts)), where=some)
            plain = np.add.reduceat(v, starts)
            mean_v = np.divide(np.add.reduceat(u * v, starts), total, out=plain, where=some)
        put(value, by_u)
        put(variance, mean_v)
    if all(name in table for name in SCALED_COLUMNS):
        i, v = few[SCALED_COLUMNS[0]], few[SCALED_COLUMNS[1]]
        total = np.add.reduceat(1.0 / v, starts)
        put(SCALED_COLUMNS[0], np.add.reduceat(i / v, starts) / total)
        put(SCALED_COLUMNS[1], 1.0 / total)
    return kept, changed, pieces, starts
