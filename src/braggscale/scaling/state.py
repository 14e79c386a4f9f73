"""What the rounds of scaling work on: what stays the same, what each round changes, what it reports."""

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
    """What stays the same. Rows stand in the order of ``groups``; in ``friedel_split`` Friedel mates are apart.

    ``groups``: within which observations should agree when scales are fitted and outliers judged.
    ``selected``: rows that may take part in the fit of the scales, (n,).  ``epsilon``: of each row, (n,).
    ``error_model_of``: number of the error model of each data set, (n_data_sets,).
    ``fixed``: parameters that are held, (n_parameters,).
    """

    rows: Observations
    groups: Groups
    friedel_split: Groups
    epsilon: Float
    model: JointModel
    selected: Bool
    fixed: Bool
    error_model_of: Int

    @property
    def n_error_models(self) -> int:
        """How many error models there are."""
        return int(self.error_model_of.max()) + 1


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """Values of the options that act here; see the guide.

    ``errors`` None: V' = V.
    """

    intensity_choice: str
    midpoints: list[float] | None
    errors: ErrorModelOptions | None
    outliers: OutlierOptions
    fit: FitSettings


@dataclass(frozen=True, slots=True)
class State:
    """Where the loop stands. Arrays are (n,) over all usable rows.

    ``scale``: g.  ``values``: chosen intensities with observed variances.  ``gain``: how these follow from counts.
    ``mean_intensity``: I_h, (n_groups,).  ``variance``: V' at mu = g I_h.
    ``errors``: one per number in ScalingProblem.error_model_of.
    ``i_mid``: intensity choice (0 profile, 1 summation, -1 by expected error).  ``rejected``: outliers.
    ``returned``: observations that were outliers in an earlier round and came back.
    ``impossible``: outliers whatever their equivalents say (emax).  ``shadowed``: of these, those in a shadow of the
    detector.
    ``fit_groups``: within which observations should agree when scales are fitted; ``fit_groups_known``: whether these
    are final, because it is known how far Friedel mates differ.
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
    """What one round did, for the log."""

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
    """The result.  ``variance``: V' + (I/g)^2 var(g), counts^2, (n,): what is written out, not divided by g^2.

    ``scale_variance``: var(g), (n,), zeros without a covariance.  ``converged``: whether the loop ended by itself.
    ``component_summaries``: what each component turned out to be; empty without a full matrix.
    ``profiles``: how profiles compare with sums, by data set; empty where they are not combined.
    """

    state: State
    outcome: Outcome
    scale_variance: Float
    variance: Float
    rounds: tuple[RoundReport, ...]
    converged: bool
    component_summaries: tuple[ComponentSummary, ...] = ()
    profiles: tuple[ProfileFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Starting point.  ``stored``: which data sets bring an earlier run's parameters, (n_data_sets,).

    ``errors``, ``i_mid``, ``strengths``: of the earlier run, where all data sets agree on them.
    ``rejected``: outliers of the earlier run, (n,), if it had the same usable observations and the same limits.
    """

    theta: Float
    stored: Bool
    errors: tuple[ErrorModel, ...] | None = None
    i_mid: float | None = None
    strengths: Mapping[str, float] = field(default_factory=dict)
    rejected: Bool | None = None
