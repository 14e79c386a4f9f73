"""The distribution of intensities, and anomalous differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from braggscale.data.geometry import relative_volume
from braggscale.report.page.figure import (
    AMBER,
    BLUE,
    GREY,
    ORANGE,
    Figure,
    Layout,
    Section,
    Table,
    axis,
    bars,
    count_axis,
    heat,
    horizontal,
    line,
    map_table,
    middles,
    resolution_axis,
    shown,
)
from braggscale.report.page.intensity_tests import tests_table
from braggscale.report.summary_document import Summary
from braggscale.report.summary_run import ShellEntry
from braggscale.wording import show_with_error

MODEST_CC_ANOM = 0.3


SMALL_CELL = 20_000.0  # Angstrom^3: below it the crystal is that of a small molecule


def distribution(summary: Summary) -> Section:
    """How merged intensities are distributed."""
    found = summary.intensity_distribution
    return Section(
        "intensities",
        "Distribution of intensities",
        "What the merged intensities look like: sharp deviations from the expected curves point to twinning, wrong "
        "symmetry, ice or translational pseudo-symmetry. Noise alone raises the moments of weak shells.",
        tables=[] if found is None else [tests_table(found)],
    )


def _of_wilson(summary: Summary) -> str:
    """How the plot should look, by the size of the cell: a small molecule has no shells of solvent."""
    cell = summary.unit_cell
    if cell is not None and relative_volume(cell) * cell[0] * cell[1] * cell[2] < SMALL_CELL:
        return "It should follow a straight line, with waves about it where distances between atoms repeat."
    return (
        "Macromolecules dip near 6 Å and peak near 4.5 Å; beyond 3 Å it should be a straight line. Spikes are "
        "ice rings (3.9, 3.67, 3.44, 2.67, 2.25 Å)."
    )


def wilson_plot(summary: Summary) -> list[Figure]:
    """ln of the mean intensity by resolution."""
    found = summary.intensity_distribution
    if found is None or summary.statistics is None:
        return []
    wilson, d_axis = found.wilson, _axis(summary.statistics.shells)
    points = [(s, math.log(v)) for s, v in zip(wilson.inverse_d2, wilson.mean, strict=True) if s and v and v > 0]
    x, y = [p[0] for p in points], [p[1] for p in points]
    data = [line(x, y, "data", BLUE, hovertemplate="ln mean %{y:.2f}<extra></extra>")]
    text = ""
    if wilson.b is not None and wilson.ln_k is not None and x:
        fit = [wilson.ln_k - 0.5 * wilson.b * s for s in (x[0], x[-1])]
        b = show_with_error(wilson.b, wilson.b_esd)
        data.append(line([x[0], x[-1]], fit, f"B = {b} Å²", GREY, mode="lines", dash="dash"))
        text = f" The straight line has B = {b} Å²."
    rows = [[shown(s**-0.5, 2), shown(math.exp(v), 2)] for s, v in points]
    return [
        Figure(
            "wilson",
            "Wilson plot",
            "Logarithm of the mean intensity per multiplicity factor. " + _of_wilson(summary) + text,
            data,
            {"xaxis": d_axis, "yaxis": axis("ln ⟨I/ε⟩")},
            Table("Wilson plot", ("d / Å", "⟨I/ε⟩"), rows),
        )
    ]


def second_moments(summary: Summary) -> list[Figure]:
    """Second moments by resolution."""
    found = summary.intensity_distribution
    if found is None or summary.statistics is None:
        return []
    moments, shells = found.second_moments, summary.statistics.shells
    d_axis = _axis(shells)
    x = middles(shells)
    template = "%{y:.2f}<extra>%{fullData.name}</extra>"
    data = [line(x, moments.acentric, "acentric", BLUE, hovertemplate=template)]
    if any(v is not None for v in moments.centric):
        data.append(line(x, moments.centric, "centric", ORANGE, hovertemplate=template))
    rows = [
        [shown(s.d_min, 2), shown(a, 2), shown(c, 2)]
        for s, a, c in zip(shells, moments.acentric, moments.centric, strict=True)
    ]
    return [
        Figure(
            "second-moments",
            "Second moments",
            "⟨I²⟩/⟨I⟩² in each shell. Acentric reflections: 2, perfect twin 1.5; centric reflections: 3. Noise raises "
            "it.",
            data,
            {
                "xaxis": d_axis,
                "yaxis": axis("⟨I²⟩/⟨I⟩²", rangemode="tozero"),
                "shapes": [horizontal(2.0), horizontal(1.5)],
            },
            Table("Second moments", ("d min / Å", "acentric", "centric"), rows),
        )
    ]


def cumulative_distribution(summary: Summary) -> list[Figure]:
    """N(z) of acentric and centric reflections, and what theory says."""
    found = summary.intensity_distribution.cumulative if summary.intensity_distribution else None
    if found is None or not (found.acentric or found.centric):
        return []
    z = found.z
    data, columns = [], [[shown(v, 2) for v in z]]
    header = ["z"]
    expected = {
        "acentric": [1 - math.exp(-v) for v in z],
        "centric": [math.erf(math.sqrt(v / 2)) for v in z],
    }
    for name, colour, values in (("acentric", BLUE, found.acentric), ("centric", ORANGE, found.centric)):
        if values:
            data.append(line(z, values, name, colour, hovertemplate="N(z) %{y:.3f}<extra></extra>"))
            theory = f"{name}, theory"
            data.append(line(z, expected[name], theory, colour, mode="lines", dash="dot", width=1, hoverinfo="skip"))
            columns += [[shown(v, 3) for v in values], [shown(v, 3) for v in expected[name]]]
            header += [name, theory]
    return [
        Figure(
            "cumulative",
            "Cumulative distribution",
            "Share of reflections whose intensity is below z times the mean. An S shape below the acentric curve at "
            "small z "
            "is the sign of a twin. Shells with mean I/σ above 3.",
            data,
            {"xaxis": axis("z = I/⟨I⟩"), "yaxis": axis("N(z)", rangemode="tozero")},
            Table("Cumulative distribution", tuple(header), [list(row) for row in zip(*columns, strict=True)]),
        )
    ]


def l_test(summary: Summary) -> list[Figure]:
    """The test for twinning."""
    found = summary.intensity_distribution.l_test if summary.intensity_distribution else None
    if found is None:
        return []
    l = found.l
    twin = [v * (3 - v * v) / 2 for v in l]
    return [
        Figure(
            "l-test",
            "L test for twinning",
            f"Local test on pairs of neighbouring acentric reflections ({found.pairs} pairs): mean |L| "
            f"{found.mean_abs:.3f} (untwinned 0.5, perfect twin 0.375), mean L² {found.mean_square:.3f} (0.333, "
            f"0.2).",
            [
                line(l, found.cumulative, "data", BLUE, hovertemplate="N(|L|) %{y:.3f}<extra></extra>"),
                line(l, l, "untwinned", GREY, mode="lines", dash="dash", width=1, hoverinfo="skip"),
                line(l, twin, "perfect twin", ORANGE, mode="lines", dash="dot", width=1, hoverinfo="skip"),
            ],
            {"xaxis": axis("|L|"), "yaxis": axis("N(|L|)", rangemode="tozero")},
            Table(
                "L test",
                ("|L|", "data", "perfect twin"),
                [[shown(a, 2), shown(b, 3), shown(c, 3)] for a, b, c in zip(l, found.cumulative, twin, strict=True)],
            ),
        )
    ]


def multiplicities(summary: Summary) -> list[Figure]:
    """Unique reflections by number of observations."""
    found = summary.intensity_distribution.multiplicity if summary.intensity_distribution else None
    if found is None:
        return []
    first, width = found.first, found.width
    x = [v + 0.5 * (width - 1) for v in first]
    names = [str(v) if width == 1 else f"{v} – {v + width - 1}" for v in first]
    template = "measured %{customdata} times: %{y} reflections<extra>%{fullData.name}</extra>"
    data = [
        bars(x, values, name, colour, customdata=names, hovertemplate=template)
        for name, colour, values in (("acentric", BLUE, found.acentric), ("centric", AMBER, found.centric))
        if any(values)
    ]
    return [
        Figure(
            "multiplicities",
            "How often reflections were measured",
            "Number of unique reflections by multiplicity. Those measured once carry no information on scales.",
            data,
            {
                "xaxis": count_axis("observations of a reflection", max(found.first, default=0)),
                "yaxis": count_axis("reflections", max([*found.acentric, *found.centric], default=0)),
                "barmode": "stack",
            },
            Table(
                "Multiplicities",
                ("observations", "acentric", "centric"),
                [[n, shown(a), shown(c)] for n, a, c in zip(names, found.acentric, found.centric, strict=True)],
            ),
        )
    ]


def _axis(shells: Sequence[ShellEntry]) -> Layout:
    return resolution_axis([shells[0].d_max, shells[-1].d_min])


def anomalous(summary: Summary) -> Section:
    """Differences of Friedel mates, and a sentence on the resolution to which they are significant."""
    section = Section("anomalous", "Anomalous signal", "Differences of Friedel mates, I+ − I−.")
    if summary.anomalous is not None:
        section.notes.append(_signal(summary))
    return section


def anomalous_normal(summary: Summary) -> list[Figure]:
    """Differences over their errors as a normal probability plot."""
    found = summary.anomalous
    if found is None or not found.normal:
        return []
    x, y = found.normal.expected, found.normal.observed
    return [
        Figure(
            "anomalous-normal",
            f"Differences over their errors, d above {found.d_min:.2f} Å",
            "Normal probability plot. Slope 1: differences are no larger than their errors; steeper: there is signal, "
            "or errors are too small.",
            [
                line(x, y, "data", BLUE, hovertemplate="expected %{x:.2f}, found %{y:.2f}<extra></extra>"),
                line([x[0], x[-1]], [x[0], x[-1]], "slope 1", GREY, mode="lines", dash="dash", width=1),
            ],
            {"xaxis": axis("expected of a normal deviate"), "yaxis": axis("(I+ − I−)/σ")},
            Table(
                "Anomalous differences",
                ("expected", "found"),
                [[shown(a, 2), shown(b, 2)] for a, b in zip(x, y, strict=True)],
            ),
        )
    ]


def anomalous_halves(summary: Summary) -> list[Figure]:
    """Differences of one half of the data against the other."""
    found = summary.anomalous
    if found is None or not found.halves:
        return []
    n, limit = len(found.halves.counts), found.halves.limit
    at = [limit * (2 * (k + 0.5) / n - 1) for k in range(n)]
    names = [f"{v:.3g}" for v in at]
    counts = [[v or None for v in row] for row in found.halves.counts]
    return [
        Figure(
            "anomalous-halves",
            f"Half-set differences, d above {found.d_min:.2f} Å",
            "Differences of one half of the data against the other. A cloud drawn out along the diagonal is signal; a "
            "round one is noise.",
            [
                heat(at, at, counts, "pairs", hovertemplate="%{x:.3g}, %{y:.3g}: %{z} pairs<extra></extra>"),
                line([-limit, limit], [-limit, limit], "equal", GREY, mode="lines", dash="dash", width=1),
            ],
            {
                "xaxis": axis("difference, first half"),
                "yaxis": axis("difference, second half"),
                "showlegend": False,
            },
            map_table("Pairs by half-set differences", names, names, counts, "2nd \\ 1st"),
        )
    ]


def rms_ratio(summary: Summary) -> list[Figure]:
    """RMS correlation ratio by resolution."""
    found = summary.anomalous
    if found is None or summary.statistics is None or all(v is None for v in found.rms_ratio):
        return []
    shells = summary.statistics.shells
    return [
        Figure(
            "rms-ratio",
            "RMS correlation ratio",
            "Length over width of the cloud of half-set differences. 1 is no signal; above 1.5 is plenty.",
            [line(middles(shells), found.rms_ratio, "acentric", BLUE, hovertemplate="%{y:.2f}<extra></extra>")],
            {
                "xaxis": _axis(shells),
                "yaxis": axis("rms(D1 + D2)/rms(D1 − D2)", rangemode="tozero"),
                "shapes": [horizontal(1.0)],
            },
            Table(
                "RMS correlation ratio",
                ("d min / Å", "ratio", "CC_anom"),
                [
                    [shown(s.d_min, 2), shown(v, 2), shown(s.cc_anom, 3)]
                    for s, v in zip(shells, found.rms_ratio, strict=True)
                ],
            ),
        )
    ]


def _signal(summary: Summary) -> str:
    """How far the anomalous signal goes, in words."""
    reached = None
    for shell in summary.statistics.shells if summary.statistics else ():
        if not shell.cc_anom_significant or (shell.cc_anom or 0) < MODEST_CC_ANOM:
            break
        reached = shell.d_min
    if reached is None:
        return "No anomalous signal: CC_anom is not above 0.3 in the innermost shell."
    return f"Anomalous signal to about {reached:.2f} Å, where CC_anom falls below 0.3."
