"""What no equivalents can tell: corrections together have no trend with resolution, whatever each of them does."""

from __future__ import annotations

import numpy as np
import pytest

from braggscale.data.observations import GeometryCopy
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.detector_map import detector_map
from braggscale.models.joint_model import JointModel
from braggscale.models.resolution_trend import resolution_trend
from braggscale.models.smooth import Smooth
from braggscale.numerics.array_types import Float

SIZE = 1000
N = 6000


def rows_of(n_sets: int, seed: int = 2) -> GeometryCopy:
    """Rows on a detector whose middle is the beam; with two data sets the second reaches half as far."""
    rng = np.random.default_rng(seed)
    data_set = np.sort(rng.integers(0, n_sets, N)).astype(np.int32)
    radius = 480.0 * np.sqrt(rng.uniform(0.02, 1.0, N)) * np.where(data_set > 0, 0.5, 1.0)
    angle = rng.uniform(0.0, 2.0 * np.pi, N)
    xy = 500.0 + radius[:, None] * np.column_stack((np.cos(angle), np.sin(angle)))
    xyz = np.column_stack((xy, np.zeros(N)))
    zeros = np.zeros((N, 3))
    return GeometryCopy(data_set, 600.0 / radius, xyz, zeros, zeros)


def with_map(n_sets: int, height: Float) -> tuple[JointModel, Float]:
    """Models of one constant and one map each, not shared; ``height``: ln of the map at its parameters, (n,)."""
    map_of = detector_map((SIZE, SIZE), 16, True)
    models = [DataSetModel("KB", (Smooth("scale", ()), map_of), {}, ("modulation",)) for _ in range(n_sets)]
    joint = JointModel.of(models)
    theta = joint.null()
    for _, component, where in joint.parts():
        if component.name == "modulation":
            theta[where] = height
    return joint, theta


def radius_of_parameters() -> Float:
    """Of each parameter of the map from its middle, in units of half the side, (n,)."""
    axes = detector_map((SIZE, SIZE), 16, True).axes
    x, y = (axis.raw_places() / (0.5 * SIZE) - 1.0 for axis in axes)
    return np.sqrt((x[None, :] ** 2 + y[:, None] ** 2).ravel())


@pytest.mark.parametrize("n_sets", [1, 2])
def test_a_map_of_the_resolution_alone_is_taken_out(n_sets: int) -> None:
    model, theta = with_map(n_sets, 0.5 * radius_of_parameters() ** 2)
    rows = rows_of(n_sets)
    trend = resolution_trend(model, rows, theta, np.ones(N, np.bool_))
    assert trend is not None and trend.mean() == pytest.approx(1.0)
    left = model.evaluate(rows, theta)[0] / trend
    assert left.std() / left.mean() < 0.01


def test_the_mean_of_a_shell_and_not_of_its_logarithm_is_what_counts() -> None:
    radius = radius_of_parameters()
    axes = detector_map((SIZE, SIZE), 16, True).axes
    x, y = (axis.raw_places() / (0.5 * SIZE) - 1.0 for axis in axes)
    along = (x[None, :] ** 2 - y[:, None] ** 2).ravel()
    model, theta = with_map(1, np.log1p(np.clip(0.5 * along, -0.6, 0.6)) + 0.0 * radius)
    rows = rows_of(1)
    trend = resolution_trend(model, rows, theta, np.ones(N, np.bool_))
    assert trend is not None
    np.testing.assert_allclose(trend, 1.0, atol=0.03)


def test_scales_and_b_factors_keep_their_trends() -> None:
    model = JointModel.of([DataSetModel("KB", (Smooth("scale", ()), Smooth("decay", (), b_factor=True)), {})])
    assert resolution_trend(model, rows_of(1), np.array([1.0, 3.0]), np.ones(N, np.bool_)) is None


def test_few_rows_have_no_trend() -> None:
    model, theta = with_map(1, radius_of_parameters())
    use = np.arange(N) < 150
    assert resolution_trend(model, rows_of(1), theta, use) is None
