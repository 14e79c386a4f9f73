"""What must not matter: the number of threads, the order of the rows, the order of the data sets.

    python benchmarks/invariances.py --out DIR NAME=FILE,FILE[,OPTION...] ...

scales each input (``lcys=20.json,20.pickle,model=array``) with nproc=1, 2 and 4 and all exports, then with its rows in
another order, then with its data sets in reverse order. Rows and data sets of DIALS' files are exchanged between all
data sets; those of files of other programs are lines (HKLF 4) or chunks (CrystFEL). Printed for each input:

    files          that differ between nproc = 1, 2, 4, but for times and dates
    rows, sets     largest and mean move of a merged intensity, in its sigma, with no factor taken out, the number of
                   reflections that one of them lacks, and the difference of R_meas

The last column says "ok" if no file differs, no reflection moves by 0.02 sigma, and R_meas by less than 1e-5.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from braggscale.io import open_inputs
from braggscale.io.atomic_files import commit, pending
from braggscale.io.column_types import OutputColumn
from braggscale.io.experiment_list import OutputExperiment, imageset_numbers, output_data, to_text
from braggscale.io.file_kind import open_source
from braggscale.io.refl_msgpack import read_table, write_msgpack
from braggscale.io.table_writer import write_table

EXPORTS = (
    "merged_mtz=m.mtz", "unmerged_mtz=u.mtz", "merged_cif=m.cif", "unmerged_cif=u.cif", "shelx=s.hkl",
    "xds_ascii=x.HKL", "sca=s.sca",
)  # fmt: skip
TIMES = re.compile(r"\d\d\d\d-\d\d-\d\d[T ]?[\d:]*|nproc *= *\d+|^Seconds: .*(\n  .*)*", re.MULTILINE)
MOST_MOVE, MOST_R_MEAS = 0.02, 1e-5


@dataclass(frozen=True, slots=True)
class Move:
    """Differences of two runs.  ``largest``, ``mean``: of merged intensities, sigma.  ``alone``: reflections."""

    largest: float
    mean: float
    alone: int
    r_meas: float

    @property
    def good(self) -> bool:
        """Whether they are negligible."""
        return self.largest < MOST_MOVE and not self.alone and abs(self.r_meas) < MOST_R_MEAS

    def __str__(self) -> str:
        return f"{self.largest:.4f} {self.mean:.5f} sigma, {self.alone} alone, R_meas {self.r_meas:+.1e}"


def scale(folder: Path, files: Sequence[str], options: Sequence[str]) -> None:
    """One run in ``folder``, unless its files are there."""
    if (folder / "scale.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "braggscale", "-q", *files, "output.html=None", *EXPORTS, *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{folder}: {done.stderr}")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of what a run has written, without times and dates."""
    found = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        if path.name == "scale.json":
            summary = json.loads(data)
            for part in (summary, summary["options"]):
                for name in {"run", "command", "nproc"} & set(part):
                    del part[name]
            data = json.dumps(summary).encode()
        elif path.suffix == ".expt":
            document = json.loads(data)
            document.pop("history")
            data = json.dumps(document).encode()
        elif path.suffix not in (".refl", ".mtz"):
            data = TIMES.sub("", data.decode(errors="replace")).encode()
        found[path.name] = hashlib.sha256(data).hexdigest()
    return found


def merged(folder: Path) -> dict[tuple[int, ...], tuple[float, float]]:
    """Merged intensity and sigma of each reflection."""
    mtz = gemmi.read_mtz_file(str(folder / "m.mtz"))
    values = np.array(mtz, copy=False)
    names = mtz.column_labels()
    i, s = (names.index(name) for name in ("IMEAN", "SIGIMEAN"))
    good = np.isfinite(values[:, i]) & (values[:, s] > 0)
    return {tuple(row[:3].astype(int).tolist()): (float(row[i]), float(row[s])) for row in values[good]}


def move(one: Path, other: Path) -> Move:
    """How far the results of two runs are from each other."""
    a, b = merged(one), merged(other)
    both = [key for key in a if key in b]
    z = np.array([abs(a[key][0] - b[key][0]) / a[key][1] for key in both])
    r_meas = [
        json.loads((folder / "scale.json").read_text())["statistics"]["overall"]["r_meas"] for folder in (one, other)
    ]
    return Move(float(z.max()), float(z.mean()), len(a) + len(b) - 2 * len(both), r_meas[1] - r_meas[0])


def reordered(files: Sequence[str], folder: Path, what: str) -> list[str]:
    """The same input with its rows (``rows``) or its data sets (``sets``) in another order; nothing if it has none."""
    folder.mkdir(parents=True, exist_ok=True)
    if files[0].endswith(".stream"):
        return [] if what == "rows" else [_chunks(Path(files[0]), folder)]
    if files[0].endswith(".hkl"):
        return [_lines(Path(files[0]), folder)] if what == "rows" else []
    data = open_inputs(files)
    numbers = list(range(len(data.data_sets)))
    if what == "sets":
        numbers.reverse()
        if len(numbers) == 1:
            return []
    chosen = [data.data_sets[k] for k in numbers]
    models = [one.experiment.scaling_model for one in chosen]
    kept = [OutputExperiment(k, one.identifier, model) for k, one, model in zip(numbers, chosen, models, strict=True)]
    document = output_data(data.document, kept, "")
    tables = [one.table for one in chosen]
    whole = {"id": list(range(len(tables))), "imageset_id": imageset_numbers(document)}
    columns = {
        name: ("int", [np.full(len(table), n, np.int32) for table, n in zip(tables, values, strict=True)])
        for name, values in whole.items()
    }
    names = {k: one.identifier for k, one in enumerate(chosen)}
    paths = [str(folder / name) for name in ("in.expt", "in.refl")]
    with pending() as pairs:
        pairs.append((write_table(paths[1], tables, columns, names), paths[1]))
        commit(pairs)
    Path(paths[0]).write_text(to_text(document))
    if what == "rows":
        _shuffle(Path(paths[1]), names)
    return paths


def _shuffle(path: Path, names: dict[int, str]) -> None:
    """All rows of a table in another order, those of all data sets among each other."""
    table = read_table(open_source(str(path)))
    order = np.random.default_rng(11).permutation(table.n_rows)
    columns = []
    for name, column in table.columns.items():
        values = np.array(column.load())[order]
        columns.append(
            OutputColumn(name, column.tag, values.dtype, values.shape[1:], lambda values=values: iter([values]))
        )
    other = path.with_suffix(".shuffled")
    with other.open("wb") as file:
        write_msgpack(file.write, table.n_rows, columns, names)
    other.replace(path)


def _chunks(source: Path, folder: Path) -> str:
    """A stream with its chunks in reverse order."""
    head, *chunks = re.split(r"(?m)^(?=----- Begin chunk)", source.read_text())
    path = folder / source.name
    path.write_text(head + "".join(reversed(chunks)))
    return str(path)


def _lines(source: Path, folder: Path) -> str:
    """HKLF 4 with its lines up to the end mark in another order."""
    lines = source.read_text().splitlines(keepends=True)
    end = next((k for k, line in enumerate(lines) if not line[:12].replace("0", "").strip()), len(lines))
    order = np.random.default_rng(11).permutation(end)
    path = folder / source.name
    for beside in (source.with_suffix(".ins"), source.with_suffix(".res")):  # they have the cell
        if beside.exists():
            (folder / beside.name).write_bytes(beside.read_bytes())
    path.write_text("".join([lines[k] for k in order] + lines[end:]))
    return str(path)


def check(folder: Path, name: str, words: Sequence[str]) -> bool:
    """All runs of one input; prints what differs."""
    options = [word for word in words if "=" in word]
    files = [str(Path(word).resolve()) for word in words if "=" not in word]
    for n in (1, 2, 4):
        scale(folder / f"nproc{n}", files, [*options, f"nproc={n}"])
    first = digests(folder / "nproc1")
    others = [digests(folder / f"nproc{n}") for n in (2, 4)]
    differ = sorted({file for other in others for file in first | other if first.get(file) != other.get(file)})
    print(f"{name:12} files  {len(first)}, differ: {', '.join(differ) or 'none'}", flush=True)
    good = not differ
    for what in ("rows", "sets"):
        other_files = reordered(files, folder / f"{what}.input", what)
        if other_files:
            scale(folder / what, other_files, [*options, "nproc=2"])
            moved = move(folder / "nproc1", folder / what)
            good = good and moved.good
            print(f"{name:12} {what:6} {moved}  {'ok' if moved.good else 'NOT'}", flush=True)
    return good


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("inputs", nargs="+", metavar="NAME=FILE,FILE[,OPTION...]")
    options = parser.parse_args()
    bad = []
    for text in options.inputs:
        name, _, words = text.partition("=")
        if not check(options.out.resolve() / name, name, words.split(",")):
            bad.append(name)
    print("ok" if not bad else f"NOT: {', '.join(bad)}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
