"""Runs of images that are counted together, over all data sets of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.experiment import Still
from braggscale.data.sorting import UsedDataSet
from braggscale.numerics.array_types import Float, Int

MOST_BINS = 2000
# Observations in a bin; the relative error of an R factor from them is about a tenth.
WANTED = 40
_NICE = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class ImageBins:
    """``data_set``: first data set of each bin, ``first``, ``last``: images (0 for stills), (n,).

    ``width``: images per bin.  ``merged``: data sets per bin, above 1 only if there are more than MOST_BINS data sets.
    ``base``, ``origin``: first bin and first image of each data set, (n_data_sets,).
    """

    data_set: Int
    first: Int
    last: Int
    width: int
    merged: int
    base: Int
    origin: Int

    def __len__(self) -> int:
        return len(self.first)

    def of(self, data_set: Int, z: Float) -> Int:
        """Bin of each observation, (n,).  ``data_set``, ``z``: data set and image as array index, (n,)."""
        image = np.floor(z).astype(np.int64) + 1
        place = (image - self.origin[data_set]) // self.width
        ends = np.append(self.base[1:], len(self))
        # if a bin contains several data sets, all of them have the same first bin
        most = np.maximum(ends[data_set] - self.base[data_set] - 1, 0)
        found: Int = self.base[data_set] + np.clip(place, 0, most)
        return found


def image_bins(data_sets: Sequence[UsedDataSet], n_observations: int) -> ImageBins:
    """Bins of equal width in images with about WANTED observations or more; a still is a bin of its own."""
    ranges = [_images(member) for member in data_sets]
    n_images = sum(last - first + 1 for first, last in ranges)
    wanted = max(1, min(MOST_BINS, n_observations // WANTED))
    width = _nice(n_images / wanted)
    while len(ranges) < MOST_BINS and _count(ranges, width) > max(MOST_BINS, len(ranges)):
        width = _nice(width * 1.5)
    merged = 1
    if len(ranges) >= MOST_BINS:
        merged = -(-len(ranges) // MOST_BINS)
        width = max(last - first + 1 for first, last in ranges)
    columns: tuple[list[int], ...] = ([], [], [], [])
    data_set, firsts, lasts, base = columns
    for d, (first, last) in enumerate(ranges):
        if d % merged:
            base.append(base[-1])
            continue
        base.append(len(firsts))
        for begin in range(first, last + 1, width):
            data_set.append(d)
            firsts.append(begin)
            lasts.append(min(begin + width - 1, last))
    origin = [first for first, _ in ranges]
    sets, begins, ends, starts, origins = (np.array(c, np.int64) for c in (*columns, origin))
    return ImageBins(sets, begins, ends, width, merged, starts, origins)


def _images(member: UsedDataSet) -> tuple[int, int]:
    """First and last image in use; (0, 0) for a still."""
    kind = member.experiment.kind
    if isinstance(kind, Still):
        return 0, 0
    runs = kind.scan.valid_image_ranges or (kind.scan.image_range,)
    return runs[0][0], runs[-1][1]


def _count(ranges: Sequence[tuple[int, int]], width: int) -> int:
    return sum((last - first) // width + 1 for first, last in ranges)


def _nice(width: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ... images."""
    power = 1
    while True:
        for step in _NICE:
            if step * power >= width:
                return step * power
        power *= 10
