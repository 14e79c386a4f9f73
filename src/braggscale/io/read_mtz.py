"""Unmerged MTZ files of MOSFLM, POINTLESS, AIMLESS, DIALS, gemmi and reciprocalspaceship as data sets.

Columns H K L [M/ISYM] BATCH I SIGI [IPR SIGIPR] [FRACTIONCALC] [XDET YDET] [ROT] [LP] [QE] [SCALEUSED] [FLAG].
Intensities are those of whole reflections with c = LP/QE applied, except where M/ISYM marks them as parts
(M/ISYM = 256 M + isym). isym = 2 n - 1 says that the file's h is h' R of the measured h' with the n-th operator, 2 n
that it is -h' R. I is the summation intensity and IPR the profile-fitted one where there are both.

The number of a batch is the number of an image here, so that both mean the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.flags import Fate
from braggscale.data.geometry import UnitCell, d_spacings
from braggscale.data.space_groups import rotation_of
from braggscale.errors import InputError
from braggscale.io.detector_fit import flat_panel
from braggscale.io.mtz_file import MtzFile, read_mtz_file
from braggscale.io.mtz_geometry import (
    Image,
    diffracted_beams,
    images_of,
    orientations_at_boundaries,
    sweeps,
    unwrapped_angles,
)
from braggscale.io.new_experiments import NewExperiment, as_cell, standard_axes
from braggscale.io.partials import find_parts
from braggscale.io.reading import (
    Known,
    Reading,
    reading_columns,
    rocking_boxes,
    some,
    space_group,
    whole_numbers,
)
from braggscale.numerics.array_types import Array

# The sum of its calculated fractions that a reflection of several parts must have (AIMLESS' default).
WHOLE = (0.95, 1.05)
_NOTHING = Known()
_PART = 256  # M/ISYM: added to isym for a part of a reflection
_INSIDE = 1e-6  # of an image: how far within its image a position is kept
_FULL_WIDTH = 2.355  # full width at half maximum of a Gaussian, in sd: mosaicity of the headers is the former
_MOST_PIXELS = 1e6
_MOST_MOSAIC = 10.0  # degrees
_OTHER_CELL = 1e-4  # relative


@dataclass(frozen=True, slots=True)
class _Rows:
    """The reflections of the file, partials put together.  All of n rows.

    ``values``: columns by name, double precision, as they are after summing.
    """

    hkl: Array
    batch: Array
    values: dict[str, Array]
    rejection: Array
    notes: tuple[str, ...]


def read(path: str, data: memoryview, known: Known = _NOTHING) -> Reading:
    """The data sets of an unmerged MTZ file.

    Raises InputError for a merged file, one with amplitudes only, one that is cut short or damaged, and for rows that
    the batch headers do not know.
    """
    file = read_mtz_file(path, data)
    names = _names(path, file)
    images = images_of(file.batches)
    if not len(file.values):
        raise InputError(f"{path}: the file has no reflections")
    batch = _batches(path, file, names, images)
    notes: list[str] = []
    batch, shifted = _header_numbers(path, batch, images)
    if shifted:
        notes.append(f"{path}: batch numbers of stills are one above those of their headers; the headers' are used")
    angle = file.column("ROT") if file.has("ROT") else None
    if not images:
        images, note = _images_of_rows(file, batch, angle)
        notes.append(f"{path}: {note}")
    groups = sweeps(images)
    rows = _rows(path, file, names, batch, groups)
    experiments, columns = _data_sets(path, file, groups, rows)
    return Reading(path, tuple(experiments), columns, (*notes, *rows.notes, *_said(path, groups)))


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
    found = {"BATCH": batch} if batch else {}
    main = (
        "I" if "I" in intensities else next(label for label in intensities if label != "IPR" or len(intensities) == 1)
    )
    found["I"], found["SIGI"] = main, _sigma(path, labels, kinds, main)
    if "IPR" in intensities and main != "IPR":
        found["IPR"], found["SIGIPR"] = "IPR", _sigma(path, labels, kinds, "IPR")
    return found


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


def _header_numbers(path: str, batch: Array, images: Sequence[Image]) -> tuple[Array, bool]:
    """Batch numbers that all have headers; DIALS counts those of stills one further than their headers."""
    if not images:
        return batch, False
    known = {image.batch for image in images}
    numbers = np.unique(batch).tolist()
    strange = [n for n in numbers if n not in known]
    if not strange:
        return batch, False
    if all(image.width == 0 for image in images) and all(n - 1 in known for n in numbers):
        return batch - 1, True
    raise InputError(
        f"{path}: rows of batch {some(strange)}, but the batch headers go from {min(known)} to {max(known)} without; "
        "headers and rows do not belong together"
    )


def _images_of_rows(file: MtzFile, batch: Array, angle: Array | None) -> tuple[list[Image], str]:
    """Images for a file without batch headers: rotation as far as ROT tells, else stills; and what to say."""
    numbers = np.unique(batch)
    nothing, matrix = np.zeros(3), np.zeros((3, 3))
    wavelength = max((d.wavelength for d in file.data_sets), default=0.0)

    def image(number: int, start: float, end: float) -> Image:
        limits = (0.0, 0.0, 0.0, 0.0)
        return Image(number, 0, start, end, nothing, nothing, matrix, file.cell, wavelength, 0.0, limits, 0.0)

    if angle is None or not np.isfinite(angle).any() or len(numbers) < 2:
        what = "neither batch headers nor rotation angles: each batch is a still"
        return [image(int(n), 0.0, 0.0) for n in numbers], what
    order = np.argsort(batch, kind="stable")
    parts = np.split(angle[order], np.flatnonzero(np.diff(batch[order])) + 1)
    middle = np.array([np.nanmedian(part) for part in parts])
    steps = np.diff(middle) / np.diff(numbers)
    width = float(np.median(steps))
    if not abs(width) > 1e-6:
        what = "no batch headers, and rotation angles that do not follow the batches: each batch is a still"
        return [image(int(n), 0.0, 0.0) for n in numbers], what
    # a run of batches whose angles follow the numbers; where it begins from the median over all of it
    new = np.concatenate(([True], np.abs(steps - width) * np.diff(numbers) > 0.5 * abs(width)))
    images = []
    for run in np.split(np.arange(len(numbers)), np.flatnonzero(new)[1:]):
        zero = float(np.median(middle[run] - (numbers[run] + 0.5) * width))
        images += [image(int(n), zero + n * width, zero + (n + 1) * width) for n in numbers[run]]
    return images, "no batch headers: rotation angles are known from the rows, directions of the beams are not"


# Rows -------------------------------------------------------------------------------------------------------

_TAKEN = ("FRACTIONCALC", "XDET", "YDET", "ROT", "LP", "QE")
_POSITIONS = (("XDET", "YDET"), ("xobs", "yobs"), ("xcal", "ycal"))


def _rows(path: str, file: MtzFile, names: dict[str, str], batch: Array, groups: Sequence[Sequence[Image]]) -> _Rows:
    """Indices as measured, intensities and the rest; partials summed, scales of another program undone."""
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
        for name in ("I", "SIGI"):
            values[name] = values[name] * scale
        notes.append(f"{path}: the scales of an earlier program (SCALEUSED) are undone; its errors stay")
    for key in ("SIGI", "SIGIPR"):
        if key in values:
            values[key] = np.where(values[key] > 0, values[key] ** 2, np.nan)
    rejection = np.full(len(hkl), Fate.SCALED, np.int32)
    if file.has("FLAG"):
        flag = np.nan_to_num(file.column("FLAG"))
        rejection[flag != 0] = Fate.FLAGGED
    if not is_part.any():
        return _Rows(hkl, batch, values, rejection, tuple(notes))
    if "FRACTIONCALC" not in values:
        raise InputError(f"{path}: parts of reflections without FRACTIONCALC, the fraction that each is of the whole")
    return _summed(path, hkl, isym, batch, is_part, values, rejection, groups, notes)


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
            mine = np.flatnonzero(isym == number)
            hkl[mine] = hkl[mine] @ turn
    return hkl, isym, part


def _operators(path: str, file: MtzFile) -> list[Array]:
    """Of each operator the inverse of R, whole numbers, that takes an index of the file, as a row, to the measured."""
    try:
        turns = [rotation_of(text) for text in file.operators or ("x,y,z",)]
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return [np.rint(np.linalg.inv(turn)).astype(np.int64) for turn in turns]


def _summed(
    path: str,
    hkl: Array,
    isym: Array,
    batch: Array,
    is_part: Array,
    values: dict[str, Array],
    rejection: Array,
    groups: Sequence[Sequence[Image]],
    notes: list[str],
) -> _Rows:
    """The rows after partials are put together; a whole reflection that is not complete is marked."""
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
    # intensities are to be those of whole reflections
    with np.errstate(divide="ignore", invalid="ignore"):
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
    order = np.argsort(number, kind="stable")
    limits = np.searchsorted(number[order], np.arange(len(groups) + 1))
    hall = space_group(path, file.space_group, file.operators)
    n = len(rows.hkl)
    d, s1, xyz, ids = np.zeros(n), np.zeros((n, 3)), np.zeros((n, 3)), np.zeros(n, np.int32)
    box = np.zeros((n, 6), np.int32)
    if "XDET" in rows.values:
        xyz[:, 0], xyz[:, 1] = np.nan_to_num(rows.values["XDET"]), np.nan_to_num(rows.values["YDET"])
    experiments: list[NewExperiment] = []
    for k, group in enumerate(groups):
        mine = order[limits[k] : limits[k + 1]]
        if not len(mine):
            continue
        chosen: Array | slice = slice(None) if len(mine) == n else mine
        cell = _cell(path, file, group)
        hkl, batch = rows.hkl[chosen], rows.batch[chosen]
        d[chosen] = d_spacings(cell, hkl)
        experiment = _experiment(file, group, cell, hall, _call(file, group, experiments))
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
                experiment = _with_panel(experiment, group, s1[chosen], xyz[chosen, :2], "XDET" in rows.values)
        box[chosen] = rocking_boxes(xyz[chosen], s1[chosen], experiment)
        ids[chosen] = len(experiments)
        experiments.append(experiment)
    one = np.ones(n)
    factor = rows.values.get("LP", one) / rows.values.get("QE", one)
    partiality = np.nan_to_num(rows.values.get("FRACTIONCALC", one), nan=1.0)
    partiality = np.where(rows.rejection == Fate.INCOMPLETE, partiality, np.minimum(partiality, 1.0))
    summed = rows.values["I"], rows.values["SIGI"]
    profile = (rows.values["IPR"], rows.values["SIGIPR"]) if "IPR" in rows.values else None
    columns = reading_columns(
        number=ids, hkl=rows.hkl, d=d, xyz=xyz, s1=s1, factor=factor, partiality=partiality,
        rejection=rows.rejection, summed=summed, profile=profile,
    )  # fmt: skip
    columns["bbox"] = "int6", box
    return experiments, columns


def _call(file: MtzFile, group: Sequence[Image], before: Sequence[NewExperiment]) -> str:
    """The identifier: the batch number of a still, the place of a sweep."""
    return str(group[0].batch) if group[0].width == 0 and len(group) == 1 else str(len(before))


def _cell(path: str, file: MtzFile, group: Sequence[Image]) -> UnitCell:
    """The cell of the data set, else of the batch, else of the file."""
    own = next((d.cell for d in file.data_sets if d.number == group[0].data_set), ())
    for numbers in (own, group[0].cell, file.cell):
        if (cell := as_cell(numbers)) is not None:
            return cell
    raise InputError(f"{path}: the file has no unit cell; give it as unit_cell=")


def _experiment(file: MtzFile, group: Sequence[Image], cell: UnitCell, hall: str, identifier: str) -> NewExperiment:
    """What the headers of a sweep say."""
    first = group[0]
    wavelength = first.wavelength
    if not wavelength > 0:
        wavelength = next((d.wavelength for d in file.data_sets if d.number == first.data_set), 0.0)
    if not wavelength > 0:
        wavelength = max((d.wavelength for d in file.data_sets), default=0.0)
    numbers = first.batch, group[-1].batch
    orientations = orientations_at_boundaries(group, numbers) if first.is_oriented else None
    real_space = standard_axes(cell)
    if first.is_oriented:
        real_space = _axes(group[len(group) // 2], cell)
    rotates = first.width != 0
    present = {image.batch for image in group}
    return NewExperiment(
        identifier=identifier,
        wavelength=max(wavelength, 0.0),
        to_source=first.to_source if first.to_source.any() else np.array([0.0, 0.0, 1.0]),
        cell=cell,
        hall=hall,
        real_space=real_space,
        axis=(first.axis if first.axis.any() else np.array([1.0, 0.0, 0.0])) if rotates else None,
        images=numbers,
        oscillation=(first.start, first.width) if rotates else (0.0, 0.0),
        orientations=orientations if rotates else None,
        sigma_m=first.mosaicity / _FULL_WIDTH if rotates and 0 < first.mosaicity < _MOST_MOSAIC else 0.0,
        images_in_use=_runs(present, numbers) if rotates and len(present) < numbers[1] - numbers[0] + 1 else (),
    )


def _runs(present: set[int], numbers: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Runs of batches that are there."""
    sorted_numbers = np.array(sorted(present))
    pieces = np.split(sorted_numbers, np.flatnonzero(np.diff(sorted_numbers) > 1) + 1)
    return tuple((int(piece[0]), int(piece[-1])) for piece in pieces)


def _axes(image: Image, cell: UnitCell) -> Array:
    """Rows a, b, c in the orientation of the image.

    The orientation is in single precision; where cell and header agree, the lengths and angles are the cell's.
    """
    axes = np.linalg.inv(image.orientation)
    if np.allclose(image.cell, cell, rtol=_OTHER_CELL):
        plain = standard_axes(cell)
        u, _, v = np.linalg.svd(np.linalg.inv(plain) @ axes)
        axes = plain @ (u @ v)
    return np.asarray(axes)


def _with_panel(experiment: NewExperiment, group: Sequence[Image], s1: Array, xy: Array, known: bool) -> NewExperiment:
    """The experiment with its detector, where the positions are known and lie on a plane."""
    x0, x1, y0, y1 = group[0].detector
    if not known:
        return experiment
    # the header's limits, and never less than what the reflections reach
    reach = np.ceil(np.minimum(xy.max(axis=0), _MOST_PIXELS)).astype(int) + 1
    size = (
        max(int(min(max(x1, x0), _MOST_PIXELS)), int(reach[0])),
        max(int(min(max(y1, y0), _MOST_PIXELS)), int(reach[1])),
    )
    panel = flat_panel(s1, xy, group[0].distance, size)
    return experiment if panel is None else replace(experiment, panels=(panel,))


def _said(path: str, groups: Sequence[Sequence[Image]]) -> list[str]:
    """What these data cannot give, in one line each."""
    notes = []
    if any(group[0].width != 0 and not group[0].is_oriented for group in groups) and any(
        group[0].axis.any() for group in groups
    ):
        notes.append(f"{path}: batch headers without orientation: directions of the beams are not known")
    return notes
