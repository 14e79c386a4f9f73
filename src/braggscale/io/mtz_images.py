"""From the batches of an unmerged MTZ file to images, sweeps and their geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.errors import InputError
from braggscale.io.detector_fit import believed, flat_panel
from braggscale.io.mtz_file import MtzFile
from braggscale.io.mtz_geometry import (
    Image,
    orientations_at_boundaries,
)
from braggscale.io.new_experiments import NewExperiment, as_cell, standard_axes
from braggscale.io.reading import (
    some_numbers,
)
from braggscale.numerics.array_types import Array

_FULL_WIDTH = 2.355  # full width at half maximum of a Gaussian, in sd: mosaicity of the headers is the former
_MOST_PIXELS = 1e6
_MOST_MOSAIC = 10.0  # degrees
_MOST_ANGLE = 1e6  # degrees
_OTHER_CELL = 1e-4  # relative


def header_numbers(path: str, batch: Array, images: Sequence[Image]) -> tuple[Array, bool]:
    """Batch numbers that all have headers, (n,), and whether 1 was subtracted so that they agree with the headers.

    In files of DIALS the batch numbers of stills are larger by one than those of their headers.  ``batch``: of each
    row, (n,).
    Raises InputError if rows are of batches without headers.
    """
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
        f"{path}: rows of batch {some_numbers(strange)}, but no batch headers of these numbers (they go from "
        f"{min(known)} to {max(known)}); headers and rows do not belong together"
    )


def images_of_rows(file: MtzFile, batch: Array, angle: Array | None) -> tuple[list[Image], str]:
    """Images for a file without batch headers, rotated if ROT follows the batches, else stills; and a note for the log.

    ``batch``: of each row, ``angle``: ROT of each row, degrees, None without such a column, (n,) both.
    """
    numbers = np.unique(batch)
    nothing, matrix = np.zeros(3), np.zeros((3, 3))
    wavelength = max((d.wavelength for d in file.data_sets), default=0.0)

    def image(number: int, start: float, end: float) -> Image:
        """An image of which only the number and the angles are known."""
        limits = (0.0, 0.0, 0.0, 0.0)
        return Image(number, 0, start, end, nothing, nothing, matrix, file.cell, wavelength, 0.0, limits, 0.0)

    angle = None if angle is None else np.where(np.abs(angle) <= _MOST_ANGLE, angle, np.nan)
    if angle is None or not np.isfinite(angle).any() or len(numbers) < 2:
        what = "neither batch headers nor rotation angles: each batch is a still"
        return [image(int(n), 0.0, 0.0) for n in numbers], what
    order = np.argsort(batch, kind="stable")
    parts = np.split(angle[order], np.flatnonzero(np.diff(batch[order])) + 1)
    middle = np.array([_median(part) for part in parts])
    known = np.isfinite(middle)
    # batches without a single angle lie between their neighbours
    middle = np.interp(numbers, numbers[known], middle[known])
    steps = np.diff(middle) / np.diff(numbers)
    width = float(np.median(steps))
    if not abs(width) > 1e-6:
        what = "no batch headers, and rotation angles that do not follow the batches: each batch is a still"
        return [image(int(n), 0.0, 0.0) for n in numbers], what
    # a run of batches whose angles follow the numbers; its first angle is the median of the values from all batches
    new = np.concatenate(([True], np.abs(steps - width) * np.diff(numbers) > 0.5 * abs(width)))
    images = []
    for run in np.split(np.arange(len(numbers)), np.flatnonzero(new)[1:]):
        zero = float(np.median(middle[run] - (numbers[run] + 0.5) * width))
        images += [image(int(n), zero + n * width, zero + (n + 1) * width) for n in numbers[run]]
    return images, "no batch headers: rotation angles are known from the rows, directions of the beams are not"


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def name_of_sweep(file: MtzFile, group: Sequence[Image], before: Sequence[NewExperiment]) -> str:
    """The identifier: the batch number of a still, the position of a sweep among the sweeps."""
    return str(group[0].batch) if group[0].width == 0 and len(group) == 1 else str(len(before))


def cell_of(path: str, file: MtzFile, group: Sequence[Image]) -> UnitCell:
    """The cell of the data set, else of the batch, else of the file.

    Raises InputError if none of them is a cell.
    """
    own = next((d.cell for d in file.data_sets if d.number == group[0].data_set), ())
    for numbers in (own, group[0].cell, file.cell):
        if (cell := as_cell(numbers)) is not None:
            return cell
    raise InputError(f"{path}: the file has no unit cell; give it as unit_cell=")


def experiment_of(file: MtzFile, group: Sequence[Image], cell: UnitCell, hall: str, identifier: str) -> NewExperiment:
    """The experiment that the headers of a sweep describe."""
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
    """Runs of consecutive batches that exist."""
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


def with_panel(experiment: NewExperiment, group: Sequence[Image], s1: Array, xy: Array, known: bool) -> NewExperiment:
    """The experiment with its detector, if the positions are known and lie on a plane.

    ``s1``: 1/Angstrom, (n, 3).  ``xy``: positions of the spots, pixels, (n, 2).  ``known``: whether the file has them.
    """
    x0, x1, y0, y1 = group[0].detector
    if not known:
        return experiment
    # the header's limits, and never less than what the reflections reach
    reach = np.ceil(np.clip(xy[believed(xy)].max(axis=0, initial=0.0), 0.0, _MOST_PIXELS)).astype(int) + 1
    size = (
        max(int(min(max(x1, x0), _MOST_PIXELS)), int(reach[0])),
        max(int(min(max(y1, y0), _MOST_PIXELS)), int(reach[1])),
    )
    panel = flat_panel(s1, xy, group[0].distance, size)
    return experiment if panel is None else replace(experiment, panels=(panel,))


def notes_on_sweeps(path: str, groups: Sequence[Sequence[Image]]) -> list[str]:
    """One line for each kind of information that these data do not contain."""
    notes = []
    if any(group[0].width != 0 and not group[0].is_oriented for group in groups) and any(
        group[0].axis.any() for group in groups
    ):
        notes.append(f"{path}: batch headers without orientation: directions of the beams are not known")
    return notes
