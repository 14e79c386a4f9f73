"""Scaling with filtering: scale, leave out parts that make the data worse, and scale the rest again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from braggscale.data.reference import Reference
from braggscale.data.table import DataSet
from braggscale.numerics.timing import Clock
from braggscale.scaling.conclusion import IMPLAUSIBLE, strangers, warn_of_strangers
from braggscale.scaling.filter_cycles import NO_MORE, Part
from braggscale.scaling.filtering import first_filtering, judge, log_filtering, reasons
from braggscale.scaling.image_limits import images_beyond
from braggscale.scaling.indexing_check import IndexingCheck
from braggscale.scaling.pipeline import run
from braggscale.scaling.plan import Plan
from braggscale.scaling.result import Result
from braggscale.scaling.run_data import RunData, run_data

log = logging.getLogger(__name__)


def run_filtered(
    data_sets: Sequence[DataSet],
    not_indexed: int,
    plan: Plan,
    prepared: RunData,
    clock: Clock,
    indexing: IndexingCheck | None,
    reference: Reference | None = None,
) -> Result:
    """Scale, and filter if the plan asks for it; arguments as for ``pipeline.run`` and ``run_data``."""

    def again(plan: Plan) -> tuple[Plan, Result]:
        """Scale what the plan has left."""
        return plausible(plan, run_data(data_sets, plan, clock, quiet=True, reference=reference))

    def plausible(plan: Plan, prepared: RunData) -> tuple[Plan, Result]:
        """Scale; a data set whose scale cannot be right would set the mean scale of all, so it is not scaled at all."""
        result = run(data_sets, not_indexed, plan, prepared, clock, indexing)
        places = strangers(result.scaled.state.scale, result.data.rows.data_set)
        if not len(places):
            return plan, result
        parts = [Part(one.number, one.data_set.id, one.identifier, None) for one in result.used]
        out = [parts[k] for k in places.tolist()]
        warn_of_strangers([part.identifier for part in out])
        return again(without(plan, out, {part.number: IMPLAUSIBLE for part in out}))

    plan, result = plausible(plan, prepared)
    if parts := images_beyond(result, plan):
        plan, result = again(without(plan, parts, {part.number: "all images beyond the limits" for part in parts}))
    if plan.filtering is None:
        return result
    seen = first_filtering(result, plan.filtering)
    while True:
        before = len(seen.removed)
        log.info("")
        first = len(seen.cycles)
        with clock.stage("filtering"):
            seen = judge(result, plan, seen)
        log_filtering(seen, first)
        new = seen.removed[before:]
        if not new:
            return replace(result, filtering=seen)
        plan = without(plan, new, reasons(new, plan.filtering.method if plan.filtering else ""))
        log.info("The remaining data are scaled again")
        plan, result = again(plan)
        if seen.reason != NO_MORE:
            return replace(result, filtering=seen)


def without(plan: Plan, parts: Sequence[Part], why: Mapping[int, str]) -> Plan:
    """The plan without the parts.  ``why``: reasons for leaving out data sets, by their positions in the input."""
    out = {part.number for part in parts if part.images is None}
    images = [f"#{part.number}:{part.images[0]}:{part.images[1]}" for part in parts if part.images is not None]
    return replace(
        plan,
        data_sets=tuple(k for k in plan.data_sets if k not in out),
        images=replace(plan.images, exclude_images=(*plan.images.exclude_images, *images)),
        filtered={**plan.filtered, **{number: text for number, text in why.items() if number in out}},
    )
