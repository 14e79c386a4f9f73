"""Plain-text tables of the log, for a terminal of 80 columns. Values in, text out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from braggscale.data.flags import Fate
from braggscale.statistics.catalogue import (
    AGREEMENT,
    AMOUNT,
    CATALOGUE,
    FRIEDEL_MATES,
    SUMMARY,
    Limits,
    Statistic,
    chosen,
)
from braggscale.statistics.merging_statistics import Statistics
from braggscale.statistics.shell_statistics import Shell
from braggscale.statistics.shown_digits import ShownDigits, shown_digits
from braggscale.wording import show_interval, show_short

WIDTH = 80
WORST = 5  # data sets that are listed if there are very many
NO_DATA_SET = "-"  # rows that belong to none, in the ledger
# The log mentions R_meas within I+ and I- if CC_anom, and R_meas over both divided by it, are above these limits.
CLEAR_CC_ANOM, CLEARLY_LARGER = 0.3, 1.1
# Longer identifiers are cut to the shortest common length, at least this, at which they differ.
_NAME = 8
# Cells of a column of numbers: numbers, ranges of numbers, marks of significance.
_NUMERIC = re.compile(r"[\d\s.,+\-*%()/]*(e[+-]?\d+)?[*%]?|nan|inf")

Cell = str | int | float | None


def known(value: float, digits: int) -> str:
    """A number with so many decimals; - where it is not known."""
    return f"{value:.{digits}f}" if isfinite(value) else "-"


def text_table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Columns under a header and a rule: numbers to the right, words to the left; two blanks between.

    Floats are shown with four digits unless the caller passes them as text; None and NaN are shown as a dash. A
    column counts as numbers if all its cells look like numbers or ranges of them. Raises ValueError if a row has
    too many or too few cells.
    """
    cells = [[_text(cell) for cell in row] for row in rows]
    for number, row in enumerate(cells):
        if len(row) != len(header):
            raise ValueError(f"row {number} of a table has {len(row)} cells, its header {len(header)}")
    columns = list(zip(header, *cells, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    right = [all(_NUMERIC.fullmatch(cell) for cell in column[1:]) for column in columns]
    lines = [header, ["-" * width for width in widths], *cells]
    return "\n".join(_line(line, widths, right) for line in lines)


def merging_table(statistics: Statistics) -> str:
    """Statistics by resolution shell, the last line for all, as two tables below each other.

    The first has numbers of reflections and signal-to-noise, the second the agreement of equivalents. An asterisk
    marks a correlation that is significantly above zero.
    """
    return f"{_by_shell(statistics, AMOUNT)}\n\n{_by_shell(statistics, AGREEMENT)}"


def anomalous_table(statistics: Statistics) -> str:
    """Statistics by resolution with I+ and I- as different reflections, the last line for all."""
    return _by_shell(statistics, FRIEDEL_MATES)


def _by_shell(statistics: Statistics, names: tuple[str, ...]) -> str:
    """A line for each shell, the last one for all.  ``names``: of the columns, in the catalogue."""
    columns, digits = chosen(names, statistics.anomalous), shown_digits(statistics)
    rows = [[_cell(column, shell, digits) for column in columns] for shell in statistics.shells]
    rows.append([_cell(column, statistics.overall, digits, shell=False) for column in columns])
    return _with_rule_above_last(text_table([column.heading for column in columns], rows))


def _cell(statistic: Statistic, of: Shell, digits: ShownDigits, shell: bool = True) -> str:
    """The value of a shell, or of all data.  Decimal points of a column are below each other.

    Correlations have a star where they are significant, a blank elsewhere.
    """
    value = getattr(of, statistic.name)
    text = digits.of_shell(statistic, value) if shell else digits.of_all(statistic, value)
    significant = getattr(of, f"{statistic.name}_significant", None)
    star = "" if significant is None else "*" if significant else " "
    return text + star + digits.blanks(statistic, shell)


def friedel_sentence(statistics: Statistics) -> str:
    """A sentence on R_meas if Friedel mates differ clearly; '' if they do not.

    Programs that keep I+ and I- apart print R factors within them, which the anomalous signal does not raise.
    """
    overall, found = statistics.overall, statistics.intervals
    limits = found.cc_anom if found is not None else None
    if limits is None or not limits[0] > CLEAR_CC_ANOM or not overall.r_meas > CLEARLY_LARGER * overall.r_meas_apart:
        return ""
    return (
        f"Friedel mates differ (CC_anom {overall.cc_anom:.2f}): R_meas and CC1/2 over both contain these differences; "
        f"within I+ and I- R_meas is {shown_digits(statistics).of_all(CATALOGUE['r_meas_apart'], overall.r_meas_apart)}"
    )


def summary_table(statistics: Statistics, names: tuple[str, ...] = SUMMARY) -> str:
    """The summary ("table 1"): all data and the outermost shells, or first those within the suggested limit.

    Numbers have the digits of shown_digits.py; the confidence interval of overall statistics stands beside them.
    ``names``: of the rows, in the catalogue.
    """
    columns, intervals, digits = statistics.summary(), statistics.intervals, shown_digits(statistics)
    listed = chosen(names, statistics.anomalous)
    whole = (statistics.overall, statistics.suggested)
    rows = [
        [
            statistic.line,
            *(
                (digits.of_all if of in whole else digits.of_shell)(statistic, getattr(of, statistic.name))
                for of in columns.values()
            ),
        ]
        for statistic in listed
    ]
    header = ["", *columns]
    if intervals is not None:
        header.append(f"{100 * intervals.level:g} % interval")
        for row, statistic in zip(rows, listed, strict=True):
            row.append(_interval(getattr(intervals, statistic.name, None)))
    return text_table(header, rows)


def limit_lines(statistics: Statistics) -> list[str]:
    """Lines below the summary: the origin of its intervals, and the resolution limit."""
    found, limit = statistics.intervals, statistics.limit
    lines = [] if found is None else [f"The intervals are from {found.n_blocks} blocks of {found.unit}"]
    if limit.d_min is None:
        return [*lines, f"Resolution limit: {limit.reason}"]
    return [*lines, f"Suggested resolution limit {limit.d_min:.2f} A: {limit.reason}"]


def _interval(limits: Limits | None) -> str:
    """An interval, with two digits of its width; nothing where there is none."""
    return "" if limits is None else show_interval(*limits, "-" if limits[0] >= 0 else " to ")


def ledger_tables(ledger: Mapping[str, Mapping[Fate, int]], texts: Mapping[Fate, str], most: int) -> tuple[str, ...]:
    """Number of input rows by fate (rows) and data set (columns), with totals.

    If the data sets do not fit side by side, a table of totals and one with a line for each data set; if there are
    more than ``most``, the totals, a sentence on all of them, and a table of those with the smallest share of scaled
    rows.  ``ledger``: counts by data set and fate; ``-`` stands for rows of no data set.
    """
    fates = [fate for fate in texts if any(counts.get(fate) for counts in ledger.values())]
    names = short_names(list(ledger))
    total = {fate: sum(counts.get(fate, 0) for counts in ledger.values()) for fate in fates}
    columns = list(ledger.values())
    rows: list[list[Cell]] = [
        [texts[fate], *(counts.get(fate, 0) for counts in columns), total[fate]] for fate in fates
    ]
    rows.append(
        ["all rows", *(sum(counts.values()) for counts in columns), sum(sum(counts.values()) for counts in columns)]
    )
    if len(columns) == 1:
        rows = [[row[0], row[-1]] for row in rows]
        return (_with_rule_above_last(text_table(("fate", "rows"), rows)),)
    if len(columns) <= WIDTH // 4:
        table = _with_rule_above_last(text_table(("fate", *names, "total"), rows))
        if _width(table) <= WIDTH:
            return (table,)
    totals = text_table(("fate", "rows"), [[row[0], row[-1]] for row in rows])
    own = [(name, counts) for name, counts in zip(names, columns, strict=True) if name != NO_DATA_SET]
    return (_with_rule_above_last(totals), *_by_data_set(own, most))


def times(seconds: Mapping[str, float], together: float | None = None) -> str:
    """Seconds of each stage, those of more than 5 ms, and of all.  ``together``: wall time, None for their sum."""
    stages = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items() if value >= 0.005)
    return f"Seconds: {stages}; together {sum(seconds.values()) if together is None else together:.2f}"


def short_names(identifiers: Sequence[str]) -> list[str]:
    """Identifiers cut to the shortest common length, 8 or more, at which all of them differ."""
    longest = max((len(name) for name in identifiers), default=0)
    different = len(set(identifiers))
    for length in range(_NAME, longest):
        if len({name[:length] for name in identifiers}) == different:
            return [name[:length] for name in identifiers]
    return list(identifiers)


def _by_data_set(counted: Sequence[tuple[str, Mapping[Fate, int]]], most: int) -> tuple[str, ...]:
    """A table with a line for each data set, or a sentence and a table of the worst."""
    rows = []
    for number, (name, counts) in enumerate(counted):
        n = sum(counts.values())
        scaled, outliers = counts.get(Fate.SCALED, 0), counts.get(Fate.OUTLIER, 0)
        rows.append((scaled / n if n else 0.0, number, (name, n, scaled, outliers, n - scaled - outliers)))
    header = ("data set", "rows", "scaled", "outliers", "other", "% scaled")
    ordered = sorted(rows, key=lambda row: row[:2])
    shown = rows if len(rows) <= most else ordered[:WORST]
    table = text_table(header, [(*row, f"{100 * share:.1f}") for share, _, row in shown])
    if len(rows) <= most:
        return (table,)
    low, middle, high = (100 * ordered[k][0] for k in (0, len(ordered) // 2, -1))
    worst = ", ".join(f"{row[0]} ({100 * share:.1f} %)" for share, _, row in shown)
    said = (
        f"Of {len(rows)} data sets {low:.1f} to {high:.1f} % of the rows are scaled, median {middle:.1f} %; least of "
        f"data set {worst}"
    )
    return said, table


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else show_short(cell)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _with_rule_above_last(table: str) -> str:
    lines = table.splitlines()
    return "\n".join([*lines[:-1], lines[1], lines[-1]])


def _width(table: str) -> int:
    return max(len(line) for line in table.splitlines())
