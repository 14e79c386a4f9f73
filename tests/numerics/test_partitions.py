"""Lanes: order of results, any number of threads, lanes within lanes."""

import pytest

from braggscale.numerics.partitions import available_processors, run_lanes


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_lanes_also_nested(n_threads):
    def outer(k):
        return run_lanes(lambda j: 10 * k + j, 4, n_threads)

    assert run_lanes(outer, 6, n_threads) == [[10 * k + j for j in range(4)] for k in range(6)]


def test_a_lane_that_fails_is_heard_of():
    def lane(k):
        if k == 3:
            raise ValueError("lane 3")
        return k

    with pytest.raises(ValueError, match="lane 3"):
        run_lanes(lane, 8, 2)
    assert run_lanes(lambda k: k, 3, 2) == [0, 1, 2]
    assert available_processors() >= 1
