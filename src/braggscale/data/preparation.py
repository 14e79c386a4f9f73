"""From one data set's table to its usable reflections: partials summed, cuts made, intensities corrected.

With the stored intensity I_r, variance V_r, partiality p and c = lp/qe (Lorentz-polarisation factor over
detector efficiency):

    summation   I = c I_r / p      V = c^2 V_r / p^2 + (c I_r)^2 V(1/p)
    profile     I = c I_r          V = c^2 V_r

V(1/p), the variance of the reciprocal partiality, is there for stills only; what it adds is r I^2 with r = p^2 V(1/p),
which the stages after this one take at the expected intensity.  A reflection that integration
has split over several rows is put together before anything is judged, so that a whole reflection is never
dropped for the low partiality of its first piece.  Verdicts of earlier scaling runs in ``flags`` are not
looked at.

Source: DIALS behaviour, except that it judges partiality before it puts partials together.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from braggscale.data.experiment import Experiment, Sweep
from braggscale.data.flags import BEFORE, FATE_FLAG, FATE_TEXT, INTEGRATED, SCALING_VERDICTS, Fate, Flag
from braggscale.data.geometry import UnitCell, crystal_frame_directions, d_spacings
from braggscale.data.image_ranges import Runs, rows_in_use, show_runs, union
from braggscale.data.missing_columns import diffracted_beams, lorentz_polarisation
from braggscale.data.observations import Observations
from braggscale.data.plausible import Rows, judge
from braggscale.data.repeated import repeats, row_keys
from braggscale.data.signal import blank_images
from braggscale.data.table import Table
from braggscale.data.unique_reflections import BLOCK
from braggscale.errors import InputError
from braggscale.numerics.array_types import Array, Bool, Float, Int, UInt
from braggscale.numerics.partitions import run_lanes

log = logging.getLogger(__name__)

# A row below this partiality may be a piece of a reflection (DIALS).
WHOLE = 0.99

PARTIALITY_EDGES = (0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 0.95, WHOLE)

_KINDS = {
    "sum": ("intensity.sum.value", "intensity.sum.variance", Flag.INTEGRATED_SUM),
    "profile": ("intensity.prf.value", "intensity.prf.variance", Flag.INTEGRATED_PRF),
}
_INTENSITIES = tuple(name for names in _KINDS.values() for name in names[:2])
_WHOLE = ("xyzobs.px.value", "s1", "miller_index", "flags", "d", "lp", "qe", "partiality", *_INTENSITIES)
_SCALED = ("intensity.scale.value", "intensity.scale.variance")


@dataclass(frozen=True, slots=True)
class Cuts:
    """``d_min``, ``d_max``: resolution limits, Angstrom, None for no limit.

    ``partiality_cutoff``: rows below are left out.  ``min_isigi``: rows with I/sigma below are left out, None
    or 0 for no limit.  ``accept``: fates settled by the program before that do not count.
    """

    d_min: float | None = None
    d_max: float | None = None
    partiality_cutoff: float = 0.4
    min_isigi: float | None = -5.0
    accept: frozenset[Fate] = frozenset()


@dataclass(frozen=True, slots=True)
class Partials:
    """How complete the recorded reflections are.

    ``edges``: partiality, (k,); bin i reaches from edges[i] up to edges[i + 1], the last one upwards.
    ``rows``, ``usable``: integrated rows after summing, and those of them that are used, (k,).
    ``n_sums``: reflections put together.  ``n_pieces``: rows that they were made of.
    """

    edges: tuple[float, ...]
    rows: tuple[int, ...]
    usable: tuple[int, ...]
    n_sums: int
    n_pieces: int


@dataclass(frozen=True, slots=True)
class UsableRows:
    """One data set ready for scaling.

    ``table``: the rows that remain after summing partials, in file order.  ``changed``: columns that summing
    has altered, over the remaining rows.  ``kept``: row of the input table of each remaining row,
    (n_remaining,). ``fate``: where each input row ended, (n_input,), uint8, see
    :class:`braggscale.data.flags.Fate`; usable rows are SCALED until a later stage decides otherwise.
    ``observations``: the usable rows.  Where only one kind of intensity was measured (``has_sum``,
    ``has_prf``) the other columns repeat it, so that each pair of columns can be used throughout.
    ``intensity``: ``sum``, ``profile`` or ``combine``, as asked for or what there is.
    ``reason``: empty, or why nothing is usable.
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
    """Number of rows by fate, without those that nobody met.  ``fate``: (n,)."""
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


class _Columns:
    """The columns of a table after summing; each is read once, and only if it is asked for."""

    def __init__(self, table: Table, changed: dict[str, Array]) -> None:
        self.table, self.changed = table, changed
        self._read: dict[str, Array] = dict(changed)

    def __contains__(self, name: str) -> bool:
        return name in self.table

    def __getitem__(self, name: str) -> Array:
        if name not in self._read:
            self._read[name] = self.table[name]
        return self._read[name]

    def fetch(self) -> None:
        """Read all columns that most tables have and that are needed as a whole, on threads."""
        names = [name for name in _WHOLE if name in self.table and name not in self._read]
        if len(self.table) <= BLOCK:  # threads cost more than they bring where there is little to do
            self._read |= {name: self.table[name] for name in names}
            return
        self._read |= zip(names, run_lanes(lambda k: self.table[names[k]], len(names)), strict=True)

    def rows(self, name: str, rows: Int) -> Array:
        """Some rows of a column that is not needed as a whole."""
        if len(rows) == len(self.table):
            return self[name]
        if name in self._read:
            return np.take(self._read[name], rows, axis=0)
        return self.table.select(rows)[name]


# Partials ---------------------------------------------------------------------------------------------------


def find_pieces(table: Table, kinds: tuple[str, ...]) -> tuple[Int, Int]:
    """Rows that are pieces of one reflection, and where each reflection begins among them.

    Pieces share ``partial_id`` and the Miller index, have a partiality below 0.99 and a positive variance of
    every kind of intensity in ``kinds`` (and of the scaled intensity, if there is one).
    Returns rows, (n_pieces,), those of a reflection together, in the order of the scan, and starts, (n_sums,).
    """
    nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if "partial_id" not in table or "partiality" not in table:
        return nothing
    candidate = table["partiality"] < WHOLE
    variances = [_KINDS[k][1] for k in kinds] + ([_SCALED[1]] if _SCALED[1] in table else [])
    for name in variances:
        candidate &= table[name] > 0
    rows = np.flatnonzero(candidate)
    ids = table["partial_id"][rows].astype(np.uint64)
    # Pieces are few: find the numbers that occur twice by counting where they are small, as they always are
    # in practice, and sort only those rows.
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
    # a reflection is represented by its first piece in the scan, wherever the table has it
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
    """Where in the scan the rows are, by z and then by the rest of the position, (n,) ranks."""
    name = next((name for name in ("xyzobs.px.value", "xyzcal.px") if name in table), None)
    if name is None:
        return np.zeros(len(rows))
    xyz = table.select(rows)[name]
    rank = np.empty(len(rows))
    rank[np.lexsort((xyz[:, 1], xyz[:, 0], xyz[:, 2]))] = np.arange(len(rows))
    return rank


def _sum_partials(table: Table, kinds: tuple[str, ...]) -> tuple[Int, dict[str, Array], Int, Int]:
    """The rows that remain, the altered columns over them, and the pieces as in :func:`find_pieces`.

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
        column = np.array(table[name][kept], dtype=np.float64)
        column[at] = values
        changed[name] = column

    few = table.select(pieces)
    put("partiality", np.add.reduceat(few["partiality"], starts))
    if "sum" in kinds:
        for name in _KINDS["sum"][:2]:
            put(name, np.add.reduceat(few[name], starts))
    if "profile" in kinds:
        value, variance, _ = _KINDS["profile"]
        i, v = few[value], few[variance]
        # A variance next to nothing may overflow; what comes of it is not finite and is rejected with the
        # rest.
        with np.errstate(over="ignore", invalid="ignore"):
            u = i * i / v
            total = np.add.reduceat(u, starts)
            some = total > 0
            by_u = np.divide(np.add.reduceat(u * i, starts), total, out=np.zeros(len(starts)), where=some)
            plain = np.add.reduceat(v, starts)
            mean_v = np.divide(np.add.reduceat(u * v, starts), total, out=plain, where=some)
        put(value, by_u)
        put(variance, mean_v)
    if all(name in table for name in _SCALED):
        i, v = few[_SCALED[0]], few[_SCALED[1]]
        total = np.add.reduceat(1.0 / v, starts)
        put(_SCALED[0], np.add.reduceat(i / v, starts) / total)
        put(_SCALED[1], 1.0 / total)
    return kept, changed, pieces, starts


# Cuts -------------------------------------------------------------------------------------------------------


def _kinds_measured(table: Table) -> tuple[str, ...]:
    """The kinds of intensity that integration has left in the table."""
    there = tuple(k for k, names in _KINDS.items() if all(name in table for name in names[:2]))
    if not there:
        raise InputError(f"{table.source}: the table has neither intensity.sum nor intensity.prf columns")
    if "profile" in there:
        fitted = (table["flags"] & np.uint64(Flag.INTEGRATED_PRF)) != 0
        if not np.any(fitted & (table[_KINDS["profile"][1]] > 0)):
            there = tuple(k for k in there if k != "profile")
    return there


def _without_empty_kinds(table: Table, there: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The kinds of intensity that hold something. One that is 0 in every measured row was never determined.

    All of them if none holds anything: what is wrong is then said of the data set.
    """
    held = tuple(kind for kind in there if np.any(_measured_values(table, kind)))
    if held and len(held) < len(there):
        empty = ", ".join(kind for kind in there if kind not in held)
        log.warning(f"{name}: every {empty} intensity is 0, using {held[0]} instead")
    return held or there


def _measured_values(table: Table, kind: str) -> Array:
    value, _, flag = _KINDS[kind]
    values: Array = table[value][(table["flags"] & np.uint64(flag)) != 0]
    return values


def _kinds_wanted(there: tuple[str, ...], choice: str, source: str) -> tuple[str, ...]:
    """The kinds asked for, or what there is."""
    if choice == "combine" or choice in there:
        return there if choice == "combine" else (choice,)
    if there:
        log.warning("%s: no %s intensities, using %s instead.", source, choice, there[0])
    return there


def _efficiency(columns: _Columns) -> str | None:
    return next((name for name in ("qe", "dqe") if name in columns), None)


def _judge(
    columns: _Columns,
    kinds: tuple[str, ...],
    in_use: Bool | None,
    cuts: Cuts,
    best_cell: UnitCell,
    cell: UnitCell,
) -> Array:
    """The fate of each remaining row, (n,), uint8; see :func:`prepare` for the order of the reasons."""
    flags = columns["flags"]
    n = len(flags)
    fate = np.full(n, Fate.SCALED, np.uint8)

    def reject(bad: Bool, reason: Fate) -> None:
        fate[bad & (fate == Fate.SCALED)] = reason

    if in_use is not None:
        reject(~in_use, Fate.IMAGE_EXCLUDED)
    if "rejection" in columns:
        settled = columns["rejection"]
        for reason in sorted(BEFORE - cuts.accept):
            reject(settled == reason, reason)
    wanted = sum(int(_KINDS[k][2]) for k in kinds)
    reject((flags & np.uint64(wanted)) == 0, Fate.NOT_INTEGRATED)
    hkl = columns["miller_index"]
    d = columns["d"] if "d" in columns else d_spacings(cell, hkl)
    # column by column: numpy is slow along a second axis of three
    zero = (hkl[:, 0] == 0) & (hkl[:, 1] == 0) & (hkl[:, 2] == 0)
    reject(zero | ~(np.isfinite(d) & (d > 0)), Fate.NO_GEOMETRY)
    if (name := _efficiency(columns)) is not None:
        reject(~(np.isfinite(columns[name]) & (columns[name] > 0)), Fate.BAD_EFFICIENCY)
    low = np.zeros(n, np.bool_)
    for kind in kinds:
        value, variance, flag = _KINDS[kind]
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


def _positions(columns: _Columns) -> str:
    for name in ("xyzobs.px.value", "xyzcal.px"):
        if name in columns:
            return name
    raise InputError(f"{columns.table.source}: the table has neither xyzobs.px.value nor xyzcal.px")


def _not_plausible(columns: _Columns, kinds: tuple[str, ...], rows: Int, xyz: Float, experiment: Experiment) -> Bool:
    """Which of the given rows cannot be, (n,); the log says why. Raises InputError if it is most of them."""
    flags = columns.rows("flags", rows)
    measured = tuple(
        (value, variance, (flags & np.uint64(flag)) != 0)
        for kind, (value, variance, flag) in _KINDS.items()
        if kind in kinds
    )

    def column(name: str) -> Array | None:
        return columns.rows(name, rows) if name in columns else None

    source = columns.table.source
    hkl = columns.rows("miller_index", rows)
    judged = judge(Rows(hkl, xyz, column, measured), experiment, source)
    name = f"data set {experiment.identifier}"
    if judged.cell_off:
        log.warning(f"{name}: its unit cell contradicts its reflections, d is off by {100 * judged.cell_off:.0f} %")
    if judged.reasons:
        log.warning(f"{name}: rows that cannot be are left out, {judged.text()}")
    return judged.bad


# Observations -----------------------------------------------------------------------------------------------


def _observe(
    columns: _Columns,
    there: tuple[str, ...],
    kinds: tuple[str, ...],
    rows: Int,
    xyz: Float,
    experiment: Experiment,
    data_set: int,
) -> Observations:
    """The given rows with corrected intensities.  Rows whose corrected variance is not positive are left out.

    ``there``: kinds of intensity that hold something.  ``kinds``: those that every row must have right.
    """
    n = len(rows)
    s1 = _diffracted_beams(columns, rows, xyz, experiment)
    if "lp" in columns:
        correction = columns.rows("lp", rows).astype(np.float64)
    else:
        correction = np.ones(n) if s1 is None else lorentz_polarisation(experiment, s1)
    if (name := _efficiency(columns)) is not None:
        correction = correction / columns.rows(name, rows)
    p = columns.rows("partiality", rows).astype(np.float64) if "partiality" in columns else np.ones(n)
    flags = columns.rows("flags", rows)
    relative: Float | None = None
    measured: dict[str, tuple[Float, Float, Bool]] = {}
    good = np.isfinite(correction) & (correction > 0)
    for kind, (value, variance, flag) in _KINDS.items():
        if kind not in there:
            continue
        i, v = columns.rows(value, rows), columns.rows(variance, rows)
        factor = correction / p if kind == "sum" else correction
        # Values of rows that were never integrated may be anything.
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            i, v = factor * i, factor * factor * v
            if kind == "sum" and "partiality.inv.variance" in columns:
                relative = p * p * columns.rows("partiality.inv.variance", rows)
                v = v + i * i * relative
        fine = ((flags & np.uint64(flag)) != 0) & np.isfinite(i) & np.isfinite(v) & (v > 0)
        if kind in kinds:
            good &= fine | ((flags & np.uint64(flag)) == 0)
        measured[kind] = i, v, fine
    nothing = np.zeros(n), np.zeros(n), np.zeros(n, np.bool_)
    i_sum, v_sum, has_sum = measured.get("sum", nothing)
    i_prf, v_prf, has_prf = measured.get("profile", nothing)
    good &= has_sum | has_prf
    if not good.all():
        return _observe(columns, there, kinds, rows[good], xyz[good], experiment, data_set)
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


def _diffracted_beams(columns: _Columns, rows: Int, xyz: Float, experiment: Experiment) -> Array | None:
    """s1 as stored, or from positions on the detector; None where neither is known."""
    if "s1" in columns:
        return columns.rows("s1", rows)
    panel = columns.rows("panel", rows) if "panel" in columns else None
    return diffracted_beams(experiment, xyz.astype(np.float64, copy=False), panel)


def _say_what_is_missing(table: Table, experiment: Experiment, name: str) -> None:
    """Columns whose lack changes results, and what is used instead."""
    place = "s1" in table or bool(experiment.panels)
    if "lp" not in table:
        instead = "is computed from the geometry" if place else "is unknown and counts as 1: R values do not tell"
        log.warning(f"{name}: the table has no column lp; the Lorentz-polarisation factor {instead}")
    if "s1" not in table and not experiment.is_still:
        instead = "are computed from positions on the detector" if place else "are unknown: no absorption is corrected"
        log.warning(f"{name}: the table has no column s1; diffracted beams {instead}")
    if "partiality" not in table:
        log.warning(f"{name}: the table has no column partiality; every reflection counts as wholly recorded")


def _or(values: Float, there: Bool, other: Float) -> Float:
    """``values``, or where they are not there the others."""
    return values if there.all() else np.where(there, values, other)


def _partials(columns: _Columns, usable: Int, n_sums: int, n_pieces: int) -> Partials:
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
) -> UsableRows:
    """The usable reflections of one data set, and the fate of every row of ``table``.

    ``data_set``: position in the run.  ``in_use``: runs of image numbers, None for all (stills too).
    ``intensity``: ``sum``, ``profile`` or ``combine`` (either); what is not there is replaced by what is,
    with a warning.  ``best_cell``: for the resolution limits, Angstrom and degrees; by default the crystal's.

    Each row gets the first of these fates that applies:
    summed into another row; image excluded (the first piece's image, for a sum); rejected by the program before
    (column ``rejection``); not integrated; no Miller
    index or no resolution; detector efficiency not positive; variance not positive, or a value that is not
    finite, before or after correction, of any kind of intensity asked for and measured; outside the
    resolution limits; partiality 0 or below the cut-off; I/sigma below the limit; not plausible (see
    :mod:`braggscale.data.plausible`); repeats another row; image without a signal.  What is wrong with a measurement
    comes before what the user cuts, so the number beside a cut is what this cut costs.

    If nothing is usable, ``reason`` says why.
    Raises InputError if columns are missing that nothing can replace, or most rows cannot be.
    """
    for name in ("miller_index", "flags"):
        if name not in table:
            raise InputError(f"{table.source}: the table has no column {name}")
    there = _kinds_measured(table)
    name = f"{table.source}, data set {experiment.identifier}"
    there = _without_empty_kinds(table, there, name)
    kinds = _kinds_wanted(there, intensity, name)
    if len(table):
        _say_what_is_missing(table, experiment, name)
    kept, changed, pieces, starts = _sum_partials(table, there)
    remaining = table if len(pieces) == 0 else table.select(kept)
    columns = _Columns(remaining, changed)
    columns.fetch()
    mask = None
    if in_use is not None and isinstance(kind := experiment.kind, Sweep):
        limits = kind.scan.image_range
        if in_use != (limits,):
            mask = rows_in_use(columns[_positions(columns)][:, 2], limits, in_use)
    cell = experiment.crystal.unit_cell
    verdict = _judge(columns, kinds, mask, cuts, best_cell or cell, cell)
    candidates = np.flatnonzero(verdict == Fate.SCALED)
    xyz = columns.rows(_positions(columns), candidates)
    if not np.isfinite(xyz).all():
        placed = np.isfinite(xyz).all(axis=1)
        verdict[candidates[~placed]] = Fate.NO_GEOMETRY
        candidates, xyz = candidates[placed], xyz[placed]
    absurd = _not_plausible(columns, kinds, candidates, xyz, experiment)
    if absurd.any():
        verdict[candidates[absurd]] = Fate.NOT_PLAUSIBLE
        candidates, xyz = candidates[~absurd], xyz[~absurd]
    observations = _observe(columns, there, kinds, candidates, xyz, experiment, data_set)
    verdict[candidates] = Fate.BAD_VARIANCE
    verdict[observations.row] = Fate.SCALED
    observations = _without(observations, verdict, experiment)
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


def _without(rows: Observations, verdict: Array, experiment: Experiment) -> Observations:
    """The rows but for those that are there twice, and those on images without a signal; fates go to ``verdict``."""
    name = f"data set {experiment.identifier}"
    again = repeats(row_keys(rows))
    if again.any():
        log.warning(f"{name}: {int(again.sum())} of {len(rows)} rows repeat others and count once")
        verdict[rows.row[again]] = Fate.REPEATED
        rows = rows.take(~again)
    if not experiment.is_still:
        blank, images = blank_images(rows)
        if len(images):
            runs = show_runs(union([(int(image), int(image)) for image in images]))
            log.warning(f"{name}: images {runs} have no signal and are left out, {int(blank.sum())} rows")
            verdict[rows.row[blank]] = Fate.NO_SIGNAL
            rows = rows.take(~blank)
    return rows


def _why_nothing(fate: Array) -> str:
    if len(fate) == 0:
        return "the table has no rows of this data set"
    reasons = sorted(count_fates(fate).items(), key=lambda item: -item[1])
    return f"none of {len(fate)} rows is usable: " + ", ".join(f"{n} {FATE_TEXT[f]}" for f, n in reasons)
