"""What a rank tells the process that watches it (watcher.py)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

IDLE = "BRAGGSCALE_MPI_IDLE"  # seconds without any processor time after which a rank hangs; 0 for no limit
USUAL_IDLE = 120.0


class Watch:
    """The watcher of this process.

    ``rank``, ``size``: as the launcher says, before MPI is there.  ``folder``: of the outputs.
    """

    def __init__(self, rank: int, size: int, folder: str) -> None:
        # until the ranks agree on a name for the note: ranks that one process has started have the same
        note = os.path.join(folder, f".scale-{os.uname().nodename}-{os.getppid()}.died")
        # a session of its own: launchers that end a rank send signals to the rank's group of processes
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("watcher.py")), str(rank), str(size),
             str(os.getpid()), note, str(seconds_of(IDLE, USUAL_IDLE))],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def tell(self, word: str, text: str = "") -> None:
        """One line; nothing happens if the watcher is gone."""
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(OSError):
                os.write(pipe.fileno(), f"{word} {text}".replace("\n", " ").encode() + b"\n")

    def end(self) -> None:
        """The rank ends in an orderly way."""
        self.tell("done")
        pipe = self._process.stdin
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(OSError):
            self._process.wait()


def seconds_of(name: str, usual: float) -> float:
    """The number of seconds in an environment variable, ``usual`` without it, or if it is none."""
    try:
        return max(float(os.environ.get(name, usual)), 0.0)
    except ValueError:
        return usual
