"""Which lines of the log stand in its file alone, where a run has so many data sets that they would fill screens.

A line is marked when it is logged, ``log.info(text, extra=in_file(many))``; ``terminal`` leaves marked lines out
unless the whole log is wanted there.
"""

from __future__ import annotations

import logging

MANY_DATA_SETS = 20  # of more the terminal shows ranges and the worst
_MARK = "only_in_file"


def in_file(many: bool) -> dict[str, bool]:
    """Attributes for a line that only the log file has if ``many``."""
    return {_MARK: True} if many else {}


def is_only_in_file(record: logging.LogRecord) -> bool:
    """Whether the line is for the log file alone."""
    return bool(getattr(record, _MARK, False))
