"""Rejected observations: their number, and the groups that contain them, with the members that deviate most."""

from __future__ import annotations

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.report.numbers.json_numbers import column, rounded, share
from braggscale.report.numbers.scaled_observations import Observed
from braggscale.report.summary_sections import WorstGroup
from braggscale.scaling.result import Result

WORST = 20
MOST_MEMBERS = 24  # of a group that are listed


def worst_groups(seen: Observed, result: Result, rejected: Bool, variance: Float, anomalous: bool) -> list[WorstGroup]:
    """The groups with the largest deviations, worst first, each with its members in the order of data sets and images.

    z of a member is (I - g m)/sqrt(V' + g^2/s), m and s = sum g^2/V' over the *other* members that are scaled.
    ``rejected``: outliers, ``variance``: V' of the error model, counts^2, both over all usable rows, (n_all,).
    """
    if not rejected.any():
        return []
    data, state = result.data, result.scaled.state
    groups = data.friedel_split if anomalous else data.friedel_merged
    index = groups.index()
    good = np.zeros(len(rejected), np.bool_)
    good[seen.rows] = True
    z = _deviations(state.values.intensity, variance, state.scale, groups, index, good)
    lost = np.flatnonzero(rejected)
    size = np.abs(np.nan_to_num(z[lost]))
    order = lost[np.argsort(-size, kind="stable")]
    _, first = np.unique(index[order], return_index=True)
    chosen = index[order[np.sort(first)[:WORST]]].tolist()
    return [_group(result, groups, k, z, variance, rejected) for k in chosen]


def _deviations(i: Float, v: Float, g: Float, groups: Groups, index: Int, good: Bool) -> Float:
    own = np.where(good, g * g / v, 0.0)
    total, above = groups.sum(own), groups.sum(np.where(good, g * i / v, 0.0))
    others = total[index] - own
    mean = share(above[index] - np.where(good, g * i / v, 0.0), others, 1e-10 * float(total.max()))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((i - g * mean) / np.sqrt(v + g * g / others))


def _group(result: Result, groups: Groups, k: int, z: Float, variance: Float, rejected: Bool) -> WorstGroup:
    data, state = result.data, result.scaled.state
    at = np.arange(groups.offsets[k], groups.offsets[k + 1])
    n = len(at)
    if n > MOST_MEMBERS:  # those that deviate most
        at = np.sort(at[np.argsort(-np.abs(np.nan_to_num(z[at])), kind="stable")[:MOST_MEMBERS]])
    rows = data.rows
    at = at[np.lexsort((rows.xyz[at, 2], rows.data_set[at]))]
    g = state.scale[at]
    names = [result.used[d] for d in rows.data_set[at].tolist()]
    still = [member.experiment.is_still for member in names]
    image = np.floor(rows.xyz[at, 2]).astype(np.int64) + 1
    return WorstGroup(
        hkl=data.asu[at[0]].tolist(),
        d=rounded(float(rows.d[at[0]])),
        members=n,
        data_set=[member.identifier for member in names],
        image=[None if s else v for s, v in zip(still, image.tolist(), strict=True)],
        measured_hkl=rows.hkl[at].tolist(),
        x=column(np.round(rows.xyz[at, 0], 1), 6),
        y=column(np.round(rows.xyz[at, 1], 1), 6),
        scaled_intensity=column(state.values.intensity[at] / g, 5),
        sigma=column(np.sqrt(variance[at]) / g, 3),
        z=column(z[at], 3),
        outlier=rejected[at].tolist(),
    )
