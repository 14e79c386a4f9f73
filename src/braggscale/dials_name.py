"""The name dials.scale for this program: a small script in a folder, for programs that call it by that name."""

from __future__ import annotations

import os
import shlex
import sys

from braggscale.arguments import AS_DIALS, DIALS_NAME
from braggscale.errors import CommandError, OutputError
from braggscale.io.atomic_files import write_alone

_MARK = "# made by scale install-dials-name"


def install(folder: str) -> str:
    """Write the script ``dials.scale`` into a folder that exists; returns its path.

    The script starts the present Python from any folder. An earlier script of this function is replaced; any other
    file of that name is left alone.  Raises CommandError if there is such a file or no such folder, OutputError if
    writing fails.
    """
    path = os.path.join(os.path.abspath(folder), DIALS_NAME)
    if not os.path.isdir(folder):
        raise CommandError(f"{folder}: there is no such folder; make it first")
    if os.path.lexists(path) and not _is_ours(path):
        raise CommandError(f"{path} exists and is another program; choose another folder")
    # -P: modules are not imported from the working folder, which may have files with the names of modules
    text = f'#!/bin/sh\n{_MARK}\nexec {shlex.quote(sys.executable)} -P -m braggscale {AS_DIALS} "$@"\n'
    write_alone(path, text.encode())
    try:
        os.chmod(path, 0o755)
    except OSError as error:
        raise OutputError(f"{path} cannot be made executable: {error.strerror or error}") from error
    return path


def _is_ours(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return _MARK in file.read(1000)
    except OSError:
        return False
