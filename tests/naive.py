"""Slow, obvious versions of fast code: loops a reader believes at sight. One section per module."""

import math
from statistics import NormalDist

import numpy as np

# --- symmetry --------------------------------------------------------------------------------------------------


def orbit(operators, hkl):
    """All indices equivalent to one, Friedel mates not included.  ``operators``: gemmi.Op."""
    return {tuple(op.apply_to_hkl(list(hkl))) for op in operators}


def absent(operators, hkl):
    """Whether an operator leaves the index alone but shifts its phase."""
    for op in operators:
        shift = sum(n * t for n, t in zip(hkl, op.tran, strict=True)) / op.DEN
        if tuple(op.apply_to_hkl(list(hkl))) == tuple(hkl) and abs(shift - round(shift)) > 1e-3:
            return True
    return False


def possible(operators, cell, d_min, d_max):
    """Number of unique reflections, and of acentric ones, by visiting every index in the box."""
    a, b, c = (int(edge / d_min) + 1 for edge in cell.parameters[:3])
    seen, unique, acentric = set(), 0, 0
    for h in range(-a, a + 1):
        for k in range(-b, b + 1):
            for l in range(-c, c + 1):
                if (h, k, l) == (0, 0, 0) or (h, k, l) in seen:
                    continue
                if not d_min <= cell.calculate_d([h, k, l]) <= d_max or absent(operators, (h, k, l)):
                    continue
                mates = orbit(operators, (h, k, l))
                opposite = orbit(operators, (-h, -k, -l))
                seen |= mates | opposite
                unique += 1
                acentric += not mates & opposite
    return unique, acentric


# --- stats -----------------------------------------------------------------------------------------------------


def members(asu_hkl, x, sigma):
    """Observations of each unique reflection, as {index: [(x, sigma), ...]}, h slowest."""
    groups = {}
    for index, value, error in zip(asu_hkl.tolist(), x.tolist(), sigma.tolist(), strict=True):
        groups.setdefault(tuple(index), []).append((value, error))
    return dict(sorted(groups.items()))


def mean(group):
    """Weighted mean and its standard deviation."""
    total = sum(s**-2 for _, s in group)
    return sum(x * s**-2 for x, s in group) / total, total**-0.5


def internal_sigma(group):
    """Standard deviation of the mean, at least as large as the scatter tells."""
    centre, external = mean(group)
    w = [s**-2 for _, s in group]
    below = sum(w) ** 2 - sum(v * v for v in w)
    if len(group) < 2 or below <= 0:
        return external
    variance = sum(w) / below * sum(v * (x - centre) ** 2 for v, (x, _) in zip(w, group, strict=True))
    return max(math.sqrt(variance / len(group)), external)


def r_factors(groups):
    """R_merge, R_meas, R_pim."""
    sums, total = [0.0, 0.0, 0.0], 0.0
    for group in groups.values():
        n = len(group)
        if n < 2:
            continue
        centre, _ = mean(group)
        deviation = sum(abs(x - centre) for x, _ in group)
        total += sum(x for x, _ in group)
        for i, factor in enumerate((1.0, math.sqrt(n / (n - 1)), math.sqrt(1 / (n - 1)))):
            sums[i] += factor * deviation
    return tuple(value / total for value in sums)


def pearson(x, y):
    """Correlation of two lists."""
    mx, my = sum(x) / len(x), sum(y) / len(y)
    sxy = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return sxy / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def divide(group, uniform):
    """Two random halves, drawn in the order in which DIALS draws them.  ``uniform``: function, 0 to 1."""
    n, order = len(group), list(range(len(group)))
    half = n // 2
    if n % 2 and uniform() < 0.5:
        half += 1
    first = []
    for i in range(half):
        j = i + min(n - i - 1, int(uniform() * (n - i)))
        first.append(group[order[j]])
        order[j] = order[i]
    return first, [group[i] for i in order[half:]]


def cc_half(groups, seed):
    """CC1/2 of one random division; with seed 1 the division of DIALS."""
    uniform = np.random.RandomState(seed).random_sample
    halves = [divide(group, uniform) for group in groups.values() if len(group) > 1]
    return pearson([mean(a)[0] for a, _ in halves], [mean(b)[0] for _, b in halves])


def cc_anomalous(plus, minus, seed):
    """CC_anom of one random division with unit weights; ``plus``, ``minus``: groups of I+ and of I-."""
    uniform = np.random.RandomState(seed).random_sample
    first, second = [], []
    for index in plus:
        if len(plus[index]) > 1 and len(minus.get(index, ())) > 1:
            halves = [divide([(x, 1.0) for x, _ in group[index]], uniform) for group in (plus, minus)]
            (p1, p2), (m1, m2) = ([mean(half)[0] for half in pair] for pair in halves)
            first.append(p1 - m1)
            second.append(p2 - m2)
    return pearson(first, second)


def cc_half_analytic(groups):
    """CC1/2 from the variance of the means and the mean of their variances."""
    means, errors = [], []
    for group in groups.values():
        n = len(group)
        if n > 1:
            centre = sum(x for x, _ in group) / n
            means.append(centre)
            errors.append(sum((x - centre) ** 2 for x, _ in group) / (n - 1) / n)
    centre = sum(means) / len(means)
    spread = sum((m - centre) ** 2 for m in means) / (len(means) - 1)
    error = sum(errors) / len(errors)
    return (spread - error) / (spread + error)


def anomalous(plus, minus):
    """R_anom, dF/F, mean |dI|/mean sigma, slope of the normal probability plot, for groups of I+ and of I-."""
    absolute = total = f_difference = f_total = error = 0.0
    ratios = []
    for index in plus:
        if index not in minus:
            continue
        (p, sp), (m, sm) = mean(plus[index]), mean(minus[index])
        wp, wm = internal_sigma(plus[index]) ** -2, internal_sigma(minus[index]) ** -2
        absolute += abs(p - m)
        total += abs((wp * p + wm * m) / (wp + wm))
        error += math.hypot(sp, sm)
        ratios.append((p - m) / math.hypot(sp, sm))
        if p > 0 and m > 0:
            f_difference += (math.sqrt(p) - math.sqrt(m)) ** 2
            f_total += p + m
    n = len(ratios)
    points = [(NormalDist().inv_cdf((i + 0.5) / n), y) for i, y in enumerate(sorted(ratios))]
    points = [(x, y) for x, y in points if abs(x) < 0.9]
    mx, my = (sum(v) / len(points) for v in zip(*points, strict=True))
    slope = sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x, _ in points)
    return absolute / total, math.sqrt(2 * f_difference / f_total), absolute / error, slope
