"""The recommendations of a run against the truth: false alarms, and bad images that are found with their edges.

    python benchmarks/advice.py [--deviations 200] [--runs 0] [--out DIR]

``--deviations``: so many made-up sets of deviations without bad images, and as many of which twelve neighbouring images
of 240 (5 %) have twice the errors, go through the tests of a finished run. ``--runs``: so many simulated sweeps of each
kind go through the whole program; here the last 5 % of the images disagree by more than their errors (``bad_last``).
Printed is in how many images were named, recommended for exclusion, and right at both edges within two images.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import braggscale as bs
from braggscale.statistics.exclusions import exclusions
from simulate import simulate
from simulation.design import Options
from simulation.deviations import N_IMAGES, observations

SHARE = 0.05  # of the images, bad ones
NEAR = 2  # images
SWEEP = Options(degrees=120.0, width=0.5, reflections=6000, d_min=1.8, outliers=0.005)


@dataclass(frozen=True, slots=True)
class Told:
    """What one run said.  ``runs``: (first, last, whether recommended) of each run of images."""

    runs: tuple[tuple[int, int, bool], ...]

    def right(self, first: int, last: int) -> bool:
        """Whether one of them has these edges, within two images."""
        return any(abs(a - first) <= NEAR and abs(b - last) <= NEAR for a, b, _ in self.runs)

    @property
    def recommends(self) -> bool:
        """Whether anything is recommended for exclusion."""
        return any(recommended for _, _, recommended in self.runs)


def of_deviations(seed: int, bad: tuple[int, int] | None) -> Told:
    """The tests on made-up deviations."""
    found = exclusions(observations(seed, bad=bad), [N_IMAGES])
    return Told(tuple((one.first, one.last, one.worth_leaving_out) for one in found.stretches))


def of_run(options: Options, folder: Path) -> Told:
    """The whole program on a simulated sweep; images are numbered from 1."""
    simulate(options, folder)
    run = bs.scale(bs.read(folder / "simulated.expt", folder / "simulated.refl"))
    images = run.summary["exclusions"]["images"]
    return Told(tuple((one["first"], one["last"], one["recommended"]) for one in images))


def line(name: str, told: Sequence[Told], bad: Sequence[tuple[int, int]] | None) -> str:
    """A row of the table.  ``bad``: the true edges, None where no image is bad."""
    named = sum(bool(one.runs) for one in told)
    right = "" if bad is None else str(sum(one.right(*edges) for one, edges in zip(told, bad, strict=True)))
    return f"| {name} | {len(told)} | {named} | {sum(one.recommends for one in told)} | {right} |"


def main() -> None:
    """Entry point."""
    p = argparse.ArgumentParser(description="Recommendations of a run against the truth.")
    p.add_argument("--deviations", type=int, default=200, help="made-up sets of deviations of each kind")
    p.add_argument("--runs", type=int, default=0, help="simulated sweeps of each kind through the whole program")
    p.add_argument("--out", type=Path, help="folder for simulated sweeps; one that vanishes if it is not given")
    asked = p.parse_args()
    print("| data | sets | named | recommended | edges right within 2 images |\n|---|---|---|---|---|")
    length = round(SHARE * N_IMAGES)
    if asked.deviations:
        seeds = range(1000, 1000 + asked.deviations)
        starts = [int(np.random.default_rng(seed).integers(0, N_IMAGES - length)) for seed in seeds]
        edges = [(start, start + length - 1) for start in starts]
        print(line("deviations, no bad images", [of_deviations(seed, None) for seed in seeds], None), flush=True)
        told = [of_deviations(seed, bad) for seed, bad in zip(seeds, edges, strict=True)]
        print(line("deviations, 5 % bad images", told, edges), flush=True)
    with tempfile.TemporaryDirectory() as aside:
        for share in (0.0, SHARE) if asked.runs else ():
            options = [replace(SWEEP, bad_last=share, seed=seed) for seed in range(1, asked.runs + 1)]
            root = asked.out or Path(aside)
            told = [of_run(one, root / f"{share:g}_{one.seed}") for one in options]
            first = round(N_IMAGES * (1.0 - share)) + 1
            known = [(first, N_IMAGES)] * len(told) if share else None
            print(line(f"whole runs, {100 * share:g} % bad images", told, known), flush=True)


if __name__ == "__main__":
    main()
