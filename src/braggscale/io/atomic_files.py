"""Puts output files in place: each is written beside its target first, then all are renamed.

A run that fails leaves the files of the previous run unchanged and no incomplete files beside them.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO

from braggscale.errors import CommandError, OutputError

# Temporary files of this process that are neither renamed nor removed yet.
_MADE: set[str] = set()
# .NAME.HOST-PROCESS-NUMBER.tmp
_TEMPORARY = re.compile(r"\.(.+)\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp")
# Real paths of inputs, which only the scaled experiments and reflections may replace; see ``protected``.
_INPUTS: contextvars.ContextVar[frozenset[str]] = contextvars.ContextVar("inputs", default=frozenset())
# Whether files and folders are forced onto the disk; see ``durable``.
_DURABLE: contextvars.ContextVar[bool] = contextvars.ContextVar("durable", default=False)


@contextlib.contextmanager
def durable(wanted: bool) -> Iterator[None]:
    """Inside this context (if ``wanted``) even a power failure leaves either complete old or complete new files.

    Files are forced onto the disk before they are renamed, and their folders afterwards, which takes time.
    """
    token = _DURABLE.set(wanted)
    try:
        yield
    finally:
        _DURABLE.reset(token)


@contextlib.contextmanager
def protected(inputs: Iterable[str]) -> Iterator[None]:
    """Inside this context no output that is written alone (an export, a log) may replace one of these files."""
    token = _INPUTS.set(frozenset(os.path.realpath(path) for path in inputs))
    try:
        yield
    finally:
        _INPUTS.reset(token)


def check_writable(paths: Iterable[str]) -> None:
    """Raises CommandError unless a file can be made at each path. Creates and removes an empty file to find out.

    Temporary files of the same outputs that a killed run has left are removed.
    """
    for path in paths:
        target = os.path.realpath(path)
        folder = os.path.dirname(target)
        if os.path.isdir(target):
            raise CommandError(f"cannot write {path}: it is a folder")
        if not os.path.isdir(folder):
            raise CommandError(f"cannot write {path}: the folder {folder} does not exist")
        if os.path.exists(target) and not os.path.isfile(target):
            raise CommandError(f"cannot write {path}: it is not an ordinary file")
        temporary = _beside(target)
        try:
            open(temporary, "x+b").close()
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror or error}") from None
        finally:
            discard([temporary])
        _remove_stale(target)


def write_beside(target: str, write: Callable[[IO[bytes]], None]) -> str:
    """Makes a file beside ``target`` and lets ``write`` fill it; returns its path, for ``commit``.

    Raises OutputError if that fails, for example on a full disk; the file is removed then.
    """
    temporary = _beside(os.path.realpath(target))
    try:
        # with the permissions that a new file gets by default
        with open(temporary, "x+b") as file:
            write(file)
            file.flush()
            if _DURABLE.get():
                os.fsync(file.fileno())
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
        """Write the text to an open file."""
        file.write(text.encode())

    return write_beside(target, write)


def write_alone(target: str, content: bytes) -> None:
    """Write a file that does not belong to a set: first beside its target, then rename it.

    Raises OutputError if that fails, or if it would replace an input; an existing file is then unchanged.
    """
    if os.path.realpath(target) in _INPUTS.get():
        raise OutputError(f"{target} is an input; give the output another name")

    def write(file: IO[bytes]) -> None:
        """Write the content to an open file."""
        file.write(content)

    commit([(write_beside(target, write), target)])


@contextlib.contextmanager
def pending() -> Iterator[list[tuple[str, str]]]:
    """A list for pairs (temporary, target); temporary files that still exist at the end are removed."""
    pairs: list[tuple[str, str]] = []
    try:
        yield pairs
    finally:
        discard([temporary for temporary, _ in pairs])


def commit(pairs: Sequence[tuple[str, str]], keep: Mapping[str, str] | None = None) -> None:
    """Renames each temporary file to its target, in the given order; all or none, even if it is interrupted.

    The experiments are renamed last, so that new experiments never exist without the table that belongs to them.
    ``keep``: from target to the name under which the file that it replaces is kept.
    Raises OutputError if a rename fails; files already renamed are put back, all temporaries removed.
    """
    begun: list[tuple[str, str, str | None]] = []
    spare: list[str] = []
    names = {os.path.realpath(path): name for path, name in (keep or {}).items()}
    try:
        for temporary, path in pairs:
            target = os.path.realpath(path)
            old = _second_name(target, spare)
            if target in names and (kept := _second_name(target, spare)) is not None:
                os.replace(kept, names[target])
            # recorded before it is done, because an interrupt may come between any two steps
            begun.append((temporary, target, old))
            os.replace(temporary, target)
        _sync_folders(target for _, target, _ in begun)
    except BaseException as error:
        for temporary, target, old in reversed(begun):
            if os.path.exists(temporary):
                continue  # not renamed
            with contextlib.suppress(OSError):
                if old is None:
                    os.unlink(target)
                else:
                    os.replace(old, target)
        if not isinstance(error, OSError):
            raise
        raise OutputError(
            f"putting {pairs[max(len(begun) - 1, 0)][1]} in place failed: {error.strerror or error}; "
            "the old files are unchanged"
        ) from error
    finally:
        discard([temporary for temporary, _ in pairs])
        discard(spare)


def discard(paths: Iterable[str | None]) -> None:
    """Removes files, if they exist."""
    for path in paths:
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)
            _MADE.discard(path)


def discard_remaining() -> None:
    """Removes every temporary file of this process that is still there."""
    discard(list(_MADE))


def _beside(target: str) -> str:
    """A new name in the target's folder, which contains computer and process."""
    folder, name = os.path.split(target)
    path = os.path.join(folder, f".{name[:150]}.{temporary_ending()}-{secrets.token_hex(4)}.tmp")
    _MADE.add(path)
    return path


def temporary_ending() -> str:
    """What names of temporary files of this process have in common: computer and process."""
    return f"{_host()}-{os.getpid()}"


def _host() -> str:
    """A number for this computer, because other computers that share the folder have other process numbers."""
    return f"{zlib.crc32(os.uname().nodename.encode() if hasattr(os, 'uname') else b''):08x}"


def _remove_stale(target: str) -> None:
    """Removes temporary files of this target whose process has ended without removing them."""
    folder, name = os.path.split(target)
    with contextlib.suppress(OSError):
        for other in os.listdir(folder):
            match = _TEMPORARY.fullmatch(other)
            if match and match[1] == name[:150] and match[2] == _host() and not _runs(int(match[3])):
                discard([os.path.join(folder, other)])


def _runs(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _second_name(target: str, spare: list[str]) -> str | None:
    """A second name for the file at ``target``, so that it can be put back; None if there is no such file.

    ``spare``: the name is appended to it before the file is made.
    """
    if not os.path.exists(target):
        return None
    name = _beside(target)
    spare.append(name)
    try:
        os.link(target, name)
    except OSError:
        # Not every file system has hard links.
        shutil.copyfile(target, name)
    return name


def _sync_folders(targets: Iterable[str]) -> None:
    """Forces the names of files onto the disk; systems that cannot open folders do this by themselves."""
    if not _DURABLE.get():
        return
    for folder in {os.path.dirname(target) for target in targets}:
        with contextlib.suppress(PermissionError, IsADirectoryError):
            number = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)
