"""Ranks that MPI connects, through mpi4py (Dalcin & Fang, Comput. Sci. Eng. 23 (2021) 47): the only file that uses it.

A collective operation of MPI waits for all ranks for ever. Here every one of them is started without waiting and looked
after: while it is not done the rank sleeps a little. That leaves the processor to others where ranks are more than
processors, lets signals through, and ends the job where a rank hangs. A rank that dies is noticed by the launcher,
which ends the others.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np

from braggscale.numerics.array_types import Array
from braggscale.ranks.communicator import Operation, checked

# The largest message, in bytes: counts of MPI 3 are 32-bit numbers, and buffers inside MPI stay small.
MOST_AT_ONCE = 1 << 26
# How long a rank sleeps between two looks at an operation that is not done, seconds: first, and at most.
FIRST_NAP, LONGEST_NAP = 2e-5, 2e-3
PATIENCE = "BRAGGSCALE_MPI_PATIENCE"  # seconds that an operation may take before the job is ended; 0 for no limit
USUAL_PATIENCE = 3600.0


class World:
    """All processes that the launcher started."""

    def __init__(self) -> None:
        import mpi4py

        mpi4py.rc.thread_level = "serialized"
        from mpi4py import MPI

        self._mpi: Any = MPI
        self._world: Any = MPI.COMM_WORLD
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        self._operations = {"sum": MPI.SUM, "max": MPI.MAX, "min": MPI.MIN, "or": MPI.BOR}
        self._patience = float(os.environ.get(PATIENCE, USUAL_PATIENCE))

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

    def abort(self, status: int) -> None:
        """See ``Communicator``."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._world.Abort(status)

    def _wait(self, request: Any) -> None:
        """Until the operation is done; ends all ranks if that takes longer than anything should."""
        begin, nap = time.monotonic(), FIRST_NAP
        while not request.Test():
            time.sleep(nap)
            nap = min(2 * nap, LONGEST_NAP)
            if self._patience and time.monotonic() - begin > self._patience:
                print_line(
                    f"rank {self.rank} of {self.size} has waited {self._patience:.0f} s for the others; one of them is "
                    f"gone or hangs. All ranks end; {PATIENCE}=SECONDS sets another limit"
                )
                self.abort(1)


def print_line(text: str) -> None:
    """One line on standard error, whole, whatever other ranks write at the same time."""
    os.write(2, f"scale: error: {text}\n".encode())
