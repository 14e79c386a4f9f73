"""One child process: how long, how much processor, how much memory."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter


@dataclass(frozen=True, slots=True)
class Run:
    """``wall``, ``cpu`` (user and system, with grandchildren that were waited for): s.  ``peak``: resident, MB.

    ``status``: exit status, negative for a signal; None if it was stopped after ``limit`` seconds.
    """

    wall: float
    cpu: float
    peak: float
    status: int | None

    @property
    def done(self) -> bool:
        """Whether it ended, and well."""
        return self.status == 0


def run(
    command: Sequence[str | Path],
    folder: Path,
    limit: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a command in ``folder``, made if need be; its output goes to ``output.txt`` there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("wb") as out:
        begin = perf_counter()
        child = subprocess.Popen(
            [str(word) for word in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env={**os.environ, **(environment or {})}, start_new_session=True,
        )  # fmt: skip
        # a session of its own: what it started is stopped with it
        stop = threading.Timer(limit, os.killpg, (child.pid, signal.SIGKILL)) if limit else None
        if stop:
            stop.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall = perf_counter() - begin
        if stop:
            stop.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
    ended = limit is None or wall < limit or child.returncode != -signal.SIGKILL
    unit = 1e-6 if os.uname().sysname == "Darwin" else 1e-3
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, child.returncode if ended else None)


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of repeated measurements."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(median(values), min(values), max(values), len(values))

    def text(self, digits: int = 2) -> str:
        """Median, and the range where there is one."""
        middle = f"{self.median:.{digits}f}"
        return middle if self.n == 1 else f"{middle} ({self.low:.{digits}f}-{self.high:.{digits}f})"
