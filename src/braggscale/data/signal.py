"""Finds images and data sets without a signal: the beam was off, the shot missed, or only background was integrated.

Their intensities scatter about 0, so that no scale can be found for them. If they were used, the error model would
describe their scatter, which the other data do not have. For n rows whose I/sigma has mean 0 and variance 1

    t = sum(I/sigma) / sqrt(n)

has a normal distribution. Data with a few significant strong reflections are never regarded as blank.
"""

from __future__ import annotations

import numpy as np

from braggscale.data.observations import Observations
from braggscale.numerics.array_types import Bool, Float, Int

# Images have no signal if t is below the first number although the data set predicts a t above the second one.
BLANK, EXPECTED = 2.0, 10.0
FEWEST_OF_IMAGE, FEWEST_OF_DATA_SET = 10, 20
# I/sigma of a significant reflection; 1 of 30,000 by chance.
STANDS_OUT = 4.0
# Share of rows that may be significant by chance and because errors are too small.
BY_CHANCE = 0.005
SIGNAL = 5.0  # t of a data set that surely has one


def i_over_sigma(rows: Observations) -> Float:
    """I/sigma of each row, by profile fitting where that was done, (n,)."""
    intensity = np.where(rows.has_prf, rows.i_prf, rows.i_sum)
    return np.asarray(intensity / np.sqrt(np.where(rows.has_prf, rows.v_prf, rows.v_sum)))


def significance(rows: Observations) -> float:
    """t of a data set."""
    return float(i_over_sigma(rows).sum() / np.sqrt(max(len(rows), 1)))


def is_blank(rows: Observations) -> bool:
    """Whether a whole data set has no signal."""
    ratio = i_over_sigma(rows)
    out = int(np.count_nonzero(ratio > STANDS_OUT))
    return len(rows) >= FEWEST_OF_DATA_SET and significance(rows) < BLANK and out <= 1 + BY_CHANCE * len(rows)


def blank_images(rows: Observations) -> tuple[Bool, Int]:
    """The rows on images of a sweep without a signal, (n,), and the numbers of these images."""
    nothing = np.zeros(len(rows), np.bool_), np.zeros(0, np.int64)
    if len(rows) < FEWEST_OF_DATA_SET:
        return nothing
    ratio = i_over_sigma(rows)
    image = np.floor(rows.xyz[:, 2]).astype(np.int64)
    first = int(image.min())
    n = np.bincount(image - first)
    t = np.bincount(image - first, ratio) / np.sqrt(np.maximum(n, 1))
    out = np.bincount(image - first, ratio > STANDS_OUT)
    # exceeded by half of the rows of this data set
    usual = float(np.median(ratio))
    blank = (n >= FEWEST_OF_IMAGE) & (t < BLANK) & (out == 0) & (usual * np.sqrt(n) > EXPECTED)
    if not blank.any():
        return nothing
    return blank[image - first], np.flatnonzero(blank) + first + 1
