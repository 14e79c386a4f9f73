"""Statistics by resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

from braggscale.report.page.figure import (
    BLUE,
    GREEN,
    GREY,
    NOTHING,
    ORANGE,
    Figure,
    Layout,
    Section,
    Table,
    Trace,
    axis,
    horizontal,
    line,
    middles,
    resolution_axis,
    shown,
    vertical,
)
from braggscale.report.summary_document import Summary
from braggscale.report.summary_run import ShellEntry, StatisticsEntry
from braggscale.statistics.catalogue import AMOUNT, CATALOGUE, SUMMARY, Limits, Statistic, chosen
from braggscale.statistics.shown_digits import ShownDigits, shown_digits
from braggscale.wording import show_interval

COLUMNS = (
    *AMOUNT, "r_merge", "r_meas", "r_pim", "cc_half", "cc_half_analytic", "r_anom", "cc_anom",
    "anomalous_completeness", "anomalous_multiplicity", "anomalous_slope", "df_f", "di_over_sigma",
)  # fmt: skip

FIGURE_SPACE = "\u2007"  # as wide as a digit


def shell_table(statistics: StatisticsEntry) -> Table:
    """Every statistic by resolution shell; the last row is all data."""
    columns, digits = chosen(COLUMNS, statistics.anomalous), shown_digits(statistics)
    lines = [(shell, True) for shell in statistics.shells] + [(statistics.overall, False)]
    rows = [[_cell(of, s, digits, one) + digits.blanks(s, one, FIGURE_SPACE) for s in columns] for of, one in lines]
    return Table("Statistics by resolution", tuple(s.title for s in columns), rows, last_is_total=True)


def _cell(of: ShellEntry, statistic: Statistic, digits: ShownDigits, shell: bool = True) -> str:
    value = getattr(of, statistic.name)
    significant = value is not None and getattr(of, f"{statistic.name}_significant", False)
    text = digits.of_shell(statistic, value, NOTHING) if shell else digits.of_all(statistic, value, NOTHING)
    return text + "*" * bool(significant)


def summary_table(statistics: StatisticsEntry) -> Table:
    """Table 1: all data, innermost and outermost shell, and the data within the suggested limit."""
    shells, overall, suggested = statistics.shells, statistics.overall, statistics.suggested
    columns = {"overall": overall, "inner shell": shells[0], "outer shell": shells[-1]}
    if suggested is not None:
        limit = statistics.suggested_d_min or suggested.d_min
        columns = {f"to {limit:.2f} Å (suggested)": suggested, **columns}
    listed = chosen(SUMMARY, statistics.anomalous)
    intervals, digits = statistics.intervals, shown_digits(statistics)
    rows = [
        [s.title, *(_cell(of, s, digits, shell=of not in (overall, suggested)) for of in columns.values())]
        for s in listed
    ]
    header = ["", *columns]
    if intervals:
        header.append(f"{100 * intervals.level:g} % interval, overall")
        for row, statistic in zip(rows, listed, strict=True):
            row.append(_interval(getattr(intervals, statistic.name, None)))
    return Table("Summary", tuple(header), rows, words=(0,))


def _interval(limits: Limits | None) -> str:
    """Lower and upper limit with two digits of their distance; nothing where there is none."""
    if limits is None or not limits[1] > limits[0]:
        return ""
    return show_interval(limits[0], limits[1], " – " if limits[0] >= 0.0 else " to ")


def by_resolution(summary: Summary) -> Section:
    """Statistics by resolution, with the table of all of them."""
    section = Section("resolution", "By resolution", "Shells of equal volume in reciprocal space.")
    if summary.statistics is None:
        section.notes.append("No observation is left to merge.")
    else:
        section.tables.append(shell_table(summary.statistics))
    return section


@dataclass(frozen=True, slots=True)
class _Shells:
    """Resolution shells as an axis: ``x`` are their positions, ``ranges`` their limits as text."""

    statistics: StatisticsEntry
    x: list[float]
    axis: Layout
    ranges: list[str]

    @classmethod
    def of(cls, statistics: StatisticsEntry) -> _Shells:
        """The shells of a run."""
        shells = statistics.shells
        ranges = [f"{s.d_max:.2f} – {s.d_min:.2f} Å" for s in shells]
        return cls(statistics, middles(shells), resolution_axis([shells[0].d_max, shells[-1].d_min]), ranges)

    def curve(self, name: str, label: str, colour: str, digits: int | None = None, **more: object) -> Trace:
        """A statistic of the catalogue, with its digits unless ``digits`` says otherwise."""
        statistic = CATALOGUE[name]
        digits = shown_digits(self.statistics).shells[name] if digits is None else digits
        values: list[float | None] = [getattr(shell, name) for shell in self.statistics.shells]
        y = [None if value is None else statistic.factor * value for value in values]
        template = f"%{{customdata}}<br>{label} %{{y:.{digits}f}}<extra></extra>"
        return line(self.x, y, label, colour, customdata=self.ranges, hovertemplate=template, **more)


def cc_half(summary: Summary) -> list[Figure]:
    """CC1/2 with the curve behind the suggested limit, and CC_anom."""
    statistics, extra = summary.statistics, summary.resolution
    if statistics is None:
        return []
    shells = _Shells.of(statistics)
    x = shells.x
    data = [shells.curve("cc_half", "CC1/2", BLUE)]
    if extra is not None and extra.cc_half_fit:
        s0, r = extra.cc_half_fit.s0, extra.cc_half_fit.r
        fine = [x[0] + (x[-1] - x[0]) * k / 80 for k in range(81)]
        fit = [0.5 * (1 - math.tanh((s - s0) / r)) for s in fine]
        data.append(line(fine, fit, "fit", BLUE, mode="lines", dash="dot", width=1.5, hoverinfo="skip"))
    if extra is not None:
        critical = extra.critical_cc_half
        data.append(line(x, critical, "chance (p = 0.01)", GREY, mode="lines", width=1, dash="dash", hoverinfo="skip"))
    if statistics.anomalous:
        data.append(shells.curve("cc_anom", "CC_anom", ORANGE, width=1.5))
    lowest = min((value for shell in statistics.shells for value in (shell.cc_half, shell.cc_anom) if value), default=0)
    layout: Layout = {"xaxis": shells.axis, "yaxis": axis("correlation", range=[min(-0.1, lowest - 0.05), 1.05])}
    layout["shapes"] = [horizontal(0.3)]
    limit = statistics.suggested_d_min
    if limit is not None:
        shape, label = vertical(limit**-2, f"suggested {limit:.2f} Å")
        layout |= {"shapes": [horizontal(0.3), shape], "annotations": [label]}
    text = (
        "Correlation of two halves of the data. CC1/2 above 0.3 is signal; the fitted curve crosses 0.3 at the "
        "suggested limit. A correlation below the dashed line may be chance. It should start near 1; a low start means "
        "wrong symmetry, indexing or a shadow. CC_anom above 0.3 at low resolution is a usable anomalous signal."
    )
    return [Figure("cc-half", "CC1/2 and CC_anom", text, data, layout)]


def r_factors(summary: Summary) -> list[Figure]:
    """R_meas, R_merge and R_pim."""
    if summary.statistics is None:
        return []
    shells = _Shells.of(summary.statistics)
    text = (
        "R_meas measures how well single observations agree, R_pim how precise the merged intensities are. R_merge "
        "grows with multiplicity; it is shown because it is familiar. A value below 0.05 in the inner shells is good, "
        "above 0.1 points to systematic errors. In weak outer shells R values are meaningless; use CC1/2 there."
    )
    chosen_lines = (("r_meas", BLUE), ("r_merge", GREY), ("r_pim", GREEN))
    data = [shells.curve(name, CATALOGUE[name].label, colour) for name, colour in chosen_lines]
    layout = {"xaxis": shells.axis, "yaxis": axis("R", rangemode="tozero")}
    return [Figure("r-factors", "R factors", text, data, layout)]


def signal_to_noise(summary: Summary) -> list[Figure]:
    """Mean I/sigma."""
    if summary.statistics is None:
        return []
    shells = _Shells.of(summary.statistics)
    text = (
        "Mean of merged I/σ in each shell. It should fall smoothly; a dip in one shell is often an ice ring. Data "
        "used to be cut where it falls to 2; CC1/2 is a better criterion."
    )
    layout = {"xaxis": shells.axis, "yaxis": axis("⟨I/σ⟩", rangemode="tozero"), "shapes": [horizontal(2.0)]}
    return [Figure("i-over-sigma", "Signal to noise", text, [shells.curve("mean_i_over_sigma", "⟨I/σ⟩", BLUE)], layout)]


def _all_and_mates(summary: Summary, name: str, mates: str, y_axis: Layout, text: str) -> list[Figure]:
    """A statistic of all reflections, and that of Friedel mates, ``anomalous_name``, with the label ``mates``."""
    if summary.statistics is None:
        return []
    shells = _Shells.of(summary.statistics)
    data = [shells.curve(name, "all", BLUE)]
    if summary.statistics.anomalous:
        data.append(shells.curve(f"anomalous_{name}", mates, ORANGE))
    return [Figure(name, CATALOGUE[name].label, text, data, {"xaxis": shells.axis, "yaxis": y_axis})]


def completeness(summary: Summary) -> list[Figure]:
    """Completeness, also of pairs of Friedel mates."""
    text = (
        "Share of the reflections that the space group allows. Gaps at low resolution (overloads, beam stop) hurt "
        "most; a fall at the edge means that the corners of the detector set the limit."
    )
    y_axis = axis(CATALOGUE["completeness"].title, range=[0, 105])
    return _all_and_mates(summary, "completeness", "anomalous pairs", y_axis, text)


def multiplicity(summary: Summary) -> list[Figure]:
    """How often reflections were measured."""
    text = "Observations per unique reflection. Below 2 neither scales nor errors are well determined."
    y_axis = axis("observations per reflection", rangemode="tozero")
    return _all_and_mates(summary, "multiplicity", "I+ or I−", y_axis, text)


def errors_by_resolution(summary: Summary) -> list[Figure]:
    """Mean squared deviation over the expected variance."""
    if summary.deviations is None or summary.statistics is None:
        return []
    found = summary.deviations.by_shell
    shells = _Shells.of(summary.statistics)
    x, d_axis, ranges = shells.x, shells.axis, shells.ranges
    return [
        Figure(
            "errors-by-resolution",
            "Errors by resolution",
            "Mean squared deviation from the equivalents in units of the expected variance. 1 is right; above 1 errors "
            "are too small at this resolution, below 1 too large.",
            [
                line(
                    x,
                    found.mean_z2,
                    "mean z²",
                    BLUE,
                    customdata=ranges,
                    hovertemplate="%{customdata}<br>mean z² %{y:.2f}<extra></extra>",
                )
            ],
            {"xaxis": d_axis, "yaxis": axis("mean z²", rangemode="tozero"), "shapes": [horizontal(1.0)]},
            Table(
                "Errors and outliers by resolution",
                ("d max / Å", "d min / Å", "observations", "outliers", "mean z²"),
                [
                    [shown(a, 2), shown(b, 2), shown(n), shown(o), shown(z, 2)]
                    for a, b, n, o, z in zip(
                        found.d_max, found.d_min, found.observations, found.outliers, found.mean_z2, strict=True
                    )
                ],
            ),
        )
    ]
