"""The command: from arguments to the exit status. The only module that prints and that reports errors as text.

Exit status: 0 done, 1 the data cannot be scaled or an internal error, 2 the command is wrong, 130 interrupted, 143
terminated.
Nothing that takes long to import is imported before it is needed.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from io import TextIOWrapper
from time import perf_counter
from typing import TYPE_CHECKING, NoReturn

from braggscale import __version__
from braggscale.arguments import (
    AS_DIALS,
    COMMANDS,
    DELTA,
    DIALS_NAME,
    EXPORT,
    INSTALL,
    PROGRAM,
    SCALE,
    SCALE_DELTA,
    SCALE_EXPORT,
    Arguments,
    command_parser,
    file_problem,
    identified_files,
    kind_problem,
    output_problems,
    sort_arguments,
)
from braggscale.errors import LONGEST_LINE, Terminated, UserError, one_line
from braggscale.numerics.timing import BEGAN
from braggscale.terminal import error_prefix, let_go, logging_to

if TYPE_CHECKING:
    from braggscale.options.assignments import Settings
    from braggscale.options.phil import Definitions
    from braggscale.ranks.communicator import Communicator

log = logging.getLogger(__name__)

_LOADED = perf_counter()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit status.  ``argv``: without the program's name, None for sys.argv."""
    arguments = tuple(sys.argv[1:] if argv is None else argv)
    before = BEGAN.set(_LOADED if argv is None else perf_counter())
    if argv is None and os.path.basename(sys.argv[0]) == DIALS_NAME:
        arguments = (AS_DIALS, *arguments)
    try:
        status = _main(arguments)
    finally:
        BEGAN.reset(before)
    return 1 if status == 2 and AS_DIALS in arguments else status  # dials.scale knows no other failure


def _main(arguments: tuple[str, ...]) -> int:
    if sys.stdout is None:  # closed: the next file that is opened would get its descriptor
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a stream that a caller put in its place may be of another type
            with suppress(ValueError):
                stream.reconfigure(errors="backslashreplace")
    try:
        with _ending_on_request():
            if arguments[:1] == (INSTALL,):
                return _install_dials_name(arguments[1:])
            return _act(arguments, sort_arguments(arguments))
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
    """Remove temporary files of outputs after any kind of end; imports no module that is not loaded yet."""
    files = sys.modules.get("braggscale.io.atomic_files")
    if files is not None:
        files.discard_remaining()


# Errors of writing to a full or closed standard output.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EIO)


@contextmanager
def _ending_on_request() -> Iterator[None]:
    """SIGTERM ends the run in the same way as Ctrl-C: temporary files are removed, earlier outputs stay."""

    def end(*_: object) -> NoReturn:
        """Handle the signal."""
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread: signals are left to the caller
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _act(argv: tuple[str, ...], arguments: Arguments) -> int:
    options, command = arguments.options, arguments.command
    if options.version:
        print(f"braggscale {__version__}")
        return 0
    if command is SCALE and options.warm_up:
        return _warm_up()
    if command is SCALE and options.completion is not None:
        from braggscale.completion import completion

        print(completion(options.completion), end="")
        return 0
    from braggscale.options.definitions import definitions, delta_definitions, export_definitions

    masters = {EXPORT: export_definitions, DELTA: delta_definitions}
    master = next((masters[word] for word, one in COMMANDS.items() if one is command), definitions)()
    nothing = argv in ((), (AS_DIALS,)) or (len(argv) == 1 and argv[0] in COMMANDS)
    if options.help or nothing:
        return _help(argv, arguments, master)
    from braggscale.options.assignments import settle

    settings, problems = settle(arguments.assignments, master, command is SCALE and options.as_dials)
    problems = [*arguments.problems, *problems]
    if arguments.files:
        with _signals_wait():
            import_module("braggscale.io.atomic_files")  # and numpy, before the checks of files need them
    if options.show_config:
        problems += [problem for file in arguments.files if (problem := file_problem(file) or kind_problem(file))]
        if not problems:
            level = _EVERY_LEVEL if options.expert_level is None else max(options.expert_level, command.level)
            print(master.report(settings.values, level, options.attributes_level or 0), end="")
            return 0
    else:
        problems += [problem for file in arguments.files if (problem := file_problem(file))]
        if not arguments.files:
            problems.append(command.no_files)
        problems += output_problems(settings, arguments)
    ranks = _ranks(settings) if command is SCALE and options.assign_identifiers is None else None
    if ranks is not None:
        from braggscale.ranks.launch import problems_of_all

        problems = problems_of_all(ranks, problems)
    if problems:
        different = list(dict.fromkeys(problems))
        for problem in different[:_MOST_PROBLEMS]:
            _complain(problem)
        if len(different) > _MOST_PROBLEMS:
            _complain(f"and {len(different) - _MOST_PROBLEMS} more of this kind")
        return 2
    _run(argv, arguments, settings, ranks)
    return 0


def _help(argv: tuple[str, ...], arguments: Arguments, master: Definitions) -> int:
    """Print the help. This is an error (status 2) unless the user asked for it or called ``dials.scale`` alone."""
    options, command = arguments.options, arguments.command
    level = max(options.expert_level or 0, options.help - 1, command.level)
    attributes = 1 if options.attributes_level is None else options.attributes_level
    print(command_parser(command).format_help())
    print(command.parameters if level < 2 else "parameters:")
    print()
    print(master.report(master.defaults(), level, attributes), end="")
    if options.help or argv == (AS_DIALS,):
        return 0
    _complain(command.no_files)
    return 2


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until modules are loaded.

    An exception while a compiled module starts calls abort(), or numpy makes an ImportError of it.
    """
    waiting: list[BaseException] = []
    later: dict[signal.Signals, BaseException] = {signal.SIGINT: KeyboardInterrupt(), signal.SIGTERM: Terminated()}
    before = {}
    try:
        for number in later:
            before[number] = signal.signal(number, lambda n, _: waiting.append(later[signal.Signals(n)]))
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if waiting:
        raise waiting[0]


def _run(argv: tuple[str, ...], arguments: Arguments, settings: Settings, ranks: Communicator | None) -> None:
    with _signals_wait():
        # every run needs it; its C++ code calls Python while it is loaded, and an exception there ends the process
        import_module("gemmi")
        from braggscale.io.atomic_files import durable, protected

    options, asked = arguments.options, settings.options
    also = [path for path in (asked.output.free_flags, asked.report.compare) if path]
    with durable(options.durable), protected([*arguments.files, *also]):
        if arguments.command is SCALE_EXPORT:
            _export(arguments, settings)
        elif arguments.command is SCALE_DELTA:
            _delta(arguments, settings)
        elif options.assign_identifiers is not None:
            _name(arguments, settings)
        else:
            _scale(argv, arguments, settings, ranks)


def _ranks(settings: Settings) -> Communicator | None:
    """The processes that scale together; None for a run in one process that keeps all rows."""
    with _signals_wait():
        from braggscale.ranks.launch import ranks_of_run

    ranks = ranks_of_run(settings.options)
    if ranks is not None and ranks.rank > 0:
        # only the first rank prints, because all have the same text
        let_go(sys.stdout)
        _SILENT.append(True)
    return ranks


_SILENT: list[bool] = []


def _scale(argv: tuple[str, ...], arguments: Arguments, settings: Settings, ranks: Communicator | None) -> None:
    from braggscale.numerics.heap import one_heap
    from braggscale.options.schema import CommandLine

    one_heap()
    command = CommandLine(argv, arguments.files, settings.modified, settings.notes)
    switches = arguments.options
    # programs that call dials.scale may read the whole log from standard output
    with logging_to(sys.stdout, switches.verbose, switches.quiet, switches.as_dials) as log_text:
        log.info(f"{PROGRAM} {__version__}")
        log.info(shlex.join([PROGRAM, *argv]))
        if settings.modified:
            log.info("\nThe following parameters have been modified:\n")
            log.info(settings.modified)
        for note in settings.notes:
            log.info(note)
        if ranks is None:
            with _signals_wait():
                from braggscale.ranks.compact import alone_if_too_large

            ranks = alone_if_too_large(arguments.files, settings.options)
        if ranks is not None:
            from braggscale.ranks.launch import one_after_first, run_ranks

            one_after_first(ranks, lambda: _compile(switches.quiet))
            run_ranks(arguments.files, settings.options, command.as_dict(), log_text, ranks)
            return
        _compile(switches.quiet)
        # imports create a million objects that stay in use: searching them for garbage takes a sixth of the start
        gc.disable()
        with _signals_wait():
            from braggscale.scale_files import run

        gc.freeze()
        gc.enable()
        run(arguments.files, settings.options, command.as_dict(), log_text)


def _export(arguments: Arguments, settings: Settings) -> None:
    with logging_to(sys.stdout, arguments.options.verbose, arguments.options.quiet):
        for note in settings.notes:
            log.info(note)
        with _signals_wait():
            from braggscale.export_files import export_scaled

        export_scaled(arguments.files, settings.options)


def _delta(arguments: Arguments, settings: Settings) -> None:
    with logging_to(sys.stdout, arguments.options.verbose, arguments.options.quiet):
        for note in settings.notes:
            log.info(note)
        with _signals_wait():
            from braggscale.filter_files import delta_cc_half

        delta_cc_half(arguments.files, settings.options)


MOST_COMPILING = 4  # processes that compile at the same time; more do not help: the longest module takes a third of all


def _compile(quiet: bool) -> None:
    """Before the very first run: compile the usual kernels at once, and say why this takes time."""
    with _signals_wait():
        from braggscale.numerics.compiled.cache import USUAL, warm, warm_up
        from braggscale.numerics.partitions import available_processors

    if warm(USUAL):
        return
    if not quiet:
        text = f"compiling kernels for the first time, about 10 s; {PROGRAM} --warm-up does this at installation"
        print(text, flush=True)
    if warm_up(min(available_processors(), MOST_COMPILING), USUAL).folder is None and not quiet:
        print(
            "the compiled kernels cannot be kept for the next run: "
            "set NUMBA_CACHE_DIR to a folder that only you can write to"
        )


def _warm_up() -> int:
    from braggscale.numerics.compiled.cache import warm_up
    from braggscale.numerics.partitions import available_processors

    done = warm_up(min(available_processors(), MOST_COMPILING))
    if done.folder is None:
        _complain(
            "no folder where compiled kernels can be kept: make one that only you can write to, and name it in "
            "NUMBA_CACHE_DIR"
        )
        return 1
    print(f"{done.kernels} kernels in {done.folder}, {done.compiled} of them compiled now")
    return 0


def _install_dials_name(folders: tuple[str, ...]) -> int:
    from braggscale.dials_name import install

    if len(folders) != 1 or folders[0].startswith("-"):
        _complain(f"{PROGRAM} {INSTALL} FOLDER: name one folder, in which {DIALS_NAME} is put")
        return 2
    path = install(folders[0])
    print(f"{path} now starts this program. In this shell:\n")
    print(f"  export PATH={shlex.quote(os.path.dirname(path))}:$PATH")
    return 0


def _name(arguments: Arguments, settings: Settings) -> None:
    with _signals_wait():
        from braggscale.scale_files import name_anew

    experiments, reflections = identified_files(settings)
    with logging_to(sys.stdout, arguments.options.verbose, arguments.options.quiet):
        name_anew(arguments.files, arguments.options.assign_identifiers, experiments, reflections)


_MOST_PROBLEMS = 20
_EVERY_LEVEL = 9

# What goes wrong -----------------------------------------------------------------------------------------


def _complain(message: str) -> None:
    if _SILENT:
        return
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
