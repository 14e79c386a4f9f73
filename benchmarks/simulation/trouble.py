"""What goes wrong with whole crystals: other indices, another cell, another structure.

A crystal that is indexed in another way has indices h' = h N, rows, and axes N^T times the axes. A bad crystal
scatters like a mixture of the true structure and a foreign one, I = (1 - q) T + q T', where T' is the intensity of
another reflection of nearly the same resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.reindexing import alternatives, matrix_of
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Float, Int, Int32
from simulation.design import Options, Plan, Stream, stream
from simulation.lattice import Lattice, Truth

# Distance, in the order of resolution, to the reflection whose intensity a foreign structure has.
FAR = 17


@dataclass(frozen=True, slots=True)
class Trouble:
    """``operator``: N, (3, 3).  ``foreign``: q.  ``stretch``: factor on the third axis."""

    operator: Float
    foreign: float = 0.0
    stretch: float = 1.0

    def indices(self, hkl: Int32) -> Int32:
        """h N, (n, 3)."""
        result: Int32 = np.rint(hkl @ self.operator).astype(np.int32)
        return result

    def axes(self, plan: Plan) -> Float:
        """Rows a, b, c as the files have them, (3, 3), Angstrom."""
        real: Float = self.operator.T @ np.linalg.inv(plan.reciprocal)
        if self.stretch != 1.0:
            real = np.diag([1.0, 1.0, self.stretch]) @ real
        return real


def troubles(options: Options, lattice: Lattice) -> list[Trouble]:
    """Of every data set: a share is indexed in another way, and the last ``bad`` ones do not belong.

    Of these every third has another cell (2.5 % longer, and 40 % foreign), is damaged (30 % foreign), or has indices
    that the space group does not allow to mend (axes permuted or turned).
    """
    ways = [matrix_of(text) for text in alternatives(lattice.cell, Symmetry.from_hall(lattice.hall.strip()))]
    rng = stream(options.seed, Stream.TROUBLE)
    result = []
    for k in range(options.count):
        turned = rng.random() < options.misindexed and len(ways) > 1
        way = ways[1 + int(rng.integers(len(ways) - 1))] if turned else np.eye(3)
        which = k - (options.count - options.bad)
        if which < 0:
            result.append(Trouble(way))
        elif which % 3 == 0:
            result.append(Trouble(way, 0.4, 1.025))
        elif which % 3 == 1:
            result.append(Trouble(way, 0.3))
        else:
            wrong = ways[1] if len(ways) > 1 else np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
            result.append(Trouble(wrong))
    return result


def damaged_intensity(truth: Truth, part: float, law: str, unique: Int, dose: Float) -> Float:
    """Intensity of each row at its dose, from 0 to 1; ``part`` of the structure has changed at the end, (n,).

    linear       (1 - q) T + q T', q = part * dose
    exponential  the same, q = part (1 - exp(-1.5 dose))/(1 - exp(-1.5))
    saturating   the same, q = part (1 - exp(-5 dose))/(1 - exp(-5))
    sites        amplitudes are added with a phase of each reflection's own, |sqrt(1 - q) F + sqrt(q) F'|^2 with
                 q = (part dose/2)^2, so that the change of the amplitude is linear
    ``unique``: place in ``Truth.intensity``, (n,).
    """
    own, other = truth.intensity[unique], seen_intensity(truth, 1.0)[unique]
    if law == "sites":
        q = (0.5 * part * dose) ** 2
        phase = np.random.default_rng(len(truth.d)).uniform(0.0, np.pi, len(truth.d))[unique // 2]
        return np.asarray((1 - q) * own + q * other + 2 * np.cos(phase) * np.sqrt(q * (1 - q) * own * other))
    rate = {"linear": 0.0, "exponential": 1.5, "saturating": 5.0}[law]
    course = np.expm1(-rate * dose) / np.expm1(-rate) if rate else dose
    return np.asarray(own + part * course * (other - own))


def seen_intensity(truth: Truth, foreign: float) -> Float:
    """Intensities of a crystal that is partly foreign, in the order of ``Truth.index``, (2 n,)."""
    if foreign == 0.0:
        return truth.intensity
    order = np.argsort(truth.d, kind="stable")
    other = np.empty(len(order), np.int64)
    other[order] = np.roll(order, FAR)
    pairs = np.column_stack((truth.plus, truth.minus))
    mixed: Float = ((1 - foreign) * pairs + foreign * pairs[other]).reshape(-1)
    return mixed
