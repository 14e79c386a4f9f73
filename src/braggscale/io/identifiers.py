"""Gives data sets the identifiers that the user chooses; the data are written again without other changes."""

from __future__ import annotations

import logging
import re

import numpy as np

from braggscale.errors import CommandError
from braggscale.io.atomic_files import commit, pending, write_text
from braggscale.io.experiment_list import OutputExperiment, imageset_numbers, output_data, to_text
from braggscale.io.pairing import Input
from braggscale.io.table_writer import write_table

log = logging.getLogger(__name__)


def split_names(text: str) -> list[str]:
    """Names separated by blanks or commas."""
    return [name for name in re.split(r"[\s,]+", text) if name]


def assign_identifiers(data: Input, names: list[str], experiments: str, reflections: str, history: str) -> None:
    """Write the data sets with these identifiers, in the order of the experiments, to the two paths.

    Nothing else changes, except that all data sets are written to one pair of files and numbered by their position,
    and that rows which belong to no data set are left out. Raises CommandError unless there is one name for each,
    all different.
    """
    old = [data_set.identifier for data_set in data.data_sets]
    if len(names) != len(old):
        raise CommandError(
            f"--assign-identifiers: {len(names)} names for {len(old)} data sets ({', '.join(old[:12])}"
            f"{', ...' if len(old) > 12 else ''}); give one for each, in this order"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CommandError(f"--assign-identifiers: {', '.join(twice)} is given more than once")
    kept = [
        OutputExperiment(k, name, data_set.experiment.scaling_model)
        for k, (name, data_set) in enumerate(zip(names, data.data_sets, strict=True))
    ]
    document = output_data(data.document, kept, history)
    tables = [data_set.table for data_set in data.data_sets]
    numbers = {
        "id": list(range(len(tables))),
        "imageset_id": imageset_numbers(document),
    }
    columns = {
        column: ("int", [np.full(len(table), n, np.int32) for table, n in zip(tables, values, strict=True)])
        for column, values in numbers.items()
    }
    for k, (before, after) in enumerate(zip(old, names, strict=True)):
        log.info(f"#{k} {before} is now {after}")
    if data.not_indexed:
        log.info(f"{data.not_indexed} rows that belong to no data set are left out")
    with pending() as pairs:
        pairs.append((write_table(reflections, tables, columns, dict(enumerate(names))), reflections))
        pairs.append((write_text(experiments, to_text(document)), experiments))
        commit(pairs)
    log.info(f"Written: {reflections}, {experiments}")
