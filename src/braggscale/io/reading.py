"""What a reader of another program's file returns, and what readers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from braggscale.data.flags import Fate, Flag
from braggscale.data.geometry import UnitCell, unit
from braggscale.data.space_groups import hall_symbol, hall_symbol_of
from braggscale.errors import InputError
from braggscale.io.mtz_flags import KeptFlags
from braggscale.io.new_experiments import NewExperiment
from braggscale.numerics.array_types import Array
from braggscale.wording import some_of

_MOST_HALF = 100.0  # images; reflections near the rotation axis have extremely wide rocking curves
_FARTHEST = 1e9  # pixels or images


@dataclass(frozen=True, slots=True)
class Known:
    """Facts from the user that files may not contain; None if they are not given.

    ``space_group``: name or number.  ``unit_cell``: Angstrom and degrees.  ``polarisation``: fraction as XDS defines
    it, 0.5 for an unpolarised beam.  ``kept_flags``: flags of MOSFLM that do not reject.  ``keep_scales``: whether the
    scales of an earlier program (SCALEUSED) stay.
    """

    space_group: str | None = None
    unit_cell: UnitCell | None = None
    polarisation: float | None = None
    kept_flags: KeptFlags = KeptFlags()
    keep_scales: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """One file of reflections.

    ``experiments``: one for each data set.  ``columns``: type name and values, (n,) or (n, 3); ``id`` is the number
    of the experiment.  ``notes``: sentences for the log, one line each.
    """

    path: str
    experiments: tuple[NewExperiment, ...]
    columns: Mapping[str, tuple[str, Array]]
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class MeasuredRows:
    """The data of each reflection beside its intensity.

    ``number``: data set, (n,).  ``hkl``: as measured, (n, 3).  ``d``: Angstrom, (n,).  ``xyz``: pixels and image number
    as array index, (n, 3).  ``s1``: 1/Angstrom, zero where it is not known, (n, 3).
    ``factor``: c, by which the intensities were multiplied, (n,).  ``partiality``: (n,). ``rejection``: fate of a
    row that the other program has rejected, 0 for none, (n,).
    """

    number: Array
    hkl: Array
    d: Array
    xyz: Array
    s1: Array
    factor: Array
    partiality: Array
    rejection: Array


def reading_columns(
    rows: MeasuredRows,
    *,
    summed: tuple[Array, Array] | None = None,
    profile: tuple[Array, Array] | None = None,
) -> dict[str, tuple[str, Array]]:
    """The columns of a reflection table, type and values, (n,) or (n, 3), by name.

    ``summed``, ``profile``: I and its variance, of whole reflections, c included, (n,) each. They are stored in the
    form of reflection tables: recorded counts I p/c and I/c. A variance that is NaN stands for a sigma that is 0 or
    missing; a row without any complete pair of both gets the fate NO_SIGMA, or NO_INTENSITY if no intensity is known.
    """
    n = len(rows.hkl)
    one = np.ones(n)
    columns: dict[str, tuple[str, Array]] = {
        "id": ("int", rows.number.astype(np.int32)),
        "miller_index": ("cctbx::miller::index<>", np.ascontiguousarray(rows.hkl, np.int32)),
        "d": ("double", rows.d),
        "xyzobs.px.value": ("vec3<double>", rows.xyz),
        "xyzcal.px": ("vec3<double>", rows.xyz),
        "s1": ("vec3<double>", rows.s1),
        "lp": ("double", rows.factor),
        "qe": ("double", one),
        "partiality": ("double", rows.partiality),
        "panel": ("std::size_t", np.zeros(n, np.uint64)),
    }
    complete, known = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    flags = np.full(n, int(Flag.PREDICTED), np.uint64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for kind, flag, values, share in (
            ("sum", Flag.INTEGRATED_SUM, summed, rows.partiality),
            ("prf", Flag.INTEGRATED_PRF, profile, one),
        ):
            if values is None:
                continue
            intensity, variance = values
            raw = share / rows.factor
            there = np.isfinite(intensity) & np.isfinite(variance)
            complete |= there
            known |= np.isfinite(intensity)
            flags |= np.where(there, np.uint64(flag), np.uint64(0))
            columns[f"intensity.{kind}.value"] = ("double", np.where(there, intensity * raw, 0.0))
            columns[f"intensity.{kind}.variance"] = ("double", np.where(there, variance * raw * raw, -1.0))
    lacking = np.where(known, Fate.NO_SIGMA, Fate.NO_INTENSITY)
    columns["rejection"] = ("int", np.where(complete, rows.rejection, lacking).astype(np.int32))
    columns["flags"] = ("std::size_t", flags)
    return columns


def on_detector(values: Array) -> Array:
    """Positions that are finite, (n,): 0 where they are not known, absurd ones at a far bound.

    ``values``: pixels or images, (n,).
    """
    known = np.nan_to_num(np.asarray(values, np.float64), posinf=_FARTHEST, neginf=-_FARTHEST)
    return np.asarray(np.clip(known, -_FARTHEST, _FARTHEST))


def rocking_boxes(xyz: Array, s1: Array, experiment: NewExperiment) -> Array:
    """Boxes of reflections as in the column ``bbox``, (n, 6): three sd of the rocking curve to either side.

    The rocking curve of a reflection has the sd sigma_m/|zeta|, zeta = (s1 x s0).e/|s1 x s0| (Kabsch, Acta Cryst.
    D66 (2010) 133). On the detector the box has a nominal size of five pixels. Zeros if rocking curves are not
    known, or images have no width.
    ``xyz``, ``s1``: (n, 3).
    """
    from braggscale.numerics.compiled import beams  # only files of other programs need these kernels

    width = abs(experiment.oscillation[1])
    if experiment.axis is None or not experiment.sigma_m > 0 or not width > 0 or not s1.any():
        return np.zeros((len(xyz), 6), np.int32)
    s0 = unit(-experiment.to_source)
    # (s1 x s0).e = s1.(s0 x e)
    across = np.cross(s0, unit(experiment.axis))
    box = np.empty((len(xyz), 6), np.int32)
    beams.boxes(
        np.ascontiguousarray(xyz, np.float64), np.ascontiguousarray(s1, np.float64), s0, across,
        3.0 * experiment.sigma_m / width, _MOST_HALF, _FARTHEST, box,
    )  # fmt: skip
    return box


def sweep_of_unknown_width(experiment: NewExperiment, images: tuple[int, int]) -> NewExperiment:
    """The experiment as a sweep with assumed image widths: one degree each, or 180 degrees divided by their number."""
    n = images[1] - images[0] + 1
    return replace(experiment, axis=np.array([1.0, 0.0, 0.0]), images=images, oscillation=(0.0, 180.0 / max(n, 180)))


def rejections_of_none(n: int) -> Array:
    """The column for a file that rejects nothing, (n,)."""
    return np.zeros(n, np.int32)


def whole_numbers(path: str, name: str, values: Array, largest: int = 1 << 24) -> Array:
    """The whole numbers in ``values``, (n,), as int64, (n,).

    Raises InputError if one is not whole, or larger than ``largest``.
    """
    with np.errstate(invalid="ignore"):
        rounded = np.rint(values)
        good = (np.abs(values - rounded) < 0.01) & (np.abs(rounded) <= largest)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise InputError(f"{path}: {name} is {values[row]:g} in row {row + 1}, not a whole number; the file is damaged")
    return rounded.astype(np.int64)


def space_group(path: str, name: str, operators: Sequence[str] = ()) -> str:
    """The Hall symbol of a space group given by its operators (x,y,z), else by its name or number.

    Raises InputError for one that no table lists.
    """
    hall = hall_symbol_of(operators) if operators else None
    hall = hall_symbol(name) if hall is None else hall
    if hall is None:
        raise InputError(
            f"{path}: the space group {name.strip() or 'of the file'} is not known; give it as space_group="
        )
    return hall


def some_numbers(numbers: Sequence[int]) -> str:
    """The first few of a list for a message."""
    return some_of([str(n) for n in numbers], 4)
