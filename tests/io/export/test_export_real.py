"""Exports of real data: one sweep of l-cysteine that DIALS scaled, with a crystal refined at scan points."""

import json
from pathlib import Path

import gemmi
import numpy as np
import pytest

from braggscale.data.geometry import rotation
from braggscale.data.sorting import best_cell, common_symmetry
from braggscale.io import open_inputs
from braggscale.io.export.merged_mtz import merged_mtz
from braggscale.io.export.scaled_observations import Crystals, collect, in_listed_setting, scan_points
from braggscale.io.export.unmerged_mtz import unmerged_mtz
from braggscale.io.export.wavelengths import wavelength_sets
from braggscale.io.export.xds_ascii import xds_ascii


@pytest.fixture(scope="module")
def sweep(shared_data):
    folder = shared_data / "l_cysteine_scaled"
    files = sorted(str(p) for p in folder.iterdir() if p.suffix in (".expt", ".json", ".refl", ".pickle"))
    data = open_inputs(files)
    experiments = tuple(data_set.experiment for data_set in data.data_sets)
    cell = best_cell(experiments, None)
    rows = collect([data_set.table for data_set in data.data_sets], cell)
    (document,) = (json.loads(Path(f).read_text()) for f in files if f.endswith((".expt", ".json")))
    symmetry = common_symmetry(experiments)
    return in_listed_setting(Crystals(rows, experiments, symmetry, cell, scan_points(document, experiments)))


def test_batch_headers_predict_real_reflections(sweep, tmp_path):
    assert sweep.orientations[0] is not None
    path = tmp_path / "u.mtz"
    path.write_bytes(unmerged_mtz(sweep))
    mtz = gemmi.read_mtz_file(str(path))
    mtz.switch_to_original_hkl()
    headers = {b.number: np.array(list(b.floats)) for b in mtz.batches}
    hkl, batch, rot = (
        np.array(mtz.make_miller_array()),
        *(np.array(mtz.column_with_label(n).array) for n in ("BATCH", "ROT")),
    )
    misses = []
    for row in range(0, len(hkl), 41):
        f = headers[int(batch[row])]
        orth = np.array(gemmi.UnitCell(*f[:6]).orth.mat)
        b = np.linalg.cholesky(np.linalg.inv(orth.T @ orth)).T
        s1 = -f[83:86] / f[86] + rotation(f[59:62], float(rot[row])) @ f[6:15].reshape(3, 3).T @ b @ hkl[row]
        misses.append(np.linalg.norm(s1) * f[86] - 1)
    # within the mosaic width and the single precision of the angle
    assert np.abs(misses).max() < 1e-4


def test_merged_by_gemmi_as_by_us(sweep, tmp_path):
    (tmp_path / "u.mtz").write_bytes(unmerged_mtz(sweep))
    merged_mtz(wavelength_sets(sweep), sweep.symmetry, sweep.cell).write_to_file(str(tmp_path / "m.mtz"))
    theirs, ours = gemmi.Intensities(), gemmi.Intensities()
    theirs.import_mtz(gemmi.read_mtz_file(str(tmp_path / "u.mtz")))
    theirs.merge_in_place(gemmi.DataType.Mean)
    ours.import_mtz(gemmi.read_mtz_file(str(tmp_path / "m.mtz")), gemmi.DataType.Mean)
    np.testing.assert_array_equal(theirs.miller_array, ours.miller_array)
    np.testing.assert_allclose(theirs.value_array, ours.value_array, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(theirs.sigma_array, ours.sigma_array, rtol=1e-5)


def test_xds_ascii_of_real_data_opens(sweep, tmp_path):
    path = tmp_path / "XDS_ASCII.HKL"
    path.write_text(xds_ascii(sweep, 0))
    back = gemmi.read_xds_ascii(str(path))
    assert len(back.iobs_array) == len(sweep.rows)
    assert np.sum(back.iobs_array) == pytest.approx(sweep.rows.intensity.sum(), rel=1e-5)
