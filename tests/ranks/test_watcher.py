"""A rank that dies without a word: what its watcher says and does."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import braggscale.ranks.watcher as watcher
from braggscale.ranks.roll_call import ANSWERS, FIRST_CALL, NEXT_CALL, RollCall
from braggscale.ranks.watch import Watch, seconds_of


class Told:
    """A watcher that has heard some lines from a rank that is then gone."""

    def __init__(self, folder: Path, *lines: str) -> None:
        command = [sys.executable, "-I", "-S", watcher.__file__, "2", "4", "77", str(folder / ".scale.died"), "0"]
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


def test_a_rank_that_has_said_why_it_ends_keeps_watchers_quiet(folder):
    told = Told(folder, "at reading one.refl", "quiet")
    assert told.said == "" and ".scale.died" in names(folder) and ".a.refl.ab-7-11.tmp" not in names(folder)
    other = Told(folder, "at reading two.refl")
    assert other.said == ""
    told.end()
    other.end()


def test_whoever_has_seen_two_die_at_once_believes_who_has_seen_one(tmp_path, monkeypatch):
    monkeypatch.setattr(watcher, "UNSURE", 0.0)
    monkeypatch.setattr(watcher, "FOR_ANOTHER", 0.0)
    watchers = [watcher.Watcher(rank, 3, 77, str(tmp_path / ".scale.died")) for rank in range(3)]
    for each, seen in zip(watchers, ([2, 0], [0], [2, 0]), strict=True):
        each.first = seen
    assert watchers[0].first_of_all() == (0, False)
    assert watchers[1].first_of_all() == (0, True)
    assert watchers[0].first_of_all() == (0, True) and watchers[2].first_of_all() == (0, True)


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
    os.kill(watch.process, 9)
    os.waitpid(watch.process, 0)
    watch.tell("at", "reading")
    watch.end()
    watch.end()


def test_a_rank_that_uses_no_processor_time_hangs(monkeypatch):
    spent = iter(["1 0", "1 0", "2 0", "2 0", "2 0", "2 0"])
    monkeypatch.setattr(watcher, "_processor_time", lambda process: next(spent))
    one = watcher.Watcher(0, 2, 77, ".scale.died", 3 * watcher.LOOK)
    # until its first file it may wait for others of its processes
    assert not one.hangs() and one.idle == 0
    one.hear("at reading one.refl")
    assert [one.hangs() for _ in range(6)] == [False, False, False, False, False, True]


@pytest.mark.parametrize(("limit", "known"), [(0.0, "1 0"), (4.0, "")])
def test_without_a_limit_or_where_times_are_not_known_nothing_hangs(monkeypatch, limit, known):
    monkeypatch.setattr(watcher, "_processor_time", lambda process: known)
    one = watcher.Watcher(0, 2, 77, ".scale.died", limit)
    one.hear("at reading one.refl")
    assert not any(one.hangs() for _ in range(20))


def test_a_roll_call_finds_the_rank_that_does_not_answer(tmp_path):
    note = str(tmp_path / ".scale.died")
    watchers = [watcher.Watcher(rank, 3, 77, note) for rank in range(3)]
    one, other = RollCall(note, 3), RollCall(note, 3)
    assert one.missing(FIRST_CALL - 1) == [] and not list(tmp_path.iterdir())
    assert one.missing(FIRST_CALL) == [] and other.missing(FIRST_CALL) == []
    for each in watchers[:2]:
        each.answer(note)
    assert one.missing(FIRST_CALL + ANSWERS) == [2]
    assert other.missing(FIRST_CALL + ANSWERS) == []
    for each in watchers:
        each.answer(note)
    assert not list(tmp_path.iterdir())


def test_ranks_that_answer_are_called_again_later(tmp_path):
    note = str(tmp_path / ".scale.died")
    each, call = watcher.Watcher(0, 1, 77, note), RollCall(note, 1)
    waited = FIRST_CALL
    for _ in range(2):
        assert call.missing(waited) == []
        each.answer(note)
        assert [path.name for path in sorted(tmp_path.iterdir())] == [".scale.died.0", ".scale.died.call"]
        assert call.missing(waited + ANSWERS) == []
        each.answer(note)
        waited += ANSWERS + NEXT_CALL
    assert call.missing(waited) == [] and list(tmp_path.iterdir())
    call.end()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("text", "seconds"), [("7.5", 7.5), ("-3", 0.0), ("soon", 9.0), (None, 9.0)])
def test_limits_come_from_the_environment(monkeypatch, text, seconds):
    monkeypatch.delenv("A_LIMIT", raising=False)
    if text is not None:
        monkeypatch.setenv("A_LIMIT", text)
    assert seconds_of("A_LIMIT", 9.0) == seconds
