"""Other indices, cells and space groups: what must not change, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from program_samples import mtz, mtz_columns, reflections

from braggscale.data.geometry import d_spacings, indexing_residual, orientation_matrix
from braggscale.errors import CommandError, DataError
from braggscale.io import open_inputs
from braggscale.io.experiment_models import experiments_of
from braggscale.io.reindexing import symmetric_cell, with_changes

SAMPLE = reflections()


@pytest.fixture(scope="module")
def data(tmp_path_factory: Any) -> Any:
    path: Path = tmp_path_factory.mktemp("reindexing") / "x.mtz"
    path.write_bytes(mtz(mtz_columns(), u=SAMPLE["u"]))
    return open_inputs([str(path)])


def residual(data_set: Any) -> float:
    table = data_set.table
    return indexing_residual(data_set.experiment, table["xyzcal.px"][:, 2], table["s1"], table["miller_index"])


@pytest.mark.parametrize("operator", ["k,l,h", "l,h,k", "-h,-k,l", "-k,-h,-l", "h,k,h+l"])
def test_reciprocal_lattice_vectors_stay(data: Any, operator: str) -> None:
    group = ["P1"] if operator == "h,k,h+l" else []
    (old,), (new,) = data.data_sets, with_changes(data, group, [], [operator]).data_sets
    q = [orientation_matrix(d.experiment.crystal) @ d.table["miller_index"].T for d in (old, new)]
    np.testing.assert_allclose(q[1], q[0], atol=1e-6)
    np.testing.assert_allclose(new.table["d"], old.table["d"], rtol=1e-6)
    assert residual(new) < 1e-4


def test_there_and_back(data: Any) -> None:
    back = with_changes(with_changes(data, [], [], ["k,l,h"]), [], [], ["l,h,k"])
    (old,), (new,) = data.data_sets, back.data_sets
    np.testing.assert_array_equal(new.table["miller_index"], old.table["miller_index"])
    np.testing.assert_allclose(new.experiment.crystal.real_space, old.experiment.crystal.real_space, atol=1e-9)
    assert new.experiment.crystal.hall == old.experiment.crystal.hall


def test_the_space_group_moves_with_the_indices(data: Any) -> None:
    found = with_changes(data, ["P21212"], [], ["k,l,h"])
    assert found.data_sets[0].experiment.crystal.hall == "P 2 2ab"  # as named, not as moved
    moved = with_changes(with_changes(data, ["P21212"], [], []), [], [], ["k,l,h"])
    # the axis without a screw is c; it is the second one of b, c, a
    assert moved.data_sets[0].experiment.crystal.hall == "P 2ac 2ac"


def test_the_document_says_the_same(data: Any) -> None:
    found = with_changes(data, ["P212121"], ["10.1,12.1,15.1,90,90,90"], ["l,h,k"])
    (again,) = experiments_of("x", found.document.data)
    now = found.data_sets[0].experiment.crystal
    np.testing.assert_allclose(again.crystal.real_space, now.real_space, rtol=1e-12)
    assert again.crystal.hall == now.hall == "P 2ac 2ab"
    assert again.crystal.unit_cell == pytest.approx((10.1, 12.1, 15.1, 90, 90, 90))


def test_a_new_cell_changes_resolutions_and_keeps_the_orientation(data: Any) -> None:
    (old,), (new,) = data.data_sets, with_changes(data, [], ["20,24,30,90,90,90"], []).data_sets
    np.testing.assert_allclose(new.table["d"], 2 * old.table["d"], rtol=1e-6)
    np.testing.assert_allclose(new.experiment.crystal.real_space, 2 * old.experiment.crystal.real_space, rtol=1e-5)


def test_a_cell_gets_the_symmetry_of_its_group() -> None:
    cell = symmetric_cell((57.7, 57.8, 150.0, 90.02, 89.97, 90.01), "P 4w 2c", "x")
    assert cell == pytest.approx((57.75, 57.75, 150.0, 90, 90, 90), abs=0.01)
    assert cell[0] == cell[1]
    assert cell[3:] == (90, 90, 90)
    assert symmetric_cell((10.0, 11.0, 12.0, 80.0, 85.0, 95.0), "P 1", "x") == (10.0, 11.0, 12.0, 80.0, 85.0, 95.0)


def test_a_group_that_the_lattice_cannot_have(data: Any) -> None:
    for group in ("P4", "P 41 21 2", "R3:H", "P23"):
        with pytest.raises(DataError, match="data set 0: the cell 10.00 12.00 15.00 .* cannot have the space group"):
            with_changes(data, [group], [], [])


def test_one_data_set_of_several(tmp_path: Path) -> None:
    for k in (1, 2):
        (tmp_path / f"{k}.mtz").write_bytes(mtz(mtz_columns(first=100 * k + 1), u=SAMPLE["u"], first=100 * k + 1))
    both = open_inputs([str(tmp_path / "1.mtz"), str(tmp_path / "2.mtz")])
    found = with_changes(both, ["1:P212121"], [], [])
    assert [d.experiment.crystal.hall for d in found.data_sets] == ["P 2 2", "P 2ac 2ab"]
    found = with_changes(both, ["P1", "#0:P2"], [], [])
    assert [d.experiment.crystal.hall for d in found.data_sets] == ["P 2y", "P 1"]
    with pytest.raises(CommandError, match="there is no data set '7'"):
        with_changes(both, ["7:P1"], [], [])


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        (0, "P999", "no such space group"),
        (0, "", "no such space group"),
        (1, "1,2,3", "six numbers are needed"),
        (1, "10,10,10,90,90,400", "six numbers"),
        (1, "a,b,c,d,e,f", "six numbers"),
        (2, "k,h,l", "changes the hand of the axes; -k,-h,-l does not"),
        (2, "h,k", "expected an operator"),
        (2, "h,h,l", "expected an operator"),
        (2, "__import__('os')", "expected an operator"),
        (2, "2h,k,l", "expected an operator"),
    ],
)
def test_what_is_no_value(data: Any, option: int, text: str, message: str) -> None:
    values: list[list[str]] = [[], [], []]
    values[option] = [text]
    with pytest.raises(CommandError, match=message):
        with_changes(data, *values)


def test_resolution_agrees_with_the_cell(data: Any) -> None:
    (new,) = with_changes(data, ["P212121"], [], ["k,l,h"]).data_sets
    np.testing.assert_allclose(new.table["d"], d_spacings(new.experiment.crystal.unit_cell, new.table["miller_index"]))
