"""Restricts linear algebra to one thread during a run.

With several threads, the order in which BLAS adds numbers depends on their number, so results would depend on the
machine; and its threads would compete with ours for the same processors.

Most BLAS libraries have one number of threads for the whole process. It is set when the first run begins and restored
when the last one ends. So the calling process keeps its own number, and a run that ends does not disturb another one.
Libraries built with OpenMP have a number for each thread that calls them; there every thread of a run sets its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = Lock()
_runs = 0
_held: list[tuple[Any, int]] = []  # libraries with one number for the process, and that number before the first run
_names: set[str] = set()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, every BLAS library of the process works on one thread."""
    global _runs
    with _lock:
        _runs += 1
        before = _limit()
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            for library, number in before:
                _set(library, number)
            while _runs == 0 and _held:
                _set(*_held.pop())
            if _runs == 0:
                _names.clear()


def hold_new_libraries() -> None:
    """To be called in a run by each of its threads, and after the import of a package that brings its own BLAS."""
    with _lock:
        if _runs:
            _limit()


def _limit() -> list[tuple[Any, int]]:
    """Set all libraries to one thread; those whose number belongs to this thread are returned with it."""
    of_this_thread = []
    for library in ThreadpoolController().lib_controllers:
        if library.user_api != "blas":
            continue
        number = library.get_num_threads()
        if getattr(library, "threading_layer", "") == "openmp":
            of_this_thread.append((library, number))
        elif library.filepath not in _names:
            _names.add(library.filepath)
            _held.append((library, number))
        _set(library, 1)
    return of_this_thread


def _set(library: Any, number: int) -> None:
    # threadpoolctl allows only one Python thread to change a number that belongs to the process, until this thread
    # ends. Here the lock and the count of runs protect the number, and a run may be in any thread.
    setter = getattr(library, "_real_set_num_threads", library.set_num_threads)
    setter(number)
