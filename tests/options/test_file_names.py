"""Patterns and lists of input files."""

from __future__ import annotations

from pathlib import Path

import pytest

from braggscale.errors import CommandError
from braggscale.options.file_names import file_names


def test_patterns_and_lists(tmp_path: Path) -> None:
    for name in ("b.mtz", "a.mtz", "odd[1].mtz"):
        (tmp_path / name).write_text("x")
    a, b, odd = (str(tmp_path / name) for name in ("a.mtz", "b.mtz", "odd[1].mtz"))
    assert file_names(str(tmp_path / "?.mtz")) == [a, b]
    assert file_names(odd) == [odd]  # the name of an existing file is not a pattern
    assert file_names("nowhere.mtz") == ["nowhere.mtz"]  # the error is reported elsewhere
    (tmp_path / "list.txt").write_text("# all\nb.mtz\n\n[a].mtz\n")
    assert file_names("@" + str(tmp_path / "list.txt")) == [b, a]
    (tmp_path / "more.txt").write_text("@list.txt\n")
    assert file_names("@" + str(tmp_path / "more.txt")) == [b, a]


def test_what_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no file fits this pattern"):
        file_names(str(tmp_path / "*.mtz"))
    with pytest.raises(CommandError, match="there is no list of files"):
        file_names("@" + str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_text("@list.txt\n")
    with pytest.raises(CommandError, match="lists that name each other"):
        file_names("@" + str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_text("\n# nothing\n")
    with pytest.raises(CommandError, match="is empty"):
        file_names("@" + str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError, match="cannot be read"):
        file_names("@" + str(tmp_path / "list.txt"))


def test_names_that_no_file_can_have(tmp_path):
    with pytest.raises(CommandError, match="zero bytes"):
        file_names("in\0.refl")
    (tmp_path / "list.txt").write_text("a.refl\nb\0.refl\n")
    with pytest.raises(CommandError, match="zero bytes"):
        file_names(f"@{tmp_path / 'list.txt'}")
