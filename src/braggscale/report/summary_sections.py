"""The parts of scale.json that the report shows: models, resolution, images, data sets, errors, detector, outliers."""

from __future__ import annotations

from typing import Annotated, Literal

from braggscale.report.summary_checks import IntensityTests
from braggscale.report.summary_values import (
    Column,
    Coordinate,
    CountMatrix,
    Counts,
    Matrix,
    Numbers,
    Record,
    Unit,
    about,
)


class Axis(Record, frozen=True):
    """Positions of the parameters of a component along one coordinate."""

    coordinate: Coordinate
    places: Annotated[Numbers, about("Image numbers, pixels, 1/Angstrom^2.")]


class Curve(Record, frozen=True, tag_field="form", tag="curve"):
    """A function of the image."""

    name: str
    unit: Unit
    axes: Annotated[list[Axis] | None, about("Positions of the parameters; null if there are many.")]
    image: Annotated[tuple[float, float], about("First and last image of the points, which are evenly spaced.")]
    value: Annotated[Numbers, about("The curve; Angstrom^2 for a B factor.")]
    esd: Annotated[Numbers | None, about("Its standard deviation, null without a covariance.")]


class Surface(Record, frozen=True, tag_field="form", tag="surface"):
    """Spherical harmonics; parameters in data_sets."""

    name: str
    unit: Unit
    lmax: int


class Grid(Record, frozen=True, tag_field="form", tag="grid", omit_defaults=True):
    """A grid; parameters in data_sets, the first axis fastest."""

    name: str
    unit: Unit
    axes: Annotated[list[Axis], about("Positions of the parameters.")]
    offset: Annotated[float, about("Added to the parameters of a grid gives the factor; 0 where absent.")] = 0.0


class Constant(Record, frozen=True, tag_field="form", tag="constant"):
    """One number; parameters in data_sets."""

    name: str
    unit: Unit


ComponentForm = Curve | Surface | Grid | Constant


class ModelEntry(Record, frozen=True):
    """Corrections of one data set in the output, in the order of by_data_set."""

    kind: str
    components: Annotated[
        list[ComponentForm], about("Of more than 20 data sets a shared one only with the data set that stores it.")
    ]


class CorrelatedPair(Record, frozen=True):
    """Two parameters."""

    first: str
    second: str
    correlation: float | None


class Correlations(Record, frozen=True, omit_defaults=True):
    """Correlations of parameters; null without a covariance."""

    parameters: int
    components: list[str]
    between_components: Annotated[Matrix, about("Largest |r| between two components within one data set.")]
    strongest: list[CorrelatedPair]
    percent: Annotated[
        CountMatrix | None, about("All below the diagonal, row by row, in per cent; only with few parameters.")
    ] = None
    parameter_names: list[str] | None = None


class CcHalfFit(Record, frozen=True):
    """CC1/2 = (1 - tanh((x - s0)/r))/2, x = 1/d_min^2 of the shell, 1/Angstrom^2."""

    s0: float
    r: float


class Resolution(Record, frozen=True):
    """The fit from which the limit is suggested; columns by shell."""

    cc_half_fit: CcHalfFit | None
    critical_cc_half: Annotated[Column, about("CC1/2 that is significant at the level 0.01.")]
    critical_cc_anom: Column


class WilsonPlot(Record, frozen=True):
    """Mean intensities by resolution, and the straight line ln <I> = ln k - B/(2 d^2) through them."""

    inverse_d2: Annotated[Column, about("1/Angstrom^2.")]
    mean: Annotated[Column, about("<I/epsilon>.")]
    b: Annotated[float | None, about("Angstrom^2.")]
    ln_k: float | None
    b_esd: Annotated[float | None, about("Standard deviation of b, Angstrom^2.")] = None


class SecondMoments(Record, frozen=True):
    """<I^2>/<I>^2 by shell."""

    acentric: Column
    centric: Column


class CumulativeDistribution(Record, frozen=True):
    """Share of reflections with I/<I> below z."""

    z: Numbers
    acentric: Numbers
    centric: Numbers


class LTest(Record, frozen=True):
    """Distribution of L = (I_1 - I_2)/(I_1 + I_2) of neighbours (Padilla & Yeates)."""

    pairs: int
    mean_abs: float | None
    mean_square: float | None
    l: Numbers
    cumulative: Numbers


class Multiplicities(Record, frozen=True):
    """Unique reflections by number of observations."""

    first: Counts
    width: int
    acentric: Counts
    centric: Counts


class IntensityDistribution(Record, frozen=True):
    """Of merged intensities."""

    wilson: WilsonPlot
    second_moments: SecondMoments
    cumulative: CumulativeDistribution
    l_test: LTest | None
    multiplicity: Multiplicities
    tests: IntensityTests | None = None


class ByImage(Record, frozen=True):
    """Columns, an entry for each run of images of all data sets in order."""

    images_per_bin: int
    data_sets_per_bin: Annotated[int, about("Above 1 only with thousands of data sets.")]
    cc_half: Annotated[float | None, about("Mean over ten shells, what delta_cc_half refers to.")]
    data_set: Annotated[Counts, about("Place in by_data_set.")]
    first: Annotated[Counts, about("First image; 0 for stills.")]
    last: Counts
    observations: Annotated[Counts, about("Scaled.")]
    outliers: Counts
    scale: Annotated[Column, about("Mean inverse scale factor.")]
    r_merge: Annotated[Column, about("Against the means of all data.")]
    i_over_sigma: Annotated[Column, about("Mean of single observations.")]
    mean_z2: Annotated[Column, about("Mean squared deviation over the expected variance.")]
    completeness: Annotated[Column, about("Up to and with these images, 0 to 1.")]
    multiplicity: Annotated[Column, about("Up to and with these images.")]
    delta_cc_half: Annotated[
        Column, about("CC1/2 of all data minus CC1/2 without these images; below 0 they harm the data.")
    ]


class ByDataSet(Record, frozen=True):
    """Columns, an entry for each data set in the output, and maps."""

    number: Annotated[list[int], about("The n of #n.")]
    identifier: list[str]
    observations: Counts
    unique: Counts
    completeness: Annotated[Column, about("Of it alone, 0 to 1.")]
    outliers: Counts
    scale: Annotated[Column, about("Mean inverse scale factor.")]
    r_merge: Column
    i_over_sigma: Column
    mean_z2: Column
    b: Annotated[Column, about("Mean parameter of the B factor, Angstrom^2.")]
    delta_cc_half: Column
    cc_rest: Annotated[Column, about("Correlation of its means with those of all others.")]
    shell_limits: Annotated[Numbers, about("Of the maps, Angstrom.")]
    r_merge_by_shell: Matrix
    i_over_sigma_by_shell: Matrix
    unit_cell: Annotated[Matrix | None, about("a b c alpha beta gamma, Angstrom and degrees.")] = None


class Trend(Record, frozen=True):
    """Straight line through r_d."""

    start: float
    rise: Annotated[float, about("From no difference to the largest.")]
    esd: Annotated[float, about("Of the rise.")]


class RadiationDamage(Record, frozen=True):
    """Pairs of equivalents within one sweep; null where there are too few."""

    pairs: int
    difference: Annotated[Numbers, about("Images between the two.")]
    pairs_at_difference: Counts
    r_d: Annotated[Column, about("The sum |I1 - I2| / sum (I1 + I2)/2.")]
    r_d_by_range: Annotated[Matrix, about("In three ranges of resolution.")]
    image: Annotated[Numbers, about("From the first of the sweep.")]
    r_cp: Annotated[Column, about("The same over all pairs up to the image.")]
    r_cp_by_range: Matrix
    range_limits: Annotated[Numbers, about("Angstrom.")]
    trend: Trend | None


class BeforeAfter(Record, frozen=True):
    """Shares of |z| below 1, 2 and 3."""

    before: Column
    after: Column


class NormalPlot(Record, frozen=True):
    """The deviations z at quantiles of a normal deviate."""

    expected: Numbers
    before: Numbers
    after: Numbers


class Histogram(Record, frozen=True):
    """Counts; values beyond the range are in the outermost bins."""

    middle: Numbers
    before: Counts
    after: Counts


class SignalMap(Record, frozen=True):
    """Observations by scaled intensity (columns) and I/sigma (rows)."""

    log10_intensity: Annotated[tuple[float, float], about("First and last edge.")]
    log10_i_over_sigma: tuple[float, float]
    counts: CountMatrix


class DeviationsOfModel(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Deviations of the observations with one error model."""

    deviations: Annotated[int, about("How many.")]
    within: BeforeAfter
    normal: NormalPlot | None = None
    histogram: Histogram | None = None
    i_over_sigma: SignalMap | None


class DeviationsByShell(Record, frozen=True):
    """Columns by resolution shell."""

    d_max: Numbers
    d_min: Numbers
    observations: Counts
    outliers: Counts
    mean_z2: Column


class Deviations(Record, frozen=True):
    """Deviations z = (I - g m)/sd, m the mean of the equivalents without the observation."""

    error_models: list[DeviationsOfModel]
    by_shell: DeviationsByShell


class DetectorMaps(Record, frozen=True):
    """By place on the detector, all images together: rows along y (slow), columns along x (fast).

    Cells are of equal size.
    """

    unit: Literal["px", "mm"]
    x: Annotated[tuple[float, float], about("First and last edge.")]
    y: tuple[float, float]
    observations: CountMatrix
    compared: Annotated[CountMatrix, about("Observations with equivalents.")]
    outliers: CountMatrix
    mean_z: Matrix
    excess: Annotated[Matrix, about("The sum (I - g m)/sum g m.")]


class AbsorptionUse(Record, frozen=True):
    """Of absorption surfaces, over a sample of the observations; null without any."""

    sampled: int
    factor: Annotated[tuple[float, float], about("First and last edge of the histogram.")]
    counts: Annotated[Counts, about("Observations by the factor applied to them.")]
    incoming: Annotated[
        CountMatrix,
        about(
            "Observations by direction to the source, frame of the crystal: polar angle down, azimuth across, "
            "in cells of 10 degrees."
        ),
    ]
    diffracted: Annotated[CountMatrix, about("The same along the diffracted beam.")]


class WorstGroup(Record, frozen=True):
    """A unique reflection with an outlier, and its members as columns."""

    hkl: tuple[int, int, int]
    d: Annotated[float | None, about("Angstrom.")]
    members: Annotated[int, about("All; at most 40 are listed.")]
    data_set: list[str]
    image: list[int | None]
    measured_hkl: list[tuple[int, int, int]]
    x: Annotated[Column, about("Pixels.")]
    y: Annotated[Column, about("Pixels.")]
    scaled_intensity: Column
    sigma: Column
    z: Annotated[Column, about("Against the other scaled members.")]
    outlier: list[bool]


class AnomalousNormalPlot(Record, frozen=True):
    """The differences (I+ - I-)/sigma at quantiles of a normal deviate."""

    expected: Numbers
    observed: Numbers


class HalfSetDifferences(Record, frozen=True):
    """Pairs by the difference in the first (columns) and the second half (rows), from -limit to limit."""

    limit: float
    counts: CountMatrix


class AnomalousSignal(Record, frozen=True):
    """Differences I+ - I-; null without any."""

    d_min: Annotated[float, about("Limit of the two plots that follow, Angstrom.")]
    pairs: int
    normal: AnomalousNormalPlot | None
    halves: HalfSetDifferences | None
    rms_ratio: Annotated[Column, about("The ratio rms(D1 + D2)/rms(D1 - D2) by shell.")]
    df_over_sigma: Annotated[Column | None, about("Mean |F+ - F-| over its standard deviation by shell.")] = None
