"""Many crystals against the truth: indexing that differs, crystals that are bad, references, dose.

    python benchmarks/crystals.py --out DIR indexing

simulates what is not in DIR yet, scales it, and prints a table.

indexing    crystals of which half are indexed in another way: with the indices as they are, with ``reindex=auto``, and
            with the right indices; R against the truth as in accuracy.py (I+ and I- together), the share of operators
            that are right, and the time of the check over that of scaling
references  stills beside reference intensities with errors of 0, 10 and 30 %: with estimated errors, with fixed
            intensities, and each still by itself
dose        five sweeps of one crystal that changes with dose, with several laws of damage: plain means and intensities
            at dose zero, against the truth at dose zero
small_dose  the same with 20,000 observations, five seeds for each of four strengths of linear damage
filtering   100 crystals of which 10 are bad, and a sweep whose last tenth of images went wrong: what both methods leave
            out, and what dials.scale does where it is installed; seconds of processor time
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

import accuracy
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Float
from simulate import simulate
from simulation.design import Options
from truth import scale

CRYSTALS = Options(kind="crystals", count=100, degrees=4.0, reflections=60_000, lean=True)
STILLS = Options(kind="stills", count=2000, reflections=120_000, d_min=2.0, lean=True)
AMBIGUOUS = {
    "P 4": ("P 4", ""),
    "P 3": ("P 3", ""),
    "P 6": ("P 6", ""),
    "P 2, beta 90": ("P 1 2 1", "1,1.21,1.45,90,90.0,90"),
    # a + 2 c is perpendicular to a: the lattice is nearly that of an F-centred orthorhombic cell
    "C 2, a + 2 c at 90": ("C 1 2 1", "1,1.21,1.45,90,110.18,90"),
}


def folder_of(out: Path, name: str, options: Options) -> Path:
    """The folder with the simulated data, made if it is not there."""
    folder = out / name.replace(" ", "_").replace(",", "")
    if not (folder / "truth.npz").exists():
        simulate(options, folder)
    return folder


def run(folder: Path, name: str, *words: str) -> tuple[accuracy.Accuracy | None, dict[str, Any]]:
    """Scale with this program; the figures against the truth, and scale.json."""
    table = scale(folder, name, [sys.executable, "-m", "braggscale"], ["output.html=None", *words])
    if table is None:
        return None, {}
    figures = accuracy.scaled(table, name, accuracy.load_truth(folder))[0]
    return figures, json.loads((folder / name / "scale.json").read_text())


def right_operators(folder: Path, found: dict[str, Any], fewest: int = 20) -> tuple[float, int]:
    """Share of the data sets with ``fewest`` common observations that agree with the truth, and their number."""
    true = np.load(folder / "truth.npz")["operator"]
    kinds = {text: k for k, text in enumerate(found["operators"])}
    chosen = np.array([kinds[text] for text in found["operator"]])
    _, done = np.unique(true.reshape(len(true), -1), axis=0, return_inverse=True)
    enough = np.array(found["common"]) >= fewest
    table = np.zeros((done.max() + 1, len(kinds)), int)
    np.add.at(table, (done.ravel()[enough], chosen[enough]), 1)
    return float(table.max(axis=1).sum() / enough.sum()), int(enough.sum())


def indexing(out: Path) -> list[str]:
    """Rows of the table of ambiguous indexing."""
    rows = [
        "| data | operators right | R as it is | R mended | R with right indices | check / scaling |",
        "|---|---|---|---|---|---|",
    ]
    for kind, base in (("100 wedges", CRYSTALS), ("2000 stills", STILLS)):
        for label, (group, shape) in AMBIGUOUS.items():
            options = replace(base, space_group=group, cell_shape=shape)
            good = folder_of(out, f"{kind} {label} right", options)
            bad = folder_of(out, f"{kind} {label}", replace(options, misindexed=0.5))
            plain, mended, right = run(bad, "plain"), run(bad, "auto", "reindex=auto"), run(good, "plain")
            if plain[0] is None or mended[0] is None or right[0] is None:
                rows.append(f"| {kind}, {label} | failed | | | | |")
                continue
            share, n = right_operators(bad, mended[1]["indexing"])
            seconds = mended[1]["run"]["seconds"]
            rows.append(
                f"| {kind}, {label} | {100 * share:.2f} % of {n} | {plain[0].r:.4f} | {mended[0].r:.4f} "
                f"| {right[0].r:.4f} | {100 * seconds['indexing'] / seconds['scaling']:.1f} % |"
            )
            print(rows[-1], flush=True)
    return rows


REFERENCED = Options(kind="stills", count=2000, reflections=120_000, d_min=2.0, lean=True)


def write_reference(folder: Path, error: float) -> Path:
    """An MTZ file with the true mean intensities, each off by a normal factor of this standard deviation."""
    path = folder / f"reference_{error:g}.mtz"
    truth = np.load(folder / "truth.npz")
    options = json.loads(str(truth["options"]))
    crystal = json.loads((folder / "simulated.expt").read_text())["crystal"][0]
    axes = np.array([crystal[f"real_space_{name}"] for name in "abc"])
    length = np.linalg.norm(axes, axis=1)
    angles = [
        float(np.degrees(np.arccos(axes[i] @ axes[j] / length[i] / length[j]))) for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    mean = 0.5 * (truth["plus"] + truth["minus"])
    rng = np.random.default_rng(5)
    value = mean * np.abs(1 + error * rng.standard_normal(len(mean)))
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = gemmi.SpaceGroup(options["space_group"])
    mtz.set_cell_for_all(gemmi.UnitCell(*length, *angles))
    mtz.add_dataset("reference")
    mtz.add_column("IMEAN", "J")
    mtz.add_column("SIGIMEAN", "Q")
    sigma = 0.01 * value + 1e-3 * mean.mean()
    mtz.set_data(np.column_stack([truth["hkl"], value, sigma]).astype(np.float32))
    mtz.write_to_file(str(path))
    return path


def references(out: Path) -> list[str]:
    """Rows of the table of stills beside references with errors."""
    rows = ["| 2000 stills, reference with error of | R | R fixed | R each by itself | unexplained |"]
    rows.append("|---|---|---|---|---|")
    few = replace(REFERENCED, count=400, reflections=12_000)
    for label, options in (("", REFERENCED), ("400 stills: ", few)):
        folder = folder_of(out, f"{label} stills for references".strip(), options)
        plain = run(folder, "none")[0]
        rows.append(f"| {label}none | {plain.r:.4f} | | | |" if plain else "| none | failed | | | |")
        print(rows[-1], flush=True)
        for error in (0.0, 0.1, 0.3):
            path = write_reference(folder, error)
            word = f"reference=../{path.name}"
            each, found = run(folder, f"r{error:g}", word)
            fixed = run(folder, f"f{error:g}", word, "reference_mode=fixed")[0]
            alone = run(folder, f"o{error:g}", word, "only_target=True")[0]
            if each is None or fixed is None or alone is None:
                rows.append(f"| {100 * error:g} % | failed | | | |")
                continue
            q = float(np.median(found["reference"]["unexplained"]))
            rows.append(f"| {label}{100 * error:g} % | {each.r:.4f} | {fixed.r:.4f} | {alone.r:.4f} | {q:.4f} |")
            print(rows[-1], flush=True)
    return rows


# mates are equal, so that there is one truth for both together, however often each of them was measured
DAMAGED = Options(
    kind="sweeps", count=5, degrees=60.0, width=0.5, reflections=60_000, d_min=2.0, lean=True, anomalous=0.0,
    specific_damage=0.25,
)  # fmt: skip


# law, and part of the intensities that is of another structure at the end
DAMAGE = (
    ("linear", 0.0), ("linear", 0.1), ("linear", 0.25), ("linear", 0.5), ("exponential", 0.25), ("saturating", 0.25),
    ("sites", 0.25),
)  # fmt: skip
DOSE_SEEDS = (31, 32)
SMALL_DAMAGED = replace(DAMAGED, reflections=20_000)
SMALL_DAMAGE = (("linear", 0.0), ("linear", 0.1), ("linear", 0.25), ("linear", 0.5))
FEW_WRONG = 3  # reflections that are left out of another chi^2: outliers that were measured once
SMALL_SEEDS = (501, 502, 503, 504, 505)


def dose(out: Path) -> list[str]:
    """Rows of the table of intensities at dose zero: five sweeps of one crystal, with several laws of damage."""
    return _dose(out, "damage", DAMAGED, product(DAMAGE, DOSE_SEEDS))


def small_dose(out: Path) -> list[str]:
    """Rows of the same table for twenty small sets."""
    return _dose(out, "small damage", SMALL_DAMAGED, product(SMALL_DAMAGE, SMALL_SEEDS))


def _dose(out: Path, label: str, base: Options, sets: Iterable[tuple[tuple[str, float], int]]) -> list[str]:
    rows = [
        f"| damage | seed | R plain | R at dose zero | chi^2 plain | chi^2 at dose zero | but for {FEW_WRONG} "
        f"| T/sigma {BANDS} | tau |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (law, part), seed in sets:
        options = replace(base, specific_damage=part, damage_law=law, seed=seed)
        folder = folder_of(out, f"{label} {law} {part:g} {seed}", options)
        table, found = run(folder, "zero", "zero_dose=True", "output.zero_dose_mtz=zero.mtz", "output.merged_mtz=m.mtz")
        if table is None:
            rows.append(f"| {law} {part:g} | failed | | | | | | | |")
            continue
        truth = np.load(folder / "truth.npz")
        mean = 0.5 * (truth["plus"] + truth["minus"])
        wanted = {tuple(h): (i, d) for h, i, d in zip(truth["hkl"].tolist(), mean, truth["d"], strict=True)}
        figures = []
        for name in ("m.mtz", "zero.mtz"):
            mtz = gemmi.read_mtz_file(str(folder / "zero" / name))
            hkl = np.array(mtz.make_miller_array())
            intensity, sigma = (np.array(mtz.column_with_label(label)) for label in ("IMEAN", "SIGIMEAN"))
            asu = {tuple(h): (i, s) for h, i, s in zip(hkl.tolist(), intensity, sigma, strict=True)}
            figures.append(deviations(asu, wanted, mtz.spacegroup))
        (r, z, _), (r0, z0, strength) = figures
        bands = by_strength(z0, strength)
        tau, chi, chi0 = found["zero_dose"]["tau"], float(np.mean(z**2)), float(np.mean(z0**2))
        most = float(np.mean(np.sort(z0**2)[:-FEW_WRONG]))
        rows.append(
            f"| {law}, {100 * part:g} % | {seed} | {r:.4f} | {r0:.4f} | {chi:.2f} | {chi0:.2f} "
            f"| {most:.2f} | {bands} | {tau:.3f} |"
        )
        print(rows[-1], flush=True)
    return rows


BANDS = "below 10, 10-30, 30-100, above"


def by_strength(z: Float, strength: Float) -> str:
    """chi^2 in the ranges of BANDS; a dash for fewer than 50.  ``z``: deviations, ``strength``: T/sigma, (n,)."""
    band = np.digitize(strength, [10.0, 30.0, 100.0])
    return ", ".join(
        f"{np.mean(z[band == k] ** 2):.2f}" if np.count_nonzero(band == k) >= 50 else "-" for k in range(4)
    )


def against_truth(
    measured: dict[tuple[int, ...], tuple[float, float]],
    wanted: dict[tuple[int, ...], tuple[float, float]],
    group: Any,
) -> tuple[float, float]:
    """R and chi^2 of merged intensities against the truth, after one factor and one B."""
    r, z, _ = deviations(measured, wanted, group)
    return r, float(np.mean(z**2))


def deviations(
    measured: dict[tuple[int, ...], tuple[float, float]],
    wanted: dict[tuple[int, ...], tuple[float, float]],
    group: Any,
) -> tuple[float, Float, Float]:
    """R of merged intensities against the truth, after one factor and one B; z, and T/sigma, of each, (n,)."""
    symmetry = Symmetry.from_hall(group.hall)
    keys = np.array(list(wanted))
    asu = symmetry.asu(keys)[0]
    place = {tuple(a): tuple(k) for a, k in zip(asu.tolist(), keys.tolist(), strict=True)}
    rows = [(*value, *wanted[place[key]]) for key, value in measured.items() if key in place]
    i, sigma, t, d = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    merged = accuracy.Merged(np.arange(len(i)), i, sigma, t, d)
    k, b = accuracy.fit_scale(merged)
    factor = k * np.exp(b / (2 * d * d))
    off = factor * i - t
    return float(np.abs(off).sum() / t.sum()), off / (factor * sigma), t / (factor * sigma)


BAD = Options(kind="crystals", count=100, degrees=4.0, reflections=100_000, space_group="P 4", bad=10, lean=True)
STRETCH = Options(reflections=40_000, degrees=180.0, width=0.5, d_min=2.0, bad_last=0.1, lean=True)
OF_DIALS = ["dials.scale", "filtering.method=deltacchalf", "full_matrix=False", "output.html=None"]


def left_out(folder: Path, name: str, program: list[str], words: list[str]) -> tuple[list[str], float]:
    """What a run with filtering has left out, as data sets or as data set:first:last, and its seconds of processor
    time.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    scale(folder, name, program, words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    path = folder / name / "scale_and_filter_results.json"
    if not path.exists():
        return ["failed"], seconds
    found: list[str] = []
    for cycle in json.loads(path.read_text())["cycle_results"].values():
        found += [str(one) for one in cycle["removed_datasets"]]
        found += [f"{number}:{first}:{last}" for (first, last), number in cycle.get("image_ranges_removed", ())]
    return found, seconds


def filtering(out: Path) -> list[str]:
    """Rows of the table of what filtering leaves out."""
    rows = [
        "| data | program, method | left out | of these bad | bad that are left | CPU s |",
        "|---|---|---|---|---|---|",
    ]
    ours = [sys.executable, "-m", "braggscale"]
    every = [("deltacchalf", ours), ("deviations", ours)]
    if shutil.which("dials.scale"):
        every.append(("dials.scale", OF_DIALS))
    for label, options, words in (
        ("100 crystals, 10 bad", BAD, ["model=KB"]),
        (
            "sweep, last tenth bad",
            STRETCH,
            ["filtering.deltacchalf.mode=image_group", "filtering.deltacchalf.group_size=12"],
        ),
    ):
        folder = folder_of(out, label, options)
        limit = "filtering.deltacchalf.max_percent_removed=15"
        for name, program in every:
            more = [] if name == "dials.scale" else [f"filtering.method={name}", "output.html=None", "nproc=1"]
            found, seconds = left_out(folder, name.replace(".", "_"), program, [*words, limit, *more])
            bad, right, all_bad = _which(found, options)
            rows.append(f"| {label} | {name} | {bad} | {right} | {all_bad - right} | {seconds:.0f} |")
            print(rows[-1], found, flush=True)
    return rows


def _which(found: list[str], options: Options) -> tuple[int, int, int]:
    """Data sets (or images) that were left out, those of them that are bad, and all that are bad."""
    if options.bad:
        right = sum(int(name) >= options.count - options.bad for name in found if name.isdigit())
        return len(found), right, options.bad
    n = round(options.degrees / options.width)
    first_bad = n - round(options.bad_last * n) + 1
    images = {k for name in found if ":" in name for k in range(int(name.split(":")[1]), int(name.split(":")[2]) + 1)}
    return len(images), len({k for k in images if k >= first_bad}), n - first_bad + 1


TABLES: dict[str, Callable[[Path], list[str]]] = {
    "indexing": indexing,
    "references": references,
    "dose": dose,
    "small_dose": small_dose,
    "filtering": filtering,
}


def main() -> None:
    """Entry point."""
    p = argparse.ArgumentParser(description="Many crystals against the truth.")
    p.add_argument("tables", nargs="*", choices=[*TABLES, []], help="what is measured; everything if nothing is named")
    p.add_argument("--out", type=Path, required=True, help="folder for data and runs")
    a = p.parse_args()
    for name in a.tables or TABLES:
        print("\n".join(["", f"{name}:", *TABLES[name](a.out)]))


if __name__ == "__main__":
    main()
