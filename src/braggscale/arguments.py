"""The words of the command line, sorted into options, assignments and names of files, and the errors in them.

The options with a dash are defined here; those with a name and a value are in ``braggscale.options``.
Nothing that takes long to import is imported before it is needed.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from braggscale.errors import CommandError, InputError

if TYPE_CHECKING:
    from braggscale.options.assignments import Settings
    from braggscale.options.phil import Assignment

PROGRAM = "scale"
DIALS_NAME = "dials.scale"  # called by this name, or with the option below, the program takes its place
AS_DIALS = "--as-dials"
INSTALL = "install-dials-name"  # as the first argument
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
  scale install-dials-name FOLDER

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


class ArgumentParser(argparse.ArgumentParser):
    """A parser that raises CommandError, so that all errors of the command are reported in one place."""

    def error(self, message: str) -> NoReturn:
        """Raises CommandError instead of leaving the program."""
        raise CommandError(message)


@dataclass(frozen=True, slots=True)
class Command:
    """What is different in ``scale``, ``scale export`` and ``scale delta-cc-half``.

    ``level``: lowest expert level that is shown.
    """

    program: str
    description: str
    epilog: str
    no_files: str
    parameters: str
    level: int


DELTA = "delta-cc-half"
DELTA_DESCRIPTION = "Show how much each data set, or group of images, of scaled data changes CC1/2."
DELTA_EPILOG = """\
examples:
  scale delta-cc-half scaled.expt scaled.refl
  scale delta-cc-half scaled.expt scaled.refl mode=image_group group_size=20

The files are not changed. A part that makes the data worse has a negative
value; what stands out is marked, with the command that leaves it out.

exit status: 0 done, 1 not scaled or damaged, 2 the command is wrong
"""
SCALE = Command(
    PROGRAM,
    DESCRIPTION,
    EPILOG,
    "no input files: give experiments and reflections, or unmerged reflections of another program",
    "parameters (more with -hh and -hhh):",
    0,
)
SCALE_EXPORT = Command(
    f"{PROGRAM} {EXPORT}",
    EXPORT_DESCRIPTION,
    EXPORT_EPILOG,
    "no input files: give scaled.expt and scaled.refl",
    "parameters:",
    1,
)
SCALE_DELTA = Command(
    f"{PROGRAM} {DELTA}",
    DELTA_DESCRIPTION,
    DELTA_EPILOG,
    "no input files: give scaled.expt and scaled.refl",
    "parameters:",
    1,
)
# Commands that are named by the first argument.
COMMANDS = {EXPORT: SCALE_EXPORT, DELTA: SCALE_DELTA}


@dataclass(frozen=True, slots=True)
class Arguments:
    """The sorted words of argv. ``assignments``: each with whether it was typed (not read from a file)."""

    command: Command
    options: argparse.Namespace
    assignments: tuple[tuple[Assignment, bool], ...]
    files: tuple[str, ...]
    problems: tuple[str, ...]


def command_parser(command: Command) -> ArgumentParser:
    """The options with a dash of one of the commands; its help is what ``-h`` prints first."""
    parser = ArgumentParser(
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
    add("-c", "--show-config", action="store_true", help="print all parameters as they would be used, and stop")
    add("-e", "--expert-level", type=int, metavar="N", help="print parameters up to level N (0 to 2), and those set")
    add("-a", "--attributes-level", type=int, metavar="N", help="print help (1), types (2), everything (3) with them")
    add("-v", "--verbose", action="count", default=0, help="log details")
    add(
        "-q",
        "--quiet",
        action="store_true",
        help="warnings and errors only, on standard error; the log file has everything",
    )
    add("--phil", action="append", default=[], metavar="FILE", help="read parameters from FILE, - for standard input")
    add(
        "--durable",
        action="store_true",
        help="force outputs onto the disk, so that a power failure cannot leave incomplete files",
    )
    if command is SCALE:
        add(
            "--assign-identifiers",
            metavar="NAMES",
            help="name the data sets, one name for each, and write them to identified.expt and .refl (or to "
            "output.experiments, output.reflections) without scaling",
        )
        add(
            AS_DIALS,
            action="store_true",
            help="file names, numbers, log and exit status as callers of dials.scale expect them",
        )
        add("--completion", metavar="SHELL", help="print the completion of names and values for bash, zsh or fish")
        add(
            "--warm-up", action="store_true", help="compile all kernels now and not at the first run; for installations"
        )
    add("-V", "--version", action="store_true", help="print the version and stop")
    return parser


def sort_arguments(argv: tuple[str, ...]) -> Arguments:
    """Options, assignments, data files and what is wrong with them. Raises CommandError for a bad option."""
    command = COMMANDS.get(argv[0], SCALE) if argv else SCALE
    argv = argv if command is SCALE else argv[1:]
    end = argv.index("--") if "--" in argv else len(argv)
    parser = command_parser(command)
    options, rest = parser.parse_known_args(argv[:end])
    unknown = [word for word in rest if word.startswith("-") and ("\0" in word or not os.path.exists(word))]
    problems = [f"unknown option {word}; {parser.prog} -h lists the options" for word in unknown]
    arguments = [word for word in rest if word not in unknown] + list(argv[end + 1 :])
    assignments: list[tuple[Assignment, bool]] = []
    files: list[str] = []
    words = [*options.phil, *arguments]
    if words:
        from braggscale.options.file_names import file_names
        from braggscale.options.other_names import INPUT_FILES
        from braggscale.options.phil import PHIL_SUFFIXES, read_argument, read_file

    def assign(made: Assignment, typed: bool) -> None:
        """Take one assignment of the command line; those of input files name files."""
        if made.name not in INPUT_FILES:
            assignments.append((made, typed))
        elif [text.lower() for text, _ in made.words] != ["none"]:
            files.extend(name for text, _ in made.words for name in file_names(text))

    for k, argument in enumerate(words):
        try:
            if "\0" in argument and "=" not in argument:
                files += file_names(argument)
            elif k < len(options.phil) or (argument.endswith(PHIL_SUFFIXES) and os.path.isfile(argument)):
                for made in read_file(argument):
                    assign(made, False)
            elif "=" in argument and not os.path.exists(argument) and not re.match(r"\w+://", argument):
                assign(read_argument(argument), True)
            else:
                files += file_names(argument)
        except CommandError as error:
            problems.append(str(error))
    return Arguments(command, options, tuple(assignments), tuple(files), tuple(problems))


def file_problem(path: str) -> str | None:
    """What is wrong with the path of an input, None if it is an ordinary file that can be read."""
    if os.path.isdir(path):
        return f"{path}: this is a folder; name the files in it"
    if not os.path.exists(path):
        return f"{path}: no such file{_nearest_file(path)}"
    if not os.access(path, os.R_OK):
        return f"{path}: cannot be read: permission denied"
    return None


def kind_problem(path: str) -> str | None:
    """What is wrong with the content of a file that exists, None if it is one of the kinds of data that are read."""
    from braggscale.io.file_kind import open_source
    from braggscale.options.phil import PHIL_SUFFIXES

    try:
        open_source(path)
    except CommandError as error:
        return str(error)
    except InputError:
        return (
            f"{path}: these are no data; parameters are read from files that end in {' '.join(PHIL_SUFFIXES)}, from "
            f"others with --phil {path}"
        )
    return None


def _nearest_file(path: str) -> str:
    if path == DELTA:
        return f"; this word comes first: {PROGRAM} {DELTA} FILE ..."
    if path == EXPORT:
        return f"; to export scaled data this word comes first: {PROGRAM} {EXPORT} FILE ..."
    folder, name = os.path.split(path)
    today = os.path.join(folder, NAMES_TODAY.get(name, ""))
    if name in NAMES_TODAY and os.path.isfile(today):
        return f"; {today} exists, which is the present name of this file"
    if not folder and re.fullmatch(r"[A-Za-z_][\w.]*", name):
        from braggscale.options.definitions import definitions

        if any(p == name or p.endswith("." + name) for p in definitions().options):
            return f"; if the option is meant, write {name}=VALUE without blanks"
    if folder and not os.path.isdir(folder):
        return f"; the folder {folder} does not exist"
    from difflib import get_close_matches

    with suppress(OSError):
        close = get_close_matches(name, os.listdir(folder or "."), n=1, cutoff=0.75)
        if close:
            return f"; did you mean {os.path.join(folder, close[0])}?"
    return ""


def output_problems(settings: Settings, arguments: Arguments) -> list[str]:
    """What is wrong with the paths of outputs: not writable, named twice, or an export that would replace an input."""
    from braggscale.io.output_paths import path_problems
    from braggscale.options.export_files import EXPORT_FILES
    from braggscale.options.schema import SCALED_FILES

    output = settings.options.output
    problems: list[str] = []
    if arguments.command is SCALE_DELTA:
        return problems
    if arguments.command is SCALE_EXPORT and not output.exports:
        problems.append(f"nothing to export: name at least one of {', '.join(f'{name}=' for name in EXPORT_FILES)}")
    wanted = [(name, (getattr(output, name),)) for name in SCALED_FILES if getattr(output, name) is not None]
    if arguments.command is SCALE_EXPORT:
        wanted = []
    if arguments.command is SCALE and arguments.options.assign_identifiers is not None:
        inputs = {os.path.realpath(path) for path in arguments.files}
        if taken := [path for path in identified_files(settings) if os.path.realpath(path) in inputs]:
            problems.append(
                f"--assign-identifiers would replace its input {' and '.join(taken)}; "
                "name other files with output.experiments= and output.reflections="
            )
    problems += path_problems([*wanted, *_names_of_exports(output.exports)], arguments.files)
    if (compare := settings.options.report.compare) and (problem := file_problem(compare)):
        problems.append(problem)
    if output.free_flags and (problem := file_problem(output.free_flags)):
        problems.append(problem)
    return problems


def identified_files(settings: Settings) -> tuple[str, str]:
    """Experiments and reflections that ``--assign-identifiers`` writes."""
    options, output = settings.options, settings.options.output
    experiments = output.experiments if options.is_explicit("output.experiments") else "identified.expt"
    return experiments, output.reflections if options.is_explicit("output.reflections") else "identified.refl"


def _names_of_exports(paths: Mapping[str, str]) -> list[tuple[str, tuple[str, ...]]]:
    """Options of the exports that are wanted, and the files that each will write as far as that is known."""
    if not paths:
        return []
    from braggscale.io.export.registry import EXPORTS

    return [(name, EXPORTS[name].names(path)) for name, path in paths.items()]
