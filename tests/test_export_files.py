"""scale export: the same bytes as the run writes, refusals, failures, and what real DIALS makes of the same files."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import gemmi
import numpy as np
import pytest

from braggscale.cli import main
from braggscale.io.export.scaled_observations import cell_esd
from braggscale.models.stored_model import stored_cell, with_run

EXAMPLES = Path(__file__).parents[1] / "examples"
SYSTEM_PYTHON = "/usr/bin/python3"
NAMES = {
    "merged_mtz": "m.mtz",
    "unmerged_mtz": "u.mtz",
    "merged_cif": "m.cif",
    "unmerged_cif": "u.cif",
    "shelx": "s",
    "xds_ascii": "XDS_ASCII.HKL",
    "sca": "m.sca",
}


def outputs(folder, prefix="output."):
    return [f"{prefix}{name}={folder / file}" for name, file in NAMES.items()]


def scale(folder, *words):
    """A run in ``folder``; returns its scaled pair."""
    pair = {name: folder / file for name, file in (("experiments", "scaled.expt"), ("reflections", "scaled.refl"))}
    rest = [f"output.{kind}={folder / f'scale.{kind}'}" for kind in ("log", "json", "html")]
    assert main([*map(str, words), "-q", *(f"output.{name}={path}" for name, path in pair.items()), *rest]) == 0
    return list(map(str, pair.values()))


def same_files(first, second):
    names = sorted(p.name for p in second.iterdir())
    assert len(names) >= 9
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The example, scaled and exported; folder and scaled pair."""
    folder = tmp_path_factory.mktemp("run")
    return folder, scale(folder, EXAMPLES / "simulated.expt", EXAMPLES / "simulated.refl", *outputs(folder))


def test_later_as_in_the_run(run, tmp_path):
    folder, pair = run
    assert main(["export", *pair, "-q", *outputs(tmp_path, "")]) == 0
    same_files(folder, tmp_path)


def test_variances_of_another_program_replace_those_of_the_run(run, tmp_path):
    """A program that scales again rewrites the model, but leaves columns that it does not know."""
    document = json.loads(Path(run[1][0]).read_text())
    for model in document["scaling_model"]:
        del model["braggscale"]
    again = tmp_path / "again.expt"
    again.write_text(json.dumps(document))
    sigmas = []
    for experiments in (run[1][0], str(again)):
        assert (
            main(
                [
                    "export",
                    experiments,
                    run[1][1],
                    "-q",
                    f"shelx={tmp_path / 's'}",
                    f"unmerged_mtz={tmp_path / 'u.mtz'}",
                ]
            )
            == 0
        )
        lines = (tmp_path / "s.hkl").read_text().splitlines()[:-1]
        sigmas.append(np.array([float(line[20:28]) for line in lines]))
    expected = gemmi.read_mtz_file(str(tmp_path / "u.mtz")).column_with_label("SIGI").array
    np.testing.assert_allclose(np.sort(sigmas[1]), np.sort(expected), rtol=1e-3)
    assert np.abs(sigmas[0] / sigmas[1] - 1.0).max() > 0.02 and abs(np.median(sigmas[0] / sigmas[1]) - 1.0) < 0.02


def test_later_as_in_the_run_when_data_sets_and_limits_differ(shared_data, tmp_path):
    """The cell is the median over the data sets of the run, one of which is not in its output."""
    sweeps = sorted((shared_data / "l_cysteine").glob("*_integrated*"))
    now, later, other = (tmp_path / name for name in ("now", "later", "other"))
    for folder in (now, later, other):
        folder.mkdir()
    options = [
        "best_unit_cell=5.49,8.22,12.15,90,90,90",
        "d_min=0.7",
        "exclude_datasets=1",
        "nbins=12",
        "restraints=fixed",
    ]
    pair = scale(now, *sweeps, *options, *outputs(now))
    assert main(["export", *pair, "-q", "merging.nbins=12", "space_group=P222", *outputs(later, "")]) == 0
    same_files(now, later)
    assert main(["export", *pair, "-q", "use_datasets=2", "d_min=0.9", f"unmerged_mtz={other / 'u.mtz'}"]) == 0
    mtz = gemmi.read_mtz_file(str(other / "u.mtz"))
    assert mtz.resolution_high() >= 0.9 and mtz.cell.a == pytest.approx(5.49)
    assert mtz.spacegroup.hm == "P 21 21 21", "as absences say, where nobody says otherwise"
    assert {b.number for b in mtz.batches} == set(range(3701, 5401)), "batch numbers of the run"


def test_the_cell_is_kept_only_where_all_agree():
    models = [with_run({"__id__": "KB"}, (1.0, 2.0, 3.0, 90.0, 90.0, 90.0), 7)] * 2
    assert stored_cell(models) == (1.0, 2.0, 3.0, 90.0, 90.0, 90.0)
    other = with_run({"__id__": "KB", "braggscale": {"restraints": "fixed"}}, (1.0, 2.0, 4.0, 90.0, 90.0, 90.0), 7)
    assert other["braggscale"]["restraints"] == "fixed"
    assert stored_cell([*models, other]) is None
    assert stored_cell([None]) is None and stored_cell([{"braggscale": {"unit_cell": ["x"] * 6}}]) is None


def test_the_log_says_what_became_of_exports(run):
    folder, _ = run
    lines = (folder / "scale.log").read_text().splitlines()
    announced = next(i for i, line in enumerate(lines) if line.startswith("To be exported: "))
    for name in ("m.mtz", "s.ins", "XDS_ASCII_0.HKL"):
        assert lines.index(f"Written: {folder / name}") > announced
    assert lines[-2:] == [
        "To merge the data, or take them to other programs:",
        f"  scale export {folder / 'scaled.expt'} {folder / 'scaled.refl'} merged_mtz=merged.mtz",
    ]
    first = next(i for i, line in enumerate(lines) if line.startswith("Seconds: "))
    # a slow machine needs longer numbers, and the log folds lines at 80 columns
    times = " ".join(line.strip() for line in lines[first:-2])
    assert "scaling" in times and "reading" in json.loads((folder / "scale.json").read_text())["run"]["seconds"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "nothing to export: name at least one of merged_mtz=, unmerged_mtz=, merged_cif="),
        (["sca=a.sca", "mergedmtz=a.mtz"], 2, "mergedmtz=a.mtz: unknown option; did you mean merged_mtz"),
        (["sca=a.sca", "gibberish=1"], 2, "gibberish=1: unknown option; scale export -hh lists all options"),
        (["sca=a.sca", "model=KB"], 2, "model=KB: model is an option of scale; scale export has no use for it"),
        (["sca=no/a.sca"], 2, "cannot write no/a.sca: the folder"),
        (["sca=."], 2, "cannot write .: it is a folder"),
        (["sca={expt}"], 2, "output.sca: {expt} is an input; give it another name"),
        (["shelx=a.hkl", "merged_cif=./a.cif"], 2, "output.merged_cif and output.shelx are the same file, a.cif"),
        (["merged_mtz=a.mtz", "free_flags=b.mtz"], 2, "b.mtz: no such file"),
        (["sca=a.sca", "use_datasets=7"], 2, "use_datasets"),
        (["sca=a.sca", "d_min=90"], 1, "there is nothing to export: no scaled observation is left"),
        (["sca=a.sca", "-Q"], 2, "unknown option -Q; scale export -h lists the options"),
        (["sca=a.sca", "--assign-identifiers=a"], 2, "unknown option --assign-identifiers=a"),
    ],
)
def test_refusals(run, tmp_path, monkeypatch, capsys, words, status, message):
    monkeypatch.chdir(tmp_path)
    expt, refl = run[1]
    assert main(["export", expt, refl, *(word.format(expt=expt) for word in words)]) == status
    found = capsys.readouterr().err.splitlines()
    assert len(found) == 1 and found[0].startswith("scale: error: " + message.format(expt=expt)), found
    assert not any(tmp_path.iterdir())


def test_data_that_are_not_scaled(tmp_path, capsys):
    files = [str(EXAMPLES / f"simulated.{kind}") for kind in ("expt", "refl")]
    assert main(["export", *files, f"sca={tmp_path / 'a.sca'}"]) == 1
    error = capsys.readouterr().err
    assert files[1] in error and "is not scaled, its table has no column 'intensity.scale.value'; scale it" in error
    assert not any(tmp_path.iterdir())


def test_a_file_called_export(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["-q", "export", run[1][1]]) == 2
    assert "export: no such file; to export scaled data this word comes first: scale export" in capsys.readouterr().err
    shutil.copyfile(run[1][0], "export")
    assert main(["export", "export", run[1][1], "-q", "sca=a.sca"]) == 0
    assert Path("a.sca").read_bytes() == (run[0] / "m.sca").read_bytes()
    assert main(["./export", run[1][1], "-c"]) == 0, "without the word it is a file like others"


def test_identifiers_do_not_lead_elsewhere(run, tmp_path):
    """Identifiers are part of the names of files, and come from files."""
    (tmp_path / "in").mkdir()
    assert main(["--assign-identifiers", "x/../../y z", *run[1], "-q", *identified(tmp_path)]) == 0
    wanted = f"xds_ascii={tmp_path / 'in' / 'X.HKL'}"
    assert main(["export", *(path.partition("=")[2] for path in identified(tmp_path)), "-q", wanted]) == 0
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == ["X_x_.._.._y.HKL", "X_z.HKL"]


def test_new_identifiers_do_not_replace_the_input(run, tmp_path, capsys):
    """The usual names of the output, those of an earlier renaming; and a link to an input."""
    before = {}
    with chdir(tmp_path):
        for path, name in zip(run[1], ("identified.expt", "identified.refl"), strict=True):
            before[name] = Path(path).read_bytes()
            Path(name).write_bytes(before[name])
        Path("link.refl").symlink_to("identified.refl")
        pair = list(before)
        for more, taken in (
            ([], "identified.expt and identified.refl"),
            (["output.experiments=new.expt", "output.reflections=link.refl"], "link.refl"),
        ):
            assert main(["--assign-identifiers", "y z", *pair, "-q", *more]) == 2
            said = " ".join(capsys.readouterr().err.split())
            assert f"would replace its input {taken}; name other files with output.experiments=" in said
        assert sorted(os.listdir()) == ["identified.expt", "identified.refl", "link.refl"]
        assert {name: Path(name).read_bytes() for name in pair} == before


def identified(folder):
    return [f"output.experiments={folder / 'i.expt'}", f"output.reflections={folder / 'i.refl'}"]


def test_parameter_files_of_the_main_command_serve(run, tmp_path):
    (tmp_path / "all.phil").write_text(f"model = KB\noutput.sca = {tmp_path / 'a.sca'}\n")
    assert main(["export", *run[1], "-q", str(tmp_path / "all.phil")]) == 0
    assert (tmp_path / "a.sca").exists()


def test_help_and_configuration(capsys):
    assert main(["export", "-h"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: scale export [options] FILE ...") and "merged_mtz = None" in shown
    assert "model" not in shown and "assign" not in shown and max(map(len, shown.splitlines())) <= 80
    assert main(["export"]) == 2
    assert capsys.readouterr().err == "scale: error: no input files: give scaled.expt and scaled.refl\n"
    assert main(["export", "-c", "sca=x"]) == 0
    shown = capsys.readouterr().out
    assert "sca = x" in shown.replace("'", "").replace('"', "") and "outlier_zmax" not in shown


def test_no_room_for_an_export(run, tmp_path):
    """Root writes everywhere, so the limit is on the size of files; what fits is written, what does not is absent."""
    resource = pytest.importorskip("resource", reason="no limits on the size of files on this system")
    limit = 1 << 14
    small, large = tmp_path / "s.ins", tmp_path / "u.mtz"
    assert (run[0] / "s.ins").stat().st_size < limit < (run[0] / "u.mtz").stat().st_size
    done = subprocess.run(
        [sys.executable, "-m", "braggscale", "export", *run[1], f"shelx={tmp_path / 's'}", f"unmerged_mtz={large}"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    named = f"scale: error: {large} and {tmp_path / 's.hkl'} were not written: File too large\n"
    assert done.stderr == named
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.cif", "s.ins"]
    assert small.read_bytes() == (run[0] / "s.ins").read_bytes()


def test_several_wavelengths(run, tmp_path):
    """Each sweep a wavelength: data sets in MTZ, blocks with statistics of their own, files of their own."""
    document = json.loads(Path(run[1][0]).read_text())
    assert len(document["experiment"]) == 2
    document["beam"].append({**document["beam"][0], "wavelength": 1.01 * document["beam"][0]["wavelength"]})
    document["experiment"][1]["beam"] = len(document["beam"]) - 1
    (tmp_path / "two.expt").write_text(json.dumps(document))
    pair = [str(tmp_path / "two.expt"), run[1][1]]
    wanted = [word for word in outputs(tmp_path, "") if not word.startswith(("shelx", "xds"))]
    assert main(["export", *pair, "-q", *wanted]) == 0
    mtz = gemmi.read_mtz_file(str(tmp_path / "m.mtz"))
    assert [d.dataset_name for d in mtz.datasets] == ["HKL_base", "WAVE1", "WAVE2"]
    hkl = list(map(tuple, mtz.make_miller_array().tolist()))
    blocks = list(gemmi.cif.read(str(tmp_path / "m.cif")))
    for k, identifier in enumerate("01"):
        alone = tmp_path / identifier
        alone.mkdir()
        assert main(["export", *pair, "-q", f"use_datasets={identifier}", *outputs(alone, "")]) == 0
        single = gemmi.read_mtz_file(str(alone / "m.mtz"))
        mean = np.array(mtz.column_with_label(f"IMEAN_WAVE{k + 1}"))
        found = {h: value for h, value in zip(hkl, mean, strict=True) if np.isfinite(value)}
        names = list(map(tuple, single.make_miller_array().tolist()))
        assert found == dict(zip(names, np.array(single.column_with_label("IMEAN")), strict=True))
        block = gemmi.cif.read(str(alone / "m.cif")).sole_block()
        for item in ("_reflns.pdbx_Rrim_I_all", "_reflns.number_obs", "_reflns.pdbx_CC_half"):
            assert blocks[k].find_value(item) == block.find_value(item)
        assert (tmp_path / f"m_WAVE{k + 1}.sca").read_bytes() == (alone / "m.sca").read_bytes()
    unmerged = gemmi.cif.read(str(tmp_path / "u.cif")).sole_block()
    assert [row[1] for row in unmerged.find("_diffrn_radiation.", ["diffrn_id", "wavelength_id"])] == ["1", "2"]
    assert main(["export", *pair, "-q", f"shelx={tmp_path / 's'}"]) == 1, "one wavelength in SHELX"


# DIALS ------------------------------------------------------------------------------------------------------


DIALS = """
import sys
from dials.command_line import merge, export
folder = sys.argv[1]
pair = [folder + "/scaled.expt", folder + "/scaled.refl"]
merge.run([*pair, "output.html=None", "output.mtz=" + folder + "/theirs_m.mtz", "output.log=" + folder + "/m.log"])
export.run([*pair, "format=mtz", "intensity=scale", "mtz.hklout=" + folder + "/theirs_u.mtz",
            "output.log=" + folder + "/e.log"])
import iotbx.cif, json
from iotbx.reflection_file_reader import any_reflection_file
from iotbx.shelx import crystal_symmetry_from_ins
found = {}
for name in ("m.mtz", "m.cif", "m.sca", "XDS_ASCII.HKL", "s.hkl=hklf4"):
    arrays = any_reflection_file(folder + "/" + name).as_miller_arrays(merge_equivalents=False)
    found[name] = [(a.size(), sum(a.data()), sum(a.sigmas())) for a in arrays if a.is_xray_intensity_array()]
found["s.ins"] = str(crystal_symmetry_from_ins.extract_from(folder + "/s.ins").space_group_info())
found["u.cif"] = len(iotbx.cif.reader(folder + "/u.cif").model()["braggscale_unmerged"]["_diffrn_refln.index_h"])
from dxtbx.model.experiment_list import ExperimentListFactory
crystal = ExperimentListFactory.from_json_file(pair[0], check_format=False)[0].crystal
found["esds"] = crystal.get_cell_parameter_sd()
json.dump(found, open(folder + "/found.json", "w"))
"""


def columns(path):
    mtz = gemmi.read_mtz_file(str(path))
    table = np.array(mtz)
    if mtz.batches:
        mtz.switch_to_original_hkl()
        table = np.array(mtz)
        names = mtz.column_labels()
        keys = [table[:, names.index(name)] for name in ("ROT", "BATCH", "L", "K", "H")]
        table = table[np.lexsort(keys)]
    return dict(zip(mtz.column_labels(), table.T, strict=True)), mtz


def test_dials_agrees(shared_data, tmp_path):
    """dials.merge and dials.export on our scaled pair give what our exports hold; cctbx reads every format."""
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip(f"no DIALS: {SYSTEM_PYTHON} does not exist")
    if subprocess.run([SYSTEM_PYTHON, "-c", "import dials.command_line.merge"], capture_output=True).returncode:
        pytest.skip(f"no DIALS: {SYSTEM_PYTHON} cannot import it")
    scale(
        tmp_path, *(shared_data / "quartz_ed" / f"integrated.{kind}" for kind in ("expt", "refl")), *outputs(tmp_path)
    )
    done = subprocess.run([SYSTEM_PYTHON, "-c", DIALS, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours, theirs = columns(tmp_path / "m.mtz")[0], columns(tmp_path / "theirs_m.mtz")[0]
    for name in ("H", "K", "L", "IMEAN", "SIGIMEAN", "I(+)", "SIGI(+)", "I(-)", "SIGI(-)", "N(+)", "N(-)"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, err_msg=name)
    # amplitudes of strong reflections depend little on the prior: by less than half of their sigma
    strong = ours["F(+)"] > 15 * ours["SIGF(+)"]
    assert strong.sum() > 30
    np.testing.assert_allclose(ours["F(+)"][strong], theirs["F(+)"][strong], rtol=0.5 / 15)
    (ours, our_file), (theirs, their_file) = columns(tmp_path / "u.mtz"), columns(tmp_path / "theirs_u.mtz")
    for name in ("H", "K", "L", "BATCH", "I", "SIGI", "SCALEUSED", "SIGSCALEUSED", "FRACTIONCALC", "ROT", "LP", "QE"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, err_msg=name)
    for mine, other in zip(our_file.batches, their_file.batches, strict=True):
        assert (mine.number, list(mine.ints)) == (other.number, list(other.ints))
        np.testing.assert_allclose(list(mine.floats), list(other.floats), atol=1e-3)
    merged = columns(tmp_path / "m.mtz")[0]
    found = json.loads((tmp_path / "found.json").read_text())
    friedel_split = [np.concatenate([merged[f"{name}(+)"], merged[f"{name}(-)"]]) for name in ("I", "SIGI")]
    of_mates = (int(np.isfinite(friedel_split[0]).sum()), *(float(np.nansum(values)) for values in friedel_split))
    of_means = (len(merged["IMEAN"]), float(merged["IMEAN"].sum()), float(merged["SIGIMEAN"].sum()))
    for name in ("m.mtz", "m.cif"):
        assert found[name][0] == pytest.approx(of_means, rel=1e-5)
        assert found[name][1] == pytest.approx(of_mates, rel=1e-5)
    assert found["m.sca"][0] == pytest.approx(of_mates, rel=1e-4)
    observed = (len(ours["I"]), float(ours["I"].sum()), float(ours["SIGI"].sum()))
    assert found["XDS_ASCII.HKL"][0] == pytest.approx(observed, rel=1e-4)
    assert found["s.hkl=hklf4"][0][:2] == pytest.approx(observed[:2], rel=1e-4)
    # errors at the observed intensity are another choice of the same size
    assert found["s.hkl=hklf4"][0][2] == pytest.approx(observed[2], rel=0.02)
    document = json.loads((tmp_path / "scaled.expt").read_text())
    assert cell_esd(document, stored_cell([document["scaling_model"][0]])) == pytest.approx(found["esds"], 1e-5, 1e-9)
    assert found["s.ins"] == "P 31 2 1" and found["u.cif"] == len(ours["I"])
