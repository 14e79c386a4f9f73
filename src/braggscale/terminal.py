"""The log: on standard output, folded at 80 columns, and in memory for the log file; and a line of progress.

Only on a terminal, warnings and commands to copy are coloured (unless NO_COLOR is set), and a run of more than a
second shows its progress in a line that disappears at the end. Otherwise both texts are the same.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import TextIO

from braggscale.errors import printable
from braggscale.log_detail import is_only_in_file
from braggscale.numerics.timing import STAGE

log = logging.getLogger(__name__)

WIDTH = 80
# Lines with such a beginning are never folded: commands, and batch numbers, because users search for them.
_WHOLE = (" ", "scale ", "Experiment identifier:")
_YELLOW, _RED, _CYAN, _PLAIN = "\x1b[33m", "\x1b[31m", "\x1b[36m", "\x1b[0m"
_COMMAND = re.compile(r"^(  (?:scale|dials\.\w+) .*)$", re.MULTILINE)
_ROUND = re.compile(r"Round (\d+):")
FIRST_AFTER, EVERY = 1.0, 0.25  # seconds


def in_colour(stream: TextIO) -> bool:
    """Whether the output may contain colours (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal. Consoles of Windows count as files: not all understand escape sequences."""
    try:
        return os.name == "posix" and stream.isatty()
    except (AttributeError, ValueError):
        return False


def error_prefix(program: str) -> str:
    """Beginning of a line with an error on standard error."""
    return f"{_RED}{program}: error:{_PLAIN}" if in_colour(sys.stderr) else f"{program}: error:"


def let_go(stream: TextIO) -> None:
    """Redirect a closed pipe to the null device, so that neither later writes nor the flush at exit raise an error."""
    with suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


class Progress(logging.Handler):
    """Stage, round and elapsed time in the last line of the terminal, from the first second on."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream, self.shown = stream, 0
        self.stage, self.round = "", ""
        self.begin = perf_counter()
        self.over = threading.Event()
        self.turn = threading.RLock()
        self.thread = threading.Thread(target=self._draw, daemon=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a new stage, or the end of a round."""
        if record.name == STAGE:
            self.stage = record.getMessage()
            self.round = ", round 1" if self.stage == "scaling" else ""
        elif found := _ROUND.match(record.getMessage()):
            self.round = f", round {int(found[1]) + 1}"

    def text(self) -> str:
        """The line, cut at the width of the terminal."""
        seconds = int(perf_counter() - self.begin)
        time = f"{seconds // 60}:{seconds % 60:02d}" if seconds >= 60 else f"{seconds} s"
        return f"... {self.stage}{self.round}  {time}"[: shutil.get_terminal_size().columns - 1]

    def _draw(self) -> None:
        wait = FIRST_AFTER
        while not self.over.wait(wait):
            wait = EVERY
            with self.turn, suppress(OSError, ValueError):
                text = self.text()
                self.stream.write("\r" + text.ljust(self.shown))
                self.stream.flush()
                self.shown = len(text)

    def clear(self) -> None:
        """Remove the line before another one is printed."""
        if self.shown:
            self.stream.write("\r" + " " * self.shown + "\r")
            self.shown = 0

    def stop(self) -> None:
        """Remove the line and show no progress any more."""
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()
        with suppress(OSError, ValueError):
            self.clear()
            self.stream.flush()


class _Terminal(logging.StreamHandler[TextIO]):
    """Writes the log to a terminal or pipe. If it is closed, the run goes on without it.

    ``whole``: also writes the lines that otherwise only the log file has.
    """

    def __init__(self, stream: TextIO, progress: Progress | None, whole: bool) -> None:
        super().__init__(stream)
        self.progress, self.colour, self.whole = progress, in_colour(stream), whole

    def emit(self, record: logging.LogRecord) -> None:
        if is_only_in_file(record) and not self.whole:
            return
        if self.progress is None:
            super().emit(record)
            return
        with self.progress.turn:
            with suppress(OSError, ValueError):
                self.progress.clear()
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self.colour:
            return text
        if record.levelno >= logging.WARNING:
            return f"{_YELLOW}{text}{_PLAIN}"
        return _COMMAND.sub(rf"{_CYAN}\1{_PLAIN}", text)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError | ValueError):
            super().handleError(record)
            return
        let_go(self.stream)
        self.setLevel(logging.CRITICAL + 1)
        if not isinstance(error, BrokenPipeError):  # full or closed: one warning, not one for every line
            why = getattr(error, "strerror", None) or error
            with suppress(OSError, ValueError):
                sys.stderr.write(f"scale: warning: the log stops here on standard output: {why}\n")


class _Memory(logging.Handler):
    """Keeps the lines for the log file, which is written with the other outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def text(self) -> str:
        """Everything logged so far, valid as UTF-8."""
        text = "".join(line + "\n" for line in self.lines)
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


class _Format(logging.Formatter):
    """Sentences are folded at 80 columns; lines that begin with a blank, tables and commands, are not.

    Batch numbers are not folded either: each sweep has one line, for which users search.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = printable(super().format(record))
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.capitalize()}: {text}"
        return "\n".join(_folded(line) for line in text.split("\n"))


def _folded(line: str) -> str:
    if len(line) <= WIDTH or line.startswith(_WHOLE):
        return line
    return textwrap.fill(line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


class _AsDetail(logging.Handler):
    """Logs Python's warnings, which are meant for developers, as details."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug(record.getMessage().rstrip())


@contextmanager
def logging_to(stream: TextIO, verbose: int, quiet: bool, whole: bool = False) -> Iterator[Callable[[], str]]:
    """Write the package's log to ``stream`` and keep it in memory; yields a function that returns the text for the
    file.

    ``quiet``: only warnings are shown, on standard error, so that standard output stays empty. ``verbose``:
    details, too.  ``whole``: ``stream`` also gets the lines that otherwise only the log file has.
    """
    stream = sys.stderr if quiet else stream
    logger, warned = logging.getLogger("braggscale"), logging.getLogger("py.warnings")
    stages = logging.getLogger(STAGE)
    progress = Progress(stream) if is_terminal(stream) and not quiet else None
    terminal, memory, detail = _Terminal(stream, progress, whole or verbose > 0), _Memory(), _AsDetail()
    level = logging.DEBUG if verbose else logging.INFO
    before = logger.level, logger.propagate, warned.propagate, stages.propagate, stages.disabled
    memory.setLevel(level)
    terminal.setLevel(logging.WARNING if quiet else level)
    for handler in (terminal, memory):
        handler.setFormatter(_Format("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = warned.propagate = False
    warned.addHandler(detail)
    logging.captureWarnings(True)
    stages.propagate, stages.disabled = False, progress is None
    if progress is not None:
        stages.setLevel(logging.DEBUG)
        stages.addHandler(progress)
        logger.addHandler(progress)
        progress.thread.start()
    try:
        yield memory.text
    finally:
        if progress is not None:
            progress.stop()
            stages.removeHandler(progress)
            logger.removeHandler(progress)
        logging.captureWarnings(False)
        warned.removeHandler(detail)
        logger.removeHandler(terminal)
        logger.removeHandler(memory)
        logger.setLevel(before[0])
        logger.propagate, warned.propagate, stages.propagate, stages.disabled = before[1:]
