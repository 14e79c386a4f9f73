"""The file that helps to find the cause of an internal error: traceback and shapes of variables, but no data.

Nothing but the standard library is imported here: the error may be that another package cannot be imported.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
import traceback
from contextlib import suppress
from dataclasses import fields, is_dataclass
from types import TracebackType
from typing import Any

from braggscale import __version__

CRASH_FILE = "scale.crash"
_MOST_TEXT = 60
_MOST_FIELDS = 40


def write_crash_file(error: BaseException, argv: tuple[str, ...]) -> bool:
    """Write version, command, traceback and the shapes of the variables of each call to ``scale.crash``.

    Returns whether the file could be written; an existing one is replaced.
    """
    numpy = getattr(sys.modules.get("numpy"), "__version__", "not loaded")
    lines = [
        f"braggscale {__version__}, Python {platform.python_version()}, numpy {numpy}, {platform.platform()}",
        shlex.join(["scale", *argv]),
        "",
        *"".join(traceback.format_exception(error)).splitlines(),
        "",
    ]
    lines += _variables(error.__traceback__)
    text = "\n".join(lines) + "\n"
    with suppress(OSError):
        # never write through a symbolic link, which another user may have made
        with suppress(FileNotFoundError):
            os.unlink(CRASH_FILE)
        with open(CRASH_FILE, "x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        return True
    return False


def _variables(trace: TracebackType | None) -> list[str]:
    """Names and shapes of the variables of each call, the innermost last."""
    lines = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if "braggscale" in code.co_filename:
            lines.append(f"{os.path.basename(code.co_filename)}:{trace.tb_lineno} {code.co_name}")
            lines += [f"    {name}: {shape_of(value)}" for name, value in trace.tb_frame.f_locals.items()]
        trace = trace.tb_next
    return lines


def shape_of(value: Any) -> str:
    """Type, shape and length of a value, without its content; only plain numbers are shown."""
    name = type(value).__name__
    if (type(value).__module__, name) == ("numpy", "ndarray"):
        return f"array {value.shape} {value.dtype}"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)[:_MOST_TEXT]
    if isinstance(value, str | bytes):
        return f"{name} of {len(value)}"
    if is_dataclass(value) and not isinstance(value, type):
        with suppress(Exception):
            inside = [f"{f.name}: {_short(getattr(value, f.name))}" for f in fields(value)[:_MOST_FIELDS]]
            return f"{name}({', '.join(inside)})"
    with suppress(Exception):
        return f"{name} of {len(value)}"
    return name


def _short(value: Any) -> str:
    if is_dataclass(value):
        return type(value).__name__
    return shape_of(value)
