"""Whether the space group fits: systematic absences, and rotations of the lattice."""

from __future__ import annotations

from braggscale.report.page.figure import Cell, Section, Table, shown
from braggscale.report.summary_document import Summary
from braggscale.report.symmetry_text import symmetry_sentences

STATES = {
    "holds": "in the space group, and holds",
    "denied": "in the space group, and does not hold",
    "missing": "not in the space group, but holds",
    "no": "not in the space group, and does not hold",
    "unknown": "cannot be told: too few pairs, or too weak",
}


def symmetry(summary: Summary) -> Section:
    """Tables of the space groups and of the rotations, with sentences on their meaning."""
    section = Section(
        "symmetry",
        "Symmetry",
        "Space groups by what they forbid, and each rotation of the lattice by the intensities that it makes equal.",
    )
    found = summary.symmetry
    if found is None:
        return section
    section.notes += symmetry_sentences(found, str(summary.space_group))
    if found.absences:
        rows: list[list[Cell]] = [
            [
                ", ".join(one.space_groups),
                "< 0.001" if one.probability < 0.001 else shown(one.probability, 3),
                one.forbidden,
                shown(one.i_over_sigma, 2),
            ]
            for one in found.absences
        ]
        header = ("space groups", "probability", "reflections that they forbid", "their mean I/σ")
        section.tables.append(Table("Systematic absences", header, rows, words=(0,)))
    if found.elements:
        rows = [
            [
                e.operator,
                e.fold,
                e.pairs,
                shown(e.cc, 3),
                shown(e.r_meas, 3),
                shown(e.probability, 2),
                STATES[e.state],
            ]
            for e in found.elements
        ]
        columns = ("rotation", "fold", "pairs", "CC", "R_meas", "probability", "")
        section.tables.append(Table("Rotations of the lattice", columns, rows, words=(0, 6)))
    return section
