"""Lines of the log about data of several wavelengths."""

from __future__ import annotations

from braggscale.report.text.tables import text_table
from braggscale.scaling.by_wavelength import Wavelengths
from braggscale.statistics.catalogue import CATALOGUE
from braggscale.statistics.shown_digits import shown_digits
from braggscale.wording import show

COLUMNS = ("n_obs", "completeness", "multiplicity", "r_meas", "cc_half", "cc_anom", "df_f")


def wavelength_lines(found: Wavelengths) -> list[str]:
    """A table of the wavelengths, and one of the differences between them."""
    columns = [CATALOGUE[name] for name in COLUMNS]
    header = ("wavelength", "sets", *(column.heading for column in columns), "limit")
    rows = []
    for one in found.each:
        if one.statistics is None:
            rows.append((f"{one.wavelength:.5f}", str(len(one.data_sets)), "0", *("-",) * len(COLUMNS)))
            continue
        digits = shown_digits(one.statistics)
        values = [digits.of_all(column, getattr(one.statistics.overall, column.name)) for column in columns]
        limit = show(one.statistics.limit.d_min, 2)
        rows.append((f"{one.wavelength:.5f}", str(len(one.data_sets)), *values, limit))
    lines = [f"{len(found.each)} wavelengths on one scale", *text_table(header, rows).splitlines(), ""]
    lines.append("Dispersive differences of merged intensities, Friedel mates together")
    pairs = [
        (
            f"{found.each[one.first].wavelength:.5f} - {found.each[one.second].wavelength:.5f}", str(one.n),
            show(one.df_f, 4), show(one.di_over_sigma, 2), show(one.cc, 4),
        )
        for one in found.differences
    ]  # fmt: skip
    return [*lines, *text_table(("wavelengths", "common", "dF/F", "rms dI/sigma", "CC"), pairs).splitlines()]
