"""The log names crystals whose cells differ much from those of the others; the user decides what to do with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_preparation import CELL, SWEEP

from braggscale.data.sorting import best_cell
from braggscale.errors import CommandError


def with_cell(name, lengths):
    crystal = replace(SWEEP.crystal, unit_cell=(*lengths, *CELL[3:]))
    return replace(SWEEP, identifier=name, crystal=crystal)


def test_cells_that_are_far_are_named(caplog):
    rng = np.random.default_rng(1)
    near = [with_cell(str(k), np.array(CELL[:3]) * rng.normal(1, 0.01, 3)) for k in range(5)]
    best_cell(near, None)
    assert not caplog.records
    best_cell([*near, with_cell("odd", (10.0, 11.0 / 1.41, 12.0))], None)
    assert "the unit cell of data set odd differs from that of the run by more than 7 % or 4 degrees" in caplog.text


def test_a_cell_that_is_asked_for_is_compared_too(caplog):
    best_cell([with_cell(str(k), CELL[:3]) for k in range(9)], (19.0, *CELL[1:]))
    assert "data set 0, 1, 2, 3 and 5 more differs" in caplog.text
    for cell in ((9.0, 9.0, 9.0, 30.0, 30.0, 120.0), (1e5, 1e5, 1e5, 90.0, 90.0, 90.0)):
        with pytest.raises(CommandError, match="best_unit_cell="):
            best_cell([SWEEP], cell)
