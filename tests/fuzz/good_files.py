"""Small good inputs of every kind, as bytes and as the values that they are made of."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any

import gemmi
import h5py
import io_samples
import numpy as np

from braggscale.cli import main
from braggscale.data.symmetry import Symmetry
from braggscale.io import open_inputs
from braggscale.io.file_kind import open_source
from braggscale.io.refl_msgpack import read_table

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ("nproc=1", "restraints=fixed", "model=KB", "output.html=None")
SCALED = ("scaled.expt", "scaled.refl", "scale.json")

Columns = dict[str, tuple[str, Any]]


@cache
def columns(every: int = 31) -> Columns:
    """Some hundred rows of the two sweeps of the example, those of every thirty-first unique reflection."""
    data = open_inputs([str(EXAMPLES / f"simulated.{kind}") for kind in ("expt", "refl")])
    symmetry = Symmetry.from_hall(data.data_sets[0].experiment.crystal.hall)
    found: dict[str, tuple[str, list[Any]]] = {}
    for data_set in data.data_sets:
        table = data_set.table
        rows = np.flatnonzero((symmetry.asu(table["miller_index"])[0] @ [7, 131, 1009]) % every == 3)
        for name, column in table.columns.items():
            found.setdefault(name, (column.tag, []))[1].append(table[name][rows])
    return {name: (tag, np.concatenate(parts)) for name, (tag, parts) in found.items()}


@cache
def experiments() -> bytes:
    """The example's experiment list."""
    return (EXAMPLES / "simulated.expt").read_bytes()


@cache
def scaled() -> dict[str, bytes]:
    """What scaling the small table gives, by name."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("in.expt").write_bytes(experiments())
        Path("in.refl").write_bytes(io_samples.refl(columns(), {0: "0", 1: "1"}))
        if main(["-q", "in.expt", "in.refl", *QUICK]):
            raise RuntimeError("the undamaged files cannot be scaled")
        return {name: Path(name).read_bytes() for name in SCALED}


@cache
def scaled_columns() -> Columns:
    """The columns of the scaled table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scaled.refl"
        path.write_bytes(scaled()["scaled.refl"])
        table = read_table(open_source(str(path)))
        return {name: (column.tag, np.array(column.load())) for name, column in table.columns.items()}


@cache
def summary() -> dict[str, Any]:
    """The summary of a run."""
    found: dict[str, Any] = json.loads(scaled()["scale.json"])
    return found


@cache
def free_flags() -> bytes:
    """An MTZ file with free flags."""
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = gemmi.SpaceGroup("P 21 21 21")
    mtz.set_cell_for_all(gemmi.UnitCell(14.8454, 18.2599, 22.8619, 90, 90, 90))
    mtz.add_dataset("x")
    mtz.add_column("FreeR_flag", "I")
    hkl = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[1:]
    mtz.set_data(np.column_stack([hkl, np.arange(len(hkl)) % 20]).astype(np.float32))
    return bytes(mtz.write_to_bytes())


def hdf5(table: Columns, identifiers: dict[int, str]) -> bytes:
    """A table in the layout of DIALS' HDF5 files; a column that has no such form is written as it comes."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        group = file.create_group("dials/processing/group_0")
        group.attrs["identifiers"] = np.array(
            [text.replace("\0", "~") for text in identifiers.values()], dtype=h5py.string_dtype()
        )
        group.attrs["experiment_ids"] = np.array(list(identifiers), dtype=np.uint64)
        for name, (tag, values) in table.items():
            array = np.frombuffer(values[1], np.uint8) if isinstance(values, tuple) else np.asarray(values)
            group.create_dataset(name, data=array.reshape(-1, 3, 3) if tag == "mat3<double>" else array)
    return out.getvalue()


def packed(data: bytes) -> bytes:
    """Gzip."""
    return gzip.compress(data, 1, mtime=0)
