"""Each data set compared with the merged data of all."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from braggscale.report.exclusion_advice import data_sets_standing_out
from braggscale.report.page.figure import (
    BLUE,
    INK,
    NOTHING,
    ORANGE,
    Cell,
    Figure,
    Section,
    Table,
    Trace,
    axis,
    escaped,
    heat,
    map_table,
    names_of,
    shown,
)
from braggscale.report.summary_document import Summary
from braggscale.report.summary_sections import ByDataSet
from braggscale.report.summary_values import Column, Matrix
from braggscale.wording import decimals, show

NAMED = 40  # data sets with their names on the axis of a map
FEWEST = 3  # least number of data sets for plots that compare them
MOST_ROWS = 200  # of the tables that belong to the maps
MOST_LISTED = 300  # data sets in tables


def per_cents(values: Sequence[float | None]) -> list[str]:
    """A column of differences in per cent, which may be tiny: two digits of those of usual size."""
    sizes = [100.0 * abs(value) for value in values if value]
    digits = decimals(median(sizes)) if sizes else 1
    return [show(None if value is None else 100.0 * value, digits, NOTHING) for value in values]


def by_data_set(summary: Summary) -> Section:
    """A sortable table, the scatter of data sets, and maps by resolution, for one data set or hundreds."""
    table = summary.by_data_set
    section = Section("data-sets", "Data sets", "Each data set against the merged data of all.")
    if table is None:
        return section
    names = names_of(summary)
    section.tables += [_data_set_table(summary, table, names), *_image_ranges(summary, names)]
    return section


def _points(summary: Summary, x: Column, y: Column, hover: str) -> Trace:
    """A point for each data set; those that stand out are diamonds."""
    names, out = names_of(summary), set(data_sets_standing_out(summary))
    marker = {
        "size": [11 if k in out else 7 for k in range(len(names))],
        "color": [ORANGE if k in out else BLUE for k in range(len(names))],
        "symbol": ["diamond" if k in out else "circle" for k in range(len(names))],
        "line": {"width": 0.5, "color": INK},
    }
    text = [f"data set {escaped(n)}" for n in names]
    return {
        "type": "scatter",
        "mode": "markers",
        "text": text,
        "x": x,
        "y": y,
        "marker": marker,
        "hovertemplate": f"%{{text}}<br>{hover}<extra></extra>",
    }


def what_each_adds(summary: Summary) -> list[Figure]:
    """R_merge of each data set against delta CC1/2."""
    table = summary.by_data_set
    if table is None or len(table.identifier) < FEWEST or all(v is None for v in table.delta_cc_half):
        return []
    text = (
        "R_merge against ΔCC1/2 (CC1/2 of all data minus CC1/2 without the data set). Data sets to the left of zero "
        "make the data worse; those far from the cloud (diamonds) should be looked at, for wrong indexing or another "
        "crystal form."
    )
    delta = [None if v is None else 100 * v for v in table.delta_cc_half]
    data = [_points(summary, delta, table.r_merge, "ΔCC1/2 %{x:.2g} %<br>R_merge %{y:.3f}")]
    layout = {"xaxis": axis("ΔCC1/2 / %"), "yaxis": axis("R_merge", rangemode="tozero"), "showlegend": False}
    return [Figure("data-set-delta", "What each data set adds", text, data, layout)]


def scale_and_b(summary: Summary) -> list[Figure]:
    """Mean scale of each data set against its mean B factor."""
    table = summary.by_data_set
    if table is None or len(table.identifier) < FEWEST or all(v is None for v in table.b):
        return []
    text = (
        "Mean inverse scale factor and mean relative B factor. B above 0 here means that the data set falls off less "
        "with resolution than the mean of all; data sets far off are of another quality."
    )
    data = [_points(summary, table.scale, table.b, "mean g %{x:.3f}<br>B %{y:.2f} Å²")]
    layout = {"xaxis": axis("mean g"), "yaxis": axis("relative B / Å²"), "showlegend": False}
    return [Figure("data-set-scale", "Scale and B factor", text, data, layout)]


def _data_set_table(summary: Summary, table: ByDataSet, names: Sequence[str]) -> Table:
    fates = summary.ledger.data_sets
    rows: list[list[Cell]] = []
    listed = _listed(summary, table, len(names))
    delta = per_cents(table.delta_cc_half)
    for k in listed:
        name = names[k]
        n, lost = table.observations[k], table.outliers[k]
        counts = fates.get(table.identifier[k], {})
        rows.append(
            [
                table.number[k],
                name,
                sum(counts.values()),
                n,
                table.unique[k],
                lost,
                shown(lost / (n + lost) if n + lost else None, 2, percent=True),
                shown(table.completeness[k], 1, percent=True),
                shown(table.i_over_sigma[k], 1),
                shown(table.r_merge[k], 3),
                shown(table.mean_z2[k], 2),
                shown(table.cc_rest[k], 3),
                delta[k],
                shown(table.scale[k], 3),
                shown(table.b[k], 2),
            ]
        )
    header = (
        "#",
        "data set",
        "rows",
        "scaled",
        "unique",
        "outliers",
        "outliers / %",
        "completeness / %",
        "⟨I/σ⟩",
        "R_merge",
        "mean z²",
        "CC with the rest",
        "ΔCC1/2 / %",
        "mean g",
        "B / Å²",
    )
    caption = "Data sets (click a heading to sort)"
    if len(listed) < len(names):
        caption = f"The {len(listed)} of {len(names)} data sets that agree worst with the rest; scale.json has all"
    return Table(caption, header, rows, words=(1,))


def _listed(summary: Summary, table: ByDataSet, n: int) -> list[int]:
    """Positions of the data sets in the table: all of them, or if there are very many, those that agree worst."""
    if n <= MOST_LISTED:
        return list(range(n))
    rest = [2.0 if value is None else value for value in table.cc_rest]
    worst = sorted(range(n), key=rest.__getitem__)[:MOST_LISTED]
    return sorted({*worst, *data_sets_standing_out(summary)})


def _image_ranges(summary: Summary, names: Sequence[str]) -> list[Table]:
    """Images of the scan, those in use, and batches; nothing for stills."""
    kept = summary.kept
    rows = []
    for name, entry in list(zip(names, kept, strict=False))[:MOST_LISTED]:
        images = entry.image_range
        if images is None:
            continue
        offset = entry.batch_offset or 0
        in_use = ", ".join(f"{a}–{b}" for a, b in entry.images_in_use or [images])
        rows.append([name, f"{images[0]}–{images[1]}", in_use, f"{images[0] + offset}–{images[1] + offset}"])
    header = ("data set", "images", "in use", "batches")
    caption = "Images and batches"
    if len(names) > MOST_LISTED:
        caption += f" of the first {MOST_LISTED} data sets; scale.json has all"
    return [Table(caption, header, rows, words=(0, 1, 2, 3))] if rows else []


def maps_by_resolution(summary: Summary) -> list[Figure]:
    """Signal to noise and R_merge, data set by resolution."""
    table, names = summary.by_data_set, names_of(summary)
    if table is None or len(names) < FEWEST:
        return []
    limits = table.shell_limits
    shells = [f"{a:.2f} – {b:.2f}" for a, b in zip(limits[:-1], limits[1:], strict=True)]
    figures = []
    for key, z, title, label, digits, text in (
        (
            "i_over_sigma_by_shell",
            table.i_over_sigma_by_shell,
            "Signal to noise, data set by resolution",
            "⟨I/σ⟩",
            1,
            "Mean I/σ of single observations. A line of low values is a weak data set; one that ends early does not "
            "diffract as far.",
        ),
        (
            "r_merge_by_shell",
            table.r_merge_by_shell,
            "R_merge, data set by resolution",
            "R_merge",
            3,
            "Deviation from the merged data. A line of high values from low resolution on does not belong to the "
            "others.",
        ),
    ):
        if any(v is not None for row in z for v in row):
            figures.append(_map(key.replace("_", "-"), title, text, label, digits, shells, names, z))
    return figures


def _map(
    key: str, title: str, text: str, label: str, digits: int, shells: list[str], names: list[str], z: Matrix
) -> Figure:
    known = sorted(v for row in z for v in row if v is not None)
    top = known[int(0.98 * (len(known) - 1))]
    labels = [escaped(name) for name in names]
    few = len(names) <= NAMED
    template = f"data set %{{y}}<br>%{{x}} Å<br>{label} %{{z:.{digits}f}}<extra></extra>"
    y: Sequence[object] = labels if few else list(range(len(labels)))
    trace = heat(shells, y, z, label, zmin=0, zmax=top, hovertemplate=template)
    y_axis = axis("data set", type="category" if few else "linear", autorange="reversed", automargin=True)
    if not few:
        # rows are numbered because names would overlap on the axis; hovering over a point shows the name
        trace["customdata"] = [[name] * len(shells) for name in labels]
        trace["hovertemplate"] = template.replace("%{y}", "%{customdata}")
        y_axis["title"] = {"text": "data set, place in the table"}
    caption = title if len(names) <= MOST_ROWS else f"{title}: the first {MOST_ROWS}; scale.json has all"
    header = [f"{s} Å" for s in shells]
    return Figure(
        key,
        title,
        text,
        [trace],
        {"xaxis": axis("resolution / Å", tickangle=-40, type="category"), "yaxis": y_axis},
        map_table(caption, header, names[:MOST_ROWS], z[:MOST_ROWS], "data set"),
        height=max(300, min(700, 180 + 14 * len(names))),
    )
