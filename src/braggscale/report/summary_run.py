"""The parts of scale.json on the run itself: data sets, ledger, rounds, fit, error models, statistics."""

from __future__ import annotations

from typing import Annotated

import msgspec

from braggscale.report.summary_values import (
    Counts,
    JsonObject,
    Numbers,
    Record,
    Sane,
    about,
    statistic,
)

Limits = Annotated[tuple[float, float] | None, about("Lower and upper limit; null where there is none.")]


class Program(Record, frozen=True):
    """The program that wrote the summary."""

    name: str
    version: str


class Command(Record, frozen=True, omit_defaults=True):
    """The command line; entries are absent where there was none."""

    arguments: list[str] | None = None
    files: list[str] | None = None
    modified: Annotated[list[str] | None, about("Options that differ from the defaults, as PHIL.")] = None
    notes: Annotated[list[str] | None, about("Names of options that were completed or translated.")] = None


class WarningEntry(Record, frozen=True):
    """A warning of the run."""

    code: Annotated[str, about("What it is about; stays the same from version to version (docs/guide/errors.md).")]
    text: Annotated[str, about("As in the log.")]
    data_set: Annotated[str | None, about("Identifier of the data set that it is about, if it is one.")]


class Partials(Record, frozen=True):
    """How complete the recorded reflections are."""

    edges: Annotated[Numbers, about("Partiality at which each bin begins.")]
    rows: Annotated[Counts, about("Integrated rows of each bin, after summing.")]
    usable: Annotated[Counts, about("Those of them that are used.")]
    n_sums: Annotated[int, about("Reflections that were summed from parts.")]
    n_pieces: Annotated[int, about("Number of these parts.")]


class DataSetEntry(Record, frozen=True, omit_defaults=True):
    """One data set of the input; model and settings only if it is in the output."""

    identifier: str
    id: Annotated[int, about("In the column id of the table.")]
    dropped: Annotated[str | None, about("Why it was left out.")]
    image_range: list[int] | None
    images_in_use: list[list[int]] | None
    batch_offset: int | None
    images: Annotated[str | None, about("Template of the names of its images; of a still, of its image.")] = None
    settings: Annotated[
        JsonObject | None,
        about("The model with every Auto settled; of more than 20 data sets absent where it is that of the first."),
    ] = None
    model: Annotated[
        JsonObject | None,
        about(
            "As stored in the experiments: parameters, esds, configuration; of more than 20 data sets without entries "
            "that are those of the first."
        ),
    ] = None
    partials: Annotated[
        Partials | None, about("Partial observations that were summed; absent with more than 20 data sets.")
    ] = None


class FateEntry(Record, frozen=True):
    """Number and text of a fate."""

    code: int
    text: str


class Ledger(Record, frozen=True):
    """Number of input rows with each fate."""

    codes: Annotated[dict[str, FateEntry], about("Number and text of each fate.")]
    data_sets: Annotated[dict[str, dict[str, int]], about("By identifier; - holds rows without a data set.")]
    total: Annotated[dict[str, int], about("Rows by fate.")]
    rows: int


class FitShare(Record, frozen=True, omit_defaults=True):
    """Rows of one data set: those chosen for the fit, and the others by the first reason why they are not."""

    data_set: Annotated[int, about("Place among the data sets in use.")]
    usable: int
    not_allowed: Annotated[int, about("Outliers.")] = 0
    e2: int = 0
    i_over_sigma: int = 0
    partiality: int = 0
    d: Annotated[int, about("Outside the range of resolution.")] = 0
    single: Annotated[int, about("Without another candidate in the group.")] = 0
    not_drawn: Annotated[int, about("Left out by the random choice.")] = 0
    chosen: int = 0
    e2_applies: Annotated[bool, about("False for 10,000 usable rows or fewer.")] = False


class Selection(Record, frozen=True):
    """Observations that took part in the fit of the scales."""

    observations: int
    groups: int
    data_sets: list[FitShare]


class Minimiser(Record, frozen=True):
    """The result of one minimiser."""

    name: str
    stop: Annotated[str, about("Why it stopped, as one word.")]
    text: Annotated[str, about("The same as a sentence.")]
    cost: Annotated[list[float | None], about("Cost at the start and after each step.")]


class ErrorModelEntry(Record, frozen=True):
    """V' = a^2 (V + c I + (b I)^2)."""

    a: float
    b: float
    c: Annotated[float, about("Counts.")]


class Round(Record, frozen=True):
    """One round of the outer loop."""

    number: int
    observations: int
    minimisers: list[Minimiser]
    error_models: list[ErrorModelEntry]
    intensity_choice: str | None
    outliers: int | None


class ProfileEntry(Record, frozen=True):
    """Ratio of profile to sum, as it was before profiles were put on the scale of the sums."""

    data_sets: Annotated[list[str], about("Identifiers; those with few observations share an entry.")]
    n_rows: Annotated[int, about("Observations with both intensities.")]
    d: Annotated[list[float | None], about("Mean resolution of ten equal ranges, Angstrom, from low to high.")]
    ratio: Annotated[list[float | None], about("Mean ratio there.")]
    expected: Annotated[
        list[float | None],
        about("Median expected intensity of ten equal ranges, counts, from weak to strong."),
    ]
    share: Annotated[
        list[float | None], about("Mean share of the profile in the intensity there; 0 where a midpoint was given.")
    ]
    power: Annotated[
        float | None, about("Power of the partiality in it: 0 for profiles of whole reflections, 1 of recorded parts.")
    ]
    power_esd: float | None
    counting: Annotated[
        float | None,
        about(
            "Variance of the difference of both, counting E + linear c T + square T^2: T the expected intensity, c "
            "that over raw counts, E how much the variance of the sum is above that of the profile."
        ),
    ]
    linear: float | None
    square: float | None
    alone: Annotated[str, about("sums or profiles if only one of them is used, empty if both are combined.")]
    why: Annotated[str, about("Why only one is used.")]


class ComponentEntry(Record, frozen=True, omit_defaults=True):
    """Result of the fit for a component of a data set."""

    data_set: str
    component: str
    effective: Annotated[float | None, about("Effective number of parameters.")]
    n_parameters: int
    rms: Annotated[float | None, about("Of the correction about its mean, as a fraction.")]
    low: Annotated[float | None, about("Smallest correction over the observations in the fit.")]
    high: Annotated[float | None, about("Largest one.")]
    strengths: Annotated[
        dict[str, float | None],
        about("Estimated restraints by kind; empty where they were fixed, or are those of fit and data sets are many."),
    ] = {}
    first: Annotated[bool, about("False if an earlier data set shares the component.")] = True
    text: Annotated[str, about("The same as a sentence; absent with more than 20 data sets.")] = ""


class FitEntry(Record, frozen=True):
    """The last fit."""

    parameters: int
    observations: int
    groups: int
    minimisers: list[Minimiser]
    has_esds: bool
    message: str | None
    undetermined: Annotated[list[str], about("Parameters on which no observation depends.")]
    converged: bool
    strengths: Annotated[dict[str, float | None], about("Estimated restraints, by kind.")]
    components: Annotated[
        list[ComponentEntry], about("Of more than 20 data sets a shared one only with the data set that stores it.")
    ]


class CandidateEntry(Record, frozen=True):
    """A model that was tried."""

    name: str
    loss: Annotated[float | None, about("-ln L of the left out observations, per observation, up to a constant.")]
    worse: Annotated[float | None, about("Loss less that of the model of the run.")]
    uncertainty: Annotated[float | None, about("Standard deviation of worse.")]


class ValidationEntry(Record, frozen=True):
    """Models tested with reflections left out of the fit (validate=True); null without this option."""

    observations: int
    groups: int
    folds: int
    reason: Annotated[str, about("Why there was no test; empty if there was.")]
    candidates: Annotated[list[CandidateEntry], about("The model of the run first.")]


class RangeEntry(Record, frozen=True):
    """Mean z^2 in a range of expected intensity, counts."""

    low: float
    high: float
    n: int
    uncorrected: float | None
    corrected: float | None


class ErrorModelFit(Record, frozen=True):
    """One error model and details of its fit."""

    model: ErrorModelEntry
    n_used: int
    n_trimmed: int
    rounds: int
    converged: bool
    esd_a: float | None
    esd_b: float | None
    esd_c: float | None
    linear_gain: float | None
    ranges: list[RangeEntry]
    reason: str
    isa: Annotated[Sane | None, about("Largest I/sigma, 1/(a b).")]


class ShellEntry(Record, frozen=True):
    """Statistics of one resolution range."""

    d_max: Annotated[float, statistic("d_max", above=1e-3)]
    d_min: Annotated[float, statistic("d_min", above=1e-3)]
    n_obs: Annotated[int, statistic("n_obs")]
    n_unique: Annotated[int, statistic("n_unique")]
    multiplicity: Annotated[Sane | None, statistic("multiplicity")]
    completeness: Annotated[Sane | None, statistic("completeness")]
    mean_intensity: Annotated[Sane | None, statistic("mean_intensity")]
    mean_i_over_sigma: Annotated[Sane | None, statistic("mean_i_over_sigma")]
    r_merge: Annotated[Sane | None, statistic("r_merge")]
    r_meas: Annotated[Sane | None, statistic("r_meas")]
    r_pim: Annotated[Sane | None, statistic("r_pim")]
    r_merge_apart: Annotated[Sane | None, statistic("r_merge_apart")]
    r_meas_apart: Annotated[Sane | None, statistic("r_meas_apart")]
    r_pim_apart: Annotated[Sane | None, statistic("r_pim_apart")]
    r_anom: Annotated[Sane | None, statistic("r_anom")]
    cc_half: Annotated[Sane | None, statistic("cc_half")]
    cc_half_pairs: Annotated[int, about("Reflections correlated.")]
    cc_half_significant: Annotated[bool, about("Above zero at the level 0.01.")]
    cc_half_analytic: Annotated[Sane | None, statistic("cc_half_analytic")]
    cc_anom: Annotated[Sane | None, statistic("cc_anom")]
    cc_anom_pairs: int
    cc_anom_significant: bool
    anomalous_completeness: Annotated[Sane | None, statistic("anomalous_completeness")]
    anomalous_multiplicity: Annotated[Sane | None, statistic("anomalous_multiplicity")]
    anomalous_slope: Annotated[Sane | None, statistic("anomalous_slope")]
    df_f: Annotated[Sane | None, statistic("df_f")]
    di_over_sigma: Annotated[Sane | None, statistic("di_over_sigma")]


class IntervalsEntry(Record, frozen=True):
    """Confidence intervals of overall statistics by bootstrap over blocks; null limits where there are none."""

    level: float
    unit: Annotated[str, about("What a block consists of: images or data sets.")]
    n_blocks: int
    r_meas: Limits = None
    r_pim: Limits = None
    r_meas_apart: Limits = None
    r_pim_apart: Limits = None
    cc_half: Limits = None
    cc_anom: Limits = None
    blocks: Annotated[
        list[tuple[str, int]] | None, about("Data set and place of each block; null where blocks were joined.")
    ] = None
    effects: Annotated[
        dict[str, Numbers] | None,
        about("Of each block on the logarithm of R, or of (1 - CC)/(1 + CC): for differences between runs."),
    ] = None

    def __post_init__(self) -> None:
        """Compare the lengths of ``blocks`` and ``effects``.  Raises ValueError if they differ."""
        for name, values in (self.effects or {}).items():
            if self.blocks is None or len(values) != len(self.blocks):
                raise ValueError(f"effects.{name} has {len(values)} numbers for {len(self.blocks or ())} blocks")


class StatisticsEntry(Record, frozen=True, kw_only=True):
    """Merging statistics."""

    overall: ShellEntry
    shells: Annotated[list[ShellEntry], msgspec.Meta(min_length=1, description="From low to high resolution.")]
    anomalous: Annotated[bool, about("Whether Friedel mates differ in this space group.")]
    intervals: IntervalsEntry | None = None
    suggested_d_min: Annotated[float | None, about("Angstrom; null where no limit is suggested.")]
    suggested_reason: str
    suggested: ShellEntry | None


class RunEntry(Record, frozen=True):
    """What may differ between two runs of the same command."""

    seconds: dict[str, float]
    python: str
    numpy: str
    machine: str
    finished: Annotated[str | None, about("Date and time of the end of the run, UTC.")] = None
