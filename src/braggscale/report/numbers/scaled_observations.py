"""The scaled observations of a finished run, prepared once for all numbers of the report.

Rows with the fate scaled are in the order of unique reflections. Deviations are leave-one-out: an observation is
compared with the mean of its equivalents without itself (leave_one_out.py), Friedel mates apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.geometry import inverse_d_squared
from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.scaling.result import Result
from braggscale.statistics.merging_statistics import shell_limits
from braggscale.weighting.expected_variance import VarianceModel
from braggscale.weighting.leave_one_out import leave_one_out


@dataclass(frozen=True, slots=True)
class Observed:
    """``rows``: positions of the scaled observations among all usable ones, (n,); other arrays have one entry for each.

    ``data_set``: position among the kept data sets.  ``xyz``: px, px, array index of the image, (n, 3).
    ``variance``: V' as written out.  ``scale``: g.  ``x``: I/g.
    ``mu``: expected intensity g I_h.  ``before``, ``after``: variance of an observation expected from counting, and
    with the error model, counts^2.  ``error_model``: number of its error model.
    ``friedel_merged``, ``friedel_split``: unique reflections with Friedel mates merged and split; ``grouping``: the one
    of these within which scales were fitted.
    ``z``: (I - g m)/sd with the error model, m without the observation itself; NaN without equivalents.
    Per group together: ``mean``: weighted mean of x, ``sd``: its error, ``s``: 1/d^2, ``shell``: resolution shell.
    ``limits``: of the shells in 1/d^2.
    """

    rows: Int
    data_set: Int
    xyz: Float
    variance: Float
    scale: Float
    x: Float
    mu: Float
    before: Float
    after: Float
    error_model: Int
    friedel_merged: Groups
    friedel_split: Groups
    grouping: Groups
    z: Float
    mean: Float
    sd: Float
    s: Float
    shell: Int
    limits: Float
    asu: Array

    @property
    def intensity(self) -> Float:
        """I, counts, (n,); calculated at each use to save memory."""
        return self.x * self.scale

    @property
    def sigma(self) -> Float:
        """Error of I/g, (n,)."""
        return np.asarray(np.sqrt(self.variance) / self.scale)

    @property
    def n_data_sets(self) -> int:
        """Number of data sets, including those without observations."""
        return int(self.data_set.max()) + 1

    @property
    def n_shells(self) -> int:
        """Number of resolution shells."""
        return len(self.limits) - 1

    def row_shell(self) -> Int:
        """Shell of each observation, (n,)."""
        result: Int = self.friedel_merged.spread(self.shell)
        return result


def observe(result: Result, good: Bool, error_model_of: Int, anomalous: bool, n_shells: int) -> Observed | None:
    """The observations where ``good``, (n_all,); None if there is none.

    ``error_model_of``: number of the error model of each data set, (n_data_sets,).  ``anomalous``: Friedel mates apart
    in the fit.
    """
    data, state = result.data, result.scaled.state
    rows = np.flatnonzero(good)
    if len(rows) == 0:
        return None
    everything = len(rows) == len(good)

    def take(values: Array) -> Array:
        """The values of the chosen rows."""
        return values if everything else values[rows]

    friedel_merged = data.friedel_merged if everything else data.friedel_merged.subset(good)
    friedel_split = data.friedel_split if everything else data.friedel_split.subset(good)
    data_set = take(data.rows.data_set).astype(np.int64)
    intensity, scale = take(state.values.intensity), take(state.scale)
    variance = take(result.scaled.variance)
    expected = state.scale * (data.friedel_split if anomalous else data.friedel_merged).spread(state.mean_intensity)
    model = VarianceModel.of(state.values, state.gain, data.rows.data_set, state.errors, error_model_of)
    before, after, mu = take(model.of_counting().at(expected)), take(state.variance), take(expected)
    x, weight = intensity / scale, scale * scale / variance
    total = friedel_merged.sum(weight)
    asu = take(data.asu)[friedel_merged.offsets[:-1]]
    s = inverse_d_squared(asu, result.cell)
    limits = shell_limits(s, n_shells)
    return Observed(
        rows=rows,
        data_set=data_set,
        xyz=take(data.rows.xyz),
        variance=variance,
        scale=scale,
        x=x,
        mu=mu,
        before=before,
        after=after,
        error_model=error_model_of[data_set],
        friedel_merged=friedel_merged,
        friedel_split=friedel_split,
        grouping=friedel_split if anomalous else friedel_merged,
        z=leave_one_out(intensity, after, scale, friedel_split),
        mean=friedel_merged.sum(weight * x) / total,
        sd=1.0 / np.sqrt(total),
        s=s,
        shell=np.clip(np.searchsorted(limits, s, side="right") - 1, 0, n_shells - 1),
        limits=limits,
        asu=asu,
    )
