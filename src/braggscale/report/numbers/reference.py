"""The comparison of a reference with the data, for scale.json and the log."""

from __future__ import annotations

from braggscale.report.numbers.json_numbers import column, rounded
from braggscale.report.summary_crystals import ReferenceEntry
from braggscale.report.text.tables import text_table
from braggscale.scaling.reference import FIXED, ReferenceFit
from braggscale.wording import show


def reference_entry(found: ReferenceFit | None) -> ReferenceEntry | None:
    """The entry ``reference``; None without one."""
    if found is None:
        return None
    return ReferenceEntry(
        mode=found.mode,
        used=found.n,
        d_min=column(found.d_min),
        unexplained=column(found.q),
        cc=column(found.cc),
        r=column(found.r),
        overall_cc=rounded(found.overall[0]),
        overall_r=rounded(found.overall[1]),
    )


def reference_lines(found: ReferenceFit) -> list[str]:
    """Lines of the log: correlation, R and the unexplained fraction of the intensities, by shell."""
    how = "intensities are those of the reference" if found.mode == FIXED else "its errors are estimated"
    cc, r = found.overall
    lines = [f"Reference: {found.n} intensities, {how}; CC {show(cc, 4)}, R {show(r, 4)} against the merged data"]
    rows = [
        (show(d, 2), show(cc, 4), show(r, 4), show(q, 4))
        for d, cc, r, q in zip(found.d_min, found.cc, found.r, found.q, strict=True)
    ]
    return [*lines, *text_table(("d to", "CC", "R", "unexplained"), rows).splitlines()]
