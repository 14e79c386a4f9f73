"""The experiment list that goes with the reflections: the JSON form that DIALS 3.12 and later read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulation.geometry import (
    AXIS,
    HALF_SIZE,
    N_SIGMA,
    PIXEL,
    POLARIZATION_FRACTION,
    POLARIZATION_NORMAL,
    SENSOR_MU,
    SENSOR_THICKNESS,
    TO_SOURCE,
    Geometry,
)

if TYPE_CHECKING:
    from simulation.design import Plan
    from simulation.trouble import Trouble

_IMAGESET: dict[str, Any] = {
    "mask": None,
    "gain": None,
    "pedestal": None,
    "dx": None,
    "dy": None,
    "params": {"dynamic_shadowing": "Auto", "multi_panel": False},
}


def write(path: Path, geometry: Geometry, plans: Sequence[Plan], hall: str, troubles: Sequence[Trouble]) -> None:
    """Write the list, with the axes of the indexing that ``troubles`` say; beam, detector, goniometer and profile are
    shared where they are equal.
    """
    still = plans[0].still
    fixed = [plan.fixed.reshape(-1).tolist() for plan in plans]
    goniometers: list[list[float]] = []
    for matrix in fixed:
        if matrix not in goniometers:
            goniometers.append(matrix)
    experiments: list[dict[str, Any]] = []
    crystals, scans, imagesets = [], [], []
    for i, plan in enumerate(plans):
        entry: dict[str, Any] = {
            "__id__": "Experiment",
            "identifier": plan.identifier,
            "beam": 0,
            "detector": 0,
        }
        # sweeps of one crystal keep a crystal each: scaling programs may refine its cell per sweep
        entry |= {"crystal": i, "profile": 0, "imageset": i}
        if still:
            imagesets.append({"__id__": "ImageSet", "images": [f"simulated_{i + 1:05d}.cbf"], **_IMAGESET})
        else:
            entry |= {"goniometer": goniometers.index(fixed[i]), "scan": i}
            imagesets.append({"__id__": "ImageSequence", "template": f"simulated_{i + 1}_####.cbf", **_IMAGESET})
            scans.append(_scan(plan))
        crystals.append(_crystal(plan, geometry, hall, troubles[i]))
        experiments.append(entry)
    document = {
        "__id__": "ExperimentList",
        "experiment": experiments,
        "imageset": imagesets,
        "beam": [_beam(geometry)],
        "detector": [_detector(geometry)],
        "goniometer": [] if still else [_goniometer(matrix) for matrix in goniometers],
        "scan": scans,
        "crystal": crystals,
        "profile": [_profile(geometry, still)],
        "scaling_model": [],
    }
    path.write_text(json.dumps(document, indent=1 if len(plans) < 10 else None))


def _beam(geometry: Geometry) -> dict[str, Any]:
    return {
        "direction": TO_SOURCE.tolist(),
        "wavelength": geometry.wavelength,
        "divergence": 0.0,
        "sigma_divergence": 0.0,
        "polarization_normal": POLARIZATION_NORMAL.tolist(),
        "polarization_fraction": POLARIZATION_FRACTION,
        "flux": 0.0,
        "transmission": 1.0,
    }


def _detector(geometry: Geometry) -> dict[str, Any]:
    def frame(**changes: Any) -> dict[str, Any]:
        base: dict[str, Any] = {
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
        }
        return base | changes

    panel = frame(
        name="Panel",
        type="SENSOR_PAD",
        slow_axis=[0.0, -1.0, 0.0],
        origin=[-HALF_SIZE, HALF_SIZE, -geometry.distance],
        image_size=[geometry.pixels, geometry.pixels],
        pixel_size=[PIXEL, PIXEL],
        trusted_range=[-1.0, 1e6],
        thickness=SENSOR_THICKNESS,
        material="Si",
        mu=SENSOR_MU,
        mask=[list(gap) for gap in geometry.gaps],
    )
    return {"panels": [panel], "hierarchy": frame(children=[{"panel": 0}])}


def _goniometer(fixed: list[float]) -> dict[str, Any]:
    return {
        "rotation_axis": AXIS.tolist(),
        "fixed_rotation": fixed,
        "setting_rotation": np.eye(3).reshape(-1).tolist(),
    }


def _scan(plan: Plan) -> dict[str, Any]:
    return {
        "image_range": [1, plan.n_images],
        "batch_offset": 0,
        "oscillation": [plan.start, plan.width],
        "exposure_time": [0.1] * plan.n_images,
        "epochs": [round(0.1 * i, 3) for i in range(plan.n_images)],
        "valid_image_ranges": {},
    }


def _crystal(plan: Plan, geometry: Geometry, hall: str, trouble: Trouble) -> dict[str, Any]:
    a, b, c = trouble.axes(plan).tolist()
    entry: dict[str, Any] = {
        "__id__": "crystal",
        "real_space_a": a,
        "real_space_b": b,
        "real_space_c": c,
        "space_group_hall_symbol": hall,
    }
    if plan.still:
        entry["ML_half_mosaicity_deg"] = float(np.degrees(geometry.still_mosaic))
        entry["ML_domain_size_ang"] = 1.0 / geometry.still_width
    return entry


def _profile(geometry: Geometry, still: bool) -> dict[str, Any]:
    sigma = geometry.still_mosaic if still else geometry.sigma_m
    return {
        "__id__": "gaussian_rs",
        "n_sigma": N_SIGMA,
        "sigma_b": 0.02,
        "sigma_m": float(np.degrees(sigma)),
    }
