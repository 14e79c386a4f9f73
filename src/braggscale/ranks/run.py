"""The story of a run over ranks: share, look, read, number, scale in rounds, filter, merge, write."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from braggscale.data.flags import Fate
from braggscale.io.atomic_files import pending
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import crystal_passes as kernels
from braggscale.numerics.memory import usable_memory
from braggscale.numerics.partitions import threads
from braggscale.numerics.timing import Clock
from braggscale.options.schema import Options
from braggscale.ranks.agreement import log_of_all, together
from braggscale.ranks.communicator import Communicator, gather_texts
from braggscale.ranks.crystal_rows import ROW_BYTES, Allocator, CrystalRows
from braggscale.ranks.detector import detector_map_of
from braggscale.ranks.exact_sums import ExactSums
from braggscale.ranks.filtering import Filtered, scale_filtered
from braggscale.ranks.groups import group_names, merged_group
from braggscale.ranks.indexing import apply, log_indexing
from braggscale.ranks.indexing import find as indexing_of_crystals
from braggscale.ranks.means import RankData
from braggscale.ranks.plan import RanksPlan, plan_of
from braggscale.ranks.reading import Census, Loaded, load, refuse_twice, take_census
from braggscale.ranks.reflections import places, reflections_of
from braggscale.ranks.report import Findings, log_findings
from braggscale.ranks.rounds import RanksScaled, scale
from braggscale.ranks.sample import sample_of
from braggscale.ranks.scales import shells_of
from braggscale.ranks.shares import Unit, shares, units_of
from braggscale.ranks.writing import put_in_place, write_all, write_groups, write_log
from braggscale.run_warnings import Code

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
    names, group_of = group_names(units, plan.group_by)
    mine = _my_units(ranks, units)
    with clock.stage("looking"):
        inputs = take_census(ranks, units, mine, plan)
    _log_begin(ranks, inputs)
    allocator = _allocator(ranks, plan, inputs.room)
    with clock.stage("preparation"):
        loaded = together(ranks, lambda: load(ranks, inputs, plan, allocator))
        warnings = _log_left_out(ranks, inputs, loaded)
    with clock.stage("indexing"):
        indexing = indexing_of_crystals(ranks, loaded.store, inputs.symmetry, inputs.cell)
        told = log_indexing(ranks, indexing, loaded.names, plan.mend_indexing)
        warnings += [(Code.INDEXED_DIFFERENTLY, text) for text in told]
        if plan.mend_indexing:
            apply(loaded.store, indexing, inputs.symmetry)
    with clock.stage("symmetry"):
        data = _rank_data(ranks, inputs, plan, loaded, allocator)
    ranks.at(f"scaling the data of {_names(inputs)}")
    work = partial(_scaled, data, inputs, plan)
    with clock.stage("scaling"):
        scaled, filtered = scale_filtered(
            data, inputs.cell, plan.small_scale_cutoff, plan.filtering, loaded.names, work
        )
    with clock.stage("merging"):
        findings = _findings(data, inputs, plan, loaded, (scaled, filtered), warnings)
        if plan.mend_indexing:
            findings = replace(findings, operators=indexing.by_number(loaded.numbers))
    log_findings(findings, plan)
    with pending() as pairs:
        with clock.stage("writing"):
            together(ranks, lambda: write_all(data, inputs, plan, findings, options, pairs))
            of_crystals = group_of[inputs.units_of(loaded.numbers)]
            findings = write_groups(data, plan, findings, (names, of_crystals), options, pairs)
        together(ranks, lambda: write_log(data, findings, options, command, log_text, clock, pairs))
        put_in_place(ranks, pairs)


def _names(inputs: Census) -> str:
    """The files of this rank in a few words."""
    names = [unit.name for unit in inputs.units]
    return "no file" if not names else names[0] + (f" to {names[-1]}" if len(names) > 1 else "")


def _my_units(ranks: Communicator, units: Sequence[Unit]) -> list[Unit]:
    of = shares([unit.size for unit in units], ranks.size)
    return [unit for unit, rank in zip(units, of.tolist(), strict=True) if rank == ranks.rank]


def _allocator(ranks: Communicator, plan: RanksPlan, room: int) -> Allocator:
    """Where rows are kept: in files if they would take too much of the memory that the process may use.

    Without a limit that is what this computer has, or lets a job have, divided by its ranks.  ``room``: rows.
    """
    beside = gather_texts(ranks, os.uname().nodename).count(os.uname().nodename)
    limit = usable_memory() / beside if plan.memory_limit is None else plan.memory_limit
    size = room * ROW_BYTES
    folder = tempfile.gettempdir() if size > SHARE_OF_ROWS * limit else None
    line = f"rank {ranks.rank} may use {limit / 1e9:.1f} GB of memory: its rows, {size / 1e9:.1f} GB, are in files in "
    log_of_all(ranks, logging.INFO, [] if folder is None else [line + folder])
    return Allocator(folder)


def _rank_data(ranks: Communicator, inputs: Census, plan: RanksPlan, loaded: Loaded, allocator: Allocator) -> RankData:
    """The rows with the numbers of their reflections; crystals that share none are left out."""
    store = loaded.store
    index = store.columns["index"][: store.starts[-1]]
    reflections = reflections_of(ranks, index, inputs.symmetry)
    relative = bool(ranks.allreduce(np.array([store.has_relative], np.int64), "max")[0])
    rows = together(ranks, lambda: store.finished(reflections.numbers, relative, allocator))
    refuse_twice(ranks, rows.key)
    apart = np.full(len(reflections), plan.apart)
    if plan.reference is None:
        rows.lost[:] = _unconnected(rows, reflections.counts_by_place(apart), apart)
    rows.leave_out_lost()
    n = int(ranks.allreduce(np.array([rows.n_crystals], np.int64))[0])
    sample = sample_of(ranks, rows, reflections)
    log.info(
        f"{int(reflections.counts.sum())} observations of {len(reflections)} unique reflections from {n} data sets"
    )
    sums = ExactSums(ranks)
    s = sums.collect("s", reflections.counts, 1, lambda total: kernels.resolution_sums(rows.number, rows.s, total))
    s = s.reshape(-1, 2).sum(axis=1) / reflections.counts.reshape(-1, 2).sum(axis=1)
    detector = None
    if inputs.detector is not None:
        shell = shells_of(s, reflections.counts.reshape(-1, 2).sum(axis=1))
        detector = detector_map_of(ranks, rows, rows.place, inputs.detector, reflections, shell, plan.estimated)
    return RankData(ranks, sums, rows, reflections, n, apart, s, sample, detector)


def _unconnected(rows: CrystalRows, counts: Int, apart: Bool) -> Bool:
    """Crystals of which no reflection was measured twice, (n_crystals,).  ``counts``: by place."""
    several = counts > 1
    alone = np.zeros(rows.n_crystals, np.bool_)
    for c in range(rows.n_crystals):
        alone[c] = not several[places(rows.number[rows.starts[c] : rows.starts[c + 1]], apart)].any()
    return alone


def _scaled(data: RankData, inputs: Census, plan: RanksPlan) -> RanksScaled:
    """The scales of all crystals, found together, or of each by itself."""
    if plan.reference is None:
        return scale(data, plan)
    from braggscale.ranks.against import known_intensities, scale_alone  # few runs need it

    known = known_intensities(data, plan.reference, inputs.symmetry, inputs.cell, inputs.wavelength)
    return scale_alone(data, plan, known)


def _findings(
    data: RankData, inputs: Census, plan: RanksPlan, loaded: Loaded, result: tuple[RanksScaled, Filtered],
    warnings: Sequence[tuple[Code, str]],
) -> Findings:  # fmt: skip
    """Everything that log, summary and exports say, in every rank."""
    scaled, filtered = result
    whole, merged = merged_group(data, scaled, plan, inputs.symmetry, inputs.cell)
    ledger = _ledger(data, inputs, loaded, whole.n_observations)
    return Findings(
        symmetry=inputs.symmetry, cell=inputs.cell, wavelength=inputs.wavelength,
        n_data_sets=int(inputs.n_data_sets.sum()), n_unique=len(data.reflections), ledger=ledger, scaled=scaled,
        filtered=filtered, whole=whole, merged=merged, groups=(), spread=_spread(data, scaled),
        warnings=tuple(warnings), operators={}, detector=data.detector,
    )  # fmt: skip


def _ledger(data: RankData, inputs: Census, loaded: Loaded, n_scaled: int) -> dict[Fate, int]:
    """Input rows of all ranks by fate.  ``n_scaled``: observations that were merged."""
    rows = data.rows
    lost = int(np.diff(rows.starts)[rows.lost].sum())
    out = int(np.count_nonzero(rows.out)) - lost
    total = data.ranks.allreduce(np.append(loaded.fates, [out, lost, inputs.not_indexed]))
    counts, (n_out, n_lost, n_no_index) = total[:-3].copy(), total[-3:].tolist()
    usable = int(counts[Fate.SCALED])
    counts[Fate.SCALED] = n_scaled
    counts[Fate.OUTLIER] += n_out
    counts[Fate.DATA_SET_UNUSABLE] += n_lost
    counts[Fate.NOT_INDEXED] += n_no_index
    counts[Fate.SCALE_TOO_SMALL] += max(usable - n_scaled - n_out - n_lost, 0)
    return {fate: int(counts[fate]) for fate in Fate if counts[fate]}


def _spread(data: RankData, scaled: RanksScaled) -> tuple[float, float]:
    """Standard deviations of ln k and of B over the crystals of all ranks."""
    logs = np.log(np.where(scaled.crystals.k > 0, scaled.crystals.k, 1.0))
    values = np.stack((logs, scaled.crystals.b, logs**2, scaled.crystals.b**2), axis=1)
    mean: Float = data.over_crystals(values) / data.n_crystals
    variance = np.maximum(mean[2:] - mean[:2] ** 2, 0.0)
    return float(np.sqrt(variance[0])), float(np.sqrt(variance[1]))


def _log_begin(ranks: Communicator, inputs: Census) -> None:
    """How the work is shared, and what there is."""
    lines = [f"rank {ranks.rank}: process {os.getpid()} on {os.uname().nodename}, {inputs.room} rows in "
             f"{len(inputs.units)} files"]  # fmt: skip
    if ranks.size > 1:
        log_of_all(ranks, logging.INFO, lines)
    log.info(f"{int(inputs.n_data_sets.sum())} data sets, {'all of them stills' if inputs.stills else 'with sweeps'}")
    log.info(f"Space group {inputs.symmetry}, unit cell " + " ".join(f"{x:.3f}" for x in inputs.cell))


def _log_left_out(ranks: Communicator, inputs: Census, loaded: Loaded) -> list[tuple[Code, str]]:
    """Log what was left out of the files; returns the lines of bad files, and of data sets, of which many are cut."""
    lines = [f"data set {name} is left out: {reason}" for name, reason in loaded.left_out]
    warnings = log_of_all(ranks, logging.WARNING, lines)
    both = ranks.allreduce(np.array([loaded.both_kinds], np.int64), "max")
    if both[0]:
        log.info("profiles and sums are not combined: profiles are used where there are any (intensity_choice=sum)")
    return [(Code.DATA_SET_LEFT_OUT, line) for line in (*inputs.warnings, *warnings)]
