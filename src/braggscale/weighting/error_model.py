"""Errors that agree with the scatter of equivalent observations: V' = a^2 (V + c mu+ + (b mu)^2), mu+ = max(mu, 0).

V is the *expected* variance of an observation (expected_variance.py) and mu = g I_h its expected intensity. Neither
depends on the error of the observation itself, so an intensity that was measured too low gets no extra weight. a
corrects the errors from counting statistics. b describes the instability of beam, sample and detector: I/sigma
never exceeds 1/(a b) (Diederichs, Acta Cryst. D66 (2010) 733). c, in counts, is 0 unless the data need it
(error_model_fit.py). It describes errors that grow with the square root of the intensity for other reasons than
counting statistics, as with dynamical scattering of electrons (SdB of AIMLESS: Evans & Murshudov, Acta Cryst. D69
(2013) 1204).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.errors import CommandError
from braggscale.numerics.array_types import Float, Int

DEFAULT_A, DEFAULT_B = 1.0, 0.02  # DIALS' start
# Changes of a and b that are negligible: a tenth of their usual uncertainty.
SAME = 5e-3
LEAST_ERROR = 1e-9  # relative; no intensity is measured so well


@dataclass(frozen=True, slots=True)
class ErrorModel:
    """V' = a^2 (V + c mu+ + (b mu)^2), mu+ = max(mu, 0); a and b are dimensionless, c is in counts."""

    a: float = DEFAULT_A
    b: float = DEFAULT_B
    c: float = 0.0

    @property
    def terms(self) -> tuple[float, float, float]:
        """a^2, b^2 and c, the arguments of the kernels."""
        return self.a**2, self.b**2, self.c

    def variance(self, expected: Float, mu: Float) -> Float:
        """V'. ``expected``: V, counts^2, ``mu``: g I_h, counts, (n,).  Returns counts^2, (n,)."""
        from braggscale.numerics.compiled.variance import error_model_variances

        result = np.empty(len(mu))
        error_model_variances(0, len(mu), expected, mu, self.terms, result)
        return result

    @property
    def isa(self) -> float:
        """Largest possible I/sigma, 1/(a b), whatever c is; infinite where b is 0 or of no consequence."""
        return 1.0 / (self.a * self.b) if self.a * self.b > LEAST_ERROR else math.inf


@dataclass(frozen=True, slots=True)
class StillLimits:
    """Which observations of stills take part in the fit of an error model.

    ``min_i_sigma``: smallest measured I/sigma; None: any.  ``min_multiplicity``: fewest observations of a reflection.
    """

    min_i_sigma: float | None
    min_multiplicity: int


@dataclass(frozen=True, slots=True)
class ErrorModelOptions:
    """How error models are fitted.

    ``a``, ``b``: fixed values; None: they are fitted.  ``refine`` False: the model in use is kept, and only the
    table of mean z^2 is made.  ``min_photons``: groups with fewer expected photons per observation are left out of
    the fit (DIALS: min_Ih = 25 counts).  ``n_bins``: ranges of intensity in the table. ``stills``: further
    conditions for observations of stills.
    """

    a: float | None = None
    b: float | None = None
    refine: bool = True
    min_photons: float = 0.0
    n_bins: int = 10
    stills: StillLimits | None = None

    def start(self, known: ErrorModel) -> ErrorModel:
        """``known`` with the fixed values of a and b; if one of them is fixed there is no linear term."""
        if self.a is None and self.b is None:
            return known
        return ErrorModel(known.a if self.a is None else self.a, known.b if self.b is None else self.b)


@dataclass(frozen=True, slots=True)
class IntensityRange:
    """A range of expected intensity, ``low`` < g I_h <= ``high``, counts.

    ``n``: number of rows.  ``uncorrected``, ``corrected``: mean z^2 with a = 1, b = c = 0, and with the fitted model.
    """

    low: float
    high: float
    n: int
    uncorrected: float
    corrected: float


@dataclass(frozen=True, slots=True)
class FitResult:
    """A fitted error model and details of the fit.

    ``reason``: why it is not the two-parameter fit, empty if it is.  ``rounds``: iterations.  ``ranges``: the table of
    mean z^2.
    ``n_used``: rows in the fit, ``n_trimmed``: rows among the candidates beyond 4 sigma, left out.
    ``esd_a``, ``esd_b``, ``esd_c``: standard uncertainties, NaN where a parameter was not refined.
    ``linear_gain``: increase of 2 ln L by the term linear in mu, for the same rows; NaN if it was not tried.
    """

    model: ErrorModel
    n_used: int
    n_trimmed: int
    rounds: int
    converged: bool
    esd_a: float
    esd_b: float
    ranges: tuple[IntensityRange, ...]
    reason: str = ""
    esd_c: float = math.nan
    linear_gain: float = math.nan


def starting_models(
    n: int, known: Sequence[ErrorModel] | None, options: ErrorModelOptions | None
) -> tuple[ErrorModel, ...]:
    """The ``n`` starting error models.

    V' = V if ``options`` is None; else ``known`` (of an earlier run) or the usual start, with fixed values of a and b.
    """
    if options is None:
        return (ErrorModel(1.0, 0.0),) * n
    return tuple(options.start(model) for model in known or (ErrorModel(),) * n)


def nearly_equal(old: Sequence[ErrorModel], new: Sequence[ErrorModel]) -> bool:
    """Whether no a, b or c has changed by more than a tenth of its usual uncertainty."""
    return all(
        abs(one.a - other.a) <= SAME * one.a
        and abs(one.b - other.b) <= SAME * max(one.b, 0.01)
        and abs(one.c - other.c) <= 4 * SAME * one.c
        for one, other in zip(old, new, strict=True)
    )


def assign(grouping: str, n_sets: int, sweeps: Sequence[Sequence[int]] = ()) -> Int:
    """Number of the error model of each data set, (n_sets,).

    ``grouping``: combined (one for all), individual (one each), grouped: each entry of ``sweeps`` lists data sets by
    their number, counted from 1, or from 0 if a 0 occurs anywhere; those not named share one more model; without any
    entry as combined (DIALS behaviour).
    Raises CommandError for a number that no data set has or that is named twice.
    """
    if grouping == "individual":
        return np.arange(n_sets)
    if grouping != "grouped" or not sweeps:
        return np.zeros(n_sets, np.int64)
    first = 0 if any(k == 0 for one in sweeps for k in one) else 1
    result = np.full(n_sets, -1, np.int64)
    for number, one in enumerate(sweeps):
        for k in one:
            if not 0 <= k - first < n_sets:
                raise CommandError(
                    f"error_model_group: no data set {k}; they are numbered {first} to {n_sets - 1 + first}"
                )
            if result[k - first] >= 0 and result[k - first] != number:
                raise CommandError(f"error_model_group: data set {k} is named in two groups; leave it in one of them")
            result[k - first] = number
    result[result < 0] = len(sweeps)
    _, compact = np.unique(result, return_inverse=True)
    return compact.astype(np.int64)
