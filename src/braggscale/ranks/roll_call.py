"""Ranks that wait for long ask whether the computers of the others are still there.

A rank that has waited for FIRST_CALL seconds leaves a file NOTE.call in the output folder, which all ranks see. The
watcher of every rank (watcher.py) then leaves a file NOTE.RANK. After ANSWERS seconds the rank that has called looks
whose file is missing: that computer has failed, or no longer reaches the folder. While ranks work, nothing is written.
"""

from __future__ import annotations

import contextlib
import os

# Seconds of waiting before the first call, between two calls, and for the answers.
FIRST_CALL, NEXT_CALL, ANSWERS = 60.0, 300.0, 60.0


class RollCall:
    """The calls of one rank while it waits.  ``note``: as for the watcher.  ``size``: number of ranks."""

    def __init__(self, note: str, size: int) -> None:
        self._call, self._note, self._size = f"{note}.call", note, size
        self._due, self._asked = FIRST_CALL, False

    def missing(self, waited: float) -> list[int]:
        """Ranks that have not answered a call.  ``waited``: seconds that this rank has waited; call it often."""
        if waited < self._due:
            return []
        if not self._asked:
            # one rank calls for all that wait
            self._asked = _created(self._call)
            self._due = waited + (ANSWERS if self._asked else NEXT_CALL)
            return []
        gone = [rank for rank in range(self._size) if not os.path.exists(f"{self._note}.{rank}")]
        self.end()
        self._due = waited + NEXT_CALL
        return gone

    def end(self) -> None:
        """The rank no longer waits."""
        if self._asked:
            self._asked = False
            with contextlib.suppress(OSError):
                os.unlink(self._call)


def _created(path: str) -> bool:
    """Whether the file could be made and was not there."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except OSError:
        return False
    return True
