"""Images and data sets without a signal: the beam was off, the shot missed, or nothing was integrated but background.

Their intensities scatter about 0, so that no scale fits them; left in, they teach the error model a scatter that the
others do not have. Of n rows with I/sigma of mean 0 and variance 1

    t = sum(I/sigma) / sqrt(n)

is distributed normally. Nothing is blank whose strongest reflections stand out, however few they are.
"""

from __future__ import annotations

import numpy as np

from braggscale.data.observations import Observations
from braggscale.numerics.array_types import Bool, Float, Int

# t below which a stretch of rows shows no signal, and the t that its data set leads to expect there.
BLANK, EXPECTED = 2.0, 10.0
FEWEST_OF_IMAGE, FEWEST_OF_DATA_SET = 10, 20
# A reflection that stands out; by chance one of 30,000.
STANDS_OUT = 4.0
# Share of rows that may stand out by chance and by errors that are too small.
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
    # what half of the rows of this data set show, at least
    usual = float(np.median(ratio))
    blank = (n >= FEWEST_OF_IMAGE) & (t < BLANK) & (out == 0) & (usual * np.sqrt(n) > EXPECTED)
    if not blank.any():
        return nothing
    return blank[image - first], np.flatnonzero(blank) + first + 1
