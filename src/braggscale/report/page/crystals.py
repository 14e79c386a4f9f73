"""Many crystals: reference, indexing, filtering, wavelengths, dose zero, free set, and statistics of half data sets.

The page has such a section only if the run has done what the section is about.
"""

from __future__ import annotations

from braggscale.report.numbers.half_sets import HEADER, half_set_rows
from braggscale.report.page.figure import (
    BLUE,
    GREY,
    NOTHING,
    ORANGE,
    Cell,
    Figure,
    Section,
    Table,
    axis,
    line,
    resolution_axis,
    shown,
)
from braggscale.report.summary_crystals import FilterPartEntry
from braggscale.report.summary_document import Summary
from braggscale.scaling.filter_cycles import STOP_TEXT

MOST_LISTED = 40  # data sets or parts in a table


def reference(summary: Summary) -> Section:
    """The agreement of a reference with the data."""
    section = Section(
        "reference",
        "Reference",
        "The merged intensities against those of the reference. The part that the reference leaves open is the error "
        "that it was given, as a share of the mean intensity of the shell.",
    )
    found = summary.reference
    if found is None:
        return section
    how = "were taken as they are" if found.mode == "fixed" else "have errors that were estimated"
    section.notes.append(
        f"{found.used} reference intensities {how}: correlation {shown(found.overall_cc, 4)}, R "
        f"{shown(found.overall_r, 4)}."
    )
    rows: list[list[Cell]] = [
        [shown(d, 2), shown(cc, 4), shown(r, 4), shown(q, 4)]
        for d, cc, r, q in zip(found.d_min, found.cc, found.r, found.unexplained, strict=True)
    ]
    section.tables.append(Table("Agreement by resolution", ("to d / Å", "CC", "R", "left open"), rows))
    return section


def reference_curves(summary: Summary) -> list[Figure]:
    """CC and R against the reference by resolution."""
    found = summary.reference
    if found is None or len(found.d_min) < 2:
        return []
    known = [k for k, d in enumerate(found.d_min) if d]
    d = [float(found.d_min[k] or 0.0) for k in known]
    x = [v**-2 for v in d]
    hover = "%{y:.3f}<extra>%{fullData.name}</extra>"
    data = [
        line(x, [found.cc[k] for k in known], "CC", BLUE, hovertemplate=hover),
        line(x, [found.r[k] for k in known], "R", ORANGE, hovertemplate=hover),
        line(x, [found.unexplained[k] for k in known], "left open", GREY, hovertemplate=hover),
    ]
    text = (
        "A good model has a CC above 0.9 but at the ends; R of a model is 0.2 to 0.4, that of earlier data below 0.1."
    )
    layout = {"xaxis": resolution_axis([d[0], d[-1]]), "yaxis": axis("CC, R")}
    return [Figure("reference", "Agreement with the reference", text, data, layout)]


def indexing(summary: Summary) -> Section:
    """Whether the data sets are indexed alike."""
    section = Section(
        "indexing",
        "Indexing of the data sets",
        "Where the lattice has more symmetry than the crystal, each data set can be indexed in several ways. The "
        "correlation with the others tells which of them agree.",
    )
    found = summary.indexing
    if found is None or len(found.operators) < 2:
        return section
    other = [k for k, name in enumerate(found.operator) if name != found.operators[0]]
    n = len(found.operator)
    if not other:
        ways = ", ".join(found.operators[1:])
        if any(found.decided):
            section.notes.append(f"{n} data sets are indexed alike; other ways would be {ways}.")
        else:
            section.notes.append(
                f"Whether the {n} data sets are indexed alike cannot be told: they have too little in common, or agree "
                f"equally well in every way. Other ways would be {ways}."
            )
        return section
    what = "were reindexed" if found.mended else "are indexed differently from the others; reindex=auto mends that"
    section.notes.append(f"{len(other)} of {n} data sets {what}.")
    open_ones = n - sum(found.decided)
    if open_ones:
        section.notes.append(f"{open_ones} data sets have too little in common with the others to be decided.")
    rows: list[list[Cell]] = [
        [
            found.data_sets[k],
            found.operator[k],
            shown(found.lead[k], 1),
            found.common[k],
            *(shown(value, 3) for value in found.correlations[k]),
        ]
        for k in other[:MOST_LISTED]
    ]
    header = ("data set", "operator", "lead / sd", "common", *(f"CC, {name}" for name in found.operators))
    section.tables.append(Table("Data sets with another operator", header, rows, words=(0, 1)))
    return section


def filtering(summary: Summary) -> Section:
    """What filtering left out, cycle by cycle."""
    section = Section(
        "filtering",
        "Filtering",
        "Parts of the data without which the rest agrees better. What remains was scaled again.",
    )
    found = summary.filtering
    if found is None:
        return section
    removed = [(number, part) for number, cycle in enumerate(found.cycles, 1) for part in cycle.removed]
    what = "data sets" if found.mode == "dataset" else "groups of images"
    percent = found.cycles[-1].percent_removed if found.cycles else 0.0
    section.notes.append(
        f"filtering.method={found.method}: {len(removed)} {what} with {percent:.2f} % of the observations left out; "
        f"{STOP_TEXT.get(found.reason, found.reason)}."
    )
    header = ("cycle", "data set", "images", "observations", "ΔCC1/2 / %", "mean z²")
    if removed:
        rows: list[list[Cell]] = [_part(number, part) for number, part in removed[:MOST_LISTED]]
        section.tables.append(Table("Left out", header, rows, words=(1, 2)))
    rest = [_part(len(found.cycles), part) for part in found.cycles[-1].lowest[:10]] if found.cycles else []
    if rest:
        section.tables.append(Table("The lowest ΔCC1/2 of what remains", header, rest, words=(1, 2)))
    return section


def _part(cycle: int, part: FilterPartEntry) -> list[Cell]:
    images = "all" if part.images is None else f"{part.images[0]} – {part.images[1]}"
    delta = None if part.delta_cc_half is None else 100.0 * part.delta_cc_half
    return [cycle, part.data_set, images, part.observations, shown(delta, 3), shown(part.mean_z2, 2)]


def wavelengths(summary: Summary) -> Section:
    """Statistics of each wavelength, and the differences between them."""
    section = Section(
        "wavelengths",
        "Wavelengths",
        "All wavelengths are on one scale. Dispersive differences are those of merged intensities, Friedel mates "
        "together; an rms of 1 is noise alone.",
    )
    found = summary.wavelengths
    if found is None:
        return section
    rows: list[list[Cell]] = []
    for one in found.each:
        s = None if one.statistics is None else one.statistics.overall
        rows.append(
            [
                f"{one.wavelength:.5f}",
                len(one.data_sets),
                *([NOTHING] * 8 if s is None else [
                    s.n_obs, shown(s.completeness, 1, percent=True), shown(s.multiplicity, 2),
                    shown(s.mean_i_over_sigma, 1), shown(s.r_meas, 3), shown(s.cc_half, 3), shown(s.cc_anom, 3),
                    shown(s.df_f, 3),
                ]),
                shown(one.statistics.suggested_d_min if one.statistics else None, 2),
            ]
        )  # fmt: skip
    header = (
        "λ / Å", "data sets", "observations", "completeness / %", "multiplicity", "⟨I/σ⟩", "R_meas", "CC1/2",
        "CC_anom", "dF/F", "suggested d_min / Å",
    )  # fmt: skip
    section.tables.append(Table("Each wavelength", header, rows))
    pairs: list[list[Cell]] = [
        [
            " – ".join(f"{w:.5f}" for w in pair.wavelengths),
            pair.unique,
            shown(pair.df_f, 4),
            shown(pair.di_over_sigma, 2),
            shown(pair.cc, 4),
        ]
        for pair in found.differences
    ]
    if pairs:
        columns = ("λ / Å", "common", "dF/F", "rms ΔI/σ", "CC")
        section.tables.append(Table("Dispersive differences", columns, pairs, words=(0,)))
    return section


def zero_dose(summary: Summary) -> Section:
    """Intensities at dose zero, and the reflections that change most."""
    section = Section(
        "zero-dose",
        "Dose zero",
        "Intensities extrapolated to the beginning of the exposure, with a slope for each reflection.",
    )
    found = summary.zero_dose
    if found is None:
        return section
    crystal = "goes on from sweep to sweep" if found.same_crystal else "begins with each sweep"
    section.notes.append(
        f"Intensities change by {100 * found.tau:.1f} % over the range of dose, from {found.slopes} slopes; the dose "
        f"{crystal}. Plain means differ from dose zero by R {found.r_plain:.4f}."
    )
    rows: list[list[Cell]] = [
        [
            " ".join(str(x) for x in one.hkl), one.n, shown(one.mean, 1), shown(one.zero_dose, 1),
            shown(one.sigma, 1), shown(one.slope, 1), shown(one.slope_sigma, 1),
        ]
        for one in found.most_changed
    ]  # fmt: skip
    if rows:
        header = ("h k l", "n", "mean", "at dose zero", "σ", "change", "σ of it")
        section.tables.append(Table("Reflections that change most", header, rows, words=(0,)))
    return section


def free_set(summary: Summary) -> Section:
    """Reflections in the fit beside those that were left out of it."""
    section = Section(
        "free-set",
        "Free set",
        "Reflections that were left out of the fit of the scales. A gap between both tells how much noise was fitted.",
    )
    found = summary.free_set
    if found is None:
        return section
    rows: list[list[Cell]] = [
        ["in the fit", found.unique_work, shown(found.r_meas_work, 4), shown(found.cc_half_work, 4)],
        ["free", found.unique_free, shown(found.r_meas_free, 4), shown(found.cc_half_free, 4)],
    ]
    section.tables.append(Table("Both sets", ("", "unique", "R_meas", "CC1/2"), rows, words=(0,)))
    return section


def half_sets(summary: Summary) -> Section:
    """Statistics of two halves of the observations, by resolution."""
    section = Section(
        "half-sets",
        "Half data sets",
        "R_split, and CC1/2 and CC_anom weighted by errors. n_eff is the number of reflections that decide a "
        "correlation; the last line is that of all.",
    )
    found = summary.half_sets
    if found is not None:
        rows: list[list[Cell]] = [list(row) for row in half_set_rows(found, NOTHING)]
        section.tables.append(Table("By resolution", HEADER, rows, last_is_total=True))
    return section


def outlying(summary: Summary) -> Section:
    """Data sets that differ from the others."""
    section = Section(
        "outlying",
        "Crystals that differ",
        "Data sets whose scale, B, unit cell or mean squared deviation is an outlier among the others. Nothing was "
        "left out for that.",
    )
    rows: list[list[Cell]] = [
        [one.data_set, one.what, shown(one.value, 3), shown(one.usual, 3)] for one in summary.outlying[:MOST_LISTED]
    ]
    if rows:
        section.tables.append(Table("What is unusual", ("data set", "what", "value", "usual"), rows, words=(0, 1)))
    return section
