"""Position and orientation of a flat detector, from the positions of reflections and their directions.

A reflection at (x, y), pixels, on a detector with origin o, and pixel edges f and s, mm, left in the direction of
o + x f + y s. So s1 is parallel to H (x, y, 1) with H = [f s o], known up to a factor:

    s1 cross H (x, y, 1) = 0    for all reflections,

linear in the nine numbers of H; its solution is the right singular vector of the least singular value (direct linear
transformation: Hartley & Zisserman, Multiple View Geometry (2004), 4.1). The distance sets the factor.
"""

from __future__ import annotations

import numpy as np

from braggscale.io.new_experiments import NewPanel
from braggscale.numerics.array_types import Array, Bool

_MOST_ROWS = 5000
_LEAST_ROWS = 20
_MISFIT = 2.0  # pixels: median distance beyond which the positions are not those of one flat detector
_BEYOND, _NEARLY_ALL = 10.0, 95.0  # times this percentile of all distances from the first pixel
_MOST = 1e9  # pixels
_SKEW = 0.01  # cosine between the edges of a pixel


def flat_panel(
    s1: Array, xy: Array, distance: float, image_size: tuple[int, int], name: str = "Panel"
) -> NewPanel | None:
    """The detector; None if the reflections do not determine it or do not fit a plane with perpendicular edges.

    ``s1``: diffracted beams, (n, 3); zero rows do not count.  ``xy``: pixels, (n, 2).  ``distance``: mm, above 0.
    """
    known = (s1[:, 0] != 0) | (s1[:, 1] != 0) | (s1[:, 2] != 0)
    usable = np.flatnonzero(known & believed(xy))
    usable = usable[:: max(1, len(usable) // _MOST_ROWS)]
    if len(usable) < _LEAST_ROWS or distance <= 0:
        return None
    beam = s1[usable] / np.linalg.norm(s1[usable], axis=1)[:, None]
    middle, spread = xy[usable].mean(axis=0), xy[usable].std(axis=0)
    if spread.min() <= 0:
        return None
    place = np.column_stack(((xy[usable] - middle) / spread, np.ones(len(usable))))
    homography = _solve(beam, place)
    if homography is None:
        return None
    fast, slow, origin = homography[:, 0] / spread[0], homography[:, 1] / spread[1], homography[:, 2]
    origin = origin - middle[0] * fast - middle[1] * slow
    return _panel(fast, slow, origin, beam, xy[usable], distance, image_size, name)


def believed(xy: Array) -> Bool:
    """Positions that are finite and not far beyond nearly all others, (n,), as absurd ones would make the detector
    larger.

    ``xy``: pixels, (n, 2).
    """
    with np.errstate(invalid="ignore"):
        farthest = np.maximum(np.abs(xy[:, 0]), np.abs(xy[:, 1]))
        some = farthest[:: max(1, len(xy) // _MOST_ROWS)]
        some = some[np.isfinite(some)]
        limit = _BEYOND * float(np.percentile(some, _NEARLY_ALL)) if len(some) else _MOST
        return np.asarray(farthest <= min(limit, _MOST))


def _solve(beam: Array, place: Array) -> Array | None:
    """H up to a factor, (3, 3), pointing along the beams."""
    zero = np.zeros(len(beam))
    x, y, z = beam.T
    # the components of the cross product, each linear in the numbers of H
    cross = np.stack(
        (
            np.stack((zero, -z, y), axis=1),
            np.stack((z, zero, -x), axis=1),
            np.stack((-y, x, zero), axis=1),
        ),
        axis=1,
    )
    equations = (cross[:, :, :, None] * place[:, None, None, :]).reshape(-1, 9)
    values, vectors = np.linalg.eigh(equations.T @ equations)
    if not values[1] > 1e-12 * values[-1]:
        return None  # the reflections lie on a line
    h = vectors[:, 0].reshape(3, 3)
    if np.mean(np.einsum("ni,ij,nj->n", beam, h, place)) < 0:
        h = -h
    return h


def _panel(
    fast: Array,
    slow: Array,
    origin: Array,
    beam: Array,
    xy: Array,
    distance: float,
    image_size: tuple[int, int],
    name: str,
) -> NewPanel | None:
    normal = np.cross(fast, slow)
    if np.linalg.norm(normal) == 0:
        return None
    factor = distance / abs(float(origin @ normal / np.linalg.norm(normal)))
    fast, slow, origin = fast * factor, slow * factor, origin * factor
    width, height = float(np.linalg.norm(fast)), float(np.linalg.norm(slow))
    if abs(float(fast @ slow)) > _SKEW * width * height:
        return None
    place = origin + xy[:, :1] * fast + xy[:, 1:] * slow
    hit = beam * (origin @ normal / (beam @ normal))[:, None]
    if not np.median(np.linalg.norm(hit - place, axis=1)) < _MISFIT * max(width, height):
        return None
    fast = fast / width
    slow = slow - fast * float(slow @ fast)
    return NewPanel(name, fast, slow / np.linalg.norm(slow), origin, (width, height), image_size)
