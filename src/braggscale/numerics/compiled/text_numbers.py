"""Compiled loops that read numbers from lines of text in the formats of crystallographic programs.

A number is digits with at most one point and perhaps an exponent (E, e, D or d). Its value is the decimal number
rounded once: up to 15 digits with an exponent within +-22 are exact in double precision before the one operation that
follows (Clinger, Proc. PLDI (1990) 92); longer ones are off by a few units in the last place.
Asterisks, which Fortran writes for a number that does not fit, and NaN are read as NaN.
"""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.scale_factor import JIT

_POWERS = np.array([10.0**k for k in range(23)])
# read-only bytes of a file
_TEXT = "Array(uint8, 1, 'C', True)"
_EXACT = JIT | {"fastmath": False}

# Why reading stopped.
END, FULL, TOO_FEW, NOT_A_NUMBER, RUN_TOGETHER = 0, 1, 2, 3, 4


@njit(f"int64({_TEXT}, int64, int64)", **_EXACT)
def count_lines(text, start, stop):
    """Number of line ends in text[start:stop], and one more if the last line has none."""
    n = 0
    for i in range(start, stop):
        if text[i] == 10:
            n += 1
    if stop > start and text[stop - 1] != 10:
        n += 1
    return n


@njit(f"Tuple((int64, int64, float64))({_TEXT}, int64, int64)", **_EXACT)
def number_at(text, i, stop):
    """The number that begins at ``i``: the byte after it, 0 or the reason why it is not a number, and its value."""
    negative = False
    if i < stop and (text[i] == 45 or text[i] == 43):
        negative = text[i] == 45
        i += 1
    if i < stop and text[i] == 42:  # stars
        while i < stop and text[i] == 42:
            i += 1
        return i, 0, np.nan
    if i + 2 < stop and (text[i] | 32) == 110 and (text[i + 1] | 32) == 97 and (text[i + 2] | 32) == 110:
        return i + 3, 0, np.nan
    mantissa = np.int64(0)
    scale = 0
    digits = 0
    point = False
    while i < stop:
        c = text[i]
        if 48 <= c <= 57:
            digits += 1
            if mantissa < 100000000000000000:
                mantissa = mantissa * 10 + np.int64(c - 48)
                if point:
                    scale -= 1
            elif not point:
                scale += 1
        elif c == 46 and not point:
            point = True
        else:
            break
        i += 1
    if digits == 0:
        return i, NOT_A_NUMBER, 0.0
    if i < stop and ((text[i] | 32) == 101 or (text[i] | 32) == 100):
        j = i + 1
        down = False
        if j < stop and (text[j] == 45 or text[j] == 43):
            down = text[j] == 45
            j += 1
        if j < stop and 48 <= text[j] <= 57:
            exponent = 0
            while j < stop and 48 <= text[j] <= 57:
                if exponent < 10000:
                    exponent = exponent * 10 + np.int64(text[j] - 48)
                j += 1
            scale += -exponent if down else exponent
            i = j
    value = np.float64(mantissa)
    if scale < 0:
        if scale >= -22:
            value /= _POWERS[-scale]
        else:
            value *= 10.0 ** np.float64(scale)
    elif scale > 0:
        if scale <= 22:
            value *= _POWERS[scale]
        else:
            value *= 10.0 ** np.float64(scale)
    return i, 0, -value if negative else value


@njit(
    f"Tuple((int64, int64, int64, int64))({_TEXT}, int64, int64, int64, int32[::1], float64[:, ::1])",
    **_EXACT,
)
def read_rows(text, start, stop, comment, slots, table):
    """Reads lines of numbers from text[start:stop] into ``table``, (n_columns, n_rows).

    ``comment``: lines that begin with this character are skipped, and so are blank lines. ``slots``: for each
    number of a line its column, -1 for none; the rest of the line is not read.
    Returns the number of rows read, why it ended (END, FULL, TOO_FEW, NOT_A_NUMBER, RUN_TOGETHER), the byte where the
    last line begins, and the number within that line, from 0.
    """
    n = 0
    i = start
    while i < stop:
        line = i
        while i < stop and (text[i] == 32 or text[i] == 9 or text[i] == 13):
            i += 1
        if i >= stop:
            break
        if text[i] == 10:
            i += 1
            continue
        if text[i] == comment:
            while i < stop and text[i] != 10:
                i += 1
            i += 1
            continue
        if n == table.shape[1]:
            return n, FULL, line, 0
        for k in range(len(slots)):
            while i < stop and (text[i] == 32 or text[i] == 9 or text[i] == 13):
                i += 1
            if i >= stop or text[i] == 10:
                return n, TOO_FEW, line, k
            if slots[k] < 0:
                while i < stop and text[i] != 32 and text[i] != 9 and text[i] != 13 and text[i] != 10:
                    i += 1
                continue
            i, why, value = number_at(text, i, stop)
            if why != 0:
                return n, why, line, k
            if i < stop and text[i] != 32 and text[i] != 9 and text[i] != 13 and text[i] != 10:
                if text[i] == 45 or text[i] == 43 or text[i] == 46:
                    return n, RUN_TOGETHER, line, k
                return n, NOT_A_NUMBER, line, k
            table[slots[k], n] = value
        while i < stop and text[i] != 10:
            i += 1
        i += 1
        n += 1
    return n, END, stop, 0


@njit(
    f"Tuple((int64, int64, int64, int64))({_TEXT}, int64, int64, boolean, int32[::1], float64[:, ::1])",
    **_EXACT,
)
def read_fixed(text, start, stop, zeros_end, widths, table):
    """Reads lines of numbers in columns of fixed width, without blanks between them, into ``table``, (n_columns,
    n_rows).

    ``widths``: characters of each number; a number of blanks, or beyond the end of the line, is NaN. Blank lines end
    the reading, and with ``zeros_end`` lines whose first three numbers are 0. Returns as ``read_rows``.
    """
    n = 0
    i = start
    while i < stop:
        line = i
        end = i
        while end < stop and text[end] != 10:
            end += 1
        blank = True
        for j in range(i, end):
            if text[j] != 32 and text[j] != 9 and text[j] != 13:
                blank = False
                break
        if blank:
            return n, END, line, 0
        if n == table.shape[1]:
            return n, FULL, line, 0
        at = i
        for k in range(len(widths)):
            first = min(at, end)
            last = min(at + widths[k], end)
            at += widths[k]
            while first < last and (text[first] == 32 or text[first] == 9 or text[first] == 13):
                first += 1
            if first == last:
                table[k, n] = np.nan
                continue
            j, why, value = number_at(text, first, last)
            if why != 0:
                return n, why, line, k
            while j < last and (text[j] == 32 or text[j] == 9 or text[j] == 13):
                j += 1
            if j < last:
                return n, NOT_A_NUMBER, line, k
            table[k, n] = value
            if zeros_end and k == 2 and table[0, n] == 0 and table[1, n] == 0 and table[2, n] == 0:
                return n, END, line, 0
        i = end + 1
        n += 1
    return n, END, stop, 0
