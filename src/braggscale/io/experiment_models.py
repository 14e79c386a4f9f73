"""Experiments out of a JSON experiment list, in every form that DIALS has written since 2017.

Only what scaling needs is interpreted. Nothing that the file names (masks, images, other JSON files) is opened.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from braggscale.data import geometry
from braggscale.data.experiment import Beam, Crystal, Experiment, Goniometer, Panel, Scan
from braggscale.errors import InputError
from braggscale.io.file_kind import Source, available_memory
from braggscale.io.model_limits import (
    LEAST_VOLUME,
    LIMITS,
    MOST_IMAGES,
    SHORTEST_CELL_AXIS,
    SHORTEST_VECTOR,
    WIDEST_IMAGE,
)
from braggscale.io.new_experiments import UNKNOWN_PANEL
from braggscale.numerics.array_types import Float
from braggscale.run_warnings import Code, warn

log = logging.getLogger(__name__)

# These are always lists of models; so is any other list to which experiments refer by number.
_MODELS = ("imageset", "beam", "detector", "goniometer", "scan", "crystal", "profile", "scaling_model")
# Parsed JSON takes about this many times the memory of its text.
_JSON_GROWTH = 10
# How far a matrix in the file may be from a rotation.
_ROTATION_TOLERANCE = 1e-4

Ranges = tuple[tuple[int, int], ...]


def load_json(source: Source) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError if it is not an object, too deep, or too large for the memory."""
    if len(source.data) * _JSON_GROWTH > available_memory():
        raise InputError(f"{source.path}: {len(source.data)} bytes of JSON do not fit into memory")
    try:
        data = json.loads(str(source.data, "utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{source.path}: damaged JSON in line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{source.path}: not UTF-8 at byte {error.start}") from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"{source.path}: JSON that cannot be read: {str(error)[:80]}") from None
    if not isinstance(data, dict):
        raise InputError(f"{source.path}: the JSON is not an object")
    return data


def model_lists(data: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The lists that experiments refer to by position."""
    names = {key for entry in data["experiment"] for key, value in entry.items() if type(value) is int}
    return {
        name: value
        for name, value in data.items()
        if isinstance(value, list) and name != "experiment" and (name in _MODELS or name in names)
    }


def experiments_of(path: str, data: Mapping[str, Any]) -> tuple[Experiment, ...]:
    """All experiments of a document. Raises InputError naming file, experiment and entry if one is damaged."""
    entries = data.get("experiment")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: there is no list of experiments")
    if not entries:
        raise InputError(f"{path}: the list of experiments is empty")
    reader = _Reader(path, data)
    experiments = tuple(reader.experiment(k, entry) for k, entry in enumerate(entries))
    seen: dict[str, int] = {}
    for k, experiment in enumerate(experiments):
        name = experiment.identifier
        if name and seen.setdefault(name, k) != k:
            raise InputError(f"{path}: experiments {seen[name]} and {k} have the same identifier {name!r}")
    return experiments


def is_text(value: Any) -> bool:
    """Whether this is a text that UTF-8 can represent; JSON may contain single surrogates, which it cannot."""
    try:
        return isinstance(value, str) and bool(value.encode() or True)
    except UnicodeEncodeError:
        return False


def _short(value: Any) -> str:
    """A value from a file for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Reader:
    """Interprets the models of one document; each is interpreted only once."""

    def __init__(self, path: str, data: Mapping[str, Any]) -> None:
        self.path = path
        self.data = data
        self.lists = model_lists(data)
        self.made: dict[tuple[str, int], Any] = {}

    def damaged(self, where: str, what: str) -> InputError:
        return InputError(f"{self.path}: {where}: {what}")

    def model(self, where: str, entry: Mapping[str, Any], name: str) -> tuple[int, Mapping[str, Any]] | None:
        """Position and entry of the model that an experiment refers to; None for no model."""
        index = self.index(where, entry, name)
        if index is None or self.data[name][index] is None:
            return None
        value = self.data[name][index]
        if not isinstance(value, dict):
            raise self.damaged(f"{name} {index}", "not an object")
        return index, value

    def index(self, where: str, entry: Mapping[str, Any], name: str) -> int | None:
        """The position that an experiment gives for a model; None for no model."""
        index = entry.get(name)
        if index is None:
            return None
        if isinstance(index, str):
            raise self.damaged(
                where,
                f"its {name} is in another file, {index[:80]!r}, which is not opened; "
                "join the files with dials.combine_experiments first",
            )
        models = self.data.get(name)
        n = len(models) if isinstance(models, list) else 0
        if type(index) is not int or not 0 <= index < n:
            raise self.damaged(where, f"it refers to {name} {_short(index)}, but the file has {n} (counted from 0)")
        return index

    def once(self, where: str, entry: Mapping[str, Any], name: str, make: Any) -> Any:
        """The interpreted model, made at its first use."""
        referred = self.model(where, entry, name)
        if referred is None:
            return None
        key = (name, referred[0])
        if key not in self.made:
            self.made[key] = make(f"{name} {referred[0]}", referred[1])
        return self.made[key]

    def experiment(self, k: int, entry: Mapping[str, Any]) -> Experiment:
        where = f"experiment {k}"
        identifier = entry.get("identifier") or ""
        if not isinstance(identifier, str):
            raise self.damaged(where, f"its identifier {_short(identifier)} is not a text")
        if not is_text(identifier):
            raise self.damaged(where, f"its identifier {_short(identifier)} cannot be written as UTF-8")
        beam = self.once(where, entry, "beam", self.beam)
        crystal = self.once(where, entry, "crystal", self.crystal)
        if beam is None or crystal is None:
            raise self.damaged(where, f"it has no {'beam' if beam is None else 'crystal'}; is it indexed?")
        scan = self.scan(where, entry, identifier)
        scaling = self.model(where, entry, "scaling_model")
        for name in {*self.lists, *_MODELS}:
            self.index(where, entry, name)
        if scan is not None:
            self.check_scan_points(where, entry, scan)
        return Experiment(
            identifier,
            beam,
            crystal,
            self.once(where, entry, "goniometer", self.goniometer),
            scan,
            self.once(where, entry, "detector", self.detector) or (),
            None if scaling is None else dict(scaling[1]),
        )

    def beam(self, where: str, entry: Mapping[str, Any]) -> Beam:
        if "wavelength" not in entry:
            raise self.damaged(where, "no wavelength; polychromatic (Laue) beams cannot be scaled here")
        beam = Beam(self.direction(where, entry, "direction"), self.number(where, entry, "wavelength"))
        if entry.get("polarization_fraction") is not None:
            beam = replace(beam, polarisation_fraction=self.number(where, entry, "polarization_fraction"))
        if entry.get("polarization_normal") is not None:
            x, y, z = self.direction(where, entry, "polarization_normal").tolist()
            beam = replace(beam, polarisation_normal=(x, y, z))
        return beam

    def goniometer(self, where: str, entry: Mapping[str, Any]) -> Goniometer:
        if "axes" in entry:
            axes, angles, scan_axis = entry["axes"], entry.get("angles"), entry.get("scan_axis")
            if not isinstance(axes, list) or not isinstance(angles, list) or len(axes) != len(angles):
                raise self.damaged(where, "axes and angles are not lists of equal length")
            if type(scan_axis) is not int or not 0 <= scan_axis < len(axes):
                raise self.damaged(where, f"scan_axis {scan_axis!r} is none of its {len(axes)} axes")
            units = [self.vector(where, {"axes": axis}, "axes", 3) for axis in axes]
            if any(np.linalg.norm(axis) < SHORTEST_VECTOR for axis in units):
                raise self.damaged(where, "an axis of length 0")
            degrees = [self.number(where, {"angles": angle}, "angles") for angle in angles]
            return geometry.several_axes(np.array(units), degrees, scan_axis)
        return Goniometer(
            self.direction(where, entry, "rotation_axis"),
            self.rotation(where, entry, "fixed_rotation"),
            self.rotation(where, entry, "setting_rotation"),
        )

    def scan(self, where: str, experiment: Mapping[str, Any], identifier: str) -> Scan | None:
        """Not shared between experiments: each has its own valid image ranges."""
        referred = self.model(where, experiment, "scan")
        if referred is None:
            return None
        where, entry = f"scan {referred[0]}", referred[1]
        image_range = self.image_range(where, entry.get("image_range"))
        n_images = image_range[1] - image_range[0] + 1
        if n_images > MOST_IMAGES:
            raise self.damaged(where, f"{n_images} images are more than any scan has ({MOST_IMAGES})")
        offset = entry.get("batch_offset", 0)
        if type(offset) is not int:
            raise self.damaged(where, f"batch_offset {offset!r} is not a whole number")
        self.number(where, {"batch_offset": offset}, "batch_offset")
        return Scan(
            image_range,
            self.oscillation(where, entry, n_images),
            offset,
            self.valid_ranges(where, entry.get("valid_image_ranges"), identifier, image_range),
        )

    def oscillation(self, where: str, entry: Mapping[str, Any], n_images: int) -> tuple[float, float]:
        """Start and width in degrees, from the form until 2023 or today's."""
        properties = entry.get("properties")
        if not isinstance(properties, dict):
            start, width = self.vector(where, entry, "oscillation", 2)
            return float(start), self.image_width(where, float(width))
        if "time_of_flight" in properties:
            raise self.damaged(where, "time-of-flight data cannot be scaled here")
        if "oscillation" not in properties:
            return 0.0, 0.0
        starts = self.vector(where, properties, "oscillation", n_images)
        if n_images > 1:
            return float(starts[0]), self.image_width(where, float(starts[1] - starts[0]))
        width = self.vector(where, properties, "oscillation_width", 1)[0] if "oscillation_width" in properties else 0.0
        return float(starts[0]), float(width)

    def image_width(self, where: str, degrees: float) -> float:
        """The rotation of one image; refuses a width that no image has."""
        if abs(degrees) > WIDEST_IMAGE:
            raise self.damaged(where, f"images of {degrees:g} degrees; no image is wider than {WIDEST_IMAGE:g}")
        return degrees

    def image_range(self, where: str, value: Any) -> tuple[int, int]:
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not all(type(image) is int for image in value)
            or value[0] > value[1]
        ):
            raise self.damaged(where, f"{_short(value)} is not a range of images, first and last")
        self.vector(where, {"image_range": value}, "image_range", 2)
        return value[0], value[1]

    def valid_ranges(self, where: str, value: Any, identifier: str, images: tuple[int, int]) -> Ranges:
        """The images in use for one experiment."""
        if value is None:
            return ()
        if not isinstance(value, dict):
            raise self.damaged(where, "valid_image_ranges is not an object")
        own = value.get(identifier) or []
        if not isinstance(own, list):
            raise self.damaged(where, f"valid_image_ranges of {identifier!r} is not a list")
        ranges = tuple(self.image_range(where, item) for item in own)
        for first, last in ranges:
            if first < images[0] or last > images[1]:
                raise self.damaged(
                    where,
                    f"valid images {first}-{last} of {identifier!r} are outside the scan, {images[0]}-{images[1]}",
                )
        return ranges

    def crystal(self, where: str, entry: Mapping[str, Any]) -> Crystal:
        axes = np.array([self.vector(where, entry, f"real_space_{name}", 3) for name in "abc"])
        volume = abs(float(np.linalg.det(axes)))
        lengths = np.linalg.norm(axes, axis=1)
        if not volume > LEAST_VOLUME * float(np.prod(lengths)) or lengths.min() < SHORTEST_CELL_AXIS:
            raise self.damaged(where, "its axes do not span a cell")
        hall = entry.get("space_group_hall_symbol")
        if not isinstance(hall, str):
            raise self.damaged(where, "no space_group_hall_symbol")
        cell = geometry.unit_cell(axes)
        if entry.get("recalculated_unit_cell") is not None:
            a, b, c, alpha, beta, gamma = map(float, self.vector(where, entry, "recalculated_unit_cell", 6))
            cell = (a, b, c, alpha, beta, gamma)
            if max(cell[3:]) >= 180 or not geometry.relative_volume(cell) > LEAST_VOLUME:
                raise self.damaged(where, f"recalculated_unit_cell {cell} is no unit cell")
        return Crystal(axes, hall, cell)

    def check_scan_points(self, where: str, entry: Mapping[str, Any], scan: Scan) -> None:
        """Warns of a wrong number of orientations at scan points; they are not used, but the file may be damaged."""
        referred = self.model(where, entry, "crystal")
        points = referred[1].get("A_at_scan_points") if referred else None
        if isinstance(points, list) and len(points) not in (0, scan.n_images + 1):
            warn(
                log,
                Code.SCAN_POINTS,
                f"{self.path}: {where}: {len(points)} crystal orientations for {scan.n_images} images; "
                "one more than images is usual",
            )

    def detector(self, where: str, entry: Mapping[str, Any]) -> tuple[Panel, ...]:
        """All panels in the laboratory frame; none if the file has no geometry for them."""
        panels = entry.get("panels")
        if not isinstance(panels, list) or not all(isinstance(panel, dict) for panel in panels):
            raise self.damaged(where, "no list of panels")
        if any(panel.get("name") == UNKNOWN_PANEL for panel in panels):
            return ()
        needed = ("fast_axis", "slow_axis", "origin", "pixel_size", "image_size")
        if any(panel.get(name) is None for panel in panels for name in needed):
            return ()
        frames = self.frames(where, entry.get("hierarchy"), len(panels))
        return tuple(self.panel(f"{where}, panel {k}", panel, frames[k]) for k, panel in enumerate(panels))

    def panel(self, where: str, entry: Mapping[str, Any], parent: tuple[Float, Float]) -> Panel:
        turn, shift = parent
        nx, ny = self.vector(where, entry, "image_size", 2)
        px, py = self.vector(where, entry, "pixel_size", 2)
        return Panel(
            turn @ self.direction(where, entry, "fast_axis"),
            turn @ self.direction(where, entry, "slow_axis"),
            turn @ self.vector(where, entry, "origin", 3) + shift,
            (float(px), float(py)),
            (int(nx), int(ny)),
            self.masked(where, entry.get("mask")),
        )

    def masked(self, where: str, rectangles: Any) -> tuple[tuple[int, int, int, int], ...]:
        if not isinstance(rectangles or [], list):
            raise self.damaged(where, "mask is not a list of rectangles")
        return tuple(self.rectangle(where, item) for item in rectangles or [])

    def rectangle(self, where: str, item: Any) -> tuple[int, int, int, int]:
        x0, y0, x1, y1 = self.vector(where, {"mask": item}, "mask", 4)
        return int(x0), int(y0), int(x1), int(y1)

    def frames(self, where: str, root: Any, n_panels: int) -> list[tuple[Float, Float]]:
        """For each panel, the frame that it is given in: the axes of its group as columns, and the group's origin.

        Groups are given in the frames of their parents. Without a hierarchy panels are in the laboratory frame.
        """
        frames = [(np.eye(3), np.zeros(3))] * n_panels
        todo: list[tuple[Any, Float, Float]] = [] if root is None else [(root, np.eye(3), np.zeros(3))]
        seen: set[int] = set()
        while todo:
            node, turn, shift = todo.pop()
            if not isinstance(node, dict):
                raise self.damaged(where, "a group of panels is not an object")
            if "panel" in node:
                k = node["panel"]
                if type(k) is not int or not 0 <= k < n_panels or k in seen:
                    raise self.damaged(where, f"the hierarchy names panel {k!r}, of {n_panels}, wrongly or twice")
                seen.add(k)
                frames[k] = turn, shift
                continue
            if node.get("fast_axis") is not None:
                fast = self.direction(where, node, "fast_axis")
                slow = self.direction(where, node, "slow_axis")
                shift = turn @ self.vector(where, node, "origin", 3) + shift
                turn = turn @ np.stack([fast, slow, np.cross(fast, slow)], axis=1)
            children = node.get("children") or []
            if not isinstance(children, list):
                raise self.damaged(where, "a group's children are not a list")
            todo += [(child, turn, shift) for child in children]
        return frames

    def number(self, where: str, entry: Mapping[str, Any], name: str) -> float:
        return float(self.vector(where, {name: [entry.get(name)]}, name, 1)[0])

    def vector(self, where: str, entry: Mapping[str, Any], name: str, n: int) -> Float:
        """A list of finite numbers."""
        value = entry.get(name)
        if not isinstance(value, list) or len(value) != n or not all(type(item) in (int, float) for item in value):
            raise self.damaged(where, f"{name} is not {'a number' if n == 1 else f'a list of {n} numbers'}")
        try:
            result = np.array(value, np.float64)
        except OverflowError:
            raise self.damaged(where, f"{name} has a number that is too large") from None
        if not np.isfinite(result).all():
            raise self.damaged(where, f"{name} has a number that is not finite")
        limits = LIMITS.get(name)
        if limits is not None and not (limits.low <= result.min() and result.max() <= limits.high):
            shown = _short(value[0] if n == 1 else value)
            raise self.damaged(where, f"{name} {shown} is outside the possible range, {limits.text()}")
        return result

    def direction(self, where: str, entry: Mapping[str, Any], name: str) -> Float:
        """A vector brought to length 1."""
        value = self.vector(where, entry, name, 3)
        if np.linalg.norm(value) < SHORTEST_VECTOR:
            raise self.damaged(where, f"{name} has length 0")
        return geometry.unit(value)

    def rotation(self, where: str, entry: Mapping[str, Any], name: str) -> Float:
        """A rotation matrix; the identity where the file has none."""
        if entry.get(name) is None:
            return np.eye(3)
        matrix = self.vector(where, entry, name, 9).reshape(3, 3)
        off = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
        if off > _ROTATION_TOLERANCE or np.linalg.det(matrix) < 0:
            raise self.damaged(where, f"{name} is not a rotation (off by {off:.1g})")
        return matrix
