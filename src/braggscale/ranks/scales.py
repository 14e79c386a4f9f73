"""The scales of all crystals: k and b of g = k exp(b s), s = 1/(2 d^2), with intensities eliminated.

    F = sum w (I - g I_h)^2 + restraints,      I_h = sum w g I / sum w g^2

Given I_h each crystal has two unknowns of its own; given the scales, I_h are sums over all ranks. The two are found in
turns. That converges at the rate at which one crystal contributes to the intensities that it is compared with: a few
per cent where reflections have been measured dozens of times. Where they have not, the turns are mixed as by Anderson
(J. ACM 12 (1965) 547): the combination of the last points whose changes cancel best comes next.

Restraints and how their strengths follow from the data: fit/restraint_strengths.py; the gauge: models/gauge.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from braggscale.models.kb import DECAY_RIDGE, SCALE_RIDGE
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import crystal_passes as kernels
from braggscale.ranks.crystal_rows import CrystalScales
from braggscale.ranks.detector import fit_map
from braggscale.ranks.exact_sums import Sums
from braggscale.ranks.means import RankData, mean_sums, ratio
from braggscale.weighting.error_model import ErrorModel

MOST_TURNS, START_TURNS, WILSON_TURNS = 60, 10, 3
# Mean square change of a parameter, in units of its variance, that counts as none: in a round, and in the last fit.
ROUND_CHANGE, FINAL_CHANGE = 1e-4, 1e-7
DEPTH = 3  # earlier points that are combined
# Largest change of a scale, as a factor, and of B, Angstrom^2, in one turn.
MOST_FACTOR, MOST_B = 2.0, 20.0
SHELLS = 10
WAY = 0.5  # part of the way, in its logarithm, that a strength goes in a turn


@dataclass(frozen=True, slots=True)
class Strengths:
    """Of the restraints of k and of B: one over the variance that they are expected to have.

    ``estimated``: whether the data decide; then crystals are restrained to their mean, else to ``around``.
    ``around``: scales of the start, (n_crystals of this rank,).
    """

    scale: float
    decay: float
    estimated: bool
    around: Float

    @classmethod
    def first(cls, estimated: bool, around: Float) -> Strengths:
        """Where they start.  ``around``: scales of the start, (n_crystals,)."""
        return cls(SCALE_RIDGE, DECAY_RIDGE, estimated, around)


@dataclass(frozen=True, slots=True)
class Fitted:
    """``covariance``: of k and b of each crystal: kk, kb, bb, (n_crystals, 3).  ``cost``: sum w r^2 of all ranks.

    ``turns``: how many it took.  ``change``: mean square change of a parameter in the last one, in its variances.
    """

    crystals: CrystalScales
    strengths: Strengths
    covariance: Float
    cost: float
    turns: int
    change: float


def starting_scales(data: RankData, crystals: CrystalScales) -> CrystalScales:
    """Scales by mean intensities in shells of resolution, then by common reflections; B = 0.

    Fills the weights of the rows: 1/V.
    """
    rows = data.rows
    np.divide(1.0, rows.variance, out=rows.weight, casting="same_kind")
    shell, counts = _shells(data)
    for turn in range(WILSON_TURNS + START_TURNS):
        if turn < WILSON_TURNS:
            nothing = np.zeros(len(shell))
            sums = mean_sums(data, crystals, ErrorModel(1.0, 0.0), kernels.EQUAL, nothing, data.apart, "equal")
            total = np.bincount(shell, sums[:, 0], SHELLS)
            mean = np.maximum(total / np.maximum(counts, 1.0), 0.0)[shell]
        else:
            sums = _fit_sums(data, crystals, data.apart)
            mean = ratio(sums)
        blocks = _blocks(data, crystals, mean, np.ascontiguousarray(sums[:, 1]), data.apart)
        above = blocks[:, 0] + crystals.k * blocks[:, 2]  # sum w I m
        good = (above > 0) & (blocks[:, 2] > 0)
        k = np.where(good, np.divide(above, blocks[:, 2], out=np.ones(len(good)), where=good), crystals.k)
        change = data.over_crystals(np.log(k / crystals.k)[:, None] ** 2)[0] / data.n_crystals
        crystals = crystals.with_scales(k, crystals.b)
        if turn > WILSON_TURNS and change < 1e-6:
            break
    return _on_gauge(data, crystals, np.ones(rows.n_crystals))


def _shells(data: RankData) -> tuple[Int, Float]:
    """Shell of each group, by place, with about as many rows in each, and the rows of each shell."""
    counts = data.counts
    shell = shells_of(np.repeat(data.s, 2), counts)
    return shell, np.bincount(shell, counts, SHELLS).astype(np.float64)


def fit(
    data: RankData, crystals: CrystalScales, strengths: Strengths, apart: Bool, estimate: bool, most_change: float
) -> Fitted:
    """Minimise F with the weights of the rows.  ``estimate``: whether strengths move.

    ``apart``: reflections whose Friedel mates are fitted as two, (n_reflections,).  ``most_change``: as
    ``ROUND_CHANGE``.
    """
    history: list[tuple[Float, Float]] = []
    turns, change = 0, np.inf
    for _ in range(MOST_TURNS):
        turns += 1
        sums = _fit_sums(data, crystals, apart)
        blocks = _blocks(data, crystals, ratio(sums), np.ascontiguousarray(sums[:, 1]), apart)
        pull, target = _pull(data, crystals, strengths)
        step, covariance = _steps(crystals, blocks, pull, target)
        before, n = crystals, blocks[:, 6]
        point = np.stack((np.log(before.k), before.b), axis=1)
        new = _limited(point, step, before.k)
        # where the turn leads, with the mean scale 1: restraints around fixed values pull all crystals a little
        after = _on_gauge(data, before.with_scales(np.exp(new[:, 0]), new[:, 1]), n)
        size = _size(np.stack((after.k - before.k, after.b - before.b), axis=1), blocks, pull)
        change = float(data.over_crystals(size[:, None])[0]) / (2 * data.n_crystals)
        if change < most_change:
            break
        history = [*history[-DEPTH:], (point, np.stack((np.log(after.k), after.b), axis=1))]
        new = _mixed(data, history)
        crystals = _on_gauge(data, before.with_scales(np.exp(new[:, 0]), new[:, 1]), n)
        if strengths.estimated and estimate:
            moved = _estimated(data, crystals, strengths, covariance)
            if abs(np.log(moved.scale / strengths.scale)) + abs(np.log(moved.decay / strengths.decay)) > 0.05:
                history = []  # another function is minimised now
            strengths = moved
    cost = float(data.over_crystals(blocks[:, 5:6])[0])
    return Fitted(crystals, strengths, covariance, cost, turns, change)


def fit_detector(data: RankData, crystals: CrystalScales, apart: Bool, estimate: bool) -> float:
    """One step of the map of the detector; its mean square change in units of variances, 0 without a map.

    ``apart``: as in ``fit``, (n_reflections,).  ``estimate``: whether strengths move.
    """
    if data.detector is None:
        return 0.0
    sums = _fit_sums(data, crystals, apart)
    means = ratio(sums), np.ascontiguousarray(sums[:, 1]), apart
    n = int(data.reflections.counts.sum())
    change = fit_map(data.ranks, data.sums, data.rows, crystals, data.detector, means, n, estimate)
    data.sample.refresh(data.ranks, data.rows)
    return change


def shells_of(s: Float, counts: Int) -> Int:
    """Shell of resolution of each reflection, (n,), with about as many rows in each.

    ``s``: 1/(2 d^2), ``counts``: rows, of each, (n,).
    """
    order = np.argsort(s, kind="stable")
    below = np.cumsum(counts[order])
    shell = np.empty(len(s), np.int64)
    shell[order] = np.minimum((below - 1).clip(0) * SHELLS // max(int(below[-1]), 1), SHELLS - 1)
    return shell


def _fit_sums(data: RankData, crystals: CrystalScales, apart: Bool) -> Float:
    def add(sums: Sums) -> None:
        """Add the sums of the rows of this rank."""
        kernels.fit_sums(0, data.rows.n_crystals, data.rows.arrays(), crystals.arrays(), apart, data.rows.weight, sums)

    return data.sums.collect("fit", data.reflections.counts_by_place(apart), 2, add)


def _blocks(data: RankData, crystals: CrystalScales, mean: Float, total: Float, apart: Bool) -> Float:
    """See ``crystal_passes.normal_blocks``, (n_crystals, 10).  ``mean``, ``total``: by place, (2 n_reflections,)."""
    found = np.empty((data.rows.n_crystals, 10))
    arrays, of_crystals = data.rows.arrays(), crystals.arrays()

    def blocks_of(first: int, last: int) -> None:
        """Blocks of the crystals from ``first`` to ``last``."""
        kernels.normal_blocks(first, last, arrays, of_crystals, apart, data.rows.weight, mean, total, found)

    data.rows.in_threads(blocks_of)
    return found


def _pull(data: RankData, crystals: CrystalScales, strengths: Strengths) -> tuple[Float, Float]:
    """Strength of the restraint of k and b, and what they are restrained to, (n_crystals, 2) each."""
    n = data.rows.n_crystals
    if not strengths.estimated:
        around = strengths.around
        pull = np.stack((strengths.scale / around**2, np.full(n, strengths.decay)), axis=1)
        return pull, np.stack((around, np.zeros(n)), axis=1)
    found = data.over_crystals(np.stack((crystals.k, crystals.b, crystals.k**2), axis=1)) / data.n_crystals
    pull = np.tile([strengths.scale / found[0] ** 2, strengths.decay], (n, 1))
    # where the derivative of sum (k/mean - 1)^2 vanishes: no common factor changes that sum
    return pull, np.tile([found[2] / found[0], found[1]], (n, 1))


def _steps(crystals: CrystalScales, blocks: Float, pull: Float, target: Float) -> tuple[Float, Float]:
    """The step of k and b of each crystal, (n, 2), and the covariance kk, kb, bb, (n, 3).

    The step is that for given I_h. The covariance is that of the crystal's own block of the normal matrix with the I_h
    eliminated, as in fit/matrix_free.py.
    """
    slope_k = blocks[:, 0] - pull[:, 0] * (crystals.k - target[:, 0])
    slope_b = blocks[:, 1] - pull[:, 1] * (crystals.b - target[:, 1])
    inverse = _inverse(blocks[:, 2:5], pull)
    step_k = inverse[:, 0] * slope_k + inverse[:, 1] * slope_b
    step_b = inverse[:, 1] * slope_k + inverse[:, 2] * slope_b
    return np.stack((step_k, step_b), axis=1), _inverse(blocks[:, 7:10], pull)


def _inverse(matrix: Float, pull: Float) -> Float:
    """Inverses of 2 x 2 matrices with a diagonal added, kk, kb, bb, (n, 3).

    ``matrix``: kk, kb, bb, (n, 3).  ``pull``: the diagonal, (n, 2).
    """
    kk, kb, bb = matrix[:, 0] + pull[:, 0], matrix[:, 1], matrix[:, 2] + pull[:, 1]
    found: Float = np.stack((bb, -kb, kk), axis=1) / (kk * bb - kb * kb)[:, None]
    return found


def _size(step: Float, blocks: Float, pull: Float) -> Float:
    """step' N step of each crystal: squares of the changes in units of their variances, (n,)."""
    kk, kb, bb = blocks[:, 2] + pull[:, 0], blocks[:, 3], blocks[:, 4] + pull[:, 1]
    size: Float = kk * step[:, 0] ** 2 + 2.0 * kb * step[:, 0] * step[:, 1] + bb * step[:, 1] ** 2
    return size


def _limited(point: Float, step: Float, k: Float) -> Float:
    """ln k and b after a step that is not too long.  ``point``: ln k and b, (n, 2)."""
    factor = np.clip(1.0 + step[:, 0] / k, 1.0 / MOST_FACTOR, MOST_FACTOR)
    new = point.copy()
    new[:, 0] += np.log(factor)
    new[:, 1] += np.clip(step[:, 1], -MOST_B, MOST_B)
    return new


def _mixed(data: RankData, history: list[tuple[Float, Float]]) -> Float:
    """The next point, (n, 2): the combination of the last turns whose changes cancel best.

    ``history``: points, and where a turn led from there.  ln k and b count in units of their spread over the crystals.
    """
    point, new = history[-1]
    if len(history) < 2:
        return new
    changes = [end - begin for begin, end in history]
    spread = np.sqrt(data.over_crystals(changes[-1] ** 2) / data.n_crystals)
    unit = np.where(spread > 0, spread, 1.0)
    differences = [(changes[-1] - before) / unit for before in changes[:-1]]
    last = changes[-1] / unit
    m = len(differences)
    products = [(differences[i] * differences[j]).sum(axis=1) for i in range(m) for j in range(i, m)]
    products += [(one * last).sum(axis=1) for one in differences]
    found = data.over_crystals(np.stack(products, axis=1))
    normal = np.zeros((m, m))
    normal[np.triu_indices(m)] = found[: m * (m + 1) // 2]
    normal = normal + np.triu(normal, 1).T
    if not normal.diagonal().min() > 0:
        return new
    weights = np.linalg.lstsq(normal, found[m * (m + 1) // 2 :], rcond=1e-8)[0]
    if not np.isfinite(weights).all() or np.abs(weights).sum() > 10.0:
        return new
    mixed = new.copy()
    for weight, (_, end) in zip(weights.tolist(), history[:-1], strict=True):
        mixed -= weight * (new - end)
    return mixed


def _on_gauge(data: RankData, crystals: CrystalScales, n: Float) -> CrystalScales:
    """The mean scale is 1, and the mean B of all observations 0.

    ``n``: number of observations of each crystal, (n_crystals,).
    """
    total = data.over_crystals(np.stack((n, n * crystals.b), axis=1))
    b = crystals.b - (total[1] / total[0] if total[0] > 0 else 0.0)
    mean = data.over_crystals(crystals.k[:, None])[0] / data.n_crystals
    return crystals.with_scales(crystals.k / mean, b)


def _estimated(data: RankData, crystals: CrystalScales, strengths: Strengths, covariance: Float) -> Strengths:
    """One Fellner-Schall step of both strengths (fit/restraint_strengths.py), in logarithms a part of the way.

    The traces are of the crystals' own blocks: each contributes little to the intensities that it is compared with.
    """
    n = data.n_crystals
    mean = data.over_crystals(np.stack((crystals.k, crystals.b), axis=1)) / n
    unit = mean[0]
    found = data.over_crystals(
        np.stack(
            (
                ((crystals.k - mean[0]) / unit) ** 2,
                (crystals.b - mean[1]) ** 2,
                covariance[:, 0] / unit**2,
                covariance[:, 2],
            ),
            axis=1,
        )
    )
    new = []
    for old, size, trace in ((strengths.scale, found[0], found[2]), (strengths.decay, found[1], found[3])):
        free = max(n - 1 - old * trace * (n - 1) / n, 1e-3)
        wanted = free / size if size > 0 else old
        new.append(float(old * np.clip(wanted / old, 0.1, 10.0) ** WAY))
    return replace(strengths, scale=new[0], decay=new[1])
