"""The fitted corrections as curves with their esds, where grids and surfaces stand, and how parameters correlate.

Parameters themselves are in ``data_sets[..].model``; what is here cannot be told from them without the program.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from braggscale.data.observations import GeometryCopy
from braggscale.models.component import Component
from braggscale.numerics.array_types import Float
from braggscale.report.numbers.json_numbers import column, rounded
from braggscale.scaling.result import Result

MOST_POINTS = 4000  # of all curves of one kind together
POINTS = 90
FEWEST_POINTS = 9
MOST_KNOTS = 60
# Up to so many parameters all correlations are listed, in per cent.
WHOLE_MATRIX = 120
STRONGEST = 15
NOTEWORTHY = 0.5  # smaller correlations are not listed
BLOCK = 512  # rows of the matrix looked at together
_UNIT_B = 0.5**0.5  # 1/(2 d^2) = 1 at this d, Angstrom


def model_sections(result: Result) -> list[dict[str, Any]]:
    """One entry per data set in the output: kind, and its components in their order."""
    covariance = result.scaled.outcome.covariance
    theta = result.scaled.outcome.theta
    n_sets = len(result.kept)
    points = max(FEWEST_POINTS, min(POINTS, MOST_POINTS // n_sets))
    sections: list[dict[str, Any]] = []
    for d, model in enumerate(result.model.data_sets):
        components = []
        for c, component in enumerate(model.components):
            where = result.model.where(d, c)
            block = None if covariance is None else covariance.part(where)
            components.append(_component(component, theta[where], block, result, d, points))
        sections.append({"kind": model.kind, "components": components})
    return sections


def _component(
    component: Component, theta: Float, covariance: Float | None, result: Result, d: int, points: int
) -> dict[str, Any]:
    found: dict[str, Any] = {"name": component.name, "unit": "A^2" if component.exponential else "factor"}
    known = component.describe()
    if known.form == "surface":
        return found | {"form": "surface", "lmax": known.lmax}
    if known.form in ("constant", "images"):  # effects of images are drawn beside the images
        return found | {"form": "constant"}
    axes = [{"coordinate": name, "places": column(_shown(name, places))} for name, places in known.axes]
    if known.form == "grid":
        return found | {"form": "grid", "axes": axes} | ({"offset": component.offset} if component.offset else {})
    first, last = _image_range(result, d)
    image = np.linspace(first - 1.0, last, max(points, min(4 * component.n_parameters, 2 * points)))
    value, esd = _curve(component, theta, covariance, image)
    knots = component.n_parameters <= MOST_KNOTS
    return found | {
        "form": "curve",
        "axes": axes if knots else None,
        "image": column((image + 0.5)[[0, -1]], 6),  # evenly from first to last
        "value": column(value, 5),
        "esd": None if esd is None else column(esd, 3),
    }


def _shown(coordinate: str, places: Float) -> Float:
    """Image numbers instead of array indices: index 0.0 is the beginning of image 1."""
    return places + 0.5 if coordinate == "image" else places


def _image_range(result: Result, d: int) -> tuple[int, int]:
    scan = result.used[d].experiment.scan
    if scan is None:
        return 1, 1
    runs = scan.valid_image_ranges or (scan.image_range,)
    return runs[0][0], runs[-1][1]


def _curve(component: Component, theta: Float, covariance: Float | None, image: Float) -> tuple[Float, Float | None]:
    """The function at some images, array index, and its standard deviation; of a B factor in Angstrom^2."""
    n = len(image)
    start, values = component.basis(_points(image))
    basis = np.zeros((n, component.n_parameters))
    place = start[:, None] + component.columns
    np.add.at(basis, (np.arange(n)[:, None], place), values)
    esd = None
    if covariance is not None:
        esd = np.sqrt(np.maximum(((basis @ covariance) * basis).sum(axis=1), 0.0))
    return basis @ theta, esd


def _points(image: Float) -> GeometryCopy:
    """Places that are nothing but an image, at the resolution where exp(B/(2 d^2)) is exp(B)."""
    n = len(image)
    nothing, blank = np.zeros((n, 3)), np.zeros(n)
    xyz = np.column_stack((blank, blank, image))
    return GeometryCopy(np.zeros(n, np.int32), np.full(n, _UNIT_B), xyz, nothing, nothing)


def correlations(result: Result) -> dict[str, Any] | None:
    """Correlations of parameters: the strongest, the strongest between components, and all of them if they are few.

    None without a covariance, or with one in blocks: of thousands of crystals, each by itself.
    """
    whole = result.scaled.outcome.covariance
    if whole is None or whole.n_blocks != 1 or len(whole) < 2:
        return None
    covariance = whole.blocks()[0]
    esd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    known = np.flatnonzero(esd > 0)
    if len(known) < 2:
        return None
    unit = np.divide(1.0, esd, out=np.zeros(len(esd)), where=esd > 0)
    names, between = _between_components(result, covariance, unit)
    strongest = _strongest(covariance, unit)
    found: dict[str, Any] = {
        "parameters": len(covariance),
        "components": names,
        "between_components": [column(row, 2) for row in between],
        "strongest": [
            {"first": result.parameter_name(i), "second": result.parameter_name(j), "correlation": rounded(r, 3)}
            for i, j, r in strongest
        ],
    }
    if len(covariance) <= WHOLE_MATRIX:
        percent = np.rint(100 * np.clip(covariance * unit * unit[:, None], -1, 1)).astype(np.int64)
        # below the diagonal, row by row
        found["percent"] = [column(percent[i, :i]) for i in range(len(percent))]
        found["parameter_names"] = [result.parameter_name(p) for p in range(len(percent))]
    return found


def _between_components(result: Result, covariance: Float, unit: Float) -> tuple[list[str], Float]:
    """Names of the components, and the largest |r| between parameters of each two of them in one data set."""
    names: dict[str, int] = {}
    places: dict[int, list[tuple[int, slice]]] = {}
    for d, component, where in result.model.parts():
        places.setdefault(d, []).append((names.setdefault(component.name, len(names)), where))
    largest = np.zeros((len(names), len(names)))
    for parts in places.values():
        for a, (i, one) in enumerate(parts):
            for j, other in parts[: a + 1]:
                block = np.abs(covariance[one, other] * unit[one, None] * unit[other])
                if one == other:
                    np.fill_diagonal(block, 0.0)
                largest[i, j] = largest[j, i] = max(largest[i, j], float(block.max(initial=0.0)))
    return list(names), largest


def _strongest(covariance: Float, unit: Float) -> list[tuple[int, int, float]]:
    """Pairs of parameters with the largest correlations.

    A block of rows at a time: the matrix of thousands of parameters fills the memory once already.
    """
    n = len(covariance)
    found: list[tuple[int, int, float]] = []
    for begin in range(0, n, BLOCK):
        end = min(begin + BLOCK, n)
        part = covariance[begin:end, :end] * unit[begin:end, None] * unit[:end]
        size = np.tril(np.abs(part), begin - 1)  # each pair once
        limit = abs(found[-1][2]) if len(found) == STRONGEST else NOTEWORTHY
        i, j = np.nonzero(size > limit)
        top = np.argsort(-size[i, j], kind="stable")[:STRONGEST]
        found += [(int(a) + begin, int(b), float(part[a, b])) for a, b in zip(i[top], j[top], strict=True)]
        found.sort(key=lambda pair: (-abs(pair[2]), pair[0], pair[1]))
        del found[STRONGEST:]
    return found
