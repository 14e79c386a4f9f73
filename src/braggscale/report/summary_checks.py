"""The parts of scale.json that say what the data would be better without, and whether the symmetry holds."""

from __future__ import annotations

from typing import Annotated

from braggscale.report.summary_values import Record, about


class StretchEntry(Record, frozen=True):
    """Images, or a whole data set, that disagree with the rest beyond chance."""

    data_set: Annotated[str, about("Identifier.")]
    first: Annotated[int | None, about("First image; null for a whole data set.")]
    last: int | None
    observations: int
    excess: Annotated[float | None, about("Mean squared deviation there over that elsewhere.")]
    chance: Annotated[float, about("That a run without bad images shows anything as striking.")]
    gain: Annotated[
        float | None,
        about(
            "How much better equivalents elsewhere are predicted without it, share of their squared deviation; null "
            "where nothing can tell."
        ),
    ]
    gain_error: Annotated[float | None, about("Standard error of the gain.")]
    recommended: Annotated[bool, about("Whether it is better left out: the gain is above its error.")]


class ExclusionsEntry(Record, frozen=True):
    """What disagrees with the rest, and what leaving it out would bring."""

    false_alarm: Annotated[float, about("Chance that a run without bad images gets any entry.")]
    images: list[StretchEntry]
    data_sets: list[StretchEntry]
    gain: Annotated[float | None, about("Of all that is recommended together; null where nothing is.")]
    gain_error: float | None
