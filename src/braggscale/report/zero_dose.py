"""Intensities at dose zero in the log and in scale.json."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from braggscale.report.numbers.json_numbers import significant
from braggscale.report.summary_values import Record, about
from braggscale.report.text.tables import text_table
from braggscale.scaling.dose import ZeroDoseResult

MOST_LISTED = 10


class ChangedEntry(Record, frozen=True):
    """A reflection that changes with dose."""

    hkl: list[int]
    mean: Annotated[float, about("Merged intensity over all doses.")]
    zero_dose: Annotated[float, about("Intensity at dose zero.")]
    sigma: Annotated[float, about("Of the intensity at dose zero.")]
    slope: Annotated[float, about("Change over the whole range of dose.")]
    slope_sigma: float
    n: Annotated[int, about("Observations.")]


class ZeroDoseEntry(Record, frozen=True):
    """Intensities extrapolated to dose zero."""

    tau: Annotated[float, about("Relative change of intensities over the range of dose.")]
    slopes: Annotated[int, about("Reflections with enough spread of dose to estimate it.")]
    same_crystal: Annotated[bool, about("Whether dose went on from sweep to sweep.")]
    r_plain: Annotated[float, about("sum |I - I0| / sum I0 between plain means and those at dose zero.")]
    most_changed: list[ChangedEntry]


def zero_dose_entry(result: ZeroDoseResult | None) -> ZeroDoseEntry | None:
    """The entry ``zero_dose``; None where it was not asked for."""
    if result is None:
        return None
    found = result.found
    known = np.isfinite(found.intensity)
    total = float(np.abs(found.intensity[known]).sum())
    off = float(np.abs(found.mean[known] - found.intensity[known]).sum())
    return ZeroDoseEntry(
        tau=significant(found.tau),
        slopes=found.n_slopes,
        same_crystal=result.same_crystal,
        r_plain=significant(off / total) if total > 0 else 0.0,
        most_changed=[
            ChangedEntry(
                hkl=result.hkl[k].tolist(),
                mean=significant(float(found.mean[k])),
                zero_dose=significant(float(found.intensity[k])),
                sigma=significant(float(found.sigma[k])),
                slope=significant(float(found.slope[k])),
                slope_sigma=significant(float(found.slope_sigma[k])),
                n=int(found.n[k]),
            )
            for k in found.most_changed(MOST_LISTED).tolist()
        ],
    )


def zero_dose_lines(result: ZeroDoseResult) -> list[str]:
    """Lines of the log."""
    entry = zero_dose_entry(result)
    if entry is None:
        return []
    lines = [
        f"Dose zero: intensities change by {100 * entry.tau:.1f} % over the range of dose, from {entry.slopes} slopes; "
        f"plain means differ from dose zero by R {entry.r_plain:.4f}"
    ]
    if not entry.most_changed:
        return lines
    rows = [
        (
            " ".join(str(x) for x in one.hkl), str(one.n),
            *(f"{x:.1f}" for x in (one.mean, one.zero_dose, one.sigma, one.slope, one.slope_sigma)),
        )
        for one in entry.most_changed
    ]  # fmt: skip
    header = ("h k l", "n", "mean", "dose zero", "sigma", "change", "sigma")
    return [*lines, "Reflections that change most:", *text_table(header, rows).splitlines()]
