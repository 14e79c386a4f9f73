"""Starting from stored models: the same layout is copied, another one gets values of the old curve."""

from dataclasses import replace

import numpy as np
import pytest
from option_samples import SWEEP, request

from braggscale.models.choice import resolve_model
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.detector_modules import Modules
from braggscale.models.harmonics import Harmonics
from braggscale.models.image_effects import Images
from braggscale.models.smooth import Smooth, axis_over, smooth_spacing
from braggscale.models.stored_model import (
    OWN_ENTRY,
    common_restraints,
    keep_stored,
    own_entry,
    start_parameters,
    stored_error_model,
)


def sweep(interval, images=(1, 1800), kind="physical", lmax=4):
    degrees = (images[1] - images[0] + 1) * 0.1
    n, factor, spacing = smooth_spacing(degrees, 0.1, interval)
    axis = axis_over("image", factor, images[0] - 1.0, float(images[1]), n)
    configuration = {"s_norm_fac": factor, "scale_rot_interval": spacing, "valid_image_range": list(images)}
    components = (Smooth("scale", (axis,)), Harmonics("absorption", lmax))
    return DataSetModel(kind, components, configuration)


def stored(model, curve):
    places = model.components[0].axes[0].raw_places()
    return model.to_dict([curve(places), np.arange(model.components[1].n_parameters) / 100.0], None, {})


def test_the_same_layout_is_copied():
    model = sweep(15.0)
    old = stored(model, lambda z: 1 + z / 9000)
    (scale, absorption), taken = start_parameters(model, old)
    assert taken == ["scale", "absorption"]
    assert scale.tolist() == old["scale"]["parameters"]
    assert absorption.tolist() == old["absorption"]["parameters"]


@pytest.mark.parametrize("new", [sweep(10.0), sweep(15.0, (1, 1600)), sweep(15.0, (201, 1800))])
def test_another_layout_follows_the_old_curve(new):
    def curve(z):
        return 1 + 0.2 * np.sin(z / 600)

    scale = start_parameters(new, stored(sweep(15.0), curve))[0][0]
    places = new.components[0].axes[0].raw_places()
    inside = (places > 100) & (places < 1700)
    assert scale[inside] == pytest.approx(curve(places[inside]), abs=0.02)


def test_low_harmonics_survive_another_lmax():
    old = stored(sweep(15.0), np.ones_like)
    larger = start_parameters(sweep(15.0, lmax=6), old)[0][1]
    assert larger[:24].tolist() == old["absorption"]["parameters"] and not larger[24:].any()
    assert start_parameters(sweep(15.0, lmax=2), old)[0][1].tolist() == old["absorption"]["parameters"][:8]


@pytest.mark.parametrize(
    "broken",
    [
        {"scale": {"parameters": [float("nan")] * 14}},
        {"scale": {"parameters": "1 2 3"}},
        {"scale": 3},
        {"scale": {"parameters": []}},
        {"configuration_parameters": 7, "scale": {"parameters": [1.0] * 9}},
    ],
)
def test_nonsense_in_a_file_means_no_start(broken):
    values, taken = start_parameters(sweep(15.0), {"__id__": "physical", **broken})
    assert taken == []
    assert values[0].tolist() == [1.0] * 14


def test_modules_keep_their_factors_whatever_the_images():
    def model(images, x=(0, 50, 100)):
        own = sweep(15.0, images)
        return DataSetModel(
            "physical", (*own.components, Modules("modules", x, (0, 80))), own.configuration, ("modules",)
        )

    old = model((1, 1800)).to_dict([np.ones(14), np.zeros(24), np.array([0.01, -0.02])], None, {})
    assert old["configuration_parameters"]["corrections"] == ["scale", "absorption"]
    assert old["modules"]["parameters"] == pytest.approx([np.expm1(0.01), np.expm1(-0.02)])
    assert start_parameters(model((201, 900)), old)[0][2].tolist() == pytest.approx([0.01, -0.02])
    values, taken = start_parameters(model((1, 1800), (0, 30, 60, 100)), old)
    assert values[2].tolist() == [0.0, 0.0, 0.0] and "modules" not in taken


# Entries that DIALS does not know are used as long as no other program has rewritten the model


def test_image_effects_are_taken_over_where_the_images_are_the_same():
    def effects(images, n):
        component = Images("image", n, images[0] - 1.0, (images[1] - images[0] + 1) / n, 1.0, (0.0, 0.0, 1.0))
        return DataSetModel("physical", (component,), {"valid_image_range": list(images)})

    theta = np.linspace(-0.1, 0.1, 90)
    old = effects((1, 360), 90).to_dict([theta], [np.full(90, 0.01)], {})
    assert old["image"]["parameters"] == pytest.approx(np.expm1(theta)) and old["image"]["null_parameter_value"] == 0.0
    assert old["image"]["est_standard_devs"] == pytest.approx(0.01 * np.exp(theta))
    assert start_parameters(effects((1, 360), 90), old)[0][0] == pytest.approx(theta, abs=1e-12)
    for other in (effects((1, 360), 180), effects((1, 320), 80), effects((2, 361), 90)):
        values, taken = start_parameters(other, old)
        assert taken == [] and not values[0].any()


def remembered(first, now, rewritten=False):
    """Settings of a run with the options ``now`` on what a run with the options ``first`` stored."""
    facts = replace(SWEEP, single_panel=True)
    settings, _ = resolve_model(request(*first), facts)
    names = [name for name in ("scale", "decay", "absorption", "modulation", "image") if getattr(settings, name)]
    stored = {"__id__": "physical", "configuration_parameters": {"scale_rot_interval": 2.5}}
    stored |= {name: {"parameters": [0.5] * 4} for name in names if not (rewritten and name in ("modulation", "image"))}
    if not rewritten:
        stored[OWN_ENTRY] = own_entry(settings)
    again = request(*now)
    return keep_stored(resolve_model(again, facts)[0], stored, again.explicit, again.restraints_are_explicit)[0]


def test_image_effects_and_map_stay_as_they_were():
    estimated = "restraints=estimated"
    found = remembered([estimated, "image_correction=True", "image_interval=3"], [estimated])
    assert (found.image, found.image_interval, found.modulation) == (True, 3.0, True)
    found = remembered([estimated, "modulation_correction=False"], [estimated])
    assert (found.image, found.modulation) == (False, False)
    found = remembered([estimated, "image_correction=True"], [estimated, "image_correction=False"])
    assert not found.image
    found = remembered(["modulation_correction=True"], [])
    assert found.modulation and found.n_modulation_bins > 0
    # another kind of restraints is another model
    assert not remembered([estimated], ["restraints=fixed"]).modulation


def test_a_model_that_somebody_has_rewritten_says_nothing_of_them():
    estimated = "restraints=estimated"
    found = remembered([estimated, "image_correction=True", "image_interval=3"], [estimated], rewritten=True)
    assert (found.image, found.image_interval, found.modulation) == (False, 1.0, True)


def test_what_had_a_number_beside_estimated_restraints_stays_fixed():
    first, _ = resolve_model(request("restraints=estimated", "scale_interval=30", "lmax=3"), SWEEP)
    stored = sweep(30.0, lmax=3)
    entry = stored.to_dict([np.ones(8), np.zeros(15)], None, {"lmax": 3, "abs_surface_weight": 5e5})
    entry[OWN_ENTRY] = own_entry(first)
    plain, _ = resolve_model(request("restraints=estimated"), SWEEP)
    again, _ = keep_stored(plain, entry, (), False)
    assert "scale" not in again.estimated and "absorption" not in again.estimated and "decay" in again.estimated
    assert (again.scale_interval, again.lmax, again.surface_weight) == (30.0, 3, 5e5)
    asked, _ = keep_stored(plain, entry, (), True)
    assert "scale" in asked.estimated and asked.scale_interval == plain.scale_interval


def test_one_run_has_one_kind_of_restraints():
    """The kind of restraints of the earlier run; the default if it is not known, or if there are several."""
    kb, grid, foreign = {"__id__": "KB"}, {"__id__": "array"}, {"__id__": "physical"}
    fixed, estimated = ({**kb, OWN_ENTRY: {"restraints": kind}} for kind in ("fixed", "estimated"))
    assert common_restraints([fixed, foreign], "estimated") == ("fixed", ", as in the earlier run")
    assert common_restraints([estimated], "fixed") == ("estimated", ", as in the earlier run")
    assert common_restraints([fixed, estimated], "estimated") == ("estimated", ": earlier runs differ")
    grids = {**grid, OWN_ENTRY: fixed[OWN_ENTRY]}
    assert common_restraints([grids, foreign], "estimated") == ("fixed", ", as in the earlier run")


def test_numbers_of_a_model_that_did_not_estimate_do_not_apply():
    settings, _ = resolve_model(request(), SWEEP)
    entry = {"__id__": "physical", "scale": {"parameters": [1.0] * 14}, "absorption": {"parameters": [0.0] * 24}}
    entry["configuration_parameters"] = {"scale_rot_interval": 15.0, "lmax": 4, "abs_surface_weight": 5e5}
    kept, sentences = keep_stored(settings, entry, (), False)
    assert (kept.scale_interval, kept.lmax, kept.decay) == (settings.scale_interval, settings.lmax, False)
    assert "weight of the stored model do not apply" in sentences[0]
    fixed, _ = resolve_model(request("restraints=fixed"), SWEEP)
    kept, sentences = keep_stored(fixed, entry, (), False)
    assert (kept.scale_interval, kept.lmax, sentences) == (15.0, 4, [])


@pytest.mark.parametrize(
    "pair",
    [None, "x", [1.0], [1.0, 0.1, 0.2], [1.0, 1e300], [1e-200, 0.1], [0, 0], [float("nan"), 0], [10**400, 0], [-1, 0]],
)
def test_error_models_that_are_not_valid_are_none(pair):
    assert stored_error_model({"error_model_parameters": pair}) is None


def test_a_stored_error_model():
    assert stored_error_model({"error_model_parameters": [1.5, 0]}) == (1.5, 0.0)
    assert stored_error_model({}) is None
