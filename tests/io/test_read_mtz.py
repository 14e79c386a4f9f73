"""Unmerged MTZ files: geometry against a prediction of our own, partials, scales, and what is wrong with files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_samples import CELL, WAVELENGTH, mtz, mtz_columns, reflections, rotation

from braggscale.data.flags import Fate
from braggscale.data.geometry import indexing_residual
from braggscale.errors import CommandError, InputError
from braggscale.io import open_inputs
from braggscale.io.mtz_flags import kept_flags, ratios, rejected_by_flag
from braggscale.io.new_experiments import experiment_list
from braggscale.io.read_mtz import read
from braggscale.io.reading import Known

SAMPLE = reflections()


def reading(data: bytes) -> Any:
    return read("x.mtz", memoryview(data))


def values(found: Any) -> dict[str, Any]:
    return {name: array for name, (_, array) in found.columns.items()}


def to_cambridge(vectors: Any) -> Any:
    """From (z, y, -x) of this program back to the file's frame."""
    return np.column_stack((-vectors[:, 2], vectors[:, 1], vectors[:, 0]))


def test_directions_are_those_of_the_experiment() -> None:
    found = values(reading(mtz(mtz_columns(), u=SAMPLE["u"])))
    np.testing.assert_array_equal(found["miller_index"], SAMPLE["hkl"])
    np.testing.assert_allclose(to_cambridge(found["s1"]), SAMPLE["s1"], atol=2e-4)
    np.testing.assert_allclose(np.linalg.norm(found["s1"], axis=1), 1 / WAVELENGTH, rtol=1e-6)
    np.testing.assert_allclose(found["xyzobs.px.value"][:, 2], SAMPLE["phi"], atol=1e-4)


def test_experiment_of_the_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.mtz"
    path.write_bytes(mtz(mtz_columns(first=101), u=SAMPLE["u"], first=101))
    data = open_inputs([str(path)])
    (data_set,) = data.data_sets
    experiment = data_set.experiment
    assert data.all_other
    assert experiment.scan is not None and experiment.goniometer is not None
    assert experiment.scan.image_range == (101, 120)  # batches are images
    np.testing.assert_allclose(experiment.scan.oscillation, (0.0, 1.0), atol=1e-6)
    np.testing.assert_allclose(experiment.goniometer.axis, [1, 0, 0], atol=1e-7)
    np.testing.assert_allclose(experiment.beam.direction, [0, 0, 1], atol=1e-7)
    np.testing.assert_allclose(experiment.crystal.unit_cell, CELL, rtol=1e-6)
    table = data_set.table
    assert indexing_residual(experiment, table["xyzcal.px"][:, 2], table["s1"], table["miller_index"]) < 1e-4
    (panel,) = experiment.panels
    np.testing.assert_allclose(panel.pixel_size, (0.1, 0.1), rtol=1e-3)
    np.testing.assert_allclose(abs(panel.origin), (100, 100, 100), rtol=1e-3)


@pytest.mark.parametrize(("sigma_m", "sigma_b", "written"), [(0.1, 0.0, 0), (0.0, 0.1, 0), (0.1, 0.02, 1)])
def test_a_profile_model_needs_both_widths(sigma_m: float, sigma_b: float, written: int) -> None:
    (experiment,) = reading(mtz(mtz_columns(), u=SAMPLE["u"])).experiments
    document = experiment_list([replace(experiment, sigma_m=sigma_m, sigma_b=sigma_b)])
    assert len(document["profile"]) == written
    assert ("profile" in document["experiment"][0]) == bool(written)


@pytest.mark.parametrize("space_group", ["P 2 2 2", "P 21 21 21", "C 2 2 2"])
def test_indices_in_the_asymmetric_unit_are_taken_back(space_group: str) -> None:
    columns = mtz_columns()
    hkl = np.column_stack([columns[name][1] for name in "HKL"])
    if space_group.startswith("C"):
        keep = (hkl[:, 0] + hkl[:, 1]) % 2 == 0
        columns = {name: (kind, array[keep]) for name, (kind, array) in columns.items()}
        hkl = hkl[keep]
    # gemmi moves the indices, not our code
    group = gemmi.SpaceGroup(space_group)
    unit, operations = gemmi.ReciprocalAsu(group), group.operations()
    inside = [unit.to_asu([int(x) for x in h], operations) for h in hkl]
    for k, name in enumerate("HKL"):
        columns[name] = ("H", np.array([h[k] for h, _ in inside]))
    columns["M/ISYM"] = ("Y", np.array([isym for _, isym in inside]))
    found = values(reading(mtz(columns, space_group, SAMPLE["u"])))
    np.testing.assert_array_equal(found["miller_index"], hkl)


def test_missetting_angles() -> None:
    missets = (0.3, -0.5, 0.2)
    x, y, z = np.eye(3)
    m = rotation(z, missets[2]) @ rotation(y, missets[1]) @ rotation(x, missets[0])
    found = values(reading(mtz(mtz_columns(), u=m.T @ SAMPLE["u"], missets=missets)))
    np.testing.assert_allclose(to_cambridge(found["s1"]), SAMPLE["s1"], atol=2e-4)


def parts(columns: dict[str, tuple[str, Any]], share: Any) -> dict[str, tuple[str, Any]]:
    """Each reflection in two consecutive batches with these shares of it."""
    one = {name: (kind, np.repeat(array, 2)) for name, (kind, array) in columns.items()}
    both = np.column_stack((share, 1 - share)).ravel()
    second = np.tile([0, 1], len(share))
    for name in ("I", "FRACTIONCALC"):
        one[name] = (one[name][0], one[name][1] * both)
    one["SIGI"] = ("Q", one["SIGI"][1] * np.sqrt(both))
    one["BATCH"] = ("B", one["BATCH"][1] + second)
    one["M/ISYM"] = ("Y", one["M/ISYM"][1] + 256)
    return one


def test_parts_are_put_together() -> None:
    columns = mtz_columns()
    share = np.random.default_rng(3).uniform(0.2, 0.8, len(SAMPLE["phi"]))
    whole, split = (
        reading(mtz(columns, u=SAMPLE["u"], n_batches=21)),
        reading(mtz(parts(columns, share), u=SAMPLE["u"], n_batches=21)),
    )
    a, b = values(whole), values(split)
    assert len(b["id"]) == len(a["id"])
    order_a, order_b = (np.lexsort((v["xyzobs.px.value"][:, 0], *v["miller_index"].T)) for v in (a, b))
    np.testing.assert_array_equal(a["miller_index"][order_a], b["miller_index"][order_b])
    for name in ("intensity.sum.value", "intensity.sum.variance", "partiality", "lp"):
        np.testing.assert_allclose(a[name][order_a], b[name][order_b], rtol=2e-6)
    assert (b["rejection"] == 0).all()
    assert any("parts put together" in note for note in split.notes)


def test_a_reflection_without_all_its_parts_has_a_fate() -> None:
    columns = mtz_columns()
    share = np.full(len(SAMPLE["phi"]), 0.7)
    split = {name: (kind, array[::2]) for name, (kind, array) in parts(columns, share).items()}
    found = values(reading(mtz(split, u=SAMPLE["u"], n_batches=21)))
    assert (found["rejection"] == Fate.INCOMPLETE).all()
    np.testing.assert_allclose(found["partiality"], 0.7, rtol=1e-6)


def test_scales_of_another_program_are_undone() -> None:
    columns = mtz_columns()
    plain = values(reading(mtz(columns, u=SAMPLE["u"])))
    g = np.random.default_rng(0).uniform(0.5, 2, len(SAMPLE["phi"]))
    for name in ("I", "SIGI"):
        columns[name] = (columns[name][0], columns[name][1] / g)
    columns["SCALEUSED"] = ("R", g)
    found = reading(mtz(columns, u=SAMPLE["u"]))
    np.testing.assert_allclose(values(found)["intensity.sum.value"], plain["intensity.sum.value"], rtol=1e-6)
    assert any("SCALEUSED" in note for note in found.notes)


def test_scales_of_another_program_are_kept_if_asked_for() -> None:
    columns = mtz_columns()
    raw = values(reading(mtz(columns, u=SAMPLE["u"])))
    g = np.random.default_rng(0).uniform(0.5, 2, len(SAMPLE["phi"]))
    for name in ("I", "SIGI"):
        columns[name] = (columns[name][0], columns[name][1] / g)
    columns["SCALEUSED"] = ("R", g)
    found = values(read("x.mtz", memoryview(mtz(columns, u=SAMPLE["u"])), Known(keep_scales=True)))
    # counts are the same, and what is to be scaled is 1/g of what it was
    np.testing.assert_allclose(found["intensity.sum.value"], raw["intensity.sum.value"], rtol=1e-6)
    np.testing.assert_allclose(found["lp"] / found.get("qe", 1.0), raw["lp"] / raw.get("qe", 1.0) / g, rtol=1e-6)


def packed(background: float, peak: float, gradient: float) -> float:
    return 100 * round(100 * peak) + min(round(10 * background), 99) + min(gradient, 0.99)


@given(st.floats(0, 9.5), st.floats(0, 60), st.floats(0, 0.9))
def test_ratios_are_what_was_packed(background: float, peak: float, gradient: float) -> None:
    found = ratios(np.array([packed(background, peak, gradient)]))
    for got, wanted, digits in zip(found, (background, peak, gradient), (0.051, 0.0051, 1e-9), strict=True):
        assert got[0] == pytest.approx(wanted, abs=digits)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ([], [0]),
        (["overloads"], [0, 16]),
        (["edge", "OVERLOADS"], [0, 16, 32, 48]),
        (["bgratio:4"], [0, 1]),
        (["bgratio:2"], [0]),
        (["pkratio:6", "gradient:0.1", "bgratio:4"], [0, 1, 2, 3, 8]),
        (["pkratio:6", "overloads"], [0, 2, 16, 18]),
    ],
)
def test_flags_that_are_kept(words: list[str], kept: list[int]) -> None:
    flags = np.array([0, 1, 2, 3, 4, 8, 16, 18, 32, 48, 64, -1, 1e30])
    numbers = np.full(len(flags), packed(3.0, 5.0, 0.05))
    rejected = rejected_by_flag(flags, numbers, kept_flags(words))
    assert flags[~rejected].tolist() == kept
    # limits need the numbers
    alone = rejected_by_flag(flags, None, kept_flags(words))
    assert not (alone & (flags == 0)).any() and alone[flags == 1].all()


@pytest.mark.parametrize("word", ["x", "pkratio", "pkratio:", "pkratio:x", "pkratio:-1", "pkratio:nan", "edge:3", "4"])
def test_flags_that_do_not_exist(word: str) -> None:
    with pytest.raises(CommandError, match=r"keep_flags=.*overloads, edge"):
        kept_flags([word])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize("fraction", [1e-40, 0.5, np.nan, np.inf, -1.0])
def test_parts_with_values_that_are_no_numbers(value: float, fraction: float) -> None:
    columns = mtz_columns()
    code = columns["M/ISYM"][1] + 256
    number = np.array(columns["I"][1], np.float64)
    number[3] = value
    given = np.full(len(number), 1.0)
    given[3] = fraction
    angle = np.array(columns["ROT"][1], np.float64)
    angle[3:6] = value
    columns |= {"M/ISYM": ("Y", code), "I": ("J", number), "FRACTIONCALC": ("R", given), "ROT": ("R", angle)}
    found = values(reading(mtz(columns, u=SAMPLE["u"])))
    assert np.isfinite(found["intensity.sum.value"]).sum() >= len(number) - 2


def test_profile_and_flags() -> None:
    columns = mtz_columns()
    columns["IPR"] = ("J", 2 * columns["I"][1])
    columns["SIGIPR"] = ("Q", columns["SIGI"][1])
    flag = np.zeros(len(SAMPLE["phi"]))
    flag[5] = 16
    columns["FLAG"] = ("I", flag)
    found = values(reading(mtz(columns, u=SAMPLE["u"])))
    np.testing.assert_allclose(found["intensity.prf.value"], 2 * found["intensity.sum.value"], rtol=1e-6)
    assert np.flatnonzero(found["rejection"] == Fate.FLAGGED).tolist() == [5]


def test_what_a_row_lacks_is_its_fate() -> None:
    """A row with one complete pair of intensity and sigma is used; one flagged by MOSFLM stays without sigma, too."""
    columns = mtz_columns()
    n = len(SAMPLE["phi"])
    intensity, sigma, profile = (np.array(columns[name][1], np.float64) for name in ("I", "SIGI", "I"))
    intensity[[1, 2]] = np.nan
    sigma[[3, 4]] = 0.0, np.nan
    profile[[1, 4, 5]] = np.nan
    flag = np.zeros(n)
    flag[1] = 16
    columns |= {"I": ("J", intensity), "SIGI": ("Q", sigma), "FLAG": ("I", flag)}
    alone = values(reading(mtz(columns, u=SAMPLE["u"])))["rejection"]
    assert alone.tolist() == [0, *2 * [Fate.NO_INTENSITY], *2 * [Fate.NO_SIGMA], *(n - 5) * [0]]
    columns |= {"IPR": ("J", profile), "SIGIPR": ("Q", np.ones(n))}
    both = values(reading(mtz(columns, u=SAMPLE["u"])))["rejection"]
    assert both.tolist() == [0, Fate.NO_INTENSITY, 0, 0, Fate.NO_SIGMA, *(n - 5) * [0]]


def test_without_headers_but_with_angles() -> None:
    found = reading(mtz(mtz_columns()))
    (experiment,) = found.experiments
    assert experiment.axis is not None
    assert experiment.images == (1, 20)
    assert experiment.oscillation[1] == pytest.approx(1.0, rel=0.1)
    assert not values(found)["s1"].any()
    assert any("no batch headers" in note for note in found.notes)


def test_batches_alone_are_stills() -> None:
    columns = {name: value for name, value in mtz_columns().items() if name not in ("ROT", "M/ISYM")}
    found = reading(mtz(columns))
    assert len(found.experiments) == 20
    assert all(experiment.axis is None for experiment in found.experiments)
    assert [experiment.identifier for experiment in found.experiments] == [str(k) for k in range(1, 21)]


def test_gaps_and_jumps_begin_new_sweeps() -> None:
    one, two = mtz_columns(10), mtz_columns(10, first=201)
    both = {name: (kind, np.concatenate((array, two[name][1]))) for name, (kind, array) in one.items()}
    found = reading(mtz(both))
    assert [experiment.images for experiment in found.experiments] == [(1, 10), (201, 210)]


def drop(columns: dict[str, tuple[str, Any]], *names: str) -> dict[str, tuple[str, Any]]:
    return {name: value for name, value in columns.items() if name not in names}


def retyped(columns: dict[str, tuple[str, Any]], name: str, kind: str) -> dict[str, tuple[str, Any]]:
    return columns | {name: (kind, columns[name][1])}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: mtz(retyped(retyped(c, "I", "K"), "SIGI", "M")), "this file is merged"),
        (lambda c: mtz(retyped(c, "I", "F")), r"amplitudes \(I\) instead of intensities"),
        (lambda c: mtz(drop(c, "SIGI")), "no standard deviations for the column I"),
        (lambda c: mtz(c, u=SAMPLE["u"], n_batches=10), "rows of batch 11, 12, 13, 14 and 6 more"),
        (lambda c: mtz(c, u=SAMPLE["u"])[:-3000], "cut short"),
        (lambda c: mtz(c, u=SAMPLE["u"])[: 80 + 400], "cut short or damaged"),
        (lambda c: mtz(c)[:50], "50 bytes are too few"),
        (lambda c: mtz(c | {"M/ISYM": ("Y", c["M/ISYM"][1] + 20)}, u=SAMPLE["u"]), "M/ISYM names symmetry"),
        (lambda c: mtz(c | {"BATCH": ("B", c["BATCH"][1] + 0.5)}), "BATCH is .* not a whole number"),
        (lambda c: mtz(c | {"H": ("H", np.full(len(c["I"][1]), np.nan))}), "H is nan in row 1"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_with_one_line(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"^x\.mtz: .*{message}"):
        reading(make(mtz_columns()))


def test_a_merged_file_is_one_without_repeated_indices() -> None:
    columns = drop(mtz_columns(), "BATCH", "M/ISYM", "ROT")
    hkl = np.column_stack([columns[name][1] for name in "HKL"])
    _, first = np.unique(hkl, axis=0, return_index=True)
    with pytest.raises(InputError, match="this file is merged: one value per reflection"):
        reading(mtz({name: (kind, array[first]) for name, (kind, array) in columns.items()}))


def test_sizes_are_checked_before_memory_is_taken() -> None:
    data = mtz(mtz_columns(), u=SAMPLE["u"])
    for fake in (b"NCOL     9999   999999999        0", b"NCOL       12   999999999        0"):
        at = data.index(b"NCOL")
        with pytest.raises(InputError, match=r"x\.mtz: .*(columns|reflections of 12 columns need)"):
            reading(data[:at] + fake + data[at + len(fake) :])


FUZZED = mtz(mtz_columns(6), u=SAMPLE["u"], n_batches=6)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutations_give_data_or_one_line(draw: Any) -> None:
    data = bytearray(FUZZED)
    # mostly in the header, where the structure is
    low = draw.draw(st.sampled_from([0, data.index(b"VERS")]))
    for _ in range(draw.draw(st.integers(1, 6))):
        at = draw.draw(st.integers(low, len(data) - 1))
        data[at] = draw.draw(st.integers(0, 255))
    if draw.draw(st.booleans()):
        data = data[: draw.draw(st.integers(0, len(data)))]
    try:
        found = reading(bytes(data))
    except InputError as error:
        assert str(error).startswith("x.mtz: ")
        assert "\n" not in str(error)
    else:
        assert found.experiments


def test_mosflm_file(shared_data: Path) -> None:
    path = shared_data / "hypf_mtz" / "hypf_unmerged.mtz"
    found = read(str(path), memoryview(path.read_bytes()))
    columns = values(found)
    complete = columns["rejection"] == 0
    assert np.count_nonzero(complete) == 22001
    assert len(columns["id"]) == 24823
    (experiment,) = found.experiments
    (panel,) = experiment.panels
    np.testing.assert_allclose(panel.pixel_size, (0.15, 0.15), rtol=2e-3)
    assert experiment.images == (1, 84)


def test_stills_of_an_xfel(shared_data: Path) -> None:
    path = shared_data / "thermolysin_stills_mtz" / "friedel_plus_n395.mtz"
    found = read(str(path), memoryview(path.read_bytes()))
    assert len(found.experiments) == 395
    assert len(values(found)["id"]) == 75619
