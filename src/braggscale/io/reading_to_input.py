"""Converts the result of a reader to the form of DIALS' files: an experiment list and a reflection table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from braggscale.io.column_types import FileTable, check_types, column_in_memory
from braggscale.io.experiment_list import Document
from braggscale.io.experiment_models import experiments_of
from braggscale.io.new_experiments import NewExperiment, experiment_list
from braggscale.io.reading import Reading


def as_if_from_files(reading: Reading, first: int) -> tuple[Document, FileTable]:
    """Experiments and reflections of a file of another program.

    ``first``: number of experiments in earlier files; identifiers that are mere numbers continue from there.
    """
    experiments, notes = _with_wavelengths(reading)
    if first:
        experiments = tuple(
            replace(experiment, identifier=str(first + k)) if experiment.identifier.isdecimal() else experiment
            for k, experiment in enumerate(experiments)
        )
    data = experiment_list(experiments)
    document = Document(data, experiments_of(reading.path, data), (reading.path,) * len(experiments))
    columns = {name: column_in_memory(tag, values) for name, (tag, values) in reading.columns.items()}
    identifiers = {k: experiment.identifier for k, experiment in enumerate(experiments)}
    table = FileTable(reading.path, len(reading.columns["id"][1]), columns, identifiers, (*reading.notes, *notes))
    check_types(table)
    return document, table


def _with_wavelengths(reading: Reading) -> tuple[tuple[NewExperiment, ...], tuple[str, ...]]:
    """The experiments with an assumed value for wavelengths that are not known, and a note on it for the log.

    With the assumed wavelength all reflections can be measured: lambda < 2 d.
    """
    if all(experiment.wavelength > 0 for experiment in reading.experiments):
        return reading.experiments, ()
    d = reading.columns["d"][1]
    smallest = float(d[d > 0].min(initial=np.inf))
    stand_in = min(1.0, float(f"{1.5 * smallest:.1g}")) or 1.0
    made = tuple(e if e.wavelength > 0 else replace(e, wavelength=stand_in) for e in reading.experiments)
    return made, (f"{reading.path}: the wavelength is not known; {stand_in:g} A stands in its place",)
