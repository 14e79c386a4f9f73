"""A few hundred damaged inputs of every kind; campaigns run many more, see the package's ``__main__``."""

from __future__ import annotations

import pytest

from .cases import KINDS, make
from .oracle import faults_of

PER_KIND, SEED = 12, 24


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_comes_in(kind: str) -> None:
    found = {number: faults for number in range(PER_KIND) if (faults := faults_of(make(kind, SEED, number)))}
    assert not found, f"repeat with: python -m tests.fuzz --kind {kind} --seed {SEED} --case N"
