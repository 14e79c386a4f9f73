"""The benchmark itself: it measures what its tables say, keeps data, stops a slow peer, and names no machine."""

import json
import platform
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import run as benchmark
import versions
from bench import cases, measure, process
from bench.engine import problem, timings
from bench.limit import moved
from bench.tables import markdown, time_table
from simulation.design import Options

SMALL = cases.Case("small", "small", "small", Options(degrees=60.0, width=0.5, reflections=3000), ("model=physical",))


def python(code, folder, **options):
    return process.run([sys.executable, "-c", code], folder, **options)


def test_quick(tmp_path, capsys):
    """The whole of it on a few thousand rows."""
    benchmark.main(["--quick", "--variants", "one", "--results", str(tmp_path), "--work", str(tmp_path / "work")])
    written = json.loads((tmp_path / "latest.json").read_text())
    page = (tmp_path / "latest.md").read_text()
    assert page in capsys.readouterr().out
    assert [s["name"] for s in written["sets"]] == [case.name for case in cases.QUICK]
    for found in written["sets"]:
        assert found["same"]
        assert found["passes"] > 2
        mine = found["ours"]["fixed"]
        assert 0 < mine["stages"]["scaling"]["median"] < mine["wall"]["median"]
        assert sum(stage["median"] for stage in mine["stages"].values()) == pytest.approx(mine["wall"]["median"])
        assert 50 < mine["peak"]["median"] < 4000
        assert 0 < found["oracle"]["r"] < mine["accuracy"]["r"] < 0.5
    assert {t["name"] for t in written["engine"]} == {"value_and_gradient", "normal_equations"}
    assert written["start"]["scale --version"]["median"] > 0
    for text in (page, json.dumps(written)):
        assert str(tmp_path) not in text
        assert str(Path(__file__).parents[1]) not in text
        assert platform.node() not in text.replace("\n", " ").split()


def test_peer_beside_ours(tmp_path):
    """A peer that is ourselves takes as long and is as true; one that is too slow is stopped."""
    peer = tmp_path / "peer"
    peer.write_text(f'#!/bin/sh\nexec {sys.executable} -m braggscale "$@"\n')
    peer.chmod(0o755)
    data = cases.inputs(SMALL, tmp_path)
    settings = measure.Settings(tmp_path, 1, [], str(peer), 60.0, 1e10)
    found = measure.measure(SMALL, data, settings)
    assert found.ratio() > 0
    assert found.peer.accuracy.r == pytest.approx(found.ours["fixed"].accuracy.r, rel=0.05)
    slow = measure.measure(SMALL, data, replace(settings, limit=0.05))
    assert slow.ratio() is None
    assert slow.peer.stop == "not finished in 0.05 s"
    assert "not finished in 0.05 s" in time_table([slow])


def test_our_own_failure_is_an_error(tmp_path):
    data = cases.inputs(SMALL, tmp_path)
    settings = measure.Settings(tmp_path, 1, [], None, 60.0, 1e10)
    with pytest.raises(RuntimeError, match="exit status 2.*no_such_option"):
        measure.measure(replace(SMALL, ours=("no_such_option=1",)), data, settings)


def test_data_are_kept_unless_others_are_wanted(tmp_path):
    def written():
        return (tmp_path / "small" / "truth.npz").stat().st_mtime_ns

    cases.inputs(SMALL, tmp_path)
    first = written()
    cases.inputs(SMALL, tmp_path)
    assert written() == first
    cases.inputs(replace(SMALL, data=replace(SMALL.data, seed=2)), tmp_path)
    assert written() > first


def test_child_is_measured(tmp_path):
    small = python("pass", tmp_path)
    large = python("x = bytearray(300_000_000); import time; time.sleep(0.3)", tmp_path)
    busy = python("sum(range(20_000_000))", tmp_path)
    assert small.done and large.done and busy.done
    assert 280 < large.peak - small.peak < 330
    assert large.wall > 0.3  # it slept
    assert large.cpu < large.wall
    assert busy.cpu > small.cpu
    assert python("raise SystemExit(3)", tmp_path).status == 3
    assert python("import time; time.sleep(60)", tmp_path, limit=0.5).status is None


def test_limit_counts_every_pass():
    """Twice the passes are twice the bytes of the fit, and nothing else changes."""
    fit = {"minimisers": [{"cost": [3.0, 2.0, 1.0]}], "observations": 100}
    found = {"ledger": {"rows": 200, "total": {"scaled": 100}}, "rounds": [fit], "fit": fit}
    more = {"minimisers": [{"cost": [3.0] * 6}], "observations": 100}
    first, second = moved(found, 10, 20), moved(found | {"fit": more}, 10, 20)
    assert first["writing"] == 30
    assert second.pop("scaling") - first.pop("scaling") == 3 * 100 * (56 + 16)
    assert first == second


def test_engine_has_the_size_that_it_says():
    target, theta = problem(2000)
    assert target.groups.n_rows == pytest.approx(2000, rel=0.1)
    assert len(theta) == 50
    cost, gradient = target.value_and_gradient(theta)[:2]
    assert cost / target.groups.n_rows == pytest.approx(1.0, rel=0.3)  # near the minimum, of unit variance
    equations = target.quadratic(theta).equations()
    assert equations[0] == pytest.approx(cost)
    assert equations[1] == pytest.approx(gradient)
    assert [t.one.n for t in timings(2000, 2, 3, 1e10)] == [3, 3]


def test_spread_and_table():
    assert process.Spread.of([3.0, 1.0, 2.0]).text(0) == "2 (1-3)"
    assert process.Spread.of([1.5]).text() == "1.50"
    assert markdown(("a", "b"), [("long", "1")]) == "| a    | b |\n|------|--:|\n| long | 1 |"


def test_unknown_set():
    with pytest.raises(SystemExit, match="no set is called s2m; there are lcys"):
        benchmark.main(["--sets", "s2m"])
    with pytest.raises(SystemExit, match="no variant is called two"):
        benchmark.main(["--variants", "two"])


def test_memory_of_a_row_and_a_data_set():
    """What was put in comes out, and no share is negative."""

    def found(rows, data_sets, peak):
        least = versions.Least(1.0, 1.0, peak)
        return versions.Compared("set", rows, data_sets, least, least, 0.0, 0)

    sizes = [(20_000, 4), (100_000, 1), (1_000_000, 1), (450_000, 2000), (500_000, 100)]
    law = versions.memory_law([found(n, k, 380.0 + 600e-6 * n + 0.1 * k) for n, k in sizes])
    assert law == pytest.approx([380.0, 600.0, 0.1])
    assert (versions.memory_law([found(n, k, 380.0 + 600e-6 * n - 0.05 * k) for n, k in sizes]) >= 0).all()


def test_versions_side_by_side(tmp_path):
    """A version beside itself: nothing moves, and the sets of an earlier call stay in the table."""
    source = Path(__file__).parents[1] / "src"
    tiny = replace(SMALL, data=replace(SMALL.data, reflections=1000))
    found = versions.compare(tiny, cases.inputs(tiny, tmp_path), (source, source), tmp_path, 1)
    assert (found.moved, found.verdicts, found.data_sets) == (0.0, 0, 1)
    assert 50 < found.after.peak < 4000 and found.after.cpu > 0
    assert "| small |" in versions.page([found], {"processors": 2}, "a note")
