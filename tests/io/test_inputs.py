"""Files named on a command line become data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import io_samples as samples
import numpy as np
import pytest

from braggscale.errors import CommandError, InputError
from braggscale.io import Input, open_inputs
from braggscale.io.atomic_files import commit, write_text
from braggscale.io.experiment_list import OutputExperiment, history_line, output_data, to_text
from braggscale.io.table_writer import write_table


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Makes files and returns their paths: a list of identifiers is an experiment list, else (ids, identifiers)."""

    def build(**files: Any) -> list[str]:
        paths = []
        for name, content in files.items():
            if isinstance(content, list):
                data: Any = samples.experiment_list(len(content), content)
                paths.append(samples.put(tmp_path, f"{name}.expt", data))
            else:
                ids, names = content
                columns = samples.simple_columns(ids, seed=len(paths))
                paths.append(samples.put(tmp_path, f"{name}.refl", samples.refl(columns, names)))
        return paths

    return build


def summary(result: Input) -> list[tuple[int, str, int]]:
    assert len(result.data_sets) == len(result.document.experiments)
    assert [d.experiment.identifier for d in result.data_sets] == [d.identifier for d in result.data_sets]
    assert result.n_rows == sum(len(d.table) for d in result.data_sets) + result.not_indexed
    return [(d.id, d.identifier, len(d.table)) for d in result.data_sets]


def test_the_four_sweeps_of_l_cysteine(shared_data: Path) -> None:
    folder = shared_data / "l_cysteine"
    files = [str(path) for path in sorted(folder.glob("*_integrated*"))]
    result = open_inputs(files)
    assert summary(result) == [(0, "0", 3304), (1, "1", 4732), (2, "2", 4602), (3, "3", 4696)]
    assert (result.n_rows, result.not_indexed) == (4417 + 5555 + 5308 + 5463, 3409)
    assert "4 data sets without identifier" in result.notes[0]
    # The kinds may come in any order, as a shell expands them.
    grouped = sorted(files, key=lambda name: (name.endswith(".json"), name))
    assert summary(open_inputs(grouped)) == summary(result)


def test_real_data_with_identifiers(shared_data: Path) -> None:
    quartz = open_inputs([str(shared_data / "quartz_ed" / f"integrated.{end}") for end in ("expt", "refl")])
    assert [(d.id, len(d.table), d.table.rows) for d in quartz.data_sets] == [(0, 1653, None)]
    stills = open_inputs([str(shared_data / "ssx_cunir" / f"integrated.{end}") for end in ("refl", "expt")])
    assert [len(d.table) for d in stills.data_sets] == [704, 554, 2472, 580, 893]
    assert all(d.experiment.is_still for d in stills.data_sets)
    scaled = [str(shared_data / "l_cysteine_scaled" / f"scaled_30.{end}") for end in ("expt", "refl")]
    result = open_inputs(scaled)
    assert summary(result) == [(0, "2", 5308)]
    assert result.data_sets[0].experiment.scaling_model is not None
    # Joined with unscaled sweeps, which take the numbers that are free.
    more = [str(shared_data / "l_cysteine" / f"20_integrated{end}") for end in (".pickle", "_experiments.json")]
    assert [d.identifier for d in open_inputs(scaled + more).data_sets] == ["2", "0"]


def test_tables_are_matched_by_identifier_not_by_order(make: Any) -> None:
    files = make(a=["first"], b=["second"], c=([0, 0, 0], {0: "second"}), d=([0], {0: "first"}))
    result = open_inputs(files)
    assert summary(result) == [(0, "first", 1), (1, "second", 3)]
    assert [Path(d.table.source).name for d in result.data_sets] == ["d.refl", "c.refl"]


def test_numbers_of_a_single_complete_table_stay(make: Any) -> None:
    result = open_inputs(make(a=["x", "y", "z"], b=([5, 0, 2, 5, -1, 2, 5], {0: "y", 2: "x", 5: "z"})))
    assert summary(result) == [(2, "x", 2), (0, "y", 1), (5, "z", 3)]
    assert result.not_indexed == 1
    rows = [d.table.rows for d in result.data_sets]
    assert [r is not None and r.tolist() for r in rows] == [[2, 5], [1], [0, 3, 6]]
    assert result.data_sets[2].table["id"].tolist() == [5, 5, 5]


def test_numbers_of_several_tables_are_given_anew(make: Any) -> None:
    result = open_inputs(make(a=["x", "y"], b=["z"], c=([0, 4], {0: "x", 4: "y"}), d=([0], {0: "z"})))
    assert summary(result) == [(0, "x", 1), (1, "y", 1), (2, "z", 1)]
    assert any("numbered 0 to 2" in note for note in result.notes)


def test_without_identifiers_the_number_counts_the_experiments_of_the_file(make: Any) -> None:
    result = open_inputs(make(a=["", ""], b=["", "", ""], c=([1, 0, 1], {}), d=([2, 0, -1], {})))
    assert summary(result) == [(0, "0", 1), (1, "1", 2), (2, "2", 1), (3, "3", 0), (4, "4", 1)]


def test_one_experiment_list_for_several_tables(make: Any) -> None:
    result = open_inputs(make(a=["", "", ""], b=([0, 0], {}), c=([0], {}), d=([3, 3, 3, -1], {})))
    assert summary(result) == [(0, "0", 2), (1, "1", 1), (2, "2", 3)]


def test_new_identifiers_are_the_smallest_free_numbers(make: Any) -> None:
    files = make(a=["", "1", ""], b=([1], {1: "1"}), c=([0], {}), d=([0, 0], {}))
    assert [d.identifier for d in open_inputs(files).data_sets] == ["0", "1", "2"]


def test_short_identifiers_from_two_runs(make: Any) -> None:
    files = make(a=["0", "1"], b=["0", "x"], c=([0, 1, 1], {0: "0", 1: "1"}), d=([0, 0, 0, 0, 1], {0: "0", 1: "x"}))
    result = open_inputs(files)
    assert summary(result) == [(0, "0", 1), (1, "1", 2), (2, "2", 4), (3, "x", 1)]
    assert any("b.expt: identifier '0' is used already, here it becomes '2'" in note for note in result.notes)


def test_identifiers_are_taken_over_from_the_table(make: Any) -> None:
    assert summary(open_inputs(make(a=[""], b=([0], {0: "known"})))) == [(0, "known", 1)]


def test_an_identifier_without_rows_and_experiment_is_no_obstacle(make: Any) -> None:
    result = open_inputs(make(a=["x"], b=([1], {0: "removed earlier", 1: "x"})))
    assert summary(result) == [(1, "x", 1)]


def test_a_table_without_numbers(tmp_path: Path) -> None:
    columns = samples.simple_columns([0, 0])
    del columns["id"]
    experiments = samples.put(tmp_path, "a.expt", samples.experiment_list())
    table = samples.put(tmp_path, "a.refl", samples.refl(columns))
    assert summary(open_inputs([table, experiments])) == [(0, "0", 2)]
    several = samples.put(tmp_path, "b.refl", samples.refl(columns, {0: "x", 1: "y"}))
    with pytest.raises(InputError, match="2 data sets, but no column 'id'"):
        open_inputs([several, experiments])
    nothing = samples.put(tmp_path, "c.refl", samples.refl({}, n_rows=1 << 60))
    with pytest.raises(InputError, match="has no columns"):
        open_inputs([nothing, experiments])


MISMATCHES = {
    "c.refl has reflections of 'y', which is not in .*a.expt .*'x'": {"a": ["x"], "c": ([0], {0: "y"})},
    "a.expt: 1 experiment without reflections .'y'. in .*c.refl": {"a": ["x", "y"], "c": ([0], {0: "x"})},
    "a.expt: 1 experiment without reflections .1. in": {"a": ["x", ""], "c": ([0], {0: "x"})},
    "c.refl: rows with id 3, for which the file has no identifier": {"a": ["x"], "c": ([0, 3], {0: "x"})},
    "c.refl: reflections with id 7, but .*a.expt has only 2 experiments": {"a": ["", ""], "c": ([7], {})},
    "d.refl: no experiment for its reflections with id 0": {"a": ["x"], "c": ([0], {0: "x"}), "d": ([0], {})},
    "2 experiments without .* but .*c.refl, .*d.refl, .*e.refl has 3 data sets": {
        "a": ["", ""],
        "c": ([0], {}),
        "d": ([0], {}),
        "e": ([0], {}),
    },
    "the reflections of 'x' were given twice, in .*c.refl and .*d.refl": {
        "a": ["x"],
        "c": ([0], {0: "x"}),
        "d": ([0], {0: "x"}),
    },
    "'long' was given twice, by .*a.expt and .*b.expt": {
        "a": ["long"],
        "b": ["long"],
        "c": ([0], {0: "long"}),
        "d": ([0], {0: "long"}),
    },
    "d.refl has reflections of 'z', but .*b.expt has 'y'": {
        "a": [""],
        "b": ["y"],
        "c": ([0], {}),
        "d": ([0], {0: "z"}),
    },
}


@pytest.mark.parametrize("message", MISMATCHES)
def test_files_that_do_not_belong_together(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_inputs(make(**MISMATCHES[message]))


def test_one_kind_alone(make: Any) -> None:
    experiments, table = make(a=["x"], b=([0], {0: "x"}))
    with pytest.raises(InputError, match=r"b.refl: reflections without experiments"):
        open_inputs([table])
    with pytest.raises(InputError, match=r"a.expt: experiments without reflections"):
        open_inputs([experiments])


def test_a_file_named_twice(make: Any, tmp_path: Path) -> None:
    experiments, table = make(a=["x"], b=([0], {0: "x"}))
    with pytest.raises(CommandError, match="b.refl is given twice$"):
        open_inputs([experiments, table, table])
    link = tmp_path / "link.refl"
    link.symlink_to(table)
    with pytest.raises(CommandError, match=r"link.refl is given twice, also as .*b.refl"):
        open_inputs([experiments, table, str(link)])


def test_files_in_the_wrong_order_are_refused(shared_data: Path) -> None:
    folder = shared_data / "l_cysteine"
    experiments = [str(folder / f"{n}_integrated_experiments.json") for n in (20, 25)]
    tables = [str(folder / f"{n}_integrated.pickle") for n in (25, 20)]
    with pytest.raises(InputError, match=r"25_integrated.pickle does not belong to .*20_integrated_experiments.json"):
        open_inputs(experiments + tables)
    assert len(open_inputs(experiments + tables[::-1]).data_sets) == 2


def test_written_files_are_read_again(shared_data: Path, tmp_path: Path) -> None:
    files = [str(path) for path in sorted((shared_data / "l_cysteine").glob("*_integrated*"))]
    first = open_inputs(files)
    kept = [d for d in first.data_sets if d.identifier != "1"]
    ids = [np.full(len(d.table), d.id) for d in kept]
    refl, expt = str(tmp_path / "scaled.refl"), str(tmp_path / "scaled.expt")
    document = output_data(
        first.document,
        [OutputExperiment(d.id, d.identifier, {"__id__": "KB"}, ((1, 1000),), 100 * d.id) for d in kept],
        history_line("2024-01-01T00:00:00Z", "0"),
    )
    names = {d.id: d.identifier for d in kept}
    table = write_table(refl, [d.table for d in kept], {"id": ("int", ids)}, names)
    commit([(table, refl), (write_text(expt, to_text(document)), expt)])
    again = open_inputs([expt, refl])
    assert summary(again) == [(d.id, d.identifier, len(d.table)) for d in kept]
    for old, new in zip(kept, again.data_sets, strict=True):
        assert new.experiment.scan is not None
        assert (new.experiment.scan.batch_offset, new.experiment.scan.valid_image_ranges) == (
            100 * old.id,
            ((1, 1000),),
        )
        np.testing.assert_array_equal(new.experiment.crystal.real_space, old.experiment.crystal.real_space)
        for name in old.table.columns:
            if name != "id":
                np.testing.assert_array_equal(new.table[name], old.table[name])
