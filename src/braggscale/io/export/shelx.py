"""Files for SHELX: unmerged intensities (HKLF 4) and the instructions that go with them.

.hkl: h k l I sigma in 3I4, 2F8.2, ended by a line of zeros. Decimal points are written, so numbers may have more
than two decimals where they fit.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence

import numpy as np

from braggscale import __version__
from braggscale.data.geometry import inverse_d_squared, reciprocal_matrix, unit_cell
from braggscale.data.symmetry import Symmetry
from braggscale.data.wavelengths import wavelength_groups
from braggscale.errors import DataError
from braggscale.io.export.export import Export, ExportData, ExportFile
from braggscale.io.export.fixed_width import fields_of_8, scale_to_fit, with_esd
from braggscale.io.export.scaled_observations import Crystals, Unmerged
from braggscale.io.export.transmission import transmission_range
from braggscale.statistics.merging import merge
from braggscale.statistics.merging_statistics import Statistics

log = logging.getLogger(__name__)

_LARGEST, _SMALLEST = 99999.0, -9999.0
_LATTICES = {"P": 1, "I": 2, "R": 3, "F": 4, "A": 5, "B": 6, "C": 7}
# Angstrom^3 per atom that is not hydrogen, for the guess of the cell's contents.
_ATOM_VOLUME = 18.0


def one_wavelength(data: Crystals) -> float:
    """The wavelength of the data, Angstrom. Raises DataError if there are several, which SHELX cannot store."""
    wavelengths, _ = wavelength_groups(data.experiments)
    if len(wavelengths) > 1:
        shown = ", ".join(f"{w:.5f}" for w in wavelengths)
        raise DataError(f"SHELX takes one wavelength, these data have {shown}; export them one at a time")
    return wavelengths[0]


def hkl_file(rows: Unmerged) -> str:
    """The text of a .hkl file, in the order of the rows, with sigmas that grow with the observed intensity.

    SHELXL merges with the weight I/sigma^2 where I > 3 sigma, else 3/sigma. With sigmas that are the same for all
    equivalents, larger observations would count more, and the mean would be too large.

    If an intensity does not fit into eight characters, all are divided by a power of ten, and the log says so.
    Raises DataError for an index beyond four characters.
    """
    if np.abs(rows.hkl).max(initial=0) > 999:
        raise DataError("SHELX files hold indices from -999 to 999 only; write MTZ instead")
    largest = float(max(rows.intensity.max(initial=0.0), rows.observed_sigma.max(initial=0.0)))
    factor = scale_to_fit(largest, float(rows.intensity.min(initial=0.0)), _LARGEST, _SMALLEST)
    if factor != 1.0:
        log.info(f"SHELX: intensities are multiplied by {factor:g} to fit into the format")
    # a sigma of 0.00000 would be read as no sigma
    sigma = np.maximum(rows.observed_sigma * factor, 1e-5)
    text = zip(rows.hkl.tolist(), fields_of_8(rows.intensity * factor), fields_of_8(sigma), strict=True)
    body = "".join(f"{h:4d}{k:4d}{l:4d}{i}{s}\n" for (h, k, l), i, s in text)
    return body + "   0   0   0    0.00    0.00\n"


def ins_file(
    data: Crystals,
    *,
    title: str = "braggscale",
    contents: Sequence[tuple[str, float]] | None = None,
) -> str:
    """The text of an .ins file: TITL CELL ZERR LATT SYMM SFAC UNIT HKLF END.

    ``contents``: elements and atoms per cell; None guesses carbon, one atom per 18 Angstrom^3, to be corrected.
    ZERR has zeros where standard deviations are not known or symmetry fixes an angle.
    Raises DataError for several wavelengths, or for a space group whose centre of symmetry is not at the origin.
    """
    wavelength = one_wavelength(data)
    number, operators = lattice(data.symmetry)
    volume = 1.0 / float(np.linalg.det(reciprocal_matrix(data.cell)))
    z = len(data.symmetry.triplets)
    esd = _esds(data)
    guess = contents is None
    atoms = [("C", max(z, round(volume / _ATOM_VOLUME)))] if contents is None else list(contents)
    text = [f"TITL {title} in {str(data.symmetry)}"[:76]]
    text.append(f"CELL {wavelength:.5f}" + "".join(f" {x:.4f}" for x in data.cell))
    text.append(f"ZERR {z}" + "".join(f" {_esd_text(x)}" for x in esd))
    text.append(f"LATT {number}")
    text += [f"SYMM {operator}" for operator in operators]
    if guess:
        text.append("REM The contents of the cell are a guess: put in your own.")
    text.append("SFAC " + " ".join(name for name, _ in atoms))
    text.append("UNIT " + " ".join(f"{count:g}" for _, count in atoms))
    text += ["HKLF 4", "END"]
    return "\n".join(text) + "\n"


def _esds(data: Crystals) -> list[float]:
    """Standard deviations of the cell, 0 where they are not known or an angle is fixed by symmetry."""
    if data.cell_esd is None:
        return [0.0] * 6
    import gemmi

    # symmetry fixes an angle if it is 90 or 120 degrees in every lattice with this symmetry
    metric = np.array([[3.0, 0.4, 0.5], [0.4, 5.0, 0.6], [0.5, 0.6, 7.0]])
    rotations = [np.array(op.rot) / 24.0 for op in gemmi.symops_from_hall(data.symmetry.hall).sym_ops]
    metric = sum((r.T @ metric @ r for r in rotations), np.zeros((3, 3)))
    angles = np.array(unit_cell(np.linalg.cholesky(metric))[3:])
    fixed = (np.abs(angles - 90.0) < 1e-6) | (np.abs(angles - 120.0) < 1e-6)
    return [*data.cell_esd[:3], *np.where(fixed, 0.0, data.cell_esd[3:]).tolist()]


def lattice(symmetry: Symmetry) -> tuple[int, list[str]]:
    """LATT number (negative without a centre of symmetry) and the operators that SYMM lists.

    The identity is not listed, nor operators that follow from others by centring or the centre of symmetry.
    Raises DataError for a lattice that SHELX does not have, and for a centre of symmetry that is not at the origin.
    """
    import gemmi

    group = gemmi.symops_from_hall(symmetry.hall)
    letter = group.find_centering()
    if letter not in _LATTICES:
        raise DataError(f"space group {symmetry}: SHELX has no lattice type {letter!r}")
    if symmetry.centrosymmetric and "-x,-y,-z" not in symmetry.triplets:
        raise DataError(
            f"space group {symmetry}: SHELX needs the centre of symmetry at the origin; use the other origin choice"
        )
    chosen: list[str] = []
    seen: set[tuple[int, ...]] = set()
    for op in group.sym_ops:
        rotation = [part for row in op.rot for part in row]
        opposite = tuple(-part for part in rotation)
        if op != gemmi.Op("x,y,z") and not (symmetry.centrosymmetric and opposite in seen):
            chosen.append(op.triplet().upper())
        seen.add(tuple(rotation))
    return _LATTICES[letter] * (1 if symmetry.centrosymmetric else -1), chosen


def cif(data: Crystals, statistics: Statistics | None, *, transmission: tuple[float, float] | None = None) -> str:
    """The items of a small-molecule CIF (core dictionary) that come from data processing, for the refinement's CIF.

    ``transmission``: smallest and largest transmission of a reflection, the largest at most 1; None uses those of the
    absorption correction, and leaves them out without one.
    """
    rows = data.rows
    wavelength = one_wavelength(data)
    q = np.sqrt(inverse_d_squared(rows.hkl, data.cell))
    theta = np.rad2deg(np.arcsin(np.clip(0.5 * q * wavelength, 0.0, 1.0)))
    limits = transmission or transmission_range(data.experiments, float(theta.max()))
    items: list[tuple[str, object]] = [
        ("_space_group_name_H-M_alt", f"'{str(data.symmetry).split(':')[0].strip()}'"),
        ("_space_group_name_Hall", f"'{data.symmetry.hall.strip()}'"),
        ("_space_group_IT_number", data.symmetry.number or "?"),
    ]
    items += list(zip(_CELL_ITEMS, map(with_esd, data.cell, _esds(data)), strict=True))
    items += [
        ("_diffrn_radiation_wavelength", f"{wavelength:.5f}"),
        ("_diffrn_reflns_number", len(rows)),
        ("_diffrn_reflns_av_R_equivalents", "?" if statistics is None else _known(statistics.overall.r_merge, "%.4f")),
        ("_diffrn_reflns_av_unetI/netI", _known(_sigma_share(data), "%.4f")),
        ("_diffrn_reflns_theta_min", f"{theta.min():.3f}"),
        ("_diffrn_reflns_theta_max", f"{theta.max():.3f}"),
    ]
    for k, letter in enumerate("hkl"):
        items.append((f"_diffrn_reflns_limit_{letter}_min", int(rows.hkl[:, k].min())))
        items.append((f"_diffrn_reflns_limit_{letter}_max", int(rows.hkl[:, k].max())))
    items += [
        ("_exptl_absorpt_correction_type", "multi-scan"),
        ("_exptl_absorpt_correction_T_min", "?" if limits is None else f"{limits[0]:.4f}"),
        ("_exptl_absorpt_correction_T_max", "?" if limits is None else f"{limits[1]:.4f}"),
        ("_exptl_absorpt_process_details", f"'braggscale {__version__}'"),
        ("_computing_data_reduction", f"'braggscale {__version__}'"),
    ]
    return "data_braggscale\n" + "".join(f"{name:<36} {value}\n" for name, value in items)


_CELL_ITEMS = (
    "_cell_length_a",
    "_cell_length_b",
    "_cell_length_c",
    "_cell_angle_alpha",
    "_cell_angle_beta",
    "_cell_angle_gamma",
)


def _sigma_share(data: Crystals) -> float:
    """SHELX's R_sigma, sum sigma(I_h)/sum I_h over unique reflections with Friedel mates together."""
    merged = merge(data.rows.hkl, data.rows.intensity, data.rows.sigma, data.symmetry)
    total = float(merged.mean.sum())
    return float(merged.sigma.sum()) / total if total > 0 else float("nan")


def _esd_text(esd: float) -> str:
    """A standard deviation with at least two significant digits, so that a small one does not become 0.0000."""
    if not 0.0 < esd < 1e-2:
        return f"{esd:.4f}"
    return f"{esd:.{1 - math.floor(math.log10(esd))}f}"


def _known(value: float, template: str) -> str:
    return template % value if np.isfinite(value) else "?"


def shelx_paths(path: str) -> tuple[str, str, str]:
    """The .hkl, .ins and .cif file that the option ``shelx`` means, with or without one of the endings."""
    stem, ending = os.path.splitext(path)
    stem = stem if ending in (".hkl", ".ins", ".cif") else path
    return stem + ".hkl", stem + ".ins", stem + ".cif"


def _hkl(data: Crystals) -> bytes:
    one_wavelength(data)
    return hkl_file(data.rows).encode()


def _files(data: ExportData, path: str) -> list[ExportFile]:
    hkl_path, ins_path, cif_path = shelx_paths(path)
    return [
        ExportFile(hkl_path, lambda: _hkl(data.crystals)),
        ExportFile(ins_path, lambda: ins_file(data.crystals).encode()),
        ExportFile(cif_path, lambda: cif(data.crystals, data.statistics).encode()),
    ]


EXPORT: Export = Export(_files, needs_statistics=True, names=shelx_paths)
