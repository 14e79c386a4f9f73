"""Rows that cannot be get a fate of their own; files that do not belong together are refused."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from test_preparation import CELL, CRYSTAL, SWEEP, columns, prepared

from braggscale.data.experiment import Panel
from braggscale.data.flags import Fate
from braggscale.errors import InputError

PANEL = Panel(np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), np.array([0.0, 0, -100]), (0.1, 0.1), (1000, 1000))
ON_A_PANEL = replace(SWEEP, panels=(PANEL,))


def fates(data, experiment=ON_A_PANEL):
    return prepared(data, experiment).fate


def set_(name, value, place=None):
    def change(data, row):
        data[name][(row, place) if place is not None else row] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_("miller_index", [0, 0, 1000]), "1 with a Miller index beyond d = 0.5, half the wavelength"),
        (set_("miller_index", [1, 0, 0]), "1 with a d that contradicts the index"),
        (set_("d", 30.0), "1 with a d that contradicts the index"),
        (set_("d", 1e200), "1 with d outside 0.01 to 100000 Angstrom"),
        (set_("s1", [1e-3, 0.0, 1.0]), "1 with a diffracted beam that contradicts the index"),
        (set_("s1", [np.inf, 0.0, 1.0]), "1 with a diffracted beam that is not finite or beyond all bounds"),
        (set_("s1", [1e-200, 0.0, 0.0]), "1 with a diffracted beam that is not finite or beyond all bounds"),
        (set_("intensity.sum.value", 7e277), "1 with intensity.sum.value outside -1e\\+25 to 1e\\+25 counts"),
        (set_("intensity.prf.value", 1e15), "1 with intensity.prf.value or its standard deviation 1e\\+09 times"),
        (set_("intensity.prf.variance", 1e-300), "1 with intensity.prf.variance outside"),
        (set_("intensity.sum.variance", 1e300), "1 with intensity.sum.variance outside"),
        (set_("lp", 1e-150), "1 with lp outside 1e-06 to 1e\\+06"),
        (set_("qe", 1e150), "1 with qe outside"),
        (set_("partiality", 2.0), "1 with partiality outside 0 to 1.5"),
        (set_("xyzobs.px.value", 5000.0, 2), "1 with an image number outside the scan, 1 to 100"),
        (set_("xyzobs.px.value", 1e15, 2), "1 with an image number outside the scan"),
        (set_("xyzobs.px.value", 1011.0, 0), "1 with a position outside the detector"),
        (set_("xyzobs.px.value", -11.0, 1), "1 with a position outside the detector"),
    ],
)
def test_one_row_that_cannot_be(change, reason, caplog):
    data = columns(40)
    change(data, 7)
    found = fates(data)
    assert found[7] == Fate.NOT_PLAUSIBLE and (np.delete(found, 7) == Fate.SCALED).all()
    assert caplog.text.count("rows that are not plausible are left out") == 1
    assert re.search(reason, caplog.text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update({"xyzobs.px.value": d["xyzobs.px.value"] + [0, 0, 1000]}), "an image number outside"),
        (lambda d: d.update({"miller_index": d["miller_index"] * 2}), "contradicts the index.*do not belong"),
        (lambda d: d.update({"partiality": d["partiality"] * 1e9}), "the column partiality is damaged"),
        (lambda d: d.update({"intensity.sum.variance": d["intensity.sum.variance"] * 1e300}), "variance is damaged"),
    ],
)
def test_most_rows_that_cannot_be(change, message):
    data = columns(40)
    change(data)
    with pytest.raises(InputError, match=message):
        fates(data)


def test_a_wavelength_ten_times_too_long_is_refused():
    beam = replace(SWEEP.beam, wavelength=0.1)
    with pytest.raises(InputError, match="a diffracted beam that contradicts the index; the reflections do not belong"):
        fates(columns(40), replace(SWEEP, beam=beam))


def test_a_panel_that_is_not_there():
    data = columns(40) | {"panel": np.zeros(40, np.uint64)}
    data["panel"][3] = 1 << 40
    assert fates(data)[3] == Fate.NOT_PLAUSIBLE


def test_a_cell_that_is_a_little_off_costs_no_row(caplog):
    cell = tuple(1.12 * x for x in CELL[:3]) + CELL[3:]
    found = fates(columns(40), replace(SWEEP, crystal=replace(CRYSTAL, unit_cell=cell)))
    assert (found == Fate.SCALED).all()
    assert "its unit cell contradicts its reflections, d is off by 12 %" in caplog.text


def test_errors_of_refinement_pass(caplog):
    rng = np.random.default_rng(3)
    data = columns(200)
    data["d"] = data["d"] * rng.normal(1.0, 0.03, 200)
    data["s1"] = data["s1"] / np.linalg.norm(data["s1"], axis=1)[:, None] + rng.normal(0, 3e-3, (200, 3))
    data["xyzobs.px.value"][:, 2] = rng.uniform(-1.5, 101.5, 200)
    assert (fates(data) == Fate.SCALED).all() and not caplog.records
