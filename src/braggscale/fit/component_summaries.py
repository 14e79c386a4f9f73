"""A summary of each component of each data set: effective parameters, size of the correction, and a sentence.

The effective number of parameters of a component is the sum over its parameters of diag(C J'J): how many degrees of
freedom of the data it uses, from 0 to its number of parameters (Hastie & Tibshirani, Generalized Additive Models,
1990). restraint_strengths.py derives C and J.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.observations import rows_by_data_set
from braggscale.models.design import Design
from braggscale.models.joint_model import JointModel
from braggscale.numerics.array_types import Float

# A component with fewer is reported as not applied.
NOTHING = 0.1
# A strength within this factor of the smallest allowed one counts as having reached it.
AT_LIMIT = 1.0 + 1e-6


@dataclass(frozen=True, slots=True)
class ComponentSummary:
    """Result of the fit for one component of one data set.

    ``effective``: effective number of parameters, of ``n_parameters``.  ``rms``: of the correction about its mean, as
    a fraction.  ``low``, ``high``: smallest and largest correction over the observations in the fit.
    ``strengths``: by kind; empty where they were fixed.  ``first``: False if an earlier data set shares it.
    ``at_limit``: whether a strength is the smallest plausible one, so that the data would need larger corrections.
    """

    data_set: int
    component: str
    effective: float
    n_parameters: int
    rms: float
    low: float
    high: float
    strengths: Mapping[str, float]
    first: bool = True
    at_limit: bool = False

    def sentence(self) -> str:
        """For the log."""
        if self.strengths and self.effective < NOTHING:
            effect = {"modulation": "no unevenness"}.get(self.component, "no effect")
            return f"{self.component}: {effect} found; not applied"
        number = f"{self.effective:.3g}" if self.effective >= NOTHING else f"less than {NOTHING:g}"
        limit = "; larger ones would not be plausible and were held back" if self.at_limit else ""
        size = f"corrections from {self.low:.3g} to {self.high:.3g}{limit}"
        return f"{self.component}: {number} effective parameters, {size}"


def component_summaries(
    model: JointModel,
    design: Design,
    data_set: np.ndarray,
    theta: Float,
    effective_dof: Float,
    strengths: Mapping[str, float],
) -> tuple[ComponentSummary, ...]:
    """One summary per component of each data set.

    ``design``, ``data_set`` (n,): of the observations in the fit.
    ``theta``, ``effective_dof``: parameters and diag(C J'J), (n_parameters,).
    """
    summaries: list[ComponentSummary] = []
    seen: set[int] = set()
    by_data_set = rows_by_data_set(data_set, len(model.data_sets))
    for d, (model_of_one, own_rows) in enumerate(zip(model.data_sets, by_data_set, strict=True)):
        for c, component in enumerate(model_of_one.components):
            where = model.where(d, c)
            kinds = {r.kind for r in component.restraints if r.kind}
            least = [(r.kind, r.least) for r in component.restraints if r.kind in strengths]
            values = design.values(theta, c, own_rows)
            spread = values / values.mean() - 1.0 if len(values) and values.mean() != 0.0 else np.zeros(1)
            summaries.append(
                ComponentSummary(
                    d,
                    component.name,
                    float(effective_dof[where].sum()),
                    component.n_parameters,
                    float(np.sqrt(np.mean(spread**2))),
                    float(values.min()) if len(values) else 1.0,
                    float(values.max()) if len(values) else 1.0,
                    {kind: strengths[kind] for kind in sorted(kinds) if kind in strengths},
                    where.start not in seen,
                    any(strengths[kind] <= AT_LIMIT * value for kind, value in least),
                )
            )
            seen.add(where.start)
    return tuple(summaries)


def sentences(found: Sequence[ComponentSummary]) -> list[str]:
    """One sentence per component, over all data sets."""
    sentences = []
    for name in dict.fromkeys(f.component for f in found):
        of_name = [f for f in found if f.component == name]
        whole = replace(
            of_name[0],
            effective=sum(f.effective for f in of_name if f.first),
            low=min(f.low for f in of_name),
            high=max(f.high for f in of_name),
            at_limit=any(f.at_limit for f in of_name),
        )
        sentences.append(whole.sentence())
    return sentences
