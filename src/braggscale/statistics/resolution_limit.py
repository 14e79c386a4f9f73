"""The resolution at which the signal ends, that is, at which CC1/2 falls to 0.3.

CC1/2 of the shells is fitted by 1/2 (1 - tanh((x - s0)/r)), x = 1/d_min^2 of the shell (as Aimless, Evans &
Murshudov, Acta Cryst. D69 (2013) 1204, and DIALS), each shell with the weight n - 3 of Fisher's approximation for a
correlation of n pairs. Shells with three reflections or fewer to correlate give no information on the signal and
are left out. If they counted as CC1/2 = 0, the limit would be too low a resolution for strong data of low
multiplicity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.numerics.array_types import Float

CC_LIMIT = 0.3
# Pairs that a shell needs so that the error of its correlation is known; shells that the two parameters need.
_FEWEST_PAIRS = 4
_FEWEST_SHELLS = 3
# No limit is suggested if it is closer than this to the limit of the data, Angstrom.
_NEAR = 0.005
_START = (0.4, 0.2)
_STEPS = 200


@dataclass(frozen=True, slots=True)
class ResolutionLimit:
    """``d_min``: suggested limit, Angstrom; None if the signal does not end inside the data, or if this is unknown.

    ``reason``: the sentence for the log.
    """

    d_min: float | None
    reason: str


def suggest_limit(d_min: Sequence[float], cc: Sequence[float], pairs: Sequence[int]) -> ResolutionLimit:
    """Resolution at which the fitted CC1/2 falls to 0.3, if that is inside the data.

    ``d_min``: high-resolution limit of each shell, low resolution first, Angstrom; ``cc``: CC1/2, NaN where unknown;
    ``pairs``: number of reflections correlated; all (n_shells,).
    """
    known = np.isfinite(cc) & (np.asarray(pairs) >= _FEWEST_PAIRS)
    if known.sum() < _FEWEST_SHELLS:
        return ResolutionLimit(
            None, f"too few resolution shells ({int(known.sum())}) with equivalents to suggest a limit"
        )
    d = np.asarray(d_min, np.float64)[known]
    y = np.asarray(cc, np.float64)[known]
    if (y > CC_LIMIT).all():
        return ResolutionLimit(
            None, f"CC1/2 is above {CC_LIMIT:g} in all shells: the signal goes on where the data end"
        )
    x = d**-2.0
    s0, r = _fit(x, y, np.asarray(pairs, np.float64)[known] - 3)
    crossing = s0 + r * float(np.arctanh(1 - 2 * CC_LIMIT)) if r > 0 else np.nan
    if not np.isfinite(crossing) or crossing > x[-1]:
        return ResolutionLimit(None, f"CC1/2 does not fall to {CC_LIMIT:g} with resolution: no limit suggested")
    if crossing < x[0]:
        return ResolutionLimit(None, f"CC1/2 is below {CC_LIMIT:g} already at low resolution: no limit suggested")
    limit = float(crossing**-0.5)
    if limit < d[-1] + _NEAR:
        return ResolutionLimit(None, "the data end where the signal ends")
    return ResolutionLimit(limit, f"CC1/2 falls to {CC_LIMIT:g} at {limit:.2f} A")


def fitted_curve(d_min: Sequence[float], cc: Sequence[float], pairs: Sequence[int]) -> tuple[float, float] | None:
    """s0 and r of the curve 1/2 (1 - tanh((x - s0)/r)), 1/Angstrom^2; None with fewer than three usable shells.

    Arguments as ``suggest_limit``.
    """
    known = np.isfinite(cc) & (np.asarray(pairs) >= _FEWEST_PAIRS)
    if known.sum() < _FEWEST_SHELLS:
        return None
    x = np.asarray(d_min, np.float64)[known] ** -2.0
    return _fit(x, np.asarray(cc, np.float64)[known], np.asarray(pairs, np.float64)[known] - 3)


def _fit(x: Float, y: Float, weight: Float) -> tuple[float, float]:
    """s0 and r of 1/2 (1 - tanh((x - s0)/r)), by Levenberg-Marquardt; x, y, weight: (n,).

    The starting values are the ones DIALS uses, in units of the data's range. Two parameters do not need a library
    that takes half a second to import.
    """
    span = float(x[-1])
    p = np.array(_START) * span
    damping = 1e-3

    def residual(s0: float, r: float) -> tuple[Float, Float]:
        """Deviation of the curve from CC1/2, and its derivatives."""
        z = (x - s0) / r
        t = np.tanh(z)
        slope = 0.5 * (1 - t * t) / r
        return 0.5 * (1 - t) - y, np.stack((slope, slope * z), axis=1)

    error, jacobian = residual(p[0], p[1])
    cost = float(weight @ error**2)
    for _ in range(_STEPS):
        normal = jacobian.T @ (weight[:, None] * jacobian)
        scaled = normal + damping * np.diag(np.diag(normal)) + 1e-12 * np.eye(2)
        step = -np.linalg.solve(scaled, jacobian.T @ (weight * error))
        trial = p + step
        trial[1] = np.clip(trial[1], 1e-3 * span, 1e3 * span)
        new_error, new_jacobian = residual(trial[0], trial[1])
        new_cost = float(weight @ new_error**2)
        if new_cost <= cost:
            done = cost - new_cost <= 1e-10 * cost
            p, error, jacobian, cost, damping = trial, new_error, new_jacobian, new_cost, damping / 10
            if done:
                break
        elif damping > 1e12:
            break
        else:
            damping *= 10
    return float(p[0]), float(p[1])
