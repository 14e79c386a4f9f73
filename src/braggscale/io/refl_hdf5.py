"""Reflection tables as HDF5, in the layout of DIALS 3.23 and later.

    /dials/<process>/group_N      attributes "identifiers" (texts) and "experiment_ids" (uint64)
        <column>                  one dataset each: (n,), (n, 2), (n, 3), (n, 6), (n, 3, 3)

The last child of /dials counts; its groups are tables of their own. Only plain datasets inside the file are read: no
links to other places, no external storage, no filters but gzip, LZF and shuffle.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import h5py as _h5py
import numpy as np

from braggscale.data.table import Column
from braggscale.errors import InputError
from braggscale.io.column_types import TYPES, FileTable, OutputColumn
from braggscale.io.file_kind import GZIP_RATIO, GZIP_SMALL, Source
from braggscale.numerics.array_types import Array
from braggscale.run_warnings import Code, warn

# The package carries no types.
h5py: Any = _h5py

log = logging.getLogger(__name__)

_MOST_OBJECTS = 1_000_000
# deflate, shuffle, fletcher32, LZF; numbers registered with the HDF Group.
_FILTERS = {1, 2, 3, 32000}
# From the type and shape of a dataset to the column's type.
_TAGS: dict[tuple[str, tuple[int, ...]], str] = {
    ("|b1", ()): "bool",
    ("<i4", ()): "int",
    ("<u8", ()): "std::size_t",
    ("<f8", ()): "double",
    ("<f8", (2,)): "vec2<double>",
    ("<f8", (3,)): "vec3<double>",
    ("<f8", (3, 3)): "mat3<double>",
    ("<i4", (6,)): "int6",
    ("<i4", (3,)): "cctbx::miller::index<>",
}


@dataclass(frozen=True, slots=True)
class _Dataset:
    """Gives a column out of an open file, for ``Column.load``."""

    dataset: Any
    where: str
    tag: str

    def __call__(self) -> Array:
        n = len(self.dataset)
        try:
            values: Array = np.asarray(self.dataset[()]).reshape(TYPES[self.tag].shape(n))
        except (OSError, RuntimeError) as error:
            raise InputError(f"{self.where}: damaged HDF5 dataset: {str(error)[:120]}") from None
        values.flags.writeable = False
        return values


def read_tables(source: Source) -> list[FileTable]:
    """All tables in a file. Columns stay in the file until they are asked for.

    Shoeboxes are left out, texts and unknown types with a warning.
    Raises InputError if the file is damaged or has another layout.
    """
    try:
        # Not from source.data: HDF5 seeks about and reads plain files faster by itself.
        file = h5py.File(_Bytes(source.data) if source.compressed else source.path, "r")
        process = _last_process(source.path, file)
        groups = [(name, _hard(source.path, process, name)) for name in process]
        tables = [
            _table(f"{source.path}{process.name}/{name}", group)
            for name, group in groups
            if isinstance(group, h5py.Group)
        ]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{source.path}: damaged HDF5 file: {str(error)[:120]}") from None
    if not tables:
        raise InputError(f"{source.path}: no reflection table in {process.name}")
    return tables


def write_hdf5(file: IO[bytes], n_rows: int, columns: Sequence[OutputColumn], identifiers: Mapping[int, str]) -> None:
    """Writes all rows as one group, columns in the order of their names."""
    with h5py.File(file, "w") as out:
        process = out.create_group("dials", track_order=True).create_group("processing", track_order=True)
        group = process.create_group("group_0", track_order=True)
        numbers = sorted(identifiers)
        group.attrs["identifiers"] = np.array([identifiers[k] for k in numbers], dtype=h5py.string_dtype())
        group.attrs["experiment_ids"] = np.array(numbers, dtype=np.uint64)
        for column in sorted(columns, key=lambda column: column.name):
            if column.tag not in TYPES:
                warn(
                    log,
                    Code.COLUMN_DROPPED,
                    f"column {column.name} is not written: HDF5 tables have no type {column.tag}",
                )
                continue
            row_shape = (3, 3) if column.tag == "mat3<double>" else column.row_shape
            dtype = np.dtype(np.bool_) if column.tag == "bool" else column.dtype
            dataset = group.create_dataset(column.name, (n_rows, *row_shape), dtype)
            start = 0
            for block in column.blocks():
                values = block != 0 if column.tag == "bool" else block
                dataset[start : start + len(block)] = values.reshape(len(block), *row_shape)
                start += len(block)


class _Bytes:
    """A read-only file over bytes in memory, without copying them."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.position = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, len(self.data))[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, target: memoryview) -> int:
        part = self.data[self.position : self.position + len(target)]
        target[: len(part)] = part
        self.position += len(part)
        return len(part)

    def read(self, n: int = -1) -> bytes:
        stop = len(self.data) if n < 0 else self.position + n
        part = bytes(self.data[self.position : stop])
        self.position += len(part)
        return part


def _hard(path: str, group: Any, name: str) -> Any:
    """A member of a group that lies in this file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{path}: {group.name}/{name} is a link to another place, which is not followed")
    return group[name]


def _last_process(path: str, file: Any) -> Any:
    """The last child of /dials."""
    root = _hard(path, file, "dials") if "dials" in file else None
    names = list(root) if isinstance(root, h5py.Group) else []
    process = _hard(path, root, names[-1]) if names else None
    if not isinstance(process, h5py.Group):
        raise InputError(f"{path}: an HDF5 file, but not with reflections as DIALS writes them (no /dials/*/group_*)")
    if len(process) > _MOST_OBJECTS:
        raise InputError(f"{path}: {len(process)} groups")
    return process


def _table(where: str, group: Any) -> FileTable:
    """One group as a table."""
    columns: dict[str, Column] = {}
    n_rows: int | None = None
    for name in group:
        item = _hard(where, group, name)
        if not isinstance(item, h5py.Dataset):
            if name != "shoebox":
                warn(log, Code.COLUMN_DROPPED, f"{where}: {name} is left out: it is not a column")
            continue
        properties = item.id.get_create_plist()
        filters = {properties.get_filter(k)[0] for k in range(properties.get_nfilters())}
        if item.is_virtual or item.external or not filters <= _FILTERS:
            raise InputError(f"{where}/{name}: stored outside the file or in a way that is not read")
        if item.ndim == 0:
            raise InputError(f"{where}/{name}: not a column")
        tag = _TAGS.get((item.dtype.str, item.shape[1:]))
        if tag is None:
            warn(log, Code.COLUMN_DROPPED, f"{where}: column {name} is dropped: its type {item.dtype} is not known")
            continue
        # chunks that were never written take no room in the file, but are zeros in memory
        if item.nbytes > max(GZIP_RATIO * item.id.get_storage_size(), GZIP_SMALL):
            raise InputError(f"{where}: column {name!r} claims {item.nbytes} bytes, far more than the file holds of it")
        n_rows = len(item) if n_rows is None else n_rows
        if len(item) != n_rows:
            raise InputError(f"{where}: column {name!r} has {len(item)} rows, others {n_rows}")
        columns[name] = Column(tag, _Dataset(item, f"{where}/{name}", tag))
    return FileTable(where, n_rows or 0, columns, _identifiers(where, group))


def _identifiers(where: str, group: Any) -> dict[int, str]:
    """The map from number to identifier."""
    names = np.atleast_1d(group.attrs.get("identifiers", [])).tolist()
    numbers = np.atleast_1d(group.attrs.get("experiment_ids", [])).tolist()
    if len(names) != len(numbers):
        raise InputError(f"{where}: {len(names)} identifiers for {len(numbers)} data sets")
    texts = [name.decode() if isinstance(name, bytes) else name for name in names]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(k, int) and k >= 0 for k in numbers):
        raise InputError(f"{where}: the identifiers are no texts, or their numbers no whole numbers")
    if len(set(texts)) != len(texts) or len(set(numbers)) != len(numbers):
        raise InputError(f"{where}: two data sets have the same identifier or number")
    return dict(zip(numbers, texts, strict=True))
