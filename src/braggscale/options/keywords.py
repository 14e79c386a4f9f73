"""Options as keyword arguments of Python, under the names that the command has.

A dot in a name is written as two underscores, or the part after it stands in a mapping: ``physical__lmax=6`` and
``physical={"lmax": 6}`` are ``physical.lmax=6``. The values are treated by the same code as words of a command
line. So names may be shortened in the same way, and the error messages are the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from braggscale.errors import CommandError
from braggscale.options.assignments import Settings, settle
from braggscale.options.phil import Assignment, Definitions


def assignments_of(keywords: Mapping[str, Any], prefix: str = "") -> list[Assignment]:
    """The assignments that keyword arguments mean, in their order.

    A value is a text, a number, True, False, None, or a list of these; a list of lists sets an option that can be
    repeated once for each.  Raises CommandError for any other type.
    """
    assignments: list[Assignment] = []
    for keyword, value in keywords.items():
        name = prefix + keyword.replace("__", ".")
        if isinstance(value, Mapping):
            assignments += assignments_of(value, f"{name}.")
        elif _is_list(value) and len(value) and all(map(_is_list, value)):
            assignments += [_assignment(name, entry) for entry in value]
        else:
            assignments.append(_assignment(name, value))
    return assignments


def settled(assignments: Iterable[Assignment], master: Definitions | None = None) -> Settings:
    """The options after these assignments; later ones replace earlier ones.  ``master``: allowed options, None for all.

    Raises CommandError with all errors, one line each, in the words of the command.
    """
    settings, problems = settle([(made, True) for made in assignments], master)
    if problems:
        raise CommandError("\n".join(problems))
    return settings


def _is_list(value: Any) -> bool:
    """Lists, tuples and arrays of numbers, but no text."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) or getattr(value, "ndim", 0) > 0


def _assignment(name: str, value: Any) -> Assignment:
    """One assignment; its origin is the argument that a command line would have."""
    text = (",".join(_word(name, entry) for entry in value) or "None") if _is_list(value) else _word(name, value)
    return Assignment(name, ((text, isinstance(value, os.PathLike)),), f"{name}={text}")


def _word(name: str, value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    if type(value).__name__ in ("bool", "bool_"):  # numpy's
        return str(bool(value))
    raise CommandError(
        f"{name}: a {type(value).__name__} is not a value of an option; give a text, a number, True, False, None, or a "
        "list of these"
    )
