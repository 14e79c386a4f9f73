"""Checks whether the data sets of a run are indexed in the same way, and finds the operators that make them so.

The possible ways of indexing follow from the lattice (data/reindexing.py); correlations of the intensities show which
one each data set has (statistics/indexing.py). This module selects the observations for the comparison, interprets the
result, and chooses among operators that can be applied to all data sets together: the one that changes the fewest data
sets, or the first of them if there are several.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.index_order import unique_indices
from braggscale.data.normalised_intensities import Shells
from braggscale.data.reindexing import alternatives, matrix_of, reindexed
from braggscale.data.sorting import SortedObservations, used_data_sets
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.run_warnings import Code, warn
from braggscale.scaling.run_data import RunData
from braggscale.scaling.starting_scales import wilson_scales
from braggscale.statistics.indexing import FEWEST_COMMON, Indexed, compressed, find_indexing
from braggscale.wording import some_of

log = logging.getLogger(__name__)

# Observations that are compared: those of lowest resolution, which are the strongest, and which are the same
# reflections under every operator. First number: how many of each data set on average. Second: least number in all.
ENOUGH_OF_EACH, ENOUGH = 300, 200_000
# Variance that is added to that of x, because errors of partialities and scales within a data set are not in its
# counts.
SCATTER = 0.1
# A correlation is significant if it is more than this number of standard deviations above zero.
SIGNIFICANT = 3.0
MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class IndexingCheck:
    """Result of the check.

    ``operators``: ways to index, the identity first.  ``identifiers``, ``numbers``: of the data sets compared, and
    their places in the input.  ``operator``: number of the operator that each of them needs, (n_sets,); 0 where it is
    not sure.  ``sure``: (n_sets,).  As in statistics.indexing.Indexed: ``z``, ``common``, (n_sets,), ``cc``, (n_sets,
    n_operators). ``mended``: whether the data have been reindexed so.  ``reference``: whether a reference
    says how all are to be indexed.
    """

    operators: tuple[str, ...]
    identifiers: tuple[str, ...]
    numbers: tuple[int, ...]
    operator: Int
    sure: Bool
    z: Float
    cc: Float
    common: Int
    mended: bool = False
    reference: bool = False

    @property
    def alike(self) -> bool:
        """Whether all data sets that are sure need the same operator."""
        return not self.operator.any()

    def changes(self) -> dict[int, str]:
        """The operators that make all data sets alike, by positions of the data sets in the input."""
        return {self.numbers[k]: self.operators[self.operator[k]] for k in np.flatnonzero(self.operator).tolist()}

    @property
    def common_operator(self) -> str | None:
        """The operator that all data sets need, if it is the same for all; None if they differ."""
        every = np.unique(self.operator[self.sure])
        return self.operators[every[0]] if self.reference and len(every) == 1 and every[0] else None

    def option(self) -> str:
        """The option that names the operators one by one."""
        return " ".join(
            f"reindex={self.identifiers[k]}:{self.operators[self.operator[k]]}"
            for k in np.flatnonzero(self.operator).tolist()
        )


def check_indexing(prepared: RunData) -> IndexingCheck | None:
    """Compare the data sets of a run; None where there is only one, or nothing to compare."""
    members, both = used_data_sets(prepared.data_sets), prepared.beside
    if len(members) < 2 and both is None:
        return None
    operators = alternatives(prepared.cell, prepared.symmetry)
    n = len(members)
    identifiers, numbers = tuple(one.identifier for one in members), tuple(one.number for one in members)
    if len(operators) == 1:
        nothing = np.zeros(n, np.int64)
        unknown = np.full(n, np.nan)
        return IndexingCheck(
            operators, identifiers, numbers, nothing, np.ones(n, bool), unknown, unknown[:, None], nothing
        )
    data, n_all = (prepared.observations, n) if both is None else (both.data, n + 1)
    rows = _compared(data, n_all)
    indexed = compare(data, rows, n_all, operators, prepared.symmetry)
    sure = indexed.decided & (_best(indexed) * np.sqrt(np.maximum(indexed.common - 3, 0)) > SIGNIFICANT)
    say = sure if both is None else sure & (np.arange(n_all) == n)  # a reference alone decides how all are indexed
    new = toward_the_most(indexed.operator, say, operators, prepared.symmetry)
    operator = np.where(sure, new[indexed.operator], 0)[:n]
    cc = np.empty_like(indexed.cc)
    cc[:, new] = indexed.cc
    return IndexingCheck(
        operators,
        identifiers,
        numbers,
        operator,
        sure[:n],
        indexed.z[:n],
        cc[:n],
        indexed.common[:n],
        reference=both is not None,
    )


def _compared(data: SortedObservations, n_sets: int) -> Int:
    """Numbers of the rows that are compared."""
    most = max(ENOUGH, ENOUGH_OF_EACH * n_sets)
    d = data.rows.d
    if len(d) <= most:
        return np.arange(len(d))
    return np.flatnonzero(d >= np.partition(d, len(d) - most)[len(d) - most])


def compare(data: SortedObservations, rows: Int, n_sets: int, operators: Sequence[str], symmetry: Symmetry) -> Indexed:
    """Which operator each data set needs, judged by the rows with the numbers ``rows``, (n,)."""
    seen = data.rows.take(rows)
    of_sum = seen.has_sum & ~(seen.has_prf & (seen.v_prf < seen.v_sum))
    intensity = np.where(of_sum, seen.i_sum, seen.i_prf)
    variance = np.where(of_sum, seen.v_sum, seen.v_prf)
    scale = np.maximum(wilson_scales(seen, intensity, n_sets), 1e-300)[seen.data_set]
    epsilon = data.epsilon[rows]
    e2 = Shells.of(seen.d).normalised(intensity / scale, epsilon)
    unit = np.divide(intensity, e2, out=np.ones(len(e2)), where=np.abs(e2) > 1e-12)
    weight = 1.0 / (variance / np.maximum(unit * unit, 1e-300) + SCATTER)
    ways = np.concatenate([symmetry.asu(reindexed(seen.hkl, matrix_of(text)))[0] for text in operators])
    unique = unique_indices(ways)[1].reshape(len(operators), -1)
    return find_indexing(unique, seen.data_set, compressed(e2), weight, n_sets)


def _best(indexed: Indexed) -> Float:
    return np.nan_to_num(indexed.cc[np.arange(len(indexed.cc)), indexed.operator])


def _product(operators: Sequence[str], symmetry: Symmetry) -> Int:
    """Number of the operator that equals the product of two, up to symmetry, (n, n); -1 if it is none of them."""
    matrices = [matrix_of(text) for text in operators]
    group = {tuple(np.rint(12 * r).astype(int).ravel()) for r in symmetry.rotations}
    group |= {tuple(-np.array(key)) for key in group}
    table = np.full((len(operators), len(operators)), -1, np.int64)
    for a, one in enumerate(matrices):
        for b, two in enumerate(matrices):
            for p, third in enumerate(matrices):
                rest = np.linalg.inv(third) @ one @ two
                if tuple(np.rint(12 * rest).astype(int).ravel()) in group:
                    table[a, b] = p
                    break
    return table


def toward_the_most(operator: Int, sure: Bool, operators: Sequence[str], symmetry: Symmetry) -> Int:
    """The product of each operator with a common one, (n_operators,), chosen so that most data sets stay as they are.

    ``operator``: of each data set, ``sure``: those that decide, (n_sets,).  A common operator is allowed only if
    the products are again among the operators. Otherwise the crystals would not have the symmetry that they are
    given.
    """
    table = _product(operators, symmetry)
    counts = np.bincount(operator[sure], minlength=len(operators))
    first = int(operator[np.argmax(sure)])
    best, most = np.arange(len(operators)), (-1, False)
    for new in table.T:
        if len(np.unique(new[new >= 0])) < len(operators):
            continue
        staying = int(counts[new == 0].sum()), bool(new[first] == 0)
        if staying > most:
            best, most = new, staying
    return best


def log_indexing(check: IndexingCheck | None) -> None:
    """Log one line if all data sets are indexed alike, else what was done or a warning with what the user can do."""
    if check is None:
        return
    n = len(check.identifiers)
    if len(check.operators) == 1:
        log.info(f"Indexing: the {n} data sets are indexed alike, as the lattice can be indexed in one way only")
        return
    others = some_of(check.operators[1:], 4)
    unsure = int(np.count_nonzero(~check.sure))
    if check.alike:
        if unsure == n:
            log.info(_why_nobody_is_sure(check, others))
        else:
            line = f"Indexing: {n - unsure} data sets are indexed alike (other ways to index: {others})"
            log.info(line + (f"; {unsure} cannot be told apart" if unsure else ""))
        return
    different = np.flatnonzero(check.operator)
    counts = [(text, int(np.count_nonzero(check.operator == k))) for k, text in enumerate(check.operators) if k]
    what = ", ".join(f"{number} need {text}" for text, number in counts if number)
    names = some_of([check.identifiers[k] for k in different.tolist()], MOST_NAMED)
    others_are = "the reference" if check.reference else "the others"
    if check.mended:
        log.info(f"Indexing: reindexed to agree with {others_are}: {what} (data set {names})")
    else:
        one_by_one = f", or {check.option()}" if len(different) <= MOST_NAMED else ""
        warn(
            log,
            Code.INDEXED_DIFFERENTLY,
            f"{len(different)} of {n} data sets are indexed differently from {others_are}: {what} (data set {names});"
            f" scale them with reindex=auto{one_by_one}",
        )
    for k in different.tolist()[:MOST_NAMED]:
        cc = ", ".join(f"{text} {value:.2f}" for text, value in zip(check.operators, check.cc[k], strict=True))
        log.info(f"  data set {check.identifiers[k]}: correlation with {others_are} {cc}")
    if unsure:
        log.info(
            f"  {unsure} data sets have too little in common with the others to be told apart, and stay as they are"
        )


def _why_nobody_is_sure(check: IndexingCheck, others: str) -> str:
    """Either the data sets agree under every operator, as in a higher symmetry, or they have too little in common."""
    what = "with the reference" if check.reference else "with each other"
    known = np.isfinite(check.cc).any() and check.common.min() >= FEWEST_COMMON
    if known and np.nanmean(check.cc, axis=0).min() > 0.5:
        return (
            f"Indexing: the data agree equally well {what} in every way to index (also {others}): is the symmetry "
            "higher, or are the crystals twinned?"
        )
    return f"Indexing: cannot be checked, the data have too little in common {what} (other ways to index: {others})"
