"""Settings of the linear algebra library, which it reads from the environment when it is loaded."""

from __future__ import annotations

import os
from contextlib import suppress

# One thread: sums in another order would make results depend on the number of cores.
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# What OpenBLAS demands of a processor for its kernels with vectors of 512 bits.
WIDE = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


def prepare() -> None:
    """To be called before numpy is imported. What is set already stays."""
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    # a processor that is newer than OpenBLAS gets kernels that all have, which take half as long again
    if features() >= WIDE:
        os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")


def features() -> set[str]:
    """Of the processor, as Linux names them; empty elsewhere."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("flags"):
                return set(line.split())
    return set()
