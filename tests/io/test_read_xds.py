"""INTEGRATE.HKL, XDS_ASCII.HKL and XSCALE: geometry by hand, fates of rows, and what is wrong with files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_samples import ASCII_HEADER, ASCII_ROWS, END_OF_DATA, INTEGRATE_HEADER, INTEGRATE_ROWS, XSCALE

from braggscale.data.flags import Fate
from braggscale.data.geometry import indexing_residual
from braggscale.errors import InputError
from braggscale.io import open_inputs
from braggscale.io.read_xds import pile_up, read
from braggscale.io.reading import Known

INTEGRATE = INTEGRATE_HEADER + INTEGRATE_ROWS + END_OF_DATA
ASCII = ASCII_HEADER + ASCII_ROWS + END_OF_DATA


def reading(text: str, known: Known | None = None) -> Any:
    return read("x.hkl", memoryview(text.encode()), known or Known())


def values(found: Any) -> dict[str, Any]:
    return {name: array for name, (_, array) in found.columns.items()}


def test_integrate() -> None:
    found = reading(INTEGRATE, Known(polarisation=0.5))
    columns = values(found)
    np.testing.assert_array_equal(columns["miller_index"], [[-3, -5, -2], [-3, -5, -1], [3, 5, 2]])
    np.testing.assert_array_equal(columns["xyzcal.px"][0], [100.4 - 0.5, 1031.3 - 0.5, 3.4])
    # IOBS has the factor RLP
    np.testing.assert_allclose(columns["intensity.prf.value"] * columns["lp"], [9701, 76.86, 135.0], rtol=1e-12)
    np.testing.assert_allclose(columns["intensity.prf.variance"][0], (208.2 / 0.94394) ** 2, rtol=1e-12)
    np.testing.assert_allclose(columns["partiality"], [1, 0.9, 1])
    # ORGX is the pixel 1000.5 counted from 1
    way = np.array([(100.4 - 1000.5) * 0.1, (1031.3 - 1000.5) * 0.1, 100.0])
    np.testing.assert_allclose(columns["s1"][0], way / np.linalg.norm(way) / 0.9, rtol=1e-12)
    (experiment,) = found.experiments
    assert experiment.images == (1, 10)
    assert experiment.oscillation == (5.0, 1.0)
    assert experiment.sigma_m == 0.061
    np.testing.assert_array_equal(experiment.to_source, [0, 0, -1])
    np.testing.assert_array_equal(experiment.real_space, np.diag([10, 12, 15]))


def test_images_without_a_width() -> None:
    found = reading(INTEGRATE.replace("!OSCILLATION_RANGE=  1.000000", "!OSCILLATION_RANGE=  0"))
    assert found.experiments[0].oscillation == (5.0, 0.0)
    assert not values(found)["bbox"].any()


def test_the_panel_is_where_the_directions_come_from(tmp_path: Path) -> None:
    path = tmp_path / "INTEGRATE.HKL"
    path.write_text(INTEGRATE)
    (data_set,) = open_inputs([str(path)]).data_sets
    (panel,) = data_set.experiment.panels
    x, y = data_set.table["xyzcal.px"][:, :2].T
    place = panel.origin + np.outer(x * panel.pixel_size[0], panel.fast) + np.outer(y * panel.pixel_size[1], panel.slow)
    s1 = data_set.table["s1"]
    np.testing.assert_allclose(np.cross(place, s1), 0, atol=1e-9)


def test_polarisation_of_the_beam() -> None:
    plain, new = (values(reading(INTEGRATE, Known(polarisation=fraction))) for fraction in (0.5, 0.99))
    u = plain["s1"] * 0.9

    def p(fraction: float) -> Any:
        return (1 - 2 * fraction) * (1 - u[:, 1] ** 2) + fraction * (1 + u[:, 2] ** 2)

    np.testing.assert_allclose(new["lp"], plain["lp"] * p(0.5) / p(0.99), rtol=1e-12)
    np.testing.assert_allclose(new["intensity.prf.value"], plain["intensity.prf.value"], rtol=1e-12)


@pytest.mark.parametrize(
    ("wavelength", "fraction"),
    [
        (0.9, 0.99),
        (0.7514, 0.99),
        (1.0, 0.99),
        (0.71073, 0.5),
        (1.5418, 0.5),
        (1.54056, 0.5),
        (0.56086, 0.5),
        (0.02, 0.5),
    ],
)
def test_polarisation_that_nobody_gave_follows_from_the_wavelength(wavelength: float, fraction: float) -> None:
    """A synchrotron, unless an X-ray tube has the wavelength; electrons need no correction."""
    text = INTEGRATE.replace("WAVELENGTH=  0.900000", f"WAVELENGTH=  {wavelength:.6f}")
    found = reading(text)
    assert found.experiments[0].polarisation[0] == fraction
    given = values(reading(text, Known(polarisation=fraction)))
    for name, array in values(found).items():
        np.testing.assert_array_equal(array, given[name])
    told = [note for note in found.notes if "polarisation" in note]
    assert len(told) == (wavelength > 0.1)
    assert all(("synchrotron, polarisation 0.99" in note) == (fraction == 0.99) for note in told)


def test_ascii_by_item_numbers_with_misfits_and_overloads() -> None:
    found = reading(ASCII)
    columns = values(found)
    assert columns["rejection"].tolist() == [Fate.SCALED, Fate.MISFIT, Fate.SATURATED]
    np.testing.assert_allclose(columns["intensity.prf.variance"][1], (152.0 / 0.10084) ** 2)
    (experiment,) = found.experiments
    assert experiment.images == (1, 20)
    assert experiment.polarisation[0] == 0.99
    assert any("corrections of CORRECT stay" in note for note in found.notes)
    assert any("1 misfits" in note for note in found.notes)
    # an item more, in another place
    moved = ASCII.replace("RECORD=13", "RECORD=14").replace("ITEM_PSI=13", "ITEM_PSI=14")
    moved = moved.replace("  500 ", "  7 500 ").replace("  510 ", " 7 510 ").replace("69 65000", "69 7 65000")
    moved = moved.replace("ITEM_MAXC=12", "ITEM_MAXC=13")
    for name, array in values(reading(moved)).items():
        np.testing.assert_array_equal(array, columns[name])


def test_xscale_by_data_set() -> None:
    found = reading(XSCALE)
    assert [e.wavelength for e in found.experiments] == [0.9, 1.2]
    assert [e.cell[0] for e in found.experiments] == [10.01, 10.0]
    columns = values(found)
    assert columns["id"].tolist() == [0, 0, 1]
    assert not columns["s1"].any()
    assert any("no absorption correction" in note for note in found.notes)


def test_pile_up() -> None:
    rng = np.random.default_rng(0)
    counts = np.round(rng.pareto(1.0, 20000) * 100)
    assert pile_up(counts) is None
    limit = pile_up(np.minimum(counts, 65535))
    assert limit is not None and 64000 < limit < 65535
    assert pile_up(np.array([3.0, 3, 3, 3, 3, 3, 3])) is None
    assert pile_up(np.array([np.nan])) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("!END_OF_HEADER\n", "", "no line !END_OF_HEADER"),
        ("!NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD=20\n", "", "how many items"),
        ("RECORD=20", "RECORD=22", "names 20 items of 22"),
        ("!X-RAY_WAVELENGTH=  0.900000\n", "", "no X-RAY_WAVELENGTH"),
        ("!ROTATION_AXIS=  1.000000  0.000000  0.000000\n", "", "no ROTATION_AXIS"),
        ("!ROTATION_AXIS=  1.000000", "!ROTATION_AXIS=  1.0x", "should be 3 numbers"),
        ("!UNIT_CELL_CONSTANTS=    10.000", "!UNIT_CELL_CONSTANTS=    -1.000", "none that are a cell"),
        ("!UNIT_CELL_CONSTANTS=    10.000", "!UNIT_CELL_CONSTANTS=    5e-324", "none that are a cell"),
        ("SPACE_GROUP_NUMBER=   16", "SPACE_GROUP_NUMBER=   999", "space group 999 is not known; give it as space_g"),
        ("-84.37\n", "\n", "line 30 has 19 items, 20 are expected"),
        ("2.082E+02 100.4", "2.082E+02-100.4", "line 30: numbers run together at SIGMA"),
        (" 9.701E+03", " what", "line 30: IOBS is not a number"),
        ("-3 -5 -2 9.7", "-3 -5.5 -2 9.7", "K is -5.5 in row 1"),
        (INTEGRATE_ROWS, "", "no reflections"),
    ],
)
def test_bad_files_are_refused_with_one_line(old: str, new: str, message: str) -> None:
    assert old in INTEGRATE
    with pytest.raises(InputError, match=rf"^x\.hkl: .*{message}"):
        reading(INTEGRATE.replace(old, new, 1))


@pytest.mark.parametrize("z", ["5000.0", "-700.0", "1e300", "NaN", "********"])
def test_one_absurd_position_does_not_stretch_the_scan(z: str) -> None:
    rows = "".join(
        f" {k % 7} 1 {k % 5} 9.7E+01 2.0E+00 100.4 1031.3 {k / 50:.2f} 0.9 100 83 90 100.2 1031.6 0 0 0 0 0 0\n"
        for k in range(1000)
    )
    rows += f" 3 5 2 1.350E+02 4.466E+01 1e300 957.6 {z} 0.9 100 28 46 1 9 9.4 -73.95 0.26 135.23 56.37 -89.79\n"
    found = reading(INTEGRATE_HEADER + rows + END_OF_DATA)
    (experiment,) = found.experiments
    assert experiment.images == (1, 20)
    xyz, s1 = values(found)["xyzobs.px.value"], values(found)["s1"]
    assert np.isfinite(xyz[:-1]).all() and np.isfinite(s1).all()


def test_merged_is_refused_and_a_missing_end_is_said() -> None:
    with pytest.raises(InputError, match="this file is merged"):
        reading(ASCII.replace("MERGE=FALSE", "MERGE=TRUE"))
    found = reading(INTEGRATE.replace(END_OF_DATA, ""))
    assert any("may be cut short" in note for note in found.notes)


def test_stars_and_nan_are_rows_without_a_value() -> None:
    text = INTEGRATE.replace("9.701E+03", "*********").replace("4.686E+01", "NaN")
    columns = values(reading(text))
    assert columns["intensity.prf.variance"].tolist()[:2] == [-1.0, -1.0]
    assert sorted(columns["rejection"][:2]) == [Fate.NO_INTENSITY, Fate.NO_SIGMA]


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([INTEGRATE, ASCII, XSCALE]))
def test_mutations_give_data_or_one_line(draw: Any, text: str) -> None:
    data = bytearray(text.encode())
    for _ in range(draw.draw(st.integers(1, 8))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.sampled_from(b"0123456789.-+eE=! \n\0XA\xff"))
    if draw.draw(st.booleans()):
        data = data[: draw.draw(st.integers(0, len(data)))]
    try:
        found = read("x.hkl", memoryview(bytes(data)))
    except InputError as error:
        assert str(error).startswith("x.hkl: ")
        assert "\n" not in str(error)
    else:
        assert found.experiments


@pytest.mark.parametrize(
    ("name", "n_saturated", "off"),
    [
        ("bitbx_xds/INTEGRATE.HKL", 443, 0.001),
        ("lta_ed_xds/INTEGRATE.HKL", 0, 0.01),
        ("lta_ed_xds/XDS_ASCII.HKL", 0, 0.01),
        ("tiny_xds/INTEGRATE.HKL", 0, 0.05),
        ("tiny_xds/XDS_ASCII.HKL", 0, 0.05),
    ],
)
def test_real_files(shared_data: Path, name: str, n_saturated: int, off: float) -> None:
    (data_set,) = open_inputs([str(shared_data / name)]).data_sets
    table = data_set.table
    assert np.count_nonzero(table["rejection"] == Fate.SATURATED) == n_saturated
    found = indexing_residual(data_set.experiment, table["xyzcal.px"][:, 2], table["s1"], table["miller_index"])
    assert found < off
