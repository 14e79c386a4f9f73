"""scale.json: everything that the log says and all that the report shows, for programs.

The schema is versioned (``schema``, docs/scale.schema.json): a field may be added within a version, never changed or
removed. All numbers are finite; what is not known is null. Arrays do not grow with the number of reflections.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from braggscale import __version__
from braggscale.data.flags import FATE_TEXT, Fate
from braggscale.data.sorting import LeftOut
from braggscale.models.settings import settings_table
from braggscale.options.schema import Options
from braggscale.report.assessment import verdict
from braggscale.report.numbers.sections import collect
from braggscale.report.read_summary import SCHEMA
from braggscale.scaling.result import Result


def summary(
    result: Result, options: Options, command: Mapping[str, Any], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """The document; ``run`` holds what may differ between two runs of the same command (times, machine)."""
    found = {
        "schema": SCHEMA,
        "program": {"name": "braggscale", "version": __version__},
        "command": dict(command),
        "options": options.as_dict(),
        "space_group": result.symmetry.name,
        "unit_cell": list(result.cell),
        "data_sets": _data_sets(result),
        "ledger": _ledger(result),
        "selection": {
            "observations": int(result.selection.mask.sum()),
            "groups": result.selection.n_groups,
            "data_sets": [asdict(share) for share in result.selection.shares],
        },
        "rounds": _rounds(result),
        "fit": _fit(result),
        "validation": None if result.validation is None else asdict(result.validation),
        "error_models": _error_models(result),
        "intensity_choice": result.scaled.state.i_mid,
        "outliers": int(result.scaled.state.rejected.sum()),
        "statistics": None if result.statistics is None else result.statistics.to_dict(),
        **collect(result, options),
        "run": {
            "seconds": dict(seconds),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "machine": platform.machine(),
        },
    }
    plain: dict[str, Any] = _plain(found)
    plain["verdict"] = verdict(plain)
    return plain


def json_text(value: Any, depth: int = 0) -> str:
    """JSON with an entry per line, lists of plain values on one line."""
    inner, outer = " " * (depth + 1), " " * depth
    if isinstance(value, dict) and value:
        entries = (f"{inner}{json.dumps(key)}: {json_text(item, depth + 1)}" for key, item in value.items())
        return "{\n" + ",\n".join(entries) + f"\n{outer}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(inner + json_text(item, depth + 1) for item in value) + f"\n{outer}]"
    return json.dumps(value, allow_nan=False)


def _data_sets(result: Result) -> list[dict[str, Any]]:
    models = dict(zip(result.kept, result.models, strict=True))
    settings = dict(zip(result.kept, result.settings, strict=True))
    listed = []
    for k, member in enumerate(result.members):
        scan = member.experiment.scan
        entry: dict[str, Any] = {
            "identifier": member.identifier,
            "id": member.data_set.id,
            "dropped": member.reason if isinstance(member, LeftOut) else None,
            "image_range": None if scan is None else scan.image_range,
            "images_in_use": None if scan is None else scan.valid_image_ranges or (scan.image_range,),
            "batch_offset": None if scan is None else scan.batch_offset,
        }
        if k in models:
            entry |= {"settings": settings_table(settings[k]), "model": models[k]}
        partials = member.partials if isinstance(member, LeftOut) else member.usable.partials
        if partials is not None:
            entry["partials"] = asdict(partials)
        listed.append(entry)
    return listed


def _ledger(result: Result) -> dict[str, Any]:
    by_set = result.ledger()
    total = dict.fromkeys(Fate, 0)
    for counts in by_set.values():
        for fate, n in counts.items():
            total[fate] += n
    return {
        "codes": {fate.name.lower(): {"code": int(fate), "text": FATE_TEXT[fate]} for fate in Fate},
        "data_sets": {name: {f.name.lower(): n for f, n in counts.items()} for name, counts in by_set.items()},
        "total": {fate.name.lower(): n for fate, n in total.items() if n},
        "rows": sum(total.values()),
    }


def _rounds(result: Result) -> list[dict[str, Any]]:
    listed = []
    for report in result.scaled.rounds:
        listed.append(
            {
                "number": report.number,
                "observations": report.outcome.n_observations,
                "minimisers": [_minimiser(name, fit) for name, fit in report.outcome.fits],
                "error_models": [asdict(found.model) for found in report.errors],
                "intensity_choice": None if report.choice is None else report.choice.name,
                "outliers": None if report.rejection is None else report.n_outliers,
            }
        )
    return listed


def _minimiser(name: str, fit: Any) -> dict[str, Any]:
    return {"name": name, "stop": fit.stop.name.lower(), "text": fit.stop.value, "cost": list(fit.history)}


def _fit(result: Result) -> dict[str, Any]:
    outcome = result.scaled.outcome
    return {
        "parameters": result.model.n_parameters,
        "observations": outcome.n_observations,
        "groups": outcome.n_groups,
        "minimisers": [_minimiser(name, fit) for name, fit in outcome.fits],
        "has_esds": outcome.covariance is not None,
        "message": outcome.message,
        "undetermined": [result.parameter_name(p) for p in outcome.undetermined],
        "converged": result.scaled.converged,
        "strengths": dict(result.scaled.state.strengths),
        "components": [
            {**asdict(f), "data_set": result.used[f.data_set].identifier, "text": f.sentence()}
            for f in result.scaled.component_summaries
        ],
    }


def _error_models(result: Result) -> list[dict[str, Any]]:
    reports = result.scaled.rounds[-1].errors if result.scaled.rounds else ()
    return [{**asdict(report), "isa": report.model.isa} for report in reports]


def _plain(value: Any) -> Any:
    """Only what JSON knows: numpy numbers become numbers, infinities and NaN become null."""
    if value is None or isinstance(value, str | int) and not isinstance(value, np.generic):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
