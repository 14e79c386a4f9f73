"""Which rows of a table can be used, and why the others cannot."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.data.flags import BEFORE, LACKING, Fate
from braggscale.data.geometry import UnitCell, d_spacings
from braggscale.data.image_ranges import show_runs, union
from braggscale.data.observations import Observations
from braggscale.data.plausible import Rows, judge
from braggscale.data.reflection_columns import KINDS, ReflectionColumns, efficiency_column
from braggscale.data.repeated import repeats, row_keys
from braggscale.data.signal import blank_images
from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.run_warnings import Code, warn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cuts:
    """``d_min``, ``d_max``: resolution limits, Angstrom, None for no limit.

    ``partiality_cutoff``: rows below are left out.  ``min_isigi``: rows with I/sigma below are left out, None
    or 0 for no limit.  ``accept``: fates from earlier programs that are ignored.
    """

    d_min: float | None = None
    d_max: float | None = None
    partiality_cutoff: float = 0.4
    min_isigi: float | None = -5.0
    accept: frozenset[Fate] = frozenset()


def fates_of(
    columns: ReflectionColumns,
    kinds: tuple[str, ...],
    in_use: Bool | None,
    cuts: Cuts,
    best_cell: UnitCell,
    cell: UnitCell,
) -> Array:
    """The fate of each remaining row, (n,), uint8; see :func:`prepare` for the order of the reasons.

    ``in_use``: rows on images in use, (n,), None for all.
    """
    flags = columns["flags"]
    n = len(flags)
    fate = np.full(n, Fate.SCALED, np.uint8)

    def reject(bad: Bool, reason: Fate) -> None:
        """Give a fate to those of the ``bad`` rows that have none yet."""
        fate[bad & (fate == Fate.SCALED)] = reason

    if in_use is not None:
        reject(~in_use, Fate.IMAGE_EXCLUDED)
    if "rejection" in columns:
        settled = columns["rejection"]
        for reason in sorted((BEFORE - cuts.accept) | LACKING):
            reject(settled == reason, reason)
    wanted = sum(int(KINDS[k][2]) for k in kinds)
    reject((flags & np.uint64(wanted)) == 0, Fate.NOT_INTEGRATED)
    hkl = columns["miller_index"]
    d = columns["d"] if "d" in columns else d_spacings(cell, hkl)
    # column by column, because numpy is slow along a second axis of length three
    zero = (hkl[:, 0] == 0) & (hkl[:, 1] == 0) & (hkl[:, 2] == 0)
    reject(zero | ~(np.isfinite(d) & (d > 0)), Fate.NO_GEOMETRY)
    if (name := efficiency_column(columns)) is not None:
        reject(~(np.isfinite(columns[name]) & (columns[name] > 0)), Fate.BAD_EFFICIENCY)
    low = np.zeros(n, np.bool_)
    for kind in kinds:
        value, variance, flag = KINDS[kind]
        i, v = columns[value], columns[variance]
        measured = (flags & np.uint64(flag)) != 0
        good = np.isfinite(i) & np.isfinite(v) & (v > 0)
        reject(measured & ~good, Fate.BAD_VARIANCE)
        if cuts.min_isigi:
            weak = measured & good
            if cuts.min_isigi < 0:
                weak &= i < 0
            rows = np.flatnonzero(weak)
            low[rows] |= i[rows] < cuts.min_isigi * np.sqrt(v[rows])
    if cuts.d_min is not None or cuts.d_max is not None:
        best = d_spacings(best_cell, hkl)
        reject((best < (cuts.d_min or 0.0)) | (best > (cuts.d_max or np.inf)), Fate.RESOLUTION_CUT)
    if "partiality" in columns:
        p = columns["partiality"]
        reject(~((p > 0) & (p >= cuts.partiality_cutoff)), Fate.LOW_PARTIALITY)
    reject(low, Fate.LOW_I_OVER_SIGMA)
    return fate


def not_plausible(
    columns: ReflectionColumns, kinds: tuple[str, ...], rows: Int, xyz: Float, experiment: Experiment
) -> Bool:
    """Which of the given rows are not plausible, (n,); the log says why.

    ``rows``: their numbers, (n,).  ``xyz``: position on the detector, pixels, and image number, (n, 3).
    Raises InputError if most of them are not plausible.
    """
    flags = columns.rows("flags", rows)
    measured = tuple(
        (value, variance, (flags & np.uint64(flag)) != 0)
        for kind, (value, variance, flag) in KINDS.items()
        if kind in kinds
    )

    def column(name: str) -> Array | None:
        """A column of the table for these rows; None if there is none."""
        return columns.rows(name, rows) if name in columns else None

    source = columns.table.source
    hkl = columns.rows("miller_index", rows)
    judged = judge(Rows(hkl, xyz, column, measured), experiment, source)
    name = f"data set {experiment.identifier}"
    if judged.cell_off:
        warn(
            log,
            Code.UNIT_CELL_CONTRADICTS,
            f"{name}: its unit cell contradicts its reflections, d is off by {100 * judged.cell_off:.0f} %",
            experiment.identifier,
        )
    if judged.reasons:
        warn(
            log,
            Code.IMPOSSIBLE_ROWS,
            f"{name}: rows that are not plausible are left out, {judged.text()}",
            experiment.identifier,
        )
    return judged.bad


def without_repeats_and_blanks(rows: Observations, verdict: Array, experiment: Experiment) -> Observations:
    """The rows without those that repeat another row and those on images without a signal.

    ``verdict``: fate of each row of the table, (n_rows,); the fates of the removed rows are written into it.
    """
    name = f"data set {experiment.identifier}"
    again = repeats(row_keys(rows))
    if again.any():
        warn(
            log,
            Code.REPEATED_ROWS,
            f"{name}: {int(again.sum())} of {len(rows)} rows repeat others and count once",
            experiment.identifier,
        )
        verdict[rows.row[again]] = Fate.REPEATED
        rows = rows.take(~again)
    if not experiment.is_still:
        blank, images = blank_images(rows)
        if len(images):
            runs = show_runs(union([(int(image), int(image)) for image in images]))
            warn(
                log,
                Code.IMAGES_WITHOUT_SIGNAL,
                f"{name}: images {runs} have no signal and are left out, {int(blank.sum())} rows",
                experiment.identifier,
            )
            verdict[rows.row[blank]] = Fate.NO_SIGNAL
            rows = rows.take(~blank)
    return rows
