"""Rounds of scaling over ranks: scales, error model and outliers, until nothing changes; as scaling/rounds.py."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from braggscale.numerics.array_types import Float, Int
from braggscale.numerics.compiled import crystal_passes as kernels
from braggscale.ranks.crystal_rows import CrystalScales
from braggscale.ranks.errors import fit_errors
from braggscale.ranks.means import RankData, expected, with_gain
from braggscale.ranks.outliers import Judged, judge
from braggscale.ranks.plan import RanksPlan
from braggscale.ranks.sample import quantile_of_histogram
from braggscale.ranks.scales import FINAL_CHANGE, ROUND_CHANGE, Fitted, Strengths, fit, starting_scales
from braggscale.scaling.rounds import FRESH_ROUNDS, MOST_ROUNDS, RETURNING_ROUNDS, SAME_INTENSITY
from braggscale.weighting.error_model import ErrorModel, FitResult, nearly_equal, starting_models
from braggscale.weighting.robust_weights import Robust

log = logging.getLogger(__name__)

# Share of the rows that may change sides in a round that changes nothing: of many millions some always stand at the
# border.
SAME_ROWS = 1e-5
_BINS = 1024  # of z^2, 16 for each factor of two
_MEDIAN_SQUARE = 0.455  # median of chi^2 with one degree of freedom


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did, for the log."""

    number: int
    turns: int
    cost: float
    errors: ErrorModel
    n_outliers: int
    n_changed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RanksScaled:
    """The end of the rounds, of the crystals of this rank.

    ``mean``: I_h, (n_reflections,).  ``covariance``: of k and b, kk, kb, bb, (n_crystals, 3).
    ``errors``: how the error model was found, None for V' = V.  ``model``: that model.
    """

    crystals: CrystalScales
    mean: Float
    covariance: Float
    model: ErrorModel
    errors: FitResult | None
    strengths: Strengths
    rounds: tuple[Round, ...]
    n_impossible: int
    converged: bool


def scale(data: RankData, plan: RanksPlan) -> RanksScaled:
    """Run the rounds and the last fit."""
    crystals, strengths, model = _begin(data, plan)
    mean, total = expected(data, crystals, model)
    robust = Robust.of_fit(plan.estimated, plan.outliers.zmax)
    _weights(data, crystals, model, (mean, total), robust, first=True)
    rounds: list[Round] = []
    errors: FitResult | None = None
    judged, converged = Judged(0, 0, 0), False
    fitted: Fitted | None = None
    for number in range(1, MOST_ROUNDS + 1):
        begin, before, old = perf_counter(), mean, model
        fitted = fit(data, crystals, strengths, number > 1, ROUND_CHANGE)
        crystals, strengths = fitted.crystals, fitted.strengths
        mean, total = expected(data, crystals, model)
        if plan.errors is not None:
            errors = fit_errors(data, crystals, mean, model, plan.errors)
            model = errors.model
        if plan.outliers.method:
            fresh = number <= FRESH_ROUNDS
            judged = judge(data, crystals, model, plan.outliers, fresh, number <= RETURNING_ROUNDS)
        mean, total = expected(data, crystals, model)
        rounds.append(
            Round(number, fitted.turns, fitted.cost, model, judged.n_out, judged.n_changed, perf_counter() - begin)
        )
        _log(rounds[-1], int(data.counts.sum()))
        _weights(data, crystals, model, (mean, total), robust)
        converged = number > 1 and nearly_equal((old,), (model,)) and _same(data, judged, before, mean, total)
        if converged:
            break
    fitted = fit(data, crystals, strengths, True, FINAL_CHANGE)
    crystals, strengths = fitted.crystals, fitted.strengths
    mean, total = expected(data, crystals, model)
    if plan.errors is not None and plan.estimated:
        errors = fit_errors(data, crystals, mean, model, plan.errors, fitted.covariance)
        model = errors.model
        mean, total = expected(data, crystals, model)
    return RanksScaled(
        crystals, mean, fitted.covariance, model, errors, strengths, tuple(rounds), judged.n_impossible, converged
    )


def _begin(data: RankData, plan: RanksPlan) -> tuple[CrystalScales, Strengths, ErrorModel]:
    """Starting scales, restraints and error model."""
    n = data.rows.n_crystals
    crystals = CrystalScales(np.ones(n), np.zeros(n), np.zeros(n), np.zeros(n))
    crystals = starting_scales(data, with_gain(data, crystals))
    return crystals, Strengths.first(plan.estimated, crystals.k), starting_models(1, None, plan.errors)[0]


def _weights(
    data: RankData,
    crystals: CrystalScales,
    model: ErrorModel,
    means: tuple[Float, Float],
    robust: Robust,
    first: bool = False,
) -> None:
    """Fill the weights of the next fit; ``first``: z in units of its typical size (robust_weights.fit_weights).

    ``means``: I_h and sum g^2/V', (n_reflections,) each.
    """
    unit = 1.0
    if first:
        counts = data.ranks.allreduce(_robust(data, crystals, model, means, robust, unit, _BINS))
        if counts.sum():
            median = 2.0 ** (quantile_of_histogram(counts, 0.5) / 16.0 - 32.0)
            unit = max(median / _MEDIAN_SQUARE, 1.0)
    _robust(data, crystals, model, means, robust, unit, 0)
    data.rows.weight[data.rows.impossible] = 0.0


def _robust(
    data: RankData, crystals: CrystalScales, model: ErrorModel, means: tuple[Float, Float], robust: Robust,
    unit: float, bins: int,
) -> Int:  # fmt: skip
    """Fill the weights; returns counts of z^2 of this rank, (bins,)."""
    rows, counts = data.rows, np.zeros(bins, np.int64)
    shape = robust.flat, robust.soft_limit, robust.zmax, robust.zero_weight_at
    kernels.robust_weights(
        0, rows.n_crystals, rows.arrays(), crystals.arrays(), model.terms, data.shift, *means, unit, shape,
        rows.weight, counts,
    )  # fmt: skip
    return counts


def _same(data: RankData, judged: Judged, old: Float, new: Float, total: Float) -> bool:
    """Whether a round left outliers as they were, and moved no I_h that matters."""
    if judged.n_changed > SAME_ROWS * float(data.counts.sum()):
        return False
    moved = (new - old) ** 2 * total
    return bool((moved <= SAME_INTENSITY**2).all())


def _log(one: Round, n: int) -> None:
    model = one.errors
    linear = f" c {model.c:.3g}" if model.c > 0 else ""
    log.info(
        f"Round {one.number}: {one.turns} turns, rms {np.sqrt(one.cost / max(n, 1)):.4f}, a {model.a:.3f} "
        f"b {model.b:.4f}{linear}, {one.n_outliers} outliers"
    )
