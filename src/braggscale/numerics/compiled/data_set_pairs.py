"""Compiled loops of the normal matrix by pairs of data sets (data_set_pairs.py).

Arguments and derivation as in normal_equations.py; ``factor``, ``size``, ``along`` are those of
jacobian_products.linearise. ``owner``: data set of each parameter, -1 for parameters that several share,
(n_parameters,).  ``place``: number of each parameter among those of its data set, or among the shared ones,
(n_parameters,). A row of J0 consists of x for the parameters of its data set and y for shared ones.
"""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.scale_factor import DESIGN, JIT, jacobian_row

ROWS = DESIGN + ", float64[:, ::1], float64[::1], float64[::1], int32[::1], int32[::1]"


@njit("void(int64, int64, int64[::1], " + ROWS + ", float64[:, ::1], float64[:, ::1])", **JIT)
def shared_rows(first, last, offsets, design, factor, size, along, owner, place, rows, matrix):
    """The parts of J0'J0, and of the projection, that belong to shared parameters, for groups ``first`` to ``last``
    - 1.

    ``rows``: sum_i along_i y_i of each group, (n_groups, n_shared).  ``matrix``: y_i y_i' are added to it,
    (n_shared, n_shared).
    """
    n_nonzeros = design[0].shape[1]
    y, index = np.zeros(n_nonzeros), np.zeros(n_nonzeros, np.int64)
    for h in range(first, last):
        for i in range(offsets[h], offsets[h + 1]):
            n = 0
            for a in range(jacobian_row(i, design, factor[i], -size[i], -1, y, index)):
                if owner[index[a]] < 0:
                    y[n], index[n] = y[a], place[index[a]]
                    n += 1
            for a in range(n):
                rows[h, index[a]] += along[i] * y[a]
                for b in range(n):
                    matrix[index[a], index[b]] += y[a] * y[b]


@njit(
    "void(int64[::1], int64[::1], int64, " + ROWS + ", float64[:, ::1], float64[:, ::1], float64[:, ::1])",
    **JIT,
)
def own_rows(mine, cell, width, design, factor, size, along, owner, place, cells, block, cross):
    """Contributions of the rows ``mine`` of one data set.  ``cell``: of each row, (n,).

    ``cells``: sum_i along_i x_i of each cell, (n_cells, widest).  ``block``: x_i x_i' are added to it, (width, widest).
    ``cross``: y_i x_i' are added to it, (n_shared, widest).
    """
    widest, n_nonzeros = np.uint64(cells.shape[1]), design[0].shape[1]
    x, y, index = np.zeros(widest), np.zeros(n_nonzeros), np.zeros(n_nonzeros, np.int64)
    for i in mine:
        x[:] = 0.0
        n = 0
        for a in range(jacobian_row(i, design, factor[i], -size[i], -1, y, index)):
            p = index[a]
            if owner[p] >= 0:
                x[place[p]] = y[a]
            else:
                y[n], index[n] = y[a], place[p]
                n += 1
        k = np.uint64(cell[i])
        for a in range(widest):
            cells[k, a] += along[i] * x[a]
        for b in range(width):
            z = x[b]
            for a in range(widest):
                block[b, a] += z * x[a]
        for b in range(n):
            z, q = y[b], np.uint64(index[b])
            for a in range(widest):
                cross[q, a] += z * x[a]


@njit(
    "void(int64, int64, int64[::1], float64[:, ::1], int64[::1], int32[::1], float64[::1], float64[:, ::1])",
    **JIT,
)
def projected_cross(first, last, group, cells, offsets, index, value, cross):
    """Subtract b_c r_h' from ``cross``, (n_shared, widest), for the cells ``first`` to ``last`` - 1.

    ``group``: of each cell, (n_cells,).  r_h: ``value`` at ``index`` from ``offsets[h]`` on.
    """
    widest = np.uint64(cells.shape[1])
    for c in range(first, last):
        k = np.uint64(c)
        for t in range(offsets[group[c]], offsets[group[c] + 1]):
            z, q = value[t], np.uint64(index[t])
            for a in range(widest):
                cross[q, a] -= z * cells[k, a]


@njit(
    "void(int64, int64[::1], int64[::1], int64[::1], int64[::1], int32[::1], float64[:, ::1], int64[::1], int64[::1], "
    "float64[:, ::1])",
    **JIT,
)
def pairs(d, first, group, offsets, of_group, owner, cells, members, bounds, matrix):
    """Subtract sum_h b_dh b_eh' from ``matrix``, (n_parameters, n_parameters), for all data sets e from ``d`` on.

    Only one side of the diagonal is filled, and for e = d only half the value; the caller adds the transpose.

    ``first``: first cell of each data set and the end, (n_sets + 1,).  ``group``, ``owner``: of each cell, (n_cells,).
    ``of_group``: cells of group h in order from ``offsets[h]`` on.
    ``members``: positions in theta of the parameters of data set e, from ``bounds[e]`` on.
    """
    n_sets = len(first) - 1
    place = np.zeros(n_sets + 1, np.int64)
    for c in range(first[d], first[d + 1]):
        for q in range(offsets[group[c]], offsets[group[c] + 1]):
            if owner[of_group[q]] >= d:
                place[owner[of_group[q]] + 1] += 1
    for e in range(n_sets):
        place[e + 1] += place[e]
    free = place.copy()
    left, right = np.empty(place[n_sets], np.int64), np.empty(place[n_sets], np.int64)
    for c in range(first[d], first[d + 1]):
        for q in range(offsets[group[c]], offsets[group[c] + 1]):
            e = owner[of_group[q]]
            if e >= d:
                left[free[e]] = c
                right[free[e]] = of_group[q]
                free[e] += 1
    width = bounds[d + 1] - bounds[d]
    total = np.zeros((width, cells.shape[1]))
    for e in range(d, n_sets):
        k, last = place[e], place[e + 1]
        if k == last:
            continue
        total[:] = 0.0
        columns = np.uint64(bounds[e + 1] - bounds[e])
        # four at a time, so that each sum is loaded and stored only once for them
        while k + 4 <= last:
            l0, l1, l2, l3 = left[k], left[k + 1], left[k + 2], left[k + 3]
            r0, r1 = np.uint64(right[k]), np.uint64(right[k + 1])
            r2, r3 = np.uint64(right[k + 2]), np.uint64(right[k + 3])
            for a in range(width):
                x0, x1, x2, x3 = cells[l0, a], cells[l1, a], cells[l2, a], cells[l3, a]
                for b in range(columns):
                    total[a, b] += x0 * cells[r0, b] + x1 * cells[r1, b] + x2 * cells[r2, b] + x3 * cells[r3, b]
            k += 4
        while k < last:
            l0, r0 = left[k], np.uint64(right[k])
            for a in range(width):
                x0 = cells[l0, a]
                for b in range(columns):
                    total[a, b] += x0 * cells[r0, b]
            k += 1
        share = 0.5 if e == d else 1.0
        for a in range(width):
            p = members[bounds[d] + a]
            for b in range(bounds[e + 1] - bounds[e]):
                matrix[p, members[bounds[e] + b]] -= share * total[a, b]


@njit("void(float64[:, ::1], int64[::1], int64[::1], float64, float64[:, ::1])", **JIT)
def add_part(matrix, rows, columns, times, part):
    """Add ``times`` times a part to the ``rows`` and ``columns`` of a matrix."""
    for a in range(len(rows)):
        p = rows[a]
        for b in range(len(columns)):
            matrix[p, columns[b]] += times * part[a, b]
