"""The results of filtering, for scale.json and in the form of the scale_and_filter_results.json of dials.scale."""

from __future__ import annotations

import json
import math
from typing import Any

from braggscale.report.numbers.json_numbers import rounded
from braggscale.report.summary_crystals import FilterCycleEntry, FilteringEntry, FilterPartEntry
from braggscale.scaling.filter_cycles import Cycle, Filtering, Part
from braggscale.scaling.result import Result
from braggscale.statistics.merging_statistics import Statistics

# Parts of a cycle that scale.json lists; the other file has them all.
MOST_LISTED = 20


def filtering_entry(found: Filtering | None) -> FilteringEntry | None:
    """The entry ``filtering``; None if the run does not filter."""
    if found is None:
        return None
    return FilteringEntry(
        method=found.settings.method,
        mode=found.settings.mode,
        reason=found.reason,
        observations=found.n_initial,
        cycles=[
            FilterCycleEntry(
                cc_half=rounded(cycle.cc_half),
                parts=len(cycle.parts),
                limit=rounded(cycle.limit),
                lowest=[_entry(part) for part in cycle.parts[:MOST_LISTED]],
                removed=[_entry(part) for part in cycle.removed],
                percent_removed=cycle.percent,
            )
            for cycle in found.cycles
        ],
    )


def _entry(part: Part) -> FilterPartEntry:
    images = None if part.images is None else list(part.images)
    return FilterPartEntry(
        data_set=part.identifier,
        images=images,
        observations=part.n,
        delta_cc_half=rounded(part.delta),
        mean_z2=rounded(part.z2),
    )


def filter_results_text(result: Result) -> str:
    """The content of scale_and_filter_results.json, which xia2.multiplex reads.

    The cycles are those of this program: several of them may belong to one scaling.
    """
    found = result.filtering
    if found is None:
        return "{}\n"
    final = [(one.identifier, _range(one.experiment)) for one in result.used]
    content = {
        "termination_reason": found.reason,
        "initial_n_reflections": found.n_initial,
        "initial_expids_and_image_ranges": [_pair(name, images) for name, images in found.initial],
        "expids_and_image_ranges": [_pair(name, images) for name, images in final],
        "cycle_results": {str(k): _cycle(cycle, found) for k, cycle in enumerate(found.cycles, 1)},
        "final_stats": _statistics(result.statistics),
    }
    return json.dumps(content, indent=1) + "\n"


def _range(experiment: Any) -> tuple[int, int] | None:
    scan = experiment.scan
    if scan is None:
        return None
    runs = scan.valid_image_ranges or (scan.image_range,)
    return runs[0][0], runs[-1][1]


def _pair(name: str, images: tuple[int, int] | None) -> object:
    return name if images is None else [name, list(images)]


def _cycle(cycle: Cycle, found: Filtering) -> dict[str, Any]:
    sets = [part for part in cycle.removed if part.images is None]
    entry: dict[str, Any] = {
        "merging_stats": _statistics(cycle.statistics),
        "delta_cc_half_values": [part.delta for part in cycle.parts if math.isfinite(part.delta)],
        "mean_cc_half": cycle.cc_half,
        "removed_datasets": [part.identifier for part in sets],
        "removed_ids": [part.id for part in sets],
        "n_removed": cycle.n_removed,
        "cumul_percent_removed": cycle.percent,
    }
    if found.settings.mode == "image_group":
        entry["image_ranges_removed"] = [
            [list(part.images), part.id] for part in cycle.removed if part.images is not None
        ]
        entry["removed_datasets"] = sorted({part.identifier for part in sets})
    return entry


def _statistics(found: Statistics | None) -> dict[str, Any]:
    """Columns by shell, and overall; fractions but for the completeness."""
    if found is None:
        return {}
    overall = found.overall

    def plain(value: float) -> float | None:
        """A number for JSON; None if it is not finite."""
        return float(value) if math.isfinite(value) else None

    return {
        "ccs": [plain(shell.cc_half) for shell in found.shells],
        "rmerge": [plain(shell.r_merge) for shell in found.shells],
        "rpim": [plain(shell.r_pim) for shell in found.shells],
        "d_min": [plain(shell.d_min) for shell in found.shells],
        "overall": {
            "cc_one_half": plain(overall.cc_half),
            "r_merge": plain(overall.r_merge),
            "r_pim": plain(overall.r_pim),
            "i_over_sigma_mean": plain(overall.mean_i_over_sigma),
            "completeness": plain(100.0 * overall.completeness),
            "n_obs": int(overall.n_obs),
        },
    }
