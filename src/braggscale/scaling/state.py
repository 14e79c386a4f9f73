"""Data of the rounds of scaling: the constant part, the part that each round changes, and its report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from braggscale.data.observations import Observations
from braggscale.data.unique_reflections import Groups
from braggscale.fit.component_summaries import ComponentSummary
from braggscale.fit.fit_scales import Outcome
from braggscale.fit.solver import FitSettings
from braggscale.models.joint_model import JointModel
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.weighting.counting_gain import CountingGain
from braggscale.weighting.error_model import ErrorModel, ErrorModelOptions, FitResult
from braggscale.weighting.intensity_choice import Choice, Intensities
from braggscale.weighting.outlier_test import OutlierOptions, Rejection
from braggscale.weighting.profile_mixture import Profiles
from braggscale.weighting.profile_summary import ProfileFinding

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScalingProblem:
    """The constant part. Rows are in the order of ``groups``; in ``friedel_split`` Friedel mates are apart.

    ``groups``: of observations that should agree in the fit of the scales and in the outlier test.
    ``selected``: rows that may take part in the fit of the scales, (n,).  ``epsilon``: of each row, (n,).
    ``error_model_of``: number of the error model of each data set, (n_data_sets,).
    ``fixed``: parameters that keep their values, (n_parameters,).
    ``still``: marks data sets that are stills, (n_data_sets,); None where it does not matter.
    """

    rows: Observations
    groups: Groups
    friedel_split: Groups
    epsilon: Float
    model: JointModel
    selected: Bool
    fixed: Bool
    error_model_of: Int
    still: Bool | None = None

    @property
    def n_error_models(self) -> int:
        """Number of error models."""
        return int(self.error_model_of.max()) + 1


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """Values of the options for the rounds; see the guide.

    ``errors`` None: V' = V.
    """

    intensity_choice: str
    midpoints: list[float] | None
    errors: ErrorModelOptions | None
    outliers: OutlierOptions
    fit: FitSettings


@dataclass(frozen=True, slots=True)
class State:
    """The state of the loop. Arrays are (n,) over all usable rows.

    ``scale``: g.  ``values``: chosen intensities with observed variances.  ``gain``: relation of these to counts.
    ``mean_intensity``: I_h, (n_groups,).  ``variance``: V' at mu = g I_h.
    ``errors``: one per number in ScalingProblem.error_model_of.
    ``i_mid``: intensity choice (0 profile, 1 summation, -1 by expected error).  ``rejected``: outliers.
    ``returned``: observations that were outliers in an earlier round and came back.
    ``impossible``: outliers because of their size alone (emax) or their place.  ``shadowed``: those of them that
    are in a shadow of the detector. ``fit_groups``: groups in which observations should agree when scales are
    fitted; ``fit_groups_known``: whether these are final, because it is known how much Friedel mates differ.
    ``strengths``: of restraints that are estimated, by kind.
    ``profiles``: profiles on the scale of the sums, where both are combined.
    """

    theta: Float
    scale: Float
    values: Intensities
    gain: CountingGain
    mean_intensity: Float
    variance: Float
    errors: tuple[ErrorModel, ...]
    i_mid: float | None
    rejected: Bool
    returned: Bool
    impossible: Bool
    shadowed: Bool
    fit_groups: Groups
    fit_groups_known: bool = False
    strengths: Mapping[str, float] = field(default_factory=dict)
    profiles: Profiles | None = None


@dataclass(frozen=True, slots=True)
class RoundReport:
    """Report on one round, for the log."""

    number: int
    outcome: Outcome
    choice: Choice | None
    errors: tuple[FitResult, ...]
    rejection: Rejection | None
    n_wilson: int
    n_shadowed: int
    n_outliers: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Scaled:
    """The result.  ``variance``: V' + (I/g)^2 var(g), counts^2, (n,), as written out, not divided by g^2.

    ``observed_variance``: the same with V' at the observed intensity, counts^2, (n,), for HKLF 4.
    ``scale_variance``: var(g), (n,), zeros without a covariance.  ``converged``: whether the last round changed
    nothing.  ``component_summaries``: one for each component; empty without a full matrix. ``profiles``: ratio of
    profiles to sums, by data set; empty if they are not combined.
    """

    state: State
    outcome: Outcome
    scale_variance: Float
    variance: Float
    observed_variance: Float
    rounds: tuple[RoundReport, ...]
    converged: bool
    component_summaries: tuple[ComponentSummary, ...] = ()
    profiles: tuple[ProfileFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Starting point.  ``stored``: data sets that have parameters of an earlier run, (n_data_sets,).

    ``errors``, ``i_mid``, ``strengths``: of the earlier run, if they are the same for all data sets.
    ``rejected``: outliers of the earlier run, (n,), if it had the same usable observations and the same limits.
    """

    theta: Float
    stored: Bool
    errors: tuple[ErrorModel, ...] | None = None
    i_mid: float | None = None
    strengths: Mapping[str, float] = field(default_factory=dict)
    rejected: Bool | None = None
