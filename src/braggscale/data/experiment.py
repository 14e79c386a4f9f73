"""The experiment as frozen values: beam, goniometer, scan, crystal, detector; independent of file formats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from braggscale.numerics.array_types import Float

# A scan whose images are narrower than this counts as a still (degrees; 1e-7 rad, the limit DIALS uses).
STILL_WIDTH = 5.73e-6


@dataclass(frozen=True, slots=True)
class Beam:
    """``direction``: unit vector from the sample to the source, (3,).  ``wavelength``: Angstrom.

    ``polarisation_fraction``: 0.5 for an unpolarised beam, 1 for a beam that is fully polarised in the plane whose
    unit normal is
    ``polarisation_normal``.
    """

    direction: Float
    wavelength: float
    polarisation_fraction: float = 0.999
    polarisation_normal: tuple[float, float, float] = (0.0, 1.0, 0.0)

    @property
    def s0(self) -> Float:
        """Incident beam vector, -direction/wavelength, (3,), 1/Angstrom."""
        return -self.direction / self.wavelength


@dataclass(frozen=True, slots=True)
class Goniometer:
    """R(phi) = setting . Rot(axis, phi) . fixed.  ``axis``: datum axis, (3,); the matrices: (3, 3)."""

    axis: Float
    fixed: Float
    setting: Float


@dataclass(frozen=True, slots=True)
class Scan:
    """``image_range``: first and last image, counted from 1.  ``oscillation``: start and width, degrees.

    ``valid_image_ranges``: the images in use, runs of (first, last); empty means all.
    """

    image_range: tuple[int, int]
    oscillation: tuple[float, float]
    batch_offset: int = 0
    valid_image_ranges: tuple[tuple[int, int], ...] = ()

    @property
    def n_images(self) -> int:
        """Number of images."""
        return self.image_range[1] - self.image_range[0] + 1

    @property
    def width(self) -> float:
        """Total oscillation range, degrees, with its sign."""
        return self.n_images * self.oscillation[1]


@dataclass(frozen=True, slots=True)
class Sweep:
    """A crystal that was rotated during each image by the width of the scan."""

    goniometer: Goniometer
    scan: Scan


@dataclass(frozen=True, slots=True)
class Still:
    """A crystal at rest.  ``scan``: gives the numbers of the images, if the file has one; None otherwise."""

    scan: Scan | None


@dataclass(frozen=True, slots=True)
class Crystal:
    """``real_space``: rows a, b, c, laboratory frame at zero rotation, (3, 3), Angstrom.

    ``hall``: Hall symbol.  ``unit_cell``: a b c alpha beta gamma, Angstrom and degrees; the recalculated one
    (for example from a cell refinement after integration) if the file has it.
    """

    real_space: Float
    hall: str
    unit_cell: tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """Laboratory frame. ``fast``, ``slow``: unit vectors, (3,).  ``origin``, ``pixel_size``: mm.

    ``masked``: rectangles without a signal (x0, y0, x1, y1), pixels, ends exclusive.
    """

    fast: Float
    slow: Float
    origin: Float
    pixel_size: tuple[float, float]
    image_size: tuple[int, int]
    masked: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Experiment:
    """Geometry of one data set.  ``scaling_model``: dictionary of the stored model, None if it is not scaled."""

    identifier: str
    beam: Beam
    crystal: Crystal
    goniometer: Goniometer | None = None
    scan: Scan | None = None
    panels: tuple[Panel, ...] = ()
    scaling_model: dict[str, Any] | None = None

    @property
    def kind(self) -> Sweep | Still:
        """An experiment without scan or goniometer, or with images of width 0, is a still."""
        if self.goniometer is None or self.scan is None or abs(self.scan.oscillation[1]) < STILL_WIDTH:
            return Still(self.scan)
        return Sweep(self.goniometer, self.scan)

    @property
    def is_still(self) -> bool:
        """Whether the crystal was at rest."""
        return isinstance(self.kind, Still)

    def with_images(self, in_use: tuple[tuple[int, int], ...]) -> Experiment:
        """The same with these images in use, runs of (first, last); a still is returned unchanged."""
        kind = self.kind
        return self if isinstance(kind, Still) else replace(self, scan=replace(kind.scan, valid_image_ranges=in_use))

    def with_batch_offset(self, offset: int) -> Experiment:
        """The same with this difference between batch and image numbers; a still is returned unchanged."""
        kind = self.kind
        return self if isinstance(kind, Still) else replace(self, scan=replace(kind.scan, batch_offset=offset))
