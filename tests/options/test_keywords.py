"""Options as keyword arguments mean what the same words mean on a command line."""

from pathlib import Path

import numpy as np
import pytest
from option_samples import read

from braggscale.errors import CommandError
from braggscale.options.definitions import export_definitions
from braggscale.options.keywords import assignments_of, settled


def of(**keywords):
    return settled(assignments_of(keywords))


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"d_min": 1.2}, ["d_min=1.2"]),
        ({"d_min": np.float64(1.2), "lmax": np.int64(6)}, ["d_min=1.2", "lmax=6"]),
        ({"d_min": 2}, ["d_min=2"]),
        ({"anomalous": True, "full_matrix": np.bool_(False)}, ["anomalous=True", "full_matrix=False"]),
        ({"restraints": "fixed", "model": "KB"}, ["restraints=fixed", "model=KB"]),
        ({"physical__lmax": 6}, ["physical.lmax=6"]),
        ({"physical": {"lmax": 6, "share": {"absorption": True}}}, ["physical.lmax=6", "share.absorption=True"]),
        ({"physical.lmax": 6}, ["physical.lmax=6"]),
        ({"outlier_rejection": None, "lmax": "Auto"}, ["outlier_rejection=None", "lmax=Auto"]),
        ({"best_unit_cell": (10, 11.5, 12, 90, 90, 90)}, ["best_unit_cell=10,11.5,12,90,90,90"]),
        ({"E2_range": np.array([0.5, 4.0])}, ["E2_range=0.5,4.0"]),
        ({"exclude_images": "0:1:20"}, ["exclude_images=0:1:20"]),
        ({"exclude_images": ["0:1:20", "1:5:9"]}, ["exclude_images=0:1:20,1:5:9"]),
        ({"exclude_batches": [(1, 20), (40, 50)]}, ["exclude_batches=1,20", "exclude_batches=40,50"]),
        ({"exclude_batches": (1, 20)}, ["exclude_batches=1,20"]),
        ({"use_datasets": ["a", "b"]}, ["use_datasets=a,b"]),
        ({"use_datasets": []}, ["use_datasets=None"]),
        ({"free_flags": Path("old data/free.mtz")}, ["free_flags='old data/free.mtz'"]),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_as_on_the_command_line(keywords, words):
    typed, problems = read(*words)
    assert problems == []
    found = settled(assignments_of(keywords))
    assert found.options == typed.options and found.options.explicit == typed.options.explicit
    assert (found.modified, found.notes) == (typed.modified, typed.notes)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"d_mim": 2}, ["d_mim=2"]),
        ({"d_min": "low"}, ["d_min=low"]),
        ({"d_min": float("nan")}, ["d_min=nan"]),
        ({"d_min": 3, "d_max": 2}, ["d_min=3", "d_max=2"]),
        ({"model": "KB", "lmax": 4, "nproc": 0}, ["model=KB", "lmax=4", "nproc=0"]),
        ({"E2_range": [1]}, ["E2_range=1"]),
        ({"ice_rings": True}, ["ice_rings=True"]),
    ],
)
def test_the_same_words_for_mistakes(keywords, words):
    _, problems = read(*words)
    assert problems
    with pytest.raises(CommandError) as caught:
        settled(assignments_of(keywords))
    assert str(caught.value).splitlines() == problems


def test_what_is_no_value():
    with pytest.raises(CommandError, match="d_min: a complex is not a value of an option; give a text, a number"):
        of(d_min=1j)
    with pytest.raises(CommandError, match=r"physical\.lmax: a object is not"):
        of(physical={"lmax": object()})


def test_only_what_a_command_has():
    with pytest.raises(CommandError, match="restraints is an option of scale; scale export has no use for it"):
        settled(assignments_of({"restraints": "fixed"}), export_definitions())
