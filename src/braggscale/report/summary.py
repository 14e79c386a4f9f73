"""Makes the summary from a Result. It has everything that the log and the report show, in a form for programs.

The names in scale.json are a published format, the names in the program may change; this module translates them.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import numpy as np

from braggscale import __version__
from braggscale.data.flags import FATE_TEXT, Fate
from braggscale.data.sorting import LeftOut
from braggscale.io.image_names import sample_name
from braggscale.models.settings import settings_table
from braggscale.numerics.minimisers import Fit
from braggscale.options.schema import Options
from braggscale.report.assessment import verdict
from braggscale.report.checks import exclusions_entry, symmetry_entry
from braggscale.report.filter_results import filtering_entry
from braggscale.report.many_data_sets import shortened
from braggscale.report.numbers.half_sets import half_sets_entry
from braggscale.report.numbers.indexing import indexing_entry
from braggscale.report.numbers.json_numbers import numbers, rounded, significant
from braggscale.report.numbers.reference import reference_entry
from braggscale.report.numbers.sections import collect
from braggscale.report.summary_crystals import FreeSetEntry, OutlyingEntry
from braggscale.report.summary_document import SCHEMA, Summary, Verdict, from_json, to_json
from braggscale.report.summary_run import (
    CandidateEntry,
    Command,
    ComponentEntry,
    DataSetEntry,
    ErrorModelEntry,
    ErrorModelFit,
    FateEntry,
    FitEntry,
    FitShare,
    IntervalsEntry,
    Ledger,
    Minimiser,
    Partials,
    ProfileEntry,
    Program,
    RangeEntry,
    Round,
    RunEntry,
    Selection,
    ShellEntry,
    StatisticsEntry,
    ValidationEntry,
    WarningEntry,
)
from braggscale.report.summary_values import Record
from braggscale.report.summary_wavelengths import DispersiveEntry, WavelengthEntry, WavelengthsEntry
from braggscale.report.zero_dose import zero_dose_entry
from braggscale.run_warnings import Warned
from braggscale.scaling.cross_validation import Validation
from braggscale.scaling.free_set import FreeSet
from braggscale.scaling.result import Result
from braggscale.statistics.confidence_intervals import Intervals
from braggscale.statistics.merging_statistics import Statistics
from braggscale.statistics.shell_statistics import Shell
from braggscale.weighting.error_model import FitResult

Part = TypeVar("Part", bound=Record)
NOT_JUDGED = Verdict(state="look", sentence="", checks=[], commands=[])


def summary(
    result: Result,
    options: Options,
    command: Mapping[str, Any],
    seconds: Mapping[str, float],
    warned: Sequence[Warned] = (),
    images: Sequence[str] = (),
) -> Summary:
    """The summary of a run. Its entry ``run`` holds everything that may differ between two runs of the same command.

    ``command``: content of the entry of this name.  ``seconds``: by stage.  ``warned``: warnings of the run.
    ``images``: names of the images of each data set of the input; none if they are not known. The summary is
    written as JSON and read back once, so that the report shows exactly the numbers of scale.json.
    """
    sections = collect(result, options)
    state = result.scaled.state
    kept = [one.identifier for one in result.used]
    found = Summary(
        schema=SCHEMA,
        program=Program(name="braggscale", version=__version__),
        command=command_entry(command),
        warnings=[same(one, WarningEntry) for one in warned],
        options=options.as_dict(),
        sample=sample_name([images[one.number] for one in result.used] if images else []) or None,
        space_group=str(result.symmetry),
        unit_cell=result.cell,
        data_sets=_data_sets(result, images),
        indexing=indexing_entry(result.indexing),
        reference=reference_entry(result.reference),
        wavelengths=_wavelengths(result),
        outlying=_outlying(result),
        zero_dose=zero_dose_entry(result.zero_dose),
        free_set=_free_set(result.free_set),
        half_sets=half_sets_entry(result.half_sets),
        filtering=filtering_entry(result.filtering),
        ledger=_ledger(result),
        selection=_selection(result),
        rounds=_rounds(result),
        fit=_fit(result),
        validation=_validation(result.validation),
        error_models=error_model_entries(result.scaled.rounds[-1].errors if result.scaled.rounds else ()),
        intensity_choice=state.i_mid,
        profiles=_profiles(result),
        outliers=int(state.rejected.sum()),
        statistics=None if result.statistics is None else statistics_entry(result.statistics, kept),
        models=sections.models,
        correlations=sections.correlations,
        resolution=sections.resolution,
        intensity_distribution=sections.intensity_distribution,
        by_image=sections.by_image,
        by_data_set=sections.by_data_set,
        radiation_damage=sections.radiation_damage,
        deviations=sections.deviations,
        detector=sections.detector,
        absorption_use=sections.absorption_use,
        worst_groups=sections.worst_groups,
        anomalous=sections.anomalous,
        exclusions=exclusions_entry(result),
        symmetry=symmetry_entry(result),
        run=_run(seconds),
        verdict=NOT_JUDGED,
    )
    return judged(found)


def judged(found: Summary) -> Summary:
    """A summary as scale.json has it, with its verdict."""
    plain = shortened(from_json(to_json(found)))
    return msgspec.structs.replace(plain, verdict=verdict(plain))


def command_entry(command: Mapping[str, Any]) -> Command:
    """The command line, from ``schema.CommandLine.as_dict``."""
    return msgspec.convert(command, Command)


def same(value: object, kind: type[Part]) -> Part:
    """A struct of the attributes of ``value`` that have the names of its fields."""
    return kind(**{name: getattr(value, name) for name in kind.__struct_fields__})


def _data_sets(result: Result, images: Sequence[str]) -> list[DataSetEntry]:
    models = dict(zip(result.kept, result.models, strict=True))
    settings = dict(zip(result.kept, result.settings, strict=True))
    listed = []
    for k, member in enumerate(result.data_sets):
        scan = member.experiment.scan
        partials = member.partials if isinstance(member, LeftOut) else member.usable.partials
        in_use = () if scan is None else scan.valid_image_ranges or (scan.image_range,)
        listed.append(
            DataSetEntry(
                identifier=member.identifier,
                id=member.data_set.id,
                dropped=member.reason if isinstance(member, LeftOut) else None,
                image_range=None if scan is None else list(scan.image_range),
                images_in_use=None if scan is None else [list(images) for images in in_use],
                batch_offset=None if scan is None else scan.batch_offset,
                images=(images[member.number] or None) if images else None,
                settings=settings_table(settings[k]) if k in settings else None,
                model=models.get(k),
                partials=None if partials is None else same(partials, Partials),
            )
        )
    return listed


def _outlying(result: Result) -> list[OutlyingEntry]:
    """Values of data sets that are outliers among those of the others."""
    return [
        OutlyingEntry(
            data_set=result.used[one.data_set].identifier,
            what=one.what,
            value=significant(one.value),
            usual=significant(one.usual),
        )
        for one in result.outlying
    ]


def _selection(result: Result) -> Selection:
    """The observations in the fit."""
    return Selection(
        observations=int(result.selection.mask.sum()),
        groups=result.selection.n_groups,
        data_sets=[same(share, FitShare) for share in result.selection.shares],
    )


def _run(seconds: Mapping[str, float]) -> RunEntry:
    """Everything that may differ between two runs of the same command.  ``seconds``: by stage."""
    return RunEntry(
        seconds=dict(seconds),
        python=platform.python_version(),
        numpy=np.__version__,
        machine=platform.machine(),
        finished=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    )


def _ledger(result: Result) -> Ledger:
    by_set = result.ledger()
    total = dict.fromkeys(Fate, 0)
    for counts in by_set.values():
        for fate, n in counts.items():
            total[fate] += n
    return Ledger(
        codes={fate.name.lower(): FateEntry(code=int(fate), text=FATE_TEXT[fate]) for fate in Fate},
        data_sets={name: {f.name.lower(): n for f, n in counts.items()} for name, counts in by_set.items()},
        total={fate.name.lower(): n for fate, n in total.items() if n},
        rows=sum(total.values()),
    )


def _profiles(result: Result) -> list[ProfileEntry]:
    names = [result.data_sets[k].identifier for k in result.kept]
    return [
        msgspec.convert(asdict(found) | {"data_sets": [names[k] for k in found.data_sets]}, ProfileEntry)
        for found in result.scaled.profiles
    ]


def _rounds(result: Result) -> list[Round]:
    return [
        Round(
            number=report.number,
            observations=report.outcome.n_observations,
            minimisers=_minimisers(report.outcome.fits),
            error_models=[same(found.model, ErrorModelEntry) for found in report.errors],
            intensity_choice=None if report.choice is None else report.choice.name,
            outliers=None if report.rejection is None else report.n_outliers,
        )
        for report in result.scaled.rounds
    ]


def _minimisers(fits: Sequence[tuple[str, Fit]]) -> list[Minimiser]:
    return [
        Minimiser(name=name, stop=fit.stop.name.lower(), text=fit.stop.value, cost=list(fit.history))
        for name, fit in fits
    ]


def _fit(result: Result) -> FitEntry:
    outcome = result.scaled.outcome
    components = [
        ComponentEntry(
            data_set=result.used[f.data_set].identifier,
            component=f.component,
            effective=f.effective,
            n_parameters=f.n_parameters,
            rms=f.rms,
            low=f.low,
            high=f.high,
            strengths=dict(f.strengths),
            first=f.first,
            text=f.sentence(),
        )
        for f in result.scaled.component_summaries
    ]
    return FitEntry(
        parameters=result.model.n_parameters,
        observations=outcome.n_observations,
        groups=outcome.n_groups,
        minimisers=_minimisers(outcome.fits),
        has_esds=outcome.covariance is not None,
        message=outcome.message,
        undetermined=[result.parameter_name(p) for p in outcome.undetermined],
        converged=result.scaled.converged,
        strengths=dict(result.scaled.state.strengths),
        components=components,
    )


def _validation(found: Validation | None) -> ValidationEntry | None:
    if found is None:
        return None
    return ValidationEntry(
        observations=found.observations,
        groups=found.groups,
        folds=found.folds,
        reason=found.reason,
        candidates=[same(candidate, CandidateEntry) for candidate in found.candidates],
    )


def _wavelengths(result: Result) -> WavelengthsEntry | None:
    found = result.wavelengths
    if found is None:
        return None
    names = [one.identifier for one in result.used]
    return WavelengthsEntry(
        each=[
            WavelengthEntry(
                wavelength=one.wavelength,
                data_sets=[result.used[k].identifier for k in one.data_sets],
                statistics=None if one.statistics is None else statistics_entry(one.statistics, names),
            )
            for one in found.each
        ],
        differences=[
            DispersiveEntry(
                wavelengths=[found.each[one.first].wavelength, found.each[one.second].wavelength],
                unique=one.n,
                df_f=rounded(one.df_f),
                di_over_sigma=rounded(one.di_over_sigma),
                cc=rounded(one.cc),
            )
            for one in found.differences
        ],
    )


def _free_set(found: FreeSet | None) -> FreeSetEntry | None:
    if found is None:
        return None
    return FreeSetEntry(
        percentage=found.percentage,
        offset=found.offset,
        unique_work=found.n_work,
        unique_free=found.n_free,
        r_meas_work=rounded(found.r_meas_work),
        r_meas_free=rounded(found.r_meas_free),
        cc_half_work=rounded(found.cc_half_work),
        cc_half_free=rounded(found.cc_half_free),
    )


def error_model_entries(reports: Sequence[FitResult]) -> list[ErrorModelFit]:
    """Error models and how they were found."""
    return [
        ErrorModelFit(
            model=same(report.model, ErrorModelEntry),
            n_used=report.n_used,
            n_trimmed=report.n_trimmed,
            rounds=report.rounds,
            converged=report.converged,
            esd_a=report.esd_a,
            esd_b=report.esd_b,
            esd_c=report.esd_c,
            linear_gain=report.linear_gain,
            ranges=[same(one, RangeEntry) for one in report.ranges],
            reason=report.reason,
            isa=report.model.isa,
        )
        for report in reports
    ]


def _intervals(found: Intervals, names: Sequence[str]) -> IntervalsEntry:
    """``names``: identifiers of the data sets in the output."""
    return IntervalsEntry(
        **found.to_dict(),
        blocks=[(names[d], place) for d, place in found.keys] if found.keys else None,
        effects={name: numbers(effects, 3) for name, effects in found.effects.items()} if found.keys else None,
    )


def statistics_entry(found: Statistics, names: Sequence[str]) -> StatisticsEntry:
    """Merging statistics.  ``names``: identifiers of the data sets in the output."""

    def entry(shell: Shell) -> ShellEntry:
        """The statistics of a shell as a struct."""
        return same(shell, ShellEntry)

    return StatisticsEntry(
        overall=entry(found.overall),
        shells=[entry(shell) for shell in found.shells],
        anomalous=found.anomalous,
        suggested_d_min=found.limit.d_min,
        suggested_reason=found.limit.reason,
        suggested=None if found.suggested is None else entry(found.suggested),
        intervals=None if found.intervals is None else _intervals(found.intervals, names),
    )
