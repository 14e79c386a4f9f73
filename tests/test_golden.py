"""Whole runs on real data, beside what DIALS 3.12.1 computes from the same files.

The reference: `dials.scale *.pickle *.json` (all defaults) of DIALS 3.12.1, four l-cysteine sweeps: 11914 scaled
observations, R_meas 0.0346, R_pim 0.0107, CC1/2 0.9997; model=array without the full matrix R_meas 0.0327; model=KB
0.0950; sweep 20 alone 0.0229 from 2327. `l_cysteine_dials_3.12.1_used_rows.npz` holds the rows that it kept and its
inverse scale factors for them. Its restraints are fixed, so runs that should agree with it have fixed ones, too.
"""

import json
import re

import numpy as np
import pytest

from braggscale.cli import main
from braggscale.io import open_inputs
from braggscale.io.file_kind import open_source
from braggscale.io.refl_msgpack import read_table
from braggscale.scaling.plan import ZMAX

SWEEPS = (20, 25, 30, 35)


def inputs(folder, sweeps=SWEEPS):
    tables = [str(folder / "l_cysteine" / f"{n}_integrated.pickle") for n in sweeps]
    return tables + [str(folder / "l_cysteine" / f"{n}_integrated_experiments.json") for n in sweeps]


def scale(folder, *arguments):
    """Run in ``folder``; returns the summary."""
    here = [f"output.{name}={folder / file}" for name, file in OUTPUTS.items()]
    assert main([*arguments, *here, "-q"]) == 0
    return json.loads((folder / "scale.json").read_text())


OUTPUTS = {
    "experiments": "scaled.expt",
    "reflections": "scaled.refl",
    "log": "scale.log",
    "json": "scale.json",
    "html": "scale.html",
}


@pytest.fixture(scope="module")
def fixed_run(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixed")
    return folder, scale(folder, *inputs(shared_data), "model=physical", "restraints=fixed")


@pytest.fixture(scope="module")
def default_run(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    return folder, scale(folder, *inputs(shared_data), "nproc=2")


def test_four_sweeps(fixed_run):
    overall = fixed_run[1]["statistics"]["overall"]
    assert overall["n_obs"] >= 11850
    assert overall["r_meas"] <= 0.0356
    assert overall["r_pim"] <= 0.0112
    assert overall["cc_half"] >= 0.9996
    assert fixed_run[1]["fit"]["has_esds"]


@pytest.mark.parametrize("kind", ["fixed", "default"])
def test_every_row_has_one_fate(kind, request):
    found = request.getfixturevalue(f"{kind}_run")[1]
    ledger = found["ledger"]
    assert ledger["rows"] == sum(ledger["total"].values()) == 4417 + 5555 + 5308 + 5463
    assert ledger["total"]["scaled"] == found["statistics"]["overall"]["n_obs"]


@pytest.mark.parametrize(("kind", "r", "spread"), [("fixed", 0.0343, 0.011), ("default", 0.0316, 0.024)])
def test_the_rows_that_dials_kept_agree_as_well_with_our_scales(kind, r, spread, request, shared_data):
    """R_meas over exactly those rows, and the scales against DIALS' after one factor and one B.

    Estimated restraints: nearer to one another than DIALS makes them, hence further from its scales. Profiles, put on
    the scale of the sums, are others than those that DIALS scales.
    """
    folder = request.getfixturevalue(f"{kind}_run")[0]
    golden = np.load(shared_data / "golden" / "l_cysteine_dials_3.12.1_used_rows.npz")
    scaled = read_table(open_source(str(folder / "scaled.refl")))
    column = {name: scaled.columns[name].load() for name in WANTED}
    intensity, g, ln_theirs, d, hkl, sigma = [], [], [], [], [], []
    for number, data_set in enumerate(open_inputs(inputs(shared_data)).data_sets):
        # rows are told apart by index and position; both stay as they were in the input
        mine = column["id"] == data_set.id
        key = {k: i for i, k in zip(np.flatnonzero(mine), keys(column, mine), strict=True)}
        source = data_set.table
        rows = np.arange(source.n_file) if source.rows is None else source.rows
        place = {int(row): i for i, row in enumerate(rows)}
        used = [place[int(row)] for row in golden[f"used_{SWEEPS[number]}"]]
        theirs = {"miller_index": source["miller_index"], "xyzobs.px.value": source["xyzobs.px.value"]}
        found = np.array([key[k] for k in keys(theirs, np.array(used))])
        intensity.append(column["intensity.scale.value"][found])
        sigma.append(np.sqrt(column["intensity.scale.variance"][found]))
        g.append(column["inverse_scale_factor"][found])
        d.append(column["d"][found])
        hkl.append(np.abs(column["miller_index"][found]))  # point group 222 with Friedel's law
        ln_theirs.append(np.log(golden[f"g_{SWEEPS[number]}"]))
    g, d, hkl = np.concatenate(g), np.concatenate(d), np.concatenate(hkl)
    assert len(g) == 11914
    assert r_meas(hkl, np.concatenate(intensity) / g, np.concatenate(sigma) / g) <= r
    difference = np.log(g) - np.concatenate(ln_theirs)
    common = np.column_stack((np.ones(len(d)), 0.5 / d**2))
    assert np.std(difference - common @ np.linalg.lstsq(common, difference)[0]) < spread


WANTED = (
    "id",
    "miller_index",
    "xyzobs.px.value",
    "d",
    "intensity.scale.value",
    "intensity.scale.variance",
    "inverse_scale_factor",
)


def keys(column, rows):
    return [
        (*h, *x)
        for h, x in zip(column["miller_index"][rows].tolist(), column["xyzobs.px.value"][rows].tolist(), strict=True)
    ]


def r_meas(hkl, x, sigma):
    """sum_h sqrt(n/(n-1)) sum |x - m| / sum_h sum x over reflections measured more than once."""
    _, group = np.unique(hkl, axis=0, return_inverse=True)
    group = group.ravel()
    w = 1 / sigma**2
    mean = np.bincount(group, w * x) / np.bincount(group, w)
    n = np.bincount(group)
    deviation = np.bincount(group, np.abs(x - mean[group]))
    several = n > 1
    factor = np.sqrt(n[several] / (n[several] - 1))
    return float((factor * deviation[several]).sum() / np.bincount(group, x)[several].sum())


def test_array_model_with_the_full_matrix(shared_data, tmp_path):
    found = scale(tmp_path, *inputs(shared_data), "model=array")
    assert found["statistics"]["overall"]["r_meas"] <= 0.0340
    assert found["fit"]["has_esds"]
    # limits as with estimated restraints of any model
    stored = found["data_sets"][0]["model"]["braggscale"]
    assert (stored["outliers"]["zmax"], stored["restraints"]) == (ZMAX, "estimated")
    assert "method=use_all)" in (tmp_path / "scale.log").read_text()


def test_kb_model(shared_data, tmp_path):
    assert scale(tmp_path, *inputs(shared_data), "model=KB")["statistics"]["overall"]["r_meas"] <= 0.097


def test_one_sweep(shared_data, tmp_path):
    overall = scale(tmp_path, *inputs(shared_data, (20,)))["statistics"]["overall"]
    assert round(overall["r_meas"], 4) <= 0.0236
    assert overall["n_obs"] >= 2300


def test_without_an_error_model_restraints_are_fixed(shared_data, tmp_path):
    files = [str(shared_data / "quartz_ed" / f"integrated.{kind}") for kind in ("expt", "refl")]
    found = scale(tmp_path, *files, "error_model=None")
    assert "restraints fixed: without an error model" in (tmp_path / "scale.log").read_text()
    assert not found["fit"]["strengths"]


def test_stills_with_next_to_no_common_reflections(shared_data, tmp_path):
    files = [str(shared_data / "ssx_cunir" / f"integrated.{kind}") for kind in ("expt", "refl")]
    found = scale(tmp_path, *files, "model=KB")
    assert found["statistics"]["overall"]["n_obs"] > 1900
    said = " ".join((tmp_path / "scale.log").read_text().split())
    assert re.search(r"multiplicity 1\.0\d leaves little to scale", said)
    assert "Too few repeated measurements" in said
    values = [x for d in found["data_sets"] for x in d["model"]["decay"]["parameters"]]
    assert len(values) == 5 and max(map(abs, values)) < 20  # B as the starting strength has it: 5 square Angstrom


def test_one_still_ends_with_constants(shared_data, tmp_path):
    """Constants restrained with 10^12 once made the target negative by rounding, so that the descent did not end."""
    files = [str(shared_data / "ssx_cunir" / f"integrated.{kind}") for kind in ("expt", "refl")]
    found = scale(tmp_path, *files, "use_datasets=#0")
    assert found["fit"]["undetermined"] == []
    assert all(cost > 0 for entry in found["rounds"] for m in entry["minimisers"] for cost in m["cost"])
    assert all(abs(c["effective"]) < 0.01 and c["low"] == pytest.approx(1) for c in found["fit"]["components"])
    said = " ".join((tmp_path / "scale.log").read_text().split())
    assert (
        "nothing is fitted but one constant" in said
        and "Fewer parameters" not in said
        and "no data determine" not in said
    )


def test_any_number_of_threads_gives_the_same_bytes(default_run, shared_data, tmp_path):
    scale(tmp_path, *inputs(shared_data), "nproc=1")
    assert (tmp_path / "scaled.refl").read_bytes() == (default_run[0] / "scaled.refl").read_bytes()
