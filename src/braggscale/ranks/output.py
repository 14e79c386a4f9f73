"""What a run over ranks writes: scaled pairs by all ranks, merged data, log and summary by the first.

Every file is written beside its target. When all ranks have done so, the first one renames all of them: all or nothing.
A scaled pair belongs to one input file, so that it is the same for any number of ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from braggscale.data.experiment import Still
from braggscale.data.flags import Fate
from braggscale.data.sorting import UsedDataSet
from braggscale.data.symmetry import Symmetry
from braggscale.io.atomic_files import write_text
from braggscale.io.experiment_list import imageset_numbers, to_text
from braggscale.io.export.export import numbered
from braggscale.io.run_stamp import stamp_of
from braggscale.io.table_writer import write_table
from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.kb import BEYOND_DIALS, KBSettings, build
from braggscale.models.stored_model import OWN_ENTRY, with_run
from braggscale.numerics.array_types import Float
from braggscale.ranks.crystal_rows import order_of
from braggscale.ranks.detector import DetectorMap
from braggscale.ranks.errors import scale_variance
from braggscale.ranks.means import RankData
from braggscale.ranks.merging import least_scales
from braggscale.ranks.packing import packed
from braggscale.ranks.plan import RanksPlan
from braggscale.ranks.reading import Census, PreparedUnit, prepared_units
from braggscale.ranks.reflections import places
from braggscale.ranks.rounds import RanksScaled
from braggscale.scaled_output import ScaledRows, columns_of, document_of
from braggscale.scaling.previous_run import OutlierLimits, stored_entry
from braggscale.weighting.expected_variance import VarianceModel

Pairs = list[tuple[str, str]]  # (temporary file, target), for atomic_files.commit


@dataclass(frozen=True, slots=True)
class ScaledFiles:
    """What all scaled files have in common.

    ``experiments``, ``reflections``: their names without the number of the input file.  ``time``: of the run.
    ``n_units``: input files of all ranks.
    """

    experiments: str
    reflections: str
    time: str
    n_units: int

    def names(self, number: int) -> tuple[str, str]:
        """Names of the pair of one input file, experiments first."""
        text = f"{number + 1:0{max(4, len(str(self.n_units)))}d}"
        return numbered(self.experiments, text), numbered(self.reflections, text)


def write_scaled(
    data: RankData, inputs: Census, plan: RanksPlan, scaled: RanksScaled, operators: Mapping[int, str],
    files: ScaledFiles, pairs: Pairs,
) -> None:  # fmt: skip
    """Write the scaled pairs of this rank beside their targets, and put them into ``pairs``; one file at a time.

    ``operators``: of data sets that were reindexed, by number.
    """
    first = 0
    run = stamp_of([_common(plan, scaled)])
    for one in prepared_units(data.ranks, inputs, plan, operators):
        used = [data_set for data_set in one.data_sets if isinstance(data_set, UsedDataSet)]
        kept = [k for k in range(len(used)) if not data.rows.lost[first + k]]
        pairs += _write(data, inputs, plan, scaled, files, one, [(used[k], first + k) for k in kept], run)
        first += len(used)


def _common(plan: RanksPlan, scaled: RanksScaled) -> dict[str, Any]:
    """What makes one run different from another."""
    model, limits = scaled.model, plan.outliers
    values = [model.a, model.b, model.c, scaled.strengths.scale, scaled.strengths.decay, float(scaled.mean.sum())]
    return {"values": values, "zmax": limits.zmax}


def _write(
    data: RankData, inputs: Census, plan: RanksPlan, scaled: RanksScaled, files: ScaledFiles, one: PreparedUnit,
    used: Sequence[tuple[UsedDataSet, int]], run: int,
) -> Pairs:  # fmt: skip
    """Temporary names and names of the files.  ``used``: data sets of the unit, and their places in this rank."""
    if not used:
        return []
    experiments, reflections = files.names(one.unit.number)
    final: list[UsedDataSet] = []
    rows: list[ScaledRows] = []
    models: list[dict[str, Any]] = []
    for data_set, c in used:
        values, fate = _scaled_rows(data, inputs.symmetry, plan, scaled, data_set, c)
        final.append(replace(data_set, number=data_set.number - one.first, fate=fate))
        rows.append(values)
        model = _model(plan, scaled, data.detector, data_set, c)
        if models:  # what all data sets share is stored once in a file
            model = {name: value for name, value in model.items() if name not in BEYOND_DIALS}
        models.append(with_run(model, inputs.cell, run))
    document = document_of(one.data, final, models, files.time)
    columns = columns_of(final, rows, run, imageset_numbers(document))
    tables = [data_set.usable.table for data_set in final]
    identifiers = {data_set.data_set.id: data_set.identifier for data_set in final}
    return [
        (write_table(reflections, tables, columns, identifiers, {"shoebox"}), reflections),
        (write_text(experiments, to_text(document)), experiments),
    ]


def _scaled_rows(
    data: RankData, symmetry: Symmetry, plan: RanksPlan, scaled: RanksScaled, data_set: UsedDataSet, c: int
) -> tuple[ScaledRows, np.ndarray]:
    """The rows of crystal ``c`` as they are written, and the fates of its input rows."""
    rows, crystals, observations = data.rows, scaled.crystals, data_set.usable.observations
    row = observations.row[order_of(packed(*symmetry.asu(observations.hkl)))]
    part = slice(int(rows.starts[c]), int(rows.starts[c + 1]))
    n = part.stop - part.start
    s, k = rows.s[part], crystals.k[c]
    g = k * np.exp(crystals.b[c] * s)
    of_scale = scale_variance(g, s, np.full(n, k), np.tile(scaled.covariance[c], (n, 1)))
    a2, b2, linear = (np.array([term]) for term in scaled.model.terms)
    a2 = a2 * crystals.factors[c]
    relative = rows.relative[part].astype(np.float64) if len(rows.relative) else np.zeros(0)
    model = VarianceModel(
        rows.intensity[part], rows.variance[part], rows.factor[part].astype(np.float64), np.zeros(n, np.int32),
        crystals.gain[c : c + 1], crystals.floor[c : c + 1], a2, b2, linear, relative,
    )  # fmt: skip
    expected: Float = g * scaled.mean[places(rows.number[part], data.apart)]
    x = rows.intensity[part] / np.where(g > 0, g, 1.0)
    of_scale_alone = x**2 * of_scale
    variance = (model if plan.estimated else model.observed()).at(expected) + of_scale_alone
    observed = model.observed().at(model.intensity) + of_scale_alone
    fate = data_set.fate.copy()
    in_table = data_set.usable.kept[row]
    fate[in_table[rows.out[part]]] = Fate.OUTLIER
    fate[in_table[~(g >= least_scales(data, scaled, plan.small_scale_cutoff)[c])]] = Fate.SCALE_TOO_SMALL
    # the rows were divided by the response of the detector
    v = np.ones(n) if data.detector is None else data.detector.response(part)
    return ScaledRows(row, rows.intensity[part] * v, variance * v**2, observed * v**2, g * v, of_scale * v**2), fate


def _model(
    plan: RanksPlan, scaled: RanksScaled, detector: DetectorMap | None, data_set: UsedDataSet, c: int
) -> dict[str, Any]:
    """The model of crystal ``c`` as it is stored with its experiment."""
    names = ("scale", "decay", "modulation") if detector else ("scale", "decay")
    settings = KBSettings(
        scale=True, decay=True, modulation=detector is not None, estimated=names if plan.estimated else ()
    )
    kind = data_set.experiment.kind
    nowhere = (0.0, 0.0)
    images = None if isinstance(kind, Still) else (kind.scan.valid_image_ranges or (kind.scan.image_range,))
    extent = Extent(
        nowhere, nowhere, nowhere, nowhere, images=None if images is None else (images[0][0], images[-1][1]),
        detector=None if detector is None else detector.detector.size,
        modules=None if detector is None else detector.edges,
    )  # fmt: skip
    model: DataSetModel = build(settings, extent)
    covariance = scaled.covariance[c]
    error = replace(scaled.model, a=scaled.model.a * float(np.sqrt(scaled.crystals.factors[c])))
    extra: dict[str, Any] = {
        "error_model_type": "BasicErrorModel",
        "error_model_parameters": [error.a, error.b],
    }
    if error.c > 0:
        extra["error_model_linear_term"] = error.c
    theta = [scaled.crystals.k[c : c + 1], scaled.crystals.b[c : c + 1]]
    esd = [np.sqrt(covariance[0:1]), np.sqrt(covariance[2:3])]
    if detector is not None:
        theta += [detector.theta[where] for where, _ in detector.parts]
        esd += [detector.esd[where] for where, _ in detector.parts]
    stored = model.to_dict(theta, esd, extra, _strengths(scaled, detector) if plan.estimated else None)
    limits = OutlierLimits(plan.outliers.method, plan.outliers.zmax, plan.outliers.emax or 0.0, plan.apart)
    return stored | {OWN_ENTRY: stored_entry(settings, limits)}


def _strengths(scaled: RanksScaled, detector: DetectorMap | None) -> dict[str, float]:
    found = {"scale level": scaled.strengths.scale, "decay level": scaled.strengths.decay}
    return found if detector is None else found | detector.strengths
