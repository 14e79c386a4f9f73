"""Runs a kernel over blocks of whole groups and adds the results; the sum is the same for any number of threads.

The blocks are divided among a fixed number of lanes, which depends on the data alone. A lane adds its blocks in order;
the sums of the lanes are then added in order. Threads only decide when a lane is computed, so they change no bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from typing import TypeVar

from braggscale.numerics.blas import hold_new_libraries, one_blas_thread

Partial = TypeVar("Partial")
Other = TypeVar("Other")


def available_processors() -> int:
    """Processors that this process may use: affinity and the cgroup's quota, whichever is less."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not available on every system
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


_pool: ContextVar[ThreadPoolExecutor | None] = ContextVar("pool", default=None)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Inside, ``run_in_threads`` works on ``n`` threads, and linear algebra (BLAS) on one.

    The pool exists for the whole run and belongs to the thread that made it; two runs in two threads of one process
    have a pool each. No result depends on ``n``. BLAS is limited to one thread because its order of addition would
    change.
    """
    with one_blas_thread(), ThreadPoolExecutor(n, initializer=hold_new_libraries) if n > 1 else nullcontext() as pool:
        token = _pool.set(pool)
        try:
            yield
        finally:
            _pool.reset(token)


def run_in_threads(part: Callable[[int], Partial], n_parts: int) -> Sequence[Partial]:
    """``part(k)`` for every k, on the threads of the run; results in the order of k.

    If a part itself calls this function, its parts are computed one after the other in the same thread. Otherwise
    all threads of the pool might wait for each other.
    """
    return list(results_in_order(part, n_parts))


def results_in_order(part: Callable[[int], Partial], n_parts: int) -> Iterator[Partial]:
    """As ``run_in_threads``, one result after the other, so that large ones need not all be in memory at once."""
    pool = _pool.get()
    return map(part, range(n_parts)) if pool is None or n_parts <= 1 else pool.map(part, range(n_parts))


def side_by_side(first: Callable[[], Partial], second: Callable[[], Other]) -> tuple[Partial, Other]:
    """The results of two functions that do not depend on each other, ``second`` on another thread of the run.

    It should neither write files nor log: an interruption reaches ``first`` alone, and the order of lines must not
    depend on the time.  Raises what either of them raises, when both have ended.
    """
    pool = _pool.get()
    if pool is None:
        return first(), second()
    context = copy_context()
    context.run(_pool.set, None)  # parts of the second are computed in its own thread
    other = pool.submit(context.run, second)
    try:
        result = first()
    finally:
        wait([other])
    return result, other.result()
