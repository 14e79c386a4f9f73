"""Experiment lists as JSON documents, which are kept as they are, joined, and written with the entries of scaling.

    {"__id__": "ExperimentList",
     "experiment": [{"identifier": ..., "beam": 0, "scan": 0, ...}, ...],
     "beam": [...], "scan": [...], ..., "history": [...]}

An experiment names its models by their position in the lists. Unknown entries are copied unchanged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from braggscale.data.experiment import Experiment
from braggscale.errors import InputError
from braggscale.io.experiment_models import experiments_of, load_json, model_lists
from braggscale.io.file_kind import Source

_LIST = "ExperimentList"


@dataclass(frozen=True, slots=True)
class Document:
    """One or several experiment lists.

    ``data``: the JSON as read, never changed.  ``experiments``: the parts that scaling needs, in the same order.
    ``files``: the file that each experiment comes from.
    """

    data: Mapping[str, Any]
    experiments: tuple[Experiment, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OutputExperiment:
    """One experiment of the output.

    ``index``: its position in the document.  ``scaling_model``: the model as a dictionary, None for none.
    ``valid_image_ranges``: images in use, runs of (first, last); None for no change. ``batch_offset``: None for no
    change.
    """

    index: int
    identifier: str
    scaling_model: Mapping[str, Any] | None
    valid_image_ranges: Sequence[tuple[int, int]] | None = None
    batch_offset: int | None = None


def read_document(source: Source) -> Document:
    """An experiment list from a file. Raises InputError if it is damaged or lacks what scaling needs."""
    data = load_json(source)
    if data.get("__id__") != _LIST:
        raise InputError(f'{source.path}: this JSON file is not an experiment list (no "__id__": "{_LIST}")')
    experiments = experiments_of(source.path, data)
    return Document(data, experiments, (source.path,) * len(experiments))


def join(documents: Sequence[Document]) -> Document:
    """All experiments in the given order, as one document.

    Lists are concatenated and positions shifted; history lines are merged by time; other entries are those of the
    first document.
    """
    if len(documents) == 1:
        return documents[0]
    data: dict[str, Any] = {}
    history: list[Any] = []
    for document in documents:
        lists = model_lists(document.data)
        shift = {name: len(data.get(name, [])) for name in lists}
        for name, value in document.data.items():
            if name in lists:
                data[name] = [*data.get(name, []), *value]
            elif name == "history" and isinstance(value, list):
                history += [line for line in value if line not in history]
            elif name != "experiment":
                data.setdefault(name, value)
        shifted = [
            {key: value + shift[key] if _refers(key, value, lists) else value for key, value in entry.items()}
            for entry in document.data["experiment"]
        ]
        data["experiment"] = [*data.get("experiment", []), *shifted]
    if history:
        data["history"] = sorted(history, key=_time)
    return Document(
        data,
        tuple(experiment for document in documents for experiment in document.experiments),
        tuple(name for document in documents for name in document.files),
    )


def output_data(document: Document, kept: Sequence[OutputExperiment], history_line: str) -> dict[str, Any]:
    """The document with only the given experiments and their new scaling models, ready for ``to_text``.

    Models that no experiment names any more are left out and the positions in the lists renumbered.
    ``history_line``: appended to the history, see ``history_line``.
    """
    source = document.data
    lists = model_lists(source)
    entries = [dict(source["experiment"][item.index]) for item in kept]
    models: dict[str, list[Any]] = {}
    for name, values in lists.items():
        if name in ("scan", "scaling_model"):
            continue
        used = sorted({entry[name] for entry in entries if _refers(name, entry.get(name), lists)})
        place = {old: new for new, old in enumerate(used)}
        models[name] = [values[old] for old in used]
        for entry in entries:
            if _refers(name, entry.get(name), lists):
                entry[name] = place[entry[name]]
    models["scan"] = _scans(document, kept, entries)
    models["scaling_model"] = []
    for entry, item in zip(entries, kept, strict=True):
        entry["identifier"] = item.identifier
        entry.pop("scaling_model", None)
        if item.scaling_model is not None:
            entry["scaling_model"] = len(models["scaling_model"])
            models["scaling_model"].append(item.scaling_model)
    result: dict[str, Any] = {}
    for name, value in source.items():
        result[name] = entries if name == "experiment" else models.pop(name, value)
    result |= models
    old_history = source.get("history")
    result["history"] = [*(old_history if isinstance(old_history, list) else []), history_line]
    return result


@dataclass(slots=True)
class _NewScan:
    """One scan of the output: the old one, its new batch offset, and new image ranges by identifier."""

    old: int
    batch_offset: int | None
    position: int
    ranges: dict[str, list[list[int]]] = field(default_factory=dict)
    owners: set[int] = field(default_factory=set)


def _scans(document: Document, kept: Sequence[OutputExperiment], entries: Sequence[dict[str, Any]]) -> list[Any]:
    """The scans of the kept experiments; sets their positions in ``entries``.

    A scan that several experiments share stays shared unless their batch offsets differ.
    """
    scans = document.data.get("scan") or []
    made: dict[tuple[int, int | None], _NewScan] = {}
    for entry, item in sorted(
        zip(entries, kept, strict=True), key=lambda pair: -1 if pair[0].get("scan") is None else pair[0]["scan"]
    ):
        old = entry.get("scan")
        if old is not None and scans[old] is None:  # an entry of the list that is empty
            old = entry["scan"] = None
        if old is None:
            continue
        new = made.setdefault((old, item.batch_offset), _NewScan(old, item.batch_offset, len(made)))
        entry["scan"] = new.position
        new.owners.add(item.index)
        experiment = document.experiments[item.index]
        ranges = item.valid_image_ranges
        if ranges is None and experiment.scan is not None:
            ranges = experiment.scan.valid_image_ranges
        if ranges:
            new.ranges[item.identifier] = [[int(first), int(last)] for first, last in ranges]
    users: dict[int, set[str]] = {}
    for experiment, entry in zip(document.experiments, document.data["experiment"], strict=True):
        if entry.get("scan") is not None:
            users.setdefault(entry["scan"], set()).add(experiment.identifier)
    result = []
    for new in made.values():
        scan = dict(scans[new.old])
        old_ranges = scan.get("valid_image_ranges")
        stays = {
            name: value
            for name, value in (old_ranges if isinstance(old_ranges, dict) else {}).items()
            if name not in users[new.old]
        }
        if new.ranges or old_ranges is not None:
            scan["valid_image_ranges"] = stays | new.ranges
        if new.batch_offset is not None:
            scan["batch_offset"] = int(new.batch_offset)
        result.append(scan)
    return result


def own_lists(document: Document) -> dict[str, Any]:
    """The document with copies of the lists, so that they can be extended; the entries are those of the input."""
    data = dict(document.data)
    for name, values in model_lists(data).items():
        data[name] = list(values)
    data["experiment"] = [dict(entry) for entry in data["experiment"]]
    return data


def imageset_numbers(data: Mapping[str, Any]) -> list[int]:
    """The imageset of each experiment in a document, -1 for none; what a table's ``imageset_id`` refers to."""
    numbers = [entry.get("imageset") for entry in data["experiment"]]
    return [-1 if number is None else int(number) for number in numbers]


def history_line(time: str, version: str, done: str = "scaled") -> str:
    """The line that a run of this program adds.  ``time``: UTC as YYYY-MM-DDTHH:MM:SSZ."""
    return f"{time}|braggscale.scale|{version}|{done}"


def to_text(data: Mapping[str, Any]) -> str:
    """The document as JSON: one line for each experiment, model and history line.

    Numbers are written with the fewest digits that give back the same number.
    """
    parts = []
    for name, value in data.items():
        if isinstance(value, list) and value:
            items = ",\n    ".join(_json(item) for item in value)
            parts.append(f"  {_json(name)}: [\n    {items}\n  ]")
        else:
            parts.append(f"  {_json(name)}: {_json(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _json(value: Any) -> str:
    try:
        return json.dumps(value, default=lambda item: item.tolist(), allow_nan=False)
    except ValueError:
        # JSON has neither NaN nor infinities; they become null
        return json.dumps(_finite(value), default=lambda item: _finite(item.tolist()), allow_nan=False)


def _finite(value: Any) -> Any:
    """The same with null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refers(name: str, value: Any, lists: Mapping[str, Any]) -> bool:
    """Whether an experiment's entry is a position in one of the model lists."""
    return name in lists and type(value) is int


def _time(line: Any) -> str:
    return line.split("|", 1)[0] if isinstance(line, str) else ""
