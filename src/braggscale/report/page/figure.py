"""The elements of a page of the report (figures, tables, sections), and common parts of figures.

A figure is the dictionary from which plotly draws. It is made without plotly, because importing plotly takes longer
than scaling a small data set. Colours have names ("@blue"); the page replaces them by colours of its light or dark
palette.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from braggscale.report.summary_document import Summary
from braggscale.report.summary_run import ShellEntry
from braggscale.report.text.tables import short_names
from braggscale.wording import show, show_short

Trace = dict[str, object]  # traces and layout of plotly, as JSON
Layout = dict[str, object]
Cell = str | int | float | None
Choice = tuple[str, Sequence[Mapping[str, object]], Mapping[str, object]]

BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, GREY, INK = (
    "@blue",
    "@orange",
    "@green",
    "@purple",
    "@sky",
    "@amber",
    "@grey",
    "@ink",
)
BLUE_BAND = "@blue-band"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)
SEQUENTIAL, DIVERGING = "@sequential", "@diverging"

NOTHING = "–"  # a number that is not known
MOST_TICKS = 7
_NICE_D = (50, 20, 10, 8, 6, 5, 4, 3.5, 3, 2.5, 2.2, 2, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1)
_FINE_D = (
    1.0,
    0.95,
    0.9,
    0.85,
    0.8,
    0.75,
    0.7,
    0.67,
    0.64,
    0.62,
    0.6,
    0.58,
    0.56,
    0.54,
    0.52,
    0.5,
    0.45,
    0.4,
    0.35,
    0.3,
)


@dataclass(frozen=True, slots=True)
class Table:
    """``header``: names with units.  ``rows``: cells, numbers or words.  ``words``: columns that hold words."""

    caption: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    words: tuple[int, ...] = ()
    last_is_total: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """``help``: how to read it, what is good and what is bad.  ``choices``: label and traces of alternatives.

    ``wide``: over the whole width of the page.  ``choice_of``: what the alternatives are.
    """

    name: str
    title: str
    help: str
    data: Sequence[Mapping[str, object]]
    layout: Mapping[str, object]
    table: Table | None = None
    wide: bool = False
    height: int = 340
    choices: Sequence[Choice] = ()
    choice_of: str = ""


@dataclass(slots=True)
class Section:
    """``introduction``: one or two sentences.  ``notes``: facts from the run.  ``tables``: shown open."""

    name: str
    title: str
    introduction: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Nothing to show."""
        return not (self.figures or self.tables or self.notes)


def middles(shells: Sequence[ShellEntry]) -> list[float]:
    """Position of each shell on an axis in 1/d^2, 1/Angstrom^2."""
    return [0.5 * (shell.d_max**-2 + shell.d_min**-2) for shell in shells]


def escaped(text: str) -> str:
    """Text from a file for a label: plotly reads some HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def names_of(summary: Summary) -> list[str]:
    """Identifiers of the data sets in the output, cut to the shortest length at which they differ."""
    return short_names([] if summary.by_data_set is None else summary.by_data_set.identifier)


def shown(value: float | None, digits: int = 3, percent: bool = False) -> str:
    """A number with fixed decimals, a dash where there is none; whole numbers as they are."""
    if isinstance(value, int):
        return str(value)
    return show(None if value is None else value * (100.0 if percent else 1.0), digits, NOTHING)


def short(value: float | None, digits: int = 4) -> str:
    """A number with ``digits`` significant digits, a dash where there is none."""
    return show_short(value, digits, NOTHING)


def line(x: Sequence[object], y: Sequence[object], name: str, colour: str, **more: object) -> Trace:
    """Points joined by a line; gaps stay gaps."""
    style = {"color": colour, "width": more.pop("width", 2), "dash": more.pop("dash", "solid")}
    return {
        "type": "scatter",
        "mode": more.pop("mode", "lines+markers"),
        "x": list(x),
        "y": list(y),
        "name": name,
        "line": style,
        "marker": {"color": colour, "size": more.pop("size", 5)},
        **more,
    }


def band(x: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str, name: str) -> Trace:
    """An area between two curves."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*x, *reversed(x)],
        "y": [*high, *reversed(low)],
        "fill": "toself",
        "fillcolor": colour,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "name": name,
    }


def bars(x: Sequence[object], y: Sequence[object], name: str, colour: str, **more: object) -> Trace:
    """Vertical bars."""
    return {"type": "bar", "x": list(x), "y": list(y), "name": name, "marker": {"color": colour}, **more}


def colour_bar(label: str, **more: object) -> Layout:
    """The bar that shows the value of each colour."""
    return {"title": {"text": label, "side": "right"}, "thickness": 12, "outlinewidth": 0, **more}


def heat(x: Sequence[object], y: Sequence[object], z: Sequence[Sequence[object]], label: str, **more: object) -> Trace:
    """A map; ``label``: of its colour bar."""
    return {
        "type": "heatmap",
        "x": list(x),
        "y": list(y),
        "z": [list(row) for row in z],
        "colorscale": more.pop("colorscale", SEQUENTIAL),
        "colorbar": colour_bar(label),
        "hoverongaps": False,
        **more,
    }


def map_table(
    caption: str, x: Sequence[str], y: Sequence[str], z: Sequence[Sequence[float | None]], corner: str
) -> Table:
    """The numbers of a map: a row for each y, a column for each x."""
    rows = [[name, *("" if v is None else short(v, 3) for v in row)] for name, row in zip(y, z, strict=True)]
    return Table(caption, (corner, *x), rows)


def axis(title: str, **more: object) -> Layout:
    """An axis with its title."""
    return {"title": {"text": title}, **more}


def count_axis(title: str, largest: float, **more: object) -> Layout:
    """An axis of whole numbers from 0: no ticks between them.  ``largest``: number on it."""
    steps: Layout = {"dtick": 1, "tick0": 0} if largest <= MOST_TICKS else {"tickformat": ",d"}
    return axis(title, rangemode="tozero", **steps, **more)


def resolution_axis(limits: Sequence[float]) -> Layout:
    """An axis in 1/d^2 that is labelled in Angstrom.  ``limits``: d of the data, Angstrom."""
    low, high = min(1 / d**2 for d in limits), max(1 / d**2 for d in limits)
    span = (high - low) or high
    ticks: list[float] = []
    for d in (*_NICE_D, *_FINE_D):
        s = 1 / d**2
        if 0.97 * low <= s <= high + 0.02 * span and (not ticks or s - 1 / ticks[-1] ** 2 >= span / MOST_TICKS):
            ticks.append(d)
    if len(ticks) < 2:
        ticks = [s**-0.5 for s in (low + span * k / 4 for k in range(5))]
    return axis(
        "resolution d / Å",
        tickvals=[1 / d**2 for d in ticks],
        ticktext=[f"{d:.3g}" for d in ticks],
        range=[low - 0.03 * span, high + 0.03 * span],
        zeroline=False,
    )


def vertical(x: float, text: str, colour: str = ORANGE) -> tuple[Layout, Layout]:
    """A line across the plot and its label: shape and annotation."""
    shape = {
        "type": "line",
        "x0": x,
        "x1": x,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": colour, "width": 1.5, "dash": "dash"},
    }
    label = {
        "x": x,
        "y": 1,
        "yref": "paper",
        "text": text,
        "showarrow": False,
        "xanchor": "right",
        "yanchor": "top",
        "font": {"color": colour},
    }
    return shape, label


def horizontal(y: float, colour: str = GREY) -> Layout:
    """A dotted line across the plot."""
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": y,
        "y1": y,
        "line": {"color": colour, "width": 1, "dash": "dot"},
    }
