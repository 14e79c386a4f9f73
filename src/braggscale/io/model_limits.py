"""Ranges for the numbers in an experiment list: one table with every entry that scaling reads.

The ranges are wide. They include the values of all instruments, and exclude those with which later arithmetic would
overflow or arrays would become much larger than the input.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Smallest and largest value of an entry, both included.  ``unit``: in words."""

    low: float
    high: float
    unit: str = ""

    def text(self) -> str:
        """For a message."""
        return f"{self.low:g} to {self.high:g} {self.unit}".rstrip()


_AXIS = Limits(-1e6, 1e6)
_COSINE = Limits(-1.01, 1.01)
_CELL_AXIS = Limits(-1e5, 1e5, "Angstrom")

LIMITS: dict[str, Limits] = {
    "wavelength": Limits(1e-3, 100.0, "Angstrom"),
    "direction": _AXIS,
    "polarization_fraction": Limits(0.0, 1.0),
    "polarization_normal": _AXIS,
    "rotation_axis": _AXIS,
    "fixed_rotation": _COSINE,
    "setting_rotation": _COSINE,
    "axes": _AXIS,
    "angles": Limits(-1e5, 1e5, "degrees"),
    "oscillation": Limits(-1e7, 1e7, "degrees"),
    "oscillation_width": Limits(-360.0, 360.0, "degrees"),
    "real_space_a": _CELL_AXIS,
    "real_space_b": _CELL_AXIS,
    "real_space_c": _CELL_AXIS,
    "recalculated_unit_cell": Limits(0.1, 1e5, "Angstrom or degrees"),
    "fast_axis": _AXIS,
    "slow_axis": _AXIS,
    "origin": Limits(-1e8, 1e8, "mm"),
    "pixel_size": Limits(1e-7, 1e3, "mm"),
    "image_size": Limits(1, 1e6, "pixels"),
    "mask": Limits(-1e7, 1e7, "pixels"),
    "image_range": Limits(-1e9, 1e9),
    "batch_offset": Limits(-1e9, 1e9),
}
# Vectors are scaled to length 1; the direction of a shorter one is not reliable.
SHORTEST_VECTOR = 1e-6
SHORTEST_CELL_AXIS = 0.1  # Angstrom
# If the sine of an angle, or that of the whole cell, is below this, the axes span no volume.
LEAST_VOLUME = 1e-6
# Ten times the length of the longest known scan; every image takes some memory.
MOST_IMAGES = 1_000_000
WIDEST_IMAGE = 360.0  # degrees
