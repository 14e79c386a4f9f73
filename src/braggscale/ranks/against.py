"""Crystals over ranks that are each scaled against a reference by itself, as if there were no other one.

The rules are those of scaling/one_by_one.py: I_h are those of the reference, and k, B, errors and outliers of a crystal
follow from its own observations. Nothing travels between ranks but what is merged. A crystal gets the same scale
whatever else there is, so a file can be scaled when it arrives.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.reference import place_reference
from braggscale.data.symmetry import Symmetry
from braggscale.errors import DataError
from braggscale.io.reference_file import read_reference
from braggscale.io.reference_model import ModelRequest
from braggscale.models.kb import DECAY_RIDGE, SCALE_RIDGE
from braggscale.numerics.array_types import Float
from braggscale.numerics.compiled import crystal_reference as kernels
from braggscale.ranks.agreement import together
from braggscale.ranks.crystal_rows import CrystalScales
from braggscale.ranks.means import RankData, expected
from braggscale.ranks.outliers import Judged
from braggscale.ranks.packing import packed
from braggscale.ranks.plan import RanksPlan, ReferenceRequest
from braggscale.ranks.rounds import RanksScaled
from braggscale.ranks.scales import Strengths
from braggscale.scaling.reference import FEWEST, IN_SHELL, MOST_SHELLS
from braggscale.weighting.error_model import DEFAULT_B, ErrorModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KnownIntensities:
    """Reference intensities.

    ``value``: I_h by place, NaN where it is not known, (2 n_reflections,).  ``level``: their mean at the resolution of
    each reflection, (n_reflections,).
    """

    value: Float
    level: Float


def known_intensities(
    data: RankData, asked: ReferenceRequest, symmetry: Symmetry, cell: UnitCell, wavelength: float
) -> KnownIntensities:
    """The reference that the options name, at the reflections of all ranks.

    Raises, on all ranks, what ``read_reference`` and ``place_reference`` raise, and DataError where too few reflections
    are common.
    """
    d_min = asked.d_min or float(1.0 / np.sqrt(2.0 * data.s.max()))
    request = ModelRequest(d_min, wavelength, asked.k_sol, asked.b_sol)
    reference = together(data.ranks, lambda: read_reference(asked.paths, request))
    placed = together(data.ranks, lambda: place_reference(reference, symmetry, cell))
    table = data.reflections.index
    index = packed(placed.asu, placed.minus)
    at = np.minimum(np.searchsorted(table, index >> 1), len(table) - 1)
    seen = table[at] == index >> 1
    number = 2 * at[seen] + (index[seen] & 1)
    total, n = (np.bincount(number, w, 2 * len(table)).astype(np.float64) for w in (placed.intensity[seen], None))
    of_both, n_both = total.reshape(-1, 2).sum(axis=1), n.reshape(-1, 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, each = of_both / n_both, total / n
    value = np.where(np.repeat(data.apart & placed.apart, 2), each, np.repeat(mean, 2))
    known = np.isfinite(mean)
    if np.count_nonzero(known) < FEWEST:
        raise DataError(
            f"the reference has {np.count_nonzero(known)} reflections in common with the data, at least {FEWEST} are "
            "needed; is it of the same crystal form, and indexed alike?"
        )
    log.info(f"Reference {reference.source}: {reference.what}; {np.count_nonzero(known)} of them are measured here")
    return KnownIntensities(value, _levels(data.s, np.where(known, mean, 0.0), known))


def _levels(s: Float, mean: Float, known: np.ndarray) -> Float:
    """Mean reference intensity in the shell of each reflection, (n,).

    ``s``: 1/(2 d^2), ``mean``: reference, ``known``: whether there is one, (n,) each.
    """
    n = int(np.clip(np.count_nonzero(known) // IN_SHELL, 1, MOST_SHELLS))
    limits = np.quantile(s[known], np.linspace(0, 1, n + 1)[1:-1]) if n > 1 else np.zeros(0)
    shell = np.searchsorted(limits, s, side="right")
    total = np.bincount(shell[known], np.maximum(mean[known], 0.0), n)
    level = total / np.maximum(np.bincount(shell[known], minlength=n), 1)
    return np.asarray(np.maximum(level, 1e-300)[shell])


def scale_alone(data: RankData, plan: RanksPlan, known: KnownIntensities) -> RanksScaled:
    """Scales, errors and outliers of each crystal by itself."""
    rows, errors = data.rows, plan.errors
    b = DEFAULT_B if errors is None or errors.b is None else errors.b
    zmax = plan.outliers.zmax if plan.outliers.method else 0.0
    found = np.empty((rows.n_crystals, kernels.N_FOUND))

    def crystals_of(first: int, last: int) -> None:
        """Scales of the crystals from ``first`` to ``last``."""
        kernels.scale_alone(
            first, last, rows.arrays(), data.apart, known.value, known.level, b * b, zmax, errors is not None,
            (SCALE_RIDGE, DECAY_RIDGE), found,
        )  # fmt: skip

    rows.in_threads(crystals_of)
    rows.lost[:] |= found[:, 6] == 0
    rows.leave_out_lost()
    n = rows.n_crystals
    k, b_factor, factor = (np.ascontiguousarray(found[:, column]) for column in range(3))
    crystals = CrystalScales(k, b_factor, np.zeros(n), np.zeros(n), factor)
    model = ErrorModel(1.0, b)
    judged = Judged(0, 0, 0, np.zeros(len(known.value), np.bool_))
    strengths = Strengths.first(False, np.ones(n))
    mean = np.nan_to_num(known.value)
    covariance = np.ascontiguousarray(found[:, 3:6])
    _log_agreement(data, crystals, model, known, found)
    return RanksScaled(crystals, mean, covariance, model, None, strengths, (), judged.n_impossible, True)


def _log_agreement(
    data: RankData, crystals: CrystalScales, model: ErrorModel, known: KnownIntensities, found: Float
) -> None:
    """How merged intensities compare with the reference, and a of the crystals."""
    merged, total = expected(data, crystals, model)
    both = (total > 0) & np.isfinite(known.value)
    cc = float(np.corrcoef(merged[both], known.value[both])[0, 1])
    r = float(np.abs(merged - known.value)[both].sum() / np.abs(merged[both]).sum())
    a = np.sort(np.concatenate(data.ranks.allgather(np.sqrt(found[~data.rows.lost, 2]))))
    log.info(
        f"Each data set by itself against the reference: CC {cc:.4f}, R {r:.4f} of {np.count_nonzero(both)} merged "
        f"intensities; a of the data sets {a.min():.2f} to {a.max():.2f}, median {np.median(a):.2f}"
    )
