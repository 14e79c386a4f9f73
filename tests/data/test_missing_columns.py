"""Missing columns are computed from the geometry, as DIALS would have written them, or the log says what is missing."""

from __future__ import annotations

import re

import numpy as np
import pytest
from test_preparation import SWEEP, columns, prepared

from braggscale.data.flags import Fate
from braggscale.data.missing_columns import diffracted_beams, lorentz_polarisation
from braggscale.io import open_inputs

REAL = {
    "l_cysteine": ("20_integrated_experiments.json", "20_integrated.pickle"),
    "quartz_ed": ("integrated.expt", "integrated.refl"),
    "ssx_cunir": ("integrated.expt", "integrated.refl"),
}


@pytest.mark.parametrize("folder", REAL)
def test_as_dials_wrote_it(shared_data, folder):
    """Lorentz and polarisation factors of a synchrotron, an electron microscope and a free-electron laser."""
    data_set = open_inputs([str(shared_data / folder / name) for name in REAL[folder]]).data_sets[0]
    table = data_set.table.select(np.flatnonzero(data_set.table["flags"] & np.uint64(0x300)))
    stored = table["lp"]
    np.testing.assert_allclose(lorentz_polarisation(data_set.experiment, table["s1"]), stored, rtol=1e-12)
    beams = diffracted_beams(data_set.experiment, table["xyzcal.px"], None)
    assert beams is not None
    # the depth at which photons are absorbed in the sensor is neglected
    np.testing.assert_allclose(lorentz_polarisation(data_set.experiment, beams), stored, rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(beams, axis=1), 1 / data_set.experiment.beam.wavelength)


def test_rows_without_a_beam_have_no_factor():
    assert lorentz_polarisation(SWEEP, np.array([[0.0, 0, 0], [np.nan, 0, 1], [0.1, 0, 1]])).tolist()[:2] == [0.0, 0.0]


def test_missing_lp_is_computed_and_said(caplog):
    data = columns(20)
    whole = prepared(data).observations.correction
    del data["lp"]
    found = prepared(data).observations.correction
    np.testing.assert_allclose(found, lorentz_polarisation(SWEEP, data["s1"]) / data["qe"])
    assert "no column lp; the Lorentz-polarisation factor is computed from the geometry" in caplog.text
    assert not np.allclose(found, whole)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["lp", "s1"], "no column lp; the Lorentz-polarisation factor is unknown and taken as 1"),
        (["s1"], "no column s1; diffracted beams are unknown: no absorption is corrected"),
        (["partiality"], "no column partiality; every reflection counts as wholly recorded"),
    ],
)
def test_what_cannot_be_computed_is_said(names, message, caplog):
    data = columns(20)
    for name in names:
        del data[name]
    assert (prepared(data).fate == Fate.SCALED).all()
    assert re.search(message, caplog.text)


@pytest.mark.parametrize(("empty", "other"), [("prf", "sum"), ("sum", "profile")])
def test_a_kind_of_intensity_that_is_all_0_was_never_determined(empty, other, caplog):
    data = columns(20)
    data[f"intensity.{empty}.value"][:] = 0.0
    result = prepared(data)
    assert result.intensity == other and len(result.observations) == 20
    assert (result.observations.has_prf if empty == "prf" else result.observations.has_sum).sum() == 0
    assert f"intensity is 0, using {other} instead" in caplog.text


def test_pieces_are_represented_by_the_first_in_the_scan():
    data = columns(6)
    for name in ("partial_id", "miller_index", "d", "s1"):
        data[name][3:] = data[name][0]
    data["partiality"][:] = 0.3
    rng = np.random.default_rng(1)
    first = None
    for _ in range(5):
        order = rng.permutation(6)
        shuffled = {name: values[order] for name, values in data.items()}
        obs = prepared(shuffled).observations
        place = {tuple(hkl): xyz.tolist() for hkl, xyz in zip(obs.hkl.tolist(), obs.xyz, strict=True)}
        first = first or place
        assert place == first
