"""scale.json as one struct, to and from JSON, and its schema (docs/scale.schema.json)."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from braggscale.report.summary_checks import ExclusionsEntry, SymmetryEntry
from braggscale.report.summary_crystals import (
    FilteringEntry,
    FreeSetEntry,
    HalfSetsEntry,
    IndexingEntry,
    OutlyingEntry,
    ReferenceEntry,
)
from braggscale.report.summary_ranks import RanksEntry
from braggscale.report.summary_run import (
    Command,
    DataSetEntry,
    ErrorModelFit,
    FitEntry,
    Ledger,
    ProfileEntry,
    Program,
    Round,
    RunEntry,
    Selection,
    StatisticsEntry,
    ValidationEntry,
    WarningEntry,
)
from braggscale.report.summary_sections import (
    AbsorptionUse,
    AnomalousSignal,
    ByDataSet,
    ByImage,
    Correlations,
    DetectorMaps,
    Deviations,
    IntensityDistribution,
    ModelEntry,
    RadiationDamage,
    Resolution,
    WorstGroup,
)
from braggscale.report.summary_values import JsonObject, Numbers, Record, State, UnitCell, about
from braggscale.report.summary_wavelengths import WavelengthsEntry
from braggscale.report.zero_dose import ZeroDoseEntry

ONE_LINE = 400  # characters of an entry that needs no lines of its own

SCHEMA: Literal["braggscale.scale/1"] = "braggscale.scale/1"


class OutputNames(Record, frozen=True):
    """Names of files in the options; None for a file that was not wanted."""

    experiments: str
    reflections: str
    json: str | None


class StoredComponent(Record, frozen=True):
    """A component as it is stored with the experiments.  ``est_standard_devs``: None without a covariance."""

    parameters: Numbers
    est_standard_devs: Numbers | None = None


class _Configuration(Record, frozen=True):
    shared: str | list[str] = ""


class Check(Record, frozen=True):
    """One check of the verdict."""

    name: str
    state: State
    text: str
    section: Annotated[str, about("Of the report.")]


class Advice(Record, frozen=True):
    """What to try."""

    why: str
    command: str


class Verdict(Record, frozen=True):
    """Whether the run is fine; thresholds in docs/guide/report.md."""

    state: State
    sentence: str
    checks: list[Check]
    commands: list[Advice]


class Summary(Record, frozen=True, kw_only=True):
    """Summary of a scaling run.

    All numbers are finite; null is what is not known. Arrays do not grow with the number of reflections. Everything
    but run is the same for the same input and options.
    """

    schema: Annotated[
        Literal["braggscale.scale/1"],
        about("Version of this format. Within a version fields are added, never changed or removed."),
    ]
    program: Program
    command: Command
    warnings: Annotated[list[WarningEntry], about("Warnings of the run, in the order of the log.")] = []
    options: Annotated[JsonObject, about("All options as nested objects (docs/options.md); Auto and None are null.")]
    sample: Annotated[str | None, about("What the names of all images begin with.")] = None
    space_group: Annotated[str | None, about("Extended Hermann-Mauguin symbol.")]
    unit_cell: Annotated[UnitCell, about("a b c alpha beta gamma, Angstrom and degrees.")]
    data_sets: list[DataSetEntry]
    indexing: Annotated[IndexingEntry | None, about("Null for a single data set.")] = None
    reference: Annotated[ReferenceEntry | None, about("Null without a reference.")] = None
    wavelengths: Annotated[WavelengthsEntry | None, about("Null where there is one wavelength.")] = None
    outlying: Annotated[list[OutlyingEntry], about("What is unusual about data sets, among the others.")] = []
    zero_dose: Annotated[ZeroDoseEntry | None, about("Null where it was not asked for.")] = None
    free_set: Annotated[FreeSetEntry | None, about("Null without a free set.")] = None
    half_sets: Annotated[HalfSetsEntry | None, about("Null without additional_stats.")] = None
    filtering: Annotated[FilteringEntry | None, about("Null where nothing was filtered.")] = None
    ledger: Ledger
    selection: Selection
    rounds: list[Round]
    fit: FitEntry
    validation: ValidationEntry | None = None
    error_models: list[ErrorModelFit]
    intensity_choice: Annotated[
        float | None,
        about(
            "0 profile, 1 summation, -1 the mixture with the least expected error of each observation, else the "
            "midpoint of the mixture in raw counts."
        ),
    ]
    profiles: Annotated[list[ProfileEntry], about("How profiles compare with sums; empty where they are not combined.")]
    outliers: Annotated[int, about("Rejected observations.")]
    statistics: StatisticsEntry | None
    models: list[ModelEntry]
    correlations: Correlations | None
    resolution: Resolution | None
    intensity_distribution: IntensityDistribution | None
    by_image: ByImage | None
    by_data_set: ByDataSet | None
    radiation_damage: RadiationDamage | None
    deviations: Deviations | None
    detector: DetectorMaps | None
    absorption_use: AbsorptionUse | None
    worst_groups: Annotated[list[WorstGroup] | None, about("Reflections with the worst outliers, the worst first.")]
    anomalous: AnomalousSignal | None
    exclusions: Annotated[
        ExclusionsEntry | None,
        about("Images and data sets that disagree with the rest; null if not tested."),
    ] = None
    symmetry: Annotated[SymmetryEntry | None, about("Whether the space group fits; null if not tested.")] = None
    ranks: Annotated[RanksEntry | None, about("Null for a run in one process without a limit of memory.")] = None
    run: RunEntry
    verdict: Verdict

    @property
    def kept(self) -> list[DataSetEntry]:
        """The data sets in the output, in the order of ``by_data_set`` and ``models``."""
        return [entry for entry in self.data_sets if entry.model is not None]

    @property
    def output(self) -> OutputNames:
        """The names of the files that the run wrote.  Raises msgspec.ValidationError if the options do not say."""
        return msgspec.convert(self.options.get("output"), OutputNames)

    def stored(self, d: int, name: str) -> StoredComponent | None:
        """A component of the model of data set ``d`` in the output as it is stored; None if the model has none.

        Raises msgspec.ValidationError if it is damaged.
        """
        model = self._whole_model(d)
        return msgspec.convert(model[name], StoredComponent) if name in model else None

    def _whole_model(self, d: int) -> JsonObject:
        """The model of data set ``d`` in the output, with what it shares with the first one."""
        return {**(self.kept[0].model or {}), **(self.kept[d].model or {})}

    def shares(self, d: int, name: str) -> bool:
        """Whether all data sets have component ``name`` in common, by the model of data set ``d`` in the output."""
        model = self._whole_model(d)
        return name in msgspec.convert(model.get("configuration_parameters", {}), _Configuration).shared

    def kind(self, d: int) -> str:
        """The kind of the model of data set ``d`` in the output."""
        return str(self._whole_model(d).get("__id__", ""))


def to_json(summary: Summary) -> bytes:
    """The summary as JSON without blanks; NaN and infinities become null, numpy's numbers plain ones."""
    return msgspec.json.encode(summary, enc_hook=_plain)


def from_json(content: bytes) -> Summary:
    """The summary in the content of a file.

    Raises msgspec.ValidationError, which names the entry, if an entry is missing or of another type, and
    msgspec.DecodeError if this is not JSON.
    """
    return msgspec.json.decode(content, type=Summary)


def json_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of the summary."""
    found = msgspec.json.schema(Summary)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "scale.json"} | found


def summary_text(summary: Summary) -> str:
    """The content of scale.json: an entry per line, lists of plain values on one line."""
    return json_text(json.loads(to_json(summary))) + "\n"


def json_text(value: object, depth: int = 0) -> str:
    """JSON with an entry per line, lists of plain values and short objects on one line.

    ``value``: what ``json.loads`` gives.
    """
    inner, outer = " " * (depth + 1), " " * depth
    if depth > 1 and isinstance(value, dict | list) and len(value) < ONE_LINE:
        line = json.dumps(value, allow_nan=False)
        if len(line) < ONE_LINE:
            return line
    if isinstance(value, dict) and value:
        entries = (f"{inner}{json.dumps(key)}: {json_text(item, depth + 1)}" for key, item in value.items())
        return "{\n" + ",\n".join(entries) + f"\n{outer}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(inner + json_text(item, depth + 1) for item in value) + f"\n{outer}]"
    return json.dumps(value, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in scale.json")
