"""The program that watches one rank: a process of its own, which imports nothing of the package.

    python -I -S watcher.py RANK SIZE PROCESS NOTE

The rank starts it and tells it, line by line on standard input, what it is doing. If the rank dies without a word (the
system kills a process that takes too much memory, somebody sends signal 9), standard input ends. Then the watcher

* says on standard error which rank died, on which computer, and at which file it was;
* removes the rank's temporary files, or puts all files in place if all had been written;
* leaves a note in the output folder for a while. Watchers of other ranks that find it say nothing more, and end their
  ranks in case the launcher does not.

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

LOOK = 2.0  # seconds between two looks for a note
STAYS = 12.0  # seconds that a note stays: all watchers look several times
_WORDS = ("at", "note", "ending", "files", "given", "put", "done")


class Watcher:
    """What is known of the rank."""

    def __init__(self, rank: int, size: int, process: int, note: str) -> None:
        self.rank, self.size, self.process = rank, size, process
        self.said = {"note": note}

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
            if select.select([0], [], [], LOOK)[0]:
                read = os.read(0, 65536)
                if not read:
                    return self.died()
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    self.hear(line.decode(errors="replace"))
            elif note and os.path.exists(note):
                return self.other_died()

    def died(self) -> None:
        """The rank is gone."""
        note = self.said.get("note", "")
        first = not note or _made(note)
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
                f"{who} (process {self.process} on {os.uname().nodename}) was killed or died while "
                f"{self.said.get('at', 'starting')}; all ranks end, {end}"
            )
        os.close(2)  # the launcher waits for it
        if first and note:
            time.sleep(STAYS)
            with contextlib.suppress(OSError):
                os.unlink(note)

    def other_died(self) -> None:
        """End the rank: the launcher should have done it by now."""
        if os.getppid() == self.process:
            with contextlib.suppress(OSError):
                os.kill(self.process, signal.SIGKILL)
        self.clean()

    def clean(self) -> None:
        """Remove temporary files, or put all in place."""
        said, folder = self.said, os.path.dirname(self.said.get("note", ""))
        if "given" in said:
            if "files" in said:
                _settle(said["files"], "put" in said)
        elif folder and "ending" in said:
            with contextlib.suppress(OSError):
                for name in os.listdir(folder):
                    if name.startswith(".") and name.endswith(".tmp") and f".{said['ending']}-" in name:
                        os.unlink(os.path.join(folder, name))


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
    Watcher(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]).watch()


if __name__ == "__main__":
    main()
