"""Lanes: order of results, any number of threads, lanes within lanes; linear algebra on one thread."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from braggscale.numerics.partitions import available_processors, run_in_threads, side_by_side, threads


@pytest.mark.parametrize("n", [1, 2, 5])
def test_results_come_in_the_order_of_the_lanes_also_nested(n):
    def outer(k):
        return run_in_threads(lambda j: 10 * k + j, 4)

    with threads(n):
        assert run_in_threads(outer, 6) == [[10 * k + j for j in range(4)] for k in range(6)]


def test_a_lane_that_fails_is_heard_of():
    def lane(k):
        if k == 3:
            raise ValueError("lane 3")
        return k

    with threads(2):
        with pytest.raises(ValueError, match="lane 3"):
            run_in_threads(lane, 8)
        assert run_in_threads(lambda k: k, 3) == [0, 1, 2]
    assert available_processors() >= 1


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_linear_algebra_has_one_thread_inside_and_its_own_number_after():
    np.linalg.inv(np.eye(3))
    with threadpool_limits(2, "blas"):
        with threads(2):
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_two_runs_at_once_share_the_limit():
    """The first run to end must not give the process its threads back while the other one is at work."""
    both = Barrier(2, timeout=60)

    def run(first):
        with threads(2):
            both.wait()
            if not first:
                both.wait()  # the first has ended by then
                return blas_threads()
        both.wait()
        return {1}

    with threadpool_limits(2, "blas"), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, (True, False))) == [{1}, {1}]
        assert blas_threads() == {2}


@pytest.mark.parametrize("n", [1, 3])
def test_two_functions_side_by_side(n):
    def fails():
        raise ValueError("second")

    with threads(n):
        assert side_by_side(lambda: run_in_threads(abs, 3), lambda: run_in_threads(str, 2)) == ([0, 1, 2], ["0", "1"])
        with pytest.raises(ValueError, match="second"):
            side_by_side(lambda: 1, fails)
        with pytest.raises(ValueError, match="second"):
            side_by_side(fails, lambda: 1)
        assert run_in_threads(abs, 2) == [0, 1]
