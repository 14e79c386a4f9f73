"""What a run over ranks says in its log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from braggscale.data.flags import FATE_TEXT, Fate
from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.ranks.detector import DetectorMap
from braggscale.ranks.filtering import Filtered
from braggscale.ranks.groups import MergedGroup
from braggscale.ranks.plan import RanksPlan
from braggscale.ranks.rounds import RanksScaled
from braggscale.report.text import tables
from braggscale.report.text.citations import papers
from braggscale.report.text.log import log_shells
from braggscale.run_warnings import Code
from braggscale.statistics.merging import Merged

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Findings:
    """The result, but for the rows.

    ``wavelength``: mean, Angstrom.  ``n_data_sets``: of the input.  ``n_unique``: reflections in the fit.
    ``ledger``: input rows by fate.  ``filtered``: crystals that filtering left out.  ``whole``, ``merged``: all
    crystals merged.  ``groups``: those of group_by.  ``spread``: sd of ln k and of B over the crystals.
    ``warnings``: what was left out.  ``operators``: of reindexed data sets of this rank, by number.
    ``detector``: its response, None without a map.
    """

    symmetry: Symmetry
    cell: UnitCell
    wavelength: float
    n_data_sets: int
    n_unique: int
    ledger: Mapping[Fate, int]
    scaled: RanksScaled
    filtered: Filtered
    whole: MergedGroup
    merged: Merged
    groups: tuple[MergedGroup, ...]
    spread: tuple[float, float]
    warnings: tuple[tuple[Code, str], ...]
    operators: Mapping[int, str]
    detector: DetectorMap | None


def log_findings(found: Findings, plan: RanksPlan) -> None:
    """Scales, error model, ledger and merging statistics."""
    scaled = found.scaled
    if not scaled.converged:
        log.info(
            f"After {len(scaled.rounds)} rounds a few observations at the border of being outliers still change sides"
        )
    errors = scaled.errors
    log.info("")
    if errors is not None:
        linear, value = ("c I + ", f", c = {errors.model.c:.4g}") if errors.model.c > 0 else ("", "")
        log.info(
            f"Error model: V' = a^2 (V + {linear}(b I)^2), a = {errors.model.a:.4f}, b = {errors.model.b:.5f}{value}"
        )
        log.info(f"from {errors.n_used} observations")
        if errors.reason:
            log.info(errors.reason)
    log.info(f"Spread of the data sets: ln of the scale {found.spread[0]:.3f}, B {found.spread[1]:.2f} A^2")
    if found.detector is not None:
        log.info(found.detector.sentence())
    if plan.estimated:
        strengths = scaled.strengths
        log.info(f"Strengths of the restraints, estimated: scale {strengths.scale:.3g}, decay {strengths.decay:.3g}")
    if scaled.n_impossible:
        log.info(f"{scaled.n_impossible} observations are outliers by their size alone (emax)")
    log.info("")
    for table in tables.ledger_tables({"all": found.ledger}, FATE_TEXT, 1):
        log.info(table)
    _log_statistics(found, plan)


def _log_statistics(found: Findings, plan: RanksPlan) -> None:
    statistics = found.whole.statistics
    if statistics is None:
        return
    log_shells(statistics, plan.apart)
    shells = [*statistics.shells, statistics.overall]
    rows = [
        (f"{shell.d_max:.2f}", f"{shell.d_min:.2f}", tables.known(value, 3), tables.known(shell.cc_half, 3))
        for shell, value in zip(shells, found.whole.r_split.tolist(), strict=True)
    ]
    log.info("Halves of the crystals")
    log.info(tables.text_table(("d_max", "d_min", "R_split", "CC1/2"), rows))
    log.info("")
    log.info(tables.summary_table(statistics))
    for line in tables.limit_lines(statistics):
        log.info(line)
    log.info("")
    log.info("Please cite the papers of the methods that this run used:")
    for method, paper in papers({"KB"}, plan.estimated, found.scaled.errors is not None):
        log.info(f"  {method}: {paper}")


def log_group(one: MergedGroup) -> None:
    """One line for a group of files."""
    text = f"Group {one.name}: {one.n_data_sets} data sets, {one.n_observations} observations"
    if one.statistics is not None:
        overall = one.statistics.overall
        text += f", completeness {100 * overall.completeness:.1f} %, R_split "
        text += f"{tables.known(one.r_split[-1], 3)}, CC1/2 {tables.known(overall.cc_half, 3)}"
    log.info(text)
