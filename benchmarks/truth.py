"""The table of truth: estimated restraints beside fixed ones, an oracle and, where it is installed, dials.scale.

    python benchmarks/truth.py --out DIR [--seeds 1 2 3] [--sets sweep wide crystals stills] [--dials] [--nproc 2]

simulates the sets that are not in DIR yet, scales each with ``restraints=fixed`` and ``restraints=estimated``, compares
with the truth (accuracy.py) and prints, per set and seed,

    excess       sqrt(R+-^2 - R+-^2 of the oracle), Friedel mates apart; with --dials its share of that of dials.scale
    R, R/oracle  R, Friedel mates together, and the same over that of the oracle
    CCanom -     CC of anomalous differences that is lost against the oracle
    rms ln g     error of the scales
    chi^2        overall, and the smallest and largest of the ranges of T/sigma with at least 2 % of the reflections
    found, lost  outliers of 5-10 and above 10 sigma, good data lost in per cent
    a, b/b0      error model, over what was put in
    image sd     standard deviation of the image effect over what was put in, where one was fitted

The oracle uses rows down to the partiality that the run uses: 0.4, of stills with estimated restraints 0.05. It has a
line of its own. What of a detector's response depends on resolution alone is in no data, but the oracle knows it.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import accuracy
from simulate import simulate
from simulation.design import Options

BASE = Options()
# options of the simulation, more options of the run with estimated restraints
SETS: dict[str, tuple[Options, tuple[str, ...]]] = {
    "sweep": (replace(BASE, reflections=100_000), ()),
    "wide": (replace(BASE, reflections=100_000, width=0.5), ("image_correction=True", "image_interval=0.5")),
    "crystals": (replace(BASE, kind="crystals", count=100, degrees=4.0, reflections=500_000), ()),
    "stills": (replace(BASE, kind="stills", count=2000, reflections=450_000), ()),
    "few stills": (replace(BASE, kind="stills", count=400, reflections=90_000), ()),
    "lossy": (replace(BASE, reflections=100_000, profile_loss=0.15), ()),
    "recorded": (replace(BASE, kind="stills", count=2000, reflections=450_000, recorded_profiles=True), ()),
    "weak": (replace(BASE, reflections=100_000, mean_counts=60.0), ()),
    # the second simulator: photons of every pixel, integrated
    "pixels": (replace(BASE, count=4, reflections=200_000, pixels=True), ()),
    "pixels crystals": (replace(BASE, kind="crystals", count=100, degrees=4.0, reflections=250_000, pixels=True), ()),
    "pixels weak": (replace(BASE, count=4, reflections=200_000, mean_counts=150.0, pixels=True), ()),
}
PARTIALITY, OF_STILLS = 0.4, 0.05
SMALLEST_RANGE = 0.02  # share of the reflections from which on the chi^2 of a range counts


def scale(folder: Path, name: str, program: list[str], options: list[str]) -> Path | None:
    """Run a program on the simulated files; the scaled table, or None if the program failed."""
    out = folder / name
    table = out / "scaled.refl"
    if not table.exists():
        out.mkdir(exist_ok=True)
        files = [str((folder / f"simulated.{kind}").resolve()) for kind in ("expt", "refl")]
        with (out / "output.txt").open("w") as log:
            subprocess.run([*program, *files, *options], cwd=out, stdout=log, stderr=log, check=False)
    return table if table.exists() else None


def image_effect(summary: dict[str, Any]) -> float:
    """Standard deviation of the image effect, nan where there is none."""
    strength = summary["fit"]["strengths"].get("image")
    return 1 / math.sqrt(strength) if strength else math.nan


def line(found: accuracy.Accuracy, oracle: accuracy.Accuracy, other: float | None, counts: list[float]) -> str:
    """One line of the table.  ``other``: excess of dials.scale, None where it was not run."""
    excess = math.sqrt(max(found.r_apart**2 - oracle.r_apart**2, 0.0))
    share = "     -" if not other else f"{excess / other:6.2f}"
    ranges = zip(found.chi2_by_range, found.share_by_range, strict=True)
    chi2 = [c for c, share in ranges if share >= SMALLEST_RANGE]
    numbers = [f"{x:6.3f}" for x in counts]
    return (
        f"{found.label:30} {excess:7.4f} {share} {found.r:7.4f} {found.r / oracle.r:8.3f} "
        f"{oracle.cc_anom - found.cc_anom:8.4f} {found.rms_ln_g:8.4f} "
        f"{found.chi2:6.3f} {min(chi2):6.3f} {max(chi2):6.3f} {found.found_5_10:6.3f} {found.found_10:6.3f} "
        + " ".join([f"{100 * found.lost:7.3f}", *numbers])
    )


HEAD = (
    f"{'':30} {'excess':>7} {'/DIALS':>6} {'R':>7} {'R/oracle':>8} {'CCanom -':>8} {'rms ln g':>8} "
    f"{'chi^2':>6} {'least':>6} {'most':>6} {'5-10':>6} {'>10':>6} {'lost %':>7} {'a':>6} {'b/b0':>6} {'img sd':>6}"
)


def one(folder: Path, label: str, which: str, options: argparse.Namespace) -> None:
    """Simulate, scale, compare and print one set."""
    settings, more = SETS[which]
    settings = replace(settings, seed=options.seed)
    if not (folder / "truth.npz").exists():
        simulate(settings, folder)
    truth = accuracy.load_truth(folder)
    limits = {PARTIALITY: accuracy.oracle(folder, truth, PARTIALITY)}
    if settings.kind == "stills":
        limits[OF_STILLS] = accuracy.oracle(folder, truth, OF_STILLS)
    for limit in limits.values():
        print(line(replace(limit, label=f"{label} {limit.label}"), limit, None, []), flush=True)
    oracle, other = limits[PARTIALITY], None
    if options.dials and shutil.which("dials.scale"):
        table = scale(folder, "dials", ["dials.scale"], [f"nproc={options.nproc}"])
        if table is not None:
            found = accuracy.scaled(table, f"{label} dials.scale", truth)[0]
            other = math.sqrt(max(found.r_apart**2 - oracle.r_apart**2, 0.0))
            print(line(found, oracle, other, []), flush=True)
    for kind in ("fixed", "estimated"):
        oracle = limits[OF_STILLS if settings.kind == "stills" and kind == "estimated" else PARTIALITY]
        extra = list(more) if kind == "estimated" else []
        program = [sys.executable, "-m", "braggscale"]
        table = scale(folder, kind, program, [f"restraints={kind}", f"nproc={options.nproc}", *extra])
        if table is None:
            print(f"{label} {kind}: failed, see {folder / kind / 'output.txt'}")
            continue
        summary = json.loads((table.parent / "scale.json").read_text())
        errors = summary["error_models"][0]["model"]
        image = image_effect(summary) / settings.flicker
        counts = [errors["a"], errors["b"] / settings.instability] + ([] if math.isnan(image) else [image])
        found = accuracy.scaled(table, f"{label} {kind}", truth)[0]
        print(line(found, oracle, other, counts), flush=True)


def main() -> None:
    """Entry point."""
    p = argparse.ArgumentParser(description="Estimated restraints against the truth.")
    p.add_argument("--out", type=Path, required=True, help="folder for the data; kept for the next call")
    p.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    p.add_argument("--sets", nargs="+", choices=SETS, default=["sweep", "wide"])
    p.add_argument("--dials", action="store_true", help="run dials.scale, too")
    p.add_argument("--nproc", type=int, default=1)
    options = p.parse_args()
    print(HEAD)
    for which in options.sets:
        for seed in options.seeds:
            options.seed = seed
            folder = options.out / f"{which.replace(' ', '-')}{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            one(folder, f"{which} {seed}", which, options)


if __name__ == "__main__":
    main()
