"""Small sets: does a run with the default options ever do harm where there is little to learn from?

    python benchmarks/small.py --out DIR [--seeds 100] [--rows 500 1000 2000 5000] [--degrees 180] [--even]

simulates sweeps with few observations, scales each with the default options, with ``restraints=fixed`` and with one
constant, and compares merged intensities with the truth (accuracy.py). Printed for each number of observations:

    R              mean over the seeds, Friedel mates together
    /constant      mean and largest ratio to R of the constant in the same set
    above 5 %      how many sets have a ratio above 1.05
    chi^2          mean over the seeds, of (I - T)/sigma
    R_meas         smallest of all sets: one far below that of the others tells that noise was fitted

A constant merges what was recorded, outliers rejected, errors calibrated. "True scales" merges the observations of
the default run that are no outliers with their true scales and errors: where even these have a ratio above 1.05,
chance decides and not the program. With ``--even`` the instrument leaves hardly anything to correct.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

import accuracy
import braggscale as bs
from simulate import simulate
from simulation.design import Options

KINDS = {
    "default": {},
    "fixed": {"restraints": "fixed"},
    "constant": {"model": "KB", "KB.modulation_correction": False},
}
TRUE = "true scales"
# absorption, beam, decay and detector with hardly any effect
EVEN = Options(
    absorption=0.05, drift=0.003, flicker=0.002, decay_b=0.1, loss=0.002, flat_field=0.002, volume=False, width=0.5
)


def one(options: Options, folder: Path) -> dict[str, tuple[float, float, float]]:
    """R, chi^2 and R_meas of each kind of run on one simulated set."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "truth.npz").exists():
        simulate(options, folder)
    truth = accuracy.load_truth(folder)
    found: dict[str, tuple[float, float, float]] = {}
    for kind, settings in KINDS.items():
        run = bs.scale(bs.read(folder / "simulated.expt", folder / "simulated.refl"), **settings)
        run.write(folder / "scaled.expt", folder / "scaled.refl")
        judged, limit = accuracy.scaled(folder / "scaled.refl", kind, truth)
        r_meas = np.nan if run.statistics is None else run.statistics.overall.r_meas
        found[kind] = judged.r, judged.chi2, r_meas
        if kind == "default":
            found[TRUE] = limit.r, limit.chi2, np.nan
    return found


def main() -> None:
    """Entry point."""
    p = argparse.ArgumentParser(description="Small simulated sets against the truth.")
    p.add_argument("--out", type=Path, required=True, help="folder for the data; kept for the next call")
    p.add_argument("--seeds", type=int, default=100, help="how many sets of each size")
    p.add_argument("--first", type=int, default=1, help="seed of the first")
    p.add_argument("--rows", type=int, nargs="+", default=[500, 1000, 2000, 5000])
    p.add_argument("--degrees", type=float, default=180.0)
    p.add_argument("--even", action="store_true", help="an instrument that leaves hardly anything to correct")
    given = p.parse_args()
    logging.disable(logging.CRITICAL)
    print(
        f"{'rows':>6} {'run':11} {'R':>7} {'/constant':>9} {'largest':>8} {'above 5 %':>9} {'chi^2':>6} {'R_meas':>7}"
    )
    for rows in given.rows:
        base = replace(EVEN if given.even else Options(width=0.5), reflections=rows, degrees=given.degrees)
        seeds = range(given.first, given.first + given.seeds)
        name = f"{'even-' if given.even else ''}{rows}-{given.degrees:g}"
        sets = [one(replace(base, seed=seed), given.out / f"{name}-{seed}") for seed in seeds]
        constant = np.array([found["constant"][0] for found in sets])
        for kind in (*KINDS, TRUE):
            r, chi2, r_meas = np.array([found[kind] for found in sets]).T
            ratio = r / constant
            worst = given.first + int(np.argmax(ratio))
            print(
                f"{rows:6} {kind:11} {r.mean():7.4f} {ratio.mean():9.3f} {ratio.max():8.3f} "
                f"{np.count_nonzero(ratio > 1.05):9} {chi2.mean():6.3f} {np.fmin.reduce(r_meas):7.4f}  (seed {worst})",
                flush=True,
            )


if __name__ == "__main__":
    main()
