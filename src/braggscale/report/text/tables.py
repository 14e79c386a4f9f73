"""Plain-text tables of the log, for a terminal of 80 columns. Values in, text out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from braggscale.data.flags import Fate
from braggscale.statistics.catalogue import (
    AGREEMENT,
    AMOUNT,
    CATALOGUE,
    FRIEDEL_MATES,
    SUMMARY,
    Statistic,
    chosen,
)
from braggscale.statistics.merging_statistics import Statistics
from braggscale.statistics.shell_statistics import Shell
from braggscale.wording import decimals, show_interval, show_short

WIDTH = 80
WORST = 5  # of very many data sets
# Limits above which differences of Friedel mates decide what R_meas over both is.
CLEAR_CC_ANOM, CLEARLY_LARGER = 0.3, 1.1
# Longer identifiers are cut to the shortest common length, at least this, at which they differ.
_NAME = 8
# Cells of a column of numbers: numbers, ranges of numbers, marks of significance.
_NUMERIC = re.compile(r"[\d\s.,+\-*%()/]*(e[+-]?\d+)?[*%]?|nan|inf")

Cell = str | int | float | None


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
    columns = chosen(names, statistics.anomalous)
    rows = [[_cell(column, shell) for column in columns] for shell in (*statistics.shells, statistics.overall)]
    return _with_rule_above_last(text_table([column.heading for column in columns], rows))


def _cell(statistic: Statistic, shell: Shell) -> str:
    """The value; of correlations a star where they are significant, and a blank elsewhere to keep points in line."""
    text = statistic.text(getattr(shell, statistic.name))
    significant = getattr(shell, f"{statistic.name}_significant", None)
    return text if significant is None else text + ("*" if significant else " ")


def friedel_sentence(statistics: Statistics) -> str:
    """What R_meas over both Friedel mates contains if they differ clearly; '' if they do not.

    Programs that keep I+ and I- apart print R factors within them, which the anomalous signal does not raise.
    """
    overall, found = statistics.overall, statistics.intervals
    limits = found.cc_anom if found is not None else None
    if limits is None or not limits[0] > CLEAR_CC_ANOM or not overall.r_meas > CLEARLY_LARGER * overall.r_meas_apart:
        return ""
    return (
        f"Friedel mates differ (CC_anom {overall.cc_anom:.2f}): R_meas and CC1/2 over both contain these differences; "
        f"within I+ and I- R_meas is {CATALOGUE['r_meas_apart'].text(overall.r_meas_apart).strip()}"
    )


def intervals_table(statistics: Statistics, apart: bool) -> str:
    """Overall statistics with their confidence intervals, such as R_meas 0.0356 (0.0349-0.0364); '' without any.

    ``apart``: also R factors with I+ and I- as different reflections.
    """
    found = statistics.intervals
    if found is None:
        return ""
    lines = []
    for name in ("r_meas", "r_pim", "cc_half", "cc_anom", *(("r_meas_apart", "r_pim_apart") if apart else ())):
        statistic, limits = CATALOGUE[name], getattr(found, name)
        if limits is not None and not (name.endswith("_apart") and not statistics.anomalous):
            lines.append(f"{statistic.label:<13}{_with_limits(getattr(statistics.overall, name), *limits)}")
    if not lines:
        return ""
    return "\n".join([f"{100 * found.level:g} % confidence, from {found.n_blocks} blocks of {found.unit}:", *lines])


def _with_limits(value: float, low: float, high: float) -> str:
    """Value and interval, with two digits of the interval's width."""
    n = max(decimals(high - low), 3)
    return f"{value:.{n}f} ({show_interval(low, high, '-' if low >= 0 else ' to ')})"


def summary_table(statistics: Statistics) -> str:
    """The summary ("table 1"): all data and the outermost shells, or first those within the suggested limit."""
    columns = statistics.summary()
    rows = [
        (statistic.line, *(statistic.text(getattr(shell, statistic.name)) for shell in columns.values()))
        for statistic in chosen(SUMMARY, statistics.anomalous)
    ]
    table = text_table(("", *columns), rows)
    if statistics.limit.d_min is None:
        return f"{table}\nResolution limit: {statistics.limit.reason}"
    return f"{table}\nSuggested resolution limit {statistics.limit.d_min:.2f} A: {statistics.limit.reason}"


def ledger_table(ledger: Mapping[str, Mapping[Fate, int]], texts: Mapping[Fate, str], most: int) -> str:
    """Number of input rows by fate (rows) and data set (columns), with totals.

    If the data sets do not fit side by side, the totals are followed by a line for each data set, or, if there are more
    than ``most``, by their range and a line for those with the smallest share of scaled rows.
    ``ledger``: counts by data set and fate.
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
        return _with_rule_above_last(text_table(("fate", "rows"), rows))
    if len(columns) <= WIDTH // 4:
        table = _with_rule_above_last(text_table(("fate", *names, "total"), rows))
        if _width(table) <= WIDTH:
            return table
    totals = text_table(("fate", "rows"), [[row[0], row[-1]] for row in rows])
    return f"{_with_rule_above_last(totals)}\n\n{_by_data_set(names, columns, most)}"


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


def _by_data_set(names: Sequence[str], columns: Sequence[Mapping[Fate, int]], most: int) -> str:
    rows = []
    for number, (name, counts) in enumerate(zip(names, columns, strict=True)):
        n = sum(counts.values())
        scaled, outliers = counts.get(Fate.SCALED, 0), counts.get(Fate.OUTLIER, 0)
        rows.append((scaled / n if n else 0.0, number, (name, n, scaled, outliers, n - scaled - outliers)))
    header = ("data set", "rows", "scaled", "outliers", "other", "% scaled")
    ordered = sorted(rows, key=lambda row: row[:2])
    shown = rows if len(rows) <= most else ordered[:WORST]
    table = text_table(header, [(*row, f"{100 * share:.1f}") for share, _, row in shown])
    if len(rows) <= most:
        return table
    low, middle, high = (100 * ordered[k][0] for k in (0, len(ordered) // 2, -1))
    return (
        f"Scaled rows of {len(rows)} data sets: {low:.1f} to {high:.1f} %, median {middle:.1f} %\n"
        f"Those with the smallest share (scale.json has all):\n{table}"
    )


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
