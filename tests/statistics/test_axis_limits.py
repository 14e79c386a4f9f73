"""Limits of resolution along directions, where the true ones are known."""

import numpy as np
import pytest

from braggscale.data.unique_reflections import Groups
from braggscale.statistics.axis_limits import SIGNAL, axis_limits

MULTIPLICITY = 4
AXES = np.eye(3)
NONE = [np.eye(3)]


def measured(b, strength=60.0, d_min=1.8, turns=NONE):
    """Intensities that fall by exp(-q B q/2) with errors of 1: reciprocal vectors, groups, x, sigma."""
    rng = np.random.default_rng(3)
    h = np.stack(np.meshgrid(*(np.arange(-22, 23),) * 3), -1).reshape(-1, 3)
    h = h[(h[:, 2] > 0) | ((h[:, 2] == 0) & ((h[:, 1] > 0) | ((h[:, 1] == 0) & (h[:, 0] > 0))))]
    q = h / 40.0
    q = q[(q * q).sum(axis=1) < d_min**-2]
    true = rng.exponential(strength, len(q)) * np.exp(-0.5 * (q * q) @ b)
    x = np.repeat(true, MULTIPLICITY) + rng.normal(size=MULTIPLICITY * len(q))
    return q, turns, Groups.of_sizes(np.full(len(q), MULTIPLICITY)), x, np.ones(len(x))


def where_signal_ends(b, strength=60.0):
    """d at which <I> sqrt(n)/sigma is 1.5, on the direction itself."""
    return (2.0 / b * np.log(strength * np.sqrt(MULTIPLICITY) / SIGNAL)) ** -0.5


def test_the_signal_ends_where_it_was_made_to():
    b = np.array([5.0, 45.0, 90.0])
    found = axis_limits(AXES, *measured(b))
    assert found[0].cc_half is None and found[0].i_over_sigma is None, "goes on beyond the data"
    assert found[0].d_min == pytest.approx(1.8, rel=0.01)
    for k in (1, 2):
        assert found[k].i_over_sigma == pytest.approx(where_signal_ends(b[k]), rel=0.12)
    assert found[1].cc_half < found[2].cc_half < 1.2 * found[2].i_over_sigma


def test_equal_directions_have_equal_limits():
    found = axis_limits(AXES, *measured(np.full(3, 60.0)))
    assert [one.i_over_sigma for one in found] == pytest.approx([where_signal_ends(60.0)] * 3, rel=0.08)


def test_equivalents_count_for_a_direction():
    """A fourfold axis along z: what lies along y belongs to x as well."""
    quarter = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turns = [np.linalg.matrix_power(quarter, k) for k in range(4)]
    b = np.array([60.0, 60.0, 20.0])
    with_axis, alone = axis_limits(AXES, *measured(b, turns=turns)), axis_limits(AXES, *measured(b))
    assert with_axis[0] == with_axis[1]
    assert with_axis[0].reflections == pytest.approx(alone[0].reflections + alone[1].reflections, rel=0.01)


def test_few_reflections_say_nothing():
    assert axis_limits(AXES, *measured(np.full(3, 20.0), d_min=8.0)) == [None, None, None]
