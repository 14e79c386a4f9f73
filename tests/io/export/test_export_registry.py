"""Kinds of exports: each has its option, and one from outside the package works like those of the package."""

import pytest
from export_samples import crystals
from test_export_files import EXAMPLES, scale

from braggscale.cli import main
from braggscale.errors import DataError, OutputError
from braggscale.io.export.export import Export, ExportFile, ExportSettings, numbered
from braggscale.io.export.registry import EXPORTS
from braggscale.io.export.write import needs_statistics, write_exports
from braggscale.options.definitions import definitions, export_definitions
from braggscale.options.export_files import EXPORT_FILES, ExportOption


def toy_files(data, path):
    """h k l I of every observation, and beside it the number of unique reflections."""
    rows = data.crystals.rows
    lines = [f"{h} {k} {l} {i:.3f}" for (h, k, l), i in zip(rows.hkl.tolist(), rows.intensity.tolist(), strict=True)]
    return [
        ExportFile(path, lambda: "\n".join(lines).encode()),
        ExportFile(numbered(path, "unique"), lambda: str(sum(len(one.merged) for one in data.sets)).encode()),
    ]


TOY = Export(toy_files, names=lambda path: (path, numbered(path, "unique")))


@pytest.fixture
def toy(monkeypatch):
    """The program with one kind of export more: one entry in the registry, one in the options."""
    monkeypatch.setitem(EXPORTS, "toy", TOY)
    monkeypatch.setitem(EXPORT_FILES, "toy", ExportOption(1, "One line for each observation.", ""))
    definitions.cache_clear()
    export_definitions.cache_clear()
    yield
    definitions.cache_clear()
    export_definitions.cache_clear()


def test_each_kind_has_an_option():
    assert set(EXPORTS) == set(EXPORT_FILES)
    for name in EXPORTS:
        assert f"output.{name}" in definitions().options and f"output.{name}" in export_definitions().options


def test_a_kind_from_outside(toy, tmp_path, monkeypatch, capsys):
    """Its option is explained and checked, the run writes it, and ``scale export`` writes the same."""
    monkeypatch.chdir(tmp_path)
    assert main(["export", "-h"]) == 0
    assert "toy = None" in capsys.readouterr().out
    now, later = tmp_path / "now.txt", tmp_path / "later.txt"
    pair = scale(tmp_path, EXAMPLES / "simulated.expt", EXAMPLES / "simulated.refl", "restraints=fixed", f"toy={now}")
    assert main(["export", *pair, "-q", f"toy={later}"]) == 0
    assert now.read_bytes() == later.read_bytes() and now.read_text().count("\n") > 1000
    assert int((tmp_path / "now_unique.txt").read_text()) > 100
    assert main(["export", *pair, "toy=a.txt", "sca=a_unique.txt"]) == 2
    assert "output.sca and output.toy are the same file" in capsys.readouterr().err


def test_what_fails_is_named_and_the_others_stand(tmp_path):
    def content():
        raise DataError("no such thing")

    bad = Export(lambda data, path: [ExportFile(path, content)], needs_statistics=True)
    exports = {"bad": bad, "toy": TOY}
    paths = {"toy": str(tmp_path / "a.txt"), "bad": str(tmp_path / "b.txt")}
    assert needs_statistics(paths, exports) and not needs_statistics({"toy": ""}, exports)
    with pytest.raises(OutputError, match=r"b\.txt was not written: no such thing"):
        write_exports(crystals(), paths, ExportSettings(), None, exports)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "a_unique.txt"]
