"""Whether a run is over ranks, which of them this process is, and how a run ends on all of them.

A process that no MPI launcher has started is rank 0 of 1; mpi4py is not imported then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from braggscale.errors import CommandError, Terminated, UserError, one_line
from braggscale.options.schema import Options
from braggscale.ranks.communicator import Alone, Communicator, gather_texts
from braggscale.ranks.watch import LAUNCHED, SLURM_RANK, SLURM_SIZE, rank_of, size_of


def is_launched(environment: Mapping[str, str]) -> bool:
    """Whether an MPI launcher has started this process as one of several, or as the only one.

    srun counts where mpi4py is installed: it also starts programs that know nothing of MPI.
    """
    if any(name in environment for name in LAUNCHED):
        return True
    return int(environment.get(SLURM_SIZE, "1") or 1) > 1 and SLURM_RANK in environment and _has_mpi()


def communicator(environment: Mapping[str, str] | None = None, folder: str = ".") -> Communicator:
    """The ranks that this process belongs to.  ``folder``: of the outputs.

    Raises CommandError if a launcher has started several processes but mpi4py is not there: each would scale all data.
    """
    environment = os.environ if environment is None else environment
    if not is_launched(environment):
        return Alone()
    if not _has_mpi():
        raise CommandError(
            "started by an MPI launcher, but the package mpi4py is missing: pip install 'braggscale[mpi]', or start "
            "without mpiexec"
        )
    from braggscale.ranks.mpi import World  # not where there is no MPI

    return World((rank_of(environment), size_of(environment)), folder)


def _has_mpi() -> bool:
    return find_spec("mpi4py") is not None


def ranks_of_run(options: Options) -> Communicator | None:
    """The ranks that scale together; None for a run that keeps all rows in one process.

    Raises CommandError if an MPI launcher was used but mpi4py is missing.
    """
    asked = any(name.startswith("ranks.") for name in options.explicit)
    if not (asked or is_launched(os.environ)):
        return None
    output = options.output
    first = next((name for name in (output.json, output.log, *output.exports.values()) if name), "scale.json")
    return communicator(folder=os.path.dirname(os.path.realpath(first)))


def problems_of_all(ranks: Communicator, problems: Sequence[str]) -> list[str]:
    """What any rank has found wrong with the command, each once: a file may be missing on one node only."""
    found = [line for text in gather_texts(ranks, "\n".join(problems)) for line in text.splitlines()]
    return list(dict.fromkeys(found))


def one_after_first(ranks: Communicator, task: Callable[[], None]) -> None:
    """``task`` on the first rank, then on all others: what the first one leaves on disk is there for them."""
    if ranks.rank == 0:
        task()
    gather_texts(ranks, "")
    if ranks.rank != 0:
        task()


def run_ranks(
    files: Sequence[str],
    options: Options,
    command: Mapping[str, Any],
    log_text: Callable[[], str],
    ranks: Communicator,
) -> None:
    """``run.run``, and the end of all ranks if anything but a UserError ends one of them."""
    from braggscale.ranks.run import run  # brings in everything else

    with ending_all(ranks):
        run(files, options, command, log_text, ranks)


@contextmanager
def ending_all(ranks: Communicator) -> Iterator[None]:
    """Ends all ranks where one meets what the others do not know of: a signal, or a fault of the program.

    They would wait for it for ever. A UserError is raised on all of them (agreement.py).
    """
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        if ranks.size > 1:
            from braggscale.io.atomic_files import discard_remaining

            discard_remaining()
            os.write(2, f"scale: error: {_what(ranks, error)}\n".encode())
            ranks.abort(130 if isinstance(error, KeyboardInterrupt) else 1)
        raise


def _what(ranks: Communicator, error: BaseException) -> str:
    where = f"rank {ranks.rank} of {ranks.size}"
    if isinstance(error, KeyboardInterrupt | Terminated):
        return f"{where} was ended from outside; all ranks end, nothing more was written"
    return one_line(f"{where}: internal error, {type(error).__name__}: {error}; all ranks end, nothing was written")
