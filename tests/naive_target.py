"""Slow, obvious versions of the scaling problem: loops a reader believes at sight."""

import math

import numpy as np


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


def scale(model, theta, rows, i):
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
        g *= math.exp(value / (2 * rows.d[i] ** 2)) if component.b_factor else value
    return g


def cost(model, theta, rows, offsets, intensity, weight, restraints):
    """sum w (I - g I_h)^2 + restraints."""
    total = 0.0
    for h in range(len(offsets) - 1):
        members = range(offsets[h], offsets[h + 1])
        g = {i: scale(model, theta, rows, i) for i in members}
        mean = sum(weight[i] * g[i] * intensity[i] for i in members)
        mean /= sum(weight[i] * g[i] ** 2 for i in members)
        total += sum(weight[i] * (intensity[i] - g[i] * mean) ** 2 for i in members)
    for where, restraint in restraints:
        shift = theta[where] - restraint.target
        total += restraint.strength * shift @ restraint.penalty @ shift
    return total


def residuals(model, theta, rows, offsets, intensity, weight):
    """sqrt(w) (I - g I_h), (n,)."""
    result = np.empty(len(intensity))
    for h in range(len(offsets) - 1):
        members = range(offsets[h], offsets[h + 1])
        g = {i: scale(model, theta, rows, i) for i in members}
        mean = sum(weight[i] * g[i] * intensity[i] for i in members)
        mean /= sum(weight[i] * g[i] ** 2 for i in members)
        for i in members:
            result[i] = math.sqrt(weight[i]) * (intensity[i] - g[i] * mean)
    return result


def kaufman_normal_matrix(model, theta, rows, offsets, intensity, weight, step=1e-6):
    """J'J with J = J0 projected off a = sqrt(w) g inside each group, J0 = -sqrt(w) I_h dg by differences."""
    n, m = len(intensity), len(theta)
    g = np.array([scale(model, theta, rows, i) for i in range(n)])
    dg = np.empty((n, m))
    for p in range(m):
        plus, minus = theta.copy(), theta.copy()
        plus[p] += step
        minus[p] -= step
        for i in range(n):
            dg[i, p] = (scale(model, plus, rows, i) - scale(model, minus, rows, i)) / (2 * step)
    jacobian = np.empty((n, m))
    for h in range(len(offsets) - 1):
        part = slice(offsets[h], offsets[h + 1])
        w, a = weight[part], np.sqrt(weight[part]) * g[part]
        mean = np.sum(w * g[part] * intensity[part]) / np.sum(w * g[part] ** 2)
        j0 = -np.sqrt(w)[:, None] * mean * dg[part]
        jacobian[part] = j0 - np.outer(a, a @ j0) / (a @ a)
    return jacobian.T @ jacobian
