"""Curves and tables by image, over all data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from braggscale.report.exclusion_advice import images_standing_out
from braggscale.report.page.data_sets import per_cents
from braggscale.report.page.figure import (
    BLUE,
    GREY,
    MOST_TICKS,
    ORANGE,
    Cell,
    Choice,
    Figure,
    Layout,
    Section,
    Table,
    Trace,
    axis,
    escaped,
    heat,
    horizontal,
    line,
    names_of,
    shown,
)
from braggscale.report.summary_document import Summary
from braggscale.report.summary_sections import ByImage

MOST_LABELLED = 60  # data sets with their name on an axis
MOST_NAMED = 12  # data sets with their name in a plot
MOST_ROWS = 300  # of the table by image


@dataclass(frozen=True, slots=True)
class _Plot:
    """A quantity of ``by_image``: key, title, axis, factor, format, help; ``at``: position of a dotted line.

    ``of_stills``: the help where each point is a still, or several.
    """

    key: str
    title: str
    axis: str
    factor: float
    form: str
    help: str
    at: float | None = None
    of_stills: str = ""


PLOTS = (
    _Plot(
        "scale",
        "Inverse scale factor g",
        "mean g",
        1.0,
        ".3f",
        "Intensities are divided by it. It follows beam, volume in the beam and absorption: smooth curves and small "
        "steps "
        "are normal; a sudden fall towards zero means that beam or crystal were lost.",
        of_stills="Intensities are divided by it. Crystals differ in size and beam: factors of ten are usual.",
    ),
    _Plot(
        "r_merge",
        "R_merge",
        "R_merge",
        1.0,
        ".3f",
        "Deviations from the merged intensities of all data. Flat is good; images well above their neighbours should "
        "be "
        "looked at, and left out if there is a reason.",
        of_stills="Deviations from the merged intensities of all data. Flat is good.",
    ),
    _Plot(
        "i_over_sigma",
        "Signal to noise of observations",
        "⟨I/σ⟩",
        1.0,
        ".1f",
        "Mean I/σ of single observations. It falls with radiation damage, and where the crystal leaves the beam.",
        of_stills="Mean I/σ of single observations.",
    ),
    _Plot(
        "mean_z2",
        "Errors by image",
        "mean z²",
        1.0,
        ".2f",
        "Squared deviation from the equivalents in units of the expected variance. 1 is right; images above it "
        "disagree "
        "more than the error model explains.",
        1.0,
        "Squared deviation from the equivalents in units of the expected variance. 1 is right; a still above it "
        "disagrees more than the error model explains.",
    ),
    _Plot(
        "delta_cc_half",
        "ΔCC1/2: what the images add",
        "ΔCC1/2 / %",
        100.0,
        ".2g",
        "CC1/2 of all data minus CC1/2 without these images, mean over resolution shells. Below zero they make the "
        "data "
        "worse. Compare with the scatter of the others.",
        0.0,
        "CC1/2 of all data minus CC1/2 without these stills, mean over resolution shells. Below zero they make the "
        "data worse. Compare with the scatter of the others.",
    ),
    _Plot(
        "rejected",
        "Rejected observations",
        "outliers / %",
        100.0,
        ".2f",
        "Share of observations rejected as outliers. A few in a hundred are normal; a hump is a shadow, ice or another "
        "lattice.",
    ),
    _Plot(
        "completeness",
        "Growth of completeness",
        "completeness / %",
        100.0,
        ".1f",
        "Share of the possible reflections seen up to here. Where it is flat, more images add multiplicity alone.",
    ),
)


def by_image(summary: Summary) -> Section:
    """Curves over all images of all data sets."""
    table = summary.by_image
    stills = table is not None and not any(table.first)
    title, introduction = "By image", "Along the sweeps, one after the other. Diamonds: images that disagree."
    if stills:
        title, introduction = "By still", "One after the other, in the order of the input."
    section = Section("images", title, introduction)
    if table is None or len(table.first) < 2:
        return section
    names = names_of(summary)
    width, merged = table.images_per_bin, table.data_sets_per_bin
    if merged > 1:
        section.notes.append(f"Each point is {merged} data sets.")
    elif not stills and width > 1:
        section.notes.append(f"Each point is {width} images, so that it rests on enough reflections.")
    section.tables.append(_image_table(table, names, stills))
    return section


def image_curves(summary: Summary) -> list[Figure]:
    """Each quantity of ``PLOTS`` over all images of all data sets."""
    table, names = summary.by_image, names_of(summary)
    if table is None or len(table.first) < 2:
        return []
    if len(set(table.data_set)) > MOST_NAMED and any(table.first):
        return image_maps(table, names)
    where = _places(summary, table, names)
    out = images_standing_out(summary)
    marked = [
        any(d == k and a <= last and first <= b for k, a, b in out)
        for d, first, last in zip(table.data_set, table.first, table.last, strict=True)
    ]
    stills = not any(table.first)
    edges, layout = _layout(where, table.data_set, names, stills or table.data_sets_per_bin > 1)
    figures = []
    for plot in PLOTS:
        data = _traces(where, _values(table, plot.key), plot, marked)
        shapes = [*edges, *([horizontal(plot.at)] if plot.at is not None else [])]
        y = axis(plot.axis, rangemode="normal" if plot.key in ("delta_cc_half",) else "tozero")
        own = {**layout, "shapes": shapes, "yaxis": y}
        text = (stills and plot.of_stills) or plot.help
        title = plot.title.replace("image", "still") if stills else plot.title
        figures.append(Figure(f"image-{plot.key}", title, text, data, own, wide=True, height=260))
    return figures


def image_maps(table: ByImage, names: Sequence[str]) -> list[Figure]:
    """Each quantity of ``PLOTS`` by image, across, and data set, down: many sweeps side by side would be a comb."""
    sets = list(dict.fromkeys(table.data_set))
    row = {d: k for k, d in enumerate(sets)}
    begin: dict[int, int] = {}
    for d, first in zip(table.data_set, table.first, strict=True):
        begin[d] = min(first, begin.get(d, first))
    width = table.images_per_bin
    column = [(first - begin[d]) // width for d, first in zip(table.data_set, table.first, strict=True)]
    across = [k * width + 1 for k in range(max(column) + 1)]
    labels = [escaped(names[d]) for d in sets]
    choices: list[Choice] = []
    few = len(sets) <= MOST_LABELLED
    y_axis = axis("data set", type="category" if few else "linear", autorange="reversed", automargin=True)
    layout: Layout = {"xaxis": axis("image, from the first of the sweep"), "yaxis": y_axis}
    for plot in PLOTS:
        z: list[list[float | None]] = [[None] * len(across) for _ in sets]
        for k, value in enumerate(_values(table, plot.key)):
            if value is not None:
                z[row[table.data_set[k]]][column[k]] = float(f"{plot.factor * value:.3g}")
        known = sorted(v for line_ in z for v in line_ if v is not None)
        if not known:
            continue
        limits = {"zmin": known[int(0.01 * (len(known) - 1))], "zmax": known[int(0.99 * (len(known) - 1))]}
        hover = f"data set %{{customdata}}<br>image %{{x}}<br>{plot.axis} %{{z:{plot.form}}}<extra></extra>"
        named = [[name] * len(across) for name in labels]
        y: Sequence[object] = labels if few else list(range(len(labels)))
        choices.append(
            (plot.title, [heat(across, y, z, plot.axis, customdata=named, hovertemplate=hover, **limits)], layout)
        )
    if not choices:
        return []
    text = (
        "A line for each data set, a column for each run of images. A stretch that differs from its line is something "
        "that happened to the crystal or the beam; a line that differs from all others is another crystal."
    )
    height = max(320, min(900, 160 + 12 * len(sets)))
    title = "By image and data set"
    shown_first = choices[1] if len(choices) > 1 else choices[0]
    ordered = [shown_first, *(one for one in choices if one is not shown_first)]
    return [
        Figure(
            "image-map",
            title,
            text,
            shown_first[1],
            layout,
            wide=True,
            height=height,
            choices=ordered,
            choice_of="quantity",
        )
    ]


def _values(table: ByImage, key: str) -> Sequence[float | None]:
    """A column, or the share of rejected observations."""
    if key == "rejected":
        return [o / (o + n) if o + n else None for o, n in zip(table.outliers, table.observations, strict=True)]
    found: Sequence[float | None] = getattr(table, key)
    return found


@dataclass(frozen=True, slots=True)
class _Places:
    """Of each run of images: running number of its middle, its name for hovering, and whether a data set begins."""

    x: list[float]
    text: list[str]
    new: list[bool]


def _places(summary: Summary, table: ByImage, names: Sequence[str]) -> _Places:
    entries = {entry.identifier: entry for entry in summary.data_sets}
    full = summary.by_data_set.identifier if summary.by_data_set else names
    merged = table.data_sets_per_bin
    x, text, new = [], [], []
    before, running = -1, 0
    for d, first, last in zip(table.data_set, table.first, table.last, strict=True):
        n = last - first + 1
        x.append(running + 0.5 * (n + 1))
        running += n
        new.append(d != before)
        before = d
        label = f"data set {escaped(names[d])}"
        if merged > 1 and d + merged > d + 1:
            label += f" and the next {merged - 1}"
        if first:
            label += f"<br>image {first}" + (f" – {last}" if last > first else "")
            offset = entries[full[d]].batch_offset if full[d] in entries else None
            if offset is not None:
                label += f"<br>batch {first + offset}" + (f" – {last + offset}" if last > first else "")
        text.append(label)
    return _Places(x, text, new)


def _layout(where: _Places, data_set: Sequence[int], names: Sequence[str], stills: bool) -> tuple[list[Layout], Layout]:
    """Lines where data sets begin, and a layout with their names where there are few."""
    shapes: list[Layout] = []
    labels: list[Layout] = []
    starts = [k for k, new in enumerate(where.new) if new]
    if len(starts) <= 4 * MOST_NAMED and not stills:
        for k in starts[1:]:
            edge = 0.5 * (where.x[k - 1] + where.x[k])
            shape: Layout = {"type": "line", "x0": edge, "x1": edge, "yref": "paper", "y0": 0, "y1": 1}
            shapes.append({**shape, "line": {"color": GREY, "width": 1, "dash": "dot"}})
    if 1 < len(starts) <= MOST_NAMED and not stills:
        for k, end in zip(starts, [*starts[1:], len(where.x)], strict=True):
            text = escaped(names[data_set[k]])
            labels.append(
                {
                    "x": 0.5 * (where.x[k] + where.x[end - 1]),
                    "y": 1.0,
                    "yref": "paper",
                    "yanchor": "bottom",
                    "text": text,
                    "showarrow": False,
                    "font": {"color": GREY, "size": 11},
                }
            )
    title = "data set, in order" if stills else "image, all data sets in order" if len(starts) > 1 else "image"
    whole: Layout = {"dtick": 1, "tick0": 1} if where.x[-1] - where.x[0] <= MOST_TICKS else {"tickformat": "d"}
    return shapes, {"xaxis": axis(title, zeroline=False, **whole), "annotations": labels, "showlegend": False}


def _traces(where: _Places, values: Sequence[float | None], plot: _Plot, marked: Sequence[bool]) -> list[Trace]:
    """A line with gaps between data sets, and larger points for images that stand out."""
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for place, value, name, new in zip(where.x, values, where.text, where.new, strict=True):
        if new and x:
            x.append(None)
            y.append(None)
            text.append("")
        x.append(place)
        y.append(None if value is None else float(f"{plot.factor * value:.5g}"))
        text.append(name)
    template = f"%{{text}}<br>{plot.axis} %{{y:{plot.form}}}<extra></extra>"
    many = len(where.x) > 150
    mode = "lines+markers"
    data = [line(x, y, plot.axis, BLUE, text=text, hovertemplate=template, mode=mode, size=3 if many else 5, width=1)]
    out = [k for k, yes in enumerate(marked) if yes]
    if out:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "stands out",
                "x": [where.x[k] for k in out],
                "y": [None if (v := values[k]) is None else plot.factor * v for k in out],
                "text": [where.text[k] for k in out],
                "hovertemplate": "stands out<br>" + template,
                "marker": {"color": ORANGE, "size": 9, "symbol": "diamond"},
            }
        )
    return data


def _image_table(columns: ByImage, names: Sequence[str], stills: bool) -> Table:
    """All runs of images, or only the worst if there are very many."""
    order = list(range(len(columns.first)))
    caption = "By data set" if stills else "By image"
    if len(order) > MOST_ROWS:
        order = sorted(order, key=lambda k: -(columns.r_merge[k] or 0.0))[:MOST_ROWS]
        caption += f": the {MOST_ROWS} of {len(columns.first)} rows with the largest R_merge; scale.json has all"
    rows: list[list[Cell]] = []
    delta = per_cents(columns.delta_cc_half)
    for k in order:
        first, last = columns.first[k], columns.last[k]
        rows.append(
            [
                names[columns.data_set[k]],
                *([] if stills else [str(first) if last == first else f"{first}–{last}"]),
                columns.observations[k],
                columns.outliers[k],
                shown(columns.scale[k], 3),
                shown(columns.r_merge[k], 3),
                shown(columns.i_over_sigma[k], 1),
                shown(columns.mean_z2[k], 2),
                shown(columns.completeness[k], 1, percent=True),
                delta[k],
            ]
        )
    header = (
        "data set",
        *(() if stills else ("images",)),
        "observations",
        "outliers",
        "mean g",
        "R_merge",
        "⟨I/σ⟩",
        "mean z²",
        "completeness / %",
        "ΔCC1/2 / %",
    )
    return Table(caption, header, rows, words=(0,))
