"""How much memory this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator

NO_LIMIT = 1 << 62
_PROCESS, _GROUPS = "/proc/self/cgroup", "/sys/fs/cgroup"


def usable_memory() -> int:
    """Bytes: what the machine has, the limits of the process's control groups, or its own limit, whichever is least."""
    return min(_installed(), *_of_groups(), _of_process())


def _installed() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not available on every system
        return NO_LIMIT


def _of_process() -> int:
    """The limit of its address space, as ``ulimit -v`` and some batch systems set it."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        return limit if limit != resource.RLIM_INFINITY else NO_LIMIT
    except (ImportError, ValueError, OSError):
        return NO_LIMIT


def _of_groups() -> Iterator[int]:
    """Limits of the control groups of the process and of those around them; version 2, and version 1."""
    yield NO_LIMIT
    for base, group, name in _places():
        while True:
            limit = _number(os.path.join(base, group.lstrip("/"), name))
            if limit is not None:
                yield limit
            if group in ("", "/"):
                break
            group = os.path.dirname(group)


def _places() -> list[tuple[str, str, str]]:
    """Folder of a hierarchy, the group of this process in it, and the name of the file with the limit."""
    try:
        with open(_PROCESS, encoding="utf-8", errors="replace") as file:
            words = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return []
    found = []
    for number, kinds, group in (one for one in words if len(one) == 3):
        if number == "0" and not kinds:
            found.append((_GROUPS, group, "memory.max"))
        elif "memory" in kinds.split(","):
            found.append((os.path.join(_GROUPS, "memory"), group, "memory.limit_in_bytes"))
    return found


def _number(path: str) -> int | None:
    """The number in a file; None if there is no such file, or a word instead."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read(40))
    except (OSError, ValueError):
        return None
