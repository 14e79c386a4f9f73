"""Cuts sweeps: one data set becomes several, each with its own experiment, scan and reflections.

Lists in the document with one entry per image, or per scan point, are divided together with the scan. Image numbers,
rotation angles and batch numbers do not change.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from braggscale.data.batches import assign_batches
from braggscale.data.experiment import Scan
from braggscale.data.image_ranges import show_runs, stored_runs
from braggscale.data.sweep_cuts import choose_splits, part_of_rows, split_scan
from braggscale.data.table import DataSet
from braggscale.errors import CommandError
from braggscale.io.experiment_list import Document, own_lists
from braggscale.io.pairing import Input

log = logging.getLogger(__name__)

# Entries of models with one value per image, and with one more: at the beginning of each image and at the end.
_PER_IMAGE = (
    "exposure_time",
    "epochs",
    "oscillation",
    "oscillation_width",
    "single_file_indices",
    "sigma_b",
    "sigma_m",
)
_PER_POINT = (
    "A_at_scan_points",
    "B_covariance_at_scan_points",
    "s0_at_scan_points",
    "S_at_scan_points",
    "setting_rotation_at_scan_points",
)
_CUT = ("scan", "imageset", "crystal", "beam", "goniometer", "profile")


def split_sweeps(data: Input, values: Sequence[str]) -> Input:
    """The data sets after the cuts that ``values`` name (see sweep_cuts.choose_splits).

    The first part keeps its place, identifier and number; the others follow at the end of the list and get the next
    free ones. Batch numbers are assigned before the cut. The log names the parts of each sweep.
    Raises CommandError for an item that is malformed, or names no data set or an image that is not inside it, and for
    a part without an image in use.
    """
    experiments = [data_set.experiment for data_set in data.data_sets]
    starts = choose_splits(values, experiments)
    if not starts:
        return data
    offsets = assign_batches(experiments)
    data_sets = [_with_offset(data_set, offset) for data_set, offset in zip(data.data_sets, offsets, strict=True)]
    document = own_lists(data.document)
    entries, files = document["experiment"], list(data.document.files)
    used = {data_set.identifier for data_set in data_sets}
    ids = {data_set.id for data_set in data_sets}
    for k, cuts in starts.items():
        whole = data_sets[k]
        scan = whole.experiment.scan
        if scan is None:
            continue
        z = _rotation(whole)
        part = part_of_rows(np.where(np.isfinite(z), z, scan.image_range[0] - 1.0), cuts)
        names = []
        for p, (own, in_use) in enumerate(split_scan(scan, cuts, stored_runs(scan))):
            if not in_use:
                raise CommandError(
                    f"split_at: images {show_runs([own.image_range])} of data set {whole.identifier} are all excluded; "
                    "take some back with include_images in a run of its own, or cut elsewhere"
                )
            place = k
            identifier, number = whole.identifier, whole.id
            if p:
                place = len(data_sets)
                identifier = next(name for n in range(len(used) + 1) if (name := str(n)) not in used)
                number = max(ids) + 1
                data_sets.append(whole)
                entries.append(dict(data.document.data["experiment"][k]))
                files.append(files[k])
            used.add(identifier)
            ids.add(number)
            experiment = replace(whole.experiment, identifier=identifier, scan=own)
            table = whole.table.select(np.flatnonzero(part == p))
            data_sets[place] = DataSet(number, identifier, experiment, table)
            entries[place] = _cut_models(document, entries[place], scan, own, identifier)
            names.append(f"{identifier} (images {show_runs([own.image_range])})")
        log.info(f"Data set {whole.identifier} is cut into {', '.join(names)}")
    joined = Document(document, tuple(data_set.experiment for data_set in data_sets), tuple(files))
    return replace(data, data_sets=tuple(data_sets), document=joined)


def _with_offset(data_set: DataSet, offset: int | None) -> DataSet:
    scan = data_set.experiment.scan
    if scan is None or offset is None:
        return data_set
    return replace(data_set, experiment=replace(data_set.experiment, scan=replace(scan, batch_offset=offset)))


def _rotation(data_set: DataSet) -> np.ndarray:
    name = "xyzobs.px.value" if "xyzobs.px.value" in data_set.table else "xyzcal.px"
    return np.asarray(data_set.table[name][:, 2], np.float64)


def _cut_models(
    document: dict[str, Any], entry: Mapping[str, Any], whole: Scan, own: Scan, identifier: str
) -> dict[str, Any]:
    """The experiment's entry with models of its own, cut to its images; they are added to the document's lists."""
    first = own.image_range[0] - whole.image_range[0]
    images = slice(first, first + own.n_images)
    result = dict(entry) | {"identifier": identifier}
    for name in _CUT:
        place = entry.get(name)
        models = document.get(name)
        if type(place) is not int or not isinstance(models, list) or not isinstance(models[place], dict):
            continue
        model = _cut(models[place], images, whole.n_images)
        if name == "scan":
            model["image_range"] = list(own.image_range)
            if "oscillation" in model:
                model["oscillation"] = list(own.oscillation)
            model["valid_image_ranges"] = {identifier: [list(run) for run in own.valid_image_ranges]}
        result[name] = len(models)
        models.append(model)
    return result


def _cut(model: Mapping[str, Any], images: slice, n: int) -> dict[str, Any]:
    """A copy with every list of one value per image or scan point cut."""
    result = dict(model)
    for name, value in model.items():
        if name == "properties" and isinstance(value, dict):
            result[name] = _cut(value, images, n)
        elif isinstance(value, list) and name in _PER_IMAGE and len(value) == n:
            result[name] = value[images]
        elif isinstance(value, list) and name in _PER_POINT and len(value) == n + 1:
            result[name] = value[images.start : images.stop + 1]
    return result
