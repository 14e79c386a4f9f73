"""Small files of other programs for the tests of readers, made without the code under test."""

from __future__ import annotations

from typing import Any

import gemmi
import numpy as np

CELL = (10.0, 12.0, 15.0, 90.0, 90.0, 90.0)
WAVELENGTH = 0.9


def rotation(axis: Any, degrees: float) -> Any:
    """Rotation matrix, (3, 3)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    t = np.deg2rad(degrees)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(t) * k + (1 - np.cos(t)) * k @ k


def reflections(n_images: int = 20, width: float = 1.0) -> dict[str, Any]:
    """Reflections of an orthorhombic crystal that turns about z with the beam along x, predicted without our code.

    ``hkl``, ``phi`` (degrees), ``s1`` and ``u``, the orientation. The condition |s0 + R h| = |s0| is solved on a grid.
    """
    u = rotation([1, 2, 3], 40)
    b = np.diag([1 / CELL[0], 1 / CELL[1], 1 / CELL[2]])
    s0 = np.array([1 / WAVELENGTH, 0, 0])
    grid = np.mgrid[-8:9, -9:10, -11:12].reshape(3, -1).T
    grid = grid[np.abs(grid).sum(axis=1) > 0]
    q = grid @ (u @ b).T
    angle = np.linspace(0, n_images * width, 40 * n_images + 1)
    found: dict[str, list[Any]] = {"hkl": [], "phi": [], "s1": []}
    for h, r in zip(grid, q, strict=True):
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        x = r[0] * cos - r[1] * sin
        f = 2 * s0[0] * x + r @ r
        for k in np.flatnonzero(f[:-1] * f[1:] < 0):
            phi = angle[k] + (angle[k + 1] - angle[k]) * f[k] / (f[k] - f[k + 1])
            c, s = np.cos(np.deg2rad(phi)), np.sin(np.deg2rad(phi))
            found["hkl"].append(h)
            found["phi"].append(phi)
            found["s1"].append(s0 + [r[0] * c - r[1] * s, r[0] * s + r[1] * c, r[2]])
    result = {name: np.array(values) for name, values in found.items()}
    s1 = result["s1"]
    # what hits a detector of 200 mm at 100 mm
    hit = (s1[:, 0] > 0) & (np.abs(s1[:, 1:]).max(axis=1) < 0.99 * s1[:, 0])
    return {name: values[hit] for name, values in result.items()} | {"u": u}


def mtz(
    columns: dict[str, tuple[str, Any]],
    space_group: str = "P 2 2 2",
    u: Any = None,
    n_batches: int = 20,
    width: float = 1.0,
    first: int = 1,
    missets: tuple[float, float, float] = (0, 0, 0),
    cell: tuple[float, ...] = CELL,
) -> bytes:
    """An unmerged MTZ file of the columns, label -> (type, values), with batch headers if ``u`` is an orientation."""
    file = gemmi.Mtz(with_base=False)
    file.spacegroup = gemmi.SpaceGroup(space_group)
    file.set_cell_for_all(gemmi.UnitCell(*cell))
    data_set = file.add_dataset("sample")
    data_set.wavelength = WAVELENGTH
    file.set_cell_for_all(gemmi.UnitCell(*cell))
    for label, (kind, _) in columns.items():
        file.add_column(label, kind, dataset_id=data_set.id)
    file.set_data(np.column_stack([values for _, values in columns.values()]).astype(np.float32))
    for k in range(n_batches if u is not None else 0):
        header = gemmi.Mtz.Batch()
        header.number = first + k
        header.dataset_id = data_set.id
        for place, value in ((12, 1), (14, 2), (15, 1), (17, 1), (19, 1), (10, int(any(missets)))):
            header.ints[place] = value
        values: dict[int, list[float]] = {
            0: list(cell),
            6: np.asarray(u).T.ravel().tolist(),
            15: [*missets, *missets],
            36: [k * width, (k + 1) * width],
            38: [0, 0, 1],
            59: [0, 0, 1],
            80: [-1, 0, 0],
            83: [-1, 0, 0],
            86: [WAVELENGTH],
            111: [100.0],
            113: [0, 2000, 0, 2000],
        }
        for start, numbers in values.items():
            for i, number in enumerate(numbers):
                header.floats[start + i] = number
        header.axes = ["PHI"]
        file.batches.append(header)
    return bytes(file.write_to_bytes())


def mtz_columns(n_images: int = 20, width: float = 1.0, first: int = 1, seed: int = 1) -> dict[str, tuple[str, Any]]:
    """Columns of a file with indices as measured (M/ISYM 1), from ``reflections``, and its orientation as ``u``."""
    sample = reflections(n_images, width)
    rng = np.random.default_rng(seed)
    n = len(sample["phi"])
    s1 = sample["s1"]
    spot = s1[:, 1:] / s1[:, :1] * 100.0 / 0.1 + 1000.0
    batch = np.minimum(np.floor(sample["phi"] / width), n_images - 1) + first
    intensity = rng.exponential(1000.0, n)
    return {
        **{name: ("H", sample["hkl"][:, k]) for k, name in enumerate("HKL")},
        "M/ISYM": ("Y", np.ones(n)),
        "BATCH": ("B", batch),
        "I": ("J", intensity),
        "SIGI": ("Q", np.sqrt(intensity + 10)),
        "FRACTIONCALC": ("R", np.ones(n)),
        "XDET": ("R", spot[:, 0]),
        "YDET": ("R", spot[:, 1]),
        "ROT": ("R", sample["phi"]),
        "LP": ("R", rng.uniform(0.1, 0.5, n)),
    }


INTEGRATE_HEADER = """\
!OUTPUT_FILE=INTEGRATE.HKL    DATE=29-Nov-2011
!Generated by INTEGRATE    (VERSION  December 6, 2010)
!PROFILE_FITTING= TRUE
!SPACE_GROUP_NUMBER=   16
!UNIT_CELL_CONSTANTS=    10.000    12.000    15.000  90.000  90.000  90.000
!NAME_TEMPLATE_OF_DATA_FRAMES=/data/run1_1_???.img
!DETECTOR=ADSC
!NX=  2000  NY=  2000    QX=  0.100000  QY=  0.100000
!STARTING_FRAME=       1
!STARTING_ANGLE=     5.000
!OSCILLATION_RANGE=  1.000000
!ROTATION_AXIS=  1.000000  0.000000  0.000000
!X-RAY_WAVELENGTH=  0.900000
!INCIDENT_BEAM_DIRECTION=  0.000000  0.000000  1.000000
!DIRECTION_OF_DETECTOR_X-AXIS=  1.000000  0.000000  0.000000
!DIRECTION_OF_DETECTOR_Y-AXIS=  0.000000  1.000000  0.000000
!ORGX=   1000.50  ORGY=   1000.50
!DETECTOR_DISTANCE=   100.000
!UNIT_CELL_A-AXIS=    10.000     0.000     0.000
!UNIT_CELL_B-AXIS=     0.000    12.000     0.000
!UNIT_CELL_C-AXIS=     0.000     0.000    15.000
!BEAM_DIVERGENCE_E.S.D.=     0.042
!REFLECTING_RANGE_E.S.D.=     0.061
!MINPK=   75.00
!NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD=20
!H,K,L,IOBS,SIGMA,XCAL,YCAL,ZCAL,RLP,PEAK,CORR,MAXC,
!             XOBS,YOBS,ZOBS,ALF0,BET0,ALF1,BET1,PSI
!Items are separated by a blank and can be read in free-format
!END_OF_HEADER
"""
INTEGRATE_ROWS = """\
 -3 -5 -2 9.701E+03 2.082E+02 100.4 1031.3 3.4 0.94394 100 83 393 100.2 1031.6 3.5 -73.95 0.26 133.92 57.12 -84.37
 -3 -5 -1 7.686E+01 4.686E+01 106.5 991.4 4.7 0.92427 90 15 46 0.0 0.0 0.0 -73.95 0.26 134.58 56.70 -87.09
 3 5 2 1.350E+02 4.466E+01 107.2 957.6 9.9 0.90698 100 28 50 110.2 957.9 9.4 -73.95 0.26 135.23 56.37 -89.79
"""
ASCII_HEADER = """\
!FORMAT=XDS_ASCII    MERGE=FALSE    FRIEDEL'S_LAW=FALSE
!OUTPUT_FILE=XDS_ASCII.HKL        DATE=13-May-2026
!Generated by CORRECT   (VERSION Jan 19, 2025  BUILT=20251103)
!DATA_RANGE=       1    20
!ROTATION_AXIS=  1.000000  0.000000  0.000000
!OSCILLATION_RANGE=  1.000000
!STARTING_ANGLE=     5.000
!STARTING_FRAME=       1
!SPACE_GROUP_NUMBER=   16
!UNIT_CELL_CONSTANTS=    10.000    12.000    15.000  90.000  90.000  90.000
!X-RAY_WAVELENGTH=  0.900000
!INCIDENT_BEAM_DIRECTION=  0.000000  0.000000  1.000000
!FRACTION_OF_POLARIZATION=   0.990
!POLARIZATION_PLANE_NORMAL=  0.000000  1.000000  0.000000
!OVERLOAD=    65000
!NX=  2000  NY=  2000    QX=  0.100000  QY=  0.100000
!ORGX=   1000.50  ORGY=   1000.50
!DETECTOR_DISTANCE=   100.000
!DIRECTION_OF_DETECTOR_X-AXIS=   1.00000   0.00000   0.00000
!DIRECTION_OF_DETECTOR_Y-AXIS=   0.00000   1.00000   0.00000
!NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD=13
!ITEM_H=1
!ITEM_K=2
!ITEM_L=3
!ITEM_IOBS=4
!ITEM_SIGMA(IOBS)=5
!ITEM_XD=6
!ITEM_YD=7
!ITEM_ZD=8
!ITEM_RLP=9
!ITEM_PEAK=10
!ITEM_CORR=11
!ITEM_MAXC=12
!ITEM_PSI=13
!END_OF_HEADER
"""
ASCII_ROWS = """\
     0    -1     0  4.758E+02  1.806E+02   235.5   239.0    12.0   0.10084 100  76   500    6.44
     0     1     0  4.003E+02 -1.520E+02   252.4   259.8    13.9   0.10084  88  60   510   -6.25
    -1    -1     0  9.373E+02  3.561E+02   225.7   244.8     9.6   0.10216 100  69 65000   25.29
"""
END_OF_DATA = "!END_OF_DATA\n"
XSCALE = """\
!FORMAT=XDS_ASCII    MERGE=FALSE    FRIEDEL'S_LAW=TRUE
!OUTPUT_FILE=all.ahkl
!SPACE_GROUP_NUMBER=   16
!UNIT_CELL_CONSTANTS=    10.000    12.000    15.000  90.000  90.000  90.000
!Generated by XSCALE   (VERSION Jan 31, 2020  BUILT=20200131)
! ISET=   1 INPUT_FILE=a/XDS_ASCII.HKL
! ISET=   1 X-RAY_WAVELENGTH=  0.900000
! ISET=   1 UNIT_CELL_CONSTANTS=    10.010    12.000    15.000  90.000  90.000  90.000
! ISET=   2 INPUT_FILE=b/XDS_ASCII.HKL
! ISET=   2 X-RAY_WAVELENGTH=  1.200000
!NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD=10
!ITEM_H=1
!ITEM_K=2
!ITEM_L=3
!ITEM_IOBS=4
!ITEM_SIGMA(IOBS)=5
!ITEM_XD=6
!ITEM_YD=7
!ITEM_ZD=8
!ITEM_PSI=9
!ITEM_ISET=10
!END_OF_HEADER
     0    -1     0  4.758E+02  1.806E+01   235.5   239.0    12.0    6.44   1
     0     1     0  4.003E+02  1.520E+01   252.4   259.8    13.9   -6.25   1
    -1    -1     0  9.373E+02  3.561E+01   225.7   244.8    29.6   25.29   2
!END_OF_DATA
"""
