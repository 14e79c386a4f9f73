"""Unmerged MTZ files of MOSFLM, POINTLESS, AIMLESS, DIALS, gemmi and reciprocalspaceship as data sets.

Columns H K L [M/ISYM] BATCH I SIGI [IPR SIGIPR] [FRACTIONCALC] [XDET YDET] [ROT] [LP] [QE] [SCALEUSED] [FLAG].
Intensities are those of whole reflections with c = LP/QE applied, except where M/ISYM marks them as parts
(M/ISYM = 256 M + isym). isym = 2 n - 1 means that the file's h is h' R, where h' was measured and R is the rotation
of the n-th operator; isym = 2 n means -h' R. If there are both, I is the summation intensity and IPR the profile-
fitted one.

Batch numbers are used as image numbers, so that both are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.flags import Fate
from braggscale.data.geometry import d_spacings
from braggscale.data.space_groups import rotation_of
from braggscale.errors import InputError
from braggscale.io.mtz_file import MtzFile, read_mtz_file
from braggscale.io.mtz_flags import counted, rejected_by_flag
from braggscale.io.mtz_geometry import (
    Image,
    diffracted_beams,
    images_of,
    sweeps,
    unwrapped_angles,
)
from braggscale.io.mtz_images import (
    cell_of,
    experiment_of,
    header_numbers,
    images_of_rows,
    name_of_sweep,
    notes_on_sweeps,
    with_panel,
)
from braggscale.io.new_experiments import NewExperiment
from braggscale.io.partials import find_parts
from braggscale.io.reading import (
    Known,
    MeasuredRows,
    Reading,
    on_detector,
    reading_columns,
    rocking_boxes,
    space_group,
    whole_numbers,
)
from braggscale.numerics.array_types import Array

# The sum of its calculated fractions that a reflection of several parts must have (AIMLESS' default).
WHOLE = (0.95, 1.05)
_NOTHING = Known()
_PART = 256  # M/ISYM: added to isym for a part of a reflection
_INSIDE = 1e-6  # of an image: positions are moved inside their image by at least this


@dataclass(frozen=True, slots=True)
class _Rows:
    """The reflections of the file after partials have been summed; all arrays have n rows.

    ``values``: columns by name, double precision, as they are after summing.
    """

    hkl: Array
    batch: Array
    values: dict[str, Array]
    rejection: Array
    notes: tuple[str, ...]


def read(path: str, data: memoryview, known: Known = _NOTHING) -> Reading:
    """The data sets of an unmerged MTZ file.

    Raises InputError for a merged file, one with amplitudes only, one that is cut short or damaged, and for rows
    whose batch has no header.
    """
    file = read_mtz_file(path, data)
    names = _names(path, file)
    images = images_of(file.batches)
    if not len(file.values):
        raise InputError(f"{path}: the file has no reflections")
    batch = _batches(path, file, names, images)
    notes: list[str] = []
    batch, shifted = header_numbers(path, batch, images)
    if shifted:
        notes.append(f"{path}: batch numbers of stills are one above those of their headers, which are used")
    angle = file.column("ROT") if file.has("ROT") else None
    if not images:
        images, note = images_of_rows(file, batch, angle)
        notes.append(f"{path}: {note}")
    groups = sweeps(images)
    rows = _rows(path, file, names, batch, groups, known)
    experiments, columns = _data_sets(path, file, groups, rows)
    return Reading(path, tuple(experiments), columns, (*notes, *rows.notes, *notes_on_sweeps(path, groups)))


# Columns ----------------------------------------------------------------------------------------------------


def _names(path: str, file: MtzFile) -> dict[str, str]:
    """Labels of the columns for intensity and sd, ``I`` and ``SIGI``, perhaps ``IPR`` and ``SIGIPR``, and ``BATCH``."""
    labels = [column.label for column in file.columns]
    kinds = {column.label: column.kind for column in file.columns}
    if labels[:3] != ["H", "K", "L"] and not all(name in labels for name in "HKL"):
        raise InputError(f"{path}: there are no columns H, K and L")
    batch = next((label for label in labels if kinds[label] == "B" or label == "BATCH"), None)
    intensities = [label for label in labels if kinds[label] == "J" and not label.startswith("IHALF")]
    if any(kind in "KG" for kind in kinds.values()) or (
        batch is None and not file.has("M/ISYM") and not _repeats(file)
    ):
        raise InputError(
            f"{path}: this file is merged: one value per reflection; scale needs the unmerged observations"
        )
    if not intensities:
        amplitudes = [label for label in labels if kinds[label] == "F"]
        what = f"amplitudes ({amplitudes[0]}) instead of intensities" if amplitudes else "no column of intensities"
        raise InputError(f"{path}: {what}; scale needs I and SIGI of unmerged observations")
    names = {"BATCH": batch} if batch else {}
    main = (
        "I" if "I" in intensities else next(label for label in intensities if label != "IPR" or len(intensities) == 1)
    )
    names["I"], names["SIGI"] = main, _sigma(path, labels, kinds, main)
    if "IPR" in intensities and main != "IPR":
        names["IPR"], names["SIGIPR"] = "IPR", _sigma(path, labels, kinds, "IPR")
    return names


def _repeats(file: MtzFile) -> bool:
    """Whether an index occurs more than once."""
    hkl = np.array([file.column(name) for name in "HKL"], np.float64).T
    return len(np.unique(hkl, axis=0)) < len(hkl)


def _sigma(path: str, labels: Sequence[str], kinds: dict[str, str], intensity: str) -> str:
    """The standard deviation that belongs to a column."""
    for label in labels:
        if label.upper() == f"SIG{intensity.upper()}":
            return label
    after = labels[labels.index(intensity) + 1 :]
    if after and kinds[after[0]] == "Q":
        return after[0]
    raise InputError(f"{path}: no standard deviations for the column {intensity}; SIG{intensity} is missing")


def _batches(path: str, file: MtzFile, names: dict[str, str], images: Sequence[Image]) -> Array:
    """Batch number of each row, int64, (n,)."""
    if "BATCH" not in names:
        if images:
            raise InputError(f"{path}: {len(images)} batch headers, but no column BATCH to tell batches apart")
        return np.ones(len(file.values), np.int64)
    return whole_numbers(path, names["BATCH"], file.column(names["BATCH"]))


# Rows -------------------------------------------------------------------------------------------------------

_TAKEN = ("FRACTIONCALC", "XDET", "YDET", "ROT", "LP", "QE")
_POSITIONS = (("XDET", "YDET"), ("xobs", "yobs"), ("xcal", "ycal"))


def _rows(
    path: str, file: MtzFile, names: dict[str, str], batch: Array, groups: Sequence[Sequence[Image]], known: Known
) -> _Rows:
    """The rows with indices as measured; partials are summed, and scales of another program are undone or kept."""
    hkl, isym, is_part = _measured_indices(path, file)
    values = {key: file.column(label) for key, label in names.items() if key != "BATCH"}
    values |= {name: file.column(name) for name in _TAKEN if file.has(name)}
    if not ("XDET" in values and "YDET" in values):
        values.pop("XDET", None)
    for x, y in _POSITIONS:
        if "XDET" not in values and file.has(x) and file.has(y):
            values["XDET"], values["YDET"] = file.column(x), file.column(y)
    notes = []
    if file.has("SCALEUSED"):
        scale = file.column("SCALEUSED")
        scale[~(scale > 0)] = np.nan
        if known.keep_scales:
            # what the earlier program divided by is one more correction: counts follow from both
            values["LP"] = values.get("LP", np.ones(len(hkl))) / scale
        else:
            for name in ("I", "SIGI"):
                values[name] = values[name] * scale
        what = "kept: new scales multiply them" if known.keep_scales else "undone"
        notes.append(f"{path}: the scales of an earlier program (SCALEUSED) are {what}; its errors stay")
    for key in ("SIGI", "SIGIPR"):
        if key in values:
            values[key] = np.where(values[key] > 0, values[key] ** 2, np.nan)
    rejection = np.full(len(hkl), Fate.SCALED, np.int32)
    if file.has("FLAG"):
        flag = file.column("FLAG")
        packed = file.column("BGPKRATIOS") if file.has("BGPKRATIOS") else None
        rejection[rejected_by_flag(flag, packed, known.kept_flags)] = Fate.FLAGGED
        if text := counted(flag):
            notes.append(f"{path}: rows flagged by the integration program: {text}")
    if not is_part.any():
        return _Rows(hkl, batch, values, rejection, tuple(notes))
    if "FRACTIONCALC" not in values:
        raise InputError(f"{path}: parts of reflections without FRACTIONCALC, the fraction that each is of the whole")
    return _summed(path, (hkl, isym, is_part), batch, values, rejection, groups, notes)


def _measured_indices(path: str, file: MtzFile) -> tuple[Array, Array, Array]:
    """Indices as measured, int64, (n, 3), isym, (n,), and whether a row is a part, (n,)."""
    hkl = np.stack([whole_numbers(path, name, file.column(name), 1 << 20) for name in "HKL"], axis=1)
    if not file.has("M/ISYM"):
        return hkl, np.ones(len(hkl), np.int64), np.zeros(len(hkl), np.bool_)
    code = whole_numbers(path, "M/ISYM", file.column("M/ISYM"))
    isym, part = code % _PART, code // _PART > 0
    turns = _operators(path, file)
    for number in np.unique(isym).tolist():
        if not 1 <= number <= 2 * len(turns):
            raise InputError(
                f"{path}: M/ISYM names symmetry operation {(number + 1) // 2}, but the file has {len(turns)}; "
                "it is damaged"
            )
        turn = turns[(number - 1) // 2] * (1 if number % 2 else -1)
        if not np.array_equal(turn, np.eye(3)):
            moved = np.flatnonzero(isym == number)
            hkl[moved] = hkl[moved] @ turn
    return hkl, isym, part


def _operators(path: str, file: MtzFile) -> list[Array]:
    """The inverse of R for each operator; it transforms an index of the file, as a row, to the measured index."""
    try:
        turns = [rotation_of(text) for text in file.operators or ("x,y,z",)]
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return [np.rint(np.linalg.inv(turn)).astype(np.int64) for turn in turns]


def _summed(
    path: str,
    measured: tuple[Array, Array, Array],
    batch: Array,
    values: dict[str, Array],
    rejection: Array,
    groups: Sequence[Sequence[Image]],
    notes: list[str],
) -> _Rows:
    """The rows after partials have been summed; a reflection whose parts are not complete is marked.

    ``measured``: as from ``_measured_indices``.
    """
    hkl, isym, is_part = measured
    low = hkl.min(axis=0)
    size = hkl.max(axis=0) - low + 1
    key = ((hkl[:, 0] - low[0]) * size[1] + hkl[:, 1] - low[1]) * size[2] + hkl[:, 2] - low[2]
    width = abs(groups[0][0].width)
    parts = find_parts(key * _PART + isym, batch, is_part, values["FRACTIONCALC"], values.get("ROT"), width)
    result = {name: column[parts.largest] for name, column in values.items()}
    for name in ("I", "SIGI", "IPR", "SIGIPR", "FRACTIONCALC"):
        if name in values:
            result[name] = parts.sum(values[name])
    fraction = result["FRACTIONCALC"]
    several = is_part[parts.largest]
    # from here on intensities are those of whole reflections
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        whole = np.where(several & (fraction > 0) & ~_complete(fraction), 1.0 / fraction, 1.0)
        for name, power in (("I", 1), ("SIGI", 2), ("IPR", 1), ("SIGIPR", 2)):
            if name in result:
                result[name] = result[name] * whole**power
    rejected = parts.maximum(rejection)
    rejected[several & ~_complete(fraction) & (rejected == Fate.SCALED)] = Fate.INCOMPLETE
    n_parts, n_incomplete = int(np.count_nonzero(is_part)), int(np.count_nonzero(rejected == Fate.INCOMPLETE))
    notes.append(
        f"{path}: {n_parts} parts put together into {int(np.count_nonzero(several))} reflections, of which "
        f"{n_incomplete} are not complete (sum of FRACTIONCALC outside {WHOLE[0]:g}-{WHOLE[1]:g})"
    )
    return _Rows(hkl[parts.largest], batch[parts.largest], result, rejected, tuple(notes))


def _complete(fraction: Array) -> Array:
    result: Array = (fraction >= WHOLE[0]) & (fraction <= WHOLE[1])
    return result


# Data sets --------------------------------------------------------------------------------------------------


def _data_sets(
    path: str, file: MtzFile, groups: Sequence[Sequence[Image]], rows: _Rows
) -> tuple[list[NewExperiment], dict[str, tuple[str, Array]]]:
    """One experiment for each sweep or still that has reflections, and the columns of all."""
    firsts = np.array([group[0].batch for group in groups])
    number = np.searchsorted(firsts, rows.batch, side="right") - 1
    # few data sets are sorted by counting
    few = len(groups) < np.iinfo(np.int16).max
    order = np.argsort(number.astype(np.int16) if few else number, kind="stable")
    limits = np.concatenate(([0], np.cumsum(np.bincount(number, minlength=len(groups)))))
    hall = space_group(path, file.space_group, file.operators)
    n = len(rows.hkl)
    d, s1, xyz, ids = np.zeros(n), np.zeros((n, 3)), np.zeros((n, 3)), np.zeros(n, np.int32)
    box = np.zeros((n, 6), np.int32)
    if "XDET" in rows.values:
        xyz[:, 0], xyz[:, 1] = on_detector(rows.values["XDET"]), on_detector(rows.values["YDET"])
    experiments: list[NewExperiment] = []
    for k, group in enumerate(groups):
        members = order[limits[k] : limits[k + 1]]
        if not len(members):
            continue
        chosen: Array | slice = slice(None) if len(members) == n else members
        cell = cell_of(path, file, group)
        hkl, batch = rows.hkl[chosen], rows.batch[chosen]
        d[chosen] = d_spacings(cell, hkl)
        experiment = experiment_of(file, group, cell, hall, name_of_sweep(file, group, experiments))
        if experiment.axis is None:
            xyz[chosen, 2] = (experiment.images or (1, 1))[0] - 0.5
        else:
            angle = rows.values["ROT"][chosen] if "ROT" in rows.values else None
            middle = group[0].start + (batch - group[0].batch + 0.5) * group[0].width
            angle = (
                middle if angle is None else unwrapped_angles(np.where(np.isfinite(angle), angle, middle), batch, group)
            )
            within = (angle - group[0].start) / group[0].width - (batch - group[0].batch)
            xyz[chosen, 2] = batch - 1 + np.clip(within, _INSIDE, 1 - _INSIDE)
            if group[0].is_oriented and experiment.wavelength > 0:
                s1[chosen] = diffracted_beams(hkl, angle, batch, group, experiment.wavelength)
                experiment = with_panel(experiment, group, s1[chosen], xyz[chosen, :2], "XDET" in rows.values)
        box[chosen] = rocking_boxes(xyz[chosen], s1[chosen], experiment)
        ids[chosen] = len(experiments)
        experiments.append(experiment)
    one = np.ones(n)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = rows.values.get("LP", one) / rows.values.get("QE", one)
    partiality = np.nan_to_num(rows.values.get("FRACTIONCALC", one), nan=1.0)
    partiality = np.where(rows.rejection == Fate.INCOMPLETE, partiality, np.minimum(partiality, 1.0))
    summed = rows.values["I"], rows.values["SIGI"]
    profile = (rows.values["IPR"], rows.values["SIGIPR"]) if "IPR" in rows.values else None
    rows_read = MeasuredRows(
        number=ids,
        hkl=rows.hkl,
        d=d,
        xyz=xyz,
        s1=s1,
        factor=factor,
        partiality=partiality,
        rejection=rows.rejection,
    )
    columns = reading_columns(rows_read, summed=summed, profile=profile)
    columns["bbox"] = "int6", box
    return experiments, columns
