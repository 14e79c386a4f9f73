"""Tests of the crystal with the merged intensities: anisotropy, pseudo-translation, twinning.

*Anisotropy.* Z = (I/epsilon)/<I/epsilon> of the resolution shell has the mean exp(-q^T B q/2), q the vector of the
reflection in 1/Angstrom and B a symmetric tensor, with errors as large as itself (Wilson's distribution). B is the
maximum of the likelihood of an exponential distribution, found by Fisher's scoring (McCullagh & Nelder, Generalized
Linear Models, 1989, ch. 8), averaged over the rotations of the point group. Its mean belongs to the overall B.

Limits of resolution along the principal directions of B: ``statistics.axis_limits``.

*Pseudo-translation.* The highest peak of the Patterson map at 5 Angstrom, more than 15 Angstrom from the origin,
relative to the origin. Twenty per cent and more are a sign of it (Zwart, Grosse-Kunstleve & Adams, CCP4 Newsletter 43
(2005) 7), if few reflections do not give as much by chance: a map of n terms v has the noise (sum v^2)^(1/2) / sum v.

*Twinning.* H = |I_1 - I_2|/(I_1 + I_2) of reflections that a twin law relates: <H> = 1/2 - alpha for acentric ones,
alpha the twin fraction (Yeates, Acta Cryst. A44 (1988) 142).
"""

from __future__ import annotations

import msgspec
import numpy as np

from braggscale.data.geometry import UnitCell, reciprocal_matrix
from braggscale.data.index_order import unique_indices
from braggscale.data.reindexing import alternatives, matrix_of, reindexed
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Array, Bool, Float
from braggscale.report.numbers.json_numbers import numbers, rounded, significant
from braggscale.report.numbers.scaled_observations import Observed
from braggscale.report.summary_checks import Anisotropy, AxisLimitEntry, IntensityTests, PattersonPeak, TwinLaw
from braggscale.statistics.axis_limits import AxisLimit, axis_limits

MOST = 50_000  # reflections in the fit of the tensor
FEWEST = 200
STEPS = 20
PATTERSON_D, FAR = 5.0, 15.0  # Angstrom
MOST_CELLS = 2_000_000  # of the Patterson map


def intensity_tests(
    asu: Array, value: Float, z: Float, use: Bool, centric: Bool, symmetry: Symmetry, cell: UnitCell
) -> IntensityTests:
    """All tests, each None where there are too few reflections.

    ``asu``: unique reflections, (n, 3).  ``value``: I/epsilon, ``z``: the same over the mean of the shell, ``use``:
    marks those that are strong enough for the tests, ``centric``, all (n,).  ``cell``: Angstrom and degrees.
    """
    return IntensityTests(
        anisotropy=_anisotropy(asu[use], z[use], symmetry, cell),
        patterson=_patterson(asu, value, symmetry, cell),
        twin_laws=_twin_laws(asu[use & ~centric], value[use & ~centric], symmetry, cell),
    )


def _anisotropy(asu: Array, z: Float, symmetry: Symmetry, cell: UnitCell) -> Anisotropy | None:
    step = max(len(z) // MOST, 1)
    asu, z = asu[::step], np.maximum(z[::step], 0.0)
    if len(z) < FEWEST:
        return None
    to_q = reciprocal_matrix(cell)
    q = np.asarray(asu, np.float64) @ to_q.T
    products = [q[:, i] * q[:, j] * (1.0 if i == j else 2.0) for i, j in _PAIRS]
    design = np.column_stack([np.ones(len(z)), *(-0.5 * p for p in products)])
    beta = np.zeros(7)
    fisher = design.T @ design
    if np.linalg.matrix_rank(fisher) < 7:
        return None
    for _ in range(STEPS):
        eta = np.clip(design @ beta, -20.0, 20.0)
        move = np.linalg.solve(fisher, design.T @ (z * np.exp(-eta) - 1.0))
        beta += move
        if np.abs(move).max() < 1e-6:
            break
    tensor = _matrix(beta[1:])
    turns = _turns(to_q, symmetry)
    tensor = np.mean([turn @ tensor @ turn.T for turn in turns], axis=0)
    tensor -= np.eye(3) * np.trace(tensor) / 3.0
    values, axes = np.linalg.eigh(tensor)
    to_indices = [np.linalg.inv(to_q) @ axis for axis in axes.T]
    esd = np.sqrt(np.linalg.inv(fisher).diagonal()[1:4].mean() / max(len(turns) / 2.0, 1.0))
    return Anisotropy(
        b=numbers(values, 3),
        esd=significant(float(esd), 2),
        directions=[numbers(np.round(h / np.abs(h).max(), 2) + 0.0, 2) for h in to_indices],
    )


def _turns(to_q: Float, symmetry: Symmetry) -> list[Float]:
    """Rotations for rows q = h A^T: the index h R belongs to q (A^T)^-1 R A^T.  ``to_q``: A, (3, 3)."""
    return [np.linalg.inv(to_q.T) @ r @ to_q.T for r in symmetry.rotations]


def with_axis_limits(found: IntensityTests, seen: Observed, symmetry: Symmetry, cell: UnitCell) -> IntensityTests:
    """The tests with limits of resolution along the directions of the anisotropy.  ``cell``: Angstrom and degrees."""
    if found.anisotropy is None:
        return found
    to_q = reciprocal_matrix(cell)
    axes = np.array(found.anisotropy.directions) @ to_q.T
    axes /= np.linalg.norm(axes, axis=1)[:, None]
    q = np.asarray(seen.asu, np.float64) @ to_q.T
    limits = axis_limits(axes, q, _turns(to_q, symmetry), seen.friedel_merged, seen.x, seen.sigma)
    entries = [None if one is None else _limit_entry(one) for one in limits]
    return msgspec.structs.replace(found, anisotropy=msgspec.structs.replace(found.anisotropy, limits=entries))


def _limit_entry(one: AxisLimit) -> AxisLimitEntry:
    cc_half, signal = (None if d is None else significant(d, 3) for d in (one.cc_half, one.i_over_sigma))
    return AxisLimitEntry(one.reflections, significant(one.d_min, 3), cc_half, signal)


_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def _matrix(six: Float) -> Float:
    found = np.zeros((3, 3))
    for value, (i, j) in zip(six, _PAIRS, strict=True):
        found[i, j] = found[j, i] = value
    return found


def _patterson(asu: Array, value: Float, symmetry: Symmetry, cell: UnitCell) -> PattersonPeak | None:
    length = np.linalg.norm(np.asarray(asu, np.float64) @ reciprocal_matrix(cell).T, axis=1)
    low = (length < 1.0 / PATTERSON_D) & (length > 0.02)
    if np.count_nonzero(low) < FEWEST or max(cell[:3]) < 2.0 * FAR:
        return None
    hkl = np.concatenate([np.rint(asu[low] @ r).astype(np.int64) for r in (*symmetry.rotations, *-symmetry.rotations)])
    both = np.tile(value[low], 2 * len(symmetry.rotations))
    # a reflection on a symmetry element is its own equivalent, so several entries are the same term
    hkl, first = np.unique(hkl, axis=0, return_index=True)
    size = [2 ** int(np.ceil(np.log2(3 * np.abs(hkl[:, k]).max() + 1))) for k in range(3)]
    if np.prod(size) > MOST_CELLS:
        return None
    grid = np.zeros(size)
    grid[hkl[:, 0] % size[0], hkl[:, 1] % size[1], hkl[:, 2] % size[2]] = both[first]
    patterson = np.fft.fftn(grid).real
    places = np.stack(np.meshgrid(*(np.fft.fftfreq(n) for n in size), indexing="ij"), axis=-1)
    real = np.linalg.inv(reciprocal_matrix(cell)).T  # columns are the axes of the cell
    far = np.linalg.norm(places @ real.T, axis=-1) > FAR
    if not far.any() or patterson[0, 0, 0] <= 0.0:
        return None
    k = int(np.argmax(np.where(far, patterson, -np.inf)))
    # at special positions all equivalents of a reflection have one phase: only the unique ones are independent
    copies: Float = np.bincount(first % np.count_nonzero(low), minlength=np.count_nonzero(low)).astype(np.float64)
    independent = copies * value[low]
    noise = float(np.sqrt((independent**2).sum()) / np.abs(independent.sum()))
    return PattersonPeak(
        noise=significant(noise, 3),
        height=significant(float(patterson.flat[k] / patterson[0, 0, 0]), 3),
        place=numbers(places.reshape(-1, 3)[k] % 1.0, 3),
    )


def _twin_laws(asu: Array, value: Float, symmetry: Symmetry, cell: UnitCell) -> list[TwinLaw]:
    found: list[TwinLaw] = []
    if len(asu) < FEWEST:
        return found
    n = len(asu)
    for operator in alternatives(cell, symmetry)[1:]:
        partner, _ = symmetry.asu(reindexed(asu, matrix_of(operator)))
        _, number = unique_indices(np.concatenate([asu, partner]))
        where = np.full(int(number.max()) + 1, -1, np.int64)
        where[number[:n]] = np.arange(n)
        other = where[number[n:]]
        pairs = np.flatnonzero((other >= 0) & (other > np.arange(n)))
        both = value[pairs] + value[other[pairs]]
        pairs, both = pairs[both > 0], both[both > 0]
        if len(pairs) < FEWEST // 2:
            continue
        h = np.minimum(np.abs(value[pairs] - value[other[pairs]]) / both, 1.0)
        found.append(
            TwinLaw(
                operator=operator,
                pairs=len(pairs),
                mean_h=rounded(float(h.mean())),
                fraction=rounded(max(0.5 - float(h.mean()), 0.0), 3),
                esd=rounded(float(h.std() / np.sqrt(len(pairs))), 2),
            )
        )
    return found
