"""Sections of the report on many crystals: there where a run did what they tell of, and nowhere else."""

import json

import pytest
from msgspec import structs

from braggscale.report.page.html import report_html
from braggscale.report.page.sections import sections
from braggscale.report.summary_crystals import (
    FilterCycleEntry,
    FilteringEntry,
    FilterPartEntry,
    FreeSetEntry,
    HalfSetsEntry,
    IndexingEntry,
    OutlyingEntry,
    ReferenceEntry,
)
from braggscale.report.summary_document import from_json
from braggscale.report.summary_wavelengths import DispersiveEntry, WavelengthEntry, WavelengthsEntry
from braggscale.report.zero_dose import ChangedEntry, ZeroDoseEntry


@pytest.fixture(scope="module")
def plain(example_run):
    return from_json(json.dumps(json.loads((example_run / "scale.json").read_text())).encode())


def part(name, images=None):
    return FilterPartEntry(data_set=name, images=images, observations=100, delta_cc_half=-0.0123, mean_z2=3.21)


ADDED = {
    "reference": (
        ReferenceEntry(
            mode="estimated", used=4321, d_min=[3.0, 2.0, 1.5], unexplained=[0.1, 0.2, 0.3], cc=[0.98, 0.9, None],
            r=[0.1, 0.2, 0.3], overall_cc=0.9753, overall_r=0.1234,
        ),
        ["4321 reference intensities", "0.9753", "0.1234", "Agreement by resolution"],
    ),
    "indexing": (
        IndexingEntry(
            operators=["h,k,l", "-h,k,-l"], mended=True, data_sets=["0", "crystal-7"], operator=["h,k,l", "-h,k,-l"],
            decided=[True, False], lead=[9.0, 1.0], correlations=[[0.9, 0.1], [0.2, 0.8]], common=[50, 60],
        ),
        ["1 of 2 data sets were reindexed", "crystal-7", "too little in common"],
    ),
    "filtering": (
        FilteringEntry(
            method="deltacchalf", mode="image_group", reason="no_more_removed", observations=1000,
            cycles=[
                FilterCycleEntry(
                    cc_half=0.9, parts=9, limit=-0.01, lowest=[part("0", [1, 10])], removed=[part("bad", [11, 20])],
                    percent_removed=10.0,
                )
            ],
        ),
        ["1 groups of images with 10.00 % of the observations left out; nothing more stands out", "11 – 20", "-1.230"],
    ),
    "zero_dose": (
        ZeroDoseEntry(
            tau=0.25, slopes=321, same_crystal=True, r_plain=0.1111,
            most_changed=[
                ChangedEntry(hkl=[1, 2, -3], mean=5.0, zero_dose=6.0, sigma=0.5, slope=-2.0, slope_sigma=0.25, n=8)
            ],
        ),
        ["25.0 %", "0.1111", "1 2 -3"],
    ),
    "free_set": (
        FreeSetEntry(
            percentage=10.0, offset=0, unique_work=900, unique_free=100, r_meas_work=0.0512, r_meas_free=0.0544,
            cc_half_work=0.999, cc_half_free=0.998,
        ),
        ["0.0512", "0.0544"],
    ),
    "half_sets": (
        HalfSetsEntry(
            d_min=[2.0, 2.0], pairs=[77, 77], r_split=[0.0831, 0.0831], r_split_weighted=[None, 0.05],
            cc_half_weighted=[0.9, 0.9], n_eff=[12.0, 12.0], cc_anom_weighted=[None, None], n_eff_anom=[None, None],
        ),
        ["0.0831", "CC1/2 weighted"],
    ),
    "outlying": (
        [OutlyingEntry(data_set="odd-one", what="cell edge c", value=50.07, usual=48.85)],
        ["odd-one", "cell edge c", "50.070"],
    ),
}  # fmt: skip


def test_a_run_without_any_of_them_has_none(plain):
    names = {section.name for section in sections(plain)}
    assert not names & {"reference", "indexing", "filtering", "wavelengths", "zero-dose", "free-set", "half-sets"}


@pytest.mark.parametrize("entry", ADDED)
def test_what_a_run_did_is_shown(plain, entry):
    value, texts = ADDED[entry]
    changed = structs.replace(plain, **{entry: value})
    page = report_html(changed)
    body = page[page.index("<main") :]
    for text in texts:
        assert text in body, text
    new = {section.name for section in sections(changed)} - {section.name for section in sections(plain)}
    assert new == {entry.replace("_", "-")}


def test_each_wavelength_has_a_line(plain):
    each = [
        WavelengthEntry(wavelength=0.9795, data_sets=["0"], statistics=plain.statistics),
        WavelengthEntry(wavelength=0.978, data_sets=["1"], statistics=None),
    ]
    pair = DispersiveEntry(wavelengths=[0.9795, 0.978], unique=641, df_f=0.0123, di_over_sigma=1.23, cc=0.9876)
    (section,) = (
        one
        for one in sections(structs.replace(plain, wavelengths=WavelengthsEntry(each=each, differences=[pair])))
        if one.name == "wavelengths"
    )
    first, second = section.tables[0].rows
    assert first[0] == "0.97950" and second[0] == "0.97800" and second[2] == "–" and len(first) == len(second)
    assert section.tables[1].rows == [["0.97950 – 0.97800", 641, "0.0123", "1.23", "0.9876"]]
