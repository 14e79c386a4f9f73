"""For any options and scans, no model has more parameters than its data set has reflections."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from option_samples import options, request

from braggscale.models.array import settle as settle_array
from braggscale.models.choice import resolve_model
from braggscale.models.physical import settle as settle_physical
from braggscale.models.settings import SweepFacts
from braggscale.models.smooth import binned_parameters, smooth_spacing


@settings(max_examples=50, deadline=None)
@given(n_rows=st.integers(12, 5000), bins=st.integers(1, 1000), interval=st.floats(1e-3, 90.0))
def test_grids_have_no_more_points_than_reflections(n_rows: int, bins: int, interval: float) -> None:
    facts = SweepFacts("0", False, 180.0, 40.0, True, 0.1, 0.0, n_rows)
    wanted = SimpleNamespace(
        decay_correction=True, absorption_correction=True, modulation_correction=True, decay_interval=interval,
        n_resolution_bins=bins, n_absorption_bins=bins, n_modulation_bins=bins, correction=SimpleNamespace(fix=None),
    )  # fmt: skip
    found, said = settle_array(wanted, facts, False)
    n_time = smooth_spacing(180.0, 0.1, found.decay_interval)[0]
    assert n_time <= n_rows + 2
    least = {1: 1, 2: 4}
    for n, others, dimensions in (
        (found.n_resolution_bins, n_time, 1), (found.n_absorption_bins, n_time, 2), (found.n_modulation_bins, 1, 2),
    ):  # fmt: skip
        assert 1 <= n <= bins
        assert n == 1 or binned_parameters(n) ** dimensions * others <= max(n_rows, least[dimensions])
    assert bool(said) == any(n < bins for n in (found.n_resolution_bins, found.n_absorption_bins,
                                                found.n_modulation_bins))  # fmt: skip


def test_what_many_reflections_determine_is_left_as_it_is() -> None:
    facts = SweepFacts("0", False, 180.0, 40.0, True, 0.1, 0.0, 5000)
    found, said = settle_array(options().models["array"], facts, False)
    assert said == [] and found.n_resolution_bins == options().models["array"].n_resolution_bins


def test_a_surface_has_no_more_terms_than_reflections() -> None:
    facts = SweepFacts("0", False, 180.0, 40.0, False, 0.1, 0.0, 30)
    wanted = options("physical.lmax=16", "physical.scale_interval=1").models["physical"]
    found, said = settle_physical(wanted, facts, False)
    assert found.lmax * (found.lmax + 2) <= 30 and any("lmax 4 instead of 16" in text for text in said)
    assert found.scale_interval == 6.0
    assert settle_physical(wanted, replace(facts, n_rows=100_000), False)[0].lmax == 16


def test_a_sweep_of_few_reflections_gets_no_curves() -> None:
    facts = SweepFacts("0", False, 180.0, 40.0, False, 0.1, 0.0, 3)
    assert resolve_model(request(), facts)[0].model == "KB"
    assert resolve_model(request(), replace(facts, n_rows=20))[0].model == "physical"
