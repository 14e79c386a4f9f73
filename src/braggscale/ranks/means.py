"""Expected intensities of unique reflections from the rows of all ranks, and the counting gain of the crystals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import crystal_passes as kernels
from braggscale.ranks.communicator import Communicator
from braggscale.ranks.crystal_rows import CrystalRows, CrystalScales
from braggscale.ranks.detector import DetectorMap
from braggscale.ranks.exact_sums import ExactSums, Sums
from braggscale.ranks.reflections import Reflections
from braggscale.ranks.sample import Sample
from braggscale.weighting.counting_gain import FEWEST_ROWS, counting_line
from braggscale.weighting.error_model import ErrorModel


@dataclass(frozen=True, slots=True)
class RankData:
    """What stays the same on a rank.

    ``n_crystals``: of all ranks.  ``apart``: whether Friedel mates are two groups, (n_reflections,).
    ``s``: mean 1/(2 d^2) of the rows of a reflection, 1/Angstrom^2, (n_reflections,).
    ``detector``: its response, by which ``rows`` and ``sample`` are divided, None without a map.
    """

    ranks: Communicator
    sums: ExactSums
    rows: CrystalRows
    reflections: Reflections
    n_crystals: int
    apart: Bool
    s: Float
    sample: Sample
    detector: DetectorMap | None = None

    @property
    def counts(self) -> Int:
        """Rows of each group in all ranks, by place, (2 n_reflections,)."""
        return self.reflections.counts_by_place(self.apart)

    def over_crystals(self, values: Float) -> Float:
        """Sums of the columns over the crystals of all ranks, (m,).  ``values``: (n_crystals of this rank, m)."""
        return self.sums.over_crystals(values, self.n_crystals)


def ratio(sums: Float) -> Float:
    """I_h = sum w g I / sum w g^2, 0 where nothing weighs, (n,).  ``sums``: (n, 2)."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] > 0)


def mean_sums(
    data: RankData, crystals: CrystalScales, errors: ErrorModel, mode: int, mean: Float, apart: Bool, kind: str,
    tested: Bool | None = None,
) -> Float:  # fmt: skip
    """sum w g I and sum w g^2 of rows that are in, by place, (2 n_reflections, 2).

    ``mode``: weights, see the kernel.  ``mean``: I_h of the mean before, by place,
    (2 n_reflections,).  ``apart``: as in ``RankData``, (n_reflections,).
    ``kind``: of the sums, for ``ExactSums.collect``.  ``tested``: groups whose rows count, by place,
    (2 n_reflections,), None for all.
    """
    counted = np.ones(len(mean), np.bool_) if tested is None else tested

    def add(sums: Sums) -> None:
        """Add the sums of the rows of this rank."""
        kernels.mean_sums(
            0,
            data.rows.n_crystals,
            data.rows.arrays(),
            crystals.arrays(),
            errors.terms,
            apart,
            mode,
            mean,
            counted,
            sums,
        )

    # other groups have other sums
    return data.sums.collect(f"{kind} {np.count_nonzero(apart)}", data.reflections.counts_by_place(apart), 2, add)


def expected(
    data: RankData, crystals: CrystalScales, errors: ErrorModel, apart: Bool | None = None, tested: Bool | None = None
) -> tuple[Float, Float]:
    """I_h of rows that are in, with weights 1/V, then 1/V', and sum g^2/V' of these, as ``expected_variance.expect``.

    ``apart``: as in ``RankData``, (n_reflections,), None for those.  ``tested``: groups whose rows count, by place,
    (2 n_reflections,), None for all.  Returns both by place, (2 n_reflections,).
    """
    apart = data.apart if apart is None else apart
    none = np.zeros(2 * len(apart))
    mean = ratio(mean_sums(data, crystals, errors, kernels.OBSERVED, none, apart, "observed", tested))
    sums = mean_sums(data, crystals, errors, kernels.EXPECTED, mean, apart, "expected", tested)
    return ratio(sums), np.ascontiguousarray(sums[:, 1])


def with_gain(data: RankData, crystals: CrystalScales) -> CrystalScales:
    """The crystals with the gain and floor of their counting variances; those with few rows share one.

    As ``counting_gain.counting_gain``, with the common line through a sample of rows.
    """
    rows, sample = data.rows, data.sample
    few = np.diff(rows.starts) < FEWEST_ROWS
    mine = sample.row[few[sample.crystal]]
    k, floor, _ = counting_line(*(np.concatenate(data.ranks.allgather(part)) for part in _raw(rows, mine)))
    gain, least = np.full(len(few), k), np.full(len(few), floor)
    for c in np.flatnonzero(~few).tolist():
        gain[c], least[c], _ = counting_line(*_raw(rows, np.arange(rows.starts[c], rows.starts[c + 1])))
    return replace(crystals, gain=gain, floor=least)


def _raw(rows: CrystalRows, chosen: Int) -> tuple[Float, Float, Float]:
    """Raw intensity, its counting variance, and d of some rows, (k,) each."""
    intensity, variance = rows.intensity[chosen], rows.variance[chosen]
    if len(rows.relative):
        relative = rows.relative[chosen].astype(np.float64)
        variance = np.maximum(variance - relative * intensity**2, 1e-12 * variance)
    factor = rows.factor[chosen].astype(np.float64)
    return intensity / factor, variance / factor**2, 1.0 / np.sqrt(2.0 * rows.s[chosen].astype(np.float64))
