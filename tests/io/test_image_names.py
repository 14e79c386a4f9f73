"""Names of images and samples, from experiment lists of any system and any state."""

import pytest

from braggscale.io.image_names import image_names, sample_name


def test_names_of_sweeps_stills_and_what_is_not_there():
    document = {
        "imageset": [
            {"template": "/data/i19/l-cyst_04_#####.cbf"},
            {"images": ["C:\\\\data\\\\still_0001.cbf"]},
            {"master": "x_master.h5"},
            {},
        ],
        "experiment": [{"imageset": 1}, {"imageset": 0}, {"imageset": 2}, {"imageset": 3}, {"imageset": 9}, {}, 5],
    }
    assert image_names(document) == ("still_0001.cbf", "l-cyst_04_#####.cbf", "x_master.h5", "", "", "", "")
    assert image_names({}) == image_names({"imageset": 3, "experiment": "x"}) == ()
    assert image_names({"imageset": [{"template": 5}], "experiment": [{"imageset": 0}]}) == ("",)


@pytest.mark.parametrize(
    ("names", "sample"),
    [
        (["l-cyst_01_#####.cbf", "l-cyst_04_#####.cbf"], "l-cyst"),
        (["lyso_1_####.cbf"], "lyso_1"),
        (["merlin0047_17000.cbf", "merlin0047_17001.cbf"], "merlin0047"),
        (["###.tif"], ""),
        (["a_1.cbf", "b_1.cbf"], ""),
        (["", "", ""], ""),
        ([], ""),
    ],
)
def test_the_sample_is_what_all_names_begin_with(names, sample):
    assert sample_name(names) == sample
