"""Reflection tables in msgpack: reading, refusing, writing."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import io_samples as samples
import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from braggscale.data.flags import Flag
from braggscale.data.table import Table
from braggscale.errors import InputError, OutputError, UserError
from braggscale.io import read_tables
from braggscale.io.atomic_files import commit
from braggscale.io.column_types import FileTable, OutputColumn
from braggscale.io.file_kind import open_source
from braggscale.io.refl_msgpack import write_msgpack
from braggscale.io.table_writer import write_table


def read(path: str | Path) -> FileTable:
    (table,) = read_tables(open_source(str(path)))
    return table


def whole_table(table: FileTable) -> Table:
    return Table(table.path, table.n_rows, table.columns)


def write(path: Path, *arguments: Any) -> Path:
    commit([(write_table(str(path), *arguments), str(path))])
    return path


TABLES = [
    "l_cysteine__20_integrated.pickle",
    "l_cysteine__25_integrated.pickle",
    "l_cysteine__30_integrated.pickle",
    "l_cysteine__35_integrated.pickle",
    "l_cysteine_scaled__scaled_30.refl",
    "quartz_ed__integrated.refl",
    "ssx_cunir__integrated.refl",
]
FLAGS = {
    "predicted": Flag.PREDICTED,
    "observed": Flag.OBSERVED,
    "indexed": Flag.INDEXED,
    "integrated_sum": Flag.INTEGRATED_SUM,
    "integrated_prf": Flag.INTEGRATED_PRF,
    "integrated": Flag.INTEGRATED_SUM | Flag.INTEGRATED_PRF,
    "user_excluded_in_scaling": Flag.USER_EXCLUDED_IN_SCALING,
    "outlier_in_scaling": Flag.OUTLIER_IN_SCALING,
    "excluded_for_scaling": Flag.EXCLUDED_FOR_SCALING,
    "scaled": Flag.SCALED,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_what_dials_reads(shared_data: Path, name: str) -> None:
    golden = json.loads((shared_data / "golden" / f"{name}.json").read_text())
    table = read(shared_data / name.replace("__", "/"))
    assert table.n_rows == golden["nrows"]
    assert table.identifiers == {int(k): v for k, v in golden["identifiers"].items()}
    assert table.columns.keys() == golden["columns"].keys() - {"shoebox"}
    for column, expected in golden["columns"].items():
        if column == "shoebox":
            continue
        values = table.columns[column].load()
        assert table.columns[column].tag == expected["tag"]
        assert (values.dtype.str, list(values.shape)) == (expected["dtype"], expected["shape"])
        assert hashlib.sha256(values.tobytes()).hexdigest() == expected["sha256"], column
        assert values.flags.aligned and not values.flags.writeable
    flags = table.columns["flags"].load()
    for flag, bits in FLAGS.items():
        set_bits = flags & np.uint64(bits)
        assert np.count_nonzero(set_bits == bits) == golden["flag_counts_all"][flag], flag
        assert np.count_nonzero(set_bits) == golden["flag_counts_any"][flag], flag


@pytest.mark.parametrize("name", ["quartz_ed/integrated.refl", "ssx_cunir/integrated.refl"])
def test_writing_unchanged_gives_the_same_bytes_as_dials(shared_data: Path, tmp_path: Path, name: str) -> None:
    table = read(shared_data / name)
    path = write(tmp_path / "out.refl", [whole_table(table)], {}, table.identifiers)
    assert path.read_bytes() == (shared_data / name).read_bytes()


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_and_any_order_of_the_header(tmp_path: Path, version: int) -> None:
    columns = samples.simple_columns([0, 0, 1])
    assert read(samples.put(tmp_path, "a.refl", samples.refl(columns, {0: "a", 1: "b"}, version))).n_rows == 3
    data = {name: [tag, [3, values.tobytes()]] for name, (tag, values) in columns.items()}
    packed = msgpack.packb([samples.NAME.encode(), version, {"data": data, "nrows": 3}], use_bin_type=True)
    table = read(samples.put(tmp_path, "b.refl", packed))
    assert table.identifiers == {}
    np.testing.assert_array_equal(table.columns["s1"].load(), columns["s1"][1])


def test_any_byte_but_zero_is_true(tmp_path: Path) -> None:
    path = samples.put(tmp_path, "a.refl", samples.refl({"entering": ("bool", (3, b"\x00\x07\x01"))}))
    assert read(path).columns["entering"].load().tolist() == [False, True, True]


def test_shoeboxes_are_skipped_and_texts_dropped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns = samples.simple_columns([0, 0])
    columns |= {"shoebox": ("Shoebox<>", (2, b"anything" * 9)), "name": ("std::string", (2, bytes(64)))}
    with caplog.at_level(logging.WARNING):
        table = read(samples.put(tmp_path, "a.refl", samples.refl(columns)))
    assert table.columns.keys() == samples.simple_columns([0]).keys()
    assert "column name is dropped" in caplog.text


def test_columns_of_a_future_type_travel_as_bytes(tmp_path: Path) -> None:
    columns = samples.simple_columns([0, 1, 0]) | {"new": ("float", (3, b"aaaabbbbcccc"))}
    table = read(samples.put(tmp_path, "a.refl", samples.refl(columns)))
    piece = whole_table(table).select(np.array([2, 0]))
    path = write(tmp_path / "out.refl", [piece], {}, {0: "x"})
    assert msgpack.unpackb(path.read_bytes(), strict_map_key=False)[2]["data"]["new"] == ["float", [2, b"ccccaaaa"]]


def test_bytes_after_the_end_are_noted(tmp_path: Path) -> None:
    table = read(samples.put(tmp_path, "a.refl", samples.refl(samples.simple_columns([0]), tail=b"xyz")))
    assert "3 bytes after the end" in table.notes[0]


def test_table_without_rows_or_columns(tmp_path: Path) -> None:
    assert read(samples.put(tmp_path, "a.refl", samples.refl({}, n_rows=1 << 40))).n_rows == 1 << 40
    empty = read(samples.put(tmp_path, "b.refl", samples.refl(samples.simple_columns([]))))
    assert [len(column.load()) for column in empty.columns.values()] == [0] * 5


double = np.zeros(2)
DAMAGED = {
    "claims 4294967295 entries": b"\x93\xbb" + samples.NAME.encode() + b"\x01\xdf\xff\xff\xff\xff",
    "format is called": b"\x93\xbb" + b"a" * 27 + b"\x01\x80",
    "version 3": samples.refl({}, version=3),
    "expected a dictionary": b"\x93\xbb" + samples.NAME.encode() + b"\x01\x01",
    "'other' is no part": bytes(msgpack.packb([samples.NAME, 1, {"other": 1}])),
    "'data' is missing": bytes(msgpack.packb([samples.NAME, 1, {"nrows": 1}])),
    "'nrows' is missing": bytes(msgpack.packb([samples.NAME, 1, {"data": {}}])),
    "column 'd' has 2 rows, the table 3": samples.refl({"d": ("double", double)}, n_rows=3),
    "3 rows of type double are not 16 bytes": samples.refl({"d": ("double", (3, double.tobytes()))}),
    "column 'd' is int instead of 1 real number": samples.refl({"d": ("int", np.zeros(2, "<i4"))}),
    "column 's1' is double instead of 3 real numbers": samples.refl({"s1": ("double", double)}),
    "expected a number from 0 upwards": samples.refl({}, {-1: "a"}),
    "a data set number: expected a number": samples.refl({}, {"0": "a"}),
    "an identifier: expected a text": samples.refl({}, {0: 5}),
    "data set number 4294967296 is too large": samples.refl({}, {1 << 32: "a"}),
    "same identifier": samples.refl({}, {0: "a", 1: "a"}),
    "70000 bytes long": samples.refl({}, {0: "a" * 70000}),
    "expected bytes, found 0xa3": bytes(
        msgpack.packb([samples.NAME, 1, {"nrows": 1, "data": {"d": ["bool", [3, "abc"]]}}])
    ),
    "not UTF-8": samples.refl({}, {0: b"\xff\xfe"}),
}


@pytest.mark.parametrize("message", DAMAGED)
def test_damaged_tables_are_refused_with_a_reason(tmp_path: Path, message: str) -> None:
    path = samples.put(tmp_path, "bad.refl", DAMAGED[message])
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_repeated_columns_are_refused(tmp_path: Path) -> None:
    once = samples.refl({"aa": ("double", double), "bb": ("double", double)})
    with pytest.raises(InputError, match="'aa' occurs twice"):
        read(samples.put(tmp_path, "a.refl", once.replace(b"bb", b"aa")))


def test_the_error_names_the_byte(tmp_path: Path) -> None:
    content = samples.refl({"d": ("double", double)})
    at = content.index(b"\xc4\x10")
    with pytest.raises(InputError, match=f"byte {at}: column 'd': expected bytes, found 0xc0"):
        read(samples.put(tmp_path, "a.refl", content[:at] + b"\xc0" + content[at + 1 :]))


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    content = samples.refl(samples.simple_columns([0, 1, 1]), {0: "first", 1: "second"})
    for n in range(1, len(content)):
        with pytest.raises(UserError):
            read(samples.put(tmp_path, "cut.refl", content[:n]))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_never_do_worse_than_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(samples.refl(samples.simple_columns([0, 1, 1]), {0: "first", 1: "second"}))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = samples.put(tmp_path, "flipped.refl", bytes(content))
    try:
        table = read(path)
    except UserError:
        return
    for column in table.columns.values():
        assert len(column.load()) == table.n_rows


def test_deeply_nested_lists_are_refused(tmp_path: Path) -> None:
    for content in (b"\x93\xbb" + samples.NAME.encode() + b"\x91" * 100000, b"\x93\xbb\xdd" + b"\xff" * 40):
        with pytest.raises(InputError):
            read(samples.put(tmp_path, "deep.refl", content))


def arrays(tag: str, n: int) -> st.SearchStrategy[np.ndarray]:
    dtype, parts = samples.TAGS[tag]
    return hnp.arrays(np.dtype(dtype), (n,) if parts == 1 else (n, parts))


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, dict[str, tuple[str, np.ndarray]]]:
    n = draw(st.one_of(st.integers(0, 6), st.sampled_from([40, 300])))
    names = draw(st.lists(st.text("abxyz._é", min_size=1, max_size=40), unique=True, max_size=20))
    columns = {}
    for name in names:
        tag = draw(st.sampled_from(sorted(samples.TAGS)))
        columns[name] = (tag, draw(arrays(tag, n)))
    return n, columns


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), st.dictionaries(st.integers(0, 2**31 - 1), st.text(max_size=40), max_size=20))
@pytest.mark.parametrize("ending", [".refl", ".refl.gz", ".h5"])
def test_what_is_written_is_read_back(
    tmp_path: Path,
    ending: str,
    content: tuple[int, dict[str, tuple[str, np.ndarray]]],
    names: dict[int, str],
) -> None:
    n, columns = content
    names = {k: name for k, name in names.items() if list(names.values()).count(name) == 1 and "\0" not in name}
    if ending == ".h5":
        # HDF5 reads a dot as "this group", and has no table without columns.
        columns = {name.replace(".", "-") + "n": value for name, value in columns.items()}
    piece = Table("memory", n, {})
    path = write(tmp_path / f"out{ending}", [piece], {name: (tag, [v]) for name, (tag, v) in columns.items()}, names)
    table = read(path)
    assert table.n_rows == (n if columns or ending != ".h5" else 0)
    assert table.identifiers == names
    assert {name: column.tag for name, column in table.columns.items()} == {k: v[0] for k, v in columns.items()}
    for name, (_, values) in columns.items():
        assert table.columns[name].load().tobytes() == values.tobytes()
    if ending == ".refl":
        # An independent reader agrees, and writes the same bytes.
        raw = path.read_bytes()
        assert msgpack.packb(msgpack.unpackb(raw, strict_map_key=False)) == raw


def pieces_of(tmp_path: Path) -> tuple[Table, Table, dict[str, tuple[str, Any]], dict[str, tuple[str, Any]]]:
    one = samples.simple_columns([0, 5, 0, 5, 0], seed=1)
    two = samples.simple_columns([0, 0], seed=2) | {"lp": ("double", np.array([1.5, 2.5]))}
    first = whole_table(read(samples.put(tmp_path, "1.refl", samples.refl(one))))
    second = whole_table(read(samples.put(tmp_path, "2.refl", samples.refl(two))))
    return first, second, one, two


def test_pieces_are_put_one_after_the_other(tmp_path: Path) -> None:
    first, second, one, two = pieces_of(tmp_path)
    rows = np.array([4, 0, 2])
    new_ids = [np.full(3, 7, np.int64), np.full(2, 9, np.int64)]
    path = write(
        tmp_path / "out.refl",
        [first.select(rows), second],
        {"id": ("int", new_ids), "g": ("double", [np.arange(3.0), np.ones(2)])},
        {9: "nine", 7: "seven"},
        ["d"],
    )
    table = read(path)
    assert list(table.columns) == ["flags", "g", "id", "lp", "miller_index", "s1"]
    assert table.columns["id"].load().tolist() == [7, 7, 7, 9, 9]
    assert table.columns["g"].load().tolist() == [0, 1, 2, 1, 1]
    # Rows of a piece that lacks a column are zero there.
    assert table.columns["lp"].load().tolist() == [0, 0, 0, 1.5, 2.5]
    np.testing.assert_array_equal(table.columns["s1"].load(), np.concatenate([one["s1"][1][rows], two["s1"][1]]))
    assert list(table.identifiers) == [7, 9]


def test_long_tables_are_copied_in_chunks(tmp_path: Path) -> None:
    n = 70_000
    rng = np.random.default_rng(3)
    values = rng.normal(size=(n, 3))
    columns = {"s1": ("vec3<double>", values), "odd": ("int", np.arange(n, dtype="<i4"))}
    whole = whole_table(read(samples.put(tmp_path, "1.refl", samples.refl(columns))))
    for rows in (np.arange(100, 69_000), rng.permutation(n)):
        table = read(write(tmp_path / "out.refl", [whole.select(rows), whole], {}, {}))
        np.testing.assert_array_equal(table.columns["s1"].load(), np.concatenate([values[rows], values]))
        np.testing.assert_array_equal(table.columns["odd"].load(), np.concatenate([rows, np.arange(n)]))


def test_columns_that_differ_in_type_are_joined_if_no_value_changes(tmp_path: Path) -> None:
    def piece(name: str, tag: str, values: np.ndarray) -> Table:
        return whole_table(read(samples.put(tmp_path, name, samples.refl({"x": (tag, values)}))))

    small = piece("1.refl", "int", np.array([1, 2], "<i4"))
    large = piece("2.refl", "std::size_t", np.array([3, 4], "<u8"))
    huge = piece("3.refl", "std::size_t", np.array([3, 1 << 40], "<u8"))
    wide = piece("4.refl", "vec2<double>", np.zeros((1, 2)))
    joined = read(write(tmp_path / "out.refl", [small, large], {}, {})).columns["x"]
    assert (joined.tag, joined.load().tolist()) == ("int", [1, 2, 3, 4])
    with pytest.raises(InputError, match="column 'x' of .*3.refl has values that do not fit"):
        write_table(str(tmp_path / "out.refl"), [small, huge], {}, {})
    with pytest.raises(InputError, match="column 'x' is int in .*1.refl but vec2<double> in .*4.refl"):
        write_table(str(tmp_path / "out.refl"), [small, wide], {}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.refl", "2.refl", "3.refl", "4.refl", "out.refl"]


def test_a_wrong_shape_is_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shape"):
        write_table(str(tmp_path / "x.refl"), [Table("m", 2, {})], {"g": ("double", [np.zeros(3)])}, {})
    with pytest.raises(ValueError, match="no such type"):
        write_table(str(tmp_path / "x.refl"), [Table("m", 2, {})], {"g": ("float", [np.zeros(2)])}, {})


def test_columns_beyond_four_gigabytes_are_refused() -> None:
    column = OutputColumn("s1", "vec3<double>", np.dtype("<f8"), (3,), lambda: iter(()))
    with pytest.raises(OutputError, match="ends in .h5"):
        write_msgpack(lambda _: None, 180_000_000, [column], {})


def test_gzip_is_the_same_every_time_and_is_read_by_content(tmp_path: Path) -> None:
    first, *_ = pieces_of(tmp_path)
    path = write(tmp_path / "a.refl.gz", [first], {}, {0: "x", 5: "y"})
    content = path.read_bytes()
    again = write(tmp_path / "b.refl.gz", [first], {}, {0: "x", 5: "y"})
    assert again.read_bytes() == content
    hidden = samples.put(tmp_path, "plain.refl", content)
    assert read(hidden).n_rows == 5
    plain = write(tmp_path / "c.refl", [first], {}, {0: "x", 5: "y"})
    assert gzip.decompress(content) == plain.read_bytes()
