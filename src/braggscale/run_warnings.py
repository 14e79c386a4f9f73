"""Warnings of a run. Each has a code that stays the same while its sentence may be improved.

Programs look for codes in scale.json, people read sentences in the log. ``docs/guide/errors.md`` lists both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Topic of a warning. The meaning of a code never changes, and a code that is not used any more is not reused."""

    OTHER = "other"
    DATA_SET_LEFT_OUT = "data-set-left-out"
    DATA_SET_WITHOUT_SIGNAL = "data-set-without-signal"
    DATA_SET_ALONE = "data-set-alone"
    UNIT_CELL_DIFFERS = "unit-cell-differs"
    UNIT_CELL_CONTRADICTS = "unit-cell-contradicts-indices"
    IMPOSSIBLE_ROWS = "impossible-rows"
    REPEATED_ROWS = "repeated-rows"
    IMAGES_WITHOUT_SIGNAL = "images-without-signal"
    INTENSITIES_MISSING = "intensities-missing"
    COLUMN_MISSING = "column-missing"
    COLUMN_DROPPED = "column-dropped"
    BATCHES_RENUMBERED = "batches-renumbered"
    SCAN_POINTS = "scan-points"
    OPTION_WITHOUT_EFFECT = "option-without-effect"
    SELECTION_EXTENDED = "selection-extended"
    TOO_FEW_REPEATS = "too-few-repeats"
    NO_COMMON_SCALE = "no-common-scale"
    MATRIX_SINGULAR = "matrix-singular"
    PARAMETERS_UNDETERMINED = "parameters-undetermined"
    SCALE_TOO_SMALL = "scale-too-small"
    IMPLAUSIBLE_SCALE = "implausible-scale"
    LOW_MULTIPLICITY = "low-multiplicity"
    NO_STATISTICS = "no-statistics"
    NOT_SCALED_TOGETHER = "not-scaled-together"
    FREE_FLAGS_DIFFER = "free-flags-differ"
    PANELS_NOT_DESCRIBED = "panels-not-described"
    INDEXED_DIFFERENTLY = "indexed-differently"
    MEMORY_MAY_NOT_SUFFICE = "memory-may-not-suffice"


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning of the run.  ``data_set``: identifier of the data set, if the warning concerns a single one."""

    code: str
    text: str
    data_set: str | None = None


def warn(log: logging.Logger, code: Code, text: str, data_set: str | None = None) -> None:
    """Log a warning.  ``data_set``: identifier of the data set, if the warning concerns a single one."""
    log.warning("%s", text, extra={"code": code.value, "data_set": data_set})


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[Warned] = []

    def emit(self, record: logging.LogRecord) -> None:
        code = getattr(record, "code", Code.OTHER.value)
        self.heard.append(Warned(code, record.getMessage(), getattr(record, "data_set", None)))


@contextmanager
def warnings_heard() -> Iterator[list[Warned]]:
    """The warnings that are given while the block runs, in their order; the list grows."""
    logger, listener = logging.getLogger("braggscale"), _Listener()
    logger.addHandler(listener)
    try:
        yield listener.heard
    finally:
        logger.removeHandler(listener)
