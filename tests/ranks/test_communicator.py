"""Which processes belong together, and errors that all of them learn of."""

import numpy as np
import pytest
from rank_threads import run_on

from braggscale.errors import CommandError, InputError
from braggscale.ranks import launch
from braggscale.ranks.agreement import together
from braggscale.ranks.communicator import Alone, gather_texts
from braggscale.ranks.launch import is_launched
from braggscale.ranks.watch import rank_of


def test_without_a_launcher_there_is_one_rank():
    assert isinstance(launch.communicator({}), Alone)
    assert not is_launched({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"})
    assert is_launched({"PMI_RANK": "3"}) and rank_of({"PMI_RANK": "3"}) == 3 and rank_of({}) == 0


def test_a_launcher_without_mpi4py_is_refused(monkeypatch):
    monkeypatch.setattr(launch, "_has_mpi", lambda: False)
    with pytest.raises(CommandError, match="mpi4py is missing"):
        launch.communicator({"PMI_RANK": "0"})
    # srun starts programs without MPI, too
    assert isinstance(launch.communicator({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}), Alone)


def test_texts_of_all():
    assert run_on(3, lambda ranks: gather_texts(ranks, "é" * ranks.rank)) == 3 * [["", "é", "éé"]]


def test_what_fails_on_one_rank_fails_on_all_with_its_message():
    def work(ranks):
        def fail():
            if ranks.rank in (1, 2):
                raise InputError(f"file {ranks.rank} is damaged")
            return ranks.rank

        return together(ranks, fail)

    for error in run_on(4, work):
        assert isinstance(error, InputError) and str(error) == "rank 1: file 1 is damaged"
    assert run_on(2, lambda ranks: together(ranks, lambda: ranks.rank)) == [0, 1]


def test_no_memory_and_no_file_are_errors_that_say_what_to_do():
    def no_memory():
        raise MemoryError

    def no_file():
        open("/nowhere/at/all")  # noqa: SIM115

    with pytest.raises(Exception, match="memory_limit="):
        together(Alone(), no_memory)
    with pytest.raises(InputError, match="/nowhere/at/all: No such file"):
        together(Alone(), no_file)


def test_the_same_reductions_everywhere():
    def work(ranks):
        values = np.array([ranks.rank, 5, -ranks.rank])
        return [ranks.allreduce(values, kind).tolist() for kind in ("sum", "max", "min", "or")]

    assert run_on(3, work) == 3 * [[[3, 15, -3], [2, 5, 0], [0, 5, -2], [3, 5, -1]]]
