"""A symmetric matrix over all parameters that consists of blocks along the diagonal; often there is one block.

With thousands of crystals neither the normal matrix nor its inverse is formed. The variance of a crystal's scale needs
only the block of the covariance that belongs to the crystal.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from braggscale.numerics import cholesky
from braggscale.numerics.array_types import Array, Bool, Float, Int


@dataclass(frozen=True, slots=True)
class BlockMatrix:
    """Block k has the parameters ``starts[k]`` to ``starts[k + 1]`` - 1, (n_blocks + 1,); other elements are zero.

    ``store``: the blocks one after the other, each row by row.  ``bases``: first element of each block in it,
    (n_blocks,).
    """

    starts: Int
    store: Float
    bases: Int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        sizes = np.diff(self.starts) ** 2
        bases = np.zeros(len(sizes), np.int64)
        np.cumsum(sizes[:-1], out=bases[1:])
        object.__setattr__(self, "bases", bases)

    @classmethod
    def whole(cls, matrix: Float) -> BlockMatrix:
        """One block: ``matrix``, (n, n)."""
        return cls(np.array([0, len(matrix)]), np.ascontiguousarray(matrix).ravel())

    @classmethod
    def zeros(cls, starts: Int) -> BlockMatrix:
        """All blocks zero.  ``starts``: (n_blocks + 1,)."""
        return cls(starts, np.zeros(int((np.diff(starts) ** 2).sum())))

    def __len__(self) -> int:
        """Number of parameters."""
        return int(self.starts[-1])

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.starts) - 1

    def arguments(self) -> tuple[Array, ...]:
        """Block of each parameter, (n,), ``starts``, (n_blocks + 1,), ``bases``, (n_blocks,), and ``store``.

        This is the order in which the kernels take them.
        """
        block = np.repeat(np.arange(self.n_blocks, dtype=np.int32), np.diff(self.starts))
        return block, self.starts.astype(np.int64), self.bases, self.store

    def places(self, row: Int, column: Int) -> tuple[Bool, Int]:
        """Which of the elements are in a block, (n,), and the positions of these in ``store``, (k,).

        ``row``, ``column``: of each element, (n,).
        """
        block = np.repeat(np.arange(self.n_blocks), np.diff(self.starts))
        inside = block[row] == block[column]
        k = block[row[inside]]
        first, size = self.starts[k], np.diff(self.starts)[k]
        return inside, self.bases[k] + (row[inside] - first) * size + column[inside] - first

    def blocks(self) -> list[Float]:
        """Each block, (size, size); views."""
        bases = self.bases
        return [self._block(k, int(bases[k])) for k in range(self.n_blocks)]

    def diagonal(self) -> Float:
        """(n,)."""
        return np.concatenate([np.diag(block) for block in self.blocks()])

    def part(self, where: slice) -> Float:
        """Rows and columns of the k parameters in ``where``, (k, k), zero between blocks."""
        first = int(np.searchsorted(self.starts, where.start, side="right")) - 1
        last = int(np.searchsorted(self.starts, where.stop))
        begin = int(self.starts[first])
        inside = slice(where.start - begin, where.stop - begin)
        if last == first + 1:
            return self._block(first)[inside, inside]
        whole = np.zeros((int(self.starts[last]) - begin,) * 2)
        for k in range(first, last):
            place = slice(int(self.starts[k]) - begin, int(self.starts[k + 1]) - begin)
            whole[place, place] = self._block(k)
        return whole[inside, inside]

    def _block(self, k: int, base: int | None = None) -> Float:
        size = int(self.starts[k + 1] - self.starts[k])
        base = int(self.bases[k]) if base is None else base
        return self.store[base : base + size * size].reshape(size, size)

    def inverse(self) -> BlockMatrix | None:
        """The inverse of every block; None where one is not positive definite."""
        result = BlockMatrix.zeros(self.starts)
        for stack, into in _equal_sizes(self, result):
            inverse = _inverse(stack)
            if inverse is None:
                return None
            into[...] = inverse
        return result

    def times(self, x: Float) -> Float:
        """The product with ``x``, (n, m)."""
        y = np.empty_like(x)
        begin = 0
        for stack, _ in _equal_sizes(self, self):
            count, size, _ = stack.shape
            end = begin + count * size
            part = x[begin:end].reshape(count, size, -1)
            y[begin:end] = np.matmul(stack, part).reshape(count * size, -1)
            begin = end
        return y


class Arrow:
    """A positive definite arrow matrix, diagonal blocks and columns shared by all blocks, and its inverse.

        M = [ D  B  ]      M^-1 r:  y_s = E (r_s - B' D^-1 r_o),  y_o = D^-1 r_o - W y_s,
            [ B' S  ]               W = D^-1 B,  E = (S - B' W)^-1

    D: the blocks that are not shared.  ``inverse``: the blocks of M^-1, D^-1 + W E W' and those of E.
    """

    def __init__(self, blocks: BlockMatrix, cross: Float, shared: Int) -> None:
        """``blocks``: of M.  ``cross``: columns ``shared`` of M, (n, n_shared).

        If both have an element, that of ``blocks`` is used. A block that cannot be inverted is replaced by its
        diagonal.
        """
        self.shared = shared
        own = np.ones(len(blocks), bool)
        own[shared] = False
        alone = replace(blocks, store=blocks.store.copy())
        starts = blocks.starts.tolist()
        into = [k for k in range(blocks.n_blocks) if not own[starts[k]]] if len(shared) else []
        for k in into:
            alone._block(k)[...] = np.eye(starts[k + 1] - starts[k])
        self.alone = alone.inverse() or _diagonal_inverse(alone)
        self.inverse = self.alone
        if not len(shared):
            return
        beside = cross.copy()
        beside[shared] = 0.0
        self.beside, self.w = beside, self.alone.times(beside)
        corner = cross[shared] - beside.T @ self.w
        place = np.full(len(blocks), -1)
        place[shared] = np.arange(len(shared))
        for k in into:
            here = slice(int(place[starts[k]]), int(place[starts[k + 1] - 1]) + 1)
            corner[here, here] += blocks._block(k) - cross[shared][here, here]
        found = _inverse(0.5 * (corner + corner.T)[None])
        self.e = found[0] if found is not None else np.diag(1.0 / np.maximum(np.diag(corner), 1e-300))
        self.inverse = BlockMatrix(blocks.starts, self.alone.store.copy())
        _add_products(self.inverse, self.w @ self.e, self.w)
        inside = self.inverse.blocks()
        for k in into:
            here = slice(int(place[starts[k]]), int(place[starts[k + 1] - 1]) + 1)
            inside[k][...] = self.e[here, here]

    def solve(self, right: Float) -> Float:
        """M^-1 ``right``, (n, m)."""
        if not len(self.shared):
            return self.alone.times(right)
        rest = right.copy()
        rest[self.shared] = 0.0
        own = self.alone.times(rest)
        common = self.e @ (right[self.shared] - self.beside.T @ own)
        result = own - self.w @ common
        result[self.shared] = common
        return np.asarray(result)


def _diagonal_inverse(blocks: BlockMatrix) -> BlockMatrix:
    result = BlockMatrix.zeros(blocks.starts)
    for block, diagonal in zip(result.blocks(), blocks.blocks(), strict=True):
        block[np.diag_indices(len(block))] = 1.0 / np.maximum(np.diag(diagonal), 1e-300)
    return result


def _add_products(blocks: BlockMatrix, left: Float, right: Float) -> None:
    """Add L R' to each block, with its rows of ``left`` and ``right``, (n, m)."""
    begin = 0
    for stack, _ in _equal_sizes(blocks, blocks):
        count, size, _ = stack.shape
        rows = slice(begin, begin + count * size)
        ours, theirs = (x[rows].reshape(count, size, -1) for x in (left, right))
        stack += np.matmul(ours, theirs.transpose(0, 2, 1))
        begin += count * size


def _equal_sizes(first: BlockMatrix, second: BlockMatrix) -> list[tuple[Float, Float]]:
    """Runs of neighbouring blocks of one size in both matrices, (count, size, size) each; views."""
    sizes = np.diff(first.starts)
    if len(sizes) == 0:
        return []
    cuts = np.flatnonzero(np.diff(sizes)) + 1
    bases = np.append(first.bases, len(first.store))
    runs = []
    for low, high in zip([0, *cuts.tolist()], [*cuts.tolist(), len(sizes)], strict=True):
        shape = (high - low, int(sizes[low]), int(sizes[low]))
        where = slice(int(bases[low]), int(bases[high]))
        runs.append((first.store[where].reshape(shape), second.store[where].reshape(shape)))
    return runs


def _inverse(stack: Float) -> Float | None:
    """Inverse of each matrix of a stack in variables of unit curvature, None where one is not positive definite."""
    diagonal = np.einsum("kii->ki", stack)
    if not (diagonal > 0).all():
        return None
    unit = 1.0 / np.sqrt(diagonal)
    scaled = stack * unit[:, :, None] * unit[:, None, :]
    found: Float | None
    if len(stack) == 1 or stack.shape[1] > cholesky.SMALL:
        roots = [cholesky.inverse_root(matrix, overwrite=True) for matrix in scaled]
        known = [cholesky.square(root) for root in roots if root is not None]
        found = np.stack(known) if len(known) == len(roots) else None
    else:
        try:
            np.linalg.cholesky(scaled)
        except np.linalg.LinAlgError:
            return None
        found = np.linalg.inv(scaled)
    return None if found is None else found * unit[:, :, None] * unit[:, None, :]
