"""Write all exports, one file at a time; files that fail are named at the end, the others are kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import IO

from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.errors import OutputError, UserError
from braggscale.io.atomic_files import write_alone, write_beside
from braggscale.io.export.export import Export, ExportData, ExportFile, ExportSettings
from braggscale.io.export.registry import EXPORTS
from braggscale.io.export.scaled_observations import Crystals
from braggscale.statistics.merging import Merged
from braggscale.statistics.merging_statistics import Statistics
from braggscale.wording import all_of

log = logging.getLogger(__name__)


def needs_statistics(paths: Mapping[str, str], exports: Mapping[str, Export] = EXPORTS) -> bool:
    """Whether any of the wanted files contains merging statistics.  ``paths``: as for ``write_exports``."""
    return any(exports[name].needs_statistics for name in paths)


def write_exports(
    crystals: Crystals,
    paths: Mapping[str, str],
    settings: ExportSettings,
    statistics: Statistics | None,
    exports: Mapping[str, Export] = EXPORTS,
) -> list[str]:
    """Write the files; returns their names.

    ``paths``: value of the option of each export that is wanted, by the name of the option.
    ``exports``: the kinds that there are; files are written in their order.
    Raises OutputError that names every file which failed, after the others have been written.
    """
    data = ExportData(crystals, settings, statistics)
    files = [file for name, export in exports.items() if name in paths for file in export.files(data, paths[name])]
    written: list[str] = []
    problems: dict[str, list[str]] = {}
    for file in files:
        try:
            write_alone(file.path, file.content())
            written.append(file.path)
        except UserError as error:
            problems.setdefault(_reason(error), []).append(file.path)
        except MemoryError:
            problems.setdefault("not enough memory", []).append(file.path)
    for path in written:
        log.info(f"Written: {path}")
    if problems:
        failed = [f"{_and(names)} not written: {reason}" for reason, names in problems.items()]
        raise OutputError("; ".join(failed))
    return written


def merged_files(
    merged: Merged,
    wavelength: float,
    symmetry: Symmetry,
    cell: UnitCell,
    paths: Mapping[str, str],
    settings: ExportSettings,
    statistics: Statistics | None,
) -> list[tuple[str, str]]:
    """Files of data that are merged already, beside their targets; (file, target), for ``atomic_files.commit``.

    ``wavelength``: Angstrom.  ``paths``: value of the option of each export that needs no row of the data.
    Raises OutputError if one cannot be written, DataError if no table lists the setting of the space group.
    """
    if not paths:
        return []
    data = ExportData.of_merged(merged, wavelength, symmetry, cell, settings, statistics)
    return [
        (write_beside(file.path, _writer(file)), file.path)
        for name, path in paths.items()
        for file in EXPORTS[name].files(data, path)
    ]


def _writer(file: ExportFile) -> Callable[[IO[bytes]], None]:
    def write(stream: IO[bytes]) -> None:
        """Write the content to an open file."""
        stream.write(file.content())

    return write


def _reason(error: UserError) -> str:
    """Why a file could not be made; for a failed write the message of the system."""
    cause = error.__cause__
    return str(cause.strerror or cause) if isinstance(cause, OSError) else str(error)


def _and(paths: list[str]) -> str:
    return f"{all_of(paths)} {'was' if len(paths) == 1 else 'were'}"
