"""Gaps between the modules of a detector, found from where no reflection lies.

Experiment lists of DIALS name the gaps as masked rectangles. Files of other programs do not, but where thousands of
reflections leave a strip across the whole detector empty, and such strips follow each other at equal distances, there
are modules. Each of them was calibrated by itself, which one smooth map of the detector cannot describe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from braggscale.io.new_experiments import NewExperiment, NewPanel
from braggscale.io.reading import Reading
from braggscale.numerics.array_types import Array, Float

NEIGHBOURS = 64  # pixels to either side with which a strip is compared
STRAY = 0.02  # reflections that may lie in a gap, as a share of those in the neighbouring strips
EXPECTED = 20.0  # reflections that a strip would have if there were no gap
NARROWEST, WIDEST = 3, 64  # pixels
NARROWEST_MODULE = 32  # pixels
UNEVEN = 3.0  # pixels by which distances between gaps may differ
OFF_CENTRE = 0.03  # of the panel, for one gap alone

Strip = tuple[int, int]
Key = tuple[tuple[int, int], tuple[float, float]]


def with_gaps(readings: Sequence[Reading]) -> list[Reading]:
    """The readings with the gaps in their panels; reflections of all files on one kind of detector are taken together.

    A detector of several panels has its gaps between them.
    """
    places: dict[Key, list[Array]] = {}
    for reading in readings:
        for key, xy in _positions(reading):
            places.setdefault(key, []).append(xy)
    masks = {key: _rectangles(np.concatenate(parts), key[0]) for key, parts in places.items()}
    if not any(masks.values()):
        return list(readings)
    return [replace(reading, experiments=_masked(reading.experiments, masks)) for reading in readings]


def strips(x: Float, size: int) -> list[Strip]:
    """Empty strips between modules, beginning and end (exclusive), pixels; none unless they are regular.

    ``x``: positions of reflections across the strips, pixels, (n,).  ``size``: of the panel.
    """
    if size < 2 * NARROWEST_MODULE or not len(x):
        return []
    inside = x[(x >= 0) & (x < size)]
    counts = np.bincount(inside.astype(np.int64), minlength=size)[:size]
    total = np.concatenate(([0], np.cumsum(counts)))
    pixel = np.arange(size)
    low, high = np.maximum(pixel - NEIGHBOURS, 0), np.minimum(pixel + NEIGHBOURS + 1, size)
    around = (total[high] - total[low]) / (high - low)
    empty = np.concatenate(([False], counts <= STRAY * around, [False]))
    begins, ends = np.flatnonzero(empty[1:] & ~empty[:-1]), np.flatnonzero(empty[:-1] & ~empty[1:])
    gaps = [
        (int(begin), int(end))
        for begin, end in zip(begins, ends, strict=True)
        if NARROWEST <= end - begin <= WIDEST
        and begin >= NARROWEST_MODULE
        and end <= size - NARROWEST_MODULE
        and around[begin:end].sum() >= EXPECTED
    ]
    return _regular(gaps, size)


def _regular(gaps: Sequence[Strip], size: int) -> list[Strip]:
    """The strips if they are at equal distances, with those in between that had too few neighbours to be seen."""
    middles = np.array([0.5 * (begin + end) for begin, end in gaps])
    if not len(middles):
        return []
    if len(middles) == 1:
        return list(gaps) if abs(middles[0] - 0.5 * size) <= OFF_CENTRE * size else []
    steps = np.diff(middles)
    modules = np.rint(steps / steps.min())
    pitch = float(steps.sum() / modules.sum())
    if pitch < NARROWEST_MODULE or np.abs(steps - modules * pitch).max() > UNEVEN * modules.max():
        return []
    first = middles[0] - pitch * np.floor((middles[0] - NARROWEST_MODULE) / pitch)
    half = 0.5 * float(np.median([end - begin for begin, end in gaps]))
    expected = np.arange(first, size - NARROWEST_MODULE, pitch)
    nearest = [int(np.argmin(np.abs(middles - place))) for place in expected]
    return [
        gaps[k] if abs(middles[k] - place) < 0.5 * pitch else (round(place - half), round(place + half))
        for place, k in zip(expected, nearest, strict=True)
    ]


def _positions(reading: Reading) -> Iterator[tuple[Key, Array]]:
    """Kind of detector and positions of the reflections on it, pixels, (n, 2), for each kind with a single panel."""
    keys = [_key(experiment) for experiment in reading.experiments]
    number = reading.columns["id"][1]
    xy = reading.columns["xyzobs.px.value"][1][:, :2]
    kinds = list(dict.fromkeys(key for key in keys if key is not None))
    for kind in kinds:
        mine = np.array([key == kind for key in keys])
        yield kind, xy if mine.all() else xy[mine[number]]


def _key(experiment: NewExperiment) -> Key | None:
    """Size of the panel, pixels, and of a pixel, mm to two digits; None without a single panel."""
    if len(experiment.panels) != 1:
        return None
    panel = experiment.panels[0]
    width, height = (float(f"{x:.2g}") for x in panel.pixel_size)
    return panel.image_size, (width, height)


def _rectangles(xy: Array, size: tuple[int, int]) -> tuple[tuple[int, int, int, int], ...]:
    along_x = [(begin, 0, end, size[1]) for begin, end in strips(xy[:, 0], size[0])]
    along_y = [(0, begin, size[0], end) for begin, end in strips(xy[:, 1], size[1])]
    return (*along_x, *along_y)


def _masked(
    experiments: Sequence[NewExperiment], masks: dict[Key, tuple[tuple[int, int, int, int], ...]]
) -> tuple[NewExperiment, ...]:
    """The experiments with masks; those that share their panels share the new ones."""
    new: dict[int, tuple[NewPanel, ...]] = {}
    made = []
    for experiment in experiments:
        key = _key(experiment)
        mask = masks.get(key, ()) if key is not None else ()
        if mask:
            if id(experiment.panels) not in new:
                new[id(experiment.panels)] = (replace(experiment.panels[0], mask=mask),)
            experiment = replace(experiment, panels=new[id(experiment.panels)])
        made.append(experiment)
    return tuple(made)
