"""The part of scale.json about a run over several processes (braggscale.ranks)."""

from __future__ import annotations

from typing import Annotated

from braggscale.report.summary_run import StatisticsEntry
from braggscale.report.summary_values import Record, about

RSplit = Annotated[
    list[float | None], about("R_split of halves of the crystals, in the shells of the statistics and, last, of all.")
]


class RanksGroupEntry(Record, frozen=True):
    """Files that group_by puts together, merged by themselves with the scales of all."""

    name: str
    data_sets: int
    observations: int
    statistics: StatisticsEntry | None
    r_split: RSplit


class RanksEntry(Record, frozen=True):
    """A run over several processes, or with a limit of memory; single data sets are not listed."""

    number: Annotated[int, about("Of processes.")]
    bytes_of_sums: Annotated[int, about("That each of them gave to the others.")]
    input: Annotated[int, about("Data sets in the files.")]
    scaled: Annotated[int, about("Data sets that were scaled.")]
    filtered: Annotated[int, about("Data sets that filtering left out.")]
    spread_ln_scale: Annotated[float, about("Standard deviation of ln k over the data sets.")]
    spread_b: Annotated[float, about("Standard deviation of B over the data sets, Angstrom^2.")]
    r_split: RSplit
    groups: list[RanksGroupEntry]
