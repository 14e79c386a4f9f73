"""The parts of scale.json on images and data sets that disagree, and on the symmetry."""

from __future__ import annotations

from typing import Annotated, Literal

from braggscale.report.summary_values import Numbers, Record, about


class StretchEntry(Record, frozen=True):
    """Images, or a whole data set, that disagree with the rest beyond chance."""

    data_set: Annotated[str, about("Identifier.")]
    first: Annotated[int | None, about("First image; null for a whole data set.")]
    last: int | None
    observations: int
    excess: Annotated[float | None, about("Mean squared deviation there over that elsewhere.")]
    chance: Annotated[float, about("Probability that a run without bad images shows a deviation as large.")]
    gain: Annotated[
        float | None,
        about(
            "How much better equivalents elsewhere are predicted without it, share of their squared deviation; null "
            "where nothing can tell."
        ),
    ]
    gain_error: Annotated[float | None, about("Standard error of the gain.")]
    recommended: Annotated[bool, about("Whether it is better left out: the gain is above its error.")]


class AbsencesEntry(Record, frozen=True):
    """Space groups that forbid the same reflections."""

    space_groups: Annotated[list[str], about("Absences cannot distinguish between them.")]
    probability: float
    forbidden: Annotated[int, about("Reflections that they forbid and some other space group does not.")]
    i_over_sigma: Annotated[float | None, about("Mean of these.")]


class ElementEntry(Record, frozen=True):
    """A rotation of the lattice: whether the intensities have it."""

    operator: Annotated[str, about("On indices.")]
    fold: int
    used: Annotated[bool, about("Whether the space group of the run has it.")]
    pairs: Annotated[int, about("Reflections compared.")]
    cc: Annotated[float | None, about("Correlation of their normalised intensities; null with too few pairs.")]
    r_meas: float | None
    probability: Annotated[float | None, about("That the crystal has it; 0.95 is the most that it can be.")]
    state: Annotated[
        Literal["holds", "denied", "missing", "no", "unknown"],
        about("Denied: used, but not there. Missing: there, but not used."),
    ]


class SymmetryEntry(Record, frozen=True):
    """Whether the space group fits the intensities."""

    likely: Annotated[list[str] | None, about("Space groups by absences, if they can be believed; else null.")]
    absences: Annotated[list[AbsencesEntry], about("The most probable first, five at most.")]
    elements: list[ElementEntry]


class AxisLimitEntry(Record, frozen=True):
    """How far the signal reaches along one direction, within 30 degrees of it."""

    reflections: int
    d_min: Annotated[float, about("Where the data end, Angstrom.")]
    cc_half: Annotated[float | None, about("Where CC1/2 falls to 0.3, Angstrom; null where it does not.")]
    i_over_sigma: Annotated[float | None, about("Where mean I/sigma falls to 1.5, Angstrom; null where it does not.")]


class Anisotropy(Record, frozen=True):
    """How far intensities fall off differently with direction."""

    b: Annotated[Numbers, about("Principal values of the B tensor less their mean, Angstrom^2, ascending.")]
    esd: Annotated[float, about("Of one of them.")]
    directions: Annotated[list[Numbers], about("In which they act, along a*, b*, c*, the largest entry 1.")]
    limits: Annotated[
        list[AxisLimitEntry | None] | None, about("Along these directions; null with too few reflections.")
    ] = None


class PattersonPeak(Record, frozen=True):
    """The highest peak of the Patterson map far from the origin."""

    height: Annotated[float, about("Relative to the origin.")]
    place: Annotated[Numbers, about("Fractions of the cell edges.")]
    noise: Annotated[
        float | None, about("Standard deviation of the map by chance, where all equivalents add; relative likewise.")
    ] = None


class TwinLaw(Record, frozen=True):
    """Reflections that a twin law relates (H test)."""

    operator: Annotated[str, about("On indices.")]
    pairs: int
    mean_h: float | None
    fraction: Annotated[float | None, about("Twin fraction, 1/2 - <H>.")]
    esd: float | None


class IntensityTests(Record, frozen=True):
    """Anisotropy, pseudo-translation and twinning by the merged intensities."""

    anisotropy: Anisotropy | None
    patterson: PattersonPeak | None
    twin_laws: list[TwinLaw]


class ExclusionsEntry(Record, frozen=True):
    """Images and data sets that disagree with the rest, and the gain if they are left out."""

    false_alarm: Annotated[float, about("Chance that a run without bad images gets any entry.")]
    images: list[StretchEntry]
    data_sets: list[StretchEntry]
    gain: Annotated[float | None, about("Of all that is recommended together; null where nothing is.")]
    gain_error: float | None
