"""Reading the summary of another run: a file that anybody may have written, checked before it is used."""

from __future__ import annotations

import json
import os
from typing import Any

from braggscale.errors import InputError

SCHEMA = "braggscale.scale/1"
# A summary of a thousand data sets has some ten megabytes.
MOST_BYTES = 200_000_000
# No count, resolution or R value is larger.
LARGEST_NUMBER = 1e15
# What a comparison reads, and of which kind it is.
NEEDED: dict[str, type | tuple[type, ...]] = {
    "space_group": str,
    "statistics": (dict, type(None)),
    "data_sets": list,
    "error_models": list,
    "outliers": int,
    "command": dict,
}
NUMBERS = [
    "d_max",
    "d_min",
    "n_obs",
    "n_unique",
    "multiplicity",
    "completeness",
    "mean_i_over_sigma",
    "r_merge",
    "r_meas",
    "r_pim",
    "cc_half",
    "cc_anom",
]


def read_summary(path: str) -> dict[str, Any]:
    """The summary in the file, with everything that a comparison needs.

    Raises InputError for a file that is not one: what is wrong, and how to make one.
    """

    def wrong(what: str) -> InputError:
        return InputError(f"report.compare={path}: {what}; give the scale.json of another run of this program")

    try:
        if not os.path.isfile(path):
            raise wrong("this is not an ordinary file")
        if os.path.getsize(path) > MOST_BYTES:
            raise wrong("the file is too large")
        with open(path, encoding="utf-8") as file:
            found = json.load(file, parse_constant=_refuse)
    except (OSError, UnicodeDecodeError) as error:
        raise wrong(f"cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    except (ValueError, RecursionError):
        raise wrong("this is not JSON") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise wrong(f"it does not say that its schema is {SCHEMA}")
    for name, kind in NEEDED.items():
        if not isinstance(found.get(name), kind):
            raise wrong(f"its entry {name} is missing or damaged")
    statistics = found["statistics"]
    if statistics is not None:
        shells = statistics.get("shells")
        if (
            not isinstance(shells, list)
            or not shells
            or not all(_is_shell(s) for s in (*shells, statistics.get("overall")))
        ):
            raise wrong("its entry statistics is missing or damaged")
    words = found["command"].get("arguments", [])
    if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
        raise wrong("its entry command is missing or damaged")
    sets, errors = found["data_sets"], found["error_models"]
    if not all(isinstance(e, dict) for e in (*sets, *errors)) or not all(_is_number(e.get("isa")) for e in errors):
        raise wrong("its entry data_sets or error_models is damaged")
    return found


def _is_shell(value: Any) -> bool:
    if not isinstance(value, dict) or not all(_is_number(value.get(name)) for name in NUMBERS):
        return False
    return all(isinstance(value.get(name), int | float) and value[name] > 1e-3 for name in ("d_max", "d_min"))


def _is_number(value: Any) -> bool:
    return value is None or (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER
    )


def _refuse(word: str) -> None:
    raise ValueError(word)
