"""The check of the indexing of data sets, for scale.json."""

from __future__ import annotations

from braggscale.report.numbers.json_numbers import column, counts, grid
from braggscale.report.summary_crystals import IndexingEntry
from braggscale.scaling.indexing_check import IndexingCheck


def indexing_entry(check: IndexingCheck | None) -> IndexingEntry | None:
    """The entry ``indexing``; None without a check."""
    if check is None:
        return None
    return IndexingEntry(
        operators=list(check.operators),
        mended=check.mended,
        data_sets=list(check.identifiers),
        operator=[check.operators[k] for k in check.operator.tolist()],
        decided=check.sure.tolist(),
        lead=column(check.z, 3),
        correlations=grid(check.cc),
        common=counts(check.common),
    )
