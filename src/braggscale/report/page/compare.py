"""Comparison of two runs, to see whether a change has improved the result."""

from __future__ import annotations

import math

from braggscale.report.page.figure import (
    BLUE,
    NOTHING,
    ORANGE,
    Figure,
    Layout,
    Section,
    Table,
    axis,
    line,
    middles,
    resolution_axis,
    shown,
)
from braggscale.report.summary_document import Summary
from braggscale.report.summary_run import StatisticsEntry
from braggscale.statistics.catalogue import (
    CATALOGUE,
    COMPARED,
    COMPARED_BY_SHELL,
    Better,
    Statistic,
    chosen,
)
from braggscale.statistics.paired_difference import Measured, difference
from braggscale.statistics.shown_digits import shown_digits
from braggscale.wording import decimals

PLOTS = ("cc_half", "r_pim", "r_meas", "mean_i_over_sigma", "completeness", "multiplicity")
# Statistics that are counted, not estimated, so that any difference is significant.
COUNTED = ("completeness", "multiplicity", "n_obs", "n_unique", "anomalous_completeness", "anomalous_multiplicity")


def compare(summary: Summary, other: Summary | None, label: str) -> Section:
    """``other``: the summary of another run; ``label``: its path."""
    section = Section(
        "compare",
        "Compared with another run",
        f"This run beside {label}. Intervals of differences are paired: the same blocks of images are drawn for both. "
        f"R factors over other observations are not the same quantity: look at R_pim, CC1/2 "
        f"and "
        "completeness together.",
    )
    if other is None:
        return section
    if summary.space_group != other.space_group:
        section.notes.append(f"The space groups differ: {summary.space_group} here, {other.space_group} there.")
    here, there = summary.statistics, other.statistics
    if here is None or there is None:
        section.notes.append("One of the runs has no merging statistics.")
        return section
    section.tables += [_table(here, there, summary, other), _commands(summary, other)]
    limits = [d for run in (here, there) for s in run.shells for d in (s.d_max, s.d_min)]
    d_axis = resolution_axis([min(limits), max(limits)])
    section.figures += [_figure(CATALOGUE[name], here, there, d_axis) for name in PLOTS]
    return section


def _figure(statistic: Statistic, here: StatisticsEntry, there: StatisticsEntry, d_axis: Layout) -> Figure:
    """A statistic of both runs by resolution."""
    key = statistic.name
    digits = max(shown_digits(run).shells[key] for run in (here, there))
    data = []
    for run, name, colour, dash in ((here, "this run", BLUE, "solid"), (there, "other run", ORANGE, "dash")):
        x = middles(run.shells)
        y = [_times(getattr(s, key), statistic.factor) for s in run.shells]
        custom = [f"{s.d_max:.2f} – {s.d_min:.2f} Å" for s in run.shells]
        hover = f"%{{customdata}}<br>{statistic.title} %{{y:.{digits}f}}<extra>{name}</extra>"
        data.append(line(x, y, name, colour, dash=dash, customdata=custom, hovertemplate=hover))
    rows = [
        [text for s in pair for text in (shown(s.d_min, 2), shown(_times(getattr(s, key), statistic.factor), digits))]
        for pair in zip(here.shells, there.shells, strict=False)
    ]
    header = tuple(f"{title}, {run}" for run in ("this run", "other run") for title in ("d min / Å", statistic.title))
    text = "Blue, solid: this run. Orange, dashed: the other one."
    layout = {"xaxis": d_axis, "yaxis": axis(statistic.title, rangemode="tozero")}
    table = Table(statistic.label, header, rows)
    return Figure(f"compare-{key}", statistic.label, text, data, layout, table)


def _times(value: float | None, factor: float) -> float | None:
    return value if value is None or factor == 1.0 else factor * value


def _table(here: StatisticsEntry, there: StatisticsEntry, summary: Summary, other: Summary) -> Table:
    rows, digits = [], [shown_digits(run) for run in (here, there)]
    for number, label in ((None, ""), (0, ", inner shell"), (-1, ", outer shell")):
        a, b = (run.overall if number is None else run.shells[number] for run in (here, there))
        for statistic in chosen(COMPARED if number is None else COMPARED_BY_SHELL, True):
            one, two = (getattr(shell, statistic.name) for shell in (a, b))
            if one is None and two is None:
                continue
            unit = "%" if statistic.percent else statistic.unit
            limits = _limits(here, there, statistic.name) if number is None else None
            judged = statistic.better if statistic.name in COUNTED or limits is not None else None
            known = [(one.overall if number is None else one.shells)[statistic.name] for one in digits]
            texts = [shown(_times(v, statistic.factor), max(known)) for v in (one, two)]
            change = None if one is None or two is None else statistic.factor * (one - two)
            rows.append(
                [
                    statistic.label + label + (f" / {unit}" if unit else ""),
                    *texts,
                    *_change(change, max(known), judged, limits),
                ]
            )
    errors = [[m.isa for m in run.error_models] for run in (summary, other)]
    if all(len(e) == 1 for e in errors):
        rows.append(["Largest I/σ", *_pair(errors[0][0], errors[1][0], 1)])
    rows.append(["Outliers", *_pair(summary.outliers, other.outliers, 0)])
    sets = [len(run.kept) for run in (summary, other)]
    rows.append(["Data sets", *_pair(sets[0], sets[1], 0)])
    header = ("", "this run", "other run", "difference", "95 % interval", "")
    return Table("This run and the other", header, rows, words=(0, 5))


def _limits(here: StatisticsEntry, there: StatisticsEntry, name: str) -> tuple[float, float] | None:
    """Interval of the difference: paired where both runs know their blocks, else as of independent runs."""
    a, b = (getattr(run.intervals, name, None) if run.intervals else None for run in (here, there))
    if a is None or b is None:
        return None
    one, two = (_measured(run, name) for run in (here, there))
    if one is not None and two is not None and (found := difference(name, one, two)) is not None:
        return found
    change = getattr(here.overall, name) - getattr(there.overall, name)
    half = 0.5 * math.hypot(a[1] - a[0], b[1] - b[0])
    return change - half, change + half


def _measured(run: StatisticsEntry, name: str) -> Measured | None:
    intervals = run.intervals
    if intervals is None or intervals.blocks is None or intervals.effects is None or name not in intervals.effects:
        return None
    effects = dict(zip(intervals.blocks, intervals.effects[name], strict=True))
    return Measured(float(getattr(run.overall, name)), effects)


def _pair(a: float | None, b: float | None, digits: int) -> list[str]:
    """Two numbers, neither of which is better, and their difference."""
    return [
        shown(a, digits), shown(b, digits), *_change(None if a is None or b is None else a - b, digits, None, None)
    ]  # fmt: skip


def _change(change: float | None, digits: int, better: Better | None, limits: tuple[float, float] | None) -> list[str]:
    """A difference with its interval, and the word better or worse.

    ``limits``: of the difference. If the interval contains 0, the run is neither better nor worse.
    """
    if change is None:
        return [NOTHING, "", ""]
    small = abs(change) < 0.5 * 10**-digits if limits is None else limits[0] <= 0.0 <= limits[1]
    word = "" if better is None or (limits is None and small) else "no difference"
    if better is not None and not small:
        word = "better" if (change > 0) == (better == "up") else "worse"
    if limits is None:
        return ["0" if small else f"{change:+.{digits}f}", "", word]
    digits = max(digits, decimals(limits[1] - limits[0]))
    size = f"{change:+.{digits}f}"
    return ["0" if float(size) == 0.0 else size, f"{limits[0]:+.{digits}f} to {limits[1]:+.{digits}f}", word]


def _commands(summary: Summary, other: Summary) -> Table:
    rows = [[name, *(" ".join(_options(run)) for run in (summary, other))] for name in ("command",)]
    return Table("Commands", ("", "this run", "other run"), rows, words=(0, 1, 2))


def _options(run: Summary) -> list[str]:
    """The arguments of a run that are not names of files, or all if there are no others."""
    words = [w for w in run.command.arguments or [] if "=" in w]
    return words or ["(no options)"]
