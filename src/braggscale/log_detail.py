"""Lines of the log that are written to the log file only, because a run of many data sets has too many of them.

A line is marked when it is logged, ``log.info(text, extra=in_file(many))``. ``terminal`` does not show marked lines
unless the whole log is wanted there.
"""

from __future__ import annotations

import logging

MANY_DATA_SETS = 20  # if there are more, the terminal shows only ranges and the worst data sets
_MARK = "only_in_file"


def in_file(many: bool) -> dict[str, bool]:
    """Attributes for a line that only the log file has if ``many``."""
    return {_MARK: True} if many else {}


def is_only_in_file(record: logging.LogRecord) -> bool:
    """Whether the line is for the log file alone."""
    return bool(getattr(record, _MARK, False))
