"""Tests of the merged intensities as one table; amplitudes of Friedel mates; unit cells of many data sets."""

from __future__ import annotations

from braggscale.report.page.figure import (
    BLUE,
    Cell,
    Choice,
    Figure,
    Table,
    axis,
    count_axis,
    horizontal,
    line,
    middles,
    names_of,
    resolution_axis,
    shown,
)
from braggscale.report.summary_checks import Anisotropy
from braggscale.report.summary_document import Summary
from braggscale.report.summary_sections import IntensityDistribution
from braggscale.wording import show_with_error

EDGES = ("a / Å", "b / Å", "c / Å", "α / °", "β / °", "γ / °")
FEWEST_CELLS = 3
BARS = 30


def tests_table(found: IntensityDistribution) -> Table:
    """Wilson B, anisotropy, pseudo-translation and twinning: what was found, and what a good crystal gives."""
    rows: list[list[Cell]] = []
    wilson = found.wilson
    if wilson.b is not None:
        rows.append(["Wilson B / Å²", show_with_error(wilson.b, wilson.b_esd), "", "slope of the Wilson plot"])
    tests = found.tests
    if tests is not None and tests.anisotropy is not None:
        rows += _anisotropy(tests.anisotropy)
    if tests is not None and tests.patterson is not None:
        place = ", ".join(shown(v, 2) for v in tests.patterson.place)
        height = shown(tests.patterson.height, 1, percent=True)
        rows.append(
            ["Highest Patterson peak / %", height, "< 20", f"at ({place}); higher means translational pseudo-symmetry"]
        )
    if found.l_test is not None:
        rows.append(["Mean |L|", shown(found.l_test.mean_abs, 3), "0.5", "perfect twin 0.375"])
        rows.append(["Mean L²", shown(found.l_test.mean_square, 3), "0.333", "perfect twin 0.2"])
    for law in tests.twin_laws if tests is not None else ():
        fraction = show_with_error(law.fraction, law.esd)
        rows.append([f"Twin fraction, law {law.operator}", fraction, "0", f"H test, {law.pairs} pairs"])
    return Table("Tests of the intensities", ("", "found", "expected", ""), rows, words=(0, 3))


def _anisotropy(tensor: Anisotropy) -> list[list[Cell]]:
    """B and the limits of resolution along each direction."""
    rows: list[list[Cell]] = []
    for k, (b, along) in enumerate(zip(tensor.b, tensor.directions, strict=True)):
        place = ", ".join(shown(v, 2) for v in along)
        value = show_with_error(b, tensor.esd)
        rows.append([f"B along ({place}) less the mean / Å²", value, "0", "anisotropy; axes are a*, b*, c*"])
        limit = tensor.limits[k] if tensor.limits else None
        if limit is not None:
            ends = f"beyond {limit.d_min:.2f}"
            cc_half, signal = (ends if d is None else shown(d, 2) for d in (limit.cc_half, limit.i_over_sigma))
            what = f"CC1/2 falls to 0.3; ⟨I/σ⟩ to 1.5 at {signal}; {limit.reflections} reflections within 30°"
            rows.append([f"Resolution along ({place}) / Å", cc_half, "", what])
    return rows


def amplitudes_of_mates(summary: Summary) -> list[Figure]:
    """Mean |F+ - F-| over its error by resolution."""
    found = summary.anomalous
    if found is None or summary.statistics is None or not found.df_over_sigma:
        return []
    if all(v is None for v in found.df_over_sigma):
        return []
    shells = summary.statistics.shells
    text = (
        "Mean |F+ − F−|/σ of pairs with both I/σ above 3. Without a signal it is 0.80 if the errors are right; "
        "above 1.2 there is a useful one."
    )
    rows: list[list[Cell]] = [
        [shown(s.d_min, 2), shown(v, 2)] for s, v in zip(shells, found.df_over_sigma, strict=True)
    ]
    return [
        Figure(
            "df-over-sigma",
            "ΔF/σ(ΔF)",
            text,
            [line(middles(shells), found.df_over_sigma, "ΔF/σ(ΔF)", BLUE, hovertemplate="%{y:.2f}<extra></extra>")],
            {
                "xaxis": resolution_axis([shells[0].d_max, shells[-1].d_min]),
                "yaxis": axis("|ΔF|/σ(ΔF)", rangemode="tozero"),
                "shapes": [horizontal(0.80)],
            },
            Table("ΔF/σ(ΔF)", ("d min / Å", "mean"), rows),
        )
    ]


def unit_cells(summary: Summary) -> list[Figure]:
    """How the unit cells of the data sets are distributed; nothing where they are all alike."""
    table = summary.by_data_set
    if table is None or table.unit_cell is None or len(table.unit_cell) < FEWEST_CELLS:
        return []
    columns = [[row[k] for row in table.unit_cell] for k in range(6)]
    choices: list[Choice] = []
    rows: list[list[Cell]] = []
    for name, column in zip(EDGES, columns, strict=True):
        known = sorted(v for v in column if v is not None)
        if not known or known[-1] - known[0] < 1e-4 * known[-1]:
            continue
        low, step = known[0], (known[-1] - known[0]) / BARS
        counts = [0] * BARS
        for v in known:
            counts[min(int((v - low) / step), BARS - 1)] += 1
        middle = [round(low + (k + 0.5) * step, 4) for k in range(BARS)]
        trace = {"type": "bar", "x": middle, "y": counts, "name": name, "marker": {"color": BLUE}}
        layout = {"xaxis": axis(name), "yaxis": count_axis("data sets", max(counts)), "bargap": 0.05}
        choices.append((name, [trace], layout))
        names = names_of(summary)
        ends = [names[column.index(v)] for v in (known[0], known[-1])]
        rows.append([name, shown(known[len(known) // 2], 3), shown(known[0], 3), ends[0], shown(known[-1], 3), ends[1]])
    if not choices:
        return []
    header = ("", "median", "smallest", "of data set", "largest", "of data set")
    text = "Two humps are two crystal forms, or a beam centre that is wrong for some; far ends are wrong indexing."
    return [
        Figure(
            "unit-cells",
            "Unit cells",
            text,
            choices[0][1],
            choices[0][2],
            Table("Unit cells of the data sets", header, rows, words=(0, 3, 5)),
            choices=choices if len(choices) > 1 else [],
            choice_of="edge or angle",
        )
    ]
