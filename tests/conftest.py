"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real data that is not part of the repository; tests that need it skip without it."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("BRAGGSCALE_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; set BRAGGSCALE_DATA to the folder that holds it")
    return folder
