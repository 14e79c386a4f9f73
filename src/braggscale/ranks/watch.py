"""What a rank tells the process that watches it (watcher.py).

The first line of the program starts the watcher of a rank (``begin``): until the modules of the program and of MPI are
loaded seconds may pass, in which a rank can die as well. So this module imports nothing that takes time.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

IDLE = "BRAGGSCALE_MPI_IDLE"  # seconds without any processor time after which a rank hangs; 0 for no limit
USUAL_IDLE = 120.0

# What launchers tell the processes that they start: mpiexec of MPICH and Intel MPI, that of Open MPI.
LAUNCHED = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
# srun says this to every process, also to those of programs without MPI.
SLURM_RANK, SLURM_SIZE = "SLURM_PROCID", "SLURM_NTASKS"
_MOST_FILES = 4096


class Watch:
    """The watcher of this process.

    ``rank``, ``size``: as the launcher says, before MPI is there.  ``folder``: of the note that watchers leave.
    ``finalize``: ends MPI, once it is there; ranks wait for each other in it.
    """

    def __init__(self, rank: int, size: int, folder: str) -> None:
        # until the ranks agree on a name for the note: ranks that one process has started have the same
        note = os.path.join(folder, f".scale-{os.uname().nodename}-{os.getppid()}.died")
        program = os.path.join(os.path.dirname(os.path.realpath(__file__)), "watcher.py")
        arguments = [str(rank), str(size), str(os.getpid()), note, str(seconds_of(IDLE, USUAL_IDLE))]
        arguments.append(",".join((*LAUNCHED, SLURM_RANK)))
        self.finalize: Callable[[], object] | None = None
        self._process, self._pipe = _started([sys.executable, "-I", "-S", program, *arguments])

    @property
    def process(self) -> int:
        """Its number; 0 when it has ended in an orderly way."""
        return self._process

    def tell(self, word: str, text: str = "") -> None:
        """One line; nothing happens if the watcher is gone."""
        if self._pipe >= 0:
            with suppress(OSError):
                os.write(self._pipe, f"{word} {text}".replace("\n", " ").encode() + b"\n")

    def end(self) -> None:
        """The rank ends in an orderly way."""
        self.tell("done")
        self._close()
        process, self._process = self._process, 0
        if process:
            with suppress(OSError):
                os.waitpid(process, 0)

    def leave(self) -> None:
        """The rank ends and has said why: watchers of others, which the launcher may kill for it, say nothing more."""
        self.tell("quiet")
        self._close()
        self._process = 0

    def _close(self) -> None:
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            os.close(pipe)


def _started(command: list[str]) -> tuple[int, int]:
    """Number of a process that runs ``command``, and a pipe to its standard input; subprocess takes time to load."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(reading)
        return process, writing
    try:
        # a session of its own: launchers that end a rank send signals to the rank's group of processes
        os.setsid()
        os.dup2(reading, 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # a launcher would take what it has opened for the rank for a sign that the rank is still there
        os.closerange(3, _MOST_FILES)
        os.execv(command[0], command)
    finally:
        os._exit(127)


_EARLY: list[Watch] = []
_STATUS: list[int] = []


def begin(environment: Mapping[str, str]) -> None:
    """Start the watcher if a launcher has started this process as one of several."""
    slurm = SLURM_RANK in environment and environment.get(SLURM_SIZE, "1") not in ("", "1")
    if slurm or any(name in environment for name in LAUNCHED):
        watch = Watch(rank_of(environment), size_of(environment), ".")
        _EARLY.append(watch)
        atexit.register(_last, watch)  # the first that is registered is the last to run


def _last(watch: Watch) -> None:
    """The very end of the process: a rank is watched until nothing is left in which it could die."""
    if watch.finalize is None or not _STATUS:
        watch.end()
        return
    watch.finalize()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    watch.tell("done")
    os._exit(_STATUS[0])


def watch_of_process(rank: int, size: int) -> Watch:
    """The watcher that the first line of the program has started, or a new one.  ``rank``, ``size``: as in ``Watch``.

    It ends with the process.
    """
    if _EARLY:
        return _EARLY.pop()
    watch = Watch(rank, size, ".")
    atexit.register(watch.end)
    return watch


def leave(status: int) -> None:
    """The process ends with this status.  Where the ranks have not met yet the launcher may kill others for it.

    What is wrong has been said then.
    """
    _STATUS.append(status)
    if status and _EARLY:
        _EARLY.pop().leave()


def rank_of(environment: Mapping[str, str]) -> int:
    """Number of this process among those that were launched with it, before anything of MPI is loaded."""
    found = (environment.get(name, "") for name in (*LAUNCHED, SLURM_RANK))
    return next((int(text) for text in found if text.isdecimal()), 0)


def size_of(environment: Mapping[str, str]) -> int:
    """How many processes were launched with this one, before anything of MPI is loaded; 0 if that is not said."""
    found = (environment.get(name, "") for name in (*SIZES, SLURM_SIZE))
    return next((int(text) for text in found if text.isdecimal()), 0)


def seconds_of(name: str, usual: float) -> float:
    """The number of seconds in an environment variable, ``usual`` without it, or if it is none."""
    try:
        return max(float(os.environ.get(name, usual)), 0.0)
    except ValueError:
        return usual
