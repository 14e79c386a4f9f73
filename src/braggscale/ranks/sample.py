"""Rows of a part of the crystals, gathered in all ranks: what needs all rows of a reflection is found from these.

Counting gain and error model are a few numbers. The run without ranks finds them from at most 400,000 rows, too. Which
rows are taken follows from the crystals' keys and the reflections' indices alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.ranks.communicator import Communicator
from braggscale.ranks.crystal_rows import CrystalRows
from braggscale.ranks.reflections import Reflections
from braggscale.statistics.merging import hash_indices

MOST_ROWS = 400_000
# Rows of a reflection in a sample: its mean is then known well enough, and of more reflections more is learned.
ENOUGH_IN_GROUP = 20.0
_WHOLE = float(2**64)


@dataclass(frozen=True, slots=True)
class Sample:
    """Which rows are taken.

    ``crystal``, ``row``: of each row of this rank, (k,).  ``order``: of the rows of all ranks, (n,), as ``gather`` puts
    them.  In this order, (n,): ``number`` as in CrystalRows, ``intensity``, ``variance``, ``factor``, ``relative``.
    ``groups``, ``apart``: with Friedel mates together and apart.
    """

    crystal: Int
    row: Int
    order: Int
    number: Int
    intensity: Float
    variance: Float
    factor: Float
    relative: Float
    groups: Groups
    apart: Groups

    def gather(self, ranks: Communicator, values: Array) -> Array:
        """Values of the rows of all ranks in the order of reflections, (n,) or (n, m).

        ``values``: of the rows of this rank, (k,) or (k, m).
        """
        return np.concatenate(ranks.allgather(values))[self.order]

    def refresh(self, ranks: Communicator, rows: CrystalRows) -> None:
        """Take over intensities, variances and factors of the ``rows`` of this rank, which have changed."""
        mine, every = (self.intensity, self.variance, self.factor), (rows.intensity, rows.variance, rows.factor)
        for own, of_all in zip(mine, every, strict=True):
            own[:] = self.gather(ranks, of_all[self.row].astype(np.float64))


def sample_of(ranks: Communicator, rows: CrystalRows, reflections: Reflections, most: int = MOST_ROWS) -> Sample:
    """About ``most`` rows: a part of the crystals, and of the reflections if each still has enough rows."""
    total = float(reflections.counts.sum())
    per_group = total / len(reflections)
    of_crystals = min(1.0, max(ENOUGH_IN_GROUP / per_group, most / total))
    of_reflections = min(1.0, most / (total * of_crystals))
    some = _below(rows.key, of_crystals)
    taken = _below(hash_indices(reflections.hkl), of_reflections)
    crystals = np.flatnonzero(some)
    row, crystal = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for c in crystals.tolist():
        mine = np.arange(rows.starts[c], rows.starts[c + 1])
        mine = mine[taken[rows.number[mine] >> 1]]
        row.append(mine)
        crystal.append(np.full(len(mine), c))
    places, of = np.concatenate(row), np.concatenate(crystal)
    number = np.concatenate(ranks.allgather(rows.number[places]))
    order = np.argsort(number, kind="stable")
    number = number[order]
    columns = [rows.intensity, rows.variance, rows.factor] + ([rows.relative] if rows.has_relative else [])
    found = [np.concatenate(ranks.allgather(c[places].astype(np.float64)))[order] for c in columns]
    relative = found[3] if len(found) > 3 else np.zeros(0)
    return Sample(
        of,
        places,
        order,
        number,
        found[0],
        found[1],
        found[2],
        relative,
        Groups.from_keys(number >> 1),
        Groups.from_keys(number),
    )


def _below(keys: Array, share: float) -> Bool:
    """The keys, (n,), uint64, that are among the lowest ``share`` of all that there can be."""
    if share >= 1.0:
        return np.ones(len(keys), np.bool_)
    return np.asarray(keys < np.uint64(share * _WHOLE))


def quantile_of_histogram(counts: Int, share: float) -> float:
    """Place in a histogram below which ``share`` of the entries are, in bins.  ``counts``: (n,)."""
    below = np.cumsum(counts)
    wanted = share * float(below[-1])
    k = int(np.searchsorted(below, wanted))
    before = float(below[k - 1]) if k else 0.0
    return k + (wanted - before) / max(float(counts[k]), 1.0)
