"""Lines of the log about data of several wavelengths."""

from __future__ import annotations

from braggscale.report.text.tables import text_table
from braggscale.scaling.by_wavelength import Wavelengths
from braggscale.wording import show


def wavelength_lines(found: Wavelengths) -> list[str]:
    """A table of the wavelengths, and one of the differences between them."""
    header = ("wavelength", "data sets", "n", "complete", "multipl.", "R_meas", "CC1/2", "CC_anom", "dF/F", "limit")
    rows = []
    for one in found.each:
        if one.statistics is None:
            rows.append((f"{one.wavelength:.5f}", str(len(one.data_sets)), "0", *("-",) * 7))
            continue
        s = one.statistics.overall
        rows.append(
            (
                f"{one.wavelength:.5f}", str(len(one.data_sets)), str(s.n_obs), show(s.completeness, 3),
                show(s.multiplicity, 2), show(s.r_meas, 4), show(s.cc_half, 4), show(s.cc_anom, 3), show(s.df_f, 4),
                show(one.statistics.limit.d_min, 2),
            )
        )  # fmt: skip
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
