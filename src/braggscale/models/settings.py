"""The model of one data set with every automatic choice made, and the facts that the choice depends on."""

from __future__ import annotations

from dataclasses import dataclass

from braggscale.options.schema import ModelName


@dataclass(frozen=True, slots=True)
class SweepFacts:
    """What the choice of a model depends on.

    ``oscillation_range``: total rotation, degrees, without sign.  ``largest_angle``: between s0 and s1 over the
    usable reflections, degrees; None where it is not known.  ``single_panel``: the detector is one known panel.
    ``image_width``: degrees, without sign.  ``mosaicity``: sd of the rocking curve, degrees; 0 where it is not known.
    ``n_rows``: usable reflections.
    """

    identifier: str
    is_still: bool
    oscillation_range: float
    largest_angle: float | None = None
    single_panel: bool = False
    image_width: float = 0.0
    mosaicity: float = 0.0
    n_rows: int = 0


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The model of one data set with every Auto settled.

    ``scale``, ``decay``, ``absorption``, ``modulation``: components that the model has.  Intervals in degrees.
    Numbers that the model has no use for are 0.  ``fixed``: components that keep their values.
    ``estimated``: components whose restraints the data determine.
    """

    model: ModelName
    scale: bool
    decay: bool
    absorption: bool
    modulation: bool
    scale_interval: float
    decay_interval: float
    lmax: int
    surface_weight: float
    decay_restraint: float
    n_resolution_bins: int
    n_absorption_bins: int
    n_modulation_bins: int
    share_absorption: bool
    fixed: tuple[str, ...]
    estimated: tuple[str, ...] = ()
    image: bool = False
    image_interval: float = 1.0
