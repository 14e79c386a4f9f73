"""The recommendations of a run against the truth: false alarms, and bad images that are found with their edges.

    python benchmarks/advice.py [--deviations 200] [--runs 0] [--first 1] [--out DIR]

``--deviations``: so many made-up sets of deviations without bad images, and as many of which twelve neighbouring images
of 240 (5 %) have twice the errors, go through the tests of a finished run. ``--runs``: so many simulated sweeps of
each kind go through the command as it is typed: without bad images, and with twelve neighbouring images, anywhere in
the sweep, that deviate twice and four times as much as their errors say. Printed is in how many images were named,
recommended for exclusion, and right at both edges within two images; and in how many runs terminal, report and
scale.json gave the same commands. ``--first`` is the first seed: methods are judged with seeds other than those that
they were chosen with. ``--out`` keeps the table, and with ``--runs`` a line for each run, in this folder.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass, replace
from html import unescape
from io import StringIO
from pathlib import Path

import numpy as np

from braggscale.cli import main as main_of_program
from braggscale.statistics.exclusions import exclusions
from simulate import simulate
from simulation.design import Options
from simulation.deviations import N_IMAGES, observations

SHARE = 0.05  # of the images, bad ones
NEAR = 2  # images
FACTORS = (1.0, 2.0, 4.0)  # times the errors
SWEEP = Options(degrees=120.0, width=0.5, reflections=6000, d_min=1.8, outliers=0.005)


@dataclass(frozen=True, slots=True)
class Told:
    """What one run said.  ``runs``: (first, last, whether recommended) of each run of images.

    ``agree``: whether terminal, report and scale.json propose the same; None if there are none.
    """

    runs: tuple[tuple[int, int, bool], ...]
    agree: bool | None = None

    def right(self, first: int, last: int) -> tuple[bool, bool, bool]:
        """Whether one of them begins, ends, and has both edges at these images, within two."""
        begins = [abs(a - first) <= NEAR for a, _, _ in self.runs]
        ends = [abs(b - last) <= NEAR for _, b, _ in self.runs]
        return any(begins), any(ends), any(map(all, zip(begins, ends, strict=True)))

    @property
    def recommends(self) -> bool:
        """Whether anything is recommended for exclusion."""
        return any(recommended for _, _, recommended in self.runs)


def of_deviations(seed: int, bad: tuple[int, int] | None) -> Told:
    """The tests on made-up deviations."""
    found = exclusions(observations(seed, bad=bad), [N_IMAGES])
    return Told(tuple((one.first, one.last, one.worth_leaving_out) for one in found.stretches))


def of_run(options: Options, folder: Path) -> Told:
    """The command on a simulated sweep; images are numbered from 1."""
    simulate(options, folder)
    printed = StringIO()
    with chdir(folder), redirect_stdout(printed):
        status = main_of_program(["simulated.expt", "simulated.refl"])
    if status:
        raise RuntimeError(f"exit status {status} of seed {options.seed}")
    summary = json.loads((folder / "scale.json").read_text())
    images = summary["exclusions"]["images"]
    runs = tuple((one["first"], one["last"], one["recommended"]) for one in images)
    written = [one["command"] for one in summary["verdict"]["commands"]]
    ranges = ",".join(f"{a}:{b}" for a, b, _ in sorted(one for one in runs if one[2]))
    meant = [command for command in written if "exclude_images=" in command]
    agree = (
        commands_of_terminal(printed.getvalue()) == commands_of_report(folder / "scale.html") == written
        and len(meant) == bool(ranges)
        and all(f"exclude_images={ranges} " in command for command in meant)
    )
    return Told(runs, agree)


def commands_of_terminal(text: str) -> list[str]:
    """The commands that the terminal ends with, but the last one, which merges."""
    end = text[text.index("\nSeconds: ") :]
    return [line.strip() for line in end.splitlines() if line.startswith("  scale ")][:-1]


def commands_of_report(page: Path) -> list[str]:
    """The commands that the report proposes."""
    return [unescape(found) for found in re.findall(r'<code id="command-\d+">(.*?)</code>', page.read_text())]


def line(name: str, told: Sequence[Told], bad: Sequence[tuple[int, int]] | None) -> str:
    """A row of the table.  ``bad``: the true edges, None where no image is bad."""
    named = sum(bool(one.runs) for one in told)
    edges = [] if bad is None else [one.right(*truth) for one, truth in zip(told, bad, strict=True)]
    right = ", ".join(str(sum(of)) for of in zip(*edges, strict=True))
    agree = "" if any(one.agree is None for one in told) else str(sum(bool(one.agree) for one in told))
    return f"| {name} | {len(told)} | {named} | {sum(one.recommends for one in told)} | {right} | {agree} |"


def bad_images(seed: int) -> tuple[int, int]:
    """First and last of the bad images, from 0, anywhere in the sweep."""
    length = round(SHARE * N_IMAGES)
    start = int(np.random.default_rng(seed).integers(0, N_IMAGES - length + 1))
    return start, start + length - 1


def whole_runs(n: int, seed_1: int, factor: float, report: Callable[[str], None]) -> str:
    """The row of the table for ``n`` simulated sweeps from seed ``seed_1`` on; a line for each goes to ``report``.

    ``factor``: how many times as large the deviations of bad images are; 1 if no image is bad.
    """
    bad = factor > 1.0
    told, edges = [], []
    for seed in range(seed_1, seed_1 + n):
        edges.append(tuple(image + 1 for image in bad_images(seed)))
        first, last = edges[-1] if bad else (0, 0)
        options = replace(SWEEP, seed=seed, noisy_from=first, noisy_to=last, noisier=factor)
        with tempfile.TemporaryDirectory() as folder:
            told.append(of_run(options, Path(folder)))
        truth = edges[-1] if bad else None
        report(f"{seed} truth {truth} told {told[-1].runs} agree {told[-1].agree}")
    kind = f"{100 * SHARE:g} % bad images, {factor:g} times the errors" if bad else "no bad images"
    return line(f"whole runs, {kind}", told, edges if bad else None)


def main() -> None:
    """Entry point."""
    p = argparse.ArgumentParser(description="Recommendations of a run against the truth.")
    p.add_argument("--deviations", type=int, default=200, help="made-up sets of deviations of each kind")
    p.add_argument("--runs", type=int, default=0, help="simulated sweeps of each kind through the whole program")
    p.add_argument("--factors", type=float, nargs="+", default=FACTORS, help="times the errors, 1 for no bad images")
    p.add_argument("--first", type=int, default=1, help="seed of the first sweep")
    p.add_argument("--out", type=Path, help="folder for the table and a line for each run")
    asked = p.parse_args()
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)

    def say(text: str, name: str = "advice.md") -> None:
        if asked.out is not None:
            with (asked.out / name).open("a") as file:
                print(text, file=file)
        if name == "advice.md":
            print(text, flush=True)

    say(
        "| data | sets | named | recommended | first, last, both edges right within 2 images "
        "| terminal, report and scale.json agree |"
    )
    say("|---|---|---|---|---|---|")
    if asked.deviations:
        seeds = range(1000, 1000 + asked.deviations)
        edges = [bad_images(seed) for seed in seeds]
        say(line("deviations, no bad images", [of_deviations(seed, None) for seed in seeds], None))
        told = [of_deviations(seed, bad) for seed, bad in zip(seeds, edges, strict=True)]
        say(line("deviations, 5 % bad images, 2 times the errors", told, edges))
    for factor in asked.factors if asked.runs else ():
        say(whole_runs(asked.runs, asked.first, factor, lambda text, name=f"times_{factor:g}.txt": say(text, name)))


if __name__ == "__main__":
    main()
