"""The format of a file, recognised by its first bytes and never by its name."""

from __future__ import annotations

import io
import mmap
import os
import re
import stat
import zlib
from dataclasses import dataclass
from enum import Enum

from braggscale.errors import CommandError, InputError
from braggscale.io.readers import Reader, reader_of

# Largest ratio of expanded to compressed size that is accepted; tables compress by less than a factor of 3.
GZIP_RATIO = 200
# Expanded files below this size are accepted with any ratio (bytes).
GZIP_SMALL = 1 << 24

_CHUNK = 1 << 20


class Kind(Enum):
    """Kinds of input file; the value is the name in messages."""

    MSGPACK = "reflection table"
    PICKLE = "reflection table in the old pickle form"
    HDF5 = "reflection table in HDF5"
    EXPERIMENTS = "experiment list"
    OTHER = "reflections of another program"


_EXPECTED = (
    "expected a reflection table (.refl, .pickle, .h5), an experiment list (.expt, .json), or unmerged reflections: "
    "MTZ, XDS, HKLF 4, CrystFEL stream, SCALEPACK"
)


@dataclass(frozen=True, slots=True)
class Source:
    """An opened file. ``data``: its bytes, expanded if it was compressed; a mapping of the file otherwise.

    ``reader``: the reader for it if its kind is OTHER.
    """

    path: str
    kind: Kind
    data: memoryview
    compressed: bool
    reader: Reader | None = None


def kind_of(head: bytes | memoryview) -> Kind | None:
    """The kind of a file from its first bytes (a few hundred are enough); None if it is none of them."""
    head = bytes(head[:512])
    if head[:1] == b"\x93" and head[1:2] in (b"\xbb", b"\xd9", b"\xda", b"\xc4", b"\xc5"):
        return Kind.MSGPACK
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return Kind.PICKLE
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return Kind.HDF5
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        return Kind.EXPERIMENTS
    return Kind.OTHER if reader_of(head) is not None else None


def open_source(path: str) -> Source:
    """Opens a file, expands it if it is compressed by gzip, and recognises its kind.

    Raises CommandError if the path is missing or cannot be read, InputError if the file is of no known kind.
    """
    data = _read(path)
    compressed = bytes(data[:2]) == b"\x1f\x8b"
    if compressed:
        data = _expand(path, data)
    if len(data) == 0:
        raise InputError(f"{path}: the file is empty; {_EXPECTED}")
    kind = kind_of(data)
    if kind is None:
        raise InputError(f"{path}: unknown kind of file (it starts with {_show(data)}); {_EXPECTED}")
    reader = reader_of(bytes(data[:512])) if kind is Kind.OTHER else None
    return Source(path, kind, data, compressed, reader)


def available_memory() -> int:
    """Available memory, bytes; a large number if the system does not say how much it is."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 62


def _read(path: str) -> memoryview:
    """The file's bytes as a mapping."""
    try:
        if os.path.isdir(path):
            raise CommandError(f"{path} is a folder; name the experiment and reflection files in it")
        if stat.S_ISCHR(os.stat(path).st_mode) or stat.S_ISBLK(os.stat(path).st_mode):
            raise CommandError(f"{path} is a device; name a file")
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                # Empty, or a pipe, which cannot be mapped, and need not end.
                limit = available_memory() // 4
                content = bytearray()
                while piece := file.read(_CHUNK):  # a single read would allocate the whole limit
                    content += piece
                    if len(content) > limit:
                        raise CommandError(f"{path} does not end within {limit} bytes")
                return memoryview(content).toreadonly()
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise CommandError(f"{path}: no such file{_newer_name(path)}") from None
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror or error}") from None


def _newer_name(path: str) -> str:
    """A hint if the file exists under its present name: scaled.expt for scaled_experiments.json, for example."""
    for pattern, today in ((r"_experiments\.json$", ".expt"), (r"\.json$", ".expt"), (r"\.pickle$", ".refl")):
        other, n = re.subn(pattern, today, path)
        if n and os.path.exists(other):
            return f", but {other} exists (the name used today); give that one"
    return ""


def _expand(path: str, data: memoryview) -> memoryview:
    """Expands gzip data, possibly of several members, without relying on the size that the file states."""
    limit = min(max(GZIP_RATIO * len(data), GZIP_SMALL), available_memory())
    out = io.BytesIO()
    position = 0
    try:
        while position < len(data) and data[position] == 0x1F:
            member = zlib.decompressobj(wbits=31)
            while not member.eof:
                given = data[position : position + _CHUNK]
                if not len(given):
                    raise InputError(f"{path}: the gzip data ends too early; the file is truncated")
                waiting: bytes | memoryview = given
                while len(waiting) and not member.eof:
                    out.write(member.decompress(waiting, _CHUNK))
                    waiting = member.unconsumed_tail
                    if out.tell() > limit:
                        raise InputError(
                            f"{path}: expands to more than {limit} bytes, too much to be a reflection table; "
                            "expand it by hand if it is genuine"
                        )
                position += len(given) - len(member.unused_data)
    except zlib.error as error:
        raise InputError(f"{path}: damaged gzip data near byte {position}: {error}") from None
    return out.getbuffer()


def _show(data: memoryview) -> str:
    """The first bytes for an error message."""
    head = bytes(data[:12])
    text = head.decode("ascii", "replace")
    return repr(text) if text.isprintable() else head.hex(" ")
