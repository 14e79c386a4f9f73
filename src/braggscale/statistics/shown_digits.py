"""How many decimals each merging statistic of a run has, so that a number looks the same wherever it is shown.

Where a statistic of all data has a confidence interval, its decimals show two digits of the width of this interval.
All shells of a statistic have the same number of decimals: two digits of the median width over the shells. The width
of a shell follows from that of all data: errors grow as 1/sqrt(n) of the observations; the error of an R factor is
proportional to R, that of a correlation to 1 - CC^2 (Fisher, Metron 1 (1921) 3). Statistics without an interval have
the decimals of the catalogue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from braggscale.statistics.catalogue import CATALOGUE, Limits, Statistic
from braggscale.wording import UNKNOWN, decimals, show

FEWEST = 2  # decimals of R factors and correlations
# Statistics without an interval, and one with an interval that has errors of the same size.
AS_WELL_KNOWN_AS = {"r_merge": "r_meas", "r_merge_apart": "r_meas_apart"}
_CORRELATIONS = ("cc_half", "cc_anom")


class Range(Protocol):
    """Statistics of a resolution range, under their names in the catalogue; here only the number of observations."""

    @property
    def n_obs(self) -> int | None:
        """Number of observations."""


class OfRun(Protocol):
    """Statistics of a run: of the shells and of all data, and the intervals of the latter (None if there are none)."""

    @property
    def shells(self) -> Sequence[Range]:
        """From low to high resolution."""

    @property
    def overall(self) -> Range:
        """All data."""

    @property
    def intervals(self) -> object | None:
        """Has limits (low, high) or None under the names of statistics."""


@dataclass(frozen=True, slots=True)
class ShownDigits:
    """Decimals by name of the statistic: ``shells`` those of a resolution shell, ``overall`` those of all data."""

    shells: Mapping[str, int]
    overall: Mapping[str, int]

    def of_shell(self, statistic: Statistic, value: float | None, unknown: str = UNKNOWN) -> str:
        """The value of a shell as text.  ``unknown``: for None and NaN."""
        return _text(statistic, value, self.shells[statistic.name], unknown)

    def of_all(self, statistic: Statistic, value: float | None, unknown: str = UNKNOWN) -> str:
        """The value of all data as text.  ``unknown``: for None and NaN."""
        return _text(statistic, value, self.overall[statistic.name], unknown)

    def blanks(self, statistic: Statistic, shell: bool, blank: str = " ") -> str:
        """What is put behind a number of a column of shells, ``shell``, or of its last line, so that points align."""
        here, there = self.shells[statistic.name], self.overall[statistic.name]
        own, most = here if shell else there, max(here, there)
        return blank * (most - own)


def shown_digits(run: OfRun) -> ShownDigits:
    """The decimals of all statistics of a run."""
    shells = {statistic.name: statistic.digits for statistic in CATALOGUE.values()}
    overall = dict(shells)
    for name, statistic in CATALOGUE.items():
        limits = interval(run.intervals, name)
        if limits is None:
            continue
        width = statistic.factor * (limits[1] - limits[0])
        overall[name] = max(decimals(width), FEWEST)
        known = [w for shell in run.shells if (w := width * _wider(name, shell, run.overall)) and math.isfinite(w)]
        shells[name] = max(decimals(median(known)), FEWEST) if known else overall[name]
    return ShownDigits(shells, overall)


def interval(intervals: object | None, name: str) -> Limits | None:
    """The interval that decides the decimals of a statistic: its own, or that of one with errors of the same size."""
    found: Limits | None = getattr(intervals, AS_WELL_KNOWN_AS.get(name, name), None)
    return found


def _wider(name: str, shell: Range, overall: Range) -> float:
    """Width of the interval of a shell over that of all data; NaN if it is not known."""
    here, there = getattr(shell, name), getattr(overall, name)
    if here is None or there is None or not shell.n_obs or not overall.n_obs:
        return math.nan
    size = (1.0 - here**2, 1.0 - there**2) if name in _CORRELATIONS else (abs(here), abs(there))
    return float(size[0] / size[1]) * math.sqrt(overall.n_obs / shell.n_obs) if size[1] > 0.0 else math.nan


def _text(statistic: Statistic, value: float | None, digits: int, unknown: str) -> str:
    return show(None if value is None else statistic.factor * value, digits, unknown)
