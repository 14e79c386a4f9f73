"""PHIL: the options' grammar, names, values and messages. The only importer of freephil.

freephil 0.2.1 parses the master text and prints it. Everything that comes from a user is read here, because
freephil evaluates numbers, ``.type``, ``.call`` and ``.expert_level`` as Python: arguments are split at the
first ``=``, parameter files are cut into words by freephil's tokenizer and read for names and values only
(attributes are skipped unread), and each value is turned into a Python value by the converters below.
"""

from __future__ import annotations

import difflib
import importlib
import math
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from braggscale.errors import CommandError

PHIL_SUFFIXES = (".phil", ".param", ".params", ".eff", ".def")
KINDS = ("bool", "int", "float", "ints", "floats", "choice", "str", "strings")
MAX_FILE_BYTES = 1_000_000  # a parameter file of dials.scale with every attribute has 45 kB
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_EMPTY_SCOPE = re.compile(r"^ *[\w.]+(?: \{\n|\n(?: *\.\w+ = .*\n| +\".*\"\n)* *\{\n) *\}\n", re.MULTILINE)


class AutoType:
    """The value ``Auto``: decide from the data. Apart from None, which is "no limit" or "off"."""

    _only: AutoType | None = None

    def __new__(cls) -> AutoType:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "Auto"


AUTO = AutoType()


def _import_freephil() -> Any:
    """freephil, with what it needs and shields from what it must not find.

    It imports ``pkg_resources``, which setuptools 82 dropped, and takes over libtbx's exception class where
    cctbx is installed: a stand-in and a blank stand in their places while it loads.
    """
    stub = types.ModuleType("pkg_resources")
    stub.iter_entry_points = lambda group: ()  # type: ignore[attr-defined]
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
class Option:
    """One definition of the master text. ``none``, ``auto``: whether that word is a value of it."""

    path: str
    kind: str
    default: Any
    choices: tuple[str, ...]
    low: float | None
    high: float | None
    size: tuple[int | None, int | None]
    multiple: bool
    none: bool
    auto: bool
    level: int
    help: str

    @property
    def leaf(self) -> str:
        """The last part of the path."""
        return self.path.rsplit(".", 1)[-1]

    @property
    def type_text(self) -> str:
        """What a value looks like, for the option reference."""
        if self.kind == "choice":
            text = ", ".join(self.choices)
        elif self.kind in ("ints", "floats"):
            number = "whole number" if self.kind == "ints" else "number"
            text = f"{self.size[0]} {number}s" if self.size[0] else f"{number}s"
        else:
            text = {"bool": "True or False", "int": "whole number", "float": "number"}.get(self.kind, "text")
        if self.low is not None and self.high is not None:
            text += f" from {self.low:g} to {self.high:g}"
        elif self.low is not None:
            text += f" >= {self.low:g}"
        return text + ", None" * self.none + ", Auto" * self.auto


@dataclass(frozen=True, slots=True)
class Assignment:
    """``name = words`` as a user wrote it. ``words``: the text of each and whether it was quoted.

    ``origin`` is what messages call it: the argument itself, or file and line.
    """

    name: str
    words: tuple[tuple[str, bool], ...]
    origin: str


def read_argument(argument: str) -> Assignment:
    """``name=value`` from the command line; quotes that the shell left around the value are taken off.

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
        while follow.value.lstrip("!").startswith("."):  # the attributes of a scope stand before its brace
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


def convert(option: Option, words: Sequence[tuple[str, bool]]) -> Any:
    """The Python value of the words: bool, int, float, str, a tuple of them, None or AUTO.

    Nothing is evaluated. Raises CommandError (without the option's name) when it is not a value of the option.
    """
    if len(words) == 1 and not words[0][1]:
        plain = words[0][0].strip(" \t()[]").lower()
        if plain == "none":
            if not option.none:
                raise CommandError(f"None is not a value of it; {_expected(option)}")
            return None
        if plain == "auto" and "auto" not in option.choices and option.kind not in ("str", "strings"):
            if not option.auto:
                raise CommandError(f"Auto is not a value of it; {_expected(option)}")
            return AUTO
    if option.kind == "str":
        return _text(" ".join(text for text, _ in words))
    if option.kind == "strings":
        return tuple(part for text, _ in words for part in re.split(r"[\s,]+", text) if _text(part))
    if option.kind == "choice":
        return _choice(option, [part for text, _ in words for part in text.split()])
    joined = " ".join(text for text, _ in words).strip()
    if option.kind == "bool":
        if joined.lower() not in _BOOLS:
            raise CommandError(f"{joined!r} is neither True nor False")
        return _BOOLS[joined.lower()]
    if option.kind in ("int", "float"):
        return _number(option, joined)
    parts = [part for part in re.split(r"[\s,;]+", joined.strip("()[] ")) if part]
    low, high = option.size
    if low is not None and len(parts) < low or high is not None and len(parts) > high:
        needed = f"exactly {low}" if low == high else f"at least {low}" if high is None else f"at most {high}"
        raise CommandError(f"{len(parts)} number{'s' * (len(parts) != 1)} given, {needed} needed")
    if not parts:
        raise CommandError("no number given")
    return tuple(_number(option, part) for part in parts)


def _text(text: str) -> str:
    if "\0" in text or "\n" in text:
        raise CommandError("a text cannot contain line ends or zero bytes")
    return text


def _choice(option: Option, words: list[str]) -> str | None:
    known = {choice.lower(): choice for choice in option.choices}
    starred = [word[1:] for word in words if word.startswith("*")]
    given = starred or words
    if len(given) == 1 and given[0].lower() in known and (starred or len(words) == 1):
        return known[given[0].lower()]
    if option.none and not starred and tuple(words) == option.choices:
        return None  # this is how a choice without a star is printed
    if len(given) > 1 and all(word.lower() in known for word in given):
        raise CommandError(f"{' '.join(given)!r} are {len(given)} values; {_expected(option)}")
    raise CommandError(f"{' '.join(given)!r} is not one of {', '.join(_offered(option))}")


def _number(option: Option, text: str) -> int | float:
    value: int | float
    if not _FLOAT.fullmatch(text):
        raise CommandError(f"{text!r} is not a number")
    value = int(text) if _INT.fullmatch(text) else float(text)
    if not math.isfinite(value):
        raise CommandError(f"{text!r} is not a finite number")
    if option.kind in ("int", "ints"):
        if value != math.floor(value) or abs(value) >= 2**53:
            raise CommandError(f"{text!r} is not a whole number")
        value = int(value)
    else:
        value = float(value)
    if option.low is not None and value < option.low:
        raise CommandError(f"{text} is below {option.low:g}, the smallest value allowed")
    if option.high is not None and value > option.high:
        raise CommandError(f"{text} is above {option.high:g}, the largest value allowed")
    return value


def _offered(option: Option) -> tuple[str, ...]:
    return option.choices + ("None",) * option.none


def _expected(option: Option) -> str:
    if option.kind == "choice":
        return f"choose one of {', '.join(_offered(option))}"
    return f"expected: {option.type_text}"


def format_value(value: Any) -> str:
    """The PHIL words of a value; ``convert`` gives the same value back, to the last bit."""
    if isinstance(value, tuple):
        return " ".join(format_value(item) for item in value)
    if isinstance(value, str):
        # single quotes: freephil would expand $NAME inside double ones
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return repr(value)


@dataclass(frozen=True, slots=True)
class Target:
    """What a name means. ``note``: a sentence for the log when that was a guess or an old name.

    ``family``: the paths are the same parameter of several models, and the name did not say of which.
    """

    paths: tuple[str, ...]
    family: bool = False
    note: str = ""


class Definitions:
    """The master scope. ``families``: scopes in which the same name means the same kind of parameter.

    ``renamed``: old full path -> new path, or ``*.name`` for a parameter of the families.
    ``foreign``: paths that another program has (``scope.*`` for all of a scope) -> nearest of ours or None.
    """

    def __init__(
        self,
        text: str,
        families: Sequence[str] = (),
        renamed: Mapping[str, str] | None = None,
        foreign: Mapping[str, str | None] | None = None,
        full_name_only: Iterable[str] = (),
    ) -> None:
        self.text = text
        self._scope = load().parse(text)
        self.families = tuple(families)
        self.renamed = dict(renamed or {})
        self.foreign = dict(foreign or {})
        self.full_name_only = frozenset(full_name_only)
        self.options: dict[str, Option] = {}
        for found in self._scope.all_definitions():
            self.options[found.path] = _option(found.path, found.object)
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

        Raises CommandError for an unknown name (with what was probably meant), an ambiguous one, and one
        that only dials.scale has.
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
        """The option among candidates: a whole dotted end may be decided by expert level, a guess may not."""
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
                near = f"; nearest: {nearest}" if nearest else ""
                raise CommandError(f"this is an option of dials.scale that scale does not have{near}")

    def short(self, key: str) -> str:
        """The shortest name that means exactly this option: its leaf where that is unique."""
        leaf = key.rsplit(".", 1)[-1]
        unique = self._tails(leaf, str) == [key] or leaf == key
        return leaf if unique else key.removeprefix("*.")

    def _hint(self, name: str) -> str:
        meant = {path.lower(): self.short(self.key(path)) for path in self.options}
        meant |= {path.rsplit(".", 1)[-1]: short for path, short in meant.items()}
        near = {hit: difflib.SequenceMatcher(None, hit, name.lower()).ratio() for hit in meant}
        best = max(near.values())
        if best < 0.6:
            return "; scale -hh lists all options"
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

    def modified(self, values: Mapping[str, Any]) -> str:
        """PHIL text of what differs from the defaults: one full path a line, in the master's order."""
        return "".join(
            f"{path} = {format_value(entry)}\n"
            for path, option in self.options.items()
            if values[path] != option.default
            for entry in (values[path] if option.multiple else (values[path],))
        )

    def report(self, values: Mapping[str, Any], expert_level: int = 0, attributes_level: int = 0) -> str:
        """The text for ``-c``; scopes that have nothing to show at this expert level are left out.

        ``attributes_level``: 0 values, 1 help, 2 attributes that are set, 3 all.
        """
        source = load().parse(self.modified(values))
        text: str = self._scope.fetch(source=source).as_str(
            expert_level=expert_level, attributes_level=attributes_level
        )
        while _EMPTY_SCOPE.search(text):
            text = _EMPTY_SCOPE.sub("", text)
        return text


def load() -> Any:
    """The freephil module, imported on first use."""
    return sys.modules.get("freephil") or _import_freephil()


def _scopes(scope: Any) -> Iterable[Any]:
    for inner in scope.objects:
        if inner.is_scope:
            yield inner
            yield from _scopes(inner)


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
