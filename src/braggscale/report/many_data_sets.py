"""The summary of a run with many data sets, without repetitions.

With more than ``MANY`` data sets most of scale.json would be repetition: 2000 stills took 9 MB. Settings, and
entries of stored models, are left out if they equal those of the first data set in the output. A component that data
sets share is listed with the one that stores it. Numbers have significant digits only, and sentences that can be made
from the numbers are omitted.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from braggscale.report.numbers.json_numbers import significant
from braggscale.report.summary_document import Summary
from braggscale.report.summary_run import ComponentEntry, DataSetEntry
from braggscale.report.summary_sections import ModelEntry
from braggscale.report.summary_values import JsonObject

MANY = 20
_ALWAYS = ("parameters", "est_standard_devs")
DIGITS = 7  # of a stored parameter; the experiments have all


def shortened(summary: Summary) -> Summary:
    """The same summary; if there are many data sets, without repetitions."""
    kept = summary.kept
    if len(summary.data_sets) <= MANY or not kept:
        return summary
    first = kept[0]
    entries = [entry if entry is first else _data_set(entry, first) for entry in summary.data_sets]
    components = [_component(entry, summary.fit.strengths) for entry in summary.fit.components if entry.first]
    fit = msgspec.structs.replace(summary.fit, components=components)
    models = [_own(entry, data_set) for entry, data_set in zip(summary.models, kept, strict=True)]
    return msgspec.structs.replace(summary, data_sets=entries, fit=fit, models=models)


def _own(entry: ModelEntry, data_set: DataSetEntry) -> ModelEntry:
    """The entry without the components that another data set stores."""
    if data_set.model is None:
        return entry
    own = [component for component in entry.components if component.name in data_set.model]
    return msgspec.structs.replace(entry, components=own)


def _data_set(entry: DataSetEntry, first: DataSetEntry) -> DataSetEntry:
    settings = None if entry.settings == first.settings else entry.settings
    model = None if entry.model is None else _differences(entry.model, first.model or {})
    return msgspec.structs.replace(entry, settings=settings, model=model, partials=None)


def _differences(model: JsonObject, first: JsonObject) -> JsonObject:
    found: JsonObject = {}
    for key, value in model.items():
        other = first.get(key)
        if key in first and value == other:
            continue
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            # the parameters of a component are always kept
            value = {k: v for k, v in value.items() if k in _ALWAYS or k not in other or v != other[k]}
        found[key] = _rounded(value)
    return found


def _rounded(value: object) -> object:
    """Floating-point numbers with significant digits only, also inside lists and objects."""
    if isinstance(value, float):
        return significant(value, DIGITS)
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def _component(entry: ComponentEntry, strengths: Mapping[str, float | None]) -> ComponentEntry:
    def short(value: float | None) -> float | None:
        """The value with five significant digits."""
        return None if value is None else significant(value, 5)

    same = all(strengths.get(kind) == value for kind, value in entry.strengths.items())
    return msgspec.structs.replace(
        entry,
        effective=short(entry.effective),
        rms=short(entry.rms),
        low=short(entry.low),
        high=short(entry.high),
        strengths={} if same else entry.strengths,
        text="",
    )
