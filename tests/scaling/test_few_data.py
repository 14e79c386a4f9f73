"""Few repeated reflections: corrections keep constant values, or those of an earlier run."""

from __future__ import annotations

import json
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
from io_samples import refl

from braggscale.cli import main
from braggscale.data.table import Table
from braggscale.io import open_inputs

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import accuracy
from simulate import simulate
from simulation.design import Options

EXAMPLE = [str(Path(__file__).parents[2] / "examples" / f"simulated.{kind}") for kind in ("expt", "refl")]
FEW = ["-q", "nproc=1", "output.html=None", "d_min=7"]


def scales() -> np.ndarray:
    data = open_inputs(["scaled.expt", "scaled.refl"])
    return np.concatenate(
        [np.log(d.table["inverse_scale_factor"][d.table["scaling_fate"] == 0]) for d in data.data_sets]
    )


def test_few_repeats_are_not_fitted(tmp_path, capsys):
    with chdir(tmp_path):
        assert main([*FEW, *EXAMPLE]) == 0
        assert "nothing is fitted but one constant" in " ".join(capsys.readouterr().err.split())
        (entry,) = json.loads(Path("scaled.expt").read_text())["scaling_model"][:1]
        a = entry["configuration_parameters"]["error_model_parameters"][0]
        assert a > 0.5, "errors must not fall with the fit"


def test_a_stored_model_is_not_thrown_away_where_data_are_few(tmp_path, capsys):
    with chdir(tmp_path):
        assert main(["-q", "nproc=1", "output.html=None", "model=KB", *EXAMPLE]) == 0
        capsys.readouterr()
        before = scales()
        assert main([*FEW, "scaled.expt", "scaled.refl"]) == 0
        assert "held at constants" not in " ".join(capsys.readouterr().out.split())
        assert 0 < len(scales()) < len(before)


def test_wedges_of_three_rows_have_no_b_of_their_own(tmp_path, capsys):
    """B of each would take most of what so few repeats say, and R_meas would be ten times too good."""
    simulate(Options(kind="crystals", count=150, degrees=4.0, reflections=450, seed=5, lean=True), tmp_path)
    files = [str(tmp_path / f"simulated.{kind}") for kind in ("expt", "refl")]
    with chdir(tmp_path):
        assert main(["-q", "nproc=1", "output.html=None", *files]) == 0
        assert "all data sets have the same B factor" in " ".join(capsys.readouterr().err.split())
        summary = json.loads(Path("scale.json").read_text())
        decay = [row for row in summary["fit"]["components"] if row["component"] == "decay"]
        assert decay and all(row["effective"] < 0.01 and row["low"] > 0.99 and row["high"] < 1.01 for row in decay)
        # the simulated noise is 3 %
        assert summary["statistics"]["overall"]["r_meas"] > 0.015
        found, _ = accuracy.scaled(Path("scaled.refl"), "", accuracy.load_truth(tmp_path))
        # 5 to 20 if sigmas leave out what observations of a reflection share; nearly half of the freedom is taken
        assert 0.3 < found.chi2 < 2.5


def taken(table: Table, rows: np.ndarray) -> dict[str, Any]:
    """Some rows of a table of the example, as columns to write."""
    return {name: (column.tag, np.array(table[name][rows])) for name, column in table.columns.items()}


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of several tables."""
    return {name: (tag, np.concatenate([part[name][1] for part in parts])) for name, (tag, _) in parts[0].items()}


def test_reflections_on_a_part_of_the_scan(tmp_path, capsys):
    tables = [data_set.table for data_set in open_inputs(EXAMPLE).data_sets]
    parts = [taken(table, np.flatnonzero(table["xyzobs.px.value"][:, 2] < 100)) for table in tables]
    with chdir(tmp_path):
        Path("in.refl").write_bytes(refl(joined(parts), {0: "0", 1: "1"}))
        assert main(["-q", "nproc=1", "model=KB", EXAMPLE[0], "in.refl"]) == 0
        assert "internal error" not in capsys.readouterr().err
        assert "internal error" not in Path("scale.html").read_text()
        by_image = json.loads(Path("scale.json").read_text())["by_image"]
        # every image has its place, and one without reflections has no values
        known = [value is not None for value in by_image["scale"]]
        assert known == [first <= 100 for first in by_image["first"]] and not all(known)


def test_sweeps_of_one_image_with_effects_of_images(tmp_path, capsys):
    """Scale and image effect of such a sweep are the same thing."""
    width = 80  # images that become one
    document = json.loads(Path(EXAMPLE[0]).read_text())
    entries, scans, parts = [], [], []
    for d, data_set in enumerate(open_inputs(EXAMPLE).data_sets):
        z = data_set.table["xyzobs.px.value"][:, 2]
        for first in range(0, 240, width):
            part = taken(data_set.table, np.flatnonzero((z >= first) & (z < first + width)))
            for name in ("xyzobs.px.value", "xyzcal.px"):
                part[name][1][:, 2] = (part[name][1][:, 2] - first) / width
            part["bbox"][1][:, 4:] = 0, 1
            part["id"][1][:] = len(entries)
            parts.append(part)
            entries.append({**document["experiment"][d], "identifier": str(len(entries)), "scan": len(entries)})
            scan = {"image_range": [1, 1], "oscillation": [0.5 * first, 0.5 * width], "exposure_time": [0.1]}
            scans.append({**scan, "epochs": [0.0], "batch_offset": 0})
    document |= {"experiment": entries, "scan": scans}
    with chdir(tmp_path):
        Path("in.expt").write_text(json.dumps(document))
        Path("in.refl").write_bytes(refl(joined(parts), {k: str(k) for k in range(len(entries))}))
        found = []
        for image in ("True", "False"):
            asked = ["restraints=fixed", f"image_correction={image}"]
            assert main(["-q", "nproc=1", "output.html=None", "in.expt", "in.refl", *asked]) == 0
            found.append(scales())
        capsys.readouterr()
    assert len(found[0]) > 0.99 * len(found[1]) > 8000
    assert abs(found[0].mean() - found[1].mean()) < 0.05 and abs(found[0].std() - found[1].std()) < 0.05


def test_nothing_but_fixed_components(tmp_path, capsys):
    with chdir(tmp_path):
        fixed = "physical.correction.fix=scale decay absorption modulation image"
        assert main(["-q", "nproc=1", "output.html=None", "d_min=4", *EXAMPLE, fixed]) == 0
        assert capsys.readouterr().err == ""
        assert np.ptp(scales()) < 1e-9
