"""Fixtures that several test files share."""

import os
from contextlib import chdir
from pathlib import Path

import pytest
from hypothesis import settings

from braggscale.cli import main

# The same examples in every run: a test that fails has a reason, not bad luck. To look further than these examples:
# pytest --hypothesis-profile=explore
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("same")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real data that is not part of the repository; tests that need it skip without it."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("BRAGGSCALE_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; set BRAGGSCALE_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def example_run(tmp_path_factory) -> Path:
    """Folder with the outputs of scaling the example that ships with the program."""
    folder = tmp_path_factory.mktemp("example")
    files = [str(Path(__file__).parents[1] / "examples" / f"simulated.{kind}") for kind in ("expt", "refl")]
    with chdir(folder):
        assert main(["-q", *files]) == 0
    return folder
