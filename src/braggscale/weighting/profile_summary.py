"""Summary of profiles and sums for log and report: their ratio, and the share of profiles in the intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.observations import Observations, rows_by_data_set
from braggscale.numerics.array_types import Float, Int
from braggscale.weighting.profile_mixture import Profiles
from braggscale.weighting.profile_ratio import Ratio, Sites
from braggscale.weighting.profile_scale import PART

SHELLS = 10
MOST_ROWS, ENOUGH_ROWS = 40_000, 400  # of all families, and of each; if there are more, every k-th is used
NOTHING = 0.005  # a ratio nearer to 1 than this is not mentioned
KNOWN_POWER = 0.25  # the power of the partiality is mentioned if its uncertainty is below this
MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class ProfileFinding:
    """Ratio of profile to sum of the data sets in ``data_sets``.

    ``d``, ``ratio``: mean resolution, Angstrom, and mean R in shells of equal numbers, from low to high resolution.
    ``expected``, ``share``: median expected intensity, counts, and mean share of the profile in ranges of equal
    numbers.
    ``power``, ``power_esd``: alpha of p^alpha.  ``counting``, ``linear``, ``square``: variance of the difference, see
    ``profile_ratio.Difference``.  ``alone``: sums or profiles if only one of them is used, and ``why``.
    """

    data_sets: tuple[int, ...]
    n_rows: int
    d: tuple[float, ...]
    ratio: tuple[float, ...]
    expected: tuple[float, ...]
    share: tuple[float, ...]
    power: float
    power_esd: float
    counting: float
    linear: float
    square: float
    alone: str
    why: str

    def sentence(self, names: Sequence[str]) -> str:
        """For the log.  ``names``: of all data sets of the run."""
        who = _names([names[k] for k in self.data_sets])
        low, high = _size(self.ratio[0]), _size(self.ratio[-1])
        same = not low and not high
        if same:
            words = f"Profile-fitted and summed intensities of data set {who} agree within {100 * NOTHING:g} %"
        else:
            words = (
                f"Profile-fitted intensities of data set {who} are {low or 'equal to'} the summed ones at "
                f"{self.d[0]:.3g} A and {high or 'equal to them'} at {self.d[-1]:.3g} A"
            )
        if self.power_esd < KNOWN_POWER and self.power > 0.25:
            part = "only the recorded part" if self.power > 0.75 else "more than the part, less than the whole"
            words += f"; they hold {part} of a reflection (power {self.power:.2f} of the partiality)"
        if self.alone:
            return f"{words}; {self.alone} are used alone: {self.why}"
        return words if same else f"{words}; this is corrected"


def _size(ratio: float) -> str:
    if abs(ratio - 1.0) < NOTHING:
        return ""
    return f"{100 * abs(ratio - 1.0):.1f} % {'below' if ratio < 1 else 'above'}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def profile_findings(profiles: Profiles, rows: Observations, expected: Float) -> tuple[ProfileFinding, ...]:
    """One finding for every family of data sets.  ``expected``: g I_h, counts, (n,)."""
    both = rows.has_sum & rows.has_prf
    n = len(profiles.scale.ratios)
    family = np.where(both, profiles.scale.family(len(profiles.gains.summed))[rows.data_set], -1)
    # rows without a family come first
    parts = rows_by_data_set(family + 1, n + 1)[1:]
    most = max(MOST_ROWS // max(n, 1), ENOUGH_ROWS)
    return tuple(
        _finding(
            ratio,
            profiles,
            rows,
            expected,
            rows_of_family[:: max(1, -(-len(rows_of_family) // most))],
            len(rows_of_family),
        )
        for ratio, rows_of_family in zip(profiles.scale.ratios, parts, strict=True)
    )


def _finding(
    ratio: Ratio, profiles: Profiles, rows: Observations, expected: Float, rows_of_family: Int, n_rows: int
) -> ProfileFinding:
    sites, intensity = Sites.of(rows).take(rows_of_family), expected[rows_of_family]
    by_d, by_intensity = _ranges(-sites.d), _ranges(intensity)
    pieces = [ratio.log(sites.take(slice(k, k + PART))) for k in range(0, len(rows_of_family), PART)]
    log_ratio = np.concatenate(pieces) if pieces else np.zeros(0)
    share = profiles.share[rows_of_family] if len(profiles.share) else np.zeros(len(rows_of_family))
    return ProfileFinding(
        tuple(ratio.data_sets.tolist()),
        n_rows,
        tuple(float(np.mean(sites.d[part])) for part in by_d),
        tuple(float(np.exp(np.mean(log_ratio[part]))) for part in by_d),
        tuple(float(np.median(intensity[part])) for part in by_intensity),
        tuple(float(np.mean(share[part])) for part in by_intensity),
        ratio.power,
        ratio.power_esd,
        ratio.difference.counting,
        ratio.difference.linear,
        ratio.difference.square,
        ratio.alone,
        ratio.why,
    )


def _ranges(by: Float) -> list[Int]:
    """Ranges of equal numbers by rising values, none empty: places of their rows.  ``by``: (n,)."""
    order = np.argsort(by, kind="stable")
    return [part for part in np.array_split(order, SHELLS) if len(part)]
