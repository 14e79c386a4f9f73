"""One child process: how long, how much processor, how much memory."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

LAUNCHER = Path(__file__).with_name("launcher.py")


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
    reading, writing = os.pipe()
    with open(reading, "rb") as report, (folder / "output.txt").open("wb") as out:
        begin = perf_counter()
        launched = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), str(writing), *map(str, command)], cwd=folder, stdout=out,
            stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}, pass_fds=(writing,),
            start_new_session=True,
        )  # fmt: skip
        os.close(writing)
        try:
            launched.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(launched.pid, signal.SIGKILL)  # with everything that it started: the session is its own
            launched.wait()
            return Run(perf_counter() - begin, math.nan, math.nan, None)
        words = report.read().split()
    if len(words) != 4:
        raise RuntimeError(f"{command[0]} could not be started: {(folder / 'output.txt').read_text()[-300:]}")
    unit = 1e-6 if sys.platform == "darwin" else 1e-3
    return Run(float(words[0]), float(words[1]), float(words[2]) * unit, int(words[3]))


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
