"""Ranks that are threads of one process: the same program, without MPI."""

import contextvars
import threading
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from braggscale.ranks.communicator import checked

OPERATIONS = {"sum": np.add, "max": np.maximum, "min": np.minimum, "or": np.bitwise_or}


class Meeting:
    """Where the threads lay down what they have and take what the others have."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier, self.slots = size, threading.Barrier(size, timeout=60), [None] * size

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.slots[rank] = value
        self.barrier.wait()
        found = list(self.slots)
        self.barrier.wait()
        return found


class ThreadRank:
    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank, self.size = meeting, rank, meeting.size
        self.log: list[str] = []

    def allreduce(self, values, operation="sum"):
        checked(values, operation)
        self.log.append(f"{operation} {values.shape}")
        return reduce(OPERATIONS[operation], self.meeting.exchange(self.rank, values.copy()))

    def allgather(self, values):
        self.log.append("gather")
        return self.meeting.exchange(self.rank, values.copy())

    def at(self, doing):
        self.doing = doing

    def hand_over(self, listed):
        pass

    def abort(self, status):
        self.meeting.barrier.abort()


def run_on(size: int, work: Callable[[ThreadRank], Any]) -> list[Any]:
    """``work`` on so many ranks; what each returns or raises."""
    meeting = Meeting(size)
    results: list[Any] = [None] * size

    def one(rank: int) -> None:
        try:
            results[rank] = work(ThreadRank(meeting, rank))
        except BaseException as error:
            results[rank] = error
            if isinstance(error, AssertionError | TypeError | ValueError | KeyError | IndexError):
                meeting.barrier.abort()

    workers = [threading.Thread(target=contextvars.Context().run, args=(one, rank)) for rank in range(size)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results
