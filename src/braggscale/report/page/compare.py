"""Two runs side by side: did the change help?"""

from __future__ import annotations

from typing import Any

from braggscale.report.page.figure import (
    BLUE,
    ORANGE,
    Figure,
    Section,
    Summary,
    Table,
    axis,
    line,
    resolution_axis,
    shown,
)

# key, title, digits, factor, whether larger is better (None: neither)
LINES: tuple[tuple[str, str, int, float, bool | None], ...] = (
    ("d_min", "High resolution limit / Å", 2, 1.0, None),
    ("completeness", "Completeness / %", 1, 100.0, True),
    ("multiplicity", "Multiplicity", 2, 1.0, True),
    ("mean_i_over_sigma", "⟨I/σ⟩", 1, 1.0, True),
    ("r_merge", "R merge", 4, 1.0, False),
    ("r_meas", "R meas", 4, 1.0, False),
    ("r_pim", "R pim", 4, 1.0, False),
    ("cc_half", "CC1/2", 4, 1.0, True),
    ("cc_anom", "CC anom", 3, 1.0, True),
    ("n_obs", "Observations", 0, 1.0, None),
    ("n_unique", "Unique reflections", 0, 1.0, None),
)
PLOTS = (
    ("cc_half", "CC1/2", "CC1/2", 1.0, 3),
    ("r_pim", "R pim", "R pim", 1.0, 4),
    ("r_meas", "R meas", "R meas", 1.0, 4),
    ("mean_i_over_sigma", "Signal to noise", "⟨I/σ⟩", 1.0, 1),
    ("completeness", "Completeness", "completeness / %", 100.0, 1),
    ("multiplicity", "Multiplicity", "multiplicity", 1.0, 2),
)


def compare(summary: Summary, other: Summary | None, label: str) -> Section:
    """``other``: the summary of another run; ``label``: its path."""
    section = Section(
        "compare",
        "Compared with another run",
        f"This run beside {label}. R factors over other observations are not the same quantity: look at R pim, CC1/2 "
        f"and "
        "completeness together.",
    )
    if other is None:
        return section
    if summary["space_group"] != other["space_group"]:
        section.notes.append(f"The space groups differ: {summary['space_group']} here, {other['space_group']} there.")
    here, there = summary["statistics"], other["statistics"]
    if here is None or there is None:
        section.notes.append("One of the runs has no merging statistics.")
        return section
    section.tables += [_table(here, there, summary, other), _commands(summary, other)]
    limits = [s[key] for run in (here, there) for s in run["shells"] for key in ("d_max", "d_min")]
    d_axis = resolution_axis([min(limits), max(limits)])
    for key, title, label_y, factor, digits in PLOTS:
        data = []
        for run, name, colour, dash in ((here, "this run", BLUE, "solid"), (there, "other run", ORANGE, "dash")):
            x = [0.5 * (s["d_max"] ** -2 + s["d_min"] ** -2) for s in run["shells"]]
            y = [None if s[key] is None else factor * s[key] for s in run["shells"]]
            custom = [f"{s['d_max']:.2f} – {s['d_min']:.2f} Å" for s in run["shells"]]
            hover = f"%{{customdata}}<br>{label_y} %{{y:.{digits}f}}<extra>{name}</extra>"
            data.append(line(x, y, name, colour, dash=dash, customdata=custom, hovertemplate=hover))
        rows = [
            [
                shown(a["d_min"], 2),
                shown(_times(a[key], factor), digits),
                shown(b["d_min"], 2),
                shown(_times(b[key], factor), digits),
            ]
            for a, b in zip(here["shells"], there["shells"], strict=False)
        ]
        header = (
            "d min / Å, this run",
            f"{label_y}, this run",
            "d min / Å, other run",
            f"{label_y}, other run",
        )
        text = "Blue, solid: this run. Orange, dashed: the other one."
        layout = {"xaxis": d_axis, "yaxis": axis(label_y, rangemode="tozero")}
        section.figures.append(Figure(f"compare-{key}", title, text, data, layout, Table(title, header, rows)))
    return section


def _times(value: Any, factor: float) -> Any:
    return value if value is None or factor == 1.0 else factor * value


def _table(here: Any, there: Any, summary: Summary, other: Summary) -> Table:
    rows = []
    for where, label in (("overall", ""), ("inner", ", inner shell"), ("outer", ", outer shell")):
        a, b = (
            {"overall": run["overall"], "inner": run["shells"][0], "outer": run["shells"][-1]}[where]
            for run in (here, there)
        )
        chosen = (
            LINES
            if where == "overall"
            else [row for row in LINES if row[0] in ("r_meas", "r_pim", "cc_half", "mean_i_over_sigma")]
        )
        for key, title, digits, factor, better in chosen:
            if a.get(key) is None and b.get(key) is None:
                continue
            rows.append([title + label, *_pair(_times(a.get(key), factor), _times(b.get(key), factor), digits, better)])
    errors = [[m["isa"] for m in run["error_models"]] for run in (summary, other)]
    if all(len(e) == 1 and e[0] is not None for e in errors):
        rows.append(["Largest I/σ", *_pair(errors[0][0], errors[1][0], 1, True)])
    rows.append(["Outliers", *_pair(summary["outliers"], other["outliers"], 0, None)])
    sets = [len([e for e in run["data_sets"] if "model" in e]) for run in (summary, other)]
    rows.append(["Data sets", *_pair(sets[0], sets[1], 0, None)])
    return Table("This run and the other", ("", "this run", "other run", "difference", ""), rows, words=(0, 4))


def _pair(a: Any, b: Any, digits: int, better: bool | None) -> list[str]:
    if a is None or b is None:
        return [shown(a, digits), shown(b, digits), "–", ""]
    change = a - b
    small = abs(change) < 0.5 * 10**-digits
    word = ""
    if better is not None and not small:
        word = "better" if (change > 0) == better else "worse"
    sign = "0" if small else f"{change:+.{digits}f}"
    return [shown(a, digits), shown(b, digits), sign, word]


def _commands(summary: Summary, other: Summary) -> Table:
    rows = [[name, *(" ".join(_options(run)) for run in (summary, other))] for name in ("command",)]
    return Table("Commands", ("", "this run", "other run"), rows, words=(0, 1, 2))


def _options(run: Summary) -> list[str]:
    """The arguments of a run that are not names of files, or all if there are no others."""
    words = [w for w in run["command"].get("arguments", []) if "=" in w]
    return words or ["(no options)"]
