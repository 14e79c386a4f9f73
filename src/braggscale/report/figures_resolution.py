"""Statistics by resolution, the distribution of intensities, anomalous differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from braggscale.report.figure import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Figure,
    Section,
    Summary,
    Table,
    Trace,
    axis,
    bars,
    heat,
    horizontal,
    line,
    map_table,
    resolution_axis,
    shown,
    vertical,
)

MODEST_CC_ANOM = 0.3
ALL_COLUMNS: tuple[tuple[str, str, int, bool], ...] = (
    ("d max / Å", "d_max", 2, False),
    ("d min / Å", "d_min", 2, False),
    ("observations", "n_obs", 0, False),
    ("unique", "n_unique", 0, False),
    ("multiplicity", "multiplicity", 2, False),
    ("completeness / %", "completeness", 1, True),
    ("mean I", "mean_intensity", 1, False),
    ("⟨I/σ⟩", "mean_i_over_sigma", 1, False),
    ("R merge", "r_merge", 3, False),
    ("R meas", "r_meas", 3, False),
    ("R pim", "r_pim", 3, False),
    ("CC1/2", "cc_half", 3, False),
    ("CC1/2 analytic", "cc_half_analytic", 3, False),
)
ANOMALOUS_COLUMNS: tuple[tuple[str, str, int, bool], ...] = (
    ("R anom", "r_anom", 3, False),
    ("CC anom", "cc_anom", 3, False),
    ("anomalous completeness / %", "anomalous_completeness", 1, True),
    ("anomalous multiplicity", "anomalous_multiplicity", 2, False),
    ("slope", "anomalous_slope", 2, False),
    ("dF/F", "df_f", 3, False),
    ("dI/σ(dI)", "di_over_sigma", 2, False),
)


def shell_table(statistics: Any) -> Table:
    """Every statistic by resolution shell; the last row is all data."""
    columns = (*ALL_COLUMNS, *(ANOMALOUS_COLUMNS if statistics["anomalous"] else ()))
    rows = [
        [_cell(shell, name, digits, percent) for _, name, digits, percent in columns]
        for shell in (*statistics["shells"], statistics["overall"])
    ]
    return Table("Statistics by resolution", tuple(title for title, *_ in columns), rows, last_is_total=True)


def _cell(shell: Any, name: str, digits: int, percent: bool) -> str:
    text = shown(shell[name], digits, percent)
    significant = shell.get(f"{name}_significant")
    return text + "*" if significant and text != "–" else text


def summary_table(statistics: Any) -> Table:
    """Table 1: all data, innermost and outermost shell, and the data within the suggested limit."""
    shells, overall, suggested = statistics["shells"], statistics["overall"], statistics["suggested"]
    columns = {"overall": overall, "inner shell": shells[0], "outer shell": shells[-1]}
    if suggested is not None:
        columns = {f"to {suggested['d_min']:.2f} Å (suggested)": suggested, **columns}
    listed: list[tuple[str, str, int, bool]] = [
        ("High resolution limit / Å", "d_min", 2, False),
        ("Low resolution limit / Å", "d_max", 2, False),
        ("Completeness / %", "completeness", 1, True),
        ("Multiplicity", "multiplicity", 1, False),
        ("⟨I/σ⟩", "mean_i_over_sigma", 1, False),
        ("R merge", "r_merge", 3, False),
        ("R merge (I+/I−)", "r_merge_apart", 3, False),
        ("R meas", "r_meas", 3, False),
        ("R meas (I+/I−)", "r_meas_apart", 3, False),
        ("R pim", "r_pim", 3, False),
        ("R pim (I+/I−)", "r_pim_apart", 3, False),
        ("CC1/2", "cc_half", 3, False),
        ("Anomalous completeness / %", "anomalous_completeness", 1, True),
        ("Anomalous multiplicity", "anomalous_multiplicity", 1, False),
        ("CC anom", "cc_anom", 3, False),
        ("Anomalous slope", "anomalous_slope", 3, False),
        ("dF/F", "df_f", 3, False),
        ("dI/σ(dI)", "di_over_sigma", 3, False),
        ("Total observations", "n_obs", 0, False),
        ("Total unique", "n_unique", 0, False),
    ]
    if not statistics["anomalous"]:
        left_out = ("nomalous", "CC anom", "dF/F", "dI/", "(I+/")
        listed = [row for row in listed if not any(word in row[0] for word in left_out)]
    rows = [
        [title, *(_cell(s, name, digits, percent) for s in columns.values())] for title, name, digits, percent in listed
    ]
    return Table("Summary", ("", *columns), rows, words=(0,))


def by_resolution(summary: Summary) -> Section:
    """CC1/2, R factors, I/sigma, completeness, multiplicity by resolution."""
    section = Section("resolution", "By resolution", "Shells of equal volume in reciprocal space.")
    statistics = summary["statistics"]
    if statistics is None:
        section.notes.append("No observation is left to merge.")
        return section
    shells = statistics["shells"]
    x = [0.5 * (s["d_max"] ** -2 + s["d_min"] ** -2) for s in shells]
    d_axis = resolution_axis([shells[0]["d_max"], shells[-1]["d_min"]])
    ranges = [f"{s['d_max']:.2f} – {s['d_min']:.2f} Å" for s in shells]

    def curve(name: str, label: str, colour: str, digits: int = 3, factor: float = 1.0, **more: Any) -> Trace:
        y = [None if s[name] is None else factor * s[name] for s in shells]
        template = f"%{{customdata}}<br>{label} %{{y:.{digits}f}}<extra></extra>"
        return line(x, y, label, colour, customdata=ranges, hovertemplate=template, **more)

    def plot(name: str, title: str, text: str, data: list[Trace], y: dict[str, Any], **more: Any) -> Figure:
        return Figure(name, title, text, data, {"xaxis": d_axis, "yaxis": y, **more})

    section.figures += [
        _cc_half(summary, curve, x, d_axis),
        plot(
            "r-factors",
            "R factors",
            "R_meas says how well single observations agree, R_pim how precise the merged intensities are; R_merge "
            "grows "
            "with multiplicity and is shown out of habit. Below 0.05 in the inner shells is good, above 0.1 points to "
            "systematic errors. In weak outer shells R has no upper limit and says nothing; use CC1/2 there.",
            [
                curve("r_meas", "R meas", BLUE),
                curve("r_merge", "R merge", GREY),
                curve("r_pim", "R pim", GREEN),
            ],
            axis("R", rangemode="tozero"),
        ),
        plot(
            "i-over-sigma",
            "Signal to noise",
            "Mean of merged I/σ in each shell. It should fall smoothly; a dip in one shell is often an ice ring. 2 is "
            "where people used to cut; CC1/2 decides better.",
            [curve("mean_i_over_sigma", "⟨I/σ⟩", BLUE, 1)],
            axis("⟨I/σ⟩", rangemode="tozero"),
            shapes=[horizontal(2.0)],
        ),
        plot(
            "completeness",
            "Completeness",
            "Share of the reflections that the space group allows. Gaps at low resolution (overloads, beam stop) hurt "
            "most; "
            "a fall at the edge means that the corners of the detector set the limit.",
            [
                curve("completeness", "all", BLUE, 1, 100.0),
                *(
                    [curve("anomalous_completeness", "anomalous pairs", ORANGE, 1, 100.0)]
                    if statistics["anomalous"]
                    else []
                ),
            ],
            axis("completeness / %", range=[0, 105]),
        ),
        plot(
            "multiplicity",
            "Multiplicity",
            "Observations per unique reflection. Below 2 neither scales nor errors are well determined.",
            [
                curve("multiplicity", "all", BLUE, 2),
                *([curve("anomalous_multiplicity", "I+ or I−", ORANGE, 2)] if statistics["anomalous"] else []),
            ],
            axis("observations per reflection", rangemode="tozero"),
        ),
        *_deviations(summary, x, d_axis, ranges),
    ]
    section.tables.append(shell_table(statistics))
    return section


def _cc_half(summary: Summary, curve: Any, x: Sequence[float], d_axis: dict[str, Any]) -> Figure:
    extra, statistics = summary["resolution"], summary["statistics"]
    data = [curve("cc_half", "CC1/2", BLUE)]
    if extra["cc_half_fit"]:
        s0, r = extra["cc_half_fit"]["s0"], extra["cc_half_fit"]["r"]
        fine = [x[0] + (x[-1] - x[0]) * k / 80 for k in range(81)]
        fit = [0.5 * (1 - math.tanh((s - s0) / r)) for s in fine]
        data.append(line(fine, fit, "fit", BLUE, mode="lines", dash="dot", width=1.5, hoverinfo="skip"))
    critical = extra["critical_cc_half"]
    data.append(line(x, critical, "chance (p = 0.01)", GREY, mode="lines", width=1, dash="dash", hoverinfo="skip"))
    if statistics["anomalous"]:
        data.append(curve("cc_anom", "CC anom", ORANGE, width=1.5))
    layout: dict[str, Any] = {
        "xaxis": d_axis,
        "yaxis": axis("correlation", range=[min(-0.1, _lowest(data) - 0.05), 1.05]),
        "shapes": [horizontal(0.3)],
    }
    limit = statistics["suggested_d_min"]
    if limit is not None:
        shape, label = vertical(limit**-2, f"suggested {limit:.2f} Å")
        layout["shapes"].append(shape)
        layout["annotations"] = [label]
    return Figure(
        "cc-half",
        "CC1/2 and CC anom",
        "Correlation of two halves of the data. CC1/2 above 0.3 is signal; the fitted curve crosses 0.3 at the "
        "suggested "
        "limit. Below the dashed line a correlation is chance. It should start near 1: a low start means wrong "
        "symmetry, "
        "indexing or a shadow. CC anom above 0.3 at low resolution is a usable anomalous signal.",
        data,
        layout,
    )


def _lowest(data: Sequence[Trace]) -> float:
    return min((y for trace in data for y in trace["y"] if y is not None), default=0.0)


def _deviations(summary: Summary, x: Sequence[float], d_axis: dict[str, Any], ranges: Sequence[str]) -> list[Figure]:
    if summary["deviations"] is None:
        return []
    found = summary["deviations"]["by_shell"]
    return [
        Figure(
            "errors-by-resolution",
            "Errors by resolution",
            "Mean squared deviation from the equivalents in units of the expected variance. 1 is right; above 1 errors "
            "are too small at this resolution, below 1 too large.",
            [
                line(
                    x,
                    found["mean_z2"],
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
                    for a, b, n, o, z in zip(*(found[k] for k in _SHELL_KEYS), strict=True)
                ],
            ),
        )
    ]


_SHELL_KEYS = ("d_max", "d_min", "observations", "outliers", "mean_z2")


def distribution(summary: Summary) -> Section:
    """Wilson plot, moments, N(z), L test, multiplicities."""
    section = Section(
        "intensities",
        "Distribution of intensities",
        "What the merged intensities look like: sharp deviations from the expected curves point to twinning, wrong "
        "symmetry, ice or translational pseudo-symmetry. Noise alone raises the moments of weak shells.",
    )
    found = summary["intensity_distribution"]
    if found is None:
        return section
    shells = summary["statistics"]["shells"]
    d_axis = resolution_axis([shells[0]["d_max"], shells[-1]["d_min"]])
    section.figures += [_wilson(found["wilson"], d_axis), _moments(found["second_moments"], shells, d_axis)]
    section.figures += [
        *_cumulative(found["cumulative"]),
        *_l_test(found["l_test"]),
        _multiplicities(found["multiplicity"]),
    ]
    return section


def _wilson(wilson: Any, d_axis: dict[str, Any]) -> Figure:
    points = [(s, math.log(v)) for s, v in zip(wilson["inverse_d2"], wilson["mean"], strict=True) if s and v and v > 0]
    x, y = [p[0] for p in points], [p[1] for p in points]
    data = [line(x, y, "data", BLUE, hovertemplate="ln mean %{y:.2f}<extra></extra>")]
    text = ""
    if wilson["b"] is not None and x:
        fit = [wilson["ln_k"] - 0.5 * wilson["b"] * s for s in (x[0], x[-1])]
        data.append(line([x[0], x[-1]], fit, f"B = {wilson['b']:.2f} Å²", GREY, mode="lines", dash="dash"))
        text = f" The straight line has B = {wilson['b']:.2f} Å² (relative to the first data set)."
    rows = [[shown(s**-0.5, 2), shown(math.exp(v), 2)] for s, v in points]
    return Figure(
        "wilson",
        "Wilson plot",
        "Logarithm of the mean intensity per multiplicity factor. Macromolecules dip near 6 Å and peak near 4.5 Å; "
        "beyond 3 Å it should be a straight line. Spikes are ice rings (3.9, 3.67, 3.44, 2.67, 2.25 Å)." + text,
        data,
        {"xaxis": d_axis, "yaxis": axis("ln ⟨I/ε⟩")},
        Table("Wilson plot", ("d / Å", "⟨I/ε⟩"), rows),
    )


def _moments(moments: Any, shells: Any, d_axis: dict[str, Any]) -> Figure:
    x = [0.5 * (s["d_max"] ** -2 + s["d_min"] ** -2) for s in shells]
    template = "%{y:.2f}<extra>%{fullData.name}</extra>"
    data = [line(x, moments["acentric"], "acentric", BLUE, hovertemplate=template)]
    if any(v is not None for v in moments["centric"]):
        data.append(line(x, moments["centric"], "centric", ORANGE, hovertemplate=template))
    rows = [
        [shown(s["d_min"], 2), shown(a, 2), shown(c, 2)]
        for s, a, c in zip(shells, moments["acentric"], moments["centric"], strict=True)
    ]
    return Figure(
        "second-moments",
        "Second moments",
        "⟨I²⟩/⟨I⟩² in each shell. Acentric reflections: 2, perfect twin 1.5; centric reflections: 3. Noise raises it.",
        data,
        {
            "xaxis": d_axis,
            "yaxis": axis("⟨I²⟩/⟨I⟩²", rangemode="tozero"),
            "shapes": [horizontal(2.0), horizontal(1.5)],
        },
        Table("Second moments", ("d min / Å", "acentric", "centric"), rows),
    )


def _cumulative(found: Any) -> list[Figure]:
    if not found["acentric"] and not found["centric"]:
        return []
    z = found["z"]
    data, columns = [], [[shown(v, 2) for v in z]]
    header = ["z"]
    expected = {
        "acentric": [1 - math.exp(-v) for v in z],
        "centric": [math.erf(math.sqrt(v / 2)) for v in z],
    }
    for name, colour in (("acentric", BLUE), ("centric", ORANGE)):
        if found[name]:
            data.append(line(z, found[name], name, colour, hovertemplate="N(z) %{y:.3f}<extra></extra>"))
            theory = f"{name}, theory"
            data.append(line(z, expected[name], theory, colour, mode="lines", dash="dot", width=1, hoverinfo="skip"))
            columns += [[shown(v, 3) for v in found[name]], [shown(v, 3) for v in expected[name]]]
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


def _l_test(found: Any) -> list[Figure]:
    if found is None:
        return []
    l = found["l"]
    twin = [v * (3 - v * v) / 2 for v in l]
    return [
        Figure(
            "l-test",
            "L test for twinning",
            f"Local test on pairs of neighbouring acentric reflections ({found['pairs']} pairs): mean |L| "
            f"{found['mean_abs']:.3f} (untwinned 0.5, perfect twin 0.375), mean L² {found['mean_square']:.3f} (0.333, "
            f"0.2).",
            [
                line(l, found["cumulative"], "data", BLUE, hovertemplate="N(|L|) %{y:.3f}<extra></extra>"),
                line(l, l, "untwinned", GREY, mode="lines", dash="dash", width=1, hoverinfo="skip"),
                line(l, twin, "perfect twin", ORANGE, mode="lines", dash="dot", width=1, hoverinfo="skip"),
            ],
            {"xaxis": axis("|L|"), "yaxis": axis("N(|L|)", rangemode="tozero")},
            Table(
                "L test",
                ("|L|", "data", "perfect twin"),
                [[shown(a, 2), shown(b, 3), shown(c, 3)] for a, b, c in zip(l, found["cumulative"], twin, strict=True)],
            ),
        )
    ]


def _multiplicities(found: Any) -> Figure:
    first, width = found["first"], found["width"]
    x = [v + 0.5 * (width - 1) for v in first]
    names = [str(v) if width == 1 else f"{v} – {v + width - 1}" for v in first]
    template = "measured %{customdata} times: %{y} reflections<extra>%{fullData.name}</extra>"
    data = [
        bars(x, found[name], name, colour, customdata=names, hovertemplate=template)
        for name, colour in (("acentric", BLUE), ("centric", AMBER))
        if any(found[name])
    ]
    return Figure(
        "multiplicities",
        "How often reflections were measured",
        "Number of unique reflections by multiplicity. Those measured once carry no information on scales.",
        data,
        {"xaxis": axis("observations of a reflection"), "yaxis": axis("reflections"), "barmode": "stack"},
        Table(
            "Multiplicities",
            ("observations", "acentric", "centric"),
            [[n, shown(a), shown(c)] for n, a, c in zip(names, found["acentric"], found["centric"], strict=True)],
        ),
    )


def anomalous(summary: Summary) -> Section:
    """Normal probability of differences, half-set scatter, RMS correlation ratio."""
    section = Section("anomalous", "Anomalous signal", "Differences of Friedel mates, I+ − I−.")
    found = summary["anomalous"]
    if found is None:
        return section
    section.notes.append(_signal(summary))
    where = f"d above {found['d_min']:.2f} Å"
    normal, halves = found["normal"], found["halves"]
    if normal:
        x, y = normal["expected"], normal["observed"]
        section.figures.append(
            Figure(
                "anomalous-normal",
                f"Differences over their errors, {where}",
                "Normal probability plot. Slope 1: differences are no larger than their errors; steeper: there is "
                "signal, "
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
        )
    if halves:
        n, limit = len(halves["counts"]), halves["limit"]
        at = [limit * (2 * (k + 0.5) / n - 1) for k in range(n)]
        counts = [[v or None for v in row] for row in halves["counts"]]
        section.figures.append(
            Figure(
                "anomalous-halves",
                f"Half-set differences, {where}",
                "Differences of one half of the data against the other. A cloud drawn out along the diagonal is "
                "signal; a "
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
                map_table(
                    "Pairs by half-set differences",
                    [f"{v:.3g}" for v in at],
                    [f"{v:.3g}" for v in at],
                    counts,
                    "2nd \\ 1st",
                ),
            )
        )
    shells = summary["statistics"]["shells"]
    x = [0.5 * (s["d_max"] ** -2 + s["d_min"] ** -2) for s in shells]
    if any(v is not None for v in found["rms_ratio"]):
        section.figures.append(
            Figure(
                "rms-ratio",
                "RMS correlation ratio",
                "Length over width of the cloud of half-set differences. 1 is no signal; above 1.5 is plenty.",
                [line(x, found["rms_ratio"], "acentric", BLUE, hovertemplate="%{y:.2f}<extra></extra>")],
                {
                    "xaxis": resolution_axis([shells[0]["d_max"], shells[-1]["d_min"]]),
                    "yaxis": axis("rms(D1 + D2)/rms(D1 − D2)", rangemode="tozero"),
                    "shapes": [horizontal(1.0)],
                },
                Table(
                    "RMS correlation ratio",
                    ("d min / Å", "ratio", "CC anom"),
                    [
                        [shown(s["d_min"], 2), shown(v, 2), shown(s["cc_anom"], 3)]
                        for s, v in zip(shells, found["rms_ratio"], strict=True)
                    ],
                ),
            )
        )
    return section


def _signal(summary: Summary) -> str:
    """How far the anomalous signal goes, in words."""
    reached = None
    for shell in summary["statistics"]["shells"]:
        if not shell["cc_anom_significant"] or (shell["cc_anom"] or 0) < MODEST_CC_ANOM:
            break
        reached = shell["d_min"]
    if reached is None:
        return "No anomalous signal: CC anom is not above 0.3 in the innermost shell."
    return f"Anomalous signal to about {reached:.2f} Å, where CC anom falls below 0.3."
