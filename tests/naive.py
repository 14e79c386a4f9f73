"""Slow, obvious versions of fast code: loops whose correctness is easy to see. One section per module."""

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
    """Standard deviation of the mean, at least as large as the scatter implies."""
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


# --- target and models ------------------------------------------------------------------------------------------


def smooth_value(axes, parameters, coordinates):
    """Gaussian-weighted average of the parameters next to one point; ``axes`` is [(n, u)], first axis fastest."""
    windows = []
    for n, _ in axes:
        windows.append(min(3, n))
    sigma = 0.65 + 0.05 * (min(windows) - 2)
    chosen = []
    for (n, _), u, k in zip(axes, coordinates, windows, strict=True):
        if n <= 3:
            chosen.append(range(n))
            continue
        x = u - k / 2
        first = math.copysign(math.floor(abs(x) + 0.5), x) + 1
        last = first + k
        if first < 0:
            first, last = 0, max(2, last)
        if last > n:
            first, last = min(first, n - 2), n
        chosen.append(range(int(first), int(last)))
    total, norm = 0.0, 0.0

    def visit(axis, index, stride, distance):
        nonlocal total, norm
        if axis == len(axes):
            w = math.exp(-distance / sigma**2)
            total += w * parameters[index]
            norm += w
            return
        n = axes[axis][0]
        for i in chosen[axis]:
            place = i - 0.5 if n >= 4 else i
            visit(axis + 1, index + stride * i, stride * n, distance + (coordinates[axis] - place) ** 2)

    visit(0, 0, 1, 0.0)
    return total / norm


def row_scale(model, theta, rows, i):
    """Inverse scale factor of row i by the formulas, component by component."""
    from scipy.special import sph_harm_y

    d = int(rows.data_set[i])
    g = 1.0
    for c, component in enumerate(model.data_sets[d].components):
        p = theta[model.where(d, c)]
        if component.name == "absorption" and hasattr(component, "lmax"):
            total, k = 0.0, 0
            for l in range(1, component.lmax + 1):
                for m in range(-l, l + 1):
                    mean = 0.0
                    for v in (rows.s0c[i], rows.s1c[i]):
                        if not (rows.s0c[i].any() and rows.s1c[i].any()):
                            continue
                        y = sph_harm_y(l, abs(m), math.acos(np.clip(v[2], -1, 1)), math.atan2(v[1], v[0]))
                        sign = math.sqrt(2) * (-1) ** m
                        mean += 0.5 * (y.real if m == 0 else sign * (y.imag if m < 0 else y.real))
                    total += p[k] * mean
                    k += 1
            g *= 1 + total
            continue
        if component.name == "image":
            g *= math.exp(image_effect(component, p, rows, i))
            continue
        raw = {
            "image": rows.xyz[i, 2],
            "x": rows.xyz[i, 0],
            "y": rows.xyz[i, 1],
            "inverse_d2": 1 / rows.d[i] ** 2,
        }
        axes, u = [], []
        for axis in component.axes:
            n_intervals = axis.n - 1 if axis.n < 4 else axis.n - 2
            spacing = axis.span / n_intervals
            axes.append((axis.n, None))
            u.append((raw[axis.coordinate] * axis.factor - axis.origin) / spacing)
        value = smooth_value(axes, p, u) if axes else p[0]
        if component.logarithm:
            value = math.exp(value)
        g *= math.exp(value / (2 * rows.d[i] ** 2)) if component.b_factor else value
    return g


def image_effect(component, effects, rows, i):
    """Mean of the bins' effects over the rocking curve of row i, a normal distribution."""
    beam = np.cross(rows.s1c[i], rows.s0c[i])
    zeta = abs(beam @ component.axis) / np.linalg.norm(beam)
    curve = NormalDist(rows.xyz[i, 2] - component.first, component.spread / max(zeta, 0.05))
    share = [
        curve.cdf((k + 1) * component.per_bin) - curve.cdf(k * component.per_bin) for k in range(component.n_parameters)
    ]
    return sum(s * e for s, e in zip(share, effects, strict=True)) / sum(share)


def scaling_cost(model, theta, rows, offsets, intensity, weight, restraints):
    """sum w (I - g I_h)^2 + restraints."""
    total = 0.0
    for h in range(len(offsets) - 1):
        members = range(offsets[h], offsets[h + 1])
        g = {i: row_scale(model, theta, rows, i) for i in members}
        mean = sum(weight[i] * g[i] * intensity[i] for i in members)
        mean /= sum(weight[i] * g[i] ** 2 for i in members)
        total += sum(weight[i] * (intensity[i] - g[i] * mean) ** 2 for i in members)
    for where, restraint in restraints:
        shift = theta[where] - restraint.target
        total += restraint.strength * shift @ restraint.dense() @ shift
    return total


def kaufman_normal_matrix(model, theta, rows, offsets, intensity, weight, step=1e-6):
    """J'J with J = J0 projected off a = sqrt(w) g inside each group, J0 = -sqrt(w) I_h dg by differences."""
    n, m = len(intensity), len(theta)
    g = np.array([row_scale(model, theta, rows, i) for i in range(n)])
    dg = np.empty((n, m))
    for p in range(m):
        plus, minus = theta.copy(), theta.copy()
        plus[p] += step
        minus[p] -= step
        for i in range(n):
            dg[i, p] = (row_scale(model, plus, rows, i) - row_scale(model, minus, rows, i)) / (2 * step)
    jacobian = np.empty((n, m))
    for h in range(len(offsets) - 1):
        part = slice(offsets[h], offsets[h + 1])
        w, a = weight[part], np.sqrt(weight[part]) * g[part]
        mean = np.sum(w * g[part] * intensity[part]) / np.sum(w * g[part] ** 2)
        j0 = -np.sqrt(w)[:, None] * mean * dg[part]
        jacobian[part] = j0 - np.outer(a, a @ j0) / (a @ a)
    return jacobian.T @ jacobian


# --- rounds ------------------------------------------------------------------------------------------------------


def variance_at(model, i, mu):
    """V' of row i at the expected intensity mu."""
    d = model.data_set[i]
    r = model.relative[i] if len(model.relative) else 0.0
    v = model.variance[i] - r * model.intensity[i] ** 2
    if model.gain[d] > 0:
        v = max(
            v + model.gain[d] * model.factor[i] * (mu - abs(model.intensity[i])), model.factor[i] ** 2 * model.floor[d]
        )
    return model.a2[d] * (v + model.linear[d] * max(mu, 0) + model.b2[d] * mu**2 + r * mu**2)


def weighted_best(rows, intensity, variance, g):
    """sum g I/V / sum g^2/V, 0 without rows."""
    below = sum(g[i] ** 2 / variance[i] for i in rows)
    return sum(g[i] * intensity[i] / variance[i] for i in rows) / below if below else 0.0


def expect(of, g, out, groups):
    """I_h of each group, weighted with V, then with V', and V' at g I_h."""
    mean_intensity, variance = [], of.variance.copy()
    for lo, hi in zip(groups.offsets[:-1], groups.offsets[1:], strict=True):
        for _ in range(2):
            mean = weighted_best([i for i in range(lo, hi) if not out[i] and g[i] > 0], of.intensity, variance, g)
            for i in range(lo, hi):
                variance[i] = variance_at(of, i, g[i] * mean)
        mean_intensity.append(mean)
    return np.array(mean_intensity), variance


def robust_weights(intensity, variance, g, mean_intensity, out, groups, unit, flat, soft_limit, zmax, zero_weight_at):
    """Weights and z^2, row by row."""
    weight, z2 = np.zeros(len(g)), np.zeros(len(g))
    for h, (lo, hi) in enumerate(zip(groups.offsets[:-1], groups.offsets[1:], strict=True)):
        total = sum(g[i] ** 2 / variance[i] for i in range(lo, hi) if not out[i]) or 1.0
        for i in range(lo, hi):
            share = g[i] ** 2 / variance[i] / total
            left = 1 + share if out[i] else max(1 - share, 0.05)
            z2[i] = (intensity[i] - g[i] * mean_intensity[h]) ** 2 / (variance[i] * left)
            q = z2[i] / unit / soft_limit**2
            weight[i] = (1 / math.sqrt(1 + q * q) if flat else (1 + 1 / soft_limit**2) / (1 + q)) / variance[i]
            if out[i]:
                weight[i] *= min(max((zero_weight_at - math.sqrt(z2[i] / unit) / zmax) / (zero_weight_at - 1), 0), 1)
    return weight, z2


def error_model_variance(model, expected, mu):
    """a^2 (V + c mu+ + (b mu)^2)."""
    return model.a**2 * (expected + model.c * max(mu, 0) + (model.b * mu) ** 2)


def error_residuals(i, v, g, groups, model, out, fitted):
    """r^2/f, f = (1 - h)(1 - s) and mu of each row."""
    square, freedom, mu = np.zeros(len(i)), np.zeros(len(i)), np.zeros(len(i))
    for lo, hi in zip(groups.offsets[:-1], groups.offsets[1:], strict=True):
        inside = [j for j in range(lo, hi) if not out[j]]
        variance = v.copy()
        for _ in range(3):
            mean = weighted_best(inside, i, variance, g)
            for j in range(lo, hi):
                variance[j] = error_model_variance(model, v[j], g[j] * mean)
        mean = weighted_best(inside, i, variance, g)
        for j in range(lo, hi):
            mu[j] = g[j] * mean
        for j in inside:
            left = 1 - g[j] ** 2 / variance[j] / sum(g[k] ** 2 / variance[k] for k in inside)
            if len(fitted):
                left *= 1 - min(mu[j] ** 2 * fitted[j] / variance[j], 0.9)
            if left > 1e-6:
                square[j], freedom[j] = (i[j] - mu[j]) ** 2 / left, left
    return square, freedom, mu


def scoring_sums(square, freedom, expected, mu, model, cut2):
    """Sums of a scoring step over the rows within the cut."""
    matrix, right, other = np.zeros((3, 3)), np.zeros(3), np.zeros(2)
    for y, f, v, m in zip(square, freedom, expected, mu, strict=True):
        variance = error_model_variance(model, v, m)
        if f > 0 and y <= cut2 * variance:
            x = np.array([v, m * m, max(m, 0)])
            w = f / variance**2
            matrix += w * np.outer(x, x)
            right += w * x * y
            other += w * variance * np.array([y, variance])
    return np.concatenate((matrix[np.triu_indices(3)], right, other))


def compare(intensity, w, g, groups, mean_intensity, strong):
    """Residuals, plain means, their variances, and sums of one candidate for the intensities."""
    residual, plain, scatter, sums = (
        np.zeros(len(g)),
        np.zeros(len(mean_intensity)),
        np.zeros(len(mean_intensity)),
        np.zeros(4),
    )
    for h, (lo, hi) in enumerate(zip(groups.offsets[:-1], groups.offsets[1:], strict=True)):
        n, rows = hi - lo, range(lo, hi)
        mean = weighted_best(rows, intensity, 1 / w, g)
        for i in rows:
            residual[i] = intensity[i] - g[i] * mean
            sums[0] += w[i] * g[i] * mean * g[i] * mean_intensity[h]
            sums[1] += w[i] * (g[i] * mean_intensity[h]) ** 2
        if strong[h]:
            x = [intensity[i] / g[i] for i in rows]
            sums[2] += math.sqrt(n / (n - 1)) * sum(abs(value - mean) for value in x)
            sums[3] += sum(x)
            plain[h] = sum(x) / n
            scatter[h] = sum((value - plain[h]) ** 2 for value in x) / (n - 1) / n
    return residual, plain, scatter, sums


def halve(words, coins, weight, x, groups):
    """Means of the two halves of each group for each row of coins; pairs are counted through all groups."""
    one, other = np.zeros((2, len(coins), len(groups)))
    pair = 0
    for h, (lo, hi) in enumerate(zip(groups.offsets[:-1], groups.offsets[1:], strict=True)):
        order = sorted(range(lo, hi), key=lambda i: words[i])
        for c, toss in enumerate(coins):
            halves = [], []
            for k, i in enumerate(order):
                heads = toss[pair + k // 2]
                halves[int(heads) == k % 2].append(i)
            for result, rows in zip((one, other), halves, strict=True):
                result[c, h] = sum(weight[i] * x[i] for i in rows) / sum(weight[i] for i in rows)
        pair += (len(order) + 1) // 2
    return one, other


def mean_cc_half(x, group, shell):
    """Analytic CC1/2 of each shell, averaged with the numbers of reflections as weights; plain loops."""
    total, weights = 0.0, 0
    for b in set(shell.tolist()):
        means, errors = [], []
        for h in np.unique(group):
            values = [v for v, k in zip(x, group, strict=True) if k == h]
            if shell[h] != b or len(values) < 2:
                continue
            m = sum(values) / len(values)
            means.append(m)
            errors.append(sum((v - m) ** 2 for v in values) / (len(values) * (len(values) - 1)))
        if len(means) < 3:
            continue
        m = sum(means) / len(means)
        spread = sum((v - m) ** 2 for v in means) / (len(means) - 1)
        error = sum(errors) / len(errors)
        total += len(means) * (spread - error) / (spread + error)
        weights += len(means)
    return total / weights if weights else math.nan


def decay_r(x, group, data_set, image):
    """Numerator, denominator and number of pairs of R_d by the difference of images."""
    found = {}
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            if group[i] == group[j] and data_set[i] == data_set[j]:
                d = abs(int(image[i]) - int(image[j]))
                above, below, n = found.get(d, (0.0, 0.0, 0))
                found[d] = above + abs(x[i] - x[j]), below + 0.5 * (x[i] + x[j]), n + 1
    return found


def deviation(i, v, g, k, others):
    """z of row k against the weighted mean of ``others``; 0 where there are none."""
    s = sum(g[j] ** 2 / v[j] for j in others)
    if s == 0:
        return 0.0
    m = sum(g[j] * i[j] / v[j] for j in others) / s
    return float((i[k] - g[k] * m) / math.sqrt(v[k] + g[k] ** 2 / s))


def leave_worst_out(squares, n, out, zmax):
    """Outliers among n members: the worst is rejected while beyond zmax, the best accepted again while below 0.9 zmax.

    ``squares``: z^2 of all members for given numbers of the members that are out.  ``out``: those at the start.
    """
    out = [] if n - len(out) < 2 else list(out)
    while True:
        inside, z2 = [j for j in range(n) if j not in out], squares(out)
        worst = max(inside, key=lambda j: z2[j])
        if z2[worst] > zmax**2 and len(inside) > 2:
            out.append(worst)
            continue
        back = [j for j in out if z2[j] < (0.9 * zmax) ** 2]
        if not back:
            return out
        out.remove(min(back, key=lambda j: z2[j]))


def outliers(i, v, g, groups, zmax, previous):
    """Rows that are rejected with given variances; no weight is more than ten times the median."""
    result = np.zeros(len(i), np.bool_)
    for first, last in zip(groups.offsets[:-1], groups.offsets[1:], strict=True):
        n = last - first
        if n < 3:
            continue
        x, s = i[first:last], g[first:last]
        cap = 10 * np.median(s**2 / v[first:last])
        w = np.maximum(v[first:last], s**2 / cap)

        def squares(out, x=x, w=w, s=s, n=n):
            inside = [j for j in range(n) if j not in out]
            return [deviation(x, w, s, j, [k for k in inside if k != j]) ** 2 for j in range(n)]

        out = leave_worst_out(squares, n, [j for j in range(n) if previous[first + j]], zmax)
        result[[first + j for j in out]] = True
    return result


def mates_outliers(i, v, g, groups, plus, difference, zmax, previous):
    """Rows that are rejected if Friedel mates may differ."""
    result = np.zeros(len(i), np.bool_)
    for first, last in zip(groups.offsets[:-1], groups.offsets[1:], strict=True):
        rows, n = slice(first, last), last - first

        def squares(out, rows=rows, n=n, tau=difference[first]):
            mask = np.isin(np.arange(n), out)
            return mates_squares(i[rows], v[rows], g[rows], plus[rows], tau, mask)

        out = leave_worst_out(squares, n, [j for j in range(n) if previous[first + j]], zmax)
        result[[first + j for j in out]] = True
    return result


def mates_squares(i, v, g, plus, difference, out):
    """z^2 of every row of one reflection against the others that are in, as a linear model with a normal prior.

    Members have mean J + e delta, e = +-1, delta ~ N(0, difference/4): generalised least squares with the full
    covariance, J free.
    """
    result = np.zeros(len(i))
    e = np.where(plus, 1.0, -1.0)
    for k in range(len(i)):
        others = [j for j in range(len(i)) if j != k and not out[j]]
        if not others:
            continue
        y, ye = i[others] / g[others], e[others]
        covariance = np.diag(v[others] / g[others] ** 2) + difference / 4 * np.outer(ye, ye)
        inverse = np.linalg.inv(covariance)
        ones = np.ones(len(others))
        weight = ones @ inverse @ ones
        j = ones @ inverse @ y / weight
        cross = difference / 4 * e[k] * ye
        prediction = j + cross @ inverse @ (y - j)
        left = 1.0 - cross @ inverse @ ones
        variance = difference / 4 - cross @ inverse @ cross + left**2 / weight
        result[k] = (i[k] / g[k] - prediction) ** 2 / (v[k] / g[k] ** 2 + variance)
    return result


def held_out_loss(i, v, g, use):
    """Loss of one reflection, see cross_validation.py."""
    rows = [k for k in range(len(i)) if use[k]]
    total = sum(g[k] ** 2 / v[k] for k in rows)
    mean = sum(g[k] * i[k] / v[k] for k in rows) / total if rows else 0.0
    loss = 0.0
    for k in rows:
        freedom = 1.0 - g[k] ** 2 / v[k] / total
        if freedom > 1e-6:
            z2 = (i[k] - g[k] * mean) ** 2 / (v[k] * freedom)
            loss += freedom * 2.5 * np.log(1.0 + z2 / 4.0)
    return loss


def gauss_newton(function, theta, steps=100):
    """Minimise by solving (N + mu diag N) step = -gradient/2; ``function``: theta -> cost, gradient, N."""
    mu, (cost, gradient, normal) = 1e-6, function(theta)
    for _ in range(steps):
        damped = normal + mu * np.diag(np.diag(normal))
        trial = theta - 0.5 * np.linalg.solve(damped, gradient)
        found = function(trial)
        if found[0] <= cost:
            gain, theta, (cost, gradient, normal), mu = cost - found[0], trial, found, 0.1 * mu
            if gain < 1e-13 * cost:
                break
        else:
            mu *= 10.0
    return theta, cost, normal
