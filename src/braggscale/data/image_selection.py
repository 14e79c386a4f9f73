"""Which images are in use.

Images have the numbers of their scan, usually from 1. The result depends only on the set of images, not on the way
in which the options name it or on its division over several runs:

    in use = ((stored or all) minus all exclusions) plus all inclusions
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from braggscale.data.batches import overlap, range_of
from braggscale.data.data_set_names import MOST_LISTED, find_data_set, listing
from braggscale.data.experiment import Experiment, Still
from braggscale.data.image_ranges import Run, Runs, difference, show_runs, stored_runs, union
from braggscale.errors import CommandError
from braggscale.wording import some_of

log = logging.getLogger(__name__)


# Images -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """The values of the options that select images.

    ``exclude_images``, ``include_images``: values that hold ``ID:first:last``, ``*:first:last`` (every sweep)
    or ``first:last`` (there is one sweep), separated by spaces or commas; ID as in :func:`find_data_set`.
    ``exclude_batches``: pairs of batch numbers, in every sweep that they touch, and numbers of stills that have one.
    ``reset_exclusions``: whether exclusions of earlier runs are forgotten.
    """

    exclude_images: Sequence[str] = ()
    exclude_batches: Sequence[Sequence[int]] = ()
    include_images: Sequence[str] = ()
    reset_exclusions: bool = False


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """``in_use``: for each data set the runs of images in use, () if none is left, None for a still in use.

    ``emptied``: positions of sweeps that had images before and lost all of them; they must be dropped with a
    warning. ``lines``: sentences for the log on exclusions of the input and effects of the options.
    """

    in_use: tuple[Runs | None, ...]
    emptied: tuple[int, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Request:
    """One item of an option: the images that it names in each sweep, by position of the sweep."""

    text: str
    images: dict[int, Run]

    def lines(self, word: str, experiments: Sequence[Experiment]) -> list[str]:
        if len(self.images) > MOST_LISTED:
            return [f"{self.text}: images of {len(self.images)} data sets {word}."]
        return [
            f"{self.text}: images {show_runs([run])} of data set {experiments[k].identifier} {word}."
            for k, run in self.images.items()
        ]


def _by_sweep(requests: Sequence[_Request]) -> dict[int, list[Run]]:
    out: dict[int, list[Run]] = {}
    for request in requests:
        for k, run in request.images.items():
            out.setdefault(k, []).append(run)
    return out


def _sweep_listing(sweeps: dict[int, Run], experiments: Sequence[Experiment]) -> str:
    shown = [f"{experiments[k].identifier}: {a}-{b}" for k, (a, b) in sweeps.items()]
    return some_of(shown, MOST_LISTED)


def _touched(text: str, wanted: Run, sweeps: dict[int, Run], listing: str, kind: str) -> _Request:
    """The part of ``wanted`` that lies in each of ``sweeps``; CommandError if it is reversed or in none."""
    first, last = wanted
    if first > last:
        raise CommandError(f"{text}: the first {kind} number is larger than the last; write {last} before {first}")
    images = {k: (max(first, a), min(last, b)) for k, (a, b) in sweeps.items() if overlap((first, last), (a, b))}
    if not images:
        raise CommandError(f"{text}: no sweep has these {kind} numbers; there are {listing}")
    return _Request(text, images)


def items_of(values: Sequence[str]) -> list[str]:
    """The items of all values, which are separated by blanks or commas."""
    return [item for value in values for item in re.split(r"[\s,]+", value) if item]


def sweeps_named(
    text: str, name: str | None, experiments: Sequence[Experiment], numbers: Sequence[int] | None
) -> dict[int, Run]:
    """Image ranges, by position, of the sweeps that ``name`` stands for; '*' is all, None the only one.

    ``text``: the item as it was given, for messages.  ``numbers``: n of ``#n``.
    Raises CommandError for a data set that is unknown or a still, and for None if there are several sweeps.
    """
    identifiers = [e.identifier for e in experiments]
    sweeps = {k: r for k, e in enumerate(experiments) if (r := range_of(e)) is not None}
    if name is not None and name != "*":
        k = find_data_set(name, identifiers, text, numbers)
        if k not in sweeps:
            raise CommandError(
                f"{text}: data set {identifiers[k]} is a still and has no images to choose from;"
                f" use exclude_datasets={name} to leave it out"
            )
        return {k: sweeps[k]}
    if not sweeps:
        raise CommandError(f"{text}: none of the data sets has a scan; use exclude_datasets to leave out stills")
    if name is None and len(sweeps) > 1:
        raise CommandError(
            f"{text}: there are {len(sweeps)} sweeps, name one of them, as ID:..., or all of them, as *:..."
            f" (data sets: {listing(identifiers, numbers)})"
        )
    return sweeps


def _image_requests(
    option: str, values: Sequence[str], experiments: Sequence[Experiment], numbers: Sequence[int] | None
) -> list[_Request]:
    requests = []
    for item in items_of(values):
        text = f"{option}={item}"
        match = re.fullmatch(r"(?:(.*):)?(\d+):(\d+)", item)
        if match is None:
            raise CommandError(f"{text}: expected ID:first:last, *:first:last, or first:last for a single sweep")
        chosen = sweeps_named(text, match[1], experiments, numbers)
        wanted = (int(match[2]), int(match[3]))
        requests.append(_touched(text, wanted, chosen, _sweep_listing(chosen, experiments), "image"))
    return requests


def _batch_requests(
    values: Sequence[Sequence[int]], experiments: Sequence[Experiment], offsets: Sequence[int | None]
) -> list[_Request]:
    batches = {
        k: (r[0] + offset, r[1] + offset)
        for k, (e, offset) in enumerate(zip(experiments, offsets, strict=True))
        if offset is not None and (r := range_of(e)) is not None
    }
    # stills of a file with batches have their number in a scan of one image
    numbered = ((k, e.kind.scan) for k, e in enumerate(experiments) if isinstance(e.kind, Still))
    batches |= {k: scan.image_range for k, scan in numbered if scan is not None and scan.n_images == 1}
    requests = []
    for value in values:
        text = f"exclude_batches={','.join(str(v) for v in value)}"
        if len(value) != 2:
            raise CommandError(f"{text}: expected two batch numbers, the first and the last")
        if not batches:
            raise CommandError(f"{text}: no data set has a scan, so there are no batch numbers; use exclude_datasets")
        wanted = (int(value[0]), int(value[1]))
        request = _touched(text, wanted, batches, _sweep_listing(batches, experiments), "batch")
        shifted = {k: (a - (offsets[k] or 0), b - (offsets[k] or 0)) for k, (a, b) in request.images.items()}
        requests.append(_Request(text, shifted))
    return requests


def choose_images(
    experiments: Sequence[Experiment],
    offsets: Sequence[int | None],
    request: ImageRequest,
    numbers: Sequence[int] | None = None,
) -> ImageChoice:
    """The images in use: those of earlier runs (or all, with ``reset_exclusions``) minus exclusions plus inclusions.

    ``offsets``: batch number minus image number of each data set, from :func:`assign_batches`; None for a still.
    ``numbers``: n of ``#n`` for each data set, by default its position.
    Raises CommandError for a malformed item, reversed numbers, images or batches that no sweep has (the
    message lists the ranges), images of a still, an unknown data set, and if no data set keeps anything.
    """
    excluded = _image_requests("exclude_images", request.exclude_images, experiments, numbers)
    excluded += _batch_requests(request.exclude_batches, experiments, offsets)
    included = _image_requests("include_images", request.include_images, experiments, numbers)
    gone, back = _by_sweep(excluded), _by_sweep(included)
    in_use: list[Runs | None] = []
    emptied: list[int] = []
    lines: list[str] = []
    for k, experiment in enumerate(experiments):
        kind = experiment.kind
        if isinstance(kind, Still):
            in_use.append(() if k in gone else None)
            if k in gone:
                emptied.append(k)
            continue
        scan = kind.scan
        before = stored_runs(scan)
        start = (scan.image_range,) if request.reset_exclusions else before
        if before != (scan.image_range,):
            verb = "are in use again" if request.reset_exclusions else "stay excluded, as in the input"
            out = difference([scan.image_range], before)
            lines.append(f"Data set {experiment.identifier}: images {show_runs(out)} {verb}.")
        runs = union((*difference(start, gone.get(k, ())), *back.get(k, ())))
        in_use.append(runs)
        if not runs:
            emptied.append(k)
    lines += [line for r in excluded for line in r.lines("excluded", experiments)]
    lines += [line for r in included for line in r.lines("included", experiments)]
    if experiments and len(emptied) == len(experiments):
        options = " ".join(dict.fromkeys(r.text for r in excluded))
        raise CommandError(
            f"{options}: every image of every data set is excluded; leave some in, or bring images back with"
            " include_images or reset_exclusions=True"
        )
    return ImageChoice(tuple(in_use), tuple(emptied), tuple(lines))
