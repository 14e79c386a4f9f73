"""The absorption surface: as a map, on a sphere, its coefficients, and the corrections that were applied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.data.observations import GeometryCopy
from braggscale.models.harmonics import Harmonics
from braggscale.numerics.array_types import Float
from braggscale.report.page.figure import (
    BLUE,
    DIVERGING,
    Cell,
    Choice,
    Figure,
    Layout,
    Table,
    Trace,
    axis,
    bars,
    count_axis,
    heat,
    horizontal,
    line,
    map_table,
    short,
    shown,
)
from braggscale.report.summary_document import Summary
from braggscale.report.summary_sections import Surface

POLAR, AZIMUTH = 25, 49


NOTHING = 6e-4  # if an absorption surface deviates from 1 by less than this, it has no effect


def surfaces(summary: Summary, found: Sequence[tuple[int, Surface]], names: Sequence[str]) -> list[Figure]:
    """The surface as a map, its even part (its effect on the undiffracted beam), and the surface on a sphere."""
    polar, azimuth = np.linspace(0, 180, POLAR), np.linspace(0, 360, AZIMUTH)
    theta, phi = np.meshgrid(np.radians(polar), np.radians(azimuth), indexing="ij")
    direction = np.stack((np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)), axis=-1)
    basis = {lmax: _harmonics(direction.reshape(-1, 3), lmax) for lmax in {c.lmax for _, c in found}}
    maps: list[Choice] = []
    even: list[Choice] = []
    spheres: list[Choice] = []
    seen: list[Float] = []
    rows = []
    for d, c in found:
        stored = summary.stored(d, "absorption")
        p = np.array(stored.parameters if stored else (), np.float64)
        if len(p) != len(basis[c.lmax]) or any(np.array_equal(p, other) for other in seen):
            continue  # a shared surface is shown once
        seen.append(p)
        whole = (1.0 + p @ basis[c.lmax]).reshape(theta.shape)
        order = np.repeat(np.arange(1, c.lmax + 1), 2 * np.arange(1, c.lmax + 1) + 1)
        straight = (1.0 + np.where(order % 2 == 0, p, 0.0) @ basis[c.lmax]).reshape(theta.shape)
        name = names[d] if not summary.shares(d, "absorption") else "all data sets"
        maps.append((name, [_surface_map(azimuth, polar, whole)], _MAP_LAYOUT))
        even.append((name, [_surface_map(azimuth, polar, straight)], _MAP_LAYOUT))
        spheres.append((name, [_sphere(direction, whole)], _SPHERE_LAYOUT))
        rows.append([name, shown(float(whole.min()), 3), shown(float(whole.max()), 3), shown(float(whole.std()), 4)])
    if not maps:
        return []
    if all(max(1 - float(row[1]), float(row[2]) - 1) < NOTHING for row in rows):
        for made in (even, spheres):
            made.clear()  # one picture is enough for a surface without effect
    table = Table("Absorption surface", ("data set", "lowest", "highest", "rms"), rows, words=(0,))
    drawn = zip(_SURFACE_PLOTS, (maps, even, spheres), strict=True)
    return [
        *(_choice(*plot, choices, table) for plot, choices in drawn if choices),
        _coefficients(summary, found, names),
    ]


def _choice(key: str, title: str, text: str, choices: Sequence[Choice], table: Table) -> Figure:
    """A figure of the first surface, with the others to choose from."""
    several = choices if len(choices) > 1 else []
    return Figure(key, title, text, choices[0][1], choices[0][2], table, choices=several, choice_of="data set")


_SURFACE_PLOTS = (
    (
        "absorption-map",
        "Absorption surface",
        "Relative transmission of a beam that leaves the crystal in this direction (frame of the crystal on the "
        "spindle, polar axis along it). A correction of some per cent is usual, of 10 % and more is strong absorption. "
        "The mean of incoming and diffracted beam is applied.",
    ),
    (
        "absorption-even",
        "Undiffracted beam",
        "The even part of the surface: the absorption of a beam that goes straight through the crystal.",
    ),
    ("absorption-sphere", "On the sphere", "The same surface; drag to turn it."),
)


def _coefficients(summary: Summary, found: Sequence[tuple[int, Surface]], names: Sequence[str]) -> Figure:
    """P_lm of each surface with its esd."""
    layout = {"xaxis": axis("l, m", tickangle=-60, type="category"), "yaxis": axis("coefficient"), "showlegend": False}
    choices = []
    rows: list[list[Cell]] = []
    for d, c in found:
        stored = summary.stored(d, "absorption")
        if stored is None:
            continue
        values, esd = stored.parameters, stored.est_standard_devs
        labels = [f"{l}, {m}" for l in range(1, c.lmax + 1) for m in range(-l, l + 1)]
        if len(labels) != len(values):
            continue
        hover = "l, m = %{x}<br>%{y:.3g} ± %{customdata}<extra></extra>"
        errors: Sequence[float | None] = [None] * len(values) if esd is None else esd
        trace = line(labels, values, "coefficient", BLUE, mode="markers", hovertemplate=hover)
        trace["customdata"] = [short(e, 2) for e in errors]
        if esd is not None:
            trace["error_y"] = {"type": "data", "array": list(esd), "thickness": 1, "color": BLUE}
        choices.append((names[d], [trace], {**layout, "shapes": [horizontal(0.0)]}))
        if len(rows) < 200:
            rows += [[names[d], n, short(v, 4), short(e, 2)] for n, v, e in zip(labels, values, errors, strict=True)]
        if summary.shares(d, "absorption"):
            break
    return Figure(
        "absorption-coefficients",
        "Coefficients of the absorption surface",
        "P_lm with their esds. Those within two esds of zero are not needed; if those of the largest l are far from "
        "zero, a larger lmax may describe the crystal better.",
        choices[0][1],
        choices[0][2],
        Table("Coefficients of the absorption surface", ("data set", "l, m", "P", "esd"), rows, words=(0, 1)),
        choices=choices if len(choices) > 1 else [],
        choice_of="data set",
    )


def absorption_use(summary: Summary) -> list[Figure]:
    """The corrections that were applied, and the directions that were measured."""
    found = summary.absorption_use
    if not found:
        return []
    low, high = found.factor
    n = len(found.counts)
    middle = [round(low + (high - low) * (k + 0.5) / n, 6) for k in range(n)]
    figures = [
        Figure(
            "absorption-applied",
            "Absorption corrections applied",
            f"Factors of {found.sampled} observations.",
            [bars(middle, found.counts, "observations", BLUE, hovertemplate="%{x:.4f}: %{y}<extra></extra>")],
            {
                "xaxis": axis("factor"),
                "yaxis": count_axis("observations", max(found.counts, default=0)),
                "bargap": 0.05,
                "showlegend": False,
            },
            Table(
                "Absorption corrections applied",
                ("factor", "observations"),
                [[shown(m, 4), v] for m, v in zip(middle, found.counts, strict=True)],
            ),
        )
    ]
    for key, counts, title, text in (
        (
            "incoming",
            found.incoming,
            "Directions of the incoming beam",
            "To the source, in the frame of the crystal: a band for each spindle axis.",
        ),
        (
            "diffracted",
            found.diffracted,
            "Directions of the diffracted beams",
            "The surface is known where beams left the crystal; elsewhere it is an extrapolation.",
        ),
    ):
        polar = [round(180 * (k + 0.5) / len(counts)) for k in range(len(counts))]
        azimuth = [round(360 * (k + 0.5) / len(counts[0])) for k in range(len(counts[0]))]
        z = [[v or None for v in row] for row in counts]
        hover = "azimuth %{x}°, polar %{y}°<br>%{z} observations<extra></extra>"
        table = map_table(title, [f"{v}°" for v in azimuth], [f"{v}°" for v in polar], z, "polar \\ azimuth")
        trace = heat(azimuth, polar, z, "observations", hovertemplate=hover)
        figures.append(Figure(f"directions-{key}", title, text, [trace], _MAP_LAYOUT, table))
    return figures


def _harmonics(direction: Float, lmax: int) -> Float:
    """Y_lm of directions (n, 3), (lmax^2 + 2 lmax, n): a component of equal incoming and outgoing directions."""
    n = len(direction)
    places = GeometryCopy(np.zeros(n, np.int32), np.ones(n), np.zeros((n, 3)), direction, direction)
    values: Float = Harmonics("absorption", lmax).basis(places)[1].T
    return values


_MAP_LAYOUT: Layout = {
    "xaxis": axis("azimuth / °", dtick=60),
    "yaxis": axis("polar angle / °", dtick=30, autorange="reversed"),
}


_SPHERE_LAYOUT: Layout = {
    "scene": {
        "xaxis": {"visible": False},
        "yaxis": {"visible": False},
        "zaxis": {"visible": False},
        "aspectmode": "cube",
        "camera": {"eye": {"x": 1.2, "y": 1.2, "z": 0.6}},
    },
    "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
}


def rounded_grid(values: Float, digits: int = 4) -> list[list[float]]:
    """The values of a matrix, (n, m), with ``digits`` decimals."""
    listed: list[list[float]] = np.round(values, digits).tolist()
    return listed


def symmetric_limits(values: Float) -> dict[str, float]:
    """Limits of colours for ``values``, any shape, with 1 in the middle."""
    size = max(float(np.abs(values - 1.0).max()), 1e-4)
    return {"cmin": round(1 - size, 5), "cmax": round(1 + size, 5)}


def _surface_map(azimuth: Float, polar: Float, values: Float) -> Trace:
    limits = symmetric_limits(values)
    hover = "azimuth %{x:.0f}°, polar %{y:.0f}°<br>factor %{z:.4f}<extra></extra>"
    more = {"zmin": limits["cmin"], "zmax": limits["cmax"], "zsmooth": "best", "colorscale": DIVERGING}
    return heat(
        np.round(azimuth, 1).tolist(),
        np.round(polar, 1).tolist(),
        rounded_grid(values),
        "factor",
        hovertemplate=hover,
        **more,
    )


def _sphere(direction: Float, values: Float) -> Trace:
    x, y, z = (rounded_grid(direction[..., k], 3) for k in range(3))
    return {
        "type": "surface",
        "x": x,
        "y": y,
        "z": z,
        "surfacecolor": rounded_grid(values),
        "colorscale": DIVERGING,
        **symmetric_limits(values),
        "lighting": {"ambient": 0.95, "diffuse": 0.1, "specular": 0.0},
        "colorbar": {"title": {"text": "factor", "side": "right"}, "thickness": 12, "outlinewidth": 0},
        "hovertemplate": "factor %{surfacecolor:.4f}<extra></extra>",
    }
