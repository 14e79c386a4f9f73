"""Files of SCALEPACK (HKL-2000) written with "no merge original index" as data sets.

    n_operators space group
    two lines for each operator: its rotation, nine numbers of 3 characters, and its shift, three, in twelfths
    rows: h k l as measured, h k l in the asymmetric unit (4 characters each), batch (6), flags (2, 2, 3), I, sd (8)

Intensities have been scaled and corrected, which is not undone. A batch is an image. Neither the width of images nor
directions of the beams are known. Source: SCALEPACK manual, 5th edition, p. 132.
"""

from __future__ import annotations

import re

import numpy as np

from braggscale.data.geometry import d_spacings
from braggscale.errors import InputError
from braggscale.io.new_experiments import NewExperiment, standard_axes
from braggscale.io.number_lines import read_fixed_lines
from braggscale.io.reading import (
    Known,
    MeasuredRows,
    Reading,
    reading_columns,
    rejections_of_none,
    space_group,
    sweep_of_unknown_width,
    whole_numbers,
)
from braggscale.numerics.array_types import Int

_NAMES = ("h", "k", "l", "unique h", "unique k", "unique l", "batch", "flag", "flag", "unit", "I", "sigma")
_NOT_BY_CHANCE = 1e-3  # expected number of gaps so long
_WIDTHS = (4, 4, 4, 4, 4, 4, 6, 2, 2, 3, 8, 8)
_NOTHING = Known()


def read(path: str, data: memoryview, known: Known = _NOTHING) -> Reading:
    """The data sets of a SCALEPACK file: one for each run of batch numbers without a gap.

    Raises InputError for a damaged file, and if no unit cell is given, because the file has none.
    """
    first = bytes(data[:200]).split(b"\n", 1)[0].decode("latin-1")
    match = re.match(r"\s*(\d+)\s+(.*)", first)
    n_operators = int(match[1]) if match else 0
    if match is None or not 1 <= n_operators <= 192:
        raise InputError(f"{path}: {first[:40]!r} should be the number of symmetry operations and the space group")
    start = _after_lines(path, data, 1 + 2 * n_operators)
    hall = space_group(path, known.space_group or match[2])
    if known.unit_cell is None:
        raise InputError(f"{path}: the file has no unit cell; give it as unit_cell=a,b,c,alpha,beta,gamma")
    table = read_fixed_lines(path, data, start, len(data), _WIDTHS, _NAMES)
    n = table.shape[1]
    if not n:
        raise InputError(f"{path}: the file has no reflections")
    hkl = np.stack([whole_numbers(path, name, table[k], 1 << 20) for k, name in enumerate("hkl")], axis=1)
    batch = whole_numbers(path, "batch", table[6])
    cell = known.unit_cell
    numbers = np.unique(batch)
    runs = _runs(numbers)
    number = np.searchsorted([run[0] for run in runs], batch, side="right") - 1
    experiments = []
    for k, run in enumerate(runs):
        plain = NewExperiment(str(k), 0.0, np.array([0.0, 0.0, 1.0]), cell, hall, standard_axes(cell))
        experiments.append(sweep_of_unknown_width(plain, (int(run[0]), int(run[-1]))))
    runs_text = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    notes = (
        f"{path}: {runs_text} of batches without widths of images, wavelength or directions of the beams: "
        "batches stand for the rotation, no absorption correction; the scales of SCALEPACK stay",
    )
    with np.errstate(invalid="ignore", over="ignore"):
        variance = np.where(table[11] > 0, table[11] ** 2, np.nan)
    xyz = np.column_stack((np.full(n, 0.5), np.full(n, 0.5), batch - 0.5))
    rows_read = MeasuredRows(
        number=number,
        hkl=hkl,
        d=d_spacings(cell, hkl),
        xyz=xyz,
        s1=np.zeros((n, 3)),
        factor=np.ones(n),
        partiality=np.ones(n),
        rejection=rejections_of_none(n),
    )
    columns = reading_columns(rows_read, profile=(table[10], variance))
    return Reading(path, tuple(experiments), columns, notes)


def _runs(numbers: Int) -> list[Int]:
    """Batch numbers, (n,) in order, as runs: each ends before a gap that chance does not explain.

    Narrow images of a small cell may have no reflection at all. If an image has one with the probability p, of n gaps
    none is expected in which k images are missing if n (1 - p)^k is small.
    """
    missing = np.diff(numbers) - 1
    p = (np.count_nonzero(missing == 0) + 0.5) / (len(missing) + 1.0)
    by_chance = len(numbers) * (1.0 - p) ** missing.astype(np.float64)
    return np.split(numbers, np.flatnonzero(by_chance < _NOT_BY_CHANCE) + 1)


def _after_lines(path: str, data: memoryview, n: int) -> int:
    """The byte after n lines."""
    head = bytes(data[: 400 * n])
    position = 0
    for _ in range(n):
        position = head.find(b"\n", position) + 1
        if position == 0:
            raise InputError(f"{path}: the file ends within its symmetry operations; it is cut short")
    return position
