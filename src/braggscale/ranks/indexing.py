"""Whether all crystals are indexed in the same way, over ranks, and indices that make them alike.

A sample of the crystals is gathered in all ranks, where each finds the same operators (statistics/indexing.py). Merged,
it is the reference with which every rank compares its other crystals, each by itself. Operators are applied to the
indices before reflections are numbered; scaled files are written with them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.normalised_intensities import Shells, mean_at
from braggscale.data.reindexing import IDENTITY, alternatives, matrix_of, reindexed
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.ranks.agreement import log_of_all
from braggscale.ranks.communicator import Communicator
from braggscale.ranks.crystal_rows import RowStore
from braggscale.ranks.packing import packed, unpacked
from braggscale.run_warnings import Code, warn
from braggscale.scaling.indexing_check import SCATTER, SIGNIFICANT, toward_the_most
from braggscale.statistics.indexing import Indexed, compare_with, compressed, find_indexing, reference_of

log = logging.getLogger(__name__)

MOST_SETS = 2000  # crystals of the sample
_CHUNK = 1 << 19
_WHOLE = float(2**64)


@dataclass(frozen=True, slots=True)
class Indexing:
    """``operators``: ways to index, the identity first.  ``operator``: number of the one that each crystal of this rank
    needs to be like the others, (n_crystals,); 0 where that is not sure.
    """

    operators: tuple[str, ...]
    operator: Int

    def by_number(self, numbers: Int) -> dict[int, str]:
        """The operators that change something, by data set.  ``numbers``: of the crystals, (n_crystals,)."""
        return {int(numbers[c]): self.of(c) for c in np.flatnonzero(self.operator).tolist()}

    def of(self, crystal: int) -> str:
        """The operator of a crystal of this rank as text."""
        return self.operators[int(self.operator[crystal])]


@dataclass(frozen=True, slots=True)
class _Compared:
    """How rows are compared: unique reflections of the sample, packed and ascending, (n_unique,), the mean intensity by
    resolution: centres and means, (n_shells,) each; and the operators.
    """

    symmetry: Symmetry
    operators: tuple[str, ...]
    table: Int
    line: tuple[Float, Float]

    def places(self, index: Int) -> Int:
        """Places in the table under each operator, -1 where they are not in it, (n_operators, n).

        ``index``: packed, (n,).
        """
        found = np.empty((len(self.operators), len(index)), np.int64)
        for o, moved in enumerate(_moved(index, self.operators, self.symmetry)):
            at = np.searchsorted(self.table, moved >> 1)
            at = np.minimum(at, len(self.table) - 1)
            found[o] = np.where(self.table[at] == moved >> 1, at, -1)
        return found

    def values(self, rows: dict[str, Array], crystal: Int, n: int) -> tuple[Float, Float]:
        """x and its weight (statistics/indexing.py) of each row, (k,).  ``crystal``: of each row, of ``n``, (k,)."""
        level = mean_at(np.sqrt(2.0 * rows["s"]), *self.line)
        total = np.bincount(crystal, rows["intensity"], n), np.bincount(crystal, level, n)
        good = (total[0] > 0) & (total[1] > 0)
        scale = np.divide(total[0], total[1], out=np.ones(n), where=good)[crystal]
        unit = scale * level
        weight = 1.0 / (rows["variance"] / np.maximum(unit * unit, 1e-300) + SCATTER)
        return compressed(rows["intensity"] / unit), weight


def find(ranks: Communicator, store: RowStore, symmetry: Symmetry, cell: UnitCell) -> Indexing:
    """The operators of the crystals of this rank; every rank calls this."""
    operators = alternatives(cell, symmetry)
    key = np.array(store.key, np.uint64)
    nothing = Indexing(operators, np.zeros(len(key), np.int64))
    n_all = int(ranks.allreduce(np.array([len(key)], np.int64))[0])
    if len(operators) == 1 or n_all < 2:
        return nothing
    sampled = np.ones(len(key), np.bool_)
    if n_all > MOST_SETS:
        sampled = key < np.uint64(MOST_SETS / n_all * _WHOLE)
    rows, of = _sample(ranks, store, key, np.flatnonzero(sampled))
    n = int(of.max(initial=-1)) + 1
    compared = _compared(rows, operators, symmetry)
    values = compared.values(rows, of, n)
    arrays = compared.places(rows["index"]), of, *values
    indexed = find_indexing(*arrays, n)
    sure = _sure(indexed)
    new = toward_the_most(indexed.operator, sure, operators, symmetry)
    reference = reference_of(indexed, arrays, len(compared.table))
    operator = np.zeros(len(key), np.int64)
    for crystals, part in _parts(store):
        local = np.repeat(np.arange(len(crystals)), np.diff(np.array(store.starts)[crystals[0] : crystals[-1] + 2]))
        x, weight = compared.values(part, local, len(crystals))
        found = compare_with(reference, (compared.places(part["index"]), local, x, weight), len(crystals))
        operator[crystals] = np.where(_sure(found), new[found.operator], 0)
    # those of the sample are part of the reference: they have been compared with the others
    every = np.sort(np.concatenate(ranks.allgather(key[sampled])))
    place = np.searchsorted(every, key[sampled])
    operator[sampled] = np.where(sure, new[indexed.operator], 0)[place]
    return Indexing(operators, operator)


def log_indexing(ranks: Communicator, found: Indexing, names: list[str], mended: bool) -> list[str]:
    """Log what was found; returns warnings.  ``names``: of the crystals of this rank.  ``mended``: reindex=auto."""
    if len(found.operators) == 1:
        return []
    counts = ranks.allreduce(np.bincount(found.operator, minlength=len(found.operators)))
    others = ", ".join(found.operators[1:])
    if not counts[1:].any():
        log.info(f"Indexing: no data set is indexed in another way than the others (other ways: {others})")
        return []
    what = ", ".join(f"{n} need {text}" for text, n in zip(found.operators[1:], counts[1:].tolist(), strict=True) if n)
    if mended:
        log.info(f"Indexing: reindexed to agree with the others: {what} of {counts.sum()} data sets")
        return []
    text = f"{counts[1:].sum()} of {counts.sum()} data sets are indexed differently from the others: {what}"
    text += "; scale them with reindex=auto"
    warn(log, Code.INDEXED_DIFFERENTLY, text)
    log_of_all(ranks, logging.INFO, [f"  {names[c]}: {found.of(c)}" for c in np.flatnonzero(found.operator).tolist()])
    return [text]


def apply(store: RowStore, found: Indexing, symmetry: Symmetry) -> None:
    """Give the rows of the store their new indices."""
    index = store.columns["index"]
    for c in np.flatnonzero(found.operator).tolist():
        part = slice(store.starts[c], store.starts[c + 1])
        index[part] = next(_moved(index[part], (found.of(c),), symmetry))


def _moved(index: Int, operators: tuple[str, ...], symmetry: Symmetry) -> Iterator[Int]:
    """Packed indices under each operator.  ``index``: packed, (n,)."""
    hkl = unpacked(index)
    for text in operators:
        if text == IDENTITY:
            yield index
            continue
        asu, minus = symmetry.asu(reindexed(hkl, matrix_of(text)))
        # an I- stays one of the mates, and which of them depends on the operator
        yield packed(asu, minus ^ (index & 1).astype(np.bool_))


def _sample(ranks: Communicator, store: RowStore, key: Array, crystals: Int) -> tuple[dict[str, Array], Int]:
    """Rows of ``crystals``, (k,), of all ranks, and the crystal of each, in the order of their keys."""
    starts = np.array(store.starts)
    places = np.concatenate([np.zeros(0, np.int64), *(np.arange(starts[c], starts[c + 1]) for c in crystals.tolist())])
    keys = np.concatenate(ranks.allgather(np.repeat(key[crystals], np.diff(starts)[crystals])))
    order = np.argsort(keys, kind="stable")
    names = ("index", "intensity", "variance", "s")
    rows = {name: np.concatenate(ranks.allgather(np.asarray(store.columns[name][places])))[order] for name in names}
    of = np.unique(keys[order], return_inverse=True)[1].astype(np.int64)
    return rows, of


def _compared(rows: dict[str, Array], operators: tuple[str, ...], symmetry: Symmetry) -> _Compared:
    table = np.unique(np.concatenate([moved >> 1 for moved in _moved(rows["index"], operators, symmetry)]))
    epsilon = symmetry.epsilon(unpacked(rows["index"])).astype(np.float64)
    shells = Shells.of(np.sqrt(0.5 / rows["s"]))
    return _Compared(symmetry, operators, table, shells.line(rows["intensity"], epsilon))


def _sure(found: Indexed) -> Bool:
    """Whose operator is beyond doubt, (n_sets,); as scaling/indexing_check.py."""
    best = np.nan_to_num(found.cc[np.arange(len(found.cc)), found.operator])
    return np.asarray(found.decided & (best * np.sqrt(np.maximum(found.common - 3, 0)) > SIGNIFICANT))


def _parts(store: RowStore) -> Iterator[tuple[Int, dict[str, Array]]]:
    """Runs of crystals, and their rows, about ``_CHUNK`` at a time."""
    starts, n = np.array(store.starts), len(store.key)
    first = 0
    while first < n:
        last = max(int(np.searchsorted(starts, starts[first] + _CHUNK, side="right")) - 1, first + 1)
        last = min(last, n)
        part = slice(int(starts[first]), int(starts[last]))
        names = ("index", "intensity", "variance", "s")
        yield np.arange(first, last), {name: np.asarray(store.columns[name][part]) for name in names}
        first = last
