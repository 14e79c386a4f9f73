"""The command: arguments in, exit status out. The only place that prints, and that turns errors into lines.

Exit status: 0 done, 1 the data cannot be scaled or something broke, 2 the command is wrong, 130 interrupted, 143
terminated.
Nothing that takes long to import is imported before it is needed.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import gc
import logging
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from braggscale import __version__
from braggscale.errors import LONGEST_LINE, CommandError, Terminated, UserError, one_line
from braggscale.numerics.heap import one_heap
from braggscale.terminal import error_prefix, let_go, logging_to

if TYPE_CHECKING:
    from braggscale.options.assignments import Settings
    from braggscale.options.phil import Assignment

log = logging.getLogger(__name__)

PROGRAM = "scale"
EXPORT = "export"  # as the first argument; a file of this name can be given as ./export
DESCRIPTION = "Put the integrated intensities of one or several data sets on one common scale."
EPILOG = """\
examples:
  scale integrated.expt integrated.refl
  scale integrated.expt integrated.refl d_min=1.2 absorption_level=medium
  scale unmerged.mtz
  scale sweep*/INTEGRATE.HKL space_group=P212121
  scale scaled.expt scaled.refl exclude_images=2:1501:1700
  scale export scaled.expt scaled.refl merged_mtz=merged.mtz  (scale export -h)

Files and name=value come in any order; what a file holds is found by looking
into it. Patterns and @list.txt stand for several files. A name may be
shortened to its last part. Files that end in .phil .param .params .eff .def
hold parameters.

exit status: 0 done, 1 the data cannot be scaled, 2 the command is wrong
"""
EXPORT_DESCRIPTION = "Write scaled data as files of other programs, without scaling again."
EXPORT_EPILOG = """\
examples:
  scale export scaled.expt scaled.refl merged_mtz=m.mtz unmerged_mtz=u.mtz
  scale export scaled.expt scaled.refl shelx=lcys d_min=0.8
  scale export scaled.expt scaled.refl merged_cif=m.cif free_flags=earlier.mtz

The scaled files may be those of this program or of dials.scale. They are not
changed. The same data and options give the same exports as the scaling run.

exit status: 0 done, 1 not scaled, damaged, or a file could not be written,
2 the command is wrong
"""
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
class _Command:
    """What differs between ``scale`` and ``scale export``.  ``level``: lowest expert level that is shown."""

    program: str
    description: str
    epilog: str
    no_files: str
    parameters: str
    level: int


SCALE = _Command(
    PROGRAM,
    DESCRIPTION,
    EPILOG,
    "no input files: give experiments and reflections, or unmerged reflections of another program",
    "parameters (more with -hh and -hhh):",
    0,
)
SCALE_EXPORT = _Command(
    f"{PROGRAM} {EXPORT}",
    EXPORT_DESCRIPTION,
    EXPORT_EPILOG,
    "no input files: give scaled.expt and scaled.refl",
    "parameters:",
    1,
)


@dataclass(frozen=True, slots=True)
class _Arguments:
    """argv, sorted. ``assignments``: with whether it was typed (not read from a file)."""

    command: _Command
    options: argparse.Namespace
    assignments: tuple[tuple[Assignment, bool], ...]
    files: tuple[str, ...]
    problems: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit status.  ``argv``: without the program's name, None for sys.argv."""
    arguments = tuple(sys.argv[1:] if argv is None else argv)
    if sys.stdout is None:  # closed: the next file that is opened would take its place
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # not every stand-in for a terminal can do this
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with _ending_on_request():
            found = _sort(arguments)
            return _act(arguments, found)
    except UserError as error:
        _complain(str(error))
        return error.exit_status
    except BrokenPipeError:
        let_go(sys.stdout)
        return 0
    except KeyboardInterrupt:
        _complain("interrupted; nothing more was written")
        return 130
    except Terminated:
        _complain("terminated; nothing more was written")
        return 143
    except MemoryError:
        _complain("not enough memory; give fewer data, fewer parameters, or a smaller nproc")
        return 1
    except OSError as error:
        if error.errno not in _FULL:
            _complain_internal(error, arguments)
        else:
            let_go(sys.stdout)
            _complain(f"standard output: {error.strerror or error}")
        return 1
    except Exception as error:
        _complain_internal(error, arguments)
        return 1
    finally:
        _remove_temporaries()
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            let_go(sys.stdout)


def _remove_temporaries() -> None:
    """Files that were begun and not put in place, whatever ended the run; nothing is imported for that."""
    files = sys.modules.get("braggscale.io.atomic_files")
    if files is not None:
        files.discard_remaining()


# What writing to a full or closed standard output gives.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EIO)


@contextmanager
def _ending_on_request() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does: temporary files go, old outputs stay."""

    def end(*_: object) -> NoReturn:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread: whoever runs this there decides about signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _act(argv: tuple[str, ...], found: _Arguments) -> int:
    options, command = found.options, found.command
    if options.version:
        print(f"braggscale {__version__}")
        return 0
    if command is SCALE and options.warm_up:
        return _warm_up()
    from braggscale.options.assignments import definitions, export_definitions, settle

    master = definitions() if command is SCALE else export_definitions()
    nothing = argv in ((), (EXPORT,))
    if options.help or nothing:
        level = max(options.expert_level, options.help - 1, command.level)
        attributes = 1 if options.attributes_level is None else options.attributes_level
        print(_parser(command).format_help())
        print(command.parameters if level < 2 else "parameters:")
        print()
        print(master.report(master.defaults(), level, attributes), end="")
        if nothing:
            _complain(command.no_files)
        return 2 if nothing else 0
    settings, problems = settle(found.assignments, master)
    problems = [*found.problems, *problems]
    if options.show_config and not problems:
        level = max(options.expert_level, command.level)
        print(master.report(settings.values, level, options.attributes_level or 0), end="")
        return 0
    if not options.show_config:
        problems += [problem for file in found.files if (problem := _file_problem(file))]
        if not found.files:
            problems.append(command.no_files)
        problems += _output_problems(settings, found)
    if problems:
        different = list(dict.fromkeys(problems))
        for problem in different[:_MOST_PROBLEMS]:
            _complain(problem)
        if len(different) > _MOST_PROBLEMS:
            _complain(f"and {len(different) - _MOST_PROBLEMS} more of this kind")
        return 2
    from braggscale.io.atomic_files import durable, protected

    asked = settings.options
    also = [path for path in (asked.output.free_flags, asked.report.compare) if path]
    with durable(options.durable), protected([*found.files, *also]):
        if command is SCALE_EXPORT:
            _export(found, settings)
        elif options.assign_identifiers is not None:
            _name(found, settings)
        else:
            _scale(argv, found, settings)
    return 0


def _scale(argv: tuple[str, ...], found: _Arguments, settings: Settings) -> None:
    from braggscale.options.schema import CommandLine

    one_heap()
    command = CommandLine(argv, found.files, settings.modified, settings.notes)
    with logging_to(sys.stdout, found.options.verbose, found.options.quiet) as log_text:
        log.info(f"{PROGRAM} {__version__}")
        log.info(shlex.join([PROGRAM, *argv]))
        if settings.modified:
            log.info("\nThe following parameters have been modified:\n")
            log.info(settings.modified)
        for note in settings.notes:
            log.info(note)
        _compile(found.options.quiet)
        # a million objects are made here that all stay: collecting garbage among them is a sixth of the time
        gc.disable()
        from braggscale.scale_files import run

        gc.freeze()
        gc.enable()
        run(found.files, settings.options, command.as_dict(), log_text)


def _export(found: _Arguments, settings: Settings) -> None:
    with logging_to(sys.stdout, found.options.verbose, found.options.quiet):
        for note in settings.notes:
            log.info(note)
        from braggscale.export_files import export_scaled

        export_scaled(found.files, settings.options)


def _compile(quiet: bool) -> None:
    """Before the first run of all: compile everything at once, and say why it takes time."""
    from braggscale.numerics.compiled.cache import warm, warm_up

    if warm():
        return
    if not quiet:
        text = f"compiling kernels for the first time, about 10 s; {PROGRAM} --warm-up does this at installation"
        print(text, flush=True)
    if warm_up().folder is None and not quiet:
        print("they cannot be kept for the next run: set NUMBA_CACHE_DIR to a folder that only you can write to")


def _warm_up() -> int:
    from braggscale.numerics.compiled.cache import warm_up

    done = warm_up()
    if done.folder is None:
        _complain(
            "no folder where compiled kernels can be kept: make one that only you can write to, set NUMBA_CACHE_DIR"
        )
        return 1
    print(f"{done.kernels} kernels in {done.folder}, {done.compiled} of them compiled now")
    return 0


def _name(found: _Arguments, settings: Settings) -> None:
    from braggscale.scale_files import name_anew

    options, output = settings.options, settings.options.output
    experiments = output.experiments if options.is_explicit("output.experiments") else "identified.expt"
    reflections = output.reflections if options.is_explicit("output.reflections") else "identified.refl"
    with logging_to(sys.stdout, found.options.verbose, found.options.quiet):
        name_anew(found.files, found.options.assign_identifiers, experiments, reflections)


_MOST_PROBLEMS = 20

# Arguments --------------------------------------------------------------------------------------------------


def _parser(command: _Command) -> _Parser:
    parser = _Parser(
        prog=command.program,
        usage=f"{command.program} [options] FILE ... [name=value ...]",
        description=command.description,
        epilog=command.epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-h", "--help", action="count", default=0, help="this text; -hh and -hhh show more parameters")
    add("-c", "--show-config", action="store_true", help="print the parameters as they would be used, and stop")
    add("-e", "--expert-level", type=int, default=0, metavar="N", help="print parameters up to this level (0 to 2)")
    add("-a", "--attributes-level", type=int, metavar="N", help="print help (1), types (2), everything (3) with them")
    add("-v", "--verbose", action="count", default=0, help="log details")
    add("-q", "--quiet", action="store_true", help="print warnings and errors only; the log file has everything")
    add("--phil", action="append", default=[], metavar="FILE", help="read parameters from FILE, - for standard input")
    add("--durable", action="store_true", help="force outputs onto the disk: a power cut leaves old or new files")
    if command is SCALE:
        add(
            "--assign-identifiers",
            metavar="NAMES",
            help="name the data sets, one name for each, and write them to identified.expt and .refl (or to "
            "output.experiments, output.reflections) without scaling",
        )
        add("--warm-up", action="store_true", help="compile what is compiled at the first run, for an installation")
    add("--version", action="store_true", help="print the version and stop")
    return parser


def _sort(argv: tuple[str, ...]) -> _Arguments:
    """Options, assignments, data files and what is wrong with them. Raises CommandError for a bad option."""
    command = SCALE_EXPORT if argv[:1] == (EXPORT,) else SCALE
    argv = argv[1:] if command is SCALE_EXPORT else argv
    end = argv.index("--") if "--" in argv else len(argv)
    parser = _parser(command)
    options, rest = parser.parse_known_args(argv[:end])
    unknown = [word for word in rest if word.startswith("-") and not os.path.exists(word)]
    problems = [f"unknown option {word}; {parser.prog} -h lists the options" for word in unknown]
    arguments = [word for word in rest if word not in unknown] + list(argv[end + 1 :])
    assignments: list[tuple[Assignment, bool]] = []
    files: list[str] = []
    words = [*options.phil, *arguments]
    if words:
        from braggscale.options.file_names import file_names
        from braggscale.options.phil import PHIL_SUFFIXES, read_argument, read_file

    for k, argument in enumerate(words):
        try:
            if k < len(options.phil) or (argument.endswith(PHIL_SUFFIXES) and os.path.isfile(argument)):
                assignments += [(made, False) for made in read_file(argument)]
            elif "=" in argument and not os.path.exists(argument) and not re.match(r"\w+://", argument):
                assignments.append((read_argument(argument), True))
            else:
                files += file_names(argument)
        except CommandError as error:
            problems.append(str(error))
    return _Arguments(command, options, tuple(assignments), tuple(files), tuple(problems))


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
    if path == EXPORT:
        return f"; to export scaled data this word comes first: {PROGRAM} {EXPORT} FILE ..."
    folder, name = os.path.split(path)
    today = os.path.join(folder, NAMES_TODAY.get(name, ""))
    if name in NAMES_TODAY and os.path.isfile(today):
        return f"; {today} exists, its name today"
    if not folder and re.fullmatch(r"[A-Za-z_][\w.]*", name):
        from braggscale.options.assignments import definitions

        if any(p == name or p.endswith("." + name) for p in definitions().options):
            return f"; if the option is meant, write {name}=VALUE without blanks"
    if folder and not os.path.isdir(folder):
        return f"; the folder {folder} does not exist"
    with suppress(OSError):
        close = difflib.get_close_matches(name, os.listdir(folder or "."), n=1, cutoff=0.75)
        if close:
            return f"; did you mean {os.path.join(folder, close[0])}?"
    return ""


def _output_problems(settings: Settings, found: _Arguments) -> list[str]:
    """What is wrong with the paths of outputs: not writable, named twice, or an export that would replace an input."""
    from braggscale.io.output_paths import path_problems
    from braggscale.options.master import EXPORT_FILES
    from braggscale.options.schema import SCALED_FILES

    output = settings.options.output
    problems = []
    if found.command is SCALE_EXPORT and not output.exports:
        problems.append(f"nothing to export: name at least one of {', '.join(f'{name}=' for name in EXPORT_FILES)}")
    wanted = [(name, (getattr(output, name),)) for name in SCALED_FILES if getattr(output, name) is not None]
    if found.command is SCALE_EXPORT:
        wanted = []
    problems += path_problems([*wanted, *_names_of_exports(output.exports)], found.files)
    if (compare := settings.options.report.compare) and (problem := _file_problem(compare)):
        problems.append(problem)
    if output.free_flags and (problem := _file_problem(output.free_flags)):
        problems.append(problem)
    return problems


def _names_of_exports(paths: Mapping[str, str]) -> list[tuple[str, tuple[str, ...]]]:
    """Options of the exports that are wanted, and the files that each will write as far as that is known."""
    if not paths:
        return []
    from braggscale.io.export.registry import EXPORTS

    return [(name, EXPORTS[name].names(path)) for name, path in paths.items()]


# What goes wrong -----------------------------------------------------------------------------------------


def _complain(message: str) -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    prefix = error_prefix(PROGRAM)
    plain = len(f"{PROGRAM}: error: ")
    try:
        print(f"{prefix} {one_line(message, LONGEST_LINE - plain)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        let_go(sys.stderr)


def _complain_internal(error: Exception, argv: tuple[str, ...]) -> None:
    from braggscale.crash_file import CRASH_FILE, write_crash_file

    where = f"; {CRASH_FILE} has the details: please report it with this file" if write_crash_file(error, argv) else ""
    _complain(f"internal error, {type(error).__name__}: {str(error)[:120]}{where}; nothing more was written")
