"""What a reader of another program's file returns, and what readers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from braggscale.errors import InputError
from braggscale.io.new_experiments import NewExperiment

Array = np.ndarray[Any, Any]

# What a row is, as far as the program before knows; numbers of braggscale's fates.
USABLE, SATURATED, MISFIT, FLAGGED, INCOMPLETE = 0, 15, 16, 17, 18


@dataclass(frozen=True, slots=True)
class Reading:
    """One file of reflections.

    ``experiments``: what is known of each data set.  ``columns``: type name and values, all of n rows; ``id`` counts
    the experiments.  ``notes``: what the log should tell, one line each.
    """

    path: str
    experiments: tuple[NewExperiment, ...]
    columns: Mapping[str, tuple[str, Array]]
    notes: tuple[str, ...] = field(default=())


def reading_columns(
    *,
    number: Array,
    hkl: Array,
    d: Array,
    xyz: Array,
    s1: Array,
    factor: Array,
    partiality: Array,
    rejection: Array,
    summed: tuple[Array, Array] | None = None,
    profile: tuple[Array, Array] | None = None,
) -> dict[str, tuple[str, Array]]:
    """The columns of a reflection table.

    ``number``: data set, (n,).  ``hkl``: as measured, (n, 3).  ``d``: Angstrom, (n,).  ``xyz``: pixels and image number
    as array index, (n, 3).  ``s1``: 1/Angstrom, zero where it is not known, (n, 3).
    ``factor``: c, what the intensities were multiplied by, (n,).  ``partiality``: (n,).
    ``rejection``: what the program before says, (n,).
    ``summed``, ``profile``: I and its variance, of whole reflections, c included, (n,) each. They are stored as
    tables have them: recorded counts I p/c and I/c.
    """
    n = len(hkl)
    one = np.ones(n)
    columns: dict[str, tuple[str, Array]] = {
        "id": ("int", number.astype(np.int32)),
        "miller_index": ("cctbx::miller::index<>", np.ascontiguousarray(hkl, np.int32)),
        "d": ("double", d),
        "xyzobs.px.value": ("vec3<double>", xyz),
        "xyzcal.px": ("vec3<double>", xyz),
        "s1": ("vec3<double>", s1),
        "lp": ("double", factor),
        "qe": ("double", one),
        "partiality": ("double", partiality),
        "panel": ("std::size_t", np.zeros(n, np.uint64)),
        "rejection": ("int", rejection.astype(np.int32)),
    }
    flags = np.ones(n, np.uint64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for kind, bit, values, share in (("sum", 8, summed, partiality), ("prf", 9, profile, one)):
            if values is None:
                continue
            intensity, variance = values
            raw = share / factor
            there = np.isfinite(intensity) & np.isfinite(variance)
            flags |= np.where(there, np.uint64(1 << bit), np.uint64(0))
            columns[f"intensity.{kind}.value"] = ("double", np.where(there, intensity * raw, 0.0))
            columns[f"intensity.{kind}.variance"] = ("double", np.where(there, variance * raw * raw, -1.0))
    columns["flags"] = ("std::size_t", flags)
    return columns


def d_spacings(cell: Sequence[float], hkl: Array) -> Array:
    """Resolution of each reflection, Angstrom, (n,); 0 for (0, 0, 0).  ``cell``: Angstrom and degrees."""
    a, b, c = cell[:3]
    ca, cb, cg = (0.0 if angle == 90 else float(np.cos(np.deg2rad(angle))) for angle in cell[3:])
    metric = np.array([[a * a, a * b * cg, a * c * cb], [a * b * cg, b * b, b * c * ca], [a * c * cb, b * c * ca, c * c]])
    g = np.linalg.inv(metric)
    h, k, l = (np.asarray(hkl[:, i], np.float64) for i in range(3))
    square = g[0, 0] * h * h + g[1, 1] * k * k + g[2, 2] * l * l
    square += 2 * (g[0, 1] * h * k + g[0, 2] * h * l + g[1, 2] * k * l)
    result: Array = np.divide(1.0, np.sqrt(np.maximum(square, 0.0)), out=np.zeros(len(h)), where=square > 0)
    return result


def whole_numbers(path: str, name: str, values: Array, largest: int = 1 << 24) -> Array:
    """A column of whole numbers, int64. Raises InputError if a number is none, or larger than single precision tells."""
    with np.errstate(invalid="ignore"):
        rounded = np.rint(values)
        good = (np.abs(values - rounded) < 0.01) & (np.abs(rounded) <= largest)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise InputError(f"{path}: {name} is {values[row]:g} in row {row + 1}, not a whole number; the file is damaged")
    return rounded.astype(np.int64)


def hall_symbol(path: str, name: str, operators: Sequence[str] = ()) -> str:
    """The Hall symbol of a space group given by its operators (x,y,z), else by its name or number.

    Raises InputError for one that no table lists.
    """
    import gemmi

    group = None
    try:
        if operators:
            group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps([gemmi.Op(text) for text in operators]))
        if group is None and name.strip().isdecimal() and 1 <= int(name) <= 230:
            group = gemmi.find_spacegroup_by_number(int(name))
        elif group is None and name.strip():
            group = gemmi.find_spacegroup_by_name(name.strip())
    except (RuntimeError, ValueError):
        group = None
    if group is None:
        raise InputError(f"{path}: the space group {name.strip() or 'of the file'} is not known; give it as space_group=")
    return str(group.hall)


def some(numbers: Sequence[int]) -> str:
    """The first few of a list for a message."""
    shown = ", ".join(str(n) for n in numbers[:4])
    return shown + (f" and {len(numbers) - 4} more" if len(numbers) > 4 else "")
