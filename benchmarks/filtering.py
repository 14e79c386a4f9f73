"""Filtering by data set against the truth: good data sets that are left out, and bad ones that are left in.

    python benchmarks/filtering.py --out DIR [--group judged|validated] [--methods deltacchalf deviations]

Simulates crystals that differ in number, cell, multiplicity and strength, without bad data sets and with a tenth of
them, and filters them. The two groups have other cells, numbers of data sets and seeds. Bad data sets are changed after
the simulation:

foreign     40 % of the intensities are those of another structure
half        the same in the second half of the images; of a still, in half of the rows
blank       no intensity in 40 % of the images; of a still, of the rows
noise       deviations of twice the size, so that the errors are too small
unstable    each image has another scale, with a standard deviation of 40 %; of a still, each row
wavelength  integrated with a wavelength that is 3 % too long, so that the cell is too large by as much; the intensities
            are right

Printed is, for each design, how many good data sets were left out, how many bad ones of each kind were left in, and R
against the truth as in accuracy.py: without filtering, with it, and if exactly the bad data sets are left out. The last
line is that of the data sets that a run without filtering names. The files of a design are removed when it is done;
DIR/GROUP.json keeps which data sets were bad, and left out. A command that was interrupted goes on from there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import accuracy
from braggscale.numerics.array_types import Array, Float
from simulate import simulate
from simulation import refl
from simulation.design import Options
from truth import scale

KINDS = ("foreign", "half", "blank", "noise", "unstable", "wavelength")
WRONG_WAVELENGTH = 1.03  # over the right one
BASE = Options(kind="crystals", lean=True, width=0.5, d_min=2.0)
STILLS = replace(BASE, kind="stills")
DESIGNS: dict[str, tuple[tuple[Options, int], ...]] = {
    # options but for the seed, and the number of runs with other seeds
    "judged": (
        (replace(BASE, count=30, degrees=10.0, reflections=30_000, space_group="P 21"), 2),
        (replace(BASE, count=60, degrees=5.0, reflections=45_000, space_group="P 2 2 21"), 2),
        (replace(BASE, count=120, degrees=3.0, reflections=60_000, space_group="P 3 2 1", mean_counts=800.0), 2),
        (replace(BASE, count=300, degrees=2.0, reflections=120_000, space_group="P 4 2 2"), 1),
        (replace(STILLS, count=100, reflections=40_000, space_group="P 6"), 2),
        (replace(STILLS, count=300, reflections=90_000, space_group="P 4"), 1),
    ),
    "validated": (
        (replace(BASE, count=40, degrees=8.0, reflections=24_000, space_group="P 1 2 1", d_min=1.7), 1),
        (replace(BASE, count=80, degrees=6.0, reflections=80_000, space_group="P 4 21 2", anomalous=0.08), 1),
        (replace(BASE, count=200, degrees=2.5, reflections=70_000, space_group="P 2 2 2", mean_counts=300.0), 1),
        (replace(BASE, count=150, degrees=4.0, reflections=90_000, space_group="P 6 2 2", b_spread=6.0), 1),
        (replace(STILLS, count=150, reflections=75_000, space_group="P 3 1 2"), 1),
        (replace(STILLS, count=250, reflections=60_000, space_group="P 4 2 2", partiality_error=0.1), 1),
    ),
}
PROGRAM = [sys.executable, "-m", "braggscale"]
SEEDS = {"judged": 301, "validated": 701}


@dataclass(frozen=True, slots=True)
class Judged:
    """One run.  ``kinds``: of badness, by data set, "" for good ones.  ``out``: positions of those left out.

    ``named``: positions of data sets that a run without filtering names because a value of theirs stands out.
    ``r``: against the truth, without filtering, with it, and without the bad data sets; empty if there are none.
    """

    label: str
    method: str
    seed: int
    kinds: list[str]
    out: list[int]
    named: list[int]
    r: tuple[float, ...]

    def is_of(self, method: str, seed: int, with_bad: bool) -> bool:
        """Whether it is this run."""
        return (self.method, self.seed, any(self.kinds)) == (method, seed, with_bad)

    def false(self) -> int:
        """Good data sets that were left out."""
        return sum(not self.kinds[k] for k in self.out)

    def missed(self, kind: str) -> tuple[int, int]:
        """Bad data sets of a kind that were left in, and how many there were."""
        every = [k for k, one in enumerate(self.kinds) if one == kind]
        return len([k for k in every if k not in self.out]), len(every)


def spoil(folder: Path, options: Options, kinds: Sequence[str]) -> None:
    """Change the rows of bad data sets in the simulated file.  ``kinds``: of each data set, "" for good ones."""
    table = refl.read(folder / "simulated.refl")
    truth = np.load(folder / "truth.npz")
    rng = np.random.default_rng([options.seed, 99])
    pairs = np.column_stack((truth["plus"], truth["minus"]))
    order = np.argsort(truth["d"], kind="stable")
    other = np.empty(len(order), np.int64)
    other[order] = np.roll(order, 17)
    own, unique = truth["intensity"], truth["unique"]
    ratio = 0.6 + 0.4 * pairs[other].reshape(-1)[unique] / np.maximum(own, 1e-9 * own.mean())
    stills = options.kind == "stills"
    names = [name for name in ("intensity.sum.value", "intensity.prf.value") if name in table]
    n_images = max(1, round(options.degrees / options.width))
    image = np.minimum(table["xyzcal.px"][:, 2].astype(np.int64), n_images - 1)
    for k in (k for k, kind in enumerate(kinds) if kind and kind != "wavelength"):
        rows = np.flatnonzero(table["id"] == k)
        place = rng.random(len(rows)) if stills else (image[rows] + 0.5) / n_images
        for name in names:
            value, variance = table[name][rows], table[name.replace("value", "variance")][rows]
            table[name][rows] = _spoiled(kinds[k], value, variance, (ratio[rows], place, image[rows]), stills, k)
    for name in names:
        refl.change(folder / "simulated.refl", name, table[name])
    _lengthen(folder, [k for k, kind in enumerate(kinds) if kind == "wavelength"])


def _lengthen(folder: Path, data_sets: Sequence[int]) -> None:
    """Give data sets a longer wavelength and, as it follows from the same spots, a larger cell."""
    path = folder / "simulated.expt"
    document = json.loads(path.read_text())
    for k in data_sets:
        experiment = document["experiment"][k]
        beam = dict(document["beam"][experiment["beam"]])
        beam["wavelength"] *= WRONG_WAVELENGTH
        experiment["beam"] = len(document["beam"])
        document["beam"].append(beam)
        crystal = document["crystal"][experiment["crystal"]]
        for axis in ("real_space_a", "real_space_b", "real_space_c"):
            crystal[axis] = [WRONG_WAVELENGTH * x for x in crystal[axis]]
    path.write_text(json.dumps(document))


def _spoiled(
    kind: str, value: Float, variance: Float, of_rows: tuple[Float, Float, Array], stills: bool, seed: int
) -> Float:
    """``of_rows``: ratio of the foreign intensity to the true one, place from 0 to 1, image, (n,) each."""
    ratio, place, image = of_rows
    rng, sigma = np.random.default_rng([seed, 7]), np.sqrt(np.maximum(variance, 0.0))
    noise = sigma * rng.standard_normal(len(value))
    if kind == "foreign":
        return value * ratio
    if kind == "half":
        return np.where(place > 0.5, value * ratio, value)
    if kind == "blank":
        return np.where(place < 0.4, noise, value)
    if kind == "noise":
        return value + np.sqrt(3.0) * noise
    each = np.exp(0.4 * rng.standard_normal(max(len(value), int(image.max(initial=0)) + 1)))
    return value * (each[: len(value)] if stills else each[image])


def judged(folder: Path, options: Options, kinds: Sequence[str], method: str) -> Judged:
    """Filter the simulated data sets with one method."""
    limit = "filtering.deltacchalf.max_percent_removed=25"
    words = [f"filtering.method={method}", limit, "output.html=None", "nproc=1"]
    table = scale(folder, method, PROGRAM, words)
    if table is None:
        raise SystemExit(f"filtering: no result in {folder / method}; see output.txt there")
    found = json.loads((folder / method / "scale_and_filter_results.json").read_text())
    out = sorted({int(k) for one in found["cycle_results"].values() for k in one["removed_datasets"]})
    label = f"{options.count} {'stills' if options.kind == 'stills' else 'wedges'}, {options.space_group}"
    plain = ["output.html=None", "nproc=1"]
    tables = [scale(folder, "plain", PROGRAM, plain), table]
    named = {int(one["data_set"]) for one in json.loads((folder / "plain" / "scale.json").read_text())["outlying"]}
    numbers = ",".join(str(k) for k, kind in enumerate(kinds) if kind)
    r: tuple[float, ...] = ()
    if numbers:
        tables.append(scale(folder, "right", PROGRAM, [*plain, f"dataset_selection.exclude_datasets={numbers}"]))
        truth = accuracy.load_truth(folder)
        r = tuple(accuracy.scaled(path, "", truth)[0].r for path in tables if path is not None)
    return Judged(label, method, options.seed, list(kinds), out, sorted(named), r)


def kinds_of(count: int, bad: int) -> list[str]:
    """Which data sets are bad, evenly among the others: ``bad`` of ``count``, of every kind in turn."""
    result = [""] * count
    for k in range(bad):
        result[int((k + 0.5) * count / bad)] = KINDS[k % len(KINDS)]
    return result


def campaign(out: Path, group: str, methods: Sequence[str], keep: bool) -> list[Judged]:
    """All runs of a group, each without bad data sets and with a tenth of them, at least one of every kind.

    Those that are in DIR/GROUP.json are not run again.
    """
    kept = out / f"{group}.json"
    done = [_read(one) for one in json.loads(kept.read_text())] if kept.exists() else []
    for number, (design, repeats) in enumerate(DESIGNS[group]):
        for repeat, share in product(range(repeats), (0.0, 0.1)):
            options = replace(design, seed=SEEDS[group] + 10 * number + repeat)
            bad = max(len(KINDS), round(share * options.count)) if share else 0
            missing = [m for m in methods if not any(run.is_of(m, options.seed, bad > 0) for run in done)]
            if not missing:
                continue
            folder = out / f"{group}_{number}_{repeat}_{bad}"
            kinds = kinds_of(options.count, bad)
            if not (folder / "truth.npz").exists():
                simulate(options, folder)
                spoil(folder, options, kinds)
            for method in missing:
                done.append(judged(folder, options, kinds, method))
                print(_line(done[-1:]), flush=True)
                kept.write_text(json.dumps([asdict(run) for run in done], indent=1))
            if not keep:
                shutil.rmtree(folder)
    return done


def _read(one: dict[str, Any]) -> Judged:
    """A run from DIR/GROUP.json."""
    return Judged(**{**one, "r": tuple(one["r"])})


def _line(runs: Sequence[Judged]) -> str:
    """A row of the table: good data sets that were left out, bad ones that were left in, by kind."""
    good = sum(kind == "" for run in runs for kind in run.kinds)
    missed = [np.sum([run.missed(kind) for run in runs], axis=0) for kind in KINDS]
    cells = [f"{a} of {b}" if b else "" for a, b in missed]
    compared = [run.r for run in runs if len(run.r) == 3]
    cells.append(", ".join(f"{value:.4f}" for value in np.mean(compared, axis=0)) if compared else "")
    first = f"| {runs[0].label} | {runs[0].method} | {sum(run.false() for run in runs)} of {good} | "
    return first + " | ".join(cells) + " |"


def main() -> None:
    """Entry point."""
    p = argparse.ArgumentParser(description="Filtering by data set against the truth.")
    p.add_argument("--out", type=Path, required=True, help="folder for data and runs")
    p.add_argument("--group", choices=list(DESIGNS), default="validated")
    p.add_argument("--methods", nargs="+", default=["deltacchalf", "deviations"])
    p.add_argument("--keep", action="store_true", help="keep the files")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    done = campaign(a.out, a.group, a.methods, a.keep)
    titles = [f"{kind} left in" for kind in KINDS]
    print(f"| data | method | good left out | {' | '.join(titles)} | R: none, filtered, right |")
    print("|" + "---|" * (4 + len(KINDS)))
    every = sorted({(run.method, run.label) for run in done})
    for method, label in every:
        print(_line([run for run in done if (run.method, run.label) == (method, label)]))
    for method in a.methods:
        print(_line([replace(run, label="all") for run in done if run.method == method]))
    once = [replace(run, label="all", method="named", out=run.named) for run in done if run.method == a.methods[0]]
    print(_line([replace(run, r=()) for run in once]))


if __name__ == "__main__":
    main()
