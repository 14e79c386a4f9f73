"""Puts output files in place: each is written beside its target first, then all are renamed.

A run that fails leaves the files of the previous run as they were, and nothing half-written beside them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO

from braggscale.errors import CommandError, OutputError


def check_writable(paths: Iterable[str]) -> None:
    """Raises CommandError unless a file can be made at each path. Creates and removes an empty file to find out."""
    for path in paths:
        target = os.path.realpath(path)
        folder = os.path.dirname(target)
        if os.path.isdir(target):
            raise CommandError(f"cannot write {path}: it is a folder")
        if not os.path.isdir(folder):
            raise CommandError(f"cannot write {path}: the folder {folder} does not exist")
        if os.path.exists(target) and not os.path.isfile(target):
            raise CommandError(f"cannot write {path}: it is not an ordinary file")
        try:
            file, temporary = _create(target)
            file.close()
            os.unlink(temporary)
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror or error}") from None


def write_beside(target: str, write: Callable[[IO[bytes]], None]) -> str:
    """Makes a file beside ``target`` and lets ``write`` fill it; returns its path, for ``commit``.

    Raises OutputError if that fails, for example on a full disk; the file is removed then.
    """
    temporary = None
    try:
        file, temporary = _create(os.path.realpath(target))
        with file:
            write(file)
            file.flush()
    except OSError as error:
        discard([temporary])
        raise OutputError(f"writing {target} failed: {error.strerror or error}; nothing was changed") from error
    except BaseException:
        discard([temporary])
        raise
    return temporary


def write_text(target: str, text: str) -> str:
    """As ``write_beside``, for a text in UTF-8."""

    def write(file: IO[bytes]) -> None:
        file.write(text.encode())

    return write_beside(target, write)


def write_alone(target: str, content: bytes) -> None:
    """A file that belongs to no other: beside its target first, then in place.

    Raises OutputError if that fails; what stood there before is unchanged then.
    """

    def write(file: IO[bytes]) -> None:
        file.write(content)

    commit([(write_beside(target, write), target)])


@contextlib.contextmanager
def pending() -> Iterator[list[tuple[str, str]]]:
    """A list to collect (temporary, target) in; temporaries that are still there at the end are removed."""
    pairs: list[tuple[str, str]] = []
    try:
        yield pairs
    finally:
        discard([temporary for temporary, _ in pairs])


def commit(pairs: Sequence[tuple[str, str]], keep: Mapping[str, str] | None = None) -> None:
    """Renames each temporary file to its target, in the given order; all or nothing.

    The experiments go last: whoever finds new experiments finds the table that belongs to them.
    ``keep``: from target to the name under which the file that it replaces shall stay.
    Raises OutputError if a rename fails; files already renamed are put back, all temporaries removed.
    """
    done: list[tuple[str, str | None]] = []
    spare: list[str | None] = []
    names = {os.path.realpath(path): name for path, name in (keep or {}).items()}
    try:
        for temporary, path in pairs:
            target = os.path.realpath(path)
            old = _second_name(target)
            spare.append(old)
            if target in names and (kept := _second_name(target)) is not None:
                spare.append(kept)
                os.replace(kept, names[target])
            os.replace(temporary, target)
            done.append((target, old))
    except OSError as error:
        for target, old in reversed(done):
            with contextlib.suppress(OSError):
                if old is None:
                    os.unlink(target)
                else:
                    os.replace(old, target)
        raise OutputError(
            f"putting {pairs[len(done)][1]} in place failed: {error.strerror or error}; the old files are unchanged"
        ) from error
    finally:
        discard([temporary for temporary, _ in pairs])
        discard(spare)


def discard(paths: Iterable[str | None]) -> None:
    """Removes files that may or may not be there."""
    for path in paths:
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _beside(target: str) -> str:
    """A fresh name in the target's folder."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")


def _create(target: str) -> tuple[IO[bytes], str]:
    """A new file beside the target, with the rights that a new file gets here."""
    path = _beside(target)
    return open(path, "x+b"), path


def _second_name(target: str) -> str | None:
    """A second name for the file at ``target``, so that it can be put back; None if there is no such file."""
    if not os.path.exists(target):
        return None
    name = _beside(target)
    try:
        os.link(target, name)
    except OSError:
        # Not every file system has hard links.
        shutil.copyfile(target, name)
    return name
