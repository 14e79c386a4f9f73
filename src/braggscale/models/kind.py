"""The record that describes a kind of scaling model; each model's module has one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.settings import ModelSettings, SweepFacts
from braggscale.options.model_options.record import corrections_of

Options = TypeVar("Options")
Settings = TypeVar("Settings", bound=ModelSettings)


@dataclass(frozen=True, slots=True)
class StoredSetting:
    """A number or a word that a run takes over from a stored model, unless the user sets it or it is not valid.

    ``key``: its name in the stored configuration.  ``setting``: its name in the settings, and the option's.
    ``low``, ``high``: valid range, ends included.
    ``component``: the number is used only if the restraints of this component are fixed; "" for always.
    ``of_stored``: calculates the setting from a stored whole number; None if they are the same.
    ``words``: what the setting may be if it is a word and no number.
    """

    key: str
    setting: str
    low: float = 0.0
    high: float = 0.0
    component: str = ""
    of_stored: Callable[[int], int] | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelKind(Generic[Options, Settings]):
    """A kind of scaling model.

    ``options``: class of its options (options/schema.py); an option ``NAME_correction`` switches a component.
    ``settings``: class of its settings, whose ``model`` is the name of the kind.
    ``settle``: settings from the options, the facts about a data set, and whether restraints are estimated; with
    sentences for the log on each choice that may surprise the user. ``build``: the model of a data set from its
    settings and the ranges of its data.
    ``at_least_one_of``: corrections of which one must be on.
    ``needs_rotation``: whether it cannot be used for stills.
    ``estimates``: whether restraints can be estimated.
    ``stored``: numbers that scaling again takes over.
    ``implied``: options that count as set if another one is set, by the name of that one.
    ``beyond_dials``: components that the DIALS model of the same name does not have.
    ``around_start``: returns the model restrained to a data set's starting scale, if the kind has such a restraint.
    """

    options: type[Options]
    settings: type[Settings]
    settle: Callable[[Options, SweepFacts, bool], tuple[Settings, list[str]]]
    build: Callable[[Settings, Extent], DataSetModel]
    at_least_one_of: tuple[str, ...] = ()
    needs_rotation: bool = True
    estimates: bool = True
    stored: tuple[StoredSetting, ...] = ()
    implied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beyond_dials: tuple[str, ...] = ()
    around_start: Callable[[DataSetModel, float], DataSetModel] | None = None

    @property
    def name(self) -> str:
        """Choice of the option ``model``, scope of its options, and ``__id__`` in stored models."""
        return self.settings.model

    @property
    def corrections(self) -> tuple[str, ...]:
        """Names of the components that its options switch."""
        return corrections_of(self.options)

    def explicit(self, names: Collection[str]) -> frozenset[str]:
        """Options of this kind that the user set, without the scope, from full ``names`` of options."""
        scope = f"{self.name}."
        own = {name.removeprefix(scope) for name in names if name.startswith(scope)}
        return frozenset(own.union(*(self.implied.get(name, ()) for name in own)))
