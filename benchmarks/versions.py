"""Two versions of the program side by side: time, memory, and how far the result moved.

    python benchmarks/versions.py --before OLD/src --after src --sets lcys,s100k --work DIR --repeat 3 --name NAME

Each version is a folder that holds the package ``braggscale``. The runs alternate, each a whole process with default
options, input in the page cache and kernels compiled (one run of each version that is not counted comes first). Prints
tables and writes benchmarks/results/NAME.md and .json:

    wall, CPU    seconds, the least of the repeated runs: what else the machine does can only add to it
    peak         resident memory at its highest, MB
    moved        rms change of merged intensities in their standard deviations, and verdicts that changed

and what memory a row and a data set need, fitted to the peaks of all sets of the second version.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from accuracy import OUTLIER
from bench import machine
from bench.cases import CASES, Case, Inputs, inputs
from bench.process import Run, run
from bench.tables import markdown
from braggscale.io import open_inputs
from braggscale.numerics.array_types import Array, Float
from simulation.design import Options

RESULTS = Path(__file__).parent / "results"
MORE = (
    Case("x20", "20 crystals x 2k", "x20", Options(kind="crystals", count=20, degrees=2.0, reflections=40_000)),
    Case("m200", "200 sweeps x 2k", "m200", Options(kind="crystals", count=200, degrees=2.0, reflections=400_000)),
)


@dataclass(frozen=True, slots=True)
class Least:
    """The least of repeated runs: ``wall``, ``cpu`` in s, ``peak`` in MB."""

    wall: float
    cpu: float
    peak: float

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Least:
        """Of at least one run."""
        return cls(min(r.wall for r in runs), min(r.cpu for r in runs), min(r.peak for r in runs))


@dataclass(frozen=True, slots=True)
class Compared:
    """One set.  ``moved``: rms change of merged intensities in sigma; ``verdicts``: number that changed."""

    title: str
    rows: int
    data_sets: int
    before: Least
    after: Least
    moved: float
    verdicts: int


def compare(case: Case, data: Inputs, versions: Sequence[Path], work: Path, repeat: int) -> Compared:
    """Run both versions by turns; raises RuntimeError where one fails."""
    data.warm()
    folders = [work / "versions" / f"{case.name}.{name}" for name in ("before", "after")]
    runs: list[list[Run]] = [[], []]
    for k in range(repeat + 1):
        for which, (source, folder) in enumerate(zip(versions, folders, strict=True)):
            command = [sys.executable, "-m", "braggscale", *map(str, data.files)]
            done = run(command, folder, environment={"PYTHONPATH": str(source.absolute())})
            if not done.done:
                raise RuntimeError(f"{case.title}: {source} failed, see {folder / 'output.txt'}")
            if k:
                runs[which].append(done)
    tables = [_table(folder) for folder in folders]
    rows = len(tables[1]["intensity"])
    moved, verdicts = _moved(*tables)
    sets = int(tables[1]["id"].max()) + 1
    return Compared(case.title, rows, sets, Least.of(runs[0]), Least.of(runs[1]), moved, verdicts)


def _table(folder: Path) -> dict[str, Array]:
    table = open_inputs([str(folder / f"scaled.{kind}") for kind in ("expt", "refl")]).data_sets
    parts = [one.table for one in table]

    def column(name: str) -> Array:
        return np.concatenate([part[name] for part in parts])

    return {
        "id": np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
        "hkl": column("miller_index"),
        "intensity": column("intensity.scale.value"),
        "variance": column("intensity.scale.variance"),
        "scale": column("inverse_scale_factor"),
        "flags": column("flags"),
    }


def _moved(before: dict[str, Array], after: dict[str, Array]) -> tuple[float, int]:
    """Merged by index as it stands, Friedel mates together, after one factor on all intensities."""
    outlier = [(table["flags"] & OUTLIER) != 0 for table in (before, after)]
    used = [
        (table["scale"] > 0) & (table["variance"] > 0) & ~out
        for table, out in zip((before, after), outlier, strict=True)
    ]
    hkl = after["hkl"] * np.where(after["hkl"][:, :1] < 0, -1, 1)
    _, group = np.unique(hkl, axis=0, return_inverse=True)
    group = group.ravel()
    means, weights = [], []
    for table, mine in zip((before, after), used, strict=True):
        g, v = table["scale"], np.where(mine, table["variance"], 1.0)
        w = np.where(mine, g * g / v, 0.0)
        total = np.bincount(group, w)
        sums = np.bincount(group, np.where(mine, g * table["intensity"] / v, 0.0))
        means.append(np.divide(sums, total, out=np.zeros(len(total)), where=total > 0))
        weights.append(total)
    both = (weights[0] > 0) & (weights[1] > 0)
    first, second, w = means[0][both], means[1][both], weights[0][both]
    factor = float((w * first * second).sum() / (w * second * second).sum())
    return float(np.sqrt(np.mean(w * (factor * second - first) ** 2))), int(np.count_nonzero(outlier[0] != outlier[1]))


def memory_law(found: Sequence[Compared]) -> Float:
    """MB of the program alone, of a million rows, and of a data set, (3,): least squares, none below 0."""
    peaks = np.array([one.after.peak for one in found])
    parts = np.array([[1.0, one.rows * 1e-6, one.data_sets] for one in found])
    law, mine = np.zeros(3), np.arange(3)
    while True:
        found_law = np.linalg.lstsq(parts[:, mine] / peaks[:, None], np.ones(len(peaks)))[0]
        if (found_law >= 0.0).all():
            law[mine] = found_law
            return law
        mine = mine[found_law >= 0.0]


def page(found: Sequence[Compared], facts: dict[str, object], note: str) -> str:
    """The tables as text."""
    head = (
        "set",
        "rows",
        "data sets",
        "wall s",
        "was",
        "ratio",
        "CPU s",
        "was",
        "ratio",
        "peak MB",
        "was",
        "ratio",
        "moved, sigma",
        "verdicts",
    )
    lines = []
    for one in found:
        cells = [one.title, str(one.rows), str(one.data_sets)]
        for name, digits in (("wall", 2), ("cpu", 2), ("peak", 0)):
            new, old = getattr(one.after, name), getattr(one.before, name)
            cells += [f"{new:.{digits}f}", f"{old:.{digits}f}", f"{new / old:.2f}"]
        lines.append([*cells, f"{one.moved:.4f}", str(one.verdicts)])
    text = "# Two versions side by side\n\nWhat each figure means: benchmarks/versions.py.\n\n"
    text += f"**{note}**\n\n" if note else ""
    text += "".join(f"* {name.replace('_', ' ')}: {value}\n" for name, value in facts.items())
    text += "\n" + markdown(head, lines) + "\n"
    if len(found) > 3:
        base, row, data_set = memory_law(found)
        text += f"\nPeak memory: {base:.0f} MB + {row:.0f} MB per million rows + {data_set:.2f} MB per data set\n"
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    known = {case.name: case for case in (*CASES, *MORE)}
    p = argparse.ArgumentParser(description="Two versions side by side.")
    p.add_argument("--before", type=Path, required=True, help="folder with the package of the earlier version")
    p.add_argument("--after", type=Path, required=True, help="the same of the later one")
    p.add_argument("--sets", default="lcys,s100k,x20", help=f"of {', '.join(known)}")
    p.add_argument("--work", type=Path, required=True, help="folder for simulated data, kept and used again")
    p.add_argument("--repeat", type=int, default=3, metavar="N", help="runs of each version, by turns")
    p.add_argument("--name", default="versions", help="name of the results")
    p.add_argument("--results", type=Path, default=RESULTS, help="folder of the results; sets that it has are kept")
    p.add_argument("--note", default="", help="a line for the head of the results")
    a = p.parse_args(argv)
    file = a.results / f"{a.name}.json"
    kept = json.loads(file.read_text())["sets"] if file.is_file() else {}
    for name in a.sets.split(","):
        if name not in known:
            raise SystemExit(f"versions: no set is called {name}; there are {', '.join(known)}")
        data = inputs(known[name], a.work.absolute())
        if data is None:
            print(f"{known[name].title}: the data are not there, see BRAGGSCALE_DATA", flush=True)
            continue
        try:
            kept[name] = asdict(compare(known[name], data, (a.before, a.after), a.work.absolute(), a.repeat))
        except RuntimeError as error:
            raise SystemExit(f"versions: {error}") from None
    found = [Compared(**(one | {which: Least(**one[which]) for which in ("before", "after")})) for one in kept.values()]
    facts = machine.facts()
    text = page(found, facts, a.note)
    print("\n" + text, end="")
    a.results.mkdir(parents=True, exist_ok=True)
    (a.results / f"{a.name}.md").write_text(text)
    file.write_text(json.dumps({"facts": facts, "note": a.note, "sets": kept}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
