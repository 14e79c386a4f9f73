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
