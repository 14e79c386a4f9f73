"""Reflection tables in HDF5: layout, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import io_samples as samples
import numpy as np
import pytest

from braggscale.data.table import Table
from braggscale.errors import InputError
from braggscale.io import read_tables
from braggscale.io.atomic_files import commit
from braggscale.io.file_kind import open_source
from braggscale.io.table_writer import write_table


def make(path: Path, fill: Callable[[Any], None], process: str = "processing") -> str:
    with h5py.File(path, "w") as file:
        group = file.create_group("dials", track_order=True).create_group(process, track_order=True)
        fill(group)
    return str(path)


def table_group(parent: Any, name: str, ids: list[int], identifiers: list[str], numbers: list[int]) -> Any:
    group = parent.create_group(name)
    group.attrs["identifiers"] = identifiers
    group.attrs["experiment_ids"] = np.array(numbers, np.uint64)
    for column, (_, values) in samples.simple_columns(ids).items():
        group[column] = values
    return group


def test_the_layout_of_what_is_written(tmp_path: Path) -> None:
    n = 4
    columns = {
        tag: (tag, [np.arange(n * parts).reshape((n,) if parts == 1 else (n, parts)).astype(dtype)])
        for tag, (dtype, parts) in samples.TAGS.items()
    }
    path = str(tmp_path / "out.h5")
    names = {3: "three", 1: "one"}
    commit([(write_table(path, [Table("m", n, {})], columns, names), path)])
    with h5py.File(path) as file:
        group = file["dials/processing/group_0"]
        assert group.attrs["experiment_ids"].dtype == np.uint64
        assert (group.attrs["experiment_ids"].tolist(), group.attrs["identifiers"].tolist()) == (
            [1, 3],
            ["one", "three"],
        )
        assert list(group) == sorted(columns)
        assert group["mat3<double>"].shape == (n, 3, 3)
        assert group["bool"].dtype == np.bool_
        assert all(group[name].chunks is None and group[name].compression is None for name in columns)


def test_several_groups_and_several_processes(tmp_path: Path) -> None:
    def fill(parent: Any) -> None:
        table_group(parent, "group_1", [0, 0], ["a"], [0])
        table_group(parent, "group_0", [0, 1, 1], ["b", "c"], [0, 1])

    first, second = read_tables(open_source(make(tmp_path / "x.refl", fill, "index")))
    # In the order in which they were made, not by name.
    assert (first.identifiers, second.identifiers) == ({0: "a"}, {0: "b", 1: "c"})
    np.testing.assert_array_equal(second.columns["id"].load(), [0, 1, 1])
    path = make(tmp_path / "y.refl", fill, "index")
    with h5py.File(path, "a") as file:
        table_group(file["dials"].create_group("a_later_process"), "group_0", [5], ["z"], [5])
    (table,) = read_tables(open_source(path))
    assert (table.n_rows, table.identifiers) == (1, {5: "z"})


def test_tables_without_identifiers(tmp_path: Path) -> None:
    def fill(parent: Any) -> None:
        group = table_group(parent, "group_0", [0, 0], ["a"], [0])
        # An empty list of texts ends up as real numbers.
        group.attrs["identifiers"] = np.zeros(0)
        group.attrs["experiment_ids"] = np.zeros(0, np.uint64)

    (table,) = read_tables(open_source(make(tmp_path / "x.h5", fill)))
    assert table.identifiers == {}


def test_shoeboxes_are_skipped_and_unknown_types_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fill(parent: Any) -> None:
        group = table_group(parent, "group_0", [0, 0], ["a"], [0])
        group.create_group("shoebox")["panel"] = np.zeros(2)
        group["short"] = np.zeros(2, np.float32)
        group["text"] = ["a", "b"]

    with caplog.at_level(logging.WARNING):
        (table,) = read_tables(open_source(make(tmp_path / "x.h5", fill)))
    assert table.columns.keys() == samples.simple_columns([0]).keys()
    assert "short is dropped" in caplog.text and "text is dropped" in caplog.text
    assert "shoebox is left out" not in caplog.text


def _soft(group: Any) -> None:
    group["d2"] = h5py.SoftLink("/dials/processing/group_0/d")


def _external_link(group: Any) -> None:
    group["d2"] = h5py.ExternalLink("/etc/passwd", "/x")


def _external_storage(group: Any) -> None:
    group.create_dataset("d2", (2,), "<f8", external=[("/etc/passwd", 0, 16)])


def _virtual(group: Any) -> None:
    layout = h5py.VirtualLayout((2,), "<f8")
    layout[:] = h5py.VirtualSource("other.h5", "d", (2,))
    group.create_virtual_dataset("d2", layout)


def _length(group: Any) -> None:
    group["d2"] = np.zeros(3)


def _scalar(group: Any) -> None:
    group["d2"] = 1.0


def _names(group: Any) -> None:
    group.attrs["identifiers"] = ["a", "b"]


def _numbers(group: Any) -> None:
    group.attrs["identifiers"] = [1.0]


def _same(group: Any) -> None:
    group.attrs["identifiers"] = ["a", "a"]
    group.attrs["experiment_ids"] = np.array([0, 1], np.uint64)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_soft, "link to another place"),
        (_external_link, "link to another place"),
        (_external_storage, "stored outside the file"),
        (_virtual, "stored outside the file"),
        (_length, "has 3 rows, others 2|has 2 rows, others 3"),
        (_scalar, "not a column"),
        (_names, "2 identifiers for 1 data sets"),
        (_numbers, "no texts"),
        (_same, "same identifier"),
    ],
)
def test_what_is_refused(tmp_path: Path, spoil: Callable[[Any], None], message: str) -> None:
    path = make(tmp_path / "x.h5", lambda parent: spoil(table_group(parent, "group_0", [0, 0], ["a"], [0])))
    with pytest.raises(InputError, match=message):
        read_tables(open_source(path))


def test_other_hdf5_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "nexus.h5", "w") as file:
        file.create_group("entry")
    with pytest.raises(InputError, match="not with reflections as DIALS writes them"):
        read_tables(open_source(str(tmp_path / "nexus.h5")))
    with pytest.raises(InputError, match="no reflection table in /dials/processing"):
        read_tables(open_source(make(tmp_path / "empty.h5", lambda _: None)))


def test_truncated_files(tmp_path: Path) -> None:
    path = make(tmp_path / "x.h5", lambda parent: table_group(parent, "group_0", [0] * 200, ["a"], [0]))
    content = Path(path).read_bytes()
    for cut in (9, 100, 1000, len(content) // 2, len(content) - 1):
        with pytest.raises(InputError, match="damaged HDF5"):
            read_tables(open_source(samples.put(tmp_path, "cut.h5", content[:cut])))
