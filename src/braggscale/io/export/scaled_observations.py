"""The scaled observations of all data sets in the form that exports need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.data.flags import BAD_FOR_SCALING, Flag
from braggscale.data.geometry import (
    UnitCell,
    d_spacings,
    orientation_matrix,
    orthogonalisation,
    reciprocal_matrix,
    scan_angle,
    unit_cell,
)
from braggscale.data.plausible import RANGES, longest_vector
from braggscale.data.reflection_columns import OBSERVED_VARIANCE
from braggscale.data.symmetry import Symmetry
from braggscale.errors import DataError
from braggscale.numerics.array_types import Array, Bool, Float, Int

# Limits of exported values: inverse scale factors, indices, and positions and other columns.
SMALLEST_SCALE, LARGEST_INDEX, LARGEST_PLACE = 1e-12, 4096, 1e9
# Columns that a table must have to count as scaled.
NEEDED = ("intensity.scale.value", "intensity.scale.variance", "inverse_scale_factor", "flags", "miller_index")


class Columns(Protocol):
    """Columns by name: a Table, or a mapping of arrays."""

    def __contains__(self, name: str, /) -> bool: ...

    def __getitem__(self, name: str, /) -> Array: ...


@dataclass(frozen=True, slots=True)
class Changed:
    """A table with some columns new or replaced.  ``columns``: (n,) or (n, k) each, n rows as in ``table``."""

    table: Columns
    columns: Mapping[str, Array]

    def __contains__(self, name: str, /) -> bool:
        return name in self.columns or name in self.table

    def __getitem__(self, name: str, /) -> Array:
        return self.columns[name] if name in self.columns else self.table[name]


@dataclass(frozen=True, slots=True)
class Unmerged:
    """Scaled observations, one per row, (n,) each; columns that a table lacks are NaN (``qe``, ``partiality``: 1).

    ``data_set``: position of the experiment.  ``hkl``: as measured, (n, 3).
    ``intensity``, ``sigma``: I/g and its standard deviation.  ``observed_sigma``: sigma that grows with the observed
    intensity of the row, the same as ``sigma`` in tables that lack it.  ``scale``, ``scale_sigma``: g and its own.
    ``xyz``: predicted position, px, px and image number as array index, (n, 3).  ``z``: observed array index.
    ``partiality``: recorded fraction.  ``lp``, ``qe``: Lorentz-polarisation factor and detector efficiency.
    ``background``, ``background_sigma``: counts.  ``correlation``: of the profile.  ``outlier``: rejected by scaling.
    """

    data_set: Int
    hkl: Array
    intensity: Float
    sigma: Float
    observed_sigma: Float
    scale: Float
    scale_sigma: Float
    xyz: Float
    z: Float
    partiality: Float
    lp: Float
    qe: Float
    background: Float
    background_sigma: Float
    correlation: Float
    outlier: Bool

    def __len__(self) -> int:
        return len(self.hkl)

    def take(self, rows: Int | Bool) -> Unmerged:
        """The given rows, in the given order.  ``rows``: their numbers, (k,), or a mark for each row, (n,)."""
        return Unmerged(*(getattr(self, f.name)[rows] for f in fields(self)))


def no_observations() -> Unmerged:
    """Of data that are merged already."""
    nothing = np.zeros(0)
    none = np.zeros((0, 3))
    return Unmerged(
        np.zeros(0, np.int64),
        none.astype(np.int32),
        nothing,
        nothing,
        nothing,
        nothing,
        nothing,
        none,
        *(nothing,) * 7,
        np.zeros(0, bool),
    )


def collect(
    tables: Sequence[Columns],
    cell: UnitCell,
    *,
    d_min: float | None = None,
    d_max: float | None = None,
    wavelengths: Sequence[float] = (),
    outliers: bool = False,
) -> Unmerged:
    """All rows of scaled tables that were scaled, in the order of the experiments.

    Kept are rows without a bad-for-scaling flag whose variance and inverse scale factor are positive.  ``outliers``:
    also those that scaling has rejected.
    ``cell``: for the limits ``d_min`` and ``d_max``, Angstrom.  ``wavelengths``: of each table, Angstrom, where known:
    no reflection beyond half of it can have been measured.
    Raises DataError if a table is not scaled, or nothing is left.
    """
    parts = [_rows_of_table(k, table, outliers) for k, table in enumerate(tables)]
    joined = (np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Unmerged)) if parts else ()
    rows = Unmerged(*joined) if parts else None
    if rows is not None and (d_min is not None or d_max is not None or wavelengths):
        d = d_spacings(cell, rows.hkl)
        inside = (d >= (d_min or 0.0)) & (d <= (d_max or np.inf))
        if wavelengths:
            inside &= d >= np.array([1.0 / longest_vector(x) for x in wavelengths])[rows.data_set]
        if not inside.all():
            rows = rows.take(inside)
    if rows is None or len(rows) == 0:
        raise DataError("there is nothing to export: no scaled observation is left; check d_min and d_max")
    return rows


def _rows_of_table(number: int, table: Columns, outliers: bool) -> Unmerged:
    for name in NEEDED:
        if name not in table:
            raise DataError(f"data set {number} is not scaled: its table has no column {name!r}; run scale first")
    variance, scale = table["intensity.scale.variance"], table["inverse_scale_factor"]
    hkl, value = table["miller_index"], table["intensity.scale.value"]
    flags = np.asarray(table["flags"])
    rejected = (flags & np.uint64(Flag.OUTLIER_IN_SCALING)) != 0
    good = (flags & np.uint64(BAD_FOR_SCALING & ~Flag.OUTLIER_IN_SCALING if outliers else BAD_FOR_SCALING)) == 0
    good &= (variance > 0) & np.isfinite(variance) & (scale > 0) & np.isfinite(scale) & np.isfinite(value)
    good &= (hkl != 0).any(axis=1)
    # values that no run writes, but a damaged file may contain
    low, high = RANGES["intensity.sum.variance"].low, RANGES["intensity.sum.variance"].high
    good &= (variance >= low) & (variance <= high) & (np.abs(value) <= RANGES["intensity.sum.value"].high)
    good &= (scale >= SMALLEST_SCALE) & (scale <= 1.0 / SMALLEST_SCALE) & (np.abs(hkl) <= LARGEST_INDEX).all(axis=1)
    for name in ("xyzobs.px.value", "xyzcal.px"):
        if name in table:
            good &= (np.abs(table[name]) <= LARGEST_PLACE).all(axis=1)
    rows = np.flatnonzero(good)
    n = len(rows)

    def column(names: Sequence[str], default: float) -> Float:
        """The first of these columns that the table has; ``default`` where a value is implausible."""
        for name in names:
            if name in table:
                values = np.asarray(table[name][rows], np.float64)
                return np.where(np.abs(values) <= LARGEST_PLACE, values, default)
        return np.full(n, default)

    def root(names: Sequence[str]) -> Float:
        """Square root of the column with the first of ``names`` that exists, NaN if none does."""
        return np.sqrt(np.maximum(column(names, np.nan), 0.0))

    observed = next((name for name in ("xyzobs.px.value", "xyzcal.px") if name in table), None)
    predicted = next((name for name in ("xyzcal.px", "xyzobs.px.value") if name in table), None)
    if observed is None or predicted is None:
        raise DataError(f"data set {number}: its table has no positions (xyzcal.px or xyzobs.px.value)")
    g = scale[rows]
    return Unmerged(
        data_set=np.full(n, number),
        hkl=np.asarray(hkl[rows], np.int32),
        intensity=value[rows] / g,
        sigma=np.sqrt(variance[rows]) / g,
        observed_sigma=np.sqrt(_observed_variance(table, rows, variance[rows])) / g,
        scale=g,
        scale_sigma=np.nan_to_num(root(["inverse_scale_factor_variance"])),
        xyz=np.asarray(table[predicted][rows], np.float64),
        z=np.asarray(table[observed][rows][:, 2], np.float64),
        partiality=column(["partiality"], 1.0),
        lp=column(["lp"], np.nan),
        qe=column(["qe", "dqe"], 1.0),
        background=column(["background.sum.value"], np.nan),
        background_sigma=root(["background.sum.variance"]),
        correlation=column(["profile.correlation"], np.nan),
        outlier=rejected[rows],
    )


def _observed_variance(table: Columns, rows: Int, variance: Float) -> Float:
    """The variance at the observed intensity, counts^2, (n,); ``variance`` where the table has none that is plausible.

    ``rows``: their numbers, ``variance``: at the expected intensity, counts^2, (n,) each.
    """
    if OBSERVED_VARIANCE not in table:
        return variance
    own, limits = np.asarray(table[OBSERVED_VARIANCE][rows], np.float64), RANGES["intensity.sum.variance"]
    return np.where((own > 0) & (own >= limits.low) & (own <= limits.high), own, variance)


def scan_angles(rows: Unmerged, experiments: Sequence[Experiment]) -> Float:
    """Scan angle of each observation, degrees, (n,); 0 for stills."""
    result = np.zeros(len(rows))
    for k, experiment in enumerate(experiments):
        if experiment.scan is not None and not experiment.is_still:
            rows_of_set = np.flatnonzero(rows.data_set == k)
            result[rows_of_set] = scan_angle(experiment.scan, rows.xyz[rows_of_set, 2])
    return result


@dataclass(frozen=True, slots=True)
class Crystals:
    """Observations with the geometry and symmetry that belong to their indices.

    ``orientations``: A at scan points (image boundaries), (n_images + 1, 3, 3), 1/Angstrom, None if the orientation
    is constant; one per experiment.
    ``cell_esd``: standard deviations of the cell, Angstrom and degrees; None where they are not known.
    """

    rows: Unmerged
    experiments: tuple[Experiment, ...]
    symmetry: Symmetry
    cell: UnitCell
    orientations: tuple[Float | None, ...]
    cell_esd: UnitCell | None = None


def in_listed_setting(data: Crystals) -> Crystals:
    """The same data with indices in a setting that tables list; unchanged if theirs is listed.

    Other programs know space groups by name. A setting such as ``C 2y (x-y,x+y,z)`` has no name; so its indices,
    cells and orientations are transformed to the reference setting: h' = h M, rows of axes a' = M^T a, A' = A M^-T.
    Raises DataError if no table lists any setting of the group.
    """
    return data if data.symmetry.name is not None else in_reference_setting(data)


def in_reference_setting(data: Crystals) -> Crystals:
    """The same data in the reference setting of the space group, for formats that name it by its number alone.

    Raises DataError as :func:`in_listed_setting`.
    """
    symmetry = data.symmetry
    if symmetry.unit is None or symmetry.number is None:
        raise DataError(f"space group {symmetry}: no table lists it, so it cannot be exported; reindex the data")
    import gemmi

    group = gemmi.get_spacegroup_reference_setting(symmetry.number)
    listed = Symmetry.from_hall(group.hall)
    if listed == symmetry:
        return data
    # The matrix is known up to a factor; the volume of the cell fixes it.
    ratio = len(listed.triplets) / len(symmetry.triplets)
    matrix = symmetry.to_reference * np.cbrt(ratio / abs(float(np.linalg.det(symmetry.to_reference))))
    moved = data.rows.hkl @ matrix
    hkl = np.rint(moved)
    if np.abs(moved - hkl).max(initial=0.0) > 1e-3:
        raise DataError(f"space group {symmetry}: its indices are not whole numbers in {listed}; reindex the data")
    inverse = np.linalg.inv(matrix).T
    experiments = tuple(_reindexed(experiment, matrix, group.hall) for experiment in data.experiments)
    return Crystals(
        replace(data.rows, hkl=hkl.astype(np.int32)),
        experiments,
        listed,
        unit_cell(matrix.T @ orthogonalisation(data.cell).T),
        tuple(None if a is None else a @ inverse for a in data.orientations),
    )


def _reindexed(experiment: Experiment, matrix: Float, hall: str) -> Experiment:
    crystal = experiment.crystal
    real = matrix.T @ crystal.real_space
    cell = unit_cell(matrix.T @ orthogonalisation(crystal.unit_cell).T)
    return replace(experiment, crystal=replace(crystal, real_space=real, hall=hall, unit_cell=cell))


def scan_points(document: Mapping[str, Any], experiments: Sequence[Experiment]) -> tuple[Float | None, ...]:
    """A at the image boundaries of each experiment, (n_images + 1, 3, 3), None without, from an experiment list.

    ``document``: the JSON of the experiments file whose entries the experiments are, in order.
    """
    result: list[Float | None] = []
    for entry, experiment in zip(document["experiment"], experiments, strict=True):
        crystal = document["crystal"][entry["crystal"]]
        stored = crystal.get("A_at_scan_points")
        points = None
        if experiment.scan is not None and isinstance(stored, list) and len(stored) == experiment.scan.n_images + 1:
            points = np.asarray(stored, np.float64).reshape(-1, 3, 3)
        result.append(points)
    return tuple(result)


def cell_esd(document: Mapping[str, Any], cell: UnitCell) -> UnitCell | None:
    """Standard deviations of the cell, Angstrom and degrees, from an experiment list; None unless all crystals have
    them.

    They are those of cell refinement (``recalculated_cell_parameter_sd``), or propagated from the covariance of B,
    J C J^T with J = d cell/d B by finite differences. ``cell`` must be the cell of every crystal, because the standard
    deviation of a median is not known.
    """
    esds = None
    for entry in document["experiment"]:
        crystal = document["crystal"][entry["crystal"]]
        stored, refined = crystal.get("recalculated_unit_cell"), crystal.get("recalculated_cell_parameter_sd")
        covariance = crystal.get("B_covariance")
        own = stored or unit_cell(np.array([crystal[f"real_space_{axis}"] for axis in "abc"], np.float64))
        if not np.allclose(own, cell, rtol=1e-6, atol=0.0):
            return None
        if stored is not None and _numbers(refined, 6):
            esds = np.asarray(refined, np.float64)
        elif stored is None and _numbers(covariance, 81):
            jacobian = _cell_by_b(reciprocal_matrix(cell))
            variance = np.einsum("ij,jk,ik->i", jacobian, np.reshape(covariance, (9, 9)), jacobian)
            esds = np.sqrt(np.maximum(variance, 0.0))
        else:
            return None
    if esds is None or not np.isfinite(esds).all():
        return None
    a, b, c, alpha, beta, gamma = esds.tolist()
    return a, b, c, alpha, beta, gamma


def _numbers(values: Any, n: int) -> bool:
    return isinstance(values, list | tuple) and len(values) == n and all(isinstance(v, int | float) for v in values)


def _cell_by_b(b: Float) -> Float:
    """d cell/d B, (6, 9), the elements of B row by row."""
    step = 1e-6 * float(np.abs(b).max())
    columns = []
    for k in range(9):
        moved = np.zeros(9)
        moved[k] = step
        ends = [np.linalg.inv(b + sign * moved.reshape(3, 3)).astype(np.float64) for sign in (1.0, -1.0)]
        above, below = map(unit_cell, ends)
        columns.append((np.array(above) - np.array(below)) / (2.0 * step))
    return np.stack(columns, axis=1)


def orientations_at_images(experiment: Experiment, points: Float | None) -> Float:
    """A in the middle of each image, zero scan angle, (n_images, 3, 3); one of them for a still.

    It is the mean of A at the two ends: images are so narrow that this mean is a rotation within 1e-9.
    ``points``: A at the scan points, (n_images + 1, 3, 3); None where the crystal does not change.
    """
    n = 1 if experiment.scan is None else experiment.scan.n_images
    if points is None:
        return np.repeat(orientation_matrix(experiment.crystal)[None], n, axis=0)
    return 0.5 * (points[1:] + points[:-1])
