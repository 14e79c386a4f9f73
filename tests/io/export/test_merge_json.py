"""Merging statistics as JSON: the names and the form that importers into databases read, numbers by the definition."""

import json

import numpy as np
import pytest
from export_samples import crystals

from braggscale.io.export.merge_json import merge_json
from braggscale.io.export.wavelengths import wavelength_sets

# What importers look up in merging_stats and merging_stats_anom.
READ = (
    "n_obs", "n_uniq", "multiplicity", "completeness", "i_over_sigma_mean", "r_merge", "r_meas", "r_pim",
    "cc_one_half", "cc_anom", "anom_completeness", "d_star_sq_min", "d_star_sq_max",
)  # fmt: skip


@pytest.fixture(scope="module")
def made():
    """The observations of two sweeps at two wavelengths, and what is written of them."""
    data = crystals(seed=3, wavelengths=(0.9, 0.9, 0.9, 0.9, 0.97, 0.97, 0.97, 0.97), d_min=4.0, keep=1.0)
    text = merge_json(wavelength_sets(data, with_amplitudes=False), data.symmetry, data.cell, n_bins=5)
    return data.rows, data.symmetry, json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def r_merge_by_hand(hkl, intensity, sigma):
    """Sum of |x - mean| over sum of x, of reflections with two observations or more."""
    above = below = 0.0
    for index in np.unique(hkl, axis=0):
        mine = np.flatnonzero((hkl == index).all(axis=1))
        if len(mine) > 1:
            mean = np.average(intensity[mine], weights=sigma[mine] ** -2)
            above += np.abs(intensity[mine] - mean).sum()
            below += intensity[mine].sum()
    return above / below


def test_one_entry_for_each_wavelength(made):
    assert list(made[2]) == ["0.90000", "0.97000"]
    for entry in made[2].values():
        assert {"merging_stats", "merging_stats_anom", "scaling_tables"} == set(entry)


@pytest.mark.parametrize("part", ["merging_stats", "merging_stats_anom"])
def test_what_importers_read_is_there(made, part):
    for entry in made[2].values():
        found = entry[part]
        for name in READ:
            inner, outer, overall = found[name][0], found[name][-1], found["overall"][name]
            known = part == "merging_stats_anom" or name != "anom_completeness"
            assert (inner is not None and outer is not None and overall is not None) == known, name
        assert len(found["n_obs"]) == 5 and sum(found["n_obs"]) == found["overall"]["n_obs"]
        assert sum(found["n_uniq"]) == found["overall"]["n_uniq"]
        assert found["d_star_sq_max"][0] < found["d_star_sq_max"][-1], "from low to high resolution"
        assert 0 < found["overall"]["completeness"] <= 100


def test_numbers_by_their_definitions(made):
    rows, symmetry, entries = made
    mine = rows.take(rows.data_set < 4)
    asu, minus = symmetry.asu(mine.hkl)
    apart = np.where(minus[:, None], -asu, asu)
    for part, hkl in (("merging_stats", asu), ("merging_stats_anom", apart)):
        found = entries["0.90000"][part]["overall"]
        assert found["n_obs"] == len(mine)
        assert found["n_uniq"] == len(np.unique(hkl, axis=0))
        assert found["r_merge"] == pytest.approx(r_merge_by_hand(hkl, mine.intensity, mine.sigma))
        assert found["multiplicity"] == pytest.approx(found["n_obs"] / found["n_uniq"])


def test_tables_have_a_row_for_each_shell(made):
    tables = made[2]["0.90000"]["scaling_tables"]
    heading, *shells = tables["resolution_binned"]
    assert len(shells) == 5 and {len(row) for row in shells} == {len(heading)}
    assert [row[1] for row in shells] == made[2]["0.90000"]["merging_stats"]["n_obs"]
    assert {len(row) for row in tables["overall"]} == {4}
    assert tables["overall_summary_data"]["Multiplicity"].endswith(")")
