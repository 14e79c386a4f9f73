"""How merged intensities are distributed: Wilson plot, second moments, cumulative distribution, L test, multiplicity.

    Z = (I/epsilon)/<I/epsilon> in the resolution shell, I merged with Friedel mates together
    acentric: <Z^2> = 2, N(z) = 1 - exp(-z)          centric: <Z^2> = 3, N(z) = erf(sqrt(z/2))
    L = (I_1 - I_2)/(I_1 + I_2) of neighbours in reciprocal space: <|L|> = 1/2, <L^2> = 1/3 for acentric reflections,
    3/8 and 1/5 for a perfect twin (Padilla & Yeates, Acta Cryst. D59 (2003) 1124).

Noise broadens all of these distributions; for this reason alone the moments of weak shells are above the expected ones.
"""

from __future__ import annotations

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.report.numbers.intensity_tests import intensity_tests, with_axis_limits
from braggscale.report.numbers.json_numbers import column, counts, numbers, rounded, share, total
from braggscale.report.numbers.scaled_observations import Observed
from braggscale.report.summary_sections import (
    CumulativeDistribution,
    IntensityDistribution,
    LTest,
    Multiplicities,
    SecondMoments,
    WilsonPlot,
)
from braggscale.report.summary_values import Column, Numbers

WILSON_BINS = 40
FEWEST_IN_BIN = 5
_Z = np.linspace(0.0, 1.0, 21)
# Steps to the neighbours in the L test; they are even, so that reflections of pseudo-centred cells are not mixed.
_STEPS = ((2, 0, 0), (0, 2, 0), (0, 0, 2))
_L_EDGES = np.linspace(0.0, 1.0, 21)
_LAST_MULTIPLICITY = 40
_TRUSTED = 3.0  # I/sigma of intensities that the distribution and the L test use, as a mean over the shell


def intensity_distribution(seen: Observed, symmetry: Symmetry, cell: UnitCell) -> IntensityDistribution:
    """The sections ``wilson``, ``second_moments``, ``cumulative``, ``l_test`` and ``multiplicity``."""
    epsilon = symmetry.epsilon(seen.asu).astype(np.float64)
    centric = symmetry.is_centric(seen.asu)
    absent = symmetry.is_absent(seen.asu)
    value = seen.mean / epsilon
    n = seen.n_shells
    use = ~absent
    level = share(total(seen.shell[use], n, value[use]), total(seen.shell[use], n))
    z = np.where(use & (level[seen.shell] > 0), value / np.where(level > 0, level, 1.0)[seen.shell], np.nan)
    strong = share(total(seen.shell, n, seen.mean / seen.sd), total(seen.shell, n)) >= _TRUSTED
    trusted = np.isfinite(z) & strong[seen.shell]
    tests = intensity_tests(seen.asu, value, z, trusted, centric, symmetry, cell)
    return IntensityDistribution(
        wilson=_wilson(seen.s[use], value[use]),
        second_moments=SecondMoments(
            acentric=_moments(seen.shell, z, ~centric, n), centric=_moments(seen.shell, z, centric, n)
        ),
        cumulative=CumulativeDistribution(
            z=numbers(_Z),
            acentric=_cumulative(z[trusted & ~centric]),
            centric=_cumulative(z[trusted & centric]),
        ),
        l_test=_l_test(seen.asu, value, trusted & ~centric),
        multiplicity=_multiplicity(seen.friedel_merged.sizes(), centric),
        tests=with_axis_limits(tests, seen, symmetry, cell),
    )


def _wilson(s: Float, value: Float) -> WilsonPlot:
    """ln <I/epsilon> by 1/d^2, and the straight line ln <I> = ln k - B/(2 d^2) beyond 3 Angstrom."""
    n = int(max(1, min(WILSON_BINS, len(s) // 20)))
    low, high = float(s.min()), float(s.max())
    place = np.minimum((s - low) * (n / max(high - low, 1e-12)), n - 1).astype(np.int64)
    number = total(place, n)
    mean = np.where(number >= FEWEST_IN_BIN, share(total(place, n, value), number), np.nan)
    x = share(total(place, n, s), number)
    b, ln_k, esd = None, None, None
    # the solvent makes the plot non-linear at low resolution, where small cells have all their reflections
    use = (mean > 0) & ((x > 1 / 9) | (high < 1 / 4))
    if np.count_nonzero(use) >= 3:
        slope, start = np.polyfit(x[use], np.log(mean[use]), 1)
        b, ln_k = rounded(-2.0 * float(slope)), rounded(float(start))
        # from the scatter about the line: the waves of a structure are larger than errors of means
        left = np.log(mean[use]) - start - slope * x[use]
        scatter = float(left @ left) / max(int(np.count_nonzero(use)) - 2, 1)
        esd = rounded(2.0 * float(np.sqrt(scatter / ((x[use] - x[use].mean()) ** 2).sum())), 2)
    return WilsonPlot(inverse_d2=column(x), mean=column(mean), b=b, ln_k=ln_k, b_esd=esd)


def _moments(shell: Int, z: Float, members: Bool, n: int) -> Column:
    use = members & np.isfinite(z)
    number = total(shell[use], n)
    mean = share(total(shell[use], n, z[use]), number)
    second = share(total(shell[use], n, z[use] ** 2), number)
    return column(np.where(number >= FEWEST_IN_BIN, share(second, mean * mean), np.nan))


def _cumulative(z: Float) -> Numbers:
    if len(z) < FEWEST_IN_BIN:
        return []
    return numbers((np.searchsorted(np.sort(z), _Z, side="right")) / len(z))


def _l_test(asu: Int, value: Float, use: Bool) -> LTest | None:
    """Cumulative distribution of |L| for neighbours in the asymmetric unit; some pairs at its edge are lost."""
    hkl = asu[use].astype(np.int64)
    if len(hkl) < 100:
        return None
    low = hkl.min(axis=0) - 2
    size = hkl.max(axis=0) + 3 - low
    weights = np.array([size[1] * size[2], size[2], 1])
    key = (hkl - low) @ weights
    order = np.argsort(key, kind="stable")
    ordered, v = key[order], value[use]
    parts = []
    for step in _STEPS:
        wanted = key + int(np.dot(step, weights))
        place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        hit = ordered[place] == wanted
        a, b = v[hit], v[order[place[hit]]]
        both = a + b
        good = both > 0
        parts.append(np.abs((a - b)[good] / both[good]))
    size_l = np.concatenate(parts)
    if len(size_l) < 100:
        return None
    # noise makes some intensities negative and |L| larger than 1
    size_l = np.minimum(size_l, 1.0)
    below = np.cumsum(np.histogram(size_l, _L_EDGES)[0])
    return LTest(
        pairs=len(size_l),
        mean_abs=rounded(float(size_l.mean())),
        mean_square=rounded(float((size_l**2).mean())),
        l=numbers(_L_EDGES),
        cumulative=numbers(np.append(0.0, below / len(size_l))),
    )


def _multiplicity(sizes: Int, centric: Bool) -> Multiplicities:
    """Number of unique reflections by multiplicity; the last entry counts all with a higher one."""
    most = int(min(max(sizes.max(), 1), _LAST_MULTIPLICITY))
    width = 1
    if sizes.max() > _LAST_MULTIPLICITY:
        width = int(-(-int(sizes.max()) // _LAST_MULTIPLICITY))
        most = -(-int(sizes.max()) // width)
    place = (sizes - 1) // width
    return Multiplicities(
        first=counts(np.arange(most) * width + 1),
        width=width,
        acentric=counts(np.bincount(place[~centric], minlength=most)),
        centric=counts(np.bincount(place[centric], minlength=most)),
    )
