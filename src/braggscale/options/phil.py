"""PHIL: the options' grammar, names, values and messages. The only importer of freephil.

freephil 0.2.1 parses the master text and prints it. Input of the user is not parsed by freephil, because freephil
evaluates numbers, ``.type``, ``.call`` and ``.expert_level`` as Python: arguments are split at the first ``=``,
parameter files are cut into words by freephil's tokenizer and read for names and values only (attributes are
skipped unread), and ``phil_values`` turns each value into a Python value.
"""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from braggscale.errors import CommandError
from braggscale.options.values import KINDS, Option, convert, format_value

PHIL_SUFFIXES = (".phil", ".param", ".params", ".eff", ".def")
MAX_FILE_BYTES = 1_000_000  # a parameter file of dials.scale with every attribute has 45 kB
_DIALS_HEADING = re.compile(r"\AShowing configuration parameters with:\r?\n(?:[ \t]+\w+ = .*\r?\n)*")
_EMPTY_SCOPE = re.compile(r"^ *[\w.]+(?: \{\n|\n(?: *\.\w+ = .*\n| +\".*\"\n)* *\{\n) *\}\n", re.MULTILINE)


def _import_freephil() -> Any:
    """Import freephil with temporary replacements for two modules.

    It imports ``pkg_resources``, which setuptools 82 does not have any more, and it uses libtbx's exception class if
    cctbx is installed. While it is imported, a minimal module replaces the first and an empty one the second.
    """
    stub = types.ModuleType("pkg_resources")
    vars(stub)["iter_entry_points"] = lambda group: ()
    hidden: dict[str, Any] = {"pkg_resources": stub, "libtbx": None}
    saved = {name: sys.modules[name] for name in hidden if name in sys.modules}
    sys.modules.update(hidden)
    try:
        import freephil
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
        sys.modules.update(saved)
    return freephil


@dataclass(frozen=True, slots=True)
class Assignment:
    """``name = words`` as a user wrote it. ``words``: the text of each and whether it was quoted.

    ``origin``: the argument itself, or file and line, for messages.
    """

    name: str
    words: tuple[tuple[str, bool], ...]
    origin: str


def read_argument(argument: str) -> Assignment:
    """``name=value`` from the command line; quotes that the shell has left around the value are removed.

    Raises CommandError when the name or the value is missing.
    """
    name, _, value = (part.strip() for part in argument.partition("="))
    if not name:
        raise CommandError(f"{argument}: the name before '=' is missing; write name=value without blanks")
    if not value:
        raise CommandError(f"{argument}: the value after '=' is missing; write name=value without blanks")
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return Assignment(name, ((value[1:-1] if quoted else value, quoted),), argument)


def read_file(name: str) -> list[Assignment]:
    """The assignments of a parameter file, ``-`` being standard input. Attributes of definitions are skipped.

    Raises CommandError when the file cannot be read, is not text, or is not PHIL.
    """
    try:
        if name == "-":
            text = sys.stdin.read(MAX_FILE_BYTES + 1)
        else:
            with Path(name).open("rb") as stream:
                text = stream.read(MAX_FILE_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise CommandError(f"{name}: cannot read the parameter file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{name}: not a parameter file: it is not UTF-8 text") from None
    if len(text) > MAX_FILE_BYTES:
        raise CommandError(f"{name}: not a parameter file: it is longer than {MAX_FILE_BYTES} bytes")
    # what dials.scale -c prints before its parameters is no PHIL; the lines stay, for their numbers
    text = _DIALS_HEADING.sub(lambda found: "\n" * found[0].count("\n"), text)
    try:
        return list(_walk(text, "standard input" if name == "-" else name))
    except RuntimeError as error:
        raise CommandError(f"{name}: {error}") from None


def _words(text: str, source: str) -> Any:
    tokenizer: Any = importlib.import_module("freephil.tokenizer")
    settings = [
        tokenizer.settings(
            unquoted_single_character_words="{}=",
            contiguous_word_characters="",
            comment_characters="#",
            meta_comment="phil",
        ),
        tokenizer.settings(unquoted_single_character_words="{};", contiguous_word_characters=""),
    ]
    return tokenizer.word_iterator(input_string=text, source_info=source, list_of_settings=settings)


def _walk(text: str, source: str) -> Iterable[Assignment]:
    """PHIL grammar without attributes: scopes nest, ``!`` disables, ``#phil __OFF__`` hides until ``__ON__``.

    Raises RuntimeError with place and reason.
    """
    load()
    collect: Any = importlib.import_module("freephil.parser").collect_assigned_words
    words = _words(text, source)
    scopes: list[tuple[str, bool]] = []
    while (word := words.try_pop_unquoted()) is not None:
        lead = word.value
        if lead == "#phil":
            verb = words.pop_unquoted().value
            if verb == "__END__":
                break
            if verb == "__OFF__" and words.char_iter.scan_for_start("#phil", ["__END__", "__ON__"]) == 0:
                break
            continue
        if lead == ";":
            continue
        if lead == "}":
            if not scopes:
                raise RuntimeError(f'unexpected "}}"{word.where_str()}')
            scopes.pop()
            continue
        if lead == "{" or lead == "=":
            raise RuntimeError(f'unexpected "{lead}"{word.where_str()}')
        if lead.lstrip("!").startswith("."):
            words.pop_unquoted().assert_expected("=")
            collect(words, word)
            continue
        disabled = lead.startswith("!")
        name = lead.lstrip("!")
        if name == "include":
            raise RuntimeError(f"include is not allowed in a parameter file{word.where_str()}")
        follow = words.pop_unquoted()
        while follow.value.lstrip("!").startswith("."):  # the attributes of a scope precede its brace
            words.pop_unquoted().assert_expected("=")
            collect(words, follow)
            follow = words.pop_unquoted()
        if follow.value == "{":
            scopes.append((name, disabled or (bool(scopes) and scopes[-1][1])))
            continue
        follow.assert_expected("=")
        values = collect(words, word)
        if not disabled and not (scopes and scopes[-1][1]):
            path = ".".join([scope for scope, _ in scopes] + [name])
            pairs = tuple((value.value, value.quote_token is not None) for value in values)
            yield Assignment(path, pairs, f"{source}, line {word.line_number}: {path}")
    else:
        if scopes:
            raise RuntimeError(f'no matching "}}" for the scope {scopes[-1][0]} ({source})')


@dataclass(frozen=True, slots=True)
class Target:
    """The options to which a name refers.  ``note``: a sentence for the log if this was a guess or an old name.

    ``family``: the paths are the same option of several models, and the name does not contain the model.
    """

    paths: tuple[str, ...]
    family: bool = False
    note: str = ""


class ForeignOption(CommandError):
    """An option that only another program has.  ``path``: its full name there."""

    def __init__(self, path: str, nearest: str | None) -> None:
        super().__init__(
            f"this is an option of dials.scale that scale does not have{f'; nearest: {nearest}' if nearest else ''}"
        )
        self.path = path


class Definitions:
    """The master scope. ``families``: scopes in which the same name means the same kind of parameter.

    ``renamed``: old full path -> new path, or ``*.name`` for a parameter of the families.
    ``foreign``: paths that only another program has (``scope.*`` for a whole scope) -> our nearest option or None.
    ``only``: paths of the text that are used, None for all.  ``program``: the command whose help lists them.
    """

    def __init__(
        self,
        text: str,
        families: Sequence[str] = (),
        renamed: Mapping[str, str] | None = None,
        foreign: Mapping[str, str | None] | None = None,
        full_name_only: Iterable[str] = (),
        only: Iterable[str] | None = None,
        program: str = "scale",
    ) -> None:
        self.text = text
        self._scope = load().parse(text)
        self.program = program
        if only is not None:
            _prune(self._scope, frozenset(only))
        self.families = tuple(families)
        self.renamed = dict(renamed or {})
        self.foreign = dict(foreign or {})
        self.full_name_only = frozenset(full_name_only)
        self.options: dict[str, Option] = {}
        for definition in self._scope.all_definitions():
            self.options[definition.path] = _option(definition.path, definition.object)
        self.scope_help: dict[str, str] = {
            scope.full_path(): scope.help for scope in _scopes(self._scope) if scope.help
        }

    # names

    def key(self, path: str) -> str:
        """The option a path belongs to: ``*.name`` for all models' parameters of that name."""
        scope, _, rest = path.partition(".")
        return f"*.{rest}" if scope in self.families else path

    def members(self, key: str) -> tuple[str, ...]:
        """The paths of a key."""
        if not key.startswith("*."):
            return (key,)
        return tuple(f"{scope}{key[1:]}" for scope in self.families if f"{scope}{key[1:]}" in self.options)

    def resolve(self, name: str) -> Target:
        """What ``name`` means: full path, old name, whole dotted end, and only then a guess, which is noted.

        Raises CommandError for an unknown name (with what was probably meant) and an ambiguous one, ForeignOption for
        one that only dials.scale has.
        """
        if name in self.options:
            return Target((name,))
        if name in self.renamed:
            return self._from_old(name, name)
        self._refuse_foreign(name, tails=False)
        if keys := self._tails(name, str):
            return self._one_of(name, keys, guess=False)
        for old in self.renamed:
            if old.endswith("." + name):
                return self._from_old(name, old)
        self._refuse_foreign(name, tails=True)
        leaves = {path: path.rsplit(".", 1)[-1] for path in self.options}
        for keys in (
            self._tails(name, str.lower),
            self._keys(path for path in leaves if len(name) > 2 and path.endswith(name)),
            self._keys(path for path, leaf in leaves.items() if len(name) > 2 and name in leaf),
        ):
            if keys := [key for key in keys if "." in name or key not in self.full_name_only]:
                return self._one_of(name, keys, guess=True)
        if inside := [path for path in self.options if path.startswith(name + ".")]:
            shown = ", ".join(inside[:4]) + ", ..." * (len(inside) > 4)
            raise CommandError(f"{name} is a group of options: {shown}")
        raise CommandError(f"unknown option{self._hint(name)}")

    def _keys(self, paths: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(map(self.key, paths)))

    def _tails(self, name: str, fold: Callable[[str], str]) -> list[str]:
        hits = self._keys(path for path in self.options if fold("." + path).endswith("." + fold(name)))
        return [key for key in hits if "." in name or key not in self.full_name_only]

    def _one_of(self, name: str, keys: list[str], guess: bool) -> Target:
        """The option among candidates; for complete last parts the expert level may decide, for a guess it may not."""
        levels = {key: min(self.options[path].level for path in self.members(key)) for key in keys}
        lowest = [key for key in keys if levels[key] == min(levels.values())]
        if len(lowest) > 1 or (guess and len(keys) > 1):
            names = [self.short(key) for key in keys]
            raise CommandError(f"{name!r} can mean {_or(names[:6])}{', ...' if len(names) > 6 else ''}")
        note = f"{name} read as {self.short(lowest[0])}" if guess or len(keys) > 1 else ""
        return Target(self.members(lowest[0]), lowest[0].startswith("*."), note)

    def _from_old(self, name: str, old: str) -> Target:
        key = self.renamed[old]
        same = name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]
        note = "" if same else f"{name} read as {self.short(key)}, its name today"
        return Target(self.members(key), key.startswith("*."), note)

    def _refuse_foreign(self, name: str, tails: bool) -> None:
        for path, nearest in self.foreign.items():
            scope = path.removesuffix("*")
            if name == path or (scope != path and name.startswith(scope)) or (tails and path.endswith("." + name)):
                raise ForeignOption(name if scope != path else path, nearest)

    def short(self, key: str) -> str:
        """The shortest name that refers to this option only: its last part if that is unique."""
        leaf = key.rsplit(".", 1)[-1]
        unique = self._tails(leaf, str) == [key] or leaf == key
        return leaf if unique else key.removeprefix("*.")

    def _hint(self, name: str) -> str:
        meant = {path.lower(): self.short(self.key(path)) for path in self.options}
        meant |= {path.rsplit(".", 1)[-1]: short for path, short in meant.items()}
        from difflib import SequenceMatcher

        near = {hit: SequenceMatcher(None, hit, name.lower()).ratio() for hit in meant}
        best = max(near.values())
        if best < 0.6:
            return f"; {self.program} -hh lists all options"
        close = sorted((hit for hit in near if near[hit] > best - 0.1), key=lambda hit: -near[hit])
        return f"; did you mean {_or(list(dict.fromkeys(meant[hit] for hit in close))[:3])}?"

    # values

    def defaults(self) -> dict[str, Any]:
        """Path -> default value."""
        return {path: option.default for path, option in self.options.items()}

    def assign(self, values: dict[str, Any], path: str, words: Sequence[tuple[str, bool]]) -> None:
        """Set ``values[path]``; a ``.multiple`` option gets one entry more (once each), None empties it.

        Raises CommandError when the words are not a value of the option.
        """
        option = self.options[path]
        value = convert(option, words)
        if not option.multiple:
            values[path] = value
        elif value is None:
            values[path] = ()
        else:
            values[path] = (*(entry for entry in values[path] if entry != value), value)

    def modified(self, values: Mapping[str, Any], above: int = -1) -> str:
        """PHIL text of what differs from the defaults: one full path a line, in the master's order.

        ``above``: only options of a higher expert level.
        """
        return "".join(
            f"{path} = {format_value(entry)}\n"
            for path, option in self.options.items()
            if values[path] != option.default and option.level > above
            for entry in (values[path] if option.multiple else (values[path],))
        )

    def _write_none(self, scope: Any, values: Mapping[str, Any]) -> None:
        """Write None for a choice with one word that is not chosen, because that word would be read as chosen."""
        word: Any = importlib.import_module("freephil.tokenizer").word
        for definition in scope.all_definitions():
            if values[definition.path] is None and len(self.options[definition.path].choices) == 1:
                definition.object.words = [word("None")]

    def report(self, values: Mapping[str, Any], expert_level: int = 0, attributes_level: int = 0) -> str:
        """The text for ``-c``: all options up to this expert level, and those of higher levels that were set.

        Scopes that have nothing to show are left out.

        ``attributes_level``: 0 values, 1 help, 2 attributes that are set, 3 all.
        """
        source = load().parse(self.modified(values))
        scope = self._scope.fetch(source=source)
        self._write_none(scope, values)
        text: str = scope.as_str(expert_level=expert_level, attributes_level=attributes_level)
        while _EMPTY_SCOPE.search(text):
            text = _EMPTY_SCOPE.sub("", text)
        return text + self.modified(values, expert_level)


def load() -> Any:
    """The freephil module, imported on first use."""
    return sys.modules.get("freephil") or _import_freephil()


def _scopes(scope: Any) -> Iterable[Any]:
    for inner in scope.objects:
        if inner.is_scope:
            yield inner
            yield from _scopes(inner)


def _prune(scope: Any, paths: frozenset[str]) -> None:
    """Remove everything that is not one of the paths, and scopes that become empty."""
    kept = []
    for inner in scope.objects:
        if inner.is_scope:
            _prune(inner, paths)
        if inner.objects if inner.is_scope else inner.full_path() in paths:
            kept.append(inner)
    scope.objects = kept


def _or(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


def _option(path: str, definition: Any) -> Option:
    """An Option from freephil's definition; raises ValueError for a mistake in the master text."""
    kind = getattr(definition.type, "phil_type", None)
    if kind not in KINDS:
        raise ValueError(f"{path}: .type = {kind} is not one of {', '.join(KINDS)}")
    words = tuple((word.value, word.quote_token is not None) for word in definition.words)
    plain = words[0][0].lower() if len(words) == 1 and not words[0][1] else ""
    node = definition
    while node is not None and node.expert_level is None:
        node = node.primary_parent_scope
    number = definition.type
    option = Option(
        path=path,
        kind=kind,
        default=None,
        choices=tuple(word.lstrip("*") for word, _ in words) if kind == "choice" else (),
        low=getattr(number, "value_min", None),
        high=getattr(number, "value_max", None),
        size=(getattr(number, "size_min", None), getattr(number, "size_max", None)),
        multiple=bool(definition.multiple),
        none=plain == "none" or bool(definition.optional),
        auto=plain == "auto" and kind != "choice",
        level=0 if node is None else node.expert_level,
        help=definition.help or "",
    )
    default = convert(option, words)
    return replace(option, default=() if option.multiple and default is None else default)
