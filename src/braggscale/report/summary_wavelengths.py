"""The part of scale.json about data of several wavelengths."""

from __future__ import annotations

from typing import Annotated

from braggscale.report.summary_run import StatisticsEntry
from braggscale.report.summary_values import Record, about


class WavelengthEntry(Record, frozen=True):
    """Data of one wavelength."""

    wavelength: Annotated[float, about("Angstrom.")]
    data_sets: Annotated[list[str], about("Identifiers.")]
    statistics: StatisticsEntry | None


class DispersiveEntry(Record, frozen=True):
    """Differences of merged intensities between two wavelengths, Friedel mates together."""

    wavelengths: Annotated[list[float], about("Of the two, Angstrom.")]
    unique: Annotated[int, about("Common unique reflections.")]
    df_f: Annotated[float | None, about("Mean |F1 - F2| over mean F, of reflections above 3 sigma.")]
    di_over_sigma: Annotated[
        float | None, about("Root mean square of (I1 - I2)/sigma; 1 where there is no difference.")
    ]
    cc: Annotated[float | None, about("Correlation of the intensities.")]


class WavelengthsEntry(Record, frozen=True):
    """Statistics by wavelength, and the dispersive differences of each two."""

    each: list[WavelengthEntry]
    differences: list[DispersiveEntry]
