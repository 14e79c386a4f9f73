"""Reads reference intensities from a file; its kind and the columns are recognised by their content.

    merged or unmerged MTZ          I(+) and I(-), I, F(+) and F(-), F, in this order; amplitudes are squared
    mmCIF or core CIF with data     the same by the names of the dictionary
    CIF or PDB with a structure     |F|^2 of the model (io/reference_model.py)
    reflections with experiments    scaled intensities of an earlier run, merged

Sigmas of squared amplitudes are 2 F sigma(F).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braggscale.data.flags import Flag
from braggscale.data.geometry import UnitCell
from braggscale.data.reference import Reference
from braggscale.data.table import DataSet
from braggscale.errors import CommandError, InputError
from braggscale.io import open_inputs
from braggscale.io.file_kind import Kind, kind_of
from braggscale.io.new_experiments import as_cell
from braggscale.io.reference_model import ModelRequest, from_macromolecule, from_small_molecule, is_structure
from braggscale.numerics.array_types import Array, Float

MOST_BYTES = 1 << 30
MOST_INTENSE, LARGEST_INDEX = 1e12, 1 << 15  # damaged numbers are beyond them
UNSCALED = "reflections of another program that may not be on one scale"

# (I or F of h, its sigma, of -h, its sigma) in the names of dictionaries, the best first; F: amplitudes.
_IN_CIF = (
    ("I", "pdbx_I_plus", "pdbx_I_plus_sigma", "pdbx_I_minus", "pdbx_I_minus_sigma"),
    ("I", "intensity_meas", "intensity_sigma", "", ""),
    ("I", "F_squared_meas", "F_squared_sigma", "", ""),
    ("I", "F_squared_meas", "F_squared_meas_sigma", "", ""),
    ("F", "pdbx_F_plus", "pdbx_F_plus_sigma", "pdbx_F_minus", "pdbx_F_minus_sigma"),
    ("F", "F_meas_au", "F_meas_sigma_au", "", ""),
    ("F", "F_meas", "F_meas_sigma", "", ""),
    ("F", "F_meas", "F_sigma", "", ""),
    ("I", "F_squared_calc", "", "", ""),
    ("F", "F_calc", "", "", ""),
    ("F", "F_calc_au", "", "", ""),
)


def read_reference(paths: Sequence[str], request: ModelRequest) -> Reference:
    """The reference in a file, or in a pair of reflections and experiments.

    ``request``: how a model is turned into intensities.
    Raises CommandError for a file that cannot be read, InputError for one that holds nothing of this kind.
    """
    if len(paths) > 1:
        return _scaled(paths)
    path = paths[0]
    content = _content(path)
    if content[:4] == b"MTZ ":
        return _mtz(path)
    kind = kind_of(content)
    if kind is Kind.OTHER:
        raise InputError(f"{path}: {UNSCALED}; scale it first, and give reference=scaled.expt,scaled.refl")
    if kind is not None:
        return _scaled(_with_partner(path))
    text = content.decode("utf-8", "replace")
    if is_cif(text):
        return _cif(path, text, request)
    if is_structure(text):
        return from_macromolecule(path, text, request, cif=False)
    raise InputError(
        f"{path}: no reference; expected an MTZ file, a CIF file with data or a structure, a PDB file, or scaled.refl"
    )


def is_cif(text: str) -> bool:
    """Whether the first word of a text that is no comment begins a data block."""
    for line in text.splitlines():
        word = line.strip()
        if word and not word.startswith("#"):
            return word.lower().startswith("data_")
    return False


def _content(path: str) -> bytes:
    try:
        if os.path.getsize(path) > MOST_BYTES:
            raise InputError(f"{path}: a reference of more than {MOST_BYTES >> 30} GB is not read")
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None
    if content[:2] == b"\x1f\x8b":
        import gzip

        try:
            with gzip.open(path) as packed:
                content = packed.read(MOST_BYTES)
        except (OSError, EOFError) as error:
            raise InputError(f"{path}: damaged gzip file ({error})") from None
    if not content:
        raise InputError(f"{path}: the file is empty")
    return content


def _mtz(path: str) -> Reference:
    import gemmi

    try:
        mtz = gemmi.read_mtz_file(path)
        unmerged = bool(mtz.batches)
        if unmerged:
            mtz.switch_to_original_hkl()  # else I+ and I- have the same index
        names = [(column.label, column.type) for column in mtz.columns]
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: {str(error)[:100]}") from None
    with np.errstate(invalid="ignore"):  # some bits that are no number cannot be converted quietly
        hkl = np.array(mtz.make_miller_array(), np.int32)
        values = {label: np.array(column, np.float64) for (label, _), column in zip(names, mtz.columns, strict=True)}
    origin = _Origin(path, _cell(mtz.cell), None if mtz.spacegroup is None else str(mtz.spacegroup.hall))
    kinds: dict[str, list[str]] = {}
    for label, kind in names:
        kinds.setdefault(kind, []).append(label)

    def sigma_of(label: str, kind: str) -> str | None:
        """The sigma that follows its column."""
        first = [name for name, _ in names].index(label)
        return next((name for name, other in names[first + 1 :] if other == kind), None)

    for kind, sigma_kind, squared in (("K", "M", False), ("J", "Q", False), ("G", "L", True), ("F", "Q", True)):
        columns = kinds.get(kind, [])
        pairs = [(label, sigma_of(label, sigma_kind)) for label in columns]
        pairs = [(label, sigma) for label, sigma in pairs if sigma is not None or squared]
        if kind in "KG" and len(pairs) >= 2:
            (plus, s_plus), (minus, s_minus) = pairs[:2]
            return _both(
                origin, hkl, [values[plus], values[minus]], [_sigma(values, s_plus), _sigma(values, s_minus)],
                squared, f"{plus}, {minus}",
            )  # fmt: skip
        if kind in "JF" and pairs:
            label, sigma = pairs[0]
            return _one(origin, hkl, values[label], _sigma(values, sigma), squared, label, unmerged)
    raise InputError(f"{path}: no intensities or amplitudes among the columns {', '.join(values)}")


def _sigma(values: dict[str, Float], label: str | None) -> Float | None:
    return None if label is None else values[label]


def _cell(cell: Any) -> UnitCell | None:
    numbers = [float(x) for x in cell.parameters]
    return None if numbers[:3] == [1.0, 1.0, 1.0] else as_cell(numbers)


@dataclass(frozen=True, slots=True)
class _Origin:
    """The file of a reference, with its information on the crystal."""

    path: str
    cell: UnitCell | None
    hall: str | None


def _one(
    origin: _Origin,
    hkl: Array,
    value: Float,
    sigma: Float | None,
    squared: bool,
    label: str,
    unmerged: bool = False,
    apart: bool = False,
) -> Reference:
    """A reference of one column.  ``apart``: whether h and -h are different reflections."""
    intensity, error = _intensities(value, sigma, squared)
    # what is not finite fails the comparisons, too
    good = (np.abs(intensity) < MOST_INTENSE) & (error < MOST_INTENSE) & ((error > 0) if sigma is not None else True)
    good &= (np.abs(hkl) < LARGEST_INDEX).all(axis=1)
    if not good.any():
        raise InputError(f"{origin.path}: the column {label} holds no value with a positive sigma")
    what = (
        f"{int(good.sum())} {'squared amplitudes' if squared else 'intensities'}, column {label}{', merged' * unmerged}"
    )
    place = origin.cell, origin.hall, origin.path
    return Reference(
        hkl[good].astype(np.int32), intensity[good], error[good], apart or unmerged, *place, what, sigma is None
    )


def _both(
    origin: _Origin,
    hkl: Array,
    values: Sequence[Float],
    sigmas: Sequence[Float | None],
    squared: bool,
    label: str,
) -> Reference:
    """A reference of two columns, of h and of -h."""
    sigma = None if sigmas[0] is None or sigmas[1] is None else np.concatenate([sigmas[0], sigmas[1]])
    both = np.concatenate([hkl, -hkl])
    return _one(origin, both, np.concatenate(list(values)), sigma, squared, label, apart=True)


def _intensities(value: Float, sigma: Float | None, squared: bool) -> tuple[Float, Float]:
    with np.errstate(over="ignore", invalid="ignore"):
        if not squared:
            return value, np.zeros(len(value)) if sigma is None else sigma
        return value * value, np.zeros(len(value)) if sigma is None else 2.0 * np.abs(value) * sigma + sigma * sigma


def _cif(path: str, text: str, request: ModelRequest) -> Reference:
    import gemmi

    try:
        document = gemmi.cif.read_string(text)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: {str(error)[:160]}") from None
    for block in document:
        reflections = _refln(path, block)
        if reflections is not None:
            return reflections
    for block in document:
        if block.find_values("_atom_site.Cartn_x"):
            return from_macromolecule(path, text, request, cif=True)
        if block.find_values("_atom_site_fract_x"):
            return from_small_molecule(path, block, request)
    if any(block.find_values("_diffrn_refln.index_h") for block in document):
        raise InputError(f"{path}: unmerged reflections; of CIF files, merged ones can be a reference (merged_cif=)")
    raise InputError(f"{path}: neither reflections nor a structure")


def _refln(path: str, block: Any) -> Reference | None:
    """The reflections of a block, None where it has none."""
    for prefix in ("_refln.", "_refln_"):
        index = [block.find_values(f"{prefix}index_{letter}") for letter in "hkl"]
        if not all(index):
            continue
        hkl = np.column_stack([_numbers(column) for column in index])
        for kind, plus, s_plus, minus, s_minus in _IN_CIF:
            columns = [block.find_values(prefix + name) if name else None for name in (plus, s_plus, minus, s_minus)]
            if not columns[0] or (s_plus and not columns[1]) or (minus and not (columns[2] and columns[3])):
                continue
            values = [None if column is None else _numbers(column) for column in columns]
            if any(value is not None and len(value) != len(hkl) for value in values) or values[0] is None:
                continue
            origin = _Origin(path, *_block_cell(block))
            squared = kind == "F"
            if values[2] is not None:
                return _both(origin, hkl, [values[0], values[2]], [values[1], values[3]], squared, f"{plus}, {minus}")
            return _one(origin, hkl, values[0], values[1], squared, plus)
    return None


def _numbers(column: Any) -> Float:
    """Values of a CIF column, NaN for ? and ., without the esds in parentheses."""
    import gemmi

    return np.array([gemmi.cif.as_number(text) for text in column], np.float64)


def _block_cell(block: Any) -> tuple[UnitCell | None, str | None]:
    """Cell and Hall symbol of a block, None where they are not there."""
    import gemmi

    small = gemmi.make_small_structure_from_block(block)
    cell = _cell(small.cell)
    name = None
    for tag in ("_symmetry.space_group_name_H-M", "_space_group.name_H-M_alt"):
        name = name or block.find_value(tag)
    group = small.spacegroup
    if group is None and name:
        group = gemmi.find_spacegroup_by_name(gemmi.cif.as_string(name))
    if cell is None:
        words = [block.find_value(f"_cell.{n}") for n in ("length_a", "length_b", "length_c")]
        words += [block.find_value(f"_cell.angle_{n}") for n in ("alpha", "beta", "gamma")]
        if all(words):
            cell = _cell(gemmi.UnitCell(*(gemmi.cif.as_number(word) for word in words)))
    return cell, None if group is None else str(group.hall)


def _with_partner(path: str) -> list[str]:
    """A reflection table or an experiment list with the file that belongs to it: of the same name, beside it."""
    stem, ending = os.path.splitext(path)
    for other in (".expt", ".json") if ending not in (".expt", ".json") else (".refl", ".h5", ".pickle"):
        if os.path.exists(stem + other):
            return [path, stem + other]
    raise CommandError(f"reference={path}: give the pair of files, reference=scaled.expt,scaled.refl")


def _scaled(paths: Sequence[str]) -> Reference:
    """Scaled intensities of an earlier run, I/g, of all its data sets."""
    return scaled_reference(open_inputs(paths).data_sets, ", ".join(paths))


def scaled_reference(data_sets: Sequence[DataSet], source: str) -> Reference:
    """Scaled intensities of data sets.  ``source``: where they come from, for messages.

    Raises InputError for data sets that are not scaled.
    """
    hkl, intensity, sigma = [], [], []
    for one in data_sets:
        table = one.table
        names = ("intensity.scale.value", "intensity.scale.variance", "inverse_scale_factor", "flags")
        if any(name not in table for name in names):
            raise InputError(f"{table.source}: data set {one.identifier} is not scaled; a reference must be")
        value, variance, g, flags = (np.asarray(table[name]) for name in names)
        left_out = np.uint64(
            int(Flag.OUTLIER_IN_SCALING) | int(Flag.EXCLUDED_FOR_SCALING) | int(Flag.USER_EXCLUDED_IN_SCALING)
        )
        good = ((flags & left_out) == 0) & (variance > 0) & (g > 0)
        hkl.append(np.asarray(table["miller_index"])[good])
        intensity.append(value[good] / g[good])
        sigma.append(np.sqrt(variance[good]) / g[good])
    crystal = data_sets[0].experiment.crystal
    together = np.concatenate(intensity)
    if len(together) == 0:
        raise InputError(f"{source}: no scaled reflection; it cannot be a reference")
    return Reference(
        np.concatenate(hkl).astype(np.int32), together, np.concatenate(sigma), True, crystal.unit_cell, crystal.hall,
        source, f"{len(together)} scaled intensities, merged", False,
    )  # fmt: skip
