"""Input files in units that are read together, and which rank reads which of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.errors import CommandError
from braggscale.numerics.array_types import Int


@dataclass(frozen=True, slots=True)
class Unit:
    """Files that are read together.

    ``number``: place on the command line, from 0.  ``files``: an experiment list with its reflections, or one file of
    another program.  ``size``: bytes of all of them.
    """

    number: int
    files: tuple[str, ...]
    size: int

    @property
    def name(self) -> str:
        """The file that messages name."""
        return self.files[-1]


# Endings that say that a file is half of a pair: experiments, then reflections.
EXPERIMENTS, REFLECTIONS = (".expt", ".json"), (".refl", ".pickle", ".h5", ".mpack", ".gz")


def units_of(files: Sequence[str]) -> list[Unit]:
    """The files in units: those of one name but for the ending belong together, in the order of their first file.

    Which reflections belong to which experiments is then known without opening files of other ranks.
    Raises CommandError for experiments or reflections without their other half, and for a file that is given twice.
    """
    found: dict[str, list[str]] = {}
    for path in files:
        stem, ending = os.path.splitext(path)
        half = ending in EXPERIMENTS or ending in REFLECTIONS
        found.setdefault(os.path.realpath(stem if half else path), []).append(path)
    units = []
    for number, members in enumerate(found.values()):
        _check(members)
        paired = sorted(members, key=lambda path: not path.endswith(EXPERIMENTS))
        units.append(Unit(number, tuple(paired), sum(os.path.getsize(path) for path in paired)))
    return units


def _check(members: Sequence[str]) -> None:
    """Raises CommandError unless these files are a pair, or one file of another program."""
    experiments = [path for path in members if path.endswith(EXPERIMENTS)]
    reflections = [path for path in members if path.endswith(REFLECTIONS)]
    if len(members) > 2 or (len(members) == 2 and not (experiments and reflections)):
        raise CommandError(f"{members[0]} and {members[1]} are the same file, or two halves of one kind; give it once")
    if len(members) == 1 and (experiments or reflections):
        other = "reflections (.refl)" if experiments else "experiments (.expt)"
        raise CommandError(
            f"{members[0]}: no {other} of the same name beside it; with several ranks, or a memory limit, experiments "
            "and reflections of a file have one name and differ in their ending"
        )


def shares(sizes: Sequence[int], n_ranks: int) -> Int:
    """The rank that reads each unit, (n_units,), rising: runs of units of about the same size.

    ``sizes``: bytes of each unit.  A rank may get nothing where units are few.
    """
    size = np.maximum(np.asarray(sizes, np.float64), 1.0)
    middle = np.cumsum(size) - 0.5 * size
    found: Int = np.minimum((middle * n_ranks / size.sum()).astype(np.int64), n_ranks - 1)
    return found
