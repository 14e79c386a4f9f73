"""Scaling, and the methods of a finished run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from braggscale.api.data import READING, Data, refuse
from braggscale.api.report import Report
from braggscale.api.tables import Curve, MergedData, ObservationTable, image_numbers
from braggscale.data.experiment import Still
from braggscale.errors import CommandError, DataError
from braggscale.export_files import export_result, export_settings, result_crystals
from braggscale.io import Input
from braggscale.io.atomic_files import commit, pending
from braggscale.io.export.export import ExportData
from braggscale.io.export.registry import EXPORTS
from braggscale.io.image_names import image_names
from braggscale.io.output_paths import path_problems
from braggscale.io.splitting import split_sweeps
from braggscale.models.curves import curve, is_curve
from braggscale.numerics.array_types import Float
from braggscale.numerics.partitions import available_processors, threads
from braggscale.numerics.timing import Clock
from braggscale.options.assignments import Settings
from braggscale.options.definitions import export_definitions
from braggscale.options.keywords import assignments_of, settled
from braggscale.options.phil import Assignment
from braggscale.options.schema import Options
from braggscale.report.read_summary import read_summary
from braggscale.report.summary import summary
from braggscale.report.summary_document import Summary
from braggscale.report.text.log import log_result
from braggscale.run_warnings import Warned, warnings_heard
from braggscale.scale_files import kept_before, scale_input
from braggscale.scaled_output import ScaledOutput, scaled_output, stored_models_with_cell, write_pair
from braggscale.scaling.result import Result
from braggscale.statistics.merging_statistics import Statistics

log = logging.getLogger(__name__)

# Options of the command that name files; from Python they are arguments of methods.
_PATHS = ("output.experiments", "output.reflections", "output.log", "output.json", "output.html", "report.compare")


@dataclass(frozen=True, slots=True)
class Component:
    """One correction of one data set, as it was fitted.

    ``data_set``: identifier.  ``name``: scale, decay, absorption, ...  ``parameters``: (n,), ``esd``: their standard
    deviations, (n,), None if the run had no full matrix.  ``images``: first and last image in use, (0, 0) for a
    still.
    """

    data_set: str
    name: str
    parameters: Float
    esd: Float | None
    images: tuple[int, int]
    evaluate: Callable[[Float], tuple[Float, Float | None]] | None

    def __repr__(self) -> str:
        return f"<braggscale.Component: {self.name} of data set {self.data_set}, {len(self.parameters)} parameters>"

    def curve(self, images: Sequence[float] | Float | None = None) -> Curve:
        """The correction along the images: inverse scale factor of a scale, B in Angstrom^2 of a decay.

        ``images``: numbers of images, (n,), whole numbers for their middle; None for every image in use.
        Raises DataError for a component that is not a curve: a surface, a map of the detector, or one effect per image.
        """
        if self.evaluate is None:
            raise DataError(
                f"the component {self.name} of data set {self.data_set} is not a curve along the images; its "
                "parameters are there, and run.observations has the scale of every observation"
            )
        first, last = self.images
        number = np.arange(first, last + 1, dtype=np.float64) if images is None else np.asarray(images, np.float64)
        value, esd = self.evaluate(number - 0.5)
        return Curve(number, value, esd)


class Run:
    """The results of scaling.  ``scale`` returns it."""

    def __init__(
        self,
        data: Data,
        source: Input,
        made: Sequence[Assignment],
        settings: Settings,
        result: Result,
        warned: Sequence[Warned] = (),
    ) -> None:
        """``data``: as the caller gave them, ``source``: as scaling got them.  ``made``: assignments of options.

        ``warned``: warnings of reading and scaling.
        """
        self.warnings = tuple(warned)
        self.data, self._source, self._made, self._settings, self._result = data, source, tuple(made), settings, result

    def __repr__(self) -> str:
        n, sets = len(self._result.data.rows), len(self._result.used)
        r_meas = "" if self.statistics is None else f", R_meas {self.statistics.overall.r_meas:.4f}"
        return f"<braggscale.Run: {n} observations of {sets} data set{'s' * (sets != 1)}{r_meas}>"

    # Results

    @property
    def options(self) -> Options:
        """All options of the run."""
        return self._settings.options

    @property
    def statistics(self) -> Statistics | None:
        """Merging statistics, overall and by resolution; None if nothing could be merged."""
        return self._result.statistics

    @property
    def unit_cell(self) -> tuple[float, float, float, float, float, float]:
        """Of the run, Angstrom and degrees."""
        return self._result.cell

    @property
    def space_group(self) -> str:
        """Hermann-Mauguin symbol."""
        return str(self._result.symmetry)

    @property
    def identifiers(self) -> list[str]:
        """Of the data sets that were scaled; those that were left out are missing."""
        return [one.identifier for one in self._result.used]

    @cached_property
    def observations(self) -> ObservationTable:
        """Every observation that was scaled, including outliers."""
        result = self._result
        rows, state, scaled = result.data.rows, result.scaled.state, result.scaled
        still = np.array([one.experiment.is_still for one in result.used])
        g = np.where(state.scale > 0, state.scale, np.nan)
        return ObservationTable(
            data_set=np.array(self.identifiers)[rows.data_set],
            hkl=rows.hkl,
            asu=result.data.asu,
            friedel_minus=result.data.minus,
            d=rows.d,
            intensity=state.values.intensity / g,
            sigma=np.sqrt(scaled.variance) / g,
            scale=state.scale,
            scale_sigma=np.sqrt(scaled.scale_variance),
            outlier=state.rejected,
            image=image_numbers(rows.xyz[:, 2], still[rows.data_set]),
            x=rows.xyz[:, 0],
            y=rows.xyz[:, 1],
            partiality=rows.partiality,
        )

    def components(self, name: str | None = None) -> list[Component]:
        """The corrections of all data sets, or those with this name, in the order of the data sets.

        Raises CommandError for a name that no data set has.
        """
        chosen = [component for component in self._components() if name in (None, component.name)]
        if not chosen:
            names = ", ".join(dict.fromkeys(component.name for component in self._components()))
            raise CommandError(f"there is no component {name!r}; this run has {names}")
        return chosen

    def _components(self) -> Iterator[Component]:
        result = self._result
        theta, covariance = result.scaled.outcome.theta, result.scaled.outcome.covariance
        for d, component, where in result.model.parts():
            kind = result.used[d].experiment.kind
            images = (0, 0)
            if not isinstance(kind, Still):
                runs = kind.scan.valid_image_ranges or (kind.scan.image_range,)
                images = runs[0][0], runs[-1][1]

            def evaluate(
                image: Float, component: Any = component, where: slice = where, d: int = d
            ) -> tuple[Float, Float | None]:
                """Values of the component at images, and their standard deviations."""
                block = None if covariance is None else covariance.part(where)
                return curve(component, theta[where], block, image, d)

            yield Component(
                data_set=result.used[d].identifier,
                name=component.name,
                parameters=theta[where].copy(),
                esd=None if result.esd is None else result.esd[where].copy(),
                images=images,
                evaluate=evaluate if is_curve(component) else None,
            )

    def merge(self, anomalous: bool = False, wavelength: int | None = None) -> MergedData:
        """One intensity for each unique reflection, as the export ``merged_mtz`` writes it.

        ``anomalous``: with means of both Friedel mates.  ``wavelength``: number of the wavelength, from 1, if there
        are several.  Raises CommandError for a number that does not exist.
        """
        with self._threads():
            sets = self._export_data.sets
        if wavelength is None and len(sets) > 1 or wavelength is not None and not 1 <= wavelength <= len(sets):
            shown = ", ".join(f"{k} ({one.wavelength:.5f} Angstrom)" for k, one in enumerate(sets, 1))
            raise CommandError(f"wavelength={wavelength}: choose one of {shown}")
        crystals = self._export_data.crystals
        return MergedData.of(sets[(wavelength or 1) - 1], crystals.symmetry, crystals.cell, anomalous)

    # Files

    def write(self, experiments: str | os.PathLike[str], reflections: str | os.PathLike[str]) -> None:
        """Write scaled data for DIALS and for scaling again; both files, or none.

        Raises CommandError for paths that cannot be written, OutputError where writing fails.
        """
        targets = os.fspath(experiments), os.fspath(reflections)
        _check([("experiments", targets[:1]), ("reflections", targets[1:])], self.data.files)
        keep = kept_before(*targets, self._source, self._result)
        with self._threads(), pending() as pairs:
            pairs += write_pair(self._output, *targets)
            commit(pairs, keep)

    def export(self, **options: Any) -> None:
        """Write files of other programs: ``merged_mtz=``, ``unmerged_mtz=``, ``shelx=`` and so on, as ``scale export``.

        ``options``: those of ``scale export``; options that are not given have their values in the run.
        Raises CommandError for a wrong option or path, OutputError naming the files that could not be written.
        """
        made = assignments_of(options)
        settled(made, export_definitions())
        values: Options = settled([*self._made, *made]).options
        paths = values.output.exports
        if not paths:
            raise CommandError(f"nothing to export: name at least one of {', '.join(f'{name}=' for name in EXPORTS)}")
        _check([(name, EXPORTS[name].names(path)) for name, path in paths.items()], self.data.files)
        with self._threads():
            export_result(self._result, values, self._output.document, self._output.columns)

    def report(self, compare: Run | str | os.PathLike[str] | None = None) -> Report:
        """Figures and tables as one page, the content of ``scale.html``; a notebook shows it.

        ``compare``: another run, or the ``scale.json`` of one, to be shown beside this.
        Raises InputError for a file that is not such a summary.
        """
        from braggscale.report.page.html import report_html  # takes time that other runs need not spend

        other: Summary | None = None
        label = ""
        if isinstance(compare, Run):
            other, label = compare.summary, "the other run"
        elif compare is not None:
            label = os.fspath(compare)
            other = read_summary(label)
        return Report(report_html(self.summary, other, label), self.summary)

    @cached_property
    def summary(self) -> Summary:
        """All numbers of the run, the content of ``scale.json``."""
        settings = self._settings
        command = {
            "arguments": [made.origin for made in self._made],
            "files": list(self.data.files),
            "modified": settings.modified.splitlines(),
            "notes": list(settings.notes),
        }
        with self._threads():
            images = image_names(self._source.document.data)
            seconds = dict(self._result.seconds)
            return summary(self._result, settings.options, command, seconds, self.warnings, images)

    @cached_property
    def _output(self) -> ScaledOutput:
        return scaled_output(self._source, self._result)

    @cached_property
    def _export_data(self) -> ExportData:
        output = self._output
        crystals = result_crystals(self._result, self.options, output.document, output.columns)
        return ExportData(crystals, export_settings(self.options.output), None)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        with threads(self.options.nproc or available_processors()):
            yield


def scale(data: Data, *, start: Run | None = None, **options: Any) -> Run:
    """Put the data on one common scale.

    ``options``: those of the command ``scale``, under the same names (``d_min=1.2``, ``restraints="fixed"``,
    ``physical__lmax=6``), without those that name files.
    ``start``: an earlier run whose models, error model and intensity choice are the starting point; all observations
    are tested for outliers anew.  Its data sets are found by their identifiers.
    Raises CommandError that lists all wrong options, and DataError if the data cannot be scaled.
    """
    made = assignments_of(options)
    names = {*_PATHS, *(f"output.{name}" for name in EXPORTS)}
    refuse(made, lambda path: path not in names, "files are written by run.write, run.export and run.report")
    refuse(
        made,
        lambda path: not path.startswith(READING) or path == "input.accept",
        "an option of reading; give it to braggscale.read",
    )
    every = [*data.excluded, *made]
    settings = settled(every)
    values: Options = settings.options
    for note in settings.notes:
        log.info(note)
    source = data.input if start is None else _started(data.input, start)
    with threads(values.nproc or available_processors()), warnings_heard() as warned:
        source = split_sweeps(source, values.split_at)
        source, result = scale_input(source, values, Clock())
        log_result(result, values.anomalous)
    return Run(data, source, every, settings, result, (*data.warnings, *warned))


def _started(data: Input, start: Run) -> Input:
    """The data with the models of an earlier run."""
    result = start._result
    models: Mapping[str, Any] = dict(zip(start.identifiers, stored_models_with_cell(result), strict=True))
    if not any(data_set.identifier in models for data_set in data.data_sets):
        raise CommandError(
            f"start: none of these data sets is in that run, which has {', '.join(start.identifiers[:12])}"
        )
    data_sets = tuple(
        replace(one, experiment=replace(one.experiment, scaling_model=models.get(one.identifier)))
        for one in data.data_sets
    )
    return replace(data, data_sets=data_sets)


def _check(wanted: Sequence[tuple[str, Sequence[str]]], inputs: Sequence[str]) -> None:
    """Raises CommandError that lists all problems of the paths."""
    if problems := path_problems(wanted, inputs):
        raise CommandError("\n".join(problems))
