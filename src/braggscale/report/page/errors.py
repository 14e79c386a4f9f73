"""Error model, and maps of the detector."""

from __future__ import annotations

import math
from collections.abc import Sequence

from braggscale.report.page.figure import (
    BLUE,
    DIVERGING,
    GREY,
    ORANGE,
    Cell,
    Figure,
    Layout,
    Section,
    Table,
    Trace,
    axis,
    bars,
    colour_bar,
    count_axis,
    heat,
    horizontal,
    line,
    map_table,
    short,
    shown,
)
from braggscale.report.summary_document import Summary
from braggscale.report.summary_run import ErrorModelFit
from braggscale.report.summary_sections import (
    BeforeAfter,
    DetectorMaps,
    DeviationsOfModel,
    Histogram,
    NormalPlot,
    SignalMap,
)
from braggscale.wording import show_with_error

FEWEST = 5  # observations and outliers that a cell of the detector needs
MOST_MODELS = 12  # error models with plots
NORMAL = (0.6827, 0.9545, 0.9973)


def error_model(summary: Summary) -> Section:
    """The error models with their parameters."""
    section = Section(
        "errors",
        "Error model",
        "σ of every observation is corrected to σ′² = a² (σ² + (b I)²), so that equivalents scatter as much as their "
        "errors say.",
    )
    models = summary.error_models
    found = summary.deviations.error_models if summary.deviations else []
    if models:
        section.tables.append(_parameters(models, found))
    return section


def error_model_figures(summary: Summary) -> list[Figure]:
    """Of each error model: normal probability plot, histogram, errors by intensity, I/sigma with its asymptote."""
    models = summary.error_models
    figures: list[Figure] = []
    found = summary.deviations.error_models if summary.deviations else []
    pairs = [(models[k] if k < len(models) else None, one) for k, one in enumerate(found[:MOST_MODELS])]
    for k, (model, one) in enumerate(pairs):
        suffix, name = ("", "") if len(pairs) == 1 else (f"-{k + 1}", f", model {k + 1}")
        if one.normal and one.histogram:
            figures += [_normal(one.normal, suffix, name), _histogram(one.histogram, suffix, name)]
        if model and model.ranges:
            figures.append(_by_intensity(model, suffix, name))
        if one.i_over_sigma:
            figures.append(_i_over_sigma(one.i_over_sigma, model, suffix, name))
    return figures


def _parameters(models: Sequence[ErrorModelFit], found: Sequence[DeviationsOfModel]) -> Table:
    rows: list[list[Cell]] = []
    for k, model in enumerate(models):
        within = found[k].within if k < len(found) else BeforeAfter(before=[None] * 3, after=[None] * 3)
        m = model.model
        rows.append(
            [
                k + 1,
                show_with_error(m.a, model.esd_a),
                show_with_error(m.b, model.esd_b),
                short(m.c, 3) if m.c else "–",
                shown(model.isa, 1),
                model.n_used,
                " / ".join(shown(v, 1, percent=True) for v in within.before),
                " / ".join(shown(v, 1, percent=True) for v in within.after),
                model.reason or "",
            ]
        )
    ideal = " / ".join(f"{100 * v:.1f}" for v in NORMAL)
    header = (
        "model",
        "a",
        "b",
        "c / counts",
        "largest I/σ",
        "observations",
        "% within 1 / 2 / 3 σ, before",
        f"after (ideal {ideal})",
        "remark",
    )
    return Table("Error model", header, rows, words=(8,))


def _normal(found: NormalPlot, suffix: str, name: str) -> Figure:
    x = found.expected
    # deviations beyond the counted range are not plotted
    before, after = ([None if abs(v) >= 12 else v for v in values] for values in (found.before, found.after))
    hover = "expected %{x:.1f}, found %{y:.2f}<extra>%{fullData.name}</extra>"
    return Figure(
        f"normal{suffix}",
        f"Normal probability plot{name}",
        "Deviations from equivalents, divided by their errors, against those of a normal distribution. On the diagonal "
        "errors are right; steeper means too small. Bent ends are outliers that stayed.",
        [
            line(x, before, "errors of integration", ORANGE, hovertemplate=hover, size=4, width=1),
            line(x, after, "with error model", BLUE, hovertemplate=hover, size=4, width=1),
            line([x[0], x[-1]], [x[0], x[-1]], "ideal", GREY, mode="lines", dash="dash", width=1, hoverinfo="skip"),
        ],
        {"xaxis": axis("expected"), "yaxis": axis("z found", range=_clipped(after, before))},
        Table(
            "Normal probability plot",
            ("expected", "errors of integration", "with error model"),
            [[shown(a, 1), shown(b, 2), shown(c, 2)] for a, b, c in zip(x, before, after, strict=True)],
        ),
    )


def _clipped(after: Sequence[float | None], before: Sequence[float | None]) -> list[float]:
    """Range of the axis: that of the corrected curve, and that of the other one up to twice this range."""
    top = max([4.5, *(abs(v) for v in after if v is not None)])
    other = max([top, *(abs(v) for v in before if v is not None)])
    limit = 1.05 * min(other, 2 * top)
    return [-limit, limit]


def _histogram(found: Histogram, suffix: str, name: str) -> Figure:
    x, n = found.middle, sum(found.after)
    step = x[1] - x[0]
    ideal = [n * step * math.exp(-v * v / 2) / math.sqrt(2 * math.pi) for v in x]
    return Figure(
        f"deviations{suffix}",
        f"Distribution of deviations{name}",
        "The same deviations as a histogram, with the normal curve they should follow. Counts beyond 6 stand in the "
        "last "
        "bars.",
        [
            bars(x, found.after, "with error model", BLUE, hovertemplate="z %{x}: %{y}<extra></extra>"),
            line(x, ideal, "normal", ORANGE, mode="lines", hoverinfo="skip"),
        ],
        {"xaxis": axis("z"), "yaxis": count_axis("observations", max(found.after, default=0)), "bargap": 0.05},
        Table(
            "Distribution of deviations",
            ("z", "before", "after", "normal"),
            [[shown(v, 3), b, a, f"{e:.0f}"] for v, b, a, e in zip(x, found.before, found.after, ideal, strict=True)],
        ),
    )


def _by_intensity(model: ErrorModelFit, suffix: str, name: str) -> Figure:
    ranges = [r for r in model.ranges if r.high > 0]
    x = [math.sqrt(max(r.low, r.high / 4) * r.high) for r in ranges]
    before, after = [r.uncorrected for r in ranges], [r.corrected for r in ranges]
    highest = max((v for v in before if v is not None), default=1.0)
    custom = [[short(r.low, 3), short(r.high, 3), r.n] for r in ranges]
    hover = (
        "intensity %{customdata[0]} – %{customdata[1]}<br>%{customdata[2]} observations"
        "<br>mean z² %{y:.2f}<extra>%{fullData.name}</extra>"
    )
    return Figure(
        f"by-intensity{suffix}",
        f"Errors by intensity{name}",
        "Mean squared deviation in ranges of intensity, before and after. 1 is right. The error model should bring all "
        "ranges between 0.7 and 1.5; a trend that stays is an error it cannot describe.",
        [
            line(x, before, "errors of integration", ORANGE, customdata=custom, hovertemplate=hover),
            line(x, after, "with error model", BLUE, customdata=custom, hovertemplate=hover),
        ],
        {
            "xaxis": axis("expected intensity / counts", type="log"),
            "yaxis": axis("mean z²", type="log", dtick="D2" if highest < 30 else 1),
            "shapes": [horizontal(1.0)],
        },
        Table(
            "Errors by intensity",
            ("from", "to", "observations", "before", "after"),
            [
                [short(r.low, 4), short(r.high, 4), r.n, shown(b, 2), shown(a, 2)]
                for r, b, a in zip(ranges, before, after, strict=True)
            ],
        ),
    )


def _i_over_sigma(found: SignalMap, model: ErrorModelFit | None, suffix: str, name: str) -> Figure:
    counts = found.counts
    n = len(counts)
    (low_x, high_x), (low_y, high_y) = found.log10_intensity, found.log10_i_over_sigma
    x = [round(low_x + (high_x - low_x) * (k + 0.5) / n, 3) for k in range(n)]
    y = [round(low_y + (high_y - low_y) * (k + 0.5) / n, 3) for k in range(n)]
    z = [[math.log10(v) if v else None for v in row] for row in counts]
    hover = "I %{customdata[0]}<br>I/σ %{customdata[1]}<br>%{customdata[2]} observations<extra></extra>"
    custom = [[[f"{10**a:.3g}", f"{10**b:.3g}", counts[j][i]] for i, a in enumerate(x)] for j, b in enumerate(y)]
    top = max((v for row in z for v in row if v is not None), default=1.0)
    decades = list(range(int(top) + 1))
    bar = colour_bar("observations", tickvals=decades, ticktext=[str(10**k) for k in decades])
    trace = heat(x, y, z, "observations", hovertemplate=hover, customdata=custom) | {"colorbar": bar}
    data: list[Trace] = [trace]
    if model and model.isa:
        level = math.log10(model.isa)
        data.append(
            line(
                [x[0], x[-1]],
                [level, level],
                f"limit {model.isa:.1f}",
                ORANGE,
                mode="lines",
                dash="dash",
                hoverinfo="skip",
            )
        )
        high_y = max(high_y, level + 0.1)
    decade_x = [k for k in range(math.floor(low_x), math.ceil(high_x) + 1)]
    nice_y = [v for v in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low_y <= math.log10(v) <= high_y]
    every = n // 10
    rough = [
        [sum(counts[j * every + b][i * every + a] for a in range(every) for b in range(every)) for i in range(10)]
        for j in range(10)
    ]
    return Figure(
        f"i-over-sigma-map{suffix}",
        f"I/σ against intensity{name}",
        "Every observation, with corrected errors. Counting statistics give a line of slope 1/2; at high intensity it "
        "bends "
        "over to the limit 1/(a b), beyond which no reflection gets. A limit above 20 is good.",
        data,
        {
            "xaxis": axis("scaled intensity", tickvals=decade_x, ticktext=[_power(k) for k in decade_x]),
            "yaxis": axis("I/σ", tickvals=[math.log10(v) for v in nice_y], ticktext=[f"{v:g}" for v in nice_y]),
        },
        map_table(
            "Observations by intensity (across) and I/σ (down)",
            [f"{10 ** x[i * every]:.2g}" for i in range(10)],
            [f"{10 ** y[j * every]:.2g}" for j in range(10)],
            rough,
            "I/σ \\ I",
        ),
    )


def _power(k: int) -> str:
    return f"{10**k:g}" if -3 <= k <= 3 else f"10<sup>{k}</sup>"


def detector(summary: Summary) -> Section:
    """Deviations and outliers by place on the detector."""
    return Section(
        "detector",
        "Detector",
        "All images together, by position on the detector. Deviations at a fixed position do not come from the "
        "crystal, but from shadows of beam stop or loop, bad modules, or a wrong flat field.",
    )


def mean_deviation(summary: Summary) -> list[Figure]:
    """Mean z by place on the detector."""
    if (found := summary.detector) is None:
        return []
    text = "Mean of z. Noise gives a few hundredths with random signs; patches beyond ±1 are systematic."
    title = "Mean deviation in standard deviations"
    return _on_detector(found, "detector-z", title, text, found.mean_z, "mean z", 2, both=True)


def excess(summary: Summary) -> list[Figure]:
    """Intensities over those of the equivalents by place on the detector."""
    if (found := summary.detector) is None:
        return []
    z = [[None if v is None else 100 * v for v in row] for row in found.excess]
    text = "Sum of intensities over the sum expected from equivalents, in per cent. Negative patches are shadows."
    if not any(c.name == "modulation" for entry in summary.models for c in entry.components):
        text += " modulation_correction=True fits such a map."
    return _on_detector(found, "detector-excess", "Excess over the equivalents", text, z, "%", 1, both=True)


def outliers_on_detector(summary: Summary) -> list[Figure]:
    """Share of outliers by place on the detector."""
    if (found := summary.detector) is None:
        return []
    z = [
        [None if o + n < FEWEST else 100 * o / (o + n) for o, n in zip(a, b, strict=True)]
        for a, b in zip(found.outliers, found.observations, strict=True)
    ]
    text = "Share of observations rejected as outliers."
    return _on_detector(found, "detector-outliers", "Rejected observations", text, z, "outliers / %", 1)


def counts_on_detector(summary: Summary) -> list[Figure]:
    """Numbers of observations by place on the detector."""
    if (found := summary.detector) is None:
        return []
    z = [[v or None for v in row] for row in found.observations]
    text = "Where the scaled observations are."
    return _on_detector(found, "detector-counts", "Observations", text, z, "observations", 0)


def _on_detector(
    found: DetectorMaps,
    name: str,
    title: str,
    text: str,
    z: Sequence[Sequence[float | None]],
    label: str,
    digits: int,
    both: bool = False,
) -> list[Figure]:
    """A map over the detector.  ``both``: whether values go to both sides of 0."""
    known = sorted(abs(v) for row in z for v in row if v is not None)
    if not known:
        return []
    unit = found.unit
    x, y = _middles(found.x, len(z[0])), _middles(found.y, len(z))
    hover = f"x %{{x:.0f}} {unit}, y %{{y:.0f}} {unit}<br>%{{z:.{digits}f}}<extra></extra>"
    top = known[int(0.98 * (len(known) - 1))] or 1.0
    limits: Layout = {"zmin": -top, "zmax": top, "colorscale": DIVERGING} if both else {"zmin": 0, "zmax": top}
    trace = heat(x, y, z, label, hovertemplate=hover, **limits)
    layout = {
        "xaxis": axis(f"x (fast) / {unit}", constrain="domain", zeroline=False),
        "yaxis": axis(f"y (slow) / {unit}", scaleanchor="x", constrain="domain", autorange="reversed", zeroline=False),
    }
    table = map_table(title, [f"{v:.0f}" for v in x], [f"{v:.0f}" for v in y], z, f"y \\ x / {unit}")
    return [Figure(name, title, text, [trace], layout, table, height=380)]


def _middles(ends: Sequence[float], n: int) -> list[float]:
    return [round(ends[0] + (ends[1] - ends[0]) * (k + 0.5) / n, 2) for k in range(n)]
