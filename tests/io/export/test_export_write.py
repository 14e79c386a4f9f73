"""Exports from the command: every file is read back by a program that is not ours, and failures are named."""

import gemmi
import numpy as np
import pytest

from braggscale.cli import main


@pytest.fixture(scope="module")
def folder(shared_data, tmp_path_factory):
    """One run on quartz with every export."""
    folder = tmp_path_factory.mktemp("exports")
    files = [str(shared_data / "quartz_ed" / f"integrated.{kind}") for kind in ("expt", "refl")]
    names = {
        "experiments": "scaled.expt",
        "reflections": "scaled.refl",
        "log": "scale.log",
        "json": "scale.json",
        "html": "scale.html",
        "merged_mtz": "merged.mtz",
        "unmerged_mtz": "unmerged.mtz",
        "merged_cif": "merged.cif",
        "unmerged_cif": "unmerged.cif",
        "shelx": "quartz.hkl",
        "xds_ascii": "XDS_ASCII.HKL",
        "sca": "merged.sca",
    }
    assert main([*files, "-q", *(f"output.{name}={folder / file}" for name, file in names.items())]) == 0
    return folder


def test_merged_and_unmerged_mtz_agree(folder):
    merged, unmerged = (gemmi.read_mtz_file(str(folder / f"{kind}.mtz")) for kind in ("merged", "unmerged"))
    again = gemmi.Intensities()
    again.import_mtz(unmerged)
    again.merge_in_place(gemmi.DataType.Mean)
    assert merged.nreflections == len(again)
    ours = dict(
        zip(map(tuple, merged.make_miller_array().tolist()), np.array(merged.column_with_label("IMEAN")), strict=True)
    )
    theirs = dict(zip(map(tuple, again.miller_array.tolist()), again.value_array, strict=True))
    assert ours.keys() == theirs.keys()
    for hkl, value in theirs.items():
        assert ours[hkl] == pytest.approx(value, rel=1e-3, abs=1e-3)


def test_the_other_files_open(folder):
    merged = gemmi.cif.read(str(folder / "merged.cif")).sole_block()
    assert len(merged.find_loop("_refln.index_h")) > 250
    assert len(gemmi.cif.read(str(folder / "unmerged.cif")).sole_block().find_loop("_diffrn_refln.index_h")) > 1300
    assert len(gemmi.read_xds_ascii(str(folder / "XDS_ASCII.HKL")).miller_array) > 1300
    assert "HKLF 4" in (folder / "quartz.ins").read_text()
    assert (folder / "quartz.hkl").read_text().count("\n") > 1300
    assert (folder / "quartz.cif").exists() and (folder / "merged.sca").stat().st_size > 1000


def test_a_failed_export_leaves_the_scaled_data(shared_data, tmp_path, capsys):
    names = ("experiments", "reflections", "log", "json", "html", "xds_ascii")
    files = [str(shared_data / "ssx_cunir" / f"integrated.{kind}") for kind in ("expt", "refl")]
    here = [f"output.{name}={tmp_path / name}" for name in names]
    assert main([*files, "-q", *here]) == 1
    assert "was not written" in capsys.readouterr().err
    assert (tmp_path / "reflections").exists() and (tmp_path / "experiments").exists()
    assert not (tmp_path / "xds_ascii").exists()
