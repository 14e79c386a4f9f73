"""What can stop a run. Every message says what is wrong, where, with which number, and what to do."""


class UserError(Exception):
    """An error that the user can act on; ``exit_status`` is what the program returns."""

    exit_status = 1


class CommandError(UserError):
    """The command is wrong: an option, a value, a path that is missing or cannot be read or written."""

    exit_status = 2


class InputError(UserError):
    """A file is damaged, or two files do not belong together."""


class DataError(UserError):
    """The data cannot be scaled: nothing usable is left, or space groups differ."""


class OutputError(UserError):
    """Writing an output failed, for example because the disk is full."""


class Terminated(BaseException):
    """The system asked the program to end (SIGTERM). Not an Exception, so that no handler for errors catches it."""


LONGEST_LINE = 300
_ENDS = 120  # characters kept at the end of a shortened line, because the advice stands at the end


def one_line(text: str, room: int = LONGEST_LINE) -> str:
    """The text as one line of at most ``room`` printable characters.

    Names and values come from files and command lines. So control characters, which could move the cursor, are
    written as escape sequences; if the text is too long, its middle is left out.
    """
    line = "".join(c if c.isprintable() else " " if c == "\n" else _escaped(c) for c in text.strip())
    if len(line) <= room:
        return line
    ends = min(_ENDS, room // 3)
    return f"{line[: room - ends - 5]} ... {line[-ends:]}"


def printable(text: str) -> str:
    """The text with escape sequences for characters that are not printable; line breaks are kept."""
    return (
        text
        if text.isascii() and text.isprintable()
        else "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
