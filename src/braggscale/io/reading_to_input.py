"""What a reader found, in the form that files of DIALS have: an experiment list and a reflection table."""

from __future__ import annotations

from dataclasses import replace

from braggscale.io.column_types import FileTable, check_types, held
from braggscale.io.experiment_list import Document
from braggscale.io.experiment_models import experiments_of
from braggscale.io.new_experiments import experiment_list
from braggscale.io.reading import Reading


def as_if_from_files(reading: Reading, first: int) -> tuple[Document, FileTable]:
    """Experiments and reflections of a file of another program.

    ``first``: number of experiments in files before it; identifiers that only count go on from there.
    """
    experiments = reading.experiments
    if first:
        experiments = tuple(
            replace(experiment, identifier=str(first + k)) if experiment.identifier.isdecimal() else experiment
            for k, experiment in enumerate(experiments)
        )
    data = experiment_list(experiments)
    document = Document(data, experiments_of(reading.path, data), (reading.path,) * len(experiments))
    columns = {name: held(tag, values) for name, (tag, values) in reading.columns.items()}
    identifiers = {k: experiment.identifier for k, experiment in enumerate(experiments)}
    table = FileTable(reading.path, len(reading.columns["id"][1]), columns, identifiers, reading.notes)
    check_types(table)
    return document, table
