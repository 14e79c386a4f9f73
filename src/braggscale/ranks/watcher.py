"""The program that watches one rank: a process of its own, which imports nothing of the package.

    python -I -S watcher.py RANK SIZE PROCESS NOTE LIMIT [VARIABLES]

The rank starts it and tells it, line by line on standard input, what it is doing. If the rank dies without a word (the
system kills a process that takes too much memory, somebody sends signal 9), standard input ends. If the rank hangs (it
was stopped, or a disk does not answer) it uses no processor time, which even a rank that waits for others does. The
watcher kills a rank that has used none for LIMIT seconds, 0 for no limit. In both cases the watcher

* says on standard error which rank it was, on which computer, and at which file;
* removes the rank's temporary files, or puts all files in place if all had been written;
* leaves a note in the output folder for a while. Watchers of other ranks that find it say nothing more, and end their
  ranks in case the launcher does not.

A launcher that sees a rank die kills the others at once. So the watcher also looks at the other ranks that the same
process has started on this computer, and knows who was the first to go. One that dies before it has a watcher is named
by the watchers of the others.

It also answers roll calls (roll_call.py), by which ranks that wait for long find out whether other computers are there.

NOTE: where notes are left.  VARIABLES: of the environment, with commas between them, in which launchers tell a process
its rank. Lines: ``at TEXT``: what the rank is doing.  ``note PATH``: another place for notes; its folder is that of
temporary files.  ``ending HOST-PROCESS``: how names of the rank's temporary files end.
``files PATH``: a list of the temporary files of all ranks and their targets.  ``given``: they all belong to the first
rank from now on.  ``put``: all are complete and are being renamed.  ``done``: the rank ends in an orderly way.
``quiet``: it has ended with a message of its own, and others may be killed for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Sequence

LOOK = 2.0  # seconds between two looks for a note, and at the processor time of the rank
STAYS = 12.0  # seconds that a note stays: all watchers look several times
# Seconds that a watcher waits for the word of another one that knows more: if it has seen two ranks die at once, if it
# has to speak for another rank, and how long a note stays where the rank itself has spoken.
UNSURE, FOR_ANOTHER, QUIET = 0.5, 1.5, 3.0
FIRST_SEARCH, LAST_SEARCH = 0.05, 5.0  # seconds after the start between which other ranks are looked for
_WORDS = ("at", "note", "ending", "files", "given", "put", "done", "quiet")


class Beside:
    """The ranks that the same process has started on this computer, with descriptors that tell when they end.

    ``rank``, ``process``: of this rank, which is one of them.  ``variables``: as in ``main``.
    """

    def __init__(self, rank: int, process: int, variables: Sequence[str]) -> None:
        self._names = tuple(f"{name}=".encode() for name in variables)
        self._parent, self._began, self._due = _parent(process), time.monotonic(), 0.0
        self.processes = {rank: process}
        self._open = {descriptor: rank for descriptor in _opened(process)}
        self.gone: list[int] = []

    @property
    def descriptors(self) -> list[int]:
        """Readable where a rank has ended that was there."""
        return list(self._open)

    def search(self) -> float:
        """Look for ranks that have been started meanwhile, now and then; seconds until the next time."""
        waited = time.monotonic() - self._began
        if waited < self._due or self._due > LAST_SEARCH or not self._names or self._parent <= 1:
            return max(self._due - waited, 0.0) if self._due <= LAST_SEARCH else LOOK
        self._due = 2.0 * max(waited, FIRST_SEARCH)
        known = set(self.processes.values())
        for process in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
            if process not in known and _parent(process) == self._parent:
                rank = self._rank_of(process)
                if rank is not None:
                    self.processes[rank] = process
                    self._open |= {descriptor: rank for descriptor in _opened(process)}
        return min(self._due - waited, LOOK)

    def look(self) -> list[int]:
        """Ranks that have ended since the last time."""
        ended = [self._open.pop(one) for one in select.select(self.descriptors, [], [], 0)[0]] if self._open else []
        self.gone += ended
        return ended

    def _rank_of(self, process: int) -> int | None:
        try:
            with open(f"/proc/{process}/environ", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            return None
        found = (word[len(name) :] for name in self._names for word in words if word.startswith(name))
        return next((int(text) for text in found if text.isdigit()), None)


def _parent(process: int) -> int:
    """Number of the process that has started another one, 0 if that is not known."""
    words = _state(process)
    return int(words[1]) if len(words) > 1 else 0


def _state(process: int) -> list[str]:
    """What the system says of a process, from its state on (proc(5), stat, field 3); nothing where it does not."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _opened(process: int) -> list[int]:
    """A descriptor that can be read when the process ends; none where the system has no such thing."""
    try:
        return [os.pidfd_open(process)]
    except (AttributeError, OSError):
        return []


class Watcher:
    """What is known of the rank."""

    def __init__(
        self, rank: int, size: int, process: int, note: str, limit: float = 0.0, variables: Sequence[str] = ()
    ) -> None:
        self.rank, self.size, self.process, self.limit = rank, size, process, limit
        self.said = {"note": note}
        self.notes = [note] if note else []
        self.beside, self.first = Beside(rank, process, variables), [rank]
        self.looked, self.spent, self.idle = time.monotonic(), "", 0
        self.answered = ""

    def hear(self, line: str) -> None:
        """Take in one line from the rank."""
        word, _, text = line.partition(" ")
        if word in _WORDS:
            self.said[word] = text
        if word == "note" and text:
            self.notes.append(text)

    def watch(self) -> None:
        """Until the rank ends, or another one has died."""
        rest = b""
        while "done" not in self.said:
            heard = bool(select.select([0, *self.beside.descriptors], [], [], min(LOOK, self.beside.search()))[0])
            before = bool(self.beside.gone)
            ended = self.beside.look()
            if ended and not before:
                self.first = ended
            heard = heard and bool(select.select([0], [], [], 0)[0])
            if time.monotonic() - self.looked >= LOOK:
                self.looked = time.monotonic()
                self.answer(self.said["note"])
                if self.hangs():
                    self.first = [self.rank]
                    return self.died(f"has used no processor time for {self.limit:.0f} s")
            if heard:
                read = os.read(0, 65536)
                if not read:
                    return self.quiet() if "quiet" in self.said else self.died()
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    self.hear(line.decode(errors="replace"))
            elif self.noted():
                return self.other_died()

    def noted(self) -> bool:
        """Whether another watcher has left a note."""
        return any(os.path.exists(note) for note in self.notes)

    def hangs(self) -> bool:
        """Whether the rank has used no processor time for too long.

        Looks are counted instead of seconds: while a whole job is suspended nobody looks. Before its first file a rank
        may wait for processes of its own that compile.
        """
        spent = _processor_time(self.process) if "at" in self.said else ""
        self.idle = self.idle + 1 if spent and spent == self.spent else 0
        self.spent = spent
        return self.limit > 0 and self.idle * LOOK >= self.limit

    def answer(self, note: str) -> None:
        """Leave a file for a roll call, and take it away when that is over."""
        if not note:
            return
        called, mine = os.path.exists(f"{note}.call"), f"{note}.{self.rank}"
        with contextlib.suppress(OSError):
            if called and not self.answered:
                os.close(os.open(mine, os.O_WRONLY | os.O_CREAT))
                self.answered = mine
            elif self.answered and not called:
                os.unlink(self.answered)
                self.answered = ""

    def died(self, how: str = "was killed or died") -> None:
        """The rank is gone, or has to go."""
        which, sure = self.first_of_all()
        speaks = all([_made(note) for note in self.notes])
        self.kill()
        end = "nothing was written"
        if "put" in self.said:
            end = "all files had been written and are in place"
        elif "given" in self.said:
            end = "all files are in place, or none"
        self.clean()
        if speaks:
            who = f"rank {which} of {self.size}" + ("" if sure else ", or another one,")
            process = self.beside.processes.get(which, self.process)
            doing = self.said.get("at", "starting")
            # what another rank was doing is not known here, unless none has begun
            doing = f" while {doing}" if which == self.rank or "at" not in self.said else ""
            say(f"{who} (process {process} on {os.uname().nodename}) {how}{doing}; all ranks end, {end}")
        os.close(2)  # the launcher waits for it
        if speaks:
            self.stay(STAYS)

    def first_of_all(self) -> tuple[int, bool]:
        """The rank that has died first, and whether that is sure; returns late if others know more.

        Whoever has seen one rank go before all others tells those who have seen several at once.
        """
        told = f"{self.notes[0]}.first" if self.notes else ""
        if len(self.first) == 1:
            which = self.first[0]
            if which != self.rank:
                _written(told, which)
                self.wait(FOR_ANOTHER)
            return which, True
        self.wait(UNSURE)
        known = _read(told)
        if known is None:
            return self.rank if self.rank in self.first else self.first[0], False
        if known != self.rank:
            self.wait(FOR_ANOTHER)
        return known, True

    def wait(self, seconds: float) -> None:
        """Until another watcher has spoken, or for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.noted():
            time.sleep(0.02)

    def quiet(self) -> None:
        """The rank has spoken: leave a note for the watchers of others."""
        made = [_made(note) for note in self.notes]
        self.clean()
        os.close(2)
        if any(made):
            self.stay(QUIET)

    def stay(self, seconds: float) -> None:
        """Take the notes away after a while."""
        time.sleep(seconds)
        for note in [*self.notes, *(f"{note}.first" for note in self.notes)]:
            with contextlib.suppress(OSError):
                os.unlink(note)

    def other_died(self) -> None:
        """End the rank: the launcher should have done it by now."""
        self.kill()
        self.clean()

    def kill(self) -> None:
        """Kill the rank if it is still there."""
        if os.getppid() == self.process:
            with contextlib.suppress(OSError):
                os.kill(self.process, signal.SIGKILL)

    def clean(self) -> None:
        """Remove temporary files, or put all in place."""
        if self.answered:
            with contextlib.suppress(OSError):
                os.unlink(self.answered)
        said, folder = self.said, os.path.dirname(self.said.get("note", ""))
        if "given" in said:
            if "files" in said:
                _settle(said["files"], "put" in said)
        elif folder and "ending" in said:
            with contextlib.suppress(OSError):
                for name in os.listdir(folder):
                    if name.startswith(".") and name.endswith(".tmp") and f".{said['ending']}-" in name:
                        os.unlink(os.path.join(folder, name))


def _processor_time(process: int) -> str:
    """Processor time of a process, user and system, as the system says it; "" where it does not."""
    return " ".join(_state(process)[11:13])


def _made(note: str) -> bool:
    """Whether this is the first watcher that leaves the note."""
    try:
        os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    except OSError:
        pass
    return True


def _written(path: str, rank: int) -> None:
    """Tell other watchers that this rank has died first."""
    with contextlib.suppress(OSError), open(path, "x", encoding="utf-8") as file:
        file.write(f"{rank}\n")


def _read(path: str) -> int | None:
    """The rank that another watcher has seen die first."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        return int(file.read(20))
    return None


def _settle(path: str, complete: bool) -> None:
    """Rename the files of a list, or remove them if they are not ``complete``."""
    with contextlib.suppress(OSError, ValueError):
        with open(path, encoding="utf-8") as file:
            pairs = [line.split("\t") for line in file.read().splitlines()]
        for temporary, target in pairs:
            if os.path.exists(temporary):
                os.replace(temporary, target) if complete else os.unlink(temporary)
        os.unlink(path)


def say(text: str) -> None:
    """One line on standard error; the launcher may be gone already."""
    with contextlib.suppress(OSError):
        os.write(2, f"scale: error: {text}\n".encode())


def main() -> None:
    """Entry point."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    rank, size, process = (int(word) for word in sys.argv[1:4])
    variables = sys.argv[6].split(",") if len(sys.argv) > 6 else []
    Watcher(rank, size, process, sys.argv[4], float(sys.argv[5]), variables).watch()


if __name__ == "__main__":
    main()
