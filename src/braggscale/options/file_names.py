"""Names of input files as arguments: patterns, and lists in a file.

Shells expand patterns, but not those in quotes, and not on every system.
"""

from __future__ import annotations

import glob
import os

from braggscale.errors import CommandError

_MOST_LIST = 1 << 24  # bytes
_DEEPEST = 5


def file_names(argument: str, depth: int = 0) -> list[str]:
    """The files that an argument names: itself, those that fit a pattern (* ? []), or those in a list, @list.txt.

    A list has one name or pattern in a line; lines that are empty or begin with # do not count. Names in it are
    relative to the folder of the list.
    Raises CommandError for a pattern or list without a file, for a list that cannot be read, and for a name that no
    file can have.
    """
    if "\0" in argument:
        raise CommandError(f"{argument}: names of files cannot contain zero bytes")
    if os.path.exists(argument):
        return [argument]
    if argument.startswith("@"):
        return _listed(argument, depth)
    if glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True))
        if not matches:
            raise CommandError(f"{argument}: no file fits this pattern")
        return matches
    return [argument]


def _listed(argument: str, depth: int) -> list[str]:
    path = argument[1:]
    if depth >= _DEEPEST:
        raise CommandError(f"{argument}: lists that name each other")
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read(_MOST_LIST).splitlines()
    except FileNotFoundError:
        raise CommandError(f"{argument}: there is no list of files {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{argument}: the list of files cannot be read: {error}") from None
    names = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not names:
        raise CommandError(f"{argument}: the list of files is empty")
    folder = os.path.dirname(path)
    listed = []
    for name in names:
        at = "@" if name.startswith("@") else ""
        full = at + os.path.join(folder, name.removeprefix("@"))
        listed += file_names(full, depth + 1)
    return listed
