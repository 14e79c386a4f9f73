"""The fitted corrections as curves with their esds, positions of grid points, and correlations of parameters.

The parameters are in ``data_sets[..].model``; the numbers here cannot be calculated from them without the program.
"""

from __future__ import annotations

import numpy as np

from braggscale.models.component import Component
from braggscale.models.curves import curve
from braggscale.numerics.array_types import Float
from braggscale.report.numbers.json_numbers import column, counts, numbers, rounded, significant
from braggscale.report.summary_sections import (
    Axis,
    ComponentForm,
    Constant,
    CorrelatedPair,
    Correlations,
    Curve,
    Grid,
    ModelEntry,
    Surface,
)
from braggscale.report.summary_values import Unit
from braggscale.scaling.result import Result

MOST_POINTS = 4000  # of all curves of one kind together
POINTS = 90
FEWEST_POINTS = 9
MOST_KNOTS = 60
# Up to this number of parameters all correlations are listed, in per cent.
WHOLE_MATRIX = 120
STRONGEST = 15
NOTEWORTHY = 0.5  # smaller correlations are not listed
BLOCK = 512  # rows of the matrix that are treated at a time
FACTOR: Unit = "factor"
UNIT_B: Unit = "A^2"


def model_sections(result: Result) -> list[ModelEntry]:
    """One entry per data set in the output: kind, and its components in their order."""
    covariance = result.scaled.outcome.covariance
    theta = result.scaled.outcome.theta
    n_sets = len(result.kept)
    points = max(FEWEST_POINTS, min(POINTS, MOST_POINTS // n_sets))
    sections = []
    for d, model in enumerate(result.model.data_sets):
        components = []
        for c, component in enumerate(model.components):
            where = result.model.where(d, c)
            block = None if covariance is None else covariance.part(where)
            components.append(_component(component, theta[where], block, result, d, points))
        sections.append(ModelEntry(kind=model.kind, components=components))
    return sections


def _effects_of_images(name: str, factor: Float, covariance: Float | None, images: tuple[int, int]) -> Curve:
    """One factor for each run of images, at the middle of the run.  ``factor``: (n,).  ``images``: first and last."""
    first, last = images
    width = (last - first + 1) / len(factor)
    ends = first + 0.5 * width - 0.5, last - 0.5 * width + 0.5
    esd = None if covariance is None else numbers(np.sqrt(np.maximum(np.diag(covariance), 0.0)), 3)
    return Curve(
        name=name,
        unit=FACTOR,
        axes=None,
        image=(significant(ends[0], 6), significant(ends[1], 6)),
        value=numbers(factor, 5),
        esd=esd,
    )


def _component(
    component: Component, theta: Float, covariance: Float | None, result: Result, d: int, points: int
) -> ComponentForm:
    known = component.describe()
    name, unit = component.name, UNIT_B if known.b_factor else FACTOR
    if known.form == "surface":
        return Surface(name=name, unit=unit, lmax=known.lmax)
    if known.form == "constant":
        return Constant(name=name, unit=unit)
    if known.form == "images":
        return _effects_of_images(name, component.offset + theta, covariance, _image_range(result, d))
    axes = [Axis(coordinate=of, places=numbers(_shown(of, places))) for of, places in known.axes]
    if known.form == "grid":
        return Grid(name=name, unit=unit, axes=axes, offset=component.shown_less or 0.0)
    first, last = _image_range(result, d)
    n_points = max(points, min(4 * component.n_parameters, 2 * points))
    image = np.linspace(*_known_range(component, first - 1.0, float(last)), n_points)
    value, esd = curve(component, theta, covariance, image, d)
    return Curve(
        name=name,
        unit=unit,
        axes=axes if component.n_parameters <= MOST_KNOTS else None,
        image=(significant(float(image[0]) + 0.5, 6), significant(float(image[-1]) + 0.5, 6)),
        value=numbers(value, 5),
        esd=None if esd is None else numbers(esd, 3),
    )


def _shown(coordinate: str, places: Float) -> Float:
    """Image numbers instead of array indices: index 0.0 is the beginning of image 1."""
    return places + 0.5 if coordinate == "image" else places


def _image_range(result: Result, d: int) -> tuple[int, int]:
    scan = result.used[d].experiment.scan
    if scan is None:
        return 1, 1
    runs = scan.valid_image_ranges or (scan.image_range,)
    return runs[0][0], runs[-1][1]


def _known_range(component: Component, first: float, last: float) -> tuple[float, float]:
    """The part of the scan, array index, in which the curve has parameters; outside of it the curve is not known."""
    places = component.describe().axes[0][1]
    step = abs(places[-1] - places[0]) / max(len(places) - 1, 1)
    low, high = float(places.min() - step), float(places.max() + step)
    if low >= last or high <= first:
        return first, last
    return max(first, low), min(last, high)


def correlations(result: Result) -> Correlations | None:
    """Correlations of parameters: the strongest, the strongest between components, and all of them if they are few.

    None without a covariance, or if it consists of separate blocks, as for thousands of crystals.
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
    percent = parameter_names = None
    if len(covariance) <= WHOLE_MATRIX:
        whole_percent = np.rint(100 * np.clip(covariance * unit * unit[:, None], -1, 1))
        # below the diagonal, row by row
        percent = [counts(whole_percent[i, :i]) for i in range(len(covariance))]
        parameter_names = [result.parameter_name(p) for p in range(len(covariance))]
    return Correlations(
        parameters=len(covariance),
        components=names,
        between_components=[column(row, 2) for row in between],
        strongest=[
            CorrelatedPair(first=result.parameter_name(i), second=result.parameter_name(j), correlation=rounded(r, 3))
            for i, j, r in strongest
        ],
        percent=percent,
        parameter_names=parameter_names,
    )


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

    A block of rows is treated at a time, because a second copy of the matrix might not fit into memory.
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
