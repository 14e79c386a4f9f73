"""The command: arguments in, exit status out. The only place that prints, and that turns errors into lines.

Exit status: 0 done, 1 the data cannot be scaled or something broke, 2 the command is wrong, 130 interrupted.
Nothing that takes long to import is imported before it is needed.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TextIO

from braggscale import __version__
from braggscale.errors import CommandError, UserError

if TYPE_CHECKING:
    from braggscale.command import Settings
    from braggscale.phil import Assignment

log = logging.getLogger(__name__)

PROGRAM = "scale"
DESCRIPTION = "Put the integrated intensities of one or several data sets on one common scale."
EPILOG = """\
examples:
  scale integrated.expt integrated.refl
  scale integrated.expt integrated.refl model=physical d_min=1.2 absorption_level=medium
  scale scaled.expt scaled.refl exclude_images=2:1501:1700

Files and name=value come in any order; what a file holds is found by looking into it. A name may be shortened to
its last part. Files that end in .phil .param .params .eff .def hold parameters.

exit status: 0 done, 1 the data cannot be scaled, 2 the command is wrong
"""
# One thread for linear algebra: sums in another order would make results depend on the number of cores.
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
NAMES_TODAY = {
    "experiments.json": "integrated.expt",
    "integrated_experiments.json": "integrated.expt",
    "integrated.json": "integrated.expt",
    "reflections.pickle": "integrated.refl",
    "integrated.pickle": "integrated.refl",
    "scaled_experiments.json": "scaled.expt",
    "scaled.pickle": "scaled.refl",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raises CommandError instead of leaving the program."""
        raise CommandError(message)


@dataclass(frozen=True, slots=True)
class _Arguments:
    """argv, sorted. ``assignments``: with whether it was typed (not read from a file)."""

    options: argparse.Namespace
    assignments: tuple[tuple[Assignment, bool], ...]
    files: tuple[str, ...]
    problems: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit status.  ``argv``: without the program's name, None for sys.argv."""
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    arguments = tuple(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # not every stand-in for a terminal can do this
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    verbose = False
    try:
        found = _sort(arguments)
        verbose = found.options.verbose > 0
        return _act(arguments, found)
    except UserError as error:
        _complain(str(error))
        return error.exit_status
    except BrokenPipeError:
        _let_go(sys.stdout)
        return 0
    except KeyboardInterrupt:
        _complain("interrupted; nothing more was written")
        return 130
    except MemoryError:
        _complain("not enough memory")
        return 1
    except Exception as error:
        _complain_internal(error, verbose)
        return 1
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _let_go(sys.stdout)


def _act(argv: tuple[str, ...], found: _Arguments) -> int:
    from braggscale.command import definitions, settle

    options = found.options
    if options.version:
        print(f"braggscale {__version__}")
        return 0
    if options.help or not argv:
        level = max(options.expert_level, options.help - 1, 0)
        attributes = 1 if options.attributes_level is None else options.attributes_level
        print(_parser().format_help())
        print("parameters (more with -hh and -hhh):" if level < 2 else "parameters:")
        print()
        print(definitions().report(definitions().defaults(), level, attributes), end="")
        if not argv:
            _complain("no input files: give experiments and reflections")
        return 0 if argv else 2
    settings, problems = settle(found.assignments)
    problems = [*found.problems, *problems]
    if options.show_config and not problems:
        print(definitions().report(settings.values, options.expert_level, options.attributes_level or 0), end="")
        return 0
    if not options.show_config:
        problems += [problem for file in found.files if (problem := _file_problem(file))]
        if not found.files:
            problems.append("no input files: give experiments and reflections")
        problems += _output_problems(settings)
    if problems:
        for problem in dict.fromkeys(problems):
            _complain(problem)
        return 2
    if options.assign_identifiers is not None:
        _name(found, settings)
    else:
        _scale(argv, found, settings)
    return 0


def _scale(argv: tuple[str, ...], found: _Arguments, settings: Settings) -> None:
    from braggscale.params import CommandLine

    command = CommandLine(argv, found.files, settings.modified, settings.notes, settings.explicit)
    with _logging(found.options.verbose, found.options.quiet) as log_text:
        log.info(f"{PROGRAM} {__version__}")
        log.info(shlex.join([PROGRAM, *argv]))
        if settings.modified:
            log.info("\nThe following parameters have been modified:\n")
            log.info(settings.modified)
        for note in settings.notes:
            log.info(note)
        from braggscale.run import run

        run(found.files, settings.params, command.given, command.as_dict(), log_text)


def _name(found: _Arguments, settings: Settings) -> None:
    from braggscale.run import name_anew

    output = settings.params.output
    given = settings.explicit
    experiments = output.experiments if "output.experiments" in given else "identified.expt"
    reflections = output.reflections if "output.reflections" in given else "identified.refl"
    with _logging(found.options.verbose, found.options.quiet):
        name_anew(found.files, found.options.assign_identifiers, experiments, reflections)


# Arguments --------------------------------------------------------------------------------------------------


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [options] FILE ... [name=value ...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-h", "--help", action="count", default=0, help="this text; -hh and -hhh show more parameters")
    add("-c", "--show-config", action="store_true", help="print the parameters as they would be used, and stop")
    add("-e", "--expert-level", type=int, default=0, metavar="N", help="print parameters up to this level (0 to 2)")
    add("-a", "--attributes-level", type=int, metavar="N", help="print help (1), types (2), everything (3) with them")
    add("-v", "--verbose", action="count", default=0, help="log details, and tracebacks of internal errors")
    add("-q", "--quiet", action="store_true", help="print warnings and errors only; the log file has everything")
    add("--phil", action="append", default=[], metavar="FILE", help="read parameters from FILE, - for standard input")
    add(
        "--assign-identifiers",
        metavar="NAMES",
        help="name the data sets, one name for each, and write them to identified.expt and .refl (or to "
        "output.experiments, output.reflections) without scaling",
    )
    add("--version", action="store_true", help="print the version and stop")
    return parser


def _sort(argv: Sequence[str]) -> _Arguments:
    """Options, assignments, data files and what is wrong with them. Raises CommandError for a bad option."""
    end = argv.index("--") if "--" in argv else len(argv)
    options, rest = _parser().parse_known_args(argv[:end])
    unknown = [word for word in rest if word.startswith("-") and not os.path.exists(word)]
    problems = [f"unknown option {word}; {PROGRAM} -h lists the options" for word in unknown]
    arguments = [word for word in rest if word not in unknown] + list(argv[end + 1 :])
    assignments: list[tuple[Assignment, bool]] = []
    files: list[str] = []
    from braggscale.phil import PHIL_SUFFIXES, read_argument, read_file

    for k, argument in enumerate([*options.phil, *arguments]):
        try:
            if k < len(options.phil) or (argument.endswith(PHIL_SUFFIXES) and os.path.isfile(argument)):
                assignments += [(made, False) for made in read_file(argument)]
            elif "=" in argument and not os.path.exists(argument) and not re.match(r"\w+://", argument):
                assignments.append((read_argument(argument), True))
            else:
                files.append(argument)
        except CommandError as error:
            problems.append(str(error))
    return _Arguments(options, tuple(assignments), tuple(files), tuple(problems))


def _file_problem(path: str) -> str | None:
    """What is wrong with the path of an input, None if it is an ordinary file that can be read."""
    if os.path.isdir(path):
        return f"{path}: this is a folder; name the files in it"
    if not os.path.exists(path):
        return f"{path}: no such file{_nearest_file(path)}"
    if not os.access(path, os.R_OK):
        return f"{path}: cannot be read: permission denied"
    return None


def _nearest_file(path: str) -> str:
    folder, name = os.path.split(path)
    today = os.path.join(folder, NAMES_TODAY.get(name, ""))
    if name in NAMES_TODAY and os.path.isfile(today):
        return f"; {today} exists, its name today"
    if not folder and re.fullmatch(r"[A-Za-z_][\w.]*", name):
        from braggscale.command import definitions

        if any(p == name or p.endswith("." + name) for p in definitions().options):
            return f"; if the option is meant, write {name}=VALUE without blanks"
    if folder and not os.path.isdir(folder):
        return f"; the folder {folder} does not exist"
    with suppress(OSError):
        close = difflib.get_close_matches(name, os.listdir(folder or "."), n=1, cutoff=0.75)
        if close:
            return f"; did you mean {os.path.join(folder, close[0])}?"
    return ""


def _output_problems(settings: Settings) -> list[str]:
    from braggscale.io.outputs import check_writable

    output = settings.params.output
    problems = []
    paths = [output.experiments, output.reflections, output.log, output.json, output.html, output.merged_mtz]
    paths += [output.unmerged_mtz, output.merged_cif, output.unmerged_cif, output.shelx, output.xds_ascii, output.sca]
    for path in paths:
        try:
            check_writable([path] if path else [])
        except CommandError as error:
            problems.append(str(error))
    if (compare := settings.params.report.compare) and (problem := _file_problem(compare)):
        problems.append(problem)
    if output.free_flags and (problem := _file_problem(output.free_flags)):
        problems.append(problem)
    return problems


# Terminal and log -------------------------------------------------------------------------------------------


class _Terminal(logging.StreamHandler[TextIO]):
    """A terminal that may go away: the run goes on without it."""

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            _let_go(self.stream)
            self.setLevel(logging.CRITICAL + 1)
        else:
            super().handleError(record)


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
        text = super().format(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.capitalize()}: {text}"
        return "\n".join(_folded(line) for line in text.split("\n"))


def _folded(line: str) -> str:
    if len(line) <= 80 or line.startswith((" ", PROGRAM + " ", "Experiment identifier:")):
        return line
    return textwrap.fill(line, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


class _AsDetail(logging.Handler):
    """Python's warnings are for developers: they go where details go."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug(record.getMessage().rstrip())


@contextmanager
def _logging(verbose: int, quiet: bool) -> Iterator[Callable[[], str]]:
    """The package's log on standard output and in memory; yields what returns the text of the log file."""
    logger, warned = logging.getLogger("braggscale"), logging.getLogger("py.warnings")
    terminal, memory, detail = _Terminal(sys.stdout), _Memory(), _AsDetail()
    level = logging.DEBUG if verbose else logging.INFO
    before = logger.level, logger.propagate, warned.propagate
    memory.setLevel(level)
    terminal.setLevel(logging.WARNING if quiet else level)
    for handler in (terminal, memory):
        handler.setFormatter(_Format("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = warned.propagate = False
    warned.addHandler(detail)
    logging.captureWarnings(True)
    try:
        yield memory.text
    finally:
        logging.captureWarnings(False)
        warned.removeHandler(detail)
        logger.removeHandler(terminal)
        logger.removeHandler(memory)
        logger.setLevel(before[0])
        logger.propagate, warned.propagate = before[1:]


def _complain(message: str) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    try:
        print(f"{PROGRAM}: error: {message}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        _let_go(sys.stderr)


def _complain_internal(error: Exception, verbose: bool) -> None:
    if verbose:
        import traceback

        traceback.print_exception(error)
    where = "" if verbose else "; run again with -v for details"
    text = " ".join(str(error).split())
    _complain(f"internal error, {type(error).__name__}: {text}{where}; nothing more was written, please report it")


def _let_go(stream: TextIO) -> None:
    """Point a closed pipe at nothing, so that later writes and the flush at exit stay silent."""
    with suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
