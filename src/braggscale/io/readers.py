"""The files of other programs that can be read: one line each in ``READERS``, and one module each.

A module ``read_*`` has a function ``read(path, data, known)`` that turns the bytes of a file into a
:class:`braggscale.io.reading.Reading`. It is imported only if the input has a file of its kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from braggscale.io.reading import Known, Reading


@dataclass(frozen=True, slots=True)
class Reader:
    """``name``: of the format in messages.  ``begins``: pattern of the first bytes.  ``module``: that reads it."""

    name: str
    begins: re.Pattern[bytes]
    module: str

    def read(self, path: str, data: memoryview, known: Known) -> Reading:
        """The data sets of a file.  Raises InputError for a damaged one."""
        module: Any = import_module(f"braggscale.io.{self.module}")
        reading: Reading = module.read(path, data, known)
        return reading


READERS = (
    Reader("MTZ file", re.compile(rb"MTZ "), "read_mtz"),
    Reader("XDS reflection file", re.compile(rb"!FORMAT=XDS_ASCII|!OUTPUT_FILE=\s*\S*INTEGRATE"), "read_xds"),
    Reader("CrystFEL stream", re.compile(rb"CrystFEL stream format"), "read_stream"),
    Reader(
        "SCALEPACK file", re.compile(rb" *\d+ +[A-Za-z][A-Za-z0-9 /:-]*\r?\n(?:(?: *-?\d){9} *\r?\n)"), "read_scalepack"
    ),
    Reader(
        "SHELX HKLF 4 file",
        re.compile(rb"(?: *\r?\n)*(?=.{12}) {0,3}-?\d+ *-?\d+ *-?\d+ *-?\d*\.\d* *-?\d*\.\d"),
        "read_hklf4",
    ),
)


def reader_of(head: bytes) -> Reader | None:
    """The reader for a file that begins with these bytes (a few hundred); None if there is none."""
    return next((reader for reader in READERS if reader.begins.match(head)), None)
