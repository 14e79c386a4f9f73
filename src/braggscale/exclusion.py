"""Which data sets and which images are in use, and how images are numbered across sweeps.

Image numbers count from 1 within a sweep as its scan does; a reflection at ``z`` (array index) lies on image
floor(z) + 1.  Batch number = image number + the sweep's batch offset: one numbering for all sweeps.
Images in use are runs, sorted and disjoint (first, last), both ends included; everything here is set algebra
on them, so the result does not depend on how a command spells a set of images or spreads it over several
runs:

    in use = ((stored or all) minus all exclusions) plus all inclusions
"""

from __future__ import annotations

import bisect
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.arrays import Array, Bool, Int
from braggscale.errors import CommandError
from braggscale.experiments import Experiment, Scan

log = logging.getLogger(__name__)

Run = tuple[int, int]
Runs = tuple[Run, ...]

# A prefix stands for an identifier only if it is this long and the identifier is a long one: '1' or '1000'
# must never be taken for '10' or '10000'.
SHORTEST_PREFIX = 4
LONG_IDENTIFIER = 9
MOST_LISTED = 12


# Sets of images ---------------------------------------------------------------------------------------------


def union(runs: Iterable[Run]) -> Runs:
    """The same images as sorted runs that neither overlap nor touch."""
    out: list[Run] = []
    for first, last in sorted(runs):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)


def intersection(runs: Iterable[Run], limits: Run) -> Runs:
    """The images of ``runs`` within ``limits``."""
    cut = ((max(first, limits[0]), min(last, limits[1])) for first, last in runs)
    return union(run for run in cut if run[0] <= run[1])


def difference(runs: Iterable[Run], gone: Iterable[Run]) -> Runs:
    """The images of ``runs`` that are not in ``gone``."""
    removed = union(gone)
    out: list[Run] = []
    for first, last in union(runs):
        for a, b in removed:
            if b < first or a > last:
                continue
            if a > first:
                out.append((first, a - 1))
            first = b + 1
        if first <= last:
            out.append((first, last))
    return tuple(out)


def show_runs(runs: Iterable[Run]) -> str:
    """``1-1500, 1601-1700``; ``none`` for no images."""
    return ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs) or "none"


def rows_in_use(z: Array, image_range: Run, runs: Runs) -> Bool:
    """Rows on images in use.

    Image number = floor(z) + 1, held within ``image_range``: a centroid exactly on the outer face of the
    sweep belongs to the edge image, so that all images in use means all rows in use.
    ``z``: array index along the sweep, (n,).  Rows with a z that is not finite are out.  Returns (n,).
    """
    z = np.asarray(z, dtype=np.float64)
    known = np.isfinite(z)
    image = np.clip(np.floor(np.where(known, z, 0.0)) + 1.0, *image_range)
    edges = np.array([(a, b + 1) for a, b in runs], dtype=np.float64).reshape(-1)
    inside: Bool = (np.searchsorted(edges, image, side="right") % 2 == 1) & known
    return inside


# Names of data sets -----------------------------------------------------------------------------------------


def _numbers(n: int, numbers: Sequence[int] | None) -> Sequence[int]:
    return range(n) if numbers is None else numbers


def _listing(identifiers: Sequence[str], numbers: Sequence[int] | None = None) -> str:
    shown = [
        f"#{k} {name}" if name != str(k) else name
        for k, name in zip(_numbers(len(identifiers), numbers), identifiers, strict=True)
    ]
    more = len(shown) - MOST_LISTED
    return ", ".join(shown[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def find_data_set(name: str, identifiers: Sequence[str], option: str, numbers: Sequence[int] | None = None) -> int:
    """Position of the data set that ``name`` stands for.

    ``name`` is an identifier, ``#n`` with n from ``numbers`` (the numbers in the log, by default positions),
    or the beginning, at least 4 characters and unique, of a long identifier.
    Raises CommandError, which names ``option`` and lists what there is.
    """
    if name in identifiers:
        return list(identifiers).index(name)
    if re.fullmatch(r"#\d+", name):
        known = list(_numbers(len(identifiers), numbers))
        if int(name[1:]) in known:
            return known.index(int(name[1:]))
    elif len(name) >= SHORTEST_PREFIX:
        found = [k for k, full in enumerate(identifiers) if len(full) >= LONG_IDENTIFIER and full.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            listed = _listing([identifiers[k] for k in found], [_numbers(len(identifiers), numbers)[k] for k in found])
            raise CommandError(f"{option}: {name!r} fits several data sets ({listed}); give more of the identifier")
    raise CommandError(f"{option}: there is no data set {name!r}; there are {_listing(identifiers, numbers)}")


def _find_all(
    values: Sequence[str], identifiers: Sequence[str], option: str, numbers: Sequence[int] | None
) -> set[int]:
    found: set[int] = set()
    for value in values:
        # An identifier set by hand may itself hold a space or a comma.
        names = [value] if value in identifiers else re.split(r"[\s,]+", value.strip())
        found |= {find_data_set(n, identifiers, f"{option}={value}", numbers) for n in names if n}
    return found


def choose_data_sets(
    identifiers: Sequence[str],
    use: Sequence[str] = (),
    exclude: Sequence[str] = (),
    numbers: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Positions of the data sets that stay, in the order of the input.

    ``use``, ``exclude``: the values of ``use_datasets`` and ``exclude_datasets``; each holds one or more
    names, separated by spaces or commas (see :func:`find_data_set`).  ``numbers``: n of ``#n``, by default
    positions.
    Raises CommandError if both are given, a name is unknown or ambiguous, or nothing stays.
    """
    if use and exclude:
        raise CommandError(
            "use_datasets and exclude_datasets are both given; give one of them"
            f" (data sets: {_listing(identifiers, numbers)})"
        )
    everything = range(len(identifiers))
    if use:
        named = _find_all(use, identifiers, "use_datasets", numbers)
        kept = tuple(k for k in everything if k in named)
    else:
        named = _find_all(exclude, identifiers, "exclude_datasets", numbers)
        kept = tuple(k for k in everything if k not in named)
    if identifiers and not kept:
        option, values = ("use_datasets", use) if use else ("exclude_datasets", exclude)
        raise CommandError(
            f"{option}={' '.join(values)} leaves no data set; there are {_listing(identifiers, numbers)}"
        )
    return kept


# Batches ----------------------------------------------------------------------------------------------------


def next_epoch(last: int) -> int:
    """The next number that ends in 01 with a gap after ``last``: 1800 -> 1901, 100 -> 201, 99 -> 101."""
    return (last // 100 + 1) * 100 + 1


def _overlap(a: Run, b: Run) -> bool:
    return a[0] <= b[1] and a[1] >= b[0]


def _range_of(experiment: Experiment) -> Run | None:
    return None if experiment.is_still or experiment.scan is None else experiment.scan.image_range


def assign_batches(experiments: Sequence[Experiment]) -> tuple[int | None, ...]:
    """Batch offset of each data set, None for stills: batch number = image number + offset.

    Offsets that an earlier run stored stay: where any stored offset is not 0, those of scaled sweeps and
    those that differ from 0 are kept, unless two of them overlap.  The other sweeps, in order, keep their
    image numbers if these do not overlap what is taken; an image 0 counts as batch 1.  Then those that are
    left follow one after the other, each beginning at :func:`next_epoch` of the highest number so far.
    DIALS' algorithm: 1-1800, 1-1700, 1-1700, 1-1700 become 1-1800, 1901-3600, 3701-5400, 5501-7200; 101-200
    after 1-100 stays, so the two parts of a sweep that was cut keep their numbers.
    """
    offsets: list[int | None] = [None] * len(experiments)
    taken: list[Run] = []  # disjoint, sorted

    def place(k: int, images: Run, offset: int) -> bool:
        """Give data set k this offset if its numbers are free."""
        numbers = (images[0] + offset, images[1] + offset)
        at = bisect.bisect(taken, numbers)
        if any(_overlap(numbers, neighbour) for neighbour in taken[max(at - 1, 0) : at + 1]):
            return False
        taken.insert(at, numbers)
        offsets[k] = offset
        return True

    sweeps = [(k, e.scan, e) for k, e in enumerate(experiments) if e.scan is not None and not e.is_still]
    stored = any(scan.batch_offset for _, scan, _ in sweeps)
    waiting: list[tuple[int, Run]] = []
    for k, scan, experiment in sweeps:
        if stored and (scan.batch_offset or experiment.scaling_model is not None):
            if place(k, scan.image_range, scan.batch_offset):
                continue
            log.warning(
                "The stored batch numbers of data set %s belong to another data set too; it gets new ones.",
                experiment.identifier,
            )
        waiting.append((k, scan.image_range))
    moved = [(k, images) for k, images in waiting if not place(k, images, 1 if images[0] == 0 else 0)]
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
        images = _range_of(experiment)
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


# Images -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """``in_use``: for each data set the runs of images in use, () if none is left, None for a still.

    ``emptied``: positions of sweeps that had images before and lost all of them; they are to be dropped with
    a warning.  ``lines``: what was taken over from the input and what the options did, for the log.
    """

    in_use: tuple[Runs | None, ...]
    emptied: tuple[int, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Request:
    """One item of an option: the images it names within each sweep, by position."""

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


def stored_runs(scan: Scan) -> Runs:
    """The images in use as the input file has them."""
    return intersection(scan.valid_image_ranges, scan.image_range) or (scan.image_range,)


def _sweep_listing(sweeps: dict[int, Run], experiments: Sequence[Experiment]) -> str:
    shown = [f"{experiments[k].identifier}: {a}-{b}" for k, (a, b) in sweeps.items()]
    more = len(shown) - MOST_LISTED
    return ", ".join(shown[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _touched(text: str, wanted: Run, sweeps: dict[int, Run], listing: str, kind: str) -> _Request:
    """The part of ``wanted`` that lies in each of ``sweeps``; CommandError if it is reversed or in none."""
    first, last = wanted
    if first > last:
        raise CommandError(f"{text}: the first {kind} number is larger than the last; write {last} before {first}")
    images = {k: (max(first, a), min(last, b)) for k, (a, b) in sweeps.items() if _overlap((first, last), (a, b))}
    if not images:
        raise CommandError(f"{text}: no sweep has these {kind} numbers; there are {listing}")
    return _Request(text, images)


def _items(values: Sequence[str]) -> list[str]:
    return [item for value in values for item in re.split(r"[\s,]+", value) if item]


def _sweeps_named(
    text: str, name: str | None, experiments: Sequence[Experiment], numbers: Sequence[int] | None
) -> dict[int, Run]:
    """Image ranges, by position, of the sweeps that ``name`` stands for; '*' is all, None the only one."""
    identifiers = [e.identifier for e in experiments]
    sweeps = {k: r for k, e in enumerate(experiments) if (r := _range_of(e)) is not None}
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
            f" (data sets: {_listing(identifiers, numbers)})"
        )
    return sweeps


def _image_requests(
    option: str, values: Sequence[str], experiments: Sequence[Experiment], numbers: Sequence[int] | None
) -> list[_Request]:
    requests = []
    for item in _items(values):
        text = f"{option}={item}"
        match = re.fullmatch(r"(?:(.*):)?(\d+):(\d+)", item)
        if match is None:
            raise CommandError(f"{text}: expected ID:first:last, *:first:last, or first:last for a single sweep")
        chosen = _sweeps_named(text, match[1], experiments, numbers)
        wanted = (int(match[2]), int(match[3]))
        requests.append(_touched(text, wanted, chosen, _sweep_listing(chosen, experiments), "image"))
    return requests


def _batch_requests(
    values: Sequence[Sequence[int]], experiments: Sequence[Experiment], offsets: Sequence[int | None]
) -> list[_Request]:
    batches = {
        k: (r[0] + offset, r[1] + offset)
        for k, (e, offset) in enumerate(zip(experiments, offsets, strict=True))
        if offset is not None and (r := _range_of(e)) is not None
    }
    requests = []
    for value in values:
        text = f"exclude_batches={','.join(str(v) for v in value)}"
        if len(value) != 2:
            raise CommandError(f"{text}: expected two batch numbers, the first and the last")
        if not batches:
            raise CommandError(f"{text}: no data set has a scan, so there are no batch numbers; use exclude_datasets")
        wanted = (int(value[0]), int(value[1]))
        found = _touched(text, wanted, batches, _sweep_listing(batches, experiments), "batch")
        shifted = {k: (a - (offsets[k] or 0), b - (offsets[k] or 0)) for k, (a, b) in found.images.items()}
        requests.append(_Request(text, shifted))
    return requests


def choose_images(
    experiments: Sequence[Experiment],
    offsets: Sequence[int | None],
    *,
    exclude_images: Sequence[str] = (),
    exclude_batches: Sequence[Sequence[int]] = (),
    include_images: Sequence[str] = (),
    reset_exclusions: bool = False,
    numbers: Sequence[int] | None = None,
) -> ImageChoice:
    """The images in use after the options: stored (or all, with ``reset_exclusions``) minus exclusions plus
    inclusions.

    ``exclude_images``, ``include_images``: values that hold ``ID:first:last``, ``*:first:last`` (every sweep)
    or ``first:last`` (there is one sweep), separated by spaces or commas; ID as in :func:`find_data_set`.
    ``exclude_batches``: pairs of batch numbers, in every sweep that they touch.  ``offsets``: from
    :func:`assign_batches`.  ``numbers``: n of ``#n``.
    Raises CommandError for a malformed item, reversed numbers, images or batches that no sweep has (the
    message lists the ranges), images of a still, an unknown data set, and if no data set keeps anything.
    """
    excluded = _image_requests("exclude_images", exclude_images, experiments, numbers)
    excluded += _batch_requests(exclude_batches, experiments, offsets)
    included = _image_requests("include_images", include_images, experiments, numbers)
    gone, back = _by_sweep(excluded), _by_sweep(included)
    in_use: list[Runs | None] = []
    emptied: list[int] = []
    lines: list[str] = []
    for k, experiment in enumerate(experiments):
        scan = experiment.scan
        if scan is None or experiment.is_still:
            in_use.append(None)
            continue
        before = stored_runs(scan)
        start = (scan.image_range,) if reset_exclusions else before
        if before != (scan.image_range,):
            verb = "are in use again" if reset_exclusions else "stay excluded, as in the input"
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


# Cutting a sweep in two -------------------------------------------------------------------------------------


def choose_splits(
    values: Sequence[str], experiments: Sequence[Experiment], numbers: Sequence[int] | None = None
) -> dict[int, tuple[int, ...]]:
    """Where sweeps are to be cut: position of the data set -> the images at which a new data set begins.

    ``values``: items ``ID:image``, or ``image`` if there is one sweep, separated by spaces or commas.
    Raises CommandError for a malformed item, an unknown data set, a still, or an image that is not inside the
    sweep.
    """
    starts: dict[int, set[int]] = {}
    for item in _items(values):
        text = f"split_at={item}"
        match = re.fullmatch(r"(?:(.*):)?(\d+)", item)
        if match is None:
            raise CommandError(f"{text}: expected ID:image, or image for a single sweep")
        for k, (first, last) in _sweeps_named(text, match[1], experiments, numbers).items():
            if not first < int(match[2]) <= last:
                raise CommandError(
                    f"{text}: the second part begins at this image, so it must be one of {first + 1}-{last}"
                    f" in data set {experiments[k].identifier}"
                )
            starts.setdefault(k, set()).add(int(match[2]))
    return {k: tuple(sorted(s)) for k, s in sorted(starts.items())}


def split_scan(scan: Scan, starts: Sequence[int], in_use: Runs) -> tuple[tuple[Scan, Runs], ...]:
    """The scan of each part when a new part begins at each image of ``starts``, and its images in use.

    Image numbers, rotation angles (degrees) and batch numbers stay what they were.  ``in_use``: of the whole
    sweep; a part that has none of them gets () and is to be dropped.
    """
    firsts = [scan.image_range[0], *starts]
    lasts = [*(s - 1 for s in starts), scan.image_range[1]]
    start, width = scan.oscillation
    parts = []
    for a, b in zip(firsts, lasts, strict=True):
        runs = intersection(in_use, (a, b))
        oscillation = (start + (a - scan.image_range[0]) * width, width)
        parts.append((replace(scan, image_range=(a, b), oscillation=oscillation, valid_image_ranges=runs), runs))
    return tuple(parts)


def part_of_rows(z: Array, starts: Sequence[int]) -> Int:
    """Number of the part, 0 to len(starts), that each row lies in.  ``z``: array index, (n,).  Returns
    (n,)."""
    return np.searchsorted(np.asarray(starts, dtype=np.float64), np.floor(z) + 1.0, side="right").astype(np.int64)
