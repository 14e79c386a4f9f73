"""Results of filtering: parts of the data, cycles in which they were tested, and why the cycles ended."""

from __future__ import annotations

from dataclasses import dataclass

from braggscale.scaling.plan import FilterSettings
from braggscale.statistics.merging_statistics import Statistics

NO_MORE, CYCLES, PERCENT, COMPLETENESS = (
    "no_more_removed",
    "max_cycles",
    "max_percent_removed",
    "below_completeness_limit",
)
STOP_TEXT = {
    NO_MORE: "nothing more stands out",
    CYCLES: "as many cycles as max_cycles allows",
    PERCENT: "more would be beyond max_percent_removed",
    COMPLETENESS: "more would leave less than min_completeness",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A data set or a group of its images.

    ``number``: position of the data set in the input.  ``id``: its number in the column id.  ``images``: first and
    last, None for a whole data set.  ``n``: number of observations.  ``delta``: influence on CC1/2.  ``z2``: mean
    z^2 of the observations.
    """

    number: int
    id: int
    identifier: str
    images: tuple[int, int] | None
    n: int = 0
    delta: float = float("nan")
    z2: float = float("nan")

    def __str__(self) -> str:
        """As in the log."""
        return self.identifier if self.images is None else f"{self.identifier}:{self.images[0]}:{self.images[1]}"


@dataclass(frozen=True, slots=True)
class Cycle:
    """The parts that were tested in one cycle, and those that were left out.

    ``parts``: the worst first.  ``limit``: delta below which a part of typical size would be left out. ``percent``:
    observations left out so far, in per cent of those at the beginning.  ``cc_half``: with all ``parts``.
    ``statistics``: with all ``parts``.
    """

    parts: tuple[Part, ...]
    removed: tuple[Part, ...]
    limit: float
    percent: float
    cc_half: float
    statistics: Statistics | None

    @property
    def n_removed(self) -> int:
        """Observations of the parts that were left out."""
        return sum(part.n for part in self.removed)


@dataclass(frozen=True, slots=True)
class Filtering:
    """All cycles, and why there is no other.

    ``n_initial``: observations at the beginning.  ``initial``: identifier and images in use of every data set then.
    """

    settings: FilterSettings
    n_initial: int
    initial: tuple[tuple[str, tuple[int, int] | None], ...]
    cycles: tuple[Cycle, ...] = ()
    reason: str = NO_MORE

    @property
    def removed(self) -> list[Part]:
        """Everything that was left out."""
        return [part for cycle in self.cycles for part in cycle.removed]
