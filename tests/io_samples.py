"""Small files for the tests of reading and writing, made without the code under test."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

NAME = "dials::af::reflection_table"

# Tag, numpy type and parts of every column type.
TAGS = {
    "bool": ("?", 1),
    "int": ("<i4", 1),
    "std::size_t": ("<u8", 1),
    "double": ("<f8", 1),
    "vec2<double>": ("<f8", 2),
    "vec3<double>": ("<f8", 3),
    "mat3<double>": ("<f8", 9),
    "int6": ("<i4", 6),
    "cctbx::miller::index<>": ("<i4", 3),
}
CLASSES = {
    "bool": ("scitbx_array_family_flex_ext", "bool"),
    "int": ("scitbx_array_family_flex_ext", "int"),
    "std::size_t": ("scitbx_array_family_flex_ext", "size_t"),
    "double": ("scitbx_array_family_flex_ext", "double"),
    "vec2<double>": ("scitbx_array_family_flex_ext", "vec2_double"),
    "vec3<double>": ("scitbx_array_family_flex_ext", "vec3_double"),
    "mat3<double>": ("scitbx_array_family_flex_ext", "mat3_double"),
    "int6": ("dials_array_family_flex_ext", "int6"),
    "cctbx::miller::index<>": ("cctbx_array_family_flex_ext", "miller_index"),
}


def refl(
    columns: dict[str, tuple[str, Any]],
    identifiers: dict[Any, Any] | None = None,
    version: int = 1,
    n_rows: int | None = None,
    tail: bytes = b"",
) -> bytes:
    """A msgpack table.  ``columns``: name to (tag, array or (count, bytes))."""
    data = {}
    count = 0
    for name, (tag, values) in columns.items():
        if isinstance(values, tuple):
            count, raw = values
        else:
            count, raw = len(values), values.tobytes()
        data[name] = [tag, [count, raw]]
    header: dict[str, Any] = {"identifiers": identifiers or {}}
    header |= {"nrows": count if n_rows is None else n_rows, "data": data}
    return bytes(msgpack.packb([NAME, version, header], use_bin_type=True)) + tail


def simple_columns(ids: list[int], seed: int = 0) -> dict[str, tuple[str, Any]]:
    """A small plausible table with the given numbers in ``id``."""
    rng = np.random.default_rng(seed)
    n = len(ids)
    return {
        "id": ("int", np.array(ids, "<i4")),
        "flags": ("std::size_t", rng.integers(0, 1 << 40, n).astype("<u8")),
        "miller_index": ("cctbx::miller::index<>", rng.integers(-9, 9, (n, 3)).astype("<i4")),
        "d": ("double", rng.uniform(1, 9, n)),
        "s1": ("vec3<double>", rng.normal(size=(n, 3))),
    }


def experiment_list(n: int = 1, identifiers: list[str] | None = None, scan: bool = True) -> dict[str, Any]:
    """A document of n experiments, each with models of its own, in today's usual form."""
    names = [""] * n if identifiers is None else identifiers
    kinds = ["beam", "detector", "crystal", "imageset", "profile"] + (["goniometer", "scan"] if scan else [])
    entries = []
    for k, name in enumerate(names):
        entry: dict[str, Any] = {"__id__": "Experiment"}
        if name:
            entry["identifier"] = name
        entries.append(entry | dict.fromkeys(kinds, k))
    document = {
        "__id__": "ExperimentList",
        "experiment": entries,
        "imageset": [{"__id__": "ImageSequence", "template": f"/nowhere/{k}_###.cbf", "mask": None} for k in range(n)],
        "beam": [{"direction": [0.0, 0.0, 1.0], "wavelength": 1.0 + k / 100, "odd": [k, "x"]} for k in range(n)],
        "detector": [
            {
                "panels": [
                    {
                        "fast_axis": [1.0, 0.0, 0.0],
                        "slow_axis": [0.0, -1.0, 0.0],
                        "origin": [-50.0, 50.0, -100.0],
                        "pixel_size": [0.1, 0.1],
                        "image_size": [1000, 1000],
                    }
                ]
            }
            for _ in range(n)
        ],
        "goniometer": [
            {
                "rotation_axis": [1.0, 0.0, 0.0],
                "fixed_rotation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
                "setting_rotation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            }
            for _ in range(n)
        ],
        "scan": [
            {
                "image_range": [1, 100 + k],
                "batch_offset": 0,
                "oscillation": [10.0 * k, 0.5],
                "exposure_time": [0.1] * (100 + k),
                "epochs": [0.0] * (100 + k),
                "valid_image_ranges": {},
            }
            for k in range(n)
        ],
        "crystal": [
            {
                "__id__": "crystal",
                "real_space_a": [10.0 + k, 0.0, 0.0],
                "real_space_b": [0.0, 20.0, 0.0],
                "real_space_c": [0.0, 0.0, 30.0],
                "space_group_hall_symbol": " P 2 2",
            }
            for k in range(n)
        ],
        "profile": [{"__id__": "gaussian_rs", "n_sigma": 3.0, "sigma_b": 0.01, "sigma_m": 0.1} for _ in range(n)],
        "scaling_model": [],
    }
    return document


def put(folder: Path, name: str, content: bytes | dict[str, Any]) -> str:
    """Writes a file and returns its path."""
    path = folder / name
    path.write_bytes(json.dumps(content).encode() if isinstance(content, dict) else content)
    return str(path)


# Pickles, written opcode by opcode.


def whole(value: int) -> bytes:
    """One whole number in base 256."""
    digits = abs(value).to_bytes(9, "little").rstrip(b"\0")
    return bytes([(len(digits) + 1 if digits else 0) | (128 if value < 0 else 0)]) + digits


def real(value: float) -> bytes:
    """One real number in base 256."""
    if value == 0 or not math.isfinite(value):
        return b"\0"
    mantissa, exponent = math.frexp(abs(value))
    digits = int(math.ldexp(mantissa, 64)).to_bytes(8, "big").rstrip(b"\0")
    return bytes([(len(digits) + 1) | (128 if value < 0 else 0)]) + digits + whole(exponent)


def base256(tag: str, values: Any) -> bytes:
    """A whole column in base 256."""
    flat = np.asarray(values).ravel().tolist()
    if tag == "bool":
        body = b"".join(b"1" if value else b"0" for value in flat)
    else:
        body = b"".join((real if "double" in tag else whole)(value) for value in flat)
    return whole(len(values)) + body


def _global(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def _number(n: int) -> bytes:
    return b"J" + struct.pack("<i", n)


def _string(raw: bytes) -> bytes:
    return b"T" + struct.pack("<I", len(raw)) + raw


def pickled(
    columns: dict[str, tuple[str, Any]], identifiers: dict[int, str] | None = None, n_rows: int | None = None
) -> bytes:
    """A pickled table of protocol 2.  ``columns``: name to (tag, array or finished buffer)."""
    n = len(next(iter(columns.values()))[1]) if n_rows is None else n_rows
    out = b"\x80\x02" + _global("dials_array_family_flex_ext", "reflection_table") + b")R("
    if identifiers is None:
        out += b"K\x01"
    else:
        out += b"K\x02}(" + b"".join(_number(k) + _string(v.encode()) for k, v in identifiers.items()) + b"u"
    out += _number(n) + _number(len(columns)) + b"}("
    for name, (tag, values) in columns.items():
        buffer = values if isinstance(values, bytes) else base256(tag, values)
        out += _string(name.encode()) + _global(*CLASSES[tag]) + b")R"
        out += _global("scitbx_array_family_flex_ext", "grid") + b"K\x00\x85" + _number(n) + b"\x85\x88\x87R"
        out += _number(n) + b"\x85b" + _string(buffer) + b"\x86b"
    return out + b"utb."
