"""The corrections: curves with esds and knots, grids, and correlations of parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.numerics.array_types import Float
from braggscale.report.exclusion_advice import data_sets_standing_out
from braggscale.report.page.absorption import (
    rounded_grid,
    surfaces,
    symmetric_limits,
)
from braggscale.report.page.figure import (
    BLUE,
    BLUE_BAND,
    COLOURS,
    DIVERGING,
    ORANGE,
    Cell,
    Choice,
    Figure,
    Layout,
    Section,
    Table,
    Trace,
    axis,
    band,
    escaped,
    heat,
    horizontal,
    line,
    map_table,
    names_of,
    short,
    shown,
)
from braggscale.report.summary_document import Summary
from braggscale.report.summary_run import ComponentEntry
from braggscale.report.summary_sections import Axis, Constant, Curve, Grid, ModelEntry, Surface
from braggscale.report.text.tables import short_names

MOST_CHOICES = 40  # data sets with plots of their own
MOST_KNOTS = 200  # rows of the table of parameters
MOST_TOGETHER = 6  # curves in one plot
MOST_SLICES = 12  # of a grid in three dimensions
FLAT = 1e-4  # range of the factors of a map that corrects nothing
TITLES = {
    "scale": "Scale",
    "decay": "Relative B factor",
    "relative_B": "Relative B factor of each sweep",
    "image": "Effects of single images",
    "absorption": "Absorption",
    "modulation": "Modulation of the detector",
    "modules": "Modules of the detector",
}
GRID_HELP = {
    "decay": "What a B factor does in the physical model.",
    "absorption": "Correction by place on the detector, one map for each stretch of images.",
    "modulation": "Response by place on the detector, the same for all images. Deviations of some per cent are usual.",
    "modules": "Response of each module, beside that map. Steps of one per cent are usual.",
}
COORDINATES = {
    "image": "image",
    "x": "x (fast) / px",
    "y": "y (slow) / px",
    "inverse_d2": "1/d² / Å⁻²",
}


def models(summary: Summary) -> Section:
    """All components of all data sets, chosen from a list where there are several."""
    section = Section(
        "models",
        "Scaling models",
        "The inverse scale factor g is the product of these corrections; intensities are divided by it.",
    )
    entries, names = summary.models, names_of(summary)
    if not entries or not names:
        return section
    order = _order(summary, len(entries))
    if len(order) < len(entries):
        section.notes.append(
            f"Plots of {len(order)} of {len(entries)} data sets: those that stand out first, then in order. "
            "Parameters of all are in scale.json."
        )
    if summary.fit.components:
        section.tables.append(_findings(summary.fit.components))
    kinds = dict.fromkeys(c.name for entry in entries for c in entry.components if isinstance(c, Grid))
    flat = [TITLES.get(name, name) for name in kinds if _all_flat(summary, order, name)]
    section.notes += [f"{title}: no effect found; there is no map of it." for title in flat]
    if any(isinstance(c, Constant) for entry in entries for c in entry.components):
        section.notes.append("Corrections that are a single number stand in the table of data sets.")
    return section


def components(summary: Summary) -> list[Figure]:
    """Each component of the models, of one data set or of several to choose from."""
    entries, names = summary.models, names_of(summary)
    if not entries or not names:
        return []
    order = _order(summary, len(entries))
    kinds = dict.fromkeys(c.name for entry in entries for c in entry.components)
    return [figure for name in kinds for figure in _component(summary, entries, names, order, name)]


def _order(summary: Summary, n: int) -> list[int]:
    if n <= MOST_CHOICES:
        return list(range(n))
    out = data_sets_standing_out(summary)
    rest = [k for k in range(n) if k not in set(out)]
    return sorted([*out, *rest][:MOST_CHOICES])


def _component(
    summary: Summary, entries: Sequence[ModelEntry], names: Sequence[str], order: Sequence[int], name: str
) -> list[Figure]:
    """The component of all data sets that are shown, by its form."""
    found = [(d, c) for d in order for c in entries[d].components if c.name == name]
    curves = [(d, c) for d, c in found if isinstance(c, Curve)]
    harmonics = [(d, c) for d, c in found if isinstance(c, Surface)]
    grids = [(d, c) for d, c in found if isinstance(c, Grid)]
    if curves:
        return [_curves(summary, curves, names, name)]
    if harmonics:
        return surfaces(summary, harmonics, names)
    return _grids(summary, grids, names, name) if grids else []


def _curves(summary: Summary, found: Sequence[tuple[int, Curve]], names: Sequence[str], name: str) -> Figure:
    exponential = found[0][1].unit == "A^2"
    title = TITLES.get(name, name)
    label = "relative B / Å²" if exponential else "factor"
    layout = {"xaxis": axis("image"), "yaxis": axis(label), "shapes": [horizontal(0.0 if exponential else 1.0)]}
    choices: list[Choice] = [(names[d], _one_curve(summary, d, c, name), layout) for d, c in found]
    data = choices[0][1]
    if 1 < len(found) <= MOST_TOGETHER:
        data = [trace for k, (d, c) in enumerate(found) for trace in _simple(c, names[d], COLOURS[k])]
        choices.insert(0, ("all data sets", data, layout))
    text = (
        "g is multiplied by exp(B/(2 d²)). It takes up what depends on resolution: radiation damage makes it fall "
        "steadily along the sweep. Changes of several Å² are serious."
        if exponential
        else "Beam, illuminated volume, and whatever else changes along the sweep. Smooth curves are good."
    )
    if name == "image":
        text = (
            "What single images have beside the smooth scale: flicker of the beam, exposure. Without any the factors "
            "are 1; a few that are far off are images to look at."
        )
    elif not summary.fit.strengths:
        text += " A band as wide as the wiggles means that the interval is too short."
    return Figure(
        f"model-{name}",
        title,
        text + " Band: two standard deviations; dots: the parameters.",
        data,
        layout,
        _knots(summary, found, names, name, label),
        wide=True,
        height=320,
        choices=choices if len(choices) > 1 else [],
        choice_of="data set",
    )


def _knots(
    summary: Summary, found: Sequence[tuple[int, Curve]], names: Sequence[str], name: str, label: str
) -> Table | None:
    """Parameters of the curves with their esds, as far as they are few."""
    rows: list[list[Cell]] = []
    for d, curve in found:
        stored = summary.stored(d, name)
        if stored is None or not curve.axes or len(rows) >= MOST_KNOTS:
            continue
        esd: Sequence[float | None] = stored.est_standard_devs or [None] * len(stored.parameters)
        rows += [
            [names[d], shown(x, 1), shown(v, 4), shown(e, 4)]
            for x, v, e in zip(curve.axes[0].places, stored.parameters, esd, strict=False)
        ]
    header = ("data set", "image", label, "esd")
    return Table(f"{TITLES.get(name, name)}: parameters", header, rows, words=(0,)) if rows else None


def _images(c: Curve) -> list[float]:
    first, last = c.image
    n = len(c.value)
    return [round(first + (last - first) * k / max(n - 1, 1), 2) for k in range(n)]


def _one_curve(summary: Summary, d: int, c: Curve, name: str) -> list[Trace]:
    x, y = _images(c), c.value
    hover = "image %{x:.0f}: %{y:.4g}<extra></extra>"
    data = []
    if c.esd:
        low = [v - 2 * e for v, e in zip(y, c.esd, strict=True)]
        high = [v + 2 * e for v, e in zip(y, c.esd, strict=True)]
        data.append(band(x, low, high, BLUE_BAND, "two esds"))
    data.append(line(x, y, TITLES.get(name, name), BLUE, mode="lines", hovertemplate=hover))
    stored = summary.stored(d, name)
    if c.axes and stored:
        esd = stored.est_standard_devs
        knots = line(c.axes[0].places, stored.parameters, "parameters", ORANGE, mode="markers", size=6)
        if esd:
            knots["error_y"] = {"type": "data", "array": esd, "thickness": 1, "color": ORANGE}
        knots["hovertemplate"] = "parameter %{y:.4g}<extra></extra>"
        data.append(knots)
    return data


def _simple(c: Curve, name: str, colour: str) -> list[Trace]:
    x, y = _images(c), c.value
    data = []
    if c.esd:
        low = [v - 2 * e for v, e in zip(y, c.esd, strict=True)]
        high = [v + 2 * e for v, e in zip(y, c.esd, strict=True)]
        data.append(band(x, low, high, f"{colour}-band", "") | {"showlegend": False})
    hover = f"data set {escaped(name)}<br>image %{{x:.0f}}: %{{y:.4g}}<extra></extra>"
    return [*data, line(x, y, escaped(name), colour, mode="lines", hovertemplate=hover)]


# names of parameters are too long for ticks: they show on hovering
_UNLABELLED = {"type": "category", "showticklabels": False, "ticks": "", "constrain": "domain"}


def _all_flat(summary: Summary, order: Sequence[int], name: str) -> bool:
    """Whether no map of a component differs from a constant by more than a ten-thousandth."""
    stored = [summary.stored(d, name) for d in order]
    return all(np.ptp(one.parameters or [0.0]) < FLAT for one in stored if one is not None)


def _grids(summary: Summary, found: Sequence[tuple[int, Grid]], names: Sequence[str], name: str) -> list[Figure]:
    """Grids of the array model and the modulation map; of three dimensions slices along the last."""
    if _all_flat(summary, [d for d, _ in found], name):
        return []
    choices: list[Choice] = []
    seen: list[list[float]] = []
    table = None
    for d, grid in found:
        stored = summary.stored(d, name)
        values = stored.parameters if stored else []
        shape = [len(a.places) for a in grid.axes]
        if values in seen or int(np.prod(shape)) != len(values):
            continue
        seen.append(values)
        # the first axis runs fastest
        cube = grid.offset + np.array(values).reshape(shape[::-1])
        slices = [(names[d], cube)] if cube.ndim == 2 else _slices(cube, grid.axes[2], names[d])
        limits = symmetric_limits(cube)
        for label, values_2d in slices:
            choices.append(_map(label, values_2d, grid.axes[0], grid.axes[1], limits))
            table = table or map_table(
                f"{TITLES.get(name, name)}: parameters, data set {label}",
                [short(v, 3) for v in grid.axes[0].places],
                [short(v, 3) for v in grid.axes[1].places],
                rounded_grid(values_2d),
                "",
            )
        if len(choices) > 4 * MOST_CHOICES:
            break
    if not choices:
        return []
    text = GRID_HELP.get(name, "Parameters of the grid.")
    multiple = choices if len(choices) > 1 else []
    title = "Correction by resolution and image" if name == "decay" else TITLES.get(name, name)
    return [Figure(f"grid-{name}", title, text, choices[0][1], choices[0][2], table, choices=multiple, choice_of="map")]


def _map(label: str, values: Float, across: Axis, down: Axis, limits: dict[str, float]) -> Choice:
    """A grid of two dimensions, (n_down, n_across)."""
    first, second = across.coordinate, down.coordinate
    hover = f"{first} %{{x:.4g}}, {second} %{{y:.4g}}<br>factor %{{z:.3f}}<extra></extra>"
    trace = heat(
        across.places,
        down.places,
        rounded_grid(values),
        "factor",
        hovertemplate=hover,
        colorscale=DIVERGING,
        zmin=limits["cmin"],
        zmax=limits["cmax"],
    )
    # as one looks at an image, row 0 on top
    y_axis = axis(COORDINATES[second], autorange="reversed" if second == "y" else True)
    return label, [trace], {"xaxis": axis(COORDINATES[first]), "yaxis": y_axis}


def _slices(cube: Float, third: Axis, name: str) -> list[tuple[str, Float]]:
    n = len(third.places)
    chosen = np.unique(np.linspace(0, n - 1, min(n, MOST_SLICES)).round().astype(int)).tolist()
    return [(f"{name}, near image {max(third.places[k], 1):.0f}", cube[k]) for k in chosen]


def _findings(findings: Sequence[ComponentEntry]) -> Table:
    identifiers = list(dict.fromkeys(f.data_set for f in findings))
    short_name = dict(zip(identifiers, short_names(identifiers), strict=True))
    rows: list[list[Cell]] = [
        [
            short_name[f.data_set],
            f.component,
            f.n_parameters,
            shown(f.effective, 1),
            shown(f.rms, 2, percent=True),
            shown(f.low, 3),
            shown(f.high, 3),
        ]
        for f in findings[:300]
    ]
    header = ("data set", "component", "parameters", "effective parameters", "rms correction / %", "lowest", "highest")
    return Table("What each correction turned out to be", header, rows, words=(0, 1))


def correlations(summary: Summary) -> list[Figure]:
    """Correlations of parameters, or of components where parameters are many."""
    found = summary.correlations
    if not found:
        return []
    strongest = Table(
        "Strongest correlations of parameters",
        ("first", "second", "correlation"),
        [[p.first, p.second, shown(p.correlation, 3)] for p in found.strongest],
        words=(0, 1),
    )
    text = "Parameters that are strongly correlated (beyond 0.95) cannot be told apart by the data"
    if summary.fit.strengths:
        text += "; estimated restraints decide between them. "
    elif any(isinstance(c, Curve) for entry in summary.models for c in entry.components):
        text += ": fewer, or larger intervals, would describe them as well. "
    else:
        text += ". "
    if found.percent is not None and found.parameter_names is not None:
        n = len(found.percent)
        whole = np.eye(n)
        for i, row in enumerate(found.percent):
            whole[i, :i] = whole[:i, i] = np.array(row, np.float64) / 100.0
        index = [escaped(v) for v in found.parameter_names]
        hover = "%{x}<br>%{y}<br>r = %{z:.2f}<extra></extra>"
        trace = heat(index, index, whole.tolist(), "r", zmin=-1, zmax=1, colorscale=DIVERGING, hovertemplate=hover)
        layout: Layout = {
            "xaxis": axis("parameter", **_UNLABELLED),
            "yaxis": axis("parameter", autorange="reversed", scaleanchor="x", **_UNLABELLED),
        }
        title = "Correlation of parameters"
    else:
        labels = found.components
        hover = "%{x} and %{y}<br>largest |r| %{z:.2f}<extra></extra>"
        between = found.between_components
        trace = heat(labels, labels, between, "|r|", zmin=0, zmax=1, hovertemplate=hover)
        layout = {"xaxis": axis("", type="category"), "yaxis": axis("", type="category", automargin=True)}
        title = "Correlation between corrections"
        text += f"Shown is the largest |r| within one data set, of {found.parameters} parameters in all."
    return [Figure("correlations", title, text, [trace], layout, strongest, height=380)]
