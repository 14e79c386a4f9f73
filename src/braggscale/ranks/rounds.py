"""Rounds of scaling over ranks: scales, error model and outliers, until nothing changes; as scaling/rounds.py."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import crystal_passes as kernels
from braggscale.ranks.crystal_rows import CrystalScales
from braggscale.ranks.errors import fit_errors
from braggscale.ranks.means import RankData, expected, mean_sums, with_gain
from braggscale.ranks.outliers import Judged, judge, mates_apart
from braggscale.ranks.plan import RanksPlan
from braggscale.ranks.sample import quantile_of_histogram
from braggscale.ranks.scales import FINAL_CHANGE, ROUND_CHANGE, Strengths, fit, fit_detector, starting_scales
from braggscale.scaling.rounds import (
    FRESH_ROUNDS,
    MIN_PHOTONS,
    MOST_ROUNDS,
    RETURNING_ROUNDS,
    SAME_VERDICTS,
    hardly_moved,
)
from braggscale.weighting.error_model import ErrorModel, ErrorModelOptions, FitResult, nearly_equal, starting_models
from braggscale.weighting.robust_weights import Robust

log = logging.getLogger(__name__)

LAST_TURNS = 4  # of scales and map of the detector, in the last fit
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

    ``mean``: I_h, by place, (2 n_reflections,).  ``covariance``: of k and b, kk, kb, bb, (n_crystals, 3).
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
    apart = data.apart
    _weights(data, crystals, model, apart, robust, first=True)
    calibrated = plan.estimated and plan.errors is not None and plan.errors.refine
    rounds: list[Round] = []
    errors: FitResult | None = None
    judged, converged = Judged(0, 0, 0, np.zeros(2 * len(apart), np.bool_)), False
    for number in range(1, MOST_ROUNDS + 1):
        begin, before, old = perf_counter(), mean, model
        fitted = fit(data, crystals, strengths, apart, number > 1, ROUND_CHANGE)
        crystals, strengths = fitted.crystals, fitted.strengths
        fit_detector(data, crystals, apart, plan.estimated and number > 1)
        mean, total = expected(data, crystals, model)
        if plan.errors is not None:
            errors = fit_errors(data, crystals, mean, model, plan.errors)
            model = errors.model
        if plan.outliers.method:
            fresh = number <= FRESH_ROUNDS
            test = model if plan.errors is not None else _calibrated(data, crystals, mean)
            judged = judge(data, crystals, test, plan.outliers, fresh, number <= RETURNING_ROUNDS, calibrated)
        if number == 1 and plan.estimated:
            apart = mates_apart(data, crystals, model)
        mean, total = expected(data, crystals, model)
        rounds.append(
            Round(number, fitted.turns, fitted.cost, model, judged.n_out, judged.n_changed, perf_counter() - begin)
        )
        _log(rounds[-1], int(data.counts.sum()))
        _weights(data, crystals, model, apart, robust)
        converged = number > 1 and nearly_equal((old,), (model,)) and _same(data, judged, before, mean, total)
        if converged:
            break
    fitted = fit(data, crystals, strengths, apart, True, FINAL_CHANGE)
    crystals, strengths = fitted.crystals, fitted.strengths
    for _ in range(LAST_TURNS):
        if fit_detector(data, crystals, apart, plan.estimated) < ROUND_CHANGE:
            break
        fitted = fit(data, crystals, strengths, apart, True, FINAL_CHANGE)
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


def _calibrated(data: RankData, crystals: CrystalScales, mean: Float) -> ErrorModel:
    """An error model for the outlier test alone, where the user wants none."""
    return fit_errors(data, crystals, mean, ErrorModel(), ErrorModelOptions(min_photons=MIN_PHOTONS)).model


def _weights(
    data: RankData,
    crystals: CrystalScales,
    model: ErrorModel,
    apart: Bool,
    robust: Robust,
    first: bool = False,
) -> None:
    """Fill the weights of the next fit; ``first``: z in units of its typical size (robust_weights.fit_weights).

    ``apart``: reflections whose Friedel mates are two in the fit, (n_reflections,).
    """
    mean = expected(data, crystals, model, apart)[0]
    # V' at these means
    total = mean_sums(data, crystals, model, kernels.EXPECTED, mean, apart, "expected")[:, 1].copy()
    unit, means = 1.0, (mean, total)
    if first:
        counts = data.ranks.allreduce(_robust(data, crystals, model, apart, means, robust, unit, _BINS))
        if counts.sum():
            median = 2.0 ** (quantile_of_histogram(counts, 0.5) / 16.0 - 32.0)
            unit = max(median / _MEDIAN_SQUARE, 1.0)
    _robust(data, crystals, model, apart, means, robust, unit, 0)
    data.rows.weight[data.rows.impossible] = 0.0


def _robust(
    data: RankData, crystals: CrystalScales, model: ErrorModel, apart: Bool, means: tuple[Float, Float],
    robust: Robust, unit: float, bins: int,
) -> Int:  # fmt: skip
    """Fill the weights; returns counts of z^2 of this rank, (bins,).

    ``means``: I_h and sum g^2/V' of the groups of ``apart``, by place.
    """
    rows, counts = data.rows, np.zeros(bins, np.int64)
    shape = robust.flat, robust.soft_limit, robust.zmax, robust.zero_weight_at
    kernels.robust_weights(
        0, rows.n_crystals, rows.arrays(), crystals.arrays(), model.terms, apart, *means, unit, shape,
        rows.weight, counts,
    )  # fmt: skip
    return counts


def _same(data: RankData, judged: Judged, old: Float, new: Float, total: Float) -> bool:
    """Whether a round left outliers as they were, and moved no I_h that matters."""
    if judged.n_changed > SAME_VERDICTS * float(data.counts.sum()):
        return False
    counted = (data.counts > 0) & ~judged.changed
    return hardly_moved(((new - old) ** 2 * total)[counted])


def _log(one: Round, n: int) -> None:
    model = one.errors
    linear = f" c {model.c:.3g}" if model.c > 0 else ""
    log.info(
        f"Round {one.number}: {one.turns} turns, rms {np.sqrt(one.cost / max(n, 1)):.4f}, a {model.a:.3f} "
        f"b {model.b:.4f}{linear}, {one.n_outliers} outliers"
    )
