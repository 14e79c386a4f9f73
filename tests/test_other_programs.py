"""From files of other programs to scaled files: what is written, what the ledger says, and mixtures."""

from __future__ import annotations

import json
from contextlib import chdir
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from program_samples import mtz, mtz_columns, reflections

from braggscale.cli import main
from braggscale.io import open_inputs

SAMPLE = reflections(60)


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    """A folder to run in, with a file of a rotation whose intensities obey the symmetry."""
    columns = mtz_columns(60, first=101)
    hkl = np.abs(SAMPLE["hkl"])
    true = 200.0 + 40.0 * ((hkl * [7, 13, 5]).sum(axis=1) % 37)
    columns["I"] = ("J", true + np.random.default_rng(0).normal(0, 1, len(true)) * np.sqrt(true))
    columns["SIGI"] = ("Q", np.sqrt(true))
    flag = np.zeros(len(true))
    flag[3] = 1
    columns["FLAG"] = ("I", flag)
    (tmp_path / "x.mtz").write_bytes(mtz(columns, u=SAMPLE["u"], n_batches=60, first=101))
    with chdir(tmp_path):
        yield tmp_path


def ledger(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / "scale.json").read_text())["ledger"]["total"]
    return found


def test_an_mtz_file_gives_mtz_files_and_the_pair(folder: Path) -> None:
    assert main(["-q", "x.mtz"]) == 0
    assert {"scaled.expt", "scaled.refl", "scaled.mtz", "scaled_unmerged.mtz"} <= {p.name for p in folder.iterdir()}
    unmerged = gemmi.read_mtz_file("scaled_unmerged.mtz")
    batch = np.array(unmerged.column_with_label("BATCH"))
    assert batch.min() >= 101 and batch.max() <= 160
    again = open_inputs(["scaled.expt", "scaled.refl"])
    assert not again.all_other
    assert again.data_sets[0].experiment.scan is not None
    assert again.data_sets[0].experiment.scan.image_range == (101, 160)
    assert ledger(folder)["flagged"] == 1
    assert main(["-q", "x.mtz", "accept=flagged"]) == 0
    assert "flagged" not in ledger(folder)


def test_what_was_written_can_be_scaled_again(folder: Path) -> None:
    assert main(["-q", "x.mtz"]) == 0
    first = gemmi.read_mtz_file("scaled.mtz")
    for again in (["scaled_unmerged.mtz"], ["scaled.expt", "scaled.refl", "output.merged_mtz=other.mtz"]):
        (folder / "again").mkdir(exist_ok=True)
        with chdir(folder / "again"):
            assert main(["-q", *(f"../{name}" if "=" not in name else name for name in again)]) == 0
            second = gemmi.read_mtz_file("other.mtz" if len(again) > 1 else "scaled.mtz")
        assert abs(second.nreflections - first.nreflections) <= 2


def test_batches_are_excluded_by_the_numbers_of_the_file(folder: Path) -> None:
    assert main(["-q", "x.mtz", "exclude_batches=101,110"]) == 0
    batch = np.array(gemmi.read_mtz_file("scaled_unmerged.mtz").column_with_label("BATCH"))
    assert batch.min() > 110


def test_files_that_options_name_or_forbid(folder: Path) -> None:
    assert main(["-q", "x.mtz", "merged_mtz=None", "unmerged_mtz=mine.mtz"]) == 0
    names = {p.name for p in folder.iterdir()}
    assert "mine.mtz" in names and "scaled.mtz" not in names


def test_a_mixture_with_data_of_dials_writes_no_mtz(folder: Path) -> None:
    assert main(["-q", "x.mtz", "merged_mtz=None", "unmerged_mtz=None"]) == 0
    (folder / "new").mkdir()
    other = mtz_columns(60, first=101)
    (folder / "y.mtz").write_bytes(mtz(other, u=SAMPLE["u"], n_batches=60, first=101))
    with chdir(folder / "new"):
        assert main(["-q", "../y.mtz", "../scaled.expt", "../scaled.refl", "overwrite_existing_models=True"]) == 0
        assert not Path("scaled.mtz").exists()
        assert len(open_inputs(["scaled.expt", "scaled.refl"]).data_sets) == 2


def test_without_directions_there_is_no_absorption_and_the_log_says_why(folder: Path) -> None:
    columns = mtz_columns(60)
    Path("y.mtz").write_bytes(mtz(columns))
    assert main(["-q", "y.mtz", "absorption_correction=True"]) == 0
    log = " ".join(Path("scale.log").read_text().split())
    assert "directions of the beams are not known" in log
    assert "absorption 48" not in log


def test_space_group_that_the_lattice_cannot_have(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", "x.mtz", "space_group=P4"]) == 1
    assert "cannot have the space group P 4" in capsys.readouterr().err
    assert main(["-q", "x.mtz", "accept=nonsense"]) == 2
    assert not Path("scaled.refl").exists()
