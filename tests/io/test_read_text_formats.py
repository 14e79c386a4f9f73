"""HKLF 4, SCALEPACK and CrystFEL streams."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_samples import CELL, WAVELENGTH, reflections, rotation

from braggscale.data.flags import Fate
from braggscale.data.geometry import crystal_frame_directions, indexing_residual, unit_cell
from braggscale.errors import InputError
from braggscale.io import open_inputs
from braggscale.io.experiment_models import experiments_of
from braggscale.io.new_experiments import experiment_list
from braggscale.io.read_hklf4 import read as read_hklf4
from braggscale.io.read_scalepack import read as read_scalepack
from braggscale.io.read_stream import read as read_stream
from braggscale.io.reading import Known
from braggscale.io.stream_file import read_stream_file

KNOWN = Known("P222", CELL)


def values(found: Any) -> dict[str, Any]:
    return {name: array for name, (_, array) in found.columns.items()}


# HKLF 4 -----------------------------------------------------------------------------------------------------

HKLF4 = """\
   1   0   0  323.11   10.61
   1   0   0  339.50   10.60
-100-200-300-9999.99-1234.56
   2   0   0  314.68   10.15
   0   0   0    0.00    0.00
CELL 0.71 1 2 3 90 90 90
"""


def test_hklf4() -> None:
    found = read_hklf4("x.hkl", memoryview(HKLF4.encode()), KNOWN)
    columns = values(found)
    assert columns["miller_index"].tolist() == [[1, 0, 0], [1, 0, 0], [-100, -200, -300], [2, 0, 0]]
    np.testing.assert_allclose(columns["intensity.prf.value"][:2], [323.11, 339.50])
    assert columns["intensity.prf.variance"][2] == -1  # a sd below 0
    assert columns["rejection"].tolist() == [0, 0, Fate.NO_SIGMA, 0]
    assert len(found.experiments) == 1
    assert any("without rotation" in note for note in found.notes)


def test_batches_are_runs() -> None:
    text = "".join(f"{h:4d}   0   1   10.00    1.00{b:4d}\n" for h, b in ((1, 1), (2, 2), (3, 2), (4, 7)))
    found = read_hklf4("x.hkl", memoryview(text.encode()), KNOWN)
    assert values(found)["id"].tolist() == [0, 1, 1, 2]
    assert len(found.experiments) == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.ins", "TITL\nCELL 0.71073 10 12 15 90 90 90\nLATT -1\nSYMM -X,-Y,Z\nSYMM X,-Y,-Z\nHKLF 4\n"),
        (
            "x.cif",
            "data_x\n_cell_length_a 10.000(3)\n_cell_length_b 12\n_cell_length_c 15\n_cell_angle_alpha 90\n"
            "_cell_angle_beta 90\n_cell_angle_gamma 90\n_space_group_name_H-M_alt 'P 2 2 2'\n"
            "_diffrn_radiation_wavelength 0.71073\n",
        ),
    ],
)  # fmt: skip
def test_cell_and_symmetry_from_a_file_beside(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "x.hkl").write_text(HKLF4)
    (tmp_path / name).write_text(text)
    (data_set,) = open_inputs([str(tmp_path / "x.hkl")]).data_sets
    experiment = data_set.experiment
    assert experiment.crystal.unit_cell == CELL
    assert experiment.crystal.hall == "P 2 2"
    assert experiment.beam.wavelength == 0.71073


def cosines(sample: dict[str, Any]) -> str:
    """HKLF 4 with direction cosines of a rotation about an axis that is none of the crystal's, from a prediction."""
    text = ""
    for h, phi, s1 in zip(sample["hkl"], sample["phi"], sample["s1"], strict=True):
        back = (rotation([0, 0, 1], phi) @ sample["u"]).T  # the axes of the cell are along x, y, z
        p, u = back @ np.array([-1.0, 0, 0]), back @ (s1 * WAVELENGTH)
        text += "".join(f"{int(x):4d}" for x in h) + f"{100.0:8.2f}{5.0:8.2f}{1:4d}"
        text += "".join(f"{a:8.5f}{b:8.5f}" for a, b in zip(p, u, strict=True)) + "\n"
    return text


def test_direction_cosines_give_the_geometry_back() -> None:
    sample = reflections(60)
    found = read_hklf4("x.hkl", memoryview(cosines(sample).encode()), KNOWN)
    (experiment,) = experiments_of("x", experiment_list(found.experiments))
    columns = values(found)
    assert experiment.beam.wavelength == pytest.approx(WAVELENGTH, rel=1e-3)
    z, s1, hkl = columns["xyzobs.px.value"][:, 2], columns["s1"], columns["miller_index"]
    assert indexing_residual(experiment, z, s1, hkl) < 2e-3
    # the same angle between the beams, and the same rotation up to its zero and its sense
    s0c, s1c = crystal_frame_directions(experiment, z, s1)
    true = np.einsum("ij,j->i", sample["s1"] * WAVELENGTH, [-1.0, 0, 0])
    np.testing.assert_allclose(np.einsum("ij,ij->i", s0c, s1c), true, atol=2e-3)
    assert abs(np.corrcoef(z, sample["phi"])[0, 1]) > 0.9999
    assert np.ptp(z) == pytest.approx(np.ptp(sample["phi"]), rel=1e-2)


def test_other_numbers_are_no_direction_cosines() -> None:
    sample = reflections(30)
    lines = cosines(sample).splitlines()
    text = "".join(line[:32] + line[40:80] + line[32:40] + "\n" for line in lines)
    found = read_hklf4("x.hkl", memoryview(text.encode()), KNOWN)
    assert found.experiments[0].axis is None
    assert any("0 have direction cosines" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "known", "message"),
    [
        (HKLF4, Known("P222"), "no unit cell; give it as unit_cell="),
        (HKLF4, Known(None, CELL), "no space group; give it as space_group="),
        ("   1   0   x  323.11   10.61\n", KNOWN, "line 1: l is not a number"),
        ("   0   0   0    0.00    0.00\n", KNOWN, "no reflections"),
    ],
)
def test_bad_hklf4(text: str, known: Known, message: str) -> None:
    with pytest.raises(InputError, match=rf"^x\.hkl: .*{message}"):
        read_hklf4("x.hkl", memoryview(text.encode()), known)


# SCALEPACK --------------------------------------------------------------------------------------------------

SCALEPACK = """\
    2 p2
  1  0  0  0  1  0  0  0  1
  0  0  0
 -1  0  0  0  1  0  0  0 -1
  0  0  0
   0   0   3   0   0   3    14 0 0  1    -1.8     1.3
   1  -2   3   1   2   3    15 1 0  2   100.0     4.0
   1  -2   3   1   2   3   201 1 0  2   100.0     4.0
"""


@pytest.mark.parametrize("share", [0.4, 0.8, 1.0])
def test_scalepack_images_without_reflections_do_not_begin_runs(share: float) -> None:
    rng = np.random.default_rng(1)
    batches = [k for first in (1, 2001, 2901) for k in range(first, first + 800) if rng.random() < share]
    head = "".join(f"{line}\n" for line in ("    1 P1", "1 0 0 0 1 0 0 0 1", "0 0 0"))
    text = head + "".join(f"{1:4d}{2:4d}{3:4d}{1:4d}{2:4d}{3:4d}{k:6d} 0 0  1{100.0:8.1f}{4.0:8.1f}\n" for k in batches)
    found = read_scalepack("x.sca", memoryview(text.encode()), Known(None, CELL))
    assert len(found.experiments) == 3
    assert "3 runs of batches" in found.notes[0]


def test_scalepack() -> None:
    found = read_scalepack("x.sca", memoryview(SCALEPACK.encode()), Known(None, CELL))
    columns = values(found)
    assert columns["miller_index"].tolist() == [[0, 0, 3], [1, -2, 3], [1, -2, 3]]
    assert columns["id"].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(np.floor(columns["xyzobs.px.value"][:, 2]) + 1, [14, 15, 201])
    assert [experiment.images for experiment in found.experiments] == [(14, 15), (201, 201)]
    assert found.experiments[0].hall == "P 2y"
    text = SCALEPACK.replace("    -1.8     1.3", "    -1.8     0.0").replace("   100.0     4.0", "     nan     4.0", 1)
    lacking = values(read_scalepack("x.sca", memoryview(text.encode()), Known(None, CELL)))["rejection"]
    assert lacking.tolist() == [Fate.NO_SIGMA, Fate.NO_INTENSITY, 0]
    with pytest.raises(InputError, match="no unit cell"):
        read_scalepack("x.sca", memoryview(SCALEPACK.encode()), Known())
    with pytest.raises(InputError, match="ends within its symmetry operations"):
        read_scalepack("x.sca", memoryview(SCALEPACK[:60].encode()), KNOWN)


# CrystFEL ---------------------------------------------------------------------------------------------------

STREAM = """\
CrystFEL stream format 2.3
Generated by CrystFEL 0.9.1
----- Begin geometry file -----
res = 10000 ; pixels per metre
clen = 0.1
max_adu = 10000
bad_spot/min_x = 3
a/min_fs = 0
a/min_ss = 0
a/max_fs = 999
a/max_ss = 999
a/fs = +1.0x +0.0y
a/ss = x -y
a/ss = -0.0x +1.0y
a/corner_x = -1000
a/corner_y = -500
b/min_fs = 1000
b/min_ss = 0
b/max_fs = 1999
b/max_ss = 999
b/fs = x
b/ss = y
b/corner_x = 0
b/corner_y = -500
----- End geometry file -----
----- Begin chunk -----
Image filename: a.h5
photon_energy_eV = 12398.419843
average_camera_length = 0.1 m
--- Begin crystal
Cell parameters 1.00000 1.20000 1.50000 nm, 90.00000 90.00000 90.00000 deg
astar = +1.0000000 +0.0000000 +0.0000000 nm^-1
bstar = +0.0000000 +0.8333333 +0.0000000 nm^-1
cstar = +0.0000000 +0.0000000 +0.6666667 nm^-1
lattice_type = orthorhombic
centering = P
unique_axis = ?
Reflections measured after indexing
   h    k    l          I   sigma(I)       peak background  fs/px  ss/px panel
   1    2   -1     185.09     155.78     217.00      64.71  634.8  657.6 a
   2    2   -1      13.96      89.69     105.00      52.84 1417.2  970.2 b
End of reflections
--- End crystal
--- Begin crystal
astar = +1.0000000 +0.0000000 +0.0000000 nm^-1
bstar = +0.0000000 +0.8333333 +0.0000000 nm^-1
cstar = +0.0000000 +0.0000000 +0.6666667 nm^-1
lattice_type = orthorhombic
centering = P
unique_axis = ?
Reflections measured after indexing
   h    k    l          I   sigma(I)       peak background  fs/px  ss/px panel
   0    2   -1     185.09     155.78     217.00      64.71  634.8  657.6 a
End of reflections
--- End crystal
----- End chunk -----
----- Begin chunk -----
Image filename: b.h5
----- End chunk -----
"""


def test_stream() -> None:
    found = read_stream("x.stream", memoryview(STREAM.encode()), Known())
    assert len(found.experiments) == 2
    one = found.experiments[0]
    assert one.wavelength == pytest.approx(1.0)
    assert one.cell == pytest.approx(CELL, rel=1e-6)
    assert one.hall == "P 2 2"
    columns = values(found)
    assert columns["id"].tolist() == [0, 0, 1]
    assert columns["panel"].tolist() == [0, 1, 0]
    np.testing.assert_allclose(columns["xyzobs.px.value"][:2, :2], [[634.8, 657.6], [417.2, 970.2]])
    np.testing.assert_allclose(columns["intensity.sum.variance"][0], 155.78**2)
    (a, b) = one.panels
    # CrystFEL's x is to the other side, and the beam goes along -z here
    np.testing.assert_allclose(a.origin, [100, -50, -100])
    np.testing.assert_allclose(b.fast, [-1, 0, 0])
    assert a.pixel_size == (0.1, 0.1)
    assert any("P222 has the lowest symmetry for its lattice" in note for note in found.notes)


def test_still_lattice_and_directions_agree(tmp_path: Path) -> None:
    (tmp_path / "x.stream").write_text(STREAM)
    first, _ = open_inputs([str(tmp_path / "x.stream")]).data_sets
    assert first.experiment.is_still
    assert unit_cell(first.experiment.crystal.real_space) == pytest.approx(CELL, rel=1e-6)
    s1 = first.table["s1"]
    np.testing.assert_allclose(np.linalg.norm(s1, axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("--- Begin crystal", "", "none of 2 images has a crystal"),
        ("----- End chunk -----", "", "ends within an image"),
        ("--- End crystal", "", "has no end"),
        ("End of reflections", "", "have no end"),
        ("astar = +1.0", "astar = what", "has no lattice"),
        ("astar = +1.0000000", "astar = +0.0000000", "do not span a lattice"),
        ("----- End geometry file -----", "", "geometry in the stream has no end"),
        ("185.09     155.78", "185.09-155.78", "numbers run together at I"),
        ("centering = P\nunique_axis = ?\nReflections", "centering = C\nunique_axis = ?\nReflections", "different lat"),
    ],
)
def test_bad_streams(old: str, new: str, message: str) -> None:
    n = 1 if "centering" in old else -1
    with pytest.raises(InputError, match=rf"^x\.stream: .*{message}"):
        read_stream("x.stream", memoryview(STREAM.replace(old, new, n).encode()), Known())


# Damaged files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["-inf", "nan", "-1e9", "1e300"])
def test_a_panel_of_absurd_size_is_no_panel(value: str) -> None:
    text = STREAM.replace("a/min_ss = 0", f"a/min_ss = {value}")
    assert set(read_stream_file("x.stream", memoryview(text.encode())).panels) == {"b"}


def test_an_absurd_axis_spans_no_lattice() -> None:
    text = re.sub(r"astar = \S+", "astar = 1e155", STREAM, count=1)
    with pytest.raises(InputError, match="do not span a lattice"):
        read_stream("x.stream", memoryview(text.encode()), Known())


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([(HKLF4, read_hklf4), (SCALEPACK, read_scalepack), (STREAM, read_stream)]))
def test_mutations_give_data_or_one_line(draw: Any, case: Any) -> None:
    text, read = case
    data = bytearray(text.encode())
    for _ in range(draw.draw(st.integers(1, 8))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.sampled_from(b"0123456789.-+eE= \n\0XA\xff"))
    if draw.draw(st.booleans()):
        data = data[: draw.draw(st.integers(0, len(data)))]
    try:
        found = read("x", memoryview(bytes(data)), KNOWN)
    except InputError as error:
        assert str(error).startswith("x: ")
        assert "\n" not in str(error)
    else:
        assert found.experiments


def test_real_stream(shared_data: Path) -> None:
    path = shared_data / "crystfel_stream" / "test.stream"
    stream = read_stream_file(str(path), memoryview(path.read_bytes()))
    assert (len(stream.crystals), len(stream.panels)) == (32, 64)
    found = read_stream(str(path), memoryview(path.read_bytes()), Known("C2221"))
    assert len(values(found)["id"]) == 7966


def test_real_hklf4(shared_data: Path) -> None:
    (data_set,) = open_inputs([str(shared_data / "shelx_hklf4" / "p21c.hkl")]).data_sets
    assert len(data_set.table) == 42975
    assert data_set.experiment.crystal.unit_cell[0] == 10.5086
