"""Measures the time of each stage of a run, and returns freed memory to the system at its end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter

from braggscale.numerics.heap import give_back

log = logging.getLogger(__name__)
# Receives the name of each stage as it begins; has a handler only if a terminal shows the progress.
STAGE = "braggscale.stage"
# When the command began (perf_counter), so that imports and compiling count; None for programs that use the library.
BEGAN: ContextVar[float | None] = ContextVar("BEGAN", default=None)


@dataclass(slots=True)
class Clock:
    """Seconds spent in each stage, in the order in which they began."""

    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_command(cls) -> Clock:
        """A clock whose first stage, the start, is the time since the command began."""
        began = BEGAN.get()
        return cls() if began is None else cls({"start": perf_counter() - began})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``."""
        logging.getLogger(STAGE).debug(name)
        begin = perf_counter()
        try:
            yield
        finally:
            give_back()
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - begin
            log.debug(f"{name}: {self.seconds[name]:.3f} s")


def since_the_command_began() -> float | None:
    """Wall time of the command up to now, seconds; None if a program uses the library."""
    began = BEGAN.get()
    return None if began is None else perf_counter() - began
