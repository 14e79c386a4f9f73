"""Statistics of half data sets, for scale.json and the log."""

from __future__ import annotations

from braggscale.report.numbers.json_numbers import column, counts
from braggscale.report.summary_crystals import HalfSetsEntry
from braggscale.report.text.tables import text_table
from braggscale.statistics.half_set_statistics import HalfSets
from braggscale.wording import show


def half_sets_entry(found: HalfSets | None) -> HalfSetsEntry | None:
    """The entry ``half_sets``; None where it was not asked for."""
    if found is None:
        return None
    return HalfSetsEntry(
        d_min=column(found.d_min),
        pairs=counts(found.pairs),
        r_split=column(found.r_split),
        r_split_weighted=column(found.r_split_weighted),
        cc_half_weighted=column(found.cc),
        n_eff=column(found.n_eff),
        cc_anom_weighted=column(found.cc_anom),
        n_eff_anom=column(found.n_eff_anom),
    )


HEADER = ("d to", "pairs", "R_split", "weighted", "CC1/2 weighted", "n_eff", "CC_anom weighted", "n_eff")


def half_set_rows(found: HalfSetsEntry, unknown: str = "-") -> list[tuple[str, ...]]:
    """Rows of the table with ``HEADER``; the last one is that of all.  ``unknown``: for what is not known."""
    columns = (
        (found.d_min, 2), (found.pairs, 0), (found.r_split, 4), (found.r_split_weighted, 4),
        (found.cc_half_weighted, 4), (found.n_eff, 0), (found.cc_anom_weighted, 3), (found.n_eff_anom, 0),
    )  # fmt: skip
    shown = [[show(value, digits, unknown) for value in values] for values, digits in columns]
    return list(zip(*shown, strict=True))


def half_set_lines(found: HalfSets) -> list[str]:
    """Lines of the log; the last one is for all shells together."""
    entry = half_sets_entry(found)
    if entry is None:
        return []
    return ["Half data sets by resolution", *text_table(HEADER, half_set_rows(entry)).splitlines()]
