"""What the ranks of a run say to each other.

A rank is one of several processes that work on one problem. The program needs four things of whatever connects them:
``rank``, ``size``, ``allreduce`` and ``allgather``. Two more methods serve the message about a rank that dies. Sums are
of whole numbers only. These can be added in any order, so the result is the same to the bit for any number of ranks and
for any way in which a network adds them up.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from braggscale.numerics.array_types import Array

Operation = Literal["sum", "max", "min", "or"]


class Communicator(Protocol):
    """The ranks of a run.  Every rank has to call the same methods in the same order."""

    @property
    def rank(self) -> int:
        """Number of this rank, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many ranks there are."""
        ...

    def allreduce(self, values: Array, operation: Operation = "sum") -> Array:
        """The sum, or the largest, smallest or bitwise or, of each element over all ranks, in every rank.

        ``values``: (n,) or (n, m), of the same shape and type in all ranks; sums and ors of whole numbers only.
        Returns (n,) or (n, m).
        """
        ...

    def allgather(self, values: Array) -> list[Array]:
        """The arrays of all ranks in their order, in every rank.

        ``values``: (n,) or (n, m), of one type in all ranks; n may differ.  Returns arrays, (n,) or (n, m).
        """
        ...

    def at(self, doing: str) -> None:
        """What this rank is doing, as in "it died while ...": for the message if it dies without a word."""
        ...

    def hand_over(self, listed: str) -> None:
        """All files are complete.  ``listed``: on the first rank, a list of the temporary files and targets of all."""
        ...

    def abort(self, status: int) -> None:
        """End all ranks at once, whatever they are doing."""
        ...


class Alone:
    """The only rank there is."""

    rank = 0
    size = 1

    def allreduce(self, values: Array, operation: Operation = "sum") -> Array:
        """The values themselves, (n,) or (n, m).  ``values``: (n,) or (n, m)."""
        checked(values, operation)
        return values

    def allgather(self, values: Array) -> list[Array]:
        """The values themselves, (n,) or (n, m).  ``values``: (n,) or (n, m)."""
        return [values]

    def at(self, doing: str) -> None:
        """Nothing: no other rank waits for this one."""

    def hand_over(self, listed: str) -> None:
        """Nothing: ``atomic_files.commit`` is enough."""

    def abort(self, status: int) -> None:
        """Ends the process."""
        raise SystemExit(status)


def checked(values: Array, operation: Operation) -> None:
    """Raises TypeError for a sum of ``values``, (n,) or (n, m), that are not whole: it would depend on the order."""
    if operation in ("sum", "or") and values.dtype.kind not in "iu":
        raise TypeError(f"only whole numbers are added up over ranks, not {values.dtype}")


def gather_texts(ranks: Communicator, text: str) -> list[str]:
    """One text of every rank, in every rank."""
    return [bytes(part).decode() for part in ranks.allgather(np.frombuffer(text.encode(), np.uint8))]
