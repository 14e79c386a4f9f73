"""Flags of MOSFLM in unmerged MTZ files, and which flagged reflections are used all the same.

The column FLAG is a sum of bits. BGPKRATIOS has the numbers behind three of them,

    BGPKRATIOS = 100 nint(100 P) + min(nint(10 B), 99) + min(G, 0.99)

with B: root mean square deviation of the background over that of counting, P: the same of the fit of the profile,
G: gradient of the background. AIMLESS leaves every flagged reflection out unless its keyword KEEP names the flag: with
a limit for B, P or G, a reflection is used if the number is below it; a reflection with several flags needs all of
them to be allowed. One that is below zero by more than five standard deviations (bit 4) is never used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from braggscale.errors import CommandError
from braggscale.numerics.array_types import Array, Bool, Float

# Bits and what they mean.
FLAGS = {
    1: "background ratio",
    2: "peak ratio",
    4: "too negative",
    8: "background gradient",
    16: "overload",
    32: "edge",
}
_BACKGROUND, _PEAK, _GRADIENT, _OVERLOADS, _EDGE = 1, 2, 8, 16, 32
_MOST = 1 << 24  # larger whole numbers are not exact in single precision


@dataclass(frozen=True, slots=True)
class KeptFlags:
    """Flags that do not lead to rejection.  Limits: of B, P and G; 0 for none that is used."""

    overloads: bool = False
    edge: bool = False
    bgratio: float = 0.0
    pkratio: float = 0.0
    gradient: float = 0.0


_LIMITS = tuple(f.name for f in fields(KeptFlags) if isinstance(f.default, float))
_NOTHING = KeptFlags()


def kept_flags(words: Sequence[str]) -> KeptFlags:
    """From the words of the option, such as ``overloads`` and ``pkratio:4.5``.

    Raises CommandError for a word that is none of them, or a limit that is no number above 0.
    """
    kept, limits = set(), dict.fromkeys(_LIMITS, 0.0)
    for word in words:
        name, _, text = word.lower().partition(":")
        if name in ("overloads", "edge") and not text:
            kept.add(name)
            continue
        try:
            limit = float(text)
        except ValueError:
            limit = math.nan
        if name not in _LIMITS or not 0.0 < limit < math.inf:
            raise CommandError(
                f"keep_flags={word}: give overloads, edge, or a limit: bgratio:3.5, pkratio:4, gradient:0.05"
            )
        limits[name] = limit
    return KeptFlags("overloads" in kept, "edge" in kept, **limits)


def rejected_by_flag(flag: Float, packed: Float | None, kept: KeptFlags = _NOTHING) -> Bool:
    """Which rows their flags reject, (n,).

    ``flag``, ``packed``: the columns FLAG and BGPKRATIOS, (n,).  Without the latter no limit can be applied. Values
    that are no flags reject.
    """
    known = np.isfinite(flag) & (flag >= 0) & (flag < _MOST)
    bits = np.where(known, flag, 0.0).astype(np.int64)
    allowed = (_OVERLOADS if kept.overloads else 0) | (_EDGE if kept.edge else 0)
    left = bits & ~allowed
    if packed is not None:
        for bit, value, limit in zip(
            (_BACKGROUND, _PEAK, _GRADIENT), ratios(packed), (kept.bgratio, kept.pkratio, kept.gradient), strict=True
        ):
            left = np.where((left & bit != 0) & (value < limit), left & ~bit, left)
    rejected: Bool = (left != 0) | (~known & ~np.isnan(flag))
    return rejected


def ratios(packed: Float) -> tuple[Array, Array, Array]:
    """B, P and G of BGPKRATIOS, (n,) each; infinite where the number is none.  ``packed``: the column, (n,)."""
    good = np.isfinite(packed) & (packed >= 0) & (packed < _MOST)
    values = np.where(good, packed, 0.0)
    whole = np.floor(values)
    peak = np.floor(whole / 100.0)
    found = (0.1 * (whole - 100.0 * peak), 0.01 * peak, values - whole)
    background, of_peak, gradient = (np.where(good, x, np.inf) for x in found)
    return background, of_peak, gradient


def counted(flag: Float) -> str:
    """Numbers of rows with each flag, in words.  ``flag``: the column FLAG, (n,)."""
    bits = np.nan_to_num(np.clip(flag, 0, _MOST - 1)).astype(np.int64)
    numbers = [(name, int(np.count_nonzero(bits & bit))) for bit, name in FLAGS.items()]
    others = int(np.count_nonzero(bits & ~sum(FLAGS)))
    return ", ".join(f"{name} {n}" for name, n in [*numbers, ("another", others)] if n)
