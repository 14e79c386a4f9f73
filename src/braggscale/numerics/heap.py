"""Settings of the C library for memory: one heap, whose free part is returned to the system after each stage.

A run allocates and frees arrays of millions of numbers in several threads. By default glibc gives each thread a heap
of its own and keeps freed memory in all of them. For a million reflections this costs a quarter of a gigabyte, and a
second for mapping the same pages again and again. Other C libraries have no such settings; for them nothing is done.
"""

from __future__ import annotations

from contextlib import suppress

# Numbers of malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def one_heap() -> None:
    """To be called before the first thread: one heap for all threads, which does not shrink by itself."""
    import ctypes

    with suppress(AttributeError, OSError, TypeError):  # the last on Windows
        library = ctypes.CDLL(None)
        library.mallopt(_ARENA_MAX, 1)
        library.mallopt(_TRIM_THRESHOLD, 1 << 30)
        library.mallopt(_MMAP_MAX, 0)  # large arrays, too, because mapping a new page takes longer than filling it


def give_back() -> None:
    """Return freed memory to the system."""
    import ctypes

    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
