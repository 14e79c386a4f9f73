"""How data sets are named on the command line, and which of them are in use."""

from __future__ import annotations

import re
from collections.abc import Sequence

from braggscale.errors import CommandError
from braggscale.wording import some_of

# A prefix is accepted for an identifier only if it has this length and the identifier is a long one: '1' or '1000'
# must never be taken for '10' or '10000'.
SHORTEST_PREFIX = 4
LONG_IDENTIFIER = 9
MOST_LISTED = 12
MOST_LOGGED = 20  # data sets with a line of their own in the log


# Names of data sets -----------------------------------------------------------------------------------------


def _numbers(n: int, numbers: Sequence[int] | None) -> Sequence[int]:
    return range(n) if numbers is None else numbers


def listing(identifiers: Sequence[str], numbers: Sequence[int] | None = None) -> str:
    """The data sets for a message: number and identifier of the first ones.  ``numbers``: n of ``#n``."""
    shown = [
        f"#{k} {name}" if name != str(k) else name
        for k, name in zip(_numbers(len(identifiers), numbers), identifiers, strict=True)
    ]
    return some_of(shown, MOST_LISTED)


def find_data_set(name: str, identifiers: Sequence[str], option: str, numbers: Sequence[int] | None = None) -> int:
    """Position of the data set that ``name`` stands for.

    ``name`` is an identifier, ``#n`` with n from ``numbers`` (the numbers in the log, by default positions),
    or the beginning, at least 4 characters and unique, of a long identifier.
    Raises CommandError, which names ``option`` and lists the data sets.
    """
    if name in identifiers:
        return list(identifiers).index(name)
    if re.fullmatch(r"#\d+", name):
        known = list(_numbers(len(identifiers), numbers))
        if int(name[1:]) in known:
            return known.index(int(name[1:]))
    elif len(name) >= SHORTEST_PREFIX:
        matches = [k for k, full in enumerate(identifiers) if len(full) >= LONG_IDENTIFIER and full.startswith(name)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            listed = listing(
                [identifiers[k] for k in matches], [_numbers(len(identifiers), numbers)[k] for k in matches]
            )
            raise CommandError(f"{option}: {name!r} fits several data sets ({listed}); give more of the identifier")
    raise CommandError(f"{option}: there is no data set {name!r}; there are {listing(identifiers, numbers)}")


def _find_all(
    values: Sequence[str], identifiers: Sequence[str], option: str, numbers: Sequence[int] | None
) -> set[int]:
    positions: set[int] = set()
    for value in values:
        # An identifier that the user has chosen may contain a space or a comma.
        names = [value] if value in identifiers else re.split(r"[\s,]+", value.strip())
        positions |= {find_data_set(n, identifiers, f"{option}={value}", numbers) for n in names if n}
    return positions


def choose_data_sets(
    identifiers: Sequence[str],
    use: Sequence[str] = (),
    exclude: Sequence[str] = (),
    numbers: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Positions of the data sets that are used, in the order of the input.

    ``use``, ``exclude``: the values of ``use_datasets`` and ``exclude_datasets``; each holds one or more
    names, separated by spaces or commas (see :func:`find_data_set`).  ``numbers``: n of ``#n``, by default
    positions.
    Raises CommandError if both are given, if a name is unknown or ambiguous, or if no data set would be left.
    """
    if use and exclude:
        raise CommandError(
            "use_datasets and exclude_datasets are both given; give one of them"
            f" (data sets: {listing(identifiers, numbers)})"
        )
    everything = range(len(identifiers))
    if use:
        named = _find_all(use, identifiers, "use_datasets", numbers)
        kept = tuple(k for k in everything if k in named)
    else:
        named = _find_all(exclude, identifiers, "exclude_datasets", numbers)
        kept = tuple(k for k in everything if k not in named)
    if identifiers and not kept:
        option, values = ("use_datasets", use) if use else ("exclude_datasets", exclude)
        raise CommandError(f"{option}={' '.join(values)} leaves no data set; there are {listing(identifiers, numbers)}")
    return kept
