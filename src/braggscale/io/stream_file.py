"""Streams of CrystFEL as text: the geometry, and of each crystal its lattice, its beam and its reflections.

    ----- Begin geometry file -----          name/key = value of each panel, key = value of all
    ----- Begin chunk -----                  an image: photon_energy_eV = ..., average_camera_length = ... m
    --- Begin crystal                        Cell parameters ... nm, ... deg; astar = x y z nm^-1; centering = C
    Reflections measured after indexing      h k l I sigma(I) peak background fs/px ss/px panel
    End of reflections

Directions are in CrystFEL's laboratory frame, z along the beam and y upwards. Source: CrystFEL's manual
(White et al., J. Appl. Cryst. 45 (2012) 335), real files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from braggscale.errors import InputError
from braggscale.io.model_limits import SHORTEST_CELL_AXIS
from braggscale.io.number_lines import read_number_lines
from braggscale.numerics.array_types import Float

_BEGIN_GEOMETRY, _END_GEOMETRY = b"----- Begin geometry file -----", b"----- End geometry file -----"
_BEGIN_CHUNK, _END_CHUNK = b"----- Begin chunk -----", b"----- End chunk -----"
_BEGIN_CRYSTAL, _END_CRYSTAL = b"--- Begin crystal", b"--- End crystal"
_REFLECTIONS, _END_REFLECTIONS = b"Reflections measured after indexing", b"End of reflections"
_ITEMS = ("h", "k", "l", "I", "sigma(I)", "peak", "background", "fs/px", "ss/px")
_SLOTS = (0, 1, 2, 3, 4, -1, -1, 5, 6)
_MOST_GEOMETRY = 1 << 22
_WIDEST_PANEL = 1e6  # pixels


@dataclass(frozen=True, slots=True)
class StreamPanel:
    """``fast``, ``slow``: steps of one pixel, in pixels, (3,).  ``corner``: of the first pixel, pixels, (2,).

    ``first``: fs and ss of the first pixel in the image; ``size``: in pixels.  ``resolution``: pixels per metre.
    ``offset``: added to the camera length, metres.
    """

    name: str
    fast: Float
    slow: Float
    corner: tuple[float, float]
    first: tuple[float, float]
    size: tuple[int, int]
    resolution: float
    offset: float
    saturation: float | None


@dataclass(frozen=True, slots=True)
class StreamCrystal:
    """One crystal.  ``reciprocal``: columns a*, b*, c*, 1/Angstrom, (3, 3).  ``table``: h k l I sigma fs ss, (7, n).

    ``panels``: name of the panel of each reflection; empty where the stream does not say.
    ``lattice``: type, centring and unique axis, "?" if unknown.  ``energy``: eV, ``camera``: metres, None if unknown.
    """

    line: int
    image: str
    reciprocal: Float
    table: Float
    panels: tuple[str, ...]
    lattice: tuple[str, str, str]
    energy: float | None
    camera: float | None


@dataclass(frozen=True, slots=True)
class Stream:
    """``n_images``: chunks in the file, with crystals or without."""

    panels: Mapping[str, StreamPanel]
    crystals: tuple[StreamCrystal, ...]
    n_images: int
    notes: tuple[str, ...] = field(default=())


def read_stream_file(path: str, data: memoryview) -> Stream:
    """Everything in a stream that scaling may use.

    Raises InputError for a stream that ends within a crystal, for a crystal without lattice, for damaged numbers.
    """
    text = _Text(path, data)
    panels: dict[str, StreamPanel] = {}
    begin = text.find(_BEGIN_GEOMETRY, 0)
    if begin >= 0:
        end = text.find(_END_GEOMETRY, begin)
        if end < 0:
            raise InputError(f"{path}: the geometry in the stream has no end; the file is cut short")
        panels = _panels(path, text.string(begin + len(_BEGIN_GEOMETRY), min(end, begin + _MOST_GEOMETRY)))
    crystals: list[StreamCrystal] = []
    n_images, position = 0, 0
    while (start := text.find(_BEGIN_CHUNK, position)) >= 0:
        end = text.find(_END_CHUNK, start)
        if end < 0:
            raise InputError(f"{path}: the stream ends within an image (line {text.line(start)}); it is cut short")
        crystals += _crystals(text, start, end)
        n_images += 1
        position = end + 1
    return Stream(panels, tuple(crystals), n_images)


class _Text:
    """The bytes of a file, with a search for text at the beginning of lines."""

    def __init__(self, path: str, data: memoryview) -> None:
        self.path, self.data = path, data
        self.bytes = data.obj if isinstance(data.obj, bytes) and len(data.obj) == len(data) else bytes(data)

    def find(self, what: bytes, start: int, stop: int | None = None) -> int:
        """The byte where ``what`` begins a line, -1 if it does not."""
        at = self.bytes.find(what, start, stop)
        while at > 0 and self.bytes[at - 1] != 10:
            at = self.bytes.find(what, at + 1, stop)
        return at

    def string(self, start: int, stop: int) -> str:
        return self.bytes[start:stop].decode("latin-1")

    def line(self, at: int) -> int:
        """Number of the line of a byte."""
        return self.bytes.count(b"\n", 0, at) + 1


def _crystals(text: _Text, start: int, end: int) -> Iterator[StreamCrystal]:
    """The crystals of a chunk."""
    first = text.find(_BEGIN_CRYSTAL, start, end)
    if first < 0:
        return
    about = text.string(start, first)
    energy = _number(about, r"^(?:hdf5\S*)?photon_energy_eV = ")
    camera = _number(about, r"^average_camera_length = ")
    image = re.search(r"^Image filename: (.*)$", about, re.MULTILINE)
    while first >= 0:
        last = text.find(_END_CRYSTAL, first, end)
        if last < 0:
            raise InputError(f"{text.path}: the crystal in line {text.line(first)} has no end; the stream is damaged")
        yield _crystal(text, first, last, energy, camera, image[1].strip() if image else "")
        first = text.find(_BEGIN_CRYSTAL, last, end)


def _crystal(
    text: _Text, start: int, end: int, energy: float | None, camera: float | None, image: str
) -> StreamCrystal:
    line = text.line(start)
    rows = text.find(_REFLECTIONS, start, end)
    stop = text.find(_END_REFLECTIONS, rows, end) if rows >= 0 else -1
    if rows >= 0 and stop < 0:
        raise InputError(f"{text.path}: the reflections of the crystal in line {line} have no end; the file is damaged")
    about = text.string(start, rows if rows >= 0 else end)
    axes = [_vector(about, f"{name}star") for name in "abc"]
    if any(axis is None for axis in axes):
        raise InputError(f"{text.path}: the crystal in line {line} has no lattice (astar, bstar, cstar)")
    reciprocal = np.array(axes, np.float64).T / 10.0
    if not (np.abs(reciprocal) < 1.0 / SHORTEST_CELL_AXIS).all() or not abs(np.linalg.det(reciprocal)) > 1e-12:
        raise InputError(f"{text.path}: the reciprocal axes of the crystal in line {line} do not span a lattice")
    table: Float = np.zeros((7, 0))
    panels: tuple[str, ...] = ()
    if rows >= 0:
        after = text.bytes.find(b"\n", rows, stop) + 1
        body = text.bytes.find(b"\n", after, stop) + 1 if after else 0
        if body:
            table = read_number_lines(text.path, text.data, body, stop, _SLOTS, _ITEMS)
            words = [row.split() for row in text.string(body, stop).splitlines() if row.strip()]
            if all(len(row) > 9 for row in words):
                panels = tuple(row[9] for row in words)
    lattice = tuple(_word(about, name) for name in ("lattice_type", "centering", "unique_axis"))
    return StreamCrystal(line, image, reciprocal, table, panels, (lattice[0], lattice[1], lattice[2]), energy, camera)


def _number(text: str, pattern: str) -> float | None:
    match = re.search(pattern + r"([-+0-9.eE]+)", text, re.MULTILINE)
    try:
        return float(match[1]) if match else None
    except ValueError:
        return None


def _word(text: str, name: str) -> str:
    match = re.search(rf"^{name} = (\S+)", text, re.MULTILINE)
    return match[1] if match else "?"


def _vector(text: str, name: str) -> list[float] | None:
    match = re.search(rf"^{name} = (\S+) (\S+) (\S+)", text, re.MULTILINE)
    try:
        values = [float(word) for word in match.groups()] if match else None
    except ValueError:
        return None
    return values if values is not None and np.isfinite(values).all() else None


# Geometry ---------------------------------------------------------------------------------------------------

_SHARED = ("res", "coffset", "max_adu", "clen")


def _panels(path: str, text: str) -> dict[str, StreamPanel]:
    """The panels that are fully described; bad regions and groups are not panels."""
    common: dict[str, str] = {}
    by_name: dict[str, dict[str, str]] = {}
    for raw in text.splitlines():
        key, equals, value = raw.split(";")[0].partition("=")
        key, value = key.strip(), value.strip()
        if not equals or key.startswith(("rigid_group", "group")):
            continue
        name, slash, entry = key.rpartition("/")
        if not slash:
            common[key] = value
        elif not name.startswith("bad"):
            # an entry for all panels applies to the panels that follow
            by_name.setdefault(name, dict(common))[entry] = value
    panels = {}
    for name, entries in by_name.items():
        panel = _panel(name, common | entries)
        if panel is not None:
            panels[name] = panel
    return panels


def _panel(name: str, entries: Mapping[str, str]) -> StreamPanel | None:
    try:
        low = [float(entries[f"min_{axis}"]) for axis in ("fs", "ss")]
        high = [float(entries[f"max_{axis}"]) for axis in ("fs", "ss")]
        corner = float(entries["corner_x"]), float(entries["corner_y"])
        resolution = float(entries["res"])
        offset = float(entries.get("coffset", "0").split()[0])
        limit = float(entries["max_adu"]) if "max_adu" in entries else None
    except (KeyError, ValueError, IndexError):
        return None
    fast, slow = _direction(entries.get("fs", "")), _direction(entries.get("ss", ""))
    if fast is None or slow is None or not resolution > 0 or not np.isfinite([resolution, *corner, offset]).all():
        return None
    if not all(0.0 <= last - first < _WIDEST_PANEL for first, last in zip(low, high, strict=True)):
        return None
    size = int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1
    return StreamPanel(name, fast, slow, corner, (low[0], low[1]), size, resolution, offset, limit)


def _direction(text: str) -> Float | None:
    """A direction such as -0.005x +0.999y -0.001z, (3,); None if the text is not one."""
    vector = np.zeros(3)
    parts = re.findall(r"([-+]?\s*[0-9.]*(?:[eE][-+]?[0-9]+)?)\s*([xyz])", text)
    for number, axis in parts:
        number = number.replace(" ", "")
        try:
            vector["xyz".index(axis)] = float(number + "1" if number in ("", "+", "-") else number)
        except ValueError:
            return None
    return vector if np.linalg.norm(vector) > 0 else None
