"""The rows of one rank in compact columns, crystal by crystal, in memory or in files that are mapped."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from braggscale.errors import OutputError
from braggscale.numerics.array_types import Array, Bool, Float, Int, Int32, UInt
from braggscale.numerics.partitions import run_in_threads

# Bytes of a row: number 4, intensity, variance and s 8 each, factor, relative, weight and place 4 each, two marks.
ROW_BYTES = 46
# Crystals are gone over in so many parts: each is the work of one thread.
PARTS = 64
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Allocator:
    """Makes arrays, in memory or, where there is a ``folder``, in files in it.

    Such a file loses its name at once: the system removes it when the process ends, however that ends.
    """

    folder: str | None = None

    def array(self, n: int, kind: type | np.dtype[np.generic]) -> Array:
        """An array, (n,), of entries that are not set yet.  Raises OutputError if the file cannot be made."""
        dtype = np.dtype(kind)
        if self.folder is None or n == 0:
            return np.empty(n, dtype)
        try:
            number, path = tempfile.mkstemp(prefix=".scale-rows-", dir=self.folder)
            try:
                os.unlink(path)
                os.posix_fallocate(number, 0, n * dtype.itemsize)
                with os.fdopen(os.dup(number), "r+b") as file:
                    return np.asarray(np.memmap(file, dtype, "r+", shape=(n,)))
            finally:
                os.close(number)
        except OSError as error:
            raise OutputError(
                f"{self.folder}: no room for {n * dtype.itemsize / 1e9:.1f} GB of rows: {error.strerror or error}; "
                "set TMPDIR to a larger disk"
            ) from error


@dataclass(frozen=True, slots=True)
class CrystalRows:
    """Rows of the crystals of this rank, and what each round changes of them.

    ``starts``: rows of each crystal, (n_crystals + 1,).  ``number``: 2 h + 1 for an I- of reflection h, else 2 h, (n,).
    ``intensity``, ``variance``: counts, counts^2, (n,).  ``s``: 1/(2 d^2), 1/Angstrom^2, (n,).
    ``factor``: I/I_raw, (n,).  ``relative``: r of Observations, (n,), empty where it is 0.  ``out``: outliers, (n,).
    ``impossible``: outliers whatever their equivalents say, (n,).  ``weight``: in the fit, 1/counts^2, (n,).
    ``median_s``: median of s, ``key``: a number that looks random and follows from the data alone, ``lost``: whether it
    is left out, (n_crystals,).  ``has_relative``: whether any rank has rows with r > 0.
    ``place``: on the detector (crystal_detector.py), (n,), or empty.
    """

    starts: Int
    number: Int32
    intensity: Float
    variance: Float
    s: Float
    factor: Array
    relative: Array
    out: Bool
    impossible: Bool
    weight: Array
    median_s: Float
    key: UInt
    lost: Bool
    has_relative: bool
    place: Array = field(default_factory=lambda: np.zeros(0, np.uint32))

    @property
    def n_crystals(self) -> int:
        """Crystals of this rank."""
        return len(self.starts) - 1

    def __len__(self) -> int:
        return len(self.number)

    def arrays(self) -> tuple[Array, ...]:
        """The columns of rows, (n,) each, after ``starts``, as the kernels of crystal_passes.py take them."""
        return (
            self.starts,
            self.number,
            self.intensity,
            self.variance,
            self.s,
            self.factor,
            self.relative,
            self.out,
        )

    def some(self, chosen: Int) -> CrystalRows:
        """Copies of some of the rows.  ``chosen``: ascending, (k,)."""
        return replace(
            self,
            starts=np.searchsorted(chosen, self.starts),
            number=self.number[chosen],
            intensity=self.intensity[chosen],
            variance=self.variance[chosen],
            s=self.s[chosen],
            factor=self.factor[chosen],
            relative=self.relative[chosen] if len(self.relative) else self.relative,
            out=self.out[chosen],
            impossible=self.impossible[chosen],
            weight=self.weight[chosen],
            place=self.place[chosen] if len(self.place) else self.place,
        )

    def leave_out_lost(self) -> None:
        """Mark the rows of crystals that are left out: they take part in nothing."""
        for c in np.flatnonzero(self.lost).tolist():
            part = slice(int(self.starts[c]), int(self.starts[c + 1]))
            self.impossible[part] = self.out[part] = True

    def in_threads(self, task: Callable[[int, int], None]) -> None:
        """``task(first, last)`` for runs of crystals, on the threads of the run."""
        cuts = np.unique(np.linspace(0, self.n_crystals, PARTS + 1).astype(np.int64)).tolist()
        run_in_threads(lambda k: task(cuts[k], cuts[k + 1]), len(cuts) - 1)


@dataclass(slots=True)
class RowStore:
    """Takes the rows of one crystal after the other.

    ``columns``: by name, with room for all rows, (n,) each.  ``starts``: of crystals so far, and the end.
    ``median_s``, ``key``: of each crystal.  ``has_relative``: whether any row has r > 0.
    """

    columns: dict[str, Array]
    starts: list[int]
    median_s: list[float]
    key: list[int]
    has_relative: bool = False

    @classmethod
    def of(cls, allocator: Allocator, room: int, with_place: bool = False) -> RowStore:
        """Room for ``room`` rows; what is not used costs nothing.  ``with_place``: on the detector."""
        kinds: dict[str, type[np.generic]] = {
            "index": np.int64,
            "intensity": np.float64,
            "variance": np.float64,
            "s": np.float64,
            "factor": np.float32,
            "relative": np.float32,
        }
        if with_place:
            kinds["place"] = np.uint32
        return cls({name: allocator.array(room, kind) for name, kind in kinds.items()}, [0], [], [])

    def append(self, key: int, columns: dict[str, Array]) -> None:
        """The rows of the next crystal.  ``columns``: as in ``of``, (n,) each; relative may be missing."""
        first = self.starts[-1]
        last = first + len(columns["index"])
        self.has_relative |= "relative" in columns
        for name, store in self.columns.items():
            store[first:last] = columns.get(name, 0)
        self.starts.append(last)
        self.key.append(key)
        self.median_s.append(float(np.median(columns["s"])))

    def finished(self, number_of: Callable[[Int], Int32], relative: bool, allocator: Allocator) -> CrystalRows:
        """The rows with their numbers; those of a crystal are sorted by these, as ``order_of`` says.

        ``number_of``: from packed indices to numbers.  ``relative``: whether any rank has rows with r > 0.
        """
        n = self.starts[-1]
        number = allocator.array(n, np.int32)
        for part in self._sorted():
            number[part] = number_of(self.columns["index"][part])
        del self.columns["index"]
        out, impossible, weight = (allocator.array(n, kind) for kind in (np.bool_, np.bool_, np.float32))
        out[:], impossible[:] = False, False
        return CrystalRows(
            np.array(self.starts, np.int64),
            number,
            self.columns["intensity"][:n],
            self.columns["variance"][:n],
            self.columns["s"][:n],
            self.columns["factor"][:n],
            self.columns["relative"][: n if relative else 0],
            out,
            impossible,
            weight,
            np.array(self.median_s),
            np.array(self.key, np.uint64),
            np.zeros(len(self.key), np.bool_),
            relative,
            self.columns["place"][:n] if "place" in self.columns else np.zeros(0, np.uint32),
        )

    def _sorted(self) -> Iterator[slice]:
        """Sort the rows of each crystal, about ``_CHUNK`` at a time; the places of those that are done."""
        starts, first = np.array(self.starts), 0
        while first < len(starts) - 1:
            end = int(np.searchsorted(starts, starts[first] + _CHUNK, side="right")) - 1
            last = max(end, first + 1)
            part = slice(int(starts[first]), int(starts[last]))
            crystal = np.repeat(np.arange(last - first), np.diff(starts[first : last + 1]))
            order = np.lexsort((self.columns["index"][part], crystal))
            for store in self.columns.values():
                store[part] = store[part][order]
            yield part
            first = last


def order_of(index: Int) -> Int:
    """The order in which the rows of a crystal are kept, (n,).  ``index``: packed, of its observations, (n,)."""
    return np.argsort(index, kind="stable")


@dataclass(frozen=True, slots=True)
class CrystalScales:
    """What is known of each crystal of this rank, (n_crystals,): k, b of g = k exp(b s); gain and floor of counting.

    ``errors``: a factor of V', (n_crystals,); empty where it is 1 for all.
    """

    k: Float
    b: Float
    gain: Float
    floor: Float
    errors: Float = field(default_factory=lambda: np.zeros(0))

    def arrays(self) -> tuple[Float, Float, Float, Float, Float]:
        """The five, (n_crystals,) each, as the kernels take them."""
        return self.k, self.b, self.gain, self.floor, self.factors

    @property
    def factors(self) -> Float:
        """The factor of V' of each crystal, (n_crystals,)."""
        return self.errors if len(self.errors) else np.ones(len(self.k))

    def with_scales(self, k: Float, b: Float) -> CrystalScales:
        """The same with other scales.  ``k``, ``b``: (n_crystals,)."""
        return replace(self, k=k, b=b)
