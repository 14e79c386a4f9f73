"""Errors that all ranks learn of: what fails on one of them ends all, with one message that names rank and file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from braggscale.errors import CommandError, DataError, InputError, OutputError, UserError
from braggscale.ranks.communicator import Communicator, gather_texts

log = logging.getLogger(__name__)

Result = TypeVar("Result")
_KINDS: dict[str, type[UserError]] = {
    kind.__name__: kind for kind in (UserError, CommandError, InputError, DataError, OutputError)
}
_MOST_WARNINGS = 20


def together(ranks: Communicator, task: Callable[[], Result]) -> Result:
    """What ``task`` returns on this rank, if it has succeeded on all of them.

    Raises, on every rank, the error of the first rank on which it has failed.
    """
    result: list[Result] = []
    problem: UserError | None = None
    try:
        result.append(task())
    except UserError as error:
        problem = error
    except MemoryError:
        problem = DataError(
            "not enough memory for the rows of this rank: use more ranks or nodes, or keep rows in files with "
            "memory_limit="
        )
    except OSError as error:
        problem = InputError(f"{error.filename or 'a file'}: {error.strerror or error}")
    failed = ranks.allreduce(np.array([problem is not None], np.int64), "max")
    if not failed[0]:
        return result[0]
    text = "" if problem is None else f"{type(problem).__name__}|{problem}"
    for rank, found in enumerate(gather_texts(ranks, text)):
        if found:
            name, _, message = found.partition("|")
            raise _KINDS.get(name, UserError)(message if ranks.size == 1 else f"rank {rank}: {message}")
    raise AssertionError("a rank has failed without a message")


def log_of_all(ranks: Communicator, level: int, lines: list[str]) -> list[str]:
    """Log the lines of all ranks, in their order, on the first one; of many the first few, which are returned."""
    every = [line for text in gather_texts(ranks, "\n".join(lines)) for line in text.splitlines()]
    shown = every[:_MOST_WARNINGS]
    if len(every) > _MOST_WARNINGS:
        shown.append(f"... and {len(every) - _MOST_WARNINGS} more of this kind")
    for line in shown:
        log.log(level, line)
    return shown
