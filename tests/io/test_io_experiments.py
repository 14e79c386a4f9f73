"""Experiment lists: every form of the models, what is refused, joining and writing."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import io_samples as samples
import numpy as np
import pytest

from braggscale.data import geometry
from braggscale.data.experiment import Experiment
from braggscale.errors import InputError
from braggscale.io.experiment_list import (
    Document,
    OutputExperiment,
    history_line,
    imageset_numbers,
    join,
    output_data,
    read_document,
    to_text,
)
from braggscale.io.file_kind import open_source


def read(folder: Path, data: dict[str, Any] | bytes, name: str = "a.expt") -> Document:
    return read_document(open_source(samples.put(folder, name, data)))


def one(folder: Path, **models: dict[str, Any]) -> Experiment:
    """A single experiment with entries of its models changed; a value of ... removes the entry."""
    data = samples.experiment_list()
    for kind, changes in models.items():
        data[kind][0] |= changes
        data[kind][0] = {name: value for name, value in data[kind][0].items() if value is not ...}
    return read(folder, data).experiments[0]


GOLDEN = [
    "l_cysteine__20_integrated_experiments.json",
    "l_cysteine__25_integrated_experiments.json",
    "l_cysteine__30_integrated_experiments.json",
    "l_cysteine__35_integrated_experiments.json",
    "l_cysteine_scaled__scaled_30.expt",
    "quartz_ed__integrated.expt",
    "ssx_cunir__integrated.expt",
]


@pytest.mark.parametrize("name", GOLDEN)
def test_models_are_what_dials_reads(shared_data: Path, name: str) -> None:
    golden = json.loads((shared_data / "golden" / f"{name}.json").read_text())
    document = read_document(open_source(str(shared_data / name.replace("__", "/"))))
    assert len(document.experiments) == golden["n"]
    for experiment, expected in zip(document.experiments, golden["experiments"], strict=True):
        assert experiment.identifier == expected["identifier"]
        assert experiment.is_still == expected["still"]
        beam = expected["beam"]
        assert experiment.beam.wavelength == beam["wavelength"]
        np.testing.assert_allclose(experiment.beam.s0, beam["s0"], rtol=1e-14)
        np.testing.assert_allclose(experiment.beam.direction, beam["sample_to_source"], atol=1e-15)
        assert len(experiment.panels) == expected["n_panels"]
        for panel, wanted in zip((experiment.panels[0], experiment.panels[-1]), expected["panels"], strict=False):
            np.testing.assert_allclose(panel.fast, wanted["fast"], atol=1e-14)
            np.testing.assert_allclose(panel.slow, wanted["slow"], atol=1e-14)
            np.testing.assert_allclose(panel.origin, wanted["origin"], rtol=1e-13)
            assert (panel.image_size, panel.pixel_size) == (tuple(wanted["size"]), tuple(wanted["pixel"]))
        check_scan(experiment, expected)
        check_crystal(experiment, expected["crystal"])
        check_model(experiment, expected["scaling_model"])


def check_scan(experiment: Experiment, expected: dict[str, Any]) -> None:
    if expected.get("scan") is None:
        assert experiment.scan is None
    else:
        scan, wanted = experiment.scan, expected["scan"]
        assert scan is not None
        assert scan.image_range == tuple(wanted["image_range"])
        assert scan.oscillation == tuple(wanted["oscillation"])
        assert (scan.batch_offset, scan.n_images) == (wanted["batch_offset"], wanted["n_images"])
        start, stop = wanted["oscillation_range"]
        assert scan.width == pytest.approx(stop - start, rel=1e-12)
        angle = geometry.scan_angle(scan, np.array([10.25]))
        np.testing.assert_allclose(angle, wanted["angle_from_array_index_10_25"], rtol=1e-14)
    if expected.get("goniometer") is None:
        assert experiment.goniometer is None
    else:
        goniometer, wanted = experiment.goniometer, expected["goniometer"]
        assert goniometer is not None
        np.testing.assert_allclose(goniometer.axis, wanted["axis_datum"], atol=1e-15)
        np.testing.assert_allclose(goniometer.setting @ goniometer.axis, wanted["axis"], atol=1e-15)
        np.testing.assert_allclose(goniometer.fixed.ravel(), wanted["fixed"], atol=1e-15)
        np.testing.assert_allclose(goniometer.setting.ravel(), wanted["setting"], atol=1e-15)


def check_crystal(experiment: Experiment, wanted: dict[str, Any]) -> None:
    crystal = experiment.crystal
    a_matrix = geometry.orientation_matrix(crystal)
    b_matrix = geometry.reciprocal_matrix(geometry.unit_cell(crystal.real_space))
    np.testing.assert_allclose(a_matrix.ravel(), wanted["A"], atol=1e-15)
    np.testing.assert_allclose(b_matrix.ravel(), wanted["B"], atol=1e-14)
    np.testing.assert_allclose((a_matrix @ np.linalg.inv(b_matrix)).ravel(), wanted["U"], atol=1e-13)
    np.testing.assert_allclose(geometry.unit_cell(crystal.real_space), wanted["cell"], rtol=1e-13)
    np.testing.assert_allclose(abs(np.linalg.det(crystal.real_space)), wanted["volume"], rtol=1e-12)
    assert crystal.hall == wanted["hall"]
    np.testing.assert_allclose(crystal.unit_cell, wanted["recalculated_cell"] or wanted["cell"], rtol=1e-13)


def check_model(experiment: Experiment, wanted: dict[str, Any] | None) -> None:
    model = experiment.scaling_model
    if wanted is None:
        assert model is None
        return
    assert model is not None and model["__id__"] == wanted["id"]
    for name, n in wanted["components"].items():
        assert len(model[name]["parameters"]) == model[name]["n_parameters"] == n
        assert sum(model[name]["parameters"]) == pytest.approx(wanted["parameter_sums"][name], rel=1e-12)
    assert model["configuration_parameters"] == wanted["configdict"]


def test_todays_scan(tmp_path: Path) -> None:
    old = {"oscillation": ..., "exposure_time": ..., "epochs": ...}
    scan = one(tmp_path, scan=old | {"properties": {"oscillation": [5.0 + k / 4 for k in range(100)]}}).scan
    assert scan is not None and scan.oscillation == (5.0, 0.25)
    single = {"image_range": [7, 7], "properties": {"oscillation": [5.0], "oscillation_width": [0.5]}}
    scan = one(tmp_path, scan=old | single).scan
    assert scan is not None and (scan.image_range, scan.oscillation) == ((7, 7), (5.0, 0.5))
    still = one(tmp_path, scan=old | {"image_range": [7, 7], "properties": {"epochs": [0.0]}})
    assert still.is_still
    with pytest.raises(InputError, match="time-of-flight"):
        one(tmp_path, scan=old | {"properties": {"time_of_flight": [1.0]}})
    with pytest.raises(InputError, match="oscillation is not a list of 100 numbers"):
        one(tmp_path, scan=old | {"properties": {"oscillation": [1.0]}})


def test_old_scans_without_offset_and_goniometers_without_setting(tmp_path: Path) -> None:
    experiment = one(
        tmp_path,
        scan={"batch_offset": ..., "valid_image_ranges": ..., "exposure_time": ...},
        goniometer={"setting_rotation": ..., "fixed_rotation": ...},
    )
    assert experiment.scan is not None and experiment.goniometer is not None
    assert (experiment.scan.batch_offset, experiment.scan.valid_image_ranges) == (0, ())
    np.testing.assert_array_equal(experiment.goniometer.setting, np.eye(3))


def test_a_goniometer_of_several_axes(tmp_path: Path) -> None:
    data = samples.experiment_list()
    data["goniometer"] = [
        {
            "axes": [[1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
            "angles": [90.0, 30.0, 77.0, 10.0],
            "names": ["phi", "kappa", "omega", "mu"],
            "scan_axis": 2,
        }
    ]
    goniometer = read(tmp_path, data).experiments[0].goniometer
    assert goniometer is not None
    turn = geometry.rotation
    fixed = turn(np.array([0.0, 0.0, 1.0]), 30) @ turn(np.array([1.0, 0.0, 0.0]), 90)
    np.testing.assert_allclose(goniometer.fixed, fixed, atol=1e-15)
    np.testing.assert_allclose(goniometer.setting, turn(np.array([1.0, 0.0, 0.0]), 10), atol=1e-15)
    np.testing.assert_array_equal(goniometer.axis, [0, 1, 0])


def test_panels_in_nested_frames(tmp_path: Path) -> None:
    data = samples.experiment_list()
    panel = data["detector"][0]["panels"][0]
    data["detector"][0] = {
        "panels": [panel, panel | {"origin": [0.0, 0.0, 1.0]}],
        "hierarchy": {
            "fast_axis": [0.0, 2.0, 0.0],
            "slow_axis": [-1.0, 0.0, 0.0],
            "origin": [5.0, 6.0, 7.0],
            "children": [
                {"panel": 1},
                {
                    "fast_axis": [0.0, 0.0, 1.0],
                    "slow_axis": [1.0, 0.0, 0.0],
                    "origin": [1.0, 0.0, 0.0],
                    "children": [{"panel": 0}],
                },
            ],
        },
    }
    first, second = read(tmp_path, data).experiments[0].panels
    outer = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    inner = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(second.origin, outer @ [0, 0, 1] + [5, 6, 7])
    np.testing.assert_allclose(second.fast, [0, 1, 0])
    np.testing.assert_allclose(first.origin, outer @ (inner @ [-50, 50, -100] + [1, 0, 0]) + [5, 6, 7])
    np.testing.assert_allclose(first.slow, outer @ inner @ [0, -1, 0])


def test_a_detector_without_geometry_has_no_panels(tmp_path: Path) -> None:
    assert one(tmp_path, detector={"panels": [{"name": "x"}]}).panels == ()


def test_the_recalculated_cell_goes_first(tmp_path: Path) -> None:
    cell = [10.1, 20.1, 30.1, 90.0, 91.0, 92.0]
    assert one(tmp_path, crystal={"recalculated_unit_cell": cell}).crystal.unit_cell == tuple(cell)


def test_valid_image_ranges_belong_to_one_experiment(tmp_path: Path) -> None:
    data = samples.experiment_list(2, ["first", "second"])
    data["experiment"][1]["scan"] = 0
    data["scan"][0]["valid_image_ranges"] = {"second": [[1, 10], [20, 100]]}
    first, second = (experiment.scan for experiment in read(tmp_path, data).experiments)
    assert first is not None and first.valid_image_ranges == ()
    assert second is not None and second.valid_image_ranges == ((1, 10), (20, 100))


def test_scaling_models_are_handed_on(tmp_path: Path) -> None:
    data = samples.experiment_list(2, ["a", "b"])
    data["scaling_model"] = [None, {"__id__": "KB", "scale": {"parameters": [1.0]}}]
    data["experiment"][0]["scaling_model"] = 0
    data["experiment"][1]["scaling_model"] = 1
    first, second = read(tmp_path, data).experiments
    assert first.scaling_model is None
    assert second.scaling_model == data["scaling_model"][1]


def test_an_odd_number_of_scan_points_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        one(tmp_path, crystal={"A_at_scan_points": [[0.0] * 9] * 7})
    assert "7 crystal orientations for 100 images" in caplog.text


NAN = float("nan")
PANEL = samples.experiment_list()["detector"][0]["panels"][0]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"beam": {"wavelength": 0.0}}, "beam 0: wavelength 0.0 is outside the possible range, 0.001 to 100 Angstrom"),
        ({"beam": {"wavelength": NAN}}, "wavelength has a number that is not finite"),
        ({"beam": {"wavelength": "1"}}, "wavelength is not a number"),
        ({"beam": {"wavelength": True}}, "wavelength is not a number"),
        ({"beam": {"wavelength": 10**400}}, "too large"),
        ({"beam": {"wavelength": ..., "wavelength_range": [1, 2]}}, "polychromatic"),
        ({"beam": {"direction": [0, 0, 0]}}, "direction has length 0"),
        ({"beam": {"direction": [0, 0, float("inf")]}}, "not finite"),
        ({"goniometer": {"rotation_axis": ...}}, "rotation_axis is not a list of 3 numbers"),
        ({"goniometer": {"fixed_rotation": [1.0] * 9}}, "fixed_rotation is not a rotation"),
        ({"goniometer": {"setting_rotation": [1, 0, 0, 0, 1, 0, 0, 0, -1]}}, "setting_rotation is not a rotation"),
        ({"goniometer": {"axes": [[1, 0, 0]], "angles": []}}, "equal length"),
        ({"goniometer": {"axes": [[1, 0, 0]], "angles": [1.0], "scan_axis": 1}}, "scan_axis 1 is none of its 1"),
        ({"goniometer": {"axes": [[0, 0, 0]], "angles": [1.0], "scan_axis": 0}}, "axis of length 0"),
        ({"scan": {"image_range": [5, 1]}}, "not a range of images"),
        ({"scan": {"image_range": [1, 10**12]}}, "outside the possible range, -1e.09 to 1e.09"),
        ({"scan": {"image_range": [1, 10**8]}}, "100000000 images are more than any scan has"),
        ({"scan": {"batch_offset": 2**40}}, "batch_offset 1099511627776 is outside"),
        ({"scan": {"oscillation": [0.0, 1e9]}}, "outside the possible range"),
        ({"scan": {"oscillation": [0.0, 500.0]}}, "images of 500 degrees; no image is wider than 360"),
        ({"beam": {"wavelength": 1e300}}, "wavelength 1e.300 is outside"),
        ({"beam": {"direction": [0.0, 0.0, 1e-200]}}, "direction has length 0"),
        ({"crystal": {"real_space_a": [1e300, 0.0, 0.0]}}, "real_space_a .* is outside the possible range"),
        ({"crystal": {"recalculated_unit_cell": [9, 9, 9, 30, 30, 120]}}, "is no unit cell"),
        ({"detector": {"panels": [{**PANEL, "image_size": [0, 100]}]}}, "image_size .0, 100. is outside"),
        ({"scan": {"image_range": [1.0, 2.0]}}, "not a range of images"),
        ({"scan": {"oscillation": ...}}, "oscillation is not a list of 2"),
        ({"scan": {"batch_offset": 0.5}}, "batch_offset 0.5"),
        ({"scan": {"valid_image_ranges": []}}, "valid_image_ranges is not an object"),
        ({"scan": {"valid_image_ranges": {"": [[0, 5]]}}}, "0-5 of '' are outside the scan, 1-100"),
        ({"crystal": {"real_space_a": [0.0, 20.0, 0.0]}}, "do not span a cell"),
        ({"crystal": {"real_space_a": [0, 0]}}, "real_space_a is not a list of 3"),
        ({"crystal": {"space_group_hall_symbol": ...}}, "no space_group_hall_symbol"),
        ({"crystal": {"recalculated_unit_cell": [1, 1, 1, 90, 90, 180]}}, "is no unit cell"),
        ({"detector": {"panels": 3}}, "no list of panels"),
        ({"detector": {"hierarchy": {"children": [{"panel": 1}]}}}, "names panel 1, of 1, wrongly"),
        (
            {"detector": {"hierarchy": {"children": [{"panel": 0}, {"panel": 0}]}}},
            "names panel 0, of 1, wrongly or twice",
        ),
        ({"detector": {"hierarchy": {"children": 5}}}, "children are not a list"),
        ({"detector": {"hierarchy": [1]}}, "group of panels is not an object"),
    ],
)
def test_models_that_cannot_be_are_refused(tmp_path: Path, models: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        one(tmp_path, **models)
    assert "a.expt" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beam": 5}, r"experiment 0: it refers to beam 5, but the file has 1 \(counted from 0\)"),
        ({"scan": -1}, "refers to scan -1"),
        ({"imageset": "x" * 9000}, "its imageset is in another file"),
        ({"imageset": 2**40}, "it refers to imageset 1099511627776, but the file has 1"),
        ({"imageset": [1]}, "it refers to imageset .1., but"),
        ({"identifier": "\ud800"}, "cannot be written as UTF-8"),
        ({"crystal": 0.0}, "refers to crystal 0.0"),
        ({"beam": True}, "refers to beam True"),
        ({"profile": 1}, "refers to profile 1"),
        ({"imageset": 99}, "refers to imageset 99"),
        ({"detector": "../../secret.json"}, "in another file, '../../secret.json', which is not opened"),
        ({"beam": None}, "has no beam"),
        ({"crystal": None}, "has no crystal"),
        ({"identifier": 5}, "identifier 5 is not a text"),
    ],
)
def test_bad_references(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    data = samples.experiment_list()
    data["experiment"][0] |= changes
    with pytest.raises(InputError, match=message):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"__id__": "ExperimentList", "experiment": [', "damaged JSON in line 1"),
        (b'{"a": ' + b"[" * 200_000, "cannot be read|damaged"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be read"),
        (b'{"__id__": "Something"}', "not an experiment list"),
        (b'{"__id__": "ExperimentList"}', "no list of experiments"),
        (b'{"__id__": "ExperimentList", "experiment": []}', "is empty"),
        (b'{"__id__": "ExperimentList", "experiment": [5]}', "no list of experiments"),
        (b'{"__id__": "ExperimentList", "experiment": [{"beam": 0}], "beam": {}}', "the file has 0"),
        (b'{"__id__": "ExperimentList", "experiment": [{"beam": 0}], "beam": [5]}', "beam 0: not an object"),
    ],
)
def test_documents_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    content = json.dumps(samples.experiment_list()).encode()
    for n in range(1, len(content), 7):
        with pytest.raises(InputError):
            read(tmp_path, content[:n])


def test_identifiers_that_occur_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="experiments 0 and 2 have the same identifier 'x'"):
        read(tmp_path, samples.experiment_list(3, ["x", "y", "x"]))


def keep_all(document: Document) -> list[OutputExperiment]:
    return [OutputExperiment(k, e.identifier, e.scaling_model) for k, e in enumerate(document.experiments)]


def without_history(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "history"}


def test_what_is_not_understood_survives_word_for_word(tmp_path: Path) -> None:
    data = samples.experiment_list(2, ["a", "b"])
    data |= {"future": {"x": [1, None, "\u00e9"]}, "history": ["2020-01-01T00:00:00Z|dials.import|3"]}
    data["experiment"][0]["also"] = {"y": 0.1}
    document = read(tmp_path, copy.deepcopy(data))
    line = history_line("2024-05-06T07:08:09Z", "0.1.0")
    out = json.loads(to_text(output_data(document, keep_all(document), line)))
    assert without_history(out) == without_history(data)
    assert out["history"] == [*data["history"], "2024-05-06T07:08:09Z|braggscale.scale|0.1.0|scaled"]
    assert document.data == data


@pytest.mark.parametrize("name", GOLDEN)
def test_real_documents_survive(shared_data: Path, name: str) -> None:
    path = shared_data / name.replace("__", "/")
    document = read_document(open_source(str(path)))
    out = json.loads(to_text(output_data(document, keep_all(document), "line")))
    original = json.loads(path.read_text())
    for entry in original["experiment"]:
        entry.setdefault("identifier", "")
    assert without_history(out) == {"scaling_model": []} | original


def test_leaving_experiments_out_renumbers_models_and_drops_unused_ones(tmp_path: Path) -> None:
    data = samples.experiment_list(4, list("abcd"))
    data["experiment"][3]["beam"] = data["experiment"][1]["beam"] = 2
    data["experiment"][3]["scan"] = 1
    data["lens"] = ["left", "right"]
    data["experiment"][3]["lens"] = 1
    data["scan"][1]["valid_image_ranges"] = {"b": [[1, 5]], "d": [[2, 6]], "stranger": [[1, 1]]}
    document = read(tmp_path, data)
    kept = [OutputExperiment(1, "b", {"__id__": "KB"}, ((3, 4),)), OutputExperiment(3, "d", None)]
    out = json.loads(to_text(output_data(document, kept, "line")))
    assert [entry["identifier"] for entry in out["experiment"]] == ["b", "d"]
    assert [entry["beam"] for entry in out["experiment"]] == [0, 0]
    assert out["beam"] == [data["beam"][2]]
    assert out["crystal"] == [data["crystal"][1], data["crystal"][3]]
    assert (out["lens"], out["experiment"][1]["lens"]) == (["right"], 0)
    assert out["scan"] == [
        data["scan"][1] | {"valid_image_ranges": {"stranger": [[1, 1]], "b": [[3, 4]], "d": [[2, 6]]}}
    ]
    assert (out["scaling_model"], out["experiment"][0]["scaling_model"]) == ([{"__id__": "KB"}], 0)
    assert "scaling_model" not in out["experiment"][1]
    assert imageset_numbers(out) == [0, 1]
    again = read(tmp_path, out, "again.expt").experiments
    assert [experiment.scan and experiment.scan.valid_image_ranges for experiment in again] == [((3, 4),), ((2, 6),)]


def test_new_identifiers_and_batches(tmp_path: Path) -> None:
    data = samples.experiment_list(2, ["0", "1"])
    data["experiment"][1]["scan"] = 0
    data["scan"][0]["valid_image_ranges"] = {"0": [[1, 50]]}
    document = read(tmp_path, data)
    kept = [OutputExperiment(0, "7", None, None, 100), OutputExperiment(1, "8", None, ((2, 3),), 100)]
    out = output_data(document, kept, "line")
    assert out["scan"] == [
        data["scan"][0] | {"batch_offset": 100, "valid_image_ranges": {"7": [[1, 50]], "8": [[2, 3]]}}
    ]
    # Different offsets need scans of their own.
    kept = [OutputExperiment(0, "7", None, None, 100), OutputExperiment(1, "8", None, ((2, 3),), 300)]
    out = output_data(document, kept, "line")
    assert [scan["batch_offset"] for scan in out["scan"]] == [100, 300]
    assert [entry["scan"] for entry in out["experiment"]] == [0, 1]
    assert [scan["valid_image_ranges"] for scan in out["scan"]] == [{"7": [[1, 50]]}, {"8": [[2, 3]]}]


def test_joining(tmp_path: Path) -> None:
    first, second = samples.experiment_list(2, ["a", "b"]), samples.experiment_list(1, ["c"], scan=False)
    del second["goniometer"], second["scan"]
    first["history"] = ["2024-01-01T00:00:00Z|one|1", "2024-01-03T00:00:00Z|three|1"]
    second["history"] = ["2024-01-02T00:00:00Z|two|1", "2024-01-01T00:00:00Z|one|1"]
    second["beam"][0]["wavelength"] = 2.5
    documents = [read(tmp_path, first, "1.expt"), read(tmp_path, second, "2.expt")]
    joined = join(documents)
    assert [experiment.identifier for experiment in joined.experiments] == ["a", "b", "c"]
    assert [Path(name).name for name in joined.files] == ["1.expt", "1.expt", "2.expt"]
    again = read(tmp_path, json.loads(to_text(joined.data)))
    assert [experiment.beam.wavelength for experiment in again.experiments] == [1.0, 1.01, 2.5]
    assert [experiment.scan is None for experiment in again.experiments] == [False, False, True]
    assert [line.split("|")[1] for line in joined.data["history"]] == ["one", "two", "three"]
    assert documents[0].data["experiment"][1]["beam"] == 1
    assert join(documents[:1]) is documents[0]


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    data = samples.experiment_list()
    data["crystal"][0]["real_space_a"] = [0.1 + 0.2, 5e-324, 1.7976931348623157e308]
    data["crystal"][0]["real_space_b"] = [0.0, 1e150, 1 / 3]
    text = to_text(data)
    assert json.loads(text) == data
    assert to_text({"model": {"scale": np.float64(1.5), "n": np.int64(3), "all": np.array([1.0, 2.0])}}) == (
        '{\n  "model": {"scale": 1.5, "n": 3, "all": [1.0, 2.0]}\n}\n'
    )
