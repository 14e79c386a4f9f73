"""SHELX, scalepack, XDS_ASCII and mmCIF files, read back by gemmi or by their formats' columns."""

from dataclasses import replace

import gemmi
import numpy as np
import pytest
from export_samples import CELL, crystals
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.flags import Flag
from braggscale.data.geometry import rotation, unit
from braggscale.data.index_order import sort_order
from braggscale.data.symmetry import Symmetry
from braggscale.data.wavelengths import wavelength_groups
from braggscale.errors import DataError
from braggscale.io.export import free_flags, scalepack, shelx, xds_ascii
from braggscale.io.export.export import ExportData, ExportSettings
from braggscale.io.export.fixed_width import fields_of_8, scale_to_fit
from braggscale.io.export.merged_cif import merged_cif
from braggscale.io.export.mmcif import pdb_name
from braggscale.io.export.scaled_observations import Changed, cell_esd, collect, scan_points
from braggscale.io.export.transmission import transmission_range
from braggscale.io.export.unmerged_cif import unmerged_cif
from braggscale.io.export.wavelengths import wavelength_sets
from braggscale.statistics.merging_statistics import Unmerged, merging_statistics


@pytest.fixture(scope="module")
def sample():
    return crystals()


def statistics(data):
    rows = data.rows
    asu, minus = data.symmetry.asu(rows.hkl)
    o = sort_order(asu, minus)
    return merging_statistics(
        Unmerged(asu[o], minus[o], rows.intensity[o], rows.sigma[o], data.cell, data.symmetry), n_bins=5
    )


# Numbers in eight characters


@settings(max_examples=300, deadline=None)
@given(st.floats(-9999, 99999))
def test_eight_characters_hold_the_number(x):
    (text,) = fields_of_8(np.array([x]))
    assert len(text) == 8 and text[0] == " " and "." in text
    assert float(text) == pytest.approx(x, rel=6e-5, abs=6e-5)


def test_eight_characters_at_the_turn_of_a_digit():
    values = np.array([9.999999, 99999.0, 9999.96, -9999.0, 0.0, -0.000001, 999.9999, -99.99996])
    for text, x in zip(fields_of_8(values), values, strict=True):
        assert len(text) == 8
        assert float(text) == pytest.approx(x, rel=6e-5, abs=6e-5)


def test_factor_that_fits():
    assert scale_to_fit(99999.0, -5.0, 99999.0, -9999.0) == 1.0
    assert scale_to_fit(2.5e6, 0.0, 99999.0, -9999.0) == pytest.approx(0.01)
    assert scale_to_fit(10.0, -20000.0, 99999.0, -9999.0) == pytest.approx(0.1)


# SHELX


def read_hkl(text):
    """By columns, as a Fortran program does."""
    lines = text.splitlines()
    assert lines[-1].split() == ["0", "0", "0", "0.00", "0.00"]
    assert {len(line) for line in lines} == {28}
    hkl = np.array([[int(line[k : k + 4]) for k in (0, 4, 8)] for line in lines[:-1]])
    return hkl, np.array([[float(line[12:20]), float(line[20:28])] for line in lines[:-1]]).T


def test_shelx_reflections(sample):
    hkl, (i, s) = read_hkl(shelx.hkl_file(sample.rows))
    np.testing.assert_array_equal(hkl, sample.rows.hkl)
    np.testing.assert_allclose(i, sample.rows.intensity, rtol=6e-5, atol=6e-5)
    np.testing.assert_allclose(s, sample.rows.observed_sigma, rtol=6e-5, atol=6e-5)


def test_shelx_strong_reflections_are_scaled_down(sample, caplog):
    caplog.set_level("INFO")
    intensity, sigma = sample.rows.intensity * 1e4, sample.rows.observed_sigma * 1e4
    strong = replace(sample.rows, intensity=intensity, observed_sigma=sigma)
    hkl, (i, s) = read_hkl(shelx.hkl_file(strong))
    ratio = strong.intensity / i
    assert np.median(ratio) in (10.0, 100.0, 1000.0) or np.log10(np.median(ratio)) % 1 < 1e-3
    np.testing.assert_allclose(i / s, strong.intensity / strong.observed_sigma, rtol=2e-4, atol=1e-4)
    assert "multiplied by" in caplog.text


def test_shelx_and_scalepack_refuse_long_indices(sample):
    far = replace(sample.rows.take(np.array([0])), hkl=np.array([[1000, 0, 0]], np.int32))
    with pytest.raises(DataError, match="999"):
        shelx.hkl_file(far)
    merged = wavelength_sets(replace(sample, rows=far), with_amplitudes=False)[0].merged
    with pytest.raises(DataError, match="999"):
        scalepack.scalepack(merged, sample.symmetry, sample.cell)


@pytest.mark.parametrize(
    "name",
    "P 1;P -1;P 21 21 21;C 1 2/c 1;I 41/a;R 3 :H;R -3 :H;F d d 2;P n m a;F m -3 m;A 1 2 1".split(";"),  # noqa: SIM905
)
def test_shelx_symmetry_makes_the_whole_group(name):
    """LATT and SYMM expanded by SHELX' rules give the operators of the space group and no others."""
    group = gemmi.SpaceGroup(name)
    symmetry = Symmetry.from_hall(group.hall)
    if symmetry.centrosymmetric and "-x,-y,-z" not in symmetry.triplets:
        group = gemmi.SpaceGroup(name + ":2")
        symmetry = Symmetry.from_hall(group.hall)
    number, listed = shelx.lattice(symmetry)
    letter = " PIRFABC"[abs(number)]
    centring = gemmi.GroupOps([gemmi.Op("x,y,z")])
    shifts = {
        "P": [],
        "I": ["x+1/2,y+1/2,z+1/2"],
        "R": ["x+2/3,y+1/3,z+1/3", "x+1/3,y+2/3,z+2/3"],
        "F": ["x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "x+1/2,y+1/2,z"],
        "A": ["x,y+1/2,z+1/2"],
        "B": ["x+1/2,y,z+1/2"],
        "C": ["x+1/2,y+1/2,z"],
    }[letter]
    assert len(list(centring)) == 1
    result = set()
    for text in ["x,y,z", *listed]:
        for op in [gemmi.Op(text.lower())] + ([gemmi.Op("-x,-y,-z") * gemmi.Op(text.lower())] if number > 0 else []):
            for shift in ["x,y,z", *shifts]:
                result.add((gemmi.Op(shift) * op).wrap().triplet())
    assert result == set(symmetry.triplets)
    assert (len(listed) + 1) * (len(shifts) + 1) * (2 if number > 0 else 1) == len(symmetry.triplets)


def test_shelx_needs_the_centre_at_the_origin():
    with pytest.raises(DataError, match="origin"):
        shelx.lattice(Symmetry.from_hall(gemmi.SpaceGroup("F d -3 m:1").hall))


def test_shelx_instructions(sample):
    known = replace(sample, cell_esd=(0.01,) * 6)
    text = shelx.ins_file(known, contents=[("C", 12), ("S", 4)])
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert [float(x) for x in lines["CELL"]] == pytest.approx([0.9, *CELL])
    assert lines["ZERR"] == ["4"] + ["0.0100"] * 3 + ["0.0000"] * 3, "angles are fixed by symmetry"
    monoclinic = replace(known, symmetry=Symmetry.from_hall(" P 2y"), cell=(*CELL[:4], 95.0, 90.0))
    assert "ZERR 2 0.0100 0.0100 0.0100 0.0000 0.0100 0.0000" in shelx.ins_file(monoclinic)
    block = gemmi.cif.read_string(shelx.cif(monoclinic, None)).sole_block()
    assert block.find_value("_cell_length_a") == "31.000(10)" and block.find_value("_cell_angle_beta") == "95.000(10)"
    assert "ZERR 4 0.0000 0.0000" in shelx.ins_file(sample)
    assert lines["SFAC"] == ["C", "S"] and lines["UNIT"] == ["12", "4"] and lines["HKLF"] == ["4"]
    assert "guess" in shelx.ins_file(sample)
    with pytest.raises(DataError, match="0.90000, 1.20000"):
        shelx.ins_file(crystals(wavelengths=(0.9, 1.2)))


@pytest.mark.parametrize(
    ("hall", "fixed"), [(" P 1", ""), (' P 31 2"', "abc"), (" P 3* 2", ""), (" I 4", "abc"), (" P 2", "ab")]
)
def test_angles_that_symmetry_fixes_have_no_deviation(sample, hall, fixed):
    changed = replace(sample, symmetry=Symmetry.from_hall(hall), cell_esd=(0.01,) * 6)
    angles = shelx.ins_file(changed).split("ZERR")[1].split()[4:7]
    assert angles == ["0.0000" if letter in fixed else "0.0100" for letter in "abc"]


def test_deviations_of_the_cell():
    """From the covariance of B: with B = diag(1/a, 1/b, 1/c), da = a^2 dB_11, and of alpha a shear of the axes."""
    cell = (10.0, 20.0, 40.0, 90.0, 90.0, 90.0)
    covariance = np.zeros((9, 9))
    covariance[0, 0], covariance[8, 8], covariance[7, 7] = 1e-10, 4e-12, 9e-12
    axes = {f"real_space_{letter}": row.tolist() for letter, row in zip("abc", np.diag(cell[:3]), strict=True)}
    crystal = {**axes, "B_covariance": covariance.ravel().tolist()}
    document = {"experiment": [{"crystal": 0}, {"crystal": 0}], "crystal": [crystal]}
    found = cell_esd(document, cell)
    assert found[:3] == pytest.approx((1e-3, 0.0, 3.2e-3), abs=1e-9)
    # c* and b* enclose alpha*: a change of B_32 by dB turns b* by b dB
    assert found[3:] == pytest.approx((np.rad2deg(20.0 * 3e-6), 0.0, 0.0), abs=1e-9)
    assert cell_esd(document, (10.1, *cell[1:])) is None, "not the cell of the crystal"
    assert cell_esd({**document, "crystal": [axes]}, cell) is None
    refined = {**axes, "recalculated_unit_cell": list(cell), "recalculated_cell_parameter_sd": [0.1] * 6}
    assert cell_esd({**document, "crystal": [refined]}, cell) == (0.1,) * 6
    for bad in ([1.0] * 5, ["x"] * 6, None):
        assert cell_esd({**document, "crystal": [{**refined, "recalculated_cell_parameter_sd": bad}]}, cell) is None


def test_small_molecule_cif(sample):
    block = gemmi.cif.read_string(shelx.cif(sample, statistics(sample))).sole_block()
    assert int(block.find_value("_diffrn_reflns_number")) == len(sample.rows)
    # the model of the sample has no absorption correction
    assert [block.find_value(f"_exptl_absorpt_correction_T_{e}") for e in ("min", "max")] == ["?", "?"]
    largest = 2 * np.sin(np.deg2rad(float(block.find_value("_diffrn_reflns_theta_max")))) / 0.9
    assert 1 / largest == pytest.approx(2.6, abs=0.01)
    given = gemmi.cif.read_string(shelx.cif(sample, None, transmission=(0.2, 0.9))).sole_block()
    assert given.find_value("_exptl_absorpt_correction_T_min") == "0.2000"
    assert given.find_value("_diffrn_reflns_av_R_equivalents") == "?"


def test_transmission_is_that_of_the_absorption_alone(sample):
    """A surface of known contrast; the scale of the model, which varies more, does not count."""
    # Y_10 = sqrt(3/4 pi) z: at small angles incoming and outgoing z cancel, so that only even orders act
    odd, even = [0.0, 0.3, 0.0], [0.0] * 3 + [0.0, 0.0, 0.2, 0.0, 0.0]
    ranges = []
    for values in (odd, even):
        stored = {"__id__": "physical", "scale": {"parameters": [0.2, 5.0]}, "absorption": {"parameters": values}}
        experiments = [replace(e, scaling_model=stored) for e in sample.experiments]
        ranges.append(transmission_range(experiments, 0.5))
    assert ranges[0][0] > 0.99 and ranges[0][1] == 1.0
    # Y_20 = sqrt(5/16 pi) (3 z^2 - 1), from -0.315 to 0.631
    assert ranges[1][0] == pytest.approx((1 - 0.2 * 0.315) / (1 + 0.2 * 0.631), abs=0.01)
    grid = {"__id__": "array", "absorption": {"parameters": [0.8, 1.0, 1.1]}}
    assert transmission_range([replace(sample.experiments[0], scaling_model=grid)], 20.0)[0] == pytest.approx(
        0.727, abs=0.002
    )
    wrong = {"__id__": "physical", "absorption": {"parameters": [0.1, 0.2]}}
    assert transmission_range([replace(sample.experiments[0], scaling_model=wrong)], 20.0) is None


# scalepack


def read_sca(text):
    lines = text.splitlines()
    assert lines[0] == "    1" and lines[1].split() == ["-987"]
    header = lines[2]
    cell = [float(header[k : k + 10]) for k in range(0, 60, 10)]
    found = []
    for line in lines[3:]:
        fields = [line[k : k + 8].strip() for k in (12, 20, 28, 36)]
        found.append([int(line[k : k + 4]) for k in (0, 4, 8)] + [float(x) if x else np.nan for x in fields])
    return cell, header[60:].strip(), np.array(found)


def test_scalepack_anomalous(sample):
    merged = wavelength_sets(sample, with_amplitudes=False)[0].merged
    cell, name, table = read_sca(scalepack.scalepack(merged, sample.symmetry, sample.cell))
    assert cell == pytest.approx(CELL) and name == "p222"
    np.testing.assert_array_equal(table[:, :3], merged.hkl)
    expected = np.column_stack((merged.plus, merged.sigma_plus, merged.minus, merged.sigma_minus))
    np.testing.assert_allclose(table[:, 3:], expected, rtol=6e-5, atol=6e-5)
    assert np.isnan(expected[:, 0]).any() and np.isnan(expected[:, 2]).any()


def test_scalepack_mean(sample):
    merged = wavelength_sets(sample, with_amplitudes=False)[0].merged
    _, _, table = read_sca(scalepack.scalepack(merged, sample.symmetry, sample.cell, anomalous=False))
    np.testing.assert_allclose(table[:, 3:5], np.column_stack((merged.mean, merged.sigma)), rtol=6e-5, atol=6e-5)


# XDS_ASCII


def header_of(text):
    values = {}
    for line in text.splitlines():
        if line.startswith("!") and "=" in line:
            words = line[1:].replace("=", "= ").split()
            key = None
            for word in words:
                if word.endswith("="):
                    key = word[:-1]
                    values[key] = []
                elif key:
                    values[key].append(word)
    return values


def test_xds_ascii_read_by_gemmi(sample, tmp_path):
    path = tmp_path / "XDS_ASCII.HKL"
    path.write_text(xds_ascii.xds_ascii(sample, 1, error_model=(1.5, 0.02)))
    back = gemmi.read_xds_ascii(str(path))
    mine = sample.rows.take(sample.rows.data_set == 1)
    assert back.wavelength == pytest.approx(0.9) and back.spacegroup_number == 16
    assert list(back.cell_constants) == pytest.approx(CELL)
    a = np.lexsort((back.yd_array, back.xd_array))
    b = np.lexsort((np.round(mine.xyz[:, 1], 2), np.round(mine.xyz[:, 0], 2)))
    np.testing.assert_array_equal(np.array(back.miller_array)[a], mine.hkl[b])
    np.testing.assert_allclose(np.array(back.iobs_array)[a], mine.intensity[b], rtol=1e-5)
    np.testing.assert_allclose(np.array(back.sigma_array)[a], mine.sigma[b], rtol=1e-4)
    asu = sample.symmetry.asu(np.array(back.miller_array))[0]
    assert (np.lexsort(asu.T[::-1]) == np.arange(len(asu))).all()
    model = [float(x) for x in header_of(path.read_text())["VARIANCE_MODEL"]]
    assert model == pytest.approx([2.25, 0.0004])


@pytest.mark.parametrize("number", [0, 1])
def test_xds_ascii_geometry_gives_the_indices_back(sample, number):
    """From XD, YD, ZD and the header alone, as XDS itself describes its geometry."""
    text = xds_ascii.xds_ascii(sample, number)
    h = {k: np.array(v, float) for k, v in header_of(text).items() if k not in ("FORMAT", "MERGE", "FRIEDEL'S_LAW")}
    rows = np.array([line.split() for line in text.splitlines() if not line.startswith("!")], float)
    axes = np.stack([h[f"UNIT_CELL_{x}-AXIS"] for x in "ABC"])
    x_axis, y_axis = h["DIRECTION_OF_DETECTOR_X-AXIS"], h["DIRECTION_OF_DETECTOR_Y-AXIS"]
    np.testing.assert_allclose(x_axis, [1, 0, 0], atol=1e-6)
    s0 = h["INCIDENT_BEAM_DIRECTION"]
    s0 = s0 / np.linalg.norm(s0) / h["X-RAY_WAVELENGTH"]
    for row in rows[::23]:
        point = h["QX"] * (row[5] - h["ORGX"]) * x_axis + h["QY"] * (row[6] - h["ORGY"]) * y_axis
        point = point + h["DETECTOR_DISTANCE"] * np.cross(x_axis, y_axis)
        s1 = unit(point) / h["X-RAY_WAVELENGTH"]
        phi = h["STARTING_ANGLE"] + h["OSCILLATION_RANGE"] * (row[7] - h["STARTING_FRAME"] + 1)
        q = rotation(unit(h["ROTATION_AXIS"]), -float(phi[0])) @ (s1 - s0)
        np.testing.assert_allclose(axes @ q, row[:3], atol=6e-3)


def test_xds_ascii_azimuth_turns_with_the_reflection(sample):
    """Friedel mates and other equivalents aside: PSI lies in its range, and u is perpendicular to h."""
    psi = xds_ascii.azimuths(sample.experiments[0], sample.rows.take(sample.rows.data_set == 0))
    assert (np.abs(psi) <= 180).all() and psi.std() > 30


def test_xds_ascii_needs_a_scan(sample):
    bare = (replace(sample.experiments[0], scan=None), sample.experiments[1])
    with pytest.raises(DataError, match="sweep0.*needs a scan"):
        xds_ascii.xds_ascii(replace(sample, experiments=bare), 0)


# mmCIF


def test_merged_mmcif(sample):
    sets = wavelength_sets(sample)
    m, a = sets[0].merged, sets[0].amplitudes
    s = statistics(sample)
    flags = free_flags.new_flags(m.hkl)
    text = merged_cif(sets, sample.symmetry, sample.cell, [s], free=flags.flag)
    (block,) = gemmi.as_refln_blocks(gemmi.cif.read_string(text))
    assert block.is_merged() and block.spacegroup.hm == "P 2 2 2" and block.wavelength == pytest.approx(0.9)
    assert block.cell.parameters == pytest.approx(CELL)
    np.testing.assert_array_equal(block.make_miller_array(), m.hkl)
    for name, values in {
        "intensity_meas": m.mean,
        "intensity_sigma": m.sigma,
        "F_meas_au": a.f,
        "F_meas_sigma_au": a.sigma_f,
        "pdbx_I_plus": m.plus,
        "pdbx_I_minus_sigma": m.sigma_minus,
        "pdbx_F_minus": a.minus,
        "pdbx_anom_difference": a.dano,
        "pdbx_r_free_flag": flags.flag,
    }.items():
        np.testing.assert_allclose(block.make_float_array(name), values, rtol=1e-6, atol=1e-7, err_msg=name)
    found = gemmi.cif.read_string(text).sole_block()
    status = list(found.find_values("_refln.status"))
    assert [x == "f" for x in status] == (flags.flag == 0).tolist()
    assert float(found.find_value("_reflns.pdbx_Rrim_I_all")) == pytest.approx(s.overall.r_meas, abs=1e-4)
    assert int(found.find_value("_reflns.number_obs")) == s.overall.n_unique == len(m)
    shells = found.find("_reflns_shell.", ["d_res_high", "pdbx_CC_half", "number_unique_obs"])
    assert [float(r[0]) for r in shells] == pytest.approx([x.d_min for x in reversed(s.shells)], abs=1e-4)
    assert sum(int(r[2]) for r in shells) == len(m)


def test_unmerged_mmcif(sample):
    text = unmerged_cif(sample, statistics(sample))
    (block,) = gemmi.as_refln_blocks(gemmi.cif.read_string(text))
    assert block.is_unmerged() and len(block.make_miller_array()) == len(sample.rows)
    np.testing.assert_array_equal(block.make_miller_array(), sample.rows.hkl)
    np.testing.assert_allclose(block.make_float_array("intensity_net"), sample.rows.intensity, rtol=1e-6)
    np.testing.assert_allclose(block.make_float_array("pdbx_scale_value"), 1 / sample.rows.scale, rtol=1e-4)
    image = block.make_int_array("pdbx_image_id", -1)
    np.testing.assert_array_equal(image, np.clip(np.floor(sample.rows.z) + 1, 1, 60))
    merged = gemmi.Intensities()
    merged.import_refln_block(block)
    merged.merge_in_place(gemmi.DataType.Mean)
    ours = wavelength_sets(sample, with_amplitudes=False)[0].merged
    assert len(merged.value_array) == len(ours)
    assert merged.value_array.mean() == pytest.approx(ours.mean.mean(), rel=1e-5)


def test_mmcif_has_a_block_for_each_wavelength():
    data = crystals(5, wavelengths=(0.979, 0.98))
    sets = wavelength_sets(data)
    document = gemmi.cif.read_string(merged_cif(sets, data.symmetry, data.cell, [None, None]))
    assert [b.name for b in document] == ["braggscale_wave1", "braggscale_wave2"]
    unmerged = gemmi.cif.read_string(unmerged_cif(data)).sole_block()
    assert list(unmerged.find_values("_diffrn_radiation_wavelength.wavelength")) == ["0.979", "0.98"]
    assert set(unmerged.find_values("_diffrn_refln.diffrn_id")) == {"1", "2"}


def test_mmcif_of_a_centrosymmetric_group_has_no_anomalous_items():
    data = crystals(3, "-P 2ybc", (31.0, 43, 57, 90, 101, 90))
    text = merged_cif(wavelength_sets(data), data.symmetry, data.cell, [statistics(data)])
    assert "plus" not in text and "anom" not in text


# Collecting


def table(n=8):
    rng = np.random.default_rng(0)
    return {
        "miller_index": np.array([[1, 2, 3]] * (n - 1) + [[0, 0, 0]], np.int32),
        "flags": np.full(n, int(Flag.SCALED), np.uint64),
        "intensity.scale.value": rng.uniform(1, 9, n),
        "intensity.scale.variance": rng.uniform(1, 9, n),
        "inverse_scale_factor": np.full(n, 2.0),
        "inverse_scale_factor_variance": np.full(n, 0.04),
        "xyzobs.px.value": rng.uniform(0, 9, (n, 3)),
        "xyzcal.px": rng.uniform(0, 9, (n, 3)),
        "dqe": np.full(n, 0.5),
    }


def test_collect_takes_what_was_scaled():
    t = table()
    t["flags"][0] |= np.uint64(Flag.OUTLIER_IN_SCALING)
    t["intensity.scale.variance"][1] = -1.0
    t["inverse_scale_factor"][2] = 0.0
    rows = collect([t, Changed(t, {"inverse_scale_factor": np.full(8, 4.0)})], CELL)
    assert rows.data_set.tolist() == [0] * 4 + [1] * 5
    np.testing.assert_allclose(rows.intensity[:4], t["intensity.scale.value"][3:7] / 2)
    np.testing.assert_allclose(rows.sigma[:4], np.sqrt(t["intensity.scale.variance"][3:7]) / 2)
    np.testing.assert_allclose(rows.intensity[4:], t["intensity.scale.value"][2:7] / 4)
    assert (rows.qe == 0.5).all() and np.isnan(rows.lp).all() and (rows.scale_sigma == 0.2).all()
    np.testing.assert_array_equal(rows.z[:4], t["xyzobs.px.value"][3:7, 2])
    np.testing.assert_array_equal(rows.xyz[:4], t["xyzcal.px"][3:7])


def test_collect_variance_at_the_observed_intensity():
    t, own = table(), np.array([4.0, -1.0, np.nan, 0.0, 1e99, 16.0, 2.5e9, 1.0])
    expected = collect([t], CELL)
    np.testing.assert_array_equal(expected.observed_sigma, expected.sigma)
    rows = collect([Changed(t, {"scaling_observed_variance": own})], CELL)
    np.testing.assert_array_equal(rows.sigma, expected.sigma)
    known = [0, 5, 6]
    np.testing.assert_allclose(rows.observed_sigma[known], np.sqrt(own[known]) / 2)
    np.testing.assert_array_equal(rows.observed_sigma[1:5], expected.sigma[1:5])


def test_collect_within_limits():
    d = 1 / np.sqrt(sum((h / a) ** 2 for h, a in zip((1, 2, 3), CELL, strict=False)))
    assert len(collect([table()], CELL, d_min=d - 0.01, d_max=d + 0.01)) == 7
    with pytest.raises(DataError, match="nothing to export"):
        collect([table()], CELL, d_min=d + 0.01)


def test_collect_refuses_unscaled_tables():
    t = table()
    del t["inverse_scale_factor"]
    with pytest.raises(DataError, match="data set 1 is not scaled.*inverse_scale_factor"):
        collect([table(), t], CELL)


def test_wavelengths_group_by_gaps():
    from types import SimpleNamespace as Name

    def of(*values, stills=False):
        return wavelength_groups([Name(beam=Name(wavelength=w), is_still=stills) for w in values])

    values, group = of(1.0, 0.9, 1.00005, 1.00012, 0.9)
    assert values == pytest.approx((1.0000566667, 0.9)) and group.tolist() == [0, 1, 0, 0, 1]
    assert of(0.979, 0.9791)[1].tolist() == [0, 0]
    assert of(0.979, 0.97911)[1].tolist() == [0, 1]
    shots = [1.3 + 0.001 * k for k in range(8)]  # of a free-electron laser
    assert set(of(*shots, stills=True)[1].tolist()) == {0} and of(*shots, stills=True)[0] == pytest.approx((1.3035,))
    assert of(*shots)[1].tolist() == list(range(8))
    assert of(*shots[:3], stills=True)[1].tolist() == [0, 1, 2]


def test_scan_points_of_a_document(sample):
    a = [[float(k)] * 9 for k in range(61)]
    document = {"experiment": [{"crystal": 0}, {"crystal": 1}], "crystal": [{"A_at_scan_points": a}, {}]}
    first, second = scan_points(document, sample.experiments)
    assert first.shape == (61, 3, 3) and second is None
    document["crystal"][0]["A_at_scan_points"] = a[:-1]
    assert scan_points(document, sample.experiments)[0] is None


def test_small_standard_deviations_of_the_cell_keep_two_digits(sample):
    small = replace(sample, cell_esd=(3e-5, 4.26e-4, 0.0123, 0.0, 0.0, 0.0))
    assert "ZERR 4 0.000030 0.00043 0.0123 0.0000" in shelx.ins_file(small)


def test_no_file_of_shelx_mixes_wavelengths():
    data = ExportData(crystals(wavelengths=(0.9, 1.2)), ExportSettings(), None)
    for file in shelx.EXPORT.files(data, "x"):
        with pytest.raises(DataError, match="SHELX takes one wavelength"):
            file.content()


def test_xds_ascii_names_the_group_by_number_and_so_is_in_its_reference_setting(tmp_path):
    cell = (30.0, 35.0, 40.0, 90.0, 95.0, 90.0)
    body = crystals(3, hall=" I 2y", cell=cell)
    (file, *_) = xds_ascii.EXPORT.files(ExportData(body, ExportSettings(), None), str(tmp_path / "x.HKL"))
    text = file.content().decode()
    assert "!SPACE_GROUP_NUMBER=    5" in text
    hkl = np.array([line.split()[:3] for line in text.splitlines() if not line.startswith("!")], int)
    assert ((hkl[:, 0] + hkl[:, 1]) % 2 == 0).all(), "C 2: h + k is even"


@pytest.mark.parametrize(
    ("hall", "name"),
    [(" R 3", "H 3"), (" P 3*", "R 3"), (' R 3 2"', "H 3 2"), (" C 2y", "C 1 2 1"), ("-P 4a 2a", None)],
)
def test_names_of_space_groups_in_mmcif(hall: str, name: str | None) -> None:
    symmetry = Symmetry.from_hall(hall)
    assert pdb_name(symmetry) == (name or str(symmetry))
