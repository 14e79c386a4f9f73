"""Flags of the reflections that refinement leaves out, for R_free (Brunger, Nature 355 (1992) 472).

CCP4's convention: flags 0 to n - 1 at random, one n-th of the reflections each, 0 being the free set.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from braggscale.data.symmetry import Symmetry
from braggscale.errors import CommandError, InputError
from braggscale.numerics.array_types import Array, Float, Int32
from braggscale.run_warnings import Code, warn
from braggscale.statistics.merging import hash_indices

log = logging.getLogger(__name__)

FRACTION = 0.05
# If flags have at most this many values, 0 and 1 or -1 and 1, they mark a single set; otherwise they number many sets.
_TWO = 2
# Labels in the order in which they are searched, ignoring case; the first are those of CCP4 and Phenix.
_LARGEST_FLAG, _LARGEST_INDEX = 1000, 100_000
_LONGEST_HEADER = 1 << 20
_LABELS = ("freer_flag", "free", "r-free-flags", "rfree", "free_flag", "freerflag", "test", "rfree_flag")


@dataclass(frozen=True, slots=True)
class FreeFlags:
    """``flag``: of each reflection, (n,).  ``taken``: how many came from a file.

    ``free``: the value of the free set.
    """

    flag: Int32
    taken: int
    free: int


def new_flags(hkl: Array, fraction: float = FRACTION) -> FreeFlags:
    """Flags 0 to n - 1, n = 1/fraction to the nearest whole number, by a hash of the index.

    A reflection has the same flag in every run and every data set of the same space group, independent of the other
    reflections.  ``hkl``: in the asymmetric unit, (n, 3).  Raises CommandError unless 0 < fraction <= 0.5.
    """
    if not 0 < fraction <= 0.5:
        raise CommandError(f"fraction of free reflections: {fraction:g} is not between 0 and 0.5")
    flag = hash_indices(hkl) % np.uint64(round(1 / fraction))
    return FreeFlags(flag.astype(np.int32), 0, 0)


def flags_from_mtz(path: str, hkl: Array, symmetry: Symmetry, label: str | None = None) -> FreeFlags:
    """Flags of an earlier MTZ file, extended to reflections that it does not have.

    Its indices are moved to the asymmetric unit of ``symmetry``. If equivalents have different flags, as after a
    change to a higher symmetry, the smallest is used. New flags have as many sets as the file, or the same fraction
    of free reflections.
    ``hkl``: in the asymmetric unit, (n, 3).  ``label``: of the column, None to look for the usual ones.
    Raises CommandError if the file or the column is not there, InputError if no index of it is among ``hkl``.
    """
    theirs, values = _read(path, label)
    inside, _ = symmetry.asu(theirs)
    order = np.lexsort((values, inside[:, 2], inside[:, 1], inside[:, 0]))
    inside, values = inside[order], values[order]
    same = (inside[1:] == inside[:-1]).all(axis=1)
    conflicts = int(np.count_nonzero(same & (values[1:] != values[:-1])))
    if conflicts:
        warn(
            log,
            Code.FREE_FLAGS_DIFFER,
            f"{path}: {conflicts} equivalent reflections have different free flags; the smallest is used",
        )
    first = np.concatenate(([True], ~same))
    inside, values = inside[first], values[first]
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) == 1:
        raise InputError(
            f"{path}: all {len(values)} reflections have the flag {distinct[0]}; that is no free set. "
            "Give a file with free and working reflections, or none for a new set"
        )
    noise = hash_indices(hkl)
    if len(distinct) <= _TWO:
        # the smaller set is the free one
        free = int(distinct[np.argmin(counts)])
        share = float(counts.min() / counts.sum())
        other = int(distinct[np.argmax(counts)])
        flag = np.where(noise < np.uint64(int(share * 2.0**64)), free, other).astype(np.int32)
    else:
        free = 0
        flag = distinct[(noise % np.uint64(len(distinct))).astype(np.int64)]
    where = _find(inside, np.asarray(hkl))
    known = where >= 0
    flag[known] = values[where[known]]
    taken = int(np.count_nonzero(known))
    if taken == 0:
        raise InputError(f"{path}: none of its reflections is among these data; is it the same crystal form?")
    log.info(f"Free flags: {taken} from {path}, {len(flag) - taken} new")
    return FreeFlags(flag, taken, free)


def _read(path: str, label: str | None) -> tuple[Int32, Int32]:
    """Indices and flags of the rows that have a flag."""
    import gemmi

    _check_header(path)
    try:
        mtz = gemmi.read_mtz_file(path)
    except (OSError, RuntimeError, ValueError) as error:
        raise CommandError(f"{path}: cannot be read as MTZ: {str(error)[:120]}") from None
    mtz.switch_to_asu_hkl()
    wanted = _LABELS if label is None else (label.lower(),)
    try:
        labels = [(column.label, column) for column in mtz.columns if column.type in ("I", "X")]
    except UnicodeDecodeError:
        raise InputError(f"{path}: damaged MTZ file: a column has a label that is no text") from None
    by_name = {name.lower(): column for name, column in labels}
    column = next((by_name[name] for name in wanted if name in by_name), None)
    if column is None:
        have = ", ".join(name for name, c in labels if c.type == "I") or "none"
        raise CommandError(
            f"{path}: no column of free flags{f' {label!r}' if label else ''}; whole-number columns: {have}"
        )
    values: Float = np.array(column.array, np.float64)
    indices: Float = np.asarray(mtz.make_miller_array(), np.float64)
    good = np.isfinite(values)
    if not good.any():
        raise InputError(f"{path}: the column {column.label} is empty")
    if np.abs(values[good]).max() > _LARGEST_FLAG or (values[good] != np.rint(values[good])).any():
        raise InputError(f"{path}: the column {column.label} has values that are no flags, whole numbers up to 1000")
    if not np.abs(indices).max() <= _LARGEST_INDEX:
        raise InputError(f"{path}: it has a Miller index beyond {_LARGEST_INDEX}")
    return indices[good].astype(np.int32), values[good].astype(np.int32)


def _check_header(path: str) -> None:
    """Raises InputError if the header of an MTZ file states more numbers than the file contains.

    The library that reads it would allocate memory for the stated number.
    """
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            head = file.read(80)
            # the fourth nibble of the machine stamp: 4 for little-endian
            order: Literal["little", "big"] = "little" if head[9:10] and head[9] >> 4 == 4 else "big"
            place = int.from_bytes(head[4:8], order, signed=True)
            if place == -1:
                place = int.from_bytes(head[12:20], order, signed=True)
            ordinary = os.path.isfile(path) and head[:4] == b"MTZ " and 0 < 4 * (place - 1) < size
            if not ordinary:
                raise CommandError(f"{path}: cannot be read as MTZ: it has no header")
            file.seek(4 * (place - 1))
            header = file.read(_LONGEST_HEADER)
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror or error}") from None
    records = [header[k : k + 80] for k in range(0, len(header), 80)]
    for record in records:
        if record[:4].upper() == b"NCOL":
            numbers = [int(word) for word in re.findall(rb"\d{1,18}", record[4:])[:2]]
            if len(numbers) < 2 or 4 * numbers[0] * numbers[1] > size:
                raise InputError(f"{path}: damaged MTZ file: its header claims more data than the file holds")
        if record[:3].upper() == b"END":
            break


def _find(table: Array, wanted: Array) -> Array:
    """Row of ``table`` that holds each index of ``wanted``, -1 for none; the rows of ``table`` differ, any order."""
    both = np.concatenate((table, wanted)).astype(np.int64)
    _, inverse = np.unique(both, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    row = np.full(len(both), -1, np.int64)
    row[inverse[: len(table)]] = np.arange(len(table))
    return row[inverse[len(table) :]]
