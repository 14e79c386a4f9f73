"""Many crystals against the truth: indexing that differs, crystals that are bad, references, dose.

    python benchmarks/crystals.py --out DIR indexing

simulates what is not in DIR yet, scales it, and prints a table.

indexing    crystals of which half are indexed in another way, with the indices as they are, with ``reindex=auto``, and
the
            same crystals with the right indices; R against the truth as in accuracy.py (I+ and I- together), the share
            of operators that are right, and the time of the check over that of scaling
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import accuracy
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


TABLES: dict[str, Callable[[Path], list[str]]] = {"indexing": indexing}


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
