"""Differences of statistics between two runs: what repeated experiments show, and invariances."""

import numpy as np
import pytest
from test_confidence_intervals import Experiment

from braggscale.statistics.paired_difference import Measured, difference


def measured(experiment, x, sigma, name):
    """A run over the observations: the statistic and the effects of its blocks."""
    found = experiment.intervals(x, sigma)
    keys = [("0", k) for k in range(experiment.n_blocks)]
    value = experiment.statistics(x, sigma)[name]
    return Measured(value, dict(zip(keys, found.effects[name], strict=True)))


def test_a_run_does_not_differ_from_itself():
    experiment = Experiment()
    run = measured(experiment, *experiment.measure(1), "r_meas")
    assert difference("r_meas", run, run) == (0.0, 0.0)
    other = Measured(run.value + 0.01, run.effects)
    low, high = difference("r_meas", other, run)
    assert 0 < low < 0.01 < high


@pytest.mark.parametrize("effect", [1e300, -1e5, 3.0])
def test_effects_that_no_run_has_give_no_interval(effect):
    run = measured(experiment := Experiment(), *experiment.measure(1), "r_meas")
    other = Measured(run.value, {**run.effects, ("0", 0): effect * 1e3, ("0", 1): effect})
    assert difference("r_meas", run, other) is None


@pytest.mark.parametrize("name", ["r_meas", "cc_half"])
def test_its_width_is_that_of_repeated_experiments(name):
    """Two ways to scale the same data, one of which leaves in an error of each image: paired they differ clearly."""
    experiment = Experiment(image_noise=0.3)
    rng = np.random.default_rng(3)
    changes, widths, apart = [], [], []
    for seed in range(25):
        x, sigma = experiment.measure(seed)
        left = 1.0 + 0.02 * rng.normal(size=experiment.n_blocks)[experiment.block]
        runs = [measured(experiment, v, sigma, name) for v in (x * left, x)]
        changes.append(runs[0].value - runs[1].value)
        low, high = difference(name, *runs)
        widths.append((high - low) / 3.92)
        apart.append(np.ptp(getattr(experiment.intervals(x, sigma), name)) / 3.92 * np.sqrt(2.0))
    assert np.mean(widths) == pytest.approx(np.std(changes), rel=0.5)
    assert np.mean(widths) < 0.7 * np.mean(apart), "pairing is worth something"


def test_a_block_that_one_run_left_out_counts_there_alone():
    experiment = Experiment()
    run = measured(experiment, *experiment.measure(1), "r_meas")
    less = Measured(run.value, {key: effect for key, effect in run.effects.items() if key[1] > 5})
    low, high = difference("r_meas", run, less)
    assert low < 0 < high
    assert high - low < 0.5 * run.value
    assert difference("r_meas", Measured(1.0, {("0", 1): 0.1}), Measured(1.0, {("0", 1): 0.1})) is None
