"""Images and data sets that stand out, and the command that leaves them out, for terminal, report and scale.json.

Images and data sets come from the tests of ``statistics.exclusions``. Data sets are also tested by ΔCC1/2, CC1/2 of all
data minus CC1/2 without the data set. A data set is named if it lowers CC1/2 by far more than any other one raises it.
Leaving it out is recommended if the gain in CC1/2 is larger than its uncertainty and than 0.0005, and its observations
also deviate from their equivalents, mean z^2 twice as large as usual: of stills a few strong reflections may lower
CC1/2 by chance.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np

from braggscale.numerics.array_types import Float
from braggscale.numerics.normal import SD_FROM_MAD
from braggscale.report.summary_checks import ExclusionsEntry, StretchEntry
from braggscale.report.summary_document import Advice, OutputNames, Summary
from braggscale.wording import show_with_error

FAR_BELOW = 10.0  # robust standard deviations of ΔCC1/2
MORE_THAN_OTHERS_GAIN = 3.0  # times the largest ΔCC1/2: of stills the distribution has long tails
UNCERTAIN = 0.002  # uncertainty of CC1/2 if it has no interval
SMALLEST_RISE = 0.0005  # of CC1/2: a smaller one is not worth a data set, even where the interval is narrower
FEWEST_OBSERVATIONS = 20
DEVIATING = 2.0  # mean z^2 over that of the usual data set
OUTLIER_Z2 = 25.0  # z^2 with which an outlier is counted in that mean
MOST_RUNS = 24  # in one command


def robust_excess(values: Float) -> Float:
    """Distance of ``values``, (n,), from their median in robust standard deviations, (n,); NaN is kept.

    The robust standard deviation is SD_FROM_MAD (1.4826) times the median of the absolute deviations.
    """
    known = values[np.isfinite(values)]
    if len(known) < 4:
        return np.full(len(values), np.nan)
    middle = np.median(known)
    spread = SD_FROM_MAD * float(np.median(np.abs(known - middle)))
    return np.asarray((values - middle) / max(spread, 1e-3 * abs(float(middle)), 1e-12))


def numbers(values: Sequence[float | None]) -> Float:
    """A column of scale.json as an array, (n,), NaN for null."""
    return np.array([np.nan if v is None else v for v in values], np.float64)


def identifiers(summary: Summary) -> list[str]:
    """Identifiers of the data sets in the output."""
    return (
        [entry.identifier for entry in summary.kept] if summary.by_data_set is None else summary.by_data_set.identifier
    )


def images_standing_out(summary: Summary) -> list[tuple[int, int, int]]:
    """Runs of images that disagree with the rest: (position of the data set in ``by_data_set``, first, last)."""
    if summary.exclusions is None:
        return []
    place = {name: k for k, name in enumerate(identifiers(summary))}
    return [
        (place[one.data_set], one.first, one.last)
        for one in summary.exclusions.images
        if one.data_set in place and one.first is not None and one.last is not None
    ]


def lowering_cc_half(summary: Summary) -> list[int]:
    """Positions of data sets whose ΔCC1/2 is far below that of all others."""
    table = summary.by_data_set
    if table is None or len(table.identifier) < 4:
        return []
    delta = np.where(numbers(table.observations) >= FEWEST_OBSERVATIONS, numbers(table.delta_cc_half), np.nan)
    if not np.isfinite(delta).any():
        return []
    with np.errstate(invalid="ignore"):
        out = (robust_excess(delta) < -FAR_BELOW) & (delta < -MORE_THAN_OTHERS_GAIN * max(float(np.nanmax(delta)), 0.0))
    return [int(k) for k in np.flatnonzero(out)]


def deviating(summary: Summary) -> list[int]:
    """Positions of data sets whose observations, with outliers, deviate from equivalents twice as much as usual."""
    table = summary.by_data_set
    if table is None:
        return []
    n, outliers = numbers(table.observations), numbers(table.outliers)
    with np.errstate(invalid="ignore", divide="ignore"):
        z2 = (n * numbers(table.mean_z2) + OUTLIER_Z2 * outliers) / (n + outliers)
        known = z2[np.isfinite(z2)]
        return [int(k) for k in np.flatnonzero(z2 > DEVIATING * np.median(known))] if len(known) else []


def data_sets_standing_out(summary: Summary) -> list[int]:
    """Positions in ``by_data_set`` of those that disagree with all others, or without which CC1/2 rises."""
    place = {name: k for k, name in enumerate(identifiers(summary))}
    tested = [] if summary.exclusions is None else summary.exclusions.data_sets
    found = [place[one.data_set] for one in tested if one.data_set in place]
    return sorted({*found, *lowering_cc_half(summary)})


def worth_leaving_out(summary: Summary) -> list[str]:
    """Identifiers of the data sets that are recommended for exclusion."""
    found = (
        [] if summary.exclusions is None else [one.data_set for one in summary.exclusions.data_sets if one.recommended]
    )
    table, names = summary.by_data_set, identifiers(summary)
    if table is not None:
        for k in sorted({*lowering_cc_half(summary)} & {*deviating(summary)}):
            if -(table.delta_cc_half[k] or 0.0) > _uncertainty(summary) and names[k] not in found:
                found.append(names[k])
    return found


def rise_of_cc_half(summary: Summary, data_sets: Sequence[str]) -> float | None:
    """By how much CC1/2 of all data rises without ``data_sets``, the sum of their influences; None if not known."""
    table = summary.by_data_set
    if table is None:
        return None
    delta = dict(zip(table.identifier, numbers(table.delta_cc_half).tolist(), strict=True))
    rise = -sum(delta.get(name, np.nan) for name in data_sets)
    return rise if np.isfinite(rise) and rise > 0.0 else None


def _uncertainty(summary: Summary) -> float:
    intervals = summary.statistics.intervals if summary.statistics else None
    limits = intervals.cc_half if intervals else None
    return UNCERTAIN if limits is None else max(0.5 * (limits[1] - limits[0]), SMALLEST_RISE)


def commands(
    exclusions: ExclusionsEntry | None, data_sets: Sequence[str], names: Sequence[str], d_min: float | None,
    output: OutputNames, rise: float | None = None,
) -> list[Advice]:  # fmt: skip
    """Advice with commands for the next step; empty if there is none.

    ``data_sets``: identifiers of those to leave out.  ``names``: of all in the output.  ``d_min``: suggested limit
    of resolution, Angstrom, None if the signal reaches the end of the data.  ``rise``: of CC1/2 without these data
    sets.
    """
    pair = [output.experiments, output.reflections]
    compare = [f"report.compare={output.json}"] if output.json else []
    found: list[Advice] = []
    runs = [] if exclusions is None else [one for one in exclusions.images if one.recommended]
    if runs or data_sets:
        words = [f"exclude_datasets={','.join(data_sets)}"] if data_sets else []
        if runs:
            place = {name: k for k, name in enumerate(names)}
            ordered = sorted(runs[:MOST_RUNS], key=lambda one: (place.get(one.data_set, 0), one.first or 0))
            listed = ",".join(_run(one, names) for one in ordered)
            words.append(f"exclude_images={listed}")
        why = _why(exclusions, runs, data_sets, rise)
        found.append(Advice(why, shlex.join(["scale", *pair, *words, *compare])))
    if d_min is not None:
        why = f"Cut the resolution where CC1/2 falls to 0.3, {d_min:.2f} Å:"
        found.append(Advice(why, shlex.join(["scale", *pair, f"d_min={d_min:.2f}", *compare])))
    return found


def _run(one: StretchEntry, names: Sequence[str]) -> str:
    return f"{one.first}:{one.last}" if len(names) == 1 else f"{one.data_set}:{one.first}:{one.last}"


def _why(
    exclusions: ExclusionsEntry | None, runs: Sequence[StretchEntry], data_sets: Sequence[str], rise: float | None
) -> str:
    """The sentence before the command: what is left out, and the expected gain."""
    parts = (
        [] if not data_sets else [f"data set {data_sets[0]}" if len(data_sets) == 1 else f"{len(data_sets)} data sets"]
    )
    if runs:
        images = sum((one.last or 0) - (one.first or 0) + 1 for one in runs)
        parts.append(f"{images} image{'s' * (images > 1)}")
    what = " and ".join(parts)
    one = what == "1 image" or (len(data_sets) == 1 and not runs)
    text = f"Leave out {what} that disagree{'s' * one} with the rest"
    if exclusions is None or exclusions.gain is None:
        return f"{text}; CC1/2 rises{'' if rise is None else f' by {rise:.4f}'}:"
    gain = show_with_error(100 * exclusions.gain, 100 * (exclusions.gain_error or 0.0))
    return f"{text}; other observations of the same reflections are then predicted {gain} % better:"
