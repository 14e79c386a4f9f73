"""Distribution of the largest statistic of a scan for bad images if no image is bad.

The statistic is the sum of scores over a run of images in units of its standard deviation. The scan finds the largest
one among all runs of the lengths ``lengths`` (a scan statistic: Naus, J. Am. Stat. Assoc. 60 (1965) 532). Its
distribution is close to Gumbel's, P(T > t) = 1 - exp(-exp(-(t - m)/s)). m and s were determined from 600 to 2000
simulated sweeps each (``made_up``) of n images with k observations, whose scores are squares of normal deviates minus
1; for other n and k they are interpolated in log n and log k.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from braggscale.numerics.array_types import Float
from braggscale.numerics.normal import MEDIAN_ABSOLUTE

LONGEST = 0.5  # share of the images of a data set that a run may have: the other images show what is normal
IMAGES = tuple(2**k for k in range(2, 15))
PER_IMAGE = (1, 4, 16, 64, 256)
# m and s; columns are numbers of observations per image, as in PER_IMAGE
LOCATION = (
    (0.46, 0.61, 0.68, 0.71, 0.74),  # 4 images
    (1.14, 1.17, 1.17, 1.18, 1.17),  # 8 images
    (1.88, 1.75, 1.65, 1.59, 1.58),  # 16 images
    (2.69, 2.35, 2.14, 2.04, 1.99),  # 32 images
    (3.52, 2.95, 2.62, 2.45, 2.36),  # 64 images
    (4.41, 3.53, 3.07, 2.82, 2.71),  # 128 images
    (5.26, 4.08, 3.46, 3.15, 3.01),  # 256 images
    (6.15, 4.63, 3.85, 3.47, 3.30),  # 512 images
    (7.02, 5.14, 4.23, 3.78, 3.58),  # 1024 images
    (7.89, 5.66, 4.57, 4.02, 3.81),  # 2048 images
    (8.84, 6.20, 4.89, 4.32, 4.05),  # 4096 images
    (9.81, 6.77, 5.26, 4.57, 4.28),  # 8192 images
    (10.70, 7.32, 5.60, 4.82, 4.48),  # 16384 images
)
SCALE = (
    (1.13, 0.86, 0.72, 0.65, 0.61),  # 4 images
    (1.21, 0.81, 0.66, 0.59, 0.55),  # 8 images
    (1.23, 0.76, 0.58, 0.49, 0.44),  # 16 images
    (1.22, 0.77, 0.57, 0.46, 0.42),  # 32 images
    (1.26, 0.78, 0.55, 0.44, 0.40),  # 64 images
    (1.26, 0.76, 0.51, 0.42, 0.37),  # 128 images
    (1.27, 0.73, 0.50, 0.39, 0.35),  # 256 images
    (1.26, 0.75, 0.50, 0.39, 0.33),  # 512 images
    (1.28, 0.74, 0.47, 0.36, 0.32),  # 1024 images
    (1.29, 0.76, 0.46, 0.36, 0.31),  # 2048 images
    (1.33, 0.77, 0.47, 0.35, 0.30),  # 4096 images
    (1.39, 0.73, 0.47, 0.35, 0.30),  # 8192 images
    (1.46, 0.70, 0.45, 0.33, 0.28),  # 16384 images
)
_SEED = 20


@cache
def lengths(n: int) -> tuple[int, ...]:
    """Lengths of runs that are tried among n images: 1, 2, 3, 4, 6, 8, 11, ... up to LONGEST of all."""
    most = max(int(LONGEST * n), 1)
    candidates = sorted({round(2 ** (k / 2)) for k in range(2 * most.bit_length() + 1)})
    return tuple(length for length in candidates if length <= most)


def chance_of(t: float, n_images: int, per_image: float) -> float:
    """P(T > ``t``) of a sweep without bad images.  ``per_image``: observations of each image."""
    row = np.log2(np.clip(n_images, IMAGES[0], IMAGES[-1]))
    at = np.log2(np.clip(per_image, PER_IMAGE[0], PER_IMAGE[-1]))
    location, scale = (_between(table, float(row), float(at)) for table in (LOCATION, SCALE))
    if n_images > IMAGES[-1]:  # the largest of m pieces
        location += scale * float(np.log(n_images / IMAGES[-1]))
    return float(-np.expm1(-np.exp(-(t - location) / scale)))


def _between(table: tuple[tuple[float, ...], ...], row: float, at: float) -> float:
    by_row = [float(np.interp(at, np.log2(PER_IMAGE), entries)) for entries in table]
    return float(np.interp(row, np.log2(IMAGES), by_row))


def made_up(n_images: int, per_image: int, n_sweeps: int) -> Float:
    """The largest statistic of simulated sweeps without bad images, (n_sweeps,), from which the tables were made."""
    rng = np.random.default_rng(_SEED)
    largest = np.full(n_sweeps, -np.inf)
    scores = rng.chisquare(per_image, (n_sweeps, n_images)) - per_image
    sums = np.concatenate([np.zeros((n_sweeps, 1)), np.cumsum(scores, axis=1)], axis=1)
    for length in lengths(n_images):
        t = (sums[:, length:] - sums[:, :-length]) / np.sqrt(2.0 * per_image * length)
        width = np.median(np.abs(t), axis=1) / MEDIAN_ABSOLUTE if t.shape[1] >= 8 else np.ones(n_sweeps)
        largest = np.maximum(largest, t.max(axis=1) / np.maximum(width, 1.0))
    return largest
