"""The values of options: words to Python values and back. Nothing that a user writes is evaluated."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from braggscale.errors import CommandError

KINDS = ("bool", "int", "float", "ints", "floats", "choice", "str", "strings")
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class AutoType:
    """The value ``Auto``: decide from the data. It is different from None, which is "no limit" or "off"."""

    _only: AutoType | None = None

    def __new__(cls) -> AutoType:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "Auto"


AUTO = AutoType()


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
        """Description of the type, for the list of options."""
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
        return None  # a choice without a star is printed like this
    if len(given) > 1 and all(word.lower() in known for word in given):
        raise CommandError(f"{' '.join(given)!r} are {len(given)} values; {_expected(option)}")
    raise CommandError(f"{' '.join(given)!r} is not one of {', '.join(_offered(option))}")


# Its fourth power is finite.
_LARGEST = 1e30


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
        if abs(value) > _LARGEST:
            raise CommandError(f"{text!r} is too large for any option")
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
