"""The corrections: curves with esds and knots, the absorption surface, grids, and correlations of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from braggscale.arrays import Float
from braggscale.models.components import Harmonics
from braggscale.report.figure import (
    BLUE,
    BLUE_BAND,
    COLOURS,
    DIVERGING,
    ORANGE,
    Figure,
    Section,
    Summary,
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
from braggscale.report.verdict import data_sets_standing_out
from braggscale.table import Located

MOST_CHOICES = 40  # data sets with plots of their own
MOST_TOGETHER = 6  # curves in one plot
MOST_SLICES = 12  # of a grid in three dimensions
POLAR, AZIMUTH = 25, 49
NOTHING = 6e-4  # an absorption surface that deviates less from 1 corrects nothing
TITLES = {
    "scale": "Scale",
    "decay": "Relative B factor",
    "image": "Effects of single images",
    "absorption": "Absorption",
    "modulation": "Modulation of the detector",
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
    entries, names = summary["models"] or [], names_of(summary)
    if not entries or not names:
        return section
    order = _order(summary, len(entries))
    if len(order) < len(entries):
        section.notes.append(
            f"Plots of {len(order)} of {len(entries)} data sets: those that stand out first, then in order. "
            "Parameters of all are in scale.json."
        )
    kinds = [c["name"] for entry in entries for c in entry["components"]]
    for name in dict.fromkeys(kinds):
        section.figures += _component(summary, entries, names, order, name)
    section.figures += _correlations(summary)
    findings = summary["fit"]["components"]
    if findings:
        section.tables.append(_findings(findings))
    constant = [c for entry in entries for c in entry["components"] if c["form"] == "constant"]
    if constant:
        section.notes.append("Scale and B factor of stills are single numbers: they stand in the table of data sets.")
    return section


def _order(summary: Summary, n: int) -> list[int]:
    if n <= MOST_CHOICES:
        return list(range(n))
    out = data_sets_standing_out(summary)
    rest = [k for k in range(n) if k not in set(out)]
    return sorted([*out, *rest][:MOST_CHOICES])


def _parameters(summary: Summary, d: int, name: str) -> dict[str, Any]:
    """The stored component of a data set in the output."""
    kept = [entry for entry in summary["data_sets"] if "model" in entry]
    found: dict[str, Any] = kept[d]["model"].get(name, {})
    return found


def _component(
    summary: Summary, entries: Sequence[Any], names: Sequence[str], order: Sequence[int], name: str
) -> list[Figure]:
    found = [(d, c) for d in order for c in entries[d]["components"] if c["name"] == name]
    if not found:
        return []
    form = found[0][1]["form"]
    if form == "curve":
        return [_curves(summary, found, names, name)]
    if form == "surface":
        return _surfaces(summary, found, names)
    if form == "grid":
        return _grids(summary, found, names, name)
    return []


def _curves(summary: Summary, found: Sequence[tuple[int, Any]], names: Sequence[str], name: str) -> Figure:
    exponential = found[0][1]["unit"] == "A^2"
    title = TITLES.get(name, name)
    label = "relative B / Å²" if exponential else "factor"
    layout = {"xaxis": axis("image"), "yaxis": axis(label), "shapes": [horizontal(0.0 if exponential else 1.0)]}
    choices = [(names[d], _one_curve(summary, d, c, name), layout) for d, c in found]
    data = choices[0][1]
    if 1 < len(found) <= MOST_TOGETHER:
        data = [trace for k, (d, c) in enumerate(found) for trace in _simple(c, names[d], COLOURS[k])]
        choices.insert(0, ("all data sets", data, layout))
    text = (
        "g is multiplied by exp(B/(2 d²)). It takes up what depends on resolution: radiation damage makes it fall "
        "steadily along the sweep. Changes of several Å² are serious."
        if exponential
        else "Beam, illuminated volume, and whatever else changes along the sweep. Smooth curves are good; a band as "
        "wide "
        "as the wiggles means that the interval is too short."
    )
    rows: list[list[Any]] = []
    for d, c in found:
        stored = _parameters(summary, d, name)
        esd = stored.get("est_standard_devs") or [None] * len(stored.get("parameters", ()))
        places = c["axes"][0]["places"] if c["axes"] else [None] * len(esd)
        if len(rows) < 200 and c["axes"]:
            rows += [
                [names[d], shown(x, 1), shown(v, 4), shown(e, 4)]
                for x, v, e in zip(places, stored.get("parameters", ()), esd, strict=False)
            ]
    return Figure(
        f"model-{name}",
        title,
        text + " Band: two standard deviations; dots: the parameters.",
        data,
        layout,
        Table(f"{title}: parameters", ("data set", "image", label, "esd"), rows, words=(0,)) if rows else None,
        wide=True,
        height=320,
        choices=choices if len(choices) > 1 else [],
        choice_of="data set",
    )


def _images(c: Any) -> list[float]:
    first, last = c["image"]
    n = len(c["value"])
    return [round(first + (last - first) * k / max(n - 1, 1), 2) for k in range(n)]


def _one_curve(summary: Summary, d: int, c: Any, name: str) -> list[Trace]:
    x, y = _images(c), c["value"]
    hover = "image %{x:.0f}: %{y:.4g}<extra></extra>"
    data = []
    if c["esd"]:
        low = [v - 2 * e for v, e in zip(y, c["esd"], strict=True)]
        high = [v + 2 * e for v, e in zip(y, c["esd"], strict=True)]
        data.append(band(x, low, high, BLUE_BAND, "two esds"))
    data.append(line(x, y, TITLES.get(name, name), BLUE, mode="lines", hovertemplate=hover))
    stored = _parameters(summary, d, name)
    if c["axes"] and stored:
        esd = stored.get("est_standard_devs")
        knots = line(c["axes"][0]["places"], stored["parameters"], "parameters", ORANGE, mode="markers", size=6)
        if esd:
            knots["error_y"] = {"type": "data", "array": esd, "thickness": 1, "color": ORANGE}
        knots["hovertemplate"] = "parameter %{y:.4g}<extra></extra>"
        data.append(knots)
    return data


def _simple(c: Any, name: str, colour: str) -> list[Trace]:
    x, y = _images(c), c["value"]
    data = []
    if c["esd"]:
        low = [v - 2 * e for v, e in zip(y, c["esd"], strict=True)]
        high = [v + 2 * e for v, e in zip(y, c["esd"], strict=True)]
        data.append(band(x, low, high, f"{colour}-band", "") | {"showlegend": False})
    hover = f"data set {escaped(name)}<br>image %{{x:.0f}}: %{{y:.4g}}<extra></extra>"
    return [*data, line(x, y, escaped(name), colour, mode="lines", hovertemplate=hover)]


def _surfaces(summary: Summary, found: Sequence[tuple[int, Any]], names: Sequence[str]) -> list[Figure]:
    """The surface as a map, what of it acts on the undiffracted beam, and on a sphere."""
    polar, azimuth = np.linspace(0, 180, POLAR), np.linspace(0, 360, AZIMUTH)
    theta, phi = np.meshgrid(np.radians(polar), np.radians(azimuth), indexing="ij")
    direction = np.stack((np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)), axis=-1)
    basis = {lmax: _harmonics(direction.reshape(-1, 3), lmax) for lmax in {c["lmax"] for _, c in found}}
    maps, even, spheres = [], [], []
    seen: list[Any] = []
    rows = []
    for d, c in found:
        p = np.array(_parameters(summary, d, "absorption").get("parameters", ()), np.float64)
        if len(p) != len(basis[c["lmax"]]) or any(np.array_equal(p, other) for other in seen):
            continue  # a shared surface is shown once
        seen.append(p)
        whole = (1.0 + p @ basis[c["lmax"]]).reshape(theta.shape)
        order = np.repeat(np.arange(1, c["lmax"] + 1), 2 * np.arange(1, c["lmax"] + 1) + 1)
        straight = (1.0 + np.where(order % 2 == 0, p, 0.0) @ basis[c["lmax"]]).reshape(theta.shape)
        name = names[d] if not _is_shared(summary, d) else "all data sets"
        maps.append((name, [_surface_map(azimuth, polar, whole)], _MAP_LAYOUT))
        even.append((name, [_surface_map(azimuth, polar, straight)], _MAP_LAYOUT))
        spheres.append((name, [_sphere(direction, whole)], _SPHERE_LAYOUT))
        rows.append([name, shown(float(whole.min()), 3), shown(float(whole.max()), 3), shown(float(whole.std()), 4)])
    if not maps:
        return []
    if all(max(1 - float(row[1]), float(row[2]) - 1) < NOTHING for row in rows):
        for made in (even, spheres):
            made.clear()  # three empty pictures say no more than one
    table = Table("Absorption surface", ("data set", "lowest", "highest", "rms"), rows, words=(0,))
    result = []
    for key, title, text, choices, own in (
        (
            "absorption-map",
            "Absorption surface",
            "Relative transmission of a beam that leaves the crystal in this direction (frame of the crystal on the "
            "spindle, "
            "polar axis along it). A correction of some per cent is usual, of 10 % and more is strong absorption. The "
            "mean of "
            "incoming and diffracted beam is applied.",
            maps,
            table,
        ),
        (
            "absorption-even",
            "Undiffracted beam",
            "The even part of the surface: what a beam straight through the crystal loses.",
            even,
            None,
        ),
        ("absorption-sphere", "On the sphere", "The same surface; drag to turn it.", spheres, None),
    ):
        if not choices:
            continue
        multiple = choices if len(choices) > 1 else []
        result.append(
            Figure(key, title, text, choices[0][1], choices[0][2], own or table, choices=multiple, choice_of="data set")
        )
    return result


def _harmonics(direction: Float, lmax: int) -> Float:
    """Y_lm of directions (n, 3), (lmax^2 + 2 lmax, n): a component of equal incoming and outgoing directions."""
    n = len(direction)
    places = Located(np.zeros(n, np.int32), np.ones(n), np.zeros((n, 3)), direction, direction)
    values: Float = Harmonics("absorption", lmax).basis(places)[1].T
    return values


def _is_shared(summary: Summary, d: int) -> bool:
    kept = [entry for entry in summary["data_sets"] if "model" in entry]
    return "absorption" in (kept[d]["model"].get("configuration_parameters", {}).get("shared") or ())


# names of parameters are too long for ticks: they show on hovering
_UNLABELLED = {"type": "category", "showticklabels": False, "ticks": "", "constrain": "domain"}
_MAP_LAYOUT = {
    "xaxis": axis("azimuth / °", dtick=60),
    "yaxis": axis("polar angle / °", dtick=30, autorange="reversed"),
}
_SPHERE_LAYOUT = {
    "scene": {
        "xaxis": {"visible": False},
        "yaxis": {"visible": False},
        "zaxis": {"visible": False},
        "aspectmode": "cube",
        "camera": {"eye": {"x": 1.2, "y": 1.2, "z": 0.6}},
    },
    "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
}


def _rounded(values: Float, digits: int = 4) -> list[Any]:
    listed: list[Any] = np.round(values, digits).tolist()
    return listed


def _symmetric(values: Float) -> dict[str, float]:
    """Limits of colours with 1 in the middle."""
    size = max(float(np.abs(values - 1.0).max()), 1e-4)
    return {"cmin": round(1 - size, 5), "cmax": round(1 + size, 5)}


def _surface_map(azimuth: Float, polar: Float, values: Float) -> Trace:
    limits = _symmetric(values)
    hover = "azimuth %{x:.0f}°, polar %{y:.0f}°<br>factor %{z:.4f}<extra></extra>"
    more = {"zmin": limits["cmin"], "zmax": limits["cmax"], "zsmooth": "best", "colorscale": DIVERGING}
    return heat(_rounded(azimuth, 1), _rounded(polar, 1), _rounded(values), "factor", hovertemplate=hover, **more)


def _sphere(direction: Float, values: Float) -> Trace:
    x, y, z = (_rounded(direction[..., k], 3) for k in range(3))
    return {
        "type": "surface",
        "x": x,
        "y": y,
        "z": z,
        "surfacecolor": _rounded(values),
        "colorscale": DIVERGING,
        **_symmetric(values),
        "lighting": {"ambient": 0.95, "diffuse": 0.1, "specular": 0.0},
        "colorbar": {"title": {"text": "factor", "side": "right"}, "thickness": 12, "outlinewidth": 0},
        "hovertemplate": "factor %{surfacecolor:.4f}<extra></extra>",
    }


def _grids(summary: Summary, found: Sequence[tuple[int, Any]], names: Sequence[str], name: str) -> list[Figure]:
    """Grids of the array model and the modulation map; of three dimensions slices along the last."""
    choices: list[tuple[str, list[Trace], dict[str, Any]]] = []
    seen: list[list[float]] = []
    table = None
    for d, c in found:
        values = _parameters(summary, d, name).get("parameters", [])
        if values in seen:
            continue
        seen.append(values)
        axes = c["axes"]
        shape = [len(a["places"]) for a in axes]
        if int(np.prod(shape)) != len(values):
            continue
        # the first axis runs fastest
        cube = np.array(values).reshape(shape[::-1])
        slices = [(names[d], cube)] if cube.ndim == 2 else _slices(cube, axes[2], names[d])
        for label, values_2d in slices:
            limits = _symmetric(cube)
            x, y = axes[0]["places"], axes[1]["places"]
            first, second = (axes[k]["coordinate"] for k in (0, 1))
            hover = f"{first} %{{x:.4g}}, {second} %{{y:.4g}}<br>factor %{{z:.3f}}<extra></extra>"
            trace = heat(
                x,
                y,
                _rounded(values_2d),
                "factor",
                hovertemplate=hover,
                colorscale=DIVERGING,
                zmin=limits["cmin"],
                zmax=limits["cmax"],
            )
            layout = {
                "xaxis": axis(COORDINATES[axes[0]["coordinate"]]),
                "yaxis": axis(COORDINATES[axes[1]["coordinate"]]),
            }
            choices.append((label, [trace], layout))
            if table is None:
                table = map_table(
                    f"{TITLES.get(name, name)}: parameters, data set {label}",
                    [short(v, 3) for v in x],
                    [short(v, 3) for v in y],
                    _rounded(values_2d),
                    "",
                )
        if len(choices) > 4 * MOST_CHOICES:
            break
    if not choices:
        return []
    text = {
        "decay": "Correction by resolution and image (array model): what a B factor does in the physical model.",
        "absorption": "Correction by place on the detector, one map for each stretch of images.",
        "modulation": "Response by place on the detector, the same for all images. Deviations of some per cent are "
        "usual.",
    }.get(name, "Parameters of the grid.")
    multiple = choices if len(choices) > 1 else []
    title = TITLES.get(name, name)
    return [Figure(f"grid-{name}", title, text, choices[0][1], choices[0][2], table, choices=multiple, choice_of="map")]


def _slices(cube: Float, third: Any, name: str) -> list[tuple[str, Float]]:
    n = len(third["places"])
    chosen = np.unique(np.linspace(0, n - 1, min(n, MOST_SLICES)).round().astype(int)).tolist()
    return [(f"{name}, near image {max(third['places'][k], 1):.0f}", cube[k]) for k in chosen]


def _findings(findings: Any) -> Table:
    rows = [
        [
            f["data_set"],
            f["component"],
            f["n_parameters"],
            shown(f["effective"], 1),
            shown(f["rms"], 2, percent=True),
            shown(f["low"], 3),
            shown(f["high"], 3),
        ]
        for f in findings[:300]
    ]
    header = ("data set", "component", "parameters", "effective parameters", "rms correction / %", "lowest", "highest")
    return Table("What each correction turned out to be", header, rows, words=(0, 1))


def _correlations(summary: Summary) -> list[Figure]:
    found = summary["correlations"]
    if not found:
        return []
    strongest = Table(
        "Strongest correlations of parameters",
        ("first", "second", "correlation"),
        [[p["first"], p["second"], shown(p["correlation"], 3)] for p in found["strongest"]],
        words=(0, 1),
    )
    text = (
        "Parameters that are strongly correlated (beyond 0.95) cannot be told apart by the data: fewer, or larger "
        "intervals, would describe them as well. "
    )
    if "percent" in found:
        n = len(found["percent"])
        whole = np.eye(n)
        for i, row in enumerate(found["percent"]):
            whole[i, :i] = whole[:i, i] = np.array(row, np.float64) / 100.0
        index = [escaped(v) for v in found["parameter_names"]]
        hover = "%{x}<br>%{y}<br>r = %{z:.2f}<extra></extra>"
        trace = heat(index, index, whole.tolist(), "r", zmin=-1, zmax=1, colorscale=DIVERGING, hovertemplate=hover)
        layout = {
            "xaxis": axis("parameter", **_UNLABELLED),
            "yaxis": axis("parameter", autorange="reversed", scaleanchor="x", **_UNLABELLED),
        }
        title = "Correlation of parameters"
    else:
        labels = found["components"]
        hover = "%{x} and %{y}<br>largest |r| %{z:.2f}<extra></extra>"
        between = found["between_components"]
        trace = heat(labels, labels, between, "|r|", zmin=0, zmax=1, hovertemplate=hover)
        layout = {"xaxis": axis("", type="category"), "yaxis": axis("", type="category", automargin=True)}
        title = "Correlation between corrections"
        text += f"Shown is the largest |r| within one data set, of {found['parameters']} parameters in all."
    return [Figure("correlations", title, text, [trace], layout, strongest, height=380)]
