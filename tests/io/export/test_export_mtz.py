"""MTZ files, read back by gemmi."""

from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest
from export_samples import CELL, crystals, experiment, observations

from braggscale.data.geometry import orientation_matrix, rotation, unit, unit_cell
from braggscale.data.symmetry import Symmetry
from braggscale.errors import CommandError, DataError, InputError
from braggscale.io.export import free_flags
from braggscale.io.export.merged_mtz import merged_mtz
from braggscale.io.export.scaled_observations import Crystals, in_listed_setting, orientations_at_images
from braggscale.io.export.unmerged_mtz import batch_offsets, unmerged_mtz
from braggscale.io.export.wavelengths import union, wavelength_sets

# columns in their order
MERGED = """H K L FreeR_flag IMEAN SIGIMEAN N F SIGF I(+) SIGI(+) I(-) SIGI(-) N(+) N(-) F(+) SIGF(+) F(-) SIGF(-)
DANO SIGDANO IHALF1 SIGIHALF1 IHALF2 SIGIHALF2 NHALF1 NHALF2"""
UNMERGED = "H K L M/ISYM BATCH I SIGI SCALEUSED SIGSCALEUSED BG SIGBG FRACTIONCALC XDET YDET ROT LP QE"

BOXES = {
    " C 2y": (31.0, 43.0, 57.0, 90.0, 101.0, 90.0),
    "-P 2ybc": (31.0, 43.0, 57.0, 90.0, 101.0, 90.0),
    ' P 31 2"': (40.0, 40.0, 60.0, 90.0, 90.0, 120.0),
    ' R 3 2"': (40.0, 40.0, 60.0, 90.0, 90.0, 120.0),
    " I 4 2 3": (45.0, 45.0, 45.0, 90.0, 90.0, 90.0),
}


def read(tmp_path, content):
    path = tmp_path / "a.mtz"
    path.write_bytes(content)
    return gemmi.read_mtz_file(str(path))


def in_file(tmp_path, mtz):
    """The object after a file: what gemmi writes and reads back."""
    return read(tmp_path, mtz.write_to_bytes())


def column(mtz, label):
    return np.array(mtz.column_with_label(label).array)


@pytest.fixture(scope="module")
def sample():
    return crystals()


def test_merged_columns_read_back(sample, tmp_path):
    sets = wavelength_sets(sample)
    m, a = sets[0].merged, sets[0].amplitudes
    flags = free_flags.new_flags(m.hkl)
    mtz = in_file(
        tmp_path, merged_mtz(sets, sample.symmetry, sample.cell, free=flags.flag, crystal="LYS", project="ME")
    )
    assert mtz.column_labels() == MERGED.split()
    assert "".join(c.type for c in mtz.columns) == "HHHIJQIFQKMKMIIGLGLDQJQJQRR"
    np.testing.assert_array_equal(mtz.make_miller_array(), m.hkl)
    for label, values in {
        "IMEAN": m.mean,
        "SIGIMEAN": m.sigma,
        "I(+)": m.plus,
        "I(-)": m.minus,
        "SIGI(-)": m.sigma_minus,
        "F": a.f,
        "SIGF": a.sigma_f,
        "F(+)": a.plus,
        "F(-)": a.minus,
        "DANO": a.dano,
        "SIGDANO": a.sigma_dano,
        "IHALF1": m.half1,
        "IHALF2": m.half2,
        "N": m.n,
        "N(-)": np.where(m.n_minus, m.n_minus, np.nan),
        "FreeR_flag": flags.flag,
    }.items():
        np.testing.assert_allclose(column(mtz, label), values.astype(np.float32), err_msg=label)
    assert (mtz.datasets[1].crystal_name, mtz.datasets[1].project_name) == ("LYS", "ME")
    assert mtz.datasets[1].wavelength == pytest.approx(0.9)
    assert mtz.cell.parameters == pytest.approx(sample.cell)
    assert mtz.spacegroup.hm == "P 2 2 2"
    assert mtz.sort_order == [1, 2, 3, 0, 0]
    assert mtz.rfree_column().label == "FreeR_flag"


@pytest.mark.parametrize("hall", [" P 2 2", " P 2ac 2ab", " C 2y", "-P 2ybc", ' P 31 2"', ' R 3 2"', " I 4 2 3"])
def test_gemmi_merges_the_unmerged_file_to_the_merged_one(hall, tmp_path):
    symmetry = Symmetry.from_hall(hall)
    data = crystals(3, hall, BOXES.get(hall, CELL))
    unmerged = read(tmp_path, unmerged_mtz(data))
    merged = in_file(tmp_path, merged_mtz(wavelength_sets(data), symmetry, data.cell))
    for kind, labels in ((gemmi.DataType.Mean, ("IMEAN",)), (gemmi.DataType.Anomalous, ("I(+)", "I(-)"))):
        if symmetry.centrosymmetric and len(labels) > 1:
            continue
        theirs = gemmi.Intensities()
        theirs.import_mtz(unmerged)
        theirs.merge_in_place(kind)
        ours = {}
        for sign, label in zip((1, -1), labels, strict=False):
            for h, v in zip(merged.make_miller_array().tolist(), column(merged, label).tolist(), strict=True):
                if v == v:
                    ours[(*h, sign if len(labels) > 1 else 0)] = v
        found = {
            (*h, s if len(labels) > 1 else 0): v
            for h, s, v in zip(
                theirs.miller_array.tolist(), theirs.isign_array.tolist(), theirs.value_array.tolist(), strict=True
            )
        }
        # gemmi calls a centric reflection's intensity I+ as well
        assert found.keys() == ours.keys()
        np.testing.assert_allclose([found[k] for k in ours], list(ours.values()), rtol=2e-5, atol=1e-3)


def test_unmerged_columns_read_back(sample, tmp_path):
    mtz = read(tmp_path, unmerged_mtz(sample))
    assert mtz.column_labels() == (
        [
            "H",
            "K",
            "L",
            "M/ISYM",
            "BATCH",
            "I",
            "SIGI",
            "SCALEUSED",
            "SIGSCALEUSED",
            "BG",
            "SIGBG",
            "FRACTIONCALC",
            "XDET",
            "YDET",
            "ROT",
            "LP",
            "QE",
        ]
    )
    assert "".join(c.type for c in mtz.columns) == "HHHYBJQRRRRRRRRRR"
    assert mtz.sort_order == [1, 2, 3, 4, 5]
    mtz.switch_to_original_hkl()
    rows = sample.rows
    a = np.lexsort((column(mtz, "YDET"), column(mtz, "XDET")))
    b = np.lexsort((rows.xyz[:, 1].astype(np.float32), rows.xyz[:, 0].astype(np.float32)))
    np.testing.assert_array_equal(np.array(mtz.make_miller_array())[a], rows.hkl[b])
    for label, values in (
        ("I", rows.intensity),
        ("SIGI", rows.sigma),
        ("SCALEUSED", rows.scale),
        ("SIGBG", rows.background_sigma),
        ("LP", rows.lp),
    ):
        np.testing.assert_array_equal(column(mtz, label)[a], values[b].astype(np.float32), err_msg=label)
    image = np.clip(np.floor(rows.z) + 1, 1, 60) + np.array([0, 100])[rows.data_set]
    np.testing.assert_array_equal(column(mtz, "BATCH")[a], image[b])


def test_columns_that_no_table_has_are_left_out(sample, tmp_path):
    rows = sample.rows.take(np.arange(50))
    nothing = np.full(50, np.nan)
    rows = replace(rows, background=nothing, background_sigma=nothing, lp=nothing)
    mtz = read(tmp_path, unmerged_mtz(replace(sample, rows=rows)))
    assert not {"BG", "SIGBG", "LP"} & set(mtz.column_labels())


def test_batch_headers_predict_the_reflections(sample, tmp_path):
    """|s0 + R(e1, ROT) U B h| = 1/wavelength, from nothing but the file."""
    mtz = read(tmp_path, unmerged_mtz(sample))
    mtz.switch_to_original_hkl()
    headers = {b.number: np.array(list(b.floats)) for b in mtz.batches}
    assert sorted(headers) == [*range(1, 61), *range(101, 161)]
    hkl, batch, rot = np.array(mtz.make_miller_array()), column(mtz, "BATCH"), column(mtz, "ROT")
    for row in range(0, len(hkl), 37):
        f = headers[int(batch[row])]
        u = f[6:15].reshape(3, 3).T
        np.testing.assert_allclose(u @ u.T, np.eye(3), atol=1e-6)
        cell = gemmi.UnitCell(*f[:6])
        b = np.linalg.cholesky(np.linalg.inv(np.array(cell.orth.mat).T @ np.array(cell.orth.mat))).T
        s0 = -f[83:86] / f[86]
        r = rotation(unit(f[59:62]), float(rot[row])) @ u @ b @ hkl[row]
        assert np.linalg.norm(s0 + r) * f[86] == pytest.approx(1, abs=2e-5)
        assert abs(rot[row] - (f[36] + f[37]) / 2) < 1.5
        np.testing.assert_allclose(f[[36, 38, 39, 40, 43, 47, 86]][1:], [0, 0, 1, 1, 0.5, 0.9], atol=1e-6)
        np.testing.assert_allclose(f[[111, 114, 116]], [150, 1800, 1900], rtol=1e-5)
        assert s0[1] == pytest.approx(0, abs=1e-7) and s0[0] > 0


def test_headers_follow_a_crystal_that_moves(sample, tmp_path):
    e = sample.experiments[0]
    slip = np.stack([rotation(np.array([0.0, 0.6, 0.8]), 0.01 * k) for k in range(61)])
    points = slip @ orientation_matrix(e.crystal)
    moving = Crystals(sample.rows, sample.experiments, sample.symmetry, sample.cell, (points, None))
    still = read(tmp_path, unmerged_mtz(sample)).batches
    moved = read(tmp_path, unmerged_mtz(moving)).batches
    for k, expected in ((0, 0.005), (59, 0.595), (60, 0.0)):
        a, b = (np.array(list(batches[k].floats))[6:15].reshape(3, 3).T for batches in (still, moved))
        assert np.rad2deg(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1))) == pytest.approx(expected, abs=0.03)
    assert np.array(list(moved[5].floats))[:6] == pytest.approx(CELL, rel=1e-5)
    assert orientations_at_images(e, None).shape == (60, 3, 3)


def test_stills_get_a_batch_each(tmp_path):
    data = crystals(wavelengths=(0.9, 0.9, 0.9))
    bare = replace(data.experiments[1], scan=None, goniometer=None)
    narrow = replace(
        data.experiments[2], scan=replace(data.experiments[2].scan, image_range=(17, 17), oscillation=(0, 0))
    )
    data = replace(data, experiments=(data.experiments[0], bare, narrow))
    assert batch_offsets(data.experiments) == [0, 100, 85]
    mtz = read(tmp_path, unmerged_mtz(data))
    assert [b.number for b in mtz.batches] == [*range(1, 61), 101, 102]
    assert set(column(mtz, "BATCH").astype(int)) <= {b.number for b in mtz.batches}
    assert (column(mtz, "ROT")[column(mtz, "BATCH") > 100] == 0).all()


def test_several_wavelengths_are_data_sets(tmp_path):
    data = crystals(5, wavelengths=(0.9790, 0.97895, 0.9800))
    sets = wavelength_sets(data)
    assert [s.wavelength for s in sets] == pytest.approx([0.978975, 0.98])
    hkl = union(sets)
    mtz = in_file(tmp_path, merged_mtz(sets, data.symmetry, data.cell, free=free_flags.new_flags(hkl).flag))
    np.testing.assert_array_equal(mtz.make_miller_array(), hkl)
    assert [d.wavelength for d in mtz.datasets] == pytest.approx([0, 0.978975, 0.98], abs=1e-5)
    assert mtz.column_with_label("DANO_WAVE2").dataset_id == 2
    for k, one in enumerate(sets, start=1):
        values = column(mtz, f"IMEAN_WAVE{k}")
        np.testing.assert_array_equal(values[np.isfinite(values)], one.merged.mean.astype(np.float32))
    unmerged = read(tmp_path, unmerged_mtz(data))
    assert [b.dataset_id for b in unmerged.batches][::60] == [1, 1, 2]
    assert unmerged.batches[130].wavelength == pytest.approx(0.98)


def test_a_setting_without_a_name_is_carried_to_one_that_has(tmp_path):
    """The primitive cell of C2: the same intensities, the same d, a file that gemmi understands."""
    listed = crystals(7, " C 2y", (31.0, 43, 57, 90, 101, 90))
    hall = " C 2y (x+y,-x+y,z)"
    primitive = Symmetry.from_hall(hall)
    assert primitive.name is None
    # a' = (a - b)/2 and so on: for either direction that the symbol can mean, indices transform there and back
    m = np.linalg.inv(np.array(primitive.to_reference))
    m *= np.cbrt(0.5 / abs(np.linalg.det(m)))
    moved = []
    for e in listed.experiments:
        real = m.T @ e.crystal.real_space
        moved.append(replace(e, crystal=replace(e.crystal, real_space=real, hall=hall, unit_cell=unit_cell(real))))
    hkl = np.rint(listed.rows.hkl @ m).astype(np.int32)
    data = Crystals(replace(listed.rows, hkl=hkl), tuple(moved), primitive, moved[0].crystal.unit_cell, (None, None))
    with pytest.raises(DataError, match="no table lists"):
        unmerged_mtz(data)
    back = in_listed_setting(data)
    assert back.symmetry == listed.symmetry
    np.testing.assert_array_equal(back.rows.hkl, listed.rows.hkl)
    assert back.cell == pytest.approx(listed.cell)
    np.testing.assert_allclose(back.experiments[0].crystal.real_space, listed.experiments[0].crystal.real_space)
    assert unmerged_mtz(back) == unmerged_mtz(listed)
    assert in_listed_setting(listed) is listed


def test_same_bytes_every_time(sample):
    assert unmerged_mtz(sample) == unmerged_mtz(sample)


def test_an_axis_along_the_beam_is_refused(sample):
    e = sample.experiments[0]
    goniometer = replace(e.goniometer, axis=e.beam.direction, setting=np.eye(3))
    broken = (replace(e, goniometer=goniometer), sample.experiments[1])
    with pytest.raises(DataError, match="sweep0.*along the beam"):
        unmerged_mtz(replace(sample, experiments=broken))


# Free flags


def test_a_twentieth_is_free():
    hkl = union(wavelength_sets(crystals(1)))
    flags = free_flags.new_flags(hkl)
    assert set(flags.flag.tolist()) == set(range(20))
    n = len(hkl)
    assert abs((flags.flag == 0).sum() - n / 20) < 4 * np.sqrt(n / 20)
    some = np.random.default_rng(0).random(n) < 0.5
    np.testing.assert_array_equal(free_flags.new_flags(hkl[some]).flag, flags.flag[some])
    assert set(free_flags.new_flags(hkl, 0.1).flag.tolist()) == set(range(10))
    with pytest.raises(CommandError, match="0.7"):
        free_flags.new_flags(hkl, 0.7)


def write_flags(path, hkl, values, label="FreeR_flag", hall=" P 2 2"):
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(hall))
    mtz.set_cell_for_all(gemmi.UnitCell(*CELL))
    mtz.add_column(label, "I")
    mtz.set_data(np.column_stack((hkl, values)).astype(np.float32))
    mtz.write_to_file(str(path))
    return str(path)


@pytest.mark.parametrize("label", ["FreeR_flag", "R-free-flags", "FREE"])
def test_flags_of_a_file_are_kept_and_extended(tmp_path, label):
    symmetry = Symmetry.from_hall(" P 2 2")
    hkl = union(wavelength_sets(crystals(1)))
    theirs = np.random.default_rng(3).integers(0, 20, len(hkl))
    known = np.arange(len(hkl)) % 3 > 0
    # an equivalent index, as another program may have chosen it
    path = write_flags(tmp_path / "f.mtz", hkl[known] * [-1, -1, 1], theirs[known], label)
    flags = free_flags.flags_from_mtz(path, hkl, symmetry)
    np.testing.assert_array_equal(flags.flag[known], theirs[known])
    assert flags.taken == known.sum() and flags.free == 0
    assert set(flags.flag[~known].tolist()) == set(range(20))
    np.testing.assert_array_equal(flags.flag[~known], free_flags.new_flags(hkl).flag[~known])


def test_flags_of_one_set_keep_their_share(tmp_path):
    hkl = union(wavelength_sets(crystals(1)))
    theirs = (np.random.default_rng(3).random(len(hkl)) < 0.1).astype(int)
    known = np.arange(len(hkl)) % 2 > 0
    path = write_flags(tmp_path / "f.mtz", hkl[known], theirs[known])
    flags = free_flags.flags_from_mtz(path, hkl, Symmetry.from_hall(" P 2 2"))
    assert flags.free == 1
    assert flags.flag[~known].mean() == pytest.approx(0.1, abs=0.03)


def test_flags_that_contradict_each_other(tmp_path, caplog):
    hkl = np.array([[1, 2, 3], [1, 2, -3], [2, 2, 2]])
    path = write_flags(tmp_path / "f.mtz", hkl, [7, 4, 11], hall=" P 1")
    flags = free_flags.flags_from_mtz(path, np.array([[1, 2, 3], [2, 2, 2]]), Symmetry.from_hall(" P 2 2"))
    assert flags.flag.tolist() == [4, 11]
    assert "1 equivalent" in caplog.text


def test_bad_flag_files(tmp_path):
    hkl = np.array([[1, 2, 3]])
    symmetry = Symmetry.from_hall(" P 2 2")
    with pytest.raises(CommandError, match="cannot be read"):
        free_flags.flags_from_mtz(str(tmp_path / "absent.mtz"), hkl, symmetry)
    (tmp_path / "text.mtz").write_text("no")
    with pytest.raises(CommandError, match="cannot be read"):
        free_flags.flags_from_mtz(str(tmp_path / "text.mtz"), hkl, symmetry)
    same = write_flags(tmp_path / "same.mtz", [[1, 2, 3], [2, 2, 2]], [1, 1])
    with pytest.raises(InputError, match="all 2 reflections have the flag 1; that is no free set"):
        free_flags.flags_from_mtz(same, hkl, symmetry)
    odd = tmp_path / "odd.mtz"
    odd.write_bytes(Path(same).read_bytes().replace(b"FreeR_flag", b"\x84reeR_flag"))
    with pytest.raises(InputError, match="a column has a label that is no text"):
        free_flags.flags_from_mtz(str(odd), hkl, symmetry)
    path = write_flags(tmp_path / "f.mtz", [[1, 2, 3], [2, 2, 2]], [3, 0], label="COUNT")
    with pytest.raises(CommandError, match="COUNT"):
        free_flags.flags_from_mtz(path, hkl, symmetry)
    assert free_flags.flags_from_mtz(path, hkl, symmetry, "count").flag.tolist() == [3]
    with pytest.raises(InputError, match="same crystal form"):
        free_flags.flags_from_mtz(path, np.array([[4, 4, 4]]), symmetry, "COUNT")


def test_samples_are_what_they_say():
    """The observations of the sample lie on the sphere of reflection (guards the tests above)."""
    rng = np.random.default_rng(1)
    e = experiment(rng)
    rows = observations(rng, [e], Symmetry.from_hall(" P 2 2"))
    assert len(rows) > 500
