"""scale.html: a single page that needs no other file. It is made from scale.json alone.

plotly's script and the figures are compressed into the page; the browser unpacks and draws them. All numbers are in
tables, too, so that the page can be read without JavaScript. The page requests nothing from the network; its
content security policy forbids it.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePath

from braggscale.errors import OutputError
from braggscale.report.page.compare import compare
from braggscale.report.page.figure import Cell, Figure, Section, Table
from braggscale.report.page.resolution import summary_table
from braggscale.report.page.sections import safely, sections
from braggscale.report.summary_document import Summary
from braggscale.wording import some_of

TEMPLATES = Path(__file__).with_name("templates")
FIRST_FIGURE = "cc-half"  # the figure beside the summary
MOST_FILES = 2  # names of files in the title
# The next two levels of compression make the page 4 % smaller and take twice as long.
LEVEL = 4
STATES = {"good": ("✓", "fine"), "look": ("!", "worth a look"), "bad": ("×", "not good")}


def report_html(
    summary: Summary, other: Summary | None = None, label: str = "", failed: list[str] | None = None
) -> str:
    """The page for a summary (the content of scale.json), compared with another one, whose path is ``label``.

    ``failed``: a sentence is added for each section that an internal error prevents. None: the error is raised.
    Raises OutputError if plotly's script is not installed.
    """
    # imported here because a run without a report does not need it
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    shown = sections(summary, failed)
    if other is not None:
        shown.insert(0, safely(lambda found: compare(found, other, label), "compare", summary, failed))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    figures = [figure for section in shown for figure in section.figures]
    first_figures = _taken_out(shown, FIRST_FIGURE)
    statistics = summary.statistics
    page: str = environment.get_template("page.html").render(
        summary=summary,
        verdict=summary.verdict,
        states=STATES,
        checks=sorted(summary.verdict.checks, key=lambda check: ("bad", "look", "good").index(check.state)),
        facts=_facts(summary),
        name=summary.sample or "",
        subject=_subject(summary),
        first_figures=first_figures,
        marks=_marks(summary),
        table_one=None if statistics is None else summary_table(statistics),
        left_out=[(e.identifier, e.dropped) for e in summary.data_sets if e.dropped][:20],
        sections=shown,
        run=_run(summary),
        style=(TEMPLATES / "page.css").read_text(),
        script=(TEMPLATES / "page.js").read_text(),
        figures=_packed(json.dumps(_payload(figures), separators=(",", ":"), allow_nan=False).encode()),
        plotly=_packed(_plotly_script()),
    )
    return page


def _taken_out(shown: Iterable[Section], name: str) -> list[Figure]:
    """The figure of this name, taken from its section; none if it is not there."""
    for section in shown:
        for figure in section.figures:
            if figure.name == name:
                section.figures.remove(figure)
                return [figure]
    return []


def _marks(summary: Summary) -> dict[str, list[str]]:
    """The worst state of the checks that point to each section."""
    order = list(STATES)
    found: dict[str, str] = {}
    for check in summary.verdict.checks:
        found[check.section] = max(check.state, found.get(check.section, order[0]), key=order.index)
    return {section: [state] for section, state in found.items()}


def _payload(figures: Iterable[Figure]) -> dict[str, object]:
    return {
        figure.name: {
            "data": figure.data,
            "layout": figure.layout,
            "choices": [{"data": data, "layout": layout} for _, data, layout in figure.choices],
        }
        for figure in figures
    }


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, LEVEL)).decode()


def _plotly_script() -> bytes:
    """The script from plotly's package; the package itself is not imported because this takes a second."""
    found = importlib.util.find_spec("plotly")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path.read_bytes()
    raise OutputError(
        "the report needs the package plotly with its file plotly.min.js: install it, or output.html=None"
    )


def _cell(value: Cell) -> str:
    """A cell of a table: numbers short, nothing as a dash."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _subject(summary: Summary) -> str:
    """What was scaled and when, so that two pages can be told apart: names of input files, and the date."""
    files = [PurePath(file).name for file in summary.command.files or ()]
    return ", ".join(filter(None, (some_of(files, MOST_FILES), summary.run.finished)))


def _facts(summary: Summary) -> list[tuple[str, str]]:
    """The line under the title."""
    cell = summary.unit_cell
    n = len(summary.kept) if summary.ranks is None else summary.ranks.scaled
    first = summary.kind(0) if summary.kept else ""
    kinds = list(dict.fromkeys(str((entry.model or {}).get("__id__", first)) for entry in summary.kept))
    statistics = summary.statistics
    facts = [
        ("space group", str(summary.space_group)),
        (
            "unit cell",
            ", ".join(f"{v:.2f}" for v in cell[:3]) + " Å, " + ", ".join(f"{v:.1f}" for v in cell[3:]) + "°",
        ),
        ("data sets", str(n)),
        ("model", "KB" if summary.ranks is not None else ", ".join(kinds)),
    ]
    if statistics is not None:
        overall = statistics.overall
        facts += [
            ("resolution", f"{overall.d_max:.2f} – {overall.d_min:.2f} Å"),
            ("observations", f"{overall.n_obs:,} of {overall.n_unique:,} unique".replace(",", "\u202f")),
        ]
    return facts


def _run(summary: Summary) -> Table:
    """Times and versions."""
    run = summary.run
    rows = [[f"time, {name}", f"{seconds:.2f} s"] for name, seconds in run.seconds.items()]
    rows += [["finished", f"{run.finished} UTC"]] if run.finished else []
    rows += [["python", run.python], ["numpy", run.numpy], ["machine", run.machine]]
    rows.append(["program", f"{summary.program.name} {summary.program.version}"])
    return Table("The run", ("", ""), rows, words=(0, 1))
