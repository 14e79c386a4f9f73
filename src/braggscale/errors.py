"""What can stop a run. Every message says what is wrong, where, with which number, and what to do."""


class UserError(Exception):
    """Something the person at the terminal can act on; ``exit_status`` is what the program returns."""

    exit_status = 1


class CommandError(UserError):
    """The command is wrong: an option, a value, a path that is missing or cannot be read or written."""

    exit_status = 2


class InputError(UserError):
    """A file is damaged, or two files do not belong together."""


class DataError(UserError):
    """The data cannot be scaled: nothing usable is left, or space groups differ."""


class OutputError(UserError):
    """Writing failed part-way, for example on a full disk."""


class Terminated(BaseException):
    """The system asked the program to end (SIGTERM). Like KeyboardInterrupt no Exception: nothing may swallow it."""


LONGEST_LINE = 300
_ENDS = 120  # characters of a line that is shortened that stay at its end: the advice stands there


def one_line(text: str, room: int = LONGEST_LINE) -> str:
    """The text as one line of at most ``room`` printable characters.

    Names and values come from files and command lines: what could move a cursor is written as an escape, and of what
    is too long the middle is left out.
    """
    line = "".join(c if c.isprintable() else " " if c == "\n" else _escaped(c) for c in text.strip())
    if len(line) <= room:
        return line
    ends = min(_ENDS, room // 3)
    return f"{line[: room - ends - 5]} ... {line[-ends:]}"


def printable(text: str) -> str:
    """The text with line breaks as they are and other characters that are not printable as escapes."""
    return (
        text
        if text.isascii() and text.isprintable()
        else "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
