"""Reading files into data sets. For writing see table_writer, experiment_list and atomic_files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from braggscale.errors import CommandError, InputError
from braggscale.io import refl_msgpack, refl_pickle
from braggscale.io.column_types import FileTable, check_types
from braggscale.io.detector_gaps import with_gaps
from braggscale.io.experiment_list import Document, join, read_document
from braggscale.io.file_kind import Kind, Source, open_source
from braggscale.io.pairing import Input, pair
from braggscale.io.reading import Known
from braggscale.io.reading_to_input import as_if_from_files

__all__ = ["Input", "Known", "open_inputs"]

_NOTHING = Known()


def open_inputs(paths: Sequence[str], known: Known = _NOTHING) -> Input:
    """Reads experiments and reflections, in any order and number, and pairs them.

    ``known``: facts from the user that files may not contain.
    The kind of a file is decided by its content. Columns of reflection files stay on disk until they are used.
    Raises CommandError for a path that is missing, unreadable or given twice; InputError for a damaged file and for
    files that do not belong together.
    """
    _check_twice(paths)
    sources = [open_source(path) for path in paths]
    documents: list[Document] = []
    tables: list[FileTable] = []
    readings = with_gaps([s.reader.read(s.path, s.data, known) for s in sources if s.reader is not None])
    n_other = len(readings)
    for source in sources:
        if source.reader is not None:
            first = sum(len(document.experiments) for document in documents)
            document, table = as_if_from_files(readings.pop(0), first)
            documents.append(document)
            tables.append(table)
        elif source.kind is Kind.EXPERIMENTS:
            documents.append(read_document(source))
        else:
            tables += read_tables(source)
    if not documents:
        raise InputError(f"{', '.join(paths)}: reflections without experiments; give the .expt file as well")
    if not tables:
        raise InputError(f"{', '.join(paths)}: experiments without reflections; give the .refl file as well")
    return replace(pair(join(documents), tables), all_other=n_other == len(sources))


def read_tables(source: Source) -> list[FileTable]:
    """The tables in a reflection file; only HDF5 can hold more than one."""
    if source.kind is Kind.MSGPACK:
        tables = [refl_msgpack.read_table(source)]
    elif source.kind is Kind.PICKLE:
        tables = [refl_pickle.read_table(source)]
    else:
        # Imported here because it brings in h5py, which takes a tenth of a second.
        from braggscale.io import refl_hdf5

        tables = refl_hdf5.read_tables(source)
    for table in tables:
        check_types(table)
    return tables


def _check_twice(paths: Sequence[str]) -> None:
    """The same file named twice would count its reflections twice."""
    seen: dict[str, str] = {}
    for path in paths:
        real = os.path.realpath(path)
        if real in seen:
            raise CommandError(f"{path} is given twice" + (f", also as {seen[real]}" if seen[real] != path else ""))
        seen[real] = path
