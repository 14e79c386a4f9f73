"""The story of a run: choose, prepare, sort, model, fit in rounds, judge, merge.

``run`` takes what was read and the options, and returns a Result that the writers and reports use. No file is opened
or written here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from braggscale import assembly, exclusion
from braggscale.arrays import Array, Bool, Float
from braggscale.assembly import Member, Sorted
from braggscale.errors import DataError
from braggscale.experiments import Experiment
from braggscale.fitting import FitSettings
from braggscale.flags import Fate
from braggscale.geometry import UnitCell, largest_scattering_angle
from braggscale.groups import Groups
from braggscale.models import build
from braggscale.models.data_set import DataSetModel, Extent
from braggscale.models.joint import JointModel
from braggscale.models.restart import start_parameters
from braggscale.parallel import available_processors
from braggscale.params import ModelSettings, Params, SweepFacts, resolve_model
from braggscale.preparation import Cuts
from braggscale.rounds import RoundSettings, Scaled, Start, Work, scale_data
from braggscale.selection import Draw, Limits, Pool, Selection, select
from braggscale.stats import Statistics
from braggscale.symmetry import Symmetry
from braggscale.table import DataSet
from braggscale.wilson import normalised_intensities

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Clock:
    """Seconds spent in each stage, in the order in which they began."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``."""
        begin = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - begin
            log.debug(f"{name}: {self.seconds[name]:.3f} s")
