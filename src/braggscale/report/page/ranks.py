"""Results of a run over several processes: statistics of halves of the crystals, and of groups of files."""

from __future__ import annotations

from braggscale.report.page.figure import Cell, Section, Table, shown
from braggscale.report.summary_document import Summary


def ranks(summary: Summary) -> Section:
    """Tables of R_split by resolution, and of the groups."""
    section = Section(
        "crystals",
        "Crystals",
        "Half data sets are halves of the crystals. Single crystals are not listed.",
    )
    found, statistics = summary.ranks, summary.statistics
    if found is None:
        return section
    section.notes.append(
        f"{found.scaled} of {found.input} data sets were scaled. Standard deviations over them: "
        f"{found.spread_ln_scale:.3f} of the logarithm of the scale, {found.spread_b:.2f} Å² of B."
    )
    if statistics is not None:
        shells = [*statistics.shells, statistics.overall]
        rows: list[list[Cell]] = [
            [shown(shell.d_max, 2), shown(shell.d_min, 2), shown(value, 3), shown(shell.cc_half, 3)]
            for shell, value in zip(shells, found.r_split, strict=True)
        ]
        header = ("d_max, Å", "d_min, Å", "R_split", "CC1/2")
        section.tables.append(Table("Halves of the crystals", header, rows, last_is_total=True))
    if found.groups:
        rows = []
        for group in found.groups:
            of = group.statistics
            cc = None if of is None else of.overall.cc_half
            complete = None if of is None else of.overall.completeness
            rows.append(
                [group.name, group.data_sets, group.observations, shown(complete, 4), shown(group.r_split[-1], 3),
                 shown(cc, 3)]
            )  # fmt: skip
        columns = ("group", "data sets", "observations", "completeness", "R_split", "CC1/2")
        section.tables.append(Table("Groups of files, each merged by itself", columns, rows, words=(0,)))
    return section
