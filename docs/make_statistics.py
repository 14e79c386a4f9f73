"""Write docs/statistics.md from the catalogue of statistics: ``python docs/make_statistics.py``."""

from __future__ import annotations

from pathlib import Path

from braggscale.statistics.catalogue import CATALOGUE, Statistic

PAGE = Path(__file__).with_name("statistics.md")
INTRODUCTION = """\
# Merging statistics

Made from the program's own definitions by `python docs/make_statistics.py`; do not edit.

A scaled intensity is x = I/g. The unique reflection h was measured n times, with weights w = 1/σ², and has the merged
intensity m = Σ w x/Σ w. R factors are over reflections that were measured more than once. Shells hold equal volumes of
reciprocal space. *Better* says which way a better value lies: ↑ larger, ↓ smaller. How the numbers are computed in
detail, and the papers: [theory](theory/statistics.md).
"""
ARROWS = {"up": "↑", "down": "↓", None: ""}


def page() -> str:
    """The text of the page."""
    parts = [INTRODUCTION, "## All data\n", *_table(False)]
    parts += ["\n## Friedel mates\n", "Without a value for centrosymmetric space groups.\n", *_table(True)]
    return "\n".join(parts) + "\n"


def _table(anomalous: bool) -> list[str]:
    rows = ["| statistic | in the log | in `scale.json` | in mmCIF (`_reflns`) | better | meaning | formula |"]
    rows.append("|---|---|---|---|---|---|---|")
    return rows + [_row(s) for s in CATALOGUE.values() if s.anomalous == anomalous]


def _row(statistic: Statistic) -> str:
    cif = f"`{statistic.cif.overall}`" if statistic.cif else ""
    cells = (
        statistic.title,
        f"`{statistic.heading}`",
        f"`{statistic.name}`",
        cif,
        ARROWS[statistic.better],
        statistic.meaning,
        statistic.formula,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
