"""The simulated data as MOSFLM and XDS would have written them: an unmerged MTZ file, and INTEGRATE.HKL of each sweep.

Reflections that were not integrated are left out, as those programs do. What DIALS keeps apart is applied to the
intensities: I = c I_raw/p with c = lp/qe. XDS' INTEGRATE corrects for a beam without polarisation, so its file needs
polarization_fraction= when it is scaled; the efficiency of the sensor is taken out there, too, which XDS would leave to
its next step. Pieces of reflections stay pieces.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from braggscale.data.experiment import Sweep
from braggscale.data.geometry import rocking_width
from braggscale.data.table import DataSet
from braggscale.io import open_inputs
from braggscale.numerics.array_types import Array, Bool, Float

FORMATS = ("mtz", "xds")
_EPOCH = 1000  # batches of the next sweep begin at a multiple of this, and 1
# From the frame here, axis x and beam along -z, to that of MTZ headers, axis z and beam along x.
_TO_CAMBRIDGE = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def write(folder: Path, formats: tuple[str, ...]) -> list[Path]:
    """Write the sweeps of simulated.expt and simulated.refl in ``folder`` in other formats beside them."""
    if not formats:
        return []
    data_sets = open_inputs([str(folder / "simulated.expt"), str(folder / "simulated.refl")]).data_sets
    if any(data_set.experiment.is_still for data_set in data_sets):
        raise ValueError("only sweeps are written in other formats")
    written = []
    if "mtz" in formats:
        path = folder / "simulated.mtz"
        path.write_bytes(_mtz(data_sets))
        written.append(path)
    if "xds" in formats:
        for k, data_set in enumerate(data_sets):
            own = folder if len(data_sets) == 1 else folder / f"sweep{k + 1}"
            own.mkdir(exist_ok=True)
            path = own / "INTEGRATE.HKL"
            _integrate(path, data_set)
            written.append(path)
    return written


def _integrated(data_set: DataSet) -> Bool:
    """Rows with both intensities."""
    result: Bool = (data_set.table["flags"].astype(np.int64) & 768) == 768
    return result


def _mtz(data_sets: tuple[DataSet, ...]) -> bytes:
    import gemmi

    first = data_sets[0].experiment
    mtz = gemmi.Mtz(with_base=False)
    mtz.spacegroup = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(first.crystal.hall))
    named = mtz.add_dataset("simulated")
    named.wavelength = first.beam.wavelength
    mtz.set_cell_for_all(gemmi.UnitCell(*first.crystal.unit_cell))
    labels = "H K L M/ISYM BATCH I SIGI IPR SIGIPR FRACTIONCALC XDET YDET ROT LP QE".split()  # noqa: SIM905
    for label, kind in zip(labels, "HHHYBJQJQRRRRRR", strict=True):
        mtz.add_column(label, kind, dataset_id=named.id)
    parts, offset = [], 0
    for data_set in data_sets:
        parts.append(_rows(data_set, offset))
        for header in _headers(gemmi, data_set, offset, named.id):
            mtz.batches.append(header)
        scan = data_set.experiment.scan
        offset += 0 if scan is None else (scan.image_range[1] // _EPOCH + 1) * _EPOCH
    mtz.set_data(np.concatenate(parts).astype(np.float32))
    mtz.update_reso()
    return bytes(mtz.write_to_bytes())


def _rows(data_set: DataSet, offset: int) -> Array:
    """The columns of the MTZ file, (n, 15)."""
    table, scan = data_set.table, data_set.experiment.scan
    rows = np.flatnonzero(_integrated(data_set))
    assert scan is not None

    def column(name: str) -> Array:
        return np.asarray(table[name][rows], np.float64)

    c, p = column("lp") / column("qe"), column("partiality")
    observed, calculated = column("xyzobs.px.value"), column("xyzcal.px")
    start, width = scan.oscillation
    image = np.clip(np.floor(observed[:, 2]) + 1, *scan.image_range)
    return np.column_stack(
        (
            table["miller_index"][rows],
            np.ones(len(rows)),
            image + offset,
            c / p * column("intensity.sum.value"),
            c / p * np.sqrt(column("intensity.sum.variance")),
            c * column("intensity.prf.value"),
            c * np.sqrt(column("intensity.prf.variance")),
            p,
            calculated[:, :2],
            start + (observed[:, 2] - (scan.image_range[0] - 1)) * width,
            column("lp"),
            column("qe"),
        )
    )


def _headers(gemmi: Any, data_set: DataSet, offset: int, number: int) -> list[Any]:
    """The header of each image."""
    experiment = data_set.experiment
    scan, goniometer = experiment.scan, experiment.goniometer
    assert scan is not None and goniometer is not None
    oriented = _TO_CAMBRIDGE @ goniometer.setting @ goniometer.fixed @ np.linalg.inv(experiment.crystal.real_space)
    b = np.linalg.cholesky(oriented.T @ oriented).T
    u = oriented @ np.linalg.inv(b)
    panel = experiment.panels[0]
    start, width = scan.oscillation
    headers = []
    for k in range(scan.n_images):
        header = gemmi.Mtz.Batch()
        header.number = scan.image_range[0] + k + offset
        header.dataset_id = number
        for place, value in ((12, 1), (14, 2), (15, 1), (17, 1), (19, 1)):
            header.ints[place] = value
        values: dict[int, list[float]] = {
            0: list(experiment.crystal.unit_cell),
            6: u.T.ravel().tolist(),
            21: [_mosaicity(data_set)],
            36: [start + k * width, start + (k + 1) * width],
            38: [0.0, 0.0, 1.0],
            59: [0.0, 0.0, 1.0],
            80: [-1.0, 0.0, 0.0],
            83: (_TO_CAMBRIDGE @ experiment.beam.direction).tolist(),
            86: [experiment.beam.wavelength],
            111: [abs(float(panel.origin @ np.cross(panel.fast, panel.slow)))],
            113: [0.0, float(panel.image_size[0]), 0.0, float(panel.image_size[1])],
        }
        for first, numbers in values.items():
            for i, value in enumerate(numbers):
                header.floats[first + i] = value
        header.axes = ["PHI"]
        headers.append(header)
    return headers


def _mosaicity(data_set: DataSet) -> float:
    """Full width of the rocking curve, degrees."""
    experiment, table = data_set.experiment, data_set.table
    kind = experiment.kind
    box = table["bbox"]
    if not isinstance(kind, Sweep):
        return 0.0
    return 2.355 * rocking_width(kind, experiment.beam.s0, table["s1"], box[:, 5] - box[:, 4])


def _polarisation(s1: Array, fraction: float) -> Float:
    """P of a beam along -z that is polarised along x, (n,)."""
    u = s1 / np.linalg.norm(s1, axis=1)[:, None]
    result: Float = (1 - 2 * fraction) * (1 - u[:, 1] ** 2) + fraction * (1 + u[:, 2] ** 2)
    return result


def _integrate(path: Path, data_set: DataSet) -> None:
    """INTEGRATE.HKL; XDS' frame is that of the experiment."""
    from simulation.geometry import POLARIZATION_FRACTION

    experiment, table = data_set.experiment, data_set.table
    scan, goniometer, panel = experiment.scan, experiment.goniometer, experiment.panels[0]
    assert scan is not None and goniometer is not None
    rows = np.flatnonzero(_integrated(data_set))

    def column(name: str) -> Array:
        return np.asarray(table[name][rows], np.float64)

    s1 = column("s1")
    rlp = column("lp") * _polarisation(s1, POLARIZATION_FRACTION) / _polarisation(s1, 0.5)
    c = rlp / column("qe")
    calculated, observed = column("xyzcal.px"), column("xyzobs.px.value")
    axes = (goniometer.fixed @ experiment.crystal.real_space.T).T
    normal = np.cross(panel.fast, panel.slow)
    origin = [-float(panel.origin @ edge) / size + 0.5 for edge, size in
              zip((panel.fast, panel.slow), panel.pixel_size, strict=True)]  # fmt: skip
    cell = experiment.crystal.unit_cell
    header = [
        "!OUTPUT_FILE=INTEGRATE.HKL    DATE=1-Jan-2020",
        "!Generated by INTEGRATE    (VERSION simulated)",
        "!PROFILE_FITTING= TRUE",
        f"!SPACE_GROUP_NUMBER= {_number(experiment.crystal.hall)}",
        "!UNIT_CELL_CONSTANTS= " + " ".join(f"{x:.4f}" for x in cell),
        f"!NX= {panel.image_size[0]}  NY= {panel.image_size[1]}    "
        f"QX= {panel.pixel_size[0]:.6f}  QY= {panel.pixel_size[1]:.6f}",
        f"!STARTING_FRAME= {scan.image_range[0]}",
        f"!STARTING_ANGLE= {scan.oscillation[0]:.5f}",
        f"!OSCILLATION_RANGE= {scan.oscillation[1]:.6f}",
        "!ROTATION_AXIS= " + _three(goniometer.setting @ goniometer.axis),
        f"!X-RAY_WAVELENGTH= {experiment.beam.wavelength:.6f}",
        "!INCIDENT_BEAM_DIRECTION= " + _three(-experiment.beam.direction),
        "!DIRECTION_OF_DETECTOR_X-AXIS= " + _three(panel.fast),
        "!DIRECTION_OF_DETECTOR_Y-AXIS= " + _three(panel.slow),
        f"!ORGX= {origin[0]:.4f}  ORGY= {origin[1]:.4f}",
        f"!DETECTOR_DISTANCE= {float(panel.origin @ normal):.4f}",
        *(f"!UNIT_CELL_{name}-AXIS= " + _three(axis) for name, axis in zip("ABC", axes, strict=True)),
        f"!REFLECTING_RANGE_E.S.D.= {_mosaicity(data_set) / 2.355:.4f}",
        "!NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD=21",
        "!H,K,L,IOBS,SIGMA,XCAL,YCAL,ZCAL,RLP,PEAK,CORR,MAXC,",
        "!             XOBS,YOBS,ZOBS,ALF0,BET0,ALF1,BET1,PSI,ISEG",
        "!Items are separated by a blank and can be read in free-format",
        "!END_OF_HEADER",
    ]
    n = len(rows)
    values = np.column_stack(
        (
            table["miller_index"][rows],
            c * column("intensity.prf.value"),
            c * np.sqrt(column("intensity.prf.variance")),
            calculated[:, :2] + 0.5,
            observed[:, 2],
            rlp,
            100 * column("partiality"),
            np.full((n, 2), 50.0),
            observed[:, :2] + 0.5,
            observed[:, 2],
        )
    )
    form = "%d %d %d %.6E %.6E %.2f %.2f %.3f %.6f %.5f %d %d %.1f %.1f %.1f 0.0 0.0 0.0 0.0 0.0 1"
    with open(path, "w", encoding="ascii") as file:
        file.write("\n".join(header) + "\n")
        np.savetxt(file, values, fmt=form)
        file.write("!END_OF_DATA\n")


def _three(vector: Array) -> str:
    return " ".join(f"{x:.6f}" for x in vector)


def _number(hall: str) -> int:
    import gemmi

    return int(gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(hall)).number)
