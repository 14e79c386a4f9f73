"""Data sets whose scale, B factor, unit cell or deviations are outliers among those of the others.

A value is an outlier if it is far from the median in units of the robust standard deviation of all data sets, and
if the difference is large enough to matter, because crystals that agree perfectly have a spread of almost 0. Such
data sets are named in the log but not left out; filtering does that if the user asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.data.unique_reflections import mean_of_others
from braggscale.models.joint_model import JointModel
from braggscale.numerics.array_types import Bool, Float, Int32
from braggscale.numerics.normal import SD_FROM_MAD
from braggscale.scaling.state import Scaled
from braggscale.statistics.half_sets import ratio

# With fewer data sets one cannot say which values are usual.
FEWEST = 8
# Robust standard deviations beyond which a value is an outlier.
BEYOND = 6.0
# Smallest differences that matter: of ln scale, B (square Angstrom), cell edges (relative), angles (degrees), ln of
# the mean z^2.
SCALE, B, EDGE, ANGLE, DEVIATION = 1.6, 5.0, 0.01, 1.0, 0.7
LARGEST = 25.0  # of z^2 of one observation


@dataclass(frozen=True, slots=True)
class Outlying:
    """One value of one data set.  ``data_set``: position among those in use.  ``what``: in words.

    ``value``, ``usual``: of this data set and the median, in the units of ``what``.  ``z``: their difference in
    robust standard deviations.
    """

    data_set: int
    what: str
    value: float
    usual: float
    z: float

    def __str__(self) -> str:
        """As in the log."""
        return f"{self.what} {self.value:.4g}, usually {self.usual:.4g}"


def deviations_of(scaled: Scaled, good: Bool) -> Float:
    """Squared deviation of each row from the mean of the others, over the errors of both, (n,); NaN without others.

    ``good``: rows that make the means, (n,).
    """
    state = scaled.state
    weight = np.where(good, 1.0 / state.variance, 0.0)
    mu, error = mean_of_others(state.fit_groups, weight, state.scale, state.values.intensity)
    seen = (error > 0) & (state.scale > 0) & ~state.impossible
    z2 = np.full(len(good), np.nan)
    z2[seen] = (state.values.intensity - mu)[seen] ** 2 / (state.variance + error)[seen]
    return z2


def standing_out(values: Float, matters: float) -> Bool:
    """Which values are outliers, (n,); NaN is none.  ``matters``: smallest difference from the median that matters."""
    known = np.isfinite(values)
    result = np.zeros(len(values), bool)
    if np.count_nonzero(known) < FEWEST:
        return result
    off = np.abs(values - np.median(values[known]))
    spread = SD_FROM_MAD * float(np.median(off[known]))
    result[known] = (off[known] > BEYOND * spread) & (off[known] > matters)
    return result


def outlying(
    scaled: Scaled, data_set: Int32, model: JointModel, experiments: Sequence[Experiment], good: Bool
) -> tuple[Outlying, ...]:
    """The outliers among all data sets, those of one data set together.

    ``data_set``: of each row, (n,).  ``good``: rows that are merged, (n,).
    """
    n = len(experiments)
    if n < FEWEST:
        return ()
    positive = scaled.state.scale > 0
    total = np.bincount(data_set[positive], np.log(scaled.state.scale[positive]), n)
    scale = ratio(total, np.bincount(data_set[positive], minlength=n))
    z2 = deviations_of(scaled, good)
    seen = np.isfinite(z2)
    capped = np.minimum(z2[seen], LARGEST)
    deviation = ratio(np.bincount(data_set[seen], capped, n), np.bincount(data_set[seen], minlength=n))
    b = np.full(n, np.nan)
    for d, component, where in model.parts():
        if component.gauge_role == "b":
            b[d] = float(scaled.outcome.theta[where].mean())
    cells = np.array([experiment.crystal.unit_cell for experiment in experiments])
    columns = [
        ("scale", np.exp(scale), scale, SCALE),
        ("B", b, b, B),
        *((f"cell edge {name}", cells[:, k], np.log(cells[:, k]), EDGE) for k, name in enumerate("abc")),
        *(
            (f"angle {name}", cells[:, 3 + k], cells[:, 3 + k], ANGLE)
            for k, name in enumerate(("alpha", "beta", "gamma"))
        ),
        ("mean z^2", deviation, np.log(np.maximum(deviation, 1e-6)), DEVIATION),
    ]
    found = []
    for what, shown, judged, matters in columns:
        known = np.isfinite(judged)
        if not known.any():
            continue
        middle = float(np.median(judged[known]))
        spread = SD_FROM_MAD * float(np.median(np.abs(judged[known] - middle)))
        out = standing_out(judged, matters)
        if what == "mean z^2":  # a data set that agrees better than others is not conspicuous
            out &= judged > middle
        for k in np.flatnonzero(out).tolist():
            z = (judged[k] - middle) / spread if spread > 0 else np.inf
            found.append(Outlying(k, what, float(shown[k]), float(np.median(shown[known])), float(z)))
    return tuple(sorted(found, key=lambda one: one.data_set))
