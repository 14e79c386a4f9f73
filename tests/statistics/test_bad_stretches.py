"""Bad images and data sets that were put in are found, with their edges; where there are none nothing is
recommended."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from braggscale.data.unique_reflections import Groups
from braggscale.statistics.bad_stretches import bad_data_sets, bad_stretches, gain_without
from braggscale.statistics.deviation_scores import Deviations, mates_differ
from braggscale.statistics.stretch_edges import edges_by_good, joined
from simulation.deviations import N_IMAGES, observations


def test_without_bad_images_hardly_any_run_gets_a_recommendation():
    """FALSE_ALARM is 2 %: 100 runs may show a few; six would be a chance of 1 in 10,000."""
    alarms = [bad_stretches(observations(seed), [N_IMAGES]) for seed in range(100)]
    assert sum(any(s.worth_leaving_out for s in found) for found in alarms) <= 5


@pytest.mark.parametrize("bad", [(100, 111), (0, 11), (228, 239)])
def test_bad_images_are_found_with_their_edges(bad):
    right = recommended = 0
    for seed in range(20):
        found = bad_stretches(observations(seed, bad=bad), [N_IMAGES])
        best = found[0]
        right += abs(best.first - bad[0]) <= 2 and abs(best.last - bad[1]) <= 2
        recommended += best.worth_leaving_out
        assert best.excess > 1.5
    # nine in ten are worth leaving out by the gain that their equivalents show: below 14 of 20 once in 90
    assert right >= 17 and recommended >= 14


def test_ranks_do_not_care_about_errors_that_are_wrong_by_a_factor():
    data = observations(3, bad=(50, 61))
    other = Deviations(data.groups, data.data_set, data.image, data.x, data.variance, 7.0 * data.z2, data.merged)
    one, two = (bad_stretches(d, [N_IMAGES]) for d in (data, other))
    assert [(s.first, s.last, s.chance) for s in one] == [(s.first, s.last, s.chance) for s in two]


def test_one_bad_data_set_of_many_is_named_and_no_good_one():
    data = observations(5, rows=30_000, n_sets=40, bad_set=17)
    assert [s.data_set for s in bad_data_sets(data, 40)] == [17]
    assert bad_data_sets(observations(6, rows=30_000, n_sets=40), 40) == []


def test_data_sets_that_all_differ_a_little_are_not_bad():
    rng = np.random.default_rng(0)
    data = observations(7, rows=30_000, n_sets=40)
    factor = rng.uniform(0.8, 1.25, 40)[data.data_set]
    found = Deviations(data.groups, data.data_set, data.image, data.x, data.variance, factor * data.z2, data.merged)
    assert bad_data_sets(found, 40) == []


def test_leaving_out_good_observations_is_a_loss_and_bad_ones_a_gain():
    rng = np.random.default_rng(1)
    good = observations(8, rows=20_000)
    assert gain_without(good, good.image < 60)[0] < 0.0
    bad = observations(8, rows=20_000, bad=(0, 59), factor=3.0)
    gain, error = gain_without(bad, bad.image < 60)
    assert gain > 3.0 * error > 0.0
    alone = Groups(np.arange(len(rng.random(10)) + 1))
    some = Deviations(
        alone, *(np.zeros(10, int),) * 2, np.ones(10), np.ones(10), np.full(10, np.nan), np.ones(10, bool)
    )
    assert np.isnan(gain_without(some, np.arange(10) < 5)).all()


def test_runs_with_bad_images_between_them_are_one():
    """A good gap of any length keeps two runs apart; one in which images are nearly as bad does not."""
    count = np.full(240, 20.0)
    total = np.zeros(240)
    total[100:112] = total[120:132] = 60.0  # mean z^2 of 4
    runs = [(100, 111, 0.001), (120, 131, 0.002)]
    assert joined(total, count, runs) == runs
    total[112:120] = 40.0
    assert joined(total, count, runs) == [(100, 131, 0.001)]
    total[112:120], total[115] = 60.0, 0.0
    assert joined(total, count, runs[::-1]) == [(100, 131, 0.001)]


def test_edges_are_sharp_where_equivalents_are_few():
    """Reflections measured twice: of each pair both deviate, and only equivalents outside say which one is bad."""
    right = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        n = 6000
        group = np.repeat(np.arange(n // 2), 2)
        image, inside = rng.integers(0, N_IMAGES, n), np.zeros(n, bool)
        inside = (image >= 100) & (image <= 111)
        x = 100.0 + rng.normal(size=n) * np.where(inside, 40.0, 10.0)
        partner = x.reshape(-1, 2)[:, ::-1].ravel()
        z2 = (x - partner) ** 2 / 200.0
        data = Deviations(Groups.from_keys(group), np.zeros(n, int), image, x, np.full(n, 100.0), z2, np.ones(n, bool))
        ((first, last, _),) = edges_by_good(data, 0, [(103, 108, 0.001)], N_IMAGES)
        right += abs(first - 100) <= 1 and abs(last - 111) <= 1
    assert right >= 9


def with_mates(difference, seed=4, n=400):
    """Each reflection measured four times as I+ and I-, which differ by ``difference`` of their error."""
    rng = np.random.default_rng(seed)
    merged, mate = np.repeat(np.arange(n), 8), np.tile(np.repeat([0, 1], 4), n)
    x = 100.0 + 10.0 * rng.normal(size=8 * n) + 10.0 * difference * np.repeat(rng.normal(size=n), 8) * (mate - 0.5)
    image = rng.integers(0, N_IMAGES, 8 * n)
    groups, split = Groups.from_keys(merged), Groups.from_keys(2 * merged + mate)
    ones = np.ones(8 * n, bool)
    return Deviations(groups, np.zeros(8 * n, int), image, x, np.full(8 * n, 100.0), np.ones(8 * n), ones, split)


def test_mates_differ_only_where_they_do():
    alike, different = with_mates(0.0), with_mates(2.0)
    assert not mates_differ(alike.groups, alike.predicting, alike.x, alike.variance)
    assert mates_differ(different.groups, different.predicting, different.x, different.variance)
    assert not mates_differ(alike.groups, alike.groups, alike.x, alike.variance)


def test_mates_that_differ_do_not_predict_each_other():
    """Good observations, most of I+, are left out: with mates together that looks like a gain for I-."""
    data = with_mates(4.0)
    inside = (np.arange(len(data.x)) % 8) < 2
    assert gain_without(replace(data, predicting=None), inside)[0] > 0.05
    gain, error = gain_without(data, inside)
    assert gain < -error < 0.0
    noisy = replace(data, x=np.where(inside, data.x + 40.0 * np.random.default_rng(1).normal(size=len(data.x)), data.x))
    gain, error = gain_without(noisy, inside)
    assert gain > error > 0.0
