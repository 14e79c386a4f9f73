"""The program that watches one rank: a process of its own, which imports nothing of the package.

    python -I -S watcher.py RANK SIZE PROCESS NOTE LIMIT

The rank starts it and tells it, line by line on standard input, what it is doing. If the rank dies without a word (the
system kills a process that takes too much memory, somebody sends signal 9), standard input ends. If the rank hangs (it
was stopped, or a disk does not answer) it uses no processor time, which even a rank that waits for others does. The
watcher kills a rank that has used none for LIMIT seconds, 0 for no limit. In both cases the watcher

* says on standard error which rank it was, on which computer, and at which file;
* removes the rank's temporary files, or puts all files in place if all had been written;
* leaves a note in the output folder for a while. Watchers of other ranks that find it say nothing more, and end their
  ranks in case the launcher does not.

It also answers roll calls (roll_call.py), by which ranks that wait for long find out whether other computers are there.

NOTE: where notes are left; its folder is that of temporary files. Lines: ``at TEXT``: what the rank is doing.
``note PATH``: another place for notes.  ``ending HOST-PROCESS``: how names of the rank's temporary files end.
``files PATH``: a list of the temporary files of all ranks and their targets.  ``given``: they all belong to the first
rank from now on.  ``put``: all are complete and are being renamed.  ``done``: the rank ends in an orderly way.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

LOOK = 2.0  # seconds between two looks for a note, and at the processor time of the rank
STAYS = 12.0  # seconds that a note stays: all watchers look several times
_WORDS = ("at", "note", "ending", "files", "given", "put", "done")


class Watcher:
    """What is known of the rank."""

    def __init__(self, rank: int, size: int, process: int, note: str, limit: float = 0.0) -> None:
        self.rank, self.size, self.process, self.limit = rank, size, process, limit
        self.said = {"note": note}
        self.looked, self.spent, self.idle = time.monotonic(), "", 0
        self.answered = ""

    def hear(self, line: str) -> None:
        """Take in one line from the rank."""
        word, _, text = line.partition(" ")
        if word in _WORDS:
            self.said[word] = text

    def watch(self) -> None:
        """Until the rank ends, or another rank has died."""
        rest, note = b"", ""
        while "done" not in self.said:
            note = self.said.get("note", "")
            heard = bool(select.select([0], [], [], LOOK)[0])
            if time.monotonic() - self.looked >= LOOK:
                self.looked = time.monotonic()
                self.answer(note)
                if self.hangs():
                    return self.died(f"has used no processor time for {self.limit:.0f} s")
            if heard:
                read = os.read(0, 65536)
                if not read:
                    return self.died()
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    self.hear(line.decode(errors="replace"))
            elif note and os.path.exists(note):
                return self.other_died()

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
        note = self.said.get("note", "")
        first = not note or _made(note)
        self.kill()
        end = "nothing was written"
        if "put" in self.said:
            end = "all files had been written and are in place"
        elif "given" in self.said:
            end = "all files are in place, or none"
        self.clean()
        if first:
            # a rank that dies before it has a watcher takes others with it
            who = f"rank {self.rank} of {self.size}" + ("" if "at" in self.said else ", or another one,")
            say(
                f"{who} (process {self.process} on {os.uname().nodename}) {how} while "
                f"{self.said.get('at', 'starting')}; all ranks end, {end}"
            )
        os.close(2)  # the launcher waits for it
        if first and note:
            time.sleep(STAYS)
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
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return " ".join(file.read().rpartition(")")[2].split()[11:13])
    except (OSError, IndexError):
        return ""


def _made(note: str) -> bool:
    """Whether this is the first watcher that leaves the note."""
    try:
        os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    except OSError:
        pass
    return True


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
    Watcher(rank, size, process, sys.argv[4], float(sys.argv[5])).watch()


if __name__ == "__main__":
    main()
