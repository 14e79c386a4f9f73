"""Runs of images and set algebra on them.

A reflection at ``z`` (array index) lies on image floor(z) + 1. Images in use are runs, sorted and disjoint
(first, last), both ends included.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from braggscale.data.experiment import Scan
from braggscale.numerics.array_types import Array, Bool

Run = tuple[int, int]
Runs = tuple[Run, ...]


# Sets of images ---------------------------------------------------------------------------------------------


def union(runs: Iterable[Run]) -> Runs:
    """The same images as sorted runs that neither overlap nor follow each other without a gap."""
    out: list[Run] = []
    for first, last in sorted(runs):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)


def intersection(runs: Iterable[Run], limits: Run) -> Runs:
    """The images of ``runs`` within ``limits``."""
    cut = ((max(first, limits[0]), min(last, limits[1])) for first, last in runs)
    return union(run for run in cut if run[0] <= run[1])


def difference(runs: Iterable[Run], gone: Iterable[Run]) -> Runs:
    """The images of ``runs`` that are not in ``gone``."""
    removed = union(gone)
    out: list[Run] = []
    for first, last in union(runs):
        for a, b in removed:
            if b < first or a > last:
                continue
            if a > first:
                out.append((first, a - 1))
            first = b + 1
        if first <= last:
            out.append((first, last))
    return tuple(out)


def show_runs(runs: Iterable[Run]) -> str:
    """``1-1500, 1601-1700``; ``none`` for no images."""
    return ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs) or "none"


def rows_in_use(z: Array, image_range: Run, runs: Runs) -> Bool:
    """Rows on images in use.

    Image number = floor(z) + 1, limited to ``image_range``: a centroid exactly at the end of the sweep belongs to
    the last image, so that all rows are in use if all images are. ``z``: array index along the sweep, (n,).  Rows
    whose z is not finite are not in use.  Returns (n,).
    """
    z = np.asarray(z, dtype=np.float64)
    known = np.isfinite(z)
    image = np.clip(np.floor(np.where(known, z, 0.0)) + 1.0, *image_range)
    edges = np.array([(a, b + 1) for a, b in runs], dtype=np.float64).reshape(-1)
    inside: Bool = (np.searchsorted(edges, image, side="right") % 2 == 1) & known
    return inside


def stored_runs(scan: Scan) -> Runs:
    """The images in use as the input file has them."""
    return intersection(scan.valid_image_ranges, scan.image_range) or (scan.image_range,)
