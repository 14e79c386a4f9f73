"""The model of one data set: its components, the ranges of its data, and the dictionary that is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braggscale.data.experiment import Panel, Scan
from braggscale.data.observations import ObservationGeometry
from braggscale.models.component import Component, shown
from braggscale.models.detector_modules import Edges, module_edges
from braggscale.numerics.array_types import Float


@dataclass(frozen=True, slots=True)
class Extent:
    """Smallest and largest coordinate of the usable observations, and the part of the scan in use.

    ``image``: array index.  ``x``, ``y``: pixels.  ``inverse_d2``: 1/Angstrom^2.
    ``images``: first and last image in use, None without a scan.  ``start``: degrees at the beginning of the
    first of them.  ``width``: degrees per image, with its sign.
    ``detector``: pixels of the detector's only panel, fast and slow; None if it has several or they are not known.
    ``modules``: edges of that panel's modules along x and y, pixels; None if it is one piece.
    ``axis``: of rotation, in the frame of Observations.s1c.  ``mosaicity``: sd of the rocking curve, degrees.
    ``dose_before``: images of the crystal before the array index 0 of each data set of the run, (n_data_sets,).
    """

    image: tuple[float, float]
    x: tuple[float, float]
    y: tuple[float, float]
    inverse_d2: tuple[float, float]
    images: tuple[int, int] | None = None
    start: float = 0.0
    width: float = 0.0
    detector: tuple[int, int] | None = None
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)
    mosaicity: float = 0.0
    modules: Edges | None = None
    dose_before: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        rows: ObservationGeometry,
        scan: Scan | None,
        panels: Sequence[Panel] = (),
        axis: tuple[float, float, float] = (0.0, 0.0, 1.0),
        mosaicity: float = 0.0,
    ) -> Extent:
        """Extent of one data set's rows."""
        detector = panels[0].image_size if len(panels) == 1 else None
        modules = modules_of(panels[0]) if len(panels) == 1 else None
        image, x, y = (_span(rows.xyz[:, k]) for k in (2, 0, 1))
        inverse_d2 = _span(1.0 / rows.d**2)
        if scan is None:
            return cls(image, x, y, inverse_d2, detector=detector, modules=modules)
        valid = scan.valid_image_ranges or (scan.image_range,)
        images = (valid[0][0], valid[-1][1])
        start = scan.oscillation[0] + (images[0] - scan.image_range[0]) * scan.oscillation[1]
        return cls(image, x, y, inverse_d2, images, start, scan.oscillation[1], detector, axis, mosaicity, modules)

    @property
    def degrees(self) -> float:
        """Oscillation range of the images in use."""
        if self.images is None:
            return 0.0
        return (self.images[1] - self.images[0] + 1) * abs(self.width)

    @property
    def oscillation(self) -> list[float]:
        """First and last angle of the images in use, degrees."""
        n = 0 if self.images is None else self.images[1] - self.images[0] + 1
        return [self.start, self.start + n * self.width]


def modules_of(panel: Panel) -> Edges | None:
    """Edges of the modules of a panel; None where it is one module."""
    edges = module_edges(panel.image_size, panel.masked)
    return edges if any(len(along) > 2 for along in edges) else None


def _span(values: Float) -> tuple[float, float]:
    return float(values.min()), float(values.max())


@dataclass(frozen=True, slots=True)
class DataSetModel:
    """``kind``: its name in ``MODELS``.  ``configuration``: entries of the stored dictionary beside the components.

    ``beyond_dials``: names of components that the DIALS model of the same name does not know.
    """

    kind: str
    components: tuple[Component, ...]
    configuration: Mapping[str, Any]
    beyond_dials: tuple[str, ...] = ()

    def to_dict(
        self,
        theta: list[Float],
        esd: list[Float] | None,
        extra: Mapping[str, Any],
        strengths: Mapping[str, float] | None = None,
    ) -> dict[str, Any]:
        """The dictionary that goes into the experiment list, in DIALS' form.

        ``theta``, ``esd``: one array per component; ``extra``: more configuration (error model, intensity choice).
        ``strengths``: of estimated restraints. They, and components that the DIALS model does not have, stand
        beside its components and not in the configuration. DIALS drops these entries when it writes a model, so
        they never contradict it.
        """
        stored: dict[str, Any] = {"__id__": self.kind}
        for k, component in enumerate(self.components):
            values = shown(component, theta[k])
            entry: dict[str, Any] = {
                "n_parameters": component.n_parameters,
                "parameters": values.tolist(),
                "null_parameter_value": float(shown(component, np.array([component.null]))[0]),
            }
            if esd is not None:
                factor = 1.0 if component.shown_less is None else values + component.shown_less
                entry["est_standard_devs"] = (esd[k] * factor).tolist()
            stored[component.name] = entry
        own = {kind for component in self.components for kind in (r.kind for r in component.restraints) if kind}
        if strengths and own:
            stored["estimated_strengths"] = {kind: float(strengths[kind]) for kind in sorted(own & set(strengths))}
        corrections = [c.name for c in self.components if c.name not in self.beyond_dials]
        stored["configuration_parameters"] = {"corrections": corrections, **self.configuration, **extra}
        return stored
