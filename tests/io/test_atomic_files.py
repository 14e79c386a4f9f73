"""Output files: all or none are replaced, and none is incomplete."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

import pytest

from braggscale.errors import CommandError, OutputError
from braggscale.io.atomic_files import check_writable, commit, pending, write_beside, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_commit_replaces_all_and_leaves_nothing_behind(tmp_path: Path) -> None:
    table, experiments = tmp_path / "s.refl", tmp_path / "s.expt"
    table.write_text("old")
    pairs = [(write_text(str(path), "new"), str(path)) for path in (table, experiments)]
    assert table.read_text() == "old"
    commit(pairs)
    assert (table.read_text(), experiments.read_text()) == ("new", "new")
    assert names(tmp_path) == ["s.expt", "s.refl"]


def test_new_files_have_the_usual_rights(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    path = str(tmp_path / "new")
    commit([(write_text(path, "x"), path)])
    assert stat.S_IMODE(os.stat(path).st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_a_link_is_followed_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    real, link = tmp_path / "data" / "real.refl", tmp_path / "link.refl"
    real.write_text("old")
    link.symlink_to(real)
    commit([(write_text(str(link), "new"), str(link))])
    assert link.is_symlink() and real.read_text() == "new"


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "s.refl"
    target.write_text("old")

    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"s\.refl failed: No space left on device; nothing was changed"):
        write_beside(str(target), write)
    assert (names(tmp_path), target.read_text()) == (["s.refl"], "old")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_any_interruption_removes_the_temporary_file(tmp_path: Path, error: type[BaseException]) -> None:
    def write(file: IO[bytes]) -> None:
        raise error

    with pytest.raises(error):
        write_beside(str(tmp_path / "x"), write)
    assert names(tmp_path) == []


def test_pending_files_are_removed_if_the_run_stops_before_the_commit(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="later"), pending() as pairs:
        pairs.append((write_text(str(tmp_path / "x"), "x"), str(tmp_path / "x")))
        assert len(names(tmp_path)) == 1
        raise RuntimeError("later")
    assert names(tmp_path) == []


@pytest.mark.parametrize("fails_at", [0, 1, 2])
@pytest.mark.parametrize("links", [True, False])
def test_a_rename_that_fails_puts_everything_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, links: bool
) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    paths[0].write_text("old a")
    paths[2].write_text("old c")
    pairs = [(write_text(str(path), "new"), str(path)) for path in paths]
    replace = os.replace

    def unwilling(source: str, target: str) -> None:
        if source == pairs[fails_at][0]:
            raise OSError(errno.EIO, "broken")
        replace(source, target)

    def no_link(source: str, target: str) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "replace", unwilling)
    if not links:
        monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(OutputError, match=f"putting {paths[fails_at]} in place failed: broken; the old files are"):
        commit(pairs)
    assert names(tmp_path) == ["a", "c"]
    assert (paths[0].read_text(), paths[2].read_text()) == ("old a", "old c")


def test_the_replaced_pair_can_be_kept(tmp_path: Path) -> None:
    paths = [tmp_path / "s.refl", tmp_path / "s.expt"]
    keep = {str(path): str(path.with_suffix(".previous" + path.suffix)) for path in paths}
    for path in paths:
        path.write_text("old")
    (tmp_path / "s.previous.refl").write_text("older")
    commit([(write_text(str(path), "new"), str(path)) for path in paths], keep)
    assert [path.read_text() for path in paths] == ["new", "new"]
    assert [Path(name).read_text() for name in keep.values()] == ["old", "old"]
    assert len(names(tmp_path)) == 4


def test_writability_is_checked_before_anything_is_computed(tmp_path: Path) -> None:
    check_writable([str(tmp_path / "new"), "relative.txt"][:1])
    assert names(tmp_path) == []
    with pytest.raises(CommandError, match="does not exist"):
        check_writable([str(tmp_path / "gone" / "x")])
    with pytest.raises(CommandError, match="it is a folder"):
        check_writable([str(tmp_path)])
    with pytest.raises(CommandError, match="not an ordinary file"):
        check_writable([os.devnull])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CommandError, match="Permission denied"):
        check_writable([str(tmp_path / "x")])


def test_a_folder_that_refuses_new_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(CommandError, match="Read-only file system"):
        check_writable([str(tmp_path / "x")])
