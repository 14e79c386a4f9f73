"""The log: on standard output, folded at 80 columns, and in memory for the log file; and a line of progress.

On a terminal, and only there, warnings and commands to copy are coloured (unless NO_COLOR is set), and a run of more
than a second shows what it is doing in a line that goes away. Both texts are otherwise the same.
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
from braggscale.numerics.timing import STAGE

log = logging.getLogger(__name__)

WIDTH = 80
# Lines that begin so are never folded: commands, and batch numbers, which people search for.
_WHOLE = (" ", "scale ", "Experiment identifier:")
_YELLOW, _RED, _CYAN, _PLAIN = "\x1b[33m", "\x1b[31m", "\x1b[36m", "\x1b[0m"
_COMMAND = re.compile(r"^(  (?:scale|dials\.\w+) .*)$", re.MULTILINE)
_ROUND = re.compile(r"Round (\d+):")
FIRST_AFTER, EVERY = 1.0, 0.25  # seconds


def in_colour(stream: TextIO) -> bool:
    """Whether escape sequences for colours are welcome (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads along. Consoles of Windows count as files: not all understand escape sequences."""
    try:
        return os.name == "posix" and stream.isatty()
    except (AttributeError, ValueError):
        return False


def error_prefix(program: str) -> str:
    """What a line about an error begins with, on standard error."""
    return f"{_RED}{program}: error:{_PLAIN}" if in_colour(sys.stderr) else f"{program}: error:"


def let_go(stream: TextIO) -> None:
    """Point a closed pipe at nothing, so that later writes and the flush at exit stay silent."""
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
        """A new stage, or the end of a round."""
        if record.name == STAGE:
            self.stage = record.getMessage()
            self.round = ", round 1" if self.stage == "scaling" else ""
        elif found := _ROUND.match(record.getMessage()):
            self.round = f", round {int(found[1]) + 1}"

    def text(self) -> str:
        """The line, as long as the terminal is wide."""
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
        """Take the line away, before another one is printed."""
        if self.shown:
            self.stream.write("\r" + " " * self.shown + "\r")
            self.shown = 0

    def stop(self) -> None:
        """For good."""
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()
        with suppress(OSError, ValueError):
            self.clear()
            self.stream.flush()


class _Terminal(logging.StreamHandler[TextIO]):
    """A terminal that may go away: the run goes on without it."""

    def __init__(self, stream: TextIO, progress: Progress | None) -> None:
        super().__init__(stream)
        self.progress, self.colour = progress, in_colour(stream)

    def emit(self, record: logging.LogRecord) -> None:
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
        if not isinstance(error, BrokenPipeError):  # full or closed: once, not with every line
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

    Nor are batch numbers: each sweep has one line, which people search for.
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
    """Python's warnings are for developers: they go where details go."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug(record.getMessage().rstrip())


@contextmanager
def logging_to(stream: TextIO, verbose: int, quiet: bool) -> Iterator[Callable[[], str]]:
    """The package's log on ``stream`` and in memory; yields what returns the text of the log file.

    ``quiet``: only warnings are shown, on standard error, so that standard output stays empty.
    """
    stream = sys.stderr if quiet else stream
    logger, warned = logging.getLogger("braggscale"), logging.getLogger("py.warnings")
    stages = logging.getLogger(STAGE)
    progress = Progress(stream) if is_terminal(stream) and not quiet else None
    terminal, memory, detail = _Terminal(stream, progress), _Memory(), _AsDetail()
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
