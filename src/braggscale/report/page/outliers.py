"""Outliers, and the ledger of reflections."""

from __future__ import annotations

from collections.abc import Sequence

from braggscale.report.page.figure import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Cell,
    Figure,
    Section,
    Table,
    Trace,
    axis,
    bars,
    count_axis,
    escaped,
    resolution_axis,
    short,
    shown,
)
from braggscale.report.summary_document import Summary
from braggscale.report.summary_sections import WorstGroup
from braggscale.report.text.tables import short_names

MOST_LISTED = 300  # data sets in a table


def outliers(summary: Summary) -> Section:
    """Which observations were rejected."""
    return Section(
        "outliers",
        "Outliers",
        "Observations that disagree with their equivalents, the worst first. The sections by image and detector show "
        "where they occur.",
    )


def outliers_by_resolution(summary: Summary) -> list[Figure]:
    """Share of outliers in each shell."""
    if (found := summary.deviations) is None:
        return []
    shells = found.by_shell
    x = [0.5 * (a**-2 + b**-2) for a, b in zip(shells.d_max, shells.d_min, strict=True)]
    share = [100 * o / (o + n) if o + n else None for o, n in zip(shells.outliers, shells.observations, strict=True)]
    return [
        Figure(
            "outliers-by-resolution",
            "Outliers by resolution",
            "Share of observations rejected in each shell. A peak in one shell is an ice ring; many at low "
            "resolution "
            "are beam-stop shadows or overloads.",
            [
                bars(
                    x,
                    share,
                    "outliers",
                    BLUE,
                    customdata=shells.outliers,
                    hovertemplate="%{customdata} outliers, %{y:.2f} %<extra></extra>",
                )
            ],
            {
                "xaxis": resolution_axis([shells.d_max[0], shells.d_min[-1]]),
                "yaxis": axis("outliers / %", rangemode="tozero"),
                "showlegend": False,
            },
            Table(
                "Outliers by resolution",
                ("d max / Å", "d min / Å", "observations", "outliers", "%"),
                [
                    [shown(a, 2), shown(b, 2), n, o, shown(s, 2)]
                    for a, b, n, o, s in zip(
                        shells.d_max, shells.d_min, shells.observations, shells.outliers, share, strict=True
                    )
                ],
            ),
            wide=True,
            height=260,
        )
    ]


def worst_groups(summary: Summary) -> list[Figure]:
    """All members of the worst groups side by side, by their deviations, and their table."""
    groups = summary.worst_groups
    if not groups:
        return []
    text = (
        "All members of the reflections with the largest deviations; z: from the other members, in standard "
        "deviations. One cross far from a tight group is a real outlier. Two groups of circles far apart are two "
        "different reflections: wrong symmetry or indexing."
    )
    layout = {"xaxis": axis("reflection", type="category", tickangle=-45), "yaxis": axis("z")}
    title, data = "The groups with the worst outliers", _members(groups)
    return [Figure("worst-groups", title, text, data, layout, _member_table(groups), wide=True, height=380)]


def _members(groups: Sequence[WorstGroup]) -> list[Trace]:
    traces: list[Trace] = []
    for kept, label, colour, symbol in ((False, "member", BLUE, "circle"), (True, "outlier", ORANGE, "x")):
        x, y, text = [], [], []
        for group in groups:
            for i, is_out in enumerate(group.outlier):
                if is_out is kept and group.z[i] is not None:
                    x.append(_hkl(group.hkl))
                    y.append(group.z[i])
                    place = f"data set {escaped(group.data_set[i])}"
                    place += "" if group.image[i] is None else f", image {group.image[i]}"
                    place += f"<br>x {group.x[i]}, y {group.y[i]} px"
                    value = f"I {short(group.scaled_intensity[i], 4)} ± {short(group.sigma[i], 2)}"
                    text.append(f"{_hkl(group.hkl)}, {short(group.d, 3)} Å<br>{place}<br>{value}")
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": label,
                "x": x,
                "y": y,
                "text": text,
                "hovertemplate": "%{text}<br>z %{y:.1f}<extra></extra>",
                "marker": {"color": colour, "symbol": symbol, "size": 7},
            }
        )
    return traces


def _member_table(groups: Sequence[WorstGroup]) -> Table:
    names = short_names(sorted({name for group in groups for name in group.data_set}))
    full = sorted({name for group in groups for name in group.data_set})
    label_of = dict(zip(full, names, strict=True))
    rows: list[list[Cell]] = []
    for group in groups:
        for i, is_out in enumerate(group.outlier):
            rows.append(
                [
                    _hkl(group.hkl),
                    shown(group.d, 2),
                    label_of[group.data_set[i]],
                    "–" if group.image[i] is None else group.image[i],
                    " ".join(str(v) for v in group.measured_hkl[i]),
                    short(group.x[i]),
                    short(group.y[i]),
                    short(group.scaled_intensity[i]),
                    short(group.sigma[i], 3),
                    shown(group.z[i], 1),
                    "outlier" if is_out else "",
                ]
            )
    header = (
        "reflection",
        "d / Å",
        "data set",
        "image",
        "measured as",
        "x / px",
        "y / px",
        "I",
        "σ",
        "z",
        "verdict",
    )
    whole = all(group.members == len(group.outlier) for group in groups)
    which = "all members" if whole else "the members that deviate most"
    return Table(f"The groups with the worst outliers, {which}", header, rows, words=(0, 2, 4, 10))


def _hkl(hkl: Sequence[int]) -> str:
    return " ".join(str(v) for v in hkl)


def ledger(summary: Summary) -> Section:
    """Every input row and what became of it."""
    section = Section("reflections", "Ledger of reflections", "Every row of the input has exactly one fate.")
    section.tables.append(_fates(summary))
    return section


def waterfall(summary: Summary) -> list[Figure]:
    """Number of rows from the files to the scaled data, with the loss at each step."""
    counts = summary.ledger.total
    texts = {name: entry.text for name, entry in summary.ledger.codes.items()}
    rows = summary.ledger.rows
    lost = sorted(((n, name) for name, n in counts.items() if name not in ("scaled", "outlier")), reverse=True)
    if counts.get("outlier"):
        lost.append((counts["outlier"], "outlier"))
    scaled = counts.get("scaled", 0)
    x = ["in the files", *(texts[name] for _, name in lost), "scaled"]
    y = [rows, *(-n for n, _ in lost), scaled]
    trace: Trace = {
        "type": "waterfall",
        "x": x,
        "y": y,
        "measure": ["absolute", *("relative" for _ in lost), "total"],
        "text": [str(abs(v)) for v in y],
        "textposition": "outside",
        "cliponaxis": False,
        "customdata": [f"{100 * abs(v) / max(rows, 1):.1f} %" for v in y],
        "hovertemplate": "%{x}: %{text} rows (%{customdata})<extra></extra>",
        "increasing": {"marker": {"color": BLUE}},
        "decreasing": {"marker": {"color": ORANGE}},
        "totals": {"marker": {"color": GREEN}},
        "connector": {"line": {"color": GREY, "width": 1}},
        "textfont": {"size": 11},
    }
    layout = {
        "xaxis": axis("", tickangle=-30, automargin=True),
        "yaxis": count_axis("rows", rows),
        "showlegend": False,
    }
    text = (
        "What each step took away. Not indexed, not integrated and partial rows are normal; bad variances, and data "
        "sets without use, are not."
    )
    fates = [_ledger_row(texts[name], n, rows) for n, name in [(scaled, "scaled"), *lost]]
    table = Table("Ledger", ("fate", "rows", "%"), [*fates, ["all rows", rows, "100"]], words=(0,), last_is_total=True)
    return [Figure("ledger", "From the files to the scaled data", text, [trace], layout, table, wide=True, height=400)]


def _ledger_row(fate: str, n: int, rows: int) -> list[Cell]:
    return [fate, n, shown(n / max(rows, 1), 2, percent=True)]


def _fates(summary: Summary) -> Table:
    texts = {name: entry.text for name, entry in summary.ledger.codes.items()}
    by_set = summary.ledger.data_sets
    fates = [name for name in texts if any(counts.get(name) for counts in by_set.values())]
    names = short_names(list(by_set))
    rows: list[list[Cell]] = [
        [name, *(counts.get(fate, 0) for fate in fates), sum(counts.values())]
        for name, counts in list(zip(names, by_set.values(), strict=True))[:MOST_LISTED]
    ]
    caption = "Fates by data set"
    if len(names) > MOST_LISTED:
        caption += f", the first {MOST_LISTED} of {len(names)}; scale.json has all"
    return Table(caption, ("data set", *(texts[fate] for fate in fates), "all rows"), rows, words=(0,))
