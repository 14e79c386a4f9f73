"""The engine alone: one evaluation and one normal matrix, through the package's own Target.

The problem is one sweep with a physical model of 50 parameters (scale, decay, absorption up to l = 4; 30 of them touch
each row) and unique reflections of about seven rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np

from bench.limit import COORDINATES, PAIR
from bench.process import Spread
from braggscale.data.observations import Observations
from braggscale.data.unique_reflections import Groups
from braggscale.fit.least_squares import Target
from braggscale.fit.restraints import Restraints
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.harmonics import Harmonics
from braggscale.models.joint_model import JointModel
from braggscale.models.restraints import ridge
from braggscale.models.smooth import Smooth, axis_over
from braggscale.numerics.array_types import Float
from braggscale.numerics.partitions import threads

IMAGES = 1800.0


@dataclass(frozen=True, slots=True)
class Timing:
    """``one``, ``many``: ms on one thread, and on ``threads``.  ``limit``: ms that memory needs on ``threads``."""

    name: str
    rows: int
    parameters: int
    threads: int
    one: Spread
    many: Spread
    limit: float

    @property
    def gain(self) -> float:
        """Time on one thread by time on all, of the fastest of each: noise only ever adds."""
        return self.one.low / self.many.low


def problem(n: int) -> tuple[Target, Float]:
    """A target with about ``n`` rows, and parameters near its minimum."""
    rng = np.random.default_rng(7)
    sizes = rng.integers(4, 11, n // 7 + 1)
    n = int(sizes.sum())
    d = np.repeat(rng.uniform(1.5, 6.0, len(sizes)), sizes)
    nothing = np.ones(n)
    rows = Observations(
        row=np.arange(n), data_set=np.zeros(n, np.int32), hkl=np.zeros((n, 3), np.int32), d=d,
        xyz=rng.uniform(0, [2000, 2000, IMAGES], (n, 3)), s0c=_directions(rng, n), s1c=_directions(rng, n),
        partiality=nothing, correction=nothing, i_sum=nothing, v_sum=nothing, i_prf=nothing, v_prf=nothing,
        has_sum=np.ones(n, bool), has_prf=np.ones(n, bool),
    )  # fmt: skip
    scale, decay = (axis_over("image", (k - 2) / IMAGES, 0.0, IMAGES, k) for k in (14, 12))
    components = (
        Smooth("scale", (scale,)),
        Smooth("decay", (decay,), b_factor=True, restraints=(ridge(decay.n, 0.1),)),
        Harmonics("absorption", 4, (ridge(24, 50.0),)),
    )
    model = JointModel.of([DataSetModel("physical", components, {})])
    truth = model.null() + rng.normal(scale=0.02, size=model.n_parameters)
    g = model.evaluate(rows, truth)[0]
    expected = np.repeat(rng.exponential(1000.0, len(sizes)), sizes) * g
    sigma = np.sqrt(expected + 100.0)
    groups = Groups(np.concatenate(([0], np.cumsum(sizes))).astype(np.int64))
    intensity = expected + sigma * rng.standard_normal(n)
    target = Target(
        model.design(rows), groups, intensity, 1 / sigma**2, Restraints(model.restraints()), truth,
        np.arange(model.n_parameters),
    )  # fmt: skip
    return target, truth + rng.normal(scale=0.002, size=len(truth))


def _directions(rng: np.random.Generator, n: int) -> Float:
    v = rng.normal(size=(n, 3))
    directions: Float = v / np.linalg.norm(v, axis=1)[:, None]
    return directions


def timings(n: int, n_threads: int, repeat: int, bandwidth: float) -> list[Timing]:
    """Evaluation and normal matrix, on one and on ``n_threads`` threads by turns."""
    target, theta = problem(n)
    n = target.groups.n_rows
    limit = 1e3 * n * (COORDINATES + PAIR) / bandwidth
    found = []
    work: dict[str, Callable[[Float], object]] = {
        "value_and_gradient": target.value_and_gradient,
        "normal_equations": lambda at: target.quadratic(at).equations(),
    }
    for name, evaluate in work.items():
        pair: tuple[list[float], list[float]] = ([], [])
        for k in range(-1, repeat):  # the first is not counted
            for times, used in zip(pair, (1, n_threads), strict=True):
                with threads(used):
                    spent = _milliseconds(partial(evaluate, theta))
                if k >= 0:
                    times.append(spent)
        slow, fast = (Spread.of(times) for times in pair)
        found.append(Timing(name, n, len(theta), n_threads, slow, fast, limit))
    return found


def _milliseconds(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return 1e3 * (perf_counter() - begin)
