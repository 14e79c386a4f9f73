"""Recognition of files by their content; compressed files."""

from __future__ import annotations

import gzip
from pathlib import Path

import io_samples as samples
import pytest

from braggscale.errors import CommandError, InputError
from braggscale.io import file_kind
from braggscale.io.file_kind import Kind, kind_of, open_source


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (samples.refl({}), Kind.MSGPACK),
        (b"\x80\x02cdials_array_family", Kind.PICKLE),
        (b"\x80\x05\x95", Kind.PICKLE),
        (b"\x89HDF\r\n\x1a\n", Kind.HDF5),
        (b' \n\t{"__id__"', Kind.EXPERIMENTS),
        (b"\xef\xbb\xbf{}", Kind.EXPERIMENTS),
        (b"MTZ \x15\0", Kind.OTHER),
        (b"!FORMAT=XDS_ASCII    MERGE=FALSE", Kind.OTHER),
        (b"!OUTPUT_FILE=INTEGRATE.HKL", Kind.OTHER),
        (b"hello", None),
        (b"(dp0\n", None),
        (b"\x80\x09", None),
        (b"[1, 2]", None),
    ],
)
def test_kinds(head: bytes, kind: Kind | None) -> None:
    assert kind_of(head) is kind


def test_real_files(shared_data: Path) -> None:
    expected = {
        "l_cysteine/20_integrated.pickle": Kind.PICKLE,
        "l_cysteine/20_integrated_experiments.json": Kind.EXPERIMENTS,
        "l_cysteine_scaled/scaled_30.refl": Kind.PICKLE,
        "quartz_ed/integrated.refl": Kind.MSGPACK,
        "hypf_mtz/hypf_unmerged.mtz": Kind.OTHER,
        "bitbx_xds/INTEGRATE.HKL": Kind.OTHER,
    }
    assert {name: open_source(str(shared_data / name)).kind for name in expected} == expected


def test_unknown_and_empty_files_name_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown kind of file.*hello.*expected a reflection table.*experiment list"):
        open_source(samples.put(tmp_path, "a.refl", b"hello"))
    with pytest.raises(InputError, match="is empty"):
        open_source(samples.put(tmp_path, "b.refl", b""))
    with pytest.raises(InputError, match="unknown kind"):
        open_source(samples.put(tmp_path, "c.refl", gzip.compress(b"\x00\x01\x02")))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"gone.refl: no such file$"):
        open_source(str(tmp_path / "gone.refl"))
    with pytest.raises(CommandError, match="is a folder"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scaled_experiments.json", "scaled.expt"),
        ("scaled.pickle", "scaled.refl"),
        ("experiments.json", "experiments.expt"),
    ],
)
def test_the_old_name_of_a_file_leads_to_the_new_one(tmp_path: Path, old: str, new: str) -> None:
    samples.put(tmp_path, new, b"x")
    with pytest.raises(CommandError, match=f"no such file, but .*{new} exists"):
        open_source(str(tmp_path / old))


def test_gzip_in_several_members(tmp_path: Path) -> None:
    content = samples.refl(samples.simple_columns([0] * 1000))
    packed = gzip.compress(content[:500]) + gzip.compress(content[500:])
    source = open_source(samples.put(tmp_path, "a", packed))
    assert (source.kind, bytes(source.data)) == (Kind.MSGPACK, content)


@pytest.mark.parametrize("cut", [3, 12, 40, -9, -1])
def test_truncated_gzip(tmp_path: Path, cut: int) -> None:
    packed = gzip.compress(samples.refl(samples.simple_columns([0] * 100)))
    with pytest.raises(InputError, match=r"truncated"):
        open_source(samples.put(tmp_path, "a.refl.gz", packed[:cut]))


def test_damaged_gzip(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(samples.refl(samples.simple_columns([0] * 100))))
    packed[len(packed) // 2] ^= 0x55
    with pytest.raises(InputError, match="damaged gzip|truncated"):
        open_source(samples.put(tmp_path, "a.refl.gz", bytes(packed)))


def test_a_gzip_bomb_is_not_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(40_000_000))
    path = samples.put(tmp_path, "bomb.refl.gz", bomb)
    with pytest.raises(InputError, match=f"more than {file_kind.GZIP_SMALL} bytes"):
        open_source(path)
    monkeypatch.setattr(file_kind, "available_memory", lambda: 1000)
    with pytest.raises(InputError, match="more than 1000 bytes"):
        open_source(path)


def test_available_memory_is_a_sensible_number() -> None:
    assert file_kind.available_memory() > 1 << 20
