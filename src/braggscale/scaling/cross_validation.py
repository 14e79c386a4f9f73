"""Cross-validation: how well models, with and without each correction, predict reflections that were left out.

Unique reflections, with Friedel mates together, are divided into five folds. Each candidate model is fitted to four of
them, and the test is how well equivalents in the fifth fold agree with its scales. With
z^2 = (I - g I_h)^2/(V' (1 - h)), where I_h is the mean of the held-out group itself and h the leverage,

    loss = sum (1 - h) (nu + 1)/2 ln(1 + z^2/nu),     nu = 4,

is minus the log likelihood of Student's t up to a constant. It is robust, so a few outliers have little effect.
Because of (1 - h), a group of n observations counts n - 1 times, and a common factor of a candidate's scales has no
effect. All candidates use the intensities, V' and outliers of the run. Outliers are left out of the fits but count
in the loss. Strengths are estimated anew in each fit.

Candidates are compared in pairs: the uncertainty of a sum of differences is that of a sum over groups, sqrt(n) times
their standard deviation. It is far smaller than that of either sum (Stone, J. R. Stat. Soc. B 36 (1974) 111).

R_meas of held-out groups is not used, because it differs between candidates by less than its own noise.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.observations import GeometryView
from braggscale.data.unique_reflections import Groups, weighted_mean
from braggscale.fit.fit_scales import fit
from braggscale.fit.problem import Problem
from braggscale.fit.solver import FitSettings
from braggscale.models import MODELS
from braggscale.models.component import Component
from braggscale.models.joint_model import JointModel
from braggscale.models.smooth import Smooth
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.scaling.state import Scaled, ScalingProblem

log = logging.getLogger(__name__)

FOLDS = 5
SEED = 43
NU = 4.0
FEWEST_GROUPS = 50  # with fewer groups differences are only noise
SIGNIFICANT = 2.0  # differences of more than this number of uncertainties are reported as significant


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that was tried.

    ``loss``: minus log likelihood of the held-out observations, per observation.  ``worse``: loss minus that of the
    model of the run.  ``uncertainty``: standard deviation of ``worse``.
    """

    name: str
    loss: float
    worse: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class Validation:
    """``candidates``: the model of the run first.  ``observations``, ``groups``: tested; ``reason``: why none."""

    candidates: tuple[Candidate, ...]
    observations: int
    groups: int
    folds: int = FOLDS
    reason: str = ""

    def sentences(self) -> list[str]:
        """In words, for the log."""
        if self.reason:
            return [self.reason]
        lines = []
        for c in self.candidates[1:]:
            if c.worse > SIGNIFICANT * c.uncertainty:
                lines.append(f"{c.name}: predicts worse than this model")
            elif c.worse < -SIGNIFICANT * c.uncertainty:
                lines.append(f"{c.name}: predicts better than this model; it is worth a run of its own")
            else:
                lines.append(f"{c.name}: predicts as well as this model")
        return lines


def validate(
    work: ScalingProblem,
    scaled: Scaled,
    friedel_merged: Groups,
    settings: FitSettings,
    others: Mapping[str, JointModel],
) -> Validation:
    """Test the model of the run and simpler ones with reflections that are left out of the fit.

    ``friedel_merged``: groups with Friedel mates together, over the same rows as ``work``. ``others``: further
    models to try, by name; their fits start without corrections.
    """
    judged = _judged(work, scaled)
    n_groups = int(np.count_nonzero(scaled.state.fit_groups.sum(judged) > 1))
    if n_groups < FEWEST_GROUPS:
        reason = f"no validation: {n_groups} reflections with equivalents are too few, at least {FEWEST_GROUPS} needed"
        return Validation((), int(judged.sum()), n_groups, reason=reason)
    order = np.random.default_rng(SEED).permutation(len(friedel_merged))
    fold: Int = friedel_merged.spread(order % FOLDS)
    tried = {"this model": (work.model, scaled.outcome.theta)}
    for name, model in simpler(work.model).items():
        tried[name] = (model, carried_over(work.model, scaled.outcome.theta, model))
    for name, model in others.items():
        tried[name] = (model, carried_over(work.model, scaled.outcome.theta, model))
    losses = {}
    for name, (model, theta) in tried.items():
        losses[name] = _held_out(work, scaled, model, theta, settings, fold, judged)
        log.debug(f"validation: {name}, {losses[name].sum() / judged.sum():.5f}")
    own, n = losses["this model"], int(judged.sum())
    return Validation(
        tuple(
            Candidate(name, float(loss.sum()) / n, float((loss - own).sum()) / n, _spread(loss - own) / n)
            for name, loss in losses.items()
        ),
        n,
        n_groups,
    )


def _spread(difference: Float) -> float:
    return float(np.sqrt(len(difference)) * difference.std()) if len(difference) else 0.0


def _judged(work: ScalingProblem, scaled: Scaled) -> Bool:
    """Rows in groups of two or more, (n,), without impossibly strong ones."""
    good = (scaled.state.scale > 0) & ~scaled.state.impossible & (scaled.state.variance > 0)
    result: Bool = good & scaled.state.fit_groups.spread(scaled.state.fit_groups.sum(good) > 1)
    return result


def _held_out(
    work: ScalingProblem,
    scaled: Scaled,
    model: JointModel,
    theta: Float,
    settings: FitSettings,
    fold: Int,
    judged: Bool,
) -> Float:
    """Loss of every group, from the fit that did not contain it, (n_groups,)."""
    state = scaled.state
    chosen = np.flatnonzero(work.selected)
    fixed = work.fixed if model is work.model else still_fixed(work.model, work.fixed, model)
    rows = GeometryView.of(work.rows, chosen)
    around = _around_start(model, theta)
    problem = Problem.of(around, rows, scaled.state.fit_groups.subset(work.selected), fixed)
    plain = np.where(state.rejected, 0.0, 1.0 / state.variance)
    loss = np.zeros(len(scaled.state.fit_groups))
    steps = replace(settings, first_order=model is not work.model, full_matrix=True, esds=False)
    strengths = scaled.outcome.strengths
    for k in range(FOLDS):
        weight = np.where(fold == k, 0.0, plain)[chosen]
        outcome = fit(problem, theta, state.values.intensity[chosen], weight, steps, strengths)
        held_out = np.flatnonzero(fold == k)
        g = np.ones(len(fold))
        g[held_out] = model.evaluate(GeometryView.of(work.rows, held_out), outcome.theta, None)[0]
        loss += losses_of(state.values.intensity, state.variance, g, scaled.state.fit_groups, judged & (fold == k))
    return loss


def _around_start(model: JointModel, theta: Float) -> JointModel:
    """The model with scales of KB models restrained to their starting values, as in the run itself."""
    data_sets = list(model.data_sets)
    for d, component, where in model.parts():
        around_start = MODELS[data_sets[d].kind].around_start
        if around_start is not None and component.name == "scale":
            data_sets[d] = around_start(data_sets[d], float(theta[where].mean()))
    return replace(model, data_sets=tuple(data_sets))


def losses_of(intensity: Float, variance: Float, scale: Float, groups: Groups, use: Bool) -> Float:
    """sum (1 - h) (nu + 1)/2 ln(1 + z^2/nu) over the rows of each group that are in ``use``, (n_groups,). If g <=
    0, 1e-6 is used.

    ``intensity``: I, counts, ``variance``: V', counts^2, ``scale``: g, ``use``: (n,).
    """
    g = np.maximum(scale, 1e-6)
    weight = np.where(use, 1.0 / variance, 0.0)
    mean_intensity, total = weighted_mean(groups, weight, g, intensity)
    share = weight * g * g / np.where(total > 0, total, 1.0)[groups.index()]
    freedom = np.maximum(1.0 - share, 1e-6)
    z2 = weight * (intensity - g * groups.spread(mean_intensity)) ** 2 / freedom
    return groups.sum(np.where(use, freedom * 0.5 * (NU + 1.0) * np.log1p(z2 / NU), 0.0))


def simpler(model: JointModel) -> dict[str, JointModel]:
    """One factor for each data set, and the model without each of its components (a constant instead of a scale)."""
    names = list(dict.fromkeys(component.name for _, component, _ in model.parts()))
    models = {"constant": _with(model, ())}
    for name in names if len(names) > 1 else ():
        if name == "scale" and all(_is_constant(c) for _, c, _ in model.parts() if c.name == "scale"):
            continue
        models[f"without {name}"] = _with(model, tuple(n for n in names if n != name))
    return models


def _is_constant(component: Component) -> bool:
    return component.describe().form == "constant"


def _with(model: JointModel, keep: Sequence[str]) -> JointModel:
    """The model with the components in ``keep``, and a constant scale if no other scale is left."""
    data_sets = []
    for own in model.data_sets:
        kept = tuple(component for component in own.components if component.name in keep)
        if not any(_is_factor(component) for component in kept):
            kept = (Smooth("constant", ()), *kept)
        data_sets.append(replace(own, components=kept))
    return JointModel.of(data_sets)


def _is_factor(component: Component) -> bool:
    """Whether the component can be the scale of a data set: neither a B nor a correction that is 1 on average."""
    return not component.exponential and component.offset == 0.0 and component.name != "modulation"


def still_fixed(old: JointModel, fixed: Bool, new: JointModel) -> Bool:
    """Parameters of ``new`` that keep their values, (n_new,): those of components that kept them in ``old``.

    ``fixed``: of ``old``, (n_old,). A constant that replaces a scale is free.
    """
    result = np.zeros(new.n_parameters, np.bool_)
    for d, (before, after) in enumerate(zip(old.data_sets, new.data_sets, strict=True)):
        kept = {c.name: fixed[old.where(d, k)] for k, c in enumerate(before.components)}
        for k, component in enumerate(after.components):
            known = kept.get(component.name)
            if known is not None:
                result[new.where(d, k)] = known if len(known) == component.n_parameters else bool(known.all())
    return result


def carried_over(old: JointModel, theta: Float, new: JointModel) -> Float:
    """Parameters of ``new``, (n_new,), from ``theta`` of ``old``, (n_old,).

    Components of the same data set and name are copied. A constant gets the mean of the scale that it replaces.
    Other components start without a correction.
    """
    result = new.null()
    for d, (before, after) in enumerate(zip(old.data_sets, new.data_sets, strict=True)):
        values = {c.name: theta[old.where(d, k)] for k, c in enumerate(before.components)}
        factor = next((values[c.name] for c in before.components if _is_factor(c)), np.ones(1))
        for k, component in enumerate(after.components):
            known = values.get(component.name)
            if known is not None and len(known) == component.n_parameters:
                result[new.where(d, k)] = known
            elif _is_factor(component):
                result[new.where(d, k)] = factor.mean()
    return result
