"""The story of a run over ranks: share, look, read, number, scale in rounds, merge, write."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from braggscale.data.flags import Fate
from braggscale.io.atomic_files import commit, discard, pending, write_text
from braggscale.io.export.write import merged_files
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.partitions import threads
from braggscale.numerics.timing import Clock
from braggscale.options.schema import Options
from braggscale.ranks.agreement import log_of_all, together
from braggscale.ranks.communicator import Communicator, gather_texts
from braggscale.ranks.crystal_rows import ROW_BYTES, Allocator, CrystalRows
from braggscale.ranks.exact_sums import ExactSums
from braggscale.ranks.means import RankData
from braggscale.ranks.merging import MergedSums, merged_data, merged_sums, r_split_by_shell, statistics_of
from braggscale.ranks.output import Pairs, ScaledFiles, write_scaled
from braggscale.ranks.plan import RanksPlan, plan_of
from braggscale.ranks.reading import Census, Loaded, census, load, refuse_twice
from braggscale.ranks.reflections import reflections_of
from braggscale.ranks.report import Findings, log_findings, summary_text
from braggscale.ranks.rounds import RanksScaled, scale
from braggscale.ranks.sample import sample_of
from braggscale.ranks.shares import Unit, shares, units_of
from braggscale.scaled_output import now

log = logging.getLogger(__name__)

# Part of the memory limit that rows may take; the rest is for sums, files that are read, and the program.
SHARE_OF_ROWS = 0.4


def run(
    files: Sequence[str],
    options: Options,
    command: Mapping[str, Any],
    log_text: Callable[[], str],
    ranks: Communicator,
) -> None:
    """Scale the data in ``files``; every rank calls this with the same arguments.

    ``command``, ``log_text``: as for ``scale_files.run``; those of the first rank count.
    Raises, on all ranks, UserError where the run cannot go on; nothing is written then.
    """
    with threads(options.nproc or 1):
        _run(files, options, command, log_text, ranks)


def _run(
    files: Sequence[str],
    options: Options,
    command: Mapping[str, Any],
    log_text: Callable[[], str],
    ranks: Communicator,
) -> None:
    clock = Clock()
    plan = plan_of(options)
    units = together(ranks, lambda: units_of(files))
    mine = _my_units(ranks, units)
    with clock.stage("looking"):
        found = census(ranks, units, mine, plan)
    _log_begin(ranks, found)
    allocator = together(ranks, lambda: _allocator(plan, found.room))
    with clock.stage("preparation"):
        loaded = together(ranks, lambda: load(ranks, found, plan, allocator))
        _log_left_out(ranks, loaded)
    with clock.stage("symmetry"):
        data = _rank_data(ranks, found, plan, loaded, allocator)
    ranks.at(f"scaling the data of {_names(found)}")
    with clock.stage("scaling"):
        scaled = scale(data, plan)
    with clock.stage("merging"):
        sums = merged_sums(data, scaled, plan.small_scale_cutoff, observed=not plan.estimated)
        findings = _findings(data, found, plan, loaded, scaled, sums)
    log_findings(findings, plan)
    with pending() as pairs:
        with clock.stage("writing"):
            together(ranks, lambda: _write_all(data, found, plan, findings, options, pairs))
        together(ranks, lambda: _write_log(ranks, data, findings, options, command, log_text, clock, pairs))
        _commit(ranks, pairs)


def _names(found: Census) -> str:
    """The files of this rank in a few words."""
    names = [unit.name for unit in found.units]
    return "no file" if not names else names[0] + (f" to {names[-1]}" if len(names) > 1 else "")


def _my_units(ranks: Communicator, units: Sequence[Unit]) -> list[Unit]:
    of = shares([unit.size for unit in units], ranks.size)
    return [unit for unit, rank in zip(units, of.tolist(), strict=True) if rank == ranks.rank]


def _allocator(plan: RanksPlan, room: int) -> Allocator:
    """Where rows are kept: in files if they would take too much of the memory that the process may use."""
    in_files = plan.memory_limit is not None and room * ROW_BYTES > SHARE_OF_ROWS * plan.memory_limit
    return Allocator(tempfile.gettempdir() if in_files else None)


def _rank_data(ranks: Communicator, found: Census, plan: RanksPlan, loaded: Loaded, allocator: Allocator) -> RankData:
    """The rows with the numbers of their reflections; crystals that share none are left out."""
    store = loaded.store
    index = store.columns["index"][: store.starts[-1]]
    reflections = reflections_of(ranks, index, found.symmetry)
    relative = bool(ranks.allreduce(np.array([store.has_relative], np.int64), "max")[0])
    rows = together(ranks, lambda: store.finished(reflections.numbers, relative, allocator))
    refuse_twice(ranks, rows.key)
    shift = 0 if plan.apart else 1
    rows.lost[:] = _unconnected(rows, reflections.counts_at(shift), shift)
    rows.leave_out_lost()
    n = int(ranks.allreduce(np.array([rows.n_crystals], np.int64))[0])
    sample = sample_of(ranks, rows, reflections)
    log.info(
        f"{int(reflections.counts.sum())} observations of {len(reflections)} unique reflections from {n} data sets"
    )
    return RankData(ranks, ExactSums(ranks), rows, reflections, n, shift, sample)


def _unconnected(rows: CrystalRows, counts: Int, shift: int) -> Bool:
    """Crystals of which no reflection was measured twice, (n_crystals,)."""
    several = counts > 1
    found = np.zeros(rows.n_crystals, np.bool_)
    for c in range(rows.n_crystals):
        found[c] = not several[rows.number[rows.starts[c] : rows.starts[c + 1]] >> shift].any()
    return found


def _findings(
    data: RankData, found: Census, plan: RanksPlan, loaded: Loaded, scaled: RanksScaled, sums: MergedSums
) -> Findings:
    """Everything that log, summary and exports say, in every rank."""
    internal, limit = plan.export.use_internal_variance, plan.cuts.d_min
    reflections, symmetry, cell = data.reflections, found.symmetry, found.cell
    statistics = statistics_of(sums, reflections, symmetry, cell, plan.n_bins, limit, internal)
    split = r_split_by_shell(sums, reflections, cell, plan.n_bins, limit)
    merged = merged_data(sums, reflections, symmetry, internal)
    n_scaled = int(round(float(sums.plain[:, 3].sum())))
    rows = data.rows
    lost = int(np.diff(rows.starts)[rows.lost].sum())
    out = int(np.count_nonzero(rows.out)) - lost
    fates = np.append(loaded.fates, [out, lost, found.not_indexed, int(np.count_nonzero(rows.lost))])
    total = data.ranks.allreduce(fates)
    counts, (n_out, n_lost, n_no_index, n_lost_crystals) = total[:-4].copy(), total[-4:].tolist()
    usable = int(counts[Fate.SCALED])
    counts[Fate.SCALED] = n_scaled
    counts[Fate.OUTLIER] += n_out
    counts[Fate.DATA_SET_UNUSABLE] += n_lost
    counts[Fate.NOT_INDEXED] += n_no_index
    counts[Fate.SCALE_TOO_SMALL] += max(usable - n_scaled - n_out - n_lost, 0)
    ledger = {fate: int(counts[fate]) for fate in Fate if counts[fate]}
    spread = _spread(data, scaled)
    return Findings(
        symmetry, cell, found.wavelength, data.n_crystals - n_lost_crystals, int(found.n_data_sets.sum()), ledger,
        scaled, statistics, split, merged, spread,
    )  # fmt: skip


def _spread(data: RankData, scaled: RanksScaled) -> tuple[float, float]:
    """Standard deviations of ln k and of B over the crystals of all ranks."""
    logs = np.log(np.where(scaled.crystals.k > 0, scaled.crystals.k, 1.0))
    values = np.stack((logs, scaled.crystals.b, logs**2, scaled.crystals.b**2), axis=1)
    mean: Float = data.over_crystals(values) / data.n_crystals
    variance = np.maximum(mean[2:] - mean[:2] ** 2, 0.0)
    return float(np.sqrt(variance[0])), float(np.sqrt(variance[1]))


def _write_all(
    data: RankData, found: Census, plan: RanksPlan, findings: Findings, options: Options, pairs: Pairs
) -> None:
    """Scaled pairs of this rank and, on the first one, merged data, beside their targets."""
    output = options.output
    if plan.scaled_files:
        files = ScaledFiles(output.experiments, output.reflections, now(), len(found.n_data_sets))
        write_scaled(data, found, plan, findings.scaled, files, pairs)
    if data.ranks.rank == 0:
        pairs += merged_files(
            findings.merged, findings.wavelength, findings.symmetry, findings.cell, output.exports, plan.export,
            findings.statistics,
        )  # fmt: skip


def _write_log(
    ranks: Communicator, data: RankData, findings: Findings, options: Options, command: Mapping[str, Any],
    log_text: Callable[[], str], clock: Clock, pairs: Pairs,
) -> None:  # fmt: skip
    """Log and summary of the first rank, last of all."""
    output = options.output
    others = sum(len(text.splitlines()) for text in gather_texts(ranks, "\n".join(target for _, target in pairs)))
    exchanged = data.sums.exchanged
    if ranks.rank:
        return
    log.info("")
    log.info(f"Sums exchanged: {exchanged / 1e6:.1f} MB by each rank")
    log.info(f"Written: {others} files" + (f", {output.log}" if output.log else ""))
    log.info("Seconds: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in clock.seconds.items()))
    if output.json:
        text = summary_text(findings, command, ranks.size, exchanged, dict(clock.seconds))
        pairs.append((write_text(output.json, text), output.json))
    if output.log:
        pairs.append((write_text(output.log, log_text()), output.log))


def _commit(ranks: Communicator, pairs: Pairs) -> None:
    """The first rank puts the files of all ranks in place, log and summary last."""
    names = gather_texts(ranks, "\n".join(f"{temporary}\t{target}" for temporary, target in pairs))
    every = [tuple(line.split("\t")) for text in [*names[1:], names[0]] for line in text.splitlines()]
    found = [(temporary, target) for temporary, target in every]

    listed = together(ranks, lambda: _list(ranks, found, pairs))
    ranks.hand_over(listed)

    def rename() -> None:
        if ranks.rank == 0:
            commit(found)
            discard([listed])

    together(ranks, rename)


def _list(ranks: Communicator, found: Sequence[tuple[str, str]], pairs: Pairs) -> str:
    """A list of temporary files and targets beside the files of the first rank, in case that it dies; its path there.

    ``pairs``: files of this rank.
    """
    if ranks.rank or ranks.size == 1 or not pairs:
        return ""
    text = "".join(f"{temporary}\t{target}\n" for temporary, target in found)
    return write_text(os.path.join(os.path.dirname(pairs[-1][0]), "scale.files"), text)


def _log_begin(ranks: Communicator, found: Census) -> None:
    """How the work is shared, and what there is."""
    lines = [f"rank {ranks.rank}: process {os.getpid()} on {os.uname().nodename}, {found.room} rows in "
             f"{len(found.units)} files"]  # fmt: skip
    if ranks.size > 1:
        log_of_all(ranks, logging.INFO, lines)
    log.info(f"{int(found.n_data_sets.sum())} data sets, {'all of them stills' if found.stills else 'with sweeps'}")
    log.info(f"Space group {found.symmetry}, unit cell " + " ".join(f"{x:.3f}" for x in found.cell))


def _log_left_out(ranks: Communicator, loaded: Loaded) -> None:
    lines = [f"data set {name} is left out: {reason}" for name, reason in loaded.left_out]
    log_of_all(ranks, logging.WARNING, lines)
    both = ranks.allreduce(np.array([loaded.both_kinds], np.int64), "max")
    if both[0]:
        log.info("profiles and sums are not combined: profiles are used where there are any (intensity_choice=sum)")
