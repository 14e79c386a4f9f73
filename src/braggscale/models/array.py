"""The array model: grids in resolution and rotation, detector and rotation, and detector alone (as in XSCALE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from braggscale.models.component import Component
from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.kind import ModelKind, StoredSetting
from braggscale.models.restraints import Restraint, grid_unevenness, ridge, roughness
from braggscale.models.settings import ModelSettings, SweepFacts, finest_curve, fixed_components
from braggscale.models.smooth import Axis, Smooth, axis_over, binned_parameters, smooth_spacing
from braggscale.options.model_options.array import ArrayModel
from braggscale.options.model_options.record import corrections_of

# Grid points without reflections (corners of the detector) get the value of their neighbours. Two grids can share a
# factor (any function of rotation); weak restraints of both towards 1 determine its division between them. These are
# the strengths of fixed restraints.
GRID_ROUGHNESS = 100.0  # 1/0.1^2 on differences of neighbours
GRID_RIDGE = 10.0  # 1/0.3^2
START_GRID = 100.0  # where estimated strengths start: neighbours differ by 10 %

# Margins around the data, so that the largest value falls inside the last bin.
RESOLUTION_MARGIN = 1e-6  # 1/Angstrom^2
PIXEL_MARGIN = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySettings(ModelSettings):
    """``decay``, ``absorption``, ``modulation``: components that the model has.

    ``decay_interval``: spacing of the grids along the rotation, degrees.  Bins: intervals along 1/d^2, and along x and
    along y of the detector.
    """

    model: ClassVar[str] = "array"

    decay: bool
    absorption: bool
    modulation: bool
    decay_interval: float
    n_resolution_bins: int
    n_absorption_bins: int
    n_modulation_bins: int


def settle(options: ArrayModel, facts: SweepFacts, estimate: bool) -> tuple[ArraySettings, list[str]]:
    """Settings of a sweep.  ``estimate``: whether the data determine the strengths of restraints.

    No grid has more points than the sweep has reflections: it has fewer intervals then than the options say.
    """
    interval = max(options.decay_interval, finest_curve(facts))
    n_time = smooth_spacing(max(facts.oscillation_range, 1e-9), facts.image_width, interval)[0]
    resolution = _bounded(options.n_resolution_bins, 1, n_time, facts.n_rows)
    absorption = _bounded(options.n_absorption_bins, 2, n_time, facts.n_rows)
    modulation = _bounded(options.n_modulation_bins, 2, 1, facts.n_rows)
    settings = ArraySettings(
        decay=options.decay_correction,
        absorption=options.absorption_correction,
        modulation=options.modulation_correction,
        decay_interval=interval,
        n_resolution_bins=resolution,
        n_absorption_bins=absorption,
        n_modulation_bins=modulation,
        fixed=fixed_components(corrections_of(ArrayModel), options.correction.fix, map_has_modules=False),
        estimated=corrections_of(ArrayModel) if estimate else (),
    )
    numbers = (
        ("n_resolution_bins", settings.decay, options.n_resolution_bins, resolution),
        ("n_absorption_bins", settings.absorption, options.n_absorption_bins, absorption),
        ("n_modulation_bins", settings.modulation, options.n_modulation_bins, modulation),
    )
    sentences = [
        f"{name} {n} instead of {wanted}: {facts.n_rows} reflections do not determine more"
        for name, used, wanted, n in numbers
        if used and n != wanted
    ]
    return settings, sentences


def _bounded(bins: int, dimensions: int, beside: int, n_rows: int) -> int:
    """Intervals of a grid along each of ``dimensions``, as many as given or as ``n_rows`` reflections allow.

    ``beside``: points along the other axis.  ``n_rows``: 0 where it is not known.
    """
    if not n_rows:
        return bins
    most = int((n_rows / beside) ** (1.0 / dimensions) + 1e-9)
    return min(bins, max(_bins(most), 1))


def build(settings: ArraySettings, extent: Extent) -> DataSetModel:
    """Components of a sweep, spaced by the settings.  See the guide for the meaning of each setting."""
    components: list[Component] = []
    configuration: dict[str, Any] = {"valid_osc_range": extent.oscillation}
    n_time, time_factor, spacing = smooth_spacing(extent.degrees, abs(extent.width), settings.decay_interval)
    time = axis_over("image", time_factor, *extent.image, n_time)
    if settings.decay or settings.absorption:
        configuration |= {"n_time_param": n_time, "time_norm_fac": time_factor, "time_rot_interval": spacing}
    if settings.decay:
        low, high = extent.inverse_d2[0] - RESOLUTION_MARGIN, extent.inverse_d2[1] + RESOLUTION_MARGIN
        width = (high - low) / settings.n_resolution_bins
        n_res = binned_parameters(settings.n_resolution_bins)
        resolution = axis_over("inverse_d2", 1.0 / width, *extent.inverse_d2, n_res)
        components.append(_grid("decay", (resolution, time), settings))
        configuration |= {"n_res_param": n_res, "resmin": low, "res_bin_width": width}
    if settings.absorption:
        x, y, detector = _detector(extent, settings.n_absorption_bins)
        components.append(_grid("absorption", (x, y, time), settings))
        configuration |= {"n_x_param": x.n, "n_y_param": y.n, **detector}
        configuration |= {"x_bin_width": 1.0 / x.factor, "y_bin_width": 1.0 / y.factor}
    if settings.modulation:
        x, y, detector = _detector(extent, settings.n_modulation_bins)
        components.append(_grid("modulation", (x, y), settings))
        configuration |= {"n_x_mod_param": x.n, "n_y_mod_param": y.n, **detector}
        configuration |= {"x_det_bin_width": 1.0 / x.factor, "y_det_bin_width": 1.0 / y.factor}
    if extent.images is not None:
        configuration["valid_image_range"] = list(extent.images)
    return DataSetModel(ArraySettings.model, tuple(components), configuration)


def _detector(extent: Extent, bins: int) -> tuple[Axis, Axis, dict[str, float]]:
    n = binned_parameters(bins)
    axes = []
    for coordinate, (low, high) in (("x", extent.x), ("y", extent.y)):
        width = (high - low + 2 * PIXEL_MARGIN) / bins
        axes.append(axis_over("x" if coordinate == "x" else "y", 1.0 / width, low, high, n))
    return axes[0], axes[1], {"xmin": extent.x[0] - PIXEL_MARGIN, "ymin": extent.y[0] - PIXEL_MARGIN}


def _grid(name: str, axes: tuple[Axis, ...], settings: ArraySettings) -> Smooth:
    shape = tuple(axis.n for axis in axes)
    if name in settings.estimated:
        return Smooth(name, axes, restraints=(grid_unevenness(f"array {name}", shape, START_GRID),))
    bare = Smooth(name, axes)
    smooth: Restraint = roughness(shape, GRID_ROUGHNESS, order=1)
    return Smooth(name, axes, restraints=(smooth, ridge(bare.n_parameters, GRID_RIDGE, 1.0)))


def _bins(n_parameters: int) -> int:
    """The inverse of smooth.binned_parameters."""
    return n_parameters - 2 if n_parameters > 3 else n_parameters - 1


ARRAY = ModelKind(
    options=ArrayModel,
    settings=ArraySettings,
    settle=settle,
    build=build,
    at_least_one_of=("decay", "absorption"),
    stored=(
        StoredSetting("time_rot_interval", "decay_interval", 1e-3, 1e5),
        StoredSetting("n_res_param", "n_resolution_bins", 2, 1000, of_stored=_bins),
        StoredSetting("n_x_param", "n_absorption_bins", 2, 1000, of_stored=_bins),
        StoredSetting("n_x_mod_param", "n_modulation_bins", 2, 1000, of_stored=_bins),
    ),
)
