"""``scale delta-cc-half``: the influence of data sets, or of groups of images, in data that are scaled already."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from braggscale.data.experiment import Still
from braggscale.data.geometry import inverse_d_squared
from braggscale.data.index_order import sort_order
from braggscale.data.unique_reflections import Groups, mean_of_others
from braggscale.export_files import stored_crystals
from braggscale.io import open_inputs
from braggscale.io.export.scaled_observations import Crystals
from braggscale.io.reindexing import with_changes
from braggscale.numerics.array_types import Float, Int
from braggscale.numerics.partitions import available_processors, threads
from braggscale.options.schema import DeltaCcHalf, Options
from braggscale.report.text.tables import text_table
from braggscale.scaling.filtering import LARGEST, stands_out, substantially
from braggscale.statistics.half_sets import ratio
from braggscale.statistics.influence import Segments, influence

log = logging.getLogger(__name__)

MOST_LISTED = 30


def delta_cc_half(files: Sequence[str], options: Options) -> None:
    """Log the influence of every part on CC1/2, the worst first, and the command that leaves out the conspicuous parts.

    Raises CommandError for data sets that are not there, InputError for damaged files, DataError if a data set is not
    scaled.
    """
    with threads(options.nproc or available_processors()):
        data = open_inputs(files)
        for note in data.notes:
            log.info(note)
        data = with_changes(data, options.input.space_group, (), ())
        _log(stored_crystals(data, options, outliers=True), options.filtering.deltacchalf, files)


def _log(data: Crystals, asked: DeltaCcHalf, files: Sequence[str]) -> None:
    names, part = _parts(data, asked)
    delta, z2, n, cc = influence_of(data, part, len(names))
    known = np.where(n >= asked.min_reflections, delta, np.nan)
    out, _, limit = stands_out(known, n, asked.stdcutoff)
    out &= substantially(z2)
    order = np.argsort(np.where(np.isfinite(delta), delta, np.inf), kind="stable")
    kind = "data sets" if asked.mode == "dataset" else f"groups of {asked.group_size} images"
    below = f"a part of usual size stands out below {limit:.6f}"
    if not np.isfinite(limit):
        below = "too few parts, or too much alike, to say which stands out"
    log.info(f"CC1/2 {cc:.4f} with all {len(names)} {kind}; {below}")
    rows = [
        (names[k], str(int(n[k])), f"{delta[k]:.6f}", f"{z2[k]:.2f}", "*" if out[k] else "")
        for k in order[:MOST_LISTED].tolist()
    ]
    log.info(text_table(("part", "n", "delta CC1/2", "mean z^2", ""), rows))
    if len(order) > MOST_LISTED:
        log.info(f"and {len(order) - MOST_LISTED} more, which change CC1/2 less, or for the better")
    if not out.any():
        log.info("Nothing stands out")
        return
    worst = [names[k] for k in order.tolist() if out[k]]
    option = "exclude_datasets" if asked.mode == "dataset" else "exclude_images"
    log.info("To leave out what stands out (*), and scale again:")
    log.info(f"  scale {' '.join(files)} {option}={','.join(worst)}")


def influence_of(data: Crystals, part: Int, n_parts: int) -> tuple[Float, Float, Float, float]:
    """delta CC1/2, mean z^2 and number of observations of each part, (n_parts,), and CC1/2 of all.

    ``part``: of each observation of ``data``, (n,).  z is the deviation from the mean of the observations that are
    not outliers.
    """
    rows = data.rows
    asu, minus = data.symmetry.asu(rows.hkl)
    order = sort_order(asu, minus)
    groups = Groups.from_keys(asu[order])
    x, sigma, part = rows.intensity[order], rows.sigma[order], part[order]
    s = inverse_d_squared(asu[order][groups.offsets[:-1]], data.cell)
    influences = influence(x, groups, Segments.of(groups, part, n_parts), n_parts, s, sigma**2)
    one, outlier = np.ones(len(x)), rows.outlier[order]
    mean, error = mean_of_others(groups, np.where(outlier, 0.0, sigma**-2.0), one, x)
    seen = error > 0
    z2 = np.minimum((x - mean)[seen] ** 2 / (sigma**2 + error)[seen], LARGEST)
    total = np.bincount(part[seen], minlength=n_parts).astype(np.float64)
    n = np.bincount(part[~outlier], minlength=n_parts).astype(np.float64)
    return influences.delta, ratio(np.bincount(part[seen], z2, n_parts), total), n, influences.cc


def _parts(data: Crystals, asked: DeltaCcHalf) -> tuple[list[str], Int]:
    """Names of the parts as options take them, and the part of each observation, (n,)."""
    identifiers = [experiment.identifier for experiment in data.experiments]
    d = data.rows.data_set
    if asked.mode == "dataset":
        return identifiers, d.astype(np.int64)
    names: list[str] = []
    base, origin, count = [], [], []
    for experiment in data.experiments:
        base.append(len(names))
        kind = experiment.kind
        if isinstance(kind, Still):
            names.append(experiment.identifier)
            origin.append(0)
            count.append(1)
            continue
        runs = kind.scan.valid_image_ranges or (kind.scan.image_range,)
        first, last = runs[0][0], runs[-1][1]
        n = max((last - first + 1) // asked.group_size, 1)
        for k in range(n):
            begin = first + k * asked.group_size
            stop = last if k == n - 1 else begin + asked.group_size - 1
            names.append(f"{experiment.identifier}:{begin}:{stop}")
        origin.append(first)
        count.append(n)
    image = np.floor(data.rows.z).astype(np.int64) + 1
    place = np.clip((image - np.array(origin)[d]) // asked.group_size, 0, np.array(count)[d] - 1)
    return names, np.array(base)[d] + place
