"""The options as programs that call dials.scale give them: its default names of files, data sets and groups by number.

They are translated into options of this program before they are assigned. Later stages do not depend on the caller.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from braggscale.options.phil import Assignment

Words = tuple[tuple[str, bool], ...]  # text of each word, and whether it was quoted

_DATA_SETS = ("dataset_selection.use_datasets", "dataset_selection.exclude_datasets")
_GROUP = "weighting.error_model.error_model_group"
# The files that dials.scale writes by default.
_DEFAULTS = (
    ("output.log", "dials.scale.log"),
    ("output.html", "dials.scale.html"),
    ("output.json", "None"),
    ("output.project_name", "DIALS"),
)


def defaults_of_dials() -> list[tuple[Assignment, bool]]:
    """Assignments that stand before those of the caller: defaults of dials.scale that differ from ours."""
    return [(Assignment(name, ((value, False),), f"{name}={value}"), False) for name, value in _DEFAULTS]


def words_of_caller(path: str, words: Words) -> Words:
    """The words of an assignment as this program means them.  ``path``: full name of the option.

    dials.scale knows data sets by their number (``exclude_datasets=0,2``, ``exclude_images=0:1:20``), which is ``#0``
    here, and counts the members of ``error_model_group`` from 0, which is from 1 here.  Other words stay as they are.
    """
    if path in _DATA_SETS:
        return tuple((re.sub(r"(?<![^\s,])(\d+)(?![^\s,])", r"#\1", text), quoted) for text, quoted in words)
    if path == "exclude_images":
        return tuple((re.sub(r"(?<![^\s,])(\d+:\d+:\d+)(?![^\s,])", r"#\1", text), quoted) for text, quoted in words)
    if path == _GROUP:
        return tuple((re.sub(r"\d+", lambda found: str(int(found[0]) + 1), text), quoted) for text, quoted in words)
    return words


def without_other_models(explicit: Sequence[str], families: Sequence[str], model: str) -> list[str]:
    """The options that the user set, without those of models that ``model=`` does not name; all of them if automatic.

    Callers of dials.scale set options of models that are not in use, which is no mistake there.
    """
    others = [family for family in families if model not in ("auto", family)]
    return [path for path in explicit if path.split(".")[0] not in others]
