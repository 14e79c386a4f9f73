"""The definitions of the options of each command. The help needs nothing else of this room, so this imports little."""

from __future__ import annotations

from functools import cache

from braggscale.options.master import delta_options, export_options, master_text
from braggscale.options.model_options import MODEL_OPTIONS
from braggscale.options.other_names import DIALS_ONLY, FULL_NAME_ONLY, RENAMED
from braggscale.options.phil import Definitions


@cache
def definitions() -> Definitions:
    """The options of ``scale``; the text is parsed once."""
    return Definitions(master_text(), tuple(MODEL_OPTIONS), RENAMED, DIALS_ONLY, FULL_NAME_ONLY)


@cache
def export_definitions() -> Definitions:
    """The options of ``scale export``."""
    return Definitions(master_text(), only=export_options(), program="scale export")


@cache
def delta_definitions() -> Definitions:
    """The options of ``scale delta-cc-half``."""
    return Definitions(master_text(), only=delta_options(), program="scale delta-cc-half")
