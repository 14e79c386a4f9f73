"""Results of a run as arrays, and as data frames if pandas is installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.errors import CommandError
from braggscale.io.export.merged_mtz import merged_mtz
from braggscale.io.export.wavelengths import WavelengthSet
from braggscale.numerics.array_types import Array, Bool, Float, Int, Int32

if TYPE_CHECKING:
    import gemmi
    import pandas


def _frame(columns: Mapping[str, Array], index: Mapping[str, Array] | None = None) -> pandas.DataFrame:
    """A data frame.  ``index``: levels of its index, (n,) each; None for row numbers."""
    try:
        import pandas
    except ImportError:
        raise CommandError(
            "data frames need pandas, which is not installed: pip install 'braggscale[pandas]'; the same "
            "numbers are attributes of the table, as arrays"
        ) from None
    levels = None
    if index is not None:
        levels = pandas.MultiIndex.from_arrays(list(index.values()), names=list(index))
    return pandas.DataFrame(dict(columns), index=levels)


@dataclass(frozen=True, slots=True)
class Curve:
    """A correction along the images.

    ``image``: image numbers, (n,); a number is the middle of the image.  ``value``: a factor, or B in Angstrom^2, (n,).
    ``esd``: its standard deviation, (n,); None if the run had no full matrix.
    """

    image: Float
    value: Float
    esd: Float | None

    def to_pandas(self) -> pandas.DataFrame:
        """One row per image.  Raises CommandError without pandas."""
        esd = {} if self.esd is None else {"esd": self.esd}
        return _frame({"image": self.image, "value": self.value, **esd})


@dataclass(frozen=True, slots=True)
class ObservationTable:
    """The observations of a run, one per row, sorted by unique reflection; arrays are (n,) unless another shape is
    given.

    ``data_set``: identifiers.  ``hkl``: Miller indices as measured, (n, 3).  ``asu``: in the asymmetric unit, (n, 3).
    ``friedel_minus``: whether the observation is the Friedel mate of ``asu``.  ``d``: resolution, Angstrom.
    ``intensity``, ``sigma``: I/g and its standard deviation, on the common scale.
    ``scale``, ``scale_sigma``: inverse scale factor g and its standard deviation, 0 without a full matrix.
    ``outlier``: whether it was rejected; the others are merged.
    ``image``: number of the image, 0 for a still.  ``x``, ``y``: position on the detector, pixels.
    ``partiality``: recorded fraction.
    """

    data_set: Array
    hkl: Int32
    asu: Int32
    friedel_minus: Bool
    d: Float
    intensity: Float
    sigma: Float
    scale: Float
    scale_sigma: Float
    outlier: Bool
    image: Int
    x: Float
    y: Float
    partiality: Float

    def __len__(self) -> int:
        return len(self.d)

    def to_pandas(self) -> pandas.DataFrame:
        """One row per observation, indexed by h, k, l in the asymmetric unit.  Raises CommandError without pandas."""
        measured = {f"measured_{name}": self.hkl[:, k] for k, name in enumerate("hkl")}
        names = (
            "data_set", "image", "d", "intensity", "sigma", "scale", "scale_sigma", "outlier", "friedel_minus",
            "partiality", "x", "y",
        )  # fmt: skip
        index = {name: self.asu[:, k] for k, name in enumerate("hkl")}
        return _frame({name: getattr(self, name) for name in names} | measured, index)


@dataclass(frozen=True, slots=True)
class MergedData:
    """One intensity for each unique reflection: weighted means, w = 1/sigma^2; arrays are (n,).

    ``hkl``: in the asymmetric unit, sorted, (n, 3).  ``intensity``, ``sigma``, ``n``: of all observations, and
    their number.  ``plus``, ``sigma_plus``, ``n_plus``, and the same with ``minus``: of Friedel mates; NaN and 0 if
    a mate was not measured, None if the data were merged without ``anomalous``.  ``wavelength``: Angstrom.
    """

    hkl: Int32
    intensity: Float
    sigma: Float
    n: Int
    plus: Float | None
    sigma_plus: Float | None
    n_plus: Int | None
    minus: Float | None
    sigma_minus: Float | None
    n_minus: Int | None
    wavelength: float
    symmetry: Symmetry
    cell: UnitCell
    source: WavelengthSet

    @classmethod
    def of(cls, wavelength_set: WavelengthSet, symmetry: Symmetry, cell: UnitCell, anomalous: bool) -> MergedData:
        """From the merged data of one wavelength.  ``anomalous``: whether Friedel mates are kept apart."""
        m = wavelength_set.merged
        return cls(
            hkl=m.hkl,
            intensity=m.mean,
            sigma=m.sigma,
            n=m.n,
            plus=m.plus if anomalous else None,
            sigma_plus=m.sigma_plus if anomalous else None,
            n_plus=m.n_plus if anomalous else None,
            minus=m.minus if anomalous else None,
            sigma_minus=m.sigma_minus if anomalous else None,
            n_minus=m.n_minus if anomalous else None,
            wavelength=wavelength_set.wavelength,
            symmetry=symmetry,
            cell=cell,
            source=wavelength_set,
        )

    def __len__(self) -> int:
        return len(self.hkl)

    def to_pandas(self) -> pandas.DataFrame:
        """One row per reflection, indexed by H, K, L, columns as in MTZ files.  Raises CommandError without pandas."""
        columns: dict[str, Any] = {"IMEAN": self.intensity, "SIGIMEAN": self.sigma, "N": self.n}
        if self.plus is not None:
            columns |= {"I(+)": self.plus, "SIGI(+)": self.sigma_plus, "N(+)": self.n_plus}
            columns |= {"I(-)": self.minus, "SIGI(-)": self.sigma_minus, "N(-)": self.n_minus}
        return _frame(columns, {name: self.hkl[:, k] for k, name in enumerate("HKL")})

    def to_gemmi(self) -> gemmi.Mtz:
        """The reflections as a gemmi.Mtz, with amplitudes by French and Wilson (Acta Cryst. A34 (1978) 517).

        It has the columns of the export ``merged_mtz`` for one wavelength, except the free flags.
        """
        anomalous = self.plus is not None
        return merged_mtz([self.source], self.symmetry, self.cell, anomalous=anomalous)

    def half_sets(self) -> tuple[Float, Float]:
        """Means of two random halves of the observations, (n,) each; NaN for reflections observed once."""
        return self.source.merged.half1, self.source.merged.half2


def image_numbers(z: Float, still: Bool) -> Int:
    """Number of the image that contains the array index ``z``, (n,); 0 where ``still``."""
    return np.where(still, 0, np.floor(z).astype(np.int64) + 1)
