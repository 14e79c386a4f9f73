"""The building blocks of the structs of scale.json: base class, types of columns, descriptions.

A struct is a fixed set of named values with types. msgspec writes it, reads it back with every type checked, and
describes it as JSON schema. The docstring of a struct and the sentences of ``about`` are the descriptions there.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from braggscale.statistics.catalogue import CATALOGUE

Numbers = list[float]  # all of them known
Column = list[float | None]  # None where a number is not known
Counts = list[int]
Matrix = list[Column]
CountMatrix = list[Counts]
# No count, resolution or R value is larger.
Sane = Annotated[float, msgspec.Meta(gt=-1e15, lt=1e15)]
JsonValue = Annotated[object, msgspec.Meta(extra_json_schema={"description": "Any value."})]
JsonObject = dict[str, JsonValue]
UnitCell = tuple[float, float, float, float, float, float]
State = Literal["good", "look", "bad"]
Unit = Literal["factor", "A^2"]
Coordinate = Literal["image", "x", "y", "inverse_d2"]


class Record(msgspec.Struct, frozen=True):
    """A part of the summary."""


def about(text: str) -> msgspec.Meta:
    """The description of a field in the schema."""
    return msgspec.Meta(description=text)


def statistic(name: str, above: float | None = None) -> msgspec.Meta:
    """The description of a merging statistic, from the catalogue.  ``above``: values must be larger than this."""
    found = CATALOGUE[name]
    unit = f" {found.unit.replace('Å', 'Angstrom')}." if found.unit else ""
    return msgspec.Meta(description=found.meaning + unit, gt=above)
