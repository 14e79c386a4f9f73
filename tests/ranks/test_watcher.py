"""A rank that dies without a word: what its watcher says and does."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import braggscale.ranks.watcher as watcher
from braggscale.ranks.watch import Watch


class Told:
    """A watcher that has heard some lines from a rank that is then gone."""

    def __init__(self, folder: Path, *lines: str) -> None:
        command = [sys.executable, "-I", "-S", watcher.__file__, "2", "4", "77", str(folder / ".scale.died")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        told = ["ending ab-7", *lines]
        self.process.stdin.write("".join(f"{line}\n" for line in told).encode())
        self.process.stdin.close()
        self.said = self.process.stderr.read().decode()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


@pytest.fixture
def folder(tmp_path):
    for name in (".a.refl.ab-7-11.tmp", ".b.refl.ab-8-22.tmp", "old.refl"):
        (tmp_path / name).write_text(name)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_rank_that_dies_is_named_with_its_file_and_its_temporary_files_go(folder):
    told = Told(folder, "at reading one.refl", "at reading two.refl")
    assert (
        "rank 2 of 4 (process 77 on" in told.said
        and "while reading two.refl; all ranks end, nothing was written" in told.said
    )
    assert names(folder) == [".b.refl.ab-8-22.tmp", ".scale.died", "old.refl"]
    # the next one to die was ended by the launcher
    second = Told(folder, "at reading three.refl")
    assert second.said == ""
    told.end()
    second.end()


def test_an_orderly_end_leaves_everything(folder):
    told = Told(folder, "at reading one.refl", "done")
    assert told.process.wait() == 0 and told.said == "" and len(names(folder)) == 3
    told.end()


@pytest.mark.parametrize("complete", [True, False])
def test_files_that_were_complete_are_put_in_place_or_none(folder, complete):
    temporary = [folder / ".a.refl.ab-7-11.tmp", folder / ".b.refl.ab-8-22.tmp"]
    listed = folder / ".list.tmp"
    listed.write_text("".join(f"{path}\t{folder / path.name[1:7]}\n" for path in temporary))
    told = Told(folder, f"files {listed}", "given", *(["put"] if complete else []))
    told.end()
    expected = ["a.refl", "b.refl", "old.refl"] if complete else ["old.refl"]
    assert names(folder) == [".scale.died", *expected]
    assert ("are in place" in told.said) and ("or none" in told.said) != complete


def test_a_rank_ends_where_another_one_has_died(tmp_path):
    note = tmp_path / ".scale.died"
    code = (
        "import time; from braggscale.ranks.watch import Watch; watch = Watch(0, 2, '.'); "
        f"watch.tell('note', {str(note)!r}); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        note.touch()
        begin = time.monotonic()
        assert process.wait(timeout=30) == -9
        assert time.monotonic() - begin < 30


def test_a_watcher_that_is_gone_is_no_error():
    watch = Watch(0, 1, ".")
    watch._process.kill()
    watch._process.wait()
    watch.tell("at", "reading")
    watch.end()
    watch.end()
