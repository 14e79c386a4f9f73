"""The layout of MTZ files (CCP4): header records, batch headers, and the table of reflections.

    "MTZ " | header position in words, from 1 | machine stamp | ... 80 bytes
    n_rows x n_columns single-precision numbers
    header: records of 80 characters up to END, history, then for each batch BH, TITLE, whole numbers, numbers, BHCH

Every size that the file states is compared with the length of the file before it is used. The meaning of the
numbers in a batch header: CCP4, mtzlib, "orientation block".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braggscale.errors import InputError
from braggscale.numerics.array_types import Array, Float

_RECORD = 80
_FIRST_ROW = 80  # bytes before the reflections
_MOST_COLUMNS = 10_000
_MOST_WORDS = 10_000  # of one batch header; all known ones have 185
_BIG_ENDIAN = b"\x11\x11"


@dataclass(frozen=True, slots=True)
class MtzColumn:
    """``kind``: the type letter: H index, J intensity, Q standard deviation, B batch, Y M/ISYM, ..."""

    label: str
    kind: str
    data_set: int


@dataclass(frozen=True, slots=True)
class MtzDataSet:
    """``wavelength``: Angstrom, 0 where it is not given."""

    number: int
    project: str
    crystal: str
    name: str
    cell: tuple[float, ...]
    wavelength: float


@dataclass(frozen=True, slots=True)
class MtzBatch:
    """One batch header.  ``whole``: its whole numbers, (29,), ``real``: its numbers, (156,), both at least that long.

    ``axes``: names of the goniometer's axes.
    """

    number: int
    title: str
    whole: Array
    real: Array
    axes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MtzFile:
    """``values``: all reflections, (n_rows, n_columns), single precision, a view of the file.

    ``cell``: of the whole file, Angstrom and degrees.  ``operators``: symmetry as x,y,z, in the order that M/ISYM
    counts.  ``space_group``: the name in the header.
    """

    title: str
    columns: tuple[MtzColumn, ...]
    values: Array
    cell: tuple[float, ...]
    space_group: str
    operators: tuple[str, ...]
    data_sets: tuple[MtzDataSet, ...]
    batches: tuple[MtzBatch, ...]
    history: tuple[str, ...]

    def has(self, label: str) -> bool:
        """Whether there is a column of this name."""
        return any(column.label == label for column in self.columns)

    def column(self, label: str) -> Float:
        """The values of a column, double precision, (n_rows,).  Raises KeyError if there is none."""
        for k, column in enumerate(self.columns):
            if column.label == label:
                with np.errstate(invalid="ignore"):  # a file may contain any bit pattern
                    return self.values[:, k].astype(np.float64)
        raise KeyError(label)


def read_mtz_file(path: str, data: memoryview) -> MtzFile:
    """Read an MTZ file without interpreting its numbers.

    ``path``: for messages.  Raises InputError that says what was expected if the file is cut short or damaged.
    """
    order, start = _header_start(path, data)
    header = _Header(path)
    position = header.read_main(data, start)
    n_rows, n_columns, n_batches = header.sizes
    _check_sizes(path, len(data), start, header)
    values = np.frombuffer(data, order + "f4", n_rows * n_columns, _FIRST_ROW).reshape(n_rows, n_columns)
    batches = tuple(_batches(path, data, position, order)) if n_batches else ()
    if len(batches) < n_batches:
        raise InputError(
            f"{path}: the header promises {n_batches} batch headers, but only {len(batches)} are there; "
            "the file is cut short"
        )
    return MtzFile(
        title=header.title,
        columns=tuple(header.columns),
        values=values,
        cell=header.cell,
        space_group=header.space_group,
        operators=tuple(header.operators),
        data_sets=tuple(MtzDataSet(k, **values) for k, values in header.data_sets.items()),
        batches=batches,
        history=tuple(header.history),
    )


def _header_start(path: str, data: memoryview) -> tuple[str, int]:
    """Byte order as numpy writes it, and the byte where the header begins."""
    if len(data) < _FIRST_ROW:
        raise InputError(f"{path}: {len(data)} bytes are too few for an MTZ file; it is cut short")
    order = ">" if bytes(data[8:10]) == _BIG_ENDIAN else "<"
    word = int(np.frombuffer(data, order + "i4", 1, 4)[0])
    if word == -1:  # files above 8 GB have the position further on
        word = int(np.frombuffer(data, order + "i8", 1, 12)[0])
    start = 4 * (word - 1)
    if not _FIRST_ROW <= start < len(data):
        raise InputError(
            f"{path}: the header should be at byte {start}, but the file has {len(data)}; it is cut short or damaged"
        )
    return order, start


def _check_sizes(path: str, n_bytes: int, start: int, header: _Header) -> None:
    n_rows, n_columns, _ = header.sizes
    if len(header.columns) != n_columns:
        raise InputError(f"{path}: the header promises {n_columns} columns and describes {len(header.columns)}")
    labels = [column.label for column in header.columns]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: two columns are called {twice}; rename one of them")
    needed = _FIRST_ROW + 4 * n_rows * n_columns
    if needed > start:
        raise InputError(
            f"{path}: {n_rows} reflections of {n_columns} columns need {needed} bytes before the header, which is at "
            f"byte {start} of {n_bytes}; the file is cut short or damaged"
        )


class _Header:
    """The contents of the header records that have been read so far."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.title = self.space_group = ""
        self.sizes = (0, 0, 0)  # rows, columns, batches
        self.cell: tuple[float, ...] = ()
        self.columns: list[MtzColumn] = []
        self.operators: list[str] = []
        self.history: list[str] = []
        self.data_sets: dict[int, dict[str, Any]] = {}

    def read_main(self, data: memoryview, start: int) -> int:
        """Reads all records up to the batch headers; returns the byte where these begin."""
        position, ended, lines = start, False, 0
        while position + 4 <= len(data):
            text = str(bytes(data[position : position + _RECORD]), "latin-1")
            position += _RECORD
            key = text[:4].rstrip().upper()
            if lines:
                self.history.append(text.rstrip())
                lines -= 1
            elif text.startswith("MTZHIST"):
                lines = max(int(self.numbers(text, 1)[0]), 0)
            elif text.startswith("MTZBATS"):
                return position
            elif text.startswith("MTZENDOFHEADERS"):
                break
            elif key == "END":
                ended = True
            elif not ended:
                self.record(key, text)
        if not ended:
            raise InputError(f"{self.path}: the header of the MTZ file has no END; the file is cut short")
        return position

    def record(self, key: str, text: str) -> None:
        """Interprets one record of the main header."""
        if key == "NCOL":
            n_columns, n_rows, n_batches = (int(x) for x in self.numbers(text, 3))
            if not (0 < n_columns <= _MOST_COLUMNS and n_rows >= 0 and n_batches >= 0):
                raise self.damaged(text)
            self.sizes = n_rows, n_columns, n_batches
        elif key == "TITL":
            self.title = text[5:].strip(" \0")
        elif key == "CELL":
            self.cell = self.numbers(text, 6)
        elif key == "SYMI":
            quoted = re.search(r"'([^']*)'", text)
            words = text.split()
            self.space_group = quoted[1] if quoted else words[5] if len(words) > 5 else ""
        elif key == "SYMM":
            self.operators.append(re.sub(r"\s+", "", text[4:]).lower())
        elif key == "COLU":
            words = text[6:].split()
            if len(words) < 2:
                raise self.damaged(text)
            number = int(words[4]) if len(words) > 4 and words[4].isdecimal() else 0
            self.columns.append(MtzColumn(words[0], words[1], number))
        elif key in ("PROJ", "CRYS", "DATA", "DCEL", "DWAV"):
            self.data_set(key, text)

    def data_set(self, key: str, text: str) -> None:
        """One of the records about a data set."""
        words = text.split(None, 2)
        if len(words) < 2 or not words[1].isdecimal():
            raise self.damaged(text)
        empty = {"project": "", "crystal": "", "name": "", "cell": (), "wavelength": 0.0}
        entry = self.data_sets.setdefault(int(words[1]), empty)
        rest = words[2].strip() if len(words) > 2 else ""
        if key == "DCEL":
            entry["cell"] = self.numbers(text, 7)[1:]
        elif key == "DWAV":
            entry["wavelength"] = self.numbers(text, 2)[1]
        else:
            entry[{"PROJ": "project", "CRYS": "crystal", "DATA": "name"}[key]] = rest

    def numbers(self, text: str, n: int) -> tuple[float, ...]:
        """The first n numbers after the key word."""
        try:
            values = tuple(float(word) for word in text.split()[1 : n + 1])
        except ValueError:
            raise self.damaged(text) from None
        if len(values) < n or not np.isfinite(values).all():
            raise self.damaged(text)
        return values

    def damaged(self, text: str) -> InputError:
        return InputError(f"{self.path}: damaged record in the MTZ header: {text.rstrip()[:60]!r}")


def _batches(path: str, data: memoryview, position: int, order: str) -> Iterator[MtzBatch]:
    """The batch headers from ``position`` on."""
    while position + 2 * _RECORD <= len(data):
        text = str(bytes(data[position : position + _RECORD]), "latin-1")
        if not text.startswith("BH "):
            return
        try:
            number, words, n_whole, n_real = (int(word) for word in text.split()[1:5])
        except ValueError:
            raise InputError(f"{path}: damaged batch header: {text.rstrip()[:60]!r}") from None
        if not (n_whole >= 29 and n_real >= 156 and n_whole + n_real <= words <= _MOST_WORDS):
            raise InputError(f"{path}: the header of batch {number} has impossible sizes: {text.rstrip()[:60]!r}")
        title = str(bytes(data[position + _RECORD : position + 2 * _RECORD]), "latin-1")[6:].strip(" \0")
        at = position + 2 * _RECORD
        if at + 4 * words > len(data):
            raise InputError(f"{path}: the file ends within the header of batch {number}; it is cut short")
        whole = np.frombuffer(data, order + "i4", n_whole, at)
        real = np.frombuffer(data, order + "f4", n_real, at + 4 * n_whole)
        position = at + 4 * words
        axes: Sequence[str] = ()
        last = str(bytes(data[position : position + _RECORD]), "latin-1")
        if last.startswith("BHCH"):
            axes = [last[5 + 8 * k : 13 + 8 * k].strip(" \0") for k in range(3)]
            position += _RECORD
        yield MtzBatch(number, title, whole, real, tuple(name for name in axes if name))
