"""Ranks that MPI connects, through mpi4py (Dalcin & Fang, Comput. Sci. Eng. 23 (2021) 47): the only file that uses it.

A collective operation of MPI waits for all ranks for ever. Here every one of them is started without waiting and looked
after: while it is not done the rank sleeps a little. That leaves the processor to others where ranks are more than
processors, lets signals through, and finds out whether the computers of the others are there (roll_call.py). A rank
that dies or hangs is noticed by its watcher (watcher.py), which says so, and by the launcher, which ends the others.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np

from braggscale.errors import CommandError
from braggscale.io.atomic_files import temporary_ending
from braggscale.numerics.array_types import Array
from braggscale.ranks.communicator import Operation, checked, gather_texts
from braggscale.ranks.roll_call import RollCall
from braggscale.ranks.watch import seconds_of, watch_of_process

# The largest message, in bytes: counts of MPI 3 are 32-bit numbers, and buffers inside MPI stay small.
MOST_AT_ONCE = 1 << 26
# How long a rank sleeps between two looks at an operation that is not done, seconds: at least, at most, and at most in
# the first second of waiting. An operation has several steps, and each goes on when both ranks look; so in passes of a
# tenth of a second two milliseconds were felt. Between these limits it is this share of the time that has passed.
FIRST_NAP, LONGEST_NAP, SOON = 2e-5, 2e-3, 3e-4
NAP = 0.05
PATIENCE = "BRAGGSCALE_MPI_PATIENCE"  # seconds that an operation may take before the job is ended; 0 for no limit
USUAL_PATIENCE = 3600.0


class World:
    """All processes that the launcher started.

    ``launched_as``: number of this rank and of ranks, as the launcher says.  ``folder``: of the outputs.
    Raises CommandError where no MPI is found, or one that does not know of the other processes.
    """

    def __init__(self, launched_as: tuple[int, int], folder: str) -> None:
        import mpi4py

        self._watch = watch_of_process(*launched_as)

        mpi4py.rc.thread_level = "serialized"
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            self._watch.leave()
            raise CommandError(
                f"mpi4py finds no library of MPI ({str(error).splitlines()[0]}): pip install mpich, or load the module "
                "of the MPI that mpiexec belongs to"
            ) from error

        self._mpi: Any = MPI
        self._watch.finalize = MPI.Finalize
        self._world: Any = MPI.COMM_WORLD
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        if launched_as[1] > 1 and self.size == 1:
            self._watch.leave()
            raise CommandError(
                f"the launcher started {launched_as[1]} processes, but MPI finds one: launcher and MPI do not fit each "
                "other; with srun try --mpi=pmi2 or --mpi=pmix, else use the mpiexec of the MPI that mpi4py was built "
                "for"
            )
        self._operations = {"sum": MPI.SUM, "max": MPI.MAX, "min": MPI.MIN, "or": MPI.BOR}
        self._patience = seconds_of(PATIENCE, USUAL_PATIENCE)
        self._note = ""
        first = self.allgather(np.array([os.getpid()]))[0][0]
        self._nodes = gather_texts(self, os.uname().nodename)
        self._watch.tell("ending", temporary_ending())
        self._note = os.path.join(folder, f".scale-{first}.died")
        self._watch.tell("note", self._note)

    def allreduce(self, values: Array, operation: Operation = "sum") -> Array:
        """See ``Communicator``.  ``values``: (n,) or (n, m).  Returns (n,) or (n, m)."""
        checked(values, operation)
        source = np.ascontiguousarray(values)
        result = np.empty_like(source)
        flat, out = source.reshape(-1), result.reshape(-1)
        step = max(1, MOST_AT_ONCE // max(source.itemsize, 1))
        for first in range(0, len(flat), step):
            part = slice(first, first + step)
            self._wait(self._world.Iallreduce(flat[part], out[part], self._operations[operation]))
        return result

    def allgather(self, values: Array) -> list[Array]:
        """See ``Communicator``.  ``values``: (n,) or (n, m).  Returns (n,) or (n, m) each."""
        source = np.ascontiguousarray(values)
        rows = len(source)
        counts = np.empty(self.size, np.int64)
        self._wait(self._world.Iallgather(np.array([rows], np.int64), counts))
        shape = source.shape[1:]
        width = int(np.prod(shape, dtype=np.int64)) * source.itemsize
        # in pieces, so that no count leaves 32 bits
        step = max(1, MOST_AT_ONCE // max(width, 1))
        found = [np.empty((n, *shape), source.dtype) for n in counts.tolist()]
        for first in range(0, int(counts.max(initial=0)), step):
            sizes = np.clip(counts - first, 0, step) * width
            joined = np.empty(int(sizes.sum()), np.uint8)
            mine = np.frombuffer(source[first : first + step].tobytes(), np.uint8)
            self._wait(self._world.Iallgatherv(mine, [joined, sizes.tolist()]))
            at = 0
            for other, n in enumerate(sizes.tolist()):
                if n:
                    piece = joined[at : at + n].view(source.dtype).reshape(-1, *shape)
                    found[other][first : first + len(piece)] = piece
                at += n
        return found

    def at(self, doing: str) -> None:
        """See ``Communicator``."""
        self._watch.tell("at", doing)

    def hand_over(self, listed: str) -> None:
        """See ``Communicator``."""
        self._watch.tell("files", listed)
        # in step: if a rank dies in between, either its own watcher or that of the first rank cleans up
        for word in ("given", "put"):
            self.allreduce(np.zeros(1, np.int64))
            self._watch.tell(word)
        self.allreduce(np.zeros(1, np.int64))

    def abort(self, status: int) -> None:
        """See ``Communicator``."""
        self._watch.leave()
        sys.stdout.flush()
        sys.stderr.flush()
        self._world.Abort(status)

    def _wait(self, request: Any) -> None:
        """Until the operation is done; ends all ranks if that takes longer than anything should."""
        begin, waited = time.monotonic(), 0.0
        call = RollCall(self._note, self.size)
        while not request.Test():
            time.sleep(min(max(NAP * waited, FIRST_NAP), SOON if waited < 1.0 else LONGEST_NAP))
            waited = time.monotonic() - begin
            gone = call.missing(waited) if self._note else []
            if gone:
                self._end(
                    f"no longer hears of rank {gone[0]} on {self._nodes[gone[0]]}: its computer has failed or hangs"
                )
            if self._patience and waited > self._patience:
                self._end(f"has waited {waited:.0f} s for the others; {PATIENCE}=SECONDS sets another limit")
        call.end()

    def _end(self, why: str) -> None:
        print_line(f"rank {self.rank} of {self.size} {why}; all ranks end, nothing more was written")
        self.abort(1)


def print_line(text: str) -> None:
    """One line on standard error, whole, whatever other ranks write at the same time."""
    os.write(2, f"scale: error: {text}\n".encode())
