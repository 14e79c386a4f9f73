"""A number in table and experiments of one run, so that files of different runs are not taken for a pair.

Both files are replaced by renames, one after the other; if the computer stops between the two, new reflections stand
beside old experiments. The number is made from the models, so the same input and options give the same files.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from braggscale.errors import InputError
from braggscale.io.column_types import FileTable
from braggscale.numerics.array_types import Int

COLUMN = "scaling_run"
ENTRY = "run"


def stamp_of(models: Sequence[Mapping[str, Any]]) -> int:
    """A number for a run, 1 to 2^31 - 1, from the models that it stores."""
    text = json.dumps(list(models), default=lambda item: item.tolist(), sort_keys=True)
    return zlib.crc32(text.encode()) % ((1 << 31) - 1) + 1


def refuse_mixed(experiments_file: str, identifier: str, own: Any, table: FileTable, rows: Int | None) -> None:
    """Raises InputError if experiment and reflections of a data set say that they come from different runs.

    ``own``: what this program has stored with the model, None where another program has rewritten it.
    ``rows``: numbers of the rows of the data set, (n,), None for all.
    """
    stamp = own.get(ENTRY) if isinstance(own, Mapping) else None
    column = table.columns.get(COLUMN)
    if type(stamp) is not int or column is None or column.tag != "int" or not table.n_rows:
        return
    first = np.zeros(1, np.int64) if rows is None else rows[:1]
    if len(first) and int(column.rows(first)[0]) not in (0, stamp):
        raise InputError(
            f"{experiments_file} and {table.path}: data set {identifier} comes from different runs, as if one of the "
            "files had been replaced without the other; give the pair of one run, or scale the integrated data again"
        )
