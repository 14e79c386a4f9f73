"""The bits of a reflection table's ``flags`` column, and the fates of a row.

Source of the bits: DIALS, ``flags`` column of type ``std::size_t``. Bits that are not listed are kept as found.
"""

from enum import IntEnum, IntFlag


class Flag(IntFlag):
    """Bits of the ``flags`` column that scaling reads or writes."""

    PREDICTED = 1 << 0
    OBSERVED = 1 << 1
    INDEXED = 1 << 2
    INTEGRATED_SUM = 1 << 8
    INTEGRATED_PRF = 1 << 9
    USER_EXCLUDED_IN_SCALING = 1 << 22
    OUTLIER_IN_SCALING = 1 << 23
    EXCLUDED_FOR_SCALING = 1 << 24
    SCALED = 1 << 26


INTEGRATED = Flag.INTEGRATED_SUM | Flag.INTEGRATED_PRF
BAD_FOR_SCALING = Flag.USER_EXCLUDED_IN_SCALING | Flag.OUTLIER_IN_SCALING | Flag.EXCLUDED_FOR_SCALING
SCALING_VERDICTS = BAD_FOR_SCALING | Flag.SCALED


class Fate(IntEnum):
    """The reason why an input row was scaled or not. Every row has one; the numbers are stored in ``scaling_fate``."""

    SCALED = 0
    OUTLIER = 1
    SUMMED_INTO_ANOTHER = 2
    NOT_INDEXED = 3
    DATA_SET_EXCLUDED = 4
    IMAGE_EXCLUDED = 5
    RESOLUTION_CUT = 6
    LOW_PARTIALITY = 7
    NOT_INTEGRATED = 8
    BAD_VARIANCE = 9
    BAD_EFFICIENCY = 10
    LOW_I_OVER_SIGMA = 11
    NO_GEOMETRY = 12
    SCALE_TOO_SMALL = 13
    DATA_SET_UNUSABLE = 14
    SATURATED = 15
    MISFIT = 16
    FLAGGED = 17
    INCOMPLETE = 18
    NOT_PLAUSIBLE = 19
    NO_SIGNAL = 20
    REPEATED = 21
    NO_INTENSITY = 22
    NO_SIGMA = 23


FATE_TEXT: dict[Fate, str] = {
    Fate.SCALED: "scaled",
    Fate.OUTLIER: "outlier",
    Fate.SUMMED_INTO_ANOTHER: "partial, summed into another row",
    Fate.NOT_INDEXED: "not indexed",
    Fate.DATA_SET_EXCLUDED: "data set excluded",
    Fate.IMAGE_EXCLUDED: "image excluded",
    Fate.RESOLUTION_CUT: "outside the resolution limits",
    Fate.LOW_PARTIALITY: "partiality below the cut-off",
    Fate.NOT_INTEGRATED: "not integrated",
    Fate.BAD_VARIANCE: "variance not positive or not finite",
    Fate.BAD_EFFICIENCY: "detector efficiency not positive",
    Fate.LOW_I_OVER_SIGMA: "I/sigma below min_isigi",
    Fate.NO_GEOMETRY: "no Miller index or no resolution",
    Fate.SCALE_TOO_SMALL: "inverse scale factor below the cut-off",
    Fate.DATA_SET_UNUSABLE: "data set unusable",
    Fate.SATURATED: "a pixel at the limit of the detector",
    Fate.MISFIT: "misfit of an earlier program",
    Fate.FLAGGED: "flagged by the integration program",
    Fate.INCOMPLETE: "not all parts of the reflection recorded",
    Fate.NOT_PLAUSIBLE: "not plausible",
    Fate.NO_SIGNAL: "image without a signal",
    Fate.REPEATED: "repeats another row",
    Fate.NO_INTENSITY: "no intensity in the file",
    Fate.NO_SIGMA: "no sigma above 0 in the file",
}

# A column ``rejection`` may contain these fates: of rows that another program has rejected, and of rows of its file
# that lack a number.
BEFORE = frozenset({Fate.SATURATED, Fate.MISFIT, Fate.FLAGGED, Fate.INCOMPLETE})
LACKING = frozenset({Fate.NO_INTENSITY, Fate.NO_SIGMA})

# The flag for each fate, for the programs of DIALS.
FATE_FLAG: dict[Fate, Flag] = {
    Fate.SCALED: Flag.SCALED,
    Fate.OUTLIER: Flag.OUTLIER_IN_SCALING,
    Fate.IMAGE_EXCLUDED: Flag.USER_EXCLUDED_IN_SCALING,
    Fate.RESOLUTION_CUT: Flag.USER_EXCLUDED_IN_SCALING,
    Fate.LOW_PARTIALITY: Flag.USER_EXCLUDED_IN_SCALING,
    Fate.NOT_INTEGRATED: Flag.EXCLUDED_FOR_SCALING,
    Fate.BAD_VARIANCE: Flag.EXCLUDED_FOR_SCALING,
    Fate.BAD_EFFICIENCY: Flag.EXCLUDED_FOR_SCALING,
    Fate.LOW_I_OVER_SIGMA: Flag.EXCLUDED_FOR_SCALING,
    Fate.NO_GEOMETRY: Flag.EXCLUDED_FOR_SCALING,
    Fate.SCALE_TOO_SMALL: Flag.EXCLUDED_FOR_SCALING,
    Fate.DATA_SET_UNUSABLE: Flag.EXCLUDED_FOR_SCALING,
    Fate.SATURATED: Flag.EXCLUDED_FOR_SCALING,
    Fate.MISFIT: Flag.EXCLUDED_FOR_SCALING,
    Fate.FLAGGED: Flag.EXCLUDED_FOR_SCALING,
    Fate.INCOMPLETE: Flag.EXCLUDED_FOR_SCALING,
    Fate.NOT_PLAUSIBLE: Flag.EXCLUDED_FOR_SCALING,
    Fate.NO_SIGNAL: Flag.EXCLUDED_FOR_SCALING,
    Fate.REPEATED: Flag.EXCLUDED_FOR_SCALING,
    Fate.NO_INTENSITY: Flag.EXCLUDED_FOR_SCALING,
    Fate.NO_SIGMA: Flag.EXCLUDED_FOR_SCALING,
}
