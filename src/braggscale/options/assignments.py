"""Turns assignments into options: resolves names, models and old names, and finds contradictions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from braggscale.errors import CommandError
from braggscale.options.definitions import definitions
from braggscale.options.dials_callers import defaults_of_dials, without_other_models, words_of_caller
from braggscale.options.export_files import EXPORT_FILES
from braggscale.options.model_options import MODEL_OPTIONS
from braggscale.options.other_names import (
    CHANGES_NOTHING,
    DIALS_ONLY_VALUES,
    OLD_VALUES,
    RENAMED,
    is_open_choice,
    reason_to_accept,
)
from braggscale.options.phil import Assignment, Definitions, ForeignOption, Target
from braggscale.options.schema import ACCEPTED, Options, fill


@dataclass(frozen=True, slots=True)
class Settings:
    """The options after all assignments.  ``values``: full name -> PHIL value."""

    values: Mapping[str, Any]
    options: Options
    modified: str
    notes: tuple[str, ...]


def settle(
    assignments: Sequence[tuple[Assignment, bool]], master: Definitions | None = None, as_dials: bool = False
) -> tuple[Settings, list[str]]:
    """Apply assignments in order; a later one replaces an earlier one. The flag says whether an argument made it.

    A short name that several models have sets the option of the model named by ``model=``, or of all models if the
    model is automatic.  Returns the settings and the problems, one line each; a wrong option keeps its default.
    ``master``: the options that may be assigned, None for ``definitions()``.  ``as_dials``: whether defaults and
    numbers are those of dials.scale (``dials_callers``).
    """
    master = master or definitions()
    values = definitions().defaults()
    said = _Said([], [])
    explicit: set[str] = set()
    targets = _targets([*defaults_of_dials(), *assignments] if as_dials else assignments, master, as_dials, said)
    # the model first, because short names depend on the model that is named last
    for one in targets:
        if one.target.paths == ("model",):
            _assign(master, values, one.made, one.target.paths, one.words, [])
    model = values["model"]
    for one in targets:
        paths = _paths_in_use(one, model, as_dials, said)
        if not paths:
            continue
        before = {path: values[path] for path in paths}
        if _assign(master, values, one.made, paths, one.words, said.problems):
            explicit |= {path for path in paths if one.typed or values[path] != before[path]}
    said.problems.extend(_contradictions(values))
    explicit |= {path for path, option in master.options.items() if values[path] != option.default}
    if as_dials:
        explicit = set(without_other_models(sorted(explicit), master.families, model))
    options: Options = replace(fill(Options, "", values), explicit=frozenset(explicit), as_dials=as_dials)
    settings = Settings(values, options, master.modified(values), tuple(dict.fromkeys(said.notes)))
    return settings, list(dict.fromkeys(said.problems))


@dataclass(frozen=True, slots=True)
class _Said:
    """Lines for the person who wrote the assignments."""

    problems: list[str]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Aimed:
    """An assignment and what its name means.  ``typed``: by an argument, not a file.  ``words``: as they are meant."""

    made: Assignment
    typed: bool
    target: Target
    words: tuple[tuple[str, bool], ...]


def _targets(
    assignments: Sequence[tuple[Assignment, bool]], master: Definitions, as_dials: bool, said: _Said
) -> list[_Aimed]:
    """What the names mean. Those that mean nothing, or only something to dials.scale, are said and left out."""
    targets = []
    accepted: list[tuple[Assignment, bool, str]] = []
    for made, typed in assignments:
        try:
            target = master.resolve(made.name)
        except ForeignOption as error:
            if why := reason_to_accept(error.path, " ".join(text for text, _ in made.words)):
                accepted.append((made, typed, why))
            else:
                said.problems.append(f"{made.origin}: {error}{_values_that_are_accepted(error.path)}")
            continue
        except CommandError as error:
            elsewhere = _only_when_scaling(made.name, master)
            if elsewhere and not typed:  # a file of parameters may be used for both commands
                said.notes.append(f"{made.origin}: {elsewhere}")
            else:
                said.problems.append(f"{made.origin}: {elsewhere or error}")
            continue
        if target.note:
            said.notes.append(f"{made.origin}: {target.note}")
        words = _todays_words(made, target.paths)
        targets.append(_Aimed(made, typed, target, words_of_caller(target.paths[0], words) if as_dials else words))
    said.notes.extend(_notes_on_accepted(accepted))
    return targets


def _paths_in_use(aimed: _Aimed, model: str, as_dials: bool, said: _Said) -> tuple[str, ...]:
    """The options that an assignment sets, none if the model that was named has no such option."""
    made, paths = aimed.made, aimed.target.paths
    if not aimed.target.family:
        return paths
    chosen = tuple(path for path in paths if model in ("auto", path.split(".")[0]))
    if model == "auto":
        chosen = tuple(path for path in chosen if not MODEL_OPTIONS[path.split(".")[0]].only_if_named) or chosen
    if not chosen:
        have = "have" if len(paths) > 1 else "has"
        owners = " and ".join(path.split(".")[0] for path in paths)
        sentence = f"{made.origin}: model={model} has no {made.name}; {owners} {have} it"
        (said.notes if as_dials else said.problems).append(sentence)
    if len(chosen) > 1:
        said.notes.append(f"{made.origin}: set for the models {', '.join(p.split('.')[0] for p in chosen)}")
    return chosen


def _values_that_are_accepted(path: str) -> str:
    """What a refusal adds on the values that would do no harm."""
    harmless = CHANGES_NOTHING.get(path)
    if harmless is None:
        return ""
    return f"; it is accepted with {' or '.join(word.capitalize() for word in harmless.values)}, which changes nothing"


def _notes_on_accepted(accepted: Sequence[tuple[Assignment, bool, str]]) -> list[str]:
    """Sentences on options of dials.scale that change nothing: one for each that was typed, one for those of files."""
    notes = [f"{made.origin}: accepted, but changes nothing: {why}" for made, typed, why in accepted if typed]
    if names := [made.name for made, typed, _ in accepted if not typed]:
        notes.append(f"Options of dials.scale that change nothing here: {', '.join(dict.fromkeys(names))}")
    return notes


def _only_when_scaling(name: str, master: Definitions) -> str:
    """The message for an option that only the other command of the program has, '' if this is not the case."""
    if master is definitions():
        return ""
    try:
        path = definitions().resolve(name).paths[0]
    except CommandError:
        return ""
    return f"{path} is an option of scale; {master.program} has no use for it"


def _todays_words(made: Assignment, paths: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    """The words, with old values of an option replaced by the present ones."""
    if paths == ("model",) and is_open_choice(" ".join(text for text, _ in made.words)):
        return (("auto", False),)  # how dials.scale -c prints that no model was chosen
    if len(paths) != 1:
        return made.words
    word = " ".join(text for text, _ in made.words).lower()
    for (old, value), new in OLD_VALUES.items():
        named = old == made.name or old.endswith("." + made.name)
        if named and value == word and paths[0] in (RENAMED.get(old), old):
            return ((new, False),)
    return made.words


def _assign(
    master: Definitions,
    values: dict[str, Any],
    made: Assignment,
    paths: tuple[str, ...],
    words: tuple[tuple[str, bool], ...],
    problems: list[str],
) -> bool:
    """Set all paths, or add one problem; returns whether all could be set."""
    shown = " ".join(text for text, _ in words).lower()
    if shown in DIALS_ONLY_VALUES.get(paths[0], ()):
        rest = ", ".join(master.options[paths[0]].choices)
        problems.append(f"{made.origin}: dials.scale has {shown}, scale has not; choose one of {rest}")
        return False
    try:
        for path in paths:
            master.assign(values, path, words)
    except CommandError as error:
        problems.append(f"{made.origin}: {error}")
        return False
    return True


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """Errors that PHIL types cannot express: order of ranges, options that exclude each other."""
    problems: list[str] = []
    selection = "reflection_selection."
    low, high = values[selection + "E2_range"]
    if not low < high:
        problems.append(f"E2_range={low:g},{high:g}: the first number must be the smaller one")
    low, high = values[selection + "Isigma_range"]
    if high != 0 and not low < high:
        problems.append(f"Isigma_range={low:g},{high:g}: the first number must be the smaller one, or the second 0")
    if (d_range := values[selection + "d_range"]) and d_range[0] == d_range[1]:
        problems.append(f"d_range={d_range[0]:g},{d_range[1]:g}: the two limits are equal")
    if (cell := values[selection + "best_unit_cell"]) and not (min(cell) > 0 and max(cell[3:]) < 180):
        problems.append("best_unit_cell: lengths must be above 0, angles between 0 and 180")
    for word in values["input.accept"] or ():
        if word.lower() not in ACCEPTED:
            problems.append(f"accept={word}: rejections to take back are {', '.join(ACCEPTED)}")
    low, high = values["cut_data.d_min"], values["cut_data.d_max"]
    if low is not None and high is not None and not low < high:
        problems.append(f"d_min={low:g} d_max={high:g}: d_min must be smaller than d_max; nothing would be left")
    for one in MODEL_OPTIONS.values():
        problems += one.contradictions(values)
    mode, parameter = (values[f"cross_validation.{name}"] for name in ("cross_validation_mode", "parameter"))
    if mode == "multi" and not parameter:
        problems.append("cross_validation_mode=multi needs parameter=, the name of the option to try")
    error = "weighting.error_model."
    if values[error + "error_model_group"] and values[error + "grouping"] != "grouped":
        problems.append("error_model_group is used only with grouping=grouped")
    everything = tuple(dict.fromkeys(name for one in MODEL_OPTIONS.values() for name in one.corrections))
    for model, one in MODEL_OPTIONS.items():
        for name in values[f"{model}.correction.fix"] or ():
            known = one.corrections if values["model"] == model else everything
            if name not in known:
                problems.append(f"correction.fix={name}: the components are {', '.join(known)}")
    for name in ("experiments", "reflections", "log", "json", *EXPORT_FILES):
        if values["output." + name] == "":
            problems.append(f"output.{name}: the name is empty")
    return problems


def unused_model_options(explicit: Collection[str], models_in_use: Collection[str], named: bool) -> list[str]:
    """Sentences for the log on options that were set for models that no data set has.

    ``explicit``: full names of the options that the user set.  ``models_in_use``: names of the models of all data
    sets, once they are known.  ``named``: whether the user named a model with ``model=``.  Raises CommandError with
    the same sentences in that case, because then the option is a mistake of the user.
    """
    master = definitions()
    paths = [path for path in master.options if path.split(".")[0] in MODEL_OPTIONS and path in explicit]
    sentences: list[str] = []
    for key in dict.fromkeys(map(master.key, paths)):
        owners = [path.split(".")[0] for path in paths if master.key(path) == key]
        if not set(owners) & set(models_in_use):
            used = ", ".join(sorted(models_in_use))
            what = f"{owners[0]}.{key[2:]}" if len(owners) == 1 else key[2:]
            sentences.append(f"{what} has no effect: the models in use are {used}; {' and '.join(owners)} would use it")
    if sentences and named:
        raise CommandError("; ".join(sentences))
    return sentences


def values_to_try(name: str, values: Sequence[str] | None) -> list[str]:
    """The values of an option that cross-validation tries, as they are typed: those given, or True and False of a
    switch.

    Raises CommandError for a name that is none, and for an option that is no switch without values.
    """
    path = _one_path(name)
    option = definitions().options[path]
    if values:
        return list(values)
    if option.kind != "bool":
        raise CommandError(f"cross_validation.parameter={name}: give its values as parameter_values=")
    return ["True", "False"]


def with_option(options: Options, name: str, text: str) -> Options:
    """The options with one of them set as if it had been typed.  Raises CommandError for what is no value of it."""
    master, path = definitions(), _one_path(name)
    values = dict(master.defaults())
    try:
        master.assign(values, path, ((text, False),))
    except CommandError as error:
        raise CommandError(f"parameter_values={text}: {error}") from None
    result: Options = fill(Options, "", values)
    changed: Options = _with(options, result, path.split("."))
    return replace(changed, explicit=options.explicit | {path})


def _one_path(name: str) -> str:
    try:
        paths = definitions().resolve(name).paths
    except CommandError as error:
        raise CommandError(f"cross_validation.parameter={name}: {error}") from None
    if len(paths) > 1:
        raise CommandError(f"cross_validation.parameter={name}: write the full name, {' or '.join(paths)}")
    return paths[0]


def _with(options: Any, new: Any, names: Sequence[str]) -> Any:
    """``options`` with the field of this name taken from ``new``."""
    first, *rest = names
    if first in MODEL_OPTIONS:
        models = dict(options.models)
        models[first] = _with(models[first], new.models[first], rest)
        return replace(options, models=models)
    value = getattr(new, first)
    return replace(options, **{first: _with(getattr(options, first), value, rest) if rest else value})
