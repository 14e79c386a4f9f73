"""What is bad is recommended with its gain, what is not gets no recommendation; the table of chance is that of made-up
sweeps."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from braggscale.statistics.bad_stretches import ONE_BY_ONE, bad_stretches
from braggscale.statistics.exclusions import exclusions
from braggscale.statistics.scan_null import LOCATION, PER_IMAGE, chance_of, lengths, made_up
from simulation.deviations import N_IMAGES, observations


def test_bad_images_and_a_bad_data_set_are_recommended_together():
    data = observations(5, rows=40_000, n_sets=40, bad=(100, 150), factor=4.0, bad_set=17)
    found = exclusions(data, [N_IMAGES] * 40)
    assert [one.data_set for one in found.data_sets if one.worth_leaving_out] == [17]
    assert all(one.data_set != 17 for one in found.stretches)
    (run,) = (one for one in found.stretches if one.worth_leaving_out)
    assert run.data_set == 0 and abs(run.first - 100) <= 3 and abs(run.last - 150) <= 3
    assert found.gain > 2.0 * found.gain_error > 0.0


def test_good_data_get_nothing():
    found = exclusions(observations(1, rows=20_000, n_sets=6), [N_IMAGES] * 6)
    assert (found.stretches, found.data_sets) == ((), ()) and np.isnan(found.gain)


def test_half_of_the_data_is_not_called_bad():
    data = observations(3, rows=20_000, bad=(0, 150), factor=4.0)
    found = exclusions(replace(data, data_set=np.zeros(20_000, int)), [N_IMAGES])
    assert not any(one.worth_leaving_out for one in found.stretches if one.last - one.first > N_IMAGES / 2)


def test_outliers_tell_of_bad_images_but_are_not_merged():
    """With its worst rows taken out as outliers a stretch is still found, and the gain is that of what is left."""
    data = observations(2, rows=8000, bad=(60, 80), factor=3.0)
    cut = replace(data, merged=~(data.z2 > 9.0))
    one, two = (exclusions(d, [N_IMAGES]).stretches[0] for d in (data, cut))
    assert (one.first, one.last) == (two.first, two.last)
    assert 0.0 < two.gain < one.gain


def test_of_many_data_sets_the_same_are_found_as_one_by_one(monkeypatch):
    n = ONE_BY_ONE + 5
    data = observations(9, rows=30_000, n_sets=n, bad=(100, 160), factor=4.0)
    many = bad_stretches(data, [N_IMAGES] * n)
    monkeypatch.setattr("braggscale.statistics.bad_stretches.ONE_BY_ONE", 10**6)
    assert many and many == bad_stretches(data, [N_IMAGES] * n)


def test_the_table_of_chance_is_that_of_made_up_sweeps():
    for n, per_image in ((32, 4), (256, 16)):
        largest = made_up(n, per_image, 400)
        share = np.mean([chance_of(t, n, per_image) < 0.1 for t in largest])
        assert share == pytest.approx(0.1, abs=0.05)
        chances = np.array([chance_of(t, n, per_image) for t in largest])
        assert np.median(chances) == pytest.approx(0.5, abs=0.1)
    assert all(len(row) == len(PER_IMAGE) for row in LOCATION)
    # more images, more chances
    assert chance_of(5.0, 100, 10) < chance_of(5.0, 1000, 10) < chance_of(5.0, 100_000, 10)
    assert lengths(20) == (1, 2, 3, 4, 6, 8)
