"""A slow version of estimated restraints: dense matrices, plain numpy, alternating steps until nothing changes.

    F(theta) = sum w (I - g I_h)^2 + sum_k lambda_k q_k(theta),   q_k(theta) = theta' S_k theta

Penalties are written as sums (``PENALTIES``), from which their matrices are computed. Bases are computed from the
formulas of naive.row_scale. Conditions m . theta = t fix what the data cannot determine.
"""

from dataclasses import dataclass, replace

import naive
import numpy as np

from braggscale.models.joint_model import JointModel

GAUGE = 1e3  # strength of m . theta = t, times the data's own information on a scale


# --- penalties: quadratic forms of the parameters of one component ------------------------------------------------


def bends(theta, spacing):
    """Sum of squared second differences, (10/spacing)^3 times."""
    return sum((theta[i] - 2 * theta[i + 1] + theta[i + 2]) ** 2 for i in range(len(theta) - 2)) * (10 / spacing) ** 3


def trend(theta):
    """(Change of the straight line of least squares from end to end)^2."""
    return np.polyfit(np.linspace(0.0, 1.0, len(theta)), theta, 1)[0] ** 2


def laplacian(theta):
    """Sum of (l (l + 1))^2 P_lm^2."""
    total, k, l = 0.0, 0, 1
    while k < len(theta):
        for _ in range(2 * l + 1):
            total += (l * (l + 1) * theta[k]) ** 2
            k += 1
        l += 1
    return total


def uneven(theta, shape):
    """Squared second differences along x (first) and y, and a thousandth of the squared deviations from the mean."""
    grid = theta.reshape(shape[1], shape[0])
    total = sum(bends(row, 10.0) for row in grid) + sum(bends(column, 10.0) for column in grid.T)
    return total + 1e-3 * np.sum((theta - theta.mean()) ** 2)


def scatter(levels):
    """Sum of squared deviations from the mean."""
    return np.sum((levels - levels.mean()) ** 2)


def matrix_of(form, n):
    """S with form(x) = x'Sx, from the form's values at unit vectors and their sums."""
    unit = np.eye(n)
    one = [form(unit[i]) for i in range(n)]
    return np.array([[0.5 * (form(unit[i] + unit[j]) - one[i] - one[j]) for j in range(n)] for i in range(n)])


@dataclass
class Penalty:
    """One q_k: its kind, the places in theta that it acts on, and S, (n_parameters, n_parameters)."""

    kind: str
    matrix: np.ndarray

    @property
    def rank(self):
        """Number of directions that it holds."""
        return np.linalg.matrix_rank(self.matrix, tol=1e-9 * np.abs(self.matrix).max())


def penalty(kind, form, where, n_parameters):
    """``form`` as a penalty on the places ``where``."""
    whole = np.zeros((n_parameters, n_parameters))
    whole[np.ix_(where, where)] = matrix_of(form, len(where))
    return Penalty(kind, whole)


# --- the fit ------------------------------------------------------------------------------------------------------


def basis_of(model, rows):
    """For each component of each data set: its places in theta, and eta of every row for each unit vector.

    eta is 0 for rows of other data sets.
    """
    found = []
    for d, data_set in enumerate(model.data_sets):
        for c, component in enumerate(data_set.components):
            alone = JointModel.of([replace(data_set, components=(component,))])
            eta = np.zeros((len(rows), component.n_parameters))
            mine = replace(rows, data_set=np.zeros_like(rows.data_set))
            for k, unit in enumerate(np.eye(component.n_parameters)):
                for i in np.flatnonzero(rows.data_set == d):
                    value = naive.row_scale(alone, unit, mine, i)
                    eta[i, k] = np.log(value) if component.exponential else value - component.offset
            where = model.where(d, c)
            found.append((np.arange(where.start, where.stop), eta, component.exponential, component.offset, d))
    return found


@dataclass
class Estimation:
    """A problem with its bases.  ``penalties``: list of Penalty.  ``gauge``: list of (m, t), m (n_parameters,)."""

    basis: list
    data_set: np.ndarray
    offsets: np.ndarray
    intensity: np.ndarray
    weight: np.ndarray
    penalties: list
    gauge: list

    def scales(self, theta):
        """g, and its derivatives, (n, n_parameters)."""
        g, slope = np.ones(len(self.intensity)), np.zeros((len(self.intensity), len(theta)))
        for where, eta, exponential, offset, d in self.basis:
            value = np.exp(eta @ theta[where]) if exponential else offset + eta @ theta[where]
            value[self.data_set != d] = 1.0
            g *= value
            # d ln g
            slope[:, where] += eta if exponential else eta / value[:, None]
        return g, slope * g[:, None]

    def restraint(self, strengths, n):
        """Sum of lambda S, and the gauge's part alone."""
        total, pins = np.zeros((n, n)), np.zeros((n, n))
        for p in self.penalties:
            total += strengths[p.kind] * p.matrix
        for m, _ in self.gauge:
            pins += GAUGE * np.sum(self.weight * self.intensity**2) * np.outer(m, m)
        return total, pins

    def cost(self, theta, strengths):
        """F without the gauge, residuals of the data, J with I_h projected out."""
        g, slope = self.scales(theta)
        residual, jacobian = np.empty(len(g)), np.empty(slope.shape)
        for lo, hi in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            i, w = self.intensity[lo:hi], self.weight[lo:hi]
            a = np.sqrt(w) * g[lo:hi]
            best = a @ (np.sqrt(w) * i) / (a @ a)
            residual[lo:hi] = np.sqrt(w) * (i - g[lo:hi] * best)
            j = -np.sqrt(w)[:, None] * best * slope[lo:hi]
            jacobian[lo:hi] = j - np.outer(a, a @ j) / (a @ a)
        total, _ = self.restraint(strengths, len(theta))
        return residual @ residual + theta @ total @ theta, residual, jacobian

    def minimise(self, theta, strengths):
        """theta of least F for these strengths, J'J and N there: Gauss-Newton steps, halved where they go too far."""
        pull, pins = self.restraint(strengths, len(theta))
        for _ in range(200):
            value, residual, jacobian = self.cost(theta, strengths)
            off = sum(GAUGE * np.sum(self.weight * self.intensity**2) * m * (m @ theta - t) for m, t in self.gauge)
            normal = jacobian.T @ jacobian + pull + pins
            step = -np.linalg.solve(normal, jacobian.T @ residual + pull @ theta + off)
            while self.cost(theta + step, strengths)[0] > value * (1 + 1e-12) and np.abs(step).max() > 1e-12:
                step *= 0.5
            theta = theta + step
            if step @ normal @ step < 1e-10:
                break
        jacobian = self.cost(theta, strengths)[2]
        return theta, jacobian.T @ jacobian, jacobian.T @ jacobian + pull + pins

    def estimate(self, theta, strengths, largest=1e9):
        """theta, strengths, and effective parameters where Fellner-Schall steps change nothing any more.

        A strength that would grow without limit stops at ``largest``.
        """
        for _ in range(2000):
            theta, data, normal = self.minimise(theta, strengths)
            inverse = np.linalg.inv(normal)
            new = {}
            for kind, old in strengths.items():
                mine = [p for p in self.penalties if p.kind == kind]
                free = sum(p.rank - old * np.trace(inverse @ p.matrix) for p in mine)
                size = sum(theta @ p.matrix @ theta for p in mine)
                new[kind] = min(free / size, largest)
            change = max(abs(np.log(new[kind] / strengths[kind])) for kind in strengths)
            strengths = new
            if change < 1e-5:
                break
        return theta, strengths, np.diag(inverse @ data)

    def minus_two_log_likelihood(self, strengths, theta):
        """F + ln |N| - ln |sum lambda S|+ at the minimum for these strengths; up to a constant."""
        theta, _, normal = self.minimise(theta, strengths)
        pull, _ = self.restraint(strengths, len(theta))
        eigenvalues = np.sort(np.linalg.eigvalsh(pull))[len(theta) - sum(p.rank for p in self.penalties) :]
        return self.cost(theta, strengths)[0] + np.linalg.slogdet(normal)[1] - np.sum(np.log(eigenvalues))
