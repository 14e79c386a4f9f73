"""Finds rows of a reflection table that are not plausible, by the range of each column and by its geometry.

One absurd row among a million good ones must not influence the result; so it gets a fate of its own before its values
are used. If most rows of a data set contradict its experiment, the files do not belong together.

Ranges are wide. They include all values of any instrument, unit or program, and exclude those whose squares overflow or
whose variances vanish. The tolerances of geometric relations are much larger than the errors of refinement:

    d        |1/d - |B h|| <= 1/4 |B h| + 1/100 A^-1
    s1       |s1 |s0|/|s1| - s0| likewise
    z        inside the scan, with a margin of two images and, of up to a tenth of the scan, one degree more
    x, y     on the panel, with a margin of ten pixels

If the cell itself is wrong by less than that, no single row is at fault: then d and s1 are not tested, and the log says
so.

The tolerances were chosen with the l-cysteine, quartz, CuNiR and simulated data, in which no deviation exceeds a third
of its tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.data.geometry import d_spacings
from braggscale.errors import InputError
from braggscale.numerics.array_types import Array, Bool, Float, Int

RELATIVE, ABSOLUTE = 0.25, 0.01  # of reciprocal lattice vectors; the latter in 1/Angstrom
# If the median deviation is larger, the cell is wrong and not the rows; it is 4 % in stills with a wrong beam centre.
CELL_OFF = 0.08
MARGIN_IMAGES, MARGIN_DEGREES, MARGIN_SCAN = 2.0, 1.0, 0.1
MARGIN_PIXELS = 10.0
# In units of the median standard deviation of the data set; no detector has such a dynamic range.
MOST_SIGMAS = 1e9
_LONGEST_BEAM = 1e6  # 1/Angstrom: only the direction counts
# With fewer rows it is not tested whether the files of a data set belong together.
FEWEST_JUDGED = 10


@dataclass(frozen=True, slots=True)
class Range:
    """Smallest and largest plausible value of a column, both included, and its unit in words."""

    low: float
    high: float
    unit: str = ""


# Intensities and variances by their squares: I^4 and V^2 are finite and above 0 with all corrections.
RANGES: dict[str, Range] = {
    "intensity.sum.value": Range(-1e25, 1e25, "counts"),
    "intensity.prf.value": Range(-1e25, 1e25, "counts"),
    "intensity.sum.variance": Range(1e-40, 1e50, "counts^2"),
    "intensity.prf.variance": Range(1e-40, 1e50, "counts^2"),
    "d": Range(0.01, 1e5, "Angstrom"),
    "lp": Range(1e-6, 1e6),
    "qe": Range(1e-6, 1e6),
    "dqe": Range(1e-6, 1e6),
    "partiality": Range(0.0, 1.5),
    "partiality.inv.variance": Range(0.0, 1e6),
}


@dataclass(frozen=True, slots=True)
class Judged:
    """``bad``: rows that are not plausible, (n,).  ``reasons``: why, with the number of rows for each first reason.

    ``cell_off``: median relative deviation of the rows from the lattice if it is more than CELL_OFF, else 0.
    """

    bad: Bool
    reasons: tuple[tuple[str, int], ...]
    cell_off: float = 0.0

    def text(self) -> str:
        """The reasons in words."""
        return ", ".join(f"{n} with {why}" for why, n in self.reasons)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that are tested.

    ``hkl``: Miller index, (n, 3).  ``xyz``: position on the detector, pixels, and image number (array index), (n, 3).
    ``column``: gives the values of a column, (n,) or (n, 3), None if the table does not have it.
    ``measured``: for each kind of intensity (value, variance) the rows where it was measured, (n,).
    """

    hkl: Int
    xyz: Float
    column: Callable[[str], Array | None]
    measured: tuple[tuple[str, str, Bool], ...]


def judge(rows: Rows, experiment: Experiment, source: str) -> Judged:
    """Which rows are not plausible, and why.

    Raises InputError if more than half of the rows fail one and the same test: then the file is damaged, or belongs to
    another experiment.
    """
    n = len(rows.hkl)
    bad = np.zeros(n, np.bool_)
    reasons = []
    cell_off = 0.0
    for test in _tests(rows, experiment):
        count = int(np.count_nonzero(test.wrong))
        if n >= FEWEST_JUDGED and 2 * count > n:
            raise InputError(
                f"{source}, data set {experiment.identifier}: {count} of {n} rows have {test.what}; {test.if_most}"
            )
        if test.off > CELL_OFF and n >= FEWEST_JUDGED:
            cell_off = max(cell_off, test.off)
            continue
        new = int(np.count_nonzero(test.wrong & ~bad))
        if new:
            reasons.append((test.what, new))
            bad |= test.wrong
    return Judged(bad, tuple(reasons), cell_off)


@dataclass(frozen=True, slots=True)
class _Test:
    """``what`` is wrong with a row, what this means if most rows have it, and which rows have it, (n,).

    ``off``: median deviation of all rows, for tests of the lattice.
    """

    what: str
    if_most: str
    wrong: Bool
    off: float = 0.0


_STRANGERS = "the reflections do not belong to the experiment; give files that were made together"


def _tests(rows: Rows, experiment: Experiment) -> Iterator[_Test]:
    for name, limits in RANGES.items():
        if not name.startswith("intensity") and (values := rows.column(name)) is not None:
            yield _range_test(name, _beyond(values, limits))
    for value, variance, measured in rows.measured:
        yield from _intensity_tests(rows, value, variance, measured)
    yield from _place_tests(rows.xyz, rows.column("panel"), experiment)
    yield from _lattice_tests(rows, experiment)


def _range_test(name: str, wrong: Bool) -> _Test:
    limits = RANGES[name]
    what = f"{name} outside {limits.low:g} to {limits.high:g} {limits.unit}".rstrip()
    return _Test(what, f"the column {name} is damaged", wrong)


def _beyond(values: Array, limits: Range) -> Bool:
    outside: Bool = ~((values >= limits.low) & (values <= limits.high))
    return outside


def _intensity_tests(rows: Rows, value: str, variance: str, measured: Bool) -> Iterator[_Test]:
    """Tests of the range of both, and of their size in units of the data set's typical standard deviation."""
    i, v = rows.column(value), rows.column(variance)
    if i is None or v is None:
        return
    wrong_i, wrong_v = measured & _beyond(i, RANGES[value]), measured & _beyond(v, RANGES[variance])
    yield _range_test(value, wrong_i)
    yield _range_test(variance, wrong_v)
    fine = measured & ~wrong_i & ~wrong_v
    if fine.any():
        sigma = np.sqrt(v[fine])
        typical = float(np.median(sigma))
        far = np.zeros(len(fine), np.bool_)
        far[fine] = (np.abs(i[fine]) > MOST_SIGMAS * typical) | (sigma > MOST_SIGMAS * typical)
        far[fine] |= sigma * MOST_SIGMAS < typical
        what = f"{value} or its standard deviation {MOST_SIGMAS:g} times the usual"
        yield _Test(what, f"the column {value} is damaged", far)


def _place_tests(xyz: Float, panel: Array | None, experiment: Experiment) -> Iterator[_Test]:
    """Positions in the scan and on the detector."""
    scan, panels = experiment.scan, experiment.panels
    if scan is not None and not experiment.is_still:
        margin = MARGIN_IMAGES + min(MARGIN_DEGREES / abs(scan.oscillation[1]), MARGIN_SCAN * scan.n_images)
        first, last = scan.image_range
        outside = ~((xyz[:, 2] >= first - 1 - margin) & (xyz[:, 2] <= last + margin))
        yield _Test(f"an image number outside the scan, {first} to {last}", _STRANGERS, outside)
    if not panels:
        return
    number = np.zeros(len(xyz), np.int64)
    known = np.ones(len(xyz), np.bool_)
    if panel is not None:
        known = (panel >= 0) & (panel < len(panels))
        number[known] = panel[known]
        yield _Test(f"a panel number outside 0 to {len(panels) - 1}", _STRANGERS, ~known)
    elif len(panels) > 1:
        return
    size = np.array([p.image_size for p in panels], np.float64)[number]
    off = np.zeros(len(xyz), np.bool_)
    for k in (0, 1):
        off |= ~((xyz[:, k] >= -MARGIN_PIXELS) & (xyz[:, k] <= size[:, k] + MARGIN_PIXELS))
    yield _Test("a position outside the detector", _STRANGERS, off & known)


def longest_vector(wavelength: float) -> float:
    """Length of the longest plausible reciprocal lattice vector, 1/Angstrom: 2/wavelength and the tolerance."""
    return 2.0 / wavelength * (1.0 + RELATIVE) + ABSOLUTE


def _lattice_tests(rows: Rows, experiment: Experiment) -> Iterator[_Test]:
    """Tests of the index against the smallest d that the wavelength allows, against d, and against s1."""
    with np.errstate(divide="ignore"):
        length = 1.0 / d_spacings(experiment.crystal.unit_cell, rows.hkl)
    longest = 2.0 / experiment.beam.wavelength
    beyond = length > longest_vector(experiment.beam.wavelength)
    yield _Test(f"a Miller index beyond d = {1.0 / longest:.3g}, half the wavelength", _STRANGERS, beyond)
    d, s1 = rows.column("d"), rows.column("s1")
    if d is not None:
        with np.errstate(divide="ignore", over="ignore"):
            yield _against(length, 1.0 / d, "a d that contradicts the index")
    if s1 is not None:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            beam = np.asarray(s1, np.float64)
            norm = np.sqrt(np.einsum("ij,ij->i", beam, beam))
            # |s1/|s1| + direction to the source|, in units of 1/wavelength
            cosine = (beam @ experiment.beam.direction) / norm
            q = np.sqrt(np.maximum(2.0 + 2.0 * cosine, 0.0)) / experiment.beam.wavelength
        unknown = norm == 0
        far = ~((np.abs(beam) <= _LONGEST_BEAM).all(axis=1)) | ((norm == 0) & (beam != 0).any(axis=1))
        yield _Test("a diffracted beam that is not finite or beyond all bounds", "the column s1 is damaged", far)
        unknown |= far
        yield _against(length, np.where(unknown, length, q), "a diffracted beam that contradicts the index")


def _against(length: Float, in_table: Float, what: str) -> _Test:
    """``length``: |B h|, ``in_table``: the same from the table, 1/Angstrom, (n,)."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(in_table - length)
        wrong = ~(difference <= RELATIVE * length + ABSOLUTE)
        off = float(np.median(difference / length)) if len(length) else 0.0
    return _Test(what, _STRANGERS, wrong, off)
