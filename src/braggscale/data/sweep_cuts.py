"""Cutting one sweep into several data sets at given images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from braggscale.data.experiment import Experiment, Scan
from braggscale.data.image_ranges import Runs, intersection
from braggscale.data.image_selection import items_of, sweeps_named
from braggscale.errors import CommandError
from braggscale.numerics.array_types import Array, Int

# Cutting a sweep in two -------------------------------------------------------------------------------------


def choose_splits(
    values: Sequence[str], experiments: Sequence[Experiment], numbers: Sequence[int] | None = None
) -> dict[int, tuple[int, ...]]:
    """Where to cut sweeps: from the position of a data set to the images at which a new data set begins.

    ``values``: items ``ID:image``, or ``image`` if there is one sweep, separated by spaces or commas.
    Raises CommandError for a malformed item, an unknown data set, a still, or an image that is not inside the
    sweep.
    """
    starts: dict[int, set[int]] = {}
    for item in items_of(values):
        text = f"split_at={item}"
        match = re.fullmatch(r"(?:(.*):)?(\d+)", item)
        if match is None:
            raise CommandError(f"{text}: expected ID:image, or image for a single sweep")
        for k, (first, last) in sweeps_named(text, match[1], experiments, numbers).items():
            if not first < int(match[2]) <= last:
                raise CommandError(
                    f"{text}: the second part begins at this image, so it must be one of {first + 1}-{last}"
                    f" in data set {experiments[k].identifier}"
                )
            starts.setdefault(k, set()).add(int(match[2]))
    return {k: tuple(sorted(s)) for k, s in sorted(starts.items())}


def split_scan(scan: Scan, starts: Sequence[int], in_use: Runs) -> tuple[tuple[Scan, Runs], ...]:
    """The scan of each part when a new part begins at each image of ``starts``, and its images in use.

    Image numbers, rotation angles (degrees) and batch numbers do not change.  ``in_use``: of the whole sweep; a
    part without any of them gets () and must be dropped.
    """
    firsts = [scan.image_range[0], *starts]
    lasts = [*(s - 1 for s in starts), scan.image_range[1]]
    start, width = scan.oscillation
    parts = []
    for a, b in zip(firsts, lasts, strict=True):
        runs = intersection(in_use, (a, b))
        oscillation = (start + (a - scan.image_range[0]) * width, width)
        parts.append((replace(scan, image_range=(a, b), oscillation=oscillation, valid_image_ranges=runs), runs))
    return tuple(parts)


def part_of_rows(z: Array, starts: Sequence[int]) -> Int:
    """Number of the part that contains each row, 0 to len(starts), (n,).  ``z``: array index, (n,)."""
    return np.searchsorted(np.asarray(starts, dtype=np.float64), np.floor(z) + 1.0, side="right").astype(np.int64)
