"""The catalogue of statistics is complete, and everything that shows statistics takes them from it."""

from dataclasses import fields

import numpy as np
import pytest
from merging_samples import observations, statistics

from braggscale.statistics import catalogue
from braggscale.statistics.catalogue import CATALOGUE, chosen
from braggscale.statistics.confidence_intervals import INTERVALS_OF
from braggscale.statistics.shell_statistics import Shell

LISTS = {name: value for name, value in vars(catalogue).items() if name.isupper() and isinstance(value, tuple)}


def test_every_field_of_a_shell_is_described():
    """Numbers of pairs and marks of significance belong to the correlation that they are of."""
    names = {f.name for f in fields(Shell) if not f.name.endswith(("_pairs", "_significant"))}
    assert names == set(CATALOGUE)
    assert set(INTERVALS_OF) <= set(CATALOGUE)


@pytest.mark.parametrize("name", sorted(n for n in LISTS if not n.startswith("_")))
def test_lists_name_statistics(name):
    assert set(LISTS[name]) <= set(CATALOGUE)
    assert len(set(LISTS[name])) == len(LISTS[name])


def test_entries_say_what_they_are():
    for statistic in CATALOGUE.values():
        assert statistic.meaning.endswith(".") and statistic.label and statistic.heading and statistic.line
        assert not statistic.percent or statistic.factor == 100.0
    labels = [statistic.label for statistic in CATALOGUE.values()]
    assert len(set(labels)) == len(labels)
    assert all(CATALOGUE[name].cif for name in catalogue.IN_CIF)


def test_titles_have_units():
    assert CATALOGUE["d_min"].title == "High resolution limit / Å" and CATALOGUE["completeness"].title.endswith("/ %")


def test_better_is_the_way_that_noise_does_not_go():
    """Twice the noise makes every statistic of agreement and signal worse in the direction that the catalogue says."""
    rng = np.random.default_rng(3)
    hkl, x, sigma = observations(n=4000)
    good = statistics(hkl, x, sigma).overall
    worse = statistics(hkl, x + 3 * sigma * rng.normal(size=len(x)), sigma * 10**0.5).overall
    for name in ("mean_i_over_sigma", "r_merge", "r_meas", "r_pim", "cc_half", "r_meas_apart"):
        change = getattr(worse, name) - getattr(good, name)
        assert (change > 0) == (CATALOGUE[name].better == "down"), name


def test_statistics_of_mates_only_where_mates_differ():
    names = ("r_meas", "r_anom", "cc_anom")
    assert [s.name for s in chosen(names, False)] == ["r_meas"]
    assert [s.name for s in chosen(names, True)] == list(names)
