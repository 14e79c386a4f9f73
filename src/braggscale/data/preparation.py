"""Selects the usable reflections from the table of a data set: sums partials, applies limits, corrects intensities.

With the stored intensity I_r, variance V_r, partiality p and c = lp/qe (Lorentz-polarisation factor over
detector efficiency):

    summation   I = c I_r / p      V = c^2 V_r / p^2 + (c I_r)^2 V(1/p)
    profile     I = c I_r          V = c^2 V_r

If a part of the scale is known, such as the transmission through a crystal whose shape was measured, c is lp/qe over
that known factor.

V(1/p), the variance of the reciprocal partiality, exists for stills only. It contributes r I^2 with r = p^2 V(1/p)
to the variance; later stages use the expected intensity in this term.  The pieces of a reflection that integration
has divided into several rows are summed before any limit is applied, so that a whole reflection is never lost
because of the low partiality of its first piece.  Flags of earlier scaling runs are ignored.

Source: DIALS behaviour, except that DIALS applies the limit on partiality before it sums partials.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from braggscale.data.experiment import Experiment, Still
from braggscale.data.flags import FATE_FLAG, FATE_TEXT, INTEGRATED, SCALING_VERDICTS, Fate
from braggscale.data.geometry import UnitCell, crystal_frame_directions, d_spacings
from braggscale.data.image_ranges import Runs, rows_in_use
from braggscale.data.missing_columns import diffracted_beams, lorentz_polarisation
from braggscale.data.observations import Observations
from braggscale.data.partial_sums import WHOLE, sum_partials
from braggscale.data.reflection_columns import (
    KINDS,
    ReflectionColumns,
    efficiency_column,
    kinds_measured,
    kinds_wanted,
    position_column,
    say_what_is_missing,
    without_empty_kinds,
)
from braggscale.data.row_fates import Cuts, fates_of, not_plausible, without_repeats_and_blanks
from braggscale.data.table import Table
from braggscale.errors import InputError
from braggscale.numerics.array_types import Array, Bool, Float, Int, UInt

log = logging.getLogger(__name__)

PARTIALITY_EDGES = (0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 0.95, WHOLE)


@dataclass(frozen=True, slots=True)
class Partials:
    """How complete the recorded reflections are.

    ``edges``: partiality, (k,); bin i reaches from edges[i] up to edges[i + 1], the last one upwards.
    ``rows``, ``usable``: integrated rows after summing, and those of them that are used, (k,).
    ``n_sums``: reflections that were summed from pieces.  ``n_pieces``: number of these pieces.
    """

    edges: tuple[float, ...]
    rows: tuple[int, ...]
    usable: tuple[int, ...]
    n_sums: int
    n_pieces: int


@dataclass(frozen=True, slots=True)
class UsableRows:
    """One data set ready for scaling.

    ``table``: the rows that remain after summing partials, in file order.  ``changed``: columns that summing has
    changed, over the remaining rows, (n_remaining,) or (n_remaining, 3).  ``kept``: row of the input table of each
    remaining row, (n_remaining,). ``fate``: fate of each input row, (n_input,), uint8, see
    :class:`braggscale.data.flags.Fate`; usable rows are SCALED until a later stage decides otherwise.
    ``observations``:
    the usable rows.  Where only one kind of intensity was measured (``has_sum``, ``has_prf``) the other columns repeat
    it, so that each pair of columns can be used throughout. ``intensity``: ``sum``, ``profile`` or ``combine``, as
    chosen or as available. ``reason``: empty, or why nothing is usable.
    """

    table: Table
    changed: Mapping[str, Array]
    kept: Int
    fate: Array
    observations: Observations
    intensity: str
    partials: Partials
    reason: str

    def counts(self) -> dict[Fate, int]:
        """Number of input rows by fate; they add up to the number of input rows."""
        return count_fates(self.fate)


def count_fates(fate: Array) -> dict[Fate, int]:
    """Number of rows by fate, without fates that no row has.  ``fate``: (n,)."""
    numbers = np.bincount(fate, minlength=max(Fate) + 1)
    return {f: int(numbers[f]) for f in Fate if numbers[f]}


def flags_with_fates(flags: Array, fate: Array) -> UInt:
    """The ``flags`` column with earlier verdicts of scaling replaced by those that follow from the fates.

    ``flags``: (n,), uint64.  ``fate``: (n,).  Returns (n,).  Bits of other programs are kept.
    """
    verdict = np.zeros(max(Fate) + 1, np.uint64)
    for f, flag in FATE_FLAG.items():
        verdict[f] = int(flag)
    result: UInt = (flags & np.uint64(~int(SCALING_VERDICTS) & (2**64 - 1))) | verdict[fate]
    return result


def _observe(
    columns: ReflectionColumns,
    there: tuple[str, ...],
    kinds: tuple[str, ...],
    rows: Int,
    xyz: Float,
    experiment: Experiment,
    data_set: int,
    known_factor: str | None,
) -> Observations:
    """The given rows with corrected intensities.  Rows whose corrected variance is not positive are left out.

    ``there``: kinds of intensity that the table has.  ``kinds``: those that must be valid in every row.
    ``known_factor``: see ``prepare``.
    """
    n = len(rows)
    s1 = _diffracted_beams(columns, rows, xyz, experiment)
    if "lp" in columns:
        correction = columns.rows("lp", rows).astype(np.float64)
    else:
        correction = np.ones(n) if s1 is None else lorentz_polarisation(experiment, s1)
    if (name := efficiency_column(columns)) is not None:
        correction = correction / columns.rows(name, rows)
    if known_factor is not None:
        with np.errstate(divide="ignore", invalid="ignore"):  # rows with an impossible factor are left out below
            correction = correction / columns.rows(known_factor, rows)
    p = columns.rows("partiality", rows).astype(np.float64) if "partiality" in columns else np.ones(n)
    measured, good, relative = _corrected(columns, there, kinds, rows, correction, p)
    nothing = np.zeros(n), np.zeros(n), np.zeros(n, np.bool_)
    i_sum, v_sum, has_sum = measured.get("sum", nothing)
    i_prf, v_prf, has_prf = measured.get("profile", nothing)
    good &= has_sum | has_prf
    if not good.all():
        return _observe(columns, there, kinds, rows[good], xyz[good], experiment, data_set, known_factor)
    hkl = columns.rows("miller_index", rows).astype(np.int32, copy=False)
    d = columns.rows("d", rows) if "d" in columns else d_spacings(experiment.crystal.unit_cell, hkl)
    xyz = xyz.astype(np.float64, copy=False)
    s1 = np.zeros((n, 3)) if s1 is None else s1
    s0c, s1c = crystal_frame_directions(experiment, xyz[:, 2], s1)
    return Observations(
        row=rows,
        data_set=np.full(n, data_set, np.int32),
        hkl=hkl,
        d=np.asarray(d, np.float64),
        xyz=xyz,
        s0c=s0c,
        s1c=s1c,
        partiality=p,
        correction=correction,
        i_sum=_or(i_sum, has_sum, i_prf),
        v_sum=_or(v_sum, has_sum, v_prf),
        i_prf=_or(i_prf, has_prf, i_sum),
        v_prf=_or(v_prf, has_prf, v_sum),
        has_sum=has_sum,
        has_prf=has_prf,
        relative=relative,
    )


def _diffracted_beams(columns: ReflectionColumns, rows: Int, xyz: Float, experiment: Experiment) -> Array | None:
    """s1 as stored, or from positions on the detector; None where neither is known."""
    if "s1" in columns:
        return columns.rows("s1", rows)
    panel = columns.rows("panel", rows) if "panel" in columns else None
    return diffracted_beams(experiment, xyz.astype(np.float64, copy=False), panel)


def _corrected(
    columns: ReflectionColumns, there: tuple[str, ...], kinds: tuple[str, ...], rows: Int, correction: Float, p: Float
) -> tuple[dict[str, tuple[Float, Float, Bool]], Bool, Float | None]:
    """By kind: corrected intensity, variance, rows where it was measured; then rows that can be used; r of
    Observations.

    ``correction``: c, ``p``: partiality, (n,).  A row can be used if every measured kind in ``kinds`` is valid.
    """
    flags = columns.rows("flags", rows)
    relative: Float | None = None
    measured: dict[str, tuple[Float, Float, Bool]] = {}
    good = np.isfinite(correction) & (correction > 0)
    for kind, (value, variance, flag) in KINDS.items():
        if kind not in there:
            continue
        i, v = columns.rows(value, rows), columns.rows(variance, rows)
        factor = correction / p if kind == "sum" else correction
        # Rows that were not integrated may have arbitrary values.
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            i, v = factor * i, factor * factor * v
            if kind == "sum" and "partiality.inv.variance" in columns:
                relative = p * p * columns.rows("partiality.inv.variance", rows)
                v = v + i * i * relative
        fine = ((flags & np.uint64(flag)) != 0) & np.isfinite(i) & np.isfinite(v) & (v > 0)
        if kind in kinds:
            good &= fine | ((flags & np.uint64(flag)) == 0)
        measured[kind] = i, v, fine
    return measured, good, relative


def _or(values: Float, there: Bool, other: Float) -> Float:
    """``values``, replaced by ``other`` where they were not measured."""
    return values if there.all() else np.where(there, values, other)


def _partials(columns: ReflectionColumns, usable: Int, n_sums: int, n_pieces: int) -> Partials:
    rows = usable_rows = (0,) * len(PARTIALITY_EDGES)
    if "partiality" in columns:
        integrated = np.flatnonzero((columns["flags"] & np.uint64(INTEGRATED)) != 0)
        rows, usable_rows = (_by_partiality(columns.rows("partiality", chosen)) for chosen in (integrated, usable))
    return Partials(PARTIALITY_EDGES, rows, usable_rows, n_sums, n_pieces)


def _by_partiality(partiality: Float) -> tuple[int, ...]:
    """Number of rows between the edges; those below the first one are in none."""
    above = [int(np.count_nonzero(partiality >= edge)) for edge in PARTIALITY_EDGES]
    return tuple(n - more for n, more in zip(above, [*above[1:], 0], strict=True))


def prepare(
    table: Table,
    experiment: Experiment,
    data_set: int,
    *,
    cuts: Cuts,
    in_use: Runs | None = None,
    intensity: str = "combine",
    best_cell: UnitCell | None = None,
    known_factor: str | None = None,
) -> UsableRows:
    """The usable reflections of one data set, and the fate of every row of ``table``.

    ``data_set``: position in the run.  ``in_use``: runs of image numbers, None for all (stills too).
    ``intensity``: ``sum``, ``profile`` or ``combine`` (either); if the table does not have it, the other kind is
    used, with a warning.  ``best_cell``: for the resolution limits, Angstrom and degrees; by default the crystal's.
    ``known_factor``: column with a part of the inverse scale factor that is known; intensities are divided by it.

    Each row gets the first of these fates that applies: summed into another row; image excluded (the first piece's
    image, for a sum); rejected by an earlier program or without intensity or sigma in its file (column
    ``rejection``); not integrated; no Miller index or no resolution; detector efficiency not positive; variance not
    positive, or a value that is not finite, before or after correction, for any chosen kind of intensity that was
    measured; outside the resolution limits; partiality 0 or below the cut-off; I/sigma below the limit; not plausible
    (see :mod:`braggscale.data.plausible`); repeats another row; image without a signal. Faults of a measurement come
    before the limits of the user, so the number beside a limit says how many good rows it removes.

    If nothing is usable, ``reason`` says why.
    Raises InputError if indispensable columns are missing, or if most rows are not plausible.
    """
    for name in ("miller_index", "flags"):
        if name not in table:
            raise InputError(f"{table.source}: the table has no column {name}")
    if known_factor is not None and known_factor not in table:
        raise InputError(f"{table.source}: the table has no column {known_factor}; scale without {known_factor}=True")
    there = kinds_measured(table)
    name = f"{table.source}, data set {experiment.identifier}"
    there = without_empty_kinds(table, there, name)
    kinds = kinds_wanted(there, intensity, name)
    if len(table):
        say_what_is_missing(table, experiment, name)
    kept, changed, pieces, starts = sum_partials(table, there)
    remaining = table if len(pieces) == 0 else table.select(kept)
    columns = ReflectionColumns(remaining, changed)
    columns.fetch()
    cell = experiment.crystal.unit_cell
    verdict = fates_of(columns, kinds, _on_images(columns, experiment, in_use), cuts, best_cell or cell, cell)
    observations = _observations(columns, (there, kinds), verdict, experiment, data_set, known_factor)
    fate = np.full(len(table), Fate.SUMMED_INTO_ANOTHER, np.uint8)
    fate[kept] = verdict
    return UsableRows(
        table=remaining,
        changed=changed,
        kept=kept,
        fate=fate,
        observations=observations,
        intensity=kinds[0] if len(kinds) == 1 else intensity,
        partials=_partials(columns, observations.row, len(starts), len(pieces)),
        reason="" if len(observations) else _why_nothing(fate),
    )


def _observations(
    columns: ReflectionColumns,
    found_and_wanted: tuple[tuple[str, ...], tuple[str, ...]],
    verdict: Array,
    experiment: Experiment,
    data_set: int,
    known_factor: str | None,
) -> Observations:
    """The rows that are still SCALED, as observations; writes the fates of those that are rejected here to ``verdict``.

    ``found_and_wanted``: kinds of intensity that the table has, and those that must be valid in every row.
    ``verdict``: (n,).  ``known_factor``: see ``prepare``.
    """
    there, kinds = found_and_wanted
    candidates = np.flatnonzero(verdict == Fate.SCALED)
    xyz = columns.rows(position_column(columns), candidates)
    if not np.isfinite(xyz).all():
        placed = np.isfinite(xyz).all(axis=1)
        verdict[candidates[~placed]] = Fate.NO_GEOMETRY
        candidates, xyz = candidates[placed], xyz[placed]
    absurd = not_plausible(columns, kinds, candidates, xyz, experiment)
    if absurd.any():
        verdict[candidates[absurd]] = Fate.NOT_PLAUSIBLE
        candidates, xyz = candidates[~absurd], xyz[~absurd]
    observations = _observe(columns, there, kinds, candidates, xyz, experiment, data_set, known_factor)
    verdict[candidates] = Fate.BAD_VARIANCE
    verdict[observations.row] = Fate.SCALED
    return without_repeats_and_blanks(observations, verdict, experiment)


def _on_images(columns: ReflectionColumns, experiment: Experiment, in_use: Runs | None) -> Bool | None:
    """Rows on images in use, (n,); None if these are all rows. A still is in use or not, as a whole."""
    kind = experiment.kind
    if in_use == ():
        return np.zeros(len(columns.table), np.bool_)
    if in_use is None or isinstance(kind, Still) or in_use == (kind.scan.image_range,):
        return None
    return rows_in_use(columns[position_column(columns)][:, 2], kind.scan.image_range, in_use)


def _why_nothing(fate: Array) -> str:
    if len(fate) == 0:
        return "the table has no rows of this data set"
    reasons = sorted(count_fates(fate).items(), key=lambda item: -item[1])
    return f"none of {len(fate)} rows is usable: " + ", ".join(f"{n} {FATE_TEXT[f]}" for f, n in reasons)
