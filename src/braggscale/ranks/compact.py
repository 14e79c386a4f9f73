"""One process whose input is larger than the memory that it may use: it scales as one rank, with its rows in files.

Whether that is so is judged by the sizes of the files. Only where they come near the memory is the first one opened, to
learn how many rows it has.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from braggscale.numerics.memory import usable_memory
from braggscale.run_warnings import Code, warn

if TYPE_CHECKING:
    from braggscale.options.schema import Options
    from braggscale.ranks.communicator import Communicator

log = logging.getLogger(__name__)

WHOLE_ROW = 800  # bytes of memory for each row of the input in a run that holds all rows; measured with stills
FEWEST_BYTES = 50  # of a file for each row: what is smaller has no column but index, intensity and sigma


def alone_if_too_large(files: Sequence[str], options: Options) -> Communicator | None:
    """The only rank there is, if a run that holds all rows would need too much memory; else None, as for most runs."""
    total, usable = sum(os.path.getsize(path) for path in files if os.path.isfile(path)), usable_memory()
    if total * (WHOLE_ROW / FEWEST_BYTES) < usable:
        return None
    from braggscale.errors import UserError

    try:
        return _alone(files, options, total, usable)
    except UserError as error:
        text = (
            f"{total / 1e9:.1f} GB of files may need more memory than the {usable / 1e9:.1f} GB that this process may "
            f"use, but their rows cannot be kept in files: {error}"
        )
        warn(log, Code.MEMORY_MAY_NOT_SUFFICE, text)
        return None


def _alone(files: Sequence[str], options: Options, total: int, usable: int) -> Communicator | None:
    """As above.  ``total``: bytes of the files, ``usable``: of memory.  Raises UserError where it cannot be done."""
    from braggscale.io import open_inputs
    from braggscale.ranks.communicator import Alone
    from braggscale.ranks.plan import plan_of, sweeps_without_model
    from braggscale.ranks.shares import units_of

    plan, units = plan_of(options), units_of(files)
    first = open_inputs(units[0].files, plan.known)
    rows = sum(len(one.table) for one in first.data_sets) * (total / max(units[0].size, 1))
    if rows * WHOLE_ROW < usable:
        return None
    sweep = next((one for one in first.data_sets if not one.experiment.is_still), None)
    if sweep is not None and not plan.kb_is_explicit:
        raise sweeps_without_model(sweep.experiment.identifier)
    log.info(
        f"About {rows / 1e6:.1f} million rows would need {rows * WHOLE_ROW / 1e9:.1f} GB of memory, and this process "
        f"may use {usable / 1e9:.1f} GB: the files are read one after the other, as with "
        f"memory_limit={usable / 1e9:.1f}, and each gets a pair of scaled files of its own"
    )
    return Alone()
