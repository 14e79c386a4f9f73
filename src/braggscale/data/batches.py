"""Batch numbers: one numbering of images for all sweeps. Batch number = image number + the sweep's batch offset."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Sequence

from braggscale.data.experiment import Experiment, Still, Sweep
from braggscale.data.image_ranges import Run, Runs
from braggscale.run_warnings import Code, warn

log = logging.getLogger(__name__)


# Batches ----------------------------------------------------------------------------------------------------


def next_epoch(last: int) -> int:
    """The next number that ends in 01 with a gap after ``last``: 1800 -> 1901, 100 -> 201, 99 -> 101."""
    return (last // 100 + 1) * 100 + 1


def overlap(a: Run, b: Run) -> bool:
    """Whether two runs, both ends included, have a number in common."""
    return a[0] <= b[1] and a[1] >= b[0]


def range_of(experiment: Experiment) -> Run | None:
    """First and last image of a sweep, None for a still."""
    kind = experiment.kind
    return None if isinstance(kind, Still) else kind.scan.image_range


def offsets_of(experiments: Sequence[Experiment]) -> list[int | None]:
    """Batch offset that each experiment has, None for stills."""
    kinds = [experiment.kind for experiment in experiments]
    return [None if isinstance(kind, Still) else kind.scan.batch_offset for kind in kinds]


def assign_batches(experiments: Sequence[Experiment]) -> tuple[int | None, ...]:
    """Batch offset of each data set, None for stills: batch number = image number + offset.

    Offsets of an earlier run are kept: if any stored offset is not 0, those of scaled sweeps and those that differ
    from 0 stay, unless two of them overlap.  The other sweeps, in order, keep their image numbers if these are
    free; numbers below 1 are shifted to begin with 1.  The remaining sweeps follow one after the other, each
    beginning at :func:`next_epoch` of the highest number so far. DIALS' algorithm: 1-1800, 1-1700, 1-1700, 1-1700
    become 1-1800, 1901-3600, 3701-5400, 5501-7200; 101-200 after 1-100 stays, so the two parts of a sweep that was
    cut keep their numbers.
    """
    offsets: list[int | None] = [None] * len(experiments)
    taken: list[Run] = []  # disjoint, sorted

    def place(k: int, images: Run, offset: int) -> bool:
        """Give data set k this offset if its numbers are free, and none is below 1."""
        numbers = (images[0] + offset, images[1] + offset)
        if numbers[0] < 1:
            return False
        at = bisect.bisect(taken, numbers)
        if any(overlap(numbers, neighbour) for neighbour in taken[max(at - 1, 0) : at + 1]):
            return False
        taken.insert(at, numbers)
        offsets[k] = offset
        return True

    sweeps = [(k, kind.scan, e) for k, e in enumerate(experiments) if isinstance(kind := e.kind, Sweep)]
    stored = any(scan.batch_offset for _, scan, _ in sweeps)
    waiting: list[tuple[int, Run]] = []
    for k, scan, experiment in sweeps:
        if stored and (scan.batch_offset or experiment.scaling_model is not None):
            if place(k, scan.image_range, scan.batch_offset):
                continue
            low = scan.image_range[0] + scan.batch_offset < 1
            why = "begin below 1" if low else "belong to another data set too"
            warn(
                log,
                Code.BATCHES_RENUMBERED,
                f"The stored batch numbers of data set {experiment.identifier} {why}; it gets new ones.",
                experiment.identifier,
            )
        waiting.append((k, scan.image_range))
    moved = [(k, images) for k, images in waiting if not place(k, images, max(1 - images[0], 0))]
    for k, images in moved:
        place(k, images, next_epoch(taken[-1][1]) - images[0])
    return tuple(offsets)


def batch_lines(
    experiments: Sequence[Experiment],
    offsets: Sequence[int | None],
    in_use: Sequence[Runs | None] | None = None,
) -> tuple[str, ...]:
    """The table of batch numbers for the log, one line per sweep; stills have none.

    With ``in_use`` (runs of image numbers) a sweep that does not use all its images gets
    `` (range in use: (a, b))``, batch numbers; with a gap inside, `` (ranges in use: (a, b), (c, d))``.
    """
    lines = []
    for k, (experiment, offset) in enumerate(zip(experiments, offsets, strict=True)):
        images = range_of(experiment)
        if images is None or offset is None:
            continue
        batches = (images[0] + offset, images[1] + offset)
        line = f"Experiment identifier: {experiment.identifier}, image_range: {images}, batch_range: {batches}"
        runs = in_use[k] if in_use is not None else None
        if runs is not None and runs != (images,):
            shown = ", ".join(str((a + offset, b + offset)) for a, b in runs) or "none"
            line += f" (range{'s' if len(runs) > 1 else ''} in use: {shown})"
        lines.append(line)
    return tuple(lines)


def lines_in_use(experiments: Sequence[Experiment], in_use: Sequence[Runs | None]) -> tuple[str, ...]:
    """The table of batch numbers; empty if all sweeps use all images, because it is then the table of the start.

    ``in_use``: runs of image numbers of each data set, None for stills.
    """
    lines = batch_lines(experiments, offsets_of(experiments), in_use)
    return () if lines == batch_lines(experiments, offsets_of(experiments)) else lines
