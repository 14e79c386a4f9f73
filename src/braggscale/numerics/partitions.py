"""Runs a kernel over blocks of whole groups and adds the results up, the same for any number of threads.

The blocks are dealt to a fixed number of lanes that depends on the data alone. A lane adds its blocks up in order;
the lanes are then added in order. Threads only decide which lane runs when, so they cannot change a single bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import current_thread
from typing import TypeVar

Partial = TypeVar("Partial")
_NAME = "lane"


def available_processors() -> int:
    """Processors that this process may use: affinity and the cgroup's quota, whichever is less."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        count = os.cpu_count() or 1
    return max(1, min(count, _cgroup_quota() or count))


def _cgroup_quota() -> int | None:
    """Whole processors granted by the control group (version 2, then 1), None where there is no limit."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", encoding="ascii") as file:
                quota = file.read().strip()
            with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us", encoding="ascii") as file:
                period = file.read().strip()
        except OSError:
            return None
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return max(1, -(-int(quota) // int(period)))


def run_lanes(lane: Callable[[int], Partial], n_lanes: int, n_threads: int) -> Sequence[Partial]:
    """``lane(k)`` for every k, on at most ``n_threads`` threads; results in the order of k."""
    # a lane that has lanes of its own works them off itself: all threads might be waiting for others otherwise
    if n_threads <= 1 or n_lanes <= 1 or current_thread().name.startswith(_NAME):
        return [lane(k) for k in range(n_lanes)]
    return list(_pool(n_threads).map(lane, range(n_lanes)))


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Threads that stay: to start them anew hundreds of times in a run costs a tenth of a second."""
    return ThreadPoolExecutor(n_threads, _NAME)
