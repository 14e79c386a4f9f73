"""The Python interface: the same run as the command, access to all results, no side effects on the caller."""

import json
import logging
import os
import runpy
import sys
import threading
import warnings
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

import braggscale as bs
from braggscale.cli import main
from braggscale.report.summary_document import from_json

ROOT = Path(__file__).parents[1]
FILES = [str(ROOT / "examples" / f"simulated.{ending}") for ending in ("expt", "refl")]
# quick, and with everything that can differ: estimated strengths, outliers, full matrix
WORDS = {"d_min": 1.8, "nproc": 2, "anomalous": True}


@pytest.fixture(scope="module")
def data():
    return bs.read(*FILES)


@pytest.fixture(scope="module")
def run(data):
    return bs.scale(data, **WORDS)


def same_experiments(one, other):
    """Whether two experiment lists are equal but for the history, which has times."""
    a, b = (json.loads(Path(path).read_text()) for path in (one, other))
    a.pop("history"), b.pop("history")
    return a == b


# The same run as the command


@pytest.mark.parametrize("blas", [1, 3])
def test_command_and_library_write_equal_bytes(tmp_path, blas):
    command, library = tmp_path / "command", tmp_path / "library"
    for folder in (command, library):
        folder.mkdir()
    exports = {"merged_mtz": "m.mtz", "unmerged_mtz": "u.mtz", "shelx": "s.hkl", "merged_cif": "m.cif"}
    words = [f"{name}={value}" for name, value in {**WORDS, **exports}.items()]
    with chdir(command):
        assert main(["-q", *FILES, *words]) == 0
    with chdir(library), threadpool_limits(blas, "blas"):
        run = bs.scale(bs.read(*FILES), **WORDS)
        run.write("scaled.expt", "scaled.refl")
        run.export(**exports)
        run.report().save_json("scale.json")
    assert same_experiments(command / "scaled.expt", library / "scaled.expt")
    for name in ("scaled.refl", "m.mtz", "u.mtz", "s.hkl"):
        assert (command / name).read_bytes() == (library / name).read_bytes(), name
    told = [json.loads((folder / "scale.json").read_text()) for folder in (command, library)]
    for summary in told:
        del summary["run"], summary["command"], summary["verdict"]
        summary["options"]["output"] = None
    assert told[0] == told[1]


def test_mistakes_have_the_words_of_the_command(data, capsys, tmp_path):
    with chdir(tmp_path):
        for words in ({"d_mim": 2}, {"model": "KB", "lmax": 4, "d_min": -1}, {"exclude_images": "7:1:20"}):
            assert main([*FILES, *(f"{name}={value}" for name, value in words.items())]) == 2
            lines = [line.removeprefix("scale: error: ") for line in capsys.readouterr().err.splitlines()]
            with pytest.raises(bs.CommandError) as caught:
                bs.scale(data, **words)
            assert str(caught.value).splitlines() == lines


def test_scaling_again_is_that_of_the_command(run, tmp_path):
    files = [str(tmp_path / name) for name in ("scaled.expt", "scaled.refl")]
    run.write(*files)
    with chdir(tmp_path):
        assert main(["-q", *files, "output.experiments=a.expt", "output.reflections=a.refl", "d_min=1.8"]) == 0
        bs.scale(bs.read(*files), d_min=1.8).write("b.expt", "b.refl")
        assert Path("a.refl").read_bytes() == Path("b.refl").read_bytes()
        assert same_experiments("a.expt", "b.expt")


# What was found


def test_the_curves_are_the_scales_of_the_observations(data):
    """Without surface and map the scale is that of the curve times exp(B/(2 d^2)), at the image of the observation."""
    run = bs.scale(data, d_min=1.8, absorption_correction=False, modulation_correction=False, full_matrix=False)
    seen = run.observations
    for scale, decay in zip(run.components("scale"), run.components("decay"), strict=True):
        mine = seen.data_set == scale.data_set
        place = run._result.data.rows.xyz[mine, 2] + 0.5  # as an image number, whole in the middle of the image
        expected = scale.curve(place).value * np.exp(decay.curve(place).value / (2 * seen.d[mine] ** 2))
        assert seen.scale[mine] == pytest.approx(expected, rel=1e-9)
        assert scale.curve().esd is None and scale.esd is None


def test_a_curve_has_every_image_in_use(run):
    (first, second) = run.components("scale")
    curve = first.curve()
    assert curve.image.tolist() == list(range(1, 241)) and (curve.esd > 0).all()
    assert first.curve([5, 100]).value == pytest.approx(curve.value[[4, 99]])
    assert len(first.parameters) == len(first.esd) and second.data_set == "1"
    names = {component.name for component in run.components()}
    assert {"scale", "decay", "absorption"} <= names
    with pytest.raises(bs.DataError, match="the component absorption of data set 0 is not a curve"):
        run.components("absorption")[0].curve()
    with pytest.raises(bs.CommandError, match=r"there is no component 'scales'; this run has scale, decay"):
        run.components("scales")


def test_merged_intensities_are_weighted_means_of_the_observations(run):
    seen, merged = run.observations, run.merge(anomalous=True)
    use = ~seen.outlier & (seen.scale > 0)
    for k in range(0, len(merged), 17):
        mine = use & (seen.asu == merged.hkl[k]).all(axis=1)
        w = seen.sigma[mine] ** -2.0
        assert merged.n[k] == mine.sum()
        assert merged.intensity[k] == pytest.approx((w * seen.intensity[mine]).sum() / w.sum(), rel=1e-9)
        assert merged.sigma[k] == pytest.approx(w.sum() ** -0.5, rel=1e-9)
    plain = run.merge()
    assert plain.plus is None and np.array_equal(plain.intensity, merged.intensity)
    one, other = merged.half_sets()
    assert np.isfinite(one[merged.n > 1]).all() and np.isfinite(other[merged.n > 1]).all()


def test_gemmi_gets_what_the_export_writes(run, tmp_path):
    run.export(merged_mtz=str(tmp_path / "m.mtz"))
    written = gemmi.read_mtz_file(str(tmp_path / "m.mtz"))
    mtz = run.merge(anomalous=True).to_gemmi()
    for column in mtz.columns:
        other = written.column_with_label(column.label)
        assert np.array_equal(np.array(column), np.array(other), equal_nan=True), column.label
    assert mtz.spacegroup.hm == written.spacegroup.hm == run.space_group
    labels = [column.label for column in run.merge().to_gemmi().columns]
    assert "IMEAN" in labels and "I(+)" not in labels


def test_wavelengths_are_numbered(run):
    assert run.merge(wavelength=1).wavelength == pytest.approx(run.merge().wavelength)
    with pytest.raises(bs.CommandError, match=r"wavelength=2: choose one of 1 \("):
        run.merge(wavelength=2)


def test_observations_stand_where_they_were_measured(run):
    seen = run.observations
    assert len(seen) == len(seen.hkl) and set(seen.data_set) == {"0", "1"}
    assert (seen.image >= 1).all() and (seen.image <= 240).all()
    assert (seen.d >= 1.8 - 1e-9).all() and seen.outlier.any()
    order = np.lexsort(seen.asu.T[::-1])
    assert np.array_equal(order, np.arange(len(seen))), "reflection by reflection"


def test_data_frames_are_an_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for table in (run.observations, run.merge(), run.components("scale")[0].curve()):
        with pytest.raises(bs.CommandError, match="need pandas, which is not installed: pip install"):
            table.to_pandas()


def test_data_frames(run):
    pytest.importorskip("pandas")
    seen, merged = run.observations, run.merge(anomalous=True)
    frame = seen.to_pandas()
    assert list(frame.index.names) == ["h", "k", "l"] and len(frame) == len(seen)
    assert frame["intensity"].to_numpy() == pytest.approx(seen.intensity, nan_ok=True)
    frame = merged.to_pandas()
    assert frame.loc[tuple(merged.hkl[3].tolist()), "IMEAN"] == merged.intensity[3]
    assert "I(+)" in frame and "I(+)" not in run.merge().to_pandas()
    assert list(run.components("scale")[0].curve().to_pandas()) == ["image", "value", "esd"]


def test_the_report_shows_itself_and_is_saved(run, data, tmp_path):
    report = run.report()
    shown = report._repr_html_()
    assert shown.startswith("<iframe srcdoc=") and '"><' not in shown[:-20]
    report.save(tmp_path / "scale.html")
    report.save_json(tmp_path / "scale.json")
    assert (tmp_path / "scale.html").read_text() == report.html
    assert from_json((tmp_path / "scale.json").read_bytes()) == report.summary
    beside = run.report(compare=tmp_path / "scale.json")
    assert len(beside.html) > len(report.html)
    assert str(len(report.html)) in repr(report)


# Other data, other starts


def test_images_and_data_sets_are_left_out(data):
    less = data.without(images="1:205:240")
    assert "exclude_images=1:205:240" in repr(less) and "exclude" not in repr(data)
    run = bs.scale(less, d_min=1.8, full_matrix=False)
    assert run.observations.image[run.observations.data_set == "1"].max() <= 205  # a spot lies on the next one's edge
    alone = bs.scale(data.without(data_sets="1").without(images=["0:1:10"]), d_min=1.8, full_matrix=False)
    assert alone.identifiers == ["0"] and alone.observations.image.min() >= 10
    with pytest.raises(bs.CommandError, match="exclude_images=3:1:4: there is no data set '3'; there are 0, 1"):
        data.without(images="3:1:4")
    with pytest.raises(bs.CommandError, match="leaves no data set"):
        data.without(data_sets=["0", "1"])


def test_a_run_starts_from_another(data, run, caplog):
    caplog.set_level(logging.INFO, "braggscale")
    again = bs.scale(data, start=run, **WORDS)
    assert "Taken over from the input as a start, all data sets: scale" in caplog.text
    assert again.statistics.overall.r_meas == pytest.approx(run.statistics.overall.r_meas, rel=0.02)
    assert data.input.data_sets[0].experiment.scaling_model is None, "the data stay as they were"
    others = tuple(replace(one, identifier=f"z{one.identifier}") for one in data.input.data_sets)
    strange = replace(data, input=replace(data.input, data_sets=others))
    with pytest.raises(bs.CommandError, match="start: none of these data sets is in that run, which has 0, 1"):
        bs.scale(strange, start=run)


# What is refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"html": "a.html"}, "html=a.html: files are written by run.write, run.export and run.report"),
        ({"merged_mtz": "a.mtz"}, "merged_mtz=a.mtz: files are written by"),
        ({"space_group": "P 1"}, "space_group=P 1: an option of reading; give it to braggscale.read"),
    ],
)
def test_files_and_reading_have_their_own_functions(data, words, message):
    with pytest.raises(bs.CommandError, match=message):
        bs.scale(data, **words)


def test_reading_takes_options_of_reading_only(tmp_path):
    assert bs.read(*FILES, space_group="P 21 21 21").identifiers == ["0", "1"]
    with pytest.raises(bs.CommandError, match=r"d_min=2: not an option of reading"):
        bs.read(*FILES, d_min=2)
    with pytest.raises(bs.CommandError, match="no input files"):
        bs.read()
    with pytest.raises(bs.CommandError, match="no such file"):
        bs.read(tmp_path / "a.expt")


def test_paths_are_checked_before_anything_is_written(run, tmp_path):
    with pytest.raises(bs.CommandError, match="does not exist"):
        run.write(tmp_path / "none" / "a.expt", tmp_path / "a.refl")
    with pytest.raises(bs.CommandError, match="output.experiments and output.reflections are the same file"):
        run.write(tmp_path / "a", tmp_path / "a")
    with pytest.raises(bs.CommandError, match="is an input; give it another name"):
        run.export(merged_mtz=FILES[0])
    with pytest.raises(bs.CommandError, match="nothing to export: name at least one of merged_mtz="):
        run.export(d_min=2.0)
    with pytest.raises(bs.CommandError, match="restraints is an option of scale"):
        run.export(merged_mtz="m.mtz", restraints="fixed")
    assert list(tmp_path.iterdir()) == []


# What a caller notices


def test_nothing_is_done_to_the_caller(data, capfd):
    def state():
        root = logging.getLogger()
        libraries = ThreadpoolController().info()
        return (
            dict(os.environ), list(warnings.filters), root.level, list(root.handlers),
            [(library["filepath"], library["num_threads"]) for library in libraries if library["user_api"] == "blas"],
            os.getcwd(), np.geterr(),
        )  # fmt: skip

    before = state()
    with threadpool_limits(2, "blas"):
        inside = state()
        run = bs.scale(data, d_min=2.0, full_matrix=False)
        run.merge(), run.report()
        assert state() == inside
    assert state() == before
    assert capfd.readouterr() == ("", "")


def test_two_runs_in_two_threads(data):
    options = [{"d_min": 2.4, "nproc": 2}, {"d_min": 2.3, "restraints": "fixed", "nproc": 1}]
    alone = [bs.scale(data, **words) for words in options]
    found = {}

    def work(k):
        found[k] = bs.scale(bs.read(*FILES), **options[k])

    both = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    for k in range(2):
        assert np.array_equal(found[k].observations.scale, alone[k].observations.scale)
        assert np.array_equal(found[k].observations.sigma, alone[k].observations.sigma)


def test_the_package_lists_what_it_offers():
    assert {"read", "scale", "Run", "Data", "UserError"} <= set(dir(bs))
    with pytest.raises(AttributeError, match="module 'braggscale' has no attribute 'skale'"):
        bs.skale  # noqa: B018
    assert all(getattr(bs, name) is not None for name in bs.__all__)


def test_the_example_runs(tmp_path, capsys):
    with chdir(tmp_path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of reciprocalspaceship, where it is installed
        runpy.run_path(str(ROOT / "examples" / "from_python.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "all images: R_meas" in out and "without the last 36: R_meas" in out
    assert {path.name for path in tmp_path.iterdir()} == {"scaled.expt", "scaled.refl", "merged.mtz", "scale.html"}
