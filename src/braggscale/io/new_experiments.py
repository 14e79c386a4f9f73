"""Experiment lists for data that come without one.

A reader of another program's file describes a data set as a :class:`NewExperiment`; here it becomes the JSON that
DIALS' programs and the next run read. Entries that are not known are left out if the format allows that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from braggscale.data.geometry import UnitCell, orthogonalisation, unit
from braggscale.io.model_limits import LIMITS
from braggscale.numerics.array_types import Array, Float


@dataclass(frozen=True, slots=True)
class NewPanel:
    """A flat detector, laboratory frame.  ``fast``, ``slow``: unit vectors at right angles, (3,).

    ``origin``: of the first pixel's corner, (3,), mm; ``pixel_size``: mm; ``image_size``: pixels.
    ``saturation``: largest count that is trusted, None where it is not known.  ``mask``: rectangles x0, y0, x1, y1
    without a sensor, pixels, ends exclusive.
    """

    name: str
    fast: Array
    slow: Array
    origin: Array
    pixel_size: tuple[float, float]
    image_size: tuple[int, int]
    saturation: float | None = None
    mask: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class NewExperiment:
    """What is known of one data set.

    ``wavelength``: Angstrom, 0 where it is not known.  ``to_source``: from sample to source, any length, (3,).
    ``probe``: x-ray, electron or neutron.  ``cell``: a b c alpha beta gamma, Angstrom and degrees.
    ``hall``: Hall symbol of the space group.
    ``real_space``: rows a, b, c at scan angle zero, (3, 3), Angstrom.
    ``axis``: rotation axis, (3,), None for a still.  ``images``: first and last image, None for a still without number.
    ``oscillation``: start and width, degrees.
    ``orientations``: A at the boundaries of all images, (n_images + 1, 3, 3), 1/Angstrom, None where it is constant.
    ``polarisation``: fraction, and normal of the plane of polarisation, (3,); None where it is not known.
    ``sigma_m``, ``sigma_b``: standard deviations of rocking curve and beam divergence, degrees, 0 where not known.
    """

    identifier: str
    wavelength: float
    to_source: Array
    cell: UnitCell
    hall: str
    real_space: Array
    axis: Array | None = None
    images: tuple[int, int] | None = None
    oscillation: tuple[float, float] = (0.0, 0.0)
    orientations: Array | None = None
    panels: tuple[NewPanel, ...] = ()
    probe: str = "x-ray"
    polarisation: tuple[float, Array] | None = None
    sigma_m: float = 0.0
    sigma_b: float = 0.0
    images_in_use: tuple[tuple[int, int], ...] = field(default=())


# Name of a panel that takes the place of an unknown detector.
UNKNOWN_PANEL = "not known"
# DIALS' programs need a detector; its name says that it is unknown.
_NOT_KNOWN = (
    NewPanel(
        UNKNOWN_PANEL,
        np.array([1.0, 0.0, 0.0]),
        np.array([0.0, -1.0, 0.0]),
        np.array([-100.0, 100.0, -100.0]),
        (0.1, 0.1),
        (2000, 2000),
    ),
)


def experiment_list(experiments: Sequence[NewExperiment]) -> dict[str, Any]:
    """The experiments as an experiment list, ready for JSON. Equal beams and detectors are one entry each."""
    lists: dict[str, list[Any]] = {
        name: [] for name in ("imageset", "beam", "detector", "goniometer", "scan", "crystal", "profile")
    }
    places: dict[tuple[str, str], int] = {}
    entries = []
    for experiment in experiments:
        entry: dict[str, Any] = {"__id__": "Experiment", "identifier": experiment.identifier}
        for name, model in _models(experiment):
            # thousands of stills share one detector of many panels
            key = (name, str(id(experiment.panels or _NOT_KNOWN)) if name == "detector" else repr(model))
            if name not in ("beam", "detector") or key not in places:
                places[key] = len(lists[name])
                lists[name].append(model)
            entry[name] = places[key]
        entries.append(entry)
    return {"__id__": "ExperimentList", "experiment": entries, **lists, "scaling_model": []}


def _models(experiment: NewExperiment) -> list[tuple[str, dict[str, Any]]]:
    models = [("beam", _beam(experiment)), ("crystal", _crystal(experiment))]
    models.append(("detector", _detector(experiment.panels or _NOT_KNOWN)))
    if experiment.axis is not None:
        identity = np.eye(3).ravel().tolist()
        goniometer = {
            "rotation_axis": unit(experiment.axis).tolist(),
            "fixed_rotation": identity,
            "setting_rotation": identity,
        }
        models.append(("goniometer", goniometer))
    if experiment.images is not None:
        models.append(("scan", _scan(experiment, experiment.images)))
    # MTZ files have no divergence of the beam; programs of DIALS refuse a profile model whose widths are not both known
    if experiment.sigma_m > 0 and experiment.sigma_b > 0:
        profile = {
            "__id__": "gaussian_rs",
            "n_sigma": 3.0,
            "sigma_b": experiment.sigma_b,
            "sigma_m": experiment.sigma_m,
        }
        models.append(("profile", profile))
    return models


def _beam(experiment: NewExperiment) -> dict[str, Any]:
    direction = unit(experiment.to_source)
    fraction, normal = experiment.polarisation or (0.5, np.array([0.0, 1.0, 0.0]))
    # the normal of the polarisation plane must be perpendicular to the beam
    normal = np.asarray(normal, np.float64) - direction * float(np.dot(normal, direction))
    if np.linalg.norm(normal) < 1e-6:
        other = np.eye(3)[np.argmin(np.abs(direction))]
        normal = other - direction * float(np.dot(other, direction))
    return {
        "__id__": "monochromatic",
        "direction": direction.tolist(),
        "wavelength": float(experiment.wavelength),
        "divergence": 0.0,
        "sigma_divergence": 0.0,
        "polarization_normal": unit(normal).tolist(),
        "polarization_fraction": float(fraction),
        "flux": 0.0,
        "transmission": 1.0,
        "probe": experiment.probe,
    }


def _crystal(experiment: NewExperiment) -> dict[str, Any]:
    a, b, c = experiment.real_space.tolist()
    crystal: dict[str, Any] = {
        "__id__": "crystal",
        "real_space_a": a,
        "real_space_b": b,
        "real_space_c": c,
        "space_group_hall_symbol": experiment.hall,
        "recalculated_unit_cell": [float(x) for x in experiment.cell],
    }
    if experiment.orientations is not None:
        crystal["A_at_scan_points"] = experiment.orientations.reshape(-1, 9).tolist()
    return crystal


def _scan(experiment: NewExperiment, images: tuple[int, int]) -> dict[str, Any]:
    n = images[1] - images[0] + 1
    runs = {experiment.identifier: [list(run) for run in experiment.images_in_use]}
    return {
        "image_range": list(images),
        "batch_offset": 0,
        "oscillation": [float(x) for x in experiment.oscillation],
        "exposure_time": [0.0] * n,
        "epochs": [0.0] * n,
        "valid_image_ranges": runs if experiment.images_in_use else {},
    }


def _detector(panels: Sequence[NewPanel]) -> dict[str, Any]:
    return {"panels": [_panel(panel) for panel in panels], "hierarchy": _hierarchy(len(panels))}


def _panel(panel: NewPanel) -> dict[str, Any]:
    return {
        "name": panel.name,
        "type": "SENSOR_PAD",
        "fast_axis": unit(panel.fast).tolist(),
        "slow_axis": unit(panel.slow).tolist(),
        "origin": [float(x) for x in panel.origin],
        "raw_image_offset": [0, 0],
        "image_size": [int(n) for n in panel.image_size],
        "pixel_size": [float(x) for x in panel.pixel_size],
        "trusted_range": [-1.0, 1e9 if panel.saturation is None else float(panel.saturation)],
        "thickness": 0.0,
        "material": "",
        "mu": 0.0,
        "identifier": "",
        "mask": [list(rectangle) for rectangle in panel.mask],
        "gain": 1.0,
        "pedestal": 0.0,
        "px_mm_strategy": {"type": "SimplePxMmStrategy"},
    }


def _hierarchy(n_panels: int) -> dict[str, Any]:
    return {
        "name": "",
        "type": "",
        "fast_axis": [1.0, 0.0, 0.0],
        "slow_axis": [0.0, 1.0, 0.0],
        "origin": [0.0, 0.0, 0.0],
        "raw_image_offset": [0, 0],
        "image_size": [0, 0],
        "pixel_size": [0.0, 0.0],
        "trusted_range": [0.0, 0.0],
        "thickness": 0.0,
        "material": "",
        "mu": 0.0,
        "identifier": "",
        "mask": [],
        "gain": 1.0,
        "pedestal": 0.0,
        "px_mm_strategy": {"type": "SimplePxMmStrategy"},
        "children": [{"panel": k} for k in range(n_panels)],
    }


def standard_axes(cell: UnitCell) -> Float:
    """Rows a, b, c with a along x and b in the xy plane, (3, 3): for crystals whose orientation is not known."""
    return orthogonalisation(cell).T.copy()


def as_cell(numbers: Sequence[float]) -> UnitCell | None:
    """Six numbers as a unit cell, Angstrom and degrees; None where an edge is beyond its limits or no volume exists."""
    values, limits = np.asarray(numbers, np.float64), LIMITS["recalculated_unit_cell"]
    if values.shape != (6,) or not np.isfinite(values).all() or values[3:].min() <= 0 or values[3:].max() >= 180:
        return None
    if not (limits.low <= values[:3].min() and values[:3].max() <= limits.high):
        return None
    cosines = np.cos(np.deg2rad(values[3:]))
    if not 1 - np.sum(cosines**2) + 2 * np.prod(cosines) > 1e-6:
        return None
    a, b, c, alpha, beta, gamma = (float(x) for x in values)
    return a, b, c, alpha, beta, gamma
