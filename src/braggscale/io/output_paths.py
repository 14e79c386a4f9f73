"""Checks before the run whether the output files can be written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from braggscale.errors import CommandError
from braggscale.io.atomic_files import check_writable

# Options of the files that may replace input files.
PAIR = ("experiments", "reflections")


def path_problems(wanted: Iterable[tuple[str, Sequence[str]]], inputs: Iterable[str]) -> list[str]:
    """What is wrong with the paths of outputs: not writable, named twice, or a file that would replace an input.

    Only the scaled experiments and reflections may replace an input.
    ``wanted``: names of options of the section ``output``, and the files that each will write.  ``inputs``: paths.
    """
    problems = []
    taken = {os.path.realpath(file): "an input" for file in inputs}
    for name, targets in wanted:
        for target in targets:
            me = f"output.{name}"
            if "\0" in target:
                problems.append(f"{me}: a name cannot have a character 0")
                continue
            other = taken.setdefault(os.path.realpath(target), me)
            if other == "an input" and name not in PAIR:
                problems.append(f"{me}: {target} is an input; give it another name")
            elif other not in ("an input", me):
                problems.append(f"{other} and {me} are the same file, {target}")
            try:
                check_writable([target])
            except CommandError as error:
                problems.append(str(error))
    return problems
