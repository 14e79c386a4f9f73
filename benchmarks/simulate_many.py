"""Very many simulated stills, a file after the other: of any number only those of one file are in memory.

    python benchmarks/simulate_many.py --out DIR --stills 200000 --per-file 1000 --rows 250 [--d-min 2.0] [--seed 1]

Writes DIR/stills_NNNN.expt and .refl, and DIR/truth.npz: hkl, d, centric and the true intensities plus and minus of the
unique reflections. Stills are those of simulate.py: the number of a still, not its file,
decides what it is.

    python benchmarks/simulate_many.py --out DIR --compare merged.mtz

compares merged intensities with the truth: R = sum |I - T| / sum T after one factor and one B for all, and the mean of
((I - T)/sigma)^2.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import gemmi
import numpy as np

import accuracy
from braggscale.numerics.array_types import Array
from simulate import columns_of, record_block
from simulation import expt, refl
from simulation.design import Options, Plan, make_plans, predict
from simulation.passage import World, make_world
from simulation.trouble import Trouble, troubles


def write_file(world: World, plans: Sequence[Plan], trouble: Sequence[Trouble], out: Path, name: str) -> int:
    """One pair of files; returns its rows.  ``trouble``: of each of the plans."""
    rows = [predict(world.options, world.geometry, plan, world.points) for plan in plans]
    columns = columns_of(world.options)
    n = sum(map(len, rows))
    expt.write(out / f"{name}.expt", world.geometry, plans, world.lattice.hall, trouble)
    table = refl.create(out / f"{name}.refl", {plan.number: plan.identifier for plan in plans}, n, columns)
    at = 0
    for plan, mine, one in zip(plans, rows, trouble, strict=True):
        values, _ = record_block(world, plan, mine, 0, at, one)
        for column in columns:
            table[column][at : at + len(mine)] = values[column]
        at += len(mine)
    return n


def simulate_many(options: Options, out: Path, per_file: int, files: range | None = None) -> int:
    """Write the files, or those with the numbers ``files``; returns the rows in them."""
    out.mkdir(parents=True, exist_ok=True)
    world = make_world(options)
    every, total = troubles(options, world.lattice), 0
    for number in range(-(-options.count // per_file)) if files is None else files:
        first = number * per_file
        plans = make_plans(options, world.lattice, range(first, min(first + per_file, options.count)))
        mine = every[first : first + len(plans)]
        total += write_file(world, plans, mine, out, f"stills_{number:04d}")
    unique = {name: getattr(world.truth, name) for name in ("hkl", "d", "centric", "plus", "minus")}
    np.savez(out / "truth.npz", options=json.dumps(asdict(options)), **unique)
    return total


def compare(out: Path, merged: Path) -> tuple[int, float, float]:
    """Reflections, R and chi^2 of merged intensities against the truth."""
    truth = np.load(out / "truth.npz")
    mtz = gemmi.read_mtz_file(str(merged))
    data, labels = np.array(mtz, copy=False), mtz.column_labels()
    i, sigma = (data[:, labels.index(name)].astype(np.float64) for name in ("IMEAN", "SIGIMEAN"))
    n_plus, n_minus = (np.nan_to_num(data[:, labels.index(name)].astype(np.float64)) for name in ("N(+)", "N(-)"))
    place = {tuple(hkl): k for k, hkl in enumerate(truth["hkl"].tolist())}
    asu = gemmi.ReciprocalAsu(mtz.spacegroup)
    operations = mtz.spacegroup.operations()
    theirs = {tuple(asu.to_asu(list(hkl), operations)[0]): k for hkl, k in place.items()}
    rows = np.array([theirs[tuple(asu.to_asu(hkl, operations)[0])] for hkl in data[:, :3].astype(int).tolist()])
    share = n_plus / np.maximum(n_plus + n_minus, 1)
    t = np.where(truth["centric"][rows], truth["plus"][rows], _mean(truth, rows, share))
    good = np.isfinite(i) & (sigma > 0)
    found = accuracy.Merged(np.arange(int(good.sum())), i[good], sigma[good], t[good], truth["d"][rows][good])
    k, b = accuracy.fit_scale(found)
    factor = k * np.exp(b / (2 * found.d**2))
    away = factor * found.intensity - found.truth
    r = float(np.abs(away).sum() / found.truth.sum())
    return len(away), r, float(np.mean((away / (factor * found.sigma)) ** 2))


def _mean(truth: dict[str, Array], rows: Array, share: Array) -> Array:
    """Mean of the two mates as they were measured.  ``share``: of I+ among the observations, (n,)."""
    plus, minus = truth["plus"][rows], truth["minus"][rows]
    return np.asarray(share * plus + (1.0 - share) * minus)


def main() -> None:
    """Entry point."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--stills", type=int, default=2000)
    p.add_argument("--per-file", type=int, default=1000)
    p.add_argument("--rows", type=int, default=250, help="rows of a still, on average")
    p.add_argument("--d-min", type=float, default=2.0)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--files", type=int, nargs=2, metavar=("FIRST", "END"), help="only these files, END excluded")
    p.add_argument("--compare", type=Path, metavar="MTZ")
    a = p.parse_args()
    if a.compare:
        n, r, chi2 = compare(a.out, a.compare)
        print(f"{n} reflections, R {r:.5f}, chi^2 {chi2:.3f}")
        return
    options = Options(
        kind="stills", count=a.stills, reflections=a.stills * a.rows, d_min=a.d_min, seed=a.seed, flat_field=0.0,
        lean=True,
    )  # fmt: skip
    print(f"{simulate_many(options, a.out, a.per_file, range(*a.files) if a.files else None)} rows")


if __name__ == "__main__":
    main()
