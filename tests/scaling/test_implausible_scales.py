"""A data set whose scale is wrong by a factor of a million is left out; one in other units of intensity is not."""

from __future__ import annotations

from pathlib import Path

import io_samples
import numpy as np

from braggscale.cli import main
from braggscale.io import open_inputs
from braggscale.scaling.conclusion import MOST_APART, strangers, too_small

SETS = np.repeat([0, 1, 2], [50, 40, 30]).astype(np.int32)


def test_units_may_differ() -> None:
    g = np.where(SETS == 1, 1e4, np.where(SETS == 2, 1e-4, 1.0))
    assert not too_small(g, SETS, 1e-3).any()
    assert not len(strangers(g, SETS))


def test_a_data_set_a_million_times_off_is_left_out() -> None:
    for off in (10 * MOST_APART, 0.1 / MOST_APART):
        g = np.where(SETS == 2, off, np.linspace(0.8, 1.2, 120))
        np.testing.assert_array_equal(strangers(g, SETS), [2])


def test_common_units_do_not_matter() -> None:
    g = np.linspace(0.8, 1.2, 120)
    for unit in (1e-12, 1.0, 1e12):
        assert not too_small(g * unit, SETS, 1e-3).any()
        assert not len(strangers(g * unit, SETS))


def test_single_scales_far_off_in_their_data_set() -> None:
    g = np.linspace(0.8, 1.2, 120)
    g[[3, 77]] = 1e-4, 1e8
    np.testing.assert_array_equal(np.flatnonzero(too_small(g, SETS, 1e-3)), [3, 77])


def test_the_others_are_scaled_as_if_it_were_not_there(tmp_path, monkeypatch, capsys):
    expt, refl = (str(Path(__file__).parents[2] / "examples" / f"simulated.{ending}") for ending in ("expt", "refl"))
    table = open_inputs([expt, refl]).data_sets
    columns = {}
    for name, column in table[0].table.columns.items():
        values = [np.array(one.table[name]) for one in table]
        if name.startswith(("intensity", "background")):
            values[0] = values[0] * (1e9 if name.endswith("value") else 1e18)
        columns[name] = (column.tag, np.concatenate(values))
    monkeypatch.chdir(tmp_path)
    Path("in.refl").write_bytes(io_samples.refl(columns, {0: "0", 1: "1"}))
    quick = ["-q", expt, "in.refl", "output.html=None", "nproc=1", "model=KB"]
    assert main([*quick, "output.reflections=both.refl"]) == 0
    assert "data set 0: the scale is a million times" in " ".join(capsys.readouterr().err.split())
    assert main([*quick, "exclude_datasets=0", "output.reflections=one.refl"]) == 0
    both, one = (open_inputs(["scaled.expt", f"{name}.refl"]).data_sets for name in ("both", "one"))
    for name in ("inverse_scale_factor", "scaling_fate"):
        np.testing.assert_array_equal(both[-1].table[name], one[-1].table[name])
