"""The record that describes the options of a kind of scaling model; each module of options has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Correction:
    """<model>.correction; ``fix``: names of components."""

    fix: tuple[str, ...] | None


def corrections_of(options: type[Any]) -> tuple[str, ...]:
    """Names of the components that the options of a model switch: those with an option ``NAME_correction``."""
    names = (one.name for one in fields(options))
    return tuple(name.removesuffix("_correction") for name in names if name.endswith("_correction"))


def nothing_contradicts(values: Mapping[str, Any]) -> list[str]:
    """For models whose options cannot contradict each other."""
    return []


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The options of a kind of model, a PHIL scope with the name of the kind.

    ``name``: of the scope, and a choice of the option ``model``.
    ``values``: frozen class with one field for each option, None for PHIL's None and Auto (options/schema.py).
    ``text``: the scope as PHIL text.
    ``contradictions``: from the values of all options, full name -> value, to one sentence on each pair of them that
    cannot both hold.
    ``only_if_named``: whether short names that other models have, too, are meant for it only if ``model=`` names it.
    """

    name: str
    values: type[Any]
    text: str
    contradictions: Callable[[Mapping[str, Any]], list[str]] = nothing_contradicts
    only_if_named: bool = False

    @property
    def corrections(self) -> tuple[str, ...]:
        """Names of the components that the options switch."""
        return corrections_of(self.values)
