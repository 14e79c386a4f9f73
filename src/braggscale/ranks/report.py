"""What a run over ranks says: log and summary."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from braggscale import __version__
from braggscale.data.flags import FATE_TEXT, Fate
from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Float
from braggscale.ranks.plan import RanksPlan
from braggscale.ranks.rounds import RanksScaled
from braggscale.report.text import tables
from braggscale.report.text.citations import papers
from braggscale.report.text.log import log_shells
from braggscale.statistics.merging import Merged
from braggscale.statistics.merging_statistics import Statistics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Findings:
    """The result, but for the rows.

    ``wavelength``: mean, Angstrom.  ``n_used``, ``n_data_sets``: data sets that were scaled, and of the input.
    ``ledger``: input rows by fate.  ``r_split``: of the shells of ``statistics``, and of all, (n_bins + 1,).
    ``spread``: sd of ln k and of B over the crystals.
    """

    symmetry: Symmetry
    cell: UnitCell
    wavelength: float
    n_used: int
    n_data_sets: int
    ledger: Mapping[Fate, int]
    scaled: RanksScaled
    statistics: Statistics | None
    r_split: Float
    merged: Merged
    spread: tuple[float, float]


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
    statistics = found.statistics
    if statistics is None:
        return
    log_shells(statistics, plan.apart)
    shells = [*statistics.shells, statistics.overall]
    rows = [
        (f"{shell.d_max:.2f}", f"{shell.d_min:.2f}", f"{value:.3f}", f"{shell.cc_half:.3f}")
        for shell, value in zip(shells, found.r_split.tolist(), strict=True)
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


def summary_text(
    found: Findings, command: Mapping[str, Any], n_ranks: int, exchanged: int, seconds: Mapping[str, float]
) -> str:
    """The summary as JSON.  ``exchanged``: bytes that a rank has given to sums."""
    statistics, scaled = found.statistics, found.scaled
    values = {
        "program": {"name": "braggscale", "version": __version__},
        "kind": "ranks",
        "command": dict(command),
        "ranks": {"number": n_ranks, "bytes_of_sums": exchanged},
        "space_group": str(found.symmetry),
        "unit_cell": list(found.cell),
        "wavelength": found.wavelength,
        "data_sets": {"input": found.n_data_sets, "scaled": found.n_used},
        "ledger": {fate.name.lower(): n for fate, n in found.ledger.items()},
        "rounds": [{**asdict(one), "errors": asdict(one.errors)} for one in scaled.rounds],
        "converged": scaled.converged,
        "error_model": asdict(scaled.model),
        "spread": {"ln_scale": found.spread[0], "b": found.spread[1]},
        "strengths": {"scale": scaled.strengths.scale, "decay": scaled.strengths.decay},
        "statistics": None if statistics is None else statistics.to_dict(),
        "r_split": [value if math.isfinite(value) else None for value in found.r_split.tolist()],
        "seconds": dict(seconds),
    }
    return json.dumps(values, indent=1) + "\n"
