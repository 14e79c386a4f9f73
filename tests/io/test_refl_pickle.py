"""Old pickled tables: they are decoded, and nothing in them is executed."""

from __future__ import annotations

import ast
import os
import pickle
from pathlib import Path

import io_samples as samples
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from braggscale.errors import InputError, UserError
from braggscale.io import read_tables, refl_pickle
from braggscale.io.column_types import TYPES, FileTable
from braggscale.io.file_kind import open_source


def read(path: str) -> FileTable:
    (table,) = read_tables(open_source(path))
    return table


def decode(tag: str, raw: bytes, n: int) -> np.ndarray:
    return refl_pickle.decode(memoryview(raw), tag, n)


@pytest.mark.parametrize(
    ("tag", "raw", "values"),
    [
        ("double", "02 02 02 C0 02 01 82 80 02 02", [1.5, -2.0]),
        ("double", "02 01 02 80 00", [0.5]),
        ("double", "02 03 00 02 80 00 00", [0.0, 0.5, 0.0]),
        ("int", "02 03 82 01 03 00 01 00", [-1, 256, 0]),
        ("int", "02 01 85 00 00 00 80", [-(2**31)]),
        ("bool", "02 03 31 30 31", [True, False, True]),
        ("cctbx::miller::index<>", "02 01 02 04 82 03 82 03", [[4, -3, -3]]),
        ("std::size_t", "02 01 09 FF FF FF FF FF FF FF FF", [2**64 - 1]),
        # NaN and infinity are written as zero mantissas; what they were is lost.
        ("double", "02 02 09 00 00 00 00 00 00 00 00 00 89 00 00 00 00 00 00 00 00 00", [0.0, -0.0]),
        ("double", "00", []),
    ],
)
def test_known_encodings(tag: str, raw: str, values: list[object]) -> None:
    decoded = decode(tag, bytes.fromhex(raw), len(values))
    assert decoded.dtype == TYPES[tag].dtype
    assert decoded.tolist() == values


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_decoding_undoes_encoding(data: st.DataObject) -> None:
    tag = data.draw(st.sampled_from(sorted(samples.TAGS)))
    dtype, parts = samples.TAGS[tag]
    n = data.draw(st.sampled_from([0, 1, 2, 15, 16, 17, 33, 100]))
    elements = None if "double" not in tag else st.floats(allow_nan=False, allow_infinity=False, width=64)
    shape = (n,) if parts == 1 else (n, parts)
    values = data.draw(hnp.arrays(np.dtype(dtype), shape, elements=elements))
    decoded = decode(tag, samples.base256(tag, values), n)
    # The sign of zero is not stored.
    assert decoded.tobytes() == (values + 0 if "double" in tag else values).tobytes()


@pytest.mark.parametrize(
    ("tag", "raw", "n"),
    [
        ("double", "02 02 02 C0 02 01", 2),  # one element too few
        ("double", "02 01 02 C0 02 01 00", 1),  # one too many
        ("double", "02 01 02 C0", 1),  # no exponent
        ("double", "02 01 02 C0 09 01", 1),  # exponent cut off
        ("double", "02 01 02 C0 05 01 01 01 01", 1),  # absurd exponent
        ("double", "02 01 0A 01 01 01 01 01 01 01 01 01 00", 1),  # nine bytes of mantissa
        ("double", "07 01 01 01 01 01 01", 0x010101010101),  # more rows than bytes
        ("int", "02 02 02 01", 2),
        ("int", "02 03 02 01 02 01", 3),
        ("int", "02 01 05 00 00 00 80", 1),  # 2^31
        ("int", "02 01 06 00 00 00 00 01", 1),
        ("std::size_t", "02 01 82 01", 1),  # negative
        ("bool", "02 01 02", 1),
        ("bool", "02 02 31", 2),
        ("int", "03 00", 0),
        ("int", "82 01 00", 1),
        ("int", "", 0),
    ],
)
def test_damaged_buffers(tag: str, raw: str, n: int) -> None:
    with pytest.raises(InputError):
        decode(tag, bytes.fromhex(raw), n)


def test_a_table_with_and_without_identifiers(tmp_path: Path) -> None:
    columns = samples.simple_columns([0, -1, 0])
    for names in (None, {0: "first", 7: "second"}):
        table = read(samples.put(tmp_path, "a.pickle", samples.pickled(columns, names)))
        assert table.identifiers == (names or {})
        assert table.n_rows == 3
        for name, (tag, values) in columns.items():
            assert table.columns[name].tag == tag
            np.testing.assert_array_equal(table.columns[name].load(), values)
            assert not table.columns[name].load().flags.writeable


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_that_would_run_a_command_leaves_no_trace(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    path = samples.put(tmp_path, "evil.refl", pickle.dumps(_Touch(trace), protocol))
    with pytest.raises(InputError, match=r"wants to use (posix|nt)\.system.*nothing was run"):
        read(path)
    assert not trace.exists()


def test_nothing_here_can_unpickle_or_evaluate() -> None:
    tree = ast.parse(Path(refl_pickle.__file__).read_text())
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not imported & {"pickle", "importlib", "builtins"}
    assert not called & {"eval", "exec", "getattr", "__import__"}


HEAD = b"\x80\x02"
FLEX = b"cdials_array_family_flex_ext\nreflection_table\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + b".", "nothing to work on"),
        (HEAD + b"K", "but the file ends"),
        (HEAD + b"]", "instruction 0x5d has no place"),
        (HEAD + b"P0\n.", "instruction 0x50"),
        (HEAD + b"h\x05.", "used before it is made"),
        (HEAD + b"c" + b"a" * 300, "longer than 255"),
        (HEAD + b"cbuiltins\neval\n.", r"builtins\.eval"),
        (HEAD + b"}}\x93.", "wants to use"),
        (HEAD + b"K\x01K\x02R.", "cannot be called"),
        (HEAD + FLEX + b"K\x01R.", "cannot be called"),
        (HEAD + FLEX + b")RK\x01bK\x01b.", "takes none"),
        (HEAD + b"K\x01K\x02b.", "takes none"),
        (HEAD + b"}}K\x01s.", "strange key"),
        (HEAD + b"K\x01K\x02K\x03s.", "no dictionary"),
        (HEAD + b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf16\x86R.", "other than latin1"),
        (HEAD + b"K\x05.", "not a reflection table"),
        (HEAD + FLEX + b")R.", "not a reflection table"),
        (HEAD + FLEX + b")R(K\x01tb.", "unknown layout"),
        (HEAD + FLEX + b")R(K\x01J\xff\xff\xff\xffK\x00}tb.", "unknown layout"),
        (HEAD + FLEX + b")R(K\x01K\x03K\x02}tb.", "2 columns are announced, 0 are there"),
        (HEAD + FLEX + b")R(K\x01K\x03K\x01}U\x01dK\x01stb.", "column 'd' is not an array"),
        (HEAD + FLEX + b")R(K\x02K\x05K\x00K\x00}tb.", "identifiers are no map"),
        (b"\x80\x02\x80\x07.", "protocol 7"),
        (HEAD + b"K\x01" * 100_001, "too many objects"),
        (HEAD + b"K\x01" + b"\x94" * 100_001, "too many objects"),
        (HEAD + b"B\xff\xff\xff\xff", "bytes expected"),
        (HEAD + b"\x8e" + b"\xff" * 8, "bytes expected"),
    ],
)
def test_foreign_and_damaged_pickles(tmp_path: Path, content: bytes, message: str) -> None:
    path = samples.put(tmp_path, "bad.pickle", content)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "bad.pickle" in str(caught.value)


def test_a_count_beyond_the_file_is_not_allocated(tmp_path: Path) -> None:
    n = 1 << 30
    columns = {"d": ("double", samples.whole(n) + b"\0" * 100)}
    with pytest.raises(InputError, match="damaged column 'd': 1073741824 numbers cannot stand in 100 bytes"):
        read(samples.put(tmp_path, "a.pickle", samples.pickled(columns, n_rows=n)))


def test_columns_of_unequal_length(tmp_path: Path) -> None:
    columns = samples.simple_columns([0, 0])
    columns["d"] = ("double", np.zeros(2))
    with pytest.raises(InputError, match="does not have 3 rows|elements instead of 3"):
        read(samples.put(tmp_path, "a.pickle", samples.pickled(columns, n_rows=3)))


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    content = samples.pickled(samples.simple_columns([0, 1, 1]), {0: "first", 1: "second"})
    for n in range(1, len(content)):
        with pytest.raises(UserError):
            read(samples.put(tmp_path, "cut.pickle", content[:n]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_never_do_worse_than_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(samples.pickled(samples.simple_columns([0, 1, 1]), {0: "first", 1: "second"}))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(2, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        table = read(samples.put(tmp_path, "flipped.pickle", bytes(content)))
    except UserError:
        return
    for column in table.columns.values():
        assert len(column.load()) == table.n_rows


def test_pickles_of_newer_protocols(tmp_path: Path) -> None:
    """Texts as unicode, names on the stack, memoised, in frames; buffers as latin1 texts in protocol 2."""
    buffer = samples.base256("double", np.array([1.5, -2.0]))

    def text(name: str) -> bytes:
        return b"\x8c" + bytes([len(name)]) + name.encode() + b"\x94"

    def name(module: str, what: str) -> bytes:
        return text(module) + text(what) + b"\x93\x94"

    modern = b"C" + bytes([len(buffer)]) + buffer
    latin1 = buffer.decode("latin1").encode()
    encoded = b"c_codecs\nencode\nX" + len(latin1).to_bytes(4, "little") + latin1 + b"X\x06\x00\x00\x00latin1\x86R"
    for raw in (modern, encoded):
        content = b"\x80\x04\x95" + bytes(8) + name("dials_array_family_flex_ext", "reflection_table") + b")R\x94"
        content += b"(K\x02}\x94K\x00" + text("first") + b"sK\x02K\x01}\x94" + text("d")
        content += name("scitbx_array_family_flex_ext", "double") + b")R\x94"
        content += name("scitbx_array_family_flex_ext", "grid") + b"K\x00\x85K\x02\x85\x88\x87R\x94K\x02\x85b"
        content += raw + b"\x86bstb."
        table = read(samples.put(tmp_path, "a.refl", content))
        assert table.identifiers == {0: "first"}
        assert table.columns["d"].load().tolist() == [1.5, -2.0]
