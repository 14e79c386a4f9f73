"""Scaling with a reference, which is treated as one more data set with scale 1 and estimated errors.

Reference intensities are added to the observations as a data set with one observation of each unique reflection, K = 1
and B = 0, both fixed. So the reference determines the overall scale. Its influence on I_h depends on its errors. If a
structure model, or another crystal, explains the intensities in a shell except for a fraction q, its variance is

    V_ref(h) = sigma^2 + 2 q I <I> + (q <I>)^2,

the variance of the intensity of an acentric reflection, F = D F_ref + delta, with q <I> the variance of delta (Read,
Acta Cryst. A46 (1990) 900). q of each shell is found from the data: with the mean m of the scaled observations of a
reflection and its error v, the median of (I_ref - m)^2/(V_ref + v) is that of a chi^2 with one degree of freedom.

With ``fixed`` I_h equals the reference: q = 0, and sigma is so small that observations have no influence on I_h.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.fit_subset import Selection
from braggscale.data.observations import Observations
from braggscale.data.reference import Placed
from braggscale.data.sorting import SortedObservations, in_order
from braggscale.data.symmetry import Symmetry
from braggscale.data.unique_reflections import Groups
from braggscale.errors import DataError
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.joint_model import JointModel
from braggscale.models.smooth import Smooth
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.normal import MEDIAN_CHI2
from braggscale.scaling.rounds import scale_data
from braggscale.scaling.state import RoundReport, RoundSettings, Scaled, ScalingProblem, Start
from braggscale.weighting.counting_gain import CountingGain
from braggscale.weighting.error_model import ErrorModel
from braggscale.weighting.intensity_choice import Intensities

log = logging.getLogger(__name__)

FIXED, ESTIMATED = "fixed", "estimated"
# Starting values of q for a model and for another measurement, and the smallest value.
OF_MODELS, OF_DATA, LEAST = 0.2, 0.02, 1e-4
# Reflections of a shell, and the most shells.
IN_SHELL, MOST_SHELLS = 150, 12
# The fit is repeated if q changes by more than this factor, but at most this many times.
CHANGED, MOST_FITS = 1.4, 3
# Relative standard deviation of a fixed reference, smaller than that of any observation.
FIXED_ERROR = 1e-3
# With fewer common reflections a reference is refused.
FEWEST = 50


@dataclass(frozen=True, slots=True)
class Beside:
    """Observations together with the reference.

    ``data``: both, the reference as the last data set.  ``own``: marks the rows that are observations, (n,).
    ``sigma2``: variance of the reference rows, 0 elsewhere, ``mean``: <I> of the reference in the shell of the row,
    ``shell``: its number, (n,) each. ``calculated``: whether the reference is a structure model.  ``anomalous``:
    whether Friedel mates are apart in the run.
    """

    data: SortedObservations
    own: Bool
    sigma2: Float
    mean: Float
    shell: Int
    calculated: bool
    anomalous: bool

    @property
    def n_reference(self) -> int:
        """Reference intensities that are used."""
        return int(np.count_nonzero(~self.own))

    @property
    def groups(self) -> Groups:
        """Groups in which observations and reference should agree."""
        return self.data.friedel_split if self.anomalous else self.data.friedel_merged

    def variance(self, q: Float) -> Float:
        """V_ref of each row, (n,); meaningless for observations.  ``q``: of each shell, (n_shells,)."""
        own = q[self.shell]
        intensity = np.maximum(self.data.rows.i_sum, 0.0)
        return self.sigma2 + 2.0 * own * intensity * self.mean + (own * self.mean) ** 2


@dataclass(frozen=True, slots=True)
class ReferenceFit:
    """Comparison of a reference with the data.

    ``mode``: estimated or fixed.  ``n``: intensities that were used.  ``d_min``: lower limits of the shells,
    Angstrom. ``q``: fraction of the intensity that the reference does not explain, ``cc``, ``r``: correlation of
    merged intensities with the reference, and sum |I - I_ref|/sum I, (n_shells,) each.  ``overall``: CC and R of
    all.
    """

    mode: str
    n: int
    d_min: Float
    q: Float
    cc: Float
    r: Float
    overall: tuple[float, float]


def beside(data: SortedObservations, placed: Placed, symmetry: Symmetry, calculated: bool, anomalous: bool) -> Beside:
    """The observations with the reference intensities of the reflections that were measured.

    ``anomalous``: whether Friedel mates are apart in the run; a reference that does not distinguish them is then
    used for both. Raises DataError if they have too few reflections in common.
    """
    keys = _keys(data.asu, data.minus & (placed.apart or anomalous))
    asu, minus = placed.asu, placed.minus
    intensity, sigma, d = placed.intensity, placed.sigma, placed.d
    if anomalous and not placed.apart:
        asu, minus = np.concatenate([asu, asu]), np.concatenate([minus, ~minus])
        intensity, sigma, d = (np.concatenate([x, x]) for x in (intensity, sigma, d))
    seen = np.isin(_keys(asu, minus), keys)
    if np.count_nonzero(seen) < FEWEST:
        raise DataError(
            f"the reference has {np.count_nonzero(seen)} reflections in common with the data, at least {FEWEST} are "
            "needed; is it of the same crystal form, and indexed alike?"
        )
    asu, minus, intensity, sigma, d = asu[seen], minus[seen], intensity[seen], sigma[seen], d[seen]
    n, n_sets = len(asu), int(data.rows.data_set.max()) + 1
    blank = np.zeros((n, 3))
    rows = Observations(
        row=np.arange(n),
        data_set=np.full(n, n_sets, np.int32),
        hkl=np.where(minus[:, None], -asu, asu).astype(np.int32),
        d=d,
        xyz=blank,
        s0c=blank,
        s1c=blank,
        partiality=np.ones(n),
        correction=np.ones(n),
        i_sum=intensity,
        v_sum=np.ones(n),
        i_prf=intensity,
        v_prf=np.ones(n),
        has_sum=np.full(n, bool(data.rows.has_sum.any())),
        has_prf=np.full(n, not data.rows.has_sum.any()),
    )
    both = Observations.concatenate([data.rows, rows])
    together, order = in_order(both, symmetry)
    own = (np.arange(len(both)) < len(data.rows))[order]
    sigma2 = np.concatenate([np.zeros(len(data.rows)), sigma**2])[order]
    shell, mean = _shells(together.rows, own)
    return Beside(together, own, sigma2, mean, shell, calculated, anomalous)


def groups_known(both: Beside) -> Bool:
    """Mark the groups of the observations that have a reference intensity, (n_groups,)."""
    result: Bool = both.groups.sum(~both.own) > 0
    return result


def _keys(asu: Int, minus: Bool) -> Int:
    h, k, l = (asu[:, i].astype(np.int64) + 4096 for i in range(3))
    result: Int = ((h * 8192 + k) * 8192 + l) * 2 + minus
    return result


def _shells(rows: Observations, own: Bool) -> tuple[Int, Float]:
    """Shell of each row, of equal numbers of reference rows, and the mean reference intensity there, (n,) each."""
    s = rows.d**-2.0
    n = int(np.clip(np.count_nonzero(~own) // IN_SHELL, 1, MOST_SHELLS))
    limits = np.quantile(s[~own], np.linspace(0, 1, n + 1)[1:-1]) if n > 1 else np.zeros(0)
    shell = np.searchsorted(limits, s, side="right")
    total = np.bincount(shell[~own], np.maximum(rows.i_sum[~own], 0.0), n)
    mean = total / np.maximum(np.bincount(shell[~own], minlength=n), 1)
    return shell, np.maximum(mean, 1e-300)[shell]


def scale_with_reference(
    problem: ScalingProblem, start: Start, settings: RoundSettings, both: Beside, mode: str, selected: Bool
) -> tuple[Scaled, ReferenceFit]:
    """Scales of the observations with the reference, and the comparison of both.

    ``problem``: of the observations alone.  ``selected``: rows of both that may take part in the fit, (n,).
    """
    q = np.full(int(both.shell.max()) + 1, 0.0 if mode == FIXED else OF_MODELS if both.calculated else OF_DATA)
    for number in range(1, MOST_FITS + 1):
        joint = _problem(problem, both, q, mode, selected)
        scaled = scale_data(joint, _start(start, problem, joint), settings)
        comparison = compared(scaled, both, q, mode)
        if mode == FIXED or number == MOST_FITS:
            break
        new = _estimate(scaled, both)
        change = np.abs(np.log(np.maximum(new, 0.01) / np.maximum(q, 0.01)))
        if change.max() < np.log(CHANGED):
            break
        log.info("Reference: unexplained part by shell " + " ".join(f"{x:.3f}" for x in new) + "; scaled again with it")
        q = new
    return stripped(scaled, problem, both.own), comparison


def _problem(problem: ScalingProblem, both: Beside, q: Float, mode: str, selected: Bool) -> ScalingProblem:
    rows = both.data.rows
    if mode == FIXED:
        variance = (FIXED_ERROR * np.maximum(rows.i_sum, 0.01 * both.mean)) ** 2
    else:
        variance = np.maximum(both.variance(q), (LEAST * both.mean) ** 2)
    rows = replace(rows, v_sum=np.where(both.own, rows.v_sum, variance), v_prf=np.where(both.own, rows.v_prf, variance))
    reference = DataSetModel("KB", (Smooth("scale", ()),), {})
    model = JointModel.of([*problem.model.data_sets, reference])
    fixed = np.ones(model.n_parameters, bool)
    fixed[: len(problem.fixed)] = problem.fixed
    of = np.append(problem.error_model_of, problem.n_error_models)
    still = None if problem.still is None else np.append(problem.still, False)
    return ScalingProblem(
        rows, both.groups, both.data.friedel_split, both.data.epsilon, model, selected, fixed, of, still
    )


def _start(start: Start, problem: ScalingProblem, both: ScalingProblem) -> Start:
    theta = np.append(start.theta, both.model.null()[len(start.theta) :])
    errors = start.errors or (ErrorModel(),) * problem.n_error_models
    return replace(
        start, theta=theta, stored=np.append(start.stored, True), errors=(*errors, ErrorModel(1.0, 0.0)), rejected=None
    )


def _means(scaled: Scaled, both: Beside) -> tuple[Float, Float, Float, Int, Int]:
    """Of the common reflections: mean of the observations, its variance, I_ref, row of the reference, group."""
    state, groups = scaled.state, both.data.friedel_split
    weight = np.where(both.own & ~state.rejected & (state.scale > 0), state.scale**2 / state.variance, 0.0)
    x = np.divide(state.values.intensity, state.scale, out=np.zeros(len(weight)), where=state.scale > 0)
    if len(groups) != len(both.data.friedel_merged) and not both.data.minus[~both.own].any():
        groups = both.data.friedel_merged
    total = groups.sum(weight)
    mean = np.divide(groups.sum(weight * x), total, out=np.zeros(len(groups)), where=total > 0)
    where = np.flatnonzero(~both.own & ~state.rejected)
    at = groups.index()[where]
    there = total[at] > 0
    where, at = where[there], at[there]
    return mean[at], 1.0 / total[at], both.data.rows.i_sum[where], where, at


def _estimate(scaled: Scaled, both: Beside) -> Float:
    """q of each shell."""
    mean, error, reference, where, _ = _means(scaled, both)
    shell, level, sigma2 = both.shell[where], both.mean[where], both.sigma2[where]
    q = np.zeros(int(both.shell.max()) + 1)
    for k in range(len(q)):
        in_shell = shell == k
        if not in_shell.any():
            continue
        square = (mean[in_shell] - reference[in_shell]) ** 2
        base = error[in_shell] + sigma2[in_shell]
        intensity = np.maximum(reference[in_shell], 0.0)
        low, high = LEAST, 2.0
        for _ in range(40):
            middle = np.sqrt(low * high)
            variance = base + 2.0 * middle * intensity * level[in_shell] + (middle * level[in_shell]) ** 2
            low, high = (middle, high) if np.median(square / variance) > MEDIAN_CHI2 else (low, middle)
        q[k] = np.sqrt(low * high)
    return q


def compared(scaled: Scaled, both: Beside, q: Float, mode: str) -> ReferenceFit:
    """Compare merged intensities with the reference.  ``scaled``: of both.  ``q``: of each shell, (n_shells,)."""
    mean, _, reference, where, _ = _means(scaled, both)
    shell, n = both.shell[where], len(q)

    def agreement(chosen: Bool) -> tuple[float, float]:
        """Correlation and R of the chosen reflections; NaN for fewer than three."""
        if np.count_nonzero(chosen) < 3:
            return float("nan"), float("nan")
        cc = float(np.corrcoef(mean[chosen], reference[chosen])[0, 1])
        return cc, float(np.abs(mean[chosen] - reference[chosen]).sum() / np.abs(mean[chosen]).sum())

    each = [agreement(shell == k) for k in range(n)]
    d = np.array([both.data.rows.d[both.shell == k].min(initial=np.inf) for k in range(n)])
    cc, r = np.array([a for a, _ in each]), np.array([b for _, b in each])
    return ReferenceFit(mode, both.n_reference, d, q, cc, r, agreement(np.ones(len(shell), bool)))


def stripped(scaled: Scaled, problem: ScalingProblem, own: Bool) -> Scaled:
    """The result without the reference, that is, without its rows, data set, parameters and error model.

    ``problem``: of the observations alone.  ``own``: observations among the rows of ``scaled``, (n,).
    """
    state, n = scaled.state, problem.model.n_parameters
    n_sets = len(problem.model.data_sets)
    gain = state.gain
    values = state.values
    values = Intensities(
        values.intensity[own],
        values.variance[own],
        values.raw_factor[own],
        values.relative[own] if len(values.relative) else values.relative,
    )
    new = replace(
        state,
        theta=state.theta[:n],
        scale=state.scale[own],
        values=values,
        gain=CountingGain(
            gain.k[:n_sets],
            gain.floor[:n_sets],
            gain.n[:n_sets],
            gain.pooled[:n_sets],
            {d: why for d, why in gain.reasons.items() if d < n_sets},
        ),  # fmt: skip
        variance=state.variance[own],
        errors=state.errors[:-1],
        rejected=state.rejected[own],
        returned=state.returned[own],
        impossible=state.impossible[own],
        fit_groups=state.fit_groups.subset(own),
        profiles=None,
    )
    outcome = scaled.outcome
    covariance = outcome.covariance
    if covariance is not None:
        covariance = first_of(covariance, n)
    dof = None if outcome.effective_dof is None else outcome.effective_dof[:n]
    outcome = replace(
        outcome,
        theta=outcome.theta[:n],
        covariance=covariance,
        effective_dof=dof,
        undetermined=tuple(p for p in outcome.undetermined if p < n),
    )
    return replace(
        scaled,
        state=new,
        outcome=outcome,
        scale_variance=scaled.scale_variance[own],
        variance=scaled.variance[own],
        observed_variance=scaled.observed_variance[own],
        rounds=tuple(_without_last_error_model(report) for report in scaled.rounds),
        component_summaries=tuple(one for one in scaled.component_summaries if one.data_set < n_sets),
        profiles=tuple(
            replace(one, data_sets=tuple(d for d in one.data_sets if d < n_sets))
            for one in scaled.profiles
            if min(one.data_sets) < n_sets
        ),
    )


def _without_last_error_model(report: RoundReport) -> RoundReport:
    return replace(report, errors=report.errors[:-1])


def first_of(matrix: BlockMatrix, n: int) -> BlockMatrix:
    """The matrix of the first ``n`` parameters."""
    if matrix.n_blocks == 1:
        return BlockMatrix.whole(matrix.blocks()[0][:n, :n])
    keep = matrix.starts <= n
    starts = matrix.starts[keep]
    return BlockMatrix(starts, matrix.store[: int((np.diff(starts) ** 2).sum())])


def selection_of_observations(selection: Selection, own: Bool) -> Selection:
    """The selection without the reference.  ``own``: observations, (n,)."""
    return replace(selection, mask=selection.mask[own], shares=selection.shares[:-1])
