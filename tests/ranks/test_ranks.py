"""Stills over ranks, from files to files: the same bytes for any number of ranks, and near the run of one process."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import gemmi
import numpy as np
import pytest
from option_samples import options
from rank_threads import run_on

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import simulate_many
from braggscale.data.symmetry import Symmetry
from braggscale.errors import CommandError, InputError, UserError
from braggscale.io import open_inputs
from braggscale.ranks.communicator import Alone
from braggscale.ranks.compact import alone_if_too_large
from braggscale.ranks.run import run
from braggscale.scale_files import run as run_whole
from simulation import refl
from simulation.design import Options

N_FILES = 6
NO_MAP = "KB.modulation_correction=False"  # quicker


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 stills in six pairs of files."""
    folder = tmp_path_factory.mktemp("many")
    made = Options(
        kind="stills", count=150, reflections=22_000, d_min=3.0, seed=3, flat_field=0.0, lean=True, outliers=0.005
    )
    simulate_many.simulate_many(made, folder, 25)
    return folder


def files_of(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("stills_*"))]


def scaled(files, folder: Path, size: int, *words: str):
    """Runs over so many ranks in ``folder``; returns what each rank returned, None, or raised."""
    folder.mkdir(exist_ok=True)
    names = (
        "experiments=scaled.expt",
        "reflections=scaled.refl",
        "json=scale.json",
        "log=scale.log",
        "merged_mtz=m.mtz",
        "html=scale.html",
    )
    paths = [f"output.{name.split('=')[0]}={folder / name.split('=')[1]}" for name in names]
    asked = options(*paths, *words)

    def work(ranks):
        return run(files, asked, {}, lambda: "log\n", ranks)

    return run_on(size, work) if size else [run(files, asked, {}, lambda: "log\n", Alone())]


def merged(path: Path) -> dict[tuple[int, int, int], tuple[float, float]]:
    mtz = gemmi.read_mtz_file(str(path))
    rows, labels = np.array(mtz, copy=False), mtz.column_labels()
    i, s = labels.index("IMEAN"), labels.index("SIGIMEAN")
    return {tuple(row[:3].astype(int).tolist()): (float(row[i]), float(row[s])) for row in rows}


@pytest.fixture(scope="module")
def alone(data: Path) -> Path:
    folder = data / "alone"
    assert scaled(files_of(data), folder, 0) == [None]
    return folder


@pytest.mark.parametrize("size", [2, 3, 7])
def test_the_same_bytes_for_any_number_of_ranks(data, alone, size):
    folder = data / f"on {size}"
    assert scaled(files_of(data), folder, size) == size * [None]
    assert (folder / "m.mtz").read_bytes() == (alone / "m.mtz").read_bytes()
    names = sorted(path.name for path in alone.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [name for name in names if name.endswith(".refl")] == [f"scaled_000{k + 1}.refl" for k in range(N_FILES)]
    for name in names:
        if name.endswith(".refl"):
            assert (folder / name).read_bytes() == (alone / name).read_bytes()
    ours, theirs = (json.loads((where / "scale.json").read_text()) for where in (folder, alone))
    for key in ("statistics", "ledger", "error_models", "fit", "resolution", "verdict"):
        assert ours[key] == theirs[key], key
    for of in (ours, theirs):
        del of["ranks"]["number"], of["ranks"]["bytes_of_sums"]
    assert ours["ranks"] == theirs["ranks"]


def test_rows_in_files_give_the_same(data, alone, tmp_path, monkeypatch):
    monkeypatch.setattr("braggscale.ranks.run.SHARE_OF_ROWS", 0.0)
    assert scaled(files_of(data), tmp_path, 2, "memory_limit=1") == [None, None]
    assert (tmp_path / "m.mtz").read_bytes() == (alone / "m.mtz").read_bytes()


def test_rows_that_do_not_fit_are_in_files_without_being_asked(data, alone, tmp_path, monkeypatch, caplog):
    # three ranks on one computer share its memory
    caplog.set_level("INFO")
    monkeypatch.setattr("braggscale.ranks.run.usable_memory", lambda: 1_000_000)
    assert scaled(files_of(data), tmp_path, 3) == 3 * [None]
    assert (tmp_path / "m.mtz").read_bytes() == (alone / "m.mtz").read_bytes()
    assert "rank 2 may use 0.0 GB of memory: its rows, 0.0 GB, are in files in" in caplog.text


def test_an_input_larger_than_the_memory_is_scaled_as_by_one_rank(data, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    files, size = files_of(data), sum(path.stat().st_size for path in data.glob("stills_*"))
    assert alone_if_too_large(files, options()) is None and not caplog.text
    # a quarter of a kilobyte of a file for a row
    monkeypatch.setattr("braggscale.ranks.compact.usable_memory", lambda: 10 * size)
    assert alone_if_too_large(files, options()) is None and not caplog.text
    monkeypatch.setattr("braggscale.ranks.compact.usable_memory", lambda: 2 * size)
    assert isinstance(alone_if_too_large(files, options()), Alone)
    assert "million rows would need" in caplog.text
    caplog.clear()
    assert alone_if_too_large(files, options("model=physical")) is None
    assert "their rows cannot be kept in files: model=physical" in caplog.text


def test_near_the_run_that_holds_all_rows(data, alone, tmp_path):
    names = ("experiments=x.expt", "reflections=x.refl", "merged_mtz=m.mtz")
    paths = [f"output.{name.split('=')[0]}={tmp_path / name.split('=')[1]}" for name in names]
    nothing = [f"output.{name}=None" for name in ("html", "json", "log")]
    asked = options("nproc=1", *nothing, *paths)
    run_whole(files_of(data), asked, {}, lambda: "")
    ours, theirs = merged(alone / "m.mtz"), merged(tmp_path / "m.mtz")
    assert ours.keys() == theirs.keys()
    i, s = np.array([ours[hkl] for hkl in ours]).T
    j, t = np.array([theirs[hkl] for hkl in ours]).T
    factor = float((i * j / s**2).sum() / (j * j / s**2).sum())
    away = np.abs(i - factor * j) / s
    # one observation at the border of being an outlier may be on either side
    assert np.median(away) < 0.01 and np.count_nonzero(away > 0.2) <= 1
    assert np.median(s / (factor * t)) == pytest.approx(1.0, abs=0.01)


def test_near_the_truth(data, alone):
    n, r, chi2 = simulate_many.compare(data, alone / "m.mtz")
    assert n > 1500 and r < 0.06 and 0.8 < chi2 < 1.5


def test_scaled_files_are_read_again_and_agree_with_the_merged_data(data, alone):
    agree(alone, N_FILES)


def agree(folder: Path, n_files: int) -> None:
    """Sums over the rows of scaled files are those over merged reflections, for each of them."""
    total = np.zeros(2)
    seen: dict[tuple[int, int, int], float] = {}
    for k in range(n_files):
        pair = [str(folder / f"scaled_000{k + 1}.{ending}") for ending in ("expt", "refl")]
        for one in open_inputs(pair).data_sets:
            good = one.table["scaling_fate"] == 0
            g, i, v = (
                one.table[name][good]
                for name in ("inverse_scale_factor", "intensity.scale.value", "intensity.scale.variance")
            )
            total += [(g * i / v).sum(), (g * g / v).sum()]
            asu = Symmetry.from_hall(one.experiment.crystal.hall).asu(one.table["miller_index"][good])[0]
            for hkl, w in zip(map(tuple, asu.tolist()), (g * g / v).tolist(), strict=True):
                seen[hkl] = seen.get(hkl, 0.0) + w
            assert one.experiment.scaling_model["__id__"] == "KB"
    expected = {hkl: s**-2 for hkl, (_, s) in merged(folder / "m.mtz").items()}
    assert seen == pytest.approx(expected, rel=1e-4)
    both = merged(folder / "m.mtz").values()
    assert total[1] == pytest.approx(sum(s**-2 for _, s in both), rel=1e-4)
    assert total[0] == pytest.approx(sum(i * s**-2 for i, s in both), rel=1e-4)


def test_crystals_indexed_in_two_ways(tmp_path):
    made = Options(
        kind="stills", count=60, reflections=9000, d_min=3.5, seed=5, flat_field=0.0, lean=True, space_group="P6",
        misindexed=0.4,
    )  # fmt: skip
    simulate_many.simulate_many(made, tmp_path, 20)
    files, found = files_of(tmp_path), {}
    for size in (1, 3):
        assert scaled(files, tmp_path / str(size), size, "reindex=auto", NO_MAP) == size * [None]
        found[size] = (tmp_path / str(size) / "m.mtz").read_bytes()
    assert found[1] == found[3]
    assert simulate_many.compare(tmp_path, tmp_path / "1" / "m.mtz")[1] < 0.12
    agree(tmp_path / "1", 3)
    assert scaled(files, tmp_path / "as they are", 2, NO_MAP) == 2 * [None]
    text = json.loads((tmp_path / "as they are" / "scale.json").read_text())["warnings"][-1]["text"]
    assert "scale them with reindex=auto" in text


@pytest.fixture
def damaged(data: Path, tmp_path: Path) -> list[str]:
    """The files, with one in the middle cut off."""
    files = []
    for path in files_of(data):
        shutil.copy(path, tmp_path)
        files.append(str(tmp_path / Path(path).name))
    bad = tmp_path / "stills_0003.refl"
    bad.write_bytes(bad.read_bytes()[:2000])
    return files


def test_a_bad_file_ends_all_ranks_with_its_name(damaged, tmp_path):
    found = scaled(damaged, tmp_path / "out", 3)
    assert all(isinstance(error, InputError) for error in found)
    assert len({str(error) for error in found}) == 1
    assert "stills_0003.refl" in str(found[0]) and "skip_bad_files=True" in str(found[0])
    assert str(found[0]).startswith("rank ")
    assert not list((tmp_path / "out").iterdir())


def test_a_bad_file_is_left_out_on_request(damaged, tmp_path):
    assert scaled(damaged, tmp_path / "out", 3, "skip_bad_files=True") == 3 * [None]
    found = json.loads((tmp_path / "out" / "scale.json").read_text())
    assert found["ranks"]["input"] == 125 and "stills_0003.refl is left out" in found["warnings"][0]["text"]
    names = {path.name for path in (tmp_path / "out").glob("scaled_*.refl")}
    assert names == {f"scaled_000{k}.refl" for k in (1, 2, 3, 5, 6)}


def test_a_full_disk_on_one_rank_leaves_nothing(data, tmp_path, monkeypatch):
    def full(path, *_):
        if "0005" in path:
            raise OSError(28, "No space left on device", path)
        return original(path, *_)

    import braggscale.ranks.output as output

    original = output.write_table
    monkeypatch.setattr(output, "write_table", full)
    found = scaled(files_of(data), tmp_path, 3)
    assert all(isinstance(error, UserError) for error in found)
    assert "scaled_0005.refl: No space left on device" in str(found[0]) and "rank 2" in str(found[0])
    assert not list(tmp_path.iterdir())


def test_the_same_data_twice_are_refused(data, tmp_path):
    for ending in ("expt", "refl"):
        shutil.copy(data / f"stills_0000.{ending}", tmp_path / f"again.{ending}")
    found = scaled([*files_of(data), *map(str, sorted(tmp_path.glob("again.*")))], tmp_path, 2)
    assert all("25 data sets are there twice" in str(error) for error in found)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model=physical", "model=physical: .* write model=KB"),
        ("exclude_datasets=1", "exclude_datasets has no meaning"),
        ("unmerged_mtz=u.mtz", "only merged_mtz and merged_cif"),
        ("grouping=individual", "one error model"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(data, tmp_path, word, message):
    with pytest.raises(CommandError, match=message):
        scaled(files_of(data), tmp_path, 0, word)


def test_agreement_of_halves_that_is_not_known_is_a_dash(tmp_path, caplog):
    # two data sets: a half may have none
    caplog.set_level("INFO")
    example = Path(__file__).parents[2] / "examples"
    files = [str(example / f"simulated.{kind}") for kind in ("expt", "refl")]
    assert scaled(files, tmp_path, 1, "model=KB") == [None]
    table = caplog.text.split("Halves of the crystals")[1].split("Please cite")[0]
    assert " - " in table and "nan" not in table


def test_scaled_files_only_on_request(data, tmp_path):
    assert scaled(files_of(data), tmp_path, 2, "scaled_files=False", "merged_cif=" + str(tmp_path / "m.cif")) == 2 * [
        None
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m.cif",
        "m.mtz",
        "scale.html",
        "scale.json",
        "scale.log",
    ]


def test_merged_files_of_groups(data, alone, tmp_path):
    folder = tmp_path / "groups"
    assert scaled(files_of(data), folder, 3, "group_by=stills_000([0-9])", "scaled_files=False") == 3 * [None]
    assert (folder / "m.mtz").read_bytes() == (alone / "m.mtz").read_bytes()
    groups = json.loads((folder / "scale.json").read_text())["ranks"]["groups"]
    assert [one["name"] for one in groups] == list("012345") and {one["data_sets"] for one in groups} == {25}
    whole = merged(folder / "m.mtz")
    parts = [merged(folder / f"m_{k}.mtz") for k in range(N_FILES)]
    for hkl, (i, s) in whole.items():
        seen = [part[hkl] for part in parts if hkl in part]
        assert sum(t**-2 for _, t in seen) == pytest.approx(s**-2, rel=1e-4)
        assert sum(j * t**-2 for j, t in seen) == pytest.approx(i * s**-2, rel=1e-4, abs=1e-3 / s)
    assert all("finds nothing" in str(error) for error in scaled(files_of(data), folder, 2, "group_by=day([0-9])"))


def spoil(path: Path) -> None:
    """Give the intensities to other reflections."""
    hkl = np.ascontiguousarray(refl.read(path, ("miller_index",))["miller_index"])
    content = path.read_bytes()
    assert content.count(hkl.tobytes()) == 1
    path.write_bytes(content.replace(hkl.tobytes(), np.roll(hkl, 1, axis=1).tobytes()))


def test_crystals_that_do_not_agree_are_filtered(data, tmp_path):
    """One file, whose intensities belong to other reflections."""
    files = []
    for path in files_of(data):
        shutil.copy(path, tmp_path)
        files.append(str(tmp_path / Path(path).name))
    bad = tmp_path / "stills_0002.refl"
    spoil(bad)
    found = []
    for size in (1, 3):
        folder = tmp_path / str(size)
        assert scaled(
            files, folder, size, "filtering.method=deltacchalf", "mode=dataset", "max_percent_removed=30", NO_MAP
        ) == (size * [None])
        found.append((folder / "m.mtz").read_bytes())
        ranks = json.loads((folder / "scale.json").read_text())["ranks"]
        assert 12 <= ranks["filtered"] <= 25 and ranks["scaled"] == 150 - ranks["filtered"]
    assert found[0] == found[1]


def scales_of(folder: Path, pattern: str) -> dict[str, np.ndarray]:
    """Inverse scale factors and variances of the good rows of scaled files, by identifier."""
    found = {}
    for path in sorted(folder.glob(f"{pattern}.expt")):
        for one in open_inputs([str(path), str(path.with_suffix(".refl"))]).data_sets:
            good = one.table["scaling_fate"] == 0
            names = ("inverse_scale_factor", "intensity.scale.variance", "intensity.scale.value")
            found[one.experiment.identifier] = np.stack([one.table[name][good] for name in names])
    return found


def test_each_crystal_against_a_reference(data, alone, tmp_path):
    words = f"reference={alone / 'm.mtz'}", "only_target=True"
    for size in (1, 3):
        assert scaled(files_of(data), tmp_path / str(size), size, *words) == size * [None]
    assert (tmp_path / "1" / "m.mtz").read_bytes() == (tmp_path / "3" / "m.mtz").read_bytes()
    agree(tmp_path / "3", N_FILES)
    # what else there is does not matter
    assert scaled(files_of(data)[2:4], tmp_path / "part", 1, *words) == [None]
    every, part = scales_of(tmp_path / "1", "scaled_*"), scales_of(tmp_path / "part", "scaled_*")
    assert len(every) == 150 and len(part) == 25
    for name, values in part.items():
        assert values == pytest.approx(every[name], rel=1e-4)
    # as in the run that holds all rows
    names = ("experiments=x.expt", "reflections=x.refl")
    nothing = [f"output.{name}=None" for name in ("html", "json", "log")]
    paths = [f"output.{name.split('=')[0]}={tmp_path / name.split('=')[1]}" for name in names]
    run_whole(files_of(data), options("nproc=1", *nothing, *paths, *words), {}, lambda: "")
    whole = scales_of(tmp_path, "x")
    assert whole.keys() == every.keys()
    same = [name for name in whole if whole[name].shape == every[name].shape]
    assert len(same) >= 149
    g, v = (np.concatenate([every[name][k] / whole[name][k] for name in same]) for k in (0, 1))
    assert np.abs(np.log(g)).max() < 1e-4 and np.abs(np.log(v)).max() < 0.05


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reference=m.mtz"], "only_target=True"),
        (["only_target=True"], "reference=FILE"),
        (["reference=m.mtz", "only_target=True", "filtering.method=deltacchalf", "mode=dataset"], "each of them by"),
        (["reference=m.mtz", "only_target=True", "KB.modulation_correction=True"], "each of them by itself"),
    ],
)
def test_what_does_not_go_with_a_reference(data, tmp_path, words, message):
    with pytest.raises(CommandError, match=message):
        scaled(files_of(data), tmp_path, 0, *words)


# that of the environment of the tests first, which need not be active
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))


@pytest.mark.skipif(find_spec("mpi4py") is None or MPIEXEC is None, reason="no MPI here")
def test_with_mpiexec(data, alone, tmp_path):
    command = [MPIEXEC, "-n", "3", sys.executable, "-m", "braggscale", *files_of(data), "merged_mtz=m.mtz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.mtz").read_bytes() == (alone / "m.mtz").read_bytes()
    assert done.stdout.count("Merging statistics by resolution") == 1
