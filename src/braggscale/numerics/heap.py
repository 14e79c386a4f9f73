"""How the C library keeps memory: one heap that grows and is given back after each stage.

A run makes and drops arrays of millions of numbers in a few threads. Left to itself, glibc gives each thread a heap of
its own and keeps what was freed in all of them: at a million reflections a quarter of a gigabyte, and a second in which
the system hands out the same pages again and again. Other C libraries have nothing to set; nothing happens then.
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
        library.mallopt(_MMAP_MAX, 0)  # large arrays, too: a fresh page costs more than to fill it


def give_back() -> None:
    """Freed memory goes back to the system."""
    import ctypes

    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
