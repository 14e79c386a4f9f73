"""The lines of the log about each round."""

from __future__ import annotations

import logging

import numpy as np

from braggscale.log_detail import in_file
from braggscale.scaling.state import RoundReport
from braggscale.weighting.error_model import ErrorModel

log = logging.getLogger(__name__)


def log_round(report: RoundReport, many: bool) -> None:
    """Log a line about a round, before the first also an explanation.  ``many``: only the log file has these lines."""
    if report.number == 1:
        log.info(
            "Rounds of fitting scales, then the error model (a, b) and the outliers with them, until all agree:",
            extra=in_file(many),
        )
    outcome = report.outcome
    steps = ", ".join(f"{name} {fit.steps}" for name, fit in outcome.fits)
    cost = outcome.fits[-1][1].cost if outcome.fits else 0.0
    # a sum of squares that vanishes may be a rounding error below 0
    rms = np.sqrt(max(cost, 0.0) / max(outcome.n_observations, 1))
    errors = "".join(f", {_parameters(found.model)}" for found in report.errors[:1])
    rejected = "" if report.rejection is None else f", {report.n_outliers} outlier{'s' * (report.n_outliers != 1)}"
    log.info(f"Round {report.number}: {steps}, rms {rms:.4f}{errors}{rejected}", extra=in_file(many))


def _parameters(model: ErrorModel) -> str:
    return f"a {model.a:.3f} b {model.b:.4f}" + (f" c {model.c:.3g}" if model.c > 0 else "")
