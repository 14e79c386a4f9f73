"""A detector is found from the positions of reflections."""

from __future__ import annotations

import numpy as np
import pytest

from braggscale.io.detector_fit import believed, flat_panel


@pytest.mark.parametrize("absurd", [1e8, -1e8, np.inf, np.nan, 1e300])
def test_one_absurd_position_does_not_move_the_detector(absurd: float) -> None:
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, 2000, (300, 2))
    place = np.column_stack((xy * 0.1 - 100.0, np.full(300, -150.0)))
    s1 = place / np.linalg.norm(place, axis=1)[:, None]
    good = flat_panel(s1, xy, 150.0, (2000, 2000))
    xy[17, 1] = absurd
    assert not believed(xy)[17] and believed(xy).sum() == 299
    found = flat_panel(s1, xy, 150.0, (2000, 2000))
    assert good is not None and found is not None
    np.testing.assert_allclose(found.origin, good.origin, atol=1e-6)
    assert found.pixel_size == pytest.approx((0.1, 0.1), rel=1e-6)


def test_nothing_to_believe() -> None:
    assert not believed(np.full((3, 2), np.nan)).any()
    assert believed(np.zeros((0, 2))).shape == (0,)
