"""Writes the outputs of a run over ranks: all of them or none.

Every rank writes beside the final names. When all have succeeded the first one renames all files, the scaled ones
first, log and summary last. If the first rank dies while it does so, its watcher completes it (watcher.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from braggscale.io.atomic_files import commit, discard, write_text
from braggscale.io.export.export import numbered
from braggscale.io.export.write import merged_files
from braggscale.numerics.array_types import Int
from braggscale.numerics.timing import Clock
from braggscale.options.schema import Options
from braggscale.ranks.agreement import together
from braggscale.ranks.communicator import Communicator, gather_texts
from braggscale.ranks.groups import MergedGroup, merged_group
from braggscale.ranks.means import RankData
from braggscale.ranks.output import Pairs, ScaledFiles, write_scaled
from braggscale.ranks.plan import RanksPlan
from braggscale.ranks.reading import Census
from braggscale.ranks.report import Findings, log_group
from braggscale.ranks.summary import summary_of
from braggscale.report.page.html import report_html
from braggscale.report.summary_document import summary_text
from braggscale.scaled_output import now
from braggscale.statistics.merging import Merged

log = logging.getLogger(__name__)


def write_all(
    data: RankData, inputs: Census, plan: RanksPlan, findings: Findings, options: Options, pairs: Pairs
) -> None:
    """Scaled pairs of this rank and, on the first one, merged data, beside their targets, which go into ``pairs``."""
    output = options.output
    if plan.scaled_files:
        files = ScaledFiles(output.experiments, output.reflections, now(), len(inputs.n_data_sets))
        write_scaled(data, inputs, plan, findings.scaled, findings.operators, files, pairs)
    if data.ranks.rank == 0:
        _write_merged(findings, (findings.whole, findings.merged), options, plan, pairs)


def write_groups(
    data: RankData, plan: RanksPlan, findings: Findings, groups: tuple[Sequence[str], Int], options: Options,
    pairs: Pairs,
) -> Findings:  # fmt: skip
    """Merge each group of files and, on the first rank, write it; returns the findings with the groups.

    ``groups``: names, and the group of each crystal of this rank, (n_crystals,).
    """
    done: list[MergedGroup] = []
    for number, name in enumerate(groups[0]):
        member = (groups[1] == number).astype("int64")
        one = merged_group(data, findings.scaled, plan, findings.symmetry, findings.cell, name, member)
        log_group(one[0])
        done.append(one[0])
        if one[0].n_observations:
            together(data.ranks, partial(_write_group, data, findings, one, options, plan, pairs))
    return replace(findings, groups=tuple(done))


def _write_group(
    data: RankData, findings: Findings, one: tuple[MergedGroup, Merged], options: Options, plan: RanksPlan,
    pairs: Pairs,
) -> None:  # fmt: skip
    if data.ranks.rank == 0:
        _write_merged(findings, one, options, plan, pairs)


def _write_merged(
    findings: Findings, one: tuple[MergedGroup, Merged], options: Options, plan: RanksPlan, pairs: Pairs
) -> None:
    name = one[0].name
    paths = {kind: numbered(path, name) if name else path for kind, path in options.output.exports.items()}
    pairs += merged_files(
        one[1], findings.wavelength, findings.symmetry, findings.cell, paths, plan.export, one[0].statistics
    )


def write_log(
    data: RankData, findings: Findings, options: Options, command: Mapping[str, Any], log_text: Callable[[], str],
    clock: Clock, pairs: Pairs,
) -> None:  # fmt: skip
    """Report, summary and log of the first rank, last of all."""
    ranks, output = data.ranks, options.output
    others = sum(len(text.splitlines()) for text in gather_texts(ranks, "\n".join(target for _, target in pairs)))
    if ranks.rank:
        return
    summary = summary_of(findings, options, command, (ranks.size, data.sums.exchanged), dict(clock.seconds))
    if output.html:
        with clock.stage("report"):
            pairs.append((write_text(output.html, report_html(summary)), output.html))
    if output.json:
        pairs.append((write_text(output.json, summary_text(summary)), output.json))
    log.info("")
    log.info(summary.verdict.sentence)
    log.info(f"Sums exchanged: {data.sums.exchanged / 1e6:.1f} MB by each rank")
    log.info(
        f"Written: {others} files" + "".join(f", {path}" for path in (output.html, output.json, output.log) if path)
    )
    log.info("Seconds: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in clock.seconds.items()))
    if output.log:
        pairs.append((write_text(output.log, log_text()), output.log))


def put_in_place(ranks: Communicator, pairs: Pairs) -> None:
    """The first rank renames the files of all ranks.  ``pairs``: temporary files of this rank and their targets."""
    names = gather_texts(ranks, "\n".join(f"{temporary}\t{target}" for temporary, target in pairs))
    every = [line.partition("\t") for text in [*names[1:], names[0]] for line in text.splitlines()]
    files_of_all = [(temporary, target) for temporary, _, target in every]
    listed = together(ranks, lambda: _list(ranks, files_of_all, pairs))
    ranks.hand_over(listed)

    def rename() -> None:
        """Give all files their names; the first rank does this."""
        if ranks.rank == 0:
            commit(files_of_all)
            discard([listed])

    together(ranks, rename)


def _list(ranks: Communicator, files_of_all: Sequence[tuple[str, str]], pairs: Pairs) -> str:
    """A list of temporary files and targets, beside the files of the first rank, for its watcher; its path there.

    ``pairs``: files of this rank.
    """
    if ranks.rank or ranks.size == 1 or not pairs:
        return ""
    text = "".join(f"{temporary}\t{target}\n" for temporary, target in files_of_all)
    return write_text(os.path.join(os.path.dirname(pairs[-1][0]), "scale.files"), text)
