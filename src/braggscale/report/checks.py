"""Converts the checks of a run to their entries in scale.json."""

from __future__ import annotations

from typing import Literal

from braggscale.data.experiment import Still
from braggscale.options.schema import Options
from braggscale.report.exclusion_advice import commands
from braggscale.report.numbers.json_numbers import rounded, significant
from braggscale.report.summary_checks import AbsencesEntry, ElementEntry, ExclusionsEntry, StretchEntry, SymmetryEntry
from braggscale.report.summary_document import Advice, OutputNames
from braggscale.scaling.data_checks import first_image
from braggscale.scaling.result import Result
from braggscale.statistics.bad_stretches import Stretch
from braggscale.statistics.symmetry_check import SymmetryCheck
from braggscale.statistics.symmetry_elements import Element

MOST_PATTERNS = 5


def exclusions_entry(result: Result) -> ExclusionsEntry:
    """Images and data sets that disagree with the rest, by identifier and image number."""
    found = result.exclusions
    return ExclusionsEntry(
        false_alarm=found.false_alarm,
        images=[_stretch(result, one, images=True) for one in found.stretches],
        data_sets=[_stretch(result, one, images=False) for one in found.data_sets],
        gain=rounded(found.gain, 3),
        gain_error=rounded(found.gain_error, 2),
    )


def symmetry_entry(result: Result) -> SymmetryEntry:
    """The results for systematic absences and rotations of the lattice."""
    found = result.symmetry_check
    return SymmetryEntry(
        likely=None if found.likely is None else list(found.likely.groups),
        absences=[
            AbsencesEntry(
                space_groups=list(one.groups),
                probability=significant(one.probability),
                forbidden=one.n,
                i_over_sigma=rounded(one.i_over_sigma, 3),
            )
            for one in found.patterns[:MOST_PATTERNS]
        ],
        elements=[
            ElementEntry(
                operator=one.operator,
                fold=one.fold,
                used=one.used,
                pairs=one.pairs,
                cc=rounded(one.cc),
                r_meas=rounded(one.r_meas),
                probability=rounded(one.probability, 3),
                state=_state(one, found),
            )
            for one in found.elements
        ],
    )


def _state(one: Element, found: SymmetryCheck) -> Literal["holds", "denied", "missing", "no", "unknown"]:
    if one in found.denied:
        return "denied"
    if one in found.missing:
        return "missing"
    if found.undecided(one):
        return "unknown"
    return "holds" if one.used else "no"


def advice_without_summary(result: Result, options: Options) -> list[Advice]:
    """Advice for the log if neither scale.json nor the report is written; it lacks ΔCC1/2 of data sets."""
    found = exclusions_entry(result)
    data_sets = [one.data_set for one in found.data_sets if one.recommended]
    d_min = result.statistics.limit.d_min if result.statistics else None
    output = OutputNames(options.output.experiments, options.output.reflections, None)
    return commands(found, data_sets, [one.identifier for one in result.used], d_min, output)


def _stretch(result: Result, one: Stretch, images: bool) -> StretchEntry:
    member = result.used[one.data_set]
    start = first_image(member.experiment) if images and not isinstance(member.experiment.kind, Still) else None
    return StretchEntry(
        data_set=member.identifier,
        first=None if start is None else start + one.first,
        last=None if start is None else start + one.last,
        observations=one.rows,
        excess=rounded(one.excess, 3),
        chance=significant(one.chance, 2),
        gain=rounded(one.gain, 3),
        gain_error=rounded(one.gain_error, 2),
        recommended=one.worth_leaving_out,
    )
