"""Reads the summary of another run. The file is not trusted: every entry is checked before it is used."""

from __future__ import annotations

import os
import re

import msgspec

from braggscale.errors import InputError
from braggscale.report.summary_document import SCHEMA, Summary, from_json

# A summary of a thousand data sets has some ten megabytes.
MOST_BYTES = 200_000_000

# A number of a hundred digits and more, or one that an exponent makes so large: its square is not finite.
_HUGE = re.compile(rb"[:\[,]\s*(-?\d+(?:\.\d+)?[eE]\+?\d{3,}|-?\d{100,})(?=[\s,\]}])")


def read_summary(path: str) -> Summary:
    """The summary in the file, every entry of its type.

    Raises InputError for a file that is not a summary; it says what is wrong and how to make one.
    """

    def wrong(what: str) -> InputError:
        """An error about the file."""
        return InputError(f"report.compare={path}: {what}; give the scale.json of another run of this program")

    try:
        if not os.path.isfile(path):
            raise wrong("this is not an ordinary file")
        if os.path.getsize(path) > MOST_BYTES:
            raise wrong("the file is too large")
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise wrong(f"cannot be read ({error.strerror})") from None
    if (huge := _HUGE.search(content)) is not None:
        raise wrong(f"it has a number that no run has, {huge[1][:20].decode('ascii')}")
    try:
        return from_json(content)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        entry = where.rstrip("`").lstrip(".")
        missing = re.match(r"Object missing required field `(\w+)`", what)
        if entry == "schema" or (missing and missing[1] == "schema"):
            raise wrong(f"it does not say that its schema is {SCHEMA}") from None
        if missing:
            raise wrong(f"its entry {'.'.join(filter(None, (entry, missing[1])))} is missing") from None
        if not entry:
            raise wrong("this is not a summary") from None
        raise wrong(f"its entry {entry} is damaged ({what[:1].lower()}{what[1:]})") from None
    except UnicodeDecodeError:
        raise wrong("cannot be read (not text)") from None
    except (msgspec.DecodeError, RecursionError):
        raise wrong("this is not JSON") from None
