"""scale.json of a run over ranks: the entries of every run as far as they have a meaning without single rows."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from braggscale import __version__
from braggscale.data.flags import FATE_TEXT, Fate
from braggscale.options.schema import Options
from braggscale.ranks.groups import MergedGroup
from braggscale.ranks.report import Findings
from braggscale.report.numbers.json_numbers import column, significant
from braggscale.report.numbers.sections import resolution_of
from braggscale.report.summary import NOT_JUDGED, command_entry, error_model_entries, judged, same, statistics_entry
from braggscale.report.summary_document import SCHEMA, Summary
from braggscale.report.summary_ranks import RanksEntry, RanksGroupEntry
from braggscale.report.summary_run import (
    ErrorModelEntry,
    FateEntry,
    FitEntry,
    Ledger,
    Program,
    Round,
    RunEntry,
    Selection,
    WarningEntry,
)


def summary_of(
    found: Findings, options: Options, command: Mapping[str, Any], about_ranks: tuple[int, int],
    seconds: Mapping[str, float],
) -> Summary:  # fmt: skip
    """The summary.  ``about_ranks``: their number, and bytes that each gave to sums.  ``seconds``: by stage."""
    scaled, n = found.scaled, found.whole.n_observations
    statistics = None if found.whole.statistics is None else statistics_entry(found.whole.statistics, ())
    result = Summary(
        schema=SCHEMA,
        program=Program(name="braggscale", version=__version__),
        command=command_entry(command),
        warnings=[WarningEntry(code=code.value, text=text, data_set=None) for code, text in found.warnings],
        options=options.as_dict(),
        space_group=str(found.symmetry),
        unit_cell=found.cell,
        data_sets=[],
        ledger=_ledger(found.ledger),
        selection=Selection(observations=n, groups=found.n_unique, data_sets=[]),
        rounds=[
            Round(
                number=one.number, observations=n, minimisers=[], error_models=[same(one.errors, ErrorModelEntry)],
                intensity_choice=None, outliers=one.n_outliers,
            )
            for one in scaled.rounds
        ],
        fit=_fit(found),
        error_models=[] if scaled.errors is None else error_model_entries([scaled.errors]),
        intensity_choice=None,
        profiles=[],
        outliers=found.ledger.get(Fate.OUTLIER, 0),
        statistics=statistics,
        models=[],
        correlations=None,
        resolution=None if found.whole.statistics is None else resolution_of(found.whole.statistics.shells),
        intensity_distribution=None,
        by_image=None,
        by_data_set=None,
        radiation_damage=None,
        deviations=None,
        detector=None,
        absorption_use=None,
        worst_groups=None,
        anomalous=None,
        ranks=_ranks(found, about_ranks),
        run=RunEntry(
            seconds=dict(seconds), python=platform.python_version(), numpy=np.__version__, machine=platform.machine(),
            finished=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        ),
        verdict=NOT_JUDGED,
    )  # fmt: skip
    return judged(result)


def _ledger(counts: Mapping[Fate, int]) -> Ledger:
    return Ledger(
        codes={fate.name.lower(): FateEntry(code=int(fate), text=FATE_TEXT[fate]) for fate in Fate},
        data_sets={},
        total={fate.name.lower(): n for fate, n in counts.items() if n},
        rows=sum(counts.values()),
    )


def _fit(found: Findings) -> FitEntry:
    scaled = found.scaled
    strengths: dict[str, float | None] = {}
    if scaled.strengths.estimated:
        strengths = {"scale level": scaled.strengths.scale, "decay level": scaled.strengths.decay}
        strengths |= {} if found.detector is None else found.detector.strengths
    n_parameters = 2 * found.whole.n_data_sets + (0 if found.detector is None else len(found.detector.theta))
    return FitEntry(
        parameters=n_parameters, observations=found.whole.n_observations, groups=found.n_unique,
        minimisers=[], has_esds=True, message=None, undetermined=[], converged=scaled.converged, strengths=strengths,
        components=[],
    )  # fmt: skip


def _ranks(found: Findings, about_ranks: tuple[int, int]) -> RanksEntry:
    return RanksEntry(
        number=about_ranks[0], bytes_of_sums=about_ranks[1], input=found.n_data_sets, scaled=found.whole.n_data_sets,
        filtered=found.filtered.n_removed, spread_ln_scale=significant(found.spread[0]),
        spread_b=significant(found.spread[1]), r_split=column(found.whole.r_split),
        groups=[_group(one) for one in found.groups],
    )  # fmt: skip


def _group(one: MergedGroup) -> RanksGroupEntry:
    return RanksGroupEntry(
        name=one.name, data_sets=one.n_data_sets, observations=one.n_observations,
        statistics=None if one.statistics is None else statistics_entry(one.statistics, ()),
        r_split=column(one.r_split),
    )  # fmt: skip
